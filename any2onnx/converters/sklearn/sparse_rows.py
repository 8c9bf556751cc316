"""Rows that are mostly zeros, beside their dense form: what text becomes before a linear model.

A document has some hundred terms, the vocabulary 50,000. A converter that knows the terms attaches them to the dense
value that it returns anyway; a linear model that finds them adds up the weights of these terms, and the dense value,
which nothing reads any more, is removed with its nodes. Everything else takes the dense value as ever.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from any2onnx.graph.builder import GraphBuilder
from any2onnx.graph.types import DataType, Value, dtype_of

_META: Final = "any2onnx.sparse_rows"
# Below this number of columns the dense product is as fast (measured: one to a thousand documents of sixty words).
_FEWEST_COLUMNS: Final = 2_000
# One row of weights is gathered for each term of a document: with more outputs that is more than the dense row.
_MOST_OUTPUTS: Final = 64
# reduction="add" of ScatterElements.
_FIRST_OPSET: Final = 16


@dataclass(frozen=True, slots=True)
class SparseRows:
    """Values other than zero.

    Attributes:
        columns: Their columns, int64 [N, places]; anything where the value is 0.
        values: float [N, places]; no column comes twice in a row, but with value 0.
    """

    columns: Value
    values: Value


def worthwhile(g: GraphBuilder, columns: int) -> bool:
    """Tell whether rows of so many columns are better kept sparse."""
    return columns >= _FEWEST_COLUMNS and g.opsets.main >= _FIRST_OPSET


def attach(dense: Value, rows: SparseRows | None) -> Value:
    """Return the dense value with its sparse form attached."""
    if rows is not None:
        dense.meta[_META] = rows
    return dense


def find(dense: Value) -> SparseRows | None:
    """Return the sparse form that is attached to a value."""
    found = dense.meta.get(_META)
    return found if isinstance(found, SparseRows) else None


def cast(g: GraphBuilder, dense: Value, dtype: DataType) -> Value:
    """Cast a value, and its sparse form with it."""
    result = g.Cast(dense, dtype)
    rows = find(dense)
    if rows is None or result is dense:
        return result
    return attach(result, SparseRows(rows.columns, g.Cast(rows.values, dtype)))


def counts(g: GraphBuilder, columns: Value, dtype: DataType) -> SparseRows:
    """Return how often each column comes in each row.

    Args:
        g: Builder.
        columns: int64 [N, places], at least one place; -1 for none.
        dtype: Of the counts.
    """
    ordered, _ = g.TopK(columns, g.dim(columns, 1), axis=1)
    end = np.iinfo(np.int64).max
    first = g.Slice(ordered, [0], [1], [1])
    changes = g.Not(g.Equal(g.Slice(ordered, [1], [end], [1]), g.Slice(ordered, [0], [-1], [1])))
    starts = g.op("Concat", g.Equal(first, first), changes, axis=1)
    # Equal columns are neighbours now: they are one run, and a run's number is that of its starts so far.
    run = g.Sub(
        g.CumSum(g.Cast(starts, DataType.INT64), g.const(np.asarray(1, np.int64))), g.const(np.asarray(1, np.int64))
    )
    present = g.Cast(g.GreaterOrEqual(ordered, g.const(np.asarray(0, np.int64))), dtype)
    zero = g.scalar_like(0.0, present)
    totals = g.op("ScatterElements", g.Mul(present, zero), run, present, axis=1, reduction="add")
    values = g.Where(starts, g.GatherElements(totals, run, axis=1), zero)
    return SparseRows(g.Max(ordered, g.const(np.asarray(0, np.int64))), values)


def affine(g: GraphBuilder, rows: SparseRows, coefficients: Any, intercept: Any) -> Value:
    """Return rows @ coefficients.T + intercept, [N, outputs].

    Args:
        g: Builder.
        rows: Sparse rows.
        coefficients: [outputs, columns] in the type of the values.
        intercept: [outputs].
    """
    dtype = dtype_of(rows.values)
    bias = np.asarray(intercept, dtype.numpy())[None, :]
    if len(coefficients) == 1:
        chosen = g.Gather(g.const(coefficients[0], name="coef"), rows.columns, axis=0)
        total = g.ReduceSum(g.Mul(chosen, rows.values), [1])
    else:
        table = g.const(np.ascontiguousarray(coefficients.T), name="coef")
        chosen = g.Gather(table, rows.columns, axis=0)
        total = g.Squeeze(g.MatMul(g.Unsqueeze(rows.values, 1), chosen), 1)
    return g.Add(total, g.const(bias, name="intercept"))


def affine_of(g: GraphBuilder, dense: Value, coefficients: Any, intercept: Any) -> Value | None:
    """Return the affine map of a value by its sparse form; None where the dense product is the better one."""
    rows = find(dense)
    if rows is None or len(coefficients) > _MOST_OUTPUTS:
        return None
    return affine(g, rows, coefficients, intercept)
