"""Inverse transformations of encoders: from codes back to categories, labels and bin centres.

A value that scikit-learn gives back as None (an unknown category) is the text "None"; among numbers it is NaN.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from any2onnx.converters.sklearn.frame import Frame
from any2onnx.converters.sklearn.frames import framed
from any2onnx.converters.sklearn.support import (
    Array,
    argmax_label,
    as_column,
    as_vector,
    hstack,
    labels,
    matrix,
    working_type,
)
from any2onnx.converters.sklearn.text_values import is_missing, text_of
from any2onnx.errors import UnsupportedParameter
from any2onnx.graph.builder import GraphBuilder
from any2onnx.graph.types import DataType, Value
from any2onnx.operator_mappings.mapping import Call


def category_values(call: Call, features: Sequence[Any]) -> list[Array]:
    """Return the categories of each feature in an element type that ONNX has; one type for all features of numbers.

    Raises:
        UnsupportedParameter: Text and numbers in one feature.
    """
    lists = [
        list(categories) if isinstance(categories, list) else np.asarray(categories).tolist() for categories in features
    ]
    texts = [any(isinstance(item, str) for item in items) for items in lists]
    # Nothing but missing values, beside text, comes as the texts that stand for them.
    texts = [text or (any(texts) and all(map(is_missing, items))) for items, text in zip(lists, texts, strict=True)]
    for items, text in zip(lists, texts, strict=True):
        if text and not all(isinstance(item, str) or is_missing(item) for item in items):
            raise UnsupportedParameter("text and numbers in one column cannot be expressed", where=call.location)
    # None among numbers is NaN.
    arrays = [np.asarray([np.nan if item is None else item for item in items]) for items in lists]
    numbers = [array.dtype for array, text in zip(arrays, texts, strict=True) if not text]
    joined = np.result_type(*numbers) if numbers else np.dtype(object)
    dtype = {"f": working_type(call).numpy(), "b": np.dtype(bool)}.get(joined.kind, np.dtype(np.int64))
    return [
        np.asarray([text_of(item) for item in items], dtype=object) if text else array.astype(dtype)
        for items, array, text in zip(lists, arrays, texts, strict=True)
    ]


def _parts(g: GraphBuilder, x: Value, widths: Sequence[int]) -> list[Value]:
    """Split columns into groups; a group may be empty."""
    kept = [width for width in widths if width]
    pieces = iter(g.Split(x, kept, axis=1) if len(kept) > 1 else (x,))
    return [next(pieces) if width else x for width in widths]


def one_hot_inverse(g: GraphBuilder, call: Call) -> Value | Frame:
    """Return the categories of one-hot rows; a group of zeros is the dropped category, or unknown."""
    model = call.source
    count = len(model.categories_)
    whole = [model._compute_transformed_categories(k, remove_dropped=False) for k in range(count)]
    drop = model._drop_idx_after_grouping
    unknown = [_may_be_unknown(model, k) for k in range(count)]
    if any(unknown):
        whole = [
            np.asarray([*np.asarray(c).tolist(), None], dtype=object) if u else c
            for c, u in zip(whole, unknown, strict=True)
        ]
    values = category_values(call, whole)
    x = matrix(g, call, DataType.DOUBLE)
    widths = [int(width) for width in model._n_features_outs]
    columns: list[Value] = []
    for k, part in enumerate(_parts(g, x, widths)):
        dropped = None if drop is None else drop[k]
        places = np.arange(len(whole[k]) - int(unknown[k]))
        kept = places if dropped is None else np.delete(places, dropped)
        nothing = len(whole[k]) - 1 if unknown[k] else int(dropped or 0)
        if not len(kept):
            rows = g.Shape(x, start=0, end=1)
            index = g.Expand(np.asarray([[nothing]]), g.shape_vector([rows, 1]))
        else:
            found = g.Gather(kept.astype(np.int64), g.ArgMax(part, axis=1, keepdims=1), axis=0)
            total = g.ReduceSum(part, [1])
            index = g.Where(g.Equal(total, g.scalar_like(0.0, total)), np.asarray(nothing, np.int64), found)
        columns.append(g.Gather(values[k], index, axis=0))
    return framed(g, columns)


def _may_be_unknown(model: Any, k: int) -> bool:
    """Tell whether a group of zeros means an unknown value, which comes back as None."""
    grouped = model._infrequent_indices[k] if model._infrequent_enabled else None
    ignores = model.handle_unknown == "ignore" or (
        model.handle_unknown in ("infrequent_if_exist", "warn") and grouped is None
    )
    drop = model._drop_idx_after_grouping
    return ignores and (drop is None or drop[k] is None)


def ordinal_inverse(g: GraphBuilder, call: Call) -> Value | Frame:
    """Return the categories behind codes; "infrequent_sklearn" for grouped ones.

    Raises:
        UnsupportedParameter: A feature with missing values and grouped categories, whose codes scikit-learn mixes up.
    """
    model = call.source
    unknowns = model.handle_unknown == "use_encoded_value"
    features = [_behind_codes(call, k) + [None] * unknowns for k in range(len(model.categories_))]
    values = category_values(call, features)
    x = matrix(g, call, DataType.DOUBLE)
    columns: list[Value] = []
    for k, part in enumerate(_parts(g, x, [1] * len(features))):
        index = part
        if k in model._missing_indices:
            place = float(model._missing_indices[k])
            index = g.Where(_same(g, part, model.encoded_missing_value), g.scalar_like(place, part), index)
        if unknowns:
            place = float(len(features[k]) - 1)
            index = g.Where(_same(g, part, model.unknown_value), g.scalar_like(place, part), index)
        columns.append(g.Gather(values[k], g.Cast(index, DataType.INT64), axis=0))
    return framed(g, columns)


def _behind_codes(call: Call, k: int) -> list[Any]:
    """Return what the codes 0, 1, … of a feature stand for."""
    model = call.source
    known: list[Any] = np.asarray(model.categories_[k]).tolist()
    grouped = model._infrequent_indices[k] if model._infrequent_enabled else None
    if grouped is None:
        return known
    if k in model._missing_indices:
        raise UnsupportedParameter(
            f"feature {k} has missing values and grouped categories, of which scikit-learn takes the codes for each "
            "other's",
            where=call.location or None,
        )
    rare = set(np.asarray(grouped).tolist())
    return [item for place, item in enumerate(known) if place not in rare] + ["infrequent_sklearn"]


def _same(g: GraphBuilder, x: Value, number: Any) -> Value:
    return g.IsNaN(x) if is_missing(number) else g.Equal(x, g.scalar_like(float(number), x))


def label_binarizer_inverse(g: GraphBuilder, call: Call) -> Value:
    """Return the labels behind binarised rows: the largest column, or the side of the middle for two classes."""
    model = call.source
    x = as_column(g, matrix(g, call, DataType.DOUBLE))
    if model.y_type_ == "multiclass":
        return argmax_label(g, x, model.classes_)
    middle = (model.pos_label + model.neg_label) / 2.0
    if model.y_type_.startswith("multilabel"):
        return g.Cast(g.Greater(x, g.scalar_like(middle, x)), DataType.INT64)
    score = as_vector(g, x)
    index = g.Cast(g.Greater(score, g.scalar_like(middle, score)), DataType.INT64)
    if len(model.classes_) == 1:
        index = g.Mul(index, np.asarray(0, np.int64))
    return labels(g, model.classes_, index)


def k_bins_inverse(g: GraphBuilder, call: Call) -> Value:
    """Return the centre of each bin."""
    model = call.source
    dtype = working_type(call)
    x = matrix(g, call, DataType.DOUBLE)
    widths = [1] * len(model.n_bins_) if model.encode == "ordinal" else [int(k) for k in model.n_bins_]
    columns: list[Value] = []
    for part, edges in zip(_parts(g, x, widths), model.bin_edges_, strict=True):
        centres = (np.asarray(edges[1:], np.float64) + np.asarray(edges[:-1], np.float64)) * 0.5
        ordinal = model.encode == "ordinal"
        index = g.Cast(part, DataType.INT64) if ordinal else g.ArgMax(part, axis=1, keepdims=1)
        columns.append(g.Gather(centres.astype(dtype.numpy()), index, axis=0))
    return hstack(g, columns)
