"""torch.cond, while_loop, scan, map and associative_scan; regions that only set a mode are emitted in place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from any2onnx.converters.pytorch.call import TorchCall
from any2onnx.converters.pytorch.sizes import number_dtype
from any2onnx.graph.builder import GraphBuilder
from any2onnx.graph.types import DataType, Value, rank_of


def as_value(g: GraphBuilder, result: Any) -> Value:
    """Return a result of a sub-graph as a value; Python numbers become constants."""
    return result if isinstance(result, Value) else g.const(np.asarray(result, number_dtype(result).numpy()))


def cond(g: GraphBuilder, call: TorchCall) -> list[Value]:
    """One of two branches."""
    predicate, on_true, on_false = (call.params[k] for k in ("0", "1", "2"))
    operands = list(call.params.get("3") or [])
    if not isinstance(predicate, Value):
        return [as_value(g, r) for r in (on_true if predicate else on_false)(g, *operands)]
    condition = g.Cast(predicate, DataType.BOOL)
    if rank_of(condition):
        condition = g.Squeeze(condition)

    def branch(graph: Any) -> Any:
        return lambda inner: [as_value(inner, r) for r in graph(inner, *operands)]

    return list(g.If(condition, branch(on_true), branch(on_false)))


def while_loop(g: GraphBuilder, call: TorchCall) -> list[Value]:
    """The body again and again while the condition holds."""
    condition, body = call.params["0"], call.params["1"]
    carried = [as_value(g, v) for v in call.params["2"]]
    further = list(call.params.get("3") or [])

    def check(inner: GraphBuilder, states: Sequence[Value]) -> Value:
        result = as_value(inner, condition(inner, *states, *further)[0])
        return inner.Squeeze(result) if rank_of(result) else result

    def step(inner: GraphBuilder, _iteration: Value, _condition: Value, *states: Value) -> list[Value]:
        following = [as_value(inner, r) for r in body(inner, *states, *further)]
        return [check(inner, following), *following]

    return list(g.Loop(step, carried, condition=check(g, carried)))


def scan(g: GraphBuilder, call: TorchCall) -> list[Value]:
    """A step for every slice of the first dim, with carried states and stacked results."""
    body, states, sequences = call.params["0"], list(call.params["1"]), list(call.params["2"])
    further = list(call.params.get("3") or [])

    def step(inner: GraphBuilder, *values: Value) -> list[Value]:
        return [as_value(inner, r) for r in body(inner, *values, *further)]

    return list(g.Scan(step, [as_value(g, s) for s in states], sequences))


def map_(g: GraphBuilder, call: TorchCall) -> list[Value]:
    """The same function for every slice of the first dim."""
    body, sequences = call.params["0"], list(call.params["1"])
    further = list(call.params.get("2") or [])

    def step(inner: GraphBuilder, *values: Value) -> list[Value]:
        return [as_value(inner, r) for r in body(inner, *values, *further)]

    return list(g.Scan(step, [], sequences))


def associative_scan(g: GraphBuilder, call: TorchCall) -> list[Value]:
    """Running combination along the first dim, one after the other."""
    combine, sequences = call.params["0"], list(call.params["1"])
    further = list(call.params.get("2") or [])
    n = len(sequences)
    firsts = [g.Gather(s, g.const(np.asarray(0, np.int64)), axis=0) for s in sequences]
    rests = [g.Slice(s, [1], [np.iinfo(np.int64).max], [0]) for s in sequences]

    def step(inner: GraphBuilder, *values: Value) -> list[Value]:
        results = [as_value(inner, r) for r in combine(inner, *values, *further)]
        return [*results, *(inner.op("Identity", r) for r in results)]

    later = g.Scan(step, firsts, rests)[n:]
    return [g.op("Concat", g.Unsqueeze(f, 0), r, axis=0) for f, r in zip(firsts, later, strict=True)]


def inlined(g: GraphBuilder, call: TorchCall) -> list[Any]:
    """A region under another gradient mode or autocast: its nodes in place."""
    position = next(k for k, v in enumerate(call.params.values()) if callable(v) and hasattr(v, "module"))
    values = list(call.params.values())
    graph = values[position]
    before = graph.walker.autocast
    if call.key.endswith("wrap_with_autocast"):
        _device, _dtype, enabled, *_ = values
        graph.walker.autocast = bool(enabled)
    try:
        results: list[Any] = graph(g, *values[position + 1 :])
    finally:
        graph.walker.autocast = before
    return results
