"""Rounding inside of the framework's own computation, and ties by the scores that a graph chooses from."""

from __future__ import annotations

import os

os.environ.setdefault("KERAS_BACKEND", "tensorflow")

import subprocess
import sys

import keras
import numpy as np
import pytest
import torch
from onnx import helper
from parity_hand_made import INT64, altered, info, model

from any2onnx.parity import Verdict, check_parity
from any2onnx.parity.graph_scores import Choice, GraphScores, gaps
from any2onnx.parity.operators_keras import MovedModel
from any2onnx.parity.operators_torch import moved_torch
from any2onnx.parity.rounding import BOUNDED, EXACT, moved, plain_name
from any2onnx.parity.runtime import OnnxSession, read_onnx
from any2onnx.parity.signature import Signature


def rng(seed=0):
    return np.random.default_rng(seed)


# --- one result ------------------------------------------------------------------------------------------------------


def test_names_of_all_frameworks_have_one_form():
    names = ("aten.max_pool2d_with_indices.default", "relu_", "ConcatV2", "broadcast_in_dim", "aten._softmax.default")
    assert [plain_name(name) for name in names] == ["maxpoolwithindices", "relu", "concat", "broadcastindim", "softmax"]
    assert not EXACT & set(BOUNDED)


def test_a_result_moves_by_one_unit_and_an_exact_one_not_at_all():
    values = np.array([1.5, -3.0, 1e-30, np.inf, np.nan, 0.0], dtype=np.float32)
    found = moved(values, "add", rng())
    assert found.dtype == np.float32
    steps = np.abs(found[:3].view(np.int32) - values[:3].view(np.int32))
    assert steps.tolist() == [1, 1, 1]
    assert np.isinf(found[3])
    assert np.isnan(found[4])
    assert moved(values, "reshape", rng()) is values
    wide = np.concatenate([moved(values[:1], "add", rng(seed), 4) for seed in range(60)])
    assert set(np.abs(wide.view(np.int32) - values[:1].view(np.int32)).tolist()) == {0, 1, 2, 3, 4}


def test_a_bounded_function_moves_by_a_unit_of_its_bound_and_stays_inside():
    values = np.array([1.0, 1e-6, -1.0], dtype=np.float32)
    found = np.stack([moved(values, "tanh", rng(seed)) for seed in range(20)])
    assert np.abs(found).max() <= 1
    assert np.abs(found[:, 1] - 1e-6).min() > 1e-7
    assert np.abs(found[:, 1] - 1e-6).max() < 2e-7
    assert (found[:, 0] < 1).any()


# --- whole models ----------------------------------------------------------------------------------------------------


class Steps(torch.nn.Module):
    def forward(self, x):
        y = torch.relu(x).t().reshape(-1)
        y += 1
        return (y * 3).tanh()


def test_operators_of_torch_are_moved_and_views_are_not():
    x = torch.linspace(-1, 1, 6).reshape(2, 3)
    right = Steps()(x)
    with moved_torch(rng(), 1):
        found = Steps()(x)
    apart = (found - right).abs().max().item()
    assert 0 < apart < 1e-5
    assert torch.equal(x, torch.linspace(-1, 1, 6).reshape(2, 3))

    class Views(torch.nn.Module):
        def forward(self, x):
            return torch.cat([x.t(), x.t()]).flip(0)[1:]

    with moved_torch(rng(), 1):
        assert torch.equal(Views()(x), torch.cat([x.t(), x.t()]).flip(0)[1:])


@pytest.mark.skipif(keras.backend.backend() not in ("tensorflow", "jax", "torch"), reason="NumPy has no operators")
def test_operators_of_keras_are_moved_inside_of_loops_too():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((12, 3))
    network = keras.Model(inputs, keras.layers.SimpleRNN(4)(inputs))
    x = keras.ops.convert_to_tensor(rng().normal(size=(2, 12, 3)).astype(np.float32))
    right = np.asarray(keras.ops.convert_to_numpy(network(x)))
    before = [np.array(weight) for weight in network.get_weights()]
    mover = MovedModel(lambda given: network(given, training=False))
    found = [np.asarray(keras.ops.convert_to_numpy(mover.run(x, rng(seed), 1))) for seed in (0, 0, 1)]
    assert 0 < np.abs(found[0] - right).max() < 1e-4
    assert np.array_equal(found[0], found[1])
    assert not np.array_equal(found[0], found[2])
    assert all(np.array_equal(a, b) for a, b in zip(before, network.get_weights(), strict=True))


@pytest.mark.keras_backend
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_other_backends_are_moved_too(backend):
    arguments = ["-m", "pytest", "-q", "-p", "no:cacheprovider", __file__, "-k", "inside_of_loops"]
    environment = {**os.environ, "KERAS_BACKEND": backend}
    done = subprocess.run([sys.executable, *arguments], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:]
    assert "1 passed" in done.stdout


# --- what it excuses -------------------------------------------------------------------------------------------------


class Amplified(torch.nn.Module):
    """The rest of a saturated sigmoid, amplified: 6e-8 more or less of 1 is everything here."""

    def forward(self, x):
        return torch.log(1 - torch.sigmoid(8 * x) + 1e-6)


def amplified_file(one=1.0):
    nodes = [
        helper.make_node("Mul", ["x", "eight"], ["steep"]),
        helper.make_node("Sigmoid", ["steep"], ["bounded"]),
        helper.make_node("Sub", ["one", "bounded"], ["rest"]),
        helper.make_node("Add", ["rest", "small"], ["positive"]),
        helper.make_node("Log", ["positive"], ["y"]),
    ]
    weights = {"eight": np.float32(8), "one": np.float32(one), "small": np.float32(1e-6)}
    return model(nodes, [info("x", ["batch", 4])], [info("y", ["batch", 4])], weights)


def test_a_saturated_function_that_is_amplified_is_ill_conditioned():
    report = check_parity(Amplified(), amplified_file(), suites="typical")
    assert report.passed, report
    assert report.verdict in (Verdict.ILL_CONDITIONED, Verdict.FRAMEWORK_IMPRECISE)


def test_a_wrong_constant_in_the_same_place_is_not():
    # Seventeen units in the last place of 1: the graph in float64 says something else.
    report = check_parity(Amplified(), amplified_file(1 + 2.0**-19), suites="typical")
    assert report.verdict is Verdict.CONVERTER_IMPRECISE


def test_a_worse_formula_is_not_excused():
    class Stable(torch.nn.Module):
        def forward(self, x):
            return torch.nn.functional.softplus(-x)

    nodes = [
        helper.make_node("Sigmoid", ["x"], ["bounded"]),
        helper.make_node("Log", ["bounded"], ["logarithm"]),
        helper.make_node("Neg", ["logarithm"], ["y"]),
    ]
    file = model(nodes, [info("x", ["batch", 4])], [info("y", ["batch", 4])], {})
    x = np.float32([[8, 9, 10, 11]] * 8)
    report = check_parity(Stable(), file, x, suites="data")
    # The same in exact arithmetic, and log(1 - 1e-5) in float32: the framework's own steps do not suffer from it.
    assert report.verdict is Verdict.CONVERTER_IMPRECISE


# --- ties by scores --------------------------------------------------------------------------------------------------


def choice_file(node, outputs):
    nodes = [helper.make_node("Sub", ["x", "one"], ["less"]), helper.make_node("Relu", ["less"], ["left"]), *node]
    weights = {"one": np.float32(1), "k": np.array([2], dtype=np.int64)}
    return model(nodes, [info("x", ["batch", 6])], outputs, weights)


def test_scores_are_found_behind_other_forms_of_the_answer():
    nodes = [
        helper.make_node("TopK", ["left", "k"], ["best", "places"], axis=1),
        helper.make_node("Cast", ["places"], ["y"], to=6),
    ]
    file = read_onnx(choice_file(nodes, [info("y", ["batch", 2], 6)]))
    scores = GraphScores(file, Signature.from_ports(OnnxSession(file).inputs))
    assert scores.choice("y") == Choice("ranked", ("left",), 1)
    (values,) = scores.values(scores.choice("y"), {"x": np.full((1, 6), 3.0)})
    assert values.dtype == np.float64
    assert values.tolist() == [[2.0] * 6]


def test_gaps_between_answers():
    table = np.array([[3.0, 1.0, 3.0, 2.0], [0.0, 0.0, 0.0, 5.0]])
    answered, wanted = np.array([[2, 0], [3, 2]]), np.array([[0, 2], [3, 0]])
    assert gaps(Choice("ranked", ("s",), 1), [table], answered, wanted, 2).tolist() == [[0, 0], [0, 0]]
    twice = gaps(Choice("ranked", ("s",), 1), [table], np.array([[0, 0], [3, 9]]), wanted, 2)
    assert np.isinf(twice[0]).all()
    assert not np.isfinite(twice[1, 1])
    # Which of equal numbers comes first is promised by every framework.
    first = gaps(Choice("first", ("s",), 1), [table], np.array([[2], [3]]), np.array([[0], [0]]), 2)
    assert first.tolist() == [[np.inf], [5.0]]
    along_rows = gaps(Choice("ranked", ("s",), 0), [table.T], np.array([[2, 3], [0, 2]]), wanted.T, 2)
    assert along_rows.tolist() == [[0, 0], [0, 0]]
    compared = gaps(Choice("compared", ("a", "b")), [table, table - 1e-9], table > 1, table > 1, 2)
    assert compared == pytest.approx(1e-9, rel=1e-5)


class Best(torch.nn.Module):
    def forward(self, x):
        return torch.topk(torch.relu(x - 1), 2, dim=1).indices


BEST = [helper.make_node("TopK", ["left", "k"], ["best", "y"], axis=1)]
PLACES = [info("y", ["batch", 2], INT64)]


def test_equals_in_another_order_are_ties():
    report = check_parity(Best(), choice_file(BEST, PLACES), suites="typical")
    assert report.passed, report
    assert report.worst.tied > 0
    assert report.worst.wrong == 0


def test_scores_that_the_framework_does_not_compute_excuse_nothing():
    # All scores become equal: by the graph's own numbers every answer were a tie.
    file = altered(choice_file(BEST, PLACES), "one", lambda value: value + np.float32(1000))
    report = check_parity(Best(), file, suites="typical")
    assert report.verdict is Verdict.MISMATCH


def test_the_smallest_instead_of_the_largest_is_no_tie():
    nodes = [helper.make_node("TopK", ["left", "k"], ["best", "y"], axis=1, largest=0)]
    assert check_parity(Best(), choice_file(nodes, PLACES), suites="typical").verdict is Verdict.MISMATCH
