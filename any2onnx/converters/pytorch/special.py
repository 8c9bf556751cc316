"""Special functions from operators that ONNX has; computed in float64 inside."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from any2onnx.converters.pytorch.call import TorchCall, as_type, scalar
from any2onnx.graph import bessel_functions as bessel
from any2onnx.graph.builder import GraphBuilder
from any2onnx.graph.special_functions import erf_double, erfc_double, polynomial
from any2onnx.graph.types import DataType, Value

DOUBLE = DataType.DOUBLE

# C. Lanczos, "A precision approximation of the gamma function", g = 7 with nine terms (P. Godfrey's coefficients).
_LANCZOS = (
    0.99999999999980993,
    676.5203681218851,
    -1259.1392167224028,
    771.32342877765313,
    -176.61502916214059,
    12.507343278686905,
    -0.13857109526572012,
    9.9843695780195716e-6,
    1.5056327351493116e-7,
)
# Bernoulli numbers B2, B4, … divided by 2k: the asymptotic series of digamma.
_DIGAMMA = (1 / 12, -1 / 120, 1 / 252, -1 / 240, 1 / 132, -691 / 32760, 1 / 12)


def _number(g: GraphBuilder, value: float) -> Value:
    return scalar(g, float(value), DOUBLE)


def lgamma(g: GraphBuilder, call: TorchCall) -> Value:
    """Logarithm of |Γ(x)|."""
    return g.Cast(lgamma_of(g, g.Cast(call.first, DOUBLE)), call.dtype)


def lgamma_of(g: GraphBuilder, x: Value) -> Value:
    """Lanczos' series for x ≥ 1/2, reflection below; infinite at 0, -1, -2, …."""
    half, one = _number(g, 0.5), _number(g, 1.0)
    small = g.Less(x, half)
    z = g.Sub(g.Where(small, g.Sub(one, x), x), one)
    total = _number(g, _LANCZOS[0])
    for k, coefficient in enumerate(_LANCZOS[1:]):
        total = g.Add(total, g.Div(_number(g, coefficient), g.Add(z, _number(g, k + 1))))
    t = g.Add(z, _number(g, 7.5))
    series = g.Add(_number(g, 0.5 * math.log(2 * math.pi)), g.Mul(g.Add(z, half), g.Log(t)))
    value = g.Add(g.Sub(series, t), g.Log(total))
    fraction = g.Sub(x, g.Floor(x))
    sine = g.Abs(g.Sin(g.Mul(_number(g, math.pi), fraction)))
    reflected = g.Sub(g.Sub(_number(g, math.log(math.pi)), g.Log(sine)), value)
    pole = g.And(g.LessOrEqual(x, _number(g, 0.0)), g.Equal(x, g.Floor(x)))
    infinite = g.Or(pole, g.Equal(g.Abs(x), _number(g, math.inf)))
    return g.Where(infinite, _number(g, math.inf), g.Where(small, reflected, value))


def digamma(g: GraphBuilder, call: TorchCall) -> Value:
    """Derivative of log Γ."""
    return g.Cast(digamma_of(g, g.Cast(call.first, DOUBLE)), call.dtype)


def digamma_of(g: GraphBuilder, x: Value) -> Value:
    """Asymptotic series behind ten steps of the recurrence; reflection below zero."""
    one, zero = _number(g, 1.0), _number(g, 0.0)
    negative = g.Less(x, zero)
    z = g.Where(negative, g.Sub(one, x), x)
    shift = g.Div(one, z)
    for k in range(1, 10):
        shift = g.Add(shift, g.Div(one, g.Add(z, _number(g, k))))
    y = g.Add(z, _number(g, 10.0))
    inverse = g.Div(one, g.Mul(y, y))
    series = g.Mul(inverse, polynomial(g, inverse, tuple(reversed(_DIGAMMA))))
    value = g.Sub(g.Sub(g.Sub(g.Log(y), g.Div(_number(g, 0.5), y)), series), shift)
    fraction = g.Sub(x, g.Floor(x))
    reflected = g.Sub(value, g.Div(_number(g, math.pi), g.Tan(g.Mul(_number(g, math.pi), fraction))))
    result = g.Where(negative, reflected, value)
    pole = g.And(negative, g.Equal(x, g.Floor(x)))
    result = g.Where(pole, _number(g, math.nan), result)
    # At zero the sign of the zero tells the side; 1 / x carries it.
    return g.Where(g.Equal(x, zero), g.Neg(g.Div(one, x)), result)


def erfinv(g: GraphBuilder, call: TorchCall) -> Value:
    """Inverse of erf."""
    return g.Cast(erfinv_of(g, g.Cast(call.first, DOUBLE)), call.dtype)


def erfinv_of(g: GraphBuilder, y: Value) -> Value:
    """Winitzki's closed form, made exact by Newton's method; by erfc where y is near 1."""
    one = _number(g, 1.0)
    size = g.Abs(y)
    inside = g.Min(size, _number(g, 1 - 2**-53))
    a = 0.147
    logarithm = g.Log(g.Mul(g.Sub(one, inside), g.Add(one, inside)))
    first = g.Add(_number(g, 2 / (math.pi * a)), g.Mul(_number(g, 0.5), logarithm))
    root = g.Sqrt(g.Sub(g.Mul(first, first), g.Mul(_number(g, 1 / a), logarithm)))
    x = g.Sqrt(g.Max(g.Sub(root, first), _number(g, 0.0)))
    complement = g.Sub(one, inside)
    for _ in range(3):
        slope = g.Mul(_number(g, 2 / math.sqrt(math.pi)), g.Exp(g.Neg(g.Mul(x, x))))
        error = g.Where(
            g.Greater(inside, _number(g, 0.5)), g.Sub(complement, erfc_double(g, x)), g.Sub(erf_double(g, x), inside)
        )
        step = g.Div(error, slope)
        # Halley's correction: the second derivative of erf is -2x times the first.
        x = g.Sub(x, g.Div(step, g.Add(one, g.Mul(x, step))))
    x = g.Where(g.Equal(size, one), _number(g, math.inf), x)
    x = g.Where(g.Greater(size, one), _number(g, math.nan), x)
    x = g.Where(g.IsNaN(y), y, x)
    return g.Where(g.Less(y, _number(g, 0.0)), g.Neg(x), x)


def ndtri(g: GraphBuilder, call: TorchCall) -> Value:
    """Inverse of the normal distribution function."""
    y = g.Sub(g.Mul(g.Cast(call.first, DOUBLE), _number(g, 2.0)), _number(g, 1.0))
    return g.Cast(g.Mul(_number(g, math.sqrt(2)), erfinv_of(g, y)), call.dtype)


def angle(g: GraphBuilder, call: TorchCall) -> Value:
    """π for negative numbers, 0 for others; NaN stays."""
    x = g.Cast(call.first, call.dtype)
    turned = g.Where(g.Less(x, scalar(g, 0, call.dtype)), scalar(g, math.pi, call.dtype), scalar(g, 0, call.dtype))
    return g.Where(g.IsNaN(x), x, turned)


# --- Bessel, Airy, error functions ------------------------------------------------------------------------------


def _in_double(function: Callable[[GraphBuilder, Value], Value]) -> Callable[[GraphBuilder, TorchCall], Value]:
    """Return the converter of a function of one variable, computed in float64."""

    def convert(g: GraphBuilder, call: TorchCall) -> Value:
        return g.Cast(function(g, g.Cast(call.first, DOUBLE)), call.dtype)

    return convert


i0, i0e, i1, i1e = (_in_double(f) for f in (bessel.i0, bessel.i0e, bessel.i1, bessel.i1e))
k0, k0e, k1, k1e = (_in_double(f) for f in (bessel.k0, bessel.k0e, bessel.k1, bessel.k1e))
j0, j1, y0, y1 = (_in_double(f) for f in (bessel.j0, bessel.j1, bessel.y0, bessel.y1))
spherical_j0, airy = _in_double(bessel.spherical_j0), _in_double(bessel.airy)
erfcx, log_ndtr = _in_double(bessel.erfcx), _in_double(bessel.log_normal_cdf)


# --- incomplete gamma functions -----------------------------------------------------------------------------------

# Steps after which the sum and the fraction end in any case; far more than arguments below 1e5 need.
_LONGEST = 3000


def igamma(g: GraphBuilder, call: TorchCall) -> Value:
    """Regularised lower incomplete gamma function."""
    return g.Cast(_incomplete_gammas(g, call)[0], call.dtype)


def igammac(g: GraphBuilder, call: TorchCall) -> Value:
    """Regularised upper incomplete gamma function."""
    return g.Cast(_incomplete_gammas(g, call)[1], call.dtype)


def _incomplete_gammas(g: GraphBuilder, call: TorchCall) -> tuple[Value, Value]:
    """Return P(a, x) and Q(a, x): the smaller one by series or continued fraction, the other as what is missing."""
    a, x = (as_type(g, call.params[n], DOUBLE) for n in ("self", "other"))
    if call.dims:
        a, x = g.Expand(a, call.shape(g)), g.Expand(x, call.shape(g))
    zero, one, infinity, nan = (_number(g, v) for v in (0.0, 1.0, math.inf, math.nan))
    inner = g.And(g.Greater(a, zero), g.Greater(x, zero))
    inner = g.And(inner, g.And(g.Less(a, infinity), g.Less(x, infinity)))
    safe_a, safe_x = g.Where(inner, a, one), g.Where(inner, x, one)
    lower_side = g.Less(safe_x, g.Add(safe_a, one))
    factor = g.Exp(g.Sub(g.Sub(g.Mul(safe_a, g.Log(safe_x)), safe_x), lgamma_of(g, safe_a)))
    lower = g.Mul(factor, _gamma_series(g, safe_a, g.Where(lower_side, safe_x, zero)))
    upper = g.Mul(factor, _gamma_fraction(g, safe_a, g.Where(lower_side, g.Add(safe_a, one), safe_x)))
    p = g.Where(lower_side, lower, g.Sub(one, upper))
    q = g.Where(lower_side, g.Sub(one, lower), upper)
    # At the borders: P is 0 for x = 0 or infinite a, 1 for a = 0 or infinite x; neither where both or below zero.
    none = g.Or(g.Equal(x, zero), g.Equal(a, infinity))
    all_of_it = g.Or(g.Equal(a, zero), g.Equal(x, infinity))
    wrong = g.Or(g.Or(g.Less(a, zero), g.Less(x, zero)), g.And(none, all_of_it))
    wrong = g.Or(wrong, g.Or(g.IsNaN(a), g.IsNaN(x)))
    p = g.Where(inner, p, g.Where(all_of_it, one, zero))
    q = g.Where(inner, q, g.Where(all_of_it, zero, one))
    return g.Where(wrong, nan, p), g.Where(wrong, nan, q)


def _gamma_series(g: GraphBuilder, a: Value, x: Value) -> Value:
    """1/a + x/(a (a + 1)) + …, until no element changes."""
    first = g.Reciprocal(a)

    def step(h: GraphBuilder, i: Value, going: Value, term: Value, total: Value) -> Sequence[Value]:
        n = h.Add(h.Cast(i, DOUBLE), scalar(h, 1.0, DOUBLE))
        term = h.Div(h.Mul(term, x), h.Add(a, n))
        small = h.LessOrEqual(term, h.Mul(total, scalar(h, 2.0**-54, DOUBLE)))
        return _some_not(h, small), term, h.Add(total, term)

    return g.Loop(step, [first, first], trip_count=_LONGEST, condition=True)[1]


def _gamma_fraction(g: GraphBuilder, a: Value, x: Value) -> Value:
    """1 / (x + 1 - a - 1 (1 - a) / (x + 3 - a - …)) by W. Lentz's method, until no element changes."""
    one = _number(g, 1.0)
    start = g.Sub(g.Add(x, one), a)
    d = g.Reciprocal(start)

    def step(h: GraphBuilder, i: Value, going: Value, b: Value, c: Value, d: Value, f: Value) -> Sequence[Value]:
        unit, two = scalar(h, 1.0, DOUBLE), scalar(h, 2.0, DOUBLE)
        n = h.Add(h.Cast(i, DOUBLE), unit)
        numerator = h.Mul(n, h.Sub(a, n))
        b = h.Add(b, two)
        d = h.Reciprocal(h.Add(h.Mul(numerator, d), b))
        c = h.Add(b, h.Mul(numerator, c))
        change = h.Mul(c, d)
        small = h.LessOrEqual(h.Abs(h.Sub(change, unit)), scalar(h, 2.0**-52, DOUBLE))
        # c is kept as its reciprocal, which starts at zero where c starts at infinity.
        return _some_not(h, small), b, h.Reciprocal(c), d, h.Mul(f, change)

    return g.Loop(step, [start, g.Mul(d, _number(g, 0.0)), d, d], trip_count=_LONGEST, condition=True)[3]


def _some_not(g: GraphBuilder, condition: Value) -> Value:
    left = g.ReduceSum(g.Cast(g.Not(condition), DataType.INT64), None, keepdims=False)
    return g.Greater(left, scalar(g, 0, DataType.INT64))


# --- Hurwitz zeta ------------------------------------------------------------------------------------------------

_BERNOULLI = (1 / 6, -1 / 30, 1 / 42, -1 / 30, 5 / 66, -691 / 2730, 7 / 6, -3617 / 510, 43867 / 798, -174611 / 330)


def zeta(g: GraphBuilder, call: TorchCall) -> Value:
    """Hurwitz zeta."""
    s, q = (as_type(g, call.params[n], DOUBLE) for n in ("self", "other"))
    return g.Cast(zeta_of(g, s, q), call.dtype)


def polygamma(g: GraphBuilder, call: TorchCall) -> Value:
    """Derivatives of digamma: (-1)^(n+1) · n! · zeta(n + 1, x)."""
    n, x = int(call.params["n"]), g.Cast(call.first, DOUBLE)
    if n == 0:
        return g.Cast(digamma_of(g, x), call.dtype)
    factor = (-1) ** (n + 1) * math.factorial(n)
    return g.Cast(g.Mul(_number(g, factor), zeta_of(g, _number(g, n + 1), x)), call.dtype)


def zeta_of(g: GraphBuilder, s: Value, q: Value) -> Value:
    """Euler and Maclaurin's summation behind as many terms as bring every q beyond 9."""
    one, zero = _number(g, 1.0), _number(g, 0.0)
    # Below zero torch defines it for whole s only.
    pole = g.And(g.LessOrEqual(q, zero), g.Equal(q, g.Floor(q)))
    lowest = g.ReduceMin(g.Where(g.Or(g.IsNaN(q), pole), one, q), None, keepdims=False)
    count = g.Cast(g.Ceil(g.Max(g.Sub(_number(g, 10.0), lowest), _number(g, 10.0))), DataType.INT64)
    start = g.Add(g.Mul(s, zero), g.Mul(q, zero))

    def step(h: GraphBuilder, i: Value, going: Value, total: Value) -> Sequence[Value]:
        term = h.Pow(h.Add(q, h.Cast(i, DOUBLE)), h.Neg(s))
        return h.op("Identity", going), h.Add(total, term)

    total = g.Loop(step, [start], trip_count=count, condition=True)[0]
    a = g.Add(q, g.Cast(count, DOUBLE))
    tail = g.Div(g.Pow(a, g.Sub(one, s)), g.Sub(s, one))
    total = g.Add(g.Add(total, tail), g.Mul(_number(g, 0.5), g.Pow(a, g.Neg(s))))
    rising = s
    power = g.Pow(a, g.Neg(g.Add(s, one)))
    for k, bernoulli in enumerate(_BERNOULLI):
        j = 2 * (k + 1)
        total = g.Add(total, g.Mul(_number(g, bernoulli / math.factorial(j)), g.Mul(rising, power)))
        rising = g.Mul(rising, g.Mul(g.Add(s, _number(g, j - 1)), g.Add(s, _number(g, j))))
        power = g.Div(power, g.Mul(a, a))
    nan, infinity = _number(g, math.nan), _number(g, math.inf)
    below = g.LessOrEqual(q, zero)
    whole = g.Equal(q, g.Floor(q))
    total = g.Where(g.And(below, g.Not(g.Equal(s, g.Floor(s)))), nan, total)
    total = g.Where(g.And(below, whole), infinity, total)
    total = g.Where(g.Less(s, one), nan, total)
    return g.Where(g.Equal(s, one), infinity, total)
