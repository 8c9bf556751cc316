"""Taking texts apart and joining them again.

Taking text apart needs the Tokenizer of com.microsoft; no standard operator does it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from any2onnx.errors import OpsetNotSupported
from any2onnx.graph.builder import GraphBuilder
from any2onnx.graph.opsets import CONTRIB
from any2onnx.graph.types import DataType, TensorSpec, Value

FIRST_WITH_JOIN: Final = 20
"""The first opset with StringConcat and RegexFullMatch."""
_TO_END: Final = np.iinfo(np.int64).max


def require_contrib(g: GraphBuilder, what: str, where: str | None, *, opset: int = 13) -> None:
    """Check that what taking text apart needs may be used.

    Args:
        g: Builder.
        what: Name of the operator that needs it.
        where: Its place.
        opset: Lowest version of ai.onnx.

    Raises:
        OpsetNotSupported: com.microsoft is not among the target opsets, or the main one is too old.
    """
    if g.opsets.get(CONTRIB) is None:
        raise OpsetNotSupported(
            f"{what} takes text apart, for which ONNX has no operator: "
            "it needs com.microsoft's Tokenizer, which onnxruntime has",
            where=where or None,
            needs='"com.microsoft" in target_opset',
            remedy=f'target_opset={{"": {max(g.opsets.main, FIRST_WITH_JOIN)}, "com.microsoft": 1}}',
        )
    if g.opsets.main < opset:
        raise OpsetNotSupported(
            f"these settings of {what} need opset {opset}",
            where=where or None,
            needs=f"opset ≥ {opset}",
            remedy=f'target_opset={{"": {opset}, "com.microsoft": 1}}',
        )


def tokenizer(g: GraphBuilder, texts: Value, **attributes: Any) -> Value:
    """Return the pieces of texts [M], at least one of them, as [M, most pieces], "" where a text has fewer.

    Args:
        g: Builder.
        texts: A vector; the operator refuses empty ones.
        attributes: Of com.microsoft's Tokenizer: `separators` or `tokenexp`, in the syntax of RE2.
    """
    rows = (texts.shape or (None,))[0]
    dim = rows if isinstance(rows, int) else None
    (result,) = g.ops(
        "Tokenizer",
        texts,
        domain=CONTRIB,
        types=[TensorSpec(DataType.STRING, (dim, None))],
        mark=0,
        mincharnum=1,
        pad_value="",
        **attributes,
    )
    return result


def split_characters(g: GraphBuilder, texts: Value) -> Value:
    """Return the characters of texts [M] as [M, longest], "" where a text has fewer."""
    return tokenizer(g, texts, separators=[""])


def codes(g: GraphBuilder, x: Value, table: Mapping[str, int], default: int) -> Value:
    """Return a number for each text."""
    return g.ml.LabelEncoder(x, keys_strings=list(table), values_int64s=list(table.values()), default_int64=default)


def number(g: GraphBuilder, value: int) -> Value:
    """Return an int64 scalar."""
    return g.const(np.asarray(value, np.int64))


def flags(g: GraphBuilder, condition: Value) -> Value:
    """Return 1 where true, 0 elsewhere (int64)."""
    return g.Cast(condition, DataType.INT64)


def joined(g: GraphBuilder, parts: Value) -> Value:
    """Return [M] texts from [M, n] parts: neighbours are joined until one column is left."""
    rows = g.dim(parts, 0)
    empty = g.const(np.asarray("", object))

    def blank(inner: GraphBuilder, columns: Value) -> Value:
        return inner.Expand(empty, inner.shape_vector([rows, columns]))

    def body(inner: GraphBuilder, _iteration: Value, _condition: Value, value: Value) -> tuple[Value, Value]:
        first = inner.Slice(value, [0], [_TO_END], [1], [2])
        second = inner.Slice(value, [1], [_TO_END], [1], [2])
        lacking = inner.Sub(inner.dim(first, 1), inner.dim(second, 1))
        second = inner.op("Concat", second, blank(inner, lacking), axis=1)
        pairs = inner.op("StringConcat", first, second)
        again = inner.Greater(inner.Squeeze(inner.dim(first, 1), 0), number(inner, 1))
        return again, pairs

    # One column more, so that there is always one.
    start = g.op("Concat", parts, blank(g, g.const(np.asarray([1], np.int64))), axis=1)
    (result,) = g.Loop(body, [start], condition=True, state_shapes=[(None, None)])
    return g.Reshape(result, [-1])


def compacted(g: GraphBuilder, values: Value, keep: Value, fill: Value) -> Value:
    """Return rows with the kept values moved to the front, in their order, and `fill` behind them."""
    count = g.CumSum(flags(g, keep), g.const(np.asarray(1, np.int64)))
    width = g.dim(values, 1)
    index = g.Where(keep, g.Sub(count, number(g, 1)), g.Squeeze(width, 0))
    room = g.Expand(fill, g.shape_vector([g.dim(values, 0), g.Add(width, np.asarray([1], np.int64))]))
    moved = g.op("ScatterElements", room, index, values, axis=1)
    return g.Slice(moved, [0], [-1], [1])
