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
_XGBOOST_IRRELEVANT: Final = "callbacks device eval_metric importance_type kwargs n_jobs validate_parameters verbosity"
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

_CATBOOST: Final = (
    "allow_const_label approx_on_full_history bagging_temperature best_model_min_trees boost_from_average "
    "boosting_type bootstrap_type border_count cat_features colsample_bylevel combinations_ctr counter_calc_method "
    "ctr_description ctr_history_unit ctr_leaf_count_limit ctr_target_border_count data_partition depth "
    "dev_efb_max_buckets dev_score_calc_obj_block_size dictionaries diffusion_temperature early_stopping_rounds "
    "embedding_features eta eval_fraction feature_border_type feature_calcers feature_weights "
    "final_ctr_computation_mode first_feature_use_penalties fixed_binary_splits fold_len_multiplier "
    "fold_permutation_block grow_policy has_time ignored_features input_borders iterations l2_leaf_reg langevin "
    "leaf_estimation_backtracking leaf_estimation_iterations leaf_estimation_method learning_rate loss_function "
    "max_bin max_ctr_complexity max_depth max_leaves min_child_samples min_data_in_leaf model_shrink_mode "
    "model_shrink_rate model_size_reg monotone_constraints mvs_reg n_estimators nan_mode num_boost_round num_leaves "
    "num_trees objective od_pval od_type od_wait one_hot_max_size penalties_coefficient per_feature_ctr "
    "per_float_feature_quantization per_object_feature_penalties posterior_sampling random_score_type random_seed "
    "random_state random_strength reg_lambda rsm sampling_frequency sampling_unit score_function simple_ctr "
    "sparse_features_conflict_fraction store_all_simple_ctr subsample target_border text_features text_processing "
    "tokenizers use_best_model"
)
_CATBOOST_CLASSES: Final = "auto_class_weights class_names class_weights classes_count scale_pos_weight"
_CATBOOST_IRRELEVANT: Final = (
    "allow_writing_files custom_metric device_config devices eval_metric gpu_cat_features_storage gpu_ram_part "
    "logging_level metadata metric_period name output_borders pinned_memory_size save_snapshot silent snapshot_file "
    "snapshot_interval task_type thread_count train_dir used_ram_limit verbose"
)
_CATBOOST_CALLED: Final = {"decision_function": "predict", "apply": "calc_leaf_indexes"}

# CatBoost's models know hashes of the categories only.
_CATEGORIES: Final[dict[str, tuple[object, ...]]] = {"categories": ()}

_CATBOOST_ROWS: Final = (
    row(
        "catboost.core.CatBoostClassifier",
        "catboost:catboost_classifier",
        "boosters:catboost_classifier",
        methods="predict predict_proba predict_log_proba decision_function apply",
        honours=f"{_CATBOOST} {_CATBOOST_CLASSES}",
        irrelevant=f"{_CATBOOST_IRRELEVANT} callback custom_loss",
        options={**_CLASSIFIER_OPTIONS, **_CATEGORIES},
        called=_CATBOOST_CALLED,
        note="TreeEnsemble",
    ),
    *(
        row(
            f"catboost.core.{name}",
            "catboost:catboost_regressor",
            "boosters:catboost_regressor",
            methods="predict decision_function apply",
            honours=honours,
            irrelevant=_CATBOOST_IRRELEVANT,
            options={**_OPTIONS, **_CATEGORIES},
            called=_CATBOOST_CALLED,
            note="TreeEnsemble",
        )
        # Parameters of CatBoost itself are keys of one dict.
        for name, honours in (("CatBoost", "*"), ("CatBoostRanker", _CATBOOST), ("CatBoostRegressor", _CATBOOST))
    ),
)

ROWS: Final[tuple[OperatorMapping, ...]] = (*_XGBOOST_ROWS, *_LIGHTGBM_ROWS, *_CATBOOST_ROWS)
