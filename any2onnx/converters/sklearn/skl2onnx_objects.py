"""The objects that a converter in skl2onnx's form talks to: scope, operator, variable, container.

They only record what the converter does; `skl2onnx_adapter` then adds it to the typed graph. Where skl2onnx itself is
loaded, variables and types are of its classes, because converters and its OnnxOperator API test for them.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from any2onnx.data_types import TENSOR_TYPES, TensorType, as_tensor_type
from any2onnx.errors import UsageError
from any2onnx.graph.avoided import ANY_OPERATOR, OperatorChoice
from any2onnx.graph.names import Names
from any2onnx.graph.opsets import Opsets
from any2onnx.graph.types import DataType, TensorSpec


class Variable:
    """A value by name, with a type in skl2onnx's form."""

    def __init__(self, raw_name: str, onnx_name: str, scope: Any = None, type: Any = None) -> None:  # noqa: A002
        self.raw_name = raw_name
        self.onnx_name = onnx_name
        self.scope = scope
        self.type = type

    @property
    def full_name(self) -> str:
        """Name in the graph."""
        return self.onnx_name

    def set_type(self, new_type: Any) -> None:
        """Set the type."""
        self.type = new_type

    def set_onnx_name(self, onnx_name: str) -> None:
        """Set the name in the graph."""
        self.onnx_name = onnx_name

    def get_first_dimension(self) -> Any:
        """Return the number of rows, None where it may vary."""
        return self.type.shape[0] if self.type is not None and self.type.shape else None

    def get_second_dimension(self) -> Any:
        """Return the number of columns, None where it is not known."""
        return self.type.shape[1] if self.type is not None and len(self.type.shape or ()) > 1 else None

    def init_status(self, **_: Any) -> None:
        """Take note of nothing: statuses belong to skl2onnx's own traversal."""

    def __repr__(self) -> str:
        return f"Variable({self.raw_name!r}, {self.onnx_name!r}, type={self.type})"


class Operator:
    """An estimator to convert, with its inputs and outputs."""

    def __init__(self, onnx_name: str, alias: str, raw_operator: Any, scope: Scope, target_opset: int) -> None:
        self.onnx_name = onnx_name
        self.type = alias
        self.raw_operator = raw_operator
        self.scope_inst = scope
        self.scope = scope.name
        self.target_opset = target_opset
        self.inputs: list[Any] = []
        self.outputs: list[Any] = []
        self.is_evaluated = False

    @property
    def full_name(self) -> str:
        """Name of the operator."""
        return self.onnx_name

    @property
    def input_full_names(self) -> list[str]:
        """Names of the inputs."""
        return [v.full_name for v in self.inputs]

    @property
    def output_full_names(self) -> list[str]:
        """Names of the outputs."""
        return [v.full_name for v in self.outputs]

    @property
    def original_operator(self) -> Any:
        """The estimator."""
        return self.raw_operator

    def init_status(self, **_: Any) -> None:
        """Take note of nothing."""

    def infer_types(self) -> None:
        """Do nothing: types come from the graph."""


class Scope:
    """Gives names and records variables and sub-operators."""

    def __init__(self, opsets: Opsets, options: Mapping[str, Any]) -> None:
        self.name = "scope"
        self.target_opset = opsets.main
        self.variables: dict[str, Any] = {}
        self.operators: dict[str, Operator] = {}
        self._names = Names()
        self._options = options
        self._by_id: dict[int, dict[str, Any]] = {}

    def get_unique_variable_name(self, seed: str, rename: bool = True) -> str:
        """Return a name that no other variable has."""
        return self._names.unique(seed)

    def get_unique_operator_name(self, seed: str) -> str:
        """Return a name that no other operator has."""
        return self._names.unique(seed)

    def declare_local_variable(
        self,
        raw_name: str,
        type: Any = None,  # noqa: A002
        missing_type: bool = False,
        rename: bool = True,
    ) -> Any:
        """Make a variable."""
        variable = make_variable(raw_name, self._names.unique(raw_name), type)
        self.register_variable(variable)
        return variable

    def register_variable(self, variable: Any, prepend: bool = False) -> None:
        """Record a variable that was made elsewhere."""
        self.variables[variable.onnx_name] = variable
        self._names.reserve(variable.onnx_name)

    def rename_onnx_name(self, old_name: str, new_name: str) -> None:
        """Take note of a variable's new name."""
        self.variables[new_name] = self.variables.pop(old_name)
        self._names.reserve(new_name)

    def declare_local_operator(self, type: str, raw_model: Any = None) -> Operator:  # noqa: A002
        """Make a sub-operator; it is converted when its inputs are there."""
        operator = Operator(self._names.unique(type), type, raw_model, self, self.target_opset)
        self.operators[operator.onnx_name] = operator
        return operator

    def get(self, name: str, default: Any = None) -> Any:
        """Return the variable of this name."""
        return self.variables.get(name, default)

    def has_variable_name(self, name: str) -> bool:
        """Tell whether a variable has this name."""
        return name in self.variables

    def get_options(self, model: Any, default_values: Any = None, fail: bool = True) -> dict[str, Any]:
        """Return the options of the conversion over the defaults."""
        return {**(default_values or {}), **self._options, **self._by_id.get(id(model), {})}

    def add_options(self, model_id: int, options: Mapping[str, Any] | None) -> None:
        """Set options of a sub-model."""
        self._by_id[model_id] = dict(options or {})

    def replace_raw_operator(self, op1: Any, op2: Any, alias: str) -> None:
        """Put another estimator behind a sub-operator."""
        for operator in self.operators.values():
            if operator.raw_operator is op1:
                operator.raw_operator, operator.type = op2, alias


@dataclass
class Node:
    """A node as the converter asked for it."""

    op_type: str
    inputs: list[str]
    outputs: list[str]
    domain: str
    version: int | None
    name: str
    attributes: dict[str, Any] = field(default_factory=dict)


class Container:
    """Records nodes and initializers."""

    def __init__(self, opsets: Opsets, scope: Scope, choice: OperatorChoice = ANY_OPERATOR) -> None:
        self.choice = choice
        self.target_opset_all = dict(opsets.versions)
        self.target_opset = opsets.main
        self.scope = scope
        self.records: list[Node] = []
        self.constants: dict[str, Any] = {}
        # What skl2onnx's own helpers (`add_onnx_graph`) put in beside the methods below.
        self.nodes: list[Any] = []
        self.initializers: list[Any] = []
        self.node_domain_version_pair_sets: set[tuple[str, int]] = set()
        self.verbose = 0

    def take_messages(self) -> None:
        """Record the nodes and initializers that were put in as messages."""
        import onnx

        for node in self.nodes:
            attributes = {item.name: onnx.helper.get_attribute_value(item) for item in node.attribute}
            self.add_node(node.op_type, list(node.input), list(node.output), node.domain, name=node.name, **attributes)
        for tensor in self.initializers:
            self.constants[tensor.name] = onnx.numpy_helper.to_array(tensor)
        self.nodes, self.initializers = [], []

    @property
    def main_opset(self) -> int:
        """Version of ai.onnx."""
        return self.target_opset

    @property
    def target_opset_onnx(self) -> int:
        """Version of ai.onnx."""
        return self.target_opset

    def target_opset_any_domain(self, domain: str) -> int | None:
        """Return the version of a domain, None where the model does not use it."""
        return self.target_opset_all.get("" if domain == "ai.onnx" else domain)

    def is_allowed(self, node_type: Any) -> bool:
        """Tell whether an operator, or all of several, may be used."""
        kinds = [node_type] if isinstance(node_type, str) else node_type
        return not any(self.choice.rules_out(kind) for kind in kinds)

    def debug(self, *_: Any, **__: Any) -> None:
        """Write nothing."""

    def validate_options(self, operator: Any) -> None:
        """Accept: options were checked before."""

    def get_options(self, model: Any, default_values: Any = None, fail: bool = True) -> dict[str, Any]:
        """See `Scope.get_options`."""
        return self.scope.get_options(model, default_values, fail)

    def has_options(self, model: Any, option_name: str) -> bool:
        """Tell whether an option is set."""
        return option_name in self.scope.get_options(model)

    def add_initializer(self, name: str, onnx_type: Any, shape: Any, content: Any) -> Any:
        """Record a constant: numbers with a TensorProto type and shape, an array, or a TensorProto."""
        self.constants[name] = _constant(onnx_type, shape, content)
        return content

    def add_node(
        self,
        op_type: str,
        inputs: Any,
        outputs: Any,
        op_domain: str = "",
        op_version: int | None = None,
        name: str | None = None,
        **attrs: Any,
    ) -> None:
        """Record a node.

        Raises:
            UsageError: Inputs or outputs are not names.
        """
        domain = "" if op_domain in ("ai.onnx", None) else op_domain
        ins, outs = _names(op_type, inputs), _names(op_type, outputs)
        attributes = {key: value for key, value in attrs.items() if value is not None}
        self.records.append(Node(op_type, ins, outs, domain, op_version, name or op_type, attributes))


def _names(op_type: str, given: Any) -> list[str]:
    names = [given] if isinstance(given, str) else list(given)
    names = [getattr(item, "full_name", item) for item in names]
    if not all(isinstance(item, str) for item in names):
        raise UsageError(f"inputs and outputs of {op_type} must be names, not {names!r}")
    return names


def _constant(onnx_type: Any, shape: Any, content: Any) -> Any:
    import onnx

    if isinstance(content, onnx.TensorProto):
        return onnx.numpy_helper.to_array(content)
    if onnx_type is None:
        return np.asarray(content)
    if onnx_type == onnx.TensorProto.STRING:
        items = [c.decode() if isinstance(c, bytes) else str(c) for c in np.ravel(np.asarray(content, dtype=object))]
        array = np.asarray(items, dtype=object)
    else:
        dense = content.toarray() if hasattr(content, "toarray") else content
        array = np.asarray(dense, dtype=DataType(int(onnx_type)).numpy())
    return array.reshape(tuple(shape)) if shape is not None else array


# --- classes of skl2onnx, where it is loaded --------------------------------------------------------------------------


def make_variable(raw_name: str, onnx_name: str, given: Any) -> Any:
    """Return a variable, of skl2onnx's class where skl2onnx is loaded; that one takes types of skl2onnx only."""
    topology = sys.modules.get("skl2onnx.common._topology")
    if topology is None:
        return Variable(raw_name, onnx_name, scope="scope", type=given)
    ours = isinstance(given, TensorType)
    theirs = getattr(sys.modules.get("skl2onnx.common.data_types"), type(given).__name__, None) if ours else None
    return topology.Variable(raw_name, onnx_name, scope="scope", type=given if theirs is None else theirs(given.shape))


def type_object(spec: TensorSpec) -> Any:
    """Return the type object for a tensor type, of skl2onnx's class where skl2onnx is loaded."""
    ours = TENSOR_TYPES["string" if spec.dtype == DataType.STRING else str(spec.dtype.numpy())]
    theirs = getattr(sys.modules.get("skl2onnx.common.data_types"), ours.__name__, None)
    dims = None if spec.shape is None else [d if isinstance(d, int) else None for d in spec.shape]
    return ours(dims) if theirs is None else theirs(dims)


def spec_of_type(given: Any) -> TensorSpec | None:
    """Return the tensor type that a type object stands for; None for none, or one without an element type."""
    if given is None:
        return None
    tensor = as_tensor_type(given)
    from any2onnx.graph.types import to_dtype

    shape: Sequence[Any] | None = tensor.shape
    known = None if not shape else tuple(d if isinstance(d, int) and d > 0 else None for d in shape)
    return TensorSpec(to_dtype(tensor.dtype), known)
