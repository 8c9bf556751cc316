"""Numbers of categories to one_hot, multi_hot and count, as Keras's lookup and hashing layers encode them."""

from __future__ import annotations

import numpy as np

from any2onnx.graph.builder import GraphBuilder
from any2onnx.graph.types import DataType, Value, rank_of, shape_of

_FIRST_WITH_SUMS = 16
"""The first opset whose ScatterElements adds up."""


def encoded(g: GraphBuilder, index: Value, mode: str, depth: int, dtype: DataType) -> Value:
    """Encode category numbers as `keras.utils.numerical_utils.encode_categorical_inputs` does under TensorFlow.

    Args:
        g: Builder.
        index: Integers; those outside of 0 … depth - 1 count nowhere.
        mode: "int", "one_hot", "multi_hot" or "count".
        depth: Number of categories.
        dtype: Of the result.

    Returns:
        one_hot: a new last dim, in the place of one of size 1. multi_hot and count: of a vector one row for all of it,
        of a matrix one row each; of more dims the second one is summed over, which is what Keras does.
    """
    index = g.Cast(index, DataType.INT64)
    if mode == "int":
        return g.Cast(index, dtype)
    rank = rank_of(index)
    if mode == "one_hot":
        if rank > 1 and shape_of(index)[-1] == 1:
            index, rank = g.Squeeze(index, rank - 1), rank - 1
        return g.Cast(g.Equal(g.Unsqueeze(index, rank), np.arange(depth, dtype=np.int64)), dtype)
    if rank == 1:
        return g.Squeeze(_per_row(g, g.Unsqueeze(index, 0), mode, depth, dtype), 0)
    if rank == 2:
        return _per_row(g, index, mode, depth, dtype)
    hits = g.Cast(g.Equal(g.Unsqueeze(index, rank), np.arange(depth, dtype=np.int64)), dtype)
    return g.ReduceMax(hits, 1, keepdims=False) if mode == "multi_hot" else g.ReduceSum(hits, 1, keepdims=False)


def _per_row(g: GraphBuilder, index: Value, mode: str, depth: int, dtype: DataType) -> Value:
    """Return which numbers 0 … depth - 1 are in the rows of a matrix, or how often."""
    if mode == "count" and g.opsets.main < _FIRST_WITH_SUMS:
        hits = g.Cast(g.Equal(g.Unsqueeze(index, 2), np.arange(depth, dtype=np.int64)), dtype)
        return g.ReduceSum(hits, 1, keepdims=False)
    # Memory for [rows, depth] only: vocabularies and documents are long. Other numbers go to a column of their own.
    zero, last = g.const(np.asarray(0, np.int64)), g.const(np.asarray(depth, np.int64))
    inside = g.And(g.GreaterOrEqual(index, zero), g.Less(index, last))
    column = g.Where(inside, index, last)
    room = g.Expand(g.const(np.asarray(0, dtype.numpy())), g.shape_vector([g.dim(index, 0), depth + 1]))
    ones = g.Expand(g.const(np.asarray(1, dtype.numpy())), g.Shape(index))
    reduction = "add" if mode == "count" else None
    found = g.Slice(g.op("ScatterElements", room, column, ones, axis=1, reduction=reduction), [0], [depth], [1])
    return g.annotate(found, (shape_of(index)[0], depth))
