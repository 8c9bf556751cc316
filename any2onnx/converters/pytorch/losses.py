"""Losses that arrive as operators of torch's own library instead of ATen's."""

from __future__ import annotations

import numpy as np

from any2onnx.converters.pytorch.call import TorchCall, refuse, scalar
from any2onnx.graph.builder import GraphBuilder
from any2onnx.graph.types import DataType, Value, dtype_of, rank_of

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


def multilabel_margin_loss(g: GraphBuilder, call: TorchCall) -> Value:
    """How far each class that is not wanted comes near to each that is, by 1; the classes wanted end at a -1."""
    p = call.params
    alone = rank_of(p["self"]) < 2
    x, target = (g.Reshape(p[name], [1, -1]) if alone else p[name] for name in ("self", "target"))
    dtype, target = dtype_of(x), g.Cast(target, INT64)
    zero, one = scalar(g, 0, INT64), scalar(g, 1, INT64)
    ended = g.CumSum(g.Cast(g.Less(target, zero), INT64), one)
    wanted = g.Equal(ended, zero)
    chosen = g.op("GatherElements", x, g.Where(wanted, target, zero), axis=1)
    classes = g.Range(zero, g.Squeeze(g.dim(x, 1), 0), one)
    hits = g.And(g.Equal(g.Unsqueeze(target, 2), classes), g.Unsqueeze(wanted, 2))
    others = g.Not(g.Cast(g.ReduceMax(g.Cast(hits, DataType.INT32), 1), DataType.BOOL))
    margins = g.Sub(g.Add(scalar(g, 1, dtype), g.Unsqueeze(x, 1)), g.Unsqueeze(chosen, 2))
    counted = g.And(g.And(g.Unsqueeze(wanted, 2), others), g.Greater(margins, scalar(g, 0, dtype)))
    terms = g.Where(counted, margins, scalar(g, 0, dtype))
    losses = g.Div(g.ReduceSum(terms, [1, 2], keepdims=False), g.Cast(g.Squeeze(g.dim(x, 1), 0), dtype))
    if p["reduction"] == 0:
        return g.Squeeze(losses, 0) if alone else losses
    total = g.ReduceSum(losses, None, keepdims=False)
    return total if p["reduction"] == 2 else g.Div(total, g.Cast(g.Squeeze(g.dim(x, 0), 0), dtype))


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
