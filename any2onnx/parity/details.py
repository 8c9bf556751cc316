"""What a report shows beyond the worst number: error histograms and the worst rows.

Everything here merges exactly: counts are integers, sums are fractions, and the order of equally bad rows is that of
the data. So a comparison gives the same report however its rows were cut into chunks or spread over machines.
"""

from __future__ import annotations

import dataclasses
import fractions
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from any2onnx.parity.labels import canonical, equal_elements
from any2onnx.parity.ulp import INCOMPARABLE, Array, is_float, ulp_distance

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from any2onnx.parity.compare import FloatErrors, Judgement

KEPT_ROWS = 8
"""Worst rows that a detail keeps."""

_EXACT_BINS = 64
_BINS_PER_OCTAVE = 32
_INCOMPARABLE_BIN = _EXACT_BINS + 64 * _BINS_PER_OCTAVE
# Shares of the budget are counted in bins of a quarter octave; the first is for an error of 0.
_USED_BINS_PER_OCTAVE = 4
_USED_LOWEST = -40
_USED_HIGHEST = 40
# Inputs with more numbers than this are summed up in the table of the worst rows.
_SHOWN_NUMBERS = 32

QUANTILES = (("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999), ("max", 1.0))
"""Shares of the elements whose ULP distance is reported."""

Counts = tuple[tuple[int, int], ...]
"""Pairs of bin and number of members, sorted by bin, without empty bins."""


# --- bins --------------------------------------------------------------------------------------------------------


def ulp_bins(distances: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
    """Return the bin of each ULP distance: exact below 64, then 32 bins per factor of two (within 3 %)."""
    values = np.ascontiguousarray(distances, dtype=np.uint64)
    exponent = np.frexp(np.maximum(values, 1).astype(np.float64))[1].astype(np.int64) - 1
    # The conversion to float64 may round a number just below a power of two up to it.
    exponent = np.minimum(exponent, 63)
    exponent -= (np.left_shift(np.uint64(1), exponent.astype(np.uint64)) > values).astype(np.int64)
    shift = np.maximum(exponent - 5, 0).astype(np.uint64)
    within = (np.right_shift(values, shift) & np.uint64(_BINS_PER_OCTAVE - 1)).astype(np.int64)
    coarse = _EXACT_BINS + (exponent - 6) * _BINS_PER_OCTAVE + within
    bins = np.where(values < _EXACT_BINS, values.astype(np.int64), coarse)
    return np.where(values == np.uint64(INCOMPARABLE), _INCOMPARABLE_BIN, bins)


def ulp_range(number: int) -> tuple[int, int]:
    """Return the smallest and the largest ULP distance of a bin."""
    if number < _EXACT_BINS:
        return number, number
    if number >= _INCOMPARABLE_BIN:
        return INCOMPARABLE, INCOMPARABLE
    octave, within = divmod(number - _EXACT_BINS, _BINS_PER_OCTAVE)
    width = 1 << (octave + 1)
    low = (_BINS_PER_OCTAVE + within) * width
    return low, low + width - 1


def used_bins(shares: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Return the bin of each error/budget: 0 for none, then quarter octaves from 2^-40 to 2^40."""
    with np.errstate(divide="ignore"):
        octaves = np.floor(np.log2(np.where(shares > 0, shares, 1.0)) * _USED_BINS_PER_OCTAVE)
    octaves = np.where(np.isfinite(octaves), octaves, _USED_HIGHEST * _USED_BINS_PER_OCTAVE)
    low, high = _USED_LOWEST * _USED_BINS_PER_OCTAVE, _USED_HIGHEST * _USED_BINS_PER_OCTAVE
    bins = np.clip(octaves, low, high).astype(np.int64) - low + 1
    return np.where(shares > 0, bins, 0)


def used_range(number: int) -> tuple[float, float]:
    """Return the lower and the upper edge of a bin of ``used_bins``."""
    if number == 0:
        return 0.0, 0.0
    low = (number - 1) / _USED_BINS_PER_OCTAVE + _USED_LOWEST
    return 2.0**low, 2.0 ** (low + 1 / _USED_BINS_PER_OCTAVE)


def count(bins: npt.NDArray[np.int64]) -> Counts:
    """Count the members of each bin."""
    numbers = np.bincount(bins.ravel()) if bins.size else np.zeros(0, np.int64)
    filled = np.flatnonzero(numbers)
    return tuple(zip(filled.tolist(), numbers[filled].tolist(), strict=True))


def merge_counts(parts: Iterable[Counts]) -> Counts:
    """Add histograms bin by bin."""
    total: dict[int, int] = {}
    for part in parts:
        for number, members in part:
            total[number] = total.get(number, 0) + members
    return tuple(sorted(total.items()))


def exact_sum(values: npt.NDArray[np.float64]) -> fractions.Fraction:
    """Return the sum without any rounding, so that it does not depend on the order of its terms.

    Mantissas are summed as integers, one sum for each exponent and half of the mantissa.
    """
    finite = values[np.isfinite(values)].ravel()
    finite = finite[finite != 0]
    if not finite.size:
        return fractions.Fraction(0)
    mantissa, exponent = np.frexp(finite)
    whole = np.ldexp(mantissa, 53).astype(np.int64)
    exponents, place = np.unique(exponent, return_inverse=True)
    total = fractions.Fraction(0)
    for shift, part in ((27, whole >> 27), (0, whole & ((1 << 27) - 1))):
        # 26 or 27 bits each: float64 weights stay exact up to 2^26 elements, far beyond one case.
        sums = np.bincount(place, weights=part.astype(np.float64), minlength=len(exponents))
        for power, amount in zip(exponents.tolist(), sums.tolist(), strict=True):
            total += fractions.Fraction(int(amount) << shift) * fractions.Fraction(2) ** (power - 53)
    return total


# --- the parts ---------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class WorstRow:
    """One row near or beyond its budget, with the element of it that is furthest off.

    Attributes:
        suite: Suite of the case.
        case: The case.
        row: Number of the row in the case.
        element: Place of the element in the output.
        framework: What the framework answers there, as text that reads back to the same number.
        reference: What the float64 reference answers; the framework's answer where there is none.
        onnx: What onnxruntime answers.
        error: |ONNX - reference|; None for labels and where one of them is not finite.
        budget: Budget of the row; None for labels.
        used: error / budget of the row; infinite where no budget applies.
        ulp: ULP distance between ONNX and the reference; None for labels.
        inputs: The row's inputs by name, shortened where they are long.
    """

    suite: str
    case: str
    row: int
    element: tuple[int, ...]
    framework: str
    reference: str
    onnx: str
    error: float | None
    budget: float | None
    used: float
    ulp: int | None
    inputs: tuple[tuple[str, str], ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return plain values; infinities become None."""
        found = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        found["element"] = list(self.element)
        found["inputs"] = dict(self.inputs)
        return {key: _finite(value) for key, value in found.items()}

    @property
    def badness(self) -> tuple[float, float]:
        """A key that orders rows from best to worst."""
        return (self.used, math.inf if self.error is None else self.error)


@dataclasses.dataclass(frozen=True)
class Detail:
    """Histograms and worst rows of one output, over one case or several.

    Attributes:
        elements: Elements compared.
        rows: Rows compared.
        ulp: Elements by ULP distance between ONNX and the reference, see ``ulp_range``; empty for labels.
        ulp_framework: Elements by ULP distance between ONNX and the framework as run.
        used: Rows by error / budget, see ``used_range``.
        total: Exact sum of |ONNX - reference| over the finite elements.
        finite: Number of these elements.
        worst: The worst rows, the worst one first.
    """

    elements: int = 0
    rows: int = 0
    ulp: Counts = ()
    ulp_framework: Counts = ()
    used: Counts = ()
    total: fractions.Fraction = fractions.Fraction(0)
    finite: int = 0
    worst: tuple[WorstRow, ...] = ()

    @property
    def mean(self) -> float:
        """Mean |ONNX - reference| over the finite elements."""
        return float(self.total / self.finite) if self.finite else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Return plain values; histograms as ``[low, high, count]``, with None for what JSON has no number for."""
        return {
            "elements": self.elements,
            "rows": self.rows,
            "mean_abs": self.mean,
            "ulp_quantiles": {name: _finite(self.ulp_quantile(share)) for name, share in QUANTILES} if self.ulp else {},
            "ulp_histogram": _plain_counts(self.ulp, ulp_range),
            "ulp_framework_histogram": _plain_counts(self.ulp_framework, ulp_range),
            "budget_histogram": _plain_counts(self.used, used_range),
            "worst_rows": [row.to_dict() for row in self.worst],
        }

    def ulp_quantile(self, share: float) -> int:
        """Return the ULP distance that a share of the elements does not exceed (exact below 64, else within 3 %)."""
        return ulp_range(_quantile(self.ulp, share))[1]

    def used_quantile(self, share: float) -> float:
        """Return an upper bound of the error / budget that a share of the rows does not exceed."""
        return used_range(_quantile(self.used, share))[1]


def merge(details: Iterable[Detail]) -> Detail:
    """Put details together; the result does not depend on how they were cut, only on the order of their rows."""
    parts = list(details)
    worst = [row for part in parts for row in part.worst]
    return Detail(
        elements=sum(part.elements for part in parts),
        rows=sum(part.rows for part in parts),
        ulp=merge_counts(part.ulp for part in parts),
        ulp_framework=merge_counts(part.ulp_framework for part in parts),
        used=merge_counts(part.used for part in parts),
        total=sum((part.total for part in parts), fractions.Fraction(0)),
        finite=sum(part.finite for part in parts),
        # The sort is stable: among equally bad rows the first one in the data stays first.
        worst=tuple(sorted(worst, key=lambda row: row.badness, reverse=True)[:KEPT_ROWS]),
    )


def _finite(value: Any) -> Any:
    if (isinstance(value, float) and not math.isfinite(value)) or (isinstance(value, int) and value == INCOMPARABLE):
        return None
    return value


def _plain_counts(counts: Counts, edges: Callable[[int], tuple[Any, Any]]) -> list[list[Any]]:
    return [[*(_finite(edge) for edge in edges(number)), members] for number, members in counts]


def _quantile(counts: Counts, share: float) -> int:
    total = sum(members for _, members in counts)
    seen = 0
    for number, members in counts:
        seen += members
        if seen >= share * total:
            return number
    return 0


# --- making them -------------------------------------------------------------------------------------------------


def float_detail(
    place: tuple[str, str],
    rows: int,
    feeds: Mapping[str, Array],
    sides: tuple[Array, Array | None, Array],
    errors: FloatErrors,
    judgement: Judgement,
) -> Detail:
    """Return the detail of a floating output on one case.

    Args:
        place: Suite and case.
        rows: Size of the batch.
        feeds: The inputs.
        sides: Framework as run, reference (or None) and ONNX, of one shape and real.
        errors: What was measured.
        judgement: What was judged, with the budget of each row.
    """
    fw, ref, ox = sides
    truth = fw if ref is None else ref
    if not ox.size:
        return Detail(rows=rows)
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        distance = ulp_distance(ox, truth.astype(ox.dtype))
        distance_framework = ulp_distance(ox, fw.astype(ox.dtype))
        difference = np.abs(ox.astype(np.float64) - truth.astype(np.float64))
    finite = np.isfinite(ox) & np.isfinite(truth)
    used = judgement.row_used
    table = np.where(finite, difference, 0.0).reshape(len(used), -1)
    # A wrong NaN or infinity has no finite difference, and is worse than any.
    strange = (distance == np.uint64(INCOMPARABLE)).reshape(len(used), -1)
    rank = np.where(strange.any(axis=1), np.inf, used) if judgement.verdict.failed else used
    worst = []
    for row in _worst_first(rank, errors.onnx.reshape(-1, errors.columns).max(axis=1)):
        at = int(np.argmax(strange[row])) if strange[row].any() else int(np.argmax(table[row]))
        if errors.columns > 1 and not strange[row].any():
            at = int(judgement.row_unit[row])
        element = _place(ox.shape, len(used), row, at)
        worst.append(
            WorstRow(
                *place,
                row=row,
                element=element,
                framework=shown(fw[element]),
                reference=shown(truth[element]),
                onnx=shown(ox[element]),
                error=float(table[row, at]) if finite[element] else None,
                budget=float(judgement.row_budget[row]),
                used=float(rank[row]),
                ulp=int(distance[element]),
                inputs=shown_inputs(feeds, row, rows),
            )
        )
    return Detail(
        elements=ox.size,
        rows=rows,
        ulp=count(ulp_bins(distance)),
        ulp_framework=count(ulp_bins(distance_framework)),
        used=count(used_bins(used)),
        total=exact_sum(difference[finite]),
        finite=int(np.count_nonzero(finite)),
        worst=tuple(worst),
    )


def label_detail(
    place: tuple[str, str],
    rows: int,
    feeds: Mapping[str, Array],
    sides: tuple[Array, Array | None, Array],
    *,
    wrong: bool,
) -> Detail:
    """Return the detail of a discrete output on one case: the first rows with another answer."""
    fw, ref, ox = sides
    same = equal_elements(canonical(ox), canonical(fw))
    if ref is not None:
        same |= equal_elements(canonical(ox), canonical(ref))
    batch = rows if ox.ndim and len(ox) == rows else 1
    table = same.reshape(batch, math.prod(ox.shape) // max(batch, 1)) if ox.size else np.ones((batch, 0), dtype=bool)
    worst = []
    for row in np.flatnonzero(~table.all(axis=1))[:KEPT_ROWS].tolist():
        element = _place(ox.shape, batch, row, int(np.argmin(table[row])))
        worst.append(
            WorstRow(
                *place,
                row=row,
                element=element,
                framework=shown(fw[element]),
                reference=shown(fw[element] if ref is None else ref[element]),
                onnx=shown(ox[element]),
                error=None,
                budget=None,
                used=math.inf if wrong else 1.0,
                ulp=None,
                inputs=shown_inputs(feeds, row, rows),
            )
        )
    return Detail(elements=ox.size, rows=rows, worst=tuple(worst))


def _worst_first(used: npt.NDArray[np.float64], error: npt.NDArray[np.float64]) -> list[int]:
    """Return the rows with the largest share of their budget; rows without any error are of no interest."""
    candidates = np.flatnonzero(used > 0)
    if candidates.size > 4 * KEPT_ROWS:
        floor = np.partition(used[candidates], -KEPT_ROWS)[-KEPT_ROWS]
        candidates = candidates[used[candidates] >= floor]
    order = np.lexsort((candidates, -error[candidates], -used[candidates]))
    return [int(row) for row in candidates[order[:KEPT_ROWS]]]


def _place(shape: Sequence[int], batch: int, row: int, at: int) -> tuple[int, ...]:
    per_row = math.prod(shape) // max(batch, 1)
    return tuple(int(i) for i in np.unravel_index(row * per_row + at, tuple(shape)))


def shown(value: Any) -> str:
    """Return a scalar as text: numbers so that they read back to the same number."""
    if isinstance(value, np.ndarray):
        value = value[()]
    if isinstance(value, np.generic):
        if is_float(value.dtype):
            return str(value) if value.dtype.kind == "f" else str(float(value))
        return str(value.item())
    return str(value)


def shown_inputs(feeds: Mapping[str, Array], row: int, rows: int) -> tuple[tuple[str, str], ...]:
    """Return one row of every input as text; long ones as their shape and range."""
    found = []
    for name, values in feeds.items():
        part = values[row] if values.ndim and len(values) == rows and row < rows else values
        part = np.asarray(part)
        if part.size <= _SHOWN_NUMBERS:
            text = ", ".join(shown(item) for item in part.ravel())
        else:
            text = f"{part.dtype.name if part.dtype.kind != 'O' else 'text'}{list(part.shape)}"
            if part.dtype.kind in "iuf":
                text += f" from {shown(part.min())} to {shown(part.max())}"
        found.append((name, text))
    return tuple(found)
