"""Matrix decompositions of `keras.src.backend.linalg`, as loops in float64: ONNX has Det and MatMul only."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from any2onnx.converters.keras.backend_common import Context, backend_function, keras_backend
from any2onnx.graph.builder import GraphBuilder
from any2onnx.graph.types import DataType, Value, rank_of, shape_of

_D = DataType.DOUBLE


def _n(value: float) -> Any:
    return np.asarray(value, np.float64)


def _swapped(g: GraphBuilder, x: Value) -> Value:
    rank = rank_of(x)
    return g.Transpose(x, perm=[*range(rank - 2), rank - 1, rank - 2])


def _matrix(c: Context, x: Any) -> tuple[Value, int, int]:
    """Return a matrix (or a batch) in float64 and its static sizes."""
    value = c.t(x, _D)
    rank = rank_of(value)
    return value, c.static_dim(value, rank - 2, "of a matrix"), c.static_dim(value, rank - 1, "of a matrix")


def _unit(g: GraphBuilder, k: Value, size: int) -> Value:
    """Return which of `size` positions is k (a bool vector)."""
    return g.Equal(np.arange(size, dtype=np.int64), k)


def _column(g: GraphBuilder, x: Value, k: Value) -> Value:
    """Return column k as [..., rows, 1]."""
    return g.Unsqueeze(g.Gather(x, k, axis=rank_of(x) - 1), [rank_of(x) - 1])


def _row(g: GraphBuilder, x: Value, k: Value) -> Value:
    """Return row k as [..., 1, columns]."""
    return g.Unsqueeze(g.Gather(x, k, axis=rank_of(x) - 2), [rank_of(x) - 2])


def eliminated(c: Context, a: Value, b: Value, size: int) -> Value:
    """Solve a · x = b by Gauss-Jordan elimination with the largest pivot of each column."""
    g = c.g
    axis = rank_of(a) - 2

    def step(inner: GraphBuilder, k: Value, condition: Value, left: Value, right: Value) -> list[Value]:
        column = _column(inner, left, k)
        done = inner.Less(np.arange(size, dtype=np.int64)[:, None], k)
        candidates = inner.Where(done, _n(-1.0), inner.Abs(column))
        best = inner.ArgMax(candidates, axis=axis, keepdims=1)
        rows = np.arange(size, dtype=np.int64)[:, None]
        # Swap rows k and best: read row k of the swapped matrix from `best`, and `best` from row k.
        source = inner.Where(inner.Equal(rows, k), best, inner.Where(inner.Equal(rows, best), k, rows))

        def swapped(x: Value) -> Value:
            index = inner.Expand(source, inner.Shape(x))
            return inner.GatherElements(x, index, axis=axis)

        left, right = swapped(left), swapped(right)
        pivot = _column(inner, _row(inner, left, k), k)
        left_row, right_row = inner.Div(_row(inner, left, k), pivot), inner.Div(_row(inner, right, k), pivot)
        factors = inner.Where(inner.Equal(rows, k), _n(0.0), _column(inner, left, k))
        left = inner.Where(inner.Equal(rows, k), left_row, inner.Sub(left, inner.Mul(factors, left_row)))
        right = inner.Where(inner.Equal(rows, k), right_row, inner.Sub(right, inner.Mul(factors, right_row)))
        return [inner.const(np.asarray(True)), left, right]

    # All batches in both, so that the states keep their shapes.
    lead = g.Shape(g.Add(g.Slice(a, [0], [1], [axis + 1]), g.Slice(b, [0], [1], [axis + 1])), end=-2)
    a = g.Expand(a, g.Concat(lead, np.asarray([1, 1], np.int64), axis=0))
    b = g.Expand(b, g.Concat(lead, np.asarray([1, 1], np.int64), axis=0))
    _, result = g.Loop(step, [a, b], trip_count=size)
    return result


def _identity(c: Context, like: Value, size: int) -> Value:
    shape = c.sizes_of(like)[:-2]
    eye = c.g.const(np.eye(size))
    return c.expand(eye, [*shape, size, size]) if shape else eye


@backend_function
def inv(c: Context, a: Any) -> Value:
    """Inverse."""
    value, size, _ = _matrix(c, a)
    return eliminated(c, value, _identity(c, value, size), size)


def _right_side(c: Context, a: Value, b: Any) -> tuple[Value, bool]:
    """Return b as matrices, and whether it was a vector per matrix."""
    right = c.t(b, _D)
    vector = rank_of(right) == rank_of(a) - 1
    return (c.g.Unsqueeze(right, [rank_of(right)]) if vector else right), vector


@backend_function
def solve(c: Context, a: Any, b: Any) -> Value:
    """x with a · x = b."""
    value, size, _ = _matrix(c, a)
    right, vector = _right_side(c, value, b)
    result = eliminated(c, value, right, size)
    return c.g.Squeeze(result, [rank_of(result) - 1]) if vector else result


@backend_function
def solve_triangular(c: Context, a: Any, b: Any, lower: Any = False) -> Value:
    """x with a · x = b, of which only one triangle of a counts."""
    g = c.g
    value, size, _ = _matrix(c, a)
    right, vector = _right_side(c, value, b)
    keep = np.tril(np.ones((size, size), bool)) if lower else np.triu(np.ones((size, size), bool))
    result = eliminated(c, g.Where(g.const(keep), value, _n(0.0)), right, size)
    return g.Squeeze(result, [rank_of(result) - 1]) if vector else result


def lower_factor(c: Context, a: Value, size: int) -> Value:
    """Return the lower Cholesky factor, column by column; NaN where the matrix is not positive definite."""
    g = c.g

    def step(inner: GraphBuilder, k: Value, condition: Value, factor: Value) -> list[Value]:
        known = inner.MatMul(factor, _swapped(inner, _row(inner, factor, k)))
        rest = inner.Sub(_column(inner, a, k), known)
        root = inner.Sqrt(_row(inner, rest, k))
        below = inner.GreaterOrEqual(np.arange(size, dtype=np.int64)[:, None], k)
        column = inner.Where(below, inner.Div(rest, root), _n(0.0))
        return [inner.const(np.asarray(True)), inner.Where(_unit(inner, k, size), column, factor)]

    (result,) = g.Loop(step, [g.Mul(a, _n(0.0))], trip_count=size)
    return result


@backend_function
def cholesky(c: Context, a: Any, upper: Any = False) -> Value:
    """Triangular factor of a positive definite matrix."""
    value, size, _ = _matrix(c, a)
    result = lower_factor(c, value, size)
    return _swapped(c.g, result) if upper else result


@backend_function
def cholesky_inverse(c: Context, a: Any, upper: Any = False) -> Value:
    """Inverse of the matrix whose Cholesky factor is given."""
    g = c.g
    value, size, _ = _matrix(c, a)
    keep = np.triu(np.ones((size, size), bool)) if upper else np.tril(np.ones((size, size), bool))
    value = g.Where(g.const(keep), value, _n(0.0))
    inverse = eliminated(c, value, _identity(c, value, size), size)
    other = _swapped(g, inverse)
    return g.MatMul(inverse, other) if upper else g.MatMul(other, inverse)


@backend_function
def slogdet(c: Context, x: Any) -> list[Value]:
    """Sign and logarithm of the determinant, from the pivots of an elimination."""
    sign, log = sign_and_log(c, x)
    return [sign, log]


@backend_function
def logdet(c: Context, x: Any) -> Value:
    """Logarithm of the determinant's size."""
    return sign_and_log(c, x)[1]


def sign_and_log(c: Context, x: Any) -> tuple[Value, Value]:
    """Return sign and log of the determinant by elimination, so that nothing overflows."""
    g = c.g
    packed, swaps, size = factored(c, x)
    rank = rank_of(packed)
    eye = np.eye(size)
    pivots = g.ReduceSum(g.Mul(packed, g.const(eye)), [rank - 1], keepdims=False)
    log = g.ReduceSum(g.Log(g.Abs(pivots)), [rank - 2], keepdims=False)
    moved = g.Cast(g.Not(g.Equal(swaps, np.arange(size, dtype=np.int64))), _D)
    odd = g.ReduceSum(moved, [rank - 2], keepdims=False)
    turned = g.Sub(_n(1.0), g.Mul(g.Mod(odd, _n(2.0), fmod=1), _n(2.0)))
    return g.Mul(turned, g.ReduceProd(g.Sign(pivots), [rank - 2], keepdims=False)), log


def factored(c: Context, x: Any) -> tuple[Value, Value, int]:
    """Return L and U in one matrix, the row that each pivot came from (int64), and the size."""
    g = c.g
    value, rows, columns = _matrix(c, x)
    if rows != columns:
        raise c.refuse("LU factors of a matrix that is not square")
    axis = rank_of(value) - 2
    order = np.arange(rows, dtype=np.int64)[:, None]

    def step(inner: GraphBuilder, k: Value, condition: Value, a: Value, pivots: Value) -> list[Value]:
        size = inner.Where(inner.Less(order, k), _n(-1.0), inner.Abs(_column(inner, a, k)))
        best = inner.ArgMax(size, axis=axis, keepdims=1)
        source = inner.Where(inner.Equal(order, k), best, inner.Where(inner.Equal(order, best), k, order))
        a = inner.GatherElements(a, inner.Expand(source, inner.Shape(a)), axis=axis)
        pivot = _column(inner, _row(inner, a, k), k)
        below = inner.Greater(order, k)
        factors = inner.Where(below, inner.Div(_column(inner, a, k), pivot), _n(0.0))
        right = inner.Greater(np.arange(columns, dtype=np.int64), k)
        row = inner.Where(right, _row(inner, a, k), _n(0.0))
        reduced = inner.Sub(a, inner.Mul(factors, row))
        a = inner.Where(inner.And(below, _unit(inner, k, columns)), factors, reduced)
        chosen = inner.Squeeze(best, [axis + 1])
        pivots = inner.Where(_unit(inner, k, rows), chosen, pivots)
        return [inner.const(np.asarray(True)), a, pivots]

    start = g.Cast(g.ReduceSum(g.Mul(value, _n(0.0)), [axis + 1], keepdims=False), DataType.INT64)
    packed, swaps = g.Loop(step, [value, start], trip_count=rows)
    return packed, swaps, rows


@backend_function
def lu_factor(c: Context, a: Any) -> list[Value]:
    """L and U in one matrix, and the pivots."""
    if keras_backend() == "tensorflow":
        raise c.refuse("under TensorFlow its pivots are a permutation, elsewhere row swaps")
    packed, swaps, _ = factored(c, a)
    return [packed, swaps]


@backend_function
def qr(c: Context, x: Any, mode: Any = "reduced") -> list[Value]:
    """Orthogonal and triangular factor by Householder reflections, with the signs that LAPACK has."""
    g = c.g
    value, rows, columns = _matrix(c, x)
    count = min(rows, columns)
    order = np.arange(rows, dtype=np.int64)[:, None]
    axis = rank_of(value) - 2

    def step(inner: GraphBuilder, k: Value, condition: Value, q: Value, r: Value) -> list[Value]:
        column = inner.Where(inner.GreaterOrEqual(order, k), _column(inner, r, k), _n(0.0))
        below = inner.Where(inner.Greater(order, k), column, _n(0.0))
        rest = inner.ReduceSum(inner.Mul(below, below), [axis], keepdims=True)
        head = _row(inner, column, k)
        length = inner.Sqrt(inner.Add(rest, inner.Mul(head, head)))
        target = inner.Where(inner.Less(head, _n(0.0)), length, inner.Neg(length))
        # Nothing below the diagonal: no reflection.
        idle = inner.Equal(rest, _n(0.0))
        mirror = inner.Where(inner.Equal(order, k), inner.Sub(head, target), below)
        square = inner.ReduceSum(inner.Mul(mirror, mirror), [axis], keepdims=True)
        scale = inner.Where(idle, _n(0.0), inner.Div(_n(2.0), inner.Where(idle, _n(1.0), square)))
        r = inner.Sub(r, inner.Mul(scale, inner.MatMul(mirror, inner.MatMul(_swapped(inner, mirror), r))))
        q = inner.Sub(q, inner.Mul(scale, inner.MatMul(inner.MatMul(q, mirror), _swapped(inner, mirror))))
        return [inner.const(np.asarray(True)), q, r]

    q, r = g.Loop(step, [_identity(c, value, rows), value], trip_count=count)
    r = g.Where(g.const(np.triu(np.ones((rows, columns), bool))), r, _n(0.0))
    if mode == "reduced":
        q, r = g.Slice(q, [0], [count], [axis + 1]), g.Slice(r, [0], [count], [axis])
    return [q, r]


# --- eigenvalues and singular values, by rotations --------------------------------------------------------------------


def _pairs(size: int) -> np.ndarray[Any, Any]:
    """Return all pairs of positions, as rounds in which each position occurs once (a tournament)."""
    players = list(range(size + size % 2))
    rounds = []
    for _ in range(len(players) - 1):
        half = len(players) // 2
        pairs = zip(players[:half], players[half:][::-1], strict=True)
        rounds.append([(min(p), max(p)) for p in pairs if max(p) < size])
        players = [players[0], players[-1], *players[1:-1]]
    return np.array(rounds, dtype=np.int64) if size > 1 else np.zeros((0, 0, 2), np.int64)


def _sweeps(size: int) -> int:
    # Quadratic convergence after about log2(size) sweeps.
    return 6 + math.ceil(math.log2(max(size, 2)))


def rotated_columns(c: Context, a: Value, size: int) -> tuple[Value, Value]:
    """Return a · v with orthogonal columns, and the orthogonal v (one-sided Jacobi rotations)."""
    g = c.g
    v = _identity(c, a, size)
    rounds = _pairs(size)
    if not len(rounds):
        return a, v
    # All rotations of a round at once, as one matrix.
    first, second = g.const(rounds[:, :, 0].copy()), g.const(rounds[:, :, 1].copy())
    axis = rank_of(a) - 1

    def step(inner: GraphBuilder, k: Value, condition: Value, x: Value, basis: Value) -> list[Value]:
        now = inner.Mod(k, np.asarray(len(rounds), np.int64))
        p, q = inner.Gather(first, now, axis=0), inner.Gather(second, now, axis=0)
        left, right = inner.Gather(x, p, axis=axis), inner.Gather(x, q, axis=axis)

        def product(u: Value, w: Value) -> Value:
            return inner.ReduceSum(inner.Mul(u, w), [axis - 1], keepdims=True)

        alpha, beta, gamma = product(left, left), product(right, right), product(left, right)
        none = inner.LessOrEqual(inner.Abs(gamma), inner.Mul(_n(1e-16), inner.Sqrt(inner.Mul(alpha, beta))))
        safe = inner.Where(none, _n(1.0), gamma)
        zeta = inner.Div(inner.Sub(beta, alpha), inner.Mul(safe, _n(2.0)))
        up = inner.Where(inner.Less(zeta, _n(0.0)), _n(-1.0), _n(1.0))
        tangent = inner.Div(up, inner.Add(inner.Abs(zeta), inner.Sqrt(inner.Add(_n(1.0), inner.Mul(zeta, zeta)))))
        tangent = inner.Where(none, _n(0.0), tangent)
        cosine = inner.Div(_n(1.0), inner.Sqrt(inner.Add(_n(1.0), inner.Mul(tangent, tangent))))
        sine = inner.Mul(cosine, tangent)

        def turned(m: Value) -> Value:
            u, w = inner.Gather(m, p, axis=axis), inner.Gather(m, q, axis=axis)
            new_u = inner.Sub(inner.Mul(cosine, u), inner.Mul(sine, w))
            new_w = inner.Add(inner.Mul(sine, u), inner.Mul(cosine, w))
            places = inner.Concat(p, q, axis=0)
            values = inner.Concat(new_u, new_w, axis=axis)
            return inner.ScatterElements(m, inner.Expand(places, inner.Shape(values)), values, axis=axis)

        return [inner.const(np.asarray(True)), turned(x), turned(basis)]

    x, basis = g.Loop(step, [a, v], trip_count=_sweeps(size) * len(rounds))
    return x, basis


def singular(c: Context, x: Any) -> tuple[Value, Value, Value]:
    """Return u [..., m, k], the singular values [..., k] in descending order, and v [..., n, k]; k = min(m, n)."""
    g = c.g
    value, rows, columns = _matrix(c, x)
    wide = columns > rows
    if wide:
        value, rows, columns = _swapped(g, value), columns, rows
    axis = rank_of(value) - 1
    turned, basis = rotated_columns(c, value, columns)
    sizes = g.Sqrt(g.ReduceSum(g.Mul(turned, turned), [axis - 1], keepdims=False))
    ordered, places = g.TopK(sizes, columns, axis=axis - 1)
    index = g.Unsqueeze(places, [axis - 1])

    def sorted_columns(m: Value) -> Value:
        return g.GatherElements(m, g.Expand(index, g.Shape(m)), axis=axis)

    turned, basis = sorted_columns(turned), sorted_columns(basis)
    column_sizes = g.Unsqueeze(ordered, [axis - 1])
    none = g.Equal(column_sizes, _n(0.0))
    u = g.Div(turned, g.Where(none, _n(1.0), column_sizes))
    return (basis, ordered, u) if wide else (u, ordered, basis)


@backend_function
def svd(c: Context, x: Any, full_matrices: Any = True, compute_uv: Any = True) -> Value | list[Value]:
    """Singular values, and vectors (whose signs are free) in the reduced form."""
    value = c.t(x)
    rows, columns = shape_of(value)[-2:]
    if compute_uv and full_matrices and rows != columns:
        raise c.refuse("full_matrices=True of a matrix that is not square", "full_matrices=False")
    u, sizes, v = singular(c, x)
    return [u, sizes, _swapped(c.g, v)] if compute_uv else sizes


@backend_function
def eigh(c: Context, a: Any) -> list[Value]:
    """Eigenvalues in ascending order, and vectors (whose signs are free), of symmetric matrices.

    The matrix is shifted to be positive definite; its singular vectors are then its eigenvectors.
    """
    g = c.g
    value, size, _ = _matrix(c, a)
    axis = rank_of(value) - 1
    # Only the lower triangle counts.
    lower = g.Where(g.const(np.tril(np.ones((size, size), bool))), value, _n(0.0))
    strict = g.Where(g.const(np.tril(np.ones((size, size), bool), -1)), value, _n(0.0))
    symmetric = g.Add(lower, _swapped(g, strict))
    bound = g.ReduceMax(g.ReduceSum(g.Abs(symmetric), [axis], keepdims=True), [axis - 1], keepdims=True)
    shift = g.Add(bound, g.Mul(bound, _n(0.01)))
    _, _, vectors = singular_of(c, g.Add(symmetric, g.Mul(shift, g.const(np.eye(size)))), size)
    # Rayleigh quotients of the unshifted matrix lose nothing to the shift.
    values = g.ReduceSum(g.Mul(vectors, g.MatMul(symmetric, vectors)), [axis - 1], keepdims=False)
    places: Sequence[int] = [axis - 1, axis]
    return [_reversed(g, values, [places[0]]), _reversed(g, vectors, [places[1]])]


def singular_of(c: Context, a: Value, size: int) -> tuple[Value, Value, Value]:
    """Return the singular triple of square matrices."""
    return singular(c, a)


def _reversed(g: GraphBuilder, x: Value, axes: Sequence[int]) -> Value:
    lowest = int(np.iinfo(np.int64).min)
    return g.Slice(x, [-1] * len(axes), [lowest] * len(axes), list(axes), [-1] * len(axes))


@backend_function
def matrix_rank(c: Context, x: Any, tol: Any = None) -> Value:
    """Number of singular values above a tolerance."""
    g = c.g
    _, sizes, _ = singular(c, x)
    return g.ReduceSum(g.Cast(g.Greater(sizes, _limit(c, x, sizes, tol)), DataType.INT64), [-1], keepdims=False)


def _limit(c: Context, x: Any, sizes: Value, tol: Any) -> Value:
    g = c.g
    if tol is not None:
        return c.t(tol, _D)
    value = c.t(x)
    rows, columns = shape_of(value)[-2:]
    largest = g.ReduceMax(sizes, [-1], keepdims=True)
    kind = value.dtype if value.dtype is not None and value.dtype.is_floating_point() else DataType.DOUBLE
    epsilon = float(np.finfo(kind.numpy()).eps)
    return g.Mul(largest, _n(max(int(rows or 1), int(columns or 1)) * epsilon))


def pseudo_inverse(c: Context, x: Any, rcond: float) -> Value:
    """Return v · diag(1 / s) · uᵀ, without the singular values below rcond times the largest."""
    g = c.g
    u, sizes, v = singular(c, x)
    keep = g.Greater(sizes, g.Mul(g.ReduceMax(sizes, [-1], keepdims=True), _n(rcond)))
    inverse = g.Where(keep, g.Div(_n(1.0), g.Where(keep, sizes, _n(1.0))), _n(0.0))
    return g.MatMul(g.Mul(v, g.Unsqueeze(inverse, [rank_of(inverse) - 1])), _swapped(g, u))


@backend_function
def pinv(c: Context, x: Any, rcond: Any = None) -> Value:
    """Pseudo-inverse."""
    return pseudo_inverse(c, x, 1e-15 if rcond is None else float(c.static(rcond, "rcond")))


@backend_function
def lstsq(c: Context, a: Any, b: Any, rcond: Any = None) -> Value:
    """x that makes a · x nearest to b."""
    value = c.t(a)
    rows, columns = (int(d) for d in shape_of(value)[-2:] if isinstance(d, int))
    epsilon = float(np.finfo(value.dtype.numpy()).eps) if value.dtype is not None else 0.0
    share = epsilon * max(rows, columns) if rcond is None else float(c.static(rcond, "rcond"))
    right, vector = _right_side(c, value, b)
    result = c.g.MatMul(pseudo_inverse(c, a, share), right)
    return c.g.Squeeze(result, [rank_of(result) - 1]) if vector else result
