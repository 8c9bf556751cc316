"""Statements about a converted model that hold for all inputs, or for all ways of rounding.

* Trees: what the file's tree operators decide is compared node by node with the estimator's own trees.
* Affine chains: sums, products with constants, convolutions, means and what only moves numbers around. Each rounding is
  bounded by the standard model of floating-point arithmetic, so that the bound of a value covers every order of
  summation: ``gamma_n * |W| |x|`` for a sum of n products, with ``gamma_n = n u / (1 - n u)``. It is evaluated per row
  and compared with the error that onnxruntime really makes.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np

from any2onnx.errors import MalformedFile, NotAModel
from any2onnx.parity.boundaries import is_fitted
from any2onnx.parity.findings import Proof
from any2onnx.parity.graph_opinion import terms
from any2onnx.parity.instrumented import Graph, run_showing_all
from any2onnx.parity.lifted import CannotRun, LiftedGraph
from any2onnx.parity.runtime import RuntimeFailure
from any2onnx.parity.ulp import is_float

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from any2onnx.parity.check import OpenPair
    from any2onnx.parity.ulp import Array
    from any2onnx.tree_ensemble.ir import TreeEnsemble

    TreeReader = Callable[[Any], TreeEnsemble]

_ROWS = 32
# Operators that add up products with constants, so that running them on magnitudes bounds what they round.
_CONTRACTIONS = frozenset(
    {"AveragePool", "Conv", "Gemm", "GlobalAveragePool", "MatMul", "ReduceMean", "ReduceSum", "Sum"}
)
_MOVES = frozenset(
    {
        "Concat",
        "Dropout",
        "Expand",
        "Flatten",
        "Gather",
        "Identity",
        "Pad",
        "Reshape",
        "Slice",
        "Split",
        "Squeeze",
        "Transpose",
        "Unsqueeze",
    }
)
# Neighbouring inputs give results that are no further apart.
_LIPSCHITZ = frozenset({"Abs", "Clip", "Max", "Min", "Neg", "Relu"})
_UNITS = {"float32": 2.0**-24, "float64": 2.0**-53, "float16": 2.0**-11}


def proofs(pair: OpenPair, model: Any, read_trees: TreeReader | None = None) -> tuple[Proof, ...]:
    """Return what can be proved of a pair.

    Args:
        pair: The opened pair.
        model: The framework's model.
        read_trees: Returns the trees of an estimator, and raises NotAModel for what has none.
    """
    found = list(_tree_proofs(pair, model, read_trees)) if read_trees is not None else []
    return (*found, *_affine_proofs(pair))


# --- trees -----------------------------------------------------------------------------------------------------------


def _tree_proofs(pair: OpenPair, model: Any, read_trees: TreeReader) -> Iterator[Proof]:
    if pair.runner.framework != "scikit-learn":
        return
    from any2onnx.tree_ensemble.prove import prove

    proto = None
    for path, part in parts_of(model):
        try:
            source = read_trees(part)
        except NotAModel:
            continue
        proto = pair.onnx_file.load() if proto is None else proto
        subject = f"{path} ({type(part).__name__})" if path else type(part).__name__
        try:
            found = prove(source, proto, missing=_allows_missing(part))
        except MalformedFile as error:
            yield Proof("trees", subject, False, f"the trees in the file cannot be read: {error}")
            continue
        yield Proof(
            "trees",
            subject,
            found.decides_alike,
            str(found),
            bound=found.sum_bound,
            observed=found.leaf_error,
            differences=found.differences,
            assumed=found.assumed,
        )


def _allows_missing(part: Any) -> bool:
    """Tell whether an estimator takes NaN; one that does not say so is believed to."""
    from sklearn.utils import get_tags

    try:
        return bool(get_tags(part).input_tags.allow_nan)
    except (AttributeError, TypeError):
        return True


def parts_of(model: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield a fitted estimator and the steps, branches and wrapped estimators inside it, with their paths."""
    yield path, model

    def inner(name: str) -> str:
        return f"{path}/{name}" if path else name

    for attribute in ("steps", "transformer_list"):
        for name, part, *_ in getattr(model, attribute, None) or ():
            if part is not None and not isinstance(part, str):
                yield from parts_of(part, inner(str(name)))
    for name, part, _ in getattr(model, "transformers_", None) or ():
        if part is not None and not isinstance(part, str):
            yield from parts_of(part, inner(str(name)))
    for attribute in ("estimator_", "best_estimator_", "regressor_"):
        part = vars(model).get(attribute) if hasattr(model, "__dict__") else None
        # A forest keeps the unfitted pattern of its trees under this name.
        if part is not None and hasattr(part, "get_params") and is_fitted(part):
            yield from parts_of(part, inner(attribute))


# --- affine chains ---------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class _Known:
    """A value of the graph: exact (in float64), its bound, whether it depends on the inputs, and on a contraction."""

    exact: Array
    bound: Array
    varies: bool
    contracted: bool = False


def _affine_proofs(pair: OpenPair) -> Iterator[Proof]:
    graph = Graph.of(pair.onnx_file.load())
    rows = min(_ROWS, pair.plan.typical_rows) if pair.plan.signature.fixed_batch is None else pair.plan.typical_rows
    feeds = pair.plan.draw(pair.plan.rng("proofs", "affine"), rows if pair.plan.batched else 1)
    if pair.plan.signature.fixed_batch is not None:
        return
    try:
        shown = run_showing_all(
            pair.onnx_file, graph, feeds, optimised=False, providers=pair.evaluator.runs.session.providers
        )
        known = bounds_of(graph, feeds, shown)
    except (CannotRun, MalformedFile, RuntimeFailure):
        # The graph cannot be shown, or evaluated exactly: nothing is stated.
        return
    outputs = {item.name for item in graph.proto.graph.output}
    for name in _last_bounded(graph, known, outputs):
        item = known[name]
        apart = np.abs(shown[name].astype(np.float64) - item.exact)
        holds = bool((apart <= item.bound).all())
        bound, observed = float(item.bound.max(initial=0.0)), float(apart.max(initial=0.0))
        used = float((apart / np.where(item.bound > 0, item.bound, np.inf)).max(initial=0.0))
        subject = f"output {name}" if name in outputs else f"{name} ({graph.node(name).op_type})"
        statement = (
            f"in any order of summation the error is at most {bound:.3g}; observed {observed:.3g}, "
            f"at most {used:.0%} of the bound of its row"
            if holds
            else f"onnxruntime errs by {observed:.3g} where {bound:.3g} is the most that rounding explains"
        )
        differences = () if holds else (f"{int(np.count_nonzero(apart > item.bound))} elements beyond their bound",)
        yield Proof(
            "affine",
            subject,
            holds,
            statement,
            bound=bound,
            observed=observed,
            differences=differences,
            assumed=("no overflow and no subnormal numbers",),
        )


def _last_bounded(graph: Graph, known: Mapping[str, _Known], outputs: set[str]) -> list[str]:
    """Return bounded values that are outputs, or that only unbounded operators use; those with a contraction behind."""
    found = []
    users: dict[str, list[str]] = {}
    for node in graph.proto.graph.node:
        for source in node.input:
            users.setdefault(source, []).extend(name for name in node.output if name)
    for name, item in known.items():
        used_further = any(user in known and known[user].varies for user in users.get(name, ()))
        if name in graph.maker and item.contracted and (name in outputs or not used_further):
            found.append(name)
    return found


def bounds_of(graph: Graph, feeds: Mapping[str, Array], shown: Mapping[str, Array]) -> dict[str, _Known]:
    """Return every value that inputs and constants reach through affine operators, with a bound of its error.

    Args:
        graph: The graph.
        feeds: The inputs.
        shown: onnxruntime's values, for their dtypes.

    Raises:
        CannotRun: A node cannot be run in float64.
    """
    from onnx import numpy_helper

    engine = LiftedGraph(graph.proto)
    known: dict[str, _Known] = {}
    for tensor in graph.proto.graph.initializer:
        value = numpy_helper.to_array(tensor)
        known[tensor.name] = _Known(_wide(value), np.zeros(value.shape), varies=False)
    for name, value in feeds.items():
        if is_float(value.dtype):
            known[name] = _Known(_wide(value), np.zeros(value.shape), varies=True)
    for number, node in enumerate(graph.proto.graph.node):
        sources = [name for name in node.input if name]
        if not all(name in known for name in sources) or len(node.output) != 1 or node.output[0] not in shown:
            continue
        unit = _UNITS.get(shown[node.output[0]].dtype.name)
        exact = engine.run_one(number, {name: known[name].exact for name in sources})[node.output[0]]
        varying = [name for name in sources if known[name].varies]
        if not varying:
            known[node.output[0]] = _Known(_wide(np.asarray(exact)), np.zeros(np.shape(exact)), varies=False)
            continue
        if unit is None:
            continue
        bound = _bound(engine, number, node, known, np.asarray(exact), unit)
        if bound is not None:
            contracted = node.op_type in _CONTRACTIONS or any(known[name].contracted for name in varying)
            known[node.output[0]] = _Known(np.asarray(exact, np.float64), bound, True, contracted)
    return known


def _wide(value: Array) -> Array:
    return value.astype(np.float64) if is_float(value.dtype) else value


def _bound(
    engine: LiftedGraph, number: int, node: Any, known: Mapping[str, _Known], exact: Array, unit: float
) -> Array | None:
    """Return the bound of a node's result, None for an operator that is not affine in what varies."""
    kind, sources = node.op_type, [name for name in node.input if name]
    varying = [name for name in sources if known[name].varies]

    def run(values: Mapping[str, Array]) -> Array:
        return np.asarray(engine.run_one(number, values)[node.output[0]], dtype=np.float64)

    exacts = {name: known[name].exact for name in sources}
    if kind in _MOVES:
        # Padding and the like put in constants, which are exact.
        still = {name: np.zeros_like(v) if is_float(v.dtype) else v for name, v in exacts.items()}
        return run({**still, **{name: known[name].bound for name in varying}})
    if kind == "Cast":
        return known[varying[0]].bound + unit * (np.abs(exact) + known[varying[0]].bound)
    if kind in _LIPSCHITZ:
        spread = [np.broadcast_to(known[name].bound, exact.shape) for name in varying]
        found: Array = np.max(spread, axis=0)
        return found
    if kind in ("Add", "Sub"):
        inherited = sum(np.broadcast_to(known[name].bound, exact.shape) for name in varying)
        return np.asarray(inherited + unit * (np.abs(exact) + inherited))
    if kind in ("Mul", "Div") and len(varying) == 1 and (kind == "Mul" or varying[0] == sources[0]):
        scaled = np.abs(run({**exacts, varying[0]: known[varying[0]].bound}))
        return np.asarray(scaled + unit * (np.abs(exact) + scaled))
    if kind in _CONTRACTIONS and (len(varying) == 1 or kind == "Sum"):
        magnitude = {name: np.abs(v) if is_float(v.dtype) else v for name, v in exacts.items()}
        moved = {**magnitude, **{name: magnitude[name] + known[name].bound for name in varying}}
        most = run(moved)
        count = terms(node, {**exacts, node.output[0]: exact}) + 2
        return np.asarray(most - run(magnitude) + count * unit / (1 - count * unit) * most)
    return None
