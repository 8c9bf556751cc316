"""sklearn.decomposition: sparse codes on a dictionary: SparseCoder, DictionaryLearning, MiniBatchDictionaryLearning.

Every row is coded on its own, all rows of a batch at once, in float64. The graph takes the steps that scikit-learn
takes, and stops where it stops.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from any2onnx.converters.sklearn.support import Array, Results, cast_results, matrix, width_of
from any2onnx.errors import UnsupportedParameter
from any2onnx.graph.builder import GraphBuilder
from any2onnx.graph.types import DataType, Value
from any2onnx.operator_mappings.mapping import Call

# Lasso's tolerance in scikit-learn's sparse_encode.
_TOLERANCE: Final = 1e-8
# Distance of penalties, per feature, that its lars_path takes for none.
_PATH_TOLERANCE: Final = float(np.finfo(np.float32).eps)
_EPS: Final = float(np.finfo(np.float64).eps)


@dataclass(frozen=True, slots=True)
class _Problem:
    """1/2 |x - w D|² + alpha |w|₁ for each row x.

    Attributes:
        gram: D Dᵀ.
        target: x Dᵀ, [N, components].
        square: |x|², [N, 1].
        alpha: Weight of the penalty.
        positive: Codes are not negative.
    """

    gram: Array
    target: Value
    square: Value
    alpha: float
    positive: bool


def _number(g: GraphBuilder, number: float) -> Value:
    return g.const(np.asarray(number, np.float64))


def sparse_coder(g: GraphBuilder, call: Call) -> Results:
    """Convert the estimators that code rows on a dictionary.

    Raises:
        UnsupportedParameter: The algorithm is ``lars``, or ``lasso_lars`` with positive codes.
    """
    model = call.source
    dictionary = np.ascontiguousarray(_dictionary(model), np.float64)
    if "inverse_transform" in call.methods:
        code = matrix(g, call, DataType.DOUBLE)
        if model.split_sign:
            half = width_of(code) // 2
            code = g.Sub(*g.Split(code, [half, half], axis=1))
        return cast_results(g, call, {"inverse_transform": g.MatMul(code, dictionary)})
    x = matrix(g, call, DataType.DOUBLE)
    code = _coded(g, call, x, dictionary)
    if model.split_sign:
        zero = _number(g, 0.0)
        code = g.op("Concat", g.Max(code, zero), g.Max(g.Neg(code), zero), axis=1)
    return cast_results(g, call, {"transform": code})


def _dictionary(model: Any) -> Any:
    return model.components_ if hasattr(model, "components_") else model.dictionary


def _coded(g: GraphBuilder, call: Call, x: Value, dictionary: Array) -> Value:
    model = call.source
    algorithm = model.transform_algorithm
    target = g.MatMul(x, np.ascontiguousarray(dictionary.T))
    alpha = model.transform_alpha
    if alpha is None:
        alpha = getattr(model, "alpha", None)
    alpha = 1.0 if alpha is None else float(alpha)
    gram = dictionary @ dictionary.T
    if algorithm == "threshold":
        return _thresholded(g, target, alpha, positive=bool(model.positive_code))
    if algorithm == "omp":
        return _matching_pursuit(g, gram, target, _entries(model, dictionary))
    positive = bool(model.positive_code)
    if algorithm == "lars":
        raise UnsupportedParameter(
            "transform_algorithm='lars' turns signs within a step where a code passes 0, and leaves the path there",
            where=call.location or None,
            needs="omp, threshold, lasso_cd or lasso_lars",
        )
    problem = _Problem(gram, target, g.ReduceSumSquare(x, [1]), alpha, positive)
    if algorithm == "lasso_cd":
        return _lasso(g, problem, int(model.transform_max_iter))
    if positive:
        # scikit-learn's path of positive codes ends elsewhere than at the optimum.
        raise UnsupportedParameter(
            "transform_algorithm='lasso_lars' with positive_code=True follows a path that is not to the optimum",
            where=call.location or None,
            needs="positive_code=False, or transform_algorithm='lasso_cd'",
        )
    return _least_angles(g, problem, int(model.transform_max_iter), dictionary.shape[1])


def _entries(model: Any, dictionary: Array) -> int:
    """Return how many entries a code may have."""
    components, features = dictionary.shape
    count = model.transform_n_nonzero_coefs
    return int(min(max(features / 10, 1), components) if count is None else count)


def _thresholded(g: GraphBuilder, target: Value, alpha: float, *, positive: bool) -> Value:
    zero = _number(g, 0.0)
    code = g.Mul(g.Sign(target), g.Max(g.Sub(g.Abs(target), _number(g, alpha)), zero))
    return g.Max(code, zero) if positive else code


# --- orthogonal matching pursuit --------------------------------------------------------------------------------------


def _matching_pursuit(g: GraphBuilder, gram: Array, target: Value, steps: int) -> Value:
    """Return codes with at most `steps` entries, each step the atom that correlates most with what is left.

    The inverse of the Cholesky factor of the chosen atoms' Gram matrix grows by a row at each step.
    """
    components = len(gram)
    rows = g.dim(target, 0)
    places = np.arange(steps, dtype=np.int64)[None, :]
    columns = np.arange(components, dtype=np.int64)[None, :]
    diagonal = np.ascontiguousarray(np.diag(gram))

    def step(
        inner: GraphBuilder, k: Value, _going: Value, code: Value, factor: Value, order: Value, active: Value
    ) -> tuple[Value, ...]:
        rest = inner.Sub(target, inner.MatMul(code, gram))
        # Of equal atoms the first in scikit-learn's order, which swaps the chosen ones to the front.
        size = inner.GatherElements(inner.Abs(rest), order, axis=1)
        place = inner.ArgMax(size, axis=1, keepdims=1)
        largest = inner.GatherElements(size, place, axis=1)
        best = inner.GatherElements(order, place, axis=1)
        here = inner.Equal(columns, inner.Unsqueeze(k, 0))
        swapped = inner.Where(inner.Equal(columns, place), inner.Gather(order, inner.Unsqueeze(k, 0), axis=1), order)
        swapped = inner.Where(here, best, swapped)
        atoms = inner.Slice(order, [0], [steps], [1])
        used = inner.Less(places, inner.Unsqueeze(k, 0))
        repeated = inner.Less(place, k)
        weak = inner.Less(inner.Mul(largest, largest), _number(inner, _EPS))
        active = inner.And(active, inner.Not(inner.Or(repeated, weak)))
        mask = inner.Cast(used, DataType.DOUBLE)
        row = inner.Gather(gram, inner.Squeeze(best, 1), axis=0)
        column = inner.Unsqueeze(inner.Mul(inner.GatherElements(row, atoms, axis=1), mask), 2)
        solved = inner.MatMul(factor, column)
        left = inner.Sub(inner.Gather(diagonal, best, axis=0), inner.Squeeze(inner.ReduceSumSquare(solved, [1]), 2))
        dependent = inner.And(
            inner.LessOrEqual(left, _number(inner, _EPS)), inner.Greater(k, inner.const(np.asarray(0, np.int64)))
        )
        active = inner.And(active, inner.Not(dependent))
        root = inner.Sqrt(inner.Where(active, left, _number(inner, 1.0)))
        here = inner.Equal(places, inner.Unsqueeze(k, 0))
        new_row = inner.MatMul(inner.Transpose(solved, perm=[0, 2, 1]), factor)
        new_row = inner.Sub(inner.Unsqueeze(inner.Cast(here, DataType.DOUBLE), 1), new_row)
        new_row = inner.Div(new_row, inner.Unsqueeze(root, 2))
        grown = inner.Where(inner.Unsqueeze(here, 2), new_row, factor)
        chosen = inner.Slice(swapped, [0], [steps], [1])
        wanted = inner.Cast(inner.Or(used, here), DataType.DOUBLE)
        right = inner.Unsqueeze(inner.Mul(inner.GatherElements(target, chosen, axis=1), wanted), 2)
        half = inner.MatMul(grown, right)
        weights = inner.MatMul(inner.Transpose(grown, perm=[0, 2, 1]), half)
        atom_mask = inner.Equal(inner.Unsqueeze(chosen, 2), np.arange(components, dtype=np.int64)[None, None, :])
        spread = inner.Mul(weights, inner.Cast(atom_mask, DataType.DOUBLE))
        new_code = inner.ReduceSum(spread, [1], keepdims=False)
        code = inner.Where(active, new_code, code)
        factor = inner.Where(inner.Unsqueeze(active, 2), grown, factor)
        return inner.const(np.asarray(True)), code, factor, inner.Where(active, swapped, order), active

    code = g.Expand(_number(g, 0.0), g.shape_vector([rows, components]))
    factor = g.Expand(_number(g, 0.0), g.shape_vector([rows, steps, steps]))
    order = g.Expand(g.const(columns), g.shape_vector([rows, components]))
    active = g.Expand(g.const(np.asarray(True)), g.shape_vector([rows, 1]))
    return g.Loop(step, [code, factor, order, active], trip_count=steps)[0]


# --- lasso by coordinate descent --------------------------------------------------------------------------------------


def _sweep(
    g: GraphBuilder, problem: _Problem, w: Value, product: Value, allowed: Value
) -> tuple[Value, Value, Value, Value]:
    """Return (w, w · gram, largest change, largest size) after one pass over all coordinates.

    Args:
        g: Builder.
        problem: What is minimized.
        w: Codes [N, components].
        product: w · gram.
        allowed: Which coordinates of which rows may move.
    """
    gram = problem.gram
    components = len(gram)
    zero = _number(g, 0.0)

    def coordinate(
        inner: GraphBuilder, j: Value, _going: Value, w: Value, product: Value, change: Value, size: Value
    ) -> tuple[Value, ...]:
        column = inner.Unsqueeze(j, 0)
        row = inner.Gather(gram, column, axis=0)
        own = inner.Gather(row, column, axis=1)
        old = inner.Gather(w, column, axis=1)
        pull = inner.Add(
            inner.Sub(inner.Gather(problem.target, column, axis=1), inner.Gather(product, column, axis=1)),
            inner.Mul(old, own),
        )
        reach = inner.Max(inner.Sub(inner.Abs(pull), _number(inner, problem.alpha)), zero)
        flat = inner.Equal(own, zero)
        new = inner.Div(inner.Mul(inner.Sign(pull), reach), inner.Where(flat, _number(inner, 1.0), own))
        if problem.positive:
            new = inner.Where(inner.Less(pull, zero), zero, new)
        may = inner.And(inner.Gather(allowed, column, axis=1), inner.Not(flat))
        new = inner.Where(may, new, old)
        step = inner.Sub(new, old)
        here = inner.Equal(np.arange(components)[None, :], inner.Unsqueeze(column, 0))
        w = inner.Where(here, new, w)
        product = inner.Add(product, inner.Mul(step, row))
        change = inner.Max(change, inner.Abs(step))
        size = inner.Max(size, inner.Where(may, inner.Abs(new), zero))
        return inner.const(np.asarray(True)), w, product, change, size

    nothing = g.Mul(problem.square, zero)
    w, product, change, size = g.Loop(coordinate, [w, product, nothing, nothing], trip_count=components)
    return w, product, change, size


def _gap(g: GraphBuilder, problem: _Problem, w: Value, product: Value) -> tuple[Value, Value, Value]:
    """Return (duality gap [N, 1], correlations with the residual, the largest of them)."""
    cross = g.ReduceSum(g.Mul(w, problem.target), [1])
    quadratic = g.ReduceSum(g.Mul(w, product), [1])
    residual = g.Sub(g.Add(problem.square, quadratic), g.Mul(_number(g, 2.0), cross))
    correlation = g.Sub(problem.target, product)
    if problem.alpha == 0:
        gap = g.ReduceSumSquare(correlation, [1])
        return gap, correlation, gap
    largest = g.ReduceMax(correlation if problem.positive else g.Abs(correlation), [1])
    alpha = _number(g, problem.alpha)
    half = _number(g, 0.5)
    primal = g.Add(g.Mul(half, residual), g.Mul(alpha, g.ReduceL1(w, [1])))
    above = g.Greater(largest, alpha)
    scale = g.Where(above, g.Div(alpha, g.Where(above, largest, alpha)), _number(g, 1.0))
    dual = g.Sub(g.Mul(scale, g.Sub(problem.square, cross)), g.Mul(half, g.Mul(g.Mul(scale, scale), residual)))
    return g.Sub(primal, dual), correlation, largest


def _screened(
    g: GraphBuilder, problem: _Problem, parts: tuple[Value, Value, Value], w: Value, product: Value, kept: Value
) -> tuple[Value, Value, Value]:
    """Return (w, w · gram, coordinates that stay) after the gap-safe rule has set coordinates to zero for good."""
    if problem.alpha == 0:
        return w, product, kept
    gap, correlation, largest = parts
    alpha = _number(g, problem.alpha)
    radius = g.Div(g.Sqrt(g.Mul(_number(g, 2.0), g.Abs(gap))), alpha)
    diagonal = np.diag(problem.gram)
    flat = diagonal == 0
    theta = g.Div(correlation, g.Max(alpha, largest))
    norms = np.sqrt(np.where(flat, 1.0, diagonal))[None, :]
    distance = g.Div(g.Sub(_number(g, 1.0), g.Abs(theta)), norms)
    stays = g.And(g.And(kept, g.LessOrEqual(distance, radius)), ~flat[None, :])
    zeroed = g.Where(stays, w, _number(g, 0.0))
    dropped = g.Sub(w, zeroed)
    return zeroed, g.Sub(product, g.MatMul(dropped, problem.gram)), stays


def _lasso(g: GraphBuilder, problem: _Problem, most: int) -> Value:
    """Return codes by scikit-learn's coordinate descent: cyclic, gap-safe screening, stop at its duality gap."""
    components = len(problem.gram)
    rows = g.dim(problem.target, 0)
    limit = g.Mul(problem.square, _number(g, _TOLERANCE))
    zero = _number(g, 0.0)
    w = g.Expand(zero, g.shape_vector([rows, components]))
    first = _gap(g, problem, w, w)
    solved = g.And(g.GreaterOrEqual(first[0], zero), g.LessOrEqual(first[0], limit))
    everything = g.Expand(g.const(np.asarray(True)), g.shape_vector([rows, components]))
    w, product, kept = _screened(g, problem, first, w, w, everything)

    def iteration(
        inner: GraphBuilder, step: Value, _going: Value, w: Value, product: Value, kept: Value, active: Value
    ) -> tuple[Value, ...]:
        new, moved, change, size = _sweep(inner, problem, w, product, inner.And(kept, active))
        still = inner.Equal(size, zero)
        ratio = inner.Div(change, inner.Where(still, _number(inner, 1.0), size))
        last = inner.Equal(step, inner.const(np.asarray(most - 1, np.int64)))
        due = inner.Or(inner.Or(still, inner.LessOrEqual(ratio, _number(inner, _TOLERANCE))), last)
        parts = _gap(inner, problem, new, moved)
        done = inner.And(due, inner.LessOrEqual(parts[0], limit))
        screened = _screened(inner, problem, parts, new, moved, kept)
        again = inner.And(inner.And(due, inner.Not(done)), active)
        new, moved, kept = (inner.Where(again, a, b) for a, b in zip(screened, (new, moved, kept), strict=True))
        active = inner.And(active, inner.Not(done))
        return _any(inner, active), new, moved, kept, active

    active = g.Not(solved)
    return g.Loop(iteration, [w, product, kept, active], trip_count=most, condition=_any(g, active))[0]


def _any(g: GraphBuilder, mask: Value) -> Value:
    """Return whether anything is true; false for an empty batch."""
    return g.Greater(g.ReduceSum(g.Cast(mask, DataType.INT64), keepdims=False), g.const(np.asarray(0, np.int64)))


# --- least angle regression -------------------------------------------------------------------------------------------


def _least_angles(g: GraphBuilder, problem: _Problem, most: int, features: int) -> Value:
    """Return the codes at the end of the path of least angles.

    The penalty falls from event to event: an atom joins when its correlation with the residual reaches the penalty,
    and an atom leaves when its code comes to 0. Between events the codes are linear in the penalty. The
    inverse of the active atoms' Gram matrix is kept by sweeps, one for each event (J. Goodnight, 1979).

    Args:
        g: Builder.
        problem: `alpha` is where the path ends.
        most: Number of events after which it ends in any case.
        features: Number of columns of the rows, by which scikit-learn scales the penalty.
    """
    gram, target = problem.gram, problem.target
    components = len(gram)
    slack_of_path = features * _PATH_TOLERANCE
    rows = g.dim(target, 0)
    places = np.arange(components, dtype=np.int64)[None, :]
    zero, alpha = _number(g, 0.0), _number(g, problem.alpha)
    slack, end = _number(g, slack_of_path), _number(g, problem.alpha + slack_of_path)

    def event(
        inner: GraphBuilder,
        _step: Value,
        _going: Value,
        w: Value,
        table: Value,
        penalty: Value,
        signs: Value,
        pending: Value,
        moving: Value,
    ) -> tuple[Value, ...]:
        changed = inner.Equal(places, pending)
        joins = inner.And(inner.Equal(signs, zero), changed)
        correlation = inner.Sub(target, inner.MatMul(w, gram))
        new_signs = inner.Where(changed, inner.Where(joins, inner.Sign(correlation), zero), signs)
        swept = _swept(inner, table, changed, moving)
        active = inner.Not(inner.Equal(new_signs, zero))
        mask = inner.Cast(active, DataType.DOUBLE)
        block = inner.Mul(inner.Mul(swept, inner.Unsqueeze(mask, 1)), inner.Unsqueeze(mask, 2))
        # Codes are `base` - penalty · `slope`, correlations of the others `rest` + penalty · `rise`.
        base, slope = (inner.Squeeze(inner.MatMul(block, inner.Unsqueeze(v, 2)), 2) for v in (target, new_signs))
        rest, rise = inner.Sub(target, inner.MatMul(base, gram)), inner.MatMul(slope, gram)
        one = _number(inner, 1.0)
        events = [
            _event(inner, rest, inner.Sub(one, rise), inner.Not(active)),
            _event(inner, inner.Neg(rest), inner.Add(one, rise), inner.Not(active)),
            _event(inner, base, slope, active),
        ]
        # What has just changed is at its event now; an atom that left may come back with the other sign only.
        excluded = [
            inner.And(changed, inner.Greater(signs, zero)),
            inner.And(changed, inner.Less(signs, zero)),
            changed,
        ]
        possible = [
            inner.Where(inner.And(inner.Not(no), inner.Less(e, penalty)), e, zero)
            for e, no in zip(events, excluded, strict=True)
        ]
        latest = inner.Max(*possible)
        largest = inner.ReduceMax(latest, [1])
        # Near the end scikit-learn stops at the event, before or behind the end, without going on to it.
        close = inner.LessOrEqual(inner.Abs(inner.Sub(largest, alpha)), slack)
        reached = inner.Where(close, largest, inner.Max(largest, alpha))
        codes = inner.Mul(inner.Sub(base, inner.Mul(reached, slope)), mask)
        again = inner.And(moving, inner.Greater(largest, end))
        return (
            _any(inner, again),
            inner.Where(moving, codes, w),
            swept,
            inner.Where(moving, reached, penalty),
            inner.Where(moving, new_signs, signs),
            inner.Where(moving, inner.ArgMax(latest, axis=1, keepdims=1), pending),
            again,
        )

    size = g.Abs(target)
    penalty = g.ReduceMax(size, [1])
    nothing = g.Expand(zero, g.shape_vector([rows, components]))
    table = g.Expand(gram[None], g.shape_vector([rows, components, components]))
    moving = g.Greater(penalty, end)
    states = [nothing, table, penalty, nothing, g.ArgMax(size, axis=1, keepdims=1), moving]
    return g.Loop(event, states, trip_count=most, condition=_any(g, moving))[0]


def _event(g: GraphBuilder, above: Value, below: Value, possible: Value) -> Value:
    """Return the penalty at which something happens, 0 where it does not."""
    zero = _number(g, 0.0)
    none = g.Equal(below, zero)
    value = g.Div(above, g.Where(none, _number(g, 1.0), below))
    return g.Where(g.And(possible, g.Not(none)), value, zero)


def _swept(g: GraphBuilder, table: Value, changed: Value, moving: Value) -> Value:
    """Return tables [N, n, n] swept at one position per row, which adds it to the inverse or takes it out."""
    one = _number(g, 1.0)
    at = g.Cast(changed, DataType.DOUBLE)
    row_at, column_at = g.Unsqueeze(at, 1), g.Unsqueeze(at, 2)
    row, column = g.MatMul(row_at, table), g.MatMul(table, column_at)
    pivot = g.MatMul(row, column_at)
    inverse = g.Div(one, g.Where(g.Unsqueeze(moving, 2), pivot, one))
    scaled = g.Mul(row, inverse)
    others = g.Sub(g.Sub(table, g.Mul(column, scaled)), g.Mul(g.Mul(column, inverse), row_at))
    own = g.Where(g.Unsqueeze(changed, 1), inverse, scaled)
    new = g.Where(g.Unsqueeze(changed, 2), own, others)
    return g.Where(g.Unsqueeze(moving, 2), new, table)
