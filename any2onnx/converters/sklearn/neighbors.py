"""sklearn.neighbors: by number of neighbours or by radius, nearest centroids, local outlier factors, densities."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from any2onnx.converters.sklearn.frame import Frame
from any2onnx.converters.sklearn.lazy import once, produce
from any2onnx.converters.sklearn.metrics import Metric, metric
from any2onnx.converters.sklearn.pairwise import typed
from any2onnx.converters.sklearn.support import (
    Array,
    Results,
    argmax_label,
    inner_type,
    matrix,
    weights,
)
from any2onnx.converters.sklearn.tracing import traced
from any2onnx.errors import UnsupportedParameter
from any2onnx.graph.builder import GraphBuilder
from any2onnx.graph.types import Value, dtype_of
from any2onnx.operator_mappings.mapping import Call

Pair = tuple[Value, Value]


def fitted_metric(call: Call) -> Metric:
    """Return the metric of a neighbours estimator.

    Raises:
        UnsupportedParameter: It cannot be expressed.
    """
    model = call.source
    parameters = dict(model.effective_metric_params_)
    return metric(model.effective_metric_, parameters, model._fit_X, where=call.location)


def _neighbours(g: GraphBuilder, call: Call, k: int) -> Callable[[], Pair]:
    found: list[Pair] = []

    def find() -> Pair:
        if not found:
            fitted = int(call.source.n_samples_fit_)
            if k > fitted:
                raise UnsupportedParameter(
                    f"{k} neighbours are wanted and {fitted} rows were fitted", where=call.location
                )
            found.append(fitted_metric(call).nearest(g, matrix(g, call, inner_type(call)), k))
        return found[0]

    return find


def kind_of_weights(call: Call) -> str:
    """Return the name of the weights: "uniform", "distance", or "function" for the user's own."""
    kind = call.source.weights
    if kind is None or isinstance(kind, str):
        return kind or "uniform"
    raise UnsupportedParameter(
        "weights is a Python function of one row's distances, of which there is any number",
        where=call.location,
        needs='"uniform" or "distance"',
    )


def neighbour_weights(g: GraphBuilder, call: Call, distances: Value) -> Value | None:
    """Return the weights of the neighbours [N, k]; None where all are the same.

    Raises:
        UnsupportedParameter: They are a Python function that cannot be traced.
    """
    kind = call.source.weights
    if callable(kind):
        found = traced(g, call, kind, [distances], dtype_of(distances), what="weights")
        assert not isinstance(found, Frame)
        return found
    return inverse_distances(g, distances) if kind == "distance" else None


def inverse_distances(g: GraphBuilder, distances: Value) -> Value:
    """Return 1 / distance; in a row with a distance of 0, 1 for those and 0 for others."""
    dtype = dtype_of(distances)
    inverse = g.Div(g.scalar_like(1.0, distances), distances)
    same = g.Cast(g.IsInf(inverse), dtype)
    any_same = g.Greater(g.ReduceMax(same, [1]), g.scalar_like(0.0, distances))
    return g.Where(any_same, same, inverse)


def targets_of(model: Any) -> tuple[list[Array], list[Array]]:
    """Return classes and one-hot targets [points, classes] of each output."""
    several = isinstance(model.classes_, list)
    classes = [np.asarray(c) for c in (model.classes_ if several else [model.classes_])]
    columns = np.asarray(model._y).reshape(len(model._y), -1)
    return classes, [np.eye(len(c))[columns[:, k]] for k, c in enumerate(classes)]


def _proportions(g: GraphBuilder, votes: Value) -> Value:
    total = g.ReduceSum(votes, [1])
    empty = g.Equal(total, g.scalar_like(0.0, total))
    return g.Div(votes, g.Where(empty, g.scalar_like(1.0, total), total))


def class_results(g: GraphBuilder, call: Call, votes: list[Value], label: Callable[[int], Value], more: Any) -> Results:
    """Return label and probabilities of each target from the votes for its classes."""
    several = isinstance(call.source.classes_, list)

    def predict() -> Value:
        columns = [label(k) for k in range(len(votes))]
        return g.op("Concat", *(g.Unsqueeze(c, 1) for c in columns), axis=1) if several else columns[0]

    def probability() -> Any:
        parts = tuple(_proportions(g, v) for v in votes)
        return parts if several else parts[0]

    return produce(g, call, {"predict": predict, "predict_proba": probability, **more}, keep=("predict",))


def k_neighbors_classifier(g: GraphBuilder, call: Call) -> Results:
    """Convert KNeighborsClassifier: votes of the neighbours, for one output or several.

    Raises:
        UnsupportedParameter: The metric is a Python function, or weights are one that cannot be traced.
    """
    model = call.source
    find = _neighbours(g, call, int(model.n_neighbors))
    classes, targets = targets_of(model)
    votes: list[Value] = []
    if {"predict", "predict_proba"} & set(call.methods):
        distances, indices = find()
        weight = neighbour_weights(g, call, distances)
        votes = [_gathered_sum(g, target, indices, weight, distances) for target in targets]

    def label(k: int) -> Value:
        return argmax_label(g, votes[k], classes[k])

    return class_results(g, call, votes, label, {"kneighbors": find})


def _gathered_sum(g: GraphBuilder, targets: Array, indices: Value, weight: Value | None, like: Value) -> Value:
    """Return the (weighted) sum of the targets [points, columns] of each row's neighbours, [N, columns]."""
    near = g.Gather(typed(g, targets, like, "targets"), indices, axis=0)
    if weight is not None:
        near = g.Mul(near, g.Unsqueeze(weight, 2))
    return g.ReduceSum(near, [1], keepdims=False)


def k_neighbors_regressor(g: GraphBuilder, call: Call) -> Results:
    """Convert KNeighborsRegressor: the (weighted) mean of the neighbours' targets.

    Raises:
        UnsupportedParameter: The metric is a Python function, or weights are one that cannot be traced.
    """
    model = call.source
    find = _neighbours(g, call, int(model.n_neighbors))
    target = np.asarray(model._y, np.float64)

    def predict() -> Value:
        distances, indices = find()
        columns = target.reshape(len(target), -1)
        weight = neighbour_weights(g, call, distances)
        count = g.scalar_like(float(model.n_neighbors), distances)
        total = count if weight is None else g.ReduceSum(weight, [1])
        mean = g.Div(_gathered_sum(g, columns, indices, weight, distances), total)
        return g.Squeeze(mean, 1) if target.ndim == 1 else mean

    return produce(g, call, {"predict": predict, "kneighbors": find})


def nearest_neighbors(g: GraphBuilder, call: Call) -> Results:
    """Convert NearestNeighbors: distances and indices of the neighbours.

    Raises:
        UnsupportedParameter: The metric is a Python function.
    """
    return produce(g, call, {"kneighbors": _neighbours(g, call, int(call.source.n_neighbors))})


def k_neighbors_transformer(g: GraphBuilder, call: Call) -> Results:
    """Convert KNeighborsTransformer: the graph of neighbours as a dense matrix [N, fitted rows].

    Raises:
        UnsupportedParameter: The metric is a Python function.
    """
    model = call.source
    find = _neighbours(g, call, int(model.n_neighbors))

    def transform() -> Value:
        # For distances one more neighbour is given, since each fitted row is its own neighbour.
        distances, indices = _neighbours(g, call, int(model.n_neighbors) + (model.mode == "distance"))()
        if model.mode == "connectivity":
            distances = g.Expand(g.scalar_like(1.0, distances), g.Shape(indices))
        shape = g.shape_vector([g.dim(indices, 0), int(model.n_samples_fit_)])
        zeros = g.Expand(g.scalar_like(0.0, distances), shape)
        return g.ScatterElements(zeros, indices, distances, axis=1)

    return produce(g, call, {"transform": transform, "kneighbors": find})


# --- others -----------------------------------------------------------------------------------------------------------


def local_outlier_factor(g: GraphBuilder, call: Call) -> Results:
    """Convert LocalOutlierFactor(novelty=True): the neighbours' local density against the row's own.

    Raises:
        UnsupportedParameter: The metric is a Python function.
    """
    model = call.source
    near = _neighbours(g, call, int(model.n_neighbors_))

    def score() -> Value:
        distances, indices = near()
        reach = np.asarray(model._distances_fit_X_, np.float64)[:, model.n_neighbors_ - 1]
        reached = g.Max(distances, g.Gather(typed(g, reach, distances, "reach"), indices, axis=0))
        mean = g.ReduceMean(reached, [1])
        # 1 / density of the row; scikit-learn's own 1e-10 against duplicates.
        sparseness = g.Add(mean, g.scalar_like(1e-10, mean))
        density = g.Gather(typed(g, model._lrd, distances, "lrd"), indices, axis=0)
        return g.Neg(g.ReduceMean(g.Mul(density, sparseness), [1], keepdims=False))

    scores = once(score)
    decision = once(lambda: g.Sub(scores(), g.scalar_like(float(model.offset_), scores())))

    def predict() -> Value:
        outside = g.Less(decision(), g.scalar_like(0.0, decision()))
        return g.Where(outside, np.asarray(-1, np.int64), np.asarray(1, np.int64))

    return produce(
        g,
        call,
        {
            "predict": predict,
            "decision_function": decision,
            "score_samples": scores,
            "kneighbors": _neighbours(g, call, int(model.n_neighbors)),
        },
    )


def nearest_centroid(g: GraphBuilder, call: Call) -> Results:
    """Convert NearestCentroid: the nearest centroid, or the best discriminant score where priors differ.

    Raises:
        UnsupportedParameter: `priors` are not one for each class, which scikit-learn does not check.
    """
    model = call.source
    x = matrix(g, call, inner_type(call))
    classes = np.asarray(model.classes_)
    if len(model.class_prior_) != len(classes):
        raise UnsupportedParameter(
            f"priors has {len(model.class_prior_)} entries, there are {len(classes)} classes", where=call.location
        )
    centroids = np.asarray(model.centroids_, np.float64)

    def score() -> Value:
        deviation = np.asarray(model.within_class_std_dev_, np.float64)
        scale = 1.0 / np.where(deviation != 0, deviation, 1.0)
        scaled = g.Mul(x, typed(g, scale, x, "scale"))
        # Squares of Euclidean distances, without their roots.
        name = "sqeuclidean" if model.metric == "euclidean" else model.metric
        distances = metric(name, None, centroids * scale, where=call.location).all(g, scaled)
        if name != "sqeuclidean":
            distances = g.Mul(distances, distances)
        return g.Sub(typed(g, 2.0 * np.log(model.class_prior_)[None, :], x, "priors"), distances)

    scores = once(score)

    def predict() -> Value:
        if np.isclose(model.class_prior_, 1 / len(classes)).all():
            distances = metric(model.metric, None, centroids, where=call.location).all(g, x)
            return argmax_label(g, g.Neg(distances), classes)
        return argmax_label(g, scores(), classes)

    def decision() -> Value:
        if len(classes) > 2:
            return scores()
        first, second = (g.Slice(scores(), [k], [k + 1], [1]) for k in (0, 1))
        return g.Squeeze(g.Sub(second, first), 1)

    return produce(
        g,
        call,
        {
            "predict": predict,
            "decision_function": decision,
            "predict_proba": lambda: g.Softmax(scores(), axis=1),
            "predict_log_proba": lambda: g.LogSoftmax(scores(), axis=1),
        },
        keep=("predict",),
    )


def components_transform(g: GraphBuilder, call: Call) -> Results:
    """Convert NeighborhoodComponentsAnalysis: X @ components_.T."""
    dtype = inner_type(call)
    parts = weights(call.source.components_, dtype)
    x = matrix(g, call, dtype)
    return produce(g, call, {"transform": lambda: g.MatMul(x, g.const(np.ascontiguousarray(parts.T)))})


# --- kernel density ---------------------------------------------------------------------------------------------------


def _log_ball(n: int) -> float:
    """Return the logarithm of the volume of the unit ball in n dimensions."""
    return 0.5 * n * math.log(math.pi) - math.lgamma(0.5 * n + 1)


def _log_sphere(n: int) -> float:
    """Return the logarithm of the surface of the unit ball in n + 1 dimensions."""
    return math.log(2 * math.pi) + _log_ball(n - 1)


def log_kernel_norm(kernel: str, bandwidth: float, n: int) -> float:
    """Return the logarithm of what a kernel is to be multiplied by so that it integrates to 1 in n dimensions."""
    if kernel == "gaussian":
        factor = 0.5 * n * math.log(2 * math.pi)
    elif kernel == "tophat":
        factor = _log_ball(n)
    elif kernel == "epanechnikov":
        factor = _log_ball(n) + math.log(2.0 / (n + 2))
    elif kernel == "exponential":
        factor = _log_sphere(n - 1) + math.lgamma(n)
    elif kernel == "linear":
        factor = _log_ball(n) - math.log(n + 1.0)
    else:
        total, term = 0.0, 2.0 / math.pi
        for k in range(1, n + 1, 2):
            total += term
            term *= -(n - k) * (n - k - 1) * (2.0 / math.pi) ** 2
        # In 4 and more dimensions the sum can be negative, and scikit-learn's densities are NaN.
        factor = (math.log(total) if total > 0 else math.nan) + _log_sphere(n - 1)
    return -factor - n * math.log(bandwidth)


def _log_kernel(g: GraphBuilder, distances: Value, kernel: str, bandwidth: float) -> Value:
    """Return the logarithm of a kernel that is 1 at distance 0."""
    ratio = g.Div(distances, g.scalar_like(bandwidth, distances))
    if kernel == "gaussian":
        return g.Mul(g.Mul(ratio, ratio), g.scalar_like(-0.5, ratio))
    if kernel == "exponential":
        return g.Neg(ratio)
    one = g.scalar_like(1.0, ratio)
    inside = g.Less(distances, g.scalar_like(bandwidth, distances))
    if kernel == "tophat":
        value = g.Mul(ratio, g.scalar_like(0.0, ratio))
    else:
        kept = g.Where(inside, ratio, g.scalar_like(0.0, ratio))
        if kernel == "epanechnikov":
            value = g.Log(g.Sub(one, g.Mul(kept, kept)))
        elif kernel == "linear":
            value = g.Log(g.Sub(one, kept))
        else:
            value = g.Log(g.Cos(g.Mul(kept, g.scalar_like(0.5 * math.pi, kept))))
    return g.Where(inside, value, g.scalar_like(-np.inf, value))


def kernel_density(g: GraphBuilder, call: Call) -> Results:
    """Convert KernelDensity: the logarithm of the density, exactly (atol and rtol only allow scikit-learn less).

    Raises:
        UnsupportedParameter: The metric cannot be expressed.
    """
    model = call.source
    points = np.asarray(model.tree_.data)
    weight = model.tree_.sample_weight
    bandwidth, kernel = float(model.bandwidth_), str(model.kernel)
    x = matrix(g, call, inner_type(call))
    # These kernels have an edge or a kink, next to which rounded distances can be seen.
    exact = kernel in ("tophat", "exponential", "linear")
    distances = metric(model.metric, model.metric_params, points, where=call.location).all(g, x, exact=exact)
    logs = _log_kernel(g, distances, kernel, bandwidth)
    total = float(len(points))
    if weight is not None:
        weight = np.asarray(weight, np.float64)
        total = float(weight.sum())
        with np.errstate(divide="ignore"):
            logs = g.Add(logs, typed(g, np.log(weight)[None, :], logs, "weights"))
    shift = log_kernel_norm(kernel, bandwidth, points.shape[1]) - math.log(total)
    density = log_sum_exp(g, logs)
    return produce(g, call, {"score_samples": lambda: g.Add(density, g.scalar_like(shift, density))})


def log_sum_exp(g: GraphBuilder, logs: Value) -> Value:
    """Return log(sum(exp(row))) as [N]; -inf for a row of nothing but -inf."""
    top = g.ReduceMax(logs, [1])
    finite = g.Where(g.IsInf(top), g.scalar_like(0.0, top), top)
    total = g.Log(g.ReduceSum(g.Exp(g.Sub(logs, finite)), [1]))
    return g.Squeeze(g.Add(total, finite), 1)
