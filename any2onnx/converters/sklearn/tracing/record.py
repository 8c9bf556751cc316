"""What a user's Python function does with the columns of its rows: a record of operations, made before any node.

A traced array holds no numbers. Its *cells* are integers that say which column, of which of a few stand-in rows, is
where; numpy itself moves them (slices, stacks, reshapes, writes). An operation on cells is recorded once for all rows:
cells of different rows never meet in one operation, and what comes out has to be the same columns in every row. Since
the record depends on the number of stand-in rows only where the function does, two records of two numbers are compared.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from any2onnx.graph.builder import GraphBuilder
from any2onnx.graph.types import DataType, Value

Array = np.ndarray[Any, Any]
Form = Callable[..., Value]
# Kinds of columns: bool, integer, integer of a type that wraps around early, float, text.
BOOL: Final = "b"
INTEGER: Final = "i"
SMALL: Final = "u"
FLOAT: Final = "f"
TEXT: Final = "s"
_ORDER: Final = BOOL + SMALL + INTEGER + FLOAT


class NotTraceable(TypeError):
    """The function does something that has no node."""


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation on matrices of columns.

    Attributes:
        name: With every constant that its form holds.
        form: Makes the nodes: `form(g, *matrices)` to one matrix [rows, width].
        operands: Columns of each operand.
        wants: Kind that each operand is cast to, None for its own.
        first: The first of its columns.
        width: How many it makes.
    """

    name: str
    form: Form
    operands: tuple[Array, ...]
    wants: tuple[str | None, ...]
    first: int
    width: int


class Record:
    """Columns, constants and operations of one run of the function.

    Args:
        rows: Number of stand-in rows.
        kinds: Of the columns that the function is given.
        largest: Largest finite number of the rows' type.
    """

    def __init__(self, rows: int, kinds: Sequence[str], largest: float) -> None:
        self.rows = rows
        self.largest = largest
        self.given = len(kinds)
        self.kinds: list[str] = list(kinds)
        self.constants: dict[int, Any] = {}
        self.operations: list[Operation] = []
        self._interned: dict[tuple[str, Any], int] = {}
        self._done: dict[Any, int] = {}

    # --- cells -----------------------------------------------------------------------------------------------------

    def input_cells(self) -> Array:
        """Return the cells of the argument, [rows, columns]."""
        return self._coded(np.arange(self.given)[None, :], np.arange(self.rows)[:, None])

    def _coded(self, columns: Array, rows: Array) -> Array:
        return columns * (self.rows + 1) + rows + 1

    def columns_of(self, cells: Array) -> Array:
        """Return the column of each cell."""
        return np.asarray(cells) // (self.rows + 1)

    def rows_of(self, cells: Array) -> Array:
        """Return the row of each cell, -1 for constants."""
        return np.asarray(cells) % (self.rows + 1) - 1

    def kind_of(self, cells: Array) -> str:
        """Return the kind that numpy would give all these together.

        Raises:
            NotTraceable: Text beside numbers.
        """
        return self._joint([self.kinds[column] for column in np.unique(self.columns_of(cells)).tolist()])

    def _joint(self, kinds: Sequence[str]) -> str:
        found = set(kinds)
        if TEXT in found and len(found) > 1:
            raise NotTraceable("text and numbers meet")
        if TEXT in found:
            return TEXT
        return max(found, key=_ORDER.index, default=FLOAT)

    def constant(self, values: Any) -> Array:
        """Return the cells of constants.

        Raises:
            NotTraceable: They are neither numbers nor text.
        """
        array = np.asarray(values)
        if array.dtype.kind == "O":
            flat = [float("nan") if item is None else item for item in array.ravel().tolist()]
            return np.array([int(self.constant(item)) for item in flat], np.int64).reshape(array.shape)
        kind = {"b": BOOL, "i": INTEGER, "u": INTEGER, "f": FLOAT, "U": TEXT}.get(array.dtype.kind)
        if kind is None:
            raise NotTraceable(f"an operand is {array.dtype}")
        different, where = np.unique(array.astype(np.float64) if kind == FLOAT else array, return_inverse=True)
        columns = np.array([self._intern(kind, item) for item in different.tolist()], np.int64)
        return self._coded(columns[where].reshape(array.shape), np.full(array.shape, -1))

    def _intern(self, kind: str, item: Any) -> int:
        key = (kind, "nan" if item != item else str(item))
        if key not in self._interned:
            self._interned[key] = len(self.kinds)
            self.constants[len(self.kinds)] = item
            self.kinds.append(kind)
        return self._interned[key]

    # --- operations ------------------------------------------------------------------------------------------------

    def elementwise(
        self, name: str, form: Form, operands: Sequence[Array], result: str, wants: Sequence[str | None]
    ) -> Array:
        """Apply an operation to cells that stand at the same places, after broadcasting.

        Raises:
            NotTraceable: Cells of different rows meet.
        """
        wide = np.broadcast_arrays(*operands)
        rows = self._common_row(np.stack([self.rows_of(cells) for cells in wide]))
        keys = np.stack([self.columns_of(cells).ravel() for cells in wide], axis=1)
        different, where = _different(keys)
        first = self._operation(name, form, tuple(different.T), tuple(wants), len(different), result)
        return self._coded(first + where.reshape(wide[0].shape), rows)

    def along(self, name: str, form: Form, cells: Array, axis: int, result: str, want: str, *, width: int) -> Array:
        """Apply an operation to all cells along an axis, [rows, n] → [rows, width].

        Args:
            name: Of the operation.
            form: Makes the nodes.
            cells: Operand.
            axis: That the operation takes together; it becomes one of `width` cells.
            result: Kind.
            want: Kind that the operand is cast to.
            width: 1 for a reduction.

        Raises:
            NotTraceable: Cells of different rows meet.
        """
        moved = np.moveaxis(cells, axis, -1)
        rows = self._common_row(np.moveaxis(self.rows_of(moved), -1, 0))
        keys = self.columns_of(moved).reshape(-1, moved.shape[-1])
        different, where = np.unique(keys, axis=0, return_inverse=True)
        starts = [self._operation(name, form, (key,), (want,), width, result) for key in different]
        columns = np.asarray(starts, np.int64)[where.ravel()][:, None] + np.arange(width)
        shape = (*moved.shape[:-1], width)
        return np.moveaxis(self._coded(columns.reshape(shape), np.broadcast_to(rows[..., None], shape)), -1, axis)

    def _common_row(self, rows: Array) -> Array:
        """Return the row that the cells along the first axis share; constants fit every row."""
        if not rows.shape[0]:
            raise NotTraceable("nothing is left")
        row = rows.max(axis=0)
        if bool(np.any((rows != row) & (rows >= 0))):
            raise NotTraceable("values of different rows meet, so that a row's answer depends on the others")
        return np.asarray(row)

    def _operation(
        self, name: str, form: Form, operands: tuple[Array, ...], wants: tuple[str | None, ...], width: int, kind: str
    ) -> int:
        key = (name, width, kind, wants, *(columns.tobytes() for columns in operands))
        if key not in self._done:
            self._done[key] = len(self.kinds)
            self.operations.append(Operation(name, form, operands, wants, len(self.kinds), width))
            self.kinds.extend([kind] * width)
        return self._done[key]

    # --- results ---------------------------------------------------------------------------------------------------

    def result_columns(self, cells: Array) -> Array:
        """Return the columns of a result, which every row has to have alike.

        Raises:
            NotTraceable: The rows differ, or are not the rows of the argument in their order.
        """
        if cells.ndim == 0 or len(cells) != self.rows:
            raise NotTraceable(f"it returns an array of shape {cells.shape} for {self.rows} rows")
        rows, columns = self.rows_of(cells), self.columns_of(cells)
        own = np.arange(self.rows).reshape(-1, *[1] * (cells.ndim - 1))
        if bool(np.any((rows != own) & (rows >= 0))) or bool(np.any(columns != columns[:1])):
            raise NotTraceable("it returns rows that are made in different ways, or in another order")
        return np.asarray(columns[0])

    def same_as(self, other: Record) -> bool:
        """Tell whether another run did the same."""

        def told(record: Record) -> Any:
            done = [(o.name, o.first, o.width, o.wants, *(c.tolist() for c in o.operands)) for o in record.operations]
            return done, {k: str(v) for k, v in record.constants.items()}, record.kinds

        return bool(told(self) == told(other))


def _different(keys: Array) -> tuple[Array, Array]:
    """Return the different rows in order, and which of them each row is: numpy.unique of few, long columns."""
    code = keys[:, 0]
    for column in keys.T[1:]:
        _, code = np.unique(code, return_inverse=True)
        code = code * (int(column.max(initial=0)) + 1) + column
    _, first, where = np.unique(code, return_index=True, return_inverse=True)
    return keys[first], where


class Emitter:
    """Turns the columns of a record into nodes.

    Args:
        g: Builder.
        record: Of the function.
        given: Matrices that hold the record's first columns, in order.
        dtype: Floating type to compute in.
    """

    def __init__(self, g: GraphBuilder, record: Record, given: Sequence[Value], dtype: DataType) -> None:
        self._g = g
        self._record = record
        self._dtype = dtype
        self._matrices: list[Value] = []
        # For each column that has been made, its matrix and the place in it.
        self._place: dict[int, tuple[int, int]] = {}
        self._cast: dict[tuple[int, str], Value] = {}
        self._rows = g.Shape(given[0], start=0, end=1)
        first = 0
        for value in given:
            width = int(str(value.shape[1])) if value.shape is not None else 0
            first += self._add(value, first, width)

    def _add(self, value: Value, first: int, width: int) -> int:
        self._place.update({first + k: (len(self._matrices), k) for k in range(width)})
        self._matrices.append(value)
        return width

    def matrix(self, columns: Array, kind: str) -> Value:
        """Return columns as one matrix of a kind, with the nodes that it takes."""
        self._make(columns)
        return self._gathered(columns, kind, expand=True)

    def _make(self, columns: Array) -> None:
        needed = np.zeros(len(self._record.kinds), bool)
        needed[columns] = True
        wanted = []
        for operation in reversed(self._record.operations):
            if needed[operation.first : operation.first + operation.width].any():
                wanted.append(operation)
                for operand in operation.operands:
                    needed[operand] = True
        for operation in reversed(wanted):
            if operation.first in self._place:
                continue
            constant = all(set(operand.tolist()) <= set(self._record.constants) for operand in operation.operands)
            operands = [
                self._gathered(operand, want or self._record.kinds[int(operand[0])], expand=constant and k == 0)
                for k, (operand, want) in enumerate(zip(operation.operands, operation.wants, strict=True))
            ]
            self._add(operation.form(self._g, *operands), operation.first, operation.width)

    def _gathered(self, columns: Array, kind: str, *, expand: bool) -> Value:
        """Return columns side by side; constants alone stay one row unless `expand`."""
        g = self._g
        wanted = columns.tolist()
        if not wanted:
            empty = g.const(np.zeros((1, 0), self._type(kind).numpy()))
            return g.Expand(empty, g.shape_vector([self._rows, 0]))
        runs: list[tuple[int, list[int]]] = []
        for column in wanted:
            owner = self._place[column][0] if column in self._place else -1
            if not runs or runs[-1][0] != owner:
                runs.append((owner, []))
            runs[-1][1].append(column)
        alone = len(runs) == 1 and not expand
        parts = [self._run(owner, run, kind, alone) for owner, run in runs]
        return parts[0] if len(parts) == 1 else g.op("Concat", *parts, axis=1)

    def _run(self, owner: int, columns: list[int], kind: str, alone: bool) -> Value:
        g = self._g
        if owner < 0:
            values = [self._record.constants[column] for column in columns]
            dtype = self._type(kind)
            array = np.array(values, object if kind == TEXT else dtype.numpy())[None, :]
            if alone:
                return g.const(array if len(set(map(str, values))) > 1 else array[:, :1])
            return g.Expand(g.const(array), g.shape_vector([self._rows, len(values)]))
        from any2onnx.converters.sklearn.support import take_columns

        return take_columns(g, self._as_kind(owner, kind), [self._place[column][1] for column in columns])

    def _as_kind(self, owner: int, kind: str) -> Value:
        dtype = self._type(kind)
        if (owner, kind) not in self._cast:
            self._cast[owner, kind] = self._g.Cast(self._matrices[owner], dtype)
        return self._cast[owner, kind]

    def _type(self, kind: str) -> DataType:
        return {BOOL: DataType.BOOL, TEXT: DataType.STRING}.get(kind, self._dtype)
