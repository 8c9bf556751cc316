"""Every verdict from arrays made for it, and the arithmetic of the budget."""

from __future__ import annotations

import math

import numpy as np
import pytest

from any2onnx.parity import Verdict
from any2onnx.parity.compare import judge, measure, robust_scale, rows_in_need, tolerance

TOL = tolerance(np.dtype(np.float32))


def verdict(fw, ref, ox, *, sensitivity=None, scale=0.0, **options):
    fw, ox = np.asarray(fw), np.asarray(ox, dtype=np.float32)
    errors = measure(fw, None if ref is None else np.asarray(ref, dtype=np.float64), ox, len(ox), scale)
    s = None if sensitivity is None else np.asarray(sensitivity, dtype=np.float64)
    return judge(errors, tol=TOL, sensitivity=s, **options)


def column(*values, dtype=np.float32):
    return np.array(values, dtype=dtype)[:, None]


def test_order_and_consequences():
    order = [
        "exact",
        "within-ulp",
        "within-budget",
        "framework-imprecise",
        "ill-conditioned",
        "inconclusive",
        "converter-imprecise",
        "mismatch",
    ]
    assert [str(item) for item in sorted(Verdict)] == order
    assert max(Verdict.EXACT, Verdict.MISMATCH) is Verdict.MISMATCH
    assert [item.passed for item in Verdict] == [True] * 5 + [False] * 3
    assert [item.failed for item in Verdict] == [False] * 6 + [True] * 2
    assert all(item.explanation for item in Verdict)


def test_exact_against_the_rounded_reference():
    ref = np.array([[0.1], [1 / 3]])
    assert verdict(ref, ref, ref.astype(np.float32)).verdict is Verdict.EXACT


def test_exact_against_the_framework_as_run():
    fw = column(1.0, 2.0)
    assert verdict(fw, fw.astype(np.float64) * 1.5, fw).verdict is Verdict.EXACT


@pytest.mark.parametrize(("steps", "expected"), [(4, Verdict.WITHIN_ULP), (5, Verdict.WITHIN_BUDGET)])
def test_four_ulps_are_the_limit(steps, expected):
    fw = column(1.0, 1.0)
    ox = fw.copy()
    for _ in range(steps):
        ox[0] = np.nextafter(ox[0], np.float32(2))
    assert verdict(fw, fw, ox).verdict is expected


def test_budget_is_the_tolerance_times_the_scale():
    ref = column(1.0, 100.0, dtype=np.float64)
    inside = verdict(ref, ref, ref + np.array([[0.9e-6], [0.9e-4]]))
    assert inside.verdict is Verdict.WITHIN_BUDGET
    assert 0.5 < inside.budget_used < 1
    outside = verdict(ref, ref, ref + np.array([[2e-6], [0]]))
    assert outside.verdict is Verdict.CONVERTER_IMPRECISE
    assert outside.worst_row == 0
    assert outside.budget_used == pytest.approx(2e-6 / TOL, rel=0.1)


def test_usual_size_of_the_output_is_a_floor_of_the_scale():
    ref = column(1e-3, dtype=np.float64)
    ox = ref + 1e-7
    assert verdict(ref, ref, ox).verdict is Verdict.CONVERTER_IMPRECISE
    assert verdict(ref, ref, ox, scale=1.0).verdict is Verdict.WITHIN_BUDGET


def test_sensitivity_excuses_up_to_eight_times_itself():
    ref = column(1.0, dtype=np.float64)
    for factor, expected in ((7.5, Verdict.ILL_CONDITIONED), (8.5, Verdict.CONVERTER_IMPRECISE)):
        found = verdict(ref, ref, ref + factor * 1e-4, sensitivity=[1e-4])
        assert found.verdict is expected
        assert found.budget_used == pytest.approx(factor / 8, rel=1e-2)


def test_a_framework_that_is_further_off_is_the_imprecise_one():
    ref = column(1.0, dtype=np.float64)
    assert verdict(ref + 3e-4, ref, ref + 1e-4).verdict is Verdict.FRAMEWORK_IMPRECISE
    assert verdict(ref + 1e-4, ref, ref + 1.5e-4).verdict is Verdict.ILL_CONDITIONED
    assert verdict(ref + 1e-4, ref, ref + 3e-4).verdict is Verdict.CONVERTER_IMPRECISE


def test_noise_of_the_framework_at_neighbours_widens_the_budget():
    ref = column(1.0, dtype=np.float64)
    errors = measure(ref, ref, (ref + 1e-4).astype(np.float32), 1, 0.0)
    assert judge(errors, tol=TOL).verdict is Verdict.CONVERTER_IMPRECISE
    assert judge(errors, tol=TOL, framework_noise=np.array([6e-5])).verdict is Verdict.ILL_CONDITIONED


def test_an_ill_conditioned_row_does_not_excuse_another():
    ref = column(1.0, 1.0, dtype=np.float64)
    found = verdict(ref, ref, ref + np.array([[1e-4], [1e-4]]), sensitivity=[1e-4, 0.0])
    assert found.verdict is Verdict.CONVERTER_IMPRECISE
    assert found.worst_row == 1


def test_random_framework_is_inconclusive():
    ref = column(1.0, dtype=np.float64)
    assert verdict(ref, ref, ref + 0.5, noise=0.3).verdict is Verdict.INCONCLUSIVE


def test_small_noise_only_widens_the_budget():
    ref = column(1.0, dtype=np.float64)
    assert verdict(ref, ref, ref + 2e-6, noise=1e-6).verdict is Verdict.ILL_CONDITIONED


@pytest.mark.parametrize(
    ("fw", "ox"),
    [(np.nan, 1.0), (1.0, np.nan), (np.inf, -np.inf), (np.inf, np.nan), (1.0, np.inf), (-np.inf, -3e38)],
)
def test_specials_at_other_places_are_a_mismatch(fw, ox):
    found = verdict(column(fw, 1.0), None, column(ox, 1.0))
    assert found.verdict is Verdict.MISMATCH
    assert math.isinf(found.budget_used)


def test_equal_specials_are_equal():
    values = column(np.nan, np.inf, -np.inf, 0.0)
    assert verdict(values, values, values).verdict is Verdict.EXACT


def test_overflow_of_the_output_dtype_is_no_fault():
    # A float64 answer beyond float32 becomes an infinity there, whoever computes it.
    ref = column(1e39, 1.0, dtype=np.float64)
    assert verdict(ref, ref, column(np.inf, 1.0)).verdict is Verdict.EXACT
    assert verdict(ref, ref, column(3e38, 1.0)).verdict is Verdict.MISMATCH


def test_at_the_edge_of_the_range_both_roundings_are_right():
    top = float(np.finfo(np.float32).max)
    ref = column(top, dtype=np.float64)
    assert verdict(ref, ref, column(np.inf)).verdict.passed
    assert verdict(ref, ref, column(-np.inf)).verdict is Verdict.MISMATCH


def test_specials_of_either_the_framework_or_the_reference_are_right():
    # The framework overflowed in float32 where the float64 answer is finite: ONNX may side with either.
    fw, ref = column(np.inf, 1.0), column(1e30, 1.0, dtype=np.float64)
    assert verdict(fw, ref, column(1e30, 1.0)).verdict.passed
    assert verdict(fw, ref, column(np.inf, 1.0)).verdict.passed
    assert verdict(fw, ref, column(np.nan, 1.0)).verdict is Verdict.MISMATCH


def test_the_special_note_tells_the_place():
    errors = measure(column(1.0, 2.0), None, column(1.0, np.nan), 2, 0.0)
    assert errors.wrong_specials == 1
    assert "[1, 0]" in errors.special_note
    assert "framework 2.0" in errors.special_note


def test_a_fixed_budget_replaces_the_rule():
    ref = column(1.0, dtype=np.float64)
    assert verdict(ref, ref, ref + 1e-3, fixed_budget=1e-2).verdict is Verdict.ILL_CONDITIONED
    assert verdict(ref, ref, ref + 1e-3, fixed_budget=1e-4).verdict is Verdict.CONVERTER_IMPRECISE


def test_zero_outputs_that_are_not_zero_fail():
    zeros = column(0.0, 0.0, dtype=np.float64)
    found = verdict(zeros, zeros, column(0.0, 1e-3))
    assert found.verdict is Verdict.CONVERTER_IMPRECISE
    assert math.isinf(found.budget_used)


def test_empty_outputs_are_exact():
    empty = np.zeros((0, 3), dtype=np.float32)
    assert verdict(empty, empty, empty).verdict is Verdict.EXACT


def test_rows_in_need_are_those_beyond_the_tolerance():
    ref = column(1.0, 1.0, 1.0, dtype=np.float64)
    errors = measure(ref, ref, (ref + np.array([[0], [1e-3], [1e-7]])).astype(np.float32), 3, 0.0)
    assert rows_in_need(errors, TOL).tolist() == [1]


def test_output_without_batch_axis_is_one_row():
    ref = np.array([1.0, 2.0, 3.0])
    errors = measure(ref, ref, ref.astype(np.float32), 7, 0.0)
    assert errors.onnx.shape == (1,)


def test_tolerance_takes_the_coarser_of_output_and_inputs():
    single, double, half = np.dtype(np.float32), np.dtype(np.float64), np.dtype(np.float16)
    assert tolerance(double) < tolerance(double, single) == tolerance(single)
    assert tolerance(half, single) == tolerance(half)


def test_robust_scale_ignores_specials_and_single_outliers():
    values = np.concatenate([np.ones(1000), [1e30, np.nan, np.inf]])
    assert robust_scale(values) == 1.0
    assert robust_scale(np.array([np.nan])) == 0.0
