"""`keras.src.backend.math`: segments, top-k, special functions, Fourier transforms."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from any2onnx.converters.keras.backend_common import Context, backend_function, keras_backend
from any2onnx.converters.keras.backend_reductions import reduce
from any2onnx.errors import OpsetNotSupported
from any2onnx.graph.special_functions import erf_double
from any2onnx.graph.types import DataType, Value, dtype_of, rank_of, shape_of


def _empty_segment(reduction: str, dtype: DataType) -> float:
    """Return the result of a segment without elements."""
    if reduction in ("add", "mul"):
        return 0.0 if reduction == "add" else 1.0
    floating = dtype.is_floating_point()
    if floating and keras_backend() != "tensorflow":
        return -math.inf if reduction == "max" else math.inf
    limits: Any = np.finfo(dtype.numpy()) if floating else np.iinfo(dtype.numpy())
    return float(limits.min if reduction == "max" else limits.max)


def _segments(reduction: str) -> Callable[..., Any]:
    @backend_function
    def convert(c: Context, data: Any, segment_ids: Any, num_segments: Any, sorted: Any) -> Value:  # noqa: A002 - Keras's name
        g = c.g
        value, ids = c.t(data), c.t(segment_ids, DataType.INT64)
        dtype = dtype_of(value)
        if num_segments is None:
            count: Value = g.Add(g.Reshape(g.ReduceMax(ids, keepdims=False), [1]), np.asarray([1], np.int64))
        else:
            size = c.size(num_segments)
            count = g.const(np.asarray([size], np.int64)) if isinstance(size, int) else size
        # Ids outside go to one more segment, which is cut off.
        outside = g.Or(g.Less(ids, np.asarray(0, np.int64)), g.GreaterOrEqual(ids, g.Reshape(count, [])))
        ids = g.Where(outside, g.Reshape(count, []), ids)
        start = _empty_segment(reduction, dtype)
        rest = c.sizes_of(value)[1:]
        rows = g.Add(count, np.asarray([1], np.int64))
        target = c.expand(g.const(np.asarray(start, dtype.numpy())), g.shape_vector([rows, *rest]))
        result = g.ScatterND(target, g.Unsqueeze(ids, [1]), value, reduction=reduction)
        return g.Slice(result, [0], [-1], [0])

    return convert


segment_sum = _segments("add")
segment_prod = _segments("mul")
segment_max = _segments("max")
segment_min = _segments("min")


@backend_function
def top_k(c: Context, x: Any, k: Any, sorted: Any) -> list[Value]:  # noqa: A002 - Keras's name
    """The k largest of the last dim, and their positions."""
    values, positions = c.g.TopK(c.t(x), c.vector(k))
    return [values, positions]


@backend_function
def in_top_k(c: Context, targets: Any, predictions: Any, k: Any) -> Value:
    """Whether the prediction for the target is among the k largest."""
    g = c.g
    scores = c.t(predictions)
    values, _ = g.TopK(scores, c.vector(k))
    own = g.GatherElements(scores, g.Unsqueeze(c.t(targets, DataType.INT64), [1]), axis=1)
    lowest = g.ReduceMin(values, [1], keepdims=True)
    return g.Squeeze(g.GreaterOrEqual(own, lowest), [1])


@backend_function
def logsumexp(c: Context, x: Any, axis: Any, keepdims: Any) -> Value:
    """log(sum(exp(x))), without overflow."""
    g = c.g
    value = c.as_float(x)
    high = reduce(c, "Max", value, axis, True)
    # Infinite maxima would give inf - inf.
    base = g.Where(g.IsInf(high), c.number(0, high), high)
    total = g.Add(g.Log(reduce(c, "Sum", g.Exp(g.Sub(value, base)), axis, True)), base)
    axes = c.axes(axis, rank_of(value))
    return total if keepdims or not axes else g.Squeeze(total, axes)


@backend_function
def cdist(c: Context, x: Any, y: Any) -> Value:
    """Euclidean distances of all pairs of rows."""
    g = c.g
    a, b = c.promoted(x, y)
    gap = g.Sub(g.Unsqueeze(a, [rank_of(a) - 1]), g.Unsqueeze(b, [rank_of(b) - 2]))
    return g.Sqrt(g.ReduceSum(g.Mul(gap, gap), [rank_of(a)], keepdims=False))


@backend_function
def rsqrt(c: Context, x: Any) -> Value:
    """1 / sqrt(x)."""
    return c.g.Reciprocal(c.g.Sqrt(c.as_float(x)))


@backend_function
def erf(c: Context, x: Any) -> Value:
    """Error function."""
    return c.g.Erf(c.as_float(x))


@backend_function
def erfc(c: Context, x: Any) -> Value:
    """1 - erf(x), in float64."""
    value = c.g.Cast(c.as_float(x), DataType.DOUBLE)
    return c.g.Sub(np.asarray(1.0), erf_double(c.g, value))


def inverse_error_function(c: Context, y: Value) -> Value:
    """Inverse of erf in float64: an approximation by logarithms, then three steps of Halley's method."""
    g = c.g

    def n(v: float) -> Any:
        return np.asarray(v)

    # Winitzki's formula, good to 2e-3 everywhere.
    inner = g.Clip(y, -1 + 1e-16, 1 - 1e-16)
    log = g.Log(g.Mul(g.Sub(n(1.0), inner), g.Add(n(1.0), inner)))
    half = g.Add(n(2 / (math.pi * 0.147)), g.Mul(log, n(0.5)))
    guess = g.Mul(g.Sign(inner), g.Sqrt(g.Sub(g.Sqrt(g.Sub(g.Mul(half, half), g.Mul(log, n(1 / 0.147)))), half)))
    for _ in range(3):
        error = g.Sub(erf_double(g, guess), inner)
        slope = g.Mul(g.Exp(g.Neg(g.Mul(guess, guess))), n(2 / math.sqrt(math.pi)))
        step = g.Div(error, slope)
        guess = g.Sub(guess, g.Div(step, g.Add(n(1.0), g.Mul(guess, step))))
    result = g.Where(g.Equal(y, n(1.0)), n(math.inf), g.Where(g.Equal(y, n(-1.0)), n(-math.inf), guess))
    return g.Where(g.Or(g.Greater(g.Abs(y), n(1.0)), g.IsNaN(y)), n(math.nan), result)


@backend_function
def erfinv(c: Context, x: Any) -> Value:
    """Inverse of erf."""
    return inverse_error_function(c, c.g.Cast(c.as_float(x), DataType.DOUBLE))


@backend_function
def extract_sequences(c: Context, x: Any, sequence_length: Any, sequence_stride: Any) -> Value:
    """Overlapping windows of the last dim."""
    return windows_of(c, c.t(x), int(sequence_length), int(sequence_stride))


def windows_of(c: Context, x: Value, length: int, stride: int) -> Value:
    """Return windows [..., number, length] of the last dim."""
    g = c.g
    axis = rank_of(x) - 1
    size = shape_of(x)[axis]
    if isinstance(size, int):
        number = (size - (length - stride)) // stride
        index = np.arange(number)[:, None] * stride + np.arange(length)
        return g.Gather(x, g.const(index.astype(np.int64)), axis=axis)
    count = g.Div(g.Sub(g.dim(x, axis), np.asarray([length - stride], np.int64)), np.asarray([stride], np.int64))
    starts = g.Mul(c.range(g.Reshape(count, [])), np.asarray(stride, np.int64))
    places = g.Add(g.Unsqueeze(starts, 1), np.arange(length, dtype=np.int64))
    return g.Gather(x, places, axis=axis)


# --- Fourier transforms ----------------------------------------------------------------------------------------------


def dft(c: Context, real: Value, imag: Value | None, axis: int, *, inverse: bool = False) -> tuple[Value, Value]:
    """Discrete Fourier transform along a dim, as real and imaginary parts."""
    g = c.g
    if g.opsets.main < 17:
        raise OpsetNotSupported("Fourier transforms need opset 17", needs="opset ≥ 17", remedy="target_opset=17")
    rank = rank_of(real)
    # DFT wants a batch dim in front and the parts of the complex numbers last.
    parts = [real] if imag is None else [real, imag]
    signal = g.Concat(*[g.Unsqueeze(p, [0, rank + 1]) for p in parts], axis=rank + 1)
    if g.opsets.main >= 20:
        result = g.DFT(signal, None, np.asarray(axis + 1, np.int64), inverse=int(inverse))
    else:
        result = g.DFT(signal, axis=axis + 1, inverse=int(inverse))
    first, second = g.Split(result, [1, 1], axis=rank + 1)
    return g.Squeeze(first, [0, rank + 1]), g.Squeeze(second, [0, rank + 1])


@backend_function
def fft(c: Context, x: Any) -> list[Value]:
    """Fourier transform of the last dim."""
    real, imag = (c.t(v) for v in x)
    return list(dft(c, real, imag, rank_of(real) - 1))


@backend_function
def fft2(c: Context, x: Any) -> list[Value]:
    """Fourier transform of the last two dims."""
    real, imag = (c.t(v) for v in x)
    rank = rank_of(real)
    return list(dft(c, *dft(c, real, imag, rank - 1), rank - 2))


@backend_function
def ifft2(c: Context, x: Any) -> list[Value]:
    """Inverse Fourier transform of the last two dims."""
    real, imag = (c.t(v) for v in x)
    rank = rank_of(real)
    return list(dft(c, *dft(c, real, imag, rank - 1, inverse=True), rank - 2, inverse=True))


def fitted(c: Context, x: Value, length: int | None) -> Value:
    """Cut or pad the last dim to a length."""
    if length is None:
        return x
    size = c.static_dim(x, rank_of(x) - 1, "for fft_length")
    axis = rank_of(x) - 1
    if size > length:
        return c.g.Slice(x, [0], [length], [axis])
    return c.g.Pad(x, [0, length - size], axes=[axis]) if size < length else x


def half_spectrum(c: Context, x: Value) -> tuple[Value, Value]:
    """Return the first half of the transform of real numbers in the last dim."""
    g = c.g
    axis = rank_of(x) - 1
    real, imag = dft(c, x, None, axis)
    size = c.sizes_of(x)[axis]
    if isinstance(size, int):
        end: Any = [size // 2 + 1]
    else:
        end = g.Add(g.Div(size, np.asarray([2], np.int64)), np.asarray([1], np.int64))
    return g.Slice(real, [0], end, [axis]), g.Slice(imag, [0], end, [axis])


@backend_function
def rfft(c: Context, x: Any, fft_length: Any) -> list[Value]:
    """Fourier transform of real numbers in the last dim."""
    return list(half_spectrum(c, fitted(c, c.t(x), fft_length)))


def from_half_spectrum(c: Context, real: Value, imag: Value, length: int) -> Value:
    """Return the real numbers (length many, last dim) that have this half spectrum."""
    size = length // 2 + 1
    real, imag = fitted(c, real, size), fitted(c, imag, size)
    # Two products with constant matrices: x[n] = Σ w_k (re_k cos - im_k sin) / length.
    weight = np.full(size, 2.0)
    weight[0] = 1.0
    if length % 2 == 0:
        weight[-1] = 1.0
    angles = 2 * np.pi * np.outer(np.arange(size), np.arange(length)) / length
    dtype = dtype_of(real).numpy()
    cosines = (np.cos(angles) * weight[:, None] / length).astype(dtype)
    sines = (np.sin(angles) * weight[:, None] / length).astype(dtype)
    return c.g.Sub(c.g.MatMul(real, c.g.const(cosines)), c.g.MatMul(imag, c.g.const(sines)))


@backend_function
def irfft(c: Context, x: Any, fft_length: Any) -> Value:
    """Inverse of `rfft`."""
    real, imag = (c.t(v) for v in x)
    length = 2 * (c.static_dim(real, rank_of(real) - 1, "for irfft") - 1) if fft_length is None else int(fft_length)
    return from_half_spectrum(c, real, imag, length)
