"""FunctionTransformer's Python functions, and callable weights: what they do with numpy or pandas becomes nodes.

The function runs on traced arrays twice, with two numbers of stand-in rows (`record`). Both runs have to record
the same; so nothing that depends on the rows beside a row, or on their number, gets through.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np

from any2onnx.converters.sklearn.frame import Frame
from any2onnx.converters.sklearn.frames import join, values_of
from any2onnx.converters.sklearn.support import INTEGERS, as_column, width_of, working_type
from any2onnx.converters.sklearn.tracing.array import TracedArray, cells_of
from any2onnx.converters.sklearn.tracing.frame import frame_of
from any2onnx.converters.sklearn.tracing.modules import seen_by
from any2onnx.converters.sklearn.tracing.record import (
    BOOL,
    FLOAT,
    INTEGER,
    SMALL,
    TEXT,
    Array,
    Emitter,
    NotTraceable,
    Record,
)
from any2onnx.errors import Any2OnnxError, UnsupportedParameter
from any2onnx.graph.builder import GraphBuilder
from any2onnx.graph.types import DataType, Value, dtype_of
from any2onnx.operator_mappings.mapping import Call

# Two numbers of rows, none of them 1, that no one would write into a function.
_ROWS: Final = (7, 11)
_WIDE: Final = frozenset([DataType.INT32, DataType.INT64])


def traced(
    g: GraphBuilder,
    call: Call,
    function: Callable[..., Any],
    given: Sequence[Value],
    dtype: DataType,
    *,
    arguments: Mapping[str, Any] | None = None,
    names: Sequence[str] | None = None,
    what: str = "the function",
) -> Value | Frame:
    """Return the result of a user's function, traced.

    Args:
        g: Builder.
        call: Of the estimator that has the function.
        function: Of one matrix or frame.
        given: Its argument, as matrices side by side.
        dtype: Floating type to compute in.
        arguments: Further keyword arguments.
        names: Of the columns, where the function is given a frame.
        what: For the message.

    Raises:
        UnsupportedParameter: The function cannot be traced.
    """
    values = [as_column(g, value) for value in given]
    kinds = [kind for value in values for kind in [_kind(value)] * width_of(value)]
    if names is None and FLOAT in kinds and TEXT not in kinds:
        # numpy has one type for all.
        kinds = [FLOAT] * len(kinds)
    largest = float(np.finfo(working_type(call).numpy()).max)
    try:
        runs = [_run(function, Record(rows, kinds, largest), arguments or {}, names) for rows in _ROWS]
        (record, columns, whole), (other, again, _) = runs
        if not record.same_as(other) or not np.array_equal(columns, again):
            raise NotTraceable("what it does depends on the number of rows")
        found = _emitted(g, call, record, columns, values, dtype, whole)
        return g.Squeeze(found, 1) if columns.ndim == 0 and not isinstance(found, Frame) else found
    except Any2OnnxError:
        raise
    except Exception as error:
        # The function is the user's: on the recording array it may fail in any way.
        raise UnsupportedParameter(
            f"{what} {getattr(function, '__name__', function)!r} cannot be traced: {error or type(error).__name__}",
            where=call.location or None,
            needs="numpy or pandas functions that treat every row alike, whatever its values",
            remedy="numpy.where instead of branches; or a converter of your own for a class that holds it: "
            "docs/custom_converters.md",
        ) from error


def _kind(value: Value) -> str:
    dtype = dtype_of(value)
    if dtype == DataType.STRING:
        return TEXT
    if dtype == DataType.BOOL:
        return BOOL
    return INTEGER if dtype in _WIDE else SMALL if dtype in INTEGERS else FLOAT


def _run(
    function: Callable[..., Any], record: Record, arguments: Mapping[str, Any], names: Sequence[str] | None
) -> tuple[Record, Array, bool]:
    """Return the record of one run, the columns of its result, and whether they are one array."""
    argument: Any = TracedArray(record, record.input_cells()) if names is None else frame_of(record, names)
    if isinstance(function, np.ufunc):
        result = function(argument, **arguments)
    else:
        result = seen_by(record, function)(argument, **arguments)
    known = isinstance(result, TracedArray | np.ndarray) or hasattr(result, "traced")
    if not known:
        raise NotTraceable(f"it returns {type(result).__name__}")
    one_array = isinstance(result, TracedArray | np.ndarray)
    return record, record.result_columns(cells_of(record, result)), one_array


def _emitted(
    g: GraphBuilder,
    call: Call,
    record: Record,
    columns: Array,
    given: Sequence[Value],
    dtype: DataType,
    whole: bool,
) -> Value | Frame:
    """Return the nodes of a result: numbers as numpy would join them, columns of frames in their own types."""
    emitter = Emitter(g, record, given, dtype)
    flat = columns.ravel()
    kinds = [record.kinds[column] for column in flat.tolist()]
    one = set(kinds) if not whole or TEXT in kinds else {record._joint(kinds)}
    if not kinds:
        one = {FLOAT}
    if len(one) == 1:
        (kind,) = one
        matrix = _typed(g, emitter.matrix(flat, kind), kind)
        return matrix if columns.ndim < 2 else g.Reshape(matrix, [-1, *columns.shape])
    ends = [k for k in range(1, len(kinds)) if kinds[k] != kinds[k - 1]]
    runs = np.split(flat, ends)
    parts = [_typed(g, emitter.matrix(run, record.kinds[int(run[0])]), record.kinds[int(run[0])]) for run in runs]
    return join(g, call, parts)


def _typed(g: GraphBuilder, value: Value, kind: str) -> Value:
    return g.Cast(value, DataType.INT64) if kind in (INTEGER, SMALL) else value


__all__ = ["traced", "values_of"]
