"""What is known about the contents of shape vectors, so that Reshape, Expand and the like keep symbolic dims.

ONNX's inference sees constants only. Here the contents of small int64 tensors are followed symbolically:
Shape(x) of float[batch,4] holds ("batch", 4).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import onnx_ir as ir

from any2onnx.graph.types import Dim, Value, broadcast_dims, dims_of

Contents = tuple[Dim, ...]
_LARGEST: Final = 16


class ShapeValues:
    """Contents of shape vectors, by value; a scalar counts as one element."""

    def __init__(self) -> None:
        self._contents: dict[Value, Contents] = {}

    def contents(self, value: Value | None) -> Contents | None:
        """Return the elements as numbers, names or None; None as a whole where nothing is known."""
        if value is None:
            return None
        constant = value.const_value
        if constant is not None:
            if constant.dtype != ir.DataType.INT64 or constant.size > _LARGEST:
                return None
            return tuple(int(k) for k in constant.numpy().ravel())
        return self._contents.get(value)

    def propagate(self, node: ir.Node) -> None:
        """Note the contents of a new node's output, and use those of its inputs for its output's shape."""
        if node.domain or not node.outputs:
            return
        found = self._elements(node)
        if found is not None and len(found) <= _LARGEST:
            self._contents[node.outputs[0]] = found
        shape = self._output_shape(node)
        if shape is not None:
            _refine(node.outputs[0], shape)

    def _elements(self, node: ir.Node) -> Contents | None:
        op_type, inputs = node.op_type, node.inputs
        if op_type == "Shape":
            dims = dims_of(inputs[0].shape) if inputs[0] is not None else None
            if dims is None:
                return None
            start, end = _int(node, "start", 0), _int(node, "end", len(dims))
            return dims[slice(start, end)]
        if node.outputs[0].dtype != ir.DataType.INT64:
            return None
        if op_type in {"Squeeze", "Unsqueeze", "Identity", "Cast", "Reshape"}:
            return self.contents(inputs[0])
        if op_type == "Concat":
            parts = [self.contents(v) for v in inputs]
            return None if None in parts else tuple(d for part in parts if part is not None for d in part)
        if op_type == "Gather":
            data, index = self.contents(inputs[0]), self.contents(inputs[1])
            if (
                data is None
                or index is None
                or not all(isinstance(k, int) and -len(data) <= k < len(data) for k in index)
            ):
                return None
            return tuple(data[k] for k in index if isinstance(k, int))
        if op_type == "Slice":
            return self._sliced(inputs)
        if op_type in {"Add", "Sub", "Mul", "Div"}:
            return self._arithmetic(op_type, inputs)
        return None

    def _sliced(self, inputs: Sequence[Value | None]) -> Contents | None:
        data = self.contents(inputs[0])
        parts = [self.contents(v) for v in inputs[1:]]
        if data is None or any(p is None or len(p) != 1 or not isinstance(p[0], int) for p in parts):
            return None
        numbers = [p[0] for p in parts if p is not None]
        start, end = numbers[0], numbers[1]
        step = numbers[3] if len(numbers) > 3 else 1
        if not isinstance(start, int) or not isinstance(end, int) or not isinstance(step, int) or step == 0:
            return None
        return data[start:end:step]

    def _arithmetic(self, op_type: str, inputs: Sequence[Value | None]) -> Contents | None:
        a, b = self.contents(inputs[0]), self.contents(inputs[1])
        if a is None or b is None or (len(a) != len(b) and 1 not in (len(a), len(b))):
            return None
        if not a or not b:
            return ()
        size = max(len(a), len(b))
        pairs = zip(a * (size // len(a)), b * (size // len(b)), strict=True)
        return tuple(_compute(op_type, x, y) for x, y in pairs)

    def _output_shape(self, node: ir.Node) -> Contents | None:
        op_type, inputs = node.op_type, node.inputs
        if op_type == "Reshape":
            return self._reshaped(node)
        if op_type == "ConstantOfShape":
            return self.contents(inputs[0])
        if op_type == "Expand":
            wanted = self.contents(inputs[1])
            have = dims_of(inputs[0].shape) if inputs[0] is not None else None
            return broadcast_dims(have, wanted) if wanted is not None and have is not None else None
        return None

    def _reshaped(self, node: ir.Node) -> Contents | None:
        wanted = self.contents(node.inputs[1])
        data = dims_of(node.inputs[0].shape) if node.inputs[0] is not None else None
        if wanted is None:
            return None
        result: list[Dim] = []
        for k, dim in enumerate(wanted):
            if dim == 0 and not _int(node, "allowzero", 0):
                result.append(data[k] if data is not None and k < len(data) else None)
            else:
                result.append(None if dim == -1 else dim)
        if -1 in wanted and data is not None:
            result[wanted.index(-1)] = _remaining(data, [d for k, d in enumerate(result) if wanted[k] != -1])
        return tuple(result)


def _remaining(data: Sequence[Dim], others: Sequence[Dim]) -> Dim:
    """Return the size that -1 stands for, where the named dims cancel."""
    left, right = list(data), list(others)
    if None in left or None in right:
        return None
    for dim in list(right):
        if dim in left:
            left.remove(dim)
            right.remove(dim)
    names = [d for d in left if isinstance(d, str)]
    if any(isinstance(d, str) for d in right):
        return None
    over = _product([d for d in left if isinstance(d, int)])
    under = _product([d for d in right if isinstance(d, int)])
    if not names:
        return over // under if under and over % under == 0 else None
    return names[0] if len(names) == 1 and over == under else None


def _product(numbers: Sequence[int]) -> int:
    result = 1
    for number in numbers:
        result *= number
    return result


def _compute(op_type: str, x: Dim, y: Dim) -> Dim:
    if not isinstance(x, int) or not isinstance(y, int):
        if op_type in {"Add", "Sub"} and y == 0:
            return x
        return x if op_type in {"Mul", "Div"} and y == 1 else None
    if op_type == "Add":
        return x + y
    if op_type == "Sub":
        return x - y
    if op_type == "Mul":
        return x * y
    return int(x / y) if y else None


def _int(node: ir.Node, name: str, default: int) -> int:
    attribute = node.attributes.get(name)
    return default if attribute is None else attribute.as_int()


def _refine(value: Value, shape: Contents) -> None:
    known = dims_of(value.shape)
    if known is None or len(known) != len(shape):
        value.shape = ir.Shape(shape) if known is None else value.shape
        return
    merged = [a if isinstance(a, int) else (b if b is not None else a) for a, b in zip(known, shape, strict=True)]
    value.shape = ir.Shape(merged)
