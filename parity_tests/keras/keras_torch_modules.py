"""Run as a program under the PyTorch backend: models with torch modules inside. test_keras_backends.py starts it."""

from __future__ import annotations

import json
from typing import Any

import keras
import numpy as np
import pytest
import torch
from keras import layers
from keras_checks import check, compare, converted, numpy_of, of_layer, session

from any2onnx.errors import ExportFailed


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


class Native(layers.Layer):
    """A layer in PyTorch's own functions and methods, as users of that backend write them."""

    def build(self, shape: Any) -> None:
        self.kernel = self.add_weight(shape=(shape[-1], 3))
        self.dense = layers.Dense(3)
        self.dense.build((None, None, 3))

    def call(self, x: Any, training: bool = False) -> Any:
        y = torch.einsum("btc,cd->btd", x, self.kernel.value)
        y = torch.nn.functional.gelu(y) + y.mean(dim=1, keepdim=True)
        return self.dense(y) if not training else y


def native() -> None:
    check(of_layer(Native(), (None, 4)), sizes=(6,))


class Joined(keras.Model):
    """Nested arguments and results."""

    def call(self, inputs: Any) -> Any:
        whole = torch.cat([inputs["a"], inputs["b"]], -1).softmax(-1)
        return {"z": whole.amax(-1), "y": whole}


def native_model() -> None:
    model = Joined()
    data = {name: np.random.default_rng(k).normal(size=(3, 4)).astype("float32") for k, name in enumerate("ab")}
    wanted = numpy_of(model(data, training=False))
    running = session(converted(model))
    compare(running.run(None, data), wanted)


class Foreign(layers.Layer):
    """Asks a function of another framework, or for the numbers in a tensor."""

    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function = function

    def call(self, x: Any) -> Any:
        return self.function(x)

    def compute_output_spec(self, x: Any) -> Any:
        return keras.KerasTensor(x.shape, x.dtype)


def refused() -> None:
    import tensorflow as tf

    for function, words in (
        (tf.nn.relu, r"a function of TensorFlow \(Keras runs on torch here\) got a tensor of the model"),
        (lambda x: x * float(x.sum()), "the model cannot be traced: AttributeError"),
        (np.mean, "a function of numpy got a tensor of the model"),
    ):
        with pytest.raises(ExportFailed, match=words) as caught:
            converted(of_layer(Foreign(function), (4,)))
        assert "keras_torch_modules.py" in str(caught.value)


def main() -> None:
    done = []
    for check_one in (functional, images, sequence, subclassed, native, native_model, refused):
        torch.manual_seed(0)
        check_one()
        done.append(check_one.__name__)
    print(json.dumps({"done": done}))


if __name__ == "__main__":
    main()
