"""Clusterers with trees and sub-clusters, feature agglomeration, label propagation."""

from __future__ import annotations

from typing import Any

import numpy as np

from any2onnx.converters.sklearn.lazy import once, produce
from any2onnx.converters.sklearn.metrics import metric
from any2onnx.converters.sklearn.pairwise import euclidean, kernel, squared_euclidean, typed
from any2onnx.converters.sklearn.support import (
    Array,
    Results,
    argmax_label,
    inner_type,
    matrix,
    take_columns,
    width_of,
)
from any2onnx.errors import UnsupportedParameter
from any2onnx.graph.builder import GraphBuilder
from any2onnx.graph.types import Value, dtype_of
from any2onnx.operator_mappings.mapping import Call


def birch(g: GraphBuilder, call: Call) -> Results:
    """Convert Birch: the label of the nearest sub-cluster, and the distances to all."""
    model = call.source
    x = matrix(g, call, inner_type(call))
    centres = np.asarray(model.subcluster_centers_, np.float64)

    def predict() -> Value:
        nearest = g.ArgMin(squared_euclidean(g, x, centres, relative=True), axis=1, keepdims=0)
        return g.Gather(np.asarray(model.subcluster_labels_, np.int64), nearest, axis=0)

    return produce(g, call, {"predict": predict, "transform": lambda: euclidean(g, x, centres)})


def bisecting_k_means(g: GraphBuilder, call: Call) -> Results:
    """Convert BisectingKMeans: every split is a half-space; the leaf whose ancestors all agree is the cluster."""
    model = call.source
    x = matrix(g, call, inner_type(call))
    shift = np.asarray(getattr(model, "_X_mean", 0.0), np.float64)

    def predict() -> Value:
        splits, paths, clusters = _tree(model._bisecting_tree, shift)
        if not splits:
            return g.Expand(np.asarray(clusters[0], np.int64), g.dim(x, 0))
        left = np.stack([pair[0] for pair in splits])
        right = np.stack([pair[1] for pair in splits])
        middle = (left + right).mean(axis=0) / 2
        left, right = left - middle, right - middle
        # Squared distance to the right centre less that to the left one; the left wins a tie.
        offset = np.sum(right**2, axis=1) - np.sum(left**2, axis=1)
        normal = np.ascontiguousarray(2.0 * (left - right).T)
        moved = g.Sub(x, typed(g, middle, x, "centre"))
        margin = g.Gemm(moved, typed(g, normal, x, "normals"), typed(g, offset[None, :], x, "offsets"))
        goes_left = g.Cast(g.GreaterOrEqual(margin, g.scalar_like(0.0, margin)), dtype_of(x))
        # 0 for the leaf that all its splits lead to, below 0 for any other.
        agreed = g.Gemm(goes_left, typed(g, paths.T.copy(), x, "paths"), typed(g, -(paths > 0).sum(axis=1)[None, :], x))
        leaf = g.ArgMax(agreed, axis=1, keepdims=0)
        return g.Gather(np.asarray(clusters, np.int64), leaf, axis=0)

    centres = np.asarray(model.cluster_centers_, np.float64)
    return produce(g, call, {"predict": predict, "transform": lambda: euclidean(g, x, centres)})


def _tree(root: Any, shift: Array) -> tuple[list[tuple[Array, Array]], Array, list[int]]:
    """Return the centres of every split, the paths of the leaves [leaves, splits] (1 left, -1 right), their labels."""
    splits: list[tuple[Array, Array]] = []
    leaves: list[tuple[dict[int, float], int]] = []
    waiting: list[tuple[Any, dict[int, float]]] = [(root, {})]
    while waiting:
        node, path = waiting.pop()
        if node.left is None:
            leaves.append((path, int(node.label)))
            continue
        number = len(splits)
        splits.append((np.asarray(node.left.center) + shift, np.asarray(node.right.center) + shift))
        waiting.append((node.right, {**path, number: -1.0}))
        waiting.append((node.left, {**path, number: 1.0}))
    paths = np.zeros((len(leaves), len(splits)))
    for row, (path, _) in enumerate(leaves):
        paths[row, list(path)] = list(path.values())
    return splits, paths, [label for _, label in leaves]


def feature_agglomeration(g: GraphBuilder, call: Call) -> Results:
    """Convert FeatureAgglomeration: columns pooled by cluster, and each column's cluster back.

    Raises:
        UnsupportedParameter: Another pooling function than numpy's mean, median, min, max, sum or prod.
    """
    model = call.source
    groups = np.asarray(model.labels_, np.int64)
    x = matrix(g, call, inner_type(call))

    def transform() -> Value:
        function = model.pooling_func
        name = getattr(function, "__name__", "")
        if function is not getattr(np, name, None) or name not in _POOLING:
            raise UnsupportedParameter(
                f"pooling_func={function!r} cannot be expressed",
                where=call.location,
                needs=", ".join(f"numpy.{n}" for n in sorted(_POOLING)),
            )
        if name == "mean":
            member = groups[:, None] == np.arange(groups.max() + 1)
            return g.MatMul(x, typed(g, member / member.sum(axis=0), x, "shares"))
        parts = [
            _pool(g, take_columns(g, x, np.flatnonzero(groups == cluster).tolist()), name)
            for cluster in np.unique(groups)
        ]
        return parts[0] if len(parts) == 1 else g.op("Concat", *parts, axis=1)

    return produce(g, call, {"transform": transform, "inverse_transform": lambda: g.Gather(x, groups, axis=1)})


_POOLING = frozenset({"mean", "median", "max", "min", "amax", "amin", "sum", "prod"})


def _pool(g: GraphBuilder, columns: Value, name: str) -> Value:
    """Return columns pooled into one, [N, 1]."""
    if name in ("max", "amax"):
        return g.ReduceMax(columns, [1])
    if name in ("min", "amin"):
        return g.ReduceMin(columns, [1])
    if name == "sum":
        return g.ReduceSum(columns, [1])
    if name == "prod":
        return g.ReduceProd(columns, [1])
    width = width_of(columns)
    ordered, _ = g.TopK(columns, width, largest=False)
    return g.ReduceMean(g.Slice(ordered, [(width - 1) // 2], [width // 2 + 1], [1]), [1])


def label_propagation(g: GraphBuilder, call: Call) -> Results:
    """Convert LabelPropagation and LabelSpreading: labels weighted by a kernel, or of the nearest neighbours.

    Raises:
        UnsupportedParameter: The kernel is a Python function.
    """
    model = call.source
    x = matrix(g, call, inner_type(call))
    distributions = np.asarray(model.label_distributions_, np.float64)

    def weigh() -> Value:
        if isinstance(model.kernel, str) and model.kernel == "knn":
            points = model.nn_fit._fit_X
            _, indices = metric("euclidean", None, points, where=call.location).nearest(g, x, int(model.n_neighbors))
            near = g.Gather(typed(g, distributions, x, "distributions"), indices, axis=0)
            votes = g.ReduceSum(near, [1], keepdims=False)
        else:
            points = model.X_.toarray() if hasattr(model.X_, "toarray") else model.X_
            values = kernel(g, x, points, model.kernel, {"gamma": model.gamma}, where=call.location)
            votes = g.MatMul(values, typed(g, distributions, x, "distributions"))
        # Far from all labelled rows this is 0 / 0, as in scikit-learn.
        return g.Div(votes, g.ReduceSum(votes, [1]))

    probability = once(weigh)

    def predict() -> Value:
        known = g.Where(g.IsNaN(probability()), g.scalar_like(0.0, x), probability())
        return argmax_label(g, known, model.classes_)

    return produce(g, call, {"predict": predict, "predict_proba": probability}, keep=("predict",))
