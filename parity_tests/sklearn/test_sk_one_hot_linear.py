"""Categories before a linear model: rows of weights are gathered, one-hot columns are never formed."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime as ort
import pandas as pd
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.naive_bayes import MultinomialNB
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import MinMaxScaler, OneHotEncoder, StandardScaler
from sklearn.tree import DecisionTreeClassifier

from any2onnx import to_onnx
from any2onnx.converters.sklearn import sparse_rows

WORDS = ["c0", "c1", "c2"]
NUMBERS = ["x0", "x1"]


def _frame(rows: int, seed: int = 0) -> Any:
    random = np.random.default_rng(seed)
    numbers = {name: random.normal(size=rows).astype(np.float32) for name in NUMBERS}
    words = {
        name: random.choice(["a", "b", "c", "ü", f"only {seed}"], rows, p=[0.5, 0.2, 0.2, 0.05, 0.05]) for name in WORDS
    }
    return pd.DataFrame({**numbers, **words, "k": random.integers(0, 4, rows)})


TRAIN, NEW = _frame(200), _frame(50, seed=1)
TARGET = np.arange(len(TRAIN)) % 3

ENCODERS = {
    "plain": {},
    "drop first": {"drop": "first"},
    "drop if binary": {"drop": "if_binary"},
    "infrequent": {"min_frequency": 20, "handle_unknown": "infrequent_if_exist"},
    "dense": {"sparse_output": False},
}
MODELS = {
    "logistic": LogisticRegression(),
    "ridge": Ridge(),
    "least squares": LinearRegression(),
    "counts": MultinomialNB(),
}


def _columns(numeric: Any, **options: Any) -> Any:
    encoder = OneHotEncoder(**{"handle_unknown": "ignore", **options})
    return ColumnTransformer([("words", encoder, [*WORDS, "k"]), ("numbers", numeric, NUMBERS)])


def _run(proto: Any, frame: Any) -> list[Any]:
    session = ort.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    kinds = {i.name: i.type for i in session.get_inputs()}
    feeds = {name: frame[[name]].to_numpy(dtype=object if kinds[name] == "tensor(string)" else None) for name in kinds}
    return list(session.run(None, feeds))


def _check(model: Any, proto: Any, frame: Any) -> None:
    got = _run(proto, frame)
    want = model.predict(frame)
    if want.dtype.kind == "f":
        np.testing.assert_allclose(got[0].ravel(), want, rtol=3e-7, atol=3e-7)
        return
    np.testing.assert_array_equal(got[0], want)
    np.testing.assert_allclose(got[1], model.predict_proba(frame), rtol=1e-6, atol=1e-7)


def _kinds(proto: Any) -> list[str]:
    return [node.op_type for node in proto.graph.node]


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("encoder", ENCODERS)
def test_categories_and_numbers(encoder: str, name: str, classes: int) -> None:
    opset = 13 if classes == 2 else 21
    numeric = MinMaxScaler(clip=True) if name == "counts" else StandardScaler()
    model = make_pipeline(_columns(numeric, **ENCODERS[encoder]), MODELS[name]).fit(TRAIN, TARGET % classes)
    proto = to_onnx(model, TRAIN[:2], target_opset=opset, parity="off")
    # Integers are looked up by their value; only the comparisons of one-hot columns would be with a row of columns.
    assert "MatMul" not in _kinds(proto)
    for frame in (NEW, NEW[:1]):
        _check(model, proto, frame)


def test_more_features_than_are_spread_together() -> None:
    random = np.random.default_rng(0)
    names = [f"f{k}" for k in range(70)]
    frame = pd.DataFrame({name: random.choice(["u", "v", "w"], 120) for name in names})
    encoder = OneHotEncoder(handle_unknown="ignore").fit(frame)
    proto = to_onnx(encoder, frame[:2])
    np.testing.assert_array_equal(_run(proto, frame)[0], encoder.transform(frame).toarray())
    model = make_pipeline(encoder, LogisticRegression()).fit(frame, np.arange(120) % 2)
    _check(model, to_onnx(model, frame[:2]), frame)


def test_a_tree_takes_the_columns_themselves() -> None:
    model = make_pipeline(_columns(StandardScaler()), DecisionTreeClassifier(max_depth=5, random_state=0))
    model.fit(TRAIN, TARGET)
    _check(model, to_onnx(model, TRAIN[:2]), NEW)


def test_text_beside_categories(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sparse_rows, "_FEWEST_COLUMNS", 1)
    frame, new = (data.assign(text=data["c0"] + " word " + data["c1"]).drop(columns="k") for data in (TRAIN, NEW))
    features = ColumnTransformer(
        [
            ("text", TfidfVectorizer(token_pattern=r"(?u)\b\w+\b"), "text"),
            ("words", OneHotEncoder(handle_unknown="ignore"), WORDS),
            ("numbers", StandardScaler(), NUMBERS),
        ]
    )
    model = make_pipeline(features, LogisticRegression()).fit(frame, TARGET)
    proto = to_onnx(model, frame[:2], target_opset={"": 21, "com.microsoft": 1})
    assert "TfIdfVectorizer" not in _kinds(proto)
    _check(model, proto, new)


def test_a_union_of_encoders() -> None:
    union = FeatureUnion([("a", OneHotEncoder(handle_unknown="ignore")), ("b", OneHotEncoder(handle_unknown="ignore"))])
    words = TRAIN[WORDS]
    model = make_pipeline(union, LogisticRegression()).fit(words, TARGET)
    _check(model, to_onnx(model, words[:2]), NEW[WORDS])
