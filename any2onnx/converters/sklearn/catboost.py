"""CatBoost: CatBoostClassifier, CatBoostRegressor, CatBoostRanker and CatBoost.

CatBoost compares float32(x) > border and adds in float64.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from any2onnx.converters.sklearn.boosters import as_scores, constant, iterations_of, two_probabilities
from any2onnx.converters.sklearn.hist_gradient_boosting import category_codes
from any2onnx.converters.sklearn.lazy import once, produce
from any2onnx.converters.sklearn.support import Results, as_column, columns_of, to_float, working_type
from any2onnx.converters.sklearn.tree import matrix, pick_label, precision
from any2onnx.errors import UnsupportedParameter
from any2onnx.graph.builder import GraphBuilder
from any2onnx.graph.types import DataType, Value, shape_of
from any2onnx.operator_mappings.mapping import Call
from any2onnx.tree_ensemble.emit import emit_leaf_numbers, emit_scores
from any2onnx.tree_ensemble.sources.catboost import CatBoostModel, read_model
from any2onnx.tree_ensemble.sources.catboost_categories import Categories, Statistic

_LABELS = ("MultiLogloss", "MultiCrossEntropy")
_EACH = ("MultiClassOneVsAll", *_LABELS)


@dataclass(frozen=True, slots=True)
class _Scores:
    """Results that others are made of."""

    model: CatBoostModel
    raw: Any
    leaves: Any


def _scores(g: GraphBuilder, call: Call) -> _Scores:
    model = read_model(call.source, iterations_of(call), call.options.get("categories"))
    rows = once(lambda: _rows(g, call, model.categories))
    return _Scores(model, once(lambda: _raw(g, call, model, rows())), once(lambda: _leaves(g, call, model, rows())))


def _rows(g: GraphBuilder, call: Call, categories: Categories | None) -> Value:
    """Return the columns that the trees test: FLOAT."""
    if categories is None:
        return g.Cast(matrix(g, call), DataType.FLOAT)
    columns = columns_of(g, call)
    codes = {
        k: _codes(g, category_codes(g, call, as_column(g, columns[column]), values), len(values))
        for k, (column, values) in enumerate(zip(categories.columns, categories.values, strict=True))
        if len(values)
    }
    parts = [to_float(g, as_column(g, columns[k]), DataType.FLOAT) for k in categories.floats]
    parts += [g.Cast(codes[k], DataType.FLOAT) for k in categories.one_hot]
    parts += [_statistic(g, item, columns, codes) for item in categories.statistics]
    # Not every version of LabelEncoder says which shape it gives.
    return g.annotate(g.Concat(*parts, axis=1), [shape_of(call.inputs[0])[0], len(parts)])


def _codes(g: GraphBuilder, code: Value, unknown: int) -> Value:
    """Return codes as INT64 [batch, 1], `unknown` for a category that is not known."""
    return g.Cast(g.Where(g.IsNaN(code), g.scalar_like(unknown, code), code), DataType.INT64)


def _statistic(g: GraphBuilder, item: Statistic, columns: Sequence[Value], codes: Mapping[int, Value]) -> Value:
    """Return a number for each row's combination of categories: FLOAT [batch, 1]."""
    parts = [codes[k] for k in item.features]
    for k, border in item.tests:
        number = to_float(g, as_column(g, columns[k]), DataType.FLOAT)
        parts.append(g.Cast(g.Greater(number, g.scalar_like(border, number)), DataType.INT64))
    for k, wanted in item.matches:
        parts.append(g.Cast(g.Equal(codes[k], g.scalar_like(wanted, codes[k])), DataType.INT64))
    index: Value | None = None
    for part, size in zip(parts, item.table.shape, strict=True):
        index = part if index is None else g.Add(g.Mul(index, g.scalar_like(size, index)), part)
    assert index is not None
    return g.Gather(g.const(item.table.ravel(), name="statistics"), index, axis=0)


def _raw(g: GraphBuilder, call: Call, model: CatBoostModel, x: Value) -> Value:
    """Return the raw scores [batch, scores]."""
    if model.ensemble is None:
        return constant(g, call, model.bias)
    return emit_scores(g, model.ensemble, x, result=working_type(call), precision=precision(call))


def _leaves(g: GraphBuilder, call: Call, model: CatBoostModel, x: Value) -> Value:
    """Return the numbers of the leaves [batch, trees], as `calc_leaf_indexes` does.

    Raises:
        UnsupportedParameter: There are no trees.
    """
    if model.ensemble is None:
        raise UnsupportedParameter("the model has no trees, so that apply has no result", where=call.location or None)
    return emit_leaf_numbers(g, model.ensemble, x, model.leaf)


def loss_of(model: Any) -> str:
    """Return the name of the loss that a model was trained with, without its parameters."""
    return str(model.get_all_params().get("loss_function", "")).partition(":")[0]


def catboost_classifier(g: GraphBuilder, call: Call) -> Results:
    """Convert CatBoostClassifier; labels of several classes are a column [batch, 1], as CatBoost gives them."""
    scores = _scores(g, call)
    loss = loss_of(call.source)
    makers = {
        "predict": lambda: _label(g, call, loss, scores.raw()),
        "predict_proba": lambda: _probabilities(g, loss, scores.raw()),
        "predict_log_proba": lambda: _log_probabilities(g, loss, scores.raw()),
        "decision_function": lambda: as_scores(g, call, scores.raw()),
        "apply": scores.leaves,
    }
    return produce(g, call, makers, keep=("predict",))


def _label(g: GraphBuilder, call: Call, loss: str, raw: Value) -> Value:
    classes = np.asarray(call.source.classes_)
    if loss in _LABELS:
        return g.Cast(g.Greater(raw, g.scalar_like(0.0, raw)), DataType.INT64)
    if raw.shape is not None and raw.shape[1] == 1:
        share = float(call.source.get_probability_threshold())
        # A share of 0 or 1 is a threshold of infinity.
        with np.errstate(divide="ignore"):
            limit = float(np.log(np.float64(share)) - np.log1p(-np.float64(share)))
        positive = g.Greater(g.Squeeze(raw, 1), g.scalar_like(limit, raw))
        return pick_label(g, classes, g.Cast(positive, DataType.INT64))
    return pick_label(g, classes, g.ArgMax(raw, axis=1, keepdims=1))


def _probabilities(g: GraphBuilder, loss: str, raw: Value) -> Value:
    if raw.shape is not None and raw.shape[1] == 1:
        return two_probabilities(g, g.Sigmoid(raw))
    return g.Sigmoid(raw) if loss in _EACH else g.Softmax(raw, axis=1)


def _log_probabilities(g: GraphBuilder, loss: str, raw: Value) -> Value:
    """Return logarithms as CatBoost computes them: its log(1 / (1 + exp(-x))) is -inf where exp overflows."""
    wide = g.Cast(raw, DataType.DOUBLE)
    if raw.shape is not None and raw.shape[1] == 1:
        return g.Concat(_log_share(g, g.Neg(wide)), _log_share(g, wide), axis=1)
    return _log_share(g, wide) if loss in _EACH else g.LogSoftmax(wide, axis=1)


def _log_share(g: GraphBuilder, raw: Value) -> Value:
    return g.Neg(g.Log(g.Add(g.Exp(g.Neg(raw)), g.scalar_like(1.0, raw))))


def catboost_regressor(g: GraphBuilder, call: Call) -> Results:
    """Convert CatBoostRegressor, CatBoostRanker and CatBoost."""
    scores = _scores(g, call)
    kind = getattr(call.source, "_get_default_prediction_type", lambda: "RawFormulaVal")()

    def predicted() -> Value:
        raw: Value = scores.raw()
        if kind == "Exponent":
            return as_scores(g, call, g.Exp(raw))
        if kind == "RMSEWithUncertainty":
            # The mean, and the variance from the logarithm of the deviation.
            mean, deviation = g.Split(raw, [1, 1], axis=1)
            return as_scores(g, call, g.Concat(mean, g.Exp(g.Mul(deviation, g.scalar_like(2.0, raw))), axis=1))
        return as_scores(g, call, raw)

    makers = {
        "predict": predicted,
        "decision_function": lambda: as_scores(g, call, scores.raw()),
        "apply": scores.leaves,
    }
    return produce(g, call, makers)
