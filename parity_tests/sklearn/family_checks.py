"""Every wanted method of a fitted estimator against scikit-learn, in both float types, at batch 0, 1 and many."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime

from any2onnx.converters.finish import Finish, finish
from any2onnx.converters.sklearn.walk import build_sklearn, types_from_sample
from any2onnx.graph.opsets import Opsets
from any2onnx.operator_mappings.user_layer import current_registry
from any2onnx.options import Options

_PSEUDO = {"predict_std": "return_std", "predict_cov": "return_cov"}


def proto_of(model: Any, X: Any, methods: Sequence[str], *, opset: int = 21, options: Any = None) -> onnx.ModelProto:
    """Return the finished model."""
    built = build_sklearn(
        model,
        initial_types=types_from_sample(X),
        opsets=Opsets.of(opset),
        registry=current_registry(),
        options=Options(options),
        outputs=methods,
    )
    return finish(built, Finish(framework="scikit-learn"))


def session_of(proto: onnx.ModelProto) -> onnxruntime.InferenceSession:
    """Return a session with one thread."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])


def expected(model: Any, method: str, X: Any) -> list[np.ndarray]:
    """Return scikit-learn's arrays for one method."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        flag = _PSEUDO.get(method)
        result = model.predict(X, **{flag: True})[1] if flag else getattr(model, method)(X)
    results = list(result) if isinstance(result, tuple | list) else [result]
    return [r.toarray() if hasattr(r, "toarray") else np.asarray(r) for r in results]


def close(got: np.ndarray, want: np.ndarray, *, double: bool, what: str, limit: float | None = None) -> None:
    """Labels and shapes equal; floats within 1e-9 (float64) or a few ulp (float32) of the output's scale."""
    assert got.shape == want.shape, f"{what}: shape {got.shape}, scikit-learn gives {want.shape}"
    if want.dtype.kind in "OUS":
        assert [str(v) for v in got.ravel()] == [str(v) for v in want.ravel()], what
        return
    if want.dtype.kind in "biu" or got.dtype.kind in "biu":
        np.testing.assert_array_equal(got, want, err_msg=what)
        return
    assert got.dtype == (np.float64 if double else np.float32), f"{what}: {got.dtype}"
    finite = np.isfinite(want)
    np.testing.assert_array_equal(got[~finite], want[~finite], err_msg=what)
    if finite.any():
        scale = max(float(np.max(np.abs(want[finite]))), 1e-30)
        error = float(np.max(np.abs(got[finite].astype(np.float64) - want[finite]))) / scale
        allowed = limit or (1e-9 if double else 1e-6)
        assert error <= allowed, f"{what}: error {error:.3g} of the scale {scale:.3g}"


def agree(
    model: Any,
    X: Any,
    methods: Sequence[str],
    *,
    dtypes: Sequence[Any] = (np.float32, np.float64),
    opset: int = 21,
    limit: float | None = None,
    options: Any = None,
) -> None:
    """Compare every method with scikit-learn, which is given the same numbers as float64."""
    for dtype in dtypes:
        rows = np.asarray(X).astype(dtype)
        session = session_of(proto_of(model, rows, methods, opset=opset, options=options))
        name = session.get_inputs()[0].name
        double = dtype == np.float64
        for part in (rows, rows[:1]):
            results = session.run(None, {name: part})
            want = [array for method in methods for array in expected(model, method, part.astype(np.float64))]
            assert len(results) == len(want)
            for k, (one, other) in enumerate(zip(results, want, strict=True)):
                what = f"{model} {methods} output {k} {np.dtype(dtype)} opset {opset} batch {len(part)}"
                close(np.asarray(one), other, double=double, what=what, limit=limit if double else None)
        if "predict_cov" not in methods:
            full = session.run(None, {name: rows[:1]})
            for empty, one in zip(session.run(None, {name: rows[:0]}), full, strict=True):
                assert empty.shape == (0, *one.shape[1:]), f"{model} batch 0: {empty.shape}"
