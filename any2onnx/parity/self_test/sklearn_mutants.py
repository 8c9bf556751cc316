"""The mistakes that converters make with scikit-learn estimators."""

from __future__ import annotations

import numpy as np

from any2onnx.parity.self_test.sklearn_specimens import (
    BINARIZER,
    BINS,
    CLUSTERS,
    COUNTS,
    IDF,
    IMPUTER,
    LOGISTIC,
    MIN_MAX,
    MULTI_RIDGE,
    NAIVE_BAYES,
    NEIGHBOURS,
    ONE_HOT,
    ORDINAL,
    POLYNOMIAL,
    TREE,
    tree_edit,
    unsmoothed,
)
from any2onnx.parity.self_test.specimen import Mutant
from any2onnx.parity.ulp import Array


def _without_last(values: Array) -> Array:
    values[..., -1] = 0
    return values


MUTANTS = (
    Mutant("softmax over the batch", LOGISTIC, "typical", (("Softmax <axis = 1>", "Softmax <axis = 0>"),)),
    Mutant("swapped classes", LOGISTIC, "typical", weights={"classes": lambda v: v[[1, 0, 2]]}),
    Mutant(
        "square weights transposed", LOGISTIC, "typical", weights={"coef": lambda v: v.T}, culprit=("product", "scores")
    ),
    Mutant(
        "ddof of the scaler",
        LOGISTIC,
        "typical",
        weights={"scale": lambda v: v * np.sqrt(200 / 199)},
        culprit=("scaled",),
    ),
    Mutant(
        "mean forgotten", LOGISTIC, "typical", weights={"mean": np.zeros_like}, culprit=("centred", "scaled", "product")
    ),
    Mutant(
        "bias forgotten in the last row",
        LOGISTIC,
        "typical",
        weights={"intercept": _without_last},
        culprit=("product", "scores"),
    ),
    Mutant(
        "float16 leak",
        LOGISTIC,
        "typical",
        (("wide = Cast <to = 11> (x)", "half = Cast <to = 10> (x)\n  wide = Cast <to = 11> (half)"),),
    ),
    Mutant("batch baked in", LOGISTIC, "shape", (("float[batch, 3] x", "float[2, 3] x"),)),
    Mutant(
        "dropped output",
        LOGISTIC,
        "structure",
        (("int64[batch] label, float[batch, 3] probabilities", "int64[batch] label"),),
    ),
    Mutant(
        "renamed output",
        LOGISTIC,
        "structure",
        (("float[batch, 3] probabilities", "float[batch, 3] p"), ("probabilities = Cast", "p = Cast")),
    ),
    Mutant(
        "labels as text",
        LOGISTIC,
        "typical",
        (
            ("int64[batch] label", "string[batch] label"),
            ("label = Gather (classes, best)", "number = Gather (classes, best)\n  label = Cast <to = 8> (number)"),
        ),
    ),
    Mutant("label of the smallest score", LOGISTIC, "typical", (("ArgMax", "ArgMin"),)),
    Mutant("smoothing of variances dropped", NAIVE_BAYES, "typical", weights={"var": lambda v: v - 1e-3 * v.max()}),
    Mutant("prior forgotten", NAIVE_BAYES, "typical", weights={"constant": lambda v: v + np.array([0.0, 0.1])}),
    Mutant(
        "small target wrong beside a large one", MULTI_RIDGE, "typical", weights={"coef": lambda v: v * [1, 1, 1.001]}
    ),
    Mutant("thresholds rounded to nearest", TREE, "boundary", lambda: tree_edit("nearest")),
    Mutant("strict comparison in a tree", TREE, "boundary", lambda: tree_edit("strict")),
    Mutant("missing branch ignored", TREE, "special", lambda: tree_edit("missing")),
    Mutant("leaves in float16", TREE, "typical", lambda: tree_edit("leaves")),
    Mutant("wrong order of categories", ONE_HOT, "categorical", (("[0, 1, 2, 3]", "[0, 2, 1, 3]"),)),
    Mutant("unseen category becomes the first", ONE_HOT, "categorical", (("default_int64 = -1", "default_int64 = 0"),)),
    Mutant(
        "wrong value of an unseen category", ORDINAL, "categorical", (("default_float = -1.0", "default_float = 4.0"),)
    ),
    Mutant("mean imputed instead of the median", IMPUTER, "special", weights={"statistics": lambda v: v * 1.6}),
    Mutant(
        "missing values left in", IMPUTER, "special", (("Where (missing, statistics, x)", "Where (missing, x, x)"),)
    ),
    Mutant("clip bound", MIN_MAX, "boundary", weights={"high": lambda v: v + 0.01}),
    Mutant("bin edge open on the wrong side", BINS, "boundary", (("GreaterOrEqual", "Greater"),)),
    Mutant("threshold included", BINARIZER, "boundary", (("Greater (", "GreaterOrEqual ("),)),
    Mutant(
        "order of powers",
        POLYNOMIAL,
        "typical",
        weights={"right": lambda v: v[[0, 2, 1]], "left": lambda v: v[[0, 2, 1]]},
    ),
    Mutant("smoothing of idf dropped", IDF, "typical", weights={"idf": unsmoothed}),
    Mutant(
        "empty document divided by zero", IDF, "boundary", (("Where (empty, unit, norm)", "Where (empty, zero, norm)"),)
    ),
    Mutant("letters not lowered", COUNTS, "text", (('"LOWER"', '"NONE"'),)),
    Mutant("default of the unknown word", COUNTS, "text", (("default_int64 = -1", "default_int64 = 2"),)),
    Mutant("largest distances instead of smallest", NEIGHBOURS, "typical", (("largest = 0", "largest = 1"),)),
    Mutant(
        "neighbours numbered from one",
        NEIGHBOURS,
        "typical",
        (("indices = TopK", "zero_based = TopK"), ("(all, k)\n", "(all, k)\n  indices = Add (zero_based, one)\n")),
    ),
    Mutant("squared distances", CLUSTERS, "typical", (("Sqrt (sums)", "Identity (sums)"),)),
)
