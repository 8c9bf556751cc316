"""The ONNX graph in float64, node by node: what the graph *says*, free of the rounding of its runtime.

A converted model can be wrong in two ways: its graph says something else than the model, or float32 arithmetic does
not carry what the graph says. Run with every float32 value widened to float64, the graph shows which: where it
agrees with the framework in float64, the formulas are right and the rest is rounding.

Operators run in `onnx.reference`; those that it lacks (mostly onnxruntime's own), or computes otherwise than the
standard says (`wrong_references`), run in onnxruntime: in float64 where it has such a kernel, else in their usual
dtype, and are listed as narrow.
"""

from __future__ import annotations

import contextlib
import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np

from any2onnx.parity.runtime import OnnxFile, OnnxSession, RuntimeFailure, one_line
from any2onnx.parity.ulp import Array, half_ulp, is_float
from any2onnx.parity.wrong_references import given_of, wrong_reference

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_FLOAT, _FLOAT16, _DOUBLE, _BFLOAT16 = 1, 10, 11, 16
_NARROW = (_FLOAT, _FLOAT16, _BFLOAT16)
# Attributes that name the dtype of a result.
_DTYPE_ATTRIBUTES = frozenset({"to", "dtype", "output_dtype", "stash_type", "softmax_precision"})


class CannotRun(Exception):
    """A node runs neither in onnx.reference nor in onnxruntime."""


@dataclasses.dataclass(frozen=True)
class Values:
    """All top-level values of one run.

    Attributes:
        arrays: By name; floating ones are float64 (sequences and absent optionals are left out).
        narrow: Names that were computed in float32, and so may carry its rounding, directly.
    """

    arrays: Mapping[str, Array]
    narrow: frozenset[str]


class LiftedGraph:
    """An ONNX graph that runs in float64.

    Args:
        proto: The model (onnx.ModelProto), with its weights.
    """

    def __init__(self, proto: Any) -> None:
        self._proto = proto
        self._lifted: dict[int, Any] = {}
        self._opsets = {"" if item.domain == "ai.onnx" else item.domain: item.version for item in proto.opset_import}

    def distrusted(self, node: Any, known: Mapping[str, Any]) -> str:
        """Return why `onnx.reference` has no say about a node of the graph, empty where it has.

        Args:
            node: The node.
            known: Values by name, as far as they are known.
        """
        wrong = wrong_reference(given_of(node, self._opsets, [known.get(name) for name in node.input]))
        return "" if wrong is None or wrong.instead is not None else f"onnx.reference {wrong.reason}"

    @property
    def nodes(self) -> Sequence[Any]:
        """The nodes of the main graph, in order."""
        return list(self._proto.graph.node)

    def with_moved_constants(self, times: int) -> Iterator[LiftedGraph]:
        """Yield copies with every float32 weight moved by half a unit in its last place, up or down at random."""
        import onnx
        from onnx import numpy_helper

        rng = np.random.default_rng(0)
        for _ in range(times):
            twin = onnx.ModelProto()
            twin.CopyFrom(self._proto)
            for tensor in twin.graph.initializer:
                value = numpy_helper.to_array(tensor)
                if value.dtype == np.float32:
                    moved = value.astype(np.float64) + half_ulp(value) * rng.choice([-1.0, 1.0], value.shape)
                    tensor.CopyFrom(numpy_helper.from_array(moved, tensor.name))
            yield LiftedGraph(twin)

    def run(self, feeds: Mapping[str, Array], *, wide: bool = True) -> Values:
        """Run all nodes.

        Args:
            feeds: Inputs by name, in the ONNX dtypes.
            wide: False keeps every dtype as it is: a second opinion on the runtime instead of on the graph.

        Raises:
            CannotRun: A node runs nowhere.
        """
        import onnx

        known: dict[str, Any] = {"": None}
        for tensor in self._proto.graph.initializer:
            known[tensor.name] = _widened(onnx.numpy_helper.to_array(tensor), wide)
        known.update({name: _widened(values, wide) for name, values in feeds.items()})
        narrow: set[str] = set()
        for i, node in enumerate(self._proto.graph.node):
            results, lifted = self._run_node(i, node, known, wide)
            # Outputs without a name are not computed, so that the results are those of the named ones.
            for name, value in zip((name for name in node.output if name), results, strict=True):
                known[name] = _widened(value, wide)
                if not lifted:
                    narrow.add(name)
        arrays = {name: value for name, value in known.items() if isinstance(value, np.ndarray)}
        return Values(arrays, frozenset(narrow))

    def run_one(self, number: int, known: Mapping[str, Any], *, wide: bool = True) -> dict[str, Any]:
        """Run one node on given inputs; returns its named results.

        Raises:
            CannotRun: It runs nowhere.
        """
        inputs = {name: _widened(value, wide) for name, value in known.items()}
        node = self.nodes[number]
        results = self._run_node(number, node, {"": None, **inputs}, wide)[0]
        return dict(zip((name for name in node.output if name), results, strict=True))

    def _run_node(self, number: int, node: Any, known: Mapping[str, Any], wide: bool) -> tuple[list[Any], bool]:
        """Return the results of a node, and whether they are in the dtype that was asked for."""
        names = list(dict.fromkeys(name for name in (*node.input, *captured(node)) if name and name in known))
        inputs = {name: known[name] for name in names}
        try:
            return self._in_reference(number, node, inputs, wide), True
        except Exception as error:
            # onnx.reference raises whatever its numpy code raises, and NotImplementedError for what it lacks.
            reason = one_line(error)
        if wide:
            # Many of its kernels are there for float64 too.
            with contextlib.suppress(Exception):
                return self._in_onnxruntime(node, inputs, wide=True), True
        try:
            return self._in_onnxruntime(node, inputs, wide=False), False
        except Exception as error:
            raise CannotRun(f"{node.op_type}: {one_line(error)} (onnx.reference: {reason})") from error

    def _in_reference(self, number: int, node: Any, inputs: Mapping[str, Any], wide: bool) -> list[Any]:
        from onnx.reference import ReferenceEvaluator

        given = given_of(node, self._opsets, [inputs.get(name) for name in node.input])
        wrong = wrong_reference(given)
        if wrong is not None and wrong.instead is None:
            raise NotImplementedError(f"it {wrong.reason}")
        if wrong is not None and wrong.instead is not None:
            return wrong.instead(given)
        key = number if wide else -1 - number
        if key not in self._lifted:
            self._lifted[key] = ReferenceEvaluator(one_node_model(self._proto, node, inputs, wide=wide))
        with np.errstate(all="ignore"):
            found = self._lifted[key].run(None, dict(inputs))
        return list(found)

    def _in_onnxruntime(self, node: Any, inputs: Mapping[str, Any], *, wide: bool) -> list[Any]:
        given = dict(inputs) if wide else {name: _narrowed(value) for name, value in inputs.items()}
        return run_model(one_node_model(self._proto, node, given, wide=wide), given)


def run_model(model: Any, feeds: Mapping[str, Any]) -> list[Any]:
    """Run a small model in onnxruntime without graph optimisations.

    Raises:
        RuntimeFailure: onnxruntime refuses or fails.
    """
    payload = model.SerializeToString()
    session = OnnxSession(OnnxFile(payload, {}, "", (), 1), optimised=False)
    return [leaves[0].values if leaves else None for leaves in session.run(dict(feeds))]


def one_node_model(proto: Any, node: Any, inputs: Mapping[str, Any], *, wide: bool) -> Any:
    """Return a model of one node with the dtypes and ranks of its actual inputs; outputs are left untyped.

    Args:
        proto: The model that the node comes from, for opsets and functions.
        node: The node.
        inputs: Its inputs, those that its sub-graphs capture included.
        wide: Widen every floating dtype inside to float64.
    """
    import onnx
    from onnx import helper

    body = lift_node(node) if wide else node
    outputs = [helper.make_empty_tensor_value_info(name) for name in node.output if name]
    typed = [value_info(name, value) for name, value in inputs.items()]
    graph = helper.make_graph([body], "one node", typed, outputs)
    functions = [lift_function(item) for item in proto.functions] if wide else list(proto.functions)
    model = helper.make_model(graph, opset_imports=list(proto.opset_import), functions=functions)
    model.ir_version = min(max(int(proto.ir_version), 8), int(onnx.IR_VERSION))
    return model


def value_info(name: str, value: Any) -> Any:
    """Return the declaration of a value with the dtype and the rank of an array (or list of arrays)."""
    from onnx import helper

    if isinstance(value, list):
        kind = _element_type(value[0]) if value else _FLOAT
        return helper.make_tensor_sequence_value_info(name, kind, None)
    return helper.make_tensor_value_info(name, _element_type(value), [None] * np.ndim(value))


def _element_type(value: Any) -> int:
    from onnx import TensorProto, helper

    dtype = np.asarray(value).dtype
    return int(TensorProto.STRING) if dtype.kind in "OSU" else int(helper.np_dtype_to_tensor_dtype(dtype))


def captured(node: Any) -> Iterator[str]:
    """Yield the names that the sub-graphs of a node take from outside, in order of appearance."""
    for attribute in node.attribute:
        graphs = [attribute.g] if attribute.HasField("g") else list(attribute.graphs)
        for graph in graphs:
            known = {item.name for item in (*graph.input, *graph.initializer)}
            for inner in graph.node:
                yield from (name for name in (*inner.input, *captured(inner)) if name and name not in known)
                known.update(inner.output)
            yield from (item.name for item in graph.output if item.name not in known)


def lift_node(node: Any) -> Any:
    """Return a copy of a node in which every floating dtype, constant and sub-graph is float64."""
    import onnx

    twin = onnx.NodeProto()
    twin.CopyFrom(node)
    for attribute in twin.attribute:
        if attribute.name in _DTYPE_ATTRIBUTES and attribute.i in _NARROW:
            attribute.i = _DOUBLE
        elif attribute.HasField("t"):
            attribute.t.CopyFrom(_lift_tensor(attribute.t))
        elif attribute.HasField("g"):
            _lift_graph(attribute.g)
        for graph in attribute.graphs:
            _lift_graph(graph)
    if twin.op_type == "Constant" and twin.domain == "":
        _lift_constant(twin)
    return twin


def lift_function(function: Any) -> Any:
    """Return a copy of a model-local function with its nodes lifted."""
    import onnx

    twin = onnx.FunctionProto()
    twin.CopyFrom(function)
    for node in twin.node:
        node.CopyFrom(lift_node(node))
    return twin


def _lift_constant(node: Any) -> None:
    from onnx import helper, numpy_helper

    for attribute in node.attribute:
        if attribute.name in ("value_float", "value_floats"):
            number = attribute.f if attribute.name == "value_float" else list(attribute.floats)
            tensor = numpy_helper.from_array(np.asarray(number, dtype=np.float64))
            attribute.CopyFrom(helper.make_attribute("value", tensor))


def _lift_graph(graph: Any) -> None:
    for tensor in graph.initializer:
        tensor.CopyFrom(_lift_tensor(tensor))
    for node in graph.node:
        node.CopyFrom(lift_node(node))
    for item in (*graph.input, *graph.output, *graph.value_info):
        if item.type.tensor_type.elem_type in _NARROW:
            item.type.tensor_type.elem_type = _DOUBLE


def _lift_tensor(tensor: Any) -> Any:
    from onnx import numpy_helper

    if tensor.data_type not in _NARROW:
        return tensor
    return numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float64), tensor.name)


def _widened(value: Any, wide: bool) -> Any:
    if isinstance(value, list):
        return [_widened(item, wide) for item in value]
    if value is None:
        return None
    array = np.asarray(value)
    if array.dtype.kind in "SU":
        return array.astype(object)
    return array.astype(np.float64) if wide and is_float(array.dtype) else array


def _narrowed(value: Any) -> Any:
    if isinstance(value, list):
        return [_narrowed(item) for item in value]
    array = np.asarray(value)
    with np.errstate(over="ignore"):
        return array.astype(np.float32) if array.dtype == np.float64 else array


__all__ = ["CannotRun", "LiftedGraph", "RuntimeFailure", "Values", "captured", "one_node_model", "run_model"]
