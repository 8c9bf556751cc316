"""Distinct elements, counts, histograms; reductions by slices; greatest common divisors."""

from __future__ import annotations

from typing import Any

import numpy as np

from any2onnx.converters.pytorch.call import TorchCall, as_type, at_least_1d, axis_of, scalar
from any2onnx.converters.pytorch.compute_dtype import in_float32
from any2onnx.converters.pytorch.indexing import nonzero_rows, scattered_rows
from any2onnx.converters.pytorch.linalg import norm_of
from any2onnx.converters.pytorch.pointwise import floored
from any2onnx.converters.pytorch.reductions import sortable
from any2onnx.converters.pytorch.shapes import sliced, transposed
from any2onnx.errors import OpsetNotSupported
from any2onnx.graph.builder import GraphBuilder
from any2onnx.graph.types import FLOATS, DataType, Value, dtype_of, rank_of

INT64 = DataType.INT64


def unique(g: GraphBuilder, call: TorchCall) -> tuple[Value, Value, Value]:
    """Distinct elements in order, where each element went, how often each occurs (_unique2)."""
    return _asked(g, call, _unique(g, call.first, None))


def unique_dim(g: GraphBuilder, call: TorchCall) -> tuple[Value, Value, Value]:
    """Distinct slices along a dim in order, where each went, how often each occurs."""
    return _asked(g, call, _unique(g, call.first, axis_of(call.params["dim"], rank_of(call.first))))


def _asked(g: GraphBuilder, call: TorchCall, results: tuple[Value, Value, Value]) -> tuple[Value, Value, Value]:
    """Return empty vectors for the results that were not asked for, as torch does."""
    nothing = g.const(np.zeros(0, np.int64))
    values, inverse, counts = results
    inverse = inverse if call.params.get("return_inverse") else nothing
    return values, inverse, counts if call.params.get("return_counts") else nothing


def _unique(g: GraphBuilder, x: Value, axis: int | None) -> tuple[Value, Value, Value]:
    dtype = dtype_of(x)
    if axis is None and dtype in FLOATS:
        return _unique_floats(g, x)
    wide = (
        x
        if dtype in (DataType.FLOAT, DataType.DOUBLE, INT64)
        else g.Cast(x, DataType.DOUBLE if dtype in FLOATS else INT64)
    )
    values, _, inverse, counts = g.ops("Unique", wide, outputs=4, axis=axis, sorted=1)
    if axis is None:
        inverse = g.Reshape(inverse, g.Shape(x)) if rank_of(x) else g.Squeeze(inverse, 0)
    return g.Cast(values, dtype), inverse, counts


def _unique_floats(g: GraphBuilder, x: Value) -> tuple[Value, Value, Value]:
    """Sort, and count runs: onnxruntime's Unique loses NaN, of which each is distinct from every other in torch."""
    flat = g.Reshape(x, [-1])
    size = g.dim(flat, 0)
    ordered, order = g.TopK(sortable(g, flat), size, axis=0, largest=False, sorted=True)
    group, positions, counts = _runs(g, _differs(g, ordered, 0), size)
    inverse = g.op("ScatterElements", group, order, group, axis=0)
    inverse = g.Reshape(inverse, g.Shape(x)) if rank_of(x) else g.Squeeze(inverse, 0)
    return g.Cast(g.Gather(ordered, positions, axis=0), dtype_of(x)), inverse, counts


def unique_consecutive(g: GraphBuilder, call: TorchCall) -> tuple[Value, Value, Value]:
    """Elements without their repetitions, where each went, how often each is repeated."""
    dim, rank = call.params["dim"], rank_of(call.first)
    axis = 0 if dim is None or rank == 0 else axis_of(dim, rank)
    whole = dim is not None and rank > 1
    x = call.first if whole else g.Reshape(call.first, [-1])
    differs = _differs(g, x, axis)
    if whole:
        # Slices differ where some element does.
        others = [k for k in range(rank) if k != axis]
        some = g.ReduceSum(g.Cast(differs, INT64), others, keepdims=False)
        differs = g.Greater(some, scalar(g, 0, INT64))
    group, positions, counts = _runs(g, differs, g.dim(x, axis))
    inverse = group if whole else g.Reshape(group, g.Shape(call.first)) if rank else g.Squeeze(group, 0)
    return _asked(g, call, (g.Gather(x, positions, axis=axis), inverse, counts))


def _differs(g: GraphBuilder, x: Value, axis: int) -> Value:
    """Tell for each element but the first whether it differs from the one before."""
    ends = np.iinfo(np.int64).max
    return g.Not(g.Equal(sliced(g, x, axis, 1, ends), sliced(g, x, axis, 0, -1)))


def _runs(g: GraphBuilder, differs: Value, size: Value) -> tuple[Value, Value, Value]:
    """Return the run that each of `size` elements is in, where each run starts, and its length."""
    # The first element starts a run, if there is one.
    starts = g.Slice(g.op("Concat", g.Equal(size, size), differs, axis=0), [0], size, [0])
    group = g.Sub(g.CumSum(g.Cast(starts, INT64), scalar(g, 0, INT64)), scalar(g, 1, INT64))
    positions = g.Squeeze(g.NonZero(starts), 0)
    following = g.op("Concat", sliced(g, positions, 0, 1, np.iinfo(np.int64).max), size, axis=0)
    return group, positions, g.Sub(following, positions)


def bincount(g: GraphBuilder, call: TorchCall) -> Value:
    """How often each number from 0 on occurs, or the sum of the weights that belong to it."""
    x, weights = g.Cast(call.first, INT64), call.params["weights"]
    floor = scalar(g, int(call.params["minlength"]), INT64)
    some = g.op("Concat", x, g.const(np.asarray([-1], np.int64)), axis=0)
    length = g.Max(g.Add(g.ReduceMax(some, None, keepdims=False), scalar(g, 1, INT64)), floor)
    values = g.Expand(scalar(g, 1, call.dtype), g.Shape(x)) if weights is None else g.Cast(weights, call.dtype)
    start = g.Expand(scalar(g, 0, call.dtype), g.Unsqueeze(length, 0))
    return _added(g, call, start, x, values)


def _added(g: GraphBuilder, call: TorchCall, start: Value, index: Value, values: Value) -> Value:
    if g.opsets.main < 16:
        raise OpsetNotSupported(f"{call.key} needs opset 16", needs="opset ≥ 16")
    return g.op("ScatterElements", start, index, values, axis=0, reduction="add")


def histc(g: GraphBuilder, call: TorchCall) -> Value:
    """Counts of elements in equal bins from min to max, or over the range of the elements."""
    p = call.params
    bins, low, high = int(p["bins"]), p["min"], p["max"]
    x = g.Reshape(call.first, [-1])
    dtype = dtype_of(x)
    if low == 0 and high == 0:
        first, last = (g.op(t, x, keepdims=0) for t in ("ReduceMin", "ReduceMax"))
        same = g.Equal(first, last)
        one = scalar(g, 1, dtype)
        first, last = g.Where(same, g.Sub(first, one), first), g.Where(same, g.Add(last, one), last)
    else:
        if low == high:
            low, high = low - 1, high + 1
        first, last = scalar(g, low, dtype), scalar(g, high, dtype)
    place = g.Div(g.Mul(g.Sub(x, first), scalar(g, bins, dtype)), g.Sub(last, first))
    index = g.Min(g.Cast(g.Floor(place), INT64), scalar(g, bins - 1, INT64))
    inside = g.And(g.GreaterOrEqual(x, first), g.LessOrEqual(x, last))
    index = g.Where(inside, index, scalar(g, 0, INT64))
    start = g.const(np.zeros(bins, dtype.numpy()))
    return _added(g, call, start, index, g.Cast(inside, dtype))


@in_float32
def put(g: GraphBuilder, call: TorchCall) -> Value:
    """Elements of the flattened tensor replaced, or added to."""
    x, source = call.first, call.params["source"]
    flat, index = g.Reshape(x, [-1]), g.Reshape(g.Cast(call.params["index"], INT64), [-1])
    written = scattered_rows(g, flat, index, g.Reshape(source, [-1]), add=bool(call.params["accumulate"]))
    return g.Reshape(written, call.shape(g)) if call.dims else g.Squeeze(written, 0)


@in_float32
def index_reduce(g: GraphBuilder, call: TorchCall) -> Value:
    """Slices of source combined with slices of self: prod, mean, amax, amin."""
    p = call.params
    x, source = at_least_1d(g, p["self"]), at_least_1d(g, p["source"])
    index = at_least_1d(g, g.Cast(p["index"], INT64))
    axis = axis_of(p["dim"], rank_of(x))
    order = [axis, *(k for k in range(rank_of(x)) if k != axis)]
    back = [order.index(k) for k in range(len(order))]
    moved, values = transposed(g, x, order), transposed(g, source, order)
    # One step for each slice of the source: the order of torch.
    reduce, dtype = p["reduce"], dtype_of(x)
    rows = g.Range(scalar(g, 0, INT64), g.Squeeze(g.dim(moved, 0), 0), scalar(g, 1, INT64))
    wide = g.Unsqueeze(rows, list(range(1, rank_of(x)))) if rank_of(x) > 1 else rows
    zeros = g.Mul(wide, scalar(g, 0, INT64))
    counts = g.Add(zeros, scalar(g, 1 if p["include_self"] else 0, INT64))

    def step(h: GraphBuilder, state: Value, count: Value, part: Value, k: Value) -> list[Value]:
        here = h.Equal(wide, k)
        fresh = h.And(here, h.Equal(count, scalar(h, 0, INT64)))
        op_type = {"prod": "Mul", "mean": "Add", "amax": "Max", "amin": "Min"}[reduce]
        combined = h.Where(fresh, h.Expand(part, h.Shape(state)), h.op(op_type, state, part))
        following = h.Add(count, h.Cast(here, INT64))
        return [h.Where(here, combined, state), following]

    # Scan takes one slice at a time; each keeps its place as a first dim of size 1.
    result, total = g.Scan(step, [moved, counts], [g.Unsqueeze(values, 1) if rank_of(x) > 1 else values, index])[:2]
    if reduce == "mean":
        share = g.Cast(g.Max(total, scalar(g, 1, INT64)), dtype)
        result = g.Div(result, share) if dtype in FLOATS else floored(g, result, share)
    result = transposed(g, result, back)
    return result if rank_of(p["self"]) else g.Squeeze(result, 0)


def nonzero_static(g: GraphBuilder, call: TorchCall) -> Value:
    """The first `size` positions of elements that are not zero, filled up with a number."""
    x, size, fill = call.first, call.params["size"], call.params["fill_value"]
    found = nonzero_rows(g, x)
    kept = g.Slice(found, [0], [int(size)], [0])
    missing = g.Sub(g.const(np.asarray([int(size)], np.int64)), g.dim(kept, 0))
    zero = g.const(np.zeros(1, np.int64))
    pads = g.op("Concat", zero, zero, missing, zero, axis=0)
    return g.Pad(kept, pads, scalar(g, fill, INT64))


@in_float32
def embedding_bag(g: GraphBuilder, call: TorchCall) -> list[Value | None]:
    """Sum, mean or maximum of the rows of each bag; empty bags give zeros."""
    p = call.params
    mode, padding = p["mode"], p.get("padding_idx")
    least = 18 if mode == 2 else 16
    if g.opsets.main < least:
        raise OpsetNotSupported(f"{call.key} needs opset {least}", needs=f"opset ≥ {least}")
    weight, dtype = p["weight"], call.dtype
    indices, offsets = g.Cast(p["indices"], INT64), g.Cast(p["offsets"], INT64)
    end = None
    if p["include_last_offset"]:
        # torch leaves out what lies behind the end of the last bag, but not of maxima, of float64, or from counts.
        last = g.Slice(offsets, [-1], [np.iinfo(np.int64).max], [0])
        end = last if mode != 2 and dtype != DataType.DOUBLE else None
        offsets = sliced(g, offsets, 0, 0, -1)
    one, zero = scalar(g, 1, INT64), scalar(g, 0, INT64)
    positions = g.Range(zero, g.Squeeze(g.dim(indices, 0), 0), one)
    started = g.LessOrEqual(g.Unsqueeze(offsets, 0), g.Unsqueeze(positions, 1))
    bags = g.Sub(g.ReduceSum(g.Cast(started, INT64), 1, keepdims=False), one)
    rows = g.Gather(weight, indices, axis=0)
    if p["per_sample_weights"] is not None:
        rows = g.Mul(rows, g.Unsqueeze(p["per_sample_weights"], 1))
    if end is not None:
        rows = g.Where(g.Unsqueeze(g.Less(positions, end), 1), rows, scalar(g, 0, dtype))
    counted = g.Expand(scalar(g, 1, dtype), g.Shape(indices))
    # Of the public operator -1 is the last row, of the inner ones "none".
    if padding is not None and (padding != -1 or call.key == "aten.embedding_bag.padding_idx"):
        size = g.Squeeze(g.dim(weight, 0), 0)
        at = g.Add(size, scalar(g, padding, INT64)) if padding < 0 else scalar(g, padding, INT64)
        kept = g.Not(g.Equal(indices, at))
        counted = g.Cast(kept, dtype)
        neutral = scalar(g, -np.inf if mode == 2 else 0, dtype)
        rows = g.Where(g.Unsqueeze(kept, 1), rows, neutral)
    target = g.Unsqueeze(bags, 1)
    start = g.Expand(scalar(g, -np.inf if mode == 2 else 0, dtype), call.shape(g))
    result = g.ScatterND(start, target, rows, reduction="max" if mode == 2 else "add")
    count = g.ScatterND(g.Expand(scalar(g, 0, dtype), g.Shape(offsets)), target, counted, reduction="add")
    if mode == 1:
        result = g.Div(result, g.Unsqueeze(g.Max(count, scalar(g, 1, dtype)), 1))
    if mode == 2:
        result = g.Where(g.Unsqueeze(g.Greater(count, scalar(g, 0, dtype)), 1), result, scalar(g, 0, dtype))
    return [result, None, None, None]


def repeat_interleave(g: GraphBuilder, call: TorchCall) -> Value:
    """Every slice as often as a vector says."""
    x, dim = call.params["self"], call.params["dim"]
    if dim is None:
        x = g.Reshape(x, [-1])
    x = at_least_1d(g, x)
    axis = 0 if dim is None else axis_of(dim, rank_of(x))
    repeats = g.Expand(g.Cast(at_least_1d(g, call.params["repeats"]), INT64), g.dim(x, axis))
    return g.Gather(x, _interleaved(g, repeats), axis=axis)


def repeat_interleave_positions(g: GraphBuilder, call: TorchCall) -> Value:
    """Every position of a vector as often as its element says."""
    return _interleaved(g, g.Cast(call.params["repeats"], INT64))


def _interleaved(g: GraphBuilder, repeats: Value) -> Value:
    ends = g.CumSum(repeats, scalar(g, 0, INT64))
    total = g.ReduceSum(repeats, None, keepdims=False)
    line = g.Range(scalar(g, 0, INT64), total, scalar(g, 1, INT64))
    passed = g.LessOrEqual(g.Unsqueeze(ends, 0), g.Unsqueeze(line, 1))
    return g.ReduceSum(g.Cast(passed, INT64), 1, keepdims=False)


def embedding_renorm(g: GraphBuilder, call: TorchCall) -> Value:
    """The weight, with those of the rows in use that are longer than max_norm scaled down to it."""
    weight, dtype = call.params["self"], call.dtype
    indices = g.Reshape(g.Cast(call.params["indices"], INT64), [-1])
    rows = g.Range(scalar(g, 0, INT64), g.Squeeze(g.dim(weight, 0), 0), scalar(g, 1, INT64))
    hits = g.ReduceSum(g.Cast(g.Equal(g.Unsqueeze(rows, 1), indices), INT64), 1)
    length = norm_of(g, g.Abs(weight), float(call.params["norm_type"]))
    limit = scalar(g, float(call.params["max_norm"]), dtype)
    length = g.Unsqueeze(length, 1)
    factor = g.Div(limit, g.Add(length, scalar(g, 1e-7, dtype)))
    due = g.And(g.Greater(hits, scalar(g, 0, INT64)), g.Greater(length, limit))
    return g.Where(due, g.Mul(weight, factor), weight)


def gcd(g: GraphBuilder, call: TorchCall) -> Value:
    """Greatest common divisor, by Euclid's algorithm on all elements at once."""
    return g.Cast(_gcd(g, call), call.dtype)


def lcm(g: GraphBuilder, call: TorchCall) -> Value:
    """Least common multiple."""
    a, b = (as_type(g, call.params[n], INT64) for n in ("self", "other"))
    divisor = _gcd(g, call)
    safe = g.Max(divisor, scalar(g, 1, INT64))
    return g.Cast(g.Abs(g.Mul(g.Div(a, safe), b)), call.dtype)


def _gcd(g: GraphBuilder, call: TorchCall) -> Value:
    a, b = (g.Abs(as_type(g, call.params[n], INT64)) for n in ("self", "other"))
    shape = call.shape(g)
    if call.dims:
        a, b = g.Expand(a, shape), g.Expand(b, shape)

    def rest(h: GraphBuilder, y: Value) -> Value:
        left: Any = h.ReduceSum(y, None, keepdims=False)
        return h.Greater(left, scalar(h, 0, INT64))

    def step(h: GraphBuilder, i: Value, going: Value, x: Value, y: Value) -> tuple[Value, Value, Value]:
        done = h.Equal(y, scalar(h, 0, INT64))
        remainder = h.Mod(x, h.Where(done, scalar(h, 1, INT64), y))
        following = h.Where(done, y, remainder)
        return rest(h, following), h.Where(done, x, y), following

    return g.Loop(step, [a, b], condition=rest(g, b))[0]
