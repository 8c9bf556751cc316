"""Large models: weights go from torch's memory, or from a mapped file, to the model's data file and nowhere else."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
import torch
from pytorch_support import build
from torch import nn

import any2onnx
from any2onnx.io.save import saved_files
from any2onnx.io.tensor_stream import TensorWriter
from any2onnx.passes.pipeline import optimize


class Net(nn.Module):
    """Weights of every kind: of a Gemm, of a MatMul behind a Transpose, tied, of a Conv, float16, a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(97, 64)
        self.first, self.second = nn.Linear(64, 256), nn.Linear(256, 64)
        self.head = nn.Linear(64, 97, bias=False)
        self.head.weight = self.embed.weight
        self.conv = nn.Conv1d(64, 64, 3, padding=1)
        self.register_buffer("scale", torch.rand(64, 64))

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.embed(ids)
        x = self.second(torch.relu(self.first(x))) @ self.scale
        return self.head(self.conv(x.transpose(1, 2)).transpose(1, 2))


IDS = torch.randint(0, 97, (2, 5))
SPEC = {"ids": {0: "batch", 1: "length"}}


def addresses(model: nn.Module) -> set[int]:
    return {tensor.data_ptr() for tensor in (*model.parameters(), *model.buffers()) if tensor.nbytes > 1024}


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The addresses that the bytes of data files are taken from."""
    found: list[int] = []
    add = TensorWriter.add_payload

    def noted(self: Any, payload: Any, nbytes: int, name: str) -> Any:
        assert isinstance(payload, np.ndarray)
        found.append(payload.__array_interface__["data"][0])
        return add(self, payload, nbytes, name)

    monkeypatch.setattr(TensorWriter, "add_payload", noted)
    return found


def same_answers(path: Path, model: nn.Module) -> None:
    got = ort.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, {"ids": IDS.numpy()})[0]
    with torch.no_grad():
        np.testing.assert_allclose(got, model(IDS).numpy(), rtol=1e-5, atol=1e-5)


def test_the_file_is_written_from_the_models_own_memory(tmp_path: Path, written: list[int]) -> None:
    model = Net().eval()
    proto = any2onnx.convert_pytorch(
        model, (IDS,), dynamic_shapes=SPEC, output_path=tmp_path / "net.onnx", external_data=True
    )
    # Each weight once, the tied one too.
    assert sorted(written) == sorted(addresses(model))
    assert not any(tensor.raw_data for tensor in proto.graph.initializer if len(tensor.raw_data) > 1024)
    same_answers(tmp_path / "net.onnx", model)


@pytest.mark.parametrize("saved", [False, True], ids=["exported", "exported, saved and loaded"])
def test_an_exported_program(saved: bool, tmp_path: Path, written: list[int]) -> None:
    model = Net().eval()
    dynamic = {"ids": {0: torch.export.Dim("batch"), 1: torch.export.Dim("length")}}
    program = torch.export.export(model, (IDS,), dynamic_shapes=dynamic)
    if saved:
        torch.export.save(program, tmp_path / "net.pt2")
        program = torch.export.load(tmp_path / "net.pt2")
    any2onnx.convert_pytorch(program, output_path=tmp_path / "net.onnx", external_data=True)
    held = {tensor.data_ptr() for tensor in program.state_dict.values() if tensor.nbytes > 1024}
    assert set(written) == held
    assert len(written) == len(held)
    same_answers(tmp_path / "net.onnx", model)


def test_mapped_safetensors_are_read_from_the_map(tmp_path: Path, written: list[int]) -> None:
    safetensors = pytest.importorskip("safetensors.torch")
    source = Net().eval()
    safetensors.save_model(source, tmp_path / "net.safetensors")
    with torch.device("meta"):
        model = Net().eval()
    state = safetensors.load_file(tmp_path / "net.safetensors")
    state["head.weight" if "head.weight" not in state else "embed.weight"] = (
        state["embed.weight"] if "embed.weight" in state else state["head.weight"]
    )
    model.load_state_dict(state, assign=True)
    maps = Path("/proc/self/maps").read_text()
    ranges = [
        [int(end, 16) for end in line.split()[0].split("-")]
        for line in maps.splitlines()
        if line.endswith("net.safetensors")
    ]
    any2onnx.convert_pytorch(model, (IDS,), dynamic_shapes=SPEC, output_path=tmp_path / "net.onnx", external_data=True)
    assert ranges
    assert all(any(start <= address < end for start, end in ranges) for address in written)
    assert set(written) == addresses(model)
    same_answers(tmp_path / "net.onnx", source)


def test_passes_keep_weights_where_they_are() -> None:
    model = Net().eval()
    built = optimize(build(model, (IDS,), dynamic_shapes=SPEC))
    held = {
        value.const_value.numpy().__array_interface__["data"][0]
        for value in built.graph.initializers.values()
        if value.const_value.nbytes > 1024
    }
    assert held == addresses(model)


class Normed(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(width, width, 3, bias=False), nn.BatchNorm2d(width)
        nn.init.uniform_(self.norm.running_mean), nn.init.uniform_(self.norm.running_var, 0.5, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(self.conv(x))


def test_a_folded_weight_is_computed_when_it_is_written() -> None:
    built = optimize(build(Normed(64).eval(), (torch.randn(1, 64, 5, 5),)))
    kinds = {type(v.const_value).__name__ for v in built.graph.initializers.values() if v.const_value.nbytes > 1 << 16}
    assert kinds == {"RowsTensor"}


def test_a_weight_that_would_overflow_is_not_folded() -> None:
    model = Normed(64).eval()
    with torch.no_grad():
        model.conv.weight[0] = 1e38
        model.norm.weight[0] = 1e10
    built = optimize(build(model, (torch.randn(1, 64, 5, 5),)))
    assert "BatchNormalization" in {node.op_type for node in built.graph}


def test_small_models_are_one_file_and_large_ones_two(tmp_path: Path) -> None:
    for width, count in ((64, 0), (720, 1)):  # 0.1 and 17.8 MiB
        any2onnx.convert_pytorch(Normed(width), (torch.randn(1, width, 5, 5),), output_path=tmp_path / "net.onnx")
        assert len(saved_files(tmp_path / "net.onnx").data) == count
    any2onnx.convert_pytorch(
        Normed(720), (torch.randn(1, 720, 5, 5),), output_path=tmp_path / "net.onnx", external_data=False
    )
    assert not saved_files(tmp_path / "net.onnx").data


PEAK = """
import json, sys, torch
from pathlib import Path
from torch import nn
import any2onnx

def memory(field):
    return next(int(l.split()[1]) for l in Path("/proc/self/status").read_text().splitlines() if l.startswith(field))

class Net(nn.Module):
    def __init__(self, n):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(n, n) for _ in range(12)])
    def forward(self, x):
        for layer in self.layers:
            x = torch.relu(layer(x))
        return x

def convert(n):
    net, x = Net(n), torch.randn(2, n)
    before = memory("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")
    any2onnx.convert_pytorch(net, (x,), dynamic_shapes={"x": {0: "batch"}}, output_path=sys.argv[1])
    return before, memory("VmHWM")

convert(8)
print(json.dumps(convert(2048)))  # 201 MB of weights
"""


def test_conversion_and_saving_need_no_memory_beside_the_model(tmp_path: Path) -> None:
    if not Path("/proc/self/clear_refs").exists():
        pytest.fail("this test reads the peak memory from Linux's /proc")
    done = subprocess.run(
        [sys.executable, "-c", PEAK, str(tmp_path / "net.onnx")], capture_output=True, text=True, check=True
    )
    before, peak = json.loads(done.stdout.splitlines()[-1])
    assert peak <= 1.05 * before, f"{peak / before:.2f} times the {before // 1000} MB of the process before"
