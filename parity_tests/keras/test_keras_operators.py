"""Python's operators inside a `call` are those of the backend's tensors: followed in dtype, or refused by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
from keras import ops
from keras_checks import compare, converted, numpy_of, session

from any2onnx.errors import ExportFailed

BACKEND = keras.backend.backend()
DATA = np.random.default_rng(0).normal(size=(3, 4)).astype("float32")
WIDE = np.array([1.0, 2.0, 3.0, 4.0])


class Operator(keras.layers.Layer):
    def __init__(self, function: Callable[[Any], Any]) -> None:
        super().__init__()
        self.function = function

    def call(self, x: Any) -> Any:
        return self.function(x)


def model_of(function: Callable[[Any], Any]) -> Any:
    x = keras.Input((4,), name="x")
    return keras.Model(x, Operator(function)(x))


CASES: dict[str, Callable[[Any], Any]] = {
    "both truth values": lambda x: (x > 0) * (x < 1),
    "float64 array": lambda x: x * WIDE,
    "float64 number": lambda x: x * np.float64(2),
    "int64 number": lambda x: x + np.int64(2),
    "array of integers": lambda x: ops.cast(x, "int32") * np.array([1, 2, 3, 4], "int32"),
    "integers halved": lambda x: ops.cast(x, "int32") / 2,
    "integer times a size": lambda x: ops.cast(x, "int32") * ops.shape(x)[0],
    "sum times a number": lambda x: ops.sum(ops.cast(x > 0, "float32")) * 2,
    "keras.ops of truth values": lambda x: ops.multiply(x > 0, 2),
}
TRUTH: dict[str, Callable[[Any], Any]] = {
    "times two": lambda x: (x > 0) * 2,
    "two times": lambda x: 2 * (x > 0),
    "times a half": lambda x: (x > 0) * 0.5,
    "times floats": lambda x: (x > 0) * x,
    "plus one": lambda x: (x > 0) + 1,
    "halved": lambda x: (x > 0) / 2,
    "divided": lambda x: (x > 0) // 2,
    "squared": lambda x: (x > 0) ** 2,
    "times the batch": lambda x: (x > 0) * ops.shape(x)[0],
}


def check(model: Any) -> None:
    running = session(converted(model))
    compare(running.run(None, {"x": DATA}), numpy_of(model(DATA)))


@pytest.mark.parametrize("name", CASES)
def test_dtypes_are_the_framework_s(name: str) -> None:
    if BACKEND == "numpy":
        pytest.skip("numpy promotes to float64 where Keras states float32")
    check(model_of(CASES[name]))


@pytest.mark.parametrize("name", TRUTH)
def test_truth_values_and_numbers(name: str) -> None:
    if BACKEND == "numpy":
        pytest.skip("numpy promotes to int64 where Keras states int32")
    try:
        model = model_of(TRUTH[name])
        model(DATA)
    except Exception:
        # The framework has no such operator for truth values.
        assert BACKEND != "jax"
        return
    if BACKEND == "tensorflow":
        with pytest.raises(ExportFailed, match="TensorFlow takes the product of truth values and numbers") as caught:
            converted(model)
        assert "test_keras_operators.py" in str(caught.value)
        return
    check(model)
