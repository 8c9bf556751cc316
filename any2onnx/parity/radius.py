"""Rows at the radius of estimators that look for neighbours within one: a stored point just inside, outside, on it.

Along one axis every Minkowski distance is the plain difference, so that a row at ``point ± radius`` in one column has
the radius as its distance to that point. A step further the answer is certain. On the radius itself it is certain only
where no operation rounds (points on a coarse grid); elsewhere it is a matter of the last bit.
"""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from any2onnx.parity.boundaries import raw_steps

if TYPE_CHECKING:
    from any2onnx.parity.boundaries import Ints
    from any2onnx.parity.ulp import Array

MAX_POINTS = 24
_AXIS_METRICS = frozenset(
    {"euclidean", "l2", "minkowski", "manhattan", "cityblock", "l1", "chebyshev", "infinity", "p", "sqeuclidean"}
)
# Numbers that are whole multiples of this, below _GRID_MOST of them, have exact squares, sums and differences.
_GRID = 2.0**-12
_GRID_MOST = 2.0**20
# Distances by the expansion of the square are off by a few units of float64 of the squared points.
_ROUNDING = 64 * np.finfo(np.float64).eps


@dataclasses.dataclass(frozen=True)
class Reach:
    """Stored points, the distance within which they count, and whether the answer jumps there.

    Attributes:
        points: ``[n, columns]`` in float64.
        radius: The distance.
        metric: Name of the metric.
        jumps: The answer is constant on both sides of the radius; a kernel that fades out has no such edge.
        alone: A row without any neighbour is an answer too, and no error.
    """

    points: Array
    radius: float
    metric: str
    jumps: bool
    alone: bool


def reach_of(step: Any) -> Reach | None:
    """Return what a fitted estimator counts neighbours by, or None."""
    if type(step).__name__ == "KernelDensity" and step.kernel != "gaussian" and step.kernel != "exponential":
        points, radius, metric = np.asarray(step.tree_.data), float(step.bandwidth_), str(step.metric)
        return _usable(Reach(points, radius, metric, jumps=step.kernel == "tophat", alone=True))
    stored = getattr(step, "_fit_X", None)
    if not type(step).__name__.startswith("RadiusNeighbors") or not isinstance(stored, np.ndarray):
        return None
    metric = str(getattr(step, "effective_metric_", ""))
    distance = math.sqrt(step.radius) if metric == "sqeuclidean" else float(step.radius)
    alone = not hasattr(step, "classes_") or getattr(step, "outlier_label_", None) is not None
    return _usable(Reach(stored.astype(np.float64), distance, metric, jumps=True, alone=alone))


def _usable(reach: Reach) -> Reach | None:
    known = reach.metric in _AXIS_METRICS and reach.points.ndim == 2 and len(reach.points)
    return reach if known and reach.radius > 0 and math.isfinite(reach.radius) else None


def radius_rows(model: Any, base: Array, rng: np.random.Generator) -> tuple[Array, Array]:
    """Return rows at which an answer jumps, on a side that is certain, and rows at which one fades out.

    Args:
        model: A fitted estimator.
        base: ``[n, columns]`` typical rows in the dtype of the ONNX input.
        rng: Chooses the points.

    Returns:
        Two tables ``[m, columns]``; without rows when nothing sees raw columns by a radius.
    """
    jumping, fading = [base[:0]], [base[:0]]
    for step, columns in raw_steps(model):
        reach = reach_of(step)
        if reach is None:
            continue
        (jumping if reach.jumps else fading).append(_around(reach, columns, base, rng))
    return np.concatenate(jumping), np.concatenate(fading)


def _around(reach: Reach, columns: Ints | None, base: Array, rng: np.random.Generator) -> Array:
    """Return rows on both sides of the radius of some points, and those on it whose side is certain."""
    count, width = reach.points.shape
    picked = np.sort(rng.choice(count, min(count, MAX_POINTS), replace=False))
    own = np.arange(width) if columns is None else columns[:width]
    at = rng.integers(0, width, len(picked))
    sign = rng.choice([-1.0, 1.0], len(picked))
    points = reach.points[picked]
    # What the dtype of the input does not hold of the point moves the row sideways, in the worst metric by the sum.
    aside = np.abs(points.astype(base.dtype).astype(np.float64) - points).sum(axis=1)
    rows = base[rng.integers(0, len(base), len(points))].astype(np.float64)
    rows[:, own] = points
    target = points[np.arange(len(points)), at] + sign * reach.radius
    size = np.abs(reach.points).max(initial=0.0) + reach.radius
    ulp = np.spacing(np.abs(target).astype(base.dtype)).astype(np.float64)
    step = np.maximum(2 * ulp + 2 * aside, _ROUNDING * size * size / reach.radius)
    found = []
    for shift in (-step, step, np.zeros_like(step)):
        moved = rows.copy()
        moved[np.arange(len(points)), own[at]] = target + sign * shift
        found.append(moved.astype(base.dtype))
    on = found[2]
    table, offset = on[:, own].astype(np.longdouble), points.astype(np.longdouble)
    # Only the chosen column matters where the others are those of the point; elsewhere the row is left out.
    apart = np.abs(table - offset)[np.arange(len(points)), at]
    certain = (aside == 0) & (np.abs(apart - reach.radius) > _ROUNDING * size * size / reach.radius)
    return _answerable(reach, own, np.concatenate([*found[:2], on[certain | _on_grid(reach, on[:, own])]]))


def _answerable(reach: Reach, own: Ints, rows: Array) -> Array:
    """Leave out rows that the framework refuses for want of any neighbour: one of them would refuse the whole batch."""
    if reach.alone or not len(rows):
        return rows
    apart = np.abs(rows[:, own].astype(np.float64)[:, None, :] - reach.points[None])
    # The largest of the Minkowski distances is the sum, whatever the metric is.
    near = (apart.sum(axis=2) < 0.999 * reach.radius).any(axis=1)
    found: Array = rows[near]
    return found


def _on_grid(reach: Reach, rows: Array) -> Any:
    """Tell for which rows no operation of a distance rounds."""

    def whole(values: Array) -> Any:
        scaled = values.astype(np.float64) / _GRID
        return (scaled == np.round(scaled)) & (np.abs(scaled) < _GRID_MOST)

    if not whole(reach.points).all() or not whole(np.asarray([reach.radius])).all():
        return np.zeros(len(rows), dtype=bool)
    return whole(rows).all(axis=1)
