"""Short-time Fourier transforms, correlations and sets of values."""

from __future__ import annotations

from typing import Any

import numpy as np

from any2onnx.converters.keras.backend_common import Context, backend_function, keras_backend
from any2onnx.converters.keras.backend_math import from_half_spectrum, half_spectrum, windows_of
from any2onnx.graph.types import DataType, Value, dtype_of, rank_of


def window_array(c: Context, window: Any, length: int, fft_length: int) -> np.ndarray[Any, Any]:
    """Return the window, with zeros on both sides up to fft_length, in float64."""
    if window is None:
        return np.ones(fft_length)
    if isinstance(window, str):
        turn = 2 * np.pi * np.arange(length) / length
        weight = {"hann": 0.5, "hamming": 0.54}[window]
        values = weight - (1 - weight) * np.cos(turn)
        # scipy's window of one sample is 1.
        values = np.ones(1) if length == 1 else values
    else:
        values = np.asarray(c.static(window, "window"), np.float64)
    left = (fft_length - length) // 2
    return np.pad(values, (left, fft_length - length - left))


@backend_function
def stft(
    c: Context, x: Any, sequence_length: Any, sequence_stride: Any, fft_length: Any, window: Any, center: Any
) -> list[Value]:
    """Fourier transforms of overlapping windows, as real and imaginary parts."""
    g = c.g
    value = c.t(x)
    size = int(fft_length)
    if center:
        half = size // 2
        rank = rank_of(value)
        pads = [0] * (rank - 1) + [half] + [0] * (rank - 1) + [half]
        value = g.Pad(value, pads, mode="reflect")
    shape = window_array(c, window, int(sequence_length), size).astype(dtype_of(value).numpy())
    frames = g.Mul(windows_of(c, value, size, int(sequence_stride)), g.const(shape))
    return list(half_spectrum(c, frames))


def overlapped(c: Context, frames: Value, stride: int) -> Value:
    """Add up frames [N, number, length] at a distance: [N, (number - 1) · stride + length]."""
    g = c.g
    length = c.static_dim(frames, 2, "of a frame")
    kernel = np.eye(length, dtype=dtype_of(frames).numpy())[:, None, :]
    columns = g.Transpose(frames, perm=[0, 2, 1])
    return g.Squeeze(g.ConvTranspose(columns, g.const(kernel), strides=[stride], kernel_shape=[length]), [1])


@backend_function
def istft(
    c: Context,
    x: Any,
    sequence_length: Any,
    sequence_stride: Any,
    fft_length: Any,
    length: Any,
    window: Any,
    center: Any,
) -> Value:
    """Inverse of `stft`: windows of the inverse transforms, added up, over the sum of the squared windows."""
    g = c.g
    real, imag = (c.t(v) for v in x)
    size, stride = int(fft_length), int(sequence_stride)
    rank = rank_of(real)
    kind = dtype_of(real).numpy()
    shape = window_array(c, window, int(sequence_length), size)
    frames = g.Mul(from_half_spectrum(c, real, imag, size), g.const(shape.astype(kind)))
    lead = c.sizes_of(frames)[: rank - 2]
    number = c.sizes_of(frames)[rank - 2]
    total = overlapped(c, g.Reshape(frames, g.shape_vector([-1, number, size])), stride)
    squares = c.expand(g.const((shape**2).astype(kind)[None, None]), [1, number, size])
    weight = overlapped(c, squares, stride)
    weight = g.Where(g.Greater(weight, c.number(1e-10, weight)), weight, c.number(1, weight))
    signal = g.Div(total, weight)
    if window is None:
        signal = g.Mul(signal, c.number(size / stride, signal))
    start = size // 2 if center else 0
    last = int(np.iinfo(np.int64).max)
    end = start + int(length) if length is not None else -(size // 2) if center else last
    if end == 0:
        end = last
    cut = g.Slice(signal, [start], [end], [1])
    return g.Reshape(cut, g.shape_vector([*lead, -1])) if rank != 3 else cut


@backend_function
def correlate(c: Context, x1: Any, x2: Any, mode: Any) -> Value:
    """Cross-correlation of two vectors."""
    g = c.g
    a, b = c.as_out(x1, x2)
    m = c.static_dim(a, 0, "of the vectors")
    n = c.static_dim(b, 0, "of the vectors")
    swapped = n > m
    if swapped and mode == "same" and keras_backend() in ("tensorflow", "torch"):
        raise c.refuse(
            "mode='same' with a longer second vector means something else under this backend", "x1 the longer"
        )
    long, short, low = (b, a, m) if swapped else (a, b, n)
    pads = {"valid": (0, 0), "full": (low - 1, low - 1), "same": (low // 2, low - 1 - low // 2)}[str(mode)]
    row = g.Unsqueeze(long, [0, 1])
    result = g.Squeeze(g.Conv(row, g.Unsqueeze(short, [0, 1]), kernel_shape=[low], pads=list(pads)), [0, 1])
    # Swapping the operands reverses the result.
    return g.Slice(result, [-1], [int(np.iinfo(np.int64).min)], [0], [-1]) if swapped else result


@backend_function
def corrcoef(c: Context, x: Any) -> Value:
    """Correlation coefficients of the rows."""
    g = c.g
    value = c.t(x, DataType.DOUBLE)
    if rank_of(value) == 1:
        return c.expand(g.const(np.asarray(1.0)), [])
    centred = g.Sub(value, g.ReduceMean(value, [1], keepdims=True))
    products = g.MatMul(centred, g.Transpose(centred, perm=[1, 0]))
    sizes = g.Sqrt(g.ReduceSum(g.Mul(centred, centred), [1], keepdims=True))
    result = g.Div(g.Div(products, sizes), g.Transpose(sizes, perm=[1, 0]))
    return g.Clip(result, -1.0, 1.0)


@backend_function
def unique(
    c: Context,
    x: Any,
    sorted: Any,  # noqa: A002 - Keras's name
    return_index: Any,
    return_inverse: Any,
    return_counts: Any,
    axis: Any,
    size: Any,
    fill_value: Any,
) -> Value | list[Value]:
    """Values without repetitions, in ascending order."""
    g = c.g
    value = c.t(x)
    if size is not None:
        raise c.refuse("size pads the result", "no size")
    place = None if axis is None else c.axis(axis, rank_of(value))
    found = g.ops("Unique", value, outputs=4, axis=place, sorted=1)
    chosen = [found[0]]
    if return_index:
        chosen.append(found[1])
    if return_inverse:
        inverse = found[2]
        if place is None and rank_of(inverse) != len(c.specs[len(chosen)].shape or ()):
            inverse = g.Reshape(inverse, g.Shape(value))
        chosen.append(inverse)
    if return_counts:
        chosen.append(found[3])
    return chosen if len(c.specs) > 1 else chosen[0]


@backend_function
def kaiser(c: Context, x: Any, beta: Any) -> Value:
    """Kaiser's window."""
    length = int(c.static(x, "the length of the window"))
    return c.g.const(np.kaiser(length, float(c.static(beta, "beta"))))
