"""Example calls of the public functions of `keras.ops`: name, function of the tensors, the tensors.

Every dim of size B is dynamic in the dynamic run. `o` is `keras.ops`.
"""

# A table: one call a line.
# ruff: noqa: C901, E501, PERF401, PLC3002

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

B = 9
"""Size of the batch in the examples; no other dim has it."""


@dataclass(frozen=True)
class OpCase:
    """One call of an operation.

    Attributes:
        name: Public name in keras.ops.
        call: `call(ops, *tensors)`.
        arrays: The tensors.
        opset: The lowest opset that has what it takes.
        tolerance: Relative to the scale of the output.
        label: Distinguishes calls of one operation.
        other_dtype: Keras's NumPy backend gives float64 here, the others float32.
        ties: Some results are halfway between integers, so that the noise of floats decides.
    """

    name: str
    call: Callable[..., Any]
    arrays: tuple[np.ndarray, ...]
    opset: int = 13
    tolerance: float = 1e-5
    label: str = ""
    other_dtype: bool = False
    ties: bool = False


def floats(*shape: int, low: float = -2.0, high: float = 2.0, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed + len(shape)).uniform(low, high, shape).astype(np.float32)


def ints(*shape: int, low: int = -5, high: int = 6, seed: int = 0, dtype: str = "int32") -> np.ndarray:
    return np.random.default_rng(seed).integers(low, high, shape).astype(dtype)


def bools(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 2, shape).astype(bool)


X = floats(B, 4)
Y = floats(B, 4, seed=1)
UNIT = floats(B, 4, low=-0.99, high=0.99)
POSITIVE = floats(B, 4, low=0.1, high=3.0)
SPECIAL = np.resize(
    np.array([[np.nan, np.inf, -np.inf, 0.0], [-0.0, 1.0, -1.0, 2.5], [0.5, -0.5, 1.5, np.nan]], np.float32), (B, 4)
)
I = ints(B, 4)  # noqa: E741 - integers
J = ints(B, 4, low=1, high=5, seed=1)
T = bools(B, 4)
U = bools(B, 4, seed=1)
IMAGE = floats(B, 6, 8, 2)
SEQUENCE = floats(B, 7, 2)
CUBE = floats(B, 4, 5)
BINS = np.array([-1.0, 0.0, 0.5, 1.0], np.float32)


def _unary() -> list[OpCase]:
    cases: list[OpCase] = []

    def add(names: str, *arrays: np.ndarray, **more: Any) -> None:
        for name in names.split():
            for array in arrays:
                cases.append(
                    OpCase(name, lambda o, x, name=name: getattr(o, name)(x), (array,), label=str(array.dtype), **more)
                )

    add("abs absolute fabs sign square negative", X, SPECIAL, I)
    add("ceil floor trunc round", floats(B, 4, low=-5, high=5), SPECIAL, I)
    add("exp exp2 expm1 sin cos tan sinh cosh tanh arctan arcsinh cbrt angle conj conjugate real imag copy", X)
    add("exp sin cos arctan tanh expm1 cbrt", I)
    add("arcsin arccos arctanh", UNIT)
    add("arccosh", POSITIVE + 1)
    add("log log10 log2 log1p sqrt reciprocal rsqrt", POSITIVE, SPECIAL)
    add("log sqrt", J)
    add("deg2rad rad2deg sinc i0", X, SPECIAL)
    add("isnan isinf isfinite isposinf isneginf isreal signbit", X, SPECIAL, I)
    add("nan_to_num", SPECIAL, I)
    add("logical_not", X, T, SPECIAL)
    add("bitwise_not bitwise_invert", I, T)
    add(
        "relu relu6 sigmoid softplus softsign silu swish log_sigmoid hard_sigmoid hard_silu hard_swish hard_tanh", X * 4
    )
    add(
        "selu elu celu gelu leaky_relu tanh_shrink sparse_plus sparse_sigmoid squareplus soft_shrink hard_shrink", X * 2
    )
    add("relu relu6", I)
    add("softmax log_softmax logsumexp", X, CUBE)
    add("sparsemax", X, CUBE, other_dtype=True)
    add("glu", X)
    add("erf erfc", X)
    add("erfinv", UNIT)
    add("sum mean max min prod var std any all amax amin ptp median count_nonzero argmax argmin", X, CUBE, I)
    add("sum mean max min any all argmax count_nonzero", T)
    add("nansum nanmean nanmax nanmin nanprod nanvar nanstd nanmedian nanargmax nanargmin", SPECIAL[1:], X)
    add("cumsum cumprod nancumsum nancumprod sort argsort", X, I)
    add("nancumsum nancumprod", SPECIAL)
    add("ravel transpose flip flipud fliplr diff", X, CUBE, T)
    add("squeeze", floats(4, 1, 5))
    add("ones_like zeros_like size ndim shape", X)
    add("trace diagonal tril triu diag diagflat nonzero", X)
    add("diag vander", floats(4))
    add("rot90", X, CUBE)
    add("stop_gradient is_tensor", X)
    add("det", floats(B, 4, 4), floats(4, 4))
    add("unstack", floats(4, 5))
    return cases


def _binary() -> list[OpCase]:
    cases: list[OpCase] = []

    def add(names: str, *pairs: tuple[Any, Any], **more: Any) -> None:
        for name in names.split():
            for x, y in pairs:
                if isinstance(y, np.ndarray):
                    label = f"{x.dtype}-{y.dtype}-{len(y.shape)}"
                    call = lambda o, a, b, name=name: getattr(o, name)(a, b)  # noqa: E731
                    cases.append(OpCase(name, call, (x, y), label=label, **more))
                else:
                    call = lambda o, a, y=y, name=name: getattr(o, name)(a, y)  # noqa: E731
                    cases.append(OpCase(name, call, (x,), label=f"{x.dtype}-{y}", **more))

    arithmetic = (
        (X, Y),
        (X, floats(4)),
        (I, J),
        (X, I),
        (I, 2),
        (X, 2),
        (I, 2.5),
        (X, np.float32(3) * np.ones(1, "float32")),
    )
    add("add subtract multiply", *arithmetic, (T, X), (T, I))
    add("divide true_divide divide_no_nan", *arithmetic)
    add("divide_no_nan", (X, T.astype("float32")), (I, I))
    add("maximum minimum fmax fmin", *arithmetic, (SPECIAL, X), (X, SPECIAL))
    add("mod floor_divide", (X, Y), (I, J), (I, -J), (I, 3), (I, -3), (X, 2), (X, -1.5))
    add("fmod", (X, Y), (I, J), (I, -J), (X, 2))
    add("power", (POSITIVE, Y), (X, 2), (X, 3), (I, 2), (J, J), (X, 0.5), (POSITIVE, -1))
    add(
        "equal not_equal less less_equal greater greater_equal",
        (X, Y),
        (I, J),
        (I, 2),
        (X, 0),
        (I, I),
        (T, U),
        (SPECIAL, X),
    )
    add("logical_and logical_or logical_xor", (T, U), (X, T), (I, J), (X, 0))
    add("bitwise_and bitwise_or bitwise_xor", (I, J), (T, U), (I, 3), opset=18)
    add("left_shift right_shift bitwise_left_shift bitwise_right_shift", (I, J))
    add("arctan2", (X, Y), (SPECIAL, X), (X, SPECIAL), (SPECIAL, SPECIAL))
    add("hypot logaddexp logaddexp2 heaviside", (X, Y), (SPECIAL, X))
    add("ldexp", (X, J))
    add("gcd lcm", (I, J), (I, 6))
    add("isclose allclose", (X, Y), (X, X + 1e-7), (SPECIAL, SPECIAL))
    add("isin", (I, np.array([1, 2, 4], "int32")))
    add("dot matmul", (X, floats(4, 5)), (floats(B, 5, 4), floats(4, 6)), (I, ints(4, 5)))
    add(
        "matmul",
        (floats(B, 5, 4), floats(B, 4, 6)),
        (X, floats(4)),
        (ints(B, 4, dtype="int8"), ints(4, 5, dtype="int8")),
    )
    add("dot", (X, floats(4)), (floats(B, 4), floats(5, 4, 6)), (X, 2.0))
    add("inner", (X, floats(5, 4)), (floats(4), floats(4)))
    add("vdot", (X, Y))
    add("outer", (X, floats(5)))
    add("kron", (X, floats(2, 2)))
    add(
        "cross",
        (floats(4, 3), floats(4, 3, seed=5)),
        (floats(4, 2), floats(4, 2, seed=5)),
        (floats(4, 3), floats(4, 2)),
    )
    add("append", (X, Y), (X, floats(5)))
    add("take", (CUBE, ints(2, 2, low=0, high=4)))
    add("digitize", (X, BINS))
    add("cdist", (floats(B, 4, 5), floats(B, 6, 5)))
    add("tensordot", (floats(B, 4, 5), floats(4, 5, 2)))
    return cases


def _other() -> list[OpCase]:
    cases: list[OpCase] = []

    def add(name: str, call: Callable[..., Any], *arrays: np.ndarray, **more: Any) -> None:
        label = more.pop("label", str(sum(c.name == name for c in cases)))
        cases.append(OpCase(name, call, arrays, label=label, **more))

    for name in [
        "sum",
        "mean",
        "max",
        "min",
        "prod",
        "var",
        "std",
        "any",
        "all",
        "amax",
        "amin",
        "ptp",
        "median",
        "logsumexp",
        "nansum",
        "nanmean",
        "nanmax",
        "nanmin",
        "nanprod",
        "nanvar",
        "nanstd",
        "nanmedian",
        "argmax",
        "argmin",
        "nanargmax",
        "nanargmin",
    ]:
        for axis in (0, -1, 1):
            for keepdims in (False, True):
                if name in ("nanargmax", "nanargmin") and axis == 0:
                    continue
                add(
                    name,
                    lambda o, x, n=name, a=axis, k=keepdims: getattr(o, n)(x, axis=a, keepdims=k),
                    CUBE,
                    label=f"axis{axis}{keepdims}",
                )
    for name in ["sum", "mean", "max", "var", "std", "any", "median", "logsumexp", "nanmean"]:
        add(name, lambda o, x, n=name: getattr(o, n)(x, axis=(1, 2)), CUBE, label="axes")
    add("max", lambda o, x: o.max(x, axis=1, initial=1.0), X)
    add("min", lambda o, x: o.min(x, initial=-9), X)
    add("count_nonzero", lambda o, x: o.count_nonzero(x, axis=1), I)
    add("average", lambda o, x: o.average(x, axis=1), X)
    add("average", lambda o, x, w: o.average(x, axis=1, weights=w), X, POSITIVE)
    add("average", lambda o, x, w: o.average(x, axis=1, weights=w), X, floats(4, low=0.1))
    add("clip", lambda o, x: o.clip(x, -1.0, 1.0), X)
    add("clip", lambda o, x: o.clip(x, -1, 2), I)
    add("clip", lambda o, x: o.clip(x, -1.0, 1.0), SPECIAL)
    add("round", lambda o, x: o.round(x, decimals=1), X)
    add("nan_to_num", lambda o, x: o.nan_to_num(x, nan=7.0, posinf=1.0, neginf=-1.0), SPECIAL)
    add("isclose", lambda o, x, y: o.isclose(x, y, equal_nan=True, rtol=0.5), SPECIAL, SPECIAL[::-1].copy())
    for axis in (0, 1, -1):
        for name in [
            "cumsum",
            "cumprod",
            "nancumsum",
            "nancumprod",
            "sort",
            "argsort",
            "flip",
            "softmax",
            "log_softmax",
            "sparsemax",
            "diff",
        ]:
            add(
                name,
                lambda o, x, n=name, a=axis: getattr(o, n)(x, axis=a),
                CUBE,
                label=f"axis{axis}",
                other_dtype=name == "sparsemax",
            )
    add("cumsum", lambda o, x: o.cumsum(x, axis=1, dtype="float32"), I)
    add("softmax", lambda o, x: o.softmax(x, axis=(1, 2)), CUBE)
    add("softmax", lambda o, x: o.softmax(x, axis=None), X)
    add("glu", lambda o, x: o.glu(x, axis=1), CUBE)
    add("diff", lambda o, x: o.diff(x, n=2), CUBE)
    add("sort", lambda o, x: o.sort(x, axis=None), X)
    add("argpartition", lambda o, x: o.take_along_axis(x, o.argpartition(x, 1, axis=-1), axis=-1)[:, 1:2], X)
    add("gelu", lambda o, x: o.gelu(x, approximate=False), X)
    add("elu", lambda o, x: o.elu(x, alpha=0.5), X)
    add("celu", lambda o, x: o.celu(x, alpha=0.5), X)
    add("leaky_relu", lambda o, x: o.leaky_relu(x, negative_slope=0.3), X)
    add("soft_shrink", lambda o, x: o.soft_shrink(x, 0.7), X)
    add("threshold", lambda o, x: o.threshold(x, 0.2, -3.0), X)
    # Shapes.
    add("reshape", lambda o, x: o.reshape(x, (-1, 2)), X)
    add("reshape", lambda o, x: o.reshape(x, (o.shape(x)[0], -1)), CUBE)
    add("reshape", lambda o, x: o.reshape(x, (x.shape[0] * 4, 5)), CUBE)
    add("reshape", lambda o, x: o.reshape(x, (5, o.shape(x)[0], 2, 2)), CUBE)
    add("transpose", lambda o, x: o.transpose(x, (2, 0, 1)), CUBE)
    add("swapaxes", lambda o, x: o.swapaxes(x, 0, -1), CUBE)
    add("moveaxis", lambda o, x: o.moveaxis(x, 0, -1), CUBE)
    add("moveaxis", lambda o, x: o.moveaxis(x, (0, 1), (-1, 0)), CUBE)
    add("expand_dims", lambda o, x: o.expand_dims(x, -1), X)
    add("expand_dims", lambda o, x: o.expand_dims(x, (0, 2)), X)
    add("squeeze", lambda o, x: o.squeeze(x, axis=1), floats(B, 1, 4))
    add("concatenate", lambda o, x, y: o.concatenate([x, y], axis=-1), X, Y)
    add("concatenate", lambda o, x, y: o.concatenate([x, y], axis=0), X, I)
    add("stack", lambda o, x, y: o.stack([x, y], axis=1), X, Y)
    for name in ("hstack", "vstack", "dstack"):
        add(name, lambda o, x, y, n=name: getattr(o, n)([x, y]), X, Y)
        add(name, lambda o, x, y, n=name: getattr(o, n)([x, y]), floats(4), floats(4, seed=3))
    add("split", lambda o, x: o.split(x, 2, axis=1), CUBE)
    add("split", lambda o, x: o.split(x, [1, 3], axis=-1), CUBE)
    add("array_split", lambda o, x: o.array_split(x, 2, axis=2), CUBE)
    add("hsplit", lambda o, x: o.hsplit(x, 2), X)
    add("vsplit", lambda o, x: o.vsplit(x, 2), floats(4, 5))
    add("dsplit", lambda o, x: o.dsplit(x, [1, 2]), CUBE)
    add("tile", lambda o, x: o.tile(x, (2, 1, 3)), X)
    add("tile", lambda o, x: o.tile(x, 2), T)
    add("repeat", lambda o, x: o.repeat(x, 2, axis=0), X)
    add("repeat", lambda o, x: o.repeat(x, 3), X)
    add("repeat", lambda o, x: o.repeat(x, [1, 0, 2, 1], axis=1), X)
    add("broadcast_to", lambda o, x: o.broadcast_to(x, (5, o.shape(x)[0], 4)), X)
    add("roll", lambda o, x: o.roll(x, 1), X)
    add("roll", lambda o, x: o.roll(x, (1, -2), axis=(0, 1)), CUBE)
    add("rot90", lambda o, x: o.rot90(x, k=3, axes=(1, 2)), CUBE)
    add("pad", lambda o, x: o.pad(x, ((0, 0), (1, 2))), X)
    add("pad", lambda o, x: o.pad(x, 1, constant_values=2.0), X)
    for mode in ("reflect", "symmetric", "edge", "wrap"):
        add("pad", lambda o, x, m=mode: o.pad(x, ((0, 0), (2, 1)), mode=m), X, label=mode)
    add("meshgrid", lambda o, x, y: o.meshgrid(x, y), floats(4), floats(5))
    add("meshgrid", lambda o, x, y: o.meshgrid(x, y, indexing="ij"), floats(4), floats(5))
    add("diag", lambda o, x: o.diag(x, k=-1), floats(4))
    add("diag", lambda o, x: o.diag(x, k=1), X)
    add("diagonal", lambda o, x: o.diagonal(x, offset=1, axis1=1, axis2=2), CUBE)
    add("trace", lambda o, x: o.trace(x, offset=-1, axis1=1, axis2=2), CUBE)
    add("tril", lambda o, x: o.tril(x, k=-1), CUBE)
    add("triu", lambda o, x: o.triu(x, k=1), CUBE)
    add("vander", lambda o, x: o.vander(x, 3, increasing=True), floats(4))
    # Creation from sizes.
    for name in ("ones", "zeros", "empty"):
        add(name, lambda o, x, n=name: getattr(o, n)((o.shape(x)[0], 2), dtype="int32") * 0, X)
    add("full", lambda o, x: o.full((x.shape[0], 2), 2.5), X)
    add("full_like", lambda o, x: o.full_like(x, 2), X)
    add("empty_like", lambda o, x: o.zeros_like(o.empty_like(x)), X)
    add("ones_like", lambda o, x: o.ones_like(x, dtype="int32"), X)
    add("arange", lambda o, x: o.arange(x.shape[0]), X)
    add("arange", lambda o, x: o.arange(1, x.shape[0] + 2, 2, dtype="float32"), X)
    add("arange", lambda o, x: x[:, 0] + o.arange(0, 1.0, 1 / x.shape[0])[: x.shape[0]], X)
    add("eye", lambda o, x: o.eye(x.shape[0], 4, k=1), X)
    add("identity", lambda o, x: o.identity(x.shape[0]), X)
    add("tri", lambda o, x: o.tri(x.shape[0], 5), X)
    add("linspace", lambda o, x, y: o.linspace(x, y, 5, axis=1), X, Y)
    add("linspace", lambda o, x: o.linspace(0, o.max(x), 5, endpoint=False), X)
    add("logspace", lambda o, x, y: o.logspace(x, y, 4), X, Y, tolerance=1e-4)
    add("geomspace", lambda o, x, y: o.geomspace(x, y, 4), POSITIVE, POSITIVE + 1)
    for name in ("bartlett", "blackman", "hamming", "hanning"):
        add(name, lambda o, x, n=name: getattr(o, n)(x.shape[0] + 3), X)
    add("kaiser", lambda o, x: o.kaiser(8, 5.0) * o.sum(x), X)
    add("array", lambda o, x: o.array([o.sum(x), 2.0, o.max(x)]), X)
    add("convert_to_tensor", lambda o, x: o.convert_to_tensor([x[0, 0], x[1, 1]]), X)
    add("cast", lambda o, x: o.cast(x, "int32"), X * 3)
    add("cast", lambda o, x: o.cast(x, "bool"), I)
    add("cast", lambda o, x: o.cast(x, "float64"), I)
    add("saturate_cast", lambda o, x: o.saturate_cast(x, "uint8"), X * 300)
    add("dtype", lambda o, x: o.zeros_like(x) + (o.dtype(x) == "float32"), X)
    # Indexing.
    indices = ints(B, 2, low=0, high=4)
    add("take", lambda o, x: o.take(x, [0, 2], axis=1), CUBE)
    add("take", lambda o, x, i: o.take(x, i, axis=-1), CUBE, ints(2, 2, low=-4, high=4))
    add("take_along_axis", lambda o, x, i: o.take_along_axis(x, i, axis=1), X, indices)
    add("take_along_axis", lambda o, x, i: o.take_along_axis(x, i), X, ints(2, low=0, high=4))
    add("get_item", lambda o, x: o.get_item(x, (slice(None), 1)), CUBE)
    for k, key in enumerate(
        [
            (slice(None), 0), -1, (Ellipsis, 1), (slice(None), None), (slice(None, None, -1), slice(1, None, 2)),
            (slice(None), [0, 2]), (slice(None), [0, 2], [1, 3]), (0, slice(None), [1, 2]), (slice(None), slice(-3, -1), -2),
            (Ellipsis, None, slice(0, 2)), ([1, 0], slice(None), [1, 2]),
        ]
    ):  # fmt: skip
        add("get_item", lambda o, x, key=key: x[key], CUBE, label=f"key{k}")
    add("get_item", lambda o, x, i: x[i], CUBE, ints(5, low=0, high=2), label="tensor")
    add("get_item", lambda o, x, i: x[:, o.cast(o.max(i), "int32") % 4], CUBE, J, label="scalar")
    add("get_item", lambda o, x: x[: x.shape[0] - 1], CUBE, label="size")
    add("where", lambda o, c, x, y: o.where(c, x, y), T, X, Y)
    add("where", lambda o, c, x: o.where(c, x, 0), T, X)
    add("where", lambda o, c: o.where(c), T)
    add("select", lambda o, c, d, x, y: o.select([c, d], [x, y], 9.0), T, U, X, Y)
    add("slice", lambda o, x: o.slice(x, (0, 1, 2), (2, 2, 3)), CUBE)
    add("slice_update", lambda o, x, u: o.slice_update(x, (0, 1), u), floats(5, 6), floats(2, 2))
    add("scatter", lambda o, i, v: o.scatter(i, v, (6, 4)), ints(B, 1, low=0, high=6), X, opset=16)
    add(
        "scatter_update",
        lambda o, x, i, u: o.scatter_update(x, i, u),
        floats(6, 4),
        np.array([[0], [2]], "int32"),
        floats(2, 4),
        opset=18,
    )
    for reduction in ("add", "max", "min", "mul"):
        add(
            "scatter_update",
            lambda o, x, i, u, r=reduction: o.scatter_update(x, i, u, reduction=r),
            floats(6, 4),
            np.array([[0, 1], [2, 3]], "int32"),
            floats(2),
            opset=18,
            label=reduction,
        )
    add("unravel_index", lambda o, i: o.unravel_index(i, (4, 5)), ints(6, low=0, high=20))
    add("unstack", lambda o, x: o.unstack(x, axis=1), CUBE)
    add("searchsorted", lambda o, s, v: o.searchsorted(s, v, side="right"), BINS, floats(6))
    add("searchsorted", lambda o, s, v: o.searchsorted(s, v), BINS, floats(6))
    add("bincount", lambda o, x: o.bincount(x, minlength=7), ints(6, low=0, high=5), opset=16)
    add("bincount", lambda o, x, w: o.bincount(x, weights=w, minlength=7), ints(6, low=0, high=5), floats(6), opset=16)
    add("histogram", lambda o, x: o.histogram(x, bins=4), floats(6))
    add("histogram", lambda o, x: o.histogram(x, bins=5, range=(-1.0, 1.0)), floats(6))
    for method in ("linear", "lower", "higher", "midpoint", "nearest"):
        add("quantile", lambda o, x, m=method: o.quantile(x, 0.3, axis=1, method=m), CUBE, label=method)
    add("quantile", lambda o, x: o.quantile(x, [0.1, 0.9], axis=(1, 2), keepdims=True), CUBE)
    add("nanquantile", lambda o, x: o.nanquantile(x, 0.4, axis=1), SPECIAL[1:])
    add("percentile", lambda o, x: o.percentile(x, [25, 75], axis=-1), X)
    add("nanpercentile", lambda o, x: o.nanpercentile(x, 40), SPECIAL[1:])
    add("trapezoid", lambda o, y: o.trapezoid(y, dx=0.5, axis=1), CUBE)
    add("trapezoid", lambda o, y, x: o.trapezoid(y, x), X, floats(4))
    # Products.
    add("einsum", lambda o, x, y: o.einsum("bij,bjk->bik", x, y), CUBE, floats(B, 5, 6))
    add("einsum", lambda o, x, y: o.einsum("abc,cde->abde", x, y), CUBE, floats(5, 2, 4))
    add("einsum", lambda o, x, y: o.einsum("btnh,bsnh->bnts", x, y), floats(B, 4, 2, 5), floats(B, 6, 2, 5))
    add("einsum", lambda o, x, y: o.einsum("abcd,cde->abe", x, y), floats(B, 4, 2, 5), floats(2, 5, 6))
    add("einsum", lambda o, x: o.einsum("bij->bji", x), CUBE)
    add("einsum", lambda o, x: o.einsum("bij->b", x), CUBE)
    add("einsum", lambda o, x, y: o.einsum("...i,ij->...j", x, y), CUBE, floats(5, 2))
    add("tensordot", lambda o, x, y: o.tensordot(x, y, axes=[[1], [0]]), CUBE, floats(4, 6))
    add("tensordot", lambda o, x, y: o.tensordot(x, y, axes=0), X, floats(2))
    add("norm", lambda o, x: o.norm(x), X)
    for order in (1, 2, 3, float("inf"), float("-inf"), 0):
        add("norm", lambda o, x, r=order: o.norm(x, ord=r, axis=-1), CUBE, label=f"v{order}")
    for order in ("fro", 1, -1, float("inf")):
        add("norm", lambda o, x, r=order: o.norm(x, ord=r, axis=(1, 2), keepdims=True), CUBE, label=f"m{order}")
    add("normalize", lambda o, x: o.normalize(x, axis=-1), X)
    add("logdet", lambda o, x: o.logdet(x), floats(4, 4) @ floats(4, 4).T + 4 * np.eye(4, dtype="float32"))
    # Neural networks.
    add("one_hot", lambda o, x: o.one_hot(x, 6), I)
    add("one_hot", lambda o, x: o.one_hot(x, 6, axis=1, dtype="int32"), I)
    add("multi_hot", lambda o, x: o.multi_hot(x, 6), J)
    add("moments", lambda o, x: o.moments(x, axes=(1, 2)), CUBE)
    add("moments", lambda o, x: o.moments(x, axes=0, keepdims=True), CUBE)
    add(
        "batch_normalization",
        lambda o, x, m, v: o.batch_normalization(x, m, v, axis=-1),
        X,
        floats(4),
        floats(4, low=0.5),
    )
    add(
        "batch_normalization",
        lambda o, x, m, v, s: o.batch_normalization(x, m, v, axis=1, scale=s, offset=m),
        CUBE,
        floats(4),
        floats(4, low=0.5),
        floats(4, seed=4),
    )
    add("layer_normalization", lambda o, x, s: o.layer_normalization(x, s, s), X, floats(4))
    add("rms_normalization", lambda o, x: o.rms_normalization(x), X)
    probabilities = POSITIVE / POSITIVE.sum(-1, keepdims=True)
    for logits in (False, True):
        add(
            "categorical_crossentropy",
            lambda o, t, x, f=logits: o.categorical_crossentropy(t, x, from_logits=f),
            probabilities,
            probabilities[::-1].copy(),
        )
        add(
            "sparse_categorical_crossentropy",
            lambda o, t, x, f=logits: o.sparse_categorical_crossentropy(t, x, from_logits=f),
            ints(B, low=0, high=4),
            probabilities,
        )
        add(
            "binary_crossentropy",
            lambda o, t, x, f=logits: o.binary_crossentropy(t, x, from_logits=f),
            T.astype("float32"),
            probabilities,
        )
    add("psnr", lambda o, x, y: o.psnr(x, y, 2.0), X, Y)
    heads = floats(B, 5, 2, 4)
    add("dot_product_attention", lambda o, q, k, v: o.dot_product_attention(q, k, v), heads, heads, heads)
    add(
        "dot_product_attention",
        lambda o, q, k, v: o.dot_product_attention(q, k, v, is_causal=True, scale=0.3),
        heads,
        heads,
        heads,
    )
    add(
        "dot_product_attention",
        lambda o, q, m: o.dot_product_attention(q, q, q, mask=m),
        heads,
        bools(B, 2, 5, 5) | np.eye(5, dtype=bool),
    )
    for padding in ("valid", "same"):
        for strides in (1, 2):
            more = f"{padding}{strides}"
            add(
                "conv",
                lambda o, x, k, p=padding, s=strides: o.conv(x, k, strides=s, padding=p),
                IMAGE,
                floats(3, 2, 2, 4),
                label=more,
            )
            add(
                "conv",
                lambda o, x, k, p=padding, s=strides: o.conv(x, k, strides=s, padding=p),
                SEQUENCE,
                floats(3, 2, 4),
                label="1d" + more,
            )
            add(
                "depthwise_conv",
                lambda o, x, k, p=padding, s=strides: o.depthwise_conv(x, k, strides=s, padding=p),
                IMAGE,
                floats(3, 2, 2, 2),
                label=more,
            )
            add(
                "separable_conv",
                lambda o, x, k, q, p=padding, s=strides: o.separable_conv(x, k, q, strides=s, padding=p),
                IMAGE,
                floats(3, 2, 2, 2),
                floats(1, 1, 4, 5),
                label=more,
            )
            for dilation, extra in ((1, None), (1, 1), (2, None)):
                if (dilation > 1 and strides > 1) or (extra is not None and extra >= strides):
                    continue
                add(
                    "conv_transpose",
                    lambda o, x, k, p=padding, s=strides, d=dilation, e=extra: o.conv_transpose(
                        x, k, strides=s, padding=p, dilation_rate=d, output_padding=e
                    ),
                    IMAGE,
                    floats(3, 4, 5, 2),
                    label=f"{more}{dilation}{extra}",
                )
            for name in ("max_pool", "average_pool"):
                add(
                    name,
                    lambda o, x, n=name, p=padding, s=strides: getattr(o, n)(x, 2, strides=s, padding=p),
                    IMAGE,
                    label=more,
                )
                add(
                    name,
                    lambda o, x, n=name, p=padding, s=strides: getattr(o, n)(x, 3, strides=s, padding=p),
                    SEQUENCE,
                    label="1d" + more,
                )
    add("conv_transpose", lambda o, x, k: o.conv_transpose(x, k, strides=3, padding="valid"), SEQUENCE, floats(2, 4, 2))
    add("conv", lambda o, x, k: o.conv(x, k, dilation_rate=2, padding="same"), IMAGE, floats(3, 3, 2, 4))
    add("conv", lambda o, x, k: o.conv(x, k), floats(B, 6, 6, 4), floats(3, 3, 2, 6), label="groups")
    add("conv", lambda o, x, k: o.conv(x, k), floats(B, 5, 6, 7, 2), floats(2, 3, 2, 2, 4), label="3d")
    add("max_pool", lambda o, x: o.max_pool(x, (2, 3), strides=(1, 2), padding="same"), IMAGE)
    for name in ("adaptive_average_pool", "adaptive_max_pool"):
        add(name, lambda o, x, n=name: getattr(o, n)(x, (3, 4)), IMAGE)
        add(name, lambda o, x, n=name: getattr(o, n)(x, (4, 5)), IMAGE)
        add(name, lambda o, x, n=name: getattr(o, n)(x, 3), SEQUENCE)
    channels = floats(B, 4, 6, 8)
    add("unfold", lambda o, x: o.unfold(x, 2), channels)
    add("unfold", lambda o, x: o.unfold(x, (3, 2), dilation=2, padding=1, stride=2), channels)
    add("fold", lambda o, x: o.fold(x, (5, 6), 2), floats(B, 8, 20))
    add("fold", lambda o, x: o.fold(x, (5, 6), (2, 2), padding=1, stride=2), floats(B, 8, 12))
    for layout in ("channels_last", "channels_first"):
        add("depth_to_space", lambda o, x, f=layout: o.depth_to_space(x, 2, data_format=f), floats(B, 8, 6, 8))
        add("space_to_depth", lambda o, x, f=layout: o.space_to_depth(x, 2, data_format=f), floats(B, 6, 4, 8))
    # Mathematics.
    ids = np.array([0, 2, 2, 0, 1, -1], "int32")
    for name in ("segment_sum", "segment_max", "segment_min", "segment_prod"):
        opset = 16 if name in ("segment_sum", "segment_prod") else 18
        add(name, lambda o, x, i, n=name: getattr(o, n)(x, i, num_segments=4), floats(6, 4), ids, opset=opset)
    add("segment_sum", lambda o, x: o.segment_sum(x, np.array([0, 0, 1, 2, 1, 0])), floats(6), opset=16)
    add("top_k", lambda o, x: o.top_k(x, 2), CUBE, other_dtype=True)
    add("in_top_k", lambda o, t, x: o.in_top_k(t, x, 2), ints(B, low=0, high=4), X)
    add("extract_sequences", lambda o, x: o.extract_sequences(x, 3, 2), floats(B, 10))
    add("fft", lambda o, x, y: o.fft((x, y)), CUBE, CUBE[::-1].copy(), opset=17)
    add("fft2", lambda o, x, y: o.fft2((x, y)), CUBE, CUBE[::-1].copy(), opset=17)
    add("ifft2", lambda o, x, y: o.ifft2((x, y)), CUBE, CUBE[::-1].copy(), opset=17)
    add("rfft", lambda o, x: o.rfft(x), CUBE, opset=17)
    add("rfft", lambda o, x: o.rfft(x, fft_length=8), CUBE, opset=17)
    add("irfft", lambda o, x, y: o.irfft((x, y)), CUBE, CUBE[::-1].copy())
    add("irfft", lambda o, x, y: o.irfft((x, y), fft_length=7), CUBE, CUBE[::-1].copy())
    add("stft", lambda o, x: o.stft(x, 8, 4, 8), floats(B, 32), opset=17)
    add("stft", lambda o, x: o.stft(x, 6, 4, 8, window="hamming", center=False), floats(B, 32), opset=17)
    add("istft", lambda o, x, y: o.istft((x, y), 8, 4, 8), floats(B, 7, 5), floats(B, 7, 5, seed=3))
    # Matrices.
    square = floats(B, 4, 4) + 3 * np.eye(4, dtype="float32")
    definite = (square @ np.swapaxes(square, 1, 2)).astype("float32")
    tall = floats(B, 6, 4)
    for name in ("inv", "slogdet", "logdet", "cholesky", "lu_factor"):
        add(name, lambda o, x, n=name: getattr(o, n)(x), definite)
        add(name, lambda o, x, n=name: getattr(o, n)(x), definite[0])
    add("slogdet", lambda o, x: o.slogdet(x), floats(B, 4, 4))
    add("lu_factor", lambda o, x: o.lu_factor(x), floats(4, 4))
    add("inv", lambda o, x: o.inv(x), floats(B, 5, 5))
    add("cholesky", lambda o, x: o.cholesky(x, upper=True), definite)
    add("cholesky_inverse", lambda o, x: o.cholesky_inverse(x), np.tril(definite[0]))
    add("cholesky_inverse", lambda o, x: o.cholesky_inverse(x, upper=True), np.triu(definite[0]))
    add("solve", lambda o, a, b: o.solve(a, b), floats(B, 4, 4), floats(B, 4, 2))
    add("solve", lambda o, a, b: o.solve(a, b), floats(4, 4), floats(4))
    add("solve_triangular", lambda o, a, b: o.solve_triangular(a, b, lower=True), square, floats(B, 4, 2))
    add("solve_triangular", lambda o, a, b: o.solve_triangular(a, b), square[0], floats(4))
    for mode in ("reduced", "complete"):
        add("qr", lambda o, x, m=mode: o.qr(x, mode=m), tall, label=mode)
        add("qr", lambda o, x, m=mode: o.qr(x, mode=m), floats(4, 6), label=mode + "wide")
    add("svd", lambda o, x: o.svd(x, compute_uv=False), tall)
    add("svd", lambda o, x: o.svd(x, compute_uv=False), floats(4, 6))
    add(
        "svd",
        lambda o, x: (lambda u, s, v: (o.abs(u), s, o.matmul(u * s[..., None, :], v)))(*o.svd(x, full_matrices=False)),
        tall,
    )
    add(
        "eigh",
        lambda o, x: (lambda w, v: (w, o.abs(v)))(*o.eigh(x)),
        definite - 12 * np.eye(4, dtype="float32"),
        tolerance=2e-5,
    )
    add("pinv", lambda o, x: o.pinv(x), tall)
    add("matrix_rank", lambda o, x: o.matrix_rank(x), np.concatenate([tall[:, :, :2], tall[:, :, :2]], -1))
    add("lstsq", lambda o, a, b: o.lstsq(a, b), tall[0], floats(6))
    add("corrcoef", lambda o, x: o.corrcoef(x), floats(4, 6))
    for mode in ("valid", "same", "full"):
        add("correlate", lambda o, x, y, m=mode: o.correlate(x, y, mode=m), floats(7), floats(4), label=mode)
        add(
            "correlate",
            lambda o, x, y, m=mode: o.correlate(x, y, mode=m),
            floats(4),
            floats(7),
            label=mode + "-swapped",
        )
    add("unique", lambda o, x: o.unique(x), ints(12))
    add("unique", lambda o, x: o.unique(x, return_index=True, return_inverse=True, return_counts=True), ints(12))
    # Images.
    pictures = floats(B, 6, 8, 3, low=0.05, high=1.0)
    for method in ("bilinear", "nearest", "bicubic", "lanczos3", "lanczos5"):
        for antialias in (False, True):
            for size in ((4, 12), (13, 5)):
                add(
                    "image.resize",
                    lambda o, x, m=method, a=antialias, s=size: o.image.resize(x, s, interpolation=m, antialias=a),
                    pictures,
                    label=f"{method}{antialias}{size[0]}",
                )
    add("image.resize", lambda o, x: o.image.resize(x, (5, 5), crop_to_aspect_ratio=True), pictures, label="crop")
    add(
        "image.resize",
        lambda o, x: o.image.resize(x, (5, 5), pad_to_aspect_ratio=True, fill_value=0.5),
        pictures,
        label="pad",
    )
    add(
        "image.resize",
        lambda o, x: o.image.resize(x, (5, 5), data_format="channels_first"),
        floats(B, 2, 6, 8),
        label="first",
    )
    add(
        "image.resize",
        lambda o, x: o.image.resize(x, (5, 5)),
        ints(B, 6, 8, 3, low=0, high=256, dtype="uint8"),
        label="uint8",
        ties=True,
    )
    for name in ("rgb_to_grayscale", "rgb_to_hsv", "hsv_to_rgb", "gaussian_blur", "sobel_edges"):
        add(f"image.{name}", lambda o, x, n=name: getattr(o.image, n)(x), pictures)
        add(
            f"image.{name}",
            lambda o, x, n=name: getattr(o.image, n)(x, data_format="channels_first"),
            np.moveaxis(pictures, -1, 1).copy(),
        )
    add("image.gaussian_blur", lambda o, x: o.image.gaussian_blur(x, kernel_size=(3, 5), sigma=(0.5, 2.0)), pictures)
    add(
        "image.scale_and_translate",
        lambda o, x: o.image.scale_and_translate(
            x, (B, 10, 8, 3), np.array([1.7], "float32"), np.array([0.3], "float32"), (1,), "bicubic"
        ),
        pictures,
    )
    add("image.crop_images", lambda o, x: o.image.crop_images(x, 1, 2, target_height=3, target_width=4), pictures)
    add("image.pad_images", lambda o, x: o.image.pad_images(x, 1, 2, target_height=9, target_width=11), pictures)
    add("image.extract_patches", lambda o, x: o.image.extract_patches(x, (2, 4)), pictures)
    add("image.extract_patches", lambda o, x: o.image.extract_patches(x, 3, strides=2, padding="same"), pictures)
    add("image.extract_patches_3d", lambda o, x: o.image.extract_patches_3d(x, 2), floats(B, 4, 6, 8, 2))
    add(
        "image.ssim",
        lambda o, x, y: o.image.ssim(x, y, 1.0, filter_size=3),
        pictures,
        pictures[::-1].copy(),
        tolerance=1e-4,
    )
    for mode in ("constant", "nearest", "wrap", "mirror", "reflect"):
        for order in (0, 1):
            # Half-way positions are rounded in several ways.
            where_to = floats(2, 5, 4, low=-7.0, high=14.0) * np.float32(1.013)
            add(
                "image.map_coordinates",
                lambda o, x, w, m=mode, r=order: o.image.map_coordinates(x, w, r, fill_mode=m, fill_value=0.5),
                floats(6, 8),
                where_to,
                label=f"{mode}{order}",
            )
        add(
            "image.affine_transform",
            lambda o, x, t, m=mode: o.image.affine_transform(x, t, fill_mode=m),
            pictures,
            floats(B, 8, low=0.5, high=1.5) * np.array([1, 0.3, 2, -0.2, 1, 1, 0, 0], "float32"),
            label=mode,
            tolerance=1e-4,
        )
    add(
        "image.affine_transform",
        lambda o, x, t: o.image.affine_transform(x, t, interpolation="nearest", data_format="channels_first"),
        floats(B, 2, 6, 8),
        np.tile(np.array([[1.13, 0.21, -0.73, 0.11, 0.92, 0.61, 0, 0]], "float32"), (B, 1)),
    )
    corners = np.array([[0, 0], [7, 0], [0, 5], [7, 5]], "float32")
    add(
        "image.perspective_transform",
        lambda o, x: o.image.perspective_transform(
            x, corners, corners + np.array([[1, 0.5], [-1, 1], [0.3, -1], [0, 0]], "float32")
        ),
        pictures,
        tolerance=1e-4,
    )
    lengths = ints(B, low=1, high=4)
    add(
        "ctc_loss",
        lambda o, t, x, n, m: o.ctc_loss(t, x, n, m),
        ints(B, 4, low=1, high=6),
        floats(B, 12, 6),
        lengths,
        ints(B, low=8, high=13),
        tolerance=1e-4,
    )
    # Control flow.
    add("cond", lambda o, x: o.cond(o.sum(x) > 0, lambda: x + 1, lambda: x * 2), X)
    add("switch", lambda o, i, x: o.switch(i, [lambda x: x, lambda x: x * 2, lambda x: -x], x), np.array(1, "int32"), X)
    add("while_loop", lambda o, x: o.while_loop(lambda i, y: i < 3, lambda i, y: (i + 1, y * 2), (0, x)), X)
    add(
        "while_loop",
        lambda o, x: o.while_loop(lambda y: o.sum(y) < 100, lambda y: y + 1, (x,), maximum_iterations=4),
        X,
    )
    add("fori_loop", lambda o, x: o.fori_loop(0, 3, lambda i, y: y + o.cast(i, "float32"), x), X)
    add("scan", lambda o, x: o.scan(lambda c, v: (c + v, c * v), o.zeros((5,)), x[0]), CUBE)
    add("scan", lambda o, x: o.scan(lambda c, v: (c + v, c * v), o.zeros((4,)), x, reverse=True), X)
    add("associative_scan", lambda o, x: o.associative_scan(lambda a, b: a + b, x), X, other_dtype=True)
    add(
        "associative_scan",
        lambda o, x: o.associative_scan(lambda a, b: a * b, x, axis=1, reverse=True),
        CUBE,
        other_dtype=True,
    )
    add("map", lambda o, x: o.map(lambda row: o.sum(row) * row, x), X)
    add("vectorized_map", lambda o, x: o.vectorized_map(lambda row: o.sum(row) * row, x), X)
    add("vectorize", lambda o, x: o.vectorize(lambda v: v * 2 + 1)(x), floats(4))
    add("custom_gradient", lambda o, x: o.custom_gradient(lambda v: (v * 2, None))(x), X)
    add("rearrange", lambda o, x: o.rearrange(x, "b h w -> b (h w)"), CUBE)
    return cases


CASES: tuple[OpCase, ...] = (*_unary(), *_binary(), *_other())
