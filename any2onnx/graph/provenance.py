"""Where a node comes from: the step of the source model and the rule that made it.

Both are `metadata_props` of the node, so that they survive in the file; errors, the divergence finder, reports and
pictures read them. `strip_provenance` removes them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import onnx_ir as ir

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


def strip_provenance(model: ir.Model) -> ir.Model:
    """Remove the origin of every node, in place; the model computes the same."""
    graphs: list[ir.Graph | ir.Function] = [model.graph, *model.functions.values()]
    for graph in graphs:
        for node in ir.traversal.RecursiveGraphIterator(graph):
            for key in (SOURCE_KEY, RULE_KEY):
                node.metadata_props.pop(key, None)
    return model
