"""From a built graph to the model that the user gets: passes, metadata, checks, serialisation."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata as package_metadata
from pathlib import Path
from typing import Any

import onnx
import onnx_ir as ir

from any2onnx.errors import GraphError
from any2onnx.graph.opsets import ML
from any2onnx.graph.provenance import compact_provenance, strip_provenance
from any2onnx.io.limits import EXTERNAL_DATA_LIMIT
from any2onnx.io.proto_walk import tensor_nbytes
from any2onnx.io.save import model_nbytes, save_model, to_proto
from any2onnx.passes.pipeline import optimize

# Constants up to this many bytes can matter for the checker's inference (shapes, axes).
_LARGEST_CHECKED = 4096
# Operators whose attributes are the model: for a check these are cut to about this many elements.
_TREE_ELEMENTS = 64
_TREES = frozenset({"TreeEnsemble", "TreeEnsembleClassifier", "TreeEnsembleRegressor"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Finish:
    """What happens to a graph after it is built.

    Attributes:
        framework: Package whose model it is: ``scikit-learn``, ``keras``, ``torch``.
        name: Name of the graph.
        doc_string: Of the model.
        producer_name: ``any2onnx`` by default.
        producer_version: The version of any2onnx by default.
        model_version: The user's own count of versions.
        domain: Reverse-DNS name of the model's owner.
        metadata: Further `metadata_props`.
        optimized: Run the passes.
        strip: Leave out where each node comes from.
        output_path: Write the model there, streamed, and return the proto that refers to it.
        external_data: Weights beside the file; None decides by size.
        external_data_from: The size in bytes of all weights that decides.
        steps: Changes of the finished message (operators whose types the graph cannot carry).
        verify: Looks at the graph after the passes, and raises where it is not to be.
    """

    framework: str
    name: str = ""
    doc_string: str = ""
    producer_name: str = "any2onnx"
    producer_version: str = ""
    model_version: int | None = None
    domain: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    optimized: bool = True
    strip: bool = False
    output_path: str | Path | None = None
    external_data: bool | None = None
    external_data_from: int = EXTERNAL_DATA_LIMIT
    steps: Sequence[Callable[[onnx.ModelProto], onnx.ModelProto]] = ()
    verify: Callable[[ir.Model], None] | None = None


def finish(model: ir.Model, request: Finish) -> onnx.ModelProto:
    """Return the finished model.

    Raises:
        GraphError: The result is not valid ONNX, which is a fault of a converter.
    """
    if request.optimized:
        model = optimize(model)
    if request.strip:
        strip_provenance(model)
    else:
        compact_provenance(model)
    if request.verify is not None:
        request.verify(model)
    _describe(model, request)
    if request.output_path is not None:
        return _write(model, request)
    proto = _apply(to_proto(model), request.steps)
    check(proto)
    return proto


def _write(model: ir.Model, request: Finish) -> onnx.ModelProto:
    assert request.output_path is not None
    # Steps work on the message; without one the weights stream from where they are.
    result = _apply(to_proto(model), request.steps) if request.steps else model
    external = request.external_data
    if external is None:
        external = model_nbytes(result) > request.external_data_from
    proto = save_model(result, request.output_path, external_data=external)
    check(proto)
    return proto


def _apply(proto: onnx.ModelProto, steps: Sequence[Callable[[onnx.ModelProto], onnx.ModelProto]]) -> onnx.ModelProto:
    for step in steps:
        proto = step(proto)
    return proto


def check(proto: onnx.ModelProto) -> None:
    """Run onnx's own checker, with full inference, on everything but the contents of large weights.

    Raises:
        GraphError: The model is not valid.
    """
    try:
        onnx.checker.check_model(_without_weights(proto), full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise GraphError(
            f"the converted model is not valid ONNX: {error}", remedy="report it with the model; this is our fault"
        ) from error


def _without_weights(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Return the model with each large weight as an input of its type, so that no weight is copied for a check."""
    skeleton = onnx.ModelProto(ir_version=proto.ir_version, producer_name=proto.producer_name)
    skeleton.opset_import.extend(proto.opset_import)
    skeleton.functions.extend(proto.functions)
    graph = skeleton.graph
    graph.name = proto.graph.name
    for node in proto.graph.node:
        graph.node.append(_short_trees(node) if node.domain == ML and node.op_type in _TREES else node)
    graph.input.extend(proto.graph.input)
    graph.output.extend(proto.graph.output)
    graph.value_info.extend(proto.graph.value_info)
    graph.sparse_initializer.extend(proto.graph.sparse_initializer)
    for tensor in proto.graph.initializer:
        # By type and shape: reading raw_data would copy it.
        if tensor.data_location == onnx.TensorProto.EXTERNAL or tensor_nbytes(tensor) > _LARGEST_CHECKED:
            graph.input.append(onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
        else:
            graph.initializer.append(tensor)
    return skeleton


def _short_trees(node: onnx.NodeProto) -> onnx.NodeProto:
    """Return a tree operator with the first few elements of its large attributes.

    What ONNX's rules look at in them is their type and which of them are equally long, and nothing else: equal lengths
    stay equal, others stay different and in their order.
    """
    data = {a.name: a.t.raw_data for a in node.attribute if len(a.t.dims) == 1 and a.t.HasField("raw_data")}
    lengths = {
        # A tensor with other bytes than it says stays as it is: the checker shall see it.
        a.name: int(a.t.dims[0]) * (tensor_nbytes(a.t) == len(data[a.name]))
        if a.name in data
        else max(len(a.ints), len(a.floats), len(a.strings))
        for a in node.attribute
    }
    large = sorted({length for length in lengths.values() if length > _TREE_ELEMENTS})
    short = {length: _TREE_ELEMENTS + rank for rank, length in enumerate(large)}
    result = onnx.NodeProto(op_type=node.op_type, domain=node.domain, name=node.name)
    result.input.extend(node.input)
    result.output.extend(node.output)
    for attribute in node.attribute:
        length = short.get(lengths[attribute.name])
        if length is None:
            result.attribute.append(attribute)
            continue
        new = result.attribute.add(name=attribute.name, type=attribute.type)
        if attribute.name in data:
            kept = data[attribute.name][: length * tensor_nbytes(attribute.t) // lengths[attribute.name]]
            new.t.CopyFrom(onnx.TensorProto(data_type=attribute.t.data_type, dims=[length], raw_data=kept))
        new.ints.extend(attribute.ints[:length])
        new.floats.extend(attribute.floats[:length])
        new.strings.extend(attribute.strings[:length])
    return result


def _describe(model: ir.Model, request: Finish) -> None:
    model.producer_name = request.producer_name
    model.producer_version = request.producer_version or package_metadata_version("any2onnx")
    model.domain = request.domain or None
    model.model_version = request.model_version
    model.doc_string = request.doc_string or None
    if request.name:
        model.graph.name = request.name
    versions = {name: package_metadata_version(name) for name in (request.framework, "onnx")}
    model.metadata_props["any2onnx.framework"] = request.framework
    # scikit-learn's front-end has written methods here; the parity harness ties outputs to results by it.
    model.metadata_props.setdefault("any2onnx.outputs", json.dumps([output.name for output in model.graph.outputs]))
    model.metadata_props["any2onnx.versions"] = json.dumps(versions, sort_keys=True)
    model.metadata_props.update({str(key): _text(value) for key, value in request.metadata.items()})
    properties = dict(sorted(model.metadata_props.items()))
    model.metadata_props.clear()
    model.metadata_props.update(properties)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True)


@functools.cache  # reading it takes a millisecond: as long as the rest of a small conversion
def package_metadata_version(distribution: str) -> str:
    """Return the version of an installed distribution; "" where it is not installed under this name."""
    try:
        return package_metadata.version(distribution)
    except package_metadata.PackageNotFoundError:
        return ""
