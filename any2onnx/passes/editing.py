"""What every pass needs to read and edit an ``onnx_ir`` graph safely.

Three things are easy to get wrong and are therefore done here only: the name of a graph output must survive every
edit, the provenance (``metadata_props`` keys that start with ``any2onnx.``) must move to whatever replaces a node, and
a local function has no initializers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

PROVENANCE_PREFIX = "any2onnx."

Array = npt.NDArray[Any]
Dim = int | ir.SymbolicDim


class Names:
    """Value and node names in use in a whole model; hands out fresh ones, deterministically.

    The names are collected when the first fresh one is asked for: most runs of most passes need none.
    """

    __slots__ = ("_model", "_used")

    def __init__(self, model: ir.Model) -> None:
        """Remember the model; nothing is read yet."""
        self._model = model
        self._used: set[str] | None = None

    def _collect(self) -> set[str]:
        """Collect all names, those of sub-graphs and functions too (inner names may shadow, so none is reused)."""
        used: set[str] = set()
        for scope in scopes(self._model):
            graph = scope.graph
            used.update(value.name for value in graph.inputs if value.name)
            used.update(graph.initializers)
            for node in graph:
                if node.name:
                    used.add(node.name)
                used.update(value.name for value in node.outputs if value.name)
        return used

    def fresh(self, hint: str) -> str:
        """Return ``hint``, or ``hint_1``, ``hint_2``, ... when it is taken."""
        if self._used is None:
            self._used = self._collect()
        name, count = hint, 0
        while name in self._used:
            count += 1
            name = f"{hint}_{count}"
        self._used.add(name)
        return name


def words(text: str) -> frozenset[str]:
    """Return the words of a text as a set: long lists of operator names read better so."""
    return frozenset(text.split())


@dataclass(slots=True, eq=False)
class Scope:
    """One graph of a model: the main graph, a sub-graph, or the body of a local function.

    Attributes:
        graph: The graph itself.
        opset: Version of the default operator domain that holds in it.
        in_function: True for the body of a local function, which cannot hold initializers.
        parent: The scope whose node holds this sub-graph, if any.
    """

    graph: ir.Graph
    opset: int
    in_function: bool = False
    parent: Scope | None = field(default=None, repr=False)


def scopes(model: ir.Model) -> Iterator[Scope]:
    """Yield every graph of ``model``: an outer graph before its sub-graphs, functions last."""
    version = model.graph.opset_imports.get("", 1)
    yield from _with_subgraphs(Scope(model.graph, version))
    for function in model.functions.values():
        yield from _with_subgraphs(Scope(function.graph, function.opset_imports.get("", version), in_function=True))


def _with_subgraphs(scope: Scope) -> Iterator[Scope]:
    yield scope
    # A list: the consumer of this generator edits the graph that is being walked.
    for node in list(scope.graph):
        for graph in subgraphs(node):
            yield from _with_subgraphs(Scope(graph, scope.opset, parent=scope))


# The operators with graphs among their attributes, of the domains that are known.
_KNOWN_DOMAINS = frozenset({"", "ai.onnx.ml"})
_GRAPH_HOLDERS = frozenset({"If", "Loop", "Scan", "SequenceMap"})


def subgraphs(node: ir.Node) -> tuple[ir.Graph, ...]:
    """Return the graphs that ``node`` holds as attributes (If, Loop, Scan)."""
    if node.domain in _KNOWN_DOMAINS and node.op_type not in _GRAPH_HOLDERS:
        return ()  # asked for every node by every pass: attributes are only looked at where there can be a graph
    found: list[ir.Graph] = []
    for attribute in node.attributes.values():
        if attribute.is_ref():
            continue
        if attribute.type == ir.AttributeType.GRAPH:
            found.append(attribute.as_graph())
        elif attribute.type == ir.AttributeType.GRAPHS:
            found.extend(attribute.as_graphs())
    return tuple(found)


# --- reading -----------------------------------------------------------------------------------------------------


def is_op(node: ir.Node | None, *op_types: str) -> bool:
    """Whether ``node`` is one of the default domain's ``op_types`` and has no attribute bound to a function's own."""
    return node is not None and node.domain == "" and node.op_type in op_types and not has_references(node)


def has_references(node: ir.Node) -> bool:
    """Whether an attribute of ``node`` is only known where the surrounding function is called."""
    return any(attribute.is_ref() for attribute in node.attributes.values())


def get_input(node: ir.Node, index: int) -> ir.Value | None:
    """Return input ``index`` of ``node``, or None where it is left out."""
    return node.inputs[index] if index < len(node.inputs) else None


def get_int(node: ir.Node, name: str, default: int) -> int:
    """Return an integer attribute."""
    attribute = node.attributes.get(name)
    return default if attribute is None else attribute.as_int()


def get_ints(node: ir.Node, name: str) -> tuple[int, ...] | None:
    """Return an attribute that is a list of integers, or None where it is absent."""
    attribute = node.attributes.get(name)
    return None if attribute is None else tuple(attribute.as_ints())


def get_float(node: ir.Node, name: str, default: float) -> float:
    """Return a float attribute."""
    attribute = node.attributes.get(name)
    return default if attribute is None else attribute.as_float()


def get_string(node: ir.Node, name: str, default: str) -> str:
    """Return a string attribute."""
    attribute = node.attributes.get(name)
    return default if attribute is None else attribute.as_string()


def constant(value: ir.Value | None) -> ir.TensorProtocol | None:
    """Return the tensor that ``value`` always holds, or None.

    An initializer that is also a graph input is only a default: the caller of the model may override it.
    """
    if value is None:
        return None
    if value.is_initializer():
        return None if value.is_graph_input() else value.const_value
    node = value.producer()
    if node is None or not is_op(node, "Constant") or len(node.attributes) != 1:
        return None
    ((name, attribute),) = node.attributes.items()
    return constant_of_attribute(name, attribute)


def tensor_shape(tensor: ir.TensorProtocol) -> tuple[int, ...]:
    """Return the shape of a tensor as numbers (that of a tensor never is symbolic)."""
    return tuple(tensor.shape.numpy())


def constant_of_attribute(name: str, attribute: ir.Attr) -> ir.TensorProtocol | None:
    """Return the tensor that a Constant node with this attribute makes (None for a sparse one)."""
    if name == "value":
        return attribute.as_tensor()
    if name in ("value_float", "value_floats"):
        return ir.Tensor(np.array(attribute.value, dtype=np.float32))
    if name in ("value_int", "value_ints"):
        return ir.Tensor(np.array(attribute.value, dtype=np.int64))
    if name == "value_string":
        return string_tensor(np.array(attribute.as_string().encode(), dtype=object))
    if name == "value_strings":
        return string_tensor(np.array([text.encode() for text in attribute.as_strings()], dtype=object))
    return None


def constant_array(value: ir.Value | None) -> Array | None:
    """Return the numeric array that ``value`` always holds (by reference, not to be written to), or None."""
    tensor = constant(value)
    if tensor is None or tensor.dtype == ir.DataType.STRING:
        return None
    return tensor.numpy()


def constant_ints(value: ir.Value | None, *, limit: int = 64) -> tuple[int, ...] | None:
    """Return a short constant integer vector or scalar as a tuple, or None."""
    tensor = constant(value)
    if tensor is None or tensor.size > limit or tensor.dtype not in (ir.DataType.INT64, ir.DataType.INT32):
        return None
    return tuple(int(item) for item in tensor.numpy().reshape(-1))


def string_tensor(array: Array, name: str | None = None) -> ir.StringTensor:
    """Wrap an object array of ``bytes`` (fixed-width byte arrays would lose trailing NULs)."""
    return ir.StringTensor(array, shape=ir.Shape(array.shape), name=name)


def rank(value: ir.Value | None) -> int | None:
    """Return the number of dimensions of ``value``, or None when it is not known."""
    return None if value is None or value.shape is None else len(value.shape)


def dims(value: ir.Value | None) -> tuple[Dim, ...] | None:
    """Return the dimensions of ``value``, or None when its shape is not known."""
    return None if value is None or value.shape is None else value.shape.dims


def static_dims(value: ir.Value | None) -> tuple[int, ...] | None:
    """Return the shape of ``value`` when every dimension is a number, else None."""
    shape = dims(value)
    if shape is None:
        return None
    numbers = tuple(dim for dim in shape if isinstance(dim, int))
    return numbers if len(numbers) == len(shape) else None


def same_dim(left: Dim, right: Dim) -> bool:
    """Whether two dimensions are provably equal; two unknown ones are not."""
    if isinstance(left, int) or isinstance(right, int):
        return isinstance(left, int) and isinstance(right, int) and left == right
    return left.value is not None and left.value == right.value


def same_dims(left: Sequence[Dim] | None, right: Sequence[Dim] | None) -> bool:
    """Whether two shapes are provably equal."""
    if left is None or right is None or len(left) != len(right):
        return False
    return all(same_dim(a, b) for a, b in zip(left, right, strict=True))


def is_unit(value: ir.Value | None) -> bool:
    """Whether ``value`` holds exactly one element, whatever its rank."""
    shape = static_dims(value)
    return shape is not None and math.prod(shape) == 1


def has_single_use(value: ir.Value) -> bool:
    """Whether exactly one node input reads ``value`` and it is not a graph output."""
    return not value.is_graph_output() and len(value.uses()) == 1


# --- editing -----------------------------------------------------------------------------------------------------


def inherit(target: ir.Node, *sources: ir.Node, join: bool = False) -> None:
    """Give ``target`` the provenance of ``sources``.

    Args:
        target: The node that replaces the sources, or that takes over their work.
        sources: Nodes that are about to go.
        join: Append values that differ (``"conv1 + bn1"``) instead of keeping only the first.
    """
    for source in sources:
        for key, text in source.metadata_props.items():
            if not key.startswith(PROVENANCE_PREFIX):
                continue
            present = target.metadata_props.get(key)
            if present is None:
                target.metadata_props[key] = text
            elif join:
                target.metadata_props[key] = _joined(present, text)


def _joined(present: str, text: str) -> str:
    """Return both origins; a line of code that they share is written once: ``conv1 + bn1 ← net.py:41   …``."""
    if text in present.split(" + "):
        return present
    scope, arrow, line = text.partition(" ← ")
    if arrow and present.endswith(arrow + line):
        before = present.removesuffix(arrow + line)
        return present if scope in before.split(" + ") else f"{before} + {text}"
    return f"{present} + {text}"


def new_node(
    names: Names,
    op_type: str,
    inputs: Sequence[ir.Value | None],
    attributes: dict[str, Any] | None = None,
    *,
    hint: str,
    dtype: ir.DataType | None,
    shape: ir.Shape | None,
    source: ir.Node | None,
) -> ir.Node:
    """Make a node with one output; the caller inserts it.

    Args:
        names: The names of the model.
        op_type: Operator of the default domain.
        inputs: Its inputs.
        attributes: Its attributes as plain Python values.
        hint: Wished name of the output.
        dtype: Type of the output.
        shape: Shape of the output.
        source: The node whose provenance it inherits.
    """
    output = ir.Value(
        name=names.fresh(hint), type=None if dtype is None else ir.TensorType(dtype), shape=copy_shape(shape)
    )
    made = ir.node(op_type, inputs, attributes or {}, outputs=[output], name=names.fresh(f"{output.name}/{op_type}"))
    if source is not None:
        inherit(made, source)
    return made


def copy_shape(shape: ir.Shape | None) -> ir.Shape | None:
    """Copy a shape: two values must never share one, for shapes can be changed in place."""
    return None if shape is None else ir.Shape(shape.dims)


def add_constant(
    scope: Scope, names: Names, tensor: ir.TensorProtocol, hint: str, *, before: ir.Node, source: ir.Node | None = None
) -> ir.Value:
    """Add ``tensor`` to ``scope``: as an initializer, or as a Constant node where the scope is a function's body.

    Args:
        scope: Where it is needed.
        names: The names of the model.
        tensor: The data, held by reference.
        hint: Wished name.
        before: The node that needs it (a Constant node is put in front).
        source: The node whose provenance a Constant node inherits; default ``before``.
    """
    shape = ir.Shape(tensor_shape(tensor))
    if scope.in_function:
        node = new_node(
            names,
            "Constant",
            (),
            {"value": tensor},
            hint=hint,
            dtype=tensor.dtype,
            shape=shape,
            source=source or before,
        )
        scope.graph.insert_before(before, node)
        return node.outputs[0]
    value = ir.Value(name=names.fresh(hint), type=ir.TensorType(tensor.dtype), shape=shape, const_value=tensor)
    tensor.name = value.name
    scope.graph.register_initializer(value)
    return value


def int_constant(scope: Scope, names: Names, numbers: Sequence[int], hint: str, *, before: ir.Node) -> ir.Value:
    """Add a vector of int64 to ``scope`` (see :func:`add_constant`)."""
    return add_constant(scope, names, ir.Tensor(np.array(numbers, dtype=np.int64)), hint, before=before)


def replace_value(names: Names, old: ir.Value, new: ir.Value) -> bool:
    """Let every reader of ``old`` read ``new``, keeping graph output names; the caller removes the old node.

    When ``old`` is a graph output, ``new`` takes over its name, if ``new`` is an inner value of the same graph;
    otherwise an Identity node between the two keeps the name.

    Returns:
        False, with nothing changed, when ``old`` already is such an Identity of ``new`` that must stay.
    """
    if not old.is_graph_output():
        old.replace_all_uses_with(new)
        return True
    graph = old.graph
    producer = old.producer()
    assert graph is not None
    assert producer is not None
    name = old.name
    free = new.producer() is not None and new.graph is graph and not new.is_graph_output()
    if free:
        old.replace_all_uses_with(new, replace_graph_outputs=True)
        old.name = None
        new.name = name
        return True
    if is_op(producer, "Identity") and producer.inputs[0] is new:
        if not old.uses():
            return False
        for user, index in old.uses():
            user.replace_input_with(index, new)
        return True
    stand_in = ir.Value(name=name, type=old.type, shape=copy_shape(old.shape))
    identity = ir.node("Identity", [new], outputs=[stand_in], name=names.fresh(f"{name}/Identity"))
    inherit(identity, producer)
    graph.insert_after(producer, identity)
    for index, output in enumerate(graph.outputs):
        if output is old:
            graph.outputs[index] = stand_in
    old.replace_all_uses_with(new)
    old.name = None
    return True


def remove_node(node: ir.Node) -> None:
    """Take ``node`` out of its graph and detach it from its inputs."""
    assert node.graph is not None
    node.graph.remove(node, safe=True)


def set_attribute(node: ir.Node, name: str, value: int | float | str | Sequence[int]) -> None:
    """Set an attribute from a plain Python value."""
    if isinstance(value, (int, float, str)):
        node.attributes[name] = ir.convenience.convert_attribute(name, value)
    else:
        node.attributes[name] = ir.AttrInt64s(name, tuple(value))


def set_inputs(node: ir.Node, inputs: Sequence[ir.Value | None]) -> None:
    """Replace all inputs of ``node``."""
    node.resize_inputs(len(inputs))
    for index, value in enumerate(inputs):
        node.replace_input_with(index, value)


def insert_after_value(graph: ir.Graph, value: ir.Value, node: ir.Node) -> None:
    """Insert ``node`` as early as it can stand: right behind the producer of ``value``, else at the very start."""
    producer = value.producer()
    if producer is not None and producer.graph is graph:
        graph.insert_after(producer, node)
    elif len(graph):
        graph.insert_before(graph[0], node)
    else:
        graph.append(node)


def merge_known_shape(target: ir.Value, source: ir.Value) -> None:
    """Let ``target``, which now stands for ``source`` too, know whatever type and shape ``source`` knew."""
    if target.type is None:
        target.type = source.type
    if target.shape is None:
        target.shape = copy_shape(source.shape)
    elif source.shape is not None and len(source.shape) == len(target.shape):
        merged = [
            theirs if not isinstance(ours, int) and (isinstance(theirs, int) or ours.value is None) else ours
            for ours, theirs in zip(target.shape, source.shape, strict=True)
        ]
        target.shape = ir.Shape(merged)
