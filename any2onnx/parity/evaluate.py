"""Evaluation of one case: run all sides, pair the arrays, measure, judge."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from any2onnx.parity import compare, details, stability
from any2onnx.parity.arrays import ArrayStore, Compared
from any2onnx.parity.compare import FloatErrors, Judgement, as_floats, comparable_as_floats
from any2onnx.parity.excuses import Excuse, Excuses
from any2onnx.parity.graph_opinion import GraphOpinion
from any2onnx.parity.labels import Flags, compare_labels
from any2onnx.parity.reference import Binding, Bound, FrameworkRejects
from any2onnx.parity.report import OutputResult
from any2onnx.parity.results import dtype_name, failure, float_result
from any2onnx.parity.runtime import Leaf, OnnxFile, RuntimeFailure
from any2onnx.parity.slots import Slot, learn_slot
from any2onnx.parity.structure import Pair, conform, merge_leaves, pair_up
from any2onnx.parity.ulp import Array, is_float
from any2onnx.parity.verdict import Verdict

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from any2onnx.parity.cases import Case
    from any2onnx.parity.running import Runs, Sides
    from any2onnx.parity.sensitivity import Key, Results
    from any2onnx.parity.suites import Plan

# The sensitivity of all rows is measured only where a run of the model is cheap; elsewhere only that of rows in need.
# By size and not by the clock: the same comparison gives the same report.
_CHEAP_BYTES = 1 << 24
_CHEAP_ELEMENTS = 1 << 16
# Methods whose columns are quantities of their own, with units of their own; the columns of probabilities, of scores
# and of tensors are one quantity.
_BY_COLUMN = frozenset({"transform", "inverse_transform", "predict"})
# A rebuilt float64 model that is further off than this share of the scale is not the same model.
_LOST = 0.1
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


class Evaluator:
    """Runs and judges cases for one pair of model and ONNX file.

    Args:
        runs: The sides.
        binding: Which result belongs to which output.
        plan: The inputs.
        onnx_file: The file, for what is known of its graph.
        options: The caller's choices.
        keep: Where the compared arrays are written, or None.
    """

    def __init__(
        self,
        runs: Runs,
        binding: Binding,
        plan: Plan,
        onnx_file: OnnxFile,
        options: Options,
        keep: ArrayStore | None = None,
    ) -> None:
        self._runs = self.runs = runs
        self._keep = keep
        self._bound = binding.bound
        self._plan = plan
        self._signature = plan.signature
        self._options = options
        self._file = onnx_file
        self._growth = math.sqrt(onnx_file.contraction)
        self._operators = onnx_file.operators
        self._slots: dict[Key, Slot] = {}
        self._cheap = len(onnx_file.payload) <= _CHEAP_BYTES
        self._excuses = Excuses(runs, plan, {})
        self._opinion = GraphOpinion(onnx_file, plan.signature)

    # --- the first case ---

    def learn(self, case: Case) -> list[str]:
        """Measure scale, determinism, cost and the float64 reference on inputs that the model accepts.

        Returns:
            Notes for the report.
        """
        first = self._runs.framework(case.feeds, case.rows)
        self._cheap &= sum(values.size for values in case.feeds.values()) <= _CHEAP_ELEMENTS
        second = self._runs.framework(case.feeds, case.rows)
        ref = self._runs.reference(case.feeds, case.rows)
        notes = []
        if self._runs.double and ref is None:
            reason = f" ({self._runs.runner.float64_problem})" if self._runs.runner.float64_problem else ""
            notes.append(f"no float64 reference{reason}: the framework as run is the reference")
            self._runs.double = False
        for i, (group, again) in enumerate(zip(first, second, strict=True)):
            for j, (values, other) in enumerate(zip(group, again, strict=True)):
                truth = values if ref is None else ref[i][j]
                self._slots[i, j] = learn_slot(values, other, truth, case.rows, by_column=self._by_column(i))
        if ref is not None and self._is_lost(first, ref, case.rows):
            notes.append("the float64 copy of the model answers differently: the framework as run is the reference")
            self._runs.double = False
        by_column = [key for key, slot in sorted(self._slots.items()) if slot.columns is not None]
        self._excuses = Excuses(self._runs, self._plan, case.feeds, by_column)
        return notes

    def _by_column(self, i: int) -> bool:
        """Tell whether the columns of a result are quantities of their own."""
        # A missing ONNX output leaves results of the framework without a counterpart.
        return i < len(self._bound) and self._bound[i].source in _BY_COLUMN and not self._bound[i].label

    def _is_lost(self, fw: Results, ref: Results, rows: int) -> bool:
        """Tell whether a rebuilt float64 model is another model: its errors would excuse those of ONNX."""
        if self._runs.runner.framework != "keras":
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

    # --- one case ---

    def evaluate(self, case: Case) -> list[OutputResult]:
        """Return one result for each array of each bound output."""
        if case.empty and self._file.fatal_when_empty:
            note = f"not run: onnxruntime ends the process when {self._file.fatal_when_empty[0]} gets an empty batch"
            return [OutputResult(b.name, b.source, case.suite, case.name, None, note=note) for b in self._bound]
        if case.repeated:
            return self._repeated(case)
        try:
            if case.parts:
                sides = self._runs.in_parts(case.feeds, case.parts)
            else:
                sides = self._runs.all_sides(case.feeds, case.rows)
        except FrameworkRejects as error:
            return self._rejected(case, str(error))
        except RuntimeFailure as error:
            note = f"onnxruntime raises, the framework answers: {error}"
            return [failure(case, bound, note) for bound in self._bound]
        odd = self._odd_when_empty(sides) if case.empty else ""
        if odd:
            return self._empty_batch(case, odd)
        results = self._judge_all(case, sides)
        return self._with_pieces(case, sides, results) if case.parts else results

    def _repeated(self, case: Case) -> list[OutputResult]:
        """Compare onnxruntime with itself."""
        scales = [self._slots[i, 0].scale if (i, 0) in self._slots else 0.0 for i in range(len(self._bound))]
        random = any(slot.noise > 0 or slot.random_labels for slot in self._slots.values())
        try:
            return stability.repeated(self._runs, case, self._bound, self._file, scales, random=random)
        except RuntimeFailure as error:
            return [failure(case, bound, f"onnxruntime raises: {error}") for bound in self._bound]

    def _with_pieces(self, case: Case, sides: Sides, results: list[OutputResult]) -> list[OutputResult]:
        """Add to each result how the pieces differ from one batch of all rows."""
        whole = self._runs.onnx(case.feeds, case.rows)
        notes = {bound.name: stability.in_pieces_note(whole, sides.ox, bound.ports) for bound in self._bound}
        return [
            dataclasses.replace(
                result, note="; ".join(text for text in (result.note, notes.get(result.output)) if text)
            )
            for result in results
        ]

    def _odd_when_empty(self, sides: Sides) -> str:
        """Return how the framework's empty answer differs in form from its others, which ONNX is not to imitate.

        TensorFlow's convolutions leave out the cropping of the edges, LabelEncoder answers float64.
        """
        for (i, j), slot in sorted(self._slots.items()):
            values = sides.fw[i][j]
            if values.ndim and slot.dtype and (values.shape[1:] != slot.row_shape or values.dtype.name != slot.dtype):
                return f"it gives {values.dtype.name}{list(values.shape)}, rows are {slot.dtype}{list(slot.row_shape)}"
        return ""

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
            self._runs.onnx(case.feeds, case.rows)
            answer = "ONNX answers"
        except RuntimeFailure:
            answer = "onnxruntime raises too"
        note = f"the framework rejects the input ({reason}); {answer}"
        return [OutputResult(bound.name, bound.source, case.suite, case.name, None, note=note) for bound in self._bound]

    def _empty_batch(self, case: Case, reason: str) -> list[OutputResult]:
        """Check the shapes of an empty batch that the framework refuses."""
        try:
            found = self._runs.onnx(case.feeds, case.rows)
        except RuntimeFailure as error:
            return [failure(case, bound, f"onnxruntime raises on an empty batch: {error}") for bound in self._bound]
        results = []
        for i, bound in enumerate(self._bound):
            leaves = [leaf for port in bound.ports for leaf in found[port]]
            wrong = [leaf for leaf in leaves if not self._fits_empty(i, bound, leaf)]
            if wrong:
                wanted = list(self._slots[i, 0].row_shape)
                note = f"shape {list(wrong[0].values.shape)} for an empty batch, rows have shape {wanted}"
                results.append(failure(case, bound, note))
            else:
                note = f"the framework has no answer for an empty batch ({reason}); ONNX answers an empty one"
                results.append(OutputResult(bound.name, bound.source, case.suite, case.name, Verdict.EXACT, note=note))
        return results

    def _fits_empty(self, i: int, bound: Bound, leaf: Leaf) -> bool:
        """Tell whether an array has the shape of no rows, by the rows seen before and scikit-learn's conventions."""
        shape = leaf.values.shape
        if any(self._runs.session.outputs[port].onnx_type.startswith("seq(") for port in bound.ports):
            return 0 in shape
        rows = self._slots[i, 0].row_shape if len(bound.ports) == 1 else ()
        arrays = sum(key[0] == i for key in self._slots)
        if arrays > 1 and len(shape) == len(rows) + 2:
            return shape == (arrays, 0, *rows)
        if not shape or shape[0] != 0:
            return False
        if not self._runs.runner.conventional:
            return shape[1:] == rows
        return conform(np.zeros((0, *rows)), shape, bound.source) is not None

    # --- judging ---

    def _judge_all(self, case: Case, sides: Sides) -> list[OutputResult]:
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

        own_tol = tol

        def judged(factor: float, growth: float = 1.0) -> Judgement:
            return compare.judge(
                errors,
                tol=own_tol * growth,
                sensitivity=sensitivity,
                framework_noise=None if fitting is None else fitting.noise.reshape(-1),
                noise=slot.noise,
                fixed_budget=self._options.budget,
                profile=slot.profile if sides.ref is not None else None,
                framework_factor=factor,
            )

        factor, notes = compare.FRAMEWORK_FACTOR, [pair.note, errors.special_note]
        judgement = judged(factor)
        imprecise = judgement.verdict is Verdict.CONVERTER_IMPRECISE
        # The graph is asked only where its answer matters: near the budget.
        if imprecise and truth is not None and judged(compare.ROUNDING_FACTOR, compare.MOST_GROWTH).verdict.passed:
            growth = self._right_graph(case, key, pair, truth, judgement, errors, tol)
            wider = judged(compare.ROUNDING_FACTOR, growth)
            if growth and wider.verdict.passed:
                judgement, factor, tol = wider, compare.ROUNDING_FACTOR, tol * growth
                notes.append("the graph is right in float64: rounding errors of long sums")
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
            sensitivity=sensitivity,
            own=judgement.own,
            framework_factor=factor,
            repeat=slot.noise,
            tolerance=tol,
            fixed_budget=self._options.budget,
        )
        return (self._without_loose_nan(case, result) if nan_at_fault else result), compared

    def _right_graph(
        self, case: Case, key: Key, pair: Pair, truth: Array, judgement: Judgement, errors: FloatErrors, tol: float
    ) -> float:
        """Return by how much rounding may grow in a graph that is right in float64, 0 for one that is not."""
        if len(self._bound[key[0]].ports) != 1 or "[" in pair.name:
            return 0.0
        allowed = tol * errors.scale.reshape(-1, errors.columns).min(axis=1)
        longest = self._opinion.longest_sum(case.feeds, pair.name, truth, judgement.failing, allowed)
        return compare.growth(longest) if longest else 0.0

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

        def ties(rows: npt.NDArray[np.intp], answered: Array) -> Flags:
            return self._excuses.ties(case, key, rows, answered, label=bound.label)

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
