"""scikit-learn: meta-estimators, and feature selectors."""

from __future__ import annotations

from typing import Final

from any2onnx.operator_mappings.mapping import OperatorMapping
from any2onnx.operator_mappings.sklearn_rows import (
    CLASSIFIER,
    CLASSIFIER_OPTIONS,
    EVERY_METHOD,
    META_OPTIONS,
    row,
)

_SEARCH: Final = "scoring n_jobs cv verbose pre_dispatch error_score return_train_score random_state"
_HALVING: Final = f"{_SEARCH} factor resource max_resources min_resources aggressive_elimination"
_ENSEMBLE: Final = "n_jobs verbose"
_BAGGING: Final = (
    "n_estimators max_samples max_features bootstrap bootstrap_features oob_score warm_start n_jobs random_state "
    "verbose"
)
_SELECT: Final = "transform inverse_transform"

_DELEGATING: Final = (
    *(
        row(
            f".model_selection.{name}",
            "meta:search",
            methods=EVERY_METHOD,
            honours=f"estimator refit {grid}",
            irrelevant=more,
            options=META_OPTIONS,
        )
        for name, grid, more in (
            ("GridSearchCV", "param_grid", _SEARCH),
            ("RandomizedSearchCV", "param_distributions", f"{_SEARCH} n_iter"),
            ("HalvingGridSearchCV", "param_grid", _HALVING),
            ("HalvingRandomSearchCV", "param_distributions", f"{_HALVING} n_candidates"),
        )
    ),
    row(".frozen.FrozenEstimator", "meta:frozen", methods=EVERY_METHOD, honours="estimator", options=META_OPTIONS),
    row(
        ".semi_supervised.SelfTrainingClassifier",
        "meta:self_training",
        methods=CLASSIFIER,
        honours="estimator base_estimator",
        irrelevant="threshold criterion k_best max_iter verbose",
        options=META_OPTIONS,
    ),
    row(
        ".linear_model.RANSACRegressor",
        "meta:self_training",
        methods="predict",
        honours="estimator",
        irrelevant=(
            "min_samples residual_threshold is_data_valid is_model_valid max_trials max_skips stop_n_inliers "
            "stop_score stop_probability loss random_state"
        ),
        options=META_OPTIONS,
    ),
    row(
        ".model_selection.FixedThresholdClassifier",
        "meta:threshold_classifier",
        "common:classifier",
        methods=CLASSIFIER,
        honours="estimator threshold pos_label response_method",
        options=CLASSIFIER_OPTIONS,
    ),
    row(
        ".model_selection.TunedThresholdClassifierCV",
        "meta:threshold_classifier",
        "common:classifier",
        methods=CLASSIFIER,
        honours="estimator response_method scoring",
        irrelevant="thresholds cv refit n_jobs random_state store_cv_results",
        options=CLASSIFIER_OPTIONS,
    ),
    row(
        ".compose.TransformedTargetRegressor",
        "meta:transformed_target",
        methods="predict",
        honours="regressor transformer func inverse_func",
        irrelevant="check_inverse",
    ),
    row(
        ".multiclass._ConstantPredictor",
        "meta:constant_predictor",
        methods="predict predict_proba decision_function",
        note="inside one-vs-rest classifiers",
    ),
)

_ENSEMBLES: Final = (
    row(
        ".ensemble.VotingClassifier",
        "voting:voting_classifier",
        methods="predict predict_proba transform",
        honours="estimators voting weights flatten_transform",
        irrelevant=_ENSEMBLE,
        options=CLASSIFIER_OPTIONS,
    ),
    row(
        ".ensemble.VotingRegressor",
        "voting:voting_regressor",
        methods="predict transform",
        honours="estimators weights",
        irrelevant=_ENSEMBLE,
    ),
    row(
        ".ensemble.StackingClassifier",
        "voting:stacking",
        methods="predict predict_proba decision_function transform",
        honours="estimators final_estimator stack_method passthrough",
        irrelevant=f"cv {_ENSEMBLE}",
        options=CLASSIFIER_OPTIONS,
    ),
    row(
        ".ensemble.StackingRegressor",
        "voting:stacking",
        methods="predict transform",
        honours="estimators final_estimator passthrough",
        irrelevant=f"cv {_ENSEMBLE}",
    ),
    row(
        ".ensemble.BaggingClassifier",
        "voting:bagging_classifier",
        "common:classifier",
        methods=CLASSIFIER,
        honours="estimator",
        irrelevant=_BAGGING,
        options=CLASSIFIER_OPTIONS,
    ),
    row(
        ".ensemble.BaggingRegressor",
        "voting:bagging_regressor",
        methods="predict",
        honours="estimator",
        irrelevant=_BAGGING,
    ),
)

_MULTI: Final = (
    row(
        ".multiclass.OneVsRestClassifier",
        "multiclass:one_vs_rest",
        methods="predict predict_proba decision_function",
        honours="estimator",
        irrelevant="n_jobs verbose",
        options=CLASSIFIER_OPTIONS,
    ),
    row(
        ".multiclass.OneVsOneClassifier",
        "multiclass:one_vs_one",
        "common:classifier",
        methods="predict decision_function",
        honours="estimator",
        irrelevant="n_jobs",
        options=CLASSIFIER_OPTIONS,
    ),
    row(
        ".multiclass.OutputCodeClassifier",
        "multiclass:output_code",
        "common:classifier",
        methods="predict",
        honours="estimator",
        irrelevant="code_size random_state n_jobs",
        options=CLASSIFIER_OPTIONS,
    ),
    row(
        ".multioutput.MultiOutputRegressor",
        "multiclass:multi_output",
        methods="predict",
        honours="estimator",
        irrelevant="n_jobs",
    ),
    row(
        ".multioutput.MultiOutputClassifier",
        "multiclass:multi_output",
        methods="predict predict_proba",
        honours="estimator",
        irrelevant="n_jobs",
        options=CLASSIFIER_OPTIONS,
    ),
    row(
        ".multioutput.ClassifierChain",
        "multiclass:chain",
        methods=CLASSIFIER,
        honours="estimator base_estimator order chain_method",
        irrelevant="cv random_state verbose",
        options=CLASSIFIER_OPTIONS,
    ),
    row(
        ".multioutput.RegressorChain",
        "multiclass:chain",
        methods="predict",
        honours="estimator base_estimator order",
        irrelevant="cv random_state verbose",
    ),
    row(
        ".calibration.CalibratedClassifierCV",
        "calibration:calibrated_classifier",
        "common:classifier",
        methods="predict predict_proba",
        honours="estimator method ensemble",
        irrelevant="cv n_jobs",
        options=CLASSIFIER_OPTIONS,
    ),
    row(
        ".isotonic.IsotonicRegression",
        "calibration:isotonic_regression",
        "common:isotonic",
        methods="predict transform",
        honours="y_min y_max increasing out_of_bounds",
    ),
)

# Selectors read only the mask that was fitted.
_SELECTORS: Final = (
    *(
        row(f".feature_selection.{name}", "meta:selector", methods=_SELECT, irrelevant=more)
        for name, more in (
            ("VarianceThreshold", "threshold"),
            ("SelectKBest", "score_func k"),
            ("SelectPercentile", "score_func percentile"),
            ("SelectFpr", "score_func alpha"),
            ("SelectFdr", "score_func alpha"),
            ("SelectFwe", "score_func alpha"),
            ("GenericUnivariateSelect", "score_func mode param"),
            ("SelectFromModel", "estimator threshold prefit norm_order max_features importance_getter"),
            ("SequentialFeatureSelector", "estimator n_features_to_select tol direction scoring cv n_jobs"),
        )
    ),
    *(
        row(
            f".feature_selection.{name}",
            "meta:selector",
            methods=EVERY_METHOD,
            honours="estimator",
            irrelevant=("n_features_to_select step verbose importance_getter min_features_to_select cv scoring n_jobs"),
            options=META_OPTIONS,
        )
        for name in ("RFE", "RFECV")
    ),
)

ROWS: Final[tuple[OperatorMapping, ...]] = (*_DELEGATING, *_ENSEMBLES, *_MULTI, *_SELECTORS)
