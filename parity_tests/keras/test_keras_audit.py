"""Every parameter of every Keras layer is honoured, irrelevant or refused; every configuration gives Keras's answer."""

from __future__ import annotations

import inspect
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import pytest
from layer_cases import LayerCase, all_cases
from layer_suite import KerasRefused, run_case
from run_layer_suite import listed

from any2onnx.errors import OpsetNotSupported
from any2onnx.operator_mappings.registry import default_registry

HERE = Path(__file__).parent
CASES = all_cases()
BACKEND = keras.backend.backend()
# Honoured parameters whose values no plain configuration can show, and the tests that do.
ELSEWHERE = {
    "dtype": "test_keras_precision.py",
    "quantization_config": "test_keras_precision.py",
    "ragged": "test_keras_lookup.py",
    "sparse": "test_keras_precision.py",
    "stateful": "test_keras_recurrent.py",
    "module": "keras_torch_modules.py",
    "call_fn": "keras_jax_functions.py",
    "params": "keras_jax_functions.py",
    "state": "keras_jax_functions.py",
}
# FlaxLayer is a JaxLayer whose function Flax makes of a module; Flax is not among what the tests install.
FLAX = {"FlaxLayer"}
# Keras takes one value only.
ONE_VALUE = {"vocabulary_dtype", "fill_mode"}


def layer_classes() -> Iterator[tuple[str, type[Any]]]:
    """Yield the layers of `keras.layers` under their own names, aliases and base classes left out."""
    registry = default_registry()
    for name in sorted(dir(keras.layers)):
        found = getattr(keras.layers, name)
        if (
            isinstance(found, type)
            and issubclass(found, keras.Layer)
            and registry.knows("keras", f"keras.layers.{name}")
        ):
            yield name, found


def parameters(cls: type[Any]) -> dict[str, inspect.Parameter]:
    """Return the constructor's parameters."""
    every = inspect.signature(cls.__init__).parameters.values()
    return {p.name: p for p in every if p.name != "self" and p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)}


def row(name: str) -> Any:
    return default_registry().lookup("keras", f"keras.layers.{name}", 21, "") if name not in refused() else None


def refused() -> frozenset[str]:
    return frozenset({"TFSMLayer"})


def test_the_refused_layers_are_these() -> None:
    registry = default_registry()
    for name in refused():
        found = registry.find("keras", f"keras.layers.{name}", 21)
        assert found is None or found.refused


def test_no_parameter_is_unseen() -> None:
    forgotten = []
    for name, cls in layer_classes():
        if name in refused() or "*" in (found := row(name)).honours:
            continue
        forgotten += [f"{name}.{p}" for p in parameters(cls) if p not in found.honours | found.irrelevant]
    assert forgotten == []


def test_no_honoured_parameter_has_gone() -> None:
    stale = []
    for name, cls in layer_classes():
        if name in refused() or "*" in (found := row(name)).honours:
            continue
        # Families of ranks share one list.
        ranks = [name.replace(f"{k}D", f"{other}D") for k in "123" for other in "123" if f"{k}D" in name]
        known = {
            p for one in (name, *ranks) if hasattr(keras.layers, one) for p in parameters(getattr(keras.layers, one))
        }
        stale += [f"{name}.{p}" for p in found.honours - known - {"dtype"}]
        assert issubclass(cls, keras.Layer)
    assert stale == []


def test_every_honoured_parameter_is_tried_at_another_value() -> None:
    tried: dict[str, set[str]] = {}
    for case in CASES:
        tried.setdefault(case.layer, set()).update(
            name for name, value in case.arguments.items() if _differs(case.layer, name, value)
        )
    untried = []
    for name, cls in layer_classes():
        if name in refused() or "*" in (found := row(name)).honours:
            continue
        wanted = set(parameters(cls)) & found.honours - set(ELSEWHERE) - ONE_VALUE if name not in FLAX else set()
        untried += [f"{name}.{p}" for p in sorted(wanted - tried.get(name, set()))]
    assert untried == []


def test_the_tests_named_for_other_parameters_have_them() -> None:
    words = {"dtype": "dtype=", "quantization_config": "quantize(", "module": "TorchModuleWrapper("}
    words |= {"call_fn": "JaxLayer(function", "params": "params=", "state": "state="}
    for name, module in ELSEWHERE.items():
        assert words.get(name, f"{name}=True") in (HERE / module).read_text(encoding="utf-8")


def _differs(layer: str, name: str, value: Any) -> bool:
    default = parameters(getattr(keras.layers, layer))[name].default
    return default is inspect.Parameter.empty or (default is not value and default != value)


def test_every_layer_has_a_configuration() -> None:
    # Cells are parts of other layers, torch modules need their own backend, boxes come in dicts, and Keras itself
    # cannot make a graph of Equalization.
    parts = {"GRUCell", "LSTMCell", "SimpleRNNCell", "StackedRNNCells", "TorchModuleWrapper", "MaxNumBoundingBoxes"}
    parts |= {"JaxLayer"} | FLAX  # functions of JAX need JAX
    missing = {name for name, _ in layer_classes()} - refused() - parts - {case.layer for case in CASES}
    assert missing == {"Equalization"}


# --- the suite --------------------------------------------------------------------------------------------------------


def sample() -> list[LayerCase]:
    """Return one configuration of every layer and some of the rest, for every run of the tests."""
    seen: set[str] = set()
    chosen = []
    for k, case in enumerate(CASES):
        if case.layer not in seen or k % 7 == 0:
            chosen.append(case)
        seen.add(case.layer)
    return [case for case in chosen if case in runnable()]


def runnable() -> list[LayerCase]:
    """Return what Keras can do, with the right answer, on batches that are not empty."""
    known = {name for (where, name), why in listed().items() if where == BACKEND and "batch 0" not in why}
    return [case for case in CASES if BACKEND not in case.wrong_on and case.name not in known]


def refusal(case: LayerCase, opset: int = 21, batches: tuple[int, ...] = (1, 3)) -> str:
    """Run a configuration; return Keras's own refusal, or ''. Empty batches are tried in processes of their own."""
    try:
        run_case(case, opset, batches)
    except KerasRefused as refused:
        return str(refused)
    except OpsetNotSupported:
        # Refused by name, with the opset that would do; never at the default one.
        if opset >= 21:
            raise
    return ""


@pytest.mark.parametrize("case", [pytest.param(case, id=case.name) for case in sample()])
def test_sample(case: LayerCase) -> None:
    assert refusal(case) == ""


@pytest.mark.slow
@pytest.mark.parametrize("opset", [13, 18, 28])
@pytest.mark.parametrize("case", [pytest.param(case, id=case.name) for case in runnable()])
def test_whole(case: LayerCase, opset: int) -> None:
    assert refusal(case, opset, (1, 5)) == ""


@pytest.mark.slow
@pytest.mark.keras_backend
@pytest.mark.parametrize("part", range(1, 7))
@pytest.mark.parametrize("backend", ["tensorflow", "torch", "jax", "numpy"])
def test_whole_under(backend: str, part: int) -> None:
    run_part(backend, f"{part}/6")


def run_part(backend: str, part: str) -> None:
    done = subprocess.run(
        [sys.executable, str(HERE / "run_layer_suite.py"), "--part", part],
        env={**os.environ, "KERAS_BACKEND": backend},
        capture_output=True,
        text=True,
        timeout=590,
        check=False,
    )
    assert done.stdout, done.stderr[-3000:]
    report = json.loads(done.stdout.strip().splitlines()[-1])
    assert report["backend"] == backend
    assert report["cases"] > 5
    assert (report["failed"], report["unlisted"], report["gone"]) == ({}, [], [])
