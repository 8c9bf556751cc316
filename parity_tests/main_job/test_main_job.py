"""The main job on real input: the demo's models, at every opset, in every process and thread the same."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from any2onnx import FloatTensorType, check_parity, convert_keras, convert_pytorch, convert_sklearn, to_onnx
from any2onnx.demo import models
from any2onnx.graph.opsets import FLOOR, ceiling

SCORES = [
    17.04289179,
    33.51695377,
    74.21757747,
    26.73351648,
    59.68164043,
    39.33132858,
    20.91914167,
    78.09382734,
    69.37226512,
]
OPSETS = list(range(FLOOR, ceiling() + 1))


def run(proto: onnx.ModelProto, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
    session = ort.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, feeds)


@functools.cache
def fitted(name: str) -> Any:
    return getattr(models, name)()


# --- each model at a chosen opset, with rows to try -------------------------------------------------------------------


def scores(opset: int | None) -> onnx.ModelProto:
    types = [("float_input", FloatTensorType([None, 1]))]
    return convert_sklearn(fitted("score_regression"), initial_types=types, target_opset=opset)


def wines(opset: int | None) -> onnx.ModelProto:
    return to_onnx(fitted("mixed_pipeline"), models.mixed_frame()[0].head(), target_opset=opset)


def wines_float32(opset: int | None) -> onnx.ModelProto:
    frame = models.mixed_frame()[0].head()
    return to_onnx(
        fitted("mixed_pipeline"), frame.astype(dict.fromkeys(frame.columns[:4], np.float32)), target_opset=opset
    )


def digits(opset: int | None) -> onnx.ModelProto:
    images, _ = models.digit_images()
    import torch

    shapes = {"x": {0: torch.export.Dim("batch")}}
    return convert_pytorch(fitted("torch_resnet"), (images[:2],), dynamic_shapes=shapes, target_opset=opset)


def small_cnn(opset: int | None) -> onnx.ModelProto:
    return convert_keras(fitted("keras_small_cnn"), "small_cnn", target_opset=opset)


MODELS: dict[str, Callable[[int | None], onnx.ModelProto]] = {
    "scores": scores,
    "wines": wines,
    "wines_float32": wines_float32,
    "digits": digits,
    "small_cnn": small_cnn,
}


def feeds_and_expected(name: str) -> tuple[dict[str, np.ndarray], list[np.ndarray]]:
    if name == "scores":
        X = models.score_data()[1].astype(np.float32)
        return {"float_input": X}, [fitted("score_regression").predict(X).reshape(-1, 1)]
    if name == "wines":
        frame = models.mixed_frame()[0][1::2]
        pipeline = fitted("mixed_pipeline")
        return {c: frame[[c]].to_numpy() for c in frame}, [pipeline.predict(frame), pipeline.predict_proba(frame)]
    if name == "wines_float32":
        # Float32 rows get what scikit-learn computes in float64 for exactly these points.
        frame = models.mixed_frame()[0][1::2]
        single = frame.astype(dict.fromkeys(frame.columns[:4], np.float32))
        columns = {c: single[[c]].to_numpy() for c in single}
        points = single.astype(dict.fromkeys(frame.columns[:4], np.float64))
        pipeline = fitted("mixed_pipeline")
        return columns, [pipeline.predict(points), pipeline.predict_proba(points)]
    if name == "digits":
        images = models.digit_images()[0][1000:1017]
        import torch

        with torch.no_grad():
            return {"x": images.numpy()}, [fitted("torch_resnet")(images).numpy()]
    images = np.random.default_rng(1).random((5, 16, 16, 3), np.float32)
    return {"image": images}, [np.asarray(fitted("keras_small_cnn").predict(images, verbose=0))]


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("opset", OPSETS)
def test_every_opset_checks_and_runs(name: str, opset: int) -> None:
    proto = MODELS[name](opset)
    onnx.checker.check_model(proto, full_check=True)
    assert {o.domain: o.version for o in proto.opset_import}[""] == opset
    feeds, expected = feeds_and_expected(name)
    got = run(proto, feeds)
    assert len(got) == len(expected)
    for mine, theirs in zip(got, expected, strict=True):
        assert mine.shape == theirs.shape
        if theirs.dtype.kind in "OU":
            np.testing.assert_array_equal(mine, theirs)
        else:
            # Float64 columns give float64 where trees can: ai.onnx.ml 5 came with opset 21.
            wide = name == "wines"
            assert mine.dtype == (np.float64 if wide else np.float32)
            ulp = np.finfo(np.float64 if wide and opset >= 21 else np.float32).eps
            assert np.max(np.abs(mine - theirs)) <= 16 * ulp * np.max(np.abs(theirs))


# --- scikit-learn -----------------------------------------------------------------------------------------------------


def test_scores_are_the_ones_of_scikit_learn() -> None:
    X = models.score_data()[1]
    np.testing.assert_allclose(fitted("score_regression").predict(X), SCORES, atol=5e-9)
    by_sample = to_onnx(fitted("score_regression"), models.score_data()[0][:1].astype(np.float32))
    for proto, name in ((scores(None), "float_input"), (by_sample, "X")):
        (got,) = run(proto, {name: X.astype(np.float32)})
        assert got.dtype == np.float32
        assert got.shape == (9, 1)
        np.testing.assert_array_max_ulp(got.ravel(), np.array(SCORES, np.float32), maxulp=2)
    wide = to_onnx(fitted("score_regression"), X[:1])
    (got,) = run(wide, {"X": X})
    assert got.dtype == np.float64
    np.testing.assert_allclose(got.ravel(), fitted("score_regression").predict(X), rtol=1e-15)


def test_mixed_columns_pass_every_suite() -> None:
    frame, _ = models.mixed_frame()
    report = check_parity(fitted("mixed_pipeline"), wines(None), frame[1::2])
    assert report.passed, str(report)
    assert [i.name for i in wines(None).graph.input] == list(frame.columns)


# --- Keras ------------------------------------------------------------------------------------------------------------


def test_resnet50() -> None:
    model = fitted("keras_resnet50")
    proto = convert_keras(model, model.name)
    onnx.checker.check_model(proto, full_check=True)
    operators = [node.op_type for node in proto.graph.node]
    assert operators.count("Transpose") <= 1
    assert operators.count("BatchNormalization") == 0
    assert proto.graph.name == "resnet50"
    assert proto.graph.input[0].type.tensor_type.shape.dim[0].dim_param
    session = ort.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    for batch in (1, 2):
        images = np.random.default_rng(batch).random((batch, 224, 224, 3), np.float32)
        (got,) = session.run(None, {session.get_inputs()[0].name: images})
        expected = np.asarray(model.predict(images, verbose=0))
        assert np.max(np.abs(got - expected)) <= 1e-5 * np.max(np.abs(expected))


@pytest.mark.slow
@pytest.mark.parametrize("opset", OPSETS)
def test_resnet50_at_every_opset(opset: int) -> None:
    model = fitted("keras_resnet50")
    proto = convert_keras(model, model.name, target_opset=opset)
    onnx.checker.check_model(proto, full_check=True)
    images = np.random.default_rng(0).random((1, 224, 224, 3), np.float32)
    (got,) = run(proto, {proto.graph.input[0].name: images})
    expected = np.asarray(model.predict(images, verbose=0))
    assert np.max(np.abs(got - expected)) <= 1e-5 * np.max(np.abs(expected))


@pytest.mark.parametrize("opset", [FLOOR, ceiling()])
def test_resnet50_at_the_first_and_the_last_opset(opset: int) -> None:
    test_resnet50_at_every_opset(opset)


# --- PyTorch ----------------------------------------------------------------------------------------------------------


def test_torch_resnet_passes_every_suite() -> None:
    images = models.digit_images()[0][1000:1064]
    report = check_parity(fitted("torch_resnet"), digits(None), images.numpy())
    assert report.passed, str(report)
    operators = [node.op_type for node in digits(None).graph.node]
    assert operators.count("BatchNormalization") == 0


# --- the same bytes everywhere ----------------------------------------------------------------------------------------


def digest(proto: onnx.ModelProto) -> str:
    return hashlib.sha256(proto.SerializeToString(deterministic=True)).hexdigest()


CHILD = """
import json, sys
sys.path.insert(0, {folder!r})
import test_main_job as t
print(json.dumps({{name: t.digest(t.MODELS[name](None)) for name in {names!r}}}))
"""


@pytest.mark.parametrize("name", MODELS)
def test_two_processes_with_different_hash_seeds_give_the_same_bytes(name: str, tmp_path) -> None:
    digests = []
    for seed in ("0", "4711"):
        code = CHILD.format(folder=os.path.dirname(__file__), names=[name])
        done = subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=True,
        )
        digests.append(json.loads(done.stdout.splitlines()[-1])[name])
    assert digests[0] == digests[1]


def test_eight_threads_give_the_same_bytes_as_one() -> None:
    alone = {name: digest(build(None)) for name, build in MODELS.items()}
    jobs = [name for name in MODELS for _ in range(6)]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda name: digest(MODELS[name](None)), jobs))
    assert [alone[name] for name in jobs] == together
