"""sklearn.multiclass and sklearn.multioutput: several estimators for several classes or targets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from any2onnx.converters.sklearn.support import (
    Child,
    Results,
    argmax_label,
    as_column,
    as_vector,
    cast_results,
    children,
    convert_child,
    inner_type,
    labels,
    matrix,
    only,
    raw_matrix,
    take_columns,
)
from any2onnx.errors import UnsupportedParameter
from any2onnx.graph.builder import GraphBuilder
from any2onnx.graph.types import DataType, Value, dtype_of, rank_of
from any2onnx.operator_mappings.mapping import Call


def _binary_method(estimator: Any) -> str:
    """Return the method whose result tells the positive class of a binary estimator."""
    from sklearn.base import is_regressor

    if is_regressor(estimator):
        return "predict"
    return "decision_function" if hasattr(estimator, "decision_function") else "predict_proba"


def _binary_score(g: GraphBuilder, method: str, result: Value) -> Value:
    """Return the score of the positive class, [N]."""
    if method in ("predict_proba", "predict_log_proba"):
        return g.Gather(result, np.asarray(1, np.int64), axis=1)
    return as_vector(g, result)


def _binary_threshold(estimator: Any) -> float:
    from sklearn.base import is_classifier

    return 0.0 if hasattr(estimator, "decision_function") and is_classifier(estimator) else 0.5


def _side_by_side(g: GraphBuilder, vectors: Sequence[Value]) -> Value:
    columns = [as_column(g, v) for v in vectors]
    return columns[0] if len(columns) == 1 else g.op("Concat", *columns, axis=1)


def _child(call: Call, k: int, estimator: Any, inputs: Sequence[Value], methods: Sequence[str]) -> Results:
    columns = call.params["columns"] if tuple(inputs) == tuple(call.inputs) else None
    return convert_child(call, f"estimators_{k}", estimator, inputs, methods, columns=columns, exact=True)


# --- one against the rest ---------------------------------------------------------------------------------------------


def _rest_methods(estimator: Any, methods: tuple[str, ...]) -> tuple[str, ...]:
    wanted = [_binary_method(estimator)] if "predict" in methods else []
    wanted += [method for method in methods if method != "predict"]
    return tuple(dict.fromkeys(wanted))


def _rest_children(model: Any, methods: tuple[str, ...]) -> list[Child]:
    return [Child(f"estimators_{k}", e, _rest_methods(e, methods)) for k, e in enumerate(model.estimators_)]


@children(_rest_children)
def one_vs_rest(g: GraphBuilder, call: Call) -> Results:
    """Convert OneVsRestClassifier, for two classes, several classes and several labels."""
    model = call.source
    found = [_child(call, k, e, call.inputs, _rest_methods(e, call.methods)) for k, e in enumerate(model.estimators_)]
    results: Results = {}
    if "predict" in call.methods:
        results["predict"] = _rest_label(g, call, found)
    if "predict_proba" in call.methods:
        table = _side_by_side(g, [_binary_score(g, "predict_proba", r["predict_proba"]) for r in found])
        if len(found) == 1:
            table = g.op("Concat", g.Sub(g.scalar_like(1.0, table), table), table, axis=1)
        if not model.multilabel_:
            sums = g.ReduceSum(table, [1])
            zero = g.Equal(sums, g.scalar_like(0.0, sums))
            table = g.Div(table, g.Where(zero, g.scalar_like(1.0, sums), sums))
        results["predict_proba"] = table
    if "decision_function" in call.methods:
        scores = [as_vector(g, r["decision_function"]) for r in found]
        results["decision_function"] = scores[0] if len(scores) == 1 else _side_by_side(g, scores)
    return cast_results(g, call, only(call, results), keep=("predict",))


def _rest_label(g: GraphBuilder, call: Call, found: Sequence[Results]) -> Value:
    model = call.source
    methods = [_binary_method(e) for e in model.estimators_]
    scores = [_binary_score(g, m, r[m]) for m, r in zip(methods, found, strict=True)]
    scores = [g.Cast(s, inner_type(call)) for s in scores]
    if model.label_binarizer_.y_type_ == "multiclass":
        return argmax_label(g, _side_by_side(g, scores), model.classes_)
    table = _side_by_side(g, scores)
    above = g.Greater(table, g.scalar_like(_binary_threshold(model.estimators_[0]), table))
    hits = g.Cast(above, DataType.INT64)
    return hits if model.multilabel_ else labels(g, model.classes_, as_vector(g, hits))


# --- one against one --------------------------------------------------------------------------------------------------


def _pair_methods(estimator: Any) -> tuple[str, ...]:
    return tuple(dict.fromkeys(["predict", _binary_method(estimator)]))


def _pair_children(model: Any, methods: tuple[str, ...]) -> list[Child]:
    return [Child(f"estimators_{k}", e, _pair_methods(e)) for k, e in enumerate(model.estimators_)]


@children(_pair_children)
def one_vs_one(g: GraphBuilder, call: Call) -> Results:
    """Convert OneVsOneClassifier: votes, with ties broken by the sum of confidences."""
    model = call.source
    count = len(model.classes_)
    subsets = model.pairwise_indices_
    x = raw_matrix(g, call) if subsets is not None else None
    voted, scores = [], []
    for k, estimator in enumerate(model.estimators_):
        inputs = call.inputs if x is None else (take_columns(g, x, [int(i) for i in subsets[k]]),)
        found = _child(call, k, estimator, inputs, _pair_methods(estimator))
        method = _binary_method(estimator)
        voted.append(as_vector(g, found["predict"]))
        scores.append(_binary_score(g, method, found[method]))
    decision = pairwise_decision(g, _side_by_side(g, voted), _side_by_side(g, scores), count)
    if count == 2:
        decision = g.Gather(decision, np.asarray(1, np.int64), axis=1)
    results: Results = {"decision_function": decision}
    if "predict" in call.methods:
        if count == 2:
            threshold = _binary_threshold(model.estimators_[0])
            index = g.Cast(g.Greater(decision, g.scalar_like(threshold, decision)), DataType.INT64)
            results["predict"] = labels(g, model.classes_, index)
        else:
            results["predict"] = argmax_label(g, decision, model.classes_)
    return cast_results(g, call, only(call, results), keep=("predict",))


def pairwise_decision(g: GraphBuilder, voted: Value, scores: Value, count: int) -> Value:
    """Return votes plus squashed sums of confidences, [N, classes], from the pairs (0,1), (0,2), …, (1,2), ….

    Args:
        g: Builder.
        voted: [N, pairs], 0 for the first class of the pair, 1 for the second.
        scores: [N, pairs], positive for the second class.
        count: Number of classes.
    """
    first, second = np.triu_indices(count, 1)
    pairs = np.arange(len(first))
    to_first, to_second = np.zeros((2, len(first), count))
    to_first[pairs, first] = 1
    to_second[pairs, second] = 1
    dtype = dtype_of(scores)
    kind = dtype.numpy()

    def voted_for(label: int) -> Value:
        same = g.Equal(g.Cast(voted, DataType.DOUBLE), g.const(np.asarray(label, np.float64)))
        return g.Cast(same, dtype)

    votes = g.Add(
        g.MatMul(voted_for(0), to_first.astype(kind)),
        g.MatMul(voted_for(1), to_second.astype(kind)),
    )
    sums = g.MatMul(scores, (to_second - to_first).astype(kind))
    squashed = g.Div(sums, g.Mul(g.scalar_like(3.0, sums), g.Add(g.Abs(sums), g.scalar_like(1.0, sums))))
    return g.Add(votes, squashed)


# --- output codes -----------------------------------------------------------------------------------------------------


def _code_children(model: Any, methods: tuple[str, ...]) -> list[Child]:
    return [Child(f"estimators_{k}", e, (_binary_method(e),)) for k, e in enumerate(model.estimators_)]


@children(_code_children)
def output_code(g: GraphBuilder, call: Call) -> Results:
    """Convert OutputCodeClassifier: the class whose code is nearest to the binary estimators' scores."""
    model = call.source
    scores = []
    for k, estimator in enumerate(model.estimators_):
        method = _binary_method(estimator)
        scores.append(_binary_score(g, method, _child(call, k, estimator, call.inputs, (method,))[method]))
    table = g.Cast(_side_by_side(g, scores), DataType.DOUBLE)
    codes = np.asarray(model.code_book_, np.float64)
    # |y - c|² - |y|²: the rows' own norm changes no order.
    distance = g.Add(g.MatMul(table, -2.0 * codes.T), np.square(codes).sum(axis=1)[None, :])
    return {"predict": labels(g, model.classes_, g.ArgMin(distance, axis=1, keepdims=0))}


# --- several targets --------------------------------------------------------------------------------------------------


def _each_child(model: Any, methods: tuple[str, ...]) -> list[Child]:
    return [Child(f"estimators_{k}", e, methods) for k, e in enumerate(model.estimators_)]


@children(_each_child)
def multi_output(g: GraphBuilder, call: Call) -> Results:
    """Convert MultiOutputRegressor and MultiOutputClassifier: one estimator per target.

    Raises:
        UnsupportedParameter: The targets' labels are of different types.
    """
    found = [_child(call, k, e, call.inputs, call.methods) for k, e in enumerate(call.source.estimators_)]
    results: Results = {}
    if "predict" in call.methods:
        predictions = [as_vector(g, r["predict"]) for r in found]
        if len({dtype_of(p) for p in predictions}) > 1:
            raise UnsupportedParameter(
                "the targets have labels of different types, which cannot be one tensor", where=call.location or None
            )
        results["predict"] = _side_by_side(g, predictions)
    if "predict_proba" in call.methods:
        results["predict_proba"] = tuple(r["predict_proba"] for r in found)
    keep = ("predict",) if hasattr(call.source, "classes_") else ()
    return cast_results(g, call, only(call, results), keep=keep)


def _chain_methods(model: Any, methods: tuple[str, ...]) -> tuple[str, ...]:
    wanted = ["predict_proba" if method == "predict_log_proba" else method for method in methods]
    return tuple(dict.fromkeys([*wanted, getattr(model, "chain_method_", "predict")]))


def _chain_children(model: Any, methods: tuple[str, ...]) -> list[Child]:
    return [Child(f"estimators_{k}", e, _chain_methods(model, methods)) for k, e in enumerate(model.estimators_)]


@children(_chain_children)
def chain(g: GraphBuilder, call: Call) -> Results:
    """Convert ClassifierChain and RegressorChain: each estimator also sees the results of those before it.

    Raises:
        UnsupportedParameter: Scores of a target of several classes, of which a chain has one column.
    """
    model = call.source
    wanted = _chain_methods(model, call.methods)
    if wanted != ("predict",) and any(len(own) != 2 for own in getattr(model, "classes_", ())):
        raise UnsupportedParameter(
            "a chain has one score per target, so it has none for a target of several classes, in scikit-learn either",
            where=call.location or None,
            needs='targets of two classes, or outputs=("predict",) and chain_method="predict"',
        )
    link = getattr(model, "chain_method_", "predict")
    table = matrix(g, call, inner_type(call))
    outputs: dict[str, list[Value]] = {method: [] for method in wanted}
    for k, estimator in enumerate(model.estimators_):
        found = _child(call, k, estimator, [table], wanted)
        for method in wanted:
            score = _binary_score(g, method, found[method])
            outputs[method].append(g.Cast(score, inner_type(call)))
        if k < len(model.estimators_) - 1:
            table = g.op("Concat", table, as_column(g, outputs[link][-1]), axis=1)
    order = np.argsort(np.asarray(model.order_))
    results: Results = {}
    for method in call.methods:
        source = "predict_proba" if method == "predict_log_proba" else method
        value = _side_by_side(g, [outputs[source][int(k)] for k in order])
        results[method] = g.Log(value) if method == "predict_log_proba" else value
    assert all(rank_of(v) == 2 for v in results.values())
    return cast_results(g, call, results)
