"""Conversion of PyTorch models, side by side with torch.onnx in one run.

    python benchmarks/pytorch.py [--repeats 3] [--only mlp resnet50 ...] [--no-peer]

Every tool runs in a process of its own: torch.export alone; any2onnx, with its passes and checks; and
torch.onnx.export(dynamo=True). The last two write the model with its weights in a data file, as torch.onnx does by
default. Writing is timed on its own ("+ s"), for both; "copy" is what writing the bare bytes of the weights takes.
Times are CPU seconds of the process, the best of the repeats, so that a busy machine does not decide. Memory is the
peak of conversion and writing over what the process held before. The graph is the .onnx file without weights. Latency
is onnxruntime's, batch 1, one thread: the median of 30 runs of each model, in turn, in one process; half of them with
the one loaded first and half with the other, since a file that is loaded second runs up to 3 % faster than itself.
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


def _torchvision_operators() -> Any:
    """Declare what transformers' import asks of torchvision, whose wheel may lack its compiled library."""
    import importlib.util

    if importlib.util.find_spec("torchvision") is None or hasattr(torch.ops.torchvision, "nms"):
        return None
    library = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    return library


def _without_initialisation() -> None:
    """Leave out the random numbers of weights: they cost more than the conversion of a large model."""
    for name in dir(nn.init):
        if name.endswith("_") and not name.startswith("_") and name not in ("zeros_", "ones_", "constant_"):
            setattr(nn.init, name, lambda tensor, *args, **kwargs: tensor)


def _fill(model: nn.Module) -> None:
    """Give every weight numbers of its own, so that its memory is there and none equals another."""
    noise = torch.randn(1 << 22).mul_(0.02)
    with torch.no_grad():
        for k, parameter in enumerate(model.parameters()):
            flat = parameter.view(-1)
            for start in range(0, len(flat), len(noise)):
                part = flat[start : start + len(noise)]
                part.copy_(noise[: len(part)])
            flat[0] = k


def _dynamic(model: nn.Module, dims: tuple[dict[int, str], ...]) -> tuple[Any, ...]:
    # Transformers have a table of positions, which bounds the length.
    most = {"length": 512}
    labels = {label: torch.export.Dim(label, max=most.get(label)) for entry in dims for label in entry.values()}
    shapes: tuple[Any, ...] = tuple({axis: labels[label] for axis, label in entry.items()} for entry in dims)
    return (shapes,) if isinstance(model, Answer) else shapes


class _Timer:
    """Adds up the CPU seconds of a function that is called inside another."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function, self.seconds = function, 0.0

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        start = time.process_time()
        try:
            return self.function(*args, **kwargs)
        finally:
            self.seconds += time.process_time() - start


def _convert(tool: str, model: nn.Module, sample: Sample, path: Path) -> tuple[float, float]:
    """Return the seconds of the conversion and of writing the file."""
    args, dims = sample
    shapes = _dynamic(model, dims)
    start = time.process_time()
    if tool == "any2onnx":
        import any2onnx
        from any2onnx.converters import finish

        module: Any = finish
        module.save_model = writing = _Timer(getattr(module.save_model, "function", module.save_model))
        any2onnx.convert_pytorch(
            model, args, dynamic_shapes=shapes, target_opset=OPSET, output_path=path, external_data=True
        )
        return time.process_time() - start - writing.seconds, writing.seconds
    with torch.no_grad(), contextlib.redirect_stdout(io.StringIO()):
        if tool == "export":
            torch.export.export(model, args, dynamic_shapes=shapes, strict=False)
            return time.process_time() - start, 0.0
        program = torch.onnx.export(model, args, dynamo=True, dynamic_shapes=shapes, opset_version=OPSET)
        converted = time.process_time()
        assert program is not None
        program.save(str(path), external_data=True)
        return converted - start, time.process_time() - converted


def _cleared(path: Path) -> Path:
    """Remove what an earlier repeat wrote: every repeat writes new files, into memory that the last one gave back."""
    for file in path.parent.glob(f"{path.name}*"):
        file.unlink()
    return path


def _plain_copy(model: nn.Module, folder: Path) -> float:
    """Return the seconds that writing the bytes of all weights takes, and nothing else."""
    start = time.process_time()
    with (folder / "weights").open("wb", buffering=0) as stream:
        for parameter in model.parameters():
            stream.write(parameter.detach().view(-1).view(torch.uint8).numpy().data)
    seconds = time.process_time() - start
    (folder / "weights").unlink()
    return seconds


def _quiet() -> Any:
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    return _torchvision_operators()


def child(name: str, tool: str, repeats: int, folder: Path) -> None:
    """Measure one tool on one model and print the result as JSON; the model stays in the folder."""
    library = _quiet()
    if name == "decoder-1b":
        _without_initialisation()
        repeats = 1
    elif name == "mlp":
        repeats *= 5  # a few hundredths of a second each
    make, sampler = MODELS[name]
    model, sample = make().eval(), sampler()
    if name == "decoder-1b":
        _fill(model)
    # What every first call loads is not what is measured.
    _convert(tool, mlp().eval(), MODELS["mlp"][1](), folder / "warm.onnx")
    path = folder / f"{tool}.onnx"
    before = _memory("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")
    times = [_convert(tool, model, sample, _cleared(path)) for _ in range(repeats)]
    result = {"seconds": min(t for t, _ in times), "writing": min(t for _, t in times)}
    result |= {"before": before, "peak": _memory("VmHWM")}
    if tool == "export":
        result["copy"] = min(_plain_copy(model, folder) for _ in range(repeats))
    else:
        result["graph"] = graph_size(path)
    del library
    print(json.dumps(result))


def graph_size(path: Path) -> int:
    """Return the bytes of a model's file without the small weights that it holds itself."""
    proto = onnx.load(str(path), load_external_data=False)
    for tensor in proto.graph.initializer:
        for field in ("raw_data", "float_data", "int64_data"):
            tensor.ClearField(field)
    return int(proto.ByteSize())


def latency(name: str, folder: Path) -> None:
    """Print onnxruntime's median milliseconds of one call of each tool's model."""
    import onnxruntime as ort

    library = _quiet()
    sample = MODELS[name][1]()
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    times: dict[str, list[float]] = {tool: [] for tool in TOOLS[1:]}
    for order in (TOOLS[1:], TOOLS[:0:-1]):
        sessions = {
            tool: ort.InferenceSession(str(folder / f"{tool}.onnx"), options, providers=["CPUExecutionProvider"])
            for tool in order
        }
        for turn in range(16):
            for tool, session in sessions.items():
                feeds = {i.name: a[:1].numpy() for i, a in zip(session.get_inputs(), sample[0], strict=True)}
                start = time.process_time()
                session.run(None, feeds)
                if turn:
                    times[tool].append(time.process_time() - start)
    del library
    print(json.dumps({tool: statistics.median(found) * 1000 for tool, found in times.items()}))


# --- the table ------------------------------------------------------------------------------------------------------


def _measured(name: str, tool: str, repeats: int, folder: str) -> dict[str, float]:
    command = [sys.executable, __file__, "--child", name, tool, "--repeats", str(repeats), "--folder", folder]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{name} with {tool} failed:\n{done.stderr[-3000:]}")
    return dict(json.loads(done.stdout.strip().splitlines()[-1]))


def row(name: str, repeats: int, *, peer: bool) -> None:
    """Measure one model with every tool and print its lines."""
    with tempfile.TemporaryDirectory() as folder:
        alone, own = _measured(name, "export", repeats, folder), _measured(name, "any2onnx", repeats, folder)
        total, ratio = own["seconds"] + own["writing"], own["seconds"] / alone["seconds"]
        print(
            f"{name:<10} export {alone['seconds']:.3f} s  any2onnx {own['seconds']:.3f} s = {ratio:.2f} × export, "
            f"+ {own['writing']:.3f} s (copy {alone['copy']:.3f} s), all {total / alone['seconds']:.2f} × export  "
            f"memory {own['peak'] / own['before']:.2f} × of {own['before']:.0f} MB  graph {own['graph'] / 1000:.0f} kB",
            flush=True,
        )
        if not peer:
            return
        other = _measured(name, "torch.onnx", max(1, repeats - 1), folder)
        both = other["seconds"] + other["writing"]
        text = (
            f"{'':<10} torch.onnx {other['seconds']:.3f} s = {other['seconds'] / own['seconds']:.1f} × any2onnx, "
            f"+ {other['writing']:.3f} s, all {both / total:.1f} × any2onnx  "
            f"memory {other['peak'] / other['before']:.2f} ×  "
            f"graph {other['graph'] / 1000:.0f} kB = {other['graph'] / own['graph']:.1f} ×"
        )
        if name != "decoder-1b":  # float16: onnxruntime computes it in float32 on CPU, in seconds
            times = _measured(name, "latency", repeats, folder)
            text += f"  latency {times['any2onnx']:.2f} ms against {times['torch.onnx']:.2f} ms"
        print(text, flush=True)


def main() -> None:
    """Measure every model, or those that are named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", nargs="*", choices=list(MODELS), default=list(MODELS))
    parser.add_argument("--no-peer", action="store_true", help="leave out torch.onnx")
    parser.add_argument("--child", nargs=2, metavar=("MODEL", "TOOL"), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child and arguments.child[1] == "latency":
        latency(arguments.child[0], arguments.folder)
    elif arguments.child:
        name, tool = arguments.child
        child(name, tool, arguments.repeats, arguments.folder)
    else:
        for name in arguments.only:
            row(name, arguments.repeats, peer=not arguments.no_peer)


if __name__ == "__main__":
    main()
