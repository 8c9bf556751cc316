"""Elementwise functions of `keras.src.backend.numpy`."""

from __future__ import annotations

import builtins
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from any2onnx.converters.keras.backend_common import Context, backend_function, keras_backend
from any2onnx.graph.types import DataType, Value, dtype_of


def _unary(op_type: str) -> Callable[..., Any]:
    @backend_function
    def convert(c: Context, x: Any) -> Value:
        return getattr(c.g, op_type)(c.as_float(x))  # type: ignore[no-any-return]

    return convert


def _binary(op_type: str) -> Callable[..., Any]:
    @backend_function
    def convert(c: Context, x1: Any, x2: Any) -> Value:
        a, b = c.as_out(x1, x2)
        return getattr(c.g, op_type)(a, b)  # type: ignore[no-any-return]

    return convert


arccos = _unary("Acos")
arccosh = _unary("Acosh")
arcsin = _unary("Asin")
arcsinh = _unary("Asinh")
arctan = _unary("Atan")
arctanh = _unary("Atanh")
cos = _unary("Cos")
cosh = _unary("Cosh")
sin = _unary("Sin")
sinh = _unary("Sinh")
tan = _unary("Tan")
tanh = _unary("Tanh")
exp = _unary("Exp")
log = _unary("Log")
sqrt = _unary("Sqrt")
reciprocal = _unary("Reciprocal")


@backend_function
def add(c: Context, x1: Any, x2: Any) -> Value:
    """x1 + x2; of truth values, or."""
    a, b = c.as_out(x1, x2)
    return c.g.Or(a, b) if c.out == DataType.BOOL else c.g.Add(a, b)


@backend_function
def multiply(c: Context, x1: Any, x2: Any) -> Value:
    """x1 · x2; of truth values, and."""
    a, b = c.as_out(x1, x2)
    return c.g.And(a, b) if c.out == DataType.BOOL else c.g.Mul(a, b)


subtract = _binary("Sub")
divide = _binary("Div")
true_divide = divide


@backend_function
def divide_no_nan(c: Context, x1: Any, x2: Any) -> Value:
    """x1 / x2, 0 where x2 is 0."""
    a, b = c.as_out(x1, x2)
    zero = c.number(0, b)
    none = c.g.Equal(b, zero)
    return c.g.Where(none, zero, c.g.Div(a, c.g.Where(none, c.number(1, b), b)))


def nonzero_divisor(c: Context, b: Value) -> Value:
    """Return an integer divisor with 1 for 0, for which onnxruntime would stop the process."""
    if b.const_value is not None and np.all(b.const_value.numpy() != 0):
        return b
    return c.g.Where(c.g.Equal(b, c.number(0, b)), c.number(1, b), b)


@backend_function
def floor_divide(c: Context, x1: Any, x2: Any) -> Value:
    """Quotient rounded down."""
    g = c.g
    a, b = c.as_out(x1, x2)
    if c.out.is_floating_point():
        return g.Floor(g.Div(a, b))
    b = nonzero_divisor(c, b)
    return g.Div(g.Sub(a, g.Mod(a, b)), b)


@backend_function
def mod(c: Context, x1: Any, x2: Any) -> Value:
    """Remainder with the sign of the divisor."""
    g = c.g
    a, b = c.as_out(x1, x2)
    if not c.out.is_floating_point():
        return g.Mod(a, nonzero_divisor(c, b))
    rest = g.Mod(a, b, fmod=1)
    other = g.And(g.Not(g.Equal(rest, c.number(0, rest))), g.Less(g.Mul(g.Sign(rest), g.Sign(b)), c.number(0, b)))
    return g.Where(other, g.Add(rest, b), rest)


@backend_function
def fmod(c: Context, x1: Any, x2: Any) -> Value:
    """Remainder with the sign of the dividend."""
    a, b = c.as_out(x1, x2)
    return c.g.Mod(a, b if c.out.is_floating_point() else nonzero_divisor(c, b), fmod=1)


@backend_function
def power(c: Context, x1: Any, x2: Any) -> Value:
    """x1 to the power x2."""
    if isinstance(x2, int | float) and not isinstance(x2, bool) and c.out.is_floating_point():
        if x2 == 2:
            base = c.t(x1, c.out)
            return c.g.Mul(base, base)
        if x2 == 0.5:
            return c.g.Sqrt(c.t(x1, c.out))
    a, b = c.as_out(x1, x2)
    return c.g.Pow(a, b)


@backend_function
def negative(c: Context, x: Any) -> Value:
    """-x."""
    return c.g.Neg(c.t(x, c.out))


@backend_function
def absolute(c: Context, x: Any) -> Value:
    """|x|."""
    value = c.t(x)
    return value if dtype_of(value) == DataType.BOOL else c.g.Abs(c.g.Cast(value, c.out))


abs = absolute  # noqa: A001 - Keras's name
fabs = absolute


@backend_function
def sign(c: Context, x: Any) -> Value:
    """-1, 0 or 1; NaN for NaN, 0 under PyTorch."""
    value = c.t(x, c.out)
    result = c.g.Sign(value)
    if not c.out.is_floating_point():
        return result
    # What onnxruntime's kernel says of NaN is not stated anywhere.
    return c.g.Where(c.g.IsNaN(value), c.number(0, value) if keras_backend() == "torch" else value, result)


@backend_function
def square(c: Context, x: Any) -> Value:
    """x²."""
    value = c.t(x, c.out)
    return c.g.Mul(value, value)


def _rounded(op_type: str) -> Callable[..., Any]:
    @backend_function
    def convert(c: Context, x: Any) -> Value:
        value = c.t(x)
        return getattr(c.g, op_type)(value) if dtype_of(value).is_floating_point() else value

    return convert


ceil = _rounded("Ceil")
floor = _rounded("Floor")


@backend_function
def trunc(c: Context, x: Any) -> Value:
    """Round towards zero."""
    value = c.t(x)
    if not dtype_of(value).is_floating_point():
        return value
    return c.g.Where(c.g.Less(value, c.number(0, value)), c.g.Ceil(value), c.g.Floor(value))


@backend_function
def round(c: Context, x: Any, decimals: Any = 0) -> Value:  # noqa: A001 - Keras's name
    """Round to decimals, halves to even."""
    g = c.g
    value = c.t(x)
    digits = int(c.static(decimals, "decimals"))
    if not dtype_of(value).is_floating_point():
        if digits >= 0:
            return value
        value = g.Cast(value, DataType.DOUBLE)
    if digits == 0:
        return g.Round(value)
    scale = c.number(10.0 ** builtins.abs(digits), value)
    if digits > 0:
        return g.Div(g.Round(g.Mul(value, scale)), scale)
    return g.Mul(g.Round(g.Div(value, scale)), scale)


@backend_function
def clip(c: Context, x: Any, x_min: Any, x_max: Any) -> Value:
    """Limit to [x_min, x_max]."""
    value = c.t(x, c.out)
    if x_min is not None:
        value = c.g.Max(value, c.t(x_min, c.out))
    return value if x_max is None else c.g.Min(value, c.t(x_max, c.out))


@backend_function
def maximum(c: Context, x1: Any, x2: Any) -> Value:
    """The larger one; NaN where one is NaN."""
    a, b = c.as_out(x1, x2)
    return c.g.Or(a, b) if c.out == DataType.BOOL else c.g.Max(a, b)


@backend_function
def minimum(c: Context, x1: Any, x2: Any) -> Value:
    """The smaller one; NaN where one is NaN."""
    a, b = c.as_out(x1, x2)
    return c.g.And(a, b) if c.out == DataType.BOOL else c.g.Min(a, b)


def _without_nan(c: Context, x1: Any, x2: Any, op_type: str) -> Value:
    g = c.g
    a, b = c.as_out(x1, x2)
    chosen: Value = getattr(g, op_type)(a, b)
    if not c.out.is_floating_point():
        return chosen
    return g.Where(g.IsNaN(a), b, g.Where(g.IsNaN(b), a, chosen))


@backend_function
def fmax(c: Context, x1: Any, x2: Any) -> Value:
    """The larger one; the other where one is NaN."""
    return _without_nan(c, x1, x2, "Max")


@backend_function
def fmin(c: Context, x1: Any, x2: Any) -> Value:
    """The smaller one; the other where one is NaN."""
    return _without_nan(c, x1, x2, "Min")


# --- comparisons and logic -------------------------------------------------------------------------------------------


def _comparison(op_type: str) -> Callable[..., Any]:
    @backend_function
    def convert(c: Context, x1: Any, x2: Any) -> Value:
        a, b = c.promoted(x1, x2)
        if dtype_of(a) == DataType.BOOL and op_type != "Equal":
            a, b = c.g.Cast(a, DataType.INT32), c.g.Cast(b, DataType.INT32)
        return getattr(c.g, op_type)(a, b)  # type: ignore[no-any-return]

    return convert


equal = _comparison("Equal")
greater = _comparison("Greater")
greater_equal = _comparison("GreaterOrEqual")
less = _comparison("Less")
less_equal = _comparison("LessOrEqual")


@backend_function
def not_equal(c: Context, x1: Any, x2: Any) -> Value:
    """x1 ≠ x2."""
    return c.g.Not(c.g.Equal(*c.promoted(x1, x2)))


def _logical(op_type: str) -> Callable[..., Any]:
    @backend_function
    def convert(c: Context, x1: Any, x2: Any) -> Value:
        return getattr(c.g, op_type)(truth(c, x1), truth(c, x2))  # type: ignore[no-any-return]

    return convert


def truth(c: Context, x: Any) -> Value:
    """Return whether each element is not zero (NaN is not)."""
    return c.t(x, DataType.BOOL)


logical_and = _logical("And")
logical_or = _logical("Or")
logical_xor = _logical("Xor")


@backend_function
def logical_not(c: Context, x: Any) -> Value:
    """Not."""
    return c.g.Not(truth(c, x))


def _bitwise(op_type: str) -> Callable[..., Any]:
    @backend_function
    def convert(c: Context, x: Any, y: Any) -> Value:
        a, b = c.as_out(x, y)
        name = op_type if c.out == DataType.BOOL else f"Bitwise{op_type}"
        return getattr(c.g, name)(a, b)  # type: ignore[no-any-return]

    return convert


bitwise_and = _bitwise("And")
bitwise_or = _bitwise("Or")
bitwise_xor = _bitwise("Xor")


@backend_function
def bitwise_not(c: Context, x: Any) -> Value:
    """Each bit inverted: -x - 1 for signed numbers."""
    value = c.t(x, c.out)
    if c.out == DataType.BOOL:
        return c.g.Not(value)
    highest = -1 if c.out.is_signed() else np.iinfo(c.out.numpy()).max
    return c.g.Sub(c.number(highest, value), value)


bitwise_invert = bitwise_not


@backend_function
def left_shift(c: Context, x: Any, y: Any) -> Value:
    """x · 2^y."""
    a, b = c.as_out(x, y)
    return c.g.Mul(a, c.g.Pow(c.number(2, a), b))


@backend_function
def right_shift(c: Context, x: Any, y: Any) -> Value:
    """x / 2^y, rounded down."""
    g = c.g
    a, b = c.as_out(x, y)
    divisor = g.Pow(c.number(2, a), b)
    return g.Div(g.Sub(a, g.Mod(a, divisor)), divisor)


bitwise_left_shift = left_shift
bitwise_right_shift = right_shift


def _floating_test(c: Context, x: Any, test: Callable[[Value], Value], otherwise: bool = False) -> Value:
    value = c.t(x)
    if dtype_of(value).is_floating_point():
        return test(value)
    return c.expand(c.g.const(np.asarray(otherwise)), c.g.Shape(value))


@backend_function
def isnan(c: Context, x: Any) -> Value:
    """Whether x is NaN."""
    return _floating_test(c, x, c.g.IsNaN)


@backend_function
def isinf(c: Context, x: Any) -> Value:
    """Whether x is infinite."""
    return _floating_test(c, x, c.g.IsInf)


@backend_function
def isposinf(c: Context, x: Any) -> Value:
    """Whether x is +∞."""
    return _floating_test(c, x, lambda v: c.g.Equal(v, c.number(math.inf, v)))


@backend_function
def isneginf(c: Context, x: Any) -> Value:
    """Whether x is -∞."""
    return _floating_test(c, x, lambda v: c.g.Equal(v, c.number(-math.inf, v)))


@backend_function
def isfinite(c: Context, x: Any) -> Value:
    """Whether x is a number and not infinite."""
    return _floating_test(c, x, lambda v: c.g.Not(c.g.Or(c.g.IsInf(v), c.g.IsNaN(v))), True)


@backend_function
def isreal(c: Context, x: Any) -> Value:
    """True everywhere: tensors of the graph are real."""
    return c.expand(c.g.const(np.asarray(True)), c.g.Shape(c.t(x)))


def close(c: Context, x1: Any, x2: Any, rtol: Any, atol: Any, equal_nan: Any) -> Value:
    """Return whether |x1 - x2| ≤ atol + rtol · |x2|, as numpy does for infinities and NaN."""
    g = c.g
    a, b = c.promoted(x1, x2)
    if not dtype_of(a).is_floating_point():
        a, b = g.Cast(a, DataType.DOUBLE), g.Cast(b, DataType.DOUBLE)
    limit = g.Add(c.t(atol, dtype_of(a)), g.Mul(c.t(rtol, dtype_of(a)), g.Abs(b)))
    finite = g.Not(g.Or(g.IsInf(a), g.IsInf(b)))
    near = g.Or(g.And(g.LessOrEqual(g.Abs(g.Sub(a, b)), limit), finite), g.Equal(a, b))
    return g.Or(near, g.And(g.IsNaN(a), g.IsNaN(b))) if equal_nan else near


@backend_function
def isclose(c: Context, x1: Any, x2: Any, rtol: Any, atol: Any, equal_nan: Any) -> Value:
    """Whether elements are nearly equal; under TensorFlow infinities are no exception from the formula."""
    if keras_backend() != "tensorflow":
        return close(c, x1, x2, rtol, atol, equal_nan)
    g = c.g
    a, b = c.promoted(x1, x2)
    if not dtype_of(a).is_floating_point():
        return g.Equal(a, b)
    limit = g.Add(c.t(atol, dtype_of(a)), g.Mul(c.t(rtol, dtype_of(a)), g.Abs(b)))
    near = g.LessOrEqual(g.Abs(g.Sub(a, b)), limit)
    return g.Or(near, g.And(g.IsNaN(a), g.IsNaN(b))) if equal_nan else near


@backend_function
def nan_to_num(c: Context, x: Any, nan: Any, posinf: Any, neginf: Any) -> Value:
    """Numbers for NaN and the infinities."""
    g = c.g
    value = c.t(x)
    if not dtype_of(value).is_floating_point():
        return value
    limits = np.finfo(dtype_of(value).numpy()) if dtype_of(value) != DataType.BFLOAT16 else None
    if limits is None and (posinf is None or neginf is None):
        raise c.refuse("posinf and neginf have no default for bfloat16")
    high = posinf if limits is None or posinf is not None else float(limits.max)
    low = neginf if limits is None or neginf is not None else float(limits.min)
    dtype = dtype_of(value)
    result = g.Where(g.IsNaN(value), c.t(nan, dtype), value)
    result = g.Where(g.Equal(value, c.number(math.inf, value)), c.t(high, dtype), result)
    return g.Where(g.Equal(value, c.number(-math.inf, value)), c.t(low, dtype), result)


# --- the rest --------------------------------------------------------------------------------------------------------


@backend_function
def copy(c: Context, x: Any) -> Value:
    """x itself."""
    return c.t(x)


conj = conjugate = real = copy


@backend_function
def imag(c: Context, x: Any) -> Value:
    """Zeros: tensors of the graph are real."""
    value = c.t(x)
    return c.expand(c.number(0, value), c.g.Shape(value))


@backend_function
def where(c: Context, condition: Any, x1: Any, x2: Any) -> Any:
    """x1 where the condition holds, else x2; the positions where it holds, without them."""
    if x1 is None and x2 is None:
        from any2onnx.converters.keras.backend_indexing import nonzero_positions

        if len(c.specs) == 1 and len(c.dims) == 2:
            # Keras under PyTorch gives one matrix.
            return c.g.NonZero(truth(c, condition))
        return nonzero_positions(c, c.t(condition))
    a, b = c.as_out(x1, x2)
    return c.g.Where(truth(c, condition), a, b)


@backend_function
def select(c: Context, condlist: Any, choicelist: Any, default: Any) -> Value:
    """The choice of the first condition that holds."""
    result = c.t(default, c.out)
    for condition, choice in reversed(list(zip(condlist, choicelist, strict=True))):
        result = c.g.Where(truth(c, condition), c.t(choice, c.out), result)
    return result
