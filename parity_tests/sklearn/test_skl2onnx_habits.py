"""What calls written for skl2onnx rely on: options, several targets, columns left out, its own estimators."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.feature_selection import RFE
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.multioutput import MultiOutputClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeClassifier

from any2onnx import convert_sklearn, to_onnx, update_registered_converter
from any2onnx.common.data_types import FloatTensorType, SequenceType, StringTensorType
from any2onnx.errors import UnknownOption, UsageError
from any2onnx.operator_mappings import user_layer
from any2onnx.parity import check_parity

X, Y = load_iris(return_X_y=True)
X = X.astype(np.float32)
NAMES = np.array(["a", "b", "c"])
TWO = np.stack([Y, 2 - Y], axis=1)


def results(proto: onnx.ModelProto, **feeds: Any) -> dict[str, Any]:
    session = onnxruntime.InferenceSession(proto.SerializeToString())
    given = feeds or {session.get_inputs()[0].name: X}
    return dict(zip([o.name for o in session.get_outputs()], session.run(None, given), strict=True))


@pytest.mark.parametrize("targets", [TWO, NAMES[TWO], np.stack([Y, Y > 0], axis=1).astype(int)], ids=["", "text", "2"])
@pytest.mark.parametrize(
    "model", [MultiOutputClassifier(LogisticRegression()), RandomForestClassifier(4), KNeighborsClassifier()]
)
def test_several_targets_are_one_output(model: Any, targets: Any) -> None:
    model.fit(X, targets)
    proto = to_onnx(model, X[:1], options={type(model): {"output_class_labels": True}})
    found = results(proto)
    assert list(found) == ["label", "probabilities", "class_labels"]
    assert (found["label"] == model.predict(X)).all()
    want = model.predict_proba(X)
    stacked = not isinstance(model, MultiOutputClassifier) and len({part.shape for part in want}) == 1
    assert isinstance(found["probabilities"], np.ndarray) == stacked
    for got, part in zip(found["probabilities"], want, strict=True):
        np.testing.assert_allclose(got, part, atol=1e-5)
    for got, classes in zip(found["class_labels"], model.classes_, strict=True):
        assert got.tolist() == classes.tolist()
    check_parity(model, to_onnx(model, X[:1]), X, suites="smoke").raise_if_failed()
    separate = to_onnx(model, X[:1], outputs=("predict_proba",))
    assert list(results(separate)) == ["predict_proba_0", "predict_proba_1"]


def test_options_of_several_targets() -> None:
    model = MultiOutputClassifier(LogisticRegression()).fit(X, NAMES[TWO])
    index = results(to_onnx(model, X[:1], options={"nocl": True}))["label"]
    assert (NAMES[index] == model.predict(X)).all()
    with pytest.raises(UsageError, match="several"):
        to_onnx(model, X[:1], options={"zipmap": "columns"})
    with pytest.warns(UserWarning, match="no effect"):
        assert list(results(to_onnx(model, X[:1], options={"zipmap": True}))) == ["label", "probabilities"]
    types = [("l", None), ("p", SequenceType(FloatTensorType()))]
    assert list(results(to_onnx(model, X[:1], final_types=types))) == ["l", "p"]


@pytest.mark.parametrize("model", [DecisionTreeClassifier(max_depth=3), RandomForestClassifier(3, max_depth=3)])
def test_decision_paths_are_text(model: Any) -> None:
    model.fit(X, Y)
    found = results(to_onnx(model, X[:1], options={type(model): {"decision_path": True, "decision_leaf": True}}))
    assert list(found) == ["label", "probabilities", "decision_path", "decision_leaf"]
    path = model.decision_path(X)
    flags = (path[0] if isinstance(path, tuple) else path).toarray()
    assert ["".join(row) for row in found["decision_path"]] == ["".join(map(str, row)) for row in flags]
    assert (found["decision_leaf"] == model.apply(X).reshape(len(X), -1)).all()


def test_labels_as_positions_leave_no_names() -> None:
    model = LogisticRegression().fit(X, NAMES[Y])
    proto = to_onnx(model, X[:1], options={"nocl": True, "zipmap": False})
    assert (NAMES[results(proto)["label"]] == model.predict(X)).all()
    assert not any(tensor.data_type == onnx.TensorProto.STRING for tensor in proto.graph.initializer)


@pytest.mark.parametrize("model", [LinearSVC(), RidgeClassifier()])
def test_binary_decisions_of_linear_models(model: Any) -> None:
    model.fit(X, Y > 0)
    want = model.decision_function(X)
    assert np.allclose(results(to_onnx(model, X[:1]))["probabilities"], want[:, None], atol=1e-5)
    raw = results(to_onnx(model, X[:1], options={"raw_scores": True}))["probabilities"]
    assert np.allclose(raw, np.stack([-want, want], axis=1), atol=1e-5)


def test_a_selection_transforms_unless_asked_to_predict() -> None:
    model = RFE(LogisticRegression(), n_features_to_select=2).fit(X, Y)
    assert (results(to_onnx(model, X[:1]))["variable"] == model.transform(X)).all()
    assert (results(to_onnx(model, X[:1], outputs=("predict",)))["predict"] == model.predict(X)).all()


def test_columns_that_nothing_reads_may_be_left_out() -> None:
    frame = pd.DataFrame({"a": X[:, 0], "b": NAMES[Y], "c": X[:, 1], "d": "x"})
    columns = ColumnTransformer([("c", StandardScaler(), ["c"]), ("b", OneHotEncoder(), ["b"])])
    model = make_pipeline(columns, LogisticRegression()).fit(frame, Y)
    types = [("b", StringTensorType([None, 1])), ("c", FloatTensorType([None, 1]))]
    feeds = {"b": frame[["b"]].to_numpy(object), "c": frame[["c"]].to_numpy()}
    assert (results(convert_sklearn(model, initial_types=types), **feeds)["label"] == model.predict(frame)).all()
    with pytest.raises(RuntimeError, match="4 columns"):
        convert_sklearn(model, initial_types=types[1:])


def test_options_that_say_how_skl2onnx_computes() -> None:
    scaler = StandardScaler().fit(X)
    for how in ("std", "div", "div_cast"):
        assert np.allclose(
            results(to_onnx(scaler, X[:1], options={StandardScaler: {"div": how}}))["variable"].mean(), 0
        )
    to_onnx(KNeighborsClassifier().fit(X, Y), X[:1], options={KNeighborsClassifier: {"optim": "cdist"}})
    assert list(results(to_onnx(scaler, X[:1], options={"zipmap": False}))) == ["variable"]
    with pytest.raises(UnknownOption, match="optim='gpu'"):
        to_onnx(KNeighborsClassifier().fit(X, Y), X[:1], options={KNeighborsClassifier: {"optim": "gpu"}})


def test_text_is_split_as_the_options_say() -> None:
    texts = np.array(["one two-three", "two three", "o-n"], object)
    split = CountVectorizer(tokenizer=str.split, token_pattern=None).fit(texts)
    for options in ({"separators": [" "]}, {"tokenexp": "[^ ]+"}):
        proto = convert_sklearn(
            split, initial_types=[("X", StringTensorType())], options={CountVectorizer: options}, target_opset=21
        )
        assert (results(proto, X=texts)["variable"] == split.transform(texts).toarray()).all()
    model = TfidfVectorizer().fit(texts)
    types = [("X", StringTensorType([None]))]
    found = results(convert_sklearn(model, initial_types=types, options={TfidfVectorizer: {"nan": True}}), X=texts)
    assert (np.isnan(found["variable"]) == (model.transform(texts).toarray() == 0)).all()


class Doubler(TransformerMixin, BaseEstimator):
    """Learns nothing."""

    def fit(self, X: Any, y: Any = None) -> Doubler:
        return self

    def transform(self, X: Any) -> Any:
        return X * 2


def test_a_converter_for_float32_inside_a_pipeline() -> None:
    def shapes(operator: Any) -> None:
        operator.outputs[0].type = FloatTensorType([None, operator.inputs[0].type.shape[1]])

    def convert(scope: Any, operator: Any, container: Any) -> None:
        name = scope.get_unique_variable_name("two")
        container.add_initializer(name, onnx.TensorProto.FLOAT, [1], [2.0])
        container.add_node("Mul", [operator.inputs[0].full_name, name], operator.outputs[0].full_name)

    try:
        update_registered_converter(Doubler, "Doubler", shapes, convert)
        model = make_pipeline(StandardScaler(), Doubler(), LogisticRegression()).fit(X, Y)
        assert np.allclose(results(to_onnx(model, X[:1]))["probabilities"], model.predict_proba(X), atol=1e-5)
    finally:
        user_layer.clear()


def test_estimators_of_skl2onnx() -> None:
    sklapi = pytest.importorskip("skl2onnx.sklapi")
    cast = make_pipeline(sklapi.CastTransformer(dtype=np.float64), StandardScaler(), sklapi.CastTransformer())
    assert np.allclose(results(to_onnx(cast.fit(X), X[:1]))["variable"], cast.transform(X), atol=1e-6)
    replace = sklapi.ReplaceTransformer(from_value=0.2, to_value=np.nan).fit(X)
    np.testing.assert_array_equal(results(to_onnx(replace, X[:1]))["variable"], replace.transform(X))
    intervals = [[(4.0, 5.1, False, True), (5.1, 9.0, False, False)], "passthrough", [(1.0, 2.0, True, True)]]
    for onehot in (True, False):
        model = sklapi.WOETransformer(intervals=intervals, weights=[[1.5, -2.0], [], [0.5]], onehot=onehot).fit(X)
        np.testing.assert_array_equal(results(to_onnx(model, X[:1]))["variable"], model.transform(X))
    regressor = sklapi.CastRegressor(LogisticRegression(), dtype=np.float64).fit(X, Y)
    assert results(to_onnx(regressor, X[:1], outputs=("predict",)))["predict"].dtype == np.float64
    texts = np.array(["one two two", "two one", "three"], object)
    traced = sklapi.TraceableTfidfVectorizer(ngram_range=(1, 2)).fit(texts)
    types = [("X", StringTensorType([None]))]
    found = results(convert_sklearn(traced, initial_types=types), X=texts)["variable"]
    np.testing.assert_allclose(found, traced.transform(texts).toarray(), atol=1e-6)


def test_class_labels_of_targets_without_a_list_of_classes() -> None:
    """The members know their classes where the whole has lost its list."""
    targets = np.column_stack([Y, Y == 1])
    model = MultiOutputClassifier(LogisticRegression(max_iter=500)).fit(X, targets)
    del model.classes_
    options = {"zipmap": False, "output_class_labels": True}
    found = results(to_onnx(model, X[:1], options=options))
    for member, labels in zip(model.estimators_, found["class_labels"], strict=True):
        np.testing.assert_array_equal(labels, member.classes_)
