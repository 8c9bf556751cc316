"""Converts one estimator through the translator, runs it, and compares every method with scikit-learn."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx_ir
import onnxruntime

from any2onnx.converters.sklearn.context import class_key
from any2onnx.converters.sklearn.walk import build_sklearn
from any2onnx.data_types import tensor_type
from any2onnx.graph import Opsets
from any2onnx.operator_mappings.registry import default_registry
from any2onnx.operator_mappings.sklearn_trees import ROWS
from any2onnx.options import Options
from any2onnx.passes.pipeline import optimize

OPSETS: list[Any] = [13, 15, 18, 21, 28, {"": 21, "ai.onnx.ml": 1}]
ROW_OF = {row.key: row for row in ROWS}
LISTS = ("predict_proba", "predict_log_proba")


def convert(
    estimator: Any,
    X: Any,
    methods: tuple[str, ...] | None = None,
    opset: Any = None,
    options: dict[str, Any] | None = None,
    columns: bool = False,
) -> onnx.ModelProto:
    """`X` tells the types: an array, or with `columns` a list of arrays [n, 1], one per column."""
    arrays = X if columns else [X]
    built = build_sklearn(
        estimator,
        initial_types=[(f"x{k}", tensor_type(a.dtype, [None, a.shape[1]])) for k, a in enumerate(arrays)],
        opsets=Opsets.of(opset),
        registry=default_registry(),
        options=Options(options),
        outputs=methods if methods is not None else methods_of(estimator),
    )
    # With the passes that every conversion runs.
    return onnx_ir.to_proto(optimize(built))


def methods_of(estimator: Any) -> tuple[str, ...]:
    return tuple(m for m in ROW_OF[class_key(type(estimator))].methods if hasattr(estimator, m))


def session(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    onnx.checker.check_model(model, full_check=True)
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = 1
    settings.log_severity_level = 3
    return onnxruntime.InferenceSession(model.SerializeToString(), settings)


def run(model: onnx.ModelProto, *arrays: Any) -> dict[str, Any]:
    s = session(model)
    answers = s.run(None, {i.name: a for i, a in zip(s.get_inputs(), arrays, strict=True)})
    return dict(zip([o.name for o in s.get_outputs()], answers, strict=True))


def expected(estimator: Any, X: Any, method: str) -> dict[str, Any]:
    with np.errstate(divide="ignore"):
        answer = getattr(estimator, method)(X)
    if method == "decision_path":
        answer = answer[0] if isinstance(answer, tuple) else answer
    if method in LISTS and isinstance(answer, list):
        return {f"{method}_{k}": a for k, a in enumerate(answer)}
    return {method: answer.toarray() if hasattr(answer, "toarray") else np.asarray(answer)}


def compare(name: str, want: Any, got: Any, double: bool, *, rtol32: float = 2e-6) -> None:
    """Labels, leaves and paths equal; numbers to 1e-9 of their scale in float64, to a few ulp in float32."""
    assert got.shape == want.shape, (name, got.shape, want.shape)
    if want.dtype.kind not in "f" or got.dtype.kind not in "f":
        assert np.array_equal(got, want.astype(got.dtype)), name
        return
    assert got.dtype == (np.float64 if double else np.float32), (name, got.dtype)
    finite = np.isfinite(want)
    assert np.array_equal(np.isfinite(got), finite), name
    assert np.array_equal(got[~finite], want[~finite].astype(got.dtype), equal_nan=True), name
    scale = np.abs(want[finite]).max(initial=1.0)
    worst = np.abs(got[finite] - want[finite]).max(initial=0.0) / scale
    assert worst <= (1e-9 if double else rtol32), (name, worst)


def check(estimator: Any, X: np.ndarray[Any, Any], opset: Any = None, **how: Any) -> None:
    """All methods, batch 0, 1 and many, against scikit-learn on the same rows."""
    model = convert(estimator, X, opset=opset, **how)
    s = session(model)
    names = [o.name for o in s.get_outputs()]
    for rows in (len(X), 1, 0):
        got = dict(zip(names, s.run(None, {"x0": X[:rows]}), strict=True))
        for method in methods_of(estimator):
            for name, want in expected(estimator, X[: max(rows, 1)], method).items():
                if rows and method == "predict" and hasattr(estimator, "classes_"):
                    assert got[name].shape == want.shape, name
                    assert np.array_equal(got[name], want), name
                elif rows:
                    compare(name, want, got[name], np.result_type(X.dtype, np.float32) == np.float64)
                else:
                    assert got[name].shape == (0, *want.shape[1:]), name
