"""The numbers behind the discrete outputs of a tensor model: those that ArgMax, TopK or a comparison chooses by.

A tensor framework shows no scores. The graph does: its ArgMax, TopK or Greater reads them. That they are the right ones
is not taken from the graph: the framework must compute the same numbers itself on the way. Then an answer that differs
is a tie when the framework's own answer has a score so near to it that rounding may have exchanged them.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np

from any2onnx.parity.compare import Floats, by_row
from any2onnx.parity.instrumented import Graph
from any2onnx.parity.lifted import CannotRun, LiftedGraph
from any2onnx.parity.matching import matched
from any2onnx.parity.ulp import Array, is_float

if TYPE_CHECKING:
    from any2onnx.parity.intermediates import Intermediate
    from any2onnx.parity.runtime import OnnxFile
    from any2onnx.parity.signature import Feeds, Signature

# What passes a chosen number on in another form.
_FORMS = frozenset({"Cast", "Expand", "Flatten", "Identity", "Not", "Reshape", "Squeeze", "Transpose", "Unsqueeze"})
_COMPARISONS = frozenset({"Greater", "GreaterOrEqual", "Less", "LessOrEqual"})
# Scores that the framework computes are found again up to this share of their size.
_SAME = 1e-6


@dataclasses.dataclass(frozen=True)
class Choice:
    """Where a discrete output comes from.

    Attributes:
        kind: ``first`` (number of the largest or smallest score along an axis, the first of equal ones), ``ranked``
            (numbers of several, equal ones in any order) or ``compared`` (two values).
        values: The scores, or the two values; ONNX names.
        axis: The axis of the scores.
    """

    kind: str
    values: tuple[str, ...]
    axis: int = 0


class GraphScores:
    """Finds the scores behind discrete outputs; the graph is read on first use.

    Args:
        onnx_file: The file.
        signature: The inputs.
    """

    def __init__(self, onnx_file: OnnxFile, signature: Signature) -> None:
        self._file = onnx_file
        self._signature = signature
        self._graph: Graph | None = None
        self._engine: LiftedGraph | None = None

    @property
    def row_wise(self) -> bool:
        """True when some rows can be run alone."""
        return self._signature.batch_symbol is not None

    def choice(self, output: str) -> Choice | None:
        """Return where an output comes from; None when it is no choice of the graph's."""
        if self._graph is None:
            self._graph = Graph.of(self._file.load())
            self._engine = LiftedGraph(self._graph.proto)
        name = output
        while name in self._graph.maker:
            node = self._graph.node(name)
            if node.op_type in ("ArgMax", "ArgMin"):
                return Choice("first", (node.input[0],), _axis(node, 0))
            if node.op_type == "TopK" and len(node.output) > 1 and name == node.output[1]:
                return Choice("ranked", (node.input[0],), _axis(node, -1))
            if node.op_type in _COMPARISONS:
                return Choice("compared", (node.input[0], node.input[1]))
            if node.op_type not in _FORMS:
                return None
            name = node.input[0]
        return None

    def values(self, choice: Choice, feeds: Feeds) -> list[Array] | None:
        """Return the scores in float64 for some inputs; None when the graph does not run so, or has no such numbers."""
        assert self._engine is not None
        try:
            known = self._engine.run(feeds)
        except CannotRun:
            return None
        found = [known.arrays.get(name) for name in choice.values]
        arrays = [array for array in found if array is not None and is_float(array.dtype)]
        return arrays if len(arrays) == len(found) and not known.narrow else None

    def confirmed(self, choice: Choice, values: list[Array], truth: list[Intermediate]) -> bool:
        """Tell whether the framework computes the same scores: those of the graph may be wrong themselves."""
        assert self._graph is not None
        wanted = {
            name: value
            for name, value in zip(choice.values, values, strict=True)
            if name not in self._graph.constants and value.size > 1
        }
        return bool(wanted) and set(matched(truth, wanted, _SAME)) == set(wanted)


def _axis(node: Any, default: int) -> int:
    return next((int(item.i) for item in node.attribute if item.name == "axis"), default)


def gaps(choice: Choice, values: list[Array], answered: Array, wanted: Array, rows: int) -> Floats | None:
    """Return how far the scores of two answers are from each other, ``[rows, columns]``.

    Args:
        choice: Where the answers come from.
        values: What ``GraphScores.values`` returned.
        answered: ONNX's answers, ``[rows, columns]``.
        wanted: The framework's.
        rows: Size of the batch.

    Returns:
        None when the answers do not have the form of the scores. An answer that does not exist, or is given twice, is
        infinitely far, and so is another one of equal scores where the first is meant.
    """
    if choice.kind == "compared":
        apart = np.abs(values[0] - values[1])
        found = by_row(apart, rows)
        return found.astype(np.float64) if found.shape == answered.shape else None
    scores = np.moveaxis(values[0], choice.axis, -1)
    if not scores.ndim or scores.shape[-1] == 0:
        return None
    others = scores.shape[:-1]
    count = answered.size // max(int(np.prod(others)), 1)
    if count * int(np.prod(others)) != answered.size or count == 0:
        return None
    # The chosen axis stays where it was, with as many entries as were chosen.
    place = choice.axis % values[0].ndim
    form = (*others[:place], count, *others[place:])
    ours, theirs = (np.moveaxis(part.reshape(form), place, -1).astype(np.int64) for part in (answered, wanted))
    with np.errstate(invalid="ignore"):
        apart = np.abs(_picked(scores, ours) - _picked(scores, theirs))
    if choice.kind == "first":
        # Which of exactly equal scores is meant is no matter of rounding: every framework says the first.
        apart[apart == 0] = np.inf
    ordered = np.sort(ours, axis=-1)
    apart[(ordered[..., 1:] == ordered[..., :-1]).any(axis=-1)] = np.inf
    return np.moveaxis(apart, -1, place).reshape(answered.shape)


def _picked(scores: Array, numbers: Array) -> Floats:
    known = (numbers >= 0) & (numbers < scores.shape[-1])
    values = np.take_along_axis(scores, np.where(known, numbers, 0), axis=-1)
    return np.where(known, values.astype(np.float64), np.inf)
