"""Other exact forms of operators that a user rules out (skl2onnx's `black_op` and `white_op`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from any2onnx.graph.types import Value, dims_of

if TYPE_CHECKING:
    from any2onnx.graph.builder import GraphBuilder

Form = Callable[..., Value | None]


def _position(largest: bool) -> Form:
    def form(g: GraphBuilder, x: Value, axis: int = 0, keepdims: int = 1, select_last_index: int = 0) -> Value | None:
        if select_last_index:
            return None
        _, index = g.TopK(x, 1, axis=axis, largest=largest)
        return index if keepdims else g.Squeeze(index, axis)

    return form


def _log_sum_exp(
    g: GraphBuilder, x: Value, axes: Value | Sequence[int] | None = None, keepdims: int = 1, **_: Any
) -> Value:
    top = g.ReduceMax(x, axes)
    # A row of -inf has nothing to be measured from.
    infinite = g.IsInf(top)
    base = g.Where(infinite, g.scalar_like(0.0, top), top)
    result = g.Add(base, g.Log(g.ReduceSum(g.Exp(g.Sub(x, base)), axes)))
    dims = dims_of(x.shape)
    if keepdims or axes is None or dims is None:
        return result if keepdims else g.Reshape(result, [])
    return g.Squeeze(result, axes)


def _sum_square(g: GraphBuilder, x: Value, axes: Any = None, keepdims: int = 1, **_: Any) -> Value:
    return g.ReduceSum(g.Mul(x, x), axes, keepdims=bool(keepdims))


def _norm(g: GraphBuilder, x: Value, axes: Any = None, keepdims: int = 1, **_: Any) -> Value:
    return g.Sqrt(_sum_square(g, x, axes, keepdims))


def _absolute_sum(g: GraphBuilder, x: Value, axes: Any = None, keepdims: int = 1, **_: Any) -> Value:
    return g.ReduceSum(g.Abs(x), axes, keepdims=bool(keepdims))


AVOIDED: Final[Mapping[str, Form]] = {
    "ArgMax": _position(True),
    "ArgMin": _position(False),
    "ReduceL1": _absolute_sum,
    "ReduceL2": _norm,
    "ReduceLogSumExp": _log_sum_exp,
    "ReduceSumSquare": _sum_square,
}


@dataclass(frozen=True, slots=True)
class OperatorChoice:
    """The operators that a graph may use.

    Attributes:
        allowed: The only ones; None for every one.
        forbidden: Not these.
    """

    allowed: frozenset[str] | None = None
    forbidden: frozenset[str] = frozenset()

    def rules_out(self, op_type: str) -> bool:
        """Tell whether an operator must not be used."""
        return op_type in self.forbidden or (self.allowed is not None and op_type not in self.allowed)


ANY_OPERATOR: Final = OperatorChoice()
