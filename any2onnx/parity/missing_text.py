"""Missing values of text columns: ONNX has none, so that they travel as the texts that onnxruntime makes of them.

The framework must be asked with the missing value itself: what the user's own data has in that column.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from any2onnx.parity.ulp import Array

Marks = Mapping[str, tuple[str, Any]]


def missing_marks(data: Any) -> Marks:
    """Return per column of a frame the text of its missing value, and the value, where it has one.

    Args:
        data: pandas, polars or arrow; nothing is found in anything else.
    """
    import narwhals

    frame = narwhals.from_native(data, eager_only=True, pass_through=True)
    if not isinstance(frame, narwhals.DataFrame):
        return {}
    found = {}
    for name in frame.columns:
        series = frame[name]
        missing = series.filter(series.is_null())[:1].to_list()
        if missing:
            found[str(name)] = (str(missing[0]), missing[0])
    return found


def put_back(columns: Mapping[str, Array], marks: Marks) -> dict[str, Array]:
    """Return the columns with missing values in place of the texts that stand for them."""
    result = dict(columns)
    for name, (text, missing) in marks.items():
        values = result.get(name)
        if values is not None and values.dtype.kind == "O":
            result[name] = np.where(values == text, np.asarray(missing, dtype=object), values)
    return result
