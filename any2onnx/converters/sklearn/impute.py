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
    raw_matrix,
    take_columns,
    working_type,
)
from any2onnx.converters.sklearn.text_values import is_missing, text_mask, text_of
from any2onnx.errors import UnsupportedParameter
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
        UnsupportedParameter: Text columns with a numeric indicator beside them.
    """
    model = call.source
    x = raw_matrix(g, call)
    if dtype_of(x) != DataType.STRING and (model.strategy in ("mean", "median") or dtype_of(x) not in INTEGERS):
        x = matrix(g, call)
    mask = missing_mask(g, x, model.missing_values)
    statistics: Array = np.asarray(model.statistics_)
    kept = np.arange(len(statistics))
    if not model.keep_empty_features:
        # Columns that were empty at fit have no statistic and are left out.
        kept = np.flatnonzero([not _is_nan(value) for value in statistics.tolist()])
    filled = _fill(g, take_columns(g, x, kept.tolist()), take_columns(g, mask, kept.tolist()), statistics[kept])
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
    """Convert MissingIndicator: where the chosen columns are missing, as booleans.

    Raises:
        UnsupportedParameter: No column was missing at fit, so that there is no output.
    """
    model = call.source
    x = raw_matrix(g, call)
    if dtype_of(x) not in (DataType.STRING, working_type(call)) and dtype_of(x) not in INTEGERS:
        x = matrix(g, call)
    found = _indicator(g, missing_mask(g, x, model.missing_values), model)
    if found is None:
        raise UnsupportedParameter("no column had missing values at fit, so there is no output", where=call.location)
    return {"transform": found}
