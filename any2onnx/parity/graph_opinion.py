"""A second opinion on an error near its budget: does the graph itself, run in float64, give the reference's answer?

onnxruntime may add one after the other what a framework adds in many lanes, so its rounding errors can be a few times
the framework's without any fault of the conversion. How far that goes no tolerance can say; that the formulas are right
can be shown: the graph in float64 must agree with the framework in float64.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from any2onnx.parity.compare import unit_difference
from any2onnx.parity.lifted import CannotRun, LiftedGraph
from any2onnx.parity.sensitivity import take_rows

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    from any2onnx.parity.compare import Floats
    from any2onnx.parity.runtime import OnnxFile
    from any2onnx.parity.signature import Feeds, Signature
    from any2onnx.parity.ulp import Array

MAX_ROWS = 4
# Of the tolerance: the graph holds constants such as epsilon in float32 where the framework has them in float64.
AGREEMENT = 0.1
# Random changes of all constants are samples of what their rounding did.
CONSTANTS_FACTOR = 4.0
# With signs drawn at random: the effects of two constants that cancel in every draw would hide both.
DRAWS = 8


class GraphOpinion:
    """Runs the graph in float64 on a few rows; it is built on first use.

    Args:
        onnx_file: The file.
        signature: The inputs.
    """

    def __init__(self, onnx_file: OnnxFile, signature: Signature) -> None:
        self._file = onnx_file
        self._signature = signature
        self._graph: LiftedGraph | None = None

    def longest_sum(
        self,
        feeds: Feeds,
        output: str,
        truth: Array,
        worst: npt.NDArray[np.intp],
        allowed: Floats,
        constants: bool = False,
    ) -> int:
        """Tell whether the graph in float64 gives the reference's answer in some rows, and how much it adds up.

        Args:
            feeds: The inputs of the case.
            output: ONNX output.
            truth: The float64 answer, of the shape of the output.
            worst: The rows in question, the worst first.
            allowed: How far the graph may be off in each row, in the units of the output.
            constants: It may be off as far as half a unit in the last place of its constants goes, too.

        Returns:
            The length of the longest sum in the graph, at least 1, when it agrees. 0 when it differs, when it holds
            operators that run in float32 only, and when it cannot be cut into rows.
        """
        rows = worst[:MAX_ROWS]
        if self._signature.batch_symbol is None or not truth.ndim or len(truth) <= rows.max(initial=0):
            return 0
        if self._graph is None:
            self._graph = LiftedGraph(self._file.load())
        picked = take_rows(feeds, rows)
        try:
            found = self._graph.run(picked)
        except CannotRun:
            # No second opinion: the first one stands.
            return 0
        values = found.arrays.get(output)
        if found.narrow or values is None or values.shape != truth[rows].shape:
            return 0
        apart = unit_difference(values, truth[rows], len(rows))[:, 0]
        limit = allowed[rows]
        if constants and not (apart <= limit).all():
            limit = np.maximum(limit, CONSTANTS_FACTOR * self._change_by_constants(picked, output, values))
        if not (apart <= limit).all():
            return 0
        return max((terms(node, found.arrays) for node in self._graph.nodes), default=1)

    def _change_by_constants(self, feeds: Feeds, output: str, values: Array) -> Floats:
        """Return how far half-ulp changes of the float32 constants change each row of an output."""
        assert self._graph is not None
        largest = np.zeros(len(values))
        for twin in self._graph.with_moved_constants(DRAWS):
            try:
                other = twin.run(feeds).arrays[output]
            except CannotRun:
                break
            if other.shape != values.shape:
                # A moved scale of Resize may change the size of its result, which says nothing about rounding.
                continue
            largest = np.maximum(largest, unit_difference(other, values, len(values))[:, 0])
        return largest


_ALONG_ONE_AXIS = frozenset({"CumSum", "LogSoftmax", "LpNormalization", "Softmax"})
_RECURRENT = frozenset({"GRU", "LSTM", "RNN"})


def terms(node: Any, arrays: Mapping[str, Array]) -> int:
    """Return how many numbers a node adds up for one number of its result, at least 1."""
    shapes = [arrays[name].shape for name in node.input if name in arrays]
    results = [arrays[name] for name in node.output if name in arrays]
    if not shapes or not results or 0 in shapes[0] or not results[0].size:
        return 1
    kind = node.op_type
    if kind == "Conv" and len(shapes) > 1:
        return math.prod(shapes[1][1:])
    if kind in ("MatMul", "Gemm") and len(shapes) > 1:
        transposed = any(item.name == "transA" and item.i for item in node.attribute)
        return int(shapes[0][0 if transposed else -1]) if shapes[0] else 1
    if kind in _RECURRENT:
        # Steps and the sums inside a step.
        return int(shapes[0][0]) * int(shapes[0][-1] + results[0].shape[-1])
    if kind in _ALONG_ONE_AXIS:
        return max(shapes[0], default=1)
    if kind.startswith("Reduce") or kind.endswith(("Pool", "Normalization")) or kind == "Einsum":
        axes = math.prod(shapes[0][1:]) if kind.endswith("Normalization") else math.prod(shapes[0]) // results[0].size
        return max(1, axes)
    return 1
