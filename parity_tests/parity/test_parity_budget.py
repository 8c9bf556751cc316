"""The framework's own error over like rows, columns of their own, and the absence of false alarms over many seeds."""

from __future__ import annotations

import os

os.environ.setdefault("KERAS_BACKEND", "tensorflow")

import keras
import numpy as np
import pytest
from onnx import helper
from parity_hand_made import FLOAT, altered, info, model
from sklearn.preprocessing import StandardScaler

from any2onnx import check_parity, convert_keras
from any2onnx.parity import Verdict
from any2onnx.parity.compare import Profile, judge, measure, own_errors, tolerance
from any2onnx.parity.graph_opinion import GraphOpinion
from any2onnx.parity.runtime import OnnxSession, read_onnx
from any2onnx.parity.signature import Signature

TOL = tolerance(np.dtype(np.float32))
RNG = np.random.default_rng(0)


def errors_of(fw_error, ox_error, ref, scale=0.0):
    ref = np.asarray(ref, dtype=np.float64)[:, None]
    fw, ox = ref + np.asarray(fw_error)[:, None], ref + np.asarray(ox_error)[:, None]
    return measure(fw, ref, ox, len(ref), scale)


def test_errors_of_like_rows_excuse_a_lucky_one():
    # Row 0 of the framework is exact by luck; the others err by 3e-6, and ONNX by as much in row 0.
    own = np.full(32, 3e-6)
    own[0] = 0
    found = errors_of(own, np.where(np.arange(32) == 0, 5e-6, 0), np.ones(32))
    assert judge(found, tol=TOL).verdict is Verdict.ILL_CONDITIONED
    assert judge(found, tol=TOL).budget_from == "framework"
    few = errors_of(own[:4], [5e-6, 0, 0, 0], np.ones(4))
    assert judge(few, tol=TOL).verdict is Verdict.CONVERTER_IMPRECISE


def test_a_large_row_does_not_hide_an_error_in_small_ones():
    ref = np.where(np.arange(40) < 20, 1.0, 1e4)
    own = 1e-5 * ref
    own[:20] = 0
    ox = np.zeros(40)
    ox[3] = 1e-5
    found = judge(errors_of(own, ox, ref), tol=TOL)
    assert found.verdict is Verdict.CONVERTER_IMPRECISE
    assert found.worst_row == 3
    assert found.failing.tolist() == [3]


def test_a_few_rows_on_the_wrong_side_of_a_jump_excuse_no_other():
    own = np.full(64, 1e-7)
    own[:5] = 1.0
    ox = np.zeros(64)
    ox[40] = 0.5
    assert judge(errors_of(own, ox, np.ones(64)), tol=TOL).verdict is Verdict.CONVERTER_IMPRECISE
    assert own_errors(errors_of(own, ox, np.ones(64)), None, None)[40] == pytest.approx(5e-7, rel=1e-3)


def test_rows_of_size_zero_borrow_from_nobody():
    own = np.array([*np.full(16, 1e-3), 0.0])
    ref = np.array([*np.full(16, 0.7), 0.0])
    ox = np.zeros(17)
    ox[16] = 1e-4
    found = judge(errors_of(own, ox, ref), tol=TOL)
    assert found.verdict is Verdict.CONVERTER_IMPRECISE
    assert found.worst_row == 16


def test_typical_rows_speak_for_a_small_batch():
    found = errors_of([0.0], [5e-6], [1.0])
    assert judge(found, tol=TOL).verdict is Verdict.CONVERTER_IMPRECISE
    profile = Profile(np.full(16, 3e-6), np.full(16, 1.0))
    assert judge(found, tol=TOL, profile=profile).verdict is Verdict.ILL_CONDITIONED
    other = Profile(np.full(16, 3e-6), np.full(16, 100.0))
    assert judge(found, tol=TOL, profile=other).verdict is Verdict.CONVERTER_IMPRECISE


def test_columns_of_a_transformer_are_measured_on_their_own():
    x = (RNG.standard_normal((200, 2)) * [1e6, 1e-3]).astype(np.float32)
    scaler = StandardScaler(with_std=False).fit(x)
    shift = scaler.mean_.astype(np.float64)

    def file(mean):
        nodes = [
            helper.make_node("Cast", ["x"], ["wide"], to=11),
            helper.make_node("Sub", ["wide", "mean"], ["centred"]),
            helper.make_node("Cast", ["centred"], ["variable"], to=FLOAT),
        ]
        return model(nodes, [info("x", ["batch", 2])], [info("variable", ["batch", 2])], {"mean": mean})

    right = file(shift)
    assert check_parity(scaler, right, x).passed
    # A hundredth of the small column, far below the rounding of the large one.
    wrong = altered(right, "mean", lambda values: values + np.array([0, 1e-5]))
    report = check_parity(scaler, wrong, x, suites="typical")
    assert report.verdict is Verdict.CONVERTER_IMPRECISE
    assert report.worst.budget_from == "tolerance"


def affine_file(weights):
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    return read_onnx(model(nodes, [info("x", ["batch", 2])], [info("y", ["batch", 1])], {"w": np.float32(weights)}))


def test_the_graph_in_float64_is_asked_about_its_formulas():
    x = RNG.standard_normal((5, 2)).astype(np.float32)
    truth = x.astype(np.float64) @ np.array([[0.5], [3.0]])
    file = affine_file([[0.5], [3.0]])
    opinion = GraphOpinion(file, Signature.from_ports(OnnxSession(file).inputs))
    rows, allowed = np.array([4, 0]), np.full(5, 1e-7)
    assert opinion.longest_sum({"x": x}, "y", truth, rows, allowed) == 2
    assert opinion.longest_sum({"x": x}, "y", truth + 1e-6, rows, allowed) == 0
    assert opinion.longest_sum({"x": x}, "y", truth[:3], rows, allowed) == 0
    # Half a unit in the last place of the weights changes the answer by 1e-7 or so, and not by 1e-4.
    near = truth + 3e-8 * np.abs(x).sum(1, keepdims=True)
    assert opinion.longest_sum({"x": x}, "y", near, rows, np.zeros(5)) == 0
    assert opinion.longest_sum({"x": x}, "y", near, rows, np.zeros(5), constants=True) == 2
    assert opinion.longest_sum({"x": x}, "y", truth + 1e-4, rows, np.zeros(5), constants=True) == 0


@pytest.mark.parametrize("block", range(4))
def test_random_networks_raise_no_false_alarm(block):
    # A mean over 484 values, and inputs from 2^-10 to 2^10: the sums of onnxruntime and TensorFlow round differently.
    for seed in range(10 * block, 10 * block + 10):
        keras.utils.set_random_seed(seed)
        network = keras.Sequential(
            [
                keras.Input((24, 24, 3), name="x"),
                keras.layers.Conv2D(8, 3, activation="relu"),
                keras.layers.BatchNormalization(),
                keras.layers.GlobalAveragePooling2D(),
                keras.layers.Dense(10, activation="softmax"),
            ]
        )
        report = check_parity(network, convert_keras(network, parity="off"), suites="boundary", seed=seed)
        assert report.passed, (seed, report)
