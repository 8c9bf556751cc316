"""sklearn.calibration and sklearn.isotonic."""

from __future__ import annotations

from typing import Any

import numpy as np

from any2onnx.converters.sklearn.numerics import logistic
from any2onnx.converters.sklearn.support import (
    Array,
    Child,
    Results,
    argmax_label,
    as_column,
    as_vector,
    cast_results,
    children,
    convert_child,
    inner_type,
    matrix,
    only,
    weights,
)
from any2onnx.converters.sklearn.voting import mean
from any2onnx.errors import UnsupportedParameter
from any2onnx.graph.builder import GraphBuilder
from any2onnx.graph.types import DataType, Value, dtype_of, rank_of
from any2onnx.operator_mappings.mapping import Call

# What scikit-learn adds before it takes the logarithm of probabilities.
_EPSILON = 1e-12


def _method(estimator: Any) -> str:
    return "decision_function" if hasattr(estimator, "decision_function") else "predict_proba"


def _calibrated_children(model: Any, methods: tuple[str, ...]) -> list[Child]:
    return [
        Child(f"calibrated_classifiers_{k}", c.estimator, (_method(c.estimator),))
        for k, c in enumerate(model.calibrated_classifiers_)
    ]


@children(_calibrated_children)
def calibrated_classifier(g: GraphBuilder, call: Call) -> Results:
    """Convert CalibratedClassifierCV: the mean of the calibrated probabilities of all folds."""
    model = call.source
    found = []
    for k, part in enumerate(model.calibrated_classifiers_):
        method = _method(part.estimator)
        columns = call.params["columns"]
        name = f"calibrated_classifiers_{k}"
        scores = convert_child(call, name, part.estimator, call.inputs, (method,), columns=columns, exact=True)[method]
        found.append(_calibrated(g, call, part, method, scores))
    probability = mean(g, found)
    results: Results = {"predict_proba": probability}
    if "predict" in call.methods:
        results["predict"] = argmax_label(g, probability, model.classes_)
    return cast_results(g, call, only(call, results), keep=("predict",))


def _calibrated(g: GraphBuilder, call: Call, part: Any, method: str, scores: Value) -> Value:
    """Return the calibrated probabilities of one fold, [N, classes]."""
    classes = np.asarray(part.classes)
    count = len(classes)
    if method == "predict_proba" and count == 2:
        scores = g.Gather(scores, np.asarray(1, np.int64), axis=1)
    if part.method == "temperature":
        probability = _temperature(g, part.calibrators[0], method, scores)
    elif part.method in ("sigmoid", "isotonic"):
        probability = _per_class(g, call, part, as_column(g, scores), count)
    else:
        raise UnsupportedParameter(f"method={part.method!r} is not known", where=call.location or None)
    one = g.scalar_like(1.0, probability)
    barely = g.And(g.Greater(probability, one), g.LessOrEqual(probability, g.scalar_like(1.0 + 1e-5, probability)))
    return g.Where(barely, one, probability)


def _per_class(g: GraphBuilder, call: Call, part: Any, scores: Value, count: int) -> Value:
    positions = np.searchsorted(np.asarray(part.classes), np.asarray(part.estimator.classes_))
    width = len(part.calibrators)
    columns = g.Split(scores, [1] * width, axis=1) if width > 1 else (scores,)
    zero = g.Mul(columns[0], g.scalar_like(0.0, columns[0]))
    placed: list[Value] = [zero] * count
    for position, column, calibrator in zip(positions, columns, part.calibrators, strict=False):
        place = int(position) + 1 if count == 2 else int(position)
        placed[place] = as_column(g, _calibrate(g, call, calibrator, as_vector(g, column)))
    if count == 2:
        return g.op("Concat", g.Sub(g.scalar_like(1.0, placed[1]), placed[1]), placed[1], axis=1)
    table = g.op("Concat", *placed, axis=1)
    sums = g.ReduceSum(table, [1])
    empty = g.Equal(sums, g.scalar_like(0.0, sums))
    divided = g.Div(table, g.Where(empty, g.scalar_like(1.0, sums), sums))
    return g.Where(empty, g.scalar_like(1.0 / count, table), divided)


def _calibrate(g: GraphBuilder, call: Call, calibrator: Any, score: Value) -> Value:
    if hasattr(calibrator, "a_"):
        slope, offset = float(calibrator.a_), float(calibrator.b_)
        line = g.Add(g.Mul(score, g.scalar_like(slope, score)), g.scalar_like(offset, score))
        return logistic(g, g.Neg(line))
    return interpolate(g, call, calibrator, score)


def _temperature(g: GraphBuilder, calibrator: Any, method: str, scores: Value) -> Value:
    """Return softmax(beta · logits); two classes' scores become (-x, x), probabilities their logarithm."""
    if rank_of(scores) == 1:
        column = as_column(g, scores)
        if method == "predict_proba":
            both = g.op("Concat", g.Sub(g.scalar_like(1.0, column), column), column, axis=1)
            logits = g.Log(g.Add(both, g.scalar_like(_EPSILON, both)))
        else:
            logits = g.op("Concat", g.Neg(column), column, axis=1)
    elif method == "predict_proba":
        logits = g.Log(g.Add(scores, g.scalar_like(_EPSILON, scores)))
    else:
        logits = scores
    return g.Softmax(g.Mul(logits, g.scalar_like(float(calibrator.beta_), logits)), axis=1)


# --- isotonic regression ----------------------------------------------------------------------------------------------


def isotonic_regression(g: GraphBuilder, call: Call) -> Results:
    """Convert IsotonicRegression, as regressor and as transformer."""
    value = interpolate(g, call, call.source, as_vector(g, matrix(g, call, inner_type(call))))
    return cast_results(g, call, dict.fromkeys(call.methods, value))


def interpolate(g: GraphBuilder, call: Call, model: Any, x: Value) -> Value:
    """Return the piecewise linear function of a fitted IsotonicRegression at x [N].

    Outside the fitted range it is flat (out_of_bounds="clip") or NaN; scikit-learn raises there for "raise", which a
    graph cannot.
    """
    dtype = dtype_of(x)
    knots: Array = weights(model.X_thresholds_, dtype)
    values: Array = weights(model.y_thresholds_, dtype)
    if len(values) == 1:
        return g.Add(g.Mul(x, g.scalar_like(0.0, x)), g.scalar_like(float(values[0]), x))
    inside: Value | None = None
    if model.out_of_bounds == "clip":
        x = g.Clip(x, float(model.X_min_), float(model.X_max_))
    else:
        low, high = g.scalar_like(float(knots[0]), x), g.scalar_like(float(knots[-1]), x)
        inside = g.And(g.GreaterOrEqual(x, low), g.LessOrEqual(x, high))
    passed = g.Cast(g.Greater(g.Unsqueeze(x, 1), knots[None, :]), DataType.INT64)
    upper = g.Clip(g.ReduceSum(passed, [1], keepdims=False), 1, len(knots) - 1)
    lower = g.Sub(upper, np.asarray(1, np.int64))
    slopes = np.diff(values) / np.diff(knots)
    step = g.Mul(g.Sub(x, g.Gather(knots, lower, axis=0)), g.Gather(slopes, lower, axis=0))
    result = g.Add(g.Gather(values, lower, axis=0), step)
    return result if inside is None else g.Where(inside, result, g.scalar_like(float("nan"), x))
