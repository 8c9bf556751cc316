"""Text before a linear model: the wide row of the vocabulary is never formed, and the answers stay the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from sklearn.feature_extraction.text import CountVectorizer, TfidfTransformer, TfidfVectorizer
from sklearn.linear_model import LogisticRegression, Ridge, RidgeClassifier
from sklearn.naive_bayes import ComplementNB, MultinomialNB
from sklearn.pipeline import make_pipeline

from any2onnx import convert_sklearn
from any2onnx.converters.sklearn import sparse_rows
from any2onnx.data_types import StringTensorType

CORPUS = np.array(
    ["the cat sat on the mat the cat", "a dog! dog dog", "Émile Zola wrote über alles", "", "cat dog mat zola"] * 2
    + ["über cat dog wrote sat sat sat", "on on on the the mat"],
    dtype=object,
)
CLASSES = np.arange(len(CORPUS)) % 3
NEW = np.array(
    ["cat cat dog unknown", "", "zola ZOLA über", "mat sat on the mat", "a b c d", "wrote " * 40], dtype=object
)

VECTORIZERS = {
    "words": TfidfVectorizer(),
    "pairs, sublinear": TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True),
    "only longer, l1": TfidfVectorizer(ngram_range=(2, 3), norm="l1"),
    "binary, no norm": TfidfVectorizer(binary=True, norm=None),
    "characters": TfidfVectorizer(analyzer="char", ngram_range=(1, 3)),
    "characters in words": TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 4), use_idf=False),
    "counts": CountVectorizer(stop_words="english"),
    "presence": CountVectorizer(binary=True),
}
MODELS = {
    "logistic": LogisticRegression(),
    "multinomial": MultinomialNB(),
    "complement": ComplementNB(),
    "ridge": Ridge(),
    "ridge classifier": RidgeClassifier(),
    "tf-idf, logistic": make_pipeline(TfidfTransformer(sublinear_tf=True), LogisticRegression()),
}


def _convert(model: Any) -> Any:
    types = [("x", StringTensorType([None, 1]))]
    return convert_sklearn(model, initial_types=types, target_opset={"": 21, "com.microsoft": 1}, parity="off")


def _kinds(proto: Any) -> set[str]:
    return {node.op_type for node in proto.graph.node}


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("vectorizer", VECTORIZERS)
def test_sparse_rows(vectorizer: str, name: str, classes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sparse_rows, "_FEWEST_COLUMNS", 1)
    model = make_pipeline(VECTORIZERS[vectorizer], MODELS[name]).fit(CORPUS, CLASSES % classes)
    proto = _convert(model)
    assert "TfIdfVectorizer" not in _kinds(proto)
    session = ort.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    for rows in (NEW, NEW[:1], NEW[:0]):
        got = session.run(None, {"x": rows.reshape(-1, 1)})
        if not len(rows):
            assert all(len(result) == 0 for result in got)
            continue
        want = model.predict(rows)
        if want.dtype.kind == "f":
            np.testing.assert_allclose(got[0].ravel(), want, rtol=2e-7, atol=1e-7)
            continue
        np.testing.assert_array_equal(got[0], want)
        if hasattr(model, "predict_proba"):
            np.testing.assert_allclose(got[1], model.predict_proba(rows), rtol=1e-6, atol=1e-7)


def test_a_small_vocabulary_stays_dense() -> None:
    model = make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(CORPUS, CLASSES)
    assert "TopK" not in _kinds(_convert(model))


def test_many_outputs_stay_dense(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sparse_rows, "_FEWEST_COLUMNS", 1)
    target = np.random.default_rng(0).normal(size=(len(CORPUS), 65))
    proto = _convert(make_pipeline(TfidfVectorizer(), Ridge()).fit(CORPUS, target))
    assert "Gemm" in _kinds(proto)
    assert "TopK" not in _kinds(proto)


def test_other_steps_take_the_dense_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    from sklearn.feature_selection import SelectKBest

    monkeypatch.setattr(sparse_rows, "_FEWEST_COLUMNS", 1)
    model = make_pipeline(TfidfVectorizer(), SelectKBest(k=5), LogisticRegression()).fit(CORPUS, CLASSES)
    session = ort.InferenceSession(_convert(model).SerializeToString(), providers=["CPUExecutionProvider"])
    np.testing.assert_array_equal(session.run(None, {"x": NEW.reshape(-1, 1)})[0], model.predict(NEW))
