"""Results with another number of items in each row: the terms of a document, the labels of a set, a dict's entries.

scikit-learn gives a list with one array per row. In the graph these are the items of all rows behind each other, and
how many each row has; in the finished model they are a sequence of tensors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from any2onnx.converters.sklearn.support import class_array, matrix, working_type
from any2onnx.graph.builder import GraphBuilder
from any2onnx.graph.types import DataType, Value
from any2onnx.operator_mappings.mapping import Call


@dataclass(frozen=True, slots=True)
class Ragged:
    """Rows of different lengths.

    Attributes:
        items: Of all rows, [total].
        lengths: Number of items of each row, int64 [N].
    """

    items: Value
    lengths: Value


def terms_inverse(g: GraphBuilder, call: Call) -> Ragged:
    """Return the terms of the columns that are not 0, for CountVectorizer and TfidfVectorizer."""
    vocabulary = call.source.vocabulary_
    ordered = sorted(vocabulary, key=lambda term: int(vocabulary[term]))
    terms = [" ".join(term) if isinstance(term, tuple) else str(term) for term in ordered]
    return _names(g, matrix(g, call), terms)[0]


def labels_inverse(g: GraphBuilder, call: Call) -> Ragged:
    """Return the classes of the columns that are not 0, for MultiLabelBinarizer."""
    return _names(g, matrix(g, call), class_array(call.source.classes_, call.location))[0]


def entries_inverse(g: GraphBuilder, call: Call) -> tuple[Ragged, Ragged]:
    """Return the names and the values of the columns that are not 0, for DictVectorizer."""
    x = matrix(g, call, working_type(call))
    names, places = _names(g, x, [str(name) for name in call.source.feature_names_])
    return names, Ragged(g.op("GatherND", x, places), names.lengths)


def _names(g: GraphBuilder, x: Value, names: Sequence[Any] | np.ndarray[Any, Any]) -> tuple[Ragged, Value]:
    """Return the names of the columns that are not 0, and their places, int64 [total, 2]."""
    there = g.Cast(x, DataType.BOOL)
    places = g.Transpose(g.op("NonZero", there), perm=[1, 0])
    array = names if isinstance(names, np.ndarray) else np.asarray(names, dtype=object)
    items = g.Gather(g.const(array, name="names"), g.Gather(places, np.asarray(1, np.int64), axis=1), axis=0)
    return Ragged(items, g.ReduceSum(g.Cast(there, DataType.INT64), [1], keepdims=False)), places
