"""A parity report for people: terminal, Markdown, notebook."""

from __future__ import annotations

import html
import io
import math
from typing import TYPE_CHECKING, Any

from any2onnx.parity.ulp import INCOMPARABLE

if TYPE_CHECKING:
    from any2onnx.parity.findings import Divergence
    from any2onnx.parity.report import OutputResult, ParityReport

HEADERS = ("output", "suite", "verdict", "used", "ulp", "error", "framework", "sens.", "note")
#: What a report says that did not come to its end.
STATES = {
    "interrupted": "interrupted: this is what was found until then",
    "crashed": "the files ended the process that ran them: nothing else could be compared",
}
_STYLES = {"passed": "green", "failed": "bold red", "inconclusive": "yellow", "skipped": "dim"}


def grouped(report: ParityReport) -> list[OutputResult]:
    """Return the worst result of each output in each suite; skipped cases appear only where all were skipped."""
    groups: dict[tuple[str, str], list[OutputResult]] = {}
    for result in report.results:
        groups.setdefault((result.output, result.suite), []).append(result)
    return [max(results, key=lambda result: result.badness) for results in groups.values()]


def cells(result: OutputResult, *, with_case: bool = True) -> tuple[str, ...]:
    """Return the texts of one table row."""
    verdict = "skipped" if result.verdict is None else result.verdict.value
    suite = f"{result.suite}/{result.case}" if with_case and result.status != "passed" else result.suite
    source = f"{result.output} ← {result.source}" if result.source and result.source != result.output else result.output
    numeric = result.verdict is not None and not (result.equal or result.wrong or result.tied)
    known = numeric and math.isfinite(result.budget_used)
    note = "" if result.status == "passed" and numeric else result.note
    note = (
        note if result.optimised or result.status == "passed" else f"without graph optimisations: {note}".rstrip(": ")
    )
    labels = f"{result.equal} equal, {result.tied} tied, {result.wrong} wrong"
    if result.verdict is not None and not numeric:
        note = f"{labels}; {note}" if note else labels
    return (
        source or "-",
        suite,
        verdict,
        shown_used(result.budget_used) if known else "",
        shown_ulps(min(result.ulp, result.ulp_framework)) if known else "",
        f"{result.rel:.1e}" if known else "",
        f"{result.rel_framework:.1e}" if known and result.reference == "float64" else "",
        f"{result.sensitivity:.1e}" if known and result.sensitivity else "",
        note,
    )


def shown_used(used: float) -> str:
    """Return error / budget for people; infinity stands for what no budget applies to."""
    if not math.isfinite(used):
        return "over"
    if used < 10:
        return f"{used:.0%}"
    return f"{used:.0f}×" if used < 10_000 else f"{used:.0e}×"


def shown_ulps(count: int) -> str:
    """Return an ULP distance for people; a dash where NaN or an infinity is apart from a number."""
    return "-" if count == INCOMPARABLE else str(count) if count < 100_000 else compact(count)


def compact(number: int) -> str:
    """Return a whole number for people: five digits as they are, then thousands, millions and so on."""
    if number < 10_000:
        return str(number)
    for size, letter in ((10**18, "E"), (10**15, "P"), (10**12, "T"), (10**9, "G"), (10**6, "M")):
        if number >= size:
            return f"{number / size:.3g}{letter}"
    return f"{number / 1000:.3g}k"


def shown_error(error: float) -> str:
    """Return an error for people."""
    return "0" if error == 0 else f"{error:.1e}"


def head_line(report: ParityReport) -> str:
    """Return who was compared with what."""
    opsets = ", ".join(f"{domain} {version}" for domain, version in report.opsets)
    producer = f" by {report.producer}" if report.producer else ""
    return f"{report.model} ({report.framework}) against ONNX{producer} ({opsets})"


def foot_lines(report: ParityReport) -> list[str]:
    """Return the closing lines; the last one can be counted by machines."""
    lines = list(report.notes)
    if report.state != "complete":
        lines.append(STATES[report.state])
    if report.count("inconclusive"):
        lines.append(f"{report.count('inconclusive')} comparison(s) could not be decided")
    worst = report.worst
    if worst is not None and worst.verdict is not None:
        place = f"output {worst.output!r} in {worst.suite}/{worst.case}"
        lines.append(f"worst: {worst.verdict.value} ({worst.verdict.explanation}), {place}")
    lines += finding_lines(report)
    lines.append(report.last_line)
    return lines


def shown_cause(report: ParityReport, found: Divergence) -> str:
    """Return whose fault a divergence is, for people: a rule is ours in files that any2onnx made only."""
    if found.cause != "our rule" or report.producer.startswith("any2onnx"):
        return found.cause
    return f"the rule of {report.producer or 'the converter'}"


def sentence(text: str) -> str:
    """Return a text with a capital first letter, unless that is part of a name, and a full stop."""
    first = text.split(" ", 1)[0]
    text = text[:1].upper() + text[1:] if first.isalpha() and first.islower() and first != "onnxruntime" else text
    return text if text.endswith((".", "!", "?")) or not text else f"{text}."


def finding_lines(report: ParityReport) -> list[str]:
    """Return a line for each proof, search and divergence, and for each file that reproduces one."""
    lines = []
    for proof in report.proofs:
        lines.append(f"{'proved' if proof.holds else 'NOT proved'}: {proof.subject}: {proof.statement}")
        lines += [f"  {text}" for text in proof.differences[:5] if text != proof.statement]
    for search in report.searches:
        change = f"{shown_used(search.used_before)} of the budget used, {shown_used(search.used)} at the worst row"
        lines.append(f"search: {search.output}: {change} of {search.rows_tried:,} tried")
    for found in report.divergences:
        place = f"{found.operator} {found.value}".strip() or "not located"
        cause = f"cause: {shown_cause(report, found)}"
        lines.append(f"first divergence of {found.output}: {place}, {cause}. {sentence(found.explanation)}")
        lines += [f"  {path}" for path in found.files]
    return lines


# Below this width the table leaves out the columns that only an investigation needs, and notes follow it.
_WIDE = 110
_NARROW_HEADERS = ("output", "suite", "verdict", "used")


def rich_group(report: ParityReport) -> Any:
    """Return the report as a rich renderable that fits the width of the terminal."""
    return _Renderable(report)


class _Renderable:
    def __init__(self, report: ParityReport) -> None:
        self._report = report

    def __rich_console__(self, console: Any, options: Any) -> Any:
        from rich.padding import Padding
        from rich.text import Text

        wide = options.max_width >= _WIDE
        yield _table(self._report, HEADERS if wide else _NARROW_HEADERS)
        if not wide:
            for place, note in _notes(self._report):
                yield Text(place)
                yield Padding(Text(note), (0, 0, 0, 2))
        yield from (Text(line) for line in foot_lines(self._report))


def _notes(report: ParityReport) -> list[tuple[str, str]]:
    """Return place and note of what did not pass; equal notes of one output are said once."""
    found: dict[tuple[str, str], str] = {}
    for result in grouped(report):
        texts = cells(result)
        note = texts[HEADERS.index("note")]
        if result.status != "passed" and note:
            found.setdefault(
                (result.output, note), f"{texts[1]}, {result.output}:" if result.output else f"{texts[1]}:"
            )
    return [(place, note) for (_, note), place in found.items()]


def _table(report: ParityReport, headers: tuple[str, ...]) -> Any:
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(head_line(report)), title_justify="left", show_lines=False)
    for header in headers:
        right = header in ("used", "ulp", "error", "framework", "sens.")
        # In a narrow terminal names give way first: a verdict is never cut.
        fixed = right or header == "verdict" or (header != "note" and headers is HEADERS)
        table.add_column(header, justify="right" if right else "left", overflow="fold", no_wrap=fixed)
    shown = [HEADERS.index(header) for header in headers]
    for result in grouped(report):
        # Names come from files: Text keeps brackets in them from being read as markup.
        texts = [Text(text) for text in cells(result)]
        texts[HEADERS.index("verdict")].stylize(_STYLES[result.status])
        table.add_row(*(texts[k] for k in shown))
    return table


def plain_text(report: ParityReport, width: int = 140) -> str:
    """Return the report as text without colours."""
    from rich.console import Console

    stream = io.StringIO()
    Console(file=stream, width=width, color_system=None, force_terminal=False).print(rich_group(report))
    return stream.getvalue().rstrip("\n")


def markdown(report: ParityReport) -> str:
    """Return the report as Markdown."""
    state = "passed" if report.passed else "not passed"
    lines = [f"### Parity {state}: {_escape_markdown(head_line(report))}", "", _markdown_row(HEADERS)]
    lines.append(_markdown_row(["---"] * len(HEADERS)))
    lines += [_markdown_row([_escape_markdown(text) for text in cells(result)]) for result in grouped(report)]
    lines += ["", *(f"{_escape_markdown(line)}  " for line in foot_lines(report)[:-1]), foot_lines(report)[-1]]
    return "\n".join(lines)


def _markdown_row(texts: Any) -> str:
    return f"| {' | '.join(texts)} |"


def _escape_markdown(text: str) -> str:
    return html.escape(text, quote=False).replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ")
