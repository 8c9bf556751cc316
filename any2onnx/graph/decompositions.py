"""Operators that ONNX got late, written with operators that opset 13 has."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from any2onnx.graph.types import DataType, Value, dtype_of, rank_of, shape_of

if TYPE_CHECKING:
    from any2onnx.graph.builder import GraphBuilder
    from any2onnx.graph.constants import Operand


def _widened(g: GraphBuilder, x: Value) -> Value:
    """Half precision is normalised in float32, as the operators' definitions do (stash_type)."""
    return g.Cast(x, DataType.FLOAT) if dtype_of(x) in (DataType.FLOAT16, DataType.BFLOAT16) else x


def layer_normalization(g: GraphBuilder, x: Value, scale: Operand, bias: Operand, axis: int, epsilon: float) -> Value:
    """ONNX LayerNormalization-17: (x - mean) / sqrt(var + epsilon) · scale + bias."""
    rank = rank_of(x)
    axes = list(range(axis % rank, rank))
    wide = _widened(g, x)
    centred = g.Sub(wide, g.ReduceMean(wide, axes))
    variance = g.ReduceMean(g.Mul(centred, centred), axes)
    normal = g.Div(centred, g.Sqrt(g.Add(variance, g.scalar_like(epsilon, wide))))
    result = g.Mul(g.Cast(normal, dtype_of(x)), scale)
    return result if bias is None else g.Add(result, bias)


def rms_normalization(g: GraphBuilder, x: Value, scale: Operand, axis: int, epsilon: float) -> Value:
    """ONNX RMSNormalization-23: x / sqrt(mean(x²) + epsilon) · scale."""
    rank = rank_of(x)
    wide = _widened(g, x)
    mean = g.ReduceMean(g.Mul(wide, wide), list(range(axis % rank, rank)))
    normal = g.Div(wide, g.Sqrt(g.Add(mean, g.scalar_like(epsilon, wide))))
    return g.Mul(g.Cast(normal, dtype_of(x)), scale)


def group_normalization(
    g: GraphBuilder, x: Value, scale: Operand, bias: Operand, num_groups: int, epsilon: float
) -> Value:
    """ONNX GroupNormalization-21 through InstanceNormalization over [N, groups, rest], in float64 by its mean."""
    shape = g.Shape(x)
    dims = shape_of(x)
    if all(isinstance(d, int) for d in dims[1:]):
        grouped = g.Reshape(x, [0, num_groups, -1])
    else:
        # No -1, which onnxruntime refuses for an empty batch, and no Concat, which it replaces by -1 itself.
        rest = g.Div(g.ReduceProd(g.Slice(shape, [1], [rank_of(x)]), 0), np.asarray([num_groups], np.int64))
        wanted = g.Where(np.asarray([False, False, True]), rest, np.asarray([0, num_groups, 0], np.int64))
        grouped = g.annotate(g.Reshape(x, wanted), (dims[0], num_groups, None))
    ones = np.ones(num_groups, dtype_of(x).numpy())
    zeros = np.zeros(num_groups, dtype_of(x).numpy())
    if dtype_of(x) == DataType.DOUBLE:
        each = layer_normalization(g, grouped, ones[:1], None, 2, epsilon)
    else:
        each = g.op("InstanceNormalization", grouped, g.const(ones), g.const(zeros), epsilon=epsilon)
    normal = g.Reshape(each, shape)
    g.annotate(normal, shape_of(x))
    per_channel = list(range(1, rank_of(x) - 1))

    def column(v: Operand) -> Value:
        value = v if isinstance(v, Value) else g.const(v, like=x)
        return g.Unsqueeze(value, per_channel) if per_channel else value

    return g.Add(g.Mul(normal, column(scale)), column(bias))


def instance_normalization(g: GraphBuilder, x: Value, scale: Value, bias: Value, *, epsilon: float = 1e-5) -> Value:
    """ONNX InstanceNormalization-6: normalisation of every channel of every sample."""
    axes = list(range(2, rank_of(x)))
    centred = g.Sub(x, g.ReduceMean(x, axes))
    variance = g.ReduceMean(g.Mul(centred, centred), axes)
    normal = g.Div(centred, g.Sqrt(g.Add(variance, g.scalar_like(epsilon, x))))
    column = list(range(1, rank_of(x) - 1))
    return g.Add(g.Mul(normal, g.Unsqueeze(scale, column)), g.Unsqueeze(bias, column))


def gelu(g: GraphBuilder, x: Value, approximate: str) -> Value:
    """ONNX Gelu-20, exact (erf) or by tanh."""

    def number(v: float) -> Value:
        return g.scalar_like(v, x)

    if approximate == "tanh":
        cubic = g.Mul(number(0.044715), g.Mul(x, g.Mul(x, x)))
        inner = g.Mul(number(math.sqrt(2 / math.pi)), g.Add(x, cubic))
        return g.Mul(g.Mul(number(0.5), x), g.Add(number(1.0), g.Tanh(inner)))
    erf = g.Erf(g.Mul(x, number(1 / math.sqrt(2))))
    return g.Mul(g.Mul(number(0.5), x), g.Add(number(1.0), erf))


def hard_swish(g: GraphBuilder, x: Value) -> Value:
    """ONNX HardSwish-14."""
    return g.Mul(x, g.op("HardSigmoid", x, alpha=1 / 6, beta=0.5))


def mish(g: GraphBuilder, x: Value) -> Value:
    """ONNX Mish-18."""
    return g.Mul(x, g.Tanh(g.Softplus(x)))


def swish(g: GraphBuilder, x: Value, alpha: float) -> Value:
    """ONNX Swish-24."""
    return g.Mul(x, g.Sigmoid(x if alpha == 1 else g.Mul(x, g.scalar_like(alpha, x))))
