"""Mapping table of scikit-learn's trees and ensembles of trees.

Every hyper-parameter of the training reaches inference through the fitted trees, so it counts as honoured.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from any2onnx.operator_mappings.mapping import Case, OperatorMapping
from any2onnx.operator_mappings.sklearn_rows import CLASSIFIER_OPTIONS, OUTLIER_OPTIONS, TREE_OPTIONS

_CONVERTERS: Final = "any2onnx.converters.sklearn"
_SHAPES: Final = "any2onnx.shape_calculators.sklearn.tree"
_PRECISION: Final = {"precision": ("auto", "float32", "float64")}


def _options(methods: tuple[str, ...]) -> Mapping[str, tuple[Any, ...]]:
    """Return skl2onnx's options for an estimator with these methods."""
    options: dict[str, tuple[Any, ...]] = {}
    if "predict_proba" in methods:
        options |= CLASSIFIER_OPTIONS
    if "score_samples" in methods:
        options |= OUTLIER_OPTIONS
    if "decision_path" in methods:
        options |= TREE_OPTIONS
    return options | _PRECISION


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


_TREE: Final = _names(
    "ccp_alpha criterion max_depth max_features max_leaf_nodes min_impurity_decrease min_samples_leaf "
    "min_samples_split min_weight_fraction_leaf monotonic_cst random_state splitter"
)
_FOREST: Final = (_TREE - {"splitter"}) | {"bootstrap", "max_samples", "n_estimators"}
_EMBEDDING: Final = _FOREST - {"bootstrap", "ccp_alpha", "criterion", "max_features", "max_samples", "monotonic_cst"}
_BOOSTING: Final = (_TREE - {"monotonic_cst", "splitter"}) | _names(
    "init learning_rate loss n_estimators n_iter_no_change subsample tol validation_fraction"
)
_HISTOGRAM: Final = _names(
    "categorical_features early_stopping interaction_cst l2_regularization learning_rate loss max_bins max_depth "
    "max_features max_iter max_leaf_nodes min_samples_leaf monotonic_cst n_iter_no_change random_state scoring tol "
    "validation_fraction"
)
_ISOLATION: Final = _names("bootstrap contamination max_features max_samples n_estimators random_state")
_ADA: Final = _names("estimator learning_rate n_estimators random_state")
_RUNNING: Final = frozenset({"n_jobs", "verbose", "warm_start"})
_WEIGHTS: Final = frozenset({"class_weight"})

_PROBABILITIES: Final = ("predict", "predict_proba", "predict_log_proba")
_STRUCTURE: Final = ("apply", "decision_path")


def _row(
    key: str,
    converter: str,
    shapes: str,
    methods: tuple[str, ...],
    honours: frozenset[str],
    irrelevant: frozenset[str] = frozenset(),
    *cases: tuple[str, dict[str, Any]],
) -> OperatorMapping:
    return OperatorMapping(
        framework="sklearn",
        key=f"sklearn.{key}",
        converter=f"{_CONVERTERS}.{converter}",
        shapes=f"{_SHAPES}:{shapes}",
        options=_options(methods),
        methods=methods,
        honours=honours,
        irrelevant=irrelevant,
        cases=tuple(Case(name, arguments) for name, arguments in cases),
        note="TreeEnsemble",
    )


_TREE_CASES: Final = (
    ("default", {"random_state": 0}),
    ("depth", {"max_depth": 3, "random_state": 0}),
    ("best_first", {"max_leaf_nodes": 9, "min_samples_leaf": 3, "random_state": 0}),
    ("pruned", {"ccp_alpha": 0.01, "random_state": 0}),
)
_FOREST_CASES: Final = (
    ("default", {"n_estimators": 12, "random_state": 0}),
    ("shallow", {"n_estimators": 7, "max_depth": 3, "random_state": 0}),
    ("best_first", {"n_estimators": 7, "max_leaf_nodes": 9, "bootstrap": True, "max_samples": 0.5, "random_state": 0}),
)
_BOOSTING_CASES: Final = (
    ("default", {"n_estimators": 12, "random_state": 0}),
    ("zero", {"n_estimators": 7, "init": "zero", "subsample": 0.7, "random_state": 0}),
    ("best_first", {"n_estimators": 7, "max_leaf_nodes": 5, "learning_rate": 0.5, "random_state": 0}),
)
_HISTOGRAM_CASES: Final = (
    ("default", {"max_iter": 12, "random_state": 0}),
    ("small", {"max_iter": 5, "max_leaf_nodes": 5, "max_bins": 15, "random_state": 0}),
    ("stopped", {"max_iter": 20, "early_stopping": True, "n_iter_no_change": 2, "random_state": 0}),
)

ROWS: tuple[OperatorMapping, ...] = (
    *(
        _row(
            f"tree.{name}",
            "tree:decision_tree_classifier",
            "tree_classifier",
            (*_PROBABILITIES, *_STRUCTURE),
            _TREE | _WEIGHTS,
            frozenset(),
            *_TREE_CASES,
            ("balanced", {"class_weight": "balanced", "max_depth": 4, "random_state": 0}),
        )
        for name in ("DecisionTreeClassifier", "ExtraTreeClassifier")
    ),
    *(
        _row(
            f"tree.{name}",
            "tree:decision_tree_regressor",
            "tree_regressor",
            ("predict", *_STRUCTURE),
            _TREE,
            frozenset(),
            *_TREE_CASES,
        )
        for name in ("DecisionTreeRegressor", "ExtraTreeRegressor")
    ),
    *(
        _row(
            f"ensemble.{name}",
            "ensemble:forest_classifier",
            "tree_classifier",
            (*_PROBABILITIES, *_STRUCTURE),
            _FOREST | _WEIGHTS,
            _RUNNING | {"oob_score"},
            *_FOREST_CASES,
        )
        for name in ("RandomForestClassifier", "ExtraTreesClassifier")
    ),
    *(
        _row(
            f"ensemble.{name}",
            "ensemble:forest_regressor",
            "tree_regressor",
            ("predict", *_STRUCTURE),
            _FOREST,
            _RUNNING | {"oob_score"},
            *_FOREST_CASES,
        )
        for name in ("RandomForestRegressor", "ExtraTreesRegressor")
    ),
    _row(
        "ensemble.RandomTreesEmbedding",
        "ensemble:random_trees_embedding",
        "embedding",
        ("transform", *_STRUCTURE),
        _EMBEDDING,
        # The graph's result is dense either way.
        _RUNNING | {"sparse_output"},
        ("default", {"n_estimators": 7, "max_depth": 4, "random_state": 0}),
    ),
    _row(
        "ensemble.GradientBoostingClassifier",
        "ensemble:gradient_boosting_classifier",
        "boosted_classifier",
        (*_PROBABILITIES, "decision_function", "apply"),
        _BOOSTING,
        frozenset({"verbose", "warm_start"}),
        *_BOOSTING_CASES,
    ),
    _row(
        "ensemble.GradientBoostingRegressor",
        "ensemble:gradient_boosting_regressor",
        "boosted_regressor",
        ("predict", "apply"),
        _BOOSTING | {"alpha"},
        frozenset({"verbose", "warm_start"}),
        *_BOOSTING_CASES,
        ("huber", {"n_estimators": 7, "loss": "huber", "random_state": 0}),
        ("quantile", {"n_estimators": 7, "loss": "quantile", "alpha": 0.3, "random_state": 0}),
    ),
    _row(
        "ensemble.HistGradientBoostingClassifier",
        "hist_gradient_boosting:hist_gradient_boosting_classifier",
        "boosted_classifier",
        ("predict", "predict_proba", "decision_function"),
        _HISTOGRAM | _WEIGHTS,
        frozenset({"verbose", "warm_start"}),
        *_HISTOGRAM_CASES,
    ),
    _row(
        "ensemble.HistGradientBoostingRegressor",
        "hist_gradient_boosting:hist_gradient_boosting_regressor",
        "boosted_regressor",
        ("predict",),
        _HISTOGRAM | {"quantile"},
        frozenset({"verbose", "warm_start"}),
        *_HISTOGRAM_CASES,
        ("quantile", {"max_iter": 7, "loss": "quantile", "quantile": 0.3, "random_state": 0}),
    ),
    _row(
        "ensemble.IsolationForest",
        "ensemble:isolation_forest",
        "outlier_detector",
        ("predict", "decision_function", "score_samples"),
        _ISOLATION,
        _RUNNING,
        ("default", {"n_estimators": 12, "random_state": 0}),
        ("subsets", {"n_estimators": 12, "max_features": 0.5, "contamination": 0.1, "random_state": 0}),
    ),
    _row(
        "ensemble.AdaBoostClassifier",
        "weight_boosting:ada_boost_classifier",
        "boosted_classifier",
        (*_PROBABILITIES, "decision_function"),
        _ADA,
        frozenset(),
        ("default", {"n_estimators": 12, "random_state": 0}),
    ),
    _row(
        "ensemble.AdaBoostRegressor",
        "weight_boosting:ada_boost_regressor",
        "tree_regressor",
        ("predict",),
        _ADA | {"loss"},
        frozenset(),
        ("default", {"n_estimators": 12, "random_state": 0}),
    ),
)
