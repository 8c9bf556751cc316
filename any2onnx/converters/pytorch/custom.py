"""custom_translation_table: users' own converters for operators, as torch.onnx takes them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from any2onnx.converters.pytorch.keys import target_key
from any2onnx.operator_mappings.mapping import OperatorMapping


def custom_rows(table: Mapping[Any, Callable[..., Any]]) -> list[OperatorMapping]:
    """Return a row for every overload that a table names."""
    return [
        OperatorMapping(
            framework="pytorch",
            key=overload if isinstance(overload, str) else target_key(overload),
            converter=function,
            note="custom_translation_table",
        )
        for target, function in table.items()
        for overload in _overloads(target)
    ]


def _overloads(target: Any) -> list[Any]:
    if hasattr(target, "overloads") and not hasattr(target, "_schema"):
        return [getattr(target, name) for name in target.overloads()]
    return [target]
