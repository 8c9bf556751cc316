"""Reading and writing by index or mask."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from any2onnx.converters.pytorch.call import TorchCall, as_type, at_least_1d, axis_of, promoted, refuse, scalar
from any2onnx.converters.pytorch.pointwise import floored
from any2onnx.converters.pytorch.shapes import transposed
from any2onnx.errors import OpsetNotSupported
from any2onnx.graph.builder import GraphBuilder
from any2onnx.graph.types import FLOATS, DataType, Value, dtype_of, rank_of

INT64 = DataType.INT64


def gather(g: GraphBuilder, call: TorchCall) -> Value:
    """Elements picked along a dim by an index of the same rank."""
    x, index = call.first, g.Cast(call.params["index"], INT64)
    if rank_of(x) == 0:
        return x if rank_of(index) == 0 else g.Expand(x, g.Shape(index))
    if 0 in call.dims:
        # Of an empty index torch asks no particular rank.
        return g.Expand(scalar(g, 0, dtype_of(x)), call.shape(g))
    if rank_of(index) == 0:
        index = g.Unsqueeze(index, 0)
        return g.Squeeze(g.op("GatherElements", x, index, axis=0), 0)
    return g.op("GatherElements", x, index, axis=axis_of(call.params["dim"], rank_of(x)))


def index_select(g: GraphBuilder, call: TorchCall) -> Value:
    """Slices picked along a dim."""
    x, index = call.first, g.Cast(at_least_1d(g, call.params["index"]), INT64)
    if rank_of(x) == 0:
        return x
    return g.Gather(x, index, axis=axis_of(call.params["dim"], rank_of(x)))


def embedding(g: GraphBuilder, call: TorchCall) -> Value:
    """Rows of the weight."""
    return g.Gather(call.params["weight"], call.params["indices"], axis=0)


def take(g: GraphBuilder, call: TorchCall) -> Value:
    """Elements of the flattened tensor."""
    return g.Gather(g.Reshape(call.params["self"], [-1]), g.Cast(call.params["index"], INT64), axis=0)


def nonzero(g: GraphBuilder, call: TorchCall) -> Value:
    """Positions of the elements that are not zero, one row each."""
    return nonzero_rows(g, call.first)


def nonzero_rows(g: GraphBuilder, tensor: Value) -> Value:
    """Return the positions of the elements that are not zero, one row each."""
    x = _for_nonzero(g, tensor)
    if rank_of(x) == 0:
        # One row without columns, or none.
        count = g.Unsqueeze(g.Cast(x, INT64), 0)
        return g.ConstantOfShape(
            g.op("Concat", count, g.const(np.zeros(1, np.int64)), axis=0), value=np.zeros(1, np.int64)
        )
    return g.Transpose(g.NonZero(x), perm=[1, 0])


def nonzero_numpy(g: GraphBuilder, call: TorchCall) -> list[Value]:
    """Positions of the elements that are not zero, one vector per dim."""
    x = at_least_1d(g, call.first)
    positions = g.NonZero(_for_nonzero(g, x))
    return [g.Gather(positions, scalar(g, k, INT64), axis=0) for k in range(rank_of(x))]


def _for_nonzero(g: GraphBuilder, x: Value) -> Value:
    return g.Cast(x, DataType.BOOL)


def masked_select(g: GraphBuilder, call: TorchCall) -> Value:
    """Elements where the mask holds, as a vector."""
    x, mask = call.params["self"], call.params["mask"]
    if call.dims_of("self") != call.dims_of("mask"):
        wide = g.Expand(mask, g.Shape(x)) if rank_of(x) else mask
        x = g.Expand(x, g.Shape(wide)) if rank_of(wide) else x
        mask = wide
    return g.Compress(g.Reshape(x, [-1]), g.Reshape(mask, [-1]))


def masked_fill(g: GraphBuilder, call: TorchCall) -> Value:
    """A value where the mask holds."""
    value = as_type(g, call.params["value"], call.dtype)
    return g.Where(g.Cast(call.params["mask"], DataType.BOOL), value, g.Cast(call.params["self"], call.dtype))


def masked_scatter(g: GraphBuilder, call: TorchCall) -> Value:
    """The elements of source, one after the other, where the mask holds."""
    shape = call.shape(g) if call.dims else None
    x, mask = call.params["self"], call.params["mask"]
    if shape is not None:
        x, mask = g.Expand(x, shape), g.Expand(mask, shape)
    flat, chosen = g.Reshape(x, [-1]), g.Reshape(mask, [-1])
    order = g.CumSum(g.Cast(chosen, INT64), scalar(g, 0, INT64))
    position = g.Max(g.Sub(order, scalar(g, 1, INT64)), scalar(g, 0, INT64))
    source = g.Reshape(call.params["source"], [-1])
    result = g.Where(chosen, g.Gather(source, position, axis=0), flat)
    return g.Reshape(result, shape) if shape is not None else g.Squeeze(result, 0)


# --- advanced indexing ----------------------------------------------------------------------------------------------


def _index_list(g: GraphBuilder, call: TorchCall) -> list[Value | None]:
    """Return one int64 index per dim; a boolean mask becomes the positions where it holds."""
    indices: list[Value | None] = []
    for index in call.params["indices"]:
        if index is None:
            indices.append(None)
        elif dtype_of(index) in (DataType.BOOL, DataType.UINT8):
            if rank_of(index) == 0:
                raise refuse(call, "indices", "a zero-dim mask adds a dim")
            positions = g.NonZero(g.Cast(index, DataType.BOOL))
            indices += [g.Gather(positions, scalar(g, k, INT64), axis=0) for k in range(rank_of(index))]
        else:
            indices.append(g.Cast(index, INT64))
    return indices


def _arranged(g: GraphBuilder, x: Value, indices: Sequence[Value | None]) -> tuple[Value, list[int], list[Value], int]:
    """Return x with the indexed dims in front, the order of its dims, the indices, and where their result goes."""
    rank = rank_of(x)
    chosen = [k for k, index in enumerate(indices) if index is not None]
    rest = [k for k in range(rank) if k not in chosen]
    adjacent = chosen == list(range(chosen[0], chosen[0] + len(chosen)))
    place = chosen[0] if adjacent else 0
    order = [*chosen, *rest]
    return transposed(g, x, order), order, [i for i in indices if i is not None], place


def _index_tuples(g: GraphBuilder, call: TorchCall, x: Value, indices: Sequence[Value]) -> Value:
    """Return the broadcast indices as tuples along a new last dim, negative ones made positive."""
    sizes = g.Shape(x)
    positive = []
    for k, index in enumerate(indices):
        size = g.Squeeze(g.Slice(sizes, [k], [k + 1]), 0)
        positive.append(g.Where(g.Less(index, scalar(g, 0, INT64)), g.Add(index, size), index))
    if len(positive) > 1:
        total = positive[0]
        for index in positive[1:]:
            total = g.Add(total, g.Mul(index, scalar(g, 0, INT64)))
        shape = g.Shape(total)
        positive = [g.Expand(index, shape) if rank_of(total) else index for index in positive]
    return g.op("Concat", *(g.Unsqueeze(i, -1) for i in positive), axis=-1) if positive else total


def index(g: GraphBuilder, call: TorchCall) -> Value:
    """x[i, :, mask, …] with tensors as indices."""
    x: Value = call.params["self"]
    indices = _index_list(g, call)
    chosen = [(k, i) for k, i in enumerate(indices) if i is not None]
    if not chosen:
        return x
    if len(chosen) == 1:
        return g.Gather(x, chosen[0][1], axis=chosen[0][0])
    moved, _, used, place = _arranged(g, x, indices)
    picked = g.GatherND(moved, _index_tuples(g, call, moved, used))
    extra = max(rank_of(i) for i in used)
    if place == 0:
        return picked
    # The dims of the index go where the indexed dims were.
    after = list(range(extra, rank_of(picked)))
    order = [*after[:place], *range(extra), *after[place:]]
    return transposed(g, picked, order)


def index_put(g: GraphBuilder, call: TorchCall) -> Value:
    """A copy of x with x[i, :, mask, …] = values, or += values."""
    p = call.params
    x, values = p["self"], g.Cast(p["values"], dtype_of(p["self"]))
    raw = p["indices"]
    given = [i for i in raw if i is not None]
    if (
        len(given) == 1
        and raw[0] is not None
        and dtype_of(given[0]) == DataType.BOOL
        and rank_of(values) == 0
        and not p["accumulate"]
    ):
        mask = given[0]
        later = rank_of(x) - rank_of(mask)
        if later:
            mask = g.Unsqueeze(mask, list(range(rank_of(mask), rank_of(x))))
        return g.Where(mask, values, x)
    indices = _index_list(g, call)
    moved, order, used, place = _arranged(g, x, indices)
    tuples = _index_tuples(g, call, moved, used)
    extra = rank_of(tuples) - 1
    rest = rank_of(x) - len(used)
    result_shape = g.op("Concat", g.Shape(tuples, end=extra), g.Shape(moved, start=len(used)), axis=0)
    if place and rank_of(values) > 0:
        # values broadcast in the order of x[…]: put the dims of the index in front.
        full_rank = extra + rest
        if rank_of(values) < full_rank:
            values = g.Unsqueeze(values, list(range(full_rank - rank_of(values))))
        values = transposed(g, values, [*range(place, place + extra), *range(place), *range(place + extra, full_rank)])
    values = g.Expand(values, result_shape)
    written = _scatter_nd(g, moved, tuples, values, add=bool(p["accumulate"]))
    return transposed(g, written, [order.index(k) for k in range(len(order))])


def _scatter_nd(g: GraphBuilder, x: Value, indices: Value, values: Value, *, add: bool) -> Value:
    if not add:
        return g.ScatterND(x, indices, values)
    if g.opsets.main < 16:
        raise OpsetNotSupported("adding at repeated indices needs opset 16", needs="opset ≥ 16")
    return g.ScatterND(x, indices, values, reduction="add")


# --- scatter --------------------------------------------------------------------------------------------------------


def _scattered(g: GraphBuilder, call: TorchCall, source: Value, reduction: str = "none") -> Value:
    x, indices = call.params["self"], g.Cast(call.params["index"], INT64)
    dim = axis_of(call.params["dim"], rank_of(x))
    flat = rank_of(x) == 0
    x, indices, source = (at_least_1d(g, v) for v in (x, indices, source))
    least = {"none": 11, "add": 16, "mul": 16, "max": 18, "min": 18}[reduction]
    if g.opsets.main < least:
        raise OpsetNotSupported(f"{call.key} needs opset {least}", needs=f"opset ≥ {least}")
    dims, index_dims = call.metas["self"].shape, call.metas["index"].shape
    if 0 in index_dims or 0 in dims:
        return call.params["self"]  # type: ignore[no-any-return]
    # The source may be larger than the index: only its first part is read.
    if source.shape is not None and call.metas.get("src") is not None:
        bounds = list(call.metas["src"].shape)
        for axis, (have, want) in enumerate(zip(bounds, index_dims, strict=False)):
            if have is not want and not (isinstance(have, int) and isinstance(want, int) and have == want):
                source = g.Slice(source, [0], call.sizes.vector(g, [want]), [axis])
    settings = {} if reduction == "none" else {"reduction": reduction}
    result = g.op("ScatterElements", x, indices, source, axis=dim, **settings)
    return g.Squeeze(result, 0) if flat else result


def _source(g: GraphBuilder, call: TorchCall) -> Value:
    source = call.params.get("src")
    dtype = dtype_of(call.params["self"])
    if isinstance(source, Value):
        return g.Cast(source, dtype)
    value = as_type(g, call.params["value"] if source is None else source, dtype)
    indices = call.params["index"]
    return g.Expand(value, g.Shape(indices)) if rank_of(indices) else value


_REDUCTIONS = {"add": "add", "multiply": "mul", "sum": "add", "prod": "mul", "amax": "max", "amin": "min"}


def scatter(g: GraphBuilder, call: TorchCall) -> Value:
    """Elements written along a dim: plain, added or multiplied."""
    reduce = call.params.get("reduce")
    return _scattered(g, call, _source(g, call), "none" if reduce is None else _REDUCTIONS[reduce])


def scatter_add(g: GraphBuilder, call: TorchCall) -> Value:
    """Elements added along a dim."""
    if dtype_of(call.params["self"]) == DataType.BOOL:
        return _in_int(g, call, "max")
    return _scattered(g, call, _source(g, call), "add")


def _in_int(g: GraphBuilder, call: TorchCall, reduction: str) -> Value:
    wide = {**call.params, "self": g.Cast(call.params["self"], DataType.INT32)}
    inner = replace(call, params=wide)
    return g.Cast(_scattered(g, inner, _source(g, inner), reduction), DataType.BOOL)


def scatter_reduce(g: GraphBuilder, call: TorchCall) -> Value:
    """Elements reduced along a dim: sum, prod, mean, amax, amin; with or without what was there."""
    if dtype_of(call.params["self"]) == DataType.BOOL:
        wide = {name: g.Cast(call.params[name], DataType.INT32) for name in ("self", "src")}
        return g.Cast(scatter_reduce(g, replace(call, params={**call.params, **wide})), DataType.BOOL)
    p = call.params
    reduce, x = p["reduce"], p["self"]
    source = _source(g, call)
    if not p["include_self"]:
        x = _cleared(g, call, x, reduce)
        call = replace(call, params={**p, "self": x})
    if reduce != "mean":
        return _scattered(g, call, source, _REDUCTIONS[reduce])
    total = _scattered(g, call, source, "add")
    dtype = dtype_of(x)
    one = scalar(g, 1 if p["include_self"] else 0, dtype)
    start = g.Expand(one, g.Shape(x)) if rank_of(x) else one
    ones = g.Expand(scalar(g, 1, dtype), g.Shape(source)) if rank_of(source) else scalar(g, 1, dtype)
    counting = replace(call, params={**p, "self": start})
    count = g.Max(_scattered(g, counting, ones, "add"), scalar(g, 1, dtype))
    return g.Div(total, count) if dtype in FLOATS else floored(g, total, count)


def _cleared(g: GraphBuilder, call: TorchCall, x: Value, reduce: str) -> Value:
    """Return x with the neutral element of the reduction wherever something will be written."""
    dtype = dtype_of(x)
    extremes = {"amax": -np.inf, "amin": np.inf}
    neutral: Any = {"sum": 0, "mean": 0, "prod": 1}.get(reduce)
    if neutral is None:
        numpy_dtype = dtype.numpy()
        if np.dtype(numpy_dtype).kind in "iu":
            limits = np.iinfo(numpy_dtype)
            neutral = limits.min if reduce == "amax" else limits.max
        else:
            neutral = extremes[reduce]
    indices = call.params["index"]
    value = scalar(g, neutral, dtype)
    source = g.Expand(value, g.Shape(indices)) if rank_of(indices) else value
    metas = {k: v for k, v in call.metas.items() if k != "src"}
    return _scattered(g, replace(call, metas=metas), source)


# --- by slices ------------------------------------------------------------------------------------------------------


def index_add(g: GraphBuilder, call: TorchCall) -> Value:
    """Slices of source added to slices of self."""
    p = call.params
    if dtype_of(p["self"]) == DataType.BOOL:
        wide = {name: g.Cast(p[name], DataType.INT32) for name in ("self", "source")}
        return g.Cast(index_add(g, replace(call, params={**p, **wide})), DataType.BOOL)
    source = p["source"]
    alpha = p.get("alpha", 1)
    if isinstance(alpha, Value) or alpha != 1:
        source = g.Mul(source, as_type(g, alpha, dtype_of(source)))
    return _by_slices(g, call, source, add=True)


def index_copy(g: GraphBuilder, call: TorchCall) -> Value:
    """Slices of source in place of slices of self."""
    return _by_slices(g, call, call.params["source"], add=False)


def index_fill(g: GraphBuilder, call: TorchCall) -> Value:
    """One value in place of slices of self."""
    x: Value = call.params["self"]
    indices = at_least_1d(g, g.Cast(call.params["index"], INT64))
    value = as_type(g, call.params["value"], dtype_of(x))
    if rank_of(x) == 0:
        return value
    axis = axis_of(call.params["dim"], rank_of(x))
    moved, back = _to_front(g, x, axis)
    size = g.op("Concat", g.Shape(indices), g.Shape(moved, start=1), axis=0)
    return transposed(g, _scatter_nd(g, moved, _rows(g, moved, indices), g.Expand(value, size), add=False), back)


def _by_slices(g: GraphBuilder, call: TorchCall, source: Value, *, add: bool) -> Value:
    x: Value = call.params["self"]
    indices = at_least_1d(g, g.Cast(call.params["index"], INT64))
    source = g.Cast(source, dtype_of(x))
    if rank_of(x) == 0:
        wide = _scatter_nd(g, g.Unsqueeze(x, 0), g.Unsqueeze(indices, -1), g.Reshape(source, [-1]), add=add)
        return g.Squeeze(wide, 0)
    axis = axis_of(call.params["dim"], rank_of(x))
    moved, back = _to_front(g, x, axis)
    if rank_of(source) < rank_of(x):
        source = g.Unsqueeze(source, 0)
    values = _to_front(g, source, axis)[0]
    return transposed(g, _scatter_nd(g, moved, _rows(g, moved, indices), values, add=add), back)


def _rows(g: GraphBuilder, x: Value, indices: Value) -> Value:
    size = g.dim(x, 0)
    positive = g.Where(g.Less(indices, scalar(g, 0, INT64)), g.Add(indices, size), indices)
    return g.Unsqueeze(positive, -1)


def scattered_rows(g: GraphBuilder, x: Value, indices: Value, values: Value, *, add: bool) -> Value:
    """Return x with rows replaced by values, or added to; indices may be negative."""
    return _scatter_nd(g, x, _rows(g, x, indices), g.Cast(values, dtype_of(x)), add=add)


def _to_front(g: GraphBuilder, x: Value, axis: int) -> tuple[Value, list[int]]:
    order = [axis, *(k for k in range(rank_of(x)) if k != axis)]
    return transposed(g, x, order), [order.index(k) for k in range(len(order))]


# --- membership, buckets --------------------------------------------------------------------------------------------


def isin(g: GraphBuilder, call: TorchCall) -> Value:
    """Whether each element is among others."""
    names = ("elements", "test_elements") if "elements" in call.params else ("element", "test_elements")
    names = ("element", "test_elements") if "element" in call.params else names
    names = ("elements", "test_element") if "test_element" in call.params else names
    dtype = promoted(call, *names)
    dtype = DataType.INT32 if dtype == DataType.BOOL else dtype
    a, b = (as_type(g, call.params[n], dtype) for n in names)
    same = g.Equal(g.Unsqueeze(a, -1), g.Reshape(b, [-1]))
    hits = g.ReduceSum(g.Cast(same, DataType.INT32), -1, keepdims=False)
    found = g.Greater(hits, scalar(g, 0, DataType.INT32))
    return g.Not(found) if call.params.get("invert") else found


def bucketize(g: GraphBuilder, call: TorchCall) -> Value:
    """Number of boundaries below each element (or not above it)."""
    return _searched(g, call, call.params["self"], call.params["boundaries"], "boundaries")


def searchsorted(g: GraphBuilder, call: TorchCall) -> Value:
    """Where each element would go into a sorted sequence (one for all, or one per row)."""
    return _searched(g, call, call.params["self"], call.params["sorted_sequence"], "sorted_sequence")


def _searched(g: GraphBuilder, call: TorchCall, x: Any, sequence: Value, name: str) -> Value:
    dtype = promoted(call, "self", name)
    values, bounds = as_type(g, x, dtype), as_type(g, sequence, dtype)
    sorter = call.params.get("sorter")
    if sorter is not None:
        bounds = g.op("GatherElements", bounds, g.Cast(sorter, INT64), axis=-1)
    right = bool(call.params.get("right")) or call.params.get("side") == "right"
    wide = g.Unsqueeze(values, -1)
    if rank_of(bounds) > 1:
        bounds = g.Unsqueeze(bounds, -2)
    below = g.op("LessOrEqual" if right else "Less", bounds, wide)
    return g.Cast(g.ReduceSum(g.Cast(below, INT64), -1, keepdims=False), call.dtype)
