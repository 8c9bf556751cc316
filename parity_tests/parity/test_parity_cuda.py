"""Parity on CUDA: `CUDA_VISIBLE_DEVICES=0 pytest parity_tests/parity/test_parity_cuda.py` beside onnxruntime-gpu."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import helper
from parity_hand_made import info, model

from any2onnx.errors import UsageError
from any2onnx.parity import check_parity
from any2onnx.parity.providers import FLOAT32_OPTIONS, placement, resolved
from any2onnx.parity.runtime import OnnxSession, read_onnx

CUDA = "CUDAExecutionProvider"
WEIGHTS = np.random.default_rng(0).standard_normal((256, 8)).astype(np.float32)


def product():
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    return model(nodes, [info("x", ["batch", 256])], [info("y", ["batch", 8])], {"w": WEIGHTS})


def multiplied(x):
    return x @ WEIGHTS.astype(x.dtype)


@pytest.mark.provider(CUDA)
def test_a_product_keeps_full_precision_on_cuda():
    report = check_parity(multiplied, product(), providers=[CUDA], suites=["typical", "scaled", "boundary", "shape"])
    assert report.passed, report
    assert placement(read_onnx(product()), resolved([CUDA])[0]).count(own=True) >= 1


@pytest.mark.provider(CUDA)
def test_tf32_is_seen_where_it_is_asked_for():
    asked = [(CUDA, {"use_tf32": "1"})]
    strict = check_parity(multiplied, product(), providers=asked, suites="typical")
    loose = check_parity(multiplied, product(), providers=asked, suites="typical", budget=5e-3)
    assert loose.passed, loose
    # Processors before Ampere have no TF32: then both are the same.
    assert strict.passed or strict.worst.rel > 1e-5


def test_tf32_is_off_unless_asked_for(monkeypatch):
    import onnxruntime

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CUDA, "CPUExecutionProvider"])
    assert FLOAT32_OPTIONS[CUDA] == {"use_tf32": "0"}
    assert resolved([CUDA]) == [(CUDA, {"use_tf32": "0"})]
    assert resolved([(CUDA, {"use_tf32": "1", "device_id": "1"})]) == [(CUDA, {"use_tf32": "1", "device_id": "1"})]


def test_a_provider_that_does_not_start_is_an_error(monkeypatch):
    import onnxruntime

    real = onnxruntime.InferenceSession

    def fallen_back(payload, options, providers):
        # What onnxruntime-gpu does without a device: a warning, and a session on the CPU.
        return real(payload, options, providers=["CPUExecutionProvider"])

    monkeypatch.setattr(onnxruntime, "InferenceSession", fallen_back)
    with pytest.raises(UsageError, match="does not start here"):
        OnnxSession(read_onnx(product()), providers=[(CUDA, {"use_tf32": "0"})])
