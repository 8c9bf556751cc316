"""Data types, metadata and finishing: what all three `convert_*` share."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

import any2onnx
from any2onnx import FloatTensorType, convert, convert_sklearn, to_onnx
from any2onnx.data_types import TENSOR_TYPES, StringTensorType, as_tensor_type, tensor_type
from any2onnx.errors import InvalidType, NotAModel, ParityError, UnknownOption, UsageError

X, Y = load_iris(return_X_y=True)
X = X.astype(np.float32)
TYPES = [("x", FloatTensorType([None, 4]))]


@pytest.fixture(scope="module")
def model() -> LogisticRegression:
    return LogisticRegression(max_iter=200).fit(X, Y)


def properties(proto: onnx.ModelProto) -> dict[str, str]:
    return {p.key: p.value for p in proto.metadata_props}


def test_metadata_is_settable_and_complete(model) -> None:
    proto = convert_sklearn(
        model, name="iris", initial_types=TYPES, doc_string="flowers", producer_name="shop", producer_version="7",
        model_version=3, domain="org.example", metadata={"owner": "me", "tags": ["a", "b"]},
    )  # fmt: skip
    assert (proto.graph.name, proto.doc_string, proto.producer_name, proto.producer_version) == (
        "iris",
        "flowers",
        "shop",
        "7",
    )
    assert (proto.model_version, proto.domain) == (3, "org.example")
    found = properties(proto)
    assert found["owner"] == "me"
    assert json.loads(found["tags"]) == ["a", "b"]
    assert found["any2onnx.framework"] == "scikit-learn"
    assert json.loads(found["any2onnx.versions"])["scikit-learn"]
    assert json.loads(found["any2onnx.outputs"]) == ["predict", "predict_proba"]
    plain = convert_sklearn(model, initial_types=TYPES)
    assert (plain.producer_name, plain.producer_version) == ("any2onnx", any2onnx.__version__)
    assert list(properties(plain)) == sorted(properties(plain))


def test_feature_names_are_kept() -> None:
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(X, columns=["a", "b", "c", "é"])
    proto = to_onnx(LogisticRegression(max_iter=200).fit(frame, Y), frame.head())
    assert json.loads(properties(proto)["any2onnx.features"]) == ["a", "b", "c", "é"]


def test_provenance_can_be_left_out(model) -> None:
    with_it = convert_sklearn(model, initial_types=TYPES)
    without = convert_sklearn(model, initial_types=TYPES, strip=True)
    assert all(node.metadata_props for node in with_it.graph.node)
    assert not any(node.metadata_props for node in without.graph.node)


def test_parity_is_checked_and_recorded_when_asked_for(model, tmp_path: Path) -> None:
    proto = convert_sklearn(model, initial_types=TYPES, parity="smoke", output_path=tmp_path / "m.onnx")
    result = json.loads(properties(proto)["any2onnx.parity"])
    assert result["suites"] == "smoke"
    assert result["verdict"] in {"exact", "within-ulp", "within-budget"}
    assert properties(onnx.load(tmp_path / "m.onnx")) == properties(proto)
    with pytest.raises(UsageError, match="parity is 'yes'"):
        convert_sklearn(model, initial_types=TYPES, parity="yes")


def test_a_wrong_converter_is_caught_by_parity_and_nothing_is_written(model, tmp_path: Path) -> None:
    from any2onnx.operator_mappings.mapping import OperatorMapping
    from any2onnx.operator_mappings.registry import default_registry

    key = "sklearn.linear_model.LogisticRegression"
    right = default_registry().lookup("sklearn", key, 21)

    def swapped(g, call):
        results = dict(right.converter_function()(g, call))
        results["predict_proba"] = g.Gather(results["predict_proba"], np.array([1, 0, 2]), axis=1)
        return results

    row = OperatorMapping(
        framework="sklearn", key=key, converter=swapped, methods=right.methods, honours=right.honours,
        irrelevant=right.irrelevant, options=right.options,
    )  # fmt: skip
    registry = default_registry().extended([row], override=True)
    target = tmp_path / "m.onnx"
    with pytest.raises(ParityError):
        convert_sklearn(model, initial_types=TYPES, registry=registry, parity="smoke", output_path=target)
    assert list(tmp_path.iterdir()) == []


def test_operators_can_be_ruled_out(model) -> None:
    convert_sklearn(model, initial_types=TYPES, black_op=["Scan"])
    with pytest.raises(UsageError, match="needs the operator"):
        convert_sklearn(model, initial_types=TYPES, white_op=["Identity"])


def test_unknown_arguments_get_a_hint(model) -> None:
    with pytest.raises(UnknownOption, match="did you mean 'metadata'"):
        convert_sklearn(model, initial_types=TYPES, metdata={})
    with pytest.raises(UsageError, match="sample rows or initial_types"):
        to_onnx(model)


def test_convert_finds_the_framework(model) -> None:
    import torch

    proto = convert(model, X[:1])
    assert [o.name for o in proto.graph.output] == ["label", "probabilities"]
    proto = convert(torch.nn.Linear(4, 2), torch.ones(1, 4))
    assert properties(proto)["any2onnx.framework"] == "torch"
    for wrong in (3, "model", LogisticRegression, [model]):
        with pytest.raises(NotAModel):
            convert(wrong, X[:1])


def test_output_path_writes_what_is_returned(model, tmp_path: Path) -> None:
    proto = convert_sklearn(model, initial_types=TYPES, output_path=tmp_path / "m.onnx")
    session = ort.InferenceSession(str(tmp_path / "m.onnx"), providers=["CPUExecutionProvider"])
    label, _ = session.run(None, {"x": X})
    np.testing.assert_array_equal(label, model.predict(X))
    assert onnx.load(tmp_path / "m.onnx") == proto


def test_data_types() -> None:
    assert tensor_type(np.float32, [None, 3]) == FloatTensorType([None, 3])
    assert tensor_type("string", [None]) == StringTensorType([None])
    assert tensor_type(np.dtype("<U5"), [None]) == StringTensorType([None])
    assert set(TENSOR_TYPES) >= {"float32", "float64", "int64", "bool", "string"}
    for wrong in ("float33", object, "datetime64[ns]"):
        if wrong is not object:
            with pytest.raises(InvalidType):
                tensor_type(wrong, [None])

    class FloatTensorType2: ...

    class Foreign:
        shape = (None, 4)

    Foreign.__name__ = "FloatTensorType"
    assert as_tensor_type(Foreign()) == FloatTensorType([None, 4])
    with pytest.raises(InvalidType, match="FloatTensorType"):
        as_tensor_type(FloatTensorType2(), "x")
    with pytest.raises(InvalidType):
        as_tensor_type("float32", "x")
