"""sklearn.preprocessing: SplineTransformer, QuantileTransformer, TargetEncoder, MultiLabelBinarizer."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from any2onnx.converters.sklearn.encoders import category_index
from any2onnx.converters.sklearn.ragged import labels_inverse
from any2onnx.converters.sklearn.support import Array, Results, cast_results, columns_of, hstack, matrix, working_type
from any2onnx.graph.builder import GraphBuilder
from any2onnx.graph.special_functions import normal_cdf_double, normal_quantile_double
from any2onnx.graph.types import DataType, Value
from any2onnx.operator_mappings.mapping import Call

# sklearn.preprocessing._data.BOUNDS_THRESHOLD.
_THRESHOLD: Final = 1e-7


def _number(g: GraphBuilder, number: float) -> Value:
    return g.const(np.asarray(number, np.float64))


# --- SplineTransformer ------------------------------------------------------------------------------------------------


def spline_transformer(g: GraphBuilder, call: Call) -> Results:
    """Convert SplineTransformer: the basis by the Cox-de Boor recursion, from the knots around each value.

    With extrapolation="error" a value outside gives NaN, where scikit-learn raises.
    """
    model = call.source
    x = matrix(g, call, DataType.DOUBLE)
    knots = np.stack([np.asarray(spline.t, np.float64) for spline in model.bsplines_])
    degree = int(model.degree)
    coefficients = np.asarray(model.bsplines_[0].c, np.float64)
    first, last = knots[:, degree][None, :], knots[:, knots.shape[1] - degree - 1][None, :]
    extrapolation = model.extrapolation
    inside = x
    if extrapolation == "periodic":
        inside = _wrapped(g, x, first, last)
    elif extrapolation == "constant":
        inside = g.Where(g.Less(x, first), first, g.Where(g.Greater(x, last), last, x))
    value = _basis(g, inside, knots, degree)
    if not np.array_equal(coefficients, np.eye(len(coefficients))):
        value = g.MatMul(value, coefficients)
    wide = g.Unsqueeze(x, 2)
    if extrapolation == "linear":
        value = _continued(g, wide, value, model, knots)
    below, above = (g.Unsqueeze(m, 2) for m in (g.Less(x, first), g.Greater(x, last)))
    if extrapolation == "error":
        value = g.Where(g.Or(below, above), _number(g, np.nan), value)
    if extrapolation == "constant" and degree == 0:
        # scikit-learn fills the first `degree` splines, which are none.
        value = g.Where(below, _number(g, 0.0), value)
    value = g.Where(g.IsNaN(wide), _number(g, 0.0), value)
    splines = coefficients.shape[1]
    if not model.include_bias:
        splines -= 1
        value = g.Slice(value, [0], [splines], [2])
    result = g.Reshape(value, [-1, len(knots) * splines]) if splines else _nothing(g, x)
    return cast_results(g, call, {"transform": result})


def _nothing(g: GraphBuilder, x: Value) -> Value:
    return g.Expand(g.const(np.zeros((1, 0))), g.shape_vector([g.dim(x, 0), 0]))


def _wrapped(g: GraphBuilder, x: Value, first: Array, last: Array) -> Value:
    """Return first + (x - first) mod period, with the sign of numpy's mod; 0 where the period is none."""
    period = last - first
    some = period > 0
    safe = np.where(some, period, 1.0)
    rest = g.op("Mod", g.Sub(x, first), safe, fmod=1)
    rest = g.Where(g.Less(rest, _number(g, 0.0)), g.Add(rest, safe), rest)
    return g.Where(some, g.Add(rest, first), _number(g, 0.0))


def _basis(g: GraphBuilder, x: Value, knots: Array, degree: int) -> Value:
    """Return the values of all basis splines [N, features, splines]; beyond the ends the last polynomial goes on.

    Args:
        g: Builder.
        x: [N, features].
        knots: [features, splines + degree + 1], ascending.
        degree: Of the polynomials.
    """
    features, count = knots.shape
    splines = count - degree - 1
    inner = knots[:, degree + 1 : splines]
    interval = g.const(np.zeros((1, features), np.int64))
    if inner.shape[1]:
        reached = g.GreaterOrEqual(g.Unsqueeze(x, 2), inner[None])
        interval = g.ReduceSum(g.Cast(reached, DataType.INT64), [2], keepdims=False)
    # `interval` + degree is the last knot that is not above x.
    offset = g.Add(interval, (np.arange(features, dtype=np.int64) * count)[None, :])
    flat = np.ascontiguousarray(knots.reshape(-1))
    around = [g.Gather(flat, g.Add(offset, np.asarray(1 + k, np.int64)), axis=0) for k in range(2 * degree)]
    one, zero = _number(g, 1.0), _number(g, 0.0)
    values: list[Value] = [g.Add(g.Mul(x, zero), one)]
    for j in range(1, degree + 1):
        new = [zero] * (j + 1)
        for n in range(1, j + 1):
            right, left = around[degree + n - 1], around[degree + n - 1 - j]
            gap = g.Sub(right, left)
            flat_gap = g.Equal(gap, zero)
            weight = g.Div(values[n - 1], g.Where(flat_gap, one, gap))
            weight = g.Where(flat_gap, zero, weight)
            new[n - 1] = g.Add(new[n - 1], g.Mul(weight, g.Sub(right, x)))
            new[n] = g.Mul(weight, g.Sub(x, left))
        values = new
    places = np.arange(splines, dtype=np.int64)[None, None, :]
    result: Value | None = None
    for m, value in enumerate(values):
        place = g.Unsqueeze(g.Add(interval, np.asarray(m, np.int64)), 2)
        part = g.Where(g.Equal(place, places), g.Unsqueeze(value, 2), zero)
        result = part if result is None else g.Add(result, part)
    assert result is not None
    return result


def _continued(g: GraphBuilder, x: Value, value: Value, model: Any, knots: Array) -> Value:
    """Return the splines with straight lines beyond the ends, of the outermost splines only.

    For degrees 0 and 1 scikit-learn raises its count of outermost splines at every feature until it is 2, and takes
    the ends from it as well, so that they lie further inside from the second feature on. So it is here.
    """
    splines = knots.shape[1] - int(model.degree) - 1
    edges, reaches = [], []
    degree = int(model.degree)
    for _ in range(len(knots)):
        edges.append(degree)
        degree += degree <= 1
        reaches.append(degree)
    features, edge, reach = np.arange(len(knots)), np.asarray(edges), np.asarray(reaches)[:, None]
    low, high = knots[features, edge], knots[features, knots.shape[1] - edge - 1]
    places = np.arange(splines)[None, :]
    start, end = low[None, :, None], high[None, :, None]
    zero = _number(g, 0.0)
    below, above = g.Less(x, start), g.Greater(x, end)
    value = g.Where(g.And(g.GreaterOrEqual(x, start), g.LessOrEqual(x, end)), value, zero)
    for side, ends, beyond, mask in (
        (below, low, start, places < reach),
        (above, high, end, places >= splines - reach),
    ):
        height, slope = (
            np.stack([spline(at, nu=order) for spline, at in zip(model.bsplines_, ends, strict=True)])[None]
            for order in (0, 1)
        )
        line = g.Add(g.Mul(g.Sub(x, beyond), slope), height)
        value = g.Where(g.And(side, mask[None]), line, value)
    return value


# --- QuantileTransformer ----------------------------------------------------------------------------------------------


def quantile_transformer(g: GraphBuilder, call: Call) -> Results:
    """Convert QuantileTransformer and its inverse, for both output distributions."""
    model = call.source
    x = matrix(g, call, DataType.DOUBLE)
    quantiles = np.ascontiguousarray(np.asarray(model.quantiles_, np.float64).T)
    references = np.broadcast_to(np.asarray(model.references_, np.float64), quantiles.shape)
    if "inverse_transform" in call.methods:
        return cast_results(g, call, {"inverse_transform": _dequantized(g, call, x, quantiles, references)})
    upward = interpolated(g, x, quantiles, references)
    downward = interpolated(g, g.Neg(x), -quantiles[:, ::-1], -references[:, ::-1])
    value = g.Mul(_number(g, 0.5), g.Sub(upward, downward))
    low, high = quantiles[:, 0][None, :], quantiles[:, -1][None, :]
    normal = model.output_distribution == "normal"
    below, above = _beyond(g, x, low, high, normal=normal)
    value = g.Where(below, _number(g, 0.0), g.Where(above, _number(g, 1.0), value))
    if normal:
        from scipy import stats

        edge = _THRESHOLD - np.spacing(1)
        value = normal_quantile_double(g, value)
        value = g.Min(g.Max(value, _number(g, stats.norm.ppf(edge))), _number(g, stats.norm.ppf(1 - edge)))
    return cast_results(g, call, {"transform": g.Where(g.IsNaN(x), x, value)})


def _beyond(g: GraphBuilder, x: Value, low: Array, high: Array, *, normal: bool) -> tuple[Value, Value]:
    if not normal:
        return g.Equal(x, low), g.Equal(x, high)
    margin = _number(g, _THRESHOLD)
    return g.Less(g.Sub(x, margin), low), g.Greater(g.Add(x, margin), high)


def _dequantized(g: GraphBuilder, call: Call, x: Value, quantiles: Array, references: Array) -> Value:
    normal = call.source.output_distribution == "normal"
    p = normal_cdf_double(g, x) if normal else x
    below, above = _beyond(g, p, np.zeros((1, 1)), np.ones((1, 1)), normal=normal)
    value = interpolated(g, p, references, quantiles)
    value = g.Where(below, quantiles[:, 0][None, :], g.Where(above, quantiles[:, -1][None, :], value))
    return g.Where(g.IsNaN(x), x, value)


def interpolated(g: GraphBuilder, x: Value, places: Array, values: Array) -> Value:
    """Return numpy.interp(x, places, values) for each column.

    Args:
        g: Builder.
        x: [N, columns].
        places: [columns, n], each row ascending.
        values: [columns, n].
    """
    columns, count = places.shape
    reached = _count_not_above(g, x, places)
    lower = g.Min(g.Max(g.Sub(reached, np.asarray(1, np.int64)), np.asarray(0, np.int64)), np.asarray(count - 1))
    upper = g.Min(g.Add(lower, np.asarray(1, np.int64)), np.asarray(count - 1, np.int64))
    base = (np.arange(columns, dtype=np.int64) * count)[None, :]
    flat_places, flat_values = (np.ascontiguousarray(a).reshape(-1) for a in (places, values))
    x0, x1 = (g.Gather(flat_places, g.Add(k, base), axis=0) for k in (lower, upper))
    y0, y1 = (g.Gather(flat_values, g.Add(k, base), axis=0) for k in (lower, upper))
    gap = g.Sub(x1, x0)
    none = g.Equal(gap, _number(g, 0.0))
    slope = g.Div(g.Sub(y1, y0), g.Where(none, _number(g, 1.0), gap))
    inside = g.Add(g.Mul(slope, g.Sub(x, x0)), y0)
    # Before the first place, on a place and behind the last one the value is the place's own.
    own = g.Or(g.Or(none, g.LessOrEqual(x, x0)), g.Equal(reached, np.asarray(count, np.int64)))
    return g.Where(own, y0, inside)


def _count_not_above(g: GraphBuilder, x: Value, places: Array) -> Value:
    """Return how many places of its column are not above each value, by bisection."""
    columns, count = places.shape
    steps = int(count).bit_length()
    width = 2**steps
    padded = np.full((columns, width), np.inf)
    padded[:, :count] = places
    flat = padded.reshape(-1)
    base = (np.arange(columns, dtype=np.int64) * width)[None, :]
    found = g.Cast(g.Mul(g.Where(g.IsNaN(x), _number(g, 0.0), g.Clip(x, -1.0, 1.0)), _number(g, 0.0)), DataType.INT64)
    for k in reversed(range(steps)):
        tried = g.Add(found, np.asarray(2**k, np.int64))
        place = g.Gather(flat, g.Add(g.Sub(tried, np.asarray(1, np.int64)), base), axis=0)
        found = g.Where(g.LessOrEqual(place, x), tried, found)
    return g.Min(found, np.asarray(count, np.int64))


# --- encoders ---------------------------------------------------------------------------------------------------------


def target_encoder(g: GraphBuilder, call: Call) -> Results:
    """Convert TargetEncoder: the encoding of each category, the target's mean for an unknown one."""
    model = call.source
    means = np.atleast_1d(np.asarray(model.target_mean_, np.float64))
    classes = len(means)
    dtype = working_type(call)
    parts = []
    for k, (column, categories) in enumerate(zip(columns_of(g, call), model.categories_, strict=True)):
        encodings = np.stack([np.asarray(e, np.float64) for e in model.encodings_[k * classes : (k + 1) * classes]], 1)
        table = np.vstack([encodings, means[None, :]]).astype(dtype.numpy())
        position = g.Squeeze(category_index(g, call, column, categories), 1)
        parts.append(g.Gather(table, position, axis=0))
    return {"transform": hstack(g, parts)}


def multi_label_binarizer(g: GraphBuilder, call: Call) -> Results:
    """Convert MultiLabelBinarizer on a matrix whose rows are the label sets: which classes are in each row."""
    if "inverse_transform" in call.methods:
        return {"inverse_transform": labels_inverse(g, call)}
    classes = call.source.classes_
    found: Value | None = None
    for column in columns_of(g, call):
        hit = g.Equal(category_index(g, call, column, classes), np.arange(len(classes), dtype=np.int64)[None, :])
        found = hit if found is None else g.Or(found, hit)
    assert found is not None
    return {"transform": g.Cast(found, DataType.INT64)}
