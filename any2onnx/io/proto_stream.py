"""The bytes of a model, part by part: the same as `SerializeToString`, without a second copy of all weights.

Attributes of many numbers may be there already, in the shorter of protobuf's two forms (`proto_numbers`). Fields that
the installed onnx does not know are not written, so this is for messages that were made here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, BinaryIO

from any2onnx.io.proto_numbers import field_tag
from any2onnx.io.proto_walk import tensor_nbytes

if TYPE_CHECKING:
    import onnx

# Tensors and nodes above this many bytes are written from where they are; smaller parts go together.
_LARGE = 1 << 16

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
        self.add(field_tag(number, parts.nbytes))
        self._parts += parts._parts
        self.nbytes += parts.nbytes

    def write(self, stream: BinaryIO) -> None:
        """Write everything."""
        small: list[bytes] = []
        for part in self._parts:
            if isinstance(part, bytes) and len(part) <= _LARGE:
                small.append(part)
                continue
            stream.write(b"".join(small))
            small.clear()
            stream.write(part if isinstance(part, bytes) else part.tensor.raw_data)
        stream.write(b"".join(small))


def model_parts(model: onnx.ModelProto, nodes: Mapping[int, bytes] | None = None) -> Parts:
    """Return the parts of a serialised model, deterministic, fields in the order of their numbers.

    Args:
        model: The model.
        nodes: Nodes of its graph that are serialised already, by position.
    """
    parts = Parts()
    before, after = without_fields(model, _GRAPH_OF_MODEL)
    parts.add(before)
    if model.HasField("graph"):
        parts.add_message(_GRAPH_OF_MODEL, _graph_parts(model.graph, nodes or {}))
    parts.add(after)
    return parts


def _graph_parts(graph: onnx.GraphProto, nodes: Mapping[int, bytes]) -> Parts:
    parts = Parts()
    for position, node in enumerate(graph.node):
        data = nodes.get(position) or node.SerializeToString(deterministic=True)
        parts.add(field_tag(_NODES_OF_GRAPH, len(data)))
        parts.add(data)
    before, after = without_fields(graph, _INITIALIZERS_OF_GRAPH, _NODES_OF_GRAPH)
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
    before, after = without_fields(tensor, _RAW_DATA_OF_TENSOR)
    parts.add(before)
    parts.add(field_tag(_RAW_DATA_OF_TENSOR, nbytes))
    parts.add_raw(tensor, nbytes)
    parts.add(after)
    return parts


def without_fields(message: Any, *numbers: int) -> tuple[bytes, bytes]:
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
