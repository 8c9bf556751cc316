"""scikit-learn: mixtures, elliptic envelope, label propagation, clusterers over trees and sub-clusters."""

from __future__ import annotations

from typing import Final

from any2onnx.operator_mappings.mapping import OperatorMapping
from any2onnx.operator_mappings.sklearn_rows import (
    CLASSIFIER_OPTIONS,
    CLUSTERER_OPTIONS,
    OUTLIER_OPTIONS,
    row,
)

_MIXTURE: Final = (
    "n_components tol reg_covar max_iter n_init init_params weights_init means_init precisions_init random_state "
    "warm_start verbose verbose_interval weight_concentration_prior mean_precision_prior mean_prior "
    "degrees_of_freedom_prior covariance_prior"
)

ROWS: Final[tuple[OperatorMapping, ...]] = (
    *(
        row(
            f".mixture.{name}",
            "mixture:gaussian_mixture",
            "common:density",
            methods="predict predict_proba score_samples",
            honours=f"covariance_type {more}",
            irrelevant=_MIXTURE,
            options=OUTLIER_OPTIONS,
        )
        for name, more in (("GaussianMixture", ""), ("BayesianGaussianMixture", "weight_concentration_prior_type"))
    ),
    row(
        ".covariance.EllipticEnvelope",
        "mixture:elliptic_envelope",
        "common:outlier_detector",
        methods="predict decision_function score_samples",
        honours="contamination assume_centered",
        irrelevant="store_precision support_fraction random_state",
        options=OUTLIER_OPTIONS,
    ),
    *(
        row(
            f".semi_supervised.{name}",
            "clusters:label_propagation",
            "common:classifier",
            methods="predict predict_proba",
            honours="kernel gamma n_neighbors",
            irrelevant="alpha max_iter tol n_jobs",
            options=CLASSIFIER_OPTIONS,
        )
        for name in ("LabelPropagation", "LabelSpreading")
    ),
    row(
        ".cluster.Birch",
        "clusters:birch",
        "clusters:birch",
        methods="predict transform",
        honours="n_clusters",
        irrelevant="threshold branching_factor compute_labels",
        options=CLUSTERER_OPTIONS,
    ),
    row(
        ".cluster.BisectingKMeans",
        "clusters:bisecting_k_means",
        "common:clusterer",
        methods="predict transform",
        honours="n_clusters",
        irrelevant="init n_init random_state max_iter verbose tol copy_x algorithm bisecting_strategy",
        options=CLUSTERER_OPTIONS,
    ),
    row(
        ".cluster.FeatureAgglomeration",
        "clusters:feature_agglomeration",
        "clusters:feature_agglomeration",
        methods="transform inverse_transform",
        honours="n_clusters pooling_func",
        irrelevant="metric memory connectivity compute_full_tree linkage distance_threshold compute_distances",
    ),
    row(
        ".manifold.Isomap",
        "manifold:isomap",
        "clusters:embedding",
        methods="transform",
        honours="n_neighbors radius n_components metric p metric_params",
        irrelevant="eigen_solver tol max_iter path_method neighbors_algorithm n_jobs",
        note="with a radius, NaN for a row without neighbours, for which scikit-learn raises",
    ),
    row(
        ".manifold.LocallyLinearEmbedding",
        "manifold:locally_linear_embedding",
        "clusters:embedding",
        methods="transform",
        honours="n_neighbors n_components reg",
        irrelevant="eigen_solver tol max_iter method hessian_tol modified_tol neighbors_algorithm random_state n_jobs",
    ),
)
