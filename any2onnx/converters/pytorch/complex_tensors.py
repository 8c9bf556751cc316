"""Complex tensors from real ones and back, filled and random ones, and questions to them; on pairs of real tensors."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from any2onnx.converters.pytorch.call import TorchCall, as_type, at_least_1d, axis_of, filled, refuse, scalar
from any2onnx.converters.pytorch.complex_math import modulus, times
from any2onnx.converters.pytorch.complex_pairs import (
    COMPLEX_PREFIX,
    Complex,
    apply_parts,
    as_pair,
    is_complex,
    joined_pair,
    linear,
    part_dtype,
    real_dtype,
    split_pair,
    structure,
    zeros_like,
)
from any2onnx.converters.pytorch.functions import angle_of_point
from any2onnx.converters.pytorch.pointwise import infinite
from any2onnx.graph.builder import GraphBuilder
from any2onnx.graph.types import DataType, Value, dtype_of

DOUBLE = DataType.DOUBLE


# --- from and to real numbers -----------------------------------------------------------------------------------------


def complex_(g: GraphBuilder, call: TorchCall) -> Complex:
    """A complex tensor from its parts."""
    dtype = part_dtype(call)
    re, im = (as_type(g, call.params[name], dtype) for name in ("real", "imag"))
    if call.dims and call.dims_of("real") != call.dims_of("imag"):
        re, im = (g.Expand(v, call.shape(g)) for v in (re, im))
    return Complex(re, im)


def polar(g: GraphBuilder, call: TorchCall) -> Complex:
    """A complex tensor from modulus and angle."""
    dtype = part_dtype(call)
    size, angle = (as_type(g, call.params[name], dtype) for name in ("abs", "angle"))
    return Complex(g.Mul(size, g.Cos(angle)), g.Mul(size, g.Sin(angle)))


def view_as_complex(g: GraphBuilder, call: TorchCall) -> Complex:
    """The last dim of a real tensor as the parts of complex numbers."""
    return split_pair(g, call.params["self"])


def view_as_real(g: GraphBuilder, call: TorchCall) -> Value:
    """The parts of complex numbers as a new last dim."""
    return joined_pair(g, call.params["self"])


def real(g: GraphBuilder, call: TorchCall) -> Value:
    """Real part."""
    z: Complex = call.params["self"]
    return z.re


def imag(g: GraphBuilder, call: TorchCall) -> Value:
    """Imaginary part."""
    z: Complex = call.params["self"]
    return z.im


def absolute(g: GraphBuilder, call: TorchCall) -> Value:
    """|z|."""
    return g.Cast(modulus(g, as_pair(g, call.params["self"], DOUBLE)), call.dtype)


def angle(g: GraphBuilder, call: TorchCall) -> Value:
    """Angle in (-π, π]."""
    z: Complex = call.params["self"]
    return g.Cast(angle_of_point(g, z.im, z.re), call.dtype)


def to(g: GraphBuilder, call: TorchCall) -> Any:
    """The same tensor in the result's type; to a real type the imaginary part is dropped."""
    z = call.params["self"]
    if is_complex(call.result):
        return as_pair(g, z, part_dtype(call))
    if call.dtype == DataType.BOOL:
        return _nonzero(g, z)
    return g.Cast(z.re, call.dtype)


def full(g: GraphBuilder, call: TorchCall) -> Any:
    """One number everywhere: full, zeros, ones, fill and their kin."""
    if not is_complex(call.result):
        return structure(g, call)
    name = next((n for n in ("fill_value", "value", "s") if n in call.params), None)
    number: Any = call.params[name] if name else (1 if "ones" in call.key else 0)
    dtype = part_dtype(call)
    z = as_pair(g, number, dtype)
    return apply_parts(z, lambda v: filled(g, call, v, dtype))


def eye(g: GraphBuilder, call: TorchCall) -> Complex:
    """Ones on the diagonal."""
    rows, columns = (
        g.Range(scalar(g, 0, DataType.INT64), call.sizes.scalar(g, d), scalar(g, 1, DataType.INT64)) for d in call.dims
    )
    re = g.Cast(g.Equal(g.Unsqueeze(rows, 1), g.Unsqueeze(columns, 0)), part_dtype(call))
    return Complex(re, zeros_like(g, re))


def randn(g: GraphBuilder, call: TorchCall) -> Any:
    """Complex normal random numbers: each part with half the variance."""
    if not is_complex(call.result):
        return structure(g, call)
    dtype = part_dtype(call)
    shape = filled(g, call, 0, dtype)
    scale = float(np.sqrt(0.5))
    re, im = (g.RandomNormalLike(shape, dtype=int(dtype), scale=scale) for _ in range(2))
    return Complex(re, im)


def rand(g: GraphBuilder, call: TorchCall) -> Any:
    """Uniform random parts."""
    if not is_complex(call.result):
        return structure(g, call)
    dtype = part_dtype(call)
    shape = filled(g, call, 0, dtype)
    re, im = (g.RandomUniformLike(shape, dtype=int(dtype)) for _ in range(2))
    return Complex(re, im)


# --- scatter ----------------------------------------------------------------------------------------------------------


def scatter_reduced(g: GraphBuilder, call: TorchCall) -> Any:
    """Elements added or multiplied along a dim: sums part by part, products one step along the dim after another."""
    if call.params["reduce"] in ("add", "sum"):
        return linear(g, call)
    if call.params["reduce"] not in ("multiply", "prod"):
        raise refuse(call, "reduce", "complex numbers have no order")
    if not call.params.get("include_self", True):
        raise refuse(call, "include_self", "products of complex numbers start from self")
    z, index = as_pair(g, call.params["self"], part_dtype(call)), g.Cast(call.params["index"], DataType.INT64)
    if 0 in call.dims or 0 in call.dims_of("index"):
        return z
    given = call.params["src"] if "src" in call.params else call.params["value"]
    source = as_pair(g, given, z.dtype)
    flat = z.rank == 0
    z, source = (apply_parts(v, lambda part: at_least_1d(g, part)) for v in (z, source))
    index = at_least_1d(g, index)
    axis = axis_of(call.params["dim"], z.rank)
    spread = "src" not in call.params
    shape = g.Shape(index)
    begin, axes = g.const(np.zeros(z.rank, np.int64)), g.const(np.arange(z.rank, dtype=np.int64))
    source = apply_parts(source, lambda v: g.Expand(v, shape) if spread else g.Slice(v, begin, shape, axes))

    def step(h: GraphBuilder, k: Value, going: Value, re: Value, im: Value) -> tuple[Value, ...]:
        # Within one step no place repeats.
        at = h.Unsqueeze(k, 0)
        place = h.Gather(index, at, axis=axis)
        old = apply_parts(Complex(re, im), lambda v: h.op("GatherElements", v, place, axis=axis))
        new = times(h, old, apply_parts(source, lambda v: h.Gather(v, at, axis=axis)))
        re, im = (h.op("ScatterElements", v, place, n, axis=axis) for v, n in ((re, new.re), (im, new.im)))
        return h.op("Identity", going), re, im

    steps = g.Squeeze(g.dim(index, axis), 0)
    result = Complex(*g.Loop(step, [z.re, z.im], trip_count=steps, condition=True))
    return apply_parts(result, lambda v: g.Squeeze(v, 0)) if flat else result


# --- questions --------------------------------------------------------------------------------------------------------


def _promoted(call: TorchCall) -> DataType:
    import torch

    operands = [call.metas["self"], call.metas["other"]]
    plain = [torch.empty((1,) * m.dim(), dtype=m.dtype, device="meta") if hasattr(m, "dim") else m for m in operands]
    return real_dtype(torch.result_type(*plain))


def eq(g: GraphBuilder, call: TorchCall) -> Value:
    """Equal in both parts."""
    a, b = (as_pair(g, call.params[name], _promoted(call)) for name in ("self", "other"))
    return g.And(g.Equal(a.re, b.re), g.Equal(a.im, b.im))


def ne(g: GraphBuilder, call: TorchCall) -> Value:
    """Different in some part."""
    return g.Not(eq(g, call))


def isnan(g: GraphBuilder, call: TorchCall) -> Value:
    """Some part is NaN."""
    z: Complex = call.params["self"]
    return g.Or(g.IsNaN(z.re), g.IsNaN(z.im))


def isinf(g: GraphBuilder, call: TorchCall) -> Value:
    """Some part is infinite."""
    z: Complex = call.params["self"]
    return g.Or(infinite(g, z.re), infinite(g, z.im))


def isfinite(g: GraphBuilder, call: TorchCall) -> Value:
    """No part is infinite or NaN."""
    return g.Not(g.Or(isnan(g, call), isinf(g, call)))


def isreal(g: GraphBuilder, call: TorchCall) -> Value:
    """The imaginary part is zero."""
    z: Complex = call.params["self"]
    return g.Equal(z.im, scalar(g, 0, z.dtype))


def _nonzero(g: GraphBuilder, operand: Any) -> Value:
    if isinstance(operand, Complex):
        zero = scalar(g, 0, dtype_of(operand.re))
        return g.Not(g.And(g.Equal(operand.re, zero), g.Equal(operand.im, zero)))
    return as_type(g, operand, DataType.BOOL)


def truth(g: GraphBuilder, call: TorchCall) -> Any:
    """An operator that only asks which elements are zero: the real operator's own row on that answer."""
    import torch

    def answered(meta: Any) -> Any:
        return torch.empty_like(meta, dtype=torch.bool) if is_complex(meta) and hasattr(meta, "dtype") else meta

    params = {k: _nonzero(g, v) if isinstance(v, Complex) else v for k, v in call.params.items()}
    inputs = tuple(_nonzero(g, v) if isinstance(v, Complex) else v for v in call.inputs)
    metas = {k: answered(m) for k, m in call.metas.items()}
    assert call.convert is not None
    key = call.key.removeprefix(COMPLEX_PREFIX)
    return call.convert(replace(call, key=key, params=params, inputs=inputs, metas=metas), g)
