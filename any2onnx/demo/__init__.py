"""The models of `any2onnx demo`, which the tests and benchmarks use as well."""
