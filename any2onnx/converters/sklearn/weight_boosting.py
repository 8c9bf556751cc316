"""AdaBoost over trees (one ensemble) or over any estimators."""

from __future__ import annotations

from typing import Any

import numpy as np

from any2onnx.converters.sklearn.support import Child, children, class_array
from any2onnx.converters.sklearn.support import working_type as float_type
from any2onnx.converters.sklearn.tree import (
    Results,
    as_prediction,
    convert_sub_model,
    ensemble_of,
    leaf_table,
    matrix,
    pick_label,
    precision,
    store_probabilities,
)
from any2onnx.graph.builder import GraphBuilder
from any2onnx.graph.types import DataType, Value
from any2onnx.operator_mappings.mapping import Call
from any2onnx.tree_ensemble.emit import emit_scores
from any2onnx.tree_ensemble.ir import TreeEnsemble


def _members(estimator: Any, methods: tuple[str, ...]) -> list[Child]:
    """Return the estimators that are converted on their own: none where all are trees."""
    if all(_is_tree(sub) for sub in estimator.estimators_):
        return []
    return [Child(f"estimator{k}", sub, ("predict",)) for k, sub in enumerate(estimator.estimators_)]


@children(_members)
def ada_boost_classifier(g: GraphBuilder, call: Call) -> Results:
    """Convert AdaBoostClassifier: votes with weights; a vote for one class counts against the others."""
    estimator = call.source
    n_classes = int(estimator.n_classes_)
    x = matrix(g, call)
    votes = _votes(g, call, x)
    total = float(np.sum(estimator.estimator_weights_))
    if n_classes == 2:
        # Of two classes only the second is counted, by +w and -w; scikit-learn adds the share up twice.
        share = g.Div(votes, g.scalar_like(total, votes))
        decision = g.Add(share, share)
    elif n_classes == 1:
        decision = g.Mul(votes, g.scalar_like(0.0, votes))
    else:
        against = g.Div(g.Sub(g.scalar_like(total, votes), votes), g.scalar_like(n_classes - 1, votes))
        decision = g.Div(g.Sub(votes, against), g.scalar_like(total, votes))
    results: Results = {}
    for method in call.methods:
        if method == "predict":
            results[method] = pick_label(g, estimator.classes_, _winner(g, decision, n_classes))
        elif method == "decision_function":
            # With one class scikit-learn keeps the column.
            width = 1 if n_classes == 2 else max(n_classes, 2)
            results[method] = as_prediction(g, call, decision, width)
        else:
            store_probabilities(g, call, results, [_probabilities(g, decision, n_classes)], [method])
    return results


def _winner(g: GraphBuilder, decision: Value, n_classes: int) -> Value:
    if n_classes == 2:
        return g.Cast(g.Greater(g.Squeeze(decision, 1), g.scalar_like(0.0, decision)), DataType.INT64)
    return g.ArgMax(decision, axis=1, keepdims=0)


def _probabilities(g: GraphBuilder, decision: Value, n_classes: int) -> Value:
    if n_classes == 1:
        return g.Add(decision, g.scalar_like(1.0, decision))
    if n_classes == 2:
        half = g.Mul(decision, g.scalar_like(0.5, decision))
        return g.Softmax(g.Concat(g.Neg(half), half, axis=1), axis=1)
    return g.Softmax(g.Div(decision, g.scalar_like(n_classes - 1, decision)), axis=1)


def _is_tree(estimator: Any) -> bool:
    from sklearn.tree import BaseDecisionTree

    return isinstance(estimator, BaseDecisionTree) and estimator.n_outputs_ == 1


def _votes(g: GraphBuilder, call: Call, x: Value) -> Value:
    """Return the weight behind each class [batch, classes]; for two classes that of the second less the first."""
    estimator = call.source
    if not all(_is_tree(sub) for sub in estimator.estimators_):
        return _votes_of_estimators(g, call, x)
    return emit_scores(g, vote_ensemble(estimator), x, result=float_type(call), precision=precision(call))


def vote_ensemble(estimator: Any) -> TreeEnsemble:
    """Return the ensemble of an AdaBoostClassifier over trees; each leaf votes for one class."""
    n_classes = int(estimator.n_classes_)
    values, targets = [], []
    for sub, weight in zip(estimator.estimators_, estimator.estimator_weights_, strict=False):
        best = leaf_table(sub.tree_, [int(sub.n_classes_)]).argmax(axis=1)
        winner = np.searchsorted(estimator.classes_, sub.classes_[best])
        values.append(np.where(winner == 1, weight, -weight) if n_classes == 2 else np.full(len(winner), weight))
        targets.append(winner)
    several = n_classes > 2
    return ensemble_of(
        [sub.tree_ for sub in estimator.estimators_],
        values,
        n_features=estimator.n_features_in_,
        n_targets=n_classes if several else 1,
        leaf_target=np.concatenate(targets).astype(np.int32) if several else None,
    )


def _votes_of_estimators(g: GraphBuilder, call: Call, x: Value) -> Value:
    estimator = call.source
    labels = class_array(estimator.classes_)
    two = len(labels) == 2
    total: Value | None = None
    for k, (sub, weight) in enumerate(zip(estimator.estimators_, estimator.estimator_weights_, strict=False)):
        predicted = g.Unsqueeze(convert_sub_model(call, sub, x, "predict", f"estimator{k}", g), 1)
        hit = _equals(g, predicted, labels[1:] if two else labels)
        vote = g.Where(hit, np.asarray(weight), np.asarray(-weight if two else 0.0))
        total = vote if total is None else g.Add(total, vote)
    assert total is not None
    return total


def _equals(g: GraphBuilder, predicted: Value, labels: Any) -> Value:
    """Compare labels [batch, 1] with class labels: bool [batch, classes]."""
    if predicted.dtype != DataType.STRING:
        return g.Equal(predicted, labels[None, :])
    if g.opsets.main >= 19:
        return g.Equal(predicted, g.const(labels[None, :]))
    # Text has no Equal before opset 19: compare positions.
    texts = [str(label) for label in labels]
    if g.opsets.ml >= 2:
        position = g.ml.LabelEncoder(
            predicted, keys_strings=texts, values_int64s=np.arange(len(texts)), default_int64=-1
        )
    else:
        position = g.ml.LabelEncoder(predicted, classes_strings=texts, default_int64=-1)
    return g.Equal(position, np.arange(len(texts))[None, :])


def median_ensemble(estimator: Any) -> TreeEnsemble:
    """Return the ensemble of an AdaBoostRegressor over trees: each tree has a sum of its own."""
    tables = [leaf_table(sub.tree_) for sub in estimator.estimators_]
    return ensemble_of(
        [sub.tree_ for sub in estimator.estimators_],
        tables,
        n_features=estimator.n_features_in_,
        n_targets=len(tables),
        leaf_target=np.repeat(np.arange(len(tables), dtype=np.int32), [len(t) for t in tables]),
    )


@children(_members)
def ada_boost_regressor(g: GraphBuilder, call: Call) -> Results:
    """Convert AdaBoostRegressor: the weighted median of the estimators' predictions."""
    estimator = call.source
    x = matrix(g, call)
    count = len(estimator.estimators_)
    weights = np.asarray(estimator.estimator_weights_, np.float64)
    if all(_is_tree(sub) for sub in estimator.estimators_):
        e = median_ensemble(estimator)
        predictions = emit_scores(g, e, x, result=float_type(call), precision=precision(call))
    else:
        columns = [
            g.Unsqueeze(g.Cast(convert_sub_model(call, sub, x, "predict", f"estimator{k}", g), float_type(call)), 1)
            for k, sub in enumerate(estimator.estimators_)
        ]
        predictions = columns[0] if count == 1 else g.Concat(*columns, axis=1)
    ordered, index = g.TopK(predictions, count, axis=1, largest=False)
    reached = g.CumSum(g.Gather(g.const(weights, name="weights"), index, axis=0), np.asarray(1, np.int64))
    half = g.Mul(g.Slice(reached, count - 1, count, 1), 0.5)
    # The first position that has half of the weight behind it.
    enough = g.Cast(g.GreaterOrEqual(reached, half), DataType.FLOAT)
    median = g.ArgMax(enough, axis=1, keepdims=1)
    return {"predict": as_prediction(g, call, g.GatherElements(ordered, median, axis=1), 1)}
