"""ONNX's operator definitions, read once: each access to a property of `onnx.defs.OpSchema` makes new objects."""

from __future__ import annotations

import functools
from collections.abc import Mapping

import onnx
import onnx_ir as ir


@functools.cache
def definition(op_type: str, version: int, domain: str) -> onnx.defs.OpSchema:
    """Return the definition that holds at a version of a domain.

    Raises:
        onnx.defs.SchemaError: There is none.
    """
    return onnx.defs.get_schema(op_type, version, domain)


@functools.cache
def formal_inputs(schema: onnx.defs.OpSchema) -> tuple[onnx.defs.OpSchema.FormalParameter, ...]:
    """Return the formal inputs of a definition that came from `definition`."""
    return tuple(schema.inputs)


@functools.cache
def formal_attributes(schema: onnx.defs.OpSchema) -> Mapping[str, tuple[ir.AttributeType, bool]]:
    """Return type of each attribute and whether it is required, of a definition that came from `definition`."""
    return {
        # An enum; onnx's stubs do not say so.
        name: (ir.AttributeType[formal.type.name], bool(formal.required))  # type: ignore[attr-defined]
        for name, formal in schema.attributes.items()
    }


def formal_input(schema: onnx.defs.OpSchema | None, k: int) -> onnx.defs.OpSchema.FormalParameter | None:
    """Return the k-th formal input; the last one repeats where it is variadic."""
    if schema is None:
        return None
    inputs = formal_inputs(schema)
    if k < len(inputs):
        return inputs[k]
    last = inputs[-1] if inputs else None
    variadic = onnx.defs.OpSchema.FormalParameterOption.Variadic
    return last if last is not None and last.option == variadic else None
