"""Orthogonal polynomials: three-term recurrences, all elements at once, for as many steps as some element needs."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from any2onnx.converters.pytorch.call import TorchCall, as_type, scalar
from any2onnx.graph.builder import GraphBuilder
from any2onnx.graph.types import DataType, Value

DOUBLE, INT64 = DataType.DOUBLE, DataType.INT64
Recurrence = Callable[[GraphBuilder, Value, Value, Value, Value], Value]
Start = Callable[[GraphBuilder, Value], Value]
# closed(g, x, n) returns where a closed form holds, and its values.
Closed = Callable[[GraphBuilder, Value, Value], tuple[Value, Value]]
Converter = Callable[[GraphBuilder, TorchCall], Value]


def _number(g: GraphBuilder, value: float) -> Value:
    return scalar(g, float(value), DOUBLE)


def _sequence(
    first: Start, following: Recurrence, *, closed: Closed | None = None, shifted: bool = False, limited: bool = False
) -> Converter:
    """Return the converter of polynomials P0 = 1, P1 = first(x), P(k+1) = following(x, k, Pk, P(k-1)).

    Args:
        first: P1.
        following: The recurrence.
        closed: Where torch takes a closed form instead.
        shifted: Of 2x - 1.
        limited: NaN beyond the degree at which torch gives up: 512, in float32 128.
    """

    def convert(g: GraphBuilder, call: TorchCall) -> Value:
        names = list(call.params)[:2]
        x, n = (as_type(g, call.params[name], DOUBLE) for name in names)
        if call.dims:
            shape = call.shape(g)
            x, n = g.Expand(x, shape), g.Expand(n, shape)
        # The degree is cut to a whole number.
        n = g.Cast(g.Cast(n, INT64), DOUBLE)
        one, zero = _number(g, 1.0), _number(g, 0.0)
        if shifted:
            x = g.Sub(g.Mul(_number(g, 2.0), x), one)
        p0, p1 = g.Add(g.Mul(x, zero), one), first(g, x)
        done, result = g.Less(n, _number(g, 2.0)), g.Where(g.Equal(n, zero), one, p1)
        result = g.Where(g.Less(n, zero), zero, result)
        if closed is not None:
            holds, values = closed(g, x, n)
            holds = g.And(holds, g.Not(done))
            done, result = g.Or(done, holds), g.Where(holds, values, result)
        if limited:
            beyond = g.Greater(n, _number(g, 512 if call.dtype == DOUBLE else 128))
            done, result = g.Or(done, beyond), g.Where(beyond, _number(g, math.nan), result)
        return g.Cast(_recurred(g, following, x, n, (p0, p1, done, result)), call.dtype)

    return convert


def _recurred(
    g: GraphBuilder, following: Recurrence, x: Value, n: Value, start: tuple[Value, Value, Value, Value]
) -> Value:
    """Run the recurrence until every element has reached its degree, or is NaN for good."""
    p0, p1, done, result = start

    def unfinished(h: GraphBuilder, finished: Value) -> Value:
        left = h.ReduceSum(h.Cast(h.Not(finished), INT64), None, keepdims=False)
        return h.Greater(left, scalar(h, 0, INT64))

    def step(
        h: GraphBuilder, i: Value, going: Value, current: Value, before: Value, finished: Value, value: Value
    ) -> Sequence[Value]:
        k = h.Cast(h.Add(i, scalar(h, 1, INT64)), DOUBLE)
        after = following(h, x, k, current, before)
        value = h.Where(finished, value, after)
        reached = h.GreaterOrEqual(h.Add(k, scalar(h, 1.0, DOUBLE)), n)
        finished = h.Or(finished, h.Or(reached, h.IsNaN(after)))
        return unfinished(h, finished), after, h.op("Identity", current), finished, value

    return g.Loop(step, [p1, p0, done, result], condition=unfinished(g, done))[3]


# --- recurrences ------------------------------------------------------------------------------------------------------


def _chebyshev(g: GraphBuilder, x: Value, k: Value, p: Value, q: Value) -> Value:
    return g.Sub(g.Mul(g.Mul(_number(g, 2.0), x), p), q)


def _hermite(g: GraphBuilder, x: Value, k: Value, p: Value, q: Value) -> Value:
    two = _number(g, 2.0)
    return g.Sub(g.Mul(g.Mul(two, x), p), g.Mul(g.Mul(two, k), q))


def _hermite_e(g: GraphBuilder, x: Value, k: Value, p: Value, q: Value) -> Value:
    return g.Sub(g.Mul(x, p), g.Mul(k, q))


def _laguerre(g: GraphBuilder, x: Value, k: Value, p: Value, q: Value) -> Value:
    one = _number(g, 1.0)
    odd = g.Add(g.Mul(_number(g, 2.0), k), one)
    return g.Div(g.Sub(g.Mul(g.Sub(odd, x), p), g.Mul(k, q)), g.Add(k, one))


def _legendre(g: GraphBuilder, x: Value, k: Value, p: Value, q: Value) -> Value:
    one = _number(g, 1.0)
    odd = g.Add(g.Mul(_number(g, 2.0), k), one)
    return g.Div(g.Sub(g.Mul(g.Mul(odd, x), p), g.Mul(k, q)), g.Add(k, one))


def _line(slope: float, offset: float) -> Start:
    def start(g: GraphBuilder, x: Value) -> Value:
        return g.Add(g.Mul(_number(g, slope), x), _number(g, offset))

    return start


# --- closed forms -----------------------------------------------------------------------------------------------------


def _sign_of_power(g: GraphBuilder, n: Value) -> Value:
    """(-1)ⁿ."""
    return g.Sub(_number(g, 1.0), g.Mul(_number(g, 2.0), g.Mod(n, _number(g, 2.0), fmod=1)))


def _at_ends(g: GraphBuilder, x: Value, right: Value, left: Value) -> Value:
    return g.Where(g.Greater(x, _number(g, 0.0)), right, left)


def _trigonometric(kind: str) -> Closed:
    """Chebyshev polynomials within [-1, 1] by the angle θ = acos x, and their values at the ends."""

    def closed(g: GraphBuilder, x: Value, n: Value) -> tuple[Value, Value]:
        one, half, two = (_number(g, v) for v in (1.0, 0.5, 2.0))
        ends = g.Equal(g.Abs(x), one)
        inside = g.And(g.Less(g.Abs(x), one), g.Greater(n, _number(g, 6.0)))
        angle = g.Acos(g.Where(inside, x, _number(g, 0.0)))
        sign, odd = _sign_of_power(g, n), g.Add(g.Mul(two, n), one)
        shifted, halved = g.Mul(g.Add(n, half), angle), g.Mul(angle, half)
        if kind == "t":
            value, limit = g.Cos(g.Mul(n, angle)), _at_ends(g, x, one, sign)
        elif kind == "u":
            value = g.Div(g.Sin(g.Mul(g.Add(n, one), angle)), g.Sin(angle))
            limit = g.Mul(g.Add(n, one), _at_ends(g, x, one, sign))
        elif kind == "v":
            value, limit = g.Div(g.Cos(shifted), g.Cos(halved)), _at_ends(g, x, one, g.Mul(sign, odd))
        else:
            value, limit = g.Div(g.Sin(shifted), g.Sin(halved)), _at_ends(g, x, odd, sign)
        return g.Or(ends, inside), g.Where(ends, limit, value)

    return closed


def _legendre_ends(g: GraphBuilder, x: Value, n: Value) -> tuple[Value, Value]:
    one = _number(g, 1.0)
    return g.Equal(g.Abs(x), one), _at_ends(g, x, one, _sign_of_power(g, n))


def _laguerre_zero(g: GraphBuilder, x: Value, n: Value) -> tuple[Value, Value]:
    return g.Equal(x, _number(g, 0.0)), _number(g, 1.0)


chebyshev_t = _sequence(_line(1, 0), _chebyshev, closed=_trigonometric("t"))
chebyshev_u = _sequence(_line(2, 0), _chebyshev, closed=_trigonometric("u"))
chebyshev_v = _sequence(_line(2, -1), _chebyshev, closed=_trigonometric("v"))
chebyshev_w = _sequence(_line(2, 1), _chebyshev, closed=_trigonometric("w"))
shifted_chebyshev_t = _sequence(_line(1, 0), _chebyshev, closed=_trigonometric("t"), shifted=True)
shifted_chebyshev_u = _sequence(_line(2, 0), _chebyshev, closed=_trigonometric("u"), shifted=True)
shifted_chebyshev_v = _sequence(_line(2, -1), _chebyshev, closed=_trigonometric("v"), shifted=True)
shifted_chebyshev_w = _sequence(_line(2, 1), _chebyshev, closed=_trigonometric("w"), shifted=True)
hermite_h = _sequence(_line(2, 0), _hermite, limited=True)
hermite_he = _sequence(_line(1, 0), _hermite_e, limited=True)
laguerre_l = _sequence(_line(-1, 1), _laguerre, closed=_laguerre_zero)
legendre_p = _sequence(_line(1, 0), _legendre, closed=_legendre_ends)
