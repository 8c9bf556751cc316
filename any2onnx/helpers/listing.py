"""What can be converted, with skl2onnx's names and arguments."""

from __future__ import annotations

from typing import Final

_PREFIX: Final = "Sklearn"


def supported_converters(from_sklearn: bool = False) -> list[str]:
    """Return the names of all estimators that have a converter, those of users included.

    Args:
        from_sklearn: Without the prefix ``Sklearn`` of skl2onnx's aliases.
    """
    from any2onnx.converters.skl2onnx_adapter import Adapter
    from any2onnx.operator_mappings.user_layer import current_registry

    names: set[str] = set()
    for row in current_registry().rows("sklearn"):
        if row.refused:
            continue
        own = row.key.rpartition(".")[2]
        alias = row.converter.alias if isinstance(row.converter, Adapter) else f"{_PREFIX}{own}"
        if not own.startswith("_"):
            names.add(alias)
    if from_sklearn:
        return sorted(name.removeprefix(_PREFIX) for name in names if name.startswith(_PREFIX))
    return sorted(names)


def get_latest_tested_opset_version() -> int:
    """Return the newest version of ai.onnx that models can be converted to and run with."""
    from any2onnx.graph.opsets import ceiling

    return ceiling()
