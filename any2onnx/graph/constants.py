"""Constants of a graph: arrays by reference, one initializer for equal small ones and for an array given twice."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

import numpy as np
import onnx_ir as ir

from any2onnx.errors import GraphError
from any2onnx.graph.arrays import as_tensor
from any2onnx.graph.names import Names
from any2onnx.graph.types import DataType, Value

Operand = ir.Value | np.ndarray[Any, Any] | np.generic | bool | int | float | str | Sequence[Any] | None

# Constants up to this size are compared by content.
_SMALL: Final = 1024


class ConstantPool:
    """The initializers of a graph and its sub-graphs."""

    def __init__(self, names: Names) -> None:
        self._names = names
        self._by_key: dict[object, Value] = {}
        # Keeps the arrays alive whose address is a key.
        self._owners: list[Any] = []

    def get(self, array: Any, *, dtype: DataType | None, name: str) -> Value:
        """Return the value that holds `array`."""
        tensor, owner = _as_tensor(array, dtype)
        key = _key(tensor, owner)
        value = self._by_key.get(key)
        if value is None:
            label = self._names.unique(name)
            tensor.name = label
            value = ir.Value(
                name=label, type=ir.TensorType(tensor.dtype), shape=ir.Shape(tensor.shape.numpy()), const_value=tensor
            )
            self._by_key[key] = value
            self._owners.append(owner)
        return value

    def values(self) -> Iterable[Value]:
        """Return all constants, in the order of making."""
        return self._by_key.values()

    def used(self, nodes: Iterable[ir.Node]) -> list[Value]:
        """Return the constants that some node reads, in the order of making."""
        read = {id(v) for node in nodes for v in node.inputs if v is not None}
        return [v for v in self._by_key.values() if id(v) in read]

    def as_nodes(self) -> list[ir.Node]:
        """Turn the constants into Constant nodes (a function's body cannot have initializers)."""
        nodes = []
        for value in self._by_key.values():
            assert value.const_value is not None
            nodes.append(
                ir.Node(
                    "", "Constant", [], [ir.AttrTensor("value", value.const_value)], outputs=[value], name=value.name
                )
            )
        return nodes


def _as_tensor(array: Any, dtype: DataType | None) -> tuple[ir.TensorProtocol, Any]:
    # The common cases first: asking for a Protocol is slow.
    plain = isinstance(array, np.ndarray | np.generic | bool | int | float | str | list | tuple)
    if not plain and isinstance(array, ir.TensorProtocol):
        return array, array
    if not plain and type(array).__module__.partition(".")[0] == "torch":
        return ir.tensor_adapters.TorchTensor(array), array
    if dtype == DataType.STRING or (not hasattr(array, "dtype") and _is_text(array)):
        return _string_tensor(np.asarray(array, dtype=object)), None
    converted = np.asarray(array)
    if converted.dtype.kind in "OUST":
        return _string_tensor(converted.astype(object)), None
    if dtype is None:
        # Python numbers: ONNX's usual types, whatever numpy's are on this platform.
        if not hasattr(array, "dtype"):
            converted = converted.astype({"f": np.float32, "i": np.int64}.get(converted.dtype.kind, converted.dtype))
    elif converted.dtype != dtype.numpy():
        converted = converted.astype(dtype.numpy())
    return as_tensor(converted, dtype), converted


def _is_text(array: Any) -> bool:
    return isinstance(array, str | bytes) or (
        isinstance(array, list | tuple) and bool(array) and isinstance(array[0], str)
    )


def _string_tensor(array: np.ndarray[Any, Any]) -> ir.StringTensor:
    for item in array.flat:
        if not isinstance(item, str | bytes):
            raise GraphError(f"a string constant holds {item!r}", needs="strings only")
    encoded = [item.encode() if isinstance(item, str) else bytes(item) for item in array.flat]
    return ir.StringTensor(encoded, shape=ir.Shape(array.shape))


def _key(tensor: ir.TensorProtocol, owner: Any) -> object:
    shape = tuple(tensor.shape.numpy())
    if isinstance(tensor, ir.StringTensor):
        return "string", shape, tuple(tensor.raw)
    if tensor.nbytes <= _SMALL:
        return int(tensor.dtype), shape, tensor.tobytes()
    if isinstance(owner, np.ndarray):
        address = owner.__array_interface__["data"][0]
        return int(tensor.dtype), shape, address, owner.strides
    if hasattr(owner, "data_ptr"):
        return int(tensor.dtype), shape, owner.data_ptr(), tuple(owner.stride())
    return id(tensor)
