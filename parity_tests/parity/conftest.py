"""Tests that need an execution provider are collected where it runs, and deselected with a line about it elsewhere."""

from __future__ import annotations

import functools
from typing import Any

import pytest

_REASONS: pytest.StashKey[dict[str, int]] = pytest.StashKey()


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "provider(name): needs an execution provider of onnxruntime that starts here")
    config.stash[_REASONS] = {}


@functools.cache
def problem(provider: str) -> str:
    """Return why a provider cannot be tested here, empty when it can."""
    from onnx import helper

    from any2onnx.errors import UsageError
    from any2onnx.parity.providers import resolved
    from any2onnx.parity.runtime import OnnxSession, read_onnx

    value = [helper.make_tensor_value_info(name, 1, [1]) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "one node", value[:1], value[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    try:
        OnnxSession(read_onnx(model), providers=resolved([provider]))
    except UsageError as error:
        return error.summary
    return ""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    kept, dropped = [], []
    for item in items:
        marker = item.get_closest_marker("provider")
        reason = problem(marker.args[0]) if marker is not None else ""
        (dropped if reason else kept).append(item)
        if reason:
            config.stash[_REASONS][reason] = config.stash[_REASONS].get(reason, 0) + 1
    if dropped:
        config.hook.pytest_deselected(items=dropped)
        items[:] = kept


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    for reason, count in config.stash.get(_REASONS, {}).items():
        terminalreporter.write_line(f"deselected {count}: {reason}")
