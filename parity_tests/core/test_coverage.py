"""The coverage tables: made from what the frameworks list, and not stale."""

from __future__ import annotations

from pathlib import Path

import pytest

from any2onnx.errors import UsageError
from any2onnx.operator_mappings.coverage import coverage, coverage_markdown
from any2onnx.operator_mappings.registry import Registry, default_registry

DOCS = Path(__file__).parents[2] / "docs"
FRAMEWORKS = ["sklearn", "keras", "pytorch"]


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_the_table_in_docs_is_what_the_registry_says(framework: str) -> None:
    written = (DOCS / f"coverage_{framework}.md").read_text(encoding="utf-8")
    assert written.strip() == coverage_markdown(framework).strip(), "run `make coverage-tables`"


def test_every_estimator_is_supported_or_refused_with_a_reason() -> None:
    rows = coverage("sklearn")
    assert len(rows) == 193
    assert [row.name for row in rows if row.status == "missing"] == []
    refused = [row for row in rows if row.status == "refused"]
    assert len(refused) <= 5
    assert all(row.note for row in refused)


def test_every_keras_layer_is_supported_or_refused_with_a_reason() -> None:
    rows = coverage("keras")
    assert [row.name for row in rows if row.status == "missing"] == []
    assert all(row.note for row in rows if row.status == "refused")


def test_gaps_show_themselves() -> None:
    rows = coverage("sklearn", Registry.of([]))
    assert {row.status for row in rows} == {"missing"}
    one = default_registry().lookup("sklearn", "sklearn.linear_model.Ridge", 21)
    rows = coverage("sklearn", Registry.of([one]))
    assert [row.name for row in rows if row.status == "supported"] == ["sklearn.linear_model.Ridge"]
    with pytest.raises(UsageError, match="no framework is called 'caffe'"):
        coverage("caffe")
