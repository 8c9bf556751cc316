"""Rows that are mostly zeros, beside their dense form: what text and categories become before a linear model.

A document has some hundred terms, the vocabulary 50,000; a category is one column of many. A converter that knows the
columns attaches them to the dense value that it returns anyway; a linear model that finds them adds up the weights of
these columns, and the dense value, which nothing reads any more, is removed with its nodes. Everything else takes the
dense value as ever.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from any2onnx.graph.builder import GraphBuilder
from any2onnx.graph.types import DataType, Value, dims_of

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


@dataclass(frozen=True, slots=True)
class OneHotRows:
    """Ones.

    Attributes:
        columns: int64 [N, places]; the width of the row for a place without a one.
    """

    columns: Value


@dataclass(frozen=True, slots=True)
class Blocks:
    """Matrices side by side, some of which have a sparse form."""

    parts: tuple[Value, ...]


def worthwhile(g: GraphBuilder, columns: int) -> bool:
    """Tell whether rows of so many columns are better kept sparse."""
    return columns >= _FEWEST_COLUMNS and g.opsets.main >= _FIRST_OPSET


def attach(dense: Value, rows: SparseRows | OneHotRows | Blocks | None) -> Value:
    """Return the dense value with its sparse form attached."""
    if rows is not None:
        dense.meta[_META] = rows
    return dense


def find(dense: Value) -> SparseRows | OneHotRows | Blocks | None:
    """Return the sparse form that is attached to a value."""
    found = dense.meta.get(_META)
    return found if isinstance(found, SparseRows | OneHotRows | Blocks) else None


def counted(dense: Value) -> SparseRows | None:
    """Return the attached form of counts, or of what became of them."""
    found = find(dense)
    return found if isinstance(found, SparseRows) else None


def beside(joined: Value, parts: Sequence[Value]) -> Value:
    """Return the concatenation of columns, with their sparse forms if they have any."""
    sparse = any(find(part) is not None for part in parts) and all(_width(part) is not None for part in parts)
    return attach(joined, Blocks(tuple(parts)) if sparse else None)


def _width(value: Value) -> int | None:
    dims = dims_of(value.shape)
    return dims[1] if dims is not None and len(dims) == 2 and isinstance(dims[1], int) else None


def cast(g: GraphBuilder, dense: Value, dtype: DataType) -> Value:
    """Cast a value, and its sparse form with it."""
    result = g.Cast(dense, dtype)
    rows = find(dense)
    if rows is None or result is dense:
        return result
    if isinstance(rows, SparseRows):
        rows = SparseRows(rows.columns, g.Cast(rows.values, dtype))
    elif isinstance(rows, Blocks):
        rows = Blocks(tuple(cast(g, part, dtype) for part in rows.parts))
    return attach(result, rows)


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


def affine(g: GraphBuilder, dense: Value, coefficients: Any, intercept: Any) -> Value | None:
    """Return rows @ coefficients.T + intercept by the sparse form, [N, outputs]; None where the dense one is better.

    Args:
        g: Builder.
        dense: With a sparse form or without.
        coefficients: [outputs, columns] in the type of the rows.
        intercept: [outputs] in the same type.
    """
    rows = find(dense)
    if rows is None or len(coefficients) > _MOST_OUTPUTS:
        return None
    bias = g.const(np.ascontiguousarray(intercept)[None, :], name="intercept")
    return _sum(g, dense, rows, coefficients, bias)


def _sum(g: GraphBuilder, dense: Value, rows: Any, coefficients: Any, start: Value) -> Value:
    if isinstance(rows, Blocks):
        return _block_sum(g, rows, coefficients, start)
    if isinstance(rows, OneHotRows):
        nothing = np.zeros((1, len(coefficients)), coefficients.dtype)
        table = g.const(np.vstack([coefficients.T, nothing]), name="coef")
        outputs, places = len(coefficients), _width(rows.columns) or 1
        chosen = g.Reshape(g.Gather(table, rows.columns, axis=0), [-1, places * outputs])
        # onnxruntime sums over a middle axis twenty times slower than it multiplies.
        ones = np.tile(np.eye(outputs, dtype=coefficients.dtype), (places, 1))
        return g.Gemm(chosen, ones, start)
    if isinstance(rows, SparseRows):
        if len(coefficients) == 1:
            chosen = g.Gather(g.const(coefficients[0], name="coef"), rows.columns, axis=0)
            return g.Add(g.ReduceSum(g.Mul(chosen, rows.values), [1]), start)
        table = g.const(np.ascontiguousarray(coefficients.T), name="coef")
        chosen = g.Gather(table, rows.columns, axis=0)
        return g.Add(g.Squeeze(g.MatMul(g.Unsqueeze(rows.values, 1), chosen), 1), start)
    return g.Gemm(dense, g.const(np.ascontiguousarray(coefficients), name="coef"), start, transB=1)


def _block_sum(g: GraphBuilder, rows: Blocks, coefficients: Any, total: Value) -> Value:
    """Add one block's product after the other."""
    end = 0
    for part in rows.parts:
        begin, end = end, end + (_width(part) or 0)
        if end > begin:
            total = _sum(g, part, find(part), coefficients[:, begin:end], total)
    return total
