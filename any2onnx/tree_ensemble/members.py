"""Membership tests below ai.onnx.ml 5: one further column per distinct (feature, set), 0 inside, 1 outside, NaN kept.

A test `x in set` becomes `column <= 0.5`, which every version of the tree operators and every runtime has.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np

from any2onnx.graph.types import DataType, Value, dtype_of, shape_of
from any2onnx.tree_ensemble.ir import Array, Mode, TreeEnsemble

if TYPE_CHECKING:
    from any2onnx.graph.builder import GraphBuilder

TABLE: Final = "trees.members"


def member_columns(e: TreeEnsemble) -> tuple[TreeEnsemble, Array, list[Array]]:
    """Return the ensemble without membership tests, and what its further columns hold.

    Returns:
        The ensemble over n_features + columns columns; the feature of each column, ascending; and for each distinct
        feature, ascending, a float64 table [codes + 1, its columns]: 0 where the code is in the set, else 1; the last
        row is for codes above all members.
    """
    assert e.set_of_node is not None
    assert e.set_start is not None
    assert e.set_values is not None
    member = np.flatnonzero(e.mode == Mode.MEMBER)
    pairs = np.stack([e.feature[member].astype(np.int64), e.set_of_node[member]])
    distinct, column = np.unique(pairs, axis=1, return_inverse=True)
    column = column.ravel()
    feature, threshold, mode = e.feature.copy(), e.threshold.copy(), e.mode.copy()
    feature[member] = e.n_features + column
    threshold[member] = 0.5
    mode[member] = Mode.LEQ
    tables = []
    for f in np.unique(distinct[0]).tolist():
        sets = distinct[1][distinct[0] == f]
        sizes = np.diff(e.set_start)[sets]
        source = np.arange(int(sizes.sum())) - np.repeat(np.cumsum(sizes) - sizes - e.set_start[sets], sizes)
        codes = e.set_values[source].astype(np.int64)
        table = np.ones((int(codes.max()) + 2, len(sets)))
        table[codes, np.repeat(np.arange(len(sets)), sizes)] = 0.0
        tables.append(table)
    changed = replace(
        e,
        feature=feature,
        threshold=threshold,
        mode=mode,
        n_features=e.n_features + distinct.shape[1],
        set_of_node=None,
        set_start=None,
        set_values=None,
    )
    return changed, distinct[0], tables


def expand_members(g: GraphBuilder, e: TreeEnsemble, x: Value) -> tuple[TreeEnsemble, Value]:
    """Return the ensemble without membership tests, and `x` [batch, features] with the columns that it needs."""
    changed, owner, tables = member_columns(e)
    dtype = dtype_of(x)
    zero, nan = g.scalar_like(0.0, x), g.scalar_like(float("nan"), x)
    columns = [x]
    for f, table in zip(np.unique(owner).tolist(), tables, strict=True):
        value = g.Gather(x, np.asarray(f, np.int64), axis=1)
        outside = float(len(table) - 1)
        unknown = g.IsNaN(value)
        # Equal to a member or not: fractions and negative numbers are outside, like codes above all members.
        whole = g.And(g.Equal(value, g.Floor(value)), g.GreaterOrEqual(value, zero))
        code = g.Where(whole, g.Min(value, g.scalar_like(outside, x)), g.scalar_like(outside, x))
        known = g.Gather(g.const(table.astype(dtype.numpy()), name=TABLE), g.Cast(code, DataType.INT64), axis=0)
        columns.append(g.Where(g.Unsqueeze(unknown, 1), nan, known))
    # Not every version of the comparisons says which shape it gives.
    return changed, g.annotate(g.Concat(*columns, axis=1), [shape_of(x)[0], changed.n_features])
