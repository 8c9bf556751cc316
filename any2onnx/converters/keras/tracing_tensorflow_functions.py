"""What TensorFlow's functions mean in terms of `keras.ops`, by public name; parameters have TensorFlow's names."""
# ruff: noqa: A002 (they are what TensorFlow calls them: input, sorted)

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from any2onnx.converters.keras.tracing_tensorflow_images import IMAGES, Meaning
from any2onnx.converters.keras.tracing_tensorflow_images import keras_ops as _ops
from any2onnx.converters.keras.tracing_tensorflow_images import refuse as _refuse


def _plain(name: str) -> Meaning:
    """Return the function of keras.ops that takes the same arguments in the same order."""
    return lambda **given: getattr(_ops(), name)(*given.values())


def _reduction(name: str, *, same_type: bool = False) -> Meaning:
    def meaning(input_tensor: Any, axis: Any = None, keepdims: Any = False) -> Any:
        ops = _ops()
        axes = tuple(axis) if isinstance(axis, list) else axis
        if name == "mean" and "int" in str(input_tensor.dtype):
            raise _refuse("reduce_mean", "input_tensor of type", input_tensor.dtype)
        result = getattr(ops, name)(input_tensor, axis=axes, keepdims=bool(keepdims))
        return ops.cast(result, input_tensor.dtype) if same_type else result

    return meaning


def _extreme(name: str) -> Meaning:
    def meaning(input: Any, axis: Any = None, output_type: Any = "int64") -> Any:
        found = getattr(_ops(), name)(input, axis=0 if axis is None else axis)
        return _ops().cast(found, _dtype(output_type))

    return meaning


def _dtype(dtype: Any) -> str:
    return str(getattr(dtype, "name", dtype))


def _cast(x: Any, dtype: Any) -> Any:
    return _ops().cast(x, _dtype(dtype))


def _filled(value: float) -> Meaning:
    def meaning(input: Any = None, dtype: Any = None, tensor: Any = None, **rest: Any) -> Any:
        like = input if input is not None else tensor
        return _ops().full_like(like, value, dtype=None if dtype is None else _dtype(dtype))

    return meaning


def _shape(input: Any, out_type: Any = "int32") -> Any:
    return _ops().convert_to_tensor(tuple(_ops().shape(input)), dtype=_dtype(out_type or "int32"))


def _size(input: Any, out_type: Any = "int32") -> Any:
    return _ops().cast(_ops().prod(_shape(input)), _dtype(out_type or "int32"))


def _rank(input: Any) -> int:
    return len(input.shape)


def _concat(values: Any, axis: Any) -> Any:
    return _ops().concatenate([_ops().convert_to_tensor(v) for v in values], axis=int(axis))


def _stack(values: Any, axis: int = 0) -> Any:
    return _ops().stack([_ops().convert_to_tensor(v) for v in values], axis=axis)


def _unstack(value: Any, num: Any = None, axis: int = 0) -> Any:
    return _ops().unstack(value, num=num, axis=axis)


def _split(value: Any, num_or_size_splits: Any, axis: Any = 0, num: Any = None) -> Any:
    if isinstance(num_or_size_splits, int):
        return list(_ops().split(value, num_or_size_splits, axis=axis))
    sizes = [int(size) for size in num_or_size_splits]
    if -1 in sizes:
        sizes[sizes.index(-1)] = int(value.shape[axis]) - sum(size for size in sizes if size >= 0)
    ends = [sum(sizes[: k + 1]) for k in range(len(sizes) - 1)]
    return list(_ops().split(value, ends, axis=axis))


def _slice(input_: Any, begin: Any, size: Any) -> Any:
    parts = zip(list(begin), list(size), strict=True)
    return input_[tuple(slice(b, None if isinstance(s, int) and s == -1 else b + s) for b, s in parts)]


def _gather(params: Any, indices: Any, validate_indices: Any = None, axis: Any = None, batch_dims: int = 0) -> Any:
    ops = _ops()
    if not batch_dims:
        return ops.take(params, indices, axis=0 if axis is None else axis)
    params, indices = ops.convert_to_tensor(params), ops.convert_to_tensor(indices)
    shared = batch_dims if batch_dims > 0 else batch_dims + len(indices.shape)
    # TensorFlow's default is the number as it was given, a negative one too.
    along = (batch_dims if axis is None else axis) % len(params.shape)
    alone = len(indices.shape) - shared
    if along != shared or alone > 1:
        raise _refuse("gather", "batch_dims", batch_dims)
    # One index vector for each of the leading elements; the dims behind are taken whole.
    for _ in range(len(params.shape) - len(indices.shape)):
        indices = ops.expand_dims(indices, -1)
    found = ops.take_along_axis(params, indices, axis=shared)
    return found if alone else ops.squeeze(found, axis=shared)


def _pad(tensor: Any, paddings: Any, mode: str = "CONSTANT", constant_values: Any = 0) -> Any:
    import numpy as np

    widths = tuple(tuple(int(v) for v in pair) for pair in np.asarray(paddings))
    kind = mode.lower()
    return _ops().pad(tensor, widths, mode=kind, **({"constant_values": constant_values} if kind == "constant" else {}))


def _where(condition: Any, x: Any = None, y: Any = None) -> Any:
    if x is None:
        raise _refuse("where", "x", None)
    return _ops().where(condition, x, y)


def _one_hot(
    indices: Any, depth: Any, on_value: Any = None, off_value: Any = None, axis: Any = None, dtype: Any = None
) -> Any:
    kind = "float32" if dtype is None else _dtype(dtype)
    hot = _ops().one_hot(indices, int(depth), axis=-1 if axis is None else axis, dtype=kind)
    if on_value in (None, 1) and off_value in (None, 0):
        return hot
    on, off = 1 if on_value is None else on_value, 0 if off_value is None else off_value
    return hot * (on - off) + off


def _matmul(
    a: Any, b: Any, transpose_a: bool = False, transpose_b: bool = False, adjoint_a: bool = False, **given: Any
) -> Any:
    transpose_b = transpose_b or given.pop("adjoint_b", False)
    for name, value in given.items():
        if value:
            raise _refuse("matmul", name, value)
    left = _ops().swapaxes(a, -1, -2) if transpose_a or adjoint_a else a
    return _ops().matmul(left, _ops().swapaxes(b, -1, -2) if transpose_b else b)


def _einsum(equation: str, inputs: Any, **given: Any) -> Any:
    return _ops().einsum(equation, *inputs)


def _cumulative(name: str) -> Meaning:
    def meaning(x: Any, axis: int = 0, exclusive: bool = False, reverse: bool = False) -> Any:
        ops = _ops()
        if exclusive:
            raise _refuse(name, "exclusive", True)
        turned = ops.flip(x, axis=axis) if reverse else x
        result = getattr(ops, name)(turned, axis=axis)
        return ops.flip(result, axis=axis) if reverse else result

    return meaning


def _top_k(input: Any, k: Any = 1, sorted: bool = True, index_type: Any = "int32") -> Any:
    values, indices = _ops().top_k(input, int(k), sorted=sorted)
    return values, _cast(indices, index_type)


def _transpose(a: Any, perm: Any = None, conjugate: bool = False) -> Any:
    return _ops().transpose(a, None if perm is None else tuple(int(p) for p in perm))


def _squeeze(input: Any, axis: Any = None) -> Any:
    return _ops().squeeze(input, axis=tuple(axis) if isinstance(axis, list) else axis)


def _reverse(tensor: Any, axis: Any) -> Any:
    return _ops().flip(tensor, axis=tuple(axis) if isinstance(axis, list) else axis)


def _clip(t: Any, clip_value_min: Any, clip_value_max: Any) -> Any:
    return _ops().minimum(_ops().maximum(t, clip_value_min), clip_value_max)


def _add_n(inputs: Any) -> Any:
    total = inputs[0]
    for one in inputs[1:]:
        total = total + one
    return total


def _divide_no_nan(x: Any, y: Any) -> Any:
    return _ops().divide_no_nan(x, y)


def _l2_normalize(x: Any, axis: Any = None, epsilon: float = 1e-12) -> Any:
    ops = _ops()
    axes = tuple(axis) if isinstance(axis, list) else axis
    return x * ops.rsqrt(ops.maximum(ops.sum(ops.square(x), axis=axes, keepdims=True), epsilon))


def _moments(x: Any, axes: Any, shift: Any = None, keepdims: bool = False) -> Any:
    return _ops().moments(x, axes=axes, keepdims=keepdims)


# --- tf.nn -----------------------------------------------------------------------------------------------------------


def _leaky_relu(features: Any, alpha: float = 0.2) -> Any:
    return _ops().leaky_relu(features, negative_slope=alpha)


def _silu(features: Any, beta: float = 1.0) -> Any:
    return features * _ops().sigmoid(features * beta)


def _gelu(features: Any, approximate: bool = False) -> Any:
    return _ops().gelu(features, approximate=approximate)


def _softmax(name: str) -> Meaning:
    return lambda logits, axis=None: getattr(_ops(), name)(logits, axis=-1 if axis is None else axis)


def _range(start: Any, limit: Any = None, delta: Any = 1, dtype: Any = None) -> Any:
    kind = None if dtype is None else _dtype(dtype)
    return _ops().arange(start, limit, delta, dtype=kind or str(getattr(start, "dtype", "int32")))


def _of_shape(name: str) -> Meaning:
    return lambda shape, dtype="float32", layout=None: getattr(_ops(), name)(shape, dtype=_dtype(dtype))


def _random(name: str, first: str, second: str) -> Meaning:
    def meaning(shape: Any, dtype: Any = "float32", seed: Any = None, **given: Any) -> Any:
        from keras import random

        low, high = given.get(first, 0.0), given.get(second, 1.0)
        return getattr(random, name)(tuple(shape), low, 1.0 if high is None else high, dtype=_dtype(dtype))

    return meaning


def _norm(tensor: Any, ord: Any = "euclidean", axis: Any = None, keepdims: Any = None) -> Any:
    ops = _ops()
    if ord not in ("euclidean", 2):
        raise _refuse("norm", "ord", ord)
    return ops.sqrt(ops.sum(ops.square(tensor), axis=_axes(axis), keepdims=bool(keepdims)))


def _axes(axis: Any) -> Any:
    return tuple(axis) if isinstance(axis, list) else axis


def _sequence_mask(lengths: Any, maxlen: Any = None, dtype: Any = "bool") -> Any:
    ops = _ops()
    most = ops.max(lengths) if maxlen is None else maxlen
    inside = ops.arange(most, dtype=str(lengths.dtype)) < ops.expand_dims(lengths, -1)
    return inside if _dtype(dtype) == "bool" else _cast(inside, dtype)


def _gather_nd(params: Any, indices: Any, batch_dims: int = 0, **given: Any) -> Any:
    if batch_dims:
        raise _refuse("gather_nd", "batch_dims", batch_dims)
    ops = _ops()
    indices = ops.convert_to_tensor(indices)
    return params[tuple(ops.take(indices, k, axis=-1) for k in range(int(indices.shape[-1])))]


def _repeat(input: Any, repeats: Any, axis: Any = None) -> Any:
    return _ops().repeat(input, repeats, axis=axis)


def _sorted(name: str) -> Meaning:
    def meaning(values: Any, axis: int = -1, direction: str = "ASCENDING", **given: Any) -> Any:
        if direction != "ASCENDING":
            raise _refuse(name, "direction", direction)
        return getattr(_ops(), name)(values, axis=axis)

    return meaning


def _identity(input: Any) -> Any:
    return input


# Functions that Keras has under the same name.
_SAME: Final = """
abs add divide equal exp floor greater greater_equal less less_equal logical_and logical_not logical_or maximum minimum
multiply negative not_equal round sigmoid sign sqrt square subtract tanh math.acos math.acosh math.asin math.asinh
math.atan math.atan2 math.atanh math.ceil math.cos math.cosh math.erf math.erfinv math.expm1 math.log math.log1p
math.logical_xor math.reciprocal math.rsqrt math.sin math.sinh math.tan nn.elu nn.relu nn.relu6 nn.selu nn.softplus
nn.softsign broadcast_to reshape expand_dims tile stop_gradient roll
"""

# Functions of sizes alone, which TensorFlow runs at once where it can read these as numbers: it is not to.
OF_SIZES: Final = ("zeros", "ones", "fill", "range")

TABLE: Final[Mapping[str, Meaning]] = {
    **IMAGES,
    **{name: _plain(name.rpartition(".")[2]) for name in _SAME.split()},
    "math.is_nan": _plain("isnan"),
    "math.is_inf": _plain("isinf"),
    "math.is_finite": _plain("isfinite"),
    "math.floormod": _plain("mod"),
    "math.mod": _plain("mod"),
    "math.floordiv": _plain("floor_divide"),
    "math.pow": _plain("power"),
    "math.truediv": _plain("true_divide"),
    "realdiv": _plain("true_divide"),
    "math.squared_difference": lambda x, y: _ops().square(x - y),
    "math.divide_no_nan": _divide_no_nan,
    "math.multiply_no_nan": lambda x, y: _ops().where(_ops().equal(y, 0), _ops().zeros_like(x), x * y),
    "math.add_n": _add_n,
    "math.l2_normalize": _l2_normalize,
    "math.cumsum": _cumulative("cumsum"),
    "math.cumprod": _cumulative("cumprod"),
    "math.top_k": _top_k,
    "math.argmax": _extreme("argmax"),
    "math.argmin": _extreme("argmin"),
    "math.log_sigmoid": _plain("log_sigmoid"),
    "math.reduce_sum": _reduction("sum", same_type=True),
    "math.reduce_prod": _reduction("prod", same_type=True),
    "math.reduce_mean": _reduction("mean"),
    "math.reduce_max": _reduction("max"),
    "math.reduce_min": _reduction("min"),
    "math.reduce_any": _reduction("any"),
    "math.reduce_all": _reduction("all"),
    "math.reduce_std": _reduction("std"),
    "math.reduce_variance": _reduction("var"),
    "math.reduce_logsumexp": _reduction("logsumexp"),
    "nn.moments": _moments,
    "linalg.matmul": _matmul,
    "einsum": _einsum,
    "cast": _cast,
    "identity": _identity,
    "convert_to_tensor": lambda value, dtype=None, dtype_hint=None: value if dtype is None else _cast(value, dtype),
    "clip_by_value": _clip,
    "shape": _shape,
    "size": _size,
    "rank": _rank,
    "zeros_like": _filled(0),
    "ones_like": _filled(1),
    "fill": lambda dims, value: _ops().full(dims, value, dtype=getattr(value, "dtype", None)),
    "concat": _concat,
    "stack": _stack,
    "unstack": _unstack,
    "split": _split,
    "slice": _slice,
    "gather": _gather,
    "pad": _pad,
    "where": _where,
    "one_hot": _one_hot,
    "transpose": _transpose,
    "squeeze": _squeeze,
    "reverse": _reverse,
    "nn.leaky_relu": _leaky_relu,
    "nn.silu": _silu,
    "nn.gelu": _gelu,
    "nn.softmax": _softmax("softmax"),
    "nn.log_softmax": _softmax("log_softmax"),
    "range": _range,
    "zeros": _of_shape("zeros"),
    "ones": _of_shape("ones"),
    "random.normal": _random("normal", "mean", "stddev"),
    "random.uniform": _random("uniform", "minval", "maxval"),
    "norm": _norm,
    "sequence_mask": _sequence_mask,
    "repeat": _repeat,
    "tensordot": lambda a, b, axes: _ops().tensordot(a, b, axes=axes),
    "gather_nd": _gather_nd,
    "sort": _sorted("sort"),
    "argsort": _sorted("argsort"),
    "tensor_scatter_nd_update": lambda tensor, indices, updates: _ops().scatter_update(tensor, indices, updates),
    "scatter_nd": lambda indices, updates, shape: _ops().scatter(indices, updates, tuple(shape)),
    "linalg.trace": lambda x: _ops().trace(x, axis1=-2, axis2=-1),
}
