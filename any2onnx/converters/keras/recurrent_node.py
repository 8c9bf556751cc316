"""One ONNX LSTM, GRU or RNN node for one Keras cell, or for a cell per direction, with masks of any pattern."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from any2onnx.converters.keras.calls import LayerCall, key_of
from any2onnx.graph.builder import GraphBuilder
from any2onnx.graph.guards import run_unless_empty
from any2onnx.graph.types import DataType, Value, dtype_of, rank_of

Array = np.ndarray[Any, Any]

# Keras function → ONNX activation, alpha, beta.
ACTIVATIONS: Final[Mapping[str, tuple[str, float | None, float | None]]] = {
    "keras.activations.tanh": ("Tanh", None, None),
    "keras.activations.sigmoid": ("Sigmoid", None, None),
    "keras.activations.relu": ("Relu", None, None),
    "keras.activations.hard_sigmoid": ("HardSigmoid", 1 / 6, 0.5),
    "keras.activations.sparse_sigmoid": ("HardSigmoid", 0.5, 0.5),
    "keras.activations.softsign": ("Softsign", None, None),
    "keras.activations.softplus": ("Softplus", None, None),
    "keras.activations.elu": ("Elu", 1.0, None),
    "keras.activations.leaky_relu": ("LeakyRelu", 0.2, None),
    "keras.activations.linear": ("Affine", 1.0, 0.0),
}

# Cell → operator, number of states, Keras's gate for each gate of ONNX.
_CELLS: Final[Mapping[str, tuple[str, int, tuple[int, ...]]]] = {
    "keras.layers.LSTMCell": ("LSTM", 2, (0, 3, 1, 2)),  # Keras: i f c o, ONNX: i o f c
    "keras.layers.GRUCell": ("GRU", 1, (0, 1, 2)),
    "keras.layers.SimpleRNNCell": ("RNN", 1, (0,)),
}


@dataclass(frozen=True, slots=True)
class Cell:
    """A Keras cell in ONNX's terms.

    Attributes:
        op_type: LSTM, GRU or RNN.
        states: Number of states: 2 for LSTM (h, c), else 1.
        units: Size of the state.
        kernel: [gates · units, features].
        recurrent: [gates · units, units].
        bias: [2 · gates · units]: of the input, then of the state.
        functions: ONNX activations with alpha and beta.
        reset_after: GRU: the reset gate acts after the product with the recurrent kernel.
    """

    op_type: str
    states: int
    units: int
    kernel: Array
    recurrent: Array
    bias: Array
    functions: tuple[tuple[str, float | None, float | None], ...]
    reset_after: bool

    def pairs_with(self, other: Cell) -> bool:
        """Tell whether two cells can be the directions of one node."""
        return (self.op_type, self.units, self.reset_after) == (other.op_type, other.units, other.reset_after)


def cell_of(call: LayerCall, cell: Any, like: Value) -> Cell | None:
    """Return a Keras cell in ONNX's terms.

    None for cells and activation functions that the operators do not have, and in float64: onnxruntime's kernels
    are registered for it and then refuse it.
    """
    known = _CELLS.get(key_of(cell))
    if known is None or dtype_of(like) == DataType.DOUBLE:
        return None
    op_type, states, gates = known
    names = [cell.activation] if op_type == "RNN" else [cell.recurrent_activation, cell.activation]
    if op_type == "LSTM":
        names.append(cell.activation)
    functions = [_function(name) for name in names]
    if any(f is None for f in functions):
        return None
    units, count = int(cell.units), len(gates)
    bias = np.zeros((2, count * units), dtype_of(like).numpy())
    if cell.bias is not None:
        given = call.weight(cell.bias, like=like)
        bias[: given.ndim] = given if given.ndim == 2 else given[None]
    order = np.concatenate([np.arange(units) + gate * units for gate in gates])
    return Cell(
        op_type=op_type,
        states=states,
        units=units,
        kernel=np.ascontiguousarray(call.weight(cell.kernel, like=like).T[order]),
        recurrent=np.ascontiguousarray(call.weight(cell.recurrent_kernel, like=like).T[order]),
        bias=bias[:, order].reshape(-1),
        functions=tuple(f for f in functions if f is not None),
        reset_after=bool(getattr(cell, "reset_after", False)),
    )


def _function(function: Any) -> tuple[str, float | None, float | None] | None:
    if function is None:
        return ACTIVATIONS["keras.activations.linear"]
    return ACTIVATIONS.get(key_of(function)) if hasattr(function, "__module__") else None


@dataclass(frozen=True, slots=True)
class Run:
    """What a node gives, per direction.

    Attributes:
        sequences: [batch, time, units] each, position by position of the input; None where not asked for.
        last: [batch, units] each: the output of the step that was processed last.
        states: For each direction, its final states [batch, units].
    """

    sequences: list[Value] | None
    last: list[Value]
    states: list[list[Value]]


def run_cells(
    g: GraphBuilder,
    cells: Sequence[Cell],
    x: Value,
    *,
    backwards: Sequence[bool],
    initial: Sequence[Sequence[Value] | None],
    mask: Value | None,
    sequences: bool,
    zero_masked: Sequence[bool],
    empty_batch: bool = False,
) -> Run:
    """Run one or two cells over a sequence [batch, time, features] by one node.

    Args:
        g: Where the nodes go.
        cells: One cell, or two that pair, forwards and backwards.
        x: The sequence.
        backwards: Whether each runs from the last step to the first.
        initial: Initial states of each, zeros for None.
        mask: [batch, time], true for steps that count. Masked steps leave the states as they are.
        sequences: Whether the outputs of all steps are wanted.
        zero_masked: Whether the output of a masked step is zero, rather than that of the step before.
        empty_batch: Whether the node has to run for an empty batch, too, which onnxruntime's does not.
    """
    steps = None if mask is None else _Steps.of(g, mask)
    data = x if steps is None else steps.compact(g, x)
    outputs = _node(g, cells, data, backwards, initial, None if steps is None else steps.lengths, empty_batch)
    finals = [
        [_direction(g, state, k, len(cells)) for state in outputs[1 : 1 + cells[0].states]] for k in range(len(cells))
    ]
    if steps is not None:
        finals = [
            [steps.or_initial(g, s, first[j] if first else None) for j, s in enumerate(states)]
            for states, first in zip(finals, initial, strict=True)
        ]
    last = [states[0] for states in finals]
    if steps is not None:
        last = [
            steps.last(g, v, reverse, zero, given is not None)
            for v, reverse, zero, given in zip(last, backwards, zero_masked, initial, strict=True)
        ]
    spread: list[Value] | None = None
    if sequences:
        spread = _by_direction(g, outputs[0], len(cells))
        if steps is not None:
            spread = [
                steps.spread(g, v, reverse, zero)
                for v, reverse, zero in zip(spread, backwards, zero_masked, strict=True)
            ]
    return Run(spread, last, finals)


def _node(
    g: GraphBuilder,
    cells: Sequence[Cell],
    x: Value,
    backwards: Sequence[bool],
    initial: Sequence[Sequence[Value] | None],
    lengths: Value | None,
    empty_batch: bool,
) -> tuple[Value, ...]:
    first = cells[0]
    direction = "bidirectional" if len(cells) == 2 else "reverse" if backwards[0] else "forward"
    functions = [f for cell in cells for f in cell.functions]
    attributes: dict[str, Any] = {
        "direction": None if direction == "forward" else direction,
        "hidden_size": first.units,
        "activations": [name for name, _, _ in functions],
        # Only the functions that have such a parameter take one from the list.
        "activation_alpha": [a for _, a, _ in functions if a is not None] or None,
        "activation_beta": [b for _, _, b in functions if b is not None] or None,
    }
    if first.op_type == "GRU":
        attributes["linear_before_reset"] = int(first.reset_after)
    states: list[Value | None] = [None] * first.states
    if any(given is not None for given in initial):
        states = [_stacked_states(g, cells, x, initial, j) for j in range(first.states)]
    inputs = [
        g.Transpose(x, perm=[1, 0, 2]),
        g.const(_joined([c.kernel for c in cells]), name="kernel"),
        g.const(_joined([c.recurrent for c in cells]), name="recurrent_kernel"),
        g.const(_joined([c.bias for c in cells]), name="bias"),
        lengths,
        *states,
    ]
    if not empty_batch:
        return g.ops(first.op_type, *inputs, outputs=1 + first.states, **attributes)
    return run_unless_empty(g, first.op_type, inputs, outputs=1 + first.states, directions=len(cells), **attributes)


def _joined(arrays: Sequence[Array]) -> Array:
    """Stack along a new first dim; one array without a copy."""
    return arrays[0][None] if len(arrays) == 1 else np.stack(arrays)


def _stacked_states(
    g: GraphBuilder, cells: Sequence[Cell], x: Value, initial: Sequence[Sequence[Value] | None], index: int
) -> Value:
    parts = []
    for cell, given in zip(cells, initial, strict=True):
        if given is not None:
            parts.append(g.Unsqueeze(g.Cast(given[index], dtype_of(x)), 0))
        else:
            zeros = g.scalar_like(0, x)
            parts.append(g.Expand(zeros, g.shape_vector([1, g.dim(x, 0), cell.units])))
    return parts[0] if len(parts) == 1 else g.Concat(*parts, axis=0)


def _direction(g: GraphBuilder, state: Value, k: int, count: int) -> Value:
    """Return the state [batch, units] of one direction out of [directions, batch, units]."""
    return g.Squeeze(state, 0) if count == 1 else g.Squeeze(g.Slice(state, [k], [k + 1], [0]), 0)


def _by_direction(g: GraphBuilder, y: Value, count: int) -> list[Value]:
    """Return the outputs [batch, time, units] of each direction out of [time, directions, batch, units]."""
    parts = [y] if count == 1 else g.Split(y, [1] * count, axis=1)
    return [g.Transpose(g.Squeeze(part, 1), perm=[1, 0, 2]) for part in parts]


@dataclass(frozen=True, slots=True)
class _Steps:
    """A mask in the terms of ONNX, whose operators know lengths only.

    Masked steps leave the states alone, so the steps that count are moved to the front, the node runs over so many,
    and its outputs are put back to where they belong.

    Attributes:
        mask: [batch, time], bool.
        order: [batch, time]: the steps that count, in order, then the others.
        before: [batch, time]: how many steps count, up to and with this one.
        count: [batch, 1].
        lengths: [batch], int32.
    """

    mask: Value
    order: Value
    before: Value
    count: Value
    lengths: Value

    @classmethod
    def of(cls, g: GraphBuilder, mask: Value) -> _Steps:
        mask = g.Cast(mask, DataType.BOOL)
        if rank_of(mask) == 3:
            mask = g.Squeeze(mask, 2)
        ones = g.Cast(mask, DataType.INT64)
        time = g.Squeeze(g.dim(mask, 1), 0)
        position = g.Range(np.asarray(0, np.int64), time, np.asarray(1, np.int64))
        rank = g.Where(mask, position, g.Add(position, time))
        _, order = g.TopK(rank, g.dim(mask, 1), axis=1, largest=False)
        count = g.ReduceSum(ones, 1)
        return cls(
            mask=mask,
            order=order,
            before=g.CumSum(ones, np.asarray(1, np.int64)),
            count=count,
            lengths=g.Cast(g.Squeeze(count, 1), DataType.INT32),
        )

    def compact(self, g: GraphBuilder, x: Value) -> Value:
        """Return the sequence with the steps that count at the front."""
        return g.GatherND(x, g.Unsqueeze(self.order, 2), batch_dims=1)

    def any(self, g: GraphBuilder) -> Value:
        """Return [batch, 1]: whether any step counts."""
        return g.Greater(self.count, np.asarray(0, np.int64))

    def or_initial(self, g: GraphBuilder, state: Value, initial: Value | None) -> Value:
        """Return the final state: the initial one where no step counts."""
        other = g.scalar_like(0, state) if initial is None else g.Cast(initial, dtype_of(state))
        return g.Where(self.any(g), state, other)

    def last(self, g: GraphBuilder, state: Value, backwards: bool, zero_masked: bool, given: bool) -> Value:
        """Return the output of the last step: zero where no step counts, even if there is an initial state."""
        if zero_masked:
            end = g.Slice(self.mask, [0], [1], [1]) if backwards else g.Slice(self.mask, [-1], [2**62], [1])
            return g.Where(end, state, g.scalar_like(0, state))
        return g.Where(self.any(g), state, g.scalar_like(0, state)) if given else state

    def spread(self, g: GraphBuilder, y: Value, backwards: bool, zero_masked: bool) -> Value:
        """Put the outputs back: a masked step has that of the step processed before it, or zero."""
        one, zero = np.asarray(1, np.int64), np.asarray(0, np.int64)
        own = g.Max(g.Sub(self.before, one), zero)
        if zero_masked:
            index, known = own, self.mask
        elif backwards:
            after = g.Min(self.before, g.Max(g.Sub(self.count, one), zero))
            index = g.Where(self.mask, own, after)
            known = g.Or(self.mask, g.Less(self.before, self.count))
        else:
            index, known = own, g.Greater(self.before, zero)
        found = g.GatherND(y, g.Unsqueeze(index, 2), batch_dims=1)
        return g.Where(g.Unsqueeze(known, 2), found, g.scalar_like(0, y))
