"""Converters that users register for the whole process, on top of the frozen default registry.

This is the one place with state that outlives a call: `update_registered_converter` has to have it. A layer is
replaced as a whole under a lock, so a running conversion keeps the registry that it started with.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable

from any2onnx.operator_mappings.mapping import OperatorMapping
from any2onnx.operator_mappings.registry import Registry, default_registry


class _UserLayer:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rows: dict[tuple[str, str], OperatorMapping] = {}

    def update(self, rows: Iterable[OperatorMapping]) -> None:
        with self._lock:
            self._rows = {**self._rows, **{(row.framework, row.key): row for row in rows}}

    def clear(self) -> None:
        with self._lock:
            self._rows = {}

    def rows(self) -> list[OperatorMapping]:
        return list(self._rows.values())


_LAYER = _UserLayer()


def register(rows: Iterable[OperatorMapping]) -> None:
    """Add rows to the process-wide layer; a later row of the same key replaces an earlier one."""
    _LAYER.update(rows)


def clear() -> None:
    """Forget every row that was registered."""
    _LAYER.clear()


def current_registry() -> Registry:
    """Return the default registry with the process-wide layer on top."""
    rows = _LAYER.rows()
    return default_registry().extended(rows, name="process", override=True) if rows else default_registry()
