"""Recurrent layers whose outputs Keras infers wrongly."""

from __future__ import annotations

from any2onnx.graph.types import TensorSpec
from any2onnx.operator_mappings.mapping import Call
from any2onnx.shape_calculators.keras.general import dtypes_only, keras_outputs


def bidirectional(call: Call) -> TensorSpec | list[TensorSpec | None] | None:
    """Return Keras's inference, without the sizes where the directions have different units: Keras doubles one."""
    promise = keras_outputs(call)
    pair = [call.source.forward_layer, call.source.backward_layer]
    same = len({str(layer.cell.state_size) for layer in pair}) == 1
    return promise if same else dtypes_only(call)
