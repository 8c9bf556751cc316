"""The table of the trees: every constructor parameter is accounted for, what cannot be honoured is refused."""

from __future__ import annotations

import importlib
import inspect
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.ensemble import GradientBoostingClassifier, GradientBoostingRegressor, RandomForestClassifier
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor
from tree_harness import ROW_OF, check, convert, run

from any2onnx.converters.sklearn.context import class_key
from any2onnx.converters.sklearn.support import class_array
from any2onnx.errors import InvalidType, UnknownOption, UnsupportedParameter

RNG = np.random.default_rng(3)
X = RNG.normal(size=(80, 3))
Y = X[:, 0] > 0


@pytest.mark.parametrize("key", ROW_OF)
def test_every_constructor_parameter_is_accounted_for(key: str) -> None:
    module, _, name = key.rpartition(".")
    cls = getattr(importlib.import_module(module), name)
    row = ROW_OF[key]
    assert row.honours | row.irrelevant == set(inspect.signature(cls).parameters)
    assert class_key(cls) == key
    for case in row.cases:
        cls(**case.arguments)
    missing = [m for m in row.methods if not hasattr(cls, m)]
    assert not missing


@pytest.mark.parametrize("opset", [13, 18, 21])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_dummies_that_start_a_boosting(dtype: Any, opset: int) -> None:
    rows = X.astype(dtype)
    for start in (DummyClassifier(strategy="most_frequent"), DummyClassifier(strategy="prior")):
        check(GradientBoostingClassifier(n_estimators=3, init=start).fit(rows, Y), rows, opset)
    start = DummyRegressor(strategy="median")
    check(GradientBoostingRegressor(n_estimators=3, init=start).fit(rows, X[:, 0]), rows, opset)


@pytest.mark.parametrize("strategy", ["uniform", "stratified"])
def test_a_random_start_is_refused(strategy: str) -> None:
    model = GradientBoostingClassifier(n_estimators=3, init=DummyClassifier(strategy=strategy)).fit(X, Y)
    with pytest.raises(UnsupportedParameter, match="at random"):
        convert(model, X)


def test_options() -> None:
    model = RandomForestClassifier(3).fit(X, Y)
    with pytest.raises(UnknownOption, match="precison"):
        convert(model, X, options={"precison": "float32"})
    with pytest.raises(UnknownOption, match="float16"):
        convert(model, X, options={"precision": "float16"})
    for opset in (13, 18, 21):
        for precision in ("auto", "float32", "float64"):
            answer = run(convert(model, X, opset=opset, options={"precision": precision}), X)
            assert np.abs(answer["predict_proba"] - model.predict_proba(X)).max() < 1e-6
            assert np.array_equal(answer["predict"], model.predict(X))


def test_columns_of_several_types() -> None:
    frame = pd.DataFrame({"a": X[:, 0].astype(np.float32), "b": np.arange(80), "c": Y})
    model = DecisionTreeRegressor(max_depth=4).fit(frame, X[:, 1])
    columns = [frame[[c]].to_numpy() for c in frame]
    answer = run(convert(model, columns, columns=True), *columns)
    assert np.abs(answer["predict"] - model.predict(frame)).max() < 1e-6
    assert answer["predict"].dtype == np.float32
    with pytest.raises(InvalidType, match="is text"):
        convert(model, [np.array([["a"]], object), *columns[1:]], columns=True)


def test_class_labels() -> None:
    assert class_array(np.array([1, 2], np.int32)).dtype == np.int64
    assert class_array(np.array([True, False], object)).dtype == np.bool_
    assert class_array(np.array(["a", "b"])).dtype == object
    assert class_array(np.array([3, 1], object)).tolist() == [3, 1]
    assert class_array(np.array([0.5, 1], object)).dtype == np.float64
    assert class_array(np.array([1.0, 2.0])).dtype == np.float64
    with pytest.raises(UnsupportedParameter, match="several types"):
        class_array(np.array(["a", 1], object))
    with pytest.raises(UnsupportedParameter, match="class labels of type"):
        class_array(np.array(["2020-01-01"], "datetime64[D]"))


def test_labels_as_objects() -> None:
    for labels in (np.where(Y, "ja", "nein").astype(object), Y.astype(object), (Y * 3).astype(object)):
        model = DecisionTreeClassifier().fit(X, labels.tolist())
        assert run(convert(model, X), X)["predict"].tolist() == model.predict(X).tolist()
