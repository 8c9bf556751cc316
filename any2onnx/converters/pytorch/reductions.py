"""Sums, means, extremes, norms, cumulative operators, sorting."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from any2onnx.converters.pytorch.call import TorchCall, as_int_vector, as_type, axes_of, axis_of, scalar
from any2onnx.converters.pytorch.compute_dtype import in_float32
from any2onnx.converters.pytorch.shapes import transposed
from any2onnx.graph.builder import GraphBuilder
from any2onnx.graph.types import FLOATS, DataType, Value, dtype_of, rank_of, shape_of


def dims_param(call: TorchCall) -> Any:
    """Return the argument that names the dims: `dim`, under either of its names."""
    return call.params.get("dim")


def keepdim(call: TorchCall) -> bool:
    """Return whether reduced dims stay as size 1."""
    return bool(call.params.get("keepdim", False))


def reduced(g: GraphBuilder, op_type: str, x: Value, dims: Any, keep: bool) -> Value:
    """Reduce over dims (all of them for None or none); a scalar reduces to itself."""
    rank = rank_of(x)
    if rank == 0:
        # Every reduction of one element; norms still have to take the absolute value.
        return getattr(g, op_type)(g.Unsqueeze(x, 0), 0, keepdims=False)  # type: ignore[no-any-return]
    return getattr(g, op_type)(x, axes_of(dims, rank), keepdims=keep)  # type: ignore[no-any-return]


def _working(call: TorchCall) -> DataType:
    return DataType.INT64 if call.dtype == DataType.BOOL else call.dtype


def sum_(g: GraphBuilder, call: TorchCall) -> Value:
    """Sum; booleans and small integers add up in int64."""
    x = g.Cast(call.first, _working(call))
    return g.Cast(reduced(g, "ReduceSum", x, dims_param(call), keepdim(call)), call.dtype)


def nansum(g: GraphBuilder, call: TorchCall) -> Value:
    """Sum without NaN."""
    x = call.first
    if dtype_of(x) in FLOATS:
        x = g.Where(g.IsNaN(x), scalar(g, 0, dtype_of(x)), x)
    return reduced(g, "ReduceSum", g.Cast(x, call.dtype), dims_param(call), keepdim(call))


def mean(g: GraphBuilder, call: TorchCall) -> Value:
    """Mean."""
    x = g.Cast(call.first, call.dtype)
    return mean_of(g, call, x, dims_param(call), keepdim(call))


def mean_of(g: GraphBuilder, call: TorchCall, x: Value, dims: Any, keep: bool) -> Value:
    """Return the mean of x (in the shape of `self`) over dims; of no elements it is NaN, which ReduceMean forgets."""
    sizes = call.dims_of("self")
    chosen = [sizes[k] for k in axes_of(dims, rank_of(x))] if rank_of(x) else []
    if all(isinstance(s, int) and s > 0 for s in chosen):
        return reduced(g, "ReduceMean", x, dims, keep)
    count = g.ReduceProd(call.sizes.vector(g, chosen), None, keepdims=False)
    return g.Div(reduced(g, "ReduceSum", x, dims, keep), g.Cast(count, dtype_of(x)))


def prod(g: GraphBuilder, call: TorchCall) -> Value:
    """Product."""
    x = g.Cast(call.first, _working(call))
    return g.Cast(reduced(g, "ReduceProd", x, dims_param(call), keepdim(call)), call.dtype)


def amax(g: GraphBuilder, call: TorchCall) -> Value:
    """Largest element; NaN wins."""
    return _extreme(g, call.first, "ReduceMax", dims_param(call), keepdim(call))


def amin(g: GraphBuilder, call: TorchCall) -> Value:
    """Smallest element; NaN wins."""
    return _extreme(g, call.first, "ReduceMin", dims_param(call), keepdim(call))


def _extreme(g: GraphBuilder, x: Value, op_type: str, dims: Any, keep: bool) -> Value:
    if dtype_of(x) == DataType.BOOL:
        return g.Cast(reduced(g, op_type, g.Cast(x, DataType.INT32), dims, keep), DataType.BOOL)
    if dtype_of(x) in (DataType.INT16, DataType.UINT16):
        # Types that ONNX leaves out.
        return g.Cast(reduced(g, op_type, g.Cast(x, DataType.INT32), dims, keep), dtype_of(x))
    result = reduced(g, op_type, x, dims, keep)
    if dtype_of(x) not in FLOATS:
        return result
    # onnxruntime's reduction may lose a NaN: ask for it.
    lost = reduced(g, "ReduceMax", g.Cast(g.IsNaN(x), DataType.INT32), dims, keep)
    return g.Where(g.Cast(lost, DataType.BOOL), scalar(g, math.nan, dtype_of(x)), result)


def aminmax(g: GraphBuilder, call: TorchCall) -> tuple[Value, Value]:
    """Smallest and largest element."""
    return amin(g, call), amax(g, call)


def _arg(g: GraphBuilder, x: Value, op_type: str, dim: Any, keep: bool) -> Value:
    if dim is None:
        flat = g.Reshape(x, [-1])
        result = g.op(op_type, flat, axis=0, keepdims=0)
        return g.Reshape(result, [1] * rank_of(x)) if keep and rank_of(x) else result
    if rank_of(x) == 0:
        return scalar(g, 0, DataType.INT64)
    return g.op(op_type, x, axis=axis_of(dim, rank_of(x)), keepdims=int(keep))


def argmax(g: GraphBuilder, call: TorchCall) -> Value:
    """Position of the first largest element."""
    return _arg(g, _ordered(g, call.first, math.inf), "ArgMax", dims_param(call), keepdim(call))


def argmin(g: GraphBuilder, call: TorchCall) -> Value:
    """Position of the first smallest element."""
    return _arg(g, _ordered(g, call.first, -math.inf), "ArgMin", dims_param(call), keepdim(call))


def _ordered(g: GraphBuilder, x: Value, for_nan: float) -> Value:
    """Return values that ArgMax orders as torch does: booleans as numbers, NaN as the extreme that wins."""
    if dtype_of(x) == DataType.BOOL:
        return g.Cast(x, DataType.INT32)
    if dtype_of(x) in FLOATS:
        return g.Where(g.IsNaN(x), scalar(g, for_nan, dtype_of(x)), x)
    return x


def max_dim(g: GraphBuilder, call: TorchCall) -> tuple[Value, Value]:
    """Largest element along a dim, and where it is."""
    return amax(g, call), argmax(g, call)


def min_dim(g: GraphBuilder, call: TorchCall) -> tuple[Value, Value]:
    """Smallest element along a dim, and where it is."""
    return amin(g, call), argmin(g, call)


def any_(g: GraphBuilder, call: TorchCall) -> Value:
    """Some element is not zero."""
    return _truth(g, call, "ReduceMax")


def all_(g: GraphBuilder, call: TorchCall) -> Value:
    """No element is zero."""
    return _truth(g, call, "ReduceMin")


def _truth(g: GraphBuilder, call: TorchCall, op_type: str) -> Value:
    x = g.Cast(g.Cast(call.first, DataType.BOOL), DataType.INT32)
    if op_type == "ReduceMax":
        # A sum, which unlike a maximum has a value for no elements at all.
        total = reduced(g, "ReduceSum", x, dims_param(call), keepdim(call))
        result = g.Greater(total, scalar(g, 0, DataType.INT32))
    else:
        inverted = g.Sub(scalar(g, 1, DataType.INT32), x)
        total = reduced(g, "ReduceSum", inverted, dims_param(call), keepdim(call))
        result = g.Equal(total, scalar(g, 0, DataType.INT32))
    return g.Cast(result, call.dtype)


def count_nonzero(g: GraphBuilder, call: TorchCall) -> Value:
    """Number of elements that are not zero."""
    x = g.Cast(g.Cast(call.first, DataType.BOOL), DataType.INT64)
    return reduced(g, "ReduceSum", x, dims_param(call), keepdim(call))


# --- variance -------------------------------------------------------------------------------------------------------


def _moments(g: GraphBuilder, call: TorchCall) -> tuple[Value, Value]:
    """Return variance and mean, over the dims of the call."""
    x = call.first
    dims = axes_of(dims_param(call), rank_of(x))
    correction = call.params.get("correction", None)
    if "unbiased" in call.params:
        correction = 1 if call.params["unbiased"] else 0
    correction = 1 if correction is None else correction
    dtype = dtype_of(x)
    wide = g.Unsqueeze(x, 0) if rank_of(x) == 0 else x
    axes = dims if rank_of(x) else [0]
    keep = keepdim(call) and rank_of(x) > 0
    centre = mean_of(g, call, wide, axes, True) if rank_of(x) else g.ReduceMean(wide, axes)
    centred = g.Sub(wide, centre)
    total = g.ReduceSum(g.Mul(centred, centred), axes, keepdims=keep)
    sizes = [call.dims_of("self")[k] for k in dims] if rank_of(x) else [1]
    if all(isinstance(s, int) for s in sizes):
        count = scalar(g, max(math.prod(sizes) - float(correction), 0.0), dtype)
    else:
        elements = g.ReduceProd(call.sizes.vector(g, sizes), None, keepdims=False)
        count = g.Cast(g.Sub(g.Cast(elements, DataType.DOUBLE), scalar(g, float(correction), DataType.DOUBLE)), dtype)
        count = g.Max(count, scalar(g, 0, dtype))
    return g.Div(total, count), centre if keep else g.Squeeze(centre, axes)


@in_float32
def var(g: GraphBuilder, call: TorchCall) -> Value:
    """Variance; infinite or NaN where too few elements are left after the correction, as in torch."""
    return _moments(g, call)[0]


@in_float32
def std(g: GraphBuilder, call: TorchCall) -> Value:
    """Standard deviation."""
    return g.Sqrt(_moments(g, call)[0])


@in_float32
def var_mean(g: GraphBuilder, call: TorchCall) -> tuple[Value, Value]:
    """Variance and mean."""
    return _moments(g, call)


@in_float32
def std_mean(g: GraphBuilder, call: TorchCall) -> tuple[Value, Value]:
    """Standard deviation and mean."""
    variance, centre = _moments(g, call)
    return g.Sqrt(variance), centre


# --- norms, log-sum-exp ---------------------------------------------------------------------------------------------


@in_float32
def logsumexp(g: GraphBuilder, call: TorchCall) -> Value:
    """log(sum(exp(x))), shifted by the largest element."""
    x = g.Cast(call.first, call.dtype)
    if rank_of(x) == 0:
        return x
    axes = axes_of(dims_param(call), rank_of(x))
    top = g.ReduceMax(x, axes)
    finite = g.Where(g.Equal(g.Abs(top), scalar(g, math.inf, call.dtype)), scalar(g, 0, call.dtype), top)
    total = g.ReduceSum(g.Exp(g.Sub(x, finite)), axes)
    result = g.Add(g.Log(total), finite)
    return result if keepdim(call) else g.Squeeze(result, axes)


@in_float32
def vector_norm(g: GraphBuilder, call: TorchCall) -> Value:
    """Norm of any order over dims."""
    order = call.params.get("ord", call.params.get("p"))
    order = 2 if order is None else order
    x = g.Cast(call.first, call.dtype)
    return _norm(g, x, float(order), dims_param(call), keepdim(call))


def _norm(g: GraphBuilder, x: Value, order: float, dims: Any, keep: bool) -> Value:
    if order == 0:
        nonzero = g.Cast(g.Not(g.Equal(x, scalar(g, 0, dtype_of(x)))), dtype_of(x))
        return reduced(g, "ReduceSum", nonzero, dims, keep)
    if math.isinf(order):
        return _extreme(g, g.Abs(x), "ReduceMax" if order > 0 else "ReduceMin", dims, keep)
    if order in (1, 2):
        return reduced(g, f"ReduceL{int(order)}", x, dims, keep)
    total = reduced(g, "ReduceSum", g.Pow(g.Abs(x), scalar(g, order, dtype_of(x))), dims, keep)
    return g.Pow(total, scalar(g, 1 / order, dtype_of(x)))


@in_float32
def dist(g: GraphBuilder, call: TorchCall) -> Value:
    """Norm of the difference of two tensors."""
    a, b = (as_type(g, call.params[n], call.dtype) for n in ("self", "other"))
    return _norm(g, g.Sub(a, b), float(call.params["p"]), None, False)


# --- cumulative -----------------------------------------------------------------------------------------------------


def cumsum(g: GraphBuilder, call: TorchCall) -> Value:
    """Running sum."""
    x = g.Cast(call.first, call.dtype)
    if rank_of(x) == 0:
        return x
    return g.CumSum(x, scalar(g, axis_of(call.params["dim"], rank_of(x)), DataType.INT64))


@in_float32
def cumprod(g: GraphBuilder, call: TorchCall) -> Value:
    """Running product."""
    x = g.Cast(call.first, call.dtype)
    if rank_of(x) == 0:
        return x
    return _scanned(g, x, axis_of(call.params["dim"], rank_of(x)), 1, lambda inner, a, b: inner.Mul(a, b))


@in_float32
def logcumsumexp(g: GraphBuilder, call: TorchCall) -> Value:
    """Running log-sum-exp."""
    from any2onnx.converters.pytorch.functions import log_add

    x = call.first
    if rank_of(x) == 0:
        return x
    axis = axis_of(call.params["dim"], rank_of(x))
    return _scanned(g, x, axis, -math.inf, lambda inner, a, b: log_add(inner, a, b, 1.0))


Step = Callable[[GraphBuilder, Value, Value], Value]


def _scanned(g: GraphBuilder, x: Value, axis: int, start: float, step: Step) -> Value:
    """Return the running result of a step along an axis."""
    size = shape_of(x)[axis]
    if size == 0:
        return x
    order = [axis, *(k for k in range(rank_of(x)) if k != axis)]
    back = [order.index(k) for k in range(rank_of(x))]
    moved = transposed(g, x, order)
    rest = g.Shape(moved, start=1)
    first = g.Expand(scalar(g, start, dtype_of(x)), rest) if rank_of(x) > 1 else scalar(g, start, dtype_of(x))
    if not isinstance(size, int):
        # Scan does not take a sequence without elements: one more in front, cut off again.
        moved = g.op("Concat", g.Unsqueeze(first, 0), moved, axis=0)

    def body(inner: GraphBuilder, state: Value, part: Value) -> tuple[Value, Value]:
        following = step(inner, state, part)
        return following, inner.op("Identity", following)

    results = g.Scan(body, [first], [moved])[1]
    if not isinstance(size, int):
        results = g.Slice(results, [1], [np.iinfo(np.int64).max], [0])
    return transposed(g, results, back)


def cummax(g: GraphBuilder, call: TorchCall) -> tuple[Value, Value]:
    """Running maximum and where it is; of equal elements the last one."""
    return _running_extreme(g, call, "GreaterOrEqual")


def cummin(g: GraphBuilder, call: TorchCall) -> tuple[Value, Value]:
    """Running minimum and where it is; of equal elements the last one."""
    return _running_extreme(g, call, "LessOrEqual")


def _running_extreme(g: GraphBuilder, call: TorchCall, op_type: str) -> tuple[Value, Value]:
    x = call.first
    if rank_of(x) == 0:
        return x, scalar(g, 0, DataType.INT64)
    axis = axis_of(call.params["dim"], rank_of(x))
    order = [axis, *(k for k in range(rank_of(x)) if k != axis)]
    back = [order.index(k) for k in range(rank_of(x))]
    wide = g.Cast(x, DataType.INT32) if dtype_of(x) == DataType.BOOL else x
    moved = transposed(g, wide, order)
    first = g.Gather(moved, scalar(g, 0, DataType.INT64), axis=0)
    zero = scalar(g, 0, DataType.INT64)
    zeros = g.Expand(zero, g.Shape(first)) if rank_of(first) else zero
    positions = g.Range(zero, g.Squeeze(g.dim(moved, 0), 0), scalar(g, 1, DataType.INT64))

    def body(inner: GraphBuilder, best: Value, at: Value, part: Value, k: Value) -> tuple[Value, ...]:
        better = inner.op(op_type, part, best)
        if dtype_of(part) in FLOATS:
            better = inner.Or(better, inner.IsNaN(part))
            held = inner.And(inner.IsNaN(best), inner.Not(inner.IsNaN(part)))
            better = inner.And(better, inner.Not(held))
        best = inner.Where(better, part, best)
        at = inner.Where(better, k, at)
        return best, at, inner.op("Identity", best), inner.op("Identity", at)

    results = g.Scan(body, [first, zeros], [moved, positions])
    values, indices = (transposed(g, r, back) for r in results[2:])
    return g.Cast(values, dtype_of(x)), indices


# --- sorting --------------------------------------------------------------------------------------------------------


def sort(g: GraphBuilder, call: TorchCall) -> tuple[Value, Value]:
    """Sorted along a dim, and the order; equal elements keep their order."""
    return sorted_along(g, call, call.params.get("dim", -1), bool(call.params.get("descending", False)))


def argsort(g: GraphBuilder, call: TorchCall) -> Value:
    """The order that sorts along a dim."""
    return sort(g, call)[1]


def sorted_along(g: GraphBuilder, call: TorchCall, dim: int, descending: bool) -> tuple[Value, Value]:
    """Sort by TopK over the whole dim: it prefers the lower index among equals, so it is stable."""
    x = call.first
    if rank_of(x) == 0:
        return x, scalar(g, 0, DataType.INT64)
    axis = axis_of(dim, rank_of(x))
    values, indices = g.TopK(sortable(g, x), g.dim(x, axis), axis=axis, largest=descending, sorted=True)
    return g.Cast(values, dtype_of(x)), indices


def sortable(g: GraphBuilder, x: Value) -> Value:
    """Return a value in a type that TopK takes."""
    return g.Cast(x, DataType.INT32) if dtype_of(x) == DataType.BOOL else x


def topk(g: GraphBuilder, call: TorchCall) -> tuple[Value, Value]:
    """The k largest or smallest along a dim, and where they are."""
    x, k = call.params["self"], call.params["k"]
    if rank_of(x) == 0:
        return x, scalar(g, 0, DataType.INT64)
    axis = axis_of(call.params["dim"], rank_of(x))
    count = as_int_vector(g, [k])
    # Sorted in any case: torch's order of unsorted results is not specified.
    values, indices = g.TopK(sortable(g, x), count, axis=axis, largest=bool(call.params["largest"]), sorted=True)
    return g.Cast(values, dtype_of(x)), indices


def kthvalue(g: GraphBuilder, call: TorchCall) -> tuple[Value, Value]:
    """The k-th smallest along a dim, and where it is."""
    x = call.first
    if rank_of(x) == 0:
        return x, scalar(g, 0, DataType.INT64)
    values, indices = sorted_along(g, call, call.params["dim"], False)
    axis = axis_of(call.params["dim"], rank_of(x))
    at = as_type(g, call.params["k"], DataType.INT64)
    at = g.Sub(at, scalar(g, 1, DataType.INT64))
    return _picked(g, (values, indices), at, axis, keepdim(call))


def _picked(g: GraphBuilder, parts: Sequence[Value], at: Value, axis: int, keep: bool) -> tuple[Value, Value]:
    if keep:
        at = g.Unsqueeze(at, 0)
    first, second = (g.Gather(v, at, axis=axis) for v in parts)
    return first, second


def median(g: GraphBuilder, call: TorchCall) -> Value:
    """Lower median of all elements; NaN wins."""
    x = g.Reshape(call.first, [-1])
    return _median_along(g, x, 0, keep=False, skip_nan="nan" in call.key)[0]


def median_dim(g: GraphBuilder, call: TorchCall) -> tuple[Value, Value]:
    """Lower median along a dim, and where it is."""
    x = call.first
    if rank_of(x) == 0:
        return x, scalar(g, 0, DataType.INT64)
    axis = axis_of(call.params["dim"], rank_of(x))
    return _median_along(g, x, axis, keep=keepdim(call), skip_nan="nan" in call.key)


def _median_along(g: GraphBuilder, x: Value, axis: int, *, keep: bool, skip_nan: bool) -> tuple[Value, Value]:
    one, two = scalar(g, 1, DataType.INT64), scalar(g, 2, DataType.INT64)
    is_float = dtype_of(x) in FLOATS
    ordered = g.Where(g.IsNaN(x), scalar(g, math.inf, dtype_of(x)), x) if is_float else sortable(g, x)
    _, indices = g.TopK(ordered, g.dim(x, axis), axis=axis, largest=False, sorted=True)
    size = g.Squeeze(g.dim(x, axis), 0)
    if not is_float:
        at = g.Div(g.Sub(size, one), two)
        index = g.Gather(indices, g.Unsqueeze(at, 0), axis=axis)
    else:
        missing = g.ReduceSum(g.Cast(g.IsNaN(x), DataType.INT64), axis)
        if skip_nan:
            at = g.Max(g.Div(g.Sub(g.Sub(size, missing), one), two), scalar(g, 0, DataType.INT64))
        else:
            # With a NaN among the elements the first NaN is the answer: it sorts behind the others.
            middle = g.Div(g.Sub(size, one), two)
            at = g.Where(g.Greater(missing, scalar(g, 0, DataType.INT64)), g.Sub(size, missing), middle)
        index = g.op("GatherElements", indices, at, axis=axis)
        if not skip_nan:
            first = g.op("ArgMax", g.Cast(g.IsNaN(x), DataType.INT32), axis=axis, keepdims=1)
            index = g.Where(g.Greater(missing, scalar(g, 0, DataType.INT64)), first, index)
    value = g.op("GatherElements", x, index, axis=axis)
    return (value, index) if keep else (g.Squeeze(value, axis), g.Squeeze(index, axis))


def mode(g: GraphBuilder, call: TorchCall) -> tuple[Value, Value]:
    """Most frequent element along a dim (the smallest of several), and its last position."""
    x = call.first
    if rank_of(x) == 0:
        return x, scalar(g, 0, DataType.INT64)
    axis = axis_of(call.params["dim"], rank_of(x))
    ordered, indices = sorted_along(g, call, axis, False)
    same = g.Equal(g.Unsqueeze(ordered, axis), g.Unsqueeze(ordered, axis + 1))
    counts = g.ReduceSum(g.Cast(same, DataType.INT64), axis, keepdims=False)
    # ArgMax takes the first of the most frequent, so the smallest value.
    first = g.op("ArgMax", counts, axis=axis, keepdims=1)
    most = g.op("GatherElements", counts, first, axis=axis)
    last = g.Sub(g.Add(first, most), scalar(g, 1, DataType.INT64))
    value = g.op("GatherElements", ordered, last, axis=axis)
    index = g.op("GatherElements", indices, last, axis=axis)
    return (value, index) if keepdim(call) else (g.Squeeze(value, axis), g.Squeeze(index, axis))
