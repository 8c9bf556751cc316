"""What the frameworks compute on the way: pipeline steps, Keras layers, ATen operators of a torch module."""

from __future__ import annotations

import contextlib
import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np

from any2onnx.parity.signature import to_numpy

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


@contextlib.contextmanager
def recorded_keras(model: Any, found: list[Intermediate]) -> Iterator[None]:
    """Record what every layer of a Keras model returns while it runs.

    The model must be a private copy: its layers are wrapped, and unwrapped at the end.
    """
    import keras

    wrapped = []
    for layer in model._flatten_layers(include_self=False, recursive=True) if hasattr(model, "_flatten_layers") else ():
        if "call" in vars(layer):
            continue
        call, name = layer.call, layer.path if getattr(layer, "path", "") else layer.name

        def recording(*arguments: Any, _call: Any = call, _name: str = name, **options: Any) -> Any:
            result = _call(*arguments, **options)
            for leaf in keras.tree.flatten(result):
                if leaf is not None and hasattr(leaf, "dtype") and "string" not in str(leaf.dtype):
                    values = to_numpy(leaf) if hasattr(leaf, "detach") else np.asarray(leaf)
                    found.append(Intermediate(_name, values))
            return result

        object.__setattr__(layer, "call", recording)
        wrapped.append(layer)
    try:
        yield
    finally:
        for layer in wrapped:
            object.__delattr__(layer, "call")


@contextlib.contextmanager
def recorded_torch(module: Any, found: list[Intermediate]) -> Iterator[None]:
    """Record what every ATen operator returns while a module runs, under the path of the sub-module that called it."""
    import torch
    from torch.utils import _pytree as pytree
    from torch.utils._python_dispatch import TorchDispatchMode

    paths = {part: name for name, part in module.named_modules()}
    stack: list[str] = []
    handles = []
    for part in paths:
        handles.append(part.register_forward_pre_hook(lambda owner, _: stack.append(paths[owner])))
        handles.append(part.register_forward_hook(lambda *_: stack.pop() and None, always_call=True))

    class Recorder(TorchDispatchMode):
        def __torch_dispatch__(
            self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
        ) -> Any:
            result = func(*args, **(kwargs or {}))
            for leaf in pytree.tree_leaves(result):
                if isinstance(leaf, torch.Tensor) and not leaf.is_sparse:
                    place = stack[-1] if stack else ""
                    name = f"{place}: {func.__name__}" if place else func.__name__
                    # A copy: operators in place change what came before.
                    found.append(Intermediate(name, to_numpy(leaf.detach().clone())))
            return result

    try:
        with Recorder():
            yield
    finally:
        for handle in handles:
            handle.remove()
