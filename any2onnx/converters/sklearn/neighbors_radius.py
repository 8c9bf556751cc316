"""sklearn.neighbors by radius: classifier, regressor, transformer."""

from __future__ import annotations

from typing import Any

import numpy as np

from any2onnx.converters.sklearn.lazy import produce
from any2onnx.converters.sklearn.neighbors import Pair, class_results, fitted_metric, kind_of_weights, targets_of
from any2onnx.converters.sklearn.pairwise import typed
from any2onnx.converters.sklearn.support import Array, Results, class_array, inner_type, matrix
from any2onnx.graph.builder import GraphBuilder
from any2onnx.graph.types import DataType, Value, dtype_of
from any2onnx.operator_mappings.mapping import Call


def _within(g: GraphBuilder, call: Call, *, measured: bool) -> Pair:
    """Return all distances [N, points], and whether each is within the radius.

    They are exact where scikit-learn's trees are, and where they are `measured`, not only compared.
    """
    exact = measured or call.source._fit_method != "brute"
    return fitted_metric(call).within(g, matrix(g, call, inner_type(call)), float(call.source.radius), exact=exact)


def _radius_weights(g: GraphBuilder, call: Call) -> Value:
    uniform = kind_of_weights(call) == "uniform"
    distances, inside = _within(g, call, measured=not uniform)
    zero = g.scalar_like(0.0, distances)
    if uniform:
        return g.Cast(inside, dtype_of(distances))
    # Points outside are given an infinite distance, so a weight of 0.
    far = g.Where(inside, distances, g.scalar_like(np.inf, distances))
    same = g.Cast(g.Equal(far, zero), dtype_of(distances))
    any_same = g.Greater(g.ReduceMax(same, [1]), zero)
    return g.Where(any_same, same, g.Div(g.scalar_like(1.0, distances), far))


def radius_neighbors_classifier(g: GraphBuilder, call: Call) -> Results:
    """Convert RadiusNeighborsClassifier; a row without neighbours is an outlier.

    With outlier_label=None scikit-learn raises for a batch that holds an outlier; so does the graph, by reading past
    the end of the classes.

    Raises:
        UnsupportedParameter: The metric is a Python function, or weights are one that cannot be traced.
    """
    model = call.source
    classes, targets = targets_of(model)
    weight = _radius_weights(g, call)
    votes = [g.MatMul(weight, typed(g, target, weight, "targets")) for target in targets]
    outlier = g.Equal(g.ReduceSum(weight, [1], keepdims=False), g.scalar_like(0.0, weight))
    outlier_labels = model.outlier_label_
    places: list[int | None] = [None] * len(classes)
    if outlier_labels is None:
        votes = [_fails_on(g, v, outlier) for v in votes]
    else:
        places = [_outlier_place(model, c, label) for c, label in zip(classes, outlier_labels, strict=True)]
        shares = [np.arange(len(c))[None, :] == place for c, place in zip(classes, places, strict=True)]
        row = g.Unsqueeze(outlier, 1)
        votes = [g.Where(row, typed(g, share, weight), v) for share, v in zip(shares, votes, strict=True)]

    def label(k: int) -> Value:
        chosen = g.Gather(class_array(classes[k]), g.ArgMax(votes[k], axis=1, keepdims=0), axis=0)
        if outlier_labels is None or places[k] is not None:
            return chosen
        return g.Where(outlier, class_array(np.asarray(outlier_labels[k], classes[k].dtype)), chosen)

    return class_results(g, call, votes, label, {})


def _outlier_place(model: Any, classes: Array, label: Any) -> int | None:
    """Return the class that an outlier's probability goes to, None for no class.

    scikit-learn's fast path for brute force holds the parameter against the classes' positions, not their labels.
    """
    found = np.flatnonzero(classes == label)
    if _counts_in_one_pass(model):
        given = model.outlier_label
        found = np.flatnonzero([position == given for position in range(len(classes))])
    return int(found[0]) if len(found) == 1 else None


def _counts_in_one_pass(model: Any) -> bool:
    """Tell whether scikit-learn counts the votes of float64 rows by its own fast path."""
    if model.weights != "uniform" or model._fit_method != "brute" or model.outputs_2d_:
        return False
    try:
        from sklearn.metrics._pairwise_distances_reduction import RadiusNeighborsClassMode
    except ImportError:
        # A scikit-learn without that path.
        return False
    points, name = model._fit_X, model.effective_metric_
    return points.dtype == np.float64 and bool(RadiusNeighborsClassMode.is_usable_for(points, points, name))


def _fails_on(g: GraphBuilder, votes: Value, outlier: Value) -> Value:
    """Return the votes, by way of an index that does not exist where a row is an outlier."""
    position = g.Cast(outlier, DataType.INT64)
    one = g.Gather(typed(g, np.ones(1), votes, "has_neighbours"), position, axis=0)
    return g.Mul(votes, g.Unsqueeze(one, 1))


def radius_neighbors_regressor(g: GraphBuilder, call: Call) -> Results:
    """Convert RadiusNeighborsRegressor; NaN for a row without neighbours, or what NaN is in the targets' type.

    Raises:
        UnsupportedParameter: The metric is a Python function, or weights are one that cannot be traced.
    """
    target = np.asarray(call.source._y)
    weight = _radius_weights(g, call)
    columns = target.reshape(len(target), -1)
    total = g.ReduceSum(weight, [1])
    empty = g.Equal(total, g.scalar_like(0.0, total))
    with np.errstate(invalid="ignore"):
        nothing = np.full_like(columns[:1], np.nan).astype(np.float64)
    mean = g.Div(
        g.MatMul(weight, typed(g, columns, weight, "targets")), g.Where(empty, g.scalar_like(1.0, total), total)
    )
    result = g.Where(empty, typed(g, nothing, mean), mean)
    return produce(g, call, {"predict": lambda: g.Squeeze(result, 1) if target.ndim == 1 else result})


def radius_neighbors_transformer(g: GraphBuilder, call: Call) -> Results:
    """Convert RadiusNeighborsTransformer: the graph of neighbours as a dense matrix [N, fitted rows].

    Raises:
        UnsupportedParameter: The metric is a Python function.
    """
    distances, inside = _within(g, call, measured=call.source.mode == "distance")
    if call.source.mode == "connectivity":
        result = g.Cast(inside, dtype_of(distances))
    else:
        result = g.Where(inside, distances, g.scalar_like(0.0, distances))
    return produce(g, call, {"transform": lambda: result})
