"""Matrix products by groups of rows: what the experts of a mixture compute."""

from __future__ import annotations

import numpy as np

from any2onnx.converters.pytorch.call import TorchCall, refuse
from any2onnx.graph.builder import GraphBuilder
from any2onnx.graph.types import DataType, Dim, Value, dims_of, dtype_of, rank_of


def grouped_mm(g: GraphBuilder, call: TorchCall) -> Value:
    """aten._grouped_mm: rows [N, in] in groups, a matrix [in, out] for each, or a product batch by batch."""
    rows, weight, ends = call.params["self"], call.params["mat2"], call.params["offs"]
    if ends is None:
        return _plus(g, g.MatMul(rows, weight), call.params["bias"])
    if rank_of(rows) != 2 or rank_of(weight) != 3:
        raise refuse(call, "offs", "only the rows of self can be in groups")
    if call.params["bias"] is not None:
        raise refuse(call, "bias", "it is not defined together with offs")
    return g.Cast(by_groups(g, rows, weight, ends), call.dtype)


def grouped_mm_of_library(g: GraphBuilder, call: TorchCall) -> Value:
    """transformers.grouped_mm_fallback: the same as an operator of the transformers library."""
    return by_groups(g, call.params["input"], call.params["weight"], call.params["offs"])


def _plus(g: GraphBuilder, product: Value, bias: Value | None) -> Value:
    return product if bias is None else g.Add(product, bias)


def by_groups(g: GraphBuilder, rows: Value, weight: Value, ends: Value) -> Value:
    """Return each group of rows times its matrix; rows behind the last group give zeros.

    A Loop runs over the groups that have rows, so that a step with few tokens reads the weights of few experts.

    Args:
        g: The builder.
        rows: [N, in], group after group.
        weight: [groups, in, out].
        ends: For each group, the number of the row behind its last one, int.
    """
    ends = g.Cast(ends, DataType.INT64)
    starts = g.op("Concat", g.const(np.zeros(1, np.int64)), g.Slice(ends, [0], [-1], [0]), axis=0)
    used = g.Squeeze(g.op("NonZero", g.Greater(ends, starts)), 0)
    weight, swapped = _unswapped(weight)
    dtype = dtype_of(rows)
    width = g.Shape(weight, start=1 if swapped else 2, end=2 if swapped else 3)
    zero = g.const(np.zeros((), dtype.numpy()))
    empty = g.op("Expand", zero, g.op("Concat", g.const(np.zeros(1, np.int64)), width, axis=0))

    def body(inner_g: GraphBuilder, step: Value, condition: Value, done: Value) -> list[Value]:
        group = inner_g.op("Gather", used, step, axis=0)
        first, last = (inner_g.Unsqueeze(inner_g.op("Gather", v, group, axis=0), 0) for v in (starts, ends))
        part = inner_g.Slice(rows, first, last, inner_g.const(np.zeros(1, np.int64)))
        product = inner_g.MatMul(part, _matrix(inner_g, weight, swapped, group))
        return [inner_g.op("Identity", condition), inner_g.op("Concat", done, product, axis=0)]

    trips = g.Squeeze(g.Shape(used), 0)
    (product,) = g.Loop(body, [empty], trip_count=trips, condition=True, state_shapes=[(None, _width(weight, swapped))])
    missing = g.Sub(g.Shape(rows, start=0, end=1), g.Shape(product, start=0, end=1))
    rest = g.op("Expand", zero, g.op("Concat", missing, width, axis=0))
    return g.op("Concat", product, rest, axis=0)


def _unswapped(weight: Value) -> tuple[Value, bool]:
    """Return the weight in front of a Transpose of its last two dims: one expert's matrix is turned, not all."""
    producer = weight.producer()
    if producer is not None and producer.op_type == "Transpose" and producer.inputs[0] is not None:
        perm = producer.attributes["perm"].as_ints() if "perm" in producer.attributes else None
        if perm is not None and tuple(perm) == (0, 2, 1):
            return producer.inputs[0], True
    return weight, False


def _matrix(g: GraphBuilder, weight: Value, swapped: bool, group: Value) -> Value:
    matrix = g.op("Gather", weight, group, axis=0)
    return g.Transpose(matrix, perm=[1, 0]) if swapped else matrix


def _width(weight: Value, swapped: bool) -> Dim:
    dims = dims_of(weight.shape)
    return None if dims is None else dims[1 if swapped else 2]
