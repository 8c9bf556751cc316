"""Tree ensembles between sources and targets: one form that every tree family fills and every operator is written from.

`ir.TreeEnsemble` is the form; `emit` writes it as ai.onnx.ml 5, 3 or 1, or as plain tensor operators; `read` finds it
in an ONNX model again; `prove` compares the two node by node. Nothing here imports a framework.
"""

from any2onnx.tree_ensemble.assembly import assemble
from any2onnx.tree_ensemble.ir import Mode, TreeEnsemble

__all__ = ["Mode", "TreeEnsemble", "assemble"]
