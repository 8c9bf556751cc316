"""Element by element: arithmetic, comparisons, logic, bits, and functions of one variable.

Operands are brought into the type in which torch computes (its promotion rules, read off the trace), integers of a
function of reals into the result's float type.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from any2onnx.converters.pytorch.call import (
    INTEGERS,
    TorchCall,
    as_type,
    promoted,
    scalar,
)
from any2onnx.converters.pytorch.compute_dtype import in_float32
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
        # onnxruntime knows the Pow of a cube, and the tanh form of GELU around it.
        if exponent in simple and (exponent != 3 or dtype not in FLOATS):
            return g.Cast(simple[int(exponent)](), call.dtype)
        if exponent == 0.5 and dtype in FLOATS:
            return g.Sqrt(x)
        if exponent == -1 and dtype in FLOATS:
            return g.Reciprocal(x)
    if dtype in INTEGERS:
        return g.Cast(_whole_power(g, call, as_type(g, base, dtype), as_type(g, exponent, dtype)), call.dtype)
    return g.Cast(g.Pow(as_type(g, base, dtype), as_type(g, exponent, dtype)), call.dtype)


def _whole_power(g: GraphBuilder, call: TorchCall, base: Value, exponent: Value) -> Value:
    """Integers to integer powers by repeated squaring: exact, and around the end of the type as in torch.

    Of negative powers only those of 1 and -1 are not zero.
    """
    dtype = dtype_of(base)
    zero, one, two = (scalar(g, v, dtype) for v in (0, 1, 2))
    if call.dims:
        shape = call.shape(g)
        base, exponent = g.Expand(base, shape), g.Expand(exponent, shape)
    size = g.Abs(exponent)

    def left(h: GraphBuilder, rest: Value) -> Value:
        return h.Greater(
            h.ReduceSum(h.Cast(rest, DataType.DOUBLE), None, keepdims=False), scalar(h, 0, DataType.DOUBLE)
        )

    def step(h: GraphBuilder, i: Value, going: Value, x: Value, rest: Value, result: Value) -> tuple[Value, ...]:
        odd = h.Equal(h.Mod(rest, two), one)
        result = h.Where(odd, h.Mul(result, x), result)
        rest = h.Div(rest, two)
        return left(h, rest), h.Mul(x, x), rest, result

    start = g.Add(g.Mul(base, zero), one)
    result = g.Loop(step, [base, size, start], condition=left(g, size))[2]
    unit = g.Equal(g.Mul(base, base), one)
    return g.Where(g.And(g.Less(exponent, zero), g.Not(unit)), zero, result)


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


@in_float32
def lerp(g: GraphBuilder, call: TorchCall) -> Value:
    """self + weight · (end - self), from the nearer end as torch does."""
    a, b, w = (as_type(g, call.params[n], call.dtype) for n in ("self", "end", "weight"))
    difference = g.Sub(b, a)
    one = scalar(g, 1, call.dtype)
    near = g.Add(a, g.Mul(w, difference))
    far = g.Sub(b, g.Mul(difference, g.Sub(one, w)))
    return g.Where(g.Less(g.Abs(w), scalar(g, 0.5, call.dtype)), near, far)


@in_float32
def addcmul(g: GraphBuilder, call: TorchCall) -> Value:
    """self + value · tensor1 · tensor2."""
    return _with_product(g, call, "Mul")


@in_float32
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
    return g.IsNaN(call.first) if dtype_of(call.first) in FLOATS else nowhere(g, call)


def isinf(g: GraphBuilder, call: TorchCall) -> Value:
    """Infinite or not; integers never are."""
    x = call.first
    return infinite(g, x) if dtype_of(x) in FLOATS else nowhere(g, call)


def isfinite(g: GraphBuilder, call: TorchCall) -> Value:
    """Neither infinite nor NaN."""
    x = call.first
    if dtype_of(x) not in FLOATS:
        return g.Not(nowhere(g, call))
    return g.Not(g.Or(g.IsNaN(x), infinite(g, x)))


def isposinf(g: GraphBuilder, call: TorchCall) -> Value:
    """Plus infinity or not."""
    x = call.first
    return g.Equal(x, scalar(g, math.inf, dtype_of(x))) if dtype_of(x) in FLOATS else nowhere(g, call)


def isneginf(g: GraphBuilder, call: TorchCall) -> Value:
    """Minus infinity or not."""
    x = call.first
    return g.Equal(x, scalar(g, -math.inf, dtype_of(x))) if dtype_of(x) in FLOATS else nowhere(g, call)


def infinite(g: GraphBuilder, x: Value) -> Value:
    """Tell where a float is infinite."""
    return g.Equal(g.Abs(x), scalar(g, math.inf, dtype_of(x)))


def nowhere(g: GraphBuilder, call: TorchCall) -> Value:
    """False everywhere: x differs from x nowhere."""
    x = call.first
    return g.Not(g.Equal(x, x))


def truncated(g: GraphBuilder, x: Value) -> Value:
    """Round towards zero."""
    return g.Where(g.Less(x, scalar(g, 0, dtype_of(x))), g.Ceil(x), g.Floor(x))
