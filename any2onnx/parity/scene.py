"""Everything that is known about one failing row: the values of all runs, side by side."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from any2onnx.errors import MalformedFile
from any2onnx.parity import compare
from any2onnx.parity.cases import Case
from any2onnx.parity.instrumented import Graph, relative, run_showing_all
from any2onnx.parity.labels import canonical, equal_elements
from any2onnx.parity.lifted import CannotRun, LiftedGraph
from any2onnx.parity.reference import FrameworkRejects
from any2onnx.parity.running import pieces
from any2onnx.parity.runtime import RuntimeFailure
from any2onnx.parity.sensitivity import take_rows, to_float64
from any2onnx.parity.structure import conform
from any2onnx.parity.suites import SUITES, cases
from any2onnx.parity.ulp import is_float

if TYPE_CHECKING:
    from collections.abc import Sequence

    from any2onnx.parity.check import OpenPair
    from any2onnx.parity.intermediates import Intermediate
    from any2onnx.parity.report import OutputResult
    from any2onnx.parity.runtime import Leaf
    from any2onnx.parity.sensitivity import Results
    from any2onnx.parity.signature import Feeds
    from any2onnx.parity.ulp import Array


@dataclasses.dataclass(frozen=True)
class Scene:
    """All that is known about one failing row.

    Attributes:
        graph: The ONNX graph.
        feeds: The inputs.
        shown: onnxruntime's values.
        lifted: The graph's values in float64, None when it does not run so.
        engine: What runs single nodes.
        truth: What the framework computes on the way.
        output: The value of the graph that holds the failing output.
        wanted: The framework's answer in float64 (or as run).
        found: onnxruntime's answer without instrumentation.
    """

    graph: Graph
    feeds: Feeds
    shown: dict[str, Array]
    lifted: dict[str, Array] | None
    engine: LiftedGraph
    truth: list[Intermediate]
    output: str
    wanted: Array
    found: Array


def case_of(pair: OpenPair, result: OutputResult) -> Case | None:
    """Form the case of a result again: every case has a random stream of its own."""
    for case in cases(pair.plan, result.suite) if result.suite in SUITES else ():
        if isinstance(case, Case) and case.name == result.case:
            return case
    return None


def make_scene(pair: OpenPair, case: Case, result: OutputResult) -> Scene | None:
    """Run everything on the failing row, or on the whole case where it does not fail alone.

    Returns:
        None when the failure is none of numbers, or does not occur again.
    """
    at = next((i for i, bound in enumerate(pair.binding.bound) if result.output.startswith(bound.name)), None)
    if at is None:
        return None
    graph = Graph.of(pair.onnx_file.load())
    for feeds, rows in few_rows(pair, case, result.worst_row):
        try:
            scene = _run_all(pair, graph, feeds, rows, at, result)
        except (FrameworkRejects, RuntimeFailure, MalformedFile):
            continue
        if scene is not None:
            return scene
    return None


def few_rows(pair: OpenPair, case: Case, row: int) -> list[tuple[Feeds, int]]:
    """Return the failing row alone, if rows can be fed alone, and then the whole case."""
    signature = pair.plan.signature
    found = []
    if signature.batch_symbol is not None and not case.parts and row < case.rows:
        found.append((take_rows(case.feeds, np.array([row])), 1))
    fixed = signature.fixed_batch
    if fixed and fixed != case.rows:
        found.append((pieces(case.feeds, case.rows, fixed)[row // fixed], fixed))
    if case.parts:
        ends = np.cumsum(case.parts)
        part = int(np.searchsorted(ends, row, side="right"))
        rows = np.arange(ends[part] - case.parts[part], ends[part])
        found.append((take_rows(case.feeds, rows), len(rows)))
    elif not fixed or fixed == case.rows:
        found.append((case.feeds, case.rows))
    return found


@dataclasses.dataclass(frozen=True)
class Target:
    """One array of a result, with the value of the graph that holds it.

    Attributes:
        value: Name of the value.
        wanted: The framework's answer.
        found: onnxruntime's.
    """

    value: str
    wanted: Array
    found: Array


def _target(
    pair: OpenPair, graph: Graph, at: int, fw: Results, leaves: Sequence[Sequence[Leaf]], result: OutputResult
) -> Target | None:
    """Return what a result compares, taken apart where the graph has made maps, a sequence or columns of it."""
    bound, outputs = pair.binding.bound[at], pair.evaluator.runs.session.outputs
    arrays = fw[at]
    if len(bound.ports) > 1:
        # One output per class: the one that is furthest off.
        shown = [(outputs[port].name, leaves[port][0].values) for port in bound.ports]
        columns = [Target(name, arrays[0][:, k].reshape(value.shape), value) for k, (name, value) in enumerate(shown)]
        return max(columns, key=lambda item: relative(item.found, item.wanted))
    (port,) = bound.ports
    name, found = outputs[port].name, leaves[port]
    maker = graph.node(name) if name in graph.maker else None
    if maker is not None and maker.op_type == "ZipMap" and found:
        return Target(maker.input[0], arrays[0], found[0].values)
    if maker is not None and maker.op_type == "SequenceConstruct" and len(found) == len(maker.input) == len(arrays):
        number = next((k for k, leaf in enumerate(found) if leaf.name == result.output), 0)
        return Target(maker.input[number], arrays[number], found[number].values)
    if len(found) != 1 or outputs[port].onnx_type.startswith("seq("):
        return None
    value = found[0].values
    if len(arrays) > 1:
        # A list of tables that the graph holds as one tensor.
        if len({array.shape for array in arrays}) > 1 or value.shape != (len(arrays), *arrays[0].shape):
            return None
        return Target(name, np.stack(arrays), value)
    shaped = conform(arrays[0], value.shape, bound.source) if pair.runner.conventional else None
    return Target(name, arrays[0] if shaped is None else shaped, value)


def _run_all(pair: OpenPair, graph: Graph, feeds: Feeds, rows: int, at: int, result: OutputResult) -> Scene | None:
    """Run everything; None when the failure does not show on these rows."""
    runs = pair.evaluator.runs
    fw = runs.framework(feeds, rows)
    ref = runs.reference(feeds, rows)
    answers = runs.onnx(feeds, rows, optimised=result.optimised)
    target = _target(pair, graph, at, fw if ref is None else ref, answers, result)
    if target is None:
        return None
    tol = compare.tolerance(target.found.dtype, pair.plan.signature.widest_float)
    by_column = target.found.ndim == 2
    if agree(target.found, target.wanted, tol) and agree(target.found.T, target.wanted.T, tol, parts=by_column):
        return None
    shown = run_showing_all(pair.onnx_file, graph, feeds, optimised=result.optimised, providers=runs.session.providers)
    engine = LiftedGraph(graph.proto)
    try:
        lifted: dict[str, Array] | None = dict(engine.run(feeds).arrays)
    except CannotRun:
        lifted = None
    points = to_float64(feeds, pair.plan.signature) if runs.double else feeds
    truth = pair.runner.intermediates(points, double=runs.double)
    return Scene(graph, feeds, shown, lifted, engine, truth, target.value, target.wanted, target.found)


def agree(a: Array, b: Array, tol: float, *, parts: bool = False) -> bool:
    """Tell whether two values are the same within a tolerance: of the whole, or of every part along the first axis."""
    if a.shape != b.shape:
        return False
    if parts and is_float(a.dtype) and is_float(b.dtype):
        return all(relative(left, right) <= tol for left, right in zip(a, b, strict=True))
    if is_float(a.dtype) and is_float(b.dtype):
        return relative(a, b) <= tol
    return bool(equal_elements(canonical(a), canonical(b)).all())
