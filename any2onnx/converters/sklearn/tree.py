"""Decision trees, and what all estimators made of trees share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from any2onnx.converters.sklearn.support import convert_child, labels, raw_matrix
from any2onnx.converters.sklearn.support import working_type as float_type
from any2onnx.errors import InvalidType
from any2onnx.graph.builder import GraphBuilder
from any2onnx.graph.types import DataType, Value
from any2onnx.operator_mappings.mapping import Call
from any2onnx.tree_ensemble.assembly import assemble
from any2onnx.tree_ensemble.emit import Precision, emit_leaf_numbers, emit_leaves, emit_scores
from any2onnx.tree_ensemble.ir import TreeEnsemble

Array = npt.NDArray[Any]
Results = dict[str, Any]


# --- inputs and outputs ---------------------------------------------------------------------------------------------


def matrix(g: GraphBuilder, call: Call) -> Value:
    """Return the rows as one matrix [batch, features] in their own type; columns of several types as numpy joins them.

    Raises:
        InvalidType: A column is text.
    """
    for value in call.inputs:
        if value.dtype == DataType.STRING:
            raise InvalidType(f"{call.key} needs numbers, {value.name!r} is text", where=call.location or None)
    return raw_matrix(g, call)


def pick_label(g: GraphBuilder, classes: Any, index: Value) -> Value:
    """Return the class labels at int64 positions."""
    return labels(g, classes, index)


def precision(call: Call) -> Precision:
    """Return the option `precision`."""
    chosen: Precision = call.options.get("precision", "auto")
    return chosen


def convert_sub_model(call: Call, estimator: Any, rows: Value, method: str, name: str, g: GraphBuilder) -> Value:
    """Convert another estimator inside this one, in float64, and return the result of one of its methods."""
    result: Value = convert_child(call, name, estimator, [rows], [method], g=g, exact=True)[method]
    return result


# --- scikit-learn's trees as an ensemble -----------------------------------------------------------------------------


def ensemble_of(
    trees: Sequence[Any],
    leaf_values: Iterable[Array],
    *,
    n_features: int,
    n_targets: int = 1,
    features: Sequence[Array] | None = None,
    **more: Any,
) -> TreeEnsemble:
    """Return scikit-learn's trees (``estimator.tree_``) as an ensemble: `float32(x) <= threshold` goes left.

    Args:
        trees: At least one.
        leaf_values: Per tree [leaves, width], or [leaves].
        n_features: Columns of the rows.
        n_targets: See `TreeEnsemble`.
        features: Per tree, the column of the rows behind each feature of the tree; None: the same.
        more: Further fields of `TreeEnsemble`.
    """
    tested = [t.feature for t in trees]
    if features is not None:
        # Leaves test no feature (-2), which is a position from the end here and is not read.
        tested = [columns[np.maximum(f, 0)] for columns, f in zip(features, tested, strict=True)]
    return assemble(
        true_child=[t.children_left for t in trees],
        false_child=[t.children_right for t in trees],
        feature=tested,
        threshold=[t.threshold for t in trees],
        missing_true=[t.missing_go_to_left for t in trees],
        leaf_values=(table[:, None] if table.ndim == 1 else table for table in leaf_values),
        n_targets=n_targets,
        n_features=n_features,
        compare="float32",
        **more,
    )


def leaf_table(tree: Any, n_classes: Sequence[int] | None = None) -> Array:
    """Return the values of a tree's leaves [leaves, width]: one per output, or per output and class."""
    values = tree.value.take(np.flatnonzero(tree.children_left < 0), axis=0)
    if n_classes is None:
        return np.asarray(values[:, :, 0])
    if len(n_classes) == 1:
        return np.asarray(values[:, 0, : n_classes[0]])
    return np.concatenate([values[:, k, :n] for k, n in enumerate(n_classes)], axis=1)


def decision_path(g: GraphBuilder, e: TreeEnsemble, x: Value) -> Value:
    """Return which nodes each row passes: int64 [batch, nodes of all trees], 0 or 1."""
    place, size = e.preorder()
    reached = emit_leaf_numbers(g, e, x, place[e.is_leaf])
    per_node = g.Gather(reached, g.const(e.tree_of_node, name="tree_of_node"), axis=1)
    below = g.And(
        g.GreaterOrEqual(per_node, g.const(place, name="first_below")),
        g.Less(per_node, g.const(place + size, name="end_below")),
    )
    return g.Cast(below, DataType.INT64)


def outputs_of(estimator: Any) -> tuple[list[Any], list[int]]:
    """Return the classes of each output and their numbers."""
    if estimator.n_outputs_ == 1:
        return [estimator.classes_], [int(estimator.n_classes_)]
    return list(estimator.classes_), [int(n) for n in estimator.n_classes_]


def store_probabilities(
    g: GraphBuilder, call: Call, results: Results, probabilities: Sequence[Value], methods: Sequence[str]
) -> None:
    """Put predict_proba and predict_log_proba among the results, as far as they are wanted.

    Where the estimator has several outputs, scikit-learn returns a list: here a tuple.
    """
    for method in methods:
        if method in ("predict_proba", "predict_log_proba"):
            log = method == "predict_log_proba"
            values = tuple(g.Cast(g.Log(p) if log else p, float_type(call)) for p in probabilities)
            results[method] = values if len(values) > 1 else values[0]


# --- converters -----------------------------------------------------------------------------------------------------


def tree_ensemble(estimator: Any) -> TreeEnsemble:
    """Return the ensemble of a single tree: values of its outputs, or probabilities of all outputs' classes."""
    table = leaf_table(estimator.tree_, outputs_of(estimator)[1] if hasattr(estimator, "classes_") else None)
    return ensemble_of([estimator.tree_], [table], n_features=estimator.n_features_in_, n_targets=table.shape[1])


def decision_tree_classifier(g: GraphBuilder, call: Call) -> Results:
    """Convert DecisionTreeClassifier and ExtraTreeClassifier: one walk to the leaf's number, then tables."""
    estimator = call.source
    classes, n_classes = outputs_of(estimator)
    e = tree_ensemble(estimator)
    table = e.leaf_values
    x = matrix(g, call)
    results: Results = {}
    if any(method.startswith("predict") for method in call.methods):
        leaf = g.Squeeze(emit_leaf_numbers(g, e, x, np.arange(len(table))), 1)
        parts = np.split(table, np.cumsum(n_classes)[:-1], axis=1)
    for method in call.methods:
        if method == "predict":
            results[method] = _leaf_labels(g, classes, parts, leaf)
        elif method in ("predict_proba", "predict_log_proba"):
            values = [g.Gather(g.const(np.ascontiguousarray(p), name="probabilities"), leaf, axis=0) for p in parts]
            store_probabilities(g, call, results, values, [method])
        else:
            results[method] = _structure(g, e, x, method)
    return results


def _leaf_labels(g: GraphBuilder, classes: Sequence[Any], parts: Sequence[Array], leaf: Value) -> Value:
    columns = []
    for names, part in zip(classes, parts, strict=True):
        best = g.Gather(g.const(part.argmax(axis=1), name="label_of_leaf"), leaf, axis=0)
        columns.append(pick_label(g, names, best))
    return stack_columns(g, columns)


def stack_columns(g: GraphBuilder, columns: Sequence[Value]) -> Value:
    """Return one column as it is [batch], several as a matrix."""
    return columns[0] if len(columns) == 1 else g.Concat(*(g.Unsqueeze(c, 1) for c in columns), axis=1)


def decision_tree_regressor(g: GraphBuilder, call: Call) -> Results:
    """Convert DecisionTreeRegressor and ExtraTreeRegressor."""
    estimator = call.source
    n_outputs = int(estimator.n_outputs_)
    e = tree_ensemble(estimator)
    x = matrix(g, call)
    results: Results = {}
    for method in call.methods:
        if method == "predict":
            scores = emit_scores(g, e, x, result=float_type(call), precision=precision(call))
            results[method] = as_prediction(g, call, scores, n_outputs)
        else:
            results[method] = _structure(g, e, x, method)
    return results


def as_prediction(g: GraphBuilder, call: Call, scores: Value, n_outputs: int) -> Value:
    """Return scores [batch, n_outputs] in the type and shape of predict: [batch] for one output."""
    scores = g.Cast(scores, float_type(call))
    return g.Squeeze(scores, 1) if n_outputs == 1 else scores


def _structure(g: GraphBuilder, e: TreeEnsemble, x: Value, method: Literal["apply", "decision_path"] | str) -> Value:
    if method == "decision_path":
        return decision_path(g, e, x)
    return g.Squeeze(emit_leaves(g, e, x), 1)
