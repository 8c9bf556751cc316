"""How far the true function moves when its inputs move by half a unit in the last place.

A float32 input stands for every number that rounds to it. What the function does within that half ulp no conversion
can be blamed for; it is measured in float64, where such steps can be represented.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Sequence

import numpy as np

from any2onnx.parity.compare import PERTURBATIONS, Floats, by_row, row_difference, row_max, unit_difference
from any2onnx.parity.labels import Flags, LabelScores, canonical, equal_elements, margins, ranked_margins
from any2onnx.parity.signature import Feeds, Signature
from any2onnx.parity.ulp import Array, half_ulp, is_float, neighbours

# Strictly inside the half ulp: a float64 value exactly between two float32 numbers may round to either.
_INSIDE = 1.0 - 2.0**-10
# Rows on a decision threshold are moved by a small part of an ulp, twice and in the same direction: both points lie on
# the same side, so that their difference, scaled back, is the slope of the smooth part and leaves out the jump.
_SMALL = 2.0**-12
_NEARER = 2.0**-4

NOISE_SAMPLES = PERTURBATIONS

Results = list[list[Array]]
Key = tuple[int, int]
Run = Callable[[Feeds], Results | None]


def to_float64(feeds: Feeds, signature: Signature) -> Feeds:
    """Return the feeds with floating inputs in float64: the same points, exactly."""
    return {
        spec.name: feeds[spec.name].astype(np.float64) if spec.is_float else feeds[spec.name]
        for spec in signature.inputs
    }


def take_rows(feeds: Feeds, rows: Array) -> Feeds:
    """Return some rows of every input that has rows."""
    return {name: values[rows] if values.ndim else values for name, values in feeds.items()}


def repeat(feeds: Feeds, times: int) -> Feeds:
    """Return every input ``times`` times over, one copy behind the other."""
    return {name: np.concatenate([values] * times) if values.ndim else values for name, values in feeds.items()}


def can_perturb(signature: Signature, *, double: bool, at_thresholds: bool) -> bool:
    """Tell whether a perturbation says anything.

    Rows on a threshold need steps far below an ulp, which only a wider reference can take.
    """
    floats = [spec for spec in signature.inputs if spec.is_float]
    if not floats:
        return False
    return not at_thresholds or (double and all(spec.dtype != np.float64 for spec in floats))


def perturbed(
    feeds: Feeds,
    signature: Signature,
    rng: np.random.Generator,
    *,
    double: bool,
    at_thresholds: bool = False,
    factor: float = 1.0,
) -> tuple[Feeds, float]:
    """Move every finite floating input by half an ulp of its own dtype, up or down at random.

    Args:
        feeds: Inputs in the ONNX dtypes.
        signature: The inputs.
        rng: Draws the signs.
        double: The result is for a float64 reference.
        at_thresholds: Take a far smaller step.
        factor: Multiplies the step.

    Returns:
        The moved feeds, and what a change of the outputs has to be multiplied with: a float64 input, and every input
        without a float64 reference, can only move by whole ulps, so that half of the change counts.
    """
    whole = not double or any(spec.dtype == np.float64 for spec in signature.inputs)
    moved: Feeds = {}
    for spec in signature.inputs:
        values = feeds[spec.name]
        if not spec.is_float:
            moved[spec.name] = values
        elif whole and factor == 1.0:
            signs = rng.integers(0, 2, values.shape).astype(bool)
            down, up = neighbours(values)
            stepped = np.where(np.isfinite(values), np.where(signs, up, down), values)
            moved[spec.name] = stepped.astype(np.float64) if double else stepped.astype(values.dtype)
        else:
            signs = rng.integers(0, 2, values.shape) * 2.0 - 1.0
            step = half_ulp(values) * signs * (_INSIDE * factor * (_SMALL if at_thresholds else 1.0))
            wide = values.astype(np.float64) + step
            moved[spec.name] = wide if double else wide.astype(values.dtype)
    if whole:
        return moved, 0.5
    return moved, 1.0 / (_SMALL * (1 - _NEARER)) if at_thresholds else 1.0


def both_steps(
    feeds: Feeds, signature: Signature, rng: np.random.Generator, *, double: bool, at_thresholds: bool
) -> tuple[Feeds, Feeds | None, float]:
    """Return moved feeds, those to compare their results with (None: the unmoved ones), and the factor of changes."""
    if not at_thresholds:
        moved, scale = perturbed(feeds, signature, rng, double=double)
        return moved, None, scale
    same = copy.deepcopy(rng)
    moved, scale = perturbed(feeds, signature, rng, double=double, at_thresholds=True)
    nearer, _ = perturbed(feeds, signature, same, double=double, at_thresholds=True, factor=_NEARER)
    return moved, nearer, scale


def measure_sensitivity(
    run: Run,
    feeds: Feeds,
    base: Results,
    signature: Signature,
    rng: np.random.Generator,
    *,
    rows: int,
    row_wise: bool,
    double: bool,
    at_thresholds: bool = False,
    by_column: Collection[Key] = (),
) -> list[list[Floats]] | None:
    """Return, for every array and unit, the largest change of the reference over ``PERTURBATIONS`` perturbations.

    Args:
        run: The reference (float64, or the framework as run).
        feeds: Inputs in the ONNX dtypes.
        base: The reference's results on the feeds themselves.
        signature: The inputs.
        rng: Draws the perturbations.
        rows: Number of rows.
        row_wise: All perturbations may share one call.
        double: ``run`` takes float64 inputs.
        at_thresholds: Rows sit on decision thresholds.
        by_column: The arrays whose elements are units of their own.

    Returns:
        Arrays ``[rows, units]`` in the form of ``base``, or None when the reference rejects a perturbed input.
    """
    if not can_perturb(signature, double=double, at_thresholds=at_thresholds):
        return None
    many = repeat(feeds, PERTURBATIONS) if row_wise else feeds
    largest = _zeros(base, rows, by_column)
    for _ in range(1 if row_wise else PERTURBATIONS):
        moved, nearer, scale = both_steps(many, signature, rng, double=double, at_thresholds=at_thresholds)
        found, start = run(moved), base if nearer is None else run(nearer)
        if found is None or start is None:
            return None
        for i, group in enumerate(largest):
            for j, values in enumerate(group):
                pair = found[i][j], start[i][j]
                times = PERTURBATIONS if row_wise else 1
                change = _change(*pair, rows, times, repeated=nearer is not None, by_column=(i, j) in by_column)
                if change is not None and change.shape == values.shape:
                    group[j] = np.maximum(values, change * scale)
    return largest


def _zeros(base: Results, rows: int, by_column: Collection[Key]) -> list[list[Floats]]:
    """Return a zero for every unit."""
    shapes = [[by_row(array, rows).shape for array in group] for group in base]
    return [
        [np.zeros(shape if (i, j) in by_column else (shape[0], 1)) for j, shape in enumerate(group)]
        for i, group in enumerate(shapes)
    ]


def measure_framework_noise(
    run: Run,
    run_double: Run,
    feeds: Feeds,
    base: Results,
    signature: Signature,
    rng: np.random.Generator,
    *,
    rows: int,
    by_column: Collection[Key] = (),
) -> list[list[Floats]] | None:
    """Return, for every array and unit, the framework's own largest error at ``NOISE_SAMPLES`` neighbouring inputs.

    One run shows one sample of the framework's rounding errors, and by luck a small one; its neighbours, an ulp away,
    show what it usually is.

    Args:
        run: The framework as run.
        run_double: The framework in float64.
        feeds: Inputs in the ONNX dtypes.
        base: Results in the form to return.
        signature: The inputs.
        rng: Draws the neighbours.
        rows: Number of rows.
        by_column: The arrays whose elements are units of their own.

    Returns:
        Arrays ``[rows, units]`` in the form of ``base``, or None when the framework rejects a neighbour.
    """
    largest = _zeros(base, rows, by_column)
    for _ in range(NOISE_SAMPLES):
        moved, _ = perturbed(feeds, signature, rng, double=False)
        found, true = run(moved), run_double(to_float64(moved, signature))
        if found is None or true is None:
            return None
        for i, group in enumerate(largest):
            for j, values in enumerate(group):
                if is_float(found[i][j].dtype) and found[i][j].shape == true[i][j].shape:
                    error = unit_difference(found[i][j], true[i][j], rows, by_column=(i, j) in by_column)
                    group[j] = np.maximum(values, error)
    return largest


def _change(moved: Array, start: Array, rows: int, times: int, *, repeated: bool, by_column: bool) -> Floats | None:
    """Return the change of each unit, None where the arrays cannot be compared.

    Args:
        moved: Results of the moved inputs, ``times`` copies of the rows behind each other.
        start: Results to compare with: one copy of the rows, or as many when ``repeated``.
        rows: Rows of one copy.
        times: Number of copies.
        repeated: ``start`` holds all copies too.
        by_column: Each element is a unit of its own.
    """
    if not (is_float(start.dtype) and is_float(moved.dtype)):
        return None
    if times == 1:
        return unit_difference(moved, start, rows, by_column=by_column) if moved.shape == start.shape else None
    if not moved.ndim or len(moved) != rows * times or len(start) != (rows * times if repeated else rows):
        return None
    parts = moved.reshape(times, rows, *moved.shape[1:])
    starts = start.reshape(times, rows, *start.shape[1:]) if repeated else [start] * times
    pairs = zip(parts, starts, strict=True)
    largest: Floats = np.max([unit_difference(a, b, rows, by_column=by_column) for a, b in pairs], axis=0)
    return largest


def score_ties(
    true: Sequence[LabelScores],
    as_run: Sequence[LabelScores],
    moved: Sequence[tuple[Sequence[LabelScores], Sequence[LabelScores]]],
    answered: Array,
    *,
    tol: float,
    floors: Sequence[float],
    factors: tuple[float, float],
    scales: Sequence[float],
) -> Flags:
    """Return which labels are ties: the reference's margin lies within the budget of the scores.

    Args:
        true: Scores of the float64 reference, one entry per label column.
        as_run: Scores of the framework as run.
        moved: Scores at perturbed inputs and those to compare them with, with ``scales`` to multiply the changes with.
        answered: ``[rows, columns]`` labels of ONNX.
        tol: Relative tolerance of the scores.
        floors: Usual size of the scores of each column: a score near zero was summed from numbers of that size.
        factors: What sensitivity and framework error are multiplied with in the budget.
        scales: One factor per entry of ``moved``.

    Returns:
        Booleans of the shape of ``answered``.
    """
    ties = np.zeros(answered.shape, dtype=bool)
    for column, scores in enumerate(true):
        table = scores.scores.astype(np.float64)
        rows = len(table)
        s = np.zeros(rows)
        for (other, start), scale in zip(moved, scales, strict=True):
            s = np.maximum(s, row_difference(other[column].scores, start[column].scores, rows) * scale)
        own = row_difference(as_run[column].scores, table, rows)
        size = row_max(np.where(np.isfinite(table), np.abs(table), 0.0).reshape(rows, -1))
        size = np.maximum(size, floors[column])
        budget = np.maximum(np.maximum(factors[0] * s, factors[1] * own), tol * size)
        if scores.kind == "ranked":
            return np.asarray(ranked_margins(table, answered) <= budget[:, None])
        ties[:, column] = margins(scores, answered[:, column]) <= budget
    return ties


def reached_labels(found: Sequence[Array], answered: Array) -> Flags:
    """Return which of ONNX's discrete answers the reference gives itself at some perturbed input."""
    reached = np.zeros(answered.shape, dtype=bool)
    wanted = canonical(answered)
    for array in found:
        values = canonical(array.reshape(len(array), -1)) if array.ndim else canonical(array.reshape(1, 1))
        if values.shape == wanted.shape:
            reached |= equal_elements(wanted, values)
    return reached
