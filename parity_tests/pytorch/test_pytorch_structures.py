"""Dataclasses in and out, names of outputs that are inputs as well, sizes at which the model takes another path."""

from __future__ import annotations

import collections
import dataclasses
import json
import warnings
from typing import Any

import onnx
import pytest
import torch
from pytorch_support import answers, convert, run, same
from torch import nn


@dataclasses.dataclass
class Pair:
    left: torch.Tensor
    right: torch.Tensor | None


@dataclasses.dataclass
class Both:
    total: torch.Tensor
    parts: dict[str, torch.Tensor]


class Joined(nn.Module):
    def forward(self, pair: Pair, scale: float = 2.0) -> Both:
        right = pair.left if pair.right is None else pair.right
        return Both(pair.left + right * scale, {"left": pair.left * 3, "right": right + 1})


@pytest.mark.parametrize("second", [True, False])
def test_dataclasses_need_no_registration(second: bool) -> None:
    pair = Pair(torch.randn(2, 3), torch.randn(2, 3) if second else None)
    proto = convert(Joined(), (pair,))
    assert [i.name for i in proto.graph.input] == ["pair_left", "pair_right"][: 1 + second]
    assert [o.name for o in proto.graph.output] == ["total", "parts_left", "parts_right"]
    inputs = [x for x in (pair.left, pair.right) if x is not None]
    same(run(proto, *inputs), answers(Joined(), pair))


class Scaled(nn.Module):
    def forward(self, both: Both) -> tuple[torch.Tensor, torch.Tensor]:
        return both.total[:, :1] * both.parts["left"].sum(), both.total + 1


@pytest.mark.parametrize(
    "spec",
    [
        {"both": {"total": {0: "rows"}, "parts": {"left": {0: "length"}}}},
        ({"total": {0: "rows"}, "parts": {"left": {0: "length"}}},),
        {"both": [{0: "rows"}, {"left": {0: "length"}}]},
    ],
    ids=["by names", "by position", "as torch wants it"],
)
def test_dynamic_fields_of_a_dataclass(spec: Any) -> None:
    proto = convert(Scaled(), (Both(torch.randn(2, 3), {"left": torch.randn(4)}),), dynamic_shapes=spec)
    other = Both(torch.randn(5, 3), {"left": torch.randn(1)})
    same(run(proto, other.total, other.parts["left"]), answers(Scaled(), other))


class Answers(collections.OrderedDict):  # type: ignore[type-arg]
    """A kind of dict that nobody has registered."""


class Batch(collections.UserDict):  # type: ignore[type-arg]
    """A Mapping that is no dict."""


class Merged(nn.Module):
    def forward(self, given: Any) -> Answers:
        return Answers(total=given["a"] + given["b"], parts=(given["a"] * 2, None, [given["b"] - 1]))


@pytest.mark.parametrize("kind", [dict, Answers, Batch])
def test_kinds_of_dict_need_no_registration(kind: Any) -> None:
    example = kind(a=torch.randn(2, 3), b=torch.randn(2, 3))
    proto = convert(Merged(), (example,), dynamic_shapes={"given": {"a": {0: "rows"}, "b": {0: "rows"}}})
    assert [i.name for i in proto.graph.input] == ["given_a", "given_b"]
    assert [o.name for o in proto.graph.output] == ["total", "parts_0", "parts_2_0"]
    other = kind(a=torch.randn(7, 3), b=torch.randn(7, 3))
    same(run(proto, other["a"], other["b"]), answers(Merged(), other))


class Growing(nn.Module):
    def forward(self, x: torch.Tensor, past_state: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"x": x + 1, "past_state": torch.cat([past_state, x], 1)}


def test_outputs_called_as_inputs_get_names_of_their_own() -> None:
    proto = convert(Growing(), (torch.randn(2, 1), torch.randn(2, 3)))
    assert [o.name for o in proto.graph.output] == ["output_x", "present_state"]


class Halves(nn.Module):
    """Takes one of two paths by the length, as models with windows do."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x[:, ::2] + 1 if x.shape[1] % 4 == 0 else x[:, 1::2] * 2


class Plain(nn.Module):
    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.conv1d((x + y)[:, None], torch.ones(1, 1, 3))


def test_sizes_of_another_path_are_warned_of() -> None:
    with pytest.warns(UserWarning, match=r"another path .*length % 4\) == 0"):
        proto = convert(Halves(), (torch.randn(2, 8),), dynamic_shapes=({0: "batch", 1: "length"},))
    kept: Any = {p.key: p.value for p in proto.metadata_props}
    assert json.loads(kept["any2onnx.sizes"]) == ["(length % 4) == 0"]
    x = torch.randn(3, 12)
    same(run(proto, x), answers(Halves(), x))


def test_equal_names_and_smallest_sizes_are_no_reason_to_warn() -> None:
    dims = {0: "batch", 1: "length"}
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        proto = convert(Plain(), (torch.randn(2, 8), torch.randn(2, 8)), dynamic_shapes=(dims, dims))
    assert isinstance(proto, onnx.ModelProto)
    assert "any2onnx.sizes" not in {p.key for p in proto.metadata_props}
