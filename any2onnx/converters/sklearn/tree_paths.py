"""Decision paths as skl2onnx gives them: one text of 0 and 1 per tree, with a character for each of its nodes."""

from __future__ import annotations

from typing import Any

import numpy as np

from any2onnx.graph.builder import GraphBuilder
from any2onnx.graph.types import Value


def decision_path_text(g: GraphBuilder, leaves: Value, model: Any) -> Value:
    """Return the paths [N, trees] that end in leaves [N, trees].

    Args:
        g: Builder.
        leaves: Node numbers, as `apply` gives them.
        model: Tree, or ensemble of trees.
    """
    members = np.ravel(getattr(model, "estimators_", [model]))
    columns = g.Split(leaves, [1] * len(members), axis=1) if len(members) > 1 else (leaves,)
    texts = []
    for column, member in zip(columns, members, strict=True):
        ends, paths = leaf_paths(member.tree_)
        texts.append(g.ml.LabelEncoder(column, keys_int64s=ends.tolist(), values_strings=paths, default_string=""))
    return texts[0] if len(texts) == 1 else g.op("Concat", *texts, axis=1)


def leaf_paths(tree: Any) -> tuple[np.ndarray[Any, Any], list[str]]:
    """Return the numbers of a tree's leaves, and for each the nodes on the way to it, marked by 1."""
    nodes = np.arange(tree.node_count)
    parent = np.full(tree.node_count, -1)
    for side in (tree.children_left, tree.children_right):
        parent[side[side >= 0]] = nodes[side >= 0]
    ends = nodes[tree.children_left < 0]
    marks = np.full((len(ends), tree.node_count), ord("0"), np.uint8)
    rows, at = np.arange(len(ends)), ends
    while len(rows):
        marks[rows, at] = ord("1")
        above = parent[at]
        rows, at = rows[above >= 0], above[above >= 0]
    return ends, [row.tobytes().decode() for row in marks]
