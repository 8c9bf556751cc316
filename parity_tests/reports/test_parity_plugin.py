"""The pytest plugin, in pytest runs of its own, and what loading it costs."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from any2onnx.errors import UsageError
from any2onnx.pytest_plugin import ParityCase, parametrize_with_parity

ROOT = Path(__file__).parents[2]

MODELS = """
import numpy as np, pytest
import onnx
from onnx import helper, numpy_helper
from any2onnx.pytest_plugin import ParityCase, parametrize_with_parity

def double(factor):
    nodes = [helper.make_node("Mul", ["x", "k"], ["y"])]
    x, y = (helper.make_tensor_value_info(n, 1, ["batch", 3]) for n in "xy")
    graph = helper.make_graph(nodes, "g", [x], [y], [numpy_helper.from_array(np.float32(factor), "k")])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)

def model(x):
    return 2 * x
"""


def run(folder: Path, body: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    (folder / "test_it.py").write_text(MODELS + body, encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "any2onnx.pytest_plugin", "-p", "no:cacheprovider"]
    command += ["--strict-markers", "-c", os.devnull, "--rootdir", str(folder), *arguments, "test_it.py"]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_fixture_marker_and_properties(tmp_path):
    body = """
@pytest.mark.parity(suites="typical", seed=3)
def test_good(parity):
    report = parity(model, double(2.0))
    assert report.suites == ("typical",) and report.seed == 3
    assert parity(model, double(2.0), suites="shape").suites == ("shape",)

def test_bad(parity):
    parity(model, double(2.0001), suites="typical")
"""
    done = run(tmp_path, body, "--junit-xml", "r.xml")
    assert "1 failed, 1 passed" in done.stdout, done.stdout + done.stderr
    assert "ParityError" in done.stdout
    assert "Captured parity call" in done.stdout
    assert "converter-imprecise" in done.stdout
    cases = {case.get("name"): case for case in ET.parse(tmp_path / "r.xml").iter("testcase")}
    found = {item.get("name"): item.get("value") for item in cases["test_bad"].iter("property")}
    assert found["verdict"] == "converter-imprecise"
    assert float(found["budget_used"]) > 1
    assert int(found["max_ulp"]) > 100
    found = {item.get("name"): item.get("value") for item in cases["test_good"].iter("property")}
    assert found == {"verdict": "exact", "max_ulp": "0", "budget_used": "0.0"}


def test_cases_with_strict_expected_failures(tmp_path):
    body = """
CASES = [
    ParityCase("good", lambda: (model, double(2.0)), {"suites": "typical"}),
    ParityCase("known", lambda: (model, double(2.1), np.ones((4, 3), np.float32)), {"suites": "data"}),
    ParityCase("mended", lambda: (model, double(2.0)), {"suites": "typical"}),
    ParityCase("crash", lambda: 1 / 0),
]

@parametrize_with_parity(CASES, expected_failures={"known": "too large", "mended": "was wrong", "crash": "who knows"})
def test_models(parity_case, parity):
    parity_case.check(parity)
"""
    done = run(tmp_path, body, "-rA")
    assert "2 failed, 1 passed, 1 xfailed" in done.stdout, done.stdout + done.stderr
    assert "XFAIL test_it.py::test_models[known] - too large" in done.stdout
    assert "FAILED test_it.py::test_models[mended]" in done.stdout
    assert "FAILED test_it.py::test_models[crash]" in done.stdout
    assert "PASSED test_it.py::test_models[good]" in done.stdout


@pytest.mark.parametrize(
    ("mark", "message"),
    [("parity(suite='typical')", "did you mean 'suites'"), ("parity('typical')", "keyword arguments only")],
)
def test_wrong_markers(tmp_path, mark, message):
    done = run(tmp_path, f"\n@pytest.mark.{mark}\ndef test_x(parity):\n    parity(model, double(2.0))\n")
    assert "1 error" in done.stdout
    assert message in done.stdout


@pytest.mark.parametrize(
    ("names", "failures", "message"),
    [
        (["a", "a"], {}, "two parity cases"),
        (["ridge"], {"rigde": "x"}, "did you mean 'ridge'"),
        (["ridge"], {"ridge": ""}, "no reason"),
    ],
)
def test_wrong_cases(names, failures, message):
    with pytest.raises(UsageError, match=message):
        parametrize_with_parity([ParityCase(name, tuple) for name in names], expected_failures=failures)


def test_loading_imports_nothing_heavy():
    code = (
        "import sys, pytest; before = set(sys.modules); import any2onnx.pytest_plugin;"
        "bad = {'numpy', 'onnx', 'onnxruntime', 'torch', 'keras', 'sklearn', 'rich', 'jinja2'} & set(sys.modules);"
        "new = len(set(sys.modules) - before);"
        "sys.exit(f'{bad} {new}' if bad or new > 20 else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "PYTHONPATH": str(ROOT)})


def test_the_entry_point_names_the_module():
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]["pytest11"]
    assert declared == {"any2onnx": "any2onnx.pytest_plugin"}
