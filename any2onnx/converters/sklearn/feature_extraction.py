"""sklearn.feature_extraction.text and hashing: counts of words and characters, tf-idf, hashes.

Terms are numbered by a table, n-grams of the numbers are counted by TfIdfVectorizer. Counts come in the working type:
scikit-learn's integers are exact in it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from any2onnx.converters.sklearn import sparse_rows
from any2onnx.converters.sklearn.support import (
    Array,
    Results,
    as_column,
    matrix,
    steady_type,
    working_type,
)
from any2onnx.converters.sklearn.text_analysis import (
    Tokens,
    check_contrib,
    documents,
    needs_sigma,
    preprocessed,
    refuse_callables,
    unknown_as_nan,
    word_pattern,
    words,
)
from any2onnx.converters.sklearn.text_characters import whitespace
from any2onnx.converters.text.strings import compacted, flags, split_characters
from any2onnx.errors import InvalidType, UnsupportedParameter
from any2onnx.graph.builder import GraphBuilder
from any2onnx.graph.types import DataType, TensorSpec, Value, dims_of, dtype_of
from any2onnx.operator_mappings.mapping import Call

# Numbers of characters: 0 for an unknown one, then white space with the blank first, then those of the vocabulary.
_UNKNOWN: Final = 0
_BLANK: Final = 1


@dataclass(frozen=True, slots=True)
class _Pool:
    """Terms as tuples of numbers, with their columns."""

    terms: list[tuple[int, ...]]
    columns: list[int]


def _number(g: GraphBuilder, number: int) -> Value:
    return g.const(np.asarray(number, np.int64))


def _stop_words(model: Any) -> frozenset[str]:
    # Character analysers take no notice of stop words.
    return frozenset(model.get_stop_words() or ()) if model.analyzer == "word" else frozenset()


# --- counts -----------------------------------------------------------------------------------------------------------


def _counts(g: GraphBuilder, call: Call, weights: Array | None = None) -> Value:
    """Return how often each term of the vocabulary is in each document, float32 [N, terms].

    The sparse form, which is attached for a large vocabulary, holds plain counts, without the weights.

    Args:
        g: Builder.
        call: Its source is a fitted CountVectorizer.
        weights: Factor of each term; None for plain counts.
    """
    model = call.source
    refuse_callables(call)
    check_contrib(g, call)
    # skl2onnx's TraceableCountVectorizer keeps the words of an n-gram apart.
    split = {" ".join(term): term for term in model.vocabulary_ if isinstance(term, tuple)}
    vocabulary = {
        " ".join(term) if isinstance(term, tuple) else str(term): int(column)
        for term, column in model.vocabulary_.items()
    }
    texts = preprocessed(g, call, documents(g, call), needs_sigma(model, vocabulary))
    if model.analyzer == "word":
        numbers, pool = _word_numbers(g, call, texts, vocabulary, split)
    else:
        numbers, pool = _character_numbers(g, call, texts, vocabulary)
    numbers = g.Slice(numbers, [0], [-1], [0])
    result = _counted(g, numbers, pool, len(vocabulary), binary=bool(model.binary), weights=weights)
    if sparse_rows.worthwhile(g, len(vocabulary)):
        sparse_rows.attach(result, _sparse_counts(g, numbers, pool, steady_type(call), binary=bool(model.binary)))
    return result


def _sparse_counts(
    g: GraphBuilder, numbers: Value, pool: _Pool, dtype: DataType, *, binary: bool
) -> sparse_rows.SparseRows | None:
    """Return the counts of the pool's n-grams as sparse rows; None where an n-gram's number has too many digits."""
    zero, end = _number(g, 0), np.iinfo(np.int64).max
    base = 1 + max((number for term in pool.terms for number in term), default=0)
    longest = max((len(term) for term in pool.terms), default=1)
    if base**longest > end:
        return None
    # An n-gram is the number with these digits. Terms have no digit 0, which stands for an unknown one and for the end.
    digits = g.Max(numbers, zero)
    gram = digits
    columns: list[Value] = []
    for n in range(1, longest + 1):
        if n > 1:
            gram = g.Add(g.Mul(g.Slice(gram, [0], [-1], [1]), _number(g, base)), g.Slice(digits, [n - 1], [end], [1]))
        chosen = [k for k, term in enumerate(pool.terms) if len(term) == n]
        if chosen:
            keys = np.asarray([pool.terms[k] for k in chosen], np.int64) @ (base ** np.arange(n - 1, -1, -1))
            found = [pool.columns[k] for k in chosen]
            columns.append(g.ml.LabelEncoder(gram, keys_int64s=keys.tolist(), values_int64s=found, default_int64=-1))
    # One place more, so that there is one.
    nothing = g.Expand(_number(g, -1), g.shape_vector([g.dim(numbers, 0), 1]))
    rows = sparse_rows.counts(g, g.op("Concat", *columns, nothing, axis=1), dtype)
    if not binary:
        return rows
    return sparse_rows.SparseRows(rows.columns, g.Min(rows.values, g.scalar_like(1.0, rows.values)))


def _counted(g: GraphBuilder, numbers: Value, pool: _Pool, width: int, *, binary: bool, weights: Array | None) -> Value:
    """Return the counts of the pool's n-grams in rows of numbers."""
    present = set(pool.columns)
    # Terms that no document can have still are columns: numbers below -1 are never produced.
    absent = [(-2 - column,) for column in range(width) if column not in present]
    terms = [*pool.terms, *absent]
    columns = [*pool.columns, *(column for column in range(width) if column not in present)]
    order = sorted(range(len(terms)), key=lambda k: (len(terms[k]), columns[k]))
    longest = max(len(term) for term in terms)
    sizes = [sum(len(t) for t in terms if len(t) == n) for n in range(1, longest + 1)]
    indices = [columns[k] for k in order]
    factors = None if weights is None else [float(w) for w in np.asarray(weights, np.float32)]

    def count(inner: GraphBuilder) -> Value:
        return inner.TfIdfVectorizer(
            numbers,
            min_gram_length=1,
            max_gram_length=longest,
            max_skip_count=0,
            mode=("IDF" if binary else "TF") if factors is None else "TFIDF",
            ngram_counts=np.concatenate(([0], np.cumsum(sizes)[:-1])).astype(int).tolist(),
            ngram_indexes=indices,
            pool_int64s=[number for k in order for number in terms[k]],
            weights=[factors[column] for column in indices] if factors is not None else None,
        )

    def nothing(inner: GraphBuilder) -> Value:
        return inner.Identity(inner.const(np.zeros((0, width), np.float32)))

    some = g.Greater(g.Squeeze(g.dim(numbers, 0), 0), _number(g, 0))
    (result,) = g.If(some, count, nothing)
    return g.annotate(result, [None, width])


def _word_numbers(
    g: GraphBuilder,
    call: Call,
    texts: Value,
    vocabulary: Mapping[str, int],
    split: Mapping[str, tuple[str, ...]],
) -> tuple[Value, _Pool]:
    model = call.source
    least, most = model.ngram_range
    stop_words = _stop_words(model)
    pattern = word_pattern(call)
    if most > 1 and pattern.has_blank and len(split) < len(vocabulary):
        raise UnsupportedParameter(
            f"token_pattern={model.token_pattern!r} lets tokens contain blanks, which n-grams are joined by",
            where=call.location or None,
            needs="ngram_range=(1, 1) or a pattern without blanks",
        )
    tokens = words(g, call, texts, stop_words, complete=most > 1)
    table: dict[str, int] = {}
    pool = _Pool([], [])
    for term, column in sorted(vocabulary.items(), key=lambda item: item[1]):
        parts = split.get(term) or (term.split(" ") if most > 1 else [term])
        if not least <= len(parts) <= most or not all(_is_token(part, pattern.check, stop_words) for part in parts):
            continue
        pool.terms.append(tuple(table.setdefault(part, len(table) + 1) for part in parts))
        pool.columns.append(column)
    table = table or {"": _UNKNOWN}
    numbers = g.ml.LabelEncoder(
        tokens.text, keys_strings=list(table), values_int64s=list(table.values()), default_int64=_UNKNOWN
    )
    if tokens.keep is not None:
        numbers = compacted(g, numbers, tokens.keep, _number(g, -1))
    return numbers, pool


def _is_token(part: str, check: str | None, stop_words: frozenset[str]) -> bool:
    return part != "" and part not in stop_words and (check is None or re.fullmatch(check, part) is not None)


def _character_numbers(g: GraphBuilder, call: Call, texts: Value, vocabulary: Mapping[str, int]) -> tuple[Value, _Pool]:
    model = call.source
    least, most = model.ngram_range
    blanks = whitespace()
    alphabet = sorted(set("".join(vocabulary)) - set(blanks))
    table = {character: k for k, character in enumerate((*blanks, *alphabet), start=1)}
    characters = split_characters(g, texts)
    numbers = g.ml.LabelEncoder(
        characters,
        keys_strings=["", *table],
        values_int64s=[-1, *table.values()],
        default_int64=_UNKNOWN,
    )
    within_words = model.analyzer == "char_wb"
    numbers = _padded_words(g, numbers) if within_words else _collapsed(g, numbers)
    pool = _Pool([], [])
    for term, column in sorted(vocabulary.items(), key=lambda item: item[1]):
        # A word that is shorter than the shortest n-gram counts as a whole, with the blanks around it.
        whole = within_words and len(term) < least and _is_padded_word(term)
        if whole or least <= len(term) <= most:
            pool.terms.append(tuple(table[character] for character in term))
            pool.columns.append(column)
    return numbers, pool


def _is_padded_word(term: str) -> bool:
    return len(term) > 2 and term[0] == term[-1] == " " and term[1:-1].split() == [term[1:-1]]


def _space_masks(g: GraphBuilder, numbers: Value) -> tuple[Value, Value, Value, Value]:
    """Return where there is white space, and that of the position before and behind, and where there is a character."""
    present = g.GreaterOrEqual(numbers, _number(g, _UNKNOWN))
    space = g.And(g.GreaterOrEqual(numbers, _number(g, _BLANK)), g.LessOrEqual(numbers, _number(g, len(whitespace()))))
    wide = g.Pad(flags(g, space), [0, 1, 0, 1])
    before = g.Cast(g.Slice(wide, [0], [-2], [1]), DataType.BOOL)
    behind = g.Cast(g.Slice(wide, [2], [np.iinfo(np.int64).max], [1]), DataType.BOOL)
    return space, before, behind, present


def _collapsed(g: GraphBuilder, numbers: Value) -> Value:
    """Return characters with every run of white space as one blank; a single white space stays what it is."""
    space, before, behind, present = _space_masks(g, numbers)
    again = g.And(space, before)
    in_run = g.And(space, g.Or(before, behind))
    value = g.Where(in_run, _number(g, _BLANK), numbers)
    return compacted(g, value, g.And(present, g.Not(again)), _number(g, -1))


def _padded_words(g: GraphBuilder, numbers: Value) -> Value:
    """Return the words, each between two blanks, with a mark between one word's blanks and the next one's."""
    space, _, _, present = _space_masks(g, numbers)
    letter = g.And(present, g.Not(space))
    wide = g.Pad(flags(g, letter), [0, 1, 0, 1])
    before = g.Cast(g.Slice(wide, [0], [-2], [1]), DataType.BOOL)
    behind = g.Cast(g.Slice(wide, [2], [np.iinfo(np.int64).max], [1]), DataType.BOOL)
    starts, ends = g.And(letter, g.Not(before)), g.And(letter, g.Not(behind))
    axis = g.const(np.asarray(1, np.int64))
    # A word's first letter comes behind the mark and a blank, its last letter before a blank.
    ahead = g.Mul(g.CumSum(flags(g, starts), axis), _number(g, 2))
    closed = g.Sub(g.CumSum(flags(g, ends), axis), flags(g, ends))
    position = g.Sub(g.Add(g.Add(g.CumSum(flags(g, letter), axis), ahead), closed), _number(g, 1))
    rows, width = g.dim(numbers, 0), g.dim(numbers, 1)
    room_width = g.Add(g.Mul(width, np.asarray([3], np.int64)), np.asarray([3], np.int64))
    rest = g.Squeeze(g.Sub(room_width, np.asarray([1], np.int64)), 0)
    room = g.Expand(_number(g, -1), g.shape_vector([rows, room_width]))
    blank = g.Expand(_number(g, _BLANK), g.Shape(numbers))
    result = g.op("ScatterElements", room, g.Where(letter, position, rest), numbers, axis=1)
    result = g.op("ScatterElements", result, g.Where(starts, g.Sub(position, _number(g, 1)), rest), blank, axis=1)
    result = g.op("ScatterElements", result, g.Where(ends, g.Add(position, _number(g, 1)), rest), blank, axis=1)
    return g.Slice(result, [0], [-1], [1])


# --- vectorizers ------------------------------------------------------------------------------------------------------


def count_vectorizer(g: GraphBuilder, call: Call) -> Results:
    """Convert CountVectorizer."""
    return {"transform": unknown_as_nan(g, call, sparse_rows.cast(g, _counts(g, call), working_type(call)))}


def tfidf_vectorizer(g: GraphBuilder, call: Call) -> Results:
    """Convert TfidfVectorizer: counts, then TfidfTransformer's steps."""
    model = call.source
    dtype = steady_type(call)
    transformer = model._tfidf
    idf = transformer.idf_ if transformer.use_idf else None
    weighted = dtype == DataType.FLOAT and idf is not None and not transformer.sublinear_tf and not model.binary
    counts = _counts(g, call, idf if weighted else None)
    value = g.Cast(counts, dtype)
    value = _normalized(g, value, transformer.norm) if weighted else _tf_idf(g, value, transformer)
    sparse_rows.attach(value, _sparse_tf_idf(g, sparse_rows.counted(counts), transformer))
    return {"transform": unknown_as_nan(g, call, sparse_rows.cast(g, value, working_type(call)))}


def tfidf_transformer(g: GraphBuilder, call: Call) -> Results:
    """Convert TfidfTransformer, on counts in any numeric type."""
    counts = matrix(g, call, steady_type(call))
    value = _tf_idf(g, counts, call.source)
    sparse_rows.attach(value, _sparse_tf_idf(g, sparse_rows.counted(counts), call.source))
    return {"transform": unknown_as_nan(g, call, sparse_rows.cast(g, value, working_type(call)))}


def _tf_idf(g: GraphBuilder, counts: Value, model: Any) -> Value:
    value = _sublinear(g, counts) if model.sublinear_tf else counts
    if model.use_idf:
        value = g.Mul(value, np.asarray(model.idf_, dtype_of(value).numpy()))
    return _normalized(g, value, model.norm)


def _sparse_tf_idf(g: GraphBuilder, counts: sparse_rows.SparseRows | None, model: Any) -> sparse_rows.SparseRows | None:
    """Return what `_tf_idf` makes of counts, in their sparse form."""
    if counts is None:
        return None
    value = _sublinear(g, counts.values) if model.sublinear_tf else counts.values
    if model.use_idf:
        idf = g.const(np.asarray(model.idf_, dtype_of(value).numpy()), name="idf")
        value = g.Mul(value, g.Gather(idf, counts.columns, axis=0))
    return sparse_rows.SparseRows(counts.columns, _normalized(g, value, model.norm))


def _sublinear(g: GraphBuilder, value: Value) -> Value:
    """Return 1 + log of counts; 0 stays."""
    zero = g.scalar_like(0.0, value)
    absent = g.Equal(value, zero)
    one = g.scalar_like(1.0, value)
    return g.Where(absent, zero, g.Add(g.Log(g.Where(absent, one, value)), one))


def _normalized(g: GraphBuilder, value: Value, norm: str | None) -> Value:
    """Return rows divided by their norm; rows of zeros as they are."""
    if norm is None:
        return value
    size = g.ReduceL1(value, [1]) if norm == "l1" else g.ReduceL2(value, [1])
    zero = g.scalar_like(0.0, size)
    return g.Div(value, g.Where(g.Equal(size, zero), g.scalar_like(1.0, size), size))


# --- hashing ----------------------------------------------------------------------------------------------------------


def hashing_vectorizer(g: GraphBuilder, call: Call) -> Results:
    """Convert HashingVectorizer: n-grams as text, their murmur hashes, sums by hash."""
    model = call.source
    refuse_callables(call)
    least, most = model.ngram_range
    joins = most > 1 or model.analyzer != "word" or model.lowercase or model.strip_accents
    check_contrib(g, call, opset=20 if joins else 16)
    texts = preprocessed(g, call, documents(g, call), needs_sigma(model, None))
    if model.analyzer == "word":
        parts = words(g, call, texts, _stop_words(model), complete=True)
        grams = _word_grams(g, parts, least, most)
    else:
        grams = _character_grams(g, texts, model)
    hashes = [_hashed(g, text, keep) for text, keep in grams]
    value = _hash_sums(g, call, hashes, g.dim(texts, 0), binary=bool(model.binary))
    value = g.Slice(value, [0], [-1], [0])
    return {"transform": g.Cast(_normalized(g, value, model.norm), working_type(call))}


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
        characters, keys_strings=["", *table], values_int64s=[-1, *table.values()], default_int64=_UNKNOWN
    )
    empty, blank = (g.const(np.asarray(text, object)) for text in ("", " "))
    if model.analyzer == "char":
        space, before, behind, present = _space_masks(g, numbers)
        text = g.Where(g.And(space, g.Or(before, behind)), blank, characters)
        text = compacted(g, text, g.And(present, g.Not(g.And(space, before))), empty)
        return _grams(g, text, _not_empty(g, text), least, most, None)
    return _grams_within_words(g, characters, numbers, least, most)


def _grams_within_words(
    g: GraphBuilder, characters: Value, numbers: Value, least: int, most: int
) -> list[tuple[Value, Value]]:
    """Return the n-grams of words between blanks; a word that is shorter than `least` as a whole."""
    empty, blank = (g.const(np.asarray(text, object)) for text in ("", " "))
    space, _, _, present = _space_masks(g, numbers)
    letter = g.And(present, g.Not(space))
    # The same places as the numbers take; a number of a letter is its column here.
    width = g.dim(characters, 1)
    columns = g.Add(g.Range(_number(g, 0), g.Squeeze(width, 0), _number(g, 1)), _number(g, len(whitespace()) + 1))
    marked = g.Where(letter, columns, numbers)
    placed = _padded_words(g, marked)
    first = _number(g, len(whitespace()) + 1)
    index = g.Max(g.Sub(placed, first), _number(g, 0))
    # With one column more, so that there is one to look at.
    source = g.op("Concat", characters, g.Expand(empty, g.shape_vector([g.dim(characters, 0), 1])), axis=1)
    letters = g.GatherElements(source, index, axis=1)
    is_letter = g.GreaterOrEqual(placed, first)
    is_blank = g.Equal(placed, _number(g, _BLANK))
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
    index = g.Mod(g.Abs(value), _number(g, int(model.n_features)))
    weight = g.Cast(keep, dtype)
    if model.alternate_sign and not binary:
        positive = g.GreaterOrEqual(value, _number(g, 0))
        weight = g.Where(positive, weight, g.Neg(weight))
    room = g.Expand(g.scalar_like(0.0, weight), g.shape_vector([rows, int(model.n_features)]))
    sums = g.op("ScatterElements", room, index, weight, axis=1, reduction="add")
    return g.Cast(g.Greater(sums, g.scalar_like(0.0, sums)), dtype) if binary else sums


def feature_hasher(g: GraphBuilder, call: Call) -> Results:
    """Convert FeatureHasher on rows of text (input_type="string").

    Raises:
        UnsupportedParameter: Another input_type: dicts and pairs are no tensors.
    """
    model = call.source
    if model.input_type != "string":
        raise UnsupportedParameter(
            f"input_type={model.input_type!r} takes Python objects, which ONNX has no tensor for",
            where=call.location or None,
            needs="input_type='string', a matrix of text",
        )
    check_contrib(g, call, opset=16)
    parts = [as_column(g, value) for value in call.inputs]
    if any(dtype_of(part) != DataType.STRING for part in parts):
        raise InvalidType("the features are not text", where=call.location or None, needs="columns of text")
    text = parts[0] if len(parts) == 1 else g.op("Concat", *parts, axis=1)
    everything = g.Expand(g.const(np.asarray(True)), g.Shape(text))
    value = _hash_sums(g, call, [_hashed(g, text, everything)], g.dim(text, 0), binary=False)
    return {"transform": g.Cast(value, working_type(call))}
