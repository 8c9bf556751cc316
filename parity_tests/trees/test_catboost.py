"""CatBoost: every loss, symmetric and other trees, missing values, labels, ranges of trees; what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import catboost as cb
import numpy as np
import pandas as pd
import pytest
from booster_harness import OPSETS, check, compare, convert
from tree_harness import run

from any2onnx.errors import UnsupportedParameter, UsageError
from any2onnx.tree_ensemble.sources.catboost import read_model

RNG = np.random.default_rng(9)
X = RNG.normal(size=(200, 4)).round(2)
HOLES = np.where(RNG.random(X.shape) < 0.1, np.nan, X)
Y = X[:, 0] * 2 + X[:, 1] ** 2 + RNG.normal(size=200) * 0.2
POSITIVE = np.abs(Y) + 0.1
TWO = (Y > 1) * 1
THREE = np.digitize(Y, [0, 2])
LABELS = np.stack([Y > 1, X[:, 1] > 0], axis=1) * 1
GROUPS = np.sort(np.arange(200) % 10)
FEW: dict[str, Any] = {
    "iterations": 5,
    "depth": 4,
    "verbose": 0,
    "thread_count": 1,
    "allow_writing_files": False,
    "random_seed": 0,
}
FORMS = ["SymmetricTree", "Lossguide", "Depthwise"]
EXACT = {"wide": 1e-13, "narrow": 3e-7}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "loss",
    [
        "RMSE",
        "MAE",
        "Quantile:alpha=0.3",
        "MultiQuantile:alpha=0.1,0.5,0.9",
        "LogLinQuantile",
        "MAPE",
        "Poisson",
        "Huber:delta=1",
        "Expectile:alpha=0.4",
        "Tweedie:variance_power=1.5",
        "RMSEWithUncertainty",
        "LogCosh",
        "Lq:q=2",
        "Cox",
    ],
)
def test_losses_of_numbers(loss: str, form: str) -> None:
    for mode in ("Min", "Max"):
        model = cb.CatBoostRegressor(loss_function=loss, grow_policy=form, nan_mode=mode, **FEW)
        check(model.fit(HOLES, POSITIVE), HOLES, opsets=OPSETS if loss == "RMSE" else (21,), **EXACT)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("loss", "target"),
    [
        ("Logloss", TWO),
        ("CrossEntropy", TWO * 0.8),
        ("MultiClass", THREE),
        ("MultiClassOneVsAll", THREE),
        ("MultiLogloss", LABELS),
        ("MultiCrossEntropy", LABELS * 0.7),
    ],
)
def test_losses_of_classes(loss: str, target: Any, form: str) -> None:
    model = cb.CatBoostClassifier(loss_function=loss, grow_policy=form, **FEW).fit(HOLES, target)
    check(model, HOLES, **EXACT)


@pytest.mark.parametrize(
    "labels",
    [TWO, TWO > 0, np.where(TWO, "ja", "nein"), TWO * 2.0, THREE + 5, np.array(["a", "b", "ü"])[THREE], THREE * 1.5],
)
def test_labels(labels: Any) -> None:
    check(cb.CatBoostClassifier(**FEW).fit(X, labels), X, **EXACT)


def test_several_targets() -> None:
    for loss in ("MultiRMSE", "MultiRMSEWithMissingValues"):
        check(cb.CatBoostRegressor(loss_function=loss, **FEW).fit(X, np.stack([Y, -Y], axis=1)), X, **EXACT)
    interval = np.stack([POSITIVE, POSITIVE + 1], axis=1)
    check(cb.CatBoostRegressor(loss_function="SurvivalAft:dist=Normal", **FEW).fit(X, interval), X, **EXACT)


@pytest.mark.parametrize("loss", ["YetiRank", "PairLogit", "QueryRMSE", "QuerySoftMax", "StochasticRank:metric=DCG"])
def test_rankers(loss: str) -> None:
    check(cb.CatBoostRanker(loss_function=loss, **FEW).fit(X, TWO, group_id=GROUPS), X, **EXACT)


def test_the_base_class_predicts_raw_scores() -> None:
    for loss, target in (("Logloss", TWO), ("Poisson", POSITIVE), ("MultiClass", THREE)):
        check(cb.CatBoost({"loss_function": loss, **FEW}).fit(X, target), X, **EXACT)


def test_numbers_far_out() -> None:
    """Probabilities near 0 and 1, and their logarithms."""
    model = cb.CatBoostClassifier(**FEW).fit(X, TWO)
    model.set_scale_and_bias(400.0, 3.0)
    # Below ai.onnx.ml 5 scores of float32 rows are float32.
    check(model, X, opsets=(21,), **EXACT)
    for loss in ("MultiClassOneVsAll", "MultiClass"):
        model = cb.CatBoostClassifier(loss_function=loss, **FEW).fit(X, THREE)
        model.set_scale_and_bias(300.0, [0.0, 1.0, -2.0])
        check(model, X, opsets=(21,), **EXACT)


def test_threshold_of_the_probability() -> None:
    model = cb.CatBoostClassifier(**FEW).fit(X, TWO)
    for share in (0.3, 0.7, 0.95):
        model.set_probability_threshold(share)
        check(model, X, opsets=(21,), **EXACT)


def test_ranges_and_best_trees() -> None:
    model = cb.CatBoostRegressor(**FEW).fit(X, Y)
    for first, last in ((0, 2), (1, 3), (2, 0)):
        proto = convert(
            model, X, ("predict", "apply"), options={cb.CatBoostRegressor: {"iteration_range": (first, last)}}
        )
        got = run(proto, X)
        compare("range", model.predict(X, ntree_start=first, ntree_end=last or 5), got["predict"], 1e-13)
        assert got["apply"].shape == (200, (last or 5) - first)
    with pytest.raises(UsageError, match="iteration_range"):
        convert(model, X, options={cb.CatBoostRegressor: {"iteration_range": (0, 6)}})
    best = cb.CatBoostRegressor(**{**FEW, "iterations": 60}, early_stopping_rounds=3)
    best.fit(X[:150], Y[:150], eval_set=(X[150:], Y[150:] + RNG.normal(size=50) * 3))
    assert best.tree_count_ < 60
    check(best, X, **EXACT)


def test_models_from_files(tmp_path: Path) -> None:
    for cls, loss, target in (
        (cb.CatBoostClassifier, "MultiClass", THREE),
        (cb.CatBoostRegressor, "Poisson", POSITIVE),
    ):
        cls(loss_function=loss, **FEW).fit(X, target).save_model(str(tmp_path / "model.cbm"))
        check(cls().load_model(str(tmp_path / "model.cbm")), X, **EXACT)


def test_trees_without_tests() -> None:
    check(cb.CatBoostRegressor(**FEW).fit(X, np.append(np.zeros(199), 1.0)), X, **EXACT)
    shallow = {key: value for key, value in FEW.items() if key != "depth"}
    check(cb.CatBoostRegressor(grow_policy="Lossguide", max_leaves=2, **shallow).fit(X, Y), X, **EXACT)
    check(cb.CatBoostRegressor(grow_policy="Lossguide", min_data_in_leaf=180, **shallow).fit(X, Y), X, **EXACT)
    check(cb.CatBoostRegressor(monotone_constraints=[1, 0, 0, 0], **FEW).fit(X, Y), X, **EXACT)


def test_columns_that_no_tree_tests() -> None:
    model = cb.CatBoostRegressor(ignored_features=[0, 3], **FEW).fit(X, Y)
    assert read_model(model).n_features == 4
    check(model, X, **EXACT)


def test_what_is_refused() -> None:
    frame = pd.DataFrame({"colour": RNG.choice(["red", "blue", "grün"], 200), "size": X[:, 0]})
    for more in ({"one_hot_max_size": 10}, {"one_hot_max_size": 1}):
        model = cb.CatBoostRegressor(cat_features=["colour"], **more, **FEW).fit(frame, Y)
        with pytest.raises(UnsupportedParameter, match="categorical features: colour"):
            convert(model, X[:, :2])
