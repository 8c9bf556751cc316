"""Activations (torch.nn.functional's own names) and softmax."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from any2onnx.converters.pytorch.call import TorchCall, as_type, at_least_1d, scalar
from any2onnx.converters.pytorch.functions import expm1_of, log1p_of
from any2onnx.graph.builder import GraphBuilder
from any2onnx.graph.types import FLOATS, DataType, Value, dtype_of, rank_of


def relu(g: GraphBuilder, call: TorchCall) -> Value:
    """max(x, 0)."""
    x = call.first
    return g.Relu(x) if dtype_of(x) in FLOATS else g.Max(x, scalar(g, 0, dtype_of(x)))


def relu6(g: GraphBuilder, call: TorchCall) -> Value:
    """X limited to [0, 6]."""
    return g.Clip(call.first, 0, 6)


def hardtanh(g: GraphBuilder, call: TorchCall) -> Value:
    """X limited to [min_val, max_val]."""
    x = call.first
    low, high = (scalar(g, call.params[n], dtype_of(x)) for n in ("min_val", "max_val"))
    return g.Clip(x, low, high)


def leaky_relu(g: GraphBuilder, call: TorchCall) -> Value:
    """x, or negative_slope · x below zero."""
    return g.LeakyRelu(call.first, alpha=call.params["negative_slope"])


def prelu(g: GraphBuilder, call: TorchCall) -> Value:
    """x, or weight · x below zero, with one weight or one per channel (dim 1)."""
    x, weight = call.params["self"], call.params["weight"]
    inner = rank_of(x) - 2
    if rank_of(weight) == 1 and inner > 0 and call.dims_of("weight") != [1]:
        weight = g.Unsqueeze(weight, list(range(1, inner + 1)))
    if rank_of(x) == 0:
        weight = g.Reshape(weight, g.const(np.zeros(0, np.int64)))
    return g.PRelu(x, weight)


def elu(g: GraphBuilder, call: TorchCall) -> Value:
    """Scale · (x, or alpha · (exp(input_scale · x) - 1) below zero)."""
    x = call.first
    alpha, scale, input_scale = (call.params[n] for n in ("alpha", "scale", "input_scale"))
    if scale == 1 and input_scale == 1:
        return g.Elu(x, alpha=alpha)
    dtype = dtype_of(x)
    negative = g.Mul(scalar(g, alpha, dtype), expm1_of(g, g.Mul(x, scalar(g, input_scale, dtype))))
    chosen = g.Where(g.Greater(x, scalar(g, 0, dtype)), x, negative)
    return g.Mul(scalar(g, scale, dtype), chosen)


def selu(g: GraphBuilder, call: TorchCall) -> Value:
    """Self-normalising unit."""
    return g.Selu(call.first)


def celu(g: GraphBuilder, call: TorchCall) -> Value:
    """x, or alpha · (exp(x / alpha) - 1) below zero."""
    x, alpha = call.first, call.params["alpha"]
    dtype = dtype_of(x)
    negative = g.Mul(scalar(g, alpha, dtype), expm1_of(g, g.Div(x, scalar(g, alpha, dtype))))
    return g.Where(g.Greater(x, scalar(g, 0, dtype)), x, negative)


def gelu(g: GraphBuilder, call: TorchCall) -> Value:
    """Gaussian error linear unit, exact or by tanh."""
    return g.Gelu(call.first, approximate=call.params["approximate"])


def silu(g: GraphBuilder, call: TorchCall) -> Value:
    """x · sigmoid(x)."""
    return g.Swish(call.first)


def mish(g: GraphBuilder, call: TorchCall) -> Value:
    """x · tanh(softplus(x))."""
    return g.Mish(call.first)


def hardswish(g: GraphBuilder, call: TorchCall) -> Value:
    """x · clip(x + 3, 0, 6) / 6."""
    return g.HardSwish(call.first)


def hardsigmoid(g: GraphBuilder, call: TorchCall) -> Value:
    """clip(x / 6 + 1/2, 0, 1)."""
    return g.HardSigmoid(call.first, alpha=1 / 6, beta=0.5)


def softplus(g: GraphBuilder, call: TorchCall) -> Value:
    """log(1 + exp(beta · x)) / beta, x itself above threshold."""
    x = call.first
    dtype = dtype_of(x)
    beta, threshold = as_type(g, call.params["beta"], dtype), as_type(g, call.params["threshold"], dtype)
    scaled = g.Mul(x, beta)
    soft = g.Div(g.Softplus(scaled), beta)
    return g.Where(g.Greater(scaled, threshold), x, soft)


def log_sigmoid(g: GraphBuilder, call: TorchCall) -> Value:
    """log(sigmoid(x)) = min(x, 0) - log1p(exp(-|x|))."""
    x = call.first
    return g.Sub(g.Min(x, scalar(g, 0, dtype_of(x))), log1p_of(g, g.Exp(g.Neg(g.Abs(x)))))


def softshrink(g: GraphBuilder, call: TorchCall) -> Value:
    """X moved towards zero by lambd, 0 within it."""
    x = call.first
    dtype = dtype_of(x)
    lambd, zero = as_type(g, call.params["lambd"], dtype), scalar(g, 0, dtype)
    inside = g.LessOrEqual(g.Abs(x), lambd)
    moved = g.Where(g.Greater(x, zero), g.Sub(x, lambd), g.Add(x, lambd))
    return g.Where(inside, zero, moved)


def hardshrink(g: GraphBuilder, call: TorchCall) -> Value:
    """X, 0 within lambd."""
    x = call.first
    dtype = dtype_of(x)
    inside = g.LessOrEqual(g.Abs(x), as_type(g, call.params["lambd"], dtype))
    return g.Where(inside, scalar(g, 0, dtype), x)


def threshold(g: GraphBuilder, call: TorchCall) -> Value:
    """X above the threshold, a value elsewhere."""
    x = call.first
    dtype = dtype_of(x)
    low, value = as_type(g, call.params["threshold"], dtype), as_type(g, call.params["value"], dtype)
    return g.Where(g.LessOrEqual(x, low), value, x)


def glu(g: GraphBuilder, call: TorchCall) -> Value:
    """First half · sigmoid(second half) along a dim."""
    x = call.first
    first, second = g.Split(x, axis=call.params["dim"] % rank_of(x), num_outputs=2)
    return g.Mul(first, g.Sigmoid(second))


def softmax(g: GraphBuilder, call: TorchCall) -> Value:
    """exp(x) / sum(exp(x)) along a dim."""
    return _over_dim(g, call, "Softmax")


def log_softmax(g: GraphBuilder, call: TorchCall) -> Value:
    """Logarithm of softmax."""
    return _over_dim(g, call, "LogSoftmax")


def softmin(g: GraphBuilder, call: TorchCall) -> Value:
    """Softmax of -x."""
    return _over_dim(g, call, "Softmax", negative=True)


def _over_dim(g: GraphBuilder, call: TorchCall, op_type: str, *, negative: bool = False) -> Value:
    x = g.Cast(call.first, call.dtype)
    if negative:
        x = g.Neg(x)
    wide = at_least_1d(g, x)
    y = g.op(op_type, wide, axis=int(call.params["dim"]))
    return y if wide is x else g.Squeeze(y, 0)


def normal_cdf(g: GraphBuilder, x: Value) -> Value:
    """Return the standard normal distribution function."""
    half, root = scalar(g, 0.5, dtype_of(x)), scalar(g, math.sqrt(0.5), dtype_of(x))
    return g.Mul(half, g.Add(scalar(g, 1, dtype_of(x)), g.Erf(g.Mul(x, root))))


def identity(g: GraphBuilder, call: TorchCall) -> Any:
    """The input, in the result's type: detach, contiguous, alias, clone."""
    x = call.first
    return x if dtype_of(x) == call.dtype else g.Cast(x, DataType(call.dtype))
