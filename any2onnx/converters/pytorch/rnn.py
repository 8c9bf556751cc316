"""Recurrent layers as ONNX's own operators: any number of layers, both directions, dynamic batch and sequence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from any2onnx.converters.pytorch.call import TorchCall, refuse
from any2onnx.graph.builder import GraphBuilder
from any2onnx.graph.types import Value

# Gates in ONNX's order, as positions in torch's.
_GATES = {"LSTM": (0, 3, 1, 2), "GRU": (1, 0, 2), "RNN": (0,)}


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
    per_cell = 4 if p["has_biases"] else 2
    weights = list(p["params"])
    cells = p["num_layers"] * directions
    if len(weights) != per_cell * cells:
        raise refuse(call, "params", "ONNX's LSTM has no projections")
    hidden = call.metas["hx"][0].shape[-1] if op_type == "LSTM" else call.metas["hx"].shape[-1]
    if activation:
        attributes["activations"] = [activation] * directions
    attributes["hidden_size"] = int(hidden)
    attributes["direction"] = "bidirectional" if directions == 2 else "forward"
    x = p["input"]
    if p["batch_first"]:
        x = g.Transpose(x, perm=[1, 0, 2])
    finals: list[list[Value]] = [[] for _ in states]
    for layer in range(p["num_layers"]):
        first = layer * directions
        groups = [weights[per_cell * (first + d) : per_cell * (first + d + 1)] for d in range(directions)]
        w, r, b = _layer_weights(g, op_type, groups)
        own = [_layer_state(g, s, layer, directions, p["num_layers"]) for s in states]
        results = g.ops(op_type, x, w, r, b, None, *own, outputs=1 + len(states), **attributes)
        # [sequence, directions, batch, hidden] to [sequence, batch, directions · hidden]
        y = results[0]
        if directions == 1:
            x = g.Squeeze(y, 1)
        else:
            x = g.Reshape(g.Transpose(y, perm=[0, 2, 1, 3]), [0, 0, 2 * int(hidden)])
        for kept, final in zip(finals, results[1:], strict=True):
            kept.append(final)
    if p["batch_first"]:
        x = g.Transpose(x, perm=[1, 0, 2])
    last = [parts[0] if len(parts) == 1 else g.op("Concat", *parts, axis=0) for parts in finals]
    return x, last[0], last[1] if len(last) > 1 else None


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
