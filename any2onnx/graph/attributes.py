"""Python values to ONNX attributes, by the type that the operator's definition states."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, overload

import numpy as np
import onnx
import onnx_ir as ir

from any2onnx.errors import GraphError, did_you_mean
from any2onnx.graph.arrays import as_tensor
from any2onnx.graph.definitions import formal_attributes

# Arrays above this size stay arrays: as Python numbers they would take five times the memory and the time.
_LARGE: Final = 256


class Numbers(Sequence[Any]):
    """The numbers of an INTS or FLOATS attribute, held as an array by reference; reads as Python numbers.

    Args:
        array: float32 or whole numbers of any width, one dimension, contiguous; not to be changed any more.
    """

    __slots__ = ("array",)

    def __init__(self, array: np.ndarray[Any, Any]) -> None:
        self.array = array

    def __len__(self) -> int:
        return len(self.array)

    def __iter__(self) -> Iterator[Any]:
        # A memoryview makes the Python numbers one by one, in C.
        return iter(self.array.data)

    @overload
    def __getitem__(self, index: int) -> Any: ...

    @overload
    def __getitem__(self, index: slice) -> Numbers: ...

    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return Numbers(np.ascontiguousarray(self.array[index]))
        return self.array[index].item()

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Numbers):
            return np.array_equal(self.array, other.array)
        return isinstance(other, Sequence) and not isinstance(other, str) and tuple(self) == tuple(other)

    def __hash__(self) -> int:
        return hash(tuple(self))

    def __repr__(self) -> str:
        return f"Numbers({np.array2string(self.array, threshold=8)})"


class NumbersAttr(ir.Attr):
    """An INTS or FLOATS attribute whose value is `Numbers`: onnx-ir's own makes a tuple of Python numbers."""

    __slots__ = ("_numbers",)

    def __init__(self, name: str, kind: ir.AttributeType, numbers: Numbers) -> None:
        super().__init__(name, kind, None)
        self._numbers = numbers

    @property
    def value(self) -> Numbers:
        """The numbers."""
        return self._numbers


def make_attributes(op_type: str, schema: onnx.defs.OpSchema | None, given: Mapping[str, Any]) -> list[ir.Attr]:
    """Return the attributes of a node, sorted by name; None leaves an attribute out.

    Raises:
        GraphError: The operator has no attribute of that name at this opset, or lacks a required one.
    """
    attributes = {name: value for name, value in given.items() if value is not None}
    if schema is None:
        return [ir.convenience.convert_attribute(name, attributes[name]) for name in sorted(attributes)]
    known = formal_attributes(schema)
    for name in attributes:
        if name not in known:
            hint = did_you_mean(name, known)
            raise GraphError(f"{op_type} has no attribute {name!r} at version {schema.since_version}{hint}")
    missing = [name for name, (_, required) in known.items() if required and name not in attributes]
    if missing:
        raise GraphError(f"{op_type} needs the attribute {missing[0]!r}")
    return [_convert(name, attributes[name], known[name][0]) for name in sorted(attributes)]


def _convert(name: str, value: Any, attribute_type: ir.AttributeType) -> ir.Attr:
    if isinstance(value, ir.Attr):
        return value
    if attribute_type == ir.AttributeType.INT:
        return ir.AttrInt64(name, int(value))
    if attribute_type == ir.AttributeType.FLOAT:
        return ir.AttrFloat32(name, float(value))
    if attribute_type == ir.AttributeType.STRING:
        return ir.AttrString(name, value)
    if attribute_type == ir.AttributeType.INTS:
        return _numbers(name, attribute_type, _whole(value))
    if attribute_type == ir.AttributeType.FLOATS:
        return _numbers(name, attribute_type, np.asarray(value, np.float32))
    if attribute_type == ir.AttributeType.STRINGS:
        return ir.AttrStrings(name, list(value))
    if attribute_type == ir.AttributeType.TENSOR:
        if isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
            return ir.AttrTensor(name, as_tensor(value))  # asking for a Protocol is slow
        return ir.AttrTensor(name, value if isinstance(value, ir.TensorProtocol) else ir.tensor(np.asarray(value)))
    if attribute_type == ir.AttributeType.GRAPH:
        return ir.AttrGraph(name, value)
    return ir.Attr(name, attribute_type, value)


def _whole(value: Any) -> np.ndarray[Any, Any]:
    """Return whole numbers as they are, those of large arrays in their own width: a byte needs no eight."""
    array = np.asarray(value)
    if array.size > _LARGE and array.dtype.isnative:
        if array.dtype == np.bool_:
            return array.view(np.uint8)
        if array.dtype.kind == "i" or (array.dtype.kind == "u" and array.dtype.itemsize < 8):
            return array
    return array.astype(np.int64)


def _numbers(name: str, kind: ir.AttributeType, array: np.ndarray[Any, Any]) -> ir.Attr:
    if array.size > _LARGE:
        return NumbersAttr(name, kind, Numbers(np.ascontiguousarray(array.ravel())))
    return ir.Attr(name, kind, array.ravel().tolist())
