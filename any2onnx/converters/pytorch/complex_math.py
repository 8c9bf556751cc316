"""Functions of complex numbers, element by element, on pairs of real tensors.

Functions that cancel are computed in float64 and rounded once.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from any2onnx.converters.pytorch.call import TorchCall, as_type, scalar
from any2onnx.converters.pytorch.complex_pairs import (
    Complex,
    apply_parts,
    as_pair,
    is_real,
    part_dtype,
)
from any2onnx.converters.pytorch.functions import angle_of_point, expm1_of, hypotenuse, log1p_of
from any2onnx.graph.builder import GraphBuilder
from any2onnx.graph.types import DataType, Value

Function = Callable[[GraphBuilder, Complex], Complex]
DOUBLE = DataType.DOUBLE


def _in_double(function: Function) -> Callable[[GraphBuilder, TorchCall], Complex]:
    """Return the converter of a function of one variable, computed in float64."""

    def convert(g: GraphBuilder, call: TorchCall) -> Complex:
        dtype = part_dtype(call)
        result = function(g, as_pair(g, call.params["self"], DOUBLE))
        return apply_parts(result, lambda v: g.Cast(v, dtype))

    return convert


def _same(g: GraphBuilder, z: Complex, number: float) -> Value:
    return scalar(g, number, z.dtype)


# --- arithmetic on pairs ----------------------------------------------------------------------------------------------


def plus(g: GraphBuilder, a: Complex, b: Complex) -> Complex:
    """a + b."""
    return Complex(g.Add(a.re, b.re), g.Add(a.im, b.im))


def minus(g: GraphBuilder, a: Complex, b: Complex) -> Complex:
    """a - b."""
    return Complex(g.Sub(a.re, b.re), g.Sub(a.im, b.im))


def times(g: GraphBuilder, a: Complex, b: Complex) -> Complex:
    """a · b."""
    re = g.Sub(g.Mul(a.re, b.re), g.Mul(a.im, b.im))
    return Complex(re, g.Add(g.Mul(a.re, b.im), g.Mul(a.im, b.re)))


def scaled(g: GraphBuilder, z: Complex, factor: Value) -> Complex:
    """z · factor, the factor real."""
    return apply_parts(z, lambda v: g.Mul(v, factor))


def quotient(g: GraphBuilder, a: Complex, b: Complex) -> Complex:
    """a / b, scaled by the larger part of b so that squares do not overflow (R. L. Smith, 1962, made symmetric)."""
    size = g.Max(g.Abs(b.re), g.Abs(b.im))
    zero = g.Equal(size, scalar(g, 0, a.dtype))
    safe = g.Where(zero, scalar(g, 1, a.dtype), size)
    c = apply_parts(b, lambda v: g.Div(v, safe))
    square = g.Add(g.Mul(c.re, c.re), g.Mul(c.im, c.im))
    product = times(g, a, conjugate(g, c))
    # At zero the divisor stays zero: infinite or NaN, as in torch.
    divisor = g.Mul(square, size)
    return apply_parts(product, lambda v: g.Div(v, divisor))


def conjugate(g: GraphBuilder, z: Complex) -> Complex:
    """Conjugate."""
    return Complex(z.re, g.Neg(z.im))


def modulus(g: GraphBuilder, z: Complex) -> Value:
    """|z|."""
    return hypotenuse(g, z.re, z.im)


def where_pair(g: GraphBuilder, condition: Value, a: Complex, b: Complex) -> Complex:
    """a where the condition holds, b elsewhere."""
    return Complex(g.Where(condition, a.re, b.re), g.Where(condition, a.im, b.im))


def exponential(g: GraphBuilder, z: Complex) -> Complex:
    """exp(z)."""
    size = g.Exp(z.re)
    none = g.Equal(z.im, _same(g, z, 0))
    imaginary = g.Where(none, z.im, g.Mul(size, g.Sin(z.im)))
    return Complex(g.Mul(size, g.Cos(z.im)), imaginary)


def logarithm(g: GraphBuilder, z: Complex) -> Complex:
    """log(z), imaginary part in (-π, π]; accurate where |z| is near 1."""
    a, b = g.Abs(z.re), g.Abs(z.im)
    large, small = g.Max(a, b), g.Min(a, b)
    one, half = _same(g, z, 1), _same(g, z, 0.5)
    near = g.And(g.Greater(large, half), g.Less(large, _same(g, z, 2)))
    # |z|² - 1 = (l - 1)(l + 1) + s², without the rounding of |z|².
    safe = g.Where(near, large, one)
    rest = g.Where(near, small, _same(g, z, 0))
    excess = g.Add(g.Mul(g.Sub(safe, one), g.Add(safe, one)), g.Mul(rest, rest))
    re = g.Where(near, g.Mul(half, log1p_of(g, excess)), g.Log(modulus(g, z)))
    return Complex(re, angle_of_point(g, z.im, z.re))


def root(g: GraphBuilder, z: Complex) -> Complex:
    """sqrt(z), real part not negative: the larger part by addition, the other by division."""
    half, zero = _same(g, z, 0.5), _same(g, z, 0)
    large = g.Sqrt(g.Mul(half, g.Add(g.Abs(z.re), modulus(g, z))))
    none = g.Equal(large, zero)
    other = g.Where(none, zero, g.Div(g.Mul(half, g.Abs(z.im)), g.Where(none, _same(g, z, 1), large)))
    left = g.Less(z.re, zero)
    sign = g.Where(g.Less(g.Add(z.im, zero), zero), _same(g, z, -1), _same(g, z, 1))
    return Complex(g.Where(left, other, large), g.Mul(sign, g.Where(left, large, other)))


def turned(g: GraphBuilder, z: Complex) -> Complex:
    """i · z."""
    return Complex(g.Neg(z.im), z.re)


def turned_back(g: GraphBuilder, z: Complex) -> Complex:
    """z / i."""
    return Complex(z.im, g.Neg(z.re))


def _sinh(g: GraphBuilder, z: Complex) -> Complex:
    return Complex(g.Mul(g.Sinh(z.re), g.Cos(z.im)), g.Mul(g.Cosh(z.re), g.Sin(z.im)))


def _cosh(g: GraphBuilder, z: Complex) -> Complex:
    return Complex(g.Mul(g.Cosh(z.re), g.Cos(z.im)), g.Mul(g.Sinh(z.re), g.Sin(z.im)))


def _tanh(g: GraphBuilder, z: Complex) -> Complex:
    """W. Kahan's form: with t = tan y, s = sinh x: (1 + t²) s sqrt(1 + s²) and t, over 1 + (1 + t²) s²."""
    far = _same(g, z, 20)
    x = g.Min(g.Max(z.re, g.Neg(far)), far)  # beyond, tanh is ±1 to the last bit
    t, s = g.Tan(z.im), g.Sinh(x)
    one = _same(g, z, 1)
    beta = g.Add(one, g.Mul(t, t))
    square = g.Mul(s, s)
    divisor = g.Add(one, g.Mul(beta, square))
    re = g.Div(g.Mul(beta, g.Mul(s, g.Sqrt(g.Add(one, square)))), divisor)
    return Complex(g.Where(g.Equal(x, z.re), re, g.Sign(z.re)), g.Div(t, divisor))


def _asinh(g: GraphBuilder, z: Complex) -> Complex:
    """log(w + sqrt(w² + 1)) for the half plane in which nothing cancels; odd."""
    left = g.Less(z.re, _same(g, z, 0))
    sign = g.Where(left, _same(g, z, -1), _same(g, z, 1))
    w = scaled(g, z, sign)
    one = _same(g, z, 1)
    # w² + 1 = (w + i)(w - i): the factors keep what the square would lose near ±i.
    product = times(g, root(g, Complex(w.re, g.Add(w.im, one))), root(g, Complex(w.re, g.Sub(w.im, one))))
    return scaled(g, logarithm(g, plus(g, w, product)), sign)


def _asin(g: GraphBuilder, z: Complex) -> Complex:
    return turned_back(g, _asinh(g, turned(g, z)))


def _acos(g: GraphBuilder, z: Complex) -> Complex:
    angle = _asin(g, z)
    return Complex(g.Sub(_same(g, z, math.pi / 2), angle.re), g.Neg(angle.im))


def _acosh(g: GraphBuilder, z: Complex) -> Complex:
    angle = _acos(g, z)
    # ±i · acos(z), with a real part that is not negative.
    negative = g.Less(angle.im, _same(g, z, 0))
    sign = g.Where(negative, _same(g, z, 1), _same(g, z, -1))
    return scaled(g, turned(g, angle), sign)


def _atanh(g: GraphBuilder, z: Complex) -> Complex:
    one = _same(g, z, 1)
    gap = g.Sub(one, z.re)
    square = g.Add(g.Mul(gap, gap), g.Mul(z.im, z.im))
    re = g.Mul(_same(g, z, 0.25), log1p_of(g, g.Div(g.Mul(_same(g, z, 4), z.re), square)))
    other = g.Sub(g.Mul(gap, g.Add(one, z.re)), g.Mul(z.im, z.im))
    angle = angle_of_point(g, g.Mul(_same(g, z, 2), z.im), other)
    return Complex(re, g.Mul(_same(g, z, 0.5), angle))


def _atan(g: GraphBuilder, z: Complex) -> Complex:
    return turned_back(g, _atanh(g, turned(g, z)))


def _sin(g: GraphBuilder, z: Complex) -> Complex:
    return turned_back(g, _sinh(g, turned(g, z)))


def _cos(g: GraphBuilder, z: Complex) -> Complex:
    return _cosh(g, turned(g, z))


def _tan(g: GraphBuilder, z: Complex) -> Complex:
    return turned_back(g, _tanh(g, turned(g, z)))


def _reciprocal(g: GraphBuilder, z: Complex) -> Complex:
    return quotient(g, Complex(_same(g, z, 1), _same(g, z, 0)), z)


def _rsqrt(g: GraphBuilder, z: Complex) -> Complex:
    return _reciprocal(g, root(g, z))


def _sigmoid(g: GraphBuilder, z: Complex) -> Complex:
    e = exponential(g, apply_parts(z, g.Neg))
    return _reciprocal(g, Complex(g.Add(_same(g, z, 1), e.re), e.im))


def _silu(g: GraphBuilder, z: Complex) -> Complex:
    return times(g, z, _sigmoid(g, z))


def _expm1(g: GraphBuilder, z: Complex) -> Complex:
    """exp(x) cos y - 1 = expm1(x) cos y - 2 sin²(y / 2)."""
    half = g.Sin(g.Mul(z.im, _same(g, z, 0.5)))
    re = g.Sub(g.Mul(expm1_of(g, z.re), g.Cos(z.im)), g.Mul(_same(g, z, 2), g.Mul(half, half)))
    return Complex(re, exponential(g, z).im)


def _log1p(g: GraphBuilder, z: Complex) -> Complex:
    """|1 + z|² - 1 = x (2 + x) + y²."""
    one = _same(g, z, 1)
    excess = g.Add(g.Mul(z.re, g.Add(_same(g, z, 2), z.re)), g.Mul(z.im, z.im))
    shifted = Complex(g.Add(one, z.re), z.im)
    near = g.Less(g.Abs(excess), one)
    re = g.Mul(_same(g, z, 0.5), log1p_of(g, g.Where(near, excess, _same(g, z, 0))))
    far = logarithm(g, shifted)
    return Complex(g.Where(near, re, far.re), far.im)


def _square(g: GraphBuilder, z: Complex) -> Complex:
    return times(g, z, z)


def _sinc(g: GraphBuilder, z: Complex) -> Complex:
    zero = g.And(g.Equal(z.re, _same(g, z, 0)), g.Equal(z.im, _same(g, z, 0)))
    one = Complex(_same(g, z, 1), _same(g, z, 0))
    w = scaled(g, where_pair(g, zero, one, z), _same(g, z, math.pi))
    return where_pair(g, zero, one, quotient(g, _sin(g, w), w))


def _log_to(base: float) -> Function:
    def function(g: GraphBuilder, z: Complex) -> Complex:
        return scaled(g, logarithm(g, z), _same(g, z, 1 / math.log(base)))

    return function


def _exp2(g: GraphBuilder, z: Complex) -> Complex:
    return exponential(g, scaled(g, z, _same(g, z, math.log(2))))


def _signs(g: GraphBuilder, z: Complex) -> Complex:
    size = modulus(g, z)
    zero = g.Equal(size, _same(g, z, 0))
    return apply_parts(z, lambda v: g.Div(v, g.Where(zero, _same(g, z, 1), size)))


exp, log, sqrt = (_in_double(f) for f in (exponential, logarithm, root))
sinh, cosh, tanh = (_in_double(f) for f in (_sinh, _cosh, _tanh))
asinh, acosh, atanh = (_in_double(f) for f in (_asinh, _acosh, _atanh))
sin, cos, tan = (_in_double(f) for f in (_sin, _cos, _tan))
asin, acos, atan = (_in_double(f) for f in (_asin, _acos, _atan))
reciprocal, rsqrt, sigmoid, silu = (_in_double(f) for f in (_reciprocal, _rsqrt, _sigmoid, _silu))
expm1, log1p, square, sinc = (_in_double(f) for f in (_expm1, _log1p, _square, _sinc))
log2, log10, exp2, sgn = (_in_double(f) for f in (_log_to(2), _log_to(10), _exp2, _signs))


# --- operators of two -------------------------------------------------------------------------------------------------


def _pair(g: GraphBuilder, call: TorchCall, name: str, dtype: DataType | None = None) -> Complex:
    return as_pair(g, call.params[name], dtype or part_dtype(call))


def add(g: GraphBuilder, call: TorchCall) -> Complex:
    """self + alpha · other."""
    return plus(g, _pair(g, call, "self"), _with_alpha(g, call, "other"))


def sub(g: GraphBuilder, call: TorchCall) -> Complex:
    """self - alpha · other."""
    return minus(g, _pair(g, call, "self"), _with_alpha(g, call, "other"))


def rsub(g: GraphBuilder, call: TorchCall) -> Complex:
    """other - alpha · self."""
    return minus(g, _pair(g, call, "other"), _with_alpha(g, call, "self"))


def _with_alpha(g: GraphBuilder, call: TorchCall, name: str) -> Complex:
    z, alpha = _pair(g, call, name), call.params.get("alpha", 1)
    if not isinstance(alpha, Value | Complex) and alpha == 1:
        return z
    if is_real(alpha):
        return scaled(g, z, as_type(g, alpha, z.dtype))
    return times(g, z, as_pair(g, alpha, z.dtype))


def mul(g: GraphBuilder, call: TorchCall) -> Complex:
    """self · other; a real factor scales both parts."""
    a, b = call.params["self"], call.params["other"]
    dtype = part_dtype(call)
    if is_real(a) or is_real(b):
        z, factor = (b, a) if is_real(a) else (a, b)
        return scaled(g, as_pair(g, z, dtype), as_type(g, factor, dtype))
    return times(g, as_pair(g, a, dtype), as_pair(g, b, dtype))


def div(g: GraphBuilder, call: TorchCall) -> Complex:
    """self / other."""
    dtype = part_dtype(call)
    divisor = call.params["other"]
    if is_real(divisor):
        real = as_type(g, divisor, dtype)
        return apply_parts(_pair(g, call, "self"), lambda v: g.Div(v, real))
    return quotient(g, _pair(g, call, "self"), as_pair(g, divisor, dtype))


def power(g: GraphBuilder, call: TorchCall) -> Complex:
    """self ** exponent: by products for small whole numbers, by logarithm elsewhere."""
    base, exponent = call.params["self"], call.params["exponent"]
    dtype = part_dtype(call)
    if isinstance(exponent, int | float) and exponent in (1, 2, 3, -1, 0.5):
        z = as_pair(g, base, DOUBLE)
        forms: dict[float, Callable[[], Complex]] = {
            1: lambda: z,
            2: lambda: times(g, z, z),
            3: lambda: times(g, times(g, z, z), z),
            -1: lambda: _reciprocal(g, z),
            0.5: lambda: root(g, z),
        }
        return apply_parts(forms[exponent](), lambda v: g.Cast(v, dtype))
    z, w = as_pair(g, base, DOUBLE), as_pair(g, exponent, DOUBLE)
    zero, one = scalar(g, 0, DOUBLE), scalar(g, 1, DOUBLE)
    none = g.And(g.Equal(z.re, zero), g.Equal(z.im, zero))
    safe = Complex(g.Where(none, one, z.re), z.im)
    result = exponential(g, times(g, w, logarithm(g, safe)))
    unit = g.And(g.Equal(w.re, zero), g.Equal(w.im, zero))
    nothing = Complex(g.Where(unit, one, zero), zero)
    result = where_pair(g, none, nothing, result)
    return apply_parts(result, lambda v: g.Cast(v, dtype))


def where(g: GraphBuilder, call: TorchCall) -> Complex:
    """Self where the condition holds, other elsewhere."""
    condition = g.Cast(call.params["condition"], DataType.BOOL)
    return where_pair(g, condition, _pair(g, call, "self"), _pair(g, call, "other"))


def conj(g: GraphBuilder, call: TorchCall) -> Complex:
    """Conjugate."""
    return conjugate(g, _pair(g, call, "self"))


def logaddexp(g: GraphBuilder, call: TorchCall) -> Complex:
    """log(exp(self) + exp(other)), shifted by the larger real part."""
    result = log_sum(g, *(_pair(g, call, name, DOUBLE) for name in ("self", "other")))
    return apply_parts(result, lambda v: g.Cast(v, part_dtype(call)))


def log_sum(g: GraphBuilder, a: Complex, b: Complex) -> Complex:
    """log(exp(a) + exp(b))."""
    swap = g.Less(a.re, b.re)
    large, small = where_pair(g, swap, b, a), where_pair(g, swap, a, b)
    nothing = g.Equal(large.re, _same(g, large, -math.inf))
    e = exponential(g, minus(g, small, large))
    return where_pair(g, nothing, large, plus(g, large, _log1p(g, e)))
