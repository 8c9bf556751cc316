"""The translator: Call → Mapping → promised types → converter → check."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from any2onnx.errors import Any2OnnxError, PromiseBroken, UnknownOption, did_you_mean
from any2onnx.graph.builder import GraphBuilder
from any2onnx.graph.inference import describe
from any2onnx.graph.types import TensorSpec, Value, dims_of, merge_shape
from any2onnx.operator_mappings.mapping import Call, OperatorMapping, ShapeCalculator
from any2onnx.operator_mappings.registry import Registry


class Translator:
    """Converts calls of one framework into nodes of a builder, recursively.

    Args:
        registry: Where the mappings come from.
        framework: Of the calls.
        builder: Of the main graph.
        general_shapes: Shape calculator for rows without one of their own (the framework's own inference).
    """

    def __init__(
        self,
        registry: Registry,
        framework: str,
        builder: GraphBuilder,
        *,
        general_shapes: ShapeCalculator | None = None,
    ) -> None:
        self.registry = registry
        self.framework = framework
        self.builder = builder
        self.general_shapes = general_shapes

    def convert(self, call: Call, g: GraphBuilder | None = None) -> Any:
        """Add the nodes of one call and return its results.

        Raises:
            UnsupportedOperator: No row for the call's key.
            OpsetNotSupported: No row at the model's opset.
            UnknownOption: An option that the converter does not know.
            PromiseBroken: The results have other types than the source operator promises.
        """
        builder = g or self.builder
        row = self.registry.lookup(self.framework, call.key, builder.opsets.main, call.location)
        _check_options(row, call)
        call = replace(call, convert=self._recursion(builder))
        shape_function = row.shape_function() or self.general_shapes
        promise = shape_function(call) if shape_function else None
        # File and line, without the code there: errors show it, in the file it would be a third of a network's graph.
        source = call.location.split("   ", 1)[0]
        with builder.scope(call.scope, source=source, rule=row.rule):
            try:
                results = row.converter_function()(builder, call)
            except Any2OnnxError as error:
                # The innermost place is the most telling one; the caller's only fills a gap.
                error.where = error.where or call.location or None
                raise
        check_promise(builder, call, results, promise)
        return results

    def _recursion(self, builder: GraphBuilder) -> Any:
        def convert(call: Call, g: GraphBuilder | None = None) -> Any:
            return self.convert(call, g or builder)

        return convert


def _check_options(row: OperatorMapping, call: Call) -> None:
    for name, value in call.options.items():
        if name not in row.options:
            raise UnknownOption(
                f"{call.key} has no option {name!r}{did_you_mean(name, row.options)}",
                where=call.location or None,
                needs=f"one of {sorted(row.options)}" if row.options else "no options",
            )
        allowed = row.options[name]
        if allowed and not any(value is a or value == a for a in allowed):
            raise UnknownOption(
                f"option {name}={value!r} of {call.key} is not possible",
                where=call.location or None,
                needs=f"one of {list(allowed)}",
            )


def check_promise(g: GraphBuilder, call: Call, results: Any, promise: Any) -> None:
    """Hold the results against the promised types; fill in dims that only the promise knows.

    Raises:
        PromiseBroken: Number, element type, rank or a static dim differs.
    """
    if isinstance(promise, Mapping) and isinstance(results, Mapping):
        # None promises nothing about a method, not even how many arrays it has.
        known = [name for name in promise if promise[name] is not None or name not in results]
        results = {name: item for name, item in results.items() if name in known or name not in promise}
        promise = {name: promise[name] for name in known} or None
    if promise is None:
        return
    names, values = _flat(results)
    promised_names, specs = _flat(promise)
    if names != promised_names:
        raise _broken(
            call, f"it returned {names or 'one value'}, the operator promises {promised_names or 'one value'}"
        )
    for name, value, spec in zip(names or [""], values, specs, strict=True):
        if spec is None:
            continue
        if not isinstance(value, Value):
            raise _broken(call, f"output {name or 0} is {type(value).__name__}, not a value of the graph")
        _check_value(g, call, name, value, spec)


def _check_value(g: GraphBuilder, call: Call, name: str, value: Value, spec: TensorSpec) -> None:
    if value.dtype != spec.dtype:
        raise _broken(call, f"output {name or value.name} is {describe(value)}, the operator promises {spec}")
    try:
        merged = merge_shape(dims_of(value.shape), spec.shape)
    except ValueError as error:
        raise _broken(
            call, f"output {name or value.name} is {describe(value)}, the operator promises {spec}"
        ) from error
    if value.producer() is not None:
        g.annotate(value, merged)


def _broken(call: Call, what: str) -> PromiseBroken:
    return PromiseBroken(
        f"the converter of {call.key} is wrong: {what}",
        where=call.location or None,
        remedy="report it with the model, or register a converter of your own: docs/custom_converters.md",
    )


def _flat(results: Any) -> tuple[list[str], list[Any]]:
    if isinstance(results, Mapping):
        # scikit-learn: a method with several arrays (one per output of the estimator) has a tuple.
        flat = {
            f"{name}[{k}]" if isinstance(result, tuple) else str(name): part
            for name, result in results.items()
            for k, part in enumerate(result if isinstance(result, tuple) else [result])
        }
        return list(flat), list(flat.values())
    if isinstance(results, Value | TensorSpec) or not isinstance(results, Sequence):
        return [], [results]
    return [str(k) for k in range(len(results))], list(results)
