"""Arrays in another order of axes, without copies until they are written, and fast copies then."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import numpy as np
import onnx_ir as ir

Array = np.ndarray[Any, Any]

# Smaller arrays fit into the caches in any order.
_LARGE: Final = 1 << 20
# Bytes of the result, and columns, copied at a time: both sides stay in the cache and few pages are open.
_BLOCK: Final = 4 << 20
_COLUMNS: Final = 64
# Kernels with more positions are as fast in numpy's own order.
_POSITIONS: Final = 64


def contiguous(array: Array) -> Array:
    """Return the array in C order: itself, or a copy."""
    if array.flags.c_contiguous:
        return array
    result = np.empty(array.shape, array.dtype)
    copy_into(result, array)
    return result


def copy_into(target: Array, array: Array) -> None:
    """Copy an array in any order of axes into one of its shape in C order.

    numpy copies in the order of the result. For a large transposed matrix, and more so for a kernel whose spatial
    axes become the last ones ([*spatial, in, out] as [out, in, *spatial]), nearly every element is then a cache
    miss; copying block by block, and one spatial position after the other, is two to ten times faster.
    """
    positions = math.prod(array.shape[2:])
    if array.nbytes < _LARGE or array.ndim < 2 or positions > _POSITIONS or array.strides[0] != array.itemsize:
        target[...] = array
        return
    indices = list(np.ndindex(array.shape[2:]))
    height = max(1, _BLOCK * array.shape[0] // array.nbytes)
    for top in range(0, array.shape[0], height):
        for left in range(0, array.shape[1], _COLUMNS):
            for index in indices:
                place = (slice(top, top + height), slice(left, left + _COLUMNS), *index)
                target[place] = array[place]


class StridedTensor(ir.Tensor[Any]):
    """A tensor over an array that is not in C order, such as a transposed view of a weight."""

    __slots__ = ()

    def tobytes(self) -> bytes:
        """Return the elements in C order, little-endian."""
        return ir.Tensor(contiguous(self.numpy()), dtype=self.dtype).tobytes()


class RowsTensor(ir.LazyTensor):
    """A tensor that is computed when it is read, some rows (along the first axis) at a time where that is enough.

    Args:
        rows: Returns the rows of a slice, in C order.
        dtype: Of the elements.
        shape: Of the whole; at least one axis.
    """

    def __init__(self, rows: Callable[[slice], Array], *, dtype: ir.DataType, shape: Sequence[int]) -> None:
        self.rows = rows
        super().__init__(lambda: ir.Tensor(rows(slice(None)), dtype=dtype), dtype=dtype, shape=ir.Shape(tuple(shape)))

    def blocks(self, nbytes: int) -> Iterator[Array]:
        """Yield all rows in order, together at most so many bytes at a time (or one row)."""
        count = int(self.shape.numpy()[0])
        height = max(1, nbytes * count // max(1, self.nbytes))
        for start in range(0, count, height):
            yield self.rows(slice(start, start + height))


def as_tensor(array: Array, dtype: ir.DataType | None = None) -> ir.Tensor[Any]:
    """Return a tensor over an array in any order of axes, by reference."""
    if array.flags.c_contiguous or array.nbytes < _LARGE:
        return ir.Tensor(array, dtype=dtype)
    return StridedTensor(array, dtype=dtype)
