"""Factors L · D · Lᵀ of symmetric indefinite matrices, with the exchanges of J. R. Bunch and L. Kaufman (1977).

As LAPACK's sytf2 makes them from the lower triangle: blocks of one or two rows on the diagonal of D. Batches go in
step, each matrix at a place of its own. Everything is computed in float64.
"""

from __future__ import annotations

import math
from typing import Any

from any2onnx.converters.pytorch.call import TorchCall, scalar
from any2onnx.converters.pytorch.linalg import Factors, positions, skips_empty, transposed_last, wide
from any2onnx.converters.pytorch.matrix_decompositions import symmetric
from any2onnx.graph.builder import GraphBuilder
from any2onnx.graph.types import DataType, Value, dims_of, rank_of

INT64, DOUBLE = DataType.INT64, DataType.DOUBLE
# The share of the largest element in its column that a pivot of one row must have.
_SHARE = (1 + math.sqrt(17)) / 8


class _Places:
    """Rows, columns and numbers of matrices, for one builder."""

    def __init__(self, g: GraphBuilder, line: Value, rank: int) -> None:
        self.g, self.rank = g, rank
        self.rows, self.columns = g.Unsqueeze(line, 1), line
        self.zero, self.one = scalar(g, 0.0, DOUBLE), scalar(g, 1.0, DOUBLE)
        self.step = scalar(g, 1, INT64)

    def column(self, m: Value, k: Value) -> Value:
        """Return column k of each matrix, [..., n, 1]; k is [..., 1, 1]."""
        return self.g.ReduceSum(self.g.Where(self.g.Equal(self.columns, k), m, self.zero), self.rank - 1)

    def element(self, column: Value, k: Value) -> Value:
        """Return element k of each column, [..., 1, 1]."""
        return self.g.ReduceSum(self.g.Where(self.g.Equal(self.rows, k), column, self.zero), self.rank - 2)

    def largest(self, column: Value, among: Value) -> Value:
        """Return the largest size among some elements of each column, [..., 1, 1]."""
        return self.g.ReduceMax(self.g.Where(among, self.g.Abs(column), self.zero), self.rank - 2)

    def exchanged(self, m: Value, a: Value, b: Value) -> Value:
        """Return matrices with rows a and b exchanged."""
        g = self.g
        order = g.Where(g.Equal(self.rows, a), b, g.Where(g.Equal(self.rows, b), a, self.rows))
        return g.op("GatherElements", m, g.Expand(order, g.Shape(m)), axis=self.rank - 2)


def _pivot(at: _Places, m: Value, k: Value) -> tuple[Value, Value, Value]:
    """Return the row to bring to place k (or k + 1), whether two rows go together, and whether the column is zero."""
    h = at.g
    column = at.column(m, k)
    below = h.Greater(at.rows, k)
    own, colmax = h.Abs(at.element(column, k)), at.largest(column, below)
    sizes = h.Where(below, h.Abs(column), scalar(h, -1.0, DOUBLE))
    other = h.op("ArgMax", sizes, axis=at.rank - 2, keepdims=1)
    candidates = at.column(m, other)
    rest = h.And(h.GreaterOrEqual(at.rows, k), h.Not(h.Equal(at.rows, other)))
    rowmax = at.largest(candidates, rest)
    share = scalar(h, _SHARE, DOUBLE)
    safe = h.Where(h.Equal(rowmax, at.zero), at.one, rowmax)
    limit = h.Mul(share, colmax)
    stays = h.Or(h.GreaterOrEqual(own, limit), h.GreaterOrEqual(own, h.Mul(limit, h.Div(colmax, safe))))
    alone = h.GreaterOrEqual(h.Abs(at.element(candidates, other)), h.Mul(share, rowmax))
    missing = h.Equal(h.Max(own, colmax), at.zero)
    return h.Where(stays, k, other), h.And(h.Not(stays), h.Not(alone)), missing


def factors_of(g: GraphBuilder, a: Value) -> tuple[Value, Value, Value]:
    """Return L and D in one lower triangle, the pivots as sytrf numbers them, the number of the first zero pivot."""
    rank = rank_of(a)
    line = positions(g, a, rank - 1)
    n = g.Squeeze(g.dim(a, rank - 1), 0)
    single = g.ReduceSum(g.Mul(a, scalar(g, 0.0, DOUBLE)), [rank - 2, rank - 1])
    start = g.Cast(single, INT64)
    column = g.Cast(g.Mul(g.ReduceSum(a, rank - 1), scalar(g, 0.0, DOUBLE)), INT64)

    def eliminate(h: GraphBuilder, i: Value, going: Value, *state: Value) -> tuple[Value, ...]:
        m, packed, pivots, k, info = state
        at = _Places(h, line, rank)
        active = h.Less(k, n)
        chosen, double, missing = _pivot(at, m, k)
        following = h.Add(k, at.step)
        place = h.Where(double, following, k)
        m = at.exchanged(m, place, chosen)
        m = transposed_last(h, at.exchanged(transposed_last(h, m), place, chosen))
        v1, v2 = at.column(m, k), h.Where(double, at.column(m, following), at.zero)
        d1, d2 = at.element(v1, k), h.Where(double, at.element(v2, following), at.one)
        off = h.Where(double, at.element(v1, following), at.zero)
        determinant = h.Sub(h.Mul(d1, d2), h.Mul(off, off))
        safe = h.Where(h.Equal(determinant, at.zero), at.one, determinant)
        below = h.Greater(at.rows, place)
        l1 = h.Where(below, h.Div(h.Sub(h.Mul(d2, v1), h.Mul(off, v2)), safe), at.zero)
        l2 = h.Where(h.And(below, double), h.Div(h.Sub(h.Mul(d1, v2), h.Mul(off, v1)), safe), at.zero)
        later = h.And(below, h.Greater(at.columns, place))
        change = h.Add(h.Mul(l1, transposed_last(h, v1)), h.Mul(l2, transposed_last(h, v2)))
        m = h.Where(h.And(later, h.Not(missing)), h.Sub(m, change), m)
        first = h.Where(below, l1, h.Where(h.GreaterOrEqual(at.rows, k), v1, at.zero))
        second = h.Where(below, l2, h.Where(h.Equal(at.rows, following), v2, at.zero))
        packed = h.Where(h.And(h.Equal(at.columns, k), active), first, packed)
        here = h.And(h.And(h.Equal(at.columns, following), double), active)
        packed = h.Where(here, second, packed)
        number = h.Add(chosen, at.step)
        number = h.Where(double, h.Neg(number), number)
        own = h.Or(h.Equal(at.rows, k), h.And(double, h.Equal(at.rows, following)))
        pivots = h.Where(h.And(own, active), number, pivots)
        unseen = h.And(h.And(missing, active), h.Equal(info, scalar(h, 0, INT64)))
        info = h.Where(unseen, following, info)
        k = h.Where(active, h.Add(place, at.step), k)
        return h.Less(h.ReduceMin(k, None, keepdims=False), n), m, packed, pivots, k, info

    states = [a, g.Mul(a, scalar(g, 0.0, DOUBLE)), column, start, start]
    shapes = [dims_of(v.shape) for v in states]
    results = g.Loop(eliminate, states, trip_count=n, condition=True, state_shapes=shapes)
    pivots, info = results[2], results[4]
    return results[1], g.Squeeze(pivots, rank - 1), g.Squeeze(info, [rank - 2, rank - 1])


@skips_empty()
def ldl_factor(g: GraphBuilder, call: TorchCall) -> Any:
    """L and D in one matrix, pivots and, from ldl_factor_ex, the number of the first pivot that is zero."""
    packed, pivots, info = factors_of(g, symmetric(g, wide(g, call.first), "L"))
    results = [g.Cast(packed, call.dtype), g.Cast(pivots, DataType.INT32), g.Cast(info, DataType.INT32)]
    return results[: len(call.result)]


@skips_empty()
def ldl_solve(g: GraphBuilder, call: TorchCall) -> Value:
    """X with A · X = B, A given by its factors."""
    p = call.params
    packed, b, pivots = wide(g, p["LD"]), wide(g, p["B"]), g.Cast(p["pivots"], INT64)
    rank = len(call.dims)
    if rank > 2:
        batch = call.sizes.vector(g, call.dims[:-2])

        def spread(v: Value, own: int) -> Value:
            return g.Expand(v, g.op("Concat", batch, g.Shape(v, start=rank_of(v) - own), axis=0))

        packed, b, pivots = spread(packed, 2), spread(b, 2), spread(pivots, 1)
    line = positions(g, packed, rank - 1)
    one, two, zero = (scalar(g, v, INT64) for v in (1, 2, 0))
    paired = g.Less(pivots, zero)
    # Blocks of two come in pairs of numbers: an even count of negative ones lies before the first of a pair.
    before = g.op("CumSum", g.Cast(paired, INT64), g.const([rank - 2], dtype=INT64), exclusive=1)
    begins = g.And(paired, g.Equal(g.Mod(before, two), zero))
    target = g.Unsqueeze(g.Sub(g.Abs(pivots), one), rank - 1)
    begins, ends = g.Unsqueeze(begins, rank - 1), g.Unsqueeze(g.And(paired, g.Not(begins)), rank - 1)
    count = g.Squeeze(g.dim(packed, rank - 1), 0)

    def parts(h: GraphBuilder, k: Value) -> tuple[_Places, Value, Value, Value, Value]:
        """Return column k of L, the rows that its block exchanges, and whether it is the block's first."""
        at, place = _Places(h, line, rank), h.Unsqueeze(k, 0)
        begin, end = (h.Gather(v, place, axis=rank - 2) for v in (begins, ends))
        first = h.Where(begin, h.Add(k, at.step), k)
        other = h.Where(end, first, h.Gather(target, place, axis=rank - 2))
        column = h.Where(h.Greater(at.rows, first), h.Gather(packed, place, axis=rank - 1), at.zero)
        return at, column, first, other, place

    def forward(h: GraphBuilder, k: Value, going: Value, x: Value) -> tuple[Value, Value]:
        at, column, first, other, place = parts(h, k)
        x = at.exchanged(x, first, other)
        return h.op("Identity", going), h.Sub(x, h.Mul(column, h.Gather(x, place, axis=rank - 2)))

    def backward(h: GraphBuilder, i: Value, going: Value, x: Value) -> tuple[Value, Value]:
        k = h.Sub(h.Sub(count, scalar(h, 1, INT64)), i)
        at, column, first, other, _ = parts(h, k)
        change = h.ReduceSum(h.Mul(column, x), rank - 2)
        x = h.Where(h.Equal(at.rows, k), h.Sub(x, change), x)
        return h.op("Identity", going), at.exchanged(x, first, other)

    x = g.Loop(forward, [b], trip_count=count, condition=True)[0]
    rows, columns = g.Unsqueeze(line, 1), line
    below = g.And(g.Equal(rows, g.Add(columns, one)), transposed_last(g, begins))
    lower = g.Where(below, packed, scalar(g, 0.0, DOUBLE))
    diagonal = g.Where(g.Equal(rows, columns), packed, g.Add(lower, transposed_last(g, lower)))
    x = Factors(g, diagonal).solve(g, x)
    return g.Cast(g.Loop(backward, [x], trip_count=count, condition=True)[0], call.dtype)
