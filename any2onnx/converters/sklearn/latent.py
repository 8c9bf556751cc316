"""sklearn: linear latent variables: FactorAnalysis, FastICA, SparsePCA, BernoulliRBM.

Everything that depends on fitted attributes only is computed at conversion, in float64.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from any2onnx.converters.sklearn.support import Array, Results, cast_results, matrix
from any2onnx.errors import UnknownOption
from any2onnx.graph.builder import GraphBuilder
from any2onnx.graph.types import DataType, Value
from any2onnx.operator_mappings.mapping import Call


def _double(array: Any) -> Array:
    return np.ascontiguousarray(np.asarray(array, np.float64))


def _centred(g: GraphBuilder, call: Call, mean: Array | None) -> Value:
    x = matrix(g, call, DataType.DOUBLE)
    return x if mean is None else g.Sub(x, _double(mean))


def check_inverse(call: Call) -> bool:
    """Tell whether inverse_transform is wanted.

    Raises:
        UnknownOption: Together with another method, which takes other inputs.
    """
    if "inverse_transform" not in call.methods:
        return False
    if call.methods != ("inverse_transform",):
        raise UnknownOption(
            "inverse_transform takes other inputs than the other methods",
            where=call.location or None,
            remedy='outputs=("inverse_transform",) alone',
        )
    return True


def factor_analysis(g: GraphBuilder, call: Call) -> Results:
    """Convert FactorAnalysis: the expected factors, and the log-likelihood of each row."""
    model = call.source
    centred = _centred(g, call, model.mean_)
    results: dict[str, Value] = {}
    if "transform" in call.methods:
        components, noise = _double(model.components_), _double(model.noise_variance_)
        scaled = components / noise
        covariance = np.linalg.inv(np.eye(len(components)) + scaled @ components.T)
        results["transform"] = g.MatMul(centred, _double(scaled.T @ covariance))
    if "score_samples" in call.methods:
        precision = _double(model.get_precision())
        _, logdet = np.linalg.slogdet(precision)
        constant = -0.5 * (len(precision) * math.log(2.0 * math.pi) - logdet)
        distance = g.ReduceSum(g.Mul(centred, g.MatMul(centred, precision)), [1], keepdims=False)
        results["score_samples"] = g.Add(
            g.Mul(distance, g.scalar_like(-0.5, distance)), g.scalar_like(constant, distance)
        )
    return cast_results(g, call, results)


def fast_ica(g: GraphBuilder, call: Call) -> Results:
    """Convert FastICA: the unmixing matrix, and the mixing matrix for the inverse."""
    model = call.source
    mean = model.mean_ if model.whiten else None
    if check_inverse(call):
        mixed = g.MatMul(matrix(g, call, DataType.DOUBLE), _double(model.mixing_.T))
        value = mixed if mean is None else g.Add(mixed, _double(mean))
        return cast_results(g, call, {"inverse_transform": value})
    return cast_results(g, call, {"transform": g.MatMul(_centred(g, call, mean), _double(model.components_.T))})


def sparse_pca(g: GraphBuilder, call: Call) -> Results:
    """Convert SparsePCA and MiniBatchSparsePCA: ridge regression on the components, which is linear in the row."""
    from sklearn.linear_model import ridge_regression

    model = call.source
    components = _double(model.components_)
    if check_inverse(call):
        value = g.Add(g.MatMul(matrix(g, call, DataType.DOUBLE), components), _double(model.mean_))
        return cast_results(g, call, {"inverse_transform": value})
    # The codes of the unit vectors are the rows of the projection.
    projection = ridge_regression(components.T, np.eye(components.shape[1]), model.ridge_alpha, solver="cholesky")
    value = g.MatMul(_centred(g, call, model.mean_), _double(projection).reshape(components.shape[::-1]))
    return cast_results(g, call, {"transform": value})


def bernoulli_rbm(g: GraphBuilder, call: Call) -> Results:
    """Convert BernoulliRBM: the probabilities of the hidden units."""
    model = call.source
    x = matrix(g, call, DataType.DOUBLE)
    value = g.Sigmoid(g.Gemm(x, _double(model.components_), _double(model.intercept_hidden_), transB=1))
    return cast_results(g, call, {"transform": value})
