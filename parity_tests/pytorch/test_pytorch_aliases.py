"""One tensor given for several inputs, or a weight for an input: torch.export alone would take both for one."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from pytorch_support import answers, convert, run, same
from torch import nn

import any2onnx


class Different(nn.Module):
    """Reads every input in another way, and a weight."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(2, 3))
        self.register_buffer("scale", torch.randn(2, 3))

    def forward(self, x: torch.Tensor, rest: dict[str, list[torch.Tensor]], *, y: torch.Tensor) -> torch.Tensor:
        return x * self.weight - y * self.scale + 2 * rest["a"][0] - 3 * rest["a"][1]


def given(rows: int = 2, *, one: torch.Tensor | None = None) -> tuple[tuple[Any, ...], dict[str, Any]]:
    x, y, a, b = (torch.randn(rows, 3) if one is None else one for _ in range(4))
    return (x, {"a": [a, b]}), {"y": y}


@pytest.mark.parametrize("source", ["one tensor", "a parameter", "a buffer"])
def test_every_input_is_read(source: str) -> None:
    model = Different()
    one = {"one tensor": torch.randn(2, 3), "a parameter": model.weight, "a buffer": model.scale}[source]
    args, kwargs = given(one=one)
    proto = convert(model, args, kwargs)
    args, kwargs = given()
    (x, rest), y = args, kwargs["y"]
    same(run(proto, x, *rest["a"], y), answers(model, x, rest, y=y))


class Attended(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        return self.attention(query, key, value, need_weights=False)[0]


@pytest.mark.parametrize(
    "dynamic",
    [
        {"dynamic_axes": {"query": {0: "batch", 1: "queries"}, "key": {0: "batch", 1: "keys"}, "value": [0, 1]}},
        {"dynamic_shapes": ({0: "batch", 1: "queries"}, {0: "batch", 1: "keys"}, {0: "batch", 1: "keys"})},
    ],
    ids=["axes", "shapes"],
)
def test_each_input_has_sizes_of_its_own(dynamic: dict[str, Any]) -> None:
    model, x = Attended(), torch.randn(2, 3, 8)
    proto = any2onnx.convert_pytorch(model, (x, x, x), **dynamic)
    args = (torch.randn(4, 5, 8), torch.randn(4, 6, 8), torch.randn(4, 6, 8))
    same(run(proto, *args), answers(model, *args))


def test_what_the_user_gave_stays_as_it_was() -> None:
    x = torch.randn(2, 3)
    args, kwargs = given(one=x)
    convert(Different(), args, kwargs)
    assert args[0] is x
    assert args[1]["a"][0] is x
    assert kwargs["y"] is x
