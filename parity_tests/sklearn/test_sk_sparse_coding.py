"""sklearn.decomposition: sparse codes by every algorithm but plain least angles."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.decomposition import DictionaryLearning, MiniBatchDictionaryLearning, SparseCoder

from any2onnx.data_types import tensor_type
from any2onnx.errors import UnsupportedParameter

warnings.filterwarnings("ignore", module="sklearn")
RNG = np.random.default_rng(0)
ATOMS = RNG.normal(size=(14, 10))
ATOMS /= np.linalg.norm(ATOMS, axis=1, keepdims=True)
ROWS = np.vstack([RNG.normal(size=(25, 10)) * 3, np.zeros((1, 10)), 2 * ATOMS[3:4], 1e-9 * RNG.normal(size=(1, 10))])


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"transform_n_nonzero_coefs": 4},
        {"transform_n_nonzero_coefs": 10, "split_sign": True},
        {"transform_algorithm": "threshold", "transform_alpha": 0.7},
        {"transform_algorithm": "threshold", "positive_code": True, "split_sign": True},
        {"transform_algorithm": "lasso_cd", "transform_alpha": 0.3},
        {"transform_algorithm": "lasso_cd", "transform_alpha": 0.01, "transform_max_iter": 20},
        {"transform_algorithm": "lasso_cd", "positive_code": True},
        {"transform_algorithm": "lasso_cd", "transform_alpha": 0.05, "transform_max_iter": 3},
        {"transform_algorithm": "lasso_lars", "transform_alpha": 0.4},
        {"transform_algorithm": "lasso_lars", "split_sign": True},
        {"transform_algorithm": "lasso_lars", "transform_alpha": 0.001},
        {"transform_algorithm": "lasso_lars", "transform_alpha": 0.01, "transform_max_iter": 4},
    ],
    ids=str,
)
def test_sparse_coder(compare, arguments):
    compare(SparseCoder(ATOMS, **arguments), ROWS, ("transform",))


@pytest.mark.parametrize("atoms", [np.vstack([ATOMS[:4], ATOMS[1:2]]), np.vstack([ATOMS[:4], ATOMS[:1] + ATOMS[2:3]])])
def test_equal_and_dependent_atoms(convert, run, atoms):
    """Which of two equally good atoms is taken is rounding; the codes mean the same row, and no step divides by 0."""
    model = SparseCoder(atoms, transform_n_nonzero_coefs=5)
    (got,) = run(convert(model, ROWS, outputs=("transform",)), ROWS)
    np.testing.assert_allclose(got @ atoms, model.transform(ROWS) @ atoms, rtol=0, atol=1e-9)


@pytest.mark.parametrize("opset", [13, 18, 28])
def test_opsets(compare, opset):
    for algorithm in ("omp", "lasso_cd", "lasso_lars"):
        model = SparseCoder(ATOMS, transform_algorithm=algorithm, transform_alpha=0.3, transform_n_nonzero_coefs=3)
        compare(model, ROWS[18:], ("transform",), opsets=(opset,), dtypes=(np.float64,))


@pytest.mark.parametrize(
    "model",
    [
        DictionaryLearning(5, max_iter=5, random_state=0, transform_algorithm="lasso_cd", alpha=0.5),
        DictionaryLearning(4, max_iter=3, random_state=0, transform_n_nonzero_coefs=2),
        MiniBatchDictionaryLearning(6, max_iter=3, batch_size=16, random_state=0, transform_algorithm="lasso_lars"),
        MiniBatchDictionaryLearning(6, max_iter=3, batch_size=16, random_state=0),
    ],
    ids=lambda m: f"{type(m).__name__}-{m.transform_algorithm}",
)
def test_dictionaries(compare, convert, run, model):
    X = load_digits().data[:90] / 16
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(X[:60])
    compare(model, X[60:], ("transform",))
    codes = model.transform(X[60:])
    proto = convert(
        model, outputs=("inverse_transform",), initial_types=[("codes", tensor_type("float64", [None, codes.shape[1]]))]
    )
    np.testing.assert_allclose(run(proto, codes)[0], model.inverse_transform(codes), rtol=1e-12, atol=1e-12)


def test_inverse_of_split_codes(convert, run):
    model = SparseCoder(ATOMS, split_sign=True, transform_n_nonzero_coefs=3)
    codes = model.transform(ROWS)
    proto = convert(model, outputs=("inverse_transform",), initial_types=[("c", tensor_type("float64", [None, 28]))])
    np.testing.assert_allclose(run(proto, codes)[0], model.inverse_transform(codes), rtol=1e-12, atol=1e-12)


def test_refusals(convert):
    with pytest.raises(UnsupportedParameter, match="'lars'"):
        convert(SparseCoder(ATOMS, transform_algorithm="lars"), ROWS)
    with pytest.raises(UnsupportedParameter, match="positive_code"):
        convert(SparseCoder(ATOMS, transform_algorithm="lasso_lars", positive_code=True), ROWS)
