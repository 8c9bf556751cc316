"""keras.activations and keras.layers.activations."""

from __future__ import annotations

import numpy as np

from any2onnx.converters.keras.calls import LayerCall
from any2onnx.graph.builder import GraphBuilder
from any2onnx.graph.types import DataType, Value, dtype_of, rank_of, shape_of

# --- functions -----------------------------------------------------------------------------------------------------


def linear(g: GraphBuilder, call: LayerCall) -> Value:
    """Convert linear: nothing."""
    value = call.inputs[0]
    assert isinstance(value, Value)
    return value


def relu(g: GraphBuilder, call: LayerCall) -> Value:
    """Convert relu with its default arguments."""
    return g.Relu(call.inputs[0])


def relu6(g: GraphBuilder, call: LayerCall) -> Value:
    """Convert relu6."""
    return g.Clip(call.inputs[0], 0.0, 6.0)


def silu(g: GraphBuilder, call: LayerCall) -> Value:
    """Convert silu, also called swish."""
    return g.Swish(call.inputs[0])


def gelu(g: GraphBuilder, call: LayerCall) -> Value:
    """Convert gelu with its default approximate=False."""
    return g.Gelu(call.inputs[0])


def hard_silu(g: GraphBuilder, call: LayerCall) -> Value:
    """Convert hard_silu, also called hard_swish."""
    return g.HardSwish(call.inputs[0])


def mish(g: GraphBuilder, call: LayerCall) -> Value:
    """Convert mish."""
    return g.Mish(call.inputs[0])


def hard_tanh(g: GraphBuilder, call: LayerCall) -> Value:
    """Convert hard_tanh."""
    return g.Clip(call.inputs[0], -1.0, 1.0)


def hard_shrink(g: GraphBuilder, call: LayerCall) -> Value:
    """Convert hard_shrink: 0 inside ±0.5."""
    x = call.inputs[0]
    return g.Where(g.Greater(g.Abs(x), g.scalar_like(0.5, x)), x, g.scalar_like(0, x))


def soft_shrink(g: GraphBuilder, call: LayerCall) -> Value:
    """Convert soft_shrink: 0 inside ±0.5, nearer to 0 by 0.5 outside."""
    x = call.inputs[0]
    half = g.scalar_like(0.5, x)
    low = g.Where(g.Less(x, g.scalar_like(-0.5, x)), g.Add(x, half), g.scalar_like(0, x))
    return g.Where(g.Greater(x, half), g.Sub(x, half), low)


def tanh_shrink(g: GraphBuilder, call: LayerCall) -> Value:
    """Convert tanh_shrink: x - tanh(x)."""
    x = call.inputs[0]
    return g.Sub(x, g.Tanh(x))


def log_sigmoid(g: GraphBuilder, call: LayerCall) -> Value:
    """Convert log_sigmoid: -softplus(-x)."""
    return g.Neg(g.Softplus(g.Neg(call.inputs[0])))


def sparse_sigmoid(g: GraphBuilder, call: LayerCall) -> Value:
    """Convert sparse_sigmoid: (x + 1) / 2 between 0 and 1."""
    return g.op("HardSigmoid", call.inputs[0], alpha=0.5, beta=0.5)


def sparse_plus(g: GraphBuilder, call: LayerCall) -> Value:
    """Convert sparse_plus: 0 up to -1, x from 1 on, (x + 1)² / 4 between."""
    x = call.inputs[0]
    shifted = g.Add(x, g.scalar_like(1, x))
    middle = g.Mul(g.Mul(shifted, shifted), g.scalar_like(0.25, x))
    upper = g.Where(g.Less(x, g.scalar_like(1, x)), middle, x)
    return g.Where(g.LessOrEqual(x, g.scalar_like(-1, x)), g.scalar_like(0, x), upper)


def squareplus(g: GraphBuilder, call: LayerCall) -> Value:
    """Convert squareplus with its default b=4: (x + sqrt(x² + 4)) / 2."""
    x = call.inputs[0]
    root = g.Sqrt(g.Add(g.Mul(x, x), g.scalar_like(4, x)))
    return g.Mul(g.Add(x, root), g.scalar_like(0.5, x))


def glu(g: GraphBuilder, call: LayerCall) -> Value:
    """Convert glu with its default axis=-1: the first half times the sigmoid of the second."""
    x = call.inputs[0]
    size = shape_of(x)[-1]
    assert isinstance(size, int)
    first, second = g.Split(x, [size // 2, size // 2], axis=-1)
    return g.Mul(first, g.Sigmoid(second))


def sparsemax(g: GraphBuilder, call: LayerCall) -> Value:
    """Convert sparsemax over the last axis: max(x - tau, 0), tau from the sorted values (Martins & Astudillo 2016)."""
    x = call.inputs[0]
    size = shape_of(x)[-1]
    if not isinstance(size, int):
        raise call.unsupported("activation", "sparsemax", "the last dimension varies")
    descending, _ = g.TopK(x, size, axis=-1)
    sums = g.CumSum(descending, np.asarray(-1, np.int64))
    position = g.const(np.arange(1, size + 1, dtype=dtype_of(x).numpy()))
    one = g.scalar_like(1, x)
    support = g.Greater(g.Sub(descending, g.Div(g.Sub(sums, one), position)), g.scalar_like(0, x))
    count = g.ReduceSum(g.Cast(support, dtype_of(x)), -1)
    kept = g.ReduceSum(g.Where(support, sums, g.scalar_like(0, x)), -1)
    tau = g.Div(g.Sub(kept, one), count)
    return g.Relu(g.Sub(x, tau))


# --- layers --------------------------------------------------------------------------------------------------------


def activation(g: GraphBuilder, call: LayerCall) -> Value:
    """Convert Activation."""
    return call.walker.function(g, call.source.activation, call.inputs[0], path=call.scope)


def relu_layer(g: GraphBuilder, call: LayerCall) -> Value:
    """Convert ReLU with max_value, negative_slope and threshold, by the formula of keras.activations.relu."""
    layer, x = call.source, call.inputs[0]
    slope, top, threshold = float(layer.negative_slope), layer.max_value, float(layer.threshold)
    if slope and top is None and not threshold:
        return g.LeakyRelu(x, alpha=slope)
    if threshold:
        value = g.Where(g.Greater(x, g.scalar_like(threshold, x)), x, g.scalar_like(0, x))
        if top is not None:
            value = g.Clip(value, 0.0, float(top))
    else:
        value = g.Relu(x) if top is None else g.Clip(x, 0.0, float(top))
    if not slope:
        return value
    below = g.Sub(g.scalar_like(threshold, x), x) if threshold else g.Neg(x)
    return g.Sub(value, g.Mul(g.scalar_like(slope, x), g.Relu(below)))


def leaky_relu(g: GraphBuilder, call: LayerCall) -> Value:
    """Convert LeakyReLU."""
    return g.LeakyRelu(call.inputs[0], alpha=float(call.source.negative_slope))


def prelu(g: GraphBuilder, call: LayerCall) -> Value:
    """Convert PReLU: the slopes broadcast over the batch and the shared axes."""
    x = call.inputs[0]
    return g.PRelu(x, g.const(call.weight(call.source.alpha, like=x), name="alpha"))


def elu(g: GraphBuilder, call: LayerCall) -> Value:
    """Convert ELU."""
    return g.Elu(call.inputs[0], alpha=float(call.source.alpha))


def softmax(g: GraphBuilder, call: LayerCall) -> Value:
    """Convert Softmax over one axis or several, with its mask."""
    layer, x, mask = call.source, call.inputs[0], call.params.get("mask")
    if mask is None and len(call.inputs) > 1:
        mask = call.inputs[1]
    if mask is not None:
        if mask.dtype != DataType.BOOL:
            mask = g.Greater(mask, g.scalar_like(0.5, mask))
        # Keras's own large negative number: rows without any kept position become uniform, then zero.
        low = -3e4 if dtype_of(x) == DataType.FLOAT16 else -1e9
        x = g.Where(mask, x, g.scalar_like(low, x))
    axes = [int(a) % rank_of(x) for a in (layer.axis if isinstance(layer.axis, list | tuple) else [layer.axis])]
    result = g.Softmax(x, axis=axes[0]) if len(axes) == 1 else _softmax_over(g, x, axes)
    return result if mask is None else g.Where(mask, result, g.scalar_like(0, result))


def _softmax_over(g: GraphBuilder, x: Value, axes: list[int]) -> Value:
    top = g.ReduceMax(x, axes)
    powers = g.Exp(g.Sub(x, top))
    return g.Div(powers, g.ReduceSum(powers, axes))
