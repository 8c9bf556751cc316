"""`any2onnx parity --registry`: a model of everything that is registered, one line each."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from any2onnx.cli.verdicts import INCONCLUSIVE, PASSED, Outputs, conclude, exit_code
from any2onnx.errors import OpsetNotSupported, UnsupportedOperator, UnsupportedParameter, UsageError

if TYPE_CHECKING:
    from any2onnx.parity import ParityReport
    from any2onnx.registered import ParityCase

_REFUSALS = (OpsetNotSupported, UnsupportedOperator, UnsupportedParameter)


def run_registry(
    framework: str | None, pattern: str, workers: int, arguments: Mapping[str, Any], outputs: Outputs
) -> int:
    """Compare every case whose id contains the pattern; return the exit code.

    A case that the framework cannot build here, or that the converter refuses by name, counts as skipped; an
    exception of another kind is a failure.

    Raises:
        UsageError: No case is meant.
    """
    from any2onnx.cli.console import console, plain
    from any2onnx.registered import registered_cases

    ids = [case.id for case in registered_cases(framework) if pattern.lower() in case.id.lower()]
    if not ids:
        raise UsageError(f"no registered case contains {pattern!r}", remedy="any2onnx coverage")
    output = console()
    reports: list[tuple[str, ParityReport]] = []
    width = max(len(name) for name in ids)
    try:
        for name, report in _results(framework, ids, workers, dict(arguments)):
            reports.append((name, report))
            worst = report.worst
            state = report.verdict.value if worst is not None else "skipped"
            used = f"{report.budget_used:>6.0%} of the budget" if report.passed else ""
            note = "" if report.passed else " ".join(result.note for result in report.results if result.note)[:120]
            output.print(f"{name:<{width}}  {state:<19} {used}{plain(note)}", markup=False, soft_wrap=True)
    except KeyboardInterrupt as stop:
        name = ids[len(reports)]
        report = getattr(stop, "report", None) or _stopped(_cases(framework)[name])
        conclude([*reports, (name, report)], outputs.stopped(), brief=True)
        raise
    code = conclude(reports, outputs, brief=True)
    if code == INCONCLUSIVE and all(
        exit_code(report, outputs.fail_on) == PASSED or not report.compared for _, report in reports
    ):
        # What was skipped by name is no open question.
        return PASSED
    return code


def _results(
    framework: str | None, ids: Sequence[str], workers: int, arguments: dict[str, Any]
) -> Iterator[tuple[str, ParityReport]]:
    """Yield the reports in the order of the ids."""
    if workers == 1:
        cases = _cases(framework)
        for name in ids:
            yield name, compared(cases[name], arguments)
        return
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    # Frameworks keep threads: a forked copy of such a process would hang.
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_one_thread) as pool:
        jobs = [(name, pool.submit(_job, framework, name, arguments)) for name in ids]
        for name, job in jobs:
            yield name, job.result()


def _one_thread() -> None:
    os.environ.setdefault("OMP_NUM_THREADS", "1")


def _job(framework: str | None, name: str, arguments: dict[str, Any]) -> ParityReport:
    return compared(_cases(framework)[name], arguments)


def _cases(framework: str | None) -> dict[str, ParityCase]:
    from any2onnx.registered import registered_cases

    return {case.id: case for case in registered_cases(framework)}


def compared(case: ParityCase, arguments: Mapping[str, Any]) -> ParityReport:
    """Build and compare one case; what is raised becomes the report."""
    from any2onnx.parity import check_parity
    from any2onnx.registered import CannotBuild

    try:
        parts = case.build()
    except CannotBuild as error:
        return _instead(case, f"cannot be built here: {error}", failed=False)
    except _REFUSALS as error:
        return _instead(case, f"refused: {error.summary}", failed=False)
    except Exception as error:
        # Whatever a framework or the converter raises is a finding about this case, and the others go on.
        return _instead(case, f"{type(error).__name__}: {' '.join(str(error).split())}", failed=True)
    try:
        return check_parity(*parts, **{"suites": "smoke", **case.arguments, **arguments})
    except Exception as error:
        return _instead(
            case, f"the comparison raises {type(error).__name__}: {' '.join(str(error).split())}", failed=True
        )


def _stopped(case: ParityCase) -> ParityReport:
    """Return a report that says that the work was interrupted in this case."""
    import dataclasses

    from any2onnx.parity.report import interruption

    report = _instead(case, "", failed=False)
    return dataclasses.replace(report, results=(interruption("build", case.id),), state="interrupted")


def _instead(case: ParityCase, note: str, *, failed: bool) -> ParityReport:
    """Return a report of one line for a case that could not be compared."""
    import math

    from any2onnx.parity import OutputResult, ParityReport, Verdict

    verdict = Verdict.MISMATCH if failed else None
    used = math.inf if failed else 0.0
    result = OutputResult("", "", "build", case.id, verdict, budget_used=used, note=note)
    return ParityReport(
        framework={"sklearn": "scikit-learn"}.get(case.id.partition("/")[0], case.id.partition("/")[0]),
        model=case.id,
        producer="",
        opsets=(),
        versions=(),
        inputs="",
        suites=("build",),
        seed=0,
        results=(result,),
    )
