"""Layered layout of a directed graph, for pictures: layers by longest path, few crossings, straight edges.

The method is Sugiyama's: edges over several layers get a bend point in each, layers are ordered by the mean place of
their neighbours, and positions minimise the squared distance to them without overlaps.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence

_SWEEPS = 12


@dataclasses.dataclass(frozen=True)
class Layout:
    """Where things are, in the unit of the sizes that were given.

    Attributes:
        centres: Centre of each node.
        edges: For each edge its points from source to target, bends included.
        width: Of the whole.
        height: Of the whole.
    """

    centres: tuple[tuple[float, float], ...]
    edges: tuple[tuple[tuple[float, float], ...], ...]
    width: float
    height: float


def lay_out(
    count: int,
    edges: Sequence[tuple[int, int]],
    *,
    size: tuple[float, float] = (150.0, 40.0),
    gap: tuple[float, float] = (18.0, 34.0),
    bend: float = 10.0,
) -> Layout:
    """Lay out a graph from top to bottom.

    Args:
        count: Number of nodes.
        edges: Pairs of nodes; an edge that would close a cycle is drawn against the direction.
        size: Width and height of a node.
        gap: Least distance between neighbours in a layer, and between layers.
        bend: Width kept free for an edge that passes a layer.

    Returns:
        The places; the same graph always gives the same ones.
    """
    if not count:
        return Layout((), (), 0.0, 0.0)
    layer = _layers(count, edges)
    # Beyond the nodes come the bends: one for each layer that an edge passes.
    depth = list(layer)
    chains: list[list[int]] = []
    for source, target in edges:
        step = 1 if layer[target] > layer[source] else -1
        chain = [source]
        for between in range(layer[source] + step, layer[target], step):
            chain.append(len(depth))
            depth.append(between)
        chains.append([*chain, target])
    rows: list[list[int]] = [[] for _ in range(max(depth) + 1)]
    for item, row in enumerate(depth):
        rows[row].append(item)
    above: list[list[int]] = [[] for _ in depth]
    below: list[list[int]] = [[] for _ in depth]
    for chain in chains:
        for a, b in itertools.pairwise(chain):
            upper, lower = (a, b) if depth[a] <= depth[b] else (b, a)
            if depth[upper] != depth[lower]:
                above[lower].append(upper)
                below[upper].append(lower)
    _order(rows, above, below)
    width = [size[0] if item < count else bend for item in range(len(depth))]
    x = _positions(rows, above, below, width, gap[0])
    least = min(x[item] - width[item] / 2 for item in range(len(depth)))
    pitch = size[1] + gap[1]
    y = [row * pitch + size[1] / 2 for row in depth]
    places = [(x[item] - least, y[item]) for item in range(len(depth))]
    most = max(places[item][0] + width[item] / 2 for item in range(len(depth)))
    return Layout(
        tuple(places[:count]),
        tuple(tuple(places[item] for item in chain) for chain in chains),
        most,
        (max(depth)) * pitch + size[1],
    )


def _layers(count: int, edges: Sequence[tuple[int, int]]) -> list[int]:
    """Return the length of the longest path to each node; edges back to an earlier node of a cycle are ignored."""
    targets: list[list[int]] = [[] for _ in range(count)]
    waiting = [0] * count
    for source, target in edges:
        if source != target:
            targets[source].append(target)
            waiting[target] += 1
    layer = [0] * count
    done = [False] * count
    ready = [node for node in range(count) if not waiting[node]]
    for _ in range(count):
        if not ready:
            # Only cycles are left: the first node in the order of the file opens its cycle.
            ready = [next(node for node in range(count) if not done[node])]
        node = ready.pop()
        done[node] = True
        for target in targets[node]:
            if done[target]:
                continue
            layer[target] = max(layer[target], layer[node] + 1)
            waiting[target] -= 1
            if waiting[target] == 0:
                ready.append(target)
    return layer


def _order(rows: list[list[int]], above: list[list[int]], below: list[list[int]]) -> None:
    """Sort each layer by the mean place of its neighbours, downwards and upwards in turn."""
    place: dict[int, float] = {}
    for row in rows:
        place.update({item: float(k) for k, item in enumerate(row)})
    for sweep in range(_SWEEPS):
        downwards = sweep % 2 == 0
        near = above if downwards else below
        for row in rows if downwards else reversed(rows):
            wish = {
                item: sum(place[other] for other in near[item]) / len(near[item]) if near[item] else place[item]
                for item in row
            }
            row.sort(key=lambda item: (wish[item], place[item]))
            place.update({item: float(k) for k, item in enumerate(row)})


def _positions(
    rows: list[list[int]], above: list[list[int]], below: list[list[int]], width: Sequence[float], gap: float
) -> list[float]:
    x = [0.0] * len(width)
    for row in rows:
        at = 0.0
        for item in row:
            x[item] = at + width[item] / 2
            at += width[item] + gap
        for item in row:
            x[item] -= (at - gap) / 2
    for sweep in range(_SWEEPS):
        near = above if sweep % 2 == 0 else below
        for row in rows if sweep % 2 == 0 else reversed(rows):
            wishes = [sum(x[other] for other in near[i]) / len(near[i]) if near[i] else x[i] for i in row]
            for item, place in zip(row, _apart(wishes, [width[i] for i in row], gap), strict=True):
                x[item] = place
    return x


def _apart(wishes: Sequence[float], widths: Sequence[float], gap: float) -> list[float]:
    """Return the places nearest to the wishes (least squares) that keep order and distance.

    With the distances taken off, this is isotonic regression: pool neighbours that violate the order.
    """
    offset = [0.0]
    for left, right in itertools.pairwise(widths):
        offset.append(offset[-1] + (left + right) / 2 + gap)
    pools: list[tuple[float, int]] = []
    for wish, shift in zip(wishes, offset, strict=True):
        mean, members = wish - shift, 1
        while pools and pools[-1][0] > mean:
            other, others = pools.pop()
            mean = (mean * members + other * others) / (members + others)
            members += others
        pools.append((mean, members))
    flat = [mean for mean, members in pools for _ in range(members)]
    return [value + shift for value, shift in zip(flat, offset, strict=True)]
