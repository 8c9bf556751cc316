"""Attention layers with every mask and option."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from keras import layers
from keras_checks import check, randomize

Array = np.ndarray[Any, Any]


def sequences(batch: int, *shapes: tuple[int, ...]) -> list[Array]:
    random = np.random.default_rng(batch)
    return [random.normal(size=(batch, *shape)).astype("float32") for shape in shapes]


@pytest.mark.parametrize("opset", [13, 21, 28])
def test_self_attention(opset: int) -> None:
    x = keras.Input((None, 6))
    check(randomize(keras.Model(x, layers.MultiHeadAttention(2, 3)(x, x))), opset=opset)


@pytest.mark.parametrize(
    "options",
    [
        {"value_dim": 5},
        {"use_bias": False},
        {"output_shape": (4,)},
        {"dropout": 0.3},
        {"use_gate": True},
        {"sliding_window": 2},
    ],
)
def test_options(options: dict[str, Any]) -> None:
    x = keras.Input((5, 6))
    y = layers.MultiHeadAttention(2, 3, **options)(x, x)
    check(randomize(keras.Model(x, y)), batches=(2,))


@pytest.mark.parametrize("dropout", [0.0, 0.2])
@pytest.mark.parametrize("scores", [False, True])
def test_cross_attention_with_masks(dropout: float, scores: bool) -> None:
    query, value, key = keras.Input((4, 6)), keras.Input((5, 3)), keras.Input((5, 7))
    mask = keras.Input((4, 5), dtype="bool")
    layer = layers.MultiHeadAttention(2, 3, dropout=dropout)
    outputs = layer(query, value, key, attention_mask=mask, use_causal_mask=True, return_attention_scores=scores)
    model = randomize(keras.Model([query, value, key, mask], outputs))

    def inputs(batch: int) -> list[Array]:
        hidden = np.random.default_rng(1).random((batch, 4, 5)) < 0.6
        hidden[0, 1] = False  # a row that sees nothing
        return [*sequences(batch, (4, 6), (5, 3), (5, 7)), hidden]

    check(model, batches=(2,), inputs=inputs)


def test_masks_of_the_sequences() -> None:
    tokens, other = keras.Input((5,), dtype="int32"), keras.Input((4,), dtype="int32")
    embed = layers.Embedding(6, 4, mask_zero=True)
    x, y = embed(tokens), embed(other)
    attended = layers.MultiHeadAttention(2, 3)(x, y)
    pooled = layers.GlobalAveragePooling1D()(attended)
    model = randomize(keras.Model([tokens, other], [attended, pooled]))

    def inputs(batch: int) -> list[Array]:
        return [
            np.array([[1, 2, 3, 0, 0], [4, 5, 0, 1, 2]], "int32"),
            np.array([[1, 0, 2, 0], [3, 4, 5, 1]], "int32"),
        ]

    check(model, batches=(2,), inputs=inputs)


@pytest.mark.parametrize(
    ("layer", "call"),
    [
        (layers.Attention, {}),
        (lambda: layers.Attention(use_scale=True), {"use_causal_mask": True}),
        (lambda: layers.Attention(score_mode="concat", use_scale=True), {}),
        (lambda: layers.Attention(dropout=0.2), {"return_attention_scores": True}),
        (layers.AdditiveAttention, {}),
        (lambda: layers.AdditiveAttention(use_scale=False), {"use_causal_mask": True}),
    ],
)
@pytest.mark.parametrize("masked", [False, True])
def test_attention(layer: Any, call: dict[str, Any], masked: bool) -> None:
    query, value = keras.Input((4, 3)), keras.Input((5, 3))
    masks = [keras.Input((4,), dtype="bool"), keras.Input((5,), dtype="bool")]
    given = {"mask": masks, **call} if masked else call
    model = randomize(keras.Model([query, value, *masks], layer()([query, value], **given)))

    def inputs(batch: int) -> list[Array]:
        random = np.random.default_rng(2)
        return [*sequences(batch, (4, 3), (5, 3)), random.random((batch, 4)) < 0.6, random.random((batch, 5)) < 0.6]

    check(model, batches=(2,), inputs=inputs)
