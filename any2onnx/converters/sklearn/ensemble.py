"""Forests, gradient boosting, isolation forest and AdaBoost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from any2onnx.converters.sklearn.support import Child, children
from any2onnx.converters.sklearn.support import working_type as float_type
from any2onnx.converters.sklearn.tree import (
    Array,
    Results,
    as_prediction,
    convert_sub_model,
    decision_path,
    ensemble_of,
    leaf_table,
    matrix,
    outputs_of,
    pick_label,
    precision,
    stack_columns,
    store_probabilities,
)
from any2onnx.errors import UnsupportedParameter
from any2onnx.graph.builder import GraphBuilder
from any2onnx.graph.types import DataType, Value
from any2onnx.operator_mappings.mapping import Call
from any2onnx.tree_ensemble.emit import emit_leaves, emit_scores
from any2onnx.tree_ensemble.ir import TreeEnsemble

# --- forests --------------------------------------------------------------------------------------------------------


def forest_ensemble(estimator: Any) -> TreeEnsemble:
    """Return the ensemble of a forest: the sums of its trees' values, or of their probabilities."""
    n_classes = outputs_of(estimator)[1] if hasattr(estimator, "classes_") else None
    trees = [t.tree_ for t in estimator.estimators_]
    tables = (leaf_table(t, n_classes) for t in trees)
    width = int(estimator.n_outputs_) if n_classes is None else sum(n_classes)
    return ensemble_of(trees, tables, n_features=estimator.n_features_in_, n_targets=width)


def forest_classifier(g: GraphBuilder, call: Call) -> Results:
    """Convert RandomForestClassifier and ExtraTreesClassifier.

    The trees' probabilities are summed and divided once, as scikit-learn does.
    """
    estimator = call.source
    classes, n_classes = outputs_of(estimator)
    e = forest_ensemble(estimator)
    x = matrix(g, call)
    results: Results = {}
    sums: list[Value] = []
    if any(method.startswith("predict") for method in call.methods):
        sums = _class_sums(g, call, e, x, n_classes)
    for method in call.methods:
        if method == "predict":
            best = [g.ArgMax(s, axis=1, keepdims=0) for s in sums]
            results[method] = stack_columns(g, [pick_label(g, c, b) for c, b in zip(classes, best, strict=True)])
        elif method in ("predict_proba", "predict_log_proba"):
            wide = [g.Cast(s, DataType.DOUBLE) if float_type(call) == DataType.DOUBLE else s for s in sums]
            shares = [g.Div(s, g.scalar_like(e.n_trees, s)) for s in wide]
            store_probabilities(g, call, results, shares, [method])
        else:
            results[method] = _structure(g, e, x, method)
    return results


def _class_sums(g: GraphBuilder, call: Call, e: TreeEnsemble, x: Value, n_classes: Sequence[int]) -> list[Value]:
    """Return the sum of the trees' probabilities [batch, classes] for each output."""
    if list(n_classes) == [2] and (g.opsets.ml >= 5 or _is_pure(e)) and _rows_sum_to_one(e):
        # One sum says it all, and TreeEnsemble adds a leaf to one target only.
        second = _one_column(e, 1)
        score = emit_scores(g, second, x, result=float_type(call), precision=precision(call))
        return [g.Concat(g.Sub(g.scalar_like(e.n_trees, score), score), score, axis=1)]
    scores = emit_scores(g, e, x, result=float_type(call), precision=precision(call))
    if len(n_classes) == 1:
        return [scores]
    return list(g.Split(scores, list(n_classes), axis=1))


def _one_column(e: TreeEnsemble, column: int) -> TreeEnsemble:
    return replace(e, leaf_values=np.ascontiguousarray(e.leaf_values[:, column : column + 1]), n_targets=1)


def _is_pure(e: TreeEnsemble) -> bool:
    return bool(np.all((e.leaf_values == 0) | (e.leaf_values == 1)))


def _rows_sum_to_one(e: TreeEnsemble) -> bool:
    # False where all samples of a leaf have weight 0.
    return bool(np.all(np.abs(e.leaf_values.sum(axis=1) - 1) < 1e-12))


def _structure(g: GraphBuilder, e: TreeEnsemble, x: Value, method: str) -> Value:
    return decision_path(g, e, x) if method == "decision_path" else emit_leaves(g, e, x)


def forest_regressor(g: GraphBuilder, call: Call) -> Results:
    """Convert RandomForestRegressor and ExtraTreesRegressor."""
    estimator = call.source
    e = forest_ensemble(estimator)
    x = matrix(g, call)
    results: Results = {}
    for method in call.methods:
        if method == "predict":
            scores = emit_scores(g, e, x, result=float_type(call), precision=precision(call))
            mean = g.Div(scores, g.scalar_like(e.n_trees, scores))
            results[method] = as_prediction(g, call, mean, int(estimator.n_outputs_))
        else:
            results[method] = _structure(g, e, x, method)
    return results


def embedding_ensemble(estimator: Any) -> TreeEnsemble:
    """Return the ensemble of a RandomTreesEmbedding: each leaf adds 1 to its own column."""
    trees = [t.tree_ for t in estimator.estimators_]
    columns, offset = [], 0
    for tree, categories in zip(trees, estimator.one_hot_encoder_.categories_, strict=True):
        columns.append(offset + np.searchsorted(categories, np.flatnonzero(tree.children_left < 0)))
        offset += len(categories)
    return ensemble_of(
        trees,
        [np.ones(len(c)) for c in columns],
        n_features=estimator.n_features_in_,
        n_targets=int(estimator._n_features_out),
        leaf_target=np.concatenate(columns).astype(np.int32),
    )


def random_trees_embedding(g: GraphBuilder, call: Call) -> Results:
    """Convert RandomTreesEmbedding; the result is dense."""
    e = embedding_ensemble(call.source)
    x = matrix(g, call)
    results: Results = {}
    for method in call.methods:
        if method == "transform":
            results[method] = g.Cast(emit_scores(g, e, x, result=float_type(call)), float_type(call))
        else:
            results[method] = _structure(g, e, x, method)
    return results


def isolation_ensemble(estimator: Any) -> TreeEnsemble:
    """Return the ensemble of an IsolationForest: the sum of the depths, with what would come below the leaves."""
    trees = [t.tree_ for t in estimator.estimators_]
    depths = [
        (length + average - 1.0)[tree.children_left < 0]
        for tree, length, average in zip(
            trees, estimator._decision_path_lengths, estimator._average_path_length_per_tree, strict=True
        )
    ]
    n_features = int(estimator.n_features_in_)
    subset = estimator.estimators_features_ if estimator._max_features != n_features else None
    return ensemble_of(trees, depths, n_features=n_features, features=subset)


def isolation_forest(g: GraphBuilder, call: Call) -> Results:
    """Convert IsolationForest. Scores are float64 inside: `predict` compares them with a score of the training set."""
    estimator = call.source
    e = isolation_ensemble(estimator)
    denominator = e.n_trees * _average_path_length(int(estimator._max_samples))
    depth = g.Cast(emit_scores(g, e, matrix(g, call), precision=precision(call)), DataType.DOUBLE)
    depth = g.Squeeze(depth, 1)
    # One training sample: scikit-learn sets the exponent to -1.
    exponent = g.Neg(g.Div(depth, denominator)) if denominator else g.Sub(g.Mul(depth, 0.0), 1.0)
    score = g.Neg(g.Pow(g.scalar_like(2.0, exponent), exponent))
    decision = g.Sub(score, float(estimator.offset_))
    results: Results = {}
    for method in call.methods:
        if method == "predict":
            outlier = g.Less(decision, 0.0)
            results[method] = g.Where(outlier, np.asarray(-1, np.int64), np.asarray(1, np.int64))
        else:
            results[method] = g.Cast(score if method == "score_samples" else decision, float_type(call))
    return results


def _average_path_length(n: int) -> float:
    """Return the mean depth of a leaf in an isolation tree of n samples, as scikit-learn computes it."""
    if n <= 1:
        return 0.0
    if n == 2:
        return 1.0
    return float(2.0 * (np.log(n - 1.0) + np.euler_gamma) - 2.0 * (n - 1.0) / n)


# --- gradient boosting ----------------------------------------------------------------------------------------------


def _init_children(estimator: Any, methods: tuple[str, ...]) -> list[Child]:
    """Return the initial estimator where its predictions depend on the rows."""
    if _constant_start(estimator) is not None:
        return []
    return [Child("init", estimator.init_, ("predict_proba" if hasattr(estimator, "classes_") else "predict",))]


@children(_init_children)
def gradient_boosting_classifier(g: GraphBuilder, call: Call) -> Results:
    """Convert GradientBoostingClassifier, both losses, any `init`."""
    estimator = call.source
    e = boosted_ensemble(call.source)
    x = matrix(g, call)
    binary = estimator.n_trees_per_iteration_ == 1
    factor = 2.0 if estimator.loss == "exponential" else 1.0
    results: Results = {}
    raw: Value | None = None
    if any(method != "apply" for method in call.methods):
        raw = _raw(g, call, e, x)
    for method in call.methods:
        if method == "apply":
            results[method] = _boosted_leaves(g, call, e, x)
            continue
        assert raw is not None
        if method == "predict":
            results[method] = pick_label(g, estimator.classes_, best_class(g, raw, binary, zero_is_positive=True))
        elif method == "decision_function":
            results[method] = as_prediction(g, call, raw, raw_width(estimator))
        else:
            probability = class_probabilities(g, raw, binary, factor=factor, logs="predict_log_proba" in call.methods)
            store_probabilities(g, call, results, [probability], [method])
    return results


def raw_width(estimator: Any) -> int:
    """Return the number of columns of a boosted classifier's raw scores."""
    return int(estimator.n_trees_per_iteration_)


def best_class(g: GraphBuilder, raw: Value, binary: bool, *, zero_is_positive: bool) -> Value:
    """Return the position of the predicted class: int64 [batch]."""
    if not binary:
        return g.ArgMax(raw, axis=1, keepdims=0)
    score = g.Squeeze(raw, 1)
    positive = g.GreaterOrEqual(score, 0.0) if zero_is_positive else g.Greater(score, 0.0)
    return g.Cast(positive, DataType.INT64)


def class_probabilities(g: GraphBuilder, raw: Value, binary: bool, *, factor: float = 1.0, logs: bool = False) -> Value:
    """Return the probabilities [batch, classes] behind raw scores.

    Args:
        g: The builder.
        raw: [batch, 1] or [batch, classes].
        binary: Two classes with one score.
        factor: Of the score, for two classes.
        logs: Their logarithms are wanted: scikit-learn's 1 - 1 / (1 + exp(-x)) loses all digits near 1, and to lose
            the same ones takes the same operations.
    """
    if not binary:
        return g.Softmax(raw, axis=1)
    score = raw if factor == 1.0 else g.Mul(raw, factor)
    one = g.scalar_like(1.0, raw)
    positive = g.Div(one, g.Add(one, g.Exp(g.Neg(score)))) if logs else g.Sigmoid(score)
    return g.Concat(g.Sub(one, positive), positive, axis=1)


@children(_init_children)
def gradient_boosting_regressor(g: GraphBuilder, call: Call) -> Results:
    """Convert GradientBoostingRegressor; all its losses predict the raw score."""
    e = boosted_ensemble(call.source)
    x = matrix(g, call)
    results: Results = {}
    for method in call.methods:
        if method == "apply":
            results[method] = emit_leaves(g, e, x)
        else:
            results[method] = as_prediction(g, call, _raw(g, call, e, x), 1)
    return results


def boosted_ensemble(estimator: Any) -> TreeEnsemble:
    """Return the ensemble of a gradient boosting: the raw scores, without those of an `init` that looks at x.

    Raises:
        UnsupportedParameter: `init` predicts at random.
    """
    stages, width = estimator.estimators_.shape
    trees = [t.tree_ for t in estimator.estimators_.ravel()]
    tables = [estimator.learning_rate * t.value[t.children_left < 0, 0, 0] for t in trees]
    target = None
    if width > 1:
        sizes = [len(table) for table in tables]
        target = np.repeat(np.tile(np.arange(width, dtype=np.int32), stages), sizes)
    return ensemble_of(
        trees,
        tables,
        n_features=estimator.n_features_in_,
        n_targets=width,
        leaf_target=target,
        base=_constant_start(estimator),
    )


def _boosted_leaves(g: GraphBuilder, call: Call, e: TreeEnsemble, x: Value) -> Value:
    """Return the leaves [batch, stages, trees per stage]; scikit-learn gives these numbers as float64."""
    stages, width = call.source.estimators_.shape
    return g.Reshape(emit_leaves(g, e, x), [0, stages, width])


def _constant_start(estimator: Any) -> Array | None:
    """Return the raw scores before the first tree where they are the same for every row, else None."""
    from sklearn.dummy import DummyClassifier, DummyRegressor

    start = estimator.init_
    if isinstance(start, DummyClassifier) and start.strategy in ("stratified", "uniform"):
        raise UnsupportedParameter(f"init=DummyClassifier(strategy={start.strategy!r}) predicts at random")
    if isinstance(start, str | DummyClassifier | DummyRegressor):
        # scikit-learn's own number: with the data type's limits, in its order of operations.
        row = np.zeros((1, estimator.n_features_in_), np.float32)
        return np.asarray(estimator._raw_predict_init(row)[0], np.float64)
    return None


def _raw(g: GraphBuilder, call: Call, e: TreeEnsemble, x: Value) -> Value:
    """Return the raw scores [batch, trees per stage]."""
    scores = emit_scores(g, e, x, result=float_type(call), precision=precision(call))
    if e.base is not None:
        return scores
    start = _start_of_estimator(g, call, x)
    return g.Add(g.Cast(scores, DataType.DOUBLE), start)


def _start_of_estimator(g: GraphBuilder, call: Call, x: Value) -> Value:
    """Return the link of what the initial estimator predicts: DOUBLE [batch, trees per stage]."""
    estimator = call.source
    # scikit-learn hands the rows on as float32 numbers; everything behind is float64.
    rows = g.Cast(g.Cast(x, DataType.FLOAT), DataType.DOUBLE)
    if not hasattr(estimator, "classes_"):
        prediction = convert_sub_model(call, estimator.init_, rows, "predict", "init", g)
        return g.Unsqueeze(g.Cast(prediction, DataType.DOUBLE), 1)
    proba = g.Cast(convert_sub_model(call, estimator.init_, rows, "predict_proba", "init", g), DataType.DOUBLE)
    eps = float(np.finfo(np.float64).eps)
    if estimator.n_trees_per_iteration_ > 1:
        logs = g.Log(g.Clip(proba, eps, 1 - eps))
        return g.Sub(logs, g.ReduceMean(logs, 1))
    positive = g.Clip(g.Slice(proba, 1, 2, 1), eps, 1 - eps)
    logit = g.Log(g.Div(positive, g.Sub(g.scalar_like(1.0, positive), positive)))
    return g.Mul(logit, 0.5) if estimator.loss == "exponential" else logit
