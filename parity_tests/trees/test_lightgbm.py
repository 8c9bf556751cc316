"""LightGBM: every objective and booster, missing values and zeros, categories, linear trees, ranges of iterations."""

from __future__ import annotations

from typing import Any

import lightgbm as lgb
import numpy as np
import pandas as pd
import pytest
from booster_harness import OPSETS, check, compare, convert, expected
from tree_harness import run, session

from any2onnx.data_types import tensor_type
from any2onnx.errors import UnsupportedParameter, UsageError
from any2onnx.tree_ensemble import Mode
from any2onnx.tree_ensemble.sources.lightgbm import read_model

RNG = np.random.default_rng(8)
X = RNG.normal(size=(200, 4)).round(2)
HOLES = np.where(RNG.random(X.shape) < 0.1, np.nan, X)
HOLES[RNG.random(X.shape) < 0.15] = 0.0
Y = X[:, 0] * 2 + X[:, 1] ** 2 + RNG.normal(size=200) * 0.2
POSITIVE = np.abs(Y) + 0.1
TWO = Y > 1
THREE = np.array(["low", "mid", "high"])[np.digitize(Y, [0, 2])]
FEW: dict[str, Any] = {
    "n_estimators": 6,
    "num_leaves": 6,
    "min_child_samples": 5,
    "verbose": -1,
    "n_jobs": 1,
    "random_state": 0,
}
FOREST = {"boosting_type": "rf", "bagging_freq": 1, "bagging_fraction": 0.5}
EXACT = {"wide": 1e-13, "narrow": 2e-7}
CODES = HOLES.copy()
CODES[:, 1], CODES[:, 2] = RNG.integers(0, 70, 200), RNG.integers(0, 3, 200)
CODED = Y + CODES[:, 2] + CODES[:, 1] % 3
ODD = CODES.copy()
ODD[:, 1] = np.resize([0.5, -0.5, -1.0, -3.0, 69.9, 71.0, 1e10, -1e10, np.nan, np.inf, -np.inf, 1e-36], 200)
SPLITS = {"min_data_per_group": 3, "cat_smooth": 1.0}


@pytest.mark.parametrize(
    "objective",
    [
        "regression",
        "regression_l1",
        "huber",
        "fair",
        "poisson",
        "quantile",
        "mape",
        "gamma",
        "tweedie",
        "cross_entropy",
        "cross_entropy_lambda",
    ],
)
def test_objectives_of_numbers(objective: str) -> None:
    target = 1 / (1 + np.exp(-Y)) if "entropy" in objective else POSITIVE
    check(lgb.LGBMRegressor(objective=objective, **FEW).fit(HOLES, target), HOLES, opsets=OPSETS, **EXACT)


@pytest.mark.parametrize("objective", ["binary", "cross_entropy", "cross_entropy_lambda"])
def test_two_classes(objective: str) -> None:
    more = {"sigmoid": 0.7} if objective == "binary" else {}
    for target in (TWO, np.where(TWO, "ja", "nein"), TWO * 2.0):
        check(lgb.LGBMClassifier(objective=objective, **more, **FEW).fit(HOLES, target), HOLES, **EXACT)


@pytest.mark.parametrize("more", [{}, FOREST, {"boosting_type": "dart", "drop_rate": 0.5}, {"linear_tree": True}])
@pytest.mark.parametrize("objective", ["multiclass", "multiclassova"])
def test_three_classes(objective: str, more: dict[str, Any]) -> None:
    if objective == "multiclassova" and not more:
        more = {"sigmoid": 2.0}
    check(lgb.LGBMClassifier(objective=objective, **more, **FEW).fit(HOLES, THREE), HOLES, **EXACT)


def test_square_roots() -> None:
    check(lgb.LGBMRegressor(reg_sqrt=True, **FEW).fit(HOLES, Y), HOLES, **EXACT)


@pytest.mark.parametrize(
    "more",
    [
        FOREST,
        {"boosting_type": "dart", "drop_rate": 0.5},
        {"data_sample_strategy": "goss"},
        {"use_missing": False},
        {"zero_as_missing": True},
        {"monotone_constraints": [1, 0, 0, -1]},
        {"extra_trees": True, "max_depth": 3},
        {"class_weight": None, "importance_type": "gain", "subsample": 0.5, "subsample_freq": 1},
    ],
)
def test_ways_of_training(more: dict[str, Any]) -> None:
    check(lgb.LGBMRegressor(**more, **FEW).fit(HOLES, Y), HOLES, opsets=OPSETS, **EXACT)
    check(lgb.LGBMRegressor(**more, **FEW).fit(X, Y), HOLES, **EXACT)


@pytest.mark.parametrize("more", [{}, FOREST, {"objective": "poisson"}])
def test_linear_trees(more: dict[str, Any]) -> None:
    """A leaf's model gives way to its value where one of its features is missing."""
    model = lgb.LGBMRegressor(linear_tree=True, **more, **FEW).fit(X, POSITIVE)
    assert read_model(model).linear is not None
    assert read_model(model).linear.used.any(axis=0).sum() > 1
    check(model, HOLES, opsets=OPSETS, **EXACT)


def test_rankers() -> None:
    for objective in ("lambdarank", "rank_xendcg"):
        check(lgb.LGBMRanker(objective=objective, **FEW).fit(X, TWO * 1, group=[100, 100]), X, **EXACT)


def test_own_objective() -> None:
    def squared(y: Any, p: Any) -> Any:
        return p - y, np.ones_like(y)

    check(lgb.LGBMRegressor(objective=squared, **FEW).fit(X, Y), X, **EXACT)
    model = lgb.LGBMClassifier(objective=squared, **FEW).fit(X, TWO)
    check(model, X, **EXACT)


def test_boosters() -> None:
    for parameters, target in (
        ({"objective": "poisson"}, POSITIVE),
        ({"objective": "multiclass", "num_class": 3}, None),
    ):
        labels = np.digitize(Y, [0, 2]) if target is None else target
        model = lgb.train({"verbose": -1, "num_leaves": 5, **parameters}, lgb.Dataset(X, labels), 5)
        check(model, X, **EXACT)
        check(lgb.Booster(model_str=model.model_to_string()), X, **EXACT)


@pytest.mark.parametrize("one_hot", [1, 4, 100])
@pytest.mark.parametrize("more", [{}, {"zero_as_missing": True}, {"use_missing": False}])
def test_categories(more: dict[str, Any], one_hot: int) -> None:
    """In a set or not; fractions are cut off towards zero, the rest goes right."""
    model = lgb.LGBMRegressor(max_cat_to_onehot=one_hot, **SPLITS, **more, **FEW)
    model.fit(CODES, CODED, categorical_feature=[1, 2])
    assert read_model(model).ensemble.has_members
    check(model, np.concatenate([CODES, ODD]), opsets=OPSETS if not more else (13, 21), **EXACT)


def test_categories_of_a_frame() -> None:
    frame = pd.DataFrame(
        {
            "a": pd.Categorical(RNG.choice(["u", "v", "wé", "z"], 200)),
            "b": HOLES[:, 1],
            "c": pd.Categorical(RNG.choice([10, 20, 35], 200)),
        }
    )
    target = Y + (frame.a == "u") * 3 + (frame.c == 10) * 1.3
    model = lgb.LGBMRegressor(max_cat_to_onehot=2, **SPLITS, **FEW).fit(frame, target)
    types = [
        (name, tensor_type(dtype, [None, 1])) for name, dtype in (("a", "object"), ("b", "float64"), ("c", "int64"))
    ]
    feeds = {
        "a": frame.a.astype(object).to_numpy()[:, None],
        "b": frame.b.to_numpy()[:, None],
        "c": frame.c.astype(np.int64).to_numpy()[:, None],
    }
    unseen = frame.copy()
    unseen["a"] = pd.Categorical(["new"] * 200)
    for opset in (13, 21):
        s = session(convert(model, X[:, :3], ("predict",), opset, types=types))
        compare("predict", model.predict(frame), s.run(None, feeds)[0], 1e-13)
        feeds_unseen = {**feeds, "a": np.full((200, 1), "new", object)}
        compare("unseen", model.predict(unseen), s.run(None, feeds_unseen)[0], 1e-13)


def test_early_stopping_and_ranges() -> None:
    data = lgb.Dataset(X, Y, free_raw_data=False)
    model = lgb.train(
        {"verbose": -1, "num_leaves": 5},
        data,
        30,
        valid_sets=[lgb.Dataset(X[:30], Y[:30][::-1], reference=data)],
        callbacks=[lgb.early_stopping(3, verbose=False)],
        keep_training_booster=True,
    )
    assert 0 < model.best_iteration < model.current_iteration()
    check(model, X, **EXACT)
    long = lgb.LGBMRegressor(**FEW).fit(X, Y)
    for first, last in ((0, 2), (1, 4), (2, 0)):
        proto = convert(long, X, ("predict", "apply"), options={lgb.LGBMRegressor: {"iteration_range": (first, last)}})
        count = (last or 6) - first
        got = run(proto, X)
        compare("range", long.predict(X, start_iteration=first, num_iteration=count), got["predict"], 1e-13)
        assert got["apply"].shape == (200, count)
    with pytest.raises(UsageError, match="iteration_range"):
        convert(long, X, options={lgb.LGBMRegressor: {"iteration_range": (3, 99)}})


def test_trees_of_one_leaf() -> None:
    check(lgb.LGBMRegressor(verbose=-1).fit(X[:10], Y[:10]), X, **EXACT)
    check(lgb.LGBMClassifier(verbose=-1).fit(X[:10], TWO[:10]), X, **EXACT)
    check(lgb.LGBMRegressor(**FEW).fit(X, np.ones(200)), X, **EXACT)


def test_numbers_around_zero() -> None:
    """LightGBM takes |x| ≤ 1e-35 for zero, and puts thresholds at the ends of that range."""
    rows = np.repeat([[-1.0], [0.0], [1.0]], 60, axis=0) * RNG.uniform(0.5, 1, (180, 1))
    limit = float(np.float32(1e-35))
    close = [limit, np.nextafter(limit, 1), np.nextafter(limit, 0), 1e-36, 5e-324, 0.0]
    tiny = np.array([[sign * v] for v in close for sign in (1, -1)])
    few = np.array([np.float32(limit), np.nextafter(np.float32(limit), np.float32(1)), np.float32(1e-40)])
    for more in ({}, {"zero_as_missing": True}):
        model = lgb.LGBMRegressor(**more, **FEW).fit(rows, np.sign(rows[:, 0]) ** 2)
        assert np.abs(read_model(model).ensemble.threshold).max() > 0
        check(model, tiny, dtypes=(np.float64,), **EXACT)
        check(model, np.concatenate([few, -few])[:, None], dtypes=(np.float32,), **EXACT)


def test_thresholds_within_zero() -> None:
    """A threshold inside the range of zeros cannot be trained, but it can stand in a file."""
    limit = float(np.float32(1e-35))
    rows = np.repeat([[-1.0], [1.0]], 60, axis=0) * RNG.uniform(0.5, 1, (120, 1))
    text = (
        lgb.LGBMRegressor(**{**FEW, "n_estimators": 1, "num_leaves": 2})
        .fit(rows, rows[:, 0])
        .booster_.model_to_string()
    )
    old = next(line for line in text.split("\n") if line.startswith("threshold="))
    probes = np.array([[sign * v] for v in (limit, np.nextafter(limit, 1), 1e-36, 0.0) for sign in (1, -1)])
    for threshold in (0.0, -0.0, 1e-36, -1e-36, limit, -limit, -np.nextafter(limit, 1)):
        changed = text.replace(old, f"threshold={float(threshold)!r}")
        # Sizes of the trees in characters, which LightGBM can do without.
        model = lgb.Booster(model_str="\n".join(line for line in changed.split("\n") if "tree_sizes=" not in line))
        check(model, probes, dtypes=(np.float64,), **EXACT)


def test_rows_of_whole_numbers() -> None:
    """Whole numbers in a matrix become float32, in a frame what numpy makes of their types."""
    rows = (2**40 + np.arange(200))[:, None]
    model = lgb.LGBMRegressor(**FEW).fit(pd.DataFrame(rows, columns=["a"]), np.arange(200) % 7)
    compare("matrix", model.predict(rows), run(convert(model, rows, ("predict",)), rows)["predict"], 1e-13)
    frame = pd.DataFrame({"a": rows[:, 0], "b": X[:, 0].astype(np.float32)})
    model = lgb.LGBMRegressor(**FEW).fit(frame, np.arange(200) % 7)
    types = [("a", tensor_type("int64", [None, 1])), ("b", tensor_type("float32", [None, 1]))]
    columns = [frame[[c]].to_numpy() for c in frame]
    got = run(convert(model, rows, ("predict",), types=types), *columns)["predict"]
    compare("frame", model.predict(frame), got, 2e-7)


def test_what_is_refused() -> None:
    model = lgb.LGBMClassifier(pred_early_stop=True, **FEW).fit(X, TWO)
    with pytest.raises(UnsupportedParameter, match="pred_early_stop"):
        convert(model, X)
    model = lgb.LGBMClassifier(objective="multiclass", num_class=2, **FEW).fit(X, TWO)
    with pytest.raises(UnsupportedParameter, match="two classes"):
        convert(model, X)


def test_form_of_the_trees() -> None:
    model = lgb.LGBMRegressor(**SPLITS, **FEW).fit(CODES, CODED, categorical_feature=[1, 2])
    e = read_model(model).ensemble.validate()
    assert set(e.modes()) == {Mode.LEQ, Mode.MEMBER}
    assert e.compare == "float64"
    assert expected(model, X, "apply").shape == (200, e.n_trees)
