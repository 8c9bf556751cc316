"""A recording array: numpy functions called on it become nodes, for FunctionTransformer's Python functions.

It is no numpy array and never turns into one, so a function that looks at values, loops over rows or calls something
that is not known here raises, and is refused by name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

from any2onnx.converters.sklearn.numerics import expm1, log1p
from any2onnx.errors import Any2OnnxError, UnsupportedParameter
from any2onnx.graph.builder import GraphBuilder
from any2onnx.graph.types import DataType, Value, dtype_of, rank_of, shape_of
from any2onnx.operator_mappings.mapping import Call


class NotTraceable(TypeError):
    """The function does something that has no node."""


class TracedArray(NDArrayOperatorsMixin):
    """A value of the graph with numpy's operators.

    Args:
        g: Builder.
        value: float matrix or vector, or bool.
        dtype: Floating type to compute in.
    """

    __array_priority__ = 1000

    def __init__(self, g: GraphBuilder, value: Value, dtype: DataType) -> None:
        self._g = g
        self.value = value
        self._dtype = dtype

    @property
    def shape(self) -> tuple[Any, ...]:
        """Static dims; the number of rows is not known.

        Raises:
            NotTraceable: The first is asked for by unpacking; it raises when used as a number.
        """
        return tuple(dim if isinstance(dim, int) else _UnknownSize() for dim in shape_of(self.value))

    @property
    def ndim(self) -> int:
        """Number of dims."""
        return rank_of(self.value)

    @property
    def T(self) -> TracedArray:
        """Transpose."""
        return self._wrap(self._g.Transpose(self.value, perm=list(range(self.ndim))[::-1]))

    def _wrap(self, value: Value) -> TracedArray:
        return TracedArray(self._g, value, self._dtype)

    def _operand(self, item: Any) -> Value:
        """Return a floating value for an operand."""
        if isinstance(item, TracedArray):
            return self._g.Cast(item.value, self._dtype)
        array = np.asarray(item)
        if array.dtype.kind not in "biuf":
            raise NotTraceable(f"an operand is {array.dtype}")
        return self._g.const(array.astype(self._dtype.numpy()))

    # --- numpy's protocols ---------------------------------------------------------------------------------------

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        if method != "__call__" or kwargs:
            raise NotTraceable(f"numpy.{ufunc.__name__}.{method} with {sorted(kwargs)}")
        form = UFUNCS.get(ufunc.__name__)
        if form is None:
            raise NotTraceable(f"numpy.{ufunc.__name__}")
        return self._wrap(form(self._g, *(self._operand(item) for item in inputs)))

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        form = FUNCTIONS.get(function.__name__)
        if form is None:
            raise NotTraceable(f"numpy.{function.__name__}")
        return form(self, *args, **kwargs)

    def __array__(self, *_: Any, **__: Any) -> Any:
        raise NotTraceable("the values are asked for")

    def __bool__(self) -> bool:
        raise NotTraceable("it decides by values")

    def __len__(self) -> int:
        raise NotTraceable("the number of rows is asked for")

    def __iter__(self) -> Any:
        raise NotTraceable("it loops over rows")

    def __setitem__(self, key: Any, value: Any) -> None:
        raise NotTraceable("it writes into its argument")

    def __getitem__(self, key: Any) -> TracedArray:
        """Select columns: ``X[:, k]``, ``X[:, a:b]``, ``X[:, [..]]``, also with None for a new axis."""
        rows, column = key if isinstance(key, tuple) and len(key) == 2 else (None, None)
        if rows != slice(None) or self.ndim != 2:
            raise NotTraceable(f"the index {key!r}")
        if column is None:
            return self._wrap(self._g.Unsqueeze(self.value, 1))
        width = shape_of(self.value)[1]
        if not isinstance(width, int):
            raise NotTraceable("the number of columns is not known")
        positions = np.arange(width)[column]
        chosen = self._g.Gather(self.value, np.asarray(positions, np.int64), axis=1)
        return self._wrap(chosen)

    # --- methods ---------------------------------------------------------------------------------------------------

    def astype(self, dtype: Any, **_: Any) -> TracedArray:
        """Cast; floats stay in the type that the graph computes in."""
        kind = np.dtype(dtype)
        if kind.kind == "f":
            return self._wrap(self._g.Cast(self.value, self._dtype))
        if kind.kind in "iu":
            # Towards zero, as a cast does; the value stays a float.
            x = self._operand(self)
            return self._wrap(self._g.Mul(self._g.Sign(x), self._g.Floor(self._g.Abs(x))))
        if kind.kind == "b":
            return self._wrap(self._g.Cast(self.value, DataType.BOOL))
        raise NotTraceable(f"astype({dtype!r})")

    def copy(self, *_: Any) -> TracedArray:
        """Return itself: nothing writes into it."""
        return self

    def reshape(self, *shape: Any) -> TracedArray:
        """Reshape with -1 for the rows."""
        dims = shape[0] if len(shape) == 1 and isinstance(shape[0], tuple | list) else shape
        if list(dims).count(-1) != 1 or dims[0] != -1 or not all(isinstance(d, int) for d in dims):
            raise NotTraceable(f"reshape{tuple(dims)}")
        return self._wrap(self._g.Reshape(self.value, list(dims)))

    def _reduce(self, op_type: str, axis: Any, keepdims: bool) -> TracedArray:
        if axis not in (1, -1) or self.ndim != 2:
            raise NotTraceable("a reduction over rows")
        return self._wrap(getattr(self._g, op_type)(self._operand(self), [1], keepdims=keepdims))

    def sum(self, axis: Any = None, keepdims: bool = False) -> TracedArray:
        """Sum over columns."""
        return self._reduce("ReduceSum", axis, keepdims)

    def mean(self, axis: Any = None, keepdims: bool = False) -> TracedArray:
        """Mean over columns."""
        return self._reduce("ReduceMean", axis, keepdims)

    def max(self, axis: Any = None, keepdims: bool = False) -> TracedArray:
        """Maximum over columns."""
        return self._reduce("ReduceMax", axis, keepdims)

    def min(self, axis: Any = None, keepdims: bool = False) -> TracedArray:
        """Minimum over columns."""
        return self._reduce("ReduceMin", axis, keepdims)

    def prod(self, axis: Any = None, keepdims: bool = False) -> TracedArray:
        """Product over columns."""
        return self._reduce("ReduceProd", axis, keepdims)

    def clip(self, low: Any = None, high: Any = None) -> TracedArray:
        """Limit; NaN stays."""
        result: Any = self
        if low is not None:
            result = np.maximum(result, low)
        return result if high is None else np.minimum(result, high)  # type: ignore[no-any-return]


class _UnknownSize:
    """The number of rows; anything but a comparison of identity raises."""

    def _raise(self, *_: Any) -> Any:
        raise NotTraceable("the number of rows is asked for")

    __index__ = __int__ = __add__ = __sub__ = __mul__ = __eq__ = __lt__ = __gt__ = __le__ = __ge__ = _raise
    __hash__ = None  # type: ignore[assignment]


# --- what numpy functions become --------------------------------------------------------------------------------------


def _nan_through(op_type: str) -> Callable[[GraphBuilder, Value, Value], Value]:
    def form(g: GraphBuilder, a: Value, b: Value) -> Value:
        # numpy gives NaN where either is NaN; their sum is NaN exactly then (or for inf - inf, which is not compared).
        either = g.Or(g.IsNaN(a), g.IsNaN(b))
        chosen = g.op(op_type, a, b)
        return g.Where(either, g.scalar_like(float("nan"), a), chosen)

    return form


def _operator(op_type: str) -> Callable[..., Value]:
    return lambda g, *operands: g.op(op_type, *operands)


def _scaled_log(base: float) -> Callable[[GraphBuilder, Value], Value]:
    return lambda g, x: g.Mul(g.Log(x), g.scalar_like(1.0 / float(np.log(base)), x))


def _not_equal(g: GraphBuilder, a: Value, b: Value) -> Value:
    return g.Not(g.Equal(a, b))


def _logical(op_type: str) -> Callable[..., Value]:
    return lambda g, *operands: g.op(op_type, *(g.Cast(v, DataType.BOOL) for v in operands))


def _round_half_even(g: GraphBuilder, x: Value) -> Value:
    return g.Round(x)


UFUNCS: Final[Mapping[str, Callable[..., Value]]] = {
    **{name: _operator(op) for name, op in {
        "add": "Add", "subtract": "Sub", "multiply": "Mul", "divide": "Div", "true_divide": "Div", "power": "Pow",
        "float_power": "Pow", "negative": "Neg", "absolute": "Abs", "fabs": "Abs", "sign": "Sign", "exp": "Exp",
        "log": "Log", "sqrt": "Sqrt", "reciprocal": "Reciprocal", "floor": "Floor", "ceil": "Ceil", "sin": "Sin",
        "cos": "Cos", "tan": "Tan", "arcsin": "Asin", "arccos": "Acos", "arctan": "Atan", "sinh": "Sinh",
        "cosh": "Cosh", "tanh": "Tanh", "arctanh": "Atanh", "greater": "Greater", "greater_equal": "GreaterOrEqual",
        "less": "Less", "less_equal": "LessOrEqual", "equal": "Equal", "isnan": "IsNaN", "isinf": "IsInf",
    }.items()},
    "rint": _round_half_even,
    "square": lambda g, x: g.Mul(x, x),
    "cbrt": lambda g, x: g.Mul(g.Sign(x), g.Pow(g.Abs(x), g.scalar_like(1.0 / 3.0, x))),
    "exp2": lambda g, x: g.Exp(g.Mul(x, g.scalar_like(float(np.log(2.0)), x))),
    "log2": _scaled_log(2.0),
    "log10": _scaled_log(10.0),
    "log1p": log1p,
    "expm1": expm1,
    "floor_divide": lambda g, a, b: g.Floor(g.Div(a, b)),
    "maximum": _nan_through("Max"),
    "minimum": _nan_through("Min"),
    "not_equal": _not_equal,
    "logical_and": _logical("And"),
    "logical_or": _logical("Or"),
    "logical_not": _logical("Not"),
    "logical_xor": _logical("Xor"),
    "bitwise_and": _logical("And"),
    "bitwise_or": _logical("Or"),
    "invert": _logical("Not"),
    "deg2rad": lambda g, x: g.Mul(x, g.scalar_like(float(np.pi / 180), x)),
    "rad2deg": lambda g, x: g.Mul(x, g.scalar_like(float(180 / np.pi), x)),
}  # fmt: skip


def _joined(first: TracedArray, arrays: Any, axis: int = 0, **kwargs: Any) -> TracedArray:
    if axis not in (1, -1) or kwargs:
        raise NotTraceable("a concatenation of rows")
    parts = [first._operand(item) for item in arrays]
    if not all(isinstance(item, TracedArray) and item.ndim == 2 for item in arrays):
        raise NotTraceable("a concatenation of other things than columns")
    return first._wrap(first._g.op("Concat", *parts, axis=1))


def _stacked(first: TracedArray, arrays: Any, **kwargs: Any) -> TracedArray:
    columns = [item if item.ndim == 2 else item.reshape(-1, 1) for item in arrays if isinstance(item, TracedArray)]
    if len(columns) != len(arrays):
        raise NotTraceable("a concatenation of other things than columns")
    return _joined(first, columns, axis=1, **kwargs)


def _where(first: TracedArray, condition: Any, x: Any, y: Any) -> TracedArray:
    g = first._g
    chosen = condition.value if isinstance(condition, TracedArray) else g.const(np.asarray(condition))
    return first._wrap(g.Where(g.Cast(chosen, DataType.BOOL), first._operand(x), first._operand(y)))


def _clip(first: TracedArray, x: Any, a_min: Any = None, a_max: Any = None, **kwargs: Any) -> TracedArray:
    low, high = kwargs.pop("min", a_min), kwargs.pop("max", a_max)
    if kwargs or not isinstance(x, TracedArray):
        raise NotTraceable("numpy.clip with other arguments")
    return x.clip(low, high)


def _nan_to_num(first: TracedArray, x: Any, copy: bool = True, nan: float = 0.0, **kwargs: Any) -> TracedArray:
    if not {"posinf", "neginf"} <= set(kwargs) or not isinstance(x, TracedArray):
        # Its defaults depend on the element type, which differs between float32 rows and the graph.
        raise NotTraceable("numpy.nan_to_num without posinf and neginf")
    g, value = first._g, first._operand(x)
    infinite = g.IsInf(value)
    limits = g.Where(
        g.Greater(value, g.scalar_like(0.0, value)),
        g.scalar_like(float(kwargs["posinf"]), value),
        g.scalar_like(float(kwargs["neginf"]), value),
    )
    finite = g.Where(infinite, limits, value)
    return first._wrap(g.Where(g.IsNaN(value), g.scalar_like(float(nan), value), finite))


def _round(first: TracedArray, x: Any, decimals: int = 0) -> TracedArray:
    if decimals or not isinstance(x, TracedArray):
        raise NotTraceable("numpy.round with decimals")
    return first._wrap(first._g.Round(first._operand(x)))


def _reduction(name: str) -> Callable[..., TracedArray]:
    def form(first: TracedArray, x: Any, axis: Any = None, keepdims: bool = False) -> TracedArray:
        result: TracedArray = getattr(x, name)(axis=axis, keepdims=keepdims)
        return result

    return form


FUNCTIONS: Final[Mapping[str, Callable[..., TracedArray]]] = {
    "concatenate": _joined,
    "hstack": lambda first, arrays, **kw: _joined(first, arrays, axis=1, **kw),
    "column_stack": _stacked,
    "where": _where,
    "clip": _clip,
    "nan_to_num": _nan_to_num,
    "round": _round,
    "around": _round,
    "reshape": lambda first, x, shape, **kw: x.reshape(shape),
    "copy": lambda first, x: x,
    **{name: _reduction(name) for name in ("sum", "mean", "max", "min", "prod")},
    "amax": _reduction("max"),
    "amin": _reduction("min"),
}


def trace(
    g: GraphBuilder, function: Callable[..., Any], x: Value, arguments: Mapping[str, Any], dtype: DataType
) -> Value:
    """Run a Python function on a recording matrix and return its result.

    Raises:
        NotTraceable: It does something that has no node, or returns something else.
    """
    result = function(TracedArray(g, g.Cast(x, dtype), dtype), **arguments)
    if not isinstance(result, TracedArray):
        raise NotTraceable(f"it returns {type(result).__name__}")
    if dtype_of(result.value) not in (dtype, DataType.BOOL):
        raise NotTraceable(f"it returns {dtype_of(result.value).name.lower()}")
    return result.value


def traced(
    g: GraphBuilder,
    call: Call,
    function: Callable[..., Any],
    x: Value,
    dtype: DataType,
    *,
    arguments: Mapping[str, Any] | None = None,
    what: str = "the function",
) -> Value:
    """Return the result of a user's function, traced.

    Args:
        g: Builder.
        call: Of the estimator that has the function.
        function: Of one matrix.
        x: Its argument.
        dtype: To compute in.
        arguments: Further keyword arguments.
        what: For the message.

    Raises:
        UnsupportedParameter: The function cannot be traced.
    """
    try:
        return trace(g, function, x, arguments or {}, dtype)
    except Any2OnnxError:
        raise
    except Exception as error:
        # The function is the user's: on the recording array it may fail in any way.
        raise UnsupportedParameter(
            f"{what} {getattr(function, '__name__', function)!r} cannot be traced: {error}",
            where=call.location or None,
            needs="numpy functions of the whole matrix, whatever its values",
            remedy="register a converter of your own for a class that holds it: docs/custom_converters.md",
        ) from error
