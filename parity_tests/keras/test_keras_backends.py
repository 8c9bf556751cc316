"""The same model and weights give the same ONNX under every Keras backend."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent


@functools.cache
def report(backend: str, program: str = "keras_backend_models.py") -> dict[str, Any]:
    environment = {**os.environ, "KERAS_BACKEND": backend}
    done = subprocess.run(
        [sys.executable, str(HERE / program)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.strip().splitlines()[-1])


@pytest.mark.keras_backend
@pytest.mark.parametrize("backend", ["tensorflow", "torch", "jax"])
def test_models_convert_under(backend: str) -> None:
    assert report(backend)["backend"] == backend


@pytest.mark.keras_backend
@pytest.mark.parametrize("backend", ["torch", "jax"])
def test_bytes_are_the_same_as_under_tensorflow(backend: str) -> None:
    assert report(backend)["digests"] == report("tensorflow")["digests"]


@pytest.mark.keras_backend
def test_torch_modules_inside_keras_models() -> None:
    assert len(report("torch", "keras_torch_modules.py")["done"]) == 7


@pytest.mark.keras_backend
@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_functions_of_jax_inside_keras_models(backend: str) -> None:
    done = report(backend, "keras_jax_functions.py")["done"]
    assert len(done) == (11 if backend == "jax" else 9)
