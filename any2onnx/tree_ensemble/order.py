"""One order for the nodes of trees, so that trees from different places can be compared array by array."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from any2onnx.errors import GraphError

Array = npt.NDArray[Any]


def levels(true: Array, false: Array, leaf: Array, roots: Array) -> Iterator[Array]:
    """Yield the positions of the nodes of depth 0, 1, … of all trees together.

    Raises:
        GraphError: The children form a cycle, or are shared so often that they might.
    """
    level, seen = np.asarray(roots), 0
    while len(level):
        seen += len(level)
        if seen > len(leaf):
            raise GraphError("the children of a tree ensemble form a cycle")
        yield level
        inner = level[~leaf[level]]
        level = np.concatenate([true[inner], false[inner]])


def preorder(true: Array, false: Array, leaf: Array, roots: Array) -> tuple[Array, Array, Array]:
    """Return the order of a walk that takes the true child first.

    Args:
        true: int [nodes], position of the true child.
        false: int [nodes].
        leaf: bool [nodes].
        roots: int [trees].

    Returns:
        int64 [nodes] each: place within the tree, size of the subtree, tree. A leaf lies below a node exactly if its
        place is one of the `size` places from the node's on.
    """
    inner = [level[~leaf[level]] for level in levels(true, false, leaf, roots)]
    size = np.ones(len(leaf), np.int64)
    for nodes in reversed(inner):
        size[nodes] += size[true[nodes]] + size[false[nodes]]
    place = np.zeros(len(leaf), np.int64)
    tree = np.full(len(leaf), -1, np.int64)
    tree[roots] = np.arange(len(roots))
    for nodes in inner:
        for child in (true[nodes], false[nodes]):
            tree[child] = tree[nodes]
        place[true[nodes]] = place[nodes] + 1
        place[false[nodes]] = place[nodes] + 1 + size[true[nodes]]
    return place, size, tree
