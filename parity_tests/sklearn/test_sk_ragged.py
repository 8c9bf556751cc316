"""inverse_transform with other numbers of items in each row: a sequence of tensors, as scikit-learn gives a list."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime
import pytest
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction import DictVectorizer
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MultiLabelBinarizer

from any2onnx import convert_sklearn, to_onnx
from any2onnx.data_types import DoubleTensorType, FloatTensorType, SequenceType, StringTensorType

TEXTS = ["the café, the Łódź", "x y zz zz", "", "ΣΑΣ café zz"]


def back(model: Any, codes: np.ndarray, **arguments: Any) -> list[Any]:
    """Return what the converted inverse_transform gives for the codes, one row and none."""
    proto = to_onnx(model, codes, outputs=("inverse_transform",), **arguments)
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    (name,) = (item.name for item in session.get_inputs())
    for rows in (codes[:0], codes[:1], codes[-1:]):
        assert all(len(result) == len(rows) for result in session.run(None, {name: rows}))
    return session.run(None, {name: codes})


@pytest.mark.parametrize("opset", [13, 18, 21, 28])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_terms(dtype: Any, opset: int) -> None:
    for model in (CountVectorizer(), TfidfVectorizer(ngram_range=(1, 2)), CountVectorizer(analyzer="char")):
        codes = model.fit_transform(TEXTS).toarray().astype(dtype)
        (found,) = back(model, codes, target_opset=opset)
        expected = model.inverse_transform(codes)
        assert [terms.tolist() for terms in found] == [terms.tolist() for terms in expected]
        assert [terms.shape for terms in found] == [terms.shape for terms in expected]


@pytest.mark.parametrize("sets", [[(1, 5), (), (7,)], [("b", "ä"), (), ("b",)]])
def test_label_sets(sets: Any) -> None:
    model = MultiLabelBinarizer()
    codes = model.fit_transform(sets)
    (found,) = back(model, codes)
    assert [tuple(labels.tolist()) for labels in found] == model.inverse_transform(codes)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_entries_of_dicts_are_names_and_values(dtype: Any) -> None:
    rows = [{"fare": 7.5, "sex": "f"}, {"sex": "m", "é": -2.0}, {}, {"fare": 0.1}]
    model = DictVectorizer(sparse=False).fit(rows)
    codes = model.transform(rows).astype(dtype)
    names, values = back(model, codes)
    found = [dict(zip(n.tolist(), v.tolist(), strict=True)) for n, v in zip(names, values, strict=True)]
    assert found == [dict(entries) for entries in model.inverse_transform(codes)]
    assert all(value.dtype == dtype for value in values)


def test_at_the_end_of_a_pipeline() -> None:
    model = make_pipeline(CountVectorizer(), TruncatedSVD(2, random_state=0)).fit(TEXTS)
    codes = model.transform(TEXTS)
    (found,) = back(model, codes)
    assert [terms.tolist() for terms in found] == [terms.tolist() for terms in model.inverse_transform(codes)]


def test_names_and_types_of_the_outputs() -> None:
    model = DictVectorizer(sparse=False).fit([{"a": 1.0, "b": 2.0}])
    proto = convert_sklearn(
        model,
        initial_types=[("x", DoubleTensorType([None, 2]))],
        outputs=("inverse_transform",),
        final_types=[("keys", SequenceType(StringTensorType())), ("numbers", SequenceType(FloatTensorType()))],
    )
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    assert [(item.name, item.type) for item in session.get_outputs()] == [
        ("keys", "seq(tensor(string))"),
        ("numbers", "seq(tensor(float))"),
    ]
    keys, numbers = session.run(None, {"x": np.array([[0.0, 3.0]])})
    assert keys[0].tolist() == ["b"]
    assert numbers[0].tolist() == [3.0]
