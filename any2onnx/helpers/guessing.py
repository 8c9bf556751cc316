"""Types from data, with skl2onnx's names and arguments."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from any2onnx.data_types import (
    TENSOR_TYPES,
    DictionaryType,
    Dim,
    DoubleTensorType,
    FloatTensorType,
    TensorType,
    as_tensor_type,
    tensor_type,
)
from any2onnx.errors import InvalidType


def guess_data_type(type_: Any, shape: Sequence[Dim] | None = None) -> Any:
    """Return the types of sample data, or the type behind a name.

    Args:
        type_: Array: ``[("input", type)]`` with the array's shape; frame or series: one (name, type) for each column
            of shape [None, 1]; the text of an ONNX type, ``tensor(float)``: the type itself.
        shape: For a text.

    Raises:
        InvalidType: There is no such type.
    """
    if isinstance(type_, str):
        return _by_text(type_, shape)
    if hasattr(type_, "shape") and hasattr(type_, "dtype") and not hasattr(type_, "name"):
        return [("input", tensor_type(type_.dtype, list(type_.shape)))]
    from any2onnx.converters.sklearn.inputs import types_from_sample

    return [(name, type(kind)([None, 1])) for name, kind in types_from_sample(type_)]


def guess_initial_types(X: Any, initial_types: Any = None) -> Any:
    """Return `initial_types` where they are given, else those of the sample rows `X`.

    Raises:
        UsageError: Neither is given.
    """
    if initial_types is not None:
        return initial_types
    from any2onnx.converters.sklearn.inputs import types_from_sample

    return types_from_sample(X)


def guess_numpy_type(data_type: Any) -> Any:
    """Return the numpy type of an ONNX type; text is `numpy.str_`.

    Raises:
        InvalidType: There is none.
    """
    import numpy as np

    if isinstance(data_type, type) and (issubclass(data_type, np.generic) or data_type in (str, bool)):
        return {str: np.str_, bool: np.bool_}.get(data_type, data_type)
    dtype = as_tensor_type(data_type).dtype
    return np.str_ if dtype == "string" else np.dtype(dtype).type


def guess_proto_type(data_type: Any) -> int:
    """Return the number of a type's elements in `onnx.TensorProto`.

    Raises:
        InvalidType: There is none.
    """
    import onnx

    names = {"string": "STRING", "float32": "FLOAT", "float64": "DOUBLE"}
    dtype = as_tensor_type(data_type).dtype
    return int(onnx.TensorProto.DataType.Value(names.get(dtype, dtype.upper())))


def guess_tensor_type(data_type: Any) -> TensorType:
    """Return the type of floating results for an input of this type: float64 for float64, else float32.

    Raises:
        InvalidType: It is no tensor type.
    """
    if isinstance(data_type, DictionaryType):
        return guess_tensor_type(data_type.value_type)
    return DoubleTensorType() if as_tensor_type(data_type).dtype == "float64" else FloatTensorType()


def _by_text(text: str, shape: Sequence[Dim] | None) -> TensorType:
    name = text.removeprefix("tensor(").removesuffix(")")
    name = {"float": "float32", "double": "float64"}.get(name, name)
    if name not in TENSOR_TYPES:
        raise InvalidType(f"{text!r} is no type of ONNX", needs="such as tensor(float)")
    return TENSOR_TYPES[name](shape)
