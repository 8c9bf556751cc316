"""LightGBM: LGBMClassifier, LGBMRegressor, LGBMRanker, and a Booster itself.

LightGBM compares and adds in float64. float32 rows are compared with thresholds that decide alike for each of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from any2onnx.converters.sklearn.boosters import (
    above_half,
    as_scores,
    coded_matrix,
    iterations_of,
    two_probabilities,
)
from any2onnx.converters.sklearn.lazy import once, produce
from any2onnx.converters.sklearn.support import Results, working_type
from any2onnx.converters.sklearn.tree import pick_label, precision
from any2onnx.errors import UnsupportedParameter
from any2onnx.graph.builder import GraphBuilder
from any2onnx.graph.types import DataType, Value, dtype_of
from any2onnx.operator_mappings.mapping import Call
from any2onnx.tree_ensemble.emit import emit_leaf_numbers, emit_scores
from any2onnx.tree_ensemble.sources.columns import prepared
from any2onnx.tree_ensemble.sources.lightgbm import EXPONENTIAL, LightGBMModel, LinearLeaves, read_model

_UNIT = 2.0**-52
_STOPPING: Final = ("pred_early_stop",)


@dataclass(frozen=True, slots=True)
class _Scores:
    """Results that others are made of."""

    model: LightGBMModel
    raw: Any
    value: Any
    leaves: Any


def _scores(g: GraphBuilder, call: Call) -> _Scores:
    _check_prediction(call)
    model = read_model(call.source, iterations_of(call))
    rows = once(lambda: _rows(g, call, model))
    raw = once(lambda: _raw(g, call, model, rows()))
    return _Scores(
        model,
        raw,
        once(lambda: _value(g, model, _mean(g, model, raw()))),
        once(lambda: _leaf_numbers(g, model, rows(), model.leaf)),
    )


def _check_prediction(call: Call) -> None:
    """Refuse parameters that make `predict` stop early.

    Raises:
        UnsupportedParameter: There is one.
    """
    parameters = call.source.get_params() if hasattr(call.source, "get_params") else {}
    for name in _STOPPING:
        if parameters.get(name):
            raise UnsupportedParameter(
                f"parameter {name}={parameters[name]!r} leaves trees out, row by row",
                where=call.location or None,
                needs=f"{name}=False",
            )


def _rows(g: GraphBuilder, call: Call, model: LightGBMModel) -> Value:
    """Return the rows as LightGBM sees them: FLOAT or DOUBLE."""
    x = coded_matrix(g, call, model.categories)
    dtype = dtype_of(x)
    if dtype in (DataType.FLOAT, DataType.DOUBLE):
        return x
    # An array of whole numbers becomes float32; the columns of a DataFrame get numpy's common type with float32.
    if len(call.inputs) == 1:
        return g.Cast(x, DataType.FLOAT)
    return g.Cast(x, DataType.from_numpy(np.result_type(dtype.numpy(), np.float32)))


def _raw(g: GraphBuilder, call: Call, model: LightGBMModel, x: Value) -> Value:
    """Return the raw scores [batch, scores]."""
    if model.linear is not None:
        return _linear(g, model, model.linear, x)
    columns = prepared(g, x, model.columns, cut=True)
    return emit_scores(g, model.ensemble, columns, result=working_type(call), precision=precision(call))


def _leaf_numbers(g: GraphBuilder, model: LightGBMModel, x: Value, numbers: Any) -> Value:
    return emit_leaf_numbers(g, model.ensemble, prepared(g, x, model.columns, cut=True), numbers)


def _linear(g: GraphBuilder, model: LightGBMModel, linear: LinearLeaves, x: Value) -> Value:
    """Return the raw scores of trees with linear models in their leaves: DOUBLE [batch, scores]."""
    e = model.ensemble
    leaf = _leaf_numbers(g, model, x, np.arange(len(e.leaf_values)))
    terms = linear.feature.shape[1]
    wide = g.Cast(x, DataType.DOUBLE)
    column = g.Gather(g.const(linear.feature, name="linear.features"), leaf, axis=0)
    flat = g.Reshape(column, [0, e.n_trees * terms])
    value = g.Reshape(g.GatherElements(wide, flat, axis=1), [0, e.n_trees, terms])
    used = g.Gather(g.const(linear.used, name="linear.used"), leaf, axis=0)
    value = g.Where(used, value, g.scalar_like(0.0, value))
    product = g.Mul(value, g.Gather(g.const(linear.coefficient, name="linear.coefficients"), leaf, axis=0))
    sums = g.Add(
        g.ReduceSum(product, [2], keepdims=False),
        g.Gather(g.const(linear.constant, name="linear.constants"), leaf, axis=0),
    )
    unknown = g.ReduceMax(g.Cast(g.IsNaN(value), DataType.INT32), [2], keepdims=False)
    plain = g.Gather(g.const(np.ascontiguousarray(e.leaf_values[:, 0]), name="leaf_values"), leaf, axis=0)
    per_tree = g.Where(g.Cast(unknown, DataType.BOOL), plain, sums)
    target = np.arange(e.n_trees) % model.n_scores
    return g.MatMul(per_tree, g.const(np.equal(target[:, None], np.arange(model.n_scores)).astype(np.float64)))


def _mean(g: GraphBuilder, model: LightGBMModel, raw: Value) -> Value:
    return raw if model.averaged == 1 else g.Div(raw, g.scalar_like(model.averaged, raw))


def _value(g: GraphBuilder, model: LightGBMModel, raw: Value) -> Value:
    """Return what `predict` of the Booster gives [batch, scores]."""
    name = model.objective
    if name in ("binary", "multiclassova", "cross_entropy"):
        return g.Sigmoid(_slope(g, model, raw))
    if name == "multiclass":
        return g.Softmax(raw, axis=1)
    if name == "cross_entropy_lambda":
        return g.Log(g.Add(g.Exp(raw), g.scalar_like(1.0, raw)))
    if name in EXPONENTIAL:
        return g.Exp(raw)
    if "sqrt" in model.settings:
        return g.Mul(raw, g.Abs(raw))
    return raw


def _slope(g: GraphBuilder, model: LightGBMModel, raw: Value) -> Value:
    factor = float(model.settings.get("sigmoid", 1.0))
    return raw if factor == 1.0 else g.Mul(raw, g.scalar_like(factor, raw))


def lightgbm_classifier(g: GraphBuilder, call: Call) -> Results:
    """Convert LGBMClassifier. With an objective of the user's own, labels and probabilities are raw scores, as there.

    Raises:
        UnsupportedParameter: Two classes and several scores.
    """
    estimator = call.source
    scores = _scores(g, call)
    own = callable(estimator.objective_)
    several = int(estimator.n_classes_) > 2
    if not own and not several and scores.model.n_scores > 1:
        raise UnsupportedParameter(
            f"objective {scores.model.objective!r} with two classes gives LightGBM's probabilities a wrong shape",
            where=call.location or None,
            needs="objective='binary'",
        )

    def label() -> Value:
        if own:
            return as_scores(g, call, scores.raw())
        if several:
            return pick_label(g, estimator.classes_, g.ArgMax(scores.value(), axis=1, keepdims=0))
        if scores.model.objective in ("binary", "cross_entropy"):
            positive = above_half(g, _slope(g, scores.model, _mean(g, scores.model, scores.raw())), _UNIT)
        else:
            positive = g.Greater(scores.value(), g.scalar_like(0.5, scores.value()))
        return pick_label(g, estimator.classes_, g.Cast(g.Squeeze(positive, 1), DataType.INT64))

    def probabilities() -> Value:
        if own:
            return as_scores(g, call, scores.raw())
        return scores.value() if several else two_probabilities(g, scores.value())

    makers = {
        "predict": label,
        "predict_proba": probabilities,
        "decision_function": lambda: as_scores(g, call, scores.raw()),
        "apply": scores.leaves,
    }
    return produce(g, call, makers, keep=() if own else ("predict",))


def lightgbm_regressor(g: GraphBuilder, call: Call) -> Results:
    """Convert LGBMRegressor, LGBMRanker, LGBMModel and Booster: predict is what the objective makes of raw scores."""
    scores = _scores(g, call)
    makers = {
        "predict": lambda: as_scores(g, call, scores.value()),
        "decision_function": lambda: as_scores(g, call, scores.raw()),
        "apply": scores.leaves,
    }
    return produce(g, call, makers)
