"""Lookup, hashing and text layers: strings in, numbers out (or back), against Keras and TensorFlow's own hashes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import onnx
import pytest
from keras import layers
from keras_checks import Array, converted, session

from any2onnx.errors import InvalidType, NotFitted, OpsetNotSupported, UnsupportedParameter

tf = pytest.importorskip("tensorflow")  # Keras's own layers need it under any backend

OPSETS = {"": 21, "com.microsoft": 1}
VOCABULARY = ["a", "bb", "c", "é日", "The"]
# Known and unknown, empty, beyond ASCII, of every length class of the hash.
TOKENS = [*VOCABULARY, "zz", "", "[UNK]", "the", "x" * 17, "ß" * 20, "long token 😀😀" * 5]
TEXTS = [
    "a bb  the The",
    "c! a, b--b it's",
    "",
    "  bb\tzz\nzz c\u00a0x ",
    "ÉÀ é日 A.B.C ?!",
    "...",
    "\x0b\x0ca\r",
    "one " * 30,
    "\u3000 x\u2003y ÄB",
]
WORDS = ["a", "bb", "c", "é日", "the", "abc", "a bb", "bb a", "zz", "zz zz"]


def strings(*shape: int, pool: Sequence[str] = TOKENS, seed: int = 0) -> Array:
    return np.random.default_rng(seed).choice(np.array(pool, object), shape)


def as_text(array: Array) -> Array:
    """Return TensorFlow's bytes as text."""
    return np.vectorize(lambda token: token.decode(), otypes=[object])(array) if array.dtype == object else array


def check(layer: Any, data: Sequence[Array], dtype: str = "string", opset: Any = OPSETS) -> onnx.ModelProto:
    """Compare on arrays of one shape but for the batch."""
    x = keras.Input(data[0].shape[1:], dtype=dtype, name="x")
    model = keras.Model(x, layer(x))
    proto = converted(model, opset)
    running = session(proto)
    for batch in data:
        wanted = as_text(np.asarray(model(tf.constant(batch, dtype=dtype))))
        (got,) = running.run(None, {"x": batch})
        assert got.shape == wanted.shape
        assert got.dtype == wanted.dtype
        if got.dtype == np.float32:
            np.testing.assert_allclose(got, wanted, atol=1e-6)
        else:
            np.testing.assert_array_equal(got, wanted)
    return proto


# --- StringLookup, IntegerLookup --------------------------------------------------------------------------------------


@pytest.mark.parametrize("mask", [None, "", "a"])
@pytest.mark.parametrize("mode", ["int", "one_hot", "multi_hot", "count", "tf_idf"])
@pytest.mark.parametrize("shape", [(1,), (4,), (2, 3)])
def test_string_lookup(mode: str, mask: str | None, shape: tuple[int, ...]) -> None:
    vocabulary = [token for token in VOCABULARY if token != mask]
    weights = {"idf_weights": [0.5 + k for k in range(len(vocabulary))]} if mode == "tf_idf" else {}
    layer = layers.StringLookup(vocabulary=vocabulary, output_mode=mode, mask_token=mask, **weights)
    check(layer, [strings(n, *shape, seed=n) for n in (1, 0, 20)], opset=21)


@pytest.mark.parametrize("mode", ["int", "one_hot", "count"])
def test_a_vector_of_strings(mode: str) -> None:
    check(layers.StringLookup(vocabulary=VOCABULARY, output_mode=mode), [strings(3), strings(20)], opset=13)


@pytest.mark.parametrize("salt", [None, 7, [3, -4]])
def test_unknown_strings_are_hashed(salt: Any) -> None:
    layer = layers.StringLookup(vocabulary=VOCABULARY, num_oov_indices=5, mask_token="", salt=salt)
    check(layer, [strings(n, 3, seed=n) for n in (1, 0, 30)])


def test_padding_to_max_tokens() -> None:
    layer = layers.StringLookup(vocabulary=VOCABULARY, max_tokens=20, pad_to_max_tokens=True, output_mode="count")
    check(layer, [strings(5, 3)])


def test_an_adapted_layer() -> None:
    layer = layers.StringLookup(output_mode="tf_idf", max_tokens=6)
    layer.adapt(strings(50, 3))
    check(layer, [strings(5, 3, seed=1)])


def test_no_number_for_unknown_tokens_is_an_error_in_both() -> None:
    x = keras.Input((2,), dtype="string", name="x")
    layer = layers.StringLookup(vocabulary=VOCABULARY, num_oov_indices=0, mask_token="m")
    model = keras.Model(x, layer(x))
    running = session(converted(model))
    known = np.array([["a", "m"]], object)
    np.testing.assert_array_equal(running.run(None, {"x": known})[0], np.asarray(model(tf.constant(known))))
    unknown = np.array([["a", "zz"]], object)
    with pytest.raises(tf.errors.InvalidArgumentError):
        model(tf.constant(unknown))
    with pytest.raises(Exception, match="out of data bounds"):
        running.run(None, {"x": unknown})


@pytest.mark.parametrize("settings", [{}, {"mask_token": "M"}, {"num_oov_indices": 3, "oov_token": "?"}])
def test_inverted_string_lookup(settings: dict[str, Any]) -> None:
    numbers = np.random.default_rng(0).integers(-2, 12, (20, 3))
    check(layers.StringLookup(vocabulary=VOCABULARY, invert=True, **settings), [numbers, numbers[:0]], "int64", 13)


@pytest.mark.parametrize("dtype", ["int64", "int32", "float32", "uint8"])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"mask_token": 7},
        {"num_oov_indices": 3},
        {"num_oov_indices": 3, "oov_method": "farmhash"},
        {"num_oov_indices": 3, "oov_method": "farmhash", "salt": 5},
        {"output_mode": "count"},
        {"output_mode": "multi_hot", "mask_token": 0},
        {"invert": True, "mask_token": 7},
    ],
)
def test_integer_lookup(settings: dict[str, Any], dtype: str) -> None:
    low = 0 if dtype == "uint8" else -9
    data = [np.random.default_rng(n).integers(low, 12, (n, 3)).astype(dtype) for n in (1, 0, 50)]
    # No other domain is needed, not even for hashes.
    check(layers.IntegerLookup(vocabulary=[5, 9, 100, -3], **settings), data, dtype, 21)


# --- Hashing, HashedCrossing ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("settings", [{}, {"mask_value": ""}, {"salt": [133, 137]}, {"salt": -5, "mask_value": "a"}])
@pytest.mark.parametrize(
    ("mode", "shape"), [("int", (4,)), ("int", (1,)), ("one_hot", (1, 1)), ("multi_hot", (2, 3)), ("count", (4,))]
)
def test_hashing_of_strings(mode: str, shape: tuple[int, ...], settings: dict[str, Any]) -> None:
    layer = layers.Hashing(7, output_mode=mode, **settings)
    check(layer, [strings(n, *shape, seed=n) for n in (1, 0, 20)])


@pytest.mark.parametrize("salt", [None, [133, 137]])
def test_hashes_of_every_length(salt: Any) -> None:
    random = np.random.default_rng(0)
    alphabet = [chr(c) for c in (*range(1, 128), 0x7FF, 0x800, 0xD7FF, 0xE000, 0xFFFF, 0x10000, 0x10FFFF)]
    texts = ["".join(random.choice(alphabet, n)) for n in range(90)] + ["a" * n for n in (127, 128, 129, 192, 193, 500)]
    layer = layers.Hashing(2**40, salt=salt)
    check(
        layer, [np.array([[t]], object) for t in texts[60:70]] + [np.array(texts[k:], object)[:, None] for k in (0, 60)]
    )


def test_characters_of_all_planes_have_their_bytes() -> None:
    """The bytes come from undoing a hash: each character on its own."""
    codes = [*range(1, 0x900), *range(0x900, 0xD800, 61), *range(0xE000, 0x110000, 997)]
    check(layers.Hashing(2**40), [np.array([[chr(c)] for c in codes], object)])


@pytest.mark.parametrize("dtype", ["int64", "int32", "float32", "uint8"])
@pytest.mark.parametrize("settings", [{}, {"mask_value": 3}, {"salt": [133, 137]}, {"dtype": "int32"}])
def test_hashing_of_numbers(settings: dict[str, Any], dtype: str) -> None:
    sign = 1 if dtype == "uint8" else -1
    data = [(np.random.default_rng(n).integers(-9 * (sign < 0), 200, (n, 3)) * sign).astype(dtype) for n in (1, 0, 50)]
    if dtype == "int64":
        data.append(np.array([[2**63 - 1, -(2**63), 0], [10**18, -(10**17), 9]]))
    check(layers.Hashing(1000, **settings), data, dtype, 18)


@pytest.mark.parametrize("shape", [(), (1,)])
@pytest.mark.parametrize("mode", ["int", "one_hot"])
@pytest.mark.parametrize("second", ["string", "int32"])
def test_hashed_crossing(second: str, mode: str, shape: tuple[int, ...]) -> None:
    inputs = [keras.Input(shape, dtype="string", name="a"), keras.Input(shape, dtype=second, name="b")]
    model = keras.Model(inputs, layers.HashedCrossing(50, output_mode=mode)(inputs))
    running = session(converted(model, OPSETS))
    for n in (1, 7):
        numbers = np.random.default_rng(n).integers(-5, 5, (n, *shape)).astype("int32")
        data = [strings(n, *shape, seed=n), numbers if second == "int32" else strings(n, *shape, seed=n + 1)]
        (got,) = running.run(None, dict(zip("ab", data, strict=True)))
        wanted = np.asarray(model([tf.constant(part) for part in data]))
        np.testing.assert_array_equal(got, wanted)
        assert got.dtype == wanted.dtype


# --- TextVectorization ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("standardize", ["lower_and_strip_punctuation", "lower", "strip_punctuation", None])
@pytest.mark.parametrize("split", ["whitespace", "character", None])
@pytest.mark.parametrize("ngrams", [None, 2, (2, 1)])
def test_steps_of_text_vectorization(standardize: str | None, split: str | None, ngrams: Any) -> None:
    layer = layers.TextVectorization(vocabulary=WORDS, standardize=standardize, split=split, ngrams=ngrams)
    shape = (4,) if split is None else (1,)
    sizes = (1, 20) if split is None and ngrams else (1, 0, 20)
    check(layer, [strings(n, *shape, pool=TEXTS, seed=n) for n in sizes])


@pytest.mark.parametrize("length", [3, 50])
@pytest.mark.parametrize("split", ["whitespace", None])
def test_output_sequence_length(split: str | None, length: int) -> None:
    layer = layers.TextVectorization(vocabulary=WORDS, split=split, output_sequence_length=length)
    check(layer, [strings(n, 1, pool=TEXTS, seed=n) for n in (1, 0, 20)])


@pytest.mark.parametrize("mode", ["one_hot", "multi_hot", "count", "tf_idf"])
@pytest.mark.parametrize("split", ["whitespace", None])
def test_output_modes_of_text_vectorization(split: str | None, mode: str) -> None:
    weights = {"idf_weights": [0.5 + k for k in range(len(WORDS))]} if mode == "tf_idf" else {}
    layer = layers.TextVectorization(
        vocabulary=WORDS, split=split, output_mode=mode, max_tokens=30, pad_to_max_tokens=True, ngrams=2, **weights
    )
    shape = (1,) if split else (4,)
    data = [strings(n, *shape, pool=TEXTS, seed=n) for n in (1, 20)]
    if split and mode == "one_hot":
        with pytest.raises(UnsupportedParameter, match="ragged"):
            check(layer, data)
    else:
        check(layer, data)


@pytest.mark.parametrize("shape", [(), (2, 1)])
def test_text_of_other_ranks(shape: tuple[int, ...]) -> None:
    check(layers.TextVectorization(vocabulary=WORDS), [strings(n, *shape, pool=TEXTS, seed=n) for n in (1, 0, 20)])


@pytest.mark.parametrize("opset", [20, 24, 28])
def test_text_at_other_opsets(opset: int) -> None:
    layer = layers.TextVectorization(vocabulary=WORDS, ngrams=2)
    check(layer, [strings(5, 1, pool=TEXTS)], opset={"": opset, "com.microsoft": 1})


def test_a_text_classifier() -> None:
    x = keras.Input((1,), dtype="string", name="text")
    vectors = layers.TextVectorization(vocabulary=WORDS, output_sequence_length=6)(x)
    y = layers.Embedding(len(WORDS) + 2, 4, mask_zero=True)(vectors)
    model = keras.Model(x, layers.Dense(3, activation="softmax")(layers.LSTM(5)(y)))
    data = strings(8, 1, pool=TEXTS)
    (got,) = session(converted(model, OPSETS)).run(None, {"text": data})
    np.testing.assert_allclose(got, np.asarray(model(tf.constant(data))), atol=1e-6)


def test_a_dense_layer_takes_counts_as_numbers() -> None:
    """Keras says that the lookup returns floats, and it returns integers, which Dense then casts."""
    x = keras.Input((3,), dtype="string", name="x")
    counts = layers.StringLookup(vocabulary=VOCABULARY, output_mode="count")(x)
    model = keras.Model(x, layers.Dense(3, bias_initializer="uniform")(counts))
    data = strings(8, 3)
    (got,) = session(converted(model)).run(None, {"x": data})
    np.testing.assert_allclose(got, np.asarray(model(tf.constant(data))), atol=1e-6)


def test_a_feature_space() -> None:
    space = keras.utils.FeatureSpace(
        features={
            "word": keras.utils.FeatureSpace.string_categorical(max_tokens=5),
            "kind": keras.utils.FeatureSpace.integer_categorical(num_oov_indices=1),
            "hashed": keras.utils.FeatureSpace.string_hashed(num_bins=8),
            "size": keras.utils.FeatureSpace.float_normalized(),
            "level": keras.utils.FeatureSpace.float_discretized(num_bins=3),
        },
        crosses=[("word", "hashed")],
        crossing_dim=16,
        output_mode="concat",
    )
    random = np.random.default_rng(0)
    data = {
        "word": strings(40),
        "kind": random.integers(0, 5, 40).astype("int32"),
        "hashed": strings(40, seed=1),
        "size": random.normal(size=40).astype("float32"),
        "level": random.normal(size=40).astype("float32"),
    }
    space.adapt(tf.data.Dataset.from_tensor_slices(data))
    model = keras.Model(space.get_inputs(), space.get_encoded_features())
    proto = converted(model, OPSETS)
    columns = {name: array[:, None] for name, array in data.items()}
    wanted = np.asarray(model({name: tf.constant(array) for name, array in columns.items()}))
    inputs = {value.name: columns[value.name] for value in proto.graph.input}
    (got,) = session(proto).run(None, inputs)
    assert got.dtype == wanted.dtype
    np.testing.assert_allclose(got, wanted, atol=1e-6)


# --- refusals ---------------------------------------------------------------------------------------------------------


def _model(layer: Any, dtype: str = "string") -> Any:
    x = keras.Input((1,), dtype=dtype)
    return keras.Model(x, layer(x))


def test_refusals_name_the_parameter() -> None:
    with pytest.raises(UnsupportedParameter, match="standardize"):
        converted(_model(layers.TextVectorization(vocabulary=WORDS, standardize=tf.strings.upper)), OPSETS)
    with pytest.raises(UnsupportedParameter, match="split"):
        converted(_model(layers.TextVectorization(vocabulary=WORDS, split=lambda t: tf.strings.split(t, ","))), OPSETS)
    with pytest.raises(UnsupportedParameter, match="ragged"):
        converted(_model(layers.TextVectorization(vocabulary=WORDS, ragged=True)), OPSETS)


def test_text_converts_with_the_default_arguments() -> None:
    check(layers.TextVectorization(vocabulary=WORDS), [strings(5, 1, pool=TEXTS)], opset=21)


def test_what_text_needs_is_said() -> None:
    with pytest.raises(OpsetNotSupported, match=r"com\.microsoft"):
        converted(_model(layers.TextVectorization(vocabulary=WORDS)), {"": 21})
    with pytest.raises(OpsetNotSupported, match="opset 20"):
        converted(_model(layers.Hashing(5)), {"": 18, "com.microsoft": 1})
    with pytest.raises(OpsetNotSupported, match="bit operations"):
        converted(_model(layers.Hashing(5), "int64"), 17)
    with pytest.raises(NotFitted, match="adapt"):
        converted(_model(layers.StringLookup()))
    with pytest.raises(InvalidType, match="text"):
        converted(_model(layers.StringLookup(vocabulary=VOCABULARY), "int64"))
