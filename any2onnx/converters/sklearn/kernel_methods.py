"""Kernel ridge regression, kernel PCA, and the explicit maps of sklearn.kernel_approximation; all in float64."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from any2onnx.converters.sklearn.lazy import produce
from any2onnx.converters.sklearn.pairwise import kernel, typed
from any2onnx.converters.sklearn.support import Array, Results, inner_type, matrix
from any2onnx.errors import UnsupportedParameter
from any2onnx.graph.builder import GraphBuilder
from any2onnx.graph.types import Value
from any2onnx.operator_mappings.mapping import Call


def _dense(array: Any) -> Array:
    return np.asarray(array.toarray() if hasattr(array, "toarray") else array, np.float64)


def _parameters(model: Any) -> Mapping[str, Any]:
    return {"gamma": model.gamma, "degree": model.degree, "coef0": model.coef0}


def kernel_ridge(g: GraphBuilder, call: Call) -> Results:
    """Convert KernelRidge: K(X, X_fit) @ dual_coef_.

    Raises:
        UnsupportedParameter: The kernel is a Python function.
    """
    model = call.source
    x = matrix(g, call, inner_type(call))
    values = kernel(g, x, _dense(model.X_fit_), model.kernel, _parameters(model), where=call.location)
    dual = np.asarray(model.dual_coef_, np.float64)
    product = g.MatMul(values, typed(g, dual.reshape(len(dual), -1), x, "dual_coef"))
    return produce(g, call, {"predict": lambda: g.Squeeze(product, 1) if dual.ndim == 1 else product})


def kernel_pca(g: GraphBuilder, call: Call) -> Results:
    """Convert KernelPCA: the centred kernel projected on the scaled eigenvectors; and its learned inverse.

    Raises:
        UnsupportedParameter: The kernel is a Python function, or the inverse was not learned.
    """
    model = call.source
    x = matrix(g, call, inner_type(call))
    parameters = {"gamma": getattr(model, "gamma_", model.gamma), "degree": model.degree, "coef0": model.coef0}

    def transform() -> Value:
        return project(g, kernel(g, x, _dense(model.X_fit_), model.kernel, parameters, where=call.location), model)

    def inverse() -> Value:
        if not model.fit_inverse_transform:
            raise UnsupportedParameter("the inverse was not learned: fit_inverse_transform=False", where=call.location)
        values = kernel(g, x, _dense(model.X_transformed_fit_), model.kernel, parameters, where=call.location)
        return g.MatMul(values, typed(g, model.dual_coef_, x, "dual_coef"))

    return produce(g, call, {"transform": transform, "inverse_transform": inverse})


def project(g: GraphBuilder, values: Value, model: Any) -> Value:
    """Return kernel values [N, fitted rows], centred as a fitted KernelPCA does, on its scaled eigenvectors."""
    centerer = model._centerer
    values = g.Sub(values, typed(g, centerer.K_fit_rows_, values, "rows"))
    # The mean of the row as it was before, as scikit-learn takes it.
    mean = g.Add(g.ReduceMean(values, [1]), g.scalar_like(float(np.mean(centerer.K_fit_rows_)), values))
    values = g.Add(g.Sub(values, mean), g.scalar_like(float(centerer.K_fit_all_), values))
    eigenvalues = np.asarray(model.eigenvalues_, np.float64)
    positive = eigenvalues != 0
    root = np.sqrt(np.where(positive, eigenvalues, 1.0))
    alphas = np.where(positive, np.asarray(model.eigenvectors_, np.float64) / root, 0.0)
    return g.MatMul(values, typed(g, alphas, values, "alphas"))


def nystroem(g: GraphBuilder, call: Call) -> Results:
    """Convert Nystroem: K(X, components_) @ normalization_.T.

    Raises:
        UnsupportedParameter: The kernel is a Python function.
    """
    model = call.source
    x = matrix(g, call, inner_type(call))
    given = {key: value for key, value in _parameters(model).items() if value is not None}
    parameters = {**(model.kernel_params or {}), **given}
    values = kernel(g, x, _dense(model.components_), model.kernel, parameters, where=call.location)
    normalization = np.ascontiguousarray(np.asarray(model.normalization_, np.float64).T)
    return produce(g, call, {"transform": lambda: g.MatMul(values, typed(g, normalization, x, "normalization"))})


def _random_features(g: GraphBuilder, call: Call, x: Value) -> Results:
    model = call.source
    weights = np.asarray(model.random_weights_, np.float64)
    offset = np.asarray(model.random_offset_, np.float64)
    projected = g.Gemm(x, typed(g, weights, x, "random_weights"), typed(g, offset, x, "random_offset"))
    scale = g.scalar_like(float(np.sqrt(2.0) / np.sqrt(weights.shape[1])), x)
    return produce(g, call, {"transform": lambda: g.Mul(g.Cos(projected), scale)})


def rbf_sampler(g: GraphBuilder, call: Call) -> Results:
    """Convert RBFSampler: random cosines."""
    return _random_features(g, call, matrix(g, call, inner_type(call)))


def skewed_chi2_sampler(g: GraphBuilder, call: Call) -> Results:
    """Convert SkewedChi2Sampler: random cosines of the logarithm."""
    x = matrix(g, call, inner_type(call))
    return _random_features(g, call, g.Log(g.Add(x, g.scalar_like(float(call.source.skewedness), x))))


def additive_chi2_sampler(g: GraphBuilder, call: Call) -> Results:
    """Convert AdditiveChi2Sampler: the sampled spectrum of the additive chi-squared kernel; zeros stay zeros."""
    model = call.source
    x = matrix(g, call, inner_type(call))
    steps = int(model.sample_steps)
    default = {1: 0.8, 2: 0.5, 3: 0.4}.get(steps)
    interval = default if model.sample_interval is None else float(model.sample_interval)
    if interval is None:
        raise UnsupportedParameter(f"sample_steps={steps} needs a sample_interval", where=call.location)
    zero = g.Equal(x, g.scalar_like(0.0, x))
    safe = g.Where(zero, g.scalar_like(1.0, x), x)
    parts = [g.Sqrt(g.Mul(x, g.scalar_like(interval, x)))]
    log_step = g.Mul(g.Log(safe), g.scalar_like(interval, x))
    step = g.Mul(x, g.scalar_like(2.0 * interval, x))
    for j in range(1, steps):
        factor = g.Sqrt(g.Div(step, g.scalar_like(float(np.cosh(np.pi * j * interval)), x)))
        angle = g.Mul(log_step, g.scalar_like(float(j), x))
        parts += [g.Mul(factor, g.Cos(angle)), g.Mul(factor, g.Sin(angle))]
    return produce(g, call, {"transform": lambda: parts[0] if len(parts) == 1 else g.op("Concat", *parts, axis=1)})


def polynomial_count_sketch(g: GraphBuilder, call: Call) -> Results:
    """Convert PolynomialCountSketch: count sketches multiplied in the frequency domain.

    The sketch and its Fourier transform are one linear map, folded at conversion; so is the way back.
    """
    model = call.source
    dtype = inner_type(call)
    x = matrix(g, call, dtype)
    hashes, bits = np.asarray(model.indexHash_), np.asarray(model.bitHash_, np.float64)
    width = int(model.n_components)
    factors = np.full(hashes.shape[1], np.sqrt(model.gamma))
    if model.coef0 != 0:
        # The feature that is always 1.
        factors[-1] = np.sqrt(model.coef0)
    real: Value | None = None
    imaginary: Value | None = None
    for index, sign in zip(hashes, bits, strict=True):
        sketch = np.zeros((hashes.shape[1], width))
        sketch[np.arange(len(index)), index] = sign * factors
        spectrum = np.fft.rfft(sketch, axis=1)
        left, right = (_affine(g, x, part, constant=model.coef0 != 0) for part in (spectrum.real, spectrum.imag))
        if real is None or imaginary is None:
            real, imaginary = left, right
        else:
            real, imaginary = (
                g.Sub(g.Mul(real, left), g.Mul(imaginary, right)),
                g.Add(g.Mul(real, right), g.Mul(imaginary, left)),
            )
    assert real is not None
    assert imaginary is not None
    unit = np.eye(width // 2 + 1)
    back_real, back_imaginary = np.fft.irfft(unit, n=width, axis=1), np.fft.irfft(1j * unit, n=width, axis=1)
    result = g.Add(g.MatMul(real, typed(g, back_real, x)), g.MatMul(imaginary, typed(g, back_imaginary, x)))
    return produce(g, call, {"transform": lambda: result})


def _affine(g: GraphBuilder, x: Value, table: Array, *, constant: bool) -> Value:
    if not constant:
        return g.MatMul(x, typed(g, np.ascontiguousarray(table), x, "sketch"))
    return g.Gemm(x, typed(g, np.ascontiguousarray(table[:-1]), x, "sketch"), typed(g, table[-1:], x, "sketch"))
