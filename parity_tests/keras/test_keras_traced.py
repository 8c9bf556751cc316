"""Layers that are converted by running their own code once: each of the table's, quantized and LoRA layers too."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import pytest
from keras import layers, ops
from keras_checks import check, converted, of_layer, op_types, randomize

from any2onnx.operator_mappings.registry import default_registry

CASES: dict[str, tuple[Callable[[], Any], tuple[int, ...], str]] = {
    "AutoContrast": (layers.AutoContrast, (4, 4, 3), "float32"),
    "ContrastLimitedAdaptiveHistogramEqualization": (
        lambda: layers.ContrastLimitedAdaptiveHistogramEqualization(value_range=(0, 1)),
        (16, 16, 3),
        "float32",
    ),
    "ConvLSTM1D": (lambda: layers.ConvLSTM1D(2, 3), (4, 6, 3), "float32"),
    "ConvLSTM2D": (lambda: layers.ConvLSTM2D(2, 3, return_sequences=True, padding="same"), (3, 5, 5, 2), "float32"),
    "ConvLSTM3D": (lambda: layers.ConvLSTM3D(2, 2), (3, 4, 4, 4, 2), "float32"),
    "Lambda": (lambda: layers.Lambda(lambda x: keras.ops.tanh(x) + 1), (4,), "float32"),
    "MaxNumBoundingBoxes": (lambda: layers.MaxNumBoundingBoxes(3), (5, 5, 3), "float32"),
    "MelSpectrogram": (
        lambda: layers.MelSpectrogram(
            fft_length=16, sequence_stride=8, sampling_rate=100, num_mel_bins=4, min_freq=1, max_freq=40
        ),
        (64,),
        "float32",
    ),
    "Pipeline": (lambda: layers.Pipeline([layers.Rescaling(2.0), layers.CenterCrop(3, 3)]), (5, 5, 3), "float32"),
    "ReversibleEmbedding": (lambda: layers.ReversibleEmbedding(5, 3), (4,), "int32"),
    "STFTSpectrogram": (
        lambda: layers.STFTSpectrogram(frame_length=16, frame_step=8, fft_length=16),
        (64, 1),
        "float32",
    ),
    "StackedRNNCells": (
        lambda: layers.RNN([layers.LSTMCell(3, activation="selu"), layers.GRUCell(2)], return_sequences=True),
        (4, 3),
        "float32",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_layer_by_its_own_code(name: str) -> None:
    build, shape, dtype = CASES[name]
    x = keras.Input(shape, dtype=dtype, name="x")
    model = keras.Model(x, build()(x))
    if "Spectrogram" not in name:  # their weights are tables
        randomize(model)
    check(model, batches=(2,))


@pytest.mark.parametrize("kind", ["LSTMCell", "GRUCell", "SimpleRNNCell"])
def test_cells(kind: str) -> None:
    x = keras.Input((3,))
    states = [keras.Input((4,)) for _ in range(2 if kind == "LSTMCell" else 1)]
    check(randomize(keras.Model([x, *states], getattr(layers, kind)(4)(x, states))), batches=(2,))


def test_group_query_attention() -> None:
    x = keras.Input((5, 6))
    check(randomize(keras.Model(x, layers.GroupQueryAttention(2, 4, 2)(x, x))), batches=(2,))


def test_attention_over_two_axes() -> None:
    x = keras.Input((3, 4, 6))
    check(randomize(keras.Model(x, layers.MultiHeadAttention(2, 3, attention_axes=(1, 2))(x, x))), batches=(2,))


def test_recurrent_layers_that_the_operators_do_not_have() -> None:
    for layer, shape in (
        (layers.GRU(3, activation="selu", return_sequences=True), (4, 3)),
        (layers.LSTM(3, activation="gelu"), (4, 3)),
    ):
        proto = check(of_layer(layer, shape), batches=(2,))
        assert {"Scan", "Loop"} & set(op_types(proto))


@pytest.mark.parametrize("mode", ["int8", "int4", "float8"])
def test_quantized(mode: str) -> None:
    x = keras.Input((8,))
    model = randomize(keras.Model(x, layers.Dense(4)(x)))
    model.quantize(mode)
    check(model, batches=(2,))


def test_lora() -> None:
    x = keras.Input((8,))
    dense = layers.Dense(4)
    model = keras.Model(x, dense(x))
    dense.enable_lora(2)
    check(randomize(model))


def test_training_inside_python_code_is_refused() -> None:
    class Always(layers.Layer):
        def __init__(self, **arguments: Any) -> None:
            super().__init__(**arguments)
            self.drop = layers.Dropout(0.5)

        def call(self, x: Any) -> Any:
            return self.drop(x, training=True)

    x = keras.Input((4,))
    with pytest.raises(Exception, match="training=True"):
        converted(keras.Model(x, Always()(x)))


def test_every_row_names_a_layer_of_keras_and_a_converter_that_exists() -> None:
    for row in default_registry().rows("keras"):
        if row.key.startswith("keras.layers."):
            assert hasattr(layers, row.key.removeprefix("keras.layers.")), row.key
            assert row.refused or callable(row.converter_function())
            assert row.refused or row.shape_function() is None or callable(row.shape_function())


def test_layers_without_a_row_are_few() -> None:
    registry = default_registry()
    names = {
        f"keras.layers.{name}"
        for name in dir(layers)
        if isinstance(getattr(layers, name), type) and issubclass(getattr(layers, name), layers.Layer)
    }
    from any2onnx.converters.keras.calls import key_of

    keys = {key_of(getattr(layers, name.removeprefix("keras.layers."))) for name in names}
    missing = sorted(key for key in keys if not registry.knows("keras", key))
    assert missing == [
        "keras.Layer",
        "keras.layers.InputLayer",
        "keras.layers.Wrapper",
    ]


class _AsksForTheBackend(layers.Layer):
    """Has a way of its own for the loaded backend, as layers of KerasHub have."""

    def call(self, x: Any) -> Any:
        if keras.config.backend() == "tensorflow":
            import tensorflow as tf

            return tf.linalg.band_part(x, 0, -1)
        return ops.triu(x)


def test_code_for_one_backend_is_asked_for_its_way_under_others() -> None:
    check(of_layer(_AsksForTheBackend(), (4, 4)))
    assert keras.config.backend() == keras.backend.backend()


class _Compares(layers.Layer):
    def call(self, x: Any) -> Any:
        position = ops.arange(4.0)
        shown = [position < x, position >= x, ops.equal(position, x), (x > 0) * (x < 1)]
        return ops.concatenate([ops.cast(v, "float32") for v in shown], axis=-1)


def test_constants_on_the_left_of_comparisons() -> None:
    check(of_layer(_Compares(), (4,)))
