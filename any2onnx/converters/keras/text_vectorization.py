"""TextVectorization: standardise, split, n-grams, vocabulary, as TensorFlow's string operations have them.

These look at bytes: lower case and punctuation are ASCII's, white space is ASCII's six characters. Characters beyond
ASCII stay as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from any2onnx.converters.keras.calls import LayerCall
from any2onnx.converters.keras.lookup import numbers_of, of_numbers
from any2onnx.converters.text.strings import (
    FIRST_WITH_JOIN,
    compacted,
    joined,
    number,
    require_contrib,
    split_characters,
    tokenizer,
)
from any2onnx.errors import InvalidType
from any2onnx.graph.builder import GraphBuilder
from any2onnx.graph.types import DataType, Value, dtype_of, rank_of, shape_of

_TO_END: Final = np.iinfo(np.int64).max
_PUNCTUATION: Final = r"[!-/:-@\[-`{-~]"
_WORD: Final = r"[^\t\n\v\f\r ]+"


@dataclass(frozen=True, slots=True)
class _Tokens:
    """Tokens of texts.

    Attributes:
        rows: [M + 1, T]; "" behind the last token of a text. The last row is of no text: some operators refuse empty
            batches.
        leading: Value of the shape that M stands for.
        dims: What is known of that shape.
        ragged: The texts have numbers of tokens of their own, as opposed to one for all.
    """

    rows: Value
    leading: Value
    dims: tuple[int | str | None, ...]
    ragged: bool


def text_vectorization(g: GraphBuilder, call: LayerCall) -> Value:
    """Convert TextVectorization.

    Raises:
        UnsupportedParameter: A step is a Python function, or the output would be ragged.
    """
    layer, x = call.source, call.inputs[0]
    _refuse(call)
    if dtype_of(x) != DataType.STRING:
        raise InvalidType(
            f"{type(layer).__name__} is called on {dtype_of(x).name.lower()}",
            where=call.location or None,
            needs="text",
        )
    x = _without_last_dim(g, call, x) if layer._split is not None else x
    tokens = _tokens(g, call, x)
    if layer._ngrams is not None:
        tokens = _Tokens(_ngrams(g, call, tokens, layer._ngrams), tokens.leading, tokens.dims, tokens.ragged)
    if layer._output_mode != "int" and tokens.ragged and (len(tokens.dims) > 1 or layer._output_mode == "one_hot"):
        raise call.unsupported(
            "output_mode", layer._output_mode, "its output would be ragged", remedy="output_mode='int', or 'multi_hot'"
        )
    index = g.Slice(numbers_of(g, call, layer._lookup_layer, tokens.rows), [0], [-1], [0])
    length = layer._output_sequence_length
    if layer._output_mode == "int" and length is not None:
        index = _of_length(g, index, int(length))
    width = int(length) if length is not None else shape_of(index)[-1]
    shape = g.op("Concat", tokens.leading, g.dim(index, 1), axis=0)
    # A matrix comes back to the rank of the input.
    index = g.annotate(g.Reshape(index, shape, allowzero=g.opsets.main >= 14), (*tokens.dims, width))
    return of_numbers(g, layer._lookup_layer, index)


def _refuse(call: LayerCall) -> None:
    layer = call.source
    for name, value in (("standardize", layer._standardize), ("split", layer._split)):
        if callable(value):
            raise call.unsupported(
                name,
                getattr(value, "__name__", value),
                "it is a Python function of TensorFlow strings",
                remedy="one of the names that Keras offers",
            )
    if layer._ragged:
        raise call.unsupported("ragged", True, "ONNX tensors are not ragged", remedy="ragged=False")


def _without_last_dim(g: GraphBuilder, call: LayerCall, x: Value) -> Value:
    """Return x without its last dim of size 1, which Keras asks of everything but vectors."""
    rank = rank_of(x)
    if rank == 1:
        return x
    if shape_of(x)[-1] not in (1, None) and isinstance(shape_of(x)[-1], int):
        raise InvalidType(
            f"{type(call.source).__name__} takes texts of shape {list(shape_of(x))} apart",
            where=call.location or None,
            needs="a vector, or a last dim of size 1",
        )
    return g.Squeeze(x, rank - 1)


def _tokens(g: GraphBuilder, call: LayerCall, x: Value) -> _Tokens:
    """Return the tokens of standardised texts of any shape."""
    layer = call.source
    empty = g.const(np.asarray([""], object))
    texts = _standardized(g, call, g.op("Concat", g.Reshape(x, [-1]), empty, axis=0))
    if layer._split is None:
        # The last dim is one of tokens already.
        dims = shape_of(x)
        texts = g.Slice(texts, [0], [-1], [0])
        width = g.dim(x, -1)
        rows = g.Reshape(texts, g.shape_vector([-1, width])) if len(dims) > 1 else g.Unsqueeze(texts, 0)
        blank = g.Expand(g.const(np.asarray("", object)), g.shape_vector([1, width]))
        leading = g.Shape(x, end=-1) if len(dims) > 1 else g.const(np.zeros(0, np.int64))
        return _Tokens(g.op("Concat", rows, blank, axis=0), leading, dims[:-1], ragged=False)
    require_contrib(g, type(layer).__name__, call.location)
    rows = split_characters(g, texts) if layer._split == "character" else tokenizer(g, texts, tokenexp=_WORD)
    return _Tokens(rows, g.Shape(x), shape_of(x), ragged=True)


def _standardized(g: GraphBuilder, call: LayerCall, texts: Value) -> Value:
    standardize = call.source._standardize
    if standardize in ("lower", "lower_and_strip_punctuation"):
        # Under this locale only ASCII is lowered.
        texts = g.StringNormalizer(texts, case_change_action="LOWER", is_case_sensitive=1, locale="C")
    if standardize in ("strip_punctuation", "lower_and_strip_punctuation"):
        require_contrib(g, type(call.source).__name__, call.location, opset=FIRST_WITH_JOIN)
        texts = joined(g, tokenizer(g, texts, separators=[_PUNCTUATION]))
    return texts


def _ngrams(g: GraphBuilder, call: LayerCall, tokens: _Tokens, widths: Sequence[int]) -> Value:
    """Return the n-grams of every width, one width after the other, joined by blanks; again with "" at the end."""
    require_contrib(g, type(call.source).__name__, call.location, opset=FIRST_WITH_JOIN)
    rows = tokens.rows
    blank, empty = g.const(np.asarray(" ", object)), g.const(np.asarray("", object))
    count = g.dim(rows, 1)
    margin = g.Expand(empty, g.shape_vector([g.dim(rows, 0), max(widths)]))
    wide = g.op("Concat", rows, margin, axis=1)
    lengths = _lengths(g, tokens)
    position = g.Range(number(g, 0), g.Squeeze(count, 0), number(g, 1))
    found, kept = [], []
    for width in widths:
        gram = rows
        for k in range(1, width):
            later = g.Slice(wide, [k], g.Add(count, np.asarray([k], np.int64)), [1])
            gram = g.op("StringConcat", g.op("StringConcat", gram, blank), later)
        found.append(gram)
        kept.append(g.LessOrEqual(g.Add(position, number(g, width)), g.Unsqueeze(lengths, 1)))
    values = g.op("Concat", *found, axis=1) if len(found) > 1 else found[0]
    keep = g.op("Concat", *kept, axis=1) if len(kept) > 1 else kept[0]
    packed = compacted(g, values, keep, empty)
    most = g.ReduceMax(g.ReduceSum(g.Cast(keep, DataType.INT64), [1], keepdims=False), [0])
    result = g.Slice(packed, [0], most, [1])
    known = shape_of(rows)[1]
    if tokens.ragged or not isinstance(known, int):
        return result
    return g.annotate(result, (None, sum(max(known - width + 1, 0) for width in widths)))


def _lengths(g: GraphBuilder, tokens: _Tokens) -> Value:
    """Return the number of tokens of every row."""
    if not tokens.ragged:
        return g.Expand(g.Squeeze(g.dim(tokens.rows, 1), 0), g.dim(tokens.rows, 0))
    some = g.ml.LabelEncoder(tokens.rows, keys_strings=[""], values_int64s=[0], default_int64=1)
    return g.ReduceSum(some, 1, keepdims=False)


def _of_length(g: GraphBuilder, index: Value, length: int) -> Value:
    """Return rows cut to a length, or filled with zeros."""
    room = g.Expand(number(g, 0), g.shape_vector([g.dim(index, 0), length]))
    return g.Slice(g.op("Concat", index, room, axis=1), [0], [length], [1])
