"""Projections, naive Bayes, discriminant analysis, perceptrons, clustering and dummies against scikit-learn."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.cluster import AffinityPropagation, KMeans, MeanShift, MiniBatchKMeans
from sklearn.cross_decomposition import CCA, PLSSVD, PLSCanonical, PLSRegression
from sklearn.datasets import load_digits
from sklearn.decomposition import (
    PCA,
    FactorAnalysis,
    FastICA,
    IncrementalPCA,
    MiniBatchSparsePCA,
    SparsePCA,
    TruncatedSVD,
)
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis, QuadraticDiscriminantAnalysis
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.naive_bayes import BernoulliNB, CategoricalNB, ComplementNB, GaussianNB, MultinomialNB
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.random_projection import GaussianRandomProjection, SparseRandomProjection

from any2onnx.errors import UnsupportedParameter

OPSETS = (13, 18, 21, 28)
NAMES = np.array(["setosa", "versicolor", "virginica"])


@pytest.fixture(scope="module")
def digits() -> tuple[np.ndarray, np.ndarray]:
    X, y = load_digits(return_X_y=True)
    return X[:200], y[:200]


@pytest.mark.parametrize(
    "model",
    [
        PCA(),
        PCA(2, whiten=True),
        PCA(3, svd_solver="covariance_eigh"),
        IncrementalPCA(2),
        IncrementalPCA(3, whiten=True),
        TruncatedSVD(2, random_state=0),
        FastICA(3, random_state=0, whiten="unit-variance"),
        GaussianRandomProjection(2, random_state=0),
        SparseRandomProjection(3, random_state=0, compute_inverse_components=True),
    ],
    ids=str,
)
def test_projections(compare: Any, iris: Any, model: Any) -> None:
    X = iris[0]
    compare(model.fit(X), X, ("transform",), opsets=OPSETS)
    compare(model, model.transform(X)[:30], ("inverse_transform",))


@pytest.mark.parametrize("options", [{}, {"ridge_alpha": 0.5}])
@pytest.mark.parametrize("cls", [SparsePCA, MiniBatchSparsePCA])
def test_sparse_pca(compare: Any, run: Any, convert: Any, iris: Any, cls: Any, options: Any) -> None:
    X = iris[0]
    model = cls(2, random_state=0, max_iter=20, **options).fit(X)
    compare(model, model.transform(X)[:30], ("inverse_transform",))
    for dtype, limit in ((np.float32, 2e-6), (np.float64, 1e-9)):
        rows = X.astype(dtype)
        proto = convert(model, rows)
        # One row alone comes back from scikit-learn without its first dimension.
        for part in (rows, rows[:1], rows[:0]):
            want = model.transform(part.astype(np.float64)).reshape(-1, 2) if len(part) else np.zeros((0, 2))
            np.testing.assert_allclose(run(proto, part)[0], want, atol=limit * 5)


@pytest.mark.parametrize("model", [PCA(2), PCA(), PCA(2, whiten=True), FactorAnalysis(2), FactorAnalysis(4)], ids=str)
def test_likelihoods(compare: Any, iris: Any, model: Any) -> None:
    compare(model.fit(iris[0]), iris[0], ("score_samples", "transform"))


def test_large_mean_in_pca(compare: Any, iris: Any) -> None:
    # Fitted in float64: from float32 rows scikit-learn's own mean and components are float32.
    X = (iris[0] + 1e5).astype(np.float32).astype(np.float64)
    compare(PCA(2).fit(X), X, ("transform",))


def test_other_projections(compare: Any, iris: Any) -> None:
    X, y = iris
    compare(FactorAnalysis(2).fit(X), X, ("transform",))
    Y = np.stack([X[:, 3] * 2, y - X[:, 0]], axis=1)
    for model in (PLSRegression(2), PLSRegression(2, scale=False), PLSCanonical(2), CCA(1)):
        compare(model.fit(X[:, :3], Y), X[:, :3], ("predict", "transform"))
        compare(model, model.transform(X[:, :3]), ("inverse_transform",))
    compare(PLSRegression(2).fit(X, y), X, ("predict",))
    compare(PLSSVD(2).fit(X[:, :3], Y), X[:, :3], ("transform",))


# --- naive Bayes ------------------------------------------------------------------------------------------------------

PROBABILITIES = ("predict", "predict_proba", "predict_log_proba")


@pytest.mark.parametrize(
    "model",
    [
        GaussianNB(),
        GaussianNB(priors=[0.1, 0.3, 0.6]),
        MultinomialNB(),
        MultinomialNB(alpha=0.1, fit_prior=False),
        ComplementNB(),
        ComplementNB(norm=True),
        BernoulliNB(binarize=2.0),
        BernoulliNB(binarize=1.5, alpha=0.01, class_prior=[0.2, 0.3, 0.5]),
    ],
    ids=str,
)
def test_naive_bayes(compare: Any, iris: Any, model: Any) -> None:
    X, y = iris
    compare(model.fit(X, NAMES[y]), X, PROBABILITIES, opsets=OPSETS)


def test_two_classes_and_one(compare: Any, iris: Any) -> None:
    X, y = iris
    for model in (GaussianNB(), MultinomialNB(), ComplementNB(), BernoulliNB()):
        compare(model.fit(X, y > 0), X, PROBABILITIES)
        compare(model.fit(X[:9], y[:9]), X, PROBABILITIES)


def test_bernoulli_of_bits(compare: Any, digits: Any) -> None:
    X, y = digits
    bits = (X > 8).astype(np.float64)
    compare(BernoulliNB(binarize=None).fit(bits, y), bits, PROBABILITIES)
    compare(GaussianNB(var_smoothing=1e-3).fit(X, y), X, PROBABILITIES)


def test_categorical(compare: Any, run: Any, convert: Any) -> None:
    rng = np.random.default_rng(0)
    X = rng.integers(0, 4, (60, 3))
    y = (X[:, 0] + X[:, 1]) % 3
    model = CategoricalNB().fit(X, y)
    compare(model, X, PROBABILITIES)
    label, probability = run(convert(model, X), X)
    np.testing.assert_array_equal(label, model.predict(X))
    np.testing.assert_allclose(probability, model.predict_proba(X), rtol=1e-9)


# --- discriminant analysis --------------------------------------------------------------------------------------------

ALL = ("predict", "predict_proba", "predict_log_proba", "decision_function")


@pytest.mark.parametrize("solver", ["svd", "lsqr", "eigen"])
@pytest.mark.parametrize("target", ["three", "two"])
def test_linear_discriminant(compare: Any, iris: Any, convert: Any, solver: str, target: str) -> None:
    X, y = iris
    labels = NAMES[y] if target == "three" else y > 0
    more = {} if solver == "svd" else {"shrinkage": 0.2}
    model = LinearDiscriminantAnalysis(solver=solver, **more).fit(X, labels)
    compare(model, X, ALL, opsets=OPSETS)
    if solver == "lsqr":
        with pytest.raises(UnsupportedParameter, match="lsqr"):
            convert(model, X, outputs=("transform",))
    else:
        compare(model, X, ("transform",))
        compare(LinearDiscriminantAnalysis(solver=solver, n_components=1, **more).fit(X, y), X, ("transform",))


def test_quadratic_discriminant(compare: Any, iris: Any) -> None:
    X, y = iris
    for labels in (NAMES[y], y > 0):
        compare(QuadraticDiscriminantAnalysis().fit(X, labels), X, ALL, opsets=OPSETS)
        compare(QuadraticDiscriminantAnalysis(reg_param=0.1).fit(X, labels), X, ALL)


# --- perceptrons ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("activation", ["identity", "logistic", "tanh", "relu"])
def test_perceptrons(compare: Any, iris: Any, diabetes: Any, activation: str) -> None:
    X, y = iris
    options = {"hidden_layer_sizes": (7, 5), "activation": activation, "max_iter": 60, "random_state": 0}
    for labels in (NAMES[y], y > 0):
        compare(MLPClassifier(**options).fit(X, labels), X, PROBABILITIES, opsets=(13, 21, 28))
    several = np.stack([y == 0, y > 0, X[:, 0] > 5.5], axis=1).astype(int)
    compare(MLPClassifier(**options).fit(X, several), X, PROBABILITIES)
    X, y = diabetes
    compare(MLPRegressor(**options).fit(X, y), X, ("predict",))
    compare(MLPRegressor(**options).fit(X, np.stack([y, -y], axis=1)), X, ("predict",))
    compare(MLPRegressor(hidden_layer_sizes=(), max_iter=60, random_state=0).fit(X, y), X, ("predict",))


def test_poisson_perceptron(compare: Any, diabetes: Any) -> None:
    X, y = diabetes
    model = MLPRegressor(loss="poisson", hidden_layer_sizes=(5,), max_iter=60, random_state=0).fit(X, y)
    compare(model, X, ("predict",))


def test_perceptron_trained_in_float32(compare: Any, iris: Any) -> None:
    X, y = iris
    model = MLPClassifier((6,), max_iter=60, random_state=0).fit(X.astype(np.float32), y)
    compare(model, X, ("predict", "predict_proba"), dtypes=(np.float32,))


# --- clusters ---------------------------------------------------------------------------------------------------------


def test_k_means(compare: Any, convert: Any, iris: Any, digits: Any) -> None:
    for X in (iris[0], digits[0], iris[0] + 1e4):
        for model in (KMeans(4, n_init=1, random_state=0), MiniBatchKMeans(4, n_init=1, random_state=0)):
            model.fit(X)
            compare(model, X, ("predict",), opsets=(13, 21))
            # At a common offset scikit-learn's own distances lose digits, so that only the small ones are compared.
            if X is not digits[0] and X[0, 0] < 1e3:
                compare(model, X, ("transform", "predict"), opsets=OPSETS)
    proto = convert(KMeans(3, n_init=1).fit(iris[0]), iris[0])
    assert [o.name for o in proto.graph.output] == ["label", "scores"]


def test_distances_beside_an_offset_are_exact(run: Any, convert: Any, iris: Any) -> None:
    X = iris[0] + 1e5
    model = KMeans(3, n_init=1, random_state=0).fit(X)
    got = run(convert(model, X, outputs=("transform",)), X)[0]
    want = np.sqrt(((X[:, None] - model.cluster_centers_[None]) ** 2).sum(axis=2))
    np.testing.assert_allclose(got, want, rtol=1e-8)


def test_other_clusters(compare: Any, convert: Any, diabetes: Any) -> None:
    # Rows without equal distances, which scikit-learn decides by the rounding of its own products.
    X = diabetes[0][:150, 2:6] * 20
    compare(MeanShift().fit(X), X, ("predict",))
    compare(AffinityPropagation(random_state=0).fit(X[:40]), X, ("predict",))
    compare(AffinityPropagation(max_iter=1, random_state=0).fit(X[:40]), X, ("predict",))
    model = AffinityPropagation(affinity="precomputed", random_state=0).fit(-np.abs(X[:9, :1] - X[:9, 0]))
    with pytest.raises(UnsupportedParameter, match="precomputed"):
        convert(model, X[:9, :1] - X[:9, 0])


# --- dummies ----------------------------------------------------------------------------------------------------------


def test_dummies(compare: Any, convert: Any, iris: Any, diabetes: Any) -> None:
    X, y = iris
    two = np.stack([y, y[::-1] * 3], axis=1)
    for strategy in ("prior", "most_frequent"):
        for labels in (y, NAMES[y], y > 0):
            compare(DummyClassifier(strategy=strategy).fit(X, labels), X, PROBABILITIES)
        compare(DummyClassifier(strategy=strategy).fit(X, two), X, PROBABILITIES)
    compare(DummyClassifier(strategy="constant", constant="virginica").fit(X, NAMES[y]), X, PROBABILITIES)
    compare(DummyClassifier(strategy="constant", constant=[1, 6]).fit(X, two), X, ("predict", "predict_proba"))
    compare(DummyClassifier(strategy="uniform").fit(X, y), X, ("predict_proba",))
    for strategy, outputs in (("uniform", None), ("stratified", None), ("stratified", ("predict_proba",))):
        with pytest.raises(UnsupportedParameter, match="at random"):
            convert(DummyClassifier(strategy=strategy).fit(X, y), X, outputs=outputs)
    X, y = diabetes
    for model in (DummyRegressor(), DummyRegressor(strategy="quantile", quantile=0.3)):
        compare(model.fit(X, y), X, ("predict",))
        compare(model.fit(X, np.stack([y, -y], axis=1)), X, ("predict",))
    compare(DummyRegressor(strategy="constant", constant=3).fit(X, y), X, ("predict",))
