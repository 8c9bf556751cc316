"""Rows at the radius: right models pass, a wrong comparison or a wrong radius shows there and nowhere else."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import numpy_helper
from sklearn.neighbors import (
    KernelDensity,
    RadiusNeighborsClassifier,
    RadiusNeighborsRegressor,
    RadiusNeighborsTransformer,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import any2onnx
from any2onnx.parity import check_parity
from any2onnx.parity.radius import radius_rows, reach_of

MODELS = {
    "classifier": RadiusNeighborsClassifier(radius=1.0),
    "outliers, manhattan": RadiusNeighborsClassifier(
        radius=0.75, outlier_label="most_frequent", algorithm="brute", metric="manhattan"
    ),
    "weights": RadiusNeighborsClassifier(radius=1.25, outlier_label=1, weights="distance"),
    "regressor, brute": RadiusNeighborsRegressor(radius=1.5, algorithm="brute"),
    "regressor, chebyshev": RadiusNeighborsRegressor(radius=1.5, metric="chebyshev"),
    "connectivity": RadiusNeighborsTransformer(radius=1.0, mode="connectivity"),
    "distances": RadiusNeighborsTransformer(radius=1.0),
    "tophat": KernelDensity(kernel="tophat", bandwidth=0.5),
    "linear": KernelDensity(kernel="linear", bandwidth=0.5),
}


def fitted(name: str, *, grid: bool = False):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 3))
    X = np.round(X * 4) / 4 if grid else X
    return MODELS[name].fit(X, rng.integers(0, 3, 60)), X


@pytest.mark.parametrize("grid", [False, True], ids=["random", "grid"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", MODELS)
def test_right_models_pass_at_the_radius(name, dtype, grid):
    model, X = fitted(name, grid=grid)
    rows = X.astype(dtype)
    report = check_parity(model, any2onnx.to_onnx(model, rows[:3]), rows, suites="boundary").raise_if_failed()
    rows_of = {result.case: result.rows for result in report.results}
    assert rows_of["edge of a kernel" if name == "linear" else "radius"] > 20


def changed(model, rows, change):
    proto = any2onnx.to_onnx(model, rows[:3])
    assert change(proto)
    return proto


def strict_comparison(proto):
    nodes = [node for node in proto.graph.node if node.op_type in ("LessOrEqual", "GreaterOrEqual")]
    for node in nodes:
        node.op_type = node.op_type.removesuffix("OrEqual")
    return len(nodes)


def wider(proto):
    """The radius a few units of float32 too large, in whatever form the graph compares it."""
    found = 0
    for tensor in proto.graph.initializer:
        array = numpy_helper.to_array(tensor)
        if array.size == 1 and array.dtype.kind == "f" and np.isclose(array, [1.0, 1.5, 2.25], atol=1e-6).any():
            tensor.CopyFrom(numpy_helper.from_array((array * (1 + 1.5e-6)).astype(array.dtype), tensor.name))
            found += 1
    return found


@pytest.mark.parametrize("name", ["classifier", "regressor, chebyshev", "connectivity"])
def test_less_instead_of_less_or_equal(name):
    model, X = fitted(name, grid=True)
    rows = X.astype(np.float32)
    proto = changed(model, rows, strict_comparison)
    report = check_parity(model, proto, rows, suites="boundary")
    assert "radius" in {result.case for result in report.failures}


@pytest.mark.parametrize("name", ["classifier", "regressor, chebyshev", "connectivity"])
def test_a_radius_that_is_a_little_too_large(name):
    model, X = fitted(name)
    rows = X.astype(np.float32)
    report = check_parity(model, changed(model, rows, wider), rows)
    assert "radius" in {result.case for result in report.failures}
    assert not [result for result in report.failures if result.suite in ("data", "typical", "scaled")]


def test_rows_are_where_they_should_be():
    model, X = fitted("regressor, brute")
    for dtype, least, most in ((np.float32, 1e-9, 2e-6), (np.float64, 1e-14, 1e-12)):
        jumping, fading = radius_rows(model, X.astype(dtype), np.random.default_rng(1))
        assert jumping.dtype == fading.dtype == dtype
        assert len(jumping) >= 48
        assert not len(fading)
        distances = np.sqrt(((jumping[:, None].astype(float) - X[None]) ** 2).sum(axis=2))
        nearest = np.abs(distances - model.radius).min(axis=1)
        assert nearest.max() < most
        assert nearest.min() > least


def test_on_a_grid_some_rows_are_on_the_radius_itself():
    model, X = fitted("regressor, brute", grid=True)
    jumping, _ = radius_rows(model, X.astype(np.float32), np.random.default_rng(1))
    distances = np.sqrt(((jumping[:, None].astype(float) - X[None]) ** 2).sum(axis=2))
    assert (distances == model.radius).any(axis=1).sum() >= 20


def test_rows_without_neighbours_are_left_out_where_they_are_an_error():
    model, X = fitted("classifier")
    jumping, _ = radius_rows(model, X.astype(np.float32), np.random.default_rng(1))
    assert len(jumping) > 0
    model.predict(jumping)
    lonely = RadiusNeighborsClassifier(radius=1e-3).fit(X, np.arange(60) % 2)
    assert not len(radius_rows(lonely, X.astype(np.float32), np.random.default_rng(1))[0])


def test_what_has_no_radius():
    X = np.random.default_rng(0).normal(size=(30, 3))
    y = np.arange(30) % 2
    scaled = make_pipeline(StandardScaler(), RadiusNeighborsClassifier(radius=9.0)).fit(X, y)
    rows, _ = radius_rows(scaled, X, np.random.default_rng(0))
    assert not len(rows)
    assert reach_of(RadiusNeighborsClassifier(metric="cosine", algorithm="brute").fit(X, y)) is None
    assert reach_of(KernelDensity().fit(X)) is None
    assert reach_of(StandardScaler().fit(X)) is None
