"""Inputs, outputs, names, options and refusals of the scikit-learn front-end."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import onnx
import pandas as pd
import polars as pl
import pytest
from sklearn.base import BaseEstimator, RegressorMixin, TransformerMixin
from sklearn.cluster import KMeans
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression, SGDClassifier
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler

from any2onnx.converters.sklearn.walk import OUTPUTS_KEY, build_sklearn, types_from_sample
from any2onnx.data_types import (
    DoubleTensorType,
    FloatTensorType,
    Int64TensorType,
    StringTensorType,
)
from any2onnx.errors import (
    InvalidType,
    NotAModel,
    NotFitted,
    UnknownOption,
    UnsupportedOperator,
    UnsupportedParameter,
    UsageError,
)
from any2onnx.graph.opsets import Opsets
from any2onnx.operator_mappings.user_layer import current_registry


def outputs_of(proto: onnx.ModelProto) -> list[str]:
    return [o.name for o in proto.graph.output]


def methods_of(proto: onnx.ModelProto) -> list[str]:
    return json.loads({p.key: p.value for p in proto.metadata_props}[OUTPUTS_KEY])


def shape_of(value: onnx.ValueInfoProto) -> list[Any]:
    return [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]


# --- inputs -----------------------------------------------------------------------------------------------------------


def test_matrix_input_takes_its_width_from_the_model(convert: Any, iris: Any) -> None:
    model = LinearRegression().fit(*iris)
    for shape in (None, [], [None, None], [None, 4]):
        proto = convert(model, initial_types=[("x", FloatTensorType(shape))])
        assert shape_of(proto.graph.input[0]) == ["batch", 4]
    assert shape_of(convert(model, initial_types=[("x", FloatTensorType([3, 4]))]).graph.input[0]) == [3, 4]
    with pytest.raises(InvalidType, match="have 5 columns, the model was fitted with 4"):
        convert(model, initial_types=[("x", FloatTensorType([None, 5]))])


def test_types_of_other_packages(convert: Any, run: Any, iris: Any) -> None:
    types = pytest.importorskip("skl2onnx.common.data_types")
    X = iris[0].astype(np.float32)
    model = LinearRegression().fit(*iris)
    got = run(convert(model, initial_types=[("float_input", types.FloatTensorType([None, 4]))]), X)[0]
    np.testing.assert_allclose(got[:, 0], model.predict(X), rtol=1e-5, atol=1e-6)


def test_groups_of_columns(convert: Any, iris: Any) -> None:
    import onnxruntime

    X, y = iris
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(X, y)
    proto = convert(model, initial_types=[("a", DoubleTensorType([None, 1])), ("b", DoubleTensorType([None, 3]))])
    session = onnxruntime.InferenceSession(proto.SerializeToString())
    label, probabilities = session.run(None, {"a": X[:, :1], "b": X[:, 1:]})
    np.testing.assert_array_equal(label, model.predict(X))
    np.testing.assert_allclose(probabilities, model.predict_proba(X), rtol=1e-12)


def test_frame_columns_by_name_in_any_order(convert: Any, run: Any, frame: Any) -> None:
    model = Pipeline(
        [
            ("columns", ColumnTransformer([("n", SimpleImputer(), ["fare", "age"]), ("c", OneHotEncoder(), ["sex"])])),
            ("model", LinearRegression()),
        ]
    ).fit(frame, frame["sibs"])
    shuffled = frame[["sex", "age", "port", "sibs", "fare"]]
    proto = convert(model, shuffled)
    assert [i.name for i in proto.graph.input] == ["sex", "age", "port", "sibs", "fare"]
    np.testing.assert_allclose(run(proto, shuffled)[0][:, 0], model.predict(frame), rtol=1e-9)
    with pytest.raises(InvalidType, match="fitted with columns that no input has: sex"):
        convert(model, frame.drop(columns="sex"))


def test_columns_called_like_an_output(convert: Any, run: Any, iris: Any) -> None:
    X, y = iris
    data = pd.DataFrame(X, columns=["label", "probabilities", "predict", "a/b c"])
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(data, y)
    proto = convert(model, data)
    assert outputs_of(proto) == ["label_output", "probabilities_output"]
    np.testing.assert_array_equal(run(proto, data)[0], model.predict(data))
    assert outputs_of(convert(model, data, outputs=("predict",))) == ["predict_output"]
    assert list(run(convert(model, data, options={"zipmap": True}), data)[1][0]) == [0, 1, 2]


def test_types_from_sample() -> None:
    def kinds(X: Any) -> list[tuple[str, str, Any]]:
        return [(name, type(t).__name__, t.shape) for name, t in types_from_sample(X)]

    assert kinds(np.zeros((2, 3), np.float32)) == [("X", "FloatTensorType", [None, 3])]
    assert kinds([[1.0, 2.0]]) == [("X", "DoubleTensorType", [None, 2])]
    assert kinds(["a", "b"]) == [("X", "StringTensorType", [None])]
    assert kinds([["a", None]]) == [("X", "StringTensorType", [None, 2])]
    assert [k[1] for k in kinds([["a", 1.5], ["b", 2]])] == ["StringTensorType", "DoubleTensorType"]
    columns = {"f": [1.5, 2.0], "i": [1, 2], "b": [True, False], "s": ["x", None], "o": [None, 3]}
    expected = ["DoubleTensorType", "Int64TensorType", "BooleanTensorType", "StringTensorType", "DoubleTensorType"]
    assert [k[1] for k in kinds(pl.DataFrame(columns))] == expected
    assert [k[1] for k in kinds(pd.DataFrame(columns))] == expected
    assert [k[1] for k in kinds(pl.DataFrame(columns).to_arrow())] == expected if _has_arrow() else True
    categorical = pd.DataFrame({"c": pd.Categorical(["u", "v"]), "d": pd.Categorical([3, 4])})
    assert [k[1] for k in kinds(categorical)] == ["StringTensorType", "Int64TensorType"]
    assert kinds(pd.Series(["a"], name="text")) == [("text", "StringTensorType", [None])]
    with pytest.raises(InvalidType, match="when"):
        types_from_sample(pd.DataFrame({"when": pd.to_datetime(["2020-01-01"])}))
    with pytest.raises(UsageError):
        types_from_sample("text")
    with pytest.raises(UsageError):
        types_from_sample(np.float64(3))


def _has_arrow() -> bool:
    import importlib.util

    return importlib.util.find_spec("pyarrow") is not None


def test_polars_frame(convert: Any, frame: Any) -> None:
    import onnxruntime

    model = make_pipeline(
        ColumnTransformer([("n", StandardScaler(), ["fare"]), ("c", OrdinalEncoder(), ["port"])]), LinearRegression()
    )
    model.fit(frame, frame["sibs"])
    sample = pl.DataFrame({name: frame[name].to_numpy() for name in frame.columns})
    session = onnxruntime.InferenceSession(convert(model, sample).SerializeToString())
    feeds = {name: frame[name].to_numpy().reshape(-1, 1) for name in frame.columns}
    feeds = {k: v.astype(object) if v.dtype.kind in "OUT" else v for k, v in feeds.items()}
    np.testing.assert_allclose(session.run(None, feeds)[0][:, 0], model.predict(frame), rtol=1e-9)


@pytest.mark.parametrize(
    ("types", "expected"),
    [
        ([FloatTensorType], onnx.TensorProto.FLOAT),
        ([DoubleTensorType], onnx.TensorProto.DOUBLE),
        ([Int64TensorType], onnx.TensorProto.DOUBLE),
    ],
)
def test_result_type_follows_the_inputs(convert: Any, iris: Any, types: Any, expected: int) -> None:
    model = LinearRegression().fit(*iris)
    proto = convert(model, initial_types=[("x", types[0]([None, 4]))])
    assert proto.graph.output[0].type.tensor_type.elem_type == expected


def test_integers_beside_float32_stay_exact(run: Any, convert: Any) -> None:
    import onnxruntime

    # 2^30 + small: float32 cannot hold it, the scaler subtracts in float64.
    stamps = 2**30 + np.arange(20)
    frame = pd.DataFrame({"stamp": stamps, "x": np.linspace(0, 1, 20).astype(np.float32)})
    model = StandardScaler().fit(frame)
    session = onnxruntime.InferenceSession(convert(model, frame).SerializeToString())
    got = session.run(None, {"stamp": stamps.reshape(-1, 1), "x": frame[["x"]].to_numpy()})[0]
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, model.transform(frame), rtol=2e-6, atol=1e-6)


@pytest.mark.parametrize(
    "bad",
    [None, [], [("x",)], [FloatTensorType([None, 4])], [(1, FloatTensorType([None, 4]))]],
)
def test_wrong_initial_types(iris: Any, bad: Any) -> None:
    model = LinearRegression().fit(*iris)
    with pytest.raises(UsageError):
        build_sklearn(model, initial_types=bad, opsets=Opsets.of(), registry=current_registry())
    with pytest.raises(InvalidType):
        build_sklearn(model, initial_types=[("x", 3)], opsets=Opsets.of(), registry=current_registry())


def test_text_where_numbers_are_needed(convert: Any, iris: Any) -> None:
    with pytest.raises(InvalidType, match="holds text"):
        convert(LinearRegression().fit(*iris), initial_types=[("x", StringTensorType([None, 4]))])


# --- outputs ----------------------------------------------------------------------------------------------------------


def test_default_outputs(convert: Any, run: Any, iris: Any) -> None:
    X, y = iris
    expected: list[tuple[Any, list[str], list[str], list[tuple[int, ...]]]] = [
        (LinearRegression(), ["variable"], ["predict"], [(150, 1)]),
        (LogisticRegression(), ["label", "probabilities"], ["predict", "predict_proba"], [(150,), (150, 3)]),
        (SGDClassifier(), ["label", "probabilities"], ["predict", "decision_function"], [(150,), (150, 3)]),
        (StandardScaler(), ["variable"], ["transform"], [(150, 4)]),
    ]
    for model, names, methods, shapes in expected:
        proto = convert(model.fit(X, y), X)
        assert outputs_of(proto) == names
        assert methods_of(proto) == methods
        assert [v.shape for v in run(proto, X)] == shapes
    binary = SGDClassifier().fit(X, y == 1)
    label, scores = run(convert(binary, X), X)
    assert label.dtype == np.bool_
    np.testing.assert_allclose(scores, np.stack([-binary.decision_function(X), binary.decision_function(X)], 1))


def test_outputs_by_method(convert: Any, run: Any, iris: Any) -> None:
    X, y = iris
    model = LogisticRegression().fit(X, y > 0)
    proto = convert(model, X, outputs=("decision_function", "predict"))
    assert outputs_of(proto) == methods_of(proto) == ["decision_function", "predict"]
    score, label = run(proto, X)
    assert score.shape == label.shape == (150,)
    assert run(convert(LinearRegression().fit(X, y), X, outputs=["predict"]), X)[0].shape == (150,)
    with pytest.raises(UnknownOption, match="did you mean 'predict_proba'"):
        convert(model, X, outputs=("predict_prob",))
    with pytest.raises(UnknownOption, match="offers no 'predict_proba'"):
        convert(SGDClassifier().fit(X, y), X, outputs=("predict_proba",))
    with pytest.raises(UsageError, match="each method once"):
        convert(model, X, outputs=("predict", "predict"))
    with pytest.raises(UsageError):
        convert(model, X, outputs=())


def test_zipmap(convert: Any, run: Any, iris: Any) -> None:
    X, y = iris
    for dtype in (np.float32, np.float64):
        rows = X.astype(dtype)
        model = make_pipeline(StandardScaler(), LogisticRegression()).fit(X, np.array(["a", "b", "c"])[y])
        plain = run(convert(model, rows), rows)[1]
        for options in ({id(model): {"zipmap": True}}, {LogisticRegression: {"zipmap": True}}, {"zipmap": True}):
            proto = convert(model, rows, options=options)
            assert outputs_of(proto) == ["output_label", "output_probability"]
            label, maps = run(proto, rows)
            assert label.tolist() == model.predict(X).tolist()
            assert list(maps[0]) == ["a", "b", "c"]
            np.testing.assert_allclose([list(m.values()) for m in maps], plain, rtol=1e-6)
        columns = convert(model, rows, options={"logisticregression__zipmap": "columns"})
        assert outputs_of(columns) == ["output_label", "sa", "sb", "sc"]
        np.testing.assert_array_equal(np.stack(run(columns, rows)[1:], axis=1), plain)
    scores = SGDClassifier(random_state=0).fit(X, y)
    assert list(run(convert(scores, X, options={"zipmap": True}), X)[1][0]) == [0, 1, 2]
    model = LogisticRegression().fit(X, y)
    assert outputs_of(convert(model, X, options={"zipmap": "columns"})) == ["output_label", "i0", "i1", "i2"]
    assert list(run(convert(model, X, options={"zipmap": True}), X)[1][0]) == [0, 1, 2]
    with pytest.raises(UsageError, match="exclude each other"):
        convert(model, X, options={"zipmap": True, "output_class_labels": True})


def test_label_options(convert: Any, run: Any, iris: Any) -> None:
    X, y = iris
    for classes in (np.array(["u", "v", "w"]), np.array([5, 10, 20])):
        model = LogisticRegression().fit(X, classes[y])
        label, _ = run(convert(model, X, options={id(model): {"nocl": True}}), X)
        np.testing.assert_array_equal(label, np.searchsorted(classes, model.predict(X)))
        proto = convert(model, X, options={id(model): {"output_class_labels": True}})
        assert outputs_of(proto) == ["label", "probabilities", "class_labels"]
        assert run(proto, X)[2].tolist() == classes.tolist()


def test_raw_scores(convert: Any, run: Any, iris: Any) -> None:
    X, y = iris
    model = LogisticRegression().fit(X, y)
    scores = run(convert(model, X, options={LogisticRegression: {"raw_scores": True}}), X)[1]
    np.testing.assert_allclose(scores, model.decision_function(X), rtol=1e-10)


def test_options_that_fit_nothing(convert: Any, iris: Any) -> None:
    model = LogisticRegression().fit(*iris)
    with pytest.raises(UnknownOption, match="did you mean 'zipmap'"):
        convert(model, iris[0], options={LogisticRegression: {"zipmapp": False}})
    with pytest.raises(UnknownOption, match="zipmap='yes'"):
        convert(model, iris[0], options={LogisticRegression: {"zipmap": "yes"}})
    with pytest.raises(UnknownOption, match="fit nothing"):
        convert(model, iris[0], options={int: {"precision": "float32"}})
    convert(model, iris[0], options={KMeans: {"precision": "float32"}})
    with pytest.raises(UnknownOption, match="fit nothing"):
        convert(model, iris[0], options={"scaler__precision": "float32"})


def test_precision_option(convert: Any, iris: Any) -> None:
    X = iris[0].astype(np.float32)
    model = make_pipeline(StandardScaler(), LinearRegression()).fit(*iris)
    types = {t.data_type for t in convert(model, X).graph.initializer}
    assert onnx.TensorProto.DOUBLE in types
    types = {t.data_type for t in convert(model, X, options={"precision": "float32"}).graph.initializer}
    assert onnx.TensorProto.DOUBLE not in types
    # Handed down from the pipeline to its steps.
    types = {t.data_type for t in convert(model, X, options={id(model): {"precision": "float32"}}).graph.initializer}
    assert onnx.TensorProto.DOUBLE not in types


def test_final_types_and_naming(convert: Any, run: Any, iris: Any) -> None:
    X, y = iris
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(X, y)
    proto = convert(model, X, final_types=[("answer", None), ("p", FloatTensorType([None, 3]))])
    assert outputs_of(proto) == ["answer", "p"]
    assert run(proto, X)[1].dtype == np.float32
    with pytest.raises(UsageError, match="names 1 outputs"):
        convert(model, X, final_types=[("answer", None)])
    prefixed = convert(model, X, naming="abc_")
    assert all(node.name.startswith("abc_") for node in prefixed.graph.node)
    assert outputs_of(prefixed) == ["label", "probabilities"]
    seen: list[str] = []

    def naming(name: str, taken: set[str]) -> str:
        seen.append(name)
        return f"n{len(seen)}"

    renamed = convert(model, X, naming=naming)
    assert seen
    np.testing.assert_array_equal(run(renamed, X)[0], model.predict(X))
    assert convert(model, X, name="mine").graph.name == "mine"


# --- refusals ---------------------------------------------------------------------------------------------------------


class Unknown(TransformerMixin, BaseEstimator):
    def fit(self, X: Any, y: Any = None) -> Unknown:
        self.n_features_in_ = X.shape[1]
        return self

    def transform(self, X: Any) -> Any:
        return X


class AlsoUnknown(Unknown):
    pass


def test_all_unsupported_in_one_error(convert: Any, iris: Any) -> None:
    X, y = iris
    model = make_pipeline(
        FeatureUnion([("a", Unknown()), ("b", make_pipeline(StandardScaler(), AlsoUnknown()))]), LinearRegression()
    ).fit(X, y)
    with pytest.raises(UnsupportedOperator) as caught:
        convert(model, X)
    text = str(caught.value)
    assert "Unknown" in text
    assert "AlsoUnknown" in text
    assert "featureunion/a" in text
    with pytest.raises(UnsupportedOperator, match="Unknown"):
        convert(Unknown().fit(X), X)


class TrainsOtherwise(LinearRegression):
    """Changes training only, so that its fitted attributes mean what the base class's do."""

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> TrainsOtherwise:
        super().fit(X, y, sample_weight)
        self.coef_ = self.coef_ * 0.5
        return self


class PredictsOtherwise(LinearRegression):
    def predict(self, X: Any) -> Any:
        return super().predict(X) + 1


class HidesCoefficients(LinearRegression):
    @property
    def helper(self) -> int:
        return 3


class HasMoreParameters(LinearRegression):
    def __init__(self, shift: float = 0.0) -> None:
        super().__init__()
        self.shift = shift


def test_subclasses(compare: Any, convert: Any, iris: Any) -> None:
    X, y = iris
    compare(TrainsOtherwise().fit(X, y), X, ("predict",))
    for model in (PredictsOtherwise(), HidesCoefficients()):
        with pytest.raises(UnsupportedOperator, match=type(model).__name__):
            convert(model.fit(X, y), X)
    compare(HasMoreParameters().fit(X, y), X, ("predict",))
    with pytest.raises(UnsupportedParameter, match=r"shift=2\.0"):
        convert(HasMoreParameters(2.0).fit(X, y), X)


class Mine(RegressorMixin, BaseEstimator):
    pass


def test_what_is_no_model(convert: Any, iris: Any) -> None:
    X, y = iris
    for bad in (3, "model", {}, object()):
        with pytest.raises(NotAModel):
            convert(bad, X)
    with pytest.raises(NotAModel, match="is a class"):
        convert(LinearRegression, X)
    with pytest.raises(NotFitted, match="LinearRegression"):
        convert(LinearRegression(), X)
    with pytest.raises(NotFitted):
        convert(make_pipeline(StandardScaler(), LinearRegression()), X)
    half = Pipeline([("a", StandardScaler()), ("b", LinearRegression().fit(X, y))])
    with pytest.raises(NotFitted, match="a \\(StandardScaler\\)"):
        convert(half, X)


def test_every_parameter_is_accounted_for() -> None:
    """A parameter that scikit-learn adds is honoured, declared irrelevant, or fails here."""
    from sklearn.utils import all_estimators

    from any2onnx.converters.sklearn.context import class_key

    registry = current_registry()
    forgotten = []
    for _, cls in all_estimators():
        for row in registry.rows("sklearn"):
            if row.key != class_key(cls) or row.refused or "*" in row.honours:
                continue
            names = set(cls._get_param_names())
            forgotten += [f"{row.key}: {name}" for name in sorted(names - row.honours - row.irrelevant)]
    assert forgotten == []


def test_every_row_resolves() -> None:
    for row in current_registry().rows("sklearn"):
        if not row.refused:
            row.converter_function()
            row.shape_function()
            assert row.methods
