"""The scikit-learn front-end: from a fitted estimator to a graph.

The estimator tree is looked at whole first (`scan`), then converted from the top: pipelines and other meta-estimators
convert their parts through the same translator.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import onnx_ir as ir

from any2onnx.converters.skl2onnx_mixins import own_rows
from any2onnx.converters.sklearn.context import FRAMEWORK, Context
from any2onnx.converters.sklearn.inputs import float_type, make_inputs, types_from_sample
from any2onnx.converters.sklearn.map_inputs import MAP_KEY
from any2onnx.converters.sklearn.outputs import (
    Named,
    add_class_labels,
    apply_final_types,
    class_lists,
    name_results,
    wanted_outputs,
)
from any2onnx.converters.sklearn.ragged import Ragged
from any2onnx.converters.sklearn.scan import check_estimator, scan
from any2onnx.converters.sklearn.support import CLASS_INDEX, class_array
from any2onnx.converters.sklearn.text_values import text_index
from any2onnx.converters.sklearn.zipmap import (
    RAGGED_KEY,
    SEQUENCES_KEY,
    ZIPMAP_KEY,
    one_output_per_class,
    zipmap_record,
)
from any2onnx.converters.translator import Translator
from any2onnx.errors import UnknownOption, UnsupportedOperator, UsageError, did_you_mean
from any2onnx.graph.avoided import ANY_OPERATOR, OperatorChoice
from any2onnx.graph.builder import GraphBuilder
from any2onnx.graph.opsets import Opsets
from any2onnx.graph.types import Value, rank_of
from any2onnx.operator_mappings.mapping import Call
from any2onnx.operator_mappings.registry import Registry
from any2onnx.options import Options

__all__ = ["OUTPUTS_KEY", "build_sklearn", "types_from_sample"]

OUTPUTS_KEY: Final = "any2onnx.outputs"


@dataclass(frozen=True, slots=True)
class Step:
    """An estimator of the model, and the values of the graph that are its inputs and results.

    Attributes:
        estimator: Fitted.
        scope: Its path.
        inputs: Its X.
        outputs: (method, value) of each result.
    """

    estimator: Any
    scope: str
    inputs: tuple[Value, ...]
    outputs: tuple[tuple[str, Value], ...]

    def input_names(self) -> list[str]:
        """Return the names that the inputs have in the graph."""
        return [str(value.name) for value in self.inputs]

    def output_names(self) -> list[str]:
        """Return the names that the results have in the graph, each once."""
        return list(dict.fromkeys(str(value.name) for _, value in self.outputs))


class _Recorder(Translator):
    """A translator that keeps every estimator of the main graph with its values."""

    def __init__(self, registry: Registry, builder: GraphBuilder, steps: list[Step]) -> None:
        super().__init__(registry, FRAMEWORK, builder)
        self.steps = steps

    def convert(self, call: Call, g: GraphBuilder | None = None) -> Any:
        results = super().convert(call, g)
        if g is None or g is self.builder:
            found = [
                (method, value)
                for method, result in results.items()
                for item in (result if isinstance(result, tuple | list) else [result])
                for value in ((item.items, item.lengths) if isinstance(item, Ragged) else (item,))
            ]
            self.steps.append(Step(call.source, call.scope, call.inputs, tuple(found)))
        return results


def build_sklearn(
    model: Any,
    *,
    initial_types: Any,
    opsets: Opsets,
    registry: Registry,
    options: Options | None = None,
    outputs: Sequence[str] | None = None,
    naming: str | Callable[[str, set[str]], str] | None = None,
    final_types: Sequence[tuple[str, Any]] | None = None,
    name: str = "",
    steps: list[Step] | None = None,
    choice: OperatorChoice = ANY_OPERATOR,
) -> ir.Model:
    """Return the graph of a fitted estimator, before the passes.

    Args:
        model: Fitted estimator.
        initial_types: (name, type) pairs: one matrix, or one input per column or group of columns.
        opsets: Versions to write; those of a user who names no domains allow com.microsoft where nothing else does.
        registry: Converters to use.
        options: Of the conversion.
        outputs: Inference methods to convert; they name the outputs. None for skl2onnx's outputs and shapes.
        naming: Prefix of inner names, or a function of (name, names so far).
        final_types: (name, type) of the outputs, by position.
        name: Of the graph; the estimator's class by default.
        steps: Takes every estimator of the main graph with the values that it reads and makes.
        choice: Operators that may be used; those that may not have another form in the graph, where there is one.

    Returns:
        The model. `metadata_props["any2onnx.outputs"]` lists the method behind each output, in order.

    Raises:
        NotFitted: The estimator has not been fitted.
        UnsupportedOperator: Some estimators have no converter; the message names all.
        UnsupportedParameter: A parameter has a value that cannot be honoured.
        OpsetNotSupported: The model needs another opset.
        UnknownOption: An option, a method or a key of `options` that does not exist.
        InvalidType: `initial_types` do not fit the model.
    """
    options = options or Options()
    check_estimator(model)
    # Text is taken apart by operators of com.microsoft: nothing in the standard does it.
    g = GraphBuilder(opsets.with_contrib(), choice=choice)
    # The type of floating results follows from the inputs, which follow from the methods; the rest needs both.
    plain = Context(registry, options, opsets.main, ir.DataType.FLOAT)
    if own := own_rows(model, plain):
        registry = registry.extended(own, name="model", override=True)
        plain = replace(plain, registry=registry)
    row = plain.row(model)
    if row is None:
        # With all the others that are missing, which only the scan knows.
        scan(model, (), plain)
        raise UnsupportedOperator(f"{plain.key_of(type(model))} has no ONNX mapping")
    root, last, converter = _root_options(model, plain)
    wanted = wanted_outputs(model, row, outputs, root, declared=getattr(converter, "parser", None) is not None)
    methods = tuple(dict.fromkeys(output.method for output in wanted))
    scan(model, methods, plain)
    table = make_inputs(g, initial_types, model, methods)
    floating = float_type(table.values)
    context = Context(registry, options, opsets.main, floating, floating)
    call = context.call(model, table.values, methods, "", inherited={}, columns=table.columns)
    translator = Translator(registry, FRAMEWORK, g) if steps is None else _Recorder(registry, g, steps)
    results = translator.convert(call)
    _check_unused(context)
    named = name_results(g, wanted, results, last)
    named, record = _shape_classes(g, model, named, root)
    named = apply_final_types(g, named, final_types)
    built = g.build(named.values, name=name or type(model).__name__)
    if naming is not None:
        _rename_inner(built, naming)
    built.metadata_props[OUTPUTS_KEY] = json.dumps(named.final_methods())
    if table.note:
        built.metadata_props[MAP_KEY] = table.note
    if record is not None:
        built.metadata_props[ZIPMAP_KEY] = record
    if named.sequences:
        built.metadata_props[SEQUENCES_KEY] = json.dumps(named.sequences)
    if named.ragged:
        built.metadata_props[RAGGED_KEY] = json.dumps(named.ragged)
    return built


def _check_unused(context: Context) -> None:
    """Check the options that fitted nothing: those of a class that the model does not have may stand, as in skl2onnx.

    Raises:
        UnknownOption: A name or id that fits nothing, a class that is no known estimator, or an option that its
            converter does not have.
    """
    unused: list[str] = []
    for key, label, given in context.options.unused_entries():
        row = context.registry.find(FRAMEWORK, context.key_of(key), context.opset) if isinstance(key, type) else None
        nothing = isinstance(key, str) and given == {key: False}
        if nothing and any(key in known.options for known in context.registry.rows(FRAMEWORK)):
            # Asked of everything, and there is nothing to switch off.
            continue
        if row is None:
            unused.append(label)
            continue
        for name in given:
            if name not in row.options:
                raise UnknownOption(
                    f"{label} has no option {name!r}{did_you_mean(name, row.options)}",
                    needs=f"one of {sorted(row.options)}",
                )
    if unused:
        raise UnknownOption(f"options for {', '.join(unused)} fit nothing in the model")


def _root_options(model: Any, context: Context) -> tuple[dict[str, Any], Any, Any]:
    """Return the options of the model's outputs, with the estimator and the converter of its last step."""
    chosen: dict[str, Any] = {}
    converter: Any = None
    last: Any = model
    step: Any = model
    scope = ""
    while step is not None and not isinstance(step, type):
        row = context.row(step)
        if row is None:
            break
        last = step
        chosen.update(context.options.for_source(step, scope, row.options))
        converter = row.converter_function()
        of = getattr(converter, "children", None)
        below = list(of(step, ())) if of is not None and getattr(converter, "delegates", False) else []
        if not below:
            break
        scope = f"{scope}/{below[-1].name}" if scope else below[-1].name
        step = below[-1].estimator
    return chosen, last, converter


def _shape_classes(g: GraphBuilder, model: Any, named: Named, root: Mapping[str, Any]) -> tuple[Named, str | None]:
    """Apply the options nocl, zipmap and output_class_labels."""
    record = None
    label = _name_of(named, "predict")
    scores = _name_of(named, "predict_proba") or _name_of(named, "decision_function")
    several = isinstance(getattr(model, "classes_", None), list)
    if root.get("nocl") and label is not None:
        named.values[label] = _class_index(g, named.values[label], class_lists(model))
    zipmap = root.get("zipmap", False)
    if zipmap and root.get("output_class_labels"):
        raise UsageError("zipmap and output_class_labels exclude each other", remedy="leave one out")
    if zipmap and several:
        if zipmap == "columns":
            raise UsageError(f"zipmap='columns' wants one target, {type(model).__name__} has several")
        warnings.warn(f"zipmap has no effect on {type(model).__name__}, which has several targets", stacklevel=2)
    elif zipmap and scores is not None:
        (classes,) = class_lists(model)
        named, scores = _names_of_zipmap(named, scores)
        keys = np.arange(len(classes)) if root.get("nocl") else class_array(classes)
        if zipmap == "columns":
            named = _one_per_class(g, named, scores, keys)
        else:
            record = zipmap_record(scores, keys)
    if root.get("output_class_labels"):
        add_class_labels(g, named, model)
    return named, record


def _names_of_zipmap(named: Named, scores: str) -> tuple[Named, str]:
    """Return the outputs, and the scores among them, under the names that skl2onnx gives them beside a zipmap."""
    other = {"label": "output_label", "probabilities": "output_probability"}
    values = {other.get(name, name): value for name, value in named.values.items()}
    return Named(values, named.methods, named.sequences, named.ragged), other.get(scores, scores)


def _one_per_class(g: GraphBuilder, named: Named, scores: str, keys: np.ndarray[Any, Any]) -> Named:
    """Return the outputs with one per class in place of the scores."""
    result = Named({}, [], named.sequences)
    for (name, value), method in zip(named.values.items(), named.methods, strict=True):
        columns = one_output_per_class(g, value, keys) if name == scores else {name: value}
        result.values.update(columns)
        result.methods.extend([method] * len(columns))
    return result


def _name_of(named: Named, method: str) -> str | None:
    """Return the name of the only output of a method; None for none, or several (one per target)."""
    names = [name for name, behind in zip(named.values, named.methods, strict=False) if behind == method]
    return names[0] if len(names) == 1 else None


def _class_index(g: GraphBuilder, label: Value, classes: list[Any]) -> Value:
    """Return positions among the classes for labels (skl2onnx's option ``nocl``), one column per target."""
    if len(classes) > 1:
        columns = [g.Gather(label, np.asarray(k, np.int64), axis=1) for k in range(len(classes))]
        found = [_class_index(g, column, [one]) for column, one in zip(columns, classes, strict=True)]
        return g.op("Concat", *(g.Unsqueeze(column, 1) for column in found), axis=1)
    if rank_of(label) == 2:
        # Sets of labels are flags, whatever the classes are called.
        return label
    known = class_array(classes[0])
    index, behind = label.meta.get(CLASS_INDEX, (None, None))
    if index is not None and np.array_equal(behind, known):
        return g.Identity(index)
    if known.dtype == object:
        return text_index(g, label, known.tolist(), -1)
    column = g.Unsqueeze(label, 1)
    same = g.Equal(g.Cast(column, ir.DataType.DOUBLE), known.astype(np.float64))
    return g.ArgMax(g.Cast(same, ir.DataType.INT32), axis=1, keepdims=0)


def _rename_inner(model: ir.Model, naming: str | Callable[[str, set[str]], str]) -> None:
    """Rename everything but inputs and outputs, by a prefix or a function, as skl2onnx's `naming` does."""
    graph = model.graph
    kept = {v.name for v in (*graph.inputs, *graph.outputs) if v.name is not None}
    taken: set[str] = set(kept)

    def rename(old: str | None) -> str | None:
        if old is None or old in kept:
            return old
        fresh = f"{naming}{old}" if isinstance(naming, str) else naming(old, taken)
        taken.add(fresh)
        return fresh

    for value in list(graph.initializers.values()):
        value.name = rename(value.name)
    for node in ir.traversal.RecursiveGraphIterator(graph):
        node.name = rename(node.name)
        for value in node.outputs:
            value.name = rename(value.name)
