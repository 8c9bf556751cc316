"""A second opinion on an error near its budget: does the graph itself, run in float64, give the reference's answer?

onnxruntime may add one after the other what a framework adds in many lanes, so its rounding errors can be a few times
the framework's without any fault of the conversion. How far that goes no tolerance can say; that the formulas are right
can be shown: the graph in float64 must agree with the framework in float64.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from any2onnx.parity.compare import unit_difference
from any2onnx.parity.lifted import CannotRun, LiftedGraph
from any2onnx.parity.sensitivity import take_rows

if TYPE_CHECKING:
    import numpy.typing as npt

    from any2onnx.parity.compare import Floats
    from any2onnx.parity.runtime import OnnxFile
    from any2onnx.parity.signature import Feeds, Signature
    from any2onnx.parity.ulp import Array

MAX_ROWS = 4
# The graph holds constants such as epsilon in float32 where the framework has them in float64.
AGREEMENT = 0.1


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

    def agrees(self, feeds: Feeds, output: str, truth: Array, worst: npt.NDArray[np.intp], allowed: Floats) -> bool:
        """Tell whether the graph in float64 gives the reference's answer in some rows.

        Args:
            feeds: The inputs of the case.
            output: ONNX output.
            truth: The float64 answer, of the shape of the output.
            worst: The rows in question, the worst first.
            allowed: The tolerance of each row, in the units of the output.

        Returns:
            True when it differs by no more than ``AGREEMENT`` of the tolerance. False when it differs, when it holds
            operators that run in float32 only, and when it cannot be cut into rows.
        """
        symbol = self._signature.batch_symbol
        rows = worst[:MAX_ROWS]
        if symbol is None or not truth.ndim or len(truth) <= rows.max(initial=0):
            return False
        if self._graph is None:
            self._graph = LiftedGraph(self._file.load())
        try:
            found = self._graph.run(take_rows(feeds, rows))
        except CannotRun:
            # No second opinion: the first one stands.
            return False
        values = found.arrays.get(output)
        if found.narrow or values is None or values.shape != truth[rows].shape:
            return False
        apart = unit_difference(values, truth[rows], len(rows))[:, 0]
        return bool((apart <= AGREEMENT * allowed[rows]).all())
