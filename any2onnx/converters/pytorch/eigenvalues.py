"""Eigenvalues and eigenvectors of general matrices: Schur's form by the QR algorithm with shifts, as a loop.

Whole batches go in step: in every round the active leading block of each matrix is factorised, its last row is looked
at, and where that has become zero the block shrinks by one. Everything is complex and in float64. The order of the
eigenvalues is that in which they are found from the end; LAPACK's differs, and torch promises none.
"""

from __future__ import annotations

from typing import Any

from any2onnx.converters.pytorch.call import TorchCall, scalar
from any2onnx.converters.pytorch.complex_math import conjugate, minus, modulus, plus, quotient, root, scaled, times
from any2onnx.converters.pytorch.complex_matrices import adjoint, matrix_product, of_matrices, wide_pair
from any2onnx.converters.pytorch.complex_pairs import Complex, apply_parts, is_real
from any2onnx.converters.pytorch.complex_spectra import qr_of
from any2onnx.converters.pytorch.linalg import diagonal_of, identity_like, positions
from any2onnx.graph.builder import GraphBuilder
from any2onnx.graph.types import DataType, Value, dims_of, rank_of

INT64, DOUBLE = DataType.INT64, DataType.DOUBLE
# Rounds for each eigenvalue, two or three as a rule, after which the loop ends in any case.
_ROUNDS = 60
# Every so many rounds without a find another shift breaks a cycle.
_EXCEPTIONAL = 11
_RESOLUTION = 2.0**-50


class Schur:
    """A = Z · T · Zᴴ with T upper triangular, Z unitary.

    Attributes:
        t: T, [..., n, n].
        z: Z, [..., n, n].
        size: Norms of the matrices, [..., 1, 1].
    """

    def __init__(self, g: GraphBuilder, a: Complex) -> None:
        rank = a.rank
        line = positions(g, a.re, rank - 1)
        n = g.Squeeze(g.dim(a.re, rank - 1), 0)
        zero, one, step = scalar(g, 0.0, DOUBLE), scalar(g, 1.0, DOUBLE), scalar(g, 1, INT64)
        squares = g.Add(g.Mul(a.re, a.re), g.Mul(a.im, a.im))
        self.size = g.Sqrt(g.ReduceSum(squares, [rank - 2, rank - 1]))
        tiny = g.Mul(self.size, scalar(g, _RESOLUTION, DOUBLE))
        identity = identity_like(g, a.re)
        last = g.Expand(
            g.Sub(n, step), g.op("Concat", g.Shape(a.re, end=rank - 2), g.const([1, 1], dtype=INT64), axis=0)
        )

        def turn(h: GraphBuilder, i: Value, going: Value, *state: Value) -> tuple[Value, ...]:
            t, z, end = Complex(*state[:2]), Complex(*state[2:4]), state[4]
            rows, columns = h.Unsqueeze(line, 1), line
            # The last row of the active block, left of the diagonal: zero where it is small enough.
            here = h.And(h.Equal(rows, end), h.Less(columns, end))
            weight = h.ReduceSum(h.Where(here, modulus(h, t), zero), [rank - 2, rank - 1])
            found = h.And(h.LessOrEqual(weight, tiny), h.GreaterOrEqual(end, step))
            t = apply_parts(t, lambda v: h.Where(h.And(here, found), zero, v))
            end = h.Where(found, h.Sub(end, step), end)
            active = h.And(h.LessOrEqual(rows, end), h.LessOrEqual(columns, end))
            shift = _shift(h, t, end, line, i)
            unit = h.Equal(rows, columns)
            shifted = Complex(h.Sub(t.re, h.Where(unit, shift.re, zero)), h.Sub(t.im, h.Where(unit, shift.im, zero)))
            block = Complex(h.Where(active, shifted.re, h.Where(unit, one, zero)), h.Where(active, shifted.im, zero))
            q, _ = qr_of(h, block)
            t = matrix_product(h, adjoint(h, q), matrix_product(h, t, q))
            # Below the active block T stays triangular: rounding there is no part of it.
            below = h.And(h.Greater(rows, columns), h.Greater(rows, end))
            t = apply_parts(t, lambda v: h.Where(below, zero, v))
            z = matrix_product(h, z, q)
            left = h.Greater(h.ReduceMax(end, None, keepdims=False), scalar(h, 0, INT64))
            return left, t.re, t.im, z.re, z.im, end

        rounds = g.Mul(n, scalar(g, _ROUNDS, INT64))
        start = [a.re, a.im, identity, g.Mul(identity, zero), last]
        shapes = [*[dims_of(a.re.shape)] * 4, dims_of(last.shape)]
        several = g.Greater(n, step)
        results = g.Loop(turn, start, trip_count=rounds, condition=several, state_shapes=shapes)
        self.t, self.z = Complex(*results[:2]), Complex(*results[2:4])

    def values(self, g: GraphBuilder) -> Complex:
        """Return the eigenvalues, [..., n]."""
        return apply_parts(self.t, lambda v: diagonal_of(g, v))

    def vectors(self, g: GraphBuilder) -> Complex:
        """Return eigenvectors of length 1 as columns, their largest element real and positive, as LAPACK's zgeev."""
        t, rank = self.t, self.t.rank
        line = positions(g, t.re, rank - 1)
        n = g.Squeeze(g.dim(t.re, rank - 1), 0)
        zero, one = scalar(g, 0.0, DOUBLE), scalar(g, 1.0, DOUBLE)
        own = apply_parts(self.values(g), lambda v: g.Unsqueeze(v, rank - 2))
        tiny = g.Max(g.Mul(self.size, scalar(g, 2.0**-53, DOUBLE)), scalar(g, 2.0**-900, DOUBLE))

        def solve_row(h: GraphBuilder, i: Value, going: Value, re: Value, im: Value) -> tuple[Value, ...]:
            x, at = Complex(re, im), h.Unsqueeze(h.Sub(h.Sub(n, scalar(h, 1, INT64)), i), 0)
            row = apply_parts(t, lambda v: h.Gather(v, at, axis=rank - 2))
            diagonal = apply_parts(row, lambda v: h.Gather(v, at, axis=rank - 1))
            # Rows below are solved, those above still zero.
            gap = minus(h, own, diagonal)
            near = h.Less(modulus(h, gap), tiny)
            gap = Complex(h.Where(near, tiny, gap.re), h.Where(near, zero, gap.im))
            found = quotient(h, matrix_product(h, row, x), gap)
            above, here = h.Less(at, line), h.Equal(line, at)
            found = Complex(h.Where(here, one, h.Where(above, found.re, zero)), h.Where(above, found.im, zero))
            place = h.Equal(h.Unsqueeze(line, 1), at)
            return h.op("Identity", going), h.Where(place, found.re, re), h.Where(place, found.im, im)

        start = [g.Mul(t.re, zero), g.Mul(t.re, zero)]
        x = Complex(*g.Loop(solve_row, start, trip_count=n, condition=True))
        vectors = matrix_product(g, self.z, x)
        sizes = modulus(g, vectors)
        largest = g.ReduceMax(sizes, rank - 2)
        vectors = apply_parts(vectors, lambda v: g.Div(v, largest))
        place = g.Unsqueeze(g.op("ArgMax", sizes, axis=rank - 2, keepdims=0), rank - 2)
        peak = apply_parts(vectors, lambda v: g.op("GatherElements", v, place, axis=rank - 2))
        vectors = times(g, vectors, conjugate(g, peak))
        lengths = g.Sqrt(g.ReduceSum(g.Add(g.Mul(vectors.re, vectors.re), g.Mul(vectors.im, vectors.im)), rank - 2))
        return apply_parts(vectors, lambda v: g.Div(v, lengths))


def _shift(h: GraphBuilder, t: Complex, end: Value, line: Value, i: Value) -> Complex:
    """Return the eigenvalue of the active block's last two rows and columns that is nearer to its last element."""
    axes = [rank_of(t.re) - 2, rank_of(t.re) - 1]
    rows, columns = h.Unsqueeze(line, 1), line
    zero, half = scalar(h, 0.0, DOUBLE), scalar(h, 0.5, DOUBLE)
    before = h.Sub(end, scalar(h, 1, INT64))

    def element(row: Value, column: Value) -> Complex:
        chosen = h.And(h.Equal(rows, row), h.Equal(columns, column))
        return apply_parts(t, lambda v: h.ReduceSum(h.Where(chosen, v, zero), axes))

    a, b, c, d = element(before, before), element(before, end), element(end, before), element(end, end)
    # d + δ with δ = (a - d)/2 ∓ sqrt(((a - d)/2)² + b c): the smaller one, by the product -b c of both.
    middle = scaled(h, minus(h, a, d), half)
    product = times(h, b, c)
    spread = root(h, plus(h, times(h, middle, middle), product))
    same_side = h.GreaterOrEqual(h.Add(h.Mul(middle.re, spread.re), h.Mul(middle.im, spread.im)), zero)
    larger = Complex(
        h.Where(same_side, h.Add(middle.re, spread.re), h.Sub(middle.re, spread.re)),
        h.Where(same_side, h.Add(middle.im, spread.im), h.Sub(middle.im, spread.im)),
    )
    none = h.Equal(modulus(h, larger), zero)
    safe = Complex(h.Where(none, scalar(h, 1.0, DOUBLE), larger.re), larger.im)
    shift = minus(h, d, apply_parts(quotient(h, product, safe), lambda v: h.Where(none, zero, v)))
    stuck = h.Equal(h.Mod(i, scalar(h, _EXCEPTIONAL, INT64)), scalar(h, _EXCEPTIONAL - 1, INT64))
    other = h.Add(modulus(h, c), modulus(h, d))
    return Complex(h.Where(stuck, other, shift.re), h.Where(stuck, zero, shift.im))


def _schur(g: GraphBuilder, call: TorchCall) -> Schur:
    return Schur(g, wide_pair(g, call.first))


def _found(g: GraphBuilder, call: TorchCall, schur: Schur) -> Complex:
    """Return the eigenvalues; those of real matrices that are real but for rounding are real."""
    values = schur.values(g)
    if not is_real(call.first):
        return values
    rounding = g.Mul(g.Squeeze(schur.size, rank_of(schur.size) - 1), scalar(g, 4 * _RESOLUTION, DOUBLE))
    rounded = g.LessOrEqual(g.Abs(values.im), rounding)
    return Complex(values.re, g.Where(rounded, scalar(g, 0.0, DOUBLE), values.im))


@of_matrices()
def eig(g: GraphBuilder, call: TorchCall) -> Any:
    """Eigenvalues and eigenvectors."""
    schur = _schur(g, call)
    return _found(g, call, schur), schur.vectors(g)


@of_matrices()
def eigvals(g: GraphBuilder, call: TorchCall) -> Complex:
    """Eigenvalues."""
    return _found(g, call, _schur(g, call))
