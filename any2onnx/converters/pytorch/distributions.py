"""Random numbers of distributions that ONNX has no operator for: the same distribution as torch's, other numbers."""

from __future__ import annotations

from typing import Any

from any2onnx.converters.pytorch.call import TorchCall, as_type, scalar
from any2onnx.converters.pytorch.creation import uniform_values
from any2onnx.graph.builder import GraphBuilder
from any2onnx.graph.types import DataType, Value, dtype_of

# torch draws whole numbers up to 2 to the power of the mantissa's bits into floats, up to the largest into integers.
_HIGHEST = {
    DataType.FLOAT16: 2**11,
    DataType.BFLOAT16: 2**8,
    DataType.FLOAT: 2**24,
    DataType.DOUBLE: 2**53,
    DataType.BOOL: 1,
    DataType.UINT8: 2**8 - 1,
    DataType.INT8: 2**7 - 1,
    DataType.INT16: 2**15 - 1,
    DataType.INT32: 2**31 - 1,
    DataType.INT64: 2**63 - 1024,  # the largest below 2**63 that float64 holds
}


def randperm(g: GraphBuilder, call: TorchCall) -> Value:
    """The numbers below n in random order: the places of the largest of n random numbers."""
    count = call.sizes.vector(g, call.dims)
    start = g.Expand(scalar(g, 0, DataType.DOUBLE), count)
    keys = g.RandomUniformLike(start, dtype=int(DataType.DOUBLE))
    return g.Cast(g.TopK(keys, count, axis=0, largest=True, sorted=True)[1], call.dtype)


def random(g: GraphBuilder, call: TorchCall) -> Value:
    """Whole numbers in [from, to), or up to the largest that the type holds every one of, in the shape of self."""
    low, high = call.params.get("from", 0), call.params.get("to")
    unit = uniform_values(g, call, dtype=DataType.DOUBLE)
    top = _HIGHEST[call.dtype] + 1 if high is None else high
    width = g.Sub(as_type(g, top, DataType.DOUBLE), as_type(g, low, DataType.DOUBLE))
    return g.Cast(g.Add(as_type(g, low, DataType.DOUBLE), g.Floor(g.Mul(unit, width))), call.dtype)


def poisson(g: GraphBuilder, call: TorchCall) -> Value:
    """How many arrivals fit into the rate, exponential times apart; one step of a loop for each."""
    rate = g.Cast(call.first, DataType.DOUBLE)
    nothing = g.Mul(rate, scalar(g, 0, DataType.DOUBLE))

    def step(h: GraphBuilder, i: Value, going: Value, time: Value, count: Value) -> tuple[Value, Value, Value]:
        later = h.Sub(time, h.Log(_positive_unit(h, time)))
        fits = h.LessOrEqual(later, rate)
        return _any(h, fits), later, h.Add(count, h.Cast(fits, DataType.DOUBLE))

    return g.Cast(g.Loop(step, [nothing, nothing], condition=_any(g, g.LessOrEqual(nothing, rate)))[1], call.dtype)


def standard_gamma(g: GraphBuilder, call: TorchCall) -> Value:
    """Gamma random numbers of scale 1, by the method of Marsaglia and Tsang: drawn again until all are accepted."""
    shape = g.Cast(call.first, DataType.DOUBLE)
    one, third = scalar(g, 1, DataType.DOUBLE), scalar(g, 1 / 3, DataType.DOUBLE)
    small = g.Less(shape, one)
    raised = g.Sub(g.Where(small, g.Add(shape, one), shape), third)
    spread = g.Reciprocal(g.Sqrt(g.Mul(raised, scalar(g, 9, DataType.DOUBLE))))
    zeros = g.Mul(shape, scalar(g, 0, DataType.DOUBLE))

    def step(h: GraphBuilder, i: Value, going: Value, found: Value) -> tuple[Value, Value]:
        x = h.RandomNormalLike(found, dtype=int(DataType.DOUBLE))
        root = h.Add(one, h.Mul(spread, x))
        positive = h.Greater(root, scalar(h, 0, DataType.DOUBLE))
        v = h.Pow(h.Where(positive, root, one), scalar(h, 3, DataType.DOUBLE))
        half = h.Mul(h.Mul(x, x), scalar(h, 0.5, DataType.DOUBLE))
        bound = h.Add(half, h.Mul(raised, h.Add(h.Sub(one, v), h.Log(v))))
        taken = h.And(positive, h.Less(h.Log(_positive_unit(h, found)), bound))
        due = h.And(taken, h.Equal(found, scalar(h, 0, DataType.DOUBLE)))
        found = h.Where(due, h.Mul(raised, v), found)
        return _any(h, h.Equal(found, scalar(h, 0, DataType.DOUBLE))), found

    drawn = g.Loop(step, [zeros], condition=_any(g, g.Equal(zeros, zeros)))[0]
    # A shape below 1 is drawn one higher and brought down again.
    power = g.Pow(_positive_unit(g, shape), g.Reciprocal(g.Where(small, shape, one)))
    return g.Cast(g.Where(small, g.Mul(drawn, power), drawn), call.dtype)


def _positive_unit(g: GraphBuilder, like: Value) -> Value:
    return g.RandomUniformLike(like, low=2.0**-60, high=1.0, dtype=int(dtype_of(like)))


def _any(g: GraphBuilder, condition: Value) -> Value:
    most: Any = g.ReduceMax(g.Cast(g.Reshape(condition, [-1]), DataType.INT32), 0, keepdims=False)
    return g.Greater(most, scalar(g, 0, DataType.INT32))
