"""pytest plugin: the fixture `parity`, the marker `parity(...)` and `parametrize_with_parity`.

    from any2onnx.pytest_plugin import ParityCase, parametrize_with_parity

    @pytest.mark.parity(suites="smoke")
    def test_scaler(parity):
        parity(model, to_onnx(model, X), X)

    CASES = [ParityCase("ridge", build_ridge), ParityCase("forest", build_forest)]

    @parametrize_with_parity(CASES, expected_failures={"forest": "thresholds are rounded, see the release notes"})
    def test_models(parity_case, parity):
        parity_case.check(parity)

Loaded by every pytest in the environment, so it imports no framework, and neither numpy nor onnx.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import pytest

from any2onnx.registered import ParityCase

if TYPE_CHECKING:
    from any2onnx.parity import ParityReport

MARKER = "parity"
__all__ = ["ParityCase", "parametrize_with_parity", "parity"]
_ARGUMENTS = (
    "suites",
    "seed",
    "reference",
    "budget",
    "outputs",
    "time_limit",
    "providers",
    "localise",
    "prove",
    "search",
    "artefacts",
)


def parametrize_with_parity(
    cases: Iterable[ParityCase], *, expected_failures: Mapping[str, str] | None = None
) -> pytest.MarkDecorator:
    """Return a decorator that runs a test for every case, as its argument ``parity_case``.

    Args:
        cases: The cases, or a registry of operator mappings: then the cases that its rows state.
        expected_failures: Reasons by id. Such a case must fail with a ``ParityError``: one that passes fails the test
            (strict), and so does one that fails in another way.

    Raises:
        UsageError: Two cases have one id, or a reason is empty or names no case.
    """
    from any2onnx.errors import ParityError, UsageError, did_you_mean

    if hasattr(cases, "rows"):
        from any2onnx.registered import registered_cases

        cases = registered_cases(registry=cases)
    listed = list(cases)
    ids = [case.id for case in listed]
    reasons = dict(expected_failures or {})
    for name in ids:
        if ids.count(name) > 1:
            raise UsageError(f"two parity cases are called {name!r}")
    for name, reason in reasons.items():
        if name not in ids:
            raise UsageError(f"expected_failures names {name!r}, which is no case{did_you_mean(name, ids)}")
        if not reason:
            raise UsageError(f"the expected failure of {name!r} has no reason")
    parameters = [
        pytest.param(
            case,
            id=case.id,
            marks=[pytest.mark.xfail(reason=reasons[case.id], strict=True, raises=ParityError)]
            if case.id in reasons
            else [],
        )
        for case in listed
    ]
    return pytest.mark.parametrize("parity_case", parameters)


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marker."""
    config.addinivalue_line(
        "markers", f"{MARKER}({', '.join(f'{name}=…' for name in _ARGUMENTS)}): arguments of the fixture `parity`"
    )


@pytest.fixture
def parity(
    request: pytest.FixtureRequest, record_property: Callable[[str, object], None]
) -> Callable[..., ParityReport]:
    """Compare a model with its ONNX form and fail the test when they differ.

    Call it as ``check_parity``: ``parity(model, onnx_model, data=None, **arguments)``. The arguments of the marker
    `parity` apply where the call gives none. The verdict, the largest ULP distance and the share of the budget become
    properties of the test in JUnit XML, and the report is printed when the test fails.
    """
    marked: dict[str, Any] = {}
    for mark in request.node.iter_markers(MARKER):
        _known(mark)
        marked = {**mark.kwargs, **marked}  # the nearest marker comes first, and wins

    def check(model: Any, onnx_model: Any, data: Any = None, **arguments: Any) -> ParityReport:
        from any2onnx.parity import check_parity

        report = check_parity(model, onnx_model, data, **{**marked, **arguments})
        for name, value in properties(report):
            record_property(name, value)
        if not report.passed:
            request.node.add_report_section("call", "parity", str(report))
        return report.raise_if_failed()

    return check


def _known(mark: pytest.Mark) -> None:
    from any2onnx.errors import UsageError, did_you_mean

    if mark.args:
        raise UsageError(f"the marker {MARKER} takes keyword arguments only", needs=", ".join(_ARGUMENTS))
    for name in mark.kwargs:
        if name not in _ARGUMENTS:
            raise UsageError(f"the marker {MARKER} has no argument {name!r}{did_you_mean(name, _ARGUMENTS)}")


def properties(report: ParityReport) -> list[tuple[str, object]]:
    """Return what JUnit XML carries of a report."""
    used = report.budget_used
    return [
        ("verdict", report.verdict.value),
        ("max_ulp", report.ulp),
        ("budget_used", round(used, 6) if math.isfinite(used) else "over"),
    ]
