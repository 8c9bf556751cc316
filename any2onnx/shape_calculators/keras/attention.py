"""Attention layers, whose scores Keras infers wrongly."""

from __future__ import annotations

from any2onnx.graph.types import TensorSpec
from any2onnx.operator_mappings.mapping import Call
from any2onnx.shape_calculators.keras.general import keras_outputs


def with_scores(call: Call) -> TensorSpec | list[TensorSpec | None] | None:
    """Return Keras's inference; of scores only the dtype, since Keras takes the queries' length for the keys' too."""
    promise = keras_outputs(call)
    if not isinstance(promise, list):
        return promise
    return [promise[0], *(spec and TensorSpec(spec.dtype) for spec in promise[1:])]
