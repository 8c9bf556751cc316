"""Convolution, linear maps, normalisation."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np

from any2onnx.converters.pytorch.call import TorchCall, as_type, refuse, scalar
from any2onnx.converters.pytorch.compute_dtype import in_float32
from any2onnx.graph import convolutions
from any2onnx.graph.builder import GraphBuilder
from any2onnx.graph.types import FLOATS, DataType, Value, dtype_of, rank_of

Three = tuple[Value, Value | None, Value | None]


def repeated(value: Any, n: int) -> list[int]:
    """Return a setting per spatial dim: a number, or a list of one, stands for all."""
    numbers = [int(v) for v in value] if isinstance(value, list | tuple) else [int(value)]
    return numbers * n if len(numbers) == 1 else numbers


# --- convolution ----------------------------------------------------------------------------------------------------


def conv(g: GraphBuilder, call: TorchCall) -> Value:
    """Convolution of 1 to 3 spatial dims, with or without a batch dim; padding in numbers or "same" / "valid"."""
    x, weight = call.params["input"], call.params["weight"]
    n = rank_of(weight) - 2
    padding, dilation = call.params["padding"], repeated(call.params["dilation"], n)
    kernel = _kernel(call)
    if isinstance(padding, str) and padding == "same" and kernel is None:
        raise refuse(call, "padding", "the size of the kernel is dynamic")
    if isinstance(padding, str):
        total = [d * (k - 1) if padding == "same" else 0 for d, k in zip(dilation, kernel or [1] * n, strict=True)]
        pads = [t // 2 for t in total] + [t - t // 2 for t in total]
    else:
        pads = repeated(padding, n) * 2
    settings: dict[str, Any] = {
        # What ONNX takes for granted is left out: a network has a hundred of these.
        "strides": _unless_all(1, repeated(call.params["stride"], n)),
        "pads": _unless_all(0, pads),
        "dilations": _unless_all(1, dilation),
        "group": call.params["groups"],
        "kernel_shape": kernel,
    }
    if settings["group"] == 1:
        del settings["group"]
    # Integers are multiplied as integers.
    form = g.Conv if dtype_of(x) in FLOATS else functools.partial(convolutions.conv, g)
    return _batched(g, x, n, lambda v: form(v, weight, call.params["bias"], **settings))


def _kernel(call: TorchCall) -> list[int] | None:
    """Return the size of a convolution's kernel; None where it is dynamic, which ONNX's own operators in float32 take.

    Raises:
        UnsupportedParameter: It is dynamic in a type in which convolution is made of other operators.
    """
    sizes = call.dims_of("weight")[2:]
    if all(isinstance(size, int) for size in sizes):
        return [int(size) for size in sizes]
    if dtype_of(call.params["weight"]) not in FLOATS - {DataType.DOUBLE}:
        raise refuse(call, "weight", "the size of the kernel is dynamic")
    return None


def conv_transpose(g: GraphBuilder, call: TorchCall) -> Value:
    """Transposed convolution of 1 to 3 spatial dims."""
    x, weight = call.params["input"], call.params["weight"]
    n = rank_of(weight) - 2
    output_padding, stride = repeated(call.params["output_padding"], n), repeated(call.params["stride"], n)
    padding, bias = repeated(call.params["padding"], n), call.params["bias"]
    settings: dict[str, Any] = {
        "strides": stride,
        "dilations": repeated(call.params["dilation"], n),
        "group": call.params["groups"],
        "kernel_shape": _kernel(call),
    }
    if dtype_of(x) not in FLOATS:
        whole_numbers = functools.partial(convolutions.conv_transpose, g)
        settings |= {"pads": padding * 2, "output_padding": output_padding}
        return _batched(g, x, n, lambda v: whole_numbers(v, weight, bias, **settings))
    if any(o >= s for o, s in zip(output_padding, stride, strict=True)):
        # onnxruntime takes no such padding: the whole result is cut, or extended by what only the bias reaches.
        def cut(v: Value) -> Value:
            whole = g.ConvTranspose(v, weight, None, **settings, pads=[0] * (2 * n))
            ends = [o - p for o, p in zip(output_padding, padding, strict=True)]
            y = g.Pad(whole, [0, 0, *(-p for p in padding), 0, 0, *ends])
            return y if bias is None else g.Add(y, g.Unsqueeze(bias, list(range(1, n + 1))))

        return _batched(g, x, n, cut)
    settings |= {"pads": padding * 2, "output_padding": output_padding if any(output_padding) else None}
    return _batched(g, x, n, lambda v: g.ConvTranspose(v, weight, bias, **settings))


def convolution(g: GraphBuilder, call: TorchCall) -> Value:
    """aten.convolution: either kind."""
    return conv_transpose(g, call) if call.params["transposed"] else conv(g, call)


def conv_tbc(g: GraphBuilder, call: TorchCall) -> Value:
    """Convolution of [time, batch, channels] with a weight [kernel, in, out]."""
    p = call.params
    x, weight = g.Transpose(p["self"], perm=[1, 2, 0]), g.Transpose(p["weight"], perm=[2, 1, 0])
    return g.Transpose(g.Conv(x, weight, p["bias"], pads=[int(p["pad"])] * 2), perm=[2, 0, 1])


def _unless_all(default: int, numbers: Sequence[int]) -> Sequence[int] | None:
    return None if all(number == default for number in numbers) else numbers


def _batched(g: GraphBuilder, x: Value, spatial: int, apply: Any) -> Value:
    """Apply to an input with a batch dim, adding and removing one where the input has none."""
    if rank_of(x) == spatial + 2:
        return apply(x)  # type: ignore[no-any-return]
    return g.Squeeze(apply(g.Unsqueeze(x, 0)), 0)


# --- linear ---------------------------------------------------------------------------------------------------------


def linear(g: GraphBuilder, call: TorchCall) -> Value:
    """x · weightᵀ + bias. The weight is never copied: Gemm transposes it itself, MatMul reads it through Transpose."""
    x, weight, bias = call.params["input"], call.params["weight"], call.params["bias"]
    if rank_of(x) == 2 and rank_of(weight) == 2 and dtype_of(x) in FLOATS:
        return g.Gemm(x, weight, bias, transB=1)
    product = g.MatMul(x, g.Transpose(weight, perm=[1, 0]) if rank_of(weight) == 2 else weight)
    return product if bias is None else g.Add(product, bias)


def matmul(g: GraphBuilder, call: TorchCall) -> Value:
    """Matrix product: mm, bmm, mv, dot, matmul."""
    a, b = call.inputs
    return g.MatMul(a, b)


def matmul_into(g: GraphBuilder, call: TorchCall) -> Value:
    """Matrix product computed in the type of the result: int8 in int32, half types in float32."""
    a, b = call.inputs
    return g.MatMul(g.Cast(a, call.dtype), g.Cast(b, call.dtype))


def weight_int8_mm(g: GraphBuilder, call: TorchCall) -> Value:
    """x · weightᵀ with an int8 weight and a scale for each of its rows."""
    x, weight, scales = call.params["self"], call.params["mat2"], call.params["scales"]
    return g.Mul(g.MatMul(x, g.Cast(g.Transpose(weight, perm=[1, 0]), dtype_of(x))), g.Cast(scales, dtype_of(x)))


def addmm(g: GraphBuilder, call: TorchCall) -> Value:
    """beta · self + alpha · mat1 · mat2."""
    c, a, b = (call.params[n] for n in ("self", "mat1", "mat2"))
    alpha, beta = call.params["alpha"], call.params["beta"]
    numbers = not isinstance(alpha, Value) and not isinstance(beta, Value)
    # Gemm's factors are float32 attributes: float64 takes them only where that loses nothing.
    exact = numbers and (dtype_of(a) != DataType.DOUBLE or all(float(np.float32(v)) == v for v in (alpha, beta)))
    if dtype_of(a) in FLOATS and exact:
        if beta == 0:
            return g.Gemm(a, b, alpha=float(alpha))
        return g.Gemm(a, b, c, alpha=float(alpha), beta=float(beta))
    return _plus(g, call, c, g.MatMul(a, b))


@in_float32
def plus_product(g: GraphBuilder, call: TorchCall) -> Value:
    """beta · self + alpha · a · b for addmv, baddbmm."""
    c, a, b = call.inputs[:3]
    return _plus(g, call, c, g.MatMul(a, b))


@in_float32
def addbmm(g: GraphBuilder, call: TorchCall) -> Value:
    """beta · self + alpha · the sum of the batch's products."""
    c, a, b = call.inputs[:3]
    return _plus(g, call, c, g.ReduceSum(g.MatMul(a, b), 0, keepdims=False))


@in_float32
def addr(g: GraphBuilder, call: TorchCall) -> Value:
    """beta · self + alpha · outer(vec1, vec2)."""
    c, a, b = (as_type(g, v, call.dtype) for v in call.inputs[:3])
    if call.dtype == DataType.BOOL:
        return g.Or(c, g.And(g.Unsqueeze(a, 1), g.Unsqueeze(b, 0)))
    return _plus(g, call, c, g.Mul(g.Unsqueeze(a, 1), g.Unsqueeze(b, 0)))


def outer(g: GraphBuilder, call: TorchCall) -> Value:
    """self[:, None] · vec2[None, :]."""
    a, b = (as_type(g, v, call.dtype) for v in call.inputs)
    return g.op("And" if call.dtype == DataType.BOOL else "Mul", g.Unsqueeze(a, 1), g.Unsqueeze(b, 0))


def _plus(g: GraphBuilder, call: TorchCall, c: Value, product: Value) -> Value:
    alpha, beta = call.params.get("alpha", 1), call.params.get("beta", 1)
    if isinstance(alpha, Value) or alpha != 1:
        product = g.Mul(product, as_type(g, alpha, dtype_of(product)))
    if not isinstance(beta, Value) and beta == 0:
        # The product alone, but in the shape of the sum: NaN in self must not show.
        return g.Expand(product, call.shape(g))
    if isinstance(beta, Value) or beta != 1:
        c = g.Mul(c, as_type(g, beta, dtype_of(c)))
    return g.Add(c, product)


def einsum(g: GraphBuilder, call: TorchCall) -> Value:
    """Einstein summation."""
    tensors = call.params["tensors"]
    if call.dtype == DataType.BOOL:
        # No kernel takes truth values: sums of products that are not 0.
        tensors = [g.Cast(t, DataType.INT64) for t in tensors]
        equation = spelled_out(call.params["equation"], [rank_of(t) for t in tensors])
        return g.Cast(g.Einsum(*tensors, equation=equation), DataType.BOOL)
    # Of a single term torch makes a sum, which is int64 for whole numbers of any width.
    operands = [g.Cast(t, call.dtype) for t in tensors]
    return g.Einsum(*operands, equation=spelled_out(call.params["equation"], [rank_of(t) for t in tensors]))


def spelled_out(equation: str, ranks: Sequence[int]) -> str:
    """Return an equation whose ellipses stand for equally many dims, or are letters where they do not."""
    equation = equation.replace(" ", "")
    if "..." not in equation:
        return equation
    left, arrow, right = equation.partition("->")
    terms = left.split(",")
    hidden = [r - len(t.replace("...", "")) if "..." in t else 0 for t, r in zip(terms, ranks, strict=True)]
    if len({h for h, t in zip(hidden, terms, strict=True) if "..." in t}) == 1 and all("..." in t for t in terms):
        return equation
    if not arrow:
        # Without an arrow: the dims of the ellipsis, then the letters that occur once, in order.
        letters = left.replace("...", "").replace(",", "")
        right = "..." + "".join(sorted(c for c in set(letters) if letters.count(c) == 1))
    free = [c for c in "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ" if c not in equation]
    names = "".join(free[: max(hidden)])
    parts = [t.replace("...", names[len(names) - h :]) for t, h in zip(terms, hidden, strict=True)]
    return ",".join(parts) + "->" + right.replace("...", names)


@in_float32
def bilinear(g: GraphBuilder, call: TorchCall) -> Value:
    """input1 · weight[k] · input2 for every k, plus bias."""
    a, b, w, bias = (call.params[n] for n in ("input1", "input2", "weight", "bias"))
    product = g.Einsum(a, w, b, equation="...i,kij,...j->...k")
    return product if bias is None else g.Add(product, bias)


# --- normalisation --------------------------------------------------------------------------------------------------


def batch_norm(g: GraphBuilder, call: TorchCall) -> Value:
    """Batch normalisation: by the running statistics, or by those of the batch in training mode."""
    training = bool(call.params["training"]) or call.params["running_mean"] is None
    return _batch_norm(g, call, training)[0]


def native_batch_norm(g: GraphBuilder, call: TorchCall) -> Three:
    """Batch normalisation with the statistics of the batch as further results."""
    training = bool(call.params.get("training", False)) or call.params.get("running_mean") is None
    return _batch_norm(g, call, training)


def _batch_norm(g: GraphBuilder, call: TorchCall, training: bool) -> Three:
    x = call.params["input"]
    dtype = dtype_of(x)
    eps = call.params["eps"]
    if rank_of(x) < 2:
        # torch takes it for no elements only.
        return x, x, x
    channels = call.dims_of("input")[1]
    column = list(range(1, rank_of(x) - 1))

    def per_channel(name: str, default: float) -> Value:
        value = call.params.get(name)
        if value is None:
            if not isinstance(channels, int):
                return scalar(g, default, dtype)
            return g.const(np.full(int(channels), default, dtype.numpy()))
        return g.Cast(value, dtype)

    if not training:
        scale, bias = per_channel("weight", 1.0), per_channel("bias", 0.0)
        mean, var = per_channel("running_mean", 0.0), per_channel("running_var", 1.0)
        # Torch gives no statistics in evaluation mode: two empty vectors.
        empty = g.const(np.zeros(0, dtype.numpy()))
        return g.BatchNormalization(x, scale, bias, mean, var, epsilon=eps), empty, empty
    axes = [0, *range(2, rank_of(x))]
    mean = g.ReduceMean(x, axes)
    centred = g.Sub(x, mean)
    var = g.ReduceMean(g.Mul(centred, centred), axes)
    inverse = g.Reciprocal(g.Sqrt(g.Add(var, scalar(g, eps, dtype))))
    y = g.Mul(centred, inverse)
    for name, op_type in (("weight", "Mul"), ("bias", "Add")):
        if call.params.get(name) is not None:
            value = g.Cast(call.params[name], dtype)
            y = g.op(op_type, y, g.Unsqueeze(value, column) if column else value)
    return y, g.Squeeze(mean, axes), g.Squeeze(inverse, axes)


def instance_norm(g: GraphBuilder, call: TorchCall) -> Value:
    """Normalisation of every channel of every sample."""
    if not call.params["use_input_stats"]:
        return _batch_norm(g, call, training=False)[0]
    x = call.params["input"]
    scale, shift = _of_channels(g, call, x)
    return g.op("InstanceNormalization", x, scale, shift, epsilon=call.params["eps"])


def _of_channels(g: GraphBuilder, call: TorchCall, x: Value) -> tuple[Value, Value]:
    """Return weight and bias of each channel: ones and zeros where the layer has none."""
    dtype, channels = dtype_of(x), call.dims_of("input")[1]
    found = []
    for name, neutral in (("weight", 1), ("bias", 0)):
        if call.params[name] is not None:
            found.append(g.Cast(call.params[name], dtype))
        elif isinstance(channels, int):
            found.append(g.const(np.full(channels, neutral, dtype.numpy())))
        else:
            found.append(g.Expand(scalar(g, neutral, dtype), g.dim(x, 1)))
    return found[0], found[1]


def layer_norm(g: GraphBuilder, call: TorchCall) -> Value:
    """Normalisation over the last dims."""
    x = call.params["input"]
    scale, bias = _affine(g, call, x)
    return g.LayerNormalization(x, scale, bias, axis=-len(call.params["normalized_shape"]), epsilon=call.params["eps"])


def native_layer_norm(g: GraphBuilder, call: TorchCall) -> Three:
    """Layer normalisation with mean and inverse deviation as further results."""
    x = call.params["input"]
    axes = list(range(rank_of(x) - len(call.params["normalized_shape"]), rank_of(x)))
    mean = g.ReduceMean(x, axes)
    centred = g.Sub(x, mean)
    var = g.ReduceMean(g.Mul(centred, centred), axes)
    return layer_norm(g, call), mean, g.Reciprocal(g.Sqrt(g.Add(var, scalar(g, call.params["eps"], dtype_of(x)))))


def _affine(g: GraphBuilder, call: TorchCall, x: Value) -> tuple[Value, Value | None]:
    weight, bias = call.params["weight"], call.params.get("bias")
    if weight is None:
        shape = call.params["normalized_shape"]
        if any(isinstance(d, Value) for d in shape):
            weight = g.Expand(scalar(g, 1, dtype_of(x)), call.sizes.vector(g, shape))
        else:
            weight = g.const(np.ones([int(d) for d in shape], dtype_of(x).numpy()))
    return g.Cast(weight, dtype_of(x)), None if bias is None else g.Cast(bias, dtype_of(x))


def rms_norm(g: GraphBuilder, call: TorchCall) -> Value:
    """Division by the root mean square over the last dims."""
    x = call.params["input"]
    eps = call.params["eps"]
    if eps is None:
        eps = float(np.finfo(dtype_of(x).numpy()).eps) if dtype_of(x) != DataType.BFLOAT16 else 2.0**-7
    scale, _ = _affine(g, call, x)
    return g.RMSNormalization(x, scale, axis=-len(call.params["normalized_shape"]), epsilon=eps)


def group_norm(g: GraphBuilder, call: TorchCall) -> Value:
    """Normalisation over groups of channels."""
    x = call.params["input"]
    if 0 in call.dims:
        return x  # type: ignore[no-any-return]
    groups = int(call.params["num_groups"])
    if dtype_of(x) == DataType.DOUBLE or not isinstance(call.dims_of("input")[1], int):
        return _group_norm_exact(g, call, x, groups)
    scale, shift = _of_channels(g, call, x)
    dtype = dtype_of(x)
    if dtype == DataType.BFLOAT16:
        # As torch: one rounding at the end, not one behind each step of the form that runtimes without a kernel get.
        x, scale, shift = (g.Cast(v, DataType.FLOAT) for v in (x, scale, shift))
    flat = rank_of(x) == 2
    y = g.GroupNormalization(
        g.Unsqueeze(x, 2) if flat else x, scale, shift, num_groups=groups, epsilon=call.params["eps"]
    )
    return g.Cast(g.Squeeze(y, 2) if flat else y, dtype)


def _group_norm_exact(g: GraphBuilder, call: TorchCall, x: Value, groups: int) -> Value:
    """Step by step: of dynamic channels, and in float64, where an epsilon of float32 shows if the variance is small."""
    grouped = g.Reshape(x, [0, groups, -1])
    centred = g.Sub(grouped, g.ReduceMean(grouped, -1))
    variance = g.ReduceMean(g.Mul(centred, centred), -1)
    normal = g.Div(centred, g.Sqrt(g.Add(variance, scalar(g, call.params["eps"], dtype_of(x)))))
    y = g.Reshape(normal, call.shape(g))
    column = list(range(1, rank_of(x) - 1))
    for name, op_type in (("weight", "Mul"), ("bias", "Add")):
        value = call.params[name]
        if value is not None:
            y = g.op(op_type, y, g.Unsqueeze(value, column) if column else value)
    return y
