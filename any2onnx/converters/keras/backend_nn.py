"""Activations, normalisation, encodings, losses and attention of `keras.src.backend.nn`."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from any2onnx.converters.keras.backend_common import Context, backend_function, keras_backend
from any2onnx.converters.keras.backend_order import ordered
from any2onnx.converters.keras.backend_reductions import reduce
from any2onnx.converters.keras.backend_special import expm1_of
from any2onnx.graph.types import DataType, Value, dtype_of, rank_of, shape_of


def _activation(formula: Callable[..., Value]) -> Callable[..., Any]:
    @backend_function
    def convert(c: Context, x: Any, *parameters: Any) -> Value:
        return formula(c, c.as_float(x), *parameters)

    return convert


def _scaled(c: Context, x: Value, factor: float) -> Value:
    return c.g.Mul(x, c.number(factor, x))


@backend_function
def relu(c: Context, x: Any) -> Value:
    """max(x, 0)."""
    value = c.t(x, c.out)
    return c.g.Relu(value) if c.out.is_floating_point() else c.g.Max(value, c.number(0, value))


@backend_function
def relu6(c: Context, x: Any) -> Value:
    """min(max(x, 0), 6)."""
    return c.g.Clip(c.t(x, c.out), 0, 6)


sigmoid = _activation(lambda c, x: c.g.Sigmoid(x))
tanh = _activation(lambda c, x: c.g.Tanh(x))
softplus = _activation(lambda c, x: c.g.Softplus(x))
softsign = _activation(lambda c, x: c.g.Softsign(x))
silu = _activation(lambda c, x: c.g.Swish(x))
hard_sigmoid = _activation(lambda c, x: c.g.HardSigmoid(x, alpha=1 / 6, beta=0.5))
hard_silu = _activation(lambda c, x: c.g.HardSwish(x))
hard_tanh = _activation(lambda c, x: c.g.Clip(x, -1.0, 1.0))
selu = _activation(lambda c, x: c.g.Selu(x, alpha=1.6732632423543772, gamma=1.0507009873554805))
tanh_shrink = _activation(lambda c, x: c.g.Sub(x, c.g.Tanh(x)))
log_sigmoid = _activation(lambda c, x: c.g.Neg(c.g.Softplus(c.g.Neg(x))))
gelu = _activation(lambda c, x, approximate: c.g.Gelu(x, approximate="tanh" if approximate else "none"))
elu = _activation(lambda c, x, alpha: c.g.Elu(x, alpha=float(c.static(alpha, "alpha"))))


def _leaky(c: Context, x: Value, negative_slope: Any) -> Value:
    return c.g.LeakyRelu(x, alpha=float(c.static(negative_slope, "negative_slope")))


leaky_relu = _activation(_leaky)


def _squareplus(c: Context, x: Value, b: Any) -> Value:
    root = c.g.Sqrt(c.g.Add(c.g.Mul(x, x), c.t(b, dtype_of(x))))
    return _scaled(c, c.g.Add(x, root), 0.5)


squareplus = _activation(_squareplus)


def _celu(c: Context, x: Value, alpha: Any) -> Value:
    g = c.g
    zero, slope = c.number(0, x), c.t(alpha, dtype_of(x))
    return g.Add(g.Max(x, zero), g.Mul(slope, expm1_of(c, g.Div(g.Min(x, zero), slope))))


celu = _activation(_celu)


def _sparse_sigmoid(c: Context, x: Value) -> Value:
    half = _scaled(c, c.g.Add(x, c.number(1, x)), 0.5)
    return c.g.Clip(half, 0.0, 1.0)


sparse_sigmoid = _activation(_sparse_sigmoid)


def _sparse_plus(c: Context, x: Value) -> Value:
    g = c.g
    one = c.number(1, x)
    shifted = g.Add(x, one)
    curve = _scaled(c, g.Mul(shifted, shifted), 0.25)
    return g.Where(g.LessOrEqual(x, g.Neg(one)), c.number(0, x), g.Where(g.Less(x, one), curve, x))


sparse_plus = _activation(_sparse_plus)


def _soft_shrink(c: Context, x: Value, threshold: Any) -> Value:
    return c.g.Shrink(x, lambd=float(threshold), bias=float(threshold))


def _hard_shrink(c: Context, x: Value, threshold: Any) -> Value:
    return c.g.Where(c.g.Greater(c.g.Abs(x), c.t(threshold, dtype_of(x))), x, c.number(0, x))


soft_shrink = _activation(_soft_shrink)
hard_shrink = _activation(_hard_shrink)


@backend_function
def threshold(c: Context, x: Any, limit: Any, default_value: Any) -> Value:
    """x above a limit, a default elsewhere."""
    value = c.t(x, c.out)
    return c.g.Where(c.g.Greater(value, c.t(limit, c.out)), value, c.t(default_value, c.out))


@backend_function
def glu(c: Context, x: Any, axis: Any) -> Value:
    """First half times the sigmoid of the second."""
    value = c.t(x)
    a, b = c.g.Split(value, axis=c.axis(axis, rank_of(value)), num_outputs=2)
    return c.g.Mul(a, c.g.Sigmoid(b))


def normalised(c: Context, x: Value, axis: Any, op_type: str) -> Value:
    """Softmax or LogSoftmax over one axis, several, or all (None)."""
    g = c.g
    rank = rank_of(x)
    axes = c.axes(axis, rank)
    if len(axes) == 1:
        return getattr(g, op_type)(x, axis=axes[0])  # type: ignore[no-any-return]
    kept = [k for k in range(rank) if k not in axes]
    order = kept + axes
    moved = c.transpose(x, order)
    flat = g.Reshape(moved, g.shape_vector([*[0] * len(kept), -1]))
    result = g.Reshape(getattr(g, op_type)(flat, axis=len(kept)), g.Shape(moved))
    return c.transpose(result, [order.index(k) for k in range(rank)])


@backend_function
def softmax(c: Context, x: Any, axis: Any) -> Value:
    """exp(x) / sum(exp(x))."""
    return normalised(c, c.as_float(x), axis, "Softmax")


@backend_function
def log_softmax(c: Context, x: Any, axis: Any) -> Value:
    """x - log(sum(exp(x)))."""
    return normalised(c, c.as_float(x), axis, "LogSoftmax")


@backend_function
def sparsemax(c: Context, x: Any, axis: Any) -> Value:
    """Sparse alternative to softmax, as Keras computes it."""
    g = c.g
    value = c.as_float(x)
    place = c.axis(axis, rank_of(value))
    descending, _ = ordered(c, value, place, largest=True)
    sums = g.CumSum(descending, np.asarray(place, np.int64))
    count = g.Cast(g.Add(c.positions(value, place), np.asarray(1, np.int64)), dtype_of(value))
    count = g.Reshape(count, [-1 if k == place else 1 for k in range(rank_of(value))])
    one = c.number(1, value)
    support = g.Greater(descending, g.Div(g.Sub(sums, one), count))
    size = g.ReduceSum(g.Cast(support, dtype_of(value)), [place], keepdims=True)
    # Keras adds up the running sums within the support, where the paper has the last one; this follows Keras.
    total = g.ReduceSum(g.Where(support, sums, c.number(0, value)), [place], keepdims=True)
    limit = g.Div(g.Sub(total, one), size)
    return g.Max(g.Sub(value, limit), c.number(0, value))


# --- encodings -------------------------------------------------------------------------------------------------------


def one_hot_of(c: Context, x: Value, num_classes: Any, axis: Any, dtype: DataType) -> Value:
    """Return ones at the positions x along a new dim; zeros for numbers outside."""
    g = c.g
    rank = rank_of(x)
    size = c.size(num_classes)
    classes = g.const(np.arange(size, dtype=np.int64)) if isinstance(size, int) else c.range(g.Reshape(size, []))
    place = c.axis(axis, rank + 1)
    column = g.Unsqueeze(g.Cast(x, DataType.INT64), [place])
    row = g.Reshape(classes, [-1 if k == place else 1 for k in range(rank + 1)]) if place != rank else classes
    return g.Cast(g.Equal(column, row), dtype)


@backend_function
def one_hot(c: Context, x: Any, num_classes: Any, axis: Any, dtype: Any, sparse: Any) -> Value:
    """Ones at given positions of a new dim."""
    if sparse:
        raise c.refuse("sparse=True has no tensor in ONNX")
    return one_hot_of(c, c.t(x), num_classes, axis, c.out)


@backend_function
def multi_hot(c: Context, x: Any, num_classes: Any, axis: Any, dtype: Any, sparse: Any) -> Value:
    """Ones at all of the given positions."""
    if sparse:
        raise c.refuse("sparse=True has no tensor in ONNX")
    value = c.t(x)
    hot = one_hot_of(c, value, num_classes, axis, DataType.FLOAT)
    return c.g.ReduceMax(hot, [1 if rank_of(value) > 1 else 0], keepdims=False)


# --- normalisation ---------------------------------------------------------------------------------------------------


@backend_function
def moments(c: Context, x: Any, axes: Any, keepdims: Any, synchronized: Any) -> list[Value]:
    """Mean and variance."""
    g = c.g
    value = c.t(x)
    wide = value if dtype_of(value) == DataType.DOUBLE else c.t(value, DataType.FLOAT)
    mean = reduce(c, "Mean", wide, axes, True)
    centred = g.Sub(wide, mean)
    variance = reduce(c, "Mean", g.Mul(centred, centred), axes, bool(keepdims))
    places = c.axes(axes, rank_of(value))
    return [mean if keepdims or not places else g.Squeeze(mean, places), variance]


@backend_function
def batch_normalization(
    c: Context, x: Any, mean: Any, variance: Any, axis: Any, offset: Any, scale: Any, epsilon: Any
) -> Value:
    """(x - mean) / sqrt(variance + epsilon) · scale + offset along an axis."""
    g = c.g
    value = c.t(x, c.out)
    rank = rank_of(value)
    place = c.axis(axis, rank)
    middle, spread = c.t(mean, c.out), c.t(variance, c.out)
    ones = c.expand(c.number(1, value), g.Shape(middle)) if scale is None else c.t(scale, c.out)
    if place == 1 and rank > 1:
        zeros = c.expand(c.number(0, value), g.Shape(middle)) if offset is None else c.t(offset, c.out)
        return g.BatchNormalization(value, ones, zeros, middle, spread, epsilon=float(epsilon))
    inverse = g.Div(ones, g.Sqrt(g.Add(spread, c.number(float(epsilon), spread))))
    shift = g.Neg(g.Mul(middle, inverse))
    if offset is not None:
        shift = g.Add(shift, c.t(offset, c.out))
    if place != rank - 1:
        shape = [-1 if k == place else 1 for k in range(rank)]
        inverse, shift = g.Reshape(inverse, shape), g.Reshape(shift, shape)
    return g.Add(g.Mul(value, inverse), shift)


# --- losses ----------------------------------------------------------------------------------------------------------


def _limits(c: Context, x: Value) -> Value:
    from keras.src.backend import epsilon

    return c.g.Clip(x, float(epsilon()), 1.0 - float(epsilon()))


def _log_probabilities(c: Context, output: Value, from_logits: Any, axis: Any) -> Value:
    if from_logits:
        return normalised(c, output, axis, "LogSoftmax")
    share = c.g.Div(output, reduce(c, "Sum", output, axis, True))
    return c.g.Log(_limits(c, share))


@backend_function
def categorical_crossentropy(c: Context, target: Any, output: Any, from_logits: Any, axis: Any) -> Value:
    """-sum(target · log(output))."""
    value = c.as_float(output)
    weighted = c.g.Mul(c.t(target, dtype_of(value)), _log_probabilities(c, value, from_logits, axis))
    return c.g.Neg(reduce(c, "Sum", weighted, axis, False))


@backend_function
def sparse_categorical_crossentropy(c: Context, target: Any, output: Any, from_logits: Any, axis: Any) -> Value:
    """-log(output) at the target."""
    g = c.g
    value = c.as_float(output)
    index = c.t(target, DataType.INT64)
    if rank_of(index) == rank_of(value) and shape_of(index)[-1] == 1:
        index = g.Squeeze(index, [rank_of(index) - 1])
    place = c.axis(axis, rank_of(value))
    size = c.sizes_of(value)[place]
    hot = one_hot_of(c, index, size, place, dtype_of(value))
    return g.Neg(reduce(c, "Sum", g.Mul(hot, _log_probabilities(c, value, from_logits, axis)), place, False))


@backend_function
def binary_crossentropy(c: Context, target: Any, output: Any, from_logits: Any) -> Value:
    """-(target · log(output) + (1 - target) · log(1 - output))."""
    g = c.g
    value = c.as_float(output)
    wanted = c.t(target, dtype_of(value))
    one = c.number(1, value)
    share = _limits(c, g.Sigmoid(value) if from_logits else value)
    yes = g.Mul(wanted, g.Log(share))
    return g.Neg(g.Add(yes, g.Mul(g.Sub(one, wanted), g.Log(g.Sub(one, share)))))


@backend_function
def psnr(c: Context, x1: Any, x2: Any, max_val: Any) -> Value:
    """Peak signal-to-noise ratio in decibels."""
    g = c.g
    a, b = c.as_out(x1, x2)
    gap = g.Sub(a, b)
    error = reduce(c, "Mean", g.Mul(gap, gap), None, False)
    decibel = 10 / math.log(10)
    return g.Sub(_scaled(c, g.Log(c.t(max_val, c.out)), 2 * decibel), _scaled(c, g.Log(error), decibel))


# --- attention -------------------------------------------------------------------------------------------------------


@backend_function
def dot_product_attention(
    c: Context,
    query: Any,
    key: Any,
    value: Any,
    bias: Any,
    mask: Any,
    scale: Any,
    is_causal: Any,
    flash_attention: Any,
    attn_logits_soft_cap: Any,
) -> Value:
    """Softmax(query · key · scale + bias) · value for [batch, time, heads, size]; logits and softmax in float32."""
    g = c.g
    q, k, v = c.promoted(query, key, value)
    kind = dtype_of(q)
    wide = kind if kind == DataType.DOUBLE else DataType.FLOAT
    q, k = (g.Cast(g.Transpose(t, perm=p), wide) for t, p in ((q, [0, 2, 1, 3]), (k, [0, 2, 3, 1])))
    if scale is None:
        scale = 1 / math.sqrt(c.static_dim(q, 3, "of a head"))
    logits = g.Mul(g.MatMul(q, k), c.t(scale, wide))
    if attn_logits_soft_cap is not None:
        cap = c.t(attn_logits_soft_cap, wide)
        logits = g.Mul(g.Tanh(g.Div(logits, cap)), cap)
    if bias is not None:
        logits = g.Add(logits, c.t(bias, wide))
    allowed = None if mask is None else c.t(mask, DataType.BOOL)
    if is_causal:
        rows, columns = g.Unsqueeze(c.positions(logits, 2), 1), g.Unsqueeze(c.positions(logits, 3), 0)
        causal = g.LessOrEqual(columns, rows)
        allowed = causal if allowed is None else g.And(allowed, causal)
    if allowed is not None:
        lowest = 65500.0 if kind == DataType.FLOAT16 else 3.38953e38
        logits = g.Where(allowed, logits, c.number(-0.7 * lowest, logits))
    shares = g.Cast(g.Softmax(logits, axis=3), kind)
    return g.Transpose(g.MatMul(shares, g.Transpose(v, perm=[0, 2, 1, 3])), perm=[0, 2, 1, 3])


# --- blocks of images ------------------------------------------------------------------------------------------------


def _pair(x: Any) -> tuple[int, int]:
    return (int(x), int(x)) if isinstance(x, int) else (int(x[0]), int(x[1]))


@backend_function
def unfold(c: Context, x: Any, kernel_size: Any, dilation: Any, padding: Any, stride: Any) -> Value:
    """Sliding blocks of [N, C, H, W] as columns [N, C·kh·kw, L]: a convolution that picks each position."""
    g = c.g
    value = c.t(x)
    (kh, kw), (dh, dw) = _pair(kernel_size), _pair(dilation)
    (ph, pw), (sh, sw) = _pair(padding), _pair(stride)
    channels = c.static_dim(value, 1, "of the channels")
    pick = np.eye(kh * kw, dtype=dtype_of(value).numpy()).reshape(kh * kw, 1, kh, kw)
    weights = np.tile(pick, (channels, 1, 1, 1))
    columns = g.Conv(
        value,
        g.const(weights),
        group=channels,
        dilations=[dh, dw],
        pads=[ph, pw, ph, pw],
        strides=[sh, sw],
        kernel_shape=[kh, kw],
    )
    return g.Reshape(columns, [0, channels * kh * kw, -1])


@backend_function
def fold(c: Context, x: Any, output_size: Any, kernel_size: Any, dilation: Any, padding: Any, stride: Any) -> Value:
    """Columns [N, C·kh·kw, L] added up into [N, C, H, W]: the transposed convolution of `unfold`."""
    g = c.g
    value = c.t(x)
    (oh, ow), (kh, kw), (dh, dw) = _pair(output_size), _pair(kernel_size), _pair(dilation)
    (ph, pw), (sh, sw) = _pair(padding), _pair(stride)
    rows = (oh + 2 * ph - dh * (kh - 1) - 1) // sh + 1
    columns = (ow + 2 * pw - dw * (kw - 1) - 1) // sw + 1
    channels = c.static_dim(value, 1, "of the columns") // (kh * kw)
    blocks = g.Reshape(value, [0, channels * kh * kw, rows, columns])
    pick = np.eye(kh * kw, dtype=dtype_of(value).numpy()).reshape(kh * kw, 1, kh, kw)
    # What no block reaches at the lower right end is missing in the transposed convolution.
    missing = [
        oh + 2 * ph - ((rows - 1) * sh + dh * (kh - 1) + 1),
        ow + 2 * pw - ((columns - 1) * sw + dw * (kw - 1) + 1),
    ]
    whole = g.ConvTranspose(
        blocks,
        g.const(np.tile(pick, (channels, 1, 1, 1))),
        group=channels,
        dilations=[dh, dw],
        strides=[sh, sw],
        kernel_shape=[kh, kw],
    )
    if any(missing):
        whole = g.Pad(whole, [0, 0, 0, 0, 0, 0, *missing])
    if ph or pw:
        whole = g.Slice(whole, [ph, pw], [ph + oh, pw + ow], [2, 3])
    return whole


def _blocks(op_type: str) -> Callable[..., Any]:
    @backend_function
    def convert(c: Context, x: Any, block_size: Any, data_format: Any) -> Value:
        g = c.g
        value = c.t(x)
        if data_format == "channels_last":
            value = g.Transpose(value, perm=[0, 3, 1, 2])
        # Keras counts channels as (channel, block) in one layout and (block, channel) in the other, but under
        # TensorFlow always the latter way.
        first = data_format != "channels_last" and keras_backend() != "tensorflow"
        result = (
            _depth_to_space(c, value, int(block_size), first)
            if op_type == "DepthToSpace"
            else _space_to_depth(c, value, int(block_size), first)
        )
        return g.Transpose(result, perm=[0, 2, 3, 1]) if data_format == "channels_last" else result

    return convert


def _depth_to_space(c: Context, x: Value, block: int, channel_first: bool) -> Value:
    return c.g.DepthToSpace(x, blocksize=block, mode="CRD" if channel_first else "DCR")


def _space_to_depth(c: Context, x: Value, block: int, channel_first: bool) -> Value:
    result = c.g.SpaceToDepth(x, blocksize=block)
    if not channel_first:
        return result
    channels = c.static_dim(x, 1, "of the channels")
    # SpaceToDepth puts the block before the channel.
    shape = [0, block * block, channels, -1]
    sizes = c.sizes_of(result)
    parts = c.g.Transpose(c.g.Reshape(result, shape), perm=[0, 2, 1, 3])
    return c.g.Reshape(parts, c.g.shape_vector([0, channels * block * block, *sizes[2:]]))


depth_to_space = _blocks("DepthToSpace")
space_to_depth = _blocks("SpaceToDepth")
