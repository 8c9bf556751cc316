"""An empty batch of GRU or LSTM ends the process in onnxruntime: the harness must not run it, and must say so."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from onnx import helper, numpy_helper

from any2onnx.parity import check_parity
from any2onnx.parity.runtime import read_onnx

HIDDEN = 2
GATES = {"GRU": 3, "LSTM": 4, "RNN": 1}


def recurrent(name: str):
    """Return a model of one recurrent operator over [1, batch, 3], without bias."""
    rng = np.random.default_rng(0)
    weights = {
        "w": rng.normal(size=(1, GATES[name] * HIDDEN, 3)),
        "r": rng.normal(size=(1, GATES[name] * HIDDEN, HIDDEN)),
    }
    nodes = [
        helper.make_node("Unsqueeze", ["x", "zero"], ["xs"]),
        helper.make_node(name, ["xs", "w", "r"], ["", "h"], hidden_size=HIDDEN),
        helper.make_node("Squeeze", ["h", "zero"], ["y"]),
    ]
    constants = [numpy_helper.from_array(array.astype(np.float32), key) for key, array in weights.items()]
    constants.append(numpy_helper.from_array(np.array([0]), "zero"))
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", 1, ["batch", 3])],
        [helper.make_tensor_value_info("y", 1, ["batch", HIDDEN])],
        constants,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), weights


@pytest.mark.parametrize("name", ["GRU", "LSTM"])
def test_the_case_is_skipped_with_a_reason_and_the_process_lives(name):
    proto, _ = recurrent(name)
    assert read_onnx(proto).fatal_when_empty == (name,)

    def model(x):
        from onnx.reference import ReferenceEvaluator

        return ReferenceEvaluator(proto).run(None, {"x": x.astype(np.float32)})[0]

    report = check_parity(model, proto, suites="shape")
    skipped = [result for result in report.results if result.case == "batch 0"]
    assert [result.status for result in skipped] == ["skipped"]
    assert f"{name} gets an empty batch" in skipped[0].note
    assert report.count("passed") > 0


def test_other_operators_are_run_empty():
    proto, weights = recurrent("RNN")
    assert read_onnx(proto).fatal_when_empty == ()

    def model(x):
        return np.tanh(x @ weights["w"][0].T.astype(x.dtype))

    report = check_parity(model, proto, suites="shape")
    (empty,) = [result for result in report.results if result.case == "batch 0"]
    assert empty.status == "passed"


@pytest.mark.parametrize("name", ["GRU", "LSTM"])
def test_onnxruntime_still_does_it(name, tmp_path):
    """Fails on the day that onnxruntime is mended: then the exception can go."""
    proto, _ = recurrent(name)
    (tmp_path / "m.onnx").write_bytes(proto.SerializeToString())
    code = (
        "import numpy as np, onnxruntime as o;"
        "s = o.InferenceSession('m.onnx', providers=['CPUExecutionProvider']);"
        "s.run(None, {'x': np.ones((0, 3), np.float32)})"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode < 0, done.stderr


# --- a framework whose empty answer has another form than its others ----------------------------------------------


def sum_model():
    nodes = [helper.make_node("ReduceSum", ["x", "axes"], ["y"], keepdims=1)]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", 1, ["batch", 3])],
        [helper.make_tensor_value_info("y", 1, ["batch", 1])],
        [numpy_helper.from_array(np.array([1]), "axes")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


@pytest.mark.parametrize("odd", ["shape", "dtype"])
def test_an_odd_empty_answer_is_no_model_for_onnx(odd):
    def model(x):
        if not len(x):
            return np.zeros((0, 3), x.dtype) if odd == "shape" else np.zeros((0, 1), np.int64)
        return x.sum(axis=1, keepdims=True)

    report = check_parity(model, sum_model(), suites="shape")
    (empty,) = [result for result in report.results if result.case == "batch 0"]
    assert empty.status == "passed"
    assert "no answer for an empty batch" in empty.note


def test_onnx_must_still_have_the_shape_of_its_rows():
    proto = sum_model()
    proto.graph.node[0].attribute[0].i = 1
    proto.graph.node.append(helper.make_node("Concat", ["y", "y"], ["z"], axis=1))
    proto.graph.output[0].name = "z"
    proto.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 2

    def model(x):
        return np.zeros((0, 3), x.dtype) if not len(x) else x.sum(axis=1, keepdims=True)

    report = check_parity(model, proto, suites="shape")
    (empty,) = [result for result in report.results if result.case == "batch 0"]
    assert empty.status == "failed"
