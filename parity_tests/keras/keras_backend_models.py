"""Run as a program under one Keras backend: converts a few models, checks them, prints a digest of each.

Imported by nothing; test_keras_backends.py starts it once per backend.
"""

from __future__ import annotations

import hashlib
import json
import sys
from typing import Any

import keras
import numpy as np
from keras import layers, ops
from keras_checks import check, randomize


def convolutional() -> Any:
    x = keras.Input((8, 8, 3), name="image")
    y = layers.Conv2D(4, 3, strides=2, padding="same", activation="relu", name="conv")(x)
    y = layers.BatchNormalization(name="norm")(y)
    y = layers.DepthwiseConv2D(3, padding="same", name="depthwise")(y)
    y = layers.Conv2DTranspose(3, 3, strides=2, padding="same", name="up")(y)
    y = layers.GlobalAveragePooling2D(name="pool")(y)
    return keras.Model(x, layers.Dense(3, name="out")(y), name="convolutional")


def recurrent() -> Any:
    x = keras.Input((None,), dtype="int32", name="tokens")
    y = layers.Embedding(7, 4, mask_zero=True, name="embed")(x)
    y = layers.Bidirectional(layers.LSTM(3, return_sequences=True, name="lstm"), name="both")(y)
    y = layers.GRU(3, name="gru")(y)
    return keras.Model(x, layers.Dense(2, activation="gelu", name="out")(y), name="recurrent")


def transformer() -> Any:
    x = keras.Input((5, 6), name="x")
    y = layers.MultiHeadAttention(2, 3, name="attention")(x, x)
    y = layers.LayerNormalization(name="norm")(layers.Add(name="sum")([x, y]))
    return keras.Model(x, layers.Dense(4, activation="silu", name="out")(y), name="transformer")


class Custom(layers.Layer):
    """Comes apart into backend functions."""

    def build(self, shape: Any) -> None:
        self.scale = self.add_weight(shape=(shape[-1],), name="scale")

    def call(self, x: Any) -> Any:
        y = ops.tanh(x * self.scale) + ops.mean(x, axis=-1, keepdims=True)
        return ops.concatenate([y, ops.softmax(x, axis=-1)], axis=-1)


def custom() -> Any:
    x = keras.Input((4,), name="x")
    return keras.Model(x, Custom(name="custom")(x), name="custom_model")


def main() -> None:
    digests = {}
    for build in (convolutional, recurrent, transformer, custom):
        proto = check(randomize(build()), sizes=(4,), batches=(2,))
        digests[build.__name__] = hashlib.sha256(proto.SerializeToString(deterministic=True)).hexdigest()
    print(json.dumps({"backend": keras.backend.backend(), "numpy": np.__version__, "digests": digests}))


if __name__ == "__main__":
    sys.exit(main())
