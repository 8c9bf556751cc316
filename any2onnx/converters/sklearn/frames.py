"""Putting columns side by side, whatever their element types, and taking them apart again."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any

from any2onnx.converters.sklearn.frame import Frame
from any2onnx.converters.sklearn.support import INTEGERS, as_column, hstack, width_of, working_type
from any2onnx.graph.builder import GraphBuilder
from any2onnx.graph.types import DataType, Value, dtype_of
from any2onnx.operator_mappings.mapping import Call


def join(g: GraphBuilder, call: Call, values: Sequence[Value]) -> Value | Frame:
    """Concatenate columns as numpy would: one type stays, integers widen to int64, other numbers to the working type.

    Text beside numbers stays apart from them, as a frame.
    """
    parts = [as_column(g, value) for value in values]
    types = {dtype_of(part) for part in parts}
    if len(types) == 1:
        return hstack(g, parts)
    if DataType.STRING in types:
        return framed(g, parts)
    return hstack(g, parts, DataType.INT64 if types <= INTEGERS else working_type(call))


def framed(g: GraphBuilder, parts: Sequence[Value]) -> Value | Frame:
    """Return columns in their own types, neighbours of one type as one matrix."""
    blocks = [hstack(g, list(same)) for _, same in groupby(parts, key=dtype_of)]
    return blocks[0] if len(blocks) == 1 else Frame(blocks)


def values_of(result: Any) -> tuple[Value, ...]:
    """Return the matrices of a transformer's result."""
    return tuple(result) if isinstance(result, Frame) else (result,)


def separate(g: GraphBuilder, frame: Frame) -> tuple[Value, ...]:
    """Return every column of a frame on its own, as [N, 1]: no tensor of ONNX holds them together."""
    columns: list[Value] = []
    for block in frame:
        width = width_of(block)
        columns.extend(g.Split(block, [1] * width, axis=1) if width > 1 else (block,))
    return tuple(columns)
