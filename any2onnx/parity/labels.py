"""Comparison of discrete outputs: labels, cluster numbers, strings, integers, booleans.

An element is *equal*, *tied* (the reference could as well have answered what ONNX answers, judged by the scores behind
the label) or *wrong*. One wrong element is a mismatch; strings are never near each other.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from any2onnx.parity.compare import Floats, by_row
from any2onnx.parity.verdict import Verdict

if TYPE_CHECKING:
    from collections.abc import Callable

    from any2onnx.parity.ulp import Array

Flags = npt.NDArray[np.bool_]


@dataclasses.dataclass(frozen=True)
class LabelScores:
    """Scores behind one column of labels.

    Attributes:
        kind: ``argmax`` (the label of the largest score), ``threshold`` (one score against ``threshold``) or
            ``pairs`` (votes of one-against-one decisions, each against 0), or ``ranked`` (column k is the number of the
            k-th largest score: neighbours, top-k).
        scores: ``[rows, classes]``, ``[rows, 1]``, ``[rows, pairs]`` or ``[rows, candidates]`` in that order of kinds.
        classes: The labels in the order of the scores' columns.
        threshold: Where the label changes, for ``threshold``.
    """

    kind: Literal["argmax", "threshold", "pairs", "ranked"]
    scores: Array
    classes: Array
    threshold: float = 0.0


@dataclasses.dataclass(frozen=True)
class LabelCounts:
    """How many elements are equal, tied and wrong, and the first wrong one."""

    equal: int
    tied: int
    wrong: int
    first_wrong: tuple[int, ...] | None
    note: str

    @property
    def verdict(self) -> Verdict:
        """``exact`` without ties, ``within-budget`` with ties only, else ``mismatch``."""
        if self.wrong:
            return Verdict.MISMATCH
        return Verdict.WITHIN_BUDGET if self.tied else Verdict.EXACT


def margins(scores: LabelScores, answered: Array) -> Floats:
    """Return how far the reference's scores are from giving the labels ``answered`` (one per row)."""
    if scores.kind == "threshold":
        return np.abs(scores.scores[:, 0].astype(np.float64) - scores.threshold)
    if scores.kind == "pairs":
        closest: Floats = np.abs(scores.scores.astype(np.float64)).min(axis=1)
        return closest
    table = scores.scores.astype(np.float64)
    column = _columns_of(answered, scores.classes)
    known = column >= 0
    own = np.take_along_axis(table, np.maximum(column, 0)[:, None], axis=1)[:, 0]
    # A label that is no class of the model can never be a tie.
    return np.where(known, table.max(axis=1) - own, np.inf)


def ranked_margins(scores: Array, answered: Array) -> Floats:
    """Return how far each ranked answer ``[rows, k]`` is from the score of its rank.

    A candidate that does not exist or is named twice in a row is infinitely far.
    """
    table = scores.astype(np.float64)
    chosen = answered.astype(np.int64)
    known = (chosen >= 0) & (chosen < table.shape[1])
    own = np.take_along_axis(table, np.where(known, chosen, 0), axis=1)
    best = -np.sort(-table, axis=1)[:, : chosen.shape[1]]
    found: Floats = np.where(known, np.abs(own - best), np.inf)
    ordered = np.sort(chosen, axis=1)
    found[(ordered[:, 1:] == ordered[:, :-1]).any(axis=1)] = np.inf
    return found


def _columns_of(labels: Array, classes: Array) -> npt.NDArray[np.intp]:
    order = np.argsort(classes, kind="stable")
    wanted = labels.astype(classes.dtype)
    place = np.minimum(np.searchsorted(classes[order], wanted), len(classes) - 1)
    column = order[place]
    return np.where(classes[column] == wanted, column, -1)


def canonical(values: Array) -> Array:
    """Bring discrete values to a form that compares by value: str for text, int64 for booleans and integers.

    Text must be text on both sides: a number and its decimal notation stay different.
    """
    if values.dtype.kind in "OSU" or values.dtype.kind == "T":
        kinds = {type(item) for item in values.ravel()}
        if kinds and all(issubclass(kind, (bool, int, np.integer, np.bool_)) for kind in kinds):
            return values.astype(np.int64)
        if kinds and all(issubclass(kind, (float, int, np.number)) for kind in kinds):
            return values.astype(np.float64)
        return values.astype(str)
    if values.dtype.kind in "bi":
        return values.astype(np.int64)
    return values


def equal_elements(a: Array, b: Array) -> Flags:
    """Return where two canonical arrays of one shape are equal; NaN equals NaN, text never equals a number."""
    if (a.dtype.kind == "U") != (b.dtype.kind == "U"):
        return np.zeros(a.shape, dtype=bool)
    same = np.asarray(a == b)
    if a.dtype.kind == "f" and b.dtype.kind == "f":
        same |= np.isnan(a) & np.isnan(b)
    return same


def compare_labels(
    fw: Array,
    ref: Array | None,
    ox: Array,
    rows: int,
    ties: Callable[[npt.NDArray[np.intp], Flags, Array], Flags] | None = None,
) -> LabelCounts:
    """Count equal, tied and wrong elements.

    Args:
        fw: Labels of the framework.
        ref: Labels of the framework in float64, or None.
        ox: Labels of ONNX, of the same shape.
        rows: Size of the batch.
        ties: Called with the rows that differ, which elements differ in them, and ONNX's answers there (both
            ``[n, columns]``); returns which elements are ties (same shape).

    Returns:
        The counts. What equals either the framework's or the float64 answer is equal.
    """
    ours, theirs = canonical(ox), canonical(fw)
    same = equal_elements(ours, theirs)
    if ref is not None:
        same |= equal_elements(ours, canonical(ref))
    differing = by_row(~same, rows)
    tied = np.zeros_like(differing)
    row_numbers = np.flatnonzero(differing.any(axis=1))
    if ties is not None and row_numbers.size and differing.shape[0] == rows:
        tied[row_numbers] = differing[row_numbers] & ties(
            row_numbers, differing[row_numbers], by_row(ox, rows)[row_numbers]
        )
    wrong = differing & ~tied
    first: tuple[int, ...] | None = None
    note = ""
    if wrong.any():
        first = tuple(int(i) for i in np.unravel_index(int(np.argmax(wrong)), same.shape))
        note = (
            f"{np.count_nonzero(wrong)} of {same.size} differ, first at {list(first)}: "
            f"framework {_shown(fw[first])}, ONNX {_shown(ox[first])}"
        )
    elif tied.any():
        note = f"{np.count_nonzero(tied)} tie(s): the scores behind differ by less than their budget"
    return LabelCounts(
        equal=int(np.count_nonzero(same)),
        tied=int(np.count_nonzero(tied)),
        wrong=int(np.count_nonzero(wrong)),
        first_wrong=first,
        note=note,
    )


def _shown(value: Any) -> str:
    return repr(value.item() if isinstance(value, np.generic) else value)
