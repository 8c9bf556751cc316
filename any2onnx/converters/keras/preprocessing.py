"""keras.layers.preprocessing of numbers and images, at inference."""

from __future__ import annotations

from typing import Any

import numpy as np

from any2onnx.converters.keras.calls import LayerCall
from any2onnx.converters.keras.core import traced
from any2onnx.converters.keras.layout import from_channels_first, to_channels_first
from any2onnx.converters.keras.weights import read_array
from any2onnx.graph.builder import GraphBuilder
from any2onnx.graph.types import FLOATS, DataType, Value, dtype_of, rank_of, shape_of


def _cast_in(g: GraphBuilder, call: LayerCall) -> Value:
    return g.Cast(call.inputs[0], call.walker.dtype(call.source.compute_dtype))


def rescaling(g: GraphBuilder, call: LayerCall) -> Value:
    """Convert Rescaling: x · scale + offset, either a number or one per channel."""
    import keras

    layer, x = call.source, _cast_in(g, call)
    kind = dtype_of(x).numpy()
    scale, offset = np.asarray(layer.scale).astype(kind), np.asarray(layer.offset).astype(kind)
    if scale.ndim and keras.config.image_data_format() == "channels_first":
        scale = scale.reshape(*scale.shape, *([1] * (3 - scale.ndim)))
    scaled = g.Mul(x, g.const(scale, name="scale"))
    return g.Add(scaled, g.const(offset, name="offset")) if offset.any() else scaled


def normalization(g: GraphBuilder, call: LayerCall) -> Value:
    """Convert Normalization by its mean and variance, given or learned."""
    import keras

    layer, x = call.source, _cast_in(g, call)
    kind = dtype_of(x).numpy()
    mean = read_array(layer.mean).astype(kind)
    floor = np.asarray(keras.config.epsilon(), kind)
    deviation = np.maximum(np.sqrt(read_array(layer.variance).astype(kind)), floor)
    if layer.invert:
        return g.Add(g.const(mean, name="mean"), g.Mul(x, g.const(deviation, name="deviation")))
    return g.Div(g.Sub(x, g.const(mean, name="mean")), g.const(deviation, name="deviation"))


def augmentation(g: GraphBuilder, call: LayerCall) -> Any:
    """Convert an augmentation that acts in training only: a cast. Dicts of images and labels are recorded."""
    if not isinstance(call.inputs[0], Value):
        return traced(g, call)
    return _cast_in(g, call)


def center_crop(g: GraphBuilder, call: LayerCall) -> Any:
    """Convert CenterCrop where the image is large enough for sure; else Keras resizes it, which is recorded."""
    layer, x = call.source, call.inputs[0]
    if not isinstance(x, Value) or rank_of(x) != 4:
        return traced(g, call)
    axes = [2, 3] if layer.data_format == "channels_first" else [1, 2]
    sizes = [shape_of(x)[a] for a in axes]
    wanted = [int(layer.height), int(layer.width)]
    known = [s for s in sizes if isinstance(s, int)]
    if len(known) < 2 or known[0] < wanted[0] or known[1] < wanted[1]:
        return traced(g, call)
    starts = [(size - want) // 2 for size, want in zip(known, wanted, strict=True)]
    ends = [start + want for start, want in zip(starts, wanted, strict=True)]
    return g.Slice(_cast_in(g, call), starts, ends, axes)


def resizing(g: GraphBuilder, call: LayerCall) -> Any:
    """Convert Resizing, nearest or bilinear, to a fixed size; aspect ratios and other kernels are recorded."""
    layer, x = call.source, call.inputs[0]
    plain = layer.interpolation in {"nearest", "bilinear"} and not (
        layer.antialias or layer.crop_to_aspect_ratio or layer.pad_to_aspect_ratio
    )
    if not plain or not isinstance(x, Value) or rank_of(x) != 4 or dtype_of(x) not in FLOATS:
        return traced(g, call)
    first = to_channels_first(g, _cast_in(g, call), layer.data_format)
    target = g.shape_vector([g.dim(first, 0), g.dim(first, 1), int(layer.height), int(layer.width)])
    nearest = layer.interpolation == "nearest"
    result = g.Resize(
        first,
        sizes=target,
        mode="nearest" if nearest else "linear",
        coordinate_transformation_mode="half_pixel",
        nearest_mode="round_prefer_ceil" if nearest else None,
    )
    g.annotate(result, (*shape_of(first)[:2], int(layer.height), int(layer.width)))
    return from_channels_first(g, result, layer.data_format)


# --- categories ----------------------------------------------------------------------------------------------------


def category_encoding(g: GraphBuilder, call: LayerCall) -> Any:
    """Convert CategoryEncoding: one_hot, multi_hot and count, with weights."""
    layer, x = call.source, call.inputs[0]
    _refuse_sparse(call)
    if layer.output_mode != "one_hot" and rank_of(x) != 2:
        return traced(g, call)
    weights = call.params.get("count_weights")
    wanted = call.walker.dtype(layer.compute_dtype)
    return _encoded(g, x, layer.output_mode, int(layer.num_tokens), wanted, weights)


def discretization(g: GraphBuilder, call: LayerCall) -> Any:
    """Convert Discretization: the number of boundaries that a value is not below, in any output mode."""
    layer, x = call.source, call.inputs[0]
    _refuse_sparse(call)
    if layer.output_mode in {"multi_hot", "count"} and rank_of(x) != 2:
        return traced(g, call)
    boundaries = np.asarray(layer.bin_boundaries, np.float32)
    wide = g.Unsqueeze(g.Cast(x, "float32") if dtype_of(x) not in FLOATS else x, rank_of(x))
    # NaN is below nothing, so it falls into the last bin, as in numpy and TensorFlow.
    reached = g.Not(g.Less(wide, g.const(boundaries, like=wide, name="boundaries")))
    index = g.ReduceSum(g.Cast(reached, DataType.INT64), -1, keepdims=False)
    wanted = call.walker.dtype(call.outputs[0].dtype if call.outputs and call.outputs[0] else layer.output_dtype)
    if layer.output_mode == "int":
        return g.Cast(index, wanted)
    return _encoded(g, index, layer.output_mode, len(boundaries) + 1, wanted, None)


def _refuse_sparse(call: LayerCall) -> None:
    if call.source.sparse:
        raise call.unsupported("sparse", True, "ONNX outputs are dense", remedy="sparse=False")


def _encoded(g: GraphBuilder, index: Value, mode: str, depth: int, dtype: DataType, weights: Value | None) -> Value:
    """Encode category numbers; numbers outside of 0 … depth - 1 count nowhere."""
    index = g.Cast(index, DataType.INT64)
    if mode == "one_hot" and rank_of(index) > 1 and shape_of(index)[-1] == 1:
        index = g.Squeeze(index, rank_of(index) - 1)
    hits = g.Equal(g.Unsqueeze(index, rank_of(index)), np.arange(depth, dtype=np.int64))
    found = g.Cast(hits, dtype)
    if mode == "one_hot":
        return found
    if mode == "multi_hot":
        return g.ReduceMax(found, 1, keepdims=False)
    if weights is not None:
        found = g.Mul(found, g.Unsqueeze(g.Cast(weights, dtype), rank_of(weights)))
    return g.ReduceSum(found, 1, keepdims=False)
