"""The bytes of a model, part by part: the same as `SerializeToString`, without a second copy of all weights.

Fields that the installed onnx does not know are not written, so this is for messages that were made here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, BinaryIO

from any2onnx.io.proto_walk import tensor_nbytes

if TYPE_CHECKING:
    import onnx

# Tensors above this many bytes are written from where they are; smaller ones are serialised at once.
_LARGE = 1 << 16
# Wire type of fields that hold bytes, texts or messages.
_LENGTH_DELIMITED = 2

# Field numbers of onnx.proto.
_GRAPH_OF_MODEL = 7
_NODES_OF_GRAPH = 1
_INITIALIZERS_OF_GRAPH = 5
_RAW_DATA_OF_TENSOR = 9


@dataclass(frozen=True, slots=True)
class _Raw:
    """A tensor's raw_data, read when it is written."""

    tensor: onnx.TensorProto
    nbytes: int


@dataclass(slots=True)
class Parts:
    """The parts of a message in the order of the file.

    Attributes:
        nbytes: Of all parts together.
    """

    nbytes: int = 0
    _parts: list[bytes | _Raw] = field(default_factory=list)

    def add(self, data: bytes) -> None:
        """Append bytes."""
        self._parts.append(data)
        self.nbytes += len(data)

    def add_raw(self, tensor: onnx.TensorProto, nbytes: int) -> None:
        """Append the raw_data of a tensor."""
        self._parts.append(_Raw(tensor, nbytes))
        self.nbytes += nbytes

    def add_message(self, number: int, parts: Parts) -> None:
        """Append a message as a field."""
        self.add(_tag(number, parts.nbytes))
        self._parts += parts._parts
        self.nbytes += parts.nbytes

    def write(self, stream: BinaryIO) -> None:
        """Write everything."""
        small: list[bytes] = []
        for part in self._parts:
            if isinstance(part, bytes):
                small.append(part)
                continue
            stream.write(b"".join(small))
            small.clear()
            stream.write(part.tensor.raw_data)
        stream.write(b"".join(small))


def model_parts(model: onnx.ModelProto) -> Parts:
    """Return the parts of a serialised model, deterministic, fields in the order of their numbers."""
    parts = Parts()
    before, after = _without(model, _GRAPH_OF_MODEL)
    parts.add(before)
    if model.HasField("graph"):
        parts.add_message(_GRAPH_OF_MODEL, _graph_parts(model.graph))
    parts.add(after)
    return parts


def _graph_parts(graph: onnx.GraphProto) -> Parts:
    parts = Parts()
    for node in graph.node:
        data = node.SerializeToString(deterministic=True)
        parts.add(_tag(_NODES_OF_GRAPH, len(data)))
        parts.add(data)
    before, after = _without(graph, _INITIALIZERS_OF_GRAPH, _NODES_OF_GRAPH)
    parts.add(before)
    for tensor in graph.initializer:
        parts.add_message(_INITIALIZERS_OF_GRAPH, _tensor_parts(tensor))
    parts.add(after)
    return parts


def _tensor_parts(tensor: onnx.TensorProto) -> Parts:
    parts = Parts()
    nbytes = tensor_nbytes(tensor)
    if nbytes <= _LARGE or not tensor.HasField("raw_data"):
        parts.add(tensor.SerializeToString(deterministic=True))
        return parts
    before, after = _without(tensor, _RAW_DATA_OF_TENSOR)
    parts.add(before)
    parts.add(_tag(_RAW_DATA_OF_TENSOR, nbytes))
    parts.add_raw(tensor, nbytes)
    parts.add(after)
    return parts


def _without(message: Any, *numbers: int) -> tuple[bytes, bytes]:
    """Return the serialised fields before and behind the first of the field numbers, without all of them."""
    before, after = type(message)(), type(message)()
    for number, descriptor in message.DESCRIPTOR.fields_by_number.items():
        if number in numbers:
            continue  # not even read: that would copy it
        value = getattr(message, descriptor.name)
        target = before if number < numbers[0] else after
        if hasattr(value, "MergeFrom") and not hasattr(value, "ListFields"):  # a repeated field
            getattr(target, descriptor.name).MergeFrom(value)
        elif not message.HasField(descriptor.name):
            continue
        elif hasattr(value, "ListFields"):
            getattr(target, descriptor.name).CopyFrom(value)
        else:
            setattr(target, descriptor.name, value)
    return before.SerializeToString(deterministic=True), after.SerializeToString(deterministic=True)


def _tag(number: int, nbytes: int) -> bytes:
    return bytes((*_varint(number << 3 | _LENGTH_DELIMITED), *_varint(nbytes)))


def _varint(number: int) -> Iterator[int]:
    """Yield protobuf's form of a number: seven bits a byte, the lowest first, the top bit set on all but the last."""
    while number > 0x7F:
        yield number & 0x7F | 0x80
        number >>= 7
    yield number
