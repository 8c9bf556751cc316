"""A traced DataFrame: the methods of pandas that work on every row for itself.

Anything else that pandas has is refused by its name, so that a function never takes another way because something is
missing here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from any2onnx.converters.sklearn.tracing.array import TracedArray, apply, choose, traced
from any2onnx.converters.sklearn.tracing.column import TracedColumn, TracedData, is_missing, turned
from any2onnx.converters.sklearn.tracing.record import BOOL, TEXT, NotTraceable, Record


class _Places:
    """`frame.iloc` or `frame.loc` for columns.

    Args:
        frame: It is of.
        by_name: `loc`.
    """

    def __init__(self, frame: TracedFrame, by_name: bool) -> None:
        self._frame = frame
        self._by_name = by_name

    def _columns(self, key: Any) -> Any:
        rows, chosen = key if isinstance(key, tuple) and len(key) == 2 else (key, slice(None))
        if not isinstance(rows, slice) or rows != slice(None):
            raise NotTraceable("it selects rows")
        if not self._by_name:
            return np.arange(len(self._frame.names))[chosen]
        if isinstance(chosen, slice):
            first = 0 if chosen.start is None else self._frame._place(chosen.start)
            last = len(self._frame.names) - 1 if chosen.stop is None else self._frame._place(chosen.stop)
            return np.arange(first, last + 1)
        if isinstance(chosen, str):
            return np.int64(self._frame._place(chosen))
        if all(isinstance(item, bool | np.bool_) for item in chosen):
            return np.flatnonzero(np.asarray(list(chosen)))
        return np.array([self._frame._place(name) for name in chosen], np.int64)

    def __getitem__(self, key: Any) -> Any:
        places = self._columns(key)
        if np.ndim(places) == 0:
            return TracedColumn(self._frame.data[int(places)], self._frame.names[int(places)])
        return self._frame._at(places.tolist())

    def __setitem__(self, key: Any, value: Any) -> None:
        rows, name = key if isinstance(key, tuple) and len(key) == 2 else (None, None)
        if self._by_name and isinstance(rows, TracedColumn) and isinstance(name, str):
            # A mask of values: a choice between the new and the old.
            old = self._frame[name] if name in self._frame.names else float("nan")
            old, new = (item.data if isinstance(item, TracedColumn) else item for item in (old, value))
            self._frame[name] = choose(self._frame.record, rows.data, new, old)
            return
        if self._by_name and isinstance(name, str) and isinstance(rows, slice) and rows == slice(None):
            self._frame[name] = value
            return
        raise NotTraceable("it writes into rows")


class TracedFrame(TracedData):
    """A traced DataFrame.

    Args:
        record: Of the run.
        names: Of the columns.
        data: Of one dim each.
    """

    def __init__(self, record: Record, names: Sequence[Any], data: Sequence[TracedArray]) -> None:
        self.__dict__.update(record=record, names=list(names), data=list(data))

    is_frame = True
    names: list[Any]
    data: list[TracedArray]

    def traced(self) -> TracedArray:
        """Return the cells as an array."""
        if not self.data:
            return TracedArray(self.record, np.zeros((self.record.rows, 0), np.int64))
        return TracedArray(self.record, np.stack([column.cells for column in self.data], axis=1))

    def _each(self, function: Callable[[TracedArray], Any]) -> TracedFrame:
        return TracedFrame(self.record, self.names, [traced(self.record, function(column)) for column in self.data])

    def _with(self, name: str, inputs: Sequence[Any]) -> Any:
        """Apply a ufunc column by column to frames of the same columns, numbers, or one number for each column."""
        columns: list[list[Any]] = []
        for item in inputs:
            if isinstance(item, TracedFrame):
                if item.names != self.names:
                    raise NotTraceable("frames of different columns meet")
                columns.append(list(item.data))
            elif isinstance(item, TracedColumn):
                raise NotTraceable("a column that meets the names of columns")
            elif isinstance(item, TracedArray) or np.ndim(item) > 0:
                wide = traced(self.record, item)
                wide = wide._like(np.broadcast_to(wide.cells, (self.record.rows, len(self.names))))
                columns.append([wide[:, k] for k in range(len(self.names))])
            else:
                columns.append([item] * len(self.names))
        return TracedFrame(
            self.record, self.names, [apply(self.record, name, *row) for row in zip(*columns, strict=True)]
        )

    def _chosen(self, condition: Any, other: Any, *, keep: bool) -> Any:
        test = condition(self) if callable(condition) else condition
        if not isinstance(test, TracedFrame) or test.names != self.names or not (np.isscalar(other) or other is None):
            raise NotTraceable("where with a condition of other columns, or a choice that is no number")
        pairs = zip(self.data, test.data, strict=True)
        return TracedFrame(
            self.record, self.names, [choose(self.record, flag, *turned(old, other, not keep)) for old, flag in pairs]
        )

    # --- columns -----------------------------------------------------------------------------------------------------

    @property
    def columns(self) -> Any:
        """Names of the columns, as pandas has them."""
        import pandas

        return pandas.Index(self.names)

    @columns.setter
    def columns(self, names: Any) -> None:
        if len(list(names)) != len(self.names):
            raise NotTraceable("names of another number of columns")
        self.names[:] = list(names)

    @property
    def iloc(self) -> _Places:
        """Columns by position."""
        return _Places(self, by_name=False)

    @property
    def loc(self) -> _Places:
        """Columns by name."""
        return _Places(self, by_name=True)

    def _place(self, name: Any) -> int:
        if self.names.count(name) != 1:
            raise KeyError(name)
        return self.names.index(name)

    def _at(self, places: Sequence[int]) -> TracedFrame:
        return TracedFrame(self.record, [self.names[k] for k in places], [self.data[k] for k in places])

    def __getattr__(self, name: str) -> Any:
        if name in self.__dict__.get("names", ()):
            return self[name]
        return super().__getattr__(name)

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, TracedData | TracedArray | slice):
            raise NotTraceable("it selects rows")
        if isinstance(key, str) or np.isscalar(key):
            place = self._place(key)
            return TracedColumn(self.data[place], key)
        chosen = list(key)
        if chosen and all(isinstance(item, bool | np.bool_) for item in chosen):
            raise NotTraceable("it selects rows")
        return self._at([self._place(name) for name in chosen])

    def __setitem__(self, key: Any, value: Any) -> None:
        if isinstance(key, TracedData | TracedArray):
            raise NotTraceable("it writes where a frame is true")
        if not isinstance(key, str):
            parts = traced(self.record, value) if not isinstance(value, TracedData) else value.traced()
            for k, name in enumerate(key):
                self[name] = parts if parts.ndim == 0 else parts[:, k]
            return
        column = self._column(value)
        if key in self.names:
            self.data[self._place(key)] = column
        else:
            self.names.append(key)
            self.data.append(column)

    def _column(self, value: Any) -> TracedArray:
        found = traced(self.record, value.traced() if isinstance(value, TracedData) else value)
        if found.ndim == 2 and found.shape[1] == 1:
            found = found[:, 0]
        return found._like(np.broadcast_to(found.cells, (self.record.rows,)).copy())

    def __contains__(self, name: Any) -> bool:
        return name in self.names

    def __iter__(self) -> Any:
        return iter(list(self.names))

    def keys(self) -> Any:
        """Return the names of the columns."""
        return self.columns

    def items(self) -> Any:
        """Return names and columns."""
        return [(name, TracedColumn(column, name)) for name, column in zip(self.names, self.data, strict=True)]

    def get(self, key: Any, default: Any = None) -> Any:
        """Return a column where there is one."""
        return self[key] if not isinstance(key, str) or key in self.names else default

    def copy(self, deep: bool = True) -> TracedFrame:
        """Return a copy, into which the function may write."""
        return TracedFrame(self.record, self.names, [column.copy() for column in self.data])

    def assign(self, **columns: Any) -> TracedFrame:
        """Add or replace columns, one after the other."""
        result = self.copy()
        for name, value in columns.items():
            result[name] = value(result) if callable(value) else value
        return result

    def insert(self, loc: int, column: Any, value: Any, allow_duplicates: bool = False) -> None:
        """Insert a column."""
        self.names.insert(loc, column)
        self.data.insert(loc, self._column(value))

    def pop(self, name: Any) -> TracedColumn:
        """Take a column out."""
        place = self._place(name)
        self.names.pop(place)
        return TracedColumn(self.data.pop(place), name)

    def drop(self, labels: Any = None, axis: Any = 0, columns: Any = None, **more: Any) -> TracedFrame:
        """Leave columns out."""
        if columns is None and axis in (1, "columns"):
            columns = labels
        ignore = more.pop("errors", "raise") == "ignore"
        if columns is None or any(more.values()):
            raise NotTraceable("it drops rows")
        left_out = [columns] if isinstance(columns, str) else list(columns)
        if not ignore:
            for name in left_out:
                self._place(name)
        return self._at([k for k, name in enumerate(self.names) if name not in left_out])

    def rename(self, mapper: Any = None, *, columns: Any = None, axis: Any = 0, **_: Any) -> TracedFrame:
        """Rename columns."""
        columns = mapper if columns is None and axis in (1, "columns") else columns
        if columns is None:
            raise NotTraceable("it renames rows")
        names = [columns(name) if callable(columns) else columns.get(name, name) for name in self.names]
        return TracedFrame(self.record, names, self.data)

    def set_axis(self, labels: Any, *, axis: Any = 0, **_: Any) -> TracedFrame:
        """Name the columns."""
        if axis not in (1, "columns"):
            raise NotTraceable("it names rows")
        return TracedFrame(self.record, list(labels), self.data)

    def add_prefix(self, prefix: str) -> TracedFrame:
        """Rename columns."""
        return self.rename(columns=lambda name: f"{prefix}{name}")

    def add_suffix(self, suffix: str) -> TracedFrame:
        """Rename columns."""
        return self.rename(columns=lambda name: f"{name}{suffix}")

    def filter(
        self, items: Any = None, like: str | None = None, regex: str | None = None, axis: Any = None
    ) -> TracedFrame:
        """Choose columns by their names."""
        if axis not in (None, 1, "columns"):
            raise NotTraceable("it selects rows")
        if items is not None:
            return self._at([self._place(name) for name in items if name in self.names])
        fits = (
            (lambda name: like in str(name)) if like is not None else (lambda name: re.search(regex or "", str(name)))
        )
        return self._at([k for k, name in enumerate(self.names) if fits(name)])

    def select_dtypes(self, include: Any = None, exclude: Any = None) -> TracedFrame:
        """Choose columns that are numbers, or those that are not."""
        if exclude is not None or include not in ("number", np.number, ["number"], [np.number]):
            raise NotTraceable("select_dtypes of other things than numbers")
        return self._at([k for k, column in enumerate(self.data) if column.kind not in (TEXT, BOOL)])

    def join(self, other: Any) -> TracedFrame:
        """Put the columns of another frame beside these."""
        added = other.to_frame() if isinstance(other, TracedColumn) else other
        if not isinstance(added, TracedFrame) or set(added.names) & set(self.names):
            raise NotTraceable("it joins something else than a frame of other columns")
        return TracedFrame(self.record, [*self.names, *added.names], [*self.data, *added.data])

    def reset_index(self, drop: bool = False, **_: Any) -> TracedFrame:
        """Return itself: rows have no index."""
        if not drop:
            raise NotTraceable("the index as a column")
        return self

    def fillna(self, value: Any = None, **_: Any) -> TracedFrame:
        """Fill in a number, or one for each column by name."""
        values = value if isinstance(value, Mapping) else None
        if value is None or (values is None and not np.isscalar(value)):
            raise NotTraceable("fillna with something else than a number or a dict")
        result = self.copy()
        for k, (name, column) in enumerate(zip(self.names, self.data, strict=True)):
            if values is not None and name not in values:
                continue
            filled = values[name] if values is not None else value
            result.data[k] = choose(self.record, is_missing(column), filled, column)
        return result

    def astype(self, dtype: Any, **_: Any) -> Any:
        """Cast all columns, or those of a dict."""
        if not isinstance(dtype, Mapping):
            return super().astype(dtype)
        result = self.copy()
        for name, wanted in dtype.items():
            result[name] = self[name].astype(wanted)
        return result

    def apply(self, function: Any, axis: Any = 0, **more: Any) -> Any:
        """Call a function of each column, or of each row."""
        raw, args = more.pop("raw", False), more.pop("args", ())
        if raw or more.pop("result_type", None) is not None:
            raise NotTraceable("apply with raw or result_type")
        if isinstance(function, np.ufunc):
            return self._with(function.__name__, (self,))
        if axis in (0, "index"):
            found = {
                name: function(TracedColumn(c, name), *args, **more)
                for name, c in zip(self.names, self.data, strict=True)
            }
            return TracedFrame(self.record, list(found), [self._column(value) for value in found.values()])
        rows = [function(_Row(self, k), *args, **more) for k in range(self.record.rows)]
        return TracedColumn(traced(self.record, [traced(self.record, value) for value in rows]))

    def map(self, function: Any, na_action: Any = None, **kwargs: Any) -> TracedFrame:
        """Call a function of each value."""
        if na_action is not None:
            raise NotTraceable("map with na_action")
        columns = [TracedColumn(column).apply(function, **kwargs) for column in self.data]
        return TracedFrame(self.record, self.names, [column.data for column in columns])

    def applymap(self, function: Any, **kwargs: Any) -> TracedFrame:
        """As map."""
        return self.map(function, **kwargs)


class _Row:
    """A row of a frame, as `apply(axis=1)` gives it."""

    def __init__(self, frame: TracedFrame, row: int) -> None:
        self._frame = frame
        self._row = row

    def __getitem__(self, name: Any) -> TracedArray:
        return self._frame.data[self._frame._place(name)][self._row]

    def __getattr__(self, name: str) -> Any:
        if name in self._frame.names:
            return self[name]
        raise NotTraceable(f"pandas.Series.{name} of a row")


def frame_of(record: Record, names: Sequence[str]) -> TracedFrame:
    """Return the argument as a frame."""
    cells = record.input_cells()
    return TracedFrame(record, names, [TracedArray(record, cells[:, k].copy()) for k in range(len(names))])
