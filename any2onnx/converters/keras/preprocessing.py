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
    """Convert an augmentation that acts in training only: nothing is left of it.

    Its own code says what it makes of dicts of images and labels, and of other types: some layers cast, some do not.
    """
    x = call.inputs[0]
    if not isinstance(x, Value) or dtype_of(x) != call.walker.dtype(call.source.compute_dtype):
        return traced(g, call)
    return x


def center_crop(g: GraphBuilder, call: LayerCall) -> Any:
    """Convert CenterCrop: a slice of an image that is large enough, else Keras resizes with the aspect ratio kept.

    Where the sizes are known to the run only, the model decides in the run.
    """
    layer, x = call.source, call.inputs[0]
    if not isinstance(x, Value):
        return traced(g, call)
    rank = rank_of(x)
    axes = [rank - 2, rank - 1] if layer.data_format == "channels_first" else [rank - 3, rank - 2]
    sizes = [shape_of(x)[a] for a in axes]
    wanted = [int(layer.height), int(layer.width)]
    image = _cast_in(g, call)
    if all(isinstance(size, int) for size in sizes):
        large = all(isinstance(s, int) and s >= want for s, want in zip(sizes, wanted, strict=True))
        return _cropped(g, image, axes, wanted) if large else traced(g, call)

    def crop(inner: GraphBuilder) -> Value:
        return _cropped(inner, image, axes, wanted)

    def resize(inner: GraphBuilder) -> Value:
        return _resized_to_fill(inner, image, axes, wanted)

    given = g.op("Concat", *(g.dim(x, axis) for axis in axes), axis=0)
    enough = g.GreaterOrEqual(given, np.asarray(wanted, np.int64))
    every = g.Cast(g.ReduceMin(g.Cast(enough, DataType.INT32), keepdims=False), DataType.BOOL)
    (result,) = g.If(every, crop, resize)
    dims = list(shape_of(x))
    for axis, want in zip(axes, wanted, strict=True):
        dims[axis] = want
    return g.annotate(result, dims)


def _cropped(g: GraphBuilder, x: Value, axes: list[int], wanted: list[int]) -> Value:
    """Return the middle of the image; of an odd rest the larger part is behind it."""
    sizes = [shape_of(x)[a] for a in axes]
    if all(isinstance(size, int) for size in sizes):
        starts = [(int(size or 0) - want) // 2 for size, want in zip(sizes, wanted, strict=True)]
        return g.Slice(x, starts, [start + want for start, want in zip(starts, wanted, strict=True)], axes)
    target = g.const(np.asarray(wanted, np.int64))
    given = g.op("Concat", *(g.dim(x, axis) for axis in axes), axis=0)
    start = g.Div(g.Sub(given, target), np.asarray([2, 2], np.int64))
    return g.Slice(x, start, g.Add(start, target), axes)


def _resized_to_fill(g: GraphBuilder, x: Value, axes: list[int], wanted: list[int]) -> Value:
    """Return what smart_resize does: the largest middle part with the wanted aspect ratio, resized bilinearly."""
    height, width = (g.dim(x, axis) for axis in axes)

    def part(own: Value, other: Value, ratio: tuple[int, int]) -> Value:
        scaled = g.Div(g.Mul(other, np.asarray([ratio[0]], np.int64)), np.asarray([ratio[1]], np.int64))
        return g.Max(g.Min(own, scaled), g.const(np.asarray([1], np.int64)))

    kept = g.shape_vector([part(height, width, (wanted[0], wanted[1])), part(width, height, (wanted[1], wanted[0]))])
    start = g.Div(g.Sub(g.shape_vector([height, width]), kept), np.asarray([2, 2], np.int64))
    middle = g.Slice(x, start, g.Add(start, kept), axes)
    rank = rank_of(x)
    first = middle if rank == 4 else g.Unsqueeze(middle, 0)
    last = axes[1] != rank - 1
    first = g.Transpose(first, perm=[0, 3, 1, 2]) if last else first
    target = g.shape_vector([g.dim(first, 0), g.dim(first, 1), *wanted])
    result = g.Resize(first, sizes=target, mode="linear", coordinate_transformation_mode="half_pixel")
    result = g.Transpose(result, perm=[0, 2, 3, 1]) if last else result
    return result if rank == 4 else g.Squeeze(result, 0)


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
    """Convert CategoryEncoding: one_hot, multi_hot and count, with weights. Sparse outputs come as dense ones."""
    layer, x = call.source, call.inputs[0]
    if layer.output_mode != "one_hot" and rank_of(x) < 2:
        return traced(g, call)
    weights = call.params.get("count_weights")
    wanted = call.walker.dtype(layer.compute_dtype)
    return _encoded(g, x, layer.output_mode, int(layer.num_tokens), wanted, weights)


def discretization(g: GraphBuilder, call: LayerCall) -> Any:
    """Convert Discretization: the number of boundaries that a value is not below, in any output mode.

    Sparse outputs come as dense ones.
    """
    layer, x = call.source, call.inputs[0]
    if layer.output_mode in {"multi_hot", "count"} and rank_of(x) < 2:
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


def _encoded(g: GraphBuilder, index: Value, mode: str, depth: int, dtype: DataType, weights: Value | None) -> Value:
    """Encode category numbers; numbers outside of 0 … depth - 1 count nowhere, and many go by the second dim."""
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
