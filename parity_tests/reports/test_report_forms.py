"""The forms of a report: HTML page, notebook fragment, JSON against its schema, JUnit, Markdown."""

from __future__ import annotations

import builtins
import dataclasses
import json
import math
import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from importlib import resources

import numpy as np
import pytest
from json_schema import errors
from report_samples import EVIL, bad_report, good_report, with_findings

from any2onnx.errors import MissingDependency
from any2onnx.parity import OutputResult, ParityReport, Verdict, check_parity
from any2onnx.parity.details import ulp_range, used_range

VOID = {"meta", "br", "hr", "img", "input", "link"}
ALLOWED_URLS = re.compile(r"url\(|@import|https?:", re.IGNORECASE)


class Page(HTMLParser):
    """Elements of a page; checks that every element is closed in order."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open, f"</{tag}> closes nothing"
        assert self.open[-1] == tag, f"</{tag}> closes <{self.open[-1]}>"
        self.open.pop()

    def handle_data(self, data):
        self.texts.append(data)


def parsed(text: str) -> Page:
    page = Page()
    page.feed(text)
    page.close()
    assert page.open == []
    return page


def hostile(report: ParityReport) -> ParityReport:
    """Return the report with markup in every text that comes from files or users."""
    result = dataclasses.replace(report.results[0], output=EVIL, source=EVIL, case=EVIL, note=EVIL)
    return dataclasses.replace(
        report, model=EVIL, producer=EVIL, inputs=EVIL, notes=(EVIL,), results=(result, *report.results[1:])
    )


REPORTS = {
    "good": good_report,
    "bad": bad_report,
    "findings": lambda: with_findings(bad_report()),
    "hostile": lambda: hostile(with_findings(bad_report())),
    "empty": lambda: dataclasses.replace(good_report(), results=(), graph=None),
}


@pytest.fixture(params=list(REPORTS))
def report(request):
    return REPORTS[request.param]()


# --- HTML --------------------------------------------------------------------------------------------------------


def test_page_is_well_formed_and_self_contained(report):
    text = report.to_html()
    page = parsed(text)
    names = {tag for tag, _ in page.tags}
    assert not names & {"script", "link", "img", "iframe", "object", "base", "form"}
    for tag, attributes in page.tags:
        assert not [key for key in attributes if key.startswith("on") or key in ("src", "href", "srcset")], tag
    assert not ALLOWED_URLS.search(text)
    assert text.count("<!DOCTYPE html>") == 1
    assert ("meta", {"name": "viewport", "content": "width=device-width, initial-scale=1"}) in page.tags
    assert "prefers-color-scheme: dark" in text


def test_page_escapes_everything():
    text = REPORTS["hostile"]().to_html()
    assert "<script" not in text
    assert "&lt;script&gt;" in text


def test_page_says_what_the_report_says(report):
    page = parsed(report.to_html())
    text = " ".join(page.texts)
    for summary in report:
        assert summary.name in text
        for row in summary.detail.worst:
            assert row.onnx in text
    for result in report.results:
        if result.verdict is not None:
            assert result.verdict.value in text
    assert report.last_line in text
    for name, version in report.versions:
        assert name in text
        assert version in text


def test_page_draws_every_node_in_the_colour_of_its_error():
    report = with_findings(bad_report())
    page = parsed(report.to_html())
    boxes = [attributes["class"] for tag, attributes in page.tags if tag == "g"]
    nodes = report.graph.nodes
    assert len(boxes) == len(nodes) + len(report.graph.inputs) + len(report.graph.outputs)
    assert sum("culprit" in classes for classes in boxes) == 1
    assert {level for classes in boxes for level in re.findall(r"\be(\d)\b", classes)} >= {"0", "1", "2", "3", "4"}


def test_histograms_show_the_counts():
    report = good_report()
    detail = report["probabilities"].detail
    text = " ".join(parsed(report.to_html()).texts)
    zero = dict(detail.ulp).get(0, 0)
    assert zero
    assert f"{zero:,} ·" in text


def test_page_is_the_same_every_time(tmp_path):
    text = bad_report().to_html(tmp_path / "r.html")
    assert text == bad_report().to_html()
    assert (tmp_path / "r.html").read_text(encoding="utf-8") == text


def test_without_jinja2_one_line_says_what_to_install(monkeypatch):
    real = builtins.__import__

    def refuse(name, *args, **kwargs):
        if name == "jinja2":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(MissingDependency, match="jinja2") as caught:
        good_report().to_html()
    assert "any2onnx[report]" in str(caught.value)


def test_notebook_fragment_is_well_formed_and_escaped(report):
    text = report._repr_html_()
    page = parsed(text)
    assert not {tag for tag, _ in page.tags} & {"script", "link", "img", "html", "body"}
    assert "<script" not in text
    assert not ALLOWED_URLS.search(text)
    assert report.last_line in text


# --- JSON --------------------------------------------------------------------------------------------------------


def schema():
    folder = resources.files("any2onnx.parity") / "templates"
    return json.loads((folder / "report.schema.json").read_text(encoding="utf-8"))


def test_json_follows_its_schema(report):
    found = json.loads(report.to_json(), parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert errors(found, schema()) == []


def test_the_schema_names_every_field():
    """A field that is added to a result must be added to the schema, and the version thought about."""
    found = good_report().to_dict()
    assert set(found["results"][0]) == set(schema()["$defs"]["result"]["properties"])
    assert set(found["outputs"][0]) == set(schema()["$defs"]["output"]["properties"])
    assert set(found) == set(schema()["properties"])


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("verdict",), "fine"),
        (("schema",), "any2onnx.parity/0"),
        (("results", 0, "rows"), -1),
        (("results", 0, "surprise"), 1),
        (("outputs", 0, "worst_rows"), None),
        (("counts", "failed"), True),
    ],
)
def test_the_schema_refuses(path, value):
    found = json.loads(bad_report().to_json())
    place = found
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    assert errors(found, schema())


# --- JUnit -------------------------------------------------------------------------------------------------------


def test_junit_counts_and_properties(report):
    root = ET.fromstring(report.to_junit())
    cases = root.findall("testsuite/testcase")
    assert len(cases) == len(report.results) == int(root.get("tests"))
    assert len(root.findall(".//failure")) == report.count("failed") == int(root.get("failures"))
    assert len(root.findall(".//skipped")) == report.count("skipped") == int(root.get("skipped"))
    assert len(root.findall(".//error")) == report.count("inconclusive") == int(root.get("errors"))
    for case, result in zip(cases, sorted_by_suite(report), strict=True):
        properties = {item.get("name"): item.get("value") for item in case.findall("properties/property")}
        assert properties["verdict"] == ("skipped" if result.verdict is None else result.verdict.value)
        if result.verdict is not None and math.isfinite(result.budget_used):
            assert float(properties["budget_used"]) == pytest.approx(result.budget_used, rel=1e-5)


def sorted_by_suite(report):
    suites = list(dict.fromkeys(result.suite for result in report.results))
    return [result for suite in suites for result in report.results if result.suite == suite]


def test_junit_replaces_what_xml_cannot_hold():
    text = hostile(bad_report()).to_junit()
    assert "\x1b" not in text
    assert "\ufffd" in text
    ET.fromstring(text)


# --- a model without numbers, and one without rows ---------------------------------------------------------------


def test_a_report_of_a_mismatch_in_shape_has_every_form():
    def doubled(x):
        return np.concatenate([x, x], axis=1)

    import onnx
    from onnx import helper

    graph = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", 1, ["n", 3])],
        [helper.make_tensor_value_info("y", 1, ["n", 3])],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(proto)
    report = check_parity(doubled, proto, suites="typical")
    assert report.verdict is Verdict.MISMATCH
    assert errors(json.loads(report.to_json()), schema()) == []
    parsed(report.to_html())
    parsed(report._repr_html_())
    ET.fromstring(report.to_junit())


def test_bins_cover_everything_without_gaps():
    edge = 0
    for number in range(64 + 58 * 32):
        low, high = ulp_range(number)
        assert low == edge
        edge = high + 1
    assert edge == 1 << 64
    for number in range(1, 320):
        assert used_range(number)[1] == used_range(number + 1)[0]


def test_result_without_detail_has_every_form():
    result = OutputResult("y", "", "structure", "names and count", Verdict.MISMATCH, budget_used=math.inf, note="gone")
    report = dataclasses.replace(good_report(), results=(result,))
    assert "gone" in report.to_html()
    assert "gone" in report._repr_html_()
    assert errors(json.loads(report.to_json()), schema()) == []
