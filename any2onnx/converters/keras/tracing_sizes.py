"""Dimensions that remember where they came from, so that Python arithmetic on a shape becomes arithmetic in the graph.

`Size` is an `int`: Python control flow, `range`, list lengths and Keras's own checks work on the example's size. Its
operators give another `Size`, or a `RealSize` (a `float`), whose expression says how to compute it from the dims of
tensors. Where the origin is lost (`int(size)`, `math.ceil(size)`), the comparison of two recordings with different
sizes finds out (`tracing_tape.merge`).
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from any2onnx.converters.keras.tracing_tensor import RecordingTensor


@dataclass(frozen=True, slots=True)
class DimOf:
    """Size of one dim of a recorded tensor."""

    tensor: RecordingTensor
    axis: int


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """An operation of Python on sizes and numbers."""

    operation: str
    operands: tuple[Any, ...]


Expression = DimOf | Arithmetic

OPERATIONS: Final[dict[str, Callable[..., Any]]] = {
    "add": operator.add,
    "sub": operator.sub,
    "mul": operator.mul,
    "floordiv": operator.floordiv,
    "mod": operator.mod,
    "truediv": operator.truediv,
    "neg": operator.neg,
    "pow": operator.pow,
}


class RealSize(float):
    """A float computed from sizes, such as ``x.shape[1] / 2``; `expression` says how."""

    expression: Expression


class Size(int):
    """The size of a dim in the example; `expression` says how to compute it from the tensors' dims."""

    expression: Expression

    @classmethod
    def of(cls, tensor: RecordingTensor, axis: int, size: int) -> Size:
        """Return the size of one dim of a recorded tensor."""
        result = cls(size)
        result.expression = DimOf(tensor, axis)
        return result

    def __reduce__(self) -> tuple[Any, ...]:
        return int, (int(self),)


def _computed(name: str, operands: tuple[Any, ...]) -> Any:
    numbers = [float(v) if isinstance(v, float) else int(v) for v in operands]
    value = OPERATIONS[name](*numbers)
    if isinstance(value, complex):
        return value
    result = Size(value) if isinstance(value, int) else RealSize(value)
    result.expression = Arithmetic(name, operands)
    return result


def _binary(name: str, *, swapped: bool = False) -> Callable[[Any, Any], Any]:
    def method(self: Any, other: Any) -> Any:
        # Plain numbers only: with a tensor, the tensor's own operator has to decide.
        if type(other) not in (int, float, bool, Size, RealSize):
            return NotImplemented
        return _computed(name, (other, self) if swapped else (self, other))

    return method


def _negated(self: Any) -> Any:
    return _computed("neg", (self,))


for _cls in (Size, RealSize):
    for _name in OPERATIONS:
        if _name == "neg":
            _cls.__neg__ = _negated  # type: ignore[method-assign]
            continue
        setattr(_cls, f"__{_name}__", _binary(_name))
        setattr(_cls, f"__r{_name}__", _binary(_name, swapped=True))


def is_size(value: Any) -> bool:
    """Tell whether a value is a number with an origin."""
    return isinstance(value, Size | RealSize)


def plain(value: Any) -> Any:
    """Return a size as a number without an origin; anything else as it is."""
    if isinstance(value, Size):
        return int(value)
    return float(value) if isinstance(value, RealSize) else value
