"""From a tree ensemble to ONNX nodes, in the form that is exact and fast for the version of ai.onnx.ml.

Decisions are always exact. Sums are those of float64 wherever the operators can do it:

================  =======================================================  ========================================
leaves            ai.onnx.ml 5                                             ai.onnx.ml 1 to 4
================  =======================================================  ========================================
whole numbers     float32 walk: the sums are exact                         float32 walk: the sums are exact
one target each   float64 walk                                             float32 results: float64 walk, the sum is
                                                                           rounded once (version 1: each leaf too)
several targets   walk to the leaf's number, then a table of float64       likewise
any, float64 out  as above                                                 walk to the leaf's number, then a table
================  =======================================================  ========================================

Measured on onnxruntime 1.32 (100 trees, batch 1 / 1,000 / 10,000, one thread): the float64 walk takes 1.0 to 1.2 times
the float32 walk; for leaves with several targets the table takes 1.2 to 1.4 times one TreeEnsembleRegressor and a
half to a seventh of one TreeEnsemble per target. One node walks all trees for each row: forests of 240,000 nodes and
more take 1.3 to 2 times as long at batch 1,000 and 10,000 as in groups that stay in the cache. At batch 1 each group
costs 0.6 to 0.9 µs. Groups of 20,000 / 40,000 / 60,000 / 80,000 nodes, forests of 235,752 and 2,138,310 nodes:
batch 1 in 24 / 20 / 18 / 17 and 149 / 106 / 91 / 81 µs, batch 1,000 in 9.6 / 9.9 / 10.2 / 10.4 and 52 / 49 / 51 / 50
ms, batch 10,000 of the first in 79 / 84 / 88 / 90 ms. Up to 80,000 nodes groups gain nothing at any batch. Groups
are of 32,000: numbers of nodes below 16,384 take two bytes in the file, those above three.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

import numpy as np

from any2onnx.graph.types import DataType, Value, dtype_of
from any2onnx.tree_ensemble.ir import Array, TreeEnsemble, fits_float32
from any2onnx.tree_ensemble.members import expand_members
from any2onnx.tree_ensemble.nodes import sum_node
from any2onnx.tree_ensemble.plain import leaf_positions

if TYPE_CHECKING:
    from any2onnx.graph.builder import GraphBuilder

Precision = Literal["auto", "float32", "float64"]

GROUP_NODES: Final = 32_000
"""Nodes in one operator: they and the rows of a batch stay in a core's cache."""

_ROWS: Final = 1 << 14
"""Leaves that are looked at together: they stay in the cache meanwhile."""

TABLE: Final = "trees.leaf_values"

_EXACT: Final = 1 << 24
"""float32 has every whole number up to here."""

_NARROW: Final = frozenset(
    {
        DataType.FLOAT,
        DataType.FLOAT16,
        DataType.BFLOAT16,
        DataType.INT8,
        DataType.UINT8,
        DataType.INT16,
        DataType.UINT16,
        DataType.BOOL,
    }
)
"""Types whose numbers float32 has."""


@dataclass(frozen=True, slots=True)
class _Ready:
    """An ensemble and its rows, ready for the walk.

    Attributes:
        ensemble: Without base and weights; without membership tests where the version has none.
        x: [batch, features], FLOAT or DOUBLE.
        narrow: float32 decides alike: x is FLOAT, and every threshold has a float32 counterpart.
        plain: No tree operator decides exactly.
    """

    ensemble: TreeEnsemble
    x: Value
    narrow: bool
    plain: bool


def emit_scores(
    g: GraphBuilder, e: TreeEnsemble, x: Value, *, result: DataType = DataType.DOUBLE, precision: Precision = "auto"
) -> Value:
    """Add the nodes that compute the sums.

    Args:
        g: The builder.
        e: The ensemble.
        x: [batch, n_features], any number type; converted to `e.compare` as the source does.
        result: FLOAT where the caller hands out float32: below ai.onnx.ml 5 the sum may then be rounded to it.
        precision: "float32" walks and adds in float32 wherever that decides alike; "float64" rounds nothing at any
            version.

    Returns:
        [batch, n_targets]; DOUBLE where `result` is, so that what the caller does with exact float32 sums (a mean,
        shares of votes) is not rounded either.
    """
    scores = _scores(g, _ready(g, e.folded(), x), result, precision)
    return g.Cast(scores, DataType.DOUBLE) if result == DataType.DOUBLE else scores


def _scores(g: GraphBuilder, ready: _Ready, result: DataType, precision: Precision) -> Value:
    if ready.plain:
        return _table_sum(g, ready.ensemble, _plain_rows(g, ready))
    scalar = ready.ensemble.scalar_leaves()
    rounded = result == DataType.FLOAT and precision != "float64"
    # One tree's sum is its leaf: rounding the leaf is rounding the result.
    single = ready.ensemble.n_trees == 1 and rounded
    leaves = ready.ensemble.leaf_values if scalar is None else scalar[0][:, None]
    small = ready.narrow and (precision == "float32" or single or _exact_in_float32(ready.ensemble, leaves))
    if scalar is not None and (g.opsets.ml >= 5 or small or rounded):
        return _walk_sum(g, ready, scalar, DataType.FLOAT if small else DataType.DOUBLE)
    if g.opsets.ml < 5 and (small or rounded):
        return _walk_sum(g, ready, _contributions(ready.ensemble), DataType.FLOAT if small else DataType.DOUBLE)
    sums = [
        _table_sum(g, part, _rows(g, part, ready, np.arange(len(part.leaf_values))))
        for part in ready.ensemble.groups(GROUP_NODES)
    ]
    return _sum(g, sums)


def emit_leaf_numbers(g: GraphBuilder, e: TreeEnsemble, x: Value, numbers: Array) -> Value:
    """Add the nodes that find the leaves, and return a number for each: int64 [batch, trees].

    Args:
        g: The builder.
        e: The ensemble; its leaf values do not matter.
        x: See `emit_scores`.
        numbers: int64 [leaves], whole numbers from 0 on: what stands for each leaf.
    """
    ready = _ready(g, e, x)
    if ready.plain or (g.opsets.ml < 5 and int(numbers.max()) >= _EXACT):
        return g.Gather(g.const(numbers.astype(np.int64), name="trees.leaf_numbers"), _plain_rows(g, ready), axis=0)
    leaf_start = ready.ensemble.leaf_start
    parts, first = [], 0
    for part in ready.ensemble.groups(GROUP_NODES):
        a, b = int(leaf_start[first]), int(leaf_start[first + part.n_trees])
        parts.append(_rows(g, part, ready, numbers[a:b]))
        first += part.n_trees
    return parts[0] if len(parts) == 1 else g.Concat(*parts, axis=1)


def emit_leaves(g: GraphBuilder, e: TreeEnsemble, x: Value) -> Value:
    """Add the nodes that find the leaves: int64 [batch, trees], each leaf's position among the nodes of its tree."""
    leaf = np.flatnonzero(e.is_leaf)
    return emit_leaf_numbers(g, e, x, leaf - e.tree_start[e.tree_of_node[leaf]])


# --- what is walked -------------------------------------------------------------------------------------------------


def _ready(g: GraphBuilder, e: TreeEnsemble, x: Value) -> _Ready:
    exact = e.compare == "float32" or x.dtype in _NARROW
    x = g.Cast(x, DataType.FLOAT if exact else DataType.DOUBLE)
    e = e.without_neq()
    if e.has_members and g.opsets.ml < 5:
        e, x = expand_members(g, e, x)
    narrow = exact and fits_float32(e)
    # Thresholds are float32 below version 3, results are below version 5.
    plain = (g.opsets.ml < 3 and not narrow) or (g.opsets.ml < 5 and int(np.diff(e.tree_start).max()) >= _EXACT)
    return _Ready(e, x, narrow, plain)


def _exact_in_float32(e: TreeEnsemble, values: Array) -> bool:
    """Tell whether all leaves [leaves, width] are whole numbers whose sums float32 has."""
    largest = max(values.max(), -values.min())
    if not np.isfinite(largest):
        return False
    for start in range(0, len(values), _ROWS):
        part = values[start : start + _ROWS]
        if not np.array_equal(part, np.rint(part)):
            return False
    if largest * e.n_trees < _EXACT:
        return True
    per_tree = np.maximum.reduceat(np.abs(values).max(axis=1), e.leaf_start[:-1])
    return bool(per_tree.sum() < _EXACT)


def _contributions(e: TreeEnsemble) -> tuple[Array, Array, Array]:
    """Return (leaf, value, target) of all that leaves add, zeros left out."""
    leaf, target = np.nonzero(e.leaf_values)
    return leaf, e.leaf_values[leaf, target], target


# --- sums by the operator -------------------------------------------------------------------------------------------


def _walk_sum(g: GraphBuilder, ready: _Ready, added: Sequence[Array], dtype: DataType) -> Value:
    """Let the tree operators add: `added` is (value, target) of each leaf, or (leaf, value, target)."""
    e = ready.ensemble
    x = g.Cast(ready.x, dtype)
    ends = e.leaf_start
    leaf = added[0] if len(added) == 3 else None
    value, target = added[-2:]
    sums, first = [], 0
    for part in e.groups(GROUP_NODES):
        a, b = int(ends[first]), int(ends[first + part.n_trees])
        if leaf is None:
            sums.append(sum_node(g, part, x, None, value[a:b], target[a:b], e.n_targets))
        else:
            c, d = np.searchsorted(leaf, [a, b])
            sums.append(sum_node(g, part, x, leaf[c:d] - a, value[c:d], target[c:d], e.n_targets))
        first += part.n_trees
    # Below version 5 each group's sum is float32: add them in float64, unless they are exact anyway.
    return _sum(g, sums if dtype == DataType.FLOAT or len(sums) == 1 else [g.Cast(s, DataType.DOUBLE) for s in sums])


def _sum(g: GraphBuilder, sums: Sequence[Value]) -> Value:
    return sums[0] if len(sums) == 1 else g.op("Sum", *sums)


# --- sums by a table ------------------------------------------------------------------------------------------------


def _rows(g: GraphBuilder, part: TreeEnsemble, ready: _Ready, numbers: Array) -> Value:
    """Return a number for the leaf that each row reaches in each tree of `part`: int64 [batch, trees]."""
    wide = not ready.narrow or int(numbers.max()) >= _EXACT
    x = g.Cast(ready.x, DataType.DOUBLE if wide else DataType.FLOAT)
    return g.Cast(sum_node(g, part, x, None, numbers, part.tree_of_leaf, part.n_trees), DataType.INT64)


def _plain_rows(g: GraphBuilder, ready: _Ready) -> Value:
    """Return the same for all trees by plain operators: positions among all leaves."""
    e = ready.ensemble
    number = np.where(e.is_leaf, np.cumsum(e.is_leaf) - 1, 0)
    return g.Gather(g.const(number, name="trees.leaf_of_node"), leaf_positions(g, e, ready.x), axis=0)


def _table_sum(g: GraphBuilder, e: TreeEnsemble, rows: Value) -> Value:
    """Return the sum of the leaf values at `rows` [batch, trees]: DOUBLE [batch, n_targets]."""
    values = np.ascontiguousarray(e.leaf_values, np.float64)
    if e.leaf_target is not None:
        per_tree = e.leaf_target[e.leaf_start[:-1]]
        if np.array_equal(per_tree[e.tree_of_leaf], e.leaf_target):
            found = g.Gather(g.const(values[:, 0], name=TABLE), rows, axis=0)
            return g.MatMul(found, g.const(np.equal(per_tree[:, None], np.arange(e.n_targets)).astype(np.float64)))
        wide = np.zeros((len(values), e.n_targets))
        wide[np.arange(len(values)), e.leaf_target] = values[:, 0]
        values = wide
    table = g.const(values, name=TABLE)
    if e.n_trees == 1:
        return g.Gather(table, g.Squeeze(rows, 1), axis=0)
    return g.ReduceSum(g.Gather(table, rows, axis=0), 1, keepdims=False)


def result_type(x: Value) -> DataType:
    """Return the type of floating-point results for rows of this type: DOUBLE for DOUBLE, else FLOAT."""
    return DataType.DOUBLE if dtype_of(x) == DataType.DOUBLE else DataType.FLOAT
