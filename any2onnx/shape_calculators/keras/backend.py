"""What backend functions promise: the types that Keras itself computed for the examples of a recording."""

from __future__ import annotations

from typing import Any

from any2onnx.graph.types import TensorSpec
from any2onnx.operator_mappings.mapping import Call


def recorded(call: Call) -> Any:
    """Return the types of the results of a recorded call, flat; None for calls that were not recorded."""
    results = getattr(call.source, "results", None)
    if results is None or isinstance(results, TensorSpec):
        return results
    return [spec for spec in _leaves(results) if spec is not None]


def _leaves(structure: Any) -> list[Any]:
    if isinstance(structure, dict):
        return [leaf for value in structure.values() for leaf in _leaves(value)]
    if isinstance(structure, list | tuple):
        return [leaf for value in structure for leaf in _leaves(value)]
    return [structure]
