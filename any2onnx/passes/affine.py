"""Per-channel scaling and shifting: how BatchNormalization and its hand-written forms are read from a graph."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from any2onnx.graph.arrays import Array, RowsTensor, contiguous
from any2onnx.passes.editing import (
    constant,
    constant_array,
    dims,
    get_float,
    get_input,
    get_int,
    has_single_use,
    is_op,
    tensor_shape,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

FLOATS = (ir.DataType.FLOAT, ir.DataType.DOUBLE, ir.DataType.FLOAT16, ir.DataType.BFLOAT16)
Vector = npt.NDArray[np.float64]

# Elements that are converted to float64 at a time.
_BLOCK = 1 << 16
# Bytes of a weight that is computed only when it is written.
_LARGE = 1 << 16


@dataclass(frozen=True, slots=True)
class Affine:
    """``y = x * scale + shift`` per channel, in float64.

    Attributes:
        scale: Shape [channels].
        shift: Shape [channels].
    """

    scale: Vector
    shift: Vector

    def then(self, later: Affine) -> Affine:
        """Return the map that applies this one first."""
        return Affine(self.scale * later.scale, self.shift * later.scale + later.shift)

    def is_finite(self) -> bool:
        """Whether no scale or shift is infinite or NaN (a weight of 0 would turn those into NaN)."""
        return bool(np.isfinite(self.scale).all() and np.isfinite(self.shift).all())


def batch_norm_affine(node: ir.Node) -> Affine | None:
    """Return what an inference-mode BatchNormalization with constant statistics computes, or None."""
    if not is_op(node, "BatchNormalization") or get_int(node, "training_mode", 0):
        return None
    # Before opset 14 further outputs meant training mode; since then they exist in training mode only.
    if any(value.name for value in node.outputs[1:]):
        return None
    arrays = [constant_array(get_input(node, index)) for index in range(1, 5)]
    if any(array is None or array.ndim != 1 for array in arrays):
        return None
    gamma, beta, mean, variance = (array.astype(np.float64) for array in arrays if array is not None)
    with np.errstate(all="ignore"):
        scale = gamma / np.sqrt(variance + get_float(node, "epsilon", 1e-5))
        return Affine(scale, beta - mean * scale)


def arithmetic_affine(node: ir.Node, value: ir.Value, channels: int, length: int) -> Affine | None:
    """Return what Add, Sub, Mul or Div of ``value`` ([N, channels, ...]) and a per-channel constant computes."""
    if not is_op(node, "Add", "Sub", "Mul", "Div") or value.dtype not in FLOATS:
        return None
    position = 0 if node.inputs[0] is value else 1
    other = node.inputs[1 - position]
    tensor = constant(other)
    if tensor is None or other is value or (node.op_type == "Div" and position == 1):
        return None
    shape = tensor_shape(tensor)
    padded = (1,) * (length - len(shape)) + shape
    if len(padded) != length or any(dim != 1 for axis, dim in enumerate(padded) if axis != 1):
        return None
    if padded[1] not in (1, channels):
        return None
    numbers = np.broadcast_to(tensor.numpy().astype(np.float64).reshape(-1), (channels,))
    ones, zeros = np.ones(channels), np.zeros(channels)
    with np.errstate(all="ignore"):
        if node.op_type == "Add":
            return Affine(ones, numbers)
        if node.op_type == "Sub":
            return Affine(ones, -numbers) if position == 0 else Affine(-ones, numbers)
        return Affine(numbers if node.op_type == "Mul" else 1.0 / numbers, zeros)


def chain_behind(value: ir.Value, channels: int, length: int) -> list[tuple[ir.Node, Affine]]:
    """Return the per-channel maps applied to ``value`` one after the other, as far as each result has one reader."""
    chain: list[tuple[ir.Node, Affine]] = []
    while has_single_use(value):
        ((node, _),) = value.uses()
        if node.graph is not value.graph:
            break
        affine = batch_norm_affine(node) if is_op(node, "BatchNormalization") else None
        if affine is None or node.inputs[0] is not value:
            affine = arithmetic_affine(node, value, channels, length)
        if affine is None or affine.scale.shape != (channels,) or not affine.is_finite():
            break
        chain.append((node, affine))
        value = node.outputs[0]
    return chain


def has_batch_norm(chain: Sequence[tuple[ir.Node, Affine]]) -> bool:
    """Whether a chain of maps holds a BatchNormalization."""
    return any(node.op_type == "BatchNormalization" for node, _ in chain)


def compose(chain: Sequence[tuple[ir.Node, Affine]]) -> Affine:
    """Return the map that a chain computes as a whole."""
    affine = chain[0][1]
    for _, later in chain[1:]:
        affine = affine.then(later)
    return affine


def chain_before(value: ir.Value, channels: int) -> list[tuple[ir.Node, Affine]]:
    """Return the maps by arithmetic that make ``value`` [N, channels] out of another such matrix, the first one first.

    As far as each result has one reader.
    """
    chain: list[tuple[ir.Node, Affine]] = []
    while has_single_use(value):
        node = value.producer()
        if node is None or node.graph is not value.graph or len(node.inputs) != 2:
            break
        source = node.inputs[1 if constant(node.inputs[0]) is not None else 0]
        known = None if source is None else dims(source)
        if source is None or known is None or len(known) != 2 or known[1] != channels:
            break
        affine = arithmetic_affine(node, source, channels, 2)
        if affine is None or not affine.is_finite():
            break
        chain.insert(0, (node, affine))
        value = source
    return chain


def bias_vector(value: ir.Value | None, channels: int) -> Vector | None:
    """Return a bias as float64 vector: zeros when absent, None when it is not a constant per channel."""
    if value is None:
        return np.zeros(channels)
    array = constant_array(value)
    if array is None or math.prod(array.shape[:-1]) != 1 or array.size not in (1, channels):
        return None
    return np.broadcast_to(array.reshape(-1).astype(np.float64), (channels,))


def scaled(weight: ir.TensorProtocol, factor: npt.NDArray[np.float64]) -> ir.TensorProtocol | None:
    """Return ``weight * factor`` (broadcast), computed in float64 and rounded once to the type of the weight.

    A large weight is computed when it is written: never are all of them in memory beside the originals.

    Returns:
        The tensor; None when a finite weight would become infinite.
    """
    if weight.nbytes < _LARGE or not _stays_finite(weight, factor):
        return _scaled_now(weight, factor)

    shape = tensor_shape(weight)
    if isinstance(weight, ir.LazyTensor):

        def compute() -> ir.TensorProtocol:
            return ir.Tensor(_product(weight.numpy(), factor), dtype=weight.dtype)

        return ir.LazyTensor(compute, dtype=weight.dtype, shape=ir.Shape(shape))

    def rows(some: slice) -> Array:
        by_row = factor.ndim == len(shape) and factor.shape[0] > 1
        return _product(weight.numpy()[some], factor[some] if by_row else factor)

    return RowsTensor(rows, dtype=weight.dtype, shape=shape)


def _stays_finite(weight: ir.TensorProtocol, factor: npt.NDArray[np.float64]) -> bool:
    """Tell, without making a new array, whether no product can come near the largest number; False where unsure."""
    array = weight.numpy()
    largest = max(float(array.max()), -float(array.min())) * float(np.abs(factor).max())
    return largest < float(ml_dtypes.finfo(array.dtype).max) / 2  # type: ignore[no-untyped-call]


def _scaled_now(weight: ir.TensorProtocol, factor: npt.NDArray[np.float64]) -> ir.TensorProtocol | None:
    before = weight.numpy()
    rounded = _product(before, factor)
    if not np.isfinite(rounded).all() and np.isfinite(before).all():
        return None
    return ir.Tensor(rounded, dtype=weight.dtype)


def _product(before: Array, factor: npt.NDArray[np.float64]) -> Array:
    array = contiguous(before)
    # A copy is ours: it is scaled in place.
    rounded = np.empty(array.shape, array.dtype) if array is before else array
    with np.errstate(all="ignore"):
        # numpy converts a few thousand elements at a time, so no second array of float64 is made.
        np.multiply(array, factor, out=rounded, casting="unsafe")
    return rounded


def product(matrix: npt.NDArray[Any], vector: Vector) -> Vector:
    """Return ``matrix @ vector`` in float64, without a float64 copy of the whole matrix."""
    if matrix.strides[0] < matrix.strides[1]:  # a transposed view: its columns are contiguous
        total = np.zeros(len(matrix))
        step = max(1, _BLOCK // max(1, len(matrix)))
        for start in range(0, len(vector), step):
            total += vector[start : start + step] @ matrix[:, start : start + step].T.astype(np.float64)
        return total
    step = max(1, _BLOCK // max(1, len(vector)))
    parts = [matrix[start : start + step].astype(np.float64) @ vector for start in range(0, len(matrix), step)]
    return np.concatenate(parts)


def round_vector(vector: Vector, like: ir.TensorProtocol) -> ir.TensorProtocol | None:
    """Round a bias to the type of ``like``; None when it would become infinite."""
    with np.errstate(all="ignore"):
        rounded = vector.astype(like.dtype.numpy())
    if not np.isfinite(rounded).all() and np.isfinite(vector).all():
        return None
    return ir.Tensor(rounded, dtype=like.dtype)
