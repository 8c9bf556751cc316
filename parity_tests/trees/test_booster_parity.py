"""The parity harness on models of the boosting libraries: every method, and thresholds that are one step off."""

from __future__ import annotations

from typing import Any

import catboost as cb
import lightgbm as lgb
import numpy as np
import onnx
import pytest
import xgboost as xgb
from booster_harness import convert, methods_of
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from any2onnx import check_parity, to_onnx
from any2onnx.parity.boundaries import read_trees

RNG = np.random.default_rng(14)
X = RNG.normal(size=(200, 4))
HOLES = np.where(RNG.random(X.shape) < 0.05, np.nan, X)
Y = X[:, 0] * 2 + X[:, 1] ** 2
THREE = np.digitize(Y, [0, 2])
QUIET: dict[str, Any] = {"verbose": 0, "thread_count": 1, "allow_writing_files": False, "iterations": 5, "depth": 4}
MODELS: dict[str, Any] = {
    "xgboost_regressor": lambda: xgb.XGBRegressor(n_estimators=5).fit(HOLES, Y),
    "xgboost_classifier": lambda: xgb.XGBClassifier(n_estimators=5).fit(HOLES, THREE),
    "xgboost_booster": lambda: xgb.train({"objective": "binary:logistic"}, xgb.DMatrix(HOLES, Y > 1), 5),
    "xgboost_ranker": lambda: xgb.XGBRanker(n_estimators=5).fit(X, THREE, qid=np.sort(np.arange(200) % 9)),
    "lightgbm_classifier": lambda: lgb.LGBMClassifier(n_estimators=5, verbose=-1).fit(HOLES, np.where(Y > 1, "a", "b")),
    "lightgbm_booster": lambda: lgb.train({"verbose": -1, "objective": "poisson"}, lgb.Dataset(HOLES, np.abs(Y)), 5),
    "catboost_regressor": lambda: cb.CatBoostRegressor(**QUIET).fit(HOLES, Y),
    "catboost_classifier": lambda: cb.CatBoostClassifier(**QUIET).fit(HOLES, THREE),
    "catboost_ranker": lambda: cb.CatBoostRanker(loss_function="YetiRank", **QUIET).fit(
        X, Y > 1, group_id=np.sort(np.arange(200) % 9)
    ),
}


@pytest.mark.parametrize("name", MODELS)
def test_every_method(name: str) -> None:
    model = MODELS[name]()
    report = check_parity(model, to_onnx(model, X[:1].astype(np.float32), outputs=methods_of(model)))
    assert report.passed, str(report)
    report = check_parity(model, to_onnx(model, X[:1]), suites=["typical", "boundary"])
    assert report.passed, str(report)


@pytest.mark.parametrize("name", ["xgboost_regressor", "lightgbm_booster", "catboost_regressor", "xgboost_classifier"])
def test_thresholds_one_step_off_are_found(name: str) -> None:
    """Only rows on thresholds show it: the boundary suite has them."""
    model = MODELS[name]()
    proto = convert(model, X.astype(np.float32), ("decision_function",))
    for node in proto.graph.node:
        for attribute in node.attribute:
            if attribute.name == "nodes_splits":
                array = onnx.numpy_helper.to_array(attribute.t)
                narrow = array.astype(np.float32)
                moved = np.nextafter(narrow, np.float32(np.inf)).astype(array.dtype)
                attribute.t.CopyFrom(onnx.numpy_helper.from_array(np.where(array == 0, array, moved)))
    outputs = ["decision_function"]
    assert not check_parity(model, proto, suites=["boundary"], outputs=outputs).passed


@pytest.mark.parametrize("name", MODELS)
def test_splits_of_a_model(name: str) -> None:
    """Every leaf of the source's own walk lies where parents and sides say."""
    trees = read_trees(MODELS[name]())
    assert trees is not None
    split = trees.feature >= 0
    assert split.any()
    assert np.all((trees.parent >= -1) & (trees.parent < len(trees.feature)))
    children = np.bincount(trees.parent[trees.parent >= 0], minlength=len(split))
    assert np.array_equal(children, np.where(split, 2, 0))


def test_categories_are_no_thresholds() -> None:
    rows = X.copy()
    rows[:, 1] = RNG.integers(0, 20, 200)
    model = lgb.LGBMRegressor(n_estimators=5, verbose=-1, min_data_per_group=3)
    model.fit(rows, Y + rows[:, 1] % 3, categorical_feature=[1])
    trees = read_trees(model)
    assert trees is not None
    assert set(np.unique(trees.feature)) <= {-1, 0, 2, 3}
    assert read_trees(xgb.XGBRegressor(booster="gblinear", n_estimators=2).fit(X, Y)) is None


@pytest.mark.parametrize("model", [xgb.XGBClassifier(n_estimators=4), cb.CatBoostClassifier(**QUIET)])
def test_last_step_of_a_pipeline(model: Any) -> None:
    pipeline = make_pipeline(StandardScaler(), model).fit(X, THREE)
    for outputs in (None, ("decision_function",), ("apply",)):
        report = check_parity(pipeline, to_onnx(pipeline, X[:1], outputs=outputs))
        assert report.passed, (outputs, str(report))
