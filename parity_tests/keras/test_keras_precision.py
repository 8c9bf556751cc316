"""Quantized layers and mixed precision: what Keras computes in fewer bits, against Keras itself."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers
from keras_checks import check, compare, converted, example, numpy_of, randomize, session

from any2onnx.errors import InvalidType


def _tied() -> Any:
    x = keras.Input((3,), dtype="int32")
    embedding = layers.ReversibleEmbedding(9, 16)
    return keras.Model(x, embedding(embedding(x), reverse=True))


def _of(layer: Any, shape: tuple[int, ...], dtype: str = "float32") -> Any:
    x = keras.Input(shape, dtype=dtype)
    return keras.Model(x, layer(x))


def _attention() -> Any:
    x = keras.Input((6, 16))
    return keras.Model(x, layers.Dense(3)(layers.MultiHeadAttention(2, 8)(x, x)))


QUANTIZED: dict[str, Callable[[], Any]] = {
    "dense": lambda: _of(layers.Dense(8, activation="relu"), (16,)),
    "einsum": lambda: _of(layers.EinsumDense("abc,cde->abde", (None, 2, 4), bias_axes="de"), (3, 16)),
    "embedding": lambda: _of(layers.Embedding(9, 16), (3,), "int32"),
    "reversible": lambda: _of(layers.ReversibleEmbedding(9, 16), (3,), "int32"),
    "tied": _tied,
    "attention": _attention,
}


# Keras has no float8 embeddings.
MODES = {"float8": ["dense", "einsum", "attention"], "int8": list(QUANTIZED), "int4": list(QUANTIZED)}


@pytest.mark.parametrize(("mode", "name"), [(mode, name) for mode, names in MODES.items() for name in names])
def test_quantized(name: str, mode: str) -> None:
    model = randomize(QUANTIZED[name]())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of layers without weights, which have nothing to quantize
        model.quantize(mode)
    assert any(getattr(layer, "quantization_mode", None) == mode for layer in model._flatten_layers())
    check(model, batches=(1, 3))


def _network(policy: str) -> Any:
    """Every kind of layer that has an operator of its own, under one policy, with a float32 head."""
    x = keras.Input((8, 8, 3), name="x")
    y = layers.Conv2D(4, 3, padding="same", dtype=policy)(x)
    y = layers.BatchNormalization(dtype=policy)(y)
    y = layers.Activation("gelu", dtype=policy)(y)
    y = layers.MaxPooling2D(2, dtype=policy)(y)
    y = layers.Reshape((16, 4), dtype=policy)(y)
    y = layers.LSTM(6, return_sequences=True, dtype=policy)(y)
    y = layers.LayerNormalization(dtype=policy)(y)
    y = layers.MultiHeadAttention(2, 3, dtype=policy)(y, y)
    y = layers.GlobalAveragePooling1D(dtype=policy)(y)
    return randomize(keras.Model(x, layers.Dense(3, dtype="float32")(y)))


@pytest.mark.parametrize("opset", [13, 21, 28])
@pytest.mark.parametrize(("policy", "bits"), [("mixed_float16", 10), ("mixed_bfloat16", 7)])
def test_mixed_precision(policy: str, bits: int, opset: int) -> None:
    """As many bits as the type has, less those that a network of ten layers costs."""
    check(_network(policy), opset=opset, tolerance=2.0 ** -(bits - 3))


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_computing_in_float32_instead(policy: str) -> None:
    """What Keras computes in half precision is computed in float32: as the float32 model of these weights."""
    model, exact = _network(policy), _network("float32")
    for weight, other in zip(model.weights, exact.weights, strict=True):
        other.assign(weight)
    proto = converted(model, compute_dtype="float32")
    assert {value.type.tensor_type.elem_type for value in proto.graph.value_info} <= {1, 6, 7, 9}
    data = example(model.inputs[0], 3)
    compare(session(proto).run(None, {"x": data}), numpy_of(exact(data)))


def test_float64() -> None:
    x = keras.Input((4, 6), dtype="float64")
    y = layers.LayerNormalization(dtype="float64")(layers.Dense(5, activation="tanh", dtype="float64")(x))
    check(randomize(keras.Model(x, layers.GroupNormalization(1, dtype="float64")(y))), tolerance=1e-9)


@pytest.mark.parametrize("layer", [layers.LayerNormalization, lambda **a: layers.GroupNormalization(2, **a)])
@pytest.mark.parametrize("dtype", ["float16", "float64"])
def test_layers_that_do_not_cast_their_input(layer: Any, dtype: str) -> None:
    """They compute in the input's float32 and return their own type."""
    check(randomize(_of(layer(dtype=dtype), (5, 6))), tolerance=1e-3 if dtype == "float16" else 1e-5)


# --- sparse tensors: the same numbers, dense ------------------------------------------------------------------------


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="sparse layers need TensorFlow or JAX")
@pytest.mark.parametrize(
    ("layer", "shape", "dtype"),
    [
        (lambda: layers.CategoryEncoding(5, output_mode="multi_hot", sparse=True), (3,), "int32"),
        (lambda: layers.CategoryEncoding(5, output_mode="count", sparse=True), (3,), "int32"),
        (lambda: layers.Discretization([0.0, 1.0], output_mode="one_hot", sparse=True), (3,), "float32"),
        (lambda: layers.IntegerLookup(vocabulary=[1, 3], output_mode="multi_hot", sparse=True), (3,), "int64"),
        (lambda: layers.Hashing(5, output_mode="multi_hot", sparse=True), (3,), "int64"),
    ],
)
def test_sparse_outputs_come_dense(layer: Callable[[], Any], shape: tuple[int, ...], dtype: str) -> None:
    import tensorflow as tf

    model = _of(layer(), shape, dtype)
    data = example(model.inputs[0], 4)
    (got,) = session(converted(model)).run(None, {model.inputs[0].name: data})
    wanted = model(data)
    assert isinstance(wanted, tf.SparseTensor)
    compare([got], [tf.sparse.to_dense(tf.sparse.reorder(wanted)).numpy()])


def test_sparse_inputs_are_dense_ones() -> None:
    x = keras.Input((4,), sparse=True)
    check(randomize(keras.Model(x, layers.Dense(3)(x))))
    counted = keras.Input((4,), sparse=True, dtype="int32")
    with pytest.raises(InvalidType, match="stored values"):
        converted(keras.Model(counted, layers.CategoryEncoding(5, output_mode="count")(counted)))


def test_integers_where_floats_are_usual() -> None:
    """Keras casts no integers on entry; a product or a norm of them is a float."""
    for layer in (layers.Dense(3), layers.EinsumDense("ab,bc->ac", 3), layers.LayerNormalization()):
        model = randomize(_of(layer, (4,), "int32"))
        check(model, inputs=lambda n: [np.random.default_rng(n).integers(-5, 5, (n, 4)).astype("int32")])
