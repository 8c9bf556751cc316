"""Distances and kernels between rows and fitted points, as `sklearn.metrics.pairwise` defines them.

Everything here runs in the type of its input, which the callers choose as float64: distances cancel. Squared Euclidean
distances are one matrix product about the points' centre; other metrics add up one feature at a time, so that no
[rows, points, features] tensor is formed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from any2onnx.converters.sklearn.support import Array
from any2onnx.errors import UnsupportedParameter
from any2onnx.graph.builder import GraphBuilder
from any2onnx.graph.types import Value, dtype_of

# Distances in one block: 32,768 float64 are 256 KiB.
_BLOCK: Final = 1 << 15

Terms = Callable[[GraphBuilder, Value, Value], tuple[Value, ...]]
Finish = Callable[[GraphBuilder, tuple[Value, ...]], Value]


# --- squared Euclidean distances and products -------------------------------------------------------------------------


def typed(g: GraphBuilder, array: Any, like: Value, name: str = "points") -> Value:
    """Return a constant in the element type of a value."""
    return g.const(np.asarray(array).astype(dtype_of(like).numpy(), copy=False), name=name)


def centre_of(points: Array) -> Array:
    """Return a point near the middle; whole numbers where all points are, so that whole numbers stay exact.

    Zero where the middle is no farther from it than the points are from each other: no digits cancel then.
    """
    centre = points.mean(axis=0)
    if centre @ centre <= np.mean(np.einsum("ij,ij->i", points - centre, points - centre)):
        return np.zeros_like(centre)
    whole = np.array_equal(points, np.round(points))
    return np.asarray(np.round(centre) if whole else centre)


def product(g: GraphBuilder, x: Value, points: Array) -> Value:
    """Return x @ points.T as [N, points]."""
    return g.MatMul(x, typed(g, np.ascontiguousarray(points.T), x))


def square_sum(g: GraphBuilder, x: Value) -> Value:
    """Return the sum of squares of each row as [N, 1]."""
    return g.ReduceSum(g.Mul(x, x), [1])


def squared_euclidean(g: GraphBuilder, x: Value, points: Array, *, relative: bool = False) -> Value:
    """Return squared distances [N, points], at least 0.

    Args:
        g: Builder.
        x: Rows [N, features].
        points: Fitted points [points, features].
        relative: Leave out each row's own square, which no comparison within the row needs.
    """
    points = np.asarray(points, np.float64)
    if relative:
        middle, x = _centred(g, x, points)
        squares = typed(g, np.einsum("ij,ij->i", middle, middle)[None, :], x, "squares")
        return g.Gemm(x, typed(g, np.ascontiguousarray((-2.0 * middle).T), x), squares)
    return g.Relu(times_squared_euclidean(g, x, points, 1.0))


def times_squared_euclidean(g: GraphBuilder, x: Value, points: Array, factor: float) -> Value:
    """Return squared distances times a factor, [N, points]; where they are 0, rounding may leave the other sign.

    One product: [x, |x|²] times [-2 points; 1] plus |points|², so that no further pass over [N, points] is needed.
    """
    middle, x = _centred(g, x, np.asarray(points, np.float64))
    squares = typed(g, factor * np.einsum("ij,ij->i", middle, middle)[None, :], x, "squares")
    scaled = np.vstack([(-2.0 * factor) * middle.T, np.full((1, len(points)), factor)])
    return g.Gemm(g.op("Concat", x, square_sum(g, x), axis=1), typed(g, scaled, x), squares)


def _centred(g: GraphBuilder, x: Value, points: Array) -> tuple[Array, Value]:
    centre = centre_of(points)
    return (points - centre, g.Sub(x, typed(g, centre, x, "centre"))) if centre.any() else (points, x)


def euclidean(g: GraphBuilder, x: Value, points: Array) -> Value:
    """Return distances [N, points]."""
    return g.Sqrt(squared_euclidean(g, x, points))


def unit_rows(g: GraphBuilder, x: Value) -> Value:
    """Return rows of length 1; a row of zeros stays."""
    length = g.Sqrt(square_sum(g, x))
    zero = g.Equal(length, g.scalar_like(0.0, length))
    return g.Div(x, g.Where(zero, g.scalar_like(1.0, length), length))


def unit_points(points: Array) -> Array:
    """Return points of length 1; a point of zeros stays."""
    points = np.asarray(points, np.float64)
    length = np.sqrt(np.einsum("ij,ij->i", points, points))[:, None]
    return np.asarray(points / np.where(length == 0, 1.0, length))


# --- metrics that add up feature by feature ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Additive:
    """A metric whose value is a function of sums (or maxima) over features.

    Attributes:
        terms: Contribution of one feature to each sum, for broadcast values of both sides.
        finish: The distance from the sums.
        maximum: Maxima instead of sums.
        power: The only sum is this power of the distance; 1 where `finish` is not a root.
    """

    terms: Terms
    finish: Finish
    maximum: bool = False
    power: float = 1.0


def accumulate(g: GraphBuilder, x: Value, points: Array, metric: Additive) -> Value:
    """Return distances [N, points] of an additive metric, one feature after the other.

    Rows go in blocks whose sums stay in the processor's cache, which is several times faster for many rows.
    """
    count, features = (int(size) for size in points.shape)
    rows = g.dim(x, 0)
    one = np.ones(1, np.int64)
    size = g.Max(g.Min(rows, np.asarray([max(1, _BLOCK // count)], np.int64)), one)
    blocks = g.Max(g.Div(g.Sub(g.Add(rows, size), one), size), one)
    # Zeros fill the last block up; their distances are cut off again.
    padding = g.op("Concat", np.zeros(2, np.int64), g.Sub(g.Mul(blocks, size), rows), np.zeros(1, np.int64), axis=0)
    whole = g.Reshape(g.Pad(x, padding), g.shape_vector([blocks, size, features]))
    # onnxruntime wants every output of an inner graph to have a shape, which inference at old opsets does not find.
    g.annotate(whole, [None, None, features])
    constant = typed(g, np.ascontiguousarray(np.asarray(points).T), x)
    zeros = g.annotate(g.Expand(g.scalar_like(0.0, x), g.shape_vector([size, count])), [None, count])
    # The number of sums is that of the terms of any feature.
    first = metric.terms(GraphBuilder(parent=g), g.scalar_like(0.0, x), g.scalar_like(0.0, x))
    combine = "Max" if metric.maximum else "Add"

    def feature(b: GraphBuilder, *values: Value) -> tuple[Value, ...]:
        *sums, left, right = values
        found = metric.terms(b, b.Unsqueeze(left, 1), b.Unsqueeze(right, 0))
        added = [b.op(combine, total, term) for total, term in zip(sums, found, strict=True)]
        return tuple(b.annotate(total, [None, count]) for total in added)

    def block(b: GraphBuilder, part: Value) -> Value:
        sums = b.Scan(feature, [zeros] * len(first), [b.Transpose(part, perm=[1, 0]), constant])
        return b.annotate(metric.finish(b, sums), [None, count])

    (found,) = g.Scan(block, [], [whole])
    distances = g.Slice(g.Reshape(found, [-1, count]), np.zeros(1, np.int64), rows, np.zeros(1, np.int64))
    return g.annotate(distances, [None, count])


def between(g: GraphBuilder, left: Value, right: Value, metric: Additive) -> Value:
    """Return distances along the last dim of two values that broadcast, for an additive metric."""
    found = metric.terms(g, left, right)
    reduce = g.ReduceMax if metric.maximum else g.ReduceSum
    return metric.finish(g, tuple(reduce(term, [-1], keepdims=False) for term in found))


def _only(g: GraphBuilder, sums: tuple[Value, ...]) -> Value:
    return sums[0]


def _root(g: GraphBuilder, sums: tuple[Value, ...]) -> Value:
    return g.Sqrt(sums[0])


def _difference(g: GraphBuilder, a: Value, b: Value) -> Value:
    return g.Abs(g.Sub(a, b))


def _square(g: GraphBuilder, a: Value, b: Value) -> tuple[Value, ...]:
    difference = g.Sub(a, b)
    return (g.Mul(difference, difference),)


def ratio(g: GraphBuilder, above: Value, below: Value) -> Value:
    """Return the quotient, 0 where the divisor is 0."""
    zero = g.Equal(below, g.scalar_like(0.0, below))
    return g.Where(zero, g.scalar_like(0.0, below), g.Div(above, g.Where(zero, g.scalar_like(1.0, below), below)))


def _canberra(g: GraphBuilder, a: Value, b: Value) -> tuple[Value, ...]:
    return (ratio(g, _difference(g, a, b), g.Add(g.Abs(a), g.Abs(b))),)


def _bray_curtis(g: GraphBuilder, a: Value, b: Value) -> tuple[Value, ...]:
    # scikit-learn's own sum of sizes, not scipy's size of the sum.
    return _difference(g, a, b), g.Add(g.Abs(a), g.Abs(b))


def _unequal(g: GraphBuilder, a: Value, b: Value) -> tuple[Value, ...]:
    return (g.Cast(g.Not(g.Equal(a, b)), dtype_of(a)),)


def _additive_chi2(g: GraphBuilder, a: Value, b: Value) -> tuple[Value, ...]:
    difference = g.Sub(a, b)
    return (ratio(g, g.Mul(difference, difference), g.Add(a, b)),)


EUCLIDEAN: Final = Additive(_square, _root, power=2.0)
SQUARED: Final = Additive(_square, _only)
MANHATTAN: Final = Additive(lambda g, a, b: (_difference(g, a, b),), _only)
CHEBYSHEV: Final = Additive(lambda g, a, b: (_difference(g, a, b),), _only, maximum=True)
CANBERRA: Final = Additive(_canberra, _only)
BRAY_CURTIS: Final = Additive(_bray_curtis, lambda g, sums: ratio(g, sums[0], sums[1]))
ADDITIVE_CHI2: Final = Additive(_additive_chi2, _only)


def minkowski(p: float) -> Additive:
    """Return the Minkowski metric of exponent p."""
    if p == 1:
        return MANHATTAN
    if p == 2:
        return EUCLIDEAN
    if np.isinf(p):
        return CHEBYSHEV

    def terms(g: GraphBuilder, a: Value, b: Value) -> tuple[Value, ...]:
        return (g.Pow(_difference(g, a, b), g.scalar_like(p, a)),)

    return Additive(terms, lambda g, sums: g.Pow(sums[0], g.scalar_like(1.0 / p, sums[0])), power=p)


def hamming(features: int) -> Additive:
    """Return the share of features that differ."""
    return Additive(_unequal, lambda g, sums: g.Div(sums[0], g.scalar_like(float(features), sums[0])))


# --- kernels ----------------------------------------------------------------------------------------------------------


def kernel(
    g: GraphBuilder, x: Value, points: Array, name: str, parameters: Mapping[str, Any], *, where: str = ""
) -> Value:
    """Return a kernel of `sklearn.metrics.pairwise` between rows and points, [N, points].

    Args:
        g: Builder.
        x: Rows; the kernel matrix itself for "precomputed".
        points: Fitted points.
        name: ``linear``, ``poly``, ``rbf``, …
        parameters: ``gamma`` (None for 1 / features), ``degree``, ``coef0``.
        where: Place, for errors.

    Raises:
        UnsupportedParameter: Another kernel, or a Python function.
    """
    if not isinstance(name, str):
        raise UnsupportedParameter(
            "the kernel is a Python function, which cannot be expressed in ONNX",
            where=where or None,
            needs='a kernel of sklearn.metrics.pairwise, or kernel="precomputed"',
        )
    if name == "precomputed":
        return x
    points = np.asarray(points, np.float64)
    if name == "linear":
        return product(g, x, points)
    if name == "rbf":
        gamma = parameters.get("gamma")
        return g.Exp(times_squared_euclidean(g, x, points, -(1.0 / points.shape[1] if gamma is None else float(gamma))))
    if name == "cosine":
        inner = product(g, unit_rows(g, x), unit_points(points))
    elif name == "laplacian":
        inner = accumulate(g, x, points, MANHATTAN)
    elif name in ("chi2", "additive_chi2"):
        inner = accumulate(g, x, points, ADDITIVE_CHI2)
    else:
        inner = product(g, x, points)
    return kernel_of(g, inner, name, parameters, points.shape[1], where=where)


def kernel_of(
    g: GraphBuilder, inner: Value, name: str, parameters: Mapping[str, Any], features: int, *, where: str = ""
) -> Value:
    """Return a kernel from what it is a function of: products, squared or Manhattan distances, chi-squared sums.

    Args:
        g: Builder.
        inner: Squared distances for "rbf", Manhattan ones for "laplacian", `ADDITIVE_CHI2` for both of that name,
            products of unit rows for "cosine", else products.
        name: Of the kernel.
        parameters: ``gamma`` (None for 1 / features), ``degree``, ``coef0``.
        features: Number of features.
        where: Place, for errors.

    Raises:
        UnsupportedParameter: Another kernel, or a Python function.
    """
    gamma = parameters.get("gamma")
    if name in ("linear", "cosine"):
        return inner
    if name == "additive_chi2":
        return g.Neg(inner)
    if name in ("rbf", "laplacian", "chi2"):
        # None stands for 1 / features but for chi2.
        none = 1.0 if name == "chi2" else 1.0 / features
        return g.Exp(_times(g, inner, -(none if gamma is None else float(gamma))))
    scaled = _times(g, inner, 1.0 / features if gamma is None else float(gamma))
    coef0 = parameters.get("coef0")
    inner = _plus(g, scaled, 1.0 if coef0 is None else float(coef0))
    if name in ("poly", "polynomial"):
        degree = float(3 if parameters.get("degree") is None else parameters["degree"])
        return inner if degree == 1 else g.Pow(inner, g.scalar_like(degree, inner))
    if name == "sigmoid":
        return g.Tanh(inner)
    raise UnsupportedParameter(f"kernel={name!r} is not known", where=where or None)


def _times(g: GraphBuilder, x: Value, factor: float) -> Value:
    return x if factor == 1.0 else g.Mul(x, g.scalar_like(factor, x))


def _plus(g: GraphBuilder, x: Value, term: float) -> Value:
    return x if term == 0.0 else g.Add(x, g.scalar_like(term, x))
