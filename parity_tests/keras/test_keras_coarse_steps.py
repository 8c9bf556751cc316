"""Steps larger than the sizes that a recording tries: windows with gaps, and dims that only look the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers, ops
from keras_checks import compare, numpy_of, session

from any2onnx import convert_keras
from any2onnx.errors import ExportFailed

KERNEL = np.random.default_rng(1).normal(size=(3, 2, 2)).astype("float32")
DEEP = np.random.default_rng(2).normal(size=(2, 2, 1)).astype("float32")
LENGTHS = (1, 3, 8, 59, 60, 61, 150, 200)


class Applied(layers.Layer):
    """A function, and then a Reshape by sizes: it shows what is taken for a fixed size."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        super().__init__()
        self.function = function

    def call(self, x: Any) -> Any:
        y = self.function(x)
        return ops.reshape(y, (ops.shape(y)[0], ops.shape(y)[2], ops.shape(y)[1]))

    def compute_output_spec(self, x: Any) -> Any:
        return keras.KerasTensor((x.shape[0], None, None))


CASES: dict[str, Callable[[Any], Any]] = {
    "conv": lambda x: ops.conv(x, KERNEL, 60, "same"),
    "conv with small gaps": lambda x: ops.conv(x, KERNEL, 7, "same"),
    "depthwise_conv": lambda x: ops.depthwise_conv(x, DEEP, 50, "same"),
    "max_pool": lambda x: ops.max_pool(x, 2, 40, "same"),
    "max_pool without gaps": lambda x: ops.max_pool(x, 40, 40, "same"),
    "average_pool": lambda x: ops.average_pool(x, 3, 40, "same"),
    "slice": lambda x: x[:, ::50],
    "slice behind an ellipsis": lambda x: x[..., ::50, :],
    "slice with a new axis": lambda x: x[:, None, ::50][:, 0],
    "arange": lambda x: x[:, :1] + ops.cast(ops.arange(0, ops.shape(x)[1], 50), "float32")[None, :, None],
    "far steps": lambda x: ops.max_pool(x, 3, 400, "same"),
}


@pytest.mark.parametrize("name", CASES)
def test_any_length(name: str) -> None:
    x = keras.Input((None, 2), name="x")
    model = keras.Model(x, Applied(CASES[name])(x))
    running = session(convert_keras(model))
    for length in LENGTHS:
        data = np.random.default_rng(length).normal(size=(2, length, 2)).astype("float32")
        compare(running.run(None, {"x": data}), numpy_of(model(data)))


def test_spectrogram_of_any_length() -> None:
    x = keras.Input((None, 1), name="x")
    made = layers.STFTSpectrogram(mode="imag", frame_length=150, frame_step=43, fft_length=512, padding="same")
    model = keras.Model(x, made(x))
    running = session(convert_keras(model))
    for length in (160, 2000):
        data = np.random.default_rng(length).normal(size=(2, length, 1)).astype("float32")
        compare(running.run(None, {"x": data}), numpy_of(model(data)))


def test_sounds_of_thousands_of_samples() -> None:
    x = keras.Input((None,), name="x")
    model = keras.Model(x, layers.MelSpectrogram(num_mel_bins=8, sampling_rate=8000, max_freq=4000)(x))
    running = session(convert_keras(model))
    for length in (4000, 6000):
        data = np.random.default_rng(length).normal(size=(2, length)).astype("float32")
        compare(running.run(None, {"x": data}), numpy_of(model(data)), 1e-4)


def test_steps_that_no_size_tells_are_refused() -> None:
    x = keras.Input((None, 2))
    with pytest.raises(ExportFailed, match="steps larger than the sizes that were tried"):
        convert_keras(keras.Model(x, Applied(lambda x: x[:, ::10_000])(x)))
