"""Convolutions and pooling of `keras.src.backend.nn`."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from any2onnx.converters.keras.backend_common import Context, backend_function
from any2onnx.converters.keras.layout import Window, computed_same_pads
from any2onnx.converters.keras.pooling import pool_computed
from any2onnx.graph.types import FLOATS, DataType, Value, dtype_of, rank_of, shape_of


def _layout(data_format: Any) -> str:
    from keras.src.backend import standardize_data_format

    return str(standardize_data_format(data_format))


def _numbers(x: Any, count: int) -> list[int]:
    return [int(x)] * count if isinstance(x, int) else [int(v) for v in x]


def channels_first(c: Context, x: Value, layout: str) -> Value:
    """Return [N, C, ...] for either layout."""
    rank = rank_of(x)
    return x if layout == "channels_first" else c.g.Transpose(x, perm=[0, rank - 1, *range(1, rank - 1)])


def as_given(c: Context, x: Value, layout: str) -> Value:
    """Return [N, C, ...] in the layout that was given."""
    rank = rank_of(x)
    return x if layout == "channels_first" else c.g.Transpose(x, perm=[0, *range(2, rank), 1])


def permuted(c: Context, kernel: Value, perm: Sequence[int]) -> Value:
    """Return a kernel with its dims permuted: of a constant, a view."""
    if kernel.const_value is not None:
        return c.g.const(np.transpose(kernel.const_value.numpy(), perm), name=str(kernel.name))
    return c.g.Transpose(kernel, perm=list(perm))


def same_padding(
    x: Value, kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int], padding: str
) -> dict[str, Any]:
    """Return the attributes for a padding of Keras: numbers where the sizes are static, else SAME_UPPER.

    Not for windows with gaps between them and sizes that vary (`has_gaps`): there onnxruntime pads by negative numbers.
    """
    if padding == "valid":
        return {}
    sizes = shape_of(x)[2:]
    begins, ends = [], []
    for size, k, s, d in zip(sizes, kernel, strides, dilations, strict=True):
        reach = d * (k - 1) + 1
        if s == 1:
            total = reach - 1
        elif isinstance(size, int):
            total = max((math.ceil(size / s) - 1) * s + reach - size, 0)
        else:
            return {"auto_pad": "SAME_UPPER"}
        begins.append(total // 2)
        ends.append(total - total // 2)
    return {"pads": begins + ends} if any(begins + ends) else {}


def has_gaps(x: Value, window: Window, padding: str) -> bool:
    """Tell whether pads for "same" depend on sizes that vary, and windows leave out what is between them."""
    parts = zip(shape_of(x)[2:], window.extent, window.strides, strict=True)
    return padding == "same" and any(not isinstance(size, int) and reach < step for size, reach, step in parts)


def convolution(c: Context, x: Value, kernel: Value, strides: Any, padding: str, dilations: Any, group: int) -> Value:
    """Convolve [N, C, ...] with a kernel [out, in / group, ...]."""
    spatial = rank_of(x) - 2
    steps, gaps = _numbers(strides, spatial), _numbers(dilations, spatial)
    sizes = [int(d) for d in shape_of(kernel)[2:] if isinstance(d, int)]
    if has_gaps(x, window := Window(tuple(sizes), tuple(steps), tuple(gaps)), str(padding)):
        x, padding = c.g.Pad(x, computed_same_pads(c.g, x, window)), "valid"
    return c.g.Conv(
        x,
        kernel,
        kernel_shape=sizes,
        strides=steps,
        dilations=gaps,
        group=group,
        **same_padding(x, sizes, steps, gaps, str(padding)),
    )


@backend_function
def conv(
    c: Context, inputs: Any, kernel: Any, strides: Any, padding: Any, data_format: Any, dilation_rate: Any
) -> Value:
    """Convolution; the number of groups follows from the channels."""
    layout = _layout(data_format)
    x, weights = c.promoted(inputs, kernel)
    x = channels_first(c, x, layout)
    rank = rank_of(weights)
    inner = shape_of(weights)[rank - 2]
    channels = c.static_dim(x, 1, "of the channels")
    weights = permuted(c, weights, [rank - 1, rank - 2, *range(rank - 2)])
    result = convolution(c, x, weights, strides, padding, dilation_rate, channels // int(inner or 1))
    return as_given(c, result, layout)


def depthwise(c: Context, x: Value, kernel: Value, strides: Any, padding: Any, dilation_rate: Any) -> Value:
    """Convolve each channel of [N, C, ...] by itself."""
    rank = rank_of(kernel)
    *sizes, channels, multiplier = shape_of(kernel)
    weights = permuted(c, kernel, [rank - 2, rank - 1, *range(rank - 2)])
    shape = [int(channels or 1) * int(multiplier or 1), 1, *(int(s or 1) for s in sizes)]
    if weights.const_value is not None:
        weights = c.g.const(weights.const_value.numpy().reshape(shape), name=str(kernel.name))
    else:
        weights = c.g.Reshape(weights, shape)
    return convolution(c, x, weights, strides, padding, dilation_rate, int(channels or 1))


@backend_function
def depthwise_conv(
    c: Context, inputs: Any, kernel: Any, strides: Any, padding: Any, data_format: Any, dilation_rate: Any
) -> Value:
    """Convolution of each channel by itself."""
    layout = _layout(data_format)
    x, weights = c.promoted(inputs, kernel)
    result = depthwise(c, channels_first(c, x, layout), weights, strides, padding, dilation_rate)
    return as_given(c, result, layout)


@backend_function
def separable_conv(
    c: Context,
    inputs: Any,
    depthwise_kernel: Any,
    pointwise_kernel: Any,
    strides: Any,
    padding: Any,
    data_format: Any,
    dilation_rate: Any,
) -> Value:
    """Convolution of each channel by itself, then one that mixes channels."""
    layout = _layout(data_format)
    x, first, second = c.promoted(inputs, depthwise_kernel, pointwise_kernel)
    middle = depthwise(c, channels_first(c, x, layout), first, strides, padding, dilation_rate)
    rank = rank_of(second)
    weights = permuted(c, second, [rank - 1, rank - 2, *range(rank - 2)])
    return as_given(c, convolution(c, middle, weights, 1, "valid", 1, 1), layout)


@backend_function
def conv_transpose(
    c: Context,
    inputs: Any,
    kernel: Any,
    strides: Any,
    padding: Any,
    output_padding: Any,
    data_format: Any,
    dilation_rate: Any,
) -> Value:
    """Transposed convolution, cropped or filled up as Keras does."""
    from keras.src.backend.common.backend_utils import _convert_conv_transpose_padding_args_from_keras_to_jax

    g = c.g
    layout = _layout(data_format)
    x, weights = c.promoted(inputs, kernel)
    x = channels_first(c, x, layout)
    rank = rank_of(weights)
    spatial = rank - 2
    sizes = [int(d) for d in shape_of(weights)[:spatial] if isinstance(d, int)]
    steps, gaps = _numbers(strides, spatial), _numbers(dilation_rate, spatial)
    extra = [None] * spatial if output_padding is None else _numbers(output_padding, spatial)
    begins, ends = [], []
    for k, s, d, more in zip(sizes, steps, gaps, extra, strict=True):
        left, right = _convert_conv_transpose_padding_args_from_keras_to_jax(
            kernel_size=k, stride=s, dilation_rate=d, padding=padding, output_padding=more
        )
        # Those pads are of the input spread out by the stride; a pad of reach - 1 is the whole result.
        reach = (k - 1) * d
        begins.append(reach - left)
        ends.append(reach - right)
    weights = permuted(c, weights, [rank - 1, rank - 2, *range(spatial)])
    result = g.ConvTranspose(
        x,
        weights,
        kernel_shape=sizes,
        strides=steps,
        dilations=gaps,
        pads=[max(v, 0) for v in begins] + [max(v, 0) for v in ends],
    )
    if any(v < 0 for v in begins + ends):
        # Beyond the whole result there is nothing: zeros.
        more_begin, more_end = [max(-v, 0) for v in begins], [max(-v, 0) for v in ends]
        result = g.Pad(result, [0, 0, *more_begin, 0, 0, *more_end])
    return as_given(c, result, layout)


def _pool(op_type: str) -> Callable[..., Any]:
    @backend_function
    def convert(c: Context, inputs: Any, pool_size: Any, strides: Any, padding: Any, data_format: Any) -> Value:
        layout = _layout(data_format)
        x = channels_first(c, c.t(inputs), layout)
        kind = dtype_of(x)
        if kind not in FLOATS:
            # There are no kernels for the wider integers; float64 has room for them.
            x = c.g.Cast(x, DataType.DOUBLE)
        spatial = rank_of(x) - 2
        window = _numbers(pool_size, spatial)
        steps = window if strides is None else _numbers(strides, spatial)
        places = Window(tuple(window), tuple(steps), (1,) * spatial)
        if has_gaps(x, places, str(padding)):
            result = pool_computed(c.g, x, places, op_type)
        else:
            pads = same_padding(x, window, steps, [1] * spatial, str(padding))
            result = getattr(c.g, op_type)(x, kernel_shape=window, strides=steps, **pads)
        return as_given(c, c.g.Cast(result, kind), layout)

    return convert


max_pool = _pool("MaxPool")
average_pool = _pool("AveragePool")


def _adaptive(op_type: str) -> Callable[..., Any]:
    @backend_function
    def convert(c: Context, inputs: Any, output_size: Any, data_format: Any) -> Value:
        layout = _layout(data_format)
        x = channels_first(c, c.t(inputs), layout)
        for k, size in enumerate(_numbers(output_size, rank_of(x) - 2)):
            x = _adaptive_axis(c, x, k + 2, size, op_type)
        return as_given(c, x, layout)

    return convert


def _adaptive_axis(c: Context, x: Value, axis: int, count: int, op_type: str) -> Value:
    """Pool one dim into `count` windows that cover it, the widths of which differ by one at most."""
    g = c.g
    size = c.static_dim(x, axis, "for adaptive pooling") if count != 1 else shape_of(x)[axis]
    if count == 1:
        return getattr(g, f"Reduce{op_type}")(x, [axis], keepdims=True)  # type: ignore[no-any-return]
    assert isinstance(size, int)
    starts = np.floor(np.arange(count) * size / count).astype(np.int64)
    ends = np.ceil(np.arange(1, count + 1) * size / count).astype(np.int64)
    width = int((ends - starts).max())
    # Positions of each window, the last one repeated where a window is shorter (for a mean, with weight 0).
    index = np.minimum(starts[:, None] + np.arange(width), ends[:, None] - 1)
    windows = g.Gather(x, g.const(index), axis=axis)
    if op_type == "Max":
        return g.ReduceMax(windows, [axis + 1], keepdims=False)
    weights = (starts[:, None] + np.arange(width) < ends[:, None]) / (ends - starts)[:, None]
    shape = [count if k == axis else width if k == axis + 1 else 1 for k in range(rank_of(windows))]
    weighted = g.Mul(windows, g.const(weights.reshape(shape).astype(dtype_of(x).numpy())))
    return g.ReduceSum(weighted, [axis + 1], keepdims=False)


adaptive_max_pool = _adaptive("Max")
adaptive_average_pool = _adaptive("Mean")
