"""scikit-learn: feature_extraction (text, hashing, images)."""

from __future__ import annotations

from typing import Final

from any2onnx.operator_mappings.mapping import OperatorMapping
from any2onnx.operator_mappings.sklearn_rows import PRECISION, row

_ANALYSIS: Final = (
    "input strip_accents lowercase preprocessor tokenizer stop_words token_pattern ngram_range analyzer binary"
)
_BYTES: Final = "encoding decode_error dtype"
_TF_IDF: Final = "norm use_idf smooth_idf sublinear_tf"
_NEEDS: Final = "uses com.microsoft's Tokenizer; needs opset 20 to change case or accents"

ROWS: Final[tuple[OperatorMapping, ...]] = (
    row(
        ".feature_extraction.text.CountVectorizer",
        "feature_extraction:count_vectorizer",
        "feature_extraction:vocabulary",
        methods="transform inverse_transform",
        honours=f"{_ANALYSIS} vocabulary max_df min_df max_features",
        irrelevant=_BYTES,
        note=_NEEDS,
    ),
    row(
        ".feature_extraction.text.TfidfVectorizer",
        "feature_extraction:tfidf_vectorizer",
        "feature_extraction:vocabulary",
        methods="transform inverse_transform",
        honours=f"{_ANALYSIS} {_TF_IDF} vocabulary max_df min_df max_features",
        irrelevant=_BYTES,
        note=_NEEDS,
    ),
    row(
        ".feature_extraction.text.TfidfTransformer",
        "feature_extraction:tfidf_transformer",
        "common:same_width",
        methods="transform",
        honours=_TF_IDF,
    ),
    row(
        ".feature_extraction.text.HashingVectorizer",
        "hashing:hashing_vectorizer",
        "feature_extraction:hashes",
        methods="transform",
        honours=f"{_ANALYSIS} n_features norm alternate_sign",
        irrelevant=_BYTES,
        note="uses com.microsoft's Tokenizer and MurmurHash3; needs opset 20",
    ),
    row(
        ".feature_extraction.FeatureHasher",
        "hashing:feature_hasher",
        "feature_extraction:hashes",
        methods="transform",
        honours="n_features input_type alternate_sign",
        irrelevant="dtype",
        note="one input per key of the dicts or pairs, or a matrix of text; text uses com.microsoft's MurmurHash3",
    ),
    row(
        ".feature_extraction.DictVectorizer",
        "dict_vectorizer:dict_vectorizer",
        "feature_extraction:vocabulary",
        methods="transform inverse_transform",
        honours="separator",
        irrelevant="dtype sparse sort",
        note="one input per key of the dicts; inverse_transform gives the names and the values of the entries",
    ),
    row(
        ".feature_extraction.image.PatchExtractor",
        "image:patch_extractor",
        methods="transform",
        honours="patch_size max_patches",
        irrelevant="random_state",
        options=PRECISION,
    ),
)
