"""Every family of trees, every method, float32 and float64, at every version of the tree operators."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.ensemble import (
    AdaBoostClassifier,
    AdaBoostRegressor,
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    IsolationForest,
    RandomForestClassifier,
    RandomForestRegressor,
    RandomTreesEmbedding,
)
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor, ExtraTreeClassifier, ExtraTreeRegressor
from tree_harness import OPSETS, check

RNG = np.random.default_rng(0)
X = RNG.normal(size=(160, 5)).round(2)
NUMBER = X[:, 0] * 3 + X[:, 1] ** 2 + RNG.normal(size=160) * 0.3
THREE = np.digitize(NUMBER, [0, 2])
TARGETS: dict[str, Any] = {
    "none": None,
    "number": NUMBER,
    "positive": np.abs(NUMBER) + 0.1,
    "numbers": np.stack([NUMBER, -NUMBER * 2], axis=1),
    "three": THREE + 5,
    "bool": NUMBER > 1,
    "text": np.array(["low", "mid", "high"], dtype=object)[THREE],
    "float": (THREE > 1) * 2.0,
    "labels": np.stack([NUMBER > 1, THREE > 1], axis=1).astype(int),
    "texts": np.stack([np.array(["a", "b", "c"])[THREE], np.array(["d", "e"])[(NUMBER > 1) * 1]], axis=1),
}
SMALL = {"random_state": 0}
FEW = {"n_estimators": 6, "random_state": 0}
ITER = {"max_iter": 5, "min_samples_leaf": 5, "random_state": 0}


def cases() -> list[Any]:
    made: list[tuple[Any, str]] = []
    for cls in (DecisionTreeClassifier, ExtraTreeClassifier):
        made += [(cls(max_depth=4, **SMALL), t) for t in ("three", "bool", "text", "float", "labels", "texts")]
    for cls in (DecisionTreeRegressor, ExtraTreeRegressor):
        made += [(cls(max_leaf_nodes=12, **SMALL), t) for t in ("number", "numbers")]
    for cls in (RandomForestClassifier, ExtraTreesClassifier):
        made += [(cls(**FEW), t) for t in ("three", "bool", "labels")]
        made += [(cls(max_depth=3, **FEW), t) for t in ("text", "bool", "texts")]
        made += [(cls(max_leaf_nodes=6, class_weight="balanced", **FEW), "three")]
    for cls in (RandomForestRegressor, ExtraTreesRegressor):
        made += [(cls(max_depth=4, **FEW), t) for t in ("number", "numbers")]
    made.append((RandomTreesEmbedding(max_depth=3, **FEW), "none"))
    for target in ("bool", "text"):
        made += [
            (GradientBoostingClassifier(**FEW), target),
            (GradientBoostingClassifier(init="zero", subsample=0.7, **FEW), target),
            (GradientBoostingClassifier(init=DecisionTreeClassifier(max_depth=2), **FEW), target),
            (HistGradientBoostingClassifier(**ITER), target),
            (AdaBoostClassifier(**FEW), target),
            (AdaBoostClassifier(RandomForestClassifier(2, max_depth=2), n_estimators=3, **SMALL), target),
        ]
    made.append((GradientBoostingClassifier(loss="exponential", **FEW), "bool"))
    made.append((GradientBoostingClassifier(loss="exponential", init=RandomForestClassifier(3), **FEW), "bool"))
    for loss in ("squared_error", "absolute_error", "huber", "quantile"):
        made.append((GradientBoostingRegressor(loss=loss, alpha=0.4, **FEW), "number"))
    made.append((GradientBoostingRegressor(init=DecisionTreeRegressor(max_depth=3), **FEW), "number"))
    for loss in ("squared_error", "absolute_error", "poisson", "gamma", "quantile"):
        made.append((HistGradientBoostingRegressor(loss=loss, quantile=0.3, **ITER), "positive"))
    made.append((HistGradientBoostingRegressor(monotonic_cst=[1, 0, 0, -1, 0], **ITER), "number"))
    made.append((IsolationForest(**FEW), "none"))
    made.append((IsolationForest(max_features=0.5, contamination=0.1, **FEW), "none"))
    made.append((IsolationForest(max_samples=1, **FEW), "none"))
    made.append((IsolationForest(max_samples=2, **FEW), "none"))
    made.append((AdaBoostRegressor(**FEW), "number"))
    made.append((AdaBoostRegressor(RandomForestRegressor(2, max_depth=2), n_estimators=3, **SMALL), "number"))
    return [pytest.param(e, t, id=f"{k}-{type(e).__name__}-{t}") for k, (e, t) in enumerate(made)]


@pytest.mark.parametrize(("estimator", "target"), cases())
def test_every_method_at_every_version(estimator: Any, target: str) -> None:
    estimator.fit(X, TARGETS[target])
    for opset in OPSETS:
        for dtype in (np.float32, np.float64):
            check(estimator, X.astype(dtype), opset)


@pytest.mark.parametrize("dtype", [np.int64, np.int32, np.int8, np.uint8, np.bool_])
@pytest.mark.parametrize("opset", [15, 21])
@pytest.mark.parametrize("cls", [RandomForestRegressor, HistGradientBoostingRegressor, DecisionTreeClassifier])
def test_rows_of_whole_numbers(cls: type, opset: int, dtype: Any) -> None:
    rows = np.abs(np.round(X * 20)).astype(dtype)
    target = TARGETS["three" if cls is DecisionTreeClassifier else "number"]
    size = {"max_iter": 5, "min_samples_leaf": 5} if "Hist" in cls.__name__ else {"max_depth": 4}
    check(cls(random_state=0, **size).fit(rows, target), rows, opset)


@pytest.mark.parametrize("opset", OPSETS)
def test_int64_beyond_float32(opset: Any) -> None:
    """HistGradientBoosting compares float64(x): neighbours of 2^40 must not fall together."""
    rows = (2**40 + np.arange(200))[:, None]
    check(HistGradientBoostingRegressor(min_samples_leaf=5, max_iter=3).fit(rows, np.arange(200) % 7), rows, opset)


@pytest.mark.parametrize("opset", [13, 18, 21])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("target", ["bool", "text", "number"])
def test_trees_of_one_leaf(target: str, dtype: Any, opset: int) -> None:
    flat = np.zeros((20, 3), dtype)
    y = TARGETS[target][:20]
    family = (
        [DecisionTreeRegressor(), RandomForestRegressor(3), GradientBoostingRegressor(n_estimators=2)]
        if target == "number"
        else [DecisionTreeClassifier(), RandomForestClassifier(3), GradientBoostingClassifier(n_estimators=2)]
    )
    for estimator in family:
        check(estimator.fit(flat, y), flat, opset)


@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_one_class(dtype: Any, opset: Any) -> None:
    rows = X.astype(dtype)
    ones = np.full(len(X), "only")
    for estimator in (DecisionTreeClassifier(), RandomForestClassifier(3), AdaBoostClassifier(n_estimators=2)):
        check(estimator.fit(rows, ones), rows, opset)


@pytest.mark.parametrize("opset", OPSETS)
def test_missing_values(opset: Any) -> None:
    holes = X.copy()
    holes[RNG.random(X.shape) < 0.2] = np.nan
    holes[:, 4] = np.where(NUMBER > 1, np.nan, holes[:, 4])
    for dtype in (np.float32, np.float64):
        rows = holes.astype(dtype)
        for estimator, target in (
            (DecisionTreeClassifier(max_depth=5), "three"),
            (DecisionTreeRegressor(max_depth=5), "numbers"),
            (RandomForestClassifier(**FEW), "text"),
            (ExtraTreesRegressor(**FEW), "number"),
            (HistGradientBoostingClassifier(**ITER), "text"),
            (HistGradientBoostingRegressor(**ITER), "number"),
            (IsolationForest(**FEW), "none"),
        ):
            fitted = estimator.fit(rows, TARGETS[target])
            check(fitted, rows, opset)


@pytest.mark.parametrize("opset", OPSETS)
def test_infinite_thresholds(opset: Any) -> None:
    """A split of missing against present values has the threshold infinity."""
    rows = np.where(np.arange(60)[:, None] % 3 == 0, np.nan, X[:60, :1])
    y = (np.arange(60) % 3 == 0) * 5.0
    for dtype in (np.float32, np.float64):
        tree = DecisionTreeRegressor().fit(rows.astype(dtype), y)
        assert np.isinf(tree.tree_.threshold).any()
        check(tree, rows.astype(dtype), opset)
        check(HistGradientBoostingRegressor(min_samples_leaf=5).fit(rows.astype(dtype), y), rows.astype(dtype), opset)
