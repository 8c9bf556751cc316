"""sklearn.linear_model and the linear machines of sklearn.svm: one matrix product, then a link or a vote.

The product is summed in float64 inside the graph, also for float32 rows, and rounded once: scikit-learn's own
coefficients are float64, so its product is as well.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from any2onnx.converters.sklearn import sparse_rows
from any2onnx.converters.sklearn.numerics import logistic
from any2onnx.converters.sklearn.support import (
    Array,
    Results,
    argmax_label,
    cast_results,
    decision_label,
    inner_type,
    matrix,
    normalized_rows,
    only,
    two_columns,
    weights,
)
from any2onnx.errors import UnsupportedParameter
from any2onnx.graph.builder import GraphBuilder
from any2onnx.graph.types import DataType, Value, rank_of
from any2onnx.operator_mappings.mapping import Call


def affine(g: GraphBuilder, x: Value, coefficients: Any, intercept: Any, dtype: DataType) -> Value:
    """Return x @ coefficients.T + intercept as [N, outputs]; [N] for a vector of coefficients."""
    coef = weights(coefficients, dtype)
    vector = coef.ndim == 1
    bias = np.broadcast_to(np.ravel(weights(intercept, dtype)), (1 if vector else coef.shape[0],))
    rows = coef[None, :] if vector else coef
    product = sparse_rows.affine(g, x, rows, bias)
    if product is None:
        bias = np.ascontiguousarray(bias)
        product = g.Gemm(x, g.const(rows, name="coef"), g.const(bias, name="intercept"), transB=1)
    return g.Squeeze(product, 1) if vector else product


def linear_regressor(g: GraphBuilder, call: Call) -> Results:
    """Convert any regressor that predicts X @ coef_.T + intercept_."""
    dtype = inner_type(call)
    model = call.source
    value = affine(g, matrix(g, call, dtype), model.coef_, model.intercept_, dtype)
    return cast_results(g, call, {"predict": value})


def linear_decision(g: GraphBuilder, call: Call) -> Value:
    """Return the decision function as scikit-learn shapes it: [N] for one row of coefficients."""
    dtype = inner_type(call)
    model = call.source
    decision = affine(g, matrix(g, call, dtype), np.atleast_2d(dense(model.coef_)), model.intercept_, dtype)
    return g.Squeeze(decision, 1) if np.atleast_2d(dense(model.coef_)).shape[0] == 1 else decision


def dense(array: Any) -> Array:
    """Return coefficients as a dense array (they may have been made sparse by `sparsify`)."""
    return array.toarray() if hasattr(array, "toarray") else np.asarray(array)


def linear_classifier(g: GraphBuilder, call: Call) -> Results:
    """Convert a classifier with a linear decision function and no probabilities."""
    decision = linear_decision(g, call)
    return _pick(g, call, decision, {})


def logistic_regression(g: GraphBuilder, call: Call) -> Results:
    """Convert LogisticRegression(CV): logistic for two classes, softmax for more."""
    if call.source.coef_.shape[0] == 1 and set(call.methods) in ({"predict_proba"}, {"predict", "predict_proba"}):
        return _two_class_softmax(g, call)
    decision = linear_decision(g, call)
    if not {"predict_proba", "predict_log_proba"} & set(call.methods):
        return _pick(g, call, decision, {})
    binary = rank_of(decision) == 1
    probability = two_columns(g, logistic(g, decision)) if binary else g.Softmax(decision, axis=1)
    return _pick(g, call, decision, _with_log(g, call, probability))


def _two_class_softmax(g: GraphBuilder, call: Call) -> Results:
    """Convert the logistic function of one decision as the softmax of [0, decision].

    Half the nodes of the logistic function and its complement. The complement is even more exact than 1 - p, which is
    why the logarithm, -inf where 1 - p rounds to 0, is not taken from it.
    """
    dtype = inner_type(call)
    model = call.source
    coefficients = np.vstack([np.zeros((1, model.coef_.shape[1])), dense(model.coef_)])
    logits = affine(g, matrix(g, call, dtype), coefficients, np.append(0.0, model.intercept_), dtype)
    results: Results = {"predict_proba": g.Softmax(logits, axis=1)}
    if "predict" in call.methods:
        # Of equal logits the first, as for a decision of 0.
        results["predict"] = argmax_label(g, logits, model.classes_)
    return cast_results(g, call, only(call, results), keep=("predict",))


def _with_log(g: GraphBuilder, call: Call, probability: Value) -> Results:
    # The logarithm of the probability, as scikit-learn takes it: -inf where the probability underflows.
    results: Results = {"predict_proba": probability}
    if "predict_log_proba" in call.methods:
        results["predict_log_proba"] = g.Log(probability)
    return results


def sgd_classifier(g: GraphBuilder, call: Call) -> Results:
    """Convert SGDClassifier: logistic probabilities one-vs-rest, or clipped ones for loss="modified_huber".

    Raises:
        UnsupportedParameter: The loss has no probabilities.
    """
    decision = linear_decision(g, call)
    wanted = {"predict_proba", "predict_log_proba"} & set(call.methods)
    if not wanted:
        return _pick(g, call, decision, {})
    loss = call.source.loss
    if loss == "log_loss":
        probability = _one_vs_rest_probability(g, logistic(g, decision))
    elif loss == "modified_huber":
        half = g.scalar_like(0.5, decision)
        scaled = g.Mul(g.Add(g.Clip(decision, -1.0, 1.0), g.scalar_like(1.0, decision)), half)
        probability = _one_vs_rest_probability(g, scaled)
    else:
        raise UnsupportedParameter(f"loss={loss!r} has no probabilities", where=call.location)
    return _pick(g, call, decision, _with_log(g, call, probability))


def _one_vs_rest_probability(g: GraphBuilder, probability: Value) -> Value:
    return two_columns(g, probability) if rank_of(probability) == 1 else normalized_rows(g, probability)


def ridge_classifier(g: GraphBuilder, call: Call) -> Results:
    """Convert RidgeClassifier(CV); with multilabel targets each column is a decision of its own."""
    decision = linear_decision(g, call)
    if getattr(call.source._label_binarizer, "y_type_", "").startswith("multilabel"):
        label = g.Cast(g.Greater(decision, g.scalar_like(0.0, decision)), DataType.INT64)
        return cast_results(g, call, only(call, {"predict": label, "decision_function": decision}), keep=("predict",))
    return _pick(g, call, decision, {})


def _pick(g: GraphBuilder, call: Call, decision: Value, more: Results) -> Results:
    """Return the wanted methods of a classifier with this decision function."""
    results: Results = {"decision_function": decision, **more}
    if "predict" in call.methods:
        results["predict"] = decision_label(g, decision, call.source.classes_)
    return cast_results(g, call, only(call, results), keep=("predict",))


def generalized_linear(g: GraphBuilder, call: Call) -> Results:
    """Convert PoissonRegressor, GammaRegressor and TweedieRegressor: the inverse link of the linear predictor."""
    dtype = inner_type(call)
    model = call.source
    linear = affine(g, matrix(g, call, dtype), model.coef_, model.intercept_, dtype)
    link = type(model._base_loss.link).__name__
    if link == "LogLink":
        linear = g.Exp(linear)
    elif link != "IdentityLink":
        raise UnsupportedParameter(f"the link {link} is not known", where=call.location, needs="'identity' or 'log'")
    return cast_results(g, call, {"predict": linear})


def bayesian_regressor(g: GraphBuilder, call: Call) -> Results:
    """Convert BayesianRidge and ARDRegression, with the standard deviation of the prediction where it is wanted."""
    dtype = inner_type(call)
    model = call.source
    x = matrix(g, call, dtype)
    results: Results = {}
    if "predict" in call.methods:
        results["predict"] = affine(g, x, model.coef_, model.intercept_, dtype)
    if "predict_std" in call.methods:
        kept = g.Sub(x, weights(model.X_offset_, dtype))
        if hasattr(model, "threshold_lambda"):
            columns = np.flatnonzero(model.lambda_ < model.threshold_lambda)
            kept = g.Gather(kept, columns.astype(np.int64), axis=1)
        spread = g.ReduceSum(g.Mul(g.MatMul(kept, weights(model.sigma_, dtype)), kept), [1], keepdims=False)
        results["predict_std"] = g.Sqrt(g.Add(spread, g.scalar_like(1.0 / float(model.alpha_), spread)))
    return cast_results(g, call, only(call, results))


def one_class_sgd(g: GraphBuilder, call: Call) -> Results:
    """Convert SGDOneClassSVM: -1 or 1 by the sign of X @ coef_ - offset_."""
    dtype = inner_type(call)
    model = call.source
    score = affine(g, matrix(g, call, dtype), np.ravel(dense(model.coef_)), np.zeros(1), dtype)
    decision = g.Sub(score, weights(np.ravel(model.offset_)[:1], dtype))
    inside = g.GreaterOrEqual(decision, g.scalar_like(0.0, decision))
    one = g.const(np.asarray(1, np.int64))
    results: Results = {
        "predict": g.Where(inside, one, g.Neg(one)),
        "decision_function": decision,
        "score_samples": score,
    }
    return cast_results(g, call, only(call, results))
