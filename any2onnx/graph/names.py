"""Deterministic names for nodes, values and initializers."""

from __future__ import annotations


class Names:
    """Gives each name once: ``x``, ``x_1``, ``x_2``, in the order of asking: the same model gets the same names."""

    __slots__ = ("_next", "_taken")

    def __init__(self) -> None:
        self._taken: set[str] = set()
        self._next: dict[str, int] = {}

    def unique(self, base: str) -> str:
        """Return ``base``, or ``base_k`` with the smallest k that is free."""
        if base not in self._taken:
            self._taken.add(base)
            return base
        k = self._next.get(base, 1)
        while (name := f"{base}_{k}") in self._taken:
            k += 1
        self._next[base] = k + 1
        self._taken.add(name)
        return name

    def reserve(self, name: str) -> bool:
        """Take a name as it is; False when somebody has it already."""
        if name in self._taken:
            return False
        self._taken.add(name)
        return True
