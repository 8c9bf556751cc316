"""What the first case tells about each array of a comparison."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from any2onnx.parity import compare
from any2onnx.parity.compare import Floats, Profile, as_floats, comparable_as_floats
from any2onnx.parity.ulp import Array


@dataclasses.dataclass(frozen=True)
class Slot:
    """What the first case told about one array.

    Attributes:
        scale: Its size.
        noise: Its change between two runs, relative to the size.
        random_labels: Two runs give different labels.
        row_shape: The shape of its rows.
        shape: Its shape.
        rows: The size of the batch then.
        dtype: The framework's dtype.
        columns: The size of each column where columns are quantities of their own, else None.
        profile: The framework's own errors, None without a float64 reference.
    """

    scale: float = 0.0
    noise: float = 0.0
    random_labels: bool = False
    row_shape: tuple[int, ...] = ()
    shape: tuple[int, ...] = ()
    rows: int = 0
    dtype: str = ""
    columns: Floats | None = None
    profile: Profile | None = None

    @property
    def floor(self) -> float | Floats:
        """What errors are measured against at least: the size of the output, or of each column."""
        return self.scale if self.columns is None else self.columns


def learn_slot(values: Array, again: Array, truth: Array, rows: int, *, by_column: bool) -> Slot:
    """Measure one array.

    Args:
        values: The framework's answer.
        again: Its answer to the same inputs a second time.
        truth: The float64 answer, or ``values`` where there is none.
        rows: Size of the batch.
        by_column: The columns are quantities of their own.
    """
    row_shape = values.shape[1:] if values.ndim else ()
    if not comparable_as_floats(values) or values.shape != again.shape:
        same = values.shape == again.shape and bool(np.array_equal(values, again))
        return Slot(row_shape=row_shape, shape=values.shape, rows=rows, dtype=values.dtype.name, random_labels=not same)
    scale = compare.robust_scale(as_floats(truth if comparable_as_floats(truth) else values))
    noise = compare.row_difference(as_floats(values), as_floats(again), rows).max(initial=0.0)
    relative = float(noise / scale) if scale else (math.inf if noise else 0.0)
    slot = Slot(
        scale=scale, noise=relative, row_shape=row_shape, shape=values.shape, rows=rows, dtype=values.dtype.name
    )
    if by_column and truth.shape == values.shape and values.ndim == 2 and values.shape[:1] == (rows,):
        slot = dataclasses.replace(slot, columns=compare.column_scales(truth))
    if truth is not values and truth.shape == values.shape and comparable_as_floats(truth):
        errors = compare.measure(
            as_floats(values), as_floats(truth), as_floats(values), rows, slot.floor, by_column=slot.columns is not None
        )
        slot = dataclasses.replace(slot, profile=Profile(errors.framework, errors.scale))
    return slot
