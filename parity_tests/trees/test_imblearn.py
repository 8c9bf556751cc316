"""imbalanced-learn: its classifiers, and pipelines in which samplers do nothing at inference."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from booster_harness import compare, convert
from imblearn import FunctionSampler
from imblearn.ensemble import (
    BalancedBaggingClassifier,
    BalancedRandomForestClassifier,
    EasyEnsembleClassifier,
    RUSBoostClassifier,
)
from imblearn.over_sampling import SMOTE, RandomOverSampler
from imblearn.pipeline import Pipeline, make_pipeline
from imblearn.under_sampling import RandomUnderSampler
from sklearn.base import clone
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeClassifier
from tree_harness import run
from xgboost import XGBClassifier

from any2onnx.errors import NotAModel

RNG = np.random.default_rng(12)
X = RNG.normal(size=(240, 4)).round(2)
Y = X[:, 0] + X[:, 1] ** 2 + RNG.normal(size=240) * 0.3
TWO = np.where(Y > 1.8, "rare", "usual")
THREE = np.digitize(Y, [0.2, 2]) + 3
FEW: dict[str, Any] = {"n_estimators": 4, "random_state": 0}

MODELS: dict[str, Any] = {
    "forest": BalancedRandomForestClassifier(**FEW),
    "forest_all": BalancedRandomForestClassifier(sampling_strategy="all", replacement=True, bootstrap=False, **FEW),
    "forest_weights": BalancedRandomForestClassifier(class_weight="balanced_subsample", max_depth=4, **FEW),
    "bagging": BalancedBaggingClassifier(**FEW),
    "bagging_features": BalancedBaggingClassifier(
        LogisticRegression(), max_features=0.5, max_samples=0.8, sampler=RandomOverSampler(random_state=0), **FEW
    ),
    "bagging_votes": BalancedBaggingClassifier(LinearSVC(), **FEW),
    "easy": EasyEnsembleClassifier(**FEW),
    "easy_trees": EasyEnsembleClassifier(estimator=DecisionTreeClassifier(max_depth=3), **FEW),
    "rus_boost": RUSBoostClassifier(**FEW),
    "rus_boost_deep": RUSBoostClassifier(DecisionTreeClassifier(max_depth=3), learning_rate=0.5, **FEW),
    "rus_boost_others": RUSBoostClassifier(LogisticRegression(), **FEW),
}


def check(model: Any, rows: Any, methods: tuple[str, ...]) -> None:
    for dtype in (np.float32, np.float64):
        narrow = rows.astype(dtype)
        for opset in (13, 21):
            proto = convert(model, narrow, methods, opset)
            for part in (narrow, narrow[:1]):
                got = run(proto, part)
                for method in methods:
                    want = np.asarray(getattr(model, method)(part.astype(np.float64)))
                    compare(f"{method} {dtype}", want, got[method], 2e-6 if dtype == np.float32 else 1e-9)
            assert len(run(proto, narrow[:0])[methods[0]]) == 0


@pytest.mark.parametrize("target", [TWO, THREE], ids=["two", "three"])
@pytest.mark.parametrize("name", MODELS)
def test_classifiers(name: str, target: Any) -> None:
    model = clone(MODELS[name]).fit(X, target)
    offered = ("predict", "predict_proba", "decision_function", "apply")
    check(model, X, tuple(m for m in offered if hasattr(model, m)))


@pytest.mark.parametrize(
    "sampler",
    [
        RandomUnderSampler(random_state=0),
        SMOTE(random_state=0, k_neighbors=3),
        FunctionSampler(func=lambda X, y: (X[::2], y[::2])),
    ],
    ids=["under", "smote", "function"],
)
def test_samplers_do_nothing(sampler: Any) -> None:
    model = make_pipeline(StandardScaler(), sampler, RandomForestClassifier(**FEW)).fit(X, TWO)
    check(model, X, ("predict", "predict_proba"))
    model = make_pipeline(sampler, StandardScaler(), XGBClassifier(n_estimators=3)).fit(X, THREE - 3)
    check(model, X, ("predict",))
    steps = [("sample", sampler), ("keep", "passthrough"), ("scale", StandardScaler()), ("model", LogisticRegression())]
    model = Pipeline(steps).fit(X, THREE)
    check(model, X, ("predict", "predict_proba", "decision_function"))


def test_a_sampler_alone_is_no_model() -> None:
    with pytest.raises(NotAModel, match="RandomUnderSampler"):
        convert(RandomUnderSampler(), X, ("predict",))
