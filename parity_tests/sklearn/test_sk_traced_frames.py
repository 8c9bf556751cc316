"""FunctionTransformer over data frames: pandas' methods are traced, whatever else is refused by its name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnxruntime
import pandas as pd
import polars as pl
import pytest
from numpy.typing import NDArray
from sklearn.compose import ColumnTransformer, make_column_transformer
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

from any2onnx import to_onnx
from any2onnx.errors import UnsupportedParameter

_RNG = np.random.default_rng(0)
_NUMBERS = _RNG.normal(size=(30, 4)) * 2 + 0.5
FRAME = pd.DataFrame(_NUMBERS, columns=list("abcd"))
MIXED = pd.DataFrame(
    {
        "a": _NUMBERS[:, 0],
        "b": _NUMBERS[:, 1],
        "n": _RNG.integers(-5, 9, size=30),
        "s": _RNG.choice(["x", "yy", "ż"], 30),
        "t": _RNG.choice([True, False], 30),
        "m": np.where(_RNG.random(30) < 0.2, np.nan, _NUMBERS[:, 2]),
    }
)


def with_new_columns(d: Any) -> Any:
    d = d.copy()
    d["ratio"] = d["a"] / d["b"]
    d["large"] = (d.a > 1).astype(int)
    d.loc[d["a"] < 0, "a"] = 0
    d[["c", "d"]] = d[["c", "d"]] * 2
    d.insert(0, "first", d.pop("b") + 1)
    return d


def guarded(X: Any) -> Any:
    if isinstance(X, pd.DataFrame):
        X = X.to_numpy()
    return np.asarray(X)[:, :2] if hasattr(X, "shape") else X


OF_NUMBERS: dict[str, Callable[[Any], Any]] = {
    "numpy": np.log1p,
    "columns": lambda d: d[["c", "a"]],
    "ratio": lambda d: (d["a"] / d["b"]).to_frame(),
    "attributes": lambda d: (d.a - d.b).to_frame("r"),
    "assign": lambda d: d.assign(r=d.a / d.b, q=lambda x: x.r * x["b"]),
    "drop": lambda d: d.drop(columns=["a"]).drop("b", axis=1),
    "new columns": with_new_columns,
    "array": lambda d: d.values * 2 + d.to_numpy(),
    "iloc": lambda d: d.iloc[:, [1, 3]].join(d.iloc[:, 0]),
    "loc": lambda d: d.loc[:, "b":"d"].loc[:, ["d", "b"]],
    "fill": lambda d: d.fillna({"a": 1.0}).fillna(0),
    "clip": lambda d: d.clip(lower=0, upper=2),
    "apply a ufunc": lambda d: d.apply(np.exp),
    "apply to columns": lambda d: d.apply(lambda column: column * 2 + 1),
    "apply to rows": lambda d: d.apply(lambda row: row["a"] + row.b * 2, axis=1).to_frame(),
    "map": lambda d: d.map(lambda v: v * 2),
    "sums": lambda d: pd.concat([d.sum(axis=1), d.mean(axis=1), d.std(axis=1), d.max(axis=1)], axis=1),
    "concat": lambda d: pd.concat([d, d**2], axis=1),
    "frame of columns": lambda d: pd.DataFrame({"r": d["a"] / d["b"], "s": d["c"]}, index=d.index),
    "frame of an array": lambda d: pd.DataFrame(np.tanh(d.to_numpy()), columns=d.columns)[["b", "a"]],
    "where": lambda d: d.where(d > 0, 0) + d.mask(d > 1, -1),
    "choices": lambda d: np.where(d["a"] > 0, d["b"], 1).reshape(-1, 1),
    "select": lambda d: np.select([d.a > 1, d.a > 0], [d.b, d.c], default=0).reshape(-1, 1),
    "missing": lambda d: d.isna() | d["a"].isna().to_frame().to_numpy(),
    "not missing": pd.notna,
    "rename": lambda d: d.rename(columns={"a": "z"})[["z"]].add_prefix("p_").set_axis(["q"], axis=1),
    "filter": lambda d: d.filter(regex="[ab]").filter(items=["b"]),
    "round": lambda d: d.round(2),
    "pipe": lambda d: d.pipe(np.exp),
    "comparisons": lambda d: d.ge(0).astype(int) + (d > 1),
    "flexible": lambda d: d.add(1).div(d["a"], axis=0).rsub(2),
    "by names": lambda d: d[[c for c in d.columns if c != "a"]],
    "one by one": lambda d: pd.DataFrame({f"{name}_2": column**2 for name, column in d.items()}),
    "between": lambda d: d["a"].between(0, 1).to_frame(),
    "powers": lambda d: np.sqrt(d.abs()) ** 3 - d.abs().pow(1.5),
    "guarded": guarded,
    "row lists": lambda d: d[["a", "b"]].to_numpy() - d[["c"]].to_numpy(),
}  # fmt: skip
OF_MIXED: dict[str, Callable[[Any], Any]] = {
    "text equals": lambda d: (d["s"] == "ż").to_frame(),
    "text in": lambda d: d["s"].isin(["x", "ż"]).to_frame(),
    "text to numbers": lambda d: d["s"].map({"x": 1.0, "ż": 3.0}).to_frame(),
    "text for text": lambda d: d["s"].replace({"x": "y"}).to_frame(),
    "fill": lambda d: d[["m"]].fillna(0),
    "fill by another": lambda d: d["m"].fillna(d["a"]).to_frame(),
    "without missing": lambda d: d[["a", "m"]].sum(axis=1).to_frame(),
    "means": lambda d: d[["a", "m"]].mean(axis=1).to_frame(),
    "greatest": lambda d: d[["a", "m"]].max(axis=1).to_frame(),
    "integers": lambda d: d[["n"]] // 2 + d[["n"]] % 3,
    "integers and floats": lambda d: (d["a"] / d["n"]).to_frame(),
    "bools": lambda d: d[["t"]].astype(int),
    "not": lambda d: (~d["t"] & (d.a > 0)).to_frame(),
    "text and numbers": lambda d: d[["s", "a"]],
    "all with another": lambda d: d.assign(r=d.a + d.n),
    "numbers": lambda d: d.select_dtypes("number"),
}  # fmt: skip


def feeds(session: Any, frame: pd.DataFrame) -> dict[str, NDArray[Any]]:
    found = {}
    for item in session.get_inputs():
        column = frame[[item.name]]
        found[item.name] = column.to_numpy(object) if item.type == "tensor(string)" else column.to_numpy()
    return found


def check(function: Any, frame: pd.DataFrame) -> None:
    model = FunctionTransformer(function).fit(frame)
    session = onnxruntime.InferenceSession(to_onnx(model, frame[:2]).SerializeToString())
    for some in (frame, frame[:1]):
        want = np.asarray(model.transform(some.copy()))
        got = session.run(None, feeds(session, some))
        if len(got) > 1 or want.dtype == object:
            joined = np.concatenate([part.astype(object) for part in got], axis=1)
            assert joined.shape == want.shape
            same = (joined == want) | ((joined != joined) & (want != want))
            assert same.all()
            continue
        assert got[0].shape == want.shape
        np.testing.assert_allclose(got[0].astype(float), want.astype(float), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", OF_NUMBERS)
def test_functions_of_numbers(name: str) -> None:
    check(OF_NUMBERS[name], FRAME)


@pytest.mark.parametrize("name", OF_MIXED)
def test_functions_of_mixed_columns(name: str) -> None:
    check(OF_MIXED[name], MIXED)


def ratio(d: Any) -> Any:
    return d.assign(ratio=d["a"] / (np.abs(d["b"]) + 1)).drop(columns="b")


def test_inside_a_column_transformer_and_before_a_model() -> None:
    columns = ColumnTransformer(
        [
            ("ratio", make_pipeline(FunctionTransformer(ratio), StandardScaler()), ["a", "b"]),
            ("group", FunctionTransformer(lambda d: d[["s"]]), ["s", "t"]),
        ]
    ).fit(MIXED)
    session = onnxruntime.InferenceSession(to_onnx(columns, MIXED[:2]).SerializeToString())
    got = np.concatenate([part.astype(object) for part in session.run(None, feeds(session, MIXED))], axis=1)
    want = columns.transform(MIXED)
    assert got[:, 2].tolist() == want[:, 2].tolist()
    np.testing.assert_allclose(got[:, :2].astype(float), want[:, :2].astype(float), rtol=1e-9)

    encoded = make_column_transformer((OneHotEncoder(), ["s"]), remainder="passthrough")
    model = make_pipeline(
        FunctionTransformer(lambda d: d[["a", "b", "s"]].assign(p=d.a * d.b, n=d["m"].fillna(0))),
        encoded,
        LinearRegression(),
    ).fit(MIXED, MIXED["a"])
    session = onnxruntime.InferenceSession(to_onnx(model, MIXED[:2]).SerializeToString())
    np.testing.assert_allclose(
        session.run(None, feeds(session, MIXED))[0].ravel(), model.predict(MIXED), rtol=1e-8, atol=1e-8
    )


def test_a_validated_frame_is_an_array() -> None:
    model = FunctionTransformer(lambda X: X[:, [0]] * 2, validate=True).fit(FRAME)
    session = onnxruntime.InferenceSession(to_onnx(model, FRAME[:2]).SerializeToString())
    np.testing.assert_allclose(session.run(None, feeds(session, FRAME))[0], model.transform(FRAME))


def test_what_the_function_writes_into_its_frame() -> None:
    def writes(d: Any) -> Any:
        d["a"] = 0.0
        return d

    check(writes, FRAME.copy())


REFUSED: dict[str, tuple[Callable[[Any], Any], str]] = {
    "mean of a column": (lambda d: d - d.mean(), "mean over rows"),
    "rank": (lambda d: d.rank(), "pandas.DataFrame.rank"),
    "shift": (lambda d: d.shift(1), "pandas.DataFrame.shift"),
    "rows": (lambda d: d[d["a"] > 0], "selects rows"),
    "head": (lambda d: d.head(3), "pandas.DataFrame.head"),
    "some rows": (lambda d: d.iloc[1:], "selects rows"),
    "text functions": (lambda d: d["s"].str.lower().to_frame(), "pandas.Series.str"),
    "groups": (lambda d: d.groupby("s").transform("mean"), "pandas.DataFrame.groupby"),
    "codes": (pd.get_dummies, "cannot be traced"),
    "expressions": (lambda d: d.eval("r = a + b"), "pandas.DataFrame.eval"),
    "types": (lambda d: d.loc[:, d.dtypes == "float64"], "pandas.DataFrame.dtypes"),
    "missing text": (lambda d: d.fillna(0), "missing text"),
    "text and numbers": (lambda d: np.where(d["a"] > 0, d["s"], d["b"]).reshape(-1, 1), "text and numbers"),
    "branches": (lambda d: d["a"].map(lambda v: 1 if v > 0 else 0).to_frame(), "decides by values"),
    "kinds of values": (lambda d: d[["a"]].map(lambda v: 0.0 if isinstance(v, float) else v), "what a value is"),
    "functions of text": (lambda d: d["s"].map(len).to_frame(), "function of text"),
    "other columns": (lambda d: d[["a"]] + d[["b"]], "different columns"),
    "no such column": (lambda d: d[["zz"]] if "zz" in d else d[["yy"]], "yy"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_functions_that_cannot_be_traced(name: str) -> None:
    function, reason = REFUSED[name]
    model = FunctionTransformer(function)
    model.feature_names_in_ = MIXED.columns.to_numpy(object)
    model.n_features_in_ = MIXED.shape[1]
    with pytest.raises(UnsupportedParameter, match="cannot be traced") as raised:
        to_onnx(model, MIXED[:2])
    assert reason in str(raised.value)


def test_polars_frames_where_the_method_is_pandas_too() -> None:
    frame = pl.DataFrame({"a": [1.0, 2.0], "b": [3.0, 5.0]})
    model = FunctionTransformer(lambda d: d[["b", "a"]]).fit(frame)
    session = onnxruntime.InferenceSession(to_onnx(model, frame).SerializeToString())
    got = session.run(None, {name: frame[[name]].to_numpy() for name in frame.columns})[0]
    np.testing.assert_array_equal(got, model.transform(frame).to_numpy())
    with pytest.raises(UnsupportedParameter, match="with_columns"):
        to_onnx(FunctionTransformer(lambda d: d.with_columns(pl.col("a") * 2)).fit(frame), frame)
