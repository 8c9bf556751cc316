"""Recurrent layers as ONNX's own operators: any number of layers, both directions, dynamic batch and sequence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from any2onnx.converters.pytorch.call import TorchCall, refuse, scalar
from any2onnx.converters.pytorch.packed import Packing
from any2onnx.graph.builder import GraphBuilder
from any2onnx.graph.types import DataType, Value, dtype_of

# Gates in ONNX's order, as positions in torch's.
_GATES = {"LSTM": (0, 3, 1, 2), "GRU": (1, 0, 2), "RNN": (0,)}


@dataclass(frozen=True, slots=True)
class _Layers:
    """What the layers of one call have in common.

    Attributes:
        op_type: LSTM, GRU or RNN.
        layers: Number of layers.
        directions: 1 or 2.
        hidden: Size of the state that the gates make.
        attributes: Of the ONNX operator.
        packing: Lengths of the sequences; None where all are as long as the input.
    """

    op_type: str
    layers: int
    directions: int
    hidden: int
    attributes: Mapping[str, Any]
    packing: Packing | None = None


def lstm(g: GraphBuilder, call: TorchCall) -> tuple[Value, Value, Value]:
    """Return output, last hidden state, last cell state."""
    y, h, c = _layers(g, call, "LSTM", list(call.params["hx"]))
    assert c is not None
    return y, h, c


def gru(g: GraphBuilder, call: TorchCall) -> tuple[Value, Value]:
    """Return output, last hidden state."""
    y, h, _ = _layers(g, call, "GRU", [call.params["hx"]], linear_before_reset=1)
    return y, h


def rnn_tanh(g: GraphBuilder, call: TorchCall) -> tuple[Value, Value]:
    """Return output, last hidden state."""
    y, h, _ = _layers(g, call, "RNN", [call.params["hx"]], activation="Tanh")
    return y, h


def rnn_relu(g: GraphBuilder, call: TorchCall) -> tuple[Value, Value]:
    """Return output, last hidden state."""
    y, h, _ = _layers(g, call, "RNN", [call.params["hx"]], activation="Relu")
    return y, h


def _layers(
    g: GraphBuilder, call: TorchCall, op_type: str, states: list[Value], *, activation: str = "", **attributes: Any
) -> tuple[Value, Value, Value | None]:
    p = call.params
    if p["train"] and p["dropout"]:
        raise refuse(call, "train", "the program was exported in training mode; export model.eval()")
    directions = 2 if p["bidirectional"] else 1
    cells = p["num_layers"] * directions
    weights = list(p["params"])
    per_cell = len(weights) // cells
    # An LSTM may have a projection of the hidden state: one more weight for each cell.
    projected = per_cell > (4 if p["has_biases"] else 2)
    hidden = int((call.metas["hx"][1] if op_type == "LSTM" else call.metas["hx"]).shape[-1])
    if activation:
        attributes["activations"] = [activation] * directions
    attributes["hidden_size"] = hidden
    attributes["direction"] = "bidirectional" if directions == 2 else "forward"
    packed = "batch_sizes" in p
    packing = Packing.of(g, p["batch_sizes"]) if packed else None
    x = p["data"] if packed else p["input"]
    if packing is not None:
        x = packing.padded(g, x, scalar(g, 0, dtype_of(x)))
    elif p["batch_first"]:
        x = g.Transpose(x, perm=[1, 0, 2])
    common = _Layers(op_type, p["num_layers"], directions, hidden, attributes, packing)
    finals: list[list[Value]] = [[] for _ in states]
    for layer in range(common.layers):
        first = layer * directions
        groups = [weights[per_cell * (first + d) : per_cell * (first + d + 1)] for d in range(directions)]
        own = [_layer_state(g, s, layer, directions, common.layers) for s in states]
        x, last = (_projected_layer if projected else _layer)(g, common, groups, x, own)
        for kept, final in zip(finals, last, strict=True):
            kept.append(final)
    if packing is not None:
        x = packing.packed(g, x)
    elif p["batch_first"]:
        x = g.Transpose(x, perm=[1, 0, 2])
    ends = [parts[0] if len(parts) == 1 else g.op("Concat", *parts, axis=0) for parts in finals]
    return x, ends[0], ends[1] if len(ends) > 1 else None


def _layer(
    g: GraphBuilder, common: _Layers, groups: Sequence[Sequence[Value]], x: Value, states: Sequence[Value]
) -> tuple[Value, Sequence[Value]]:
    """One layer as ONNX's operator; returns [sequence, batch, directions · hidden] and the last states."""
    w, r, b = _layer_weights(g, common.op_type, groups)
    lengths = None if common.packing is None else g.Cast(common.packing.lengths, DataType.INT32)
    results = g.ops(common.op_type, x, w, r, b, lengths, *states, outputs=1 + len(states), **common.attributes)
    # From [sequence, directions, batch, hidden].
    y = results[0]
    if common.directions == 1:
        return g.Squeeze(y, 1), results[1:]
    return g.Reshape(g.Transpose(y, perm=[0, 2, 1, 3]), [0, 0, 2 * common.hidden]), results[1:]


def _projected_layer(
    g: GraphBuilder, common: _Layers, groups: Sequence[Sequence[Value]], x: Value, states: Sequence[Value]
) -> tuple[Value, Sequence[Value]]:
    """One layer of an LSTM with projections, which ONNX's operator does not have: a Scan over the sequence."""
    outputs: list[Value] = []
    finals: list[list[Value]] = [[], []]
    for direction, group in enumerate(groups):
        *weights, projection = group
        bias = g.Add(weights[2], weights[3]) if len(weights) == 4 else None
        # The part of the gates that does not depend on the state, for all steps at once.
        from_x = g.MatMul(x, g.Transpose(weights[0], perm=[1, 0]))
        from_x = from_x if bias is None else g.Add(from_x, bias)
        recurrent, narrow = (g.Transpose(v, perm=[1, 0]) for v in (weights[1], projection))
        start = [g.Squeeze(g.Slice(s, [direction], [direction + 1], [0]), 0) for s in states]
        masks = [] if common.packing is None else [g.Unsqueeze(common.packing.valid, 2)]

        def step(
            inner: GraphBuilder,
            h: Value,
            c: Value,
            gates: Value,
            *valid: Value,
            r: Value = recurrent,
            n: Value = narrow,
        ) -> list[Value]:
            i, f, new, o = inner.Split(inner.Add(gates, inner.MatMul(h, r)), axis=1, num_outputs=4)
            cell = inner.Add(inner.Mul(inner.Sigmoid(f), c), inner.Mul(inner.Sigmoid(i), inner.Tanh(new)))
            out = inner.MatMul(inner.Mul(inner.Sigmoid(o), inner.Tanh(cell)), n)
            if valid:
                # A sequence that has ended, or, backwards, has not begun, keeps its state.
                out, cell = inner.Where(valid[0], out, h), inner.Where(valid[0], cell, c)
            return [out, cell, inner.op("Identity", out)]

        last_h, last_c, y = g.Scan(step, start, [from_x, *masks], reverse=direction == 1)
        outputs.append(y)
        finals[0].append(g.Unsqueeze(last_h, 0))
        finals[1].append(g.Unsqueeze(last_c, 0))
    joined = [parts[0] if len(parts) == 1 else g.op("Concat", *parts, axis=0) for parts in finals]
    return outputs[0] if len(outputs) == 1 else g.op("Concat", *outputs, axis=2), joined


def _layer_state(g: GraphBuilder, state: Value, layer: int, directions: int, layers: int) -> Value:
    if layers == 1:
        return state
    return g.Slice(state, [layer * directions], [(layer + 1) * directions], [0])


def _layer_weights(
    g: GraphBuilder, op_type: str, groups: Sequence[Sequence[Value]]
) -> tuple[Value, Value, Value | None]:
    """Return W, R, B of one layer, [directions, …]; the graph reorders the gates, so no weight is copied here."""
    inputs = [_stacked(g, [_reordered(g, op_type, group[k]) for group in groups]) for k in range(2)]
    if len(groups[0]) == 2:
        return inputs[0], inputs[1], None
    biases = [
        g.op("Concat", _reordered(g, op_type, group[2]), _reordered(g, op_type, group[3]), axis=0) for group in groups
    ]
    return inputs[0], inputs[1], _stacked(g, biases)


def _stacked(g: GraphBuilder, values: Sequence[Value]) -> Value:
    parts = [g.Unsqueeze(v, 0) for v in values]
    return parts[0] if len(parts) == 1 else g.op("Concat", *parts, axis=0)


def _reordered(g: GraphBuilder, op_type: str, weight: Value) -> Value:
    gates = _GATES[op_type]
    if len(gates) == 1:
        return weight
    parts = g.Split(weight, axis=0, num_outputs=len(gates))
    return g.op("Concat", *(parts[k] for k in gates), axis=0)


# --- single cells ---------------------------------------------------------------------------------------------------


def _gates(g: GraphBuilder, x: Value, weight: Value, bias: Value | None) -> Value:
    return g.Gemm(x, weight, bias, transB=1)


def lstm_cell(g: GraphBuilder, call: TorchCall) -> tuple[Value, Value]:
    """One step of an LSTM."""
    p = call.params
    h, c = p["hx"]
    total = g.Add(_gates(g, p["input"], p["w_ih"], p["b_ih"]), _gates(g, h, p["w_hh"], p["b_hh"]))
    i, f, n, o = g.Split(total, axis=1, num_outputs=4)
    cell = g.Add(g.Mul(g.Sigmoid(f), c), g.Mul(g.Sigmoid(i), g.Tanh(n)))
    return g.Mul(g.Sigmoid(o), g.Tanh(cell)), cell


def gru_cell(g: GraphBuilder, call: TorchCall) -> Value:
    """One step of a GRU."""
    p = call.params
    h = p["hx"]
    from_x = g.Split(_gates(g, p["input"], p["w_ih"], p["b_ih"]), axis=1, num_outputs=3)
    from_h = g.Split(_gates(g, h, p["w_hh"], p["b_hh"]), axis=1, num_outputs=3)
    reset, update = (g.Sigmoid(g.Add(from_x[k], from_h[k])) for k in range(2))
    new = g.Tanh(g.Add(from_x[2], g.Mul(reset, from_h[2])))
    return g.Add(new, g.Mul(update, g.Sub(h, new)))


def rnn_tanh_cell(g: GraphBuilder, call: TorchCall) -> Value:
    """One step of a plain recurrent layer."""
    p = call.params
    return g.Tanh(g.Add(_gates(g, p["input"], p["w_ih"], p["b_ih"]), _gates(g, p["hx"], p["w_hh"], p["b_hh"])))


def rnn_relu_cell(g: GraphBuilder, call: TorchCall) -> Value:
    """One step of a plain recurrent layer with ReLU."""
    p = call.params
    return g.Relu(g.Add(_gates(g, p["input"], p["w_ih"], p["b_ih"]), _gates(g, p["hx"], p["w_hh"], p["b_hh"])))
