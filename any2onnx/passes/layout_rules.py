"""Which operators can work on permuted tensors, and how their attributes and constants change when they do."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import onnx_ir as ir

from any2onnx.passes.editing import (
    Array,
    add_constant,
    constant,
    constant_ints,
    dims,
    get_input,
    get_int,
    get_ints,
    get_string,
    has_references,
    has_single_use,
    int_constant,
    is_op,
    is_unit,
    new_node,
    rank,
    same_dim,
    set_attribute,
    set_inputs,
    static_dims,
    tensor_shape,
    words,
)
from any2onnx.passes.layout_context import Context, Plan, layout_name, transformed
from any2onnx.passes.layout_dense import layer_normalization, matrix_product

Rule = Callable[[ir.Node, Context], "Plan | None"]


def plan(node: ir.Node, context: Context) -> Plan | None:
    """Return how ``node`` can work on values permuted as ``context`` says, or None if it cannot."""
    if node.domain != "" or has_references(node):
        return None
    rule = _RULES.get(node.op_type)
    return None if rule is None else rule(node, context)


def _nothing(node: ir.Node, context: Context) -> None:
    """Rewrite nothing: the operator does not care which axis is which."""


def _outputs_of_rank(node: ir.Node, length: int) -> tuple[int, ...] | None:
    """Return the positions of the outputs in use, if all have this rank."""
    used = [index for index, value in enumerate(node.outputs) if value.uses() or value.is_graph_output()]
    if not used or any(rank(node.outputs[index]) != length for index in used):
        return None
    return tuple(used)


# --- operators that work element by element ----------------------------------------------------------------------


def _elementwise(node: ir.Node, context: Context) -> Plan | None:
    """One tensor operand; further inputs are scalars (Clip, Dropout, CastLike's type)."""
    outputs = _outputs_of_rank(node, context.rank)
    if outputs is None or rank(node.inputs[0]) != context.rank:
        return None
    return Plan((0,), outputs, _nothing)


def _broadcast(node: ir.Node, context: Context) -> Plan | None:
    """All operands are broadcast to rank r: those of rank r are permuted, constants are re-laid out."""
    outputs = _outputs_of_rank(node, context.rank)
    if outputs is None:
        return None
    inputs: list[int] = []
    constants: list[int] = []
    for index, value in enumerate(node.inputs):
        tensor = constant(value)
        if value is None or (tensor.size == 1 if tensor is not None else is_unit(value)):
            continue  # one element is the same in any layout
        if tensor is not None:
            constants.append(index)
        elif rank(value) == context.rank:
            inputs.append(index)
        else:
            return None
    if not inputs:
        return None

    def rewrite(node: ir.Node, context: Context) -> None:
        for index in constants:
            value = node.inputs[index]
            assert value is not None
            node.replace_input_with(index, context.constant(value, node))

    return Plan(tuple(inputs), outputs, rewrite)


def _quantize(node: ir.Node, context: Context) -> Plan | None:
    """QuantizeLinear and DequantizeLinear, per tensor or per axis."""
    if get_int(node, "block_size", 0):
        return None
    scale = rank(node.inputs[1])
    if scale == 0 or is_unit(node.inputs[1]):
        return _elementwise(node, context)
    return _along_axis(1)(node, context) if scale == 1 else None


# --- operators with an axis --------------------------------------------------------------------------------------


def _along_axis(default: int) -> Rule:
    """Attribute ``axis``; one data input."""

    def rule(node: ir.Node, context: Context) -> Plan | None:
        outputs = _outputs_of_rank(node, context.rank)
        if outputs is None or rank(node.inputs[0]) != context.rank:
            return None
        return Plan((0,), outputs, rewrite)

    def rewrite(node: ir.Node, context: Context) -> None:
        set_attribute(node, "axis", context.axis(get_int(node, "axis", default)))

    return rule


def _concat(node: ir.Node, context: Context) -> Plan | None:
    outputs = _outputs_of_rank(node, context.rank)
    if outputs is None or any(rank(value) != context.rank for value in node.inputs):
        return None
    moving = tuple(index for index, value in enumerate(node.inputs) if constant(value) is None)

    def rewrite(node: ir.Node, context: Context) -> None:
        for index, value in enumerate(node.inputs):
            if index not in moving and value is not None:
                node.replace_input_with(index, _permuted_exactly(value, node, context))
        set_attribute(node, "axis", context.axis(get_int(node, "axis", 0)))

    return Plan(moving, outputs, rewrite) if moving else None


def _permuted_exactly(value: ir.Value, node: ir.Node, context: Context) -> ir.Value:
    """Return a constant operand permuted, keeping its rank (nothing broadcasts it)."""
    tensor = constant(value)
    assert tensor is not None
    shape = tuple(tensor_shape(tensor)[axis] for axis in context.permutation)
    permutation = context.permutation
    made = transformed(tensor, lambda array: array.transpose(permutation), shape)
    return add_constant(context.scope, context.names, made, f"{value.name}/{layout_name(permutation)}", before=node)


def _cumulative_sum(node: ir.Node, context: Context) -> Plan | None:
    outputs = _outputs_of_rank(node, context.rank)
    axes = constant_ints(node.inputs[1])
    if outputs is None or axes is None or len(axes) != 1 or rank(node.inputs[0]) != context.rank:
        return None

    def rewrite(node: ir.Node, context: Context) -> None:
        tensor = ir.Tensor(np.array(context.axis(axes[0]), dtype=np.int64))
        held = add_constant(context.scope, context.names, tensor, f"{node.outputs[0].name}/axis", before=node)
        node.replace_input_with(1, held)

    return Plan((0,), outputs, rewrite)


def _keeps_order(dropped: Sequence[int], context: Context) -> bool:
    """Whether the axes that are left when ``dropped`` go are in the same order in both layouts."""
    left = [axis for axis in context.permutation if axis not in dropped]
    return left == sorted(left)


def _reduce(node: ir.Node, context: Context) -> Plan | None:
    if rank(node.inputs[0]) != context.rank:
        return None
    keep = bool(get_int(node, "keepdims", 1))
    value = get_input(node, 1)
    axes = constant_ints(value) if value is not None else get_ints(node, "axes")
    if value is not None and axes is None:
        return None
    dropped = tuple(axis % context.rank for axis in axes or ())
    if not dropped and not get_int(node, "noop_with_empty_axes", 0):
        dropped = tuple(range(context.rank))  # the default: all of them
    outputs = _outputs_of_rank(node, context.rank) if keep or not dropped else ()
    if outputs is None or (not outputs and not _keeps_order(dropped, context)):
        return None

    def rewrite(node: ir.Node, context: Context) -> None:
        if not axes:
            return
        moved = sorted(context.axis(axis) for axis in axes)
        if value is None:
            set_attribute(node, "axes", moved)
        else:
            name = f"{node.outputs[0].name}/axes"
            node.replace_input_with(1, int_constant(context.scope, context.names, moved, name, before=node))

    return Plan((0,), outputs, rewrite)


def _arg_reduce(node: ir.Node, context: Context) -> Plan | None:
    if rank(node.inputs[0]) != context.rank:
        return None
    axis = get_int(node, "axis", 0) % context.rank
    outputs = _outputs_of_rank(node, context.rank) if get_int(node, "keepdims", 1) else ()
    if outputs is None or (not outputs and not _keeps_order((axis,), context)):
        return None

    def rewrite(node: ir.Node, context: Context) -> None:
        set_attribute(node, "axis", context.axis(axis))

    return Plan((0,), outputs, rewrite)


# --- operators with one number per axis --------------------------------------------------------------------------


def _pad(node: ir.Node, context: Context) -> Plan | None:
    outputs = _outputs_of_rank(node, context.rank)
    if outputs is None or rank(node.inputs[0]) != context.rank:
        return None
    axes_input, pads = get_input(node, 3), constant_ints(node.inputs[1])
    axes = constant_ints(axes_input)
    if (axes_input is not None and axes is None) or (axes_input is None and pads is None):
        return None

    def rewrite(node: ir.Node, context: Context) -> None:
        scope, names, label = context.scope, context.names, node.outputs[0].name
        if axes is not None:
            moved = [context.axis(axis) for axis in axes]
            node.replace_input_with(3, int_constant(scope, names, moved, f"{label}/axes", before=node))
            return
        assert pads is not None
        begin, end = pads[: context.rank], pads[context.rank :]
        moved = [half[axis] for half in (begin, end) for axis in context.permutation]
        node.replace_input_with(1, int_constant(scope, names, moved, f"{label}/pads", before=node))

    return Plan((0,), outputs, rewrite)


def _per_axis(*positions: int) -> Rule:
    """Constant inputs with one number per axis: Tile's repeats, Expand's shape, Resize's scales and sizes."""

    def rule(node: ir.Node, context: Context) -> Plan | None:
        outputs = _outputs_of_rank(node, context.rank)
        if outputs is None or rank(node.inputs[0]) != context.rank:
            return None
        for position in positions:
            value = get_input(node, position)
            tensor = constant(value)
            if value is not None and (tensor is None or tensor.size not in (0, context.rank)):
                return None
        return Plan((0,), outputs, rewrite)

    def rewrite(node: ir.Node, context: Context) -> None:
        for position in positions:
            value = get_input(node, position)
            tensor = constant(value)
            if value is None or tensor is None or tensor.size == 0:
                continue
            made = ir.Tensor(tensor.numpy()[list(context.permutation)], dtype=tensor.dtype)
            hint = f"{value.name}/{layout_name(context.permutation)}"
            node.replace_input_with(position, add_constant(context.scope, context.names, made, hint, before=node))

    return rule


def _resize(node: ir.Node, context: Context) -> Plan | None:
    roi = get_input(node, 1)
    tensor = constant(roi)
    if roi is not None and (tensor is None or tensor.size):
        return None  # tf_crop_and_resize
    if not _interpolates_there(node, context):
        return None
    axes = get_ints(node, "axes")
    if axes is None:
        return _per_axis(2, 3)(node, context)
    outputs = _outputs_of_rank(node, context.rank)
    if outputs is None or rank(node.inputs[0]) != context.rank:
        return None

    def rewrite(node: ir.Node, context: Context) -> None:
        set_attribute(node, "axes", [context.axis(axis) for axis in axes])

    return Plan((0,), outputs, rewrite)


def _interpolates_there(node: ir.Node, context: Context) -> bool:
    """Whether onnxruntime interpolates the axes in their new places: the inner ones, or those before the last."""
    mode = get_string(node, "mode", "nearest")
    if mode == "nearest":
        return True
    resized = _resized_axes(node)
    if resized is None:
        return False
    places = sorted(context.axis(axis) for axis in resized)
    length = context.rank
    inner = list(range(2, length))
    allowed = [inner] if mode == "cubic" or length != 4 else [inner, [1, 2]]
    return any(set(places) <= set(last) for last in allowed)


def _resized_axes(node: ir.Node) -> list[int] | None:
    """Return the axes whose length Resize changes, as far as constants tell."""
    scales, sizes = constant(get_input(node, 2)), constant(get_input(node, 3))
    known = dims(node.inputs[0])
    axes = get_ints(node, "axes")
    if scales is not None and scales.size:
        changed = [float(scale) != 1 for scale in scales.numpy().flat]
    elif sizes is not None and sizes.size and known is not None:
        chosen = range(len(known)) if axes is None else [axis % len(known) for axis in axes]
        changed = [size != known[axis] for size, axis in zip(sizes.numpy().flat, chosen, strict=True)]
    else:
        return None
    places = list(range(len(changed))) if axes is None else list(axes)
    return [place for place, differs in zip(places, changed, strict=True) if differs]


def _slice(node: ir.Node, context: Context) -> Plan | None:
    outputs = _outputs_of_rank(node, context.rank)
    if outputs is None or rank(node.inputs[0]) != context.rank:
        return None
    axes_input = get_input(node, 3)
    axes = constant_ints(axes_input)
    if axes_input is not None and axes is None:
        return None
    if axes is None:
        count = static_dims(node.inputs[1])
        tensor = constant(node.inputs[1])
        length = tensor.size if tensor is not None else (count[0] if count else None)
        if length is None:
            return None
        axes = tuple(range(int(length)))
    known = axes

    def rewrite(node: ir.Node, context: Context) -> None:
        moved = [context.axis(axis) for axis in known]
        held = int_constant(context.scope, context.names, moved, f"{node.outputs[0].name}/axes", before=node)
        inputs = list(node.inputs)
        inputs.extend([None] * (4 - len(inputs)))
        inputs[3] = held
        set_inputs(node, inputs)

    return Plan((0,), outputs, rewrite)


# --- operators that end a layout ---------------------------------------------------------------------------------


def _shape_of(node: ir.Node, context: Context) -> Plan | None:
    """Shape of a permuted value, put back into the original order."""
    if rank(node.inputs[0]) != context.rank or "start" in node.attributes or "end" in node.attributes:
        return None

    def rewrite(node: ir.Node, context: Context) -> None:
        output = node.outputs[0]
        scope, names = context.scope, context.names
        readers = output.uses()
        order = int_constant(scope, names, context.inverse, f"{output.name}/order", before=node)
        made = new_node(
            names,
            "Gather",
            [output, order],
            hint=f"{output.name}/original",
            dtype=ir.DataType.INT64,
            shape=ir.Shape([context.rank]),
            source=node,
        )
        scope.graph.insert_after(node, made)
        for user, index in readers:
            user.replace_input_with(index, made.outputs[0])

    return None if node.outputs[0].is_graph_output() else Plan((0,), (), rewrite)


def _flatten(node: ir.Node, context: Context) -> Plan | None:
    """Flatten or Reshape to [N, features] in front of matrix products: permute the rows of their weights instead."""
    source, output = node.inputs[0], node.outputs[0]
    shape, result = dims(source), dims(output)
    if shape is None or result is None or len(shape) != context.rank or len(result) != 2:
        return None
    target = constant_ints(get_input(node, 1)) if node.op_type == "Reshape" else (0, -1)
    if target is None or len(target) != 2 or target[1] == 0:
        return None  # a 0 would copy a dimension that may have moved
    spatial = [dim for dim in shape[1:] if isinstance(dim, int)]
    features = math.prod(spatial)
    if context.permutation[0] != 0 or len(spatial) != context.rank - 1 or features == 0:
        return None
    if not same_dim(result[1], features) or output.is_graph_output() or not output.uses():
        return None
    if not all(_has_own_weight(user, index, features, node) for user, index in output.uses()):
        return None

    def rewrite(node: ir.Node, context: Context) -> None:
        for user, _ in node.outputs[0].uses():
            _permute_rows(user, spatial, context)

    return Plan((0,), (), rewrite)


def _has_own_weight(user: ir.Node, index: int, features: int, flatten: ir.Node) -> bool:
    """Whether ``user`` multiplies by a constant matrix with ``features`` rows that nothing else reads."""
    if user.graph is not flatten.graph or index != 0 or not is_op(user, "MatMul", "Gemm"):
        return False
    weight = user.inputs[1]
    shape = static_dims(weight)
    tensor = constant(weight)
    if weight is None or tensor is None or shape is None or len(shape) != 2 or not has_single_use(weight):
        return False
    if user.op_type == "MatMul":
        return shape[0] == features
    return not get_int(user, "transA", 0) and shape[1 if get_int(user, "transB", 0) else 0] == features


def _permute_rows(user: ir.Node, spatial: Sequence[int], context: Context) -> None:
    weight = user.inputs[1]
    tensor = constant(weight)
    assert weight is not None
    assert tensor is not None
    order = tuple(axis - 1 for axis in context.permutation[1:])
    shape = tensor_shape(tensor)
    by_columns = user.op_type == "Gemm" and bool(get_int(user, "transB", 0))
    sizes = tuple(spatial)

    def permute(array: Array) -> Array:
        if by_columns:
            split = array.reshape((shape[0], *sizes))
            return split.transpose((0, *(axis + 1 for axis in order))).reshape(shape)
        return array.reshape((*sizes, shape[1])).transpose((*order, len(sizes))).reshape(shape)

    made = transformed(tensor, permute, shape)
    hint = f"{weight.name}/{layout_name(context.permutation)}"
    user.replace_input_with(1, add_constant(context.scope, context.names, made, hint, before=user))


_ELEMENTWISE = words(
    """
    Abs Acos Acosh Asin Asinh Atan Atanh BitwiseNot Cast CastLike Ceil Celu Clip Cos Cosh Dropout Elu Erf Exp Floor
    Gelu HardSigmoid HardSwish Identity IsInf IsNaN LeakyRelu Log Mish Neg Not Reciprocal Relu Round Selu Shrink
    Sigmoid Sign Sin Sinh Softplus Softsign Sqrt Swish Tan Tanh ThresholdedRelu
    """
)
_BROADCAST = words(
    """
    Add And BitShift BitwiseAnd BitwiseOr BitwiseXor Div Equal Greater GreaterOrEqual Less LessOrEqual Max Mean Min Mod
    Mul Or Pow PRelu Sub Sum Where Xor
    """
)
_REDUCE = words(
    """
    ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare
    """
)

_RULES: dict[str, Rule] = {
    **dict.fromkeys(sorted(_ELEMENTWISE), _elementwise),
    **dict.fromkeys(sorted(_BROADCAST), _broadcast),
    **dict.fromkeys(sorted(_REDUCE), _reduce),
    "ArgMax": _arg_reduce,
    "ArgMin": _arg_reduce,
    "Concat": _concat,
    "CumSum": _cumulative_sum,
    "DequantizeLinear": _quantize,
    "Expand": _per_axis(1),
    "Flatten": _flatten,
    "Hardmax": _along_axis(-1),
    "LayerNormalization": layer_normalization,
    "LogSoftmax": _along_axis(-1),
    "LpNormalization": _along_axis(-1),
    "MatMul": matrix_product,
    "Pad": _pad,
    "QuantizeLinear": _quantize,
    "Reshape": _flatten,
    "Resize": _resize,
    "Shape": _shape_of,
    "Slice": _slice,
    "Softmax": _along_axis(-1),
    "Split": _along_axis(0),
    "Tile": _per_axis(1),
}
