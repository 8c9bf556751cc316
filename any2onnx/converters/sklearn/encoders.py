"""sklearn.preprocessing: encoders of categories and labels, and KBinsDiscretizer.

Every encoder first finds the position of a value among its fitted categories; a small table then says what that
position becomes. An unknown value, for which scikit-learn raises (handle_unknown="error"), gives zeros in a one-hot
encoding and NaN (-1 for integer results) in an ordinal one: a graph cannot raise.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from any2onnx.converters.sklearn import sparse_rows
from any2onnx.converters.sklearn.encoders_inverse import (
    k_bins_inverse,
    label_binarizer_inverse,
    one_hot_inverse,
    ordinal_inverse,
)
from any2onnx.converters.sklearn.support import (
    INTEGERS,
    Array,
    Results,
    as_vector,
    class_array,
    columns_of,
    hstack,
    labels,
    matrix,
    no_columns,
    working_type,
)
from any2onnx.converters.sklearn.text_values import is_missing, lookup, text_index, text_of
from any2onnx.errors import InvalidType, UnsupportedParameter
from any2onnx.graph.builder import GraphBuilder
from any2onnx.graph.types import DataType, Value, dtype_of, to_dtype
from any2onnx.operator_mappings.mapping import Call

# Features whose one-hot columns are made by one product: its cost per column is the number of features.
_TOGETHER: Final = 32


def category_index(g: GraphBuilder, call: Call, column: Value, categories: Any, codes: Array | None = None) -> Value:
    """Return the position of each value among the categories; the number of categories for an unknown value.

    Args:
        g: Builder.
        call: For messages.
        column: [N, 1] or [N], text or numbers.
        categories: Fitted; NaN and None stand for missing values.
        codes: What to return instead of the position, int64 [categories + 1]; the last is for an unknown value.

    Returns:
        int64 in the shape of the column.

    Raises:
        InvalidType: Text against numeric categories, or the other way round.
    """
    known: list[Any] = np.asarray(categories).tolist()
    if codes is None:
        codes = np.arange(len(known) + 1)
    text = any(isinstance(item, str) for item in known)
    only_missing = all(is_missing(item) for item in known)
    if dtype_of(column) == DataType.STRING:
        if not text and not only_missing:
            raise _wrong_kind(call, column, "text", "numbers", known)
        return _text_code(g, call, column, known, codes)
    if text or (only_missing and None in known):
        raise _wrong_kind(call, column, "numbers", "text", known)
    return _number_code(g, column, np.asarray(categories), codes)


def _wrong_kind(call: Call, column: Value, given: str, fitted: str, known: list[Any]) -> InvalidType:
    return InvalidType(
        f"column {column.name!r} holds {given}, the encoder was fitted on {fitted} such as {known[0]!r}",
        where=call.location or None,
        needs="the type of the column at fit",
    )


def _text_code(g: GraphBuilder, call: Call, column: Value, known: list[Any], codes: Array) -> Value:
    keys = [text_of(item) for item in known]
    if len(set(keys)) != len(keys):
        raise UnsupportedParameter(
            "a missing value and a text have the same text in ONNX: "
            + ", ".join(sorted({k for k in keys if keys.count(k) > 1})),
            where=call.location or None,
        )
    return text_index(g, column, keys, int(codes[-1]), codes[:-1].tolist())


def _number_code(g: GraphBuilder, column: Value, categories: Array, codes: Array) -> Value:
    if dtype_of(column) in INTEGERS and categories.dtype.kind in "iub":
        keys = categories.astype(np.int64).tolist()
        wide = g.Cast(column, DataType.INT64)
        return lookup(g, wide, keys_int64s=keys, values_int64s=codes[:-1].tolist(), default_int64=int(codes[-1]))
    numbers = categories.astype(np.float64)
    wide = g.Cast(column, DataType.DOUBLE)
    rank1 = len(wide.shape or ()) == 1
    table = g.Unsqueeze(wide, 1) if rank1 else wide
    same = g.Equal(table, numbers[None, :])
    missing = np.isnan(numbers)
    if missing.any():
        same = g.Or(same, g.And(g.IsNaN(table), missing[None, :]))
    # The last column is true only for an unknown value, because ArgMax takes the first of equals.
    matches = g.Cast(same, DataType.INT32)
    position = g.ArgMax(g.op("Pad", matches, [0, 0, 0, 1], g.const(np.asarray(1, np.int32))), axis=1, keepdims=1)
    # Where a category matches, its 1 comes before the padding's.
    if not np.array_equal(codes, np.arange(len(codes))):
        position = g.Gather(codes, position, axis=0)
    return g.Squeeze(position, 1) if rank1 else position


def _result_type(call: Call, dtype: Any) -> DataType:
    """Return the element type for an encoder's `dtype`: the working type for floats, integers as they are."""
    kind = np.dtype(dtype)
    return working_type(call) if kind.kind == "f" else to_dtype(kind)


# --- OneHotEncoder ----------------------------------------------------------------------------------------------------


def one_hot_encoder(g: GraphBuilder, call: Call) -> Results:
    """Convert OneHotEncoder with every option: drop, infrequent categories, handling of unknown values."""
    if "inverse_transform" in call.methods:
        return {"inverse_transform": one_hot_inverse(g, call)}
    model = call.source
    dtype = _result_type(call, model.dtype)
    tables, widths = one_hot_tables(model)
    total = sum(widths)
    if not total:
        return {"transform": no_columns(g, call, dtype)}
    # The column of the result for each feature; `total` for none.
    columns: list[Value] = []
    kept: list[int] = []
    for column, categories, table, width in zip(columns_of(g, call), model.categories_, tables, widths, strict=True):
        if width:
            codes = np.where(table < 0, total, table + sum(kept))
            columns.append(category_index(g, call, column, categories, codes))
            kept.append(width)
    hot = [
        _hot(g, columns[k : k + _TOGETHER], kept[k : k + _TOGETHER], sum(kept[:k]), dtype)
        for k in range(0, len(kept), _TOGETHER)
    ]
    rows = sparse_rows.OneHotRows(hstack(g, columns))
    return {"transform": sparse_rows.attach(hstack(g, hot), rows)}


def _hot(g: GraphBuilder, columns: Sequence[Value], widths: Sequence[int], first: int, dtype: DataType) -> Value:
    """Return the columns of some features, from `first` on: 1 where a feature has that column.

    A product with ones repeats each feature's column over its width (several times faster than a Gather of columns), so
    that one comparison serves all features.
    """
    wanted = np.arange(first, first + sum(widths))[None, :]
    if len(columns) == 1:
        return g.Cast(g.Equal(columns[0], wanted), dtype)
    owner = np.repeat(np.arange(len(widths)), widths)
    # float32 holds the numbers of 16 million columns.
    exact = np.float32 if wanted[0, -1] < 1 << 24 else np.float64
    repeated = (owner == np.arange(len(widths))[:, None]).astype(exact)
    spread = g.MatMul(g.Cast(hstack(g, columns), to_dtype(np.dtype(exact))), repeated)
    return g.Cast(g.Equal(spread, wanted.astype(exact)), dtype)


def one_hot_tables(model: Any) -> tuple[list[Array], list[int]]:
    """Return, per feature, the output column of each category and of an unknown value (-1 for none), and the width."""
    tables: list[Array] = []
    grouped = getattr(model, "_default_to_infrequent_mappings", None) if model._infrequent_enabled else None
    drop = model._drop_idx_after_grouping
    for k, categories in enumerate(model.categories_):
        mapping = grouped[k] if grouped is not None else None
        codes = np.arange(len(categories)) if mapping is None else np.asarray(mapping, np.int64)
        unknown = -1
        if mapping is not None and model.handle_unknown in ("infrequent_if_exist", "warn"):
            unknown = int(codes.max())
        table = np.append(codes, unknown).astype(np.int64)
        dropped = None if drop is None else drop[k]
        if dropped is not None:
            table = np.where(table == dropped, -1, np.where(table > dropped, table - 1, table))
        tables.append(table)
    return tables, [int(width) for width in model._n_features_outs]


# --- OrdinalEncoder ---------------------------------------------------------------------------------------------------


def ordinal_encoder(g: GraphBuilder, call: Call) -> Results:
    """Convert OrdinalEncoder with every option: unknown, missing and infrequent values."""
    if "inverse_transform" in call.methods:
        return {"inverse_transform": ordinal_inverse(g, call)}
    model = call.source
    dtype = _result_type(call, model.dtype)
    parts = [
        g.Gather(table.astype(dtype.numpy()), category_index(g, call, column, categories), axis=0)
        for column, categories, table in zip(
            columns_of(g, call), model.categories_, _ordinal_tables(model), strict=True
        )
    ]
    return {"transform": hstack(g, parts)}


def _ordinal_tables(model: Any) -> list[Array]:
    """Return, per feature, the code of each category and of an unknown value."""
    floats = np.dtype(model.dtype).kind == "f"
    grouped = model._default_to_infrequent_mappings if model._infrequent_enabled else None
    tables: list[Array] = []
    for k, categories in enumerate(model.categories_):
        codes = np.arange(len(categories), dtype=np.float64)
        mapping = grouped[k] if grouped is not None else None
        if mapping is not None:
            # Without the missing value, which is never grouped.
            codes[: len(mapping)] = mapping
        if k in model._missing_indices:
            codes[model._missing_indices[k]] = model.encoded_missing_value
        unknown = model.unknown_value if model.handle_unknown == "use_encoded_value" else (np.nan if floats else -1)
        tables.append(np.append(codes, float(unknown)))
    return tables


# --- labels -----------------------------------------------------------------------------------------------------------


def label_encoder(g: GraphBuilder, call: Call) -> Results:
    """Convert LabelEncoder: the position of each label; -1 for an unknown one."""
    classes = call.source.classes_
    if "inverse_transform" in call.methods:
        return {"inverse_transform": labels(g, classes, g.Cast(as_vector(g, call.input), DataType.INT64))}
    position = category_index(g, call, as_vector(g, call.input), classes)
    unknown = np.append(np.arange(len(classes)), -1)
    return {"transform": g.Gather(unknown, position, axis=0)}


def label_binarizer(g: GraphBuilder, call: Call) -> Results:
    """Convert LabelBinarizer: one column per class, a single one for two classes."""
    if "inverse_transform" in call.methods:
        return {"inverse_transform": label_binarizer_inverse(g, call)}
    model = call.source
    positive, negative = (np.asarray(v, np.int64) for v in (model.pos_label, model.neg_label))
    if getattr(model, "y_type_", "").startswith("multilabel"):
        # Label sets are binary already: what is not 0 is the positive label.
        bits = matrix(g, call, DataType.DOUBLE)
        return {"transform": g.Where(g.Equal(bits, g.scalar_like(0.0, bits)), negative, positive)}
    classes = class_array(model.classes_)
    position = category_index(g, call, as_vector(g, call.input), classes)
    column = g.Unsqueeze(position, 1)
    if len(classes) == 1:
        hit: Value = g.Less(column, column)
    else:
        wanted = np.asarray([[1]]) if len(classes) == 2 else np.arange(len(classes))[None, :]
        hit = g.Equal(column, wanted)
    return {"transform": g.Where(hit, positive, negative)}


# --- KBinsDiscretizer -------------------------------------------------------------------------------------------------


def k_bins_discretizer(g: GraphBuilder, call: Call) -> Results:
    """Convert KBinsDiscretizer: the number of inner edges that are not above the value, or its one-hot form."""
    if "inverse_transform" in call.methods:
        return {"inverse_transform": k_bins_inverse(g, call)}
    model = call.source
    x = matrix(g, call, DataType.DOUBLE)
    inner = [np.asarray(edges, np.float64)[1:-1] for edges in model.bin_edges_]
    most = max(len(edges) for edges in inner)
    # Features with fewer bins are filled with NaN, which no value reaches.
    padded = np.full((len(inner), max(most, 1)), np.nan)
    for row, edges in zip(padded, inner, strict=True):
        row[: len(edges)] = edges
    reached = g.GreaterOrEqual(g.Unsqueeze(x, 2), padded[None])
    dtype = working_type(call)
    position = g.ReduceSum(g.Cast(reached, DataType.INT64), [2], keepdims=False)
    if model.encode == "ordinal":
        return {"transform": g.Cast(position, dtype)}
    widths = [int(k) for k in model.n_bins_]
    parts = g.Split(position, [1] * len(widths), axis=1) if len(widths) > 1 else (position,)
    hot = [g.Cast(g.Equal(p, np.arange(k)[None, :]), dtype) for p, k in zip(parts, widths, strict=True)]
    return {"transform": hstack(g, hot)}
