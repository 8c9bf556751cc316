"""numpy's functions on traced arrays: reductions, products, choices, and the moves of cells that numpy makes itself."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np

from any2onnx.converters.sklearn.tracing import forms
from any2onnx.converters.sklearn.tracing.array import TracedArray, apply, cells_of, choose, traced, truth, unary
from any2onnx.converters.sklearn.tracing.record import BOOL, FLOAT, INTEGER, Form, NotTraceable, Record


def _axis(x: TracedArray, axis: Any) -> int:
    if axis is None and x.ndim == 1:
        axis = 0
    if axis is None and x.ndim == 0:
        raise NotTraceable("a reduction of a single value")
    if not isinstance(axis, int | np.integer):
        raise NotTraceable(f"a reduction along axis {axis}")
    return int(axis) % x.ndim


def _along(
    name: str, form: Form, result: str | None, want: str = FLOAT, *, nothing: Any = None
) -> Callable[..., TracedArray]:
    """Return a reduction along one axis, in numpy's form."""

    def function(record: Record, x: Any, axis: Any = None, keepdims: Any = False, **more: Any) -> Any:
        _check_defaults(name, more)
        x = traced(record, x)
        if want == BOOL:
            x = truth(x)
        axis = _axis(x, axis)
        kind = result or (FLOAT if x.kind == FLOAT else INTEGER)
        cells = record.along(name, form, x.cells, axis, kind, want, width=1)
        return x._like(cells if keepdims is True else np.squeeze(cells, axis))

    return function


def _check_defaults(name: str, more: dict[str, Any]) -> None:
    for key, value in more.items():
        if key in ("out", "dtype", "where", "initial") and (value is None or value is np._NoValue or value is True):
            continue
        raise NotTraceable(f"numpy.{name} with {key}")


def _var(
    record: Record, x: Any, axis: Any = None, dtype: Any = None, out: Any = None, ddof: Any = 0, **more: Any
) -> Any:
    keepdims = more.pop("keepdims", False)
    ddof = more.pop("correction", ddof)
    _check_defaults("var", {"dtype": dtype, "out": out, **more})
    x = traced(record, x)
    axis = _axis(x, axis)
    apart = x - FUNCTIONS["mean"](record, x, axis, keepdims=True)
    return FUNCTIONS["sum"](record, apart * apart, axis, keepdims=keepdims) / (x.shape[axis] - ddof)


def _nan_sum(record: Record, x: Any, axis: Any = None, keepdims: Any = False, **more: Any) -> Any:
    _check_defaults("nansum", more)
    x = traced(record, x)
    if x.kind == FLOAT:
        x = choose(record, np.isnan(x), 0.0, x)
    return FUNCTIONS["sum"](record, x, axis, keepdims=keepdims)


def _nan_mean(record: Record, x: Any, axis: Any = None, keepdims: Any = False, **more: Any) -> Any:
    x = traced(record, x)
    present = FUNCTIONS["sum"](record, ~np.isnan(x), axis, keepdims=keepdims)
    return _nan_sum(record, x, axis, keepdims, **more) / present


def _nan_var(record: Record, x: Any, axis: Any = None, ddof: Any = 0, keepdims: Any = False, **more: Any) -> Any:
    x = traced(record, x)
    missing = np.isnan(x)
    apart = choose(record, missing, 0.0, x - _nan_mean(record, x, axis, True))
    present = FUNCTIONS["sum"](record, ~missing, axis, keepdims=keepdims) - ddof
    found = FUNCTIONS["sum"](record, apart * apart, axis, keepdims=keepdims, **more) / present
    return choose(record, present <= 0, np.nan, found)


def _nan_extreme(name: str, aside: float) -> Callable[..., Any]:
    def function(record: Record, x: Any, axis: Any = None, keepdims: Any = False, **more: Any) -> Any:
        x = traced(record, x)
        if x.kind != FLOAT:
            return FUNCTIONS[name](record, x, axis, keepdims=keepdims, **more)
        missing = np.isnan(x)
        found = FUNCTIONS[name](record, choose(record, missing, aside, x), axis, keepdims=keepdims, **more)
        return choose(record, FUNCTIONS["all"](record, missing, axis, keepdims=keepdims), np.nan, found)

    return function


def _squared(name: str) -> Callable[..., Any]:
    return lambda record, *args, **kwargs: np.sqrt(FUNCTIONS[name](record, *args, **kwargs))


def _count(record: Record, x: Any, axis: Any = None, *, keepdims: Any = False) -> Any:
    return FUNCTIONS["sum"](record, truth(traced(record, x)), axis, keepdims=keepdims)


def _norm(record: Record, x: Any, ord: Any = None, axis: Any = None, keepdims: Any = False) -> Any:  # noqa: A002
    x = traced(record, x).astype(np.float64)
    axis = _axis(x, axis)
    size = np.abs(x)
    if ord in (None, 2):
        return np.sqrt(FUNCTIONS["sum"](record, x * x, axis, keepdims=keepdims))
    if ord in (np.inf, -np.inf):
        return FUNCTIONS["max" if ord > 0 else "min"](record, size, axis, keepdims=keepdims)
    if ord == 0:
        return _count(record, x, axis, keepdims=keepdims)
    total = FUNCTIONS["sum"](record, size if ord == 1 else size**ord, axis, keepdims=keepdims)
    return total if ord == 1 else total ** (1.0 / ord)


def _row_form(name: str, make: Callable[[int], Form], result: str | None = FLOAT) -> Callable[..., Any]:
    """Return a function that gives as many cells along the axis as it takes."""

    def function(record: Record, x: Any, axis: Any = -1, **more: Any) -> Any:
        _check_defaults(name, {key: value for key, value in more.items() if value is not None})
        x = traced(record, x)
        axis = _axis(x, axis)
        width = x.shape[axis]
        kind = result or (FLOAT if x.kind == FLOAT else INTEGER)
        return x._like(record.along(name, make(width), x.cells, axis, kind, FLOAT, width=width))

    return function


def _greatest(name: str, op_type: str, of_bools: str) -> Callable[..., Any]:
    whole = _along(name, forms.extreme(op_type), None)

    def function(record: Record, x: Any, axis: Any = None, keepdims: Any = False, **more: Any) -> Any:
        kind = traced(record, x).kind
        return (FUNCTIONS[of_bools] if kind == BOOL else whole)(record, x, axis, keepdims, **more)

    return function


def _softmax(record: Record, x: Any, axis: Any = None) -> Any:
    x = traced(record, x)
    power = np.exp(x - FUNCTIONS["max"](record, x, axis, keepdims=True))
    return power / FUNCTIONS["sum"](record, power, axis, keepdims=True)


def _logsumexp(record: Record, x: Any, axis: Any = None, b: Any = None, keepdims: bool = False, **more: Any) -> Any:
    if b is not None or any(more.values()):
        raise NotTraceable("logsumexp with weights or signs")
    x = traced(record, x)
    top = FUNCTIONS["max"](record, x, axis, keepdims=True)
    # The logarithm of nothing is that of the greatest, as of infinity.
    top = choose(record, np.isfinite(top), top, 0.0)
    total = FUNCTIONS["sum"](record, np.exp(x - top), axis, keepdims=True)
    found = np.log(total) + top
    return found if keepdims else np.squeeze(found, axis)


# Functions of scipy.special in Python.
OF_SCIPY: Final[dict[str, Callable[..., Any]]] = {
    "softmax": _softmax,
    "log_softmax": lambda record, x, axis=None: x - _logsumexp(record, x, axis, keepdims=True),
    "logsumexp": _logsumexp,
}


def _cumsum(record: Record, x: Any, axis: Any = None, **more: Any) -> TracedArray:
    result: TracedArray = _row_form("cumsum", lambda _: forms.running_sum, None)(record, x, axis, **more)
    return result


def _quantile(record: Record, x: Any, q: Any, axis: Any = None, **more: Any) -> Any:
    keepdims = more.pop("keepdims", False)
    if more.pop("method", "linear") != "linear" or np.ndim(q):
        raise NotTraceable("numpy.quantile of several, or by another method")
    _check_defaults("quantile", more)
    x = traced(record, x)
    axis = _axis(x, axis)
    line = np.sort(x, axis=axis)
    place = float(np.float64(q)) * (x.shape[axis] - 1)
    low, high = int(np.floor(place)), int(np.ceil(place))
    below, above = np.take(line, [low], axis=axis), np.take(line, [high], axis=axis)
    found = below if low == high else below + (above - below) * (place - low)
    some = FUNCTIONS["any"](record, np.isnan(x), axis, keepdims=True)
    found = choose(record, some, np.nan, found)
    return found if keepdims else np.squeeze(found, axis)


def _average(record: Record, x: Any, axis: Any = None, weights: Any = None, keepdims: Any = False, **more: Any) -> Any:
    _check_defaults("average", more)
    x = traced(record, x)
    axis = _axis(x, axis)
    if weights is None:
        return FUNCTIONS["mean"](record, x, axis, keepdims=keepdims)
    shares = np.asarray(weights, np.float64)
    if shares.ndim == 1:
        shares = shares.reshape([-1 if k == axis else 1 for k in range(x.ndim)])
    return FUNCTIONS["sum"](record, x * shares, axis, keepdims=keepdims) / float(shares.sum())


def _clip(record: Record, x: Any, low: Any = None, high: Any = None, **more: Any) -> Any:
    low, high = more.pop("a_min", more.pop("min", low)), more.pop("a_max", more.pop("max", high))
    _check_defaults("clip", more)
    result = traced(record, x)
    if low is not None:
        result = np.maximum(result, low)
    return result if high is None else np.minimum(result, high)


def _round(record: Record, x: Any, decimals: int = 0, out: Any = None) -> Any:
    x = traced(record, x)
    if x.kind != FLOAT and decimals >= 0:
        return x
    return unary(x, f"round to {decimals}", forms.rounded(decimals), x.kind)


def _nan_to_num(
    record: Record, x: Any, copy: bool = True, nan: float = 0.0, posinf: Any = None, neginf: Any = None
) -> Any:
    x = traced(record, x)
    if x.kind != FLOAT:
        return x
    if not copy:
        raise NotTraceable("numpy.nan_to_num into its argument")
    high, low = posinf if posinf is not None else record.largest, neginf if neginf is not None else -record.largest
    finite = choose(record, np.isinf(x), choose(record, x > 0, high, low), x)
    return choose(record, np.isnan(x), nan, finite)


def _select(record: Record, conditions: Any, choices: Any, default: Any = 0) -> Any:
    result = default
    for condition, choice in zip(reversed(list(conditions)), reversed(list(choices)), strict=True):
        result = choose(record, condition, choice, result)
    return result


def _piecewise(record: Record, x: Any, conditions: Any, functions: Any, *args: Any, **kwargs: Any) -> Any:
    values = [part(x, *args, **kwargs) if callable(part) else part for part in functions]
    tests = list(conditions)
    result = traced(record, values[-1] if len(values) > len(tests) else 0.0)
    for test, value in zip(tests, values, strict=False):
        result = choose(record, test, value, result)
    return result if x.kind == FLOAT else result.astype(np.int64)


def _isclose(record: Record, a: Any, b: Any, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> Any:
    a, b = traced(record, a), traced(record, b)
    near = (np.abs(a - b) <= atol + rtol * np.abs(b)) & np.isfinite(b) | (a == b)
    return near | (np.isnan(a) & np.isnan(b)) if equal_nan else near


def _isin(record: Record, x: Any, values: Any, **more: Any) -> Any:
    _check_defaults("isin", {key: value for key, value in more.items() if value})
    x = traced(record, x)
    found = [x == value for value in np.asarray(values).ravel().tolist()]
    result = found[0] if found else (x != x) & (x == x)
    for item in found[1:]:
        result = result | item
    return result


def _count_bins(record: Record, x: Any, bins: Any, beyond: str) -> Any:
    edges = np.asarray(bins, np.float64)
    if np.any(np.diff(edges) < 0):
        raise NotTraceable("bins that fall")
    x = traced(record, x)
    return (~apply(record, beyond, x[..., None], edges)).sum(axis=-1)


def _digitize(record: Record, x: Any, bins: Any, right: bool = False) -> Any:
    return _count_bins(record, x, bins, "less_equal" if right else "less")


def _searchsorted(record: Record, bins: Any, x: Any, side: str = "left", sorter: Any = None) -> Any:
    if sorter is not None or isinstance(bins, TracedArray):
        raise NotTraceable("numpy.searchsorted in values")
    return _count_bins(record, x, bins, "less_equal" if side == "left" else "less")


def _interp(record: Record, x: Any, xp: Any, fp: Any, left: Any = None, right: Any = None, period: Any = None) -> Any:
    if period is not None or isinstance(xp, TracedArray) or isinstance(fp, TracedArray):
        raise NotTraceable("numpy.interp with points that are values, or a period")
    knots, heights = np.asarray(xp, np.float64), np.asarray(fp, np.float64)
    x = traced(record, x)
    result = traced(record, heights[0] if left is None else left)
    for k in range(len(knots) - 1):
        slope = (heights[k + 1] - heights[k]) / (knots[k + 1] - knots[k])
        result = choose(record, x >= knots[k], (x - knots[k]) * slope + heights[k], result)
    result = choose(record, x == knots[-1], heights[-1], result)
    result = choose(record, x > knots[-1], heights[-1] if right is None else right, result)
    return choose(record, np.isnan(x), x, result)


def _diff(record: Record, x: Any, n: int = 1, axis: int = -1, **more: Any) -> Any:
    _check_defaults("diff", {key: value for key, value in more.items() if value is not np._NoValue})
    x = traced(record, x)
    for _ in range(n):
        moved = np.moveaxis(x, axis, -1)
        x = np.moveaxis(moved[..., 1:] - moved[..., :-1], -1, axis)
    return x


def _matmul(record: Record, a: Any, b: Any) -> Any:
    """Matrix product; with constants on the right one MatMul, else by products and sums."""
    if not isinstance(a, TracedArray):
        a = np.asarray(a)
        return _matmul(record, b.T, a.T).T if b.ndim > 1 or a.ndim > 1 else _matmul(record, b, a)
    if not isinstance(b, TracedArray):
        weights = np.asarray(b, np.float64)
        if weights.ndim not in (1, 2):
            raise NotTraceable("a product with an array of more than two dims")
        wide = weights if weights.ndim == 2 else weights[:, None]
        if a.shape[-1] != len(wide):
            raise NotTraceable(f"a product of shapes {a.shape} and {weights.shape}")
        name = f"matmul {wide.shape} {hashlib.sha256(wide.tobytes()).hexdigest()}"
        kind = FLOAT if a.kind == FLOAT or np.asarray(b).dtype.kind == "f" else INTEGER
        cells = record.along(name, forms.product(wide), a.cells, -1, kind, FLOAT, width=wide.shape[1])
        return a._like(cells if weights.ndim == 2 else cells[..., 0])
    if b.ndim == 1:
        return (a * b).sum(axis=-1)
    if a.ndim == 1:
        return _matmul(record, a[None, :], b)[..., 0, :]
    product = a[..., :, :, None] * b[..., None, :, :]
    return product.sum(axis=-2)


def _einsum(record: Record, subscripts: Any, *operands: Any, **more: Any) -> Any:
    more.pop("optimize", None)
    if more or not isinstance(subscripts, str) or "." in subscripts:
        raise NotTraceable("numpy.einsum in this form")
    given, arrow, result = subscripts.replace(" ", "").partition("->")
    terms = given.split(",")
    letters = sorted(set("".join(terms)))
    if not arrow:
        result = "".join(letter for letter in letters if "".join(terms).count(letter) == 1)
    if any(len(set(term)) < len(term) for term in terms):
        raise NotTraceable("numpy.einsum of a diagonal")
    order = [*result, *(letter for letter in letters if letter not in result)]
    product: Any = None
    for term, operand in zip(terms, operands, strict=True):
        item = traced(record, operand)
        item = item.transpose([term.index(letter) for letter in order if letter in term])
        item = item[tuple(slice(None) if letter in term else None for letter in order)]
        product = item if product is None else product * item
    for _ in range(len(order) - len(result)):
        product = product.sum(axis=-1)
    return product


def _filled(number: Any) -> Callable[..., TracedArray]:
    def function(record: Record, x: Any, *args: Any, dtype: Any = None, **_: Any) -> TracedArray:
        value = args[0] if number is None else number
        x = traced(record, x)
        target = np.dtype(dtype) if dtype is not None else x.dtype
        filled = np.asarray(value).astype(target if target.kind in "bif" else np.asarray(value).dtype)
        return traced(record, np.broadcast_to(filled, x.shape))

    return function


def _along_axis(record: Record, function: Any, axis: int, x: Any, *args: Any, **kwargs: Any) -> Any:
    x = traced(record, x)
    moved = np.moveaxis(x, axis, -1)
    flat = moved.reshape(-1, moved.shape[-1])
    found = traced(record, [traced(record, function(row, *args, **kwargs)) for row in flat])
    result = found.reshape(*moved.shape[:-1], *found.shape[1:])
    return FUNCTIONS["moveaxis"](record, result, -1, axis) if found.ndim > 1 else result


def _moved(record: Record, function: Any, values: Sequence[int], args: Any, kwargs: Any) -> Any:
    """Let numpy move cells as it moves numbers."""
    names = ("values", "arrays", "arr", "a", "m", "x", "tup", "ary", "array", "constant_values")

    def cells(item: Any) -> Any:
        return [cells_of(record, part) for part in item] if isinstance(item, list | tuple) else cells_of(record, item)

    plain = [cells(item) if k in values else item for k, item in enumerate(args)]
    named = {key: cells(item) if key in names else item for key, item in kwargs.items() if key != "out"}
    if function.__name__ == "pad" and named.get("mode", plain[2] if len(plain) > 2 else "constant") == "constant":
        named.setdefault("constant_values", cells_of(record, 0))
    result = function(*plain, **named)
    if isinstance(result, list | tuple):
        return [TracedArray(record, np.asarray(part)) for part in result]
    return TracedArray(record, np.asarray(result))


# Positions of the arguments that hold values.
_FIRST_HOLDS_VALUES: Final = """
    concatenate concat stack hstack vstack dstack column_stack block reshape ravel squeeze expand_dims transpose
    permute_dims matrix_transpose swapaxes moveaxis rollaxis flip fliplr flipud roll rot90 delete take tile repeat
    split array_split hsplit vsplit dsplit broadcast_to resize pad diagonal unstack copy
"""
_STRUCTURAL: Final = {
    **dict.fromkeys(_FIRST_HOLDS_VALUES.split(), (0,)),
    **dict.fromkeys(("atleast_1d", "atleast_2d", "atleast_3d", "broadcast_arrays"), tuple(range(32))),
    "insert": (0, 2),
    "append": (0, 1),
}


def _structural(name: str, values: Sequence[int]) -> Callable[..., Any]:
    return lambda record, *args, **kwargs: _moved(record, getattr(np, name), values, args, kwargs)


FUNCTIONS: Final[dict[str, Callable[..., Any]]] = {
    **{name: _structural(name, values) for name, values in _STRUCTURAL.items()},
    "sum": _along("sum", forms.reduction("ReduceSum"), None),
    "mean": _along("mean", forms.reduction("ReduceMean"), FLOAT),
    "prod": _along("prod", forms.reduction("ReduceProd"), None),
    "max": _greatest("max", "ReduceMax", "any"),
    "min": _greatest("min", "ReduceMin", "all"),
    "any": _along("any", forms.flags("ReduceMax"), BOOL, BOOL),
    "all": _along("all", forms.flags("ReduceMin"), BOOL, BOOL),
    "argmax": _along("argmax", forms.position("ArgMax"), INTEGER),
    "argmin": _along("argmin", forms.position("ArgMin"), INTEGER),
    "var": _var,
    "std": _squared("var"),
    "nansum": _nan_sum,
    "nanmean": _nan_mean,
    "nanvar": _nan_var,
    "nanstd": _squared("nanvar"),
    "nanmax": _nan_extreme("max", -np.inf),
    "nanmin": _nan_extreme("min", np.inf),
    "count_nonzero": _count,
    "norm": _norm,
    "sort": _row_form("sort", lambda width: lambda g, x: forms.ordered(g, x, width), None),
    "cumsum": _cumsum,
    "cumulative_sum": _cumsum,
    "median": lambda record, x, axis=None, **more: _quantile(record, x, 0.5, axis, **more),
    "quantile": _quantile,
    "percentile": lambda record, x, q, axis=None, **more: _quantile(record, x, np.true_divide(q, 100), axis, **more),
    "ptp": lambda record, x, axis=None, keepdims=False, **more: (
        FUNCTIONS["max"](record, x, axis, keepdims=keepdims) - FUNCTIONS["min"](record, x, axis, keepdims=keepdims)
    ),
    "average": _average,
    "where": choose,
    "clip": _clip,
    "round": _round,
    "fix": lambda record, x: apply(record, "trunc", x),
    "sinc": lambda record, x: choose(record, x == 0, 1.0, np.sin(np.pi * x) / (np.pi * x)),
    "nan_to_num": _nan_to_num,
    "select": _select,
    "piecewise": _piecewise,
    "isclose": _isclose,
    "isin": _isin,
    "isneginf": lambda record, x: np.isinf(x) & (x < 0),
    "isposinf": lambda record, x: np.isinf(x) & (x > 0),
    "digitize": _digitize,
    "searchsorted": _searchsorted,
    "interp": _interp,
    "diff": _diff,
    "trapezoid": lambda record, y, x=None, dx=1.0, axis=-1: FUNCTIONS["sum"](
        record, (y[..., 1:] + y[..., :-1]) * (dx if x is None else np.diff(x)) / 2.0, axis
    ),
    "dot": _matmul,
    "inner": lambda record, a, b: _matmul(record, a, np.asarray(b).T if not isinstance(b, TracedArray) else b.T),
    "einsum": _einsum,
    "ones_like": _filled(1),
    "zeros_like": _filled(0),
    "empty_like": _filled(0),
    "full_like": _filled(None),
    "apply_along_axis": _along_axis,
    "astype": lambda record, x, dtype, **_: x.astype(dtype),
    "real": lambda record, x: x,
    "ndim": lambda record, x: x.ndim,
    "shape": lambda record, x: x.shape,
    "size": lambda record, x, axis=None: x.size if axis is None else x.shape[axis],
    "iscomplexobj": lambda record, x: False,
    "isrealobj": lambda record, x: True,
    "result_type": lambda record, *items: np.result_type(*(getattr(item, "dtype", item) for item in items)),
}
FUNCTIONS.update(amax=FUNCTIONS["max"], amin=FUNCTIONS["min"], around=FUNCTIONS["round"])
