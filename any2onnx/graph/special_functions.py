"""Special functions that onnxruntime has no float64 kernel for, from operators that it has."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from any2onnx.graph.types import DataType, Value

if TYPE_CHECKING:
    from any2onnx.graph.builder import GraphBuilder

# W. J. Cody, "Rational Chebyshev approximations for the error function", Math. Comp. 23 (1969): numerators and
# denominators, highest power first, for |x| ≤ 0.46875 (in x²), up to 4 (in |x|) and above (in 1/x²).
_SMALL: Final = (
    (
        1.85777706184603153e-1,
        3.16112374387056560e0,
        1.13864154151050156e2,
        3.77485237685302021e2,
        3.20937758913846947e3,
    ),
    (1.0, 2.36012909523441209e1, 2.44024637934444173e2, 1.28261652607737228e3, 2.84423683343917062e3),
)
_MIDDLE: Final = (
    (
        2.15311535474403846e-8,
        5.64188496988670089e-1,
        8.88314979438837594e0,
        6.61191906371416295e1,
        2.98635138197400131e2,
        8.81952221241769090e2,
        1.71204761263407058e3,
        2.05107837782607147e3,
        1.23033935479799725e3,
    ),
    (
        1.0,
        1.57449261107098347e1,
        1.17693950891312499e2,
        5.37181101862009858e2,
        1.62138957456669019e3,
        3.29079923573345963e3,
        4.36261909014324716e3,
        3.43936767414372164e3,
        1.23033935480374942e3,
    ),
)
_LARGE: Final = (
    (1.63153871373020978e-2, 3.05326634961232344e-1, 3.60344899949804439e-1, 1.25781726111229246e-1,
     1.60837851487422766e-2, 6.58749161529837803e-4),
    (1.0, 2.56852019228982242e0, 1.87295284992346725e0, 5.27905102951428412e-1, 6.05183413124413191e-2,
     2.33520497626869185e-3),
)  # fmt: skip


def polynomial(g: GraphBuilder, x: Value, coefficients: Sequence[float]) -> Value:
    """Evaluate a polynomial by Horner's scheme, highest power first."""
    result = g.scalar_like(coefficients[0], x)
    for coefficient in coefficients[1:]:
        result = g.Add(g.Mul(result, x), g.scalar_like(coefficient, x))
    return result


def rational(g: GraphBuilder, x: Value, parts: tuple[Sequence[float], Sequence[float]]) -> Value:
    """Evaluate a quotient of two polynomials."""
    return g.Div(polynomial(g, x, parts[0]), polynomial(g, x, parts[1]))


# Cody's first range ends here.
_SMALL_END: Final = 0.46875


def _error_parts(g: GraphBuilder, x: Value) -> tuple[Value, Value, Value]:
    """Return |x|, erf(|x|) for |x| up to `_SMALL_END`, and erfc(|x|) for |x| from there on."""

    def number(v: float) -> Value:
        return g.scalar_like(v, x)

    size = g.Abs(x)
    near = g.Min(size, number(_SMALL_END))
    small = g.Mul(near, rational(g, g.Mul(near, near), _SMALL))
    middle_x = g.Clip(size, _SMALL_END, 4.0)
    middle = g.Mul(g.Exp(g.Neg(g.Mul(middle_x, middle_x))), rational(g, middle_x, _MIDDLE))
    # erfc(28) is below the smallest float64; the limit keeps 1/x² and exp(-x²) finite.
    far = g.Clip(size, 4.0, 28.0)
    inverse = g.Reciprocal(g.Mul(far, far))
    tail = g.Sub(number(1 / math.sqrt(math.pi)), g.Mul(inverse, rational(g, inverse, _LARGE)))
    large = g.Mul(g.Exp(g.Neg(g.Mul(far, far))), g.Div(tail, far))
    return size, small, g.Where(g.Greater(size, number(4.0)), large, middle)


def erf_double(g: GraphBuilder, x: Value) -> Value:
    """Error function in float64, to about 1e-16: Cody's three ranges."""
    size, small, complement = _error_parts(g, x)
    beyond = g.Sub(g.scalar_like(1.0, x), complement)
    # Sign carries the sign, 0 and NaN.
    return g.Mul(g.Where(g.Greater(size, g.scalar_like(_SMALL_END, x)), beyond, small), g.Sign(x))


def erfc_double(g: GraphBuilder, x: Value) -> Value:
    """1 - erf(x) in float64, with full relative precision for large x: Cody's three ranges."""
    size, small, complement = _error_parts(g, x)
    positive = g.Greater(x, g.scalar_like(0.0, x))
    beyond = g.Where(positive, complement, g.Sub(g.scalar_like(2.0, x), complement))
    inside = g.Sub(g.scalar_like(1.0, x), g.Mul(small, g.Sign(x)))
    result = g.Where(g.Greater(size, g.scalar_like(_SMALL_END, x)), beyond, inside)
    return g.Where(g.IsNaN(x), x, result)


def atan_double(g: GraphBuilder, x: Value) -> Value:
    """Arc tangent in float64, to about 1e-16: float32's own angle, and one step of third order from there.

    atan(u) = a + atan((u cos a - sin a) / (cos a + u sin a)) for any a; beside a float32 angle the rest is so small
    that it is its own tangent. Above 1 by way of the reciprocal, so that infinity has its angle as well.
    """
    one = g.scalar_like(1.0, x)
    size = g.Abs(x)
    large = g.Greater(size, one)
    u = g.Where(large, g.Div(one, g.Where(large, size, one)), size)
    angle = g.Cast(g.op("Atan", g.Cast(u, DataType.FLOAT)), DataType.DOUBLE)
    sine, cosine = g.Sin(angle), g.Cos(angle)
    rest = g.Div(g.Sub(g.Mul(u, cosine), sine), g.Add(cosine, g.Mul(u, sine)))
    angle = g.Add(angle, rest)
    return g.Mul(g.Sign(x), g.Where(large, g.Sub(g.scalar_like(math.pi / 2, x), angle), angle))


def digamma_series(g: GraphBuilder, x: Value) -> Value:
    """Digamma function of positive float64 numbers by algorithm AS 103 (J. Bernardo, 1976), to about 1e-9.

    This is the form that scikit-learn's topic model computes, error included: its iterations need the same numbers.
    """

    def number(v: float) -> Value:
        return g.scalar_like(v, x)

    euler = 0.577215664901532860606512090082402431
    tiny = g.LessOrEqual(x, number(1e-6))
    near_zero = g.Sub(number(-euler), g.Reciprocal(x))
    shifted, result = g.Where(tiny, number(6.0), x), number(0.0)
    # psi(x + 1) = psi(x) + 1/x, until x is 6 or more: at most six times.
    for _ in range(6):
        small = g.Less(shifted, number(6.0))
        result = g.Where(small, g.Sub(result, g.Reciprocal(shifted)), result)
        shifted = g.Where(small, g.Add(shifted, number(1.0)), shifted)
    inverse = g.Reciprocal(shifted)
    square = g.Mul(inverse, inverse)
    series = g.Sub(number(1 / 120), g.Mul(square, number(1 / 252)))
    series = g.Mul(square, g.Sub(number(1 / 12), g.Mul(square, series)))
    far = g.Sub(g.Sub(g.Add(result, g.Log(shifted)), g.Mul(number(0.5), inverse)), series)
    return g.Where(tiny, near_zero, far)


# P. J. Acklam's rational approximation of the normal quantile: numerators and denominators, highest power first, for
# the middle and for the tail below _TAIL. Its relative error of 1e-9 is the start of a Halley step.
_TAIL: Final = 0.02425
_QUANTILE_MIDDLE: Final = (
    (-3.969683028665376e1, 2.209460984245205e2, -2.759285104469687e2, 1.383577518672690e2, -3.066479806614716e1,
     2.506628277459239),
    (-5.447609879822406e1, 1.615858368580409e2, -1.556989798598866e2, 6.680131188771972e1, -1.328068155288572e1, 1.0),
)  # fmt: skip
_QUANTILE_TAIL: Final = (
    (-7.784894002430293e-3, -3.223964580411365e-1, -2.400758277161838, -2.549732539343734, 4.374664141464968,
     2.938163982698783),
    (7.784695709041462e-3, 3.224671290700398e-1, 2.445134137142996, 3.754408661907416, 1.0),
)  # fmt: skip


def normal_cdf_double(g: GraphBuilder, x: Value) -> Value:
    """Distribution function of the standard normal in float64, with full relative precision in the lower tail."""
    return g.Mul(g.scalar_like(0.5, x), erfc_double(g, g.Mul(x, g.scalar_like(-math.sqrt(0.5), x))))


def normal_quantile_double(g: GraphBuilder, p: Value) -> Value:
    """Quantile function of the standard normal for float64 p in [0, 1]; minus and plus infinity at the ends.

    The half below 1/2 is solved: 1 - p is exact above. One step of Halley's method takes the start to float64.
    """

    def number(v: float) -> Value:
        return g.scalar_like(v, p)

    upper = g.Greater(p, number(0.5))
    lower = g.Where(upper, g.Sub(number(1.0), p), p)
    # The limit keeps the logarithm finite.
    safe = g.Max(lower, number(1e-300))
    deviation = g.Sub(g.Max(safe, number(_TAIL)), number(0.5))
    middle = g.Mul(deviation, rational(g, g.Mul(deviation, deviation), _QUANTILE_MIDDLE))
    root = g.Sqrt(g.Mul(number(-2.0), g.Log(g.Min(safe, number(_TAIL)))))
    tail = rational(g, root, _QUANTILE_TAIL)
    start = g.Where(g.Less(safe, number(_TAIL)), tail, middle)
    error = g.Sub(normal_cdf_double(g, start), safe)
    density = g.Exp(g.Mul(g.Mul(start, start), number(0.5)))
    step = g.Mul(g.Mul(error, number(math.sqrt(2 * math.pi))), density)
    bend = g.Add(number(1.0), g.Mul(g.Mul(start, step), number(0.5)))
    result = g.Sub(start, g.Div(step, bend))
    result = g.Where(g.LessOrEqual(lower, number(0.0)), number(-math.inf), result)
    return g.Where(g.IsNaN(p), p, g.Where(upper, g.Neg(result), result))
