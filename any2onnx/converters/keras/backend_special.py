"""Exponentials, logarithms, angles and divisors of `keras.src.backend.numpy`."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from any2onnx.converters.keras.backend_common import Context, backend_function, keras_backend
from any2onnx.graph.types import DataType, Value, dtype_of


def log1p_of(c: Context, x: Value) -> Value:
    """log(1 + x) without the rounding of 1 + x (Kahan)."""
    g = c.g
    one = c.number(1, x)
    w = g.Add(x, one)
    as_it_is = g.Or(g.Equal(w, one), g.Equal(x, c.number(math.inf, x)))
    difference = g.Where(as_it_is, one, g.Sub(w, one))
    return g.Where(as_it_is, x, g.Mul(g.Log(w), g.Div(x, difference)))


@backend_function
def log1p(c: Context, x: Any) -> Value:
    """log(1 + x)."""
    return log1p_of(c, c.as_float(x))


def expm1_of(c: Context, x: Value) -> Value:
    """exp(x) - 1 without cancellation: tanh(x/2) · (exp(x) + 1)."""
    g = c.g
    return g.Mul(g.Tanh(g.Mul(x, c.number(0.5, x))), g.Add(g.Exp(x), c.number(1, x)))


@backend_function
def expm1(c: Context, x: Any) -> Value:
    """exp(x) - 1."""
    return expm1_of(c, c.as_float(x))


@backend_function
def exp2(c: Context, x: Any) -> Value:
    """2^x."""
    value = c.as_float(x)
    return c.g.Pow(c.number(2, value), value)


@backend_function
def log2(c: Context, x: Any) -> Value:
    """Logarithm to base 2."""
    value = c.as_float(x)
    return c.g.Mul(c.g.Log(value), c.number(1 / math.log(2), value))


@backend_function
def log10(c: Context, x: Any) -> Value:
    """Logarithm to base 10."""
    value = c.as_float(x)
    return c.g.Mul(c.g.Log(value), c.number(1 / math.log(10), value))


def _log_add(c: Context, x1: Any, x2: Any, base: float) -> Value:
    g = c.g
    a, b = c.as_out(x1, x2)
    high = g.Max(a, b)
    gap = g.Neg(g.Abs(g.Sub(a, b)))
    # Equal infinities have no difference.
    gap = g.Where(g.Equal(a, b), c.number(0, a), gap)
    added = log1p_of(c, g.Exp(g.Mul(gap, c.number(math.log(base), gap)) if base != math.e else gap))
    if base != math.e:
        added = g.Mul(added, c.number(1 / math.log(base), added))
    return g.Where(g.IsInf(high), high, g.Add(high, added))


@backend_function
def logaddexp(c: Context, x1: Any, x2: Any) -> Value:
    """log(exp(x1) + exp(x2))."""
    return _log_add(c, x1, x2, math.e)


@backend_function
def logaddexp2(c: Context, x1: Any, x2: Any) -> Value:
    """log2(2^x1 + 2^x2)."""
    return _log_add(c, x1, x2, 2.0)


@backend_function
def hypot(c: Context, x1: Any, x2: Any) -> Value:
    """sqrt(x1² + x2²) without overflow."""
    g = c.g
    a, b = (g.Abs(v) for v in c.as_out(x1, x2))
    high, low = g.Max(a, b), g.Min(a, b)
    none = g.Or(g.Equal(high, c.number(0, high)), g.IsInf(high))
    ratio = g.Div(low, g.Where(none, c.number(1, high), high))
    root = g.Mul(high, g.Sqrt(g.Add(c.number(1, ratio), g.Mul(ratio, ratio))))
    return g.Where(none, high, root)


def sign_bit(c: Context, x: Value) -> Value:
    """Return whether a float's sign is minus, that of -0 included."""
    g = c.g
    zero = c.number(0, x)
    return g.Or(g.Less(x, zero), g.Less(g.Div(c.number(1, x), x), zero))


@backend_function
def signbit(c: Context, x: Any) -> Value:
    """Whether the sign is minus."""
    value = c.t(x)
    if dtype_of(value).is_floating_point():
        return sign_bit(c, value)
    if dtype_of(value) == DataType.BOOL:
        return c.expand(c.g.const(np.asarray(False)), c.g.Shape(value))
    return c.g.Less(value, c.number(0, value))


@backend_function
def arctan2(c: Context, x1: Any, x2: Any) -> Value:
    """Angle of the point (x2, x1), in all quadrants."""
    g = c.g
    y, x = c.as_out(x1, x2)
    negative_y, negative_x = sign_bit(c, y), sign_bit(c, x)
    infinite = g.Or(g.IsInf(y), g.IsInf(x))

    def reduced(v: Value) -> Value:
        # Next to an infinity a finite number is 0; two infinities are equally large.
        return g.Where(infinite, g.Where(g.IsInf(v), g.Sign(v), c.number(0, v)), v)

    y, x = reduced(y), reduced(x)
    none = g.Equal(x, c.number(0, x))
    ratio = g.Abs(g.Div(y, g.Where(none, c.number(1, x), x)))
    origin = g.Equal(y, c.number(0, y))
    angle = g.Where(none, g.Where(origin, c.number(0, x), c.number(math.pi / 2, x)), g.Atan(ratio))
    angle = g.Where(negative_x, g.Sub(c.number(math.pi, x), angle), angle)
    angle = g.Where(negative_y, g.Neg(angle), angle)
    return g.Where(g.Or(g.IsNaN(y), g.IsNaN(x)), g.Add(y, x), angle)


@backend_function
def angle(c: Context, x: Any) -> Value:
    """Angle of a real number: 0, or π where it is negative."""
    g = c.g
    value = c.as_float(x)
    result = g.Where(g.Less(value, c.number(0, value)), c.number(math.pi, value), c.number(0, value))
    return g.Where(g.IsNaN(value), value, result)


@backend_function
def deg2rad(c: Context, x: Any) -> Value:
    """Degrees to radians."""
    value = c.as_float(x)
    return c.g.Mul(value, c.number(math.pi / 180, value))


@backend_function
def rad2deg(c: Context, x: Any) -> Value:
    """Radians to degrees."""
    value = c.as_float(x)
    return c.g.Mul(value, c.number(180 / math.pi, value))


@backend_function
def sinc(c: Context, x: Any) -> Value:
    """sin(πx) / (πx); 1 at 0."""
    g = c.g
    value = c.as_float(x)
    zero = g.Equal(value, c.number(0, value))
    turned = g.Mul(g.Where(zero, c.number(1, value), value), c.number(math.pi, value))
    return g.Where(zero, c.number(1, value), g.Div(g.Sin(turned), turned))


@backend_function
def cbrt(c: Context, x: Any) -> Value:
    """Cube root, of negative numbers too."""
    g = c.g
    value = c.as_float(x)
    return g.Mul(g.Sign(value), g.Pow(g.Abs(value), c.number(1 / 3, value)))


@backend_function
def heaviside(c: Context, x1: Any, x2: Any) -> Value:
    """0 below zero, 1 above, x2 at zero; of NaN: NaN, under TensorFlow x2, under PyTorch 0."""
    g = c.g
    a, b = c.as_out(x1, x2)
    zero = c.number(0, a)
    backend = keras_backend()
    above = g.Cast(g.Greater(a, zero), c.out)
    if backend == "tensorflow":
        return g.Where(g.Or(g.Less(a, zero), g.Greater(a, zero)), above, b)
    result = g.Where(g.Equal(a, zero), b, above)
    return g.Where(g.IsNaN(a), a, result) if c.out.is_floating_point() and backend != "torch" else result


@backend_function
def ldexp(c: Context, x1: Any, x2: Any) -> Value:
    """x1 · 2^x2."""
    a, exponent = c.as_out(x1, x2)
    return c.g.Mul(a, c.g.Pow(c.number(2, a), exponent))


@backend_function
def i0(c: Context, x: Any) -> Value:
    """Modified Bessel function of order 0, by two Chebyshev series in float64."""
    g = c.g
    value = g.Cast(c.as_float(x), DataType.DOUBLE)
    size = g.Abs(value)
    near = _chebyshev(c, lambda t: np.exp(-4 * (t + 1)) * np.i0(4 * (t + 1)), 32, g.Min(size, c.number(8, size)), True)
    far = _chebyshev(c, _scaled_i0, 24, g.Max(size, c.number(8, size)), False)
    scaled = g.Where(g.LessOrEqual(size, c.number(8, size)), near, g.Div(far, g.Sqrt(g.Max(size, c.number(8, size)))))
    return g.Mul(g.Exp(size), scaled)


def _scaled_i0(t: Any) -> Any:
    """sqrt(x) · exp(-x) · I0(x) with x = 16 / (t + 1), for x from 8 to infinity."""
    x = 16 / np.maximum(t + 1, 16 / 600)
    return np.sqrt(x) * np.exp(-x) * np.i0(x)


def _chebyshev(c: Context, function: Any, degree: int, x: Value, near: bool) -> Value:
    """Evaluate the Chebyshev interpolation of a function of t in [-1, 1] (Clenshaw's scheme)."""
    g = c.g
    coefficients = np.polynomial.chebyshev.chebinterpolate(function, degree)
    scaled = g.Mul(x, c.number(0.25, x)) if near else g.Div(c.number(16, x), x)
    t = g.Sub(scaled, c.number(1, x))
    double = g.Mul(t, c.number(2, x))
    first, second = c.number(0, x), c.number(0, x)
    for coefficient in coefficients[:0:-1]:
        first, second = g.Add(g.Sub(g.Mul(double, first), second), c.number(float(coefficient), x)), first
    return g.Add(g.Sub(g.Mul(t, first), second), c.number(float(coefficients[0]), x))


# --- integers --------------------------------------------------------------------------------------------------------


def _greatest_common_divisor(c: Context, a: Value, b: Value) -> Value:
    """Euclid's algorithm on whole tensors: at most 92 steps for int64."""
    g = c.g
    a, b = g.Cast(g.Abs(a), DataType.INT64), g.Cast(g.Abs(b), DataType.INT64)
    shape = g.Shape(g.Add(a, b))
    zero = np.asarray(0, np.int64)

    def step(inner: Any, iteration: Value, condition: Value, x: Value, y: Value) -> list[Value]:
        done = inner.Equal(y, zero)
        rest = inner.Mod(x, inner.Where(done, np.asarray(1, np.int64), y))
        after = inner.Where(done, zero, rest)
        more = inner.ReduceMax(inner.Cast(inner.Not(inner.Equal(after, zero)), DataType.INT64), keepdims=False)
        return [inner.Cast(more, DataType.BOOL), inner.Where(done, x, y), after]

    result, _ = g.Loop(step, [g.Expand(a, shape), g.Expand(b, shape)], condition=True)
    return result


@backend_function
def gcd(c: Context, x1: Any, x2: Any) -> Value:
    """Greatest common divisor."""
    return _greatest_common_divisor(c, *c.as_out(x1, x2))


@backend_function
def lcm(c: Context, x1: Any, x2: Any) -> Value:
    """Least common multiple."""
    g = c.g
    a, b = (g.Cast(v, DataType.INT64) for v in c.as_out(x1, x2))
    divisor = _greatest_common_divisor(c, a, b)
    safe = g.Max(divisor, np.asarray(1, np.int64))
    return g.Mul(g.Div(g.Abs(a), safe), g.Abs(b))
