"""any2onnx: scikit-learn, Keras 3 and PyTorch models to ONNX, proved numerically the same.

Importing this imports no framework, and not onnx either: names are loaded when they are first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from any2onnx.api import (
        check_parity,
        convert,
        convert_keras,
        convert_pytorch,
        convert_sklearn,
        save_model,
        to_onnx,
    )
    from any2onnx.converters.skl2onnx_adapter import update_registered_converter
    from any2onnx.data_types import (
        BooleanTensorType,
        DoubleTensorType,
        Float16TensorType,
        FloatTensorType,
        Int32TensorType,
        Int64TensorType,
        StringTensorType,
    )

_API: Final = (
    "check_parity",
    "convert",
    "convert_keras",
    "convert_pytorch",
    "convert_sklearn",
    "save_model",
    "to_onnx",
)
_HOMES: Final = {
    **dict.fromkeys(_API, "any2onnx.api"),
    "update_registered_converter": "any2onnx.converters.skl2onnx_adapter",
}

__all__ = [
    "BooleanTensorType",
    "DoubleTensorType",
    "Float16TensorType",
    "FloatTensorType",
    "Int32TensorType",
    "Int64TensorType",
    "StringTensorType",
    "__version__",
    "check_parity",
    "convert",
    "convert_keras",
    "convert_pytorch",
    "convert_sklearn",
    "save_model",
    "to_onnx",
    "update_registered_converter",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("any2onnx")
    home = _HOMES.get(name)
    if home is None and name.endswith("Type"):
        home = "any2onnx.data_types"
    if home is None:
        raise AttributeError(f"module 'any2onnx' has no attribute {name!r}")
    return getattr(importlib.import_module(home), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
