"""Names of values in a finished message."""

from __future__ import annotations

import onnx


def rename_value(graph: onnx.GraphProto, old: str, new: str) -> None:
    """Rename a value wherever nodes, those of sub-graphs as well, read or make it, and where its type is noted."""
    for node in graph.node:
        for names in (node.input, node.output):
            for k, name in enumerate(names):
                if name == old:
                    names[k] = new
        for attribute in node.attribute:
            for inner in (*attribute.graphs, *([attribute.g] if attribute.HasField("g") else [])):
                rename_value(inner, old, new)
    for item in (*graph.value_info, *graph.initializer):
        if item.name == old:
            item.name = new


def free_name(name: str, taken: set[str]) -> str:
    """Return the name, or the first with a number behind it that is not taken; it is then."""
    fresh, k = name, 1
    while fresh in taken:
        fresh, k = f"{name}_{k}", k + 1
    taken.add(fresh)
    return fresh
