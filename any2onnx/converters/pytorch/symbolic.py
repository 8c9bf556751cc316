"""Sizes and other Python numbers that are known only when the model runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from any2onnx.converters.pytorch.call import TorchCall, as_type, scalar
from any2onnx.converters.pytorch.sizes import number_dtype
from any2onnx.graph.builder import GraphBuilder
from any2onnx.graph.types import DataType, Value, rank_of

Converter = Callable[[GraphBuilder, TorchCall], Any]


def size(g: GraphBuilder, call: TorchCall) -> Any:
    """A whole number: computed from the trace's own expression for it."""
    if isinstance(call.result, int):
        return call.result
    return call.sizes.scalar(g, call.result)


def item(g: GraphBuilder, call: TorchCall) -> Any:
    """The only element of a tensor as a number."""
    x = call.first
    flat = g.Squeeze(x) if rank_of(x) else x
    return g.Cast(flat, number_dtype(call.result))


def arithmetic(op_type: str) -> Converter:
    """Return the converter of arithmetic on numbers; whole numbers follow the trace's expression."""

    def convert(g: GraphBuilder, call: TorchCall) -> Any:
        if type(call.result).__name__ == "SymInt" or isinstance(call.result, int):
            return size(g, call)
        values = [as_type(g, v, DataType.DOUBLE) for v in call.inputs]
        return g.op(op_type, *values)

    return convert


def comparison(op_type: str, *, negated: bool = False) -> Converter:
    """Return the converter of a comparison of numbers."""

    def convert(g: GraphBuilder, call: TorchCall) -> Any:
        if isinstance(call.result, bool):
            return call.result
        dtype = DataType.DOUBLE if any(_is_float(call, k) for k in ("0", "1")) else DataType.INT64
        result = g.op(op_type, *(as_type(g, v, dtype) for v in call.inputs))
        return g.Not(result) if negated else result

    return convert


def _is_float(call: TorchCall, name: str) -> bool:
    return number_dtype(call.metas[name]) == DataType.DOUBLE


def to_float(g: GraphBuilder, call: TorchCall) -> Any:
    """A number as a float."""
    return as_type(g, call.first, DataType.DOUBLE)


def logic(op_type: str) -> Converter:
    """Return the converter of logic on truth values."""

    def convert(g: GraphBuilder, call: TorchCall) -> Any:
        return g.op(op_type, *(as_type(g, v, DataType.BOOL) for v in call.inputs))

    return convert


def choice(g: GraphBuilder, call: TorchCall) -> Value:
    """One of two numbers."""
    condition, a, b = call.inputs
    dtype = number_dtype(call.result)
    return g.Where(as_type(g, condition, DataType.BOOL), as_type(g, a, dtype), as_type(g, b, dtype))


def numel(g: GraphBuilder, call: TorchCall) -> Any:
    """Number of elements of a tensor."""
    return call.result if isinstance(call.result, int) else call.sizes.scalar(g, call.result)


def zero(g: GraphBuilder, call: TorchCall) -> Value:
    """The offset of a tensor in its memory: ONNX tensors start at their first element."""
    return scalar(g, 0, DataType.INT64)


truediv = arithmetic("Div")
add = arithmetic("Add")
sub = arithmetic("Sub")
mul = arithmetic("Mul")
power = arithmetic("Pow")
neg = arithmetic("Neg")
absolute = arithmetic("Abs")
maximum = arithmetic("Max")
minimum = arithmetic("Min")
sqrt = arithmetic("Sqrt")
eq = comparison("Equal")
ne = comparison("Equal", negated=True)
lt = comparison("Less")
le = comparison("LessOrEqual")
gt = comparison("Greater")
ge = comparison("GreaterOrEqual")
and_ = logic("And")
or_ = logic("Or")
not_ = logic("Not")
