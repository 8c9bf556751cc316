"""Where a node comes from: the step of the source model and the rule that made it.

Both are `metadata_props` of the node while a model is made: errors and passes read them. A finished model holds each
pair once, in a table among its own `metadata_props`, and the number of its line at the node: most of them say the same
of thousands of nodes. The divergence finder, reports and pictures read it by `Origins`. `strip_provenance` removes all.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import onnx_ir as ir

ORIGIN_KEY: Final = "any2onnx"
"""Of a node: the line of the table that says where it comes from."""
ORIGINS_KEY: Final = "any2onnx.origins"
"""Of a model: the table. A line is [rule, whether the source begins with the node's own scope, rest of the source]."""
SOURCE_KEY: Final = "any2onnx.source"
RULE_KEY: Final = "any2onnx.rule"
GUARD_RULE: Final = "graph.guards"
"""The rule of nodes that change nothing and are there to raise: passes leave them."""


@dataclass(frozen=True, slots=True)
class Provenance:
    """Origin of nodes.

    Attributes:
        scope: Path of names, as a prefix for node names: ``pipeline/scaler``.
        source: For people: ``pipeline/scaler (StandardScaler)`` or ``model.head ← src/net.py:41``.
        rule: The converter: ``sklearn.preprocessing:scaler``.
    """

    scope: str = ""
    source: str = ""
    rule: str = ""

    def properties(self) -> dict[str, str]:
        """Return the node's `metadata_props`."""
        pairs = ((SOURCE_KEY, self.source), (RULE_KEY, self.rule))
        return {key: text for key, text in pairs if text}


def compact_provenance(model: ir.Model) -> ir.Model:
    """Move the origins of all nodes into the model's table, in place."""
    lines: dict[tuple[str, bool, str], int] = {}
    for node in _nodes(model):
        properties = node.metadata_props
        source, rule = properties.pop(SOURCE_KEY, ""), properties.pop(RULE_KEY, "")
        if not (source or rule):
            continue
        scope = _scope(node.name)
        own = bool(scope) and source.startswith(scope)
        line = (rule, own, source.removeprefix(scope) if own else source)
        properties[ORIGIN_KEY] = str(lines.setdefault(line, len(lines)))
    if lines:
        table = [[rule, int(own), rest] for rule, own, rest in lines]
        model.metadata_props[ORIGINS_KEY] = json.dumps(table, ensure_ascii=False, separators=(",", ":"))
    return model


def expand_provenance(model: ir.Model) -> ir.Model:
    """Give every node its own origin again, in place: what `compact_provenance` has done is undone."""
    origins = Origins(model.metadata_props)
    if model.metadata_props.pop(ORIGINS_KEY, None) is None:
        return model
    for node in _nodes(model):
        source, rule = origins.of(node.name or "", node.metadata_props)
        node.metadata_props.pop(ORIGIN_KEY, None)
        node.metadata_props.update(Provenance(source=source, rule=rule).properties())
    return model


class Origins:
    """Where the nodes of a finished model come from.

    Args:
        metadata: The model's `metadata_props`. A table that cannot be read, as in a file that something else has
            written, says nothing about any node.
    """

    def __init__(self, metadata: Mapping[str, str]) -> None:
        try:
            table = json.loads(metadata.get(ORIGINS_KEY, "[]"))
            self._lines = [(str(rule), bool(own), str(rest)) for rule, own, rest in table]
        except (TypeError, ValueError):
            self._lines = []

    @classmethod
    def of_proto(cls, model: Any) -> Origins:
        """Return those of an onnx.ModelProto."""
        return cls({entry.key: entry.value for entry in model.metadata_props})

    def of(self, name: str, properties: Mapping[str, str]) -> tuple[str, str]:
        """Return source and rule of a node, by its name and `metadata_props`; empty texts where they are not known."""
        number = properties.get(ORIGIN_KEY, "")
        if not number.isdecimal() or int(number) >= len(self._lines):
            return properties.get(SOURCE_KEY, ""), properties.get(RULE_KEY, "")
        rule, own, rest = self._lines[int(number)]
        return (_scope(name) + rest if own else rest), rule

    def source(self, node: Any) -> str:
        """Return the source of an onnx.NodeProto."""
        # Messages made by onnx < 1.16 have no metadata on nodes.
        return self.of(node.name, {entry.key: entry.value for entry in getattr(node, "metadata_props", ())})[0]


def strip_provenance(model: ir.Model) -> ir.Model:
    """Remove the origin of every node, in place; the model computes the same."""
    model.metadata_props.pop(ORIGINS_KEY, None)
    for node in _nodes(model):
        for key in (SOURCE_KEY, RULE_KEY, ORIGIN_KEY):
            node.metadata_props.pop(key, None)
    return model


def _nodes(model: ir.Model) -> Iterator[ir.Node]:
    import onnx_ir as ir

    graphs: list[ir.Graph | ir.Function] = [model.graph, *model.functions.values()]
    for graph in graphs:
        yield from ir.traversal.RecursiveGraphIterator(graph)


def _scope(name: str | None) -> str:
    """Return the scope that the builder has put before a node's name."""
    return (name or "").rpartition("/")[0]
