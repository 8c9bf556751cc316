"""Mapping table of imbalanced-learn: its classifiers (its pipeline is with scikit-learn's).

What its classifiers add is resampling, which is training: they predict as the scikit-learn estimators that they derive
from. Samplers have no inference method; in a pipeline they are passed over.
"""

from __future__ import annotations

from typing import Final

from any2onnx.operator_mappings.mapping import OperatorMapping
from any2onnx.operator_mappings.sklearn_rows import CLASSIFIER, CLASSIFIER_OPTIONS, TREE_OPTIONS, row

_SAMPLING: Final = "replacement sampling_strategy"
_RUNNING: Final = "n_jobs random_state verbose warm_start"
_PROBABILITIES: Final = "predict predict_proba predict_log_proba"
_TREES: Final = {**CLASSIFIER_OPTIONS, "precision": ("auto", "float32", "float64")}

ROWS: Final[tuple[OperatorMapping, ...]] = (
    row(
        "imblearn.ensemble.BalancedRandomForestClassifier",
        "ensemble:forest_classifier",
        "tree:tree_classifier",
        methods=f"{_PROBABILITIES} apply decision_path",
        honours=(
            "bootstrap ccp_alpha class_weight criterion max_depth max_features max_leaf_nodes max_samples "
            "min_impurity_decrease min_samples_leaf min_samples_split min_weight_fraction_leaf monotonic_cst "
            f"n_estimators {_SAMPLING}"
        ),
        irrelevant=f"oob_score {_RUNNING}",
        options={**_TREES, **TREE_OPTIONS},
        note="TreeEnsemble",
    ),
    row(
        "imblearn.ensemble.RUSBoostClassifier",
        "weight_boosting:ada_boost_classifier",
        "tree:boosted_classifier",
        methods=f"{_PROBABILITIES} decision_function",
        honours=f"estimator learning_rate n_estimators {_SAMPLING}",
        irrelevant="algorithm random_state",
        options=_TREES,
        note="TreeEnsemble over trees",
    ),
    *(
        row(
            f"imblearn.ensemble.{name}",
            "voting:bagging_classifier",
            "common:classifier",
            methods=CLASSIFIER,
            honours=f"estimator n_estimators {_SAMPLING} {more}",
            irrelevant=f"{other} {_RUNNING}",
            options=CLASSIFIER_OPTIONS,
        )
        for name, more, other in (
            ("BalancedBaggingClassifier", "bootstrap bootstrap_features max_features max_samples sampler", "oob_score"),
            ("EasyEnsembleClassifier", "", ""),
        )
    ),
)
