"""The kernels of sklearn.gaussian_process.kernels, with sums, products and powers of them.

A kernel is evaluated between rows and fitted points (`Against`), among the rows (`Among`), or of each row with itself
(`Own`). These three know distances and products; the formulas of the kernels are the same for all.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np

from any2onnx.converters.sklearn import pairwise
from any2onnx.converters.sklearn.pairwise import Additive, accumulate, between, squared_euclidean, typed
from any2onnx.converters.sklearn.support import Array, width_of
from any2onnx.errors import UnsupportedParameter
from any2onnx.graph.builder import GraphBuilder
from any2onnx.graph.types import Value

# Step and range of the trapezoidal rule for Bessel functions: its error is exp(-π² / step), below 1e-16.
_STEP: Final = 0.25
_STEPS: Final = 180
_LARGEST_POLYNOMIAL: Final = 20


class Pairs(Protocol):
    """Pairs of rows that a kernel is evaluated on."""

    @property
    def g(self) -> GraphBuilder:
        """The builder."""

    def squares(self, scale: Array | None, *, exact: bool = False) -> Value:
        """Return squared distances of the rows divided by `scale`."""

    def products(self) -> Value:
        """Return inner products."""

    def full(self, number: float) -> Value:
        """Return a constant."""

    def same(self, number: float) -> Value:
        """Return a constant where both are the same row, else 0."""

    def one_for_same(self, values: Value) -> Value:
        """Return values with 1 where both are the same row."""

    def named(self, name: str, parameters: Mapping[str, Any], where: str) -> Value:
        """Return a kernel of sklearn.metrics.pairwise."""


@dataclass(frozen=True, slots=True)
class Against:
    """Rows and fitted points: [N, points]."""

    g: GraphBuilder
    x: Value
    points: Array
    exact: bool

    def squares(self, scale: Array | None, *, exact: bool = False) -> Value:
        """See Pairs."""
        x, points = self.x, self.points
        if scale is not None:
            x, points = self.g.Div(x, typed(self.g, scale, x, "length_scale")), points / scale
        if self.exact or exact:
            return accumulate(self.g, x, points, pairwise.SQUARED)
        return squared_euclidean(self.g, x, points)

    def products(self) -> Value:
        """See Pairs."""
        return pairwise.product(self.g, self.x, self.points)

    def full(self, number: float) -> Value:
        """See Pairs."""
        return self.g.scalar_like(number, self.x)

    def same(self, number: float) -> Value:
        """Return 0: no row is one of the fitted points, even if it equals one."""
        return self.g.scalar_like(0.0, self.x)

    def one_for_same(self, values: Value) -> Value:
        """Return the values: no row is one of the fitted points."""
        return values

    def named(self, name: str, parameters: Mapping[str, Any], where: str) -> Value:
        """See Pairs."""
        return pairwise.kernel(self.g, self.x, self.points, name, parameters, where=where)


@dataclass(frozen=True, slots=True)
class Among:
    """Rows and the same rows: [N, N]."""

    g: GraphBuilder
    x: Value

    def _sum(self, x: Value, metric: Additive) -> Value:
        return between(self.g, self.g.Unsqueeze(x, 1), self.g.Unsqueeze(x, 0), metric)

    def squares(self, scale: Array | None, *, exact: bool = False) -> Value:
        """See Pairs; always exact, so that the diagonal is 0."""
        x = self.x if scale is None else self.g.Div(self.x, typed(self.g, scale, self.x, "length_scale"))
        return self._sum(x, pairwise.SQUARED)

    def products(self) -> Value:
        """See Pairs."""
        return self.g.MatMul(self.x, self.g.Transpose(self.x, perm=[1, 0]))

    def full(self, number: float) -> Value:
        """See Pairs."""
        return self.g.scalar_like(number, self.x)

    def same(self, number: float) -> Value:
        """See Pairs."""
        rows = self.g.dim(self.x, 0)
        zeros = self.g.Expand(self.full(0.0), self.g.shape_vector([rows, rows]))
        return self.g.Mul(self.g.EyeLike(zeros), self.full(number))

    def one_for_same(self, values: Value) -> Value:
        """See Pairs."""
        return self.g.Where(self.g.Greater(self.same(1.0), self.full(0.0)), self.full(1.0), values)

    def named(self, name: str, parameters: Mapping[str, Any], where: str) -> Value:
        """See Pairs."""
        unit = pairwise.unit_rows(self.g, self.x) if name == "cosine" else self.x
        sums = {
            "rbf": lambda: self.squares(None),
            "laplacian": lambda: self._sum(self.x, pairwise.MANHATTAN),
            "chi2": lambda: self._sum(self.x, pairwise.ADDITIVE_CHI2),
            "additive_chi2": lambda: self._sum(self.x, pairwise.ADDITIVE_CHI2),
        }
        inner = sums.get(name, lambda: self.g.MatMul(unit, self.g.Transpose(unit, perm=[1, 0])))()
        return pairwise.kernel_of(self.g, inner, name, parameters, width_of(self.x), where=where)


@dataclass(frozen=True, slots=True)
class Own:
    """Each row and itself: [N, 1]."""

    g: GraphBuilder
    x: Value

    def squares(self, scale: Array | None, *, exact: bool = False) -> Value:
        """Return 0."""
        return self.g.scalar_like(0.0, self.x)

    def products(self) -> Value:
        """See Pairs."""
        return pairwise.square_sum(self.g, self.x)

    def full(self, number: float) -> Value:
        """See Pairs."""
        return self.g.scalar_like(number, self.x)

    def same(self, number: float) -> Value:
        """See Pairs."""
        return self.full(number)

    def one_for_same(self, values: Value) -> Value:
        """Return 1."""
        return self.full(1.0)

    def named(self, name: str, parameters: Mapping[str, Any], where: str) -> Value:
        """See Pairs."""
        unit = pairwise.unit_rows(self.g, self.x) if name == "cosine" else self.x
        distance = name in ("rbf", "laplacian", "chi2", "additive_chi2")
        inner = self.full(0.0) if distance else pairwise.square_sum(self.g, unit)
        return pairwise.kernel_of(self.g, inner, name, parameters, width_of(self.x), where=where)


# --- kernels ----------------------------------------------------------------------------------------------------------


def evaluate(kernel: Any, pairs: Pairs, *, where: str = "") -> Value:
    """Return a kernel's values on pairs of rows; a scalar where they are all the same.

    Raises:
        UnsupportedParameter: A kernel of another class, or one by a Python function.
    """
    rule = _KERNELS.get(type(kernel).__name__)
    if rule is None or not type(kernel).__module__.startswith("sklearn."):
        raise UnsupportedParameter(
            f"kernel {type(kernel).__name__} is not known",
            where=where or None,
            needs=f"one of {', '.join(sorted(_KERNELS))}",
        )
    return rule(kernel, pairs, where)


def _sum(kernel: Any, pairs: Pairs, where: str) -> Value:
    return pairs.g.Add(evaluate(kernel.k1, pairs, where=where), evaluate(kernel.k2, pairs, where=where))


def _product(kernel: Any, pairs: Pairs, where: str) -> Value:
    return pairs.g.Mul(evaluate(kernel.k1, pairs, where=where), evaluate(kernel.k2, pairs, where=where))


def _power(kernel: Any, pairs: Pairs, where: str) -> Value:
    return pairs.g.Pow(evaluate(kernel.kernel, pairs, where=where), pairs.full(float(kernel.exponent)))


def _constant(kernel: Any, pairs: Pairs, where: str) -> Value:
    return pairs.full(float(kernel.constant_value))


def _white(kernel: Any, pairs: Pairs, where: str) -> Value:
    return pairs.same(float(kernel.noise_level))


def _scale(kernel: Any) -> Array:
    return np.asarray(np.squeeze(kernel.length_scale), np.float64)


def _rbf(kernel: Any, pairs: Pairs, where: str) -> Value:
    return pairs.g.Exp(pairs.g.Mul(pairs.squares(_scale(kernel)), pairs.full(-0.5)))


def _rational_quadratic(kernel: Any, pairs: Pairs, where: str) -> Value:
    g, alpha = pairs.g, float(kernel.alpha)
    divisor = 2 * alpha * float(np.squeeze(kernel.length_scale)) ** 2
    base = g.Add(g.Div(pairs.squares(None), pairs.full(divisor)), pairs.full(1.0))
    return g.Pow(base, pairs.full(-alpha))


def _exp_sine_squared(kernel: Any, pairs: Pairs, where: str) -> Value:
    g = pairs.g
    sine = g.Sin(g.Mul(g.Sqrt(pairs.squares(None)), pairs.full(math.pi / float(kernel.periodicity))))
    ratio = g.Div(sine, pairs.full(float(kernel.length_scale)))
    return g.Exp(g.Mul(pairs.full(-2.0), g.Mul(ratio, ratio)))


def _dot_product(kernel: Any, pairs: Pairs, where: str) -> Value:
    return pairs.g.Add(pairs.products(), pairs.full(float(kernel.sigma_0) ** 2))


def _pairwise(kernel: Any, pairs: Pairs, where: str) -> Value:
    parameters = {"gamma": float(kernel.gamma), **(kernel.pairwise_kernels_kwargs or {})}
    return pairs.named(kernel.metric, parameters, where)


def _matern(kernel: Any, pairs: Pairs, where: str) -> Value:
    g, nu = pairs.g, float(kernel.nu)
    # Below nu = 1 the kernel is not smooth in the square, whose rounding would show near 0.
    squares = pairs.squares(_scale(kernel), exact=nu < 1)
    if np.isinf(nu):
        return g.Exp(g.Mul(squares, pairs.full(-0.5)))
    half = nu - 0.5
    if half == int(half) and half <= _LARGEST_POLYNOMIAL:
        z = g.Sqrt(g.Mul(squares, pairs.full(2.0 * nu)))
        return g.Mul(_bessel_polynomial(g, z, int(half)), g.Exp(g.Neg(z)))
    # scikit-learn replaces a distance of 0 by the machine epsilon.
    distances = g.Sqrt(squares)
    zero = g.Equal(distances, pairs.full(0.0))
    distances = g.Where(zero, pairs.full(float(np.finfo(float).eps)), distances)
    return pairs.one_for_same(_matern_integral(g, g.Mul(distances, pairs.full(math.sqrt(2 * nu))), nu))


def _bessel_polynomial(g: GraphBuilder, z: Value, p: int) -> Value:
    """Return p! / (2p)! · Σ (p + i)! / (i! (p - i)!) (2z)^(p - i): the Matern kernel of nu = p + 1/2, but exp(-z)."""
    first = math.factorial(p) / math.factorial(2 * p)
    coefficients = [
        first * math.factorial(p + i) / (math.factorial(i) * math.factorial(p - i)) * 2.0 ** (p - i)
        for i in range(p + 1)
    ]
    total = g.scalar_like(coefficients[0], z)
    for coefficient in coefficients[1:]:
        total = g.Add(g.Mul(total, z), g.scalar_like(coefficient, z))
    return total


def _matern_integral(g: GraphBuilder, z: Value, nu: float) -> Value:
    """Return 2^(1 - nu) / Γ(nu) z^nu K_nu(z) by the trapezoidal rule.

    K_nu(z) = 1/2 ∫ exp(nu t - z cosh t) dt over all t; z^nu goes into the exponent, so that nothing overflows.
    """
    times = _STEP * np.arange(_STEPS + 1)
    table = np.stack([nu * times, np.cosh(times)], axis=1)
    log_z = g.Mul(g.Log(z), g.scalar_like(nu, z))
    constant = typed(g, table, z, "nodes")
    start = g.Mul(z, g.scalar_like(0.0, z))

    def body(b: GraphBuilder, total: Value, node: Value) -> Value:
        shift, growth = (b.Gather(node, np.asarray(at, np.int64), axis=0) for at in (0, 1))
        level = b.Sub(log_z, b.Mul(z, growth))
        # exp(nu t) + exp(-nu t); at t = 0 both are the same point, which counts once.
        weight = b.Where(b.Equal(shift, b.scalar_like(0.0, shift)), b.scalar_like(0.5, z), b.scalar_like(1.0, z))
        both = b.Add(b.Exp(b.Add(level, shift)), b.Exp(b.Sub(level, shift)))
        return b.Add(total, b.Mul(weight, both))

    (total,) = g.Scan(body, [start], [constant])
    factor = 0.5 * _STEP * 2.0 ** (1.0 - nu) / math.gamma(nu)
    return g.Mul(total, g.scalar_like(factor, z))


_KERNELS: Final[Mapping[str, Callable[[Any, Pairs, str], Value]]] = {
    "Sum": _sum,
    "Product": _product,
    "Exponentiation": _power,
    "ConstantKernel": _constant,
    "WhiteKernel": _white,
    "RBF": _rbf,
    "Matern": _matern,
    "RationalQuadratic": _rational_quadratic,
    "ExpSineSquared": _exp_sine_squared,
    "DotProduct": _dot_product,
    "PairwiseKernel": _pairwise,
}
