"""keras.layers.normalization, at inference."""

from __future__ import annotations

from typing import Any

import numpy as np

from any2onnx.converters.keras.calls import LayerCall, flatten, half_types
from any2onnx.graph.builder import GraphBuilder
from any2onnx.graph.types import FLOATS, DataType, Value, dtype_of, rank_of, shape_of


def _wide(g: GraphBuilder, x: Value) -> Value:
    """Half precision and integers are normalised in float32, as Keras does."""
    return g.Cast(x, DataType.FLOAT) if half_types(x) or dtype_of(x) not in FLOATS else x


def _computed(g: GraphBuilder, call: LayerCall, result: Value) -> Value:
    """Return a result in the layer's type: these layers do not cast their input, and first go back to its type.

    For integers that cuts the fraction off, as Keras does.
    """
    return g.Cast(g.Cast(result, dtype_of(call.inputs[0])), call.walker.dtype(call.source.compute_dtype))


def _scale_and_offset(g: GraphBuilder, call: LayerCall, x: Value, size: int) -> tuple[Value, Value]:
    layer = call.source
    kind = dtype_of(x).numpy()
    scale = call.weight(layer.gamma, like=x) if layer.scale else np.ones(size, kind)
    offset = call.weight(layer.beta, like=x) if layer.center else np.zeros(size, kind)
    return g.const(scale, name="gamma"), g.const(offset, name="beta")


def batch_normalization(g: GraphBuilder, call: LayerCall) -> Value:
    """Convert BatchNormalization over any axis: the statistics are constants."""
    layer, x = call.source, call.inputs[0]
    wide = _wide(g, x)
    rank = rank_of(wide)
    axis = int(layer.axis) % rank
    size = int(layer.moving_mean.shape[0])
    scale, offset = _scale_and_offset(g, call, wide, size)
    mean = g.const(call.weight(layer.moving_mean, like=wide), name="moving_mean")
    variance = g.const(
        _with_exact_epsilon(call.weight(layer.moving_variance, like=wide), layer.epsilon), name="moving_variance"
    )
    if axis == 1 or rank == 1:
        result = g.BatchNormalization(wide, scale, offset, mean, variance, epsilon=layer.epsilon)
    else:
        forth = [0, axis, *(k for k in range(1, rank) if k != axis)]
        back = [forth.index(k) for k in range(rank)]
        normal = g.BatchNormalization(
            g.Transpose(wide, perm=forth), scale, offset, mean, variance, epsilon=layer.epsilon
        )
        result = g.Transpose(normal, perm=back)
    return g.Cast(result, dtype_of(x))


def _with_exact_epsilon(variance: np.ndarray[Any, Any], epsilon: float) -> np.ndarray[Any, Any]:
    """Return float64 variances with what the operator's float32 epsilon lacks."""
    return variance + (epsilon - float(np.float32(epsilon))) if variance.dtype == np.float64 else variance


def _axes(axis: Any, rank: int) -> list[int]:
    return sorted(int(a) % rank for a in (axis if isinstance(axis, list | tuple) else [axis]))


def _broadcast(array: np.ndarray[Any, Any], axes: list[int], x: Value) -> np.ndarray[Any, Any]:
    """Return weights over the given axes in a shape that broadcasts with x."""
    shape = [1] * rank_of(x)
    for axis, size in zip(axes, array.shape, strict=True):
        shape[axis] = size
    return array.reshape(shape[axes[0] :])


def layer_normalization(g: GraphBuilder, call: LayerCall) -> Value:
    """Convert LayerNormalization: one operator over the last axes, else by mean and variance."""
    layer, x = call.source, call.inputs[0]
    x = x if half_types(x) else _wide(g, x)
    rank = rank_of(x)
    axes = _axes(layer.axis, rank)
    trailing = axes == list(range(rank - len(axes), rank))
    dims = shape_of(x)
    gamma = call.weight(layer.gamma, like=x) if layer.gamma is not None else None
    beta = call.weight(layer.beta, like=x) if layer.beta is not None else None
    if trailing and not getattr(layer, "rms_scaling", False):
        if gamma is None:
            gamma = np.ones([int(dims[a] or 0) for a in axes], dtype_of(x).numpy())
        scale = g.const(gamma, name="gamma")
        offset = None if beta is None else g.const(beta, name="beta")
        return _computed(g, call, g.LayerNormalization(x, scale, offset, axis=axes[0] - rank, epsilon=layer.epsilon))
    wide = _wide(g, x)
    centred = g.Sub(wide, g.ReduceMean(wide, axes))
    variance = g.ReduceMean(g.Mul(centred, centred), axes)
    # rms_scaling is Keras's old name for scaling by the standard deviation without centring.
    top = wide if getattr(layer, "rms_scaling", False) else centred
    result = g.Div(top, g.Sqrt(g.Add(variance, g.scalar_like(layer.epsilon, wide))))
    if gamma is not None:
        result = g.Mul(result, g.const(_broadcast(call.weight(layer.gamma, like=wide), axes, x), name="gamma"))
    if beta is not None and not getattr(layer, "rms_scaling", False):
        result = g.Add(result, g.const(_broadcast(call.weight(layer.beta, like=wide), axes, x), name="beta"))
    return _computed(g, call, result)


def rms_normalization(g: GraphBuilder, call: LayerCall) -> Value:
    """Convert RMSNormalization: x / sqrt(mean(x²) + epsilon) · scale."""
    layer, x = call.source, call.inputs[0]
    rank = rank_of(x)
    axes = _axes(layer.axis, rank)
    if axes == list(range(rank - len(axes), rank)):
        scale = g.const(call.weight(layer.scale, like=x), name="scale")
        return g.RMSNormalization(x, scale, axis=axes[0] - rank, epsilon=layer.epsilon)
    wide = _wide(g, x)
    mean = g.ReduceMean(g.Mul(wide, wide), axes)
    normal = g.Div(wide, g.Sqrt(g.Add(mean, g.scalar_like(layer.epsilon, wide))))
    array = call.weight(layer.scale, like=wide)
    # Keras multiplies by the scale as it is: it broadcasts from the last axis.
    return g.Cast(g.Mul(normal, g.const(array, name="scale")), dtype_of(x))


def group_normalization(g: GraphBuilder, call: LayerCall) -> Value:
    """Convert GroupNormalization over any axis of channels."""
    layer, x = call.source, call.inputs[0]
    rank = rank_of(x)
    axis = int(layer.axis) % rank
    # Keras builds the layer for a known number of channels only, though the tensor may have an unknown one.
    (size,) = layer.input_spec.axes.values()
    wide = _wide(g, x)
    scale, offset = _scale_and_offset(g, call, wide, size)
    forth = [0, axis, *(k for k in range(1, rank) if k != axis)]
    back = [forth.index(k) for k in range(rank)]
    inner = wide if axis == 1 else g.Transpose(wide, perm=forth)
    if rank == 2:
        inner = g.Unsqueeze(inner, 2)
    result = g.GroupNormalization(inner, scale, offset, num_groups=int(layer.groups), epsilon=layer.epsilon)
    if rank == 2:
        result = g.Squeeze(result, 2)
    return _computed(g, call, result if axis == 1 else g.Transpose(result, perm=back))


def unit_normalization(g: GraphBuilder, call: LayerCall) -> Value:
    """Convert UnitNormalization."""
    layer, x = call.source, call.inputs[0]
    axes = _axes(layer.axis, rank_of(x))
    return normalized(g, x, axes, 1e-12)


def normalized(g: GraphBuilder, x: Value, axes: list[int], epsilon: float) -> Value:
    """Return x · min(1 / norm, 1 / epsilon) with the Euclidean norm, as keras.ops.normalize computes it."""
    inverse = g.Reciprocal(g.Sqrt(g.ReduceSum(g.Mul(x, x), axes)))
    return g.Mul(x, g.Min(inverse, g.scalar_like(1.0 / epsilon, x)))


def spectral_normalization(g: GraphBuilder, call: LayerCall) -> Value:
    """Convert SpectralNormalization: at inference the wrapped layer with its present kernel."""
    layer, x = call.source, call.inputs[0]
    (result,) = flatten(call.walker.layer(g, layer.layer, (x,), path=call.scope))
    assert isinstance(result, Value)
    return g.Cast(result, dtype_of(x))
