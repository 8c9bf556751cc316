"""Meta-estimators that hand everything on to one estimator, with a change before or after it.

Searches, FrozenEstimator, SelfTrainingClassifier, RANSACRegressor, threshold classifiers, TransformedTargetRegressor.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from any2onnx.converters.sklearn.frames import join
from any2onnx.converters.sklearn.support import (
    Child,
    Results,
    as_column,
    cast_results,
    children,
    convert_child,
    labels,
    no_columns,
    only,
    raw_matrix,
)
from any2onnx.graph.builder import GraphBuilder
from any2onnx.graph.types import DataType, Value, rank_of, shape_of
from any2onnx.operator_mappings.mapping import Call


def _delegate(attribute: str) -> Callable[[GraphBuilder, Call], Results]:
    """Return the converter of a meta-estimator that only hands on to the fitted estimator in `attribute`."""

    def find(model: Any, methods: tuple[str, ...]) -> list[Child]:
        inner = getattr(model, attribute, None)
        return [] if inner is None else [Child(attribute.rstrip("_"), inner, methods)]

    @children(find, delegates=True)
    def convert(g: GraphBuilder, call: Call) -> Results:
        inner = getattr(call.source, attribute)
        columns = call.params["columns"]
        return convert_child(call, attribute.rstrip("_"), inner, call.inputs, call.methods, columns=columns)

    return convert


search = _delegate("best_estimator_")
frozen = _delegate("estimator")
self_training = _delegate("estimator_")


# --- thresholds -------------------------------------------------------------------------------------------------------


def _threshold_estimator(model: Any) -> Any:
    return getattr(model, "estimator_", model.estimator)


def _threshold_method(model: Any) -> str:
    """Return the method whose score is compared: probabilities first, where it is left open."""
    if model.response_method != "auto":
        return str(model.response_method)
    return "predict_proba" if hasattr(_threshold_estimator(model), "predict_proba") else "decision_function"


def _threshold_children(model: Any, methods: tuple[str, ...]) -> list[Child]:
    wanted = [method for method in methods if method != "predict"]
    if "predict" in methods:
        wanted.append(_threshold_method(model))
    return [Child("estimator", _threshold_estimator(model), tuple(dict.fromkeys(wanted)))]


def _threshold(model: Any, method: str) -> tuple[float, Any]:
    """Return the threshold and the positive label (None for the second class)."""
    if hasattr(model, "best_threshold_"):
        return float(model.best_threshold_), model._curve_scorer._get_pos_label()
    if model.threshold == "auto":
        return 0.5 if method == "predict_proba" else 0.0, model.pos_label
    return float(model.threshold), model.pos_label


@children(_threshold_children)
def threshold_classifier(g: GraphBuilder, call: Call) -> Results:
    """Convert FixedThresholdClassifier and TunedThresholdClassifierCV: the positive label from a threshold on."""
    model = call.source
    (child,) = _threshold_children(model, call.methods)
    results = convert_child(
        call, "estimator", child.estimator, call.inputs, child.methods, columns=call.params["columns"], exact=True
    )
    if "predict" in call.methods:
        method = _threshold_method(model)
        threshold, positive = _threshold(model, method)
        classes = list(np.asarray(model.classes_).tolist())
        chosen = 1 if positive is None else classes.index(positive)
        score = results[method]
        if method == "predict_proba":
            score = g.Gather(score, np.asarray(chosen, np.int64), axis=1)
        elif chosen == 0:
            score = g.Neg(score)
        reached = g.GreaterOrEqual(score, g.scalar_like(threshold, score))
        index = g.Where(reached, np.asarray(chosen, np.int64), np.asarray(1 - chosen, np.int64))
        results["predict"] = labels(g, model.classes_, index)
    return cast_results(g, call, only(call, results), keep=("predict",))


# --- TransformedTargetRegressor ---------------------------------------------------------------------------------------


def _target_children(model: Any, methods: tuple[str, ...]) -> list[Child]:
    return [
        Child("regressor", model.regressor_, ("predict",)),
        Child("transformer", model.transformer_, ("inverse_transform",)),
    ]


@children(_target_children)
def transformed_target(g: GraphBuilder, call: Call) -> Results:
    """Convert TransformedTargetRegressor: the target's transformation taken back."""
    model = call.source
    columns = call.params["columns"]
    raw = convert_child(call, "regressor", model.regressor_, call.inputs, ("predict",), columns=columns, exact=True)
    column = as_column(g, raw["predict"])
    inverse = ("inverse_transform",)
    value: Value = convert_child(call, "transformer", model.transformer_, [column], inverse, exact=True)[inverse[0]]
    if model._training_dim == 1 and rank_of(value) == 2 and shape_of(value)[1] == 1:
        value = g.Squeeze(value, 1)
    return cast_results(g, call, {"predict": value})


# --- feature selection ------------------------------------------------------------------------------------------------


def _selector_children(model: Any, methods: tuple[str, ...]) -> list[Child]:
    wanted = tuple(method for method in methods if method not in ("transform", "inverse_transform"))
    return [Child("estimator", model.estimator_, wanted)] if wanted else []


@children(_selector_children)
def selector(g: GraphBuilder, call: Call) -> Results:
    """Convert every feature selector: the chosen columns; RFE also predicts from them."""
    from any2onnx.converters.sklearn.inputs import Table, columns_at

    model = call.source
    support = np.asarray(model.get_support())
    kept = np.flatnonzero(support)
    if "inverse_transform" in call.methods:
        return {"inverse_transform": _put_back(g, call, support)}
    if not len(kept):
        return {"transform": no_columns(g, call)}
    table = columns_at(g, Table(call.inputs, call.params["columns"]), [int(k) for k in kept])
    results: Results = {}
    if "transform" in call.methods:
        results["transform"] = join(g, call, table.values)
    for child in _selector_children(model, call.methods):
        results.update(convert_child(call, child.name, child.estimator, table.values, child.methods))
    return only(call, results)


def _put_back(g: GraphBuilder, call: Call, support: np.ndarray[Any, Any]) -> Value:
    """Return the selected columns in their places among columns of zeros."""
    x = raw_matrix(g, call)
    wide = g.op("Pad", x, [0, 0, 0, 1], g.const(np.zeros((), x.dtype.numpy() if x.dtype else np.float32)))
    positions = np.where(support, np.cumsum(support) - 1, support.sum())
    return g.Gather(wide, positions.astype(np.int64), axis=1)


def constant_predictor(g: GraphBuilder, call: Call) -> Results:
    """Convert the stand-in that one-vs-rest classifiers use for a class that was always, or never, there."""
    value = np.asarray(call.source.y_).ravel()[:1].astype(np.float64)
    rows = g.Shape(call.inputs[0], start=0, end=1)
    results: Results = {"decision_function": g.Expand(value, rows)}
    if "predict" in call.methods:
        results["predict"] = g.Cast(results["decision_function"], DataType.INT64)
    if "predict_proba" in call.methods:
        both = np.concatenate([1 - value, value])[None, :]
        results["predict_proba"] = g.Expand(both, g.shape_vector([rows, 2]))
    return cast_results(g, call, only(call, results), keep=("predict",))
