"""Sizes that are known only when the model runs: from torch's symbolic expressions to int64 values of the graph."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from any2onnx.errors import UnsupportedOperator
from any2onnx.graph.builder import GraphBuilder
from any2onnx.graph.types import DataType, Value, rank_of


def expression(size: Any) -> Any:
    """Return a size of a fake tensor, or another number of the trace, as a Python number or a sympy expression."""
    if isinstance(size, int):
        return size
    number = size.node.maybe_as_int() if type(size).__name__ != "SymFloat" else None
    return int(number) if number is not None else size.node.expr


def expressions(sizes: Sequence[Any]) -> list[Any]:
    """Return the sizes of a fake tensor as numbers and sympy expressions."""
    return [expression(size) for size in sizes]


def static(sizes: Sequence[Any]) -> bool:
    """Tell whether every size is a number."""
    return all(isinstance(expression(size), int) for size in sizes)


def as_vector(g: GraphBuilder, scalar: Value) -> Value:
    """Return a one-element vector for a scalar, undoing the Squeeze that made the scalar where there was one."""
    producer = scalar.producer()
    if producer is not None and producer.op_type == "Squeeze" and producer.inputs[0] is not None:
        source = producer.inputs[0]
        if rank_of(source) == 1:
            return source
    return g.Unsqueeze(scalar, 0)


class Sizes:
    """Where the value of each size symbol can be read.

    The values are noted while the graph is built: a dim of an input or of an operator's result, or a symbolic number.

    Attributes:
        first: The first symbol that was noted: the batch, as a rule.
    """

    def __init__(self) -> None:
        self.first: Any = None
        self._sources: dict[Any, list[tuple[GraphBuilder, Value, int | None]]] = {}
        # Symbols inside of a dim that is a multiple of them and something (Dim("n") * 4 + 1): the dim, factor, rest.
        self._inside: dict[Any, list[tuple[GraphBuilder, Value, int, int, int]]] = {}
        self._scalars: dict[tuple[GraphBuilder, Any], Value] = {}

    def note(self, g: GraphBuilder, value: Value, val: Any) -> None:
        """Note that a value of the graph is what `val` (a fake tensor or a symbolic number) stands for."""
        shape = getattr(val, "shape", None)
        if shape is None:
            size = expression(val) if type(val).__name__ in {"SymInt", "SymFloat"} else 0
            if not isinstance(size, int):
                # A number that the graph computes anyway is the cheapest source.
                self._scalars.setdefault((g, size), value)
                if size.is_Symbol:
                    self._sources.setdefault(size, []).append((g, value, None))
            return
        for axis, size in enumerate(shape):
            if isinstance(size, int):
                continue
            symbol = expression(size)
            if not isinstance(symbol, int) and symbol.is_Symbol:
                self.first = symbol if self.first is None else self.first
                self._sources.setdefault(symbol, []).append((g, value, axis))
            elif not isinstance(symbol, int) and (parts := _linear(symbol)) is not None:
                inner, factor, rest = parts
                self._inside.setdefault(inner, []).append((g, value, axis, factor, rest))

    def scalar(self, g: GraphBuilder, size: Any) -> Value:
        """Return a size (number, SymInt or sympy expression) as an int64 scalar.

        Raises:
            UnsupportedOperator: The expression holds a function that ONNX cannot compute.
        """
        if not isinstance(size, int) and hasattr(size, "node"):
            size = expression(size)
        if isinstance(size, int) or size.is_Integer:
            return g.const(np.asarray(int(size), np.int64), name="size")
        for builder in _and_parents(g):
            known = self._scalars.get((builder, size))
            if known is not None:
                return known
        value = self._symbol(g, size) if size.is_Symbol else self._compound(g, size)
        self._scalars[g, size] = value
        return value

    def vector(self, g: GraphBuilder, sizes: Sequence[Any]) -> Value:
        """Return several sizes (numbers, SymInts, sympy expressions, int64 scalars) as one int64 vector."""
        parts: list[int | Value] = []
        for size in sizes:
            if isinstance(size, Value):
                parts.append(as_vector(g, size) if rank_of(size) == 0 else size)
                continue
            plain = expression(size) if isinstance(size, int) or hasattr(size, "node") else size
            parts.append(plain if isinstance(plain, int) else as_vector(g, self.scalar(g, plain)))
        if not parts:
            return g.const(np.zeros(0, np.int64), name="shape")
        return g.shape_vector(parts)

    def _symbol(self, g: GraphBuilder, symbol: Any) -> Value:
        builders = list(_and_parents(g))
        for builder, value, axis in self._sources.get(symbol, ()):
            if any(builder is b for b in builders):
                return value if axis is None else g.Squeeze(g.dim(value, axis), 0)
        for builder, value, position, factor, rest in self._inside.get(symbol, ()):
            if any(builder is b for b in builders):
                # torch checks that the division leaves nothing.
                return g.Div(g.Sub(g.Squeeze(g.dim(value, position), 0), np.int64(rest)), np.int64(factor))
        raise UnsupportedOperator(
            f"the size {symbol} cannot be read from any value of the graph",
            remedy="give the dimension a name in dynamic_shapes",
        )

    def _compound(self, g: GraphBuilder, expr: Any) -> Value:
        kind = type(expr).__name__
        if kind in {"Add", "Mul"}:
            terms = list(expr.args)
            if kind == "Mul" and any(_negative_power(t) for t in terms):
                return self._quotient(g, expr)
            result = self.scalar(g, terms[0])
            for term in terms[1:]:
                result = g.op(kind, result, self.scalar(g, term))
            return result
        if kind in {"Max", "Min"}:
            return g.op(kind, *(self.scalar(g, a) for a in expr.args))
        if kind in {"FloorDiv", "CleanDiv"}:
            return floor_div(g, self.scalar(g, expr.args[0]), self.scalar(g, expr.args[1]))
        if kind == "CeilDiv":
            return g.Neg(floor_div(g, g.Neg(self.scalar(g, expr.args[0])), self.scalar(g, expr.args[1])))
        if kind in {"Mod", "PythonMod"}:
            return g.op("Mod", self.scalar(g, expr.args[0]), self.scalar(g, expr.args[1]))
        if kind in {"Pow", "PowByNatural"}:
            power = int(expr.args[1])
            base = self.scalar(g, expr.args[0])
            result = base
            for _ in range(power - 1):
                result = g.Mul(result, base)
            return result
        if kind == "ModularIndexing":
            quotient = floor_div(g, self.scalar(g, expr.args[0]), self.scalar(g, expr.args[1]))
            return g.op("Mod", quotient, self.scalar(g, expr.args[2]))
        if kind in _TO_INTEGER:
            real = self._real(g, expr.args[0])
            step = _TO_INTEGER[kind]
            return g.Cast(g.op(step, real) if step else real, DataType.INT64)
        raise UnsupportedOperator(f"a size is computed as {expr}, which has no ONNX form")

    def _real(self, g: GraphBuilder, expr: Any) -> Value:
        """Return an expression of real numbers as a float64 scalar."""
        kind = type(expr).__name__
        if expr.is_number:
            return g.const(np.asarray(float(expr), np.float64), name="factor")
        if expr.is_Symbol and not expr.is_integer:
            # A float that the model takes from a tensor; sizes are whole.
            return g.Cast(self._symbol(g, expr), DataType.DOUBLE)
        if kind in _REAL_OPERATORS:
            terms = [self._real(g, a) for a in expr.args]
            result = terms[0]
            for term in terms[1:]:
                result = g.op(_REAL_OPERATORS[kind], result, term)
            return result
        if kind == "OpaqueUnaryFn_sqrt":
            return g.Sqrt(self._real(g, expr.args[0]))
        return g.Cast(self.scalar(g, expr.args[0] if kind == "ToFloat" else expr), DataType.DOUBLE)

    def _quotient(self, g: GraphBuilder, expr: Any) -> Value:
        numerator, denominator = expr.as_numer_denom()
        return floor_div(g, self.scalar(g, numerator), self.scalar(g, denominator))


# Real numbers made whole, and the ONNX operator in front of the cast, which cuts towards zero.
_TO_INTEGER = {"TruncToInt": "", "FloorToInt": "Floor", "CeilToInt": "Ceil", "RoundToInt": "Round"}
_REAL_OPERATORS = {
    "Add": "Add",
    "Mul": "Mul",
    "Max": "Max",
    "Min": "Min",
    "FloatTrueDiv": "Div",
    "IntTrueDiv": "Div",
    "FloatPow": "Pow",
}


def floor_div(g: GraphBuilder, a: Value, b: Value) -> Value:
    """Return a // b rounded down, as Python does; ONNX's integer Div rounds towards zero."""
    remainder = g.op("Mod", a, b)  # has the sign of b
    return g.Div(g.Sub(a, remainder), b)


def number_dtype(val: Any) -> DataType:
    """Return the element type of a symbolic or plain Python number."""
    kind = type(val).__name__
    if kind in {"SymBool", "bool"}:
        return DataType.BOOL
    return DataType.DOUBLE if kind in {"SymFloat", "float"} else DataType.INT64


def _linear(expr: Any) -> tuple[Any, int, int] | None:
    """Return (symbol, factor, rest) of an expression factor · symbol + rest in whole numbers; None for any other."""
    if len(expr.free_symbols) != 1:
        return None
    (symbol,) = expr.free_symbols
    rest = expr.subs(symbol, 0)
    factor = expr.subs(symbol, 1) - rest
    whole = factor.is_Integer and rest.is_Integer and factor != 0 and (expr - factor * symbol - rest).expand() == 0
    return (symbol, int(factor), int(rest)) if whole else None


def _negative_power(term: Any) -> bool:
    return (type(term).__name__ == "Pow" and term.args[1].is_negative) or (term.is_Rational and not term.is_Integer)


def _and_parents(g: GraphBuilder) -> Any:
    builder: GraphBuilder | None = g
    while builder is not None:
        yield builder
        builder = builder.parent
