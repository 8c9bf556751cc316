"""One ensemble as one node: TreeEnsemble of ai.onnx.ml 5, TreeEnsembleRegressor of versions 3 and 1.

The Regressor serves classifiers as well: its sums are those of TreeEnsembleClassifier, without that operator's special
cases for two classes, and ArgMax and Gather give labels of any type.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from any2onnx.errors import GraphError
from any2onnx.graph.types import DataType, Value, dtype_of
from any2onnx.tree_ensemble.ir import Array, Mode, TreeEnsemble, thresholds32

if TYPE_CHECKING:
    from any2onnx.graph.builder import GraphBuilder

_NAMES: Final = {
    Mode.LEQ: "BRANCH_LEQ",
    Mode.LT: "BRANCH_LT",
    Mode.GTE: "BRANCH_GTE",
    Mode.GT: "BRANCH_GT",
    Mode.EQ: "BRANCH_EQ",
    Mode.NEQ: "BRANCH_NEQ",
    Mode.LEAF: "LEAF",
}


def sum_node(
    g: GraphBuilder, e: TreeEnsemble, x: Value, leaf: Array | None, value: Array, target: Array, n_targets: int
) -> Value:
    """Add one node that sums leaves: at ai.onnx.ml 5 in the type of `x`, before with a float32 result.

    Args:
        g: The builder.
        e: Gives the trees; its leaf values are not used.
        x: [batch, features], FLOAT or DOUBLE: the type in which the node compares and adds.
        leaf: Leaf of each contribution; None: one for each leaf, in order. ai.onnx.ml 5 can have only that.
        value: What is added.
        target: To which sum.
        n_targets: Number of sums.

    Returns:
        [batch, n_targets].
    """
    if g.opsets.ml >= 5:
        if leaf is not None:
            raise GraphError("a leaf of TreeEnsemble adds to one target only")
        return _version5(g, e, x, value, target, n_targets)
    return _regressor(g, e, x, np.arange(len(value)) if leaf is None else leaf, value, target, n_targets)


def _thresholds(e: TreeEnsemble, dtype: np.dtype[Any], nodes: Array | slice = slice(None)) -> Array:
    if dtype != np.float32:
        return e.threshold[nodes]
    narrow = thresholds32(e, nodes)
    if narrow is None:
        raise GraphError("float32 has no thresholds that decide alike")
    return narrow


def _version5(g: GraphBuilder, e: TreeEnsemble, x: Value, value: Array, target: Array, n_targets: int) -> Value:
    dtype = dtype_of(x).numpy()
    leaf = e.is_leaf
    starts = e.tree_start[:-1]
    inside = ~leaf
    # A tree that is a single leaf becomes a node whose two branches are that leaf.
    lone = starts[leaf[starts]]
    inside[lone] = True
    inner = np.flatnonzero(inside)
    roots, alone = np.searchsorted(inner, starts), np.searchsorted(inner, lone)
    # Indices of numpy's own type: others are converted each time, at four times the cost.
    children = [child.take(inner).astype(np.intp) for child in (e.true_child, e.false_child)]
    children[0][alone] = children[1][alone] = lone
    modes = e.mode.take(inner)
    modes[alone] = Mode.LEQ
    # Each node's position among the inner nodes or among the leaves, and in the lowest bit which of the two.
    coded = np.empty(e.n_nodes, np.int32)
    coded[inner] = np.arange(0, 2 * len(inner), 2, dtype=np.int32)
    own = np.arange(len(value), dtype=np.int32)
    shared = len(value) > n_targets and value.min() == value.max()
    for row in (target, own) if shared else (own,):
        coded[np.flatnonzero(leaf)] = 2 * row + 1
        true, false = (coded.take(child) for child in children)
        same = (true[roots] & 1 == 1) & (true[roots] == false[roots])
        # A root whose two branches are one leaf stands for a tree of one leaf: no other may look like it.
        if np.count_nonzero(same) == len(lone):
            break
    if row is not own:
        # Trees grown to pure leaves add the same number everywhere: one leaf for each target serves all.
        value, target = np.full(n_targets, value[0]), np.arange(n_targets, dtype=np.int32)
    missing = e.missing_true.take(inner)
    return g.ml.TreeEnsemble(
        x,
        aggregate_function=1,
        post_transform=0,
        n_targets=n_targets,
        tree_roots=roots,
        nodes_featureids=e.feature.take(inner),
        nodes_modes=modes,
        nodes_splits=_thresholds(e, dtype, inner).astype(dtype, copy=False),
        nodes_truenodeids=true >> 1,
        nodes_falsenodeids=false >> 1,
        nodes_trueleafs=(true & 1).astype(np.uint8),
        nodes_falseleafs=(false & 1).astype(np.uint8),
        nodes_missing_value_tracks_true=missing if missing.any() else None,
        membership_values=_membership(e, inner).astype(dtype) if e.has_members and Mode.MEMBER in e.modes() else None,
        leaf_targetids=target,
        leaf_weights=value.astype(dtype),
    )


def _membership(e: TreeEnsemble, inner: Array) -> Array:
    """Return the sets of the MEMBER nodes among `inner`, in their order, each followed by NaN."""
    assert e.set_of_node is not None
    assert e.set_start is not None
    assert e.set_values is not None
    sets = e.set_of_node[inner[e.mode[inner] == Mode.MEMBER]]
    sizes = np.diff(e.set_start)[sets] + 1
    ends = np.cumsum(sizes)
    source = np.arange(int(ends[-1])) - np.repeat(ends - sizes - e.set_start[sets], sizes)
    result: Array = np.asarray(e.set_values, np.float64)[np.minimum(source, len(e.set_values) - 1)]
    result[ends - 1] = np.nan
    return result


def _regressor(
    g: GraphBuilder, e: TreeEnsemble, x: Value, leaf: Array, value: Array, target: Array, n_targets: int
) -> Value:
    start = np.repeat(e.tree_start[:-1], np.diff(e.tree_start))
    tree = e.tree_of_node
    node = np.arange(e.n_nodes) - start
    is_leaf = e.is_leaf
    if g.opsets.ml >= 3 and dtype_of(x) == DataType.DOUBLE:
        # Only the tensors of version 3 keep float64.
        numbers: dict[str, Any] = {
            "nodes_values_as_tensor": e.threshold.astype(np.float64),
            "target_weights_as_tensor": value.astype(np.float64),
        }
    else:
        narrow = _thresholds(e, np.dtype(np.float32))
        numbers = {"nodes_values": narrow, "target_weights": value.astype(np.float32)}
    carrier = np.flatnonzero(is_leaf)[leaf]
    names = np.array([_NAMES.get(Mode(code), "") for code in range(8)], dtype=object)
    return g.ml.TreeEnsembleRegressor(
        x,
        aggregate_function="SUM",
        post_transform="NONE",
        n_targets=n_targets,
        nodes_treeids=tree,
        nodes_nodeids=node,
        nodes_featureids=e.feature,
        nodes_modes=names[e.mode],
        nodes_truenodeids=np.where(is_leaf, 0, e.true_child - start),
        nodes_falsenodeids=np.where(is_leaf, 0, e.false_child - start),
        nodes_missing_value_tracks_true=e.missing_true if e.missing_true.any() else None,
        target_treeids=tree[carrier],
        target_nodeids=node[carrier],
        target_ids=target,
        **numbers,
    )
