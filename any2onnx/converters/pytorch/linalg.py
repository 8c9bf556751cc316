"""Linear algebra without ONNX operators of its own: elimination, Cholesky and substitution as loops over columns.

Everything is computed in float64 and batched over the leading dims.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from any2onnx.converters.pytorch.call import TorchCall, refuse, scalar
from any2onnx.converters.pytorch.sizes import expressions
from any2onnx.graph.builder import GraphBuilder
from any2onnx.graph.types import DataType, Value, dims_of, dtype_of, rank_of
from any2onnx.shape_calculators.pytorch.general import onnx_dtype

Converter = Callable[[GraphBuilder, TorchCall], Any]
INT64, DOUBLE = DataType.INT64, DataType.DOUBLE


def positions(g: GraphBuilder, x: Value, axis: int) -> Value:
    """Return 0, 1, … along an axis of x."""
    return g.Range(scalar(g, 0, INT64), g.Squeeze(g.dim(x, axis), 0), scalar(g, 1, INT64))


def _row(g: GraphBuilder, x: Value, k: Value) -> Value:
    """Return row k, [..., 1, columns]."""
    return g.Gather(x, g.Unsqueeze(k, 0), axis=rank_of(x) - 2)


def _column(g: GraphBuilder, x: Value, k: Value) -> Value:
    """Return column k, [..., rows, 1]."""
    return g.Gather(x, g.Unsqueeze(k, 0), axis=rank_of(x) - 1)


def wide(g: GraphBuilder, x: Value) -> Value:
    """Return a value in float64, in which everything here is computed."""
    return g.Cast(x, DOUBLE)


def skips_empty(first: float = 0.0) -> Callable[[Converter], Converter]:
    """Return a decorator for converters of matrices: where some dim has no elements, the results are zeros.

    Loops over such dims have nothing to do, and onnxruntime's operators do not take them.

    Args:
        first: What the first result holds instead.
    """

    def decorate(convert: Converter) -> Converter:
        @functools.wraps(convert)
        def converted(g: GraphBuilder, call: TorchCall) -> Any:
            metas = [m for m in call.metas.values() if hasattr(m, "shape")]
            if all(0 not in expressions(m.shape) for m in metas):
                return convert(g, call)
            results = call.result if isinstance(call.result, list | tuple) else [call.result]
            values = []
            for k, result in enumerate(results):
                number = scalar(g, 0.0 if k else first, onnx_dtype(result.dtype))
                shape = expressions(result.shape)
                values.append(g.Expand(number, call.sizes.vector(g, shape)) if shape else number)
            return values if isinstance(call.result, list | tuple) else values[0]

        return converted

    return decorate


class Factors:
    """P · A = L · U by elimination with partial pivoting.

    Attributes:
        packed: L below the diagonal, U on and above it, [..., n, m].
        order: Rows of A in the order of P · A, [..., n] int64.
        pivots: Row that was exchanged with row k, from 1 on, [..., min(n, m)] int32.
        parity: 1 or -1, [...].
    """

    def __init__(self, g: GraphBuilder, a: Value) -> None:
        rank = rank_of(a)
        rows, columns = g.Unsqueeze(positions(g, a, rank - 2), 1), positions(g, a, rank - 1)
        lead = g.Shape(a, end=rank - 1)
        order = g.Expand(g.Squeeze(rows, 1), lead)
        parity = g.Expand(scalar(g, 1.0, DOUBLE), g.Shape(a, end=rank - 2)) if rank > 2 else scalar(g, 1.0, DOUBLE)
        steps = g.Squeeze(g.Min(g.dim(a, rank - 2), g.dim(a, rank - 1)), 0)

        def eliminate(h: GraphBuilder, k: Value, going: Value, m: Value, o: Value, sign: Value) -> tuple[Value, ...]:
            size = h.Abs(_column(h, m, k))
            size = h.Where(h.GreaterOrEqual(rows, k), size, scalar(h, -1.0, DOUBLE))
            p = h.op("ArgMax", h.Squeeze(size, rank - 1), axis=rank - 2, keepdims=1)  # [..., 1]
            line = h.Squeeze(rows, 1)
            swap = h.Where(h.Equal(line, k), p, h.Where(h.Equal(line, p), k, line))
            m = h.op("GatherElements", m, h.Expand(h.Unsqueeze(swap, rank - 1), h.Shape(m)), axis=rank - 2)
            o = h.op("GatherElements", o, swap, axis=rank - 2)
            same = h.Squeeze(h.Equal(p, k), rank - 2)
            sign = h.Mul(sign, h.Where(same, scalar(h, 1.0, DOUBLE), scalar(h, -1.0, DOUBLE)))
            pivot_row = _row(h, m, k)
            pivot = _column(h, pivot_row, k)
            zero = scalar(h, 0.0, DOUBLE)
            safe = h.Where(h.Equal(pivot, zero), scalar(h, 1.0, DOUBLE), pivot)
            below = h.Greater(rows, k)
            factor = h.Where(below, h.Div(_column(h, m, k), safe), zero)
            rest = h.Where(h.Greater(columns, k), pivot_row, zero)
            reduced = h.Sub(m, h.Mul(factor, rest))
            m = h.Where(h.And(below, h.Equal(columns, k)), factor, reduced)
            found = h.Cast(h.Add(h.Squeeze(p, rank - 2), scalar(h, 1, INT64)), DataType.INT32)
            return h.op("Identity", going), m, o, sign, found

        shapes = [dims_of(a.shape), dims_of(order.shape), dims_of(parity.shape)]
        results = g.Loop(eliminate, [a, order, parity], trip_count=steps, condition=True, state_shapes=shapes)
        self.packed, self.order, self.parity = results[:3]
        pivots = results[3]
        self.pivots = g.Transpose(pivots, perm=[*range(1, rank - 1), 0]) if rank > 2 else pivots

    def diagonal(self, g: GraphBuilder) -> Value:
        """Return the diagonal of U, [..., n]."""
        return diagonal_of(g, self.packed)

    def solve(self, g: GraphBuilder, b: Value) -> Value:
        """Return X with A · X = B for B [..., n, k]."""
        rank = rank_of(self.packed)
        index = g.Expand(g.Unsqueeze(self.order, rank - 1), g.Shape(b))
        permuted = g.op("GatherElements", b, index, axis=rank - 2)
        lower = substituted(g, self.packed, permuted, upper=False, unit=True)
        return substituted(g, self.packed, lower, upper=True, unit=False)

    def info(self, g: GraphBuilder) -> Value:
        """Return 0, or the number of the first pivot that is zero, int32."""
        missing = g.Cast(g.Equal(self.diagonal(g), scalar(g, 0.0, DOUBLE)), DataType.INT32)
        last = rank_of(missing) - 1
        first = g.Add(g.op("ArgMax", missing, axis=last, keepdims=0), scalar(g, 1, INT64))
        some = g.Cast(g.ReduceMax(missing, last, keepdims=False), DataType.BOOL)
        return g.Cast(g.Where(some, first, scalar(g, 0, INT64)), DataType.INT32)


def diagonal_of(g: GraphBuilder, a: Value) -> Value:
    """Return the main diagonal of the last two dims of square matrices."""
    rank = rank_of(a)
    rows, columns = g.Unsqueeze(positions(g, a, rank - 2), 1), positions(g, a, rank - 1)
    kept = g.Where(g.Equal(rows, columns), a, scalar(g, 0, dtype_of(a)))
    return g.ReduceSum(kept, rank - 2, keepdims=False)


def substituted(g: GraphBuilder, a: Value, b: Value, *, upper: bool, unit: bool) -> Value:
    """Return X with T · X = B, T one triangle of A; only that triangle is read."""
    rank = rank_of(a)
    rows, columns = g.Unsqueeze(positions(g, a, rank - 2), 1), positions(g, a, rank - 1)
    n = g.Squeeze(g.dim(a, rank - 2), 0)
    zero = scalar(g, 0.0, DOUBLE)
    off = g.Where(g.Greater(columns, rows) if upper else g.Less(columns, rows), a, zero)
    start = g.Mul(b, zero)

    def step(h: GraphBuilder, i: Value, going: Value, x: Value) -> tuple[Value, Value]:
        k = h.Sub(h.Sub(n, scalar(h, 1, INT64)), i) if upper else i
        value = h.Sub(_row(h, b, k), h.MatMul(_row(h, off, k), x))
        if not unit:
            value = h.Div(value, _column(h, _row(h, a, k), k))
        return h.op("Identity", going), h.Where(h.Equal(rows, k), value, x)

    return g.Loop(step, [start], trip_count=n, condition=True)[0]


def cholesky_of(g: GraphBuilder, a: Value) -> Value:
    """Return L with L · Lᵀ = A, from the lower triangle of A."""
    rank = rank_of(a)
    rows, columns = g.Unsqueeze(positions(g, a, rank - 2), 1), positions(g, a, rank - 1)
    n = g.Squeeze(g.dim(a, rank - 1), 0)
    zero = scalar(g, 0.0, DOUBLE)
    swap = [*range(rank - 2), rank - 1, rank - 2]

    def step(h: GraphBuilder, k: Value, going: Value, lower: Value) -> tuple[Value, Value]:
        column = h.Sub(_column(h, a, k), h.MatMul(lower, h.Transpose(_row(h, lower, k), perm=swap)))
        root = h.Sqrt(_row(h, column, k))
        values = h.Where(h.GreaterOrEqual(rows, k), h.Div(column, root), zero)
        return h.op("Identity", going), h.Where(h.Equal(columns, k), values, lower)

    return g.Loop(step, [g.Mul(a, zero)], trip_count=n, condition=True)[0]


def identity_like(g: GraphBuilder, a: Value) -> Value:
    """Return identity matrices in the shape of A."""
    rows, columns = g.Unsqueeze(positions(g, a, rank_of(a) - 2), 1), positions(g, a, rank_of(a) - 1)
    return g.Expand(g.Cast(g.Equal(rows, columns), dtype_of(a)), g.Shape(a))


def transposed_last(g: GraphBuilder, a: Value) -> Value:
    """Return the last two dims exchanged."""
    rank = rank_of(a)
    return g.Transpose(a, perm=[*range(rank - 2), rank - 1, rank - 2])


# --- operators -----------------------------------------------------------------------------------------------


@skips_empty(1.0)
def det(g: GraphBuilder, call: TorchCall) -> tuple[Value, Value, Value]:
    """Determinant; the factors as further results."""
    factors = Factors(g, wide(g, call.first))
    diagonal = factors.diagonal(g)
    product = g.ReduceProd(diagonal, rank_of(diagonal) - 1, keepdims=False)
    return g.Cast(g.Mul(factors.parity, product), call.dtype), g.Cast(factors.packed, call.dtype), factors.pivots


@skips_empty(1.0)
def slogdet(g: GraphBuilder, call: TorchCall) -> tuple[Value, Value, Value, Value]:
    """Sign and logarithm of the determinant; the factors as further results."""
    factors = Factors(g, wide(g, call.first))
    diagonal = factors.diagonal(g)
    last = rank_of(diagonal) - 1
    sign = g.Mul(factors.parity, g.ReduceProd(g.Sign(diagonal), last, keepdims=False))
    logarithm = g.ReduceSum(g.Log(g.Abs(diagonal)), last, keepdims=False)
    dtype = call.dtype
    return g.Cast(sign, dtype), g.Cast(logarithm, dtype), g.Cast(factors.packed, dtype), factors.pivots


@skips_empty()
def inverse(g: GraphBuilder, call: TorchCall) -> tuple[Value, Value]:
    """Inverse, and whether it exists."""
    a = wide(g, call.first)
    factors = Factors(g, a)
    return g.Cast(factors.solve(g, identity_like(g, a)), call.dtype), factors.info(g)


@skips_empty()
def solve(g: GraphBuilder, call: TorchCall) -> tuple[Value, Value, Value, Value]:
    """X with A · X = B (X · A = B for left=False); the factors as further results."""
    a, b = wide(g, call.params["A"]), wide(g, call.params["B"])
    left = bool(call.params.get("left", True))
    vector = len(call.dims_of("B")) == 1 or (
        len(call.dims_of("B")) == len(call.dims_of("A")) - 1 and call.dims_of("B") == call.dims_of("A")[:-1]
    )
    factors = Factors(g, a if left else transposed_last(g, a))
    if vector:
        b = g.Unsqueeze(b, rank_of(b))
    elif not left:
        b = transposed_last(g, b)
    b = same_batch(g, factors.packed, b)
    if rank_of(b) > rank_of(a):
        raise refuse(call, "B", "it has more batch dims than A")
    x = factors.solve(g, b)
    x = g.Squeeze(x, rank_of(x) - 1) if vector else (x if left else transposed_last(g, x))
    return g.Cast(x, call.dtype), g.Cast(factors.packed, call.dtype), factors.pivots, factors.info(g)


def same_batch(g: GraphBuilder, a: Value, b: Value) -> Value:
    """Return b with the batch dims of a."""
    if rank_of(a) == rank_of(b) and dims_of(a.shape) is not None and dims_of(b.shape) is not None:
        first, second = dims_of(a.shape) or (), dims_of(b.shape) or ()
        if first[:-2] == second[:-2]:
            return b
    if rank_of(a) == 2:
        return b
    batch = g.Shape(a, end=rank_of(a) - 2)
    return g.Expand(b, g.op("Concat", batch, g.Shape(b, start=rank_of(b) - 2), axis=0))


@skips_empty()
def lu_factor(g: GraphBuilder, call: TorchCall) -> tuple[Value, Value, Value]:
    """Packed factors, pivots, and whether all are different from zero."""
    if not call.params.get("pivot", True):
        raise refuse(call, "pivot", "elimination without exchanging rows")
    factors = Factors(g, wide(g, call.first))
    sizes = call.dims_of("A")[-2:]
    info = factors.info(g) if sizes[0] == sizes[1] else None
    if info is None:
        lead = len(call.dims) - 2
        info = scalar(g, 0, DataType.INT32)
        if lead:
            info = g.Expand(info, g.Shape(factors.packed, end=lead))
    return g.Cast(factors.packed, call.dtype), factors.pivots, info


@skips_empty()
def cholesky(g: GraphBuilder, call: TorchCall) -> Any:
    """Lower (or upper) factor of a positive definite matrix; cholesky_ex also says whether it is one."""
    a = wide(g, call.first)
    upper = bool(call.params.get("upper", False))
    lower = cholesky_of(g, transposed_last(g, a) if upper else a)
    result = g.Cast(transposed_last(g, lower) if upper else lower, call.dtype)
    if not isinstance(call.result, list | tuple):
        return result
    rank = rank_of(lower)
    broken = g.Cast(g.IsNaN(diagonal_of(g, lower)), DataType.INT32)
    first = g.Add(g.op("ArgMax", broken, axis=rank - 2, keepdims=0), scalar(g, 1, INT64))
    some = g.Cast(g.ReduceMax(broken, rank - 2, keepdims=False), DataType.BOOL)
    return result, g.Cast(g.Where(some, first, scalar(g, 0, INT64)), DataType.INT32)


@skips_empty()
def cholesky_solve(g: GraphBuilder, call: TorchCall) -> Value:
    """X with A · X = B for A given by its Cholesky factor."""
    b, factor = wide(g, call.params["self"]), wide(g, call.params["input2"])
    lower = transposed_last(g, factor) if call.params["upper"] else factor
    b = same_batch(g, lower, b)
    half = substituted(g, lower, b, upper=False, unit=False)
    return g.Cast(substituted(g, transposed_last(g, lower), half, upper=True, unit=False), call.dtype)


@skips_empty()
def cholesky_inverse(g: GraphBuilder, call: TorchCall) -> Value:
    """Inverse of a matrix given by its Cholesky factor."""
    factor = wide(g, call.first)
    lower = transposed_last(g, factor) if call.params["upper"] else factor
    half = substituted(g, lower, identity_like(g, lower), upper=False, unit=False)
    return g.Cast(substituted(g, transposed_last(g, lower), half, upper=True, unit=False), call.dtype)


@skips_empty()
def solve_triangular(g: GraphBuilder, call: TorchCall) -> Value:
    """X with A · X = B (X · A = B for left=False), A triangular."""
    p = call.params
    a, b, upper = wide(g, p["self"]), wide(g, p["B"]), bool(p["upper"])
    if not p["left"]:
        a, b, upper = transposed_last(g, a), transposed_last(g, b), not upper
    shape = call.dims if p["left"] else [*call.dims[:-2], call.dims[-1], call.dims[-2]]
    b = g.Expand(b, call.sizes.vector(g, shape)) if rank_of(b) > 2 or len(shape) > 2 else b
    x = substituted(g, a, b, upper=upper, unit=bool(p["unitriangular"]))
    return g.Cast(x if p["left"] else transposed_last(g, x), call.dtype)


@skips_empty()
def triangular_solve(g: GraphBuilder, call: TorchCall) -> tuple[Value, Value]:
    """X with A · X = B, A triangular (torch.triangular_solve), and A."""
    p = call.params
    a, b, upper = wide(g, p["A"]), wide(g, p["self"]), bool(p["upper"])
    if p["transpose"]:
        a, upper = transposed_last(g, a), not upper
    shape = call.dims
    b = g.Expand(b, call.sizes.vector(g, shape)) if len(shape) > 2 else b
    x = substituted(g, a, b, upper=upper, unit=bool(p["unitriangular"]))
    return g.Cast(x, call.dtype), g.op("Identity", p["A"])


def cdist(g: GraphBuilder, call: TorchCall) -> Value:
    """Distances between the rows of two matrices."""
    names = ("x1", "x2")
    a, b = (call.params[n] for n in names)
    order = float(call.params["p"])
    difference = g.Abs(g.Sub(g.Unsqueeze(a, rank_of(a) - 1), g.Unsqueeze(b, rank_of(b) - 2)))
    return norm_of(g, difference, order)


def pdist(g: GraphBuilder, call: TorchCall) -> Value:
    """Distances between all pairs of rows of one matrix."""
    x = call.first
    line = positions(g, x, 0)
    pairs = g.op("NonZero", g.Less(g.Unsqueeze(line, 1), line))
    a, b = (g.Gather(x, g.Gather(pairs, scalar(g, k, INT64), axis=0), axis=0) for k in (0, 1))
    return norm_of(g, g.Abs(g.Sub(a, b)), float(call.params["p"]))


def norm_of(g: GraphBuilder, sizes: Value, order: float) -> Value:
    """Return the norm of non-negative numbers over the last dim."""
    last = rank_of(sizes) - 1
    dtype = dtype_of(sizes)
    if order == 0:
        return g.ReduceSum(g.Cast(g.Greater(sizes, scalar(g, 0, dtype)), dtype), last, keepdims=False)
    if order == float("inf"):
        return g.ReduceMax(sizes, last, keepdims=False)
    if order in (1, 2):
        return g._reduce(f"ReduceL{int(order)}", sizes, last, False)
    total = g.ReduceSum(g.Pow(sizes, scalar(g, order, dtype)), last, keepdims=False)
    return g.Pow(total, scalar(g, 1 / order, dtype))
