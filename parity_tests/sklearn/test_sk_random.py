"""Random hyper-parameters per estimator: the answers agree, or the configuration is refused by an error of ours."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from suite_random import ROWS, configurations, outcome

# Rows of estimators that compose others, with nothing to draw, are in the suite.
_CHECKS = [HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large]


@settings(max_examples=120, derandomize=True, deadline=None, suppress_health_check=_CHECKS, database=None)
@given(st.data())
def test_some_configurations_of_all_estimators(draw: st.DataObject) -> None:
    key = draw.draw(st.sampled_from(sorted(ROWS)))
    event(outcome(draw.draw(configurations(key))))


@pytest.mark.slow
@pytest.mark.parametrize("key", sorted(ROWS))
def test_many_configurations(key: str) -> None:
    @settings(max_examples=40, derandomize=True, deadline=None, suppress_health_check=_CHECKS, database=None)
    @given(configurations(key))
    def check(case) -> None:
        event(outcome(case))

    check()
