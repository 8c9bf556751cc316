"""Losses that arrive as operators of torch's own library instead of ATen's."""

from __future__ import annotations

import numpy as np

from any2onnx.converters.pytorch.call import TorchCall, refuse, scalar
from any2onnx.graph.builder import GraphBuilder
from any2onnx.graph.types import DataType, Value, dtype_of

INT64 = DataType.INT64


def linear_cross_entropy(g: GraphBuilder, call: TorchCall) -> list[Value]:
    """Cross entropy of a linear layer's result, mean or sum; the gradients beside it are empty."""
    p = call.params
    for name in ("compute_input_grad", "compute_linear_weight_grad", "compute_linear_bias_grad"):
        if p[name]:
            raise refuse(call, name, "gradients are for training; trace under torch.no_grad()")
    losses, weights = _losses(g, call, float(p["label_smoothing"]))
    total = g.ReduceSum(losses, None, keepdims=False)
    if p["reduction"] == "mean":
        total = g.Div(total, g.ReduceSum(weights, None, keepdims=False))
    dtype = call.dtype
    empty = [g.const(np.zeros(shape, dtype.numpy())) for shape in ((0, 0), (0, 0), (0,))]
    return [g.Cast(total, dtype), *empty]


def linear_cross_entropy_rows(g: GraphBuilder, call: TorchCall) -> Value:
    """Cross entropy of a linear layer's result for each row."""
    return g.Cast(_losses(g, call, 0.0)[0], call.dtype)


def _losses(g: GraphBuilder, call: TorchCall, smoothing: float) -> tuple[Value, Value]:
    """Return the loss of every row and the weight of its class; both zero where the class is ignored."""
    p = call.params
    logits = g.MatMul(p["input"], g.Transpose(g.Cast(p["linear_weight"], dtype_of(p["input"])), perm=[1, 0]))
    dtype = dtype_of(logits)
    if p["linear_bias"] is not None:
        logits = g.Add(logits, g.Cast(p["linear_bias"], dtype))
    logarithms = g.op("LogSoftmax", logits, axis=1)
    target = g.Cast(p["target"], INT64)
    counted = g.Not(g.Equal(target, scalar(g, int(p["ignore_index"]), INT64)))
    safe = g.Where(counted, target, scalar(g, 0, INT64))
    zero, one = scalar(g, 0, dtype), scalar(g, 1, dtype)
    classes = None if p["weight"] is None else g.Cast(p["weight"], dtype)
    weights = g.Where(counted, one if classes is None else g.Gather(classes, safe, axis=0), zero)
    chosen = g.Squeeze(g.op("GatherElements", logarithms, g.Unsqueeze(safe, 1), axis=1), 1)
    losses = g.Where(counted, g.Neg(g.Mul(weights, chosen)), zero)
    if smoothing:
        spread = logarithms if classes is None else g.Mul(logarithms, classes)
        count = g.Cast(g.Squeeze(g.dim(logits, 1), 0), dtype)
        even = g.Neg(g.Div(g.ReduceSum(spread, 1, keepdims=False), count))
        even = g.Where(counted, even, zero)
        losses = g.Add(g.Mul(losses, scalar(g, 1 - smoothing, dtype)), g.Mul(even, scalar(g, smoothing, dtype)))
    return losses, weights
