"""The form of a tree ensemble: flat numpy arrays over the nodes of all trees."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from any2onnx.errors import GraphError
from any2onnx.tree_ensemble import order

Array = npt.NDArray[Any]
Compare = Literal["float32", "float64"]

# Rows of a table that are looked at together: they stay in the cache meanwhile.
_ROWS: Final = 1 << 14
# Trees of this many nodes are worth a call of numpy each.
_LARGE_TREES: Final = 1_000


class Mode(IntEnum):
    """Test of a node: does x go to the true child? 0 to 6 are the codes of ai.onnx.ml 5."""

    LEQ = 0
    LT = 1
    GTE = 2
    GT = 3
    EQ = 4
    NEQ = 5
    MEMBER = 6
    LEAF = 7


@dataclass(frozen=True, slots=True, kw_only=True)
class TreeEnsemble:
    """Trees whose leaves are added up.

    The nodes of a tree lie together, its root first; leaves lie among them. Children are positions over all trees.

    Attributes:
        feature: int32 [nodes], column that is tested; 0 at leaves.
        threshold: float64 [nodes]; 0 at leaves and MEMBER nodes.
        mode: uint8 [nodes], codes of `Mode`.
        true_child: int32 [nodes], -1 at leaves.
        false_child: int32 [nodes], -1 at leaves.
        missing_true: bool [nodes], whether NaN goes to the true child.
        tree_start: int64 [trees + 1], position of each tree's first node, then the number of nodes.
        leaf_values: float64 [leaves, width], in the order of the leaf nodes. `width` is `n_targets` (a leaf adds to
            every target), or 1 (it adds to the one target that `leaf_target` says).
        leaf_target: int32 [leaves] where `width` is 1 and `n_targets` is not; None otherwise.
        n_targets: Number of sums.
        n_features: Number of columns of x.
        compare: Element type to which the source converts x before it compares: thresholds are float64, so
            ``float32`` means `float64(float32(x)) <= threshold`.
        tree_weight: float64 [trees], factor of each tree's leaves; None for 1.
        base: float64 [n_targets], added to the sums; None for 0.
        set_of_node: int32 [nodes], index of a MEMBER node's set, -1 at others; None where there are none.
        set_start: int64 [sets + 1], first position of each set in `set_values`.
        set_values: float64, the members of all sets: whole numbers, not negative. A column that is tested for
            membership must hold whole numbers or NaN.
    """

    feature: Array
    threshold: Array
    mode: Array
    true_child: Array
    false_child: Array
    missing_true: Array
    tree_start: Array
    leaf_values: Array
    n_targets: int
    n_features: int
    compare: Compare
    leaf_target: Array | None = None
    tree_weight: Array | None = None
    base: Array | None = None
    set_of_node: Array | None = None
    set_start: Array | None = None
    set_values: Array | None = None

    @property
    def n_nodes(self) -> int:
        """Number of nodes of all trees, leaves included."""
        return len(self.feature)

    @property
    def n_trees(self) -> int:
        """Number of trees."""
        return len(self.tree_start) - 1

    @property
    def is_leaf(self) -> Array:
        """Bool [nodes]."""
        return np.equal(self.mode, Mode.LEAF)

    @property
    def tree_of_node(self) -> Array:
        """int64 [nodes]."""
        return np.repeat(np.arange(self.n_trees), np.diff(self.tree_start))

    @property
    def tree_of_leaf(self) -> Array:
        """int64 [leaves]."""
        return self.tree_of_node[self.is_leaf]

    @property
    def has_members(self) -> bool:
        """Whether some node tests for membership in a set."""
        return self.set_of_node is not None

    def modes(self) -> list[Mode]:
        """Return the modes that occur at inner nodes, by their codes."""
        codes = self.mode.tobytes()
        return [mode for mode in Mode if mode != Mode.LEAF and mode in codes]

    def levels(self) -> Iterator[Array]:
        """Yield the positions of the nodes of depth 0, 1, … of all trees together.

        Raises:
            GraphError: The children form a cycle.
        """
        return order.levels(self.true_child, self.false_child, self.is_leaf, self.tree_start[:-1])

    def depth(self) -> int:
        """Return the largest number of tests on the way to a leaf."""
        return sum(1 for _ in self.levels()) - 1

    @property
    def leaf_start(self) -> Array:
        """int64 [trees + 1], position of each tree's first leaf among the leaves, then the number of leaves."""
        leaf, start = self.is_leaf, self.tree_start
        if self.n_nodes < _LARGE_TREES * self.n_trees:
            return np.searchsorted(np.flatnonzero(leaf), start)
        # Few trees: counting takes no memory.
        counts = [int(np.count_nonzero(leaf[a:b])) for a, b in itertools.pairwise(start.tolist())]
        return np.cumsum([0, *counts])

    def preorder(self) -> tuple[Array, Array]:
        """Return each node's place and the size of its subtree, as `order.preorder` defines them."""
        place, size, _ = order.preorder(self.true_child, self.false_child, self.is_leaf, self.tree_start[:-1])
        return place, size

    def without_neq(self) -> TreeEnsemble:
        """Return the same trees with `x == t` and swapped children in place of `x != t`.

        onnxruntime sends NaN to the true child of NEQ, whatever `missing_true` says: NaN is not equal to anything.
        """
        neq = self.mode == Mode.NEQ
        if not neq.any():
            return self
        return replace(
            self,
            mode=np.where(neq, np.uint8(Mode.EQ), self.mode),
            true_child=np.where(neq, self.false_child, self.true_child),
            false_child=np.where(neq, self.true_child, self.false_child),
            missing_true=self.missing_true ^ neq,
        )

    def canonical(self) -> TreeEnsemble:
        """Return the same trees without NEQ, each in the order of a walk that takes the true child first."""
        if Mode.NEQ in self.modes():
            return self.without_neq().canonical()
        place, _ = self.preorder()
        new = place + np.repeat(self.tree_start[:-1], np.diff(self.tree_start))
        old = np.empty(self.n_nodes, np.int64)
        old[new] = np.arange(self.n_nodes)
        leaf_rows = (np.cumsum(self.is_leaf) - 1)[old[self.is_leaf[old]]]
        leaf = self.is_leaf[old]
        return replace(
            self,
            feature=self.feature[old],
            threshold=self.threshold[old],
            mode=self.mode[old],
            true_child=np.where(leaf, -1, new[self.true_child[old]]).astype(np.int32),
            false_child=np.where(leaf, -1, new[self.false_child[old]]).astype(np.int32),
            missing_true=self.missing_true[old],
            leaf_values=self.leaf_values[leaf_rows],
            leaf_target=None if self.leaf_target is None else self.leaf_target[leaf_rows],
            set_of_node=None if self.set_of_node is None else self.set_of_node[old],
        )

    def reached(self) -> TreeEnsemble:
        """Return the same trees without the nodes that no root leads to (XGBoost keeps those that it has pruned)."""
        _, _, tree = order.preorder(self.true_child, self.false_child, self.is_leaf, self.tree_start[:-1])
        kept = tree >= 0
        if kept.all():
            return self
        new = np.cumsum(kept) - 1
        leaf = self.is_leaf[kept]
        sizes = np.bincount(tree[kept], minlength=self.n_trees)
        rows = kept[self.is_leaf]
        return replace(
            self,
            feature=self.feature[kept],
            threshold=self.threshold[kept],
            mode=self.mode[kept],
            true_child=np.where(leaf, -1, new[self.true_child[kept]]).astype(np.int32),
            false_child=np.where(leaf, -1, new[self.false_child[kept]]).astype(np.int32),
            missing_true=self.missing_true[kept],
            tree_start=np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes)]),
            leaf_values=self.leaf_values[rows],
            leaf_target=None if self.leaf_target is None else self.leaf_target[rows],
            set_of_node=None if self.set_of_node is None else self.set_of_node[kept],
        )

    def slice(self, first: int, last: int, leaf_start: Array | None = None) -> TreeEnsemble:
        """Return the trees first … last - 1 as an ensemble of their own, without the base."""
        a, b = int(self.tree_start[first]), int(self.tree_start[last])
        if (a, b) == (0, self.n_nodes):
            return self if self.base is None else replace(self, base=None)
        leaf_start = self.leaf_start if leaf_start is None else leaf_start
        c, d = int(leaf_start[first]), int(leaf_start[last])
        return replace(
            self,
            feature=self.feature[a:b],
            threshold=self.threshold[a:b],
            mode=self.mode[a:b],
            # At leaves -1 remains.
            true_child=np.maximum(self.true_child[a:b] - np.int32(a), np.int32(-1)),
            false_child=np.maximum(self.false_child[a:b] - np.int32(a), np.int32(-1)),
            missing_true=self.missing_true[a:b],
            tree_start=self.tree_start[first : last + 1] - a,
            leaf_values=self.leaf_values[c:d],
            leaf_target=None if self.leaf_target is None else self.leaf_target[c:d],
            tree_weight=None if self.tree_weight is None else self.tree_weight[first:last],
            set_of_node=None if self.set_of_node is None else self.set_of_node[a:b],
            base=None,
        )

    def groups(self, nodes: int) -> Iterator[TreeEnsemble]:
        """Yield runs of whole trees with about `nodes` nodes each, in order."""
        count = max(1, round(self.n_nodes / nodes))
        wanted = np.linspace(0, self.n_nodes, count + 1)
        ends = np.unique(np.searchsorted(self.tree_start, wanted[1:] - 0.5))
        leaf_start = self.leaf_start
        first = 0
        for last in ends.tolist():
            if last > first:
                yield self.slice(first, last, leaf_start)
                first = last

    def folded(self) -> TreeEnsemble:
        """Return an equal ensemble without tree weights and base: both become part of the leaves.

        The base goes to the leaves of the first tree that adds to a target: a sum that starts with the base and then
        adds tree by tree, as the boosting libraries do, gives the same float64 number.
        """
        if self.tree_weight is None and self.base is None:
            return self
        values = np.asarray(self.leaf_values, np.float64)
        if self.tree_weight is not None:
            values = values * self.tree_weight[self.tree_of_leaf][:, None]
        if self.base is not None:
            values = values + self._base_of_leaves()
        return replace(self, leaf_values=values, tree_weight=None, base=None)

    def _base_of_leaves(self) -> Array:
        assert self.base is not None
        tree = self.tree_of_leaf
        if self.leaf_target is None:
            return np.where(tree[:, None] == 0, np.asarray(self.base)[None, :], 0.0)
        first = np.full(self.n_targets, -1, np.int64)
        targets, where = np.unique(self.leaf_target, return_index=True)
        first[targets] = tree[where]
        if np.any((first < 0) & (np.asarray(self.base) != 0)):
            raise GraphError("a target with a base value has no tree")
        # A tree whose leaves serve several targets cannot carry the base: not every row reaches the right leaf.
        per_tree = np.unique(np.stack([tree, self.leaf_target]), axis=1)
        if per_tree.shape[1] != self.n_trees:
            raise GraphError("an ensemble whose trees serve several targets each cannot have base values")
        value = np.asarray(self.base)[self.leaf_target]
        return np.where(tree == first[self.leaf_target], value, 0.0)[:, None]

    def scalar_leaves(self) -> tuple[Array, Array] | None:
        """Return (value, target) of every leaf where no leaf adds to more than one target, or None."""
        if self.leaf_values.shape[1] == 1:
            target = np.zeros(len(self.leaf_values), np.int32) if self.leaf_target is None else self.leaf_target
            return self.leaf_values[:, 0], target
        count, width = self.leaf_values.shape
        values, target = np.zeros(count), np.zeros(count, np.int32)
        first = np.arange(0, _ROWS * width, width)
        for start in range(0, count, _ROWS):
            rows = self.leaf_values[start : start + _ROWS]
            place = np.flatnonzero(rows != 0)
            column = place - first[: len(rows)] if len(place) == len(rows) else np.full(1, -1)
            if column.min() >= 0 and column.max() < width:  # just one in each row
                values[start : start + len(rows)] = rows.reshape(-1).take(place)
                target[start : start + len(rows)] = column
                continue
            row, column = np.divmod(place, width)
            if np.any(row[1:] == row[:-1]):
                return None
            values[start + row] = rows.reshape(-1).take(place)
            target[start + row] = column
        return values, target

    def validate(self) -> TreeEnsemble:
        """Return the ensemble itself if it is well formed.

        Raises:
            GraphError: Arrays of different lengths, children outside their tree or shared, wrong targets or sets.
        """
        _check_lengths(self)
        _check_children(self)
        leaves = int(np.count_nonzero(self.is_leaf))
        _require(self.leaf_values.ndim == 2 and len(self.leaf_values) == leaves, "leaf_values has not one row per leaf")
        width = self.leaf_values.shape[1]
        if self.leaf_target is not None:
            target = self.leaf_target
            _require(width == 1 and len(target) == leaves, "leaf_target needs leaves with one value each")
            _require(bool(np.all((target >= 0) & (target < self.n_targets))), "a leaf adds to no existing target")
        else:
            _require(width == self.n_targets, "leaf_values has not one column per target")
        inner = ~self.is_leaf
        tested = self.feature[inner]
        _require(bool(np.all((tested >= 0) & (tested < self.n_features))), "a node tests no existing column")
        _require(not np.isnan(self.threshold[inner]).any(), "a threshold is NaN")
        _require(self.compare in ("float32", "float64"), "compare is neither float32 nor float64")
        _check_sets(self)
        return self


def _require(condition: bool, what: str) -> None:
    if not condition:
        raise GraphError(f"the tree ensemble is not well formed: {what}")


def _check_lengths(e: TreeEnsemble) -> None:
    n = e.n_nodes
    for name in ("threshold", "mode", "true_child", "false_child", "missing_true"):
        _require(len(getattr(e, name)) == n, f"{name} has not one entry per node")
    start = e.tree_start
    _require(len(start) >= 2 and int(start[0]) == 0 and int(start[-1]) == n, "tree_start does not span the nodes")
    _require(bool(np.all(np.diff(start) > 0)), "a tree has no nodes")
    _require(bool(np.all(e.mode <= Mode.LEAF)), "a mode is none of the known ones")
    if e.tree_weight is not None:
        _require(len(e.tree_weight) == e.n_trees, "tree_weight has not one entry per tree")
    if e.base is not None:
        _require(len(e.base) == e.n_targets, "base has not one entry per target")


def _check_children(e: TreeEnsemble) -> None:
    leaf = e.is_leaf
    _require(bool(np.all(e.true_child[leaf] == -1) and np.all(e.false_child[leaf] == -1)), "a leaf has children")
    tree = e.tree_of_node
    inner = np.flatnonzero(~leaf)
    for child in (e.true_child[inner], e.false_child[inner]):
        _require(bool(np.all((child >= 0) & (child < e.n_nodes))), "a child does not exist")
        _require(bool(np.all(tree[child] == tree[inner])), "a child lies in another tree")
    seen = np.zeros(e.n_nodes, np.int64)
    for level in e.levels():
        np.add.at(seen, level, 1)
    _require(bool(np.all(seen == 1)), "a node is reached twice, or never")


def _check_sets(e: TreeEnsemble) -> None:
    member = e.mode == Mode.MEMBER
    if e.set_of_node is None:
        _require(not member.any(), "a MEMBER node has no set")
        return
    _require(e.set_start is not None and e.set_values is not None, "set_start or set_values is missing")
    assert e.set_start is not None
    assert e.set_values is not None
    sets = e.set_of_node[member]
    _require(bool(np.all((sets >= 0) & (sets < len(e.set_start) - 1))), "a MEMBER node has no set")
    _require(bool(np.all(np.diff(e.set_start) > 0)), "a set is empty")
    values = e.set_values
    _require(len(values) == int(e.set_start[-1]), "set_start does not span set_values")
    _require(bool(np.all((values >= 0) & (values == np.floor(values)))), "a member is no whole number from 0 on")


def floor32(t: Array) -> Array:
    """Return the largest float32 that is not above each number: for float32 x, `x <= t` and `x <= floor32(t)` agree."""
    with np.errstate(over="ignore"):
        rounded = np.asarray(t, np.float64).astype(np.float32)
    # The neighbour below, by bits: one less for positive numbers, one more for negative ones, whose top bit is set.
    bits = rounded.view(np.int32)
    bits += (rounded > t) * (np.int32(-1) - 2 * (bits >> 31))
    return rounded


def ceil32(t: Array) -> Array:
    """Return the smallest float32 that is not below each number: for float32 x, `x < t` and `x < ceil32(t)` agree."""
    return -floor32(-t)


_CEIL: Final = frozenset({Mode.LT, Mode.GTE})
_EXACT: Final = frozenset({Mode.EQ, Mode.NEQ})


def thresholds32(e: TreeEnsemble, nodes: Array | slice = slice(None)) -> Array | None:
    """Return float32 thresholds of nodes (positions) that decide alike for every float32 x.

    None where there are none: a test for equality with a number that float32 does not have.
    """
    if not fits_float32(e):
        return None
    threshold = e.threshold[nodes] if isinstance(nodes, slice) else e.threshold.take(nodes)
    result = floor32(threshold)
    if _CEIL & set(e.modes()):
        result = np.where(np.isin(e.mode[nodes], list(_CEIL)), ceil32(threshold), result)
    return result


def fits_float32(e: TreeEnsemble) -> bool:
    """Tell whether `thresholds32` exist."""
    if not _EXACT & set(e.modes()):
        return True
    tested = e.threshold[np.isin(e.mode, list(_EXACT))]
    return bool(np.array_equal(floor32(tested), tested))
