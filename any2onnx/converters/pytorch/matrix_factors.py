"""What follows from the factors of linalg.py: unpacked LU, solutions from it, the exponential of matrices."""

from __future__ import annotations

import math

import numpy as np

from any2onnx.converters.pytorch.call import TorchCall, refuse, scalar
from any2onnx.converters.pytorch.linalg import (
    Factors,
    identity_like,
    positions,
    skips_empty,
    substituted,
    transposed_last,
    wide,
)
from any2onnx.graph.builder import GraphBuilder
from any2onnx.graph.types import DataType, Value, dtype_of, rank_of

INT64, DOUBLE = DataType.INT64, DataType.DOUBLE
Three = tuple[Value | None, Value | None, Value | None]


def order_of(g: GraphBuilder, pivots: Value, count: Value) -> Value:
    """Return the order of rows [..., count] that the exchanges of rows, numbered from 1, lead to."""
    rank = rank_of(pivots)
    line = g.Range(scalar(g, 0, INT64), count, scalar(g, 1, INT64))
    lead = g.Shape(pivots, end=rank - 1)
    start = g.Expand(line, g.op("Concat", lead, g.Unsqueeze(count, 0), axis=0))
    others = g.Sub(g.Cast(pivots, INT64), scalar(g, 1, INT64))

    def exchange(h: GraphBuilder, k: Value, going: Value, order: Value) -> tuple[Value, Value]:
        p = h.Gather(others, h.Unsqueeze(k, 0), axis=rank - 1)
        swap = h.Where(h.Equal(line, k), p, h.Where(h.Equal(line, p), k, line))
        return h.op("Identity", going), h.op("GatherElements", order, swap, axis=rank - 1)

    return g.Loop(exchange, [start], trip_count=g.Squeeze(g.dim(pivots, rank - 1), 0), condition=True)[0]


def permutation_of(g: GraphBuilder, order: Value, dtype: DataType) -> Value:
    """Return matrices P with P[order[k], k] = 1."""
    rank = rank_of(order)
    rows = g.Unsqueeze(positions(g, order, rank - 1), 1)
    return g.Cast(g.Equal(rows, g.Unsqueeze(order, rank - 1)), dtype)


def triangles_of(g: GraphBuilder, packed: Value, *, unit: bool = True) -> tuple[Value, Value]:
    """Return L with ones (or zeros) on its diagonal, and U."""
    rank = rank_of(packed)
    rows, columns = g.Unsqueeze(positions(g, packed, rank - 2), 1), positions(g, packed, rank - 1)
    zero, one = (scalar(g, v, dtype_of(packed)) for v in (0, int(unit)))
    shorter = g.Min(g.dim(packed, rank - 2), g.dim(packed, rank - 1))
    lower = g.Where(g.Less(columns, rows), packed, g.Where(g.Equal(rows, columns), one, zero))
    upper = g.Where(g.LessOrEqual(rows, columns), packed, zero)
    begin = g.const(np.zeros(1, np.int64))
    return g.Slice(lower, begin, shorter, [rank - 1]), g.Slice(upper, begin, shorter, [rank - 2])


def lu_unpack(g: GraphBuilder, call: TorchCall) -> Three:
    """P, L and U from packed factors and exchanges of rows."""
    packed, pivots = call.params["LU_data"], call.params["LU_pivots"]
    nothing = g.const(np.zeros(0, dtype_of(packed).numpy()))
    permutation: Value | None = nothing
    lower: Value | None = nothing
    upper: Value | None = nothing
    if call.params["unpack_pivots"]:
        count = g.Squeeze(g.dim(packed, rank_of(packed) - 2), 0)
        permutation = permutation_of(g, order_of(g, pivots, count), dtype_of(packed))
    if call.params["unpack_data"]:
        lower, upper = triangles_of(g, packed)
    return permutation, lower, upper


def lu(g: GraphBuilder, call: TorchCall) -> Three:
    """P, L and U with A = P · L · U."""
    if not call.params["pivot"]:
        raise refuse(call, "pivot", "elimination without exchanging rows")
    factors = Factors(g, wide(g, call.first))
    lower, upper = triangles_of(g, factors.packed)
    dtype = dtype_of(call.first)
    return permutation_of(g, factors.order, dtype), g.Cast(lower, dtype), g.Cast(upper, dtype)


@skips_empty()
def lu_solve(g: GraphBuilder, call: TorchCall) -> Value:
    """X with A · X = B (X · A = B for left=False; Aᵀ for adjoint=True), A given by its packed factors."""
    p = call.params
    left, adjoint = bool(p["left"]), bool(p["adjoint"])
    packed, b = wide(g, p["LU"]), wide(g, p["B"])
    if not left:
        # Transposed: Aᵀ · Xᵀ = Bᵀ.
        b, adjoint = transposed_last(g, b), not adjoint
    rank = len(call.dims)
    n = g.Squeeze(g.dim(packed, rank_of(packed) - 1), 0)
    order = order_of(g, p["pivots"], n)
    if rank > 2:
        batch = call.sizes.vector(g, call.dims[:-2])

        def spread(v: Value, own: int) -> Value:
            return g.Expand(v, g.op("Concat", batch, g.Shape(v, start=rank_of(v) - own), axis=0))

        packed, b, order = spread(packed, 2), spread(b, 2), spread(order, 1)
    if adjoint:
        turned = transposed_last(g, packed)
        x = substituted(g, turned, b, upper=False, unit=False)
        x = substituted(g, turned, x, upper=True, unit=True)
        # Undo the exchanges: where each row came from.
        rows = g.Unsqueeze(positions(g, order, rank - 2), 1)
        back = g.Cast(g.Equal(rows, g.Unsqueeze(order, rank - 2)), DataType.INT32)
        order = g.op("ArgMax", back, axis=rank - 1, keepdims=0)
        x = _rows_in(g, x, order)
    else:
        x = substituted(g, packed, _rows_in(g, b, order), upper=False, unit=True)
        x = substituted(g, packed, x, upper=True, unit=False)
    return g.Cast(x if left else transposed_last(g, x), call.dtype)


def _rows_in(g: GraphBuilder, x: Value, order: Value) -> Value:
    rank = rank_of(x)
    return g.op("GatherElements", x, g.Expand(g.Unsqueeze(order, rank - 1), g.Shape(x)), axis=rank - 2)


# --- exponential ------------------------------------------------------------------------------------------------------

_DEGREE = 16


@skips_empty()
def matrix_exp(g: GraphBuilder, call: TorchCall) -> Value:
    """Exponential of matrices."""
    return g.Cast(exponential_of(g, wide(g, call.first)), call.dtype)


def exponential_of(g: GraphBuilder, a: Value) -> Value:
    """Return the exponential: Taylor's polynomial of A / 2ˢ with a norm of 1/2 at most, squared s times."""
    rank = rank_of(a)
    half, one, zero = (scalar(g, v, DOUBLE) for v in (0.5, 1.0, 0.0))
    norm = g.ReduceMax(g.ReduceSum(g.Abs(a), rank - 2), [rank - 1])
    ratio = g.Max(g.Div(norm, half), one)
    squarings = g.Ceil(g.Div(g.Log(ratio), scalar(g, math.log(2), DOUBLE)))
    # Not-a-number and infinity: no squaring mends them.
    usable = g.Less(squarings, scalar(g, 2000.0, DOUBLE))
    squarings = g.Where(usable, squarings, zero)
    a = g.Mul(a, g.Pow(scalar(g, 2.0, DOUBLE), g.Neg(squarings)))
    result = _taylor(g, a)
    longest = g.Cast(g.ReduceMax(squarings, None, keepdims=False), INT64)

    def square(h: GraphBuilder, i: Value, going: Value, x: Value) -> tuple[Value, Value]:
        due = h.Less(h.Cast(i, DOUBLE), squarings)
        return h.op("Identity", going), h.Where(due, h.MatMul(x, x), x)

    return g.Loop(square, [result], trip_count=longest, condition=True)[0]


def _taylor(g: GraphBuilder, a: Value) -> Value:
    """Σ aᵏ / k! up to _DEGREE, four powers at a time (M. Paterson, L. Stockmeyer, 1973): seven products."""
    square = g.MatMul(a, a)
    powers = [identity_like(g, a), a, square, g.MatMul(square, a)]
    fourth = g.MatMul(square, square)

    def block(first: int) -> Value:
        terms = [g.Mul(p, scalar(g, 1 / math.factorial(first + k), DOUBLE)) for k, p in enumerate(powers)]
        return g.Add(g.Add(terms[0], terms[1]), g.Add(terms[2], terms[3]))

    result = g.Mul(powers[0], scalar(g, 1 / math.factorial(_DEGREE), DOUBLE))
    for first in range(_DEGREE - 4, -1, -4):
        result = g.Add(g.MatMul(result, fourth), block(first))
    return result
