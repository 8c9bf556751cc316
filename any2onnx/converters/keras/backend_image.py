"""`keras.src.backend.image`: resizing, colours, filters."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np

from any2onnx.converters.keras.backend_common import Context, backend_function, keras_backend
from any2onnx.converters.keras.backend_convolution import _layout, channels_first
from any2onnx.graph.builder import GraphBuilder
from any2onnx.graph.types import DataType, Value, dtype_of, rank_of, shape_of


def _triangle(x: Any) -> Any:
    return np.maximum(0, 1 - np.abs(x))


def _cubic(x: Any) -> Any:
    # Keys' cubic with a = -1/2.
    near = ((1.5 * x - 2.5) * x) * x + 1.0
    far = ((-0.5 * x + 2.5) * x - 4.0) * x + 2.0
    return np.where(x >= 2.0, 0.0, np.where(x >= 1.0, far, near))


def _lanczos(radius: float) -> Callable[[Any], Any]:
    def kernel(x: Any) -> Any:
        safe = np.where(x > 1e-3, x, 1.0)
        value = radius * np.sin(np.pi * safe) * np.sin(np.pi * safe / radius) / (np.pi**2 * safe**2)
        return np.where(x > radius, 0.0, np.where(x > 1e-3, value, 1.0))

    return kernel


_STEPS: Final = 1024

KERNELS: Final[Mapping[str, Callable[[Any], Any]]] = {
    "bilinear": _triangle,
    "bicubic": _cubic,
    "lanczos3": _lanczos(3.0),
    "lanczos5": _lanczos(5.0),
}


def weights(size: int, target: int, scale: float, translation: float, kernel: Any, antialias: bool) -> Any:
    """Return the matrix [size, target] that resizes one dim."""
    inverse = 1.0 / scale
    width = max(inverse, 1.0) if antialias else 1.0
    places = (np.arange(target) + 0.5) * inverse - translation * inverse - 0.5
    matrix = kernel(np.abs(places[None, :] - np.arange(size)[:, None]) / width)
    total = matrix.sum(axis=0, keepdims=True)
    matrix = np.where(np.abs(total) > 1000 * np.finfo(np.float32).eps, matrix / np.where(total != 0, total, 1), 0)
    return np.where(((places >= -0.5) & (places <= size - 0.5))[None, :], matrix, 0)


def _centres(c: Context, target: int | Value, dtype: DataType) -> tuple[Value, Value]:
    """Return the middles of the target's cells, and their number as a scalar."""
    g, kind = c.g, dtype.numpy()
    if isinstance(target, int):
        return g.const(np.arange(target, dtype=kind) + kind.type(0.5)), g.const(np.asarray(target, kind))
    count = g.Reshape(target, [])
    zero, one = g.const(np.asarray(0, np.int64)), g.const(np.asarray(1, np.int64))
    cells = g.Cast(g.Range(zero, count, one), dtype)
    return g.Add(cells, g.const(np.asarray(0.5, kind))), g.Cast(count, dtype)


def computed_weights(c: Context, size: Value, target: int | Value, method: str, antialias: bool) -> Value:
    """Return `weights` of a size [1] that is known at run time, without translation, float64."""
    g = c.g

    def number(value: float) -> Value:
        return g.const(np.asarray(value, np.float64))

    centres, count = _centres(c, target, DataType.DOUBLE)
    inverse = g.Div(g.Cast(size, DataType.DOUBLE), count)
    places = g.Sub(g.Mul(centres, inverse), number(0.5))
    zero, one = g.const(np.asarray(0, np.int64)), g.const(np.asarray(1, np.int64))
    taps = g.Cast(g.Unsqueeze(g.Range(zero, g.Squeeze(size, 0), one), 1), DataType.DOUBLE)
    distance = g.Abs(g.Sub(places, taps))
    if antialias:
        distance = g.Div(distance, g.Max(inverse, number(1)))
    if method == "bilinear":
        kernel = g.Max(g.Sub(number(1), distance), number(0))
    elif method == "bicubic":
        kernel = _computed_cubic(g, distance, number)
    else:
        kernel = _computed_lanczos(g, distance, 3.0 if method == "lanczos3" else 5.0, number)
    return g.Div(kernel, g.ReduceSum(kernel, 0))


def _computed_cubic(g: GraphBuilder, x: Value, number: Callable[[float], Value]) -> Value:
    """Return _cubic(x)."""
    near = g.Add(g.Mul(g.Mul(g.Sub(g.Mul(x, number(1.5)), number(2.5)), x), x), number(1.0))
    far = g.Add(g.Mul(g.Sub(g.Mul(g.Add(g.Mul(x, number(-0.5)), number(2.5)), x), number(4.0)), x), number(2.0))
    return g.Where(g.Less(x, number(1.0)), near, g.Where(g.Less(x, number(2.0)), far, number(0.0)))


def _computed_lanczos(g: GraphBuilder, x: Value, radius: float, number: Callable[[float], Value]) -> Value:
    """Return _lanczos(radius)(x)."""
    apart = g.Greater(x, number(1e-3))
    turns = g.Mul(g.Where(apart, x, number(1)), number(np.pi))
    waves = g.Mul(g.Sin(turns), g.Sin(g.Div(turns, number(radius))))
    value = g.Div(g.Mul(waves, number(radius)), g.Mul(turns, turns))
    return g.Where(g.Greater(x, number(radius)), number(0), g.Where(apart, value, number(1)))


def tabled_weights(size: int, target: int) -> Any:
    """Return the matrix of TensorFlow's bicubic interpolation: its kernel is a table of 1024 steps to a pixel."""
    scale = np.float32(size) / np.float32(target)
    places = (np.arange(target, dtype=np.float32) + np.float32(0.5)) * scale - np.float32(0.5)
    base = np.floor(places)
    rounded = base + np.rint((places - base) * _STEPS) / _STEPS
    matrix = _cubic(np.abs(rounded.astype(np.float64)[None, :] - np.arange(size)[:, None]))
    return matrix / matrix.sum(axis=0, keepdims=True)


def computed_tabled_weights(c: Context, size: Value, target: int | Value) -> Value:
    """Return tabled_weights of a size [1] that is known at run time, float32."""
    g = c.g

    def number(value: float) -> Value:
        return g.const(np.asarray(value, np.float32))

    centres, count = _centres(c, target, DataType.FLOAT)
    scale = g.Div(g.Cast(size, DataType.FLOAT), count)
    places = g.Sub(g.Mul(centres, scale), number(0.5))
    base = g.Floor(places)
    rounded = g.Add(base, g.Div(g.Round(g.Mul(g.Sub(places, base), number(_STEPS))), number(_STEPS)))
    zero, one = g.const(np.asarray(0, np.int64)), g.const(np.asarray(1, np.int64))
    taps = g.Cast(g.Unsqueeze(g.Range(zero, g.Squeeze(size, 0), one), 1), DataType.FLOAT)
    kernel = _computed_cubic(g, g.Abs(g.Sub(rounded, taps)), number)
    return g.Div(kernel, g.ReduceSum(kernel, 0))


def clamped_weights(size: int, target: int, factor: float) -> Any:
    """Return the matrix of PyTorch's bicubic interpolation: a = -3/4, the border repeated."""
    places = (np.arange(target) + 0.5) / factor - 0.5
    base = np.floor(places).astype(np.int64)
    matrix = np.zeros((size, target))
    for tap in range(-1, 3):
        x = np.abs(places - (base + tap))
        near = ((1.25 * x - 2.25) * x) * x + 1.0
        far = ((-0.75 * x + 3.75) * x - 6.0) * x + 3.0
        np.add.at(matrix, (np.clip(base + tap, 0, size - 1), np.arange(target)), np.where(x <= 1.0, near, far))
    return matrix


def along(c: Context, x: Value, matrix: Any, axis: int) -> Value:
    """Multiply one dim by a matrix [size, target], an array or a value."""
    g = c.g
    computed = isinstance(matrix, Value)
    constant = g.Cast(matrix, dtype_of(x)) if computed else g.const(np.ascontiguousarray(matrix, dtype_of(x).numpy()))
    if axis == rank_of(x) - 1:
        return g.MatMul(x, constant)
    if axis == rank_of(x) - 2:
        if computed:
            return g.MatMul(g.Transpose(constant, perm=[1, 0]), x)
        return g.MatMul(g.const(np.ascontiguousarray(matrix.T, dtype=dtype_of(x).numpy())), x)
    moved = c.move(x, axis, rank_of(x) - 1)
    return c.move(g.MatMul(moved, constant), rank_of(x) - 1, axis)


@backend_function
def resize(
    c: Context,
    images: Any,
    size: Any,
    interpolation: Any,
    antialias: Any,
    crop_to_aspect_ratio: Any,
    pad_to_aspect_ratio: Any,
    fill_mode: Any,
    fill_value: Any,
    data_format: Any,
) -> Value:
    """Another height and width."""
    g = c.g
    value = c.t(images)
    height, width = (
        c.size(v) for v in ((size[0], size[1]) if isinstance(size, list | tuple) else c.ints(size, "size"))
    )
    batched = rank_of(value) == 4
    first = (1 if batched else 0) if _layout(data_format) == "channels_last" else (2 if batched else 1)
    if crop_to_aspect_ratio or pad_to_aspect_ratio:
        if not isinstance(height, int) or not isinstance(width, int):
            raise c.refuse("the ratio to keep depends on the size of a dynamic dimension", "a constant size")
        value = _same_ratio(c, value, first, (height, width), bool(crop_to_aspect_ratio), fill_value)
    kind = dtype_of(value)
    targets: dict[int, int | Value] = {first: height, first + 1: width}
    if interpolation == "nearest":
        return _nearest(c, value, targets)
    if interpolation not in KERNELS:
        raise c.refuse(f"interpolation={interpolation!r} is unknown")
    wide = value if kind in (DataType.FLOAT, DataType.DOUBLE) else g.Cast(value, DataType.FLOAT)
    result = _interpolated(c, wide, targets, str(interpolation), bool(antialias))
    if kind.is_integer() and c.out.is_integer():
        # Keras rounds, and keeps to the range of the input.
        low, high = g.ReduceMin(wide, keepdims=False), g.ReduceMax(wide, keepdims=False)
        result = g.Min(g.Max(g.Round(result), low), high)
    return result


def _interpolated(c: Context, x: Value, targets: Mapping[int, int | Value], method: str, antialias: bool) -> Value:
    sizes = {axis: shape_of(x)[axis] for axis in targets}
    own_cubic = keras_backend() if method == "bicubic" and not antialias else ""
    torch_cubic = own_cubic == "torch"
    if all(isinstance(size, int) for size in (*sizes.values(), *targets.values())):
        for axis, target in targets.items():
            size = sizes[axis]
            assert isinstance(size, int)
            assert isinstance(target, int)
            if size == target:
                continue
            if own_cubic == "tensorflow":
                matrix = tabled_weights(size, target)
            elif torch_cubic:
                matrix = clamped_weights(size, target, target / size)
            else:
                matrix = weights(size, target, target / size, 0.0, KERNELS[method], antialias)
            x = along(c, x, matrix, axis)
        return x
    if antialias or method not in ("bilinear", "bicubic"):
        # Resize has no lanczos, and its antialiased bilinear form treats the borders otherwise.
        for axis, target in targets.items():
            x = along(c, x, computed_weights(c, c.g.dim(x, axis), target, method, antialias), axis)
        return x
    if own_cubic == "tensorflow":
        for axis, target in targets.items():
            x = along(c, x, computed_tabled_weights(c, c.g.dim(x, axis), target), axis)
        return x
    attributes: dict[str, Any] = {"mode": "linear" if method == "bilinear" else "cubic"}
    if method == "bicubic":
        attributes |= {"cubic_coeff_a": -0.75} if torch_cubic else {"cubic_coeff_a": -0.5, "exclude_outside": 1}
    return _resize_node(c, x, targets, coordinate_transformation_mode="half_pixel", **attributes)


_FIRST_WITH_AXES = 18
"""The first opset whose Resize takes the axes to resize."""


def _resize_node(c: Context, x: Value, targets: Mapping[int, int | Value], **attributes: Any) -> Value:
    """Resize with the two dims last, where the runtime's kernels want them, and all others in one before.

    onnxruntime moves transposes through Resize, permutes sizes that are given for some axes only, and has no cubic
    kernel for what comes out; through these Reshapes it moves none.
    """
    g = c.g
    axes = sorted(targets)
    others = [k for k in range(rank_of(x)) if k not in axes]
    order = others + axes
    sizes = c.sizes_of(x)
    count: int | Value = 1
    for k in others:
        size = sizes[k]
        count = (
            count * size if isinstance(count, int) and isinstance(size, int) else g.Mul(_vector(count), _vector(size))
        )
    images = g.Reshape(c.transpose(x, order), g.shape_vector([count, 1, *(sizes[k] for k in axes)]))
    wanted: list[int | Value] = [targets[k] for k in axes]
    if g.opsets.main >= _FIRST_WITH_AXES:
        # Of an empty batch, onnxruntime makes the scale 0 / 0 of the batch's size.
        result = g.Resize(images, sizes=g.shape_vector(wanted), axes=[2, 3], **attributes)
    else:
        result = g.Resize(images, sizes=g.shape_vector([count, 1, *wanted]), **attributes)
    result = g.Reshape(result, g.shape_vector([*(sizes[k] for k in others), *wanted]))
    return c.transpose(result, [order.index(k) for k in range(rank_of(x))])


def _vector(size: int | Value) -> Any:
    return np.asarray([size], np.int64) if isinstance(size, int) else size


def _nearest(c: Context, x: Value, targets: Mapping[int, int | Value]) -> Value:
    g = c.g
    for axis, target in targets.items():
        size = shape_of(x)[axis]
        if isinstance(size, int) and isinstance(target, int):
            if size == target:
                continue
            steps = np.arange(target, dtype=np.float32) + np.float32(0.5)
            index: Any = g.const(np.floor(steps * size / target).astype(np.int64))
        else:
            centres, count = _centres(c, target, DataType.FLOAT)
            length = g.Cast(g.Reshape(g.dim(x, axis), []), DataType.FLOAT)
            index = g.Cast(g.Floor(g.Div(g.Mul(centres, length), count)), DataType.INT64)
        x = g.Gather(x, index, axis=axis)
    return x


def _same_ratio(c: Context, x: Value, first: int, target: tuple[int, int], crop: bool, fill: Any) -> Value:
    """Crop or pad to the target's ratio of height and width."""
    g = c.g
    height, width = shape_of(x)[first], shape_of(x)[first + 1]
    if not isinstance(height, int) or not isinstance(width, int):
        return _same_ratio_computed(c, x, first, target, crop, fill)
    rows, columns = int(float(width * target[0]) / target[1]), int(float(height * target[1]) / target[0])
    if crop:
        rows, columns = max(min(height, rows), 1), max(min(width, columns), 1)
        top, left = int(float(height - rows) / 2), int(float(width - columns) / 2)
        return g.Slice(x, [top, left], [top + rows, left + columns], [first, first + 1])
    top = int(float(max(height, rows) - height) / 2)
    left = int(float(max(width, columns) - width) / 2)
    pads = (top, 0) if top > 0 else (0, left)
    return g.Pad(x, [*pads, *pads], c.t(fill, dtype_of(x)), axes=[first, first + 1])


def _same_ratio_computed(c: Context, x: Value, first: int, target: tuple[int, int], crop: bool, fill: Any) -> Value:
    """Crop or pad to the target's ratio of height and width, by sizes known when the model runs."""
    g = c.g
    height, width = g.dim(x, first), g.dim(x, first + 1)

    def scaled(size: Value, factor: int, divisor: int) -> Value:
        return g.Cast(g.Div(g.Cast(g.Mul(size, np.int64(factor)), DataType.DOUBLE), np.float64(divisor)), "int64")

    rows, columns = scaled(width, target[0], target[1]), scaled(height, target[1], target[0])
    if crop:
        one = np.asarray([1], np.int64)
        rows, columns = g.Max(g.Min(height, rows), one), g.Max(g.Min(width, columns), one)
        starts = [g.Div(g.Sub(size, kept), np.int64(2)) for size, kept in ((height, rows), (width, columns))]
        ends = [g.Add(start, kept) for start, kept in zip(starts, (rows, columns), strict=True)]
        return g.Slice(x, g.shape_vector(starts), g.shape_vector(ends), [first, first + 1])
    top, left = (
        g.Div(g.Sub(g.Max(size, wanted), size), np.int64(2)) for size, wanted in ((height, rows), (width, columns))
    )
    # Keras pads one of the two.
    left = g.Where(g.Greater(top, np.int64(0)), np.asarray([0], np.int64), left)
    one_side: list[int | Value] = [0] * rank_of(x)
    one_side[first], one_side[first + 1] = top, left
    return g.Pad(x, g.shape_vector([*one_side, *one_side]), c.t(fill, dtype_of(x)))


@backend_function
def scale_and_translate(
    c: Context,
    images: Any,
    output_shape: Any,
    scale: Any,
    translation: Any,
    spatial_dims: Any,
    method: Any,
    antialias: Any,
) -> Value:
    """Resize dims by factors, with an offset."""
    g = c.g
    names = {"linear": "bilinear", "trilinear": "bilinear", "cubic": "bicubic", "tricubic": "bicubic"}
    kernel = KERNELS[names.get(method, method)]
    factors = np.atleast_1d(np.asarray(c.static(scale, "scale"), np.float64))
    offsets = np.atleast_1d(np.asarray(c.static(translation, "translation"), np.float64))
    value = c.t(images)
    kind = dtype_of(value)
    result = value if kind in (DataType.FLOAT, DataType.DOUBLE) else g.Cast(value, DataType.FLOAT)
    for axis, factor, offset in zip(c.ints(spatial_dims, "spatial_dims"), factors, offsets, strict=True):
        axis %= rank_of(value)
        size = c.static_dim(value, axis, "to be scaled")
        target = int(c.static(output_shape[axis], "output_shape"))
        result = along(c, result, weights(size, target, float(factor), float(offset), kernel, bool(antialias)), axis)
    return result


# --- colours ---------------------------------------------------------------------------------------------------------


def _channels(c: Context, x: Value, data_format: Any) -> tuple[int, list[Value]]:
    axis = rank_of(x) - (1 if _layout(data_format) == "channels_last" else 3)
    return axis, [c.g.Squeeze(v, [axis]) for v in c.g.Split(x, [1, 1, 1], axis=axis)]


def _joined(c: Context, parts: Sequence[Value], axis: int) -> Value:
    return c.g.Concat(*[c.g.Unsqueeze(v, [axis]) for v in parts], axis=axis)


@backend_function
def rgb_to_grayscale(c: Context, images: Any, data_format: Any) -> Value:
    """Weighted sum of the colours."""
    g = c.g
    value = c.t(images)
    axis = rank_of(value) - (1 if _layout(data_format) == "channels_last" else 3)
    if shape_of(value)[axis] == 1:
        return value
    wide = value if dtype_of(value).is_floating_point() else g.Cast(value, DataType.FLOAT)
    shape = [3 if k == axis else 1 for k in range(rank_of(value))]
    shares = np.array([0.2989, 0.5870, 0.1140]).reshape(shape).astype(dtype_of(wide).numpy())
    return g.ReduceSum(g.Mul(wide, g.const(shares)), [axis], keepdims=True)


@backend_function
def rgb_to_hsv(c: Context, images: Any, data_format: Any) -> Value:
    """Hue, saturation and value."""
    g = c.g
    value = c.t(images)
    tiny = float(np.finfo(dtype_of(value).numpy()).eps)
    value = g.Where(g.Less(g.Abs(value), c.number(tiny, value)), c.number(0, value), value)
    axis, (red, green, blue) = _channels(c, value, data_format)
    zero, one = c.number(0, value), c.number(1, value)
    high, low = g.Max(red, green, blue), g.Min(red, green, blue)
    span = g.Sub(high, low)
    grey = g.Equal(span, zero)
    safe = g.Where(grey, one, span)
    saturation = g.Where(g.Greater(high, zero), g.Div(span, g.Where(g.Equal(high, zero), one, high)), zero)
    sixth = g.Div(one, g.Mul(safe, c.number(6, value)))

    def hue_from(a: Value, b: Value, offset: float) -> Value:
        return g.Add(g.Mul(g.Sub(a, b), sixth), c.number(offset, value))

    hue = g.Where(
        g.Equal(high, red),
        hue_from(green, blue, 0.0),
        g.Where(g.Equal(high, green), hue_from(blue, red, 2 / 6), hue_from(red, green, 4 / 6)),
    )
    hue = g.Where(grey, zero, hue)
    hue = g.Add(hue, g.Cast(g.Less(hue, zero), dtype_of(value)))
    return _joined(c, [hue, saturation, high], axis)


@backend_function
def hsv_to_rgb(c: Context, images: Any, data_format: Any) -> Value:
    """Red, green and blue."""
    g = c.g
    value = c.t(images)
    axis, (hue, saturation, high) = _channels(c, value, data_format)
    one, six = c.number(1, value), c.number(6, value)
    turn = g.Mul(g.Sub(hue, g.Floor(hue)), six)

    def colour(shift: float, sign: float, limit: float) -> Value:
        distance = g.Abs(g.Sub(turn, c.number(shift, value)))
        plane = g.Mul(g.Sub(distance, c.number(limit, value)), c.number(sign, value))
        share = g.Clip(plane, 0.0, 1.0)
        return g.Mul(high, g.Add(g.Sub(one, saturation), g.Mul(share, saturation)))

    return _joined(c, [colour(3, 1, 1), colour(2, -1, 2), colour(4, -1, 2)], axis)


# --- filters ---------------------------------------------------------------------------------------------------------


@backend_function
def sobel_edges(c: Context, images: Any, data_format: Any) -> Value:
    """Differences of neighbours along height and width, as a last dim of two."""
    g = c.g
    layout = _layout(data_format)
    x = channels_first(c, c.t(images), layout)
    channels = c.static_dim(x, 1, "of the channels")
    vertical = np.outer([-1, 0, 1], [1, 2, 1]).astype(dtype_of(x).numpy())
    kernel = np.tile(np.stack([vertical, vertical.T])[:, None], (channels, 1, 1, 1))
    # Around the image Keras has zeros under PyTorch and JAX, other pixels under NumPy and TensorFlow.
    mode = {"numpy": "edge", "tensorflow": "reflect"}.get(keras_backend(), "constant")
    padded = g.Pad(x, [0, 0, 1, 1, 0, 0, 1, 1], mode=mode)
    edges = g.Conv(padded, g.const(kernel), group=channels, kernel_shape=[3, 3])
    sizes = c.sizes_of(x)
    parts = g.Reshape(edges, g.shape_vector([0, channels, 2, *sizes[2:]]))
    return g.Transpose(parts, perm=[0, 3, 4, 1, 2] if layout == "channels_last" else [0, 1, 3, 4, 2])


@backend_function
def gaussian_blur(c: Context, images: Any, kernel_size: Any, sigma: Any, data_format: Any) -> Value:
    """Convolution of each channel with a bell, zeros around."""
    g = c.g
    if data_format is None and keras_backend() in ("torch", "jax"):
        raise c.refuse("data_format=None means another layout under this backend", "data_format to be given")
    layout = _layout(data_format)
    value = c.t(images)
    single = rank_of(value) == 3
    x = channels_first(c, g.Unsqueeze(value, [0]) if single else value, layout)
    channels = c.static_dim(x, 1, "of the channels")
    # Under NumPy the first size and sigma are those of the width.
    sizes = c.ints(kernel_size, "kernel_size")[::-1]
    spreads = [float(s) for s in np.atleast_1d(np.asarray(c.static(sigma, "sigma"))).ravel()]
    spreads = spreads * 2 if len(spreads) == 1 else spreads[::-1]
    if keras_backend() != "numpy" and (len(set(sizes)) > 1 or len(set(spreads)) > 1):
        raise c.refuse("Keras's backends disagree on blurs that are not the same both ways", "equal sizes and sigmas")
    bells = []
    for size, spread in zip(sizes, spreads, strict=True):
        places = np.arange(size) - (size - 1) / 2
        bell = np.exp(-0.5 * (places / spread) ** 2)
        bells.append(bell / bell.sum())
    kernel = np.tile(np.outer(*bells)[None, None].astype(dtype_of(x).numpy()), (channels, 1, 1, 1))
    before = [(s - 1) // 2 for s in sizes]
    after = [s - 1 - b for s, b in zip(sizes, before, strict=True)]
    blurred = g.Conv(x, g.const(kernel), group=channels, kernel_shape=sizes, pads=[*before, *after])
    if layout == "channels_last":
        blurred = g.Transpose(blurred, perm=[0, 2, 3, 1])
    return g.Squeeze(blurred, [0]) if single else blurred
