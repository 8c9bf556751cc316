"""What `model.export(format="onnx")` is for: every kind of model and of input structure, through `convert_keras`.

The cases are those that Keras tries its own exporter on, and those that it has to skip under some backends.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import onnx
import pytest
from keras import layers, ops
from keras_checks import Array, compare, numpy_of, randomize, session

from any2onnx import convert_keras


class Stack(keras.Model):
    """Layers one after another, in Python."""

    def __init__(self, parts: list[Any]) -> None:
        super().__init__()
        self.parts = parts

    def call(self, x: Any) -> Any:
        for part in self.parts:
            x = part(x)
        return x


@keras.saving.register_keras_serializable("any2onnx_tests")
class OfTuple(keras.Model):
    """Takes a pair apart."""

    def call(self, inputs: Any) -> Any:
        x, y = inputs
        return ops.subtract(x, y)


@keras.saving.register_keras_serializable("any2onnx_tests")
class OfArray(keras.Model):
    """Takes a list by position."""

    def call(self, inputs: Any) -> Any:
        return ops.subtract(inputs[0], inputs[1])


@keras.saving.register_keras_serializable("any2onnx_tests")
class OfDict(keras.Model):
    """Takes a dict by key."""

    def call(self, inputs: Any) -> Any:
        return ops.subtract(inputs["x"], inputs["y"])


class OfTwo(keras.Model):
    """Takes two arguments, and is built for them."""

    def call(self, x: Any, y: Any) -> Any:
        return x - y

    def build(self, y_shape: Any, x_shape: Any) -> None:
        self.built = True


def parts() -> list[Any]:
    return [layers.Dense(10, activation="relu"), layers.BatchNormalization(), layers.Dense(1, activation="sigmoid")]


def model_of(style: str, shape: tuple[int | None, ...], stack: list[Any]) -> Any:
    if style == "sequential":
        return keras.Sequential([layers.Input(shape), *stack])
    if style == "functional":
        x = layers.Input(shape)
        y = x
        for part in stack:
            y = part(y)
        return keras.Model(x, y)
    return Stack(stack)


def normal(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def run(proto: onnx.ModelProto, data: list[Array]) -> list[Array]:
    """Feed by position, as callers of `export` do."""
    running = session(proto)
    names = [value.name for value in running.get_inputs()]
    return list(running.run(None, dict(zip(names, data, strict=True))))


@pytest.mark.parametrize("style", ["sequential", "deferred", "functional", "subclass", "lstm"])
def test_kinds_of_models(style: str) -> None:
    if style == "lstm":
        x = layers.Input((4, 10))
        y = layers.Bidirectional(layers.LSTM(10, return_sequences=True), merge_mode="sum")(x)
        model = keras.Model(x, layers.Bidirectional(layers.LSTM(10, return_sequences=True), merge_mode="concat")(y))
        shape: tuple[int, ...] = (4, 10)
    else:
        model = keras.Sequential(parts()) if style == "deferred" else model_of(style, (10,), parts())
        shape = (10,)
    model(normal(3, *shape))
    randomize(model)
    proto = convert_keras(model, model.name)
    for batch in (3, 6, 1):
        data = normal(batch, *shape, seed=batch)
        compare(run(proto, [data]), numpy_of(model(data)))


@pytest.mark.parametrize("kind", ["tuple", "array", "dict"])
def test_structures_of_inputs(kind: str, tmp_path: Path) -> None:
    def packed(x: Array, y: Array) -> Any:
        return {"tuple": (x, y), "array": [x, y], "dict": {"x": x, "y": y}}[kind]

    model = {"tuple": OfTuple, "array": OfArray, "dict": OfDict}[kind]()
    first, second = normal(3, 10), normal(3, 10, seed=1)
    wanted = numpy_of(model(keras.tree.map_structure(ops.convert_to_tensor, packed(first, second))))
    proto = convert_keras(model, model.name)
    compare(run(proto, [first, second]), wanted)
    if kind == "dict":
        assert [value.name for value in proto.graph.input] == ["x", "y"]
    # Saved, and loaded again.
    path = str(tmp_path / "model.keras")
    model.save(path)
    revived = keras.saving.load_model(path)
    revived(keras.tree.map_structure(ops.convert_to_tensor, packed(first, second)))
    again = convert_keras(revived, revived.name)
    compare(run(again, [first, second]), wanted)
    doubled = [np.concatenate([part, part]) for part in (first, second)]
    compare(run(again, doubled), [np.concatenate([wanted[0], wanted[0]])])


def test_several_arguments() -> None:
    model = OfTwo()
    x, y = normal(3, 10), normal(3, 10, seed=1)
    wanted = numpy_of(model(x, y))
    proto = convert_keras(model, model.name)
    compare(run(proto, [x, y]), wanted)
    compare(run(proto, [np.concatenate([x, x]), np.concatenate([y, y])]), [np.concatenate([wanted[0], wanted[0]])])


@pytest.mark.parametrize("opset", [None, 13, 17, 28])
def test_opset_version(opset: int | None) -> None:
    model = randomize(model_of("sequential", (10,), parts()))
    proto = convert_keras(model, model.name, target_opset=opset)
    if opset is not None:
        assert proto.opset_import[0].version == opset
    data = normal(3, 10)
    compare(run(proto, [data]), numpy_of(model(data)))


@pytest.mark.parametrize("style", ["sequential", "functional", "subclass"])
def test_input_signature_names_and_fixes(style: str) -> None:
    model = model_of(style, (10,), parts())
    data = normal(3, 10)
    model(data)
    signature = [keras.layers.InputSpec(name="custom_input", shape=(3, 10), dtype="float32")]
    proto = convert_keras(model, model.name, input_signature=signature)
    (given,) = session(proto).get_inputs()
    assert given.name == "custom_input"
    assert given.shape == [3, 10]
    compare(run(proto, [data]), numpy_of(model(data)))


@pytest.mark.parametrize("style", ["sequential", "functional"])
@pytest.mark.parametrize("shape", [(32, 32, 3), (None, None, 3)])
def test_dynamic_shapes(style: str, shape: tuple[int | None, ...]) -> None:
    stack = [
        layers.Conv2D(16, 3, padding="same", activation="relu"),
        layers.GlobalAveragePooling2D(),
        layers.Dense(10, activation="softmax"),
    ]
    model = randomize(model_of(style, shape, stack))
    proto = convert_keras(model, model.name)
    (given,) = session(proto).get_inputs()
    assert isinstance(given.shape[0], str)
    if shape[0] is None:
        assert all(isinstance(d, str) for d in given.shape[1:3])
        assert given.shape[3] == 3
        sizes = [(1, 28, 28), (1, 64, 64), (2, 128, 96)]
    else:
        assert given.shape[1:] == [32, 32, 3]
        sizes = [(1, 32, 32), (2, 32, 32), (4, 32, 32)]
    for size in sizes:
        data = normal(*size, 3)
        compare(run(proto, [data]), numpy_of(model(data)))


def test_several_inputs_of_dynamic_shape() -> None:
    text = layers.Input((None, 64), name="text_input")
    image = layers.Input((None, None, 3), name="image_input")
    pooled = layers.GlobalAveragePooling1D()(layers.Dense(128, activation="relu")(text))
    seen = layers.GlobalAveragePooling2D()(layers.Conv2D(32, 1, activation="relu")(image))
    y = layers.Dense(5, activation="softmax")(layers.Concatenate()([pooled, seen]))
    model = randomize(keras.Model([text, image], y))
    proto = convert_keras(model, model.name)
    first, second = session(proto).get_inputs()
    assert (first.name, second.name) == ("text_input", "image_input")
    assert [isinstance(d, str) for d in (*first.shape, *second.shape)] == [True, True, False, True, True, True, False]
    for words, picture in (((1, 10), (1, 28, 28)), ((2, 15), (2, 64, 64)), ((1, 25), (1, 48, 32))):
        data = [normal(*words, 64), normal(*picture, 3)]
        compare(run(proto, data), numpy_of(model(data)))


NESTED: dict[str, Callable[[Any, Any], Any]] = {
    "list": lambda x, y: [x, y],
    "tuple": lambda x, y: (x, y),
    "dict": lambda x, y: {"b": x, "a": y},
    "nested": lambda x, y: {"b": [x, (y,)], "a": {"c": x}},
}


@pytest.mark.parametrize("kind", NESTED)
def test_structures_of_outputs(kind: str) -> None:
    x = layers.Input((4,), name="x")
    y = layers.Dense(3, name="one")(x)
    model = randomize(keras.Model(x, NESTED[kind](y, layers.Dense(2, name="two")(y))))
    data = normal(3, 4)
    proto = convert_keras(model, model.name)
    compare(run(proto, [data]), numpy_of(model(data)))
    if kind == "dict":
        assert [value.name for value in proto.graph.output] == ["a", "b"]
