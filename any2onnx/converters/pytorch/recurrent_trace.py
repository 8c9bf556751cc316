"""Recurrent layers as one operator each, whatever the sequence length.

torch computes the fake result of `aten.lstm.input` and its kin by unrolling the sequence in Python, which fixes a
dynamic length to that of the example. While a model is captured, kernels that only state the result's shape stand in.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from any2onnx.converters.pytorch.replacing import replaced, replaced_kernels


@contextlib.contextmanager
def recurrent_layers_whole() -> Iterator[None]:
    """Replace torch's Python kernels of the recurrent layers; only inside the capture lock."""
    import torch

    aten = torch.ops.aten
    kernels: list[tuple[Any, Callable[..., Any]]] = [
        (aten.lstm.input, _lstm),
        (aten.gru.input, _one_state),
        (aten.rnn_tanh.input, _one_state),
        (aten.rnn_relu.input, _one_state),
        (aten.lstm.data, _packed_lstm),
        (aten.gru.data, _packed),
        (aten.rnn_tanh.data, _packed),
        (aten.rnn_relu.data, _packed),
    ]
    rnn_utilities = torch.nn.utils.rnn
    _define_padding(torch)
    # This one has a kernel of its own, which the fake tensors' table has no stand-in for.
    fakes, packing = torch._subclasses.fake_impls.op_implementations_dict, aten._pack_padded_sequence.default
    with contextlib.ExitStack() as stack:
        stack.enter_context(replaced_kernels(kernels))
        # The layers compare the state's size with a size of the data, which a trace cannot; a caller who runs such a
        # layer meanwhile loses no more than this check.
        for cls in (torch.nn.RNNBase, torch.nn.LSTM):
            stack.enter_context(replaced(cls, "check_forward_args", _unless_packed(cls.check_forward_args)))
        stack.enter_context(replaced(rnn_utilities, "_VF", _Functions(rnn_utilities._VF)))
        fakes[packing] = _pack_padded_sequence
        stack.callback(fakes.pop, packing, None)
        yield


def _unless_packed(check: Any) -> Any:
    def checked(self: Any, x: Any, hidden: Any, batch_sizes: Any) -> None:
        if batch_sizes is None:
            check(self, x, hidden, batch_sizes)

    return checked


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


# --- packed sequences ------------------------------------------------------------------------------------------------

_BATCH = "any2onnx_batch"


def _unknown_size(x: Any, most: Any = None) -> Any:
    """Return a new size that only running the model tells."""
    import torch

    size = x.fake_mode.shape_env.create_unbacked_symint()
    torch._check(size >= 0)
    if most is not None:
        torch._check(size <= most)
    return size


def _pack_padded_sequence(fake_mode: Any, func: Any, *args: Any, **kwargs: Any) -> Any:
    del func, kwargs
    x, lengths, batch_first = args
    batch, steps = (x.shape[0], x.shape[1]) if batch_first else (x.shape[1], x.shape[0])
    with fake_mode:
        data = x.new_empty((_unknown_size(x), *x.shape[2:]))
        sizes = lengths.new_empty((_unknown_size(x, steps),))
    # Padding again gives back the same number of sequences: nothing else in the trace knows.
    setattr(sizes, _BATCH, batch)
    return data, sizes


class _Functions:
    """torch's functions for the recurrent layers, but padding takes a total length that only running tells."""

    def __init__(self, functions: Any) -> None:
        self._functions = functions

    def __getattr__(self, name: str) -> Any:
        return getattr(self._functions, name)

    def _pad_packed_sequence(
        self, data: Any, batch_sizes: Any, batch_first: bool, padding_value: float, total_length: Any
    ) -> Any:
        import torch

        if not isinstance(data, torch._subclasses.FakeTensor):
            return self._functions._pad_packed_sequence(data, batch_sizes, batch_first, padding_value, total_length)
        batch = getattr(batch_sizes, _BATCH, None)
        if batch is None:
            batch = batch_sizes[0].item()
        return torch.ops.any2onnx.pad_packed_sequence(
            data, batch_sizes, batch_first, padding_value, total_length, batch
        )


def _define_padding(torch: Any) -> None:
    """Define, once in a process, torch's operator with symbolic sizes: its own takes the total length as a number."""
    if hasattr(torch.ops.any2onnx, "pad_packed_sequence"):
        return
    name = "any2onnx::pad_packed_sequence"
    torch.library.define(
        name,
        "(Tensor data, Tensor batch_sizes, bool batch_first, Scalar padding_value, SymInt total_length, SymInt batch)"
        " -> (Tensor, Tensor)",
    )
    torch.library.register_fake(name, _pad_packed_sequence)


def _pad_packed_sequence(
    data: Any, batch_sizes: Any, batch_first: bool, padding_value: float, total_length: Any, batch: Any
) -> Any:
    del padding_value
    dims = (batch, total_length) if batch_first else (total_length, batch)
    return data.new_empty((*dims, *data.shape[1:])), batch_sizes.new_empty((batch,))
