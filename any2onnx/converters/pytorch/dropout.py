"""Operators that are random in training mode: converted as they are, with a warning.

A module is traced in evaluation mode, so what still drops out does so on purpose (``F.dropout(..., training=True)``);
an exported program may have been traced in training mode by mistake.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from any2onnx.converters.capturing import warn
from any2onnx.converters.pytorch.call import TorchCall, scalar
from any2onnx.graph.builder import GraphBuilder
from any2onnx.graph.types import DataType, Value, dtype_of, rank_of

# The value that SELU sends minus infinity to, without its sign.
_ALPHA = 1.7580993408473766


def warn_random(call: TorchCall) -> None:
    """Warn that the converted model draws random numbers."""
    warn(
        f"{call.key} is in training mode{f' ({call.location})' if call.location else ''}: the ONNX model draws random "
        "numbers there as well; export model.eval() for inference"
    )


def kept(g: GraphBuilder, x: Value, probability: float, *, by_channel: bool = False) -> Value:
    """Return true where a random number says to keep an element, or a whole channel."""
    shape = g.Shape(x)
    if by_channel and rank_of(x) > 2:
        ones = g.const(np.ones(rank_of(x) - 2, np.int64))
        shape = g.op("Concat", g.Shape(x, end=2), ones, axis=0)
    start = g.Expand(g.const(np.asarray(0, np.float32)), shape) if rank_of(x) else g.const(np.asarray(0, np.float32))
    unit = g.RandomUniformLike(start, dtype=int(DataType.FLOAT))
    return g.GreaterOrEqual(unit, g.const(np.asarray(probability, np.float32)))


def _active(call: TorchCall) -> float:
    """Return the probability of dropping; 0 in evaluation mode."""
    return float(call.params.get("p", 0.5)) if call.params.get("train") else 0.0


def dropout(g: GraphBuilder, call: TorchCall) -> Value:
    """Nothing in evaluation mode; else elements (channels of feature_dropout) are zero with probability p."""
    p, x = _active(call), call.first
    if p == 0:
        return x
    return dropped(g, call, x, p, by_channel="feature" in call.key)[0]


def dropped(g: GraphBuilder, call: TorchCall, x: Value, p: float, *, by_channel: bool = False) -> tuple[Value, Value]:
    """Return x with dropped elements, the others scaled to keep the mean; and which were kept."""
    warn_random(call)
    mask = kept(g, x, p, by_channel=by_channel)
    factor = scalar(g, 1 / (1 - p) if p < 1 else 0.0, dtype_of(x))
    return g.Where(mask, g.Mul(x, factor), scalar(g, 0, dtype_of(x))), mask


def alpha_dropout(g: GraphBuilder, call: TorchCall) -> Value:
    """Dropped elements take SELU's lowest value; all are scaled and shifted to keep mean and variance."""
    p, x = _active(call), call.first
    if p == 0:
        return x
    warn_random(call)
    mask = kept(g, x, p, by_channel="feature" in call.key)
    if p == 1:
        return g.Mul(x, scalar(g, 0, dtype_of(x)))
    a = 1 / math.sqrt((_ALPHA * _ALPHA * p + 1) * (1 - p))
    shift = _ALPHA * a * p
    usual = g.Add(g.Mul(x, scalar(g, a, dtype_of(x))), scalar(g, shift, dtype_of(x)))
    return g.Where(mask, usual, scalar(g, shift - _ALPHA * a, dtype_of(x)))


def native_dropout(g: GraphBuilder, call: TorchCall) -> Sequence[Value]:
    """Dropout, and which elements were kept."""
    x, p = call.first, _active(call)
    if p == 0:
        return x, g.Expand(g.const(np.asarray(True)), g.Shape(x))
    result, mask = dropped(g, call, x, p)
    return result, mask


def rrelu(g: GraphBuilder, call: TorchCall) -> Value:
    """Leaky ReLU: with the mean of the slopes in evaluation mode, with random slopes in training mode."""
    x, low, high = call.first, float(call.params["lower"]), float(call.params["upper"])
    if not call.params["training"]:
        return g.LeakyRelu(x, alpha=(low + high) / 2)
    warn_random(call)
    dtype = dtype_of(x)
    slopes: Any = g.RandomUniformLike(g.Cast(x, DataType.FLOAT), low=low, high=high, dtype=int(DataType.FLOAT))
    return g.Where(g.LessOrEqual(x, scalar(g, 0, dtype)), g.Mul(x, g.Cast(slopes, dtype)), x)
