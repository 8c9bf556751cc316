"""What TensorFlow's functions of images and of the layers of networks mean in terms of `keras.ops`."""
# ruff: noqa: A002 (parameters have TensorFlow's names: input, filter)

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from any2onnx.errors import UnsupportedParameter

Meaning = Callable[..., Any]


def keras_ops() -> Any:
    """Return the module `keras.ops`."""
    from keras import ops

    return ops


def refuse(function: str, parameter: str, value: Any) -> UnsupportedParameter:
    """Return the error for a parameter of one of TensorFlow's functions that is not converted."""
    return UnsupportedParameter(
        f"tf.{function} with {parameter}={value!r} cannot be converted",
        remedy="the functions of keras.ops that do the same",
    )


def _is_first(data_format: Any) -> bool:
    return str(data_format or "N").startswith("NC")


def _layout(data_format: Any) -> str:
    return "channels_first" if _is_first(data_format) else "channels_last"


def _bias_add(value: Any, bias: Any, data_format: Any = None) -> Any:
    if not _is_first(data_format):
        return value + bias
    return value + keras_ops().reshape(bias, (-1, *[1] * (len(value.shape) - 2)))


def _window(sizes: Any, rank: int, data_format: Any) -> tuple[int, ...]:
    """Return the sizes of the spatial dims from one number, one for each, or one for each dim of the tensor."""
    parts = [int(size) for size in sizes] if isinstance(sizes, list | tuple) else [int(sizes)]
    if len(parts) == rank:
        parts = parts[2:] if _is_first(data_format) else parts[1:-1]
    return tuple(parts * (rank - 2) if len(parts) == 1 else parts)


def _pool(name: str) -> Meaning:
    def meaning(
        input: Any = None,
        ksize: Any = None,
        strides: Any = None,
        padding: str = "VALID",
        data_format: Any = None,
        value: Any = None,
        **given: Any,
    ) -> Any:
        x = value if input is None else input
        if not isinstance(padding, str):
            raise refuse(f"nn.{name}", "padding", padding)
        rank = len(x.shape)
        window, steps = (_window(v, rank, data_format) for v in (ksize, strides))
        return getattr(keras_ops(), name)(x, window, steps, padding.lower(), _layout(data_format))

    return meaning


def _conv(name: str) -> Meaning:
    def meaning(
        input: Any = None,
        filters: Any = None,
        strides: Any = 1,
        padding: Any = "VALID",
        data_format: Any = None,
        dilations: Any = None,
        stride: Any = None,
        filter: Any = None,
        value: Any = None,
        **given: Any,
    ) -> Any:
        if not isinstance(padding, str):
            raise refuse(f"nn.{name}", "padding", padding)
        x = value if input is None else input
        rank = len(x.shape)
        return getattr(keras_ops(), name)(
            x,
            filters if filters is not None else filter,
            _window(stride if stride is not None else strides, rank, data_format),
            padding.lower(),
            _layout(data_format),
            _window(1 if dilations is None else dilations, rank, data_format),
        )

    return meaning


def _batch_normalization(x: Any, mean: Any, variance: Any, offset: Any, scale: Any, variance_epsilon: float) -> Any:
    inverse = keras_ops().rsqrt(variance + variance_epsilon)
    inverse = inverse if scale is None else inverse * scale
    return x * inverse + (-mean * inverse if offset is None else offset - mean * inverse)


def _depth_to_space(input: Any, block_size: int, data_format: str = "NHWC") -> Any:
    ops = keras_ops()
    x = ops.transpose(input, (0, 2, 3, 1)) if _is_first(data_format) else input
    _, height, width, channels = ops.shape(x)
    rest = channels // block_size**2
    x = ops.reshape(x, (-1, height, width, block_size, block_size, rest))
    x = ops.transpose(x, (0, 1, 3, 2, 4, 5))
    x = ops.reshape(x, (-1, height * block_size, width * block_size, rest))
    return ops.transpose(x, (0, 3, 1, 2)) if _is_first(data_format) else x


def _space_to_depth(input: Any, block_size: int, data_format: str = "NHWC") -> Any:
    ops = keras_ops()
    x = ops.transpose(input, (0, 2, 3, 1)) if _is_first(data_format) else input
    _, height, width, channels = ops.shape(x)
    x = ops.reshape(x, (-1, height // block_size, block_size, width // block_size, block_size, channels))
    x = ops.transpose(x, (0, 1, 3, 2, 4, 5))
    x = ops.reshape(x, (-1, height // block_size, width // block_size, channels * block_size**2))
    return ops.transpose(x, (0, 3, 1, 2)) if _is_first(data_format) else x


def _fused_batch_norm(
    x: Any,
    scale: Any,
    offset: Any,
    mean: Any = None,
    variance: Any = None,
    epsilon: float = 0.001,
    data_format: str = "NHWC",
    is_training: bool = True,
    **given: Any,
) -> Any:
    if is_training:
        raise refuse("compat.v1.nn.fused_batch_norm", "is_training", is_training)
    parts = (mean, variance, offset, scale)
    if _is_first(data_format):
        parts = tuple(keras_ops().reshape(part, (-1, *[1] * (len(x.shape) - 2))) for part in parts)
    return _batch_normalization(x, *parts, epsilon), mean, variance


def _resize(images: Any, size: Any, method: Any = "bilinear", antialias: bool = False, **given: Any) -> Any:
    kind = str(getattr(method, "name", method)).lower()
    for name, value in given.items():
        if value:
            raise refuse("image.resize", name, value)
    if kind not in ("bilinear", "nearest", "bicubic", "lanczos3", "lanczos5"):
        raise refuse("image.resize", "method", method)
    target = tuple(size) if isinstance(size, list | tuple) else size
    return keras_ops().image.resize(
        images, target, interpolation=kind, antialias=antialias, data_format="channels_last"
    )


IMAGES: Final[Mapping[str, Meaning]] = {
    "nn.bias_add": _bias_add,
    "nn.max_pool": _pool("max_pool"),
    "nn.max_pool1d": _pool("max_pool"),
    "nn.max_pool2d": _pool("max_pool"),
    "nn.max_pool3d": _pool("max_pool"),
    "nn.avg_pool": _pool("average_pool"),
    "nn.avg_pool1d": _pool("average_pool"),
    "nn.avg_pool2d": _pool("average_pool"),
    "nn.avg_pool3d": _pool("average_pool"),
    "nn.conv1d": _conv("conv"),
    "nn.conv2d": _conv("conv"),
    "nn.conv3d": _conv("conv"),
    "nn.depthwise_conv2d": _conv("depthwise_conv"),
    "nn.batch_normalization": _batch_normalization,
    "nn.depth_to_space": _depth_to_space,
    "nn.space_to_depth": _space_to_depth,
    "image.resize": _resize,
    "compat.v1.nn.fused_batch_norm": _fused_batch_norm,
}
