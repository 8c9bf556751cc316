"""Text columns: how missing values travel in them, and looking values up.

ONNX text has no missing value. onnxruntime turns Python objects in a text column into str(object), so NaN arrives as
"nan", None as "None" and pandas' NA as "<NA>": these are the texts that stand for them here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from any2onnx.errors import OpsetNotSupported
from any2onnx.graph.builder import GraphBuilder
from any2onnx.graph.types import DataType, Value


def is_missing(value: Any) -> bool:
    """Tell whether a value is NaN, None or pandas' NA."""
    if value is None or type(value).__name__ == "NAType":
        return True
    return isinstance(value, float | np.floating) and bool(np.isnan(value))


def text_of(value: Any) -> str:
    """Return the text that stands for a value in a text column."""
    return value if isinstance(value, str) else str(float(value)) if isinstance(value, np.floating) else str(value)


def lookup(g: GraphBuilder, x: Value, *, default_int64: int, **attributes: Any) -> Value:
    """Return the int64 that each key stands for (operator LabelEncoder).

    Raises:
        OpsetNotSupported: The operator has keys of this kind only from ai.onnx.ml 2 on.
    """
    if g.opsets.ml < 2:
        raise OpsetNotSupported(
            f"looking up categories is not possible at ai.onnx.ml {g.opsets.ml}",
            where=g.provenance.source or None,
            needs="ai.onnx.ml ≥ 2",
            remedy=f"target_opset={{'': {g.opsets.main}, 'ai.onnx.ml': 2}}",
        )
    return g.ml.LabelEncoder(x, default_int64=default_int64, **attributes)


def text_index(
    g: GraphBuilder, x: Value, keys: Sequence[str], default: int, values: Sequence[int] | None = None
) -> Value:
    """Return the position of each text among the keys, or its value; `default` where it is none.

    The result is int64 in the shape of x.
    """
    found = range(len(keys)) if values is None else values
    return lookup(g, x, keys_strings=list(keys), values_int64s=list(found), default_int64=default)


def text_mask(g: GraphBuilder, x: Value, keys: Sequence[str]) -> Value:
    """Return where a text is one of the keys; bool in the shape of x."""
    found = lookup(g, x, keys_strings=list(keys), values_int64s=[1] * len(keys), default_int64=0)
    return g.Cast(found, DataType.BOOL)
