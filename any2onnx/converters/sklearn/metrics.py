"""The metrics of sklearn.neighbors between rows and fitted points.

Euclidean metrics find candidates by one matrix product in float64 and measure those again exactly; all others are
exact at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from any2onnx.converters.sklearn import pairwise
from any2onnx.converters.sklearn.pairwise import Additive, accumulate, between, product, squared_euclidean, typed
from any2onnx.converters.sklearn.support import Array
from any2onnx.errors import UnsupportedParameter
from any2onnx.graph.builder import GraphBuilder
from any2onnx.graph.types import DataType, Value, dtype_of

Rows = Callable[[GraphBuilder, Value], Value]

# Candidates beyond those wanted: rounding of the matrix product can only swap points that are as good as equally far.
_SPARE: Final = 4
_BOOLEAN: Final = ("dice", "jaccard", "rogerstanimoto", "russellrao", "sokalmichener", "sokalsneath", "yule")
_NAMES: Final = {
    "l2": "euclidean",
    "l1": "manhattan",
    "cityblock": "manhattan",
    "infinity": "chebyshev",
    "p": "minkowski",
}


@dataclass(frozen=True, slots=True)
class Metric:
    """Distances to fitted points.

    Attributes:
        points: Fitted points, as `measure`, `additive` and the matrix product want them.
        prepare: Maps rows to where the points are.
        additive: The metric feature by feature.
        measure: All distances at once [N, points], for metrics that are no sum over features.
        by_product: `additive` is a Euclidean metric.
    """

    points: Array
    prepare: Rows = lambda g, x: x
    additive: Additive | None = None
    measure: Rows | None = None
    by_product: bool = False

    def all(self, g: GraphBuilder, x: Value, *, exact: bool = False) -> Value:
        """Return all distances [N, points]; those of a matrix product only where `exact` does not forbid it."""
        x = self.prepare(g, x)
        if self.measure is not None:
            return self.measure(g, x)
        assert self.additive is not None
        if self.by_product and not exact:
            return self.additive.finish(g, (squared_euclidean(g, x, self.points),))
        return accumulate(g, x, self.points, self.additive)

    def within(self, g: GraphBuilder, x: Value, radius: float, *, exact: bool) -> tuple[Value, Value]:
        """Return all distances, and which of them are not beyond a radius.

        Where the distance is a root, scikit-learn holds its power against the radius's: rounding decides about points
        that are just as far away.
        """
        if self.additive is None or self.additive.power == 1:
            distances = self.all(g, x, exact=exact)
            return distances, g.LessOrEqual(distances, g.scalar_like(radius, distances))
        plain = replace(self, additive=replace(self.additive, finish=lambda g, sums: sums[0]))
        powers = plain.all(g, x, exact=exact)
        inside = g.LessOrEqual(powers, g.scalar_like(radius**self.additive.power, powers))
        return self.additive.finish(g, (powers,)), inside

    def nearest(self, g: GraphBuilder, x: Value, k: int) -> tuple[Value, Value]:
        """Return distances and int64 indices [N, k] of the nearest points, nearest first, of equal ones the first."""
        if not self.by_product:
            distances = self.all(g, x)
            unknown = g.IsNaN(distances)
            far = g.Where(unknown, g.scalar_like(np.inf, distances), distances)
            _, indices = g.TopK(far, k, largest=False)
            return g.GatherElements(distances, indices, axis=1), indices
        assert self.additive is not None
        x = self.prepare(g, x)
        _, candidates = g.TopK(
            squared_euclidean(g, x, self.points, relative=True), min(len(self.points), k + _SPARE), largest=False
        )
        # In the order of the points, so that of equally distant ones the first is taken.
        candidates, _ = g.TopK(candidates, min(len(self.points), k + _SPARE), largest=False)
        near = g.Gather(typed(g, self.points, x), candidates, axis=0)
        squares = between(g, g.Unsqueeze(x, 1), near, pairwise.SQUARED)
        squares, places = g.TopK(squares, k, largest=False)
        return self.additive.finish(g, (squares,)), g.GatherElements(candidates, places, axis=1)


def metric(name: Any, parameters: Mapping[str, Any] | None, points: Any, *, where: str = "") -> Metric:
    """Return a metric by the name that sklearn.neighbors knows it by.

    Args:
        name: Such as ``euclidean``.
        parameters: ``p``, ``w``, ``V``, ``VI``.
        points: Fitted points [points, features]; the number of points matters for "precomputed".
        where: Place, for errors.

    Raises:
        UnsupportedParameter: A Python function, or a metric or parameter that is not known.
    """
    given = {key: value for key, value in (parameters or {}).items() if value is not None}
    if not isinstance(name, str):
        raise UnsupportedParameter(
            "metric is a Python function, which cannot be expressed in ONNX",
            where=where or None,
            needs='a metric by name, or metric="precomputed"',
        )
    dense = np.asarray(points.toarray() if hasattr(points, "toarray") else points, np.float64)
    name = _NAMES.get(name, name)
    built = _build(name, given, dense, where)
    unread = sorted(set(given) - {"p", "w", "V", "VI", "squared"})
    if unread:
        raise UnsupportedParameter(f"metric_params {unread} of metric={name!r} are not known", where=where or None)
    return built


def _build(name: str, given: Mapping[str, Any], points: Array, where: str) -> Metric:
    simple = {
        "euclidean": Metric(points, additive=pairwise.EUCLIDEAN, by_product=True),
        "sqeuclidean": Metric(points, additive=pairwise.SQUARED, by_product=True),
        "manhattan": Metric(points, additive=pairwise.MANHATTAN),
        "chebyshev": Metric(points, additive=pairwise.CHEBYSHEV),
        "canberra": Metric(points, additive=pairwise.CANBERRA),
        "braycurtis": Metric(points, additive=pairwise.BRAY_CURTIS),
        "hamming": Metric(points, additive=pairwise.hamming(points.shape[1])),
        "precomputed": Metric(points, measure=lambda g, x: x),
    }
    if name in simple:
        if "w" in given:
            raise UnsupportedParameter(f"metric={name!r} with weights w is not known", where=where or None)
        return simple[name]
    if name == "minkowski":
        return _minkowski(given, points)
    if name == "seuclidean":
        return _standardized(given, points, where)
    if name == "mahalanobis":
        return _mahalanobis(given, points, where)
    if name == "haversine":
        return Metric(points, measure=lambda g, x: _haversine(g, x, points))
    if name in ("cosine", "correlation"):
        return _angular(name, points)
    if name == "nan_euclidean":
        return Metric(points, measure=lambda g, x: g.Sqrt(nan_squared(g, x, g.IsNaN(x), points, np.isnan(points))))
    if name in _BOOLEAN:
        return Metric(points, measure=lambda g, x: _boolean(g, x, points, name))
    raise UnsupportedParameter(f"metric={name!r} is not known", where=where or None)


def _minkowski(given: Mapping[str, Any], points: Array) -> Metric:
    p = float(given.get("p", 2))
    additive = pairwise.minkowski(p)
    plain = Metric(points, additive=additive, by_product=p == 2)
    if "w" not in given:
        return plain
    weights = np.asarray(given["w"], np.float64)
    # sum(w |a - b|^p) is the metric of rows scaled by w^(1/p); the maximum takes no weights but zeros.
    scale = np.where(weights > 0, 1.0, 0.0) if np.isinf(p) else weights ** (1.0 / p)
    return replace(plain, points=points * scale, prepare=_scaled(scale))


def _scaled(scale: Array) -> Rows:
    return lambda g, x: g.Mul(x, typed(g, scale, x, "scale"))


def _standardized(given: Mapping[str, Any], points: Array, where: str) -> Metric:
    if "V" not in given:
        raise UnsupportedParameter(
            'metric="seuclidean" without V would take variances from the rows at hand',
            where=where or None,
            needs='metric_params={"V": variances}',
        )
    _check_size("V", np.asarray(given["V"]), (points.shape[1],), where)
    scale = 1.0 / np.sqrt(np.asarray(given["V"], np.float64))
    return Metric(points * scale, prepare=_scaled(scale), additive=pairwise.EUCLIDEAN, by_product=True)


def _check_size(name: str, given: Array, wanted: tuple[int, ...], where: str) -> None:
    """Check the size of a metric's parameter, which scikit-learn does not.

    Raises:
        UnsupportedParameter: It does not fit the fitted rows.
    """
    if given.shape != wanted:
        raise UnsupportedParameter(
            f"metric_params {name} is of shape {given.shape}, the fitted rows need {wanted}", where=where or None
        )


def _mahalanobis(given: Mapping[str, Any], points: Array, where: str) -> Metric:
    if "VI" in given:
        inverse = np.asarray(given["VI"], np.float64)
    elif "V" in given:
        inverse = np.linalg.inv(np.asarray(given["V"], np.float64))
    else:
        raise UnsupportedParameter(
            'metric="mahalanobis" without V or VI would take the covariance from the rows at hand',
            where=where or None,
            needs='metric_params={"VI": inverse covariance}',
        )
    _check_size("VI", inverse, (points.shape[1], points.shape[1]), where)
    # (a - b)' VI (a - b) is the squared distance of rows mapped by a root of VI.
    values, vectors = np.linalg.eigh((inverse + inverse.T) / 2)
    if values.min() < -1e-10 * abs(values).max():
        raise UnsupportedParameter("VI has negative eigenvalues, so that distances are undefined", where=where or None)
    root = vectors * np.sqrt(np.maximum(values, 0.0))
    return Metric(
        points @ root,
        prepare=lambda g, x: g.MatMul(x, typed(g, root, x, "root")),
        additive=pairwise.EUCLIDEAN,
        by_product=True,
    )


def _haversine(g: GraphBuilder, x: Value, points: Array) -> Value:
    half = g.scalar_like(0.5, x)
    parts = []
    for axis in (0, 1):
        column = g.Slice(x, [axis], [axis + 1], [1])
        sine = g.Sin(g.Mul(half, g.Sub(column, typed(g, points[None, :, axis], x))))
        parts.append(g.Mul(sine, sine))
    latitude = g.Cos(g.Slice(x, [0], [1], [1]))
    cosines = g.Mul(latitude, typed(g, np.cos(points[None, :, 0]), x))
    reduced = g.Sqrt(g.Add(parts[0], g.Mul(cosines, parts[1])))
    return g.Mul(g.scalar_like(2.0, x), arcsine(g, reduced))


def arcsine(g: GraphBuilder, u: Value) -> Value:
    """Return asin(u) for u in [0, 1] as 2 atan(u / (1 + sqrt(1 - u²)))."""
    one = g.scalar_like(1.0, u)
    rest = g.Sqrt(g.Relu(g.Mul(g.Sub(one, u), g.Add(one, u))))
    return g.Mul(g.scalar_like(2.0, u), g.Atan(g.Div(u, g.Add(one, rest))))


def _angular(name: str, points: Array) -> Metric:
    centred = name == "correlation"
    unit = pairwise.unit_points(points - points.mean(axis=1, keepdims=True) if centred else points)

    def measure(g: GraphBuilder, x: Value) -> Value:
        if centred:
            x = g.Sub(x, g.ReduceMean(x, [1]))
        cosine = product(g, pairwise.unit_rows(g, x), unit)
        return g.Clip(g.Sub(g.scalar_like(1.0, cosine), cosine), 0.0, 2.0)

    return Metric(points, measure=measure)


def nan_squared(g: GraphBuilder, x: Value, missing: Value, points: Array, points_missing: Array) -> Value:
    """Return squared `nan_euclidean` distances [N, points]: over features that both have, scaled up to all features.

    Args:
        g: Builder.
        x: Rows.
        missing: Where they are missing, bool [N, features].
        points: Fitted points.
        points_missing: Where those are missing.
    """
    present = np.where(points_missing, 0.0, points)
    kept = 1.0 - points_missing
    # Everything about the centre of the points, which lets no digits be lost far from the origin.
    count = np.maximum(kept.sum(axis=0), 1.0)
    centre = present.sum(axis=0) / count
    middle = (present - centre) * kept
    here = g.Cast(g.Not(missing), dtype_of(x))
    filled = g.Where(missing, g.scalar_like(0.0, x), g.Sub(x, typed(g, centre, x, "centre")))
    squares = g.Add(product(g, g.Mul(filled, filled), kept), product(g, here, middle * middle))
    total = g.Relu(g.Add(squares, product(g, filled, -2.0 * middle)))
    common = product(g, here, kept)
    none = g.Equal(common, g.scalar_like(0.0, x))
    share = g.Div(g.scalar_like(float(points.shape[1]), x), g.Where(none, g.scalar_like(1.0, x), common))
    return g.Where(none, g.scalar_like(np.nan, x), g.Mul(total, share))


def _boolean(g: GraphBuilder, x: Value, points: Array, name: str) -> Value:
    """Return a metric of truth values; anything but 0 is true."""
    dtype = dtype_of(x)
    left = g.Cast(g.Cast(x, DataType.BOOL), dtype)
    right = (points != 0).astype(np.float64)

    def number(value: float) -> Value:
        return g.scalar_like(value, x)

    both = product(g, left, right)
    ones = g.ReduceSum(left, [1])
    others = typed(g, right.sum(axis=1)[None, :], x)
    total = number(float(points.shape[1]))
    either = g.Sub(g.Add(ones, others), both)
    unequal = g.Sub(either, both)
    if name == "jaccard":
        return pairwise.ratio(g, unequal, either)
    if name == "dice":
        return g.Div(unequal, g.Add(g.Mul(number(2.0), both), unequal))
    if name in ("rogerstanimoto", "sokalmichener"):
        return g.Div(g.Mul(number(2.0), unequal), g.Add(total, unequal))
    if name == "russellrao":
        return g.Div(g.Sub(total, both), total)
    if name == "sokalsneath":
        return g.Div(unequal, g.Add(g.Mul(number(0.5), both), unequal))
    crossed = g.Mul(g.Sub(ones, both), g.Sub(others, both))
    straight = g.Mul(both, g.Sub(total, either))
    twice = g.Mul(number(2.0), crossed)
    none = g.Equal(crossed, number(0.0))
    return g.Where(none, number(0.0), g.Div(twice, g.Where(none, number(1.0), g.Add(straight, crossed))))
