"""Which ONNX value is which value of the framework, told by their numbers."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from any2onnx.parity.instrumented import relative
from any2onnx.parity.ulp import is_float

if TYPE_CHECKING:
    from collections.abc import Iterator

    from any2onnx.parity.intermediates import Intermediate
    from any2onnx.parity.ulp import Array

_MAX_MATCHED = 1 << 22
# Numbers that are off by less than this share of their size belong to the same step of the model.
_NEAR = 0.1


def matched(truth: list[Intermediate], values: dict[str, Array], limit: float) -> dict[str, Intermediate]:
    """Pair ONNX values with what the framework computes, by their numbers whatever their layout.

    Args:
        truth: What the framework computes.
        values: ONNX values.
        limit: Largest difference relative to the size.

    Returns:
        The framework's value for each ONNX value that has one.
    """
    found: dict[str, Intermediate] = {}
    for name, item in _pairs(truth, values, limit):
        found.setdefault(name, item)
    return found


def matched_items(truth: list[Intermediate], values: dict[str, Array], limit: float) -> set[int]:
    """Return the ``id`` of every framework value that has a counterpart among ``values``."""
    return {id(item) for _, item in _pairs(truth, values, limit)}


def _pairs(truth: list[Intermediate], values: dict[str, Array], limit: float) -> Iterator[tuple[str, Intermediate]]:
    by_size: dict[int, list[tuple[Intermediate, Array]]] = {}
    for item in truth:
        if 0 < item.values.size <= _MAX_MATCHED:
            by_size.setdefault(item.values.size, []).append((item, np.sort(item.values.astype(np.float64), axis=None)))
    for name, value in values.items():
        if value.size not in by_size or (value.dtype.kind not in "fiub" and not is_float(value.dtype)):
            continue
        ordered = np.sort(value.astype(np.float64), axis=None)
        yield from ((name, item) for item, other in by_size[value.size] if relative(ordered, other) <= limit)


def counterpart(item: Intermediate, suspects: list[str], values: dict[str, Array]) -> str:
    """Return the suspect that stands for a value of the framework, empty when there is none.

    It has the same shape up to the order of its axes: the one whose numbers are near, else the first; failing that,
    the first with as many axes (a wrong stride changes the shape).
    """
    shape = _axes(item.values)
    alike = [name for name in suspects if _comparable(item.values, values[name])]
    same = [name for name in alike if _axes(values[name]) == shape]
    ordered = np.sort(item.values.astype(np.float64), axis=None)
    limit = _NEAR * float(np.abs(ordered[np.isfinite(ordered)]).mean() if np.isfinite(ordered).any() else 0.0)
    # Of equally near ones the last: it is what the framework's step ends with.
    apart = [
        (_distance(np.sort(values[name].astype(np.float64), axis=None), ordered), -k) for k, name in enumerate(same)
    ]
    if apart and min(apart)[0] <= limit:
        return same[-min(apart)[1]]
    if same:
        return same[0]
    return next((name for name in alike if len(shape) > 1 and len(_axes(values[name])) == len(shape)), "")


def _axes(value: Array) -> list[int]:
    return sorted(size for size in value.shape if size != 1)


def _comparable(a: Array, b: Array) -> bool:
    """Tell whether both hold floats, or both whole numbers or booleans."""
    return is_float(a.dtype) == is_float(b.dtype) and (is_float(b.dtype) or b.dtype.kind in "iub")


def _distance(a: Array, b: Array) -> float:
    """Return the mean difference of two sorted arrays, infinite without common finite numbers."""
    finite = np.isfinite(a) & np.isfinite(b)
    return float(np.abs(a[finite] - b[finite].astype(np.float64)).mean()) if finite.any() else math.inf
