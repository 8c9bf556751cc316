"""Indexing, gathering and scattering: `keras.src.backend.core` and `.numpy`, and `tensor[...]`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from any2onnx.converters.keras.backend_common import Context, backend_function, keras_backend
from any2onnx.converters.keras.tracing_replay import Extent
from any2onnx.graph.types import DataType, Value, broadcast_dims, dtype_of, rank_of, shape_of

_END = int(np.iinfo(np.int64).max)


@dataclass(slots=True)
class _Subscript:
    """`x[key]` taken apart: slices first, then positions by tensors, then new dims."""

    starts: list[Any]
    ends: list[Any]
    axes: list[int]
    steps: list[int]
    picked: list[tuple[int, Value]]
    dropped: list[int]
    new: list[int]


def _index(c: Context, k: Any) -> Value | None:
    """Return an array index as a value of int64; None for anything else."""
    if isinstance(k, Value):
        return k
    if isinstance(k, list):
        return c.t(k, DataType.BOOL if k and isinstance(k[0], bool) else DataType.INT64)
    return None


def _expanded(key: Any, rank: int) -> list[Any]:
    """Return one entry per dim of the input, with None for new dims."""
    parts = list(key) if isinstance(key, tuple) else [key]
    used = sum(_dims_used(k) for k in parts)
    if not any(k is Ellipsis for k in parts):
        parts.append(Ellipsis)
    place = next(i for i, k in enumerate(parts) if k is Ellipsis)
    return [*parts[:place], *[slice(None)] * (rank - used), *parts[place + 1 :]]


def _dims_used(k: Any) -> int:
    if k is None or k is Ellipsis:
        return 0
    return rank_of(k) if isinstance(k, Value) and dtype_of(k) == DataType.BOOL else 1


@backend_function
def getitem(c: Context, x: Any, key: Any) -> Value:
    """`x[key]`, as numpy has it."""
    g = c.g
    value = c.t(x)
    parts = _expanded(key, rank_of(value))
    if any(isinstance(k, Value) and dtype_of(k) == DataType.BOOL for k in parts):
        return _masked(c, value, parts)
    if keras_backend() == "torch" and _number_apart_from_list(parts):
        raise c.refuse("a number and a list of positions with a slice between them mean something else under PyTorch")
    starts: list[Any] = []
    ends: list[Any] = []
    axes: list[int] = []
    steps: list[int] = []
    arrays: list[tuple[int, Value]] = []
    single: list[int] = []
    axis = 0
    for k in parts:
        if k is None:
            continue
        if isinstance(k, slice):
            if k != slice(None):
                start, end, step = _slice_bounds(c, k)
                starts.append(start)
                ends.append(end)
                axes.append(axis)
                steps.append(step)
        elif (index := _index(c, k)) is not None:
            if rank_of(index) == 0 and index.const_value is not None:
                k = int(index.const_value.numpy())
                _pick(starts, ends, axes, steps, single, k, axis)
            else:
                arrays.append((axis, index))
        elif isinstance(k, Extent):
            arrays.append((axis, g.Reshape(k.value, [])))
        else:
            _pick(starts, ends, axes, steps, single, int(k), axis)
        axis += 1
    if axes:
        vectors = [g.shape_vector([c.size(v) for v in part]) for part in (starts, ends, axes, steps)]
        value = g.Slice(value, *vectors)
    return _arranged(c, value, parts, arrays, single)


def _number_apart_from_list(parts: Sequence[Any]) -> bool:
    """Tell whether numbers and lists of positions stand apart: numpy puts the dim of the list first then."""
    kinds = [
        "slice" if k is None or isinstance(k, slice) else "number" if isinstance(k, int) else "list" for k in parts
    ]
    chosen = [place for place, kind in enumerate(kinds) if kind != "slice"]
    return {"number", "list"} <= set(kinds) and chosen[-1] - chosen[0] >= len(chosen)


def _pick(
    starts: list[Any], ends: list[Any], axes: list[int], steps: list[int], single: list[int], k: int, axis: int
) -> None:
    """Take one position as a slice of length 1; its dim is dropped afterwards."""
    starts.append(k)
    ends.append(k + 1 if k != -1 else _END)
    axes.append(axis)
    steps.append(1)
    single.append(axis)


def _slice_bounds(c: Context, k: slice) -> tuple[Any, Any, int]:
    step = 1 if k.step is None else int(c.static(k.step, "the step of a slice"))
    start = (0 if step > 0 else _END) if k.start is None else k.start
    end = (_END if step > 0 else -_END - 1) if k.stop is None else k.stop
    return start, end, step


def _arranged(
    c: Context, value: Value, parts: Sequence[Any], arrays: list[tuple[int, Value]], single: list[int]
) -> Value:
    """Drop the dims of single positions, gather by arrays, insert new dims where numpy has them."""
    g = c.g
    # Layout of the result: for each part, what it leaves behind.
    layout: list[str] = []
    axis = 0
    array_axes = {a for a, _ in arrays}
    for k in parts:
        if k is None:
            layout.append("new")
            continue
        layout.append("array" if axis in array_axes else "drop" if axis in single else "keep")
        axis += 1
    if not arrays:
        value = g.Squeeze(value, single) if single else value
        places = [i for i, kind in enumerate([kind for kind in layout if kind != "drop"]) if kind == "new"]
        return g.Unsqueeze(value, places) if places else value
    # Single positions count as array indices for where the result's dims go.
    advanced = [i for i, kind in enumerate(layout) if kind in ("array", "drop")]
    adjacent = advanced[-1] - advanced[0] + 1 == len(advanced)
    value = g.Squeeze(value, single) if single else value
    shift = [a - sum(s < a for s in single) for a, _ in arrays]
    indices = [g.Cast(i, DataType.INT64) for _, i in arrays]
    result_rank = max(rank_of(i) for i in indices)
    rest = [k for k in range(rank_of(value)) if k not in shift]
    if len(indices) == 1:
        moved = c.transpose(value, [*shift, *rest])
        gathered = g.Gather(moved, indices[0], axis=0)
    else:
        gathered = _gather_nd(c, c.transpose(value, [*shift, *rest]), indices)
    # The dims of the indices come first now; numpy puts them in place where they are adjacent.
    kept = [kind for kind in layout if kind in ("new", "keep")]
    places = [i for i, kind in enumerate(kept) if kind == "new"]
    before = sum(kind in ("new", "keep") for kind in layout[: advanced[0]]) if adjacent else 0
    if places:
        gathered = g.Unsqueeze(gathered, [result_rank + p for p in places])
    order = [result_rank + k for k in range(before)]
    order += list(range(result_rank))
    order += [result_rank + k for k in range(before, len(kept))]
    return c.transpose(gathered, order)


def _gather_nd(c: Context, x: Value, indices: Sequence[Value]) -> Value:
    """Gather by several index arrays for the first dims, broadcast against each other."""
    g = c.g
    total = indices[0]
    for index in indices[1:]:
        total = g.Add(total, index)
    shape = g.Shape(total)
    rank = rank_of(total)
    columns = [g.Unsqueeze(g.Expand(i, shape), [rank]) for i in indices]
    return g.GatherND(x, g.Concat(*columns, axis=rank))


def _masked(c: Context, x: Value, parts: Sequence[Any]) -> Value:
    """x[mask]: elements where a mask over the first dims is true."""
    g = c.g
    mask = parts[0]
    if not isinstance(mask, Value) or any(not isinstance(k, slice) or k != slice(None) for k in parts[1:]):
        raise c.refuse("a truth mask together with other indices", "one mask over the first dims: x[mask]")
    rank = rank_of(mask)
    if rank == 1:
        return g.Compress(x, mask, axis=0)
    rest = c.sizes_of(x)[rank:]
    return g.Compress(g.Reshape(x, g.shape_vector([-1, *rest])), c.flat(mask), axis=0)


def nonzero_positions(c: Context, x: Value) -> list[Value]:
    """Return the positions of elements that are not 0, one vector per dim."""
    g = c.g
    x = g.Cast(x, DataType.BOOL)
    found = g.NonZero(x)
    return (
        [g.Squeeze(v, 0) for v in g.Split(found, [1] * rank_of(x), axis=0)] if rank_of(x) > 1 else [g.Squeeze(found, 0)]
    )


@backend_function
def nonzero(c: Context, x: Any) -> Value | list[Value]:
    """Positions of elements that are not 0."""
    if len(c.specs) == 1 and len(c.dims) == 2:
        # Keras under PyTorch gives one matrix.
        return c.g.NonZero(c.t(x, DataType.BOOL))
    return nonzero_positions(c, c.t(x))


@backend_function
def take(c: Context, x: Any, indices: Any, axis: Any) -> Value:
    """Elements at positions along a dim; of the flattened tensor for None."""
    value = c.t(x)
    index = c.t(indices, DataType.INT64)
    if axis is None:
        return c.g.Gather(c.flat(value), index, axis=0)
    return c.g.Gather(value, index, axis=c.axis(axis, rank_of(value)))


@backend_function
def take_along_axis(c: Context, x: Any, indices: Any, axis: Any) -> Value:
    """One position of its own along a dim for each element."""
    g = c.g
    value, index = c.t(x), c.t(indices, DataType.INT64)
    if axis is None:
        return g.GatherElements(c.flat(value), c.flat(index), axis=0)
    place = c.axis(axis, rank_of(value))
    # The other dims are broadcast against each other.
    for k in range(rank_of(value)):
        if k != place and shape_of(value)[k] != shape_of(index)[k]:
            value, index = _matched(c, value, index, place)
            break
    return g.GatherElements(value, index, axis=place)


def _matched(c: Context, x: Value, index: Value, axis: int) -> tuple[Value, Value]:
    g = c.g

    def common(own: Value, other: Value) -> Value:
        shape = [g.const(np.asarray([1], np.int64)) if k == axis else g.dim(other, k) for k in range(rank_of(own))]
        return g.Expand(own, g.Concat(*shape, axis=0))

    return common(x, index), common(index, x)


@backend_function
def unravel_index(c: Context, indices: Any, shape: Any) -> list[Value]:
    """Positions in a shape of positions in the flattened tensor."""
    g = c.g
    rest = c.t(indices, DataType.INT64)
    results: list[Value] = []
    for dim in reversed(list(shape)):
        size = c.size(dim)
        divisor = size if isinstance(size, Value) else g.const(np.asarray(size, np.int64))
        divisor = divisor if rank_of(divisor) == 0 else g.Reshape(divisor, [])
        results.append(g.Mod(rest, divisor))
        rest = g.Div(g.Sub(rest, results[-1]), divisor)
    return results[::-1]


# --- core ------------------------------------------------------------------------------------------------------------


@backend_function
def slice_(c: Context, inputs: Any, start_indices: Any, shape: Any) -> Value:
    """A block that starts at a position; -1 in `shape` means all that is left."""
    g = c.g
    value = c.t(inputs)
    starts = c.vector(start_indices)
    sizes = c.vector(shape)
    ends = g.Add(starts, sizes)
    rank = rank_of(value)
    result = g.Slice(value, starts, ends, np.arange(rank, dtype=np.int64))
    return g.annotate(result, [d if isinstance(d, int) else None for d in c.dims])


@backend_function
def slice_update(c: Context, inputs: Any, start_indices: Any, updates: Any) -> Value:
    """A block replaced."""
    g = c.g
    value = c.t(inputs)
    block = c.t(updates, dtype_of(value))
    starts = c.vector(start_indices)
    rank = rank_of(value)
    # Positions of the block, as one index per element.
    columns = []
    for axis in range(rank):
        run = g.Add(c.positions(block, axis), g.Slice(starts, [axis], [axis + 1], [0]))
        shape = [-1 if k == axis else 1 for k in range(rank)]
        columns.append(g.Unsqueeze(g.Expand(g.Reshape(run, shape), g.Shape(block)), [rank]))
    return g.ScatterND(value, g.Concat(*columns, axis=rank), block)


@backend_function
def scatter(c: Context, indices: Any, values: Any, shape: Any) -> Value:
    """Values added up at positions in zeros."""
    updates = c.t(values)
    target = c.filled(shape, 0, dtype_of(updates))
    return scattered(c, target, c.t(indices, DataType.INT64), updates, "add")


@backend_function
def scatter_update(c: Context, inputs: Any, indices: Any, updates: Any, reduction: Any = None) -> Value:
    """Elements at positions replaced, or combined."""
    value = c.t(inputs)
    return scattered(c, value, c.t(indices, DataType.INT64), c.t(updates, dtype_of(value)), reduction or "none")


def scattered(c: Context, target: Value, index: Value, updates: Value, reduction: str) -> Value:
    """ScatterND; a reduction needs opset 16 (max and min 18)."""
    g = c.g
    size = shape_of(index)[-1]
    # ScatterND wants all dims of the updates.
    if isinstance(size, int):
        missing = rank_of(index) - 1 + rank_of(target) - size - rank_of(updates)
        if missing > 0 or shape_of(updates) != broadcast_dims(shape_of(updates)):
            shape = g.Concat(g.Shape(index, end=-1), g.Shape(target, start=size), axis=0)
            updates = g.Expand(updates, shape)
    return g.ScatterND(target, index, updates, reduction=None if reduction == "none" else reduction)


@backend_function
def unstack(c: Context, x: Any, num: Any, axis: Any) -> list[Value]:
    """Slices along a dim."""
    value = c.t(x)
    place = c.axis(axis, rank_of(value))
    count = c.static_dim(value, place, "to be taken apart")
    if count == 1:
        return [c.g.Squeeze(value, [place])]
    return [c.g.Squeeze(v, [place]) for v in c.g.Split(value, [1] * count, axis=place)]


@backend_function
def cast(c: Context, x: Any, dtype: Any) -> Value:
    """Another dtype."""
    return c.t(x, c.out)


@backend_function
def convert_to_tensor(c: Context, x: Any, *more: Any) -> Value:
    """A tensor of nested numbers and tensors."""
    return c.t(x, c.out)
