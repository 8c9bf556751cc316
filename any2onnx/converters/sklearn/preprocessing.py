"""sklearn.preprocessing: scalers and element-wise transformers.

Float32 rows are scaled in float64 and rounded once, at the end of the model (docs/architecture.md, section 4).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from any2onnx.converters.sklearn.frames import join
from any2onnx.converters.sklearn.numerics import expm1, log1p
from any2onnx.converters.sklearn.support import (
    Array,
    Results,
    cast_results,
    inner_type,
    matrix,
    raw_matrix,
    steady_type,
    weights,
    working_type,
)
from any2onnx.converters.sklearn.tracing import traced
from any2onnx.errors import UnsupportedParameter
from any2onnx.graph.builder import GraphBuilder
from any2onnx.graph.types import DataType, Value, dtype_of
from any2onnx.operator_mappings.mapping import Call

_FLOATS = (DataType.FLOAT, DataType.DOUBLE)


def _affine(g: GraphBuilder, call: Call, steps: Sequence[tuple[str, Array | None]]) -> Value:
    """Apply `Sub`, `Div`, `Mul`, `Add` with fitted numbers one after the other; None leaves a step out."""
    # A difference cancels at a large mean, so it is taken in float64; a quotient alone does not need it.
    shifts = any(numbers is not None and op_type in ("Sub", "Add") for op_type, numbers in steps)
    dtype = inner_type(call) if shifts else steady_type(call)
    y = matrix(g, call, dtype)
    for op_type, numbers in steps:
        if numbers is not None:
            y = g.op(op_type, y, weights(numbers, dtype))
    return y


def _shift_and_scale(g: GraphBuilder, call: Call, shift: Array | None, scale: Array | None) -> Results:
    """(x - shift) / scale, or x · scale + shift for the inverse."""
    if "inverse_transform" in call.methods:
        y = _affine(g, call, [("Mul", scale), ("Add", shift)])
        return cast_results(g, call, {"inverse_transform": y})
    y = _affine(g, call, [("Sub", shift), ("Div", scale)])
    return cast_results(g, call, {"transform": y})


def standard_scaler(g: GraphBuilder, call: Call) -> Results:
    """Convert StandardScaler."""
    model = call.source
    return _shift_and_scale(g, call, model.mean_ if model.with_mean else None, model.scale_ if model.with_std else None)


def robust_scaler(g: GraphBuilder, call: Call) -> Results:
    """Convert RobustScaler."""
    model = call.source
    return _shift_and_scale(
        g, call, model.center_ if model.with_centering else None, model.scale_ if model.with_scaling else None
    )


def max_abs_scaler(g: GraphBuilder, call: Call) -> Results:
    """Convert MaxAbsScaler."""
    results = _shift_and_scale(g, call, None, call.source.scale_)
    if getattr(call.source, "clip", False) and "transform" in results:
        results["transform"] = clip_keeping_nan(g, results["transform"], -1.0, 1.0)
    return results


def min_max_scaler(g: GraphBuilder, call: Call) -> Results:
    """Convert MinMaxScaler: x · scale_ + min_, clipped to the range where `clip` says so."""
    model = call.source
    if "inverse_transform" in call.methods:
        y = _affine(g, call, [("Sub", model.min_), ("Div", model.scale_)])
        return cast_results(g, call, {"inverse_transform": y})
    y = _affine(g, call, [("Mul", model.scale_), ("Add", model.min_)])
    if model.clip:
        y = clip_keeping_nan(g, y, float(model.feature_range[0]), float(model.feature_range[1]))
    return cast_results(g, call, {"transform": y})


def clip_keeping_nan(g: GraphBuilder, x: Value, low: float, high: float) -> Value:
    """Clip; NaN stays NaN, which onnxruntime's Clip does not promise."""
    return g.Where(g.IsNaN(x), x, g.Clip(x, low, high))


def normalizer(g: GraphBuilder, call: Call) -> Results:
    """Convert Normalizer: rows divided by their l1, l2 or max norm; rows of zeros stay."""
    x = matrix(g, call, steady_type(call))
    norm = call.source.norm
    if norm == "l2":
        size = g.ReduceL2(x, [1])
    elif norm == "l1":
        size = g.ReduceL1(x, [1])
    elif norm == "max":
        size = g.ReduceMax(g.Abs(x), [1])
    else:
        raise UnsupportedParameter(f"norm={norm!r} is not known", where=call.location)
    zero = g.Equal(size, g.scalar_like(0.0, size))
    return cast_results(g, call, {"transform": g.Div(x, g.Where(zero, g.scalar_like(1.0, size), size))})


def binarizer(g: GraphBuilder, call: Call) -> Results:
    """Convert Binarizer: 1 above the threshold, else 0, in the type of the input."""
    x = raw_matrix(g, call)
    dtype = dtype_of(x)
    # Compared in float64, where both the row and the threshold are exact.
    above = g.Greater(g.Cast(x, DataType.DOUBLE), g.const(np.asarray(call.source.threshold, np.float64)))
    return {"transform": g.Cast(above, working_type(call) if dtype in _FLOATS else dtype)}


def polynomial_features(g: GraphBuilder, call: Call) -> Results:
    """Convert PolynomialFeatures: every column a product of powers of the inputs."""
    dtype = steady_type(call)
    x = matrix(g, call, dtype)
    powers: Array = np.asarray(call.source.powers_)
    total = powers.sum(axis=1)
    columns: list[Value] = []
    constant = int((total == 0).sum())
    if constant:
        columns.append(g.Add(g.Mul(g.Slice(x, [0], [1], [1]), g.scalar_like(0.0, x)), g.scalar_like(1.0, x)))
    degrees = range(1, int(total.max(initial=0)) + 1)
    for degree in degrees:
        rows = powers[total == degree]
        if len(rows):
            columns.append(_products(g, x, rows, degree))
    if not columns:
        raise UnsupportedParameter("PolynomialFeatures has no output columns", where=call.location)
    joined = columns[0] if len(columns) == 1 else g.op("Concat", *columns, axis=1)
    return cast_results(g, call, {"transform": joined})


def _products(g: GraphBuilder, x: Value, rows: Array, degree: int) -> Value:
    """Return the products of `degree` inputs each: one Gather per factor, not one per column."""
    features = np.arange(rows.shape[1])
    factors = np.stack([np.repeat(features, row) for row in rows])
    result: Value | None = None
    for k in range(degree):
        factor = g.Gather(x, factors[:, k].astype(np.int64), axis=1)
        result = factor if result is None else g.Mul(result, factor)
    assert result is not None
    return result


def kernel_centerer(g: GraphBuilder, call: Call) -> Results:
    """Convert KernelCenterer: rows of kernel values, centred in feature space."""
    dtype = inner_type(call)
    model = call.source
    k = matrix(g, call, dtype)
    rows = weights(model.K_fit_rows_, dtype)
    mean = g.Div(g.ReduceSum(k, [1]), g.scalar_like(float(len(rows)), k))
    centred = g.Add(g.Sub(g.Sub(k, rows), mean), g.scalar_like(float(model.K_fit_all_), k))
    return cast_results(g, call, {"transform": centred})


def power_transformer(g: GraphBuilder, call: Call) -> Results:
    """Convert PowerTransformer (Box-Cox, Yeo-Johnson), standardised where `standardize` says so, and its inverse."""
    model = call.source
    dtype = inner_type(call)
    x = matrix(g, call, dtype)
    lambdas = np.asarray(model.lambdas_, np.float64)
    box_cox = model.method == "box-cox"
    scaler = model._scaler if model.standardize else None
    if "inverse_transform" in call.methods:
        if scaler is not None:
            x = g.Add(g.Mul(x, weights(scaler.scale_, dtype)), weights(scaler.mean_, dtype))
        y = _inverse_box_cox(g, x, lambdas) if box_cox else _inverse_yeo_johnson(g, x, lambdas)
        return cast_results(g, call, {"inverse_transform": y})
    y = _box_cox(g, x, lambdas) if box_cox else _yeo_johnson(g, x, lambdas)
    if scaler is not None:
        y = g.Div(g.Sub(y, weights(scaler.mean_, dtype)), weights(scaler.scale_, dtype))
    return cast_results(g, call, {"transform": y})


def _log_of_power(g: GraphBuilder, y: Value, lambdas: Array) -> Value:
    """Return log(1 + λ y) / λ per column, y itself where λ is 0: the logarithm of what Box-Cox was given."""
    dtype = dtype_of(y).numpy()
    tiny = np.abs(lambdas) < 1e-19
    safe = np.where(tiny, 1.0, lambdas).astype(dtype)
    back = g.Div(log1p(g, g.Mul(y, safe)), safe)
    return g.Where(tiny[None, :], y, back) if tiny.any() else back


def _inverse_box_cox(g: GraphBuilder, y: Value, lambdas: Array) -> Value:
    return g.Exp(_log_of_power(g, y, lambdas))


def _inverse_yeo_johnson(g: GraphBuilder, y: Value, lambdas: Array) -> Value:
    size = g.Abs(y)
    positive = expm1(g, _log_of_power(g, size, lambdas))
    negative = g.Neg(expm1(g, _log_of_power(g, size, 2.0 - lambdas)))
    chosen = g.Where(g.GreaterOrEqual(y, g.scalar_like(0.0, y)), positive, negative)
    return g.Where(g.IsNaN(y), y, chosen)


def _box_cox(g: GraphBuilder, x: Value, lambdas: Array) -> Value:
    """((x ** λ) - 1) / λ as expm1(λ log x) / λ; log x where λ is 0."""
    return _power_minus_one(g, g.Log(x), lambdas)


def _power_minus_one(g: GraphBuilder, log: Value, lambdas: Array) -> Value:
    """Return expm1(λ · log) / λ per column, `log` itself where λ is (next to) nothing."""
    dtype = dtype_of(log).numpy()
    tiny = np.abs(lambdas) < 1e-19
    safe = np.where(tiny, 1.0, lambdas).astype(dtype)
    if tiny.all():
        return log
    powered = g.Div(expm1(g, g.Mul(log, safe)), safe)
    return powered if not tiny.any() else g.Where(tiny[None, :], log, powered)


def _yeo_johnson(g: GraphBuilder, x: Value, lambdas: Array) -> Value:
    """Box-Cox of 1 + x for x ≥ 0, mirrored with 2 - λ below."""
    log = log1p(g, g.Abs(x))
    positive = _power_minus_one(g, log, lambdas)
    negative = g.Neg(_power_minus_one(g, log, 2.0 - lambdas))
    chosen = g.Where(g.GreaterOrEqual(x, g.scalar_like(0.0, x)), positive, negative)
    return g.Where(g.IsNaN(x), x, chosen)


def function_transformer(g: GraphBuilder, call: Call) -> Results:
    """Convert FunctionTransformer: nothing for no function, else the function's calls of numpy or pandas, traced.

    Raises:
        UnsupportedParameter: The function cannot be traced.
    """
    model = call.source
    results: Results = {}
    for method in call.methods:
        inverse = method == "inverse_transform"
        function = model.inverse_func if inverse else model.func
        if function is None:
            results[method] = join(g, call, call.inputs)
            continue
        arguments = (model.inv_kw_args if inverse else model.kw_args) or {}
        fitted = None if model.validate or inverse else getattr(model, "feature_names_in_", None)
        names = None if fitted is None else [str(name) for name in fitted]
        results[method] = traced(g, call, function, call.inputs, inner_type(call), arguments=arguments, names=names)
    return cast_results(g, call, results)
