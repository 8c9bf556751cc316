"""The first divergence: where it is, whose fault it is, and a reproducer that stands on its own."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys

os.environ.setdefault("KERAS_BACKEND", "tensorflow")

import numpy as np
import onnx
import pytest
from onnx import helper
from parity_hand_made import FLOAT, info, model, rbf_regressor

from any2onnx import check_parity
from any2onnx.parity import divergence, scene
from any2onnx.parity.intermediates import Intermediate
from any2onnx.parity.self_test import all_mutants, all_specimens

RNG = np.random.default_rng(0)
LOCATED = [mutant for mutant in all_mutants() if mutant.culprit]


@pytest.mark.parametrize("mutant", LOCATED, ids=lambda mutant: mutant.name)
def test_mutants_are_located(mutant):
    subject = mutant.subject()
    report = check_parity(subject.model, subject.proto(), subject.data, suites=mutant.suite, localise=True)
    assert report.divergences
    assert {found.cause for found in report.divergences} == {"our rule"}
    assert any(found.value in mutant.culprit for found in report.divergences), report.divergences
    assert all(found.source for found in report.divergences)


def test_nothing_to_locate_in_a_right_model():
    specimen = next(item for item in all_specimens("torch") if item.name == "window")
    subject = specimen.build()
    assert check_parity(subject.model, subject.proto(), suites="typical", localise=True).divergences == ()


def test_a_wrong_name_has_no_divergence():
    mutant = next(item for item in all_mutants("scikit-learn") if item.name == "renamed output")
    subject = mutant.subject()
    report = check_parity(subject.model, subject.proto(), subject.data, suites="typical", localise=True)
    assert not report.passed
    assert report.divergences == ()


def test_the_reproducer_shows_the_error_without_the_framework(tmp_path):
    mutant = next(item for item in all_mutants("torch") if item.name == "dilation ignored")
    subject = mutant.subject()
    report = check_parity(subject.model, subject.proto(), suites="typical", localise=True, artefacts=tmp_path)
    (found,) = report.divergences
    assert [os.path.basename(path) for path in found.files] == ["culprit.onnx", "inputs.npz", "repro.py"]
    assert {node.op_type for node in onnx.load(found.files[0]).graph.node} == {"Conv"}
    done = subprocess.run([sys.executable, found.files[2]], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 1, done
    assert "error relative to the scale" in done.stdout
    assert "torch" not in pathlib.Path(found.files[2]).read_text()
    # With the right node in its place the script finds nothing.
    culprit = onnx.load(found.files[0])
    attributes = {item.name: item for item in culprit.graph.node[0].attribute}
    attributes["dilations"].ints[:] = [2, 2]
    attributes["pads"].ints[:] = [2, 2, 2, 2]
    onnx.save(culprit, found.files[0])
    done = subprocess.run([sys.executable, found.files[2]], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done


def test_cancellation_in_float32_is_the_limit_of_float32():
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import RBF

    points = RNG.uniform(-1, 1, size=(60, 2))
    process = GaussianProcessRegressor(RBF(1.0), optimizer=None, alpha=1e-8).fit(points, np.sin(3 * points[:, 0]))
    file = rbf_regressor(points, process.alpha_, dtype=np.float32)
    report = check_parity(process, file, points.astype(np.float32), suites="data", localise=True)
    (found,) = report.divergences
    assert found.cause == "float32 limit", found
    assert found.steps
    assert max(step.amplification for step in found.steps if step.amplification is not None) > 8


def test_a_leak_of_float16_is_our_rule():
    mutant = next(item for item in all_mutants("scikit-learn") if item.name == "float16 leak")
    subject = mutant.subject()
    report = check_parity(subject.model, subject.proto(), subject.data, suites="typical", localise=True)
    assert {(found.value, found.cause) for found in report.divergences} == {("half", "our rule")}


def doubled_twice(x):
    return x * 4.0


def test_a_wrong_kernel_is_blamed_on_onnxruntime(monkeypatch):
    nodes = [helper.make_node("Add", ["x", "x"], ["twice"]), helper.make_node("Add", ["twice", "twice"], ["y"])]
    file = model(nodes, [info("x", ["batch", 2])], [info("y", ["batch", 2])])
    real_run = scene.run_showing_all

    def broken(*arguments, **options):
        values = real_run(*arguments, **options)
        twice = values["twice"] * np.float32(1.001)
        return {**values, "twice": twice, "y": twice + twice}

    monkeypatch.setattr(scene, "run_showing_all", broken)
    # The answers of the whole model are as wrong as the kernel.
    from any2onnx.parity.running import Runs

    real_onnx = Runs.onnx

    def wrong(self, *arguments, **options):
        import dataclasses

        found = real_onnx(self, *arguments, **options)
        return [[dataclasses.replace(leaf, values=leaf.values * np.float32(1.001)) for leaf in part] for part in found]

    monkeypatch.setattr(Runs, "onnx", wrong)
    report = check_parity(doubled_twice, file, suites="typical", localise=True)
    (found,) = report.divergences
    assert (found.cause, found.value, found.operator) == ("onnxruntime", "twice", "Add"), found


def test_an_error_that_vanishes_when_values_are_shown_is_a_fusion(monkeypatch):
    nodes = [helper.make_node("Add", ["x", "x"], ["twice"]), helper.make_node("Add", ["twice", "twice"], ["y"])]
    file = model(nodes, [info("x", ["batch", 2])], [info("y", ["batch", 2])])
    from any2onnx.parity.running import Runs

    real_onnx = Runs.onnx

    def wrong(self, *arguments, **options):
        import dataclasses

        found = real_onnx(self, *arguments, **options)
        return [[dataclasses.replace(leaf, values=leaf.values + np.float32(1)) for leaf in part] for part in found]

    monkeypatch.setattr(Runs, "onnx", wrong)
    (found,) = check_parity(doubled_twice, file, suites="typical", localise=True).divergences
    assert found.vanished
    assert found.cause == "onnxruntime"


def test_values_are_matched_by_their_numbers_whatever_their_layout():
    image = RNG.standard_normal((2, 3, 4, 5))
    truth = [Intermediate("layer", image), Intermediate("other", image + 1)]
    found = divergence.matched(truth, {"moved": image.transpose(0, 3, 1, 2), "wrong": image * 1.01}, 1e-6)
    assert {name: item.name for name, item in found.items()} == {"moved": "layer"}


def test_a_function_shows_nothing_and_the_output_is_named():
    nodes = [helper.make_node("Add", ["x", "x"], ["twice"]), helper.make_node("Add", ["twice", "x"], ["y"])]
    file = model(nodes, [info("x", ["batch", 2])], [info("y", ["batch", 2], FLOAT)])
    (found,) = check_parity(doubled_twice, file, suites="typical", localise=True).divergences
    assert (found.cause, found.value) == ("our rule", "y")
    assert "shows nothing" in found.explanation


def test_a_random_node_is_found_behind_a_failure_of_determinism():
    (mutant,) = [item for item in all_mutants() if item.suite == "determinism" and item.specimen.framework == "torch"]
    subject = mutant.subject()
    report = check_parity(subject.model, subject.proto(), subject.data, suites="determinism", localise=True)
    assert [found.cause for found in report.divergences] == ["our rule"]
    assert {found.operator for found in report.divergences} <= {"Dropout", "RandomUniform"}


def test_the_node_at_which_onnxruntime_raises_is_named():
    # Three rows are baked in: onnxruntime raises for any other number, and onnx.reference too.
    shape = np.array([3, 2], dtype=np.int64)
    nodes = [
        helper.make_node("Reshape", ["x", "shape"], ["flat"], name="bake"),
        helper.make_node("Neg", ["flat"], ["y"]),
    ]
    file = model(nodes, [info("x", ["batch", 2])], [info("y", ["batch", 2])], {"shape": shape})
    report = check_parity(lambda x: -x, file, suites="typical", localise=True)
    (found,) = report.divergences
    assert (found.cause, found.operator, found.value) == ("our rule", "Reshape", "flat")
    assert "'bake'" in found.explanation


def test_operators_of_keras_are_recorded_without_touching_the_model():
    keras = pytest.importorskip("keras")
    from any2onnx.parity.operators_keras import recorded_operators

    network = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, activation="tanh", name="steep")])
    seen: list[Intermediate] = []
    before = {id(layer): dict(vars(layer)) for layer in network.layers}
    with recorded_operators(network, seen):
        network(np.ones((1, 3), np.float32))
    assert before == {id(layer): dict(vars(layer)) for layer in network.layers}
    if keras.backend.backend() in ("tensorflow", "torch"):
        assert any("tanh" in item.name.lower() and item.values.shape == (1, 2) for item in seen)
