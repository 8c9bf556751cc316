"""Walks the graph of a Keras model and converts it call by call.

A Functional or Sequential model is a list of nodes in data-flow order, each a call of a layer or of a `keras.ops`
operation. A layer with a row in the mapping table is converted by that row; inner models are walked; everything else
(subclassed models, custom layers, operations) is run once on recording tensors and comes apart into functions of the
Keras backend, which have rows of their own. No backend's own graph is involved.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import onnx_ir as ir

from any2onnx.converters.keras.calls import (
    HALVES,
    LayerCall,
    class_name,
    flatten,
    key_of,
    map_values,
    masks_by_name,
)
from any2onnx.converters.keras.masks import MaskedCall, Masks, attach_masks, fill_in_masks
from any2onnx.converters.keras.plan import Plan, graph_of_sequential, plan_of
from any2onnx.converters.keras.promises import fitting, of_floats, promised
from any2onnx.converters.keras.weights import Weights
from any2onnx.converters.translator import Translator, check_promise
from any2onnx.errors import Any2OnnxError, ExportFailed, NotFitted, UnsupportedOperator, UnsupportedParameter
from any2onnx.graph.builder import GraphBuilder
from any2onnx.graph.types import FLOATS, DataType, TensorSpec, Value, rank_of, to_dtype
from any2onnx.operator_mappings.mapping import Call
from any2onnx.operator_mappings.registry import Needed, Registry
from any2onnx.options import Options

TRACED = "any2onnx.converters.keras.core:traced"
"""The converter of layers that come apart into functions of the backend."""


class Walker:
    """Converts layers and models into nodes of a builder.

    Args:
        registry: Where the mappings come from.
        builder: Of the main graph.
        model_name: Begins every location in messages.
        compute_dtype: Compute in this type where the model computes in float16 or bfloat16.
        options: Conversion options by layer class, layer or path.
    """

    def __init__(
        self,
        registry: Registry,
        builder: GraphBuilder,
        *,
        model_name: str = "",
        compute_dtype: DataType | None = None,
        options: Options | None = None,
    ) -> None:
        self.registry = registry
        self.builder = builder
        self.model_name = model_name
        self.compute_dtype = compute_dtype
        self.options = options or Options()
        self.masks = Masks()
        self.weights = Weights()
        self._sequential: dict[int, Any] = {}
        self.errors: list[Any2OnnxError] = []
        self._open: contextlib.ExitStack | None = None
        self.translator = Translator(registry, "keras", builder, general_shapes=promised)

    @contextlib.contextmanager
    def recording(self) -> Iterator[None]:
        """Keep one recording session for all that is traced inside: opening one takes time."""
        with contextlib.ExitStack() as stack:
            self._open = stack
            try:
                yield
            finally:
                self._open = None

    # --- what is needed ----------------------------------------------------------------------------------------------

    def needed(self, function: Any, path: str = "") -> Iterator[Needed]:
        """Yield the mapped layers of a graph, inner models included, with their places."""
        for node in plan_of(function).nodes:
            operation = node.operation
            inner = f"{path}/{operation.name}" if path else str(operation.name)
            graph = self.graph_of(operation)
            if graph is not None:
                yield from self.needed(graph, inner)
            elif self.registry.knows("keras", key := self.key(operation)):
                yield Needed(key, self.location(operation, inner))

    def graph_of(self, layer: Any) -> Any:
        """Return the Function behind a Functional or Sequential model that is to be walked; None for others.

        A model whose class has a row of its own, or that overrides `call`, is not walked.
        """
        from keras.src.models.functional import Functional
        from keras.src.models.sequential import Sequential

        if self.registry.knows("keras", self.key(layer)):
            return None
        if isinstance(layer, Functional) and type(layer).call is Functional.call:
            return layer
        if isinstance(layer, Sequential) and type(layer).call is Sequential.call:
            if id(layer) not in self._sequential:
                self._sequential[id(layer)] = graph_of_sequential(layer)
            return self._sequential[id(layer)]
        return None

    # --- graphs ------------------------------------------------------------------------------------------------------

    def run(self, g: GraphBuilder, function: Any, inputs: Sequence[Any], path: str = "") -> list[Any]:
        """Convert a Function's graph.

        Args:
            g: Where the nodes go.
            function: Functional model.
            inputs: Values of its inputs, flat.
            path: Names of the models around it.

        Returns:
            The values of its outputs, flat.
        """
        values: dict[int, Any] = {}
        for tensor, value in zip(function.inputs, inputs, strict=True):
            values[id(tensor)] = self._as_input(g, tensor, value)
        plan = plan_of(function)
        for node in plan.nodes:
            self._node(g, node, plan, values, path)
        return [self._value(g, tensor, plan, values, path) for tensor in function.outputs]

    def _node(self, g: GraphBuilder, node: Any, plan: Plan, values: dict[int, Any], path: str) -> None:
        for tensor in node.input_tensors:
            self._value(g, tensor, plan, values, path)
        args, kwargs = node.arguments.fill_in(values)
        try:
            results = self._call(g, node.operation, args, dict(kwargs), path=path, outputs=node.outputs)
        except (UnsupportedOperator, UnsupportedParameter) as error:
            # Go on with stand-ins of the right types, so that all errors come at once.
            self.errors.append(error)
            results = [self._stand_in(tensor) for tensor in node.outputs]
        for tensor, value in zip(node.outputs, results, strict=True):
            values[id(tensor)] = value

    def _value(self, g: GraphBuilder, tensor: Any, plan: Plan, values: dict[int, Any], path: str) -> Any:
        """Return the value of a KerasTensor; a mask is that of the tensor that carries it."""
        if id(tensor) not in values:
            owner = plan.owners.get(id(tensor))
            mask = None if owner is None else self.masks.get(self._value(g, owner, plan, values, path))
            if mask is not None:
                values[id(tensor)] = mask
            else:
                self._node(g, plan.producers[id(tensor)], plan, values, path)
        return values[id(tensor)]

    def _as_input(self, g: GraphBuilder, tensor: Any, value: Any) -> Any:
        """Do what Functional does with its inputs: cast, and squeeze or unsqueeze a last dim of size 1."""
        if not isinstance(value, Value):
            return value
        result = g.Cast(value, self.dtype(tensor.dtype))
        if result.shape is not None:
            rank, wanted = rank_of(result), len(tensor.shape)
            if rank == wanted + 1:
                result = g.Squeeze(result, rank - 1)
            elif rank == wanted - 1:
                result = g.Unsqueeze(result, rank)
        self.masks.copy(value, result)
        return result

    def _call(
        self, g: GraphBuilder, operation: Any, args: tuple[Any, ...], kwargs: dict[str, Any], *, path: str, outputs: Any
    ) -> list[Any]:
        from keras import Layer

        specs = tuple(self.spec(tensor) for tensor in outputs)
        if isinstance(operation, Layer):
            args, kwargs = masks_by_name(operation, args, kwargs)
        # A Functional model called for inference overrides what its layers were called with.
        kwargs.pop("training", None)
        if isinstance(operation, Layer):
            return self.layer(g, operation, args, kwargs, path=path, outputs=specs)
        inner = f"{path}/{operation.name}" if path else str(operation.name)
        return self._mapped_or_traced(g, operation, args, kwargs, path=inner, outputs=specs)

    # --- layers ------------------------------------------------------------------------------------------------------

    def layer(
        self,
        g: GraphBuilder,
        layer: Any,
        args: Sequence[Any],
        kwargs: Mapping[str, Any] | None = None,
        *,
        path: str = "",
        outputs: tuple[TensorSpec | None, ...] | None = None,
    ) -> list[Any]:
        """Convert `layer(*args, **kwargs)` as Keras runs it: autocast, masks, the call, masks of the outputs.

        Args:
            g: Where the nodes go.
            layer: Built layer.
            args: Positional arguments, nested, with Values for tensors.
            kwargs: Keyword arguments.
            path: Names of the models and layers around it.
            outputs: What Keras inferred for the outputs.

        Returns:
            The values of the outputs, flat.
        """
        path = f"{path}/{layer.name}" if path else str(layer.name)
        if not layer.built:
            raise NotFitted(
                f"layer {layer.name!r} has no weights yet",
                where=self.location(layer, path),
                remedy="call the model once on data, or build it, before converting it",
            )
        given = dict(kwargs or {})
        # Arguments that an inner model hands on to its layers reach them when it runs, not in its graph.
        graph = self.graph_of(layer) if given.keys() <= {"inputs", "mask"} else None
        if graph is None:
            args = tuple(self._autocast(g, layer, a) for a in args)
            given = {name: self._autocast(g, layer, a) for name, a in given.items()}
        previous = fill_in_masks(self.masks, layer, args, given)
        if graph is not None:
            return self._inner_model(g, graph, args, given, path)
        results = self._mapped_or_traced(g, layer, tuple(args), given, path=path, outputs=outputs)
        if not layer.supports_masking and self.masks:
            results = [g.Identity(v) if self.masks.has(v) and v in flatten(args) else v for v in results]
        first = args[0] if args else next(iter(given.values()), None)
        attach_masks(self, g, layer, first, results, previous, path)
        return results

    def whole(self, g: GraphBuilder, model: Any, args: Sequence[Any]) -> Any:
        """Convert the outermost model or layer where it has no graph to walk; return its results, nested."""
        if self.registry.knows("keras", self.key(model)):
            return self.layer(g, model, args)
        return self.trace_call(g, model, args, path="")

    def _inner_model(
        self, g: GraphBuilder, graph: Any, args: Sequence[Any], kwargs: Mapping[str, Any], path: str
    ) -> list[Any]:
        inputs = args[0] if args else kwargs["inputs"]
        struct = graph._inputs_struct
        if isinstance(inputs, Mapping) and not isinstance(struct, Mapping):
            flat = [inputs[tensor.name] for tensor in graph.inputs]
        elif isinstance(inputs, Mapping):
            flat = flatten({name: inputs[name] for name in struct})
        else:
            flat = flatten(inputs)
        mask = kwargs.get("mask")
        if mask is not None:
            for value, one in zip(flat, flatten(mask), strict=False):
                if isinstance(one, Value):
                    self.masks.set(value, one)
        return self.run(g, graph, flat, path)

    def _autocast(self, g: GraphBuilder, layer: Any, argument: Any) -> Any:
        if not layer.autocast or not layer._convert_input_args:
            return argument
        wanted = self.dtype(layer.input_dtype)

        def cast(value: Value) -> Value:
            if value.dtype not in FLOATS or value.dtype == wanted:
                return value
            result = g.Cast(value, wanted)
            self.masks.copy(value, result)
            return result

        return map_values(cast, argument)

    # --- calls -------------------------------------------------------------------------------------------------------

    def _mapped_or_traced(
        self,
        g: GraphBuilder,
        operation: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        *,
        path: str,
        outputs: tuple[TensorSpec | None, ...] | None,
    ) -> list[Any]:
        if kwargs.get("training"):
            raise self._training(self.location(operation, path))
        kwargs.pop("training", None)
        key = self.key(operation)
        call = self.call(key, operation, args, kwargs, path=path, outputs=outputs)
        if self.registry.knows("keras", key) and not self._beyond_floats(key, call):
            results = flatten(self.translator.convert(call, g))
            if self._whole(operation) is not None:
                return results
        else:
            results = flatten(self.trace_call(g, operation, args, kwargs, path=path))
        if outputs is not None:
            # What a layer says of its results may be wrong without anybody noticing; what its code did is not.
            check_promise(g, call, results, fitting(results, outputs))
        return results

    def _beyond_floats(self, key: str, call: LayerCall) -> bool:
        """Tell whether a layer gets integers, truth values or text for which its converter was not written.

        Its own code says what it makes of them; what Keras infers for the results is often wrong.
        """
        row = self.registry.find("keras", key, self.builder.opsets.main)
        if row is None or not str(row.converter).startswith("any2onnx.converters.keras.") or not of_floats(row.key):
            return False
        named = [v for name, v in call.params.items() if "mask" not in name]
        return any(isinstance(leaf, Value) and leaf.dtype not in FLOATS for leaf in flatten([list(call.inputs), named]))

    def call(
        self,
        key: str,
        source: Any,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any] | None = None,
        *,
        path: str,
        outputs: tuple[TensorSpec | None, ...] | None = None,
    ) -> LayerCall:
        """Return the Call that converters get."""
        return LayerCall(
            key=key,
            source=source,
            inputs=args,
            params=dict(kwargs or {}),
            options=self._options(source, key, path),
            scope=path,
            location=self.location(source, path),
            walker=self,
            outputs=outputs,
        )

    def function(self, g: GraphBuilder, function: Any, x: Value, *, path: str) -> Value:
        """Convert an activation function: one of keras.activations, a layer, or any callable of one tensor."""
        from keras import Layer

        if function is None:
            return x
        if isinstance(function, Layer):
            return self._single(self.layer(g, function, (x,), path=path), function)
        key = key_of(function) if hasattr(function, "__module__") else ""
        if self.registry.knows("keras", key):
            return self._single(self.translator.convert(self.call(key, function, (x,), path=path), g), function)
        return self._single(self.trace(g, function, (x,), path=path, what=function), function)

    def _single(self, results: Any, function: Any) -> Value:
        found = flatten(results)
        if len(found) != 1 or not isinstance(found[0], Value):
            raise UnsupportedOperator(f"{function!r} returns {len(found)} results where one tensor is needed")
        return found[0]

    def trace_call(
        self,
        g: GraphBuilder,
        operation: Any,
        args: Sequence[Any],
        kwargs: Mapping[str, Any] | None = None,
        *,
        path: str,
    ) -> Any:
        """Convert a layer or operation by running its own code for inference; return its results, nested."""
        given = dict(kwargs or {})
        if not isinstance(operation, _keras_layer_class()):
            return self.trace(g, operation.call, args, given, path=path, what=operation)
        try:
            # The whole __call__, so that layers inside see training=False, whatever their own default is.
            return self.trace(g, operation, args, {**given, "training": False}, path=path, what=operation)
        except ExportFailed:
            from any2onnx.converters.keras.native_calls import native_call

            found = native_call(self, g, operation, args, given, path)
            if found is None:
                raise
            return found

    def trace(
        self,
        g: GraphBuilder,
        function: Callable[..., Any],
        args: Sequence[Any],
        kwargs: Mapping[str, Any] | None = None,
        *,
        path: str,
        what: Any,
    ) -> Any:
        """Run Python code once on recording tensors and convert what it does; return its results, nested."""
        from any2onnx.converters.keras.trace import trace
        from any2onnx.converters.keras.tracing_patch import open_session

        location = self.location(what, path)
        masked = MaskedCall(function, self.masks)
        if self._open is not None:
            # A session opened inside another one is the same, so every trace until the end of the walk shares it.
            self._open.enter_context(open_session())
            self._open = None
        with g.scope(path, source=location, rule="keras.trace"):
            results, masks = trace(
                masked.run,
                (list(args), masked.of(args)),
                dict(kwargs or {}),
                g=g,
                convert=self._convert_traced,
                scope=path,
                location=location,
                intercept=lambda layer: None if layer is what else self._whole(layer),
                require=lambda found: self.registry.require(
                    "keras", [Needed(key, where) for key, where in found], g.opsets.main
                ),
            )
        for value, mask in zip(flatten(results), masks, strict=True):
            if isinstance(value, Value) and isinstance(mask, Value):
                self.masks.set(value, mask)
        return results

    def _whole(self, layer: Any) -> str | None:
        """Return the key of a layer inside traced code that is converted as a whole; None to look into it."""
        key = self.key(layer)
        if not self.registry.knows("keras", key):
            return None
        row = self.registry.find("keras", key, self.builder.opsets.main)
        return None if row is not None and row.converter == TRACED else key

    def _convert_traced(self, call: Call, g: GraphBuilder) -> Any:
        """Convert a call that the recorder noted: of a backend function, or of a layer as a whole."""
        if isinstance(call.source, _keras_layer_class()):
            names = list(call.source._call_signature.parameters.values())
            given = {name: v for name, v in call.params.items() if v is not None}
            for parameter in names:
                if parameter.kind is parameter.VAR_KEYWORD:
                    given.update(given.pop(parameter.name, {}))
            first = (given.pop(names[0].name),) if names and names[0].name in given else ()
            if first and names[0].kind is names[0].VAR_POSITIONAL:
                first = tuple(first[0])
            return self._mapped_or_traced(g, call.source, first, given, path=call.scope, outputs=None)
        return self.translator.convert(replace(call, options=self._options(call.source, call.key, call.scope)), g)

    def _options(self, source: Any, key: str, path: str) -> Mapping[str, Any]:
        row = self.registry.find("keras", key, self.builder.opsets.main)
        return self.options.for_source(source, path, row.options if row else {})

    def key(self, operation: Any) -> str:
        """Return the key of an operation in the tables; a user's row may be under the bare name of a class."""
        key = key_of(operation)
        short = class_name(operation)
        return short if not self.registry.knows("keras", key) and self.registry.knows("keras", short) else key

    # --- types and names ---------------------------------------------------------------------------------------------

    def dtype(self, name: Any) -> DataType:
        """Return the element type for one of Keras's names, half precision replaced by `compute_dtype`."""
        dtype = to_dtype(name)
        return self.compute_dtype if self.compute_dtype is not None and dtype in HALVES else dtype

    def spec(self, tensor: Any) -> TensorSpec | None:
        """Return the type that a KerasTensor states."""
        shape = None if tensor.shape is None else tuple(tensor.shape)
        return TensorSpec(self.dtype(tensor.dtype), shape)

    def location(self, operation: Any, path: str) -> str:
        """Return the place of a layer for people: ``model/conv1 (Conv2D)``."""
        full = "/".join(part for part in (self.model_name, path) if part)
        return f"{full} ({class_name(operation)})"

    def _stand_in(self, tensor: Any) -> Value:
        spec = self.spec(tensor)
        assert spec is not None
        label = self.builder.names.unique("unsupported")
        return ir.Value(
            name=label,
            type=ir.TensorType(spec.dtype),
            shape=None if spec.shape is None else ir.Shape(spec.shape),
        )

    @staticmethod
    def _training(location: str) -> UnsupportedParameter:
        return UnsupportedParameter(
            "a layer is called with training=True, and ONNX models are for inference",
            where=location,
            remedy="call it with training=False, or without the argument",
        )


def _keras_layer_class() -> type[Any]:
    from keras import Layer

    return Layer  # type: ignore[no-any-return]
