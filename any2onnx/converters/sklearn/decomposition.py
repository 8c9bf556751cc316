"""Linear projections: sklearn.decomposition, random_projection, cross_decomposition."""

from __future__ import annotations

from math import log
from typing import Any

import numpy as np

from any2onnx.converters.sklearn.support import (
    Array,
    Results,
    cast_results,
    inner_type,
    matrix,
    only,
    weights,
)
from any2onnx.graph.builder import GraphBuilder
from any2onnx.graph.types import Value
from any2onnx.operator_mappings.mapping import Call


def _projected(g: GraphBuilder, x: Value, mean: Any, projection: Array) -> Value:
    """Return (x - mean) @ projection."""
    dtype = x.dtype
    assert dtype is not None
    centred = x if mean is None else g.Sub(x, weights(mean, dtype))
    return g.MatMul(centred, g.const(weights(projection, dtype), name="components"))


def _back(g: GraphBuilder, x: Value, mean: Any, projection: Array) -> Value:
    """Return x @ projection + mean."""
    dtype = x.dtype
    assert dtype is not None
    y = g.MatMul(x, g.const(weights(projection, dtype), name="components"))
    return y if mean is None else g.Add(y, weights(mean, dtype))


def pca(g: GraphBuilder, call: Call) -> Results:
    """Convert PCA and IncrementalPCA."""
    model = call.source
    x = matrix(g, call, inner_type(call))
    components: Array = np.asarray(model.components_, np.float64)
    scale = None
    if model.whiten:
        scale = np.sqrt(model.explained_variance_)
        # Clipped as scikit-learn does, for components without variance.
        scale = np.maximum(scale, np.finfo(scale.dtype).eps)
    results: Results = {}
    for method in call.methods:
        if method == "transform":
            projection = components.T if scale is None else components.T / scale
            results[method] = _projected(g, x, model.mean_, projection)
        elif method == "inverse_transform":
            spread = components if not model.whiten else np.sqrt(model.explained_variance_)[:, None] * components
            results[method] = _back(g, x, model.mean_, spread)
        else:
            results[method] = log_likelihood(g, x, model.mean_, np.asarray(model.get_precision(), np.float64))
    return cast_results(g, call, results)


def log_likelihood(g: GraphBuilder, x: Value, mean: Any, precision: Array) -> Value:
    """Return the logarithm of the density of a normal distribution, [N]."""
    assert x.dtype is not None
    centred = g.Sub(x, weights(mean, x.dtype))
    form = g.ReduceSum(g.Mul(centred, g.MatMul(centred, weights(precision, x.dtype))), [1], keepdims=False)
    constant = 0.5 * (precision.shape[0] * log(2.0 * np.pi) - float(np.linalg.slogdet(precision)[1]))
    return g.Sub(g.Mul(form, g.scalar_like(-0.5, form)), g.scalar_like(constant, form))


def truncated_svd(g: GraphBuilder, call: Call) -> Results:
    """Convert TruncatedSVD: X @ components_.T, without centring."""
    x = matrix(g, call, inner_type(call))
    components: Array = np.asarray(call.source.components_)
    forward = "transform" in call.methods
    value = _projected(g, x, None, components.T) if forward else _back(g, x, None, components)
    return cast_results(g, call, {call.methods[0]: value})


def factor_analysis(g: GraphBuilder, call: Call) -> Results:
    """Convert FactorAnalysis: the expected latent variables, and the log-likelihood."""
    model = call.source
    x = matrix(g, call, inner_type(call))
    weighted = model.components_ / model.noise_variance_
    covariance = np.linalg.inv(np.eye(len(model.components_)) + weighted @ model.components_.T)
    results: Results = {}
    if "transform" in call.methods:
        results["transform"] = _projected(g, x, model.mean_, weighted.T @ covariance)
    if "score_samples" in call.methods:
        results["score_samples"] = log_likelihood(g, x, model.mean_, np.asarray(model.get_precision()))
    return cast_results(g, call, only(call, results))


def fast_ica(g: GraphBuilder, call: Call) -> Results:
    """Convert FastICA: an unmixing matrix, after centring where it whitens."""
    model = call.source
    x = matrix(g, call, inner_type(call))
    mean = model.mean_ if model.whiten else None
    forward = "transform" in call.methods
    value = _projected(g, x, mean, model.components_.T) if forward else _back(g, x, mean, model.mixing_.T)
    return cast_results(g, call, {call.methods[0]: value})


def sparse_pca(g: GraphBuilder, call: Call) -> Results:
    """Convert (MiniBatch)SparsePCA: ridge regression on the components, which is one matrix."""
    model = call.source
    x = matrix(g, call, inner_type(call))
    components: Array = np.asarray(model.components_, np.float64)
    if "inverse_transform" in call.methods:
        return cast_results(g, call, {"inverse_transform": _back(g, x, model.mean_, components)})
    gram = components @ components.T + model.ridge_alpha * np.eye(len(components))
    projection = np.linalg.solve(gram, components).T
    return cast_results(g, call, {"transform": _projected(g, x, model.mean_, projection)})


def random_projection(g: GraphBuilder, call: Call) -> Results:
    """Convert GaussianRandomProjection and SparseRandomProjection."""
    model = call.source
    x = matrix(g, call, inner_type(call))
    components = model.components_.toarray() if hasattr(model.components_, "toarray") else model.components_
    if "inverse_transform" in call.methods:
        has = getattr(model, "inverse_components_", None)
        inverse = np.linalg.pinv(components) if has is None else has
        return cast_results(g, call, {"inverse_transform": _projected(g, x, None, inverse.T)})
    return cast_results(g, call, {"transform": _projected(g, x, None, components.T)})


def partial_least_squares(g: GraphBuilder, call: Call) -> Results:
    """Convert PLSRegression, PLSCanonical and CCA: a projection, and a regression on it."""
    model = call.source
    x = matrix(g, call, inner_type(call))
    results: Results = {}
    if "transform" in call.methods:
        rotations = model.x_rotations_ / model._x_std[:, None]
        results["transform"] = _projected(g, x, model._x_mean, rotations)
    if "inverse_transform" in call.methods:
        loadings = model.x_loadings_.T * model._x_std
        results["inverse_transform"] = _back(g, x, model._x_mean, loadings)
    if "predict" in call.methods:
        value = _back(g, g.Sub(x, weights(model._x_mean, inner_type(call))), model.intercept_, model.coef_.T)
        results["predict"] = g.Squeeze(value, 1) if getattr(model, "_predict_1d", False) else value
    return cast_results(g, call, only(call, results))


def pls_svd(g: GraphBuilder, call: Call) -> Results:
    """Convert PLSSVD: the scaled rows, projected."""
    model = call.source
    x = matrix(g, call, inner_type(call))
    projection = np.asarray(model.x_weights_) / np.asarray(model._x_std)[:, None]
    return cast_results(g, call, {"transform": _projected(g, x, model._x_mean, projection)})
