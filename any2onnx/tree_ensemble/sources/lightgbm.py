"""What a LightGBM model computes, read from its text form, one array per line: trees as one ensemble."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from any2onnx.errors import UnsupportedParameter, UsageError
from any2onnx.tree_ensemble.assembly import assemble
from any2onnx.tree_ensemble.ir import Array, Mode, TreeEnsemble
from any2onnx.tree_ensemble.sources.columns import ZERO, Columns, Reading, split_columns

EXPONENTIAL: Final = ("poisson", "gamma", "tweedie")
IDENTITY: Final = (
    "",
    "regression",
    "regression_l1",
    "huber",
    "fair",
    "quantile",
    "mape",
    "lambdarank",
    "rank_xendcg",
)
OTHERS: Final = ("binary", "multiclass", "multiclassova", "cross_entropy", "cross_entropy_lambda")
# Bits of decision_type.
_CATEGORICAL: Final = 1
_DEFAULT_LEFT: Final = 2
_ZERO_IS_MISSING: Final = 1
_NAN_IS_MISSING: Final = 2


@dataclass(frozen=True, slots=True)
class LinearLeaves:
    """Linear models in the leaves: constant + coefficients · features; the leaf's value where one of these is NaN.

    Attributes:
        constant: float64 [leaves].
        feature: int64 [leaves, terms], columns of the rows; 0 where a leaf has fewer terms.
        coefficient: float64 [leaves, terms], 0 there.
        used: bool [leaves, terms].
    """

    constant: Array
    feature: Array
    coefficient: Array
    used: Array


@dataclass(frozen=True, slots=True)
class LightGBMModel:
    """A model within its range of iterations.

    Attributes:
        objective: Name; empty for one of the user's own.
        settings: What stands behind the name, such as {"sigmoid": "1"}.
        n_scores: Raw scores per row.
        n_features: Columns of the rows.
        ensemble: The raw scores.
        columns: What the ensemble's columns hold.
        leaf: int64 [leaves], each leaf's number within its tree.
        linear: Linear models in the leaves, or None.
        averaged: Number of iterations by which a random forest divides its raw scores for `predict`; 1 for others.
        categories: Of the columns that were categorical in a DataFrame.
    """

    objective: str
    settings: Mapping[str, str]
    n_scores: int
    n_features: int
    ensemble: TreeEnsemble
    columns: Columns
    leaf: Array
    linear: LinearLeaves | None
    averaged: int
    categories: Mapping[int, Array]


def booster_of(model: Any) -> Any:
    """Return the Booster of an estimator; a Booster itself."""
    return getattr(model, "booster_", model)


def read_model(model: Any, iterations: tuple[int, int] | None = None) -> LightGBMModel:
    """Return what a fitted estimator, or a Booster, computes.

    Args:
        model: LGBMModel or Booster.
        iterations: First iteration and the one behind the last; None, or an end of 0, for what `predict` takes: up to
            the best one of early stopping.

    Raises:
        UnsupportedParameter: An objective that is not known.
        UsageError: The range is none.
    """
    booster = booster_of(model)
    rounds = int(booster.current_iteration())
    first, last = iterations or (0, 0)
    if last == 0:
        best = int(booster.best_iteration or 0)
        last = min(best, rounds) if best > 0 and first == 0 else rounds
    if not 0 <= first < last <= rounds:
        raise UsageError(f"iteration_range={iterations} is none of the model's", needs=f"within (0, {rounds})")
    text = str(booster.model_to_string(num_iteration=last - first, start_iteration=first))
    head, *trees = text.partition("\nend of trees")[0].split("\nTree=")
    lines = head.split("\n")
    header = dict(line.split("=", 1) for line in lines if "=" in line)
    objective, settings = _objective(header.get("objective", ""))
    n_features = int(header["max_feature_idx"]) + 1
    n_scores = int(header["num_tree_per_iteration"])
    fields = [dict(line.split("=", 1) for line in tree.split("\n") if "=" in line) for tree in trees]
    ensemble, columns = _ensemble(fields, n_features, n_scores)
    sizes = [int(f["num_leaves"]) for f in fields]
    return LightGBMModel(
        objective=objective,
        settings=settings,
        n_scores=n_scores,
        n_features=n_features,
        ensemble=ensemble,
        columns=columns,
        leaf=np.concatenate([np.arange(n) for n in sizes]),
        linear=_linear(fields, sizes),
        averaged=last - first if "average_output" in lines else 1,
        categories=_categories(booster, header.get("feature_infos", "").split()),
    )


def _objective(text: str) -> tuple[str, dict[str, str]]:
    name, *settings = text.split(" ") if text else [""]
    if name == "custom":
        name = ""
    if name not in (*EXPONENTIAL, *IDENTITY, *OTHERS):
        raise UnsupportedParameter(f"objective {name!r} is not known", needs="one that LightGBM 4 has")
    return name, {key: value for key, _, value in (item.partition(":") for item in settings)}


def _numbers(fields: Sequence[Mapping[str, str]], name: str, dtype: Any) -> list[Array]:
    """Return one array per tree."""
    return [np.array(f.get(name, "").split(), dtype) for f in fields]


def _ensemble(fields: Sequence[Mapping[str, str]], n_features: int, n_scores: int) -> tuple[TreeEnsemble, Columns]:
    """Return the trees: inner nodes in LightGBM's order, then its leaves."""
    left, right = _numbers(fields, "left_child", np.int64), _numbers(fields, "right_child", np.int64)
    values = _numbers(fields, "leaf_value", np.float64)
    inner = [len(v) - 1 for v in values]
    for k, n in enumerate(inner):
        # A tree of one leaf has no inner nodes, whatever its lines say.
        left[k], right[k] = left[k][:n], right[k][:n]
    decision = np.concatenate([d[:n] for d, n in zip(_numbers(fields, "decision_type", np.int64), inner, strict=True)])
    feature = np.concatenate([f[:n] for f, n in zip(_numbers(fields, "split_feature", np.int64), inner, strict=True)])
    limit = np.concatenate([t[:n] for t, n in zip(_numbers(fields, "threshold", np.float64), inner, strict=True)])
    categorical = (decision & _CATEGORICAL) != 0
    missing = (decision >> 2) & 3
    to_left = (decision & _DEFAULT_LEFT) != 0
    threshold = np.where(categorical, 0.0, _around_zero(limit))
    # Without missing values in training NaN is zero; NaN is in no set of categories.
    nan_left = np.where((missing == _ZERO_IS_MISSING) | (missing == _NAN_IS_MISSING), to_left, threshold >= 0)
    nan_left &= ~categorical
    mode = np.where(categorical, np.uint8(Mode.MEMBER), np.uint8(Mode.LEQ))
    more: dict[str, Any] = {}
    reading = np.where(missing == _ZERO_IS_MISSING, Reading.ZERO_IS_MISSING, Reading.PLAIN)
    reading[categorical] = Reading.CATEGORY
    spread = _spread(inner, values)
    if categorical.any():
        more, number = _sets(fields, inner, categorical, limit)
        empty = categorical & (number < 0)
        # No number is ≤ -infinity.
        mode[empty], threshold[empty] = Mode.LEQ, -np.inf
        if more:
            more["set_of_node"] = spread(number, -1).astype(np.int32)
    sizes = np.asarray([len(v) for v in values])
    ends = np.cumsum([n + len(v) for n, v in zip(inner, values, strict=True)])[:-1]
    target = np.arange(len(values), dtype=np.int32) % n_scores
    e = assemble(
        true_child=[_children(c, len(v)) for c, v in zip(left, values, strict=True)],
        false_child=[_children(c, len(v)) for c, v in zip(right, values, strict=True)],
        feature=np.split(spread(feature, 0), ends),
        threshold=np.split(spread(threshold, 0.0), ends),
        missing_true=np.split(spread(nan_left, False), ends),
        mode=np.split(spread(mode, Mode.LEAF), ends),
        leaf_values=np.concatenate(values)[:, None],
        n_targets=n_scores,
        n_features=n_features,
        compare="float64",
        leaf_target=np.repeat(target, sizes) if n_scores > 1 else None,
        **more,
    )
    return split_columns(e, spread(reading, Reading.PLAIN))


def _spread(inner: Sequence[int], values: Sequence[Array]) -> Any:
    """Return a function that puts an entry of inner nodes in its place among all nodes."""
    is_leaf = np.repeat(np.tile([False, True], len(inner)), np.stack([inner, [len(v) for v in values]], axis=1).ravel())

    def spread(entries: Array, fill: Any) -> Array:
        result = np.full(len(is_leaf), fill, entries.dtype)
        result[~is_leaf] = entries
        return result

    return spread


def _children(child: Array, leaves: int) -> Array:
    """Return positions among all nodes of a tree; LightGBM counts leaves by -1, -2, …."""
    inner = len(child)
    return np.concatenate([np.where(child < 0, inner + ~child, child), np.full(leaves, -1, np.int64)])


def _around_zero(threshold: Array) -> Array:
    """Return thresholds that decide alike where LightGBM takes numbers as small as `ZERO` for zero."""
    lowest = np.nextafter(-ZERO, -np.inf)
    result = np.where((threshold >= 0) & (threshold < ZERO), ZERO, threshold)
    return np.where((threshold < 0) & (threshold >= -ZERO), lowest, result)


def _sets(
    fields: Sequence[Mapping[str, str]], inner: Sequence[int], categorical: Array, limit: Array
) -> tuple[dict[str, Array], Array]:
    """Return the sets as fields of `TreeEnsemble`, and the set of each inner node: -1 for none, or an empty one."""
    words = _numbers(fields, "cat_threshold", np.int64)
    bounds = [np.array(f.get("cat_boundaries", "0").split(), np.int64) for f in fields]
    counts = np.asarray([len(b) - 1 for b in bounds])
    sizes = np.concatenate([np.diff(b) for b in bounds])
    bits = np.concatenate(words).astype("<u4").view(np.uint8).reshape(-1, 4)
    table = np.unpackbits(bits, axis=1, bitorder="little")
    owner = np.repeat(np.arange(len(sizes)), sizes)
    within = np.arange(len(owner)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    word, bit = np.nonzero(table)
    members = np.bincount(owner[word], minlength=len(sizes))
    filled = members > 0
    position = np.where(filled, np.cumsum(filled) - 1, -1)
    first = np.repeat(np.cumsum(counts) - counts, inner)
    number = np.full(len(categorical), -1, np.int64)
    number[categorical] = position[first[categorical] + limit[categorical].astype(np.int64)]
    if not filled.any():
        return {}, number
    return {
        "set_start": np.concatenate([np.zeros(1, np.int64), np.cumsum(members[filled])]),
        "set_values": (within[word] * 32 + bit).astype(np.float64),
    }, number


def _linear(fields: Sequence[Mapping[str, str]], sizes: Sequence[int]) -> LinearLeaves | None:
    """Return the linear models of all leaves, padded to the longest; trees without any have their values."""
    if not any(f.get("is_linear") == "1" for f in fields):
        return None
    constant, count, feature, coefficient = [], [], [], []
    for f, size in zip(fields, sizes, strict=True):
        if f.get("is_linear") == "1":
            constant.append(np.array(f["leaf_const"].split(), np.float64))
            count.append(np.array(f["num_features"].split(), np.int64))
            feature.append(np.array(f["leaf_features"].split(), np.int64))
            coefficient.append(np.array(f["leaf_coeff"].split(), np.float64))
        else:
            constant.append(np.array(f["leaf_value"].split(), np.float64))
            count.append(np.zeros(size, np.int64))
    terms = np.concatenate(count)
    width = max(1, int(terms.max()))
    used = np.arange(width)[None, :] < terms[:, None]
    wide_feature, wide_coefficient = np.zeros(used.shape, np.int64), np.zeros(used.shape)
    if feature:
        wide_feature[used] = np.concatenate(feature)
        wide_coefficient[used] = np.concatenate(coefficient)
    return LinearLeaves(np.concatenate(constant), wide_feature, wide_coefficient, used)


def _categories(booster: Any, infos: Sequence[str]) -> dict[int, Array]:
    """Return the categories of the columns that were categorical in a DataFrame; none where it is not clear which."""
    stored = booster.pandas_categorical or []
    columns = [k for k, info in enumerate(infos) if ":" in info and not info.startswith("[")]
    if len(columns) != len(stored):
        return {}
    return {k: np.asarray(values, dtype=None) for k, values in zip(columns, stored, strict=True)}
