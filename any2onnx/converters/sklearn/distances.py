"""Distances between the rows and fitted points, through a matrix product in float64."""

from __future__ import annotations

import numpy as np

from any2onnx.converters.sklearn.support import Array, weights
from any2onnx.graph.builder import GraphBuilder
from any2onnx.graph.types import Value, dtype_of


def squared_euclidean(g: GraphBuilder, x: Value, points: Array) -> Value:
    """Return |x - p|² for every row and point, [N, points].

    As |x|² - 2 x·p + |p|²; both are shifted to the points' mean first, so that a common offset does not cancel. Points
    around zero have none: their mean is left out, which costs less than a bit and saves a fifth of the time.
    """
    dtype = dtype_of(x)
    points = np.asarray(points, np.float64)
    centre = np.mean(points, axis=0) if len(points) else np.zeros(points.shape[1])
    if np.square(centre).sum() < np.square(points - centre).sum(axis=1).mean():
        centre = np.zeros(points.shape[1])
    shifted = weights(points - centre, dtype)
    rows = g.Sub(x, weights(centre, dtype)) if centre.any() else x
    norms = g.ReduceSumSquare(rows, [1])
    product = g.Gemm(rows, weights(-2.0 * shifted, dtype), weights(np.square(shifted).sum(axis=1), dtype), transB=1)
    return g.Relu(g.Add(product, norms))


def nearest_order(g: GraphBuilder, x: Value, points: Array) -> Value:
    """Return |x - p|² - |x|² for every row and point: the same order without the rows' own norm."""
    dtype = dtype_of(x)
    centre = np.mean(points, axis=0)
    shifted = weights(np.asarray(points, np.float64) - centre, dtype)
    rows = g.Sub(x, weights(centre, dtype))
    return g.Gemm(rows, weights(-2.0 * shifted, dtype), weights(np.square(shifted).sum(axis=1), dtype), transB=1)
