"""Looking into pipelines: their models, and the ONNX values behind each, with skl2onnx's names and arguments."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Iterator
from typing import Any, Final

from any2onnx.errors import NotAModel, UsageError

_METHODS: Final = ("transform", "predict", "predict_proba", "decision_function")


def enumerate_pipeline_models(
    pipe: Any, coor: tuple[int, ...] | None = None, vs: Any = None
) -> Iterator[tuple[tuple[int, ...], Any, Any]]:
    """Yield (position, model, columns) for a model and everything inside pipelines, unions and column transformers.

    Args:
        pipe: Fitted or not.
        coor: Position of `pipe`: (0,) for the whole, one number more on each level.
        vs: Columns that `pipe` is given by a ColumnTransformer above it.

    Raises:
        NotAModel: An object that is no scikit-learn estimator.
    """
    from sklearn.base import BaseEstimator

    coor = coor or (0,)
    if not isinstance(pipe, BaseEstimator | str) and pipe is not None and not hasattr(pipe, "get_params"):
        raise NotAModel(f"{type(pipe).__name__} is no scikit-learn object")
    yield coor, pipe, vs
    for k, (below, columns) in enumerate(_parts(pipe)):
        yield from enumerate_pipeline_models(below, (*coor, k), columns)


def _parts(pipe: Any) -> list[tuple[Any, Any]]:
    """Return (model, columns) of the parts of a composed model."""
    if hasattr(pipe, "steps"):
        return [(model, None) for _, model in pipe.steps]
    if hasattr(pipe, "transformer_list"):
        return [(model, None) for _, model in pipe.transformer_list]
    if hasattr(pipe, "transformers") and hasattr(pipe, "remainder"):
        fitted = getattr(pipe, "transformers_", None) or pipe.transformers
        return [(model, columns) for _, model, columns in fitted]
    return []


def collect_intermediate_steps(model: Any, *args: Any, **kwargs: Any) -> list[dict[str, Any]]:
    """Convert a model and return, for each estimator in it, the part of the graph that ends with its results.

    Pipelines, unions and column transformers are no steps of their own.

    Each estimator gets an attribute ``_debug`` that keeps what its methods were last given and what they answered
    (``_debug.inputs["transform"]``, ``_debug.outputs["transform"]``): the models are changed by it.

    Args:
        model: Fitted estimator.
        args: Positional arguments of `convert_sklearn` after the model.
        kwargs: Keyword arguments of `convert_sklearn`. The graph passes are left out, so that every value stays.

    Returns:
        One dict for each estimator, in the order of the graph: ``model``, ``model_onnx`` (the whole), ``inputs`` and
        ``outputs`` (names in the graph), ``onnx_step`` (the model from the first input to these outputs).

    Raises:
        UsageError: `intermediate` is given and false.
    """
    from any2onnx.api import convert_sklearn
    from any2onnx.converters.sklearn.walk import Step
    from any2onnx.helpers.onnx_helper import select_model_inputs_outputs

    if not kwargs.pop("intermediate", True):
        raise UsageError("intermediate must be true here", remedy="leave it out")
    bound = inspect.signature(convert_sklearn).bind(model, *args, **kwargs)
    steps: list[Step] = []
    proto = _convert(bound.arguments, steps)
    kept = {name for node in proto.graph.node for name in node.output} | {i.name for i in proto.graph.input}
    result: list[dict[str, Any]] = []
    for step in steps:
        outputs = [name for name in step.output_names() if name in kept]
        if not outputs or _parts(step.estimator):
            # Of composed models, as in skl2onnx, only the parts are steps.
            continue
        _watch(step.estimator)
        result.append(
            {
                "model": step.estimator,
                "model_onnx": proto,
                "inputs": step.input_names(),
                "outputs": outputs,
                "onnx_step": select_model_inputs_outputs(proto, outputs=outputs),
            }
        )
    return result


def _convert(given: dict[str, Any], steps: list[Any]) -> Any:
    from any2onnx.converters.finish import Finish, finish
    from any2onnx.converters.skl2onnx_adapter import rows_from_functions
    from any2onnx.converters.sklearn.walk import build_sklearn
    from any2onnx.converters.sklearn.zipmap import zipmap_steps
    from any2onnx.graph.opsets import Opsets
    from any2onnx.operator_mappings.user_layer import current_registry
    from any2onnx.options import Options

    names = ("custom_conversion_functions", "custom_shape_calculators", "custom_parsers")
    rows = rows_from_functions(*(given.get(name) for name in names))
    chosen = given.get("registry") or current_registry()
    built = build_sklearn(
        given["model"],
        initial_types=given.get("initial_types"),
        opsets=Opsets.of(given.get("target_opset")),
        registry=chosen.extended(rows, name="call", override=True) if rows else chosen,
        options=Options(given.get("options")),
        outputs=given.get("outputs"),
        naming=given.get("naming"),
        final_types=given.get("final_types"),
        name=given.get("name") or "",
        steps=steps,
    )
    steps_after = tuple(zipmap_steps(built))
    return finish(
        built, Finish(framework="scikit-learn", name=given.get("name") or "", optimized=False, steps=steps_after)
    )


class Watched:
    """What the methods of one estimator were last given, and what they answered.

    Attributes:
        model: The estimator.
        inputs: Last X by method.
        outputs: Last answer by method.
    """

    def __init__(self, model: Any) -> None:
        self.model = model
        self.inputs: dict[str, Any] = {}
        self.outputs: dict[str, Any] = {}

    def __repr__(self) -> str:
        return f"Watched({type(self.model).__name__}: {', '.join(self.outputs) or 'nothing called yet'})"


def _watch(model: Any) -> None:
    """Make an estimator keep what its methods are given and answer."""
    if hasattr(model, "_debug"):
        return
    record = model._debug = Watched(model)
    for name in _METHODS:
        method = getattr(model, name, None)
        if method is not None:
            setattr(model, name, _recording(record, name, method))


def _recording(record: Watched, name: str, method: Any) -> Any:
    @functools.wraps(method)
    def call(X: Any, *args: Any, **kwargs: Any) -> Any:
        record.inputs[name] = X
        record.outputs[name] = method(X, *args, **kwargs)
        return record.outputs[name]

    return call
