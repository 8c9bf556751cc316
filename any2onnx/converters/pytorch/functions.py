"""Element by element: functions of reals, in forms that neither cancel nor overflow."""

from __future__ import annotations

import math
from typing import Any

import ml_dtypes

from any2onnx.converters.pytorch.call import TorchCall, as_type, refuse, scalar
from any2onnx.converters.pytorch.compute_dtype import in_float32
from any2onnx.converters.pytorch.pointwise import (
    infinite,
    keeps_integers,
    nowhere,
    of_reals,
    operands,
    truncated,
    working_dtype,
)
from any2onnx.graph.builder import GraphBuilder
from any2onnx.graph.types import FLOATS, DataType, Value, dtype_of

sqrt = of_reals("Sqrt")
exp = of_reals("Exp")
log = of_reals("Log")
sin = of_reals("Sin")
cos = of_reals("Cos")
tan = of_reals("Tan")
asin = of_reals("Asin")
acos = of_reals("Acos")
atan = of_reals("Atan")
sinh = of_reals("Sinh")
cosh = of_reals("Cosh")
tanh = of_reals("Tanh")
asinh = of_reals("Asinh")
acosh = of_reals("Acosh")
atanh = of_reals("Atanh")
erf = of_reals("Erf")
sigmoid = of_reals("Sigmoid")
reciprocal = of_reals("Reciprocal")
floor = keeps_integers("Floor")
ceil = keeps_integers("Ceil")


def absolute(g: GraphBuilder, call: TorchCall) -> Value:
    """|x|."""
    x = call.first
    return x if dtype_of(x) == DataType.BOOL else g.Abs(x)


def sign(g: GraphBuilder, call: TorchCall) -> Value:
    """-1, 0 or 1; booleans stay."""
    x = call.first
    return x if dtype_of(x) == DataType.BOOL else g.Sign(x)


def signbit(g: GraphBuilder, call: TorchCall) -> Value:
    """Negative or not; a float's sign bit counts, that of -0.0 as well."""
    x = call.first
    if dtype_of(x) == DataType.BOOL:
        return nowhere(g, call)
    zero = scalar(g, 0, dtype_of(x))
    if dtype_of(x) not in FLOATS:
        return g.Less(x, zero)
    # 1 / -0.0 is minus infinity.
    return g.Or(g.Less(x, zero), g.And(g.Equal(x, zero), g.Less(g.Reciprocal(x), zero)))


def neg(g: GraphBuilder, call: TorchCall) -> Value:
    """-x; unsigned integers wrap around."""
    x = call.first
    if dtype_of(x) == DataType.UINT8:
        return g.Cast(g.Neg(g.Cast(x, DataType.INT32)), DataType.UINT8)
    return g.Neg(x)


@in_float32
def rsqrt(g: GraphBuilder, call: TorchCall) -> Value:
    """1 / sqrt(x)."""
    return g.Reciprocal(sqrt(g, call))


def square(g: GraphBuilder, call: TorchCall) -> Value:
    """x²."""
    x = g.Cast(call.first, working_dtype(call))
    return g.Cast(g.Mul(x, x), call.dtype)


def trunc(g: GraphBuilder, call: TorchCall) -> Value:
    """Rounded towards zero."""
    x = call.first
    return truncated(g, x) if dtype_of(x) in FLOATS else x


def frac(g: GraphBuilder, call: TorchCall) -> Value:
    """x - trunc(x)."""
    x = call.first
    return g.Sub(x, truncated(g, x))


@in_float32
def round_even(g: GraphBuilder, call: TorchCall) -> Value:
    """Rounded to the nearest, halves to even; to `decimals` digits."""
    x = call.first
    decimals = call.params.get("decimals", 0)
    if dtype_of(x) not in FLOATS:
        if decimals < 0:
            raise refuse(call, "decimals", "integers are rounded to whole numbers only")
        return x
    if decimals == 0:
        return g.Round(x)
    ten = scalar(g, float(10 ** abs(decimals)), dtype_of(x))
    if decimals > 0:
        return g.Div(g.Round(g.Mul(x, ten)), ten)
    return g.Mul(g.Round(g.Div(x, ten)), ten)


@in_float32
def log2(g: GraphBuilder, call: TorchCall) -> Value:
    """Logarithm to base 2."""
    return g.Div(log(g, call), scalar(g, math.log(2), call.dtype))


@in_float32
def log10(g: GraphBuilder, call: TorchCall) -> Value:
    """Logarithm to base 10."""
    return g.Div(log(g, call), scalar(g, math.log(10), call.dtype))


@in_float32
def exp2(g: GraphBuilder, call: TorchCall) -> Value:
    """2 ** x."""
    return g.Pow(scalar(g, 2, call.dtype), g.Cast(call.first, call.dtype))


@in_float32
def log1p(g: GraphBuilder, call: TorchCall) -> Value:
    """log(1 + x) without the rounding of 1 + x."""
    return log1p_of(g, g.Cast(call.first, call.dtype))


def log1p_of(g: GraphBuilder, x: Value) -> Value:
    """Kahan's form: x · log(w) / (w - 1) with w = 1 + x; log(w) where w - 1 says nothing of x."""
    one = scalar(g, 1, dtype_of(x))
    w = g.Add(x, one)
    rounds = g.Equal(w, one)
    safe = g.Where(rounds, scalar(g, 2, dtype_of(x)), w)
    corrected = g.Div(g.Mul(x, g.Log(safe)), g.Sub(safe, one))
    # Beyond 1 the rounding of 1 + x does not matter, and the quotient would be inf / inf.
    large = g.Where(g.Greater(x, one), g.Log(safe), corrected)
    return g.Where(rounds, x, large)


@in_float32
def expm1(g: GraphBuilder, call: TorchCall) -> Value:
    """exp(x) - 1 without cancellation."""
    return expm1_of(g, g.Cast(call.first, call.dtype))


def expm1_of(g: GraphBuilder, x: Value) -> Value:
    """tanh(x / 2) · (exp(x) + 1) near zero, exp(x) - 1 elsewhere (where it does not cancel)."""
    one = scalar(g, 1, dtype_of(x))
    e = g.Exp(x)
    near = g.Mul(g.Tanh(g.Mul(x, scalar(g, 0.5, dtype_of(x)))), g.Add(e, one))
    return g.Where(g.Less(g.Abs(x), one), near, g.Sub(e, one))


@in_float32
def erfc(g: GraphBuilder, call: TorchCall) -> Value:
    """1 - erf(x), in float64 inside, without cancellation for large x."""
    from any2onnx.graph.special_functions import erfc_double

    return g.Cast(erfc_double(g, g.Cast(call.first, DataType.DOUBLE)), call.dtype)


@in_float32
def logit(g: GraphBuilder, call: TorchCall) -> Value:
    """log(x / (1 - x)), x limited to [eps, 1 - eps] where eps is given."""
    x = g.Cast(call.first, call.dtype)
    eps = call.params.get("eps")
    one = scalar(g, 1, call.dtype)
    if eps is not None and eps >= 0:
        x = g.Min(g.Max(x, scalar(g, eps, call.dtype)), scalar(g, 1 - eps, call.dtype))
    return g.Log(g.Div(x, g.Sub(one, x)))


@in_float32
def sinc(g: GraphBuilder, call: TorchCall) -> Value:
    """sin(πx) / (πx), 1 at 0."""
    x = g.Cast(call.first, call.dtype)
    zero = g.Equal(x, scalar(g, 0, call.dtype))
    angle = g.Mul(g.Where(zero, scalar(g, 1, call.dtype), x), scalar(g, math.pi, call.dtype))
    return g.Where(zero, scalar(g, 1, call.dtype), g.Div(g.Sin(angle), angle))


@in_float32
def atan2(g: GraphBuilder, call: TorchCall) -> Value:
    """Angle of the point (other, self), signed zeros included."""
    return angle_of_point(g, *operands(g, call))


def angle_of_point(g: GraphBuilder, y: Value, x: Value) -> Value:
    """Return the angle of the point (x, y), signed zeros included."""
    dtype = dtype_of(x)
    zero, pi = scalar(g, 0, dtype), scalar(g, math.pi, dtype)
    half = scalar(g, math.pi / 2, dtype)
    # Of the two quotients the one that does not exceed 1 is used.
    size_y, size_x = g.Abs(y), g.Abs(x)
    larger, smaller = g.Max(size_x, size_y), g.Min(size_x, size_y)
    same = g.Equal(larger, smaller)
    one = scalar(g, 1, dtype)
    origin = g.Equal(larger, zero)
    ratio = g.Where(origin, zero, g.Where(same, one, g.Div(smaller, g.Where(origin, one, larger))))
    angle = g.Atan(ratio)
    angle = g.Where(g.Greater(size_y, size_x), g.Sub(half, angle), angle)
    angle = g.Where(_has_sign(g, x), g.Sub(pi, angle), angle)
    angle = g.Where(_has_sign(g, y), g.Neg(angle), angle)
    return g.Where(g.Or(g.IsNaN(x), g.IsNaN(y)), g.Add(x, y), angle)


def _has_sign(g: GraphBuilder, x: Value) -> Value:
    zero = scalar(g, 0, dtype_of(x))
    return g.Or(g.Less(x, zero), g.And(g.Equal(x, zero), g.Less(g.Reciprocal(x), zero)))


def copysign(g: GraphBuilder, call: TorchCall) -> Value:
    """|self| with the sign of other."""
    a, b = operands(g, call)
    size = g.Abs(a)
    return g.Where(_has_sign(g, b), g.Neg(size), size)


@in_float32
def hypot(g: GraphBuilder, call: TorchCall) -> Value:
    """sqrt(self² + other²), scaled so that squares do not overflow."""
    return hypotenuse(g, *operands(g, call))


def hypotenuse(g: GraphBuilder, x: Value, y: Value) -> Value:
    """Return sqrt(x² + y²), scaled so that squares do not overflow."""
    a, b = g.Abs(x), g.Abs(y)
    dtype = dtype_of(x)
    large, small = g.Max(a, b), g.Min(a, b)
    zero, one, infinity = (scalar(g, v, dtype) for v in (0, 1, math.inf))
    none = g.Equal(large, zero)
    ratio = g.Div(small, g.Where(none, one, large))
    length = g.Mul(large, g.Sqrt(g.Add(one, g.Mul(ratio, ratio))))
    # An infinite part makes it infinite, whatever the other is.
    return g.Where(g.Or(g.Equal(a, infinity), g.Equal(b, infinity)), infinity, length)


@in_float32
def xlogy(g: GraphBuilder, call: TorchCall) -> Value:
    """self · log(other), 0 where self is 0."""
    a, b = operands(g, call)
    return _zero_times(g, a, b, g.Log(b))


@in_float32
def xlog1py(g: GraphBuilder, call: TorchCall) -> Value:
    """self · log1p(other), 0 where self is 0."""
    a, b = operands(g, call)
    return _zero_times(g, a, b, log1p_of(g, b))


def _zero_times(g: GraphBuilder, a: Value, b: Value, factor: Value) -> Value:
    zero = scalar(g, 0, dtype_of(a))
    product = g.Where(g.Equal(a, zero), g.Mul(a, zero), g.Mul(a, factor))
    return g.Where(g.IsNaN(b), b, product)


@in_float32
def logaddexp(g: GraphBuilder, call: TorchCall) -> Value:
    """log(exp(self) + exp(other))."""
    a, b = operands(g, call)
    return log_add(g, a, b, 1.0)


@in_float32
def logaddexp2(g: GraphBuilder, call: TorchCall) -> Value:
    """log2(2 ** self + 2 ** other)."""
    a, b = operands(g, call)
    return log_add(g, a, b, math.log(2))


def log_add(g: GraphBuilder, a: Value, b: Value, base: float) -> Value:
    """Return the logarithm of the sum of two numbers given by their logarithms, to base exp(base)."""
    large = g.Max(a, b)
    same = g.Equal(a, b)  # also equal infinities, whose difference is NaN
    unit = scalar(g, base, dtype_of(a))
    difference = g.Where(same, scalar(g, 0, dtype_of(a)), g.Abs(g.Sub(a, b)))
    more = log1p_of(g, g.Exp(g.Neg(g.Mul(difference, unit))))
    result = g.Add(large, g.Div(more, unit))
    return g.Where(g.And(same, infinite(g, a)), a, result)


def heaviside(g: GraphBuilder, call: TorchCall) -> Value:
    """0 below zero, 1 above, `values` at zero."""
    dtype = working_dtype(call)
    x, at_zero = (as_type(g, call.params[n], dtype) for n in ("self", "values"))
    zero = scalar(g, 0, dtype)
    step = g.Cast(g.Greater(x, zero), dtype)
    return g.Cast(g.Where(g.Equal(x, zero), at_zero, step), call.dtype)


def nan_to_num(g: GraphBuilder, call: TorchCall) -> Value:
    """Numbers in place of NaN and the infinities: 0 and the type's largest by default."""
    x = call.first
    dtype = dtype_of(x)
    if dtype not in FLOATS:
        return x
    limits = ml_dtypes.finfo(dtype.numpy())  # type: ignore[no-untyped-call]
    nan, posinf, neginf = (call.params[n] for n in ("nan", "posinf", "neginf"))

    def number(given: Any, default: Any) -> Value:
        return scalar(g, default if given is None else given, dtype)

    infinity = scalar(g, math.inf, dtype)
    result = g.Where(g.IsNaN(x), number(nan, 0.0), x)
    result = g.Where(g.Equal(x, infinity), number(posinf, float(limits.max)), result)
    return g.Where(g.Equal(x, g.Neg(infinity)), number(neginf, float(limits.min)), result)
