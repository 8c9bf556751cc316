"""Python values to ONNX attributes, by the type that the operator's definition states."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir

from any2onnx.errors import GraphError, did_you_mean


def make_attributes(op_type: str, schema: onnx.defs.OpSchema | None, given: Mapping[str, Any]) -> list[ir.Attr]:
    """Return the attributes of a node, sorted by name; None leaves an attribute out.

    Raises:
        GraphError: The operator has no attribute of that name at this opset, or lacks a required one.
    """
    attributes = {name: value for name, value in given.items() if value is not None}
    if schema is None:
        return [ir.convenience.convert_attribute(name, attributes[name]) for name in sorted(attributes)]
    for name in attributes:
        if name not in schema.attributes:
            hint = did_you_mean(name, schema.attributes)
            raise GraphError(f"{op_type} has no attribute {name!r} at version {schema.since_version}{hint}")
    missing = [name for name, formal in schema.attributes.items() if formal.required and name not in attributes]
    if missing:
        raise GraphError(f"{op_type} needs the attribute {missing[0]!r}")
    return [_convert(name, attributes[name], schema.attributes[name].type) for name in sorted(attributes)]


def _convert(name: str, value: Any, kind: onnx.defs.OpSchema.AttrType) -> ir.Attr:
    if isinstance(value, ir.Attr):
        return value
    attribute_type = ir.AttributeType[kind.name]  # type: ignore[attr-defined]  # an enum; onnx's stubs do not say so
    if attribute_type == ir.AttributeType.INT:
        return ir.AttrInt64(name, int(value))
    if attribute_type == ir.AttributeType.FLOAT:
        return ir.AttrFloat32(name, float(value))
    if attribute_type == ir.AttributeType.STRING:
        return ir.AttrString(name, value)
    if attribute_type == ir.AttributeType.INTS:
        return ir.Attr(name, ir.AttributeType.INTS, _numbers(value, np.int64))
    if attribute_type == ir.AttributeType.FLOATS:
        return ir.Attr(name, ir.AttributeType.FLOATS, _numbers(value, np.float32))
    if attribute_type == ir.AttributeType.STRINGS:
        return ir.AttrStrings(name, list(value))
    if attribute_type == ir.AttributeType.TENSOR:
        return ir.AttrTensor(name, value if isinstance(value, ir.TensorProtocol) else ir.tensor(np.asarray(value)))
    if attribute_type == ir.AttributeType.GRAPH:
        return ir.AttrGraph(name, value)
    return ir.Attr(name, attribute_type, value)


def _numbers(value: Any, dtype: type[np.generic]) -> Any:
    # One conversion in C for the whole array: the IR wants Python numbers.
    return np.asarray(value, dtype=dtype).ravel().tolist()
