"""Channels first and last, and the paddings of windows ("valid", "same", "causal").

ONNX's windowed operators take [N, C, ...]; a channels-last layer becomes Transpose → operator → Transpose, and the
layout pass takes the pairs away.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from any2onnx.graph.builder import GraphBuilder
from any2onnx.graph.types import Dim, Value, rank_of, shape_of


def to_channels_first(g: GraphBuilder, x: Value, data_format: str) -> Value:
    """Return [N, ..., C] as [N, C, ...]; channels-first values stay."""
    rank = rank_of(x)
    if data_format == "channels_first" or rank < 3:
        return x
    return g.Transpose(x, perm=[0, rank - 1, *range(1, rank - 1)])


def from_channels_first(g: GraphBuilder, x: Value, data_format: str) -> Value:
    """Undo to_channels_first."""
    rank = rank_of(x)
    if data_format == "channels_first" or rank < 3:
        return x
    return g.Transpose(x, perm=[0, *range(2, rank), 1])


@dataclass(frozen=True, slots=True)
class Window:
    """A window that moves over the spatial dims.

    Attributes:
        size: Extent of the window, one number per spatial dim.
        strides: Steps.
        dilations: Distance between taps.
    """

    size: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]

    @property
    def extent(self) -> tuple[int, ...]:
        """Extent with the gaps that dilation makes."""
        return tuple((k - 1) * d + 1 for k, d in zip(self.size, self.dilations, strict=True))


def same_pads(window: Window, spatial: Sequence[Dim]) -> list[int] | None:
    """Return ONNX pads (starts, then ends) for padding="same"; None where they depend on a dim that varies.

    The output has ceil(in / stride) positions and an odd cell of padding goes to the end, as in every Keras backend.
    """
    starts: list[int] = []
    ends: list[int] = []
    for extent, stride, dim in zip(window.extent, window.strides, spatial, strict=True):
        if isinstance(dim, int):
            total = max((-(-dim // stride) - 1) * stride + extent - dim, 0)
        elif stride == 1:
            total = extent - 1
        else:
            return None
        starts.append(total // 2)
        ends.append(total - total // 2)
    return starts + ends


def computed_same_pads(g: GraphBuilder, x: Value, window: Window) -> Value:
    """Return the pads of all dims of [N, C, ...] for padding="same", from the sizes at run time (int64 vector)."""
    sizes = g.Shape(x, start=2)
    strides = g.const(np.asarray(window.strides, np.int64))
    extent = g.const(np.asarray(window.extent, np.int64))
    positions = g.Div(g.Add(sizes, g.Sub(strides, np.int64(1))), strides)
    covered = g.Add(g.Mul(g.Sub(positions, np.int64(1)), strides), extent)
    total = g.Max(g.Sub(covered, sizes), np.int64(0))
    starts = g.Div(total, np.int64(2))
    none = [0, 0]
    return g.shape_vector([*none, starts, *none, g.Sub(total, starts)])


def spatial_dims(x: Value) -> tuple[Dim, ...]:
    """Return the spatial dims of [N, C, ...]."""
    return shape_of(x)[2:]
