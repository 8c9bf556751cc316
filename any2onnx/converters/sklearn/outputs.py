"""Which methods a model's outputs are, what they are called, and the shapes that skl2onnx's users expect of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from any2onnx.converters.sklearn.scan import ALL_OUTPUTS, offered
from any2onnx.converters.sklearn.support import as_column, class_array
from any2onnx.data_types import TensorType, as_tensor_type
from any2onnx.errors import InvalidType, UnknownOption, UsageError
from any2onnx.graph.builder import GraphBuilder
from any2onnx.graph.types import Value, rank_of, to_dtype
from any2onnx.operator_mappings.mapping import OperatorMapping

_EXTRA = {
    "decision_leaf": "apply",
    "decision_path": "decision_path",
    "score_samples": "score_samples",
    "return_std": "predict_std",
    "return_cov": "predict_cov",
}
_EXTRA_NAMES = {"return_std": "std", "return_cov": "cov"}


@dataclass(frozen=True, slots=True)
class Output:
    """One wanted result.

    Attributes:
        name: Of the ONNX output.
        method: That it is the result of.
        column: Give a vector [N] as [N, 1], a binary decision as [N, 2], as skl2onnx does.
    """

    name: str
    method: str
    column: bool = False


def estimator_kind(model: Any) -> str:
    """Return classifier, regressor, clusterer, outlier_detector, density_estimator or transformer."""
    kind = None
    try:
        from sklearn.utils import get_tags

        kind = get_tags(model).estimator_type
    except (ImportError, AttributeError, TypeError):
        # scikit-learn before 1.6, or an estimator by duck typing.
        kind = getattr(model, "_estimator_type", None)
    if kind:
        return "regressor" if kind == "ranker" else str(kind)
    if hasattr(model, "predict"):
        # CatBoost's base class has classes and predicts raw scores.
        labels = hasattr(model, "classes_") and not hasattr(model, "get_all_params")
        return "classifier" if labels else "regressor"
    return "transformer"


def default_outputs(model: Any, row: OperatorMapping) -> list[Output]:
    """Return the outputs that skl2onnx gives a model of this kind."""
    have = offered(model, row)
    kind = estimator_kind(model)

    def first(*methods: str) -> list[str]:
        return [method for method in methods if method in have][:1]

    if "predict" in have:
        if kind == "regressor":
            return [Output("variable", "predict", column=True)]
        name, scores = "scores", first("transform") if kind == "clusterer" else first("decision_function")
        if kind in ("classifier", "density_estimator"):
            name, scores = "probabilities", first("predict_proba", "decision_function")
        column = kind == "outlier_detector"
        return [
            Output("label", "predict", column=column),
            *(Output(name, method, column=column or method == "decision_function") for method in scores),
        ]
    if "transform" in have:
        return [Output("variable", "transform")]
    if not have:
        raise UsageError(f"{type(model).__name__} has no inference method")
    return [Output("scores" if have[0] == "score_samples" else have[0], have[0])]


def wanted_outputs(
    model: Any,
    row: OperatorMapping,
    outputs: Sequence[str] | None,
    options: Mapping[str, Any],
    *,
    declared: bool = False,
) -> list[Output]:
    """Return the outputs that the caller asks for by `outputs` or by skl2onnx's options.

    Args:
        model: Estimator.
        row: Of the estimator.
        outputs: Methods, None for the usual outputs.
        options: That hold for the model's outputs.
        declared: The outputs are those that a parser in skl2onnx's form declares.

    Raises:
        UsageError: `outputs` is no list of methods, or an option does not go with it.
        UnknownOption: inverse_transform together with another method.
    """
    if outputs is not None:
        names = [outputs] if isinstance(outputs, str) else list(outputs)
        if not names or len(set(names)) != len(names):
            raise UsageError(f"outputs is {names}", needs="each method once", remedy='outputs=("predict",)')
        if "inverse_transform" in names and len(names) > 1:
            raise UnknownOption(
                "inverse_transform takes other inputs than the other methods",
                remedy='outputs=("inverse_transform",) alone',
            )
        return [Output(name, name) for name in names]
    if declared:
        return [Output("", ALL_OUTPUTS)]
    chosen = default_outputs(model, row)
    if options.get("raw_scores"):
        chosen = [
            Output(o.name, "decision_function", column=True) if o.method == "predict_proba" else o for o in chosen
        ]
    for option, method in _EXTRA.items():
        if options.get(option):
            chosen.append(Output(_EXTRA_NAMES.get(option, option), method))
    return chosen


def name_results(
    g: GraphBuilder, wanted: Sequence[Output], results: Mapping[str, Any]
) -> tuple[dict[str, Value], list[str]]:
    """Return the model's outputs by name, and the method behind each."""
    named: dict[str, Value] = {}
    methods: list[str] = []
    for output in wanted:
        result = results[output.method]
        if output.method == ALL_OUTPUTS:
            named.update(result)
            methods += list(result)
            continue
        several = isinstance(result, tuple | list)
        for k, value in enumerate(result if several else [result]):
            shaped = _conventional(g, output, value) if output.column else value
            named[_free_name(g, f"{output.name}_{k}" if several else output.name)] = shaped
            methods.append(output.method)
    return named, methods


def _free_name(g: GraphBuilder, name: str) -> str:
    """Return the name, or another one where a column of the frame is called like that."""
    taken = {value.name for value in g.inputs}
    while name in taken:
        name = f"{name}_output"
    return name


def _conventional(g: GraphBuilder, output: Output, value: Value) -> Value:
    if rank_of(value) != 1:
        return value
    column = as_column(g, value)
    if output.method == "decision_function" and output.name == "probabilities":
        return g.op("Concat", g.Neg(column), column, axis=1)
    return column


def class_labels(g: GraphBuilder, model: Any) -> Value:
    """Return the classes as a constant, for the option ``output_class_labels``."""
    return g.Identity(g.const(class_array(final_classes(model)), name="classes"))


def final_classes(model: Any) -> Any:
    """Return `classes_` of a classifier.

    Raises:
        UsageError: It has none, or one array per output.
    """
    classes = getattr(model, "classes_", None)
    if classes is None or isinstance(classes, list):
        raise UsageError(
            f"{type(model).__name__} has no single list of classes", remedy="leave out zipmap and output_class_labels"
        )
    return np.asarray(classes)


def apply_final_types(
    g: GraphBuilder, outputs: Mapping[str, Value], final_types: Sequence[tuple[str, Any]] | None
) -> dict[str, Value]:
    """Rename and cast outputs by position.

    Raises:
        UsageError: Another number of outputs.
        InvalidType: An entry is no pair, or its type no type.
    """
    if final_types is None:
        return dict(outputs)
    if len(final_types) != len(outputs):
        raise UsageError(
            f"final_types names {len(final_types)} outputs, the model has {len(outputs)}: {', '.join(outputs)}"
        )
    renamed: dict[str, Value] = {}
    for entry, value in zip(final_types, outputs.values(), strict=True):
        if not isinstance(entry, tuple | list) or len(entry) != 2 or not isinstance(entry[0], str):
            raise InvalidType(f"final_types holds {entry!r}", needs="pairs of name and type (or None)")
        name, given = entry
        if given is None:
            renamed[name] = value
            continue
        wanted: TensorType = as_tensor_type(given, name)
        renamed[name] = g.Cast(value, to_dtype(wanted.dtype))
    return renamed
