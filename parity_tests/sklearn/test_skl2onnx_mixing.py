"""any2onnx beside skl2onnx: types of both, its operator classes, its mixin, its lists of operators, maps as inputs."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import onnxruntime
import pytest
import skl2onnx.common.data_types as theirs
from skl2onnx.algebra.onnx_operator_mixin import OnnxOperatorMixin as TheirMixin
from skl2onnx.algebra.onnx_ops import OnnxAdd, OnnxDiv, OnnxSub
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.datasets import load_iris
from sklearn.feature_extraction import DictVectorizer
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer, StandardScaler

from any2onnx import convert_sklearn, data_types, to_onnx
from any2onnx.errors import InvalidType, UnknownOption, UsageError
from any2onnx.helpers.onnx_mixin import OnnxOperatorMixin as OurMixin

X, Y = load_iris(return_X_y=True)
ROWS = X.astype(np.float32)


def run(proto: Any, given: Any) -> list[Any]:
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: given})


# --- types ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["FloatTensorType", "DoubleTensorType", "Int64TensorType", "StringTensorType"])
def test_types_pass_each_others_isinstance(name: str) -> None:
    mine, other = getattr(data_types, name), getattr(theirs, name)
    assert isinstance(mine([None, 2]), other)
    assert isinstance(other([None, 2]), mine)
    assert isinstance(mine(), theirs.TensorType)
    assert isinstance(other(), data_types.TensorType)
    wrong = theirs.BooleanTensorType
    assert not isinstance(mine(), wrong)
    assert not isinstance(wrong(), mine)
    assert not isinstance(3, mine)
    assert data_types.as_tensor_type(other([None, 2])) == mine([None, 2])


def test_types_are_copied_and_pickled() -> None:
    given = data_types.FloatTensorType([None, 4], doc_string="rows")
    for again in (copy.copy(given), copy.deepcopy(given), pickle.loads(pickle.dumps(given))):
        assert type(again) is data_types.FloatTensorType
        assert again == given
        assert again.doc_string == "rows"
    assert data_types.FloatTensorType().shape == []


def test_their_operators_take_our_types() -> None:
    expression = OnnxAdd("X", np.array([[1, 2]], np.float32), op_version=18, output_names=["Y"])
    proto = expression.to_onnx([("X", data_types.FloatTensorType([None, 2]))])
    np.testing.assert_array_equal(run(proto, np.ones((3, 2), np.float32))[0], [[2, 3]] * 3)


# --- estimators that bring their own conversion -----------------------------------------------------------------------


class Centred(BaseEstimator, TransformerMixin):
    def fit(self, X: Any, y: Any = None) -> Centred:
        self.mean_, self.scale_ = np.mean(X, axis=0), np.std(X, axis=0)
        return self

    def transform(self, X: Any) -> Any:
        return (X - self.mean_) / self.scale_

    def to_onnx_operator(self, inputs: Any = None, outputs: Any = ("Y",), target_opset: Any = None, **_: Any) -> Any:
        row = self.get_inputs(inputs, 0)
        moved = OnnxSub(row, self.mean_.astype(np.float32), op_version=target_opset)
        return OnnxDiv(moved, self.scale_.astype(np.float32), op_version=target_opset, output_names=outputs)


class TheirCentred(Centred, TheirMixin):
    op_version = 18

    def onnx_shape_calculator(self) -> Any:
        def shapes(operator: Any) -> None:
            operator.outputs[0].type = data_types.FloatTensorType(operator.inputs[0].type.shape)

        return shapes


class OurCentred(Centred, OurMixin):
    op_version = 18


class TheirScaler(StandardScaler, TheirMixin):
    op_version = 18


class Typed(OurCentred):
    def enumerate_initial_types(self) -> Any:
        yield "rows", data_types.FloatTensorType([None, 4])


@pytest.mark.parametrize("cls", [TheirCentred, OurCentred, TheirScaler])
def test_the_mixin_alone_and_in_pipelines(cls: type) -> None:
    model = cls().fit(X)
    np.testing.assert_allclose(run(to_onnx(model, ROWS), ROWS)[0], model.transform(X), rtol=2e-5, atol=2e-6)
    for around in ([cls()], [StandardScaler(), cls()], [cls(), Normalizer()]):
        pipeline = make_pipeline(*around, LogisticRegression()).fit(X, Y)
        label, probabilities = run(to_onnx(pipeline, ROWS), ROWS)
        np.testing.assert_array_equal(label, pipeline.predict(X))
        np.testing.assert_allclose(probabilities, pipeline.predict_proba(X), atol=2e-6)


def test_the_mixins_own_to_onnx_and_types() -> None:
    model = Typed().fit(X)
    for proto in (model.to_onnx(), convert_sklearn(model), to_onnx(model)):
        assert [item.name for item in proto.graph.input] == ["rows"]
        np.testing.assert_allclose(run(proto, ROWS)[0], model.transform(X), rtol=2e-5, atol=2e-6)
    with pytest.raises(RuntimeError, match="Method enumerate_initial_types is missing"):
        OurCentred().fit(X).to_onnx()
    with pytest.raises(NotImplementedError):
        OurMixin().to_onnx_operator()
    assert type(pickle.loads(pickle.dumps(model))) is Typed


# --- lists of operators -----------------------------------------------------------------------------------------------

AVOIDING = [
    (LogisticRegression(), {"ArgMax"}),
    (GaussianMixture(3, random_state=0), {"ReduceLogSumExp", "ArgMax"}),
    (GaussianMixture(3, covariance_type="diag", random_state=0), {"ReduceSumSquare", "ReduceLogSumExp"}),
    (KNeighborsClassifier(), {"ArgMin", "ArgMax"}),
    (Normalizer(norm="l1"), {"ReduceL1", "Normalizer"}),
    (Normalizer(), {"ReduceL2", "Normalizer"}),
    (make_pipeline(StandardScaler(), LogisticRegression()), {"Scaler", "LinearClassifier", "ArgMax"}),
]


@pytest.mark.parametrize(("model", "forbidden"), AVOIDING)
@pytest.mark.parametrize("opset", [13, 18, 21])
def test_other_forms_of_forbidden_operators(model: Any, forbidden: set[str], opset: int) -> None:
    model.fit(X, Y)
    plain, other = (to_onnx(model, ROWS, target_opset=opset, black_op=black) for black in (None, forbidden))
    used = {node.op_type for node in other.graph.node}
    assert not used & forbidden
    for one, two in zip(run(plain, ROWS), run(other, ROWS), strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-6, atol=1e-7)
    # What the list of allowed ones leaves out has another form as well.
    white = to_onnx(model, ROWS, target_opset=opset, white_op=used)
    assert {node.op_type for node in white.graph.node} <= used


def test_an_operator_without_another_form_is_refused() -> None:
    with pytest.raises(RuntimeError, match="black_op"):
        to_onnx(StandardScaler().fit(X), ROWS, black_op={"Div", "Sub", "Mul", "Add", "Cast"})


def test_a_misspelt_option_is_a_name_error() -> None:
    model = LogisticRegression().fit(X, Y)
    for kind in (NameError, UnknownOption):
        with pytest.raises(kind, match="zipmapp"):
            to_onnx(model, ROWS, options={LogisticRegression: {"zipmapp": False}})


# --- maps as inputs ---------------------------------------------------------------------------------------------------

DICTS = [{"amy": 1.5, "chin": 200.0}, {"nice": 3.0, "amy": 1.0}, {"new": 2.0}]


@pytest.mark.parametrize("opset", [13, 21, 28])
@pytest.mark.parametrize("kinds", [data_types, theirs])
def test_a_dict_as_input(kinds: Any, opset: int) -> None:
    model = make_pipeline(DictVectorizer(sparse=False), StandardScaler()).fit(DICTS[:2])
    given = kinds.DictionaryType(kinds.StringTensorType([1]), kinds.FloatTensorType([1]))
    proto = convert_sklearn(model, initial_types=[("input", given)], target_opset=opset)
    for row in DICTS:
        np.testing.assert_allclose(run(proto, row)[0], model.transform([row]), rtol=1e-6)


def test_a_dict_of_numbers_as_input() -> None:
    dicts = [{1: 1, 2: 200}, {1: 3, 3: 1}]
    model = DictVectorizer(sparse=False, sort=False).fit(dicts)
    given = data_types.DictionaryType(data_types.Int64TensorType([1]), data_types.FloatTensorType([1]))
    proto = convert_sklearn(model, initial_types=[("input", given)])
    for row in dicts:
        one = {key: float(value) for key, value in row.items()}
        np.testing.assert_array_equal(run(proto, one)[0], model.transform([row]))


def test_dicts_that_the_operator_does_not_take() -> None:
    text, number = data_types.StringTensorType([1]), data_types.FloatTensorType([1])
    model = DictVectorizer().fit(DICTS)
    for kind in (
        data_types.DictionaryType(text, text),
        data_types.DictionaryType(data_types.Int64TensorType(), number),
    ):
        with pytest.raises(InvalidType, match="'input'"):
            convert_sklearn(model, initial_types=[("input", kind)])
    with pytest.raises(UsageError, match="does not take"):
        convert_sklearn(StandardScaler().fit(X), initial_types=[("input", data_types.DictionaryType(text, number))])


# --- what skl2onnx's users rely on besides ----------------------------------------------------------------------------


def test_a_whole_graph_inside_a_custom_converter() -> None:
    from skl2onnx.helpers import add_onnx_graph

    class Inner(TransformerMixin, BaseEstimator):
        def fit(self, X: Any, y: Any = None) -> Inner:
            self.scaler_ = StandardScaler().fit(X)
            return self

        def transform(self, X: Any) -> Any:
            return self.scaler_.transform(X)

    def shapes(operator: Any) -> None:
        operator.outputs[0].type = data_types.FloatTensorType([None, 4])

    def convert(scope: Any, operator: Any, container: Any) -> None:
        add_onnx_graph(scope, operator, container, to_onnx(operator.raw_operator.scaler_, ROWS, target_opset=18))

    model = make_pipeline(Inner(), LogisticRegression(max_iter=500)).fit(X, Y)
    proto = convert_sklearn(
        model,
        initial_types=[("X", data_types.FloatTensorType([None, 4]))],
        custom_conversion_functions={Inner: convert},
        custom_shape_calculators={Inner: shapes},
        target_opset=18,
    )
    np.testing.assert_allclose(run(proto, ROWS)[1], model.predict_proba(X), atol=2e-6)
    with pytest.raises(TypeError, match="Keys in custom_conversion_functions must be types"):
        convert_sklearn(
            model,
            initial_types=[("X", data_types.FloatTensorType([None, 4]))],
            custom_conversion_functions={"Inner": convert},
        )


def test_final_types_with_a_name_twice_and_the_dtype() -> None:
    model = LogisticRegression(max_iter=500).fit(X, Y)
    types = [("X", data_types.FloatTensorType([None, 4]))]
    with pytest.raises(RuntimeError, match="twice"):
        convert_sklearn(model, initial_types=types, final_types=[("a", None), ("a", None)])
    with pytest.warns(DeprecationWarning, match="Parameter dtype is no longer supported"):
        convert_sklearn(model, initial_types=types, dtype=np.float32)


def test_text_of_no_stated_width() -> None:
    texts = ["one two", "two three", ""]
    model = CountVectorizer().fit(texts)
    proto = convert_sklearn(model, initial_types=[("X", data_types.StringTensorType([None, None]))])
    got = run(proto, np.array(texts, object)[:, None])[0]
    np.testing.assert_array_equal(got, model.transform(texts).toarray())
