"""Recurrent layers as one operator each, whatever the sequence length.

torch computes the fake result of `aten.lstm.input` and its kin by unrolling the sequence in Python, which fixes a
dynamic length to that of the example. While a model is captured, kernels that only state the result's shape stand in.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def recurrent_layers_whole() -> Iterator[None]:
    """Replace torch's Python kernels of the recurrent layers; only inside the capture lock."""
    import torch

    aten = torch.ops.aten
    key = torch._C.DispatchKey.CompositeImplicitAutograd
    kernels = [
        (aten.lstm.input, _lstm),
        (aten.gru.input, _one_state),
        (aten.rnn_tanh.input, _one_state),
        (aten.rnn_relu.input, _one_state),
        # Packed sequences: refused later, by name; their unrolling would fail first, with an obscure message.
        (aten.lstm.data, _packed_lstm),
        (aten.gru.data, _packed),
        (aten.rnn_tanh.data, _packed),
        (aten.rnn_relu.data, _packed),
    ]
    before = [(op, op.py_kernels.get(key)) for op, _ in kernels]
    try:
        for op, kernel in kernels:
            op.py_kernels[key] = kernel
            op._dispatch_cache.clear()
        yield
    finally:
        for op, kernel in before:
            if kernel is None:
                op.py_kernels.pop(key, None)
            else:
                op.py_kernels[key] = kernel
            op._dispatch_cache.clear()


def _output(x: Any, hidden: int, bidirectional: bool, batch_first: bool) -> Any:
    # batch_first changes the layout of x and the output alike.
    del batch_first
    return x.new_empty((x.shape[0], x.shape[1], hidden * (2 if bidirectional else 1)))


def _lstm(
    input: Any,  # noqa: A002 - torch's name
    hx: Any,
    params: Any,
    has_biases: bool,
    num_layers: int,
    dropout: float,
    train: bool,
    bidirectional: bool,
    batch_first: bool,
) -> Any:
    del params, has_biases, num_layers, dropout, train
    h, c = hx
    return _output(input, h.shape[2], bidirectional, batch_first), h.new_empty(h.shape), c.new_empty(c.shape)


def _one_state(
    input: Any,  # noqa: A002 - torch's name
    hx: Any,
    params: Any,
    has_biases: bool,
    num_layers: int,
    dropout: float,
    train: bool,
    bidirectional: bool,
    batch_first: bool,
) -> Any:
    del params, has_biases, num_layers, dropout, train
    return _output(input, hx.shape[2], bidirectional, batch_first), hx.new_empty(hx.shape)


def _packed_lstm(data: Any, batch_sizes: Any, hx: Any, *settings: Any) -> Any:
    h, c = hx
    return _packed_output(data, h, settings), h.new_empty(h.shape), c.new_empty(c.shape)


def _packed(data: Any, batch_sizes: Any, hx: Any, *settings: Any) -> Any:
    return _packed_output(data, hx, settings), hx.new_empty(hx.shape)


def _packed_output(data: Any, h: Any, settings: Any) -> Any:
    return data.new_empty((data.shape[0], h.shape[2] * (2 if settings[-1] else 1)))
