"""Where a converted model first goes wrong, and whose fault it is.

Three runs of the failing row are laid side by side: onnxruntime with every value shown, the graph in float64, and the
framework in float64 with what it computes on the way. Values are matched by what they are (their numbers, sorted),
so this needs no provenance and works for the files of any converter.

* The graph in float64 differs from the framework: the graph says something else, **our rule**. The culprit lies
  between the last values that both have and the first that only the framework has.
  (Where half an ulp of its float32 weights changes as much, that is the float32 limit instead.)
* The graph in float64 agrees: the numbers got lost on the way. Every node is run again on exactly the inputs that it
  had: when onnxruntime is off there and `onnx.reference` is not, **onnxruntime** is at fault; when no node is, the
  first one that amplifies the errors of its inputs more than eightfold is where float32 ends, the **float32 limit**.

Where `onnx.reference` is known not to compute what the standard says (`wrong_references`), there is no second opinion:
a finding at such a node has the cause **unknown**.
"""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from any2onnx.parity import compare, reproducer
from any2onnx.parity.findings import Cause, Divergence, Step
from any2onnx.parity.graph_opinion import terms
from any2onnx.parity.instrumented import relative
from any2onnx.parity.intermediates import Intermediate
from any2onnx.parity.lifted import CannotRun
from any2onnx.parity.matching import counterpart, matched, matched_items
from any2onnx.parity.scene import Scene, agree, case_of, make_scene
from any2onnx.parity.steadiness import raising, unsteady
from any2onnx.parity.ulp import half_ulp, is_float

if TYPE_CHECKING:
    import pathlib

    from any2onnx.parity.check import OpenPair
    from any2onnx.parity.instrumented import Graph
    from any2onnx.parity.report import OutputResult
    from any2onnx.parity.ulp import Array

AMPLIFICATION = 8.0
# Constants such as epsilon are float32 in the file: that far the graph in float64 may be off without being wrong.
_SAME = 1e-6
# Without the graph in float64, onnxruntime's own values are matched, with their rounding.
_SAME_NARROW = 1e-4
_UNIT = 2.0**-24
_DRAWS = 3


def locate(pair: OpenPair, result: OutputResult, folder: pathlib.Path | None = None) -> Divergence | None:
    """Find the first divergence behind a failed result.

    Args:
        pair: The opened pair.
        result: A failed result of one of its cases.
        folder: Where to write ``culprit.onnx``, ``inputs.npz`` and ``repro.py``; None writes nothing.

    Returns:
        The finding; None when the failure is none of numbers (a name, shape or dtype) or does not occur again.
    """
    case = case_of(pair, result)
    if case is None:
        return None
    scene: Scene | None = None
    if result.suite == "determinism":
        found = unsteady(pair, case)
    else:
        found = raising(pair, case, result)
        scene = make_scene(pair, case, result) if found is None else None
        found = found if scene is None else _blame(scene)
    if found is None:
        return None
    found = dataclasses.replace(found, output=result.output, suite=result.suite, case=result.case, row=result.worst_row)
    if folder is None or scene is None or not found.value:
        return found
    return dataclasses.replace(found, files=_write(scene, found, folder))


# --- whose fault -----------------------------------------------------------------------------------------------------


def _blame(scene: Scene) -> Divergence:
    final = scene.shown.get(scene.output)
    if final is not None and agree(final, scene.wanted, compare.tolerance(final.dtype)):
        text = "with its intermediate values shown the model answers right: a fusion of onnxruntime is at fault"
        return _finding("", "", "", "onnxruntime", text, vanished=True)
    values = scene.shown if scene.lifted is None else scene.lifted
    limit = _SAME_NARROW if scene.lifted is None else _SAME
    if scene.lifted is not None and agree(scene.lifted[scene.output], scene.wanted, limit):
        return _blame_arithmetic(scene, scene.lifted)
    if scene.lifted is not None and _rounded_weights(scene, scene.lifted):
        found = _blame_arithmetic(scene, scene.lifted)
        text = f"weights rounded to float32 explain the error; {found.explanation}"
        return dataclasses.replace(found, explanation=text)
    return _blame_graph(scene, values, limit)


def _rounded_weights(scene: Scene, lifted: dict[str, Array]) -> bool:
    """Tell whether moving the weights by half an ulp of float32 changes the output about as much as it is off."""
    if not is_float(scene.wanted.dtype) or not is_float(lifted[scene.output].dtype):
        return False
    off = relative(lifted[scene.output], scene.wanted)
    for twin in scene.engine.with_moved_constants(2):
        try:
            change = relative(twin.run(scene.feeds).arrays[scene.output], lifted[scene.output])
        except CannotRun:
            return False
        # An infinite change is one of shape, which no rounding of a weight excuses.
        if np.isfinite(off) and np.isfinite(change) and change * AMPLIFICATION >= off:
            return True
    return False


def _finding(
    value: str,
    operator: str,
    source: str,
    cause: Cause,
    text: str,
    steps: tuple[Step, ...] = (),
    *,
    vanished: bool = False,
) -> Divergence:
    return Divergence("", "", "", 0, value, operator, source, cause, text, steps, (), vanished)


def _blame_graph(scene: Scene, values: dict[str, Array], limit: float) -> Divergence:
    graph = scene.graph
    truth = _own_values(scene)
    computed = {name: value for name, value in values.items() if name in graph.maker}
    good = matched(truth, computed, limit)
    good.pop(scene.output, None)
    region, start = graph.region(scene.output, good)
    given = [Intermediate("input", np.asarray(value)) for value in scene.feeds.values() if value.dtype.kind != "O"]
    copies = matched(given, computed, limit)
    suspects = [name for i in region for name in graph.proto.graph.node[i].output if name in values]
    suspects = [name for name in suspects if name not in copies]
    place = {id(item): k for k, item in enumerate(truth)}
    shared = {id(item) for item in good.values()}
    # What the framework computes before the values that the failing part starts from is only written in another way.
    first = min((place[id(good[name])] for name in start if name in good), default=-1)
    value, missing = scene.output, None
    for item in truth[first + 1 :]:
        close = "" if id(item) in shared else counterpart(item, suspects, values)
        if close:
            value, missing = close, item
            break
    node = graph.node(value)
    source = graph.origin(value) or (missing.name if missing is not None else "")
    where = f"; the framework computes {missing.name} there" if missing is not None else ""
    text = f"the graph in float64 differs from the framework from {value!r} on{where}"
    if scene.lifted is None:
        text = f"the values differ from the framework's from {value!r} on{where}"
    if not truth:
        text = "the graph in float64 differs from the framework, which shows nothing of what it computes on the way"
    steps = _steps(scene, values, good)
    doubt = scene.engine.distrusted(node, {**_constants(graph, graph.maker[value]), **values})
    if doubt:
        text += f"; whether the graph or onnxruntime is at fault there is open: {doubt}"
        return _finding(value, node.op_type, source, "unknown", text, steps)
    return _finding(value, node.op_type, source, "our rule", text, steps)


def _own_values(scene: Scene) -> list[Intermediate]:
    """Return what the framework computes, without copies of its inputs and of its weights."""
    from onnx import numpy_helper

    given = {f"input {i}": np.asarray(value) for i, value in enumerate(scene.feeds.values())}
    for i, tensor in enumerate(scene.graph.proto.graph.initializer):
        given[f"weight {i}"] = numpy_helper.to_array(tensor)
    copies = matched_items(scene.truth, given, _SAME)
    return [item for item in scene.truth if id(item) not in copies]


def _blame_arithmetic(scene: Scene, lifted: dict[str, Array]) -> Divergence:
    graph = scene.graph
    region, _ = graph.region(scene.output, ())
    steps: list[Step] = []
    limit: tuple[float, str] = (0.0, "")
    for i in region:
        node = graph.proto.graph.node[i]
        for name in (name for name in node.output if name in scene.shown and name in lifted):
            if not is_float(scene.shown[name].dtype):
                continue
            if _rounds_to_half(node, scene.shown, name):
                text = (
                    f"the graph rounds to {scene.shown[name].dtype.name}, which its inputs and outputs are wider than"
                )
                return _finding(name, node.op_type, graph.origin(name), "our rule", text, tuple(steps))
            error = relative(scene.shown[name], lifted[name])
            inherited = max((_error(scene, lifted, source) for source in graph.sources(i)), default=0.0)
            unit = _UNIT * math.sqrt(terms(node, lifted))
            growth = error / max(inherited, unit)
            steps.append(
                Step(name, node.op_type, graph.origin(name), error, max(inherited, unit), growth, "onnx.reference")
            )
            own = _own_error(scene, i, name)
            if own is not None and own[0] > AMPLIFICATION * max(own[1], 4 * unit):
                text = (
                    f"on the very inputs that it had, onnxruntime's {node.op_type} is off by {own[0]:.2g}, "
                    f"where onnx.reference and the rounding of its inputs account for {own[1]:.2g}"
                )
                return _finding(name, node.op_type, graph.origin(name), "onnxruntime", text, tuple(steps))
            if not limit[1] or (limit[0] <= AMPLIFICATION and growth > limit[0]):
                limit = (growth, name)
    value = limit[1] or scene.output
    node = graph.node(value)
    doubt = scene.engine.distrusted(node, {**_constants(graph, graph.maker[value]), **lifted})
    if doubt:
        text = f"the errors arise at {node.op_type}, where onnxruntime has no second opinion: {doubt}"
        return _finding(value, node.op_type, graph.origin(value), "unknown", text, tuple(steps))
    text = (
        f"onnxruntime is right at every node; {node.op_type} makes errors of its inputs "
        f"{limit[0]:.2g} times as large, so it needs float64"
    )
    return _finding(value, node.op_type, graph.origin(value), "float32 limit", text, tuple(steps))


def _rounds_to_half(node: Any, shown: dict[str, Array], name: str) -> bool:
    """Tell whether a node narrows a float32 or float64 value to 16 bits."""
    source = shown.get(node.input[0]) if node.input else None
    cast = node.op_type in ("Cast", "CastLike") and source is not None and is_float(source.dtype)
    return cast and source is not None and shown[name].dtype.itemsize < min(source.dtype.itemsize, 4)


def _error(scene: Scene, lifted: dict[str, Array], name: str) -> float:
    """Return the error that a value brings along, 0 for constants and inputs."""
    if name not in scene.shown or name not in lifted or not is_float(scene.shown[name].dtype):
        return 0.0
    return relative(scene.shown[name], lifted[name])


def _own_error(scene: Scene, number: int, name: str) -> tuple[float, float] | None:
    """Return what onnxruntime errs at a node on exactly its inputs, and what is to be expected; None if it cannot run.

    Expected is what onnx.reference errs there, or what half an ulp of the inputs makes.
    """
    known = {source: scene.shown[source] for source in scene.graph.sources(number) if source in scene.shown}
    known.update(_constants(scene.graph, number))
    rng = np.random.default_rng(0)
    try:
        exact = np.asarray(scene.engine.run_one(number, known)[name])
        second = np.asarray(scene.engine.run_one(number, known, wide=False)[name])
        expected = relative(second, exact)
        # By luck the second opinion may be nearly exact: what half an ulp of the inputs does is no one's fault either.
        for _ in range(_DRAWS):
            moved = {source: _moved(value, rng) for source, value in known.items()}
            expected = max(expected, relative(np.asarray(scene.engine.run_one(number, moved)[name]), exact))
    except CannotRun:
        return None
    return relative(scene.shown[name], exact), expected


def _moved(value: Array, rng: np.random.Generator) -> Array:
    if value.dtype.kind != "f":
        return value
    moved: Array = value.astype(np.float64) + half_ulp(value) * rng.choice([-1.0, 1.0], value.shape)
    return moved


def _constants(graph: Graph, number: int) -> dict[str, Array]:
    from onnx import numpy_helper

    used = set(graph.sources(number))
    return {
        tensor.name: numpy_helper.to_array(tensor) for tensor in graph.proto.graph.initializer if tensor.name in used
    }


def _steps(scene: Scene, values: dict[str, Array], good: dict[str, Intermediate]) -> tuple[Step, ...]:
    """Return the errors of the values before the failing output, as far as the framework has a counterpart."""
    region, _ = scene.graph.region(scene.output, ())
    steps = []
    for i in region:
        node = scene.graph.proto.graph.node[i]
        for name in (name for name in node.output if name in values):
            item = good.get(name)
            source = scene.graph.origin(name) or (item.name if item is not None else "")
            error = None
            if item is not None:
                ordered = np.sort(item.values.astype(np.float64), axis=None)
                error = relative(np.sort(values[name].astype(np.float64), axis=None), ordered)
            steps.append(Step(name, node.op_type, source, error, matched="value" if item is not None else ""))
    return tuple(steps)


def _write(scene: Scene, found: Divergence, folder: pathlib.Path) -> tuple[str, ...]:
    """Write the culprit with its inputs and a script that shows the error again."""
    values = scene.shown if scene.lifted is None else scene.lifted
    known: list[str] = []
    if found.cause == "our rule":
        computed = {name: value for name, value in values.items() if name in scene.graph.maker}
        limit = _SAME_NARROW if scene.lifted is None else _SAME
        known = [name for name in matched(_own_values(scene), computed, limit) if name != found.value]
        nodes, start = scene.graph.region(found.value, known)
    else:
        nodes, start = [scene.graph.maker[found.value]], []
        start = [n for n in scene.graph.sources(nodes[0]) if n not in scene.graph.constants and n in scene.shown]
    missing = _expected(scene, found)
    inputs = {name: scene.shown[name] for name in start}
    return reproducer.write(folder, scene.graph, nodes, inputs, found, scene.shown.get(found.value), missing)


def _expected(scene: Scene, found: Divergence) -> Array | None:
    """Return what the culprit should give: the framework's value, else that of the graph in float64."""
    if found.value == scene.output:
        return scene.wanted
    if found.cause != "our rule" and scene.lifted is not None:
        return scene.lifted.get(found.value)
    shape = scene.shown[found.value].shape
    size = math.prod(shape)
    for item in scene.truth:
        if item.name in found.explanation and item.values.shape == shape and item.values.size == size:
            return item.values
    return None
