"""BatchNormalization, and other per-channel scaling and shifting, folded into the weights of a neighbour."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from any2onnx.passes.affine import (
    FLOATS,
    Affine,
    batch_norm_affine,
    bias_vector,
    chain_before,
    chain_behind,
    compose,
    has_batch_norm,
    product,
    round_vector,
    scaled,
)
from any2onnx.passes.contract import GraphPass
from any2onnx.passes.editing import (
    Names,
    Scope,
    add_constant,
    constant,
    copy_shape,
    get_float,
    get_input,
    get_int,
    get_ints,
    get_string,
    has_single_use,
    inherit,
    is_op,
    new_node,
    rank,
    remove_node,
    replace_value,
    set_inputs,
    tensor_shape,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

# A scaled column that is shifted by more than this many of its units loses more than three of sixteen digits.
_LARGEST_SHIFT = 1e3


class FoldBatchNormPass(GraphPass):
    """Fold BatchNormalization into the Conv, ConvTranspose, Gemm or MatMul (+ Add) in front of it, or behind it.

    Behind a Conv or ConvTranspose, Mul, Add, Sub and Div by per-channel constants are folded as well: a channels-last
    BatchNormalization is often written so. A BatchNormalization *before* a Conv is only folded when nothing is
    padded: padding puts zeros where the shift would be. The columns of a float64 matrix that are shifted and scaled
    before a Gemm (a StandardScaler before a linear model) are taken into it too, unless they are shifted so far that
    digits would cancel; in float32 they would. All arithmetic is in float64, with one rounding to the type
    of the weights at the end. Nothing is folded in training mode, where statistics are not constant, where the
    intermediate value is read by others, or where the folded weights would overflow.
    """

    def rewrite(self, scope: Scope, names: Names) -> int:
        """Fold what can be folded in one graph."""
        count = 0
        for node in list(scope.graph):
            if node.graph is not scope.graph:
                continue  # folded already
            if is_op(node, "Conv", "ConvTranspose", "Gemm", "MatMul"):
                count += _fold_behind(scope, names, node)
        for node in list(scope.graph):
            if node.graph is scope.graph and is_op(node, "BatchNormalization"):
                count += _fold_before(scope, names, node)
        for node in list(scope.graph):
            if is_op(node, "Gemm"):
                count += _fold_scaling_before(scope, names, node)
        return count


# --- folding into the node in front ------------------------------------------------------------------------------


def _fold_behind(scope: Scope, names: Names, node: ir.Node) -> bool:
    weight = constant(get_input(node, 1))
    if weight is None or weight.dtype not in FLOATS or node.inputs[0] is None:
        return False
    if node.op_type in ("Conv", "ConvTranspose"):
        return _fold_behind_conv(scope, names, node, weight)
    if len(tensor_shape(weight)) != 2 or rank(node.outputs[0]) != 2:
        return False
    if node.op_type == "Gemm":
        return _fold_behind_gemm(scope, names, node, weight)
    return _fold_behind_matmul(scope, names, node, weight)


def _fold_behind_conv(scope: Scope, names: Names, node: ir.Node, weight: ir.TensorProtocol) -> bool:
    shape = tensor_shape(weight)
    groups = get_int(node, "group", 1)
    channels = shape[0] if node.op_type == "Conv" else shape[1] * groups
    bias = bias_vector(get_input(node, 2), channels)
    chain = chain_behind(node.outputs[0], channels, len(shape))
    if bias is None or not chain:
        return False
    affine = compose(chain)
    spatial = (1,) * (len(shape) - 2)
    if node.op_type == "Conv":
        factor = affine.scale.reshape(channels, 1, *spatial)
    else:
        # [in, out/groups, ...]: the output channels of group g belong to the g-th part of the input channels.
        by_group = affine.scale.reshape(groups, shape[1])
        factor = np.repeat(by_group, shape[0] // groups, axis=0).reshape(shape[0], shape[1], *spatial)
    new_weight = scaled(weight, factor)
    new_bias = round_vector(bias * affine.scale + affine.shift, weight)
    if new_weight is None or new_bias is None:
        return False
    _set_weights(scope, names, node, new_weight, new_bias)
    _drop_chain(names, node, chain)
    return True


def _fold_behind_gemm(scope: Scope, names: Names, node: ir.Node, weight: ir.TensorProtocol) -> bool:
    by_rows = get_int(node, "transB", 0)
    channels = tensor_shape(weight)[0 if by_rows else 1]
    bias = bias_vector(get_input(node, 2), channels)
    chain = chain_behind(node.outputs[0], channels, 2)
    if bias is None or not has_batch_norm(chain):
        return False
    affine = compose(chain)
    new_weight = scaled(weight, affine.scale[:, None] if by_rows else affine.scale)
    shift = get_float(node, "beta", 1.0) * bias * affine.scale + affine.shift
    new_bias = round_vector(shift, weight)
    if new_weight is None or new_bias is None:
        return False
    _set_weights(scope, names, node, new_weight, new_bias)
    node.attributes.pop("beta", None)
    _drop_chain(names, node, chain)
    return True


def _fold_behind_matmul(scope: Scope, names: Names, node: ir.Node, weight: ir.TensorProtocol) -> bool:
    channels = tensor_shape(weight)[1]
    chain = chain_behind(node.outputs[0], channels, 2)
    if not has_batch_norm(chain):
        return False
    affine = compose(chain)
    new_weight = scaled(weight, affine.scale)
    new_bias = round_vector(affine.shift, weight)
    if new_weight is None or new_bias is None:
        return False
    _set_weights(scope, names, node, new_weight, None)
    last = chain[-1][0]
    _add_bias(scope, names, node.outputs[0], new_bias, last)
    return True


def _add_bias(scope: Scope, names: Names, value: ir.Value, bias: ir.TensorProtocol, last: ir.Node) -> None:
    """Put ``value + bias`` in the place of ``last``, the end of a chain of maps that starts at ``value``."""
    node = value.producer()
    assert node is not None
    chain: list[ir.Node] = []
    current = value
    while not chain or chain[-1] is not last:
        ((user, _),) = current.uses()
        chain.append(user)
        current = user.outputs[0]
    held = add_constant(scope, names, bias, f"{value.name}/bias", before=last, source=last)
    output = last.outputs[0]
    added = new_node(
        names, "Add", [value, held], hint=f"{output.name}/Add", dtype=value.dtype, shape=value.shape, source=node
    )
    inherit(added, *chain, join=True)
    scope.graph.insert_before(last, added)
    name = output.name
    replace_value(names, output, added.outputs[0])
    for done in reversed(chain):
        remove_node(done)
    added.outputs[0].name = name


def _drop_chain(names: Names, node: ir.Node, chain: Sequence[tuple[ir.Node, Affine]]) -> None:
    """Let readers of the chain's end read ``node``'s output, under the name of that end; remove the chain."""
    last = chain[-1][0].outputs[0]
    name, shape = last.name, last.shape
    output = node.outputs[0]
    inherit(node, *(done for done, _ in chain), join=True)
    replace_value(names, last, output)
    for done, _ in reversed(chain):
        remove_node(done)
    output.name = name
    if output.shape is None:
        output.shape = copy_shape(shape)


# --- folding into the node behind --------------------------------------------------------------------------------


def _fold_before(scope: Scope, names: Names, norm: ir.Node) -> bool:
    """Fold a BatchNormalization into the one Conv, Gemm or MatMul that reads it."""
    affine = batch_norm_affine(norm)
    source, output = norm.inputs[0], norm.outputs[0]
    if affine is None or not affine.is_finite() or source is None or not has_single_use(output):
        return False
    ((node, index),) = output.uses()
    weight = constant(get_input(node, 1))
    if index != 0 or node.graph is not scope.graph or weight is None or weight.dtype not in FLOATS:
        return False
    if is_op(node, "Conv"):
        done = _is_unpadded(node) and _fold_before_conv(scope, names, node, weight, affine)
    elif is_op(node, "Gemm"):
        done = rank(source) == 2 and _fold_before_gemm(scope, names, node, weight, affine)
    else:
        done = is_op(node, "MatMul") and rank(source) == 2 and _fold_before_matmul(scope, names, node, weight, affine)
    if done:
        node.replace_input_with(0, source)
        inherit(node, norm, join=True)
        remove_node(norm)
    return done


def _fold_scaling_before(scope: Scope, names: Names, node: ir.Node) -> bool:
    """Fold shifting and scaling of the columns of a float64 matrix into the Gemm that reads it."""
    value, weight = node.inputs[0], constant(get_input(node, 1))
    if value is None or weight is None or weight.dtype != ir.DataType.DOUBLE:
        return False
    chain = chain_before(value, tensor_shape(weight)[1 if get_int(node, "transB", 0) else 0])
    if not chain:
        return False
    affine = compose(chain)
    if np.abs(affine.shift).max(initial=0) > _LARGEST_SHIFT or not _fold_before_gemm(
        scope, names, node, weight, affine
    ):
        return False
    first = chain[0][0]
    node.replace_input_with(0, first.inputs[1 if constant(first.inputs[0]) is not None else 0])
    inherit(node, *(done for done, _ in chain), join=True)
    for done, _ in reversed(chain):
        remove_node(done)
    return True


def _is_unpadded(node: ir.Node) -> bool:
    if get_string(node, "auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        return False
    return not any(get_ints(node, "pads") or ())


def _fold_before_conv(scope: Scope, names: Names, node: ir.Node, weight: ir.TensorProtocol, affine: Affine) -> bool:
    shape = tensor_shape(weight)
    groups = get_int(node, "group", 1)
    bias = bias_vector(get_input(node, 2), shape[0])
    if bias is None or affine.scale.size != shape[1] * groups or shape[0] % groups:
        return False
    # Input channel c of group g is channel g * shape[1] + c of x.
    owner = np.repeat(np.arange(groups), shape[0] // groups) if groups > 1 else slice(None)
    scale, shift = (part.reshape(groups, shape[1])[owner] for part in (affine.scale, affine.shift))
    new_weight = scaled(weight, scale.reshape(*scale.shape, *[1] * (len(shape) - 2)))
    if groups == 1 and math.prod(shape[2:]) == 1:
        moved = product(weight.numpy().reshape(shape[0], shape[1]), affine.shift)
    else:
        sums = weight.numpy().sum(axis=tuple(range(2, len(shape))), dtype=np.float64)
        moved = (sums * shift).sum(axis=1)
    new_bias = round_vector(bias + moved, weight)
    if new_weight is None or new_bias is None:
        return False
    _set_weights(scope, names, node, new_weight, new_bias)
    return True


def _fold_before_gemm(scope: Scope, names: Names, node: ir.Node, weight: ir.TensorProtocol, affine: Affine) -> bool:
    by_rows = get_int(node, "transB", 0)
    features, channels = (tensor_shape(weight)[1 if by_rows else 0], tensor_shape(weight)[0 if by_rows else 1])
    bias = bias_vector(get_input(node, 2), channels)
    if bias is None or get_int(node, "transA", 0) or affine.scale.size != features:
        return False
    array = weight.numpy().astype(np.float64)
    new_weight = scaled(weight, affine.scale if by_rows else affine.scale[:, None])
    moved = array @ affine.shift if by_rows else affine.shift @ array
    new_bias = round_vector(get_float(node, "beta", 1.0) * bias + get_float(node, "alpha", 1.0) * moved, weight)
    if new_weight is None or new_bias is None:
        return False
    _set_weights(scope, names, node, new_weight, new_bias)
    node.attributes.pop("beta", None)
    return True


def _fold_before_matmul(scope: Scope, names: Names, node: ir.Node, weight: ir.TensorProtocol, affine: Affine) -> bool:
    """Fold into a MatMul; the shift goes into the Add behind it, or into a new one."""
    if len(tensor_shape(weight)) != 2 or affine.scale.size != tensor_shape(weight)[0]:
        return False
    array = weight.numpy().astype(np.float64)
    new_weight = scaled(weight, affine.scale[:, None])
    moved = affine.shift @ array
    output = node.outputs[0]
    chain = chain_behind(output, tensor_shape(weight)[1], 2)
    present = chain[0] if chain and chain[0][0].op_type == "Add" else None
    new_bias = round_vector(moved + (present[1].shift if present else 0.0), weight)
    if new_weight is None or new_bias is None:
        return False
    _set_weights(scope, names, node, new_weight, None)
    if present is not None:
        _add_bias(scope, names, output, new_bias, present[0])
        return True
    held = add_constant(scope, names, new_bias, f"{output.name}/bias", before=node)
    added = new_node(
        names, "Add", [output, held], hint=f"{output.name}/Add", dtype=output.dtype, shape=output.shape, source=node
    )
    scope.graph.insert_after(node, added)
    _splice(names, output, added)
    return True


def _splice(names: Names, value: ir.Value, behind: ir.Node) -> None:
    """Let everything that reads ``value``, except ``behind``, read ``behind``'s output; graph output names stay."""
    result = behind.outputs[0]
    for user, index in value.uses():
        if user is not behind:
            user.replace_input_with(index, result)
    graph = value.graph
    if value.is_graph_output() and graph is not None:
        name = value.name
        for index, output in enumerate(graph.outputs):
            if output is value:
                graph.outputs[index] = result
        value.name, result.name = names.fresh(f"{name}/unbiased"), name


def _set_weights(
    scope: Scope, names: Names, node: ir.Node, weight: ir.TensorProtocol, bias: ir.TensorProtocol | None
) -> None:
    """Give ``node`` new weights; the old ones stay for whoever else reads them."""
    label = node.outputs[0].name
    inputs = [node.inputs[0], _put_constant(scope, names, node, 1, weight, f"{label}/weight")]
    if bias is not None:
        inputs.append(_put_constant(scope, names, node, 2, bias, f"{label}/bias"))
    set_inputs(node, inputs)


def _put_constant(
    scope: Scope, names: Names, node: ir.Node, index: int, tensor: ir.TensorProtocol, hint: str
) -> ir.Value:
    """Return a value that holds ``tensor``: the present input under its name, if nobody else reads it."""
    old = get_input(node, index)
    if old is None or not old.is_initializer() or old.graph is not scope.graph or not has_single_use(old):
        return add_constant(scope, names, tensor, hint, before=node)
    tensor.name = old.name
    old.const_value = tensor
    old.type, old.shape = ir.TensorType(tensor.dtype), ir.Shape(tensor_shape(tensor))
    return old
