"""Reading images at computed positions: `map_coordinates`, affine and perspective transforms."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from any2onnx.converters.keras.backend_common import Context, backend_function, keras_backend
from any2onnx.converters.keras.backend_convolution import _layout
from any2onnx.converters.keras.backend_decompositions import eliminated
from any2onnx.graph.types import DataType, Value, dtype_of, rank_of


def _int(value: int) -> Any:
    return np.asarray(value, np.int64)


def _inside(c: Context, index: Value, size: Value, mode: str) -> Value:
    """Return positions within the image for positions anywhere."""
    g = c.g
    last = g.Sub(size, _int(1))
    if mode in ("constant", "nearest"):
        return g.Min(g.Max(index, _int(0)), last)
    if mode == "wrap":
        return g.Mod(index, size)
    if mode == "reflect":
        # d c b a | a b c d | d c b a
        period = g.Mul(size, _int(2))
        place = g.Mod(index, period)
        return g.Min(place, g.Sub(g.Sub(period, _int(1)), place))
    # mirror: d c b | a b c d | c b a
    period = g.Max(g.Mul(last, _int(2)), _int(1))
    place = g.Mod(index, period)
    return g.Min(place, g.Sub(period, place))


def sampled(
    c: Context,
    x: Value,
    lead: Sequence[Value],
    places: Sequence[Value],
    sizes: Sequence[Value],
    order: int,
    mode: str,
    fill: Any,
) -> Value:
    """Interpolate between the elements around positions.

    Args:
        c: The call.
        x: Image, its first dims indexed by `lead`, the next ones by `places`.
        lead: int64 positions of the first dims, of the shape of a place.
        places: Positions, in the dtype of the computation.
        sizes: Sizes of the dims of the places (int64 scalars).
        order: 0 for the nearest element, 1 for linear interpolation.
        mode: What is beyond the border.
        fill: Value beyond the border for "constant".
    """
    g = c.g
    if mode in ("wrap", "mirror", "reflect") and keras_backend() == "tensorflow":
        raise c.refuse(f"fill_mode={mode!r} means something else under TensorFlow", "'constant' or 'nearest'")
    kind = dtype_of(places[0])
    value = g.Cast(x, kind)
    trailing = rank_of(x) - len(lead) - len(places)
    corners: list[list[tuple[Value, Value | None]]] = []
    for place in places:
        if order == 0:
            corners.append([(g.Floor(g.Add(place, c.number(0.5, place))), None)])
            continue
        low = g.Floor(place)
        share = g.Sub(place, low)
        one = c.number(1, place)
        corners.append([(low, g.Sub(one, share)), (g.Add(low, one), share)])
    total: Value | None = None
    combination: tuple[tuple[Value, Value | None], ...]
    for combination in itertools.product(*corners):
        index = list(lead)
        weight: Value | None = None
        valid: Value | None = None
        for (position, part_share), size in zip(combination, sizes, strict=True):
            whole = g.Cast(position, DataType.INT64)
            index.append(_inside(c, whole, size, mode))
            weight = part_share if weight is None or part_share is None else g.Mul(weight, part_share)
            within = g.And(g.GreaterOrEqual(whole, _int(0)), g.Less(whole, size))
            valid = within if valid is None else g.And(valid, within)
        rank = rank_of(index[-1])
        part = g.GatherND(value, g.Concat(*[g.Unsqueeze(i, [rank]) for i in index], axis=rank))
        more = list(range(rank, rank + trailing))
        assert valid is not None
        if mode == "constant":
            part = g.Where(g.Unsqueeze(valid, more) if more else valid, part, c.t(fill, kind))
        if weight is not None:
            part = g.Mul(part, g.Unsqueeze(weight, more) if more else weight)
        total = part if total is None else g.Add(total, part)
    assert total is not None
    return total


def _size(c: Context, x: Value, axis: int) -> Value:
    return c.g.Reshape(c.g.dim(x, axis), [])


@backend_function
def map_coordinates(c: Context, inputs: Any, coordinates: Any, order: Any, fill_mode: Any, fill_value: Any) -> Value:
    """Elements at positions, one row of coordinates per dim."""
    g = c.g
    value = c.t(inputs)
    rank = rank_of(value)
    rows = c.t(coordinates, DataType.DOUBLE if dtype_of(value) == DataType.DOUBLE else DataType.FLOAT)
    places = [g.Squeeze(v, [0]) for v in g.Split(rows, [1] * rank, axis=0)] if rank > 1 else [g.Squeeze(rows, [0])]
    sizes = [_size(c, value, k) for k in range(rank)]
    return sampled(c, value, [], places, sizes, int(order), str(fill_mode), fill_value)


def _batched(c: Context, images: Any, data_format: Any) -> tuple[Value, bool, str]:
    """Return images as [batch, height, width, channels], and whether the batch was added."""
    g = c.g
    value = c.t(images)
    single = rank_of(value) == 3
    if single:
        value = g.Unsqueeze(value, [0])
    layout = _layout(data_format)
    return (value if layout == "channels_last" else g.Transpose(value, perm=[0, 2, 3, 1])), single, layout


def _as_given(c: Context, x: Value, single: bool, layout: str) -> Value:
    result = x if layout == "channels_last" else c.g.Transpose(x, perm=[0, 3, 1, 2])
    return c.g.Squeeze(result, [0]) if single else result


def _grid(c: Context, x: Value) -> tuple[Value, Value]:
    """Return the numbers of columns [1, 1, width] and rows [1, height, 1], as floats."""
    g = c.g
    kind = dtype_of(x)
    columns = g.Cast(g.Unsqueeze(c.positions(x, 2), [0, 1]), kind)
    return columns, g.Cast(g.Unsqueeze(c.positions(x, 1), [0, 2]), kind)


def _read(c: Context, images: Value, across: Value, down: Value, order: int, mode: str, fill: Any) -> Value:
    """Return the pixels at positions [batch, height, width]."""
    g = c.g
    shape = g.Shape(g.Add(across, down))
    pictures = g.Expand(g.Unsqueeze(c.positions(images, 0), [1, 2]), shape)
    places = [g.Expand(down, shape), g.Expand(across, shape)]
    sizes = [_size(c, images, 1), _size(c, images, 2)]
    return sampled(c, images, [pictures], places, sizes, order, mode, fill)


def _coefficients(c: Context, table: Value, count: int) -> list[Value]:
    """Return the columns of [batch, count] as [batch, 1, 1] each."""
    g = c.g
    return [g.Unsqueeze(v, [2]) for v in g.Split(table, [1] * count, axis=1)]


@backend_function
def affine_transform(
    c: Context, images: Any, transform: Any, interpolation: Any, fill_mode: Any, fill_value: Any, data_format: Any
) -> Value:
    """Images read at a0·x + a1·y + a2, b0·x + b1·y + b2."""
    g = c.g
    value, single, layout = _batched(c, images, data_format)
    wide = value if dtype_of(value) == DataType.DOUBLE else g.Cast(value, DataType.FLOAT)
    table = c.t(transform, dtype_of(wide))
    table = g.Unsqueeze(table, [0]) if rank_of(table) == 1 else table
    a0, a1, a2, b0, b1, b2, _, _ = _coefficients(c, table, 8)
    x, y = _grid(c, wide)
    across = g.Add(g.Add(g.Mul(a0, x), g.Mul(a1, y)), a2)
    down = g.Add(g.Add(g.Mul(b0, x), g.Mul(b1, y)), b2)
    order = {"nearest": 0, "bilinear": 1}[str(interpolation)]
    return _as_given(c, _read(c, wide, across, down, order, str(fill_mode), fill_value), single, layout)


def homography(c: Context, start: Value, end: Value) -> Value:
    """Return the eight numbers [batch, 8] of the projection that takes the end points to the start points."""
    g = c.g

    def columns(points: Value) -> tuple[Value, Value]:
        x, y = g.Split(points, [1, 1], axis=2)
        return x, y

    (to_x, to_y), (x, y) = columns(start), columns(end)
    one, zero = g.Add(g.Mul(x, np.asarray(0.0)), np.asarray(1.0)), g.Mul(x, np.asarray(0.0))
    first = g.Concat(x, y, one, zero, zero, zero, g.Neg(g.Mul(to_x, x)), g.Neg(g.Mul(to_x, y)), axis=2)
    second = g.Concat(zero, zero, zero, x, y, one, g.Neg(g.Mul(to_y, x)), g.Neg(g.Mul(to_y, y)), axis=2)
    return g.Squeeze(eliminated(c, g.Concat(first, second, axis=1), g.Concat(to_x, to_y, axis=1), 8), [2])


@backend_function
def perspective_transform(
    c: Context, images: Any, start_points: Any, end_points: Any, interpolation: Any, fill_value: Any, data_format: Any
) -> Value:
    """Images projected so that the start points come to the end points."""
    g = c.g
    value, single, layout = _batched(c, images, data_format)
    wide = value if dtype_of(value) == DataType.DOUBLE else g.Cast(value, DataType.FLOAT)

    def points(x: Any) -> Value:
        table = c.t(x, DataType.DOUBLE)
        return g.Unsqueeze(table, [0]) if rank_of(table) == 2 else table

    table = g.Cast(homography(c, points(start_points), points(end_points)), dtype_of(wide))
    a0, a1, a2, a3, a4, a5, a6, a7 = _coefficients(c, table, 8)
    x, y = _grid(c, wide)
    below = g.Add(g.Add(g.Mul(a6, x), g.Mul(a7, y)), c.number(1, wide))
    across = g.Div(g.Add(g.Add(g.Mul(a0, x), g.Mul(a1, y)), a2), below)
    down = g.Div(g.Add(g.Add(g.Mul(a3, x), g.Mul(a4, y)), a5), below)
    # One set of points serves a whole batch.
    count = g.Concat(g.dim(wide, 0), np.asarray([1, 1], np.int64), axis=0)
    across, down = g.Expand(across, count), g.Expand(down, count)
    order = {"nearest": 0, "bilinear": 1}[str(interpolation)]
    return _as_given(c, _read(c, wide, across, down, order, "constant", fill_value), single, layout)
