"""Judgement of one case: pair the arrays of both sides, measure errors and excuses, give verdicts."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from any2onnx.parity import compare, details
from any2onnx.parity.arrays import ArrayStore, Compared
from any2onnx.parity.compare import FloatErrors, Floats, Judgement, as_floats, comparable_as_floats
from any2onnx.parity.excuses import Excuse, Excuses
from any2onnx.parity.graph_opinion import AGREEMENT, GraphOpinion
from any2onnx.parity.labels import Flags, compare_labels
from any2onnx.parity.report import OutputResult
from any2onnx.parity.results import dtype_name, failure, float_result
from any2onnx.parity.structure import Pair, conform, merge_leaves, pair_up
from any2onnx.parity.ulp import Array, is_float
from any2onnx.parity.verdict import Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from any2onnx.parity.cases import Case
    from any2onnx.parity.reference import Bound
    from any2onnx.parity.running import Runs, Sides
    from any2onnx.parity.runtime import Leaf, OnnxFile
    from any2onnx.parity.sensitivity import Key
    from any2onnx.parity.signature import Feeds
    from any2onnx.parity.slots import Slot
    from any2onnx.parity.suites import Plan

# Neither ONNX nor the tensor frameworks pin down what these do with NaN: TensorFlow's max pooling drops it and
# PyTorch's keeps it, onnxruntime's ReduceMax drops it and its MaxPool keeps it; its GRU and LSTM limit the arguments
# of their activations and so drop it; interpolation may or may not multiply it with a weight of 0.
_LOOSE_NAN = frozenset(
    {
        "ArgMax",
        "ArgMin",
        "GRU",
        "GlobalMaxPool",
        "GridSample",
        "LSTM",
        "Max",
        "MaxPool",
        "Min",
        "ReduceMax",
        "ReduceMin",
        "Resize",
        "TopK",
    }
)
# Beside an infinite score TensorFlow's softmax gives 0 where others give NaN.
_LOOSE_INFINITY = frozenset({"LogSoftmax", "Softmax"})


@dataclasses.dataclass(frozen=True)
class Options:
    """What the caller chose: a float64 reference or not, a fixed relative budget or None."""

    double: bool = True
    budget: float | None = None


@dataclasses.dataclass(frozen=True)
class Work:
    """One pair to judge, with its counterpart from the session without graph optimisations."""

    key: Key
    pair: Pair
    plain: Pair | None


@dataclasses.dataclass(frozen=True)
class Trial:
    """A rule to judge by: the sensitivity of each unit, the factor of the framework's error, the tolerance's growth."""

    sensitivity: Floats | None
    factor: float = compare.FRAMEWORK_FACTOR
    growth: float = 1.0


@dataclasses.dataclass(frozen=True)
class Question:
    """What the graph in float64 is asked about: the failing rows of one output."""

    case: Case
    key: Key
    pair: Pair
    truth: Array
    judgement: Judgement
    errors: FloatErrors
    tol: float

    @property
    def feeds(self) -> Feeds:
        """The inputs of the case."""
        return self.case.feeds

    @property
    def output(self) -> str:
        """The ONNX output."""
        return self.pair.name

    def agreement(self, rounding: Floats | None = None) -> tuple[Array, npt.NDArray[np.intp], Floats, bool]:
        """Return the float64 answer, the rows to ask about, and how far the graph may be off in each row.

        With ``rounding``, what rounding to the dtype of the output does to each unit, that is at least what rounding to
        float64 does to it; and then the graph's constants, which are in float32, may explain the rest.
        """
        errors = self.errors
        allowed = AGREEMENT * self.tol * errors.scale.reshape(-1, errors.columns).min(axis=1)
        if rounding is not None:
            steps = np.finfo(np.float64).eps / compare.epsilon(self.pair.ox.dtype)
            limit = compare.SENSITIVITY_FACTOR * steps * rounding.reshape(-1, errors.columns).max(axis=1)
            allowed = np.maximum(allowed, limit)
        return self.truth, self.judgement.failing, allowed, rounding is not None


class Judge:
    """Judges the results of cases for one pair of model and ONNX file.

    Args:
        runs: The sides.
        bound: Which result belongs to which output.
        plan: The inputs.
        onnx_file: The file, for what is known of its graph.
        options: The caller's choices.
        slots: What the first case told about each array.
        excuses: Measures sensitivities and ties.
        cheap: A run costs so little that the sensitivity of all rows is measured.
        keep: Where the compared arrays are written, or None.
    """

    def __init__(
        self,
        runs: Runs,
        bound: Sequence[Bound],
        plan: Plan,
        onnx_file: OnnxFile,
        options: Options,
        *,
        slots: Mapping[Key, Slot],
        excuses: Excuses,
        cheap: bool,
        keep: ArrayStore | None = None,
    ) -> None:
        self._runs = runs
        self._bound = bound
        self._signature = plan.signature
        self._options = options
        self._growth = math.sqrt(onnx_file.contraction)
        self._operators = onnx_file.operators
        self._slots = slots
        self._excuses = excuses
        self._cheap = cheap
        self._opinion = GraphOpinion(onnx_file, plan.signature)
        self._keep = keep

    def judge(self, case: Case, sides: Sides) -> list[OutputResult]:
        """Return one result for each array of each bound output."""
        work: list[Work] = []
        results: list[OutputResult] = []
        for i, bound in enumerate(self._bound):
            plain = self._pairs(bound, sides.fw[i], sides.plain) if sides.plain is not None else []
            for j, pair in enumerate(self._pairs(bound, sides.fw[i], sides.ox)):
                if pair.problem:
                    results.append(dataclasses.replace(failure(case, bound, pair.problem), output=pair.name))
                else:
                    work.append(Work((i, j), pair, plain[j] if j < len(plain) else None))
            if sides.plain_error:
                results.append(dataclasses.replace(failure(case, bound, sides.plain_error), optimised=False))
        excuses = self._measure_excuses(case, sides, work)
        return results + [self._judge_both(case, sides, item, excuses.get(item.key)) for item in work]

    def _pairs(self, bound: Bound, fw: Sequence[Array], found: list[list[Leaf]] | None) -> list[Pair]:
        if found is None:
            return []
        scores = bound.source in ("predict_proba", "predict_log_proba", "decision_function")
        return pair_up(
            bound.name,
            bound.source,
            fw,
            merge_leaves(bound.name, [found[port] for port in bound.ports]),
            label=bound.label,
            conventional=self._runs.runner.conventional,
            widest_float=self._signature.widest_float,
            classes=[self._runs.runner.classes(k) if scores else None for k in range(len(fw))],
        )

    def _truth(self, sides: Sides, key: Key, pair: Pair) -> Array | None:
        """Return the float64 answer in the shape of the pair, or None when it is not float64 after all."""
        if sides.ref is None:
            return None
        ref = sides.ref[key[0]][key[1]]
        if self._runs.runner.conventional:
            return conform(ref, pair.ox.shape, self._bound[key[0]].source)
        if ref.shape != pair.ox.shape or (is_float(ref.dtype) and ref.dtype != np.float64):
            return None
        return ref

    def _errors(self, sides: Sides, key: Key, pair: Pair, rows: int) -> tuple[FloatErrors, float]:
        """Measure a pair; the second value is the tolerance of its dtype."""
        truth = self._truth(sides, key, pair)
        wide = None if truth is None else as_floats(truth)
        slot = self._slots[key]
        errors = compare.measure(
            as_floats(pair.fw),
            wide,
            as_floats(pair.ox),
            rows,
            slot.floor,
            by_column=slot.columns is not None and pair.ox.shape == (rows, len(slot.columns)),
        )
        tol = compare.tolerance(pair.ox.dtype, self._signature.widest_float)
        if is_float(pair.fw.dtype):
            # A framework that answers in float32, whatever it is given, says no more than float32 can.
            tol = max(tol, compare.tolerance(pair.fw.dtype))
        # Without a float64 answer the rounding of long sums cannot be told from errors; it grows with their root.
        return errors, tol if truth is not None else tol * self._growth

    def _measure_excuses(self, case: Case, sides: Sides, work: Sequence[Work]) -> Mapping[Key, Excuse]:
        need: set[int] = set()
        floats = False
        for item in work:
            if not self._by_budget(item):
                continue
            floats = True
            for candidate in (item.pair, item.plain):
                if candidate is not None and not candidate.problem:
                    errors, tol = self._errors(sides, item.key, candidate, case.rows)
                    need.update(int(row) for row in compare.rows_in_need(errors, tol))
        everything = case.measure and self._cheap and floats
        return self._excuses.measure(case, sides, sorted(need), everything=everything)

    def _by_budget(self, item: Work) -> bool:
        """Tell whether a pair is judged by error and budget; labels and whole numbers are judged by equality."""
        pair = item.pair
        return comparable_as_floats(pair.fw) and comparable_as_floats(pair.ox) and not self._bound[item.key[0]].label

    def _judge_both(self, case: Case, sides: Sides, item: Work, excuse: Excuse | None) -> OutputResult:
        """Judge both sessions; the worse finding counts, and says from which one it comes."""
        result, compared = self._judge(case, sides, item, item.pair, excuse)
        if item.plain is not None and (item.plain.problem or not _same_bits(item.pair.ox, item.plain.ox)):
            if item.plain.problem:
                second = dataclasses.replace(
                    failure(case, self._bound[item.key[0]], item.plain.problem), output=item.pair.name
                )
                other = Compared(item.plain.fw, None, item.plain.ox)
            else:
                second, other = self._judge(case, sides, item, item.plain, excuse)
            if second.badness > result.badness:
                result, compared = dataclasses.replace(second, optimised=False), other
        if self._keep is not None:
            self._keep.add(case, result, compared)
        return result

    def _judge(
        self, case: Case, sides: Sides, item: Work, pair: Pair, excuse: Excuse | None
    ) -> tuple[OutputResult, Compared]:
        """Judge one session; the second value is what the result was computed from."""
        if self._by_budget(item):
            return self._judge_floats(case, sides, item.key, pair, excuse)
        return self._judge_labels(case, sides, item.key, pair)

    def _judge_floats(
        self, case: Case, sides: Sides, key: Key, pair: Pair, excuse: Excuse | None
    ) -> tuple[OutputResult, Compared]:
        errors, tol = self._errors(sides, key, pair, case.rows)
        slot, truth = self._slots[key], self._truth(sides, key, pair)
        fitting = excuse if excuse is not None and excuse.sensitivity.size == errors.onnx.size else None
        sensitivity = None if fitting is None else fitting.sensitivity.reshape(-1)

        def judged(trial: Trial) -> Judgement:
            return compare.judge(
                errors,
                tol=tol * trial.growth,
                sensitivity=trial.sensitivity,
                framework_noise=None if fitting is None else fitting.noise.reshape(-1),
                noise=slot.noise,
                fixed_budget=self._options.budget,
                profile=slot.profile if sides.ref is not None else None,
                framework_factor=trial.factor,
            )

        trial, notes = Trial(sensitivity), [pair.note, errors.special_note]
        judgement = judged(trial)
        # The graph is asked only where its answer matters.
        if judgement.verdict is Verdict.CONVERTER_IMPRECISE and truth is not None and self._one_port(key, pair):
            question = Question(case, key, pair, truth, judgement, errors, tol)
            other, note = self._second_opinion(sides, question, trial, judged)
            if note:
                trial, judgement = other, judged(other)
                notes.append(note)
        if judgement.verdict is Verdict.INCONCLUSIVE:
            notes.append(f"two runs of the framework differ by {slot.noise:.2g} of the scale")
        note = "; ".join(text for text in notes if text)
        result = float_result(self._bound[key[0]], case, pair, errors, judgement, known=truth is not None, note=note)
        arrays = (as_floats(pair.fw), None if truth is None else as_floats(truth), as_floats(pair.ox))
        detail = details.float_detail((case.suite, case.name), case.rows, case.feeds, arrays, errors, judgement)
        result = dataclasses.replace(result, detail=detail)
        nan_at_fault = errors.wrong_specials > 0 and bool((np.isnan(pair.ox) | np.isnan(pair.fw)).any())
        compared = Compared(
            pair.fw,
            truth,
            pair.ox,
            columns=errors.columns,
            scale=errors.scale,
            sensitivity=trial.sensitivity,
            own=judgement.own,
            framework_factor=trial.factor,
            repeat=slot.noise,
            tolerance=tol * trial.growth,
            fixed_budget=self._options.budget,
        )
        return (self._without_loose_nan(case, result) if nan_at_fault else result), compared

    def _one_port(self, key: Key, pair: Pair) -> bool:
        """Tell whether an array is one ONNX output, which the graph in float64 can be asked for."""
        return len(self._bound[key[0]].ports) == 1 and "[" not in pair.name

    def _second_opinion(
        self, sides: Sides, question: Question, first: Trial, judged: Callable[[Trial], Judgement]
    ) -> tuple[Trial, str]:
        """Look for an explanation of an error that the first rule does not excuse, where the graph says what it should.

        Returns:
            The rule to judge by, and what explains the error; empty when nothing does.
        """
        wider = Trial(first.sensitivity, compare.ROUNDING_FACTOR, compare.MOST_GROWTH)
        if judged(wider).verdict.passed:
            longest = self._opinion.longest_sum(question.feeds, question.output, *question.agreement())
            wider = dataclasses.replace(wider, growth=compare.growth(longest))
            if longest and judged(wider).verdict.passed:
                return wider, "the graph is right in float64: rounding errors of long sums"
        rounding = self._excuses.rounding(question.case, sides, question.key)
        if rounding is None or rounding.size != question.errors.onnx.size:
            return first, ""
        known = 0.0 if first.sensitivity is None else first.sensitivity
        moved = Trial(np.maximum(known, rounding))
        if not judged(moved).verdict.passed:
            return first, ""
        if not self._opinion.longest_sum(question.feeds, question.output, *question.agreement(rounding)):
            return first, ""
        return (
            moved,
            "the graph is right in float64: moving the framework's own intermediate results explains the error",
        )

    def _without_loose_nan(self, case: Case, result: OutputResult) -> OutputResult:
        """Leave undecided what no specification decides: NaN in tensor models with operators that may drop it."""
        loose = _LOOSE_NAN if case.name == "NaN" else _LOOSE_NAN | _LOOSE_INFINITY
        found = [name for name in self._operators if name in loose]
        if case.suite != "special" or self._runs.runner.framework == "scikit-learn" or not found:
            return result
        names = ", ".join(found)
        note = f"not judged, since what {names} do with NaN and infinities differs between runtimes: {result.note}"
        return dataclasses.replace(result, verdict=None, budget_used=0.0, note=note)

    def _judge_labels(self, case: Case, sides: Sides, key: Key, pair: Pair) -> tuple[OutputResult, Compared]:
        bound = self._bound[key[0]]
        truth, fw = self._truth(sides, key, pair), pair.fw
        if is_float(pair.ox.dtype) and is_float(fw.dtype):
            # Labels such as 0.1 are stored in the dtype of the output.
            fw = compare.narrow(fw, pair.ox.dtype)
            truth = None if truth is None else compare.narrow(truth, pair.ox.dtype)

        def ties(rows: npt.NDArray[np.intp], differing: Flags, answered: Array) -> Flags:
            wanted = compare.by_row(fw if truth is None else truth, case.rows)[rows]
            output, label = pair.name, bound.label
            return self._excuses.ties(case, key, rows, differing, answered, wanted, output=output, label=label)

        counts = compare_labels(fw, truth, pair.ox, case.rows, ties)
        verdict = counts.verdict
        note = "; ".join(text for text in (pair.note, counts.note) if text)
        if verdict.failed and self._slots[key].random_labels:
            verdict, note = Verdict.INCONCLUSIVE, "two runs of the framework give different answers"
        result = OutputResult(
            pair.name,
            bound.source,
            case.suite,
            case.name,
            verdict,
            rows=case.rows,
            dtype=dtype_name(pair.ox),
            shape=pair.ox.shape,
            budget_used=math.inf if verdict.failed else 0.0,
            equal=counts.equal,
            tied=counts.tied,
            wrong=counts.wrong,
            worst_row=counts.first_wrong[0] if counts.first_wrong else 0,
            reference="float64" if truth is not None else "framework",
            note=note,
            detail=details.label_detail(
                (case.suite, case.name), case.rows, case.feeds, (fw, truth, pair.ox), wrong=verdict.failed
            ),
        )
        compared = Compared(pair.fw, self._truth(sides, key, pair), pair.ox)
        return (self._without_loose_nan(case, result) if verdict.failed else result), compared


def _same_bits(a: Array, b: Array) -> bool:
    if a.dtype != b.dtype or a.shape != b.shape:
        return False
    if a.dtype.kind == "O":
        return bool(np.array_equal(a, b))
    return a.tobytes() == b.tobytes()
