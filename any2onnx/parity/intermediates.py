"""What the frameworks compute on the way: pipeline steps, Keras layers, ATen operators of a torch module."""

from __future__ import annotations

import contextlib
import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from any2onnx.parity.ulp import Array

# What the last step of a pipeline offers before its labels.
_SCORES = ("decision_function", "predict_proba", "predict", "transform", "score_samples")


@dataclasses.dataclass(frozen=True)
class Intermediate:
    """One value that a framework computes on the way, in the order of computing.

    Attributes:
        name: Step, layer or operator, with its path in the model.
        values: The value.
    """

    name: str
    values: Array


def of_estimator(model: Any, table: Any, quietly: Callable[[Any, str, Any], Any]) -> list[Intermediate]:
    """Return the result of every step of a pipeline, nested ones and the branches of unions included.

    Args:
        model: A fitted estimator; one that is no pipeline has no steps but its own scores.
        table: What its methods take.
        quietly: Calls a method of a model, by name, without warnings.
    """
    found: list[Intermediate] = []
    _walk_estimator(model, table, "", quietly, found)
    return found


def _walk_estimator(model: Any, table: Any, path: str, quietly: Any, found: list[Intermediate]) -> Any:
    """Append what a part computes; returns the transformed table, None for a part that transforms nothing."""
    if hasattr(model, "steps"):
        for i, (name, step) in enumerate(model.steps):
            if step is None or isinstance(step, str):
                continue
            result = _walk_estimator(step, table, f"{path}{name}", quietly, found)
            if result is None or i == len(model.steps) - 1:
                return result
            table = result
        return table
    for name, part, part_table in _branches(model, table):
        # Only what the branches compute on the way is new: their results are put together below.
        with contextlib.suppress(Exception):
            _walk_estimator(part, part_table, f"{path}/{name}" if path else name, quietly, found)
    for method in _SCORES if not hasattr(model, "transform") else ("transform",):
        if not hasattr(model, method):
            continue
        result = None
        # A method that the model offers and cannot run (decision_function of one class, say) shows nothing.
        with contextlib.suppress(Exception):
            result = quietly(model, method, table)
        if result is None:
            continue
        found += [Intermediate(f"{path or type(model).__name__}.{method}", array) for array in _dense(result)]
        if method == "transform":
            return result
    return None


def _branches(model: Any, table: Any) -> Iterator[tuple[str, Any, Any]]:
    if hasattr(model, "transformer_list"):
        yield from ((name, part, table) for name, part in model.transformer_list if not isinstance(part, str))
    positions = getattr(model, "_transformer_to_input_indices", None)
    if positions is not None and hasattr(model, "transformers_"):
        for name, part, columns in model.transformers_:
            if not isinstance(part, str) and part is not None and len(positions.get(name, ())):
                own = table[columns] if hasattr(table, "columns") else table[:, positions[name]]
                yield name, part, own


def _dense(result: Any) -> Iterator[Array]:
    if isinstance(result, (list, tuple)):
        for item in result:
            yield from _dense(item)
        return
    array = np.asarray(result.toarray() if hasattr(result, "toarray") else result)
    if array.dtype.kind in "fiub":
        yield array
