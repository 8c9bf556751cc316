"""Estimators of scikit-learn and the tables that they take: methods called quietly, frames, float64 copies."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from any2onnx.errors import NotFitted
from any2onnx.parity import boosters
from any2onnx.parity.reference import FrameworkRejects
from any2onnx.parity.runtime import one_sentence

if TYPE_CHECKING:
    from any2onnx.parity.signature import Feeds
    from any2onnx.parity.ulp import Array


def version() -> str:
    """Return the name and version of scikit-learn, empty where it is not installed."""
    try:
        import sklearn
    except ImportError:
        # Estimators of other packages may follow the interface without scikit-learn.
        return ""
    return f"scikit-learn {sklearn.__version__}"


def widened(model: Any) -> Any:
    """Return a deep copy of a fitted estimator in which every float32 array is float64."""
    return _widen(copy.deepcopy(model))


def _widen(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.astype(np.float64) if value.dtype == np.float32 else value
    if isinstance(value, dict):
        return {key: _widen(item) for key, item in value.items()}
    if type(value) in (list, tuple):
        return type(value)(_widen(item) for item in value)
    if hasattr(value, "get_params") and hasattr(value, "__dict__"):
        for name, item in list(vars(value).items()):
            setattr(value, name, _widen(item))
    return value


def same_answers(found: list[list[Array]], wider: list[list[Array]]) -> bool:
    """Tell whether a widened copy is still the same estimator: its answers are near those of the original."""
    for group, others in zip(found, wider, strict=True):
        for one, other in zip(group, others, strict=True):
            if one.shape != other.shape:
                return False
            if one.dtype.kind != "f":
                continue
            finite = np.isfinite(one) & np.isfinite(other)
            apart, size = np.abs(one[finite].astype(np.float64) - other[finite]), np.abs(other[finite])
            if finite.any() and np.median(apart) > _LOST * size.max():
                return False
    return True


def has_float64(feeds: Feeds) -> bool:
    """Tell whether any of the inputs is float64."""
    return any(values.dtype == np.float64 for values in feeds.values())


def require_fitted(model: Any) -> None:
    """Raise NotFitted for an estimator that has not been fitted, as far as scikit-learn can tell."""
    try:
        from sklearn.exceptions import NotFittedError
        from sklearn.utils.validation import check_is_fitted
    except ImportError:
        return
    try:
        check_is_fitted(model)
    except NotFittedError as error:
        raise NotFitted(f"{type(model).__name__} is not fitted", remedy="call fit() before the comparison") from error
    except TypeError:
        # Estimators by duck typing; their own methods will complain.
        return


# A widened estimator whose answers are usually off by more than this share of their size is another estimator.
_LOST: Final = 0.01


def call_method(model: Any, method: str, table: Any) -> Any:
    """Return the result of an inference method, without its warnings."""
    result = _quietly(lambda rows: boosters.call(model, method, rows), table)
    # SparsePCA drops the axis of the rows when there is one row; no graph changes its rank with the batch.
    if method == "transform" and isinstance(result, np.ndarray) and result.ndim == 1 and len(result) > len(table) == 1:
        return result[None, :]
    return result


def _quietly(function: Callable[[Any], Any], table: Any) -> Any:
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        return function(table)


def wide_table(table: Any) -> Any:
    """Return float32 numbers as float64; None where there are none."""
    if isinstance(table, np.ndarray):
        return table.astype(np.float64) if table.dtype == np.float32 else None
    dtypes = getattr(table, "dtypes", None)
    if dtypes is None or not hasattr(dtypes, "items"):  # polars has a list; a frame is cast by its estimator
        return None
    narrow = [name for name, dtype in dtypes.items() if dtype == np.float32]
    return table.astype(dict.fromkeys(narrow, np.float64)) if narrow else None


def estimator_kind(model: Any) -> str:
    """Return classifier, regressor, clusterer, outlier, density or transformer."""
    kind = ""
    try:
        from sklearn.utils import get_tags

        kind = get_tags(model).estimator_type or ""
    except (ImportError, AttributeError, TypeError):
        kind = getattr(model, "_estimator_type", None) or ""
    names = {"outlier_detector": "outlier", "density_estimator": "density", "ranker": "regressor"}
    kind = names.get(kind, kind)
    if not hasattr(model, "predict") and (kind == "clusterer" or not kind):
        return "transformer"
    if kind:
        return kind
    return "density" if hasattr(model, "predict_proba") else "regressor"


def takes_vector(model: Any) -> bool:
    """Tell whether the estimator takes one value per row: text vectorizers and encoders of targets."""
    first = model
    while hasattr(first, "steps"):
        first = first.steps[0][1]
    if hasattr(first, "build_analyzer"):
        return True
    try:
        from sklearn.utils import get_tags

        tags = get_tags(first)
    except (ImportError, AttributeError, TypeError):
        return False
    return bool(tags.target_tags.one_d_labels or tags.input_tags.one_d_array) and not tags.input_tags.two_d_array


def width_of(shape: Sequence[Any]) -> int:
    """Return the number of columns of an input, 0 where it is free."""
    if len(shape) < 2:
        return 1
    return shape[1] if isinstance(shape[1], int) else 0


def side_by_side(arrays: Sequence[Array]) -> Array:
    """Join columns; text next to numbers makes an object table, as a user would pass it."""
    if len({array.dtype.kind for array in arrays}) > 1 and any(array.dtype.kind == "O" for array in arrays):
        return np.hstack([array.astype(object) for array in arrays])
    return np.hstack(arrays)


def frame_of(columns: dict[str, Array], template: Any) -> Any:
    """Build a DataFrame: of the template's library and column types if there is one, else of pandas or polars."""
    if template is not None and type(template).__module__.split(".")[0] != "pandas":
        import narwhals

        like = narwhals.from_native(template, eager_only=True)
        lists = {name: values.tolist() if values.dtype.kind == "O" else values for name, values in columns.items()}
        same = narwhals.from_dict(lists, backend=like.implementation)
        # What the ONNX model takes as a float stays one: a column of booleans with missing values.
        own = [
            name for name, values in columns.items() if values.dtype.kind != "f" and not like.schema[name].is_numeric()
        ]
        casts = [narwhals.col(name).cast(like.schema[name]) for name in own]
        try:
            return narwhals.to_native(same.with_columns(*casts) if casts else same)
        except Exception as error:
            # Whatever the library raises for a value that its column type does not have: an unknown member of an Enum.
            raise FrameworkRejects(one_sentence(error)) from error
    try:
        import pandas
    except ImportError:
        import polars

        return polars.DataFrame(columns)
    if template is None:
        return pandas.DataFrame(columns)
    # An object column must not become one of text, where None is NaN.
    frame = pandas.DataFrame({name: pandas.Series(values, dtype=values.dtype) for name, values in columns.items()})
    # Categorical columns carry their categories in the dtype, and estimators read them there.
    kinds = {name: template.dtypes[name] for name in columns if columns[name].dtype.kind == "O"}
    return frame.astype(kinds) if kinds else frame


def separate(arrays: list[Array], columns: int) -> list[Array]:
    """Return the columns of a matrix of text and numbers, which is one ONNX output per column."""
    if len(arrays) != 1 or columns < 2 or arrays[0].ndim != 2 or arrays[0].shape[1] != columns:
        return arrays
    found = [np.asarray(arrays[0][:, k : k + 1].tolist()) for k in range(columns)]
    return [column if column.dtype.kind in "biuf" else column.astype(object) for column in found]


def dense_arrays(result: Any) -> list[Array]:
    """Bring the result of a method to dense numpy arrays."""
    if isinstance(result, (list, tuple)):
        return [array for item in result for array in dense_arrays(item)]
    if hasattr(result, "toarray"):
        return [np.asarray(result.toarray())]
    if hasattr(result, "to_numpy"):
        result = result.to_numpy()
    array = np.asarray(result)
    if array.dtype.kind == "O" and array.size:
        try:
            return [array.astype(np.float64)] if not isinstance(array.ravel()[0], str) else [array]
        except (TypeError, ValueError):
            return [array]
    return [array]


def one_against_one(model: Any) -> Any:
    """Return a copy of a multi-class SVC that shows its pairwise decisions, None for everything else.

    Its labels come from votes, which the usual one-against-rest scores only imitate.
    """
    final = model.steps[-1][1] if hasattr(model, "steps") else model
    if not (hasattr(final, "break_ties") and hasattr(final, "decision_function_shape")):
        return None
    if len(getattr(final, "classes_", ())) <= 2 or final.break_ties:
        return None
    twin = copy.copy(final)
    twin.decision_function_shape = "ovo"
    if final is model:
        return twin
    whole = copy.copy(model)
    whole.steps = [*model.steps[:-1], (model.steps[-1][0], twin)]
    return whole
