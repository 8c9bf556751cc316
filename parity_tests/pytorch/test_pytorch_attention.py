"""nn.MultiheadAttention in every form, control flow of torch's higher-order operators, ONNX operators in the model."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from pytorch_support import answers, convert, run
from torch import nn

BATCH, QUERIES, KEYS, WIDTH, HEADS = 2, 3, 4, 8, 2


class Attention(nn.Module):
    def __init__(self, need_weights: bool, average: bool, causal: bool, **settings: Any) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(WIDTH, HEADS, **settings)
        for parameter in self.parameters():
            nn.init.normal_(parameter, std=0.4)
        self.call = {"need_weights": need_weights, "average_attn_weights": average, "is_causal": causal}

    def forward(
        self,
        q: torch.Tensor,
        k: torch.Tensor,
        v: torch.Tensor,
        mask: torch.Tensor | None = None,
        padding: torch.Tensor | None = None,
    ) -> Any:
        result = self.attention(q, k, v, attn_mask=mask, key_padding_mask=padding, **self.call)
        return result if self.call["need_weights"] else result[0]


def tensors(batch_first: bool, keys: int = WIDTH, values: int = WIDTH) -> list[torch.Tensor]:
    shapes = [(QUERIES, WIDTH), (KEYS, keys), (KEYS, values)]
    made = [torch.randn(BATCH, *shape) for shape in shapes]
    return made if batch_first else [x.transpose(0, 1).contiguous() for x in made]


def same(model: nn.Module, *args: Any, **arguments: Any) -> None:
    proto = convert(model.eval(), args, **arguments)
    given = [a for a in args if a is not None]
    for got, want in zip(run(proto, *given), answers(model, *args), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=2e-6)


MASKS: dict[str, Any] = {
    "none": None,
    "bool": torch.tensor([[False, True, False, True], [False, False, True, True], [True, False, False, False]]),
    "float": torch.randn(QUERIES, KEYS),
    "by head": torch.randn(BATCH * HEADS, QUERIES, KEYS),
    "a row all masked": torch.tensor([[True] * 4, [False] * 4, [True, False, True, False]]),
}
PADDINGS: dict[str, Any] = {
    "none": None,
    "left": torch.tensor([[True, True, False, False], [False] * 4]),
    "right": torch.tensor([[False, False, False, True], [False, True, True, True]]),
    "all": torch.tensor([[True] * 4, [False] * 4]),
}


@pytest.mark.parametrize("need_weights", [False, True], ids=["fast", "weights"])
@pytest.mark.parametrize(("mask", "padding"), list(itertools.product(MASKS, PADDINGS)))
def test_masks(mask: str, padding: str, need_weights: bool) -> None:
    a, b = MASKS[mask], PADDINGS[padding]
    if a is not None and b is not None and a.dtype != b.dtype:
        b = torch.zeros(b.shape).masked_fill(b, -torch.inf)
    same(Attention(need_weights, True, False, batch_first=True), *tensors(True), a, b)


SETTINGS: dict[str, dict[str, Any]] = {
    "sequence first": {},
    "batch first": {"batch_first": True},
    "no bias": {"bias": False},
    "widths of keys and values": {"kdim": 5, "vdim": 6},
    "bias of keys and values": {"add_bias_kv": True},
    "a key of zeros": {"add_zero_attn": True},
    "all": {"kdim": 5, "vdim": 6, "add_bias_kv": True, "add_zero_attn": True, "batch_first": True, "bias": True},
}


@pytest.mark.parametrize("opset", [18, 23])
@pytest.mark.parametrize("average", [True, False])
@pytest.mark.parametrize("name", SETTINGS)
def test_settings(name: str, average: bool, opset: int) -> None:
    settings = SETTINGS[name]
    given = tensors(settings.get("batch_first", False), settings.get("kdim", WIDTH), settings.get("vdim", WIDTH))
    same(Attention(True, average, False, **settings), *given, MASKS["bool"], PADDINGS["right"], opset=opset)


def test_without_a_batch() -> None:
    q, k, v = (x[0] for x in tensors(True))
    same(Attention(True, True, False), q, k, v)


def test_causal() -> None:
    mask = nn.Transformer.generate_square_subsequent_mask(QUERIES)
    q, _, _ = tensors(True)
    same(Attention(False, True, True, batch_first=True), q, q, q, mask)


def test_other_sizes_than_the_traced_ones() -> None:
    model = Attention(True, True, False, batch_first=True).eval()
    spec = {
        "q": {0: "batch", 1: "queries"},
        "k": {0: "batch", 1: "keys"},
        "v": {0: "batch", 1: "keys"},
        "mask": None,
        "padding": {0: "batch", 1: "keys"},
    }
    proto = convert(model, (*tensors(True), None, PADDINGS["left"]), dynamic_shapes=spec)
    for batch, queries, keys in ((1, 1, 1), (3, 5, 2), (2, 4, 6)):
        given = [torch.randn(batch, n, WIDTH) for n in (queries, keys, keys)]
        padding = torch.rand(batch, keys) > 0.6
        padding[:, -1] = False
        for got, want in zip(run(proto, *given, padding), answers(model, *given, None, padding), strict=True):
            np.testing.assert_allclose(got, want, rtol=1e-5, atol=2e-6)


# --- control flow ---------------------------------------------------------------------------------------------------


class Call(nn.Module):
    def __init__(self, function: Any) -> None:
        super().__init__()
        self.linear, self.function = nn.Linear(4, 4), function

    def forward(self, *args: torch.Tensor) -> Any:
        return self.function(self, *args)


def mapped(m: Any, x: torch.Tensor) -> Any:
    from torch._higher_order_ops.map import map as torch_map

    return torch_map(lambda row, scale: torch.tanh(row) * scale, x, x.sum())


def running(m: Any, x: torch.Tensor) -> Any:
    from torch._higher_order_ops.associative_scan import associative_scan

    return associative_scan(lambda a, b: a + b, x, dim=0, combine_mode="generic")


def scanned(m: Any, x: torch.Tensor) -> Any:
    from torch._higher_order_ops.scan import scan

    return scan(lambda state, row: (state + row, state * 2 + row), x[0] * 0, x, dim=0, reverse=True)


def repeated(m: Any, x: torch.Tensor) -> Any:
    from torch._higher_order_ops.while_loop import while_loop

    return while_loop(lambda n, y: n < 4, lambda n, y: (n + 1, m.linear(y)), (torch.zeros((), dtype=torch.int64), x))


def branched(m: Any, x: torch.Tensor) -> Any:
    return torch.cond(x.sum() > 0, lambda y: (m.linear(y), y * 2), lambda y: (y - 1, y.sin()), (x,))


def nested(m: Any, x: torch.Tensor) -> Any:
    def inner(y: torch.Tensor) -> torch.Tensor:
        return torch.cond(y.max() > 1, lambda z: z / 2, lambda z: z * 3, (y,))

    return torch.cond(x.sum() > 0, inner, lambda y: y.cos(), (x,))


@pytest.mark.parametrize("function", [mapped, scanned, repeated, branched, nested])
def test_control_flow(function: Any) -> None:
    model = Call(function)
    proto = convert(model, (torch.randn(3, 4),), dynamic_shapes=(({0: "rows"},),))
    for x in (torch.randn(3, 4), -torch.rand(5, 4), torch.rand(2, 4) * 3, torch.randn(1, 4)):
        for got, want in zip(run(proto, x), answers(model, x), strict=True):
            np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


def test_associative_scan() -> None:
    """torch keeps it whole for tensors on CUDA only; elsewhere it comes as a vmap for each level of its tree."""
    model, x = Call(running), torch.randn(3, 4)
    for got, want in zip(run(convert(model, (x,)), x), answers(model, x), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


# --- ONNX operators that the model itself writes ----------------------------------------------------------------------


def test_attention_of_torch_onnx_ops() -> None:
    q, k = torch.randn(2, 4, 3, 8), torch.randn(2, 2, 5, 8)
    mask = torch.rand(3, 5) > 0.3

    def function(m: Any, q: torch.Tensor, k: torch.Tensor, mask: torch.Tensor) -> Any:
        return torch.onnx.ops.attention(q, k, k * 2, mask, scale=0.3)[0]

    model = Call(function)
    proto = convert(model, (q, k, mask), opset=23)
    assert "Attention" in {node.op_type for node in proto.graph.node}
    np.testing.assert_allclose(run(proto, q, k, mask)[0], answers(model, q, k, mask)[0], rtol=1e-5, atol=1e-6)


def test_a_symbolic_operator_with_several_outputs() -> None:
    x = torch.randn(3, 4)

    def function(m: Any, x: torch.Tensor) -> Any:
        values, places = torch.onnx.ops.symbolic_multi_out(
            "TopK",
            (x, torch.tensor([2])),
            {"axis": -1},
            dtypes=(torch.float32, torch.int64),
            shapes=((3, 2), (3, 2)),
        )
        return values, places

    got = run(convert(Call(function), (x,)), x)
    want = torch.topk(x, 2)
    np.testing.assert_array_equal(got[0], want[0].numpy())
    np.testing.assert_array_equal(got[1], want[1].numpy())


# --- flex attention ---------------------------------------------------------------------------------------------------


BIASES = torch.randn(HEADS, 16)


def by_distance(score: Any, b: Any, h: Any, i: Any, j: Any) -> Any:
    return score + (i - j) * 0.1 * (h + 1)


def by_table(score: Any, b: Any, h: Any, i: Any, j: Any) -> Any:
    return score + BIASES[h, i - j + 8]


def causal(b: Any, h: Any, i: Any, j: Any) -> Any:
    return i >= j


def windowed(b: Any, h: Any, i: Any, j: Any) -> Any:
    return (i - j < 3) & (j - i < 2) & (i != 4)


@pytest.mark.parametrize("mask", [None, causal, windowed], ids=lambda f: getattr(f, "__name__", "all"))
@pytest.mark.parametrize("score", [None, by_distance, by_table], ids=lambda f: getattr(f, "__name__", "plain"))
def test_flex_attention(score: Any, mask: Any) -> None:
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention

    def function(m: Any, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> Any:
        sizes = {"B": None, "H": None, "Q_LEN": q.shape[2], "KV_LEN": k.shape[2], "device": "cpu"}
        block_mask = create_block_mask(mask, **sizes) if mask else None
        return flex_attention(q, k, v, score_mod=score, block_mask=block_mask, scale=0.4, enable_gqa=True)

    heads = (HEADS, 1, 1)
    shapes = [(BATCH, n, 7, WIDTH) for n in heads]
    model = Call(function)
    proto = convert(model, tuple(torch.randn(shape) for shape in shapes))
    other = [torch.randn(shape) for shape in shapes]
    np.testing.assert_allclose(run(proto, *other)[0], answers(model, *other)[0], rtol=1e-5, atol=1e-6)
