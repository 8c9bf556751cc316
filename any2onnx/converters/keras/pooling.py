"""keras.layers.pooling: max, average, global and adaptive pooling."""

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
from any2onnx.graph.types import FLOATS, Value, dtype_of, rank_of, shape_of


def max_pool(g: GraphBuilder, call: LayerCall) -> Value:
    """Convert MaxPooling1D, 2D and 3D."""
    return _pool(g, call, "MaxPool")


def average_pool(g: GraphBuilder, call: LayerCall) -> Value:
    """Convert AveragePooling1D, 2D and 3D: cells of padding do not count."""
    return _pool(g, call, "AveragePool")


def _pool(g: GraphBuilder, call: LayerCall, op_type: str) -> Value:
    layer = call.source
    x = to_channels_first(g, call.inputs[0], layer.data_format)
    size = tuple(layer.pool_size)
    window = Window(size, tuple(layer.strides), (1,) * len(size))
    pads: list[int] | None = None
    if layer.padding == "same":
        pads = same_pads(window, spatial_dims(x))
        if pads is None:
            return from_channels_first(g, pool_computed(g, x, window, op_type), layer.data_format)
    elif layer.padding != "valid":
        raise call.unsupported("padding", layer.padding, "only valid and same are defined")
    result = g.op(op_type, x, kernel_shape=list(size), strides=list(window.strides), pads=pads)
    return from_channels_first(g, result, layer.data_format)


def pool_computed(g: GraphBuilder, x: Value, window: Window, op_type: str) -> Value:
    """Pool with padding="same" where the pads depend on sizes that vary."""
    attributes: dict[str, Any] = {"kernel_shape": list(window.size), "strides": list(window.strides)}
    pads = computed_same_pads(g, x, window)
    if op_type == "MaxPool":
        lowest = -np.inf if dtype_of(x) in FLOATS else np.iinfo(dtype_of(x).numpy()).min
        return g.op("MaxPool", g.Pad(x, pads, lowest), **attributes)
    # Sum of the cells that exist over their number: the average of zeros and ones counts them.
    total = g.op("AveragePool", g.Pad(x, pads), **attributes)
    ones = g.Expand(g.scalar_like(1.0, x), g.Concat(np.asarray([1, 1], np.int64), g.Shape(x, start=2), axis=0))
    share = g.op("AveragePool", g.Pad(ones, pads), **attributes)
    return g.Div(total, share)


def global_max_pool(g: GraphBuilder, call: LayerCall) -> Value:
    """Convert GlobalMaxPooling1D, 2D and 3D."""
    layer, x = call.source, call.inputs[0]
    return g.ReduceMax(x, _spatial_axes(layer, x), keepdims=layer.keepdims)


def global_average_pool(g: GraphBuilder, call: LayerCall) -> Value:
    """Convert GlobalAveragePooling1D (with its mask), 2D and 3D."""
    layer, x, mask = call.source, call.inputs[0], call.params.get("mask")
    if mask is None:
        return g.ReduceMean(x, _spatial_axes(layer, x), keepdims=layer.keepdims)
    axis = 1 if layer.data_format == "channels_last" else 2
    counted = g.Unsqueeze(g.Cast(mask, "bool"), 3 - axis)
    kept = g.Where(counted, x, g.scalar_like(0, x))
    total = g.ReduceSum(kept, axis, keepdims=layer.keepdims)
    return g.Div(total, g.ReduceSum(g.Cast(counted, dtype_of(x)), axis, keepdims=layer.keepdims))


def _spatial_axes(layer: Any, x: Value) -> list[int]:
    rank = rank_of(x)
    return list(range(1, rank - 1)) if layer.data_format == "channels_last" else list(range(2, rank))


def adaptive_average_pool(g: GraphBuilder, call: LayerCall) -> Value:
    """Convert AdaptiveAveragePooling1D, 2D and 3D."""
    return _adaptive(g, call, "AveragePool", "ReduceMean")


def adaptive_max_pool(g: GraphBuilder, call: LayerCall) -> Value:
    """Convert AdaptiveMaxPooling1D, 2D and 3D."""
    return _adaptive(g, call, "MaxPool", "ReduceMax")


def _adaptive(g: GraphBuilder, call: LayerCall, pool: str, reduce: str) -> Value:
    """Position i of an output of size m over n cells covers floor(i·n/m) … ceil((i+1)·n/m): windows of two sizes."""
    layer = call.source
    x = to_channels_first(g, call.inputs[0], layer.data_format)
    sizes = tuple(int(s) for s in np.atleast_1d(layer.output_size))
    for axis, size in enumerate(sizes, start=2):
        cells = shape_of(x)[axis]
        if size == 1:
            x = getattr(g, reduce)(x, axis, keepdims=True)
        elif cells == size:
            continue
        elif not isinstance(cells, int):
            raise call.unsupported(
                "output_size",
                layer.output_size,
                "the windows depend on a dimension that varies",
                remedy="a fixed input shape, or output_size=1",
            )
        else:
            x = _adaptive_axis(g, x, axis, cells, size, pool)
    return from_channels_first(g, x, layer.data_format)


def _adaptive_axis(g: GraphBuilder, x: Value, axis: int, cells: int, size: int, pool: str) -> Value:
    spatial = rank_of(x) - 2

    def slide(width: int, stride: int) -> Value:
        kernel, strides = [1] * spatial, [1] * spatial
        kernel[axis - 2], strides[axis - 2] = width, stride
        return g.op(pool, x, kernel_shape=kernel, strides=strides)

    if cells % size == 0:
        return slide(cells // size, cells // size)
    position = np.arange(size, dtype=np.int64)
    starts = position * cells // size
    widths = -(-(position + 1) * cells // size) - starts
    small, large = int(widths.min()), int(widths.max())
    if small == large:
        return g.Gather(slide(small, 1), starts, axis=axis)
    both = g.Concat(slide(small, 1), slide(large, 1), axis=axis)
    return g.Gather(both, np.where(widths == small, starts, starts + cells - small + 1), axis=axis)
