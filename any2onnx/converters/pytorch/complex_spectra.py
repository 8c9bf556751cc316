"""QR, eigenvalues of Hermitian matrices and singular values of complex matrices, on pairs of real ones.

The real algorithms of matrix_decompositions with phases: reflections as LAPACK's zgeqrf makes them, Jacobi's rotations
of pairs whose inner product is brought onto the real line first. In float64, batched, as loops.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from any2onnx.converters.pytorch.call import TorchCall, refuse, scalar
from any2onnx.converters.pytorch.complex_linalg import real_form
from any2onnx.converters.pytorch.complex_math import conjugate, minus, modulus, quotient, times, where_pair
from any2onnx.converters.pytorch.complex_matrices import (
    adjoint,
    hermitian_of,
    matrix_product,
    narrowed,
    of_matrices,
    wide_pair,
    without_elements,
)
from any2onnx.converters.pytorch.complex_pairs import Complex, apply_parts
from any2onnx.converters.pytorch.linalg import diagonal_of, identity_like, positions, transposed_last
from any2onnx.converters.pytorch.matrix_decompositions import (
    is_tall,
    most_rounds,
    partners,
    quiet_rounds,
    rotation,
    rounds_of_sweep,
    some,
    svd_of,
    unit_columns,
)
from any2onnx.graph.builder import GraphBuilder
from any2onnx.graph.types import DataType, Value, dims_of, rank_of

INT64, DOUBLE = DataType.INT64, DataType.DOUBLE


def _zeros(g: GraphBuilder, x: Value) -> Value:
    return g.Mul(x, scalar(g, 0.0, DOUBLE))


# --- QR ---------------------------------------------------------------------------------------------------------------


def reflections(g: GraphBuilder, a: Complex) -> tuple[Complex, Complex]:
    """Return LAPACK's geqrf: R on and above the diagonal, the vectors below it, and the factors [..., k].

    The diagonal of R is real.
    """
    rank = a.rank
    rows, columns = g.Unsqueeze(positions(g, a.re, rank - 2), 1), positions(g, a.re, rank - 1)
    steps = g.Squeeze(g.Min(g.dim(a.re, rank - 2), g.dim(a.re, rank - 1)), 0)
    zero, one = scalar(g, 0.0, DOUBLE), scalar(g, 1.0, DOUBLE)

    def reflect(h: GraphBuilder, k: Value, going: Value, re: Value, im: Value) -> tuple[Value, ...]:
        m, at = Complex(re, im), h.Unsqueeze(k, 0)
        column = apply_parts(m, lambda v: h.Gather(v, at, axis=rank - 1))
        alpha = apply_parts(column, lambda v: h.Gather(v, at, axis=rank - 2))
        below, here = h.Greater(rows, k), h.Equal(rows, k)
        rest = apply_parts(column, lambda v: h.Where(below, v, zero))
        beta = h.Neg(h.Where(h.Less(alpha.re, zero), h.Neg(one), one))
        beta = h.Mul(beta, _length(h, rest, alpha))
        sizes = h.Add(h.ReduceSum(h.Add(h.Abs(rest.re), h.Abs(rest.im)), rank - 2), h.Abs(alpha.im))
        none = h.Equal(sizes, zero)
        beta = h.Where(none, alpha.re, beta)
        safe = h.Where(none, one, beta)
        tau = Complex(h.Div(h.Sub(beta, alpha.re), safe), h.Neg(h.Div(alpha.im, safe)))
        tau = apply_parts(tau, lambda v: h.Where(none, zero, v))
        gap = Complex(h.Where(none, one, h.Sub(alpha.re, beta)), alpha.im)
        vector = apply_parts(quotient(h, rest, gap), lambda v: h.Where(below, v, zero))
        full = Complex(h.Where(here, one, vector.re), vector.im)
        change = times(h, conjugate(h, tau), _projected(h, full, m))
        later = h.Greater(columns, k)
        reduced = minus(h, m, apply_parts(change, lambda v: h.Where(later, v, zero)))
        stored = where_pair(h, below, vector, column)
        stored = Complex(h.Where(here, beta, stored.re), h.Where(here, zero, stored.im))
        m = where_pair(h, h.Equal(columns, k), stored, reduced)
        factor = apply_parts(tau, lambda v: h.Squeeze(v, [rank - 2, rank - 1]))
        return h.op("Identity", going), m.re, m.im, factor.re, factor.im

    shapes = [dims_of(a.re.shape)] * 2
    results = g.Loop(reflect, [a.re, a.im], trip_count=steps, condition=True, state_shapes=shapes)
    factors = Complex(*results[2:])
    if rank > 2:
        factors = apply_parts(factors, lambda v: g.Transpose(v, perm=[*range(1, rank - 1), 0]))
    return Complex(*results[:2]), factors


def _length(h: GraphBuilder, rest: Complex, alpha: Complex) -> Value:
    """Return the norm of a column, scaled so that squares neither overflow nor vanish."""
    axis = rank_of(rest.re) - 2
    parts = (rest.re, rest.im, alpha.re, alpha.im)
    largest = [h.ReduceMax(h.Abs(v), axis) for v in parts]
    size = h.Max(h.Max(largest[0], largest[1]), h.Max(largest[2], largest[3]))
    safe = h.Where(h.Equal(size, scalar(h, 0.0, DOUBLE)), scalar(h, 1.0, DOUBLE), size)
    ratios = [h.Div(v, safe) for v in parts]
    squares = [h.ReduceSum(h.Mul(v, v), axis) for v in ratios]
    return h.Mul(safe, h.Sqrt(h.Add(h.Add(squares[0], squares[1]), h.Add(squares[2], squares[3]))))


def _projected(h: GraphBuilder, vector: Complex, x: Complex) -> Complex:
    """Return v · (vᴴ · X)."""
    return matrix_product(h, vector, matrix_product(h, adjoint(h, vector), x))


def reflected(g: GraphBuilder, packed: Complex, factors: Complex, c: Complex, *, transpose: bool = False) -> Complex:
    """Return Q · C (Qᴴ · C) for Q as the product of reflections."""
    rank = packed.rank
    rows = g.Unsqueeze(positions(g, packed.re, rank - 2), 1)
    count = g.Squeeze(g.dim(factors.re, factors.rank - 1), 0)
    zero, one = scalar(g, 0.0, DOUBLE), scalar(g, 1.0, DOUBLE)

    def apply(h: GraphBuilder, i: Value, going: Value, re: Value, im: Value) -> tuple[Value, ...]:
        k = i if transpose else h.Sub(h.Sub(count, scalar(h, 1, INT64)), i)
        at = h.Unsqueeze(k, 0)
        below, here = h.Greater(rows, k), h.Equal(rows, k)
        vector = apply_parts(packed, lambda v: h.Where(below, h.Gather(v, at, axis=rank - 1), zero))
        vector = Complex(h.Where(here, one, vector.re), vector.im)
        tau = apply_parts(factors, lambda v: h.Unsqueeze(h.Gather(v, at, axis=rank - 2), rank - 2))
        x = Complex(re, im)
        change = times(h, conjugate(h, tau) if transpose else tau, _projected(h, vector, x))
        x = minus(h, x, change)
        return h.op("Identity", going), x.re, x.im

    return Complex(*g.Loop(apply, [c.re, c.im], trip_count=count, condition=True))


def _units(g: GraphBuilder, a: Complex, columns: Value) -> Complex:
    unit = unit_columns(g, a.re, columns)
    return Complex(unit, _zeros(g, unit))


def qr_of(g: GraphBuilder, a: Complex, *, complete: bool = False) -> tuple[Complex, Complex]:
    """Return Q and R, R as many rows as Q has columns."""
    rank = a.rank
    packed, factors = reflections(g, a)
    height, width = g.dim(a.re, rank - 2), g.dim(a.re, rank - 1)
    columns = height if complete else g.Min(height, width)
    q = reflected(g, packed, factors, _units(g, a, columns))
    rows = g.Unsqueeze(positions(g, a.re, rank - 2), 1)
    kept = g.LessOrEqual(rows, positions(g, a.re, rank - 1))
    zero, begin = scalar(g, 0.0, DOUBLE), g.const(np.zeros(1, np.int64))
    return q, apply_parts(packed, lambda v: g.Slice(g.Where(kept, v, zero), begin, columns, [rank - 2]))


@of_matrices()
def geqrf(g: GraphBuilder, call: TorchCall) -> Any:
    """R and the reflections' vectors in one matrix, and their factors."""
    return reflections(g, wide_pair(g, call.first))


def qr(g: GraphBuilder, call: TorchCall) -> Any:
    """Q and R: reduced, complete, or R alone."""
    mode = call.params["mode"]
    if 0 in call.dims_of("A"):
        return without_elements(g, call, units=int(mode == "complete"))
    q, r = qr_of(g, wide_pair(g, call.first), complete=mode == "complete")
    if mode == "r":
        nothing = g.const(np.zeros(0, np.float64))
        q = Complex(nothing, nothing)
    return narrowed(g, call, [q, r])


def householder_product(g: GraphBuilder, call: TorchCall) -> Any:
    """The first columns of the product of reflections."""
    packed, factors = wide_pair(g, call.params["input"]), wide_pair(g, call.params["tau"])
    start = _units(g, packed, g.dim(packed.re, packed.rank - 1))
    empty = 0 in call.dims_of("input") or 0 in call.dims_of("tau")
    return narrowed(g, call, start if empty else reflected(g, packed, factors, start))


@of_matrices()
def ormqr(g: GraphBuilder, call: TorchCall) -> Complex:
    """C multiplied by the product of reflections, from the left or right, its adjoint or not."""
    p = call.params
    packed, factors, c = (wide_pair(g, p[n]) for n in ("self", "input2", "input3"))
    transpose = bool(p["transpose"])
    if p["left"]:
        return reflected(g, packed, factors, c, transpose=transpose)
    # C · Q = (Qᴴ · Cᴴ)ᴴ
    return adjoint(g, reflected(g, packed, factors, adjoint(g, c), transpose=not transpose))


# --- Jacobi's rotations -----------------------------------------------------------------------------------------------


def _rotation(g: GraphBuilder, gram: Complex, partner: Value, line: Value) -> Complex:
    """Return the unitary matrices that make the elements of all pairs zero in a Hermitian matrix."""
    size = modulus(g, gram)
    unit = g.Equal(g.Unsqueeze(line, 1), line)
    # A real rotation for the moduli; the phases on both sides of it.
    turned = rotation(g, g.Where(unit, gram.re, size), partner, line)
    zero, one = scalar(g, 0.0, DOUBLE), scalar(g, 1.0, DOUBLE)
    plain = g.Or(unit, g.Equal(size, zero))
    safe = g.Where(plain, one, size)
    phase = Complex(g.Where(plain, one, g.Div(gram.re, safe)), g.Where(plain, zero, g.Div(gram.im, safe)))
    return apply_parts(phase, lambda v: g.Mul(v, turned))


def eigh_of(g: GraphBuilder, a: Complex) -> tuple[Value, Complex]:
    """Return ascending eigenvalues and eigenvectors (as columns) of Hermitian matrices."""
    rank = a.rank
    line = positions(g, a.re, rank - 1)
    n = g.Squeeze(g.dim(a.re, rank - 1), 0)
    unit = g.Equal(g.Unsqueeze(line, 1), line)
    tiny = g.Mul(g.ReduceMax(modulus(g, a), [rank - 2, rank - 1]), scalar(g, 2.0**-58, DOUBLE))
    sweep = rounds_of_sweep(g, n)

    def turn(h: GraphBuilder, i: Value, going: Value, *state: Value) -> tuple[Value, ...]:
        m, v, quiet = Complex(*state[:2]), Complex(*state[2:4]), state[4]
        partner = partners(h, i, n, line)
        paired = h.And(h.Equal(h.Unsqueeze(partner, 1), line), h.Not(unit))
        due = some(h, h.And(paired, h.Greater(modulus(h, m), tiny)))
        r = _rotation(h, m, partner, line)
        m = matrix_product(h, adjoint(h, r), matrix_product(h, m, r))
        v = matrix_product(h, v, r)
        quiet = quiet_rounds(h, due, quiet)
        return h.Less(quiet, sweep), m.re, m.im, v.re, v.im, quiet

    identity = identity_like(g, a.re)
    start = [a.re, a.im, identity, _zeros(g, identity), scalar(g, 0, INT64)]
    shapes = [dims_of(a.re.shape)] * 4 + [()]
    results = g.Loop(turn, start, trip_count=most_rounds(g, n), condition=True, state_shapes=shapes)
    values, order = g.TopK(diagonal_of(g, results[0]), g.Unsqueeze(n, 0), axis=rank - 2, largest=False, sorted=True)
    return values, _arranged(g, Complex(*results[2:4]), order)


def _arranged(g: GraphBuilder, z: Complex, order: Value) -> Complex:
    """Return columns in an order."""
    index = g.Expand(g.Unsqueeze(order, z.rank - 2), g.Shape(z.re))
    return apply_parts(z, lambda v: g.op("GatherElements", v, index, axis=z.rank - 1))


def svd_of_pair(g: GraphBuilder, a: Complex) -> tuple[Complex, Value, Complex]:
    """Return A · V, the singular values and V of matrices with at least as many rows as columns, largest first."""
    rank = a.rank
    line = positions(g, a.re, rank - 1)
    n = g.Squeeze(g.dim(a.re, rank - 1), 0)
    unit = g.Equal(g.Unsqueeze(line, 1), line)
    zero, one = scalar(g, 0.0, DOUBLE), scalar(g, 1.0, DOUBLE)
    square = g.op("Concat", g.Shape(a.re, end=rank - 2), g.dim(a.re, rank - 1), g.dim(a.re, rank - 1), axis=0)
    identity = g.Expand(g.Cast(unit, DOUBLE), square)
    # Scaled to a largest element of 1, so that squares neither overflow nor vanish.
    size = g.ReduceMax(g.Max(g.Abs(a.re), g.Abs(a.im)), [rank - 2, rank - 1])
    size = g.Where(g.Equal(size, zero), one, size)
    sweep = rounds_of_sweep(g, n)

    def turn(h: GraphBuilder, i: Value, going: Value, *state: Value) -> tuple[Value, ...]:
        b, v, quiet = Complex(*state[:2]), Complex(*state[2:4]), state[4]
        partner = partners(h, i, n, line)
        gram = matrix_product(h, adjoint(h, b), b)
        lengths = h.Sqrt(diagonal_of(h, gram.re))
        scale = h.Mul(h.Unsqueeze(lengths, rank - 1), h.Unsqueeze(lengths, rank - 2))
        paired = h.And(h.Equal(h.Unsqueeze(partner, 1), line), h.Not(unit))
        limit = h.Add(h.Mul(scale, scalar(h, 2.0**-51, DOUBLE)), scalar(h, 2.0**-110, DOUBLE))
        due = some(h, h.And(paired, h.Greater(modulus(h, gram), limit)))
        r = _rotation(h, gram, partner, line)
        b, v = matrix_product(h, b, r), matrix_product(h, v, r)
        quiet = quiet_rounds(h, due, quiet)
        return h.Less(quiet, sweep), b.re, b.im, v.re, v.im, quiet

    start = [g.Div(a.re, size), g.Div(a.im, size), identity, _zeros(g, identity), scalar(g, 0, INT64)]
    shapes = [*[dims_of(a.re.shape)] * 2, *[dims_of(identity.shape)] * 2, ()]
    results = g.Loop(turn, start, trip_count=most_rounds(g, n), condition=True, state_shapes=shapes)
    b, v = Complex(*results[:2]), Complex(*results[2:4])
    squares = g.Add(g.Mul(b.re, b.re), g.Mul(b.im, b.im))
    lengths = g.Sqrt(g.ReduceSum(squares, rank - 2, keepdims=False))
    values, order = g.TopK(lengths, g.Unsqueeze(n, 0), axis=rank - 2, largest=True, sorted=True)
    return _arranged(g, b, order), g.Mul(values, g.Squeeze(size, rank - 1)), _arranged(g, v, order)


def _left_vectors(g: GraphBuilder, b: Complex, *, full: bool) -> Complex:
    """Return orthonormal columns from orthogonal ones: their QR, whose R is real and diagonal up to signs."""
    rank = b.rank
    q, r = qr_of(g, b, complete=full)
    zero, one = scalar(g, 0.0, DOUBLE), scalar(g, 1.0, DOUBLE)
    columns = g.dim(b.re, rank - 1)
    square = g.Slice(r.re, g.const(np.zeros(1, np.int64)), columns, [rank - 2])
    signs = g.Where(g.Less(diagonal_of(g, square), zero), g.Neg(one), one)
    if full:
        missing = g.Sub(g.dim(b.re, rank - 2), columns)
        more = g.Expand(one, g.op("Concat", g.Shape(b.re, end=rank - 2), missing, axis=0))
        signs = g.op("Concat", signs, more, axis=rank - 2)
    return apply_parts(q, lambda v: g.Mul(v, g.Unsqueeze(signs, rank - 2)))


@of_matrices()
def eigh(g: GraphBuilder, call: TorchCall) -> Any:
    """Eigenvalues and, where asked for, eigenvectors of Hermitian matrices (_linalg_eigh)."""
    values, vectors = eigh_of(g, hermitian_of(g, wide_pair(g, call.first), call.params["UPLO"]))
    nothing = g.const(np.zeros(0, np.float64))
    return values, vectors if call.params["compute_v"] else Complex(nothing, nothing)


def svd(g: GraphBuilder, call: TorchCall) -> Any:
    """U, singular values, Vᴴ (_linalg_svd)."""
    p = call.params
    if 0 in call.dims_of("A"):
        return without_elements(g, call, units=3)
    a, tall = wide_pair(g, call.first), is_tall(call)
    if tall is None:
        raise refuse(call, "A", "whether it has more rows than columns is not known when the model is converted")
    if not p["compute_uv"]:
        # Those of the real form are the same, each twice.
        real = real_form(g, a)
        values = svd_of(g, real if tall else transposed_last(g, real))[1]
        nothing = g.const(np.zeros(0, np.float64))
        empty = Complex(nothing, nothing)
        return narrowed(g, call, [empty, g.Slice(values, [0], [2**62], [rank_of(values) - 1], [2]), empty])
    b, values, right = svd_of_pair(g, a if tall else adjoint(g, a))
    left = _left_vectors(g, b, full=bool(p["full_matrices"]))
    parts = (left, values, adjoint(g, right)) if tall else (right, values, adjoint(g, left))
    return narrowed(g, call, list(parts))
