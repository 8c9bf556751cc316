"""sklearn.feature_extraction.DictVectorizer on named columns: the columns of a row are the entries of its dict.

A dict without some entry has its counterpart in a row with 0 there, or with a text that no dict had at fit.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from any2onnx.converters.sklearn.map_inputs import FROM_MAP
from any2onnx.converters.sklearn.ragged import entries_inverse
from any2onnx.converters.sklearn.support import Results, as_column, take_columns, width_of, working_type
from any2onnx.converters.sklearn.text_values import text_index
from any2onnx.errors import InvalidType, UnsupportedParameter
from any2onnx.graph.builder import GraphBuilder
from any2onnx.graph.types import DataType, Value, dtype_of
from any2onnx.operator_mappings.mapping import Call


def dict_vectorizer(g: GraphBuilder, call: Call) -> Results:
    """Convert DictVectorizer: numbers as they are, texts as one column per text of the vocabulary.

    Raises:
        InvalidType: No input has the name of a feature.
        UnsupportedParameter: Two entries would be the same feature.
    """
    if "inverse_transform" in call.methods:
        return {"inverse_transform": entries_inverse(g, call)}
    if call.inputs[0].meta.get(FROM_MAP):
        return {"transform": g.Cast(g.Identity(call.inputs[0]), working_type(call))}
    model = call.source
    vocabulary: dict[str, int] = {str(name): int(k) for name, k in model.vocabulary_.items()}
    dtype = working_type(call)
    parts: list[Value] = []
    owned: list[int] = []
    for name, value in named_columns(g, call):
        if dtype_of(value) == DataType.STRING:
            found = _texts(g, value, name + model.separator, vocabulary, dtype)
            if found is not None:
                parts.append(found[0])
                owned.extend(found[1])
        elif name in vocabulary and width_of(value) == 1:
            parts.append(g.Cast(value, dtype))
            owned.append(vocabulary[name])
    if not parts:
        raise InvalidType(
            "no input has the name of a feature of DictVectorizer",
            where=call.location or None,
            needs=f"inputs named by the keys of the dicts, for features such as {next(iter(vocabulary), '')!r}",
        )
    if len(set(owned)) != len(owned):
        raise UnsupportedParameter("two inputs are the same feature of DictVectorizer", where=call.location or None)
    width = len(vocabulary)
    # One column of zeros stands for every feature that no input can have.
    rows = g.dim(parts[0], 0)
    zeros = g.Expand(g.const(np.zeros((1, 1), dtype.numpy())), g.shape_vector([rows, 1]))
    order = np.full(width, len(owned), np.int64)
    order[owned] = np.arange(len(owned))
    table = g.op("Concat", *parts, zeros, axis=1)
    return {"transform": g.Gather(table, order, axis=1)}


def named_columns(g: GraphBuilder, call: Call) -> list[tuple[str, Value]]:
    """Return inputs with their names; a matrix with named columns column by column."""
    found: list[tuple[str, Value]] = []
    names: Sequence[str]
    for value, names in zip(call.inputs, call.params["columns"], strict=True):
        column = as_column(g, value)
        if len(names) == width_of(column):
            found.extend((name, take_columns(g, column, [k])) for k, name in enumerate(names))
        else:
            found.append((str(value.name), column))
    return found


def _texts(
    g: GraphBuilder, value: Value, prefix: str, vocabulary: dict[str, int], dtype: DataType
) -> tuple[Value, list[int]] | None:
    """Return how often each known text is among the columns of an entry, and the features that these are."""
    features = [name for name in vocabulary if name.startswith(prefix)]
    if not features:
        return None
    index = text_index(g, value, [name[len(prefix) :] for name in features], len(features))
    hit = g.Equal(g.Unsqueeze(index, 2), np.arange(len(features), dtype=np.int64)[None, None, :])
    counts = g.ReduceSum(g.Cast(hit, dtype), [1], keepdims=False)
    return counts, [vocabulary[name] for name in features]
