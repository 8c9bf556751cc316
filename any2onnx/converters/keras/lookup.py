"""StringLookup and IntegerLookup: tables of text or integers to numbers, and back.

Tokens out of vocabulary go to one number, or by their hash to one of several. Where the layer has no number for them
it raises an error; the converted model stops with an error as well.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from any2onnx.converters.keras.calls import LayerCall
from any2onnx.converters.keras.categories import encoded
from any2onnx.converters.keras.weights import read_array
from any2onnx.converters.text.byte_strings import ByteStrings, decimal_bytes, utf8_bytes
from any2onnx.converters.text.hashes import FIRST_WITH_BITS, bucket, farm_fingerprint, sip_hash
from any2onnx.converters.text.strings import FIRST_WITH_JOIN, number, require_contrib
from any2onnx.errors import InvalidType, NotFitted, OpsetNotSupported
from any2onnx.graph.builder import GraphBuilder
from any2onnx.graph.types import DataType, Value, dtype_of, shape_of, to_dtype

Array = np.ndarray[Any, Any]
_UNKNOWN: Final = -1


@dataclass(frozen=True, slots=True)
class _Table:
    """Tokens and their numbers; text as Python strings."""

    tokens: Array
    numbers: Array


def lookup(g: GraphBuilder, call: LayerCall) -> Value:
    """Convert StringLookup or IntegerLookup, in any output mode, or inverted. Sparse outputs come as dense ones."""
    layer = call.source
    if layer.invert:
        return inverted(g, call, layer, call.inputs[0])
    return categories(g, call, layer, call.inputs[0])


def categories(g: GraphBuilder, call: LayerCall, layer: Any, x: Value) -> Value:
    """Return what a lookup layer that is not inverted makes of tokens of any shape."""
    return of_numbers(g, layer, numbers_of(g, call, layer, x))


def of_numbers(g: GraphBuilder, layer: Any, index: Value) -> Value:
    """Return the output of a lookup layer in its output mode, from the numbers of the tokens."""
    mode = layer.output_mode
    if mode == "int":
        return index
    depth = int(layer.max_tokens if layer.pad_to_max_tokens else layer._frozen_vocab_size)
    found = encoded(g, index, "count" if mode == "tf_idf" else mode, depth, DataType.INT64)
    if mode != "tf_idf":
        return found
    weights = read_array(layer.idf_weights_const)
    return g.Mul(g.Cast(found, to_dtype(weights.dtype)), g.const(weights, name="idf_weights"))


def numbers_of(g: GraphBuilder, call: LayerCall, layer: Any, x: Value) -> Value:
    """Return the numbers of tokens, int64 in the shape of x.

    Raises:
        InvalidType: Text is looked up in a table of integers, or the other way round.
        NotFitted: The vocabulary is empty.
    """
    x = _keys(g, call, layer, x)
    table = _table(call, layer)
    tokens, numbers = table.tokens, table.numbers
    if layer.mask_token is not None:
        # The mask comes before the table. In other modes than int it is no category.
        kept = tokens != layer.mask_token
        masked = 0 if layer.output_mode == "int" else np.iinfo(np.int64).max
        tokens = np.append(tokens[kept], np.asarray([layer.mask_token], tokens.dtype))
        numbers = np.append(numbers[kept], masked)
    several = int(layer.num_oov_indices)
    start = int(layer._oov_start_index())
    if several == 1:
        return _encoder(g, x, tokens, numbers, start)
    if several == 0:
        # Keras raises an error for unknown tokens. A position behind the end of the table does so here.
        position = _encoder(g, x, tokens, np.arange(len(tokens), dtype=np.int64), len(tokens))
        return g.Gather(g.const(numbers.astype(np.int64), name="numbers"), position, axis=0)
    known = _encoder(g, x, tokens, numbers, _UNKNOWN)
    return _hashed_unknowns(g, call, layer, x, known, several, start)


def _keys(g: GraphBuilder, call: LayerCall, layer: Any, x: Value) -> Value:
    text = layer.vocabulary_dtype == "string"
    if text != (dtype_of(x) == DataType.STRING):
        raise InvalidType(
            f"{type(layer).__name__} is called on {dtype_of(x).name.lower()}",
            where=call.location or None,
            needs="text" if text else "integers",
        )
    return x if text else g.Cast(x, DataType.INT64)


def _encoder(g: GraphBuilder, x: Value, keys: Array, values: Array, default: int) -> Value:
    """Return int64 numbers by table."""
    given = {"keys_strings": list(keys)} if keys.dtype == object else {"keys_int64s": keys}
    return g.ml.LabelEncoder(x, **given, values_int64s=values, default_int64=default)


def _hashed_unknowns(
    g: GraphBuilder, call: LayerCall, layer: Any, x: Value, known: Value, several: int, start: int
) -> Value:
    """Return the numbers with those of unknown tokens from a hash."""
    if layer.vocabulary_dtype != "string" and layer.oov_method != "farmhash":
        other = g.Add(g.Mod(x, number(g, several)), number(g, start))
        return g.Where(g.Equal(known, number(g, _UNKNOWN)), other, known)
    flat, flat_known = g.Reshape(x, [-1]), g.Reshape(known, [-1])
    where = g.Squeeze(g.NonZero(g.Equal(flat_known, number(g, _UNKNOWN))), 0)
    other = hash_buckets(g, call, g.Gather(flat, where, axis=0), several, layer.salt)
    mixed = g.op("ScatterElements", flat_known, where, g.Add(other, number(g, start)), axis=0)
    return g.annotate(g.Reshape(mixed, g.Shape(x)), shape_of(known))


def hash_buckets(g: GraphBuilder, call: LayerCall, values: Value, count: int, salt: Any) -> Value:
    """Return TensorFlow's hash buckets of texts or integers [M], int64: FarmHash, SipHash under a salt.

    Raises:
        OpsetNotSupported: The opset lacks bit operations, or com.microsoft is not among the targets.
    """
    strings = byte_strings(g, call, values)
    hashed = farm_fingerprint(g, strings) if salt is None else sip_hash(g, strings, [int(k) for k in salt])
    # The last one was put there by `byte_strings`.
    return g.Slice(bucket(g, hashed, count), [0], [-1], [0])


def byte_strings(g: GraphBuilder, call: LayerCall, values: Value) -> ByteStrings:
    """Return the bytes of texts or integers [M], and of one more at the end: some operators refuse empty batches."""
    if dtype_of(values) == DataType.STRING:
        require_contrib(g, type(call.source).__name__, call.location, opset=FIRST_WITH_JOIN)
        return utf8_bytes(g, g.op("Concat", values, g.const(np.asarray([""], object)), axis=0))
    if g.opsets.main < FIRST_WITH_BITS:
        raise OpsetNotSupported(
            f"the hash of {type(call.source).__name__} needs bit operations",
            where=call.location or None,
            needs=f"opset ≥ {FIRST_WITH_BITS}",
            remedy=f"target_opset={FIRST_WITH_BITS}",
        )
    return decimal_bytes(g, g.op("Concat", values, g.const(np.asarray([0], dtype_of(values).numpy())), axis=0))


def inverted(g: GraphBuilder, call: LayerCall, layer: Any, x: Value) -> Value:
    """Return the tokens of numbers of any shape."""
    x = g.Cast(x, DataType.INT64)
    table = _table(call, layer)
    tokens, numbers = table.tokens, table.numbers
    if layer.mask_token is not None:
        kept = numbers != 0
        tokens = np.append(tokens[kept], np.asarray([layer.mask_token], tokens.dtype))
        numbers = np.append(numbers[kept], 0)
    if tokens.dtype == object:
        return g.ml.LabelEncoder(
            x, keys_int64s=numbers, values_strings=list(tokens), default_string=str(layer.oov_token)
        )
    return g.ml.LabelEncoder(x, keys_int64s=numbers, values_int64s=tokens, default_int64=int(layer.oov_token))


def _table(call: LayerCall, layer: Any) -> _Table:
    """Return the vocabulary, in the order of its numbers.

    Raises:
        NotFitted: It is empty.
        UnsupportedParameter: A token is no UTF-8, and has to be an output.
    """
    if int(layer.lookup_table.size()) == 0:
        raise NotFitted(
            f"{type(layer).__name__} {layer.name!r} has no vocabulary",
            where=call.location or None,
            remedy="layer.adapt(data), layer.set_vocabulary(tokens), or vocabulary=[...]",
        )
    keys, values = (np.asarray(part) for part in layer.lookup_table.export())
    tokens, numbers = (values, keys) if layer.invert else (keys, values)
    order = np.argsort(numbers, kind="stable")
    tokens, numbers = tokens[order], numbers[order].astype(np.int64)
    if tokens.dtype != object:
        return _Table(tokens.astype(np.int64), numbers)
    texts = [_decoded(token) for token in tokens]
    if None not in texts:
        return _Table(np.asarray(texts, object), numbers)
    if layer.invert:
        raise call.unsupported("vocabulary", "…", "a token is no UTF-8 text, and ONNX has no other text")
    # No text that ONNX can hold is equal to such a token.
    readable = np.asarray([text is not None for text in texts])
    return _Table(np.asarray([text for text in texts if text is not None], object), numbers[readable])


def _decoded(token: bytes | str) -> str | None:
    if isinstance(token, str):
        return token
    try:
        return token.decode("utf-8")
    except UnicodeDecodeError:
        return None
