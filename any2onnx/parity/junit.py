"""A report as JUnit XML, the form that CI services read."""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ET
from typing import TYPE_CHECKING

from any2onnx.parity.ulp import INCOMPARABLE

if TYPE_CHECKING:
    from collections.abc import Iterable

    from any2onnx.parity.report import OutputResult, ParityReport

# XML 1.0 has no way to write these characters, not even escaped.
_ILLEGAL = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def junit(report: ParityReport) -> str:
    """Return one document for a report; the same comparison gives the same document."""
    return junit_of([(report.model, report)])


def junit_of(reports: Iterable[tuple[str, ParityReport]]) -> str:
    """Return one document for several named reports: a test suite for each suite of each report."""
    root = ET.Element("testsuites", name="any2onnx parity")
    totals = dict.fromkeys(("tests", "failures", "errors", "skipped"), 0)
    for name, report in reports:
        for suite in dict.fromkeys(result.suite for result in report.results):
            results = [result for result in report.results if result.suite == suite]
            counts = {
                "tests": len(results),
                "failures": sum(result.status == "failed" for result in results),
                "errors": sum(result.status == "inconclusive" for result in results),
                "skipped": sum(result.status == "skipped" for result in results),
            }
            element = ET.SubElement(root, "testsuite", {"name": legal(f"{name}: {suite}")})
            for key, number in counts.items():
                element.set(key, str(number))
                totals[key] += number
            properties = ET.SubElement(element, "properties")
            for key, value in (*report.versions, ("seed", str(report.seed)), ("producer", report.producer)):
                ET.SubElement(properties, "property", name=legal(key), value=legal(value))
            for result in results:
                _case(element, name, result)
    for key, number in totals.items():
        root.set(key, str(number))
    ET.indent(root)
    return ET.tostring(root, encoding="unicode", xml_declaration=False) + "\n"


def _case(parent: ET.Element, name: str, result: OutputResult) -> None:
    where = f"{result.suite}/{result.case}"
    element = ET.SubElement(
        parent, "testcase", classname=legal(name), name=legal(f"{result.output or 'model'}: {where}"), time="0"
    )
    properties = ET.SubElement(element, "properties")
    for key, value in result_properties(result):
        ET.SubElement(properties, "property", name=key, value=legal(value))
    note = legal(result.note)
    if result.status == "failed":
        text = f"{result.verdict}: {result.note or _numbers(result)}"
        lines = [f"output {result.output!r}, {where}, row {result.worst_row}" if result.output else where]
        lines += [_numbers(result)] if math.isfinite(result.budget_used) else []
        ET.SubElement(element, "failure", type=str(result.verdict), message=legal(text)).text = legal(
            "\n".join([*lines, result.note])
        )
    elif result.status == "inconclusive":
        ET.SubElement(element, "error", type="inconclusive", message=note).text = note
    elif result.status == "skipped":
        ET.SubElement(element, "skipped", message=note)


def result_properties(result: OutputResult) -> list[tuple[str, str]]:
    """Return verdict, ULP distance and budget used as properties of a test case."""
    found = [("verdict", "skipped" if result.verdict is None else result.verdict.value)]
    if result.verdict is not None:
        found.append(("max_ulp", "incomparable" if result.ulp == INCOMPARABLE else str(result.ulp)))
        found.append(("budget_used", f"{result.budget_used:.6g}" if math.isfinite(result.budget_used) else "over"))
    return found


def _numbers(result: OutputResult) -> str:
    return (
        f"error {result.rel:.3g} of the scale, budget {result.budget:.3g}, "
        f"framework's own error {result.rel_framework:.3g}, sensitivity {result.sensitivity:.3g}"
    )


def legal(text: str) -> str:
    """Return text with a replacement character for what XML cannot hold."""
    return _ILLEGAL.sub("\ufffd", text)
