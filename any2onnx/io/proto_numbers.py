"""Attributes of millions of numbers on their way to the message and to the file, without a Python number for each.

protobuf's Python classes take the numbers of an attribute one by one. Here a node with such attributes is written as
protobuf's wire format, by numpy: the message reads it in one call, and a file gets it as it is. The numbers are
*packed* there (one tag for all), which every reader of protobuf takes for a repeated field, and which is a third
smaller than what the Python classes write: a tag in front of each number.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import onnx
    import onnx_ir

# Field numbers of onnx.proto.
ATTRIBUTES_OF_NODE = 5
_NAME_OF_ATTRIBUTE = 1
_TENSOR_OF_ATTRIBUTE = 5
_FLOATS_OF_ATTRIBUTE = 7
_INTS_OF_ATTRIBUTE = 8
_TYPE_OF_ATTRIBUTE = 20
_RAW_DATA_OF_TENSOR = 9

# Wire type of fields that hold bytes, texts or messages, and of packed numbers.
_LENGTH_DELIMITED = 2
# Bits of a number in one byte; the top bit says that more bytes follow.
_BITS = 7
_MORE = 1 << _BITS


@dataclass(frozen=True, slots=True)
class Message:
    """A model as a message.

    Attributes:
        proto: The message, complete.
        nodes: Serialised nodes of the main graph, by position: those with many numbers, already at hand.
    """

    proto: onnx.ModelProto
    nodes: Mapping[int, bytes]


def to_message(model: onnx_ir.Model) -> Message:
    """Return the model as a message; attributes of many numbers in the main graph go there as bytes."""
    import onnx
    import onnx_ir

    with _withheld(model) as numbers:
        proto = onnx_ir.to_proto(model)
    nodes: dict[int, bytes] = {}
    for position, attributes in numbers.items():
        node = proto.graph.node[position]
        data = {attribute.name: _attribute_bytes(attribute) for attribute in attributes}
        nodes[position] = _node_bytes(node, data)
        for empty in node.attribute:
            if empty.name in data:
                # By way of a message of its own: protobuf's lists grow by doubling, and a copy has just the right size.
                empty.CopyFrom(onnx.AttributeProto.FromString(data[empty.name]))
    return Message(proto, nodes)


@contextmanager
def _withheld(model: onnx_ir.Model) -> Iterator[dict[int, list[onnx_ir.Attr]]]:
    """Empty the attributes of many numbers in the main graph for a while, and yield them by the node's position.

    With them go the tensors among the attributes of the same nodes.
    """
    import onnx_ir

    from any2onnx.graph.attributes import NumbersAttr

    found: dict[int, list[onnx_ir.Attr]] = {}
    nodes = list(model.graph)
    for position, node in enumerate(nodes):
        attributes = list(node.attributes.values())
        if any(isinstance(a, NumbersAttr) for a in attributes):
            found[position] = [a for a in attributes if isinstance(a, NumbersAttr) or _is_plain_tensor(a)]
    try:
        for position, attributes in found.items():
            for attribute in attributes:
                nodes[position].attributes[attribute.name] = onnx_ir.AttrInt64s(attribute.name, ())
        yield found
    finally:
        for position, attributes in found.items():
            for attribute in attributes:
                nodes[position].attributes[attribute.name] = attribute


def _is_plain_tensor(attribute: onnx_ir.Attr) -> bool:
    """Tell whether an attribute is an array as it lies in memory, with neither name nor comment."""
    import onnx_ir

    if attribute.type != onnx_ir.AttributeType.TENSOR or attribute.is_ref():
        return False
    tensor = attribute.value
    if type(tensor) is not onnx_ir.Tensor or tensor.name or tensor.doc_string or tensor.metadata_props:
        return False
    array = tensor.raw
    return isinstance(array, np.ndarray) and array.flags.c_contiguous and array.dtype == tensor.dtype.numpy()


def _node_bytes(node: onnx.NodeProto, withheld: Mapping[str, bytes]) -> bytes:
    """Return the serialised node with these serialised attributes in place of the empty ones of their names."""
    from any2onnx.io.proto_stream import without_fields

    before, after = without_fields(node, ATTRIBUTES_OF_NODE)
    parts = [before]
    for attribute in node.attribute:
        data = withheld.get(attribute.name) or attribute.SerializeToString(deterministic=True)
        parts += [field_tag(ATTRIBUTES_OF_NODE, len(data)), data]
    parts.append(after)
    return b"".join(parts)


def _attribute_bytes(attribute: onnx_ir.Attr) -> bytes:
    """Return a serialised attribute of many numbers, or one that holds a plain tensor."""
    import onnx
    import onnx_ir

    name = attribute.name.encode()
    kind = bytes((*_varint(_TYPE_OF_ATTRIBUTE << 3), *_varint(int(attribute.type))))
    head = field_tag(_NAME_OF_ATTRIBUTE, len(name)) + name
    if attribute.type == onnx_ir.AttributeType.TENSOR:
        array = np.ascontiguousarray(attribute.value.raw)
        start = onnx.TensorProto(dims=array.shape, data_type=int(attribute.value.dtype)).SerializeToString()
        raw = array.astype(array.dtype.newbyteorder("<"), copy=False).reshape(-1).view(np.uint8).data
        start += field_tag(_RAW_DATA_OF_TENSOR, len(raw))
        return b"".join([head, field_tag(_TENSOR_OF_ATTRIBUTE, len(start) + len(raw)), start, raw, kind])
    numbers = attribute.value.array
    number = _FLOATS_OF_ATTRIBUTE if numbers.dtype.kind == "f" else _INTS_OF_ATTRIBUTE
    packed = packed_numbers(numbers)
    return b"".join([head, field_tag(number, len(packed)), packed, kind])


def packed_numbers(array: np.ndarray[Any, Any]) -> bytes:
    """Return a packed repeated field's content: float32 little-endian, or whole numbers as int64 varints."""
    if array.dtype.kind == "f":
        return array.astype("<f4", copy=False).tobytes()
    if array.size == 0:
        return b""
    if array.dtype.kind == "i" and int(array.min()) < 0:
        # Two's complement of 64 bits: ten bytes for each negative number.
        array = array.astype(np.int64).view(np.uint64)
    largest = int(array.max())
    if largest < _MORE:
        return array.astype(np.uint8, copy=False).tobytes()
    if largest < 1 << 4 * _BITS:
        return _short_varints(array.astype(np.uint32))
    rest = array.astype(np.uint64)
    width = -(-largest.bit_length() // _BITS)
    groups = np.empty((len(rest), width), np.uint8)
    kept = np.ones((len(rest), width), bool)
    for k in range(width):
        more = rest >= _MORE
        groups[:, k] = (rest & (_MORE - 1)) | more.astype(np.uint8) << _BITS
        if k + 1 < width:
            kept[:, k + 1] = more
            rest >>= _BITS
    return groups[kept].tobytes()


def _short_varints(numbers: np.ndarray[Any, Any]) -> bytes:
    """Return the varints of uint32 numbers of at most 28 bits: four bytes each, of which those in use are kept."""
    groups = numbers & (_MORE - 1)
    kept = np.ones_like(numbers)
    largest = int(numbers.max())
    k = 1
    while largest >= (first := 1 << k * _BITS):
        groups |= (numbers & ((_MORE - 1) << k * _BITS)) << k
        # Where another byte follows: the top bit of the one before it, and a byte more to keep.
        follows = (numbers >= first) * np.uint32(1 << 8 * k)
        kept |= follows
        follows >>= 1
        groups |= follows
        k += 1
    data, used = (array.astype("<u4", copy=False).view(np.uint8) for array in (groups, kept))
    return data.take(np.flatnonzero(used.view(bool))).tobytes()  # numpy's masks take twice as long


def field_tag(number: int, nbytes: int) -> bytes:
    """Return the head of a length-delimited field: its number and wire type, then how many bytes follow."""
    return bytes((*_varint(number << 3 | _LENGTH_DELIMITED), *_varint(nbytes)))


def _varint(number: int) -> Iterator[int]:
    """Yield protobuf's form of a number: seven bits a byte, the lowest first, the top bit set on all but the last."""
    while number >= _MORE:
        yield number & (_MORE - 1) | _MORE
        number >>= _BITS
    yield number
