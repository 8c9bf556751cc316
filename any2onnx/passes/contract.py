"""The contract that all passes share: what they require, what they keep, what they ensure."""

from __future__ import annotations

import abc

import onnx_ir as ir

from any2onnx.errors import PassError
from any2onnx.passes.editing import Names, Scope, scopes, subgraphs


class GraphPass(ir.passes.InPlacePass):
    """A pass that rewrites each graph of a model on its own: main graph, sub-graphs, bodies of local functions.

    Requires that nodes stand in topological order and that every value read is defined. Ensures the same afterwards,
    and that names and number of the model's inputs and outputs are what they were. Sub-classes implement
    :meth:`rewrite`.
    """

    def requires(self, model: ir.Model) -> None:
        """Check the order of nodes.

        Raises:
            PassError: A node reads a value that nothing before it defines.
        """
        check_order(model, f"before {type(self).__name__}")

    def ensures(self, model: ir.Model) -> None:
        """Check the order of nodes again (same error)."""
        check_order(model, f"after {type(self).__name__}")

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Rewrite all graphs.

        Raises:
            PassError: The pass changed an input or output name of the model.
        """
        signature = _signature(model)
        names = Names(model)
        # A list, for a rewrite may remove nodes that hold sub-graphs; a graph that went with its node is skipped.
        count = sum([self.rewrite(scope, names) for scope in list(scopes(model)) if _is_live(scope)])
        if _signature(model) != signature:
            raise PassError(
                f"{type(self).__name__} changed the inputs or outputs of the model: {signature} → {_signature(model)}"
            )
        return ir.passes.PassResult(model, modified=count > 0)

    @abc.abstractmethod
    def rewrite(self, scope: Scope, names: Names) -> int:
        """Rewrite one graph in place and return the number of changes made."""


def _is_live(scope: Scope) -> bool:
    if scope.parent is None:
        return True
    return any(scope.graph in subgraphs(node) for node in scope.parent.graph) and _is_live(scope.parent)


def _signature(model: ir.Model) -> tuple[tuple[str | None, ...], tuple[str | None, ...]]:
    graph = model.graph
    return tuple(value.name for value in graph.inputs), tuple(value.name for value in graph.outputs)


def check_order(model: ir.Model, moment: str) -> None:
    """Check that each graph of ``model`` only reads values that are defined before they are read.

    Args:
        model: The model.
        moment: Put into the message: which pass was about to run, or has run.

    Raises:
        PassError: Naming the first node and value that break the rule.
    """
    _check_graph(model.graph, set(), moment)
    for function in model.functions.values():
        _check_graph(function.graph, set(), moment)


def _check_graph(graph: ir.Graph, outer: set[ir.Value], moment: str) -> None:
    defined = outer
    defined.update(graph.inputs)
    defined.update(graph.initializers.values())
    for node in graph:
        for value in node.inputs:
            if value is not None and value not in defined:
                raise PassError(
                    f"node {node.name!r} ({node.op_type}) reads {value.name!r}, which nothing before it defines",
                    where=f"graph {graph.name!r}, {moment}",
                )
        for inner in subgraphs(node):
            _check_graph(inner, set(defined), moment)
        defined.update(node.outputs)
    for value in graph.outputs:
        if value not in defined:
            raise PassError(f"graph output {value.name!r} is defined nowhere", where=f"graph {graph.name!r}, {moment}")
