"""FunctionTransformer: functions of numpy, scipy.special and the array API are traced, others refused by name."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray
from scipy import special
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, normalize

from any2onnx import to_onnx
from any2onnx.converters.sklearn.tracing.forms import NAMES
from any2onnx.errors import UnsupportedParameter

Array = NDArray[Any]
_RNG = np.random.default_rng(0)
FLOATS: Array = _RNG.normal(size=(30, 4)) * 2 + 0.5
WITH_NAN: Array = np.where(_RNG.random(FLOATS.shape) < 0.2, np.nan, FLOATS)
WHOLE: Array = _RNG.integers(-5, 9, size=(30, 4))


def positive_part(X: Any) -> Any:
    return np.where(X > 0, X, 0)


def by_a_helper(X: Any) -> Any:
    return positive_part(np.asarray(X)) + 1


def guarded(X: Any) -> Any:
    if not isinstance(X, np.ndarray):
        X = X.to_numpy()
    X = np.asarray(X, dtype=float)
    if X.ndim == 1:
        X = X.reshape(-1, 1)
    out = np.empty(X.shape)
    out[:, 0] = X[:, 0]
    out[:, 1:] = X[:, 1:] * 2
    return out


def column_by_column(X: Any) -> Any:
    X = X.copy()
    for j in range(X.shape[1]):
        X[:, j] = np.clip(X[:, j], -j, j)
    return X


def with_mask(X: Any) -> Any:
    X = np.array(X)
    X[X < 0] = 0
    X[:, 1] += 1
    return X


def in_namespace(X: Any) -> Any:
    xp = X.__array_namespace__()
    return xp.concat(
        [xp.exp(X), xp.sum(X, axis=1, keepdims=True), xp.permute_dims(xp.permute_dims(X, (1, 0)), (1, 0))], axis=1
    )


def powers(X: Any, power: float = 2) -> Any:
    def of(column: Any) -> Any:
        return np.asarray(column) ** power

    return np.column_stack([of(X[:, j]) for j in range(X.shape[1])])


class Scaled:
    def __init__(self, factor: float) -> None:
        self.factor = factor

    def __call__(self, X: Any) -> Any:
        return np.asarray(X) * self.factor

    def method(self, X: Any) -> Any:
        return np.array(X) / self.factor


FUNCTIONS: dict[str, Callable[[Any], Any]] = {
    "clip": lambda X: np.clip(X, -1, None),
    "clip method": lambda X: X.clip(max=1),
    "where": lambda X: np.where((X > 0) & ~(X > 3), X, -1.0),
    "concatenate": lambda X: np.concatenate([X, X**2], axis=1),
    "c_": lambda X: np.c_[X, X[:, 0] * X[:, 1]],
    "columns": lambda X: X[:, [2, 0]] - X[:, 1:3],
    "last columns": lambda X: X[..., -2:][:, ::-1],
    "new axis": lambda X: X[:, 0, None] + X[:, 1][:, np.newaxis],
    "one dim": lambda X: X[:, 1],
    "hypot": lambda X: np.hypot(X[:, [0]], X[:, [1]]),
    "stack": lambda X: np.stack([X[:, 0], X[:, 1]], axis=1),
    "vstack": lambda X: np.vstack([X[:, 0], X[:, 1]]).T,
    "norms": lambda X: np.hstack([np.linalg.norm(X, ord=o, axis=1, keepdims=True) for o in (None, 1, 3, np.inf, 0)]),
    "to length 1": lambda X: X / np.linalg.norm(X, axis=1, keepdims=True),
    "matmul": lambda X: X @ np.arange(8).reshape(4, 2) + np.dot(X, np.ones((4, 2))),
    "from the left": lambda X: (np.arange(12).reshape(3, 4) @ X.T).T,
    "products": lambda X: np.einsum("ij,ik->ijk", X, X).reshape(len(X), -1),
    "quadratic": lambda X: np.einsum("ij,jk,ik->i", X, np.eye(4), X).reshape(-1, 1),
    "outer": lambda X: (X[:, :, None] * X[:, None, :]).reshape(X.shape[0], -1),
    "row products": lambda X: np.array([np.dot(row, row) for row in X]).reshape(-1, 1),
    "row lists": lambda X: np.array([[row[0], row[1] * 2, 3.0] for row in X]),
    "python division": lambda X: X // 0.7 + X % -0.3,
    "divmod": lambda X: np.hstack(divmod(X, 2)),
    "rounded": lambda X: np.round(X, 2) + X.round(-1),
    "statistics": lambda X: np.stack(
        [X.mean(1), X.std(1), X.var(axis=1, ddof=1), np.median(X, axis=1), np.ptp(X, axis=1), X.prod(1)], axis=1
    ),
    "quantiles": lambda X: np.column_stack([np.percentile(X, q, axis=1) for q in (10, 50, 80)]),
    "extremes": lambda X: np.c_[X.max(axis=1), X.min(axis=1), np.argmax(X, axis=1), X.argmin(axis=1)],
    "positions": lambda X: np.argmax(X, axis=1).reshape(-1, 1),
    "running": lambda X: np.cumsum(X, axis=1),
    "differences": lambda X: np.diff(X, n=2, axis=1),
    "in order": lambda X: np.sort(X, axis=1),
    "any, all": lambda X: np.c_[np.any(X > 0, axis=1), (X > 0).all(axis=1)],
    "counts": lambda X: np.count_nonzero(X > 0, axis=1).reshape(-1, 1) + (X > 1).sum(axis=1, keepdims=True),
    "average": lambda X: np.average(X, axis=1, weights=[1, 2, 3, 4]).reshape(-1, 1),
    "reduce": lambda X: np.add.reduce(X, axis=1, keepdims=True) + np.maximum.reduce(X, axis=1).reshape(-1, 1),
    "likes": lambda X: np.hstack([np.ones_like(X[:, :1]), np.zeros_like(X), np.full_like(X, 3.0) + X]),
    "ones": lambda X: np.hstack([np.ones((X.shape[0], 1)), X, np.full((len(X), 2), 0.5)]),
    "bins": lambda X: np.digitize(X, [-1, 0, 1]),
    "bins to the right": lambda X: np.digitize(X, [-1, 0, 1], right=True) + np.searchsorted([-1.0, 2.0], X),
    "select": lambda X: np.select([X < 0, X < 1], [X * 2, X * 3], default=0),
    "piecewise": lambda X: np.piecewise(X, [X < 0, X >= 1], [-1, lambda x: x**2, 7]),
    "interp": lambda X: np.interp(X, [-1, 0, 1], [0, 5, 6], left=-3),
    "moves": lambda X: np.flip(np.roll(np.delete(np.insert(X, 0, 1, axis=1), 2, axis=1), 1, axis=1), axis=1),
    "repeats": lambda X: np.tile(np.repeat(np.take(X, [0, 1], axis=1), 2, axis=1), (1, 2)),
    "splits": lambda X: np.split(X, 2, axis=1)[0] * np.hsplit(X, 2)[1],
    "padded": lambda X: np.pad(X, ((0, 0), (1, 0))) + np.append(X, X[:, :1], axis=1),
    "single precision": lambda X: X.astype(np.float32),
    "whole part": lambda X: X.astype(int),
    "flags": lambda X: (X > 0).astype(float) + (X > 0) * X,
    "bools": lambda X: (X > 0) | np.isclose(X, 0, atol=0.2),
    "members": lambda X: np.isin(np.rint(X), [0, 1]),
    "apply along rows": lambda X: np.apply_along_axis(lambda row: row / np.abs(row).max(), 1, X),
    "vectorize": lambda X: np.vectorize(lambda v, w: v * 2 + w)(X, X[:, :1]),
    "vectorized": np.vectorize(lambda v: np.where(v > 0, v, 0.5)),
    "periodic": lambda X: np.hstack([np.sin(2 * np.pi * X / 24), np.cos(2 * np.pi * X / 24)]),
    "softmax": lambda X: special.softmax(X, axis=1),
    "softmax by hand": lambda X: np.exp(X - X.max(1)[:, None]) / np.exp(X - X.max(1)[:, None]).sum(1)[:, None],
    "logsumexp": lambda X: special.logsumexp(X, axis=1, keepdims=True) + special.log_softmax(X, axis=1),
    "by a helper": by_a_helper,
    "guarded": guarded,
    "column by column": column_by_column,
    "with a mask": with_mask,
    "array API": in_namespace,
    "partial": functools.partial(powers, power=3),
    "object": Scaled(3.0),
    "bound method": Scaled(3.0).method,
    "of its type": lambda X: X.astype(X.dtype) if X.dtype.kind == "f" else X,
    "identity": lambda X: X,
    "constant": lambda X: np.zeros((len(X), 2)),
}  # fmt: skip


def answers(model: Any, rows: Array) -> Array:
    session = onnxruntime.InferenceSession(to_onnx(model, rows[:2]).SerializeToString())
    found: list[Array] = session.run(None, {"X": rows})
    return found[0]


def check(function: Any, rows: Array, **options: Any) -> None:
    model = FunctionTransformer(function, **options).fit(rows)
    for some in (rows, rows[:1]):
        got, want = answers(model, some), model.transform(some.copy())
        assert got.shape == want.shape
        if want.dtype != np.float32:
            assert got.dtype == want.dtype
        if want.dtype.kind in "bi":
            np.testing.assert_array_equal(got, want)
        else:
            np.testing.assert_allclose(got, want, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_of_floats(name: str) -> None:
    check(FUNCTIONS[name], FLOATS)


@pytest.mark.parametrize("name", [name for name in FUNCTIONS if name not in ("python division", "members")])
def test_functions_of_integers(name: str) -> None:
    check(FUNCTIONS[name], WHOLE)


@pytest.mark.parametrize("name", ["where", "clip", "columns", "extremes", "in order", "statistics", "bins", "interp"])
def test_functions_of_missing_values(name: str) -> None:
    check(FUNCTIONS[name], WITH_NAN)


@pytest.mark.parametrize(
    "function",
    [
        np.nan_to_num,
        lambda X: np.nan_to_num(X, nan=-1.0, posinf=9.0, neginf=-9.0),
        lambda X: np.c_[np.nansum(X, axis=1), np.nanmean(X, axis=1), np.nanmax(X, axis=1), np.nanstd(X, axis=1)],
        lambda X: np.where(np.isnan(X), 0, X),
    ],
)
def test_functions_that_look_for_nan(function: Any) -> None:
    rows = WITH_NAN.copy()
    rows[3] = [np.inf, -np.inf, 1.0, 2.0]
    with np.errstate(invalid="ignore"):
        check(function, rows)


def test_limits_of_nan_to_num_are_those_of_the_rows_type() -> None:
    rows = np.array([[np.inf, -np.inf, np.nan, 1.0]], np.float32)
    np.testing.assert_array_equal(answers(FunctionTransformer(np.nan_to_num).fit(rows), rows), np.nan_to_num(rows))


HARD = [
    np.nan,
    np.inf,
    -np.inf,
    0.0,
    -0.0,
    1,
    -1,
    0.1,
    -0.1,
    0.5,
    2.5,
    -2.5,
    3,
    1e-9,
    -1e-9,
    1e9,
    -1e9,
    1e200,
    -7.3,
    1e-300,
]
OF_BOOLS = {"bitwise_and", "bitwise_or", "bitwise_xor", "invert"}


@pytest.mark.parametrize("name", sorted(NAMES - OF_BOOLS))
def test_elementwise_functions_at_hard_numbers(name: str) -> None:
    ufunc = getattr(np, name, None) or getattr(special, name)
    rows = np.array([(a, b) for a in HARD for b in HARD])
    with np.errstate(all="ignore"):
        if ufunc.nin == 1:
            model = FunctionTransformer(ufunc).fit(rows)
        else:
            model = FunctionTransformer(lambda X: ufunc(X[:, 0], X[:, 1])).fit(rows)
        want = model.transform(rows)
        got = answers(model, rows)
        assert got.dtype == want.dtype
        np.testing.assert_allclose(got.astype(float), want.astype(float), rtol=1e-12, atol=0)


@pytest.mark.parametrize("opset", [13, 18, 28])
def test_other_opsets(opset: int) -> None:
    def function(X: Any) -> Any:
        return np.c_[np.log1p(np.abs(X)), np.clip(X, -1, 1), X.std(axis=1), np.sort(X, axis=1), np.round(X, 1), X % 2]

    model = FunctionTransformer(function).fit(FLOATS)
    session = onnxruntime.InferenceSession(to_onnx(model, FLOATS[:2], target_opset=opset).SerializeToString())
    np.testing.assert_allclose(session.run(None, {"X": FLOATS})[0], model.transform(FLOATS), rtol=1e-12, atol=1e-14)


def test_a_whole_matrix_is_one_node() -> None:
    rows = np.ones((3, 500))
    proto = to_onnx(FunctionTransformer(lambda X: np.sqrt(X) * 2 + X).fit(rows), rows)
    assert sorted(node.op_type for node in proto.graph.node) == ["Add", "Mul", "Sqrt"]


def test_arguments_inverse_and_a_model_behind() -> None:
    check(powers, FLOATS, kw_args={"power": 3})
    check(special.softmax, FLOATS, kw_args={"axis": 1})
    inverse = FunctionTransformer(np.exp, np.log).fit(FLOATS)
    rows = np.abs(FLOATS)
    session = onnxruntime.InferenceSession(
        to_onnx(inverse, rows[:2], outputs=("inverse_transform",)).SerializeToString()
    )
    np.testing.assert_allclose(session.run(None, {"X": rows})[0], np.log(rows), rtol=1e-12)
    model = make_pipeline(FunctionTransformer(guarded), Ridge()).fit(FLOATS, FLOATS[:, 0])
    np.testing.assert_allclose(answers(model, FLOATS).ravel(), model.predict(FLOATS), rtol=1e-9)


def test_what_the_function_writes_stays_inside() -> None:
    def writes(X: Any) -> Any:
        X[:, 0] = 0
        return X

    before = FLOATS.copy()
    check(writes, before.copy())
    assert guarded.__globals__["np"] is np


REFUSED: dict[str, tuple[Callable[[Any], Any], str]] = {
    "branches": (lambda X: X if X[0, 0] > 1 else -X, "decides by values"),
    "single numbers": (lambda X: X * float(X[0, 0]), "decides by values"),
    "math": (lambda X: np.array([[math.log(abs(v)) for v in row] for row in X]), "Python's own"),
    "column mean": (lambda X: X - X.mean(axis=0), "different rows meet"),
    "over all": (lambda X: X / X.max(), "along axis None"),
    "running over rows": (lambda X: np.cumsum(X, axis=0), "different rows meet"),
    "rows in order": (lambda X: np.sort(X, axis=0), "different rows meet"),
    "other order": (lambda X: X[::-1], "another order"),
    "every second": (lambda X: X[::2], "shape"),
    "chosen rows": (lambda X: X[X[:, 0] > 0], "selects rows"),
    "random": (lambda X: X + np.random.default_rng(0).normal(size=X.shape), "different ways"),
    "row numbers": (lambda X: np.c_[X, np.arange(len(X))], "different ways"),
    "number of rows": (lambda X: X / len(X), "number of rows"),
    "branch by the number of rows": (lambda X: X if len(X) > 9 else -X, "number of rows"),
    "unique": (np.unique, "numpy.unique"),
    "kinds of values": (np.vectorize(lambda v: 0.0 if isinstance(v, float) else 1.0), "what a value is"),
    "types": (lambda X: X if type(X) is np.ndarray else -X, "Python's type"),
    "as text": (np.vectorize(lambda v: len(str(v))), "Python's str"),
    "where=": (lambda X: np.add(X, 1, where=X > 2), "where"),
    "other libraries": (normalize, "cannot be traced"),
    "half precision": (lambda X: X.astype(np.float16), "float16"),
    "methods": (lambda X: X.argpartition(1), "numpy.ndarray.argpartition"),
    "text": (lambda X: "text", "returns str"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_functions_that_cannot_be_traced(name: str) -> None:
    function, reason = REFUSED[name]
    with pytest.raises(UnsupportedParameter, match="cannot be traced") as raised:
        to_onnx(FunctionTransformer(function), FLOATS[:2])
    assert reason in str(raised.value)


def test_integers_that_may_divide_by_zero_or_wrap_around_are_refused() -> None:
    with pytest.raises(UnsupportedParameter, match="may be 0"):
        to_onnx(FunctionTransformer(lambda X: X // X[:, :1]), WHOLE)
    with pytest.raises(UnsupportedParameter, match="wraps around"):
        to_onnx(FunctionTransformer(lambda X: X - 5), WHOLE.astype(np.uint8))
