"""Proofs of trees and of affine chains in the report, and the search for worse rows."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper
from parity_hand_made import affine, info, model, tree_regressor
from sklearn.ensemble import GradientBoostingRegressor, RandomForestRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeRegressor

import any2onnx
from any2onnx.parity.instrumented import Graph
from any2onnx.parity.proofs import bounds_of, parts_of

RNG = np.random.default_rng(0)
X = RNG.standard_normal((300, 4)).astype(np.float32)
TARGET = X @ np.arange(4.0) + np.sin(3 * X[:, 0])


# --- trees ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "estimator",
    [RandomForestRegressor(5, random_state=0), GradientBoostingRegressor(n_estimators=5, random_state=0)],
    ids=lambda estimator: type(estimator).__name__,
)
def test_trees_are_proved(estimator):
    fitted = make_pipeline(StandardScaler(), estimator).fit(X.astype(np.float64), TARGET)
    file = any2onnx.to_onnx(fitted, X[:1], parity="off")
    report = any2onnx.check_parity(fitted, file, suites="typical", prove=True)
    (proof,) = [proof for proof in report.proofs if proof.kind == "trees"]
    assert proof.holds
    assert type(estimator).__name__ in proof.subject
    assert proof.bound is not None
    assert "tests decide alike for every row" in proof.statement
    assert report.to_dict()["proofs"][0]["holds"] is True


def test_a_threshold_rounded_to_nearest_disproves():
    tree = DecisionTreeRegressor(random_state=0).fit(X, TARGET)
    wrong = tree_regressor([tree.tree_], 4, rounding=lambda values: values.astype(np.float32))
    report = any2onnx.check_parity(tree, wrong, suites="typical", prove=True)
    (proof,) = [proof for proof in report.proofs if proof.kind == "trees"]
    assert not proof.holds
    assert any("thresholds decide otherwise" in text for text in proof.differences)
    # Random rows do not see it.
    assert report.passed


def test_parts_are_found_inside_pipelines():
    fitted = make_pipeline(StandardScaler(), RandomForestRegressor(2)).fit(X, TARGET)
    assert [path for path, _ in parts_of(fitted)] == ["", "standardscaler", "randomforestregressor"]


# --- affine chains -------------------------------------------------------------------------------------------------


def shown(file, feeds):
    import onnxruntime

    twin = onnx.ModelProto()
    twin.CopyFrom(file)
    outputs = {item.name for item in twin.graph.output}
    for node in twin.graph.node:
        twin.graph.output.extend(onnx.ValueInfoProto(name=name) for name in node.output if name not in outputs)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(twin.SerializeToString(), options)
    return dict(zip([item.name for item in session.get_outputs()], session.run(None, feeds), strict=True))


def test_the_bound_is_the_one_of_the_textbook():
    weights = RNG.standard_normal((4, 2)).astype(np.float32)
    file = model(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        [info("x", ["batch", 4])],
        [info("y", ["batch", 2])],
        {"w": weights},
    )
    known = bounds_of(Graph.of(file), {"x": X[:8]}, shown(file, {"x": X[:8]}))
    n, unit = 4 + 2, 2.0**-24
    gamma = n * unit / (1 - n * unit)
    expected = gamma * np.abs(X[:8].astype(np.float64)) @ np.abs(weights.astype(np.float64))
    assert known["y"].bound == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_affine_chains_stay_within_their_bound(dtype):
    weights = RNG.standard_normal((40, 3))
    x = (RNG.standard_normal((64, 40)) * 10.0 ** RNG.integers(-3, 4, 40)).astype(dtype)
    file = affine(weights, [1.0, -2.0, 3.0], mean=np.ones(40), scale=np.full(40, 3.0), dtype=dtype)
    feeds = {"x": x}
    values = shown(file, feeds)
    known = bounds_of(Graph.of(file), feeds, values)
    apart = np.abs(values["variable"].astype(np.float64) - known["variable"].exact)
    assert (apart <= known["variable"].bound).all()
    # Not just any large number: the bound is within reach of what happens.
    assert apart.max() > 1e-4 * known["variable"].bound.max() or dtype == np.float64


def test_what_rounding_does_not_explain_is_told(monkeypatch):
    import dataclasses

    from any2onnx.parity import proofs as module
    from any2onnx.parity.check import check_options, open_pair

    weights = RNG.standard_normal((4, 1)).astype(np.float32)
    file = affine(weights, [0.5], output="y")

    def function(x):
        return x @ weights + np.float32(0.5)

    pair = open_pair(
        function, file, None, seed=0, options=check_options("float64", "auto"), outputs=None, providers=None
    )
    (right,) = module.proofs(pair, function)
    assert right.holds
    assert right.observed <= right.bound
    real = module.run_showing_all

    def broken(*arguments, **chosen):
        return {k: v * np.float32(1.0001) if k == "y" else v for k, v in real(*arguments, **chosen).items()}

    monkeypatch.setattr(module, "run_showing_all", broken)
    (wrong,) = module.proofs(pair, function)
    assert not wrong.holds
    assert wrong.differences
    assert dataclasses.asdict(wrong)["kind"] == "affine"


def test_a_softmax_ends_the_chain():
    nodes = [helper.make_node("MatMul", ["x", "w"], ["scores"]), helper.make_node("Softmax", ["scores"], ["y"])]
    file = model(nodes, [info("x", ["batch", 4])], [info("y", ["batch", 3])], {"w": np.ones((4, 3), np.float32)})
    known = bounds_of(Graph.of(file), {"x": X[:4]}, shown(file, {"x": X[:4]}))
    assert "scores" in known
    assert "y" not in known


# --- search ----------------------------------------------------------------------------------------------------------


def squares(x):
    return x * x


def spiked():
    """x * x with an error that is largest at a point that random rows only come near to."""
    nodes = [
        helper.make_node("Mul", ["x", "x"], ["square"]),
        helper.make_node("Sub", ["x", "centre"], ["away"]),
        helper.make_node("Mul", ["away", "away"], ["distance"]),
        helper.make_node("Mul", ["distance", "narrow"], ["exponent"]),
        helper.make_node("Exp", ["exponent"], ["bump"]),
        helper.make_node("Mul", ["bump", "height"], ["spike"]),
        helper.make_node("Add", ["square", "spike"], ["y"]),
    ]
    constants = {"centre": np.float32(0.7312), "narrow": np.float32(-1e7), "height": np.float32(3e-4)}
    return model(nodes, [info("x", ["batch", 1])], [info("y", ["batch", 1])], constants)


def test_the_search_climbs_and_keeps_the_worst_rows(tmp_path):
    report = any2onnx.check_parity(squares, spiked(), suites="shape", search=20.0, artefacts=tmp_path)
    (search,) = report.searches
    assert search.used > max(1.0, search.used_before)
    assert search.rows_tried > 1000
    assert [(result.suite, result.status) for result in report.failures if result.suite == "search"]
    rows = np.load(tmp_path / "worst_rows.npz", allow_pickle=False)["x"]
    assert abs(float(rows[0, 0]) - 0.7312) < 1e-4
    # The rows are regression vectors: fed as data they fail again.
    assert not any2onnx.check_parity(squares, spiked(), rows, suites="data").passed


def test_the_search_finds_nothing_in_a_right_model_and_stops_in_time():
    import time

    file = model([helper.make_node("Mul", ["x", "x"], ["y"])], [info("x", ["batch", 2])], [info("y", ["batch", 2])])
    start = time.monotonic()
    report = any2onnx.check_parity(squares, file, suites="typical", search=1.0)
    assert report.passed
    assert all(search.used <= 1 for search in report.searches)
    assert time.monotonic() - start < 30


def test_a_fixed_batch_is_not_searched():
    file = model([helper.make_node("Mul", ["x", "x"], ["y"])], [info("x", [2, 2])], [info("y", [2, 2])])
    assert any2onnx.check_parity(squares, file, suites="typical", search=1.0).searches == ()
