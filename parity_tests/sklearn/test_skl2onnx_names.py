"""The names, paths and arguments that skl2onnx's users have in their code."""

from __future__ import annotations

import inspect
import pickle
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.cluster import KMeans
from sklearn.compose import ColumnTransformer
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import MinMaxScaler, OneHotEncoder, StandardScaler

import any2onnx
from any2onnx.common import data_types
from any2onnx.common.shape_calculator import (
    calculate_linear_classifier_output_shapes,
    calculate_linear_regressor_output_shapes,
)
from any2onnx.errors import (
    InvalidType,
    MalformedFile,
    NotAModel,
    OpsetNotSupported,
    RegistryError,
    UnknownOption,
    UsageError,
)
from any2onnx.helpers import collect_intermediate_steps, enumerate_pipeline_models
from any2onnx.helpers.onnx_helper import (
    enumerate_model_initializers,
    enumerate_model_node_outputs,
    load_onnx_model,
    save_onnx_model,
    select_model_inputs_outputs,
)
from any2onnx.operator_mappings import user_layer


def run(proto: onnx.ModelProto, feeds: Any) -> list[Any]:
    session = onnxruntime.InferenceSession(proto.SerializeToString())
    if not isinstance(feeds, dict):
        feeds = {session.get_inputs()[0].name: feeds}
    return session.run(None, feeds)


@pytest.fixture(scope="module")
def pipeline(iris: Any) -> Any:
    return make_pipeline(StandardScaler(), LogisticRegression()).fit(*iris)


# --- signatures -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("skl2onnx:convert_sklearn", "any2onnx:convert_sklearn"),
        ("skl2onnx:to_onnx", "any2onnx:to_onnx"),
        ("skl2onnx:wrap_as_onnx_mixin", "any2onnx:wrap_as_onnx_mixin"),
        ("skl2onnx:supported_converters", "any2onnx:supported_converters"),
        ("skl2onnx:update_registered_converter", "any2onnx:update_registered_converter"),
        ("skl2onnx:update_registered_parser", "any2onnx:update_registered_parser"),
        ("skl2onnx:get_latest_tested_opset_version", "any2onnx:get_latest_tested_opset_version"),
        ("skl2onnx:get_model_alias", "any2onnx:get_model_alias"),
        *(
            (f"skl2onnx.{path}:{name}", f"any2onnx.{path}:{name}")
            for path, name in (
                ("helpers", "collect_intermediate_steps"),
                ("helpers", "enumerate_pipeline_models"),
                ("helpers.onnx_helper", "load_onnx_model"),
                ("helpers.onnx_helper", "save_onnx_model"),
                ("helpers.onnx_helper", "select_model_inputs_outputs"),
                ("helpers.onnx_helper", "enumerate_model_node_outputs"),
                ("helpers.onnx_helper", "enumerate_model_initializers"),
                ("common.data_types", "guess_data_type"),
                ("common.data_types", "guess_numpy_type"),
                ("common.data_types", "guess_proto_type"),
                ("common.data_types", "guess_tensor_type"),
                ("common.shape_calculator", "calculate_linear_classifier_output_shapes"),
                ("common.shape_calculator", "calculate_linear_regressor_output_shapes"),
            )
        ),
        ("skl2onnx.algebra.type_helper:guess_initial_types", "any2onnx:guess_initial_types"),
    ],
)
def test_a_changed_import_line(theirs: str, ours: str) -> None:
    """Every argument of theirs is one of ours: same place, same name, same default."""
    mine, other = (_signature(path) for path in (ours, theirs))
    for (name, given), (own_name, own) in zip(other.items(), mine.items(), strict=False):
        if given.kind in (given.VAR_POSITIONAL, given.VAR_KEYWORD):
            continue
        assert (name, given.default) == (own_name, own.default)
    assert len(mine) >= len(other)


def _signature(path: str) -> Any:
    import importlib

    module, name = path.split(":")
    return inspect.signature(getattr(importlib.import_module(module), name)).parameters


def test_data_types_have_all_of_their_names() -> None:
    theirs = pytest.importorskip("skl2onnx.common.data_types")
    names = [n for n, item in vars(theirs).items() if inspect.isclass(item) and item.__module__ == theirs.__name__]
    assert sorted(set(names) - set(vars(data_types))) == []
    for name in names:
        if name.endswith("TensorType") and name != "TensorType":
            assert getattr(data_types, name)([None, 3]).shape == getattr(theirs, name)([None, 3]).shape
    assert data_types.FloatType().shape == theirs.FloatType().shape
    assert repr(data_types.DictionaryType(data_types.Int64Type(), data_types.FloatTensorType())).startswith("Dict")
    assert data_types.SequenceType(data_types.FloatTensorType([1])).element_type.shape == [1]


def test_guessed_types() -> None:
    frame = pd.DataFrame({"a": [1.5], "b": ["x"], "c": [3]})
    found = data_types.guess_data_type(frame)
    assert [(n, type(t).__name__, t.shape) for n, t in found] == [
        ("a", "DoubleTensorType", [None, 1]),
        ("b", "StringTensorType", [None, 1]),
        ("c", "Int64TensorType", [None, 1]),
    ]
    ((name, kind),) = data_types.guess_data_type(np.zeros((2, 3), np.float32))
    assert (name, repr(kind)) == ("input", "FloatTensorType(shape=[2, 3])")
    assert data_types.guess_data_type(frame["a"])[0][0] == "a"
    assert repr(data_types.guess_data_type("tensor(int64)", [1])) == "Int64TensorType(shape=[1])"
    assert any2onnx.guess_initial_types(None, [("x", 3)]) == [("x", 3)]
    assert any2onnx.guess_initial_types(np.zeros((2, 3)))[0][0] == "X"
    assert data_types.guess_numpy_type(data_types.StringTensorType()) is np.str_
    assert data_types.guess_numpy_type(data_types.DoubleTensorType()) is np.float64
    assert data_types.guess_numpy_type(str) is np.str_
    assert data_types.guess_proto_type(data_types.BooleanTensorType()) == onnx.TensorProto.BOOL
    assert data_types.guess_proto_type(data_types.StringTensorType()) == onnx.TensorProto.STRING
    assert type(data_types.guess_tensor_type(data_types.Int64TensorType())) is data_types.FloatTensorType
    assert type(data_types.guess_tensor_type(data_types.DoubleTensorType())) is data_types.DoubleTensorType
    for bad in ("tensor(foo)", object()):
        with pytest.raises((InvalidType, UsageError)):
            data_types.guess_data_type(bad)
    with pytest.raises(UsageError):
        any2onnx.guess_initial_types(None)


def test_lists() -> None:
    names = any2onnx.supported_converters()
    assert "SklearnLogisticRegression" in names
    assert names == sorted(names)
    assert "LogisticRegression" in any2onnx.supported_converters(from_sklearn=True)
    theirs = pytest.importorskip("skl2onnx")
    public = [n for n in theirs.supported_converters(from_sklearn=True) if hasattr(_everything(), n)]
    assert [n for n in public if n not in any2onnx.supported_converters(True)] == []
    assert any2onnx.get_latest_tested_opset_version() >= theirs.get_latest_tested_opset_version()


def _everything() -> Any:
    from types import SimpleNamespace

    from sklearn.utils import all_estimators

    return SimpleNamespace(**dict(all_estimators()))


class _Halves(LogisticRegression):
    def predict(self, X: Any) -> Any:
        return super().predict(X)


def test_parsers_of_registered_converters(iris: Any) -> None:
    def convert(scope: Any, operator: Any, container: Any) -> None:
        container.add_node("Identity", operator.input_full_names, operator.output_full_names, name="same")

    def parse(scope: Any, model: Any, inputs: Any, custom_parsers: Any = None) -> Any:
        operator = scope.declare_local_operator("Halves", model)
        operator.inputs += inputs
        operator.outputs.append(scope.declare_local_variable("halves", data_types.FloatTensorType([None, 4])))
        return operator.outputs

    X = iris[0].astype(np.float32)
    with pytest.raises(RegistryError, match="no registered converter"):
        any2onnx.update_registered_parser(_Halves, parse)
    try:
        any2onnx.update_registered_converter(_Halves, "Halves", None, convert)
        any2onnx.update_registered_parser(_Halves, parse)
        proto = any2onnx.to_onnx(_Halves().fit(*iris), X[:1])
    finally:
        user_layer.clear()
    assert [o.name for o in proto.graph.output] == ["halves"]
    np.testing.assert_array_equal(run(proto, X)[0], X)


class _Unchanged(StandardScaler):
    def transform(self, X: Any, copy: Any = None) -> Any:
        return X


def test_values_of_options_of_registered_converters(iris: Any) -> None:
    seen: list[Any] = []

    def convert(scope: Any, operator: Any, container: Any) -> None:
        seen.append(container.get_options(operator.raw_operator))
        container.add_node("Identity", operator.input_full_names, operator.output_full_names, name="same")

    X = iris[0].astype(np.float32)
    allowed = {"flag": [False, True], "any": None, "letter": ("r", "t"), "one": -1}
    try:
        any2onnx.update_registered_converter(_Unchanged, "Unchanged", None, convert, options=allowed)
        model = _Unchanged().fit(*iris)
        for given in ({}, {"flag": True}, {"flag": None}, {"any": 33}, {"letter": "t"}, {"one": -1}):
            any2onnx.to_onnx(model, X[:1], options={_Unchanged: given})
            assert seen[-1] == given
        for given in ({"flag": "out"}, {"letter": "G"}, {"one": 4}):
            with pytest.raises(UnknownOption, match="not possible"):
                any2onnx.to_onnx(model, X[:1], options={_Unchanged: given})
    finally:
        user_layer.clear()


def test_a_declared_output_that_is_called_as_an_input(iris: Any) -> None:
    def convert(scope: Any, operator: Any, container: Any) -> None:
        container.add_node("Identity", operator.input_full_names, operator.output_full_names, name="same")

    def parse(scope: Any, model: Any, inputs: Any, custom_parsers: Any = None) -> Any:
        operator = scope.declare_local_operator("Halves", model)
        operator.inputs += inputs
        operator.outputs.append(scope.declare_local_variable("X", data_types.FloatTensorType([None, 4])))
        return operator.outputs

    X = iris[0].astype(np.float32)
    try:
        any2onnx.update_registered_converter(_Halves, "Halves", None, convert, parser=parse)
        proto = any2onnx.to_onnx(_Halves().fit(*iris), X[:1])
    finally:
        user_layer.clear()
    (output,) = proto.graph.output
    assert output.name != "X"
    np.testing.assert_array_equal(run(proto, X)[0], X)


# --- wrap_as_onnx_mixin -----------------------------------------------------------------------------------------------


def test_wrapped_estimators(iris: Any, pipeline: Any) -> None:
    X, y = iris[0].astype(np.float32), iris[1]
    wrapped = any2onnx.wrap_as_onnx_mixin(pipeline, target_opset=18)
    assert isinstance(wrapped, type(pipeline))
    assert not hasattr(pipeline, "to_onnx")
    proto = wrapped.to_onnx(X[:1])
    assert {o.domain: o.version for o in proto.opset_import}[""] == 18
    assert wrapped.to_onnx(X[:1], target_opset=17).opset_import[0].version == 17
    assert any2onnx.to_onnx(wrapped, X[:1]).opset_import[0].version == 18
    np.testing.assert_array_equal(run(proto, X)[0], pipeline.predict(X))
    assert type(wrapped).__name__ == "OnnxPipeline"
    again = pickle.loads(pickle.dumps(wrapped))
    assert again.to_onnx(X[:1]).SerializeToString() == proto.SerializeToString()
    scaler = any2onnx.wrap_as_onnx_mixin(StandardScaler(with_mean=False)).fit(X)
    assert clone(scaler).get_params() == scaler.get_params()
    np.testing.assert_allclose(run(scaler.to_onnx(X[:1]), X)[0], scaler.transform(X), rtol=1e-5)
    assert type(any2onnx.wrap_as_onnx_mixin(scaler)) is type(scaler)
    # As a step of a pipeline too.
    whole = make_pipeline(scaler, LogisticRegression()).fit(X, y)
    np.testing.assert_array_equal(run(any2onnx.to_onnx(whole, X[:1]), X)[0], whole.predict(X))
    for bad in (3, StandardScaler):
        with pytest.raises(NotAModel):
            any2onnx.wrap_as_onnx_mixin(bad)


# --- helpers ----------------------------------------------------------------------------------------------------------


def test_enumerating_models(iris: Any) -> None:
    model = make_pipeline(
        ColumnTransformer([("a", make_pipeline(StandardScaler(), MinMaxScaler()), [0, 1]), ("b", "drop", [2])]),
        FeatureUnion([("x", StandardScaler()), ("y", "passthrough")]),
        LogisticRegression(),
    )
    for each in (model, model.fit(*iris)):
        found = {coor: (type(m).__name__, columns) for coor, m, columns in enumerate_pipeline_models(each)}
        assert found[(0,)] == ("Pipeline", None)
        assert found[(0, 0)] == ("ColumnTransformer", None)
        assert found[(0, 0, 0)] == ("Pipeline", [0, 1])
        assert found[(0, 0, 0, 1)][0] == "MinMaxScaler"
        assert found[(0, 1, 0)][0] == "StandardScaler"
        assert found[(0, 2)][0] == "LogisticRegression"
    with pytest.raises(NotAModel):
        list(enumerate_pipeline_models(3))


def test_intermediate_steps(iris: Any) -> None:
    X = iris[0].astype(np.float32)
    model = make_pipeline(StandardScaler(), MinMaxScaler(), LogisticRegression()).fit(*iris)
    steps = collect_intermediate_steps(
        model, "pipe", [("input", data_types.FloatTensorType([None, 4]))], options={"zipmap": False}
    )
    names = [type(step["model"]).__name__ for step in steps]
    assert names == ["StandardScaler", "MinMaxScaler", "LogisticRegression"]
    model.predict_proba(X)
    for step in steps[:2]:
        onnx.checker.check_model(step["onnx_step"])
        (got,) = run(step["onnx_step"], {"input": X})
        np.testing.assert_allclose(got, step["model"]._debug.outputs["transform"], rtol=1e-5, atol=1e-6)
        assert step["model_onnx"] is steps[0]["model_onnx"]
    assert steps[1]["inputs"] == steps[0]["outputs"]
    last = steps[2]
    results = dict(zip(last["outputs"], run(last["onnx_step"], {"input": X}), strict=True))
    want = last["model"]._debug.outputs["predict_proba"]
    assert any(r.shape == want.shape and np.allclose(r, want, atol=1e-6) for r in results.values())
    assert "predict_proba" in repr(last["model"]._debug)
    with pytest.raises(UsageError):
        collect_intermediate_steps(
            model, initial_types=[("x", data_types.FloatTensorType([None, 4]))], intermediate=False
        )


def test_parts_of_a_model(iris: Any, pipeline: Any) -> None:
    X = iris[0].astype(np.float32)
    proto = any2onnx.to_onnx(pipeline, X[:1], model_optim=False)
    before = proto.SerializeToString()
    names = list(enumerate_model_node_outputs(proto))
    assert set(names) >= {"label", "probabilities"}
    assert [name for name, node in enumerate_model_node_outputs(proto, add_node=True) if name in node.output] == names
    assert [t.name for _, t in enumerate_model_initializers(proto, True)] == list(enumerate_model_initializers(proto))
    for name in names:
        part = select_model_inputs_outputs(proto, outputs=[name])
        assert [o.name for o in part.graph.output] == [name]
        onnx.checker.check_model(part)
        assert len(run(part, X)) == 1
    only = select_model_inputs_outputs(proto, "probabilities")
    np.testing.assert_array_equal(run(only, X)[0], run(proto, X)[1])
    assert len(only.graph.node) < len(proto.graph.node)
    inner = next(n for n in names if n not in ("label", "probabilities"))
    rest = select_model_inputs_outputs(proto, inputs=[inner])
    value = run(select_model_inputs_outputs(proto, inner), X)[0]
    np.testing.assert_array_equal(run(rest, {inner: value})[1], run(proto, X)[1])
    assert proto.SerializeToString() == before
    with pytest.raises(UnknownOption, match="did you mean 'probabilities'"):
        select_model_inputs_outputs(proto, "probabilitys")
    with pytest.raises(UsageError, match="need X"):
        select_model_inputs_outputs(proto, outputs=names[0], inputs=["label"])


def test_parts_with_graphs_inside() -> None:
    rows = np.array([["été dog"], ["DOG"]], object)
    model = make_pipeline(CountVectorizer(), StandardScaler(with_mean=False)).fit(["été dog", "dog fox"])
    proto = any2onnx.convert_sklearn(
        model, initial_types=[("text", data_types.StringTensorType([None, 1]))], model_optim=False
    )
    for name in enumerate_model_node_outputs(proto):
        run(select_model_inputs_outputs(proto, name), {"text": rows})


def test_loading_and_saving(tmp_path: Any, iris: Any, pipeline: Any) -> None:
    proto = any2onnx.to_onnx(pipeline, iris[0][:1])
    content = save_onnx_model(proto)
    path = tmp_path / "model.onnx"
    assert save_onnx_model(proto, str(path)) == content
    with path.open("rb") as stream:
        models = [load_onnx_model(content), load_onnx_model(str(path)), load_onnx_model(path), load_onnx_model(stream)]
    assert all(m.SerializeToString() == content for m in models)
    with (tmp_path / "other.onnx").open("wb") as stream:
        save_onnx_model(proto, stream)
    assert (tmp_path / "other.onnx").read_bytes() == content
    for bad in (b"", b"no model at all"):
        with pytest.raises(MalformedFile):
            load_onnx_model(bad)


class _Thing:
    def __init__(self, **fields: Any) -> None:
        self.__dict__.update(fields)


def test_shape_calculators_for_users() -> None:
    outputs = [_Thing(type=None), _Thing(type=None)]
    source = _Thing(classes_=np.array(["a", "b"]))
    inputs = [_Thing(type=data_types.DoubleTensorType([None, 4]))]
    calculate_linear_classifier_output_shapes(_Thing(inputs=inputs, outputs=outputs, raw_operator=source))
    assert repr(outputs[0].type) == "StringTensorType(shape=[None])"
    assert repr(outputs[1].type) == "DoubleTensorType(shape=[None, 2])"
    calculate_linear_regressor_output_shapes(_Thing(inputs=inputs, outputs=outputs[:1], raw_operator=_Thing()))
    assert repr(outputs[0].type) == "DoubleTensorType(shape=[None, 1])"


# --- text, options ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", [None, 20, 21, {"": 21, "com.microsoft": 1}], ids=str)
def test_text_converts_with_default_arguments(target: Any) -> None:
    texts = ["Ça va, der Hund", "the dog and the fox", "fox!"]
    model = make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(texts, [0, 1, 1])
    proto = any2onnx.convert_sklearn(
        model, initial_types=[("text", data_types.StringTensorType([None, 1]))], target_opset=target
    )
    assert {o.domain for o in proto.opset_import} >= {"", "com.microsoft"}
    label, probabilities = run(proto, {"text": np.array(texts, object).reshape(-1, 1)})
    np.testing.assert_array_equal(label, model.predict(texts))
    np.testing.assert_allclose(probabilities, model.predict_proba(texts), rtol=1e-6)


def test_domains_that_the_user_names_are_all(iris: Any) -> None:
    model = CountVectorizer().fit(["a text"])
    with pytest.raises(OpsetNotSupported, match=r"com\.microsoft"):
        any2onnx.convert_sklearn(
            model, initial_types=[("text", data_types.StringTensorType([None, 1]))], target_opset={"": 21}
        )
    proto = any2onnx.to_onnx(LogisticRegression().fit(*iris), iris[0][:1])
    assert "com.microsoft" not in {o.domain for o in proto.opset_import}


def test_options_of_absent_estimators(iris: Any) -> None:
    X, y = iris
    model = LogisticRegression().fit(X, y)
    options = {OneHotEncoder: {}, KMeans: {"precision": "float64"}, LogisticRegression: {"zipmap": False}}
    assert len(any2onnx.to_onnx(model, X[:1], options=options).graph.output) == 2
    with pytest.raises(UnknownOption, match=r"KMeans has no option 'precison'.*did you mean 'precision'"):
        any2onnx.to_onnx(model, X[:1], options={KMeans: {"precison": "float64"}})
    for unknown in ({int: {"zipmap": False}}, {id(StandardScaler()): {"zipmap": False}}, {"step__zipmap": False}):
        with pytest.raises(UnknownOption, match="fit nothing"):
            any2onnx.to_onnx(model, X[:1], options=unknown)
