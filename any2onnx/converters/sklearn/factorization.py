"""sklearn.decomposition: factorizations whose transform iterates (NMF, topics), and BernoulliRBM.

The graph repeats scikit-learn's own updates from its own start, and stops where scikit-learn stops, in float64. The
rows of a batch are solved together there (the start and the stopping rule of NMF look at all of them), and here.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from any2onnx.converters.sklearn.numerics import logistic
from any2onnx.converters.sklearn.support import Array, Results, cast_results, matrix
from any2onnx.errors import UnsupportedParameter
from any2onnx.graph.builder import GraphBuilder
from any2onnx.graph.special_functions import digamma_series
from any2onnx.graph.types import DataType, Value
from any2onnx.operator_mappings.mapping import Call

# sklearn.decomposition._nmf.EPSILON, and the limit below which beta losses under 1 set weights to zero.
_EPSILON: Final = float(np.finfo(np.float32).eps)
_TINY: Final = float(np.finfo(np.float64).eps)
_CHECKED_EVERY: Final = 10


def _double(array: Any) -> Array:
    return np.ascontiguousarray(np.asarray(array, np.float64))


def _scalar(g: GraphBuilder, number: float) -> Value:
    return g.const(np.asarray(number, np.float64))


def _inverse(g: GraphBuilder, call: Call) -> Results:
    value = g.MatMul(matrix(g, call, DataType.DOUBLE), _double(call.source.components_))
    return cast_results(g, call, {"inverse_transform": value})


def _regularization(model: Any, features: int) -> tuple[float, float]:
    """Return the factors of the L1 and the L2 penalty of the weights, as scikit-learn scales them."""
    l1, _, l2, _ = model._compute_regularization(np.empty((1, features)))
    return float(l1), float(l2)


def _constant_start(g: GraphBuilder, x: Value, components: int) -> Value:
    """Return sqrt(mean(X) / components) as a matrix [N, components]."""
    average = g.Sqrt(g.Div(g.ReduceMean(x, keepdims=False), _scalar(g, components)))
    return g.Expand(average, g.shape_vector([g.dim(x, 0), components]))


def _zeros(g: GraphBuilder, x: Value, components: int) -> Value:
    return g.Expand(_scalar(g, 0.0), g.shape_vector([g.dim(x, 0), components]))


# --- NMF --------------------------------------------------------------------------------------------------------------


def nmf(g: GraphBuilder, call: Call) -> Results:
    """Convert NMF with both solvers."""
    if "inverse_transform" in call.methods:
        return _inverse(g, call)
    x = matrix(g, call, DataType.DOUBLE)
    solve = _coordinate_descent if call.source.solver == "cd" else _multiplicative
    return cast_results(g, call, {"transform": solve(g, call, x)})


def _permutations(call: Call, components: int) -> Array | None:
    """Return the order of the components in every iteration; None where it is the natural one.

    Raises:
        UnsupportedParameter: The order is drawn anew at every call.
    """
    model = call.source
    if not model.shuffle:
        return None
    if not isinstance(model.random_state, int | np.integer):
        raise UnsupportedParameter(
            "shuffle=True draws another order of the components at every call",
            where=call.location or None,
            needs="shuffle=False, or a whole number as random_state",
        )
    generator = np.random.RandomState(int(model.random_state))
    return np.stack([generator.permutation(components) for _ in range(model.max_iter)]).astype(np.int64)


def _coordinate_descent(g: GraphBuilder, call: Call, x: Value) -> Value:
    model = call.source
    h = _double(model.components_)
    components, features = h.shape
    l1, l2 = _regularization(model, features)
    gram = h @ h.T
    gram[np.diag_indices(components)] += l2
    target = g.MatMul(x, _double(h.T))
    if l1:
        target = g.Sub(target, _scalar(g, l1))
    order = _permutations(call, components)
    zero = _scalar(g, 0.0)

    def coordinate(
        inner: GraphBuilder, step: Value, going: Value, w: Value, violation: Value, permutation: Value | None
    ) -> tuple[Value, Value, Value]:
        k = step if permutation is None else inner.Gather(permutation, step, axis=0)
        column = inner.Unsqueeze(k, 0)
        row = inner.Gather(gram, column, axis=0)
        gradient = inner.Sub(inner.MatMul(w, inner.Transpose(row, perm=[1, 0])), inner.Gather(target, column, axis=1))
        old = inner.Gather(w, column, axis=1)
        projected = inner.Where(inner.Equal(old, zero), inner.Min(gradient, zero), gradient)
        violation = inner.Add(violation, inner.ReduceSum(inner.Abs(projected), keepdims=False))
        hessian = inner.Gather(row, column, axis=1)
        flat = inner.Equal(hessian, zero)
        quotient = inner.Div(gradient, inner.Where(flat, _scalar(inner, 1.0), hessian))
        new = inner.Where(flat, old, inner.Max(inner.Sub(old, quotient), zero))
        chosen = inner.Equal(np.arange(components)[None, :], inner.Unsqueeze(column, 0))
        return inner.Identity(going), inner.Where(chosen, new, w), violation

    def iteration(inner: GraphBuilder, step: Value, going: Value, w: Value, first: Value) -> tuple[Value, Value, Value]:
        permutation = None if order is None else inner.Gather(order, step, axis=0)
        start = inner.Sub(first, first)

        def body(deep: GraphBuilder, k: Value, again: Value, now: Value, sum_: Value) -> tuple[Value, Value, Value]:
            return coordinate(deep, k, again, now, sum_, permutation)

        w, violation = inner.Loop(body, [w, start], trip_count=components)
        is_first = inner.Equal(step, inner.const(np.asarray(0, np.int64)))
        first = inner.Where(is_first, violation, first)
        flat = inner.Equal(first, zero)
        ratio = inner.Div(violation, inner.Where(flat, _scalar(inner, 1.0), first))
        again = inner.And(inner.Not(flat), inner.Greater(ratio, _scalar(inner, float(model.tol))))
        return inner.And(again, going), w, first

    start = _zeros(g, x, components)
    return g.Loop(iteration, [start, zero], trip_count=int(model.max_iter), condition=True)[0]


def _powered(g: GraphBuilder, x: Value, exponent: float) -> Value:
    if exponent == 1:
        return x
    return g.Pow(x, _scalar(g, float(exponent)))


def _at_least(g: GraphBuilder, x: Value, low: float) -> Value:
    return g.Where(g.Less(x, _scalar(g, low)), _scalar(g, low), x)


def _updated(g: GraphBuilder, x: Value, w: Value, h: Array, beta: float, gamma: float, l1: float, l2: float) -> Value:
    """Return the weights after one multiplicative update."""
    transposed = _double(h.T)
    if beta == 2:
        numerator, denominator = g.MatMul(x, transposed), g.MatMul(w, h @ h.T)
    else:
        product = g.MatMul(w, h)
        safe = _at_least(g, product, _EPSILON) if beta < 2 else product
        if beta == 1:
            ratio = g.Div(x, safe)
        elif beta == 0:
            inverse = g.Reciprocal(safe)
            ratio = g.Mul(g.Mul(inverse, inverse), x)
        else:
            ratio = g.Mul(_powered(g, safe, beta - 2), x)
        numerator = g.MatMul(ratio, transposed)
        if beta == 1:
            denominator = g.const(h.sum(axis=1)[None, :])
        else:
            wide = _at_least(g, product, _EPSILON) if beta < 1 else product
            denominator = g.MatMul(_powered(g, wide, beta - 1), transposed)
    if l1 > 0:
        denominator = g.Add(denominator, _scalar(g, l1))
    if l2 > 0:
        denominator = g.Add(denominator, g.Mul(_scalar(g, l2), w))
    denominator = g.Where(g.Equal(denominator, _scalar(g, 0.0)), _scalar(g, _EPSILON), denominator)
    return g.Mul(w, _powered(g, g.Div(numerator, denominator), gamma))


def _divergence(g: GraphBuilder, x: Value, w: Value, h: Array, beta: float) -> Value:
    """Return sqrt(2 · beta divergence) of X and W H, as scikit-learn's stopping rule measures it."""
    product = g.MatMul(w, h)
    if beta == 2:
        return g.Sqrt(g.ReduceSumSquare(g.Sub(x, product), keepdims=False))

    def total(value: Value) -> Value:
        return g.ReduceSum(value, keepdims=False)

    counted = g.Greater(x, _scalar(g, _EPSILON))
    one, zero = _scalar(g, 1.0), _scalar(g, 0.0)
    # What is not counted becomes 1 / 1: its logarithm is nothing, its quotient is taken out by `present`.
    data = g.Where(counted, x, one)
    model = g.Where(counted, _at_least(g, product, _EPSILON), one)
    present = g.Cast(counted, DataType.DOUBLE)
    quotient = g.Div(data, model)
    if beta == 1:
        result = total(g.Mul(g.Mul(data, present), g.Log(quotient)))
        result = g.Sub(g.Add(result, total(product)), total(g.Mul(data, present)))
    elif beta == 0:
        size = g.Cast(g.Size(x), DataType.DOUBLE)
        result = g.Sub(g.Sub(total(g.Mul(quotient, present)), size), total(g.Log(quotient)))
    else:
        cross = total(g.Mul(g.Mul(data, present), _powered(g, model, beta - 1)))
        result = g.Sub(total(g.Mul(_powered(g, data, beta), present)), g.Mul(_scalar(g, beta), cross))
        result = g.Add(result, g.Mul(total(_powered(g, product, beta)), _scalar(g, beta - 1)))
        result = g.Div(result, _scalar(g, beta * (beta - 1)))
    return g.Sqrt(g.Mul(_scalar(g, 2.0), g.Max(result, zero)))


def _gamma(beta: float) -> float:
    if beta < 1:
        return 1.0 / (2.0 - beta)
    return 1.0 / (beta - 1.0) if beta > 2 else 1.0


def _beta(model: Any) -> float:
    names = {"frobenius": 2.0, "kullback-leibler": 1.0, "itakura-saito": 0.0}
    loss = model.beta_loss
    return names[loss] if isinstance(loss, str) else float(loss)


def _multiplicative(g: GraphBuilder, call: Call, x: Value) -> Value:
    model = call.source
    h = _double(model.components_)
    components, features = h.shape
    beta = _beta(model)
    l1, l2 = _regularization(model, features)
    start = _constant_start(g, x, components)
    first = _divergence(g, x, start, h, beta)
    tolerance = float(model.tol)

    def update(inner: GraphBuilder, w: Value) -> Value:
        new = _updated(inner, x, w, h, beta, _gamma(beta), l1, l2)
        if beta < 1:
            new = inner.Where(inner.Less(new, _scalar(inner, _TINY)), _scalar(inner, 0.0), new)
        return new

    def iteration(
        inner: GraphBuilder, step: Value, going: Value, w: Value, previous: Value
    ) -> tuple[Value, Value, Value]:
        new = update(inner, w)
        if tolerance <= 0:
            return inner.Identity(going), new, inner.Identity(previous)
        every = inner.const(np.asarray(_CHECKED_EVERY, np.int64))
        count = inner.Add(step, inner.const(np.asarray(1, np.int64)))
        due = inner.Equal(inner.Mod(count, every), inner.const(np.asarray(0, np.int64)))

        def measure(deep: GraphBuilder) -> tuple[Value, Value]:
            error = _divergence(deep, x, new, h, beta)
            gain = deep.Div(deep.Sub(previous, error), first)
            # scikit-learn goes on where the gain is not a number.
            return deep.Not(deep.Less(gain, _scalar(deep, tolerance))), error

        def wait(deep: GraphBuilder) -> tuple[Value, Value]:
            return deep.Identity(going), deep.Identity(previous)

        again, error = inner.If(due, measure, wait)
        return again, new, error

    return g.Loop(iteration, [start, first], trip_count=int(model.max_iter), condition=True)[0]


def mini_batch_nmf(g: GraphBuilder, call: Call) -> Results:
    """Convert MiniBatchNMF: multiplicative updates until the weights rest."""
    if "inverse_transform" in call.methods:
        return _inverse(g, call)
    model = call.source
    x = matrix(g, call, DataType.DOUBLE)
    h = _double(model.components_)
    components, features = h.shape
    l1, l2 = _regularization(model, features)
    tolerance = float(model.tol)

    def iteration(inner: GraphBuilder, _step: Value, going: Value, w: Value) -> tuple[Value, Value]:
        new = _updated(inner, x, w, h, float(model._beta_loss), float(model._gamma), l1, l2)
        if tolerance <= 0:
            return inner.Identity(going), new
        change = inner.Sqrt(inner.ReduceSumSquare(inner.Sub(new, w), keepdims=False))
        size = inner.Sqrt(inner.ReduceSumSquare(new, keepdims=False))
        return inner.Not(inner.LessOrEqual(inner.Div(change, size), _scalar(inner, tolerance))), new

    start = _constant_start(g, x, components)
    (value,) = g.Loop(iteration, [start], trip_count=int(model._transform_max_iter), condition=True)
    return cast_results(g, call, {"transform": value})


# --- LatentDirichletAllocation ----------------------------------------------------------------------------------------


def latent_dirichlet_allocation(g: GraphBuilder, call: Call) -> Results:
    """Convert LatentDirichletAllocation: the distribution over topics of each document, iterated until it rests."""
    model = call.source
    x = matrix(g, call, DataType.DOUBLE)
    words = _double(model.exp_dirichlet_component_)
    topics = words.shape[0]
    prior = _scalar(g, float(model.doc_topic_prior_))
    tolerance = _scalar(g, float(model.mean_change_tol))
    smallest = _scalar(g, _TINY)
    axis = [1]

    def expectation(inner: GraphBuilder, value: Value) -> Value:
        total = inner.ReduceSum(value, axis)
        return inner.Exp(inner.Sub(digamma_series(inner, value), digamma_series(inner, total)))

    def iteration(
        inner: GraphBuilder, _step: Value, _going: Value, last: Value, expected: Value, active: Value
    ) -> tuple[Value, ...]:
        norm = inner.Add(inner.MatMul(expected, words), smallest)
        spread = inner.MatMul(inner.Div(x, norm), _double(words.T))
        new = inner.Add(inner.Mul(expected, spread), prior)
        change = inner.ReduceMean(inner.Abs(inner.Sub(last, new)), axis)
        result = inner.Where(active, new, last)
        moved = inner.Where(active, expectation(inner, new), expected)
        rest = inner.And(active, inner.Not(inner.Less(change, tolerance)))
        some = inner.ReduceMax(inner.Cast(rest, DataType.INT32), keepdims=False)
        return inner.Greater(some, inner.const(np.asarray(0, np.int32))), result, moved, rest

    rows = g.dim(x, 0)
    start = g.Expand(_scalar(g, 1.0), g.shape_vector([rows, topics]))
    active = g.Expand(g.const(np.asarray(True)), g.shape_vector([rows, 1]))
    some_rows = g.Greater(g.Squeeze(rows, 0), g.const(np.asarray(0, np.int64)))
    value = g.Loop(
        iteration,
        [start, expectation(g, start), active],
        trip_count=int(model.max_doc_update_iter),
        condition=some_rows,
    )[0]
    return cast_results(g, call, {"transform": g.Div(value, g.ReduceSum(value, axis))})


# --- BernoulliRBM -----------------------------------------------------------------------------------------------------


def bernoulli_rbm(g: GraphBuilder, call: Call) -> Results:
    """Convert BernoulliRBM: the probabilities of the hidden units."""
    model = call.source
    x = matrix(g, call, DataType.DOUBLE)
    activation = g.Gemm(x, _double(model.components_), _double(model.intercept_hidden_), transB=1)
    return cast_results(g, call, {"transform": logistic(g, activation)})
