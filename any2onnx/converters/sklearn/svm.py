"""sklearn.svm over libsvm: a kernel against the support vectors, one product, then votes or Platt probabilities.

All of it runs in float64, as libsvm does. Signs follow libsvm: for two classes scikit-learn flips them in its public
attributes and in `decision_function`.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from any2onnx.converters.sklearn.frame import Frame
from any2onnx.converters.sklearn.lazy import once, produce
from any2onnx.converters.sklearn.numerics import logistic
from any2onnx.converters.sklearn.pairwise import kernel
from any2onnx.converters.sklearn.support import Array, Results, inner_type, labels, matrix, take_columns, width_of
from any2onnx.converters.sklearn.tracing import traced
from any2onnx.errors import UnsupportedParameter
from any2onnx.graph.builder import GraphBuilder
from any2onnx.graph.types import DataType, Value, dtype_of
from any2onnx.operator_mappings.mapping import Call

# Bounds of libsvm: svm_predict_probability and multiclass_probability.
_LEAST_PROBABILITY = 1e-7
_LEAST_ITERATIONS = 100
_TOLERANCE = 0.005


def _dense(array: Any) -> Array:
    return array.toarray() if hasattr(array, "toarray") else np.asarray(array)


def _weighted_kernel(g: GraphBuilder, call: Call, coefficients: Array) -> Value:
    """Return K(x, support vectors) @ coefficients + intercept as [N, columns]; a linear kernel is folded away.

    Raises:
        UnsupportedParameter: The kernel is a Python function that cannot be traced.
    """
    model = call.source
    x = matrix(g, call, inner_type(call))
    dtype = inner_type(call).numpy()
    bias = g.const(np.asarray(model._intercept_, np.float64).astype(dtype)[None, :], name="intercept")
    if not coefficients.size:
        # A fit that was stopped at once has no support vectors.
        return g.Expand(bias, g.shape_vector([g.dim(x, 0), len(model._intercept_)]))
    if callable(model.kernel):
        values = _function_of_points(g, call, x)
    elif model.kernel == "precomputed":
        values = g.Gather(x, np.asarray(model.support_, np.int64), axis=1)
    else:
        vectors = np.asarray(_dense(model.support_vectors_), np.float64)
        if model.kernel == "linear":
            coefficients = vectors.T @ coefficients
            values = x
        else:
            parameters = {"gamma": model._gamma, "degree": model.degree, "coef0": model.coef0}
            values = kernel(g, x, vectors, model.kernel, parameters, where=call.location)
    return g.Gemm(values, g.const(np.ascontiguousarray(coefficients, dtype), name="dual_coef"), bias)


def _function_of_points(g: GraphBuilder, call: Call, x: Value) -> Value:
    """Return a kernel that is a Python function: one of scikit-learn's by its name, or traced.

    Raises:
        UnsupportedParameter: It cannot be traced.
    """
    from sklearn.metrics.pairwise import PAIRWISE_KERNEL_FUNCTIONS

    function = call.source.kernel
    points = np.asarray(call.source._BaseLibSVM__Xfit, np.float64)
    support = np.asarray(call.source.support_, np.int64)
    partial = isinstance(function, functools.partial) and not function.args
    plain, given = (function.func, function.keywords) if partial else (function, {})
    for name, known in PAIRWISE_KERNEL_FUNCTIONS.items():
        if plain is known:
            return kernel(g, x, points[support], name, given, where=call.location)

    def of_rows(rows: Any) -> Any:
        return function(rows, points)

    of_rows.__name__ = getattr(plain, "__name__", type(plain).__name__)
    found = traced(g, call, of_rows, [x], inner_type(call), what="kernel")
    if isinstance(found, Frame) or width_of(found) != len(points):
        raise UnsupportedParameter(
            "kernel returns something else than one column for each fitted row", where=call.location
        )
    return take_columns(g, found, support.tolist())


def _pairs(classes: int) -> tuple[Array, Array]:
    """Return first and second class of each pair, in libsvm's order."""
    first, second = np.triu_indices(classes, 1)
    return first, second


def pair_coefficients(dual: Array, counts: Array) -> Array:
    """Return one column of weights of the support vectors per pair of classes.

    Args:
        dual: libsvm's `sv_coef` [classes - 1, vectors]; vectors are ordered by class.
        counts: Support vectors of each class.

    Returns:
        [vectors, pairs].
    """
    owner = np.repeat(np.arange(len(counts)), counts)
    first, second = _pairs(len(counts))
    of_first = np.where(owner[:, None] == first, dual.T[:, second - 1], 0.0)
    return np.where(owner[:, None] == second, dual.T[:, first], of_first)


def pair_signs(classes: int) -> Array:
    """Return [pairs, classes] with 1 for the first class of a pair and -1 for the second."""
    first, second = _pairs(classes)
    signs = np.zeros((len(first), classes))
    signs[np.arange(len(first)), first] = 1.0
    signs[np.arange(len(first)), second] = -1.0
    return signs


def _votes(g: GraphBuilder, first_wins: Value, classes: int, dtype: DataType) -> Value:
    """Return votes [N, classes] for pairs of which the first class wins where `first_wins` [N, pairs] is true."""
    signs = pair_signs(classes)
    chosen = g.Cast(first_wins, dtype)
    # One vote for the second class of every pair, moved to the first where that wins.
    base = g.const((signs < 0).sum(axis=0)[None, :].astype(dtype.numpy()), name="votes")
    return g.Gemm(chosen, g.const(signs.astype(dtype.numpy()), name="pairs"), base)


def one_vs_one_scores(g: GraphBuilder, second_wins: Value, confidence: Value, classes: int) -> Value:
    """Return scikit-learn's `_ovr_decision_function`: votes, with confidences squeezed into (-1/3, 1/3) to break ties.

    Args:
        g: Builder.
        second_wins: Whether the second class of each pair wins, bool [N, pairs].
        confidence: For the second class, [N, pairs].
        classes: Number of classes.
    """
    dtype = dtype_of(confidence)
    total = g.MatMul(confidence, g.const(-pair_signs(classes).astype(dtype.numpy()), name="pairs"))
    bounded = g.Mul(g.scalar_like(3.0, total), g.Add(g.Abs(total), g.scalar_like(1.0, total)))
    return g.Add(_votes(g, g.Not(second_wins), classes, dtype), g.Div(total, bounded))


def _one_vs_rest(g: GraphBuilder, pairs: Value, classes: int) -> Value:
    return one_vs_one_scores(g, g.Less(pairs, g.scalar_like(0.0, pairs)), g.Neg(pairs), classes)


def support_vector_classifier(g: GraphBuilder, call: Call) -> Results:
    """Convert SVC and NuSVC.

    Raises:
        UnsupportedParameter: The kernel is a Python function, or break_ties goes with decision_function_shape="ovo".
    """
    model = call.source
    classes = len(model.classes_)
    if model.break_ties and model.decision_function_shape == "ovo" and "predict" in call.methods:
        raise UnsupportedParameter(
            "break_ties must be False when decision_function_shape is 'ovo'", where=call.location
        )
    weights = pair_coefficients(np.asarray(_dense(model._dual_coef_), np.float64), np.asarray(model._n_support))
    pairs = once(lambda: _weighted_kernel(g, call, weights))
    dtype = inner_type(call)

    def decision() -> Value:
        if classes == 2:
            return g.Neg(g.Squeeze(pairs(), 1))
        return _one_vs_rest(g, pairs(), classes) if model.decision_function_shape == "ovr" else pairs()

    decide = once(decision)

    def predict() -> Value:
        if model.break_ties and classes > 2:
            scores = decide()
        else:
            scores = _votes(g, g.Greater(pairs(), g.scalar_like(0.0, pairs())), classes, dtype)
        return labels(g, model.classes_, g.ArgMax(scores, axis=1, keepdims=0))

    probability = once(lambda: _probability(g, call, pairs(), classes))
    return produce(
        g,
        call,
        {
            "predict": predict,
            "decision_function": decide,
            "predict_proba": probability,
            "predict_log_proba": lambda: g.Log(probability()),
        },
        keep=("predict",),
    )


def _probability(g: GraphBuilder, call: Call, pairs: Value, classes: int) -> Value:
    """Return probabilities: Platt's sigmoid of each pair, coupled as libsvm does."""
    model = call.source
    dtype = inner_type(call).numpy()
    slope = g.const(-np.asarray(model._probA, np.float64).astype(dtype)[None, :], name="probA")
    offset = g.const(np.asarray(model._probB, np.float64).astype(dtype)[None, :], name="probB")
    won = logistic(g, g.Sub(g.Mul(pairs, slope), offset))
    won = g.Clip(won, _LEAST_PROBABILITY, 1.0 - _LEAST_PROBABILITY)
    first, second = _pairs(classes)
    # r[i, j] of both triangles from [won, 1 - won, 0].
    lost = g.Sub(g.scalar_like(1.0, won), won)
    zero = g.Mul(g.Slice(won, [0], [1], [1]), g.scalar_like(0.0, won))
    places = np.full((classes, classes), 2 * len(first), np.int64)
    places[first, second] = np.arange(len(first))
    places[second, first] = len(first) + np.arange(len(first))
    ratio = g.Reshape(g.Gather(g.op("Concat", won, lost, zero, axis=1), places.ravel(), axis=1), [-1, classes, classes])
    return couple(g, ratio, classes)


def couple(g: GraphBuilder, ratio: Value, classes: int) -> Value:
    """Return probabilities [N, classes] from pairwise ones [N, classes, classes] by libsvm's iteration.

    Wu, Lin and Weng's second method, with libsvm's own start, order of updates, tolerance and limit of iterations. All
    rows iterate together; one that has converged stays as it is.
    """
    won = g.Transpose(ratio, perm=[0, 2, 1])  # [n, t, j] = r[j, t]
    eye = g.const(np.eye(classes, dtype=_numpy(ratio)), name="eye")
    diagonal = g.ReduceSum(g.Mul(won, won), [2])
    matrix_q = g.Sub(g.Mul(eye, diagonal), g.Mul(won, ratio))
    row = g.const(np.full((1, classes), 1.0 / classes, _numpy(ratio)), name="start")
    start = g.Expand(row, g.shape_vector([g.dim(ratio, 0), classes]))
    tolerance = _TOLERANCE / classes

    def products(b: GraphBuilder, p: Value) -> tuple[Value, Value]:
        q_p = b.Squeeze(b.MatMul(matrix_q, b.Unsqueeze(p, 2)), 2)
        return q_p, b.ReduceSum(b.Mul(p, q_p), [1])

    def step(b: GraphBuilder, iteration: Value, running: Value, p: Value) -> tuple[Value, ...]:
        q_p, energy = products(b, p)
        error = b.ReduceMax(b.Abs(b.Sub(q_p, energy)), [1])
        active = b.GreaterOrEqual(error, b.scalar_like(tolerance, error))
        updated = p
        for t in range(classes):
            updated, q_p, energy = _update(b, matrix_q, t, updated, q_p, energy)
        again = b.Greater(b.ReduceSum(b.Cast(active, DataType.INT32), [0, 1], keepdims=False), b.const(np.int32(0)))
        return again, b.Where(active, updated, p)

    (found,) = g.Loop(step, [start], trip_count=max(_LEAST_ITERATIONS, classes), condition=True)
    return g.annotate(found, [None, classes])


def _update(
    b: GraphBuilder, matrix_q: Value, t: int, p: Value, q_p: Value, energy: Value
) -> tuple[Value, Value, Value]:
    """Return p, Q p and p'Q p after libsvm's update of component t."""
    at = np.asarray(t, np.int64)
    row = b.Gather(matrix_q, at, axis=1)  # [N, classes]
    pivot = b.Slice(row, [t], [t + 1], [1])
    current = b.Slice(q_p, [t], [t + 1], [1])
    change = b.Div(b.Sub(energy, current), pivot)
    divisor = b.Add(change, b.scalar_like(1.0, change))
    unit = b.const(np.eye(width_of(p), dtype=_numpy(p))[t : t + 1], name="unit")
    twice = b.Mul(b.scalar_like(2.0, current), current)
    grown = b.Add(energy, b.Mul(change, b.Add(b.Mul(change, pivot), twice)))
    return (
        b.Div(b.Add(p, b.Mul(change, unit)), divisor),
        b.Div(b.Add(q_p, b.Mul(change, row)), divisor),
        b.Div(b.Div(grown, divisor), divisor),
    )


def _numpy(value: Value) -> Any:
    assert value.dtype is not None
    return value.dtype.numpy()


def support_vector_regressor(g: GraphBuilder, call: Call) -> Results:
    """Convert SVR and NuSVR.

    Raises:
        UnsupportedParameter: The kernel is a Python function.
    """
    return produce(g, call, {"predict": lambda: _single(g, call)})


def _single(g: GraphBuilder, call: Call) -> Value:
    dual = np.asarray(_dense(call.source._dual_coef_), np.float64)
    return g.Squeeze(_weighted_kernel(g, call, dual.T), 1)


def one_class(g: GraphBuilder, call: Call) -> Results:
    """Convert OneClassSVM: 1 where the decision is positive, else -1.

    Raises:
        UnsupportedParameter: The kernel is a Python function.
    """
    decision = once(lambda: _single(g, call))
    offset = float(np.ravel(call.source.offset_)[0])

    def predict() -> Value:
        inside = g.Greater(decision(), g.scalar_like(0.0, decision()))
        return g.Where(inside, np.asarray(1, np.int64), np.asarray(-1, np.int64))

    return produce(
        g,
        call,
        {
            "predict": predict,
            "decision_function": decision,
            "score_samples": lambda: g.Add(decision(), g.scalar_like(offset, decision())),
        },
    )
