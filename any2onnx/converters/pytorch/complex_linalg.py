"""Products, norms, sums over products, inverses of complex tensors, on pairs of real ones."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from any2onnx.converters.pytorch.call import TorchCall, as_type, at_least_1d, axes_of, axis_of, scalar
from any2onnx.converters.pytorch.complex_math import conjugate, modulus, plus, quotient, scaled, times
from any2onnx.converters.pytorch.complex_pairs import (
    COMPLEX_PREFIX,
    Complex,
    apply_parts,
    as_pair,
    is_complex,
    is_real,
    part_dtype,
    real_call,
    structure,
)
from any2onnx.converters.pytorch.linalg import Factors, identity_like, transposed_last
from any2onnx.converters.pytorch.nn import spelled_out
from any2onnx.converters.pytorch.reductions import dims_param, keepdim, reduced
from any2onnx.converters.pytorch.shapes import transposed
from any2onnx.graph.builder import GraphBuilder
from any2onnx.graph.types import DataType, Value, rank_of, shape_of

DOUBLE = DataType.DOUBLE
Product = Callable[[Value, Value], Value]


def product_of(g: GraphBuilder, a: Complex, b: Complex, multiply: Product) -> Complex:
    """Return a bilinear product: four real ones."""
    re = g.Sub(multiply(a.re, b.re), multiply(a.im, b.im))
    return Complex(re, g.Add(multiply(a.re, b.im), multiply(a.im, b.re)))


def _product(g: GraphBuilder, a: Any, b: Any, multiply: Product, dtype: DataType) -> Complex:
    """Return a bilinear product; where one factor is real, two real ones."""
    if is_real(a):
        factor, z = as_type(g, a, dtype), as_pair(g, b, dtype)
        return apply_parts(z, lambda v: multiply(factor, v))
    if is_real(b):
        factor, z = as_type(g, b, dtype), as_pair(g, a, dtype)
        return apply_parts(z, lambda v: multiply(v, factor))
    return product_of(g, as_pair(g, a, dtype), as_pair(g, b, dtype), multiply)


def matmul(g: GraphBuilder, call: TorchCall) -> Complex:
    """Matrix product: mm, bmm, mv, dot, matmul; vdot takes the conjugate of its first factor."""
    a, b = call.inputs
    if "vdot" in call.key:
        a = conjugate(g, as_pair(g, a, part_dtype(call)))
    return _product(g, a, b, g.MatMul, part_dtype(call))


def plus_product(g: GraphBuilder, call: TorchCall) -> Complex:
    """beta · self + alpha · a · b: addmm, addmv, baddbmm, addbmm, addr."""
    c, a, b = call.inputs[:3]
    dtype = part_dtype(call)

    def multiply(x: Value, y: Value) -> Value:
        if "addr" in call.key:
            return g.Mul(g.Unsqueeze(x, 1), g.Unsqueeze(y, 0))
        result = g.MatMul(x, y)
        return g.ReduceSum(result, 0, keepdims=False) if ".addbmm." in call.key else result

    product = _times_number(g, _product(g, a, b, multiply, dtype), call.params.get("alpha", 1))
    beta = call.params.get("beta", 1)
    if is_real(beta) and not isinstance(beta, Value) and beta == 0:
        return apply_parts(product, lambda v: g.Expand(v, call.shape(g)))
    return plus(g, _times_number(g, as_pair(g, c, dtype), beta), product)


def _times_number(g: GraphBuilder, z: Complex, number: Any) -> Complex:
    if not is_real(number):
        return times(g, z, as_pair(g, number, z.dtype))
    if not isinstance(number, Value) and number == 1:
        return z
    return scaled(g, z, as_type(g, number, z.dtype))


def outer(g: GraphBuilder, call: TorchCall) -> Complex:
    """self[:, None] · vec2[None, :]."""
    a, b = call.inputs
    return _product(g, a, b, lambda x, y: g.Mul(g.Unsqueeze(x, 1), g.Unsqueeze(y, 0)), part_dtype(call))


def linear(g: GraphBuilder, call: TorchCall) -> Complex:
    """x · weightᵀ + bias."""
    x, weight, bias = (call.params[n] for n in ("input", "weight", "bias"))
    dtype = part_dtype(call)

    def multiply(a: Value, w: Value) -> Value:
        return g.MatMul(a, g.Transpose(w, perm=[1, 0]) if rank_of(w) == 2 else w)

    result = _product(g, x, weight, multiply, dtype)
    return result if bias is None else plus(g, result, as_pair(g, bias, dtype))


def einsum(g: GraphBuilder, call: TorchCall) -> Complex:
    """Einstein summation."""
    tensors = call.params["tensors"]
    ranks = [z.rank if isinstance(z, Complex) else rank_of(z) for z in tensors]
    equation = spelled_out(call.params["equation"], ranks)
    if len(tensors) == 2:
        a, b = tensors
        return _product(g, a, b, lambda x, y: g.Einsum(x, y, equation=equation), part_dtype(call))
    # The product of n sums of two parts: 2ⁿ terms, each with a power of i.
    parts = [as_pair(g, z, part_dtype(call)) for z in tensors]
    powers: list[list[Value]] = [[], [], [], []]
    for chosen in itertools.product((0, 1), repeat=len(parts)):
        term = g.Einsum(*((z.re, z.im)[k] for z, k in zip(parts, chosen, strict=True)), equation=equation)
        powers[sum(chosen) % 4].append(term)
    positive_re, positive_im, negative_re, negative_im = (functools.reduce(g.Add, p) if p else None for p in powers)
    assert positive_re is not None
    assert positive_im is not None
    re = positive_re if negative_re is None else g.Sub(positive_re, negative_re)
    return Complex(re, positive_im if negative_im is None else g.Sub(positive_im, negative_im))


def convolution(g: GraphBuilder, call: TorchCall) -> Complex:
    """Convolution of either kind: four real ones."""
    assert call.convert is not None
    params, dtype = call.params, part_dtype(call)
    x, weight = (as_pair(g, params[n], dtype) for n in ("input", "weight"))
    plain = real_call(g, call, "re", frozenset({"input", "weight"}))

    def multiply(a: Value, w: Value) -> Value:
        changed = {**plain.params, "input": a, "weight": w, "bias": None}
        inner = replace(plain, params=changed, inputs=(a, w, None))
        result: Value = call.convert(inner, g)  # type: ignore[misc]
        return result

    result = product_of(g, x, weight, multiply)
    if params["bias"] is None:
        return result
    column = list(range(1, rank_of(weight.re) - 1))
    bias = as_pair(g, params["bias"], dtype)
    return plus(g, result, apply_parts(bias, lambda v: g.Unsqueeze(v, column)))


# --- reductions -------------------------------------------------------------------------------------------------------


def mean(g: GraphBuilder, call: TorchCall) -> Complex:
    """Mean of both parts."""
    z = as_pair(g, call.params["self"], part_dtype(call))
    return apply_parts(z, lambda v: reduced(g, "ReduceMean", v, dims_param(call), keepdim(call)))


def vector_norm(g: GraphBuilder, call: TorchCall) -> Any:
    """Norm of the moduli: the real operator's own row."""
    assert call.convert is not None
    z: Complex = call.params["self"]
    size = modulus(g, z)
    metas = {**call.metas, "self": real_call(g, call, "re").metas["self"]}
    key = call.key.removeprefix(COMPLEX_PREFIX)
    return call.convert(replace(call, key=key, params={**call.params, "self": size}, inputs=(size,), metas=metas), g)


def variance(g: GraphBuilder, call: TorchCall) -> Any:
    """Variance: the sum of the parts' variances; std, var_mean, std_mean from it."""
    assert call.convert is not None
    parts = [real_call(g, call, part) for part in ("re", "im")]
    names = {"std_mean": "var_mean", "std": "var"}
    name = call.key.removeprefix(COMPLEX_PREFIX).split(".")[1]
    overload = call.key.rpartition(".")[2]
    key = f"aten.{names.get(name, name)}.{overload}"
    results = [call.convert(replace(part, key=key), g) for part in parts]
    pairs = [r if isinstance(r, list | tuple) else (r,) for r in results]
    total = g.Add(pairs[0][0], pairs[1][0])
    total = g.Sqrt(total) if name.startswith("std") else total
    return (total, Complex(pairs[0][1], pairs[1][1])) if len(pairs[0]) > 1 else total


def _along(g: GraphBuilder, z: Complex, axis: int) -> tuple[Complex, list[int]]:
    order = [axis, *(k for k in range(z.rank) if k != axis)]
    return apply_parts(z, lambda v: transposed(g, v, order)), [order.index(k) for k in range(z.rank)]


def prod(g: GraphBuilder, call: TorchCall) -> Complex:
    """Product of all elements, or along a dim."""
    z = as_pair(g, call.params["self"], part_dtype(call))
    dim = dims_param(call)
    if dim is None:
        flat = apply_parts(z, lambda v: g.Reshape(v, [-1]))
        return multiplied(g, flat)[0]
    if z.rank == 0:
        return z
    axis = axis_of(dim, z.rank)
    result = multiplied(g, _along(g, z, axis)[0])[0]
    return apply_parts(result, lambda v: g.Unsqueeze(v, axis)) if keepdim(call) else result


def cumprod(g: GraphBuilder, call: TorchCall) -> Complex:
    """Running product."""
    z = as_pair(g, call.params["self"], part_dtype(call))
    if z.rank == 0:
        return z
    moved, back = _along(g, z, axis_of(call.params["dim"], z.rank))
    return apply_parts(multiplied(g, moved)[1], lambda v: transposed(g, v, back))


def logcumsumexp(g: GraphBuilder, call: TorchCall) -> Complex:
    """Logarithm of the running sum of exponentials."""
    from any2onnx.converters.pytorch.complex_math import log_sum

    z = as_pair(g, call.params["self"], DOUBLE)
    if z.rank == 0 or 0 in call.dims:
        return as_pair(g, z, part_dtype(call))
    moved, back = _along(g, z, axis_of(call.params["dim"], z.rank))
    rest = g.Shape(moved.re, start=1)
    ends = [scalar(g, v, DOUBLE) for v in (-math.inf, 0.0)]
    start = [g.Expand(v, rest) if z.rank > 1 else v for v in ends]

    def step(h: GraphBuilder, re: Value, im: Value, a: Value, b: Value) -> tuple[Value, ...]:
        total = log_sum(h, Complex(re, im), Complex(a, b))
        return total.re, total.im, h.op("Identity", total.re), h.op("Identity", total.im)

    sums = Complex(*g.Scan(step, start, [moved.re, moved.im])[2:])
    return apply_parts(sums, lambda v: g.Cast(transposed(g, v, back), part_dtype(call)))


def multiplied(g: GraphBuilder, z: Complex) -> tuple[Complex, Complex]:
    """Return the product along the first dim, and the running products."""
    if shape_of(z.re)[0] == 0:
        return Complex(*(g.Expand(scalar(g, v, z.dtype), g.Shape(z.re, start=1)) for v in (1, 0))), z
    rest = g.Shape(z.re, start=1)
    one, zero = scalar(g, 1, z.dtype), scalar(g, 0, z.dtype)
    start = [g.Expand(v, rest) if z.rank > 1 else v for v in (one, zero)]

    def step(h: GraphBuilder, re: Value, im: Value, a: Value, b: Value) -> tuple[Value, ...]:
        product = times(h, Complex(re, im), Complex(a, b))
        return product.re, product.im, h.op("Identity", product.re), h.op("Identity", product.im)

    results = g.Scan(step, start, [z.re, z.im])
    return Complex(*results[:2]), Complex(*results[2:])


def logsumexp(g: GraphBuilder, call: TorchCall) -> Complex:
    """log(sum(exp(z))), shifted by the largest real part."""
    from any2onnx.converters.pytorch.complex_math import exponential, logarithm

    z = as_pair(g, call.params["self"], DOUBLE)
    flat = z.rank == 0
    z = apply_parts(z, lambda v: at_least_1d(g, v))
    axes = axes_of(dims_param(call), z.rank)
    top = g.ReduceMax(z.re, axes)
    finite = g.Where(g.Equal(g.Abs(top), scalar(g, math.inf, DOUBLE)), scalar(g, 0, DOUBLE), top)
    e = exponential(g, Complex(g.Sub(z.re, finite), z.im))
    result = logarithm(g, apply_parts(e, lambda v: g.ReduceSum(v, axes)))
    result = Complex(g.Add(result.re, finite), result.im)
    keep = keepdim(call) and not flat
    return apply_parts(result, lambda v: g.Cast(v if keep else g.Squeeze(v, axes), part_dtype(call)))


def softmax(g: GraphBuilder, call: TorchCall) -> Any:
    """exp(z) over its sum along a dim; log_softmax its logarithm."""
    if not is_complex(call.result):
        return structure(g, call)
    from any2onnx.converters.pytorch.complex_math import exponential, logarithm, minus

    z = as_pair(g, call.params["self"], DOUBLE)
    flat = z.rank == 0
    z = apply_parts(z, lambda v: at_least_1d(g, v))
    axis = axis_of(call.params["dim"], z.rank)
    shifted = Complex(g.Sub(z.re, g.ReduceMax(z.re, axis)), z.im)
    e = exponential(g, shifted)
    total = apply_parts(e, lambda v: g.ReduceSum(v, axis))
    result = minus(g, shifted, logarithm(g, total)) if "log_softmax" in call.key else quotient(g, e, total)
    return apply_parts(result, lambda v: g.Cast(g.Squeeze(v, 0) if flat else v, part_dtype(call)))


# --- matrices ---------------------------------------------------------------------------------------------------------


def conjugate_transposed(g: GraphBuilder, call: TorchCall) -> Complex:
    """Conjugate of the transposed matrices: mH, adjoint, matrix_H."""
    z = as_pair(g, call.params["self"], part_dtype(call))
    if z.rank < 2:
        return conjugate(g, z)
    return conjugate(g, apply_parts(z, lambda v: transposed_last(g, v)))


def real_form(g: GraphBuilder, z: Complex) -> Value:
    """Return [[re, -im], [im, re]], whose products are those of the complex matrices."""
    last = z.rank - 1
    top = g.op("Concat", z.re, g.Neg(z.im), axis=last)
    bottom = g.op("Concat", z.im, z.re, axis=last)
    return g.op("Concat", top, bottom, axis=last - 1)


def from_real_form(g: GraphBuilder, columns: Value, n: Value) -> Complex:
    """Return the complex matrices whose parts lie above each other in the first columns of the real form."""
    rank = rank_of(columns)
    re = g.Slice(columns, [0], n, [rank - 2])
    im = g.Slice(columns, n, g.Mul(n, g.const([2], dtype=DataType.INT64)), [rank - 2])
    return Complex(re, im)


def inverse(g: GraphBuilder, call: TorchCall) -> tuple[Complex, Value]:
    """Inverse, through the real form; and whether it exists."""
    z: Complex = call.params["A"]
    if 0 in call.dims:
        lead = g.Shape(z.re, end=z.rank - 2)
        return z, g.Expand(scalar(g, 0, DataType.INT32), lead)
    wide = as_pair(g, z, DOUBLE)
    matrix = real_form(g, wide)
    n = g.dim(z.re, z.rank - 1)
    factors = Factors(g, matrix)
    columns = g.Slice(identity_like(g, matrix), [0], n, [z.rank - 1])
    result = from_real_form(g, factors.solve(g, columns), n)
    return apply_parts(result, lambda v: g.Cast(v, part_dtype(call))), factors.info(g)
