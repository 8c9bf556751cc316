"""What the converters of Keras's backend functions share: arguments, dtypes, axes."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from any2onnx.converters.keras.tracing_replay import Extent
from any2onnx.errors import UnsupportedOperator, UnsupportedParameter
from any2onnx.graph.builder import GraphBuilder
from any2onnx.graph.types import DataType, Dim, TensorSpec, Value, dims_of, dtype_of, rank_of, to_dtype
from any2onnx.operator_mappings.mapping import Call

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


_COMPLEX = frozenset({DataType.COMPLEX64, DataType.COMPLEX128})


def backend_function(function: Callable[..., Any]) -> Callable[[GraphBuilder, Call], Any]:
    """Make a converter of `function(c, *arguments)`, which gets the backend function's arguments in their order.

    Results are cast to the element types that Keras gives them.
    """

    @functools.wraps(function)
    def converter(g: GraphBuilder, call: Call) -> Any:
        c = Context(g, call)
        if any(spec.dtype in _COMPLEX for spec in c.specs):
            raise UnsupportedOperator(
                f"{call.key} gives complex numbers here, for which onnxruntime has no kernels",
                where=call.location or None,
                needs="real and imaginary parts as tensors of their own",
            )
        results = function(c, *call.params.values())
        if isinstance(results, Value):
            return g.Cast(results, c.out)
        return [g.Cast(r, spec.dtype) for r, spec in zip(results, c.specs, strict=True)]

    return converter


def flat_specs(results: Any) -> list[TensorSpec]:
    """Return the types in a nested structure."""
    if isinstance(results, TensorSpec):
        return [results]
    if isinstance(results, dict):
        return [spec for value in results.values() for spec in flat_specs(value)]
    if isinstance(results, list | tuple):
        return [spec for value in results for spec in flat_specs(value)]
    return []


class Context:
    """One call of a backend function.

    Attributes:
        g: The builder.
        call: The call.
        specs: Types of the results, as Keras computed them for the examples.
    """

    def __init__(self, g: GraphBuilder, call: Call) -> None:
        self.g = g
        self.call = call
        self.specs = flat_specs(call.source.results)

    @property
    def out(self) -> DataType:
        """Element type of the first result."""
        return self.specs[0].dtype

    @property
    def dims(self) -> tuple[Dim, ...]:
        """Dims of the first result; None for those that vary."""
        return self.specs[0].shape or ()

    def refuse(self, what: str, needs: str | None = None) -> UnsupportedParameter:
        """Return the error for an argument that cannot be honoured."""
        name = self.call.key.removeprefix("keras.backend.")
        return UnsupportedParameter(
            f"keras.ops.{name.partition('.')[2]}: {what}", where=self.call.location or None, needs=needs
        )

    # --- operands ------------------------------------------------------------------------------------------------

    def t(self, x: Any, dtype: Any = None) -> Value:
        """Return an argument as a value, in a dtype where one is given; Python numbers get Keras's default types."""
        g = self.g
        if isinstance(x, Value):
            return x if dtype is None else g.Cast(x, dtype)
        if isinstance(x, Extent):
            scalar = g.Reshape(x.value, [])
            return g.Cast(scalar, dtype if dtype is not None else self._default(x))
        if isinstance(x, list | tuple) and any(isinstance(v, Value | Extent | list | tuple) for v in x):
            kind = to_dtype(dtype if dtype is not None else self.keras_type(*_flat(x)))
            return g.op("Concat", *[g.Unsqueeze(self.t(v, kind), 0) for v in x], axis=0)
        array = np.asarray(x)
        kind = to_dtype(dtype) if dtype is not None else to_dtype(self._default(x))
        return g.const(array.astype(kind.numpy()))

    def _default(self, x: Any) -> str:
        if isinstance(x, Extent):
            return "float32" if x.value.dtype == DataType.DOUBLE else "int32"
        kind = np.asarray(x).dtype
        return {"f": "float32", "i": "int32"}.get(kind.kind, kind.name) if not hasattr(x, "dtype") else kind.name

    def keras_type(self, *operands: Any) -> str:
        """Return the dtype to which Keras promotes operands: numbers of Python give way to tensors."""
        from keras.src.backend.common.dtypes import result_type

        return str(result_type(*[self._type_of(x) for x in operands]))

    @staticmethod
    def _type_of(x: Any) -> Any:
        if isinstance(x, Value):
            return keras_name(dtype_of(x))
        if isinstance(x, Extent):
            return float if x.value.dtype == DataType.DOUBLE else int
        return type(x) if not hasattr(x, "dtype") else str(x.dtype)

    def promoted(self, *operands: Any) -> list[Value]:
        """Return operands in the dtype to which Keras promotes them."""
        dtype = to_dtype(self.keras_type(*_flat(operands)))
        return [self.t(x, dtype) for x in operands]

    def as_out(self, *operands: Any) -> list[Value]:
        """Return operands in the dtype of the result."""
        return [self.t(x, self.out) for x in operands]

    def as_float(self, x: Any) -> Value:
        """Return an operand in the dtype of the result, or float32 where that is none in which one can compute."""
        return self.t(x, self.out if self.out.is_floating_point() else DataType.FLOAT)

    def number(self, value: float, like: Value) -> Value:
        """Return a scalar constant of the element type of `like`."""
        return self.g.scalar_like(value, like)

    # --- arguments that have to be known -------------------------------------------------------------------------

    def static(self, x: Any, name: str) -> Any:
        """Return an argument as numpy array or number.

        Raises:
            UnsupportedParameter: It is computed by the model.
        """
        if isinstance(x, Value):
            if x.const_value is None:
                raise self.refuse(f"{name} is computed by the model", "a constant")
            return x.const_value.numpy()
        if isinstance(x, Extent) or (isinstance(x, list | tuple) and any(isinstance(v, Extent) for v in x)):
            raise self.refuse(f"{name} depends on the size of a dynamic dimension", "a constant")
        if isinstance(x, list | tuple):
            return type(x)(self.static(v, name) for v in x)
        return x

    def ints(self, x: Any, name: str) -> list[int]:
        """Return an argument as a list of integers."""
        return [int(v) for v in np.atleast_1d(np.asarray(self.static(x, name))).ravel()]

    def vector(self, x: Any) -> Value:
        """Return a shape-like argument as an int64 vector of the graph."""
        g = self.g
        if isinstance(x, Value):
            x = g.Cast(x, DataType.INT64)
            return g.Reshape(x, [1]) if rank_of(x) == 0 else x
        parts = x if isinstance(x, list | tuple | np.ndarray) else [x]
        return g.shape_vector([self.size(v) for v in parts])

    def size(self, x: Any) -> int | Value:
        """Return one size as a number or an int64 value of shape [1]."""
        if isinstance(x, Extent):
            return self.g.Cast(x.value, DataType.INT64)
        if isinstance(x, Value):
            if x.const_value is not None:
                return int(np.asarray(x.const_value.numpy()).item())
            return self.g.Reshape(self.g.Cast(x, DataType.INT64), [1])
        return int(x)

    def axes(self, axis: Any, rank: int) -> list[int]:
        """Return axes as numbers ≥ 0; all of them for None."""
        if axis is None:
            return list(range(rank))
        return [a % rank if rank else 0 for a in self.ints(axis, "axis")]

    def axis(self, axis: Any, rank: int) -> int:
        """Return one axis as a number ≥ 0."""
        return self.axes(axis, rank)[0]

    # --- forms used in many places -------------------------------------------------------------------------------

    def flat(self, x: Value) -> Value:
        """Return a tensor as a vector."""
        return x if rank_of(x) == 1 else self.g.Reshape(x, [-1])

    def sizes_of(self, x: Value) -> list[int | Value]:
        """Return the sizes of all dims, as numbers where they are static."""
        return [d if isinstance(d, int) else self.g.dim(x, k) for k, d in enumerate(dims_of(x.shape) or ())]

    def static_dim(self, x: Value, axis: int, why: str) -> int:
        """Return the size of a dim.

        Raises:
            UnsupportedParameter: It is dynamic.
        """
        dim = (dims_of(x.shape) or ())[axis]
        if not isinstance(dim, int):
            raise self.refuse(f"the size of dim {axis} is dynamic", f"a static size {why}")
        return dim

    def transpose(self, x: Value, perm: Sequence[int]) -> Value:
        """Permute dims; the value itself where nothing moves."""
        return x if list(perm) == list(range(len(perm))) else self.g.Transpose(x, perm=list(perm))

    def move(self, x: Value, source: int, destination: int) -> Value:
        """Move one dim."""
        order = [k for k in range(rank_of(x)) if k != source]
        order.insert(destination, source)
        return self.transpose(x, order)

    def expand(self, x: Value, shape: Any) -> Value:
        """Broadcast to a shape (numbers, values)."""
        vector = shape if isinstance(shape, Value) else self.g.shape_vector(list(shape))
        return self.g.Expand(x, vector)

    def filled(self, shape: Any, value: float, dtype: DataType) -> Value:
        """Return a tensor of one number; `shape` as for `vector`."""
        sizes = self.vector(shape)
        return self.expand(self.g.const(np.asarray(value, dtype.numpy())), sizes)

    def positions(self, x: Value, axis: int) -> Value:
        """Return 0, 1, 2, … along a dim (int64 vector)."""
        dim = (dims_of(x.shape) or ())[axis]
        if isinstance(dim, int):
            return self.g.const(np.arange(dim, dtype=np.int64))
        return self.range(self.g.Reshape(self.g.dim(x, axis), []))

    def range(self, stop: Value) -> Value:
        """Return 0 … stop - 1 for an int64 scalar."""
        return self.g.Range(np.asarray(0, np.int64), stop, np.asarray(1, np.int64))


def keras_backend() -> str:
    """Return the name of the loaded backend, where Keras itself gives other results under another one."""
    from keras.src.backend import backend

    return str(backend())


def keras_name(dtype: DataType) -> str:
    """Return Keras's name of an element type."""
    return "string" if dtype == DataType.STRING else str(dtype.numpy())


def _flat(operands: Any) -> list[Any]:
    if isinstance(operands, list | tuple):
        return [leaf for v in operands for leaf in _flat(v)]
    return [operands]
