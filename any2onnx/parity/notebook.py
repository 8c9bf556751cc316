"""A report as an HTML fragment for notebooks: no scripts, no external resources, no dependency."""

from __future__ import annotations

import html
import math
from typing import TYPE_CHECKING

from any2onnx.parity.charts import detail_charts
from any2onnx.parity.render import HEADERS, cells, foot_lines, grouped, head_line, shown_ulps, shown_used

if TYPE_CHECKING:
    from any2onnx.parity.report import OutputResult, OutputSummary, ParityReport

# Notebooks have themes of their own: colours that stand on light and dark grounds, and `currentColor` for the rest.
_STYLE = """
.a2o-parity { font: 13px/1.45 system-ui, sans-serif; max-width: 1080px; }
.a2o-parity .a2o-head { display: flex; flex-wrap: wrap; gap: 4px 12px; align-items: center; margin: 4px 0 10px; }
.a2o-parity .a2o-head b { font-size: 15px; }
.a2o-parity .a2o-chip { padding: 1px 9px; border-radius: 999px; font-weight: 600; font-size: 12px; white-space: nowrap;
  border: 1px solid; }
.a2o-parity .a2o-passed { color: #1f9d61; }
.a2o-parity .a2o-failed { color: #e0483d; }
.a2o-parity .a2o-inconclusive { color: #8b6ee8; }
.a2o-parity .a2o-skipped { color: #8a93a0; }
.a2o-parity table { border-collapse: collapse; font-size: 13px; font-variant-numeric: tabular-nums; margin: 0; }
.a2o-parity th, .a2o-parity td { padding: 4px 10px; text-align: left; vertical-align: top; background: none;
  border-top: 1px solid rgb(128 128 128 / 30%); }
.a2o-parity th { font-weight: 600; opacity: .75; border-top: 0; }
.a2o-parity .n { text-align: right; white-space: nowrap; }
.a2o-parity .a2o-wide { overflow-x: auto; }
.a2o-parity details { margin-top: 8px; }
.a2o-parity summary { cursor: pointer; }
.a2o-parity .a2o-charts { display: flex; flex-wrap: wrap; gap: 8px 28px; margin: 8px 0 0 16px; }
.a2o-parity figure { margin: 0; }
.a2o-parity figcaption { opacity: .75; margin-bottom: 4px; }
.a2o-parity svg text { font-size: 12px; fill: currentColor; }
.a2o-parity svg .label { text-anchor: end; }
.a2o-parity svg .track { fill: rgb(128 128 128 / 18%); }
.a2o-parity svg .good { fill: #4a8bd0; }
.a2o-parity svg .fair { fill: #d9912b; }
.a2o-parity svg .bad { fill: #e0483d; }
.a2o-parity p { margin: 8px 0 0; opacity: .85; }
"""
_NUMERIC = ("used", "ulp", "error", "framework", "sens.")
_STATES = {"passed": "✓ passed", "failed": "✕ failed", "inconclusive": "? undecided", "skipped": "– skipped"}


def fragment(report: ParityReport) -> str:
    """Return the fragment; every text is escaped."""
    state = "passed" if report.passed else "failed" if report.verdict.failed else "inconclusive"
    used = report.budget_used
    numbers = f"{shown_used(used)} of the budget used" if math.isfinite(used) else "beyond any budget"
    head = (
        f'<div class="a2o-head"><span class="a2o-chip a2o-{state}">{_STATES[state]}</span>'
        f"<b>{html.escape(head_line(report))}</b><span>{numbers}, at most {shown_ulps(report.ulp)} ulp</span></div>"
    )
    titles = "".join(f"<th{_align(header)}>{html.escape(header)}</th>" for header in HEADERS)
    body = "".join(_row(result) for result in grouped(report))
    table = f'<div class="a2o-wide"><table><thead><tr>{titles}</tr></thead><tbody>{body}</tbody></table></div>'
    foot = "<br>".join(html.escape(line) for line in foot_lines(report))
    details = "".join(_output(summary) for summary in report)
    return f'<div class="a2o-parity"><style>{_STYLE}</style>{head}{table}{details}<p>{foot}</p></div>'


def _align(header: str) -> str:
    return ' class="n"' if header in _NUMERIC else ""


def _row(result: OutputResult) -> str:
    texts = dict(zip(HEADERS, cells(result), strict=True))
    parts = []
    for header, text in texts.items():
        shown = html.escape(text)
        if header == "verdict":
            shown = f'<span class="a2o-chip a2o-{result.status}">{shown}</span>'
        parts.append(f"<td{_align(header)}>{shown}</td>")
    return f"<tr>{''.join(parts)}</tr>"


def _output(summary: OutputSummary) -> str:
    """Return the histograms and the worst rows of one output, folded."""
    detail = summary.detail
    charts = "".join(
        f"<figure><figcaption>{html.escape(title)}</figcaption>{svg}</figure>" for title, svg in detail_charts(detail)
    )
    rows = "".join(
        f"<tr><td>{html.escape(f'{row.suite}/{row.case}')}</td><td class='n'>{row.row}</td>"
        f"<td class='n'>{html.escape(row.framework)}</td><td class='n'>{html.escape(row.reference)}</td>"
        f"<td class='n'>{html.escape(row.onnx)}</td>"
        f"<td class='n'>{shown_used(row.used)}</td></tr>"
        for row in detail.worst
    )
    if not charts and not rows:
        return ""
    titles = "<th>suite/case</th>" + "".join(
        f"<th class='n'>{name}</th>" for name in ("row", "framework", "reference", "ONNX", "budget used")
    )
    table = (
        f'<div class="a2o-wide"><table><thead><tr>{titles}</tr></thead><tbody>{rows}</tbody></table></div>'
        if rows
        else ""
    )
    return (
        f"<details><summary>{html.escape(summary.name)}: errors and worst rows</summary>"
        f'<div class="a2o-charts">{charts}</div>{table}</details>'
    )
