"""Nodes that hand their input on unchanged: Identity, inference-time Dropout, one-operand Concat, Sum, Max, Min."""

from __future__ import annotations

from typing import TYPE_CHECKING

from any2onnx.passes.contract import GraphPass
from any2onnx.passes.editing import (
    Names,
    Scope,
    constant_array,
    get_input,
    inherit,
    is_op,
    merge_known_shape,
    remove_node,
    replace_value,
)

if TYPE_CHECKING:
    import onnx_ir as ir

# With a single operand these return it.
_ONE_OPERAND = frozenset({"Concat", "Max", "Mean", "Min", "Sum"})


class RemoveIdentitiesPass(GraphPass):
    """Remove nodes that return their input.

    An Identity stays where it gives a graph output its own name: when its input is a graph input, an initializer, a
    value of an outer graph, or another graph output. (onnx-ir's own pass renames in the last two cases.)
    """

    def rewrite(self, scope: Scope, names: Names) -> int:
        """Remove the identities of one graph."""
        count = 0
        for node in list(scope.graph):
            source = _handed_on(node)
            if source is not None:
                count += remove_identity(names, node, source)
        return count


def remove_identity(names: Names, node: ir.Node, source: ir.Value) -> bool:
    """Let readers of ``node``'s first output read ``source`` and remove the node.

    Returns:
        Whether anything changed; not so for an Identity that must stay.
    """
    output = node.outputs[0]
    if not replace_value(names, output, source):
        return False
    if output.is_graph_output():
        return True  # an Identity that stays, but whose other readers now read its input
    stands_in = source.producer()
    if stands_in is not None and source.name and source.is_graph_output():
        inherit(stands_in, node)
    # The declared shape of a model input is the user's; what is known of inner values may grow.
    if source.graph is node.graph and not source.is_graph_input():
        merge_known_shape(source, output)
    remove_node(node)
    return True


def _handed_on(node: ir.Node) -> ir.Value | None:
    """Return the value that ``node`` returns unchanged, if it does."""
    if is_op(node, "Identity"):
        return node.inputs[0]
    if is_op(node, "Dropout") and not _is_training(node) and not _is_read(node, 1):
        return node.inputs[0]
    if is_op(node, *_ONE_OPERAND) and len(node.inputs) == 1:
        return node.inputs[0]
    return None


def _is_training(node: ir.Node) -> bool:
    flag = get_input(node, 2)
    if flag is None:
        return False
    known = constant_array(flag)
    return known is None or bool(known.reshape(-1)[0])


def _is_read(node: ir.Node, index: int) -> bool:
    if index >= len(node.outputs):
        return False
    value = node.outputs[index]
    return bool(value.uses()) or value.is_graph_output()
