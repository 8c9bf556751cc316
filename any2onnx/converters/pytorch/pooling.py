"""Pooling, fixed and adaptive."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from any2onnx.converters.pytorch.call import TorchCall, refuse, scalar
from any2onnx.converters.pytorch.nn import repeated
from any2onnx.graph.builder import GraphBuilder
from any2onnx.graph.convolutions import window_sums
from any2onnx.graph.types import FLOATS, DataType, Value, dtype_of, rank_of


def _spatial(call: TorchCall) -> int:
    """Return the number of spatial dims, from the operator's name."""
    return next(n for n in (1, 2, 3) if f"{n}d" in call.key)


def _settings(call: TorchCall, n: int) -> tuple[list[int], list[int], list[int], list[int]]:
    """Return kernel, strides, padding and the further padding at the end that rounding up asks for."""
    p = call.params
    kernel = repeated(p["kernel_size"], n)
    stride = repeated(p["stride"], n) if p.get("stride") not in (None, []) else kernel
    padding = repeated(p["padding"], n)
    dilation = repeated(p.get("dilation", 1), n)
    extra = [0] * n
    if p.get("ceil_mode"):
        sizes = call.dims_of("self")[-n:]
        results = call.dims[-n:]
        for k in range(n):
            if not (isinstance(sizes[k], int) and isinstance(results[k], int)):
                raise refuse(call, "ceil_mode", "the size of the image is dynamic")
            reached = (results[k] - 1) * stride[k] + dilation[k] * (kernel[k] - 1) + 1
            extra[k] = max(reached - sizes[k] - 2 * padding[k], 0)
    return kernel, stride, padding, extra


def _with_batch(g: GraphBuilder, x: Value, n: int) -> tuple[Value, int]:
    """Return the input with batch and channel dims, and how many were added."""
    missing = n + 2 - rank_of(x)
    return (g.Unsqueeze(x, list(range(missing))), missing) if missing else (x, 0)


def _without(g: GraphBuilder, x: Value, added: int) -> Value:
    return g.Squeeze(x, list(range(added))) if added else x


def max_pool(g: GraphBuilder, call: TorchCall) -> Value:
    """Largest element of every window."""
    return _max_pool(g, call, indices=False)[0]


def max_pool_with_indices(g: GraphBuilder, call: TorchCall) -> tuple[Value, Value]:
    """Largest element of every window, and its position in the image."""
    value, index = _max_pool(g, call, indices=True)
    assert index is not None
    return value, index


def _max_pool(g: GraphBuilder, call: TorchCall, *, indices: bool) -> tuple[Value, Value | None]:
    n = _spatial(call)
    kernel, stride, padding, extra = _settings(call, n)
    x, added = _with_batch(g, call.params["self"], n)
    dtype = dtype_of(x)
    if dtype not in (DataType.FLOAT, DataType.DOUBLE, DataType.FLOAT16, DataType.BFLOAT16):
        x = g.Cast(x, DataType.DOUBLE)
    settings: dict[str, Any] = {
        "kernel_shape": kernel,
        "strides": stride,
        "pads": padding + [p + e for p, e in zip(padding, extra, strict=True)],
        "dilations": repeated(call.params["dilation"], n),
    }
    if not indices:
        return g.Cast(_without(g, g.MaxPool(x, **settings), added), dtype), None
    value, flat = g.ops("MaxPool", x, outputs=2, **settings)
    # ONNX counts through the whole tensor, torch through one image.
    area = g.ReduceProd(call.sizes.vector(g, call.dims_of("self")[-n:]), None, keepdims=False)
    return g.Cast(_without(g, value, added), dtype), _without(g, g.Mod(flat, area), added)


def avg_pool(g: GraphBuilder, call: TorchCall) -> Value:
    """Mean of every window; the divisor counts padding or not, or is given."""
    n = _spatial(call)
    p = call.params
    kernel, stride, padding, extra = _settings(call, n)
    x, added = _with_batch(g, p["self"], n)
    counts_padding = bool(p["count_include_pad"])
    divisor = p.get("divisor_override")
    pads = padding + [a + b for a, b in zip(padding, extra, strict=True)]
    if dtype_of(x) not in FLOATS:
        return _without(g, _whole_means(g, call, x, (kernel, stride, padding, pads)), added)
    plain = divisor is None and (not any(extra) or not counts_padding)
    if plain:
        y = g.AveragePool(x, kernel_shape=kernel, strides=stride, pads=pads, count_include_pad=int(counts_padding))
        return _without(g, y, added)
    # The sum of every window, over torch's own divisor.
    total = g.AveragePool(
        g.Pad(x, [0, 0, *pads[:n], 0, 0, *pads[n:]]), kernel_shape=kernel, strides=stride, pads=[0] * (2 * n)
    )
    area = math.prod(kernel)
    if divisor is not None:
        return _without(g, g.Mul(total, scalar(g, area / divisor, dtype_of(x))), added)
    factor = np.ones((), np.float64)
    sizes, results = call.dims_of("self")[-n:], call.dims[-n:]
    for k in range(n):
        starts = np.arange(int(results[k])) * stride[k] - padding[k]
        # torch's window ends with the padding, not with what rounding up adds.
        ends = np.minimum(starts + kernel[k], int(sizes[k]) + padding[k])
        factor = factor[..., None] * (kernel[k] / (ends - starts))
    return _without(g, g.Mul(total, g.const(factor.astype(dtype_of(x).numpy()))), added)


# --- adaptive -------------------------------------------------------------------------------------------------------


def _windows(size: int, count: int) -> list[tuple[int, int]]:
    """Return start and end of torch's adaptive windows along one dim."""
    return [(k * size // count, -(-(k + 1) * size // count)) for k in range(count)]


def adaptive_avg_pool(g: GraphBuilder, call: TorchCall) -> Value:
    """Mean of windows that cover the image evenly."""
    n = _spatial(call)
    x: Value = call.params["self"]
    sizes, results = call.dims_of("self")[-n:], call.dims[-n:]
    rank = rank_of(x)
    if all(r == 1 for r in results):
        return g.ReduceMean(x, list(range(rank - n, rank)))
    if all(isinstance(s, int) and isinstance(r, int) and r and s % r == 0 for s, r in zip(sizes, results, strict=True)):
        kernel = [s // r for s, r in zip(sizes, results, strict=True)]
        wide, added = _with_batch(g, x, n)
        return _without(g, g.AveragePool(wide, kernel_shape=kernel, strides=kernel), added)
    for k in range(n):
        x = _averaged(g, call, x, rank - n + k, sizes[k], results[k])
    return x


def _averaged(g: GraphBuilder, call: TorchCall, x: Value, axis: int, size: Any, count: Any) -> Value:
    """Average along one axis by a matrix of weights."""
    if size == count:
        return x
    if not (isinstance(size, int) and isinstance(count, int)):
        matrix = _window_weights(g, call.sizes.scalar(g, size), call.sizes.scalar(g, count), dtype_of(x))
    else:
        weights = np.zeros((size, count), np.float64)
        for k, (start, end) in enumerate(_windows(size, count)):
            weights[start:end, k] = 1 / (end - start)
        matrix = g.const(weights.astype(dtype_of(x).numpy()), name="windows")
    last = rank_of(x) - 1
    if axis == last:
        return g.MatMul(x, matrix)
    order = [k for k in range(last + 1) if k != axis] + [axis]
    back = [order.index(k) for k in range(last + 1)]
    return g.Transpose(g.MatMul(g.Transpose(x, perm=order), matrix), perm=back)


def _window_weights(g: GraphBuilder, size: Value, count: Value, dtype: DataType) -> Value:
    """Return the weight of every position in every window, [size, count], for sizes known only when the model runs."""
    zero, one = scalar(g, 0, DataType.INT64), scalar(g, 1, DataType.INT64)
    windows, positions = g.Range(zero, count, one), g.Unsqueeze(g.Range(zero, size, one), 1)
    starts = g.Div(g.Mul(windows, size), count)
    ends = g.Div(g.Sub(g.Add(g.Mul(g.Add(windows, one), size), count), one), count)
    inside = g.And(g.GreaterOrEqual(positions, starts), g.Less(positions, ends))
    return g.Div(g.Cast(inside, dtype), g.Cast(g.Sub(ends, starts), dtype))


def adaptive_max_pool(g: GraphBuilder, call: TorchCall) -> tuple[Value, Value]:
    """Largest element of windows that cover the image evenly, and its position in the image."""
    n = _spatial(call)
    x: Value = call.params["self"]
    rank = rank_of(x)
    sizes, results = call.dims_of("self")[-n:], call.dims[-n:]
    if not all(isinstance(s, int) for s in (*sizes, *results)):
        raise refuse(call, "output_size", "the image is dynamic, and its size may not divide evenly")
    # For every output cell the flat positions of its window, short ones filled with their first position.
    grids = [_positions(int(s), int(r)) for s, r in zip(sizes, results, strict=True)]
    flat = np.zeros((1, 1), np.int64)
    for size, grid in zip(sizes, grids, strict=True):
        cells, width = flat.shape
        flat = (flat[:, None, :, None] * int(size) + grid[None, :, None, :]).reshape(
            cells * grid.shape[0], width * grid.shape[1]
        )
    table = g.const(flat, name="windows")
    lead = g.Shape(x, end=rank - n)
    pixels = g.Reshape(x, g.op("Concat", lead, g.const(np.asarray([-1], np.int64)), axis=0))
    windows = g.Gather(pixels, table, axis=rank - n)
    best = g.op("ArgMax", windows, axis=-1, keepdims=1)
    value = g.op("GatherElements", windows, best, axis=-1)
    where = g.op("GatherElements", g.Expand(table, g.Shape(windows)), best, axis=-1)
    shape = call.shape(g)
    return g.Reshape(value, shape), g.Reshape(where, shape)


def _positions(size: int, count: int) -> Any:
    windows = _windows(size, count)
    width = max((end - start for start, end in windows), default=1)
    return np.asarray([[start + (j if start + j < end else 0) for j in range(width)] for start, end in windows])


def _whole_means(g: GraphBuilder, call: TorchCall, x: Value, settings: tuple[list[int], ...]) -> Value:
    """Means of integers, cut towards zero: the exact sum of every window over its divisor."""
    kernel, stride, padding, pads = settings
    n, p = len(kernel), call.params
    padded = g.Pad(x, [0, 0, *pads[:n], 0, 0, *pads[n:]])
    total = g.Cast(window_sums(g, padded, kernel, stride), dtype_of(x))
    if p.get("divisor_override") is not None:
        return g.Div(total, scalar(g, int(p["divisor_override"]), dtype_of(x)))
    divisor: Any = np.ones((), np.int64)
    for k in range(n):
        size, result = call.dims_of("self")[-n:][k], call.dims[-n:][k]
        if not isinstance(size, int) or not isinstance(result, int):
            raise refuse(call, "self", "the size of an image of integers is dynamic")
        starts = np.arange(result) * stride[k] - padding[k]
        ends = np.minimum(starts + kernel[k], size + padding[k])
        if not p["count_include_pad"]:
            starts, ends = np.maximum(starts, 0), np.minimum(ends, size)
        divisor = divisor[..., None] * (ends - starts)
    return g.Div(total, g.const(divisor.astype(dtype_of(x).numpy())))


def fractional_max_pool(g: GraphBuilder, call: TorchCall) -> tuple[Value, Value]:
    """Largest element of windows whose starts a random sequence spreads (B. Graham, 2014), and its position."""
    n = _spatial(call)
    kernel, sizes = repeated(call.params["kernel_size"], n), [int(s) for s in call.params["output_size"]]
    x, added = _with_batch(g, call.params["self"], n)
    image = call.dims_of("self")[-n:]
    if not all(isinstance(s, int) for s in image):
        raise refuse(call, "self", "the size of the image is dynamic")
    dtype = dtype_of(x)
    samples = call.params["random_samples"]
    flat: Value | None = None
    for k in range(n):
        # torch keeps the samples from the last dim to the first.
        which = n - 1 - k if n == 2 else k
        sample = g.Gather(samples, scalar(g, which, DataType.INT64), axis=2)
        starts = _spread_starts(g, sample, int(image[k]), sizes[k], kernel[k], dtype_of(samples))
        window = g.Add(g.Unsqueeze(starts, 3), g.const(np.arange(kernel[k])))
        # Positions [N, C, …sizes of the dims so far, …places in their windows].
        lead, tail = list(range(2, 2 + k)), list(range(3 + k, 3 + 2 * k))
        window = g.Unsqueeze(window, [*lead, *tail]) if k else window
        if flat is not None:
            wide = g.Unsqueeze(g.Mul(flat, scalar(g, int(image[k]), DataType.INT64)), [2 + k, 3 + 2 * k])
            flat = g.Add(wide, window)
        else:
            flat = window
    assert flat is not None
    pixels = g.Reshape(x, [0, 0, math.prod(int(s) for s in image)])
    table = g.Reshape(flat, [0, 0, math.prod(sizes), math.prod(kernel)])
    rows = g.Reshape(table, [0, 0, math.prod(sizes) * math.prod(kernel)])
    windows = g.Reshape(g.op("GatherElements", pixels, rows, axis=2), g.Shape(table))
    largest = g.Where(g.IsNaN(windows), scalar(g, math.inf, dtype), windows)
    best = g.op("ArgMax", largest, axis=3, keepdims=1)
    shape = [0, 0, *sizes]
    value = g.Reshape(g.op("GatherElements", windows, best, axis=3), shape)
    where = g.Reshape(g.op("GatherElements", table, best, axis=3), shape)
    return _without(g, value, added), _without(g, where, added)


def _spread_starts(g: GraphBuilder, sample: Value, size: int, count: int, kernel: int, dtype: DataType) -> Value:
    """Return the start of each window of one dim, [N, C, count]."""
    if count == 1:
        last = g.const(np.asarray([size - kernel], np.int64))
        return g.Expand(last, g.op("Concat", g.Shape(sample), g.const(np.ones(1, np.int64)), axis=0))
    step = scalar(g, (size - kernel) / (count - 1), dtype)
    sample = g.Unsqueeze(sample, 2)
    line = g.const(np.arange(count - 1).astype(dtype.numpy()))
    moved = g.Floor(g.Mul(g.Add(sample, line), step))
    first = g.Cast(g.Sub(moved, g.Floor(g.Mul(sample, step))), DataType.INT64)
    last = g.Expand(
        g.const(np.asarray([[[size - kernel]]], np.int64)),
        g.op("Concat", g.Shape(first, end=2), g.const(np.ones(1, np.int64)), axis=0),
    )
    return g.op("Concat", first, last, axis=2)
