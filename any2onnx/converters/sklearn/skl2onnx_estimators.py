"""Estimators that skl2onnx itself offers (`skl2onnx.sklapi`), which its users have in their pipelines."""

from __future__ import annotations

from typing import Any

import numpy as np

from any2onnx.converters.sklearn.frames import framed, join, values_of
from any2onnx.converters.sklearn.support import (
    Child,
    Results,
    cast_results,
    children,
    columns_of,
    convert_child,
    hstack,
    raw_matrix,
    working_type,
)
from any2onnx.graph.builder import GraphBuilder
from any2onnx.graph.types import DataType, Value, dtype_of, to_dtype
from any2onnx.operator_mappings.mapping import Call


def cast_transformer(g: GraphBuilder, call: Call) -> Results:
    """Convert CastTransformer: the columns in another type."""
    dtype = to_dtype(np.dtype(call.source.dtype).name)
    return {"transform": framed(g, [g.Cast(part, dtype) for part in values_of(join(g, call, call.inputs))])}


def _cast_children(model: Any, methods: tuple[str, ...]) -> list[Child]:
    return [Child("estimator", model.estimator, methods)]


@children(_cast_children)
def cast_regressor(g: GraphBuilder, call: Call) -> Results:
    """Convert CastRegressor: what a regressor gives, in another type."""
    dtype = to_dtype(np.dtype(call.source.dtype).name)
    columns = call.params["columns"]
    exact = dtype == DataType.DOUBLE
    results = convert_child(
        call, "estimator", call.source.estimator, call.inputs, call.methods, columns=columns, exact=exact
    )
    return {method: g.Cast(value, dtype) for method, value in results.items()}


def replace_transformer(g: GraphBuilder, call: Call) -> Results:
    """Convert ReplaceTransformer: one value in place of another."""
    model = call.source
    x = raw_matrix(g, call)
    floating = isinstance(model.to_value, float) and dtype_of(x) not in (DataType.FLOAT, DataType.DOUBLE)
    x = g.Cast(x, working_type(call)) if floating else x
    if isinstance(model.from_value, float) and np.isnan(model.from_value):
        # NaN equals nothing, itself included.
        return {"transform": g.Identity(x)}
    same = g.Equal(x, g.scalar_like(model.from_value, x))
    return {"transform": g.Where(same, g.scalar_like(model.to_value, x), x)}


def woe_transformer(g: GraphBuilder, call: Call) -> Results:
    """Convert WOETransformer: for each column the weights of the intervals that its values are in."""
    model = call.source
    parts: list[Value] = []
    columns = [g.Cast(column, working_type(call)) for column in columns_of(g, call)]
    for column, intervals, weights in zip(columns, model.intervals_, model.weights_, strict=True):
        if intervals is None:
            parts.append(column)
            continue
        inside = [_inside(g, column, *interval) for interval in intervals]
        weighted = [
            g.Mul(g.Cast(one, dtype_of(column)), g.scalar_like(float(weight), column))
            for one, weight in zip(inside, weights, strict=True)
        ]
        parts += weighted if model.onehot else [_total(g, weighted)]
    return cast_results(g, call, {"transform": hstack(g, parts)})


def _inside(g: GraphBuilder, x: Value, low: float, high: float, with_low: bool, with_high: bool) -> Value:
    bottom, top = g.scalar_like(low, x), g.scalar_like(high, x)
    above = g.GreaterOrEqual(x, bottom) if with_low else g.Greater(x, bottom)
    below = g.LessOrEqual(x, top) if with_high else g.Less(x, top)
    return g.And(above, below)


def _total(g: GraphBuilder, values: list[Value]) -> Value:
    total = values[0]
    for value in values[1:]:
        total = g.Add(total, value)
    return total
