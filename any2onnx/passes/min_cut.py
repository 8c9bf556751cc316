"""Minimum cut of a directed graph with integer capacities (Dinic's algorithm)."""

from __future__ import annotations

from collections import deque

UNLIMITED = 1 << 40


class FlowNetwork:
    """A directed graph with two terminals.

    Args:
        size: Number of nodes at the start; nodes are numbered from 0.

    Attributes:
        source: Node 0.
        sink: Node 1.
    """

    source = 0
    sink = 1

    def __init__(self, size: int = 2) -> None:
        """Start without edges."""
        self._edges: list[list[int]] = [[] for _ in range(size)]
        # Edge i goes to _head[i] and can still carry _room[i]; edge i ^ 1 is its reverse.
        self._head: list[int] = []
        self._room: list[int] = []

    def add_node(self) -> int:
        """Add a node and return its number."""
        self._edges.append([])
        return len(self._edges) - 1

    def add_edge(self, tail: int, head: int, capacity: int) -> None:
        """Add an edge: cutting it (tail on the source's side, head on the sink's) costs ``capacity``."""
        if tail == head:
            return
        for start, end, room in ((tail, head, capacity), (head, tail, 0)):
            self._edges[start].append(len(self._head))
            self._head.append(end)
            self._room.append(room)

    def source_side(self) -> list[bool]:
        """Saturate the network; return for each node whether it is on the source's side of the smallest such cut."""
        while True:
            levels = self._levels()
            if levels[self.sink] < 0:
                return [level >= 0 for level in levels]
            position = [0] * len(self._edges)
            while self._augment(levels, position):
                pass

    def _levels(self) -> list[int]:
        levels = [-1] * len(self._edges)
        levels[self.source] = 0
        queue = deque([self.source])
        while queue:
            node = queue.popleft()
            for edge in self._edges[node]:
                head = self._head[edge]
                if self._room[edge] > 0 and levels[head] < 0:
                    levels[head] = levels[node] + 1
                    queue.append(head)
        return levels

    def _augment(self, levels: list[int], position: list[int]) -> int:
        """Push flow along one shortest path; return how much (0: no such path is left)."""
        path: list[int] = []
        node = self.source
        while node != self.sink:
            edges = self._edges[node]
            while position[node] < len(edges):
                edge = edges[position[node]]
                head = self._head[edge]
                if self._room[edge] > 0 and levels[head] == levels[node] + 1:
                    path.append(edge)
                    node = head
                    break
                position[node] += 1
            else:
                if not path:
                    return 0
                levels[node] = -1  # a dead end in this phase
                node = self._head[path.pop() ^ 1]
        amount = min(self._room[edge] for edge in path)
        for edge in path:
            self._room[edge] -= amount
            self._room[edge ^ 1] += amount
        return amount
