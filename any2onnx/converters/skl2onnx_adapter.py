"""Runs converters written for skl2onnx, unchanged: shape_fct(operator), convert_fct(scope, operator, container).

The converter writes nodes by name into a recording container; here they are put into an order in which every input
exists, and added to the typed graph node by node, so that a wrong dtype still shows at the node that has it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import onnx
import onnx_ir as ir

from any2onnx.converters.sklearn.context import FRAMEWORK, Context, class_key
from any2onnx.converters.sklearn.outputs import default_outputs, estimator_kind
from any2onnx.converters.sklearn.scan import ALL_OUTPUTS, EVERYTHING
from any2onnx.converters.sklearn.skl2onnx_objects import (
    Container,
    Node,
    Operator,
    Scope,
    make_variable,
    spec_of_type,
    type_object,
)
from any2onnx.converters.sklearn.support import Results, as_vector, convert_child, width_of
from any2onnx.errors import (
    Any2OnnxError,
    ExportFailed,
    GraphError,
    InvalidType,
    PromiseBroken,
    RegistryError,
    UnsupportedOperator,
    UsageError,
)
from any2onnx.graph.builder import GraphBuilder
from any2onnx.graph.inference import describe
from any2onnx.graph.opsets import Opsets
from any2onnx.graph.types import DataType, TensorSpec, Value, rank_of, spec_of
from any2onnx.operator_mappings import user_layer
from any2onnx.operator_mappings.mapping import Call, OperatorMapping
from any2onnx.operator_mappings.sklearn_rows import EVERY_METHOD, META_OPTIONS

ShapeFunction = Callable[[Any], None]
ConvertFunction = Callable[[Any, Any, Any], Any]
Parser = Callable[..., Any]
_MAIN: Final = ""


def update_registered_converter(
    model: type,
    alias: str,
    shape_fct: ShapeFunction | None,
    convert_fct: ConvertFunction,
    overwrite: bool = True,
    parser: Parser | None = None,
    options: Mapping[str, Sequence[Any] | None] | None = None,
) -> None:
    """Register a converter in skl2onnx's form for the whole process.

    Args:
        model: Class of the estimator.
        alias: Name of the operator.
        shape_fct: Sets the types of `operator.outputs`; None leaves them to the graph.
        convert_fct: Adds nodes to the container.
        overwrite: Replace a converter that the class has already.
        parser: Declares the outputs, for estimators with others than those of their kind.
        options: Conversion options that the converter reads, with their values (None for any).

    Raises:
        UsageError: `model` is no class, or a function is no function.
        RegistryError: The class has a converter and `overwrite` is false.
    """
    if not isinstance(model, type):
        raise UsageError(f"{model!r} is no class", remedy=f"update_registered_converter({type(model).__name__}, ...)")
    if not overwrite and user_layer.current_registry().knows(FRAMEWORK, class_key(model)):
        raise RegistryError(f"{class_key(model)} has a converter already", remedy="overwrite=True")
    user_layer.register([adapter_row(model, Adapter(alias, shape_fct, convert_fct, parser), options)])


def update_registered_parser(model: type, parser_fct: Parser) -> None:
    """Give a converter that was registered in skl2onnx's form a parser, which declares its outputs.

    Raises:
        RegistryError: No such converter is registered for the class.
    """
    row = user_layer.current_registry().find(FRAMEWORK, class_key(model), Opsets.of().main)
    if row is None or not isinstance(row.converter, Adapter):
        raise RegistryError(
            f"{model.__name__} has no registered converter that could have a parser",
            remedy="update_registered_converter(model, alias, shape_fct, convert_fct, parser=...)",
        )
    user_layer.register([replace(row, converter=replace(row.converter, parser=parser_fct))])


def get_model_alias(model_type: type) -> str:
    """Return the alias that a class was registered with; ``Sklearn`` and its name for all others."""
    row = user_layer.current_registry().find(FRAMEWORK, class_key(model_type), Opsets.of().main)
    if row is not None and isinstance(row.converter, Adapter):
        return row.converter.alias
    return f"Sklearn{model_type.__name__}"


def rows_from_functions(
    converters: Mapping[Any, ConvertFunction] | None,
    shapes: Mapping[Any, ShapeFunction] | None,
    parsers: Mapping[Any, Parser] | None,
) -> list[OperatorMapping]:
    """Return rows for the `custom_*` arguments of `convert_sklearn`.

    Raises:
        InvalidType: A key is no class.
        UsageError: A class has a shape calculator or parser and no converter.
    """
    converters, shapes, parsers = dict(converters or {}), dict(shapes or {}), dict(parsers or {})
    registry = user_layer.current_registry()
    rows = []
    for model in dict.fromkeys([*converters, *shapes, *parsers]):
        if not isinstance(model, type):
            raise InvalidType(f"Keys in custom_conversion_functions must be types, not {model!r}")
        known = registry.find(FRAMEWORK, class_key(model), Opsets.of().main)
        before = known.converter if known is not None and isinstance(known.converter, Adapter) else None
        convert_fct = converters.get(model, before.convert_fct if before else None)
        if convert_fct is None:
            raise UsageError(
                f"{model.__name__} has a custom shape calculator or parser and no custom converter",
                remedy=f"custom_conversion_functions={{{model.__name__}: ...}}",
            )
        adapter = Adapter(
            before.alias if before else f"Sklearn{model.__name__}",
            shapes.get(model, before.shape_fct if before else None),
            convert_fct,
            parsers.get(model, before.parser if before else None),
        )
        rows.append(adapter_row(model, adapter, None))
    return rows


def _possible(values: Any) -> tuple[Any, ...]:
    """Return the values that an option may have: None and those listed, or the only one; () stands for any."""
    if values is None:
        return ()
    return (*(values if isinstance(values, list | tuple | set | frozenset) else (values,)), None)


def adapter_row(model: type, adapter: Adapter, options: Mapping[str, Sequence[Any] | None] | None) -> OperatorMapping:
    """Return the row of a class whose converter has skl2onnx's form."""
    allowed = {name: _possible(values) for name, values in (options or {}).items()}
    return OperatorMapping(
        framework=FRAMEWORK,
        key=class_key(model),
        converter=adapter,
        methods=tuple(EVERY_METHOD.split()),
        honours=frozenset({EVERYTHING}),
        options={**META_OPTIONS, **allowed},
        note=f"converter in skl2onnx's form ({adapter.alias})",
    )


@dataclass(frozen=True)
class Adapter:
    """A converter in skl2onnx's form as one of ours.

    Attributes:
        alias: Name of the operator.
        shape_fct: Shape calculator.
        convert_fct: Converter.
        parser: Declares other outputs than those of the estimator's kind.
    """

    alias: str
    shape_fct: ShapeFunction | None
    convert_fct: ConvertFunction
    parser: Parser | None = None

    def __call__(self, g: GraphBuilder, call: Call) -> Results:
        """Convert a call."""
        run = _Run(g, call, self)
        outputs = run.convert()
        return run.by_method(outputs)


@dataclass
class _Run:
    """One conversion: names of the converter's world and the values behind them."""

    g: GraphBuilder
    call: Call
    adapter: Adapter
    values: dict[str, Value] = field(default_factory=dict)

    def convert(self) -> list[tuple[str, Value]]:
        """Run the converter and return (name, value) of each output."""
        scope = Scope(self.g.opsets, self.call.options)
        container = Container(self.g.opsets, scope, self.g.choice)
        inputs = [self._variable(scope, v) for v in self.call.inputs]
        outputs = self._declare(scope, inputs)
        done: set[int] = set()
        # The converter of an operator may declare further ones.
        while pending := [op for op in scope.operators.values() if id(op) not in done]:
            for operator in pending:
                done.add(id(operator))
                if operator.raw_operator is self.call.source:
                    self._run_functions(scope, operator, container)
        container.take_messages()
        self._emit(scope, container)
        return [(str(v.raw_name), self._output(v)) for v in outputs]

    def _model_type(self) -> DataType:
        """Return the type of the model's floats, which is what the converter was written for: float32, for most."""
        context: Context = self.call.params["context"]
        return context.model_type

    def _variable(self, scope: Scope, value: Value) -> Any:
        if value.dtype == DataType.DOUBLE and self._model_type() == DataType.FLOAT:
            value = self.g.Cast(value, DataType.FLOAT)
        name = scope.get_unique_variable_name(str(value.name))
        self.values[name] = value
        variable = make_variable(name, name, type_object(spec_of(value)))
        scope.register_variable(variable)
        return variable

    def _declare(self, scope: Scope, inputs: list[Any]) -> list[Any]:
        model = self.call.source
        if self.adapter.parser is not None:
            declared = self.adapter.parser(scope, model, inputs, None)
            return list(declared) if isinstance(declared, list | tuple) else [declared]
        operator = scope.declare_local_operator(self.adapter.alias, model)
        operator.inputs.extend(inputs)
        for name, spec in _usual_outputs(self.call, self._model_type()):
            operator.outputs.append(scope.declare_local_variable(name, type_object(spec)))
        return operator.outputs

    def _run_functions(self, scope: Scope, operator: Operator, container: Container) -> None:
        try:
            if self.adapter.shape_fct is not None:
                self.adapter.shape_fct(operator)
            self.adapter.convert_fct(scope, operator, container)
        except Any2OnnxError:
            raise
        except Exception as error:
            name = type(self.call.source).__name__
            raise ExportFailed(
                f"the registered converter of {name} failed: {type(error).__name__}: {error}",
                where=self.call.location or None,
                remedy="correct the converter; the traceback is in __cause__",
            ) from error

    # --- nodes -------------------------------------------------------------------------------------------------------

    def _emit(self, scope: Scope, container: Container) -> None:
        """Add nodes and sub-operators in an order in which every input exists."""
        for name, array in container.constants.items():
            self.values[name] = self.g.const(array, name=name)
        below = [op for op in scope.operators.values() if op.raw_operator is not self.call.source]
        waiting: list[Node | Operator] = [*container.records, *below]
        while waiting:
            ready = [item for item in waiting if self._is_ready(item)]
            if not ready:
                raise self._never_ready(waiting)
            for item in ready:
                if isinstance(item, Node):
                    self._add_node(scope, item)
                else:
                    self._add_operator(item)
            waiting = [item for item in waiting if item not in ready]

    def _is_ready(self, item: Node | Operator) -> bool:
        names = item.inputs if isinstance(item, Node) else item.input_full_names
        return all(not name or name in self.values for name in names)

    def _never_ready(self, waiting: Sequence[Node | Operator]) -> GraphError:
        first = waiting[0]
        names = first.inputs if isinstance(first, Node) else first.input_full_names
        missing = [name for name in names if name and name not in self.values]
        what = first.op_type if isinstance(first, Node) else first.type
        return GraphError(
            f"{what} reads {missing}, which no node of the registered converter makes",
            where=self.call.location or None,
        )

    def _add_node(self, scope: Scope, node: Node) -> None:
        g = self.g
        if g.opsets.get(node.domain) is None:
            # The user's own converter chose the domain, as skl2onnx lets it.
            g.opsets = Opsets((*g.opsets.versions, (node.domain, node.version or 1)))
        inputs = [self.values[name] if name else None for name in node.inputs]
        attributes = {key: self._attribute(value) for key, value in node.attributes.items()}
        types = None
        if node.domain not in (_MAIN, "ai.onnx.ml") and not onnx.defs.has(node.op_type, node.domain):
            types = [self._declared_type(scope, node, name) for name in node.outputs]
        method = getattr(g, node.op_type, None) if node.op_type == "Cast" and not node.domain else None
        if method is not None and set(attributes) == {"to"}:
            results: tuple[Value, ...] = (method(inputs[0], DataType(int(attributes["to"]))),)
        else:
            results = g.ops(
                node.op_type,
                *inputs,
                domain=node.domain,
                outputs=len(node.outputs),
                types=types,
                name=node.name,
                **attributes,
            )
        self.values.update(zip(node.outputs, results, strict=True))

    def _declared_type(self, scope: Scope, node: Node, name: str) -> TensorSpec:
        variable = scope.get(name)
        spec = spec_of_type(variable.type) if variable is not None else None
        if spec is None:
            raise GraphError(
                f"the type of output {name!r} of {node.domain}.{node.op_type} is not known",
                where=self.call.location or None,
                remedy="declare it: scope.declare_local_variable(name, FloatTensorType([None, 1]))",
            )
        return spec

    def _attribute(self, value: Any) -> Any:
        if isinstance(value, onnx.TensorProto):
            return ir.serde.deserialize_tensor(value)
        if isinstance(value, onnx.GraphProto):
            return self._subgraph(value)
        if isinstance(value, bytes):
            return value.decode()
        if isinstance(value, list | tuple) and value and isinstance(value[0], bytes):
            return [item.decode() for item in value]
        return value

    def _subgraph(self, proto: onnx.GraphProto) -> ir.Graph:
        """Return a sub-graph whose outer names are the values of this graph."""
        graph = ir.serde.deserialize_graph(proto)
        for node in ir.traversal.RecursiveGraphIterator(graph):
            for k, value in enumerate(node.inputs):
                if value is None or value.producer() is not None or value in graph.inputs:
                    continue
                name = str(value.name)
                if name in self.values and name not in graph.initializers:
                    node.replace_input_with(k, self.values[name])
        return graph

    def _add_operator(self, operator: Operator) -> None:
        """Convert an estimator that the converter declared as a sub-operator."""
        model = operator.raw_operator
        if model is None:
            raise UnsupportedOperator(
                f"the registered converter declares {operator.type} without an estimator",
                where=self.call.location or None,
                needs="declare_local_operator(alias, estimator)",
            )
        context: Context = self.call.params["context"]
        row = context.row(model)
        if row is None:
            context.registry.lookup(FRAMEWORK, context.key_of(type(model)), context.opset, self.call.location)
        assert row is not None
        methods = [output.method for output in default_outputs(model, row)][: len(operator.outputs)]
        inputs = [self.values[name] for name in operator.input_full_names]
        results = convert_child(self.call, operator.onnx_name, model, inputs, methods)
        for variable, method in zip(operator.outputs, methods, strict=False):
            result = results[method]
            # What follows was written for the model's own type of floats.
            narrow = result.dtype == DataType.DOUBLE and self._model_type() == DataType.FLOAT
            self.values[variable.full_name] = self.g.Cast(result, DataType.FLOAT) if narrow else result

    # --- results -----------------------------------------------------------------------------------------------------

    def _output(self, variable: Any) -> Value:
        value = self.values.get(variable.full_name)
        if value is None:
            raise PromiseBroken(
                f"the registered converter of {type(self.call.source).__name__} makes no {variable.full_name!r}",
                where=self.call.location or None,
            )
        spec = spec_of_type(variable.type)
        if spec is not None and spec.dtype != value.dtype:
            raise PromiseBroken(
                f"the registered converter of {type(self.call.source).__name__} is wrong: output {variable.raw_name!r} "
                f"is {describe(value)}, its shape calculator says {spec}",
                where=self.call.location or None,
            )
        if spec is not None and spec.shape is not None and value.producer() is not None:
            try:
                self.g.annotate(value, spec.shape)
            except GraphError as error:
                raise PromiseBroken(error.summary, where=self.call.location or None) from error
        return value

    def _wide(self, value: Value) -> Value:
        """Return a result in float64 where the steps around this one compute in it."""
        inner = self.call.params["float_type"] == DataType.DOUBLE and self._model_type() == DataType.FLOAT
        return self.g.Cast(value, DataType.DOUBLE) if inner and value.dtype == DataType.FLOAT else value

    def by_method(self, outputs: list[tuple[str, Value]]) -> Results:
        """Return the outputs under the methods that they stand for."""
        if self.call.methods == (ALL_OUTPUTS,):
            return {ALL_OUTPUTS: dict(outputs)}
        usual = [method for method, _ in _usual_methods(self.call.source)]
        found: Results = {}
        for method, (_, value) in zip(usual, outputs, strict=False):
            flat = method == "predict" and value.shape is not None and rank_of(value) == 2 and width_of(value) == 1
            found[method] = self._wide(as_vector(self.g, value) if flat else value)
        missing = [method for method in self.call.methods if method not in found]
        if missing:
            raise UsageError(
                f"the registered converter of {type(self.call.source).__name__} has no {', '.join(missing)}",
                where=self.call.location or None,
                needs=f"one of {', '.join(found)}",
            )
        return {method: found[method] for method in self.call.methods}


def _usual_methods(model: Any) -> list[tuple[str, str]]:
    """Return (method, output name) of the outputs that skl2onnx gives an estimator of this kind, in order."""
    kind = estimator_kind(model)
    if kind == "classifier":
        second = "predict_proba" if hasattr(model, "predict_proba") else "decision_function"
        return [("predict", "label"), (second, "probabilities")]
    if kind == "regressor":
        return [("predict", "variable")]
    if kind == "clusterer" and hasattr(model, "predict"):
        return [("predict", "label"), ("transform", "scores")]
    if kind == "outlier_detector":
        return [("predict", "label"), ("decision_function", "scores")]
    return [("transform", "variable")]


def _usual_outputs(call: Call, floating: DataType) -> list[tuple[str, TensorSpec]]:
    """Return the outputs as skl2onnx declares them before the shape calculator runs."""
    from any2onnx.shape_calculators.sklearn.common import label_dtype

    outputs = []
    for _, name in _usual_methods(call.source):
        dtype = floating
        if name == "label":
            classes = getattr(call.source, "classes_", None)
            dtype = DataType.INT64 if classes is None or isinstance(classes, list) else label_dtype(classes)
        outputs.append((name, TensorSpec(dtype, None)))
    return outputs
