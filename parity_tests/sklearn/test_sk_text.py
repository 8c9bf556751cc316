"""sklearn.feature_extraction: counts equal on any Unicode text, whatever the analyser."""

from __future__ import annotations

import itertools
import unicodedata
import warnings

import numpy as np
import pandas as pd
import pytest
from family_checks import session_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn.compose import ColumnTransformer
from sklearn.feature_extraction import DictVectorizer, FeatureHasher
from sklearn.feature_extraction.image import PatchExtractor
from sklearn.feature_extraction.text import (
    CountVectorizer,
    HashingVectorizer,
    TfidfTransformer,
    TfidfVectorizer,
    strip_accents_ascii,
    strip_accents_unicode,
)
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from any2onnx.converters.sklearn.token_patterns import token_pattern
from any2onnx.data_types import tensor_type
from any2onnx.errors import InvalidType, OpsetNotSupported, UnsupportedParameter

TARGET = 21
CORPUS = [
    "The quick brown fox jumps over the lazy dog. The DOG sleeps!",
    "Καλημέρα κόσμε, ΟΔΥΣΣΕΥΣ καὶ ΣΟΦΟΣ. Ο ΣΟΦΟΣ ΟΔΥΣΣΕΥΣ'; Σ ΑΣ̈ ΑΣ.Β",
    "İstanbul ISTANBUL ıstanbul ǅungla Straße STRASSE ﬃ ﬁn",
    "नमस्ते दुनिया यह एक परीक्षण है",
    "你好，世界。你好 世界 東京都 東京",
    "مرحبا بالعالم كِتَاب ١٢٣",
    "emoji 👍🏽 👨\u200d👩\u200d👧 and flags 🇩🇪 mixed🙂word snake_case ½ x²",
    "café cafe\u0301 naïve Ångström Å ﬀ e\u0301e\u0301 한국어 텍스트",
    "tabs\tand\nnew\r\nlines  double   triple \u00a0nbsp\u3000ideographic \u2003 \x1c x",
    "",
    " ",
    "a",
    "I a b; c--d don't can't 42 3.14 x_1 _ __",
    "fox dog fox dog fox quick the of and",
]
UNSEEN = [
    "ΣΊΣΥΦΟΣ ΣΟΦΟΣ! the\x00fox DOG\ufeff fox",
    "Fox İ İİ i̇ dog\u0301 \u0301dog",
    "\U0001f600\U00010400\U00010428 𐐀𐐨 Ꭰ ꭰ Ა ა",
    "brown  the \n\n the\tlazy\u2028lazy",
]


def text(rows: list[str]) -> np.ndarray:
    return np.asarray(rows, dtype=object)


def check(convert, run, model, rows=CORPUS + UNSEEN, *, fitted=False, opset=TARGET, floats=False):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if not fitted:
            model.fit(CORPUS)
        proto = convert(model, text(CORPUS), opset=opset, outputs=("transform",))
        want = model.transform(rows).toarray()
        (got,) = run(proto, text(rows))
        assert got.shape == want.shape
        assert got.dtype == np.float32
        if floats:
            np.testing.assert_allclose(got, want, rtol=3e-6, atol=1e-7)
        else:
            np.testing.assert_array_equal(got, want)
        for k in (0, 9):
            np.testing.assert_allclose(run(proto, text(rows[k : k + 1]))[0], want[k : k + 1], rtol=3e-6, atol=1e-7)
        assert run(proto, text([]))[0].shape == (0, want.shape[1])
    return proto


CONFIGURATIONS = [
    {},
    {"ngram_range": (1, 3)},
    {"ngram_range": (2, 2)},
    {"binary": True},
    {"stop_words": "english"},
    {"stop_words": ["the", "καὶ"], "ngram_range": (1, 2)},
    {"lowercase": False},
    {"lowercase": False, "ngram_range": (1, 2), "binary": True},
    {"strip_accents": "unicode"},
    {"strip_accents": "ascii"},
    {"strip_accents": "unicode", "lowercase": False, "ngram_range": (1, 2)},
    {"strip_accents": "ascii", "lowercase": False},
    {"token_pattern": r"(?u)\b\w+\b", "ngram_range": (1, 2)},
    {"token_pattern": r"\S+"},
    {"token_pattern": r"[^,;.]+"},
    {"token_pattern": r"(?a)\w\w+"},
    {"token_pattern": r"[a-zA-Z]+"},
    {"token_pattern": r"(?u)\b[^\W\d_]{3,}\b", "ngram_range": (1, 2)},
    {"token_pattern": r"(?u)\b(\w{2,4})\b", "ngram_range": (1, 2)},
    {"token_pattern": "."},
    {"max_features": 7},
    {"vocabulary": ["fox", "dog", "never seen", "the", "of", "Fox"], "stop_words": ["of"]},
    {"vocabulary": {"the lazy": 1, "fox": 0, "dog": 2}, "ngram_range": (1, 2)},
    {"vocabulary": {"zz": 1, "fox": 0}, "ngram_range": (2, 2)},
    *(
        {"analyzer": analyzer, "ngram_range": grams}
        for analyzer, grams in itertools.product(("char", "char_wb"), ((1, 1), (2, 3), (1, 4), (5, 6)))
    ),
    {"analyzer": "char", "lowercase": False},
    {"analyzer": "char_wb", "strip_accents": "unicode", "ngram_range": (3, 3), "binary": True},
    {"analyzer": "char_wb", "strip_accents": "ascii", "ngram_range": (2, 2)},
]


@pytest.mark.parametrize("configuration", CONFIGURATIONS, ids=str)
def test_counts(convert, run, configuration):
    check(convert, run, CountVectorizer(**configuration))


@pytest.mark.parametrize(
    "configuration",
    [
        {},
        {"sublinear_tf": True, "norm": "l1"},
        {"use_idf": False, "norm": None},
        {"smooth_idf": False, "binary": True},
        {"analyzer": "char_wb", "ngram_range": (2, 3), "norm": "l1"},
    ],
    ids=str,
)
def test_tf_idf(convert, run, configuration):
    check(convert, run, TfidfVectorizer(**configuration), floats=True)


@pytest.mark.parametrize(
    "configuration",
    [
        {},
        {"ngram_range": (1, 2), "stop_words": ["the"], "norm": None},
        {"token_pattern": r"(?u)\b\w{2,4}\b", "norm": None},
        {"analyzer": "char", "ngram_range": (2, 3), "norm": "l1", "alternate_sign": False},
        {"analyzer": "char_wb", "ngram_range": (1, 2), "norm": None},
        {"analyzer": "char_wb", "ngram_range": (4, 5), "norm": None, "binary": True},
        {"n_features": 3, "binary": True, "norm": None},
        {"strip_accents": "unicode", "ngram_range": (2, 2)},
    ],
    ids=str,
)
def test_hashing_vectorizer(convert, run, configuration):
    model = HashingVectorizer(**{"n_features": 64, **configuration})
    check(convert, run, model, floats=configuration.get("norm", "l2") is not None)


anything = st.text(
    st.one_of(
        st.sampled_from("aAbBsSΣσςΑαβİIiıeE\u0301\u0307 \t\n'.-_1½ǅßẞé👍🏽\u200d\u00ad\u02b0ʰªⅣ한가"),
        st.characters(exclude_categories=("Cs",)),
    ),
    max_size=24,
)


@pytest.mark.parametrize(
    "model",
    [
        HashingVectorizer(n_features=512, norm=None, alternate_sign=False),
        HashingVectorizer(n_features=512, norm=None, ngram_range=(1, 2), strip_accents="unicode"),
        HashingVectorizer(n_features=512, norm=None, analyzer="char", ngram_range=(1, 2)),
        HashingVectorizer(n_features=512, norm=None, analyzer="char_wb", ngram_range=(2, 3), strip_accents="ascii"),
        HashingVectorizer(n_features=512, norm=None, token_pattern=r"(?u)\b[^\W\d_]+\b"),
    ],
    ids=lambda m: f"{m.analyzer}-{m.strip_accents}-{m.ngram_range}-{m.token_pattern}",
)
def test_any_text(convert, run, model):
    """Hashes tell every difference between tokens, so this compares the analysis itself."""
    import onnxruntime

    proto = convert(model, text(["x"]), opset=TARGET, outputs=("transform",))
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])

    @settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(st.lists(anything, min_size=1, max_size=4))
    def holds(rows):
        (got,) = session.run(None, {session.get_inputs()[0].name: text(rows)})
        np.testing.assert_array_equal(got, model.transform(rows).toarray())

    holds()


def test_every_character(convert, run):
    """Code points between letters: case, accents, word or not. Of the many letters that nothing changes, every 16th."""

    def special(c: str) -> bool:
        plain = unicodedata.category(c) in ("Lo", "Co", "Cn")
        return not plain or c.lower() != c or (unicodedata.normalize("NFD", c) != c and not "가" <= c <= "힣")

    characters = [c for c in map(chr, range(1, 0xF0000)) if c.isascii() or ord(c) % 16 == 0 or special(c)]
    characters = [c for c in characters if unicodedata.category(c) != "Cs" and not "\U00040000" <= c < "\U000e0000"]
    documents = [" ".join("q" + c + "q" for c in characters[k::64]) for k in range(64)]
    for accents in (None, "unicode", "ascii"):
        model = HashingVectorizer(n_features=2**14, norm=None, alternate_sign=False, strip_accents=accents)
        proto = convert(model, text(["x"]), opset=TARGET, outputs=("transform",))
        (got,) = run(proto, text(documents))
        np.testing.assert_array_equal(got, model.transform(documents).toarray())


def test_columns_and_pipelines(convert, run):
    import pandas as pd

    frame = pd.DataFrame({"words": CORPUS, "number": np.arange(len(CORPUS), dtype=np.float32)})
    target = np.arange(len(CORPUS)) % 2
    model = make_pipeline(
        ColumnTransformer([("text", TfidfVectorizer(), "words"), ("rest", "passthrough", ["number"])]),
        LogisticRegression(),
    ).fit(frame, target)
    proto = convert(model, frame, opset=TARGET, outputs=("predict", "predict_proba"))
    label, probability = run(proto, frame)
    np.testing.assert_array_equal(label, model.predict(frame))
    np.testing.assert_allclose(probability, model.predict_proba(frame), rtol=1e-5)


def test_counts_through_a_transformer(convert, run):
    model = make_pipeline(CountVectorizer(), TfidfTransformer(sublinear_tf=True)).fit(CORPUS)
    check(convert, run, model, fitted=True, floats=True)


@pytest.mark.parametrize(
    "model",
    [TfidfTransformer(), TfidfTransformer(sublinear_tf=True, norm="l1"), TfidfTransformer(use_idf=False, norm=None)],
    ids=str,
)
def test_tf_idf_of_numbers(compare, model):
    counts = np.random.default_rng(0).poisson(0.7, (40, 6)).astype(float)
    counts[3] = 0
    model.fit(counts)
    compare(model, counts, ("transform",), opsets=(13, 18, 21, 28))


@pytest.mark.parametrize("opset", [20, 21, 23, 28])
def test_opsets(convert, run, opset):
    check(convert, run, TfidfVectorizer(ngram_range=(1, 2)), opset=opset, floats=True)


def test_old_opsets_without_lower_case(convert, run):
    model = CountVectorizer(lowercase=False, ngram_range=(1, 2), stop_words=["fox"])
    check(convert, run, model, opset={"": 13, "com.microsoft": 1})
    with pytest.raises(OpsetNotSupported, match="opset 20"):
        convert(CountVectorizer().fit(CORPUS), text(CORPUS), opset=18)


def test_contrib_has_to_be_allowed(convert):
    with pytest.raises(OpsetNotSupported, match=r"com\.microsoft"):
        convert(CountVectorizer().fit(CORPUS), text(CORPUS), opset={"": 21})


@pytest.mark.parametrize(
    ("configuration", "named"),
    [
        ({"analyzer": str.splitlines}, "analyzer"),
        ({"tokenizer": str.splitlines, "token_pattern": None}, "tokenizer"),
        ({"preprocessor": str.upper}, "preprocessor"),
        ({"strip_accents": str.lower}, "strip_accents"),
        ({"token_pattern": r"(?i)[a-z]+"}, "token_pattern"),
        ({"token_pattern": r"ab|abc"}, "token_pattern"),
        ({"token_pattern": r"\w+|\S+"}, "token_pattern"),
        ({"token_pattern": r"\b\w\w+\b|\d"}, "token_pattern"),
        ({"token_pattern": r"\b[a-z]+\b|!"}, "token_pattern"),
        ({"token_pattern": r"\w+?"}, "token_pattern"),
        ({"token_pattern": r"\b\w+[.]\b"}, "token_pattern"),
        ({"token_pattern": r"\w*\w"}, "token_pattern"),
        ({"token_pattern": r"(?<=a)\w"}, "token_pattern"),
        ({"token_pattern": r"[^,]+", "ngram_range": (1, 2)}, "token_pattern"),
    ],
    ids=str,
)
def test_refusals(convert, configuration, named):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = CountVectorizer(**configuration).fit(["ab abc a.b. tab"])
    with pytest.raises(UnsupportedParameter, match=named):
        convert(model, text(CORPUS), opset=TARGET)


def test_numbers_are_no_documents(convert):
    with pytest.raises(InvalidType, match="not text"):
        convert(CountVectorizer().fit(CORPUS), np.zeros((2, 1), np.float32), opset=TARGET)


def test_feature_hasher(convert, run):
    rows = text([["fox", "dog", ""], ["naïve", "fox", "fox"], ["你好", "🙂", "x"]])
    for arguments in ({}, {"alternate_sign": False}):
        model = FeatureHasher(n_features=16, input_type="string", **arguments).fit(rows)
        proto = convert(model, rows, opset=TARGET, outputs=("transform",))
        np.testing.assert_array_equal(run(proto, rows)[0], model.transform(rows).toarray())
        assert run(proto, rows[:0])[0].shape == (0, 16)
    with pytest.raises(InvalidType, match="3 columns"):
        convert(FeatureHasher(n_features=4).fit([{"a": 1}]), rows, opset=TARGET)


@pytest.mark.parametrize("arguments", [{}, {"n_features": 8}, {"n_features": 5, "alternate_sign": False}])
def test_feature_hasher_of_dicts(convert, arguments):
    rows = [{"dog": 1.5, "cat": 2.0, "tag": "été"}, {"dog": 0.0, "cat": -5.0, "tag": "zz"},
            {"dog": 3.0, "cat": np.nan, "tag": ""}, {"dog": -np.inf, "cat": 0.0, "tag": "x"}]  # fmt: skip
    frame = pd.DataFrame(rows)
    for input_type in ("dict", "pair"):
        model = FeatureHasher(input_type=input_type, **arguments).fit([])
        want = model.transform(rows if input_type == "dict" else [list(row.items()) for row in rows]).toarray()
        session = session_of(convert(model, frame, outputs=("transform",)))
        feeds = {name: frame[[name]].to_numpy() for name in ("dog", "cat")} | {"tag": text([[r["tag"]] for r in rows])}
        (got,) = session.run(None, feeds)
        np.testing.assert_array_equal(got, want)
    # Numbers alone need neither another domain nor a new opset.
    numbers = frame[["dog", "cat"]]
    model = FeatureHasher(**arguments)
    session = session_of(convert(model, numbers, opset={"": 13}, outputs=("transform",)))
    (got,) = session.run(None, {name: numbers[[name]].to_numpy() for name in numbers})
    np.testing.assert_array_equal(got, model.transform(numbers.to_dict("records")).toarray())


def test_dict_vectorizer(convert, run):
    frame = pd.DataFrame(
        {"city": ["Köln", "Rom", "Rom", "x"], "size": [1.5, 0.0, -2.0, 7.0], "open": [True, False, True, True]}
    )
    for arguments in ({}, {"separator": "::", "sort": False}):
        model = DictVectorizer(sparse=False, **arguments).fit([*frame[:3].to_dict("records"), {"other": 3, "size": 1}])
        proto = convert(model, frame, outputs=("transform",))
        (got,) = run(proto, frame)
        want = model.transform(frame.to_dict("records"))
        np.testing.assert_array_equal(got, want)
        assert run(proto, frame[:0])[0].shape == (0, want.shape[1])
    lists = [{"tag": ["a", "b"]}, {"tag": ["b", "b"]}, {"tag": ["c", "?"]}]
    model = DictVectorizer(sparse=False).fit([*lists[:2], {"tag": ["c"]}])
    proto = convert(model, initial_types=[("tag", tensor_type("string", [None, 2]))], outputs=("transform",))
    (got,) = run(proto, text([row["tag"] for row in lists]))
    np.testing.assert_array_equal(got, model.transform(lists))
    with pytest.raises(InvalidType, match="name of a feature"):
        convert(model, np.zeros((1, 1)))


@pytest.mark.parametrize(("shape", "size"), [((3, 12, 11), (3, 2)), ((2, 6, 5, 3), (6, 5)), ((2, 6, 5, 1), (2, 2)),
                                         ((1, 20, 30), None)])  # fmt: skip
def test_patch_extractor(convert, run, shape, size):
    images = np.random.default_rng(0).normal(size=shape)
    model = PatchExtractor(patch_size=size).fit(images)
    for dtype in (np.float32, np.float64):
        proto = convert(model, images.astype(dtype), outputs=("transform",))
        np.testing.assert_array_equal(run(proto, images.astype(dtype))[0], model.transform(images).astype(dtype))
        assert run(proto, images[:0].astype(dtype))[0].shape[0] == 0
    with pytest.raises(UnsupportedParameter, match="max_patches"):
        convert(PatchExtractor(max_patches=2).fit(images), images)


@pytest.mark.parametrize(
    "arguments",
    [
        {"analyzer": str.split, "ngram_range": (1, 2), "stop_words": "english"},
        {"tokenizer": str.split, "token_pattern": None, "ngram_range": (1, 2)},
        {"preprocessor": str.lower, "strip_accents": "ascii"},
        {"preprocessor": strip_accents_unicode},
        {"strip_accents": strip_accents_ascii, "analyzer": "char", "ngram_range": (1, 2)},
    ],
    ids=lambda given: "-".join(f"{key}={getattr(value, '__name__', value)}" for key, value in given.items()),
)
@pytest.mark.parametrize("cls", [CountVectorizer, TfidfVectorizer, HashingVectorizer])
def test_functions_of_known_meaning(convert, run, cls, arguments):
    documents = [*CORPUS, "Ünïcode\u2003and\x1fother blanks ", "ΟΔΟΣ Éa\tb the"]
    model = cls(**arguments, **({"n_features": 64} if cls is HashingVectorizer else {})).fit(documents)
    (got,) = run(convert(model, text(documents[:2]), outputs=("transform",)), text(documents))
    np.testing.assert_allclose(got, model.transform(documents).toarray(), rtol=1e-6)


def test_words_of_no_fitted_document(convert, run):
    # Their weight is infinite, and 0 times it nothing.
    model = TfidfVectorizer(smooth_idf=False, vocabulary=["fox", "cat", "dog"])
    documents = ["the fox", "a dog and a fox", "", "of nothing"]
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        model.fit(documents[:2])
        want = model.transform(documents).toarray()
        assert not np.isfinite(model.idf_).all()
        for options in ({}, {TfidfVectorizer: {"precision": "float32"}}):
            (got,) = run(convert(model, text(documents), outputs=("transform",), options=options), text(documents))
            np.testing.assert_allclose(got, want, rtol=1e-6)
        linear = make_pipeline(model, LogisticRegression())
        linear.steps[-1] = ("linear", LogisticRegression().fit(want[:2], [0, 1]))
        (got,) = run(convert(linear, text(documents), outputs=("decision_function",)), text(documents[:2]))
        np.testing.assert_allclose(got, linear.decision_function(documents[:2]), rtol=1e-5)


ALTERNATIVES = [r"\w+|[^\w\s]+", r"(?u)\b\w+\b|[!?]", r"\w\w+|[^\w\s]", r"[a-z]+|\d+|\S", r"(?:\w+|#\w+)", r"(\w+|\S)",
                r"#\w+|\w+|[^\w\s]", r"\b\w\w+\b|!+", r"[A-Za-z]+|[0-9]+", r"[^\W\d_]+|\d+|\S"]  # fmt: skip


@pytest.mark.parametrize("pattern", ALTERNATIVES)
def test_patterns_of_several_alternatives(convert, run, pattern):
    documents = ["This is the first document.", "don't stop, now!! 3.50$ #tag_x #", "éß 12ab ab12 a b c", "",
                 "№5 «x» ... ___ 日本語 テキスト", "  tab\tnew\nline", "a-b c_d e.f", "١٢ x² ½ !!?"]  # fmt: skip
    model = CountVectorizer(token_pattern=pattern).fit(documents)
    (got,) = run(convert(model, text(documents[:2]), outputs=("transform",)), text(documents))
    np.testing.assert_array_equal(got, model.transform(documents).toarray())


def test_patterns_of_word_characters_become_runs():
    plain = token_pattern(r"(?u)\b\w\w+\b")
    assert plain.check is None
    assert plain.expression.endswith("{2,}")
    assert not plain.has_blank
    assert token_pattern(r"\S+").has_blank is False
    assert token_pattern(r"[^,]+").has_blank is True
    assert token_pattern(r"\b\d+\b").check == r"\d+"
