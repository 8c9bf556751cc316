"""The examples of the documentation run as they stand."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from any2onnx.operator_mappings import user_layer

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# docs/architecture.md shows signatures, not examples.
EXAMPLES = [
    pytest.param(path, number, code, id=f"{path.stem}-{number}")
    for path in PAGES
    if path.name != "architecture.md"
    for number, code in enumerate(FENCE.findall(path.read_text(encoding="utf-8")), 1)
]


def test_there_are_examples() -> None:
    assert {parameters.values[0].name for parameters in EXAMPLES} >= {"README.md", "custom_converters.md"}


@pytest.mark.parametrize(("path", "number", "code"), EXAMPLES)
def test_example_runs(path: Path, number: int, code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = path.read_text(encoding="utf-8")
    line = text[: text.index(code)].count("\n")
    # Line numbers of the page, so that a failure points into it.
    program = compile("\n" * line + code, str(path), "exec")
    try:
        exec(program, {"__name__": f"{path.stem}_{number}"})
    finally:
        user_layer.clear()


LINK = re.compile(r"\]\(([^)#]+)(#[^)]*)?\)")


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_links_lead_somewhere(path: Path) -> None:
    targets = [m[1] for m in LINK.finditer(path.read_text(encoding="utf-8")) if "://" not in m[1]]
    missing = [target for target in targets if not (path.parent / target).exists()]
    assert not missing
