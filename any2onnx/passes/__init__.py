"""Graph → graph passes on ``onnx_ir`` models; :func:`any2onnx.passes.pipeline.optimize` runs them all.

Import from the modules: this package imports nothing, so that ``import any2onnx`` stays fast.
"""
