"""Turns a recording into nodes: each call goes to its converter, each body into a sub-graph."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from any2onnx.converters.keras.calls import flatten
from any2onnx.converters.keras.tracing_evaluate import Evaluator
from any2onnx.converters.keras.tracing_recorder import leaves, map_leaves
from any2onnx.converters.keras.tracing_sizes import OPERATIONS, Arithmetic, DimOf, RealSize, Size, is_size
from any2onnx.converters.keras.tracing_tape import Constant, Entry, StaticDims, Tape
from any2onnx.converters.keras.tracing_tensor import RecordingTensor
from any2onnx.errors import ExportFailed
from any2onnx.graph.builder import GraphBuilder
from any2onnx.graph.types import DataType, TensorSpec, Value, to_dtype
from any2onnx.operator_mappings.mapping import Call


@dataclass(frozen=True, slots=True)
class Extent:
    """A number known when the model runs: the size of a dynamic dim, or arithmetic on such sizes.

    Keras treats it as a Python number (it takes the dtype of its partner).

    Attributes:
        value: int64 of shape [1]; float64 after a true division.
    """

    value: Value


@dataclass(frozen=True, slots=True)
class RecordedCall:
    """The `source` of calls of backend functions.

    Attributes:
        function: The backend function.
        results: Types of the results, in their structure: what Keras itself gives.
    """

    function: Any
    results: Any


class Replay:
    """Converts tapes.

    Args:
        tape: The main tape.
        evaluator: For the conversion of constants to numpy.
        dims: Static dims by tensor.
        convert: `convert(call, g)`.
        scope: Prefix of the scopes.
        location: Place where an entry has none.
    """

    def __init__(
        self,
        tape: Tape,
        evaluator: Evaluator,
        dims: StaticDims,
        convert: Callable[..., Any],
        scope: str,
        location: str,
    ) -> None:
        self.evaluator = evaluator
        self.dims = dims
        self.convert = convert
        self.scope = scope
        self.location = location
        self.folded: set[int] = set()
        self._fold(tape)

    # --- what has to be done -------------------------------------------------------------------------------------

    def live(self, tape: Tape) -> list[Entry]:
        """Return the entries that the results depend on."""
        used: set[int] = set()
        self._use(used, tape.results)
        chosen: list[Entry] = []
        for entry in reversed(tape.entries):
            if any(t.index in used for t in entry.outputs):
                chosen.append(entry)
                self._use_entry(used, entry)
        return chosen[::-1]

    def _use_entry(self, used: set[int], entry: Entry) -> None:
        """Note what an entry reads, in its bodies too."""
        if all(t.index in self.folded for t in entry.outputs):
            return
        self._use(used, entry.params)
        for body in entry.bodies:
            for inner in self.live(body):
                self._use_entry(used, inner)
            self._use(used, body.results)

    def _use(self, used: set[int], structure: Any) -> None:
        for leaf in leaves(structure):
            if isinstance(leaf, RecordingTensor):
                used.add(leaf.index)
            elif is_size(leaf):
                self._use_size(used, leaf)

    def _use_size(self, used: set[int], size: Any) -> None:
        expression = size.expression
        if isinstance(expression, Arithmetic):
            for operand in expression.operands:
                if is_size(operand):
                    self._use_size(used, operand)
        elif self._static(expression) is None:
            used.add(expression.tensor.index)

    def _static(self, expression: DimOf) -> int | None:
        return self.dims[expression.tensor.index][expression.axis]

    def check_state(self, tape: Tape) -> None:
        """Refuse a function whose result depends on a variable that it changes: the next call would differ.

        Raises:
            ExportFailed: There is one.
        """
        if not tape.updated:
            return
        for entry in self.live(tape):
            for leaf in leaves(entry.params):
                if isinstance(leaf, Constant) and leaf.name in tape.updated:
                    raise ExportFailed(
                        f"the variable {leaf.name} is read and changed by each call",
                        where=self._place(entry) or None,
                        needs="a model without memory from call to call: ONNX has no variables",
                        remedy="pass the state in and return it, as keras.layers.RNN(return_state=True) does",
                    )

    def needed(self, tape: Tape) -> list[tuple[str, str]]:
        """Return (key, place) of every call that will be converted."""
        found: list[tuple[str, str]] = []
        for entry in self.live(tape):
            if not entry.key.startswith("#") and not self._is_folded(entry):
                found.append((entry.key, self._place(entry)))
            for body in entry.bodies:
                found.extend(self.needed(body))
        return found

    def _fold(self, tape: Tape) -> None:
        """Find the tensors that are the same for any input: Keras has computed them already."""
        for entry in tape.entries:
            for body in entry.bodies:
                self._fold(body)
            if entry.key == "#constant" or self._computable(entry):
                self.folded.update(t.index for t in entry.outputs)

    def _computable(self, entry: Entry) -> bool:
        if entry.random or entry.bodies or not entry.key.startswith("keras.backend."):
            return False
        if any(None in self.dims[t.index] for t in entry.outputs):
            return False
        for leaf in leaves(entry.params):
            if isinstance(leaf, RecordingTensor):
                if leaf.index not in self.folded:
                    return False
            elif is_size(leaf) and not self._is_static(leaf):
                return False
        return True

    def _is_folded(self, entry: Entry) -> bool:
        return bool(entry.outputs) and all(t.index in self.folded for t in entry.outputs)

    # --- conversion ----------------------------------------------------------------------------------------------

    def run(self, g: GraphBuilder, tape: Tape, env: Any) -> Any:
        """Convert a tape and return its results with values for tensors."""
        for entry in self.live(tape):
            if not entry.key.startswith("#"):
                self._call(g, entry, env)
            elif entry.key == "#constant":
                env[entry.outputs[0].index] = entry.params["value"]
            else:
                from any2onnx.converters.keras import tracing_subgraphs

                with g.scope(self._scope(entry), source=self._place(entry), rule=f"keras.tracing:{entry.key[1:]}"):
                    results = tracing_subgraphs.CONTROL[entry.key](self, g, entry, env)
                for tensor, value in zip(entry.outputs, results, strict=True):
                    env[tensor.index] = g.annotate(value, self._promised_dims(tensor)) if value.producer() else value
        return map_leaves(lambda leaf: self.value(g, leaf, env), tape.results)

    def child(self, env: Any) -> Any:
        """Return an environment for a sub-graph: it sees what is outside and keeps its own values to itself."""
        return ChainMap({}, *env.maps)

    def _call(self, g: GraphBuilder, entry: Entry, env: Any) -> None:
        if self._is_folded(entry):
            for tensor in entry.outputs:
                env[tensor.index] = Constant(tensor.example)
            return
        params = {name: map_leaves(lambda leaf: self.value(g, leaf, env), v) for name, v in entry.params.items()}
        specs = map_leaves(self._spec, entry.results)
        is_layer = not entry.key.startswith("keras.backend.")
        call = Call(
            key=entry.key,
            source=entry.source if is_layer else RecordedCall(entry.source, specs),
            inputs=tuple(v for v in params.values() if isinstance(v, Value)),
            params=params,
            scope=self._scope(entry),
            location=self._place(entry),
        )
        results = self.convert(call, g)
        flat = [r for r in leaves(results) if r is not None]
        # Converters of layers return their results in Keras's order: dicts by sorted key.
        ordered = flatten(entry.results) if is_layer else leaves(entry.results)
        wanted = [t for t in ordered if isinstance(t, RecordingTensor)]
        for tensor, value in zip(wanted, flat, strict=True):
            env[tensor.index] = value

    def _is_static(self, size: Any) -> bool:
        expression = size.expression
        if isinstance(expression, DimOf):
            return self._static(expression) is not None
        return all(self._is_static(v) for v in expression.operands if is_size(v))

    def _spec(self, result: Any) -> Any:
        if not isinstance(result, RecordingTensor):
            return None
        return TensorSpec(to_dtype(result.dtype), self._promised_dims(result))

    def _promised_dims(self, tensor: RecordingTensor) -> tuple[int | None, ...]:
        return self.dims[tensor.index]

    def _scope(self, entry: Entry) -> str:
        return "/".join(part for part in (self.scope, entry.scope) if part)

    def _place(self, entry: Entry) -> str:
        parts = [part for part in (self.location, entry.scope) if part]
        return " ← ".join([*parts, entry.location] if entry.location else parts)

    # --- values --------------------------------------------------------------------------------------------------

    def value(self, g: GraphBuilder, leaf: Any, env: Any) -> Any:
        """Return what a converter gets for an argument: a value of the graph, an Extent, or the argument itself."""
        if isinstance(leaf, RecordingTensor):
            found = env[leaf.index]
            return self.constant(g, found) if isinstance(found, Constant) else found
        if isinstance(leaf, Constant):
            return self.constant(g, leaf)
        if is_size(leaf):
            number = self.size(g, leaf, env)
            return Extent(number) if isinstance(number, Value) else number
        return leaf

    def constant(self, g: GraphBuilder, constant: Constant) -> Value:
        """Return the value of the graph for a constant, by reference."""
        array = self.evaluator.numpy(constant.value)
        return g.const(array, name=constant.name or "constant")

    def size(self, g: GraphBuilder, size: Any, env: Any) -> Any:
        """Return a size as a number, or as a one-element value where it is known only when the model runs."""
        if not is_size(size):
            return size
        expression = size.expression
        if isinstance(expression, DimOf):
            static = self._static(expression)
            if static is not None:
                return static
            return g.dim(self.value(g, expression.tensor, env), expression.axis)
        operands = [self.size(g, v, env) for v in expression.operands]
        if not any(isinstance(v, Value) for v in operands):
            return OPERATIONS[expression.operation](*operands)
        real = isinstance(size, RealSize)
        return compute_size(g, expression.operation, operands, real=real)


def compute_size(g: GraphBuilder, operation: str, operands: Sequence[Any], *, real: bool) -> Value:
    """Add the nodes of one operation on sizes (int64 [1], or float64 [1] where `real`)."""
    dtype = DataType.DOUBLE if real else DataType.INT64

    def operand(v: Any) -> Value:
        if isinstance(v, Value):
            return g.Cast(v, dtype)
        return g.const(np.asarray([v], dtype.numpy()), name="size")

    a, *rest = [operand(v) for v in operands]
    if operation == "neg":
        return g.Neg(a)
    b = rest[0]
    if operation in ("floordiv", "mod"):
        return floor_division(g, a, b) if operation == "floordiv" else floor_remainder(g, a, b)
    return g.op({"add": "Add", "sub": "Sub", "mul": "Mul", "truediv": "Div", "pow": "Pow"}[operation], a, b)


def floor_remainder(g: GraphBuilder, a: Value, b: Value) -> Value:
    """Python's and numpy's a % b: the sign of the divisor."""
    dtype = a.dtype
    if dtype is not None and dtype.is_floating_point():
        return g.Sub(a, g.Mul(g.Floor(g.Div(a, b)), b))
    return g.Mod(a, b)


def floor_division(g: GraphBuilder, a: Value, b: Value) -> Value:
    """Python's a // b: rounded down; integer Div of ONNX rounds towards zero."""
    dtype = a.dtype
    if dtype is not None and dtype.is_floating_point():
        return g.Floor(g.Div(a, b))
    return g.Div(g.Sub(a, g.Mod(a, b)), b)


__all__ = ["Extent", "RecordedCall", "Replay", "Size", "compute_size", "floor_division", "floor_remainder"]
