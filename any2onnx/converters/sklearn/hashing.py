"""sklearn.feature_extraction: HashingVectorizer and FeatureHasher: murmur hashes of n-grams as text."""

from __future__ import annotations

from typing import Any

import numpy as np

from any2onnx.converters.sklearn.character_numbers import BLANK, UNKNOWN, number, padded_words, space_masks
from any2onnx.converters.sklearn.dict_vectorizer import named_columns
from any2onnx.converters.sklearn.feature_extraction import normalized, stop_words
from any2onnx.converters.sklearn.support import Results, as_column, steady_type, width_of, working_type
from any2onnx.converters.sklearn.text_analysis import (
    Tokens,
    check_contrib,
    documents,
    needs_sigma,
    preprocessed,
    without_functions,
    words,
)
from any2onnx.converters.sklearn.text_characters import whitespace
from any2onnx.converters.text.strings import compacted, flags, split_characters
from any2onnx.errors import InvalidType
from any2onnx.graph.builder import GraphBuilder
from any2onnx.graph.types import DataType, TensorSpec, Value, dims_of, dtype_of
from any2onnx.operator_mappings.mapping import Call


def hashing_vectorizer(g: GraphBuilder, call: Call) -> Results:
    """Convert HashingVectorizer: n-grams as text, their murmur hashes, sums by hash."""
    call = without_functions(call)
    model = call.source
    least, most = model.ngram_range
    joins = most > 1 or model.analyzer != "word" or model.lowercase or model.strip_accents
    check_contrib(g, call, opset=20 if joins else 16)
    texts = preprocessed(g, call, documents(g, call), needs_sigma(model, None))
    if model.analyzer == "word":
        parts = words(g, call, texts, stop_words(model), complete=True)
        grams = _word_grams(g, parts, least, most)
    else:
        grams = _character_grams(g, texts, model)
    hashes = [_hashed(g, text, keep) for text, keep in grams]
    value = _hash_sums(g, call, hashes, g.dim(texts, 0), binary=bool(model.binary))
    value = g.Slice(value, [0], [-1], [0])
    return {"transform": g.Cast(normalized(g, value, model.norm), working_type(call))}


def _word_grams(g: GraphBuilder, parts: Tokens, least: int, most: int) -> list[tuple[Value, Value]]:
    """Return (n-grams [M, positions], which of them exist) for each n."""
    empty = g.const(np.asarray("", object))
    text, keep = parts.text, parts.keep
    if keep is not None and most > 1:
        text = compacted(g, text, keep, empty)
        keep = None
    exists = keep if keep is not None else _not_empty(g, text)
    if most == 1:
        return [(text, exists)]
    blank = g.const(np.asarray(" ", object))
    return _grams(g, text, exists, least, most, blank)


def _not_empty(g: GraphBuilder, text: Value) -> Value:
    return g.Cast(g.ml.LabelEncoder(text, keys_strings=[""], values_int64s=[0], default_int64=1), DataType.BOOL)


def _grams(
    g: GraphBuilder, text: Value, exists: Value, least: int, most: int, separator: Value | None
) -> list[tuple[Value, Value]]:
    """Return the n-grams of a sequence without gaps."""
    # Positions at the end, so that every n-gram has as many columns.
    rows = g.dim(text, 0)
    room = g.shape_vector([rows, most])
    padded = g.op("Concat", text, g.Expand(g.const(np.asarray("", object)), room), axis=1)
    present = g.op("Concat", exists, g.Expand(g.const(np.asarray(False)), room), axis=1)
    width = g.dim(text, 1)

    def shifted(value: Value, k: int) -> Value:
        return g.Slice(value, np.asarray([k], np.int64), g.Add(width, np.asarray([k], np.int64)), [1])

    found: list[tuple[Value, Value]] = []
    gram = text
    for n in range(1, most + 1):
        if n > 1:
            if separator is not None:
                gram = g.op("StringConcat", gram, separator)
            gram = g.op("StringConcat", gram, shifted(padded, n - 1))
        if n >= least:
            found.append((gram, g.And(exists, shifted(present, n - 1))))
    return found


def _character_grams(g: GraphBuilder, texts: Value, model: Any) -> list[tuple[Value, Value]]:
    """Return the n-grams of characters, over the white space or within words."""
    least, most = model.ngram_range
    characters = split_characters(g, texts)
    table = {character: k for k, character in enumerate(whitespace(), start=1)}
    numbers = g.ml.LabelEncoder(
        characters, keys_strings=["", *table], values_int64s=[-1, *table.values()], default_int64=UNKNOWN
    )
    empty, blank = (g.const(np.asarray(text, object)) for text in ("", " "))
    if model.analyzer == "char":
        space, before, behind, present = space_masks(g, numbers)
        text = g.Where(g.And(space, g.Or(before, behind)), blank, characters)
        text = compacted(g, text, g.And(present, g.Not(g.And(space, before))), empty)
        return _grams(g, text, _not_empty(g, text), least, most, None)
    return _grams_within_words(g, characters, numbers, least, most)


def _grams_within_words(
    g: GraphBuilder, characters: Value, numbers: Value, least: int, most: int
) -> list[tuple[Value, Value]]:
    """Return the n-grams of words between blanks; a word that is shorter than `least` as a whole."""
    empty, blank = (g.const(np.asarray(text, object)) for text in ("", " "))
    space, _, _, present = space_masks(g, numbers)
    letter = g.And(present, g.Not(space))
    # The same places as the numbers take; a number of a letter is its column here.
    width = g.dim(characters, 1)
    columns = g.Add(g.Range(number(g, 0), g.Squeeze(width, 0), number(g, 1)), number(g, len(whitespace()) + 1))
    marked = g.Where(letter, columns, numbers)
    placed = padded_words(g, marked)
    first = number(g, len(whitespace()) + 1)
    index = g.Max(g.Sub(placed, first), number(g, 0))
    # With one column more, so that there is one to look at.
    source = g.op("Concat", characters, g.Expand(empty, g.shape_vector([g.dim(characters, 0), 1])), axis=1)
    letters = g.GatherElements(source, index, axis=1)
    is_letter = g.GreaterOrEqual(placed, first)
    is_blank = g.Equal(placed, number(g, BLANK))
    text = g.Where(is_letter, letters, g.Where(is_blank, blank, empty))
    exists = g.Or(is_letter, is_blank)
    return _grams_between_marks(g, text, exists, is_blank, least, most)


def _grams_between_marks(
    g: GraphBuilder, text: Value, exists: Value, is_blank: Value, least: int, most: int
) -> list[tuple[Value, Value]]:
    rows, width = g.dim(text, 0), g.dim(text, 1)
    room = g.shape_vector([rows, most])
    padded = g.op("Concat", text, g.Expand(g.const(np.asarray("", object)), room), axis=1)
    false = g.Expand(g.const(np.asarray(False)), room)
    present, blanks = (g.op("Concat", mask, false, axis=1) for mask in (exists, is_blank))

    def shifted(value: Value, k: int) -> Value:
        return g.Slice(value, np.asarray([k], np.int64), g.Add(width, np.asarray([k], np.int64)), [1])

    # The mark comes before each word's first blank.
    opening = g.And(
        is_blank, g.Not(g.Cast(g.Slice(g.Pad(flags(g, exists), [0, 1, 0, 0]), [0], [-1], [1]), DataType.BOOL))
    )
    found: list[tuple[Value, Value]] = []
    gram, whole = text, exists
    for n in range(1, most + 1):
        if n > 1:
            gram = g.op("StringConcat", gram, shifted(padded, n - 1))
            whole = g.And(whole, shifted(present, n - 1))
        if n >= least:
            found.append((gram, whole))
        elif n >= 3:
            # A whole word with its blanks that is shorter than the shortest n-gram.
            found.append((gram, g.And(g.And(whole, opening), shifted(blanks, n - 1))))
    return found


def _hashed(g: GraphBuilder, text: Value, keep: Value) -> tuple[Value, Value]:
    """Return (murmurhash3_32 as signed int64, keep)."""
    hashed = g.ops("MurmurHash3", text, domain="com.microsoft", types=[_int32_like(text)], seed=0, positive=0)[0]
    return g.Cast(hashed, DataType.INT64), keep


def _int32_like(text: Value) -> TensorSpec:
    dims = dims_of(text.shape)
    return TensorSpec(DataType.INT32, None if dims is None else tuple(dims))


def _hash_sums(g: GraphBuilder, call: Call, hashes: list[tuple[Value, Value]], rows: Value, *, binary: bool) -> Value:
    """Return the sums of the terms' signs by hash, [rows, n_features]."""
    model = call.source
    dtype = steady_type(call)
    value = g.op("Concat", *(h for h, _ in hashes), axis=1) if len(hashes) > 1 else hashes[0][0]
    keep = g.op("Concat", *(k for _, k in hashes), axis=1) if len(hashes) > 1 else hashes[0][1]
    index = g.Mod(g.Abs(value), number(g, int(model.n_features)))
    weight = g.Cast(keep, dtype)
    if model.alternate_sign and not binary:
        positive = g.GreaterOrEqual(value, number(g, 0))
        weight = g.Where(positive, weight, g.Neg(weight))
    room = g.Expand(g.scalar_like(0.0, weight), g.shape_vector([rows, int(model.n_features)]))
    sums = g.op("ScatterElements", room, index, weight, axis=1, reduction="add")
    return g.Cast(g.Greater(sums, g.scalar_like(0.0, sums)), dtype) if binary else sums


def feature_hasher(g: GraphBuilder, call: Call) -> Results:
    """Convert FeatureHasher: on a matrix of text (input_type="string"), or on one input per key of the dicts or pairs.

    Raises:
        InvalidType: Numbers where text is hashed.
        OpsetNotSupported: Text needs com.microsoft and opset 16, text with a name before it opset 20.
    """
    model = call.source
    if model.input_type != "string":
        return {"transform": g.Cast(_hashed_entries(g, call), working_type(call))}
    check_contrib(g, call, opset=16)
    parts = [as_column(g, value) for value in call.inputs]
    if any(dtype_of(part) != DataType.STRING for part in parts):
        raise InvalidType("the features are not text", where=call.location or None, needs="columns of text")
    text = parts[0] if len(parts) == 1 else g.op("Concat", *parts, axis=1)
    everything = g.Expand(g.const(np.asarray(True)), g.Shape(text))
    value = _hash_sums(g, call, [_hashed(g, text, everything)], g.dim(text, 0), binary=False)
    return {"transform": g.Cast(value, working_type(call))}


def _hashed_entries(g: GraphBuilder, call: Call) -> Value:
    """Return the sums of entries with the names of the inputs: numbers at their name's hash, text as `name=text`.

    Raises:
        InvalidType: An input of several columns.
    """
    from sklearn.utils import murmurhash3_32

    model, dtype = call.source, steady_type(call)
    width = int(model.n_features)
    entries = named_columns(g, call)
    rows = g.dim(entries[0][1], 0)
    sums = g.Expand(g.const(np.zeros((1, 1), dtype.numpy())), g.shape_vector([rows, width]))
    texts: list[tuple[Value, Value]] = []
    for name, value in entries:
        if width_of(value) != 1:
            raise InvalidType(
                f"input {name!r} has {width_of(value)} columns",
                where=call.location or None,
                needs="one input per key of the dicts, with its name",
            )
        if dtype_of(value) == DataType.STRING:
            check_contrib(g, call, opset=20)
            whole = g.op("StringConcat", g.const(np.asarray(f"{name}=", object)), value)
            texts.append(_hashed(g, whole, g.Expand(g.const(np.asarray(True)), g.Shape(whole))))
            continue
        number_of_name = murmurhash3_32(name, seed=0, positive=False)
        sign = -1.0 if model.alternate_sign and number_of_name < 0 else 1.0
        place = np.zeros((1, width), dtype.numpy())
        place[0, abs(number_of_name) % width] = sign
        # NaN and infinity stay at their place.
        there = g.const(place != 0)
        sums = g.Add(
            sums, g.Where(there, g.Mul(g.Cast(value, dtype), g.scalar_like(sign, sums)), g.scalar_like(0.0, sums))
        )
    return g.Add(sums, _hash_sums(g, call, texts, rows, binary=False)) if texts else sums
