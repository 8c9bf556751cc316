"""Random pipelines: a frame of mixed columns, preparation of each kind of column, a model, perhaps inside others."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from hypothesis import strategies as st
from sklearn import (
    calibration,
    compose,
    decomposition,
    ensemble,
    feature_selection,
    impute,
    kernel_approximation,
    linear_model,
    model_selection,
    multiclass,
    naive_bayes,
    neighbors,
    neural_network,
    preprocessing,
    svm,
    tree,
)
from sklearn.base import clone
from sklearn.experimental import enable_iterative_imputer  # noqa: F401
from sklearn.feature_extraction import text
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from suite_checks import Question, answers, compare, run, session_for, wide

from any2onnx.converters.sklearn.context import FRAMEWORK, class_key
from any2onnx.converters.sklearn.scan import offered
from any2onnx.errors import OpsetNotSupported, UnsupportedOperator, UnsupportedParameter
from any2onnx.operator_mappings.user_layer import current_registry

REFUSALS = (UnsupportedParameter, UnsupportedOperator, OpsetNotSupported)
_TOWNS = ["Oslo", "Łódź", "a b", "", "Zürich", "北京"]
_WORDS = ["dog", "été", "the", "Fox", "ΣΑΣ", "x1", "end"]

IMPUTERS = [
    impute.SimpleImputer(),
    impute.SimpleImputer(strategy="median", add_indicator=True),
    impute.SimpleImputer(strategy="most_frequent"),
    impute.SimpleImputer(strategy="constant", fill_value=-1.5),
    impute.KNNImputer(n_neighbors=3),
    impute.IterativeImputer(max_iter=3, random_state=0),
]
EDGES = (preprocessing.QuantileTransformer, preprocessing.KBinsDiscretizer, preprocessing.Binarizer)
SCALERS = [
    preprocessing.StandardScaler(),
    preprocessing.MinMaxScaler(clip=True),
    preprocessing.RobustScaler(),
    preprocessing.MaxAbsScaler(),
    preprocessing.PowerTransformer(),
    preprocessing.QuantileTransformer(n_quantiles=20, output_distribution="normal"),
    preprocessing.PolynomialFeatures(2),
    preprocessing.SplineTransformer(n_knots=4),
    preprocessing.KBinsDiscretizer(4, encode="onehot-dense", quantile_method="averaged_inverted_cdf"),
    preprocessing.Normalizer(),
    preprocessing.Binarizer(threshold=0.2),
    preprocessing.FunctionTransformer(np.tanh),
    decomposition.PCA(1),
    "passthrough",
]
# What may follow another one: where a filled-in value is an edge, the last bit of a power decides on the side.
SMOOTH = [scaler for scaler in SCALERS if not isinstance(scaler, (*EDGES, str))]
ENCODERS = [
    preprocessing.OneHotEncoder(handle_unknown="ignore"),
    preprocessing.OneHotEncoder(drop="first", sparse_output=False),
    preprocessing.OneHotEncoder(min_frequency=9, handle_unknown="infrequent_if_exist", sparse_output=False),
    preprocessing.OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1, encoded_missing_value=-2),
    preprocessing.TargetEncoder(random_state=0),
    make_pipeline(impute.SimpleImputer(strategy="most_frequent"), preprocessing.OneHotEncoder(handle_unknown="ignore")),
]
TEXTS = [
    text.CountVectorizer(),
    text.TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True),
    text.TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 3), max_features=30),
    text.HashingVectorizer(n_features=16),
    make_pipeline(text.TfidfVectorizer(), decomposition.TruncatedSVD(2, random_state=0)),
]
MIDDLES = [
    None,
    feature_selection.VarianceThreshold(),
    feature_selection.SelectKBest(feature_selection.f_classif, k=2),
    FeatureUnion([("p", decomposition.PCA(1)), ("all", "passthrough")], transformer_weights={"p": 2.0}),
    kernel_approximation.Nystroem(n_components=5, gamma=0.1, random_state=0),
    preprocessing.StandardScaler(),
]
# Without nearest neighbours: rows that were coarsened are at equal distances, of which scikit-learn takes any.
CLASSIFIERS = [
    linear_model.LogisticRegression(),
    linear_model.RidgeClassifier(),
    svm.LinearSVC(),
    svm.SVC(),
    tree.DecisionTreeClassifier(max_depth=4, random_state=0),
    ensemble.RandomForestClassifier(5, max_depth=4, random_state=0),
    ensemble.GradientBoostingClassifier(n_estimators=4, random_state=0),
    ensemble.HistGradientBoostingClassifier(max_iter=4, min_samples_leaf=3, random_state=0),
    neighbors.NearestCentroid(),
    naive_bayes.GaussianNB(),
    neural_network.MLPClassifier((4,), max_iter=15, random_state=0),
]
REGRESSORS = [
    linear_model.Ridge(),
    linear_model.ElasticNet(alpha=0.1),
    svm.SVR(),
    tree.DecisionTreeRegressor(max_depth=4, random_state=0),
    ensemble.RandomForestRegressor(5, max_depth=4, random_state=0),
    ensemble.HistGradientBoostingRegressor(max_iter=4, min_samples_leaf=3, random_state=0),
    neural_network.MLPRegressor((4,), max_iter=15, random_state=0),
]


def _own(part: Any) -> Any:
    return part if isinstance(part, str) else clone(part)


def _around_classifiers(draw: Any, model: Any) -> Any:
    other = linear_model.LogisticRegression(C=0.1)
    kind = draw(st.integers(0, 9))
    if kind == 0:
        return ensemble.VotingClassifier([("a", model), ("b", other)])
    if kind == 1:
        return ensemble.StackingClassifier([("a", model), ("b", other)], tree.DecisionTreeClassifier(max_depth=2), cv=2)
    if kind == 2:
        return ensemble.BaggingClassifier(model, 2, max_features=0.8, random_state=0)
    if kind == 3:
        return calibration.CalibratedClassifierCV(model, cv=2)
    if kind == 4:
        return multiclass.OneVsRestClassifier(model)
    if kind == 5:
        return model_selection.GridSearchCV(make_pipeline(preprocessing.MaxAbsScaler(), model), {}, cv=2)
    return model


def _around_regressors(draw: Any, model: Any) -> Any:
    kind = draw(st.integers(0, 7))
    if kind == 0:
        return ensemble.VotingRegressor([("a", model), ("b", linear_model.Ridge(3.0))])
    if kind == 1:
        return ensemble.StackingRegressor([("a", model), ("b", linear_model.Ridge(3.0))], cv=2)
    if kind == 2:
        return ensemble.BaggingRegressor(model, 2, max_samples=0.7, random_state=0)
    if kind == 3:
        return compose.TransformedTargetRegressor(model, transformer=preprocessing.StandardScaler())
    return model


@dataclass(frozen=True)
class PipelineCase:
    """A pipeline that is not fitted, what to fit it with, and the rows to ask about."""

    model: Any
    X: pd.DataFrame
    y: np.ndarray[Any, Any]
    rows: pd.DataFrame

    def __repr__(self) -> str:
        dtypes = {name: str(dtype) for name, dtype in self.X.dtypes.items()}
        return f"{' '.join(repr(self.model).split())} on {dtypes}, y {self.y.dtype} {np.unique(self.y)[:4].tolist()}"


def _frame(draw: Any, kinds: dict[str, list[str]], floating: str, holes: bool, size: int) -> pd.DataFrame:
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    columns: dict[str, Any] = {}
    for name in kinds["number"]:
        values = (rng.normal(size=size) * 3 + 1).astype(floating)
        if holes:
            values[rng.random(size) < 0.15] = np.nan
        columns[name] = values
    for name in kinds["whole"]:
        columns[name] = rng.integers(-3, 9, size).astype(draw(st.sampled_from(["int64", "int32", "bool"])))
    for name in kinds["word"]:
        values = np.array(_TOWNS, object)[rng.integers(0, len(_TOWNS), size)]
        columns[name] = pd.Series(values, dtype=draw(st.sampled_from(["object", "str", "category"])))
    for name in kinds["text"]:
        lengths = rng.integers(1, 6, size)
        columns[name] = [" ".join(np.array(_WORDS)[rng.integers(0, len(_WORDS), n)]) for n in lengths]
    order = draw(st.permutations(list(columns)))
    return pd.DataFrame({name: columns[name] for name in order})


def _preparation(draw: Any, kinds: dict[str, list[str]], holes: bool, X: pd.DataFrame) -> compose.ColumnTransformer:
    def selected(names: list[str]) -> Any:
        form = draw(st.integers(0, 3))
        if form == 0:
            return [list(X.columns).index(name) for name in names]
        if form == 1:
            return np.isin(X.columns, names)
        if form == 2:
            return lambda frame: names
        return names

    parts: list[tuple[str, Any, Any]] = []
    numbers = [_own(draw(st.sampled_from(SCALERS)))]
    if draw(st.booleans()):
        numbers.append(_own(draw(st.sampled_from(SMOOTH))))
    steps = [_own(draw(st.sampled_from(IMPUTERS)))] * holes + numbers
    numeric = Pipeline([(f"step{k}", step) for k, step in enumerate(steps)])
    parts.append(("numbers", numeric, selected(kinds["number"])))
    if kinds["whole"] and draw(st.booleans()):
        scaler = _own(draw(st.sampled_from([*SCALERS[:4], "passthrough"])))
        parts.append(("whole", scaler, selected(kinds["whole"])))
    if kinds["word"]:
        parts.append(("words", _own(draw(st.sampled_from(ENCODERS))), selected(kinds["word"])))
    parts += [(name, _own(draw(st.sampled_from(TEXTS))), name) for name in kinds["text"]]
    return compose.ColumnTransformer(
        parts,
        remainder=draw(st.sampled_from(["drop", "passthrough", preprocessing.MinMaxScaler()])),
        sparse_threshold=0.0,
        transformer_weights=draw(st.sampled_from([None, {"numbers": 0.5}])),
    )


def _target(draw: Any, X: pd.DataFrame, kinds: dict[str, list[str]], regression: bool) -> np.ndarray[Any, Any]:
    signal = np.nan_to_num(X[kinds["number"]].to_numpy(np.float64)).sum(axis=1)
    if regression:
        return signal + np.arange(len(X)) % 3
    classes = draw(st.sampled_from([["ja", "nein"], ["b", "ä", "c"], [0, 1], [-5, 2**40, 7], [False, True]]))
    ranks = np.argsort(np.argsort(signal))
    return np.asarray(classes, object if isinstance(classes[0], str) else None)[ranks * len(classes) // len(X)]


@st.composite
def pipelines(draw: Any) -> PipelineCase:
    """Draw a pipeline with its data."""
    counts = {"number": (1, 3), "whole": (0, 2), "word": (0, 2), "text": (0, 1)}
    kinds = {
        kind: [f"{kind} {k}" for k in range(draw(st.integers(least, most)))] for kind, (least, most) in counts.items()
    }
    holes = draw(st.booleans())
    X = _frame(draw, kinds, draw(st.sampled_from(["float32", "float64"])), holes, 60)
    regression = draw(st.booleans())
    steps: list[tuple[str, Any]] = [("columns", _preparation(draw, kinds, holes, X))]
    middle = draw(st.sampled_from(MIDDLES))
    if middle is not None:
        steps.append(("middle", _own(middle)))
    if regression:
        final = _around_regressors(draw, _own(draw(st.sampled_from(REGRESSORS))))
    else:
        final = _around_classifiers(draw, _own(draw(st.sampled_from(CLASSIFIERS))))
    y = _target(draw, X, kinds, regression)
    order = np.random.default_rng(1).permutation(len(X))
    return PipelineCase(Pipeline([*steps, ("model", final)]), X.iloc[order[:45]], y[order[:45]], X.iloc[order[45:]])


def outcome(case: PipelineCase) -> str:
    """Fit, convert with one input per column, and compare every method; return "equal", "refused" or "unfit"."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            model = case.model.fit(case.X, case.y)
        except Exception:
            return "unfit"
        row = current_registry().lookup(FRAMEWORK, class_key(type(model)), 21)
        wanted = [method for method in offered(model, row) if method in _METHODS and hasattr(model, method)]
        try:
            whole = {method: answers(model, method, wide(case.rows)) for method in wanted}
        except Exception:
            return "unfit"
        try:
            session = session_for(model, case.rows, wanted)
        except REFUSALS:
            return "refused"
        for rows in (case.rows, case.rows[:1]):
            compare(Question(model, rows, repr(case), whole), wanted, run(session, rows))
        for name, empty in zip(wanted, run(session, case.rows[:0]), strict=False):
            assert len(empty) == 0, f"{case!r} batch 0: {name} is {np.shape(empty)}"
    return "equal"


_METHODS = ("predict", "predict_proba", "decision_function")
