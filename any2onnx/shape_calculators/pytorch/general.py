"""What an FX node promises: element type and symbolic shape of its results, read from the trace's own fake tensors.

This is independent of the converters: torch's meta kernels computed it while the model was traced.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping
from typing import Any

from any2onnx.errors import InvalidType
from any2onnx.graph.types import DataType, Dim, TensorSpec
from any2onnx.operator_mappings.mapping import Call

_DTYPES = {
    "torch.float32": DataType.FLOAT,
    "torch.float64": DataType.DOUBLE,
    "torch.float16": DataType.FLOAT16,
    "torch.bfloat16": DataType.BFLOAT16,
    "torch.int8": DataType.INT8,
    "torch.int16": DataType.INT16,
    "torch.int32": DataType.INT32,
    "torch.int64": DataType.INT64,
    "torch.uint8": DataType.UINT8,
    "torch.uint16": DataType.UINT16,
    "torch.uint32": DataType.UINT32,
    "torch.uint64": DataType.UINT64,
    "torch.bool": DataType.BOOL,
    "torch.complex64": DataType.COMPLEX64,
    "torch.complex128": DataType.COMPLEX128,
    "torch.float8_e4m3fn": DataType.FLOAT8E4M3FN,
    "torch.float8_e4m3fnuz": DataType.FLOAT8E4M3FNUZ,
    "torch.float8_e5m2": DataType.FLOAT8E5M2,
    "torch.float8_e5m2fnuz": DataType.FLOAT8E5M2FNUZ,
}


def onnx_dtype(dtype: Any) -> DataType:
    """Return the element type for a torch dtype.

    Raises:
        InvalidType: ONNX has none.
    """
    found = _DTYPES.get(str(dtype))
    if found is None:
        raise InvalidType(f"{dtype} is no element type that ONNX has")
    return found


def nothing_promised(call: Call) -> None:
    """Return no promise: for operators whose shapes torch itself gets wrong while it traces."""


class Promises:
    """The general shape calculator of the PyTorch front-end.

    Args:
        names: Name of each of the trace's size symbols, such as ``{s77: "batch"}``.
    """

    def __init__(self, names: Mapping[Any, str] | None = None) -> None:
        self._names = dict(names or {})
        self._texts: dict[Any, Dim] = {}

    def dim(self, size: Any) -> Dim:
        """Return a size of a fake tensor as a number or a name: ``batch``, ``2*batch + 1``."""
        if isinstance(size, int):
            return size
        number = size.node.maybe_as_int()
        if number is not None:
            return int(number)
        return self.text(size.node.expr)

    def text(self, expression: Any) -> Dim:
        """Return the text of a size expression, with the model's names for its symbols."""
        found = self._texts.get(expression)
        if found is None:
            import sympy

            named = {s: sympy.Symbol(self._names[s], integer=True) for s in expression.free_symbols if s in self._names}
            found = str(expression.xreplace(named)).replace(" ", "")
            self._texts[expression] = found
        return found

    def spec(self, val: Any) -> TensorSpec | None:
        """Return the type of one result: a fake tensor or a symbolic number; None where there is no result.

        A complex result is a pair of real tensors, whose shapes the walker checks; of a list among the results nothing
        is promised.
        """
        if val is None or isinstance(val, list | tuple) or str(getattr(val, "dtype", "")).startswith("torch.complex"):
            return None
        if hasattr(val, "shape"):
            return TensorSpec(onnx_dtype(val.dtype), tuple(self.dim(d) for d in val.shape))
        kind = type(val).__name__
        if kind in {"SymBool", "bool"}:
            return TensorSpec(DataType.BOOL, ())
        return TensorSpec(DataType.DOUBLE if kind in {"SymFloat", "float"} else DataType.INT64, ())

    def __call__(self, call: Call) -> TensorSpec | list[TensorSpec | None] | None:
        """Return the promise of a call whose source is an FX node."""
        val = call.source.meta.get("val")
        if isinstance(val, tuple | list):
            parts = [user for user in call.source.users if user.target is operator.getitem]
            # A result that nobody reads need not be computed.
            read = {part.args[1] for part in parts if part.users}
            everything = len(parts) < len(call.source.users)
            return [self.spec(v) if everything or k in read else None for k, v in enumerate(val)]
        return self.spec(val)
