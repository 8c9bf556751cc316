"""Dead code: nodes, initializers and local functions that nothing reads."""

from __future__ import annotations

import onnx_ir as ir
import onnx_ir.passes.common as common

from any2onnx.passes.contract import check_order
from any2onnx.passes.editing import scopes


class RemoveDeadCodePass(ir.passes.InPlacePass):
    """Remove nodes, optional node outputs, initializers and functions that contribute to no graph output.

    Inputs of the model stay, used or not: they are its signature. onnx-ir removes nodes and the main graph's
    initializers; the initializers of sub-graphs are removed here.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Remove dead code until nothing more falls."""
        modified = common.RemoveUnusedNodesPass()(model).modified
        if model.functions:
            functions: ir.passes.PassBase = common.RemoveUnusedFunctionsPass()  # type: ignore[no-untyped-call]
            modified |= functions(model).modified
        every = list(scopes(model))
        # Not value.uses(): the nodes in the branches of an If that was removed still count there.
        read = {value for scope in every for node in scope.graph for value in node.inputs}
        for scope in every:
            initializers = scope.graph.initializers
            for name, value in list(initializers.items()):
                if not (value in read or value.is_graph_output() or value.is_graph_input()):
                    del initializers[name]
                    modified = True
        return ir.passes.PassResult(model, modified=modified)

    def ensures(self, model: ir.Model) -> None:
        """Check that nothing that is still read was removed (raises PassError)."""
        check_order(model, "after RemoveDeadCodePass")
