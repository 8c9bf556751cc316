"""What numpy's elementwise functions become: nodes for each, and the kinds that they take and give."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np

from any2onnx.converters.sklearn.numerics import expm1, log1p, logistic
from any2onnx.converters.sklearn.tracing.record import (
    BOOL,
    FLOAT,
    INTEGER,
    SMALL,
    TEXT,
    Form,
    NotTraceable,
)
from any2onnx.graph.builder import GraphBuilder
from any2onnx.graph.types import DataType, Value

Rule = tuple[str, list[str | None]]


def _operator(op_type: str) -> Form:
    return lambda g, *operands: g.op(op_type, *operands)


def _number(g: GraphBuilder, number: float, like: Value) -> Value:
    return g.scalar_like(number, like)


def _times(factor: float) -> Form:
    return lambda g, x: g.Mul(x, _number(g, factor, x))


def nan_through(op_type: str) -> Form:
    """Return Max or Min as numpy's maximum and minimum: NaN where either is NaN."""

    def form(g: GraphBuilder, a: Value, b: Value) -> Value:
        either = g.Or(g.IsNaN(a), g.IsNaN(b))
        return g.Where(either, _number(g, float("nan"), a), g.op(op_type, a, b))

    return form


def _nan_aside(op_type: str) -> Form:
    def form(g: GraphBuilder, a: Value, b: Value) -> Value:
        return g.Where(g.IsNaN(a), b, g.Where(g.IsNaN(b), a, g.op(op_type, a, b)))

    return form


def _trunc(g: GraphBuilder, x: Value) -> Value:
    return g.Mul(g.Sign(x), g.Floor(g.Abs(x)))


def _fmod(g: GraphBuilder, a: Value, b: Value) -> Value:
    return g.op("Mod", a, b, fmod=1)


def _remainder(g: GraphBuilder, a: Value, b: Value) -> Value:
    """The remainder with the divisor's sign."""
    rest, wrong = _rest(g, a, b)
    return g.Where(wrong, g.Add(rest, b), rest)


def _rest(g: GraphBuilder, a: Value, b: Value) -> tuple[Value, Value]:
    """Return the remainder with the dividend's sign, and where that is not the divisor's."""
    rest = _fmod(g, a, b)
    zero = _number(g, 0.0, rest)
    return rest, g.And(g.Not(g.Equal(rest, zero)), g.Xor(g.Less(b, zero), g.Less(rest, zero)))


def _floor_divide(g: GraphBuilder, a: Value, b: Value) -> Value:
    """numpy's: the quotient without the remainder, so that 1.0 // 0.1 is 9."""
    zero, one = _number(g, 0.0, a), _number(g, 1.0, a)
    rest, wrong = _rest(g, a, b)
    quotient = g.Div(g.Sub(a, rest), b)
    quotient = g.Where(wrong, g.Sub(quotient, one), quotient)
    down = g.Floor(quotient)
    near = g.Where(g.Greater(g.Sub(quotient, down), _number(g, 0.5, a)), g.Add(down, one), down)
    return g.Where(g.Equal(b, zero), g.Div(a, b), near)


def _hypot(g: GraphBuilder, a: Value, b: Value) -> Value:
    a, b = g.Abs(a), g.Abs(b)
    large, small = g.op("Max", a, b), g.op("Min", a, b)
    zero = g.Equal(large, _number(g, 0.0, large))
    ratio = g.Div(small, g.Where(zero, _number(g, 1.0, large), large))
    found = g.Mul(large, g.Sqrt(g.Add(g.Mul(ratio, ratio), _number(g, 1.0, large))))
    found = g.Where(g.Or(g.IsNaN(a), g.IsNaN(b)), _number(g, float("nan"), a), found)
    return g.Where(g.Or(g.IsInf(a), g.IsInf(b)), _number(g, float("inf"), a), found)


def _negative(g: GraphBuilder, x: Value) -> Value:
    """True for negative numbers and -0."""
    zero = _number(g, 0.0, x)
    below = g.Less(g.Div(_number(g, 1.0, x), x), zero)
    return g.Or(g.Less(x, zero), g.And(g.Equal(x, zero), below))


def _arctan2(g: GraphBuilder, y: Value, x: Value) -> Value:
    zero = _number(g, 0.0, y)
    pi = _number(g, float(np.pi), y)
    up = g.Where(_negative(g, y), _number(g, -1.0, y), _number(g, 1.0, y))
    both = g.And(g.IsInf(y), g.IsInf(x))
    one = _number(g, 1.0, y)
    # Of two infinities the angle is that of ones; 0 / 0 that of 0 / 1.
    tall = g.Where(both, g.Sign(y), y)
    flat = g.Where(both, g.Sign(x), g.Where(g.And(g.Equal(x, zero), g.Equal(y, zero)), one, x))
    angle = g.Atan(g.Div(g.Abs(tall), g.Abs(flat)))
    angle = g.Where(_negative(g, x), g.Sub(pi, angle), angle)
    found = g.Mul(up, angle)
    return g.Where(g.Or(g.IsNaN(x), g.IsNaN(y)), _number(g, float("nan"), y), found)


def _arcsinh(g: GraphBuilder, x: Value) -> Value:
    """sign(x) · log1p(a + a² / (1 + √(1 + a²))) of a = |x|; log 2 + log a where a² would overflow."""
    size = g.Abs(x)
    one = _number(g, 1.0, x)
    large = g.Greater(size, _number(g, 1e8, x))
    safe = g.Where(large, one, size)
    square = g.Mul(safe, safe)
    near = log1p(g, g.Add(safe, g.Div(square, g.Add(one, g.Sqrt(g.Add(one, square))))))
    far = g.Add(g.Log(g.Where(large, size, one)), _number(g, float(np.log(2.0)), x))
    return g.Where(g.IsNaN(x), x, g.Mul(g.Sign(x), g.Where(large, far, near)))


def _arccosh(g: GraphBuilder, x: Value) -> Value:
    """log1p(t + √(t² + 2t)) of t = x - 1; log 2 + log x where x is large."""
    one = _number(g, 1.0, x)
    large = g.Greater(x, _number(g, 1e8, x))
    t = g.Sub(g.Where(large, one, x), one)
    near = log1p(g, g.Add(t, g.Sqrt(g.Add(g.Mul(t, t), g.Add(t, t)))))
    far = g.Add(g.Log(g.Where(large, x, one)), _number(g, float(np.log(2.0)), x))
    below = g.Less(x, one)
    return g.Where(below, _number(g, float("nan"), x), g.Where(large, far, near))


def _logaddexp(g: GraphBuilder, a: Value, b: Value) -> Value:
    high, low = nan_through("Max")(g, a, b), g.op("Min", a, b)
    same = g.Equal(high, low)
    apart = g.Where(same, _number(g, 0.0, high), g.Sub(low, high))
    return g.Add(high, log1p(g, g.Exp(apart)))


def _heaviside(g: GraphBuilder, x: Value, at_zero: Value) -> Value:
    zero = _number(g, 0.0, x)
    step = g.Where(g.Less(x, zero), zero, g.Where(g.Greater(x, zero), _number(g, 1.0, x), at_zero))
    return g.Where(g.IsNaN(x), x, step)


def _copysign(g: GraphBuilder, x: Value, sign: Value) -> Value:
    size = g.Abs(x)
    return g.Where(_negative(g, sign), g.Neg(size), size)


def _isfinite(g: GraphBuilder, x: Value) -> Value:
    return g.Not(g.Or(g.IsNaN(x), g.IsInf(x)))


def _logit(g: GraphBuilder, x: Value) -> Value:
    return g.Log(g.Div(x, g.Sub(_number(g, 1.0, x), x)))


def _log_expit(g: GraphBuilder, x: Value) -> Value:
    zero = _number(g, 0.0, x)
    return g.Sub(g.op("Min", x, zero), log1p(g, g.Exp(g.Neg(g.Abs(x)))))


def _zero_times(log: Form) -> Form:
    def form(g: GraphBuilder, x: Value, y: Value) -> Value:
        zero = _number(g, 0.0, x)
        return g.Where(g.And(g.Equal(x, zero), g.Not(g.IsNaN(y))), zero, g.Mul(x, log(g, y)))

    return form


def _box_cox(log: Form) -> Form:
    """(x ** λ - 1) / λ as expm1(λ log x) / λ; log x where λ is 0."""

    def form(g: GraphBuilder, x: Value, power: Value) -> Value:
        none = g.Less(g.Abs(power), _number(g, 1e-19, x))
        safe = g.Where(none, _number(g, 1.0, x), power)
        found = log(g, x)
        return g.Where(none, found, g.Div(expm1(g, g.Mul(safe, found)), safe))

    return form


def _cbrt(g: GraphBuilder, x: Value) -> Value:
    return g.Mul(g.Sign(x), g.Pow(g.Abs(x), _number(g, 1.0 / 3.0, x)))


def where(g: GraphBuilder, condition: Value, x: Value, y: Value) -> Value:
    """Choose."""
    return g.Where(condition, x, y)


def rounded(decimals: int) -> Form:
    """Return rounding to decimals, as numpy does it."""
    scale = float(10.0 ** abs(decimals))

    def form(g: GraphBuilder, x: Value) -> Value:
        factor = _number(g, scale, x)
        if decimals == 0:
            return g.Round(x)
        if decimals > 0:
            return g.Div(g.Round(g.Mul(x, factor)), factor)
        return g.Mul(g.Round(g.Div(x, factor)), factor)

    return form


def truncated(g: GraphBuilder, x: Value) -> Value:
    """The whole number that a cast to integers gives."""
    return _trunc(g, x)


def same(g: GraphBuilder, x: Value) -> Value:
    """The value itself, cast to what is wanted before."""
    return g.Identity(x)


def not_zero(g: GraphBuilder, x: Value) -> Value:
    """True for everything but 0, NaN too."""
    return g.Not(g.Equal(x, _number(g, 0.0, x)))


def to_single(g: GraphBuilder, x: Value) -> Value:
    """Round to float32."""
    return g.Cast(g.Cast(x, DataType.FLOAT), x.dtype)


_FLOATS: Final[Mapping[str, Form]] = {
    **{name: _operator(op) for name, op in {
        "divide": "Div", "true_divide": "Div", "float_power": "Pow", "fabs": "Abs", "exp": "Exp", "log": "Log",
        "sqrt": "Sqrt", "reciprocal": "Reciprocal", "sin": "Sin", "cos": "Cos", "tan": "Tan", "arcsin": "Asin",
        "arccos": "Acos", "arctan": "Atan", "sinh": "Sinh", "cosh": "Cosh", "tanh": "Tanh", "arctanh": "Atanh",
        "erf": "Erf",
    }.items()},
    "rint": lambda g, x: g.Round(x),
    "cbrt": _cbrt,
    "exp2": lambda g, x: g.Exp(g.Mul(x, _number(g, float(np.log(2.0)), x))),
    "log2": lambda g, x: g.Mul(g.Log(x), _number(g, 1.0 / float(np.log(2.0)), x)),
    "log10": lambda g, x: g.Mul(g.Log(x), _number(g, 1.0 / float(np.log(10.0)), x)),
    "log1p": log1p,
    "expm1": expm1,
    "arcsinh": _arcsinh,
    "arccosh": _arccosh,
    "hypot": _hypot,
    "arctan2": _arctan2,
    "logaddexp": _logaddexp,
    "heaviside": _heaviside,
    "copysign": _copysign,
    "deg2rad": _times(float(np.pi / 180)),
    "radians": _times(float(np.pi / 180)),
    "rad2deg": _times(float(180 / np.pi)),
    "degrees": _times(float(180 / np.pi)),
    "expit": logistic,
    "logit": _logit,
    "log_expit": _log_expit,
    "xlogy": _zero_times(lambda g, x: g.Log(x)),
    "xlog1py": _zero_times(log1p),
    "boxcox": _box_cox(lambda g, x: g.Log(x)),
    "boxcox1p": _box_cox(log1p),
}  # fmt: skip
# Integers give integers.
_NUMBERS: Final[Mapping[str, Form]] = {
    **{name: _operator(op) for name, op in {
        "add": "Add", "subtract": "Sub", "multiply": "Mul", "power": "Pow", "negative": "Neg", "absolute": "Abs",
        "sign": "Sign", "floor": "Floor", "ceil": "Ceil",
    }.items()},
    "positive": same,
    "conjugate": same,
    "trunc": _trunc,
    "square": lambda g, x: g.Mul(x, x),
    "remainder": _remainder,
    "fmod": _fmod,
    "floor_divide": _floor_divide,
    "maximum": nan_through("Max"),
    "minimum": nan_through("Min"),
    "fmax": _nan_aside("Max"),
    "fmin": _nan_aside("Min"),
}  # fmt: skip
# What wraps around in a small integer type.
_WRAPS: Final = frozenset(["add", "subtract", "multiply", "power", "negative", "square"])
_TESTS: Final[Mapping[str, Form]] = {
    "greater": _operator("Greater"),
    "greater_equal": _operator("GreaterOrEqual"),
    "less": _operator("Less"),
    "less_equal": _operator("LessOrEqual"),
    "equal": _operator("Equal"),
    "not_equal": lambda g, a, b: g.Not(g.Equal(a, b)),
    "isnan": _operator("IsNaN"),
    "isinf": _operator("IsInf"),
    "isfinite": _isfinite,
    "signbit": _negative,
}
_LOGIC: Final[Mapping[str, Form]] = {
    "logical_and": _operator("And"),
    "logical_or": _operator("Or"),
    "logical_xor": _operator("Xor"),
    "logical_not": _operator("Not"),
}
# What arithmetic on two bools is.
_OF_BOOLS: Final[Mapping[str, str]] = {
    "add": "Or", "maximum": "Or", "bitwise_or": "Or", "multiply": "And", "minimum": "And", "bitwise_and": "And",
    "bitwise_xor": "Xor", "not_equal": "Xor", "invert": "Not",
}  # fmt: skip


def elementwise(name: str, kinds: Sequence[str], constants: Sequence[Any]) -> tuple[Form, str, list[str | None]]:
    """Return the form of a numpy function for operands of these kinds, the kind of its result, and what it wants.

    Args:
        name: Of the ufunc.
        kinds: Of the operands.
        constants: The array of each operand that is constant, else None.

    Raises:
        NotTraceable: There is none.
    """
    if TEXT in kinds:
        if name not in ("equal", "not_equal") or set(kinds) != {TEXT}:
            raise NotTraceable(f"numpy.{name} of text")
        return _TESTS[name], BOOL, [TEXT, TEXT]
    if set(kinds) == {BOOL} and name in _OF_BOOLS:
        return _operator(_OF_BOOLS[name]), BOOL, [BOOL] * len(kinds)
    if name in _LOGIC:
        # `truth` has made bools of them.
        return _LOGIC[name], BOOL, [BOOL] * len(kinds)
    wants: list[str | None] = [FLOAT] * len(kinds)
    if name in _TESTS:
        return _TESTS[name], BOOL, wants
    whole = FLOAT not in kinds
    if name in _FLOATS and not (name == "reciprocal" and whole):
        return _FLOATS[name], FLOAT, wants
    if name not in _NUMBERS or set(kinds) == {BOOL}:
        raise NotTraceable(f"numpy.{name} of {', '.join(_SPOKEN[kind] for kind in kinds)}")
    if whole:
        _check_whole(name, kinds, constants)
    return _NUMBERS[name], INTEGER if whole else FLOAT, wants


_SPOKEN: Final = {BOOL: "bools", INTEGER: "integers", SMALL: "small integers", FLOAT: "floats", TEXT: "text"}
NAMES: Final = frozenset([*_FLOATS, *_NUMBERS, *_TESTS, *_LOGIC, *_OF_BOOLS])
LOGICAL: Final = frozenset(_LOGIC)


def _check_whole(name: str, kinds: Sequence[str], constants: Sequence[Any]) -> None:
    """Check that arithmetic on integers is what it is on floats.

    Raises:
        NotTraceable: It may not be.
    """
    if name in _WRAPS and SMALL in kinds:
        raise NotTraceable(f"numpy.{name} of integers of fewer than 32 bits, or without a sign, wraps around")
    if name in ("floor_divide", "remainder", "fmod") and (constants[1] is None or not np.all(constants[1])):
        raise NotTraceable(f"numpy.{name} of integers by integers that may be 0")
    if name == "power" and (constants[1] is None or np.any(np.asarray(constants[1]) < 0)):
        raise NotTraceable("numpy.power of integers by integers that may be negative")


# --- along an axis: [rows, n] → [rows, 1] or [rows, n] --------------------------------------------------


def reduction(op_type: str) -> Form:
    """Return a reduction over the columns."""
    return lambda g, x: getattr(g, op_type)(x, [1], keepdims=True)


def extreme(op_type: str) -> Form:
    """Return the maximum or minimum of each row, NaN where one is NaN."""

    def form(g: GraphBuilder, x: Value) -> Value:
        some = g.Greater(g.ReduceSum(g.Cast(g.IsNaN(x), x.dtype), [1]), _number(g, 0.0, x))
        clean = g.Where(g.IsNaN(x), _number(g, 0.0, x), x)
        return g.Where(some, _number(g, float("nan"), x), getattr(g, op_type)(clean, [1], keepdims=True))

    return form


def flags(op_type: str) -> Form:
    """Return `any` (ReduceMax) or `all` (ReduceMin) of bools."""

    def form(g: GraphBuilder, x: Value) -> Value:
        return g.Cast(getattr(g, op_type)(g.Cast(x, DataType.INT32), [1], keepdims=True), DataType.BOOL)

    return form


def position(op_type: str) -> Form:
    """Return argmax or argmin: the first of equal ones, and the first NaN where there is one."""

    def form(g: GraphBuilder, x: Value) -> Value:
        missing = g.Cast(g.IsNaN(x), DataType.INT32)
        some = g.Greater(g.ReduceMax(missing, [1]), g.const(np.int32(0)))
        found = g.op(op_type, g.Where(g.IsNaN(x), _number(g, 0.0, x), x), axis=1, keepdims=1)
        return g.Cast(g.Where(some, g.ArgMax(missing, axis=1, keepdims=1), found), x.dtype)

    return form


def running_sum(g: GraphBuilder, x: Value) -> Value:
    """Cumulative sum along the columns."""
    return g.op("CumSum", x, g.const(np.int64(1)))


def ordered(g: GraphBuilder, x: Value, width: int) -> Value:
    """The numbers of each row in order, NaN last."""
    missing = g.IsNaN(x)
    filled = g.Where(missing, _number(g, float("inf"), x), x)
    least, _ = g.ops("TopK", filled, g.const(np.asarray([width], np.int64)), outputs=2, axis=1, largest=0, sorted=1)
    present = g.ReduceSum(g.Cast(g.Not(missing), x.dtype), [1])
    places = g.const(np.arange(width, dtype=x.dtype.numpy() if x.dtype is not None else np.float64)[None, :])
    return g.Where(g.Less(places, present), least, _number(g, float("nan"), x))


def product(weights: np.ndarray[Any, Any]) -> Callable[[GraphBuilder, Value], Value]:
    """Return the product with a constant matrix."""
    return lambda g, x: g.MatMul(x, g.const(weights.astype(x.dtype.numpy() if x.dtype is not None else np.float64)))
