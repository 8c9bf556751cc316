"""Converts a model of a boosting library, runs it, and compares every method with the library on the same rows."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import onnx
import onnx_ir
from tree_harness import session

from any2onnx.converters.sklearn.context import class_key
from any2onnx.converters.sklearn.walk import build_sklearn
from any2onnx.data_types import tensor_type
from any2onnx.graph import Opsets
from any2onnx.operator_mappings.registry import default_registry
from any2onnx.options import Options
from any2onnx.passes.pipeline import optimize

Array = np.ndarray[Any, Any]
OPSETS: list[Any] = [13, 15, 21, 28, {"": 21, "ai.onnx.ml": 1}]
ROW_OF = {
    row.key: row
    for row in default_registry().rows("sklearn")
    if row.key.startswith(("xgboost", "lightgbm", "catboost"))
}


def methods_of(model: Any) -> tuple[str, ...]:
    row = ROW_OF[class_key(type(model))]
    return tuple(m for m in row.methods if hasattr(model, row.called.get(m, m)))


def convert(
    model: Any, X: Array, methods: Any = None, opset: Any = None, options: Any = None, types: Any = None
) -> onnx.ModelProto:
    built = build_sklearn(
        model,
        initial_types=types or [("x", tensor_type(X.dtype, [None, X.shape[1]]))],
        opsets=Opsets.of(opset),
        registry=default_registry(),
        options=Options(options),
        outputs=methods or methods_of(model),
    )
    return onnx_ir.to_proto(optimize(built))


def expected(model: Any, X: Any, method: str) -> Array:
    """What the library itself gives: raw scores and leaves are arguments or methods of its own."""
    package = type(model).__module__.partition(".")[0]
    if package == "xgboost":
        return _xgboost(model, X, method)
    if package == "lightgbm":
        more = {"decision_function": {"raw_score": True}, "apply": {"pred_leaf": True}}
        if method in more:
            return np.asarray(model.predict(X, **more[method]))
    if package == "catboost":
        from catboost import CatBoost

        if method == "decision_function":
            return np.asarray(CatBoost.predict(model, X, prediction_type="RawFormulaVal"))
        if method == "apply":
            return np.asarray(model.calc_leaf_indexes(X)).astype(np.int64)
    return np.asarray(getattr(model, method)(X))


def _xgboost(model: Any, X: Any, method: str) -> Array:
    import xgboost

    if isinstance(model, xgboost.Booster):
        more = {"decision_function": {"output_margin": True}, "apply": {"pred_leaf": True}}
        found = model.predict(xgboost.DMatrix(X), **more.get(method, {}))
    elif method == "decision_function":
        found = model.predict(X, output_margin=True)
    else:
        found = getattr(model, method)(X)
    return np.asarray(found, np.int64) if method == "apply" else np.asarray(found)


def compare(name: str, want: Array, got: Array, tolerance: float) -> None:
    """Labels and leaves equal; numbers within the tolerance of their scale."""
    assert got.shape == want.shape, (name, got.shape, want.shape)
    if got.dtype.kind != "f" or want.dtype.kind != "f":
        assert np.array_equal(got, want.astype(got.dtype)), (name, np.flatnonzero(got != want)[:5])
        return
    finite = np.isfinite(want)
    assert np.array_equal(np.isfinite(got), finite), name
    assert np.array_equal(got[~finite], want[~finite].astype(got.dtype), equal_nan=True), name
    worst = np.abs(got[finite] - want[finite]).max(initial=0.0) / np.abs(want[finite]).max(initial=1.0)
    assert worst <= tolerance, (name, worst)


def check(
    model: Any,
    X: Array,
    *,
    opsets: Any = (13, 21),
    dtypes: Any = (np.float32, np.float64),
    wide: float = 1e-12,
    narrow: float = 5e-7,
    leave_out: tuple[str, ...] = (),
) -> None:
    """Every method, batch 0, 1 and many, in each type, against the library.

    Args:
        model: Fitted.
        X: Rows.
        opsets: To write.
        dtypes: Of the rows.
        wide: Tolerance for float64 rows, of the scale.
        narrow: For float32 rows.
        leave_out: Methods that the model has no result for.
    """
    methods = tuple(m for m in methods_of(model) if m not in leave_out)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for dtype in dtypes:
            rows = X.astype(dtype)
            want = {m: expected(model, rows, m) for m in methods}
            for opset in opsets:
                s = session(convert(model, rows, methods, opset))
                for count in (len(rows), 1, 0):
                    answers = s.run(None, {"x": rows[:count]})
                    for method, got in zip(methods, answers, strict=True):
                        floats = np.float64 if dtype == np.float64 else np.float32
                        assert got.dtype.kind != "f" or method == "predict" or got.dtype == floats, method
                        part = want[method][:count]
                        compare(
                            f"{method} {np.dtype(dtype)} {opset}", part, got, wide if floats == np.float64 else narrow
                        )
