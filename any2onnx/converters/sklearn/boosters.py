"""What the converters of XGBoost, LightGBM and CatBoost share: labels, probabilities, leaves, columns of categories."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from any2onnx.converters.sklearn.hist_gradient_boosting import category_codes
from any2onnx.converters.sklearn.support import as_column, columns_of, fill_rows, hstack, width_of, working_type
from any2onnx.converters.sklearn.tree import Array, matrix
from any2onnx.errors import UnsupportedParameter, UsageError
from any2onnx.graph.builder import GraphBuilder
from any2onnx.graph.types import DataType, Value, dtype_of, rank_of
from any2onnx.operator_mappings.mapping import Call

ITERATIONS: Final = "iteration_range"


def iterations_of(call: Call) -> tuple[int, int] | None:
    """Return the option ``iteration_range``.

    Raises:
        UsageError: It is no pair of whole numbers.
    """
    chosen = call.options.get(ITERATIONS)
    if chosen is None:
        return None
    if not (isinstance(chosen, tuple | list) and len(chosen) == 2 and all(isinstance(n, int) for n in chosen)):
        raise UsageError(f"{ITERATIONS}={chosen!r}", needs="a pair of whole numbers, such as (0, 10)")
    return int(chosen[0]), int(chosen[1])


def constant(g: GraphBuilder, call: Call, row: Array) -> Value:
    """Return the same row for every row of the input: [batch, len(row)]."""
    return fill_rows(g, call, np.asarray(row, np.float64))


def as_scores(g: GraphBuilder, call: Call, value: Value) -> Value:
    """Return [batch, 1] as [batch], more columns as they are, in the type of floating results."""
    value = g.Cast(value, working_type(call))
    return g.Squeeze(value, 1) if width_of(value) == 1 else value


def above_half(g: GraphBuilder, score: Value, unit: float) -> Value:
    """Tell where 1 / (1 + exp(-score)) is above a half as the library rounds it: bool.

    Args:
        g: The builder.
        score: Any shape.
        unit: The rounding unit of the library's probabilities (2**-23 for float32): smaller scores give a half.
    """
    return g.Greater(score, g.scalar_like(0.75 * unit, score))


def two_probabilities(g: GraphBuilder, positive: Value) -> Value:
    """Return [1 - p, p] for p [batch, 1]."""
    return g.Concat(g.Sub(g.scalar_like(1.0, positive), positive), positive, axis=1)


# --- columns of categories that the library itself codes --------------------------------------------------------------


def coded_matrix(g: GraphBuilder, call: Call, categories: Mapping[int, Array]) -> Value:
    """Return the rows as one matrix, columns of categories as codes: NaN for a category that is not known.

    Args:
        g: The builder.
        call: One matrix of numbers holds codes already, as the libraries take it; otherwise the columns hold the
            categories themselves.
        categories: By column, in the order of their codes; none where they are not known.

    Raises:
        UnsupportedParameter: They are not known.
    """
    matrices = [v for v in call.inputs if rank_of(v) == 2 and width_of(v) > 1]
    if not categories or (len(call.inputs) == 1 and matrices and dtype_of(matrices[0]) != DataType.STRING):
        return matrix(g, call)
    parts = []
    for k, column in enumerate(columns_of(g, call)):
        if k in categories and not len(categories[k]):
            raise UnsupportedParameter(
                f"the model has lost the names of the categories of column {k}: some are not ASCII",
                where=call.location or None,
                remedy="convert with one matrix of category codes as input, or encode the column before the model",
            )
        if k in categories:
            parts.append(category_codes(g, call, as_column(g, column), categories[k]))
        else:
            parts.append(as_column(g, column))
    types = [dtype_of(part) for part in parts]
    if DataType.STRING in types:
        return matrix(g, call)
    common = DataType.from_numpy(np.result_type(*(t.numpy() for t in types)))
    return hstack(g, parts, common)


def known_categories(values: Sequence[Array | None]) -> dict[int, Array]:
    """Return the categories by column, without the columns that have none."""
    return {k: column for k, column in enumerate(values) if column is not None}
