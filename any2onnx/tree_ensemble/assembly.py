"""Trees that come one by one, put together as one ensemble."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np

from any2onnx.tree_ensemble.ir import Array, Compare, Mode, TreeEnsemble

# Nodes that are worked on together: they stay in the cache meanwhile.
_NODES: Final = 1 << 14
# Trees of this many nodes are worth a few calls of numpy each.
_LARGE_TREES: Final = 1_000


def assemble(
    *,
    true_child: Sequence[Array],
    false_child: Sequence[Array],
    feature: Sequence[Array],
    threshold: Sequence[Array],
    missing_true: Sequence[Array] | None = None,
    mode: Mode | Sequence[Array] = Mode.LEQ,
    leaf_values: Array | Iterator[Array],
    n_targets: int,
    n_features: int,
    compare: Compare,
    **more: Any,
) -> TreeEnsemble:
    """Return the ensemble of trees that are given one array per tree.

    Args:
        true_child: Per tree [nodes], counted within the tree; a node is a leaf where it is negative.
        false_child: Likewise.
        feature: Per tree [nodes].
        threshold: Per tree [nodes].
        missing_true: Per tree [nodes]; None: NaN goes to the false child.
        mode: One for all inner nodes, or per tree [nodes] (what is given for leaves does not matter).
        leaf_values: [leaves, width], see `TreeEnsemble`; or such a table per tree, read as the tree is.
        n_targets: See `TreeEnsemble`.
        n_features: See `TreeEnsemble`.
        compare: See `TreeEnsemble`.
        more: Further fields of `TreeEnsemble`.
    """
    sizes = np.fromiter((len(a) for a in true_child), np.int64, len(true_child))
    start = np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes)])
    n = int(start[-1])
    true, false, tested = np.empty(n, np.int32), np.empty(n, np.int32), np.empty(n, np.int32)
    limits, missing = np.empty(n), np.zeros(n, bool)
    codes = np.full(n, mode if isinstance(mode, Mode) else 0, np.uint8)
    arrays: list[tuple[Sequence[Array], Array]] = [
        (true_child, true),
        (false_child, false),
        (feature, tested),
        (threshold, limits),
    ]
    if missing_true is not None:
        arrays.append((missing_true, missing))
    if not isinstance(mode, Mode):
        arrays.append((mode, codes))
    tables = leaf_values if isinstance(leaf_values, np.ndarray) else _Tables(leaf_values, (n + len(sizes)) // 2)
    _join(arrays, start, tables)
    offset = np.repeat(start[:-1].astype(np.int32), sizes)
    bits = limits.view(np.int64)
    for first in range(0, n, _NODES):
        part = slice(first, first + _NODES)
        leaf = true[part] < 0
        # By bits, -1 being all ones: masks cost ten times as much.
        ones = -leaf.view(np.int8)
        zeros = ~ones
        for child in (true, false):
            child[part] += offset[part]
            child[part] |= ones
        tested[part] &= zeros
        bits[part] &= zeros
        codes[part] &= zeros.view(np.uint8)
        codes[part] |= leaf.view(np.uint8) * np.uint8(Mode.LEAF)
        missing[part] &= ~leaf
    return TreeEnsemble(
        feature=tested,
        threshold=limits,
        mode=codes,
        true_child=true,
        false_child=false,
        missing_true=missing,
        tree_start=start,
        leaf_values=tables.rows if isinstance(tables, _Tables) else tables,
        n_targets=n_targets,
        n_features=n_features,
        compare=compare,
        **more,
    )


class _Tables:
    """Tables [leaves, width] that come one by one, so that they are never all there beside the whole.

    Args:
        tables: One per tree.
        expected: At least as many rows as all have together.
    """

    def __init__(self, tables: Iterator[Array], expected: int) -> None:
        self._tables, self._expected, self._end = tables, expected, 0
        self._rows: Array = np.empty((0, 1))

    def read(self) -> None:
        """Append the rows of the next table."""
        table = next(self._tables)
        if not self._end:
            self._rows = np.empty((self._expected, table.shape[1]))
        self._rows[self._end : self._end + len(table)] = table
        self._end += len(table)

    @property
    def rows(self) -> Array:
        """All rows so far."""
        return self._rows[: self._end]


def _join(arrays: Sequence[tuple[Sequence[Array], Array]], start: Array, tables: Array | _Tables) -> None:
    """Copy the arrays of all trees into those of the ensemble, and read the tables of the leaves."""
    count = len(start) - 1
    if int(start[-1]) < _LARGE_TREES * count:
        for given, joined in arrays:
            np.concatenate(given, out=joined, casting="unsafe")
        for _ in range(count if isinstance(tables, _Tables) else 0):
            assert isinstance(tables, _Tables)
            tables.read()
        return
    # Tree by tree: the sources are often the fields of one array of structures, which stays in the cache meanwhile.
    for k, (a, b) in enumerate(itertools.pairwise(start.tolist())):
        for given, joined in arrays:
            joined[a:b] = given[k]
        if isinstance(tables, _Tables):
            tables.read()
