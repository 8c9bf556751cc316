"""Set the descriptive fields of a model: producer, version, domain, texts, names, metadata."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from any2onnx.errors import InvalidType, NotAModel, UsageError

if TYPE_CHECKING:
    import onnx
    import onnx_ir

_INT64_MAX = 2**63 - 1


def set_metadata(
    model: onnx.ModelProto | onnx_ir.Model,
    *,
    producer_name: str | None = None,
    producer_version: str | None = None,
    model_version: int | None = None,
    domain: str | None = None,
    doc_string: str | None = None,
    graph_name: str | None = None,
    metadata_props: Mapping[str, str] | None = None,
) -> None:
    """Set fields of the model in place; an argument that is None leaves its field alone.

    Args:
        model: Protobuf or onnx_ir model.
        producer_name: The tool that made the file.
        producer_version: Its version.
        model_version: Version of the model itself, 0 to 2**63 - 1.
        domain: Reverse-DNS name space of the model, such as ``org.example``.
        doc_string: Text for people (Markdown is usual).
        graph_name: Name of the main graph; not empty (the format demands a name).
        metadata_props: Texts by key. They are merged with those that the model has, a new one winning; the result is
            sorted by key, so that the bytes do not depend on the order of the calls.

    Raises:
        NotAModel: ``model`` is neither of the two types.
        InvalidType: A value has another type than stated.
        UsageError: A value is out of range or empty where a text is needed.
    """
    import onnx
    import onnx_ir

    texts = {
        "producer_name": producer_name,
        "producer_version": producer_version,
        "domain": domain,
        "doc_string": doc_string,
        "graph_name": graph_name,
    }
    for name, value in texts.items():
        if value is not None and not isinstance(value, str):
            raise InvalidType(f"{name} must be a string, got {type(value).__name__}")
    if graph_name == "":
        raise UsageError("graph_name is empty", needs="a name: ONNX demands one")
    if model_version is not None:
        _check_version(model_version)
    properties = _checked_properties(metadata_props or {})
    if not isinstance(model, onnx.ModelProto | onnx_ir.Model):
        raise NotAModel(f"set_metadata takes an onnx.ModelProto or an onnx_ir.Model, got {type(model).__name__}")
    if graph_name is not None:
        model.graph.name = graph_name
    for name, value in texts.items():
        if value is not None and name != "graph_name":
            setattr(model, name, value)
    if model_version is not None:
        model.model_version = model_version
    if properties:
        _merge_properties(model, properties)


def _check_version(version: int) -> None:
    if not isinstance(version, int) or isinstance(version, bool):
        raise InvalidType(f"model_version must be an integer, got {type(version).__name__}")
    if not 0 <= version <= _INT64_MAX:
        raise UsageError(f"model_version {version} is out of range", needs="0 to 2**63 - 1")


def _merge_properties(model: onnx.ModelProto | onnx_ir.Model, properties: dict[str, str]) -> None:
    import onnx

    if isinstance(model, onnx.ModelProto):
        merged = {entry.key: entry.value for entry in model.metadata_props} | properties
        model.ClearField("metadata_props")
        for key in sorted(merged):
            model.metadata_props.add(key=key, value=merged[key])
        return
    merged = dict(model.metadata_props) | properties
    model.metadata_props.clear()
    model.metadata_props.update((key, merged[key]) for key in sorted(merged))


def _checked_properties(properties: Mapping[str, str]) -> dict[str, str]:
    for key, value in properties.items():
        if not isinstance(key, str) or not isinstance(value, str):
            raise InvalidType(
                f"metadata {key!r}: {value!r} is not a text",
                needs="strings as keys and values",
                remedy="encode other values yourself, for instance with json.dumps(value, sort_keys=True)",
            )
        if not key:
            raise UsageError("a metadata key is empty")
    return dict(properties)
