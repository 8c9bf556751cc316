"""sklearn.feature_extraction.text: counts of words and characters, tf-idf.

Terms are numbered by a table, n-grams of the numbers are counted by TfIdfVectorizer. Counts come in the working type:
scikit-learn's integers are exact in it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from any2onnx.converters.sklearn import sparse_rows
from any2onnx.converters.sklearn.character_numbers import (
    UNKNOWN,
    collapsed,
    number,
    padded_words,
)
from any2onnx.converters.sklearn.ragged import terms_inverse
from any2onnx.converters.sklearn.support import (
    Array,
    Results,
    matrix,
    steady_type,
    working_type,
)
from any2onnx.converters.sklearn.text_analysis import (
    check_contrib,
    documents,
    needs_sigma,
    preprocessed,
    unknown_as_nan,
    without_functions,
    word_pattern,
    words,
)
from any2onnx.converters.sklearn.text_characters import whitespace
from any2onnx.converters.text.strings import compacted, split_characters
from any2onnx.errors import UnsupportedParameter
from any2onnx.graph.builder import GraphBuilder
from any2onnx.graph.types import DataType, Value, dtype_of
from any2onnx.operator_mappings.mapping import Call


@dataclass(frozen=True, slots=True)
class _Pool:
    """Terms as tuples of numbers, with their columns."""

    terms: list[tuple[int, ...]]
    columns: list[int]


def stop_words(model: Any) -> frozenset[str]:
    """Return the words that an analyser of words leaves out."""
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
    call = without_functions(call)
    model = call.source
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
    zero, end = number(g, 0), np.iinfo(np.int64).max
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
            gram = g.Add(g.Mul(g.Slice(gram, [0], [-1], [1]), number(g, base)), g.Slice(digits, [n - 1], [end], [1]))
        chosen = [k for k, term in enumerate(pool.terms) if len(term) == n]
        if chosen:
            keys = np.asarray([pool.terms[k] for k in chosen], np.int64) @ (base ** np.arange(n - 1, -1, -1))
            found = [pool.columns[k] for k in chosen]
            columns.append(g.ml.LabelEncoder(gram, keys_int64s=keys.tolist(), values_int64s=found, default_int64=-1))
    # One place more, so that there is one.
    nothing = g.Expand(number(g, -1), g.shape_vector([g.dim(numbers, 0), 1]))
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

    some = g.Greater(g.Squeeze(g.dim(numbers, 0), 0), number(g, 0))
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
    left_out = stop_words(model)
    pattern = word_pattern(call)
    if most > 1 and pattern.has_blank and len(split) < len(vocabulary):
        raise UnsupportedParameter(
            f"token_pattern={model.token_pattern!r} lets tokens contain blanks, which n-grams are joined by",
            where=call.location or None,
            needs="ngram_range=(1, 1) or a pattern without blanks",
        )
    tokens = words(g, call, texts, left_out, complete=most > 1)
    table: dict[str, int] = {}
    pool = _Pool([], [])
    for term, column in sorted(vocabulary.items(), key=lambda item: item[1]):
        parts = split.get(term) or (term.split(" ") if most > 1 else [term])
        if not least <= len(parts) <= most or not all(_is_token(part, pattern.check, left_out) for part in parts):
            continue
        pool.terms.append(tuple(table.setdefault(part, len(table) + 1) for part in parts))
        pool.columns.append(column)
    table = table or {"": UNKNOWN}
    numbers = g.ml.LabelEncoder(
        tokens.text, keys_strings=list(table), values_int64s=list(table.values()), default_int64=UNKNOWN
    )
    if tokens.keep is not None:
        numbers = compacted(g, numbers, tokens.keep, number(g, -1))
    return numbers, pool


def _is_token(part: str, check: str | None, left_out: frozenset[str]) -> bool:
    return part != "" and part not in left_out and (check is None or re.fullmatch(check, part) is not None)


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
        default_int64=UNKNOWN,
    )
    within_words = model.analyzer == "char_wb"
    numbers = padded_words(g, numbers) if within_words else collapsed(g, numbers)
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


# --- vectorizers ------------------------------------------------------------------------------------------------------


def count_vectorizer(g: GraphBuilder, call: Call) -> Results:
    """Convert CountVectorizer."""
    if "inverse_transform" in call.methods:
        return {"inverse_transform": terms_inverse(g, call)}
    return {"transform": unknown_as_nan(g, call, sparse_rows.cast(g, _counts(g, call), working_type(call)))}


def tfidf_vectorizer(g: GraphBuilder, call: Call) -> Results:
    """Convert TfidfVectorizer: counts, then TfidfTransformer's steps."""
    if "inverse_transform" in call.methods:
        return {"inverse_transform": terms_inverse(g, call)}
    model = call.source
    dtype = steady_type(call)
    transformer = model._tfidf
    idf = transformer.idf_ if transformer.use_idf else None
    plain = dtype == DataType.FLOAT and not transformer.sublinear_tf and not model.binary
    weighted = plain and idf is not None and bool(np.isfinite(idf).all())
    counts = _counts(g, call, idf if weighted else None)
    value = g.Cast(counts, dtype)
    value = normalized(g, value, transformer.norm) if weighted else _tf_idf(g, value, transformer)
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
        idf = np.asarray(model.idf_, dtype_of(value).numpy())
        value = _times_idf(g, value, g.const(idf, name="idf"), model)
    return normalized(g, value, model.norm)


def _sparse_tf_idf(g: GraphBuilder, counts: sparse_rows.SparseRows | None, model: Any) -> sparse_rows.SparseRows | None:
    """Return what `_tf_idf` makes of counts, in their sparse form."""
    if counts is None:
        return None
    value = _sublinear(g, counts.values) if model.sublinear_tf else counts.values
    if model.use_idf:
        idf = g.const(np.asarray(model.idf_, dtype_of(value).numpy()), name="idf")
        value = _times_idf(g, value, g.Gather(idf, counts.columns, axis=0), model)
    return sparse_rows.SparseRows(counts.columns, normalized(g, value, model.norm))


def _times_idf(g: GraphBuilder, value: Value, idf: Value, model: Any) -> Value:
    """Return counts times weights: 0 times the infinite one that a word of no fitted document may have is 0."""
    product = g.Mul(value, idf)
    if np.isfinite(model.idf_).all():
        return product
    zero = g.scalar_like(0.0, value)
    return g.Where(g.Equal(value, zero), zero, product)


def _sublinear(g: GraphBuilder, value: Value) -> Value:
    """Return 1 + log of counts; 0 stays."""
    zero = g.scalar_like(0.0, value)
    absent = g.Equal(value, zero)
    one = g.scalar_like(1.0, value)
    return g.Where(absent, zero, g.Add(g.Log(g.Where(absent, one, value)), one))


def normalized(g: GraphBuilder, value: Value, norm: str | None) -> Value:
    """Return rows of unit norm, in the sense of `norm`; rows of zeros as they are."""
    """Return rows divided by their norm; rows of zeros as they are."""
    if norm is None:
        return value
    size = g.ReduceL1(value, [1]) if norm == "l1" else g.ReduceL2(value, [1])
    zero = g.scalar_like(0.0, size)
    return g.Div(value, g.Where(g.Equal(size, zero), g.scalar_like(1.0, size), size))
