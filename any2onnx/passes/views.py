"""Chains of operators that only look at the same data in another shape, and chains of Transposes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from any2onnx.graph.provenance import GUARD_RULE, RULE_KEY
from any2onnx.passes.contract import GraphPass
from any2onnx.passes.editing import (
    Dim,
    Names,
    Scope,
    constant,
    dims,
    get_input,
    get_ints,
    inherit,
    int_constant,
    is_op,
    new_node,
    rank,
    remove_node,
    replace_value,
    same_dim,
    same_dims,
    set_attribute,
)
from any2onnx.passes.identities import remove_identity

if TYPE_CHECKING:
    from collections.abc import Sequence

    import onnx_ir as ir

_VIEWS = ("Reshape", "Flatten", "Squeeze", "Unsqueeze")


class MergeTransposesPass(GraphPass):
    """Merge a Transpose of a Transpose into one, remove those that change nothing."""

    def rewrite(self, scope: Scope, names: Names) -> int:
        """Merge the Transposes of one graph."""
        count = 0
        for node in list(scope.graph):
            permutation = transpose_permutation(node)
            if permutation is None:
                continue
            count += _merge_with_first(node, permutation)
            count += _remove_neutral(names, node)
        return count


def transpose_permutation(node: ir.Node | None) -> tuple[int, ...] | None:
    """Return the permutation that ``node`` applies, or None if it is no Transpose or the rank is not known."""
    if node is None or not is_op(node, "Transpose") or node.inputs[0] is None:
        return None
    permutation = get_ints(node, "perm")
    if permutation is None:
        length = rank(node.inputs[0])
        return None if length is None else tuple(reversed(range(length)))
    return permutation


def invert(permutation: Sequence[int]) -> tuple[int, ...]:
    """Return the permutation that undoes ``permutation``."""
    inverse = [0] * len(permutation)
    for position, axis in enumerate(permutation):
        inverse[axis] = position
    return tuple(inverse)


def moves_only_units(shape: Sequence[Dim] | None, permutation: Sequence[int]) -> bool:
    """Whether all dimensions that are not known to be 1 keep their order under ``permutation``."""
    if shape is None or len(shape) != len(permutation):
        return False
    kept = [axis for axis in permutation if not same_dim(shape[axis], 1)]
    return kept == sorted(kept)


def _merge_with_first(node: ir.Node, permutation: tuple[int, ...]) -> bool:
    """Let a Transpose of a Transpose do the work of both."""
    source = node.inputs[0]
    first = source.producer() if source is not None else None
    earlier = transpose_permutation(first)
    if first is None or earlier is None or len(earlier) != len(permutation):
        return False
    merged = tuple(earlier[axis] for axis in permutation)
    node.replace_input_with(0, first.inputs[0])
    set_attribute(node, "perm", merged)
    inherit(node, first)
    return True


def _remove_neutral(names: Names, node: ir.Node) -> bool:
    source = node.inputs[0]
    permutation = transpose_permutation(node)
    if source is None or permutation is None or permutation != tuple(range(len(permutation))):
        return False
    return remove_identity(names, node, source)


class MergeViewsPass(GraphPass):
    """Merge chains of Reshape, Flatten, Squeeze and Unsqueeze; remove those that return the same shape.

    A Transpose that only moves dimensions of length 1 moves no data: it counts as a Reshape.

    Only where the resulting shape is provable: every dimension a number, or the symbol that the same axis of the
    input has, or one that is left for -1.
    """

    def rewrite(self, scope: Scope, names: Names) -> int:
        """Merge the views of one graph."""
        return sum([_merge_view(scope, names, node) for node in list(scope.graph) if _is_view(node)])


def _is_view(node: ir.Node) -> bool:
    """Whether the output holds the elements of the first input in the same order; guards are no views."""
    if node.metadata_props.get(RULE_KEY) == GUARD_RULE:
        return False
    if is_op(node, *_VIEWS):
        return True
    permutation = transpose_permutation(node)
    return permutation is not None and moves_only_units(dims(node.inputs[0]), permutation)


def _merge_view(scope: Scope, names: Names, node: ir.Node) -> bool:
    source, output = node.inputs[0], node.outputs[0]
    if source is None:
        return False
    if same_dims(dims(source), dims(output)):
        return remove_identity(names, node, source)
    origin, chain = _origin(source)
    before, after = dims(origin), dims(output)
    if before is None or after is None:
        return False
    if same_dims(before, after):
        return remove_identity(names, node, origin)
    target = reshape_target(before, after)
    if target is None or not chain:
        if target is None or node.op_type not in ("Reshape", "Transpose"):
            return False
        if node.op_type == "Reshape":
            return _fix_shape_input(scope, names, node, target)
    made = replace_by_reshape(scope, names, node, origin, target)
    inherit(made, *chain)
    return True


def _origin(value: ir.Value) -> tuple[ir.Value, list[ir.Node]]:
    """Follow views upwards; return the value that they all look at, and the views."""
    chain: list[ir.Node] = []
    while True:
        node = value.producer()
        if node is None or not _is_view(node) or node.inputs[0] is None:
            return value, chain
        chain.append(node)
        value = node.inputs[0]


def _fix_shape_input(scope: Scope, names: Names, node: ir.Node, target: tuple[int, ...]) -> bool:
    """Give a Reshape whose target is computed while the model runs a constant one."""
    shape = get_input(node, 1)
    if shape is None or constant(shape) is not None:
        return False
    node.replace_input_with(1, int_constant(scope, names, target, f"{node.outputs[0].name}/shape", before=node))
    node.attributes.pop("allowzero", None)
    return True


def reshape_target(before: Sequence[Dim], after: Sequence[Dim]) -> tuple[int, ...] | None:
    """Return the constant second input of a Reshape from shape ``before`` to shape ``after``, or None.

    0 copies a dimension of the same axis and the same symbol. -1 is used for one remaining dimension, and only if all
    others are numbers: with a copied dimension that is 0 at run time (an empty batch), -1 could not be solved.
    """
    target: list[int] = []
    for axis, dim in enumerate(after):
        if isinstance(dim, int):
            if dim == 0:
                return None
            target.append(dim)
        elif axis < len(before) and same_dim(dim, before[axis]):
            target.append(0)
        else:
            target.append(-1)
    if target.count(-1) > 1 or (-1 in target and 0 in target):
        return None
    if -1 in target and any(isinstance(dim, int) and dim == 0 for dim in before):
        return None
    return tuple(target)


def replace_by_reshape(scope: Scope, names: Names, node: ir.Node, source: ir.Value, target: tuple[int, ...]) -> ir.Node:
    """Put ``Reshape(source, target)`` in the place of ``node``, whose output has that shape; return the Reshape."""
    output = node.outputs[0]
    shape = int_constant(scope, names, target, f"{output.name}/shape", before=node)
    made = new_node(
        names,
        "Reshape",
        [source, shape],
        hint=f"{output.name}/view",
        dtype=output.dtype or source.dtype,
        shape=output.shape,
        source=node,
    )
    scope.graph.insert_before(node, made)
    value_name, node_name = output.name, node.name
    replace_value(names, output, made.outputs[0])
    remove_node(node)
    made.outputs[0].name, made.name = value_name, node_name
    return made
