"""Layers with state or masks: recurrent layers, attention, normalisation, pooling at sizes other than the traced."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from pytorch_support import OPSETS, answers, convert, operators, run, same
from torch import nn
from torch.nn import functional


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("cls", [nn.LSTM, nn.GRU, nn.RNN])
def test_recurrent_layers_with_dynamic_sequence(cls: Any, batch_first: bool, bidirectional: bool) -> None:
    torch.manual_seed(0)
    model = cls(3, 4, num_layers=2, bidirectional=bidirectional, batch_first=batch_first)
    shapes = {"input": {0: "batch", 1: "length"} if batch_first else {0: "length", 1: "batch"}}
    proto = convert(model, (torch.randn(2, 5, 3),), dynamic_shapes=shapes)
    assert operators(proto).count(cls.__name__) == 2
    for first, second in ((1, 3), (4, 7), (3, 2)):
        x = torch.randn(first, second, 3)
        same(run(proto, x), answers(model, x))


@pytest.mark.parametrize("opset", OPSETS)
def test_lstm_with_given_states_and_relu_rnn(opset: int) -> None:
    torch.manual_seed(0)

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm = nn.LSTM(3, 4, bias=False)
            self.rnn = nn.RNN(4, 2, nonlinearity="relu")

        def forward(self, x: torch.Tensor, h: torch.Tensor, c: torch.Tensor) -> Any:
            y, (h, c) = self.lstm(x, (h, c))
            return self.rnn(y), h, c

    args = (torch.randn(5, 2, 3), torch.randn(1, 2, 4), torch.randn(1, 2, 4))
    model = Model()
    same(run(convert(model, args, opset=opset), *args), answers(model, *args))


def test_recurrent_layer_without_batch() -> None:
    model = nn.GRU(3, 4)
    x = torch.randn(5, 3)
    same(run(convert(model, (x,)), x), answers(model, x))


@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize("settings", [{}, {"bidirectional": True, "num_layers": 2}, {"bias": False}], ids=str)
def test_lstm_with_projections(settings: dict[str, Any], opset: int) -> None:
    torch.manual_seed(0)
    model = nn.LSTM(3, 4, proj_size=2, **settings)
    shapes = {"input": {0: "length", 1: "batch"}}
    proto = convert(model, (torch.randn(5, 2, 3),), dynamic_shapes=shapes, opset=opset)
    for length, batch in ((5, 2), (1, 1), (7, 3)):
        x = torch.randn(length, batch, 3)
        same(run(proto, x), answers(model, x))


class Packed(nn.Module):
    def __init__(self, rnn: nn.Module, batch_first: bool, ordered: bool, full: bool) -> None:
        super().__init__()
        self.rnn, self.batch_first, self.ordered, self.full = rnn, batch_first, ordered, full

    def forward(self, x: torch.Tensor, lengths: torch.Tensor) -> Any:
        packed = nn.utils.rnn.pack_padded_sequence(x, lengths, self.batch_first, self.ordered)
        y, last = self.rnn(packed)
        total = x.shape[1 if self.batch_first else 0] if self.full else None
        return nn.utils.rnn.pad_packed_sequence(y, self.batch_first, -1.0, total), last, y.data


PACKED = {
    "lstm": lambda first: nn.LSTM(3, 4, 2, bidirectional=True, batch_first=first),
    "lstm projected": lambda first: nn.LSTM(3, 4, 2, bidirectional=True, proj_size=2, batch_first=first),
    "gru": lambda first: nn.GRU(3, 4, 2, batch_first=first),
    "rnn": lambda first: nn.RNN(3, 4, nonlinearity="relu", bidirectional=True, batch_first=first),
}


@pytest.mark.parametrize("ordered", [False, True])
@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("name", PACKED)
def test_packed_sequences(name: str, full: bool, ordered: bool) -> None:
    torch.manual_seed(0)
    batch_first = full
    model = Packed(PACKED[name](batch_first), batch_first, ordered, full)

    def inputs(batch: int, length: int) -> tuple[torch.Tensor, torch.Tensor]:
        lengths = torch.randint(1, length + 1, (batch,))
        x = torch.randn(batch, length, 3)
        if ordered:
            lengths = lengths.sort(descending=True).values
        return (x if batch_first else x.transpose(0, 1).contiguous()), lengths

    shapes = {"x": {0 if batch_first else 1: "batch", 1 if batch_first else 0: "length"}, "lengths": {0: "batch"}}
    proto = convert(model, inputs(3, 5), dynamic_shapes=shapes)
    for batch, length in ((3, 5), (1, 2), (4, 7)):
        args = inputs(batch, length)
        same(run(proto, *args), answers(model, *args))


def test_a_user_runs_packed_layers_as_before() -> None:
    model, x = Packed(nn.LSTM(3, 4), False, True, False), torch.randn(4, 2, 3)
    lengths = torch.tensor([4, 2])
    before = answers(model, x, lengths)
    convert(nn.LSTM(3, 4), (x,))
    same(answers(model, x, lengths), before, 0, 0)
    with pytest.raises(RuntimeError, match="hidden"):
        nn.GRU(3, 4)(nn.utils.rnn.pack_padded_sequence(x, lengths), torch.zeros(1, 3, 4))


@pytest.mark.parametrize("size", [(2, 3), (4, 1), (None, 2)])
def test_adaptive_mean_of_images_of_any_size(size: Any) -> None:
    model = nn.AdaptiveAvgPool2d(size)
    proto = convert(model, (torch.randn(2, 3, 7, 8),), dynamic_shapes=({2: "height", 3: "width"},))
    for height, width in ((7, 8), (9, 5), (4, 11)):
        x = torch.randn(2, 3, height, width)
        same(run(proto, x), answers(model, x))


@pytest.mark.parametrize("opset", OPSETS)
def test_multi_head_attention_with_padding_and_causal_masks(opset: int) -> None:
    torch.manual_seed(0)

    class Attending(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

        def forward(self, x: torch.Tensor, padding: torch.Tensor) -> Any:
            causal = nn.Transformer.generate_square_subsequent_mask(x.shape[1])
            first = self.attention(x, x, x, key_padding_mask=padding, need_weights=False)[0]
            second, weights = self.attention(first, x, x, attn_mask=causal)
            return second, weights

    model = Attending()
    padding = torch.tensor([[False, False, True], [False, False, False]])
    shapes = {"x": {0: "batch", 1: "length"}, "padding": {0: "batch", 1: "length"}}
    proto = convert(model, (torch.randn(2, 3, 8), padding), dynamic_shapes=shapes, opset=opset)
    for batch, length in ((1, 2), (3, 5)):
        x, mask = torch.randn(batch, length, 8), torch.rand(batch, length) > 0.7
        mask[:, 0] = False
        same(run(proto, x, mask), answers(model, x, mask))


MASKS = {
    "none": (None, False),
    "causal": (None, True),
    "boolean": (torch.rand(2, 1, 4, 5) > 0.4, False),
    "boolean rows": (torch.rand(4, 5) > 0.4, False),
    "float": (torch.randn(2, 2, 4, 5), False),
    "broadcast": (torch.rand(2, 1, 1, 5) > 0.4, False),
    "fully masked rows": (
        torch.tensor([[False] * 5, [True] * 5, [False] * 5, [True, False, True, False, True]]),
        False,
    ),
    "minus infinity": (torch.full((4, 5), float("-inf")), False),
}


@pytest.mark.parametrize("opset", [13, 21, 23, 28])
@pytest.mark.parametrize("name", list(MASKS))
def test_every_form_of_mask(name: str, opset: int) -> None:
    mask, causal = MASKS[name]

    class Attention(nn.Module):
        def forward(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, *masks: torch.Tensor) -> torch.Tensor:
            return functional.scaled_dot_product_attention(
                q, k, v, attn_mask=masks[0] if masks else None, is_causal=causal, scale=0.7
            )

    torch.manual_seed(0)
    args = (
        torch.randn(2, 2, 4, 3),
        torch.randn(2, 2, 5, 3),
        torch.randn(2, 2, 5, 6),
        *([] if mask is None else [mask]),
    )
    same(run(convert(Attention(), args, opset=opset), *args), answers(Attention(), *args))


@pytest.mark.parametrize("opset", [13, 21, 24])
def test_causal_self_attention_with_grouped_queries(opset: int) -> None:
    class Grouped(nn.Module):
        def forward(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
            return functional.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)

    def make(batch: int, length: int) -> tuple[torch.Tensor, ...]:
        return torch.randn(batch, 4, length, 8), torch.randn(batch, 2, length, 8), torch.randn(batch, 2, length, 8)

    spec = {0: "batch", 2: "length"}
    proto = convert(Grouped(), make(2, 5), dynamic_shapes={"q": spec, "k": spec, "v": spec}, opset=opset)
    for batch, length in ((1, 1), (3, 9)):
        args = make(batch, length)
        same(run(proto, *args), answers(Grouped(), *args))
    assert ("Attention" in operators(proto)) == (opset >= 23)


NORMS = {
    "layer": (nn.LayerNorm(6), (2, 3, 6)),
    "layer plain": (nn.LayerNorm((3, 6), elementwise_affine=False), (2, 3, 6)),
    "group": (nn.GroupNorm(2, 4), (2, 4, 5)),
    "instance": (nn.InstanceNorm1d(4, affine=True), (2, 4, 5)),
    "rms": (nn.RMSNorm(6), (2, 3, 6)),
    "batch": (nn.BatchNorm1d(6), (4, 6)),
    "batch without statistics": (nn.BatchNorm2d(3, track_running_stats=False), (4, 3, 2, 2)),
    "local response": (nn.LocalResponseNorm(3), (2, 5, 4)),
}


@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize("name", list(NORMS))
def test_normalisation(name: str, opset: int) -> None:
    model, shape = NORMS[name]
    torch.manual_seed(0)
    for parameter in model.parameters():
        nn.init.uniform_(parameter, 0.5, 1.5)
    x = torch.randn(shape)
    proto = convert(model, (x,), dynamic_shapes=({0: "batch"},), opset=opset)
    for batch in (2, 5):
        x = torch.randn(batch, *shape[1:])
        same(run(proto, x), answers(model, x))


POOLS = {
    "ceil": nn.AvgPool2d(3, 2, 1, ceil_mode=True),
    "ceil max": nn.MaxPool2d(3, 2, 1, ceil_mode=True),
    "without padding": nn.AvgPool2d(3, 2, 1, count_include_pad=False, ceil_mode=True),
    "divisor": nn.AvgPool2d(3, 2, 1, divisor_override=5),
    "indices": nn.MaxPool2d(2, return_indices=True),
    "dilated": nn.MaxPool2d(2, dilation=2),
    "adaptive": nn.AdaptiveAvgPool2d((3, 2)),
    "adaptive max": nn.AdaptiveMaxPool2d((3, 2), return_indices=True),
}


@pytest.mark.parametrize("name", list(POOLS))
def test_pooling(name: str) -> None:
    model = POOLS[name]
    proto = convert(model, (torch.randn(2, 3, 8, 7),), dynamic_shapes=({0: "batch"},))
    for batch in (1, 3):
        x = torch.randn(batch, 3, 8, 7)
        same(run(proto, x), answers(model, x))


RESIZES = [
    {"scale_factor": 2.0, "mode": "nearest"},
    {"scale_factor": 1.7, "mode": "nearest-exact"},
    {"size": (7, 9), "mode": "bilinear", "align_corners": True},
    {"scale_factor": 0.6, "mode": "bilinear"},
    {"size": (9, 4), "mode": "bicubic"},
    {"size": (9, 4), "mode": "bicubic", "align_corners": True},
    {"size": (1, 1), "mode": "bilinear"},
]


@pytest.mark.parametrize("arguments", RESIZES, ids=lambda a: "-".join(str(v) for v in a.values()))
def test_interpolation(arguments: dict[str, Any]) -> None:
    class Resized(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return functional.interpolate(x, **arguments)

    proto = convert(Resized(), (torch.randn(2, 3, 5, 6),), dynamic_shapes=({0: "batch"},))
    for batch in (1, 3):
        x = torch.randn(batch, 3, 5, 6)
        same(run(proto, x), answers(Resized(), x), atol=1e-5)


def test_dropout_in_training_mode_draws_at_random_and_warns() -> None:
    program = torch.export.export(nn.Dropout(0.5).train(), (torch.ones(1000),), strict=True)
    with pytest.warns(UserWarning, match="training mode"):
        proto = convert(program)
    (drawn,) = run(proto, np.ones(1000, np.float32))
    assert set(np.unique(drawn)) == {0.0, 2.0}
    assert 400 < np.count_nonzero(drawn) < 600


def test_cells() -> None:
    for cell in (nn.LSTMCell(3, 4), nn.GRUCell(3, 4), nn.RNNCell(3, 4)):
        x = torch.randn(2, 3)
        same(run(convert(cell, (x,)), x), answers(cell, x))


def test_embedding_and_integer_arithmetic() -> None:
    class Positions(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Embedding(10, 4, padding_idx=0)

        def forward(self, ids: torch.Tensor) -> Any:
            mask = ids.ne(0).int()
            positions = torch.cumsum(mask, 1).type_as(mask) * mask
            return self.embed(positions.long()), ids // 3, ids % 4, ids / 2, ids.float().mean()

    ids = torch.tensor([[1, 2, 0], [3, 4, 5]])
    proto = convert(Positions(), (ids,), dynamic_shapes=({0: "batch", 1: "length"},))
    model = Positions()
    for x in (ids, torch.randint(0, 9, (4, 6))):
        got = run(convert(model, (ids,), dynamic_shapes=({0: "batch", 1: "length"},)), x)
        same(got, answers(model, x))
    assert np.asarray(proto.graph.input[0].type.tensor_type.elem_type) == 7
