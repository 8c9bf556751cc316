"""Mapping table for pytorch."""

from __future__ import annotations

from any2onnx.operator_mappings.mapping import OperatorMapping

ROWS: tuple[OperatorMapping, ...] = ()
