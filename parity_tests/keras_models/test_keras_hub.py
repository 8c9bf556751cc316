"""Backbones of KerasHub: text, vision and speech, at several batches and lengths."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import onnxruntime as ort
import pytest
from hub_models import OTHER, TEXT, VISION, WITH_TENSORFLOW, Array, Backbone

from any2onnx import convert_keras

TOLERANCE = 1e-5
BACKBONES = [*TEXT, *VISION, *OTHER, *WITH_TENSORFLOW]
pytestmark = [pytest.mark.slow, pytest.mark.architectures]


def _flat(outputs: Any) -> dict[str, Array] | list[Array]:
    if isinstance(outputs, Mapping):
        return {str(key): np.asarray(value) for key, value in outputs.items()}
    return [np.asarray(value) for value in keras.tree.flatten(outputs)]


@pytest.mark.parametrize("backbone", BACKBONES, ids=lambda b: b.name)
def test_backbone(backbone: Backbone) -> None:
    pytest.importorskip("keras_hub")
    model = backbone.build()
    proto = convert_keras(model)
    session = ort.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    wanted_names = [output.name for output in session.get_outputs()]
    for batch in (1, 3):
        for length in backbone.lengths if any(None in t.shape[1:] for t in model.inputs) else (0,):
            feeds = backbone.feeds(model, batch, length if len(model.inputs[0].shape) < 4 else 32 + length)
            got = session.run(None, feeds)
            expected = _flat(model(feeds if len(feeds) > 1 else next(iter(feeds.values())), training=False))
            pairs = expected.items() if isinstance(expected, dict) else zip(wanted_names, expected, strict=True)
            found = dict(zip(wanted_names, got, strict=True))
            for name, value in pairs:
                assert found[name].shape == value.shape
                assert found[name].dtype == value.dtype
                assert np.abs(found[name] - value).max() <= TOLERANCE * np.abs(value).max(), name
