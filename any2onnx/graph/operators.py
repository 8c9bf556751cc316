"""Operators whose signature changed between opsets, or that came later than opset 13: absorbed here, once.

Every method has the form of the newest definition and gives an equal graph at any opset from 13 on. Operators that
never changed need no method: the builder takes them from ONNX's own definitions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from any2onnx.errors import OpsetNotSupported
from any2onnx.graph import decompositions
from any2onnx.graph.einsum import einsum
from any2onnx.graph.types import DataType, Dim, Value, broadcast_dims, dims_of, dtype_of, rank_of, shape_of, to_dtype

if TYPE_CHECKING:
    from any2onnx.graph.builder import GraphBuilder
    from any2onnx.graph.constants import Operand
    from any2onnx.graph.opsets import Opsets

Ints = Sequence[int] | int


def as_ints(axes: Ints) -> list[int]:
    """Return one number or several as a list."""
    return [axes] if isinstance(axes, int) else [int(a) for a in axes]


class Operators:
    """Mixin of the builder."""

    if TYPE_CHECKING:
        opsets: Opsets

        def op(self, op_type: str, *inputs: Operand, domain: str = ..., **attributes: Any) -> Value:
            """See GraphBuilder."""

        def ops(self, op_type: str, *inputs: Operand, outputs: int = ..., **attributes: Any) -> tuple[Value, ...]:
            """See GraphBuilder."""

        def const(
            self, array: Any, *, name: str = ..., dtype: DataType | None = ..., like: Value | None = ...
        ) -> Value:
            """See GraphBuilder."""

    # --- reductions: axes became an input with opset 18 (ReduceSum: 13) ----------------------------------------------

    def _reduce(self, op_type: str, x: Value, axes: Ints | Value | None, keepdims: bool) -> Value:
        if op_type == "ReduceSum" or self.opsets.main >= 18:
            if axes is not None and not isinstance(axes, Value):
                axes = self.const(np.asarray(as_ints(axes), np.int64), name="axes")
            return self.op(op_type, x, axes, keepdims=int(keepdims))
        if isinstance(axes, Value):
            raise OpsetNotSupported(f"{op_type} with computed axes needs opset 18", needs="opset ≥ 18")
        return self.op(op_type, x, axes=None if axes is None else as_ints(axes), keepdims=int(keepdims))

    def ReduceSum(self, x: Value, axes: Ints | Value | None = None, *, keepdims: bool = True) -> Value:
        """Sum over axes (all of them for None)."""
        return self._reduce("ReduceSum", x, axes, keepdims)

    def ReduceMean(self, x: Value, axes: Ints | Value | None = None, *, keepdims: bool = True) -> Value:
        """Mean over axes (all of them for None)."""
        return self._reduce("ReduceMean", x, axes, keepdims)

    def ReduceMax(self, x: Value, axes: Ints | Value | None = None, *, keepdims: bool = True) -> Value:
        """Maximum over axes (all of them for None)."""
        return self._reduce("ReduceMax", x, axes, keepdims)

    def ReduceMin(self, x: Value, axes: Ints | Value | None = None, *, keepdims: bool = True) -> Value:
        """Minimum over axes (all of them for None)."""
        return self._reduce("ReduceMin", x, axes, keepdims)

    def ReduceProd(self, x: Value, axes: Ints | Value | None = None, *, keepdims: bool = True) -> Value:
        """Product over axes (all of them for None)."""
        return self._reduce("ReduceProd", x, axes, keepdims)

    def ReduceL1(self, x: Value, axes: Ints | Value | None = None, *, keepdims: bool = True) -> Value:
        """Sum of absolute values over axes."""
        return self._reduce("ReduceL1", x, axes, keepdims)

    def ReduceL2(self, x: Value, axes: Ints | Value | None = None, *, keepdims: bool = True) -> Value:
        """Euclidean norm over axes."""
        return self._reduce("ReduceL2", x, axes, keepdims)

    def ReduceSumSquare(self, x: Value, axes: Ints | Value | None = None, *, keepdims: bool = True) -> Value:
        """Sum of squares over axes."""
        return self._reduce("ReduceSumSquare", x, axes, keepdims)

    def ReduceLogSumExp(self, x: Value, axes: Ints | Value | None = None, *, keepdims: bool = True) -> Value:
        """log(sum(exp(x))) over axes."""
        return self._reduce("ReduceLogSumExp", x, axes, keepdims)

    # --- shapes ------------------------------------------------------------------------------------------------------

    def Shape(self, x: Value, *, start: int = 0, end: int | None = None) -> Value:
        """Sizes of the dims start:end (int64); a constant where they are static. `start`/`end` came with opset 15."""
        dims = dims_of(x.shape)
        if dims is not None:
            part = dims[slice(start, end)]
            if all(isinstance(d, int) for d in part):
                return self.const(np.asarray(part, np.int64), name="shape")
        if start == 0 and end is None:
            return self.op("Shape", x)
        if self.opsets.main >= 15:
            return self.op("Shape", x, start=start or None, end=end)
        return self.op("Slice", self.op("Shape", x), [start], [np.iinfo(np.int64).max if end is None else end])

    def Reshape(self, x: Value, shape: Sequence[int] | Value, *, allowzero: bool = False) -> Value:
        """Reshape; 0 keeps the input's dim unless `allowzero` (opset 14).

        A -1 that follows from the static dims is written as its number: onnxruntime refuses -1 for an empty batch.
        """
        if not isinstance(shape, Value):
            shape = list(shape) if allowzero else _without_unknown(shape, dims_of(x.shape))
            shape = self.const(np.asarray(shape, np.int64), name="shape")
        return self.op("Reshape", x, shape, allowzero=1 if allowzero else None)

    def reshape_to(self, x: Value, dims: Sequence[Dim | Value]) -> Value:
        """Reshape to dims given as numbers, one-element int64 values, or -1 / None for the one that follows.

        Dims that are names keep the input's dim of that name.
        """
        source = dims_of(x.shape) or ()
        wanted: list[int | Value] = []
        for k, dim in enumerate(dims):
            if isinstance(dim, Value | int):
                wanted.append(dim)
            elif dim is None:
                wanted.append(-1)
            elif k < len(source) and source[k] == dim:
                wanted.append(0)
            elif dim in source:
                wanted.append(self.dim(x, source.index(dim)))
            else:
                raise ValueError(f"no dim of the input is called {dim!r}")
        return self.Reshape(x, self.shape_vector(wanted))

    def dim(self, x: Value, axis: int) -> Value:
        """Size of one dim as int64 of shape [1]; a constant where it is static."""
        axis = axis % rank_of(x)
        return self.Shape(x, start=axis, end=axis + 1)

    def shape_vector(self, dims: Sequence[int | Value]) -> Value:
        """Concatenate numbers and int64 values (scalars or vectors) into one shape vector."""
        if all(isinstance(d, int) for d in dims):
            return self.const(np.asarray(dims, np.int64), name="shape")
        parts: list[Value] = []
        numbers: list[int] = []
        for dim in dims:
            if isinstance(dim, int):
                numbers.append(dim)
                continue
            if numbers:
                parts.append(self.const(np.asarray(numbers, np.int64), name="shape"))
                numbers = []
            parts.append(self.Unsqueeze(dim, 0) if rank_of(dim) == 0 else dim)
        if numbers:
            parts.append(self.const(np.asarray(numbers, np.int64), name="shape"))
        return parts[0] if len(parts) == 1 else self.op("Concat", *parts, axis=0)

    def Squeeze(self, x: Value, axes: Ints | Value | None = None) -> Value:
        """Remove dims of size 1."""
        if axes is not None and not isinstance(axes, Value):
            axes = self.const(np.asarray(as_ints(axes), np.int64), name="axes")
        return self.op("Squeeze", x, axes)

    def Unsqueeze(self, x: Value, axes: Ints | Value) -> Value:
        """Insert dims of size 1 at these positions of the result."""
        if not isinstance(axes, Value):
            axes = self.const(np.asarray(as_ints(axes), np.int64), name="axes")
        return self.op("Unsqueeze", x, axes)

    def Slice(self, x: Value, starts: Operand, ends: Operand, axes: Operand = None, steps: Operand = None) -> Value:
        """Slice; Python numbers and lists are taken as int64 vectors."""

        def vector(v: Operand) -> Operand:
            return np.atleast_1d(np.asarray(v, np.int64)) if v is not None and not isinstance(v, Value) else v

        return self.op("Slice", x, *(vector(v) for v in (starts, ends, axes, steps)))

    def Split(
        self, x: Value, sizes: Sequence[int] | Value | None = None, *, axis: int = 0, num_outputs: int | None = None
    ) -> tuple[Value, ...]:
        """Split along an axis into parts of `sizes`, or into `num_outputs` parts whose last may be smaller."""
        if sizes is None:
            if num_outputs is None:
                raise ValueError("Split needs sizes or num_outputs")
            if self.opsets.main >= 18:
                return self.ops("Split", x, outputs=num_outputs, axis=axis, num_outputs=num_outputs)
            size = shape_of(x)[axis]
            if not isinstance(size, int):
                return self.ops("Split", x, outputs=num_outputs, axis=axis)
            part = -(-size // num_outputs)
            sizes = [part] * (num_outputs - 1) + [size - part * (num_outputs - 1)]
        if isinstance(sizes, Value):
            if num_outputs is None:
                raise ValueError("Split with computed sizes needs num_outputs")
            return self.ops("Split", x, sizes, outputs=num_outputs, axis=axis)
        return self.ops("Split", x, np.asarray(sizes, np.int64), outputs=len(sizes), axis=axis)

    def Pad(
        self,
        x: Value,
        pads: Sequence[int] | Value,
        value: Operand = None,
        *,
        mode: str = "constant",
        axes: Sequence[int] | None = None,
    ) -> Value:
        """Pad by `pads` = all starts, then all ends; of `axes` only, when given. mode="wrap" needs opset 19."""
        if not isinstance(pads, Value):
            if axes is not None:
                pads, axes = _all_axes(pads, axes, rank_of(x)), None
            pads = self.const(np.asarray(pads, np.int64), name="pads")
        elif axes is not None and self.opsets.main < 18:
            raise OpsetNotSupported("Pad with computed pads of chosen axes needs opset 18", needs="opset ≥ 18")
        if mode == "wrap" and self.opsets.main < 19:
            raise OpsetNotSupported("Pad with mode='wrap' needs opset 19", needs="opset ≥ 19")
        if value is not None and not isinstance(value, Value):
            value = self.const(value, like=x)
        inputs: list[Operand] = [x, pads, value]
        if axes is not None:
            inputs.append(np.asarray(axes, np.int64))
        return self.op("Pad", *inputs, mode=None if mode == "constant" else mode)

    # --- types -------------------------------------------------------------------------------------------------------

    def Cast(self, x: Value, to: Any, **attributes: Any) -> Value:
        """Cast to a dtype (DataType, numpy dtype or name); the value itself where it has that type already."""
        dtype = to_dtype(to)
        return x if x.dtype == dtype else self.op("Cast", x, to=int(dtype), **attributes)

    def Clip(self, x: Value, low: Operand = None, high: Operand = None) -> Value:
        """Limit to [low, high]; either may be None."""

        def bound(v: Operand) -> Operand:
            return v if v is None or isinstance(v, Value) else self.const(v, like=x)

        return self.op("Clip", x, bound(low), bound(high))

    # --- operators with several outputs ------------------------------------------------------------------------------

    def TopK(
        self,
        x: Value,
        k: int | Value,
        *,
        axis: int = -1,
        largest: bool = True,
        sorted: bool = True,  # noqa: A002 - ONNX's name
    ) -> tuple[Value, Value]:
        """Return the k largest (smallest) values and their int64 indices; of equal values the lower index first."""
        if not isinstance(k, Value):
            k = self.const(np.asarray([k], np.int64), name="k")
        values, indices = self.ops("TopK", x, k, outputs=2, axis=axis, largest=int(largest), sorted=int(sorted))
        return values, indices

    def BatchNormalization(
        self, x: Value, scale: Operand, bias: Operand, mean: Operand, var: Operand, *, epsilon: float = 1e-5
    ) -> Value:
        """Inference-mode batch normalisation over axis 1."""
        return self.op("BatchNormalization", x, scale, bias, mean, var, epsilon=epsilon)

    # --- renamed values ----------------------------------------------------------------------------------------------

    def GridSample(
        self, x: Value, grid: Value, *, mode: str = "linear", padding_mode: str = "zeros", align_corners: bool = False
    ) -> Value:
        """Sample at normalised positions; before opset 20 the modes are called bilinear and bicubic."""
        if self.opsets.main < 20:
            mode = {"linear": "bilinear", "cubic": "bicubic"}.get(mode, mode)
        return self.op("GridSample", x, grid, mode=mode, padding_mode=padding_mode, align_corners=int(align_corners))

    def Resize(
        self,
        x: Value,
        *,
        sizes: Sequence[int] | Value | None = None,
        scales: Sequence[float] | Value | None = None,
        **attributes: Any,
    ) -> Value:
        """Resize all dims to `sizes` or by `scales`. Antialiasing needs opset 18."""
        if attributes.get("antialias") and self.opsets.main < 18:
            raise OpsetNotSupported("Resize with antialias needs opset 18", needs="opset ≥ 18")
        if not attributes.get("antialias"):
            attributes.pop("antialias", None)
        if scales is not None and not isinstance(scales, Value):
            scales = self.const(np.asarray(scales, np.float32), name="scales")
        if sizes is not None and not isinstance(sizes, Value):
            sizes = self.const(np.asarray(sizes, np.int64), name="sizes")
        return self.op("Resize", x, None, scales, sizes, **attributes)

    # --- operators that came after opset 13 --------------------------------------------------------------------------

    def LayerNormalization(
        self, x: Value, scale: Operand, bias: Operand = None, *, axis: int = -1, epsilon: float = 1e-5
    ) -> Value:
        """Normalise over the dims from `axis` on (opset 17; decomposed below and in float64: `epsilon` is float32)."""
        if self.opsets.main >= 17 and x.dtype != DataType.DOUBLE:
            return self.op("LayerNormalization", x, scale, bias, axis=axis, epsilon=epsilon)
        return decompositions.layer_normalization(self._builder(), x, scale, bias, axis, epsilon)

    def Gelu(self, x: Value, *, approximate: str = "none") -> Value:
        """Gaussian error linear unit (opset 20; decomposed below)."""
        if self.opsets.main >= 20:
            return self.op("Gelu", x, approximate=approximate)
        return decompositions.gelu(self._builder(), x, approximate)

    def HardSwish(self, x: Value) -> Value:
        """x · clip(x / 6 + 1/2, 0, 1) (opset 14; decomposed below)."""
        if self.opsets.main >= 14:
            return self.op("HardSwish", x)
        return decompositions.hard_swish(self._builder(), x)

    def Mish(self, x: Value) -> Value:
        """x · tanh(softplus(x)) (opset 18; decomposed below)."""
        if self.opsets.main >= 18:
            return self.op("Mish", x)
        return decompositions.mish(self._builder(), x)

    def Swish(self, x: Value, *, alpha: float = 1.0) -> Value:
        """x · sigmoid(alpha · x) (opset 24; decomposed below)."""
        if self.opsets.main >= 24:
            return self.op("Swish", x, alpha=alpha)
        return decompositions.swish(self._builder(), x, alpha)

    def GreaterOrEqual(self, a: Operand, b: Operand) -> Value:
        """a ≥ b; ONNX's own inference forgets the shape before opset 16."""
        return self._broadcast("GreaterOrEqual", a, b)

    def LessOrEqual(self, a: Operand, b: Operand) -> Value:
        """a ≤ b; ONNX's own inference forgets the shape before opset 16."""
        return self._broadcast("LessOrEqual", a, b)

    def _broadcast(self, op_type: str, a: Operand, b: Operand) -> Value:
        result = self.op(op_type, a, b)
        shapes = [dims_of(v.shape) if isinstance(v, Value) else np.shape(v) for v in (a, b)]  # type: ignore[arg-type]
        known = [shape for shape in shapes if shape is not None]
        return self._builder().annotate(result, broadcast_dims(*known)) if len(known) == len(shapes) else result

    def IsNaN(self, x: Value) -> Value:
        """Whether elements are NaN; ONNX's own inference forgets the shape before opset 20."""
        return self._builder().annotate(self.op("IsNaN", x), dims_of(x.shape))

    def IsInf(self, x: Value, **attributes: Any) -> Value:
        """Whether elements are infinite; ONNX's own inference forgets the shape before opset 20."""
        return self._builder().annotate(self.op("IsInf", x, **attributes), dims_of(x.shape))

    def RMSNormalization(self, x: Value, scale: Operand, *, axis: int = -1, epsilon: float = 1e-5) -> Value:
        """x / sqrt(mean(x²) + epsilon) · scale over the dims from `axis` on (opset 23; see LayerNormalization)."""
        if self.opsets.main >= 23 and x.dtype != DataType.DOUBLE:
            return self.op("RMSNormalization", x, scale, axis=axis, epsilon=epsilon)
        return decompositions.rms_normalization(self._builder(), x, scale, axis, epsilon)

    def GroupNormalization(
        self, x: Value, scale: Operand, bias: Operand, *, num_groups: int, epsilon: float = 1e-5
    ) -> Value:
        """Group normalisation of [N, C, ...] with per-channel scale and bias, by InstanceNormalization.

        The operator itself (opset 21) has no kernel in onnxruntime, which expands it to what takes twice as long and
        raises for an empty batch.
        """
        return decompositions.group_normalization(self._builder(), x, scale, bias, num_groups, epsilon)

    def Einsum(self, *inputs: Operand, equation: str) -> Value:
        """Einstein summation that takes empty tensors as well."""
        return einsum(self._builder(), equation, inputs)

    # --- helpers -----------------------------------------------------------------------------------------------------

    def _builder(self) -> GraphBuilder:
        return self  # type: ignore[return-value]

    def scalar_like(self, number: float, like: Value) -> Value:
        """Return a scalar constant of the element type of `like`."""
        return self.const(np.asarray(number, dtype_of(like).numpy()))


def _without_unknown(shape: Sequence[int], source: Sequence[Dim] | None) -> list[int]:
    """Return a target shape with the number in the place of -1, where the dims that are not kept are all static."""
    wanted = [int(d) for d in shape]
    if wanted.count(-1) != 1 or 0 not in wanted or source is None:
        return wanted
    rest = [d for k, d in enumerate(source) if k >= len(wanted) or wanted[k] != 0]
    others = math.prod(d for d in wanted if d > 0)
    if all(isinstance(d, int) for d in rest) and math.prod(rest) % others == 0:  # type: ignore[arg-type]
        wanted[wanted.index(-1)] = math.prod(rest) // others  # type: ignore[arg-type]
    return wanted


def _all_axes(pads: Sequence[int], axes: Sequence[int], rank: int) -> list[int]:
    full = [0] * (2 * rank)
    for k, axis in enumerate(axes):
        full[axis % rank] = int(pads[k])
        full[rank + axis % rank] = int(pads[k + len(axes)])
    return full
