"""Tensor types: dtype and symbolic shape, as the builder and the shape calculators exchange them."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import onnx_ir as ir

from any2onnx.errors import InvalidType

DataType = ir.DataType
Value = ir.Value
Dim = int | str | None
"""A dimension: a number, a name (equal names are equal sizes), or None where nothing is known."""

FLOATS: Final = frozenset({DataType.FLOAT16, DataType.BFLOAT16, DataType.FLOAT, DataType.DOUBLE})

# The ONNX spec's names of element types ("tensor(float)") and the DataType behind each.
SPEC_NAMES: Final[dict[str, DataType]] = {
    **{member.name.lower(): member for member in DataType if member.name != "UNDEFINED"},
    "double": DataType.DOUBLE,
}
_TENSOR_TYPE: Final = re.compile(r"tensor\((\w+)\)")


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """Type of a tensor: element type and shape.

    Attributes:
        dtype: Element type.
        shape: One entry per dimension, or None where not even the rank is known.
    """

    dtype: DataType
    shape: tuple[Dim, ...] | None = None

    def __str__(self) -> str:
        dims = "..." if self.shape is None else ",".join("?" if d is None else str(d) for d in self.shape)
        return f"{self.dtype.name.lower()}[{dims}]"

    def with_dtype(self, dtype: DataType) -> TensorSpec:
        """Return the same shape with another element type."""
        return TensorSpec(dtype, self.shape)


def dims_of(shape: ir.Shape | None) -> tuple[Dim, ...] | None:
    """Return the dims of an onnx-ir shape as plain Python values."""
    if shape is None:
        return None
    return tuple(dim if isinstance(dim, int) else dim.value for dim in shape)


def spec_of(value: Value) -> TensorSpec:
    """Return the type of a value.

    Raises:
        InvalidType: The value has no element type yet.
    """
    if value.dtype is None:
        raise InvalidType(f"value {value.name!r} has no element type")
    return TensorSpec(value.dtype, dims_of(value.shape))


def dtype_of(value: Value) -> DataType:
    """Return the element type of a value; raises InvalidType when it is not known."""
    return spec_of(value).dtype


def rank_of(value: Value) -> int:
    """Return the number of dimensions of a value; raises InvalidType when it is not known."""
    if value.shape is None:
        raise InvalidType(f"the rank of value {value.name!r} is not known")
    return len(value.shape)


def shape_of(value: Value) -> tuple[Dim, ...]:
    """Return the dims of a value; raises InvalidType when the rank is not known."""
    dims = dims_of(value.shape)
    if dims is None:
        raise InvalidType(f"the shape of value {value.name!r} is not known")
    return dims


def to_dtype(dtype: Any) -> DataType:
    """Return the DataType for a DataType, a numpy dtype, a Python type or a name such as ``float32``.

    Raises:
        InvalidType: Nothing in ONNX corresponds.
    """
    if isinstance(dtype, DataType):
        return dtype
    if isinstance(dtype, str) and dtype.lower() in SPEC_NAMES:
        return SPEC_NAMES[dtype.lower()]
    try:
        numpy_dtype = np.dtype(dtype)
        return DataType.STRING if numpy_dtype.kind in "OUST" else DataType.from_numpy(numpy_dtype)
    except TypeError as error:
        raise InvalidType(f"{dtype!r} is no element type that ONNX has") from error


@functools.cache
def dtypes_in(type_strings: frozenset[str]) -> frozenset[DataType]:
    """Return the element types named by the spec's strings: ``tensor(float)`` → FLOAT; other types are left out."""
    matches = (_TENSOR_TYPE.fullmatch(text) for text in type_strings)
    return frozenset(SPEC_NAMES[match[1]] for match in matches if match and match[1] in SPEC_NAMES)


def merge_dim(known: Dim, promised: Dim) -> Dim:
    """Return the more telling of two statements about one dimension.

    Raises:
        ValueError: Two different numbers.
    """
    if isinstance(known, int):
        if isinstance(promised, int) and known != promised:
            raise ValueError(f"{known} is not {promised}")
        return known
    return promised if promised is not None else known


def merge_shape(known: Sequence[Dim] | None, promised: Sequence[Dim] | None) -> tuple[Dim, ...] | None:
    """Return what two statements about one shape say together; ValueError where they contradict each other."""
    if known is None or promised is None:
        chosen = promised if known is None else known
        return None if chosen is None else tuple(chosen)
    if len(known) != len(promised):
        raise ValueError(f"rank {len(known)} is not rank {len(promised)}")
    return tuple(merge_dim(a, b) for a, b in zip(known, promised, strict=True))


def broadcast_dims(*shapes: Iterable[Dim]) -> tuple[Dim, ...]:
    """Return the shape that numpy-style broadcasting gives; None for a dim that cannot be told."""
    lists = [tuple(shape) for shape in shapes]
    rank = max((len(shape) for shape in lists), default=0)
    padded = [(1,) * (rank - len(shape)) + shape for shape in lists]
    return tuple(_broadcast_one(dims) for dims in zip(*padded, strict=True))


def _broadcast_one(dims: Sequence[Dim]) -> Dim:
    distinct = list(dict.fromkeys(d for d in dims if d != 1))
    if not distinct:
        return 1
    numbers = [d for d in distinct if isinstance(d, int)]
    if numbers:
        return numbers[0]
    return distinct[0] if len(distinct) == 1 else None
