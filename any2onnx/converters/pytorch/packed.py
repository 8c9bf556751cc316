"""Packed sequences: rows of several sequences, time step after time step, longest sequence first.

`batch_sizes[t]` is the number of sequences that are longer than t. ONNX's recurrent operators take padded sequences
with their lengths, so a packed one is padded, run, and packed again.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from any2onnx.converters.pytorch.call import TorchCall, as_type
from any2onnx.converters.pytorch.sizes import expression
from any2onnx.graph.builder import GraphBuilder
from any2onnx.graph.types import DataType, Value, dtype_of, rank_of


@dataclass(frozen=True, slots=True)
class Packing:
    """Where the rows of a packed sequence belong.

    Attributes:
        valid: [steps, sequences], whether a sequence has this step.
        lengths: [sequences], int64.
        rows: [steps, sequences], number of the packed row; 0 where there is none.
    """

    valid: Value
    lengths: Value
    rows: Value

    @classmethod
    def of(cls, g: GraphBuilder, batch_sizes: Value) -> Packing:
        """Return the packing of these batch sizes, [steps]."""
        zero, one = (g.const(np.asarray(k, np.int64)) for k in (0, 1))
        most = g.Squeeze(g.Slice(batch_sizes, [0], [1], [0]), 0)
        number = g.Unsqueeze(g.Range(zero, most, one), 0)
        valid = g.Less(number, g.Unsqueeze(batch_sizes, 1))
        lengths = g.ReduceSum(g.Cast(valid, DataType.INT64), 0, keepdims=False)
        starts = g.op("CumSum", batch_sizes, zero, exclusive=1)
        rows = g.Where(valid, g.Add(g.Unsqueeze(starts, 1), number), zero)
        return cls(valid, lengths, rows)

    def padded(self, g: GraphBuilder, data: Value, padding: Value) -> Value:
        """Return packed rows as [steps, sequences, …]."""
        everything = g.op("Gather", data, self.rows, axis=0)
        mask = self.valid
        if rank_of(data) > 1:
            mask = g.Unsqueeze(mask, list(range(2, 1 + rank_of(data))))
        return g.Where(mask, everything, padding)

    def packed(self, g: GraphBuilder, padded: Value) -> Value:
        """Return the valid rows of [steps, sequences, …]."""
        return packed_rows(g, padded, self.valid)


def packed_rows(g: GraphBuilder, padded: Value, valid: Value) -> Value:
    """Return the rows of [steps, sequences, …] at which `valid` holds, step after step."""
    return g.op("GatherND", padded, g.Transpose(g.op("NonZero", valid), perm=[1, 0]))


def pack(g: GraphBuilder, call: TorchCall) -> tuple[Value, Value]:
    """aten._pack_padded_sequence: rows and batch sizes of padded sequences that are sorted by length."""
    x, lengths = call.params["input"], g.Cast(call.params["lengths"], DataType.INT64)
    if call.params["batch_first"]:
        x = g.Transpose(x, perm=[1, 0, *range(2, rank_of(x))])
    zero, one = (g.const(np.asarray(k, np.int64)) for k in (0, 1))
    steps = g.Range(zero, g.ReduceMax(lengths, keepdims=False), one)
    valid = g.Less(g.Unsqueeze(steps, 1), g.Unsqueeze(lengths, 0))
    sizes = g.ReduceSum(g.Cast(valid, DataType.INT64), 1, keepdims=False)
    return packed_rows(g, x, valid), sizes


def pad(g: GraphBuilder, call: TorchCall) -> tuple[Value, Value]:
    """Padded sequences and their lengths, as torch.nn.utils.rnn.pad_packed_sequence has them."""
    data, sizes = call.params["data"], call.params["batch_sizes"]
    total = call.params["total_length"]
    if expression(call.metas["total_length"]) != call.dims_of("batch_sizes")[0]:
        wanted = g.Unsqueeze(as_type(g, total, DataType.INT64), 0)
        missing = g.Sub(wanted, g.Shape(sizes))
        sizes = g.op("Concat", sizes, g.op("Expand", g.const(np.asarray(0, np.int64)), missing), axis=0)
    packing = Packing.of(g, sizes)
    padded = packing.padded(g, data, as_type(g, call.params["padding_value"], dtype_of(data)))
    if call.params["batch_first"]:
        padded = g.Transpose(padded, perm=[1, 0, *range(2, rank_of(padded))])
    return padded, packing.lengths
