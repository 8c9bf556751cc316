"""torch.unique of floats: NaN, zeros of both signs, numbers without a dimension, nothing at all."""

from __future__ import annotations

import pytest
import torch
from pytorch_support import answers, convert, run, same

NAN = float("nan")
ROWS = [
    [1.0, NAN, 2.0, NAN, 1.0, -0.0, 0.0],
    [NAN, NAN, NAN],
    [[3.0, 1.0, 3.0], [2.0, float("inf"), -float("inf")]],
    2.0,
    [],
]


class _Unique(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return torch.unique(x, return_inverse=True, return_counts=True)


@pytest.mark.parametrize("opset", [13, 21])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16])
@pytest.mark.parametrize("rows", ROWS, ids=str)
def test_unique_floats(rows: object, dtype: torch.dtype, opset: int) -> None:
    x = torch.tensor(rows, dtype=dtype)
    same(run(convert(_Unique(), (x,), {}, opset=opset), x), answers(_Unique(), x), 0.0, 0.0)
