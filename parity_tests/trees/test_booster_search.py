"""Random hyper-parameters and data for the boosting libraries: the same leaves and scores, or a typed refusal."""

from __future__ import annotations

import warnings
from typing import Any

import catboost as cb
import lightgbm as lgb
import numpy as np
import pytest
import xgboost as xgb
from booster_harness import compare, convert, expected
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from tree_harness import run
from tree_probes import boundary_rows

from any2onnx.converters.sklearn.tree_source import ensemble_of_estimator

FEW = settings(max_examples=12, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
MANY = settings(FEW, max_examples=150, derandomize=False)
NUMBERS = st.sampled_from(["normal", "rounded", "whole", "sparse", "wide", "tiny"])


def tenths(low: float, high: float) -> Any:
    """Numbers with one digit: shrinking must not end at denormals, which the libraries refuse."""
    return st.integers(round(low * 10), round(high * 10)).map(lambda n: n / 10)


def table(kind: str, number: int) -> Any:
    """Rows of one kind of numbers, some missing, some columns constant or empty."""
    rng = np.random.default_rng(number)
    rows = rng.normal(size=(90, 4))
    if kind == "rounded":
        rows = rows.round(1)
    elif kind == "whole":
        rows = rng.integers(-3, 9, rows.shape).astype(float)
    elif kind == "sparse":
        rows = np.where(rng.random(rows.shape) < 0.7, 0.0, rows)
    elif kind == "wide":
        rows = np.sign(rows) * 10.0 ** (rows * 8)
    elif kind == "tiny":
        rows = rows * 1e-36
    score = np.nan_to_num(rows[:, 0] / (np.abs(rows[:, 0]).max() + 1e-300)) + rng.normal(size=90) * 0.1
    rows[rng.random(rows.shape) < 0.08] = np.nan
    rows[:, 3] = [np.nan, 1.0, 0.0][number % 3] if number % 2 else rows[:, 3]
    return rows, score


def same(model: Any, rows: Any, tolerances: tuple[float, float], opset: Any, *, plain: bool = True) -> None:
    methods = ("apply", "decision_function", "predict")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for dtype, tolerance in zip((np.float32, np.float64), tolerances, strict=True):
            probes = rows.astype(dtype)
            if plain:
                probes = np.concatenate([probes, boundary_rows(ensemble_of_estimator(model), rows, dtype)])
            got = run(convert(model, probes, methods, opset), probes)
            for method in methods:
                compare(method, expected(model, probes, method), got[method], tolerance)


def target(score: Any, kind: str) -> Any:
    if kind == "class":
        return np.digitize(score, [0, 0.4])
    return np.abs(score) + 0.1


def _xgboost(kind: str, number: int, opset: int, more: dict[str, Any]) -> None:
    rows, score = table(kind, number)
    classes = more.pop("objective")
    cls, y = (
        (xgb.XGBClassifier, target(score, "class")) if classes == "class" else (xgb.XGBRegressor, target(score, ""))
    )
    if classes != "class":
        more["objective"] = classes
    y = np.unique(y, return_inverse=True)[1] if classes == "class" else y
    model = cls(n_estimators=4, n_jobs=1, random_state=number, **more).fit(rows, y)
    same(model, rows, (2e-6, 2e-6), opset)


XGBOOST = {
    "kind": NUMBERS,
    "number": st.integers(0, 10**6),
    "opset": st.sampled_from([13, 21]),
    "more": st.fixed_dictionaries(
        {"objective": st.sampled_from(["class", "reg:squarederror", "count:poisson", "reg:gamma"])},
        optional={
            "max_depth": st.integers(1, 7),
            "booster": st.sampled_from(["gbtree", "dart"]),
            "tree_method": st.sampled_from(["hist", "exact", "approx"]),
            "num_parallel_tree": st.integers(1, 3),
            "subsample": tenths(0.4, 1.0),
            "gamma": tenths(0, 1),
            "min_child_weight": tenths(0, 3),
            "base_score": tenths(0.1, 0.9),
            "reg_alpha": tenths(0, 1),
            "max_bin": st.integers(2, 40),
            "learning_rate": tenths(0.1, 1.0),
        },
    ),
}


def _lightgbm(kind: str, number: int, opset: int, more: dict[str, Any]) -> None:
    rows, score = table(kind, number)
    objective = more.pop("objective")
    cls, y = (
        (lgb.LGBMClassifier, target(score, "class")) if objective == "class" else (lgb.LGBMRegressor, target(score, ""))
    )
    if objective != "class":
        more["objective"] = objective
    if more.get("boosting_type") == "rf":
        more |= {"bagging_freq": 1, "bagging_fraction": 0.6}
    model = cls(n_estimators=4, n_jobs=1, verbose=-1, random_state=number, **more).fit(rows, y)
    same(model, rows, (1e-6, 1e-12), opset, plain=not more.get("zero_as_missing"))


LIGHTGBM = {
    "kind": NUMBERS,
    "number": st.integers(0, 10**6),
    "opset": st.sampled_from([13, 21]),
    "more": st.fixed_dictionaries(
        {"objective": st.sampled_from(["class", "regression", "poisson", "quantile", "gamma"])},
        optional={
            "num_leaves": st.integers(2, 20),
            "min_child_samples": st.integers(1, 15),
            "boosting_type": st.sampled_from(["gbdt", "dart", "rf"]),
            "max_bin": st.integers(3, 60),
            "use_missing": st.booleans(),
            "zero_as_missing": st.booleans(),
            "extra_trees": st.booleans(),
            "min_data_in_bin": st.integers(1, 5),
            "learning_rate": tenths(0.1, 1.0),
        },
    ),
}


def _catboost(kind: str, number: int, opset: int, more: dict[str, Any]) -> None:
    rows, score = table(kind, number)
    objective = more.pop("objective")
    cls, y = (
        (cb.CatBoostClassifier, target(score, "class"))
        if objective == "class"
        else (cb.CatBoostRegressor, target(score, ""))
    )
    if objective != "class":
        more["loss_function"] = objective
    quiet = {"iterations": 4, "verbose": 0, "thread_count": 1, "allow_writing_files": False, "random_seed": number}
    model = cls(**quiet, **more).fit(rows, y)
    same(model, rows, (1e-6, 1e-12), opset)


CATBOOST = {
    "kind": st.sampled_from(["normal", "rounded", "whole", "sparse"]),
    "number": st.integers(0, 10**6).map(lambda n: n * 2),
    "opset": st.sampled_from([13, 21]),
    "more": st.fixed_dictionaries(
        {"objective": st.sampled_from(["class", "RMSE", "Poisson", "RMSEWithUncertainty"])},
        optional={
            "depth": st.integers(1, 6),
            "grow_policy": st.sampled_from(["SymmetricTree", "Depthwise", "Lossguide"]),
            "nan_mode": st.sampled_from(["Min", "Max"]),
            "border_count": st.integers(1, 60),
            "min_data_in_leaf": st.integers(1, 9),
            "learning_rate": tenths(0.1, 1.0),
        },
    ),
}


@FEW
@given(**XGBOOST)
def test_xgboost(kind: str, number: int, opset: int, more: dict[str, Any]) -> None:
    _xgboost(kind, number, opset, more)


@FEW
@given(**LIGHTGBM)
def test_lightgbm(kind: str, number: int, opset: int, more: dict[str, Any]) -> None:
    _lightgbm(kind, number, opset, more)


@FEW
@given(**CATBOOST)
def test_catboost(kind: str, number: int, opset: int, more: dict[str, Any]) -> None:
    if more.get("grow_policy", "SymmetricTree") == "SymmetricTree":
        more.pop("min_data_in_leaf", None)
    _catboost(kind, number, opset, more)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("check", "drawn"),
    [(_xgboost, XGBOOST), (_lightgbm, LIGHTGBM), (_catboost, CATBOOST)],
    ids=["xgboost", "lightgbm", "catboost"],
)
def test_many(check: Any, drawn: dict[str, Any]) -> None:
    @seed(1)
    @MANY
    @given(**drawn)
    def search(kind: str, number: int, opset: int, more: dict[str, Any]) -> None:
        if check is _catboost and more.get("grow_policy", "SymmetricTree") == "SymmetricTree":
            more.pop("min_data_in_leaf", None)
        check(kind, number, opset, more)

    search()
