"""What the models of the boosting libraries compute, read from their own serialised forms.

The models are asked for these forms by their methods; no library is imported here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from any2onnx.tree_ensemble.ir import TreeEnsemble
    from any2onnx.tree_ensemble.sources.columns import Columns

LIBRARIES: Final = ("xgboost", "lightgbm", "catboost")


def library_of(model: Any) -> str | None:
    """Return which of the boosting libraries a model is of, None for others."""
    packages = {cls.__module__.partition(".")[0] for cls in type(model).__mro__}
    return next((name for name in LIBRARIES if name in packages), None)


def ensemble_of_model(model: Any) -> tuple[TreeEnsemble, Columns | None] | None:
    """Return the trees of a model of one of the libraries, and what their columns hold (None: the rows' columns).

    Args:
        model: For which `library_of` has an answer.

    Returns:
        None where the model has no trees.

    Raises:
        UnsupportedParameter: The model has parts that are not known, or cannot be read.
    """
    from any2onnx.tree_ensemble.sources import catboost, lightgbm, xgboost

    library = library_of(model)
    if library == "catboost":
        e = catboost.read_model(model).ensemble
        return None if e is None else (e, None)
    found = xgboost.read_model(model) if library == "xgboost" else lightgbm.read_model(model)
    return None if found.ensemble is None else (found.ensemble, found.columns)
