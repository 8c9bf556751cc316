"""XGBoost: every objective, booster and kind of target, missing values, categories, ranges of iterations."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xgboost as xgb
from booster_harness import OPSETS, check, compare, convert, expected
from tree_harness import run, session
from tree_probes import sums

from any2onnx.data_types import tensor_type
from any2onnx.errors import InvalidType, MalformedFile, UnknownOption, UnsupportedParameter, UsageError
from any2onnx.tree_ensemble.sources import ubjson
from any2onnx.tree_ensemble.sources.xgboost import read_model

RNG = np.random.default_rng(7)
X = RNG.normal(size=(150, 4)).round(2)
HOLES = np.where(RNG.random(X.shape) < 0.1, np.nan, X)
Y = X[:, 0] * 2 + X[:, 1] ** 2 + RNG.normal(size=150) * 0.2
POSITIVE = np.abs(Y) + 0.1
TWO = (Y > 1) * 1
THREE = np.digitize(Y, [0, 2])
SEVERAL = np.stack([Y, -Y, Y * X[:, 2]], axis=1)
LABELS = np.stack([Y > 1, X[:, 1] > 0, X[:, 2] > 1], axis=1) * 1
GROUPS = np.sort(np.arange(150) % 10)
FEW: dict[str, Any] = {"n_estimators": 6, "max_depth": 3, "n_jobs": 1}
# XGBoost itself adds in float32, ours is closer to the exact sum.
AS_XGBOOST = {"wide": 1e-6, "narrow": 1e-6}
CODES = HOLES.copy()
CODES[:, 1], CODES[:, 2] = RNG.integers(0, 40, 150), RNG.integers(0, 3, 150)
CODES[::11, 1] = np.nan
TYPES = ["float", "c", "c", "float"]


@pytest.mark.parametrize(
    "objective",
    [
        "reg:squarederror",
        "reg:squaredlogerror",
        "reg:pseudohubererror",
        "reg:absoluteerror",
        "reg:quantileerror",
        "reg:logistic",
        "reg:gamma",
        "reg:tweedie",
        "count:poisson",
        "survival:cox",
        "survival:aft",
        "binary:logistic",
        "binary:logitraw",
        "binary:hinge",
    ],
)
def test_objectives_of_numbers(objective: str) -> None:
    more: dict[str, Any] = {"quantile_alpha": [0.1, 0.5, 0.9]} if "quantile" in objective else {}
    if objective == "survival:aft":
        rows = xgb.DMatrix(HOLES, label_lower_bound=POSITIVE, label_upper_bound=POSITIVE + 1)
        check(xgb.train({"objective": objective, "max_depth": 3}, rows, 6), HOLES, opsets=OPSETS, **AS_XGBOOST)
        return
    target = TWO if "binary" in objective or "logistic" in objective else POSITIVE
    check(xgb.XGBRegressor(objective=objective, **FEW, **more).fit(HOLES, target), HOLES, opsets=OPSETS, **AS_XGBOOST)


@pytest.mark.parametrize("objective", ["binary:logistic", "binary:logitraw", "binary:hinge", "reg:squarederror"])
def test_two_classes(objective: str) -> None:
    check(xgb.XGBClassifier(objective=objective, **FEW).fit(HOLES, TWO), HOLES, **AS_XGBOOST)


@pytest.mark.parametrize("booster", ["gbtree", "dart", "gblinear"])
@pytest.mark.parametrize("objective", ["multi:softprob", "multi:softmax"])
def test_three_classes(objective: str, booster: str) -> None:
    few = {"n_estimators": 6} if booster == "gblinear" else FEW
    more = {"rate_drop": 0.5, "random_state": 0} if booster == "dart" else {}
    model = xgb.XGBClassifier(objective=objective, booster=booster, **few, **more).fit(HOLES, THREE)
    check(model, HOLES, opsets=OPSETS, leave_out=("apply",) if booster == "gblinear" else (), **AS_XGBOOST)
    if booster == "dart":
        assert np.any(read_model(model).ensemble.tree_weight != 1)


def test_two_classes_as_several() -> None:
    """XGBoost then predicts a column per class."""
    check(xgb.XGBClassifier(objective="multi:softprob", num_class=2, **FEW).fit(X, TWO), X, **AS_XGBOOST)


def test_gblinear_of_numbers() -> None:
    for target in (Y, SEVERAL):
        model = xgb.XGBRegressor(booster="gblinear", n_estimators=6).fit(HOLES, target)
        check(model, HOLES, leave_out=("apply",), **AS_XGBOOST)
    with pytest.raises(UnsupportedParameter, match="no trees"):
        convert(model, X, ("apply",))


@pytest.mark.parametrize("strategy", ["one_output_per_tree", "multi_output_tree"])
def test_several_targets(strategy: str) -> None:
    more: dict[str, Any] = {"multi_strategy": strategy, **FEW}
    check(xgb.XGBRegressor(**more).fit(HOLES, SEVERAL), HOLES, opsets=OPSETS, **AS_XGBOOST)
    check(xgb.XGBClassifier(**more).fit(HOLES, LABELS), HOLES, **AS_XGBOOST)
    check(xgb.XGBClassifier(**more).fit(HOLES, THREE), HOLES, **AS_XGBOOST)


def test_forests() -> None:
    check(xgb.XGBRFClassifier(**FEW).fit(HOLES, THREE), HOLES, **AS_XGBOOST)
    check(xgb.XGBRFRegressor(**FEW).fit(HOLES, Y), HOLES, **AS_XGBOOST)
    check(xgb.XGBClassifier(num_parallel_tree=3, subsample=0.7, **FEW).fit(HOLES, THREE), HOLES, **AS_XGBOOST)


@pytest.mark.parametrize("objective", ["rank:ndcg", "rank:pairwise", "rank:map"])
def test_rankers(objective: str) -> None:
    check(xgb.XGBRanker(objective=objective, **FEW).fit(X, TWO, qid=GROUPS), X, **AS_XGBOOST)


def test_pruned_trees_keep_the_numbers_of_their_leaves() -> None:
    model = xgb.XGBRegressor(gamma=2.0, tree_method="exact", n_estimators=4, max_depth=5).fit(X, Y)
    learner = ubjson.decode(model.get_booster().save_raw("ubj"))["learner"]
    trees = learner["gradient_booster"]["model"]["trees"]
    assert any(int(t["tree_param"]["num_deleted"]) > 0 for t in trees)
    check(model, X, **AS_XGBOOST)


def test_growth_and_constraints() -> None:
    for more in (
        {"grow_policy": "lossguide", "max_leaves": 6},
        {"monotone_constraints": (1, 0, 0, -1)},
        {"interaction_constraints": "[[0, 1], [2, 3]]"},
        {"tree_method": "approx"},
        {"base_score": 0.3},
        {"reg_alpha": 1.0, "scale_pos_weight": 3.0},
    ):
        check(xgb.XGBClassifier(**{**FEW, **more}).fit(HOLES, TWO), HOLES, **AS_XGBOOST)


def test_starts_per_class() -> None:
    for score in ([0.1, 0.2, 0.7], 0.4):
        check(xgb.XGBClassifier(base_score=score, **FEW).fit(X, THREE), X, **AS_XGBOOST)


@pytest.mark.parametrize("missing", [-999.0, 0.0, np.inf])
def test_missing_value_of_the_users_choice(missing: float) -> None:
    rows = np.where(np.isnan(HOLES), missing, X)
    check(xgb.XGBRegressor(missing=missing, **FEW).fit(rows, Y), rows, **AS_XGBOOST)


@pytest.mark.parametrize("one_hot", [1, 4, 100])
def test_categories(one_hot: int) -> None:
    """In a set or not; fractions, negative numbers, unknown and missing categories."""
    model = xgb.XGBRegressor(max_cat_to_onehot=one_hot, feature_types=TYPES, enable_categorical=True, **FEW)
    model.fit(CODES, Y + CODES[:, 2] + np.nan_to_num(CODES[:, 1]) % 3)
    assert read_model(model).ensemble.has_members
    odd = CODES[:60].copy()
    odd[:, 1] = np.resize([0.5, -0.5, -1.0, 39.9, 40.0, 41.0, 1e6, np.nan], 60)
    check(model, np.concatenate([CODES, odd]), opsets=OPSETS, **AS_XGBOOST)


def test_categories_of_a_frame() -> None:
    """One input per column holds the categories themselves; a matrix holds their codes."""
    frame = pd.DataFrame(
        {
            "a": pd.Categorical(RNG.choice(["u", "vv", "w x", "z"], 150)),
            "b": HOLES[:, 1],
            "c": pd.Categorical(RNG.choice([10, 20, 35], 150)),
        }
    )
    target = Y + (frame.a == "u") * 3 + (frame.c == 10) * 1.3
    model = xgb.XGBRegressor(enable_categorical=True, max_cat_to_onehot=2, **FEW).fit(frame, target)
    types = [
        (name, tensor_type(dtype, [None, 1])) for name, dtype in (("a", "object"), ("b", "float64"), ("c", "int64"))
    ]
    want = expected(model, frame, "predict")
    for opset in (13, 21):
        s = session(convert(model, HOLES[:, :3], ("predict", "apply"), opset, types=types))
        feeds = {
            "a": frame.a.astype(object).to_numpy()[:, None],
            "b": frame.b.to_numpy()[:, None],
            "c": frame.c.astype(np.int64).to_numpy()[:, None],
        }
        got, leaves = s.run(None, feeds)
        compare("predict", want, got, 1e-6)
        compare("apply", expected(model, frame, "apply"), leaves, 0)
    codes = np.stack([frame.a.cat.codes, frame.b, frame.c.cat.codes], axis=1)
    compare("codes", want, run(convert(model, codes, ("predict",)), codes)["predict"], 1e-6)
    with pytest.raises(InvalidType, match="holds text"):
        convert(model, HOLES, ("predict",), types=[("a", tensor_type("object", [None, 3]))])
    frame["a"] = frame.a.cat.rename_categories({"vv": "é"})
    model.fit(frame, target)
    with pytest.raises(UnsupportedParameter, match="not ASCII"):
        convert(model, HOLES, ("predict",), types=types)
    compare("codes", model.predict(frame), run(convert(model, codes, ("predict",)), codes)["predict"], 1e-6)


def test_early_stopping_and_ranges() -> None:
    noise = RNG.integers(0, 2, 150)
    model = xgb.XGBClassifier(n_estimators=30, max_depth=3, early_stopping_rounds=3)
    model.fit(X, TWO, eval_set=[(X[:20], noise[:20])], verbose=False)
    assert model.best_iteration + 1 < model.get_booster().num_boosted_rounds()
    check(model, X, **AS_XGBOOST)
    # A Booster takes all rounds, whatever the best one is.
    check(model.get_booster(), X, **AS_XGBOOST)
    model = xgb.XGBClassifier(**FEW).fit(X, TWO)
    for first, last in ((0, 2), (1, 3), (2, 0)):
        proto = convert(
            model, X, ("decision_function",), options={xgb.XGBClassifier: {"iteration_range": (first, last)}}
        )
        want = model.predict(X, output_margin=True, iteration_range=(first, last or 6))
        compare("range", want, run(proto, X)["decision_function"], 1e-6)
    with pytest.raises(UsageError, match="iteration_range"):
        convert(model, X, options={xgb.XGBClassifier: {"iteration_range": (0, 99)}})
    with pytest.raises(UsageError, match="iteration_range"):
        convert(model, X, options={xgb.XGBClassifier: {"iteration_range": 3}})


def test_no_trees_and_one_tree() -> None:
    check(xgb.XGBRegressor(n_estimators=0).fit(X, Y), X, leave_out=("apply",), **AS_XGBOOST)
    check(xgb.XGBRegressor(n_estimators=1).fit(X, Y), X, **AS_XGBOOST)
    check(xgb.XGBRegressor(n_estimators=2).fit(X, np.ones(150)), X, **AS_XGBOOST)


def test_rows_of_whole_numbers() -> None:
    for dtype in (np.int64, np.int32, np.uint8, np.bool_):
        rows = np.abs(np.round(X * 20)).astype(dtype)
        model = xgb.XGBRegressor(**FEW).fit(rows, Y)
        got = run(convert(model, rows, ("predict", "apply")), rows)
        compare("predict", model.predict(rows), got["predict"], 1e-6)
        compare("apply", expected(model, rows, "apply"), got["apply"], 0)


def test_own_objective() -> None:
    def squared(y: Any, p: Any) -> Any:
        return p - y, np.ones_like(y)

    check(xgb.XGBRegressor(objective=squared, **FEW).fit(X, Y), X, **AS_XGBOOST)
    check(xgb.XGBClassifier(objective=squared, **FEW).fit(X, TWO), X, **AS_XGBOOST)


def test_sums_are_those_of_float64() -> None:
    model = xgb.XGBRegressor(n_estimators=200, max_depth=4, learning_rate=0.05).fit(X, Y * 1000)
    exact = sums(read_model(model).ensemble, X.astype(np.float32))[:, 0]
    got = run(convert(model, X, ("decision_function",)), X)["decision_function"]
    assert np.abs(got - exact).max() <= 1e-14 * np.abs(exact).max()
    assert np.abs(model.predict(X) - exact).max() <= 200 * 2.0**-24 * np.abs(exact).max()


def test_a_score_of_half() -> None:
    """Where float32 rounds the probability to a half, the label is the first class."""
    unit = 2.0**-23
    model = xgb.XGBClassifier(n_estimators=1, base_score=0.5).fit(X, TWO)
    content = json.loads(model.get_booster().save_raw("json"))
    (tree,) = content["learner"]["gradient_booster"]["model"]["trees"]
    scores = []
    for k, child in enumerate(tree["left_children"]):
        if child < 0:
            scores.append(unit * (0.25 * len(scores) - 0.5))
            tree["split_conditions"][k] = scores[-1]
    model.load_model(bytearray(json.dumps(content).encode()))
    labels = run(convert(model, X, ("predict",)), X)["predict"]
    assert labels.tolist() == model.predict(X).tolist()
    # Some scores are above zero and give a half all the same.
    assert 0 < labels.sum() < (model.predict(X, output_margin=True) > 0).sum()


def test_names_and_parameters() -> None:
    model = xgb.XGBClassifier(**FEW).fit(X, TWO)
    with pytest.raises(UnknownOption, match="predict_log_proba"):
        convert(model, X, ("predict_log_proba",))
    # Further parameters of the training do not matter.
    check(
        xgb.XGBRegressor(objective="reg:tweedie", tweedie_variance_power=1.3, **FEW).fit(X, POSITIVE), X, **AS_XGBOOST
    )


def test_bytes_that_are_no_ubjson() -> None:
    whole = bytes(xgb.XGBRegressor(**FEW).fit(X, Y).get_booster().save_raw("ubj"))
    for broken in (b"", whole[:-1], whole[: len(whole) // 2], b"?" + whole, whole.replace(b"[$d", b"[$q")):
        with pytest.raises(MalformedFile):
            ubjson.decode(broken)
    assert ubjson.decode(b"[TFZi\x05SU\x02abCx]") == [True, False, None, 5, "ab", "x"]
