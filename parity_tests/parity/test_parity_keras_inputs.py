"""Inputs drawn for Keras models: words, ids, edges, scales that the first layers know; nested as the model has it."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

from any2onnx import check_parity, convert_keras
from any2onnx.errors import UsageError
from any2onnx.parity.reference_keras import KerasReference
from any2onnx.parity.runtime import OnnxSession, read_onnx
from any2onnx.parity.signature import InputSpec, Signature


def _specs(model: Any, proto: Any = None) -> dict[str, InputSpec]:
    proto = convert_keras(model) if proto is None else proto
    signature = Signature.from_ports(OnnxSession(read_onnx(proto)).inputs)
    return {spec.name: spec for spec in KerasReference(model).refine(signature, None).inputs}


def _towers() -> Any:
    user, item = keras.Input((), dtype="string", name="user"), keras.Input((), dtype="int64", name="item")
    known = layers.Embedding(4, 8)(layers.StringLookup(vocabulary=["ann", "böb", "cé"])(user))
    return keras.Model({"user": user, "item": item}, layers.Dot(1)([known, layers.Embedding(10, 8)(item)]))


def test_arguments_are_nested_as_the_model_has_them() -> None:
    model = _towers()
    # Keras sorts the tensors of a dict by key; the caller's dict has its own order.
    check_parity(model, convert_keras(model)).raise_if_failed()
    one, two, three = (keras.Input((k,), name=f"in{k}") for k in (2, 3, 4))
    nested = keras.Model({"pair": [one, two], "in4": three}, layers.Concatenate()([one, two, three]))
    check_parity(nested, convert_keras(nested)).raise_if_failed()


def test_words_and_ids_belong_to_the_input_that_is_looked_up() -> None:
    specs = _specs(_towers())
    assert specs["user"].categories[0].tolist() == ["ann", "böb", "cé"]
    assert specs["item"].high == 10


def test_words_through_reshapes_and_inner_models() -> None:
    inner = keras.Sequential([keras.Input((3,), dtype="string"), layers.StringLookup(vocabulary=["x", "y"])])
    outer = keras.Input((3,), dtype="string", name="words")
    model = keras.Model(outer, inner(layers.Reshape((3,))(outer)))
    assert [part.tolist() for part in _specs(model)["words"].categories] == [["x", "y"]] * 3


def test_documents_are_made_of_the_vocabulary() -> None:
    model = keras.Sequential([keras.Input((), dtype="string"), layers.TextVectorization(vocabulary=["good", "bad"])])
    (spec,) = _specs(model).values()
    assert spec.text
    assert spec.categories[0].tolist() == ["good", "bad"]
    check_parity(model, convert_keras(model)).raise_if_failed()


@pytest.mark.parametrize("unseen", [0, 1])
def test_integers_of_a_lookup(unseen: int) -> None:
    lookup = layers.IntegerLookup(vocabulary=[7, 70, 700], num_oov_indices=unseen)
    model = keras.Sequential([keras.Input((2,), dtype="int64"), lookup])
    (spec,) = _specs(model).values()
    assert set(spec.pool.ravel().tolist()) == {7, 70, 700} | ({701} if unseen else set())
    check_parity(model, convert_keras(model)).raise_if_failed()


def test_numbers_like_those_that_were_adapted_to() -> None:
    mean = keras.Sequential([keras.Input((2,)), layers.Normalization(mean=[1e4, -5.0], variance=[1e4, 1.0])])
    (spec,) = _specs(mean).values()
    assert np.allclose(np.median(spec.pool, axis=0), [1e4, -5.0])
    bins = keras.Sequential([keras.Input((1,)), layers.Discretization(bin_boundaries=[-1.0, 0.5, 100.0])])
    (spec,) = _specs(bins).values()
    assert {-1.0, 0.5, 100.0} <= set(spec.pool.ravel().tolist())
    pixels = keras.Sequential([keras.Input((4, 4, 3)), layers.Rescaling(1 / 127.5, offset=-1)])
    (spec,) = _specs(pixels).values()
    assert np.allclose([spec.pool.min(), spec.pool.max()], [0, 255], atol=1e-4)


def test_a_wrong_vocabulary_is_noticed_without_data() -> None:
    right = keras.Sequential([keras.Input((2,), dtype="string"), layers.StringLookup(vocabulary=["one", "two"])])
    wrong = keras.Sequential([keras.Input((2,), dtype="string"), layers.StringLookup(vocabulary=["two", "one"])])
    wrong.layers[0]._name = right.layers[0].name
    assert not check_parity(right, convert_keras(wrong)).passed


def test_the_reason_for_a_refusal_is_that_of_the_model() -> None:
    class Picky(layers.Layer):
        def call(self, x: Any) -> Any:
            if float(keras.ops.max(x)) < 1e6:
                raise ValueError("numbers are too small")
            return x * 2

        def compute_output_spec(self, x: Any) -> Any:
            return keras.KerasTensor(x.shape, x.dtype)

    plain = keras.Sequential([keras.Input((2,)), layers.Lambda(lambda x: x * 2)])
    x = keras.Input((2,))
    with pytest.raises(UsageError, match="numbers are too small"):
        check_parity(keras.Model(x, Picky()(x)), convert_keras(plain))
