"""Preprocessing layers whose outputs Keras infers wrongly."""

from __future__ import annotations

from any2onnx.graph.types import FLOATS, TensorSpec, Value
from any2onnx.operator_mappings.mapping import Call
from any2onnx.shape_calculators.keras.general import keras_outputs


def resizing(call: Call) -> TensorSpec | list[TensorSpec | None] | None:
    """Return Keras's inference, with the dtype of integer images: Keras says float and returns integers."""
    promise = keras_outputs(call)
    image = call.inputs[0]
    if not isinstance(promise, TensorSpec) or not isinstance(image, Value) or image.dtype is None:
        return promise
    return promise if image.dtype in FLOATS else promise.with_dtype(image.dtype)


def augmentation(call: Call) -> TensorSpec | list[TensorSpec | None] | None:
    """Return Keras's inference for images of floats only: it says float for other types and for dicts, too."""
    image = call.inputs[0]
    return keras_outputs(call) if isinstance(image, Value) and image.dtype in FLOATS else None
