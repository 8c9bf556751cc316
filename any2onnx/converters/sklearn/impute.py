"""sklearn.impute: SimpleImputer and MissingIndicator, for numbers and for text."""

from __future__ import annotations

from typing import Any

import numpy as np

from any2onnx.converters.sklearn.support import (
    INTEGERS,
    Array,
    Results,
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
        UnsupportedParameter: Text columns with a numeric indicator beside them; inverse_transform without one.
    """
    model = call.source
    if "inverse_transform" in call.methods:
        return _put_back(g, call)
    x = raw_matrix(g, call)
    if dtype_of(x) != DataType.STRING and (model.strategy in ("mean", "median") or dtype_of(x) not in INTEGERS):
        x = matrix(g, call)
    mask = missing_mask(g, x, model.missing_values)
    statistics: Array = np.asarray(model.statistics_)
    kept = np.arange(len(statistics))
    if not model.keep_empty_features:
        # Columns that were empty at fit have no statistic and are left out.
        kept = np.flatnonzero([not _is_nan(value) for value in statistics.tolist()])
    filled = _fill(
        g,
        take_columns(g, x, kept.tolist()),
        take_columns(g, mask, kept.tolist()),
        # scikit-learn fills in the type that it was fitted with: float32's mean of a column is another number.
        statistics[kept].astype(getattr(model, "_fill_dtype", statistics.dtype)),
    )
    if not model.add_indicator:
        return {"transform": filled}
    indicator = _indicator(g, mask, model.indicator_)
    if indicator is None:
        return {"transform": filled}
    if dtype_of(filled) == DataType.STRING:
        raise UnsupportedParameter(
            "add_indicator=True puts numbers beside text in one matrix", where=call.location, needs="numeric columns"
        )
    return {"transform": hstack(g, [filled, g.Cast(indicator, dtype_of(filled))])}


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


def _fill(g: GraphBuilder, x: Value, mask: Value, statistics: Array) -> Value:
    if dtype_of(x) == DataType.STRING:
        return g.Where(mask, np.asarray([[text_of(v) for v in statistics.tolist()]], dtype=object), x)
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
    x = raw_matrix(g, call)
    if dtype_of(x) not in (DataType.STRING, working_type(call)) and dtype_of(x) not in INTEGERS:
        x = matrix(g, call)
    found = _indicator(g, missing_mask(g, x, model.missing_values), model)
    if found is None:
        found = no_columns(g, call, DataType.BOOL)
    return {"transform": found}
