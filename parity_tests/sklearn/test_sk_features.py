"""sklearn.preprocessing and impute: splines, quantiles, target encodings, label sets, iterated imputation."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from scipy import stats
from sklearn.datasets import load_diabetes, load_iris
from sklearn.ensemble import RandomForestRegressor
from sklearn.experimental import enable_iterative_imputer  # noqa: F401 - scikit-learn asks for it
from sklearn.impute import IterativeImputer
from sklearn.linear_model import Ridge
from sklearn.preprocessing import MultiLabelBinarizer, QuantileTransformer, SplineTransformer, TargetEncoder

from any2onnx.data_types import tensor_type
from any2onnx.errors import UnsupportedParameter

warnings.filterwarnings("ignore", module="sklearn")
IRIS = load_iris().data
RNG = np.random.default_rng(0)
WIDE = np.vstack([IRIS[1::2], IRIS[:4] * 3, -IRIS[4:8], IRIS.min(axis=0), IRIS.max(axis=0)])


@pytest.mark.parametrize("extrapolation", ["constant", "linear", "continue", "periodic"])
@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"degree": 1, "n_knots": 2},
        {"degree": 1, "n_knots": 6},
        {"degree": 2, "knots": "quantile", "n_knots": 7, "include_bias": False},
        {"degree": 0},
        {"degree": 4},
    ],
    ids=str,
)
def test_splines(compare, arguments, extrapolation):
    if extrapolation == "periodic" and arguments.get("degree", 3) >= arguments.get("n_knots", 5):
        arguments = {**arguments, "n_knots": 8}
    model = SplineTransformer(extrapolation=extrapolation, **arguments).fit(IRIS[::2])
    # scikit-learn cannot set values above the last knot where a spline has degree 0.
    high = arguments.get("degree") != 0 or extrapolation != "constant"
    compare(model, WIDE if high else WIDE[(IRIS[::2].max(axis=0) >= WIDE).all(axis=1)], ("transform",))


def test_splines_of_missing_and_constant_values(compare, convert, run):
    X = IRIS[::2].copy()
    X[3, 1] = X[7, 0] = np.nan
    model = SplineTransformer(handle_missing="zeros").fit(X)
    compare(model, X, ("transform",), opsets=(13, 21))
    constant = np.column_stack([X[:, 2], np.full(len(X), 2.0)])
    compare(SplineTransformer(degree=2, n_knots=3).fit(constant), constant, ("transform",))
    model = SplineTransformer(extrapolation="error").fit(IRIS)
    (got,) = run(convert(model, IRIS * 1.0, outputs=("transform",)), IRIS * 2)
    assert np.isnan(got[-1]).any()


@pytest.mark.parametrize("distribution", ["uniform", "normal"])
@pytest.mark.parametrize("arguments", [{"n_quantiles": 60}, {"n_quantiles": 7}, {"n_quantiles": 1}], ids=str)
def test_quantiles(compare, convert, run, arguments, distribution):
    X = np.column_stack([RNG.normal(size=90), RNG.integers(0, 4, 90), RNG.gamma(0.3, size=90), np.ones(90)])
    model = QuantileTransformer(output_distribution=distribution, **arguments).fit(X)
    # What float32 holds exactly: between equal quantiles a rounded value would lie elsewhere.
    rows = np.vstack([X[:40], X[40:70] * 1.1, X[:3] + 100, X[:3] - 100]).astype(np.float32).astype(np.float64)
    rows[5, 1] = rows[6, 0] = np.nan
    compare(model, rows, ("transform",), opsets=(13, 21))
    targets = RNG.random((50, 4)) if distribution == "uniform" else RNG.normal(size=(50, 4)) * 2
    targets[:2] = [[0.0] * 4, [1.0] * 4]
    proto = convert(model, outputs=("inverse_transform",), initial_types=[("y", tensor_type("float64", [None, 4]))])
    np.testing.assert_allclose(run(proto, targets)[0], model.inverse_transform(targets), rtol=1e-9, atol=1e-9)


def test_normal_quantiles_to_full_precision(run):
    import onnx_ir as ir

    from any2onnx.graph.builder import GraphBuilder
    from any2onnx.graph.special_functions import normal_quantile_double
    from any2onnx.graph.types import DataType

    g = GraphBuilder()
    p = g.input("p", DataType.DOUBLE, [None])
    model = ir.to_proto(g.build({"q": normal_quantile_double(g, p)}))
    points = np.concatenate([np.linspace(0, 1, 2001), 10.0 ** -np.arange(1, 250, 3.0), 1 - 10.0 ** -np.arange(1, 16.0)])
    (got,) = run(model, points)
    want = stats.norm.ppf(points)
    finite = np.isfinite(want)
    np.testing.assert_array_equal(got[~finite], want[~finite])
    np.testing.assert_allclose(got[finite], want[finite], rtol=2e-14, atol=1e-15)


@pytest.mark.parametrize("kind", ["continuous", "binary", "multiclass", "names"])
def test_target_encoder(convert, run, kind):
    import pandas as pd

    frame = pd.DataFrame({"a": RNG.choice(["x", "y", "zé"], 90), "b": RNG.choice([1.0, 2.0, np.nan, 7.5], 90)})
    y = {
        "continuous": RNG.normal(size=90),
        "binary": RNG.integers(0, 2, 90),
        "multiclass": RNG.integers(0, 3, 90),
        "names": RNG.choice(["u", "v"], 90),
    }[kind]
    model = TargetEncoder(smooth=5.0 if kind == "binary" else "auto").fit(frame, y)
    rows = pd.concat([frame[:20], pd.DataFrame({"a": ["new", "x"], "b": [1.0, 99.0]})], ignore_index=True)
    proto = convert(model, rows, outputs=("transform",))
    want = model.transform(rows)
    (got,) = run(proto, rows)
    assert got.dtype == np.float64
    np.testing.assert_allclose(got, want, rtol=1e-14)
    assert run(proto, rows[:0])[0].shape == (0, want.shape[1])


def test_target_encoder_of_text(convert, run):
    X = RNG.choice(["x", "y", "z"], (60, 2)).astype(object)
    model = TargetEncoder(categories=[["x", "y", "z"], ["z", "y", "x"]]).fit(X, RNG.normal(size=60))
    proto = convert(model, X, outputs=("transform",))
    np.testing.assert_allclose(run(proto, X)[0], model.transform(X), rtol=1e-6)


def test_label_sets(convert, run):
    X = RNG.choice(["x", "y", "z", "new"], (30, 3)).astype(object)
    model = MultiLabelBinarizer(classes=["z", "x", "y"]).fit(X)
    (got,) = run(convert(model, X, outputs=("transform",)), X)
    np.testing.assert_array_equal(got, model.transform(X))
    numbers = RNG.integers(0, 6, (30, 4))
    model = MultiLabelBinarizer().fit(numbers[:10])
    (got,) = run(convert(model, numbers, outputs=("transform",)), numbers)
    np.testing.assert_array_equal(got, model.transform(numbers))


DIABETES = load_diabetes().data[:120, :4].copy()
DIABETES[RNG.random(DIABETES.shape) < 0.2] = np.nan


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"estimator": Ridge(alpha=0.1), "max_iter": 4, "add_indicator": True},
        {"estimator": RandomForestRegressor(5, random_state=0), "max_iter": 2},
        {"n_nearest_features": 2, "imputation_order": "roman", "initial_strategy": "median", "max_iter": 3},
        {"min_value": -0.02, "max_value": [0.01, 0.02, 0.03, 0.04], "skip_complete": True},
        {"max_iter": 0},
    ],
    ids=str,
)
def test_iterative_imputer(compare, arguments):
    model = IterativeImputer(random_state=0, **arguments).fit(DIABETES[:80].astype(np.float32).astype(float))
    dtypes = (np.float64,) if "Forest" in str(arguments) else (np.float32, np.float64)
    compare(model, DIABETES[80:], ("transform",), dtypes=dtypes)


def test_batch_without_any_value(convert, run):
    """scikit-learn then keeps the first guess: the result depends on the batch, and so does the graph's."""
    model = IterativeImputer(random_state=0).fit(DIABETES[:80])
    proto = convert(model, DIABETES, outputs=("transform",))
    nothing = np.full((2, 4), np.nan)
    for rows in (nothing, np.vstack([nothing, DIABETES[:3]])):
        np.testing.assert_allclose(run(proto, rows)[0], model.transform(rows), rtol=1e-9)


@pytest.mark.parametrize("keep", [False, True])
def test_empty_columns(compare, keep):
    X = np.column_stack([DIABETES, np.full(len(DIABETES), np.nan)])
    model = IterativeImputer(random_state=0, keep_empty_features=keep, max_iter=3).fit(X[:80])
    X[100:, 4] = 3.0
    compare(model, X[80:], ("transform",), dtypes=(np.float64,))


def test_other_mark_of_missing_values(compare):
    X = np.where(np.isnan(DIABETES), -1.0, DIABETES)
    model = IterativeImputer(random_state=0, missing_values=-1.0, max_iter=3).fit(X[:80])
    compare(model, X[80:], ("transform",))


def test_random_draws_are_refused(convert):
    model = IterativeImputer(random_state=0, sample_posterior=True).fit(DIABETES)
    with pytest.raises(UnsupportedParameter, match="sample_posterior"):
        convert(model, DIABETES)
