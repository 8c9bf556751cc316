"""Recorded control flow as If, Loop and Scan."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from any2onnx.converters.keras.tracing_tape import Constant, Entry, Tape
from any2onnx.graph.builder import GraphBuilder
from any2onnx.graph.types import DataType, Value, rank_of, shape_of

if TYPE_CHECKING:
    from any2onnx.converters.keras.tracing_replay import Replay


def _body(replay: Replay, g: GraphBuilder, tape: Tape, env: Any, values: Sequence[Value]) -> list[Value]:
    """Convert a body in its builder, with values for its parameters."""
    inner = replay.child(env)
    for tensor, value in zip(tape.parameters, values, strict=True):
        inner[tensor.index] = value
    return list(replay.run(g, tape, inner))


def _scalar(g: GraphBuilder, value: Any, dtype: str) -> Value:
    """Return a number, an Extent or a one-element tensor as a scalar."""
    from any2onnx.converters.keras.tracing_replay import Extent

    if isinstance(value, Extent):
        value = value.value
    if not isinstance(value, Value):
        return g.const(np.asarray(value, dtype))
    value = g.Cast(value, dtype)
    return value if rank_of(value) == 0 else g.Reshape(value, [])


def _cond(replay: Replay, g: GraphBuilder, entry: Entry, env: Any) -> tuple[Value, ...]:
    condition = _scalar(g, replay.value(g, entry.params["pred"], env), "bool")
    first, second = entry.bodies
    return g.If(
        condition,
        lambda inner: _body(replay, inner, first, env, ()),
        lambda inner: _body(replay, inner, second, env, ()),
    )


def _switch(replay: Replay, g: GraphBuilder, entry: Entry, env: Any) -> tuple[Value, ...]:
    index = _scalar(g, replay.value(g, entry.params["index"], env), "int64")
    return _choose(replay, g, entry.bodies, index, 0, env)


def _choose(replay: Replay, g: GraphBuilder, bodies: list[Tape], index: Value, k: int, env: Any) -> tuple[Value, ...]:
    # Below the first branch counts as the first, above the last as the last.
    if len(bodies) == 1:
        return tuple(_body(replay, g, bodies[0], env, ()))
    return g.If(
        g.LessOrEqual(index, np.asarray(k, np.int64)),
        lambda inner: _body(replay, inner, bodies[0], env, ()),
        lambda inner: _choose(replay, inner, bodies[1:], index, k + 1, env),
    )


def _initial(replay: Replay, g: GraphBuilder, entry: Entry, env: Any, name: str = "init") -> list[Value]:
    """Return the initial states; their shapes hold in every step (the recorder has checked it)."""
    return [replay.value(g, t, env) for t in entry.params[name]]


def _while(replay: Replay, g: GraphBuilder, entry: Entry, env: Any) -> tuple[Value, ...]:
    test, body = entry.bodies
    states = _initial(replay, g, entry, env)
    limit = replay.value(g, entry.params["maximum_iterations"], env)
    inner_env = replay.child(env)
    for tensor, value in zip(test.parameters, states, strict=True):
        inner_env[tensor.index] = value
    start = _scalar(g, replay.run(g, test, inner_env)[0], "bool")

    def step(inner: GraphBuilder, iteration: Value, condition: Value, *values: Value) -> list[Value]:
        after = _body(replay, inner, body, env, values)
        again = _body(replay, inner, test, env, after)[0]
        return [_scalar(inner, again, "bool"), *after]

    trips = None if limit is None else _scalar(g, limit, "int64")
    return g.Loop(step, states, trip_count=trips, condition=start)


def _fori(replay: Replay, g: GraphBuilder, entry: Entry, env: Any) -> tuple[Value, ...]:
    (body,) = entry.bodies
    states = _initial(replay, g, entry, env)
    lower = _scalar(g, replay.value(g, entry.params["lower"], env), "int64")
    upper = _scalar(g, replay.value(g, entry.params["upper"], env), "int64")

    def step(inner: GraphBuilder, iteration: Value, condition: Value, *values: Value) -> list[Value]:
        number = inner.Cast(inner.Add(iteration, lower), DataType.INT32)
        return [inner.const(np.asarray(True)), *_body(replay, inner, body, env, [number, *values])]

    # A negative number of steps is none.
    trips = g.Max(g.Sub(upper, lower), np.asarray(0, np.int64))
    return g.Loop(step, states, trip_count=trips)


def _scan(replay: Replay, g: GraphBuilder, entry: Entry, env: Any) -> tuple[Value, ...]:
    (body,) = entry.bodies
    states = _initial(replay, g, entry, env)
    sequences = _initial(replay, g, entry, env, "xs")
    backwards, outputs_backwards = entry.params["reverse"], entry.params["reverse_outputs"]
    length = next((d for v in sequences if isinstance(d := shape_of(v)[0], int)), None)
    if length:
        return g.Scan(
            lambda inner, *values: _body(replay, inner, body, env, values),
            states,
            sequences,
            reverse=backwards,
            reverse_outputs=outputs_backwards,
        )
    # onnxruntime's Scan refuses sequences of length 0, which a dynamic dim can have: a Loop takes them.
    count = g.Reshape(g.dim(sequences[0], 0), [])
    last = g.Sub(count, np.asarray(1, np.int64))

    def step(inner: GraphBuilder, iteration: Value, condition: Value, *values: Value) -> list[Value]:
        place = inner.Sub(last, iteration) if backwards else iteration
        slices = [inner.Gather(v, place, axis=0) for v in sequences]
        return [inner.const(np.asarray(True)), *_body(replay, inner, body, env, [*values, *slices])]

    results = g.Loop(step, states, trip_count=count)
    final, stacked = results[: len(states)], results[len(states) :]
    size = shape_of(sequences[0])[0]
    stacked = tuple(g.annotate(v, (size, *shape_of(v)[1:])) for v in stacked)
    if outputs_backwards:
        lowest = int(np.iinfo(np.int64).min)
        stacked = tuple(g.Slice(v, [-1], [lowest], [0], [-1]) for v in stacked)
    return (*final, *stacked)


CONTROL: Final[Mapping[str, Callable[..., tuple[Value, ...]]]] = {
    "#cond": _cond,
    "#switch": _switch,
    "#while": _while,
    "#fori": _fori,
    "#scan": _scan,
}

__all__ = ["CONTROL", "Constant"]
