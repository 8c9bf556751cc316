"""Mapping table for PyTorch: one row per ATen overload that has a converter of its own.

An overload without a row is decomposed by torch's own decomposition, if it has one, into overloads that have rows.
"""

from __future__ import annotations

from any2onnx.operator_mappings import (
    pytorch_complex,
    pytorch_functions,
    pytorch_layers,
    pytorch_pointwise,
    pytorch_tensors,
)
from any2onnx.operator_mappings.mapping import OperatorMapping

ROWS: tuple[OperatorMapping, ...] = (
    *pytorch_pointwise.ROWS,
    *pytorch_layers.ROWS,
    *pytorch_tensors.ROWS,
    *pytorch_functions.ROWS,
    *pytorch_complex.ROWS,
)
