"""Linear models against scikit-learn."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn import linear_model, svm

from any2onnx.errors import UnknownOption, UnsupportedParameter

OPSETS = (13, 18, 21, 28)
NAMES = np.array(["setosa", "versicolor", "virginica"])
SINGLE = [
    "LinearRegression", "Ridge", "RidgeCV", "Lasso", "LassoCV", "ElasticNet", "ElasticNetCV", "Lars", "LarsCV",
    "LassoLars", "LassoLarsCV", "LassoLarsIC", "OrthogonalMatchingPursuit", "OrthogonalMatchingPursuitCV",
    "HuberRegressor", "TheilSenRegressor", "QuantileRegressor", "SGDRegressor", "PassiveAggressiveRegressor",
    "BayesianRidge", "ARDRegression", "PoissonRegressor", "GammaRegressor", "TweedieRegressor",
]  # fmt: skip


@pytest.mark.parametrize("name", SINGLE)
def test_regressors(compare: Any, diabetes: Any, name: str) -> None:
    X, y = diabetes
    model = getattr(linear_model, name)()
    if "random_state" in model.get_params():
        model.set_params(random_state=0)
    compare(model.fit(X, y), X, ("predict",), opsets=OPSETS)
    if "fit_intercept" in model.get_params():
        compare(model.set_params(fit_intercept=False).fit(X, y - y.min() + 1.0), X, ("predict",))


@pytest.mark.parametrize(
    "name",
    [
        "LinearRegression",
        "Ridge",
        "Lasso",
        "ElasticNet",
        "Lars",
        "RidgeCV",
        "LassoLars",
        "OrthogonalMatchingPursuit",
        "MultiTaskLasso",
        "MultiTaskElasticNet",
        "MultiTaskLassoCV",
        "MultiTaskElasticNetCV",
    ],
)
def test_several_targets(compare: Any, diabetes: Any, name: str) -> None:
    X, y = diabetes
    compare(getattr(linear_model, name)().fit(X, np.stack([y, -y, y**2], axis=1)), X, ("predict",))
    compare(getattr(linear_model, name)().fit(X, y[:, None]), X, ("predict",))


def test_one_column(compare: Any, diabetes: Any) -> None:
    X = diabetes[0][:, :1]
    compare(linear_model.LinearRegression().fit(X, diabetes[1]), X, ("predict",), opsets=OPSETS)


def test_svm_regressor(compare: Any, diabetes: Any) -> None:
    compare(svm.LinearSVR(random_state=0).fit(*diabetes), diabetes[0], ("predict",))


@pytest.mark.parametrize(
    "options",
    [{"power": 0}, {"power": 1}, {"power": 1.5}, {"power": 0, "link": "log"}, {"power": 3, "link": "identity"}],
    ids=str,
)
def test_tweedie_links(compare: Any, diabetes: Any, options: Any) -> None:
    compare(linear_model.TweedieRegressor(**options).fit(*diabetes), diabetes[0], ("predict",))


@pytest.mark.parametrize("model", [linear_model.BayesianRidge(), linear_model.ARDRegression()])
def test_standard_deviation(run: Any, convert: Any, diabetes: Any, model: Any) -> None:
    X, y = diabetes
    X = X + 3.0
    mean, std = model.fit(X, y).predict(X, return_std=True)
    for dtype, rtol in ((np.float32, 2e-5), (np.float64, 1e-9)):
        rows = X.astype(dtype)
        want = model.predict(rows.astype(np.float64), return_std=True)
        for proto in (
            convert(model, rows, outputs=("predict", "predict_std")),
            convert(model, rows, options={type(model): {"return_std": True}}),
        ):
            got = run(proto, rows)
            np.testing.assert_allclose(got[0].ravel(), want[0], rtol=rtol)
            np.testing.assert_allclose(got[1].ravel(), want[1], rtol=rtol)
    assert mean.shape == std.shape
    names = [o.name for o in convert(model, X, options={type(model): {"return_std": True}}).graph.output]
    assert names == ["variable", "std"]


CLASSIFIERS = [
    linear_model.LogisticRegression(max_iter=2000),
    linear_model.LogisticRegression(max_iter=2000, C=0.01, fit_intercept=False),
    linear_model.LogisticRegressionCV(Cs=2, cv=2, max_iter=2000),
    linear_model.SGDClassifier(random_state=0),
    linear_model.SGDClassifier("log_loss", random_state=0),
    linear_model.SGDClassifier("modified_huber", random_state=0),
    linear_model.SGDClassifier("squared_hinge", average=True, random_state=0),
    linear_model.Perceptron(random_state=0),
    linear_model.PassiveAggressiveClassifier(random_state=0),
    linear_model.RidgeClassifier(),
    linear_model.RidgeClassifierCV(),
    svm.LinearSVC(random_state=0),
    svm.LinearSVC(random_state=0, fit_intercept=False, loss="hinge"),
]


@pytest.mark.parametrize("model", CLASSIFIERS, ids=str)
@pytest.mark.parametrize("target", ["int", "text", "bool", "binary text", "float", "other int"])
def test_classifiers(compare: Any, iris: Any, model: Any, target: str) -> None:
    X, y = iris
    labels = {
        "int": y,
        "text": NAMES[y],
        "bool": y > 0,
        "binary text": NAMES[(y > 1).astype(int)],
        "float": y.astype(np.float64) + 0.0,
        "other int": y * 10 - 5,
    }[target]
    model.fit(X, labels)
    methods = ("predict", "predict_proba", "predict_log_proba", "decision_function")
    wanted = tuple(m for m in methods if hasattr(model, m))
    if model.__class__.__name__ == "SGDClassifier" and model.loss == "modified_huber":
        # Its logarithms are -inf where a probability is 0.
        wanted = ("predict", "predict_proba", "predict_log_proba", "decision_function")
    compare(model, X, wanted, opsets=OPSETS if target == "text" else (21,))


def test_labels_of_python_objects(compare: Any, iris: Any, convert: Any) -> None:
    X, y = iris
    compare(linear_model.LogisticRegression(max_iter=900).fit(X, NAMES[y].astype(object)), X, ("predict",))
    mixed = linear_model.LogisticRegression(max_iter=900).fit(X, y)
    mixed.classes_ = np.array(["a", 1, None], dtype=object)
    with pytest.raises(UnsupportedParameter, match="class labels"):
        convert(mixed, X)


def test_multilabel_ridge(compare: Any, iris: Any) -> None:
    X, y = iris
    labels = np.stack([y == 0, y > 0, X[:, 0] > 5.5], axis=1).astype(int)
    compare(linear_model.RidgeClassifier().fit(X, labels), X, ("predict", "decision_function"))


def test_sparse_coefficients_and_training_data(compare: Any, iris: Any) -> None:
    X, y = iris
    model = linear_model.LogisticRegression(max_iter=900).fit(sp.csr_matrix(X), y).sparsify()
    compare(model, X, ("predict", "predict_proba"))
    compare(linear_model.SGDClassifier(random_state=0).fit(X, y).sparsify(), X, ("predict", "decision_function"))


def test_no_probabilities(convert: Any, iris: Any) -> None:
    model = linear_model.SGDClassifier("hinge").fit(*iris)
    with pytest.raises(UnknownOption, match="predict_proba"):
        convert(model, iris[0], outputs=("predict_proba",))


def test_extreme_scores(compare: Any, iris: Any) -> None:
    """Probabilities down to the end of float64, and their logarithms."""
    X, y = iris
    for target in (y, y > 0):
        model = linear_model.LogisticRegression(max_iter=900).fit(X, target)
        model.coef_ = model.coef_ * 300
        compare(model, X * 3, ("predict_proba", "decision_function"))
        compare(model, X * 3, ("predict_log_proba",), dtypes=(np.float64,))


def test_one_class_sgd(compare: Any, iris: Any) -> None:
    X = iris[0]
    model = linear_model.SGDOneClassSVM(random_state=0, nu=0.3).fit(X)
    compare(model, X - X.mean(0), ("predict", "decision_function", "score_samples"), opsets=OPSETS)


def test_outlier_shapes(run: Any, convert: Any, iris: Any) -> None:
    X = iris[0]
    model = linear_model.SGDOneClassSVM(random_state=0).fit(X)
    proto = convert(model, X, options={type(model): {"score_samples": True}})
    assert [o.name for o in proto.graph.output] == ["label", "scores", "score_samples"]
    assert [v.shape for v in run(proto, X)] == [(150, 1), (150, 1), (150,)]
