"""The walk in plain tensor operators: for what no tree operator of the chosen ai.onnx.ml version can decide exactly.

That is float64 rows below version 3, whose thresholds are float32, and trees with more nodes than float32 can count.
All trees of all rows go down one level per turn of a loop.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import numpy as np

from any2onnx.errors import GraphError
from any2onnx.graph.types import DataType, Value
from any2onnx.tree_ensemble.ir import Mode, TreeEnsemble

if TYPE_CHECKING:
    from any2onnx.graph.builder import GraphBuilder

NODES: Final = "trees.nodes"
THRESHOLDS: Final = "trees.thresholds"
COLUMNS: Final = ("feature", "true_child", "false_child", "missing_true", "mode")


def leaf_positions(g: GraphBuilder, e: TreeEnsemble, x: Value) -> Value:
    """Return the position (over all nodes) of the leaf that each row reaches in each tree: int64 [batch, trees].

    Raises:
        GraphError: A node tests for membership; `members.expand_members` replaces these.
    """
    if Mode.MEMBER in e.modes():
        raise GraphError("membership tests must be expanded first")
    own = np.arange(e.n_nodes)
    leaf = e.is_leaf
    # Leaves lead to themselves, so that every row may take as many turns as the longest way has.
    true, false = (np.where(leaf, own, child) for child in (e.true_child, e.false_child))
    table = np.stack([e.feature, true, false, e.missing_true, e.mode], axis=1).astype(np.int64)
    nodes = g.const(table, name=NODES)
    thresholds = g.const(e.threshold, name=THRESHOLDS)
    x = g.Cast(x, DataType.DOUBLE)
    roots = g.const(e.tree_start[:-1].astype(np.int64), name="trees.roots")
    start = g.Expand(g.Unsqueeze(roots, 0), g.shape_vector([g.dim(x, 0), e.n_trees]))
    modes = e.modes()
    if not modes:
        return start

    def step(body: GraphBuilder, _turn: Value, _condition: Value, position: Value) -> tuple[Value, Value]:
        entries = body.Gather(nodes, position, axis=0)
        feature, if_true, if_false, missing, mode = (
            body.Squeeze(part, 2) for part in body.Split(entries, num_outputs=len(COLUMNS), axis=2)
        )
        value = body.GatherElements(x, feature, axis=1)
        limit = body.Gather(thresholds, position, axis=0)
        answer = _answer(body, modes, mode, value, limit)
        unknown = body.IsNaN(value)
        answer = body.Or(body.And(unknown, body.Cast(missing, DataType.BOOL)), body.And(body.Not(unknown), answer))
        return body.const(np.asarray(True)), body.Where(answer, if_true, if_false)

    return g.Loop(step, [start], trip_count=e.depth(), condition=None)[0]


def _answer(g: GraphBuilder, modes: list[Mode], mode: Value, value: Value, limit: Value) -> Value:
    """Return whether each test holds, by the node's mode."""
    tests: dict[Mode, Callable[[], Value]] = {
        Mode.LEQ: lambda: g.LessOrEqual(value, limit),
        Mode.LT: lambda: g.Less(value, limit),
        Mode.GTE: lambda: g.GreaterOrEqual(value, limit),
        Mode.GT: lambda: g.Greater(value, limit),
        Mode.EQ: lambda: g.Equal(value, limit),
        Mode.NEQ: lambda: g.Not(g.Equal(value, limit)),
    }
    if len(modes) == 1:
        return tests[modes[0]]()
    result: Value | None = None
    for m in modes:
        part = g.And(g.Equal(mode, g.const(np.asarray(int(m), np.int64))), tests[m]())
        result = part if result is None else g.Or(result, part)
    assert result is not None
    return result
