"""Scalers, encoders, imputers and traced functions against scikit-learn."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime
import pandas as pd
import pytest
from sklearn.impute import MissingIndicator, SimpleImputer
from sklearn.metrics.pairwise import rbf_kernel
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    Binarizer,
    FunctionTransformer,
    KBinsDiscretizer,
    KernelCenterer,
    LabelBinarizer,
    LabelEncoder,
    MaxAbsScaler,
    MinMaxScaler,
    Normalizer,
    OneHotEncoder,
    OrdinalEncoder,
    PolynomialFeatures,
    PowerTransformer,
    RobustScaler,
    StandardScaler,
)
from sklearn.utils import all_estimators

from any2onnx.converters.sklearn.context import class_key
from any2onnx.errors import InvalidType, UnknownOption, UnsupportedParameter
from any2onnx.operator_mappings.user_layer import current_registry

OPSETS = (13, 18, 21, 28)
BOTH = ("transform",)


@pytest.mark.parametrize(
    "scaler",
    [
        StandardScaler(),
        StandardScaler(with_mean=False),
        StandardScaler(with_std=False),
        StandardScaler(with_mean=False, with_std=False),
        RobustScaler(),
        RobustScaler(with_centering=False, quantile_range=(10, 60)),
        RobustScaler(with_scaling=False),
        RobustScaler(unit_variance=True),
        MaxAbsScaler(),
        MinMaxScaler(),
        MinMaxScaler(feature_range=(-2, 3)),
        MinMaxScaler(clip=True),
        PowerTransformer(),
        PowerTransformer(standardize=False),
        PowerTransformer("box-cox"),
    ],
    ids=str,
)
def test_scalers(compare: Any, iris: Any, scaler: Any) -> None:
    X = iris[0].copy()
    scaler.fit(X[::2])
    compare(scaler, X, ("transform",), opsets=OPSETS)
    compare(scaler, scaler.transform(X[:20]), ("inverse_transform",))


@pytest.mark.parametrize(
    "scaler", [StandardScaler(), RobustScaler(), MinMaxScaler(clip=True), MaxAbsScaler(), PowerTransformer()], ids=str
)
def test_missing_values_pass_through(compare: Any, iris: Any, scaler: Any) -> None:
    X = iris[0].copy()
    X[::5, 1] = np.nan
    compare(scaler.fit(X), X, ("transform",))


def test_large_means(compare: Any) -> None:
    """At a large mean x - mean cancels; the scalers subtract in float64 and round once."""
    X = (1e6 + np.random.default_rng(0).random((50, 3))).astype(np.float32)
    for model in (StandardScaler(), RobustScaler(), MinMaxScaler()):
        compare(model.fit(X.astype(np.float64)), X, ("transform",))


def test_extremes_of_yeo_johnson(compare: Any) -> None:
    X = np.array([[-1e-12], [1e-12], [0.0], [-3.0], [5.0], [1e3], [-1e3]])
    model = PowerTransformer(standardize=False).fit(X)
    for exponent in (0.0, 2.0, 1.0, -1.5, 1e-25, 3.0):
        model.lambdas_ = np.array([exponent])
        compare(model, X, ("transform",))


@pytest.mark.parametrize(
    "model",
    [
        Normalizer(),
        Normalizer("l1"),
        Normalizer("max"),
        Binarizer(threshold=1.4),
        PolynomialFeatures(),
        PolynomialFeatures(3, interaction_only=True),
        PolynomialFeatures((2, 3), include_bias=False),
        PolynomialFeatures(0),
        PolynomialFeatures(1, order="F"),
    ],
    ids=str,
)
def test_row_wise(compare: Any, iris: Any, model: Any) -> None:
    X = np.concatenate([iris[0] - 2.0, np.zeros((1, 4))])
    compare(model.fit(X), X, BOTH, opsets=OPSETS)


def test_integer_rows(compare: Any, run: Any, convert: Any) -> None:
    X = np.arange(12).reshape(4, 3)
    for model in (StandardScaler(), MinMaxScaler(), PolynomialFeatures(), Normalizer()):
        got = run(convert(model.fit(X), X), X)[0]
        np.testing.assert_allclose(got, model.transform(X), rtol=1e-12)
    got = run(convert(Binarizer(threshold=3.5).fit(X), X), X)[0]
    np.testing.assert_array_equal(got, Binarizer(threshold=3.5).transform(X))


def test_kernel_centerer(compare: Any, iris: Any) -> None:
    kernel = rbf_kernel(iris[0][:30])
    compare(KernelCenterer().fit(kernel), rbf_kernel(iris[0][30:60], iris[0][:30]), BOTH)


# --- encoders ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def letters() -> np.ndarray:
    rng = np.random.default_rng(0)
    return np.stack(
        [rng.choice(list("aabbbcd"), 60), rng.choice(["x", "y"], 60), rng.choice(["ü", "", "long text", "z"], 60)],
        axis=1,
    ).astype(object)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"drop": "first"},
        {"drop": "if_binary"},
        {"drop": ["a", "y", ""]},
        {"min_frequency": 15, "handle_unknown": "infrequent_if_exist"},
        {"max_categories": 2},
        {"max_categories": 2, "drop": "first"},
        {"max_categories": 2, "handle_unknown": "ignore"},
        {"handle_unknown": "ignore"},
        {"handle_unknown": "ignore", "drop": "first"},
        {"handle_unknown": "infrequent_if_exist", "max_categories": 3, "drop": "if_binary"},
        {"dtype": np.int32},
        {"dtype": np.float32, "sparse_output": False},
    ],
    ids=str,
)
def test_one_hot_of_text(run: Any, convert: Any, letters: Any, options: Any) -> None:
    model = OneHotEncoder(**options).fit(letters)
    rows = letters.copy()
    if options.get("handle_unknown", "error") != "error":
        rows[::4, 0] = "never seen"
        rows[::3, 2] = "nor this"
    want = model.transform(rows)
    want = want.toarray() if hasattr(want, "toarray") else want
    for opset in OPSETS:
        got = run(convert(model, letters, opset=opset), rows)[0]
        np.testing.assert_array_equal(got, want)
        assert got.dtype == (np.int32 if options.get("dtype") is np.int32 else np.float32)
        assert run(convert(model, letters, opset=opset), rows[:0])[0].shape == (0, want.shape[1])


@pytest.mark.parametrize(
    "X",
    [
        np.array([[1, 5], [2, 5], [3, -7], [1, 9]]),
        np.array([[1.5, np.nan], [2.5, 1.0], [np.nan, 2.0], [0.1, np.nan]]),
        np.array([[True, False], [False, False], [True, True]]),
    ],
    ids=["int", "float", "bool"],
)
@pytest.mark.parametrize(
    "encoder", [OneHotEncoder(handle_unknown="ignore"), OneHotEncoder(drop="first"), OrdinalEncoder()], ids=str
)
def test_encoders_of_numbers(run: Any, convert: Any, X: Any, encoder: Any) -> None:
    encoder.fit(X)
    want = encoder.transform(X)
    want = want.toarray() if hasattr(want, "toarray") else want
    for opset in OPSETS:
        np.testing.assert_array_equal(run(convert(encoder, X, opset=opset), X)[0], want)


def test_unknown_numbers(run: Any, convert: Any) -> None:
    X = np.array([[1.0], [2.0], [np.nan]])
    new = np.array([[3.0], [1.0], [np.nan]])
    for model in (
        OneHotEncoder(handle_unknown="ignore"),
        OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-5),
    ):
        want = model.fit(X).transform(new)
        want = want.toarray() if hasattr(want, "toarray") else want
        np.testing.assert_array_equal(run(convert(model, X), new)[0], want)
    ints = np.array([[1], [2]])
    got = run(convert(OneHotEncoder(handle_unknown="ignore").fit(ints), ints), np.array([[7], [2]]))[0]
    np.testing.assert_array_equal(got, [[0, 0], [0, 1]])


def test_float32_rows_against_float64_categories(run: Any, convert: Any) -> None:
    """0.1 in float32 is not the category 0.1, for scikit-learn neither."""
    model = OneHotEncoder(handle_unknown="ignore").fit(np.array([[0.1], [0.5]]))
    rows = np.array([[0.1], [0.5]], np.float32)
    np.testing.assert_array_equal(run(convert(model, rows), rows)[0], model.transform(rows).toarray())


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"handle_unknown": "use_encoded_value", "unknown_value": -1},
        {"handle_unknown": "use_encoded_value", "unknown_value": np.nan},
        {"handle_unknown": "use_encoded_value", "unknown_value": 99, "dtype": np.int64},
        {"min_frequency": 15, "handle_unknown": "use_encoded_value", "unknown_value": -3},
        {"max_categories": 2},
        {"categories": [["d", "c", "b", "a"], ["y", "x"], ["", "z", "ü", "long text"]]},
    ],
    ids=str,
)
def test_ordinal_of_text(run: Any, convert: Any, letters: Any, options: Any) -> None:
    model = OrdinalEncoder(**options).fit(letters)
    rows = letters.copy()
    if "unknown_value" in options:
        rows[::4, 0] = "never seen"
    for opset in OPSETS:
        np.testing.assert_array_equal(run(convert(model, letters, opset=opset), rows)[0], model.transform(rows))


@pytest.mark.parametrize("missing", [np.nan, None])
def test_missing_text(run: Any, convert: Any, letters: Any, missing: Any) -> None:
    X = letters.copy()
    X[::6, 1] = missing
    for model in (
        OneHotEncoder(),
        OrdinalEncoder(),
        OrdinalEncoder(encoded_missing_value=-1),
        OrdinalEncoder(encoded_missing_value=-1, max_categories=2),
    ):
        want = model.fit(X).transform(X)
        want = want.toarray() if hasattr(want, "toarray") else want
        np.testing.assert_array_equal(run(convert(model, X), X)[0], want)


def test_missing_text_that_is_also_a_category_is_refused(convert: Any) -> None:
    X = np.array([["nan"], [np.nan], ["a"]], dtype=object)
    with pytest.raises(UnsupportedParameter, match="same text"):
        convert(OneHotEncoder().fit(X), X)


def test_mixed_frame_encoders(compare: Any, frame: Any) -> None:
    data = frame[["sex", "sibs", "port"]]
    compare(OrdinalEncoder().fit(data), data, BOTH, dtypes=(None,))
    compare(OneHotEncoder(drop="if_binary").fit(data), data, BOTH, dtypes=(None,))


def test_pandas_categories(convert: Any, run: Any) -> None:
    data = pd.DataFrame({"c": pd.Categorical(["u", "v", "u"], categories=["v", "u", "w"]), "n": [1, 2, 3]})
    model = OneHotEncoder().fit(data)
    np.testing.assert_array_equal(run(convert(model, data), data)[0], model.transform(data).toarray())


def test_wrong_kind_of_column(convert: Any, letters: Any) -> None:
    from any2onnx.data_types import FloatTensorType, StringTensorType

    with pytest.raises(InvalidType, match="fitted on text"):
        convert(OneHotEncoder().fit(letters), initial_types=[("x", FloatTensorType([None, 3]))])
    with pytest.raises(InvalidType, match="fitted on numbers"):
        convert(OneHotEncoder().fit(np.eye(3)), initial_types=[("x", StringTensorType([None, 3]))])


def test_every_category_dropped(convert: Any, run: Any) -> None:
    X = np.array([["a"], ["a"]], dtype=object)
    (got,) = run(convert(OneHotEncoder(drop="first").fit(X), X), X)
    assert got.shape == OneHotEncoder(drop="first").fit_transform(X).shape == (2, 0)


@pytest.mark.parametrize("y", [np.array(["b", "a", "c", "a"]), np.array([5, 3, 9, 3]), np.array([1.5, 0.5, 1.5, 0.5])])
def test_label_encoders(run: Any, convert: Any, y: Any) -> None:
    sample = y.astype(object) if y.dtype.kind == "U" else y
    model = LabelEncoder().fit(y)
    np.testing.assert_array_equal(run(convert(model, sample), y)[0], model.transform(y))
    codes = model.transform(y)
    np.testing.assert_array_equal(run(convert(model, codes, outputs=("inverse_transform",)), codes)[0], y)
    if y.dtype.kind != "f":
        for binarizer in (
            LabelBinarizer(),
            LabelBinarizer(neg_label=-2, pos_label=3),
            LabelBinarizer(sparse_output=True),
        ):
            want = binarizer.fit(y).transform(y)
            want = want.toarray() if hasattr(want, "toarray") else want
            np.testing.assert_array_equal(run(convert(binarizer, sample), y)[0], want)
            two = y[:2]
            want = binarizer.fit(two).transform(two)
            want = want.toarray() if hasattr(want, "toarray") else want
            np.testing.assert_array_equal(run(convert(binarizer, sample), two)[0], want)


@pytest.mark.parametrize("encode", ["onehot", "onehot-dense", "ordinal"])
@pytest.mark.parametrize("strategy", ["uniform", "quantile", "kmeans"])
def test_bins(compare: Any, iris: Any, encode: str, strategy: str) -> None:
    model = KBinsDiscretizer([3, 2, 5, 4], encode=encode, strategy=strategy).fit(iris[0])
    edges = np.array([[e[k % len(e)] for e in model.bin_edges_] for k in range(6)])
    # float64 rows on the edges themselves, and far outside.
    compare(model, np.concatenate([iris[0], edges, [[-9e9] * 4, [9e9] * 4]]), BOTH, dtypes=(np.float64,), opsets=OPSETS)
    compare(model, iris[0], BOTH)


def _back(run: Any, convert: Any, model: Any, codes: Any, want: Any) -> None:
    got = run(convert(model, codes, outputs=("inverse_transform",)), codes)[0]
    if want.dtype == object:
        assert got.tolist() == [[str(item) for item in row] for row in want.tolist()]
    else:
        np.testing.assert_allclose(got, want, rtol=1e-12)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"drop": "first"},
        {"drop": "if_binary"},
        {"max_categories": 2},
        {"max_categories": 2, "drop": "first"},
        {"handle_unknown": "ignore"},
        {"handle_unknown": "ignore", "drop": "first"},
    ],
    ids=str,
)
def test_one_hot_inverse(run: Any, convert: Any, letters: Any, options: Any) -> None:
    model = OneHotEncoder(sparse_output=False, **options).fit(letters)
    codes = model.transform(letters)
    if options.get("handle_unknown") == "ignore":
        codes[::4] = 0.0
    _back(run, convert, model, codes, model.inverse_transform(codes))


def test_one_hot_inverse_of_one_category_and_of_numbers(run: Any, convert: Any) -> None:
    X = np.array([["a", "u"], ["a", "v"]], dtype=object)
    model = OneHotEncoder(sparse_output=False, drop="first").fit(X)
    _back(run, convert, model, model.transform(X), model.inverse_transform(model.transform(X)))
    for numbers in (np.array([[1, 2], [3, 2]]), np.array([[1.5, 2], [3, np.nan]])):
        model = OneHotEncoder(sparse_output=False).fit(numbers)
        codes = model.transform(numbers)
        _back(run, convert, model, codes, model.inverse_transform(codes))
    model = OneHotEncoder(handle_unknown="ignore").fit(np.array([[1], [2]]))
    codes = np.array([[0.0, 1.0], [0.0, 0.0]])
    # None among numbers is NaN.
    _back(run, convert, model, codes, model.inverse_transform(codes).astype(float))


def test_ordinal_inverse(run: Any, convert: Any, letters: Any) -> None:
    X = letters.copy()
    X[::5, 1] = np.nan
    for options in (
        {},
        {"encoded_missing_value": -9},
        {"handle_unknown": "use_encoded_value", "unknown_value": -1},
        {"handle_unknown": "use_encoded_value", "unknown_value": np.nan, "encoded_missing_value": -2},
    ):
        model = OrdinalEncoder(**options).fit(X)
        rows = X.copy()
        if "unknown_value" in options:
            rows[::7, 0] = "never seen"
        codes = model.transform(rows)
        _back(run, convert, model, codes, model.inverse_transform(codes.copy()))
    numbers = np.array([[1.5, 2.0], [3.0, 4.0]])
    model = OrdinalEncoder().fit(numbers)
    _back(run, convert, model, model.transform(numbers), numbers)
    for options in ({}, {"handle_unknown": "use_encoded_value", "unknown_value": -1}):
        model = OrdinalEncoder(max_categories=2, **options).fit(letters)
        codes = model.transform(letters)
        codes[0] = options.get("unknown_value", 0)
        _back(run, convert, model, codes, model.inverse_transform(codes.copy()))
    mixed_up = OrdinalEncoder(max_categories=2).fit(X)
    with pytest.raises(UnsupportedParameter, match="missing values and grouped"):
        convert(mixed_up, np.zeros((1, 3)), outputs=("inverse_transform",))


def test_other_inverses(run: Any, convert: Any, iris: Any) -> None:
    for encode in ("ordinal", "onehot-dense"):
        model = KBinsDiscretizer([3, 2, 5, 4], encode=encode).fit(iris[0])
        codes = model.transform(iris[0])
        _back(run, convert, model, codes, model.inverse_transform(codes))
    for y in (np.array([5, 3, 9, 3]), np.array([5, 3, 3, 3])):
        for model in (LabelBinarizer(), LabelBinarizer(neg_label=-2, pos_label=3)):
            codes = model.fit(y).transform(y)
            np.testing.assert_array_equal(run(convert(model, codes, outputs=("inverse_transform",)), codes)[0], y)


# --- imputers ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("strategy", ["mean", "median", "most_frequent", "constant"])
@pytest.mark.parametrize("indicator", [False, True])
@pytest.mark.parametrize("empty", [False, True])
def test_imputer_of_numbers(compare: Any, iris: Any, strategy: str, indicator: bool, empty: bool) -> None:
    X = iris[0].copy()
    X[::4, 1] = np.nan
    X[:, 3] = np.nan
    model = SimpleImputer(
        strategy=strategy,
        add_indicator=indicator,
        keep_empty_features=empty,
        fill_value=7.5 if strategy == "constant" else None,
    )
    compare(model.fit(X), X, BOTH, opsets=OPSETS)


def test_imputer_of_a_number_that_means_missing(run: Any, convert: Any) -> None:
    X = np.array([[1, -1], [2, 5], [-1, 6]])
    for model in (SimpleImputer(missing_values=-1, strategy="most_frequent"), SimpleImputer(missing_values=-1)):
        np.testing.assert_array_equal(run(convert(model.fit(X), X), X)[0], model.transform(X))
    floats = X.astype(np.float32)
    model = SimpleImputer(missing_values=-1, add_indicator=True).fit(floats)
    np.testing.assert_allclose(run(convert(model, floats), floats)[0], model.transform(floats), rtol=1e-6)


@pytest.mark.parametrize("missing", [np.nan, None, "?"])
@pytest.mark.parametrize("strategy", ["most_frequent", "constant"])
def test_imputer_of_text(run: Any, convert: Any, letters: Any, missing: Any, strategy: str) -> None:
    X = letters.copy()
    X[::5, 0] = missing
    fill = "gap" if strategy == "constant" else None
    model = SimpleImputer(missing_values=missing, strategy=strategy, fill_value=fill).fit(X)
    for opset in OPSETS:
        assert run(convert(model, X, opset=opset), X)[0].tolist() == model.transform(X).tolist()
    both = make_pipeline(
        SimpleImputer(missing_values=missing, strategy=strategy, fill_value=fill), OneHotEncoder()
    ).fit(X)
    np.testing.assert_array_equal(run(convert(both, X), X)[0], both.transform(X).toarray())


def test_imputer_of_text_with_indicator(run: Any, convert: Any, letters: Any) -> None:
    X = letters.copy()
    X[::5, 0] = np.nan
    model = SimpleImputer(strategy="most_frequent", add_indicator=True).fit(X)
    # Text and flags have no common type: one output per column.
    results = run(convert(model, X), X)
    expected = model.transform(X)
    assert [result.dtype.kind for result in results] == ["O", "O", "O", "b"]
    for result, column in zip(results, expected.T, strict=True):
        assert result.ravel().tolist() == column.tolist()


def test_missing_indicator(run: Any, convert: Any, iris: Any) -> None:
    X = iris[0].copy()
    X[::4, 1] = np.nan
    for features in ("missing-only", "all"):
        model = MissingIndicator(features=features).fit(X)
        got = run(convert(model, X), X)[0]
        assert got.dtype == np.bool_
        np.testing.assert_array_equal(got, model.transform(X))
    assert run(convert(MissingIndicator().fit(iris[0]), iris[0]), iris[0])[0].shape == (150, 0)


def test_imputer_inverse(run: Any, convert: Any, iris: Any) -> None:
    X = iris[0].copy()
    X[::3, 0] = np.nan
    model = SimpleImputer(add_indicator=True).fit(X)
    imputed = model.transform(X)
    (got,) = run(convert(model, imputed, outputs=("inverse_transform",)), imputed)
    np.testing.assert_array_equal(got, X)
    with pytest.raises(UnsupportedParameter, match="add_indicator"):
        convert(SimpleImputer().fit(X), X, outputs=("inverse_transform",))
    with pytest.raises(InvalidType, match="has 4 columns"):
        convert(model, X, outputs=("inverse_transform",))
    with pytest.raises(UnknownOption, match="takes other inputs"):
        convert(model, X, outputs=("transform", "inverse_transform"))


# --- identity -----------------------------------------------------------------------------------------------


def test_identity_keeps_text(convert: Any, letters: Any) -> None:
    proto = convert(FunctionTransformer().fit(letters), letters)
    session = onnxruntime.InferenceSession(proto.SerializeToString())
    assert session.run(None, {"X": letters})[0].tolist() == letters.tolist()


def test_a_mean_is_filled_in_as_it_was_fitted(convert: Any, run: Any) -> None:
    # The float32 mean of a column is a bin edge then, and the float64 mean may lie below it.
    rng = np.random.default_rng(0)
    X = (rng.normal(size=(45, 2)) * 3 + 1).astype(np.float32)
    X[rng.random(X.shape) < 0.15] = np.nan
    bins = KBinsDiscretizer(4, encode="ordinal", quantile_method="averaged_inverted_cdf")
    model = make_pipeline(SimpleImputer(), bins).fit(X)
    for rows in (X, X.astype(np.float64)):
        np.testing.assert_array_equal(run(convert(model, rows), rows)[0], model.transform(rows))


def test_every_inverse_transform_of_scikit_learn_is_there() -> None:
    registry = current_registry()
    with_inverse = [cls for _, cls in all_estimators() if hasattr(cls, "inverse_transform")]
    assert len(with_inverse) > 40
    for cls in with_inverse:
        row = registry.find("sklearn", class_key(cls), 21)
        assert row is not None
        assert "inverse_transform" in row.methods, cls.__name__
