"""From documents to tokens and characters, exactly as scikit-learn's analysers have them.

No locale takes part, so that a model loads everywhere: ASCII documents are lowered by a rule for ASCII, and documents
with other characters are taken apart, looked up character by character in tables from Python, and joined again.
"""

from __future__ import annotations

import copy
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from any2onnx.converters.sklearn.support import as_vector, width_of
from any2onnx.converters.sklearn.text_characters import (
    CASED,
    FINAL_SIGMA,
    IGNORABLE,
    SIGMA,
    SMALL_SIGMA,
    case_classes,
    character_changes,
)
from any2onnx.converters.sklearn.token_patterns import TokenPattern, token_pattern
from any2onnx.converters.text.strings import (
    FIRST_WITH_JOIN,
    codes,
    flags,
    joined,
    number,
    require_contrib,
    split_characters,
    tokenizer,
)
from any2onnx.errors import InvalidType, UnsupportedParameter
from any2onnx.graph.builder import GraphBuilder
from any2onnx.graph.types import DataType, Value, dtype_of, rank_of
from any2onnx.operator_mappings.mapping import Call

# No entry of the tables has this text: it has more characters than any character turns into, and is no word.
_UNCHANGED: Final = "\x00unchanged\x00unchanged\x00"


@dataclass(frozen=True, slots=True)
class Tokens:
    """Tokens of documents.

    Attributes:
        text: [documents, positions]; "" where a document has fewer, or where a token is left out.
        keep: bool of the same shape: which positions hold tokens. None: those that are not "".
    """

    text: Value
    keep: Value | None = None


def check_contrib(g: GraphBuilder, call: Call, *, opset: int = 13) -> None:
    """Check that what text analysis needs may be used.

    Raises:
        OpsetNotSupported: com.microsoft is not among the target opsets, or the main one is too old.
    """
    require_contrib(g, type(call.source).__name__, call.location, opset=opset)


def documents(g: GraphBuilder, call: Call) -> Value:
    """Return the documents as a vector [N + 1], with an empty one at the end: some operators refuse empty batches.

    Raises:
        InvalidType: The input is no single column of text.
    """
    if len(call.inputs) != 1 or dtype_of(call.input) != DataType.STRING:
        raise InvalidType("the documents are not text", where=call.location or None, needs="one column of text")
    if rank_of(call.input) == 2 and width_of(call.input) != 1:
        raise InvalidType("the documents are a matrix", where=call.location or None, needs="one column of text")
    vector = as_vector(g, call.input)
    return g.op("Concat", vector, g.const(np.asarray([""], object)), axis=0)


def without_functions(call: Call) -> Call:
    """Return the call with the parameters that say the same as Python functions of known meaning, such as `str.split`.

    Raises:
        UnsupportedParameter: Another step of the analysis is a Python function, or the input is not text itself.
    """
    model = copy.copy(call.source)
    if model.analyzer is str.split:
        # Nothing comes before a function that analyses, and nothing after it.
        model.analyzer, model.tokenizer, model.preprocessor, model.strip_accents = "word", str.split, None, None
        model.lowercase, model.ngram_range, model.stop_words = False, (1, 1), None
    if model.tokenizer is str.split:
        model.tokenizer, model.token_pattern = None, r"\S+"
    if model.preprocessor is str.lower or _accents(model.preprocessor) is not None:
        model.lowercase, model.strip_accents = model.preprocessor is str.lower, _accents(model.preprocessor)
        model.preprocessor = None
    model.strip_accents = _accents(model.strip_accents) or model.strip_accents
    for name in ("analyzer", "tokenizer", "preprocessor", "strip_accents"):
        if name == "tokenizer" and _given_pattern(call) is not None:
            continue
        if callable(getattr(model, name)):
            raise UnsupportedParameter(
                f"{name} is a Python function, which cannot be expressed in ONNX",
                where=call.location or None,
                needs=f"{name} by name or None" + {"tokenizer": ", or str.split"}.get(name, ""),
                remedy='options={CountVectorizer: {"tokenexp": ...}}' if name == "tokenizer" else "",
            )
    if model.input != "content":
        raise UnsupportedParameter(f"input={model.input!r} reads files", where=call.location or None, needs="'content'")
    return replace(call, source=model)


def _accents(function: Any) -> str | None:
    """Return the value of `strip_accents` that is one of scikit-learn's functions."""
    from sklearn.feature_extraction.text import strip_accents_ascii, strip_accents_unicode

    return (
        {strip_accents_ascii: "ascii", strip_accents_unicode: "unicode"}.get(function) if callable(function) else None
    )


# --- characters -------------------------------------------------------------------------------------------------------


def preprocessed(g: GraphBuilder, call: Call, texts: Value, sigma: bool) -> Value:
    """Return texts [M] after `lowercase` and `strip_accents`.

    Args:
        g: Builder.
        call: Its source has the two parameters.
        texts: At least one.
        sigma: Tell the two small sigmas apart.

    Raises:
        OpsetNotSupported: Texts have to be joined, which came with opset 20.
    """
    lower, accents = bool(call.source.lowercase), call.source.strip_accents or ""
    if not lower and not accents:
        return texts
    check_contrib(g, call, opset=FIRST_WITH_JOIN)

    def plain(inner: GraphBuilder) -> Value:
        if not lower:
            return inner.Identity(texts)
        return inner.StringNormalizer(texts, case_change_action="LOWER", is_case_sensitive=1, locale="C")

    ascii_only = g.RegexFullMatch(texts, pattern=r"[\x00-\x7f]*")

    def full(inner: GraphBuilder) -> Value:
        # The slow way only for the texts that need it.
        others = inner.Squeeze(inner.NonZero(inner.Not(ascii_only)), 0)
        chosen = inner.Gather(texts, others, axis=0)
        changed = _changed_characters(inner, chosen, lower, accents, sigma=sigma and lower and accents != "ascii")
        return inner.op("ScatterElements", plain(inner), others, changed, axis=0)

    every = g.Cast(g.ReduceMin(g.Cast(ascii_only, DataType.INT32), keepdims=False), DataType.BOOL)
    (result,) = g.If(every, plain, full)
    return g.annotate(result, [None])


def _changed_characters(g: GraphBuilder, texts: Value, lower: bool, accents: str, *, sigma: bool) -> Value:
    """Return texts with every character replaced by what Python makes of it."""
    characters = split_characters(g, texts)
    changes = character_changes(lower, accents)
    changed = g.ml.LabelEncoder(
        characters, keys_strings=list(changes), values_strings=list(changes.values()), default_string=_UNCHANGED
    )
    known = g.Cast(codes(g, characters, dict.fromkeys(changes, 1), 0), DataType.BOOL)
    if accents == "ascii":
        ascii_table = {chr(code): 1 for code in range(128)}
        own = g.Cast(codes(g, characters, ascii_table, 0), DataType.BOOL)
        kept = g.Where(own, characters, g.const(np.asarray("", object)))
    else:
        kept = characters
    result = g.Where(known, changed, kept)
    if sigma:
        result = g.Where(_final_sigmas(g, characters), g.const(np.asarray(FINAL_SIGMA, object)), result)
    return joined(g, result)


def _final_sigmas(g: GraphBuilder, characters: Value) -> Value:
    """Return where a capital sigma ends a word: after a cased character, and before none, ignorables aside."""
    table = {**case_classes(), "": IGNORABLE}
    kind = codes(g, characters, table, 0)
    counted = g.Not(g.Equal(kind, number(g, IGNORABLE)))
    position = g.CumSum(flags(g, counted), g.const(np.asarray(1, np.int64)))
    cased = flags(g, g.Equal(kind, number(g, CASED)))
    # The k-th character that counts goes to column k; column 0 stands for the beginning, the last one for the rest.
    rows, width = g.dim(characters, 0), g.dim(characters, 1)
    room = g.Expand(number(g, 0), g.shape_vector([rows, g.Add(width, np.asarray([3], np.int64))]))
    rest = g.Add(g.Squeeze(width, 0), number(g, 2))
    table_of_cased = g.op("ScatterElements", room, g.Where(counted, position, rest), cased, axis=1)
    before = g.GatherElements(table_of_cased, g.Max(g.Sub(position, number(g, 1)), number(g, 0)), axis=1)
    after = g.GatherElements(table_of_cased, g.Add(position, number(g, 1)), axis=1)
    is_sigma = g.Cast(codes(g, characters, {SIGMA: 1}, 0), DataType.BOOL)
    final = g.And(g.Equal(before, number(g, 1)), g.Equal(after, number(g, 0)))
    return g.And(is_sigma, final)


def needs_sigma(model: Any, vocabulary: Collection[str] | None) -> bool:
    """Tell whether the two small sigmas have to be told apart: only a term that has one of them can notice."""
    if not model.lowercase:
        return False
    return vocabulary is None or any(SMALL_SIGMA in term or FINAL_SIGMA in term for term in vocabulary)


# --- words ------------------------------------------------------------------------------------------------------------


def word_pattern(call: Call) -> TokenPattern:
    """Return how texts become words: as skl2onnx's options `tokenexp` and `separators` say, or by `token_pattern`.

    Raises:
        UnsupportedParameter: `token_pattern` has no exact form.
    """
    return _given_pattern(call) or token_pattern(call.source.token_pattern, call.location or None)


def _given_pattern(call: Call) -> TokenPattern | None:
    # skl2onnx hands both to the operator as they are; its default for separators is the word DEFAULT.
    expression, separators = call.options.get("tokenexp"), call.options.get("separators")
    if expression:
        return TokenPattern(str(expression), None, None, has_blank=False)
    if expression is None and separators and not isinstance(separators, str):
        return TokenPattern("", None, None, has_blank=False, separators=tuple(separators))
    return None


def words(g: GraphBuilder, call: Call, texts: Value, stop_words: frozenset[str], *, complete: bool) -> Tokens:
    """Return the words of texts [M] by `token_pattern`.

    Args:
        g: Builder.
        call: Its source has the parameters.
        texts: Preprocessed.
        stop_words: To leave out.
        complete: The exact sequence matters (n-grams, hashes), so candidates that are no tokens have to be marked;
            otherwise they may stay because nothing looks them up.
    """
    pattern = word_pattern(call)
    how = {"separators": list(pattern.separators)} if pattern.separators else {"tokenexp": pattern.expression}
    tokens = tokenizer(g, texts, **how)
    if not complete or (not stop_words and pattern.check_expression is None):
        return Tokens(tokens)
    removed = {"": 0, **dict.fromkeys(sorted(stop_words), 0)}
    keep = g.Cast(codes(g, tokens, removed, 1), DataType.BOOL)
    if pattern.check_expression is not None:
        check_contrib(g, call, opset=FIRST_WITH_JOIN)
        keep = g.And(keep, g.RegexFullMatch(tokens, pattern=pattern.check_expression))
    return Tokens(tokens, keep)


def unknown_as_nan(g: GraphBuilder, call: Call, value: Value) -> Value:
    """Return NaN for every term that a document does not have, where skl2onnx's option `nan` asks for it."""
    if not call.options.get("nan"):
        return value
    return g.Where(g.Equal(value, g.scalar_like(0.0, value)), g.scalar_like(float("nan"), value), value)
