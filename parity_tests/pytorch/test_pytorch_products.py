"""Convolutions, pooling and powers in float64 and integers: no kernels in onnxruntime, dynamic sizes, every opset."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from pytorch_support import OPSETS, answers, convert, run, same
from torch import nn

F = nn.functional


class Images(nn.Module):
    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        weights = torch.randint(-3, 4, (6, 2, 3, 2), generator=torch.Generator().manual_seed(0)).to(dtype)
        self.register_buffer("weight", weights)

    def forward(self, x: torch.Tensor) -> Any:
        y = F.conv2d(x, self.weight, stride=(2, 1), padding=(1, 2), dilation=(1, 2), groups=2)
        z = F.conv_transpose2d(x, self.weight[:4], stride=(2, 3), padding=(1, 0), output_padding=(1, 2), groups=2)
        return y, z


def image(dtype: torch.dtype, *shape: int) -> torch.Tensor:
    return torch.randint(-9, 10, shape, generator=torch.Generator().manual_seed(len(shape))).to(dtype)


@pytest.mark.parametrize("dtype", [torch.float64, torch.int64])
@pytest.mark.parametrize("opset", OPSETS)
def test_convolutions_of_dynamic_size(dtype: torch.dtype, opset: int) -> None:
    model = Images(dtype)
    shapes = {"x": {0: "batch", 2: "height", 3: "width"}}
    proto = convert(model, (image(dtype, 2, 4, 7, 8),), opset=opset, dynamic_shapes=shapes)
    for shape in ((2, 4, 7, 8), (1, 4, 5, 11), (3, 4, 9, 6)):
        x = image(dtype, *shape)
        same(run(proto, x), answers(model, x), rtol=1e-12, atol=1e-12)


class Pooled(nn.Module):
    def forward(self, x: torch.Tensor) -> Any:
        return F.avg_pool2d(x, 3, 2, 1), F.avg_pool2d(x, (2, 3), count_include_pad=False, padding=1)


@pytest.mark.parametrize("opset", OPSETS)
def test_means_in_float64_of_dynamic_size(opset: int) -> None:
    model = Pooled()
    proto = convert(
        model, (image(torch.float64, 2, 3, 7, 8),), opset=opset, dynamic_shapes={"x": {0: "n", 2: "h", 3: "w"}}
    )
    for shape in ((2, 3, 7, 8), (1, 3, 5, 11)):
        x = image(torch.float64, *shape)
        same(run(proto, x), answers(model, x), rtol=1e-12, atol=1e-12)


def test_means_of_integers_are_cut() -> None:
    model, x = Pooled(), image(torch.int64, 2, 3, 7, 8)
    same(run(convert(model, (x,)), x), answers(model, x), rtol=0, atol=0)


class Powers(nn.Module):
    def forward(self, x: torch.Tensor, n: torch.Tensor) -> Any:
        return x**n, 3 ** n.abs(), x**5


def test_powers_of_integers_are_exact() -> None:
    x = torch.tensor([0, 1, -1, -1, 2, -3, 7, 3, 0, 10])
    n = torch.tensor([0, -4, -3, -2, 62, 39, -1, 40, 5, 18])
    same(run(convert(Powers(), (x, n)), x, n), answers(Powers(), x, n), rtol=0, atol=0)
