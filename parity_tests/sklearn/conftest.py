"""Converting, running and comparing scikit-learn models, for all tests of this folder."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from family_checks import close

from any2onnx.converters.finish import check
from any2onnx.converters.sklearn.walk import build_sklearn, types_from_sample
from any2onnx.converters.sklearn.zipmap import zipmap_steps
from any2onnx.graph.opsets import Opsets
from any2onnx.io.save import to_proto
from any2onnx.operator_mappings.user_layer import current_registry
from any2onnx.options import Options

warnings.filterwarnings("ignore", module="sklearn")
OPSETS = (13, 18, 21, 28)


def convert_model(
    model: Any, X: Any = None, *, opset: Any = 21, options: Any = None, outputs: Any = None, **more: Any
) -> onnx.ModelProto:
    """Convert without the graph passes, so that the converters' own graphs are what is tested."""
    initial_types = more.pop("initial_types", None) or types_from_sample(X)
    built = build_sklearn(
        model,
        initial_types=initial_types,
        opsets=Opsets.of(opset),
        registry=current_registry(),
        options=Options(options),
        outputs=outputs,
        **more,
    )
    steps = zipmap_steps(built)
    proto = to_proto(built)
    for step in steps:
        proto = step(proto)
    check(proto)
    return proto


def feeds_of(session: onnxruntime.InferenceSession, X: Any) -> dict[str, np.ndarray]:
    """Return the inputs of a session for an array or a DataFrame."""
    inputs = session.get_inputs()
    if hasattr(X, "columns"):
        feeds = {}
        for item in inputs:
            column = np.asarray(X[item.name])
            feeds[item.name] = (column.astype(object) if item.type == "tensor(string)" else column).reshape(-1, 1)
        return feeds
    X = np.asarray(X)
    if len(inputs) > 1:
        return {item.name: _typed(X[:, k : k + 1], item.type) for k, item in enumerate(inputs)}
    return {inputs[0].name: X.astype(object) if inputs[0].type == "tensor(string)" else X}


def _typed(column: np.ndarray, kind: str) -> np.ndarray:
    names = {"tensor(string)": object, "tensor(float)": np.float32, "tensor(double)": np.float64}
    return column.astype(names.get(kind, np.int64))


def run_model(proto: onnx.ModelProto, X: Any) -> list[np.ndarray]:
    """Run in onnxruntime."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, feeds_of(session, X))


def dense(value: Any) -> np.ndarray:
    return value.toarray() if hasattr(value, "toarray") else np.asarray(value)


def compare_arrays(got: np.ndarray, expected: Any, *, double: bool, what: str) -> None:
    """Labels equal; floats within a few ulp of the output's scale (float32) or 1e-9 (float64)."""
    close(got, dense(expected), double=double, what=what, limit=1e-9 if double else 2e-6)


def compare_model(
    model: Any,
    X: Any,
    methods: tuple[str, ...],
    *,
    dtypes: tuple[Any, ...] = (np.float32, np.float64),
    opsets: tuple[int, ...] = (21,),
    **arguments: Any,
) -> None:
    """Compare every method at batch 1, many and 0, in each element type, with scikit-learn in float64."""
    for dtype in dtypes:
        rows = X if dtype is None else np.asarray(X).astype(dtype)
        for opset in opsets:
            proto = convert_model(model, rows, opset=opset, outputs=methods, **arguments)
            double = (dtype or rows.dtype) == np.float64 if isinstance(rows, np.ndarray) else _has_double(rows)
            for part in (rows, rows[:1]):
                results = run_model(proto, part)
                wide = part.astype(np.float64) if isinstance(part, np.ndarray) and part.dtype.kind == "f" else part
                expected = []
                for method in methods:
                    answer = getattr(model, method)(wide)
                    several = isinstance(answer, list)
                    expected += [(method, item) for item in (answer if several else [answer])]
                assert len(results) == len(expected)
                for got, (method, want) in zip(results, expected, strict=True):
                    what = f"{type(model).__name__}.{method} {dtype} opset {opset} batch {len(part)}"
                    # Labels that are floats keep their own type.
                    classes = getattr(model, "classes_", None)
                    label = method == "predict" and isinstance(classes, np.ndarray) and classes.dtype.kind == "f"
                    compare_arrays(got, want, double=double or label, what=what)
            for got, full in zip(run_model(proto, rows[:0]), run_model(proto, rows[:1]), strict=True):
                assert got.shape == (0, *full.shape[1:]), f"{type(model).__name__} batch 0: {got.shape}"


def _has_double(frame: Any) -> bool:
    kinds = {np.asarray(frame[name]).dtype for name in frame.columns}
    if np.dtype(np.float64) in kinds:
        return True
    if any(kind.kind in "OUT" for kind in kinds):
        return False
    return np.dtype(np.float32) not in kinds and bool(kinds & {np.dtype(np.int64), np.dtype(np.int32)})


@pytest.fixture(scope="session")
def compare() -> Callable[..., None]:
    return compare_model


@pytest.fixture(scope="session")
def convert() -> Callable[..., onnx.ModelProto]:
    return convert_model


@pytest.fixture(scope="session")
def run() -> Callable[..., list[np.ndarray]]:
    return run_model


@pytest.fixture(scope="session")
def iris() -> tuple[np.ndarray, np.ndarray]:
    from sklearn.datasets import load_iris

    X, y = load_iris(return_X_y=True)
    return X, y


@pytest.fixture(scope="session")
def diabetes() -> tuple[np.ndarray, np.ndarray]:
    from sklearn.datasets import load_diabetes

    X, y = load_diabetes(return_X_y=True)
    return X, y


@pytest.fixture(scope="session")
def frame() -> Any:
    """Return a mixed DataFrame with missing values, and two targets."""
    import pandas as pd

    rng = np.random.default_rng(0)
    n = 120
    data = pd.DataFrame(
        {
            "age": rng.integers(18, 90, n).astype(np.float64),
            "fare": rng.gamma(2, 20, n),
            "sex": rng.choice(["male", "female"], n),
            "port": rng.choice(["S", "C", "Q", "Ünü"], n, p=[0.6, 0.2, 0.15, 0.05]),
            "sibs": rng.integers(0, 5, n),
        }
    )
    data.loc[data.index % 7 == 0, "age"] = np.nan
    return data
