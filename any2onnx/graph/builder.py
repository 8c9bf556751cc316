"""The typed graph builder: `g.MatMul(x, w)` adds a node and returns a value that knows its dtype and shape.

A wrong dtype, a wrong shape or an operator that the chosen opset does not have raises on the line that asked for it.
Constants hold their arrays by reference: a weight is never copied.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import onnx
import onnx_ir as ir

from any2onnx.errors import GraphError, OpsetNotSupported, UsageError, did_you_mean
from any2onnx.graph import lowerings
from any2onnx.graph.attributes import make_attributes
from any2onnx.graph.avoided import ANY_OPERATOR, AVOIDED, OperatorChoice
from any2onnx.graph.constants import ConstantPool, Operand
from any2onnx.graph.control_flow import ControlFlow
from any2onnx.graph.definitions import definition, formal_input
from any2onnx.graph.guards import ENDS_THE_PROCESS, guarded
from any2onnx.graph.inference import Inferred, describe, infer_outputs, type_error
from any2onnx.graph.kernels import attribute_unserved, has_kernel
from any2onnx.graph.names import Names
from any2onnx.graph.operators import Operators
from any2onnx.graph.opsets import CONTRIB, MAIN, ML, Opsets
from any2onnx.graph.provenance import Provenance
from any2onnx.graph.shape_values import ShapeValues
from any2onnx.graph.types import DataType, Dim, TensorSpec, Value, dims_of, dtypes_in, merge_shape

if TYPE_CHECKING:
    from onnx.defs import OpSchema


class DomainOperators:
    """Operators of one domain as methods: `g.ml.Scaler(x, offset=…, scale=…)`."""

    def __init__(self, builder: GraphBuilder, domain: str) -> None:
        self._builder = builder
        self._domain = domain

    def __getattr__(self, op_type: str) -> Callable[..., Value]:
        if not op_type[:1].isupper():
            raise AttributeError(op_type)

        def call(*inputs: Operand, **attributes: Any) -> Value:
            return self._builder.op(op_type, *inputs, domain=self._domain, **attributes)

        return call


class GraphBuilder(Operators, ControlFlow):
    """Builds one graph, or a sub-graph of another builder.

    Args:
        opsets: Versions of the operator sets that the model imports.
        parent: Builder of the surrounding graph; sub-graphs share names and constants with it.
        check_kernels: Hold every node against the table of onnxruntime's CPU kernels and take another exact form,
            or cast to a wider type around the node, where there is none (onnxruntime does that itself for float16).
        choice: Operators that may be used; of the others it takes another form where `avoided.AVOIDED` has one.
    """

    def __init__(
        self,
        opsets: Opsets | None = None,
        *,
        parent: GraphBuilder | None = None,
        check_kernels: bool = True,
        choice: OperatorChoice = ANY_OPERATOR,
    ):
        self.opsets = opsets or (parent.opsets if parent else Opsets.of())
        self.parent = parent
        self.check_kernels: bool = parent.check_kernels if parent else check_kernels
        self.choice: OperatorChoice = parent.choice if parent else choice
        self.names: Names = parent.names if parent else Names()
        self.constants: ConstantPool = parent.constants if parent else ConstantPool(self.names)
        self.shape_values: ShapeValues = parent.shape_values if parent else ShapeValues()
        # Results of type inference: deep networks ask for the same node over and over.
        self.inferred: dict[Hashable, Inferred] = parent.inferred if parent else {}
        self.functions: dict[ir.OperatorIdentifier, ir.Function] = parent.functions if parent else {}
        self.nodes: list[ir.Node] = []
        self.inputs: list[Value] = []
        self.provenance: Provenance = parent.provenance if parent else Provenance()
        self._properties = self.provenance.properties()
        self.ml = DomainOperators(self, ML)
        self.contrib = DomainOperators(self, CONTRIB)

    # --- values --------------------------------------------------------------------------------------------------

    def input(self, name: str, dtype: DataType, shape: Sequence[Dim] | None) -> Value:
        """Add a graph input; its name is kept as given.

        Raises:
            GraphError: The name is taken.
        """
        if not self.names.reserve(name):
            raise GraphError(f"two inputs or outputs are called {name!r}", remedy="give each a name of its own")
        value = ir.Value(name=name, type=ir.TensorType(dtype), shape=None if shape is None else ir.Shape(shape))
        self.inputs.append(value)
        return value

    def const(self, array: Any, *, name: str = "", dtype: DataType | None = None, like: Value | None = None) -> Value:
        """Return a constant that holds `array` by reference.

        Args:
            array: numpy array, torch tensor, onnx-ir tensor, Python number, string or list. Equal small constants,
                and the same array given twice (tied weights), become one initializer.
            name: Wished name, such as ``coef``; made unique, behind the current scope.
            dtype: Element type for Python numbers and lists; an array that has another type is converted (a copy).
            like: Take the element type of this value.
        """
        if like is not None:
            dtype = like.dtype
        return self.constants.get(array, dtype=dtype, name=self._scoped(name or "const"))

    def include_domain(self, domain: str, version: int) -> None:
        """Let the model use a further domain, whose operators the source model itself names.

        Raises:
            UsageError: The model uses another version of it already.
        """
        builder: GraphBuilder | None = self
        while builder is not None:
            builder.opsets = builder.opsets.including(domain, version)
            builder = builder.parent
        known = self.opsets.get(domain)
        if known is not None and known != version and domain != MAIN:
            raise UsageError(
                f"the model names version {version} of the domain {domain!r} and version {known} as well",
                needs="one version of a domain: an ONNX model imports one",
            )

    def annotate(self, value: Value, shape: Sequence[Dim] | None) -> Value:
        """Add what the caller knows of a value's shape.

        Raises:
            GraphError: It contradicts what was inferred.
        """
        try:
            merged = merge_shape(dims_of(value.shape), shape)
        except ValueError as error:
            raise GraphError(f"{value.name} is {describe(value)}, which contradicts {shape}: {error}") from error
        value.shape = None if merged is None else ir.Shape(merged)
        return value

    # --- nodes ---------------------------------------------------------------------------------------------------

    def op(self, op_type: str, *inputs: Operand, domain: str = MAIN, **attributes: Any) -> Value:
        """Add a node with one output; see `ops`."""
        return self.ops(op_type, *inputs, domain=domain, outputs=1, **attributes)[0]

    def ops(
        self,
        op_type: str,
        *inputs: Operand,
        domain: str = MAIN,
        outputs: int = 1,
        types: Sequence[TensorSpec] | None = None,
        name: str = "",
        **attributes: Any,
    ) -> tuple[Value, ...]:
        """Add a node and return its outputs.

        Args:
            op_type: Operator of the domain at the chosen opset.
            inputs: Values; None for an optional input that is left out; numpy arrays; Python numbers and lists,
                which take the element type that the operator's definition wants there.
            domain: '' for ai.onnx.
            outputs: Number of outputs.
            types: Types of the outputs, for operators of other domains without an inference rule.
            name: Wished name of the node; the operator's name otherwise.
            attributes: By name; None leaves an attribute out.

        Raises:
            GraphError: Unknown operator or attribute, wrong dtype or shape, domain not imported.
            OpsetNotSupported: The operator came with a later opset.
        """
        schema = self._schema(op_type, domain)
        # Optional inputs left out at the end are not written: onnxruntime crashes on some of them ("" for a bias).
        while inputs and inputs[-1] is None:
            inputs = inputs[:-1]
        values = self._operands(schema, op_type, inputs)
        while values and values[-1] is None:
            values.pop()  # onnxruntime's optimizer crashes on a trailing input without a name
        if op_type in AVOIDED and not domain and self.choice.rules_out(op_type):
            other = AVOIDED[op_type](self, *values, **attributes)
            if other is not None:
                return (other,)
        if schema is not None and self.check_kernels:
            lowered = self._lower(schema, op_type, domain, values, outputs, attributes)
            if lowered is not None:
                return lowered
            if op_type in ENDS_THE_PROCESS and values[0] is not None:
                values[0] = guarded(self, op_type, values[0])
        node = self._node(op_type, domain, values, outputs, name, make_attributes(op_type, schema, attributes))
        if types is not None:
            inferred: list[tuple[ir.TypeProtocol, ir.Shape | None]] = [
                (ir.TensorType(s.dtype), None if s.shape is None else ir.Shape(s.shape)) for s in types
            ]
        elif schema is not None:
            inferred = infer_outputs(schema, node, self.opsets, self.inferred)
        else:
            raise type_error(node, "the domain is not ONNX's own; state the types of the outputs (types=[...])")
        for value, (value_type, shape) in zip(node.outputs, inferred, strict=True):
            value.type, value.shape = value_type, shape
        self.nodes.append(node)
        self.shape_values.propagate(node)
        return tuple(node.outputs)

    def add_node(self, node: ir.Node) -> None:
        """Append a node made elsewhere (control flow, calls of local functions)."""
        node.metadata_props.update(self._properties)
        self.nodes.append(node)

    def _node(
        self,
        op_type: str,
        domain: str,
        values: Sequence[Value | None],
        outputs: int,
        name: str,
        attributes: Sequence[ir.Attr],
    ) -> ir.Node:
        label = self.names.unique(self._scoped(name or op_type))
        if outputs == 1:
            results = [ir.Value(name=label)]
        else:
            results = [ir.Value(name=self.names.unique(f"{label}.{k}")) for k in range(outputs)]
        return ir.Node(
            domain,
            op_type,
            list(values),
            attributes,
            outputs=results,
            name=label,
            metadata_props=dict(self._properties),
        )

    def _schema(self, op_type: str, domain: str) -> OpSchema | None:
        version = self.opsets.get(domain)
        if version is None:
            raise GraphError(
                f"{domain}.{op_type} is not in a domain that this model may use",
                needs=f"the domain {domain!r} in target_opset",
                remedy=f"target_opset={{'': {self.opsets.main}, {domain!r}: 1}}",
            )
        try:
            schema = definition(op_type, version, domain)
        except onnx.defs.SchemaError:
            if domain not in (MAIN, ML):
                return None
            raise self._no_such_operator(op_type, domain, version) from None
        if schema.deprecated:
            raise OpsetNotSupported(f"{op_type} was withdrawn from ONNX before opset {version}")
        return schema

    @staticmethod
    def _no_such_operator(op_type: str, domain: str, version: int) -> Exception:
        if onnx.defs.has(op_type, domain):
            since = min(
                s.since_version
                for s in onnx.defs.get_all_schemas_with_history()
                if s.name == op_type and s.domain == domain
            )
            return OpsetNotSupported(
                f"operator {op_type} does not exist at opset {version}",
                needs=f"{domain or 'ai.onnx'} opset ≥ {since}",
                remedy=f"target_opset={since}" if not domain else f"target_opset={{{domain!r}: {since}}}",
            )
        known = [s.name for s in onnx.defs.get_all_schemas() if s.domain == domain]
        return GraphError(f"{domain or 'ai.onnx'} has no operator {op_type!r}{did_you_mean(op_type, known)}")

    def _operands(self, schema: OpSchema | None, op_type: str, inputs: Sequence[Operand]) -> list[Value | None]:
        """Turn Python numbers, lists and arrays among the inputs into constants of the dtype that is wanted there."""
        if all(v is None or isinstance(v, ir.Value) for v in inputs):
            return list(inputs)  # type: ignore[arg-type]
        formals = [formal_input(schema, k) for k in range(len(inputs))]
        bound = {
            formal.type_str: value.dtype
            for formal, value in zip(formals, inputs, strict=True)
            if formal is not None and isinstance(value, ir.Value) and value.dtype is not None
        }
        result: list[Value | None] = []
        for k, (formal, value) in enumerate(zip(formals, inputs, strict=True)):
            if value is None or isinstance(value, ir.Value):
                result.append(value)
                continue
            dtype = None
            if not hasattr(value, "dtype") and formal is not None:
                dtype = bound.get(formal.type_str) or _only_type(formal)
            label = formal.name if formal is not None else f"input{k}"
            result.append(self.const(value, dtype=dtype, name=f"{op_type}.{label}"))
        return result

    # --- kernels -------------------------------------------------------------------------------------------------

    def _lower(
        self,
        schema: OpSchema,
        op_type: str,
        domain: str,
        values: Sequence[Value | None],
        outputs: int,
        attributes: Mapping[str, Any],
    ) -> tuple[Value, ...] | None:
        """Return the outputs of an equal form that has kernels, or None where the operator itself has them."""
        bound: dict[str, DataType] = {}
        for k, value in enumerate(values):
            formal = formal_input(schema, k)
            if value is not None and value.dtype is not None and formal is not None:
                bound.setdefault(formal.type_str, value.dtype)
        version = self.opsets.get(domain) or schema.since_version
        unserved = not domain and attribute_unserved(op_type, attributes, bound.values())
        # onnxruntime has kernels for bfloat16 where ONNX's own definition does not allow it (Compress).
        refused = DataType.BFLOAT16 in bound.values() and not lowerings.allowed(schema, bound)
        if not unserved and not refused and has_kernel(domain, op_type, version, tuple(bound.items())):
            return None
        return lowerings.lower(self, schema, op_type, domain, values, outputs, attributes, bound)

    # --- scopes, functions -----------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def scope(self, scope: str, *, source: str = "", rule: str = "") -> Iterator[None]:
        """Name and document the nodes made inside: `scope` prefixes their names, the rest is their provenance."""
        outer = self.provenance
        self.provenance = Provenance(scope, source or outer.source, rule or outer.rule)
        self._properties = self.provenance.properties()
        try:
            yield
        finally:
            self.provenance = outer
            self._properties = outer.properties()

    def _scoped(self, name: str) -> str:
        return f"{self.provenance.scope}/{name}" if self.provenance.scope else name

    def call_function(
        self,
        domain: str,
        name: str,
        inputs: Sequence[Value],
        body: Callable[..., Value | Sequence[Value]],
        *,
        overload: str = "",
    ) -> tuple[Value, ...]:
        """Call a local function, defining it on the first call.

        Args:
            domain: Domain of the function, not one of ONNX's own.
            name: Name of the function; one (domain, name, overload) has one body.
            inputs: Arguments.
            body: `body(builder, *parameters)` returns the results; run once, on the types of the first call.
            overload: Tells apart bodies for other types.
        """
        key = (domain, name, overload)
        child = GraphBuilder(self.opsets, check_kernels=self.check_kernels, choice=self.choice)
        child.functions = self.functions
        parameters = [child.input(f"x{k}", v.dtype or DataType.FLOAT, dims_of(v.shape)) for k, v in enumerate(inputs)]
        results = as_tuple(body(child, *parameters))
        if key not in self.functions:
            nodes = child.constants.as_nodes() + child.nodes
            graph = ir.Graph(
                parameters, list(results), nodes=nodes, opset_imports=dict(self.opsets.versions), name=name
            )
            self.functions[key] = ir.Function(domain, name, overload, graph=graph, attributes=[])
        label = self.names.unique(self._scoped(name))
        outputs = [
            ir.Value(name=self.names.unique(f"{label}.{k}"), type=r.type, shape=r.shape) for k, r in enumerate(results)
        ]
        self.add_node(ir.Node(domain, name, list(inputs), overload=overload, outputs=outputs, name=label))
        return tuple(outputs)

    # --- the end ---------------------------------------------------------------------------------------------------

    def build(self, outputs: Mapping[str, Value], *, name: str = "main", doc_string: str = "") -> ir.Model:
        """Return the model whose outputs are `outputs`, under exactly these names.

        Raises:
            GraphError: No outputs, or a name is also that of an input.
        """
        if not outputs:
            raise GraphError("the graph has no outputs")
        graph_inputs = {id(v) for v in self.inputs}
        seen: set[int] = set()
        results: list[Value] = []
        for output_name, value in outputs.items():
            if any(output_name == v.name for v in self.inputs):
                raise GraphError(f"{output_name!r} names an input and an output", remedy="rename one of them")
            # An input, a constant or a value given twice cannot carry another name: put an Identity behind it.
            if id(value) in graph_inputs or id(value) in seen or value.producer() is None:
                value = self.op("Identity", value)
            seen.add(id(value))
            results.append(value)
        self._rename(dict(zip(outputs, results, strict=True)))
        used = {node.domain for node in self._all_nodes()} | {f.domain for f in self.functions.values()}
        imports = {domain: v for domain, v in self.opsets.versions if domain in used or domain == MAIN}
        imports.update({domain: 1 for domain, _, _ in self.functions if domain not in imports})
        graph = ir.Graph(
            self.inputs,
            results,
            nodes=self.nodes,
            initializers=self.constants.used(self._all_nodes()),
            opset_imports=imports,
            name=name,
            doc_string=doc_string or None,
        )
        return ir.Model(graph, ir_version=self.opsets.ir_version, functions=list(self.functions.values()))

    def _rename(self, outputs: Mapping[str, Value]) -> None:
        """Give the outputs their names; an inner value that has such a name gives it up."""
        owners = {v.name: v for node in self._all_nodes() for v in node.outputs}
        owners.update({v.name: v for v in self.constants.values()})
        results = {id(v) for v in outputs.values()}
        for name in outputs:
            owner = owners.get(name)
            if owner is not None and id(owner) not in results:
                owner.name = self.names.unique(f"{name}.inner")
            self.names.reserve(name)
        # Two steps, so that outputs may swap names.
        for k, value in enumerate(outputs.values()):
            value.name = f"\0{k}"
        for name, value in outputs.items():
            value.name = name

    def _all_nodes(self) -> Iterator[ir.Node]:
        for node in self.nodes:
            yield node
            for attribute in node.attributes.values():
                if attribute.type == ir.AttributeType.GRAPH:
                    yield from ir.traversal.RecursiveGraphIterator(attribute.as_graph())

    def __getattr__(self, op_type: str) -> Callable[..., Value]:
        # Every operator of ai.onnx without a method of its own, for those with one output.
        if not op_type[:1].isupper():
            raise AttributeError(f"GraphBuilder has no attribute {op_type!r}")

        def call(*inputs: Operand, **attributes: Any) -> Value:
            return self.op(op_type, *inputs, **attributes)

        return call


def as_tuple(results: Value | Sequence[Value]) -> tuple[Value, ...]:
    """Return one value or several as a tuple."""
    return (results,) if isinstance(results, ir.Value) else tuple(results)


def _only_type(formal: OpSchema.FormalParameter) -> DataType | None:
    allowed = dtypes_in(frozenset(formal.types))
    return next(iter(allowed)) if len(allowed) == 1 else None
