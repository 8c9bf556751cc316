"""QR by Householder's reflections, eigenvalues of symmetric matrices and singular values by Jacobi's rotations.

All in float64, batched over the leading dims, as loops. Rotations run in rounds of disjoint pairs (a round-robin
tournament), so that a round is one product of matrices. Vectors are determined up to their signs only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from any2onnx.converters.pytorch.call import TorchCall, as_type, scalar
from any2onnx.converters.pytorch.complex_pairs import real_dtype
from any2onnx.converters.pytorch.linalg import diagonal_of, positions, skips_empty, transposed_last, wide
from any2onnx.graph.builder import GraphBuilder
from any2onnx.graph.types import DataType, Value, dims_of, dtype_of, rank_of

INT64, DOUBLE = DataType.INT64, DataType.DOUBLE
# Sweeps over all pairs after which Jacobi's method ends in any case; it converges quadratically, in six to ten.
_SWEEPS = 40


def _number(g: GraphBuilder, value: float) -> Value:
    return scalar(g, float(value), DOUBLE)


# --- QR ---------------------------------------------------------------------------------------------------------------


def reflections(g: GraphBuilder, a: Value) -> tuple[Value, Value]:
    """Return LAPACK's geqrf: R on and above the diagonal, the vectors below it, and the factors [..., k]."""
    rank = rank_of(a)
    rows, columns = g.Unsqueeze(positions(g, a, rank - 2), 1), positions(g, a, rank - 1)
    steps = g.Squeeze(g.Min(g.dim(a, rank - 2), g.dim(a, rank - 1)), 0)
    zero, one = _number(g, 0.0), _number(g, 1.0)

    def reflect(h: GraphBuilder, k: Value, going: Value, m: Value) -> tuple[Value, Value, Value]:
        at = h.Unsqueeze(k, 0)
        column = h.Gather(m, at, axis=rank - 1)
        alpha = h.Gather(column, at, axis=rank - 2)
        below = h.Greater(rows, k)
        rest = h.Where(below, column, zero)
        size = h.ReduceMax(h.Abs(rest), rank - 2)
        none = h.Equal(size, zero)
        # Scaled, so that squares neither overflow nor vanish.
        safe = h.Where(none, one, h.Max(size, h.Abs(alpha)))
        scaled, first = h.Div(rest, safe), h.Div(alpha, safe)
        squares = h.Add(h.ReduceSum(h.Mul(scaled, scaled), rank - 2), h.Mul(first, first))
        length = h.Mul(safe, h.Sqrt(squares))
        beta = h.Where(h.Less(alpha, zero), length, h.Neg(length))
        beta = h.Where(none, alpha, beta)
        tau = h.Where(none, zero, h.Div(h.Sub(beta, alpha), h.Where(none, one, beta)))
        vector = h.Div(rest, h.Where(none, one, h.Sub(alpha, beta)))
        full = h.Where(h.Equal(rows, k), one, vector)
        change = h.Mul(tau, h.MatMul(full, h.MatMul(transposed_last(h, full), m)))
        reduced = h.Sub(m, h.Where(h.Greater(columns, k), change, zero))
        stored = h.Where(h.Equal(rows, k), beta, h.Where(below, vector, column))
        m = h.Where(h.Equal(columns, k), stored, reduced)
        return h.op("Identity", going), m, h.Squeeze(tau, [rank - 2, rank - 1])

    packed, factors = g.Loop(reflect, [a], trip_count=steps, condition=True, state_shapes=[dims_of(a.shape)])
    return packed, g.Transpose(factors, perm=[*range(1, rank - 1), 0]) if rank > 2 else factors


def reflected(g: GraphBuilder, packed: Value, factors: Value, c: Value, *, transpose: bool = False) -> Value:
    """Return Q · C (Qᵀ · C) for Q as the product of reflections."""
    rank = rank_of(packed)
    rows = g.Unsqueeze(positions(g, packed, rank - 2), 1)
    count = g.Squeeze(g.dim(factors, rank_of(factors) - 1), 0)
    zero, one = _number(g, 0.0), _number(g, 1.0)

    def apply(h: GraphBuilder, i: Value, going: Value, x: Value) -> tuple[Value, Value]:
        k = i if transpose else h.Sub(h.Sub(count, scalar(h, 1, INT64)), i)
        at = h.Unsqueeze(k, 0)
        column = h.Gather(packed, at, axis=rank - 1)
        vector = h.Where(h.Greater(rows, k), column, h.Where(h.Equal(rows, k), one, zero))
        tau = h.Unsqueeze(h.Gather(factors, at, axis=rank - 2), rank - 2)
        change = h.MatMul(vector, h.MatMul(transposed_last(h, vector), x))
        return h.op("Identity", going), h.Sub(x, h.Mul(tau, change))

    return g.Loop(apply, [c], trip_count=count, condition=True)[0]


def unit_columns(g: GraphBuilder, a: Value, columns: Value) -> Value:
    """Return the first columns of identity matrices with as many rows as A, batched as A."""
    rank = rank_of(a)
    rows = g.Unsqueeze(positions(g, a, rank - 2), 1)
    line = g.Range(scalar(g, 0, INT64), g.Squeeze(columns, 0), scalar(g, 1, INT64))
    unit = g.Cast(g.Equal(rows, line), DOUBLE)
    shape = g.op("Concat", g.Shape(a, end=rank - 1), columns, axis=0)
    return g.Expand(unit, shape)


def qr_of(g: GraphBuilder, a: Value, *, complete: bool = False) -> tuple[Value, Value]:
    """Return Q and R, R as many rows as Q has columns."""
    rank = rank_of(a)
    packed, factors = reflections(g, a)
    height, width = g.dim(a, rank - 2), g.dim(a, rank - 1)
    columns = height if complete else g.Min(height, width)
    q = reflected(g, packed, factors, unit_columns(g, a, columns))
    rows = g.Unsqueeze(positions(g, a, rank - 2), 1)
    r = g.Where(g.LessOrEqual(rows, positions(g, a, rank - 1)), packed, _number(g, 0.0))
    return q, g.Slice(r, g.const(np.zeros(1, np.int64)), columns, [rank - 2])


@skips_empty()
def geqrf(g: GraphBuilder, call: TorchCall) -> tuple[Value, Value]:
    """R and the reflections' vectors in one matrix, and their factors."""
    packed, factors = reflections(g, wide(g, call.first))
    return g.Cast(packed, call.dtype), g.Cast(factors, call.dtype)


def qr(g: GraphBuilder, call: TorchCall) -> tuple[Value, Value]:
    """Q and R: reduced, complete, or R alone."""
    mode = call.params["mode"]
    dims = call.dims_of("A")
    if 0 in dims:
        return _empty_qr(g, call)
    q, r = qr_of(g, wide(g, call.first), complete=mode == "complete")
    if mode == "r":
        return g.const(np.zeros(0, call.dtype.numpy())), g.Cast(r, call.dtype)
    return g.Cast(q, call.dtype), g.Cast(r, call.dtype)


def _empty_qr(g: GraphBuilder, call: TorchCall) -> tuple[Value, Value]:
    """Of no elements: zeros, and identity matrices for a complete Q."""
    results = []
    for k in (0, 1):
        shape = call.sizes_of_result(k)
        if not shape or shape == [0]:
            results.append(g.const(np.zeros(0, call.dtype.numpy())))
            continue
        value = g.Expand(scalar(g, 0, call.dtype), call.sizes.vector(g, shape))
        if k == 0 and call.params["mode"] == "complete":
            unit = g.Cast(unit_columns(g, value, g.dim(value, rank_of(value) - 1)), call.dtype)
            value = g.Add(value, unit)
        results.append(value)
    return results[0], results[1]


def householder_product(g: GraphBuilder, call: TorchCall) -> Value:
    """The first columns of the product of reflections."""
    packed, factors = wide(g, call.params["input"]), wide(g, call.params["tau"])
    start = unit_columns(g, packed, g.dim(packed, rank_of(packed) - 1))
    if 0 in call.dims or 0 in call.dims_of("tau"):
        return g.Cast(start, call.dtype)
    return g.Cast(reflected(g, packed, factors, start), call.dtype)


@skips_empty()
def ormqr(g: GraphBuilder, call: TorchCall) -> Value:
    """C multiplied by the product of reflections, from the left or right, transposed or not."""
    p = call.params
    packed, factors, c = (wide(g, p[n]) for n in ("self", "input2", "input3"))
    left, transpose = bool(p["left"]), bool(p["transpose"])
    if left:
        return g.Cast(reflected(g, packed, factors, c, transpose=transpose), call.dtype)
    # C · Q = (Qᵀ · Cᵀ)ᵀ
    turned = reflected(g, packed, factors, transposed_last(g, c), transpose=not transpose)
    return g.Cast(transposed_last(g, turned), call.dtype)


# --- rounds of disjoint rotations -------------------------------------------------------------------------------------


def partners(g: GraphBuilder, round_number: Value, n: Value, line: Value) -> Value:
    """Return each player's partner in a round of a round-robin tournament: i + j ≡ round, modulo the number of rounds.

    The player who would meet himself meets the last one; with an odd number of players he rests.
    """
    one, two = scalar(g, 1, INT64), scalar(g, 2, INT64)
    even = g.Mul(g.Div(g.Add(n, one), two), two)
    rounds = g.Max(g.Sub(even, one), one)
    place = g.Mod(round_number, rounds)
    partner = g.Mod(g.Sub(place, line), rounds)
    alone = g.Mod(g.Mul(place, g.Div(even, two)), rounds)
    last = g.Sub(even, one)
    partner = g.Where(g.Equal(line, alone), last, partner)
    partner = g.Where(g.Equal(line, last), alone, partner)
    return g.Where(g.GreaterOrEqual(partner, n), line, partner)


def rotation(g: GraphBuilder, gram: Value, partner: Value, line: Value) -> Value:
    """Return the matrices that make the elements of all pairs zero in a symmetric matrix."""
    rank = rank_of(gram)
    zero, one, half = _number(g, 0.0), _number(g, 1.0), _number(g, 0.5)
    paired = g.Equal(g.Unsqueeze(partner, 1), line)
    diagonal = diagonal_of(g, gram)
    off = g.ReduceSum(g.Where(paired, gram, zero), rank - 1, keepdims=False)
    other = g.Gather(diagonal, partner, axis=rank - 2)
    resting = g.Or(g.Equal(partner, line), g.Equal(off, zero))
    first = g.Less(line, partner)
    # θ = (a_qq - a_pp) / (2 a_pq), p the smaller number of the pair.
    gap = g.Where(first, g.Sub(other, diagonal), g.Sub(diagonal, other))
    theta = g.Div(g.Mul(gap, half), g.Where(resting, one, off))
    size = g.Abs(theta)
    # sqrt(1 + θ²) is θ where the square would overflow.
    limited = g.Min(size, _number(g, 1e150))
    tangent = g.Div(one, g.Add(size, g.Sqrt(g.Add(one, g.Mul(limited, limited)))))
    tangent = g.Where(g.Less(theta, zero), g.Neg(tangent), tangent)
    tangent = g.Where(resting, zero, tangent)
    cosine = g.Div(one, g.Sqrt(g.Add(one, g.Mul(tangent, tangent))))
    sine = g.Mul(tangent, cosine)
    # R[p, q] = sin, R[q, p] = -sin.
    signed = g.Where(first, sine, g.Neg(sine))
    unit = g.Equal(g.Unsqueeze(line, 1), line)
    row = rank - 1
    turned = g.Where(paired, g.Unsqueeze(signed, row), zero)
    return g.Where(unit, g.Unsqueeze(cosine, row), turned)


def some(g: GraphBuilder, condition: Value) -> Value:
    """Tell whether a condition holds anywhere."""
    return g.Greater(g.ReduceSum(g.Cast(condition, INT64), None, keepdims=False), scalar(g, 0, INT64))


def most_rounds(g: GraphBuilder, n: Value) -> Value:
    """Return the number of rounds after which Jacobi's method ends in any case."""
    return g.Mul(g.Add(n, scalar(g, 1, INT64)), scalar(g, _SWEEPS, INT64))


def rounds_of_sweep(g: GraphBuilder, n: Value) -> Value:
    """Return the number of rounds in which all pairs meet."""
    one, two = scalar(g, 1, INT64), scalar(g, 2, INT64)
    return g.Max(g.Sub(g.Mul(g.Div(g.Add(n, one), two), two), one), one)


def quiet_rounds(g: GraphBuilder, due: Value, quiet: Value) -> Value:
    """Count the rounds since the last one in which an element was worth rotating: a sweep of them is the end."""
    return g.Where(due, scalar(g, 0, INT64), g.Add(quiet, scalar(g, 1, INT64)))


# --- symmetric matrices -----------------------------------------------------------------------------------------------


def eigh_of(g: GraphBuilder, a: Value) -> tuple[Value, Value]:
    """Return ascending eigenvalues and eigenvectors (as columns) of symmetric matrices."""
    rank = rank_of(a)
    line = positions(g, a, rank - 1)
    n = g.Squeeze(g.dim(a, rank - 1), 0)
    unit = g.Equal(g.Unsqueeze(line, 1), line)
    zero = _number(g, 0.0)
    whole = g.ReduceMax(g.Abs(a), [rank - 2, rank - 1])
    tiny = g.Mul(whole, _number(g, 2.0**-58))
    identity = g.Expand(g.Cast(unit, DOUBLE), g.Shape(a))
    sweep = rounds_of_sweep(g, n)

    def turn(h: GraphBuilder, i: Value, going: Value, m: Value, v: Value, quiet: Value) -> tuple[Value, ...]:
        partner = partners(h, i, n, line)
        paired = h.And(h.Equal(h.Unsqueeze(partner, 1), line), h.Not(unit))
        due = some(h, h.And(paired, h.Greater(h.Abs(m), tiny)))
        r = rotation(h, m, partner, line)
        m = h.MatMul(transposed_last(h, r), h.MatMul(m, r))
        quiet = quiet_rounds(h, due, quiet)
        return h.Less(quiet, sweep), m, h.MatMul(v, r), quiet

    shapes = [dims_of(a.shape), dims_of(a.shape), ()]
    start = [a, identity, scalar(g, 0, INT64)]
    m, v = g.Loop(turn, start, trip_count=most_rounds(g, n), condition=True, state_shapes=shapes)[:2]
    values = g.Add(diagonal_of(g, m), zero)
    values, order = g.TopK(values, g.Unsqueeze(n, 0), axis=rank - 2, largest=False, sorted=True)
    index = g.Expand(g.Unsqueeze(order, rank - 2), g.Shape(v))
    return values, g.op("GatherElements", v, index, axis=rank - 1)


def symmetric(g: GraphBuilder, a: Value, uplo: str) -> Value:
    """Return the symmetric matrices that one triangle stands for."""
    rank = rank_of(a)
    rows, columns = g.Unsqueeze(positions(g, a, rank - 2), 1), positions(g, a, rank - 1)
    read = g.GreaterOrEqual(rows, columns) if uplo.upper() == "L" else g.LessOrEqual(rows, columns)
    return g.Where(read, a, transposed_last(g, a))


@skips_empty()
def eigh(g: GraphBuilder, call: TorchCall) -> tuple[Value, Value]:
    """Eigenvalues and, where asked for, eigenvectors of symmetric matrices (_linalg_eigh)."""
    values, vectors = eigh_of(g, symmetric(g, wide(g, call.first), call.params["UPLO"]))
    dtype = dtype_of(call.first)
    nothing = g.const(np.zeros(0, dtype.numpy()))
    return g.Cast(values, dtype), g.Cast(vectors, dtype) if call.params["compute_v"] else nothing


# --- singular values --------------------------------------------------------------------------------------------------


def svd_of(g: GraphBuilder, a: Value) -> tuple[Value, Value, Value]:
    """Return A · V, the singular values and V of matrices with at least as many rows as columns, largest first."""
    rank = rank_of(a)
    line = positions(g, a, rank - 1)
    n = g.Squeeze(g.dim(a, rank - 1), 0)
    unit = g.Equal(g.Unsqueeze(line, 1), line)
    square = g.op("Concat", g.Shape(a, end=rank - 2), g.dim(a, rank - 1), g.dim(a, rank - 1), axis=0)
    identity = g.Expand(g.Cast(unit, DOUBLE), square)
    zero, one = _number(g, 0.0), _number(g, 1.0)
    sweep = rounds_of_sweep(g, n)
    # Scaled to a largest element of 1, so that squares neither overflow nor vanish.
    size = g.ReduceMax(g.Abs(a), [rank - 2, rank - 1])
    size = g.Where(g.Equal(size, zero), one, size)
    scaled = g.Div(a, size)

    def turn(h: GraphBuilder, i: Value, going: Value, b: Value, v: Value, quiet: Value) -> tuple[Value, ...]:
        partner = partners(h, i, n, line)
        gram = h.MatMul(transposed_last(h, b), b)
        lengths = h.Sqrt(diagonal_of(h, gram))
        scale = h.Mul(h.Unsqueeze(lengths, rank - 1), h.Unsqueeze(lengths, rank - 2))
        paired = h.And(h.Equal(h.Unsqueeze(partner, 1), line), h.Not(unit))
        limit = h.Add(h.Mul(scale, _number(h, 2.0**-51)), _number(h, 2.0**-110))
        due = some(h, h.And(paired, h.Greater(h.Abs(gram), limit)))
        r = rotation(h, gram, partner, line)
        quiet = quiet_rounds(h, due, quiet)
        return h.Less(quiet, sweep), h.MatMul(b, r), h.MatMul(v, r), quiet

    shapes: list[Sequence[int | str | None] | None] = [dims_of(a.shape), dims_of(identity.shape), ()]
    start = [scaled, identity, scalar(g, 0, INT64)]
    b, v = g.Loop(turn, start, trip_count=most_rounds(g, n), condition=True, state_shapes=shapes)[:2]
    lengths = g.Sqrt(g.ReduceSum(g.Mul(b, b), rank - 2, keepdims=False))
    values, order = g.TopK(lengths, g.Unsqueeze(n, 0), axis=rank - 2, largest=True, sorted=True)

    def arranged(x: Value) -> Value:
        return g.op("GatherElements", x, g.Expand(g.Unsqueeze(order, rank - 2), g.Shape(x)), axis=rank - 1)

    values = g.Mul(values, g.Squeeze(size, rank - 1))
    return arranged(b), values, arranged(v)


def _left_vectors(g: GraphBuilder, b: Value, *, full: bool) -> Value:
    """Return orthonormal columns from orthogonal ones: their QR, whose R is diagonal up to signs.

    It completes the columns where a singular value is zero, and beyond them.
    """
    rank = rank_of(b)
    q, r = qr_of(g, b, complete=full)
    zero, one = _number(g, 0.0), _number(g, 1.0)
    columns = g.dim(b, rank - 1)
    square = g.Slice(r, g.const(np.zeros(1, np.int64)), columns, [rank - 2])
    signs = g.Where(g.Less(diagonal_of(g, square), zero), g.Neg(one), one)
    if full:
        missing = g.Sub(g.dim(b, rank - 2), columns)
        more = g.Expand(one, g.op("Concat", g.Shape(b, end=rank - 2), missing, axis=0))
        signs = g.op("Concat", signs, more, axis=rank - 2)
    return g.Mul(q, g.Unsqueeze(signs, rank - 2))


def is_tall(call: TorchCall) -> bool | None:
    """Tell whether a call's matrices have at least as many rows as columns; None where that depends on the run."""
    rows, columns = call.dims_of("self" if "self" in call.metas else "A")[-2:]
    if isinstance(rows, int) and isinstance(columns, int):
        return rows >= columns
    return True if rows == columns else None


def _either_way(
    g: GraphBuilder, call: TorchCall, a: Value, apply: Callable[..., tuple[Value, ...]]
) -> tuple[Value, ...]:
    """Return what `apply(builder, tall)` gives, in two branches where only the run tells whether matrices are tall."""
    tall = is_tall(call)
    if tall is not None:
        return apply(g, tall)
    rank = rank_of(a)
    condition = g.Squeeze(g.GreaterOrEqual(g.dim(a, rank - 2), g.dim(a, rank - 1)), 0)
    return tuple(g.If(condition, lambda h: apply(h, True), lambda h: apply(h, False)))


def svd_parts(g: GraphBuilder, call: TorchCall, a: Value, *, full: bool) -> tuple[Value, Value, Value]:
    """Return U, the singular values and Vᵀ."""

    def parts(h: GraphBuilder, tall: bool) -> tuple[Value, ...]:
        b, values, right = svd_of(h, a if tall else transposed_last(h, a))
        left = _left_vectors(h, b, full=full)
        return (left, values, transposed_last(h, right)) if tall else (right, values, transposed_last(h, left))

    u, values, vh = _either_way(g, call, a, parts)
    return u, values, vh


def svd(g: GraphBuilder, call: TorchCall) -> tuple[Value, Value, Value]:
    """U, singular values, Vᵀ (_linalg_svd)."""
    p, dtype = call.params, dtype_of(call.first)
    if 0 in call.dims_of("A"):
        return _empty_svd(g, call)
    a = wide(g, call.first)
    if not p["compute_uv"]:
        nothing = g.const(np.zeros(0, dtype.numpy()))

        def alone(h: GraphBuilder, tall: bool) -> tuple[Value, ...]:
            return (svd_of(h, a if tall else transposed_last(h, a))[1],)

        return nothing, g.Cast(_either_way(g, call, a, alone)[0], dtype), nothing
    u, values, vh = svd_parts(g, call, a, full=bool(p["full_matrices"]))
    return g.Cast(u, dtype), g.Cast(values, dtype), g.Cast(vh, dtype)


def _empty_svd(g: GraphBuilder, call: TorchCall) -> tuple[Value, Value, Value]:
    """Of no elements: identity matrices for full U and V."""
    results = []
    for k in range(3):
        shape = call.sizes_of_result(k)
        value = g.Expand(scalar(g, 0, call.dtype), call.sizes.vector(g, shape))
        if k != 1 and len(shape) > 1 and shape[-1] == shape[-2] != 0:
            value = g.Add(value, g.Cast(unit_columns(g, value, g.dim(value, rank_of(value) - 1)), call.dtype))
        results.append(value)
    return results[0], results[1], results[2]


def pinv(g: GraphBuilder, call: TorchCall) -> Value:
    """Pseudo-inverse: reciprocal singular values (or eigenvalues) above the tolerance, zero below."""
    p = call.params
    dims = call.dims_of("self")
    if 0 in dims:
        return g.Expand(scalar(g, 0, call.dtype), call.shape(g))
    a = wide(g, call.first)
    return g.Cast(pinv_of(g, call, symmetric(g, a, "L") if p["hermitian"] else a), call.dtype)


def pinv_of(g: GraphBuilder, call: TorchCall, a: Value) -> Value:
    """Return the pseudo-inverse for a call's tolerances; `a` is symmetric where the call says so."""
    if call.params["hermitian"]:
        values, vectors = eigh_of(g, a)
        left, right, sizes = vectors, transposed_last(g, vectors), g.Abs(values)
    else:
        u, values, vh = svd_parts(g, call, a, full=False)
        left, right, sizes = transposed_last(g, vh), transposed_last(g, u), values
    last = rank_of(sizes) - 1
    largest = g.ReduceMax(sizes, last)
    limit = _tolerance(g, call, largest, last)
    kept = g.Greater(sizes, limit)
    inverse = g.Where(kept, g.Div(_number(g, 1.0), g.Where(kept, values, _number(g, 1.0))), _number(g, 0.0))
    return g.MatMul(g.Mul(left, g.Unsqueeze(inverse, last)), right)


def _tolerance(g: GraphBuilder, call: TorchCall, largest: Value, last: int) -> Value:
    """max(atol, rtol · largest); without either, rtol is the type's resolution times the longer side."""
    p = call.params
    rows, columns = (g.Cast(call.sizes.scalar(g, d), DOUBLE) for d in call.dims_of("self")[-2:])
    usual = g.Mul(g.Max(rows, columns), _number(g, float(np.finfo(real_dtype(call.result).numpy()).eps)))

    def given(name: str) -> Value | None:
        value = p.get(name)
        if value is None:
            return None
        number = as_type(g, value, DOUBLE)
        return g.Unsqueeze(number, rank_of(number)) if rank_of(number) else number

    atol, rtol = given("atol"), given("rcond" if "rcond" in p else "rtol")
    if rtol is None:
        rtol = usual if atol is None else g.Where(g.Greater(atol, _number(g, 0.0)), _number(g, 0.0), usual)
    limit = g.Mul(rtol, largest)
    return limit if atol is None else g.Max(atol, limit)
