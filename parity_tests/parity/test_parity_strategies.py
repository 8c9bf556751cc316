"""Hypothesis strategies of a signature."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings

from any2onnx.parity import strategies
from any2onnx.parity.signature import InputSpec, Signature

CODES = np.array([3.0, 5.0, 9.0], dtype=np.float32)
SIGNATURE = Signature(
    (
        InputSpec("x", np.dtype(np.float32), ("batch", 3), categories=(CODES, None, None)),
        InputSpec("ids", np.dtype(np.int64), ("batch", "length"), low=0, high=7),
        InputSpec("city", np.dtype(object), ("batch", 1), categories=(np.array(["Lima", "Oslo"], dtype=object),)),
        InputSpec("flag", np.dtype(bool), ("batch",)),
    ),
    sizes=(("length", 5),),
)


@settings(max_examples=40, deadline=None)
@given(strategies.inputs(SIGNATURE, max_rows=4))
def test_arrays_have_the_dtypes_and_one_batch(feeds):
    rows = len(feeds["x"])
    assert 1 <= rows <= 4
    assert feeds["x"].shape == (rows, 3)
    assert feeds["x"].dtype == np.float32
    assert np.isfinite(feeds["x"]).all()
    assert feeds["ids"].shape == (rows, 5)
    assert ((feeds["ids"] >= 0) & (feeds["ids"] < 7)).all()
    assert feeds["city"].shape == (rows, 1)
    assert all(isinstance(text, str) for text in feeds["city"].ravel())
    assert feeds["flag"].dtype == bool


def drawn(strategy, count=60):
    found = []

    @settings(max_examples=count, deadline=None, database=None)
    @given(strategy)
    def collect(feeds):
        found.append(feeds)

    collect()
    return found


def test_known_values_and_special_numbers_are_among_them():
    examples = drawn(strategies.inputs(SIGNATURE), 150)
    values = {float(value) for feeds in examples for value in feeds["x"].ravel()}
    assert values & {3.0, 5.0, 9.0}
    assert values & {0.5, -0.5, 1.5, 2.5}
    assert {text for feeds in examples for text in feeds["city"].ravel()} >= {"Lima", "Oslo", "an unseen category"}


def test_specials_come_when_they_are_asked_for():
    plain = drawn(strategies.inputs(SIGNATURE), 60)
    assert all(np.isfinite(feeds["x"]).all() for feeds in plain)
    special = drawn(strategies.inputs(SIGNATURE, allow_nan=True, allow_infinity=True), 150)
    assert any(np.isnan(feeds["x"]).any() for feeds in special)
    assert any(np.isinf(feeds["x"]).any() for feeds in special)


def test_a_fixed_batch_is_kept():
    fixed = Signature((InputSpec("x", np.dtype(np.float64), (2, 3)),))
    assert {feeds["x"].shape for feeds in drawn(strategies.inputs(fixed), 10)} == {(2, 3)}


@pytest.mark.parametrize("dtype", ["float16", "int8", "uint8", "bfloat16"])
def test_other_dtypes(dtype):
    import ml_dtypes

    kind = np.dtype(ml_dtypes.bfloat16) if dtype == "bfloat16" else np.dtype(dtype)
    signature = Signature((InputSpec("x", kind, ("batch", 2)),))
    assert {feeds["x"].dtype for feeds in drawn(strategies.inputs(signature), 10)} == {kind}
