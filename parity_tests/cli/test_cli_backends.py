"""`any2onnx backends`, and the providers of a comparison; tested with what is installed."""

from __future__ import annotations

import json

import numpy as np
import onnx
import onnxruntime
import pytest

from any2onnx.cli.main import run
from any2onnx.errors import UsageError
from any2onnx.parity import check_parity, providers
from any2onnx.parity.runtime import read_onnx


@pytest.fixture
def model_file(small_onnx, tmp_path):
    path = tmp_path / "m.onnx"
    onnx.save(small_onnx, path)
    return path


def test_overview_names_every_installed_provider(capsys):
    assert run(["backends"]) == 0
    out = capsys.readouterr().out
    assert onnxruntime.__version__ in out
    for name in onnxruntime.get_available_providers():
        assert name in out


def test_every_node_of_a_model_has_a_place(model_file, capsys):
    assert run(["backends", str(model_file), "--provider", "CPUExecutionProvider"]) == 0
    out = capsys.readouterr().out
    assert "MatMul" in out
    assert "CPUExecutionProvider: 1 node(s) run, 0 fall back" in out


def test_json_has_placements_for_each_installed_provider(model_file, capsys):
    assert run(["backends", str(model_file), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["onnxruntime"] == onnxruntime.__version__
    installed = [item["name"] for item in found["providers"] if item["installed"]]
    assert installed == onnxruntime.get_available_providers()
    assert [place["provider"] for place in found["placements"]] == installed
    for place in found["placements"]:
        assert sum(number for _, _, number in place["nodes"]) == 1


def test_nodes_that_a_provider_cannot_run_fall_back(small_onnx):
    """The Azure provider of the ordinary wheel runs remote calls only: everything else falls back to the CPU."""
    others = [name for name in onnxruntime.get_available_providers() if name == "AzureExecutionProvider"]
    for name in [*others, "CPUExecutionProvider"]:
        place = providers.placement(read_onnx(small_onnx), name)
        own = name == "CPUExecutionProvider"
        assert place.count(own=own) == 1
        assert place.count(own=not own) == 0
        assert place.fallbacks() == (() if own else (("MatMul", 1),))


def test_placements_show_domains(capsys):
    from sklearn.tree import DecisionTreeRegressor

    import any2onnx

    X = np.arange(20, dtype=np.float32).reshape(10, 2)
    proto = any2onnx.to_onnx(DecisionTreeRegressor().fit(X, X[:, 0]), X)
    place = providers.placement(read_onnx(proto), "CPUExecutionProvider")
    assert sum(number for _, _, number in place.nodes) == len(proto.graph.node)
    assert any(operator.startswith("ai.onnx.ml.TreeEnsemble") for _, operator, _ in place.nodes)


def test_kernel_counts():
    cpu = next(provider for provider in providers.discover() if provider.name == providers.CPU)
    assert cpu.installed
    assert cpu.kernels > 150


# --- providers of a comparison -----------------------------------------------------------------------------------


def doubled(x):
    return x @ np.eye(32, dtype=x.dtype)


def test_a_missing_provider_is_no_silent_check_of_the_cpu(small_onnx):
    missing = next(
        name for name in onnxruntime.get_all_providers() if name not in onnxruntime.get_available_providers()
    )
    with pytest.raises(UsageError, match="not installed"):
        check_parity(doubled, small_onnx, providers=[missing])
    with pytest.raises(UsageError, match="did you mean 'CPUExecutionProvider'"):
        check_parity(doubled, small_onnx, providers=["CPUExecutionProvide"])


def test_a_provider_with_options(small_onnx):
    assert check_parity(doubled, small_onnx, suites="typical", providers=[("CPUExecutionProvider", {})]).passed


def test_reduced_precision_is_switched_off(monkeypatch):
    """Options for providers that are not installed here, as a session would get them."""

    class Runtime:
        @staticmethod
        def get_available_providers():
            return ["CUDAExecutionProvider", "OpenVINOExecutionProvider", "CPUExecutionProvider"]

    monkeypatch.setattr(providers, "_onnxruntime", Runtime)
    assert providers.resolved(None) == ["CPUExecutionProvider"]
    assert providers.resolved(["CUDAExecutionProvider"]) == [("CUDAExecutionProvider", {"use_tf32": "0"})]
    given = [("CUDAExecutionProvider", {"use_tf32": "1", "device_id": "0"}), "CPUExecutionProvider"]
    assert providers.resolved(given) == given
    assert providers.resolved(["OpenVINOExecutionProvider"])[0][1] == {"precision": "ACCURACY"}


def test_unknown_provider_on_the_command_line(capsys):
    assert run(["backends", "--provider", "CUDAExecutionProvidr"]) == 2
    assert "not installed" in capsys.readouterr().err
