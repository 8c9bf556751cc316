"""Type of a node's outputs, computed when the node is made.

The rules are ONNX's own (`onnx.shape_inference.infer_node_outputs`, about 10 µs a node); operators of other domains
bring their own rule, or state the types of their outputs.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Final

import onnx
import onnx_ir as ir

from any2onnx.errors import GraphError
from any2onnx.graph.attributes import NumbersAttr
from any2onnx.graph.opsets import ML, Opsets
from any2onnx.graph.types import DataType, Dim, TensorSpec, dims_of

# Attributes above this size say nothing about types and would only be copied.
_LARGEST_ATTRIBUTE = 1 << 16
# Constants up to this many elements are shown to the inference (shapes, axes, pads).
_LARGEST_DATA = 64


@functools.lru_cache(maxsize=4096)
def _type_proto(spec: TensorSpec) -> onnx.TypeProto:
    return onnx.helper.make_tensor_type_proto(int(spec.dtype), spec.shape)


@functools.lru_cache(maxsize=64)
def _imports(opsets: Opsets) -> list[onnx.OperatorSetIdProto]:
    return [onnx.helper.make_opsetid(domain, version) for domain, version in opsets.versions]


def value_type_proto(value: ir.Value) -> onnx.TypeProto:
    """Return a value's type as the ONNX message."""
    if isinstance(value.type, ir.TensorType):
        return _type_proto(TensorSpec(value.type.dtype, dims_of(value.shape)))
    proto = onnx.TypeProto()
    if value.type is not None:
        ir.serde.serialize_type_into(proto, value.type)
    return proto


Inferred = tuple[TensorSpec, ...]
"""Types of the outputs of a node, all of them tensors."""


def infer_outputs(
    schema: onnx.defs.OpSchema, node: ir.Node, opsets: Opsets, known: dict[Hashable, Inferred] | None = None
) -> list[tuple[ir.TypeProtocol, ir.Shape | None]]:
    """Return type and shape of each output of a node.

    Args:
        schema: The operator's definition at the opset of the model.
        node: The node; its inputs must have types.
        opsets: The versions that the model imports.
        known: What was inferred before for these opsets; new results are added.

    Raises:
        GraphError: The operator does not accept inputs of these types or shapes.
    """
    rule = _RULES.get((node.domain, node.op_type))
    if rule is not None:
        return [(ir.TensorType(s.dtype), None if s.shape is None else ir.Shape(s.shape)) for s in rule(node)]
    shape = None if known is None or len(node.outputs) != 1 else _plain_shape(node)
    key = None if known is None else _key(node, with_dims=shape is None)
    if key is not None and known is not None and key in known:
        specs = known[key] if shape is None else (TensorSpec(known[key][0].dtype, shape),)
        return [(ir.TensorType(s.dtype), None if s.shape is None else ir.Shape(s.shape)) for s in specs]
    found = _infer(schema, node, opsets)
    if key is not None and known is not None and all(isinstance(kind, ir.TensorType) for kind, _ in found):
        known[key] = tuple(TensorSpec(kind.dtype, dims_of(shape)) for kind, shape in found)
    return found


# Operators whose output has the shape of their first input. What they accept is asked once per dtype and rank.
_SAME_SHAPE: Final = frozenset(
    {"BatchNormalization", "Clip", "Elu", "Erf", "Exp", "HardSigmoid", "LeakyRelu", "Log", "Neg", "Relu", "Sigmoid"}
    | {"Softmax", "Sqrt", "Tanh"}
)


def _plain_shape(node: ir.Node) -> tuple[Dim, ...] | None:
    """Return the shape of the output of an operator with a trivial rule for it."""
    if node.domain or node.inputs[0] is None:
        return None
    dims = dims_of(node.inputs[0].shape)
    if dims is None or node.op_type in _SAME_SHAPE:
        return dims if node.op_type in _SAME_SHAPE else None
    permutation = node.attributes.get("perm") if node.op_type == "Transpose" else None
    if permutation is None or sorted(permutation.as_ints()) != list(range(len(dims))):
        return None
    return tuple(dims[axis] for axis in permutation.as_ints())


_HASHABLE: Final = frozenset(
    {
        ir.AttributeType.FLOAT,
        ir.AttributeType.INT,
        ir.AttributeType.STRING,
        ir.AttributeType.FLOATS,
        ir.AttributeType.INTS,
        ir.AttributeType.STRINGS,
    }
)


def _key(node: ir.Node, *, with_dims: bool) -> Hashable | None:
    """Return all that the types of a node's outputs depend on; None where that is not small.

    Args:
        node: The node.
        with_dims: Shapes and contents of the inputs, not only their ranks.
    """
    parts: list[Hashable] = [node.domain, node.op_type, len(node.outputs), with_dims]
    for value in node.inputs:
        if value is None:
            parts.append(None)
            continue
        if type(value.type) is not ir.TensorType:
            return None
        if not with_dims:
            parts.append((value.type.dtype, None if value.shape is None else len(value.shape)))
            continue
        parts.append((value.type.dtype, dims_of(value.shape)))
        tensor = value.const_value
        if tensor is not None and tensor.size <= _LARGEST_DATA:
            if tensor.dtype == DataType.STRING:
                return None
            parts.append(tensor.tobytes())
    for name, attribute in node.attributes.items():
        if attribute.type not in _HASHABLE or isinstance(attribute, NumbersAttr) or attribute.is_ref():
            return None
        value = attribute.value
        parts.append((name, tuple(value) if isinstance(value, list) else value))
    return tuple(parts)


_LIKE: Final = {"GreaterOrEqual": "Greater", "LessOrEqual": "Less"}


def _infer(schema: onnx.defs.OpSchema, node: ir.Node, opsets: Opsets) -> list[tuple[ir.TypeProtocol, ir.Shape | None]]:
    """Run ONNX's own rule."""
    proto = onnx.NodeProto(op_type=node.op_type, domain=node.domain)
    if opsets.main < 16 and node.op_type in _LIKE and not node.domain:
        # These have no rule for shapes before opset 16, and inside of a Scan onnxruntime asks for shapes.
        proto.op_type = _LIKE[node.op_type]
        schema = onnx.defs.get_schema(proto.op_type, opsets.main)
    types: dict[str, onnx.TypeProto] = {}
    data: dict[str, onnx.TensorProto] = {}
    for value in node.inputs:
        if value is None:
            proto.input.append("")
            continue
        name = str(value.name)
        proto.input.append(name)
        types[name] = value_type_proto(value)
        if value.const_value is not None and value.const_value.size <= _LARGEST_DATA:
            data[name] = _tensor_proto(value.const_value)
    proto.output.extend(str(k) for k in range(len(node.outputs)))
    for attribute in node.attributes.values():
        if not _is_large(attribute):
            proto.attribute.append(ir.serde.serialize_attribute(attribute))
    try:
        inferred = onnx.shape_inference.infer_node_outputs(
            schema, proto, types, data, opset_imports=_imports(opsets), ir_version=opsets.ir_version
        )
    except Exception as error:  # onnx raises three unrelated classes here, one of them of its C++ part
        raise type_error(node, str(error).strip()) from error
    return [_from_proto(inferred.get(str(k)), node) for k in range(len(node.outputs))]


def type_error(node: ir.Node, reason: str) -> GraphError:
    """Return the error that names the operator and the types of its operands."""
    operands = ", ".join("–" if v is None else f"{v.name}: {describe(v)}" for v in node.inputs)
    name = f"{node.domain}.{node.op_type}" if node.domain else node.op_type
    return GraphError(f"{name}({operands}) is not valid: {reason}", where=node.metadata_props.get("any2onnx.source"))


def describe(value: ir.Value) -> str:
    """Return a value's type for messages: ``float[batch,4]``."""
    if isinstance(value.type, ir.TensorType):
        return str(TensorSpec(value.type.dtype, dims_of(value.shape)))
    return str(value.type)


def _is_large(attribute: ir.Attr) -> bool:
    value = attribute.value
    if attribute.type == ir.AttributeType.TENSOR:
        return bool(value.size > _LARGEST_ATTRIBUTE)
    return isinstance(value, Sequence) and len(value) > _LARGEST_ATTRIBUTE


def _tensor_proto(tensor: ir.TensorProtocol) -> onnx.TensorProto:
    return ir.serde.serialize_tensor(tensor)


def _from_proto(proto: onnx.TypeProto | None, node: ir.Node) -> tuple[ir.TypeProtocol, ir.Shape | None]:
    if proto is None or proto.WhichOneof("value") is None:
        raise type_error(node, "its output type cannot be inferred; state it (types=[...])")
    if not proto.HasField("tensor_type"):
        other = ir.serde.deserialize_type_proto_for_type(proto)
        if other is None:
            raise type_error(node, "its output is neither a tensor, a sequence nor an optional")
        return other, ir.serde.deserialize_type_proto_for_shape(proto)
    tensor = proto.tensor_type
    if tensor.elem_type == 0:
        raise type_error(node, "the element type of its output cannot be inferred; state it (types=[...])")
    shape = None
    if tensor.HasField("shape"):
        shape = ir.Shape([d.dim_value if d.HasField("dim_value") else (d.dim_param or None) for d in tensor.shape.dim])
    return ir.TensorType(DataType(tensor.elem_type)), shape


# --- operators whose attributes are the model: ONNX's rule would get a copy of all of them ----------------------------


def _rows(node: ir.Node) -> tuple[Dim, DataType]:
    """Return (number of rows, element type) of the only input, a matrix."""
    x = node.inputs[0]
    dims = None if x is None else dims_of(x.shape)
    if x is None or x.dtype is None or (dims is not None and len(dims) != 2):
        raise type_error(node, "its input must be a matrix")
    return (None if dims is None else dims[0]), x.dtype


def _tree_ensemble(node: ir.Node) -> list[TensorSpec]:
    rows, dtype = _rows(node)
    if dtype not in (DataType.FLOAT, DataType.DOUBLE, DataType.FLOAT16):
        raise type_error(node, f"its input is {dtype.name.lower()}, not a floating-point type")
    result = dtype if node.op_type == "TreeEnsemble" else DataType.FLOAT
    return [TensorSpec(result, (rows, node.attributes["n_targets"].as_int()))]


_RULES: Final[Mapping[tuple[str, str], Callable[[ir.Node], Sequence[TensorSpec]]]] = {
    (ML, "TreeEnsemble"): _tree_ensemble,
    (ML, "TreeEnsembleRegressor"): _tree_ensemble,
}
