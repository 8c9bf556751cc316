"""Comparison of one floating output: errors against the reference, the budget, the verdict.

The rule is the one of the project's parity design: `ref` is the framework in float64, `fw` the framework as it is
run, `ox` onnxruntime. With `scale` the robust size of the output,

    budget = max(8 * sensitivity, 2 * own error of the framework, tolerance(dtype) * scale)

so an error is excused only by what the rounding of the inputs does to the true function, or by what the framework
gets wrong itself. It is taken per *unit*: a row, or an element where the columns are quantities of their own
(the columns of a transformer, the targets of a regressor), each measured against the size of its column.

The framework's own error is that of *like* units, because |fw - ref| of one row is one sample of a rounding error and
by luck a small one: the largest error among units of the same size (by factors of two), and at most
``MEDIAN_FACTOR`` times their median. The grouping by size keeps one large row from hiding an error in small ones, the
median keeps a few rows where the framework is truly off (ill-conditioned, or on the other side of a jump) from
excusing the others.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import numpy.typing as npt

from any2onnx.parity.ulp import Array, is_float, largest, specials, ulp_distance
from any2onnx.parity.verdict import Verdict

SENSITIVITY_FACTOR = 8.0
FRAMEWORK_FACTOR = 2.0
# The same where the graph, run in float64, has been shown to say what the framework computes: a sum of n numbers one
# after the other errs like sqrt(n), in 16 lanes like sqrt(n / 16), so the order of summation accounts for a factor 4.
ROUNDING_FACTOR = 4 * FRAMEWORK_FACTOR
LANES = 16
MOST_GROWTH = 32.0
PERTURBATIONS = 8
ULP_LIMIT = 4
# Rounding errors have light tails: among thousands of rows the largest is some five times the median.
MEDIAN_FACTOR = 5.0
# Fewer units than this say nothing about their kind.
LIKE_UNITS = 8
# A column is measured against no less than this share of the whole output: below it, it is noise of the others.
COLUMN_FLOOR = 1e-6

# Relative tolerance by dtype, applied to the scale of the output and never to its number of elements.
_TOLERANCES = {"float64": 1e-9, "float32": 1.3e-6, "float16": 1e-3, "bfloat16": 1.6e-2}

Floats = npt.NDArray[np.float64]


def tolerance(dtype: np.dtype[Any], widest_input: np.dtype[Any] | None = None) -> float:
    """Return the relative tolerance of an output.

    A float64 output of a model with float32 inputs was computed in float32 at best as far as its caller can tell, so
    the coarser of both counts.
    """
    found = [_TOLERANCES.get(dtype.name, 1.6e-2)]
    if widest_input is not None:
        found.append(_TOLERANCES.get(widest_input.name, 1.6e-2))
    return max(found)


def epsilon(dtype: np.dtype[Any]) -> float:
    """Return the distance from 1 to the next number of a floating dtype."""
    return 2.0**-7 if dtype.name == "bfloat16" else float(np.finfo(dtype).eps)


@dataclasses.dataclass(frozen=True)
class FloatErrors:
    """Errors of one output on one case; arrays have one entry per unit: a row, or an element of a row.

    Attributes:
        onnx: Largest |ox - ref| of each unit.
        framework: Largest |fw - ref| of each unit.
        difference: Largest |ox - fw| of each unit.
        scale: Size of the output that errors of the unit are measured against.
        ulp: Largest ULP distance between ox and ref.
        ulp_framework: Largest ULP distance between ox and fw.
        wrong_specials: Number of NaN, infinities or numbers where neither fw nor ref has one.
        special_note: The first such place in words, empty when there is none.
        columns: Units per row.
    """

    onnx: Floats
    framework: Floats
    difference: Floats
    scale: Floats
    ulp: int
    ulp_framework: int
    wrong_specials: int
    special_note: str
    columns: int = 1

    @property
    def rows(self) -> npt.NDArray[np.intp]:
        """The row of each unit."""
        return np.arange(self.onnx.size) // self.columns


@dataclasses.dataclass(frozen=True)
class Judgement:
    """The verdict on one output and how near it is to the next worse one.

    Attributes:
        verdict: The verdict.
        budget_used: Largest error / budget.
        worst: The unit where it occurs.
        worst_row: Its row.
        budget: Its budget.
        sensitivity: Its sensitivity.
        budget_from: What its budget comes from: ``tolerance``, ``sensitivity``, ``framework`` or ``fixed``.
        failing: The rows beyond their budget, the worst first.
        row_used: error / budget of every row.
        row_budget: The budget that it is taken from.
        row_unit: Which unit of every row that is.
        own: The framework's own error that counts at each unit.
    """

    verdict: Verdict
    budget_used: float
    worst: int
    worst_row: int
    budget: float
    sensitivity: float
    budget_from: str
    failing: npt.NDArray[np.intp]

    row_used: Floats = dataclasses.field(default_factory=lambda: np.zeros(0), repr=False, compare=False)
    row_budget: Floats = dataclasses.field(default_factory=lambda: np.zeros(0), repr=False, compare=False)
    row_unit: npt.NDArray[np.intp] = dataclasses.field(
        default_factory=lambda: np.zeros(0, dtype=np.intp), repr=False, compare=False
    )
    own: Floats = dataclasses.field(default_factory=lambda: np.zeros(0), repr=False, compare=False)


@dataclasses.dataclass(frozen=True)
class Profile:
    """The framework's own error on typical inputs, per unit, with the size that it is measured against."""

    error: Floats
    scale: Floats


def robust_scale(values: Array) -> float:
    """Return the size of an output: the 99th percentile of its finite magnitudes, or 0 when nothing is finite."""
    magnitudes = np.abs(values[np.isfinite(values)].astype(np.float64))
    if magnitudes.size == 0:
        return 0.0
    return float(np.quantile(magnitudes, 0.99, method="lower"))


def column_scales(values: Array) -> Floats:
    """Return the size of each column of a table, at least ``COLUMN_FLOOR`` of the size of the whole."""
    sizes = np.array([robust_scale(values[:, column]) for column in range(values.shape[1])])
    found: Floats = np.maximum(sizes, COLUMN_FLOOR * robust_scale(values))
    return found


def by_row(values: Array, rows: int) -> Array:
    """Return ``values`` as ``[rows, rest]``, or ``[1, all]`` when its first axis is not the batch."""
    if values.ndim and values.shape[0] == rows:
        return values.reshape(rows, math.prod(values.shape[1:]))
    return values.reshape(1, values.size)


def row_max(values: Floats) -> Floats:
    """Return the maximum of each row of a 2-D array, 0 for empty rows."""
    found: Floats = values.max(axis=1, initial=0.0)
    return found


def narrow(values: Array, dtype: np.dtype[Any]) -> Array:
    """Cast to ``dtype`` as a store would: overflow becomes an infinity, without a warning."""
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        return values.astype(dtype)


def unit_difference(a: Array, b: Array, rows: int, *, by_column: bool = False) -> Floats:
    """Return the largest |a - b| of each unit, ``[rows, units per row]``, over the elements where both are finite."""
    left, right = by_row(a, rows).astype(np.float64), by_row(b, rows).astype(np.float64)
    finite = np.isfinite(left) & np.isfinite(right)
    with np.errstate(invalid="ignore", over="ignore"):
        apart: Floats = np.where(finite, np.abs(left - right), 0.0)
    return apart if by_column else row_max(apart)[:, None]


def row_difference(a: Array, b: Array, rows: int) -> Floats:
    """Return the largest |a - b| of each row over the elements where both are finite."""
    return unit_difference(a, b, rows)[:, 0]


def measure(
    fw: Array, ref: Array | None, ox: Array, rows: int, scale_floor: float | Floats, *, by_column: bool = False
) -> FloatErrors:
    """Measure one floating output; the arrays have equal shapes, and ``ref`` is None without a float64 reference.

    Args:
        fw: The framework's answer.
        ref: The float64 answer.
        ox: ONNX's answer.
        rows: Size of the batch.
        scale_floor: Usual size of the output, or of each of its columns.
        by_column: Each element is a unit of its own.
    """
    truth = fw if ref is None else ref
    size = by_row(truth, rows).astype(np.float64)
    size = np.where(np.isfinite(size), np.abs(size), 0.0)
    scale = np.maximum(size if by_column else row_max(size)[:, None], scale_floor)
    wrong = _wrong_specials(fw, truth, ox)
    count = int(np.count_nonzero(wrong))
    return FloatErrors(
        onnx=unit_difference(ox, truth, rows, by_column=by_column).reshape(-1),
        framework=unit_difference(fw, truth, rows, by_column=by_column).reshape(-1),
        difference=unit_difference(ox, fw, rows, by_column=by_column).reshape(-1),
        scale=scale.reshape(-1),
        ulp=_max_ulp(ox, truth),
        ulp_framework=_max_ulp(ox, fw),
        wrong_specials=count,
        special_note=_special_note(wrong, fw, ox) if count else "",
        columns=scale.shape[1],
    )


def _max_ulp(ox: Array, other: Array) -> int:
    if ox.size == 0:
        return 0
    return int(ulp_distance(ox, narrow(other, ox.dtype)).max())


def _wrong_specials(fw: Array, truth: Array, ox: Array) -> npt.NDArray[np.bool_]:
    """Mark elements that are NaN, infinite or finite unlike the framework.

    Where the framework itself overflowed, the reference may be right too; where it stayed finite, an infinity of the
    reference comes of the wider range of float64 (the largest number, say).
    """
    found, run = specials(ox), specials(narrow(fw, ox.dtype))
    wrong = (found != run) & ((found != specials(narrow(truth, ox.dtype))) | (run == 0))
    if wrong.any():
        # A true value at the edge of the range may round either way: to the largest number or to infinity.
        limit = largest(ox.dtype)
        wide = np.where(np.isfinite(truth), truth, 0).astype(np.float64)
        near = np.abs(np.abs(wide) / limit - 1) <= 4 * tolerance(ox.dtype)
        at_edge = near & (found != 2) & (np.sign(wide) == np.sign(ox.astype(np.float64)))
        wrong &= ~at_edge
    return np.asarray(wrong)


def _special_note(wrong: npt.NDArray[np.bool_], fw: Array, ox: Array) -> str:
    place = tuple(int(i) for i in np.argwhere(wrong)[0])
    return (
        f"{np.count_nonzero(wrong)} element(s) differ in NaN or infinity, first at {list(place)}: "
        f"framework {float(fw[place])}, ONNX {float(ox[place])}"
    )


def rows_in_need(errors: FloatErrors, tol: float) -> npt.NDArray[np.intp]:
    """Return the rows whose error exceeds the dtype's tolerance, so that their sensitivity decides."""
    return np.unique(errors.rows[errors.onnx > tol * errors.scale])


def own_errors(errors: FloatErrors, noise: Floats | None, profile: Profile | None) -> Floats:
    """Return the error that the framework is known to make at each unit, or at units like it.

    Args:
        errors: What ``measure`` found.
        noise: The framework's own error at neighbouring inputs, per unit; None where not measured.
        profile: The framework's errors on typical inputs.
    """
    single = errors.framework if noise is None else np.maximum(errors.framework, noise)
    scale = errors.scale
    octave = _octaves(scale)
    found = single.copy()
    for level in np.unique(octave):
        # An octave with its two neighbours: sizes that differ by less than a factor of four.
        like = np.abs(octave - level) <= 1
        largest, usual = single[like], errors.framework[like]
        if usual.size < LIKE_UNITS and profile is not None:
            # Too few rows of their own to say: typical rows of this size speak for them.
            others = profile.error[np.abs(_octaves(profile.scale) - level) <= 1]
            largest, usual = np.concatenate([largest, others]), np.concatenate([usual, others])
        if usual.size >= LIKE_UNITS:
            at = octave == level
            limit = min(float(largest.max()), MEDIAN_FACTOR * float(np.median(usual)))
            found[at] = np.maximum(found[at], limit)
    return found


def _octaves(scale: Floats) -> npt.NDArray[np.int64]:
    """Return the binary exponent of each size, one far from all others for 0."""
    return np.where(scale > 0, np.frexp(scale)[1], np.iinfo(np.int16).min).astype(np.int64)


def growth(terms: int) -> float:
    """Return by how much the rounding of a sum of ``terms`` numbers may exceed the tolerance of its dtype.

    Errors of random signs grow with the root of their number; the tolerance itself covers a few lanes of them.
    """
    return min(max(1.0, math.sqrt(terms / LANES)), MOST_GROWTH)


def judge(
    errors: FloatErrors,
    *,
    tol: float,
    sensitivity: Floats | None = None,
    framework_noise: Floats | None = None,
    noise: float = 0.0,
    fixed_budget: float | None = None,
    profile: Profile | None = None,
    framework_factor: float = FRAMEWORK_FACTOR,
) -> Judgement:
    """Give the verdict on one output.

    Args:
        errors: What ``measure`` found.
        tol: Relative tolerance of the dtype.
        sensitivity: Change of the reference under half-ulp changes of the inputs, per unit; None where not measured.
        framework_noise: The framework's own error at neighbouring inputs, per unit; None where not measured.
        noise: Difference between two runs of the framework, relative to the scale; above ``tol`` nothing is decided.
        fixed_budget: A relative budget chosen by the user, instead of the rule.
        profile: The framework's own errors on typical inputs.
        framework_factor: What the framework's own error is multiplied with.

    Returns:
        The verdict, with the largest error/budget over the units and where it occurs.
    """
    units = errors.onnx.size
    s = np.zeros(units) if sensitivity is None else sensitivity
    base = tol * errors.scale
    own = own_errors(errors, framework_noise, profile)
    with np.errstate(over="ignore"):  # an infinite budget is right where the framework errs by the largest number
        terms = np.stack([base, SENSITIVITY_FACTOR * s, framework_factor * own])
    origin = np.argmax(terms, axis=0)
    budget = terms.max(axis=0) + noise * errors.scale if fixed_budget is None else fixed_budget * errors.scale
    with np.errstate(divide="ignore", invalid="ignore"):
        used = np.where(errors.onnx == 0, 0.0, errors.onnx / budget)
    worst = int(np.argmax(used)) if units else 0
    most = float(used[worst]) if units else 0.0
    verdict = _verdict(errors, base, own, most, noise > tol)
    if verdict in (Verdict.EXACT, Verdict.WITHIN_ULP):
        most = min(most, 1.0)
    if verdict is Verdict.MISMATCH:
        most = math.inf
    if not units:
        return Judgement(verdict, most, worst, 0, 0.0, 0.0, "", np.zeros(0, dtype=np.intp))
    named = "fixed" if fixed_budget is not None else ("tolerance", "sensitivity", "framework")[int(origin[worst])]
    order = np.argsort(-used, kind="stable")
    failing = errors.rows[order[: np.count_nonzero(used > 1.0)]]
    failing = failing[np.sort(np.unique(failing, return_index=True)[1])]
    row = worst // errors.columns
    by_row_used = used.reshape(-1, errors.columns)
    at = np.argmax(by_row_used, axis=1)[:, None]
    return Judgement(
        verdict,
        most,
        worst,
        row,
        float(budget[worst]),
        float(s[worst]),
        named,
        failing,
        row_used=np.take_along_axis(by_row_used, at, axis=1)[:, 0],
        row_budget=np.take_along_axis(budget.reshape(-1, errors.columns), at, axis=1)[:, 0],
        row_unit=at[:, 0],
        own=own,
    )


def _verdict(errors: FloatErrors, base: Floats, own: Floats, used: float, random: bool) -> Verdict:
    if errors.wrong_specials:
        return Verdict.INCONCLUSIVE if random else Verdict.MISMATCH
    nearest = min(errors.ulp, errors.ulp_framework)
    if nearest == 0:
        return Verdict.EXACT
    if random:
        return Verdict.INCONCLUSIVE
    if nearest <= ULP_LIMIT:
        return Verdict.WITHIN_ULP
    if used > 1.0:
        return Verdict.CONVERTER_IMPRECISE
    over = errors.onnx > base
    if not over.any():
        return Verdict.WITHIN_BUDGET
    if (own[over] >= errors.onnx[over]).all():
        return Verdict.FRAMEWORK_IMPRECISE
    return Verdict.ILL_CONDITIONED


def as_floats(values: Array) -> Array:
    """View complex arrays as floats with a last axis of two; return other arrays unchanged."""
    if values.dtype.kind == "c":
        return np.stack([values.real, values.imag], axis=-1)
    return values


def comparable_as_floats(values: Array) -> bool:
    """Return True when the elements are judged by error and budget, not by equality."""
    return is_float(values.dtype) or values.dtype.kind == "c"
