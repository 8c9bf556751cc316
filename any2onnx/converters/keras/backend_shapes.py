"""Shape manipulation and creation functions of `keras.src.backend.numpy`."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from any2onnx.converters.keras.backend_common import Context, backend_function
from any2onnx.converters.keras.tracing_replay import Extent
from any2onnx.graph.types import DataType, Value, dims_of, dtype_of, rank_of, shape_of

_END = int(np.iinfo(np.int64).max)


def reshaped(c: Context, x: Value, shape: Sequence[Any] | Value) -> Value:
    """Reshape; sizes of dims that stay where they are need no Shape node."""
    g = c.g
    if isinstance(shape, Value):
        return g.Reshape(x, c.vector(shape))
    wanted = [c.size(v) for v in shape]
    numbers = [v for v in wanted if isinstance(v, int)]
    if len(numbers) == len(wanted):
        return g.Reshape(x, numbers, allowzero=0 in numbers and g.opsets.main >= 14)
    have = shape_of(x)
    # A leading dim that is the input's own: 0 keeps it.
    contents = [g.shape_values.contents(v) if isinstance(v, Value) else None for v in wanted]
    for k, known in enumerate(contents):
        if known and k < len(have) and isinstance(known[0], str) and known[0] == have[k] and 0 not in wanted:
            wanted[k] = 0
    if sum(isinstance(v, Value) for v in wanted) == 1 and -1 not in wanted:
        # The only unknown size follows from the others.
        wanted = [-1 if isinstance(v, Value) else v for v in wanted]
    return g.Reshape(x, g.shape_vector(wanted))


@backend_function
def reshape(c: Context, x: Any, newshape: Any) -> Value:
    """Another shape for the same elements."""
    value = c.t(x)
    shape = newshape if isinstance(newshape, list | tuple | Value) else [newshape]
    return reshaped(c, value, shape)


@backend_function
def ravel(c: Context, x: Any) -> Value:
    """All elements as a vector."""
    return c.flat(c.t(x))


@backend_function
def transpose(c: Context, x: Any, axes: Any) -> Value:
    """Permute dims."""
    value = c.t(x)
    rank = rank_of(value)
    return c.transpose(value, list(range(rank))[::-1] if axes is None else c.axes(axes, rank))


@backend_function
def swapaxes(c: Context, x: Any, axis1: Any, axis2: Any) -> Value:
    """Swap two dims."""
    value = c.t(x)
    order = list(range(rank_of(value)))
    a, b = c.axis(axis1, len(order)), c.axis(axis2, len(order))
    order[a], order[b] = order[b], order[a]
    return c.transpose(value, order)


@backend_function
def moveaxis(c: Context, x: Any, source: Any, destination: Any) -> Value:
    """Move dims."""
    value = c.t(x)
    rank = rank_of(value)
    sources, destinations = c.axes(source, rank), c.axes(destination, rank)
    order = [k for k in range(rank) if k not in sources]
    for where, what in sorted(zip(destinations, sources, strict=True)):
        order.insert(where, what)
    return c.transpose(value, order)


@backend_function
def expand_dims(c: Context, x: Any, axis: Any) -> Value:
    """Insert dims of size 1."""
    value = c.t(x)
    axes = c.ints(axis, "axis")
    return c.g.Unsqueeze(value, [a % (rank_of(value) + len(axes)) for a in axes])


@backend_function
def squeeze(c: Context, x: Any, axis: Any) -> Value:
    """Remove dims of size 1."""
    value = c.t(x)
    if axis is not None:
        axes = c.axes(axis, rank_of(value))
        return c.g.Squeeze(value, axes) if axes else value
    # The promise has one dim less for each that is 1.
    ones = [k for k, d in enumerate(shape_of(value)) if d == 1]
    if rank_of(value) - len(ones) != len(c.dims):
        raise c.refuse("squeeze without axis of a tensor with dynamic dims", "axis")
    return c.g.Squeeze(value, ones) if ones else value


def _sequence(c: Context, xs: Any) -> list[Value]:
    if isinstance(xs, Value):
        count = c.static_dim(xs, 0, "of the tensors to be joined")
        return [c.g.Squeeze(v, 0) for v in c.g.Split(xs, [1] * count, axis=0)] if count > 1 else [c.g.Squeeze(xs, 0)]
    return c.promoted(*xs)


@backend_function
def concatenate(c: Context, xs: Any, axis: Any) -> Value:
    """Join along a dim."""
    values = [c.g.Cast(v, c.out) for v in _sequence(c, xs)]
    if axis is None:
        values, axis = [c.flat(v) for v in values], 0
    return c.g.Concat(*values, axis=c.axis(axis, rank_of(values[0])))


@backend_function
def stack(c: Context, x: Any, axis: Any) -> Value:
    """Join along a new dim."""
    values = _sequence(c, x)
    place = c.axis(axis, rank_of(values[0]) + 1)
    return c.g.Concat(*[c.g.Unsqueeze(c.g.Cast(v, c.out), place) for v in values], axis=place)


@backend_function
def append(c: Context, x1: Any, x2: Any, axis: Any) -> Value:
    """Join two."""
    values = c.as_out(x1, x2)
    if axis is None:
        values, axis = [c.flat(v) for v in values], 0
    return c.g.Concat(*values, axis=c.axis(axis, rank_of(values[0])))


def _at_least(c: Context, x: Value, rank: int) -> Value:
    """Add dims as numpy's atleast_2d (in front) and atleast_3d (in front and behind) do."""
    have = rank_of(x)
    if have >= rank:
        return x
    if rank == 3 and have == 2:
        return c.g.Unsqueeze(x, [2])
    return c.g.Unsqueeze(x, [0, 2] if rank == 3 and have == 1 else list(range(rank - have)))


@backend_function
def hstack(c: Context, xs: Any) -> Value:
    """Join along the second dim (vectors: the first)."""
    values = [_at_least(c, v, 1) for v in _sequence(c, xs)]
    return c.g.Concat(*[c.g.Cast(v, c.out) for v in values], axis=0 if rank_of(values[0]) == 1 else 1)


@backend_function
def vstack(c: Context, xs: Any) -> Value:
    """Join along the first dim."""
    return c.g.Concat(*[c.g.Cast(_at_least(c, v, 2), c.out) for v in _sequence(c, xs)], axis=0)


@backend_function
def dstack(c: Context, xs: Any) -> Value:
    """Join along the third dim."""
    return c.g.Concat(*[c.g.Cast(_at_least(c, v, 3), c.out) for v in _sequence(c, xs)], axis=2)


def split_parts(c: Context, x: Value, sections: Any, axis: int, *, uneven: bool) -> list[Value]:
    """Split into a number of parts, or before given positions."""
    g = c.g
    size = shape_of(x)[axis]
    if isinstance(sections, int) or (isinstance(sections, Value) and rank_of(sections) == 0):
        number = int(np.asarray(c.static(sections, "indices_or_sections")))
        if number == 1:
            return [x]
        if not isinstance(size, int):
            if uneven:
                raise c.refuse("array_split of a dynamic dim", "a static size")
            part = g.Div(g.dim(x, axis), np.asarray([number], np.int64))
            return list(g.Split(x, g.Expand(part, [number]), axis=axis, num_outputs=number))
        small, more = divmod(size, number)
        return list(g.Split(x, [small + 1] * more + [small] * (number - more), axis=axis))
    places = c.ints(sections, "indices_or_sections")
    starts, ends = [0, *places], [*places, _END]
    return [g.Slice(x, [a], [b], [axis]) for a, b in zip(starts, ends, strict=True)]


def _splitter(axis: int | None, *, uneven: bool = False) -> Callable[..., Any]:
    @backend_function
    def convert(c: Context, x: Any, indices_or_sections: Any, given: Any = 0) -> list[Value]:
        value = c.t(x)
        place = c.axis(given if axis is None else axis, rank_of(value))
        if axis == 1 and rank_of(value) == 1:
            place = 0
        return split_parts(c, value, indices_or_sections, place, uneven=uneven)

    return convert


split = _splitter(None)
array_split = _splitter(None, uneven=True)
hsplit = _splitter(1)
vsplit = _splitter(0)
dsplit = _splitter(2)


@backend_function
def tile(c: Context, x: Any, repeats: Any) -> Value:
    """Repeat the whole along dims."""
    g = c.g
    value = c.t(x)
    counts = c.vector(repeats)
    length = shape_of(counts)[0]
    if not isinstance(length, int):
        raise c.refuse("the number of repeats is dynamic")
    rank = rank_of(value)
    if length > rank:
        value = g.Unsqueeze(value, list(range(length - rank)))
    elif length < rank:
        counts = g.Concat(np.ones(rank - length, np.int64), counts, axis=0)
    if dtype_of(value) == DataType.BOOL:
        return g.Cast(g.Tile(g.Cast(value, DataType.UINT8), counts), DataType.BOOL)
    return g.Tile(value, counts)


@backend_function
def repeat(c: Context, x: Any, repeats: Any, axis: Any) -> Value:
    """Repeat each element along a dim."""
    g = c.g
    value = c.t(x)
    if axis is None:
        value, axis = c.flat(value), 0
    place = c.axis(axis, rank_of(value))
    if isinstance(repeats, Value | list | tuple | np.ndarray):
        counts = np.atleast_1d(np.asarray(c.static(repeats, "repeats"), np.int64))
        if counts.size != 1:
            index = np.repeat(np.arange(counts.size), counts)
            return g.Gather(value, g.const(index.astype(np.int64)), axis=place)
        repeats = int(counts[0])
    count = c.size(repeats)
    sizes = c.sizes_of(value)
    wide = g.Unsqueeze(value, [place + 1])
    wide = c.expand(wide, [*sizes[: place + 1], count, *sizes[place + 1 :]])
    merged = [0 if k < place else -1 if k == place else sizes[k] for k in range(rank_of(value))]
    return g.Reshape(wide, g.shape_vector(merged))


@backend_function
def broadcast_to(c: Context, x: Any, shape: Any) -> Value:
    """Repeat along dims of size 1."""
    return c.expand(c.t(x), c.vector(shape))


def reverse(c: Context, x: Value, axes: Sequence[int]) -> Value:
    """Reverse dims."""
    if not axes:
        return x
    count = len(axes)
    return c.g.Slice(x, [-1] * count, [-_END - 1] * count, list(axes), [-1] * count)


@backend_function
def flip(c: Context, x: Any, axis: Any) -> Value:
    """Reverse dims."""
    value = c.t(x)
    return reverse(c, value, c.axes(axis, rank_of(value)))


@backend_function
def flipud(c: Context, x: Any) -> Value:
    """Reverse the first dim."""
    return reverse(c, c.t(x), [0])


@backend_function
def fliplr(c: Context, x: Any) -> Value:
    """Reverse the second dim."""
    return reverse(c, c.t(x), [1])


@backend_function
def rot90(c: Context, array: Any, k: Any, axes: Any) -> Value:
    """Turn by quarters in the plane of two dims."""
    value = c.t(array)
    first, second = c.axes(axes, rank_of(value))
    order = list(range(rank_of(value)))
    order[first], order[second] = second, first
    turns = int(c.static(k, "k")) % 4
    if turns == 0:
        return value
    if turns == 2:
        return reverse(c, value, [first, second])
    if turns == 1:
        return c.transpose(reverse(c, value, [second]), order)
    return reverse(c, c.transpose(value, order), [second])


@backend_function
def roll(c: Context, x: Any, shift: Any, axis: Any) -> Value:
    """Shift along dims; what leaves at one end enters at the other."""
    g = c.g
    value = c.t(x)
    if axis is None:
        return g.Reshape(_rolled(c, c.flat(value), shift, 0), g.Shape(value))
    axes = c.axes(axis, rank_of(value))
    if isinstance(shift, Value) and rank_of(shift):
        shift = c.ints(shift, "shift")
    shifts = list(shift) if isinstance(shift, list | tuple) else [shift]
    shifts = shifts * len(axes) if len(shifts) == 1 else shifts
    for place, amount in zip(axes, shifts, strict=True):
        value = _rolled(c, value, amount, place)
    return value


def _rolled(c: Context, x: Value, shift: Any, axis: int) -> Value:
    g = c.g
    size, amount = c.sizes_of(x)[axis], c.size(shift)
    if isinstance(size, int) and isinstance(amount, int):
        if size == 0 or amount % size == 0:
            return x
        cut: Any = size - amount % size
    else:
        length = size if isinstance(size, Value) else np.asarray([size], np.int64)
        cut = g.Sub(length, g.Mod(amount if isinstance(amount, Value) else np.asarray([amount], np.int64), length))
    return g.Concat(g.Slice(x, cut, [_END], [axis]), g.Slice(x, [0], cut, [axis]), axis=axis)


_PAD_MODES = {"constant": "constant", "reflect": "reflect", "edge": "edge", "wrap": "wrap"}


@backend_function
def pad(c: Context, x: Any, pad_width: Any, mode: Any, constant_values: Any) -> Value:
    """Pad dims."""
    g = c.g
    value = c.t(x)
    rank = rank_of(value)
    pairs = _pad_pairs(c, pad_width, rank)
    sizes = [c.size(pair[0]) for pair in pairs] + [c.size(pair[1]) for pair in pairs]
    pads = g.shape_vector(sizes)
    if mode == "constant":
        fill = 0 if constant_values is None else constant_values
        return g.Pad(value, pads, c.t(fill, dtype_of(value)))
    if mode == "symmetric":
        return _symmetric(c, value, pairs)
    if mode not in _PAD_MODES:
        raise c.refuse(f"mode={mode!r} has no form in ONNX", f"one of {[*_PAD_MODES, 'symmetric']}")
    if mode == "wrap" and g.opsets.main < 19:
        return _symmetric(c, value, pairs, wrap=True)
    return g.Pad(value, pads, mode=mode)


def _pad_pairs(c: Context, pad_width: Any, rank: int) -> list[tuple[Any, Any]]:
    if isinstance(pad_width, Value):
        pad_width = c.static(pad_width, "pad_width").tolist()
    if not isinstance(pad_width, list | tuple):
        return [(pad_width, pad_width)] * rank
    if not any(isinstance(v, list | tuple) for v in pad_width):
        before, after = (pad_width * 2)[:2]
        return [(before, after)] * rank
    pairs = [tuple(v if len(v) == 2 else v * 2) for v in pad_width]
    return pairs * rank if len(pairs) == 1 else pairs


def _symmetric(c: Context, x: Value, pairs: Sequence[tuple[Any, Any]], *, wrap: bool = False) -> Value:
    """Mirror with the border repeated (or go round), by picking positions."""
    for axis, (before, after) in enumerate(pairs):
        low, high = int(c.static(before, "pad_width")), int(c.static(after, "pad_width"))
        if low or high:
            size = c.static_dim(x, axis, f"for mode={'wrap' if wrap else 'symmetric'!r}")
            index = np.pad(np.arange(size, dtype=np.int64), (low, high), mode="wrap" if wrap else "symmetric")
            x = c.g.Gather(x, c.g.const(index), axis=axis)
    return x


@backend_function
def meshgrid(c: Context, xs: Any, indexing: Any = "xy") -> list[Value]:
    """Grids of coordinates."""
    g = c.g
    values = [c.flat(v) if rank_of(v) else g.Unsqueeze(v, 0) for v in (c.t(x) for x in xs)]
    count = len(values)
    order = list(range(count))
    if indexing == "xy" and count > 1:
        order[0], order[1] = 1, 0
    lengths: list[Any] = [0] * count
    for k, place in enumerate(order):
        lengths[place] = c.sizes_of(values[k])[0]
    return [
        c.expand(g.Reshape(v, [-1 if j == place else 1 for j in range(count)]), lengths)
        for v, place in zip(values, order, strict=True)
    ]


# --- creation --------------------------------------------------------------------------------------------------------


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
