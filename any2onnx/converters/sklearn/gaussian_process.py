"""sklearn.gaussian_process: regression with standard deviations and covariances, Laplace classification.

In float64 throughout: covariances cancel. The triangular solve of scikit-learn is a product with the inverse of the
Cholesky factor, computed at conversion.
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np

from any2onnx.converters.sklearn.gp_kernels import Against, Among, Own, evaluate
from any2onnx.converters.sklearn.lazy import once, produce
from any2onnx.converters.sklearn.pairwise import typed
from any2onnx.converters.sklearn.support import (
    Array,
    Results,
    argmax_label,
    inner_type,
    labels,
    matrix,
    normalized_rows,
    two_columns,
)
from any2onnx.converters.sklearn.svm import one_vs_one_scores
from any2onnx.errors import UnsupportedParameter
from any2onnx.graph.builder import GraphBuilder
from any2onnx.graph.types import DataType, Value
from any2onnx.operator_mappings.mapping import Call

# Williams & Barber's approximation of the logistic function by five error functions, as scikit-learn has it.
_LAMBDAS: Final = (0.41, 0.4, 0.37, 0.44, 0.39)
_COEFS: Final = (-1854.8214151, 3516.89893646, 221.29346712, 128.12323805, -2010.49422654)
# Share of the targets' scale that rounding of distances by a matrix product may change.
_TOLERATED: Final = 1e-10


def _inverse(lower: Any) -> Array:
    """Return the inverse of a lower triangular matrix."""
    from scipy.linalg import solve_triangular

    lower = np.asarray(lower, np.float64)
    return np.asarray(solve_triangular(lower, np.eye(len(lower)), lower=True, check_finite=False))


def _smallest_scale(kernel: Any) -> float:
    """Return the smallest length that a kernel divides distances by."""
    lengths = []
    for name, value in kernel.get_params().items():
        if name.endswith(("length_scale", "periodicity")):
            lengths.append(float(np.min(value)))
        elif name.endswith("gamma"):
            # exp(-gamma d²) is a Gaussian of this length.
            lengths.append(1.0 / math.sqrt(2.0 * float(value)))
    return min(lengths, default=1.0)


def _needs_exact(kernel: Any, points: Array, alpha: Array, scale: float) -> bool:
    """Tell whether rounding of distances by a matrix product could be seen in the mean.

    The product is off by about the rounding of the largest square; errors of different points are independent, so they
    reach the mean with the Euclidean norm of its coefficients.
    """
    squares = np.sum((points - points.mean(axis=0)) ** 2, axis=1)
    extent = float(np.max(squares, initial=0.0)) / _smallest_scale(kernel) ** 2
    noise = 4 * np.finfo(float).eps * extent
    return bool(noise * np.max(np.linalg.norm(alpha, axis=0)) > _TOLERATED * scale)


def gaussian_process_regressor(g: GraphBuilder, call: Call) -> Results:
    """Convert GaussianProcessRegressor.

    Raises:
        UnsupportedParameter: A kernel of another class, or one by a Python function.
    """
    model = call.source
    x = matrix(g, call, inner_type(call))
    points = np.asarray(model.X_train_, np.float64)
    alpha = np.asarray(model.alpha_, np.float64).reshape(len(points), -1)
    mean, std = (np.ravel(np.asarray(v, np.float64)) for v in (model._y_train_mean, model._y_train_std))
    spread = bool({"predict_std", "predict_cov"} & set(call.methods))
    target = float(np.max(np.abs(model.y_train_), initial=1e-30))
    exact = spread or _needs_exact(model.kernel_, points, alpha, target)

    cross = once(
        lambda: _full(g, evaluate(model.kernel_, Against(g, x, points, exact), where=call.location), x, points)
    )
    solved = once(lambda: g.MatMul(cross(), typed(g, np.ascontiguousarray(_inverse(model.L_).T), x, "L_inverse")))

    def predict() -> Value:
        product = g.MatMul(cross(), typed(g, alpha, x, "alpha"))
        value = g.Add(g.Mul(product, typed(g, std, x, "y_std")), typed(g, mean, x, "y_mean"))
        return g.Squeeze(value, 1) if alpha.shape[1] == 1 else value

    def deviation() -> Value:
        own = evaluate(model.kernel_, Own(g, x), where=call.location)
        v = solved()
        variance = g.Relu(g.Sub(own, g.ReduceSum(g.Mul(v, v), [1])))
        value = g.Sqrt(g.Mul(variance, typed(g, std[None, :] ** 2, x, "y_variance")))
        return g.Squeeze(value, 1) if len(std) == 1 else value

    def covariance() -> Value:
        among = evaluate(model.kernel_, Among(g, x), where=call.location)
        rest = g.Sub(among, g.MatMul(solved(), g.Transpose(solved(), perm=[1, 0])))
        if len(std) == 1:
            return g.Mul(rest, g.scalar_like(float(std[0]) ** 2, rest))
        return g.Mul(g.Unsqueeze(rest, 2), typed(g, std**2, x, "y_variance"))

    return produce(g, call, {"predict": predict, "predict_std": deviation, "predict_cov": covariance})


def _full(g: GraphBuilder, kernel: Value, x: Value, points: Array) -> Value:
    """Return a kernel as [N, points], also where it is one number for all."""
    if kernel.shape is not None and len(kernel.shape) == 2:
        return kernel
    return g.Expand(kernel, g.shape_vector([g.dim(x, 0), len(points)]))


# --- classification ---------------------------------------------------------------------------------------------------


class _Laplace:
    """One binary classifier: its latent function at the rows."""

    def __init__(self, g: GraphBuilder, call: Call, x: Value, model: Any, *, variance: bool) -> None:
        self.g, self.x, self.model, self.where = g, x, model, call.location
        self.points = np.asarray(model.X_train_, np.float64)
        residual = np.asarray(model.y_train_ - model.pi_, np.float64)[:, None]
        exact = variance or _needs_exact(model.kernel_, self.points, residual, 1.0)
        kernel = evaluate(model.kernel_, Against(g, x, self.points, exact), where=self.where)
        self.cross = _full(g, kernel, x, self.points)
        self.mean = g.MatMul(self.cross, typed(g, residual, x, "residual"))  # [N, 1]

    def positive(self) -> Value:
        """Return whether the second class is the likelier one, bool [N]."""
        return self.g.Squeeze(self.g.Greater(self.mean, self.g.scalar_like(0.0, self.mean)), 1)

    def probability(self) -> Value:
        """Return the probability of the second class [N]."""
        g, model = self.g, self.model
        # v = L \ (W^(1/2) K): the scaling goes into the inverse.
        inverse = _inverse(model.L_) * np.asarray(model.W_sr_, np.float64)[None, :]
        v = g.MatMul(self.cross, typed(g, np.ascontiguousarray(inverse.T), self.x, "L_inverse"))
        own = evaluate(model.kernel_, Own(g, self.x), where=self.where)
        variance = g.Sub(own, g.ReduceSum(g.Mul(v, v), [1]))
        lambdas = typed(g, np.asarray([_LAMBDAS]), self.x, "lambdas")
        spread = g.Mul(g.Mul(g.scalar_like(2.0, self.x), variance), g.Mul(lambdas, lambdas))
        ratio = g.Div(g.Mul(lambdas, self.mean), g.Sqrt(g.Add(spread, g.scalar_like(1.0, self.x))))
        terms = g.Mul(g.Erf(ratio), typed(g, 0.5 * np.asarray([_COEFS]), self.x, "coefs"))
        total = g.ReduceSum(terms, [1], keepdims=False)
        return g.Add(total, g.scalar_like(0.5 * math.fsum(_COEFS), total))


def gaussian_process_classifier(g: GraphBuilder, call: Call) -> Results:
    """Convert GaussianProcessClassifier: binary, one-vs-rest or one-vs-one.

    Raises:
        UnsupportedParameter: A kernel of another class, or probabilities of one-vs-one.
    """
    model = call.source
    x = matrix(g, call, inner_type(call))
    classes = len(model.classes_)
    several = classes > 2
    if several and model.multi_class == "one_vs_one" and "predict_proba" in call.methods:
        raise UnsupportedParameter(
            'multi_class="one_vs_one" has no probabilities, in scikit-learn either', where=call.location
        )
    base = model.base_estimator_
    parts = list(base.estimators_) if several else [base]
    variance = several or "predict_proba" in call.methods
    latent = [_Laplace(g, call, x, part, variance=variance) for part in parts]
    if not several:
        return produce(
            g,
            call,
            {
                "predict": lambda: labels(g, model.classes_, g.Cast(latent[0].positive(), DataType.INT64)),
                "predict_proba": lambda: two_columns(g, latent[0].probability()),
            },
            keep=("predict",),
        )
    columns = [g.Unsqueeze(part.probability(), 1) for part in latent]
    probability = g.op("Concat", *columns, axis=1)
    if model.multi_class == "one_vs_one":
        wins = g.op("Concat", *(g.Unsqueeze(part.positive(), 1) for part in latent), axis=1)
        scores = one_vs_one_scores(g, wins, probability, classes)
        return produce(g, call, {"predict": lambda: argmax_label(g, scores, model.classes_)}, keep=("predict",))
    return produce(
        g,
        call,
        {
            "predict": lambda: argmax_label(g, probability, model.classes_),
            "predict_proba": lambda: normalized_rows(g, probability),
        },
        keep=("predict",),
    )
