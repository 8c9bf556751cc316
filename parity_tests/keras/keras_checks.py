"""Converts a Keras model and compares onnxruntime with Keras: the check behind all tests of the Keras front-end."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort

from any2onnx.converters.keras.walk import build_keras
from any2onnx.graph.opsets import Opsets
from any2onnx.operator_mappings.registry import default_registry

Array = np.ndarray[Any, Any]
TOLERANCE = 1e-5
"""Of the output's scale, in float32."""


def converted(model: Any, opset: int = 21, **arguments: Any) -> onnx.ModelProto:
    """Convert and check with onnx's checker; no passes, so that the converters alone are judged."""
    built = build_keras(model, opsets=Opsets.of(opset), registry=default_registry(), **arguments)
    proto = ir.to_proto(built)
    onnx.checker.check_model(proto, full_check=True)
    return proto


def session(proto: onnx.ModelProto) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    return ort.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])


def randomize(model: Any, seed: int = 0) -> Any:
    """Give every weight a random value, so that none is at a value that hides a mistake (zeros, ones)."""
    random = np.random.default_rng(seed)
    for weight in model.weights:
        if np.issubdtype(np.dtype(str(weight.dtype).replace("bfloat16", "float32")), np.floating):
            low, high = (0.5, 1.5) if "variance" in weight.path or "gamma" in weight.path else (-0.5, 0.5)
            weight.assign(random.uniform(low, high, weight.shape).astype("float32"))
    return model


def example(tensor: Any, batch: int, sizes: Iterable[int] = (5,), seed: int = 0, high: int = 5) -> Array:
    """Return data for a model input; dims that vary take the given sizes in turn."""
    random = np.random.default_rng(seed)
    varying = iter([*sizes] * 8)
    shape = [d if d is not None else batch if k == 0 else next(varying) for k, d in enumerate(tensor.shape)]
    dtype = str(tensor.dtype)
    if "int" in dtype:
        return random.integers(0, high, shape).astype(dtype)
    if dtype == "bool":
        return random.random(shape) < 0.5
    return random.normal(size=shape).astype(dtype)


def numpy_of(outputs: Any) -> list[Array]:
    return [np.asarray(keras.ops.convert_to_numpy(y)) for y in keras.tree.flatten(outputs)]


def compare(got: Sequence[Array], wanted: Sequence[Array], tolerance: float = TOLERANCE) -> None:
    assert len(got) == len(wanted)
    for a, b in zip(got, wanted, strict=True):
        assert a.shape == b.shape, (a.shape, b.shape)
        assert a.dtype == b.dtype, (a.dtype, b.dtype)
        if a.dtype == bool or a.dtype == object or np.issubdtype(a.dtype, np.integer):
            np.testing.assert_array_equal(a, b)
        else:
            scale = np.nanmax(np.abs(np.where(np.isfinite(b), b, 0)), initial=1e-3)
            np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * scale)


def check(
    model: Any,
    *,
    opset: int = 21,
    batches: Sequence[int] = (1, 3),
    sizes: Iterable[int] = (5,),
    inputs: Callable[[int], Sequence[Array]] | None = None,
    tolerance: float = TOLERANCE,
    arguments: Mapping[str, Any] | None = None,
) -> onnx.ModelProto:
    """Convert a model with graph inputs, and compare at several batch sizes.

    Args:
        model: Functional or Sequential model.
        opset: Target.
        batches: Batch sizes.
        sizes: Sizes of the other dims that vary.
        inputs: `inputs(batch)` returns the data; random by default.
        tolerance: Of the output's scale.
        arguments: Of `build_keras`.
    """
    proto = converted(model, opset, **(arguments or {}))
    running = session(proto)
    names = [value.name for value in running.get_inputs()]
    for batch in batches:
        data = (
            [example(t, batch, sizes, seed=batch + k) for k, t in enumerate(model.inputs)]
            if inputs is None
            else list(inputs(batch))
        )
        got = running.run(None, dict(zip(names, data, strict=True)))
        packed = keras.tree.pack_sequence_as(model._inputs_struct, data) if len(data) > 1 else data[0]
        wanted = numpy_of(model(packed, training=False))
        compare(got, wanted, tolerance)
    return proto


def of_layer(layer: Any, shape: Sequence[int | None], dtype: str = "float32") -> Any:
    """Return a model of one layer with random weights."""
    x = keras.Input(tuple(shape), dtype=dtype, name="x")
    return randomize(keras.Model(x, layer(x)))


def op_types(proto: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in proto.graph.node]
