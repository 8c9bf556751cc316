"""The primitives of JAX as functions of Keras: `meaning(*operands, **parameters)`, with sizes in place of JAX's dims.

What JAX means by them: the docstrings of `jax.lax`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np

from any2onnx.errors import UnsupportedParameter

Meaning = Callable[..., Any]


def _ops() -> Any:
    from keras import ops

    return ops


def refuse(primitive: str, parameter: str, value: Any) -> UnsupportedParameter:
    """Return the error for a form of a primitive that is not converted."""
    return UnsupportedParameter(f"JAX's {primitive} with {parameter}={value!r} cannot be converted")


def _plain(name: str) -> Meaning:
    return lambda *operands, **given: getattr(_ops(), name)(*operands)


def _identity(x: Any, **given: Any) -> Any:
    return x


def _dtype(x: Any) -> str:
    return str(np.dtype(str(x.dtype)) if "bfloat16" not in str(x.dtype) else "bfloat16")


def _is_float(x: Any) -> bool:
    return "float" in str(x.dtype)


# --- arithmetic -------------------------------------------------------------------------------------------------------


def _div(x: Any, y: Any, **given: Any) -> Any:
    """Divide; integers are cut towards zero."""
    ops = _ops()
    if _is_float(x):
        return ops.divide(x, y)
    return ops.sign(x) * ops.sign(y) * ops.floor_divide(ops.abs(x), ops.abs(y))


def _rem(x: Any, y: Any, **given: Any) -> Any:
    """Return the remainder, which has the sign of the dividend."""
    ops = _ops()
    return ops.sign(x) * ops.mod(ops.abs(x), ops.abs(y))


def _round(x: Any, rounding_method: Any, **given: Any) -> Any:
    ops = _ops()
    if "EVEN" in str(rounding_method):
        return ops.round(x)
    return ops.sign(x) * ops.floor(ops.abs(x) + 0.5)


def _logic(of_bool: str, of_integers: str) -> Meaning:
    def meaning(*operands: Any, **given: Any) -> Any:
        name = of_bool if "bool" in str(operands[0].dtype) else of_integers
        return getattr(_ops(), name)(*operands)

    return meaning


def _select_n(which: Any, *cases: Any, **given: Any) -> Any:
    """Return the case whose number stands at each place."""
    ops = _ops()
    result = cases[0]
    for k, case in enumerate(cases[1:], 1):
        chosen = which if "bool" in str(which.dtype) else ops.equal(which, k)
        result = ops.where(chosen, case, result)
    return result


def _cast(x: Any, new_dtype: Any, **given: Any) -> Any:
    ops = _ops()
    name = str(np.dtype(new_dtype).name)
    if name != "bool" and "int" in name and _is_float(x):
        x = ops.trunc(x)
    return ops.cast(x, name)


# --- shapes -----------------------------------------------------------------------------------------------------------


def _broadcast_in_dim(x: Any, shape: Sequence[Any], broadcast_dimensions: Sequence[int], **given: Any) -> Any:
    ops = _ops()
    sizes: list[Any] = [1] * len(shape)
    for axis, place in enumerate(broadcast_dimensions):
        sizes[place] = x.shape[axis]
    if len(sizes) != len(x.shape) or list(broadcast_dimensions) != list(range(len(shape))):
        x = ops.reshape(x, tuple(sizes))
    if all(isinstance(a, int) and isinstance(b, int) and int(a) == int(b) for a, b in zip(sizes, shape, strict=True)):
        return x
    return ops.broadcast_to(x, tuple(shape))


def _reshape(x: Any, new_sizes: Sequence[Any], dimensions: Any = None, **given: Any) -> Any:
    if dimensions is not None:
        raise refuse("reshape", "dimensions", dimensions)
    return _ops().reshape(x, tuple(new_sizes))


def _squeeze(x: Any, dimensions: Sequence[int], **given: Any) -> Any:
    return _ops().squeeze(x, axis=tuple(dimensions)) if dimensions else x


def _concatenate(*operands: Any, dimension: int, **given: Any) -> Any:
    return _ops().concatenate(list(operands), axis=dimension)


def _split(x: Any, sizes: Sequence[Any], axis: int, **given: Any) -> Any:
    return _ops().split(x, [int(v) for v in np.cumsum(sizes)[:-1]], axis=axis)


def _pad(x: Any, value: Any, padding_config: Sequence[tuple[Any, Any, Any]], **given: Any) -> Any:
    if any(inner != 0 for _, _, inner in padding_config):
        raise refuse("pad", "padding_config", padding_config)
    x = x[tuple(slice(max(0, -low), None if high >= 0 else high) for low, high, _ in padding_config)]
    widths = [(max(0, low), max(0, high)) for low, high, _ in padding_config]
    if not any(any(pair) for pair in widths):
        return x
    ops = _ops()
    # The value may be a tensor of the program: the frame is taken from a mask.
    inside = ops.pad(ops.ones_like(x, dtype="bool"), widths)
    return ops.where(inside, ops.pad(x, widths), value)


def _slice(x: Any, start_indices: Any, limit_indices: Any, strides: Any = None, **given: Any) -> Any:
    steps = strides or [1] * len(start_indices)
    whole = zip(start_indices, limit_indices, steps, strict=True)
    return x[tuple(slice(first, last, step) for first, last, step in whole)]


def _starts(x: Any, starts: Sequence[Any], sizes: Sequence[Any]) -> list[Any]:
    """Return the first positions of a slice, moved so that it lies inside, as JAX does."""
    ops = _ops()
    return [
        ops.clip(ops.cast(start, "int32"), 0, x.shape[axis] - size)
        for axis, (start, size) in enumerate(zip(starts, sizes, strict=True))
    ]


def _dynamic_slice(x: Any, *starts: Any, slice_sizes: Sequence[Any], **given: Any) -> Any:
    return _ops().slice(x, _starts(x, starts, slice_sizes), tuple(slice_sizes))


def _dynamic_update_slice(x: Any, update: Any, *starts: Any, **given: Any) -> Any:
    return _ops().slice_update(x, _starts(x, starts, update.shape), update)


def _iota(dtype: Any, shape: Sequence[Any], dimension: int, **given: Any) -> Any:
    ops = _ops()
    ramp = ops.arange(shape[dimension], dtype=str(np.dtype(dtype).name))
    return _broadcast_in_dim(ramp, shape, (dimension,))


def _gather(x: Any, indices: Any, dimension_numbers: Any, slice_sizes: Sequence[Any], **given: Any) -> Any:
    """Take rows: one position for each of some dims, all of the others. Positions outside are moved inside.

    `jnp.take` and indexing ask for NaN outside; there, the mode says so.
    """
    ops = _ops()
    d = dimension_numbers
    axes, rank = list(d.start_index_map), len(x.shape)
    if d.operand_batching_dims:
        return _take_along(x, indices, d, slice_sizes)
    whole = all(str(size) == str(x.shape[k]) or k in axes for k, size in enumerate(slice_sizes))
    if not whole or sorted(axes) != list(d.collapsed_slice_dims) or any(slice_sizes[k] != 1 for k in axes):
        return _sliced(x, indices, d, slice_sizes)
    parts = [ops.clip(ops.take(indices, k, axis=-1), 0, x.shape[axis] - 1) for k, axis in enumerate(axes)]
    moved = ops.transpose(x, (*axes, *(k for k in range(rank) if k not in axes)))
    rows = ops.take(moved, parts[0], axis=0) if len(parts) == 1 else moved[tuple(parts)]
    if "FILL" in str(given.get("mode")):
        inside = ops.equal(parts[0], ops.take(indices, 0, axis=-1))
        for k, part in enumerate(parts[1:], 1):
            inside = ops.logical_and(inside, ops.equal(part, ops.take(indices, k, axis=-1)))
        fill = given.get("fill_value")
        fill = _default_fill(x) if fill is None else fill
        trailing = len(rows.shape) - len(inside.shape)
        rows = ops.where(ops.reshape(inside, (*inside.shape, *[1] * trailing)), rows, ops.cast(fill, _dtype(x)))
    # The dims of the rows stand last; `offset_dims` says where they go.
    return _placed(rows, len(parts[0].shape), d.offset_dims)


def _default_fill(x: Any) -> Any:
    if _is_float(x):
        return float("nan")
    if "bool" in str(x.dtype):
        return True
    limits = np.iinfo(str(x.dtype))
    return limits.min if limits.min < 0 else limits.max


def _placed(rows: Any, leading: int, offset_dims: Sequence[int]) -> Any:
    rank = len(rows.shape)
    batch, offset = iter(range(leading)), iter(range(leading, rank))
    order = tuple(next(offset) if k in offset_dims else next(batch) for k in range(rank))
    return rows if order == tuple(range(rank)) else _ops().transpose(rows, order)


def _sliced(x: Any, indices: Any, d: Any, slice_sizes: Sequence[Any]) -> Any:
    """Take one slice (`x[:, 2:5]`), or else one from each of several positions."""
    ops = _ops()
    if len(indices.shape) != 1:
        return _windows(x, indices, d, slice_sizes)
    starts: list[Any] = [0] * len(x.shape)
    for k, axis in enumerate(d.start_index_map):
        starts[axis] = indices[k]
    found = ops.slice(x, _starts(x, starts, slice_sizes), tuple(slice_sizes))
    return _squeeze(found, d.collapsed_slice_dims)


def _windows(x: Any, indices: Any, d: Any, slice_sizes: Sequence[Any]) -> Any:
    """Take a window at each position, by the number of each element in the flat tensor."""
    ops = _ops()
    batch, kept = indices.shape[:-1], [k for k in range(len(x.shape)) if k not in d.collapsed_slice_dims]
    place: Any = 0
    for axis, size in enumerate(slice_sizes):
        grid = [1] * (len(batch) + len(kept))
        if axis in kept:
            grid[len(batch) + kept.index(axis)] = size
        found = ops.reshape(ops.arange(size, dtype="int32"), tuple(grid))
        if axis in d.start_index_map:
            start = ops.take(indices, list(d.start_index_map).index(axis), axis=-1)
            start = ops.clip(ops.cast(start, "int32"), 0, x.shape[axis] - size)
            found = found + ops.reshape(start, (*batch, *[1] * len(kept)))
        place = place * x.shape[axis] + found
    rows = ops.take(ops.reshape(x, (-1,)), place, axis=0)
    return _placed(rows, len(batch), d.offset_dims)


def _take_along(x: Any, indices: Any, d: Any, slice_sizes: Sequence[Any]) -> Any:
    axes = list(d.start_index_map)
    batched, rank = list(d.operand_batching_dims), len(x.shape)
    plain = len(axes) == 1 and sorted([*axes, *batched]) == list(range(rank)) and len(indices.shape) == rank + 1
    if not plain or list(d.start_indices_batching_dims) != batched or any(size != 1 for size in slice_sizes):
        raise refuse("gather", "dimension_numbers", d)
    ops = _ops()
    return ops.take_along_axis(x, ops.squeeze(indices, axis=-1), axis=axes[0])


# --- reductions and sums ----------------------------------------------------------------------------------------------


def _reduction(name: str) -> Meaning:
    def meaning(x: Any, axes: Sequence[int], **given: Any) -> Any:
        return getattr(_ops(), name)(x, axis=tuple(axes)) if axes else x

    return meaning


def _extreme(name: str) -> Meaning:
    return lambda x, axes, **given: getattr(_ops(), name)(x, axis=axes[0])


def _cumulative(name: str) -> Meaning:
    def meaning(x: Any, axis: int, reverse: bool = False, **given: Any) -> Any:
        ops = _ops()
        if not reverse:
            return getattr(ops, name)(x, axis=axis)
        return ops.flip(getattr(ops, name)(ops.flip(x, axis=axis), axis=axis), axis=axis)

    return meaning


def _sort(*operands: Any, dimension: int, num_keys: int, **given: Any) -> Any:
    ops = _ops()
    if len(operands) == 1:
        return [ops.sort(operands[0], axis=dimension)]
    if num_keys != 1:
        raise refuse("sort", "num_keys", num_keys)
    order = ops.argsort(operands[0], axis=dimension)
    return [ops.take_along_axis(operand, order, axis=dimension) for operand in operands]


def _top_k(x: Any, k: int, axis: int = -1, **given: Any) -> Any:
    if axis not in (-1, len(x.shape) - 1):
        raise refuse("top_k", "axis", axis)
    return list(_ops().top_k(x, int(k)))


def _dot_general(x: Any, y: Any, dimension_numbers: Any, **given: Any) -> Any:
    (of_x, of_y), (batch_x, batch_y) = dimension_numbers
    letters = iter("abcdefghijklmnopqrstuvwxyz")
    left = [next(letters) for _ in x.shape]
    right = [next(letters) for _ in y.shape]
    for a, b in (*zip(of_x, of_y, strict=True), *zip(batch_x, batch_y, strict=True)):
        right[b] = left[a]
    result = [left[k] for k in batch_x]
    result += [letter for k, letter in enumerate(left) if k not in (*of_x, *batch_x)]
    result += [letter for k, letter in enumerate(right) if k not in (*of_y, *batch_y)]
    return _ops().einsum(f"{''.join(left)},{''.join(right)}->{''.join(result)}", x, y)


# --- windows ----------------------------------------------------------------------------------------------------------


def _conv(
    x: Any, kernel: Any, window_strides: Any, padding: Any, lhs_dilation: Any, rhs_dilation: Any, **given: Any
) -> Any:
    if any(step != 1 for step in lhs_dilation):
        raise refuse("conv_general_dilated", "lhs_dilation", tuple(lhs_dilation))
    if given.get("batch_group_count", 1) != 1:
        raise refuse("conv_general_dilated", "batch_group_count", given["batch_group_count"])
    ops, numbers = _ops(), given["dimension_numbers"]
    of_x, of_kernel, of_result = numbers.lhs_spec, numbers.rhs_spec, numbers.out_spec
    x = ops.transpose(x, (of_x[0], *of_x[2:], of_x[1]))
    kernel = ops.transpose(kernel, (*of_kernel[2:], of_kernel[1], of_kernel[0]))
    x = _framed(x, [(0, 0), *padding, (0, 0)], 0.0)
    y = ops.conv(x, kernel, tuple(window_strides), "valid", "channels_last", tuple(rhs_dilation))
    # Ours has batch, places, channels; theirs each at its own place.
    places = {of_result[0]: 0, of_result[1]: len(of_result) - 1}
    places |= {axis: k + 1 for k, axis in enumerate(of_result[2:])}
    return ops.transpose(y, tuple(places[k] for k in range(len(of_result))))


def _framed(x: Any, widths: Sequence[tuple[Any, Any]], value: float) -> Any:
    if not any(low or high for low, high in widths):
        return x
    return _ops().pad(x, [(int(low), int(high)) for low, high in widths], constant_values=value)


def _window(kind: str) -> Meaning:
    def meaning(x: Any, window_dimensions: Any, window_strides: Any, padding: Any, **given: Any) -> Any:
        ops = _ops()
        for name in ("base_dilation", "window_dilation"):
            if any(step != 1 for step in given.get(name) or ()):
                raise refuse(f"reduce_window_{kind}", name, given[name])
        rank = len(x.shape)
        pooled = [k for k in range(rank) if window_dimensions[k] != 1 or window_strides[k] != 1] or [rank - 2]
        others = [k for k in range(rank) if k not in pooled]
        order = (*others[:-1], *pooled, others[-1])
        value = {"max": float("-inf"), "min": float("-inf"), "sum": 0.0}[kind]
        y = ops.transpose(-x if kind == "min" else x, order)
        y = _framed(y, [padding[k] for k in order], value)
        sizes, steps = (tuple(int(v[k]) for k in pooled) for v in (window_dimensions, window_strides))
        leading = y.shape[: len(others) - 1]
        y = ops.reshape(y, (-1, *y.shape[len(leading) :]))
        if kind == "sum":
            y = ops.average_pool(y, sizes, steps, "valid", "channels_last") * float(np.prod(sizes))
        else:
            y = ops.max_pool(y, sizes, steps, "valid", "channels_last")
        y = ops.reshape(y, (*leading, *y.shape[1:]))
        y = ops.transpose(y, tuple(int(k) for k in np.argsort(order)))
        return -y if kind == "min" else y

    return meaning


# --- table ------------------------------------------------------------------------------------------------------------

# Primitives by the names of the functions of Keras that mean the same.
_SAME: Final = {
    "neg": "negative", "sign": "sign", "floor": "floor", "ceil": "ceil", "exp": "exp", "exp2": "exp2", "log": "log",
    "log1p": "log1p", "expm1": "expm1", "tanh": "tanh", "sin": "sin", "cos": "cos", "tan": "tan", "asin": "arcsin",
    "acos": "arccos", "atan": "arctan", "sinh": "sinh", "cosh": "cosh", "asinh": "arcsinh", "acosh": "arccosh",
    "atanh": "arctanh", "sqrt": "sqrt", "rsqrt": "rsqrt", "cbrt": "cbrt", "logistic": "sigmoid", "erf": "erf",
    "erf_inv": "erfinv", "is_finite": "isfinite", "abs": "abs", "square": "square", "add": "add", "sub": "subtract",
    "mul": "multiply", "max": "maximum", "min": "minimum", "pow": "power", "atan2": "arctan2", "eq": "equal",
    "ne": "not_equal", "lt": "less", "le": "less_equal", "gt": "greater", "ge": "greater_equal", "add_any": "add",
    "shift_left": "left_shift", "shift_right_arithmetic": "right_shift",
}  # fmt: skip

TABLE: Final[Mapping[str, Meaning]] = {
    **{primitive: _plain(name) for primitive, name in _SAME.items()},
    **dict.fromkeys(("copy", "copy_p", "stop_gradient", "optimization_barrier", "reduce_precision"), _identity),
    "div": _div,
    "rem": _rem,
    "round": _round,
    "erfc": lambda x, **given: 1.0 - _ops().erf(x),
    "integer_pow": lambda x, y, **given: _ops().power(x, np.asarray(y, _dtype(x))),
    "not": _logic("logical_not", "bitwise_not"),
    "and": _logic("logical_and", "bitwise_and"),
    "or": _logic("logical_or", "bitwise_or"),
    "xor": _logic("logical_xor", "bitwise_xor"),
    "select_n": _select_n,
    "clamp": lambda low, x, high, **given: _ops().minimum(_ops().maximum(x, low), high),
    "convert_element_type": _cast,
    "broadcast_in_dim": _broadcast_in_dim,
    "reshape": _reshape,
    "transpose": lambda x, permutation, **given: _ops().transpose(x, tuple(permutation)),
    "squeeze": _squeeze,
    "expand_dims": lambda x, dimensions, **given: _ops().expand_dims(x, tuple(dimensions)),
    "rev": lambda x, dimensions, **given: _ops().flip(x, axis=tuple(dimensions)),
    "concatenate": _concatenate,
    "stack": lambda *operands, axis, **given: _ops().stack(list(operands), axis=axis),
    "unstack": lambda x, axis, **given: list(_ops().unstack(x, axis=axis)),
    "split": _split,
    "pad": _pad,
    "slice": _slice,
    "dynamic_slice": _dynamic_slice,
    "dynamic_update_slice": _dynamic_update_slice,
    "iota": _iota,
    "gather": _gather,
    "dim_as_value": lambda dim, **given: _ops().convert_to_tensor(dim, "int32"),
    "reduce_sum": _reduction("sum"),
    "reduce_prod": _reduction("prod"),
    "reduce_max": _reduction("max"),
    "reduce_min": _reduction("min"),
    "reduce_and": _reduction("all"),
    "reduce_or": _reduction("any"),
    "argmax": _extreme("argmax"),
    "argmin": _extreme("argmin"),
    "cumsum": _cumulative("cumsum"),
    "cumprod": _cumulative("cumprod"),
    "sort": _sort,
    "top_k": _top_k,
    "dot_general": _dot_general,
    "conv_general_dilated": _conv,
    "reduce_window_max": _window("max"),
    "reduce_window_min": _window("min"),
    "reduce_window_sum": _window("sum"),
}
