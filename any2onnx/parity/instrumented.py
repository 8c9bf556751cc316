"""One run of the ONNX model that shows all of its intermediate values, and what is known of its graph."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from any2onnx.errors import MalformedFile
from any2onnx.parity.lifted import captured
from any2onnx.parity.runtime import OnnxFile, OnnxSession

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from any2onnx.graph.provenance import Origins
    from any2onnx.parity.signature import Feeds
    from any2onnx.parity.ulp import Array


@dataclasses.dataclass(frozen=True)
class Graph:
    """The main graph of a model by names.

    Attributes:
        proto: The model.
        maker: Number of the node that makes each value.
        constants: Initializers.
        inputs: Graph inputs.
        origins: Where its nodes come from.
    """

    proto: Any
    maker: Mapping[str, int]
    constants: frozenset[str]
    inputs: tuple[str, ...]
    origins: Origins

    @classmethod
    def of(cls, proto: Any) -> Graph:
        """Index a model (onnx.ModelProto)."""
        from any2onnx.graph.provenance import Origins

        constants = frozenset(tensor.name for tensor in proto.graph.initializer)
        return cls(
            proto,
            {name: i for i, node in enumerate(proto.graph.node) for name in node.output if name},
            constants,
            tuple(item.name for item in proto.graph.input if item.name not in constants),
            Origins.of_proto(proto),
        )

    def node(self, value: str) -> Any:
        """Return the node that makes a value."""
        return self.proto.graph.node[self.maker[value]]

    def sources(self, number: int) -> list[str]:
        """Return what a node takes from the graph, its sub-graphs included."""
        node = self.proto.graph.node[number]
        return list(dict.fromkeys(name for name in (*node.input, *captured(node)) if name))

    def origin(self, value: str) -> str:
        """Return the step of the source model that a value belongs to, as far as the file says."""
        return self.origins.source(self.node(value)) if value in self.maker else ""

    def region(self, value: str, known: Iterable[str]) -> tuple[list[int], list[str]]:
        """Walk back from a value to known ones.

        Returns:
            The numbers of the nodes in between in order, and the known values (graph inputs too) that they start from.
        """
        stop = set(known) - {value}
        nodes: set[int] = set()
        start: dict[str, None] = {}
        waiting = [value]
        while waiting:
            name = waiting.pop()
            if name in self.constants:
                continue
            if name in stop or name not in self.maker:
                start[name] = None
            elif self.maker[name] not in nodes:
                nodes.add(self.maker[name])
                waiting += self.sources(self.maker[name])
        return sorted(nodes), sorted(start)


def run_showing_all(
    onnx_file: OnnxFile, graph: Graph, feeds: Feeds, *, optimised: bool, providers: Sequence[Any]
) -> dict[str, Array]:
    """Run the model with every value of its main graph as an output, in one session.

    Raises:
        MalformedFile: onnxruntime refuses the instrumented model.
        RuntimeFailure: onnxruntime raised.
    """
    return repeat_showing_all(onnx_file, graph, feeds, optimised=optimised, providers=providers, times=1)[0]


def repeat_showing_all(
    onnx_file: OnnxFile, graph: Graph, feeds: Feeds, *, optimised: bool, providers: Sequence[Any], times: int
) -> list[dict[str, Array]]:
    """Run the same several times in one session: random nodes draw on, where a new session would begin again."""
    import onnx

    twin = onnx.ModelProto()
    twin.CopyFrom(graph.proto)
    shown = {item.name for item in twin.graph.output}
    for node in twin.graph.node:
        for name in node.output:
            if name and name not in shown:
                twin.graph.output.append(onnx.ValueInfoProto(name=name))
                shown.add(name)
    file = dataclasses.replace(onnx_file, payload=twin.SerializeToString())
    session = OnnxSession(file, optimised=optimised, providers=providers)
    given = {name: np.asarray(value) for name, value in feeds.items()}
    runs = []
    for _ in range(times):
        pairs = zip(session.outputs, session.run(feeds), strict=True)
        runs.append({**given, **{port.name: leaves[0].values for port, leaves in pairs if leaves}})
    return runs


def extract(graph: Graph, numbers: Sequence[int], start: Mapping[str, Array], outputs: Sequence[str]) -> Any:
    """Return a model of some nodes of a graph.

    Args:
        graph: The graph.
        numbers: The nodes, in order.
        start: The values that they start from.
        outputs: The values that the model returns.
    """
    import onnx
    from onnx import helper

    from any2onnx.parity.lifted import value_info

    nodes = [graph.proto.graph.node[i] for i in numbers]
    used = {name for i in numbers for name in graph.sources(i)}
    kept = [tensor for tensor in graph.proto.graph.initializer if tensor.name in used]
    part = helper.make_graph(
        nodes,
        "culprit",
        [value_info(name, value) for name, value in start.items()],
        [helper.make_empty_tensor_value_info(name) for name in outputs],
        kept,
    )
    model = helper.make_model(part, opset_imports=list(graph.proto.opset_import), functions=list(graph.proto.functions))
    model.ir_version = min(int(graph.proto.ir_version), int(onnx.IR_VERSION))
    return onnx.shape_inference.infer_shapes(model)


def size_of(values: Array) -> float:
    """Return the largest finite magnitude of a floating or whole array, 0 when there is none."""
    wide = values.astype(np.float64)
    return float(np.abs(wide[np.isfinite(wide)]).max(initial=0.0))


def relative(a: Array, b: Array) -> float:
    """Return the largest |a - b| relative to the size of b; infinite where NaN or shapes differ."""
    if a.shape != b.shape:
        return math.inf
    left, right = a.astype(np.float64), b.astype(np.float64)
    finite = np.isfinite(left) & np.isfinite(right)
    same = finite | (np.isnan(left) & np.isnan(right)) | (left == right)
    if not same.all():
        return math.inf
    error = float(np.abs(np.where(finite, left, 0) - np.where(finite, right, 0)).max(initial=0.0))
    size = size_of(b)
    return error / size if size else (math.inf if error else 0.0)


__all__ = ["Graph", "MalformedFile", "extract", "relative", "run_showing_all", "size_of"]
