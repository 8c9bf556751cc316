"""The parts of floating-point numbers: exponent and fraction, neighbours. ONNX has no view of their bits."""

from __future__ import annotations

import math

import ml_dtypes
import numpy as np

from any2onnx.converters.pytorch.call import TorchCall, as_type, scalar
from any2onnx.graph.builder import GraphBuilder
from any2onnx.graph.types import DataType, Value, dtype_of

DOUBLE = DataType.DOUBLE
# Subnormal float64 numbers are brought into the normal range by this power of two.
_LIFT = 54


def split_float(g: GraphBuilder, size: Value) -> tuple[Value, Value]:
    """Return fraction in [1/2, 1) and exponent (both float64) of finite positive float64 numbers."""
    one, two, half = (scalar(g, v, DOUBLE) for v in (1.0, 2.0, 0.5))
    small = g.Less(size, scalar(g, float(np.finfo(np.float64).tiny), DOUBLE))
    lifted = g.Where(small, g.Mul(size, scalar(g, 2.0**_LIFT, DOUBLE)), size)
    exponent = g.Add(g.Floor(g.Div(g.Log(lifted), scalar(g, math.log(2), DOUBLE))), one)
    # In two steps: 2 ** 1024 is no number.
    first = g.Floor(g.Mul(exponent, half))
    fraction = g.Mul(lifted, g.Pow(two, g.Neg(first)))
    fraction = g.Mul(fraction, g.Pow(two, g.Sub(first, exponent)))
    # The logarithm may round to the wrong side of a power of two.
    high, low = g.GreaterOrEqual(fraction, one), g.Less(fraction, half)
    fraction = g.Where(high, g.Mul(fraction, half), g.Where(low, g.Mul(fraction, two), fraction))
    shift = g.Where(high, one, g.Where(low, scalar(g, -1.0, DOUBLE), scalar(g, 0.0, DOUBLE)))
    lift = g.Where(small, scalar(g, float(_LIFT), DOUBLE), scalar(g, 0.0, DOUBLE))
    return fraction, g.Sub(g.Add(exponent, shift), lift)


def frexp(g: GraphBuilder, call: TorchCall) -> tuple[Value, Value]:
    """Fraction and exponent; zero, infinity and NaN stay, with the exponent 0."""
    x = g.Cast(call.first, DOUBLE)
    size = g.Abs(x)
    zero = scalar(g, 0.0, DOUBLE)
    usual = g.And(g.Greater(size, zero), g.Less(size, scalar(g, math.inf, DOUBLE)))
    fraction, exponent = split_float(g, g.Where(usual, size, scalar(g, 1.0, DOUBLE)))
    fraction = g.Where(usual, g.Mul(fraction, g.Sign(x)), x)
    exponent = g.Where(usual, exponent, zero)
    return g.Cast(fraction, dtype_of(call.first)), g.Cast(exponent, DataType.INT32)


def nextafter(g: GraphBuilder, call: TorchCall) -> Value:
    """The neighbour of self on the way to other."""
    limits = ml_dtypes.finfo(call.dtype.numpy())  # type: ignore[no-untyped-call]
    x, y = (as_type(g, call.params[n], DOUBLE) for n in ("self", "other"))
    zero, one, half = (scalar(g, v, DOUBLE) for v in (0.0, 1.0, 0.5))
    if call.dims:
        x, y = g.Expand(x, call.shape(g)), g.Expand(y, call.shape(g))
    size = g.Abs(x)
    inward = g.Or(g.And(g.Greater(x, zero), g.Less(y, x)), g.And(g.Less(x, zero), g.Greater(y, x)))
    usual = g.And(g.Greater(size, zero), g.Less(size, scalar(g, math.inf, DOUBLE)))
    fraction, exponent = split_float(g, g.Where(usual, size, one))
    # Towards zero a power of two has a closer neighbour.
    closer = g.And(inward, g.Equal(fraction, half))
    exponent = g.Sub(exponent, g.Where(closer, one, zero))
    lowest = scalar(g, float(math.log2(float(limits.smallest_subnormal))), DOUBLE)
    gap_exponent = g.Max(g.Sub(exponent, scalar(g, float(limits.nmant + 1), DOUBLE)), lowest)
    # 2 ** -1074 by two factors, each a normal number.
    first = g.Floor(g.Mul(gap_exponent, half))
    two = scalar(g, 2.0, DOUBLE)
    gap = g.Mul(g.Pow(two, first), g.Pow(two, g.Sub(gap_exponent, first)))
    up = g.Greater(y, x)
    moved = g.Add(x, g.Where(up, gap, g.Neg(gap)))
    infinite = g.Equal(size, scalar(g, math.inf, DOUBLE))
    largest = scalar(g, float(limits.max), DOUBLE)
    moved = g.Where(infinite, g.Where(up, g.Neg(largest), largest), moved)
    result = g.Where(g.Equal(x, y), y, moved)
    return g.Cast(g.Where(g.Or(g.IsNaN(x), g.IsNaN(y)), scalar(g, math.nan, DOUBLE), result), call.dtype)
