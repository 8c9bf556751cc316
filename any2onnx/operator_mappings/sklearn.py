"""Mapping table for scikit-learn: the rows of all families."""

from __future__ import annotations

from any2onnx.operator_mappings import (
    sklearn_basic,
    sklearn_boosters,
    sklearn_clusters,
    sklearn_decomposition,
    sklearn_features,
    sklearn_imblearn,
    sklearn_kernels,
    sklearn_linear,
    sklearn_meta,
    sklearn_models,
    sklearn_neighbors,
    sklearn_options,
    sklearn_sklapi,
    sklearn_text,
    sklearn_trees,
)
from any2onnx.operator_mappings.mapping import OperatorMapping

ROWS: tuple[OperatorMapping, ...] = tuple(
    sklearn_options.with_options_of_skl2onnx(row)
    for row in (
        *sklearn_basic.ROWS,
        *sklearn_boosters.ROWS,
        *sklearn_clusters.ROWS,
        *sklearn_decomposition.ROWS,
        *sklearn_features.ROWS,
        *sklearn_imblearn.ROWS,
        *sklearn_kernels.ROWS,
        *sklearn_linear.ROWS,
        *sklearn_meta.ROWS,
        *sklearn_models.ROWS,
        *sklearn_neighbors.ROWS,
        *sklearn_sklapi.ROWS,
        *sklearn_text.ROWS,
        *sklearn_trees.ROWS,
    )
)
