"""Sorting, quantiles, searching and counting of `keras.src.backend.numpy`."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from any2onnx.converters.keras.backend_common import Context, backend_function, keras_backend
from any2onnx.graph.types import DataType, Value, dims_of, dtype_of, rank_of


def ordered(c: Context, x: Value, axis: int, *, largest: bool = False) -> tuple[Value, Value]:
    """Return elements in order along an axis, and their int64 positions; equal ones keep their order."""
    g = c.g
    size = c.sizes_of(x)[axis]
    return g.TopK(x, size, axis=axis, largest=largest)


@backend_function
def sort(c: Context, x: Any, axis: Any) -> Value:
    """Elements in ascending order."""
    value = c.t(x)
    wide = c.g.Cast(value, DataType.INT32) if dtype_of(value) == DataType.BOOL else value
    if axis is None:
        wide, axis = c.flat(wide), 0
    return ordered(c, wide, c.axis(axis, rank_of(wide)))[0]


@backend_function
def argsort(c: Context, x: Any, axis: Any) -> Value:
    """Positions in ascending order of the elements."""
    value = c.t(x)
    wide = c.g.Cast(value, DataType.INT32) if dtype_of(value) == DataType.BOOL else value
    if axis is None:
        wide, axis = c.flat(wide), 0
    return ordered(c, wide, c.axis(axis, rank_of(wide)))[1]


@backend_function
def argpartition(c: Context, x: Any, kth: Any, axis: Any) -> Value:
    """Positions, the k smallest first: here all in order, which is one of the partitions."""
    backend = keras_backend()
    if backend in ("tensorflow", "torch"):
        # It cuts floats to int32 there, and what it returns for matrices is no partition.
        raise c.refuse(f"argpartition is not what it says under {backend}", "keras.ops.argsort or keras.ops.top_k")
    value = c.t(x)
    return ordered(c, value, c.axis(axis, rank_of(value)))[1]


def quantiles(c: Context, x: Any, q: Any, axis: Any, method: str, keepdims: Any, *, skip_nan: bool) -> Value:
    """Return the quantiles of the elements along axes; a vector of `q` adds a first dim."""
    g = c.g
    value = c.t(x)
    dtype = DataType.DOUBLE if dtype_of(value) == DataType.DOUBLE else DataType.FLOAT
    value = c.t(value, dtype)
    rank = rank_of(value)
    axes = c.axes(axis, rank)
    kept = [k for k in range(rank) if k not in axes]
    sizes = c.sizes_of(value)
    # One last dim with all that is ordered.
    value = c.transpose(value, kept + axes)
    if len(axes) != 1:
        value = g.Reshape(value, g.shape_vector([*(0 for _ in kept), -1])) if axes else g.Unsqueeze(value, [0])
    nans = g.IsNaN(value)
    filled = g.Where(nans, c.number(math.inf, value), value)
    last = len(kept)
    ascending, _ = ordered(c, filled, last)
    length = g.dim(filled, last)
    if skip_nan:
        count = g.ReduceSum(g.Cast(g.Not(nans), DataType.INT64), [last], keepdims=True)
    else:
        count = g.Reshape(length, [1] * (last + 1))
    points = c.t(q, DataType.DOUBLE)
    scalar = rank_of(points) == 0
    points = c.flat(points) if not scalar else g.Reshape(points, [1])
    position = g.Mul(points, g.Cast(g.Sub(count, np.asarray(1, np.int64)), DataType.DOUBLE))
    result = _between(c, ascending, position, last, method, kept)
    if not skip_nan:
        some = g.Cast(g.ReduceMax(g.Cast(nans, DataType.INT32), [last], keepdims=True), DataType.BOOL)
        result = g.Where(some, c.number(math.nan, result), result)
    else:
        none = g.Equal(count, np.asarray(0, np.int64))
        result = g.Where(none, c.number(math.nan, result), result)
    # The dim of the quantiles goes first, or away.
    result = c.move(result, last, 0)
    if keepdims:
        shape: list[Any] = [1 if k in axes else sizes[k] for k in range(rank)]
        result = g.Reshape(result, g.shape_vector([-1, *shape]))
    return g.Squeeze(result, [0]) if scalar else result


def _between(c: Context, ascending: Value, position: Value, axis: int, method: str, kept: list[int]) -> Value:
    """Interpolate between neighbours at fractional positions (last dim of both)."""
    g = c.g
    low, high = g.Floor(position), g.Ceil(position)
    if method == "nearest":
        low = high = g.Round(position)
    elif method == "lower":
        high = low
    elif method == "higher":
        low = high

    def at(where: Value) -> Value:
        index = g.Max(g.Cast(where, DataType.INT64), np.asarray(0, np.int64))
        shape = g.shape_vector([*[g.dim(ascending, k) for k in range(axis)], 1])
        return g.GatherElements(ascending, g.Expand(index, shape), axis=axis)

    first, second = at(low), at(high)
    if method in ("nearest", "lower", "higher"):
        return first
    if method == "midpoint":
        return g.Mul(g.Add(first, second), c.number(0.5, first))
    if method != "linear":
        raise c.refuse(f"method={method!r} is unknown")
    weight = g.Cast(g.Sub(position, low), dtype_of(first))
    # As numpy does it: from the nearer neighbour, which decides what becomes of infinities.
    same = g.Equal(first, second)
    gap = g.Where(same, c.number(0, first), g.Sub(second, first))
    one = c.number(1, weight)
    near_second = g.Sub(second, g.Mul(gap, g.Sub(one, weight)))
    near_first = g.Add(first, g.Mul(gap, weight))
    between = g.Where(g.GreaterOrEqual(weight, c.number(0.5, weight)), near_second, near_first)
    # On a neighbour itself the other one does not count: 0 times infinity is no number.
    return g.Where(g.Or(same, g.Equal(weight, c.number(0, weight))), first, between)


@backend_function
def quantile(c: Context, x: Any, q: Any, axis: Any, method: Any, keepdims: Any) -> Value:
    """Quantiles."""
    return quantiles(c, x, q, axis, method, keepdims, skip_nan=False)


@backend_function
def nanquantile(c: Context, x: Any, q: Any, axis: Any, method: Any, keepdims: Any) -> Value:
    """Quantiles without NaN."""
    return quantiles(c, x, q, axis, method, keepdims, skip_nan=True)


def _hundredth(c: Context, q: Any) -> Value:
    return c.g.Div(c.t(q, DataType.DOUBLE), np.asarray(100.0))


@backend_function
def percentile(c: Context, x: Any, q: Any, axis: Any, method: Any, keepdims: Any) -> Value:
    """Percentiles."""
    return quantiles(c, x, _hundredth(c, q), axis, method, keepdims, skip_nan=False)


@backend_function
def nanpercentile(c: Context, x: Any, q: Any, axis: Any, method: Any, keepdims: Any) -> Value:
    """Percentiles without NaN."""
    return quantiles(c, x, _hundredth(c, q), axis, method, keepdims, skip_nan=True)


@backend_function
def median(c: Context, x: Any, axis: Any, keepdims: Any) -> Value:
    """Median."""
    return quantiles(c, x, 0.5, axis, "linear", keepdims, skip_nan=False)


@backend_function
def nanmedian(c: Context, x: Any, axis: Any, keepdims: Any) -> Value:
    """Median without NaN."""
    return quantiles(c, x, 0.5, axis, "linear", keepdims, skip_nan=True)


# --- searching -------------------------------------------------------------------------------------------------------


def positions_in(c: Context, sequence: Value, values: Value, *, right: bool) -> Value:
    """Return how many elements of a vector lie before each value: below it, or not above it for `right`."""
    g = c.g
    column = g.Unsqueeze(values, [rank_of(values)])
    before = g.LessOrEqual(sequence, column) if right else g.Less(sequence, column)
    return g.ReduceSum(g.Cast(before, DataType.INT64), [rank_of(values)], keepdims=False)


@backend_function
def searchsorted(c: Context, sorted_sequence: Any, values: Any, side: Any) -> Value:
    """Where values would be inserted."""
    sequence, wanted = c.promoted(sorted_sequence, values)
    return positions_in(c, sequence, wanted, right=side == "right")


@backend_function
def digitize(c: Context, x: Any, bins: Any) -> Value:
    """Number of the bin of each value (ascending bins)."""
    edges, wanted = c.promoted(bins, x)
    return positions_in(c, edges, wanted, right=True)


@backend_function
def isin(c: Context, x1: Any, x2: Any, assume_unique: Any, invert: Any) -> Value:
    """Whether each element of x1 is among those of x2."""
    g = c.g
    a, b = c.promoted(x1, x2)
    same = g.Equal(g.Unsqueeze(a, [rank_of(a)]), c.flat(b))
    found = g.Cast(g.ReduceSum(g.Cast(same, DataType.INT64), [rank_of(a)], keepdims=False), DataType.BOOL)
    return g.Not(found) if invert else found


@backend_function
def bincount(c: Context, x: Any, weights: Any, minlength: Any, sparse: Any) -> Value:
    """Number, or sum of weights, of each integer."""
    g = c.g
    if sparse:
        raise c.refuse("sparse=True has no tensor in ONNX")
    value = c.t(x, DataType.INT64)
    dtype = DataType.INT64 if weights is None else c.out
    ones = c.expand(c.g.const(np.asarray(1, np.int64)), g.Shape(value)) if weights is None else c.t(weights, dtype)
    size = g.Add(g.ReduceMax(value, keepdims=False), np.asarray(1, np.int64))
    size = g.Max(size, c.t(minlength, DataType.INT64))
    rows = dims_of(value.shape) or ()
    if len(rows) == 1:
        start = c.expand(c.g.const(np.asarray(0, dtype.numpy())), g.Unsqueeze(size, [0]))
        return scatter_add(c, start, value, ones, axis=0)
    start = c.expand(c.g.const(np.asarray(0, dtype.numpy())), g.shape_vector([g.dim(value, 0), g.Unsqueeze(size, [0])]))
    return scatter_add(c, start, value, ones, axis=1)


def scatter_add(c: Context, target: Value, index: Value, updates: Value, *, axis: int) -> Value:
    """Add updates at positions along an axis (opset 16; kernels for float and integers by int64/float)."""
    g = c.g
    return g.op("ScatterElements", target, index, updates, axis=axis, reduction="add")


@backend_function
def histogram(c: Context, x: Any, bins: Any, range: Any) -> list[Value]:  # noqa: A002 - Keras's name
    """Counts of equally wide bins, and the edges."""
    g = c.g
    value = c.flat(c.t(x))
    value = c.t(value, DataType.DOUBLE)
    if isinstance(bins, Value):
        raise c.refuse("bins is an array", "a number of bins")
    number = int(bins)
    if range is not None:
        low, high = (c.t(v, DataType.DOUBLE) for v in range)
    else:
        low, high = g.ReduceMin(value, keepdims=False), g.ReduceMax(value, keepdims=False)
    none = g.Equal(low, high)
    half = np.asarray(0.5)
    low, high = g.Where(none, g.Sub(low, half), low), g.Where(none, g.Add(high, half), high)
    steps = np.arange(number + 1, dtype=np.float64) / number
    edges = g.Add(low, g.Mul(g.Sub(high, low), steps))
    inner = g.Slice(edges, 1, -1, 0)
    column = g.Unsqueeze(value, [1])
    place = g.ReduceSum(g.Cast(g.LessOrEqual(inner, column), DataType.INT64), [1], keepdims=False)
    inside = g.And(g.GreaterOrEqual(value, low), g.LessOrEqual(value, high))
    hit = g.Equal(g.Unsqueeze(place, [1]), np.arange(number, dtype=np.int64))
    counted = g.And(hit, g.Unsqueeze(inside, [1]))
    counts = g.ReduceSum(g.Cast(counted, DataType.INT64), [0], keepdims=False)
    return [counts, edges]
