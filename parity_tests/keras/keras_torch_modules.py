"""Run as a program under the PyTorch backend: models with torch modules inside. test_keras_backends.py starts it."""

from __future__ import annotations

import json
from typing import Any

import keras
import numpy as np
import torch
from keras import layers
from keras_checks import check, compare, converted, numpy_of, session


class Two(torch.nn.Module):
    """Two inputs and a number."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(4, 3)
        self.norm = torch.nn.BatchNorm1d(3)

    def forward(self, x: Any, y: Any, scale: float = 1.0) -> Any:
        z = self.norm(self.linear(x)) * scale
        return torch.relu(z) + y


class Both(torch.nn.Module):
    """Two outputs, the later name first."""

    def forward(self, x: Any) -> Any:
        return {"b": torch.exp(x), "a": torch.relu(x)}


def functional() -> None:
    x, y = keras.Input((4,), name="x"), keras.Input((3,), name="y")
    found = layers.TorchModuleWrapper(Two(), output_shape=(None, 3))(layers.Dense(4)(x), y, scale=2.0)
    check(keras.Model([x, y], [found, layers.Dense(2)(found)]))


def images() -> None:
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU(), torch.nn.Dropout(0.5))
    x = keras.Input((3, None, None), name="x")
    y = layers.TorchModuleWrapper(network, output_shape=(None, 4, None, None))(x)
    check(keras.Model(x, layers.GlobalAveragePooling2D(data_format="channels_first")(y)), sizes=(9, 8))


def sequence() -> None:
    x = keras.Input((None, 4), name="x")
    encoder = torch.nn.TransformerEncoderLayer(4, 2, 8, batch_first=True)
    check(keras.Model(x, layers.TorchModuleWrapper(encoder, output_shape=(None, None, 4))(x)), sizes=(6,))


class Subclassed(keras.Model):
    """A torch module inside Python code."""

    def __init__(self) -> None:
        super().__init__()
        self.first = layers.TorchModuleWrapper(torch.nn.Linear(4, 3))
        self.both = layers.TorchModuleWrapper(Both())
        self.second = layers.Dense(2)

    def call(self, x: Any) -> Any:
        found = self.both(keras.ops.tanh(self.first(x)))
        return self.second(found["a"] - 2.0 * found["b"])


def subclassed() -> None:
    model = Subclassed()
    data = np.random.default_rng(0).normal(size=(5, 4)).astype("float32")
    wanted = numpy_of(model(data, training=False))
    running = session(converted(model))
    (value,) = running.run(None, {running.get_inputs()[0].name: data})
    compare([value], wanted)


def main() -> None:
    done = []
    for check_one in (functional, images, sequence, subclassed):
        torch.manual_seed(0)
        check_one()
        done.append(check_one.__name__)
    print(json.dumps({"done": done}))


if __name__ == "__main__":
    main()
