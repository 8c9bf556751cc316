"""Types of inputs and outputs, under the names that skl2onnx's users know.

A type is a class with a shape, `FloatTensorType([None, 4])`: None is a dimension that may vary, the first one is the
batch. Objects of other packages with the same class names and a `shape` are taken as well.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any, ClassVar, Final

from any2onnx.errors import InvalidType, did_you_mean

Dim = int | str | None
_THEIRS: Final = "skl2onnx.common.data_types"


class _ByName(type):
    """Classes of which the objects of skl2onnx's class of the same name are instances."""

    def __instancecheck__(cls, given: object) -> bool:
        if super().__instancecheck__(given):
            return True
        return any(base.__name__ == cls.__name__ and base.__module__ == _THEIRS for base in type(given).__mro__)


class DataType(metaclass=_ByName):
    """What all types have in common.

    Where skl2onnx is loaded, types of its kind and of this one pass each other's `isinstance`, so that its operator
    classes (`OnnxAdd` and so on) take these.

    Args:
        shape: One entry per dimension; None for [], which says nothing.
        doc_string: Text for the model's input.
    """

    @property
    def __class__(self) -> Any:
        """skl2onnx's class of the same name where that is loaded: `isinstance` asks for it besides the type."""
        own = type(self)
        return getattr(sys.modules.get(_THEIRS), own.__name__, own)

    @__class__.setter
    def __class__(self, other: Any) -> None:
        raise TypeError("the class of a type cannot be changed")

    def __reduce__(self) -> tuple[Any, ...]:
        return _again, (type(self), vars(self))

    def __init__(self, shape: Sequence[Dim] | None = None, doc_string: str = "") -> None:
        self.shape: list[Dim] = [d if d != "" else None for d in shape or ()]
        self.doc_string = doc_string


def _again(cls: type, state: dict[str, Any]) -> Any:
    made: Any = object.__new__(cls)
    vars(made).update(state)
    return made


class TensorType(DataType):
    """Element type and shape of a tensor.

    Args:
        shape: One entry per dimension: a number, a name, or None for one that may vary. None as a whole, or [],
            leaves the shape open, which scikit-learn models read as [None, number of features].
        doc_string: Text for the model's input.
    """

    dtype: ClassVar[str] = ""

    def __repr__(self) -> str:
        return f"{type(self).__name__}(shape={self.shape})"

    def to_onnx_type(self) -> Any:
        """Return the type as ONNX's message, as skl2onnx's types do."""
        import numpy as np
        import onnx

        text = self.dtype == "string"
        element = onnx.TensorProto.STRING if text else onnx.helper.np_dtype_to_tensor_dtype(np.dtype(self.dtype))
        return onnx.helper.make_tensor_type_proto(element, self.shape or None)

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and isinstance(other, TensorType) and self.shape == other.shape

    def __hash__(self) -> int:
        return hash((type(self), tuple(self.shape)))


class FloatTensorType(TensorType):
    """float32."""

    dtype = "float32"


class DoubleTensorType(TensorType):
    """float64."""

    dtype = "float64"


class Float16TensorType(TensorType):
    """float16."""

    dtype = "float16"


class Int8TensorType(TensorType):
    """int8."""

    dtype = "int8"


class Int16TensorType(TensorType):
    """int16."""

    dtype = "int16"


class Int32TensorType(TensorType):
    """int32."""

    dtype = "int32"


class Int64TensorType(TensorType):
    """int64."""

    dtype = "int64"


class UInt8TensorType(TensorType):
    """uint8."""

    dtype = "uint8"


class UInt16TensorType(TensorType):
    """uint16."""

    dtype = "uint16"


class UInt32TensorType(TensorType):
    """uint32."""

    dtype = "uint32"


class UInt64TensorType(TensorType):
    """uint64."""

    dtype = "uint64"


class BooleanTensorType(TensorType):
    """bool."""

    dtype = "bool"


class StringTensorType(TensorType):
    """Text."""

    dtype = "string"


class Complex64TensorType(TensorType):
    """complex64."""

    dtype = "complex64"


class Complex128TensorType(TensorType):
    """complex128."""

    dtype = "complex128"


class _Scalar(TensorType):
    """One value per row: shape [1, 1], as skl2onnx's scalar types have."""

    def __init__(self, doc_string: str = "") -> None:
        super().__init__([1, 1], doc_string)


class FloatType(_Scalar, FloatTensorType):
    """One float32."""


class DoubleType(_Scalar, DoubleTensorType):
    """One float64."""


class Int64Type(_Scalar, Int64TensorType):
    """One int64."""


class Int8Type(_Scalar, Int8TensorType):
    """One int8."""


class UInt8Type(_Scalar, UInt8TensorType):
    """One uint8."""


class StringType(_Scalar, StringTensorType):
    """One text."""


class SequenceType(DataType):
    """A sequence, which outputs of models can be.

    Args:
        element_type: Of its elements.
        shape: Of the sequence.
        doc_string: Text.
    """

    def __init__(self, element_type: DataType, shape: Sequence[Dim] | None = None, doc_string: str = "") -> None:
        super().__init__(shape, doc_string)
        self.element_type = element_type

    def __repr__(self) -> str:
        return f"SequenceType(element_type={self.element_type!r})"


class DictionaryType(DataType):
    """A map, such as a ZipMap gives for each row.

    Args:
        key_type: Of its keys.
        value_type: Of its values.
        shape: Of the map.
        doc_string: Text.
    """

    def __init__(
        self, key_type: DataType, value_type: DataType, shape: Sequence[Dim] | None = None, doc_string: str = ""
    ) -> None:
        super().__init__(shape, doc_string)
        self.key_type = key_type
        self.value_type = value_type

    def __repr__(self) -> str:
        return f"DictionaryType(key_type={self.key_type!r}, value_type={self.value_type!r})"


TENSOR_TYPES: dict[str, type[TensorType]] = {cls.dtype: cls for cls in TensorType.__subclasses__() if cls.dtype}
_BY_CLASS_NAME = {cls.__name__: cls for cls in TENSOR_TYPES.values()} | {
    # Scalars and per-column forms that skl2onnx also has.
    "FloatType": FloatTensorType,
    "DoubleType": DoubleTensorType,
    "Int64Type": Int64TensorType,
    "Int32Type": Int32TensorType,
    "StringType": StringTensorType,
    "BooleanType": BooleanTensorType,
}


def as_tensor_type(given: Any, name: str = "") -> TensorType:
    """Return the type that an object stands for: ours, another package's of the same name, or a numpy dtype.

    Raises:
        InvalidType: The object stands for no type.
    """
    if issubclass(type(given), TensorType):
        return given  # type: ignore[no-any-return]
    if isinstance(given, type) and issubclass(given, TensorType):
        return given()
    cls = _BY_CLASS_NAME.get(type(given).__name__)
    if cls is not None:
        return cls(getattr(given, "shape", None), getattr(given, "doc_string", "") or "")
    hint = did_you_mean(type(given).__name__, _BY_CLASS_NAME)
    raise InvalidType(
        f"the type of input {name!r} is {given!r}{hint}",
        needs="a tensor type with a shape",
        remedy=f"initial_types=[({name or 'x'!r}, FloatTensorType([None, 4]))]",
    )


def tensor_type(dtype: Any, shape: Sequence[Dim] | None) -> TensorType:
    """Return the type for a numpy dtype.

    Raises:
        InvalidType: ONNX has no such element type.
    """
    import numpy as np

    if str(dtype) == "bfloat16":
        raise InvalidType("bfloat16 columns are not supported", remedy="convert them to float32")
    if isinstance(dtype, str) and dtype in TENSOR_TYPES:
        return TENSOR_TYPES[dtype](shape)
    try:
        kind = np.dtype(dtype)
    except TypeError:
        label = str(dtype)
    else:
        label = "string" if kind.kind in "OUST" else kind.name
    if label not in TENSOR_TYPES:
        raise InvalidType(f"{dtype!r} is no element type that ONNX has", needs=", ".join(sorted(TENSOR_TYPES)))
    return TENSOR_TYPES[label](shape)
