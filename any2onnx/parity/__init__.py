"""Numeric comparison of a model with its ONNX form, with verdicts that say whose fault a difference is.

Importing this package imports neither onnxruntime nor a framework; they load with the first check.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from any2onnx.parity import strategies
    from any2onnx.parity.check import check_parity
    from any2onnx.parity.distributed import check_parity_dask
    from any2onnx.parity.report import OutputResult, OutputSummary, ParityInterrupted, ParityReport
    from any2onnx.parity.stream import check_parity_stream
    from any2onnx.parity.ulp import ulp_distance
    from any2onnx.parity.verdict import Verdict

__all__ = [
    "OutputResult",
    "OutputSummary",
    "ParityInterrupted",
    "ParityReport",
    "Verdict",
    "check_parity",
    "check_parity_dask",
    "check_parity_stream",
    "strategies",
    "ulp_distance",
]

_HOMES = {
    "OutputResult": "report",
    "OutputSummary": "report",
    "ParityInterrupted": "report",
    "ParityReport": "report",
    "Verdict": "verdict",
    "check_parity": "check",
    "check_parity_dask": "distributed",
    "check_parity_stream": "stream",
    "strategies": "strategies",
    "ulp_distance": "ulp",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(f"{__name__}.{_HOMES[name]}")
    return module if name == _HOMES[name] else getattr(module, name)


def __dir__() -> list[str]:
    return sorted(__all__)
