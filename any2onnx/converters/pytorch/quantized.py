"""Operators of pt2e-quantized models (quantized_decomposed.*) as QuantizeLinear and DequantizeLinear.

torch multiplies by the reciprocal of the scale where QuantizeLinear divides by it: a value that lies within rounding of
the middle between two levels may come out one level apart. Runtimes find their integer kernels by these operators.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from any2onnx.converters.pytorch.call import TorchCall, as_type, refuse, scalar
from any2onnx.graph.builder import GraphBuilder
from any2onnx.graph.kernels import has_kernel
from any2onnx.graph.types import DataType, Value, dtype_of, rank_of

# Element types of ONNX's quantization operators in every opset.
_LEVELS = {DataType.INT8: (-128, 127), DataType.UINT8: (0, 255)}


def quantize_per_tensor(g: GraphBuilder, call: TorchCall) -> Value:
    """Levels of one scale and zero point, given as numbers or tensors."""
    p = call.params
    return _quantized(g, call, p["input"], _single(g, p["scale"]), _single(g, p["zero_point"]), None)


def dequantize_per_tensor(g: GraphBuilder, call: TorchCall) -> Value:
    """Numbers of levels of one scale and zero point."""
    p = call.params
    return _numbers(g, call, p["input"], _single(g, p["scale"]), _single(g, p["zero_point"]), None)


def quantize_per_channel(g: GraphBuilder, call: TorchCall) -> Value:
    """Levels of a scale and zero point for each position along an axis."""
    p = call.params
    return _quantized(g, call, p["input"], p["scales"], p["zero_points"], p["axis"])


def dequantize_per_channel(g: GraphBuilder, call: TorchCall) -> Value:
    """Numbers of levels of a scale and zero point for each position along an axis."""
    p = call.params
    return _numbers(g, call, p["input"], p["scales"], p["zero_points"], p["axis"])


def _single(g: GraphBuilder, number: Any) -> Any:
    if not isinstance(number, Value):
        return number
    return g.Reshape(number, g.const(np.zeros(0, np.int64))) if rank_of(number) else number


def _runs(g: GraphBuilder, op_type: str, before: DataType, after: DataType) -> bool:
    """Whether onnxruntime has the operator at this opset: the newest are ahead of it."""
    new = g.opsets.main >= 23  # the scale has a type parameter of its own from there on
    return has_kernel("", op_type, g.opsets.main, (("T1", before), ("T3" if new else "T2", after)))


def _limits(call: TorchCall) -> tuple[Any, Any]:
    return call.params["quant_min"], call.params["quant_max"]


def _quantized(g: GraphBuilder, call: TorchCall, x: Value, scale: Any, zero_point: Any, axis: int | None) -> Value:
    x = g.Cast(x, DataType.FLOAT)
    scale, dtype = as_type(g, scale, DataType.FLOAT), call.dtype
    low, high = _limits(call)
    if dtype not in _LEVELS or not _runs(g, "QuantizeLinear", DataType.FLOAT, dtype):
        return _leveled(g, call, x, _along(g, x, scale, axis), _along(g, x, zero_point, axis))
    levels = g.op("QuantizeLinear", x, scale, as_type(g, zero_point, dtype), axis=axis)
    if (low, high) == _LEVELS[dtype]:
        return levels
    return g.op("Min", g.op("Max", levels, as_type(g, low, dtype)), as_type(g, high, dtype))


def _numbers(g: GraphBuilder, call: TorchCall, levels: Value, scale: Any, zero_point: Any, axis: int | None) -> Value:
    scale = as_type(g, scale, DataType.FLOAT)
    if dtype_of(levels) in _LEVELS and _runs(g, "DequantizeLinear", dtype_of(levels), DataType.FLOAT):
        zero = None if zero_point is None else as_type(g, zero_point, dtype_of(levels))
        return g.Cast(g.op("DequantizeLinear", levels, scale, zero, axis=axis), call.dtype)
    wide = g.Cast(levels, DataType.INT32)
    if zero_point is not None:
        wide = g.Sub(wide, as_type(g, _along(g, levels, zero_point, axis), DataType.INT32))
    return g.Cast(g.Mul(g.Cast(wide, DataType.FLOAT), _along(g, levels, scale, axis)), call.dtype)


def _along(g: GraphBuilder, x: Value, value: Any, axis: int | None) -> Any:
    """Return a vector so shaped that it broadcasts along an axis of x."""
    if axis is None or not isinstance(value, Value):
        return value
    after = rank_of(x) - 1 - axis % rank_of(x)
    return g.Unsqueeze(value, list(range(1, 1 + after))) if after else value


def _leveled(g: GraphBuilder, call: TorchCall, x: Value, scale: Value, zero_point: Any) -> Value:
    """Levels step by step, as torch has it: for types without ONNX operators, tokens and groups."""
    low, high = (as_type(g, limit, dtype_of(x)) for limit in _limits(call))
    levels = g.Round(g.Mul(x, g.Reciprocal(g.Cast(scale, dtype_of(x)))))
    levels = g.Add(levels, as_type(g, zero_point, dtype_of(x)))
    return g.Cast(g.Min(g.Max(levels, low), high), call.dtype)


# --- quantized and back, in one operator ----------------------------------------------------------------------------


def fake_quantize(g: GraphBuilder, call: TorchCall) -> tuple[Value, Value]:
    """Numbers rounded to levels, and which lie within them: a QuantizeLinear and a DequantizeLinear in 8 bits."""
    p = call.params
    x, axis = p["self"], p.get("axis")
    scale, zero = (p.get(name, p.get(f"{name}s")) for name in ("scale", "zero_point"))
    if axis is None:
        scale, zero = _single(g, scale), _single(g, zero)
    low, high = _limits(call)
    dtype = next((d for d, (first, last) in _LEVELS.items() if first <= low and high <= last), None)
    wide = g.Cast(x, DataType.FLOAT)
    spread, point = _along(g, x, scale, axis), _along(g, x, zero, axis)
    placed = g.Mul(wide, g.Reciprocal(as_type(g, spread, DataType.FLOAT)))
    placed = g.Round(g.Add(placed, as_type(g, point, DataType.FLOAT)))
    inside = g.And(
        g.GreaterOrEqual(placed, scalar(g, low, DataType.FLOAT)), g.LessOrEqual(placed, scalar(g, high, DataType.FLOAT))
    )
    if dtype is not None and all(
        _runs(g, op_type, a, b)
        for op_type, a, b in (("QuantizeLinear", DataType.FLOAT, dtype), ("DequantizeLinear", dtype, DataType.FLOAT))
    ):
        factor, middle = as_type(g, scale, DataType.FLOAT), as_type(g, zero, dtype)
        levels = g.op("QuantizeLinear", wide, factor, middle, axis=axis)
        if (low, high) != _LEVELS[dtype]:
            levels = g.op("Min", g.op("Max", levels, as_type(g, low, dtype)), as_type(g, high, dtype))
        result = g.op("DequantizeLinear", levels, factor, middle, axis=axis)
    else:
        cut = g.Min(g.Max(placed, scalar(g, low, DataType.FLOAT)), scalar(g, high, DataType.FLOAT))
        result = g.Mul(
            g.Sub(cut, as_type(g, point, DataType.FLOAT)),
            as_type(g, spread, DataType.FLOAT),
        )
    enabled = p.get("fake_quant_enabled")
    if enabled is not None:
        result = g.Where(g.Equal(_single(g, enabled), scalar(g, 0, dtype_of(enabled))), wide, result)
    return g.Cast(result, call.dtype), inside


# --- tokens and groups ----------------------------------------------------------------------------------------------


def quantize_per_token(g: GraphBuilder, call: TorchCall) -> Value:
    """Levels of a scale and zero point for each row."""
    p = call.params
    return _rounded_after(g, call, p["input"], p["scales"], p["zero_points"])


def _rounded_after(g: GraphBuilder, call: TorchCall, x: Value, scales: Value, zero_points: Value) -> Value:
    # Here torch rounds behind the zero point, and in the wider type.
    dtype = DataType.DOUBLE if DataType.DOUBLE in (dtype_of(x), dtype_of(scales)) else DataType.FLOAT
    low, high = (as_type(g, limit, dtype) for limit in _limits(call))
    levels = g.Mul(g.Cast(x, dtype), g.Reciprocal(g.Cast(scales, dtype)))
    levels = g.Round(g.Add(levels, g.Cast(zero_points, dtype)))
    return g.Cast(g.Min(g.Max(levels, low), high), call.dtype)


def dequantize_per_token(g: GraphBuilder, call: TorchCall) -> Value:
    """Numbers of levels of a scale and zero point for each row."""
    p = call.params
    return _spread(g, call, p["input"], p["scales"], p["zero_points"])


def _spread(g: GraphBuilder, call: TorchCall, levels: Value, scales: Value, zero_points: Value | None) -> Value:
    wide = g.Cast(levels, dtype_of(scales))
    if zero_points is not None:
        wide = g.Sub(wide, g.Cast(zero_points, dtype_of(scales)))
    return g.Cast(g.Mul(wide, scales), call.dtype)


def quantize_per_channel_group(g: GraphBuilder, call: TorchCall) -> Value:
    """Levels of a scale and zero point for each group within a row."""
    grouped, scales, zeros = _groups(g, call)
    assert zeros is not None
    return g.Reshape(_rounded_after(g, call, grouped, scales, zeros), call.shape(g))


def dequantize_per_channel_group(g: GraphBuilder, call: TorchCall) -> Value:
    """Numbers of levels of a scale and zero point for each group within a row."""
    return g.Reshape(_spread(g, call, *_groups(g, call)), call.shape(g))


def _groups(g: GraphBuilder, call: TorchCall) -> tuple[Value, Value, Value | None]:
    p = call.params
    x, width = p["input"], call.dims_of("input")[-1]
    if not isinstance(width, int):
        raise refuse(call, "input", "the width of the rows is dynamic")
    size = min(int(p["group_size"]), width)
    zeros = p["zero_points"]
    return (
        g.Reshape(x, [-1, size]),
        g.Reshape(p["scales"], [-1, 1]),
        None if zeros is None else g.Reshape(zeros, [-1, 1]),
    )


# --- scales from the data -------------------------------------------------------------------------------------------


def choose_qparams(g: GraphBuilder, call: TorchCall) -> tuple[Value, Value]:
    """Scale, float64, and zero point, int64, of a whole tensor, one element each."""
    low, high = _extremes(g, call.params["input"], None)
    first, last = call.params["quant_min"], call.params["quant_max"]
    dtype = dtype_of(low)
    scale = g.Div(g.Sub(high, low), scalar(g, float(last - first), dtype))
    scale = g.Max(scale, scalar(g, call.params["eps"], dtype))
    point = g.Sub(scalar(g, first, dtype), g.Round(g.Div(low, scale)))
    point = g.Min(g.Max(point, scalar(g, first, dtype)), scalar(g, last, dtype))
    return _vector(g, scale, DataType.DOUBLE), _vector(g, point, DataType.INT64)


def choose_qparams_symmetric(g: GraphBuilder, call: TorchCall) -> tuple[Value, Value]:
    """Scale and zero point of a whole tensor; zero is in the middle."""
    low, high = _extremes(g, call.params["input"], None)
    first, last = call.params["quant_min"], call.params["quant_max"]
    dtype = dtype_of(low)
    scale = g.Div(g.Max(g.Neg(low), high), scalar(g, (last - first) / 2, dtype))
    scale = g.Max(scale, scalar(g, call.params["eps"], dtype))
    middle = 128 if "uint8" in str(call.params["dtype"]) else 0
    return _vector(g, scale, DataType.DOUBLE), g.const(np.asarray([middle], np.int64))


def choose_qparams_per_token_asymmetric(g: GraphBuilder, call: TorchCall) -> tuple[Value, Value]:
    """Scale and zero point of int8 for each row."""
    low, high = _extremes(g, call.params["input"], -1)
    dtype = dtype_of(low)
    scale = g.Div(g.Sub(high, low), scalar(g, 255.0, dtype))
    scale = g.Max(scale, scalar(g, float(np.finfo(np.float32).eps), dtype))
    first, last = scalar(g, -128, dtype), scalar(g, 127, dtype)
    bottom, top = g.Div(low, scale), g.Div(high, scale)
    error = g.Add(g.Add(first, bottom), g.Add(last, top))
    point = g.Where(g.Greater(error, scalar(g, 0, dtype)), g.Sub(first, bottom), g.Sub(last, top))
    point = g.Round(g.Min(g.Max(point, first), last))
    return g.Cast(scale, DataType.DOUBLE), g.Cast(point, DataType.INT64)


def _extremes(g: GraphBuilder, x: Value, axis: int | None) -> tuple[Value, Value]:
    """Return smallest and largest element, zero among them."""
    zero = scalar(g, 0, dtype_of(x))
    low, high = (reduce(x, axis, keepdims=axis is not None) for reduce in (g.ReduceMin, g.ReduceMax))
    return g.Min(low, zero), g.Max(high, zero)


def _vector(g: GraphBuilder, number: Value, dtype: DataType) -> Value:
    return g.Unsqueeze(g.Cast(number, dtype), 0)
