"""Rows that lie on the thresholds of trees and beside them, and a walk over an ensemble in numpy."""

from __future__ import annotations

from typing import Any

import numpy as np

from any2onnx.tree_ensemble import Mode, TreeEnsemble
from any2onnx.tree_ensemble.ir import floor32

Array = np.ndarray[Any, Any]


def walk(e: TreeEnsemble, X: Array) -> Array:
    """Position of the leaf that each row reaches in each tree: an independent reading of the definition."""
    x = X.astype(np.float32).astype(np.float64) if e.compare == "float32" else X.astype(np.float64)
    at = np.tile(e.tree_start[:-1], (len(x), 1))
    row = np.arange(len(x))[:, None]
    for _ in range(e.depth()):
        value, mode, limit = x[row, e.feature[at]], e.mode[at], e.threshold[at]
        answers = [value <= limit, value < limit, value >= limit, value > limit, value == limit, value != limit]
        holds = np.choose(np.minimum(mode, 5), answers)
        if e.set_of_node is not None:
            member = np.zeros(at.shape, bool)
            for number in np.unique(e.set_of_node[e.set_of_node >= 0]):
                values = e.set_values[e.set_start[number] : e.set_start[number + 1]]
                member |= (e.set_of_node[at] == number) & np.isin(value, values)
            holds = np.where(mode == Mode.MEMBER, member, holds)
        holds = np.where(np.isnan(value), e.missing_true[at], holds)
        at = np.where(mode == Mode.LEAF, at, np.where(holds, e.true_child[at], e.false_child[at]))
    return at


def sums(e: TreeEnsemble, X: Array) -> Array:
    e = e.folded()
    number = np.cumsum(e.is_leaf) - 1
    rows = number[walk(e, X)]
    if e.leaf_target is None:
        return e.leaf_values[rows].sum(axis=1)
    result = np.zeros((len(X), e.n_targets))
    np.add.at(result, (np.arange(len(X))[:, None], e.leaf_target[rows]), e.leaf_values[rows, 0])
    return result


def boundary_rows(e: TreeEnsemble, X: Array, dtype: Any) -> Array:
    """For every test that some row of X comes to: that row with the tested column on the threshold and beside it."""
    X = X.astype(dtype)
    place, size = e.preorder()
    reached = place[walk(e, X)]
    tests = np.flatnonzero(np.isin(e.mode, (Mode.LEQ, Mode.LT, Mode.GT)))
    tree = e.tree_of_node[tests]
    passes = (reached[:, tree] >= place[tests]) & (reached[:, tree] < (place + size)[tests])
    visited = passes.any(axis=0)
    row, tests = passes.argmax(axis=0)[visited], tests[visited]
    limit = e.threshold[tests]
    near = floor32(limit)
    low, high = np.float32(-np.inf), np.float32(np.inf)
    values = [near, np.nextafter(near, low), np.nextafter(near, high)]
    if dtype == np.float64:
        values += [limit, np.nextafter(limit, -np.inf), np.nextafter(limit, np.inf)]
    made = []
    for value in values:
        rows = X[row].copy()
        rows[np.arange(len(rows)), e.feature[tests]] = value.astype(dtype)
        made.append(rows)
    rows = np.concatenate(made)
    # A threshold of infinity splits missing from present values; no row may hold it, nor what float32 cannot hold.
    return rows[~(np.abs(rows) > np.finfo(np.float32).max).any(axis=1)]
