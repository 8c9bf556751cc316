"""Elimination, Cholesky's factors, solutions and exponentials of complex matrices, on pairs of real ones.

What asks for the solution of a system only goes through the real form [[re, -im], [im, re]]; factors that torch hands
out (LU, with its exchanges of rows) are computed on the pairs themselves. Everything is computed in float64.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from any2onnx.converters.pytorch.call import TorchCall, refuse, scalar
from any2onnx.converters.pytorch.complex_linalg import from_real_form, multiplied, product_of, real_form
from any2onnx.converters.pytorch.complex_math import conjugate, modulus, quotient, scaled, times
from any2onnx.converters.pytorch.complex_pairs import Complex, apply_parts, as_pair, is_complex, real_dtype
from any2onnx.converters.pytorch.linalg import (
    Factors,
    cholesky_of,
    diagonal_of,
    identity_like,
    positions,
    same_batch,
    transposed_last,
)
from any2onnx.converters.pytorch.matrix_decompositions import pinv_of, symmetric
from any2onnx.converters.pytorch.matrix_factors import exponential_of, order_of, permutation_of, triangles_of
from any2onnx.converters.pytorch.sizes import expressions
from any2onnx.graph.builder import GraphBuilder
from any2onnx.graph.types import DataType, Value, dims_of, rank_of

INT64, DOUBLE = DataType.INT64, DataType.DOUBLE
Converter = Callable[[GraphBuilder, TorchCall], Any]


# --- edges ------------------------------------------------------------------------------------------------------------


def wide_pair(g: GraphBuilder, operand: Any) -> Complex:
    """Return an operand as a complex tensor in float64."""
    return as_pair(g, operand, DOUBLE)


def narrowed(g: GraphBuilder, call: TorchCall, results: Any) -> Any:
    """Return results in the parts' types that torch promises."""

    def one(result: Any, promised: Any) -> Any:
        if isinstance(result, Complex):
            return apply_parts(result, lambda v: g.Cast(v, real_dtype(promised)))
        return g.Cast(result, real_dtype(promised)) if isinstance(result, Value) else result

    if isinstance(call.result, list | tuple):
        return [one(r, p) for r, p in zip(results, call.result, strict=True)]
    return one(results, call.result)


def of_matrices(first: float = 0.0) -> Callable[[Converter], Converter]:
    """Return a decorator: results are narrowed; where some dim has no elements they are zeros.

    Args:
        first: What the first result holds instead where there are no elements.
    """

    def decorate(convert: Converter) -> Converter:
        def converted(g: GraphBuilder, call: TorchCall) -> Any:
            metas = [m for m in call.metas.values() if hasattr(m, "shape")]
            if all(0 not in expressions(m.shape) for m in metas):
                return narrowed(g, call, convert(g, call))
            return without_elements(g, call, first)

        return converted

    return decorate


def without_elements(g: GraphBuilder, call: TorchCall, first: float = 0.0, *, units: int = 0) -> Any:
    """Return zeros in the shapes of the results; `first` in the first, identity matrices in the first `units`."""
    results = call.result if isinstance(call.result, list | tuple) else [call.result]
    values: list[Any] = []
    for k, result in enumerate(results):
        dtype, shape = real_dtype(result), expressions(result.shape)
        number = scalar(g, 0.0 if k else first, dtype)
        size = call.sizes.vector(g, shape) if shape else None
        re = number if size is None else g.Expand(number, size)
        if k < units and len(shape) > 1 and shape[-1] == shape[-2] != 0:
            re = identity_like(g, re)
        zero = scalar(g, 0.0, dtype)
        im = zero if size is None else g.Expand(zero, size)
        values.append(Complex(re, im) if is_complex(result) else re)
    return values if isinstance(call.result, list | tuple) else values[0]


def adjoint(g: GraphBuilder, z: Complex) -> Complex:
    """Return the conjugate transposed matrices."""
    return conjugate(g, apply_parts(z, lambda v: transposed_last(g, v)))


def turned(g: GraphBuilder, z: Complex) -> Complex:
    """Return the transposed matrices."""
    return apply_parts(z, lambda v: transposed_last(g, v))


def matrix_product(g: GraphBuilder, a: Complex, b: Complex) -> Complex:
    """Return A · B."""
    return product_of(g, a, b, g.MatMul)


def hermitian_of(g: GraphBuilder, z: Complex, uplo: str) -> Complex:
    """Return the Hermitian matrices that one triangle stands for; the diagonal is real."""
    rank = z.rank
    rows, columns = g.Unsqueeze(positions(g, z.re, rank - 2), 1), positions(g, z.re, rank - 1)
    strict = g.Greater(rows, columns) if uplo.upper() == "L" else g.Less(rows, columns)
    mirrored = g.Neg(transposed_last(g, z.im))
    im = g.Where(strict, z.im, g.Where(g.Equal(rows, columns), scalar(g, 0.0, z.dtype), mirrored))
    return Complex(symmetric(g, z.re, uplo), im)


# --- elimination ------------------------------------------------------------------------------------------------------


class ComplexFactors:
    """P · A = L · U by elimination with partial pivoting, by |re| + |im| as LAPACK does.

    Attributes:
        packed: L below the diagonal, U on and above it, [..., n, m].
        order: Rows of A in the order of P · A, [..., n] int64.
        pivots: Row that was exchanged with row k, from 1 on, [..., min(n, m)] int32.
        parity: 1 or -1, [...].
    """

    def __init__(self, g: GraphBuilder, a: Complex) -> None:
        rank = a.rank
        rows, columns = g.Unsqueeze(positions(g, a.re, rank - 2), 1), positions(g, a.re, rank - 1)
        line = g.Squeeze(rows, 1)
        order = g.Expand(line, g.Shape(a.re, end=rank - 1))
        one, zero = scalar(g, 1.0, DOUBLE), scalar(g, 0.0, DOUBLE)
        parity = g.Expand(one, g.Shape(a.re, end=rank - 2)) if rank > 2 else one
        steps = g.Squeeze(g.Min(g.dim(a.re, rank - 2), g.dim(a.re, rank - 1)), 0)

        def eliminate(h: GraphBuilder, k: Value, go: Value, re: Value, im: Value, o: Value, sign: Value) -> Any:
            at = h.Unsqueeze(k, 0)
            column = apply_parts(Complex(re, im), lambda v: h.Gather(v, at, axis=rank - 1))
            size = h.Add(h.Abs(column.re), h.Abs(column.im))
            size = h.Where(h.GreaterOrEqual(rows, k), size, scalar(h, -1.0, DOUBLE))
            p = h.op("ArgMax", h.Squeeze(size, rank - 1), axis=rank - 2, keepdims=1)
            swap = h.Where(h.Equal(line, k), p, h.Where(h.Equal(line, p), k, line))
            index = h.Expand(h.Unsqueeze(swap, rank - 1), h.Shape(re))
            m = apply_parts(Complex(re, im), lambda v: h.op("GatherElements", v, index, axis=rank - 2))
            o = h.op("GatherElements", o, swap, axis=rank - 2)
            same = h.Squeeze(h.Equal(p, k), rank - 2)
            sign = h.Mul(sign, h.Where(same, one, scalar(h, -1.0, DOUBLE)))
            column = apply_parts(m, lambda v: h.Gather(v, at, axis=rank - 1))
            line_of_pivot = apply_parts(m, lambda v: h.Gather(v, at, axis=rank - 2))
            pivot = apply_parts(line_of_pivot, lambda v: h.Gather(v, at, axis=rank - 1))
            none = h.And(h.Equal(pivot.re, zero), h.Equal(pivot.im, zero))
            below = h.Greater(rows, k)
            safe = Complex(h.Where(none, one, pivot.re), pivot.im)
            factor = apply_parts(quotient(h, column, safe), lambda v: h.Where(below, v, zero))
            rest = apply_parts(line_of_pivot, lambda v: h.Where(h.Greater(columns, k), v, zero))
            change = times(h, factor, rest)
            stored = h.And(below, h.Equal(columns, k))
            re = h.Where(stored, factor.re, h.Sub(m.re, change.re))
            im = h.Where(stored, factor.im, h.Sub(m.im, change.im))
            found = h.Cast(h.Add(h.Squeeze(p, rank - 2), scalar(h, 1, INT64)), DataType.INT32)
            return h.op("Identity", go), re, im, o, sign, found

        shapes = [dims_of(a.re.shape), dims_of(a.re.shape), dims_of(order.shape), dims_of(parity.shape)]
        start = [a.re, a.im, order, parity]
        results = g.Loop(eliminate, start, trip_count=steps, condition=True, state_shapes=shapes)
        self.packed = Complex(*results[:2])
        self.order, self.parity, pivots = results[2:]
        self.pivots = g.Transpose(pivots, perm=[*range(1, rank - 1), 0]) if rank > 2 else pivots

    def diagonal(self, g: GraphBuilder) -> Complex:
        """Return the diagonal of U, [..., n]."""
        return apply_parts(self.packed, lambda v: diagonal_of(g, v))

    def info(self, g: GraphBuilder) -> Value:
        """Return 0, or the number of the first pivot that is zero, int32."""
        diagonal = self.diagonal(g)
        zero = scalar(g, 0.0, DOUBLE)
        return _first(g, g.And(g.Equal(diagonal.re, zero), g.Equal(diagonal.im, zero)))


def _first(g: GraphBuilder, condition: Value) -> Value:
    """Return the number, from 1 on, of the first place along the last dim where a condition holds, or 0; int32."""
    last = rank_of(condition) - 1
    holds = g.Cast(condition, DataType.INT32)
    number = g.Add(g.op("ArgMax", holds, axis=last, keepdims=0), scalar(g, 1, INT64))
    some = g.Cast(g.ReduceMax(holds, last, keepdims=False), DataType.BOOL)
    return g.Cast(g.Where(some, number, scalar(g, 0, INT64)), DataType.INT32)


def _product_along(g: GraphBuilder, z: Complex) -> Complex:
    """Return the product over the last dim."""
    order = [z.rank - 1, *range(z.rank - 1)]
    return multiplied(g, apply_parts(z, lambda v: g.Transpose(v, perm=order)))[0]


@of_matrices(1.0)
def det(g: GraphBuilder, call: TorchCall) -> Any:
    """Determinant; the factors as further results."""
    factors = ComplexFactors(g, wide_pair(g, call.first))
    result = scaled(g, _product_along(g, factors.diagonal(g)), factors.parity)
    return result, factors.packed, factors.pivots


@of_matrices(1.0)
def slogdet(g: GraphBuilder, call: TorchCall) -> Any:
    """Sign (a number of modulus 1) and logarithm of the determinant; the factors as further results."""
    factors = ComplexFactors(g, wide_pair(g, call.first))
    diagonal = factors.diagonal(g)
    size = modulus(g, diagonal)
    zero = g.Equal(size, scalar(g, 0.0, DOUBLE))
    safe = g.Where(zero, scalar(g, 1.0, DOUBLE), size)
    sign = scaled(g, _product_along(g, apply_parts(diagonal, lambda v: g.Div(v, safe))), factors.parity)
    logarithm = g.ReduceSum(g.Log(size), rank_of(size) - 1, keepdims=False)
    return sign, logarithm, factors.packed, factors.pivots


@of_matrices()
def lu_factor(g: GraphBuilder, call: TorchCall) -> Any:
    """Packed factors, pivots, and whether all are different from zero."""
    if not call.params["pivot"]:
        raise refuse(call, "pivot", "elimination without exchanging rows")
    factors = ComplexFactors(g, wide_pair(g, call.first))
    rows, columns = call.dims_of("A")[-2:]
    if rows == columns:
        return factors.packed, factors.pivots, factors.info(g)
    lead = factors.packed.rank - 2
    info = scalar(g, 0, DataType.INT32)
    return factors.packed, factors.pivots, g.Expand(info, g.Shape(factors.packed.re, end=lead)) if lead else info


def _triangles(g: GraphBuilder, packed: Complex) -> tuple[Complex, Complex]:
    lower, upper = zip(triangles_of(g, packed.re), triangles_of(g, packed.im, unit=False), strict=True)
    return Complex(*lower), Complex(*upper)


@of_matrices()
def lu(g: GraphBuilder, call: TorchCall) -> Any:
    """P, L and U with A = P · L · U."""
    if not call.params["pivot"]:
        raise refuse(call, "pivot", "elimination without exchanging rows")
    factors = ComplexFactors(g, wide_pair(g, call.first))
    re = permutation_of(g, factors.order, DOUBLE)
    return Complex(re, g.Mul(re, scalar(g, 0.0, DOUBLE))), *_triangles(g, factors.packed)


def lu_unpack(g: GraphBuilder, call: TorchCall) -> Any:
    """P, L and U from packed factors and exchanges of rows."""
    packed, pivots = wide_pair(g, call.params["LU_data"]), call.params["LU_pivots"]
    nothing = without_elements(g, call)
    count = g.Squeeze(g.dim(packed.re, packed.rank - 2), 0)
    if call.params["unpack_pivots"]:
        re = permutation_of(g, order_of(g, pivots, count), DOUBLE)
        nothing[0] = Complex(re, g.Mul(re, scalar(g, 0.0, DOUBLE)))
    if call.params["unpack_data"]:
        nothing[1:] = _triangles(g, packed)
    return narrowed(g, call, nothing)


# --- systems of equations ---------------------------------------------------------------------------------------------


def solved(g: GraphBuilder, a: Complex, b: Complex) -> Complex:
    """Return X with A · X = B, through the real form; B has A's batch dims, or can be spread over them."""
    matrix = real_form(g, a)
    stacked = g.op("Concat", b.re, b.im, axis=b.rank - 2)
    x = Factors(g, matrix).solve(g, same_batch(g, matrix, stacked))
    return from_real_form(g, x, g.dim(a.re, a.rank - 1))


def _spread(g: GraphBuilder, call: TorchCall, z: Complex, like: Any) -> Complex:
    """Return matrices with the batch dims of a result."""
    lead = expressions(like.shape)[:-2]
    if not lead:
        return z
    batch = call.sizes.vector(g, lead)
    shape = g.op("Concat", batch, g.Shape(z.re, start=z.rank - 2), axis=0)
    return apply_parts(z, lambda v: g.Expand(v, shape))


@of_matrices()
def solve(g: GraphBuilder, call: TorchCall) -> Any:
    """X with A · X = B (X · A = B for left=False); the factors as further results."""
    a, b = wide_pair(g, call.params["A"]), wide_pair(g, call.params["B"])
    left = bool(call.params["left"])
    own, other = call.dims_of("A"), call.dims_of("B")
    vector = len(other) == 1 or (len(other) == len(own) - 1 and other == own[:-1])
    if not vector and b.rank > a.rank:
        raise refuse(call, "B", "it has more batch dims than A")
    if vector:
        b = apply_parts(b, lambda v: g.Unsqueeze(v, b.rank))
    elif not left:
        b = turned(g, b)
    matrix = a if left else turned(g, a)
    x = solved(g, matrix, b)
    if vector:
        x = apply_parts(x, lambda v: g.Squeeze(v, x.rank - 1))
    elif not left:
        x = turned(g, x)
    factors = ComplexFactors(g, matrix)
    return x, factors.packed, factors.pivots, factors.info(g)


def _one_triangle(g: GraphBuilder, a: Complex, *, upper: bool, unit: bool) -> Complex:
    rank = a.rank
    rows, columns = g.Unsqueeze(positions(g, a.re, rank - 2), 1), positions(g, a.re, rank - 1)
    kept = g.LessOrEqual(rows, columns) if upper else g.GreaterOrEqual(rows, columns)
    zero, one = scalar(g, 0.0, DOUBLE), scalar(g, 1.0, DOUBLE)
    z = apply_parts(a, lambda v: g.Where(kept, v, zero))
    diagonal = g.Equal(rows, columns)
    return Complex(g.Where(diagonal, one, z.re), g.Where(diagonal, zero, z.im)) if unit else z


@of_matrices()
def solve_triangular(g: GraphBuilder, call: TorchCall) -> Complex:
    """X with A · X = B (X · A = B for left=False), A triangular."""
    p = call.params
    a = _one_triangle(g, wide_pair(g, p["self"]), upper=bool(p["upper"]), unit=bool(p["unitriangular"]))
    a, b = (_spread(g, call, z, call.result) for z in (a, wide_pair(g, p["B"])))
    if p["left"]:
        return solved(g, a, b)
    return turned(g, solved(g, turned(g, a), turned(g, b)))


@of_matrices()
def triangular_solve(g: GraphBuilder, call: TorchCall) -> Any:
    """X with A · X = B, A triangular (torch.triangular_solve), and A."""
    p = call.params
    given = wide_pair(g, p["A"])
    a = _one_triangle(g, given, upper=bool(p["upper"]), unit=bool(p["unitriangular"]))
    a, b = (_spread(g, call, z, call.result[0]) for z in (a, wide_pair(g, p["self"])))
    return solved(g, turned(g, a) if p["transpose"] else a, b), given


@of_matrices()
def lu_solve(g: GraphBuilder, call: TorchCall) -> Complex:
    """X with A · X = B (X · A = B for left=False; the adjoint of A for adjoint=True), A given by its factors."""
    p = call.params
    packed, b = wide_pair(g, p["LU"]), wide_pair(g, p["B"])
    lower, upper = _triangles(g, packed)
    order = order_of(g, p["pivots"], g.Squeeze(g.dim(packed.re, packed.rank - 1), 0))
    permutation = permutation_of(g, order, DOUBLE)
    a = apply_parts(matrix_product(g, lower, upper), lambda v: g.MatMul(permutation, v))
    a = adjoint(g, a) if p["adjoint"] else a
    a, b = (_spread(g, call, z, call.result) for z in (a, b))
    return solved(g, a, b) if p["left"] else turned(g, solved(g, turned(g, a), turned(g, b)))


# --- Cholesky ---------------------------------------------------------------------------------------------------------


def interleaved(g: GraphBuilder, z: Complex) -> Value:
    """Return the real matrices with a block [[re, -im], [im, re]] for each element.

    Its Cholesky factor has the same structure: the factor's diagonal is real, so it stays triangular.
    """
    rank = z.rank
    top, bottom = (
        g.op("Concat", *(g.Unsqueeze(v, rank) for v in pair), axis=rank) for pair in ((z.re, g.Neg(z.im)), (z.im, z.re))
    )
    blocks = g.op("Concat", *(g.Unsqueeze(v, rank - 1) for v in (top, bottom)), axis=rank - 1)
    two = g.const([2], dtype=INT64)
    sides = [g.Mul(g.dim(z.re, rank - 2), two), g.Mul(g.dim(z.re, rank - 1), two)]
    return g.Reshape(blocks, g.op("Concat", g.Shape(z.re, end=rank - 2), *sides, axis=0))


def from_interleaved(g: GraphBuilder, matrix: Value) -> Complex:
    """Return the complex matrices of an interleaved form."""
    rank = rank_of(matrix)
    many, step = [2**62], [2]
    column = g.Slice(matrix, [0], many, [rank - 1], step)
    return Complex(g.Slice(column, [0], many, [rank - 2], step), g.Slice(column, [1], many, [rank - 2], step))


@of_matrices()
def cholesky(g: GraphBuilder, call: TorchCall) -> Any:
    """Lower (or upper) factor of a positive definite matrix; cholesky_ex also says whether it is one."""
    upper = bool(call.params["upper"])
    a = hermitian_of(g, wide_pair(g, call.first), "U" if upper else "L")
    lower = from_interleaved(g, cholesky_of(g, interleaved(g, a)))
    result = adjoint(g, lower) if upper else lower
    if not isinstance(call.result, list | tuple):
        return result
    return result, _first(g, g.IsNaN(diagonal_of(g, lower.re)))


def _from_cholesky(g: GraphBuilder, factor: Any, *, upper: bool) -> Complex:
    z = _one_triangle(g, wide_pair(g, factor), upper=upper, unit=False)
    return matrix_product(g, adjoint(g, z), z) if upper else matrix_product(g, z, adjoint(g, z))


@of_matrices()
def cholesky_solve(g: GraphBuilder, call: TorchCall) -> Complex:
    """X with A · X = B for A given by its Cholesky factor."""
    p = call.params
    a = _from_cholesky(g, p["input2"], upper=bool(p["upper"]))
    return solved(g, *(_spread(g, call, z, call.result) for z in (a, wide_pair(g, p["self"]))))


@of_matrices()
def cholesky_inverse(g: GraphBuilder, call: TorchCall) -> Complex:
    """Inverse of a matrix given by its Cholesky factor."""
    a = _from_cholesky(g, call.first, upper=bool(call.params["upper"]))
    unit = identity_like(g, a.re)
    return solved(g, a, Complex(unit, g.Mul(unit, scalar(g, 0.0, DOUBLE))))


# --- functions of matrices --------------------------------------------------------------------------------------------


@of_matrices()
def matrix_exp(g: GraphBuilder, call: TorchCall) -> Complex:
    """Exponential, through the real form."""
    z = wide_pair(g, call.first)
    return _from_square_form(g, z, exponential_of(g, real_form(g, z)))


def _from_square_form(g: GraphBuilder, like: Complex, matrix: Value) -> Complex:
    """Return the complex matrices of a real form, of the transposed shape of `like`."""
    rank = like.rank
    columns = g.Slice(matrix, [0], g.dim(like.re, rank - 2), [rank - 1])
    return from_real_form(g, columns, g.dim(like.re, rank - 1))


@of_matrices()
def pinv(g: GraphBuilder, call: TorchCall) -> Complex:
    """Pseudo-inverse, through the real form, whose singular values are the complex matrix's, each twice."""
    z = wide_pair(g, call.first)
    z = hermitian_of(g, z, "L") if call.params["hermitian"] else z
    return _from_square_form(g, z, pinv_of(g, call, real_form(g, z)))
