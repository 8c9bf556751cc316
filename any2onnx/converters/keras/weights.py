"""Weights of Keras models as numpy arrays, under any backend, without copies where the backend allows it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from any2onnx.graph.types import Value, dtype_of

Array = np.ndarray[Any, Any]


def read_array(tensor: Any) -> Array:
    """Return the numbers of a Keras variable, a tensor of any backend, or anything numpy takes.

    TensorFlow, JAX and PyTorch tensors in main memory share their buffer with the array.
    """
    value = getattr(tensor, "_value", tensor) if type(tensor).__module__.startswith("keras.") else tensor
    if value is None:  # a variable whose initialisation was deferred
        value = tensor.value
    if hasattr(value, "read_value"):  # TensorFlow variable: np.asarray of it would copy
        value = _read_tensorflow(value)
    if hasattr(value, "detach"):  # PyTorch
        value = value.detach().cpu()
        if str(value.dtype) == "torch.bfloat16":
            import ml_dtypes
            import torch

            return np.asarray(value.view(torch.int16).numpy().view(ml_dtypes.bfloat16))
        return np.asarray(value.numpy())
    return np.asarray(value)


def _read_tensorflow(variable: Any) -> Any:
    """Return the tensor of a TensorFlow variable; `read_value` takes three times as long (name scopes, an Identity)."""
    import tensorflow as tf

    if not isinstance(variable, tf.Variable) or not tf.executing_eagerly():
        return variable.read_value()
    return tf.raw_ops.ReadVariableOp(resource=variable.handle, dtype=variable.dtype)


class Weights:
    """The arrays of one conversion: a weight that several calls share is read and permuted once."""

    def __init__(self) -> None:
        self._arrays: dict[tuple[int, str, tuple[int, ...] | None], Array] = {}
        # Keeps the objects alive whose id is a key.
        self._owners: list[Any] = []

    def get(self, variable: Any, *, like: Value | None = None, perm: Sequence[int] | None = None) -> Array:
        """Return the array of a variable.

        Args:
            variable: Keras variable or tensor.
            like: Convert to the element type of this value (mixed precision).
            perm: Permute the axes: a view, which is copied when it is written or folded into.
        """
        wanted = "" if like is None else dtype_of(like).name
        key = (id(variable), wanted, None if perm is None else tuple(perm))
        found = self._arrays.get(key)
        if found is None:
            found = read_array(variable)
            if like is not None:
                found = found.astype(dtype_of(like).numpy(), copy=False)
            if perm is not None:
                found = np.transpose(found, perm)
            self._arrays[key] = found
            self._owners.append(variable)
        return found
