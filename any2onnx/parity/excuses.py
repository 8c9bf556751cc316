"""What excuses an error on the rows that need it: sensitivity, the framework's own noise, and ties of labels."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from any2onnx.parity import compare
from any2onnx.parity.compare import Floats, by_row
from any2onnx.parity.graph_scores import GraphScores, gaps
from any2onnx.parity.reference import FrameworkRejects
from any2onnx.parity.sensitivity import (
    Key,
    Results,
    both_steps,
    can_perturb,
    measure_framework_noise,
    measure_sensitivity,
    perturbed,
    reached_labels,
    score_ties,
    take_rows,
    to_float64,
)
from any2onnx.parity.ulp import Array, is_float

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from any2onnx.parity.cases import Case
    from any2onnx.parity.labels import Flags, LabelScores
    from any2onnx.parity.running import Runs, Sides
    from any2onnx.parity.signature import Feeds
    from any2onnx.parity.suites import Plan

Rows = npt.NDArray[np.intp]
# Rows judged at once; the first block that holds a wrong answer settles the matter.
_TIE_ROWS = 512
# The graph in float64 keeps all of its values: so many input numbers are run at once.
_GRAPH_ELEMENTS = 1 << 17


@dataclasses.dataclass(frozen=True)
class Excuse:
    """Per unit (``[rows, units per row]``): the sensitivity, and the framework's own error at neighbouring inputs."""

    sensitivity: Floats
    noise: Floats


class Excuses:
    """Measures excuses on demand.

    Args:
        runs: The sides.
        plan: The inputs and their random streams.
        baseline: Inputs that the model accepts, for the usual size of the scores behind labels.
        by_column: The arrays whose elements are units of their own.
        graph_scores: Finds the scores behind the discrete outputs of tensor models.
    """

    def __init__(
        self, runs: Runs, plan: Plan, baseline: Feeds, by_column: Collection[Key], graph_scores: GraphScores
    ) -> None:
        self._runs = runs
        self._plan = plan
        self._baseline = baseline
        self._by_column = frozenset(by_column)
        self._graph_scores = graph_scores
        self._rounding: tuple[Case, Results] | None = None

    def measure(self, case: Case, sides: Sides, need: Sequence[int], *, everything: bool) -> dict[Key, Excuse]:
        """Measure the rows in need, or the sensitivity of all rows.

        Args:
            case: The case.
            sides: Its results.
            need: Rows whose error exceeds the tolerance.
            everything: Measure the sensitivity of the other rows too.

        Returns:
            For each array (bound result, position) the excuses of all rows, 0 where they were not measured.
        """
        if (not need and not everything) or not case.rows:
            return {}
        rows: Rows | None = None
        if self._runs.row_wise:
            rows = np.arange(case.rows) if everything else np.array([row for row in need if row < case.rows], np.intp)
        base = sides.fw if sides.ref is None else sides.ref
        sensitivity = self._spread(self._sensitivity(case, base, sides.ref is not None, rows), rows, case.rows)
        noise: dict[Key, Floats] = {}
        if need and sides.ref is not None and not case.at_thresholds:
            noise = self._spread(self._noise(case, base, rows), rows, case.rows)
        return {
            key: Excuse(values, noise.get(key, np.zeros_like(values))) for key, values in sorted(sensitivity.items())
        }

    def rounding(self, case: Case, sides: Sides, key: Key) -> Floats | None:
        """Return how far rounding on the way moves each unit of an array, measured on the framework's own computation.

        All results of its operators are moved, by a unit in the last place, and by as much as the budget allows: a
        steep function that has saturated answers to the second only. None when the framework does not let that happen.
        """
        if self._rounding is None or self._rounding[0] is not case:
            self._rounding = (case, self._measure_rounding(case, sides.fw))
        measured = self._rounding[1]
        if not measured:
            return None
        values: Floats = measured[key[0]][key[1]]
        return (values if key in self._by_column else compare.row_max(values)[:, None]).reshape(-1)

    def _measure_rounding(self, case: Case, base: Results) -> Results:
        rng = self._plan.rng("rounding", f"{case.suite}/{case.name}")
        largest = [[np.zeros(by_row(array, case.rows).shape) for array in group] for group in base]
        # Half of a whole unit's change counts, and of the larger steps what the budget multiplies it with again.
        most = round(compare.SENSITIVITY_FACTOR / 2)
        for units, share in ((1, 0.5), (most, 1 / compare.SENSITIVITY_FACTOR)):
            for _ in range(compare.PERTURBATIONS):
                found = self._runs.rounded(case.feeds, case.rows, rng, units)
                if found is None:
                    return []
                largest = self._largest_changes(largest, found, base, case.rows, share)
        return largest

    @staticmethod
    def _largest_changes(largest: Results, found: Results, base: Results, rows: int, share: float) -> Results:
        """Return the larger of what was seen before and a share of what changed now, element by element."""
        changed: Results = []
        for before, group, start in zip(largest, found, base, strict=True):
            changed.append([])
            for known, values, array in zip(before, group, start, strict=True):
                comparable = is_float(array.dtype) and values.shape == array.shape
                now = compare.unit_difference(values, array, rows, by_column=True) if comparable else 0.0
                changed[-1].append(np.maximum(known, share * now))
        return changed

    @staticmethod
    def _picked(case: Case, base: Results, rows: Rows | None) -> tuple[Feeds, Results, int]:
        if rows is None:
            return case.feeds, base, case.rows
        picked = [
            [array[rows] if array.ndim and len(array) == case.rows else array for array in group] for group in base
        ]
        return take_rows(case.feeds, rows), picked, len(rows)

    def _sensitivity(self, case: Case, base: Results, double: bool, rows: Rows | None) -> list[list[Floats]] | None:
        feeds, picked, count = self._picked(case, base, rows)
        jumps = case.at_jumps and can_perturb(self._plan.signature, double=double, at_thresholds=True)
        return measure_sensitivity(
            self._runs.caller(count, double=double),
            feeds,
            picked,
            self._plan.signature,
            self._plan.rng("perturbation", f"{case.suite}/{case.name}"),
            rows=count,
            row_wise=self._runs.row_wise,
            double=double,
            at_thresholds=case.at_thresholds or jumps,
            by_column=self._by_column,
        )

    def _noise(self, case: Case, base: Results, rows: Rows | None) -> list[list[Floats]] | None:
        feeds, picked, count = self._picked(case, base, rows)
        return measure_framework_noise(
            self._runs.caller(count, double=False),
            self._runs.caller(count, double=True),
            feeds,
            picked,
            self._plan.signature,
            self._plan.rng("noise", f"{case.suite}/{case.name}"),
            rows=count,
            by_column=self._by_column,
        )

    @staticmethod
    def _spread(found: list[list[Floats]] | None, rows: Rows | None, count: int) -> dict[Key, Floats]:
        """Put the values of some rows back to their places among all rows."""
        spread: dict[Key, Floats] = {}
        for i, group in enumerate(found or []):
            for j, values in enumerate(group):
                if rows is None or len(values) != len(rows):
                    spread[i, j] = values
                else:
                    spread[i, j] = np.zeros((count, values.shape[1]))
                    spread[i, j][rows] = values
        return spread

    # --- ties ---

    def ties(
        self,
        case: Case,
        key: Key,
        rows: Rows,
        differing: Flags,
        answered: Array,
        wanted: Array,
        *,
        output: str,
        label: bool,
    ) -> Flags:
        """Return which of the differing discrete answers are ties.

        Args:
            case: The case.
            key: The array.
            rows: The rows that differ. They are judged in blocks; after one with a wrong answer the rest counts as
                wrong.
            differing: Which answers differ in these rows, ``[n, columns]``.
            answered: ONNX's answers, of the same shape.
            wanted: The framework's.
            output: The ONNX output.
            label: The answers are labels, with scores behind them.
        """
        found = np.zeros(answered.shape, dtype=bool)
        tensors = not self._runs.runner.conventional
        elements = sum(values.size for values in case.feeds.values()) // max(case.rows, 1)
        try:
            for block in _blocks(len(rows), len(rows) if tensors else _TIE_ROWS):
                found[block] = self._ties(case, key, rows[block], answered[block], label)
                if not tensors and (differing[block] & ~found[block]).any():
                    return found
            for block in _blocks(len(rows) if tensors else 0, max(1, _GRAPH_ELEMENTS // max(elements, 1))):
                if (differing[block] & ~found[block]).any():
                    found[block] |= self._graph_ties(case, rows[block], answered[block], wanted[block], output)
                if (differing[block] & ~found[block]).any():
                    return found
        except FrameworkRejects:
            # Scores that cannot be had excuse nothing.
            return found
        return found

    def _ties(self, case: Case, key: Key, rows: Rows, answered: Array, label: bool) -> Flags:
        feeds = take_rows(case.feeds, rows) if self._runs.row_wise else case.feeds
        rng = self._plan.rng("ties", f"{case.suite}/{case.name}")
        columns = answered.shape[1]
        true = self._scores(feeds, columns, label=label)
        if true and len(true) == (1 if true[0].kind == "ranked" else columns):
            return self._score_ties(case, feeds, true, answered, rng, label)
        if case.at_thresholds or not can_perturb(self._plan.signature, double=self._runs.double, at_thresholds=False):
            return np.zeros(answered.shape, dtype=bool)
        return self._reached(case, key, feeds, rows, answered, rng)

    def _graph_ties(self, case: Case, rows: Rows, answered: Array, wanted: Array, output: str) -> Flags:
        """Judge by the scores that the graph chooses from, if the framework computes the same ones."""
        none = np.zeros(answered.shape, dtype=bool)
        scores, signature = self._graph_scores, self._plan.signature
        choice = scores.choice(output) if scores.row_wise and self._runs.double else None
        if choice is None or answered.shape != wanted.shape or answered.dtype.kind not in "biuf":
            return none
        feeds = take_rows(case.feeds, rows)
        points = to_float64(feeds, signature)
        values, usual = scores.values(choice, points), scores.values(choice, to_float64(self._baseline, signature))
        if values is None or usual is None:
            return none
        if not scores.confirmed(choice, values, self._runs.runner.intermediates(points, double=True, finely=True)):
            return none
        apart = gaps(choice, values, answered, wanted, len(rows))
        if apart is None:
            return none
        rng = self._plan.rng("scores", f"{case.suite}/{case.name}")
        change = np.zeros(len(rows))
        if can_perturb(signature, double=True, at_thresholds=False):
            for _ in range(compare.PERTURBATIONS):
                moved, scale = perturbed(feeds, signature, rng, double=True)
                other = scores.values(choice, moved) or values
                for one, two in zip(values, other, strict=True):
                    change = np.maximum(change, scale * compare.row_difference(one, two, len(rows)))
        size = np.full(len(rows), max(compare.robust_scale(array) for array in usual))
        for array in values:
            table = np.abs(by_row(array, len(rows)))
            size = np.maximum(size, compare.row_max(np.where(np.isfinite(table), table, 0.0)))
        tol = compare.tolerance(np.dtype(np.float64), signature.widest_float)
        budget = np.maximum(compare.SENSITIVITY_FACTOR * change, tol * size)[:, None]
        return np.asarray(np.isfinite(apart) & (apart <= budget))

    def _scores(self, feeds: Feeds, columns: int, *, label: bool) -> list[LabelScores]:
        points = to_float64(feeds, self._plan.signature) if self._runs.double else feeds
        return self._scores_of(points, columns, label)

    def _scores_of(self, feeds: Feeds, columns: int, label: bool) -> list[LabelScores]:
        return self._runs.runner.label_scores(feeds, columns) if label else self._runs.runner.ranked_scores(feeds)

    def _score_ties(
        self,
        case: Case,
        feeds: Feeds,
        true: list[LabelScores],
        answered: Array,
        rng: np.random.Generator,
        label: bool,
    ) -> Flags:
        signature, double = self._plan.signature, self._runs.double
        still = case.at_thresholds or (case.at_jumps and can_perturb(signature, double=double, at_thresholds=True))
        columns = answered.shape[1]
        moved: list[tuple[list[LabelScores], list[LabelScores]]] = []
        scales: list[float] = []
        if can_perturb(signature, double=double, at_thresholds=still):
            for _ in range(compare.PERTURBATIONS):
                stepped, nearer, scale = both_steps(feeds, signature, rng, double=double, at_thresholds=still)
                start = true if nearer is None else self._scores_of(nearer, columns, label)
                moved.append((self._scores_of(stepped, columns, label), start))
                scales.append(scale)
        return score_ties(
            true,
            self._scores_of(feeds, columns, label),
            moved,
            answered,
            tol=compare.tolerance(np.dtype(np.float64), signature.widest_float),
            floors=[
                compare.robust_scale(scores.scores) for scores in self._scores(self._baseline, columns, label=label)
            ],
            factors=(compare.SENSITIVITY_FACTOR, compare.FRAMEWORK_FACTOR),
            scales=scales,
        )

    def _reached(
        self, case: Case, key: Key, feeds: Feeds, rows: Rows, answered: Array, rng: np.random.Generator
    ) -> Flags:
        """Without scores: an answer that the reference itself gives within the budget's input change is a tie."""
        count = len(rows) if self._runs.row_wise else case.rows
        call = self._runs.caller(count, double=self._runs.double)
        found: list[Array] = []
        for factor in (1.0, compare.SENSITIVITY_FACTOR):
            for _ in range(compare.PERTURBATIONS):
                moved, _ = perturbed(feeds, self._plan.signature, rng, double=self._runs.double, factor=factor)
                result = call(moved)
                if result is not None:
                    values = by_row(result[key[0]][key[1]], count)
                    whole = self._runs.row_wise or len(values) != count
                    found.append(values if whole else values[rows])
        return reached_labels(found, answered)


def _blocks(count: int, size: int) -> list[slice]:
    return [slice(start, start + size) for start in range(0, count, size)]
