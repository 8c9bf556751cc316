"""sklearn.decomposition: iterated factorizations and topics, and BernoulliRBM."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.decomposition import NMF, LatentDirichletAllocation, MiniBatchNMF
from sklearn.neural_network import BernoulliRBM

from any2onnx.errors import UnknownOption, UnsupportedOperator, UnsupportedParameter

warnings.filterwarnings("ignore", module="sklearn")
RNG = np.random.default_rng(0)
POSITIVE = RNG.gamma(1.0, 2.0, (60, 4)) @ RNG.gamma(0.5, 1.0, (4, 9)) + 0.01 * RNG.random((60, 9))
TRAIN, TEST = POSITIVE[:40], POSITIVE[40:]
COUNTS = RNG.poisson(1.2, (50, 12)).astype(float)


def fitted(model, X):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return model.fit(X)


def inverse(convert, run, model, codes):
    for dtype, limit in ((np.float32, 2e-6), (np.float64, 1e-12)):
        rows = codes.astype(dtype)
        proto = convert(
            model, outputs=("inverse_transform",), initial_types=[("codes", _tensor(dtype, codes.shape[1]))]
        )
        (got,) = run(proto, rows)
        want = model.inverse_transform(rows.astype(np.float64))
        assert got.dtype == dtype
        assert np.abs(got - want).max() <= limit * np.abs(want).max()


def _tensor(dtype, width):
    from any2onnx.data_types import tensor_type

    return tensor_type(np.dtype(dtype), [None, width])


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"alpha_W": 0.01, "l1_ratio": 0.5, "max_iter": 7},
        {"shuffle": True, "random_state": 3, "max_iter": 30},
        {"tol": 0.0, "max_iter": 25},
        {"solver": "mu"},
        {"solver": "mu", "beta_loss": "kullback-leibler", "max_iter": 60},
        {"solver": "mu", "beta_loss": "itakura-saito", "max_iter": 40, "alpha_W": 0.001},
        {"solver": "mu", "beta_loss": 0.5, "max_iter": 25, "tol": 0},
        {"solver": "mu", "beta_loss": 1.5, "max_iter": 33, "l1_ratio": 1.0, "alpha_W": 0.01},
        {"solver": "mu", "beta_loss": 3.0, "max_iter": 30},
    ],
    ids=str,
)
def test_nmf(compare, arguments):
    model = fitted(NMF(n_components=3, **{"init": "nndsvda", "random_state": 0, **arguments}), TRAIN)
    compare(model, TEST, ("transform",))


@pytest.mark.parametrize(
    "arguments",
    [{}, {"beta_loss": 1, "alpha_W": 0.01, "l1_ratio": 0.3}, {"beta_loss": 0.5, "tol": 0, "max_iter": 15},
     {"beta_loss": 2.5, "transform_max_iter": 9}],
    ids=str,
)  # fmt: skip
def test_mini_batch_nmf(compare, arguments):
    model = fitted(MiniBatchNMF(n_components=3, batch_size=16, random_state=0, **arguments), TRAIN)
    compare(model, TEST, ("transform",))


def test_zeros_in_nmf(compare):
    model = fitted(NMF(n_components=4, solver="mu", beta_loss=1, random_state=0, max_iter=30), COUNTS)
    compare(model, np.vstack([COUNTS[:5], np.zeros((1, 12)), COUNTS[7:9]]), ("transform",))


def test_random_order_is_refused(convert):
    model = fitted(NMF(n_components=2, shuffle=True), TRAIN)
    with pytest.raises(UnsupportedParameter, match="shuffle"):
        convert(model, TEST)


@pytest.mark.parametrize(
    "arguments",
    [{}, {"doc_topic_prior": 0.05, "mean_change_tol": 1e-5}, {"learning_method": "online", "max_doc_update_iter": 4},
     {"n_components": 6, "doc_topic_prior": 1e-8}],
    ids=str,
)  # fmt: skip
def test_topics(compare, arguments):
    model = fitted(
        LatentDirichletAllocation(**{"n_components": 3, "random_state": 0, "max_iter": 5, **arguments}), COUNTS
    )
    rows = np.vstack([COUNTS[:6] * 2, np.zeros((1, 12)), COUNTS[9:20]])
    compare(model, rows, ("transform",), opsets=(21,) if arguments else (13, 28))


def test_nmf_inverse(convert, run):
    for model in (NMF(n_components=3, random_state=0), MiniBatchNMF(n_components=3, random_state=0)):
        fitted(model, TRAIN)
        inverse(convert, run, model, model.transform(TEST))
        with pytest.raises(UnknownOption, match="other inputs"):
            convert(model, TEST, outputs=("transform", "inverse_transform"))


def test_rbm(compare, convert):
    X = load_digits().data[:120] / 16
    model = BernoulliRBM(n_components=5, random_state=0, n_iter=3).fit(X[:80])
    compare(model, X[80:], ("transform",), opsets=(13, 21))
    with pytest.raises(UnsupportedOperator, match="score_samples"):
        convert(model, X, outputs=("score_samples",))
