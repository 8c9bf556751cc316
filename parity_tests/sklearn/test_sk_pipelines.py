"""Random pipelines over frames of mixed columns: the answers agree, or the pipeline is refused by an error of ours."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, event, given, settings
from suite_pipelines import PipelineCase, outcome, pipelines

_CHECKS = [HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large]


@settings(max_examples=25, derandomize=True, deadline=None, suppress_health_check=_CHECKS, database=None)
@given(pipelines())
def test_some_pipelines(case: PipelineCase) -> None:
    event(outcome(case))


@pytest.mark.slow
@settings(max_examples=600, derandomize=True, deadline=None, suppress_health_check=_CHECKS, database=None)
@given(pipelines())
def test_many_pipelines(case: PipelineCase) -> None:
    event(outcome(case))
