"""Guards around operators whose kernels in onnxruntime end the process.

LSTM and GRU of onnxruntime 1.32 call std::terminate for an empty batch, GRU for an empty sequence as well: no
exception, the process is gone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from any2onnx.graph.provenance import GUARD_RULE, RULE_KEY
from any2onnx.graph.types import DataType, Value, dims_of, dtype_of

if TYPE_CHECKING:
    from any2onnx.graph.builder import GraphBuilder

ENDS_THE_PROCESS: Final[Mapping[str, tuple[int, ...]]] = {"LSTM": (1,), "GRU": (0, 1)}
"""Operator to the axes of its first input [time, batch, features] that must not be empty."""


def guarded(g: GraphBuilder, op_type: str, x: Value) -> Value:
    """Return the first input of a recurrent operator behind a Reshape that refuses an empty one.

    Reshape copies no data and raises for `-1` beside a dim of 0, so that the user gets an exception that names the
    place, at no cost that can be measured; a Pad and a Slice took 4 µs a layer, an If 2 to 3.
    """
    dims = dims_of(x.shape)
    if dims is not None and all(isinstance(dims[axis], int) and dims[axis] for axis in ENDS_THE_PROCESS[op_type]):
        return x
    shape = g.const(np.asarray([0, 0, -1], np.int64), name="shape")
    result = g.ops("Reshape", x, shape, name=f"onnxruntime_has_no_{op_type}_of_empty_batches")[0]
    node = result.producer()
    assert node is not None
    node.metadata_props[RULE_KEY] = GUARD_RULE
    return g.annotate(result, dims)


def run_unless_empty(
    g: GraphBuilder, op_type: str, inputs: Sequence[Value | None], *, outputs: int, directions: int, **attributes: Any
) -> tuple[Value, ...]:
    """Add a recurrent operator that runs for inputs with elements only; for others the outputs are zeros.

    Args:
        g: Builder.
        op_type: LSTM, GRU or RNN.
        inputs: As the operator has them; the first one [time, batch, features].
        outputs: All outputs, then the final states.
        directions: 1 or 2.
        attributes: Of the operator; with `hidden_size`.

    Returns:
        The outputs of the operator. Of a sequence without steps the final states are the initial ones, or zeros.
    """
    x = inputs[0]
    assert x is not None
    units = int(attributes["hidden_size"])
    initial = [v for v in inputs[5:] if v is not None]

    def run(inner: GraphBuilder) -> tuple[Value, ...]:
        return inner.ops(op_type, *inputs, outputs=outputs, **attributes)

    def nothing(inner: GraphBuilder) -> tuple[Value, ...]:
        zero = inner.const(np.asarray(0, dtype_of(x).numpy()))
        time, batch = inner.dim(x, 0), inner.dim(x, 1)
        sequence = inner.Expand(zero, inner.shape_vector([time, directions, batch, units]))
        if initial:
            states = [inner.Identity(v) for v in initial]
        else:
            states = [inner.Expand(zero, inner.shape_vector([directions, batch, units])) for _ in range(outputs - 1)]
        return sequence, *states

    return g.If(g.Cast(g.Size(x), DataType.BOOL), run, nothing)
