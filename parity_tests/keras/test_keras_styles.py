"""Every way of writing a model that model_styles.py knows: under TensorFlow and PyTorch, other backends by marker."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers, ops
from keras_checks import compare, randomize, session
from model_styles import REFUSED_BY_KERAS, STYLES, run_style
from test_keras_backends import report

from any2onnx import convert_keras
from any2onnx.errors import ExportFailed, InvalidType, NotFitted

_HERE = REFUSED_BY_KERAS.get(keras.backend.backend(), frozenset())


@pytest.mark.parametrize("name", [name for name in STYLES if name not in _HERE])
def test_style(name: str) -> None:
    run_style(name)


def _under(backend: str) -> None:
    done = report(backend, "model_styles.py")
    assert done["styles"] >= 70
    assert done["failures"] == {}


@pytest.mark.keras_backend
def test_styles_under_torch() -> None:
    _under("torch")


@pytest.mark.keras_backend
@pytest.mark.slow
@pytest.mark.parametrize("backend", ["jax", "numpy"])
def test_styles_under(backend: str) -> None:
    _under(backend)


def test_saved_under_one_backend_and_converted_under_another(tmp_path: Path) -> None:
    # The file is written by a process of its own.
    import os
    import subprocess
    import sys

    program = (
        "import sys, keras, numpy as np\n"
        "from keras import layers\n"
        "keras.utils.set_random_seed(0)\n"
        "x = keras.Input((6, 6, 3), name='image')\n"
        "y = layers.Conv2D(4, 3, strides=2, padding='same', activation='gelu')(x)\n"
        "y = layers.LayerNormalization()(layers.BatchNormalization()(y))\n"
        "model = keras.Model(x, layers.Dense(2)(layers.Flatten()(y)))\n"
        "model.save(sys.argv[1])\n"
        "data = np.random.default_rng(0).normal(size=(3, 6, 6, 3)).astype('float32')\n"
        "np.save(sys.argv[2], keras.ops.convert_to_numpy(model(data, training=False)))\n"
    )
    saved, answers = tmp_path / "m.keras", tmp_path / "answers.npy"
    other = "numpy" if keras.backend.backend() != "numpy" else "tensorflow"
    done = subprocess.run(
        [sys.executable, "-c", program, str(saved), str(answers)],
        env={**os.environ, "KERAS_BACKEND": other},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    proto = convert_keras(keras.saving.load_model(saved))
    data = np.random.default_rng(0).normal(size=(3, 6, 6, 3)).astype("float32")
    compare(session(proto).run(None, {"image": data}), [np.load(answers)])


# --- what cannot be converted, by name -------------------------------------------------------------------------------


class _Two(keras.Model):
    def call(self, a: Any, b: Any) -> Any:
        return a - b


class _Decides(layers.Layer):
    def call(self, x: Any) -> Any:
        return x if float(ops.sum(x)) > 0 else -x

    def compute_output_spec(self, x: Any) -> Any:
        return keras.KerasTensor(x.shape)


class _Counts(layers.Layer):
    def call(self, x: Any) -> Any:
        total = x[:, 0]
        for k in range(1, x.shape[1]):
            total = total + x[:, k]
        return total

    def compute_output_spec(self, x: Any) -> Any:
        return keras.KerasTensor((x.shape[0], x.shape[2]))


def _of(layer: Any, shape: tuple[int | None, ...]) -> Any:
    x = keras.Input(shape)
    return keras.Model(x, layer(x))


def _two() -> Any:
    model = _Two()
    model(np.zeros((2, 3), "float32"), np.zeros((2, 3), "float32"))
    return model


def _ragged() -> Any:
    x = keras.Input((None, 3), ragged=True, name="rows")
    return keras.Model(x, layers.Lambda(lambda t: t * 2, output_shape=(None, 3))(x))


REFUSED: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "arguments of unknown shape": (_two, NotFitted, "takes a, b, and Keras keeps the shape of the first one only"),
    "numbers of a tensor in Python": (lambda: _of(_Decides(), (3,)), ExportFailed, "asked for the number in a tensor"),
    "a Python loop over a size": (lambda: _of(_Counts(), (None, 3)), ExportFailed, "depends on the size of a dynamic"),
    "a ragged input": (_ragged, InvalidType, "'rows' is ragged"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_by_name(name: str) -> None:
    build, error, message = REFUSED[name]
    with pytest.raises(error, match=message):
        convert_keras(build())


def test_spectrograms_and_equalization_of_sensible_inputs() -> None:
    x = keras.Input((800,), name="x")
    mel = layers.MelSpectrogram(fft_length=256, sequence_stride=64, num_mel_bins=16, sampling_rate=8000, max_freq=4000)
    sound = keras.Model(x, mel(x))
    data = np.random.default_rng(0).normal(size=(2, 800)).astype("float32")
    compare(session(convert_keras(sound)).run(None, {"x": data}), [np.asarray(ops.convert_to_numpy(sound(data)))], 1e-4)
    image = keras.Input((24, 24, 3), name="image")
    equal = layers.ContrastLimitedAdaptiveHistogramEqualization(value_range=(0, 255), tile_grid_size=(2, 2))
    model = randomize(keras.Model(image, equal(image, training=False)))
    pictures = np.random.default_rng(1).uniform(0, 255, (2, 24, 24, 3)).astype("float32")
    wanted = [np.asarray(ops.convert_to_numpy(model(pictures, training=False)))]
    compare(session(convert_keras(model)).run(None, {"image": pictures}), wanted)
