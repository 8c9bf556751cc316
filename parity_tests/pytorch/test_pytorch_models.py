"""Whole PyTorch models: right at every batch size, opset and mask; weights by reference."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
import torch
from pytorch_support import OPSETS, answers, build, convert, operators, run, same
from sklearn.datasets import load_digits
from torch import nn

import any2onnx


class Block(nn.Module):
    def __init__(self, inner: int, outer: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inner, outer, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outer)
        self.conv2 = nn.Conv2d(outer, outer, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outer)
        self.relu = nn.ReLU(inplace=True)
        changes = stride != 1 or inner != outer
        self.down = (
            nn.Sequential(nn.Conv2d(inner, outer, 1, stride, bias=False), nn.BatchNorm2d(outer)) if changes else None
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        y += x if self.down is None else self.down(x)
        return self.relu(y)


class ResNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(inplace=True), nn.MaxPool2d(2)
        )
        self.layers = nn.Sequential(Block(8, 8, 1), Block(8, 16, 2))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(16, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(torch.flatten(self.pool(self.layers(self.stem(x))), 1))


def digits() -> torch.Tensor:
    return torch.from_numpy(load_digits().images.astype(np.float32))[:, None] / 16


@pytest.fixture(scope="module")
def resnet() -> ResNet:
    torch.manual_seed(0)
    model = ResNet()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    labels = torch.from_numpy(load_digits().target)
    for step in range(5):
        part = slice(step * 64, step * 64 + 64)
        loss = nn.functional.cross_entropy(model(digits()[part]), labels[part])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model


@pytest.mark.parametrize("opset", OPSETS)
def test_resnet_with_dynamic_batch(resnet: ResNet, opset: int) -> None:
    proto = convert(resnet, (digits()[:1],), dynamic_shapes={"x": {0: "batch"}}, opset=opset)
    assert [d.dim_param or d.dim_value for d in proto.graph.input[0].type.tensor_type.shape.dim] == ["batch", 1, 8, 8]
    assert [d.dim_param or d.dim_value for d in proto.graph.output[0].type.tensor_type.shape.dim] == ["batch", 10]
    for batch in (0, 1, 3, 40):
        x = digits()[:batch]
        same(run(proto, x), answers(resnet, x))


def test_training_mode_is_left_as_it_was(resnet: ResNet) -> None:
    resnet.train()
    resnet.layers[0].eval()
    before = [m.training for m in resnet.modules()]
    convert(resnet, (digits()[:2],))
    assert [m.training for m in resnet.modules()] == before
    resnet.train()


@pytest.mark.parametrize("opset", OPSETS)
def test_transformer_encoder_with_dynamic_batch_and_length(opset: int) -> None:
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True, activation="gelu")
    model = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
    proto = convert(model, (torch.randn(2, 5, 16),), dynamic_shapes={"src": {0: "batch", 1: "sequence"}}, opset=opset)
    for batch, length in ((0, 5), (1, 1), (3, 7), (2, 12)):
        x = torch.randn(batch, length, 16)
        same(run(proto, x), answers(model, x), atol=1e-5)
    if opset >= 20:
        assert {"LayerNormalization", "Gelu"} <= set(operators(proto))


def test_weights_are_not_copied_and_tied_weights_are_stored_once() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Embedding(50, 16)
            self.head = nn.Linear(16, 50, bias=False)
            self.head.weight = self.embed.weight

        def forward(self, ids: torch.Tensor) -> torch.Tensor:
            return self.head(self.embed(ids))

    model = Tied()
    built = build(model, (torch.tensor([[1, 2, 3]]),), dynamic_shapes={"ids": {0: "batch", 1: "length"}})
    large = [v for v in built.graph.initializers.values() if v.const_value.size >= 800]
    assert [v.name for v in large] == ["embed.weight"]
    tensor = large[0].const_value
    assert isinstance(tensor, ir.tensor_adapters.TorchTensor)
    assert tensor.raw.data_ptr() == model.embed.weight.data_ptr()
    ids = torch.randint(0, 50, (3, 4))
    same(run(ir.to_proto(built), ids), answers(model, ids))


def test_the_passes_come_to_an_end_on_a_tied_weight_and_store_it_once() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Embedding(300, 16)
            self.head = nn.Linear(16, 300, bias=False)
            self.head.weight = self.embed.weight

        def forward(self, ids: torch.Tensor) -> torch.Tensor:
            return self.head(self.embed(ids))

    model, ids = Tied(), torch.randint(0, 300, (3, 4))
    proto = any2onnx.convert_pytorch(model, (ids,), dynamic_shapes={"ids": {0: "batch", 1: "length"}})
    assert [i.name for i in proto.graph.initializer if len(i.raw_data) >= 8000] == ["embed.weight"]
    same(run(proto, ids), answers(model, ids))
