"""Reductions, cumulative functions, statistics, sorting and searching of `keras.src.backend.numpy`."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from any2onnx.converters.keras.backend_common import Context, backend_function, keras_backend
from any2onnx.converters.keras.backend_elementwise import truth
from any2onnx.graph.types import DataType, Value, dtype_of, rank_of


def reduce(c: Context, op_type: str, x: Value, axis: Any, keepdims: Any) -> Value:
    """Reduce over axes (None: all); over none, the tensor itself."""
    axes = c.axes(axis, rank_of(x))
    if not axes:
        return x
    result: Value = getattr(c.g, f"Reduce{op_type}")(x, axes, keepdims=bool(keepdims))
    return result


def _in_result_type(op_type: str) -> Callable[..., Any]:
    @backend_function
    def convert(c: Context, x: Any, axis: Any, keepdims: Any, *more: Any) -> Value:
        return reduce(c, op_type, c.t(x, c.out), axis, keepdims)

    return convert


@backend_function
def sum(c: Context, x: Any, axis: Any, keepdims: Any) -> Value:  # noqa: A001 - Keras's name
    """Sum."""
    return reduce(c, "Sum", c.t(x, c.out), axis, keepdims)


@backend_function
def mean(c: Context, x: Any, axis: Any, keepdims: Any) -> Value:
    """Mean, in float32 for halves and integers."""
    return mean_of(c, x, axis, keepdims)


def mean_of(c: Context, x: Any, axis: Any, keepdims: Any) -> Value:
    """Return the mean."""
    value = c.t(x)
    wide = DataType.DOUBLE if dtype_of(value) == DataType.DOUBLE else DataType.FLOAT
    return reduce(c, "Mean", c.t(value, wide), axis, keepdims)


@backend_function
def prod(c: Context, x: Any, axis: Any, keepdims: Any, dtype: Any) -> Value:
    """Product."""
    return reduce(c, "Prod", c.t(x, c.out), axis, keepdims)


def _extreme(op_type: str) -> Callable[..., Any]:
    @backend_function
    def convert(c: Context, x: Any, axis: Any, keepdims: Any, initial: Any = None) -> Value:
        value = c.t(x)
        if dtype_of(value) == DataType.BOOL:
            value = c.g.Cast(value, DataType.INT32)
        result = reduce(c, op_type, value, axis, keepdims)
        if initial is not None:
            result = getattr(c.g, op_type)(result, c.t(initial, dtype_of(value)))
        return result

    return convert


max = amax = _extreme("Max")  # noqa: A001 - Keras's name
min = amin = _extreme("Min")  # noqa: A001 - Keras's name


@backend_function
def ptp(c: Context, x: Any, axis: Any, keepdims: Any) -> Value:
    """Largest minus smallest."""
    value = c.t(x, c.out)
    return c.g.Sub(reduce(c, "Max", value, axis, keepdims), reduce(c, "Min", value, axis, keepdims))


@backend_function
def all(c: Context, x: Any, axis: Any, keepdims: Any) -> Value:  # noqa: A001 - Keras's name
    """Whether all are true."""
    return c.g.Cast(reduce(c, "Min", c.g.Cast(truth(c, x), DataType.INT32), axis, keepdims), DataType.BOOL)


@backend_function
def any(c: Context, x: Any, axis: Any, keepdims: Any) -> Value:  # noqa: A001 - Keras's name
    """Whether one is true."""
    return c.g.Cast(reduce(c, "Max", c.g.Cast(truth(c, x), DataType.INT32), axis, keepdims), DataType.BOOL)


@backend_function
def allclose(c: Context, x1: Any, x2: Any, rtol: Any, atol: Any, equal_nan: Any) -> Value:
    """Whether all are nearly equal."""
    from any2onnx.converters.keras.backend_elementwise import close

    near = c.g.Cast(close(c, x1, x2, rtol, atol, equal_nan), DataType.INT32)
    return c.g.Cast(reduce(c, "Min", near, None, False), DataType.BOOL)


@backend_function
def count_nonzero(c: Context, x: Any, axis: Any) -> Value:
    """Number of elements that are not 0."""
    return reduce(c, "Sum", c.g.Cast(truth(c, x), DataType.INT32), axis, False)


def variance(c: Context, x: Value, axis: Any, keepdims: bool) -> Value:
    """Mean of the squared distances from the mean, in two passes."""
    centred = c.g.Sub(x, reduce(c, "Mean", x, axis, True))
    return reduce(c, "Mean", c.g.Mul(centred, centred), axis, keepdims)


def _wide(c: Context, x: Any) -> Value:
    value = c.t(x)
    return c.t(value, DataType.DOUBLE if DataType.DOUBLE in (dtype_of(value), c.out) else DataType.FLOAT)


@backend_function
def var(c: Context, x: Any, axis: Any, keepdims: Any) -> Value:
    """Variance."""
    return variance(c, _wide(c, x), axis, bool(keepdims))


@backend_function
def std(c: Context, x: Any, axis: Any, keepdims: Any) -> Value:
    """Standard deviation."""
    return c.g.Sqrt(variance(c, _wide(c, x), axis, bool(keepdims)))


@backend_function
def average(c: Context, x: Any, axis: Any, weights: Any) -> Value:
    """Weighted mean."""
    if weights is None:
        return mean_of(c, x, axis, False)
    g = c.g
    value, weight = c.as_out(x, weights)
    if rank_of(weight) == 1 and rank_of(value) > 1:
        place = c.axis(axis, rank_of(value))
        weight = g.Unsqueeze(weight, [k for k in range(rank_of(value)) if k != place])
    total = reduce(c, "Sum", g.Expand(weight, g.Shape(value)), axis, False)
    return g.Div(reduce(c, "Sum", g.Mul(value, weight), axis, False), total)


# --- positions of extremes -------------------------------------------------------------------------------------------


def arg_extreme(c: Context, op_type: str, x: Value, axis: Any, keepdims: Any) -> Value:
    """Return the first position of the largest or smallest element; over all elements for None."""
    g = c.g
    if dtype_of(x) == DataType.BOOL:
        x = g.Cast(x, DataType.INT32)
    if axis is None:
        rank = rank_of(x)
        found = getattr(g, op_type)(c.flat(x), axis=0, keepdims=0)
        return g.Reshape(found, [1] * rank) if keepdims and rank else found
    return getattr(g, op_type)(x, axis=c.axis(axis, rank_of(x)), keepdims=int(bool(keepdims)))  # type: ignore[no-any-return]


def _nan_first(c: Context, x: Value, value: float) -> Value:
    """NaN counts as the extreme, as in numpy: the first one is found."""
    if not dtype_of(x).is_floating_point():
        return x
    return c.g.Where(c.g.IsNaN(x), c.number(value, x), x)


@backend_function
def argmax(c: Context, x: Any, axis: Any, keepdims: Any) -> Value:
    """Position of the largest."""
    return arg_extreme(c, "ArgMax", c.t(x), axis, keepdims)


@backend_function
def argmin(c: Context, x: Any, axis: Any, keepdims: Any) -> Value:
    """Position of the smallest."""
    return arg_extreme(c, "ArgMin", c.t(x), axis, keepdims)


# --- cumulative ------------------------------------------------------------------------------------------------------


def cumulative(c: Context, x: Value, axis: Any, op_type: str) -> Value:
    """Running sum or product along an axis; of the flattened tensor for None."""
    g = c.g
    if axis is None:
        x, axis = c.flat(x), 0
    place = c.axis(axis, rank_of(x))
    if op_type == "Sum":
        return g.CumSum(x, np.asarray(place, np.int64))
    moved = c.move(x, place, 0)
    first = g.Expand(c.number(1, x), g.Shape(moved, start=1)) if rank_of(x) > 1 else c.number(1, x)

    def step(inner: Any, state: Value, element: Value) -> list[Value]:
        after = inner.Mul(state, element)
        return [after, after]

    _, result = g.Scan(step, [first], [moved])
    return c.move(result, 0, place)


@backend_function
def cumsum(c: Context, x: Any, axis: Any, dtype: Any) -> Value:
    """Running sum."""
    return cumulative(c, c.t(x, c.out), axis, "Sum")


@backend_function
def cumprod(c: Context, x: Any, axis: Any, dtype: Any) -> Value:
    """Running product."""
    return cumulative(c, c.t(x, c.out), axis, "Prod")


@backend_function
def diff(c: Context, a: Any, n: Any, axis: Any) -> Value:
    """Differences of neighbours, n times."""
    g = c.g
    value = c.t(a)
    place = c.axis(axis, rank_of(value))
    for _ in range(int(n)):
        later, earlier = g.Slice(value, 1, np.iinfo(np.int64).max, place), g.Slice(value, 0, -1, place)
        value = g.Xor(later, earlier) if dtype_of(value) == DataType.BOOL else g.Sub(later, earlier)
    return value


@backend_function
def trapezoid(c: Context, y: Any, x: Any, dx: Any, axis: Any) -> Value:
    """Integral by the trapezoidal rule."""
    g = c.g
    value = c.as_float(y)
    place = c.axis(axis, rank_of(value))
    end = np.iinfo(np.int64).max
    if x is None:
        width = c.t(dx, dtype_of(value))
    else:
        points = c.t(x, dtype_of(value))
        if rank_of(points) == 1 and rank_of(value) > 1:
            width = g.Sub(g.Slice(points, 1, end, 0), g.Slice(points, 0, -1, 0))
            width = g.Reshape(width, [-1 if k == place else 1 for k in range(rank_of(value))])
        else:
            width = g.Sub(g.Slice(points, 1, end, place), g.Slice(points, 0, -1, place))
    pairs = g.Add(g.Slice(value, 1, end, place), g.Slice(value, 0, -1, place))
    return reduce(c, "Sum", g.Mul(g.Mul(pairs, c.number(0.5, pairs)), width), place, False)


# --- without NaN -----------------------------------------------------------------------------------------------------


def _nan_mask(c: Context, x: Value) -> Value:
    if dtype_of(x).is_floating_point():
        return c.g.IsNaN(x)
    return c.expand(c.g.const(np.asarray(False)), c.g.Shape(x))


def _replaced(c: Context, x: Value, value: float) -> Value:
    return c.g.Where(_nan_mask(c, x), c.number(value, x), x)


def _lowest(dtype: DataType) -> float:
    return -math.inf if dtype.is_floating_point() else float(np.iinfo(dtype.numpy()).min)


def _highest(dtype: DataType) -> float:
    return math.inf if dtype.is_floating_point() else float(np.iinfo(dtype.numpy()).max)


@backend_function
def nansum(c: Context, x: Any, axis: Any, keepdims: Any) -> Value:
    """Sum without NaN."""
    return reduce(c, "Sum", _plain_or_replaced(c, c.t(x), 0, c.out), axis, keepdims)


def _plain_or_replaced(c: Context, x: Value, value: float, dtype: DataType) -> Value:
    return c.t(_replaced(c, x, value) if dtype_of(x).is_floating_point() else x, dtype)


@backend_function
def nanprod(c: Context, x: Any, axis: Any, keepdims: Any) -> Value:
    """Product without NaN."""
    return reduce(c, "Prod", _plain_or_replaced(c, c.t(x), 1, c.out), axis, keepdims)


@backend_function
def nancumsum(c: Context, x: Any, axis: Any, dtype: Any) -> Value:
    """Running sum without NaN."""
    return cumulative(c, _without_nan(c, c.t(x), 0), axis, "Sum")


@backend_function
def nancumprod(c: Context, x: Any, axis: Any, dtype: Any) -> Value:
    """Running product without NaN."""
    value = _without_nan(c, c.t(x), 1)
    if keras_backend() == "torch" and dtype_of(value) == DataType.FLOAT:
        # PyTorch accumulates in float64, so that an overflow comes later.
        return c.g.Cast(cumulative(c, c.g.Cast(value, DataType.DOUBLE), axis, "Prod"), DataType.FLOAT)
    return cumulative(c, value, axis, "Prod")


def _without_nan(c: Context, x: Value, value: float) -> Value:
    """Return x with a number for NaN; under TensorFlow and PyTorch Keras takes the largest ones for infinities too."""
    if keras_backend() in ("tensorflow", "torch") and dtype_of(x).is_floating_point():
        largest = float(np.finfo(dtype_of(x).numpy()).max) if dtype_of(x) != DataType.BFLOAT16 else 3.3895314e38
        return c.t(c.g.Clip(_replaced(c, x, value), -largest, largest), c.out)
    return _plain_or_replaced(c, x, value, c.out)


def _nan_extreme(c: Context, x: Any, axis: Any, keepdims: Any, op_type: str) -> Value:
    g = c.g
    value = c.t(x)
    if not dtype_of(value).is_floating_point():
        return reduce(c, op_type, value, axis, keepdims)
    result = reduce(c, op_type, _replaced(c, value, -math.inf if op_type == "Max" else math.inf), axis, keepdims)
    empty = g.Cast(reduce(c, "Min", g.Cast(g.IsNaN(value), DataType.INT32), axis, keepdims), DataType.BOOL)
    return g.Where(empty, c.number(math.nan, value), result)


@backend_function
def nanmax(c: Context, x: Any, axis: Any, keepdims: Any) -> Value:
    """Largest without NaN; NaN where nothing else is there."""
    return _nan_extreme(c, x, axis, keepdims, "Max")


@backend_function
def nanmin(c: Context, x: Any, axis: Any, keepdims: Any) -> Value:
    """Smallest without NaN; NaN where nothing else is there."""
    return _nan_extreme(c, x, axis, keepdims, "Min")


def _nan_mean(c: Context, x: Value, axis: Any, keepdims: bool) -> Value:
    g = c.g
    count = reduce(c, "Sum", g.Cast(g.Not(_nan_mask(c, x)), dtype_of(x)), axis, keepdims)
    return g.Div(reduce(c, "Sum", _replaced(c, x, 0), axis, keepdims), count)


@backend_function
def nanmean(c: Context, x: Any, axis: Any, keepdims: Any) -> Value:
    """Mean without NaN."""
    return _nan_mean(c, _wide(c, x), axis, bool(keepdims))


def _nan_variance(c: Context, x: Any, axis: Any, keepdims: Any) -> Value:
    g = c.g
    value = _wide(c, x)
    centred = g.Sub(value, _nan_mean(c, value, axis, True))
    return _nan_mean(c, g.Mul(centred, centred), axis, bool(keepdims))


@backend_function
def nanvar(c: Context, x: Any, axis: Any, keepdims: Any) -> Value:
    """Variance without NaN."""
    return _nan_variance(c, x, axis, keepdims)


@backend_function
def nanstd(c: Context, x: Any, axis: Any, keepdims: Any) -> Value:
    """Standard deviation without NaN."""
    return c.g.Sqrt(_nan_variance(c, x, axis, keepdims))


def _nan_position(c: Context, x: Any, axis: Any, keepdims: Any, op_type: str) -> Value:
    g = c.g
    value = c.t(x)
    if not dtype_of(value).is_floating_point():
        return arg_extreme(c, op_type, value, axis, keepdims)
    found = arg_extreme(c, op_type, _replaced(c, value, -math.inf if op_type == "ArgMax" else math.inf), axis, keepdims)
    empty = reduce(c, "Min", g.Cast(g.IsNaN(value), DataType.INT32), axis, keepdims)
    return g.Where(g.Cast(empty, DataType.BOOL), np.asarray(-1, np.int64), found)


@backend_function
def nanargmax(c: Context, x: Any, axis: Any, keepdims: Any) -> Value:
    """Position of the largest without NaN; -1 where nothing else is there."""
    return _nan_position(c, x, axis, keepdims, "ArgMax")


@backend_function
def nanargmin(c: Context, x: Any, axis: Any, keepdims: Any) -> Value:
    """Position of the smallest without NaN; -1 where nothing else is there."""
    return _nan_position(c, x, axis, keepdims, "ArgMin")
