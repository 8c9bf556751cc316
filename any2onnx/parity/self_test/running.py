"""Runs the self-test: every specimen against all suites, every mutant against the suite that must catch it."""

from __future__ import annotations

import dataclasses
import time
from typing import TYPE_CHECKING

from any2onnx.errors import Any2OnnxError
from any2onnx.parity.check import check_parity
from any2onnx.parity.self_test.specimen import Mutant, Specimen, all_mutants, all_specimens

if TYPE_CHECKING:
    from collections.abc import Iterator

    from any2onnx.parity.report import ParityReport


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of one specimen or mutant.

    Attributes:
        name: Its name.
        framework: Its framework.
        kind: ``mutant`` or ``specimen``.
        right: Caught by its suite, or passed.
        suite: The suite that must catch it, empty for specimens.
        note: What was found.
        seconds: CPU seconds.
    """

    name: str
    framework: str
    kind: str
    right: bool
    suite: str
    note: str
    seconds: float


def judge_mutant(mutant: Mutant) -> ParityReport:
    """Return the report on a mutant by its suite."""
    subject = mutant.subject()
    # Names and counts are compared whatever suite runs.
    suites = "typical" if mutant.suite == "structure" else mutant.suite
    return check_parity(subject.model, subject.proto(), subject.data, suites=suites, outputs=subject.outputs)


def judge_specimen(specimen: Specimen) -> ParityReport:
    """Return the report on a right pair by all suites."""
    subject = specimen.build()
    return check_parity(subject.model, subject.proto(), subject.data, outputs=subject.outputs)


def caught(mutant: Mutant, report: ParityReport) -> bool:
    """Tell whether the named suite, and not just any, found the mistake."""
    return any(result.suite == mutant.suite for result in report.failures)


def run_self_test(framework: str | None = None, only: str = "") -> Iterator[Outcome]:
    """Yield one outcome after the other.

    Args:
        framework: One of the three, or None for all.
        only: Run what has this text in its name.

    Raises:
        UnknownOption: There is no such framework.
        MissingDependency: A framework is not installed.
    """
    for specimen in all_specimens(framework):
        if only in specimen.name:
            yield _timed(specimen, "specimen")
    for mutant in all_mutants(framework):
        if only in mutant.name:
            yield _timed(mutant, "mutant")


def _timed(item: Specimen | Mutant, kind: str) -> Outcome:
    start = time.process_time()
    framework = item.framework if isinstance(item, Specimen) else item.specimen.framework
    suite = "" if isinstance(item, Specimen) else item.suite
    try:
        report = judge_specimen(item) if isinstance(item, Specimen) else judge_mutant(item)
    except Any2OnnxError as error:
        # A pair that cannot be judged is a failure of the self-test, and must not stop the others.
        return Outcome(item.name, framework, kind, False, suite, f"no report: {error}", time.process_time() - start)
    if isinstance(item, Specimen):
        right, note = report.passed, f"{report.verdict.value}, {report.last_line}"
    else:
        found = sorted({result.suite for result in report.failures})
        right = caught(item, report)
        note = f"{report.verdict.value} in {', '.join(found)}" if found else f"not caught: {report.verdict.value}"
    return Outcome(item.name, framework, kind, right, suite, note, time.process_time() - start)
