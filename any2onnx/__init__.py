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
    from any2onnx.converters.skl2onnx_adapter import (
        get_model_alias,
        update_registered_converter,
        update_registered_parser,
    )
    from any2onnx.data_types import (
        BooleanTensorType,
        DoubleTensorType,
        Float16TensorType,
        FloatTensorType,
        Int32TensorType,
        Int64TensorType,
        StringTensorType,
    )
    from any2onnx.helpers.guessing import guess_data_type, guess_initial_types
    from any2onnx.helpers.listing import get_latest_tested_opset_version, supported_converters
    from any2onnx.helpers.onnx_mixin import wrap_as_onnx_mixin

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
    "update_registered_parser": "any2onnx.converters.skl2onnx_adapter",
    "get_model_alias": "any2onnx.converters.skl2onnx_adapter",
    "wrap_as_onnx_mixin": "any2onnx.helpers.onnx_mixin",
    "supported_converters": "any2onnx.helpers.listing",
    "get_latest_tested_opset_version": "any2onnx.helpers.listing",
    "guess_data_type": "any2onnx.helpers.guessing",
    "guess_initial_types": "any2onnx.helpers.guessing",
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
    "get_latest_tested_opset_version",
    "get_model_alias",
    "guess_data_type",
    "guess_initial_types",
    "save_model",
    "supported_converters",
    "to_onnx",
    "update_registered_converter",
    "update_registered_parser",
    "wrap_as_onnx_mixin",
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
