"""Models whose input is a map, skl2onnx's `DictionaryType`: one dict for DictVectorizer, one row at a time.

The typed graph holds tensors only: in it the input is the row that the operator DictVectorizer makes of the map, and
the operator is put before it in the finished message.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

import onnx
from onnx import TensorProto, helper

from any2onnx.converters.sklearn.proto_names import free_name, rename_value
from any2onnx.data_types import as_tensor_type
from any2onnx.errors import InvalidType, UsageError
from any2onnx.graph.builder import GraphBuilder
from any2onnx.graph.types import Value, to_dtype

MAP_KEY: Final = "any2onnx.map"
FROM_MAP: Final = "any2onnx.from_map"
_ML: Final = "ai.onnx.ml"
_ELEMENTS: Final = {
    "string": TensorProto.STRING,
    "int64": TensorProto.INT64,
    "float32": TensorProto.FLOAT,
    "float64": TensorProto.DOUBLE,
}


def is_map(given: Any) -> bool:
    """Tell whether a type is a map, ours or skl2onnx's."""
    return hasattr(given, "key_type") and hasattr(given, "value_type")


def map_input(g: GraphBuilder, name: str, given: Any, model: Any) -> tuple[Value, str]:
    """Add the input of a model that starts with DictVectorizer.

    Returns:
        The row that the map becomes, float or int64 [1, features], and the note for `prepend_map`.

    Raises:
        InvalidType: Keys or values of a type that the operator does not take.
        UsageError: The model takes no dicts.
    """
    first = _first_step(model)
    if not hasattr(first, "vocabulary_") or not hasattr(first, "feature_names_"):
        raise UsageError(f"input {name!r} is a map, which {type(first).__name__} does not take", needs="DictVectorizer")
    key, value = (as_tensor_type(part, name).dtype for part in (given.key_type, given.value_type))
    if value not in ("float32", "float64", "int64") or key not in ("string", "int64"):
        raise InvalidType(
            f"input {name!r} maps {key} to {value}",
            needs="text or int64 keys, and values that are numbers: the operator DictVectorizer knows no features such "
            "as 'name=text', which scikit-learn makes of text values",
            remedy="one input per key of the dicts",
        )
    features = list(first.feature_names_)
    if any(isinstance(feature, str) != (key == "string") for feature in features):
        raise InvalidType(
            f"input {name!r} has {key} keys, the features of DictVectorizer are such as {features[0]!r}",
            needs="keys of the type at fit",
        )
    row = g.input(name, to_dtype(value), [1, len(features)])
    row.meta[FROM_MAP] = True
    names = [str(feature) if key == "string" else int(feature) for feature in features]
    return row, json.dumps({"name": name, "key": key, "value": value, "features": names})


def _first_step(model: Any) -> Any:
    while getattr(model, "steps", None):
        model = model.steps[0][1]
    return model


def prepend_map(proto: onnx.ModelProto, note: Mapping[str, Any]) -> onnx.ModelProto:
    """Put the operator DictVectorizer before the input, which becomes a map, in place."""
    graph = proto.graph
    name, key, value = note["name"], note["key"], note["value"]
    taken = {other for node in graph.node for other in (*node.input, *node.output, node.name)}
    row = free_name(f"{name}_row", taken)
    rename_value(graph, name, row)
    vocabulary = {"string_vocabulary" if key == "string" else "int64_vocabulary": note["features"]}
    graph.node.insert(
        0,
        helper.make_node(
            "DictVectorizer", [name], [row], name=free_name("DictVectorizer", taken), domain=_ML, **vocabulary
        ),
    )
    kind = helper.make_map_type_proto(_ELEMENTS[key], helper.make_tensor_type_proto(_ELEMENTS[value], []))
    for item in graph.input:
        if item.name == name:
            item.CopyFrom(helper.make_value_info(name, kind))
    if not any(entry.domain == _ML for entry in proto.opset_import):
        proto.opset_import.append(helper.make_opsetid(_ML, 1))
    return proto
