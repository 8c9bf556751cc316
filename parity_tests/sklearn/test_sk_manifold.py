"""Isomap and locally linear embedding of new rows."""

from __future__ import annotations

import numpy as np
import pytest
from family_checks import agree
from sklearn import manifold
from sklearn.datasets import load_digits, load_iris

RNG = np.random.default_rng(0)
X = load_iris(return_X_y=True)[0]
X = X + RNG.normal(0, 0.05, X.shape)
ROWS = X[::4] + RNG.normal(0, 0.05, X[::4].shape)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "arguments",
    [
        {"n_neighbors": 8},
        {"n_neighbors": 12, "n_components": 3, "p": 1},
        {"n_neighbors": None, "radius": 1.5},
        {"metric": "cosine"},
    ],
    ids=str,
)
def test_isomap(arguments) -> None:
    agree(manifold.Isomap(**arguments).fit(X), ROWS, ("transform",))


@pytest.mark.parametrize("method", ["standard", "modified", "ltsa", "hessian"])
def test_locally_linear_embedding(method) -> None:
    model = manifold.LocallyLinearEmbedding(
        n_neighbors=12, n_components=2, method=method, random_state=0, eigen_solver="dense"
    ).fit(X)
    agree(model, ROWS, ("transform",))


def test_more_neighbours_than_features_and_wide_rows() -> None:
    agree(manifold.LocallyLinearEmbedding(n_neighbors=30, reg=0.1, random_state=0).fit(X), ROWS, ("transform",))
    digits = load_digits().data[:150] + RNG.normal(0, 0.01, (150, 64))
    model = manifold.LocallyLinearEmbedding(n_neighbors=6, random_state=0).fit(digits[:120])
    agree(model, digits[120:], ("transform",))


@pytest.mark.parametrize("opset", [13, 28])
def test_opsets(opset) -> None:
    agree(manifold.Isomap().fit(X), ROWS, ("transform",), opset=opset)
    agree(manifold.LocallyLinearEmbedding(random_state=0).fit(X), ROWS, ("transform",), opset=opset)
