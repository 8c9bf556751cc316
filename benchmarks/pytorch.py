"""Conversion time of PyTorch models, side by side with torch.onnx in one run.

    python benchmarks/pytorch.py [--repeats 3] [--only resnet50]

Prints, for every model: torch.export alone, any2onnx in total, torch.onnx.export(dynamo=True) in total, the ratios,
and the size of both files without weights. Every time is the best of the repeats.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import logging
import time
import warnings
from collections.abc import Callable
from typing import Any

import onnx
import onnx_ir as ir
import torch
from torch import nn

from any2onnx.converters.pytorch.walk import build_pytorch
from any2onnx.graph.opsets import Opsets
from any2onnx.operator_mappings.registry import default_registry

OPSET = 20


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


def encoder() -> nn.Module:
    """Return a transformer encoder with BERT-base's sizes."""
    layer = nn.TransformerEncoderLayer(768, 12, 3072, activation="gelu", batch_first=True)
    return nn.TransformerEncoder(layer, 12, enable_nested_tensor=False)


def mlp() -> nn.Module:
    """Return a perceptron of two layers."""
    return nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))


MODELS: dict[str, tuple[Callable[[], nn.Module], Callable[[], torch.Tensor], dict[int, str]]] = {
    "mlp": (mlp, lambda: torch.randn(2, 64), {0: "batch"}),
    "resnet50": (resnet50, lambda: torch.randn(2, 3, 224, 224), {0: "batch"}),
    "encoder": (encoder, lambda: torch.randn(2, 16, 768), {0: "batch", 1: "length"}),
}


def best(function: Callable[[], Any], repeats: int) -> tuple[float, Any]:
    """Return the shortest time in seconds and the last result."""
    shortest, result = float("inf"), None
    for _ in range(repeats):
        start = time.perf_counter()
        result = function()
        shortest = min(shortest, time.perf_counter() - start)
    return shortest, result


def graph_size(proto: onnx.ModelProto) -> int:
    """Return the size of a model in bytes without its weights."""
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    for tensor in copy.graph.initializer:
        tensor.ClearField("raw_data")
        tensor.ClearField("float_data")
        tensor.ClearField("int64_data")
    return copy.ByteSize()


def without_weights(model: ir.Model) -> int:
    """Return the size of a model that any2onnx built, in bytes, without its weights."""
    return graph_size(ir.to_proto(model))


def measure(name: str, repeats: int) -> None:
    """Measure one model and print its row."""
    make, sample, dims = MODELS[name]
    model, x = make().eval(), sample()
    axes = {axis: torch.export.Dim(label) for axis, label in dims.items()}

    def export() -> Any:
        with torch.no_grad():
            return torch.export.export(model, (x,), dynamic_shapes=(axes,), strict=False)

    def ours() -> ir.Model:
        return build_pytorch(
            model, (x,), opsets=Opsets.of(OPSET), registry=default_registry(), dynamic_shapes=(dict(dims),)
        )

    def theirs() -> Any:
        with contextlib.redirect_stdout(io.StringIO()):
            return torch.onnx.export(
                model, (x,), dynamo=True, dynamic_shapes=(axes,), opset_version=OPSET, verbose=False
            )

    alone, _ = best(export, repeats)
    total, built = best(ours, repeats)
    peer, program = best(theirs, max(1, repeats - 1))
    sizes = without_weights(built), graph_size(program.model_proto)
    print(
        f"{name:<10} export {alone:7.3f} s   any2onnx {total:7.3f} s ({total / alone:5.2f} × export)   "
        f"torch.onnx {peer:7.3f} s ({peer / total:5.1f} × any2onnx)   "
        f"graph {sizes[0] / 1000:.0f} kB against {sizes[1] / 1000:.0f} kB ({sizes[1] / sizes[0]:.1f} ×)",
        flush=True,
    )


def main() -> None:
    """Measure every model, or those that are named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", nargs="*", choices=sorted(MODELS), default=sorted(MODELS))
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    default_registry()
    for name in arguments.only:
        measure(name, arguments.repeats)


if __name__ == "__main__":
    main()
