"""sklearn.dummy: answers that do not look at the rows."""

from __future__ import annotations

from typing import Any

import numpy as np

from any2onnx.converters.sklearn.support import (
    Results,
    cast_results,
    class_array,
    fill_rows,
    only,
)
from any2onnx.errors import UnsupportedParameter
from any2onnx.graph.builder import GraphBuilder
from any2onnx.operator_mappings.mapping import Call


def dummy_regressor(g: GraphBuilder, call: Call) -> Results:
    """Convert DummyRegressor: one constant per target."""
    model = call.source
    constant = np.asarray(model.constant_, np.float64).ravel()
    row = constant[0] if model.n_outputs_ == 1 else constant
    results: Results = {
        "predict": fill_rows(g, call, np.asarray(row)),
        "predict_std": fill_rows(g, call, np.zeros_like(np.asarray(row))),
    }
    return cast_results(g, call, only(call, results))


def dummy_classifier(g: GraphBuilder, call: Call) -> Results:
    """Convert DummyClassifier with a fixed answer.

    Raises:
        UnsupportedParameter: strategy="stratified" and the labels of "uniform" are drawn at random for every call.
    """
    model = call.source
    several = model.n_outputs_ > 1
    classes: list[Any] = list(model.classes_) if several else [model.classes_]
    priors: list[Any] = list(model.class_prior_) if several else [model.class_prior_]
    constants = [None] * len(classes)
    if model._strategy == "constant":
        constants = np.ravel(np.asarray(model.constant, dtype=object)).tolist()
    parts = list(zip(classes, priors, constants, strict=True))
    results: Results = {}
    if "predict" in call.methods:
        chosen = [class_array(c)[_position(call, c, p, k)] for c, p, k in parts]
        row = class_array(np.asarray(chosen)) if several else class_array(np.asarray(chosen))[0]
        results["predict"] = fill_rows(
            g, call, np.asarray(row, dtype=object) if isinstance(row, str) else np.asarray(row)
        )
    for method in ("predict_proba", "predict_log_proba"):
        if method in call.methods:
            rows = [_probabilities(call, c, p, k) for c, p, k in parts]
            with np.errstate(divide="ignore"):
                filled = [fill_rows(g, call, np.log(r) if method == "predict_log_proba" else r) for r in rows]
            results[method] = tuple(filled) if several else filled[0]
    return cast_results(g, call, only(call, results), keep=("predict",))


def _position(call: Call, classes: Any, prior: Any, constant: Any) -> int:
    strategy = call.source._strategy
    if strategy in ("most_frequent", "prior"):
        return int(np.argmax(prior))
    if strategy == "constant":
        return int(np.flatnonzero(np.asarray(classes) == constant)[0])
    raise _random(call)


def _probabilities(call: Call, classes: Any, prior: Any, constant: Any) -> np.ndarray[Any, Any]:
    strategy = call.source._strategy
    count = len(classes)
    if strategy == "prior":
        return np.asarray(prior, np.float64)
    if strategy == "uniform":
        return np.full(count, 1.0 / count)
    if strategy == "stratified":
        raise _random(call)
    row = np.zeros(count)
    row[_position(call, classes, prior, constant)] = 1.0
    return row


def _random(call: Call) -> UnsupportedParameter:
    return UnsupportedParameter(
        f"strategy={call.source._strategy!r} draws its answers at random, anew for every call",
        where=call.location or None,
        needs="strategy 'prior', 'most_frequent' or 'constant'",
    )
