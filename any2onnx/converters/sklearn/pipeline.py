"""sklearn.pipeline and sklearn.compose.ColumnTransformer: parts in sequence, parts side by side."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from any2onnx.converters.sklearn.frame import Frame
from any2onnx.converters.sklearn.frames import join, values_of
from any2onnx.converters.sklearn.inputs import Table, columns_at, split_names
from any2onnx.converters.sklearn.ragged import Ragged
from any2onnx.converters.sklearn.support import (
    Child,
    Results,
    children,
    convert_child,
    no_columns,
    to_float,
    working_type,
)
from any2onnx.graph.builder import GraphBuilder
from any2onnx.graph.types import Value
from any2onnx.operator_mappings.mapping import Call

_TRANSFORM = ("transform",)
_INVERSE = "inverse_transform"


def _skipped(step: Any) -> bool:
    return step is None or step == "passthrough" or step == "drop"


def _acting_steps(pipeline: Any) -> list[tuple[str, Any]]:
    """Return the steps that do something at inference: resamplers (imbalanced-learn) do nothing then."""
    return [
        (name, step)
        for name, step in pipeline.steps
        if not _skipped(step) and not (hasattr(step, "fit_resample") and not hasattr(step, "transform"))
    ]


def _ends_in_identity(pipeline: Any) -> bool:
    return _skipped(pipeline.steps[-1][1])


def _pipeline_children(pipeline: Any, methods: tuple[str, ...]) -> Iterator[Child]:
    steps = _acting_steps(pipeline)
    inverse = (_INVERSE,) if _INVERSE in methods else _TRANSFORM
    for k, (name, step) in enumerate(steps):
        last = k == len(steps) - 1 and not _ends_in_identity(pipeline)
        yield Child(name, step, methods if last else inverse)


@children(_pipeline_children, delegates=True)
def pipeline(g: GraphBuilder, call: Call) -> Results:
    """Convert Pipeline: each step transforms, the last one gives the results."""
    if _INVERSE in call.methods:
        return _inverse_pipeline(g, call)
    steps = _acting_steps(call.source)
    table = Table(call.inputs, call.params["columns"])
    body, last = (steps, None) if _ends_in_identity(call.source) else (steps[:-1], steps[-1])
    for name, step in body:
        exact = last is not None or name != body[-1][0]
        found = convert_child(call, name, step, table.values, _TRANSFORM, columns=table.columns, exact=exact)
        table = _table_of(step, found["transform"])
    if last is not None:
        return convert_child(call, last[0], last[1], table.values, call.methods, columns=table.columns)
    return {"transform": join(g, call, table.values)}


def _table_of(step: Any, result: Any) -> Table:
    """Return a step's result as the next step's X; the columns have names where the step gives frames."""
    values = values_of(result)
    output = getattr(step, "_sklearn_output_config", {}).get("transform")
    if output not in ("pandas", "polars") or not hasattr(step, "get_feature_names_out"):
        return Table(values, tuple(() for _ in values))
    return Table(values, split_names(values, [str(name) for name in step.get_feature_names_out()]))


def _inverse_pipeline(g: GraphBuilder, call: Call) -> Results:
    values: tuple[Any, ...] = call.inputs
    for name, step in reversed(_acting_steps(call.source)):
        exact = name != _acting_steps(call.source)[0][0]
        result = convert_child(call, name, step, values, call.methods, exact=exact)[_INVERSE]
        if isinstance(result, Ragged) or (isinstance(result, tuple) and not isinstance(result, Frame)):
            # Terms and entries are the end: nothing takes them as its input.
            return {_INVERSE: result}
        values = values_of(result)
    return {_INVERSE: join(g, call, values)}


def _weighted(g: GraphBuilder, call: Call, values: Sequence[Value], weight: Any) -> list[Value]:
    if weight is None:
        return list(values)
    wide = [to_float(g, value, working_type(call)) for value in values]
    return [g.Mul(value, g.scalar_like(float(weight), value)) for value in wide]


# --- FeatureUnion -----------------------------------------------------------------------------------------------------


def _union_parts(union: Any) -> list[tuple[str, Any]]:
    return [(name, part) for name, part in union.transformer_list if part != "drop" and part is not None]


def _union_children(union: Any, methods: tuple[str, ...]) -> list[Child]:
    return [Child(name, part, _TRANSFORM) for name, part in _union_parts(union) if not _skipped(part)]


@children(_union_children)
def feature_union(g: GraphBuilder, call: Call) -> Results:
    """Convert FeatureUnion: the transformers' results side by side, each times its weight."""
    factors: Mapping[str, float] = call.source.transformer_weights or {}
    parts: list[Value] = []
    for name, part in _union_parts(call.source):
        result: Any = Frame(call.inputs)
        if not _skipped(part):
            found = convert_child(call, name, part, call.inputs, _TRANSFORM, columns=call.params["columns"])
            result = found["transform"]
        parts += _weighted(g, call, values_of(result), factors.get(name))
    if not parts:
        return {"transform": no_columns(g, call)}
    return {"transform": join(g, call, parts)}


# --- ColumnTransformer ------------------------------------------------------------------------------------------------


def _column_parts(transformer: Any) -> Iterator[tuple[str, Any, list[int]]]:
    """Yield (name, fitted transformer or "passthrough", positions of its columns) of what is not dropped or empty."""
    positions = transformer._transformer_to_input_indices
    for name, part, _ in transformer.transformers_:
        indices = [int(k) for k in positions[name]]
        if indices and not (isinstance(part, str) and part == "drop") and part is not None:
            yield name, part, indices


def _column_children(transformer: Any, methods: tuple[str, ...]) -> list[Child]:
    return [Child(name, part, _TRANSFORM) for name, part, _ in _column_parts(transformer) if not _skipped(part)]


@children(_column_children)
def column_transformer(g: GraphBuilder, call: Call) -> Results:
    """Convert ColumnTransformer: each transformer on its columns, the results side by side."""
    table = Table(call.inputs, call.params["columns"])
    factors: Mapping[str, float] = call.source.transformer_weights or {}
    parts: list[Value] = []
    for name, part, indices in _column_parts(call.source):
        chosen = columns_at(g, table, indices)
        result: Any = Frame(chosen.values)
        if not _skipped(part):
            result = convert_child(call, name, part, chosen.values, _TRANSFORM, columns=chosen.columns)["transform"]
        parts += _weighted(g, call, values_of(result), factors.get(name))
    if not parts:
        return {"transform": no_columns(g, call)}
    return {"transform": join(g, call, parts)}
