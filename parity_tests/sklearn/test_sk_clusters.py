"""Mixtures, elliptic envelope, label propagation, Birch, bisecting k-means, feature agglomeration."""

from __future__ import annotations

import numpy as np
import pytest
from family_checks import agree, proto_of
from scipy import sparse
from sklearn import cluster, covariance, mixture, semi_supervised
from sklearn.datasets import load_iris, load_wine

from any2onnx.errors import UnsupportedParameter

X, y = load_iris(return_X_y=True)
WINE, wine_target = load_wine(return_X_y=True)
ROWS = X[::4] + np.random.default_rng(0).normal(0, 0.05, X[::4].shape)
KINDS = ["full", "tied", "diag", "spherical"]
DENSITY = ("predict", "predict_proba", "score_samples")


@pytest.mark.parametrize("kind", KINDS)
def test_gaussian_mixture(kind) -> None:
    agree(mixture.GaussianMixture(3, covariance_type=kind, random_state=0).fit(X), ROWS, DENSITY)
    model = mixture.GaussianMixture(4, covariance_type=kind, random_state=1).fit(WINE)
    agree(model, WINE[::6] * 1.01, DENSITY)


@pytest.mark.parametrize("prior", ["dirichlet_process", "dirichlet_distribution"])
@pytest.mark.parametrize("kind", KINDS)
def test_bayesian_mixture(kind, prior) -> None:
    model = mixture.BayesianGaussianMixture(
        n_components=4, covariance_type=kind, weight_concentration_prior_type=prior, random_state=0
    ).fit(X)
    agree(model, ROWS, DENSITY)


def test_mixture_of_one_component_and_one_feature() -> None:
    agree(mixture.GaussianMixture(1).fit(X), ROWS, DENSITY)
    agree(mixture.GaussianMixture(2, random_state=0).fit(X[:, 2:3]), ROWS[:, 2:3], DENSITY)


@pytest.mark.parametrize("arguments", [{}, {"contamination": 0.02}, {"assume_centered": True}], ids=str)
def test_elliptic_envelope(arguments) -> None:
    model = covariance.EllipticEnvelope(random_state=0, **arguments).fit(X)
    agree(model, ROWS, ("predict", "decision_function", "score_samples"))


@pytest.mark.parametrize("cls", [semi_supervised.LabelPropagation, semi_supervised.LabelSpreading])
@pytest.mark.parametrize("arguments", [{"gamma": 2.0}, {}, {"kernel": "knn", "n_neighbors": 5}], ids=str)
def test_label_propagation(cls, arguments) -> None:
    rng = np.random.default_rng(1)
    features = X + rng.normal(0, 0.03, X.shape)
    known = np.where(rng.random(len(y)) < 0.4, y, -1)
    agree(cls(**arguments).fit(features, known), ROWS, ("predict", "predict_proba"))


def test_label_propagation_far_away_and_sparse() -> None:
    known = np.where(np.arange(len(y)) % 3 == 0, y, -1)
    model = semi_supervised.LabelPropagation().fit(X, known)
    agree(model, np.concatenate([ROWS, [[90.0, 0, 0, 90]]]), ("predict", "predict_proba"))
    sparsely = semi_supervised.LabelSpreading(gamma=1).fit(sparse.csr_matrix(X), known)
    agree(sparsely, ROWS, ("predict", "predict_proba"))
    mine = semi_supervised.LabelSpreading(kernel=lambda a, b: np.exp(-((a[:, None] - b[None]) ** 2).sum(2)))
    mine.fit(X, known)
    with pytest.raises(UnsupportedParameter, match="Python function"):
        proto_of(mine, X, ("predict",))


@pytest.mark.parametrize("arguments", [{}, {"n_clusters": None, "threshold": 0.8}, {"branching_factor": 10}], ids=str)
def test_birch(arguments) -> None:
    agree(cluster.Birch(**arguments).fit(X), ROWS, ("predict", "transform"))


@pytest.mark.parametrize(
    "arguments",
    [{"n_clusters": 1}, {"n_clusters": 5}, {"n_clusters": 9, "bisecting_strategy": "largest_cluster"}],
    ids=str,
)
def test_bisecting_k_means(arguments) -> None:
    agree(cluster.BisectingKMeans(random_state=0, **arguments).fit(X), ROWS, ("predict", "transform"))
    agree(cluster.BisectingKMeans(random_state=0, **arguments).fit(sparse.csr_matrix(X)), ROWS, ("predict",))


@pytest.mark.parametrize("function", [np.mean, np.median, np.max, np.min, np.sum, np.prod], ids=lambda f: f.__name__)
def test_feature_agglomeration(function) -> None:
    model = cluster.FeatureAgglomeration(4, pooling_func=function).fit(WINE)
    agree(model, WINE[::5], ("transform",))
    agree(model, model.transform(WINE[::5]), ("inverse_transform",))


def test_feature_agglomeration_by_threshold_and_by_other_functions() -> None:
    agree(cluster.FeatureAgglomeration(None, distance_threshold=300.0).fit(WINE), WINE[::5], ("transform",))
    model = cluster.FeatureAgglomeration(4, pooling_func=lambda a, axis: a[:, 0]).fit(WINE)
    with pytest.raises(UnsupportedParameter, match="pooling_func"):
        proto_of(model, WINE, ("transform",))


@pytest.mark.parametrize("opset", [13, 18, 28])
def test_opsets(opset) -> None:
    agree(mixture.GaussianMixture(3, random_state=0).fit(X), ROWS, DENSITY, opset=opset)
    agree(cluster.BisectingKMeans(4, random_state=0).fit(X), ROWS, ("predict", "transform"), opset=opset)
    model = cluster.FeatureAgglomeration(2, pooling_func=np.median).fit(WINE)
    agree(model, WINE[::5], ("transform",), opset=opset)
