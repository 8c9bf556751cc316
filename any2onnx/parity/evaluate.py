"""Evaluation of one case: run all sides, pair the arrays, measure, judge."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from any2onnx.parity import compare, stability
from any2onnx.parity.arrays import ArrayStore
from any2onnx.parity.compare import as_floats, comparable_as_floats
from any2onnx.parity.excuses import Excuses
from any2onnx.parity.graph_scores import GraphScores
from any2onnx.parity.judging import Judge, Options
from any2onnx.parity.reference import Binding, Bound, FrameworkRejects
from any2onnx.parity.report import OutputResult
from any2onnx.parity.results import failure
from any2onnx.parity.runtime import Leaf, OnnxFile, RuntimeFailure
from any2onnx.parity.slots import Slot, learn_slot
from any2onnx.parity.structure import conform
from any2onnx.parity.verdict import Verdict

if TYPE_CHECKING:
    from any2onnx.parity.cases import Case
    from any2onnx.parity.running import Runs, Sides
    from any2onnx.parity.sensitivity import Key, Results
    from any2onnx.parity.signature import Feeds
    from any2onnx.parity.suites import Plan

# The sensitivity of all rows is measured only where a run of the model is cheap; elsewhere only that of rows in need.
# By size and not by the clock: the same comparison gives the same report.
_CHEAP_BYTES = 1 << 24
_CHEAP_ELEMENTS = 1 << 16
# A rebuilt float64 model that is further off than this share of the scale is not the same model.
_LOST = 0.1


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
        self._bound = binding.bound
        self._plan = plan
        self._options = options
        self._file = onnx_file
        self._keep = keep
        self._slots: dict[Key, Slot] = {}
        self._judge = self._judge_for({}, cheap=False)

    # --- the first case ---

    def learn(self, case: Case) -> list[str]:
        """Measure scale, determinism, cost and the float64 reference on inputs that the model accepts.

        Returns:
            Notes for the report.
        """
        first = self._runs.framework(case.feeds, case.rows)
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
        small = sum(values.size for values in case.feeds.values()) <= _CHEAP_ELEMENTS
        self._judge = self._judge_for(case.feeds, cheap=small and len(self._file.payload) <= _CHEAP_BYTES)
        return notes

    def _judge_for(self, baseline: Feeds, *, cheap: bool) -> Judge:
        by_column = [key for key, slot in sorted(self._slots.items()) if slot.columns is not None]
        excuses = Excuses(self._runs, self._plan, baseline, by_column, GraphScores(self._file, self._plan.signature))
        return Judge(
            self._runs,
            self._bound,
            self._plan,
            self._file,
            self._options,
            slots=self._slots,
            excuses=excuses,
            cheap=cheap,
            keep=self._keep,
        )

    def _by_column(self, i: int) -> bool:
        """Tell whether the columns of a result are quantities of their own."""
        # A missing ONNX output leaves results of the framework without a counterpart.
        return i < len(self._bound) and self._bound[i].source in stability.BY_COLUMN and not self._bound[i].label

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
        results = self._judge.judge(case, sides)
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

        TensorFlow's convolutions leave out the cropping of the edges, LabelEncoder answers float64. Where sizes follow
        from the rows (words padded to the longest), both have none.
        """
        for (i, j), slot in sorted(self._slots.items()):
            values = sides.fw[i][j]
            # The graph may lack an output.
            ports = self._bound[i].ports if i < len(self._bound) else ()
            same = any(leaf.values.shape == values.shape for port in ports for leaf in sides.ox[port])
            odd = (values.shape[1:] != slot.row_shape and not same) or values.dtype.name != slot.dtype
            if values.ndim and slot.dtype and odd:
                return f"it gives {values.dtype.name}{list(values.shape)}, rows are {slot.dtype}{list(slot.row_shape)}"
        return ""

    def _rejected(self, case: Case, reason: str) -> list[OutputResult]:
        """Report a case that the framework refuses: only an empty batch leaves something to be checked."""
        if case.empty:
            return self._empty_batch(case, reason, refused=not self._runs.runner.conventional)
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

    def _empty_batch(self, case: Case, reason: str, *, refused: bool = False) -> list[OutputResult]:
        """Check the shapes of an empty batch that the framework has no answer for.

        A tensor model that refuses it may be refused by onnxruntime too; estimators refuse every empty batch, for no
        reason that lies in the model.
        """
        try:
            found = self._runs.onnx(case.feeds, case.rows)
        except RuntimeFailure as error:
            if refused:
                note = f"neither side takes an empty batch ({reason})"
                return [OutputResult(b.name, b.source, case.suite, case.name, None, note=note) for b in self._bound]
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
        if not self._runs.runner.conventional:
            # The batch may be another axis than the first: the states of a recurrent layer have it second.
            slot = self._slots[i, 0]
            pairs = zip(shape, slot.shape, strict=True) if len(shape) == len(slot.shape) else ()
            return 0 in shape and bool(pairs) and all(a == b or (a == 0 and b == slot.rows) for a, b in pairs)
        if not shape or shape[0] != 0:
            return False
        return conform(np.zeros((0, *rows)), shape, bound.source) is not None
