"""The inputs of a model: one matrix, or one named input per column or group of columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from any2onnx.converters.sklearn.map_inputs import is_map, map_input
from any2onnx.converters.sklearn.support import select_columns, width_of
from any2onnx.data_types import TensorType, as_tensor_type, tensor_type
from any2onnx.errors import InvalidType, UsageError
from any2onnx.graph.builder import GraphBuilder
from any2onnx.graph.types import DataType, Dim, Value, rank_of, to_dtype

BATCH: Final = "batch"
_EXAMPLE: Final = 'initial_types=[("x", FloatTensorType([None, 4]))]'


@dataclass(frozen=True, slots=True)
class Table:
    """What an estimator is given as X.

    Attributes:
        values: Matrices or vectors, side by side.
        columns: Names of the columns of each; empty where they have none.
        note: For `map_inputs.prepend_map`, where the model's input is a map.
    """

    values: tuple[Value, ...]
    columns: tuple[tuple[str, ...], ...]
    note: str = ""


def make_inputs(g: GraphBuilder, initial_types: Any, model: Any, methods: Sequence[str]) -> Table:
    """Add the model's inputs to the graph and return them in the order of the estimator's columns.

    Raises:
        InvalidType: They do not fit the estimator.
        UsageError: `initial_types` has another form.
    """
    entries = list(initial_types.items() if hasattr(initial_types, "items") else initial_types or ())
    if len(entries) == 1 and isinstance(entries[0], tuple | list) and is_map(entries[0][-1]):
        row, note = map_input(g, str(entries[0][0]), entries[0][-1], model)
        return Table((row,), ((),), note)
    pairs = checked_types(initial_types)
    if len(pairs) == 1 and not pairs[0][1].shape and _takes_text(model):
        name, given = pairs[0]
        return Table((g.input(name, to_dtype(given.dtype), [BATCH]),), ((),))
    values = [_input(g, name, given, model, alone=len(pairs) == 1) for name, given in pairs]
    if "inverse_transform" in methods:
        return Table(tuple(values), tuple(() for _ in values))
    return _in_order(g, model, values)


def checked_types(initial_types: Any) -> list[tuple[str, TensorType]]:
    """Return (name, type) pairs from what a user gives.

    Raises:
        UsageError: Another form.
    """
    if initial_types is None:
        raise UsageError("initial_types is missing", remedy=f"{_EXAMPLE}, or to_onnx(model, X[:1])")
    if hasattr(initial_types, "items"):
        initial_types = list(initial_types.items())
    pairs: list[tuple[str, TensorType]] = []
    for item in initial_types:
        if hasattr(item, "onnx_name") and hasattr(item, "type"):
            # A variable, as a converter in skl2onnx's form has it.
            item = (item.onnx_name, item.type)
        if not isinstance(item, tuple | list) or len(item) != 2 or not isinstance(item[0], str):
            raise UsageError(f"initial_types holds {item!r}", needs="pairs of name and type", remedy=_EXAMPLE)
        pairs.append((item[0], as_tensor_type(item[1], item[0])))
    if not pairs:
        raise UsageError("initial_types is empty", remedy=_EXAMPLE)
    return pairs


def _input(g: GraphBuilder, name: str, given: TensorType, model: Any, *, alone: bool) -> Value:
    shape: list[Dim] = list(given.shape) if given.shape else [None, None]
    if shape[0] is None:
        shape[0] = BATCH
    if alone and len(shape) == 2 and shape[1] is None:
        shape[1] = 1 if _takes_text(model) else fitted_width(model)
    dtype = to_dtype(given.dtype)
    if dtype in (DataType.COMPLEX64, DataType.COMPLEX128):
        raise InvalidType(f"input {name!r} is complex", needs="real numbers or text")
    return g.input(name, dtype, shape)


def _takes_text(model: Any) -> bool:
    while getattr(model, "steps", None):
        model = model.steps[0][1]
    return hasattr(model, "build_analyzer")


def fitted_width(model: Any) -> int | None:
    """Return the number of columns that a model was fitted with, None where it does not say."""
    # A CatBoost model from a file says 0; boosters themselves have a method.
    if known := getattr(model, "n_features_in_", None):
        return int(known)
    for name in ("num_features", "num_feature"):
        if callable(getattr(model, name, None)):
            return int(getattr(model, name)())
    if type(model).__module__.startswith("sklearn."):
        # DictVectorizer's `feature_names_` are its results.
        return None
    return len(getattr(model, "feature_names_", None) or ()) or None


def _in_order(g: GraphBuilder, model: Any, values: list[Value]) -> Table:
    """Bring named columns into the order that the estimator was fitted with, and check their number."""
    fitted = _fitted_names(model)
    by_column = all(rank_of(v) == 1 or (rank_of(v) == 2 and width_of(v) == 1) for v in values)
    names = [str(v.name) for v in values]
    if fitted is not None and len(values) > 1 and by_column and set(fitted) & set(names):
        used = _used_columns(model)
        missing = [name for k, name in enumerate(fitted) if name not in names and (used is None or k in used)]
        if missing:
            raise InvalidType(
                f"the model was fitted with columns that no input has: {', '.join(missing)}",
                needs=f"inputs {fitted}",
            )
        # A column that nothing reads may be left out.
        ordered = [values[names.index(name)] if name in names else _unread(g) for name in fitted]
        return Table(tuple(ordered), tuple((name,) for name in fitted))
    wanted = fitted_width(model)
    if wanted is not None and all(rank_of(v) == 2 for v in values):
        given = sum(width_of(v) for v in values)
        if given != wanted:
            raise InvalidType(
                f"the inputs have {given} columns, the model was fitted with {wanted}",
                needs=f"{wanted} columns" + (f": {fitted}" if fitted is not None else ""),
            )
    return Table(tuple(values), _column_names(values, fitted))


def _unread(g: GraphBuilder) -> Value:
    return g.const(np.zeros((1, 1), bool), name="unread")


def _used_columns(model: Any) -> set[int] | None:
    """Return the positions of the columns that a model reads at all; None for every one."""
    if hasattr(model, "best_estimator_"):
        return _used_columns(model.best_estimator_)
    if getattr(model, "steps", None):
        first = next((step for _, step in model.steps if step is not None and step != "passthrough"), None)
        return None if first is None else _used_columns(first)
    if hasattr(model, "transformer_list"):
        parts = [_used_columns(part) for _, part in model.transformer_list if part != "drop"]
        return None if any(part is None for part in parts) else {k for part in parts if part for k in part}
    if hasattr(model, "_transformer_to_input_indices"):
        dropped = {name for name, part, _ in model.transformers_ if isinstance(part, str) and part == "drop"}
        read = model._transformer_to_input_indices
        return {int(k) for name, columns in read.items() if name not in dropped for k in columns}
    return None


def _column_names(values: Sequence[Value], fitted: list[str] | None) -> tuple[tuple[str, ...], ...]:
    if fitted is None or any(rank_of(v) != 2 for v in values):
        return tuple(() for _ in values)
    return split_names(values, fitted)


def split_names(values: Sequence[Value], names: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    """Return the names of the columns of each value; none at all where there are not as many as columns."""
    ends = np.cumsum([width_of(v) for v in values]).tolist()
    if len(names) != ends[-1]:
        return tuple(() for _ in values)
    return tuple(tuple(names[start:end]) for start, end in zip([0, *ends[:-1]], ends, strict=True))


def _fitted_names(model: Any) -> list[str] | None:
    names = getattr(model, "feature_names_in_", None)
    return None if names is None else [str(name) for name in names]


def columns_at(g: GraphBuilder, table: Table, indices: Sequence[int]) -> Table:
    """Return some columns of a table, in this order."""
    names = [name for group in table.columns for name in group]
    values = select_columns(g, table.values, indices)
    if len(names) != sum(width_of(v) for v in table.values):
        return Table(tuple(values), tuple(() for _ in values))
    return Table(tuple(values), split_names(values, [names[k] for k in indices]))


def float_type(values: Sequence[Value]) -> DataType:
    """Return the type of floating results for inputs of these types.

    DOUBLE for any float64 input. With none but integers of 32 bits or more it is DOUBLE as well, because float32 does
    not hold them; a float32 input beside them settles for FLOAT, which is what its user asked for.
    """
    types = {v.dtype for v in values}
    if DataType.DOUBLE in types:
        return DataType.DOUBLE
    if types & {DataType.FLOAT, DataType.FLOAT16, DataType.BFLOAT16}:
        return DataType.FLOAT
    wide = {DataType.INT32, DataType.INT64, DataType.UINT32, DataType.UINT64}
    return DataType.DOUBLE if types & wide and DataType.STRING not in types else DataType.FLOAT


# --- types from sample rows -------------------------------------------------------------------------------------------


def types_from_sample(X: Any, model: Any = None) -> list[tuple[str, TensorType]]:
    """Return `initial_types` for sample rows.

    Args:
        model: Columns of a DataFrame that it does not read may be of any type; dates, say, are no inputs then.
        X: Array, sparse matrix or list of rows: one input ``X``, or one per column (``x0``, ``x1``, …) where columns
            of an object array have different types. DataFrame (pandas, polars, arrow): one input per column, with its
            name. Series: one vector.

    Raises:
        InvalidType: A column has no type that ONNX has.
        UsageError: The object holds no rows.
    """
    if isinstance(X, str | bytes) or X is None:
        raise UsageError(f"the sample is {type(X).__name__}", needs="an array, a DataFrame or a list of rows")
    if isinstance(X, np.ndarray):
        return _array_types(X)
    if hasattr(X, "toarray") and hasattr(X, "dtype"):
        return [("X", tensor_type(X.dtype, [None, X.shape[1]]))]
    if isinstance(X, list | tuple):
        return _array_types(_array_of_rows(X))
    import narwhals

    frame = narwhals.from_native(X, eager_only=True, allow_series=True, pass_through=True)
    if isinstance(frame, narwhals.Series):
        return [(str(frame.name or "X"), tensor_type(_series_dtype(frame), [None]))]
    if isinstance(frame, narwhals.DataFrame):
        unread = _unread_columns(model)
        known = [name for name in frame.columns if name not in unread or _is_known(frame[name].dtype)]
        return [(str(name), tensor_type(_series_dtype(frame[name]), [None, 1])) for name in known]
    return _array_types(np.asarray(X))


def _array_of_rows(rows: Sequence[Any]) -> np.ndarray[Any, Any]:
    """Return rows as an array that keeps text text and numbers numbers."""
    array = np.asarray(rows, dtype=object)
    kinds = {type(item) for item in array.ravel().tolist()}
    if kinds and not any(issubclass(kind, str) for kind in kinds) and type(None) not in kinds:
        return np.asarray(rows)
    return array


def _array_types(array: np.ndarray[Any, Any]) -> list[tuple[str, TensorType]]:
    if array.ndim == 0:
        raise UsageError("the sample is a number", needs="rows")
    shape: list[Dim] = [None, *array.shape[1:]]
    if array.dtype != object:
        return [("X", tensor_type(array.dtype, shape))]
    if array.ndim == 1:
        return [("X", tensor_type(_object_dtype(array), shape))]
    dtypes = [_object_dtype(array[:, k]) for k in range(array.shape[1])]
    if len(set(dtypes)) == 1:
        return [("X", tensor_type(dtypes[0], shape))]
    return [(f"x{k}", tensor_type(dtype, [None, 1])) for k, dtype in enumerate(dtypes)]


def _object_dtype(column: np.ndarray[Any, Any]) -> str:
    """Return the element type of a column of Python objects; None and NaN beside text are missing text."""
    present = [item for item in column.ravel().tolist() if item is not None and item == item]
    if any(isinstance(item, str) for item in present):
        return "object"
    if not present:
        return "object" if any(item is None for item in column.ravel().tolist()) else "float64"
    dtype = np.asarray(present).dtype
    if dtype.kind in "biu" and len(present) < column.size:
        return "float64"
    if dtype.kind not in "biuf":
        raise InvalidType(f"a column holds {type(present[0]).__name__} objects", needs="numbers or text")
    return "bool" if dtype.kind == "b" else "int64" if dtype.kind in "iu" else str(dtype)


def _unread_columns(model: Any) -> set[str]:
    """Return the names of the columns that a model was fitted with and does not read."""
    fitted = _fitted_names(model) or []
    used = _used_columns(model)
    return set() if used is None else {name for k, name in enumerate(fitted) if k not in used}


def _is_known(dtype: Any) -> bool:
    """Tell whether a column of this type of narwhals's can be an input."""
    import narwhals

    kinds = (narwhals.String, narwhals.Boolean, narwhals.Categorical, narwhals.Enum, narwhals.Object, narwhals.Unknown)
    return bool(dtype.is_numeric()) or dtype in kinds


def _series_dtype(series: Any) -> str:
    import narwhals

    dtype = series.dtype
    if dtype == narwhals.Boolean:
        return "float64" if series.is_null().any() else "bool"
    if dtype.is_integer():
        return "float64" if series.is_null().any() else str(dtype).lower()
    if dtype.is_float():
        return str(dtype).lower()
    if dtype == narwhals.String:
        return "object"
    if dtype in (narwhals.Categorical, narwhals.Enum, narwhals.Object, narwhals.Unknown):
        return _object_dtype(np.asarray(series.to_numpy(), dtype=object))
    raise InvalidType(
        f"column {series.name!r} is of type {dtype}",
        needs="numbers, booleans or text",
        remedy="turn it into numbers before the model, or leave it out of the sample where the model does not read it",
    )
