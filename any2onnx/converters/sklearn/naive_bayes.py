"""sklearn.naive_bayes and sklearn.discriminant_analysis: log-posteriors, and what follows from them."""

from __future__ import annotations

from typing import Any

import numpy as np

from any2onnx.converters.sklearn.linear_model import affine, linear_decision
from any2onnx.converters.sklearn.numerics import logistic
from any2onnx.converters.sklearn.support import (
    Array,
    Results,
    argmax_label,
    cast_results,
    columns_of,
    decision_label,
    inner_type,
    matrix,
    only,
    two_columns,
    weights,
)
from any2onnx.errors import UnsupportedParameter
from any2onnx.graph.builder import GraphBuilder
from any2onnx.graph.types import DataType, Value, dtype_of, rank_of
from any2onnx.operator_mappings.mapping import Call


def _from_joint(g: GraphBuilder, call: Call, joint: Value) -> Results:
    """Return the wanted methods for log P(class, x), [N, classes]."""
    results: Results = {}
    if "predict" in call.methods:
        results["predict"] = argmax_label(g, joint, call.source.classes_)
    if {"predict_proba", "predict_log_proba"} & set(call.methods):
        results["predict_log_proba"] = log_softmax(g, joint)
    if "predict_proba" in call.methods:
        results["predict_proba"] = g.Exp(results["predict_log_proba"])
    if "decision_function" in call.methods:
        results["decision_function"] = _difference(g, call, joint)
    return cast_results(g, call, only(call, results), keep=("predict",))


def _difference(g: GraphBuilder, call: Call, joint: Value) -> Value:
    """Return the scores, or their difference for two classes, [N]."""
    if len(call.source.classes_) != 2:
        return joint
    return g.Squeeze(g.MatMul(joint, weights(np.array([[-1.0], [1.0]]), dtype_of(joint))), 1)


def log_softmax(g: GraphBuilder, joint: Value) -> Value:
    """Return rows minus their log-sum-exp; classes at -inf stay there."""
    top = g.ReduceMax(joint, [1])
    shifted = g.Sub(joint, top)
    return g.Sub(shifted, g.Log(g.ReduceSum(g.Exp(shifted), [1])))


def _stacked(g: GraphBuilder, columns: list[Value]) -> Value:
    return columns[0] if len(columns) == 1 else g.op("Concat", *columns, axis=1)


def gaussian_nb(g: GraphBuilder, call: Call) -> Results:
    """Convert GaussianNB: a normal distribution per class and feature."""
    model = call.source
    dtype = inner_type(call)
    x = matrix(g, call, dtype)
    columns = []
    for mean, variance, prior in zip(model.theta_, model.var_, model.class_prior_, strict=True):
        # The difference first: expanded into a product, it would cancel where the variance is small.
        centred = g.Sub(x, weights(mean, dtype))
        squares = g.MatMul(g.Mul(centred, centred), weights(-0.5 / variance[:, None], dtype))
        with np.errstate(divide="ignore"):
            constant = np.log(prior) - 0.5 * np.sum(np.log(2.0 * np.pi * variance))
        columns.append(g.Add(squares, g.scalar_like(float(constant), squares)))
    return _from_joint(g, call, _stacked(g, columns))


def multinomial_nb(g: GraphBuilder, call: Call) -> Results:
    """Convert MultinomialNB: counts times log-probabilities, plus the log-prior."""
    model = call.source
    return _from_joint(g, call, _affine(g, call, model.feature_log_prob_, model.class_log_prior_))


def _affine(g: GraphBuilder, call: Call, coefficients: Array, offset: Array) -> Value:
    dtype = inner_type(call)
    return affine(g, matrix(g, call, dtype), coefficients, offset, dtype)


def complement_nb(g: GraphBuilder, call: Call) -> Results:
    """Convert ComplementNB: counts times weights; the prior only where there is a single class."""
    model = call.source
    count = len(model.classes_)
    offset = model.class_log_prior_ if count == 1 else np.zeros(count)
    return _from_joint(g, call, _affine(g, call, model.feature_log_prob_, offset))


def bernoulli_nb(g: GraphBuilder, call: Call) -> Results:
    """Convert BernoulliNB: features binarised at the threshold (None: taken as they are)."""
    model = call.source
    dtype = inner_type(call)
    x = matrix(g, call, dtype if model.binarize is None else DataType.DOUBLE)
    if model.binarize is not None:
        x = g.Cast(g.Greater(x, g.scalar_like(float(model.binarize), x)), dtype)
    with np.errstate(divide="ignore"):
        absent = np.log(1 - np.exp(model.feature_log_prob_))
    coefficients = weights(model.feature_log_prob_ - absent, dtype)
    offset = weights(model.class_log_prior_ + absent.sum(axis=1), dtype)
    return _from_joint(g, call, g.Gemm(x, coefficients, offset, transB=1))


def categorical_nb(g: GraphBuilder, call: Call) -> Results:
    """Convert CategoricalNB: the log-probability of each feature's category."""
    model = call.source
    dtype = inner_type(call)
    total: Value | None = None
    for column, table in zip(columns_of(g, call), model.feature_log_prob_, strict=True):
        if column.dtype == DataType.STRING:
            raise UnsupportedParameter("CategoricalNB takes codes, not text", where=call.location or None)
        # Truncated to integers, as scikit-learn's check does.
        code = g.Squeeze(g.Cast(column, DataType.INT64), 1)
        found = g.Gather(weights(np.ascontiguousarray(table.T), dtype), code, axis=0)
        total = found if total is None else g.Add(total, found)
    assert total is not None
    return _from_joint(g, call, g.Add(total, weights(model.class_log_prior_, dtype)))


# --- discriminant analysis --------------------------------------------------------------------------------------------


def linear_discriminant(g: GraphBuilder, call: Call) -> Results:
    """Convert LinearDiscriminantAnalysis, as classifier and as projection."""
    model = call.source
    results: Results = {}
    if set(call.methods) - {"transform"}:
        decision = linear_decision(g, call)
        results["decision_function"] = decision
        if "predict" in call.methods:
            results["predict"] = decision_label(g, decision, model.classes_)
        binary = rank_of(decision) == 1
        probability = two_columns(g, logistic(g, decision)) if binary else g.Softmax(decision, axis=1)
        results["predict_proba"] = probability
        if "predict_log_proba" in call.methods:
            # Zeros become the smallest normal number before the logarithm, as in scikit-learn.
            zero = g.Equal(probability, g.scalar_like(0.0, probability))
            tiny = float(np.finfo(dtype_of(probability).numpy()).smallest_normal)
            results["predict_log_proba"] = g.Log(g.Where(zero, g.scalar_like(tiny, probability), probability))
    if "transform" in call.methods:
        results["transform"] = _discriminant_projection(g, call)
    return cast_results(g, call, only(call, results), keep=("predict",))


def _discriminant_projection(g: GraphBuilder, call: Call) -> Value:
    model = call.source
    if model.solver == "lsqr":
        raise UnsupportedParameter("solver='lsqr' has no transform", where=call.location or None)
    dtype = inner_type(call)
    x = matrix(g, call, dtype)
    if model.solver == "svd":
        x = g.Sub(x, weights(model.xbar_, dtype))
    return g.MatMul(x, weights(np.asarray(model.scalings_)[:, : model._max_components], dtype))


def quadratic_discriminant(g: GraphBuilder, call: Call) -> Results:
    """Convert QuadraticDiscriminantAnalysis: a normal distribution with a covariance per class."""
    model: Any = call.source
    dtype = inner_type(call)
    x = matrix(g, call, dtype)
    columns = []
    for mean, rotation, scaling, prior in zip(
        model.means_, model.rotations_, model.scalings_, model.priors_, strict=True
    ):
        projected = g.MatMul(g.Sub(x, weights(mean, dtype)), weights(rotation * scaling**-0.5, dtype))
        norm = g.ReduceSumSquare(projected, [1])
        constant = -0.5 * float(np.sum(np.log(scaling))) + float(np.log(prior))
        columns.append(g.Add(g.Mul(norm, g.scalar_like(-0.5, norm)), g.scalar_like(constant, norm)))
    return _from_joint(g, call, _stacked(g, columns))
