"""Recurrent layers: one node each, with every kind of mask, state and direction."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers
from keras_checks import check, compare, converted, numpy_of, of_layer, op_types, randomize, session

from any2onnx.errors import UnknownOption, UnsupportedParameter
from any2onnx.options import Options

KINDS = ["LSTM", "GRU", "SimpleRNN"]
NODES = {"LSTM": "LSTM", "GRU": "GRU", "SimpleRNN": "RNN"}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("return_sequences", [True, False])
@pytest.mark.parametrize("go_backwards", [True, False])
def test_one_node(kind: str, return_sequences: bool, go_backwards: bool) -> None:
    layer = getattr(layers, kind)(4, return_sequences=return_sequences, go_backwards=go_backwards)
    proto = check(of_layer(layer, (None, 3)), sizes=(6,))
    assert op_types(proto).count(NODES[kind]) == 1
    assert not {"Loop", "Scan"} & set(op_types(proto))


@pytest.mark.parametrize("opset", [13, 14, 21, 28])
@pytest.mark.parametrize("kind", KINDS)
def test_bidirectional_at_opsets(kind: str, opset: int) -> None:
    layer = layers.Bidirectional(getattr(layers, kind)(4, return_sequences=True))
    proto = check(of_layer(layer, (None, 3)), opset=opset, sizes=(6,))
    assert op_types(proto).count(NODES[kind]) == 1


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("merge_mode", ["concat", "sum", "ave", "mul", None])
@pytest.mark.parametrize("return_sequences", [True, False])
def test_bidirectional_merges(kind: str, merge_mode: str | None, return_sequences: bool) -> None:
    inner = getattr(layers, kind)(4, return_sequences=return_sequences)
    check(of_layer(layers.Bidirectional(inner, merge_mode=merge_mode), (5, 3)), batches=(2,))


@pytest.mark.parametrize("kind", KINDS)
def test_bidirectional_states_in_and_out(kind: str) -> None:
    x = keras.Input((None, 3))
    count = 4 if kind == "LSTM" else 2
    states = [keras.Input((4,)) for _ in range(count)]
    layer = layers.Bidirectional(getattr(layers, kind)(4, return_sequences=True, return_state=True))
    check(randomize(keras.Model([x, *states], layer(x, initial_state=states))))


@pytest.mark.parametrize("kind", KINDS)
def test_states_in_and_out(kind: str) -> None:
    x = keras.Input((None, 3), name="x")
    states = [keras.Input((4,)) for _ in range(2 if kind == "LSTM" else 1)]
    layer = getattr(layers, kind)(4, return_state=True)
    proto = check(randomize(keras.Model([x, *states], layer(x, initial_state=states))))
    names = [output.name for output in proto.graph.output]
    assert len(set(names)) == len(names) == 1 + len(states)


def masked_model(layer: Any) -> Any:
    x = keras.Input((None, 3), name="x")
    return randomize(keras.Model(x, layer(layers.Masking(0.0)(x))))


def masked_data(batch: int) -> list[np.ndarray[Any, Any]]:
    """Masks at the end, at the start, in the middle, everywhere and nowhere."""
    x = np.random.default_rng(batch).normal(size=(6, 5, 3)).astype("float32")
    x[1, 3:] = 0
    x[2, :2] = 0
    x[3, [1, 3]] = 0
    x[4] = 0
    return [x[:batch] if batch < 6 else x]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("return_sequences", [True, False])
@pytest.mark.parametrize("go_backwards", [True, False])
@pytest.mark.parametrize("zero_output", [True, False])
def test_masks_of_any_pattern(kind: str, return_sequences: bool, go_backwards: bool, zero_output: bool) -> None:
    layer = getattr(layers, kind)(
        4,
        return_sequences=return_sequences,
        go_backwards=go_backwards,
        zero_output_for_mask=zero_output,
        return_state=True,
    )
    proto = check(masked_model(layer), batches=(6,), inputs=masked_data)
    assert op_types(proto).count(NODES[kind]) == 1


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("return_sequences", [True, False])
def test_masks_and_bidirectional(kind: str, return_sequences: bool) -> None:
    layer = layers.Bidirectional(getattr(layers, kind)(4, return_sequences=return_sequences, return_state=True))
    proto = check(masked_model(layer), batches=(6, 1), inputs=masked_data)
    assert op_types(proto).count(NODES[kind]) == 1


def test_masks_and_initial_states() -> None:
    x, h = keras.Input((None, 3)), keras.Input((4,))
    mask = keras.Input((None,), dtype="bool")
    model = randomize(keras.Model([x, mask, h], layers.GRU(4, return_state=True)(x, mask=mask, initial_state=[h])))

    def inputs(batch: int) -> list[np.ndarray[Any, Any]]:
        random = np.random.default_rng(3)
        mask = random.random((4, 5)) < 0.5
        mask[0] = False
        return [random.normal(size=(4, 5, 3)).astype("float32"), mask, random.normal(size=(4, 4)).astype("float32")]

    check(model, batches=(4,), inputs=inputs)


def test_mask_goes_from_embedding_through_layers() -> None:
    tokens = keras.Input((None,), dtype="int32", name="tokens")
    x = layers.Embedding(6, 4, mask_zero=True)(tokens)
    x = layers.Dropout(0.1)(x)
    x = layers.Bidirectional(layers.LSTM(3, return_sequences=True))(x)
    x = layers.LayerNormalization()(x)
    model = randomize(keras.Model(tokens, layers.GRU(3)(x)))

    def inputs(batch: int) -> list[np.ndarray[Any, Any]]:
        return [np.array([[1, 2, 3, 0, 0], [0, 0, 4, 0, 5], [1, 1, 1, 1, 1], [0, 0, 0, 0, 0]], "int32")[:batch]]

    check(model, batches=(1, 4), inputs=inputs)


def test_mask_from_outside_reaches_into_a_nested_model() -> None:
    inner = keras.Sequential([keras.Input((None, 4)), layers.Dense(3), layers.LSTM(2)], name="inner")
    tokens = keras.Input((None,), dtype="int32")
    model = randomize(keras.Model(tokens, inner(layers.Embedding(6, 4, mask_zero=True)(tokens))))
    check(model, batches=(2,), inputs=lambda n: [np.array([[1, 2, 0, 0], [3, 0, 4, 5]], "int32")])


def test_mask_made_inside_a_nested_model_comes_out() -> None:
    """As at run time in Keras: the mask hangs on the tensor, though the graph did not know it when it was built."""
    inner = keras.Sequential([keras.Input((None,), dtype="int32"), layers.Embedding(6, 4, mask_zero=True)])
    tokens = keras.Input((None,), dtype="int32")
    model = randomize(keras.Model(tokens, layers.LSTM(3)(inner(tokens))))
    check(model, batches=(2,), inputs=lambda n: [np.array([[1, 2, 0, 0], [3, 0, 4, 5]], "int32")])


@pytest.mark.parametrize(
    ("function", "recurrent"),
    [("relu", "hard_sigmoid"), ("softsign", "sigmoid"), ("elu", "sparse_sigmoid"), ("linear", "softplus")],
)
@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_activation_functions(kind: str, function: str, recurrent: str) -> None:
    layer = getattr(layers, kind)(3, activation=function, recurrent_activation=recurrent)
    check(of_layer(layers.Bidirectional(layer), (4, 3)), batches=(2,))


def test_configurations() -> None:
    for layer in (
        layers.LSTM(3, use_bias=False),
        layers.LSTM(3, unroll=True, implementation=1),
        layers.GRU(3, reset_after=False, return_sequences=True),
        layers.GRU(3, reset_after=False, use_bias=False),
        layers.GRU(3, implementation=1),
        layers.SimpleRNN(3, activation="relu"),
        layers.RNN(layers.GRUCell(3), return_sequences=True),
        layers.RNN([layers.LSTMCell(3), layers.LSTMCell(2)], return_sequences=True),
        layers.RNN([layers.GRUCell(3), layers.SimpleRNNCell(2)], return_state=True),
    ):
        check(of_layer(layer, (4, 3)), batches=(2,))


def test_bidirectional_of_two_kinds() -> None:
    layer = layers.Bidirectional(
        layers.LSTM(3, return_sequences=True), backward_layer=layers.GRU(2, return_sequences=True, go_backwards=True)
    )
    proto = check(of_layer(layer, (4, 3)), batches=(2,))
    assert {"LSTM", "GRU"} <= set(op_types(proto))


def test_float64() -> None:
    with np.errstate(all="ignore"):
        x = keras.Input((4, 3), dtype="float64")
        model = randomize(keras.Model(x, layers.LSTM(3, dtype="float64")(x)))
        check(model, batches=(2,))


def test_stateful_is_refused_by_name() -> None:
    x = keras.Input(batch_shape=(2, 4, 3))
    model = keras.Model(x, layers.LSTM(3, stateful=True)(x))
    with pytest.raises(UnsupportedParameter, match="stateful=True"):
        converted(model)
    with pytest.raises(UnknownOption, match="stateful"):
        converted(model, options=Options({layers.LSTM: {"stateful": "other"}}))


@pytest.mark.parametrize("start", ["reset", "current"])
@pytest.mark.parametrize(
    "build",
    [
        lambda: layers.LSTM(3, stateful=True, return_state=True),
        lambda: layers.GRU(3, stateful=True),
        lambda: layers.RNN([layers.LSTMCell(3), layers.SimpleRNNCell(2)], stateful=True),
        lambda: layers.Bidirectional(layers.LSTM(3, return_sequences=True, stateful=True)),
    ],
)
def test_stateful_starts_from_what_the_user_says(build: Callable[[], Any], start: str) -> None:
    x = keras.Input(batch_shape=(2, 4, 3), name="x")
    layer = build()
    model = randomize(keras.Model(x, layer(x)))
    data = np.random.default_rng(0).normal(size=(2, 4, 3)).astype("float32")
    from_zeros = numpy_of(model(data))
    running = session(converted(model, options=Options({layer.name: {"stateful": start}})))
    wanted = from_zeros if start == "reset" else numpy_of(model(data))
    # The ONNX model gives the same answer every time, that of the first call.
    for _ in range(2):
        compare(running.run(None, {"x": data}), wanted)


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (layers.Dense(4, activation="relu"), (None, 3)),
        (layers.Conv2D(2, 3), (None, 6, 6, 3)),
        (layers.LSTM(2), (3, None, 2)),
    ],
)
def test_time_distributed(layer: Any, shape: tuple[int | None, ...]) -> None:
    check(of_layer(layers.TimeDistributed(layer), shape), sizes=(4,))
