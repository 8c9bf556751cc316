"""Small modules that the operator database leaves out: element types, sizes other than the traced ones, views."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import opdb_dynamic
import pytest
import torch
from pytorch_support import answers, as_array, convert, run, same
from torch import nn
from torch.nn import functional


class Function(nn.Module):
    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *tensors: torch.Tensor) -> Any:
        return self.function(*tensors)


def check(function: Callable[..., Any], *tensors: torch.Tensor) -> None:
    model = Function(function)
    same(run(convert(model, tensors), *tensors), answers(model, *(t.clone() for t in tensors)))


# --- element types ----------------------------------------------------------------------------------------------------

TYPES = ["uint8", "int8", "int16", "int32", "int64", "float16", "float64"]
FAMILIES: dict[str, Callable[[torch.Tensor], Any]] = {
    "sums": lambda x: (x.sum(-1), x.prod(-1), x.cumsum(0)),
    "extremes": lambda x: (x.amax(-1), x.amin(0), x.argmax(-1), x.max(), x.min(1), x.aminmax(dim=0)),
    "order": lambda x: (x.sort(1).values, x.unique(), x.topk(2).values, x.msort()),
    "arithmetic": lambda x: (x // 3, x % 3, x * 2 + 1, -x, x.abs(), x == 2, x < 3, x.clamp(2, 5), x.square()),
    "moves": lambda x: (
        x.flip(0),
        x.roll(1, 1),
        x.tril(),
        x.repeat(2, 1),
        functional.pad(x, (1, 1), value=3),
        x.diagonal(),
    ),
    "choices": lambda x: (x.nonzero(), x[x > 4], x.masked_fill(x > 4, 1), torch.where(x > 3, x, x * 0), x.any(1)),
}


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("family", FAMILIES)
def test_types(family: str, dtype: str) -> None:
    x = torch.tensor([[5, 2, 7, 0], [1, 1, 3, 6], [8, 2, 2, 4]]).to(getattr(torch, dtype))
    check(FAMILIES[family], x)


# --- in place, through views ------------------------------------------------------------------------------------------


def _diagonal(x: torch.Tensor) -> Any:
    y, z = x.clone().fill_diagonal_(3.0), x * 2
    z.fill_diagonal_(1.0)
    return y, z + 1


def _views(x: torch.Tensor) -> torch.Tensor:
    x = x.clone()
    x[:, 1] = 5
    x[0] += 1
    x[x > 2] = 0
    x[..., -1].mul_(2)
    return x


@pytest.mark.parametrize("function", [_diagonal, _views])
def test_writing_into_views(function: Callable[..., Any]) -> None:
    check(function, torch.randn(4, 3, generator=torch.Generator().manual_seed(0)))


# --- sizes ------------------------------------------------------------------------------------------------------------

IMAGES = {
    "max_pool_ceil": lambda x: functional.max_pool2d(x, 3, 2, 1, ceil_mode=True, return_indices=True),
    "max_pool_dilated": lambda x: functional.max_pool2d(
        x, (3, 2), 2, 1, dilation=(1, 2), ceil_mode=True, return_indices=True
    ),
    "avg_pool_ceil": lambda x: functional.avg_pool2d(x, 3, 2, 1, ceil_mode=True),
    "avg_pool_ceil_inside": lambda x: functional.avg_pool2d(x, 3, 2, 1, ceil_mode=True, count_include_pad=False),
    "adaptive_max": lambda x: functional.adaptive_max_pool2d(x, (3, 2), return_indices=True),
    "adaptive_avg": lambda x: functional.adaptive_avg_pool2d(x, (3, None)),
    "interpolate": lambda x: functional.interpolate(x, scale_factor=1.7, mode="bilinear"),
    "windows": lambda x: functional.unfold(x, (2, 3), padding=1, stride=2),
}


@pytest.mark.parametrize("function", IMAGES.values(), ids=IMAGES)
def test_images_of_other_sizes(function: Callable[..., Any]) -> None:
    model = Function(function)
    x = torch.randn(2, 3, 7, 9, generator=torch.Generator().manual_seed(0))
    marks = {0: torch.export.Dim.AUTO, 2: torch.export.Dim.AUTO, 3: torch.export.Dim.AUTO}
    program = torch.export.export(model, (x,), dynamic_shapes=((marks,),), strict=False)
    free = opdb_dynamic.free_dims(program)
    assert len(free[0]) == 3
    proto = convert(program)
    for more in (0, 1, 2, 5):
        (longer,) = opdb_dynamic.longer([x], free, more)
        same(run(proto, longer), [as_array(v) for v in torch.utils._pytree.tree_leaves(model(longer))])


def test_real_numbers_among_sizes() -> None:
    class Scaled(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.new_ones(torch.sym_int(x.shape[0] * 0.7), torch.sym_int(x.shape[0] / 2 + 0.75))

    proto = convert(Scaled(), (torch.zeros(5, 2),), dynamic_shapes={"x": {0: "n"}})
    for n in (2, 5, 9):
        assert run(proto, torch.zeros(n, 2))[0].shape == tuple(Scaled()(torch.zeros(n, 2)).shape)


class Mixed(nn.Module):
    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.linear, self.norm, self.conv = nn.Linear(4, 4), nn.LayerNorm(4), nn.Conv1d(2, 3, 3)
        self.dtype = dtype

    def forward(self, x: torch.Tensor) -> Any:
        with torch.autocast("cpu", dtype=self.dtype):
            y = self.linear(x)
            z = self.norm(y).softmax(-1)
            product = y @ y.t()
            with torch.autocast("cpu", enabled=False):
                exact = x * 1.001
            both = torch.cat([y, x]) + y.float().sum()
            filtered = self.conv(x[None])
        return y.float(), z.float(), product.float(), both, exact, filtered.float()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_regions_under_autocast(dtype: torch.dtype) -> None:
    model, x = Mixed(dtype).eval(), torch.randn(2, 4)
    got = run(convert(model, (x,)), x)
    with torch.no_grad():
        want = [part.numpy() for part in model(x)]
    # A few units in the last place of the narrow type; what is not narrowed agrees as ever.
    loose = 4 * torch.finfo(dtype).eps
    for k, (a, b) in enumerate(zip(got, want, strict=True)):
        assert a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=1e-6 if k == 4 else loose, atol=1e-6 if k == 4 else 4 * loose)
