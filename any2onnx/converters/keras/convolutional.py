"""keras.layers.convolutional: Conv, DepthwiseConv, SeparableConv and transposed Conv in one to three dimensions."""

from __future__ import annotations

from typing import Any

import numpy as np

from any2onnx.converters.keras.calls import LayerCall
from any2onnx.converters.keras.layout import (
    Window,
    computed_same_pads,
    from_channels_first,
    same_pads,
    spatial_dims,
    to_channels_first,
)
from any2onnx.graph.builder import GraphBuilder
from any2onnx.graph.types import Value, rank_of


def conv(g: GraphBuilder, call: LayerCall) -> Value:
    """Convert Conv1D, Conv2D and Conv3D: kernel [*spatial, in / groups, out]."""
    layer, x = call.source, call.inputs[0]
    kernel = _first_spatial(call, layer.kernel, x, out_axis=-1)
    return _convolution(g, call, x, kernel, groups=layer.groups)


def depthwise_conv(g: GraphBuilder, call: LayerCall) -> Value:
    """Convert DepthwiseConv1D and 2D: kernel [*spatial, in, multiplier], one group per input channel."""
    layer, x = call.source, call.inputs[0]
    kernel, groups = _depthwise_kernel(call, layer.kernel, x)
    return _convolution(g, call, x, kernel, groups=groups)


def separable_conv(g: GraphBuilder, call: LayerCall) -> Value:
    """Convert SeparableConv1D and 2D: a depthwise convolution and a pointwise one."""
    layer, x = call.source, call.inputs[0]
    depthwise, groups = _depthwise_kernel(call, layer.depthwise_kernel, x)
    pointwise = _first_spatial(call, layer.pointwise_kernel, x, out_axis=-1)
    first = to_channels_first(g, x, layer.data_format)
    middle = _windowed(g, call, first, depthwise, None, groups)
    result = g.Conv(
        middle, g.const(pointwise, name="pointwise_kernel"), _bias(g, call, x), kernel_shape=[1] * layer.rank
    )
    return call.walker.function(g, layer.activation, from_channels_first(g, result, layer.data_format), path=call.scope)


def conv_transpose(g: GraphBuilder, call: LayerCall) -> Value:
    """Convert Conv1DTranspose, Conv2DTranspose and Conv3DTranspose: kernel [*spatial, out, in].

    Keras (`_convert_conv_transpose_padding_args_from_keras_to_jax`) pads the spread-out input by `left` and `right`;
    the full result of ONNX's ConvTranspose is cut by extent - 1 - left and extent - 1 - right, negative cuts are
    cells of bias behind.
    """
    from keras.src.backend.common.backend_utils import compute_conv_transpose_output_crops_for_torch

    layer, x = call.source, call.inputs[0]
    rank = layer.rank
    array = call.weight(layer.kernel, like=x, perm=[rank + 1, rank, *range(rank)])
    first = to_channels_first(g, x, layer.data_format)
    crops = compute_conv_transpose_output_crops_for_torch(
        input_shape=(1, *spatial_dims(first), 1),
        kernel_shape=(*array.shape[2:], 1, 1),
        strides=tuple(layer.strides),
        padding=layer.padding,
        output_padding=layer.output_padding,
        dilation_rate=tuple(layer.dilation_rate),
    )
    starts, ends = [c[0] for c in crops], [c[1] for c in crops]
    result = g.ConvTranspose(
        first,
        g.const(array, name="kernel"),
        _bias(g, call, x) if min(starts + ends) >= 0 else None,
        kernel_shape=list(array.shape[2:]),
        strides=list(layer.strides),
        dilations=list(layer.dilation_rate),
        pads=[max(p, 0) for p in starts + ends],
    )
    if min(starts + ends) < 0:
        extra = [0, 0, *(max(-p, 0) for p in starts), 0, 0, *(max(-p, 0) for p in ends)]
        result = g.Pad(result, extra)
        if layer.use_bias:
            bias = call.weight(layer.bias, like=x).reshape(-1, *([1] * rank))
            result = g.Add(result, g.const(bias, name="bias"))
    return call.walker.function(g, layer.activation, from_channels_first(g, result, layer.data_format), path=call.scope)


# --- helpers -------------------------------------------------------------------------------------------------------


def _first_spatial(call: LayerCall, kernel: Any, x: Value, *, out_axis: int) -> np.ndarray[Any, Any]:
    """Return a kernel [*spatial, in, out] as ONNX's [out, in, *spatial]."""
    rank = rank_of(x) - 2
    array: np.ndarray[Any, Any] = call.weight(kernel, like=x, perm=[rank + 1, rank, *range(rank)])
    return array


def _depthwise_kernel(call: LayerCall, kernel: Any, x: Value) -> tuple[np.ndarray[Any, Any], int]:
    """Return a kernel [*spatial, in, multiplier] as [in · multiplier, 1, *spatial], and the number of groups."""
    rank = rank_of(x) - 2
    array: np.ndarray[Any, Any] = call.weight(kernel, like=x, perm=[rank, rank + 1, *range(rank)])
    return array.reshape(-1, 1, *array.shape[2:]), array.shape[0]


def _bias(g: GraphBuilder, call: LayerCall, x: Value) -> Value | None:
    layer = call.source
    return g.const(call.weight(layer.bias, like=x), name="bias") if layer.use_bias else None


def _convolution(g: GraphBuilder, call: LayerCall, x: Value, kernel: np.ndarray[Any, Any], *, groups: int) -> Value:
    layer = call.source
    first = to_channels_first(g, x, layer.data_format)
    result = _windowed(g, call, first, kernel, _bias(g, call, x), groups)
    return call.walker.function(g, layer.activation, from_channels_first(g, result, layer.data_format), path=call.scope)


def _windowed(
    g: GraphBuilder, call: LayerCall, x: Value, kernel: np.ndarray[Any, Any], bias: Value | None, groups: int
) -> Value:
    """Convolve [N, C, ...] with the layer's strides, dilation and padding."""
    layer = call.source
    size = tuple(int(k) for k in kernel.shape[2:])
    window = Window(size, _numbers(layer.strides, len(size)), _numbers(layer.dilation_rate, len(size)))
    pads: list[int] | None = None
    if layer.padding == "causal":
        pads = [e - 1 for e in window.extent] + [0] * len(size)
    elif layer.padding == "same":
        pads = same_pads(window, spatial_dims(x))
        if pads is None:
            x = g.Pad(x, computed_same_pads(g, x, window))
    elif layer.padding != "valid":
        raise call.unsupported("padding", layer.padding, "only valid, same and causal are defined")
    return g.Conv(
        x,
        g.const(kernel, name="kernel"),
        bias,
        kernel_shape=list(size),
        strides=list(window.strides),
        dilations=list(window.dilations),
        pads=pads,
        group=groups,
    )


def _numbers(value: Any, count: int) -> tuple[int, ...]:
    return (int(value),) * count if isinstance(value, int) else tuple(int(v) for v in value)
