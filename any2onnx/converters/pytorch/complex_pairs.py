"""Complex tensors as pairs of real ones: onnxruntime has no complex numbers.

Inside the graph a complex tensor is a `Complex`. At the model's edges, and in torch.view_as_real, the pair is one real
tensor with a new last dim of size 2. A node that reads or makes complex tensors is looked up under its key behind
COMPLEX_PREFIX, so that no converter meets a pair that it does not expect.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from any2onnx.converters.pytorch.call import TorchCall, as_type, scalar
from any2onnx.graph.builder import GraphBuilder
from any2onnx.graph.types import DataType, Value, dtype_of, rank_of

COMPLEX_PREFIX: Final = "complex."
# Dtype of the parts, by the name of torch's complex dtype.
_REAL: Final = {
    "torch.complex32": DataType.FLOAT16,
    "torch.complex64": DataType.FLOAT,
    "torch.complex128": DataType.DOUBLE,
}
# Arguments that hold numbers (not indices, masks or settings): what a linear operator treats part by part.
_DATA: Final = frozenset({"self", "other", "tensors", "src", "source", "value", "values", "input", "weight"})
_ENDS: Final = frozenset({"start", "end"})


@dataclass(frozen=True, slots=True)
class Complex:
    """A complex tensor: two real tensors of one type and shape."""

    re: Value
    im: Value

    @property
    def dtype(self) -> DataType:
        """Element type of the parts."""
        return dtype_of(self.re)

    @property
    def rank(self) -> int:
        """Number of dims."""
        return rank_of(self.re)


def is_complex(meta: Any) -> bool:
    """Tell whether a fake tensor, or one of several, is complex; so is a Python number."""
    if isinstance(meta, list | tuple):
        return any(is_complex(part) for part in meta)
    return isinstance(meta, complex) or str(getattr(meta, "dtype", "")) in _REAL


def real_dtype(meta: Any) -> DataType:
    """Return the element type of the parts of a complex fake tensor, or a real one's own type."""
    from any2onnx.shape_calculators.pytorch.general import onnx_dtype

    dtype = meta if str(meta) in _REAL else meta.dtype
    return _REAL[str(dtype)] if str(dtype) in _REAL else onnx_dtype(dtype)


def part_dtype(call: TorchCall) -> DataType:
    """Return the element type of the parts of the (first) result."""
    return real_dtype(call.result[0] if isinstance(call.result, list | tuple) else call.result)


def node_is_complex(node: Any) -> bool:
    """Tell whether an FX node reads or makes a complex tensor."""
    if is_complex(node.meta.get("val")):
        return True
    return any(is_complex(n.meta.get("val")) for n in node.all_input_nodes)


# --- the edges ------------------------------------------------------------------------------------------------------


def split_pair(g: GraphBuilder, pair: Value) -> Complex:
    """Return the complex tensor behind a real one whose last dim holds the parts."""
    re, im = (g.Gather(pair, g.const(np.asarray(k, np.int64), name="part"), axis=-1) for k in (0, 1))
    return Complex(re, im)


def joined_pair(g: GraphBuilder, z: Complex) -> Value:
    """Return both parts in one real tensor, along a new last dim."""
    return g.op("Concat", g.Unsqueeze(z.re, -1), g.Unsqueeze(z.im, -1), axis=-1)


def complex_constant(g: GraphBuilder, tensor: Any, name: str) -> Complex:
    """Return a complex torch tensor as constants."""
    resolved = tensor.detach().resolve_conj()
    re, im = (
        g.const(part.contiguous(), name=f"{name}.{n}") for part, n in ((resolved.real, "re"), (resolved.imag, "im"))
    )
    return Complex(re, im)


# --- operands -------------------------------------------------------------------------------------------------------


def as_pair(g: GraphBuilder, operand: Any, dtype: DataType) -> Complex:
    """Return an operand (complex or real tensor, Python number) as a complex tensor with parts of a type."""
    if isinstance(operand, Complex):
        return Complex(g.Cast(operand.re, dtype), g.Cast(operand.im, dtype))
    if isinstance(operand, complex):
        return Complex(scalar(g, operand.real, dtype), scalar(g, operand.imag, dtype))
    re = as_type(g, operand, dtype)
    return Complex(re, zeros_like(g, re))


def zeros_like(g: GraphBuilder, x: Value) -> Value:
    """Return zeros in the shape of a value."""
    zero = scalar(g, 0, dtype_of(x))
    return g.Expand(zero, g.Shape(x)) if rank_of(x) else zero


def is_real(operand: Any) -> bool:
    """Tell whether an operand has no imaginary part: a real tensor or number."""
    return not isinstance(operand, Complex | complex)


def apply_parts(z: Complex, function: Callable[[Value], Value]) -> Complex:
    """Apply a function to both parts."""
    return Complex(function(z.re), function(z.im))


# --- linear operators: the same on both parts -----------------------------------------------------------------------


def real_call(g: GraphBuilder, call: TorchCall, part: str, data: frozenset[str] = _DATA) -> TorchCall:
    """Return the call as it would be on the parts ("re" or "im") of all complex numbers that it reads."""
    dtype = _part_dtype_of_call(call)

    def parted(name: str, value: Any) -> Any:
        if isinstance(value, Complex):
            return getattr(value, part)
        if isinstance(value, list | tuple):
            tensors = any(isinstance(v, Value | Complex) for v in value)
            return [parted(name, v) for v in value] if name in data and tensors else value
        if isinstance(value, complex):
            return value.real if part == "re" else value.imag
        if name not in data or value is None or isinstance(value, str):
            return value
        if name == "source" and not isinstance(value, Value):
            return value  # the dims of movedim
        if part == "re":
            return g.Cast(value, dtype) if isinstance(value, Value) else value
        return zeros_like(g, g.Cast(value, dtype)) if isinstance(value, Value) else 0

    params = {name: parted(name, value) for name, value in call.params.items()}
    metas = {name: _real_meta(value, name in data) for name, value in call.metas.items()}
    places = {id(value): name for name, value in call.params.items()}
    inputs = tuple(params[places[id(v)]] if id(v) in places else v for v in call.inputs)
    return replace(
        call,
        key=call.key.removeprefix(COMPLEX_PREFIX),
        params=params,
        metas=metas,
        inputs=inputs,
        result=_real_meta(call.result, True),
    )


def _part_dtype_of_call(call: TorchCall) -> DataType:
    for meta in (call.result, *call.metas.values()):
        for leaf in meta if isinstance(meta, list | tuple) else [meta]:
            if str(getattr(leaf, "dtype", "")) in _REAL:
                return real_dtype(leaf)
    return DataType.FLOAT


def _real_meta(meta: Any, data: bool) -> Any:
    """Return a fake tensor of the parts' type for a complex one, for real data the same."""
    if isinstance(meta, list | tuple):
        return [_real_meta(m, data) for m in meta]
    if isinstance(meta, complex):
        return meta.real
    if str(getattr(meta, "dtype", "")) not in _REAL:
        return meta
    import torch

    with torch.no_grad():
        return torch.empty_like(meta, dtype=meta.dtype.to_real())


def linear(g: GraphBuilder, call: TorchCall) -> Any:
    """A linear operator, or one that only moves elements: the real operator's own row, once for each part."""
    assert call.convert is not None
    if not is_complex(call.result):
        return structure(g, call)
    data = _ENDS if "linspace" in call.key else _DATA
    results = [call.convert(real_call(g, call, part, data), g) for part in ("re", "im")]
    if isinstance(results[0], Value):
        return Complex(*results)
    return [None if a is None else Complex(a, b) for a, b in zip(*results, strict=True)]


def structure(g: GraphBuilder, call: TorchCall) -> Any:
    """An operator that only asks for shape or layout: the real operator's own row on the real part."""
    assert call.convert is not None
    return call.convert(real_call(g, call, "re"), g)
