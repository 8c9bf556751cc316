"""The ONNX graph as plain data for pictures: nodes, edges, and where they come from."""

from __future__ import annotations

import dataclasses
from typing import Any

MOST_NODES = 20_000
"""Beyond this many nodes a report has no picture."""


@dataclasses.dataclass(frozen=True)
class GraphNode:
    """One node of the main graph.

    Attributes:
        operator: ONNX operator, with its domain where that is not ai.onnx.
        name: Name of the node, may be empty.
        inputs: Values that it reads and other nodes or the model's inputs make.
        outputs: Values that it makes.
        source: Pipeline step, layer or line of the source model, empty when the file does not say.
        weights: Number of its constant inputs.
    """

    operator: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    source: str = ""
    weights: int = 0


@dataclasses.dataclass(frozen=True)
class GraphPicture:
    """The main graph of an ONNX model.

    Attributes:
        inputs: Names of the inputs.
        outputs: Names of the outputs.
        nodes: Nodes in the order of the file; empty when there are more than ``MOST_NODES``.
        count: Number of nodes in the file.
    """

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    nodes: tuple[GraphNode, ...]
    count: int


def picture_of(proto: Any) -> GraphPicture:
    """Read the main graph of an ``onnx.ModelProto``; values of sub-graphs count as inputs of their node."""
    from any2onnx.graph.provenance import Origins

    graph = proto.graph
    constants = {tensor.name for tensor in graph.initializer}
    constants.update(name for node in graph.node if node.op_type == "Constant" for name in node.output)
    inputs = tuple(item.name for item in graph.input if item.name not in constants)
    outputs = tuple(item.name for item in graph.output)
    if len(graph.node) > MOST_NODES:
        return GraphPicture(inputs, outputs, (), len(graph.node))
    made = {name for node in graph.node for name in node.output if name} | set(inputs)
    nodes, origins = [], Origins.of_proto(proto)
    for node in graph.node:
        if node.op_type == "Constant":
            continue
        read = [name for name in _reads(node) if name in made and name not in constants]
        nodes.append(
            GraphNode(
                f"{node.domain}.{node.op_type}" if node.domain not in ("", "ai.onnx") else node.op_type,
                node.name,
                tuple(dict.fromkeys(read)),
                tuple(name for name in node.output if name),
                origins.source(node),
                sum(name in constants for name in node.input),
            )
        )
    return GraphPicture(inputs, outputs, tuple(nodes), len(nodes))


def _reads(node: Any) -> list[str]:
    found = [name for name in node.input if name]
    for attribute in node.attribute:
        for graph in [attribute.g] if attribute.HasField("g") else attribute.graphs:
            inner = {name for item in graph.node for name in item.output}
            found += [name for item in graph.node for name in _reads(item) if name not in inner]
    return found
