"""sklearn.ensemble: meta-estimators over any estimators: voting, stacking, bagging.

The members' results are kept in float64 until they are averaged or compared, as scikit-learn does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from any2onnx.converters.sklearn.frame import Frame
from any2onnx.converters.sklearn.frames import join, values_of
from any2onnx.converters.sklearn.inputs import Table, columns_at
from any2onnx.converters.sklearn.support import (
    Child,
    Results,
    argmax_label,
    as_column,
    as_vector,
    cast_results,
    children,
    convert_child,
    inner_type,
    labels,
    only,
    raw_matrix,
)
from any2onnx.graph.builder import GraphBuilder
from any2onnx.graph.types import DataType, Value, dtype_of
from any2onnx.operator_mappings.mapping import Call


def total(g: GraphBuilder, values: Sequence[Value]) -> Value:
    """Return the sum of several values."""
    return values[0] if len(values) == 1 else g.op("Sum", *values)


def mean(g: GraphBuilder, values: Sequence[Value], factors: Sequence[float] | None = None) -> Value:
    """Return the (weighted) mean of several values."""
    if factors is None:
        summed, divisor = total(g, values), float(len(values))
    else:
        scaled = [g.Mul(v, g.scalar_like(float(w), v)) for v, w in zip(values, factors, strict=True)]
        summed, divisor = total(g, scaled), float(np.sum(np.asarray(factors, np.float64)))
    return g.Div(summed, g.scalar_like(divisor, summed))


def _members(call: Call, method: str) -> list[Value]:
    """Return one method's result of every fitted member."""
    columns = call.params["columns"]
    return [
        convert_child(call, f"estimators_{k}", member, call.inputs, (method,), columns=columns, exact=True)[method]
        for k, member in enumerate(call.source.estimators_)
    ]


# --- voting -----------------------------------------------------------------------------------------------------------


def _voting_children(model: Any, methods: tuple[str, ...]) -> list[Child]:
    method = "predict_proba" if getattr(model, "voting", "hard") == "soft" else "predict"
    return [Child(f"estimators_{k}", member, (method,)) for k, member in enumerate(model.estimators_)]


@children(_voting_children)
def voting_classifier(g: GraphBuilder, call: Call) -> Results:
    """Convert VotingClassifier: the mean probability (soft) or the weighted count of labels (hard)."""
    model = call.source
    factors = model._weights_not_none
    if model.voting == "soft":
        probabilities = _members(call, "predict_proba")
        average = mean(g, probabilities, factors)
        results: Results = {"predict_proba": average}
        if "transform" in call.methods:
            results["transform"] = _soft_transform(g, call, probabilities)
        if "predict" in call.methods:
            results["predict"] = argmax_label(g, average, model.classes_)
        return cast_results(g, call, only(call, results), keep=("predict",))
    votes = g.op("Concat", *(as_column(g, v) for v in _members(call, "predict")), axis=1)
    results = {"transform": votes}
    if "predict" in call.methods:
        count = len(model.classes_)
        cast = g.Cast(g.Equal(g.Unsqueeze(votes, 2), np.arange(count)[None, None, :]), DataType.DOUBLE)
        if factors is not None:
            cast = g.Mul(cast, np.asarray(factors, np.float64)[None, :, None])
        results["predict"] = argmax_label(g, g.ReduceSum(cast, [1], keepdims=False), model.classes_)
    return only(call, results)


def _soft_transform(g: GraphBuilder, call: Call, probabilities: Sequence[Value]) -> Value:
    if call.source.flatten_transform:
        return g.op("Concat", *probabilities, axis=1)
    return g.op("Concat", *(g.Unsqueeze(p, 0) for p in probabilities), axis=0)


@children(_voting_children)
def voting_regressor(g: GraphBuilder, call: Call) -> Results:
    """Convert VotingRegressor: the weighted mean of the members."""
    predictions = [as_vector(g, v) for v in _members(call, "predict")]
    results: Results = {}
    if "predict" in call.methods:
        results["predict"] = mean(g, predictions, call.source._weights_not_none)
    if "transform" in call.methods:
        results["transform"] = g.op("Concat", *(as_column(g, v) for v in predictions), axis=1)
    return cast_results(g, call, results)


# --- stacking ---------------------------------------------------------------------------------------------------------


def _stacking_children(model: Any, methods: tuple[str, ...]) -> list[Child]:
    below = [
        Child(f"estimators_{k}", member, (method,))
        for k, (member, method) in enumerate(zip(model.estimators_, model.stack_method_, strict=True))
    ]
    final = tuple(method for method in methods if method != "transform")
    return [*below, Child("final_estimator", model.final_estimator_, final)] if final else below


@children(_stacking_children)
def stacking(g: GraphBuilder, call: Call) -> Results:
    """Convert StackingClassifier and StackingRegressor: the final estimator on the members' results."""
    model = call.source
    encoder = getattr(model, "_label_encoder", None)
    table = _stacked_table(g, call)
    results: Results = {"transform": table}
    final = tuple(method for method in call.methods if method != "transform")
    if final:
        results.update(convert_child(call, "final_estimator", model.final_estimator_, values_of(table), final))
    if isinstance(encoder, list):
        _label_sets(g, [one.classes_ for one in encoder], results)
    elif encoder is not None and "predict" in final:
        results["predict"] = labels(g, encoder.classes_, results["predict"])
    return cast_results(g, call, only(call, results), keep=() if encoder is None else ("predict",))


def _label_sets(g: GraphBuilder, classes: Sequence[Any], results: Results) -> None:
    """Turn the final estimator's results for several targets into StackingClassifier's."""
    if "predict" in results:
        columns = g.Split(results["predict"], [1] * len(classes), axis=1)
        named = [labels(g, own, column) for own, column in zip(classes, columns, strict=True)]
        results["predict"] = g.op("Concat", *named, axis=1)
    if isinstance(results.get("predict_proba"), tuple):
        # scikit-learn keeps the probability of each target's first class.
        first = [g.Slice(part, [0], [1], [1]) for part in results["predict_proba"]]
        results["predict_proba"] = g.op("Concat", *first, axis=1)


def _stacked_table(g: GraphBuilder, call: Call) -> Value | Frame:
    model = call.source
    binary = len(getattr(model, "classes_", ())) == 2
    parts: list[Value] = []
    columns = call.params["columns"]
    for k, (member, method) in enumerate(zip(model.estimators_, model.stack_method_, strict=True)):
        found = convert_child(call, f"estimators_{k}", member, call.inputs, (method,), columns=columns, exact=True)
        result = found[method]
        if isinstance(result, tuple):
            parts += [g.Slice(part, [1], [np.iinfo(np.int64).max], [1]) for part in result]
        elif method == "predict_proba" and binary:
            # The first column says nothing that the second does not.
            parts.append(g.Slice(result, [1], [np.iinfo(np.int64).max], [1]))
        else:
            parts.append(as_column(g, result))
    if model.passthrough:
        parts += call.inputs
    return join(g, call, [part if _is_text(part) else g.Cast(part, inner_type(call)) for part in parts])


def _is_text(value: Value) -> bool:
    return dtype_of(value) == DataType.STRING


# --- bagging ----------------------------------------------------------------------------------------------------------


def _bagging_method(member: Any, methods: tuple[str, ...]) -> tuple[str, ...]:
    wanted = []
    if {"predict", "predict_proba"} & set(methods):
        wanted.append("predict_proba" if hasattr(member, "predict_proba") else "predict")
    if "predict_log_proba" in methods:
        names = [name for name in ("predict_log_proba", "predict_proba", "predict") if hasattr(member, name)]
        wanted.append(names[0])
    if "decision_function" in methods:
        wanted.append("decision_function")
    return tuple(dict.fromkeys(wanted))


def _bagging_children(model: Any, methods: tuple[str, ...]) -> list[Child]:
    return [
        Child(f"estimators_{k}", member, _bagging_method(member, methods)) for k, member in enumerate(model.estimators_)
    ]


def _bagged(g: GraphBuilder, call: Call, methods: Sequence[tuple[str, ...]]) -> list[Results]:
    """Return the wanted results of every member on its own features."""
    text = any(_is_text(value) for value in call.inputs)
    table = Table(call.inputs if text else (raw_matrix(g, call),), ((),))
    found = []
    model = call.source
    for k, (member, features, wanted) in enumerate(
        zip(model.estimators_, model.estimators_features_, methods, strict=True)
    ):
        rows = columns_at(g, table, [int(f) for f in features]).values
        found.append(convert_child(call, f"estimators_{k}", member, rows, wanted, exact=True))
    return found


@children(_bagging_children)
def bagging_classifier(g: GraphBuilder, call: Call) -> Results:
    """Convert BaggingClassifier: mean probabilities, or votes where members have none."""
    model = call.source
    members = _bagged(g, call, [_bagging_method(member, call.methods) for member in model.estimators_])
    results: Results = {}
    if {"predict", "predict_proba"} & set(call.methods):
        spread = [_spread(g, call, m, r) for m, r in zip(model.estimators_, members, strict=True)]
        results["predict_proba"] = mean(g, spread)
    if "predict" in call.methods:
        results["predict"] = argmax_label(g, results["predict_proba"], model.classes_)
    if "predict_log_proba" in call.methods:
        results["predict_log_proba"] = _log_mean(g, call, members)
    if "decision_function" in call.methods:
        results["decision_function"] = mean(g, [r["decision_function"] for r in members])
    return cast_results(g, call, only(call, results), keep=("predict",))


def _spread(g: GraphBuilder, call: Call, member: Any, found: Results) -> Value:
    """Return a member's probabilities over all classes; it may have seen only some, or have no probabilities."""
    count = int(call.source.n_classes_)
    if "predict_proba" not in found:
        hits = g.Equal(g.Unsqueeze(found["predict"], 1), np.arange(count)[None, :])
        return g.Cast(hits, inner_type(call))
    probability: Value = found["predict_proba"]
    seen = np.asarray(member.classes_)
    if len(seen) == count:
        return probability
    return _among_all(g, probability, seen, count, 0.0)


def _among_all(g: GraphBuilder, values: Value, seen: np.ndarray[Any, Any], count: int, fill: float) -> Value:
    """Return columns of the classes `seen` in their places among `count` columns of `fill`."""
    wide = g.op("Pad", values, [0, 0, 0, 1], g.scalar_like(fill, values))
    positions = np.full(count, len(seen), np.int64)
    positions[seen.astype(np.int64)] = np.arange(len(seen))
    return g.Gather(wide, positions, axis=1)


def _log_mean(g: GraphBuilder, call: Call, members: Sequence[Results]) -> Value:
    """Return log(mean(exp(l))) over the members' log-probabilities, without underflow."""
    model = call.source
    if not hasattr(model.estimators_[0], "predict_log_proba"):
        return g.Log(mean(g, [_spread(g, call, m, r) for m, r in zip(model.estimators_, members, strict=True)]))
    count = int(model.n_classes_)
    logs = []
    for member, found in zip(model.estimators_, members, strict=True):
        value, seen = found["predict_log_proba"], np.asarray(member.classes_)
        logs.append(value if len(seen) == count else _among_all(g, value, seen, count, -np.inf))
    top = logs[0] if len(logs) == 1 else g.op("Max", *logs)
    low = g.scalar_like(-np.inf, top)
    safe = g.Where(g.Equal(top, low), g.scalar_like(0.0, top), top)
    summed = total(g, [g.Exp(g.Sub(value, safe)) for value in logs])
    return g.Add(safe, g.Log(g.Div(summed, g.scalar_like(float(len(logs)), summed))))


def _bagged_predict(model: Any, methods: tuple[str, ...]) -> list[Child]:
    return [Child(f"estimators_{k}", member, ("predict",)) for k, member in enumerate(model.estimators_)]


@children(_bagged_predict)
def bagging_regressor(g: GraphBuilder, call: Call) -> Results:
    """Convert BaggingRegressor: the mean of the members."""
    members = _bagged(g, call, [("predict",)] * len(call.source.estimators_))
    return cast_results(g, call, {"predict": mean(g, [m["predict"] for m in members])})
