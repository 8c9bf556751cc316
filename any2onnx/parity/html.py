"""A report as one self-contained HTML page: no scripts, no external resources, every text escaped."""

from __future__ import annotations

import math
from importlib import resources
from typing import TYPE_CHECKING, Any

from any2onnx.errors import MissingDependency
from any2onnx.parity.charts import detail_charts
from any2onnx.parity.graph_svg import LEVELS, boxes_of, graph_svg, value_errors
from any2onnx.parity.render import head_line, sentence, shown_cause, shown_error, shown_ulps, shown_used
from any2onnx.parity.verdict import Verdict

if TYPE_CHECKING:
    from any2onnx.parity.report import OutputResult, OutputSummary, ParityReport

_HEADLINES = {
    "passed": "The ONNX model answers what the original answers",
    "failed": "The ONNX model does not answer what the original answers",
    "inconclusive": "The comparison could not decide",
}
_STOPPED = {
    "interrupted": "The comparison was interrupted; below is what was found until then",
    "crashed": "The files ended the process that ran them",
}
MARKS = {"passed": "✓", "failed": "✕", "inconclusive": "?", "skipped": "–"}


def page(report: ParityReport) -> str:
    """Return the page.

    Raises:
        MissingDependency: jinja2 is not installed.
    """
    try:
        import jinja2
    except ImportError as error:
        raise MissingDependency("HTML reports need jinja2", remedy="pip install 'any2onnx[report]'") from error
    folder = resources.files("any2onnx.parity") / "templates"
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = environment.from_string((folder / "report.html.j2").read_text(encoding="utf-8"))
    style = (folder / "report.css").read_text(encoding="utf-8")
    return template.render(style=_safe(style), **context(report))


def context(report: ParityReport) -> dict[str, Any]:
    """Return what the template shows."""
    state = state_of(report)
    worst = report.worst
    return {
        "report": report,
        "state": state,
        "mark": MARKS[state],
        "headline": _HEADLINES[state] if report.state == "complete" else _STOPPED[report.state],
        "title": head_line(report),
        "tiles": _tiles(report),
        "worst": worst,
        "outputs": [_output(report, summary) for summary in report],
        "matrix": _matrix(report),
        "rows": [_row(result) for result in report.results],
        "graph": _graph(report),
        "facts": _facts(report),
        "verdicts": [(verdict.value, tone(verdict), verdict.explanation) for verdict in Verdict],
        "finding": [_divergence(report, item) for item in report.divergences],
    }


def state_of(report: ParityReport) -> str:
    """Return ``passed``, ``failed`` or ``inconclusive``."""
    if report.passed:
        return "passed"
    return "failed" if report.verdict.failed else "inconclusive"


def tone(verdict: Verdict | None) -> str:
    """Return the name of the colour of a verdict."""
    if verdict is None:
        return "skipped"
    if verdict.failed:
        return "bad"
    if verdict is Verdict.INCONCLUSIVE:
        return "unsure"
    return "fair" if verdict in (Verdict.FRAMEWORK_IMPRECISE, Verdict.ILL_CONDITIONED) else "good"


def _tiles(report: ParityReport) -> list[dict[str, str]]:
    used = report.budget_used
    undecided = report.count("inconclusive")
    tiles = [
        {"label": "comparisons passed", "value": f"{report.count('passed'):,}", "tone": "good"},
        {
            "label": "failed",
            "value": f"{report.count('failed'):,}",
            "tone": "bad" if report.count("failed") else "plain",
        },
        {
            "label": "of the error budget used",
            "value": shown_used(used) if math.isfinite(used) else "over",
            "tone": "bad" if used > 1 else "plain",
        },
        {"label": "ulp at most", "value": shown_ulps(report.ulp), "tone": "plain"},
    ]
    if undecided:
        tiles.append({"label": "undecided", "value": f"{undecided:,}", "tone": "unsure"})
    if report.count("skipped"):
        tiles.append({"label": "skipped", "value": f"{report.count('skipped'):,}", "tone": "plain"})
    return tiles


def _output(report: ParityReport, summary: OutputSummary) -> dict[str, Any]:
    detail, worst = summary.detail, summary.worst
    compared = [result for result in summary.results if result.verdict is not None]
    shapes = [result for result in compared if result.dtype]
    discrete = bool(compared) and not detail.ulp
    numbers: list[tuple[str, str]] = []
    if discrete:
        for name in ("equal", "tied", "wrong"):
            total = sum(getattr(result, name) for result in compared)
            numbers.append((name, f"{total:,}"))
    elif compared:
        numbers = [
            ("largest error / scale", shown_error(summary.rel)),
            ("largest error, absolute", shown_error(summary.abs)),
            ("mean error, absolute", shown_error(detail.mean)),
            ("framework's own / scale", shown_error(max(result.rel_framework for result in compared))),
            ("budget used", shown_used(summary.budget_used)),
        ]
        if detail.ulp:
            quantiles = (detail.ulp_quantile(0.5), detail.ulp_quantile(0.99), summary.ulp)
            numbers.append(("ulp: half, 99 %, all within", " / ".join(shown_ulps(value) for value in quantiles)))
    if detail.elements:
        numbers.append(("compared", f"{detail.elements:,} elements in {detail.rows:,} rows"))
    return {
        "name": summary.name,
        "source": summary.source if summary.source != summary.name else "",
        "verdict": _verdict_name(worst.verdict),
        "tone": tone(worst.verdict),
        "mark": MARKS[worst.status],
        "explanation": worst.verdict.explanation if worst.verdict else "every case was skipped",
        "note": worst.note if worst.status in ("failed", "inconclusive") else "",
        "dtype": shapes[0].dtype if shapes else "",
        "shape": list(shapes[0].shape) if shapes else [],
        "numbers": numbers,
        "charts": [(title, _safe(svg)) for title, svg in detail_charts(detail)],
        "worst": [_worst_row(row) for row in detail.worst],
        "discrete": discrete,
    }


def _worst_row(row: Any) -> dict[str, Any]:
    return {
        "row": row,
        "element": ", ".join(str(i) for i in row.element),
        "used": shown_used(row.used) if math.isfinite(row.used) else "over",
        "tone": "bad" if row.used > 1 else "plain",
        "error": "" if row.error is None else shown_error(row.error),
        "ulp": "" if row.ulp is None else shown_ulps(row.ulp),
    }


def _matrix(report: ParityReport) -> dict[str, Any]:
    """Return verdicts of outputs by suites: the worst case of each."""
    suites = list(dict.fromkeys(result.suite for result in report.results))
    lines = []
    for name in dict.fromkeys(result.output for result in report.results):
        cells: list[dict[str, Any] | None] = []
        for suite in suites:
            found = [r for r in report.results if r.output == name and r.suite == suite]
            worst = max(found, key=lambda result: result.badness, default=None)
            if worst is None:
                cells.append(None)
                continue
            known = math.isfinite(worst.budget_used) and worst.verdict is not None and not _is_discrete(worst)
            cells.append(
                {
                    "verdict": _verdict_name(worst.verdict),
                    "tone": tone(worst.verdict),
                    "mark": MARKS[worst.status],
                    "used": shown_used(max(r.budget_used for r in found)) if known and worst.budget_used else "",
                    "cases": len(found),
                }
            )
        lines.append({"name": name or "the whole model", "cells": cells})
    return {"suites": suites, "lines": lines}


def _is_discrete(result: OutputResult) -> bool:
    return bool(result.equal or result.tied or result.wrong)


def _row(result: OutputResult) -> dict[str, Any]:
    numeric = result.verdict is not None and not _is_discrete(result) and math.isfinite(result.budget_used)
    note = result.note
    if result.verdict is not None and _is_discrete(result):
        counts = f"{result.equal:,} equal, {result.tied:,} tied, {result.wrong:,} wrong"
        note = f"{counts}; {note}" if note else counts
    if not result.optimised and result.verdict is not None:
        note = f"without graph optimisations; {note}".rstrip("; ")
    return {
        "result": result,
        "verdict": _verdict_name(result.verdict),
        "tone": tone(result.verdict),
        "mark": MARKS[result.status],
        "used": shown_used(result.budget_used) if numeric else "",
        "ulp": shown_ulps(result.ulp) if numeric else "",
        "error": shown_error(result.rel) if numeric else "",
        "framework": shown_error(result.rel_framework) if numeric and result.reference == "float64" else "",
        "sensitivity": shown_error(result.sensitivity) if numeric and result.sensitivity else "",
        "note": note,
    }


def _graph(report: ParityReport) -> dict[str, Any] | None:
    svg = graph_svg(report)
    if not svg or report.graph is None:
        return None
    boxes = boxes_of(report.graph)
    inner = {step.value for divergence in report.divergences for step in divergence.steps if step.error is not None}
    legend = [("e-none", "not measured")]
    if value_errors(report):
        edges = ["0", *(f"{level:.0e}".replace("e-0", "e-") for level in LEVELS)]
        legend += [
            (
                f"e{k}",
                f"≤ {edges[k + 1]}"
                if k == 0
                else f"{edges[k]} – {edges[k + 1]}"
                if k < len(LEVELS)
                else f"> {edges[k]}",
            )
            for k in range(len(LEVELS) + 1)
        ]
    return {
        "svg": _safe(svg),
        "nodes": report.graph.count,
        "collapsed": any(box.kind == "group" for box in boxes),
        "inner": bool(inner),
        "legend": legend,
    }


def _divergence(report: ParityReport, item: Any) -> dict[str, Any]:
    steps = [step for step in item.steps if step.error is not None]
    at = next((k for k, step in enumerate(steps) if step.value == item.value), 0)
    return {
        "item": item,
        "cause": shown_cause(report, item),
        "explanation": sentence(item.explanation),
        "near": (max(at - 4, 0), at + 4),
        "steps": [
            {
                "step": step,
                "error": shown_error(step.error),
                "expected": "" if step.expected is None else shown_error(step.expected),
                "amplification": "" if step.amplification is None else f"{step.amplification:.3g}×",
                "culprit": step.value == item.value,
            }
            for step in steps
        ],
    }


def _facts(report: ParityReport) -> list[tuple[str, str]]:
    opsets = ", ".join(f"{domain} {version}" for domain, version in report.opsets)
    facts = [
        ("Model", f"{report.model} ({report.framework})"),
        ("ONNX file made by", report.producer or "not stated"),
        ("Opsets", opsets),
        ("Inputs", report.inputs),
        ("Suites", ", ".join(report.suites)),
        ("Seed", str(report.seed)),
    ]
    facts += [(name, version) for name, version in report.versions]
    return facts


def _verdict_name(verdict: Verdict | None) -> str:
    return "skipped" if verdict is None else verdict.value


def _safe(markup: str) -> Any:
    """Mark our own markup (CSS, SVG whose texts were escaped) as safe for the template."""
    from markupsafe import Markup

    return Markup(markup)  # noqa: S704
