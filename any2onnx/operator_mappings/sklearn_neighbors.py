"""scikit-learn: neighbours, and what is built on distances to fitted points."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from any2onnx.operator_mappings.mapping import OperatorMapping
from any2onnx.operator_mappings.sklearn_rows import (
    CLASSIFIER,
    CLASSIFIER_OPTIONS,
    OUTLIER_OPTIONS,
    PRECISION,
    row,
)

_METRIC: Final = "metric p metric_params"
_SEARCH: Final = "algorithm leaf_size n_jobs"


def _neighbours(
    name: str,
    converter: str,
    shapes: str,
    methods: str,
    honours: str,
    options: Mapping[str, tuple[Any, ...]] = PRECISION,
    irrelevant: str = "",
    note: str = "of equally distant points the first fitted ones are taken, where scikit-learn takes any",
) -> OperatorMapping:
    return row(
        f".neighbors.{name}",
        converter,
        f"neighbors:{shapes}",
        methods=methods,
        honours=f"{_METRIC} {honours}",
        irrelevant=f"{_SEARCH} {irrelevant}",
        options=options,
        note=note,
    )


ROWS: Final[tuple[OperatorMapping, ...]] = (
    _neighbours(
        "KNeighborsClassifier",
        "neighbors:k_neighbors_classifier",
        "classifier",
        "predict predict_proba kneighbors",
        "n_neighbors weights",
        CLASSIFIER_OPTIONS,
    ),
    _neighbours(
        "RadiusNeighborsClassifier",
        "neighbors_radius:radius_neighbors_classifier",
        "classifier",
        "predict predict_proba",
        "radius weights outlier_label",
        CLASSIFIER_OPTIONS,
        note="with outlier_label=None a batch with an outlier fails to run, as scikit-learn raises for it",
    ),
    _neighbours(
        "KNeighborsRegressor",
        "neighbors:k_neighbors_regressor",
        "regressor",
        "predict kneighbors",
        "n_neighbors weights",
    ),
    _neighbours(
        "RadiusNeighborsRegressor",
        "neighbors_radius:radius_neighbors_regressor",
        "regressor",
        "predict",
        "radius weights",
        note="",
    ),
    _neighbours(
        "NearestNeighbors",
        "neighbors:nearest_neighbors",
        "neighbours",
        "kneighbors",
        "n_neighbors",
        irrelevant="radius",
    ),
    _neighbours(
        "KNeighborsTransformer",
        "neighbors:k_neighbors_transformer",
        "neighbour_graph",
        "transform kneighbors",
        "n_neighbors mode",
    ),
    _neighbours(
        "RadiusNeighborsTransformer",
        "neighbors_radius:radius_neighbors_transformer",
        "neighbour_graph",
        "transform",
        "radius mode",
        note="",
    ),
    _neighbours(
        "LocalOutlierFactor",
        "neighbors:local_outlier_factor",
        "outlier_detector",
        "predict decision_function score_samples kneighbors",
        "n_neighbors novelty contamination",
        OUTLIER_OPTIONS,
    ),
    row(
        ".neighbors.NearestCentroid",
        "neighbors:nearest_centroid",
        "common:classifier",
        methods=CLASSIFIER,
        honours="metric shrink_threshold priors",
        options=CLASSIFIER_OPTIONS,
    ),
    row(
        ".neighbors.KernelDensity",
        "neighbors:kernel_density",
        "common:outlier_detector",
        methods="score_samples",
        honours="bandwidth kernel metric metric_params",
        irrelevant="algorithm atol rtol breadth_first leaf_size",
        note="summed exactly: scikit-learn's trees lose digits, and give a finite value where the density is 0",
    ),
    row(
        ".neighbors.NeighborhoodComponentsAnalysis",
        "neighbors:components_transform",
        "common:components",
        methods="transform",
        honours="n_components",
        irrelevant="init warm_start max_iter tol callback verbose random_state",
    ),
    row(
        ".impute.KNNImputer",
        "knn_imputer:knn_imputer",
        "neighbors:knn_imputer",
        methods="transform",
        honours="missing_values n_neighbors weights metric add_indicator keep_empty_features",
        irrelevant="copy",
    ),
)
