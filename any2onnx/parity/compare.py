"""Comparison of one floating output: errors against the reference, the budget, the verdict.

The rule is the one of the project's parity design: `ref` is the framework in float64, `fw` the framework as it is
run, `ox` onnxruntime. Per row, with `scale` the robust size of the output,

    budget = max(8 * sensitivity, 2 * |fw - ref|, tolerance(dtype) * scale)

so an error is excused only by what the rounding of the inputs does to the true function, or by what the framework
gets wrong itself. Rows are judged one by one: an ill-conditioned row never excuses another.
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
PERTURBATIONS = 8
ULP_LIMIT = 4

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


@dataclasses.dataclass(frozen=True)
class FloatErrors:
    """Errors of one output on one case; row arrays have one entry per row of the batch.

    Attributes:
        onnx: Largest |ox - ref| of each row.
        framework: Largest |fw - ref| of each row.
        difference: Largest |ox - fw| of each row.
        scale: Size of the output that errors of the row are measured against.
        ulp: Largest ULP distance between ox and ref.
        ulp_framework: Largest ULP distance between ox and fw.
        wrong_specials: Number of NaN, infinities or numbers where neither fw nor ref has one.
        special_note: The first such place in words, empty when there is none.
    """

    onnx: Floats
    framework: Floats
    difference: Floats
    scale: Floats
    ulp: int
    ulp_framework: int
    wrong_specials: int
    special_note: str


@dataclasses.dataclass(frozen=True)
class Judgement:
    """The verdict on one output and how near it is to the next worse one.

    ``row_used`` and ``row_budget`` are error / budget and budget of every row.
    """

    verdict: Verdict
    budget_used: float
    worst_row: int
    budget: float
    sensitivity: float
    row_used: Floats = dataclasses.field(default_factory=lambda: np.zeros(0), repr=False, compare=False)
    row_budget: Floats = dataclasses.field(default_factory=lambda: np.zeros(0), repr=False, compare=False)


def robust_scale(values: Array) -> float:
    """Return the size of an output: the 99th percentile of its finite magnitudes, or 0 when nothing is finite."""
    magnitudes = np.abs(values[np.isfinite(values)].astype(np.float64))
    if magnitudes.size == 0:
        return 0.0
    return float(np.quantile(magnitudes, 0.99, method="lower"))


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


def row_difference(a: Array, b: Array, rows: int) -> Floats:
    """Return the largest |a - b| of each row over the elements where both are finite."""
    left, right = by_row(a, rows).astype(np.float64), by_row(b, rows).astype(np.float64)
    finite = np.isfinite(left) & np.isfinite(right)
    with np.errstate(invalid="ignore", over="ignore"):
        return row_max(np.where(finite, np.abs(left - right), 0.0))


def measure(fw: Array, ref: Array | None, ox: Array, rows: int, scale_floor: float) -> FloatErrors:
    """Measure one floating output; the arrays have equal shapes, and ``ref`` is None without a float64 reference."""
    truth = fw if ref is None else ref
    size = by_row(truth, rows).astype(np.float64)
    scale = np.maximum(row_max(np.where(np.isfinite(size), np.abs(size), 0.0)), scale_floor)
    wrong = _wrong_specials(fw, truth, ox)
    count = int(np.count_nonzero(wrong))
    return FloatErrors(
        onnx=row_difference(ox, truth, rows),
        framework=row_difference(fw, truth, rows),
        difference=row_difference(ox, fw, rows),
        scale=scale,
        ulp=_max_ulp(ox, truth),
        ulp_framework=_max_ulp(ox, fw),
        wrong_specials=count,
        special_note=_special_note(wrong, fw, ox) if count else "",
    )


def _max_ulp(ox: Array, other: Array) -> int:
    if ox.size == 0:
        return 0
    return int(ulp_distance(ox, narrow(other, ox.dtype)).max())


def _wrong_specials(fw: Array, truth: Array, ox: Array) -> npt.NDArray[np.bool_]:
    """Mark elements that are NaN, infinite or finite unlike both the framework and the reference."""
    found = specials(ox)
    wrong = (found != specials(narrow(fw, ox.dtype))) & (found != specials(narrow(truth, ox.dtype)))
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
    return np.flatnonzero(errors.onnx > tol * errors.scale)


def judge(
    errors: FloatErrors,
    *,
    tol: float,
    sensitivity: Floats | None = None,
    framework_noise: Floats | None = None,
    noise: float = 0.0,
    fixed_budget: float | None = None,
) -> Judgement:
    """Give the verdict on one output.

    Args:
        errors: What ``measure`` found.
        tol: Relative tolerance of the dtype.
        sensitivity: Change of the reference under half-ulp changes of the inputs, per row; None where not measured.
        framework_noise: The framework's own error at neighbouring inputs, per row; None where not measured.
        noise: Difference between two runs of the framework, relative to the scale; above ``tol`` nothing is decided.
        fixed_budget: A relative budget chosen by the user, instead of the rule.

    Returns:
        The verdict, with the largest error/budget over the rows and the row where it occurs.
    """
    rows = errors.onnx.size
    s = np.zeros(rows) if sensitivity is None else sensitivity
    base = tol * errors.scale
    if fixed_budget is None:
        own = errors.framework if framework_noise is None else np.maximum(errors.framework, framework_noise)
        budget = np.maximum(np.maximum(SENSITIVITY_FACTOR * s, FRAMEWORK_FACTOR * own), base)
        budget = budget + noise * errors.scale
    else:
        budget = fixed_budget * errors.scale
    with np.errstate(divide="ignore", invalid="ignore"):
        used = np.where(errors.onnx == 0, 0.0, errors.onnx / budget)
    worst = int(np.argmax(used)) if rows else 0
    most = float(used[worst]) if rows else 0.0
    verdict = _verdict(errors, base, most, noise > tol)
    if verdict in (Verdict.EXACT, Verdict.WITHIN_ULP):
        most = min(most, 1.0)
    if verdict is Verdict.MISMATCH:
        most = math.inf
    if not rows:
        return Judgement(verdict, most, worst, 0.0, 0.0)
    return Judgement(verdict, most, worst, float(budget[worst]), float(s[worst]), row_used=used, row_budget=budget)


def _verdict(errors: FloatErrors, base: Floats, used: float, random: bool) -> Verdict:
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
    if (errors.framework[over] >= errors.onnx[over]).all():
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
