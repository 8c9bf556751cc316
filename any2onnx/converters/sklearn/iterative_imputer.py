"""sklearn.impute.IterativeImputer: every column predicted from the others, round after round."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from any2onnx.converters.sklearn.impute import missing_mask
from any2onnx.converters.sklearn.support import (
    Child,
    Results,
    as_column,
    cast_results,
    children,
    hstack,
    matrix,
    take_columns,
    width_of,
)
from any2onnx.errors import UnsupportedParameter
from any2onnx.graph.builder import GraphBuilder
from any2onnx.graph.types import DataType, Value
from any2onnx.operator_mappings.mapping import Call

_INITIAL = "initial"


def _children(model: Any, methods: tuple[str, ...]) -> Iterator[Child]:
    yield Child(_INITIAL, model.initial_imputer_, ("transform",))
    for k, triplet in enumerate(model.imputation_sequence_):
        yield Child(f"step{k}", triplet.estimator, ("predict",))


@children(_children)
def iterative_imputer(g: GraphBuilder, call: Call) -> Results:
    """Convert IterativeImputer: the fitted sequence of estimators, in float64 from step to step.

    Raises:
        UnsupportedParameter: Missing values are drawn from a distribution.
    """
    model = call.source
    if model.sample_posterior:
        raise UnsupportedParameter(
            "sample_posterior=True draws random numbers", where=call.location or None, needs="sample_posterior=False"
        )
    x = matrix(g, call, DataType.DOUBLE)
    missing = missing_mask(g, x, model.missing_values)
    empty = np.asarray(model._is_empty_feature, bool)
    start: Value = _convert(call, g, _INITIAL, model.initial_imputer_, x, "transform")
    kept, mask = x, missing
    if empty.any():
        if model.keep_empty_features:
            mask = g.And(missing, ~empty[None, :])
            kept = g.Where(empty[None, :], start, x)
        else:
            columns = np.flatnonzero(~empty).tolist()
            kept, mask = take_columns(g, x, columns), take_columns(g, missing, columns)
    filled = start
    # Without any value in the whole batch scikit-learn stays with the first guess.
    present = g.ReduceMax(g.Cast(g.Not(mask), DataType.INT32), keepdims=False) if model.n_iter_ else None
    for k, triplet in enumerate(model.imputation_sequence_ if model.n_iter_ else ()):
        filled = _step(g, call, k, triplet, filled, mask)
    result = g.Where(mask, filled, kept)
    if present is not None:
        # An empty batch has nothing either way.
        result = g.Where(g.Greater(present, g.const(np.asarray(0, np.int32))), result, start)
    if model.add_indicator and len(model.indicator_.features_):
        flags = take_columns(g, missing, np.asarray(model.indicator_.features_).tolist())
        result = hstack(g, [result, g.Cast(flags, DataType.DOUBLE)])
    return cast_results(g, call, {"transform": result})


def _step(g: GraphBuilder, call: Call, k: int, triplet: Any, filled: Value, mask: Value) -> Value:
    """Return the table with one column's missing values predicted anew."""
    model = call.source
    feature = int(triplet.feat_idx)
    inputs = take_columns(g, filled, [int(i) for i in triplet.neighbor_feat_idx])
    predicted = as_column(g, _convert(call, g, f"step{k}", triplet.estimator, inputs, "predict"))
    low, high = float(model._min_value[feature]), float(model._max_value[feature])
    predicted = g.Cast(predicted, DataType.DOUBLE)
    if low > -np.inf or high < np.inf:
        predicted = g.Min(g.Max(predicted, g.scalar_like(low, predicted)), g.scalar_like(high, predicted))
    chosen = np.arange(width_of(mask))[None, :] == feature
    return g.Where(g.And(mask, chosen), predicted, filled)


def _convert(call: Call, g: GraphBuilder, name: str, estimator: Any, x: Value, method: str) -> Value:
    """Return the result of a part that computes in float64 whatever the inputs are."""
    context = replace(call.params["context"], float_type=DataType.DOUBLE)
    scope = f"{call.scope}/{name}" if call.scope else name
    child = context.call(estimator, (x,), (method,), scope, inherited={})
    assert call.convert is not None
    value: Value = call.convert(child, g)[method]
    return value
