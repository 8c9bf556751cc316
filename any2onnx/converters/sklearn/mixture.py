"""Gaussian mixtures and the elliptic envelope: Mahalanobis distances in float64."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from any2onnx.converters.sklearn.lazy import once, produce
from any2onnx.converters.sklearn.neighbors import log_sum_exp
from any2onnx.converters.sklearn.pairwise import square_sum, squared_euclidean, typed
from any2onnx.converters.sklearn.support import Array, Results, inner_type, matrix
from any2onnx.graph.builder import GraphBuilder
from any2onnx.graph.types import Value
from any2onnx.operator_mappings.mapping import Call


def log_determinants(cholesky: Array, kind: str, features: int) -> Array:
    """Return the logarithm of the determinant of each component's Cholesky factor of the precision."""
    if kind == "full":
        return np.asarray(np.log(np.diagonal(cholesky, axis1=1, axis2=2)).sum(axis=1))
    if kind == "tied":
        return np.asarray(np.log(np.diagonal(cholesky)).sum())
    if kind == "diag":
        return np.asarray(np.log(cholesky).sum(axis=1))
    return np.asarray(features * np.log(cholesky))


def _mahalanobis(g: GraphBuilder, x: Value, means: Array, cholesky: Array, kind: str) -> Value:
    """Return squared Mahalanobis distances [N, components]."""
    count, features = means.shape
    if kind == "spherical":
        return g.Mul(squared_euclidean(g, x, means), typed(g, cholesky[None, :] ** 2, x, "precisions"))
    # About the middle of the means, so that the steps that cancel are small.
    centre = means.mean(axis=0)
    x, means = g.Sub(x, typed(g, centre, x, "centre")), means - centre
    if kind == "tied":
        return squared_euclidean(g, g.MatMul(x, typed(g, cholesky, x, "precisions_cholesky")), means @ cholesky)
    if kind == "diag":
        precisions = cholesky**2
        constant = typed(g, np.sum(means**2 * precisions, axis=1)[None, :], x, "constant")
        cross = g.Gemm(x, typed(g, np.ascontiguousarray(-2.0 * (means * precisions).T), x, "means"), constant)
        squares = g.MatMul(g.Mul(x, x), typed(g, np.ascontiguousarray(precisions.T), x, "precisions"))
        return g.Relu(g.Add(cross, squares))
    # One product for all components: [N, components * features].
    table = np.concatenate(list(cholesky), axis=1)
    offset = -np.einsum("kf,kfj->kj", means, cholesky).reshape(1, -1)
    mapped = g.Gemm(x, typed(g, table, x, "precisions_cholesky"), typed(g, offset, x, "means"))
    mapped = g.Reshape(mapped, [-1, count, features])
    return g.ReduceSum(g.Mul(mapped, mapped), [2], keepdims=False)


def _log_weights(model: Any) -> Array:
    """Return the expected logarithm of the components' weights."""
    if not hasattr(model, "weight_concentration_"):
        with np.errstate(divide="ignore"):
            return np.asarray(np.log(model.weights_))
    from scipy.special import digamma

    concentration = model.weight_concentration_
    if model.weight_concentration_prior_type != "dirichlet_process":
        return np.asarray(digamma(concentration) - digamma(np.sum(concentration)))
    total = digamma(concentration[0] + concentration[1])
    rest = np.cumsum(digamma(concentration[1]) - total)
    return np.asarray(digamma(concentration[0]) - total + np.concatenate([[0.0], rest[:-1]]))


def _bayesian_term(model: Any, features: int) -> Array:
    """Return what the uncertain means and precisions add to each component's log density; 0 for a plain mixture."""
    if not hasattr(model, "degrees_of_freedom_"):
        return np.zeros(())
    from scipy.special import digamma

    freedom = np.asarray(model.degrees_of_freedom_, np.float64)
    steps = np.arange(features)[:, None]
    log_lambda = features * math.log(2.0) + digamma(0.5 * (freedom - steps)).sum(axis=0)
    return np.asarray(-0.5 * features * np.log(freedom) + 0.5 * (log_lambda - features / model.mean_precision_))


def gaussian_mixture(g: GraphBuilder, call: Call) -> Results:
    """Convert GaussianMixture and BayesianGaussianMixture, of any covariance type."""
    model = call.source
    x = matrix(g, call, inner_type(call))
    means = np.asarray(model.means_, np.float64)
    cholesky = np.asarray(model.precisions_cholesky_, np.float64)
    features = means.shape[1]
    constant = (
        log_determinants(cholesky, model.covariance_type, features)
        - 0.5 * features * math.log(2 * math.pi)
        + _bayesian_term(model, features)
        + _log_weights(model)
    )
    distances = _mahalanobis(g, x, means, cholesky, model.covariance_type)
    logs = g.Add(g.Mul(distances, g.scalar_like(-0.5, x)), typed(g, constant[None, :], x, "log_constant"))
    return produce(
        g,
        call,
        {
            "predict": lambda: g.ArgMax(logs, axis=1, keepdims=0),
            "predict_proba": lambda: g.Softmax(logs, axis=1),
            "score_samples": lambda: log_sum_exp(g, logs),
        },
    )


def elliptic_envelope(g: GraphBuilder, call: Call) -> Results:
    """Convert EllipticEnvelope: minus the squared Mahalanobis distance against the offset."""
    model = call.source
    x = matrix(g, call, inner_type(call))
    difference = g.Sub(x, typed(g, model.location_, x, "location"))
    precision = np.asarray(model.get_precision(), np.float64)
    values, vectors = np.linalg.eigh((precision + precision.T) / 2)
    if values.min() >= 0:
        root = typed(g, vectors * np.sqrt(values), x, "precision_root")
        square = square_sum(g, g.MatMul(difference, root))
    else:
        mapped = g.MatMul(difference, typed(g, precision, x, "precision"))
        square = g.ReduceSum(g.Mul(mapped, difference), [1])
    score = g.Neg(g.Squeeze(square, 1))
    decision = once(lambda: g.Sub(score, g.scalar_like(float(model.offset_), score)))

    def predict() -> Value:
        inside = g.GreaterOrEqual(decision(), g.scalar_like(0.0, score))
        return g.Where(inside, np.asarray(1, np.int64), np.asarray(-1, np.int64))

    return produce(g, call, {"predict": predict, "decision_function": decision, "score_samples": lambda: score})
