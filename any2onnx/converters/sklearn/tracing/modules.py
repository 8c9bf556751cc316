"""numpy and pandas as a traced function sees them.

What numpy cannot hand over to a traced array (`numpy.asarray`, `numpy.ones`) and what pandas looks into (`pandas.isna`,
`pandas.concat`) have other forms here. The function runs in a copy of its globals in which these stand for numpy's
and pandas' own; nothing is changed outside.
"""

from __future__ import annotations

import builtins
import functools
import inspect
import sys
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np

from any2onnx.converters.sklearn.tracing.array import TracedArray, apply, cells_of, traced
from any2onnx.converters.sklearn.tracing.column import RowIndex, TracedColumn, is_missing
from any2onnx.converters.sklearn.tracing.frame import TracedFrame
from any2onnx.converters.sklearn.tracing.functions import FUNCTIONS, OF_SCIPY
from any2onnx.converters.sklearn.tracing.record import NotTraceable, Record

_DEEPEST: Final = 8


class _View:
    """A module with some of its functions replaced."""

    def __init__(self, module: Any, other: Mapping[str, Any]) -> None:
        self._module = module
        self._other = other

    def __getattr__(self, name: str) -> Any:
        return self._other[name] if name in self._other else getattr(self._module, name)


def _has_traced(item: Any) -> bool:
    if isinstance(item, list | tuple):
        return any(_has_traced(part) for part in item)
    return isinstance(item, TracedArray) or hasattr(item, "traced")


def _either(ours: Callable[..., Any], theirs: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that takes our form where an argument is traced."""

    @functools.wraps(theirs)
    def function(*args: Any, **kwargs: Any) -> Any:
        here = any(map(_has_traced, (*args, *kwargs.values())))
        return (ours if here else theirs)(*args, **kwargs)

    return function


def _numpy_functions(record: Record) -> dict[str, Any]:
    def array(item: Any, dtype: Any = None, copy: Any = True, **_: Any) -> TracedArray:
        found = traced(record, item)
        found = found if dtype is None else found.astype(dtype)
        return found.copy() if copy else found

    def asarray(item: Any, dtype: Any = None, *_: Any, **__: Any) -> TracedArray:
        return array(item, dtype, copy=False)

    def filled(theirs: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(theirs)
        def function(shape: Any, *args: Any, **kwargs: Any) -> Any:
            if any(map(_has_traced, args)):
                return traced(record, np.broadcast_to(cells_of(record, args[0]), shape))
            made = theirs(shape, *args, **kwargs)
            # One for each row may be written into.
            return traced(record, made) if made.ndim and len(made) == record.rows else made

        return function

    class Vectorized:
        """numpy.vectorize of a function of single values."""

        def __init__(self, function: Callable[..., Any], *_: Any, **options: Any) -> None:
            if options.get("signature") is not None:
                raise NotTraceable("numpy.vectorize with a signature")
            self._function = function

        def __call__(self, *args: Any, **kwargs: Any) -> TracedArray:
            wide = np.broadcast_arrays(*(cells_of(record, item) for item in args))
            rows = zip(*(cells.ravel() for cells in wide), strict=True)
            found = [self._function(*(TracedArray(record, np.asarray(c)) for c in cells), **kwargs) for cells in rows]
            return traced(record, [traced(record, item) for item in found]).reshape(wide[0].shape)

    def joined(slices: Any, along_second: bool) -> Any:
        parts = [traced(record, item) for item in (slices if isinstance(slices, tuple) else (slices,))]
        if not along_second:
            raise NotTraceable("numpy.r_")
        return np.concatenate([part[:, None] if part.ndim == 1 else part for part in parts], axis=-1)

    class Columns:
        """numpy.c_."""

        def __getitem__(self, key: Any) -> Any:
            return joined(key, True) if _has_traced(key) else np.c_[key]

    linalg = _View(np.linalg, {"norm": _either(lambda *a, **k: FUNCTIONS["norm"](record, *a, **k), np.linalg.norm)})
    same = {name: _either(asarray, getattr(np, name)) for name in ("asarray", "asanyarray", "ascontiguousarray")}
    return {
        **same,
        "array": _either(array, np.array),
        "asarray_chkfinite": _either(asarray, np.asarray_chkfinite),
        "float64": _either(lambda x: traced(record, x).astype(np.float64), np.float64),
        "float32": np.float32,
        "vectorize": Vectorized,
        "c_": Columns(),
        "linalg": linalg,
        **{name: filled(getattr(np, name)) for name in ("zeros", "ones", "empty", "full")},
    }


def _pandas_functions(record: Record, pandas: Any) -> dict[str, Any]:
    def frame(data: Any = None, index: Any = None, columns: Any = None, **_: Any) -> TracedFrame:
        if index is not None and not isinstance(index, RowIndex):
            raise NotTraceable("a DataFrame with an index of its own")
        if isinstance(data, Mapping):
            result = TracedFrame(record, [], [])
            for name, value in data.items():
                result[name] = value
            return result if columns is None else result[list(columns)]
        if isinstance(data, TracedFrame):
            return data.copy() if columns is None else data[list(columns)]
        whole = traced(record, data)
        whole = whole[:, None] if whole.ndim == 1 else whole
        names = list(columns) if columns is not None else list(range(whole.shape[1]))
        return TracedFrame(record, names, [whole[:, k] for k in range(whole.shape[1])])

    def series(data: Any = None, index: Any = None, name: Any = None, **_: Any) -> TracedColumn:
        return TracedColumn(traced(record, data), name)

    def concat(parts: Any, axis: Any = 0, **more: Any) -> TracedFrame:
        if axis not in (1, "columns") or more.get("keys") is not None:
            raise NotTraceable("pandas.concat of rows")
        frames = [part.to_frame() if isinstance(part, TracedColumn) else part for part in parts]
        if not all(isinstance(part, TracedFrame) for part in frames):
            raise NotTraceable("pandas.concat with something that is not made of the argument")
        names = [name for part in frames for name in part.names]
        return TracedFrame(record, names, [column for part in frames for column in part.data])

    def isna(item: Any) -> Any:
        return is_missing(item) if isinstance(item, TracedArray) else item.isna()

    def missing(name: str) -> Callable[..., Any]:
        return _either(isna if name in ("isna", "isnull") else (lambda item: ~isna(item)), getattr(pandas, name))

    return {
        "DataFrame": _Class(pandas.DataFrame, lambda *a, **k: _made(frame, pandas.DataFrame, a, k)),
        "Series": _Class(pandas.Series, lambda *a, **k: _made(series, pandas.Series, a, k)),
        "concat": _either(concat, pandas.concat),
        "to_numeric": _either(lambda item, **_: item, pandas.to_numeric),
        **{name: missing(name) for name in ("isna", "isnull", "notna", "notnull")},
    }


def _made(ours: Callable[..., Any], theirs: Callable[..., Any], args: Any, kwargs: Any) -> Any:
    data = args[0] if args else kwargs.get("data")
    here = _has_traced(list(data.values()) if isinstance(data, Mapping) else data)
    return (ours if here else theirs)(*args, **kwargs)


class _Class:
    """A class that makes traced objects; `isinstance` knows it as the class itself."""

    def __init__(self, stands_for: type, make: Callable[..., Any]) -> None:
        self.stands_for = stands_for
        self._make = make

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._make(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stands_for, name)


def _instance(item: Any, kinds: Any) -> bool:
    """`isinstance`, for which a traced object is of the class that it stands for."""
    wanted = [kind.stands_for if isinstance(kind, _Class) else kind for kind in _flat(kinds)]
    pandas = sys.modules.get("pandas")
    if isinstance(item, TracedFrame):
        return pandas is not None and pandas.DataFrame in wanted
    if isinstance(item, TracedColumn):
        return pandas is not None and pandas.Series in wanted
    if isinstance(item, TracedArray):
        if item.ndim == 0:
            raise NotTraceable("it asks what a value is")
        return np.ndarray in wanted
    return isinstance(item, tuple(wanted))


def _flat(kinds: Any) -> list[Any]:
    if isinstance(kinds, types.UnionType):
        return list(kinds.__args__)
    return [kind for part in kinds for kind in _flat(part)] if isinstance(kinds, tuple) else [kinds]


def _python_functions(record: Record) -> dict[str, Any]:
    def refused(name: str) -> Any:
        def ours(*_: Any, **__: Any) -> Any:
            raise NotTraceable(f"Python's {name}")

        theirs = getattr(builtins, name)
        return _Class(theirs, _either(ours, theirs)) if isinstance(theirs, type) else _either(ours, theirs)

    def size(item: Any) -> Any:
        return apply(record, "absolute", item)

    return {
        "isinstance": _instance,
        "abs": _either(lambda item: abs(item) if not isinstance(item, TracedArray) else size(item), builtins.abs),
        **{name: refused(name) for name in ("type", "str", "max", "min", "sorted", "id", "repr", "hash")},
    }


def seen_by(record: Record, function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that runs as `function` does, but with numpy, pandas and `isinstance` that know traced arrays.

    Functions in Python that it calls by a global name are treated alike; anything else is called as it is.
    """
    numpy_functions = _numpy_functions(record)
    instead: dict[int, Any] = {
        id(np): _View(np, numpy_functions),
        id(np.linalg): numpy_functions["linalg"],
        id(np.linalg.norm): numpy_functions["linalg"].norm,
        **{id(getattr(np, name)): ours for name, ours in numpy_functions.items()},
    }
    if (pandas := sys.modules.get("pandas")) is not None:
        pandas_functions = _pandas_functions(record, pandas)
        instead[id(pandas)] = _View(pandas, pandas_functions)
        instead |= {id(getattr(pandas, name)): ours for name, ours in pandas_functions.items()}
    if (special := sys.modules.get("scipy.special")) is not None:
        ours = {
            name: _either(functools.partial(form, record), getattr(special, name)) for name, form in OF_SCIPY.items()
        }
        instead[id(special)] = _View(special, ours)
        instead |= {id(getattr(special, name)): form for name, form in ours.items()}
    python = _python_functions(record)
    if isinstance(function, np.vectorize):
        return numpy_functions["vectorize"](_rebound(function.pyfunc, instead, python, {}, _DEEPEST))  # type: ignore[no-any-return]
    if isinstance(called := inspect.getattr_static(type(function), "__call__", None), types.FunctionType):
        # An object of a class with __call__.
        function = types.MethodType(called, function)
    return _rebound(function, instead, python, {}, _DEEPEST)  # type: ignore[no-any-return]


def _rebound(
    function: Any, instead: Mapping[int, Any], python: Mapping[str, Any], done: dict[int, Any], depth: int
) -> Any:
    if isinstance(function, functools.partial):
        inner = _rebound(function.func, instead, python, done, depth)
        return functools.partial(inner, *function.args, **function.keywords)
    if isinstance(function, types.MethodType):
        return types.MethodType(_rebound(function.__func__, instead, python, done, depth), function.__self__)
    if not isinstance(function, types.FunctionType) or id(function) in instead:
        return instead.get(id(function), function)
    if id(function) in done or depth == 0 or _of_a_library(function):
        return done.get(id(function), function)
    space: dict[str, Any] = {}
    again = types.FunctionType(
        function.__code__,
        space,
        function.__name__,
        function.__defaults__,
        _cells(function, instead, python, done, depth),
    )
    again.__kwdefaults__ = function.__kwdefaults__
    done[id(function)] = again
    names = _names_in(function.__code__)
    for name, value in function.__globals__.items():
        inner = isinstance(value, types.FunctionType) and name in names
        space[name] = _rebound(value, instead, python, done, depth - 1) if inner else instead.get(id(value), value)
    space.update({name: ours for name, ours in python.items() if name not in function.__globals__})
    return again


def _of_a_library(function: types.FunctionType) -> bool:
    return (function.__module__ or "").partition(".")[0] in ("numpy", "pandas", "scipy", "sklearn")


def _cells(
    function: types.FunctionType,
    instead: Mapping[int, Any],
    python: Mapping[str, Any],
    done: dict[int, Any],
    depth: int,
) -> tuple[types.CellType, ...] | None:
    if function.__closure__ is None:
        return None
    found = []
    for cell in function.__closure__:
        try:
            value = cell.cell_contents
        except ValueError:
            # Not filled in yet.
            found.append(cell)
            continue
        found.append(types.CellType(_rebound(value, instead, python, done, depth - 1)))
    return tuple(found)


def _names_in(code: types.CodeType) -> set[str]:
    inner: Sequence[types.CodeType] = [item for item in code.co_consts if isinstance(item, types.CodeType)]
    return set(code.co_names).union(*map(_names_in, inner))
