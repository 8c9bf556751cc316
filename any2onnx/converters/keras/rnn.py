"""keras.layers.rnn: LSTM, GRU, SimpleRNN and RNN over their cells, Bidirectional, TimeDistributed.

A layer becomes one ONNX node; cells and activation functions that the ONNX operators do not have are recorded from
Keras's own loop instead (Scan).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from any2onnx.converters.keras.calls import LayerCall, flatten, key_of
from any2onnx.converters.keras.core import traced
from any2onnx.converters.keras.recurrent_node import Cell, cell_of, run_cells
from any2onnx.converters.keras.weights import read_array
from any2onnx.graph.builder import GraphBuilder
from any2onnx.graph.types import FLOATS, Value, dtype_of, rank_of, shape_of

RECURRENT = frozenset({"keras.layers.LSTM", "keras.layers.GRU", "keras.layers.SimpleRNN", "keras.layers.RNN"})


def recurrent(g: GraphBuilder, call: LayerCall) -> Any:
    """Convert LSTM, GRU, SimpleRNN, and RNN over one of their cells or a stack of them: one node per cell."""
    layer, x = call.source, _floats(g, call)
    _check_stateful(call, layer)
    own = _cells(layer)
    cells = [cell_of(call, cell, x) for cell in own]
    if any(cell is None for cell in cells) or rank_of(x) != 3:
        if layer.stateful:
            raise call.unsupported("stateful", True, "the cell has no ONNX operator of its own")
        return traced(g, call)
    given = _initial_states(g, call, [cell for cell in cells if cell is not None])
    mask = _mask(call)
    results: list[Value] = []
    states: list[Value] = []
    for k, cell in enumerate(cells):
        assert cell is not None
        top = k == len(cells) - 1
        run = run_cells(
            g,
            [cell],
            x,
            backwards=[layer.go_backwards],
            initial=[given[k]],
            mask=mask,
            sequences=layer.return_sequences or not top,
            zero_masked=[bool(layer.zero_output_for_mask) and top],
            empty_batch=bool(call.options.get("empty_batch")),
        )
        states += run.states[0]
        if run.sequences is not None:
            x = run.sequences[0]
        if top:
            sequence = run.sequences[0] if run.sequences is not None else None
            results.append(_in_order(g, layer, sequence) if layer.return_sequences else run.last[0])
    return [*results, *states] if layer.return_state else results[0]


def _floats(g: GraphBuilder, call: LayerCall) -> Value:
    """Return the input; products with the kernel make floats of integers and truth values, and so does this."""
    x: Value = call.inputs[0]
    return x if dtype_of(x) in FLOATS else g.Cast(x, call.walker.dtype(call.source.compute_dtype))


def _check_stateful(call: LayerCall, layer: Any) -> None:
    """Refuse a layer that remembers, unless the user says what each run of the ONNX model starts from.

    Raises:
        UnsupportedParameter: `stateful` without the option.
    """
    if layer.stateful and not call.options.get("stateful"):
        raise call.unsupported(
            "stateful",
            True,
            "an ONNX model keeps no state from call to call",
            remedy=f'options={{"{layer.name}": {{"stateful": "reset"}}}} to start every run from zeros, "current" to '
            "start it from the state that the layer has now; or a layer with return_state=True whose states are model "
            "inputs and outputs",
        )


def _kept_states(g: GraphBuilder, call: LayerCall, layer: Any) -> list[Value] | None:
    """Return the state that a stateful layer has now, flat, where the user asks for it."""
    if not layer.stateful or call.options.get("stateful") != "current" or layer.states is None:
        return None
    return [g.const(read_array(state), name="state") for state in flatten(layer.states)]


def _cells(layer: Any) -> list[Any]:
    cell = layer.cell
    return list(cell.cells) if key_of(cell) == "keras.layers.StackedRNNCells" else [cell]


def _mask(call: LayerCall) -> Value | None:
    found = [m for m in flatten(call.params.get("mask")) if isinstance(m, Value)]
    return found[0] if found else None


def _initial_states(g: GraphBuilder, call: LayerCall, cells: Sequence[Cell]) -> list[list[Value] | None]:
    """Return the initial states of each cell, from the flat list that Keras is given."""
    given = call.inputs[1] if len(call.inputs) > 1 else call.params.get("initial_state")
    if given is None:
        given = _kept_states(g, call, call.source)
    if given is None:
        return [None] * len(cells)
    flat = flatten(given)
    result: list[list[Value] | None] = []
    for cell in cells:
        result.append(flat[: cell.states])
        flat = flat[cell.states :]
    return result


def _in_order(g: GraphBuilder, layer: Any, sequence: Value | None) -> Value:
    """Return the outputs in the order of processing, as Keras does for go_backwards."""
    assert sequence is not None
    return _reversed(g, sequence) if layer.go_backwards else sequence


def _reversed(g: GraphBuilder, x: Value) -> Value:
    return g.Slice(x, [-1], [np.iinfo(np.int64).min], [1], [-1])


def bidirectional(g: GraphBuilder, call: LayerCall) -> Any:
    """Convert Bidirectional: one node where both directions are the same kind of layer, else two calls."""
    layer, x = call.source, _floats(g, call)
    _check_stateful(call, layer)
    pair = [layer.forward_layer, layer.backward_layer]
    given = call.inputs[1] if len(call.inputs) > 1 else call.params.get("initial_state")
    state = None if given is None else list(given)
    halves: list[Any] = [None, None] if state is None else [state[: len(state) // 2], state[len(state) // 2 :]]
    if state is None and layer.stateful:
        halves = [_kept_states(g, call, one) for one in pair]
    cells = _pair_of_cells(call, pair, x)
    if cells is None:
        outputs, states = _two_calls(g, call, pair, halves)
    else:
        run = run_cells(
            g,
            cells,
            x,
            backwards=[False, True],
            initial=[None if h is None else flatten(h) for h in halves],
            mask=_mask(call),
            sequences=layer.return_sequences,
            zero_masked=[bool(p.zero_output_for_mask) for p in pair],
            empty_batch=bool(call.options.get("empty_batch")),
        )
        outputs = run.sequences if run.sequences is not None else run.last
        states = [s for one in run.states for s in one]
    merged = _merged(g, layer, outputs)
    if not layer.return_state:
        return merged if len(merged) > 1 else merged[0]
    return [*merged, *states]


def _pair_of_cells(call: LayerCall, pair: Sequence[Any], x: Value) -> list[Cell] | None:
    """Return the cells of both directions where one node can run them."""
    plain = all(key_of(p) in RECURRENT and len(_cells(p)) == 1 for p in pair)
    if not plain or pair[0].go_backwards or not pair[1].go_backwards or rank_of(x) != 3:
        return None
    cells = [cell_of(call, p.cell, x) for p in pair]
    known = [cell for cell in cells if cell is not None]
    return known if len(known) == 2 and known[0].pairs_with(known[1]) else None


def _two_calls(
    g: GraphBuilder, call: LayerCall, pair: Sequence[Any], halves: Sequence[Any]
) -> tuple[list[Value], list[Value]]:
    outputs: list[Value] = []
    states: list[Value] = []
    for layer, state in zip(pair, halves, strict=True):
        params = {"mask": call.params.get("mask"), "initial_state": state}
        given = {name: v for name, v in params.items() if v is not None}
        found = call.walker.layer(g, layer, (call.inputs[0],), given, path=call.scope)
        outputs.append(found[0])
        states += found[1:]
    if call.source.return_sequences:
        outputs[1] = _reversed(g, outputs[1])
    return outputs, states


def _merged(g: GraphBuilder, layer: Any, outputs: Sequence[Value]) -> list[Value]:
    first, second = outputs
    if layer.merge_mode is None:
        return [first, second]
    if layer.merge_mode == "concat":
        return [g.Concat(first, second, axis=-1)]
    if layer.merge_mode == "mul":
        return [g.Mul(first, second)]
    total = g.Add(first, second)
    return [total if layer.merge_mode == "sum" else g.Div(total, g.scalar_like(2, total))]


def time_distributed(g: GraphBuilder, call: LayerCall) -> Any:
    """Convert TimeDistributed: batch and time become one dim, the layer runs once.

    A layer that takes a mask, with one, is recorded from Keras's own loop.
    """
    layer, x = call.source, call.inputs[0]
    inner = layer.layer
    if inner._call_has_mask_arg and call.params.get("mask") is not None:
        return traced(g, call)
    leading = [g.dim(x, 0), g.dim(x, 1)]
    rank = rank_of(x)
    flat = g.Reshape(x, g.shape_vector([-1, *(g.dim(x, axis) for axis in range(2, rank))]))
    results = []
    for value in flatten(call.walker.layer(g, inner, (flat,), path=call.scope)):
        rest = [g.dim(value, axis) for axis in range(1, rank_of(value))]
        result = g.Reshape(value, g.shape_vector([*leading, *rest]))
        results.append(g.annotate(result, (*shape_of(x)[:2], *shape_of(value)[1:])))
    return results if len(results) > 1 else results[0]
