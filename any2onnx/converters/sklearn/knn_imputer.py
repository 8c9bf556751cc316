"""sklearn.impute.KNNImputer: each missing value from the nearest fitted rows that have one."""

from __future__ import annotations

import numpy as np

from any2onnx.converters.sklearn.impute import missing_mask
from any2onnx.converters.sklearn.lazy import produce
from any2onnx.converters.sklearn.metrics import nan_squared
from any2onnx.converters.sklearn.neighbors import neighbour_weights
from any2onnx.converters.sklearn.pairwise import typed
from any2onnx.converters.sklearn.support import Array, Results, hstack, inner_type, matrix, take_columns, width_of
from any2onnx.errors import UnsupportedParameter
from any2onnx.graph.builder import GraphBuilder
from any2onnx.graph.types import Value, dtype_of
from any2onnx.operator_mappings.mapping import Call


def knn_imputer(g: GraphBuilder, call: Call) -> Results:
    """Convert KNNImputer.

    Raises:
        UnsupportedParameter: The metric is a Python function, or weights are one that cannot be traced.
    """
    model = call.source
    if not isinstance(model.metric, str):
        raise UnsupportedParameter(
            "metric is a Python function, which cannot be expressed in ONNX", where=call.location
        )
    x = matrix(g, call, inner_type(call))
    mask = missing_mask(g, x, model.missing_values)
    filled = _fill(g, call, x, mask)
    indicator = getattr(model, "indicator_", None)
    if indicator is None or not len(indicator.features_):
        return produce(g, call, {"transform": lambda: filled})
    flags = g.Cast(take_columns(g, mask, np.asarray(indicator.features_).tolist()), dtype_of(filled))
    return produce(g, call, {"transform": lambda: hstack(g, [filled, flags])})


def _fill(g: GraphBuilder, call: Call, x: Value, mask: Value) -> Value:
    model = call.source
    fitted = np.asarray(model._fit_X, np.float64)
    absent = np.asarray(model._mask_fit_X)
    distances = g.Sqrt(nan_squared(g, x, mask, fitted, absent))
    # Columns with the same donors share their neighbours.
    found: dict[bytes, tuple[Value, Value]] = {}
    columns: list[Value] = []
    for k in range(fitted.shape[1]):
        column = g.Slice(x, [k], [k + 1], [1])
        if not model._valid_mask[k]:
            if model.keep_empty_features:
                columns.append(g.Where(g.Slice(mask, [k], [k + 1], [1]), 0.0, g.Sub(column, column)))
            continue
        donors = np.flatnonzero(~absent[:, k])
        key = donors.tobytes()
        if key not in found:
            found[key] = _donors(g, call, distances, donors)
        indices, weight = found[key]
        # In the type and the order of scikit-learn: the mean may be an edge of a later step.
        plain = float(np.ma.array(model._fit_X[:, k], mask=absent[:, k]).mean())
        value = _average(g, fitted[donors, k], indices, weight, plain)
        columns.append(g.Where(g.Slice(mask, [k], [k + 1], [1]), value, column))
    return g.op("Concat", *columns, axis=1)


def _donors(g: GraphBuilder, call: Call, distances: Value, donors: Array) -> tuple[Value, Value]:
    """Return positions among the donors and weights [N, k]; a weight of 0 where the distance is not known."""
    if len(donors) < width_of(distances):
        distances = g.Gather(distances, donors.astype(np.int64), axis=1)
    unknown = g.IsNaN(distances)
    far = g.Where(unknown, g.scalar_like(np.inf, distances), distances)
    near, indices = g.TopK(far, min(int(call.source.n_neighbors), len(donors)), largest=False)
    known = g.Cast(g.Not(g.IsInf(near)), dtype_of(distances))
    weight = neighbour_weights(g, call, near)
    if weight is None or call.source.weights == "distance":
        return indices, known if weight is None else weight
    return indices, g.Where(g.IsInf(near), g.scalar_like(0.0, near), weight)


def _average(g: GraphBuilder, values: Array, indices: Value, weight: Value, plain: float) -> Value:
    """Return the weighted mean of the donors' values, the plain mean where no distance is known; [N, 1]."""
    near = g.Gather(typed(g, values, weight, "values"), indices, axis=0)
    total = g.ReduceSum(weight, [1])
    none = g.Equal(total, g.scalar_like(0.0, total))
    mean = g.Div(g.ReduceSum(g.Mul(near, weight), [1]), g.Where(none, g.scalar_like(1.0, total), total))
    return g.Where(none, g.scalar_like(plain, mean), mean)
