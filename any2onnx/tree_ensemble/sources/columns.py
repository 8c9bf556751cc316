"""Columns as the boosting libraries read them before they test: categories as whole numbers, zeros as missing.

The libraries do this in each node; here it is one further column per way of reading, so that the tests themselves are
those of ONNX.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntEnum

import numpy as np

from any2onnx.graph.builder import GraphBuilder
from any2onnx.graph.types import Value, dtype_of
from any2onnx.tree_ensemble.ir import Array, Mode, TreeEnsemble


class Reading(IntEnum):
    """How a node reads its column."""

    PLAIN = 0
    ZERO_IS_MISSING = 1
    CATEGORY = 2
    """Whole numbers from 0 on; fractions are cut off, what cannot be a category is one that no set has."""


@dataclass(frozen=True, slots=True)
class Columns:
    """What the columns of an ensemble hold.

    Attributes:
        plain: Columns of the rows that come as they are.
        zero_missing: Columns in which zero is missing.
        categories: Columns of category codes.
        outside: For each of these, a code that no set has.
        identity: The columns are those of the rows.
    """

    plain: Array
    zero_missing: Array
    categories: Array
    outside: Array
    identity: bool


ZERO: float = float(np.float32(1e-35))
"""LightGBM takes numbers up to this size for zero."""


def split_columns(e: TreeEnsemble, reading: Array) -> tuple[TreeEnsemble, Columns]:
    """Return the ensemble over the columns that its nodes read, and what they hold.

    Args:
        e: Over the columns of the rows.
        reading: [nodes], codes of `Reading`.
    """
    inner = ~e.is_leaf
    kinds = np.where(inner, reading, Reading.PLAIN)
    none = np.zeros(0, np.int64)
    if not kinds.any():
        return e, Columns(np.arange(e.n_features), none, none, none, True)
    code = kinds.astype(np.int64) * e.n_features + e.feature
    used = np.unique(code[inner])
    feature = np.where(inner, np.searchsorted(used, code), 0).astype(np.int32)
    groups = [used[used // e.n_features == kind] % e.n_features for kind in Reading]
    outside = np.zeros(len(groups[Reading.CATEGORY]), np.int64)
    if e.set_of_node is not None:
        assert e.set_start is not None
        assert e.set_values is not None
        highest = np.maximum.reduceat(e.set_values, e.set_start[:-1]).astype(np.int64) + 1
        member = np.flatnonzero(e.mode == Mode.MEMBER)
        first = len(used) - len(outside)
        np.maximum.at(outside, feature[member] - first, highest[e.set_of_node[member]])
    changed = replace(e, feature=feature, n_features=len(used))
    return changed, Columns(groups[0], groups[1], groups[2], outside, False)


def prepared(g: GraphBuilder, x: Value, columns: Columns, *, cut: bool) -> Value:
    """Return the columns that an ensemble reads: [batch, columns of the ensemble].

    Args:
        g: The builder.
        x: [batch, features], FLOAT or DOUBLE.
        columns: From `split_columns`.
        cut: A number between -1 and 0 is category 0; otherwise it is none.
    """
    if columns.identity:
        return x
    parts = []
    if len(columns.plain):
        parts.append(g.Gather(x, columns.plain, axis=1))
    if len(columns.zero_missing):
        value = g.Gather(x, columns.zero_missing, axis=1)
        zero = g.LessOrEqual(g.Abs(value), g.scalar_like(_largest_zero(x), x))
        parts.append(g.Where(zero, g.scalar_like(np.nan, x), value))
    if len(columns.categories):
        parts.append(_codes(g, g.Gather(x, columns.categories, axis=1), columns.outside, cut))
    return parts[0] if len(parts) == 1 else g.Concat(*parts, axis=1)


def _largest_zero(x: Value) -> float:
    return float(np.asarray(ZERO, dtype_of(x).numpy()))


def _codes(g: GraphBuilder, value: Value, outside: Array, cut: bool) -> Value:
    top = g.const(outside[None, :].astype(dtype_of(value).numpy()), name="no_category")
    zero = g.scalar_like(0.0, value)
    low = g.Greater(value, g.scalar_like(-1.0, value)) if cut else g.GreaterOrEqual(value, zero)
    known = g.And(low, g.Less(value, top))
    code = g.Floor(g.op("Max", value, zero))
    return g.Where(g.IsNaN(value), value, g.Where(known, code, top))
