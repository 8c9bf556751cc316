"""From a Keras model to a graph: inputs and outputs by the model's own names, everything between by the walker."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import onnx_ir as ir

from any2onnx.converters.keras.calls import flatten, key_of
from any2onnx.converters.keras.signature import Given, InputSpec, explicit_specs, inferred_specs
from any2onnx.converters.keras.walker import Walker
from any2onnx.errors import Any2OnnxError, NotAModel, NotFitted, UnknownOption, UnsupportedOperator, did_you_mean
from any2onnx.graph.builder import GraphBuilder
from any2onnx.graph.opsets import Opsets
from any2onnx.graph.types import Value, rank_of, to_dtype
from any2onnx.operator_mappings.registry import Registry
from any2onnx.options import Options

CHANNELS_FIRST_KEY: Final = "any2onnx.channels_first"


@dataclass(frozen=True, slots=True)
class _Layout:
    """Names of the inputs and outputs that the ONNX model has channels first while Keras has them last."""

    inputs: frozenset[str]
    outputs: frozenset[str]


def build_keras(
    model: Any,
    *,
    opsets: Opsets,
    registry: Registry,
    name: str = "",
    initial_types: Sequence[tuple[str, Any]] | None = None,
    input_signature: Any = None,
    channel_first_inputs: Sequence[str] | None = None,
    inputs_as_nchw: Sequence[str] | None = None,
    outputs_as_nchw: Sequence[str] | None = None,
    options: Options | None = None,
    compute_dtype: Any = None,
) -> ir.Model:
    """Convert a Keras 3 model or layer, under any Keras backend.

    Args:
        model: Functional, Sequential or subclassed model, or a layer.
        opsets: Versions of the operator sets.
        registry: The mappings.
        name: Name of the graph; the model's own by default.
        initial_types: (name, type) of each input, to replace what the model states.
        input_signature: The same as a list of specs with `shape`, `dtype` and maybe `name` (tf.TensorSpec,
            keras.InputSpec, KerasTensor).
        channel_first_inputs: Names of inputs that the ONNX model takes as [N, C, ...] while Keras has [N, ..., C].
        inputs_as_nchw: The same, by tf2onnx's name.
        outputs_as_nchw: Names of outputs likewise.
        options: Conversion options by layer class, layer or path.
        compute_dtype: Compute in this type where the model computes in float16 or bfloat16.

    Returns:
        The graph before optimisation; `metadata_props["any2onnx.channels_first"]` names what has its channels first.

    Raises:
        NotAModel: The object is no Keras model or layer.
        NotFitted: The model has not been built, so its weights or its inputs are not known.
        UnsupportedOperator: Layers that cannot be converted, all of them in one error.
    """
    _check_model(model)
    # Text is taken apart by operators of com.microsoft: nothing in the standard does it.
    g = GraphBuilder(opsets.with_contrib())
    walker = Walker(
        registry,
        g,
        model_name=str(model.name),
        compute_dtype=None if compute_dtype is None else to_dtype(compute_dtype),
        options=options,
    )
    specs, run = _inputs_and_run(walker, model, explicit_specs(initial_types, input_signature))
    layout = _Layout(
        _plain_names([*(channel_first_inputs or ()), *(inputs_as_nchw or ())]), _plain_names(outputs_as_nchw or ())
    )
    _check_names("input", layout.inputs, [spec.name for spec in specs])
    inputs = [_graph_input(g, spec, spec.name in layout.inputs) for spec in specs]
    with walker.recording():
        results, wanted = run(g, inputs)
    _raise_all(walker.errors)
    if unused := sorted(walker.options.unused()):
        raise UnknownOption(f"options for {', '.join(unused)} fit no layer of the model")
    names = _unique(wanted, {spec.name for spec in specs})
    _check_names("output", layout.outputs, names)
    outputs = {
        label: _channels_first(g, value) if label in layout.outputs else value
        for label, value in zip(names, results, strict=True)
    }
    built = g.build(outputs, name=name or str(model.name))
    if layout.inputs or layout.outputs:
        # Sizes do not tell the layout of a square image with as many channels: whoever compares reads it here.
        moved = {"inputs": sorted(layout.inputs), "outputs": sorted(layout.outputs)}
        built.metadata_props[CHANNELS_FIRST_KEY] = json.dumps(moved)
    return built


_Run = Callable[[GraphBuilder, list[Value]], tuple[list[Value], list[str]]]


def _inputs_and_run(walker: Walker, model: Any, given: list[Given] | None) -> tuple[list[InputSpec], _Run]:
    """Return the inputs, and a function that converts the model and returns its outputs and their names."""
    from keras import tree

    graph = walker.graph_of(model)
    specs, struct = inferred_specs(model, graph, given)
    if graph is not None:
        walker.registry.require("keras", walker.needed(graph), walker.builder.opsets.main)

    def run(g: GraphBuilder, inputs: list[Value]) -> tuple[list[Value], list[str]]:
        if graph is not None:
            results = walker.run(g, graph, inputs)
            names = _keys(graph._outputs_struct) or [str(label) for label in graph.output_names]
            return results, names
        nested = walker.whole(g, model, tree.pack_sequence_as(struct, inputs))
        results = flatten(nested)
        return results, _keys(nested) or [str(model.name)] * len(results)

    return specs, run


def _keys(struct: Any) -> list[str]:
    """Return the keys of a plain dict of outputs, in Keras's order; [] for other structures."""
    if isinstance(struct, Mapping) and not any(isinstance(v, Mapping | list | tuple) for v in struct.values()):
        return [str(key) for key in sorted(struct)]
    return []


def _check_model(model: Any) -> None:
    from keras import Layer

    if isinstance(model, type) and issubclass(model, Layer):
        raise NotAModel(f"{model.__name__} is a class, not a model", remedy=f"{model.__name__}(...)")
    if not isinstance(model, Layer):
        hint = "it is a model of Keras 2 (tf_keras)" if "keras" in type(model).__module__ else "no Keras layer"
        raise NotAModel(
            f"{type(model).__name__} is not a Keras 3 model: {hint}",
            needs="a keras.Model, or a keras.Layer",
            remedy="convert_sklearn or convert_pytorch for models of other frameworks",
        )
    if not model.built:
        raise NotFitted(
            f"model {model.name!r} has not been built, so it has no weights yet",
            remedy="add keras.Input(...) as its first layer, call it once on data, or model.build(input_shape)",
        )


def _graph_input(g: GraphBuilder, spec: InputSpec, channels_first: bool) -> Value:
    if not channels_first:
        return g.input(spec.name, spec.dtype, spec.shape)
    rank = len(spec.shape)
    if rank < 3:
        raise UnknownOption(f"input {spec.name!r} has {rank} dimensions, so its channels cannot come first")
    shape = [spec.shape[0], spec.shape[-1], *spec.shape[1:-1]]
    return g.Transpose(g.input(spec.name, spec.dtype, shape), perm=[0, *range(2, rank), 1])


def _channels_first(g: GraphBuilder, value: Value) -> Value:
    rank = rank_of(value)
    if rank < 3:
        raise UnknownOption(f"output {value.name!r} has {rank} dimensions, so its channels cannot come first")
    return g.Transpose(value, perm=[0, rank - 1, *range(1, rank - 1)])


def _plain_names(names: Sequence[str]) -> frozenset[str]:
    """Drop the ``:0`` of TensorFlow's names."""
    return frozenset(str(name).removesuffix(":0") for name in names)


def _check_names(kind: str, asked: frozenset[str], known: Sequence[str]) -> None:
    for label in sorted(asked - set(known)):
        raise UnknownOption(
            f"the model has no {kind} {label!r}{did_you_mean(label, known)}", needs=f"one of {', '.join(known)}"
        )


def _unique(wanted: Sequence[str], taken: set[str]) -> list[str]:
    """Number names that occur again, or that an input has: Keras names outputs after their layers."""
    names: list[str] = []
    for label in wanted:
        unique, k = label, 0
        while unique in names or unique in taken:
            k += 1
            unique = f"{label}_{k}"
        names.append(unique)
    return names


def _raise_all(errors: Sequence[Any2OnnxError]) -> None:
    """Raise one error that names every layer that could not be converted."""
    if not errors:
        return
    first = errors[0]
    others = [*first.others]
    for error in errors[1:]:
        others += [f"{error.summary} ({error.where})" if error.where else error.summary, *error.others]
    cls = UnsupportedOperator if any(isinstance(e, UnsupportedOperator) for e in errors) else type(first)
    raise cls(
        first.summary, where=first.where, needs=first.needs, remedy=first.remedy, others=list(dict.fromkeys(others))
    ) from first


def key_of_class(layer_class: type[Any]) -> str:
    """Return the key of a layer class in the tables."""
    return key_of(layer_class)
