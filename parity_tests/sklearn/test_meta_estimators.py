"""Meta-estimators against scikit-learn."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import TransformedTargetRegressor
from sklearn.ensemble import (
    BaggingClassifier,
    BaggingRegressor,
    StackingClassifier,
    StackingRegressor,
    VotingClassifier,
    VotingRegressor,
)
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.feature_selection import (
    RFE,
    RFECV,
    GenericUnivariateSelect,
    SelectFdr,
    SelectFpr,
    SelectFromModel,
    SelectFwe,
    SelectKBest,
    SelectPercentile,
    SequentialFeatureSelector,
    VarianceThreshold,
)
from sklearn.frozen import FrozenEstimator
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import (
    LinearRegression,
    LogisticRegression,
    Perceptron,
    RANSACRegressor,
    Ridge,
    RidgeClassifier,
    SGDClassifier,
)
from sklearn.model_selection import (
    FixedThresholdClassifier,
    GridSearchCV,
    HalvingGridSearchCV,
    HalvingRandomSearchCV,
    RandomizedSearchCV,
    TunedThresholdClassifierCV,
)
from sklearn.multiclass import OneVsOneClassifier, OneVsRestClassifier, OutputCodeClassifier
from sklearn.multioutput import ClassifierChain, MultiOutputClassifier, MultiOutputRegressor, RegressorChain
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, PowerTransformer, StandardScaler
from sklearn.semi_supervised import SelfTrainingClassifier
from sklearn.svm import LinearSVC

from any2onnx.errors import NotAModel, UnsupportedOperator, UsageError

NAMES = np.array(["setosa", "versicolor", "virginica"])
ALL = ("predict", "predict_proba", "predict_log_proba", "decision_function")


def logistic(**more: Any) -> Any:
    return make_pipeline(StandardScaler(), LogisticRegression(max_iter=500, **more))


@pytest.mark.parametrize(
    "search",
    [
        GridSearchCV(LogisticRegression(max_iter=900), {"C": [0.1, 1.0]}, cv=2),
        RandomizedSearchCV(LogisticRegression(max_iter=900), {"C": [0.1, 1.0]}, n_iter=2, cv=2),
        HalvingGridSearchCV(LogisticRegression(max_iter=900), {"C": [0.1, 1.0]}, cv=2),
        HalvingRandomSearchCV(LogisticRegression(max_iter=900), {"C": [0.1, 1.0]}, cv=2),
        FrozenEstimator(LogisticRegression(max_iter=900)),
        SelfTrainingClassifier(LogisticRegression(max_iter=900)),
    ],
    ids=lambda s: type(s).__name__,
)
def test_delegating_classifiers(compare: Any, convert: Any, iris: Any, search: Any) -> None:
    X, y = iris
    if isinstance(search, FrozenEstimator):
        search.estimator.fit(X, y)
    else:
        search.fit(X, y)
    compare(search, X, ALL)
    names = [o.name for o in convert(search, X, options={"zipmap": "columns"}).graph.output]
    assert names == ["output_label", "i0", "i1", "i2"]


def test_search_without_refit(convert: Any, iris: Any) -> None:
    search = GridSearchCV(Ridge(), {"alpha": [1.0, 2.0]}, refit=False, cv=2).fit(*iris)
    with pytest.raises((UsageError, NotAModel)):
        convert(search, iris[0])


def test_search_over_a_transformer(compare: Any, iris: Any) -> None:
    search = GridSearchCV(make_pipeline(StandardScaler(), Ridge()), {"ridge__alpha": [1.0, 2.0]}, cv=2).fit(*iris)
    compare(search, iris[0], ("predict",))


def test_ransac(compare: Any, diabetes: Any) -> None:
    compare(RANSACRegressor(LinearRegression(), random_state=0).fit(*diabetes), diabetes[0], ("predict",))


@pytest.mark.parametrize("classes", [np.array([0, 1]), np.array(["no", "yes"])])
def test_thresholds(compare: Any, iris: Any, classes: Any) -> None:
    X, y = iris[0], classes[(iris[1] > 1).astype(int)]
    models = [
        FixedThresholdClassifier(LogisticRegression(max_iter=900), threshold=0.3, pos_label=classes[1]),
        FixedThresholdClassifier(LogisticRegression(max_iter=900), threshold=0.7, pos_label=classes[0]),
        FixedThresholdClassifier(
            SGDClassifier(random_state=0), threshold=5.0, response_method="decision_function", pos_label=classes[0]
        ),
        FixedThresholdClassifier(SGDClassifier(random_state=0)),
        FixedThresholdClassifier(LogisticRegression(max_iter=900)),
        TunedThresholdClassifierCV(LogisticRegression(max_iter=900), cv=2, thresholds=10),
    ]
    for model in models:
        if classes.dtype.kind == "U" and isinstance(model, TunedThresholdClassifierCV):
            model.set_params(scoring="balanced_accuracy")
        model.fit(X, y)
        compare(model, X, ("predict",))
        if hasattr(model, "predict_proba"):
            compare(model, X, ("predict", "predict_proba", "predict_log_proba", "decision_function"))


@pytest.mark.parametrize(
    "target",
    [
        TransformedTargetRegressor(LinearRegression(), transformer=StandardScaler()),
        TransformedTargetRegressor(LinearRegression(), transformer=MinMaxScaler()),
        TransformedTargetRegressor(LinearRegression(), transformer=PowerTransformer()),
        TransformedTargetRegressor(LinearRegression(), transformer=PowerTransformer("box-cox", standardize=False)),
        TransformedTargetRegressor(LinearRegression(), func=np.log, inverse_func=np.exp),
        TransformedTargetRegressor(LinearRegression(), func=np.log1p, inverse_func=np.expm1),
        TransformedTargetRegressor(LinearRegression()),
    ],
)
def test_transformed_target(compare: Any, diabetes: Any, target: Any) -> None:
    compare(target.fit(*diabetes), diabetes[0], ("predict",))
    two = np.stack([diabetes[1], 2 * diabetes[1]], axis=1)
    compare(target.fit(diabetes[0], two), diabetes[0], ("predict",))


@pytest.mark.parametrize("weights", [None, [2.0, 1.0, 0.5]])
@pytest.mark.parametrize("flatten", [True, False])
def test_voting(compare: Any, iris: Any, weights: Any, flatten: bool) -> None:
    X, y = iris
    members = [("a", logistic()), ("b", logistic(C=0.01)), ("c", logistic(C=100.0)), ("gone", "drop")]
    for target in (y, NAMES[y], y == 1):
        soft = VotingClassifier(members, voting="soft", weights=weights and [*weights, 1.0], flatten_transform=flatten)
        soft.fit(X, target)
        compare(soft, X, ("predict", "predict_proba") + (("transform",) if flatten else ()))
        hard = VotingClassifier(members, weights=weights and [*weights, 1.0]).fit(X, target)
        compare(hard, X, ("predict", "transform"))
    regressors = [("a", LinearRegression()), ("b", Ridge(100.0)), ("c", Ridge(1000.0))]
    compare(VotingRegressor(regressors, weights=weights).fit(X, y), X, ("predict", "transform"))


def test_voting_transform_not_flat(run: Any, convert: Any, iris: Any) -> None:
    X, y = iris
    model = VotingClassifier([("a", logistic()), ("b", logistic(C=0.1))], voting="soft", flatten_transform=False)
    got = run(convert(model.fit(X, y), X, outputs=("transform",)), X)[0]
    np.testing.assert_allclose(got, model.transform(X), rtol=1e-9)


@pytest.mark.parametrize("passthrough", [False, True])
def test_stacking(compare: Any, iris: Any, diabetes: Any, passthrough: bool) -> None:
    X, y = iris
    members = [("a", logistic()), ("b", LinearSVC(random_state=0)), ("gone", "drop"), ("c", RidgeClassifier())]
    for target in (y, NAMES[y], y == 1):
        model = StackingClassifier(members, LogisticRegression(max_iter=2000), cv=2, passthrough=passthrough)
        compare(model.fit(X, target), X, ("predict", "predict_proba", "decision_function", "transform"))
        by_label = StackingClassifier(members, LogisticRegression(max_iter=2000), stack_method="predict", cv=2)
        compare(by_label.fit(X, target), X, ("predict", "transform"))
    regressor = StackingRegressor(
        [("a", LinearRegression()), ("b", Ridge(10.0))], Ridge(), cv=2, passthrough=passthrough
    )
    compare(regressor.fit(*diabetes), diabetes[0], ("predict", "transform"))


@pytest.mark.parametrize("member", [logistic(), Perceptron(), SGDClassifier(loss="log_loss", random_state=0)])
@pytest.mark.parametrize("more", [{}, {"max_features": 2}, {"max_features": 3, "bootstrap_features": True}])
def test_bagging(compare: Any, iris: Any, member: Any, more: Any) -> None:
    X, y = iris
    X = (X - X.mean(0)) / X.std(0)
    for target in (NAMES[y], y > 0):
        model = BaggingClassifier(member, n_estimators=5, random_state=0, **more).fit(X, target)
        methods = ("predict", "predict_proba", "decision_function")
        compare(model, X, methods)
    if member.__class__ is not Perceptron:
        compare(model, X, ("predict_log_proba",))


def test_bagging_with_missing_classes(compare: Any, iris: Any) -> None:
    X, y = iris
    # Few rows each, so that some members never see some class.
    model = BaggingClassifier(logistic(), n_estimators=6, max_samples=4, random_state=1).fit(X, y)
    assert {len(m.classes_) for m in model.estimators_} != {3}
    compare(model, X, ("predict", "predict_proba", "predict_log_proba"))


def test_bagging_regressor(compare: Any, diabetes: Any) -> None:
    model = BaggingRegressor(Ridge(), n_estimators=4, max_features=0.5, random_state=0).fit(*diabetes)
    compare(model, diabetes[0], ("predict",))


def test_one_vs_rest(compare: Any, iris: Any) -> None:
    X, y = iris
    for target in (y, NAMES[y], y > 0, NAMES[(y > 0).astype(int)]):
        compare(OneVsRestClassifier(logistic()).fit(X, target), X, ("predict", "predict_proba", "decision_function"))
        compare(OneVsRestClassifier(LinearSVC()).fit(X, target), X, ("predict", "decision_function"))
        compare(OneVsRestClassifier(Ridge()).fit(X, target), X, ("predict",))
    labels = np.stack([y == 0, y > 0, X[:, 0] > 5.5, np.ones(len(y), bool)], axis=1).astype(int)
    compare(OneVsRestClassifier(logistic()).fit(X, labels), X, ("predict", "predict_proba", "decision_function"))


def test_one_vs_one_and_codes(compare: Any, iris: Any) -> None:
    X, y = iris
    for target in (y, NAMES[y], y > 0):
        compare(OneVsOneClassifier(LinearSVC(random_state=0)).fit(X, target), X, ("predict", "decision_function"))
        compare(OneVsOneClassifier(logistic()).fit(X, target), X, ("predict", "decision_function"))
        compare(OutputCodeClassifier(logistic(), random_state=0).fit(X, target), X, ("predict",))
        compare(
            OutputCodeClassifier(LinearSVC(random_state=0), random_state=0, code_size=3).fit(X, target), X, ("predict",)
        )


def test_multi_output(compare: Any, convert: Any, iris: Any, diabetes: Any) -> None:
    X, y = iris
    two = np.stack([y, (X[:, 0] > 5.5).astype(int)], axis=1)
    compare(MultiOutputClassifier(logistic()).fit(X, two), X, ("predict", "predict_proba"))
    compare(MultiOutputClassifier(logistic()).fit(X, NAMES[two]), X, ("predict", "predict_proba"))
    targets = np.stack([diabetes[1], diabetes[1] ** 2], axis=1)
    compare(MultiOutputRegressor(Ridge()).fit(diabetes[0], targets), diabetes[0], ("predict",))


def test_chains(compare: Any, iris: Any, diabetes: Any) -> None:
    X, y = iris
    labels = np.stack([y == 0, y > 1, X[:, 0] > 5.5], axis=1).astype(int)
    for more in (
        {},
        {"order": [2, 0, 1]},
        {"cv": 2},
        {"chain_method": "predict_proba"},
        {"chain_method": "decision_function"},
    ):
        compare(ClassifierChain(logistic(), **more).fit(X, labels), X, ALL)
    targets = np.stack([diabetes[1], diabetes[1] ** 2], axis=1)
    compare(RegressorChain(Ridge(), order=[1, 0]).fit(diabetes[0], targets), diabetes[0], ("predict",))


@pytest.mark.parametrize("method", ["sigmoid", "isotonic", "temperature"])
@pytest.mark.parametrize(
    "member", [LinearSVC(random_state=0), logistic(), SGDClassifier(loss="log_loss", random_state=0)]
)
def test_calibration(compare: Any, iris: Any, method: str, member: Any) -> None:
    X, y = iris
    X = (X - X.mean(0)) / X.std(0)
    for target in (NAMES[y], y > 0):
        for ensemble in (True, False):
            model = CalibratedClassifierCV(member, method=method, cv=3, ensemble=ensemble).fit(X, target)
            compare(model, X, ("predict", "predict_proba"))


@pytest.mark.parametrize("bounds", ["clip", "nan"])
@pytest.mark.parametrize("increasing", [True, False, "auto"])
def test_isotonic(compare: Any, diabetes: Any, bounds: str, increasing: Any) -> None:
    x, y = diabetes[0][:, 2], diabetes[1]
    model = IsotonicRegression(out_of_bounds=bounds, increasing=increasing).fit(x, y)
    wide = np.concatenate([x, model.X_thresholds_, [x.min() - 1, x.max() + 1]])
    # float32 rows beside a jump of the function are another input: only float64 keeps the thresholds themselves.
    compare(model, wide, ("predict", "transform"), dtypes=(np.float64,))
    compare(model, x, ("predict",))
    compare(IsotonicRegression(y_min=100, y_max=200, out_of_bounds=bounds).fit(x, y), x, ("predict",))
    compare(
        IsotonicRegression(out_of_bounds="clip").fit([1.0, 1.0], [3.0, 5.0]), np.array([0.0, 1.0, 2.0]), ("predict",)
    )


@pytest.mark.parametrize(
    "selector",
    [
        VarianceThreshold(0.5),
        SelectKBest(k=2),
        SelectPercentile(percentile=50),
        SelectFpr(),
        SelectFdr(),
        SelectFwe(),
        GenericUnivariateSelect(mode="k_best", param=2),
        SelectFromModel(LogisticRegression(max_iter=900)),
        SequentialFeatureSelector(LinearRegression(), n_features_to_select=2, cv=2),
    ],
    ids=lambda s: type(s).__name__,
)
def test_selectors(compare: Any, iris: Any, selector: Any) -> None:
    X, y = iris
    selector.fit(X, y)
    compare(selector, X, ("transform",))
    compare(selector, selector.transform(X), ("inverse_transform",))


def test_recursive_elimination(compare: Any, iris: Any) -> None:
    X, y = iris
    for model in (
        RFE(LogisticRegression(max_iter=900), n_features_to_select=2),
        RFECV(LogisticRegression(max_iter=900), cv=2),
    ):
        compare(model.fit(X, y), X, (*ALL, "transform"))


def test_selector_of_a_frame_with_text(compare: Any, convert: Any, frame: Any) -> None:
    import pandas as pd
    from sklearn.compose import ColumnTransformer
    from sklearn.preprocessing import OneHotEncoder

    model = make_pipeline(
        ColumnTransformer([("c", OneHotEncoder(), ["sex", "port"]), ("n", StandardScaler(), ["fare"])]),
        SelectKBest(k=3),
        LinearRegression(),
    ).fit(frame, frame["sibs"])
    compare(model, frame, ("predict",), dtypes=(None,))
    assert isinstance(frame, pd.DataFrame)


def test_unsupported_member_is_named_with_its_place(convert: Any, iris: Any) -> None:
    from sklearn.base import BaseEstimator, ClassifierMixin

    class Odd(ClassifierMixin, BaseEstimator):
        def fit(self, X: Any, y: Any) -> Any:
            self.classes_ = np.unique(y)
            return self

        def predict(self, X: Any) -> Any:
            return np.zeros(len(X), int)

    model = VotingClassifier([("a", logistic()), ("b", make_pipeline(StandardScaler(), Odd()))]).fit(*iris)
    with pytest.raises(UnsupportedOperator, match="estimators_1/odd"):
        convert(model, iris[0])


def test_stacking_of_several_targets(compare: Any, iris: Any) -> None:
    from sklearn.tree import DecisionTreeClassifier

    X, y = iris
    two = np.stack([y > 0, y > 1], axis=1).astype(int)
    tree = DecisionTreeClassifier(max_depth=3, random_state=0)
    model = StackingClassifier([("a", tree)], tree, cv=2).fit(X[::-1], two[::-1])
    compare(model, X, ("predict", "predict_proba", "transform"))
