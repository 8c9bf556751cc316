"""The public functions of `keras.ops`: Keras against the traced function in onnxruntime, from `ops_table.py`."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

_HERE = Path(__file__).parent


def _module(file: str):
    name = f"keras_trace_{file}"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, _HERE / f"{file}.py")
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    return sys.modules[name]


NAMES = sorted({case.name for case in _module("ops_table").CASES})

# Of these, the ones whose graph differs between opsets, or that have a dtype of their own under some backend.
SAMPLE = [
    "add",
    "arange",
    "argmax",
    "average_pool",
    "batch_normalization",
    "cond",
    "conv",
    "conv_transpose",
    "cumprod",
    "einsum",
    "floor_divide",
    "gelu",
    "get_item",
    "hard_silu",
    "layer_normalization",
    "mod",
    "max_pool",
    "mean",
    "median",
    "norm",
    "one_hot",
    "pad",
    "quantile",
    "reshape",
    "scan",
    "silu",
    "softmax",
    "sort",
    "split",
    "squeeze",
    "sum",
    "take",
    "top_k",
    "tril",
    "var",
    "where",
    "while_loop",
]

# Here Keras itself refuses some of the table's calls under TensorFlow, PyTorch or JAX, or has another dtype.
OWN_WAY = ("get_item", "pad", "where", "while_loop")

# Keras itself gives other results under another backend, which the graph follows.
DIFFERENT = ("allclose", "dot", "heaviside", "isclose", "nancumprod", "nancumsum")

# Not functions of tensors that a graph could have.
NO_FUNCTIONS = {
    "image": "a module",
    "linalg": "a module",
    "nn": "a module",
    "numpy": "a module",
    "convert_to_numpy": "leaves the graph: refused with the user's line",
    "jvp": "a derivative: refused",
    "eig": "complex values: refused",
    "polar": "complex values: refused",
    "view_as_complex": "complex values: refused",
    "view_as_real": "complex values: refused",
    "image.elastic_transform": "noise of Keras's own generator: refused",
    "ctc_decode": "lists of paths: refused",
    "nextafter": "bits of floats: refused",
    "view": "bits of floats: refused",
}


def _run(tmp_path: Path, backend: str, opset: int, names: list[str]) -> dict[str, str]:
    return _run_opsets(tmp_path, backend, [opset], names)[str(opset)]


def _run_opsets(tmp_path: Path, backend: str, opsets: list[int], names: list[str]) -> dict[str, dict[str, str]]:
    output = tmp_path / f"{backend}.json"
    targets = ",".join(str(opset) for opset in opsets)
    command = [sys.executable, "-W", "ignore", str(_HERE / "run_ops.py"), backend, targets, str(output), *names]
    done = subprocess.run(command, capture_output=True, text=True, timeout=590, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(output.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return _run(tmp_path_factory.mktemp("ops"), "numpy", 21, [])


@pytest.mark.parametrize("name", NAMES)
def test_operation(results: dict[str, str], name: str) -> None:
    own = {case: what for case, what in results.items() if case.startswith(f"{name}-")}
    assert own
    assert {case: what for case, what in own.items() if what} == {}


@pytest.mark.parametrize("opset", [13, 18, 28])
def test_sample_at_opset(tmp_path: Path, opset: int) -> None:
    found = _run(tmp_path, "numpy", opset, SAMPLE)
    assert len(found) > len(SAMPLE)
    assert {case: what for case, what in found.items() if what} == {}


@pytest.mark.keras_backend
@pytest.mark.parametrize("backend", ["tensorflow", "torch", "jax"])
def test_sample_under_backend(tmp_path: Path, backend: str) -> None:
    names = [name for name in SAMPLE if name not in OWN_WAY] + [*DIFFERENT, "argpartition"]
    found = _run(tmp_path, backend, 21, names)
    assert len(found) > len(names)
    partitions = [found.pop(case) for case in list(found) if case.startswith("argpartition-")]
    assert {case: what for case, what in found.items() if what} == {}
    # It cuts floats to integers under two backends: refused by name there.
    assert all((backend == "jax") == (what == "") for what in partitions)
    assert backend == "jax" or all(what.startswith("refused: keras.ops.argpartition") for what in partitions)


@pytest.mark.slow
@pytest.mark.keras_backend
@pytest.mark.parametrize("part", range(4))
@pytest.mark.parametrize("backend", ["tensorflow", "torch", "jax", "numpy"])
def test_whole_table_under(tmp_path: Path, backend: str, part: int) -> None:
    run_ops = _module("run_ops")
    of_opset = _run_opsets(tmp_path, backend, [13, 18, 21, 28], NAMES[part::4])
    run = {case for found in of_opset.values() for case in found}
    refused = set()
    for opset, found in of_opset.items():
        for case, what in found.items():
            if what.startswith((run_ops.BY_KERAS, run_ops.BY_US)):
                refused.add(case)
            else:
                assert what == "", (opset, case)
    known = {case for where, case in run_ops.listed() if where == backend}
    assert (refused - known, (known & run) - refused) == (set(), set())


@pytest.mark.parametrize("name", ["ctc_decode", "nextafter", "view", "eig", "polar", "view_as_complex"])
def test_refused_operation_says_so(name: str) -> None:
    import keras
    import onnx_ir as ir

    from any2onnx.converters.keras.trace import trace
    from any2onnx.converters.translator import Translator
    from any2onnx.errors import Any2OnnxError
    from any2onnx.graph.builder import GraphBuilder
    from any2onnx.operator_mappings.keras_backend import ROWS
    from any2onnx.operator_mappings.registry import Registry

    calls = {
        "ctc_decode": lambda x: keras.ops.ctc_decode(x[:, :, None] + keras.ops.ones((4, 4, 3)), [4, 4, 4, 4]),
        "nextafter": lambda x: keras.ops.nextafter(x, x + 1),
        "view": lambda x: keras.ops.view(x, "int32"),
        "eig": keras.ops.eig,
        "polar": lambda x: keras.ops.polar(x, x),
        "view_as_complex": lambda x: keras.ops.view_as_complex(keras.ops.stack([x, x], axis=-1)),
    }
    g = GraphBuilder()
    x = g.input("x", ir.DataType.FLOAT, (4, 4))
    with pytest.raises(Any2OnnxError) as caught:
        trace(calls[name], [x], g=g, convert=Translator(Registry.of(ROWS), "keras", g).convert)
    assert caught.value.exit_code == 4


def test_every_public_operation_is_tried(capsys: pytest.CaptureFixture[str]) -> None:
    import keras

    public = [name for name in dir(keras.ops) if not name.startswith("_")]
    public += [f"image.{name}" for name in dir(keras.ops.image) if not name.startswith("_")]
    missing = [name for name in public if name not in NAMES and name not in NO_FUNCTIONS]
    with capsys.disabled():
        print(f"\nkeras.ops: {len(public) - len(missing)} of {len(public)} accounted for; without a case: {missing}")
    assert missing == MISSING


# Public names without a converter yet.
MISSING: list[str] = []
