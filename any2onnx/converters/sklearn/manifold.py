"""sklearn.manifold: new rows placed among the fitted ones by Isomap and locally linear embedding."""

from __future__ import annotations

import numpy as np

from any2onnx.converters.sklearn.kernel_methods import project
from any2onnx.converters.sklearn.lazy import produce
from any2onnx.converters.sklearn.metrics import Metric, metric
from any2onnx.converters.sklearn.pairwise import typed
from any2onnx.converters.sklearn.support import Results, inner_type, matrix
from any2onnx.graph.builder import GraphBuilder
from any2onnx.graph.types import Value
from any2onnx.operator_mappings.mapping import Call


def _metric(call: Call) -> Metric:
    near = call.source.nbrs_
    return metric(near.effective_metric_, dict(near.effective_metric_params_), near._fit_X, where=call.location)


def isomap(g: GraphBuilder, call: Call) -> Results:
    """Convert Isomap: shortest paths to all fitted rows by way of the neighbours, then the kernel PCA of them.

    With a radius, scikit-learn raises for a row without neighbours; here its values are NaN.

    Raises:
        UnsupportedParameter: The metric is a Python function.
    """
    model = call.source
    x = matrix(g, call, inner_type(call))
    paths = typed(g, model.dist_matrix_, x, "dist_matrix")
    fitted = int(model.nbrs_.n_samples_fit_)
    far = g.Expand(g.scalar_like(np.inf, x), g.shape_vector([g.dim(x, 0), fitted]))
    if model.n_neighbors is not None:
        distances, indices = _metric(call).nearest(g, x, int(model.n_neighbors))

        def by_neighbour(b: GraphBuilder, best: Value, distance: Value, index: Value) -> Value:
            return b.Min(best, b.Add(b.Gather(paths, index, axis=0), b.Unsqueeze(distance, 1)))

        steps = [g.Transpose(distances, perm=[1, 0]), g.Transpose(indices, perm=[1, 0])]
        (shortest,) = g.Scan(by_neighbour, [far], steps)
    else:
        distances = _metric(call).all(g, x, exact=True)
        inside = g.LessOrEqual(distances, g.scalar_like(float(model.radius), distances))
        distances = g.Where(inside, distances, g.scalar_like(np.inf, distances))

        def by_point(b: GraphBuilder, best: Value, distance: Value, path: Value) -> Value:
            return b.Min(best, b.Add(b.Unsqueeze(distance, 1), b.Unsqueeze(path, 0)))

        (shortest,) = g.Scan(by_point, [far], [g.Transpose(distances, perm=[1, 0]), paths])
    kernel = g.Mul(g.Mul(shortest, shortest), g.scalar_like(-0.5, x))
    return produce(g, call, {"transform": lambda: project(g, kernel, model.kernel_pca_)})


def locally_linear_embedding(g: GraphBuilder, call: Call) -> Results:
    """Convert LocallyLinearEmbedding, of any method: the neighbours' places, by barycentric weights."""
    model = call.source
    x = matrix(g, call, inner_type(call))
    k = int(model.n_neighbors)
    points = np.asarray(model.nbrs_._fit_X, np.float64)
    _, indices = _metric(call).nearest(g, x, k)
    offsets = g.Sub(g.Gather(typed(g, points, x, "points"), indices, axis=0), g.Unsqueeze(x, 1))
    gram = g.MatMul(offsets, g.Transpose(offsets, perm=[0, 2, 1]))
    trace = g.ReduceSum(g.Mul(offsets, offsets), [1, 2])
    zero, reg = g.scalar_like(0.0, x), g.scalar_like(float(model.reg), x)
    ridge = g.Where(g.Greater(trace, zero), g.Mul(trace, reg), reg)
    gram = g.Add(gram, g.Mul(ridge, typed(g, np.eye(k), x, "eye")))
    ones = g.Expand(g.scalar_like(1.0, x), g.shape_vector([g.dim(x, 0), k, 1]))
    solved = solve_positive(g, gram, ones, k)
    weight = g.Div(solved, g.ReduceSum(solved, [1]))
    places = g.Gather(typed(g, model.embedding_, x, "embedding"), indices, axis=0)
    return produce(g, call, {"transform": lambda: g.ReduceSum(g.Mul(places, weight), [1], keepdims=False)})


def solve_positive(g: GraphBuilder, matrices: Value, right: Value, size: int) -> Value:
    """Return the solutions [N, size, 1] of positive definite systems [N, size, size], by elimination without pivots.

    Args:
        g: Builder.
        matrices: Symmetric and positive definite.
        right: Right-hand sides [N, size, 1].
        size: Number of unknowns.
    """
    table = g.op("Concat", matrices, right, axis=2)
    units = typed(g, np.eye(size)[:, :, None], table, "units")
    positions = g.const(np.arange(size, dtype=np.int64), name="positions")

    def eliminate(b: GraphBuilder, state: Value, unit: Value, position: Value) -> Value:
        row = b.Gather(state, b.Unsqueeze(position, 0), axis=1)  # [N, 1, size + 1]
        column = b.Gather(state, b.Unsqueeze(position, 0), axis=2)  # [N, size, 1]
        pivot = b.Gather(column, b.Unsqueeze(position, 0), axis=1)  # [N, 1, 1]
        # The pivot's own row becomes row / pivot, every other one loses its multiple of that.
        scaled = b.Div(row, pivot)
        return b.Sub(state, b.Mul(b.Sub(column, unit), scaled))

    (done,) = g.Scan(eliminate, [table], [units, positions])
    return g.Slice(done, [size], [size + 1], [2])
