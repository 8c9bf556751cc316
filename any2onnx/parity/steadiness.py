"""Where onnxruntime raises, and where its answers change from run to run."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

from any2onnx.errors import MalformedFile
from any2onnx.parity.findings import Cause, Divergence
from any2onnx.parity.instrumented import Graph, repeat_showing_all
from any2onnx.parity.lifted import CannotRun, LiftedGraph
from any2onnx.parity.reference import FrameworkRejects
from any2onnx.parity.runtime import RuntimeFailure
from any2onnx.parity.scene import few_rows

if TYPE_CHECKING:
    from collections.abc import Mapping

    from any2onnx.parity.cases import Case
    from any2onnx.parity.check import OpenPair
    from any2onnx.parity.report import OutputResult
    from any2onnx.parity.signature import Feeds
    from any2onnx.parity.ulp import Array

_RUNS = 3
_RANDOM = frozenset(
    {"Bernoulli", "Dropout", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"}
)
_PLACE = re.compile(r"running (\w+) node\. Name:'([^']*)'")


def raising(pair: OpenPair, case: Case, result: OutputResult) -> Divergence | None:
    """Return the node at which onnxruntime raises on a case, None when it does not.

    The runtime is at fault where `onnx.reference` runs the same graph on the same rows, else the graph.
    """
    runs = pair.evaluator.runs
    for feeds, rows in few_rows(pair, case, result.worst_row) if case.rows else [(case.feeds, 0)]:
        try:
            runs.onnx(feeds, rows, optimised=result.optimised)
        except RuntimeFailure as error:
            return _raised(pair, feeds, str(error))
    return None


def _raised(pair: OpenPair, feeds: Feeds, message: str) -> Divergence:
    graph = Graph.of(pair.onnx_file.load())
    place = _PLACE.search(message)
    operator, name = place.groups() if place else ("", "")
    # Inside of a function or a branch the name is none of the main graph's: the outermost is named first.
    node = next((node for node in graph.proto.graph.node if name and node.name == name), None)
    value = next((output for output in node.output if output), "") if node is not None else ""
    cause: Cause = "onnxruntime"
    try:
        with np.errstate(all="ignore"):
            LiftedGraph(graph.proto).run(feeds, wide=False)
        opinion = "where onnx.reference runs the graph"
    except CannotRun as error:
        cause, opinion = "our rule", f"and onnx.reference does not run the graph either ({error})"
    doubt = LiftedGraph(graph.proto).distrusted(node, {}) if node is not None else ""
    if doubt:
        cause, opinion = "unknown", f"and there is no second opinion: {doubt}"
    text = f"onnxruntime raises at {operator or 'a node'} {name!r}, {opinion}"
    return Divergence("", "", "", 0, value, operator, graph.origin(value), cause, text)


def unsteady(pair: OpenPair, case: Case) -> Divergence | None:
    """Return the first node whose result changes from run to run on the same inputs, None when none does now."""
    runs = pair.evaluator.runs
    graph = Graph.of(pair.onnx_file.load())
    try:
        shown = repeat_showing_all(
            pair.onnx_file, graph, case.feeds, optimised=True, providers=runs.session.providers, times=_RUNS
        )
    except (FrameworkRejects, RuntimeFailure, MalformedFile):
        return None
    for node in graph.proto.graph.node:
        for name in (name for name in node.output if name in shown[0]):
            if all(_same(shown[0], other, name) for other in shown[1:]):
                continue
            cause: Cause = "our rule" if node.op_type in _RANDOM else "onnxruntime"
            reason = "it draws at random" if cause == "our rule" else "its inputs do not change"
            text = f"{node.op_type} gives another answer in every run: {reason}"
            return Divergence("", "", "", 0, name, node.op_type, graph.origin(name), cause, text)
    return None


def _same(one: Mapping[str, Array], other: Mapping[str, Array], name: str) -> bool:
    a, b = one[name], other[name]
    if a.shape != b.shape or a.dtype.kind == "O":
        return bool(np.array_equal(a, b))
    return a.tobytes() == b.tobytes()
