"""Conversions in several threads: none waits for another's walk, and each gives the bytes that it gives alone."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import keras
from keras import layers, ops
from keras_checks import randomize

from any2onnx import convert_keras

PATIENCE = 120.0
"""Seconds until a wait counts as forever."""


class Wave(layers.Layer):
    """Comes apart into functions of the backend; may wait in the middle of its call."""

    def __init__(self, factor: float, pause: Callable[[], Any] | None = None, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.factor = factor
        self.pause = pause

    def call(self, x: Any) -> Any:
        y = ops.sin(x * self.factor)
        if self.pause is not None:
            self.pause()
        return ops.concatenate([y, ops.softmax(x, axis=-1)], axis=-1)


class Marked(layers.Layer):
    """Converted by a function of the test."""

    def call(self, x: Any) -> Any:
        return x


def traced(factor: float, pause: Callable[[], Any] | None = None) -> Any:
    x = keras.Input((4,), name="x")
    y = layers.Dense(3, name="dense")(Wave(factor, name="wave")(x))
    model = randomize(keras.Model(x, y, name="traced"))
    model.get_layer("wave").pause = pause
    return model


def plain() -> Any:
    x = keras.Input((4,), name="x")
    return randomize(keras.Model(x, layers.Dense(3, activation="relu", name="dense")(x), name="plain"))


def bytes_of(model: Any, **arguments: Any) -> bytes:
    return convert_keras(model, **arguments).SerializeToString(deterministic=True)


def test_a_recording_in_one_thread_lets_a_walk_in_another_pass() -> None:
    reached, go_on = threading.Event(), threading.Event()

    def pause() -> None:
        reached.set()
        assert go_on.wait(PATIENCE)

    alone, other = bytes_of(traced(2.0)), plain()
    expected = bytes_of(other)
    waiting = traced(2.0, pause)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(bytes_of, waiting)
        assert reached.wait(PATIENCE)
        try:
            assert pool.submit(bytes_of, other).result(PATIENCE) == expected
            assert not first.done()
        finally:
            go_on.set()
        assert first.result(PATIENCE) == alone


def test_a_walk_that_has_recorded_lets_another_record() -> None:
    """The second conversion records while the first, which keeps Keras patched, is in a converter."""
    reached, go_on = threading.Event(), threading.Event()

    def converter(g: Any, call: Any) -> Any:
        reached.set()
        assert go_on.wait(PATIENCE)
        return g.Identity(call.inputs[0])

    def quick(g: Any, call: Any) -> Any:
        return g.Identity(call.inputs[0])

    x = keras.Input((4,), name="x")
    marked = Marked(name="marked")(Wave(3.0, name="wave")(x))
    model = keras.Model(x, Wave(0.5, name="second")(marked), name="both")
    alone, other = bytes_of(model, custom_op_conversions={"Marked": quick}), traced(2.0)
    expected = bytes_of(other)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(bytes_of, model, custom_op_conversions={"Marked": converter})
        assert reached.wait(PATIENCE)
        try:
            assert pool.submit(bytes_of, other).result(PATIENCE) == expected
            assert not first.done()
        finally:
            go_on.set()
        assert first.result(PATIENCE) == alone


def test_many_threads_give_the_bytes_of_one() -> None:
    models = [traced(1.0 + k) for k in range(4)]
    expected = [bytes_of(model) for model in models]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(3):
            assert list(pool.map(bytes_of, models, timeout=PATIENCE)) == expected


def test_keras_is_as_before_afterwards() -> None:
    from keras.src.backend import numpy as backend_numpy
    from keras.src.ops.operation import Operation

    before = backend_numpy.add, Operation.__call__
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(bytes_of, [traced(1.0 + k) for k in range(3)], timeout=PATIENCE))
    assert (backend_numpy.add, Operation.__call__) == before
