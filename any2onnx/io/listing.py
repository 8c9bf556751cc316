"""Describe a model file without running or importing anything that it names."""

from __future__ import annotations

import math
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any, BinaryIO

from any2onnx.errors import FileAccessError, MalformedFile
from any2onnx.io.atomic import file_errors
from any2onnx.io.keras_config import code_in_config
from any2onnx.io.limits import DEFAULT_LIMITS
from any2onnx.io.load_onnx import parse_onnx, verify_onnx
from any2onnx.io.pickles import list_pickle, open_compressed
from any2onnx.io.preflight import check_hdf5, check_json, check_zip, open_member, read_member
from any2onnx.io.skops_types import AUDITED
from any2onnx.io.sniff import Kind, header_of_safetensors, sniff
from any2onnx.io.trust import digest_of


def describe(path: Path) -> dict[str, Any]:
    """Return what the file holds as plain values: kind, size, SHA-256, and what its kind adds.

    The content decides the kind, whatever the suffix.

    Raises:
        FileAccessError: It cannot be read.
        MalformedFile: It is empty, of no known kind, damaged, or beyond a limit.
    """
    if path.is_dir():
        raise FileAccessError("a folder is no model file", where=str(path))
    with file_errors(path, "read"), path.open("rb") as stream:
        if not stream.read(1):
            raise MalformedFile("the file is empty", where=str(path))
        kind = sniff(stream)
        found: dict[str, Any] = {
            "file": str(path),
            "kind": str(kind),
            "bytes": path.stat().st_size,
            "sha256": digest_of(stream),
        }
        return found | _details(kind, stream, str(path))


def _details(kind: Kind, stream: BinaryIO, where: str) -> dict[str, Any]:
    if kind is Kind.ONNX:
        return _onnx(stream, where)
    if kind is Kind.SKOPS:
        return _skops(stream, where)
    if kind is Kind.KERAS:
        return _keras(stream, where)
    if kind is Kind.SAFETENSORS:
        return _safetensors(stream)
    if kind is Kind.HDF5:
        return _hdf5(stream, where)
    if kind in (Kind.TORCH, Kind.TORCHSCRIPT, Kind.EXPORTED_PROGRAM):
        return _torch(kind, stream, where)
    if kind in (Kind.PICKLE, Kind.COMPRESSED):
        return _pickle(kind, stream)
    if kind is Kind.ZIP:
        with check_zip(stream, where) as archive:
            return {"entries": [_entry(entry) for entry in archive.infolist()]}
    raise MalformedFile("the file is no model of a known kind", where=where)


def _onnx(stream: BinaryIO, where: str) -> dict[str, Any]:
    from any2onnx.graph.provenance import ORIGIN_KEY, ORIGINS_KEY
    from any2onnx.io.proto_walk import tensor_nbytes, walk_graphs, walk_tensors

    model = parse_onnx(stream, where)
    verify_onnx(model, where)
    operators: Counter[str] = Counter()
    provenance = 0
    for graph, _ in walk_graphs(model):
        for node in graph.node:
            operators[f"{node.domain}.{node.op_type}" if node.domain else node.op_type] += 1
            provenance += any(entry.key.partition(".")[0] == ORIGIN_KEY for entry in node.metadata_props)
    tensors = list(walk_tensors(model))
    external = sorted({entry.value for tensor in tensors for entry in tensor.external_data if entry.key == "location"})
    initialized = {tensor.name for tensor in model.graph.initializer}
    return {
        "graph": model.graph.name,
        "producer": f"{model.producer_name} {model.producer_version}".strip(),
        "domain": model.domain,
        "model version": model.model_version,
        "doc string": model.doc_string,
        "IR version": model.ir_version,
        "opsets": {entry.domain or "ai.onnx": entry.version for entry in model.opset_import},
        "inputs": [_value(value) for value in model.graph.input if value.name not in initialized],
        "outputs": [_value(value) for value in model.graph.output],
        "operators": dict(sorted(operators.items(), key=lambda item: (-item[1], item[0]))),
        "nodes": sum(operators.values()),
        "nodes that say where they come from": provenance,
        "initializers": len(model.graph.initializer),
        "tensor bytes": sum(tensor_nbytes(tensor) for tensor in tensors),
        "data files": external,
        "metadata": {entry.key: entry.value for entry in model.metadata_props if entry.key != ORIGINS_KEY},
    }


def _value(value: Any) -> dict[str, str]:
    import onnx

    kind = value.type.WhichOneof("value")
    if kind != "tensor_type":
        return {"name": value.name, "type": kind or "unknown", "shape": ""}
    tensor = value.type.tensor_type
    dtype = onnx.TensorProto.DataType.Name(tensor.elem_type) if tensor.elem_type else "unknown"
    if not tensor.HasField("shape"):
        return {"name": value.name, "type": dtype, "shape": "any"}
    axes = [axis.dim_param or (str(axis.dim_value) if axis.HasField("dim_value") else "?") for axis in tensor.shape.dim]
    return {"name": value.name, "type": dtype, "shape": f"[{', '.join(axes)}]"}


def _skops(stream: BinaryIO, where: str) -> dict[str, Any]:
    with check_zip(stream, where) as archive:
        schema = check_json(read_member(archive, "schema.json", where, DEFAULT_LIMITS.json_bytes), "schema.json", where)
    types: Counter[str] = Counter()
    pending = [schema]
    while pending:
        item = pending.pop()
        if isinstance(item, dict):
            if isinstance(item.get("__class__"), str) and isinstance(item.get("__module__"), str):
                types[f"{item['__module__']}.{item['__class__']}"] += 1
            pending.extend(item.values())
        elif isinstance(item, list):
            pending.extend(item)
    version = schema.get("_skops_version", "") if isinstance(schema, dict) else ""
    found: dict[str, Any] = {"skops": str(version), "types": dict(sorted(types.items()))}
    try:
        import skops.io
    except ImportError:
        return found
    stream.seek(0)
    try:
        # The audit reads the schema and compares names; it constructs nothing.
        unknown = sorted(skops.io.get_untrusted_types(data=stream.read()))
    except Exception as error:
        raise MalformedFile(f"the skops schema is damaged: {type(error).__name__}", where=where) from error
    return found | {"needs trust in (--trust-type)": [name for name in unknown if name not in AUDITED]}


def _keras(stream: BinaryIO, where: str) -> dict[str, Any]:
    with check_zip(stream, where) as archive:
        limit = DEFAULT_LIMITS.json_bytes
        config = check_json(read_member(archive, "config.json", where, limit), "config.json", where)
        about = check_json(read_member(archive, "metadata.json", where, limit), "metadata.json", where)
        entries = archive.infolist()
        for entry in entries:
            if entry.filename.endswith(".h5"):
                check_hdf5(
                    open_member(stream, archive, entry.filename, where, DEFAULT_LIMITS.zip_total),
                    entry.file_size,
                    f"{where}, {entry.filename}",
                )
    classes: Counter[str] = Counter()
    pending = [config]
    while pending:
        item = pending.pop()
        if isinstance(item, dict):
            if isinstance(item.get("class_name"), str) and str(item.get("module")).startswith("keras.layers"):
                classes[item["class_name"]] += 1
            pending.extend(item.values())
        elif isinstance(item, list):
            pending.extend(item)
    return {
        "Keras": str(about.get("keras_version", "")) if isinstance(about, dict) else "",
        "layers": dict(sorted(classes.items())),
        "entries": [_entry(entry) for entry in entries],
        "needs trust (custom objects or code)": code_in_config(config),
    }


def _hdf5(stream: BinaryIO, where: str) -> dict[str, Any]:
    import os

    check_hdf5(stream, stream.seek(0, os.SEEK_END), where)
    return {"needs trust": "unless it holds weights only (.weights.h5) and comes with --factory"}


def _safetensors(stream: BinaryIO) -> dict[str, Any]:
    header = header_of_safetensors(stream)
    about = header.pop("__metadata__", {})
    shapes = [entry for entry in header.values() if isinstance(entry, dict)]
    sizes = [math.prod(s) for entry in shapes if isinstance(s := entry.get("shape"), list) and _are_sizes(s)]
    return {
        "tensors": len(header),
        "parameters": sum(sizes),
        "dtypes": dict(sorted(Counter(str(entry.get("dtype")) for entry in shapes).items())),
        "metadata": about if isinstance(about, dict) else {},
        "needs": "--factory module:function",
    }


def _are_sizes(shape: list[Any]) -> bool:
    return all(isinstance(size, int) and size >= 0 for size in shape)


def _torch(kind: Kind, stream: BinaryIO, where: str) -> dict[str, Any]:
    names: dict[str, None] = {}
    complete = True
    with check_zip(stream, where) as archive:
        entries = archive.infolist()
        for entry in entries:
            if entry.filename.endswith(".pkl"):
                with archive.open(entry) as member:
                    listing = list_pickle(member)
                names.update(dict.fromkeys(listing.names))
                complete = complete and listing.complete
    needs = "--factory if it is a state dict, else --trust" if kind is Kind.TORCH else "--trust: the file holds code"
    return {"entries": len(entries), "imports": list(names), "listing complete": complete, "needs": needs}


def _pickle(kind: Kind, stream: BinaryIO) -> dict[str, Any]:
    source = open_compressed(stream) if kind is Kind.COMPRESSED else stream
    if source is None:
        return {"imports": [], "listing complete": False, "needs": "--trust: loading a pickle runs the code in it"}
    listing = list_pickle(source)
    return {
        "imports": list(listing.names),
        "listing complete": listing.complete,
        "needs": "--trust: loading a pickle runs the code in it",
    }


def _entry(entry: zipfile.ZipInfo) -> dict[str, Any]:
    return {"name": entry.filename, "bytes": entry.file_size}
