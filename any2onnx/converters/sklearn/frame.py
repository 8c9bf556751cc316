"""A result whose columns are of several element types: what numpy has as an array of objects, pandas as a frame."""

from __future__ import annotations

from any2onnx.graph.types import Value


class Frame(tuple[Value, ...]):
    """Matrices [batch, n] side by side, each of one element type, that no tensor of ONNX could hold together."""

    __slots__ = ()
