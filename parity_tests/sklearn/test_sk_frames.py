"""Frames of every library and column type as samples, as data of a comparison, and between fit and conversion."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
import sklearn
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import BaggingClassifier, HistGradientBoostingClassifier, StackingClassifier, VotingClassifier
from sklearn.feature_selection import RFE
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.multioutput import ClassifierChain
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from any2onnx import check_parity, to_onnx
from any2onnx.parity.verdict import Verdict

RNG = np.random.default_rng(0)
SIZE = 60
PLAIN: dict[str, list[Any]] = {
    "a": RNG.normal(size=SIZE).tolist(),
    "b": RNG.integers(0, 5, SIZE).tolist(),
    "c": RNG.integers(0, 2, SIZE).astype(bool).tolist(),
    "t": RNG.choice(["x", "y", "é"], SIZE).tolist(),
}
Y = (np.asarray(PLAIN["a"]) + np.asarray(PLAIN["b"]) + (np.asarray(PLAIN["t"]) == "x") > 2).astype(int)
EVERY = {"a": 7, "b": 5, "c": 4, "t": 9}
HOLES = {
    name: [None if k % EVERY[name] == 0 else value for k, value in enumerate(values)] for name, values in PLAIN.items()
}
FULL, BROKEN = pd.DataFrame(PLAIN), pd.DataFrame(HOLES)
NULLABLE = BROKEN.astype({"a": "Float64", "b": "Int64", "c": "boolean", "t": object})

FRAMES: dict[str, Callable[[], Any]] = {
    "pandas": lambda: FULL,
    "pandas nullable": FULL.convert_dtypes,
    "pandas nullable, missing": lambda: NULLABLE,
    "pandas category": lambda: FULL.astype({"t": "category"}),
    "pandas category, missing": lambda: NULLABLE.astype({"t": "category"}),
    "pandas string": lambda: FULL.astype({"t": "string"}),
    "pandas object, None": lambda: FULL.assign(t=pd.Series(HOLES["t"], dtype=object)),
    "pandas object, NaN": lambda: FULL.assign(t=pd.Series(HOLES["t"], dtype=object).fillna(np.nan)),
    "pandas narrow": lambda: FULL.astype({"a": "float32", "b": "uint8", "t": object}),
    "polars": lambda: pl.DataFrame(PLAIN),
    "polars, missing": lambda: pl.DataFrame(HOLES),
    "polars categorical": lambda: pl.DataFrame(PLAIN).with_columns(pl.col("t").cast(pl.Categorical)),
    "polars enum, narrow": lambda: pl.DataFrame(PLAIN).with_columns(
        pl.col("t").cast(pl.Enum(["x", "y", "é"])), pl.col("b").cast(pl.UInt8), pl.col("a").cast(pl.Float32)
    ),
}
if importlib.util.find_spec("pyarrow"):
    import pyarrow as pa

    FRAMES |= {
        "arrow": lambda: pa.table(PLAIN),
        "arrow, missing": lambda: pa.table(HOLES),
        "arrow dictionary": lambda: pa.table({**PLAIN, "t": pa.array(PLAIN["t"]).dictionary_encode()}),
        "pandas backed by arrow": lambda: FULL.convert_dtypes(dtype_backend="pyarrow"),
    }


def columns() -> Any:
    numbers = make_pipeline(SimpleImputer(), StandardScaler())
    words = OneHotEncoder(handle_unknown="ignore")
    return make_pipeline(
        ColumnTransformer([("n", numbers, ["a", "b", "c"]), ("t", words, ["t"])]), LogisticRegression()
    )


def boosting() -> Any:
    return HistGradientBoostingClassifier(max_iter=3, min_samples_leaf=3, categorical_features=["t"])


@pytest.mark.parametrize("make", [columns, boosting])
@pytest.mark.parametrize("name", FRAMES)
def test_frames(name: str, make: Callable[[], Any]) -> None:
    frame = FRAMES[name]()
    model = make().fit(frame, Y)
    proto = to_onnx(model, frame)
    assert [item.name for item in proto.graph.input] == ["a", "b", "c", "t"]
    report = check_parity(model, proto, frame, suites=["data", "typical", "boundary"])
    assert report.verdict in (Verdict.EXACT, Verdict.WITHIN_ULP, Verdict.WITHIN_BUDGET), str(report)


def test_text_and_numbers_as_the_result_are_compared_column_by_column() -> None:
    model = ColumnTransformer([("s", StandardScaler(), ["a"]), ("t", "passthrough", ["t", "b"])]).fit(FULL)
    report = check_parity(model, to_onnx(model, FULL), FULL, suites=["data"])
    assert report.verdict in (Verdict.EXACT, Verdict.WITHIN_ULP, Verdict.WITHIN_BUDGET), str(report)


# --- metadata routing -------------------------------------------------------------------------------------------------

NUMBERS = FULL[["a", "b"]].to_numpy(float)
WEIGHTS = RNG.random(SIZE)


def weighted() -> Any:
    return LogisticRegression().set_fit_request(sample_weight=True).set_score_request(sample_weight=True)


def scaler() -> Any:
    return StandardScaler().set_fit_request(sample_weight=True)


ROUTED: dict[str, Callable[[], Any]] = {
    "pipeline": lambda: make_pipeline(scaler(), weighted()),
    "search": lambda: GridSearchCV(make_pipeline(scaler(), weighted()), {"logisticregression__C": [0.1, 1.0]}, cv=2),
    "voting": lambda: VotingClassifier([("a", make_pipeline(scaler(), weighted())), ("b", weighted())], voting="soft"),
    "stacking": lambda: StackingClassifier([("a", weighted())], weighted(), cv=2),
    "bagging": lambda: BaggingClassifier(weighted(), 3, random_state=0),
    "calibration": lambda: CalibratedClassifierCV(weighted(), cv=2),
    "columns": lambda: make_pipeline(
        ColumnTransformer([("a", scaler(), [0]), ("b", "passthrough", [1])]),
        FeatureUnion([("all", scaler()), ("again", "passthrough")]),
        weighted(),
    ),
    "selection": lambda: RFE(weighted(), n_features_to_select=1),
}


@pytest.mark.parametrize("name", ROUTED)
def test_models_that_were_fitted_with_routed_metadata(name: str) -> None:
    with sklearn.config_context(enable_metadata_routing=True):
        model = ROUTED[name]().fit(NUMBERS, Y, sample_weight=WEIGHTS)
        inside = to_onnx(model, NUMBERS, outputs=("predict", "predict_proba"))
        report = check_parity(model, inside, NUMBERS, suites=["data"])
    assert report.verdict in (Verdict.EXACT, Verdict.WITHIN_ULP, Verdict.WITHIN_BUDGET), str(report)
    outside = to_onnx(model, NUMBERS, outputs=("predict", "predict_proba"))
    assert outside.SerializeToString() == inside.SerializeToString()


def test_a_chain_that_was_fitted_with_routed_metadata() -> None:
    targets = np.stack([Y, np.roll(Y, 1)], axis=1)
    with sklearn.config_context(enable_metadata_routing=True):
        model = ClassifierChain(weighted()).fit(NUMBERS, targets, sample_weight=WEIGHTS)
        report = check_parity(model, to_onnx(model, NUMBERS), NUMBERS, suites=["data"])
    assert report.verdict in (Verdict.EXACT, Verdict.WITHIN_ULP, Verdict.WITHIN_BUDGET), str(report)
