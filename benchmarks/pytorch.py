"""Conversion of PyTorch models, side by side with torch.onnx in one run.

    python benchmarks/pytorch.py [--repeats 2] [--only mlp resnet50 ...] [--no-peer]

Every measurement runs in a process of its own: torch.export alone, any2onnx with its passes and the written file,
torch.onnx.export(dynamo=True) with the written file. Times are CPU seconds of the process (the best of the repeats), so
that a busy machine does not decide; memory is the peak during conversion over what the process held before it; the
graph is the .onnx file without weights; latency is onnxruntime's, one thread, median.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import logging
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import torch
from torch import nn

OPSET = 20
Sample = tuple[tuple[torch.Tensor, ...], tuple[dict[int, str], ...]]


class Bottleneck(nn.Module):
    """The block of ResNet50: 1×1, 3×3, 1×1 convolutions around a shortcut."""

    def __init__(self, inner: int, width: int, stride: int) -> None:
        super().__init__()
        outer = width * 4
        self.conv1, self.bn1 = nn.Conv2d(inner, width, 1, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = nn.Conv2d(width, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width)
        self.conv3, self.bn3 = nn.Conv2d(width, outer, 1, bias=False), nn.BatchNorm2d(outer)
        self.relu = nn.ReLU(inplace=True)
        self.down: nn.Module = nn.Identity()
        if stride != 1 or inner != outer:
            self.down = nn.Sequential(nn.Conv2d(inner, outer, 1, stride, bias=False), nn.BatchNorm2d(outer))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the block's output, [N, 4 · width, H / stride, W / stride]."""
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        return self.relu(self.bn3(self.conv3(y)) + self.down(x))


def resnet50() -> nn.Module:
    """Return a network with ResNet50's layers."""
    layers: list[nn.Module] = [
        nn.Conv2d(3, 64, 7, 2, 3, bias=False),
        nn.BatchNorm2d(64),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(3, 2, 1),
    ]
    inner = 64
    for width, count, stride in ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2)):
        for k in range(count):
            layers.append(Bottleneck(inner, width, stride if k == 0 else 1))
            inner = width * 4
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inner, 1000))


def mlp() -> nn.Module:
    """Return a perceptron of two layers."""
    return nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))


class Answer(nn.Module):
    """A model of the transformers library, by position, with its first answer only."""

    def __init__(self, kind: str, auto: str, **settings: Any) -> None:
        super().__init__()
        import transformers

        config = transformers.AutoConfig.for_model(kind, **settings)
        self.inner = getattr(transformers, auto).from_config(config)

    def forward(self, *args: torch.Tensor) -> torch.Tensor:
        """Return logits or hidden states."""
        return self.inner(*args)[0]


def _tokens() -> Sample:
    ids = torch.randint(3, 1000, (2, 16))
    return (ids, torch.ones_like(ids)), ({0: "batch", 1: "length"}, {0: "batch", 1: "length"})


def _ids() -> Sample:
    return (torch.randint(3, 1000, (2, 16)),), ({0: "batch", 1: "length"},)


def _image() -> Sample:
    return (torch.randn(2, 3, 224, 224),), ({0: "batch"},)


LARGE = {  # 1.1 · 10⁹ parameters
    "vocab_size": 32000,
    "hidden_size": 2048,
    "intermediate_size": 5632,
    "num_hidden_layers": 22,
    "num_attention_heads": 32,
    "num_key_value_heads": 4,
    "use_cache": False,
    "dtype": "float16",
}
MODELS: dict[str, tuple[Callable[[], nn.Module], Callable[[], Sample]]] = {
    "mlp": (mlp, lambda: ((torch.randn(2, 64),), ({0: "batch"},))),
    "resnet50": (resnet50, _image),
    "bert-base": (lambda: Answer("bert", "AutoModel"), _tokens),
    "gpt2": (lambda: Answer("gpt2", "AutoModelForCausalLM", use_cache=False), _ids),
    "vit-b": (lambda: Answer("vit", "AutoModel"), _image),
    "decoder-1b": (lambda: Answer("llama", "AutoModelForCausalLM", **LARGE), _ids),
}
TOOLS = ("export", "any2onnx", "torch.onnx")


# --- one measurement, in a process of its own -----------------------------------------------------------------------


def _memory(field: str) -> float:
    """Return a line of the process's status in MB: VmRSS now, VmHWM at most."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) / 1000
    return 0.0


def _empty_weights() -> Any:
    """Leave out the random numbers of weights: they cost more than the conversion of a large model."""
    for name in dir(nn.init):
        if name.endswith("_") and not name.startswith("_") and name not in ("zeros_", "ones_", "constant_"):
            setattr(nn.init, name, lambda tensor, *args, **kwargs: tensor)


def _convert(tool: str, model: nn.Module, sample: Sample, path: Path) -> None:
    args, dims = sample
    # Transformers have a table of positions, which bounds the length.
    most = {"length": 512}
    labels = {label: torch.export.Dim(label, max=most.get(label)) for entry in dims for label in entry.values()}
    shapes: tuple[Any, ...] = tuple({axis: labels[label] for axis, label in entry.items()} for entry in dims)
    if isinstance(model, Answer):
        shapes = (shapes,)
    if tool == "any2onnx":
        import any2onnx

        any2onnx.convert_pytorch(model, args, dynamic_shapes=shapes, target_opset=OPSET, output_path=path)
        return
    with torch.no_grad(), contextlib.redirect_stdout(io.StringIO()):
        if tool == "export":
            torch.export.export(model, args, dynamic_shapes=shapes, strict=False)
        else:
            torch.onnx.export(
                model, args, str(path), dynamo=True, dynamic_shapes=shapes, opset_version=OPSET, external_data=True
            )


def graph_size(path: Path) -> int:
    """Return the bytes of a written model without its weights."""
    proto = onnx.load(str(path), load_external_data=False)
    for tensor in proto.graph.initializer:
        for field in ("raw_data", "float_data", "int64_data"):
            tensor.ClearField(field)
    return proto.ByteSize()


def latency(path: Path, sample: Sample) -> float:
    """Return onnxruntime's median time of one call in milliseconds, one thread, CPU seconds."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    feeds = {i.name: a[:1].numpy() for i, a in zip(session.get_inputs(), sample[0], strict=True)}
    session.run(None, feeds)
    times = []
    for _ in range(7):
        start = time.process_time()
        session.run(None, feeds)
        times.append(time.process_time() - start)
    return statistics.median(times) * 1000


def child(name: str, tool: str, repeats: int) -> None:
    """Measure one tool on one model and print the result as JSON."""
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    large = name == "decoder-1b"
    if large:
        _empty_weights()
    make, sampler = MODELS[name]
    model, sample = make().eval(), sampler()
    result: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        # What every first call loads is not what is measured.
        _convert(tool, mlp().eval(), MODELS["mlp"][1](), Path(folder) / "warm.onnx")
        path = Path(folder) / "model.onnx"
        times = []
        before = _memory("VmRSS")
        Path("/proc/self/clear_refs").write_text("5")
        for _ in range(1 if large else repeats):
            start = time.process_time()
            _convert(tool, model, sample, path)
            times.append(time.process_time() - start)
        result = {"seconds": min(times), "before": before, "peak": _memory("VmHWM")}
        if tool != "export":
            result["graph"] = graph_size(path)
            if not large:
                result["latency"] = latency(path, sample)
    print(json.dumps(result))


# --- the table ------------------------------------------------------------------------------------------------------


def _measured(name: str, tool: str, repeats: int) -> dict[str, float]:
    command = [sys.executable, __file__, "--child", name, tool, "--repeats", str(repeats)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{name} with {tool} failed:\n{done.stderr[-3000:]}")
    return dict(json.loads(done.stdout.strip().splitlines()[-1]))


def row(name: str, repeats: int, *, peer: bool) -> None:
    """Measure one model with every tool and print its row."""
    alone, own = _measured(name, "export", repeats), _measured(name, "any2onnx", repeats)
    text = (
        f"{name:<10} export {alone['seconds']:6.2f} s  any2onnx {own['seconds']:6.2f} s "
        f"({own['seconds'] / alone['seconds']:.2f} × export)  memory {own['peak'] / own['before']:.2f} ×"
    )
    if peer:
        other = _measured(name, "torch.onnx", max(1, repeats - 1))
        text += (
            f"  torch.onnx {other['seconds']:6.2f} s ({other['seconds'] / own['seconds']:.1f} × any2onnx), "
            f"memory {other['peak'] / other['before']:.2f} ×  graph {own['graph'] / 1000:.0f} kB against "
            f"{other['graph'] / 1000:.0f} kB ({other['graph'] / own['graph']:.1f} ×)"
        )
        if "latency" in own:
            text += f"  latency {own['latency']:.1f} ms against {other['latency']:.1f} ms"
    else:
        text += f"  graph {own['graph'] / 1000:.0f} kB"
    print(text, flush=True)


def main() -> None:
    """Measure every model, or those that are named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--only", nargs="*", choices=list(MODELS), default=list(MODELS))
    parser.add_argument("--no-peer", action="store_true", help="leave out torch.onnx")
    parser.add_argument("--child", nargs=2, metavar=("MODEL", "TOOL"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        child(*arguments.child, arguments.repeats)
        return
    for name in arguments.only:
        row(name, arguments.repeats, peer=not arguments.no_peer)


if __name__ == "__main__":
    main()
