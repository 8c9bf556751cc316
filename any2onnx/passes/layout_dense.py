"""Layout rules of operators over the last axis, the channels of channels-last models: dense layers and normalisation.

A dense layer on [N, ..., C] is a convolution with a kernel of size 1 on [N, C, ...], which onnxruntime runs faster
than a MatMul and an Add behind it (measured on ConvNeXt's blocks: 6 to 22 %, without the Transposes that go).
LayerNormalization has no form for another axis than the last ones; over axis 1 it is written out.
"""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir

from any2onnx.graph.arrays import as_tensor
from any2onnx.passes.editing import (
    add_constant,
    constant,
    constant_array,
    dims,
    get_float,
    get_input,
    get_int,
    int_constant,
    new_node,
    rank,
    set_attribute,
    set_inputs,
    tensor_shape,
)
from any2onnx.passes.layout_context import TRANSPOSE_COST, Context, Plan, layout_name

# Written out, a LayerNormalization takes as long as it does with a Transpose on either side (measured on ConvNeXt's
# blocks). Less is counted, so that it is written out wherever one Transpose goes.
_NORMALIZATION_COST = TRANSPOSE_COST - 4
# Nothing in time, but no reason to change a graph that has as many Transposes afterwards.
_PRODUCT_COST = 1


def _moves_last_to_first(context: Context) -> bool:
    """Whether the permutation is the one from channels-last to channels-first, [N, ..., C] → [N, C, ...]."""
    length = context.rank
    return 3 <= length <= 5 and context.permutation == (0, length - 1, *range(1, length - 1))


def _is_single(node: ir.Node, context: Context) -> bool:
    """Whether input and output are of type float (the one with kernels of all that is needed) and of rank r."""
    values = (node.inputs[0], node.outputs[0])
    return all(
        value is not None and value.dtype == ir.DataType.FLOAT and rank(value) == context.rank for value in values
    )


def matrix_product(node: ir.Node, context: Context) -> Plan | None:
    """MatMul by a constant matrix as Conv with a kernel of size 1."""
    tensor = constant(node.inputs[1])
    if tensor is None or len(tensor_shape(tensor)) != 2 or 0 in tensor_shape(tensor):
        return None
    if not _moves_last_to_first(context) or not _is_single(node, context):
        return None

    def rewrite(node: ir.Node, context: Context) -> None:
        kernel = tensor.numpy().T.reshape(*reversed(tensor_shape(tensor)), *[1] * (context.rank - 2))
        hint = f"{node.inputs[1].name}/{layout_name(context.permutation)}" if node.inputs[1] is not None else "kernel"
        held = add_constant(context.scope, context.names, as_tensor(kernel), hint, before=node)
        node.op_type = "Conv"
        set_inputs(node, [node.inputs[0], held])
        set_attribute(node, "kernel_shape", [1] * (context.rank - 2))

    return Plan((0,), (0,), rewrite, cost=_PRODUCT_COST)


def layer_normalization(node: ir.Node, context: Context) -> Plan | None:
    """LayerNormalization over the last axis, written out over axis 1.

    The affine part is a BatchNormalization of mean 0 and variance 1, which can be folded into a Conv behind it. With
    the sum of squares instead of the variance no third array of the size of x is made; the factor between them,
    sqrt(C), goes into the scale.
    """
    if not _moves_last_to_first(context) or not _is_single(node, context):
        return None
    if get_int(node, "axis", -1) not in (-1, context.rank - 1) or get_int(node, "stash_type", 1) != 1:
        return None
    if any(value.uses() or value.is_graph_output() for value in node.outputs[1:]):
        return None
    shape = dims(node.inputs[0])
    channels = shape[-1] if shape is not None else None
    scale, offset = constant_array(node.inputs[1]), constant_array(get_input(node, 2))
    if not isinstance(channels, int) or channels == 0 or scale is None or scale.shape != (channels,):
        return None
    if get_input(node, 2) is not None and (offset is None or offset.shape != (channels,)):
        return None
    gamma = (scale.astype(np.float64) * math.sqrt(channels)).astype(np.float32)
    beta = np.zeros(channels, np.float32) if offset is None else offset.astype(np.float32)
    size = channels

    def rewrite(node: ir.Node, context: Context) -> None:
        epsilon = get_float(node, "epsilon", 1e-5) * size
        normal = _normalized(node, epsilon, context)
        label = node.outputs[0].name
        parts = {
            "scale": gamma,
            "offset": beta,
            "mean": np.zeros(size, np.float32),
            "variance": np.ones(size, np.float32),
        }
        constants = [
            add_constant(context.scope, context.names, ir.Tensor(array), f"{label}/{name}", before=node)
            for name, array in parts.items()
        ]
        node.op_type = "BatchNormalization"
        node.attributes.clear()
        set_attribute(node, "epsilon", 0.0)
        node.resize_outputs(1)
        set_inputs(node, [normal, *constants])

    return Plan((0,), (0,), rewrite, cost=_NORMALIZATION_COST)


def _normalized(node: ir.Node, epsilon: float, context: Context) -> ir.Value:
    """Add the nodes of ``(x - mean) / sqrt(sum of squares + epsilon)`` over axis 1 in front of ``node``."""
    scope, names, source = context.scope, context.names, node.inputs[0]
    assert source is not None
    label = node.outputs[0].name
    full = source.shape
    assert full is not None
    reduced = ir.Shape([1 if axis == 1 else dim for axis, dim in enumerate(full)])

    def add(op_type: str, inputs: list[ir.Value], shape: ir.Shape, **attributes: int | tuple[int, ...]) -> ir.Value:
        made = new_node(
            names,
            op_type,
            inputs,
            attributes,
            hint=f"{label}/{op_type}",
            dtype=ir.DataType.FLOAT,
            shape=shape,
            source=node,
        )
        scope.graph.insert_before(node, made)
        return made.outputs[0]

    def reduce(op_type: str, value: ir.Value, *, as_input: bool) -> ir.Value:
        if not as_input:
            return add(op_type, [value], reduced, axes=(1,), keepdims=1)
        axes = int_constant(scope, names, (1,), f"{label}/axes", before=node)
        return add(op_type, [value, axes], reduced, keepdims=1)

    # The axes of reductions became an input with opset 18.
    as_input = scope.opset >= 18
    centred = add("Sub", [source, reduce("ReduceMean", source, as_input=as_input)], full)
    squares = reduce("ReduceSumSquare", centred, as_input=as_input)
    least = add_constant(scope, names, ir.Tensor(np.array(epsilon, np.float32)), f"{label}/epsilon", before=node)
    root = add("Sqrt", [add("Add", [squares, least], reduced)], reduced)
    return add("Div", [centred, root], full)
