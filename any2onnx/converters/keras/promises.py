"""What Keras states about a layer's results, and how much of it can be believed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from any2onnx.graph.types import TensorSpec, Value, dims_of, merge_shape
from any2onnx.operator_mappings.mapping import Call


def of_floats(key: str) -> bool:
    """Tell whether the converter of a layer was written for floating-point numbers alone."""
    from any2onnx.operator_mappings.keras_layers import BEYOND_FLOATS

    return key.startswith("keras.layers.") and key.removeprefix("keras.layers.") not in BEYOND_FLOATS


def fitting(results: Sequence[Any], outputs: Sequence[TensorSpec | None]) -> list[TensorSpec | None]:
    """Return what was stated of the results, without the types and shapes that contradict them."""
    fitting: list[TensorSpec | None] = list(outputs)
    for k, (value, spec) in enumerate(zip(results, outputs, strict=False)):
        if spec is None or not isinstance(value, Value):
            continue
        if value.dtype != spec.dtype:
            fitting[k] = None
            continue
        try:
            merge_shape(dims_of(value.shape), spec.shape)
        except ValueError:
            fitting[k] = TensorSpec(spec.dtype)
    return fitting


def promised(call: Call) -> Any:
    """State what Keras inferred for the outputs of a layer: the shape calculator of rows without one of their own."""
    from any2onnx.shape_calculators.keras.general import keras_outputs

    return keras_outputs(call)
