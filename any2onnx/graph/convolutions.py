"""Convolutions as products of matrices, for element types in which onnxruntime has no Conv (float64, integers).

The same numbers are multiplied and added, so the result is exact to the type's own rounding.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from any2onnx.errors import UnsupportedOperator
from any2onnx.graph.types import Value, rank_of, shape_of

if TYPE_CHECKING:
    from any2onnx.graph.builder import GraphBuilder


def conv(
    g: GraphBuilder,
    x: Value,
    weight: Value,
    bias: Value | None = None,
    *,
    kernel_shape: Sequence[int] | None = None,
    strides: Sequence[int] | None = None,
    pads: Sequence[int] | None = None,
    dilations: Sequence[int] | None = None,
    group: int = 1,
    auto_pad: str = "NOTSET",
) -> Value:
    """ONNX Conv by gathering every window and one product of matrices for each group.

    Raises:
        UnsupportedOperator: `auto_pad` is set, or the shape of the kernel is not known.
    """
    n = rank_of(x) - 2
    kernel = _kernel(weight, kernel_shape)
    if auto_pad not in ("NOTSET", "VALID"):
        raise UnsupportedOperator(f"Conv with auto_pad={auto_pad} in this element type", needs="explicit pads")
    pads = list(pads or [0] * (2 * n))
    if any(pads):
        x = g.Pad(x, [0, 0, *pads[:n], 0, 0, *pads[n:]])
    strides, dilations = list(strides or [1] * n), list(dilations or [1] * n)
    sizes = [g.dim(x, 2 + k) for k in range(n)]
    counts: list[Value] = []
    for k in range(n):
        index, count = _windows(g, sizes[k], kernel[k], strides[k], dilations[k])
        x = g.Gather(x, index, axis=2 + 2 * k)
        counts.append(count)
    # [N, C, o1, k1, o2, k2, …] → [N, o1, o2, …, C, k1, k2, …]
    x = g.Transpose(x, perm=[0, *range(2, 2 + 2 * n, 2), 1, *range(3, 3 + 2 * n, 2)])
    outputs = shape_of(weight)[0]
    inner = shape_of(weight)[1]
    if not isinstance(outputs, int) or not isinstance(inner, int):
        raise UnsupportedOperator("Conv in this element type with a weight of unknown shape")
    places = g.op("Concat", g.Shape(x, end=1), *counts, axis=0)
    area = int(np.prod(kernel)) * inner
    rows = g.Reshape(x, g.op("Concat", places, g.const(np.asarray([group, area], np.int64)), axis=0), allowzero=False)
    matrix = g.Transpose(g.Reshape(weight, [group, outputs // group, area]), perm=[0, 2, 1])
    # [N, o…, G, 1, area] · [G, area, M/G]
    product = g.MatMul(g.Unsqueeze(rows, 2 + n), matrix)
    shape = g.op("Concat", places, g.const(np.asarray([outputs], np.int64)), axis=0)
    y = g.Transpose(g.Reshape(product, shape), perm=[0, 1 + n, *range(1, 1 + n)])
    return y if bias is None else g.Add(y, g.Unsqueeze(bias, list(range(1, n + 1))))


def _kernel(weight: Value, given: Sequence[int] | None) -> list[int]:
    sizes = list(given) if given else list(shape_of(weight)[2:])
    known = [s for s in sizes if isinstance(s, int)]
    if len(known) < len(sizes):
        raise UnsupportedOperator("Conv in this element type with a kernel of unknown shape")
    return known


def _windows(g: GraphBuilder, size: Value, kernel: int, stride: int, dilation: int) -> tuple[Value, Value]:
    """Return the positions that each window reads, [windows, kernel], and the number of windows, [1]."""
    reach = dilation * (kernel - 1) + 1
    if size.const_value is not None:
        count = max((int(size.const_value.numpy()[0]) - reach) // stride + 1, 0)
        index = np.arange(count)[:, None] * stride + np.arange(kernel) * dilation
        return g.const(index.astype(np.int64), name="windows"), g.const(np.asarray([count], np.int64))
    whole = g.Add(g.Div(g.Sub(size, g.const(np.asarray([reach], np.int64))), stride), 1)
    zero, one = (g.const(np.asarray(v, np.int64)) for v in (0, 1))
    starts = g.Mul(g.Range(zero, g.Squeeze(whole, 0), one), stride)
    return g.Add(g.Unsqueeze(starts, 1), g.const((np.arange(kernel) * dilation).astype(np.int64))), whole


def conv_transpose(
    g: GraphBuilder,
    x: Value,
    weight: Value,
    bias: Value | None = None,
    *,
    kernel_shape: Sequence[int] | None = None,
    strides: Sequence[int] | None = None,
    pads: Sequence[int] | None = None,
    dilations: Sequence[int] | None = None,
    output_padding: Sequence[int] | None = None,
    output_shape: Sequence[int] | None = None,
    group: int = 1,
    auto_pad: str = "NOTSET",
) -> Value:
    """ONNX ConvTranspose: zeros between the elements, then the convolution with the kernel turned round.

    Raises:
        UnsupportedOperator: `auto_pad` or `output_shape` is set, or the shape of the weight is not known.
    """
    n = rank_of(x) - 2
    kernel = _kernel(weight, kernel_shape)
    if auto_pad not in ("NOTSET", "VALID") or output_shape:
        raise UnsupportedOperator("ConvTranspose with auto_pad or output_shape in this element type")
    strides, dilations = list(strides or [1] * n), list(dilations or [1] * n)
    pads, extra = list(pads or [0] * (2 * n)), list(output_padding or [0] * n)
    for k, stride in enumerate(strides):
        x = _spread(g, x, 2 + k, stride)
    reach = [d * (s - 1) for d, s in zip(dilations, kernel, strict=True)]
    edges = [reach[k] - pads[k] for k in range(n)] + [reach[k] - pads[n + k] + extra[k] for k in range(n)]
    x = g.Pad(x, [0, 0, *edges[:n], 0, 0, *edges[n:]])
    channels, outputs = shape_of(weight)[:2]
    if not isinstance(channels, int) or not isinstance(outputs, int):
        raise UnsupportedOperator("ConvTranspose in this element type with a weight of unknown shape")
    grouped = g.Reshape(weight, [group, channels // group, outputs, *kernel])
    grouped = g.Transpose(grouped, perm=[0, 2, 1, *range(3, 3 + n)])
    turned = g.Reshape(grouped, [group * outputs, channels // group, *kernel])
    lowest = [np.iinfo(np.int64).min + 1] * n
    turned = g.Slice(turned, [-1] * n, lowest, list(range(2, 2 + n)), [-1] * n)
    return conv(g, x, turned, bias, kernel_shape=kernel, dilations=dilations, group=group)


def _spread(g: GraphBuilder, x: Value, axis: int, stride: int) -> Value:
    """Return x with stride - 1 zeros between neighbours along an axis."""
    if stride == 1:
        return x
    rank = rank_of(x)
    wide = g.Unsqueeze(x, axis + 1)
    pads = [0] * (2 * (rank + 1))
    pads[rank + 1 + axis + 1] = stride - 1
    padded = g.Pad(wide, pads)
    length = g.Mul(g.dim(x, axis), stride)
    parts = [p for p in (g.Shape(x, end=axis), length, g.Shape(x, start=axis + 1)) if shape_of(p) != (0,)]
    flat = g.Reshape(padded, g.op("Concat", *parts, axis=0))
    # The last element has no zeros behind it.
    end = g.Sub(length, g.const(np.asarray([stride - 1], np.int64)))
    return g.Slice(flat, [0], end, [axis])


def window_sums(
    g: GraphBuilder, x: Value, kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int] | None = None
) -> Value:
    """Return the sum of every window of [N, C, …], one dim after the other; in any element type."""
    for k, size in enumerate(kernel):
        axis = 2 + k
        index, _ = _windows(g, g.dim(x, axis), size, strides[k], dilations[k] if dilations else 1)
        x = g.ReduceSum(g.Gather(x, index, axis=axis), axis + 1, keepdims=False)
    return x


def average_pool(
    g: GraphBuilder,
    x: Value,
    *,
    kernel_shape: Sequence[int],
    strides: Sequence[int] | None = None,
    pads: Sequence[int] | None = None,
    dilations: Sequence[int] | None = None,
    count_include_pad: int = 0,
    ceil_mode: int = 0,
    auto_pad: str = "NOTSET",
) -> Value:
    """ONNX AveragePool by the sums of the windows.

    Raises:
        UnsupportedOperator: `auto_pad` or `ceil_mode` is set.
    """
    n = rank_of(x) - 2
    if auto_pad not in ("NOTSET", "VALID") or ceil_mode:
        raise UnsupportedOperator("AveragePool with auto_pad or ceil_mode in this element type")
    pads, strides = list(pads or [0] * (2 * n)), list(strides or [1] * n)
    padded = g.Pad(x, [0, 0, *pads[:n], 0, 0, *pads[n:]]) if any(pads) else x
    total = window_sums(g, padded, kernel_shape, strides, dilations)
    if count_include_pad or not any(pads):
        return g.Div(total, g.scalar_like(float(np.prod(kernel_shape)), x))
    for k in range(n):
        ones = g.Pad(g.Expand(g.scalar_like(1.0, x), g.dim(x, 2 + k)), [pads[k], pads[n + k]])
        line = g.Unsqueeze(ones, [0, 1])
        count = window_sums(g, line, [kernel_shape[k]], [strides[k]], [dilations[k]] if dilations else None)
        later = n - 1 - k
        total = g.Div(total, g.Unsqueeze(count, list(range(3, 3 + later))) if later else count)
    return total
