"""Take a model protobuf apart into a small skeleton and its weights, without copying the weights as a whole."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from any2onnx.io.proto_walk import tensor_nbytes, walk_graphs, walk_tensors
from any2onnx.io.tensor_stream import TensorWriter

if TYPE_CHECKING:
    import numpy as np
    import onnx

    from any2onnx.io.external import ExternalFiles


#: Stands for the location until it is known. A model from outside cannot hold it: it is not printable, so
#: `external.parse_reference` refuses it.
PENDING = "\0pending"


#: The fields of a TensorProto that hold its elements or say where they are.
_DATA_FIELDS = frozenset(
    {
        "raw_data",
        "float_data",
        "int32_data",
        "string_data",
        "int64_data",
        "double_data",
        "uint64_data",
        "external_data",
        "data_location",
    }
)


def split_weights(
    model: onnx.ModelProto, writer: TensorWriter, threshold: int, files: ExternalFiles
) -> onnx.ModelProto:
    """Write the large initializers of every graph, and return the model that refers to them.

    Fields that onnx_ir does not know (sparse initializers, training info) are kept, so this works on the protobuf
    itself. Location entries hold `PENDING`: the name of the data file is known when the last byte is hashed.

    Args:
        model: Left as it is.
        writer: Takes the weights.
        threshold: Tensors above this many bytes are written out.
        files: Reads external data that the model refers to already.
    """
    import onnx

    skeleton = onnx.ModelProto()
    _copy_fields(model, skeleton, {"graph"})
    _copy_graph(model.graph, skeleton.graph, writer, threshold, files)
    for tensor in walk_tensors(skeleton):
        # What the weights of the graphs have left behind: attributes, functions, sparse and training tensors.
        if tensor.data_location == onnx.TensorProto.EXTERNAL and not _is_pending(tensor):
            inline_tensor(tensor, files)
    return skeleton


def _copy_graph(
    source: onnx.GraphProto, target: onnx.GraphProto, writer: TensorWriter, threshold: int, files: ExternalFiles
) -> None:
    """Copy a graph without its weights. Depth is bounded: protobuf reads at most about 33 nested graphs."""
    _copy_fields(source, target, {"initializer", "node"})
    for tensor in source.initializer:
        _copy_initializer(tensor, target.initializer.add(), writer, threshold, files)
    for node in source.node:
        if not any(attribute.HasField("g") or attribute.graphs for attribute in node.attribute):
            target.node.add().CopyFrom(node)
            continue
        copied = target.node.add()
        _copy_fields(node, copied, {"attribute"})
        for attribute in node.attribute:
            new = copied.attribute.add()
            _copy_fields(attribute, new, {"g", "graphs"})
            if attribute.HasField("g"):
                _copy_graph(attribute.g, new.g, writer, threshold, files)
            for graph in attribute.graphs:
                _copy_graph(graph, new.graphs.add(), writer, threshold, files)


def _copy_initializer(
    source: onnx.TensorProto, target: onnx.TensorProto, writer: TensorWriter, threshold: int, files: ExternalFiles
) -> None:
    import onnx

    nbytes = tensor_nbytes(source)
    if source.data_type == onnx.TensorProto.STRING or nbytes <= threshold:
        target.CopyFrom(source)
        if source.data_location == onnx.TensorProto.EXTERNAL:
            inline_tensor(target, files)
        return
    placement = writer.add_payload(tensor_payload(source, files), nbytes, source.name)
    _copy_fields(source, target, _DATA_FIELDS)
    target.data_location = onnx.TensorProto.EXTERNAL
    for key, value in (("location", PENDING), ("offset", placement.offset), ("length", placement.length)):
        target.external_data.add(key=key, value=str(value))


def tensor_payload(tensor: onnx.TensorProto, files: ExternalFiles | None) -> bytes | np.ndarray:
    """Return the tensor's little-endian bytes, from wherever it keeps them."""
    import onnx
    import onnx_ir.serde

    if tensor.data_location == onnx.TensorProto.EXTERNAL:
        assert files is not None
        return files.bytes_of(tensor)
    if tensor.HasField("raw_data"):
        raw: bytes = tensor.raw_data
        return raw
    data: bytes = onnx_ir.serde.TensorProtoTensor(tensor).tobytes()
    return data


def inline_external(model: onnx.ModelProto, files: ExternalFiles) -> None:
    """Read every external tensor into the protobuf, in place."""
    import onnx

    for tensor in walk_tensors(model):
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            inline_tensor(tensor, files)


def inline_tensor(tensor: onnx.TensorProto, files: ExternalFiles) -> None:
    """Read one external tensor into its protobuf, in place."""
    data = files.bytes_of(tensor).tobytes()
    tensor.ClearField("external_data")
    tensor.ClearField("data_location")
    tensor.raw_data = data


def set_location(model: onnx.ModelProto, name: str) -> None:
    """Write the name of the data file into every entry that waits for it."""
    for tensor in walk_tensors(model):
        for entry in tensor.external_data:
            if entry.key == "location" and entry.value == PENDING:
                entry.value = name


def without_weight_types(model: onnx.ModelProto) -> onnx.ModelProto:
    """Remove, in place, the types of initializers from value_info, where onnx_ir repeats what the tensors say."""
    for graph, _ in walk_graphs(model):
        weights = {tensor.name for tensor in getattr(graph, "initializer", ())}
        count = 0
        # They come first.
        for info in graph.value_info:
            if info.name not in weights or info.metadata_props or info.doc_string:
                break
            count += 1
        del graph.value_info[:count]
    return model


def _is_pending(tensor: onnx.TensorProto) -> bool:
    return any(entry.key == "location" and entry.value == PENDING for entry in tensor.external_data)


def strip_provenance(model: onnx.ModelProto) -> None:
    """Remove doc strings and metadata of nodes, values, tensors and functions, in place; the model's own stay."""
    from any2onnx.graph.provenance import ORIGINS_KEY

    kept = [entry for entry in model.metadata_props if entry.key != ORIGINS_KEY]  # the nodes' texts
    if len(kept) < len(model.metadata_props):
        del model.metadata_props[:]
        model.metadata_props.extend(kept)
    for graph, depth in walk_graphs(model):
        fields: list[Any] = [*graph.node, *graph.value_info]
        if hasattr(graph, "initializer"):
            fields += [*graph.initializer, *graph.input, *graph.output]
        if depth or not hasattr(graph, "initializer"):
            fields.append(graph)  # a sub-graph or a function: its own texts are provenance too
        for item in fields:
            item.ClearField("doc_string")
            item.ClearField("metadata_props")
    for tensor in walk_tensors(model):
        tensor.ClearField("doc_string")
        tensor.ClearField("metadata_props")


def _copy_fields(source: Any, target: Any, skip: Collection[str]) -> None:
    """Copy all fields of a message but those named."""
    for field, value in source.ListFields():
        if field.name in skip:
            continue
        if hasattr(value, "ListFields"):  # a message
            getattr(target, field.name).CopyFrom(value)
        elif hasattr(value, "MergeFrom"):  # a repeated field
            getattr(target, field.name).MergeFrom(value)
        else:
            setattr(target, field.name, value)
