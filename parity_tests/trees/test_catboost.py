"""CatBoost: every loss, symmetric and other trees, missing values, labels, ranges of trees; what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import catboost as cb
import numpy as np
import pandas as pd
import pytest
from booster_harness import OPSETS, check, compare, convert
from tree_harness import run, session

from any2onnx.data_types import tensor_type
from any2onnx.errors import InvalidType, UnsupportedParameter, UsageError
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


# --- categories


LONG = ["", "z", "grün", "a name of 16 byte", "twenty-four characters..", "x" * 40, "y" * 64, "ü" * 33, "long " * 60]
FRAME = pd.DataFrame(
    {
        "colour": RNG.choice(LONG, 200),
        "size": HOLES[:, 0],
        "code": RNG.choice([10, 20, 35], 200),
        "kind": RNG.choice(["x", "y"], 200),
    }
)
MIXED = (
    np.nan_to_num(FRAME["size"].to_numpy()) * 2
    + (FRAME.colour.str.len() % 4).to_numpy()
    + ((FRAME.colour == "z") & (FRAME.code == 10)).to_numpy() * 3
    + (FRAME.kind == "x").to_numpy() * (HOLES[:, 0] > 0)
)
NAMES = ["colour", "code", "kind"]
KNOWN = {name: FRAME[name].unique() for name in NAMES}
TYPES = [
    ("colour", tensor_type("object", [None, 1])),
    ("size", tensor_type("float64", [None, 1])),
    ("code", tensor_type("int64", [None, 1])),
    ("kind", tensor_type("object", [None, 1])),
]


def of_frame(model: Any, known: Any = None, types: Any = None, opset: int = 21) -> Any:
    options = {type(model): {"categories": KNOWN if known is None else known}}
    methods = ("decision_function", "apply")
    return convert(model, X, methods, opset, options=options, types=types or TYPES)


def feeds_of(frame: pd.DataFrame) -> dict[str, Any]:
    text = ("colour", "kind")
    return {c: frame[c].to_numpy().astype(object if c in text else frame[c].dtype)[:, None] for c in frame}


@pytest.mark.parametrize(
    "more",
    [
        {"one_hot_max_size": 20},
        {"max_ctr_complexity": 1},
        {},
        {"one_hot_max_size": 3},
        {"simple_ctr": ["Buckets"], "combinations_ctr": ["Buckets"]},
        {"simple_ctr": ["BinarizedTargetMeanValue"], "combinations_ctr": ["BinarizedTargetMeanValue"]},
        {"simple_ctr": ["Counter"], "combinations_ctr": ["Counter"]},
        {"simple_ctr": ["Borders:TargetBorderCount=3"], "combinations_ctr": ["Borders:TargetBorderCount=2"]},
        {"grow_policy": "Lossguide", "one_hot_max_size": 3},
    ],
)
def test_categories(more: dict[str, Any]) -> None:
    """One-hot tests, statistics of one feature and of combinations; known and unknown categories."""
    unknown = FRAME.copy()
    unknown.loc[:60, "colour"] = "new"
    unknown.loc[40:100, "code"] = 99
    unknown.loc[80:140, "kind"] = "?"
    rows = pd.concat([FRAME, unknown], ignore_index=True)
    many = {**FEW, "iterations": 30}
    for cls, target in ((cb.CatBoostRegressor, MIXED), (cb.CatBoostClassifier, np.digitize(MIXED, [0.5, 2]))):
        model = cls(cat_features=NAMES, **more, **many).fit(FRAME, target)
        want = np.asarray(cb.CatBoost.predict(model, rows, prediction_type="RawFormulaVal"))
        for opset in (13, 21):
            s = session(of_frame(model, opset=opset))
            scores, leaves = s.run(None, feeds_of(rows))
            compare("scores", want, scores, 1e-13)
            compare("leaves", model.calc_leaf_indexes(rows).astype(np.int64), leaves, 0)
            assert len(s.run(None, feeds_of(rows[:0]))[0]) == 0


def test_combinations_with_tests_of_numbers() -> None:
    rng = np.random.default_rng(0)
    rows = pd.DataFrame(
        {"a": rng.choice(list("uvwz"), 2000), "b": rng.normal(size=2000), "c": rng.choice([1, 2, 3], 2000)}
    )
    target = ((rows.a == "u") ^ (rows.b > 0.3)) * 3.0 + ((rows.c == 1) ^ (rows.a == "v"))
    more = {**FEW, "iterations": 200, "depth": 8}
    model = cb.CatBoostRegressor(cat_features=["a", "c"], **more).fit(rows, target)
    known = {"a": list("uvwz"), "c": [1, 2, 3]}
    found = read_model(model, None, known).categories
    assert found is not None
    assert any(len(item.features) > 1 for item in found.statistics)
    assert any(item.tests for item in found.statistics)
    rows = rows[:300]
    rows.loc[:50, "a"] = "new"
    rows.loc[30:80, "c"] = 4
    types = [("a", TYPES[0][1]), ("b", TYPES[1][1]), ("c", TYPES[2][1])]
    feeds = {"a": rows.a.to_numpy(object)[:, None], "b": rows.b.to_numpy()[:, None], "c": rows.c.to_numpy()[:, None]}
    got = session(of_frame(model, known, types)).run(None, feeds)[0]
    compare("scores", np.asarray(model.predict(rows)), got, 1e-13)


def test_categories_must_be_complete() -> None:
    for more in ({"one_hot_max_size": 20}, {"max_ctr_complexity": 1}, {}):
        model = cb.CatBoostRegressor(cat_features=NAMES, **more, **{**FEW, "iterations": 30}).fit(FRAME, MIXED)
        with pytest.raises(UnsupportedParameter, match="more categories of"):
            of_frame(model, {**KNOWN, "colour": LONG[1:2]})
        with pytest.raises(UnsupportedParameter, match="keeps hashes"):
            of_frame(model, {"code": KNOWN["code"]})
        # More than there are do no harm.
        of_frame(model, {**KNOWN, "colour": [*LONG, "another"]})
    with pytest.raises(UsageError, match="hue"):
        of_frame(model, {**KNOWN, "hue": ["a"]})
    with pytest.raises(UsageError, match="several types"):
        of_frame(model, {**KNOWN, "code": [10, "20"]})
    with pytest.raises(InvalidType, match="holds text"):
        of_frame(model, types=[*TYPES[:2], ("code", tensor_type("object", [None, 1])), TYPES[3]])


def test_what_is_refused() -> None:
    model = cb.CatBoostRegressor(cat_features=["colour"], **{**FEW, "iterations": 30}).fit(
        FRAME[["colour", "size"]], MIXED
    )
    with pytest.raises(UnsupportedParameter, match=r"hashes in place of .*: colour"):
        convert(model, X[:, :2])
    texts = pd.DataFrame({"words": RNG.choice(["a b c", "b c d", "c d e f"], 200), "size": X[:, 0]})
    model = cb.CatBoostClassifier(text_features=["words"], **FEW).fit(texts, TWO)
    with pytest.raises(UnsupportedParameter, match="text features"):
        convert(model, X[:, :2])
