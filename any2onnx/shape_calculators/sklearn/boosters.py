"""What the estimators of XGBoost, LightGBM and CatBoost promise, from their own attributes and configurations."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from any2onnx.graph.types import DataType, Dim, TensorSpec
from any2onnx.operator_mappings.mapping import Call
from any2onnx.shape_calculators.sklearn.common import batch, floats, label_dtype

Promise = dict[str, TensorSpec | None]


def _wide(call: Call, count: int) -> TensorSpec:
    """Return the type of scores: [batch] for one, else [batch, count]."""
    return floats(call) if count == 1 else floats(call, count)


def _leaves(call: Call, trees: int | None) -> TensorSpec:
    return TensorSpec(DataType.INT64, (batch(call), trees))


def _pick(call: Call, specs: dict[str, TensorSpec | None]) -> Promise:
    return {method: specs.get(method) for method in call.methods}


def _xgboost(call: Call) -> tuple[int, str, str]:
    """Return the number of margins, the objective and the booster."""
    model = call.source
    booster = model.get_booster() if hasattr(model, "get_booster") else model
    learner = json.loads(booster.save_config())["learner"]
    parameters = learner["learner_model_param"]
    groups = max(int(parameters["num_class"]), int(parameters.get("num_target", 1)), 1)
    return groups, str(learner["objective"]["name"]), str(learner["gradient_booster"]["name"])


def xgboost_classifier(call: Call) -> Promise:
    """Promise of XGBClassifier and XGBRFClassifier."""
    groups, objective, _ = _xgboost(call)
    labels = groups > 1 and int(call.source.n_classes_) == 2 and objective != "multi:softmax"
    shape: tuple[Dim, ...] = (batch(call), groups) if labels else (batch(call),)
    return _pick(
        call,
        {
            "predict": TensorSpec(DataType.INT64, shape),
            "predict_proba": floats(call, groups if groups > 1 else 2),
            "decision_function": _wide(call, groups),
            "apply": None,
        },
    )


def xgboost_regressor(call: Call) -> Promise:
    """Promise of XGBRegressor, XGBRFRegressor, XGBRanker and Booster."""
    groups, objective, _ = _xgboost(call)
    return _pick(
        call,
        {
            "predict": _wide(call, 1 if objective == "multi:softmax" else groups),
            "decision_function": _wide(call, groups),
            "apply": None,
        },
    )


def lightgbm_classifier(call: Call) -> Promise:
    """Promise of LGBMClassifier. With an objective of one's own everything is raw scores."""
    model = call.source
    scores = int(model.booster_.num_model_per_iteration())
    own = callable(model.objective_)
    return _pick(
        call,
        {
            "predict": _wide(call, scores) if own else TensorSpec(label_dtype(model.classes_), (batch(call),)),
            "predict_proba": _wide(call, scores) if own else floats(call, max(scores, 2)),
            "decision_function": _wide(call, scores),
            "apply": _leaves(call, None),
        },
    )


def lightgbm_regressor(call: Call) -> Promise:
    """Promise of LGBMRegressor, LGBMRanker, LGBMModel and Booster."""
    model = call.source
    booster = getattr(model, "booster_", model)
    scores = int(booster.num_model_per_iteration())
    return _pick(
        call,
        {"predict": _wide(call, scores), "decision_function": _wide(call, scores), "apply": _leaves(call, None)},
    )


def catboost_classifier(call: Call) -> Promise:
    """Promise of CatBoostClassifier: several classes come as a column, several labels as a matrix."""
    model = call.source
    width = _catboost_width(model)
    multilabel = str(model.get_all_params().get("loss_function", "")).startswith(("MultiLogloss", "MultiCrossEntropy"))
    classes = np.asarray(model.classes_)
    shape: tuple[Dim, ...] = (batch(call),) if width == 1 else (batch(call), width if multilabel else 1)
    return _pick(
        call,
        {
            "predict": TensorSpec(DataType.INT64 if multilabel else label_dtype(classes), shape),
            "predict_proba": floats(call, max(width, 2)),
            "predict_log_proba": floats(call, max(width, 2)),
            "decision_function": _wide(call, width),
            "apply": _leaves(call, None),
        },
    )


def catboost_regressor(call: Call) -> Promise:
    """Promise of CatBoostRegressor, CatBoostRanker and CatBoost."""
    width = _catboost_width(call.source)
    return _pick(call, {"predict": _wide(call, width), "decision_function": _wide(call, width)})


def _catboost_width(model: Any) -> int:
    """Return the number of raw scores."""
    bias = model.get_scale_and_bias()[1]
    return len(bias) if isinstance(bias, list | tuple) else 1
