"""Bessel, Airy and scaled error functions in float64, from operators that onnxruntime has.

Chebyshev interpolants (`bessel_tables`) over two ranges each: near zero of the function with its singular part taken
away, far from it of the factor beside its asymptotic form. Relative error about 1e-15, absolute near the zeros of the
oscillating ones.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from any2onnx.graph import bessel_tables as tables
from any2onnx.graph.special_functions import erfc_double, polynomial
from any2onnx.graph.types import DataType, Value

if TYPE_CHECKING:
    from any2onnx.graph.builder import GraphBuilder


def _number(g: GraphBuilder, value: float, x: Value) -> Value:
    return g.scalar_like(value, x)


def chebyshev(g: GraphBuilder, u: Value, coefficients: Sequence[float]) -> Value:
    """Evaluate a Chebyshev series, constant term first, for u in [-1, 1] by Clenshaw's recurrence."""
    twice = g.Add(u, u)
    after, value = _number(g, 0.0, u), _number(g, coefficients[-1], u)
    for coefficient in reversed(coefficients[1:-1]):
        following = g.Add(g.Sub(g.Mul(twice, value), after), _number(g, coefficient, u))
        after, value = value, following
    return g.Add(g.Sub(g.Mul(u, value), after), _number(g, coefficients[0], u))


def _scaled(g: GraphBuilder, x: Value, factor: float) -> Value:
    """Return factor · x - 1, the variable of a series."""
    return g.Sub(g.Mul(x, _number(g, factor, x)), _number(g, 1.0, x))


def _parts(g: GraphBuilder, x: Value, border: float) -> tuple[Value, Value, Value]:
    """Return whether x is beyond the border, x limited to below it, and border / x limited to [0, 1]."""
    limit = _number(g, border, x)
    return g.Greater(x, limit), g.Min(x, limit), g.Div(limit, g.Max(x, limit))


def _signed(g: GraphBuilder, x: Value, value: Value) -> Value:
    return g.Where(g.Less(x, _number(g, 0.0, x)), g.Neg(value), value)


def _spread(g: GraphBuilder, x: Value, value: Value) -> Value:
    """Carry NaN, which limits may have lost."""
    return g.Where(g.IsNaN(x), x, value)


# --- modified Bessel functions ----------------------------------------------------------------------------------------


def i0e(g: GraphBuilder, x: Value) -> Value:
    """exp(-|x|) I0(x)."""
    size = g.Abs(x)
    far, near, ratio = _parts(g, size, 8.0)
    low = chebyshev(g, _scaled(g, near, 0.25), tables.I0_NEAR)
    high = g.Div(chebyshev(g, _scaled(g, ratio, 2.0), tables.I0_FAR), g.Sqrt(size))
    return _spread(g, x, g.Where(far, high, low))


def i1e(g: GraphBuilder, x: Value) -> Value:
    """exp(-|x|) I1(x), odd."""
    size = g.Abs(x)
    far, near, ratio = _parts(g, size, 8.0)
    low = g.Mul(near, chebyshev(g, _scaled(g, near, 0.25), tables.I1_NEAR))
    high = g.Div(chebyshev(g, _scaled(g, ratio, 2.0), tables.I1_FAR), g.Sqrt(size))
    return _spread(g, x, _signed(g, x, g.Where(far, high, low)))


def _unscaled(g: GraphBuilder, x: Value, value: Value) -> Value:
    """Return value · exp(|x|), infinite where the exponential is."""
    # Half of the exponent at a time, so that it overflows no earlier than the product.
    half = g.Exp(g.Mul(g.Abs(x), _number(g, 0.5, x)))
    return g.Mul(g.Mul(value, half), half)


def i0(g: GraphBuilder, x: Value) -> Value:
    """I0."""
    infinite = g.Equal(g.Abs(x), _number(g, math.inf, x))
    return g.Where(infinite, g.Abs(x), _unscaled(g, x, i0e(g, x)))


def i1(g: GraphBuilder, x: Value) -> Value:
    """I1."""
    infinite = g.Equal(g.Abs(x), _number(g, math.inf, x))
    return g.Where(infinite, x, _unscaled(g, x, i1e(g, x)))


def _modified_second(g: GraphBuilder, x: Value, order: int, *, scaled: bool) -> Value:
    """K0 or K1, or exp(x) times it: infinite at 0, NaN below."""
    near_table, far_table = ((tables.K0_NEAR, tables.K0_FAR), (tables.K1_NEAR, tables.K1_FAR))[order]
    zero, one = _number(g, 0.0, x), _number(g, 1.0, x)
    far, limited, ratio = _parts(g, x, 2.0)
    near = g.Where(g.Greater(limited, zero), limited, one)
    series = chebyshev(g, _scaled(g, g.Mul(near, near), 0.5), near_table)
    logarithm = g.Log(g.Mul(near, _number(g, 0.5, x)))
    first = i0e(g, near) if order == 0 else i1e(g, near)
    product = g.Mul(logarithm, g.Mul(first, g.Exp(near)))
    low = g.Sub(series, product) if order == 0 else g.Add(g.Div(series, near), product)
    high = g.Div(chebyshev(g, _scaled(g, ratio, 2.0), far_table), g.Sqrt(g.Max(x, one)))
    if scaled:
        low = g.Mul(low, g.Exp(near))
    else:
        high = g.Mul(high, g.Exp(g.Neg(g.Max(x, one))))
    value = g.Where(far, high, low)
    value = g.Where(g.Equal(x, zero), _number(g, math.inf, x), value)
    return _spread(g, x, g.Where(g.Less(x, zero), _number(g, math.nan, x), value))


def k0(g: GraphBuilder, x: Value) -> Value:
    """K0."""
    return _modified_second(g, x, 0, scaled=False)


def k1(g: GraphBuilder, x: Value) -> Value:
    """K1."""
    return _modified_second(g, x, 1, scaled=False)


def k0e(g: GraphBuilder, x: Value) -> Value:
    """exp(x) K0(x)."""
    return _modified_second(g, x, 0, scaled=True)


def k1e(g: GraphBuilder, x: Value) -> Value:
    """exp(x) K1(x)."""
    return _modified_second(g, x, 1, scaled=True)


# --- Bessel functions -------------------------------------------------------------------------------------------------


def _oscillating(g: GraphBuilder, size: Value, order: int) -> tuple[Value, Value]:
    """Return J and Y beyond 8 by modulus and phase.

    J is sqrt(2 / (πx)) (P cos χ - Q sin χ), Y sqrt(2 / (πx)) (P sin χ + Q cos χ).
    """
    p_table, q_table = ((tables.P0_FAR, tables.Q0_FAR), (tables.P1_FAR, tables.Q1_FAR))[order]
    x = g.Max(size, _number(g, 8.0, size))
    ratio = g.Div(_number(g, 8.0, size), x)
    u = _scaled(g, g.Mul(ratio, ratio), 2.0)
    p, q = chebyshev(g, u, p_table), g.Mul(chebyshev(g, u, q_table), ratio)
    angle = g.Sub(x, _number(g, (2 * order + 1) * math.pi / 4, x))
    sine, cosine = g.Sin(angle), g.Cos(angle)
    factor = g.Sqrt(g.Div(_number(g, 2 / math.pi, x), x))
    first = g.Mul(factor, g.Sub(g.Mul(p, cosine), g.Mul(q, sine)))
    second = g.Mul(factor, g.Add(g.Mul(p, sine), g.Mul(q, cosine)))
    return first, second


def _near_square(g: GraphBuilder, size: Value) -> tuple[Value, Value]:
    near = g.Min(size, _number(g, 8.0, size))
    return near, _scaled(g, g.Mul(near, near), 1 / 32)


def j0(g: GraphBuilder, x: Value) -> Value:
    """J0, even."""
    size = g.Abs(x)
    _, u = _near_square(g, size)
    far = g.Greater(size, _number(g, 8.0, x))
    return _spread(g, x, g.Where(far, _oscillating(g, size, 0)[0], chebyshev(g, u, tables.J0_NEAR)))


def j1(g: GraphBuilder, x: Value) -> Value:
    """J1, odd."""
    size = g.Abs(x)
    near, u = _near_square(g, size)
    low = g.Mul(near, chebyshev(g, u, tables.J1_NEAR))
    far = g.Greater(size, _number(g, 8.0, x))
    return _spread(g, x, _signed(g, x, g.Where(far, _oscillating(g, size, 1)[0], low)))


def _second_kind(g: GraphBuilder, x: Value, order: int) -> Value:
    zero, one = _number(g, 0.0, x), _number(g, 1.0, x)
    positive = g.Greater(x, zero)
    size = g.Where(positive, x, one)
    near, u = _near_square(g, size)
    table = (tables.Y0_NEAR, tables.Y1_NEAR)[order]
    series, first = chebyshev(g, u, table), j0(g, near) if order == 0 else j1(g, near)
    product = g.Mul(g.Log(near), first)
    if order == 1:
        series, product = g.Mul(near, series), g.Sub(product, g.Div(one, near))
    low = g.Add(series, g.Mul(_number(g, 2 / math.pi, x), product))
    value = g.Where(g.Greater(size, _number(g, 8.0, x)), _oscillating(g, size, order)[1], low)
    value = g.Where(g.Equal(x, zero), _number(g, -math.inf, x), value)
    return _spread(g, x, g.Where(g.Less(x, zero), _number(g, math.nan, x), value))


def y0(g: GraphBuilder, x: Value) -> Value:
    """Y0: minus infinity at 0, NaN below."""
    return _second_kind(g, x, 0)


def y1(g: GraphBuilder, x: Value) -> Value:
    """Y1: minus infinity at 0, NaN below."""
    return _second_kind(g, x, 1)


def spherical_j0(g: GraphBuilder, x: Value) -> Value:
    """sin(x) / x, 1 at 0 and 0 at infinity."""
    zero, one = _number(g, 0.0, x), _number(g, 1.0, x)
    none = g.Equal(x, zero)
    value = g.Where(none, one, g.Div(g.Sin(x), g.Where(none, one, x)))
    return g.Where(g.Equal(g.Abs(x), _number(g, math.inf, x)), zero, value)


# --- Airy, error function ---------------------------------------------------------------------------------------------


def airy(g: GraphBuilder, x: Value) -> Value:
    """Ai: decaying beyond 2, oscillating below -4, a series between; NaN at infinity, as torch has it."""
    two, four = _number(g, 2.0, x), _number(g, 4.0, x)
    middle = g.Max(g.Min(x, two), g.Neg(four))
    centre = chebyshev(g, g.Div(g.Add(middle, _number(g, 1.0, x)), _number(g, 3.0, x)), tables.AIRY_MIDDLE)
    third = _number(g, 2 / 3, x)
    right = g.Max(x, two)
    exponent = g.Mul(third, g.Mul(right, g.Sqrt(right)))
    ratio = g.Div(_number(g, 2 / 3 * 2**1.5, x), exponent)
    decay = g.Div(g.Exp(g.Neg(exponent)), g.Sqrt(g.Sqrt(right)))
    beyond = g.Mul(decay, chebyshev(g, _scaled(g, ratio, 2.0), tables.AIRY_RIGHT))
    left = g.Max(g.Neg(x), four)
    phase = g.Mul(third, g.Mul(left, g.Sqrt(left)))
    ratio = g.Div(_number(g, 16 / 3, x), phase)
    u = _scaled(g, g.Mul(ratio, ratio), 2.0)
    angle = g.Sub(phase, _number(g, math.pi / 4, x))
    cosine = g.Mul(g.Cos(angle), chebyshev(g, u, tables.AIRY_COS))
    sine = g.Mul(g.Sin(angle), g.Div(chebyshev(g, u, tables.AIRY_SIN), phase))
    wave = g.Div(g.Add(cosine, sine), g.Sqrt(g.Sqrt(left)))
    value = g.Where(g.Greater(x, two), beyond, g.Where(g.Less(x, g.Neg(four)), wave, centre))
    infinite = g.Equal(g.Abs(x), _number(g, math.inf, x))
    return _spread(g, x, g.Where(infinite, _number(g, math.nan, x), value))


def erfcx(g: GraphBuilder, x: Value) -> Value:
    """exp(x²) erfc(x): (1 + 2x) times it is a series in (x - 15/4) / (x + 15/4); by reflection below 0."""
    zero, one, two = (_number(g, v, x) for v in (0.0, 1.0, 2.0))
    size = g.Min(g.Abs(x), _number(g, 1e300, x))
    quarter = _number(g, 3.75, x)
    u = g.Div(g.Sub(size, quarter), g.Add(size, quarter))
    positive = g.Div(chebyshev(g, u, tables.ERFCX), g.Add(one, g.Mul(two, size)))
    # exp(x²) by its high and low part: the square's rounding would be multiplied by itself.
    limited = g.Min(size, _number(g, 27.0, x))
    high = g.Cast(g.Cast(limited, DataType.FLOAT), DataType.DOUBLE)
    low = g.Mul(g.Sub(limited, high), g.Add(limited, high))
    square = g.Mul(g.Exp(g.Mul(high, high)), g.Exp(low))
    square = g.Where(g.Greater(size, _number(g, 26.7, x)), _number(g, math.inf, x), square)
    negative = g.Sub(g.Mul(two, square), positive)
    return _spread(g, x, g.Where(g.Less(x, zero), negative, positive))


def log_normal_cdf(g: GraphBuilder, x: Value) -> Value:
    """Logarithm of the standard normal distribution function."""
    t = g.Mul(x, _number(g, math.sqrt(0.5), x))
    low = g.Less(x, _number(g, -1.0, x))
    zero, half = _number(g, 0.0, x), _number(g, 0.5, x)
    scaled = erfcx(g, g.Neg(g.Where(low, t, zero)))
    below = g.Sub(g.Log(g.Mul(scaled, half)), g.Mul(t, t))
    complement = g.Mul(erfc_double(g, g.Where(low, zero, t)), half)
    # log(1 - c) for small c by its series: 1 - c would round.
    tiny = g.Less(complement, _number(g, 1e-5, x))
    series = g.Neg(g.Mul(complement, polynomial(g, complement, (1 / 4, 1 / 3, 1 / 2, 1.0))))
    above = g.Where(tiny, series, g.Log(g.Sub(_number(g, 1.0, x), complement)))
    return _spread(g, x, g.Where(low, below, above))
