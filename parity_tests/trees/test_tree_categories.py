"""HistGradientBoosting with categorical features: codes, text, gaps, unseen and missing categories."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from tree_harness import OPSETS, convert, expected, run

from any2onnx.converters.sklearn.hist_gradient_boosting import ensemble_of_predictors
from any2onnx.errors import InvalidType
from any2onnx.tree_ensemble import Mode

RNG = np.random.default_rng(1)
N = 300
CODES = RNG.integers(0, 40, N)
GAPS = RNG.choice([2, 3, 5, 7, 11, 100, 1000], N)
FLOATS = RNG.choice([-1.5, 0.25, 3.75], N)
TEXT = RNG.choice(["red", "green", "blue", "Ärmel", ""], N)
NUMBERS = RNG.normal(size=(N, 2))
Y = np.sin(CODES * 7.0) + (GAPS % 3) + FLOATS + np.char.str_len(TEXT) + NUMBERS[:, 0]
MATRIX = np.column_stack([NUMBERS[:, 0], CODES, GAPS, NUMBERS[:, 1], FLOATS]).astype(np.float64)
SMALL: dict[str, Any] = {"max_iter": 6, "min_samples_leaf": 4, "random_state": 0}


def probes(rows: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Rows with every category column replaced by what it can and cannot hold."""
    odd = np.array(
        [np.nan, -1.0, -0.0, 0.0, 1.0, 1.5, 39.0, 40.0, 63.0, 64.0, 255.0, 256.0, 1e9, 1000.0, 2.0, 3.75, 0.25]
    )
    more = np.repeat(rows[:6], len(odd), axis=0)
    both = [rows]
    for column in (1, 2, 4):
        changed = more.copy()
        changed[:, column] = np.tile(odd, 6)
        both.append(changed)
    return np.concatenate(both)


@pytest.mark.parametrize("opset", [*OPSETS, {"": 18, "ai.onnx.ml": 1}])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", ["regressor", "binary", "three"])
def test_codes_gaps_and_fractions(kind: str, dtype: Any, opset: Any) -> None:
    rows = MATRIX.astype(dtype)
    rows[RNG.random(N) < 0.1, 1] = np.nan
    settings = {"categorical_features": [1, 2, 4], **SMALL}
    if kind == "regressor":
        model = HistGradientBoostingRegressor(**settings).fit(rows, Y)
    else:
        model = HistGradientBoostingClassifier(**settings).fit(
            rows, np.digitize(Y, [5] if kind == "binary" else [4, 7])
        )
    assert Mode.MEMBER in ensemble_of_predictors(model).validate().modes()
    asked = probes(rows)
    methods = ("predict",) if kind == "regressor" else ("predict", "decision_function", "predict_proba")
    got = run(convert(model, rows, methods, opset), asked)
    for method in methods:
        want = expected(model, asked, method)[method]
        tolerance = 1e-9 if dtype == np.float64 else 2e-6
        assert np.abs(got[method] - want).max() <= tolerance * max(1, np.abs(want).max()), method


@pytest.mark.parametrize("opset", [*OPSETS, {"": 18, "ai.onnx.ml": 1}])
def test_columns_of_text(opset: Any) -> None:
    frame = pd.DataFrame(
        {"a": NUMBERS[:, 0], "colour": pd.Categorical(TEXT), "gap": pd.Categorical(GAPS), "b": NUMBERS[:, 1]}
    )
    model = HistGradientBoostingRegressor(**SMALL).fit(frame, Y)
    columns = [NUMBERS[:, :1], TEXT[:, None].astype(object), GAPS[:, None], NUMBERS[:, 1:]]
    onnx_model = convert(model, columns, ("predict",), opset, columns=True)
    assert np.abs(run(onnx_model, *columns)["predict"] - model.predict(frame)).max() < 1e-9
    unseen = [
        NUMBERS[:3, :1],
        np.array([["violet"], ["red"], ["Ärmel"]], object),
        np.array([[2], [4], [5]]),
        NUMBERS[:3, 1:],
    ]
    want = pd.DataFrame(
        {
            "a": NUMBERS[:3, 0],
            "colour": pd.Categorical([None, "red", "Ärmel"], categories=frame.colour.cat.categories),
            "gap": pd.Categorical([2, None, 5], categories=frame.gap.cat.categories),
            "b": NUMBERS[:3, 1],
        }
    )
    assert np.abs(run(onnx_model, *unseen)["predict"] - model.predict(want)).max() < 1e-9


def test_only_categories_and_missing_alone_in_a_set() -> None:
    """Where only missing values go left, the set of categories is empty."""
    codes = np.where(np.arange(200) % 2 == 0, np.nan, np.arange(200) % 4)[:, None]
    y = np.isnan(codes[:, 0]) * 10.0 + np.nan_to_num(codes[:, 0]) * 0.1
    model = HistGradientBoostingRegressor(categorical_features=[0], **SMALL).fit(codes, y)
    asked = np.array([[np.nan], [0], [1], [2], [3], [4], [0.5]])
    for opset in OPSETS:
        for dtype in (np.float32, np.float64):
            got = run(convert(model, codes.astype(dtype), opset=opset), asked.astype(dtype))["predict"]
            assert np.abs(got - model.predict(asked)).max() < 1e-6


def test_text_where_numbers_were_trained() -> None:
    model = HistGradientBoostingRegressor(categorical_features=[0], **SMALL).fit(MATRIX[:, 1:2], Y)
    with pytest.raises(InvalidType, match="categorical column"):
        convert(model, TEXT[:, None].astype(object))
    with pytest.raises(InvalidType, match="is text"):
        convert(HistGradientBoostingRegressor(**SMALL).fit(NUMBERS[:, :1], Y), TEXT[:, None].astype(object))
