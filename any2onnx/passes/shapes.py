"""Shape arithmetic: what Shape, Size and the operators behind them compute is often known before the model runs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from any2onnx.passes.contract import GraphPass
from any2onnx.passes.editing import (
    Dim,
    Names,
    Scope,
    add_constant,
    constant,
    constant_ints,
    dims,
    get_input,
    get_int,
    get_ints,
    int_constant,
    is_op,
    remove_node,
    replace_value,
    same_dim,
    static_dims,
    tensor_shape,
)
from any2onnx.passes.views import reshape_target

if TYPE_CHECKING:
    from collections.abc import Callable

# Longer vectors are no shapes.
_LIMIT = 64


@dataclass(frozen=True, slots=True)
class ShapeValue:
    """What is known of an integer scalar or vector.

    Attributes:
        elements: A number, a named symbol, or None for an element that is not known.
        scalar: Whether it has rank 0 (and one element) instead of rank 1.
    """

    elements: tuple[Dim | None, ...]
    scalar: bool = False

    def numbers(self) -> list[int] | None:
        """Return the elements when all are numbers."""
        numbers = [element for element in self.elements if isinstance(element, int)]
        return numbers if len(numbers) == len(self.elements) else None


Known = dict[ir.Value, ShapeValue]


class FoldShapesPass(GraphPass):
    """Follow the elements of shape vectors through the graph and make constants of those that are known.

    ``Shape(x)[1]`` is a constant when that dimension of x is a number, whatever the batch is. A Reshape whose target
    is computed from such elements gets a constant target, with 0 (copy) or -1 for the one that is only a symbol.
    """

    def rewrite(self, scope: Scope, names: Names) -> int:
        """Fold the shape arithmetic of one graph."""
        known: Known = {}
        count = 0
        for node in list(scope.graph):
            count += _fix_reshape(scope, names, node, known)
            rule = _RULES.get(node.op_type)
            if rule is None or not is_op(node, node.op_type):
                continue
            value = rule(node, known)
            if value is None or len(value.elements) > _LIMIT:
                continue
            known[node.outputs[0]] = value
            if value.numbers() is not None and _has_shape_type(node):
                known[_fold(scope, names, node, value)] = value
                count += 1
        return count


def _has_shape_type(node: ir.Node) -> bool:
    """Whether the integer type of the first output is known (Shape and Size make int64 by definition)."""
    return node.op_type in ("Shape", "Size") or node.outputs[0].dtype in (ir.DataType.INT64, ir.DataType.INT32)


def _fold(scope: Scope, names: Names, node: ir.Node, value: ShapeValue) -> ir.Value:
    output = node.outputs[0]
    array = np.array(value.numbers(), dtype=np.int32 if output.dtype == ir.DataType.INT32 else np.int64)
    if value.scalar:
        array = array.reshape(())
    # A graph output must keep a node that produces it.
    holder = Scope(scope.graph, scope.opset, in_function=scope.in_function or output.is_graph_output())
    held = add_constant(holder, names, ir.Tensor(array), f"{output.name}/known", before=node, source=node)
    replace_value(names, output, held)
    remove_node(node)
    return held


def _fix_reshape(scope: Scope, names: Names, node: ir.Node, known: Known) -> bool:
    """Give a Reshape a constant target, where its elements are known well enough."""
    if not is_op(node, "Reshape") or node.inputs[0] is None:
        return False
    shape = get_input(node, 1)
    before = dims(node.inputs[0])
    if shape is None or before is None or constant(shape) is not None or shape not in known:
        return False
    resolved = _resolve(before, known[shape].elements, allow_zero=bool(get_int(node, "allowzero", 0)))
    target = None if resolved is None else reshape_target(before, resolved)
    if target is None:
        return False
    node.replace_input_with(1, int_constant(scope, names, target, f"{node.outputs[0].name}/shape", before=node))
    node.attributes.pop("allowzero", None)
    return True


def _resolve(before: tuple[Dim, ...], elements: tuple[Dim | None, ...], *, allow_zero: bool) -> tuple[Dim, ...] | None:
    """Replace the special values 0 and -1 of a Reshape's target by dimensions; an unknown one gets no name."""
    resolved: list[Dim] = []
    for axis, element in enumerate(elements):
        if isinstance(element, int) and element == 0:
            if allow_zero or axis >= len(before):
                return None
            resolved.append(before[axis])
        elif element is None or (isinstance(element, int) and element < 0):
            resolved.append(ir.SymbolicDim(None))
        else:
            resolved.append(element)
    return tuple(resolved)


# --- one rule per operator: what is known of its output ----------------------------------------------------------


def _read(value: ir.Value | None, known: Known) -> ShapeValue | None:
    if value is None:
        return None
    if value in known:
        return known[value]
    numbers, tensor = constant_ints(value, limit=_LIMIT), constant(value)
    if numbers is None or tensor is None or len(tensor_shape(tensor)) > 1:
        return None
    return ShapeValue(numbers, scalar=len(tensor_shape(tensor)) == 0)


def _shape(node: ir.Node, known: Known) -> ShapeValue | None:
    shape = dims(node.inputs[0])
    if shape is None:
        return None
    part = shape[get_int(node, "start", 0) : get_int(node, "end", len(shape))]
    return ShapeValue(tuple(dim if isinstance(dim, int) or dim.value is not None else None for dim in part))


def _size(node: ir.Node, known: Known) -> ShapeValue | None:
    shape = static_dims(node.inputs[0])
    return None if shape is None else ShapeValue((math.prod(shape),), scalar=True)


def _gather(node: ir.Node, known: Known) -> ShapeValue | None:
    data, indices = _read(node.inputs[0], known), _read(node.inputs[1], known)
    if data is None or indices is None or data.scalar or node.inputs[0] not in known:
        return None
    positions = indices.numbers()
    length = len(data.elements)
    if positions is None or any(not -length <= position < length for position in positions):
        return None
    return ShapeValue(tuple(data.elements[position] for position in positions), scalar=indices.scalar)


def _slice(node: ir.Node, known: Known) -> ShapeValue | None:
    data = _read(node.inputs[0], known)
    if data is None or data.scalar or node.inputs[0] not in known:
        return None
    bounds: list[int] = []
    for index, default in ((1, None), (2, None), (4, 1)):
        value = get_input(node, index)
        part = None if value is None else _read(value, known)
        numbers = None if part is None else part.numbers()
        if numbers is None and (value is not None or default is None):
            return None
        bounds.append(numbers[0] if numbers else 1)
    start, end, step = bounds
    if step < 1:
        return None
    # Python's slices treat negative and too large bounds as Slice does, for positive steps.
    return ShapeValue(data.elements[start:end:step])


def _concat(node: ir.Node, known: Known) -> ShapeValue | None:
    parts = [_read(value, known) for value in node.inputs]
    if not any(value in known for value in node.inputs):
        return None
    elements: list[Dim | None] = []
    for value, part in zip(node.inputs, parts, strict=True):
        if part is not None and not part.scalar:
            elements.extend(part.elements)
        elif static_dims(value) == (1,):
            elements.append(None)
        else:
            return None
    return ShapeValue(tuple(elements))


def _cast(node: ir.Node, known: Known) -> ShapeValue | None:
    if node.inputs[0] not in known or get_int(node, "to", 0) not in (ir.DataType.INT64, ir.DataType.INT32):
        return None
    value = known[node.inputs[0]]
    if any(isinstance(element, int) and abs(element) > np.iinfo(np.int32).max for element in value.elements):
        return None
    return value


def _squeeze(node: ir.Node, known: Known) -> ShapeValue | None:
    value = _read(node.inputs[0], known)
    if value is None or node.inputs[0] not in known or len(value.elements) != 1:
        return None
    return ShapeValue(value.elements, scalar=True)


def _unsqueeze(node: ir.Node, known: Known) -> ShapeValue | None:
    value = _read(node.inputs[0], known)
    axes = constant_ints(get_input(node, 1)) or get_ints(node, "axes")
    if value is None or node.inputs[0] not in known or not value.scalar or axes is None or len(axes) != 1:
        return None
    return ShapeValue(value.elements)


def _identity(node: ir.Node, known: Known) -> ShapeValue | None:
    return known.get(node.inputs[0]) if node.inputs[0] is not None else None


def _arithmetic(node: ir.Node, known: Known) -> ShapeValue | None:
    left, right = (_read(value, known) for value in node.inputs)
    if left is None or right is None or not any(value in known for value in node.inputs):
        return None
    length = max(len(left.elements), len(right.elements))
    if {len(left.elements), len(right.elements)} - {1, length}:
        return None
    pairs = zip(_stretch(left, length), _stretch(right, length), strict=True)
    elements = tuple(_combine(node.op_type, a, b) for a, b in pairs)
    return ShapeValue(elements, scalar=left.scalar and right.scalar)


def _stretch(value: ShapeValue, length: int) -> tuple[Dim | None, ...]:
    return value.elements * length if len(value.elements) == 1 else value.elements


def _combine(op_type: str, left: Dim | None, right: Dim | None) -> Dim | None:
    """Compute one element; a symbol survives only the neutral operations x*1, x/1, x+0, x-0."""
    if left is None or right is None:
        return None
    if isinstance(left, int) and isinstance(right, int):
        if op_type == "Div":
            return _divide(left, right)
        return {"Add": left + right, "Sub": left - right, "Mul": left * right}[op_type]
    neutral = 1 if op_type in ("Mul", "Div") else 0
    if same_dim(right, neutral):
        return left
    if op_type in ("Add", "Mul") and same_dim(left, neutral):
        return right
    return None


def _divide(left: int, right: int) -> int | None:
    """Divide as ONNX does, toward zero; None for a division by zero."""
    if right == 0:
        return None
    quotient = abs(left) // abs(right)
    return quotient if (left < 0) == (right < 0) else -quotient


_RULES: dict[str, Callable[[ir.Node, Known], ShapeValue | None]] = {
    "Add": _arithmetic,
    "Cast": _cast,
    "Concat": _concat,
    "Div": _arithmetic,
    "Gather": _gather,
    "Identity": _identity,
    "Mul": _arithmetic,
    "Shape": _shape,
    "Size": _size,
    "Slice": _slice,
    "Squeeze": _squeeze,
    "Sub": _arithmetic,
    "Unsqueeze": _unsqueeze,
}
