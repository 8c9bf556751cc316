"""The result of a parity check as plain frozen data, with its serialised forms."""

from __future__ import annotations

import dataclasses
import json
import math
import pathlib
from typing import TYPE_CHECKING, Any

from any2onnx.errors import ParityError, ParityInconclusive, UnknownOption, did_you_mean
from any2onnx.parity import findings
from any2onnx.parity.details import Detail, merge
from any2onnx.parity.picture import GraphPicture
from any2onnx.parity.ulp import INCOMPARABLE
from any2onnx.parity.verdict import Verdict

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

SCHEMA = "any2onnx.parity/1"


@dataclasses.dataclass(frozen=True)
class OutputResult:
    """What one case of one suite says about one output.

    Errors are taken over the whole case. ``ulp``, ``abs`` and ``rel`` are those of ONNX against the reference.

    Attributes:
        output: Name of the ONNX output (``name[i]`` for the arrays of a sequence).
        source: The framework's method, or the position among its outputs.
        suite: The suite.
        case: The case inside the suite.
        verdict: The verdict; None when the case was skipped.
        rows: Rows compared.
        dtype: dtype of the ONNX output.
        shape: Shape of the ONNX output.
        ulp: ULP distance between ONNX and the reference (rounded to the ONNX dtype).
        ulp_framework: ULP distance between ONNX and the framework as run.
        abs: Largest |ONNX - reference|.
        rel: Largest |ONNX - reference| / scale, row by row.
        abs_framework: Largest |framework - reference|.
        rel_framework: The same relative to the scale.
        rel_difference: Largest |ONNX - framework| / scale.
        sensitivity: Change of the reference under half-ulp input changes, relative to the scale, in the worst row.
        budget: Budget in the worst row, relative to the scale.
        budget_used: Largest error / budget; above 1 is a failure, infinite where no budget applies.
        budget_from: What the budget of the worst row comes from: ``tolerance``, ``sensitivity``, ``framework`` or
            ``fixed``; empty where no budget applies.
        equal: Equal elements of a discrete output.
        tied: Elements that differ where the scores behind are tied.
        wrong: Elements that differ otherwise.
        worst_row: Row with the largest error / budget.
        reference: ``float64``, or ``framework`` where there is no float64 answer.
        optimised: False when the finding comes from the session without graph optimisations.
        note: What else there is to say.
        detail: Histograms and worst rows, None where nothing was measured.
    """

    output: str
    source: str
    suite: str
    case: str
    verdict: Verdict | None
    rows: int = 0
    dtype: str = ""
    shape: tuple[int, ...] = ()
    ulp: int = 0
    ulp_framework: int = 0
    abs: float = 0.0
    rel: float = 0.0
    abs_framework: float = 0.0
    rel_framework: float = 0.0
    rel_difference: float = 0.0
    sensitivity: float = 0.0
    budget: float = 0.0
    budget_used: float = 0.0
    budget_from: str = ""
    equal: int = 0
    tied: int = 0
    wrong: int = 0
    worst_row: int = 0
    reference: str = "float64"
    optimised: bool = True
    note: str = ""
    detail: Detail | None = dataclasses.field(default=None, repr=False)

    @property
    def status(self) -> str:
        """``passed``, ``failed``, ``inconclusive`` or ``skipped``."""
        if self.verdict is None:
            return "skipped"
        if self.verdict.passed:
            return "passed"
        return "failed" if self.verdict.failed else "inconclusive"

    @property
    def badness(self) -> tuple[int, float]:
        """A key that orders results from best to worst."""
        return (-1 if self.verdict is None else self.verdict.rank, self.budget_used)

    def to_dict(self) -> dict[str, Any]:
        """Return the result as plain values; numbers that JSON lacks become None."""
        found = {field.name: getattr(self, field.name) for field in dataclasses.fields(self) if field.name != "detail"}
        found["verdict"] = None if self.verdict is None else self.verdict.value
        found["shape"] = list(self.shape)
        found["status"] = self.status
        return {key: _json_number(value) for key, value in found.items()}


@dataclasses.dataclass(frozen=True)
class OutputSummary:
    """All results of one output; its numbers are the worst of them."""

    name: str
    results: tuple[OutputResult, ...]

    @property
    def worst(self) -> OutputResult:
        """The result with the worst verdict, and among equals the one nearest to its budget."""
        return max(self.results, key=lambda result: result.badness)

    @property
    def verdict(self) -> Verdict | None:
        """The worst verdict; None when every case was skipped."""
        return self.worst.verdict

    @property
    def source(self) -> str:
        """The framework's method, or the position among its outputs."""
        return self.worst.source

    @property
    def ulp(self) -> int:
        """Largest ULP distance to the reference."""
        return max(result.ulp for result in self.results)

    @property
    def abs(self) -> float:
        """Largest absolute error against the reference."""
        return max(result.abs for result in self.results)

    @property
    def rel(self) -> float:
        """Largest error against the reference, relative to the scale of the output."""
        return max(result.rel for result in self.results)

    @property
    def budget_used(self) -> float:
        """Largest error / budget."""
        return max(result.budget_used for result in self.results)

    @property
    def detail(self) -> Detail:
        """Histograms and worst rows over all cases."""
        return merge(result.detail for result in self.results if result.detail is not None)

    def to_dict(self) -> dict[str, Any]:
        """Return the output with its histograms as plain values."""
        worst = self.worst
        return {
            "output": self.name,
            "source": self.source,
            "verdict": None if worst.verdict is None else worst.verdict.value,
            "budget_used": _json_number(self.budget_used),
            "abs": _json_number(self.abs),
            "rel": _json_number(self.rel),
            "ulp": _json_number(self.ulp),
            **self.detail.to_dict(),
        }


@dataclasses.dataclass(frozen=True)
class ParityReport:
    """The result of ``check_parity``.

    Attributes:
        framework: ``scikit-learn``, ``keras``, ``torch`` or ``callable``.
        model: Class of the model.
        producer: Who made the ONNX file, as it says itself.
        opsets: Opset version of each domain.
        versions: Versions of what took part.
        inputs: The inputs in one line.
        suites: Names of the suites that were asked for.
        seed: The user's seed.
        results: One entry for each output of each case.
        notes: What holds for the whole comparison.
        proofs: Statements about all inputs.
        searches: The worst rows found by search, one entry per output.
        divergences: The first divergence of each failing output.
        state: ``complete``; ``interrupted`` when somebody stopped it, ``crashed`` when the files ended the process:
            then an undecided entry or a mismatch says where, and what was found before is kept.
        graph: The graph of the ONNX model, for pictures; no part of the serialised forms.
        elapsed: Seconds (left out of the serialised forms, which are the same for the same comparison).
    """

    framework: str
    model: str
    producer: str
    opsets: tuple[tuple[str, int], ...]
    versions: tuple[tuple[str, str], ...]
    inputs: str
    suites: tuple[str, ...]
    seed: int
    results: tuple[OutputResult, ...]
    notes: tuple[str, ...] = ()
    proofs: tuple[findings.Proof, ...] = ()
    searches: tuple[findings.SearchResult, ...] = ()
    divergences: tuple[findings.Divergence, ...] = ()
    state: str = "complete"
    graph: GraphPicture | None = dataclasses.field(default=None, compare=False, repr=False)
    elapsed: float = dataclasses.field(default=0.0, compare=False)

    # --- verdicts ---

    @property
    def compared(self) -> tuple[OutputResult, ...]:
        """The results that were not skipped."""
        return tuple(result for result in self.results if result.verdict is not None)

    @property
    def verdict(self) -> Verdict:
        """The worst verdict of all; inconclusive when nothing was compared."""
        return max((result.verdict for result in self.compared if result.verdict), default=Verdict.INCONCLUSIVE)

    @property
    def budget_used(self) -> float:
        """Largest error / budget of all comparisons; infinite where no budget applies."""
        return max((result.budget_used for result in self.compared), default=0.0)

    @property
    def ulp(self) -> int:
        """Largest ULP distance to the reference."""
        return max((result.ulp for result in self.compared), default=0)

    @property
    def passed(self) -> bool:
        """True when every comparison passed and there was at least one."""
        return self.verdict.passed

    @property
    def worst(self) -> OutputResult | None:
        """The result with the worst verdict, and among equals the one nearest to its budget; None without results."""
        return max(self.compared, key=lambda result: result.badness, default=None)

    @property
    def failures(self) -> tuple[OutputResult, ...]:
        """The results that failed."""
        return tuple(result for result in self.results if result.status == "failed")

    def count(self, status: str) -> int:
        """Return the number of results with a status."""
        return sum(result.status == status for result in self.results)

    @property
    def last_line(self) -> str:
        """``N passed, N failed, N skipped``, where what could not be decided counts as skipped."""
        skipped = self.count("skipped") + self.count("inconclusive")
        return f"{self.count('passed')} passed, {self.count('failed')} failed, {skipped} skipped"

    # --- access ---

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the outputs in order of appearance."""
        return tuple(dict.fromkeys(result.output for result in self.results if result.output))

    def __getitem__(self, output: str) -> OutputSummary:
        found = tuple(result for result in self.results if result.output == output)
        if not found:
            raise UnknownOption(
                f"the report has no output {output!r}{did_you_mean(output, self.outputs)}",
                needs=", ".join(self.outputs),
            )
        return OutputSummary(output, found)

    def __iter__(self) -> Iterator[OutputSummary]:
        return (self[output] for output in self.outputs)

    def __len__(self) -> int:
        return len(self.outputs)

    def __bool__(self) -> bool:
        # Without this a report without outputs would be falsy by its length, which reads like "failed".
        return self.passed

    # --- consequences ---

    def raise_if_failed(self) -> ParityReport:
        """Return the report when it passed.

        Raises:
            ParityError: A comparison failed; the message names the worst one and counts the others.
            ParityInconclusive: Nothing failed, and something could not be decided.
        """
        if self.passed:
            return self
        failed = [result for result in self.results if result.status == "failed"]
        undecided = [result for result in self.results if result.status == "inconclusive"]
        found = failed or undecided
        if not found:
            raise ParityInconclusive(
                f"nothing of {self.model} could be compared with its ONNX form",
                where=self.inputs,
                remedy="pass data that the model accepts",
            )
        worst = max(found, key=lambda result: result.badness)
        others = [f"{result.output or '*'} in {result.suite}/{result.case}" for result in found if result is not worst]
        summary = f"{self.model}: output {worst.output!r} is {worst.verdict.value if worst.verdict else ''}"
        where = f"suite {worst.suite}, case {worst.case}, row {worst.worst_row}"
        if failed:
            raise ParityError(
                summary, where=where, needs=_needs(worst), remedy="print the report for every case", others=others[:20]
            )
        raise ParityInconclusive(
            summary,
            where=where,
            needs=worst.note or None,
            remedy="a deterministic model, or more time",
            others=others[:20],
        )

    # --- forms ---

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain values with a ``schema`` entry; equal comparisons give equal dicts."""
        worst = self.worst
        return {
            "schema": SCHEMA,
            "state": self.state,
            "passed": self.passed,
            "verdict": self.verdict.value,
            "framework": self.framework,
            "model": self.model,
            "producer": self.producer,
            "opsets": dict(self.opsets),
            "versions": dict(self.versions),
            "inputs": self.inputs,
            "suites": list(self.suites),
            "seed": self.seed,
            "counts": {name: self.count(name) for name in ("passed", "failed", "inconclusive", "skipped")},
            "worst": None if worst is None else worst.to_dict(),
            "notes": list(self.notes),
            "proofs": findings.plain(self.proofs),
            "searches": findings.plain(self.searches),
            "divergences": findings.plain(self.divergences),
            "outputs": [summary.to_dict() for summary in self],
            "results": [result.to_dict() for result in self.results],
        }

    def to_json(self, *, indent: int | None = 2) -> str:
        """Return ``to_dict`` as JSON (strict: no NaN, no infinity)."""
        return json.dumps(self.to_dict(), indent=indent, allow_nan=False, ensure_ascii=False)

    def to_html(self, path: str | os.PathLike[str] | None = None) -> str:
        """Return the report as one self-contained HTML page, and write it where a path is given.

        Raises:
            MissingDependency: jinja2 is not installed.
            FileAccessError: The file cannot be written.
        """
        from any2onnx.parity.html import page

        text = page(self)
        if path is not None:
            from any2onnx.io.atomic import write_text

            write_text(pathlib.Path(path), text)
        return text

    def to_junit(self) -> str:
        """Return the report as JUnit XML: a suite for each suite, a test case for each output of each case."""
        from any2onnx.parity.junit import junit

        return junit(self)

    def to_markdown(self) -> str:
        """Return a Markdown summary: one table row per output and suite."""
        from any2onnx.parity.render import markdown

        return markdown(self)

    def __str__(self) -> str:
        from any2onnx.parity.render import plain_text

        return plain_text(self)

    def __rich__(self) -> Any:
        from any2onnx.parity.render import rich_group

        return rich_group(self)

    def _repr_html_(self) -> str:
        from any2onnx.parity.notebook import fragment

        return fragment(self)


class ParityInterrupted(KeyboardInterrupt):
    """An interrupt (Ctrl-C) during a comparison; ``report`` holds what was found until then.

    Args:
        report: The report so far, with the state ``interrupted``.
    """

    def __init__(self, report: ParityReport) -> None:
        super().__init__("the comparison was interrupted")
        self.report = report


def interruption(suite: str, case: str, note: str = "interrupted") -> OutputResult:
    """Return the entry that says where a comparison was stopped."""
    return OutputResult("", "", suite, case, Verdict.INCONCLUSIVE, note=note)


def _needs(result: OutputResult) -> str:
    if result.note:
        return result.note
    return (
        f"error {result.rel:.3g} of the scale within a budget of {result.budget:.3g} "
        f"(framework's own error {result.rel_framework:.3g}, sensitivity {result.sensitivity:.3g})"
    )


def _json_number(value: Any) -> Any:
    if (isinstance(value, float) and not math.isfinite(value)) or (isinstance(value, int) and value == INCOMPARABLE):
        return None
    return value
