"""Pooling, fixed and adaptive."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True)
class Windows:
    """Windows of a pooling operator, for each spatial dim.

    Attributes:
        extra: Padding at the end, beyond `padding`, that rounding the number of windows up asks for; an int64 vector
            where it depends on dynamic sizes.
    """

    kernel: list[int]
    stride: list[int]
    padding: list[int]
    dilation: list[int]
    extra: list[int] | Value

    def ends(self) -> list[int] | None:
        """Return the whole padding at the end; None where it is not known yet."""
        if isinstance(self.extra, Value):
            return None
        return [p + e for p, e in zip(self.padding, self.extra, strict=True)]

    def padded(self, g: GraphBuilder, x: Value, number: float) -> Value:
        """Return images [N, C, …] with the padding around them."""
        ends, none = self.ends(), [0, 0]
        if ends is not None:
            return g.Pad(x, [*none, *self.padding, *none, *ends], scalar(g, number, dtype_of(x)))
        after = g.Add(self.extra, g.const(np.asarray(self.padding, np.int64)))
        before = g.const(np.asarray([*none, *self.padding, *none], np.int64))
        return g.Pad(x, g.op("Concat", before, after, axis=0), scalar(g, number, dtype_of(x)))


def _windows_of(g: GraphBuilder, call: TorchCall, n: int) -> Windows:
    p = call.params
    kernel = repeated(p["kernel_size"], n)
    stride = repeated(p["stride"], n) if p.get("stride") not in (None, []) else kernel
    padding = repeated(p["padding"], n)
    dilation = repeated(p.get("dilation", 1), n)
    extra: list[int] | Value = [0] * n
    if p.get("ceil_mode"):
        sizes, results = call.dims_of("self")[-n:], call.dims[-n:]
        span = [d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)]
        if all(isinstance(v, int) for v in (*sizes, *results)):
            reached = [(r - 1) * s + w for r, s, w in zip(results, stride, span, strict=True)]
            extra = [max(e - s - 2 * q, 0) for e, s, q in zip(reached, sizes, padding, strict=True)]
        else:
            steps, rest = np.asarray(stride, np.int64), np.asarray(span) - stride - 2 * np.asarray(padding)
            reach = g.Add(g.Mul(call.sizes.vector(g, results), g.const(steps)), g.const(rest.astype(np.int64)))
            extra = g.Max(g.Sub(reach, call.sizes.vector(g, sizes)), g.const(np.zeros(n, np.int64)))
    return Windows(kernel, stride, padding, dilation, extra)


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
    windows = _windows_of(g, call, n)
    x, added = _with_batch(g, call.params["self"], n)
    dtype = dtype_of(x)
    if dtype not in (DataType.FLOAT, DataType.DOUBLE, DataType.FLOAT16, DataType.BFLOAT16):
        x = g.Cast(x, DataType.DOUBLE)
    ends = windows.ends()
    # onnxruntime takes no padding as wide as the kernel; dilation and rounding up lead there.
    inside = ends is not None and all(e < k for e, k in zip(ends, windows.kernel, strict=True))
    if not inside:
        x = windows.padded(g, x, -math.inf)
    settings: dict[str, Any] = {
        "kernel_shape": windows.kernel,
        "strides": windows.stride,
        "pads": windows.padding + (ends or []) if inside else [0] * (2 * n),
        "dilations": windows.dilation,
    }
    if not indices:
        return g.Cast(_without(g, g.MaxPool(x, **settings), added), dtype), None
    value, flat = g.ops("MaxPool", x, outputs=2, **settings)
    # ONNX counts through the whole tensor, torch through one image.
    area = g.ReduceProd(g.Shape(x, start=2), None, keepdims=False)
    position = g.Mod(flat, area)
    if not inside:
        position = _without_padding(g, call, x, position, windows.padding)
    return g.Cast(_without(g, value, added), dtype), _without(g, position, added)


def _without_padding(g: GraphBuilder, call: TorchCall, x: Value, position: Value, padding: list[int]) -> Value:
    """Return positions in images for positions in padded ones."""
    n = len(padding)
    result: Value | None = None
    area = scalar(g, 1, DataType.INT64)
    for k in reversed(range(n)):
        wide, size = g.Squeeze(g.dim(x, 2 + k), 0), call.sizes.scalar(g, call.dims_of("self")[-n:][k])
        place = g.Sub(g.Mod(position, wide), scalar(g, padding[k], DataType.INT64))
        place = g.Mul(place, area)
        result = place if result is None else g.Add(result, place)
        position, area = g.Div(position, wide), g.Mul(area, size)
    assert result is not None
    return result


def avg_pool(g: GraphBuilder, call: TorchCall) -> Value:
    """Mean of every window; the divisor counts padding or not, or is given."""
    n = _spatial(call)
    p = call.params
    windows = _windows_of(g, call, n)
    x, added = _with_batch(g, p["self"], n)
    counts_padding = bool(p["count_include_pad"])
    divisor: Any = p.get("divisor_override")
    ends, whole = windows.ends(), dtype_of(x) not in FLOATS
    if ends is not None and not whole and divisor is None and (ends == windows.padding or not counts_padding):
        pads, kernel, stride = windows.padding + ends, windows.kernel, windows.stride
        y = g.AveragePool(x, kernel_shape=kernel, strides=stride, pads=pads, count_include_pad=int(counts_padding))
        return _without(g, y, added)
    # The sum of every window, over torch's own divisor.
    padded = windows.padded(g, x, 0)
    given = None if divisor is None else scalar(g, int(divisor), DataType.INT64)
    counts = _counts(g, call, windows, counts_padding) if given is None else given
    if whole:
        # Of integers the mean is cut towards zero.
        total = g.Cast(window_sums(g, padded, windows.kernel, windows.stride), dtype_of(x))
        return _without(g, g.Div(total, g.Cast(counts, dtype_of(x))), added)
    mean = g.AveragePool(padded, kernel_shape=windows.kernel, strides=windows.stride, pads=[0] * (2 * n))
    area = scalar(g, float(math.prod(windows.kernel)), DataType.DOUBLE)
    factor = g.Cast(g.Div(area, g.Cast(counts, DataType.DOUBLE)), dtype_of(x))
    return _without(g, g.Mul(mean, factor), added)


def _counts(g: GraphBuilder, call: TorchCall, windows: Windows, counts_padding: bool) -> Value:
    """Return the number of elements that torch counts in each window, int64 [1, 1, …sizes of the result]."""
    n, integer = len(windows.kernel), DataType.INT64
    total: Value | None = None
    for k in range(n):
        size, result = (call.sizes.scalar(g, dims[-n:][k]) for dims in (call.dims_of("self"), call.dims))
        line = g.Range(scalar(g, 0, integer), result, scalar(g, 1, integer))
        pad, zero = scalar(g, windows.padding[k], integer), scalar(g, 0, integer)
        starts = g.Sub(g.Mul(line, scalar(g, windows.stride[k], integer)), pad)
        # torch's window ends with the padding, not with what rounding up adds.
        ends = g.Min(g.Add(starts, scalar(g, windows.kernel[k], integer)), g.Add(size, pad))
        if not counts_padding:
            starts, ends = g.Max(starts, zero), g.Min(ends, size)
        count = g.Unsqueeze(g.Sub(ends, starts), [axis for axis in range(n + 2) if axis != k + 2])
        total = count if total is None else g.Mul(total, count)
    assert total is not None
    return total


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
    table = _window_table(g, call, sizes, results)
    lead = g.Shape(x, end=rank - n)
    pixels = g.Reshape(x, g.op("Concat", lead, g.const(np.asarray([-1], np.int64)), axis=0))
    windows = g.Gather(pixels, table, axis=rank - n)
    best = g.op("ArgMax", windows, axis=-1, keepdims=1)
    value = g.op("GatherElements", windows, best, axis=-1)
    where = g.op("GatherElements", g.Expand(table, g.Shape(windows)), best, axis=-1)
    shape = call.shape(g)
    return g.Reshape(value, shape), g.Reshape(where, shape)


def _window_table(g: GraphBuilder, call: TorchCall, sizes: Sequence[Any], results: Sequence[Any]) -> Value:
    """Return for every output cell the flat positions of its window; short ones are filled with their first."""
    integer = DataType.INT64
    one, zero, two = (scalar(g, v, integer) for v in (1, 0, 2))
    flat, cells = None, one
    for size, count in zip(sizes, results, strict=True):
        have, want = call.sizes.scalar(g, size), call.sizes.scalar(g, count)
        line = g.Range(zero, want, one)
        starts = g.Div(g.Mul(line, have), want)
        ends = g.Div(g.Sub(g.Add(g.Mul(g.Add(line, one), have), want), one), want)
        places = g.Range(zero, g.Add(g.Div(have, want), two), one)
        first = g.Unsqueeze(starts, 1)
        inside = g.Less(g.Add(first, places), g.Unsqueeze(ends, 1))
        grid = g.Add(first, g.Where(inside, places, zero))
        cells = g.Mul(cells, want)
        if flat is None:
            flat = grid
            continue
        moved = g.Add(g.Unsqueeze(g.Mul(flat, have), [1, 3]), g.Unsqueeze(grid, [0, 2]))
        rest = g.const(np.asarray([-1], np.int64))
        flat = g.Reshape(moved, g.op("Concat", g.Unsqueeze(cells, 0), rest, axis=0))
    assert flat is not None
    return flat


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
