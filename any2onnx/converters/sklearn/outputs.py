"""Which methods a model's outputs are, what they are called, and the shapes that skl2onnx's users expect of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from any2onnx.converters.sklearn.frame import Frame
from any2onnx.converters.sklearn.frames import separate
from any2onnx.converters.sklearn.ragged import Ragged
from any2onnx.converters.sklearn.scan import ALL_OUTPUTS, offered
from any2onnx.converters.sklearn.support import as_column, class_array, width_of
from any2onnx.converters.sklearn.tree_paths import decision_path_text
from any2onnx.data_types import as_tensor_type
from any2onnx.errors import InvalidType, UnknownOption, UsageError
from any2onnx.graph.builder import GraphBuilder
from any2onnx.graph.types import Value, rank_of, to_dtype
from any2onnx.operator_mappings.mapping import OperatorMapping

_EXTRA = {
    "decision_path": "apply",
    "decision_leaf": "apply",
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
        single: Give a binary decision as [N, 1].
        together: Several arrays (one per target) are one output, as in skl2onnx, not one output each.
        path: The leaves of `method` are given as decision paths, one text of 0 and 1 per tree.
    """

    name: str
    method: str
    column: bool = False
    together: bool = False
    path: bool = False
    single: bool = False


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
        labels = (hasattr(model, "classes_") or hasattr(model, "predict_proba")) and not hasattr(
            model, "get_all_params"
        )
        return "classifier" if labels else "regressor"
    return "transformer"


def default_outputs(model: Any, row: OperatorMapping) -> list[Output]:
    """Return the outputs that skl2onnx gives a model of this kind."""
    have = offered(model, row)
    kind = estimator_kind(model)

    def first(*methods: str) -> list[str]:
        return [method for method in methods if method in have][:1]

    if "transform" in have and hasattr(_final_step(model), "get_support"):
        # RFE predicts as well, but is a selection of features.
        return [Output("variable", "transform")]
    if "predict" in have:
        if kind == "regressor":
            return [Output("variable", "predict", column=True)]
        name, scores = "scores", first("transform") if kind == "clusterer" else first("decision_function")
        if kind in ("classifier", "density_estimator"):
            name, scores = "probabilities", first("predict_proba", "decision_function")
        column = kind == "outlier_detector"
        return [
            Output("label", "predict", column=column),
            *(
                Output(name, method, column or method == "decision_function", together=True, single=_single(model))
                for method in scores
            ),
        ]
    if "transform" in have:
        return [Output("variable", "transform")]
    if not have:
        raise UsageError(f"{type(model).__name__} has no inference method")
    return [Output("scores" if have[0] == "score_samples" else have[0], have[0])]


def _single(model: Any) -> bool:
    """Tell whether skl2onnx gives a classifier's binary decision as one column, unless raw scores are asked for."""
    names = {cls.__name__ for cls in type(_final_step(model)).__mro__}
    return bool(names & {"LinearSVC", "RidgeClassifier", "RidgeClassifierCV"})


def _final_step(model: Any) -> Any:
    while getattr(model, "steps", None):
        model = model.steps[-1][1]
    return model


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
            Output(o.name, "decision_function", column=True)
            if o.method in ("predict_proba", "decision_function")
            else o
            for o in chosen
        ]
    for option, method in _EXTRA.items():
        if options.get(option):
            leaves = option in ("decision_leaf", "decision_path")
            chosen.append(Output(_EXTRA_NAMES.get(option, option), method, leaves, path=option == "decision_path"))
    return chosen


@dataclass(frozen=True, slots=True)
class Named:
    """The model's outputs, as far as the graph can hold them.

    Attributes:
        values: By name, in order.
        methods: The method behind each value; class labels, which no method gives, stand last and have none.
        sequences: Names of the values that together are one output, a sequence, under its name.
        ragged: Those sequences whose two values are the items of all rows and how many each row has.
    """

    values: dict[str, Value]
    methods: list[str]
    sequences: dict[str, list[str]]
    ragged: list[str] = field(default_factory=list)

    def final_names(self) -> list[str]:
        """Return the names of the outputs, a sequence in place of its members."""
        owner = {member: name for name, members in self.sequences.items() for member in members}
        return list(dict.fromkeys(owner.get(name, name) for name in self.values))

    def final_methods(self) -> list[str]:
        """Return the method behind each output; that of a sequence once."""
        later = {member for members in self.sequences.values() for member in members[1:]}
        return [method for name, method in zip(self.values, self.methods, strict=False) if name not in later]


def name_results(g: GraphBuilder, wanted: Sequence[Output], results: Mapping[str, Any], last: Any) -> Named:
    """Return the model's outputs by name, and the method behind each.

    Args:
        g: Where the nodes are.
        wanted: Outputs.
        results: Value, or values, of each method.
        last: The estimator whose outputs they are; skl2onnx gives a sequence for a MultiOutputClassifier, and one
            tensor [targets, N, classes] for all others.
    """
    named = Named({}, [], {})
    for output in wanted:
        result = results[output.method]
        if output.method == ALL_OUTPUTS:
            own = {_free_name(g, name): value for name, value in result.items()}
            named.values.update(own)
            named.methods.extend(own)
            continue
        if isinstance(result, Frame):
            result = separate(g, result)
        several = isinstance(result, tuple | list)
        if several and output.together and not _as_sequence(last, result):
            result, several = g.op("Concat", *(g.Unsqueeze(part, 0) for part in result), axis=0), False
        members = []
        for k, value in enumerate(result if several else [result]):
            if isinstance(value, Ragged):
                _name_ragged(g, named, output, f"{output.name}_{k}" if several else output.name, value)
                continue
            shaped = _conventional(g, output, value) if output.column else value
            members.append(_free_name(g, f"{output.name}_{k}" if several else output.name))
            named.values[members[-1]] = decision_path_text(g, shaped, last) if output.path else shaped
            named.methods.append("decision_path" if output.path else output.method)
        if several and output.together:
            named.sequences[_free_name(g, output.name)] = members
    return named


def _name_ragged(g: GraphBuilder, named: Named, output: Output, name: str, value: Ragged) -> None:
    name = _free_name(g, name)
    members = {f"{name}_items": value.items, f"{name}_lengths": value.lengths}
    named.values.update(members)
    named.methods.extend([output.method] * len(members))
    named.sequences[name] = list(members)
    named.ragged.append(name)


def _as_sequence(last: Any, parts: Sequence[Value]) -> bool:
    widths = {width_of(part) if rank_of(part) == 2 else None for part in parts}
    return len(widths) > 1 or any(cls.__name__ == "MultiOutputClassifier" for cls in type(last).__mro__)


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
    if output.method == "decision_function" and output.name == "probabilities" and not output.single:
        return g.op("Concat", g.Neg(column), column, axis=1)
    return column


def add_class_labels(g: GraphBuilder, named: Named, model: Any) -> None:
    """Add the classes as a constant, for the option ``output_class_labels``; one per target where there are several."""
    classes = class_lists(model)
    names = ["class_labels"] if len(classes) == 1 else [f"class_labels_{k}" for k in range(len(classes))]
    for name, labels in zip(names, classes, strict=True):
        named.values[name] = g.Identity(g.const(class_array(labels), name="classes"))
    if len(classes) > 1:
        named.sequences["class_labels"] = names


def class_lists(model: Any) -> list[Any]:
    """Return the classes of each target of a classifier."""
    classes = getattr(model, "classes_", None)
    if classes is None and hasattr(model, "estimators_"):
        # A MultiOutputClassifier that was put together by hand lacks them; its members do not.
        classes = [getattr(member, "classes_", None) for member in model.estimators_]
        classes = None if any(labels is None for labels in classes) else classes
    return [np.asarray(labels) for labels in classes] if isinstance(classes, list) else [final_classes(model)]


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


def apply_final_types(g: GraphBuilder, named: Named, final_types: Sequence[tuple[str, Any]] | None) -> Named:
    """Rename and cast outputs by position.

    Raises:
        UsageError: Another number of outputs, or a name twice.
        InvalidType: An entry is no pair, or its type no type.
    """
    if final_types is None:
        return named
    outputs = named.final_names()
    if len(final_types) != len(outputs):
        raise UsageError(
            f"final_types names {len(final_types)} outputs, the model has {len(outputs)}: {', '.join(outputs)}"
        )
    names = [entry[0] for entry in final_types if isinstance(entry, tuple | list) and entry]
    if len(set(map(str, names))) < len(names):
        raise UsageError(f"final_types has a name twice: {', '.join(map(str, names))}", needs="a name for each output")
    renamed = Named({}, named.methods, {})
    for entry, old in zip(final_types, outputs, strict=True):
        if not isinstance(entry, tuple | list) or len(entry) != 2 or not isinstance(entry[0], str):
            raise InvalidType(f"final_types holds {entry!r}", needs="pairs of name and type (or None)")
        name, given = entry
        members = named.sequences.get(old)
        if members is not None:
            renamed.sequences[name] = [f"{name}_{k}" for k in range(len(members))]
            given = getattr(given, "element_type", given)
        if old in named.ragged:
            renamed.ragged.append(name)
        for k, (fresh, member) in enumerate(zip(renamed.sequences.get(name, [name]), members or [old], strict=True)):
            value = named.values[member]
            stays = given is None or (old in named.ragged and k == 1)
            renamed.values[fresh] = value if stays else g.Cast(value, to_dtype(as_tensor_type(given, name).dtype))
    return renamed
