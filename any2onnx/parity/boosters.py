"""The methods of XGBoost's, LightGBM's and CatBoost's models: raw scores and leaves under scikit-learn's names.

Each library has its own way to ask for them; a Booster of XGBoost takes a table of its own kind as well.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from any2onnx.tree_ensemble.sources import library_of

if TYPE_CHECKING:
    from any2onnx.parity.ulp import Array

RAW: Final = "decision_function"
LEAVES: Final = "apply"
_RAW_ARGUMENTS: Final[dict[str, dict[str, Any]]] = {
    "xgboost": {"output_margin": True},
    "lightgbm": {"raw_score": True},
    "catboost": {"prediction_type": "RawFormulaVal"},
}


def last_step(model: Any) -> Any:
    """Return the last step of nested pipelines; any other model itself."""
    while hasattr(model, "steps"):
        model = model.steps[-1][1]
    return model


def has_method(model: Any, method: str) -> bool:
    """Tell whether a model has a method, by that name or as an argument of another one."""
    return hasattr(model, method) or (method in (RAW, LEAVES) and library_of(last_step(model)) is not None)


def call(model: Any, method: str, table: Any) -> Any:
    """Run a method of any model on a table.

    Raises:
        ValueError: A model of one of the libraries and a table without rows: what they return then has another shape.
    """
    final = last_step(model)
    library = library_of(final)
    if library is None:
        return getattr(model, method)(table)
    if not len(table):
        raise ValueError(f"{library} gives results of another shape for no rows")
    if final is not model:
        if hasattr(model, method):
            return getattr(model, method)(table)
        return call(final, method, _before_last(model, table))
    if method == LEAVES:
        return _leaves(final, library, table)
    if method == RAW and not hasattr(final, RAW):
        # The ranker of CatBoost has no such argument: it predicts raw scores.
        more = {} if type(final).__name__ == "CatBoostRanker" else _RAW_ARGUMENTS[library]
        return final.predict(_own_table(final, table), **more)
    return getattr(final, method)(_own_table(final, table))


def _before_last(model: Any, table: Any) -> Any:
    """Return what the last step of nested pipelines is given."""
    while hasattr(model, "steps"):
        if len(model.steps) > 1:
            table = model[:-1].transform(table)
        model = model.steps[-1][1]
    return table


def _own_table(model: Any, table: Any) -> Any:
    if library_of(model) == "xgboost" and not hasattr(model, "get_booster"):
        from xgboost import DMatrix

        return DMatrix(table)
    return table


def _leaves(model: Any, library: str, table: Any) -> Array:
    if library == "catboost":
        found = model.calc_leaf_indexes(table)
    elif hasattr(model, LEAVES):
        found = model.apply(table)
    else:
        found = model.predict(_own_table(model, table), pred_leaf=True)
    # XGBoost gives whole numbers as float32.
    return np.asarray(found).astype(np.int64)
