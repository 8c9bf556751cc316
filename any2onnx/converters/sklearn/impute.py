"""sklearn.impute: SimpleImputer and MissingIndicator, for numbers and for text."""

from __future__ import annotations

from typing import Any

import numpy as np

from any2onnx.converters.sklearn.frames import framed
from any2onnx.converters.sklearn.support import (
    INTEGERS,
    Array,
    Results,
    as_column,
    hstack,
    matrix,
    no_columns,
    raw_matrix,
    take_columns,
    width_of,
    working_type,
)
from any2onnx.converters.sklearn.text_values import is_missing, text_mask, text_of
from any2onnx.errors import InvalidType, UnsupportedParameter
from any2onnx.graph.builder import GraphBuilder
from any2onnx.graph.types import DataType, Value, dtype_of
from any2onnx.operator_mappings.mapping import Call


def missing_mask(g: GraphBuilder, x: Value, missing_values: Any) -> Value:
    """Return where a matrix is missing, as bool [N, n]."""
    if dtype_of(x) == DataType.STRING:
        return text_mask(g, x, [text_of(missing_values)])
    if is_missing(missing_values) and dtype_of(x) not in INTEGERS:
        return g.IsNaN(x)
    if is_missing(missing_values) or isinstance(missing_values, str):
        # Integers have no NaN, numbers no text: nothing is missing.
        wide = g.Cast(x, DataType.DOUBLE)
        return g.Less(wide, wide)
    return g.Equal(g.Cast(x, DataType.DOUBLE), g.const(np.asarray(missing_values, np.float64)))


def simple_imputer(g: GraphBuilder, call: Call) -> Results:
    """Convert SimpleImputer: the statistic of the column where a value is missing.

    Raises:
        UnsupportedParameter: Text for the missing values of a column of numbers; inverse_transform without indicator.
    """
    model = call.source
    if "inverse_transform" in call.methods:
        return _put_back(g, call)
    blocks = _blocks(g, call)
    masks = [missing_mask(g, x, model.missing_values) for x in blocks]
    statistics: Array = np.asarray(model.statistics_)
    ends = np.cumsum([width_of(x) for x in blocks])
    filled: list[Value] = []
    for x, mask, own in zip(blocks, masks, np.split(statistics, ends[:-1]), strict=True):
        kept = np.arange(len(own))
        if not model.keep_empty_features:
            # Columns that were empty at fit have no statistic and are left out.
            kept = np.flatnonzero([not _is_nan(value) for value in own.tolist()])
        if not len(kept):
            continue
        columns = kept.tolist()
        # scikit-learn fills in the type that it was fitted with: float32's mean of a column is another number.
        values = own[kept].astype(getattr(model, "_fill_dtype", own.dtype))
        filled.append(_fill(g, call, take_columns(g, x, columns), take_columns(g, mask, columns), values))
    if model.add_indicator:
        indicator = _indicator(g, hstack(g, masks), model.indicator_)
        if indicator is not None:
            # Beside text a flag stays a flag; beside numbers it becomes one.
            number = dtype_of(filled[-1]) if filled else working_type(call)
            filled.append(indicator if number == DataType.STRING else g.Cast(indicator, number))
    return {"transform": framed(g, filled) if filled else no_columns(g, call)}


def _blocks(g: GraphBuilder, call: Call) -> list[Value]:
    """Return the columns: numbers as one matrix; text and numbers beside each other in their own types."""
    if len({dtype_of(value) == DataType.STRING for value in call.inputs}) > 1:
        return [as_column(g, value) for value in call.inputs]
    x = raw_matrix(g, call)
    numeric = call.source.strategy in ("mean", "median") or dtype_of(x) not in INTEGERS
    return [matrix(g, call) if dtype_of(x) != DataType.STRING and numeric else x]


def _put_back(g: GraphBuilder, call: Call) -> Results:
    """Return the imputed columns with the missing values that the indicator columns behind them mark."""
    model = call.source
    if not model.add_indicator:
        raise UnsupportedParameter(
            "without add_indicator=True nothing tells what was missing", where=call.location, needs="add_indicator=True"
        )
    x = matrix(g, call)
    flagged = np.asarray(model.indicator_.features_)
    width = len(model.statistics_)
    count = width_of(x) - len(flagged)
    # Columns that were left out have no values: they were missing throughout.
    kept = np.flatnonzero([model.keep_empty_features or not _is_nan(v) for v in np.asarray(model.statistics_).tolist()])
    if len(kept) != count:
        raise InvalidType(
            f"inverse_transform has {width_of(x)} columns of input", needs=f"{len(kept) + len(flagged)} columns"
        )
    zero = g.const(np.zeros((), working_type(call).numpy()))
    wide = g.op("Pad", x, [0, 0, 0, 1], zero)
    values, flags = np.full(width, width_of(x)), np.full(width, width_of(x))
    values[kept] = np.arange(count)
    flags[flagged] = count + np.arange(len(flagged))
    missing = g.Cast(g.Gather(wide, flags.astype(np.int64), axis=1), DataType.BOOL)
    mark = np.asarray(model.missing_values, working_type(call).numpy())
    return {"inverse_transform": g.Where(missing, mark, g.Gather(wide, values.astype(np.int64), axis=1))}


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and value != value


def _fill(g: GraphBuilder, call: Call, x: Value, mask: Value, statistics: Array) -> Value:
    if dtype_of(x) == DataType.STRING:
        return g.Where(mask, np.asarray([[text_of(v) for v in statistics.tolist()]], dtype=object), x)
    if dtype_of(x) in INTEGERS and any(isinstance(value, str) for value in statistics.tolist()):
        # The text of fill_value="…"; integers have no missing value to put it in place of.
        return x
    if any(isinstance(value, str) for value in statistics.tolist()):
        raise UnsupportedParameter(
            f"fill_value={call.source.fill_value!r} puts text into a column of numbers", where=call.location or None
        )
    row = np.asarray(statistics, np.float64)[None, :].astype(dtype_of(x).numpy())
    return g.Where(mask, row, x)


def _indicator(g: GraphBuilder, mask: Value, indicator: Any) -> Value | None:
    features = np.asarray(indicator.features_)
    if not len(features):
        return None
    return take_columns(g, mask, features.tolist())


def missing_indicator(g: GraphBuilder, call: Call) -> Results:
    """Convert MissingIndicator: where the chosen columns are missing, as booleans."""
    model = call.source
    masks = [missing_mask(g, x, model.missing_values) for x in _blocks_to_check(g, call)]
    found = _indicator(g, hstack(g, masks), model)
    if found is None:
        found = no_columns(g, call, DataType.BOOL)
    return {"transform": found}


def _blocks_to_check(g: GraphBuilder, call: Call) -> list[Value]:
    if len({dtype_of(value) == DataType.STRING for value in call.inputs}) > 1:
        return [as_column(g, value) for value in call.inputs]
    x = raw_matrix(g, call)
    known = dtype_of(x) in (DataType.STRING, working_type(call)) or dtype_of(x) in INTEGERS
    return [x if known else matrix(g, call)]
