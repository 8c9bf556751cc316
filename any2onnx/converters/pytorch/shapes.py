"""Views, copies, joining and splitting: operators that move elements without computing with them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from any2onnx.converters.pytorch.call import TorchCall, as_int_vector, as_type, at_least_1d, axis_of, refuse, scalar
from any2onnx.graph.builder import GraphBuilder
from any2onnx.graph.types import DataType, Value, dtype_of, rank_of

LARGEST = np.iinfo(np.int64).max


def reshape_to(g: GraphBuilder, call: TorchCall, x: Value, source: Sequence[Any], target: Sequence[Any]) -> Value:
    """Reshape from sizes to sizes (numbers and sympy expressions).

    Dims that stay in place are 0, the only other symbolic one is -1; else the shape is put together from its parts.
    """
    source, target = list(source), list(target)
    if source == target:
        return x
    symbolic = [k for k, d in enumerate(target) if not isinstance(d, int)]
    numbers = [d for d in target if isinstance(d, int)]
    kept = [k for k in symbolic if k < len(source) and source[k] == target[k]]
    if 0 not in numbers:
        if kept == symbolic:
            return g.Reshape(x, [0 if k in symbolic else d for k, d in enumerate(target)])
        if len(symbolic) == 1:
            return g.Reshape(x, [-1 if k in symbolic else d for k, d in enumerate(target)])
    if g.opsets.main >= 14:
        # A computed 0 is a size, not a mark.
        return g.Reshape(x, call.sizes.vector(g, target), allowzero=True)
    # Below opset 14 a computed 0 would be taken for a mark: leave the dim that may well be 0, the batch, to Reshape.
    open_dim = next((k for k in symbolic if call.sizes.first in target[k].free_symbols), None)
    parts = [-1 if k == open_dim else d for k, d in enumerate(target)]
    return g.Reshape(x, call.sizes.vector(g, parts))


def view(g: GraphBuilder, call: TorchCall) -> Value:
    """The same elements in another shape: view, reshape, flatten, unflatten, view_as."""
    return reshape_to(g, call, call.first, call.dims_of("self"), call.dims)


def view_dtype(g: GraphBuilder, call: TorchCall) -> Value:
    """The same bytes as another type of the same size."""
    x = call.first
    if dtype_of(x) == call.dtype:
        return x
    raise refuse(call, "dtype", "ONNX cannot read the bytes of one type as another")


def set_source(g: GraphBuilder, call: TorchCall) -> Value:
    """The tensor that takes the place of self: set_."""
    source: Value = call.params["source"]
    return source


def squeeze(g: GraphBuilder, call: TorchCall) -> Value:
    """Without dims of size 1: all, one, or several; other dims stay."""
    x = call.first
    sizes = call.dims_of("self")
    dims = call.params.get("dim")
    if dims is None:
        wanted = list(range(len(sizes)))
    else:
        wanted = [axis_of(d, len(sizes)) for d in (dims if isinstance(dims, list | tuple) else [dims])]
    axes = [k for k in wanted if k < len(sizes) and sizes[k] == 1]
    return g.Squeeze(x, sorted(axes)) if axes else x


def unsqueeze(g: GraphBuilder, call: TorchCall) -> Value:
    """A new dim of size 1."""
    x = call.first
    return g.Unsqueeze(x, call.params["dim"] % (rank_of(x) + 1))


def permute(g: GraphBuilder, call: TorchCall) -> Value:
    """The dims in another order."""
    x = call.first
    return transposed(g, x, [axis_of(d, rank_of(x)) for d in call.params["dims"]])


def transpose(g: GraphBuilder, call: TorchCall) -> Value:
    """Two dims exchanged."""
    x = call.first
    order = list(range(rank_of(x)))
    if len(order) < 2:
        return x
    names = ("dim0", "dim1") if "dim0" in call.params else ("axis0", "axis1")
    a, b = (axis_of(call.params[n], len(order)) for n in names)
    order[a], order[b] = order[b], order[a]
    return transposed(g, x, order)


def last_two(g: GraphBuilder, call: TorchCall) -> Value:
    """The last two dims exchanged: t, mT, adjoint."""
    x = call.first
    rank = rank_of(x)
    return x if rank < 2 else transposed(g, x, [*range(rank - 2), rank - 1, rank - 2])


def reversed_dims(g: GraphBuilder, call: TorchCall) -> Value:
    """All dims in reverse order."""
    x = call.first
    return transposed(g, x, list(range(rank_of(x)))[::-1])


def movedim(g: GraphBuilder, call: TorchCall) -> Value:
    """Dims moved to other places."""
    x = call.first
    rank = rank_of(x)
    source, target = (
        [axis_of(d, rank) for d in (v if isinstance(v, list | tuple) else [v])]
        for v in (call.params["source"], call.params["destination"])
    )
    rest = iter(k for k in range(rank) if k not in source)
    order = [source[target.index(k)] if k in target else next(rest) for k in range(rank)]
    return transposed(g, x, order)


def transposed(g: GraphBuilder, x: Value, order: Sequence[int]) -> Value:
    """Transpose; nothing where the order stays."""
    return x if list(order) == sorted(order) else g.Transpose(x, perm=list(order))


def expand(g: GraphBuilder, call: TorchCall) -> Value:
    """Dims of size 1 repeated: expand, expand_as, broadcast_to."""
    x = call.first
    return x if call.dims_of("self") == call.dims else g.Expand(x, call.shape(g))


def repeat(g: GraphBuilder, call: TorchCall) -> Value:
    """The whole tensor repeated along its dims: repeat, tile."""
    x = call.first
    repeats = list(call.params.get("repeats") or call.params.get("dims") or [])
    if len(repeats) > rank_of(x):
        x = g.Unsqueeze(x, list(range(len(repeats) - rank_of(x))))
    repeats = [1] * (rank_of(x) - len(repeats)) + repeats
    return x if not repeats else g.Tile(x, as_int_vector(g, repeats))


def repeat_interleave(g: GraphBuilder, call: TorchCall) -> Value:
    """Every slice repeated the same number of times."""
    x, repeats = call.first, call.params["repeats"]
    dim = call.params.get("dim")
    dims = call.dims_of("self")
    if dim is None:
        x = g.Reshape(x, [-1])
        axis = 0
    else:
        axis = axis_of(dim, len(dims))
    wide = g.Unsqueeze(x, axis + 1)
    ones: list[Any] = [1] * rank_of(wide)
    ones[axis + 1] = repeats
    spread = g.Tile(wide, as_int_vector(g, ones))
    return g.Reshape(spread, call.shape(g))


def cat(g: GraphBuilder, call: TorchCall) -> Value:
    """Tensors joined along a dim; empty one-dimensional ones are skipped as torch does."""
    params = call.params
    values, metas = params["tensors"], call.metas["tensors"]
    rank = len(call.dims)
    chosen = [
        g.Cast(v, call.dtype)
        for v, m in zip(values, metas, strict=True)
        if not (m.dim() == 1 and rank > 1 and m.shape[0] == 0)
    ]
    axis = axis_of(params["dim"], rank)
    return chosen[0] if len(chosen) == 1 else g.op("Concat", *chosen, axis=axis)


def stack(g: GraphBuilder, call: TorchCall) -> Value:
    """Tensors joined along a new dim."""
    axis = axis_of(call.params["dim"], len(call.dims))
    values = [g.Unsqueeze(g.Cast(v, call.dtype), axis) for v in call.params["tensors"]]
    return values[0] if len(values) == 1 else g.op("Concat", *values, axis=axis)


def split(g: GraphBuilder, call: TorchCall) -> list[Value]:
    """Parts along a dim: by size, by sizes, into a number of chunks."""
    x = call.first
    axis = axis_of(call.params["dim"], rank_of(x))
    sizes = [call.sizes_of_result(k)[axis] for k in range(len(call.result))]
    if len(sizes) == 1:
        return [x]
    if all(isinstance(s, int) for s in sizes):
        return list(g.Split(x, sizes, axis=axis))
    return list(g.Split(x, call.sizes.vector(g, sizes), axis=axis, num_outputs=len(sizes)))


def unbind(g: GraphBuilder, call: TorchCall) -> list[Value]:
    """All slices along a dim."""
    x = call.first
    axis = axis_of(call.params["dim"], rank_of(x))
    count = len(call.result)
    if count == 1:
        return [g.Squeeze(x, axis)]
    return [g.Squeeze(part, axis) for part in g.Split(x, [1] * count, axis=axis)]


def select(g: GraphBuilder, call: TorchCall) -> Value:
    """One slice along a dim."""
    x, index = call.first, call.params["index"]
    axis = axis_of(call.params["dim"], rank_of(x))
    if not isinstance(index, Value):
        index = g.const(np.asarray(index, np.int64), name="index")
    return g.Gather(x, index, axis=axis)


def slice_tensor(g: GraphBuilder, call: TorchCall) -> Value:
    """start:end:step along a dim."""
    x = call.first
    start, end, step = call.params["start"], call.params["end"], call.params["step"]
    axis = axis_of(call.params["dim"], rank_of(x))
    return sliced(g, x, axis, 0 if start is None else start, LARGEST if end is None else end, step)


def sliced(g: GraphBuilder, x: Value, axis: int, start: Any, end: Any, step: int = 1) -> Value:
    """start:end:step of one axis; numbers or int64 scalars."""
    whole = not isinstance(start, Value) and start == 0 and not isinstance(end, Value) and end == LARGEST
    if whole and step == 1:
        return x
    bounds = [as_int_vector(g, [v]) for v in (start, end)]
    return g.Slice(x, bounds[0], bounds[1], [axis], None if step == 1 else [step])


def narrow(g: GraphBuilder, call: TorchCall) -> Value:
    """`length` slices from `start` on."""
    x, start, length = call.first, call.params["start"], call.params["length"]
    axis = axis_of(call.params["dim"], rank_of(x))
    if isinstance(start, int) and isinstance(length, int):
        size = call.dims_of("self")[axis]
        if start >= 0 or isinstance(size, int):
            first = start if start >= 0 else start + int(size)
            return sliced(g, x, axis, first, first + length)
        return sliced(g, x, axis, start, LARGEST if start + length == 0 else start + length)
    begin = as_type(g, start, DataType.INT64)
    begin = g.Squeeze(begin) if rank_of(begin) else begin
    return sliced(g, x, axis, begin, g.Add(begin, as_type(g, length, DataType.INT64)))


def flip(g: GraphBuilder, call: TorchCall) -> Value:
    """Dims in reverse."""
    x = call.first
    axes = sorted({axis_of(d, rank_of(x)) for d in call.params["dims"]})
    if not axes or rank_of(x) == 0:
        return x
    n = len(axes)
    return g.Slice(x, [-1] * n, [-LARGEST] * n, axes, [-1] * n)


def roll(g: GraphBuilder, call: TorchCall) -> Value:
    """Elements moved along dims, around the end; along the flattened tensor where no dim is given."""
    x, shifts, dims = call.first, list(call.params["shifts"]), list(call.params["dims"])
    sizes = call.dims_of("self")
    if 0 in sizes or not sizes:
        return x
    if not dims:
        flat = g.Reshape(x, [-1])
        total = None if not all(isinstance(s, int) for s in sizes) else int(np.prod([int(s) for s in sizes]))
        return g.Reshape(_rolled(g, flat, 0, shifts[0], total), call.shape(g))
    for shift, dim in zip(shifts, dims, strict=True):
        axis = axis_of(dim, len(sizes))
        size = sizes[axis]
        x = _rolled(g, x, axis, shift, size if isinstance(size, int) else None)
    return x


def _rolled(g: GraphBuilder, x: Value, axis: int, shift: Any, size: int | None) -> Value:
    if isinstance(shift, Value) or size is None:
        length = g.dim(x, axis)
        amount = g.Mod(as_int_vector(g, [shift]), length)
        cut = g.Sub(length, amount)
        first, second = g.Slice(x, cut, length, [axis]), g.Slice(x, [0], cut, [axis])
        return g.op("Concat", first, second, axis=axis)
    amount = shift % size
    if amount == 0:
        return x
    return g.op("Concat", sliced(g, x, axis, size - amount, LARGEST), sliced(g, x, axis, 0, size - amount), axis=axis)


def diagonal(g: GraphBuilder, call: TorchCall) -> Value:
    """A diagonal of two dims, as a new last dim."""
    x = call.first
    rank = rank_of(x)
    a, b = axis_of(call.params["dim1"], rank), axis_of(call.params["dim2"], rank)
    offset = call.params["offset"]
    rest = [k for k in range(rank) if k not in (a, b)]
    moved = transposed(g, x, [a, b, *rest])
    length = call.sizes.scalar(g, call.dims[-1])
    steps = g.Range(scalar(g, 0, DataType.INT64), length, scalar(g, 1, DataType.INT64))
    down, right = max(-offset, 0), max(offset, 0)
    rows = g.Add(steps, scalar(g, down, DataType.INT64)) if down else steps
    columns = g.Add(steps, scalar(g, right, DataType.INT64)) if right else steps
    indices = g.op("Concat", g.Unsqueeze(rows, 1), g.Unsqueeze(columns, 1), axis=1)
    picked = g.GatherND(moved, indices)
    return transposed(g, picked, [*range(1, rank - 1), 0])


def triangle(g: GraphBuilder, call: TorchCall) -> Value:
    """Upper or lower triangle of the last two dims, zeros elsewhere: triu, tril."""
    x: Value = call.params["self"]
    upper = 1 if "triu" in call.key else 0
    diagonal_number = call.params["diagonal"]
    wide = g.Cast(x, DataType.INT32) if dtype_of(x) == DataType.BOOL and g.opsets.main >= 14 else x
    if g.opsets.main >= 14:
        k = as_type(g, diagonal_number, DataType.INT64)
        return g.Cast(g.Trilu(wide, k, upper=upper), dtype_of(x))
    rows, columns = (
        g.Range(scalar(g, 0, DataType.INT64), call.sizes.scalar(g, d), scalar(g, 1, DataType.INT64))
        for d in call.dims[-2:]
    )
    distance = g.Sub(g.Unsqueeze(columns, 0), g.Unsqueeze(rows, 1))
    limit = as_type(g, diagonal_number, DataType.INT64)
    inside = g.GreaterOrEqual(distance, limit) if upper else g.LessOrEqual(distance, limit)
    return g.Where(inside, x, scalar(g, 0, dtype_of(x)))


def select_scatter(g: GraphBuilder, call: TorchCall) -> Value:
    """A copy whose slice `index` is replaced."""
    x, source, index = call.first, call.params["src"], call.params["index"]
    axis = axis_of(call.params["dim"], rank_of(x))
    size = call.sizes.scalar(g, call.dims[axis])
    positions = g.Range(scalar(g, 0, DataType.INT64), size, scalar(g, 1, DataType.INT64))
    at = as_type(g, index, DataType.INT64)
    at = g.Add(at, size) if isinstance(index, int) and index < 0 else at
    chosen = g.Equal(positions, at)
    return g.Where(_along(g, chosen, axis, rank_of(x)), g.Unsqueeze(g.Cast(source, dtype_of(x)), axis), x)


def slice_scatter(g: GraphBuilder, call: TorchCall) -> Value:
    """A copy in which start:end:step of a dim is replaced."""
    x, source = call.params["self"], g.Cast(call.params["src"], dtype_of(call.params["self"]))
    start, end, step = call.params["start"], call.params["end"], call.params["step"]
    axis = axis_of(call.params["dim"], rank_of(x))
    whole = (start is None or (isinstance(start, int) and start == 0)) and step == 1
    if whole and (end is None or (isinstance(end, int) and end == LARGEST)):
        return g.Expand(source, call.shape(g)) if call.dims_of("src") != call.dims else source
    size = call.sizes.scalar(g, call.dims[axis])
    positions = g.Range(scalar(g, 0, DataType.INT64), size, scalar(g, 1, DataType.INT64))
    chosen = sliced(g, positions, 0, 0 if start is None else start, LARGEST if end is None else end, step)
    moved = [axis, *(k for k in range(rank_of(x)) if k != axis)]
    back = [moved.index(k) for k in range(rank_of(x))]
    written = g.ScatterND(transposed(g, x, moved), g.Unsqueeze(chosen, 1), transposed(g, source, moved))
    return transposed(g, written, back)


def _along(g: GraphBuilder, vector: Value, axis: int, rank: int) -> Value:
    """Return a vector shaped so that it broadcasts along one axis."""
    later = rank - 1 - axis
    return g.Unsqueeze(vector, list(range(1, later + 1))) if later else vector


def as_strided(g: GraphBuilder, call: TorchCall) -> Value:
    """Elements at computed offsets of a contiguous tensor."""
    offsets = _offsets(call)
    return g.Gather(g.Reshape(call.first, [-1]), g.const(offsets, name="offsets"), axis=0)


def _offsets(call: TorchCall) -> Any:
    """Return the flat position of every element of a strided view."""
    p = call.params
    numbers = [*p["size"], *p["stride"], p["storage_offset"] or 0]
    meta = call.metas["self"]
    if not all(isinstance(v, int) for v in numbers) or not meta.is_contiguous():
        raise refuse(call, "stride", "the memory layout is not known when the model is converted")
    offsets = np.asarray(numbers[-1], np.int64)
    for size, stride in zip(p["size"], p["stride"], strict=True):
        offsets = offsets[..., None] + np.arange(size, dtype=np.int64) * stride
    return offsets


def unfold_windows(g: GraphBuilder, call: TorchCall) -> Value:
    """Sliding windows of a dim as a new last dim (Tensor.unfold)."""
    x, size, step = call.first, call.params["size"], call.params["step"]
    rank = rank_of(x)
    if rank == 0:
        return g.Expand(g.Unsqueeze(x, 0), call.shape(g))
    axis = axis_of(call.params["dimension"], rank)
    count = call.sizes.scalar(g, call.dims[axis])
    zero, one = scalar(g, 0, DataType.INT64), scalar(g, 1, DataType.INT64)
    starts = g.Mul(g.Range(zero, count, one), scalar(g, step, DataType.INT64))
    inner = g.const(np.arange(size, dtype=np.int64))
    indices = g.Add(g.Unsqueeze(starts, 1), inner)
    windows = g.Gather(x, indices, axis=axis)
    order = [k for k in range(rank + 1) if k != axis + 1] + [axis + 1]
    return transposed(g, windows, order)


# --- copies and types -----------------------------------------------------------------------------------------------


def to(g: GraphBuilder, call: TorchCall) -> Value:
    """The same tensor in the result's type."""
    # Under vmap torch writes numbers where the schema has tensors.
    return cast(g, as_type(g, call.first, call.dtype), call.dtype)


def cast(g: GraphBuilder, x: Value, dtype: DataType) -> Value:
    """Cast; to bool everything but zero (NaN included) is true."""
    return g.Cast(x, dtype)


def copy(g: GraphBuilder, call: TorchCall) -> Value:
    """`src` in the type and shape of self."""
    source = g.Cast(call.params["src"], call.dtype)
    return source if call.dims_of("src") == call.dims else g.Expand(source, call.shape(g))


def one_hot_axis(g: GraphBuilder, call: TorchCall) -> Value:
    """One-hot vectors as a new last dim, with a stated number of classes."""
    x, classes = call.params["self"], call.params["num_classes"]
    if not isinstance(classes, Value) and classes < 0:
        classes = g.Add(g.ReduceMax(x, None, keepdims=False), scalar(g, 1, DataType.INT64))
    depth = as_type(g, classes, DataType.INT64)
    hot = g.OneHot(at_least_1d(g, x), depth, g.const(np.asarray([0, 1], np.int64)), axis=-1)
    return hot if rank_of(x) else g.Squeeze(hot, 0)


def diagonal_scatter(g: GraphBuilder, call: TorchCall) -> Value:
    """A copy in which a diagonal of two dims is replaced."""
    x = call.first
    rank = rank_of(x)
    a, b = axis_of(call.params["dim1"], rank), axis_of(call.params["dim2"], rank)
    offset = call.params["offset"]
    order = [a, b, *(k for k in range(rank) if k not in (a, b))]
    source = g.Cast(call.params["src"], dtype_of(x))
    length = call.sizes.scalar(g, call.dims_of("src")[-1])
    steps = g.Range(scalar(g, 0, DataType.INT64), length, scalar(g, 1, DataType.INT64))
    rows = g.Add(steps, scalar(g, max(-offset, 0), DataType.INT64))
    columns = g.Add(steps, scalar(g, max(offset, 0), DataType.INT64))
    indices = g.op("Concat", g.Unsqueeze(rows, 1), g.Unsqueeze(columns, 1), axis=1)
    front = transposed(g, source, [rank - 2, *range(rank - 2)])
    written = g.ScatterND(transposed(g, x, order), indices, front)
    return transposed(g, written, [order.index(k) for k in range(rank)])


def as_strided_scatter(g: GraphBuilder, call: TorchCall) -> Value:
    """A copy in which the elements at computed offsets are replaced."""
    offsets = _offsets(call)
    flat = g.Reshape(call.first, [-1])
    source = g.Reshape(g.Cast(call.params["src"], dtype_of(flat)), [-1])
    written = g.ScatterND(flat, g.const(offsets.reshape(-1, 1), name="offsets"), source)
    return g.Reshape(written, call.shape(g))


def resize(g: GraphBuilder, call: TorchCall) -> Value:
    """The first elements in a new shape; where it holds more, torch leaves the rest open: zeros."""
    x = g.Reshape(call.params["self"], [-1])
    shape = call.shape(g)
    wanted = g.ReduceProd(shape, None)
    missing = g.Max(g.Sub(wanted, g.Shape(x)), g.const(np.zeros(1, np.int64)))
    x = g.op("Concat", x, g.Expand(scalar(g, 0, dtype_of(x)), missing), axis=0)
    return g.Reshape(g.Slice(x, [0], wanted, [0]), shape)


def nothing(g: GraphBuilder, call: TorchCall) -> None:
    """An assertion or a hint for the compiler: no node."""
