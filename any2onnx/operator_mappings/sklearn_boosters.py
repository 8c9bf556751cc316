"""Mapping table of XGBoost, LightGBM and CatBoost: their estimators in scikit-learn's form, and their own boosters.

What training leaves behind is the model itself, and that is what is converted: the parameters of the training count as
honoured. Nothing here imports one of the libraries.
"""

from __future__ import annotations

from typing import Final

from any2onnx.operator_mappings.mapping import OperatorMapping
from any2onnx.operator_mappings.sklearn_rows import CLASSIFIER_OPTIONS, TREE_OPTIONS, row

_OPTIONS: Final = {
    "precision": ("auto", "float32", "float64"),
    "iteration_range": (),
    "decision_leaf": TREE_OPTIONS["decision_leaf"],
}
_CLASSIFIER_OPTIONS: Final = {**CLASSIFIER_OPTIONS, **_OPTIONS}
# The further parameters of XGBoost and LightGBM are those of the training.
_FURTHER: Final = "**"

_XGBOOST: Final = (
    "base_score booster colsample_bylevel colsample_bynode colsample_bytree early_stopping_rounds enable_categorical "
    "feature_types feature_weights gamma grow_policy interaction_constraints learning_rate max_bin max_cat_threshold "
    "max_cat_to_onehot max_delta_step max_depth max_leaves min_child_weight missing monotone_constraints "
    "multi_strategy n_estimators num_parallel_tree objective random_state reg_alpha reg_lambda sampling_method "
    "scale_pos_weight subsample tree_method " + _FURTHER
)
_XGBOOST_IRRELEVANT: Final = (
    "callbacks device eval_metric importance_type kwargs n_jobs validate_parameters verbosity"
)
# Raw scores are predict(output_margin=True), predict(raw_score=True), predict(prediction_type="RawFormulaVal").
_RAW: Final = {"decision_function": "predict"}
_RAW_AND_LEAVES: Final = {"decision_function": "predict", "apply": "predict"}

_XGBOOST_ROWS: Final = (
    *(
        row(
            f"xgboost.sklearn.{name}",
            "xgboost:xgboost_classifier",
            "boosters:xgboost_classifier",
            methods="predict predict_proba decision_function apply",
            honours=_XGBOOST,
            irrelevant=_XGBOOST_IRRELEVANT,
            options=_CLASSIFIER_OPTIONS,
            called=_RAW,
            note="TreeEnsemble",
        )
        for name in ("XGBClassifier", "XGBRFClassifier")
    ),
    *(
        row(
            f"xgboost.sklearn.{name}",
            "xgboost:xgboost_regressor",
            "boosters:xgboost_regressor",
            methods="predict decision_function apply",
            honours=_XGBOOST,
            irrelevant=_XGBOOST_IRRELEVANT,
            options=_OPTIONS,
            called=_RAW,
            note="TreeEnsemble",
        )
        for name in ("XGBModel", "XGBRanker", "XGBRegressor", "XGBRFRegressor")
    ),
    row(
        "xgboost.core.Booster",
        "xgboost:xgboost_regressor",
        "boosters:xgboost_regressor",
        methods="predict decision_function apply",
        options=_OPTIONS,
        called=_RAW_AND_LEAVES,
        note="TreeEnsemble",
    ),
)

_LIGHTGBM: Final = (
    "boosting_type class_weight colsample_bytree learning_rate max_depth min_child_samples min_child_weight "
    "min_split_gain n_estimators num_leaves objective random_state reg_alpha reg_lambda subsample subsample_for_bin "
    "subsample_freq " + _FURTHER
)
_LIGHTGBM_IRRELEVANT: Final = "importance_type kwargs n_jobs"

_LIGHTGBM_ROWS: Final = (
    row(
        "lightgbm.sklearn.LGBMClassifier",
        "lightgbm:lightgbm_classifier",
        "boosters:lightgbm_classifier",
        methods="predict predict_proba decision_function apply",
        honours=_LIGHTGBM,
        irrelevant=_LIGHTGBM_IRRELEVANT,
        options=_CLASSIFIER_OPTIONS,
        called=_RAW_AND_LEAVES,
        note="TreeEnsemble",
    ),
    *(
        row(
            f"lightgbm.sklearn.{name}",
            "lightgbm:lightgbm_regressor",
            "boosters:lightgbm_regressor",
            methods="predict decision_function apply",
            honours=_LIGHTGBM,
            irrelevant=_LIGHTGBM_IRRELEVANT,
            options=_OPTIONS,
            called=_RAW_AND_LEAVES,
            note="TreeEnsemble",
        )
        for name in ("LGBMModel", "LGBMRanker", "LGBMRegressor")
    ),
    row(
        "lightgbm.basic.Booster",
        "lightgbm:lightgbm_regressor",
        "boosters:lightgbm_regressor",
        methods="predict decision_function apply",
        options=_OPTIONS,
        called=_RAW_AND_LEAVES,
        note="TreeEnsemble",
    ),
)

ROWS: Final[tuple[OperatorMapping, ...]] = (*_XGBOOST_ROWS, *_LIGHTGBM_ROWS)
