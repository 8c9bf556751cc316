"""What Keras itself infers: dtype and shape of the KerasTensors that a layer returned when the model was built."""

from __future__ import annotations

from typing import Any

from any2onnx.graph.types import TensorSpec
from any2onnx.operator_mappings.mapping import Call


def keras_outputs(call: Call) -> TensorSpec | list[TensorSpec | None] | None:
    """Return the type of the only output, or of all of them; None where Keras was not asked."""
    outputs: Any = getattr(call, "outputs", None)
    if outputs is None:
        return None
    return outputs[0] if len(outputs) == 1 else list(outputs)
