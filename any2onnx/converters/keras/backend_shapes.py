"""Shape manipulation and creation functions of `keras.src.backend.numpy`."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from any2onnx.converters.keras.backend_common import Context, backend_function, keras_backend
from any2onnx.graph.types import DataType, Value, dtype_of, rank_of, shape_of

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
    elif -1 in wanted and (number := _remaining(have, wanted, contents)) is not None:
        # onnxruntime refuses -1 beside a dim of 0, as an empty batch has.
        wanted[wanted.index(-1)] = number
    return g.Reshape(x, g.shape_vector(wanted))


def _remaining(have: Sequence[Any], wanted: Sequence[Any], contents: Sequence[Any]) -> int | None:
    """Return the number behind -1, where all dims that are no numbers occur on both sides."""
    rest, others = list(have), 1
    for k, (size, known) in enumerate(zip(wanted, contents, strict=True)):
        dim = have[k] if size == 0 and isinstance(size, int) else known[0] if known else size
        if isinstance(dim, int):
            others *= max(dim, 1)
        elif isinstance(dim, str) and dim in rest:
            rest.remove(dim)
        else:
            return None
    total = math.prod(rest) if all(isinstance(d, int) for d in rest) else 0
    return total // others if total and total % others == 0 else None


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
    """Join along the first dim. Vectors become rows, but under TensorFlow, which joins them to one."""
    rows = 1 if keras_backend() == "tensorflow" else 2
    return c.g.Concat(*[c.g.Cast(_at_least(c, v, rows), c.out) for v in _sequence(c, xs)], axis=0)


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
    merged = [0 if k < place else _times(c, sizes[k], count) if k == place else sizes[k] for k in range(rank_of(value))]
    return g.Reshape(wide, g.shape_vector(merged))


def _times(c: Context, size: int | Value, count: int | Value) -> int | Value:
    """Return a product of sizes."""
    if isinstance(size, int) and isinstance(count, int):
        return size * count
    a, b = (np.asarray([v], np.int64) if isinstance(v, int) else v for v in (size, count))
    return c.g.Mul(a, b)


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
    if keras_backend() == "torch":
        if mode == "symmetric":
            raise c.refuse("mode='symmetric' repeats the edge under PyTorch", "another mode")
        if isinstance(pad_width, list | tuple) and len(pad_width) < rank:
            raise c.refuse("one pad_width for all dims pads the last one only under PyTorch", "a pair for each dim")
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
