"""Evaluation of one case: run all sides, pair the arrays, measure, judge."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from any2onnx.parity import compare
from any2onnx.parity.compare import FloatErrors, Floats, Judgement, as_floats, by_row, comparable_as_floats
from any2onnx.parity.labels import Flags, LabelScores, compare_labels
from any2onnx.parity.reference import Binding, Bound, FrameworkRejects, Reference
from any2onnx.parity.report import OutputResult
from any2onnx.parity.runtime import Leaf, OnnxFile, OnnxSession, RuntimeFailure
from any2onnx.parity.sensitivity import (
    can_perturb,
    measure_sensitivity,
    perturbed,
    reached_labels,
    repeat,
    score_ties,
    take_rows,
    to_float64,
)
from any2onnx.parity.signature import Feeds
from any2onnx.parity.structure import Pair, merge_leaves, pair_up
from any2onnx.parity.suites import Case, Plan
from any2onnx.parity.ulp import Array, is_float
from any2onnx.parity.verdict import Verdict

Results = list[list[Array]]

# All rows of a case are perturbed only where a run of the model is cheap; elsewhere only rows in need.
_CHEAP_SECONDS = 0.05
# A rebuilt float64 model that is further off than this is not the same model.
_LOST = 0.1
_TIE_ROWS = 512


@dataclasses.dataclass(frozen=True)
class Options:
    """What the caller chose: a float64 reference or not, a fixed relative budget or None."""

    double: bool = True
    budget: float | None = None


@dataclasses.dataclass(frozen=True)
class Sides:
    """The results of all sides on one case; ``ref`` is None without a float64 reference."""

    fw: Results
    ref: Results | None
    ox: list[list[Leaf]]
    plain: list[list[Leaf]] | None
    plain_error: str


@dataclasses.dataclass
class Slot:
    """What was learned about one array of one bound result on the first case."""

    scale: float = 0.0
    noise: float = 0.0
    random_labels: bool = False
    trailing: tuple[int, ...] = ()


class Evaluator:
    """Runs and judges cases for one pair of model and ONNX file.

    Args:
        runner: The framework's side.
        binding: Which result belongs to which output.
        session: onnxruntime as users run it.
        plain: onnxruntime without graph optimisations, or None when the model does not load so.
        plan: The inputs.
        onnx_file: The file, for what is known of its graph.
        options: The caller's choices.
    """

    def __init__(
        self,
        runner: Reference,
        binding: Binding,
        session: OnnxSession,
        plain: OnnxSession | None,
        plan: Plan,
        onnx_file: OnnxFile,
        options: Options,
    ) -> None:
        self._runner = runner
        self._bound = binding.bound
        self._session = session
        self._plain = plain
        self._plan = plan
        self._signature = plan.signature
        self._options = options
        self._growth = math.sqrt(onnx_file.contraction)
        self._double = options.double and any(spec.is_float for spec in plan.signature.inputs)
        self._slots: dict[tuple[int, int], Slot] = {}
        self._cheap = True
        self._baseline: Feeds = {}

    # --- the first case ---

    def learn(self, case: Case) -> list[str]:
        """Measure scale, determinism, cost and the float64 reference on inputs that the model accepts.

        Returns:
            Notes for the report.
        """
        self._baseline = case.feeds
        start = time.monotonic()
        first = self._run_framework(case.feeds, case.rows)
        self._cheap = time.monotonic() - start < _CHEAP_SECONDS
        second = self._run_framework(case.feeds, case.rows)
        ref = self._run_reference(case.feeds, case.rows)
        notes = []
        if self._double and ref is None:
            notes.append("no float64 reference: the framework as run is the reference")
            self._double = False
        for i, (group, again) in enumerate(zip(first, second, strict=True)):
            for j, (values, other) in enumerate(zip(group, again, strict=True)):
                truth = values if ref is None else ref[i][j]
                slot = self._learn_slot(values, other, truth, case.rows)
                self._slots[i, j] = slot
        if ref is not None and self._is_lost(first, ref, case.rows):
            notes.append("the float64 copy of the model answers differently: the framework as run is the reference")
            self._double = False
        return notes

    def _learn_slot(self, values: Array, again: Array, truth: Array, rows: int) -> Slot:
        trailing = values.shape[1:] if values.ndim else ()
        if not comparable_as_floats(values) or values.shape != again.shape:
            same = values.shape == again.shape and bool(np.array_equal(values, again))
            return Slot(trailing=trailing, random_labels=not same)
        scale = compare.robust_scale(as_floats(truth if comparable_as_floats(truth) else values))
        noise = compare.row_difference(as_floats(values), as_floats(again), rows).max(initial=0.0)
        relative = float(noise / scale) if scale else (math.inf if noise else 0.0)
        return Slot(scale=scale, noise=relative, trailing=trailing)

    def _is_lost(self, fw: Results, ref: Results, rows: int) -> bool:
        """Tell whether a rebuilt float64 model is another model: its errors would excuse those of ONNX."""
        if self._runner.framework != "keras":
            return False
        for (i, j), slot in sorted(self._slots.items()):
            values, truth = fw[i][j], ref[i][j]
            if values.shape != truth.shape:
                return True
            if slot.scale and comparable_as_floats(values):
                error = compare.row_difference(as_floats(values), as_floats(truth), rows)
                if float(np.median(error)) > _LOST * slot.scale:
                    return True
        return False

    # --- running ---

    def _run_framework(self, feeds: Feeds, rows: int) -> Results:
        fixed = self._signature.fixed_batch
        if fixed is None or self._runner.row_wise or fixed == rows:
            return self._runner.run(feeds)
        parts = [self._runner.run(part) for part in _chunks(feeds, rows, fixed)]
        return [
            [_join([part[i][j] for part in parts], rows, fixed) for j in range(len(parts[0][i]))]
            for i in range(len(parts[0]))
        ]

    def _run_reference(self, feeds: Feeds, rows: int) -> Results | None:
        return self._run_double(to_float64(feeds, self._signature), rows) if self._double else None

    def _run_double(self, feeds: Feeds, rows: int) -> Results | None:
        fixed = self._signature.fixed_batch
        try:
            if fixed is None or self._runner.row_wise or fixed == rows:
                return self._runner.run_float64(feeds)
            parts = [self._runner.run_float64(part) for part in _chunks(feeds, rows, fixed)]
        except FrameworkRejects:
            return None
        found = [part for part in parts if part is not None]
        if len(found) < len(parts):
            return None
        return [
            [_join([part[i][j] for part in found], rows, fixed) for j in range(len(found[0][i]))]
            for i in range(len(found[0]))
        ]

    def _run_onnx(self, session: OnnxSession, feeds: Feeds, rows: int) -> list[list[Leaf]]:
        fixed = self._signature.fixed_batch
        if fixed is None or fixed == rows:
            return session.run(feeds)
        parts = [session.run(part) for part in _chunks(feeds, rows, fixed)]
        return [
            [
                dataclasses.replace(leaf, values=_join([part[i][j].values for part in parts], rows, fixed))
                for j, leaf in enumerate(group)
            ]
            for i, group in enumerate(parts[0])
        ]

    # --- one case ---

    def evaluate(self, case: Case) -> list[OutputResult]:
        """Return one result for each array of each bound output."""
        try:
            fw = self._run_framework(case.feeds, case.rows)
        except FrameworkRejects as error:
            return self._rejected(case, str(error))
        try:
            ox = self._run_onnx(self._session, case.feeds, case.rows)
        except RuntimeFailure as error:
            note = f"onnxruntime raises, the framework answers: {error}"
            return [self._failure(case, bound, note) for bound in self._bound]
        plain: list[list[Leaf]] | None = None
        plain_error = ""
        if self._plain is not None:
            try:
                plain = self._run_onnx(self._plain, case.feeds, case.rows)
            except RuntimeFailure as error:
                plain_error = f"onnxruntime raises without graph optimisations: {error}"
        sides = Sides(fw, self._run_reference(case.feeds, case.rows), ox, plain, plain_error)
        return self._judge_all(case, sides)

    def _rejected(self, case: Case, reason: str) -> list[OutputResult]:
        """Report a case that the framework refuses: only an empty batch leaves something to be checked."""
        if case.empty:
            return self._empty_batch(case, reason)
        if not case.may_reject:
            note = f"the framework raises: {reason}"
            return [
                OutputResult(bound.name, bound.source, case.suite, case.name, Verdict.INCONCLUSIVE, note=note)
                for bound in self._bound
            ]
        try:
            self._run_onnx(self._session, case.feeds, case.rows)
            answer = "ONNX answers"
        except RuntimeFailure:
            answer = "onnxruntime raises too"
        note = f"the framework rejects the input ({reason}); {answer}"
        return [
            OutputResult(bound.name, bound.source, case.suite, case.name, None, note=note) for bound in self._bound
        ]

    def _empty_batch(self, case: Case, reason: str) -> list[OutputResult]:
        """Check the shapes of an empty batch that the framework refuses."""
        try:
            found = self._run_onnx(self._session, case.feeds, case.rows)
        except RuntimeFailure as error:
            return [self._failure(case, bound, f"onnxruntime raises on an empty batch: {error}") for bound in self._bound]
        results = []
        for i, bound in enumerate(self._bound):
            note = ""
            for leaf in (leaf for port in bound.ports for leaf in found[port]):
                if leaf.keys is None and 0 not in leaf.values.shape and not self._is_map(bound):
                    note = f"shape {list(leaf.values.shape)} for an empty batch"
                elif not self._is_map(bound) and not self._fits_empty(i, bound, leaf.values.shape):
                    note = f"shape {list(leaf.values.shape)}, the framework's rows have shape {self._rows_of(i)}"
            if note:
                results.append(self._failure(case, bound, note))
            else:
                told = f"the framework rejects an empty batch ({reason}); ONNX answers an empty one"
                results.append(
                    OutputResult(bound.name, bound.source, case.suite, case.name, Verdict.EXACT, note=told)
                )
        return results

    def _is_map(self, bound: Bound) -> bool:
        return any(self._session.outputs[port].onnx_type.startswith("seq(") for port in bound.ports)

    def _rows_of(self, i: int) -> list[int]:
        return list(self._slots[i, 0].trailing)

    def _fits_empty(self, i: int, bound: Bound, shape: tuple[int, ...]) -> bool:
        if len(bound.ports) > 1 or (i, 0) not in self._slots:
            return 0 in shape
        trailing = self._slots[i, 0].trailing
        forms = {trailing, (*trailing, 1) if not trailing else trailing, () if trailing == (1,) else trailing}
        if bound.source == "decision_function" and not trailing:
            forms.add((2,))
        count = sum(key[0] == i for key in self._slots)
        return shape[1:] in forms and shape[0] == 0 or (count > 1 and shape[0] == count and shape[2:] in forms)

    def _failure(self, case: Case, bound: Bound, note: str) -> OutputResult:
        return OutputResult(
            bound.name,
            bound.source,
            case.suite,
            case.name,
            Verdict.MISMATCH,
            rows=case.rows,
            budget_used=math.inf,
            note=note,
        )

    # --- judging ---

    def _judge_all(self, case: Case, sides: Sides) -> list[OutputResult]:
        work: list[tuple[int, int, Pair, Pair | None]] = []
        results: list[OutputResult] = []
        for i, bound in enumerate(self._bound):
            pairs = self._pairs(bound, sides.fw[i], sides.ox)
            plain = self._pairs(bound, sides.fw[i], sides.plain) if sides.plain is not None else []
            for j, pair in enumerate(pairs):
                if pair.problem:
                    results.append(dataclasses.replace(self._failure(case, bound, pair.problem), output=pair.name))
                else:
                    work.append((i, j, pair, plain[j] if j < len(plain) else None))
            if sides.plain_error:
                results.append(dataclasses.replace(self._failure(case, bound, sides.plain_error), optimised=False))
        sensitivity = self._sensitivity(case, sides, work)
        for i, j, pair, other in work:
            results.append(self._judge_pair(case, sides, i, j, pair, other, sensitivity))
        return results

    def _pairs(self, bound: Bound, fw: Sequence[Array], found: list[list[Leaf]] | None) -> list[Pair]:
        if found is None:
            return []
        leaves = merge_leaves(bound.name, [found[port] for port in bound.ports])
        scores = bound.source in ("predict_proba", "predict_log_proba", "decision_function")
        return pair_up(
            bound.name,
            bound.source,
            fw,
            leaves,
            label=bound.label,
            conventional=self._runner.conventional,
            widest_float=self._signature.widest_float,
            classes=[self._runner.classes(k) if scores else None for k in range(len(fw))],
        )

    def _truth(self, sides: Sides, i: int, j: int, pair: Pair) -> Array | None:
        """Return the float64 answer in the shape of the pair, or None when it is not float64 after all."""
        if sides.ref is None:
            return None
        ref = sides.ref[i][j]
        if ref.size != pair.ox.size:
            ref_shaped = _two_sided(ref, pair.ox.shape)
            if ref_shaped is None:
                return None
            ref = ref_shaped
        if is_float(ref.dtype) and ref.dtype != np.float64 and not self._runner.conventional:
            return None
        return ref.reshape(pair.ox.shape)

    def _tolerance(self, dtype: np.dtype[Any], truth: Array | None) -> float:
        tol = compare.tolerance(dtype, self._signature.widest_float)
        # Without a float64 answer the rounding of long sums cannot be told from errors; it grows with their root.
        return tol if truth is not None else tol * self._growth

    def _errors(self, sides: Sides, i: int, j: int, pair: Pair, rows: int) -> tuple[FloatErrors, float]:
        truth = self._truth(sides, i, j, pair)
        errors = compare.measure(
            as_floats(pair.fw),
            None if truth is None else as_floats(truth),
            as_floats(pair.ox),
            rows,
            self._slots[i, j].scale,
        )
        return errors, self._tolerance(pair.ox.dtype, truth)

    def _sensitivity(
        self, case: Case, sides: Sides, work: Sequence[tuple[int, int, Pair, Pair | None]]
    ) -> dict[tuple[int, int], Floats]:
        """Measure the sensitivity of the rows whose error needs an excuse, or of all rows where that is cheap."""
        need: set[int] = set()
        floats = False
        for i, j, pair, other in work:
            if not self._as_floats(pair, i):
                continue
            floats = True
            for candidate in (pair, other):
                if candidate is not None and not candidate.problem:
                    errors, tol = self._errors(sides, i, j, candidate, case.rows)
                    need.update(int(row) for row in compare.rows_in_need(errors, tol))
        everything = case.measure and self._cheap and floats
        if (not need and not everything) or not case.rows:
            return {}
        if not self._runner.row_wise:
            return self._spread(self._perturb(case, sides, None), None, case.rows)
        rows = np.arange(case.rows) if everything else np.array(sorted(need), dtype=np.intp)
        rows = rows[rows < case.rows]
        return self._spread(self._perturb(case, sides, rows), rows, case.rows)

    def _perturb(self, case: Case, sides: Sides, rows: npt.NDArray[np.intp] | None) -> list[list[Floats]] | None:
        base = sides.fw if sides.ref is None else sides.ref
        double = sides.ref is not None
        feeds, count = case.feeds, case.rows
        if rows is not None:
            feeds, count = take_rows(case.feeds, rows), len(rows)
            base = [
                [array[rows] if array.ndim and len(array) == case.rows else array for array in group] for group in base
            ]
        return measure_sensitivity(
            self._runner_call(double, count),
            feeds,
            base,
            self._signature,
            self._plan.rng("perturbation", f"{case.suite}/{case.name}"),
            rows=count,
            row_wise=self._runner.row_wise,
            double=double,
            at_thresholds=case.at_thresholds,
        )

    def _runner_call(self, double: bool, rows: int) -> Any:
        def call(feeds: Feeds) -> Results | None:
            try:
                return self._run_double(feeds, rows) if double else self._run_framework(feeds, rows)
            except FrameworkRejects:
                return None

        return call

    @staticmethod
    def _spread(
        found: list[list[Floats]] | None, rows: npt.NDArray[np.intp] | None, count: int
    ) -> dict[tuple[int, int], Floats]:
        """Put the sensitivities of some rows back to their places among all rows."""
        spread: dict[tuple[int, int], Floats] = {}
        for i, group in enumerate(found or []):
            for j, values in enumerate(group):
                if rows is None or len(values) != len(rows):
                    spread[i, j] = values
                else:
                    spread[i, j] = np.zeros(count)
                    spread[i, j][rows] = values
        return spread

    def _as_floats(self, pair: Pair, i: int) -> bool:
        """Tell whether a pair is judged by error and budget; labels and whole numbers are judged by equality."""
        return comparable_as_floats(pair.fw) and comparable_as_floats(pair.ox) and not self._bound[i].label

    def _judge_pair(
        self,
        case: Case,
        sides: Sides,
        i: int,
        j: int,
        pair: Pair,
        other: Pair | None,
        sensitivity: dict[tuple[int, int], Floats],
    ) -> OutputResult:
        result = self._judge_one(case, sides, i, j, pair, sensitivity)
        if other is None or (not other.problem and _same_bits(pair.ox, other.ox)):
            return result
        if other.problem:
            failure = self._failure(case, self._bound[i], other.problem)
            second = dataclasses.replace(failure, output=pair.name, optimised=False)
        else:
            second = dataclasses.replace(self._judge_one(case, sides, i, j, other, sensitivity), optimised=False)
        return second if second.badness > result.badness else result

    def _judge_one(
        self, case: Case, sides: Sides, i: int, j: int, pair: Pair, sensitivity: dict[tuple[int, int], Floats]
    ) -> OutputResult:
        if self._as_floats(pair, i):
            return self._judge_floats(case, sides, i, j, pair, sensitivity)
        return self._judge_labels(case, sides, i, j, pair)

    def _judge_floats(
        self, case: Case, sides: Sides, i: int, j: int, pair: Pair, sensitivity: dict[tuple[int, int], Floats]
    ) -> OutputResult:
        errors, tol = self._errors(sides, i, j, pair, case.rows)
        s = sensitivity.get((i, j))
        judgement = compare.judge(
            errors,
            tol=tol,
            sensitivity=s if s is not None and s.shape == errors.onnx.shape else None,
            noise=self._slots[i, j].noise,
            fixed_budget=self._options.budget,
        )
        known = self._truth(sides, i, j, pair) is not None
        notes = [text for text in (pair.note, errors.special_note) if text]
        if judgement.verdict is Verdict.INCONCLUSIVE:
            notes.append(f"two runs of the framework differ by {self._slots[i, j].noise:.2g} of the scale")
        return _float_result(self._bound[i], case, pair, errors, judgement, known, "; ".join(notes))

    def _judge_labels(self, case: Case, sides: Sides, i: int, j: int, pair: Pair) -> OutputResult:
        truth = self._truth(sides, i, j, pair)
        fw = pair.fw
        if is_float(pair.ox.dtype) and is_float(fw.dtype):
            # Labels such as 0.1 are stored in the dtype of the output.
            fw = compare.narrow(fw, pair.ox.dtype)
            truth = None if truth is None else compare.narrow(truth, pair.ox.dtype)

        def ties(rows: npt.NDArray[np.intp], answered: Array) -> Flags:
            return self._ties(case, i, j, rows, answered)

        counts = compare_labels(fw, truth, pair.ox, case.rows, ties)
        verdict = counts.verdict
        note = "; ".join(text for text in (pair.note, counts.note) if text)
        if verdict.failed and self._slots[i, j].random_labels:
            verdict, note = Verdict.INCONCLUSIVE, "two runs of the framework give different answers"
        return OutputResult(
            pair.name,
            self._bound[i].source,
            case.suite,
            case.name,
            verdict,
            rows=case.rows,
            dtype=_dtype_name(pair.ox),
            shape=pair.ox.shape,
            budget_used=math.inf if verdict.failed else 0.0,
            equal=counts.equal,
            tied=counts.tied,
            wrong=counts.wrong,
            worst_row=counts.first_wrong[0] if counts.first_wrong else 0,
            reference="float64" if truth is not None else "framework",
            note=note,
        )

    # --- ties ---

    def _ties(self, case: Case, i: int, j: int, rows: npt.NDArray[np.intp], answered: Array) -> Flags:
        """Return which of the differing labels are ties; beyond ``_TIE_ROWS`` rows the rest counts as wrong."""
        found = np.zeros(answered.shape, dtype=bool)
        rows, answered = rows[:_TIE_ROWS], answered[:_TIE_ROWS]
        try:
            found[: len(rows)] = self._ties_of(case, i, j, rows, answered)
        except FrameworkRejects:
            return found
        return found

    def _ties_of(self, case: Case, i: int, j: int, rows: npt.NDArray[np.intp], answered: Array) -> Flags:
        feeds = take_rows(case.feeds, rows) if self._runner.row_wise else case.feeds
        rng = self._plan.rng("ties", f"{case.suite}/{case.name}")
        columns = answered.shape[1]
        true = self._scores(feeds, columns) if self._bound[i].label else []
        if len(true) == columns:
            as_run = self._runner.label_scores(feeds, columns)
            moved: list[list[LabelScores]] = []
            scales: list[float] = []
            if can_perturb(self._signature, double=self._double, at_thresholds=case.at_thresholds):
                for _ in range(compare.PERTURBATIONS):
                    stepped, scale = perturbed(
                        feeds, self._signature, rng, double=self._double, at_thresholds=case.at_thresholds
                    )
                    moved.append(self._runner.label_scores(stepped, columns))
                    scales.append(scale)
            return score_ties(
                true,
                as_run,
                moved,
                answered,
                tol=compare.tolerance(np.dtype(np.float64), self._signature.widest_float),
                floors=[compare.robust_scale(scores.scores) for scores in self._scores(self._baseline, columns)],
                factors=(compare.SENSITIVITY_FACTOR, compare.FRAMEWORK_FACTOR),
                scales=scales,
            )
        if case.at_thresholds or not can_perturb(self._signature, double=self._double, at_thresholds=False):
            return np.zeros(answered.shape, dtype=bool)
        return self._reached(case, i, j, feeds, rows, answered, rng)

    def _scores(self, feeds: Feeds, columns: int) -> list[LabelScores]:
        return self._runner.label_scores(to_float64(feeds, self._signature) if self._double else feeds, columns)

    def _reached(
        self,
        case: Case,
        i: int,
        j: int,
        feeds: Feeds,
        rows: npt.NDArray[np.intp],
        answered: Array,
        rng: np.random.Generator,
    ) -> Flags:
        """Without scores: an answer that the reference itself gives within the budget's input change is a tie."""
        count = len(rows) if self._runner.row_wise else case.rows
        call = self._runner_call(self._double, count)
        found: list[Array] = []
        for factor in (1.0, compare.SENSITIVITY_FACTOR):
            for _ in range(compare.PERTURBATIONS):
                moved, _ = perturbed(feeds, self._signature, rng, double=self._double, factor=factor)
                result = call(moved)
                if result is None:
                    continue
                values = by_row(result[i][j], count)
                found.append(values if self._runner.row_wise else values[rows] if len(values) == count else values)
        return reached_labels(found, answered)


# --- helpers ---------------------------------------------------------------------------------------------------


def _chunks(feeds: Feeds, rows: int, size: int) -> list[Feeds]:
    """Cut a batch into batches of a fixed size, the last one filled up from the start."""
    starts = range(0, max(rows, 1), size)
    return [take_rows(feeds, (np.arange(start, start + size) % max(rows, 1)).astype(np.intp)) for start in starts]


def _join(parts: Sequence[Array], rows: int, size: int) -> Array:
    if all(part.ndim and len(part) == size for part in parts):
        return np.concatenate(parts)[:rows]
    return np.stack(parts)


def _two_sided(ref: Array, shape: tuple[int, ...]) -> Array | None:
    """Return the two columns of a binary decision function, None for other shapes."""
    if ref.ndim == 1 and shape == (len(ref), 2):
        return np.stack([-ref, ref], axis=1)
    return None


def _same_bits(a: Array, b: Array) -> bool:
    if a.dtype != b.dtype or a.shape != b.shape:
        return False
    if a.dtype.kind == "O":
        return bool(np.array_equal(a, b))
    return a.tobytes() == b.tobytes()


def _dtype_name(values: Array) -> str:
    return "string" if values.dtype.kind in "OSU" else values.dtype.name


def _float_result(
    bound: Bound, case: Case, pair: Pair, errors: FloatErrors, judgement: Judgement, known: bool, note: str
) -> OutputResult:
    at = judgement.worst_row
    scale = float(errors.scale[at]) if errors.scale.size else 0.0

    def relative(values: Floats) -> float:
        with np.errstate(divide="ignore", invalid="ignore"):
            return float(np.where(values == 0, 0.0, values / errors.scale).max(initial=0.0))

    return OutputResult(
        pair.name,
        bound.source,
        case.suite,
        case.name,
        judgement.verdict,
        rows=case.rows,
        dtype=_dtype_name(pair.ox),
        shape=pair.ox.shape,
        ulp=errors.ulp,
        ulp_framework=errors.ulp_framework,
        abs=float(errors.onnx.max(initial=0.0)),
        rel=relative(errors.onnx),
        abs_framework=float(errors.framework.max(initial=0.0)),
        rel_framework=relative(errors.framework),
        rel_difference=relative(errors.difference),
        sensitivity=judgement.sensitivity / scale if scale else 0.0,
        budget=judgement.budget / scale if scale else 0.0,
        budget_used=judgement.budget_used,
        worst_row=at,
        reference="float64" if known else "framework",
        note=note,
    )
