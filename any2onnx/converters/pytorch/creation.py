"""Tensors made from nothing: constants, ranges, random numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

from any2onnx.converters.pytorch.call import (
    INTEGERS,
    TorchCall,
    as_int_vector,
    as_type,
    filled,
    is_float,
    refuse,
    scalar,
)
from any2onnx.graph.builder import GraphBuilder
from any2onnx.graph.types import DataType, Value, rank_of


def full(g: GraphBuilder, call: TorchCall) -> Value:
    """One number everywhere: full, full_like, new_full."""
    return filled(g, call, call.params["fill_value"])


def zeros(g: GraphBuilder, call: TorchCall) -> Value:
    """Zeros; also for empty tensors, whose contents torch leaves open."""
    return filled(g, call, 0)


def ones(g: GraphBuilder, call: TorchCall) -> Value:
    """Ones."""
    return filled(g, call, 1)


def fill(g: GraphBuilder, call: TorchCall) -> Value:
    """One number, or the element of a zero-dim tensor, in the shape of self."""
    return filled(g, call, call.params["value"])


def scalar_tensor(g: GraphBuilder, call: TorchCall) -> Value:
    """A number as a zero-dim tensor."""
    return as_type(g, call.params["s"], call.dtype)


def arange(g: GraphBuilder, call: TorchCall) -> Value:
    """start, start + step, … up to end."""
    p = call.params
    start, step = p.get("start", 0), p.get("step", 1)
    numbers = (start, p["end"], step)
    dtype = call.dtype
    if all(not isinstance(v, Value) for v in numbers) and call.dims and isinstance(call.dims[0], int):
        # torch multiplies: start + k · step in float64, rounded once.
        count = int(call.dims[0])
        return g.const(_arange(start, step, count, dtype), name="range")
    real = any(is_float(v) if isinstance(v, Value) else isinstance(v, float) for v in numbers)
    if dtype == DataType.INT64 or (dtype in INTEGERS and not real):
        return g.Cast(g.Range(*(_int(g, v) for v in numbers)), dtype)
    # Of other integers torch cuts start and step as well, but counts up to the uncut end.
    wide = DataType.INT64 if dtype in INTEGERS else DataType.DOUBLE
    count_value = call.sizes.scalar(g, call.dims[0])
    steps = g.Cast(g.Range(*(_int(g, v) for v in (0, count_value, 1))), wide)
    line = g.Add(as_type(g, start, wide), g.Mul(steps, as_type(g, step, wide)))
    return g.Cast(line, dtype)


def _arange(start: Any, step: Any, count: int, dtype: DataType) -> Any:
    if dtype in INTEGERS:
        return (int(start) + np.arange(count, dtype=np.int64) * int(step)).astype(dtype.numpy())
    return (float(start) + np.arange(count, dtype=np.float64) * float(step)).astype(dtype.numpy())


def _int(g: GraphBuilder, number: Any) -> Value:
    return as_type(g, number, DataType.INT64)


def linspace(g: GraphBuilder, call: TorchCall) -> Value:
    """Numbers evenly spaced from start to end, both included; of integers torch cuts the ends first."""
    return g.Cast(_line(g, call, whole_ends=call.dtype in INTEGERS), call.dtype)


def logspace(g: GraphBuilder, call: TorchCall) -> Value:
    """Powers of base, their exponents evenly spaced."""
    base = as_type(g, call.params["base"], DataType.DOUBLE)
    if call.dtype in INTEGERS:
        # torch cuts the ends to whole numbers and spaces the exponents in float32.
        line = g.Cast(_line(g, call, DataType.FLOAT, whole_ends=True), DataType.DOUBLE)
        return g.Cast(g.Pow(base, line), call.dtype)
    return g.Cast(g.Pow(base, _line(g, call)), call.dtype)


def _line(g: GraphBuilder, call: TorchCall, dtype: DataType = DataType.DOUBLE, *, whole_ends: bool = False) -> Value:
    start, end = (as_type(g, call.params[n], DataType.INT64 if whole_ends else dtype) for n in ("start", "end"))
    start, end = g.Cast(start, dtype), g.Cast(end, dtype)
    count = call.sizes.scalar(g, call.dims[0])
    gaps = g.Max(g.Sub(count, _int(g, 1)), _int(g, 1))
    step = g.Div(g.Sub(end, start), g.Cast(gaps, dtype))
    k = g.Range(_int(g, 0), count, _int(g, 1))
    # The second half is counted from the end, as torch does: the last number is `end` exactly.
    forward = g.Add(start, g.Mul(step, g.Cast(k, dtype)))
    rest = g.Cast(g.Sub(g.Sub(count, _int(g, 1)), k), dtype)
    backward = g.Sub(end, g.Mul(step, rest))
    first_half = g.Less(k, g.Div(count, _int(g, 2)))
    line = g.Where(first_half, forward, backward)
    return g.Where(g.Equal(count, _int(g, 1)), start, line)


def eye(g: GraphBuilder, call: TorchCall) -> Value:
    """Ones on the diagonal."""
    shape = call.dims
    if all(isinstance(d, int) for d in shape):
        return g.const(np.eye(int(shape[0]), int(shape[1]), dtype=call.dtype.numpy()), name="eye")
    rows, columns = (g.Range(_int(g, 0), call.sizes.scalar(g, d), _int(g, 1)) for d in shape)
    return g.Cast(g.Equal(g.Unsqueeze(rows, 1), g.Unsqueeze(columns, 0)), call.dtype)


def triangle_indices(g: GraphBuilder, call: TorchCall) -> Value:
    """Row and column numbers of a triangle: tril_indices, triu_indices."""
    p = call.params
    if not all(isinstance(p[n], int) for n in ("row", "col", "offset")):
        raise refuse(call, "row", "the size is not known when the model is converted")
    function = np.tril_indices if "tril" in call.key else np.triu_indices
    indices = np.stack(function(p["row"], p["offset"], p["col"])).astype(call.dtype.numpy())
    return g.const(indices, name="indices")


# --- random numbers: the same distribution, other numbers -----------------------------------------------------------


def _shape_like(g: GraphBuilder, call: TorchCall, dtype: DataType) -> Value:
    return g.Expand(scalar(g, 0, dtype), call.shape(g)) if call.dims else scalar(g, 0, dtype)


def _wide(dtype: DataType) -> DataType:
    return dtype if dtype in (DataType.FLOAT, DataType.DOUBLE) else DataType.FLOAT


def uniform_values(
    g: GraphBuilder, call: TorchCall, low: float = 0.0, high: float = 1.0, *, dtype: DataType | None = None
) -> Value:
    """Return uniform random numbers in the call's result shape."""
    dtype = dtype or _wide(call.dtype)
    return g.RandomUniformLike(_shape_like(g, call, dtype), low=low, high=high, dtype=int(dtype))


def rand(g: GraphBuilder, call: TorchCall) -> Value:
    """Uniform random numbers in [0, 1)."""
    return g.Cast(uniform_values(g, call), call.dtype)


def randn(g: GraphBuilder, call: TorchCall) -> Value:
    """Normal random numbers."""
    dtype = _wide(call.dtype)
    return g.Cast(g.RandomNormalLike(_shape_like(g, call, dtype), dtype=int(dtype)), call.dtype)


def randint(g: GraphBuilder, call: TorchCall) -> Value:
    """Whole random numbers in [low, high)."""
    low, high = call.params.get("low", 0), call.params["high"]
    unit = g.RandomUniformLike(_shape_like(g, call, DataType.DOUBLE), dtype=int(DataType.DOUBLE))
    first = as_type(g, low, DataType.DOUBLE)
    width = g.Sub(as_type(g, high, DataType.DOUBLE), first)
    return g.Cast(g.Add(first, g.Floor(g.Mul(unit, width))), call.dtype)


def uniform(g: GraphBuilder, call: TorchCall) -> Value:
    """Uniform random numbers in [from, to) in the shape of self."""
    return g.Cast(uniform_values(g, call, float(call.params["from"]), float(call.params["to"])), call.dtype)


def normal(g: GraphBuilder, call: TorchCall) -> Value:
    """Normal random numbers of a mean and deviation in the shape of the result."""
    dtype = _wide(call.dtype)
    noise = g.RandomNormalLike(_shape_like(g, call, dtype), dtype=int(dtype))
    scaled = g.Mul(noise, as_type(g, call.params["std"], dtype))
    return g.Cast(g.Add(scaled, as_type(g, call.params["mean"], dtype)), call.dtype)


def bernoulli(g: GraphBuilder, call: TorchCall) -> Value:
    """1 with the probability of self, or `p`."""
    probability = call.params.get("p")
    chance = call.params["self"] if probability is None else probability
    dtype = _wide(call.dtype)
    unit = uniform_values(g, call)
    return g.Cast(g.Less(g.Cast(unit, dtype), as_type(g, chance, dtype)), call.dtype)


def multinomial(g: GraphBuilder, call: TorchCall) -> Value:
    """Positions drawn by weight: by the inverse distribution, or without replacement by Gumbel's largest noise."""
    weights = g.Cast(call.params["self"], DataType.DOUBLE)
    axis, count = rank_of(weights) - 1, call.params["num_samples"]
    unit_type = int(DataType.DOUBLE)
    if not call.params["replacement"]:
        unit = g.RandomUniformLike(weights, dtype=unit_type, low=2.0**-60, high=1.0)
        noise = g.Neg(g.Log(g.Neg(g.Log(unit))))
        keys = g.Add(g.Log(weights), noise)
        return g.TopK(keys, as_int_vector(g, [count]), axis=axis, largest=True, sorted=True)[1]
    cumulative = g.CumSum(weights, _int(g, axis))
    total = g.ReduceSum(weights, axis)
    shape = _shape_like(g, call, DataType.DOUBLE)
    draws = g.Mul(g.RandomUniformLike(shape, dtype=unit_type), total)
    passed = g.LessOrEqual(g.Unsqueeze(cumulative, axis), g.Unsqueeze(draws, axis + 1))
    return g.ReduceSum(g.Cast(passed, DataType.INT64), axis + 1, keepdims=False)
