"""A traced array: numpy's functions called on it are recorded, or move its cells.

It is no numpy array and never turns into one, so a function that looks at values or calls something that is not known
here raises, and is refused by name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

from any2onnx.converters.sklearn.tracing import forms
from any2onnx.converters.sklearn.tracing.record import BOOL, FLOAT, INTEGER, TEXT, Array, Form, NotTraceable, Record

_TYPES: Final = {BOOL: np.bool_, "u": np.int64, INTEGER: np.int64, FLOAT: np.float64, TEXT: np.object_}


# The reductions that `ufunc.reduce` is.
_REDUCED: Final = {
    "add": "sum",
    "multiply": "prod",
    "maximum": "max",
    "minimum": "min",
    "logical_and": "all",
    "logical_or": "any",
}


def numpy_function(name: str) -> Callable[..., Any]:
    """Return what a numpy function of this name does to traced arrays: `f(record, *args, **kwargs)`.

    Raises:
        NotTraceable: There is none.
    """
    # It is made of traced arrays itself.
    from any2onnx.converters.sklearn.tracing.functions import FUNCTIONS

    if name not in FUNCTIONS:
        raise NotTraceable(f"numpy.{name}")
    return FUNCTIONS[name]


class TracedArray(NDArrayOperatorsMixin):
    """Cells of a record with numpy's operators; the first axis of the argument is its rows.

    Args:
        record: Of the run.
        cells: int64, of any shape.
    """

    __array_priority__ = 1000

    def __init__(self, record: Record, cells: Array) -> None:
        self.record = record
        self.cells = cells

    # --- what an array says of itself ------------------------------------------------------------------------------

    @property
    def shape(self) -> tuple[int, ...]:
        """Dims; the number of rows is that of the stand-ins."""
        return tuple(self.cells.shape)

    @property
    def ndim(self) -> int:
        """Number of dims."""
        return self.cells.ndim

    @property
    def size(self) -> int:
        """Number of cells."""
        return self.cells.size

    @property
    def kind(self) -> str:
        """Kind of its columns."""
        return self.record.kind_of(self.cells)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Element type; that of floats is float64."""
        return np.dtype(_TYPES[self.kind])

    @property
    def T(self) -> TracedArray:
        """Transpose."""
        return self._like(self.cells.T)

    def _like(self, cells: Array) -> TracedArray:
        return TracedArray(self.record, cells)

    def __getattr__(self, name: str) -> Any:
        if hasattr(np.ndarray, name) and not name.startswith("__"):
            raise NotTraceable(f"numpy.ndarray.{name}")
        raise AttributeError(name)

    def __array__(self, *_: Any, **__: Any) -> Any:
        raise NotTraceable("the values are asked for")

    def _as_number(self, *_: Any) -> Any:
        raise NotTraceable("it decides by values, or computes with Python's own functions")

    __bool__ = __float__ = __int__ = __index__ = __complex__ = __contains__ = __round__ = _as_number

    def __len__(self) -> int:
        return len(self.cells)

    def __iter__(self) -> Iterator[TracedArray]:
        return (self[k] for k in range(len(self.cells)))

    def __getitem__(self, key: Any) -> TracedArray:
        return self._like(np.asarray(self.cells[_plain_key(key)]))

    def __setitem__(self, key: Any, value: Any) -> None:
        value = cells_of(self.record, value)
        if isinstance(key, TracedArray):
            # A mask of values: a choice between the new and the old.
            if value.ndim and value.size > 1:
                raise NotTraceable("it writes several values where a mask is true")
            self.cells[...] = choose(self.record, key, self._like(np.asarray(value)), self).cells
            return
        self.cells[_plain_key(key)] = value

    # --- numpy's protocols -----------------------------------------------------------------------------------------

    def __array_namespace__(self, **_: Any) -> Any:
        """Return numpy, whose functions come back here."""
        return np

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        out = kwargs.pop("out", None)
        kwargs.pop("dtype", None)
        name = ufunc.__name__
        if method == "reduce" and name in _REDUCED and out is None:
            kwargs.pop("initial", None)
            return numpy_function(_REDUCED[name])(self.record, inputs[0], kwargs.pop("axis", 0), **kwargs)
        if method != "__call__" or kwargs:
            raise NotTraceable(f"numpy.{name}.{method} with {sorted(kwargs)}")
        result = apply(self.record, name, *inputs)
        if out is None:
            return result
        (target,) = out
        if not isinstance(target, TracedArray):
            raise NotTraceable(f"numpy.{name} that writes into an array of numbers")
        target.cells[...] = result.cells
        return target

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        return numpy_function(function.__name__)(self.record, *args, **kwargs)

    # --- methods -----------------------------------------------------------------------------------------------------

    def astype(self, dtype: Any, **_: Any) -> TracedArray:
        """Cast: float64 to float32 rounds, floats to integers drop the fraction."""
        wanted = np.dtype(dtype)
        kind = self.kind
        if wanted.kind == "O" or (wanted.kind in "UT" and kind == TEXT):
            return self.copy()
        if kind == TEXT:
            raise NotTraceable(f"text as {wanted}")
        if wanted == np.float64:
            return self if kind == FLOAT else unary(self, "as float", forms.same, FLOAT)
        if wanted == np.float32:
            return unary(self, "as float32", forms.to_single, FLOAT)
        if wanted.kind == "b":
            return truth(self)
        if wanted in (np.int32, np.int64):
            form = forms.truncated if kind == FLOAT else forms.same
            return unary(self, f"as integer from {kind}", form, INTEGER)
        raise NotTraceable(f"astype({dtype!r})")

    def copy(self, *_: Any, **__: Any) -> TracedArray:
        """Return a copy, into which the function may write."""
        return self._like(self.cells.copy())

    def dot(self, other: Any) -> TracedArray:
        """Matrix product."""
        return numpy_function("dot")(self.record, self, other)  # type: ignore[no-any-return]

    def tolist(self) -> Any:
        """Return nested lists of arrays without dims."""
        return self if self.ndim == 0 else [item.tolist() for item in self]

    def item(self) -> TracedArray:
        """Return the only element."""
        return self._like(self.cells.reshape(()))

    def flatten(self, *_: Any) -> TracedArray:
        """Return one dim."""
        return self._like(self.cells.flatten())

    def reshape(self, *shape: Any, **_: Any) -> TracedArray:
        """Reshape."""
        return self._like(self.cells.reshape(*shape))

    def transpose(self, *axes: Any) -> TracedArray:
        """Permute the dims."""
        return self._like(self.cells.transpose(*axes))


def _method(name: str) -> Callable[..., Any]:
    def method(self: TracedArray, *args: Any, **kwargs: Any) -> Any:
        return numpy_function(name)(self.record, self, *args, **kwargs)

    method.__name__ = name
    method.__doc__ = f"As numpy.{name}."
    return method


for _name in (
    *("sum", "mean", "max", "min", "prod", "std", "var", "any", "all", "argmax", "argmin", "cumsum", "round", "clip"),
    *("ravel", "squeeze", "swapaxes", "repeat", "take", "diagonal"),
):
    setattr(TracedArray, _name, _method(_name))


def _plain_key(key: Any) -> Any:
    for part in key if isinstance(key, tuple) else (key,):
        if isinstance(part, TracedArray):
            raise NotTraceable("it selects rows or columns by values")
    return key


# --- operations -----------------------------------------------------------------------------------------------------


def cells_of(record: Record, item: Any) -> Array:
    """Return the cells of an operand: a traced array, a number, or lists of both.

    Raises:
        NotTraceable: It is something else.
    """
    if isinstance(item, TracedArray):
        return item.cells
    if hasattr(item, "traced"):
        return cells_of(record, item.traced())
    if isinstance(item, list | tuple):
        return np.array([cells_of(record, part) for part in item], np.int64)
    return record.constant(item)


def traced(record: Record, item: Any) -> TracedArray:
    """Return an operand as a traced array."""
    return item if isinstance(item, TracedArray) else TracedArray(record, cells_of(record, item))


def apply(record: Record, name: str, *operands: Any) -> Any:
    """Record a ufunc.

    Raises:
        NotTraceable: It has no node for these kinds.
    """
    if name == "matmul":
        return numpy_function("dot")(record, *operands)
    if name == "divmod":
        return apply(record, "floor_divide", *operands), apply(record, "remainder", *operands)
    if name not in forms.NAMES:
        raise NotTraceable(f"numpy.{name}")
    given = [traced(record, item) for item in operands]
    if name in forms.LOGICAL:
        given = [truth(item) for item in given]
    constants = [None if _has_values(record, item) else _numbers(record, item) for item in given]
    form, kind, wants = forms.elementwise(name, [item.kind for item in given], constants)
    return TracedArray(record, record.elementwise(name, form, [item.cells for item in given], kind, wants))


def _has_values(record: Record, item: TracedArray) -> bool:
    return bool(np.any(record.rows_of(item.cells) >= 0))


def _numbers(record: Record, item: TracedArray) -> Array:
    columns = record.columns_of(item.cells)
    values = [record.constants.get(column, float("nan")) for column in columns.ravel().tolist()]
    return np.array(values).reshape(columns.shape)


def unary(x: TracedArray, name: str, form: Form, kind: str) -> TracedArray:
    """Record an operation on one operand."""
    return x._like(x.record.elementwise(name, form, [x.cells], kind, [FLOAT]))


def truth(x: TracedArray) -> TracedArray:
    """Return bools: what is not 0."""
    return x if x.kind == BOOL else unary(x, "is not 0", forms.not_zero, BOOL)


def choose(record: Record, condition: Any, x: Any, y: Any) -> TracedArray:
    """Record numpy.where."""
    test, first, second = truth(traced(record, condition)), traced(record, x), traced(record, y)
    kinds = [item.kind for item in (first, second)]
    kind = record.kind_of(np.concatenate([first.cells.ravel(), second.cells.ravel()]))
    want = kind if kind in (BOOL, TEXT) else FLOAT
    if TEXT in kinds and set(kinds) != {TEXT}:
        raise NotTraceable("numpy.where of text and numbers")
    cells = [item.cells for item in (test, first, second)]
    return TracedArray(record, record.elementwise("where", forms.where, cells, kind, [BOOL, want, want]))
