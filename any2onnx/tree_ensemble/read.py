"""Finds the tree ensembles of an ONNX model, whatever form they were written in, and by whom."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from any2onnx.errors import MalformedFile
from any2onnx.tree_ensemble import order
from any2onnx.tree_ensemble.ir import Array, Compare, Mode, TreeEnsemble

if TYPE_CHECKING:
    import onnx

ML: Final = "ai.onnx.ml"
_MODES: Final = {f"BRANCH_{m.name}": m for m in Mode if m != Mode.LEAF} | {"LEAF": Mode.LEAF}
_NODES: Final = re.compile(r"(.*/)?trees\.nodes(_\d+)?")


@dataclass(frozen=True, slots=True)
class Found:
    """One walk over trees in a file.

    Attributes:
        ensemble: Its trees, in canonical order, thresholds as the file has them. `compare` is the type in which the
            file compares. Leaf values are what the operator adds: values, or numbers that a table is read with.
        op_type: TreeEnsemble, TreeEnsembleRegressor, TreeEnsembleClassifier, or Loop for plain operators.
        name: Of the node.
        rows: How x arrives: "float32" where the file's inputs are of a type that float32 holds, "rounded" where the
            file rounds wider ones to float32, "float64" where nothing rounds them, "computed" where the file computes
            x from its inputs.
        tables: float [numbers, ...], what the file looks up by the numbers of the leaves; empty where it adds values.
        numbers: What the operator gives are numbers of leaves, not sums.
        result32: The operator gives float32.
    """

    ensemble: TreeEnsemble
    op_type: str
    name: str
    rows: str
    tables: tuple[Array, ...]
    numbers: bool
    result32: bool


def read_ensembles(model: onnx.ModelProto) -> list[Found]:
    """Return the walks of a model's main graph, in the order of its nodes.

    Raises:
        MalformedFile: The attributes of a tree operator do not describe trees.
    """
    graph = _Graph(model.graph)
    found = []
    for node in model.graph.node:
        if node.domain == ML and node.op_type == "TreeEnsemble":
            found.append(_found(graph, node, _version5(node), False))
        elif node.domain == ML and node.op_type in ("TreeEnsembleRegressor", "TreeEnsembleClassifier"):
            found.append(_found(graph, node, _older(node), True))
        elif node.op_type == "Loop" and not node.domain:
            found.extend(_plain(graph, node))
    return found


# --- the graph around -----------------------------------------------------------------------------------------------

_PASSING: Final = frozenset({"Cast", "Squeeze", "Unsqueeze", "Identity", "Reshape", "Concat", "Gather"})
_HELD_BY_FLOAT32: Final = frozenset({1, 2, 3, 4, 5, 9, 10, 16})
_FLOAT: Final = 1
_INT64: Final = 7


class _Graph:
    def __init__(self, graph: onnx.GraphProto) -> None:
        self.initializers = {t.name: t for t in graph.initializer}
        self.inputs = {v.name: v.type.tensor_type.elem_type for v in graph.input}
        self.producer = {name: node for node in graph.node for name in node.output if name}
        self.consumers: dict[str, list[onnx.NodeProto]] = {}
        for node in graph.node:
            for name in node.input:
                self.consumers.setdefault(name, []).append(node)

    def array(self, name: str) -> Array | None:
        """Return the constant of that name."""
        import onnx

        if name in self.initializers:
            return onnx.numpy_helper.to_array(self.initializers[name])
        node = self.producer.get(name)
        if node is not None and node.op_type == "Constant" and node.attribute[0].name == "value":
            return onnx.numpy_helper.to_array(node.attribute[0].t)
        return None

    def rows(self, name: str) -> str:
        """Return how a tree operator's input arrives, see `Found.rows`."""
        rounded = False
        while name not in self.inputs:
            node = self.producer.get(name)
            if node is None or node.op_type not in ("Cast", "Identity", "Unsqueeze", "Concat"):
                return "rounded" if rounded else "computed"
            if node.op_type == "Concat":
                kinds = {self.rows(part) for part in node.input}
                kind = next((k for k in ("computed", "float64", "rounded") if k in kinds), "float32")
                return "rounded" if rounded and kind != "float32" else kind
            if node.op_type == "Cast" and _attribute(node, "to") == _FLOAT:
                rounded = True
            name = node.input[0]
        if self.inputs[name] in _HELD_BY_FLOAT32:
            return "float32"
        return "rounded" if rounded else "float64"

    def tables(self, name: str) -> tuple[Array, ...]:
        """Return the floating-point tables that are read at the positions that a value holds."""
        tables: dict[str, Array] = {}
        todo = [name]
        seen: set[str] = set()
        while todo:
            current = todo.pop()
            for node in self.consumers.get(current, ()):
                if node.op_type not in _PASSING or node.output[0] in seen:
                    continue
                seen.add(node.output[0])
                if node.op_type != "Gather":
                    todo.append(node.output[0])
                    continue
                table = self.array(node.input[0]) if node.input[1] == current else None
                if table is not None and table.dtype.kind == "f":
                    tables[node.input[0]] = table
        return tuple(tables.values())


def _attribute(node: onnx.NodeProto, name: str) -> Any:
    import onnx

    for attribute in node.attribute:
        if attribute.name == name:
            return onnx.helper.get_attribute_value(attribute)
    return None


def _found(graph: _Graph, node: onnx.NodeProto, ensemble: TreeEnsemble, result32: bool) -> Found:
    output = node.output[-1]
    numbers = any(n.op_type == "Cast" and _attribute(n, "to") == _INT64 for n in graph.consumers.get(output, ()))
    tables = graph.tables(output) if numbers else ()
    return Found(ensemble, node.op_type, node.name, graph.rows(node.input[0]), tables, numbers, result32)


# --- the operators --------------------------------------------------------------------------------------------------


def _arrays(node: onnx.NodeProto) -> dict[str, Any]:
    """Return the attributes by name, lists of numbers and tensors as arrays."""
    import onnx

    kinds = onnx.AttributeProto
    result: dict[str, Any] = {}
    for attribute in node.attribute:
        value = onnx.helper.get_attribute_value(attribute)
        if attribute.type == kinds.INTS:
            value = np.asarray(value, np.int64)
        elif attribute.type == kinds.FLOATS:
            value = np.asarray(value, np.float32)
        elif attribute.type == kinds.STRINGS:
            value = np.asarray([v.decode() for v in value])
        elif attribute.type == kinds.TENSOR:
            value = onnx.numpy_helper.to_array(value)
        result[attribute.name] = value
    return result


def _check_node(condition: bool, node: onnx.NodeProto, what: str) -> None:
    if not condition:
        raise MalformedFile(f"{node.op_type} describes no trees: {what}", where=node.name or None)


def _version5(node: onnx.NodeProto) -> TreeEnsemble:
    a = _arrays(node)
    n, leaves = len(a["nodes_featureids"]), len(a["leaf_weights"])
    true, false = a["nodes_truenodeids"], a["nodes_falsenodeids"]
    true_leaf, false_leaf = a["nodes_trueleafs"].astype(bool), a["nodes_falseleafs"].astype(bool)
    for child, is_leaf in ((true, true_leaf), (false, false_leaf)):
        _check_node(bool(np.all((child >= 0) & (child < np.where(is_leaf, leaves, n)))), node, "a child does not exist")
    # Inner nodes first, leaves behind them; a root whose branches are the same leaf stands for a tree of one leaf.
    roots = np.asarray(a["tree_roots"])
    alone = true_leaf[roots] & false_leaf[roots] & (true[roots] == false[roots])
    # A leaf that several branches lead to is written once: here each branch has its own.
    branches, ends = np.concatenate([true, false]), np.concatenate([true_leaf, false_leaf])
    ends[n + roots[alone]] = False
    used = branches[ends]
    branches[ends] = n + np.arange(len(used))
    true, false, leaves = branches[:n], branches[n:], len(used)
    roots = np.where(alone, true[roots], roots)
    none = np.full(leaves, -1, np.int64)
    zero = np.zeros(leaves)
    modes = np.concatenate([a["nodes_modes"].astype(np.uint8), np.full(leaves, Mode.LEAF, np.uint8)])
    splits = a["nodes_splits"]
    missing = a.get("nodes_missing_value_tracks_true", np.zeros(n))
    return _ordered(
        node,
        roots=roots,
        feature=np.concatenate([a["nodes_featureids"], zero]),
        threshold=np.concatenate([splits.astype(np.float64), zero]),
        mode=modes,
        true=np.concatenate([true, none]),
        false=np.concatenate([false, none]),
        missing=np.concatenate([missing, zero]).astype(bool),
        leaf_position=np.arange(leaves) + n,
        leaf_value=a["leaf_weights"][used],
        leaf_target=a["leaf_targetids"][used],
        n_targets=int(a.get("n_targets", 1)),
        compare="float32" if splits.dtype == np.float32 else "float64",
        members=a.get("membership_values"),
        aggregate=a.get("aggregate_function", 1) != 0,
    )


def _older(node: onnx.NodeProto) -> TreeEnsemble:
    a = _arrays(node)
    prefix = "target" if node.op_type == "TreeEnsembleRegressor" else "class"
    trees, ids = a["nodes_treeids"], a["nodes_nodeids"]
    stride = int(ids.max()) + 1
    key = trees * stride + ids
    by_key = np.argsort(key, kind="stable")

    def position(tree: Array, number: Array) -> Array:
        wanted = tree * stride + number
        at = by_key[np.minimum(np.searchsorted(key[by_key], wanted), len(key) - 1)]
        _check_node(bool(np.array_equal(key[at], wanted)), node, "a node does not exist")
        return at

    mode = np.array([_MODES[name] for name in a["nodes_modes"].tolist()], np.uint8)
    inner = mode != Mode.LEAF
    true, false = np.full(len(key), -1, np.int64), np.full(len(key), -1, np.int64)
    true[inner] = position(trees[inner], a["nodes_truenodeids"][inner])
    false[inner] = position(trees[inner], a["nodes_falsenodeids"][inner])
    thresholds = a.get("nodes_values_as_tensor", a.get("nodes_values"))
    weights = a.get(f"{prefix}_weights_as_tensor", a.get(f"{prefix}_weights"))
    _check_node(thresholds is not None and weights is not None, node, "thresholds or weights are missing")
    labels = a.get("classlabels_strings", a.get("classlabels_int64s", ()))
    base = a.get("base_values_as_tensor", a.get("base_values"))
    targets, n_targets = a[f"{prefix}_ids"], len(labels) or int(a.get("n_targets", 1))
    if prefix == "class" and n_targets == 2 and not np.any(targets):
        # Two classes and scores of one of them: they are those of the second, whatever their number says.
        n_targets = 1
    return _ordered(
        node,
        roots=np.sort(np.unique(trees, return_index=True)[1]),
        feature=np.where(inner, a["nodes_featureids"], 0),
        threshold=np.where(inner, np.asarray(thresholds, np.float64), 0.0),
        mode=mode,
        true=true,
        false=false,
        missing=np.asarray(a.get("nodes_missing_value_tracks_true", np.zeros(len(key)))).astype(bool) & inner,
        leaf_position=position(a[f"{prefix}_treeids"], a[f"{prefix}_nodeids"]),
        leaf_value=np.asarray(weights),
        leaf_target=targets,
        n_targets=n_targets,
        compare="float32" if np.asarray(thresholds).dtype == np.float32 else "float64",
        base=None if base is None else np.asarray(base, np.float64),
        aggregate=a.get("aggregate_function", b"SUM") != b"AVERAGE",
    )


def _plain(graph: _Graph, loop: onnx.NodeProto) -> Iterator[Found]:
    """Yield the walk that `plain.leaf_positions` wrote as this loop, if it did."""
    body = _attribute(loop, "body")
    read = [node.input[0] for node in body.node if node.op_type == "Gather"]
    names = [name for name in read if _NODES.fullmatch(name)]
    if not names:
        return
    table = graph.array(names[0])
    thresholds = next((graph.array(n) for n in read if n != names[0] and "trees.thresholds" in n), None)
    if table is None or thresholds is None:
        raise MalformedFile("the tables of a tree walk are missing", where=loop.name or None)
    feature, true, false, missing, mode = table.T
    leaf = mode == Mode.LEAF
    own = np.arange(len(table))
    roots = np.ones(len(table), bool)
    roots[true[~leaf]] = False
    roots[false[~leaf]] = False
    numbers = own[leaf]
    for node in graph.consumers.get(loop.output[0], ()):
        lookup = graph.array(node.input[0]) if node.op_type == "Gather" else None
        if lookup is not None and lookup.dtype.kind == "i":
            numbers = lookup[leaf]
            output = node.output[0]
            break
    else:
        output = loop.output[0]
    tree = np.cumsum(roots) - 1
    ensemble = _ordered(
        loop,
        roots=np.flatnonzero(roots),
        feature=feature,
        threshold=thresholds,
        mode=mode.astype(np.uint8),
        true=np.where(leaf, -1, true),
        false=np.where(leaf, -1, false),
        missing=missing.astype(bool),
        leaf_position=own[leaf],
        leaf_value=numbers,
        leaf_target=tree[leaf],
        n_targets=int(roots.sum()),
        compare="float64",
    )
    source = next((n.input[0] for n in body.node if n.op_type == "GatherElements"), "")
    yield Found(ensemble, "Loop", loop.name, graph.rows(source), graph.tables(output), True, False)


# --- one order ------------------------------------------------------------------------------------------------------


def _ordered(
    node: onnx.NodeProto,
    *,
    roots: Array,
    feature: Array,
    threshold: Array,
    mode: Array,
    true: Array,
    false: Array,
    missing: Array,
    leaf_position: Array,
    leaf_value: Array,
    leaf_target: Array,
    n_targets: int,
    compare: Compare,
    members: Array | None = None,
    base: Array | None = None,
    aggregate: bool = True,
) -> TreeEnsemble:
    """Return the ensemble with its nodes in canonical order; nodes that no root leads to are left out."""
    leaf = mode == Mode.LEAF
    place, size, tree = order.preorder(true, false, leaf, roots)
    start = np.concatenate([np.zeros(1, np.int64), np.cumsum(size[roots])])
    reached = np.flatnonzero(tree >= 0)
    new = np.where(tree >= 0, start[np.maximum(tree, 0)] + place, -1)
    _check_node(len(reached) == int(start[-1]), node, "a node has two parents")
    old = np.empty(len(reached), np.int64)
    old[new[reached]] = reached
    is_leaf = leaf[old]
    values, target = _leaves(new[leaf_position], leaf_value, leaf_target, is_leaf, n_targets)
    ensemble = TreeEnsemble(
        feature=feature[old].astype(np.int32),
        threshold=threshold[old],
        mode=mode[old],
        true_child=np.where(is_leaf, -1, new[true[old]]).astype(np.int32),
        false_child=np.where(is_leaf, -1, new[false[old]]).astype(np.int32),
        missing_true=missing[old],
        tree_start=start,
        leaf_values=values,
        leaf_target=target,
        n_targets=n_targets,
        n_features=int(feature[old].max()) + 1,
        compare=compare,
        base=base,
        tree_weight=None if aggregate else np.full(len(roots), 1 / len(roots)),
        **_member_sets(members, mode, old),
    )
    return ensemble.canonical() if Mode.NEQ in ensemble.modes() else ensemble


def _leaves(position: Array, value: Array, target: Array, is_leaf: Array, n_targets: int) -> tuple[Array, Array | None]:
    """Return leaf_values and leaf_target: one value per leaf where no leaf has two."""
    row = (np.cumsum(is_leaf) - 1)[position]
    count = int(is_leaf.sum())
    if n_targets > 1 and len(np.unique(row)) < len(row):
        wide = np.zeros((count, n_targets))
        np.add.at(wide, (row, target), value)
        return wide, None
    values = np.zeros((count, 1))
    values[row, 0] = value
    if n_targets == 1:
        return values, None
    targets = np.zeros(count, np.int32)
    targets[row] = target
    return values, targets


def _member_sets(members: Array | None, mode: Array, old: Array) -> Mapping[str, Any]:
    tests = np.flatnonzero(mode == Mode.MEMBER)
    if members is None or not len(tests):
        return {}
    gaps = np.flatnonzero(np.isnan(members))
    starts = np.concatenate([[0], gaps + 1])[: len(tests)]
    ends = np.concatenate([gaps, [len(members)]])[: len(tests)]
    parts: Sequence[Array] = [members[a:b] for a, b in zip(starts.tolist(), ends.tolist(), strict=True)]
    number = np.full(len(mode), -1, np.int32)
    number[tests] = np.arange(len(tests))
    return {
        "set_of_node": number[old],
        "set_start": np.concatenate([np.zeros(1, np.int64), np.cumsum([len(p) for p in parts])]),
        "set_values": np.concatenate(parts).astype(np.float64),
    }
