"""Structures of estimators, opsets, and the same bytes in every thread and process."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from sklearn.compose import ColumnTransformer, make_column_selector
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from sklearn.preprocessing import Normalizer, OneHotEncoder, StandardScaler

from any2onnx.errors import (
    InvalidType,
    OpsetNotSupported,
)


def test_pipelines_nest(compare: Any, iris: Any) -> None:
    X, y = iris
    inner = ColumnTransformer(
        [("a", StandardScaler(), slice(0, 2)), ("b", "passthrough", [3]), ("c", "drop", [2])],
        transformer_weights={"a": 2.0},
    )
    union = FeatureUnion(
        [("x", inner), ("same", "passthrough"), ("gone", "drop")], transformer_weights={"x": 0.5, "same": 3.0}
    )
    model = Pipeline([("none", "passthrough"), ("union", union), ("model", LogisticRegression())]).fit(X, y)
    compare(model, X, ("predict", "predict_proba"), opsets=(13, 18, 21, 28))
    compare(Pipeline([("union", union), ("end", "passthrough")]).fit(X), X, ("transform",))
    compare(Pipeline([("a", StandardScaler()), ("b", StandardScaler())]).fit(X), X, ("inverse_transform",))


@pytest.mark.parametrize(
    "columns",
    [[0, 2], [-1], slice(1, 3), np.array([True, False, True, False]), lambda X: [1], [3, 0], 2],
    ids=["indices", "negative", "slice", "mask", "callable", "reversed", "one"],
)
def test_column_choices(compare: Any, iris: Any, columns: Any) -> None:
    wanted = [columns] if isinstance(columns, int) else columns
    model = ColumnTransformer([("a", StandardScaler(), wanted)], remainder="passthrough").fit(iris[0])
    compare(model, iris[0], ("transform",))
    compare(
        ColumnTransformer([("a", StandardScaler(), wanted)], remainder=StandardScaler()).fit(iris[0]),
        iris[0],
        ("transform",),
    )


def test_columns_of_a_frame(compare: Any, frame: Any) -> None:
    model = ColumnTransformer(
        [
            ("n", make_pipeline(SimpleImputer(), StandardScaler()), make_column_selector(dtype_include="number")),
            ("c", OneHotEncoder(), make_column_selector(dtype_exclude="number")),
            ("empty", StandardScaler(), []),
        ],
        verbose_feature_names_out=False,
    ).fit(frame)
    compare(model, frame, ("transform",), dtypes=(None,), opsets=(13, 18, 21, 28))


def test_nothing_left(compare: Any, iris: Any) -> None:
    compare(ColumnTransformer([("a", "drop", [0])]).fit(iris[0]), iris[0], ("transform",))


def test_text_beside_numbers_in_one_matrix_is_refused(convert: Any, frame: Any) -> None:
    model = ColumnTransformer([("a", StandardScaler(), ["fare"])], remainder="passthrough").fit(frame)
    model = Pipeline([("columns", model), ("number", Normalizer().fit(np.ones((2, len(frame.columns)))))])
    with pytest.raises(InvalidType, match="text"):
        convert(model, frame)


def test_pandas_output_inside(compare: Any, frame: Any) -> None:
    inner = ColumnTransformer([("n", SimpleImputer(), ["age", "fare"])], remainder="drop")
    outer = ColumnTransformer([("s", StandardScaler(), ["n__fare"]), ("k", "passthrough", ["n__age"])])
    model = make_pipeline(inner, outer, LinearRegression()).set_output(transform="pandas").fit(frame, frame["sibs"])
    compare(model, frame, ("predict",), dtypes=(None,))


def test_opsets_of_both_domains(compare: Any, convert: Any, frame: Any) -> None:
    data = frame[["sex", "port"]]
    model = OneHotEncoder().fit(data)
    proto = convert(model, data, opset={"": 21, "ai.onnx.ml": 2})
    assert {o.domain: o.version for o in proto.opset_import} == {"": 21, "ai.onnx.ml": 2}
    with pytest.raises(OpsetNotSupported, match=r"ai\.onnx\.ml 1"):
        convert(model, data, opset={"": 13, "ai.onnx.ml": 1})


def test_same_bytes_in_every_thread(convert: Any, frame: Any) -> None:
    from concurrent.futures import ThreadPoolExecutor

    model = make_pipeline(
        ColumnTransformer([("n", SimpleImputer(), ["age", "fare"]), ("c", OneHotEncoder(), ["sex", "port"])]),
        LogisticRegression(max_iter=900),
    ).fit(frame, frame["sibs"])
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda _: convert(model, frame).SerializeToString(), range(8)))
    assert len(set(results)) == 1


def test_same_bytes_in_every_process(tmp_path: Any) -> None:
    code = """
import sys, numpy as np, pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from any2onnx.converters.sklearn.walk import build_sklearn, types_from_sample
from any2onnx.graph.opsets import Opsets
from any2onnx.operator_mappings.user_layer import current_registry
from any2onnx.io.save import to_proto
import hashlib
f = pd.DataFrame({"a": np.arange(9.0), "b": list("xyzxyzxyz"), "c": list("uvwuvwuvw")})
m = make_pipeline(ColumnTransformer([("n", StandardScaler(), ["a"]), ("c", OneHotEncoder(), ["b", "c"])]),
                  LogisticRegression()).fit(f, np.arange(9) % 3)
built = build_sklearn(m, initial_types=types_from_sample(f), opsets=Opsets.of(21), registry=current_registry())
print(hashlib.sha256(to_proto(built).SerializeToString()).hexdigest())
"""
    import os

    digests = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(digests) == 1
