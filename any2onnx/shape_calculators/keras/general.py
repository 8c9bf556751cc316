"""What Keras itself infers: dtype and shape of the KerasTensors that a layer returned when the model was built."""

from __future__ import annotations

from typing import Any

from any2onnx.graph.types import FLOATS, TensorSpec
from any2onnx.operator_mappings.mapping import Call


def keras_outputs(call: Call) -> TensorSpec | list[TensorSpec | None] | None:
    """Return the type of the only output, or of all of them; None where Keras was not asked.

    Layers assume that their activation keeps the shape. That is wrong for `glu` and may be wrong for a user's
    function, so then only the dtype is promised.
    """
    outputs: Any = getattr(call, "outputs", None)
    if outputs is None:
        return None
    if not _keeps_shape(getattr(call.source, "activation", None)):
        outputs = [spec and TensorSpec(spec.dtype) for spec in outputs]
    return outputs[0] if len(outputs) == 1 else list(outputs)


def dtypes_only(call: Call) -> TensorSpec | list[TensorSpec | None] | None:
    """Return Keras's inference without the shapes, for layers whose shapes it infers wrongly."""
    promise = keras_outputs(call)
    if isinstance(promise, list):
        return [spec and TensorSpec(spec.dtype) for spec in promise]
    return promise and TensorSpec(promise.dtype)


def unknown(call: Call) -> None:
    """Promise nothing: the code of a traced layer is held against its own results, function by function.

    What Keras infers for such a layer may be wrong (`reverse_dtype` of ReversibleEmbedding).
    """


def _keeps_shape(activation: Any) -> bool:
    module = str(getattr(activation, "__module__", ""))
    return activation is None or (module.startswith("keras.") and getattr(activation, "__name__", "") != "glu")


def merged(call: Call) -> TensorSpec | list[TensorSpec | None] | None:
    """Return Keras's inference for merges of floats, nothing for other types: Keras says float for them, too."""
    promise = keras_outputs(call)
    if not isinstance(promise, TensorSpec) or all(value.dtype in FLOATS for value in call.inputs[0]):
        return promise
    return None


def einsum(call: Call) -> TensorSpec | list[TensorSpec | None] | None:
    """Return Keras's inference, without the shape for equations with an ellipsis: Keras has their dims in disorder."""
    return dtypes_only(call) if "." in call.source.equation else keras_outputs(call)
