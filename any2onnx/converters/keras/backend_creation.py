"""Functions of `keras.src.backend.numpy` that make tensors: constants, ranges, diagonals, windows."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from any2onnx.converters.keras.backend_common import Context, backend_function
from any2onnx.converters.keras.tracing_replay import Extent
from any2onnx.graph.types import DataType, Value, dims_of, dtype_of, rank_of


def _filler(value: float) -> Callable[..., Any]:
    @backend_function
    def convert(c: Context, shape: Any, dtype: Any = None) -> Value:
        return c.filled(shape, value, c.out)

    return convert


ones = _filler(1)
zeros = empty = _filler(0)


@backend_function
def full(c: Context, shape: Any, fill_value: Any, dtype: Any) -> Value:
    """A shape of one value."""
    return c.expand(c.t(fill_value, c.out), c.vector(shape))


def _like(value: float) -> Callable[..., Any]:
    @backend_function
    def convert(c: Context, x: Any, dtype: Any = None) -> Value:
        return c.expand(c.g.const(np.asarray(value, c.out.numpy())), c.g.Shape(c.t(x)))

    return convert


ones_like = _like(1)
zeros_like = empty_like = _like(0)


@backend_function
def full_like(c: Context, x: Any, fill_value: Any, dtype: Any) -> Value:
    """The shape of a tensor, of one value."""
    return c.expand(c.t(fill_value, c.out), c.g.Shape(c.t(x)))


@backend_function
def arange(c: Context, start: Any, stop: Any, step: Any, dtype: Any) -> Value:
    """Numbers with equal distances."""
    g = c.g
    first, last = (0, start) if stop is None else (start, stop)
    distance = 1 if step is None else step
    floating = c.out.is_floating_point()
    # Counted in integers or float64, so that the number of steps is that of numpy.
    wide = DataType.INT64
    if floating and any(not _is_integer(v) for v in (first, last, distance)):
        wide = DataType.DOUBLE
    a, b, s = (c.t(v, wide) for v in (first, last, distance))
    a, b, s = (v if rank_of(v) == 0 else g.Reshape(v, []) for v in (a, b, s))
    return g.Range(a, b, s)


def _is_integer(x: Any) -> bool:
    if isinstance(x, Value):
        return not dtype_of(x).is_floating_point()
    if isinstance(x, Extent):
        return x.value.dtype == DataType.INT64
    return isinstance(x, int) or float(x).is_integer()


def _ramp(c: Context, start: Any, stop: Any, num: int, endpoint: bool, dtype: DataType) -> tuple[Value, Value]:
    """Return start + k · step with k along a new first dim, and the step."""
    g = c.g
    first, last = c.t(start, dtype), c.t(stop, dtype)
    parts = num - 1 if endpoint else num
    step = g.Div(g.Sub(last, first), c.number(parts, first)) if parts > 0 else c.number(math.nan, first)
    rank = builtin_max(rank_of(first), rank_of(last))
    counts = g.const(np.arange(num).reshape([-1] + [1] * rank).astype(dtype.numpy()))
    ramp = g.Add(g.Mul(counts, step if parts > 0 else c.number(0, first)), first)
    return ramp, step


def builtin_max(a: int, b: int) -> int:
    """Return the larger number."""
    return a if a > b else b


def _spaced(c: Context, ramp: Value, axis: Any) -> Value:
    place = c.axis(axis, rank_of(ramp))
    return c.move(ramp, 0, place)


@backend_function
def linspace(
    c: Context, start: Any, stop: Any, num: Any, endpoint: Any, retstep: Any, dtype: Any, axis: Any
) -> Value | list[Value]:
    """Equally spaced numbers."""
    ramp, step = _ramp(c, start, stop, int(c.static(num, "num")), bool(endpoint), DataType.DOUBLE)
    if not c.out.is_floating_point():
        ramp = c.g.Floor(ramp)
    result = _spaced(c, ramp, axis)
    return [result, step] if retstep else result


@backend_function
def logspace(c: Context, start: Any, stop: Any, num: Any, endpoint: Any, base: Any, dtype: Any, axis: Any) -> Value:
    """Powers with equally spaced exponents."""
    ramp, _ = _ramp(c, start, stop, int(c.static(num, "num")), bool(endpoint), DataType.DOUBLE)
    return _spaced(c, c.g.Pow(c.t(base, DataType.DOUBLE), ramp), axis)


@backend_function
def geomspace(c: Context, start: Any, stop: Any, num: Any, endpoint: Any, dtype: Any, axis: Any) -> Value:
    """Numbers with equal ratios."""
    g = c.g
    a, b = c.t(start, DataType.DOUBLE), c.t(stop, DataType.DOUBLE)
    sign = g.Sign(a)
    ramp, _ = _ramp(c, g.Log(g.Abs(a)), g.Log(g.Abs(b)), int(c.static(num, "num")), bool(endpoint), DataType.DOUBLE)
    return _spaced(c, g.Mul(g.Exp(ramp), sign), axis)


def _grid(c: Context, rows: Any, columns: Any) -> tuple[Value, Value]:
    """Return row numbers as a column and column numbers as a row (int64)."""
    g = c.g

    def count(v: Any) -> Value:
        size = c.size(v)
        return g.const(np.arange(size, dtype=np.int64)) if isinstance(size, int) else c.range(g.Reshape(size, []))

    return g.Unsqueeze(count(rows), 1), g.Unsqueeze(count(columns), 0)


@backend_function
def eye(c: Context, N: Any, M: Any, k: Any, dtype: Any) -> Value:
    """Ones on a diagonal."""
    rows, columns = _grid(c, N, N if M is None else M)
    return c.g.Cast(c.g.Equal(columns, c.g.Add(rows, c.t(k, DataType.INT64))), c.out)


@backend_function
def identity(c: Context, n: Any, dtype: Any) -> Value:
    """Ones on the diagonal."""
    rows, columns = _grid(c, n, n)
    return c.g.Cast(c.g.Equal(columns, rows), c.out)


@backend_function
def tri(c: Context, N: Any, M: Any, k: Any, dtype: Any) -> Value:
    """Ones at and below a diagonal."""
    rows, columns = _grid(c, N, N if M is None else M)
    return c.g.Cast(c.g.LessOrEqual(columns, c.g.Add(rows, c.t(k, DataType.INT64))), c.out)


def _triangle(upper: bool) -> Callable[..., Any]:
    @backend_function
    def convert(c: Context, x: Any, k: Any) -> Value:
        g = c.g
        value = c.t(x)
        if rank_of(value) == 1:
            value = c.expand(value, [c.sizes_of(value)[0], 1])
        rows = g.Unsqueeze(c.positions(value, rank_of(value) - 2), 1)
        columns = g.Unsqueeze(c.positions(value, rank_of(value) - 1), 0)
        limit = g.Add(rows, c.t(k, DataType.INT64))
        keep = g.GreaterOrEqual(columns, limit) if upper else g.LessOrEqual(columns, limit)
        return g.Where(keep, value, c.number(0, value))

    return convert


triu = _triangle(True)
tril = _triangle(False)


# --- diagonals -------------------------------------------------------------------------------------------------------


def diagonal_of(c: Context, x: Value, offset: int, axis1: int, axis2: int) -> Value:
    """Return a diagonal of two dims as the last dim."""
    g = c.g
    rank = rank_of(x)
    kept = [k for k in range(rank) if k not in (axis1, axis2)]
    x = c.transpose(x, [*kept, axis1, axis2])
    rows, columns = c.sizes_of(x)[-2:]
    if not (isinstance(rows, int) and isinstance(columns, int)):
        length = g.Reshape(_diagonal_length(c, rows, columns, offset), [])
        run: Value = c.range(length)
    else:
        shorter = _shorter(rows + _shorter(offset, 0), columns - builtin_max(offset, 0))
        run = g.const(np.arange(builtin_max(0, shorter), dtype=np.int64))
    row = g.Add(run, np.asarray(-offset if offset < 0 else 0, np.int64))
    column = g.Add(run, np.asarray(offset if offset > 0 else 0, np.int64))
    # One position in the flattened last two dims.
    flat = g.Reshape(x, g.shape_vector([*[0] * len(kept), -1]))
    width = np.asarray(columns, np.int64) if isinstance(columns, int) else g.Reshape(columns, [])
    return g.Gather(flat, g.Add(g.Mul(row, width), column), axis=len(kept))


def _shorter(a: int, b: int) -> int:
    return a if a < b else b


def _diagonal_length(c: Context, rows: Any, columns: Any, offset: int) -> Value:
    g = c.g

    def less(v: Any, by: int) -> Value:
        size = v if isinstance(v, Value) else g.const(np.asarray([v], np.int64))
        return g.Sub(size, np.asarray([by], np.int64))

    shorter = g.Min(less(rows, -offset if offset < 0 else 0), less(columns, offset if offset > 0 else 0))
    return g.Max(shorter, np.asarray([0], np.int64))


@backend_function
def diagonal(c: Context, x: Any, offset: Any, axis1: Any, axis2: Any) -> Value:
    """A diagonal as the last dim."""
    value = c.t(x)
    rank = rank_of(value)
    return diagonal_of(c, value, int(offset), c.axis(axis1, rank), c.axis(axis2, rank))


@backend_function
def trace(c: Context, x: Any, offset: Any, axis1: Any, axis2: Any) -> Value:
    """Sum of a diagonal."""
    value = c.t(x, c.out)
    rank = rank_of(value)
    line = diagonal_of(c, value, int(offset), c.axis(axis1, rank), c.axis(axis2, rank))
    return c.g.ReduceSum(line, [rank - 2], keepdims=False)


def matrix_of_diagonal(c: Context, x: Value, k: int) -> Value:
    """Return the square matrix with a vector on a diagonal."""
    g = c.g
    size = abs(k)
    length = c.sizes_of(x)[0]
    if isinstance(length, int):
        rows = g.const(np.arange(length + size, dtype=np.int64))
    else:
        rows = c.range(g.Reshape(g.Add(length, np.asarray([size], np.int64)), []))
    # Element (i, i + k) is x[i]: the vector padded, under the mask of the diagonal.
    padded = g.Pad(x, [size if k > 0 else 0, size if k < 0 else 0]) if size else x
    mask = g.Equal(g.Unsqueeze(rows, 0), g.Add(g.Unsqueeze(rows, 1), np.asarray(k, np.int64)))
    return g.Where(mask, padded, c.number(0, x))


@backend_function
def diag(c: Context, x: Any, k: Any) -> Value:
    """The matrix of a diagonal, or the diagonal of a matrix."""
    value = c.t(x)
    if rank_of(value) == 1:
        return matrix_of_diagonal(c, value, int(k))
    return diagonal_of(c, value, int(k), 0, 1)


@backend_function
def diagflat(c: Context, x: Any, k: Any) -> Value:
    """The matrix of a diagonal."""
    return matrix_of_diagonal(c, c.flat(c.t(x)), int(k))


@backend_function
def vander(c: Context, x: Any, N: Any, increasing: Any) -> Value:
    """Powers of a vector as columns."""
    g = c.g
    value = c.t(x)
    wide = DataType.DOUBLE if dtype_of(value) == DataType.DOUBLE else DataType.FLOAT
    count = c.static_dim(value, 0, "for vander without N") if N is None else int(N)
    powers = np.arange(count) if increasing else np.arange(count)[::-1]
    return g.Pow(g.Unsqueeze(c.t(value, wide), 1), g.const(powers.astype(wide.numpy())))


# --- windows of a computed length ------------------------------------------------------------------------------------


def _window(formula: Callable[[Context, Value, Value], Value]) -> Callable[..., Any]:
    @backend_function
    def convert(c: Context, x: Any, *more: Any) -> Value:
        g = c.g
        length = c.t(x, DataType.INT64)
        length = length if rank_of(length) == 0 else g.Reshape(length, [])
        k = g.Cast(c.range(length), DataType.DOUBLE)
        last = g.Cast(g.Max(g.Sub(length, np.asarray(1, np.int64)), np.asarray(1, np.int64)), DataType.DOUBLE)
        single = g.Equal(length, np.asarray(1, np.int64))
        return g.Where(single, np.asarray(1.0), formula(c, k, last))

    return convert


def _cosine_sum(*weights: float) -> Callable[[Context, Value, Value], Value]:
    def formula(c: Context, k: Value, last: Value) -> Value:
        g = c.g
        turn = g.Div(g.Mul(k, np.asarray(2 * math.pi)), last)
        result: Value = g.Mul(g.Cos(turn), np.asarray(weights[1]))
        for order, weight in enumerate(weights[2:], 2):
            result = g.Add(result, g.Mul(g.Cos(g.Mul(turn, np.asarray(float(order)))), np.asarray(weight)))
        return g.Add(result, np.asarray(weights[0]))

    return formula


def _triangular(c: Context, k: Value, last: Value) -> Value:
    g = c.g
    return g.Sub(np.asarray(1.0), g.Abs(g.Sub(g.Div(g.Mul(k, np.asarray(2.0)), last), np.asarray(1.0))))


bartlett = _window(_triangular)
blackman = _window(_cosine_sum(0.42, -0.5, 0.08))
hamming = _window(_cosine_sum(0.54, -0.46))
hanning = _window(_cosine_sum(0.5, -0.5))


@backend_function
def array(c: Context, x: Any, dtype: Any) -> Value:
    """A tensor of what is given."""
    return c.t(x, c.out)


@backend_function
def size(c: Context, x: Any) -> Value:
    """Number of elements."""
    return c.g.Size(c.t(x))


@backend_function
def ndim(c: Context, x: Any) -> Value:
    """Number of dims."""
    return c.g.const(np.asarray(len(dims_of(c.t(x).shape) or ()), np.int64))
