"""Element by element: arithmetic, comparisons, logic, bits, and functions of one variable.

Operands are brought into the type in which torch computes (its promotion rules, read off the trace), integers of a
function of reals into the result's float type.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from any2onnx.converters.pytorch.call import (
    INTEGERS,
    TorchCall,
    as_type,
    promoted,
    refuse,
    scalar,
)
from any2onnx.converters.pytorch.sizes import floor_div
from any2onnx.graph.builder import GraphBuilder
from any2onnx.graph.types import FLOATS, DataType, Value, dtype_of

Converter = Callable[[GraphBuilder, TorchCall], Value]


# --- factories ------------------------------------------------------------------------------------------------------


def of_reals(op_type: str) -> Converter:
    """Return the converter of a function of one variable that ONNX has, computed in the result's type."""

    def convert(g: GraphBuilder, call: TorchCall) -> Value:
        return getattr(g, op_type)(g.Cast(call.first, call.dtype))  # type: ignore[no-any-return]

    return convert


def keeps_integers(op_type: str) -> Converter:
    """Return the converter of an operator that leaves integers and booleans as they are, such as rounding."""

    def convert(g: GraphBuilder, call: TorchCall) -> Value:
        x = call.first
        return g.op(op_type, x) if dtype_of(x) in FLOATS else x

    return convert


def comparison(op_type: str) -> Converter:
    """Return the converter of a comparison."""

    def convert(g: GraphBuilder, call: TorchCall) -> Value:
        dtype = promoted(call, "self", "other")
        if dtype == DataType.BOOL and op_type != "Equal":
            dtype = DataType.INT32
        a, b = (as_type(g, call.params[name], dtype) for name in ("self", "other"))
        return g.op(op_type, a, b)

    return convert


def logical(op_type: str) -> Converter:
    """Return the converter of a logical operator: everything but zero is true."""

    def convert(g: GraphBuilder, call: TorchCall) -> Value:
        return g.op(op_type, *(as_type(g, v, DataType.BOOL) for v in call.inputs))

    return convert


def bitwise(op_type: str, on_bool: str) -> Converter:
    """Return the converter of a bitwise operator; on booleans it is the logical one."""

    def convert(g: GraphBuilder, call: TorchCall) -> Value:
        values = [as_type(g, call.params[n], call.dtype) for n in ("self", "other") if n in call.params]
        return g.op(on_bool if call.dtype == DataType.BOOL else op_type, *values)

    return convert


# --- arithmetic -----------------------------------------------------------------------------------------------------


def working_dtype(call: TorchCall) -> DataType:
    """Return the type for arithmetic with this result: itself, int32 for booleans."""
    return DataType.INT32 if call.dtype == DataType.BOOL else call.dtype


def operands(g: GraphBuilder, call: TorchCall, dtype: DataType | None = None) -> tuple[Value, Value]:
    """Return `self` and `other` in the type of the arithmetic."""
    dtype = dtype or working_dtype(call)
    return as_type(g, call.params["self"], dtype), as_type(g, call.params["other"], dtype)


def _scaled(g: GraphBuilder, call: TorchCall, b: Value) -> Value:
    alpha = call.params.get("alpha", 1)
    if not isinstance(alpha, Value) and alpha == 1:
        return b
    return g.Mul(b, as_type(g, alpha, dtype_of(b)))


def add(g: GraphBuilder, call: TorchCall) -> Value:
    """self + alpha · other."""
    a, b = operands(g, call)
    return g.Cast(g.Add(a, _scaled(g, call, b)), call.dtype)


def sub(g: GraphBuilder, call: TorchCall) -> Value:
    """self - alpha · other."""
    a, b = operands(g, call)
    return g.Cast(g.Sub(a, _scaled(g, call, b)), call.dtype)


def rsub(g: GraphBuilder, call: TorchCall) -> Value:
    """other - alpha · self."""
    a, b = operands(g, call)
    return g.Cast(g.Sub(b, _scaled(g, call, a)), call.dtype)


def mul(g: GraphBuilder, call: TorchCall) -> Value:
    """self · other."""
    a, b = operands(g, call)
    return g.Cast(g.Mul(a, b), call.dtype)


def div(g: GraphBuilder, call: TorchCall) -> Value:
    """self / other; integers give floats."""
    a, b = operands(g, call)
    return g.Div(a, b)


def div_mode(g: GraphBuilder, call: TorchCall) -> Value:
    """self / other, rounded down ("floor") or towards zero ("trunc")."""
    mode = call.params["rounding_mode"]
    if mode is None:
        return div(g, call)
    a, b = operands(g, call)
    if mode == "floor":
        return floored(g, a, b)
    return g.Div(a, b) if dtype_of(a) in INTEGERS else truncated(g, g.Div(a, b))


def floor_divide(g: GraphBuilder, call: TorchCall) -> Value:
    """self // other."""
    a, b = operands(g, call)
    return g.Cast(floored(g, a, b), call.dtype)


def floored(g: GraphBuilder, a: Value, b: Value) -> Value:
    """a // b. Floats as torch and Python do it: through the exact remainder, so that 1.0 // 0.1 is 9."""
    if dtype_of(a) not in FLOATS:
        return floor_div(g, a, b)
    zero = scalar(g, 0, dtype_of(a))
    rest = g.Mod(a, b, fmod=1)
    quotient = g.Div(g.Sub(a, rest), b)
    signs = g.Xor(g.Less(b, zero), g.Less(rest, zero))
    lower = g.And(g.Not(g.Equal(rest, zero)), signs)
    quotient = g.Where(lower, g.Sub(quotient, scalar(g, 1, dtype_of(a))), quotient)
    down = g.Floor(quotient)
    up = g.Greater(g.Sub(quotient, down), scalar(g, 0.5, dtype_of(a)))
    whole = g.Where(up, g.Add(down, scalar(g, 1, dtype_of(a))), down)
    return g.Where(g.Equal(b, zero), g.Div(a, b), whole)


def remainder(g: GraphBuilder, call: TorchCall) -> Value:
    """self mod other, with the sign of other."""
    a, b = operands(g, call)
    if dtype_of(a) not in FLOATS:
        return g.Mod(a, b)
    zero = scalar(g, 0, dtype_of(a))
    rest = g.Mod(a, b, fmod=1)
    wrong = g.And(g.Not(g.Equal(rest, zero)), g.Xor(g.Less(b, zero), g.Less(rest, zero)))
    return g.Where(wrong, g.Add(rest, b), rest)


def fmod(g: GraphBuilder, call: TorchCall) -> Value:
    """self mod other, with the sign of self."""
    a, b = operands(g, call)
    return g.Mod(a, b, fmod=1)


def power(g: GraphBuilder, call: TorchCall) -> Value:
    """self ** exponent."""
    base, exponent = call.params["self"], call.params["exponent"]
    dtype = working_dtype(call)
    if isinstance(exponent, int | float) and isinstance(base, Value):
        x = g.Cast(base, dtype)
        simple = {1: lambda: x, 2: lambda: g.Mul(x, x), 3: lambda: g.Mul(g.Mul(x, x), x)}
        if exponent in simple:
            return g.Cast(simple[int(exponent)](), call.dtype)
        if exponent == 0.5 and dtype in FLOATS:
            return g.Sqrt(x)
        if exponent == -1 and dtype in FLOATS:
            return g.Reciprocal(x)
    return g.Cast(g.Pow(as_type(g, base, dtype), as_type(g, exponent, dtype)), call.dtype)


def maximum(g: GraphBuilder, call: TorchCall) -> Value:
    """The larger one; NaN wins."""
    return _extreme(g, call, "Max", "Or")


def minimum(g: GraphBuilder, call: TorchCall) -> Value:
    """The smaller one; NaN wins."""
    return _extreme(g, call, "Min", "And")


def _extreme(g: GraphBuilder, call: TorchCall, op_type: str, on_bool: str) -> Value:
    a, b = operands(g, call, call.dtype)
    return g.op(on_bool if call.dtype == DataType.BOOL else op_type, a, b)


def fmax(g: GraphBuilder, call: TorchCall) -> Value:
    """The larger one; NaN loses."""
    return _ignoring_nan(g, call, "Max", "Or")


def fmin(g: GraphBuilder, call: TorchCall) -> Value:
    """The smaller one; NaN loses."""
    return _ignoring_nan(g, call, "Min", "And")


def _ignoring_nan(g: GraphBuilder, call: TorchCall, op_type: str, on_bool: str) -> Value:
    if call.dtype not in FLOATS:
        return _extreme(g, call, op_type, on_bool)
    a, b = operands(g, call)
    return g.Where(g.IsNaN(a), b, g.Where(g.IsNaN(b), a, g.op(op_type, a, b)))


def clamp(g: GraphBuilder, call: TorchCall) -> Value:
    """self limited to [min, max], numbers or tensors."""
    dtype = working_dtype(call)
    x = g.Cast(call.params["self"], dtype)
    low, high = call.params.get("min"), call.params.get("max")
    if low is not None:
        x = g.Max(x, as_type(g, low, dtype))
    if high is not None:
        x = g.Min(x, as_type(g, high, dtype))
    return g.Cast(x, call.dtype)


def where(g: GraphBuilder, call: TorchCall) -> Value:
    """Self where the condition holds, other elsewhere."""
    condition = g.Cast(call.params["condition"], DataType.BOOL)
    a, b = operands(g, call, call.dtype)
    return g.Where(condition, a, b)


def lerp(g: GraphBuilder, call: TorchCall) -> Value:
    """self + weight · (end - self), from the nearer end as torch does."""
    a, b, w = (as_type(g, call.params[n], call.dtype) for n in ("self", "end", "weight"))
    difference = g.Sub(b, a)
    one = scalar(g, 1, call.dtype)
    near = g.Add(a, g.Mul(w, difference))
    far = g.Sub(b, g.Mul(difference, g.Sub(one, w)))
    return g.Where(g.Less(g.Abs(w), scalar(g, 0.5, call.dtype)), near, far)


def addcmul(g: GraphBuilder, call: TorchCall) -> Value:
    """self + value · tensor1 · tensor2."""
    return _with_product(g, call, "Mul")


def addcdiv(g: GraphBuilder, call: TorchCall) -> Value:
    """self + value · tensor1 / tensor2."""
    return _with_product(g, call, "Div")


def _with_product(g: GraphBuilder, call: TorchCall, op_type: str) -> Value:
    x, a, b = (as_type(g, call.params[n], call.dtype) for n in ("self", "tensor1", "tensor2"))
    value = call.params["value"]
    if isinstance(value, Value) or value != 1:
        a = g.Mul(as_type(g, value, call.dtype), a)
    return g.Add(x, g.op(op_type, a, b))


def shift_left(g: GraphBuilder, call: TorchCall) -> Value:
    """self · 2 ** other."""
    a, b = operands(g, call, DataType.INT64)
    return g.Cast(g.Mul(a, g.Pow(scalar(g, 2, DataType.INT64), b)), call.dtype)


def shift_right(g: GraphBuilder, call: TorchCall) -> Value:
    """self // 2 ** other: the sign is kept."""
    a, b = operands(g, call, DataType.INT64)
    return g.Cast(floor_div(g, a, g.Pow(scalar(g, 2, DataType.INT64), b)), call.dtype)


# --- comparisons, logic ---------------------------------------------------------------------------------------------

eq = comparison("Equal")
lt = comparison("Less")
gt = comparison("Greater")
le = comparison("LessOrEqual")
ge = comparison("GreaterOrEqual")
logical_and = logical("And")
logical_or = logical("Or")
logical_xor = logical("Xor")
logical_not = logical("Not")
bitwise_and = bitwise("BitwiseAnd", "And")
bitwise_or = bitwise("BitwiseOr", "Or")
bitwise_xor = bitwise("BitwiseXor", "Xor")
bitwise_not = bitwise("BitwiseNot", "Not")


def ne(g: GraphBuilder, call: TorchCall) -> Value:
    """Not equal."""
    return g.Not(eq(g, call))


def isnan(g: GraphBuilder, call: TorchCall) -> Value:
    """NaN or not; integers never are."""
    return g.IsNaN(call.first) if dtype_of(call.first) in FLOATS else _nowhere(g, call)


def isinf(g: GraphBuilder, call: TorchCall) -> Value:
    """Infinite or not; integers never are."""
    x = call.first
    return _infinite(g, x) if dtype_of(x) in FLOATS else _nowhere(g, call)


def isfinite(g: GraphBuilder, call: TorchCall) -> Value:
    """Neither infinite nor NaN."""
    x = call.first
    if dtype_of(x) not in FLOATS:
        return g.Not(_nowhere(g, call))
    return g.Not(g.Or(g.IsNaN(x), _infinite(g, x)))


def isposinf(g: GraphBuilder, call: TorchCall) -> Value:
    """Plus infinity or not."""
    x = call.first
    return g.Equal(x, scalar(g, math.inf, dtype_of(x))) if dtype_of(x) in FLOATS else _nowhere(g, call)


def isneginf(g: GraphBuilder, call: TorchCall) -> Value:
    """Minus infinity or not."""
    x = call.first
    return g.Equal(x, scalar(g, -math.inf, dtype_of(x))) if dtype_of(x) in FLOATS else _nowhere(g, call)


def _infinite(g: GraphBuilder, x: Value) -> Value:
    return g.Equal(g.Abs(x), scalar(g, math.inf, dtype_of(x)))


def _nowhere(g: GraphBuilder, call: TorchCall) -> Value:
    """False everywhere: x differs from x nowhere."""
    x = call.first
    return g.Not(g.Equal(x, x))


# --- functions of one variable --------------------------------------------------------------------------------------

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
        return _nowhere(g, call)
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


def truncated(g: GraphBuilder, x: Value) -> Value:
    """Round towards zero."""
    return g.Where(g.Less(x, scalar(g, 0, dtype_of(x))), g.Ceil(x), g.Floor(x))


def frac(g: GraphBuilder, call: TorchCall) -> Value:
    """x - trunc(x)."""
    x = call.first
    return g.Sub(x, truncated(g, x))


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


def log2(g: GraphBuilder, call: TorchCall) -> Value:
    """Logarithm to base 2."""
    return g.Div(log(g, call), scalar(g, math.log(2), call.dtype))


def log10(g: GraphBuilder, call: TorchCall) -> Value:
    """Logarithm to base 10."""
    return g.Div(log(g, call), scalar(g, math.log(10), call.dtype))


def exp2(g: GraphBuilder, call: TorchCall) -> Value:
    """2 ** x."""
    return g.Pow(scalar(g, 2, call.dtype), g.Cast(call.first, call.dtype))


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


def expm1(g: GraphBuilder, call: TorchCall) -> Value:
    """exp(x) - 1 without cancellation."""
    return expm1_of(g, g.Cast(call.first, call.dtype))


def expm1_of(g: GraphBuilder, x: Value) -> Value:
    """tanh(x / 2) · (exp(x) + 1) near zero, exp(x) - 1 elsewhere (where it does not cancel)."""
    one = scalar(g, 1, dtype_of(x))
    e = g.Exp(x)
    near = g.Mul(g.Tanh(g.Mul(x, scalar(g, 0.5, dtype_of(x)))), g.Add(e, one))
    return g.Where(g.Less(g.Abs(x), one), near, g.Sub(e, one))


def erfc(g: GraphBuilder, call: TorchCall) -> Value:
    """1 - erf(x), in float64 inside, without cancellation for large x."""
    from any2onnx.graph.special_functions import erfc_double

    return g.Cast(erfc_double(g, g.Cast(call.first, DataType.DOUBLE)), call.dtype)


def logit(g: GraphBuilder, call: TorchCall) -> Value:
    """log(x / (1 - x)), x limited to [eps, 1 - eps] where eps is given."""
    x = g.Cast(call.first, call.dtype)
    eps = call.params.get("eps")
    one = scalar(g, 1, call.dtype)
    if eps is not None and eps >= 0:
        x = g.Min(g.Max(x, scalar(g, eps, call.dtype)), scalar(g, 1 - eps, call.dtype))
    return g.Log(g.Div(x, g.Sub(one, x)))


def sinc(g: GraphBuilder, call: TorchCall) -> Value:
    """sin(πx) / (πx), 1 at 0."""
    x = g.Cast(call.first, call.dtype)
    zero = g.Equal(x, scalar(g, 0, call.dtype))
    angle = g.Mul(g.Where(zero, scalar(g, 1, call.dtype), x), scalar(g, math.pi, call.dtype))
    return g.Where(zero, scalar(g, 1, call.dtype), g.Div(g.Sin(angle), angle))


def atan2(g: GraphBuilder, call: TorchCall) -> Value:
    """Angle of the point (other, self), signed zeros included."""
    y, x = operands(g, call)
    zero, pi = scalar(g, 0, call.dtype), scalar(g, math.pi, call.dtype)
    half = scalar(g, math.pi / 2, call.dtype)
    # Of the two quotients the one that does not exceed 1 is used.
    size_y, size_x = g.Abs(y), g.Abs(x)
    larger, smaller = g.Max(size_x, size_y), g.Min(size_x, size_y)
    same = g.Equal(larger, smaller)
    one = scalar(g, 1, call.dtype)
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


def hypot(g: GraphBuilder, call: TorchCall) -> Value:
    """sqrt(self² + other²), scaled so that squares do not overflow."""
    a, b = (g.Abs(v) for v in operands(g, call))
    large, small = g.Max(a, b), g.Min(a, b)
    zero, one = scalar(g, 0, call.dtype), scalar(g, 1, call.dtype)
    none = g.Equal(large, zero)
    ratio = g.Div(small, g.Where(none, one, large))
    length = g.Mul(large, g.Sqrt(g.Add(one, g.Mul(ratio, ratio))))
    return g.Where(g.Equal(large, scalar(g, math.inf, call.dtype)), large, length)


def xlogy(g: GraphBuilder, call: TorchCall) -> Value:
    """self · log(other), 0 where self is 0."""
    a, b = operands(g, call)
    return _zero_times(g, a, b, g.Log(b))


def xlog1py(g: GraphBuilder, call: TorchCall) -> Value:
    """self · log1p(other), 0 where self is 0."""
    a, b = operands(g, call)
    return _zero_times(g, a, b, log1p_of(g, b))


def _zero_times(g: GraphBuilder, a: Value, b: Value, factor: Value) -> Value:
    zero = scalar(g, 0, dtype_of(a))
    product = g.Where(g.Equal(a, zero), g.Mul(a, zero), g.Mul(a, factor))
    return g.Where(g.IsNaN(b), b, product)


def logaddexp(g: GraphBuilder, call: TorchCall) -> Value:
    """log(exp(self) + exp(other))."""
    a, b = operands(g, call)
    return log_add(g, a, b, 1.0)


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
    infinite = g.And(same, _infinite(g, a))
    return g.Where(infinite, a, result)


def heaviside(g: GraphBuilder, call: TorchCall) -> Value:
    """0 below zero, 1 above, `values` at zero."""
    dtype = working_dtype(call)
    x, at_zero = (as_type(g, call.params[n], dtype) for n in ("self", "values"))
    zero = scalar(g, 0, dtype)
    step = g.Cast(g.Greater(x, zero), dtype)
    return g.Cast(g.Where(g.Equal(x, zero), at_zero, step), call.dtype)


def nan_to_num(g: GraphBuilder, call: TorchCall) -> Value:
    """Numbers in place of NaN and the infinities: 0 and the type's largest by default."""
    import ml_dtypes

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
