"""Converters in skl2onnx's documented form run unchanged."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin, TransformerMixin
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from any2onnx.converters.skl2onnx_adapter import get_model_alias, rows_from_functions, update_registered_converter
from any2onnx.data_types import FloatTensorType, Int64TensorType
from any2onnx.errors import (
    ExportFailed,
    GraphError,
    PromiseBroken,
    RegistryError,
    UnknownOption,
    UnsupportedOperator,
    UsageError,
)
from any2onnx.operator_mappings import user_layer


@pytest.fixture(autouse=True)
def _forget() -> Any:
    yield
    user_layer.clear()


class Decorrelate(TransformerMixin, BaseEstimator):
    def __init__(self, alpha: float = 0.0) -> None:
        self.alpha = alpha

    def fit(self, X: Any, y: Any = None) -> Decorrelate:
        self.pca_ = PCA(X.shape[1]).fit(X)
        return self

    def transform(self, X: Any) -> Any:
        return self.pca_.transform(X)


@pytest.fixture(params=["alone", "beside skl2onnx"], autouse=True)
def _skl2onnx(request: Any, monkeypatch: Any) -> None:
    """Run every test with skl2onnx loaded, whose classes are used then, and without it."""
    if request.param == "alone":
        for name in [name for name in sys.modules if name.partition(".")[0] == "skl2onnx"]:
            monkeypatch.delitem(sys.modules, name)
    else:
        pytest.importorskip("skl2onnx")


def shape_function(operator: Any) -> None:
    op = operator.raw_operator
    cls = type(operator.inputs[0].type)
    operator.outputs[0].type = cls([operator.inputs[0].get_first_dimension(), op.pca_.components_.shape[1]])


def convert_function(scope: Any, operator: Any, container: Any) -> None:
    """As in skl2onnx's documentation: nodes by name, initializers as lists."""
    op = operator.raw_operator
    centred = scope.get_unique_variable_name("centred")
    mean = scope.get_unique_variable_name("mean")
    coef = scope.get_unique_variable_name("coef")
    proto_type = 11 if type(operator.inputs[0].type).__name__ == "DoubleTensorType" else 1
    # The second node first: the order is the adapter's business.
    name = scope.get_unique_operator_name("MatMul")
    container.add_node("MatMul", [centred, coef], operator.outputs[0].full_name, name=name)
    container.add_initializer(mean, proto_type, [len(op.pca_.mean_)], op.pca_.mean_.tolist())
    components = op.pca_.components_.T
    container.add_initializer(coef, proto_type, components.shape, components.ravel().tolist())
    container.add_node("Sub", [operator.inputs[0].full_name, mean], [centred], name="sub", op_version=7)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_documented_pattern(convert: Any, run: Any, iris: Any, dtype: Any) -> None:
    X = iris[0].astype(dtype)
    update_registered_converter(Decorrelate, "CustomDecorrelate", shape_function, convert_function)
    assert get_model_alias(Decorrelate) == "CustomDecorrelate"
    model = Decorrelate().fit(iris[0])
    got = run(convert(model, X), X)[0]
    assert got.dtype == dtype
    np.testing.assert_allclose(got, model.transform(X), atol=1e-5 if dtype == np.float32 else 1e-12)


def test_inside_a_pipeline(convert: Any, run: Any, iris: Any) -> None:
    X, y = iris[0].astype(np.float32), iris[1]
    update_registered_converter(Decorrelate, "CustomDecorrelate", shape_function, convert_function)
    model = make_pipeline(StandardScaler(), Decorrelate(), LogisticRegression()).fit(X, y)
    label, probabilities = run(convert(model, X), X)
    np.testing.assert_array_equal(label, model.predict(X))
    np.testing.assert_allclose(probabilities, model.predict_proba(X), atol=1e-5)


def test_not_registered_is_refused(convert: Any, iris: Any) -> None:
    with pytest.raises(UnsupportedOperator, match="Decorrelate"):
        convert(Decorrelate().fit(iris[0]), iris[0])


class Boosted(ClassifierMixin, BaseEstimator):
    """A classifier that holds another one, which its converter declares as a sub-operator."""

    def fit(self, X: Any, y: Any) -> Boosted:
        self.inner_ = LogisticRegression().fit(X, y)
        self.classes_ = self.inner_.classes_
        return self

    def predict_proba(self, X: Any) -> Any:
        return self.inner_.predict_proba(X) ** 2

    def predict(self, X: Any) -> Any:
        return self.inner_.predict(X)


def convert_boosted(scope: Any, operator: Any, container: Any) -> None:
    inner = scope.declare_local_operator("SklearnLinearClassifier", operator.raw_operator.inner_)
    inner.inputs = operator.inputs
    label = scope.declare_local_variable("label", Int64TensorType())
    probability = scope.declare_local_variable("probability", FloatTensorType())
    inner.outputs.append(label)
    inner.outputs.append(probability)
    container.add_node("Identity", label.full_name, operator.outputs[0].full_name)
    container.add_node("Mul", [probability.full_name] * 2, operator.outputs[1].full_name)


def test_sub_operator(convert: Any, run: Any, iris: Any) -> None:
    X, y = iris[0].astype(np.float32), iris[1]
    update_registered_converter(Boosted, "Boosted", None, convert_boosted)
    model = Boosted().fit(X, y)
    proto = convert(model, X)
    assert [o.name for o in proto.graph.output] == ["label", "probabilities"]
    label, squared = run(proto, X)
    np.testing.assert_array_equal(label, model.predict(X))
    np.testing.assert_allclose(squared, model.predict_proba(X), atol=1e-5)
    assert [o.name for o in convert(model, X, outputs=("predict_proba",)).graph.output] == ["predict_proba"]


def two_outputs_parser(scope: Any, model: Any, inputs: Any, custom_parsers: Any = None) -> Any:
    operator = scope.declare_local_operator("TwoOutputs", model)
    operator.inputs.append(inputs[0])
    cls = type(inputs[0].type)
    for name in ("plain", "doubled"):
        operator.outputs.append(scope.declare_local_variable(name, cls()))
    return operator.outputs


def convert_two_outputs(scope: Any, operator: Any, container: Any) -> None:
    container.add_node("Identity", operator.inputs[0].full_name, operator.outputs[0].full_name)
    container.add_node("Add", [operator.inputs[0].full_name] * 2, operator.outputs[1].full_name)


def test_parser_declares_outputs(convert: Any, run: Any, iris: Any) -> None:
    X = iris[0].astype(np.float32)
    update_registered_converter(Decorrelate, "Two", None, convert_two_outputs, parser=two_outputs_parser)
    for model in (Decorrelate().fit(X), make_pipeline(Decorrelate()).fit(X)):
        proto = convert(model, X)
        assert [o.name for o in proto.graph.output] == ["plain", "doubled"]
        plain, doubled = run(proto, X)
        np.testing.assert_array_equal(plain, X)
        np.testing.assert_array_equal(doubled, 2 * X)


def test_options_reach_the_converter(convert: Any, run: Any, iris: Any) -> None:
    X = iris[0].astype(np.float32)

    def convert_scaled(scope: Any, operator: Any, container: Any) -> None:
        factor = scope.get_options(operator.raw_operator, {"factor": 1})["factor"]
        container.add_initializer("factor", 1, [], [float(factor)])
        container.add_node("Mul", [operator.inputs[0].full_name, "factor"], operator.outputs[0].full_name)

    update_registered_converter(Decorrelate, "Scaled", None, convert_scaled, options={"factor": [1, 3]})
    model = Decorrelate().fit(X)
    np.testing.assert_array_equal(run(convert(model, X), X)[0], X)
    np.testing.assert_array_equal(run(convert(model, X, options={id(model): {"factor": 3}}), X)[0], 3 * X)
    with pytest.raises(UnknownOption, match="factor=2"):
        convert(model, X, options={Decorrelate: {"factor": 2}})
    with pytest.raises(UnknownOption, match="did you mean 'factor'"):
        convert(model, X, options={Decorrelate: {"factr": 3}})


def test_other_domain_with_declared_types(iris: Any) -> None:
    from any2onnx.converters.sklearn.walk import build_sklearn
    from any2onnx.graph.opsets import Opsets

    def convert_custom(scope: Any, operator: Any, container: Any) -> None:
        inner = scope.declare_local_variable("inner", FloatTensorType([None, 4]))
        container.add_node("Mine", operator.inputs[0].full_name, inner.full_name, op_domain="my.domain", op_version=2)
        container.add_node("Identity", inner.full_name, operator.outputs[0].full_name)

    update_registered_converter(Decorrelate, "Custom", None, convert_custom)
    model = Decorrelate().fit(iris[0])
    built = build_sklearn(
        model,
        initial_types=[("x", FloatTensorType([None, 4]))],
        opsets=Opsets.of(21),
        registry=user_layer.current_registry(),
    )
    assert built.graph.opset_imports["my.domain"] == 2


def test_faults_of_a_converter_are_named(convert: Any, iris: Any) -> None:
    X = iris[0].astype(np.float32)
    model = Decorrelate().fit(X)

    def fails(scope: Any, operator: Any, container: Any) -> None:
        raise KeyError("weights")

    def dangling(scope: Any, operator: Any, container: Any) -> None:
        container.add_node("Relu", "nowhere", operator.outputs[0].full_name)

    def nothing(scope: Any, operator: Any, container: Any) -> None:
        return None

    def wrong_type(scope: Any, operator: Any, container: Any) -> None:
        container.add_node("Cast", operator.inputs[0].full_name, operator.outputs[0].full_name, to=7)

    for function, error, text in (
        (fails, ExportFailed, "KeyError"),
        (dangling, GraphError, "nowhere"),
        (nothing, PromiseBroken, "variable"),
        (wrong_type, PromiseBroken, "int64"),
    ):
        update_registered_converter(Decorrelate, "Bad", None, function)
        with pytest.raises(error, match=text):
            convert(model, X)


def test_registration_checks() -> None:
    update_registered_converter(Decorrelate, "A", None, convert_two_outputs)
    with pytest.raises(RegistryError, match="already"):
        update_registered_converter(Decorrelate, "B", None, convert_two_outputs, overwrite=False)
    with pytest.raises(UsageError, match="no class"):
        update_registered_converter(Decorrelate(), "B", None, convert_two_outputs)  # type: ignore[arg-type]
    assert get_model_alias(LogisticRegression) == "SklearnLogisticRegression"


def test_rows_from_functions() -> None:
    rows = rows_from_functions({Decorrelate: convert_function}, {Decorrelate: shape_function}, None)
    assert [row.key.rpartition(".")[2] for row in rows] == ["Decorrelate"]
    assert rows_from_functions(None, None, None) == []
    with pytest.raises(UsageError, match="no custom converter"):
        rows_from_functions(None, {Decorrelate: shape_function}, None)
    with pytest.raises(UsageError, match="must be types"):
        rows_from_functions({"SklearnX": convert_function}, None, None)


def test_algebra_operators(convert: Any, run: Any, iris: Any) -> None:
    """Converters that use skl2onnx's own OnnxOperator classes work where skl2onnx is installed."""
    algebra = pytest.importorskip("skl2onnx.algebra.onnx_ops")

    def convert_algebra(scope: Any, operator: Any, container: Any) -> None:
        op, opv = operator.raw_operator, container.target_opset
        X = operator.inputs[0]
        dtype = np.float32
        Y = algebra.OnnxMatMul(
            algebra.OnnxSub(X, op.pca_.mean_.astype(dtype), op_version=opv),
            op.pca_.components_.T.astype(dtype),
            op_version=opv,
            output_names=operator.outputs[:1],
        )
        Y.add_to(scope, container)

    update_registered_converter(Decorrelate, "Algebra", shape_function, convert_algebra)
    X = iris[0].astype(np.float32)
    model = Decorrelate().fit(X)
    np.testing.assert_allclose(run(convert(model, X), X)[0], model.transform(X), atol=1e-5)


def test_algebra_sub_estimator(convert: Any, run: Any, iris: Any) -> None:
    """An estimator inside of such an expression answers in the model's own type, whatever it computes in."""
    algebra = pytest.importorskip("skl2onnx.algebra.onnx_ops")
    sub_estimator = pytest.importorskip("skl2onnx.algebra.onnx_operator").OnnxSubEstimator

    class Shifted(TransformerMixin, BaseEstimator):
        def fit(self, X: Any, y: Any = None) -> Shifted:
            self.scaler_ = StandardScaler().fit(X)
            return self

        def transform(self, X: Any) -> Any:
            return self.scaler_.transform(X + 1)

    def convert_shifted(scope: Any, operator: Any, container: Any) -> None:
        opv = container.target_opset
        one = np.ones(1, np.float32)
        moved = algebra.OnnxAdd(operator.inputs[0], one, op_version=opv)
        scaled = sub_estimator(operator.raw_operator.scaler_, moved, op_version=opv, output_names=operator.outputs[:1])
        scaled.add_to(scope, container)

    def same_shape(operator: Any) -> None:
        operator.outputs[0].type = type(operator.inputs[0].type)([None, operator.inputs[0].type.shape[1]])

    update_registered_converter(Shifted, "Shifted", same_shape, convert_shifted)
    X, y = iris
    X = np.asarray(X, np.float32)
    for model in (Shifted().fit(X), make_pipeline(Shifted(), LogisticRegression(max_iter=300)).fit(X, y)):
        onnx_model = convert(model, initial_types=[("X", FloatTensorType([None, X.shape[1]]))])
        found = run(onnx_model, X)
        if isinstance(model, Shifted):
            np.testing.assert_allclose(found[0], model.transform(X), rtol=1e-5, atol=1e-6)
        else:
            np.testing.assert_array_equal(found[0], model.predict(X))
