"""Helpers under the names and paths that skl2onnx's users know: ``from any2onnx.helpers import ...``."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from any2onnx.helpers.investigate import collect_intermediate_steps, enumerate_pipeline_models
    from any2onnx.helpers.onnx_helper import load_onnx_model, save_onnx_model, select_model_inputs_outputs

_HOMES: Final = {
    "collect_intermediate_steps": "investigate",
    "enumerate_pipeline_models": "investigate",
    "load_onnx_model": "onnx_helper",
    "save_onnx_model": "onnx_helper",
    "select_model_inputs_outputs": "onnx_helper",
}

__all__ = [
    "collect_intermediate_steps",
    "enumerate_pipeline_models",
    "load_onnx_model",
    "save_onnx_model",
    "select_model_inputs_outputs",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'any2onnx.helpers' has no attribute {name!r}")
    return getattr(importlib.import_module(f"any2onnx.helpers.{_HOMES[name]}"), name)
