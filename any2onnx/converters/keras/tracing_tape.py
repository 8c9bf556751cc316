"""What a recording holds: calls in order; and the comparison of two recordings made with different sizes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from any2onnx.converters.keras.tracing_coarse import TooCoarse, is_coarse
from any2onnx.converters.keras.tracing_evaluate import numpy_of
from any2onnx.converters.keras.tracing_sizes import Arithmetic, DimOf, is_size
from any2onnx.converters.keras.tracing_tensor import RecordingTensor
from any2onnx.errors import ExportFailed


@dataclass(slots=True)
class Constant:
    """A value that does not depend on the inputs: a weight, or something computed from weights and numbers.

    Attributes:
        value: Tensor of the loaded backend, or a numpy array; shared with its owner, never changed.
        name: Path of the variable, or "".
    """

    value: Any
    name: str = ""


@dataclass(slots=True)
class Entry:
    """One recorded call.

    Attributes:
        key: Key of the mapping tables, or ``#cond`` and the like for control flow.
        source: The backend function, or the layer.
        params: Arguments by name; tensors are RecordingTensors, constants are Constants.
        results: Nested RecordingTensors.
        outputs: The same, flat.
        scope: Path of the layers' names.
        location: The user's line.
        bodies: Recordings of the functions given to a control-flow function.
        random: Whether two equal calls have different results.
    """

    key: str
    source: Any
    params: dict[str, Any]
    results: Any
    outputs: list[RecordingTensor]
    scope: str = ""
    location: str = ""
    bodies: list[Tape] = field(default_factory=list)
    random: bool = False


@dataclass(slots=True)
class Tape:
    """Calls in the order in which they happened.

    Attributes:
        parameters: Tensors that a body gets from outside; of the main tape, the model's inputs.
        entries: The calls.
        results: What the function returned, nested, with RecordingTensors and Constants.
        decisions: Answers that Python got about values known from shapes alone.
        updated: Paths of variables that the function read and assigned to.
    """

    parameters: list[RecordingTensor] = field(default_factory=list)
    entries: list[Entry] = field(default_factory=list)
    results: Any = None
    decisions: list[bool] = field(default_factory=list)
    updated: frozenset[str] = frozenset()


StaticDims = Mapping[int, tuple[int | None, ...]]
"""Dims by tensor index: the number where it is the same for any sizes of the inputs, else None."""


def dims_alone(tape: Tape) -> StaticDims:
    """Return the dims where no input has a symbolic dim: all of them are numbers."""
    dims: dict[int, tuple[int | None, ...]] = {}
    for one in _tapes(tape):
        for tensor in [*one.parameters, *(t for e in one.entries for t in e.outputs)]:
            dims[tensor.index] = tuple(int(d) for d in tensor.shape)
    return dims


def merge(first: Tape, second: Tape) -> StaticDims:
    """Compare two recordings made with different sizes and return which dims are the same in both.

    Raises:
        ExportFailed: The function did different things for different sizes.
    """
    dims: dict[int, tuple[int | None, ...]] = {}
    _merge(first, second, dims)
    return dims


def _tapes(tape: Tape) -> list[Tape]:
    return [tape, *(inner for entry in tape.entries for body in entry.bodies for inner in _tapes(body))]


def _merge(first: Tape, second: Tape, dims: dict[int, tuple[int | None, ...]]) -> None:
    for a, b in zip(first.parameters, second.parameters, strict=True):
        _note(a, b, dims)
    for one, other in zip(first.entries, second.entries, strict=False):
        if one.key != other.key:
            raise _depends(f"{one.key} for one size, {other.key} for another", one)
        problem = _difference(one.params, other.params)
        if problem:
            raise _depends(f"{one.key} got {problem}", one)
        if len(one.outputs) != len(other.outputs):
            raise _depends(
                f"{one.key} has {len(one.outputs)} results for one size, {len(other.outputs)} for another", one
            )
        for body, same in zip(one.bodies, other.bodies, strict=True):
            _merge(body, same, dims)
        for a, b in zip(one.outputs, other.outputs, strict=True):
            _note(a, b, dims)
        if any(is_coarse(one, tensor, dims) for tensor in one.outputs):
            raise TooCoarse(one)
    if len(first.entries) != len(second.entries):
        longer = first if len(first.entries) > len(second.entries) else second
        entry = longer.entries[min(len(first.entries), len(second.entries))]
        raise _depends(
            f"{len(first.entries)} operations for one size, {len(second.entries)} for another, from {entry.key} on",
            entry,
        )
    if first.decisions != second.decisions:
        raise _depends("a branch taken for one size and not for another", None)
    problem = _difference(first.results, second.results)
    if problem:
        raise _depends(f"the result has {problem}", None)


def _note(a: RecordingTensor, b: RecordingTensor, dims: dict[int, tuple[int | None, ...]]) -> None:
    if a.index != b.index or a.dtype != b.dtype or a.ndim != b.ndim:
        raise ExportFailed(
            f"a result is {a.dtype} with {a.ndim} dims for one size and {b.dtype} with {b.ndim} dims for another",
            needs="the same element type and number of dims for all sizes",
        )
    dims[a.index] = tuple(int(x) if x == y else None for x, y in zip(a.shape, b.shape, strict=True))


def _depends(what: str, entry: Entry | None) -> ExportFailed:
    return ExportFailed(
        f"what the model does depends on the size of a dynamic dimension: {what}",
        where=entry.location or None if entry is not None else None,
        needs="the same operations for any size (no Python loop or if over it), and sizes taken from tensor.shape "
        "or keras.ops.shape and computed with + - * / // % (1 / size, not 1.0 / size: there Python loses it)",
        remedy="keras.ops.fori_loop, keras.ops.scan or keras.ops.while_loop instead of a Python loop, or a fixed size "
        "for that dimension",
    )


def _difference(a: Any, b: Any) -> str:
    """Return how two arguments differ beyond the sizes of tensors, or ''."""
    if isinstance(a, RecordingTensor) and isinstance(b, RecordingTensor):
        return "" if a.index == b.index else "other tensors for other sizes"
    if isinstance(a, Constant) and isinstance(b, Constant):
        return _difference(a.value, b.value)
    if is_size(a) or is_size(b):
        return "" if _same_size(a, b) else _sizes_differ(a, b)
    if isinstance(a, slice) and isinstance(b, slice):
        return _difference((a.start, a.stop, a.step), (b.start, b.stop, b.step))
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        if len(a) != len(b):
            return f"{len(a)} elements for one size, {len(b)} for another"
        return next((d for x, y in zip(a, b, strict=True) if (d := _difference(x, y))), "")
    if isinstance(a, dict) and isinstance(b, dict):
        if list(a) != list(b):
            return "other names for other sizes"
        return next((d for name in a if (d := _difference(a[name], b[name]))), "")
    if isinstance(a, int | float | str | None) and isinstance(b, int | float | str | None):
        return "" if a == b or (a != a and b != b) else _sizes_differ(a, b)
    if hasattr(a, "shape") and hasattr(b, "shape") and a is not b:
        return _arrays(a, b)
    # Functions, dtypes, layers: objects without a value of their own.
    return ""


def _arrays(a: Any, b: Any) -> str:
    if tuple(a.shape) != tuple(b.shape):
        return f"an array of shape {tuple(a.shape)} for one size, {tuple(b.shape)} for another"
    x, y = numpy_of(a), numpy_of(b)
    return "" if np.all((x == y) | ((x != x) & (y != y))) else "an array of other numbers for other sizes"


def _sizes_differ(a: Any, b: Any) -> str:
    return f"the number {a} for one size, {b} for another, without its origin (int(size) and the like lose it)"


def _same_size(a: Any, b: Any) -> bool:
    if not (is_size(a) and is_size(b)):
        return bool(a == b) and not (is_size(a) or is_size(b))
    x, y = a.expression, b.expression
    if isinstance(x, DimOf) and isinstance(y, DimOf):
        return x.tensor.index == y.tensor.index and x.axis == y.axis
    if isinstance(x, Arithmetic) and isinstance(y, Arithmetic) and x.operation == y.operation:
        return all(not _difference(p, q) for p, q in zip(x.operands, y.operands, strict=True))
    return False
