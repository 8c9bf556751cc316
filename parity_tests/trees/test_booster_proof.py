"""Decisions of the boosting libraries: probed on every threshold and its neighbours, and proved node by node."""

from __future__ import annotations

from typing import Any

import catboost as cb
import lightgbm as lgb
import numpy as np
import onnx
import pytest
import xgboost as xgb
from booster_harness import OPSETS, compare, convert, expected
from tree_harness import run
from tree_probes import boundary_rows, sums, walk

from any2onnx.converters.sklearn.tree_source import ensemble_of_estimator
from any2onnx.errors import NotAModel
from any2onnx.tree_ensemble import Mode
from any2onnx.tree_ensemble.prove import prove

RNG = np.random.default_rng(11)
X = RNG.normal(size=(250, 4))
HOLES = np.where(RNG.random(X.shape) < 0.1, np.nan, X)
CODES = HOLES.copy()
CODES[:, 2] = RNG.integers(0, 30, 250)
Y = X[:, 0] * X[:, 1] + RNG.normal(size=250) * 0.2 + CODES[:, 2] % 3
THREE = np.digitize(Y, [0.5, 1.5])
TWO_TARGETS = np.stack([Y, -Y], axis=1)
XGB: dict[str, Any] = {"n_estimators": 6, "max_depth": 5, "n_jobs": 1}
LGB: dict[str, Any] = {"n_estimators": 6, "min_child_samples": 5, "verbose": -1, "n_jobs": 1, "random_state": 0}
CAT: dict[str, Any] = {"iterations": 6, "depth": 5, "verbose": 0, "thread_count": 1, "allow_writing_files": False}
WIDE: dict[str, Any] = {"min_data_per_group": 3, "cat_smooth": 1.0}

FAMILIES: dict[str, tuple[Any, Any, Any]] = {
    "xgboost": (xgb.XGBRegressor(**XGB), HOLES, Y),
    "xgboost_classes": (xgb.XGBClassifier(**XGB), HOLES, THREE),
    "xgboost_dart": (xgb.XGBRegressor(booster="dart", rate_drop=0.5, **XGB), HOLES, Y),
    "xgboost_targets": (xgb.XGBRegressor(multi_strategy="multi_output_tree", **XGB), HOLES, TWO_TARGETS),
    "xgboost_pruned": (xgb.XGBRegressor(tree_method="exact", gamma=1.0, **XGB), X, Y),
    "xgboost_forest": (xgb.XGBRFClassifier(**XGB), HOLES, THREE > 0),
    "lightgbm": (lgb.LGBMRegressor(**LGB), X, Y),
    "lightgbm_missing": (lgb.LGBMRegressor(**LGB), HOLES, Y),
    "lightgbm_classes": (lgb.LGBMClassifier(**LGB), HOLES, THREE),
    "lightgbm_dart": (lgb.LGBMRegressor(boosting_type="dart", drop_rate=0.5, **LGB), HOLES, Y),
    "catboost": (cb.CatBoostRegressor(**CAT), HOLES, Y),
    "catboost_highest": (cb.CatBoostRegressor(nan_mode="Max", **CAT), HOLES, Y),
    "catboost_classes": (cb.CatBoostClassifier(**CAT), HOLES, THREE),
    "catboost_lossguide": (cb.CatBoostRegressor(grow_policy="Lossguide", **CAT), HOLES, Y),
}
WITH_COLUMNS: dict[str, tuple[Any, Any]] = {
    "xgboost": (
        xgb.XGBRegressor(feature_types=["float", "float", "c", "float"], enable_categorical=True, **XGB),
        CODES,
    ),
    "lightgbm": (lgb.LGBMRegressor(categorical_feature=[2], **WIDE, **LGB), CODES),
    "lightgbm_zero": (lgb.LGBMRegressor(zero_as_missing=True, **LGB), np.where(np.isnan(HOLES), 0.0, HOLES)),
}
# XGBoost gives the same sums in float32.
TOLERANCE = {"xgboost": (1e-6, 1e-6), "lightgbm": (2e-7, 1e-13), "catboost": (2e-7, 1e-13)}


def fitted(family: str) -> tuple[Any, Any]:
    model, rows, y = FAMILIES[family]
    return model.fit(rows, y), rows


@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize("family", FAMILIES)
def test_every_threshold_and_its_neighbours(family: str, opset: Any) -> None:
    """Zero leaves differ, and sums agree."""
    model, rows = fitted(family)
    e = ensemble_of_estimator(model).validate()
    assert e.modes() == [{"x": Mode.LT, "l": Mode.LEQ, "c": Mode.GT}[family[0]]]
    for dtype, tolerance in zip((np.float32, np.float64), TOLERANCE[family.partition("_")[0]], strict=True):
        probes = boundary_rows(e, rows, dtype)
        assert len(probes) >= 3 * len(np.unique(e.threshold[~e.is_leaf])) - 6
        got = run(convert(model, probes, ("apply", "decision_function"), opset), probes)
        assert np.array_equal(got["apply"], expected(model, probes, "apply"))
        compare("scores", expected(model, probes, "decision_function"), got["decision_function"], tolerance)


@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("family", FAMILIES)
def test_proof_from_the_file(family: str, dtype: Any, opset: Any) -> None:
    model, rows = fitted(family)
    e = ensemble_of_estimator(model)
    proof = prove(e, convert(model, rows.astype(dtype), ("decision_function",), opset))
    assert proof.decides_alike, proof
    assert proof.tests == np.count_nonzero(~e.is_leaf)
    assert proof.leaves_alike, proof
    if dtype == np.float64:
        assert proof.leaf_error == 0.0
    assert not [a for a in proof.assumed if "right sums" not in a]


@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("family", WITH_COLUMNS)
def test_proof_behind_computed_columns(family: str, dtype: Any, opset: Any) -> None:
    model, rows = WITH_COLUMNS[family]
    model.fit(rows, Y)
    e = ensemble_of_estimator(model).validate()
    proof = prove(e, convert(model, rows.astype(dtype), ("decision_function",), opset))
    assert proof.decides_alike, proof
    assert proof.leaves_alike, proof


@pytest.mark.parametrize("family", FAMILIES)
def test_sums_and_bound(family: str) -> None:
    """The library's own sums, ours, and those of an independent walk."""
    model, rows = fitted(family)
    rows = rows.astype(np.float32)
    e = ensemble_of_estimator(model)
    exact = sums(e, rows)
    proto = convert(model, rows, ("decision_function",))
    bound = prove(e, proto).sum_bound
    assert bound is not None
    got = run(proto, rows)["decision_function"].reshape(exact.shape)
    scale = np.abs(exact).max()
    assert np.abs(got - exact).max() <= bound + 2.0**-24 * scale
    own = expected(model, rows, "decision_function").reshape(exact.shape)
    unit = 2.0**-23 if family.startswith("xgboost") else 2.0**-52
    assert np.abs(own - exact).max() <= (e.n_trees + 2) * unit * max(scale, np.abs(e.folded().leaf_values).max())


def test_leaves_of_an_independent_walk() -> None:
    for family in FAMILIES:
        model, rows = fitted(family)
        e = ensemble_of_estimator(model)
        position = walk(e, rows)
        number = np.cumsum(e.is_leaf)[position] - 1 - e.leaf_start[:-1]
        own = expected(model, rows, "apply").reshape(number.shape)
        # One number of ours for each of theirs.
        for tree in range(e.n_trees):
            pairs = np.unique(np.stack([number[:, tree], own[:, tree]]), axis=1)
            assert len(np.unique(pairs[0])) == pairs.shape[1] == len(np.unique(pairs[1])), family


@pytest.mark.parametrize("family", ["xgboost", "lightgbm_missing", "catboost"])
def test_a_threshold_one_ulp_off_is_found(family: str) -> None:
    model, rows = fitted(family)
    e = ensemble_of_estimator(model)
    proto = convert(model, rows.astype(np.float32), ("decision_function",))
    node = next(n for n in proto.graph.node if n.op_type == "TreeEnsemble")
    for name, change in (("nodes_splits", 7), ("leaf_weights", 3)):
        attribute = next(a for a in node.attribute if a.name == name)
        kept = attribute.t.SerializeToString()
        array = onnx.numpy_helper.to_array(attribute.t).copy()
        narrow = array.astype(np.float32)
        array[change] = np.nextafter(narrow[change], np.float32(np.inf))
        attribute.t.CopyFrom(onnx.numpy_helper.from_array(array))
        assert prove(e, proto).differences, name
        attribute.t.ParseFromString(kept)
    assert not prove(e, proto).differences


def test_models_without_trees() -> None:
    with pytest.raises(NotAModel, match="no trees"):
        ensemble_of_estimator(xgb.XGBRegressor(booster="gblinear", n_estimators=2).fit(X, Y))
