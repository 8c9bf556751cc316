"""HistGradientBoostingClassifier and HistGradientBoostingRegressor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from any2onnx.converters.sklearn.ensemble import best_class, class_probabilities, raw_width
from any2onnx.converters.sklearn.support import working_type as float_type
from any2onnx.converters.sklearn.tree import (
    Array,
    Results,
    as_prediction,
    matrix,
    pick_label,
    precision,
    store_probabilities,
)
from any2onnx.errors import InvalidType, UnsupportedParameter
from any2onnx.graph.builder import GraphBuilder
from any2onnx.graph.types import DataType, Value, rank_of, shape_of
from any2onnx.operator_mappings.mapping import Call
from any2onnx.tree_ensemble.assembly import assemble
from any2onnx.tree_ensemble.emit import emit_scores
from any2onnx.tree_ensemble.ir import Mode, TreeEnsemble

_LOG_LOSSES: Final = ("poisson", "gamma")
_IDENTITY_LOSSES: Final = ("squared_error", "absolute_error", "quantile")


def hist_gradient_boosting_classifier(g: GraphBuilder, call: Call) -> Results:
    """Convert HistGradientBoostingClassifier."""
    estimator = call.source
    raw = _raw(g, call)
    binary = estimator.n_trees_per_iteration_ == 1
    results: Results = {}
    for method in call.methods:
        if method == "predict":
            results[method] = pick_label(g, estimator.classes_, best_class(g, raw, binary, zero_is_positive=False))
        elif method == "decision_function":
            results[method] = as_prediction(g, call, raw, raw_width(estimator))
        else:
            store_probabilities(g, call, results, [class_probabilities(g, raw, binary)], [method])
    return results


def hist_gradient_boosting_regressor(g: GraphBuilder, call: Call) -> Results:
    """Convert HistGradientBoostingRegressor: poisson and gamma predict the exponential of the raw score.

    Raises:
        UnsupportedParameter: A loss whose link is not known.
    """
    loss = call.source.loss
    raw = _raw(g, call)
    if loss in _LOG_LOSSES:
        raw = g.Exp(raw)
    elif loss not in _IDENTITY_LOSSES:
        raise UnsupportedParameter(f"loss={loss!r} is not known", needs=", ".join((*_IDENTITY_LOSSES, *_LOG_LOSSES)))
    return {"predict": as_prediction(g, call, raw, 1)}


def _raw(g: GraphBuilder, call: Call) -> Value:
    """Return the raw scores [batch, trees per iteration]."""
    estimator = call.source
    e = ensemble_of_predictors(estimator)
    x = matrix(g, call) if estimator.is_categorical_ is None else _coded_matrix(g, call)
    return emit_scores(g, e, x, result=float_type(call), precision=precision(call))


# --- the trees ------------------------------------------------------------------------------------------------------


def ensemble_of_predictors(estimator: Any) -> TreeEnsemble:
    """Return the trees of a fitted estimator; columns are those behind its own preprocessing."""
    width = int(estimator.n_trees_per_iteration_)
    predictors = [p for stage in estimator._predictors for p in stage]
    nodes = np.concatenate([p.nodes for p in predictors])
    ends = np.cumsum([len(p.nodes) for p in predictors])[:-1]
    leaf = nodes["is_leaf"].astype(bool)
    tree = np.repeat(np.arange(len(predictors)), [len(p.nodes) for p in predictors])
    sets = _sets(predictors, nodes, leaf, tree)
    member = np.zeros(len(nodes), bool) if sets is None else sets["set_of_node"] >= 0
    threshold = np.where(member, 0.0, nodes["num_threshold"])
    # A set without members holds for missing values only: nothing else is ≤ -inf, since codes are not negative.
    threshold[nodes["is_categorical"].astype(bool) & ~leaf & ~member] = -np.inf
    return assemble(
        true_child=np.split(np.where(leaf, -1, nodes["left"].astype(np.int64)), ends),
        false_child=np.split(np.where(leaf, -1, nodes["right"].astype(np.int64)), ends),
        feature=np.split(nodes["feature_idx"], ends),
        threshold=np.split(threshold, ends),
        missing_true=np.split(nodes["missing_go_to_left"], ends),
        mode=np.split(np.where(member, np.uint8(Mode.MEMBER), np.uint8(Mode.LEQ)), ends),
        leaf_values=nodes["value"][leaf][:, None],
        n_targets=width,
        n_features=int(estimator.n_features_in_),
        compare="float64",
        leaf_target=(tree[leaf] % width).astype(np.int32) if width > 1 else None,
        base=np.asarray(estimator._baseline_prediction, np.float64).ravel(),
        **(sets or {}),
    )


def _sets(predictors: Sequence[Any], nodes: Array, leaf: Array, tree: Array) -> dict[str, Array] | None:
    """Return the sets of categories that go left, as fields of `TreeEnsemble`; None where there are none."""
    bits = np.concatenate([np.asarray(p.raw_left_cat_bitsets, np.uint32).reshape(-1, 8) for p in predictors])
    table = np.unpackbits(bits.astype("<u4").view(np.uint8).reshape(len(bits), 32), axis=1, bitorder="little")
    filled: Array = np.count_nonzero(table, axis=1) > 0
    before = np.cumsum([0] + [len(p.raw_left_cat_bitsets) for p in predictors])[:-1]
    categorical: Array = nodes["is_categorical"].astype(bool) & ~leaf
    row = np.where(categorical, nodes["bitset_idx"].astype(np.int64) + before[tree], 0)
    categorical = np.where(categorical, filled[row], False) if len(filled) else categorical
    if not categorical.any():
        return None
    number = np.cumsum(filled) - 1
    return {
        "set_of_node": np.where(categorical, number[row], -1).astype(np.int32),
        "set_start": np.concatenate([np.zeros(1, np.int64), np.cumsum(table[filled].sum(axis=1, dtype=np.int64))]),
        "set_values": np.nonzero(table[filled])[1].astype(np.float64),
    }


# --- categories -----------------------------------------------------------------------------------------------------


def _coded_matrix(g: GraphBuilder, call: Call) -> Value:
    """Return the rows behind scikit-learn's preprocessing: DOUBLE, codes of the categorical columns first.

    A category that training has not seen is NaN, as a missing one is.
    """
    estimator = call.source
    categorical = np.asarray(estimator.is_categorical_, bool)
    categories = estimator._preprocessor.named_transformers_["encoder"].categories_
    column = _columns(g, call)
    parts = []
    for position, known in zip(np.flatnonzero(categorical).tolist(), categories, strict=True):
        parts.append(category_codes(g, call, column([position]), np.asarray(known)))
    numerical = np.flatnonzero(~categorical).tolist()
    if numerical:
        parts.append(g.Cast(column(numerical), DataType.DOUBLE))
    # Not every version of the comparisons and of LabelEncoder says which shape it gives.
    return g.annotate(g.Concat(*parts, axis=1), [shape_of(call.inputs[0])[0], len(categorical)])


def _columns(g: GraphBuilder, call: Call) -> Any:
    """Return a function that gives some columns of the rows as one matrix, whatever inputs hold them."""
    inputs = [g.Unsqueeze(v, 1) if rank_of(v) == 1 else v for v in call.inputs]
    if len(inputs) == 1:
        return lambda wanted: g.Gather(inputs[0], np.asarray(wanted, np.int64), axis=1)
    widths = [shape_of(v)[1] for v in inputs]
    if any(width != 1 for width in widths):
        raise InvalidType(
            f"{call.key} with categorical features takes one matrix, or one input per column",
            where=call.location or None,
        )

    def pick(wanted: Sequence[int]) -> Value:
        chosen = [inputs[k] for k in wanted]
        if len(chosen) == 1:
            return chosen[0]
        return g.Concat(*(g.Cast(v, DataType.DOUBLE) for v in chosen), axis=1)

    return pick


def category_codes(g: GraphBuilder, call: Call, column: Value, categories: Array) -> Value:
    """Return the position of each entry of a column [batch, 1] among its categories: DOUBLE, NaN for all others."""
    text = column.dtype == DataType.STRING
    known = [c for c in categories.tolist() if isinstance(c, str) == text and c == c and c is not None]
    # A missing value among the categories is the last one, so positions are those of scikit-learn.
    if not known or (text != any(isinstance(c, str) for c in categories.tolist())):
        raise InvalidType(
            f"a categorical column of {call.key} holds {'text' if text else 'numbers'}",
            where=call.location or None,
            needs=f"what it was trained on: {categories[:5].tolist()}, …",
        )
    nan = g.const(np.asarray(np.nan))
    if text:
        code = g.Cast(_text_positions(g, column, [str(c) for c in known]), DataType.DOUBLE)
        return g.Where(g.Less(code, 0.0), nan, code)
    values = np.asarray(known, np.float64)
    column = g.Cast(column, DataType.DOUBLE)
    if np.array_equal(values, np.arange(len(values))):
        inside = g.And(g.GreaterOrEqual(column, 0.0), g.LessOrEqual(column, float(len(values) - 1)))
        return g.Where(g.And(inside, g.Equal(column, g.Floor(column))), column, nan)
    hit = g.Equal(column, values[None, :])
    code = g.Cast(g.ArgMax(g.Cast(hit, DataType.UINT8), axis=1, keepdims=1), DataType.DOUBLE)
    found = g.ReduceMax(g.Cast(hit, DataType.FLOAT), 1)
    return g.Where(g.Greater(found, 0.0), code, nan)


def _text_positions(g: GraphBuilder, column: Value, texts: Sequence[str]) -> Value:
    if g.opsets.ml == 1:
        return g.ml.LabelEncoder(column, classes_strings=list(texts), default_int64=-1)
    return g.ml.LabelEncoder(column, keys_strings=list(texts), values_int64s=np.arange(len(texts)), default_int64=-1)
