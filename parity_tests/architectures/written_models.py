"""Models written by hand, as people write them: convolutions, a U-Net, diffusion blocks, taggers, mixtures."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from architecture import Architecture, Inputs
from torch import nn
from torch.nn import functional


class ConvolutionBlock(nn.Module):
    """Two convolutions with batch normalisation."""

    def __init__(self, inner: int, outer: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(inner, outer, 3, padding=1, bias=False),
            nn.BatchNorm2d(outer),
            nn.ReLU(inplace=True),
            nn.Conv2d(outer, outer, 3, padding=1),
            nn.ReLU(inplace=True),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x)


class UNet(nn.Module):
    """Down, up, and the shortcuts between; any image size, odd ones as well."""

    def __init__(self) -> None:
        super().__init__()
        self.down1, self.down2, self.middle = ConvolutionBlock(3, 8), ConvolutionBlock(8, 12), ConvolutionBlock(12, 16)
        self.up2, self.up1 = nn.ConvTranspose2d(16, 12, 2, 2), nn.ConvTranspose2d(12, 8, 2, 2)
        self.join2, self.join1 = ConvolutionBlock(24, 12), ConvolutionBlock(16, 8)
        self.head = nn.Conv2d(8, 4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        a = self.down1(x)
        b = self.down2(functional.max_pool2d(a, 2))
        y = self.up2(self.middle(functional.max_pool2d(b, 2)))
        y = functional.interpolate(y, size=b.shape[-2:], mode="bilinear", align_corners=False)
        y = self.up1(self.join2(torch.cat([b, y], 1)))
        y = functional.interpolate(y, size=a.shape[-2:], mode="nearest")
        return self.head(self.join1(torch.cat([a, y], 1))).softmax(1)


class TimeEmbedding(nn.Module):
    """Sines and cosines of the step of a diffusion."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self.layers = nn.Sequential(nn.Linear(width, 32), nn.SiLU(), nn.Linear(32, 32))

    def forward(self, step: torch.Tensor) -> torch.Tensor:
        half = self.width // 2
        frequencies = torch.exp(-math.log(10000) * torch.arange(half, device=step.device) / half)
        angle = step[:, None].float() * frequencies[None]
        return self.layers(torch.cat([angle.sin(), angle.cos()], -1))


class DiffusionBlock(nn.Module):
    """Group normalisation, the time added, attention over the pixels and to a text."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.GroupNorm(4, channels), nn.GroupNorm(4, channels)
        self.conv1, self.conv2 = (
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.Conv2d(channels, channels, 3, padding=1),
        )
        self.time = nn.Linear(32, channels)
        self.own = nn.MultiheadAttention(channels, 4, batch_first=True)
        self.cross = nn.MultiheadAttention(channels, 4, batch_first=True, kdim=12, vdim=12)
        self.norm = nn.LayerNorm(channels)

    def forward(self, x: torch.Tensor, time: torch.Tensor, text: torch.Tensor) -> torch.Tensor:
        y = self.conv1(functional.silu(self.norm1(x))) + self.time(functional.silu(time))[:, :, None, None]
        y = x + self.conv2(functional.silu(self.norm2(y)))
        batch, channels, height, width = y.shape
        pixels = self.norm(y.flatten(2).transpose(1, 2))
        pixels = pixels + self.own(pixels, pixels, pixels, need_weights=False)[0]
        pixels = pixels + self.cross(pixels, text, text, need_weights=False)[0]
        return y + pixels.transpose(1, 2).reshape(batch, channels, height, width)


class Denoiser(nn.Module):
    """A small conditional diffusion model."""

    def __init__(self) -> None:
        super().__init__()
        self.time = TimeEmbedding(16)
        self.first, self.last = nn.Conv2d(4, 16, 3, padding=1), nn.Conv2d(16, 4, 3, padding=1)
        self.blocks = nn.ModuleList([DiffusionBlock(16), DiffusionBlock(16)])

    def forward(self, x: torch.Tensor, step: torch.Tensor, text: torch.Tensor) -> torch.Tensor:
        time, y = self.time(step), self.first(x)
        for block in self.blocks:
            y = block(y, time, text)
        return self.last(y)


class Tagger(nn.Module):
    """Words to tags by a bidirectional recurrent layer of two levels."""

    def __init__(self, kind: type[nn.Module], **settings: Any) -> None:
        super().__init__()
        self.embed = nn.Embedding(50, 12, padding_idx=0)
        self.rnn = kind(12, 8, num_layers=2, bidirectional=True, batch_first=True, **settings)
        self.head = nn.LazyLinear(5)
        self(torch.ones(1, 2, dtype=torch.long))

    def forward(self, words: torch.Tensor) -> torch.Tensor:
        return self.head(self.rnn(self.embed(words))[0]).log_softmax(-1)


class CausalConvolutions(nn.Module):
    """Dilated convolutions that see the past only, gated."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Conv1d(6, 12, 2, dilation=2**k) for k in range(4)])
        self.head = nn.Conv1d(6, 3, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for k, layer in enumerate(self.layers):
            a, b = layer(functional.pad(x, (2**k, 0))).chunk(2, 1)
            x = x + torch.tanh(a) * torch.sigmoid(b)
        return self.head(x)


class Translator(nn.Module):
    """torch.nn.Transformer with both kinds of masks."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(50, 16)
        self.body = nn.Transformer(16, 4, 2, 2, 24, batch_first=True)
        self.head = nn.Linear(16, 50)

    def forward(self, source: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        mask = nn.Transformer.generate_square_subsequent_mask(target.shape[1])
        hidden = source == 0
        y = self.body(
            self.embed(source),
            self.embed(target),
            tgt_mask=mask,
            src_key_padding_mask=hidden,
            memory_key_padding_mask=hidden,
            tgt_is_causal=True,
        )
        return self.head(y)


class Mixture(nn.Module):
    """Two of four experts for each token, chosen by top-k, computed densely."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = nn.Linear(8, 4)
        self.experts = nn.ModuleList([nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 8)) for _ in range(4)])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        weights, chosen = self.gate(x).softmax(-1).topk(2, -1)
        full = torch.zeros_like(self.gate(x)).scatter(-1, chosen, weights)
        return sum(full[..., k : k + 1] * expert(x) for k, expert in enumerate(self.experts))


class Graph(nn.Module):
    """A graph convolution by scattered sums over edges."""

    def __init__(self) -> None:
        super().__init__()
        self.own, self.other = nn.Linear(6, 6), nn.Linear(6, 6)

    def forward(self, x: torch.Tensor, edges: torch.Tensor) -> torch.Tensor:
        messages = self.other(x)[edges[0]]
        total = torch.zeros_like(x).index_add(0, edges[1], messages)
        count = torch.zeros(x.shape[0]).index_add(0, edges[1], torch.ones(edges.shape[1])).clamp(min=1)
        return functional.relu(self.own(x) + total / count[:, None])


class MobileBlock(nn.Module):
    """Depthwise convolutions, squeeze and excitation, hard swish."""

    def __init__(self) -> None:
        super().__init__()
        self.wide = nn.Sequential(nn.Conv2d(3, 16, 1), nn.BatchNorm2d(16), nn.Hardswish())
        self.deep = nn.Sequential(nn.Conv2d(16, 16, 5, 2, 2, groups=16), nn.BatchNorm2d(16), nn.Hardswish())
        self.squeeze = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(16, 4, 1), nn.ReLU(), nn.Conv2d(4, 16, 1), nn.Hardsigmoid()
        )
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d((2, 3)), nn.Flatten(), nn.Linear(96, 5))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.deep(self.wide(x))
        return self.head(y * self.squeeze(y))


def _image(batch: int, height: int, width: int) -> Inputs:
    return {"x": torch.randn(batch, 3, height, width)}


def _noise(batch: int, height: int, width: int, words: int) -> Inputs:
    return {
        "x": torch.randn(batch, 4, height, width),
        "step": torch.randint(0, 1000, (batch,)),
        "text": torch.randn(batch, words, 12),
    }


def _words(batch: int, length: int) -> Inputs:
    return {"words": torch.randint(1, 50, (batch, length))}


def _pair(batch: int, length: int, target: int) -> Inputs:
    source = torch.randint(1, 50, (batch, length))
    source[:, length // 2 + 1 :] = 0
    return {"source": source, "target": torch.randint(1, 50, (batch, target))}


def _network(nodes: int, edges: int) -> Inputs:
    return {"x": torch.randn(nodes, 6), "edges": torch.randint(0, nodes, (2, edges))}


def _case(
    name: str,
    make: Callable[[], nn.Module],
    inputs: Callable[..., Inputs],
    sizes: tuple[tuple[int, ...], ...],
    dynamic: dict[str, Any],
) -> Architecture:
    return Architecture(
        name=name, make=make, inputs=inputs, traced=sizes[0], others=sizes[1:], dynamic=dynamic, sampled=True
    )


SQUARE = {0: "batch", 2: "height", 3: "width"}
TOKENS = {0: "batch", 1: "length"}
WORD_SIZES = ((2, 5), (1, 3), (4, 9), (3, 1))

WRITTEN: list[Architecture] = [
    _case("u-net", UNet, _image, ((2, 16, 20), (1, 12, 8), (3, 17, 22), (1, 31, 9)), {"x": SQUARE}),
    _case("mobile", MobileBlock, _image, ((2, 16, 20), (1, 12, 9), (3, 17, 23), (1, 32, 8)), {"x": SQUARE}),
    _case(
        "denoiser",
        Denoiser,
        _noise,
        ((2, 8, 6, 5), (1, 4, 8, 3), (3, 6, 6, 7), (2, 3, 5, 1)),
        {"x": SQUARE, "step": {0: "batch"}, "text": {0: "batch", 1: "words"}},
    ),
    _case("lstm-tagger", lambda: Tagger(nn.LSTM), _words, WORD_SIZES, {"words": TOKENS}),
    _case("lstm-projected-tagger", lambda: Tagger(nn.LSTM, proj_size=3), _words, WORD_SIZES, {"words": TOKENS}),
    _case("gru-tagger", lambda: Tagger(nn.GRU), _words, WORD_SIZES, {"words": TOKENS}),
    _case(
        "causal-convolutions",
        CausalConvolutions,
        lambda batch, length: {"x": torch.randn(batch, 6, length)},
        ((2, 20), (1, 5), (3, 33), (2, 1)),
        {"x": {0: "batch", 2: "length"}},
    ),
    _case(
        "translator",
        Translator,
        _pair,
        ((2, 7, 5), (1, 4, 3), (3, 9, 8), (2, 3, 1)),
        {"source": TOKENS, "target": {0: "batch", 1: "target"}},
    ),
    _case(
        "mixture",
        Mixture,
        lambda batch, length: {"x": torch.randn(batch, length, 8)},
        WORD_SIZES,
        {"x": TOKENS},
    ),
    _case("graph", Graph, _network, ((5, 8), (3, 4), (9, 20), (2, 1)), {"x": {0: "nodes"}, "edges": {1: "edges"}}),
]
