"""What scikit-learn converters are written with: the input as a matrix, labels, sub-estimators, working types."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np

from any2onnx.converters.sklearn import sparse_rows
from any2onnx.converters.sklearn.context import Context
from any2onnx.converters.sklearn.frame import Frame
from any2onnx.errors import InvalidType, UnsupportedParameter
from any2onnx.graph.builder import GraphBuilder
from any2onnx.graph.types import DataType, Value, dtype_of, rank_of, shape_of
from any2onnx.operator_mappings.mapping import Call

Array = np.ndarray[Any, Any]
Results = dict[str, Any]
_F = TypeVar("_F", bound=Callable[..., Any])

# Under this key a label's value keeps the positions that it was looked up by, and the classes that it was looked up in.
CLASS_INDEX = "any2onnx.class_index"
INTEGERS = frozenset(
    {DataType.BOOL, DataType.INT8, DataType.UINT8, DataType.INT16, DataType.UINT16, DataType.INT32, DataType.UINT32}
    | {DataType.INT64}
)


# --- sub-estimators ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Child:
    """A fitted estimator inside another one, and the methods that its parent calls."""

    name: str
    estimator: Any
    methods: tuple[str, ...]


def children(of: Callable[[Any, tuple[str, ...]], Iterable[Child]], *, delegates: bool = False) -> Callable[[_F], _F]:
    """Mark a converter as one of a meta-estimator.

    Args:
        of: `of(estimator, methods)` lists the fitted sub-estimators that conversion will visit, so that everything
            unsupported is found before it starts.
        delegates: The results are those of the last child (a pipeline, a search), whose options hold for them.
    """

    def mark(converter: _F) -> _F:
        converter.children = of  # type: ignore[attr-defined]
        converter.delegates = delegates  # type: ignore[attr-defined]
        return converter

    return mark


def convert_child(
    call: Call,
    name: str,
    estimator: Any,
    inputs: Sequence[Value],
    methods: Sequence[str],
    *,
    g: GraphBuilder | None = None,
    columns: Sequence[Sequence[str]] | None = None,
    exact: bool = False,
) -> Results:
    """Convert a sub-estimator and return its results by method.

    Args:
        call: Of the parent.
        name: Of the step.
        estimator: Fitted.
        inputs: Its X.
        methods: Wanted.
        g: Builder of a sub-graph.
        columns: Names of the columns of each input.
        exact: The results go on into further steps: keep them in float64 (unless ``precision`` says "float32"), so
            that rounding happens once, at the end of the model.
    """
    context: Context = call.params["context"]
    if exact:
        context = replace(context, float_type=inner_type(call))
    else:
        context = replace(context, float_type=working_type(call))
    scope = f"{call.scope}/{name}" if call.scope else name
    child = context.call(estimator, inputs, methods, scope, inherited=call.options, columns=columns)
    assert call.convert is not None
    results: Results = call.convert(child, g)
    return results


# --- types ------------------------------------------------------------------------------------------------------------


def working_type(call: Call) -> DataType:
    """Return the element type of floating results: DOUBLE for float64 inputs, else FLOAT."""
    dtype: DataType = call.params["float_type"]
    return dtype


def inner_type(call: Call) -> DataType:
    """Return the type for steps that cancel: DOUBLE, unless the option ``precision`` says "float32"."""
    return DataType.FLOAT if call.options.get("precision") == "float32" else DataType.DOUBLE


def steady_type(call: Call) -> DataType:
    """Return the type for well-conditioned steps: the working type, or the one of the option ``precision``."""
    chosen = call.options.get("precision")
    return {"float32": DataType.FLOAT, "float64": DataType.DOUBLE}.get(chosen or "", working_type(call))


def weights(array: Any, dtype: DataType) -> Array:
    """Return fitted numbers, dense, in a dtype; the array itself where it has it already."""
    dense = array.toarray() if hasattr(array, "toarray") else np.asarray(array)
    return dense.astype(dtype.numpy(), copy=False)


# --- inputs -----------------------------------------------------------------------------------------------------------


def width_of(value: Value) -> int:
    """Return the number of columns of a matrix.

    Raises:
        InvalidType: It is not static.
    """
    dims = shape_of(value)
    width = dims[1] if len(dims) == 2 else 1
    if not isinstance(width, int):
        raise InvalidType(
            f"the number of columns of {value.name!r} is not known",
            needs="a static second dimension",
            remedy='initial_types=[("x", FloatTensorType([None, 4]))]',
        )
    return width


def as_column(g: GraphBuilder, value: Value) -> Value:
    """Return a vector [N] as [N, 1]; a matrix as it is."""
    return g.Reshape(value, [-1, 1]) if rank_of(value) == 1 else value


def as_vector(g: GraphBuilder, value: Value) -> Value:
    """Return [N, 1] as [N]; a vector as it is."""
    return value if rank_of(value) == 1 else g.Squeeze(value, 1)


def hstack(g: GraphBuilder, parts: Sequence[Value], dtype: DataType | None = None, *, axis: int = 1) -> Value:
    """Concatenate columns, cast to `dtype`.

    Raises:
        InvalidType: Text and numbers in one matrix.
    """
    if not parts:
        raise InvalidType("no columns are left")
    if dtype is not None:
        if len({dtype_of(part) for part in parts}) == 1 and len(parts) > 1:
            # One cast of the whole instead of one for each column.
            return to_float(g, hstack(g, parts, axis=axis), dtype)
        parts = [to_float(g, part, dtype) for part in parts]
    elif len({dtype_of(part) for part in parts}) > 1:
        kinds = ", ".join(sorted({dtype_of(part).name.lower() for part in parts}))
        raise InvalidType(f"columns of different types cannot be one matrix: {kinds}", needs="columns of one type")
    if len(parts) == 1:
        return parts[0]
    joined = g.op("Concat", *parts, axis=axis)
    return sparse_rows.beside(joined, parts) if axis == 1 else joined


def to_float(g: GraphBuilder, value: Value, dtype: DataType) -> Value:
    """Cast numbers to a floating type.

    Raises:
        InvalidType: The value holds text.
    """
    if dtype_of(value) == DataType.STRING and dtype != DataType.STRING:
        raise InvalidType(
            f"{value.name!r} holds text where numbers are needed", needs="a numeric column, or an encoder before it"
        )
    return sparse_rows.cast(g, value, dtype)


def matrix(g: GraphBuilder, call: Call, dtype: DataType | None = None) -> Value:
    """Return all input columns as one matrix [batch, n] of `dtype`, by default the working type.

    Raises:
        InvalidType: A column holds text.
    """
    return hstack(g, [as_column(g, v) for v in call.inputs], dtype or working_type(call))


def raw_matrix(g: GraphBuilder, call: Call) -> Value:
    """Return all input columns as one matrix in their own type; numbers of several types as numpy joins them.

    Raises:
        InvalidType: Text and numbers are mixed.
    """
    parts = [as_column(g, v) for v in call.inputs]
    types = {dtype_of(part) for part in parts}
    if len(types) == 1:
        return hstack(g, parts)
    if types <= INTEGERS:
        return hstack(g, parts, DataType.INT64)
    # float32 does not hold integers of 32 bits, so that numpy widens them together to float64.
    wide = {DataType.INT32, DataType.INT64, DataType.UINT32, DataType.UINT64, DataType.DOUBLE}
    return hstack(g, parts, DataType.DOUBLE if types & wide else DataType.FLOAT)


def columns_of(g: GraphBuilder, call: Call) -> list[Value]:
    """Return every input column on its own, as [batch, 1], each in its own type."""
    found: list[Value] = []
    for value in call.inputs:
        width = width_of(value)
        if width == 1:
            found.append(as_column(g, value))
        else:
            found.extend(g.Split(value, [1] * width, axis=1))
    return found


def select_columns(g: GraphBuilder, values: Sequence[Value], indices: Sequence[int]) -> list[Value]:
    """Return the columns with these positions, in this order, as few matrices.

    Args:
        g: Builder.
        values: Matrices that together are the table.
        indices: Positions in the whole table.
    """
    owners = np.repeat(np.arange(len(values)), [width_of(v) for v in values])
    offsets = np.concatenate([np.arange(width_of(v)) for v in values]) if values else np.zeros(0, int)
    chosen: list[Value] = []
    runs: list[tuple[int, list[int]]] = []
    for index in indices:
        owner, offset = int(owners[index]), int(offsets[index])
        if runs and runs[-1][0] == owner:
            runs[-1][1].append(offset)
        else:
            runs.append((owner, [offset]))
    for owner, wanted in runs:
        value = as_column(g, values[owner])
        chosen.append(take_columns(g, value, wanted))
    return chosen


def take_columns(g: GraphBuilder, value: Value, wanted: Sequence[int]) -> Value:
    """Return columns of one matrix; itself where all are wanted in order, a Slice where they are neighbours."""
    width = width_of(value)
    if list(wanted) == list(range(width)):
        return value
    if list(wanted) == list(range(wanted[0], wanted[0] + len(wanted))):
        return g.Slice(value, [wanted[0]], [wanted[0] + len(wanted)], [1])
    return g.Gather(value, np.asarray(wanted, np.int64), axis=1)


def batch_vector(g: GraphBuilder, call: Call) -> Value:
    """Return the number of rows as int64 [1]."""
    return g.Shape(call.inputs[0], start=0, end=1)


def fill_rows(g: GraphBuilder, call: Call, row: Array) -> Value:
    """Repeat a constant row (or scalar) for every input row."""
    constant = g.const(row)
    rows = batch_vector(g, call)
    shape = rows if row.ndim == 0 else g.shape_vector([rows, *row.shape])
    return g.Expand(g.Unsqueeze(constant, 0) if row.ndim else constant, shape)


def no_columns(g: GraphBuilder, call: Call, dtype: DataType | None = None) -> Value:
    """Return a matrix with all rows and no columns, which scikit-learn gives when everything is left out."""
    empty = g.const(np.zeros((1, 0), (dtype or working_type(call)).numpy()))
    return g.Expand(empty, g.shape_vector([batch_vector(g, call), 0]))


# --- labels -----------------------------------------------------------------------------------------------------------


def class_array(classes: Any, where: str = "") -> Array:
    """Return class labels in a type that ONNX has: int64 for integers, bool, floats as they are, text.

    Raises:
        UnsupportedParameter: Labels of mixed or other types.
    """
    array = np.asarray(classes)
    if array.dtype.kind in "OUST":
        items = array.ravel().tolist()
        if all(isinstance(item, str) for item in items):
            return array.astype(object)
        if any(isinstance(item, str) for item in items):
            raise UnsupportedParameter(
                "the class labels are of several types", where=where or None, needs="text, or numbers, or bools"
            )
        # Numbers that a list or a frame has as Python objects.
        array = np.asarray(items)
    if array.dtype.kind in "iu":
        return array.astype(np.int64)
    if array.dtype.kind in "bf":
        return array
    raise UnsupportedParameter(
        f"class labels of type {array.dtype} cannot be expressed", where=where or None, needs="integers, text or floats"
    )


def labels(g: GraphBuilder, classes: Any, index: Value) -> Value:
    """Return the labels for int64 positions among the classes; integer labels 0, 1, … are the positions themselves."""
    array = class_array(classes)
    if array.dtype == np.int64 and np.array_equal(array, np.arange(len(array))):
        return index
    result = g.Gather(g.const(array, name="classes"), index, axis=0)
    result.meta[CLASS_INDEX] = (index, array)
    return result


def argmax_label(g: GraphBuilder, scores: Value, classes: Any) -> Value:
    """Return the label of the highest score of each row; of equal scores the first."""
    return labels(g, classes, g.ArgMax(scores, axis=1, keepdims=0))


def binary_label(g: GraphBuilder, score: Value, classes: Any) -> Value:
    """Return the second class where the score [N] is positive, else the first."""
    return labels(g, classes, g.Cast(g.Greater(score, g.scalar_like(0.0, score)), DataType.INT64))


def decision_label(g: GraphBuilder, decision: Value, classes: Any) -> Value:
    """Return labels from a decision function as scikit-learn shapes it: [N] for two classes, else [N, classes]."""
    return binary_label(g, decision, classes) if rank_of(decision) == 1 else argmax_label(g, decision, classes)


def only(call: Call, results: Results) -> Results:
    """Return the wanted methods, in their order."""
    return {method: results[method] for method in call.methods}


def two_columns(g: GraphBuilder, positive: Value) -> Value:
    """Return [1 - p, p] as a matrix for a vector p."""
    column = g.Unsqueeze(positive, 1)
    return g.op("Concat", g.Sub(g.scalar_like(1.0, positive), column), column, axis=1)


def normalized_rows(g: GraphBuilder, values: Value) -> Value:
    """Return rows divided by their sums, as scikit-learn does; a row of zeros becomes uniform."""
    width = width_of(values)
    total = g.ReduceSum(values, [1])
    empty = g.Equal(total, g.scalar_like(0.0, total))
    uniform = g.Div(values, g.Where(empty, g.scalar_like(1.0, total), total))
    return g.Where(empty, g.scalar_like(1.0 / width, values), uniform)


def cast_results(g: GraphBuilder, call: Call, results: Results, *, keep: Sequence[str] = ()) -> Results:
    """Cast floating results to the working type, but for the methods in `keep` (labels that are floats)."""
    dtype = working_type(call)
    floats = (DataType.FLOAT, DataType.DOUBLE)

    def cast(value: Any) -> Any:
        if isinstance(value, Frame):
            return Frame(cast(part) for part in value)
        if isinstance(value, tuple):
            return tuple(cast(part) for part in value)
        return g.Cast(value, dtype) if value.dtype in floats else value

    return {method: value if method in keep else cast(value) for method, value in results.items()}
