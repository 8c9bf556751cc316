"""Recurrent layers and empty batches: onnxruntime's kernels would end the process; a guard raises, or an If answers."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import onnxruntime as ort
import pytest
from keras import layers
from keras_checks import TOLERANCE, randomize, session

from any2onnx import convert_keras

LAYERS: dict[str, Any] = {
    "lstm": lambda: layers.LSTM(4),
    "gru": lambda: layers.GRU(4, return_sequences=True),
    "both": lambda: layers.Bidirectional(layers.GRU(3)),
    "states": lambda: layers.LSTM(4, return_state=True),
    "stack": lambda: layers.RNN([layers.LSTMCell(3), layers.GRUCell(2)], return_sequences=True),
}


def model_of(name: str, *, batch: int | None = None, steps: int | None = None) -> Any:
    x = keras.Input(batch_shape=(batch, steps, 3), name="x")
    return randomize(keras.Model(x, LAYERS[name]()(x)))


def rows(batch: int, steps: int = 5) -> dict[str, Any]:
    return {"x": np.random.default_rng(batch).normal(size=(batch, steps, 3)).astype("float32")}


@pytest.mark.parametrize("name", LAYERS)
def test_an_empty_batch_raises_and_names_the_place(name: str) -> None:
    running = session(convert_keras(model_of(name)))
    with pytest.raises(ort.capi.onnxruntime_pybind11_state.Fail, match=r"onnxruntime_has_no_(LSTM|GRU)_of_empty"):
        running.run(None, rows(0))
    # The session is as good as before.
    assert running.run(None, rows(2))[0].shape[0] == 2


@pytest.mark.parametrize("name", LAYERS)
def test_by_option_an_empty_batch_has_an_empty_answer(name: str) -> None:
    model = model_of(name)
    running = session(convert_keras(model, options={"empty_batch": True}))
    for batch in (0, 1, 3):
        got = running.run(None, rows(batch))
        wanted = [np.asarray(y) for y in keras.tree.flatten(model(rows(batch)["x"]))] if batch else None
        for k, value in enumerate(got):
            assert value.shape[0] == batch
            if wanted is not None:
                np.testing.assert_allclose(value, wanted[k], rtol=0, atol=TOLERANCE)


def test_the_option_takes_a_mask() -> None:
    x = keras.Input((None, 3), name="x")
    model = randomize(keras.Model(x, layers.LSTM(4)(layers.Masking()(x))))
    running = session(convert_keras(model, options={"empty_batch": True}))
    assert running.run(None, rows(0))[0].shape == (0, 4)
    data = rows(3)
    data["x"][:, 2:] = 0
    np.testing.assert_allclose(running.run(None, data)[0], np.asarray(model(data["x"])), rtol=0, atol=TOLERANCE)


def test_a_known_batch_needs_no_guard() -> None:
    proto = convert_keras(model_of("gru", batch=2, steps=5))
    assert "Reshape" not in {node.op_type for node in proto.graph.node}


def test_a_sequence_without_steps_raises_for_gru() -> None:
    running = session(convert_keras(model_of("gru")))
    with pytest.raises(ort.capi.onnxruntime_pybind11_state.Fail, match="onnxruntime_has_no_GRU"):
        running.run(None, rows(2, steps=0))
