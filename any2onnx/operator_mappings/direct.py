"""Plain one-to-one operators: a row, no code."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

from any2onnx.graph.builder import GraphBuilder
from any2onnx.operator_mappings.mapping import Call, OperatorMapping


def direct(
    framework: str,
    key: str,
    op_type: str,
    *,
    attributes: Mapping[str, str] | None = None,
    fixed: Mapping[str, Any] | None = None,
    **row: Any,
) -> OperatorMapping:
    """Return the row of a source operator that is one ONNX operator on the same inputs.

    Args:
        framework: Of the row.
        key: Of the row.
        op_type: Operator of ai.onnx.
        attributes: ONNX attribute → name among the call's params, where the call has it.
        fixed: ONNX attributes with a fixed value.
        row: Further fields of the row.
    """
    converter = functools.partial(
        convert_direct, op_type=op_type, attributes=dict(attributes or {}), fixed=dict(fixed or {})
    )
    return OperatorMapping(framework=framework, key=key, converter=converter, note=row.pop("note", op_type), **row)


def convert_direct(
    g: GraphBuilder, call: Call, *, op_type: str, attributes: Mapping[str, str], fixed: Mapping[str, Any]
) -> Any:
    """Convert a call by one node."""
    given = {name: call.params[param] for name, param in attributes.items() if param in call.params}
    # Through the builder's method, so that differences between opsets and missing kernels are seen to.
    return getattr(g, op_type)(*call.inputs, **given, **fixed)
