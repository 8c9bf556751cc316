"""Counts in bins of one or several dims; reductions over segments of a dim."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from any2onnx.converters.pytorch.call import TorchCall, as_type, refuse, scalar
from any2onnx.converters.pytorch.compute_dtype import in_float32
from any2onnx.converters.pytorch.shapes import sliced
from any2onnx.errors import OpsetNotSupported
from any2onnx.graph.builder import GraphBuilder
from any2onnx.graph.types import DataType, Value, dtype_of, rank_of

INT64 = DataType.INT64


def histogram(g: GraphBuilder, call: TorchCall) -> tuple[Value, Value]:
    """Counts, or sums of weights, between edges that are given or evenly spaced."""
    p = call.params
    x = g.Reshape(call.params["self"], [-1])
    edges = p["bins"] if isinstance(p["bins"], Value) else _edges(g, call, x, int(p["bins"]), p.get("range"))
    weight = None if p["weight"] is None else g.Reshape(p["weight"], [-1])
    return _counted(g, call, [x], [edges], weight), edges


def histogramdd(g: GraphBuilder, call: TorchCall) -> tuple[Value, list[Value]]:
    """Counts of rows in boxes."""
    p = call.params
    x, bins, given = p["self"], p["bins"], p.get("range")
    columns = call.dims_of("self")[-1]
    if not isinstance(columns, int):
        raise refuse(call, "self", "the number of columns is dynamic")
    rows = g.Reshape(x, [-1, columns]) if columns else x
    sequences = [g.Gather(rows, scalar(g, k, INT64), axis=1) for k in range(columns)]
    if isinstance(bins, int):
        bins = [bins] * columns
    ranges = [None if given is None else given[2 * k : 2 * k + 2] for k in range(columns)]
    edges = [
        b if isinstance(b, Value) else _edges(g, call, v, int(b), r)
        for b, v, r in zip(bins, sequences, ranges, strict=True)
    ]
    weight = None if p["weight"] is None else g.Reshape(p["weight"], [-1])
    return _counted(g, call, sequences, edges, weight), edges


def _edges(g: GraphBuilder, call: TorchCall, x: Value, bins: int, given: Sequence[float] | None) -> Value:
    """Return bins + 1 evenly spaced edges: over the range that is given, or that of the elements."""
    dtype = dtype_of(x)
    if given is not None:
        first, last = (scalar(g, float(v), dtype) for v in given)
    else:
        # No elements at all: from 0 to 1.
        size, zero = g.Squeeze(g.Shape(x), 0), scalar(g, 0, INT64)
        empty = g.Equal(size, zero)
        low, high = (g.op("Concat", x, g.const(np.asarray([v], dtype.numpy())), axis=0) for v in (math.inf, -math.inf))
        first = g.Where(empty, scalar(g, 0, dtype), g.ReduceMin(low, None, keepdims=False))
        last = g.Where(empty, scalar(g, 1, dtype), g.ReduceMax(high, None, keepdims=False))
    half = scalar(g, 0.5, dtype)
    same = g.Equal(first, last)
    first, last = g.Where(same, g.Sub(first, half), first), g.Where(same, g.Add(last, half), last)
    step = g.Div(g.Sub(last, first), scalar(g, bins, dtype))
    # The second half is counted from the end, as torch.linspace does.
    k = np.arange(bins + 1)
    forward = g.Add(first, g.Mul(step, g.const(k.astype(dtype.numpy()))))
    backward = g.Sub(last, g.Mul(step, g.const((bins - k).astype(dtype.numpy()))))
    return g.Where(g.const(k < (bins + 1) // 2), forward, backward)


def _counted(
    g: GraphBuilder, call: TorchCall, sequences: Sequence[Value], edges: Sequence[Value], weight: Value | None
) -> Value:
    """Return the sum of the weights in every box, as a density where that is asked for."""
    if g.opsets.main < 16:
        raise OpsetNotSupported(f"{call.key} needs opset 16", needs="opset ≥ 16")
    dtype = call.dtype
    inside: Value | None = None
    index: Value = scalar(g, 0, INT64)
    for x, bounds in zip(sequences, edges, strict=True):
        last = g.Sub(g.dim(bounds, 0), g.const(np.asarray([1], np.int64)))
        top = g.Gather(bounds, last, axis=0)
        below = g.LessOrEqual(g.Unsqueeze(bounds, 0), g.Unsqueeze(x, 1))
        place = g.Sub(g.ReduceSum(g.Cast(below, INT64), 1, keepdims=False), scalar(g, 1, INT64))
        # The last bin has both its edges.
        held = g.And(g.GreaterOrEqual(place, scalar(g, 0, INT64)), g.LessOrEqual(x, top))
        place = g.Max(g.Min(place, g.Sub(last, scalar(g, 1, INT64))), scalar(g, 0, INT64))
        inside = held if inside is None else g.And(inside, held)
        index = g.Add(g.Mul(index, last), place)
    shape = call.shape(g)
    boxes = g.ReduceProd(shape, None)
    one, zero = scalar(g, 1, dtype), scalar(g, 0, dtype)
    start = g.Expand(zero, boxes)
    if inside is None:
        return g.Expand(zero, shape)
    counted = g.Where(inside, one if weight is None else g.Cast(weight, dtype), zero)
    total = g.op("ScatterElements", start, index, g.Expand(counted, g.Shape(index)), axis=0, reduction="add")
    result = g.Reshape(total, shape)
    if not call.params["density"]:
        return result
    whole = g.ReduceSum(total, 0, keepdims=False)
    result = g.Div(result, whole)
    for k, bounds in enumerate(edges):
        widths = g.Sub(sliced(g, bounds, 0, 1, np.iinfo(np.int64).max), sliced(g, bounds, 0, 0, -1))
        later = len(edges) - 1 - k
        result = g.Div(result, g.Unsqueeze(widths, list(range(1, later + 1))) if later else widths)
    return result


# --- segments ---------------------------------------------------------------------------------------------------------

_NEUTRAL = {"sum": 0.0, "mean": 0.0, "prod": 1.0, "max": -math.inf, "min": math.inf}


@in_float32
def segment_reduce(g: GraphBuilder, call: TorchCall) -> Value:
    """Sum, mean, product, maximum or minimum of the segments of a dim, given by their lengths or borders."""
    p = call.params
    reduce, axis = p["reduce"], int(p["axis"])
    x: Value = p["data"]
    dtype, initial = dtype_of(x), p["initial"]
    if p["lengths"] is not None:
        lengths = g.Cast(p["lengths"], INT64)
        ends = g.CumSum(lengths, scalar(g, axis, INT64))
        starts = g.Sub(ends, lengths)
    else:
        offsets = g.Cast(p["offsets"], INT64)
        starts = sliced(g, offsets, axis, 0, -1)
        ends = sliced(g, offsets, axis, 1, np.iinfo(np.int64).max)
    rank = rank_of(x)
    line = g.Range(scalar(g, 0, INT64), g.Squeeze(g.dim(x, axis), 0), scalar(g, 1, INT64))
    # [..., segments, elements]: which elements a segment holds.
    held = g.And(g.LessOrEqual(g.Unsqueeze(starts, axis + 1), line), g.Greater(g.Unsqueeze(ends, axis + 1), line))
    later = rank - axis - 1
    count = g.ReduceSum(g.Cast(held, INT64), axis + 1, keepdims=False)
    if later:
        held = g.Unsqueeze(held, list(range(axis + 2, axis + 2 + later)))
        count = g.Unsqueeze(count, list(range(axis + 1, axis + 1 + later)))
    values = g.Where(held, g.Unsqueeze(x, axis), scalar(g, _NEUTRAL[reduce], dtype))
    names = {"sum": "ReduceSum", "mean": "ReduceSum", "prod": "ReduceProd", "max": "ReduceMax", "min": "ReduceMin"}
    result: Value = getattr(g, names[reduce])(values, axis + 1, keepdims=False)
    first: Any = _NEUTRAL[reduce] if initial is None else initial
    result = g.op({"prod": "Mul", "max": "Max", "min": "Min"}.get(reduce, "Add"), result, as_type(g, first, dtype))
    if reduce in ("max", "min"):
        # onnxruntime's reductions may lose a NaN.
        lost = g.ReduceSum(g.Cast(g.IsNaN(values), DataType.INT32), axis + 1, keepdims=False)
        result = g.Where(g.Greater(lost, scalar(g, 0, DataType.INT32)), scalar(g, math.nan, dtype), result)
    if reduce == "mean":
        some = g.Greater(count, scalar(g, 0, INT64))
        share = g.Div(result, g.Cast(g.Max(count, scalar(g, 1, INT64)), dtype))
        result = g.Where(some, share, scalar(g, math.nan if initial is None else float(initial), dtype))
    return result
