"""ULP distances and half-ulp steps against definitions that are written out."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from any2onnx.errors import InvalidType
from any2onnx.parity import ulp_distance
from any2onnx.parity.ulp import INCOMPARABLE, half_ulp, is_float, neighbours

DTYPES = [np.float16, np.float32, np.float64, ml_dtypes.bfloat16]


@pytest.mark.parametrize("dtype", DTYPES)
def test_neighbours_are_one_apart(dtype):
    values = np.array([1.0, -3.0, 0.0, 1e-3, 1024.0, -1e-6], dtype=dtype)
    down, up = neighbours(values)
    assert (ulp_distance(values, up) == 1).all()
    assert (ulp_distance(values, down) == 1).all()
    assert (ulp_distance(down, up) == 2).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_specials(dtype):
    nan, inf, big = np.nan, np.inf, float(neighbours(np.array([np.inf], dtype=dtype))[0][0])
    a = np.array([nan, nan, inf, inf, -inf, inf, 0.0], dtype=dtype)
    b = np.array([nan, 1.0, inf, -inf, -inf, big, -0.0], dtype=dtype)
    wrong = INCOMPARABLE
    # Infinity against the largest number is the pair that numpy's own helper calls one ulp.
    assert ulp_distance(a, b).tolist() == [0, wrong, 0, wrong, 0, wrong, 0]


def test_nan_payloads_and_signs_are_ignored():
    quiet = np.array([0x7FC00000, 0xFFC00001], dtype=np.uint32).view(np.float32)
    assert ulp_distance(quiet[:1], quiet[1:]).tolist() == [0]


def test_signed_zeros_on_request():
    zeros = np.array([0.0], dtype=np.float32)
    assert ulp_distance(zeros, -zeros).tolist() == [0]
    assert ulp_distance(zeros, -zeros, signed_zeros_equal=False).tolist() == [1]


def test_across_zero_counts_both_sides():
    least = np.array([np.finfo(np.float32).smallest_subnormal])
    assert ulp_distance(least, -least).tolist() == [2]


def test_extremes_do_not_overflow():
    top = np.array([np.finfo(np.float64).max])
    assert int(ulp_distance(top, -top)[0]) == 2 * 0x7FEFFFFFFFFFFFFF


@given(st.floats(width=32, allow_nan=False, allow_infinity=False), st.integers(0, 50))
def test_counts_steps(start, steps):
    value = np.array([start], dtype=np.float32)
    moved = value
    for _ in range(steps):
        moved = np.nextafter(moved, np.float32(np.inf))
    if np.isfinite(moved).all():
        # Both zeros are one number, so a walk over them is as long as the number of steps.
        assert ulp_distance(value, moved).tolist() == [steps]
        assert ulp_distance(moved, value).tolist() == [steps]


@pytest.mark.parametrize("dtype", DTYPES)
def test_half_ulp_is_half_the_gap(dtype):
    values = np.array([1.0, 1.5, -3.0, 100.0, 2.0**-10], dtype=dtype)
    gap = neighbours(np.abs(values))[1].astype(np.float64) - np.abs(values).astype(np.float64)
    assert (half_ulp(values) * 2 == gap).all()


def test_half_ulp_of_what_is_not_finite_is_zero():
    assert half_ulp(np.array([np.nan, np.inf, -np.inf], dtype=np.float32)).tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (np.float32([1]), np.float64([1])),
        (np.int32([1]), np.int32([1])),
        (np.array(["a"]), np.array(["a"])),
    ],
)
def test_refuses_other_dtypes(a, b):
    with pytest.raises(InvalidType, match="one floating dtype"):
        ulp_distance(a, b)


def test_bfloat16_is_a_float_and_integers_are_none():
    assert is_float(np.dtype(ml_dtypes.bfloat16))
    assert not is_float(np.dtype(ml_dtypes.int4))
    assert not is_float(np.dtype(np.int64))
    assert not is_float(np.dtype(object))
