"""A traced Series, and what it shares with a DataFrame: the methods of pandas that work on every row for itself.

Anything else that pandas has is refused by its name, so that a function never takes another way because something is
missing here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

from any2onnx.converters.sklearn.tracing.array import TracedArray, apply, choose, traced
from any2onnx.converters.sklearn.tracing.functions import FUNCTIONS
from any2onnx.converters.sklearn.tracing.record import FLOAT, TEXT, NotTraceable, Record

_FLEXIBLE: Final = {
    **{name: name for name in ("add", "subtract", "multiply", "divide")},
    "sub": "subtract",
    "mul": "multiply",
    "div": "divide",
    "truediv": "divide",
    "floordiv": "floor_divide",
    "mod": "remainder",
    "pow": "power",
    "gt": "greater",
    "ge": "greater_equal",
    "lt": "less",
    "le": "less_equal",
    "eq": "equal",
    "ne": "not_equal",
}
_REVERSED: Final = {"radd": "add", "rsub": "subtract", "rmul": "multiply", "rdiv": "divide", "rtruediv": "divide"}
_SKIPPING: Final = {
    "sum": "nansum", "mean": "nanmean", "max": "nanmax", "min": "nanmin", "std": "nanstd", "var": "nanvar",
}  # fmt: skip


class RowIndex:
    """The index of the rows, good for handing on only."""


class TracedData(NDArrayOperatorsMixin):
    """What columns and frames share."""

    __array_priority__ = 2000
    record: Record
    is_frame = False

    def traced(self) -> TracedArray:
        """Return the cells as an array."""
        raise NotImplementedError

    def _each(self, function: Callable[[TracedArray], Any]) -> Any:
        """Return the same with a function applied to every column."""
        raise NotImplementedError

    def _with(self, name: str, inputs: Sequence[Any]) -> Any:
        raise NotImplementedError

    @property
    def values(self) -> TracedArray:
        """The cells as an array."""
        return self.traced()

    @property
    def index(self) -> RowIndex:
        """Of the rows."""
        return RowIndex()

    @property
    def shape(self) -> tuple[int, ...]:
        """Dims."""
        return self.traced().shape

    @property
    def ndim(self) -> int:
        """Number of dims."""
        return self.traced().ndim

    @property
    def size(self) -> int:
        """Number of cells."""
        return self.traced().size

    def __len__(self) -> int:
        return self.record.rows

    def __getattr__(self, name: str) -> Any:
        import pandas

        kind = pandas.DataFrame if self.is_frame else pandas.Series
        if hasattr(kind, name) and not name.startswith("__"):
            raise NotTraceable(f"pandas.{kind.__name__}.{name}")
        raise AttributeError(name)

    def __array__(self, *_: Any, **__: Any) -> Any:
        raise NotTraceable("the values are asked for")

    def _as_number(self, *_: Any) -> Any:
        raise NotTraceable("it decides by values, or computes with Python's own functions")

    __bool__ = __float__ = __int__ = __index__ = __round__ = _as_number

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        if method != "__call__" or kwargs:
            raise NotTraceable(f"numpy.{ufunc.__name__}.{method} of a DataFrame with {sorted(kwargs)}")
        frame = next((item for item in inputs if getattr(item, "is_frame", False)), self)
        return frame._with(ufunc.__name__, inputs)

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        name = function.__name__
        if name in ("amax", "amin", "around"):
            name = {"amax": "max", "amin": "min", "around": "round"}[name]
        if args and args[0] is self and name in {*_SKIPPING, "prod", "any", "all", "round", "clip"}:
            # numpy calls the method, which skips NaN.
            return getattr(self, name)(*args[1:], **kwargs)

        def plain(item: Any) -> Any:
            if isinstance(item, list | tuple):
                return type(item)(plain(part) for part in item)
            return item.traced() if isinstance(item, TracedData) else item

        return function(*plain(args), **{key: plain(value) for key, value in kwargs.items()})

    def to_numpy(self, dtype: Any = None, *_: Any, **__: Any) -> TracedArray:
        """Return the cells as an array."""
        return self.traced().copy() if dtype is None else self.traced().astype(dtype)

    def pipe(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call a function on it."""
        return function(self, *args, **kwargs)

    def abs(self) -> Any:
        """Absolute values."""
        return np.abs(self)

    def isna(self) -> Any:
        """True where there is no value."""
        return self._each(is_missing)

    isnull = isna

    def notna(self) -> Any:
        """True where there is a value."""
        return self._each(lambda column: ~is_missing(column))

    notnull = notna

    def astype(self, dtype: Any, **_: Any) -> Any:
        """Cast every column; missing values have no integer."""
        return self._each(lambda column: column.astype({"Float64": "float64", "Int64": "int64"}.get(str(dtype), dtype)))

    def round(self, decimals: Any = 0, **_: Any) -> Any:
        """Round."""
        return self._each(lambda column: FUNCTIONS["round"](self.record, column, int(decimals)))

    def clip(self, lower: Any = None, upper: Any = None, **more: Any) -> Any:
        """Limit by numbers."""
        lower, upper = more.pop("a_min", lower), more.pop("a_max", upper)
        if more or not all(item is None or np.isscalar(item) for item in (lower, upper)):
            raise NotTraceable("clip with other things than two numbers")
        return self._each(lambda column: FUNCTIONS["clip"](self.record, column, lower, upper))

    def where(self, condition: Any, other: Any = float("nan"), **_: Any) -> Any:
        """Keep what is true of the condition."""
        return self._chosen(condition, other, keep=True)

    def mask(self, condition: Any, other: Any = float("nan"), **_: Any) -> Any:
        """Replace what is true of the condition."""
        return self._chosen(condition, other, keep=False)

    def _chosen(self, condition: Any, other: Any, *, keep: bool) -> Any:
        raise NotImplementedError


def _operation(function_name: str, backwards: bool = False) -> Callable[..., Any]:
    def method(self: TracedData, other: Any, axis: Any = "columns", **more: Any) -> Any:
        if any(value is not None for value in more.values()):
            raise NotTraceable(f"{function_name} with {sorted(more)}")
        if self.is_frame and isinstance(other, TracedColumn):
            if axis not in (0, "index"):
                raise NotTraceable("a column that meets the names of columns")
            return self._each(lambda column: apply(self.record, function_name, *turned(column, other.data, backwards)))
        return self._with(function_name, turned(self, other, backwards))

    method.__doc__ = f"As numpy.{function_name}."
    return method


def turned(a: Any, b: Any, backwards: bool) -> tuple[Any, Any]:
    """Return two operands in their order, or the other way round."""
    return (b, a) if backwards else (a, b)


def is_missing(column: Any) -> Any:
    """True where there is no value; text cannot say."""
    if column.kind == TEXT:
        raise NotTraceable("missing text")
    return np.isnan(column)


for _name, _function in _FLEXIBLE.items():
    setattr(TracedData, _name, _operation(_function))
for _name, _function in _REVERSED.items():
    setattr(TracedData, _name, _operation(_function, backwards=True))


def _reduced(name: str) -> Callable[..., Any]:
    """Return a method that takes the columns together; NaN is skipped."""

    def method(self: TracedData, axis: Any = 0, skipna: bool = True, **more: Any) -> Any:
        if not self.is_frame or axis not in (1, "columns"):
            raise NotTraceable(f"{name} over rows")
        more.pop("numeric_only", None)
        whole = self.traced()
        if whole.kind == TEXT:
            raise NotTraceable(f"{name} of text")
        if name in ("std", "var"):
            more.setdefault("ddof", 1)
        skips = skipna and whole.kind == FLOAT
        if name not in _SKIPPING and skips:
            some = FUNCTIONS["any"](self.record, np.isnan(whole), 1)
            if name != "prod":
                raise NotTraceable(f"{name} of numbers that may be missing")
            return TracedColumn(
                FUNCTIONS[name](self.record, choose(self.record, np.isnan(whole), 1.0, whole), 1) + 0 * some
            )
        return TracedColumn(FUNCTIONS[_SKIPPING[name] if skips else name](self.record, whole, 1, **more))

    method.__doc__ = f"As pandas' {name}, along the columns."
    return method


for _name in (*_SKIPPING, "prod", "any", "all"):
    setattr(TracedData, _name, _reduced(_name))


class TracedColumn(TracedData):
    """A traced Series.

    Args:
        data: Of one dim.
        name: Of the column.
    """

    def __init__(self, data: TracedArray, name: Any = None) -> None:
        self.record = data.record
        self.data = data
        self.name = name

    def traced(self) -> TracedArray:
        """Return the cells as an array."""
        return self.data

    @property
    def dtype(self) -> np.dtype[Any]:
        """Element type."""
        return self.data.dtype

    def _each(self, function: Callable[[TracedArray], Any]) -> TracedColumn:
        return TracedColumn(traced(self.record, function(self.data)), self.name)

    def _with(self, name: str, inputs: Sequence[Any]) -> Any:
        found = apply(self.record, name, *(item.data if isinstance(item, TracedColumn) else item for item in inputs))
        return TracedColumn(found, self.name)

    def _chosen(self, condition: Any, other: Any, *, keep: bool) -> Any:
        test = condition(self) if callable(condition) else condition
        other = other(self) if callable(other) else other
        test, other = (item.data if isinstance(item, TracedColumn) else item for item in (test, other))
        return self._each(lambda data: choose(self.record, test, *turned(data, other, not keep)))

    def __getitem__(self, key: Any) -> Any:
        raise NotTraceable("it selects rows")

    def to_frame(self, name: Any = None) -> Any:
        """Return a frame of one column."""
        from any2onnx.converters.sklearn.tracing.frame import TracedFrame

        return TracedFrame(self.record, [self.name if name is None else name], [self.data])

    def copy(self, deep: bool = True) -> TracedColumn:
        """Return a copy."""
        return TracedColumn(self.data.copy(), self.name)

    def rename(self, name: Any) -> TracedColumn:
        """Return it with another name."""
        return TracedColumn(self.data, name)

    def fillna(self, value: Any, **_: Any) -> TracedColumn:
        """Fill in a number or another column."""
        filled = value.data if isinstance(value, TracedColumn) else value
        return self._each(lambda data: choose(self.record, is_missing(data), filled, data))

    def between(self, left: Any, right: Any, inclusive: str = "both") -> Any:
        """True from one limit to the other."""
        low = "greater_equal" if inclusive in ("both", "left") else "greater"
        high = "less_equal" if inclusive in ("both", "right") else "less"
        first, second = self._with(low, (self, left)), self._with(high, (self, right))
        return first & second

    def isin(self, values: Any) -> TracedColumn:
        """True for what is one of the values."""
        return self._each(lambda data: FUNCTIONS["isin"](self.record, data, np.asarray(list(values), object)))

    def map(self, how: Any, na_action: Any = None) -> Any:
        """Look up in a dict, or call a function of one value; what the dict does not have is missing."""
        if na_action is not None:
            raise NotTraceable("map with na_action")
        if callable(how):
            return self.apply(how)
        if not isinstance(how, Mapping):
            raise NotTraceable("map with something else than a dict")
        found: Any = float("nan") if not all(isinstance(value, str) for value in how.values()) else None
        if found is None:
            raise NotTraceable("map to text, which is missing for what the dict does not have")
        for key, value in how.items():
            found = choose(self.record, apply(self.record, "equal", self.data, key), float(value), found)
        return TracedColumn(traced(self.record, found), self.name)

    def apply(self, function: Any, args: Any = (), **kwargs: Any) -> Any:
        """Call a function of one value."""
        if self.data.kind == TEXT:
            raise NotTraceable("a Python function of text")
        # All values are alike, so that the first stands for them.
        if isinstance(function, np.ufunc):
            return self._with(function.__name__, (self,))
        found = [traced(self.record, function(value, *args, **kwargs)) for value in self.data]
        return TracedColumn(traced(self.record, found), self.name)

    def replace(self, given: Any, value: Any = None) -> TracedColumn:
        """Replace values by others of the same kind."""
        pairs = given.items() if isinstance(given, Mapping) else [(given, value)]
        result = self.data
        for old, new in pairs:
            if isinstance(old, float) and old != old:
                test = is_missing(self.data)
            else:
                test = apply(self.record, "equal", self.data, old)
            result = choose(self.record, test, new, result)
        return TracedColumn(result, self.name)

    def reset_index(self, drop: bool = False, **_: Any) -> TracedColumn:
        """Return itself: rows have no index."""
        if not drop:
            raise NotTraceable("the index as a column")
        return self
