"""Loading, saving and cutting ONNX models, with skl2onnx's names and arguments."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

from any2onnx.errors import MalformedFile, UnknownOption, UsageError, did_you_mean


def load_onnx_model(onnx_file_or_bytes: Any) -> onnx.ModelProto:
    """Return the model in a file, an open file, or bytes.

    Raises:
        MalformedFile: It holds no model.
        FileAccessError: It cannot be read.
    """
    from any2onnx.io.load_onnx import load_onnx
    from any2onnx.io.save import to_proto

    if isinstance(onnx_file_or_bytes, str | Path):
        loaded = load_onnx(onnx_file_or_bytes)
        return loaded if isinstance(loaded, onnx.ModelProto) else to_proto(loaded)
    content = onnx_file_or_bytes.read() if hasattr(onnx_file_or_bytes, "read") else bytes(onnx_file_or_bytes)
    model = onnx.ModelProto()
    try:
        model.ParseFromString(content)
    except DecodeError as error:
        raise MalformedFile("the bytes are no ONNX model") from error
    if not model.HasField("graph"):
        raise MalformedFile("the bytes are no ONNX model: they hold no graph")
    return model


def save_onnx_model(model: onnx.ModelProto, filename: Any = None) -> bytes:
    """Write a model to a file name or an open file, and return its bytes.

    Args:
        model: Model.
        filename: Where to; None for bytes alone. `any2onnx.save_model` writes models beyond 2 GiB too.
    """
    content: bytes = model.SerializeToString()
    if filename is None:
        return content
    if hasattr(filename, "write"):
        filename.write(content)
        return content
    from any2onnx.io.save import save_model

    save_model(model, filename, external_data=False)
    return content


def enumerate_model_node_outputs(model: onnx.ModelProto, add_node: bool = False) -> Iterator[Any]:
    """Yield the name of every node's outputs, with `add_node` as pairs of name and node."""
    for node in model.graph.node:
        for name in node.output:
            yield (name, node) if add_node else name


def enumerate_model_initializers(model: onnx.ModelProto, add_node: bool = False) -> Iterator[Any]:
    """Yield the name of every initializer, with `add_node` as pairs of name and tensor."""
    for tensor in model.graph.initializer:
        yield (tensor.name, tensor) if add_node else tensor.name


def select_model_inputs_outputs(
    model: onnx.ModelProto, outputs: Sequence[str] | str | None = None, inputs: Sequence[str] | str | None = None
) -> onnx.ModelProto:
    """Return the part of a model between some of its values.

    Args:
        model: Is not changed.
        outputs: Names of the values that become the outputs; None for the model's own.
        inputs: Names of the values that become the inputs; None for the model's own.

    Raises:
        UnknownOption: A name that no value of the main graph has.
        UsageError: The outputs need something that `inputs` do not give.
    """
    graph = model.graph
    known = _infos(model)
    wanted = _names(outputs) if outputs is not None else [o.name for o in graph.output]
    given = _names(inputs) if inputs is not None else [i.name for i in graph.input]
    produced = {name for node in graph.node for name in node.output if name}
    constants = {tensor.name for tensor in graph.initializer} | {t.values.name for t in graph.sparse_initializer}
    for name in (*wanted, *given):
        if name not in produced and name not in known:
            raise UnknownOption(f"the model has no value {name!r}{did_you_mean(name, sorted(produced | set(known)))}")
    kept, needed = _between(graph, wanted, set(given) | constants)
    missing = sorted(name for name in needed if name not in constants and name not in given and name not in produced)
    if missing:
        raise UsageError(f"the outputs need {', '.join(missing)} as well", remedy="name it among the inputs")
    part = onnx.ModelProto()
    part.CopyFrom(_shell(model))
    part.graph.name = graph.name
    part.graph.input.extend(known.get(name) or onnx.ValueInfoProto(name=name) for name in given)
    part.graph.output.extend(known.get(name) or onnx.ValueInfoProto(name=name) for name in wanted)
    part.graph.node.extend(kept)
    part.graph.initializer.extend(t for t in graph.initializer if t.name in needed)
    part.graph.sparse_initializer.extend(t for t in graph.sparse_initializer if t.values.name in needed)
    return part


def _names(given: Sequence[str] | str) -> list[str]:
    return [given] if isinstance(given, str) else list(given)


def _shell(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return everything of a model but its graph."""
    shell = onnx.ModelProto()
    for descriptor, value in model.ListFields():
        if descriptor.name == "graph":
            continue
        if isinstance(value, str | int | bytes):
            setattr(shell, descriptor.name, value)
        else:
            getattr(shell, descriptor.name).extend(value)
    return shell


def _infos(model: onnx.ModelProto) -> dict[str, onnx.ValueInfoProto]:
    """Return what is known of the types of values: inputs, outputs, and what inference finds."""
    inferred = onnx.shape_inference.infer_shapes(model).graph
    found = {info.name: info for info in inferred.value_info}
    found.update({info.name: info for info in (*model.graph.input, *model.graph.output)})
    return found


def _between(graph: onnx.GraphProto, outputs: Sequence[str], given: set[str]) -> tuple[list[onnx.NodeProto], set[str]]:
    """Return the nodes that the outputs need, in their order, and the names that these read."""
    needed = set(outputs)
    kept: list[onnx.NodeProto] = []
    for node in reversed(graph.node):
        if any(name in needed and name not in given for name in node.output):
            kept.append(node)
            needed |= set(_reads(node))
    return kept[::-1], needed


def _reads(node: onnx.NodeProto) -> Iterator[str]:
    """Yield the names that a node reads, those of graphs inside it included."""
    yield from (name for name in node.input if name)
    for attribute in node.attribute:
        for inner in (attribute.g, *attribute.graphs) if attribute.HasField("g") or attribute.graphs else ():
            own = {name for below in inner.node for name in below.output} | {i.name for i in inner.input}
            own |= {tensor.name for tensor in inner.initializer}
            for below in inner.node:
                yield from (name for name in _reads(below) if name not in own)
            yield from (output.name for output in inner.output if output.name not in own)
