"""sklearn.svm: every kernel, decision shape and label type; probabilities by libsvm's own coupling."""

from __future__ import annotations

import functools
import warnings
from typing import Any

import numpy as np
import pytest
from family_checks import agree, proto_of
from scipy import sparse
from scipy.spatial import distance
from sklearn import svm
from sklearn.datasets import load_diabetes, load_digits, load_iris, load_wine
from sklearn.metrics import pairwise

from any2onnx.errors import UnknownOption, UnsupportedParameter

X, y = load_iris(return_X_y=True)
ROWS = X[::4] + 0.013
KERNELS = [
    {"kernel": "linear"},
    {"kernel": "poly", "degree": 2, "coef0": 1.5},
    {"kernel": "poly", "gamma": "auto"},
    {"kernel": "rbf"},
    {"kernel": "rbf", "gamma": 0.7, "C": 10.0},
    {"kernel": "sigmoid", "gamma": 0.01, "coef0": -0.2},
]
FLOATS = (np.float32, np.float64)
BOTH = ("predict", "decision_function")


@pytest.mark.parametrize("shape", ["ovr", "ovo"])
@pytest.mark.parametrize("arguments", KERNELS, ids=str)
def test_svc_multiclass(arguments, shape) -> None:
    agree(svm.SVC(decision_function_shape=shape, **arguments).fit(X, y), ROWS, BOTH)


@pytest.mark.parametrize("arguments", KERNELS, ids=str)
def test_svc_binary_has_scikit_learns_sign(arguments) -> None:
    keep = y != 0
    agree(svm.SVC(**arguments).fit(X[keep], y[keep]), ROWS, BOTH)


def test_nu_svc_and_break_ties() -> None:
    agree(svm.NuSVC(nu=0.2).fit(X, y), ROWS, BOTH)
    agree(svm.SVC(break_ties=True, C=0.1).fit(X, y), ROWS, BOTH)


@pytest.mark.parametrize("labels", [["x", "ä", "zz"], [-3, 7, 12], [1.0, 3.0, 7.0]], ids=str)
def test_svc_labels(labels) -> None:
    named = np.asarray(labels)[y]
    # Labels that are floats stay float64, whatever the rows are.
    agree(svm.SVC().fit(X, named), ROWS, ("predict",), dtypes=(np.float64,) if named.dtype.kind == "f" else FLOATS)
    agree(svm.SVC().fit(X[y < 2], (y[y < 2] == 1)), ROWS, BOTH)


def test_svc_many_classes() -> None:
    digits, target = load_digits(return_X_y=True)
    model = svm.SVC(gamma=0.001).fit(digits[:400], target[:400])
    agree(model, digits[400:440] + 0.01, BOTH)
    agree(
        svm.SVC(kernel="linear", decision_function_shape="ovo").fit(digits[:400], target[:400]), digits[400:440], BOTH
    )


@pytest.mark.parametrize("cls", [svm.SVC, svm.NuSVC])
@pytest.mark.parametrize("data", ["iris", "binary", "wine"])
def test_probabilities(cls, data) -> None:
    features, target, rows = X, y, ROWS
    if data == "binary":
        features, target = X[y != 0], y[y != 0]
    elif data == "wine":
        features, target = load_wine(return_X_y=True)
        rows = features[::5] * 1.01
    more = {"nu": 0.2} if cls is svm.NuSVC else {}
    model = cls(probability=True, random_state=0, **more).fit(features, target)
    agree(model, rows, ("predict", "predict_proba", "predict_log_proba"))


def test_probabilities_of_ten_classes() -> None:
    digits, target = load_digits(return_X_y=True)
    model = svm.SVC(probability=True, random_state=0, gamma=0.001).fit(digits[:300], target[:300])
    agree(model, digits[300:330] + 0.01, ("predict_proba",), dtypes=(np.float64,))


def test_no_probabilities_without_training_them() -> None:
    with pytest.raises(UnknownOption, match="predict_proba"):
        proto_of(svm.SVC().fit(X, y), X, ("predict_proba",))


@pytest.mark.parametrize("kernel", ["linear", "rbf"])
def test_trained_on_sparse_rows(kernel) -> None:
    matrix = sparse.csr_matrix(np.where(X > 1.5, X, 0))
    model = svm.SVC(kernel=kernel).fit(matrix, y)
    dense = svm.SVC(kernel=kernel).fit(matrix.toarray(), y)
    assert hasattr(model.support_vectors_, "toarray")
    assert not hasattr(dense.support_vectors_, "toarray")
    agree(model, ROWS, BOTH)
    agree(svm.SVR(kernel=kernel).fit(matrix, y), ROWS, ("predict",))


def test_precomputed_kernel() -> None:
    gram, rows = X @ X.T, ROWS @ X.T
    agree(svm.SVC(kernel="precomputed").fit(gram, y), rows, BOTH)
    agree(svm.SVR(kernel="precomputed").fit(gram, y), rows, ("predict",))


@pytest.mark.parametrize("cls", [svm.SVR, svm.NuSVR])
@pytest.mark.parametrize("arguments", KERNELS, ids=str)
def test_regression(cls, arguments) -> None:
    features, target = load_diabetes(return_X_y=True)
    model = cls(**{"C": 5.0, **arguments}).fit(features[:200] * 20, target[:200])
    agree(model, features[200:260] * 20, ("predict",))


@pytest.mark.parametrize("arguments", KERNELS, ids=str)
def test_one_class(arguments) -> None:
    model = svm.OneClassSVM(nu=0.2, **{k: v for k, v in arguments.items() if k != "C"}).fit(X)
    agree(model, ROWS, ("predict", "decision_function", "score_samples"))


@pytest.mark.parametrize("opset", [13, 18, 28])
def test_opsets(opset) -> None:
    model = svm.SVC(probability=True, random_state=0).fit(X, y)
    agree(model, ROWS, ("predict", "decision_function", "predict_proba"), opset=opset, dtypes=(np.float64,))


def test_far_from_the_origin() -> None:
    model = svm.SVR(gamma=0.5).fit(X + 1e4, y)
    agree(model, ROWS + 1e4, ("predict",), dtypes=(np.float64,))


def bilinear(A: Any, B: Any) -> Any:
    return np.dot(np.dot(A, np.diag([2.0, 1.0, 1.0, 0.5])), B.T)


def gaussian(A: Any, B: Any) -> Any:
    return np.exp(-0.3 * ((A[:, None, :] - B[None, :, :]) ** 2).sum(axis=-1))


def intersection(A: Any, B: Any) -> Any:
    shared = np.zeros((A.shape[0], B.shape[0]))
    for k in range(A.shape[1]):
        shared += np.minimum(A[:, k].reshape(-1, 1), B[:, k].reshape(-1, 1).T)
    return shared


def by_distances(A: Any, B: Any) -> Any:
    return np.exp(-distance.cdist(A, B))


FUNCTIONS = [bilinear, gaussian, intersection, pairwise.chi2_kernel, pairwise.laplacian_kernel,
             pairwise.cosine_similarity, functools.partial(pairwise.rbf_kernel, gamma=0.4)]  # fmt: skip


@pytest.mark.parametrize("kernel", FUNCTIONS, ids=lambda kernel: getattr(kernel, "__name__", "partial"))
def test_kernels_that_are_python_functions(kernel: Any) -> None:
    agree(svm.SVC(kernel=kernel).fit(X, y), ROWS, BOTH)
    agree(svm.NuSVC(kernel=kernel, nu=0.2).fit(X, y), ROWS, BOTH)
    agree(svm.SVR(kernel=kernel).fit(X, y + X[:, 0]), ROWS, ("predict",))
    agree(svm.OneClassSVM(kernel=kernel, nu=0.2).fit(X), ROWS, ("predict", "decision_function", "score_samples"))


def test_refused_by_name() -> None:
    with pytest.raises(UnsupportedParameter, match="kernel 'by_distances' cannot be traced"):
        proto_of(svm.SVC(kernel=by_distances).fit(X, y), X, ("predict",))
    model = svm.SVC().fit(X, y)
    model.set_params(break_ties=True, decision_function_shape="ovo")
    with pytest.raises(UnsupportedParameter, match="break_ties"):
        proto_of(model, X, ("predict",))


@pytest.mark.parametrize("kernel", ["linear", "poly", "rbf"])
@pytest.mark.parametrize("cls", [svm.SVC, svm.SVR, svm.OneClassSVM])
def test_fits_that_were_stopped_at_once_have_no_support_vectors(cls: type, kernel: str) -> None:
    X, y = load_iris(return_X_y=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = cls(kernel=kernel, max_iter=0).fit(X, y)
    assert cls is svm.OneClassSVM or not len(model.support_)
    methods = ("predict",) if cls is svm.SVR else ("predict", "decision_function")
    agree(model, X[::7], methods)
