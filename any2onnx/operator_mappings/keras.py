"""Mapping table for Keras: layers and activation functions, then the functions of the Keras backend."""

from __future__ import annotations

from any2onnx.operator_mappings.keras_backend import ROWS as BACKEND_ROWS
from any2onnx.operator_mappings.keras_layers import LAYER_ROWS
from any2onnx.operator_mappings.mapping import OperatorMapping

ROWS: tuple[OperatorMapping, ...] = (*LAYER_ROWS, *BACKEND_ROWS)
