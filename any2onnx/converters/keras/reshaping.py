"""keras.layers.reshaping: Reshape, Flatten, Permute, RepeatVector, Cropping, ZeroPadding, UpSampling."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from any2onnx.converters.keras.calls import LayerCall
from any2onnx.converters.keras.core import traced
from any2onnx.converters.keras.layout import from_channels_first, to_channels_first
from any2onnx.graph.builder import GraphBuilder
from any2onnx.graph.types import Value, rank_of, shape_of

_END = np.iinfo(np.int64).max


def reshape(g: GraphBuilder, call: LayerCall) -> Value:
    """Convert Reshape: the batch stays, one other dim may be -1."""
    layer, x = call.source, call.inputs[0]
    from keras.src.ops.operation_utils import compute_reshape_output_shape

    dims = shape_of(x)
    known = tuple(d if isinstance(d, int) else None for d in dims[1:])
    target = compute_reshape_output_shape(known, layer.target_shape, "target_shape")
    wanted = [-1 if d is None else int(d) for d in target]
    # 0 copies the batch; behind it a size of 0 would be a copy as well, so then the batch is asked for by number.
    if -1 in wanted and 0 not in wanted and not isinstance(dims[0], int):
        return _with_size_computed(g, x, wanted)
    if 0 in wanted or -1 in wanted:
        return g.Reshape(x, g.shape_vector([g.dim(x, 0), *wanted]), allowzero=0 in wanted)
    return g.Reshape(x, [0, *wanted])


def _with_size_computed(g: GraphBuilder, x: Value, wanted: Sequence[int]) -> Value:
    """Reshape with the number behind -1 from the input's shape: of an empty batch, onnxruntime cannot tell it.

    It also puts -1 for the one number of a Concat that it does not know, so the target is made by Where.
    """
    others = int(np.prod([d for d in wanted if d > 0]))
    size = g.Div(g.ReduceProd(g.Shape(x, start=1), 0), np.asarray([others], np.int64))
    target = np.asarray([0, *wanted], np.int64)
    return g.annotate(
        g.Reshape(x, g.Where(target == -1, size, target)), (shape_of(x)[0], *(None if d < 0 else d for d in wanted))
    )


def flatten(g: GraphBuilder, call: LayerCall) -> Value:
    """Convert Flatten; channels-first inputs are flattened as if channels were last."""
    layer = call.source
    x: Value = call.inputs[0]
    rank = rank_of(x)
    if rank == 1:
        return g.Unsqueeze(x, 1)
    if layer.data_format == "channels_first" and rank > 2:
        x = g.Transpose(x, perm=[0, *range(2, rank), 1])
    dims = shape_of(x)[1:]
    if rank == 2:
        return x
    if all(isinstance(d, int) and d for d in dims):
        return g.Reshape(x, [0, int(np.prod([int(d or 0) for d in dims]))])
    return g.Flatten(x, axis=1)


def permute(g: GraphBuilder, call: LayerCall) -> Value:
    """Convert Permute."""
    return g.Transpose(call.inputs[0], perm=[0, *(int(d) for d in call.source.dims)])


def repeat_vector(g: GraphBuilder, call: LayerCall) -> Value:
    """Convert RepeatVector."""
    x = g.Unsqueeze(call.inputs[0], 1)
    return g.Expand(x, np.asarray([1, int(call.source.n), 1], np.int64))


def _spatial_axes(layer: Any, x: Value) -> list[int]:
    rank = rank_of(x)
    first = getattr(layer, "data_format", "channels_last") == "channels_first"
    return list(range(2, rank)) if first else list(range(1, rank - 1))


def _pairs(value: Any) -> list[tuple[int, int]]:
    """Return (start, end) per spatial dim: the 1D layers have a plain pair."""
    pairs = [value] if isinstance(value[0], int) else value
    return [(int(a), int(b)) for a, b in pairs]


def cropping(g: GraphBuilder, call: LayerCall) -> Value:
    """Convert Cropping1D, 2D and 3D."""
    layer, x = call.source, call.inputs[0]
    pairs = _pairs(layer.cropping)
    ends = [-b if b else _END for _, b in pairs]
    return g.Slice(x, [a for a, _ in pairs], ends, _spatial_axes(layer, x))


def zero_padding(g: GraphBuilder, call: LayerCall) -> Value:
    """Convert ZeroPadding1D, 2D and 3D."""
    layer, x = call.source, call.inputs[0]
    pairs = _pairs(layer.padding)
    axes = _spatial_axes(layer, x)
    return g.Pad(x, [a for a, _ in pairs] + [b for _, b in pairs], axes=axes)


def up_sampling(g: GraphBuilder, call: LayerCall) -> Any:
    """Convert UpSampling1D, 2D and 3D: repetition, or interpolation in two dimensions."""
    layer, x = call.source, call.inputs[0]
    size: Sequence[int] = (layer.size,) if isinstance(layer.size, int) else layer.size
    mode = getattr(layer, "interpolation", "nearest")
    data_format = getattr(layer, "data_format", "channels_last")
    first = to_channels_first(g, x, data_format)
    scales = [1.0, 1.0, *(float(s) for s in size)]
    if mode == "nearest":
        result = g.Resize(
            first,
            scales=scales,
            mode="nearest",
            coordinate_transformation_mode="asymmetric",
            nearest_mode="floor",
        )
    elif mode == "bilinear":
        result = g.Resize(first, scales=scales, mode="linear", coordinate_transformation_mode="half_pixel")
    else:
        return traced(g, call)
    return from_channels_first(g, result, data_format)
