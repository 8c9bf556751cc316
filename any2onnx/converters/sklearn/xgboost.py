"""XGBoost: XGBClassifier, XGBRegressor, XGBRanker, the random forests, and a Booster itself.

XGBoost computes in float32. Its margins are sums of float32 leaves, here in float64: right to the last digit, where
XGBoost's own sums carry the rounding of every tree. Its decisions are those of float32(x) < threshold.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from any2onnx.converters.sklearn.boosters import (
    above_half,
    as_scores,
    coded_matrix,
    constant,
    iterations_of,
    known_categories,
    two_probabilities,
)
from any2onnx.converters.sklearn.lazy import once, produce
from any2onnx.converters.sklearn.support import Results, working_type
from any2onnx.converters.sklearn.tree import precision
from any2onnx.errors import UnsupportedParameter
from any2onnx.graph.builder import GraphBuilder
from any2onnx.graph.types import DataType, Value
from any2onnx.operator_mappings.mapping import Call
from any2onnx.tree_ensemble.emit import emit_leaf_numbers, emit_scores
from any2onnx.tree_ensemble.sources.columns import prepared
from any2onnx.tree_ensemble.sources.xgboost import EXPONENTIAL, LOGISTIC, XGBoostModel, read_model

_UNIT = 2.0**-23


@dataclass(frozen=True, slots=True)
class _Scores:
    """Results that others are made of."""

    model: XGBoostModel
    margin: Any
    value: Any
    leaves: Any


def _scores(g: GraphBuilder, call: Call) -> _Scores:
    model = read_model(call.source, iterations_of(call))
    rows = once(lambda: _rows(g, call, model))
    margin = once(lambda: _margin(g, call, model, rows()))
    return _Scores(
        model, margin, once(lambda: _value(g, model, margin())), once(lambda: _leaves(g, call, model, rows()))
    )


def _rows(g: GraphBuilder, call: Call, model: XGBoostModel) -> Value:
    """Return the rows as XGBoost sees them: FLOAT, NaN where they are missing, codes for categories."""
    x = g.Cast(coded_matrix(g, call, known_categories(model.categories)), DataType.FLOAT)
    missing = getattr(call.source, "missing", np.nan)
    if missing is not None and not np.isnan(missing):
        x = g.Where(g.Equal(x, g.scalar_like(float(np.float32(missing)), x)), g.scalar_like(np.nan, x), x)
    return x


def _margin(g: GraphBuilder, call: Call, model: XGBoostModel, x: Value) -> Value:
    """Return the margins [batch, groups]."""
    if model.weights is not None:
        # What is missing adds nothing.
        wide = g.Cast(g.Where(g.IsNaN(x), g.scalar_like(0.0, x), x), DataType.DOUBLE)
        return g.Add(g.MatMul(wide, g.const(model.weights, name="weights")), model.base[None, :])
    if model.ensemble is None:
        return constant(g, call, model.base)
    assert model.columns is not None
    columns = prepared(g, x, model.columns, cut=False)
    return emit_scores(g, model.ensemble, columns, result=working_type(call), precision=precision(call))


def _value(g: GraphBuilder, model: XGBoostModel, margin: Value) -> Value:
    """Return what `predict` of the Booster gives [batch, groups]; for multi:softmax probabilities."""
    if model.objective in LOGISTIC:
        return g.Sigmoid(margin)
    if model.objective in EXPONENTIAL:
        return g.Exp(margin)
    if model.objective == "binary:hinge":
        return g.Cast(g.Greater(margin, g.scalar_like(0.0, margin)), margin.dtype)
    if model.objective.startswith("multi:"):
        return g.Softmax(margin, axis=1)
    return margin


def _leaves(g: GraphBuilder, call: Call, model: XGBoostModel, x: Value) -> Value:
    """Return the numbers of the leaves as XGBoost counts nodes: [batch, trees], [batch] for one tree.

    Raises:
        UnsupportedParameter: There are no trees.
    """
    if model.ensemble is None:
        raise UnsupportedParameter("the model has no trees, so that apply has no result", where=call.location or None)
    assert model.columns is not None
    found = emit_leaf_numbers(g, model.ensemble, prepared(g, x, model.columns, cut=False), model.node)
    return g.Squeeze(found, 1) if model.n_trees == 1 else found


def _best(g: GraphBuilder, value: Value) -> Value:
    """Return the first of the most probable classes, probabilities rounded to float32 as XGBoost's are: int64."""
    return g.ArgMax(g.Cast(value, DataType.FLOAT), axis=1, keepdims=0)


def xgboost_classifier(g: GraphBuilder, call: Call) -> Results:
    """Convert XGBClassifier and XGBRFClassifier.

    Several labels at once are predicted as int64 [batch, labels], where XGBoost gives the same 0 and 1 as float64.
    """
    scores = _scores(g, call)

    def label() -> Value:
        model = scores.model
        if model.groups > 1 and (int(call.source.n_classes_) != 2 or model.objective == "multi:softmax"):
            return _best(g, scores.value())
        if model.objective in LOGISTIC:
            positive = above_half(g, scores.margin(), _UNIT)
        else:
            positive = g.Greater(scores.value(), g.scalar_like(0.5, scores.value()))
        positive = g.Cast(positive, DataType.INT64)
        return positive if model.groups > 1 else g.Squeeze(positive, 1)

    def probabilities() -> Value:
        value: Value = scores.value()
        return value if scores.model.groups > 1 else two_probabilities(g, value)

    makers = {
        "predict": label,
        "predict_proba": probabilities,
        "decision_function": lambda: as_scores(g, call, scores.margin()),
        "apply": scores.leaves,
    }
    return produce(g, call, makers)


def xgboost_regressor(g: GraphBuilder, call: Call) -> Results:
    """Convert XGBRegressor, XGBRFRegressor, XGBRanker and Booster: predict is what the objective makes of margins."""
    scores = _scores(g, call)

    def predicted() -> Value:
        if scores.model.objective == "multi:softmax":
            return g.Cast(_best(g, scores.value()), working_type(call))
        return as_scores(g, call, scores.value())

    makers = {
        "predict": predicted,
        "decision_function": lambda: as_scores(g, call, scores.margin()),
        "apply": scores.leaves,
    }
    return produce(g, call, makers)
