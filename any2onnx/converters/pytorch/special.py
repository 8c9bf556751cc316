"""Special functions from operators that ONNX has; computed in float64 inside."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from any2onnx.converters.pytorch.call import TorchCall, as_type, scalar
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


# --- orthogonal polynomials ------------------------------------------------------------------------------------

Recurrence = Callable[[GraphBuilder, Value, Value, Value, Value], Value]
Start = Callable[[GraphBuilder, Value], Value]


def _sequence(
    first: Start, following: Recurrence, *, shifted: bool = False
) -> Callable[[GraphBuilder, TorchCall], Value]:
    """Return the converter of polynomials P0 = 1, P1 = first(x), P(k+1) = following(x, k, Pk, P(k-1))."""

    def convert(g: GraphBuilder, call: TorchCall) -> Value:
        names = list(call.params)[:2]
        x, n = (as_type(g, call.params[name], DOUBLE) for name in names)
        dims = call.dims
        if dims:
            shape = call.shape(g)
            x, n = g.Expand(x, shape), g.Expand(n, shape)
        # The degree is cut to a whole number.
        n = g.Cast(g.Cast(n, DataType.INT64), DOUBLE)
        one, zero = _number(g, 1.0), _number(g, 0.0)
        if shifted:
            x = g.Sub(g.Mul(_number(g, 2.0), x), one)
        p0 = g.Add(g.Mul(x, zero), one) if dims else one
        p1 = first(g, x)
        chosen = g.Where(g.Less(n, zero), zero, g.Where(g.Equal(n, zero), p0, p1))
        highest = g.Cast(g.ReduceMax(n, None, keepdims=False), DataType.INT64)
        steps = g.Max(g.Sub(highest, scalar(g, 1, DataType.INT64)), scalar(g, 0, DataType.INT64))

        def step(
            h: GraphBuilder, i: Value, going: Value, current: Value, before: Value, result: Value
        ) -> Sequence[Value]:
            k = h.Cast(h.Add(i, scalar(h, 1, DataType.INT64)), DOUBLE)
            after = following(h, x, k, current, before)
            reached = h.Equal(n, h.Add(k, scalar(h, 1.0, DOUBLE)))
            return h.op("Identity", going), after, h.op("Identity", current), h.Where(reached, after, result)

        return g.Cast(g.Loop(step, [p1, p0, chosen], trip_count=steps, condition=True)[2], call.dtype)

    return convert


def _chebyshev(g: GraphBuilder, x: Value, k: Value, p: Value, q: Value) -> Value:
    return g.Sub(g.Mul(g.Mul(_number(g, 2.0), x), p), q)


def _hermite(g: GraphBuilder, x: Value, k: Value, p: Value, q: Value) -> Value:
    two = _number(g, 2.0)
    return g.Sub(g.Mul(g.Mul(two, x), p), g.Mul(g.Mul(two, k), q))


def _hermite_e(g: GraphBuilder, x: Value, k: Value, p: Value, q: Value) -> Value:
    return g.Sub(g.Mul(x, p), g.Mul(k, q))


def _laguerre(g: GraphBuilder, x: Value, k: Value, p: Value, q: Value) -> Value:
    one = _number(g, 1.0)
    odd = g.Add(g.Mul(_number(g, 2.0), k), one)
    return g.Div(g.Sub(g.Mul(g.Sub(odd, x), p), g.Mul(k, q)), g.Add(k, one))


def _legendre(g: GraphBuilder, x: Value, k: Value, p: Value, q: Value) -> Value:
    one = _number(g, 1.0)
    odd = g.Add(g.Mul(_number(g, 2.0), k), one)
    return g.Div(g.Sub(g.Mul(g.Mul(odd, x), p), g.Mul(k, q)), g.Add(k, one))


def _line(slope: float, offset: float) -> Start:
    def start(g: GraphBuilder, x: Value) -> Value:
        return g.Add(g.Mul(_number(g, slope), x), _number(g, offset))

    return start


chebyshev_t = _sequence(_line(1, 0), _chebyshev)
chebyshev_u = _sequence(_line(2, 0), _chebyshev)
chebyshev_v = _sequence(_line(2, -1), _chebyshev)
chebyshev_w = _sequence(_line(2, 1), _chebyshev)
shifted_chebyshev_t = _sequence(_line(1, 0), _chebyshev, shifted=True)
shifted_chebyshev_u = _sequence(_line(2, 0), _chebyshev, shifted=True)
shifted_chebyshev_v = _sequence(_line(2, -1), _chebyshev, shifted=True)
shifted_chebyshev_w = _sequence(_line(2, 1), _chebyshev, shifted=True)
hermite_h = _sequence(_line(2, 0), _hermite)
hermite_he = _sequence(_line(1, 0), _hermite_e)
laguerre_l = _sequence(_line(-1, 1), _laguerre)
legendre_p = _sequence(_line(1, 0), _legendre)


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
    lowest = g.ReduceMin(g.Where(g.IsNaN(q), one, q), None, keepdims=False)
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
