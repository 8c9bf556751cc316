"""Dims that only look the same for any sizes: those that steps larger than the example sizes make of dims that vary.

A window of stride 50 has one place in 2 elements and in 29. That two recordings agree says nothing there, so these
functions state which of their dims follow those of their input.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from any2onnx.converters.keras.tracing_sizes import DimOf, is_size
from any2onnx.converters.keras.tracing_tensor import RecordingTensor

if TYPE_CHECKING:
    from any2onnx.converters.keras.tracing_tape import Entry

# Each dim of the result comes from the same one of the input.
_WINDOWS = frozenset(
    f"keras.backend.nn.{name}"
    for name in ("conv", "depthwise_conv", "separable_conv", "conv_transpose", "max_pool", "average_pool")
)
_SUBSCRIPT = "keras.backend.core.getitem"
_RAMP = "keras.backend.numpy.arange"


class TooCoarse(Exception):
    """Two recordings agree on a dim that varies: larger sizes tell."""

    def __init__(self, entry: Entry) -> None:
        super().__init__(f"{entry.key} has steps larger than the sizes that were tried")
        self.entry = entry


def is_coarse(entry: Entry, result: RecordingTensor, dims: Mapping[int, tuple[int | None, ...]]) -> bool:
    """Tell whether a result has a dim that varies, although two recordings have the same one.

    Args:
        entry: The call.
        result: One of its results.
        dims: Static dims by tensor index, as two recordings have them.
    """
    own = dims[result.index]
    if entry.key in _WINDOWS:
        source = next(v for v in entry.params.values() if isinstance(v, RecordingTensor))
        return any(a is None and b is not None for a, b in zip(dims[source.index], own, strict=True))
    if entry.key == _RAMP:
        return own[0] is not None and any(_varies(v, dims) for v in entry.params.values())
    if entry.key == _SUBSCRIPT and isinstance(entry.params["x"], RecordingTensor):
        stepped = _stepped(entry.params["key"], dims[entry.params["x"].index])
        return any(own[axis] is not None for axis in stepped)
    return False


def _varies(size: Any, dims: Mapping[int, tuple[int | None, ...]]) -> bool:
    """Tell whether a size follows from dims that vary."""
    if not is_size(size):
        return False
    expression = size.expression
    if isinstance(expression, DimOf):
        return dims[expression.tensor.index][expression.axis] is None
    return any(_varies(part, dims) for part in expression.operands)


def _stepped(key: Any, source: tuple[int | None, ...]) -> frozenset[int]:
    """Return the axes of `x[key]` that are steps through dims that vary; none where positions are tensors."""
    parts = list(key) if isinstance(key, tuple) else [key]
    if not all(part is None or part is Ellipsis or isinstance(part, int | slice) for part in parts):
        return frozenset()
    taken = sum(isinstance(part, int | slice) for part in parts)
    whole = [slice(None)] * (len(source) - taken)
    place = next((k for k, part in enumerate(parts) if part is Ellipsis), len(parts))
    parts[place : place + 1] = whole
    found: set[int] = set()
    axis = result = 0
    for part in parts:
        if isinstance(part, slice):
            steps = part.step is not None and (not isinstance(part.step, int) or abs(part.step) > 1)
            if steps and source[axis] is None:
                found.add(result)
        axis += part is not None
        result += not isinstance(part, int)
    return frozenset(found)
