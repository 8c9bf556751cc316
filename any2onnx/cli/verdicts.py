"""From parity reports to what a command leaves behind: files, the baseline, the last line, the exit code."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from any2onnx.errors import UsageError

if TYPE_CHECKING:
    from any2onnx.parity import ParityReport
    from any2onnx.parity.lock import Change

PASSED, FAILED, INCONCLUSIVE = 0, 1, 5
#: What `--fail-on` can say, from the strictest on.
FAIL_ON = ("ill-conditioned", "inconclusive", "failed", "converter-imprecise", "drift", "never")


@dataclass(frozen=True)
class Outputs:
    """Where reports go and what decides the exit code; the fields are the options of the command."""

    html: Path | None = None
    json: Path | None = None
    junit: Path | None = None
    markdown: Path | None = None
    baseline: Path | None = None
    update_baseline: bool = False
    fail_on: str = "inconclusive"

    def stopped(self) -> Outputs:
        """Return what is written of a comparison that did not come to its end: all but the baseline."""
        return replace(self, baseline=None, update_baseline=False)

    def check(self) -> None:
        """Refuse what cannot work before anything is loaded.

        Raises:
            UsageError: Options contradict each other.
            FileAccessError: A file cannot be written where it should.
            MissingDependency: jinja2 is not installed, for the page.
        """
        if self.baseline is None:
            for flag, given in (
                ("--update-baseline", self.update_baseline),
                ("--fail-on drift", self.fail_on == "drift"),
            ):
                if given:
                    raise UsageError(f"{flag} needs --baseline", remedy="--baseline parity.lock")
        elif not self.update_baseline and not self.baseline.is_file():
            raise UsageError(
                "there is no such baseline", where=str(self.baseline), remedy="write it with --update-baseline"
            )
        if self.html is not None:
            import importlib.util

            from any2onnx.errors import MissingDependency

            if importlib.util.find_spec("jinja2") is None:
                raise MissingDependency("HTML reports need jinja2", remedy="pip install 'any2onnx[report]'")


def conclude(reports: Sequence[tuple[str, ParityReport]], outputs: Outputs, *, brief: bool = False) -> int:
    """Write and print everything; return the exit code.

    Args:
        reports: Names and reports.
        outputs: What to write.
        brief: Print a line for each report instead of its table.
    """
    from any2onnx.cli.console import console, plain

    write(reports, outputs, single=not brief)
    changes = _against_baseline(reports, outputs)
    output = console()
    if outputs.markdown is not None and str(outputs.markdown) == "-":
        for _, report in reports:
            output.print(report.to_markdown(), markup=False, soft_wrap=True)
    elif not brief:
        for _, report in reports:
            output.print(report)
    if changes:
        from any2onnx.cli.console import table

        rows: list[list[object]] = [[change.kind, change.name, change.text] for change in changes]
        output.print(table(f"against {outputs.baseline}", ["", "comparison", "change"], rows))
    bad = [change for change in changes if change.fails]
    if outputs.baseline is not None:
        state = "written" if outputs.update_baseline else f"{len(bad)} change(s) for the worse"
        output.print(f"baseline {plain(outputs.baseline)}: {state}", markup=False, soft_wrap=True)
    # A single report's table ends with the line already.
    printed = outputs.markdown is None or str(outputs.markdown) != "-"
    if brief or len(reports) > 1 or outputs.baseline is not None or not printed:
        output.print(last_line([report for _, report in reports]), markup=False)
    codes = [exit_code(report, outputs.fail_on) for _, report in reports] + ([FAILED] if bad else [])
    return max(codes, key=_severity, default=PASSED)


def last_line(reports: Sequence[ParityReport]) -> str:
    """Return ``N passed, N failed, N skipped`` over all reports."""
    counts = {name: sum(report.count(name) for report in reports) for name in ("passed", "failed", "skipped")}
    counts["skipped"] += sum(report.count("inconclusive") for report in reports)
    return ", ".join(f"{number} {name}" for name, number in counts.items())


def exit_code(report: ParityReport, fail_on: str) -> int:
    """Return the code of one report: 0, 1 for a failure, 5 where nothing failed and something is undecided."""
    from any2onnx.parity import Verdict

    if fail_on in ("never", "drift"):
        return PASSED
    if report.failures or any(not proof.holds for proof in report.proofs if proof.kind == "trees"):
        return FAILED
    if not report.passed:
        return PASSED if fail_on in ("failed", "converter-imprecise") else INCONCLUSIVE
    strict = fail_on == "ill-conditioned"
    tolerated = (Verdict.ILL_CONDITIONED, Verdict.FRAMEWORK_IMPRECISE)
    return FAILED if strict and any(result.verdict in tolerated for result in report.results) else PASSED


def _severity(code: int) -> int:
    return {PASSED: 0, INCONCLUSIVE: 1}.get(code, 2)


def _against_baseline(reports: Sequence[tuple[str, ParityReport]], outputs: Outputs) -> list[Change]:
    if outputs.baseline is None:
        return []
    from any2onnx.parity import lock

    entries: dict[str, Any] = {}
    versions: dict[str, str] = {}
    for name, report in reports:
        entries.update(lock.entries_of(name, report))
        versions.update(dict(report.versions))
    names = [name for name, _ in reports]
    old = lock.read(outputs.baseline) if outputs.baseline.is_file() else None
    changes = [] if old is None else lock.compare(old, entries, names, versions)
    if outputs.update_baseline:
        lock.write(outputs.baseline, lock.updated(old, entries, names, versions))
        return []
    return changes


def write(reports: Sequence[tuple[str, ParityReport]], outputs: Outputs, *, single: bool) -> None:
    """Write the files that were asked for; ``single`` says that there is one report, which has a page of its own."""
    from any2onnx.io.atomic import write_text
    from any2onnx.parity.junit import junit_of

    if outputs.junit is not None:
        write_text(outputs.junit, junit_of(reports))
    if single:
        report = reports[0][1]
        if outputs.html is not None:
            report.to_html(outputs.html)
        if outputs.json is not None:
            write_text(outputs.json, report.to_json() + "\n")
        if outputs.markdown is not None and str(outputs.markdown) != "-":
            write_text(outputs.markdown, report.to_markdown() + "\n")
        return
    if outputs.html is not None:
        raise UsageError("a page shows one comparison", remedy="--junit or --json for several")
    if outputs.json is not None:
        import json

        found = {"schema": "any2onnx.parity-set/1", "reports": {name: report.to_dict() for name, report in reports}}
        write_text(outputs.json, json.dumps(found, indent=1, allow_nan=False, ensure_ascii=False) + "\n")
    if outputs.markdown is not None and str(outputs.markdown) != "-":
        write_text(outputs.markdown, "\n\n".join(report.to_markdown() for _, report in reports) + "\n")
