"""Columns of text and of numbers that go side by side from one transformer to the next."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import polars
import pytest
from conftest import convert_model, run_model
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer, make_column_selector
from sklearn.ensemble import BaggingClassifier, RandomForestClassifier, StackingClassifier, VotingClassifier
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.feature_selection import SelectKBest
from sklearn.impute import MissingIndicator, SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    MinMaxScaler,
    OneHotEncoder,
    OrdinalEncoder,
    StandardScaler,
    TargetEncoder,
)
from sklearn.tree import DecisionTreeClassifier

from any2onnx.errors import InvalidType, UnsupportedParameter

RNG = np.random.default_rng(5)
SIZE = 60
TOWNS = np.array(["Oslo", "Łódź", "a b", "", "北京"], object)
FRAME = pd.DataFrame(
    {
        "town": TOWNS[RNG.integers(0, 5, SIZE)],
        "age": RNG.normal(40, 12, SIZE),
        "sex": np.array(["f", "m"], object)[RNG.integers(0, 2, SIZE)],
        "fare": RNG.gamma(2, 20, SIZE),
        "count": RNG.integers(0, 5, SIZE),
        "old": RNG.random(SIZE) < 0.3,
    }
)
Y = np.where(FRAME["age"] + 10 * (FRAME["sex"] == "f") + FRAME["fare"] / 4 > 52, "yes", "no")
TEXT, NUMBERS = ["town", "sex"], ["age", "fare"]
# Positions in what FIRST gives: numbers 0 and 1, towns 2, sex 3, count 4, old 5.
FIRST = ColumnTransformer([("n", StandardScaler(), NUMBERS), ("t", "passthrough", TEXT)], remainder="passthrough")
ENCODER = OneHotEncoder(handle_unknown="ignore")


def second(text: Any = ENCODER, **more: Any) -> ColumnTransformer:
    return ColumnTransformer([("text", text, [2, 3]), ("rest", MinMaxScaler(), [4, 0, 5])], **more)


def by_name(kind: str, verbose: bool) -> Pipeline:
    first = ColumnTransformer(FIRST.transformers, remainder="passthrough", verbose_feature_names_out=verbose)
    names = ["t__town", "t__sex"] if verbose else TEXT
    numbers = ["remainder__count", "n__age"] if verbose else ["count", "age"]
    return make_pipeline(
        first.set_output(transform=kind),
        ColumnTransformer([("text", OneHotEncoder(sparse_output=False), names), ("rest", "passthrough", numbers)]),
        LogisticRegression(),
    )


PIPELINES = {
    "by position": make_pipeline(FIRST, second(), LogisticRegression()),
    "remainder": make_pipeline(FIRST, second(OrdinalEncoder(), remainder="passthrough"), LogisticRegression()),
    "by name, verbose": by_name("pandas", True),
    "by name, plain": by_name("pandas", False),
    "polars by name": by_name("polars", True),
    "selector by dtype": make_pipeline(
        ColumnTransformer(FIRST.transformers).set_output(transform="pandas"),
        ColumnTransformer(
            [
                ("a", OneHotEncoder(sparse_output=False), make_column_selector(dtype_include=["object", "str"])),
                ("b", "passthrough", make_column_selector(dtype_include="number")),
            ]
        ),
        LogisticRegression(),
    ),
    "three in a row": make_pipeline(
        FIRST,
        ColumnTransformer([("x", "passthrough", [3, 0, 2]), ("y", StandardScaler(), [4, 1])]),
        FunctionTransformer(),
        ColumnTransformer([("text", OneHotEncoder(), [0, 2]), ("rest", "passthrough", [4, 1])]),
        LogisticRegression(),
    ),
    "nested": make_pipeline(
        ColumnTransformer([("in", make_pipeline(FIRST, "passthrough"), list(FRAME.columns))]),
        Pipeline([("a", second()), ("b", StandardScaler(with_mean=False))]),
        LogisticRegression(),
    ),
    "union": make_pipeline(
        FeatureUnion([("all", "passthrough"), ("again", FIRST), ("own", FunctionTransformer())]),
        ColumnTransformer([("text", ENCODER, [0, 2, 8, 9, 14]), ("n", StandardScaler(), [1, 4, 6, 7, 10, 15])]),
        LogisticRegression(),
    ),
    "whole object matrix encoded": make_pipeline(
        ColumnTransformer([("t", "passthrough", ["town", "count", "sex", "old"])]),
        OrdinalEncoder(),
        DecisionTreeClassifier(max_depth=4, random_state=0),
    ),
    "one-hot of all": make_pipeline(FIRST, OneHotEncoder(handle_unknown="ignore"), LogisticRegression()),
    "text column": make_pipeline(
        FIRST,
        ColumnTransformer([("words", CountVectorizer(token_pattern=r"\w"), 3), ("n", StandardScaler(), [0, 4])]),
        LogisticRegression(),
    ),
    "target encoder": make_pipeline(FIRST, second(TargetEncoder(random_state=0)), LogisticRegression()),
    "weights": make_pipeline(
        ColumnTransformer(FIRST.transformers, transformer_weights={"n": 2.5}),
        ColumnTransformer([("text", ENCODER, [2, 3]), ("rest", "passthrough", [0, 1])]),
        LogisticRegression(),
    ),
    "voting": make_pipeline(
        FIRST,
        VotingClassifier(
            [
                ("a", make_pipeline(second(), LogisticRegression())),
                ("b", make_pipeline(second(), RandomForestClassifier(3))),
            ],
            voting="soft",
        ),
    ),
    "bagging": BaggingClassifier(
        make_pipeline(
            ColumnTransformer([("t", OneHotEncoder(handle_unknown="ignore"), [0, 2]), ("n", "passthrough", [1, 3])]),
            LogisticRegression(),
        ),
        3,
        random_state=0,
    ),
    "one against the rest": make_pipeline(
        FIRST, OneVsRestClassifier(make_pipeline(second(), LogisticRegression()))
    ),
    "calibrated": make_pipeline(FIRST, CalibratedClassifierCV(make_pipeline(second(), LogisticRegression()), cv=2)),
    "stacking with text passed through": make_pipeline(
        FIRST,
        StackingClassifier(
            [("a", make_pipeline(second(), LogisticRegression()))],
            make_pipeline(
                ColumnTransformer([("t", ENCODER, [3, 4]), ("n", "passthrough", [0, 1, 5])]), LogisticRegression()
            ),
            passthrough=True,
            cv=2,
        ),
    ),
    "selection after": make_pipeline(FIRST, second(), SelectKBest(k=4), LogisticRegression()),
}  # fmt: skip


# float32 numbers that scikit-learn rounds once more on their way are other categories.
CASES = [(name, np.float64) for name in PIPELINES] + [(name, np.float32) for name in PIPELINES if "one-hot" not in name]


@pytest.mark.parametrize(("name", "floating"), CASES)
def test_text_and_numbers_between_steps(name: str, floating: Any, compare) -> None:
    frame = FRAME.astype({"age": floating, "fare": floating})
    if name == "polars by name":
        frame = polars.DataFrame({column: frame[column].to_numpy() for column in frame})
    model = PIPELINES[name].fit(frame, Y)
    compare(model, frame, ("predict", "predict_proba"), dtypes=(None,))


@pytest.mark.parametrize("opset", [13, 18, 28])
def test_other_opsets(opset: int, compare) -> None:
    model = PIPELINES["by position"].fit(FRAME, Y)
    compare(model, FRAME, ("predict", "predict_proba"), dtypes=(None,), opsets=(opset,))


# --- missing values ---------------------------------------------------------------------------------------------------

HOLES = FRAME.copy()
HOLES.loc[::5, "age"] = np.nan
HOLES.loc[::7, "town"] = np.nan
HOLES.loc[3, "sex"] = np.nan
PLAIN = ColumnTransformer([("t", "passthrough", ["town", "age", "sex", "fare", "count"])])
IMPUTERS = {
    "most frequent": SimpleImputer(strategy="most_frequent"),
    "indicator": SimpleImputer(strategy="most_frequent", add_indicator=True),
    "flags and values": FeatureUnion(
        [("i", SimpleImputer(strategy="most_frequent")), ("m", MissingIndicator()), ("n", "passthrough")]
    ),
}


@pytest.mark.parametrize("name", IMPUTERS)
def test_imputing_a_matrix_of_text_and_numbers(name: str, compare) -> None:
    last = ColumnTransformer([("t", ENCODER, [0, 2]), ("n", MinMaxScaler(), [1, 3, 4])])
    if name != "most frequent":
        last = ColumnTransformer([("t", ENCODER, [0, 2]), ("n", MinMaxScaler(), [1, 3, 4, 5, 6, 7])])
    model = make_pipeline(PLAIN, IMPUTERS[name], last, LogisticRegression()).fit(HOLES, Y)
    compare(model, HOLES, ("predict", "predict_proba"), dtypes=(None,))


def test_constant_text_is_refused_for_a_column_of_numbers() -> None:
    model = make_pipeline(
        PLAIN, SimpleImputer(strategy="constant", fill_value="?"), ColumnTransformer([("t", ENCODER, [0, 2])])
    )
    with pytest.raises(UnsupportedParameter, match="puts text into a column of numbers"):
        convert_model(model.fit(HOLES), HOLES)


# --- as the model's own result ----------------------------------------------------------------------------------------


def test_a_mixed_result_is_one_output_per_column() -> None:
    model = FIRST.fit(FRAME)
    proto = convert_model(model, FRAME)
    assert [output.name for output in proto.graph.output] == [f"variable_{k}" for k in range(6)]
    for rows in (FRAME, FRAME[:1], FRAME[:0]):
        results = run_model(proto, rows)
        assert [result.shape for result in results] == [(len(rows), 1)] * 6
        expected = model.transform(rows) if len(rows) else np.empty((0, 6), object)
        for k, result in enumerate(results):
            if k in (2, 3):
                assert result.ravel().tolist() == expected[:, k].tolist()
            else:
                np.testing.assert_allclose(result.ravel().astype(float), expected[:, k].astype(float), rtol=1e-12)


def test_inverse_of_an_encoder_of_text_and_numbers() -> None:
    given = FRAME[["town", "count", "sex"]]
    for model in (
        OneHotEncoder(drop="first", sparse_output=False),
        OrdinalEncoder(),
        OneHotEncoder(handle_unknown="ignore", sparse_output=False),
    ):
        codes = model.fit(given).transform(given)
        proto = convert_model(model, codes, outputs=("inverse_transform",))
        back = model.inverse_transform(codes)
        for k, result in enumerate(run_model(proto, codes)):
            assert result.ravel().tolist() == back[:, k].tolist()


def test_numbers_needed_where_text_is() -> None:
    model = make_pipeline(FIRST, second(), LogisticRegression()).fit(FRAME, Y)
    model.steps[1] = ("scaler", StandardScaler().fit(FRAME[[*NUMBERS, "count", "old", *NUMBERS]].to_numpy(float)))
    with pytest.raises(InvalidType, match="holds text where numbers are needed"):
        convert_model(model, FRAME)
