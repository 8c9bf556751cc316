"""A saved model of every layer gives the same ONNX file under every Keras backend.

The models are made under one backend and saved as `.keras` files, from the configurations of the layer suite.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnx
import pytest

HERE = Path(__file__).parent
BACKENDS = ("tensorflow", "torch", "jax", "numpy")
# Layer and backends whose file is another one, in what, and why.
OTHER_NAMES = {
    "STFTSpectrogram": "TensorFlow copies the window before use, so that its constant is not named after the variable",
    "MelSpectrogram": "Keras computes the filters in the float32 of the backend, which differs in its last bits",
}
OTHER_NODES = {
    ("ContrastLimitedAdaptiveHistogramEqualization", "torch"): "PyTorch's own operators make int64 of truth values",
}
# Configurations that Keras's backends answer differently, and why: the loaded one is followed.
OWN_ANSWERS = {
    "Average()-3x4+3x4-int32": "means of integers of 32 bits are float64 under TensorFlow",
    "Resizing(height=4,width=5,interpolation=bicubic)": "TensorFlow, PyTorch and JAX have cubic kernels of their own",
}
# What Keras itself says of what a backend does not have.
NOT_THERE = re.compile(r"is not supported by the \w+ backend")


def run(folder: Path, backend: str, *arguments: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(HERE / "run_layer_bytes.py"), *arguments[:1], str(folder), *arguments[1:]],
        env={**os.environ, "KERAS_BACKEND": backend},
        capture_output=True,
        text=True,
        timeout=590,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.strip().splitlines()[-1])


def nodes(folder: Path, file: str, backend: str) -> list[Any]:
    """Return operators with their attributes, in order, and the shapes of the constants."""
    model = onnx.load(folder / f"{Path(file).stem}.{backend}.onnx")
    found: list[Any] = [sorted(tuple(tensor.dims) for tensor in model.graph.initializer)]
    for node in model.graph.node:
        attributes = sorted(a.SerializeToString(deterministic=True) for a in node.attribute)
        found.append((node.op_type, list(node.output), len(node.input), attributes))
    return found


def differences(folder: Path, backends: tuple[str, ...]) -> Iterator[str]:
    """Yield what differs between the files under the backends, beyond what is known above."""
    files = json.loads((folder / "contents.json").read_text(encoding="utf-8"))
    first, *others = backends
    of_first = run(folder, first, "convert")["digests"]
    assert set(of_first) == set(files)
    for backend in others:
        own = run(folder, backend, "convert")["digests"]
        for name, digest in of_first.items():
            layer = name.partition("(")[0]
            if own[name] == digest or (layer, backend) in OTHER_NODES or own[name].startswith("Keras:"):
                continue
            if name.startswith(tuple(OWN_ANSWERS)) or NOT_THERE.search(own[name]):
                continue
            converted = ":" not in own[name] + digest
            if (
                layer in OTHER_NAMES
                and converted
                and nodes(folder, files[name], first) == nodes(folder, files[name], backend)
            ):
                continue
            yield f"{name} under {backend}: {own[name]} instead of {digest}"


@pytest.mark.keras_backend
def test_one_configuration_of_every_layer(tmp_path: Path) -> None:
    report = run(tmp_path, "numpy", "save", "--sample")
    # A function without a name cannot be saved.
    assert report["without"] == ["Lambda"]
    assert report["saved"] > 120
    assert list(differences(tmp_path, ("tensorflow", "torch"))) == []


@pytest.mark.slow
@pytest.mark.keras_backend
def test_whole_suite_gives_the_same_bytes(tmp_path: Path) -> None:
    report = run(tmp_path, "numpy", "save")
    assert report["saved"] > 500
    assert list(differences(tmp_path, BACKENDS)) == []
