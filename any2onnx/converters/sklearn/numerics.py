"""Elementary functions that lose no digits where the plain formula would."""

from __future__ import annotations

from any2onnx.graph.builder import GraphBuilder
from any2onnx.graph.types import Value


def logistic(g: GraphBuilder, x: Value) -> Value:
    """Return 1 / (1 + exp(-x)).

    onnxruntime's Sigmoid has no correct digits in the lower tail, not even in float64 (1e-3 relative at -30, 0 at
    -40), which shows once rows of small probabilities are normalised.
    """
    one = g.scalar_like(1.0, x)
    return g.Div(one, g.Add(one, g.Exp(g.Neg(x))))


def expm1(g: GraphBuilder, x: Value) -> Value:
    """exp(x) - 1 without cancellation: (exp(x) + 1) · tanh(x/2) where x is small, plain where it is large."""
    half = g.scalar_like(0.5, x)
    one = g.scalar_like(1.0, x)
    power = g.Exp(x)
    near = g.Mul(g.Tanh(g.Mul(x, half)), g.Add(power, one))
    return g.Where(g.Less(g.Abs(x), one), near, g.Sub(power, one))


def log1p(g: GraphBuilder, x: Value) -> Value:
    """log(1 + x) without the rounding of 1 + x: x · log(w) / (w - 1) with w = 1 + x (Kahan)."""
    one = g.scalar_like(1.0, x)
    w = g.Add(one, x)
    rounds = g.Equal(w, one)
    safe = g.Where(rounds, g.scalar_like(2.0, x), w)
    exact = g.Where(rounds, x, g.Div(g.Mul(x, g.Log(safe)), g.Sub(safe, one)))
    # From here on 1 + x is exact enough, and infinity stays infinity.
    return g.Where(g.Greater(x, g.scalar_like(1e15, x)), g.Log(w), exact)
