"""The Call of the PyTorch front-end, and what its converters share: types, numbers, promotion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from any2onnx.converters.pytorch.sizes import Sizes, expressions
from any2onnx.errors import UnsupportedParameter
from any2onnx.graph.builder import GraphBuilder
from any2onnx.graph.types import FLOATS, DataType, Value, dtype_of, rank_of
from any2onnx.operator_mappings.mapping import Call
from any2onnx.shape_calculators.pytorch.general import onnx_dtype

INTEGERS = frozenset(
    {
        DataType.INT8,
        DataType.INT16,
        DataType.INT32,
        DataType.INT64,
        DataType.UINT8,
        DataType.UINT16,
        DataType.UINT32,
        DataType.UINT64,
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TorchCall(Call):
    """One node of an FX graph.

    `inputs` are the tensor arguments in the schema's order (None where left out, a tuple for a list of tensors);
    `params` all arguments by the schema's names, tensors and symbolic numbers as values of the graph.

    Attributes:
        result: The trace's fake result: a tensor, a tuple of tensors, a symbolic number.
        metas: The trace's fake arguments, by the schema's names.
        sizes: Reads symbolic sizes.
    """

    result: Any = None
    metas: Mapping[str, Any] = field(default_factory=dict)
    sizes: Sizes = field(default_factory=Sizes)

    @property
    def first(self) -> Value:
        """The first tensor argument."""
        value: Value = self.inputs[0]
        return value

    @property
    def dtype(self) -> DataType:
        """Element type of the (first) result."""
        result = self.result[0] if isinstance(self.result, tuple | list) else self.result
        return onnx_dtype(result.dtype)

    @property
    def dims(self) -> list[Any]:
        """Sizes of the (first) result: numbers and sympy expressions."""
        result = self.result[0] if isinstance(self.result, tuple | list) else self.result
        return expressions(result.shape)

    def sizes_of_result(self, k: int) -> list[Any]:
        """Return the sizes of the k-th result: numbers and sympy expressions."""
        return expressions(self.result[k].shape)

    def dims_of(self, name: str) -> list[Any]:
        """Return the sizes of a tensor argument: numbers and sympy expressions."""
        return expressions(self.metas[name].shape)

    def shape(self, g: GraphBuilder) -> Value:
        """Return the shape of the (first) result as an int64 vector."""
        return self.sizes.vector(g, self.dims)


def scalar(g: GraphBuilder, number: Any, dtype: DataType) -> Value:
    """Return a Python number as a scalar constant of a type."""
    if isinstance(number, complex):
        raise UnsupportedParameter("complex numbers cannot be converted")
    if dtype == DataType.BOOL:
        return g.const(np.asarray(bool(number)))
    if dtype in INTEGERS and isinstance(number, float):
        number = int(number)
    return g.const(np.asarray(number).astype(dtype.numpy()))


def as_type(g: GraphBuilder, operand: Any, dtype: DataType) -> Value:
    """Return a value or a Python number in a type."""
    return g.Cast(operand, dtype) if isinstance(operand, Value) else scalar(g, operand, dtype)


def as_int_vector(g: GraphBuilder, numbers: Sequence[Any]) -> Value:
    """Return Python numbers and int64 scalars as one int64 vector."""
    return Sizes().vector(g, numbers)


def promoted(call: TorchCall, *names: str) -> DataType:
    """Return the type in which torch combines arguments: tensors, zero-dim tensors and Python numbers each weigh in.

    Args:
        call: The call.
        names: Names of the arguments.
    """
    import torch

    operands = [_plain(call.metas[name]) for name in names if call.metas.get(name) is not None]
    if len(operands) == 1:
        only = operands[0]
        return onnx_dtype(only.dtype) if hasattr(only, "dtype") else onnx_dtype(torch.result_type(only, only))
    # A combination of two keeps its kind (dimensioned, zero-dim, number), so pairs fold into the whole.
    result: Any = operands[0]
    dtype = None
    for operand in operands[1:]:
        dtype = torch.result_type(result, operand)
        dimensioned = any(hasattr(o, "dim") and o.dim() > 0 for o in (result, operand))
        result = torch.empty((1,) if dimensioned else (), dtype=dtype, device="meta")
    return onnx_dtype(dtype)


def _plain(meta: Any) -> Any:
    kind = type(meta).__name__
    if kind == "SymInt":
        return 1
    if kind == "SymFloat":
        return 1.0
    if kind == "SymBool":
        return True
    if hasattr(meta, "dim"):
        import torch

        return torch.empty((1,) * meta.dim(), dtype=meta.dtype, device="meta")
    return meta


def float_of(dtype: DataType) -> DataType:
    """Return the type in which a function of reals is computed on a type: itself, or float32 for integers."""
    return dtype if dtype in FLOATS else DataType.FLOAT


def is_float(value: Value) -> bool:
    """Tell whether a value holds floats."""
    return dtype_of(value) in FLOATS


def axis_of(dim: int, rank: int) -> int:
    """Return a dim as a number from 0 on; a scalar counts as one-dimensional."""
    return dim % max(rank, 1)


def axes_of(dims: int | Sequence[int] | None, rank: int) -> list[int]:
    """Return dims as sorted numbers from 0 on; None or none at all are all of them."""
    if dims is None or (not isinstance(dims, int) and len(dims) == 0):
        return list(range(rank))
    chosen = [dims] if isinstance(dims, int) else list(dims)
    return sorted({axis_of(int(d), rank) for d in chosen}) if rank else []


def at_least_1d(g: GraphBuilder, x: Value) -> Value:
    """Return a scalar as a vector of one element, anything else as it is."""
    return g.Unsqueeze(x, 0) if rank_of(x) == 0 else x


def filled(g: GraphBuilder, call: TorchCall, number: Any, dtype: DataType | None = None) -> Value:
    """Return a tensor of the call's result shape that holds one number (a Python number or a scalar value)."""
    dtype = dtype or call.dtype
    dims = call.dims
    value = as_type(g, number, dtype)
    return value if not dims else g.Expand(value, call.shape(g))


def refuse(call: Call, name: str, why: str) -> UnsupportedParameter:
    """Return the error for a parameter's value that cannot be honoured."""
    value = call.params.get(name)
    shown = f"{name}={value!r}" if not isinstance(value, Value) else name
    return UnsupportedParameter(f"{call.key} with {shown} cannot be converted: {why}", where=call.location or None)
