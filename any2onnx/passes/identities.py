"""Nodes that hand an input on unchanged: Identity, inference-time Dropout, one-operand Concat, Sum, Max, Min.

And Where or And whose condition is the same everywhere and known: the mask of a model that was given none.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from any2onnx.passes.contract import GraphPass
from any2onnx.passes.editing import (
    Names,
    Scope,
    constant_array,
    dims,
    get_input,
    inherit,
    is_op,
    merge_known_shape,
    remove_node,
    replace_value,
    same_dims,
    words,
)

# With a single operand these return it.
_ONE_OPERAND = frozenset({"Concat", "Max", "Mean", "Min", "Sum"})


# Of equal elements they make elements equal to those (none, where there are none).
_ALIKE = words("Expand Flatten ReduceMax ReduceMin Reshape Slice Squeeze Tile Transpose Unsqueeze")
# The longest way from a condition to the constant that it comes from, and the largest constant that is looked at.
_STEPS = 16
_LARGEST = 1 << 20


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
    return _chosen(node)


def _chosen(node: ir.Node) -> ir.Value | None:
    """Return the operand that a Where or And returns, if its condition is known and nothing is broadcast."""
    if is_op(node, "Where"):
        truth = uniform_truth(node.inputs[0])
        candidates = [] if truth is None else [node.inputs[1 if truth else 2]]
    elif is_op(node, "And"):
        left, right = node.inputs
        candidates = [b for a, b in ((left, right), (right, left)) if uniform_truth(a)]
    else:
        return None
    return next((value for value in candidates if same_dims(dims(value), dims(node.outputs[0]))), None)


def uniform_truth(value: ir.Value | None) -> bool | None:
    """Return whether all elements of a value are true (or not zero), or all of them false; None where not known."""
    turned = False
    for _ in range(_STEPS):
        array = constant_array(value)
        if array is not None:
            if not 0 < array.size <= _LARGEST:
                return None
            first = array.reshape(-1)[0]
            return bool(first) != turned if bool(np.all(array == first)) else None
        node = None if value is None else value.producer()
        if node is None or value is not node.outputs[0]:
            return None
        if is_op(node, "Not"):
            turned = not turned
        elif not is_op(node, *_ALIKE) and not _keeps_truth(node):
            return None
        value = node.inputs[0]
    return None


def _keeps_truth(node: ir.Node) -> bool:
    """Tell whether a node is a Cast to or from truth values (others can make zero of a small number)."""
    types = (node.inputs[0].dtype if node.inputs and node.inputs[0] is not None else None, node.outputs[0].dtype)
    return is_op(node, "Cast") and ir.DataType.BOOL in types


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
