"""Discrete Fourier transforms: the three primitives that all of torch.fft, stft and istft consist of.

A transform of a short dim is a product with a constant matrix, which is as fast and more exact than ONNX's DFT; a long
one is DFT (opset 17), and below that opset, or where the length is dynamic, a matrix that the graph computes.
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np

from any2onnx.converters.pytorch.call import TorchCall, scalar
from any2onnx.converters.pytorch.complex_pairs import Complex, apply_parts, as_pair, part_dtype, zeros_like
from any2onnx.converters.pytorch.shapes import LARGEST, sliced, transposed
from any2onnx.graph.builder import GraphBuilder
from any2onnx.graph.types import DataType, Value, dtype_of, rank_of, shape_of

DOUBLE, INT64 = DataType.DOUBLE, DataType.INT64
# Up to this length the matrix is a constant of the model.
_LONGEST_MATRIX: Final = 512


def c2c(g: GraphBuilder, call: TorchCall) -> Complex:
    """Complex to complex, over several dims."""
    z = as_pair(g, call.params["self"], part_dtype(call))
    dims = [d % z.rank for d in call.params["dim"]]
    for axis in dims:
        z = transform(g, z, axis, forward=bool(call.params["forward"]))
    return _normalised(g, call, z, [call.dims_of("self")[d] for d in dims])


def r2c(g: GraphBuilder, call: TorchCall) -> Complex:
    """Real to complex: one half of the last dim's spectrum, or all of it."""
    x = g.Cast(call.params["self"], part_dtype(call))
    dims = [d % rank_of(x) for d in call.params["dim"]]
    last = dims[-1]
    z = transform(g, Complex(x, zeros_like(g, x)), last, forward=True, real=True)
    if call.params["onesided"]:
        half = call.sizes.scalar(g, call.dims[last])
        z = apply_parts(z, lambda v: sliced(g, v, last, 0, half))
    for axis in dims[:-1]:
        z = transform(g, z, axis, forward=True)
    return _normalised(g, call, z, [call.dims_of("self")[d] for d in dims])


def c2r(g: GraphBuilder, call: TorchCall) -> Value:
    """Complex to real: the last dim is one half of a spectrum whose other half is its conjugate."""
    z: Complex = as_pair(g, call.params["self"], call.dtype)
    dims = [d % z.rank for d in call.params["dim"]]
    for axis in dims[:-1]:
        z = transform(g, z, axis, forward=False)
    last = dims[-1]
    size = call.params["last_dim_size"]
    length = call.sizes.scalar(g, call.dims[last])
    half = g.Add(g.Div(length, scalar(g, 2, INT64)), scalar(g, 1, INT64))
    kept = apply_parts(z, lambda v: sliced(g, v, last, 0, half))
    # Elements 1 … (n - 1) // 2 come again, conjugate, from the end.
    first_again = g.Div(g.Add(length, scalar(g, 1, INT64)), scalar(g, 2, INT64))
    mirrored = apply_parts(kept, lambda v: _flipped(g, sliced(g, v, last, 1, first_again), last))
    whole = Complex(
        g.op("Concat", kept.re, mirrored.re, axis=last), g.op("Concat", kept.im, g.Neg(mirrored.im), axis=last)
    )
    if isinstance(size, int):
        dims_now = list(shape_of(whole.re))
        dims_now[last] = size
        whole = apply_parts(whole, lambda v: g.annotate(v, dims_now))
    result = transform(g, whole, last, forward=False, only_real=True)
    sizes = [call.dims_of("self")[d] for d in dims[:-1]] + [call.dims[last]]
    return _normalised(g, call, Complex(result.re, result.re), sizes).re


def _flipped(g: GraphBuilder, x: Value, axis: int) -> Value:
    return g.Slice(x, [-1], [-LARGEST], [axis], [-1])


def _normalised(g: GraphBuilder, call: TorchCall, z: Complex, sizes: list[Any]) -> Complex:
    """Divide by the number of elements (2), or its square root (1)."""
    mode = int(call.params["normalization"])
    if mode == 0:
        return z
    if all(isinstance(s, int) for s in sizes):
        count = math.prod(sizes)
        factor = scalar(g, 1 / (math.sqrt(count) if mode == 1 else count) if count else 1.0, z.dtype)
    else:
        total = g.Cast(g.ReduceProd(call.sizes.vector(g, sizes), None, keepdims=False), DOUBLE)
        factor = g.Cast(g.Reciprocal(g.Sqrt(total) if mode == 1 else total), z.dtype)
    return apply_parts(z, lambda v: g.Mul(v, factor))


def transform(
    g: GraphBuilder, z: Complex, axis: int, *, forward: bool, real: bool = False, only_real: bool = False
) -> Complex:
    """Return the transform along one axis, not divided by anything.

    Args:
        g: The builder.
        z: What to transform.
        axis: From 0 on.
        forward: exp(-i …), else exp(+i …).
        real: The imaginary part is zero.
        only_real: Only the real part of the result is wanted (the imaginary part repeats it).
    """
    size = shape_of(z.re)[axis]
    if (not isinstance(size, int) or size > _LONGEST_MATRIX) and g.opsets.main >= 17:
        return _by_operator(g, z, axis, forward=forward)
    if isinstance(size, int):
        cosine, sine = _matrices(size, dtype_of(z.re).numpy())
        c, s = g.const(cosine, name="cosine"), g.const(sine, name="sine")
    else:
        c, s = _computed_matrices(g, g.Squeeze(g.dim(z.re, axis), 0), z.dtype)
    s = g.Neg(s) if forward else s
    order = [*(k for k in range(z.rank) if k != axis), axis]
    back = [order.index(k) for k in range(z.rank)]
    rows = apply_parts(z, lambda v: g.Unsqueeze(transposed(g, v, order), z.rank - 1))

    def multiplied(v: Value, matrix: Value) -> Value:
        return transposed(g, g.Squeeze(g.MatMul(v, matrix), z.rank - 1), back)

    if real:
        return Complex(multiplied(rows.re, c), multiplied(rows.re, s))
    re = g.Sub(multiplied(rows.re, c), multiplied(rows.im, s))
    return Complex(re, re if only_real else g.Add(multiplied(rows.re, s), multiplied(rows.im, c)))


def _matrices(size: int, dtype: Any) -> tuple[Any, Any]:
    # The product of the positions modulo the size: exact angles.
    k = np.arange(size, dtype=np.int64)
    angles = (np.outer(k, k) % max(size, 1)) * (2 * np.pi / max(size, 1))
    return np.cos(angles).astype(dtype), np.sin(angles).astype(dtype)


def _computed_matrices(g: GraphBuilder, size: Value, dtype: DataType) -> tuple[Value, Value]:
    k = g.Range(scalar(g, 0, INT64), size, scalar(g, 1, INT64))
    product = g.Mod(g.Mul(g.Unsqueeze(k, 1), g.Unsqueeze(k, 0)), size)
    angles = g.Div(g.Mul(g.Cast(product, DOUBLE), scalar(g, 2 * math.pi, DOUBLE)), g.Cast(size, DOUBLE))
    return g.Cast(g.Cos(angles), dtype), g.Cast(g.Sin(angles), dtype)


def _by_operator(g: GraphBuilder, z: Complex, axis: int, *, forward: bool) -> Complex:
    """ONNX's DFT, on pairs in a last dim; its inverse divides by the length, which is undone."""
    # Computed in float64: float32 loses digits in transforms whose length is no power of two.
    dtype = z.dtype
    pair = g.op("Concat", *(g.Unsqueeze(g.Cast(v, DOUBLE), -1) for v in (z.re, z.im)), axis=-1)
    if g.opsets.main >= 20:
        result = g.op("DFT", pair, None, g.const(np.asarray(axis, np.int64)), inverse=int(not forward))
    else:
        result = g.op("DFT", pair, axis=axis, inverse=int(not forward))
    g.annotate(result, shape_of(pair))
    parts = [g.Gather(result, scalar(g, k, INT64), axis=-1) for k in (0, 1)]
    if not forward:
        count = g.Cast(g.Squeeze(g.dim(z.re, axis), 0), DOUBLE)
        parts = [g.Mul(v, count) for v in parts]
    return Complex(*(g.Cast(v, dtype) for v in parts))
