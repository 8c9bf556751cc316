"""Fitting (once per worker), converting, running and comparing for the generated suite."""

from __future__ import annotations

import copy
import dataclasses
import functools
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnxruntime
import pytest
from family_checks import expected, session_of
from scipy.spatial.distance import cdist
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.neighbors import KDTree, NearestNeighbors
from suite_cases import ROWS, SuiteCase
from suite_data import Data, data
from suite_ties import float_columns, is_frame, margins, tied_rows, wide

from any2onnx.api import to_onnx
from any2onnx.converters.finish import Finish, finish
from any2onnx.converters.sklearn.scan import PSEUDO_METHODS, offered
from any2onnx.converters.sklearn.walk import build_sklearn, types_from_sample
from any2onnx.errors import Any2OnnxError
from any2onnx.graph.opsets import Opsets
from any2onnx.operator_mappings.user_layer import current_registry

# Of the output's scale.
LIMITS = {np.dtype(np.float32): 1e-5, np.dtype(np.float64): 1e-9}
_KINDS = {"tensor(float)": np.float32, "tensor(double)": np.float64, "tensor(string)": object}


@functools.lru_cache(maxsize=64)
def fitted_by_name(key: str, name: str) -> Any:
    """Return the fitted estimator of a case; kept for the tests that follow in this worker."""
    from suite_cases import cases

    return fit(next(case for case in cases(key) if case.name == name))


def fit(case: SuiteCase) -> Any:
    """Return a new fitted estimator."""
    given = data(case.data)
    estimator = case.estimator()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return fit_estimator(estimator, given)


def fit_estimator(estimator: Any, given: Data) -> Any:
    """Fit, with whatever form of X the estimator takes."""
    name = type(estimator).__name__
    if name == "FrozenEstimator":
        estimator.estimator.fit(given.X, given.y)
        return estimator
    X = given.X
    if name == "DictVectorizer":
        X = X[["fare", "sex"]].to_dict("records")
    if name == "CCA" or given.y is None:
        return estimator.fit(X) if given.y is None else estimator.fit(X, given.y)
    return estimator.fit(X, given.y)


def rows_for(model: Any, given: Data, dtype: Any) -> Any:
    """Return the rows to ask about, in an element type where they are numbers."""
    if type(model).__name__ == "DictVectorizer":
        return given.rows[["fare", "sex"]]
    return np.asarray(given.rows).astype(dtype) if given.floats else given.rows


def answers(model: Any, method: str, rows: Any) -> list[np.ndarray]:
    """Return scikit-learn's arrays."""
    if type(model).__name__ == "DictVectorizer":
        rows = rows.to_dict("records")
    found = expected(model, method, rows)
    if method == "decision_path":
        # The second array of ensembles, where each tree's nodes begin, does not depend on the rows.
        found = found[:1]
    if type(model).__name__ in ("SparsePCA", "MiniBatchSparsePCA") and method == "transform":
        # scikit-learn drops the first dimension of a single row.
        found = [found[0].reshape(len(rows), -1)]
    return found


def methods_of(key: str, model: Any, rows: Any) -> tuple[list[str], list[str]]:
    """Return the methods to compare, and those that scikit-learn itself refuses for this configuration.

    Without inverse_transform, which takes other rows. A meta-estimator hands return_std on only where what it holds
    takes it.
    """
    good, bad = [], []
    for method in offered(model, ROWS[key]):
        if method == "inverse_transform":
            continue
        try:
            answers(model, method, wide(rows))
        except Exception:
            if method not in PSEUDO_METHODS:
                bad.append(method)
        else:
            good.append(method)
    return good, bad


def session_for(model: Any, rows: Any, methods: Sequence[str], opset: Any = 21) -> onnxruntime.InferenceSession:
    """Convert and load."""
    built = build_sklearn(
        model,
        initial_types=types_from_sample(rows),
        opsets=Opsets.of(opset),
        registry=current_registry(),
        outputs=list(methods),
    )
    return session_of(finish(built, Finish(framework="scikit-learn")))


def run(session: onnxruntime.InferenceSession, rows: Any) -> list[np.ndarray]:
    """Run on an array (one input, or one per column) or a frame."""
    inputs = session.get_inputs()
    if hasattr(rows, "columns"):
        feeds = {}
        for item in inputs:
            column = np.asarray(rows[item.name])
            feeds[item.name] = column.astype(_KINDS.get(item.type, column.dtype)).reshape(-1, 1)
        return session.run(None, feeds)
    rows = np.asarray(rows)
    if len(inputs) == 1:
        return session.run(None, {inputs[0].name: rows.astype(object) if rows.dtype.kind in "OUS" else rows})
    columns = {item.name: rows[:, k : k + 1].astype(_KINDS.get(item.type, np.int64)) for k, item in enumerate(inputs)}
    return session.run(None, columns)


# --- comparing --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Question:
    """What both sides were asked.

    Attributes:
        model: Fitted.
        rows: Given to ONNX.
        label: For messages.
        whole: scikit-learn's answers for all rows, which give an output its scale.
    """

    model: Any
    rows: Any
    label: str
    whole: Mapping[str, Sequence[np.ndarray]]

    @property
    def limit(self) -> float:
        """Of the output's scale, by the rows' element type."""
        if is_frame(self.rows):
            double = any(self.rows[name].dtype == np.float64 for name in float_columns(self.rows))
        else:
            double = isinstance(self.rows, np.ndarray) and self.rows.dtype == np.float64
        return LIMITS[np.dtype(np.float64 if double else np.float32)]


def compare(question: Question, methods: Sequence[str], got: Sequence[np.ndarray]) -> None:
    """Compare all outputs with scikit-learn's answers for the same rows."""
    position = 0
    for method in methods:
        want = answers(question.model, method, wide(question.rows))
        part = got[position : position + len(want)]
        position += len(want)
        assert len(part) == len(want), f"{question.label} {method}: {len(part)} outputs"
        for k, (one, other) in enumerate(zip(part, want, strict=True)):
            if method == "kneighbors" and k == 1:
                neighbours(question, np.asarray(one), other)
            else:
                same(question, method, k, np.asarray(one), other)
    assert position == len(got), f"{question.label}: {len(got)} outputs"


def same(question: Question, method: str, k: int, got: np.ndarray, want: np.ndarray) -> None:
    """Compare one array: numbers by their scale; labels must be equal, or tied by the scores behind them."""
    what = f"{question.label} {method}[{k}]"
    assert got.shape == want.shape, f"{what}: shape {got.shape}, scikit-learn gives {want.shape}"
    if want.dtype.kind in "OUS" and not all(isinstance(v, int | float | bool | np.number) for v in want.ravel()):
        differ = np.array([str(a) != str(b) for a, b in zip(got.ravel(), want.ravel(), strict=True)]).reshape(got.shape)
    elif want.dtype.kind in "biu" or got.dtype.kind in "biu":
        differ = got.astype(np.float64) != want.astype(np.float64)
    else:
        numbers(question, method, k, got, want.astype(np.float64))
        return
    if differ.any():
        bad = np.flatnonzero(differ.reshape(len(got), -1).any(axis=1))
        margin = margins(question.model, method, wide(question.rows), got)
        if margin is not None:
            bad = bad[margin[bad] > 10 * question.limit]
        bad = bad[~tied_rows(question.model, wide(question.rows))[bad]] if len(bad) else bad
        if len(bad):
            nearby = [other == got for other in answers_nearby(question, method, k)]
            possible = np.any([same.reshape(len(got), -1).all(axis=1) for same in nearby], axis=0) if nearby else False
            bad = bad[~np.broadcast_to(possible, len(got))[bad]]
        assert not len(bad), (
            f"{what}: {len(bad)} of {len(got)} rows differ, first {bad[0]}: {got[bad[0]]!r} for {want[bad[0]]!r}"
        )


def numbers(question: Question, method: str, k: int, got: np.ndarray, want: np.ndarray) -> None:
    """Compare floats by the output's scale; where float64 itself leaves more open, by what half an ulp of X changes."""
    what = f"{question.label} {method}[{k}]"
    with np.errstate(over="ignore"):
        # What is beyond float32 is infinite there.
        want = np.where(np.isfinite(want.astype(got.dtype)), want, want.astype(got.dtype).astype(np.float64))
    finite = np.isfinite(want)
    np.testing.assert_array_equal(np.where(finite, 0, got), np.where(finite, 0, want), err_msg=what)
    everywhere = question.whole[method][k].astype(np.float64)
    everywhere = everywhere[np.isfinite(everywhere)]
    # A logarithm of 1 is 0, whatever the others are.
    floor = 1.0 if method == "predict_log_proba" else 1e-30
    scale = max(float(np.max(np.abs(everywhere), initial=0)), floor)
    error = np.where(finite, np.abs(got.astype(np.float64) - np.where(finite, want, 0)), 0) / scale
    assert not np.isnan(error).any(), f"{what}: NaN"
    limit = LIMITS[got.dtype]
    better = TRUTH.get((type(question.model).__name__, method))
    truth = None if better is None or np.max(error, initial=0) <= limit else better(question.model, question.rows)
    if truth is not None:
        # scikit-learn's bounds leave something of a density that is 0.
        finite &= ~(~np.isfinite(truth) & (got == truth))
        truth = np.where(np.isfinite(truth), truth, want)
        # Not further from the truth than twice what scikit-learn's own arithmetic is; next to 0 a distance is the root
        # of a rounding error.
        error = np.abs(np.where(finite, got, 0) - np.where(finite, truth, 0)) / scale
        if method != "score_samples" and got.dtype == np.float64:
            error = np.where(np.abs(got**2 - truth**2) <= 1e-13 * scale**2, 0, error)
        apart = np.abs(np.where(finite, want, 0) - np.where(finite, truth, 0))
        limit = max(limit, 2 * float(np.max(apart)) / scale)
    if method == "predict_log_proba":
        # 1 - p has the rounding of 1, whose logarithm grows with 1 / p.
        error = np.maximum(error - 16 * 2.0**-53 / np.exp(np.where(finite, want, 0)) / scale, 0)
    limit = max(limit, rounding_floor(question.model, method, wide(question.rows)) / scale)
    if single_inside(question.model):
        limit = LIMITS[np.dtype(np.float32)]
    worst = float(np.max(error, initial=0))
    if worst > limit:
        error = np.where(tied_rows(question.model, wide(question.rows)).reshape(-1, *[1] * (error.ndim - 1)), 0, error)
        worst = float(np.max(error, initial=0))
    if worst > limit:
        limit = max(limit, 8 * sensitivity(question, method, k, want) / scale)
    if worst > limit and type(question.model).__name__ == "KNeighborsTransformer" and method == "transform":
        # Of equally distant points any may be in the graph: the distances to them are the same.
        worst = float(np.max(np.abs(np.sort(got, axis=1) - np.sort(want, axis=1)))) / scale
    where = np.unravel_index(int(np.argmax(error)), want.shape) if error.size else ()
    assert worst <= limit, f"{what}: error {worst:.3g} of the scale {scale:.3g}, at {[int(i) for i in where]}"


def rounding_floor(model: Any, method: str, rows: Any) -> float:
    """Return what rounding alone leaves open of an answer: the last bit of a kernel's values, the sums of a product."""
    if type(model).__name__ == "GaussianProcessRegressor" and method == "predict":
        # exp differs by its last bit between libraries, and each value of the kernel is multiplied by its alpha.
        largest = float(np.max(model.kernel_.diag(model.X_train_[:1])))
        spread = float(np.max(np.sum(np.abs(np.reshape(model.alpha_, (len(model.X_train_), -1))), axis=0)))
        return 4 * 2.0**-53 * largest * spread * float(np.max(model._y_train_std))
    if type(model).__name__ == "LinearDiscriminantAnalysis" and method in ("decision_function", "predict_log_proba"):
        # A sum of n products is rounded n times, each time by its size so far, whatever comes out in the end.
        return rows.shape[1] * 2.0**-53 * float(np.max(np.abs(rows) @ np.abs(model.coef_).T))
    if getattr(model, "kernel", None) in ("rbf", "sigmoid") and hasattr(model, "dual_coef_"):
        # As for the Gaussian process, with values of at most 1: decisions next to 0 are sums that cancel.
        return 4 * 2.0**-53 * float(np.max(abs(model.dual_coef_).sum(axis=1)))
    return 0.0


def single_inside(model: Any) -> bool:
    """Tell whether scikit-learn computes in float32 whatever it is given: an `init` that was fitted with float32."""
    return hasattr(getattr(model, "init_", None), "n_features_in_") and "Boosting" in type(model).__name__


def _to_centres(model: Any, rows: np.ndarray) -> np.ndarray:
    centres = getattr(model, "subcluster_centers_", None)
    return cdist(wide(rows), model.cluster_centers_ if centres is None else centres)


def _to_neighbours(model: Any, rows: np.ndarray) -> np.ndarray | None:
    if model.effective_metric_ not in ("euclidean", "nan_euclidean") or not isinstance(model._fit_X, np.ndarray):
        return None
    return np.sort(cdist(wide(rows), model._fit_X), axis=1)[:, : model.kneighbors(wide(rows[:1]))[0].shape[1]]


def _of_exact_neighbours(method: str) -> Callable[[Any, np.ndarray], np.ndarray | None]:
    """Return what a model of nearest neighbours gives with distances from a tree."""

    def answer(model: Any, rows: np.ndarray) -> np.ndarray | None:
        if model.effective_metric_ != "euclidean" or not isinstance(model._fit_X, np.ndarray):
            return None
        other = copy.copy(model)
        other._tree, other._fit_method = KDTree(model._fit_X), "kd_tree"
        found = getattr(other, method)(wide(rows))
        return None if isinstance(found, list) else found

    return answer


def _by_exact_neighbours(model: Any, rows: np.ndarray) -> np.ndarray | None:
    """Return what Isomap gives with distances from a tree; by brute force they are differences of large squares."""
    near = model.nbrs_
    if near.effective_metric_ not in ("euclidean", "nan_euclidean"):
        return None
    other = copy.deepcopy(model)
    search = NearestNeighbors(n_neighbors=near.n_neighbors, radius=near.radius, algorithm="kd_tree")
    other.nbrs_ = search.fit(near._fit_X)
    return other.transform(wide(rows))


def _density(model: Any, rows: np.ndarray) -> np.ndarray:
    # In a tree of one leaf every point is added, without bounds.
    points = np.asarray(model.tree_.data)
    whole = clone(model).set_params(leaf_size=len(points), bandwidth=model.bandwidth_, atol=0, rtol=0)
    return whole.fit(points, sample_weight=model.tree_.sample_weight).score_samples(wide(rows))


# What scikit-learn computes as differences of large squares, computed directly.
TRUTH: dict[tuple[str, str], Callable[[Any, np.ndarray], np.ndarray | None]] = {
    **{(name, "transform"): _to_centres for name in ("Birch", "BisectingKMeans", "KMeans", "MiniBatchKMeans")},
    ("KernelDensity", "score_samples"): _density,
    ("Isomap", "transform"): _by_exact_neighbours,
    ("KNeighborsClassifier", "predict_proba"): _of_exact_neighbours("predict_proba"),
    ("KNeighborsRegressor", "predict"): _of_exact_neighbours("predict"),
    **{
        (name, "kneighbors"): _to_neighbours
        for name in (
            "KNeighborsClassifier",
            "KNeighborsRegressor",
            "KNeighborsTransformer",
            "LocalOutlierFactor",
            "NearestNeighbors",
        )
    },
}


def answers_nearby(question: Question, method: str, k: int) -> list[np.ndarray]:
    """Return scikit-learn's answers when every number of X moves by half an ulp of float64.

    They show what its own arithmetic leaves open: ties, and sums that cancel.
    """
    rng = np.random.default_rng(0)
    rows = wide(question.rows)
    if is_frame(rows):
        names = float_columns(rows)
        moved = (rows.assign(**{name: _moved(rows[name], rng) for name in names}) for _ in range(16 if names else 0))
        return [answers(question.model, method, frame)[k] for frame in moved]
    if not isinstance(rows, np.ndarray) or rows.dtype.kind != "f":
        return []
    marks = rows == getattr(question.model, "missing_values", np.nan)
    found = []
    for _ in range(max(8, 200 // max(len(rows), 1))):
        moved = np.where(marks, rows, rows * (1 + rng.choice([-1.0, 1.0], rows.shape) * 2.0**-52))
        found.append(answers(question.model, method, moved)[k])
    return found


def _moved(column: Any, rng: np.random.Generator) -> Any:
    return column * (1 + rng.choice([-1.0, 1.0], len(column)) * 2.0**-52)


def sensitivity(question: Question, method: str, k: int, want: np.ndarray) -> float:
    """Return the largest change among the answers nearby."""
    changes = [np.abs(other.astype(np.float64) - want) for other in answers_nearby(question, method, k)]
    return max((float(np.max(change[np.isfinite(change)], initial=0)) for change in changes), default=0.0)


def neighbours(question: Question, got: np.ndarray, want: np.ndarray) -> None:
    """Compare indices of neighbours; of equally distant points any may stand."""
    assert got.shape == want.shape, question.label
    model = question.model
    distance, _ = model.kneighbors(wide(question.rows), min(want.shape[1] + 1, model.n_samples_fit_))
    finite = np.isfinite(distance)
    largest = max(float(np.max(distance[finite], initial=0)), 1e-30)
    near = np.abs(np.diff(np.where(finite, distance, 0), axis=1)) <= question.limit * largest
    tied = np.zeros(want.shape, bool)
    tied[:, : near.shape[1]] |= near[:, : want.shape[1]]
    tied[:, 1:] |= near[:, : want.shape[1] - 1]
    # Distances that overflow are all alike.
    tied |= ~finite[:, : want.shape[1]]
    differ = (got != want) & ~tied
    assert not differ.any(), f"{question.label} kneighbors[1]: rows {np.flatnonzero(differ.any(axis=1))[:5]}"


def check_case(
    model: Any, key: str, given: Data, what: str, opset: Any = 21, only: Sequence[str] | None = None
) -> None:
    """Compare every method, or only some, in both element types at batch many, 1 and 0."""
    for dtype in (np.float32, np.float64) if given.floats else (None,):
        rows = rows_for(model, given, dtype)
        wanted, refused = methods_of(key, model, rows)
        if only:
            wanted = [method for method in wanted if method in only]
        label = f"{what} {dtype.__name__ if dtype else ''}"
        for method in refused:
            with pytest.raises(Any2OnnxError):
                session_for(model, rows, [method], opset)
        if wanted:
            check_methods(model, wanted, rows, label, opset)
        elif not refused and not hasattr(model, "inverse_transform"):
            # A search that was not fitted again has nothing to infer with.
            with pytest.raises(Any2OnnxError):
                to_onnx(model, rows)
        inverse = only is None and "inverse_transform" in ROWS[key].methods and hasattr(model, "inverse_transform")
        if dtype is not None and inverse:
            check_inverse(model, wide(rows), dtype, label, opset)


def check_methods(model: Any, wanted: Sequence[str], rows: Any, label: str, opset: Any = 21) -> None:
    """Compare methods at batch many, 1 and 0."""
    session = session_for(model, rows, wanted, opset)
    if isinstance(rows, np.ndarray) and rows.dtype.kind == "f":
        other = "tensor(float)" if rows.dtype == np.float64 else "tensor(double)"
        inexact = [o.name for o in session.get_outputs() if o.type == other and not o.name.startswith("predict")]
        assert not inexact, f"{label}: {inexact} are {other}"
    whole = {method: answers(model, method, wide(rows)) for method in wanted}
    # A column without a value in the batch is for SimpleImputer.inverse_transform one that was left out: one row says
    # nothing there.
    whole_only = type(model).__name__ == "SimpleImputer" and list(wanted) == ["inverse_transform"]
    for part in (rows,) if whole_only else (rows, rows[:1]):
        compare(Question(model, part, f"{label} batch {len(part)}", whole), wanted, run(session, part))
    for name, empty in zip([o.name for o in session.get_outputs()], run(session, rows[:0]), strict=True):
        assert 0 in np.shape(empty), f"{label} batch 0: {name} is {np.shape(empty)}"


def check_inverse(model: Any, rows: np.ndarray, dtype: Any, what: str, opset: Any = 21) -> None:
    """Compare inverse_transform on what transform gives."""
    try:
        coded = answers(model, "transform", rows)[0]
    except (NotFittedError, NotImplementedError):
        return
    given = coded.astype(dtype) if coded.dtype.kind == "f" else coded
    try:
        answers(model, "inverse_transform", wide(given))
    except (NotFittedError, NotImplementedError, AttributeError, ValueError):
        # What scikit-learn has not learned is refused.
        with pytest.raises(Any2OnnxError):
            session_for(model, given, ["inverse_transform"], opset)
        return
    check_methods(model, ["inverse_transform"], given, what, opset)


# --- other inputs -----------------------------------------------------------------------------------------------------


def has_columns(given: Data) -> bool:
    """Tell whether the data are a dense matrix of numbers, which can be a frame."""
    return given.floats and isinstance(given.X, np.ndarray) and given.X.ndim == 2


def check_frame(model: Any, key: str, given: Data, what: str) -> None:
    """Fit with a pandas frame; ask with one input per column, whose types a pandas or a polars frame has told."""
    import pandas as pd
    import polars as pl

    names = [f"Spalte {k} ä" for k in range(given.X.shape[1])]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = fit_estimator(model, dataclasses.replace(given, X=pd.DataFrame(given.X, columns=names)))
        rows = pd.DataFrame(given.rows, columns=names)
        wanted, _ = methods_of(key, model, rows)
        types = types_from_sample(rows)
        assert types == types_from_sample(pl.DataFrame({name: rows[name].to_numpy() for name in names}))
        session = session_for(model, rows, wanted)
        assert [item.name for item in session.get_inputs()] == names
        whole = {method: answers(model, method, rows) for method in wanted}
        question = Question(model, rows, what, whole)
        compare(question, wanted, run(session, rows))


def check_whole_numbers(model: Any, key: str, given: Data, what: str, dtype: Any) -> None:
    """Ask with integers or bools, one matrix, what was fitted with floats."""
    numbers = np.round(np.asarray(given.rows))
    rows = numbers > np.median(numbers, axis=0) if dtype == np.bool_ else numbers.astype(dtype)
    wanted, _ = methods_of(key, model, rows)
    assert wanted, what
    session = session_for(model, rows, wanted)
    whole = {method: answers(model, method, wide(rows)) for method in wanted}
    compare(Question(model, rows, f"{what} {rows.dtype}", whole), wanted, run(session, rows))
