"""Every family of keras.applications: the same numbers as Keras, one Transpose at most, any batch, any size."""

from __future__ import annotations

from collections import Counter
from typing import Any

import keras
import numpy as np
import onnx
import onnxruntime as ort
import pytest
from application_models import APPLICATIONS, Application, Array, images, in_float64

from any2onnx import convert_keras

TOLERANCE = 1e-5
# Scaled to what a network of the name expects: most have no rescaling of their own.
_RAW = ("ConvNeXt", "EfficientNet", "MobileNetV3")


def _parameters(*, fast: bool | None = None) -> list[Any]:
    chosen = [a for a in APPLICATIONS if fast is None or a.fast == fast]
    return [pytest.param(a, id=a.name, marks=() if a.fast else pytest.mark.slow) for a in chosen]


def _example(application: Application, batch: int, *size: int) -> Array:
    x = images(batch, *size)
    return x if application.name.startswith(_RAW) else x / np.float32(127.5) - np.float32(1)


def _session(proto: onnx.ModelProto) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    return ort.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])


def _error(got: Array, wanted: Array) -> float:
    assert got.shape == wanted.shape
    return float(np.abs(got - wanted).max() / max(np.abs(wanted).max(), 1e-3))


@pytest.mark.parametrize("application", _parameters())
def test_family(application: Application) -> None:
    model = application.build()
    proto = convert_keras(model)
    counts = Counter(node.op_type for node in proto.graph.node)
    assert counts["Transpose"] <= application.transposes
    assert counts["BatchNormalization"] <= _unfolded(application.name)
    session = _session(proto)
    for batch in (1, 2, 5):
        x = _example(application, batch, application.size, application.size)
        (got,) = session.run(None, {session.get_inputs()[0].name: x})
        wanted = np.asarray(model(x, training=False))
        if _error(got, wanted) > TOLERANCE:
            _judge_by_float64(application, model, x, got, wanted)


def _judge_by_float64(application: Application, model: Any, x: Array, got: Array, wanted: Array) -> None:
    """Where float32 itself is that far off, the converted network must be as near to float64 as Keras is."""
    wide = in_float64(model, application.build)
    exact = np.asarray(wide(x.astype(np.float64), training=False))
    assert _error(got, exact) <= 2 * _error(wanted, exact) + TOLERANCE / 10


def _unfolded(name: str) -> int:
    """How many BatchNormalizations stand behind a sum or a Concat, where no convolution can take them."""
    known = {"ResNet50V2": 17, "DenseNet121": 62, "NASNetMobile": 4, "ConvNeXtTiny": 1}
    return known.get(name, 0)


@pytest.mark.parametrize("application", [p for p in _parameters() if p.values[0].free])
def test_without_a_fixed_size(application: Application) -> None:
    model = application.build(input_shape=(None, None, 3), include_top=False, pooling="avg")
    proto = convert_keras(model)
    session = _session(proto)
    assert application.free is not None
    for batch, size in zip((1, 3), application.free, strict=True):
        x = _example(application, batch, *size)
        (got,) = session.run(None, {session.get_inputs()[0].name: x})
        wanted = np.asarray(model(x, training=False))
        if _error(got, wanted) > TOLERANCE:
            _judge_free(application, model, x, got, wanted)


def _judge_free(application: Application, model: Any, x: Array, got: Array, wanted: Array) -> None:
    wide = in_float64(model, lambda: application.build(input_shape=(None, None, 3), include_top=False, pooling="avg"))
    exact = np.asarray(wide(x.astype(np.float64), training=False))
    assert _error(got, exact) <= 2 * _error(wanted, exact) + TOLERANCE / 10


@pytest.mark.parametrize("name", ["MobileNetV2", "MobileNetV3Small"])
def test_no_transpose_with_channels_first_images(name: str) -> None:
    application = next(a for a in APPLICATIONS if a.name == name)
    model = application.build()
    proto = convert_keras(model, inputs_as_nchw=[model.inputs[0].name])
    assert not any(node.op_type == "Transpose" for node in proto.graph.node)
    x = _example(application, 2, application.size, application.size)
    session = _session(proto)
    (got,) = session.run(None, {session.get_inputs()[0].name: np.ascontiguousarray(x.transpose(0, 3, 1, 2))})
    assert _error(got, np.asarray(model(x, training=False))) <= TOLERANCE


def test_every_family_is_here() -> None:
    known = {a.name for a in APPLICATIONS}
    # Of EfficientNet, B and V2 are families of their own; Small and Large of MobileNetV3, the sizes of the others not.
    prefixes = ["ConvNeXt", "DenseNet", "EfficientNetB", "EfficientNetV2", "InceptionResNetV2", "InceptionV3"]
    prefixes += ["MobileNet", "MobileNetV2", "MobileNetV3", "NASNet", "ResNet", "VGG", "Xception"]
    offered = [n for n in dir(keras.applications) if n[0].isupper() and callable(getattr(keras.applications, n))]
    for name in offered:
        assert any(name.startswith(prefix) for prefix in prefixes), f"{name}: a family without a test"
    for prefix in prefixes:
        assert any(name.startswith(prefix) for name in known), prefix
