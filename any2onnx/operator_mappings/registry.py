"""The registry: tables of rows as one immutable value, in layers; the later layer wins."""

from __future__ import annotations

import functools
import os
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module, metadata

from any2onnx.errors import OpsetNotSupported, RegistryError, UnsupportedOperator, did_you_mean
from any2onnx.operator_mappings.mapping import FRAMEWORKS, OperatorMapping

ENTRY_POINTS = "any2onnx.converters"

_Index = Mapping[tuple[str, str], tuple[OperatorMapping, ...]]


@dataclass(frozen=True, slots=True)
class Needed:
    """An operator that a model uses, and where."""

    key: str
    where: str = ""


class Registry:
    """Rows by (framework, key); immutable."""

    __slots__ = ("_index", "_layers")

    def __init__(self, layers: Sequence[tuple[str, _Index]]) -> None:
        self._layers = tuple(layers)
        merged: dict[tuple[str, str], tuple[OperatorMapping, ...]] = {}
        for _, index in layers:
            merged.update(index)
        self._index: _Index = merged

    @classmethod
    def of(cls, rows: Iterable[OperatorMapping], name: str = "rows") -> Registry:
        """Return a registry of one layer.

        Raises:
            RegistryError: Two rows of one key serve the same opset.
        """
        return cls([(name, _indexed(rows))])

    def extended(self, rows: Iterable[OperatorMapping], *, name: str = "user", override: bool = False) -> Registry:
        """Return a new registry with a layer on top; this one stays as it is.

        Raises:
            RegistryError: A row's key exists already and `override` is false.
        """
        index = _indexed(rows)
        if not override and (known := sorted(key for _, key in index if (_, key) in self._index)):
            raise RegistryError(f"{known[0]} is in the registry already", remedy="override=True", others=known[1:])
        return Registry([*self._layers, (name, index)])

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the layers, lowest first."""
        return tuple(name for name, _ in self._layers)

    def rows(self, framework: str | None = None) -> list[OperatorMapping]:
        """Return all rows, or those of one framework, sorted by key and opset."""
        chosen = [row for (of, _), rows in self._index.items() if framework in (None, of) for row in rows]
        return sorted(chosen, key=lambda row: (row.framework, row.key, row.opset[0]))

    def keys(self, framework: str) -> list[str]:
        """Return the keys of a framework, sorted."""
        return sorted(key for of, key in self._index if of == framework)

    def find(self, framework: str, key: str, opset: int) -> OperatorMapping | None:
        """Return the row that serves a key at an opset; None where there is none, or only a refusal."""
        rows = self._index.get((framework, key), ())
        return next((row for row in rows if row.serves(opset) and not row.refused), None)

    def knows(self, framework: str, key: str) -> bool:
        """Tell whether any row has this key."""
        return (framework, key) in self._index

    def lookup(self, framework: str, key: str, opset: int, where: str = "") -> OperatorMapping:
        """Return the row that serves a key at an opset.

        Raises:
            UnsupportedOperator: No row has the key, or it is refused.
            OpsetNotSupported: The rows of the key serve other opsets.
        """
        row = self.find(framework, key, opset)
        if row is None:
            self.require(framework, [Needed(key, where)], opset)
        assert row is not None
        return row

    def require(self, framework: str, needed: Iterable[Needed], opset: int) -> None:
        """Check that every operator of a model can be converted; one error names all that cannot.

        Raises:
            UnsupportedOperator: At least one cannot, at any opset.
            OpsetNotSupported: All could, at another opset.
        """
        missing: dict[str, list[str]] = {}
        for need in needed:
            if self.find(framework, need.key, opset) is None:
                missing.setdefault(need.key, []).append(need.where)
        if not missing:
            return
        # First the ones that no opset helps.
        keys = sorted(missing, key=lambda key: self._first_opset(framework, key, opset) is not None)
        first = keys[0]
        since = self._first_opset(framework, first, opset)
        others = [f"{key}" + (f" (×{len(missing[key])})" if len(missing[key]) > 1 else "") for key in keys[1:]]
        where = next((place for place in missing[first] if place), None)
        if since is not None:
            best = max(self._first_opset(framework, key, opset) or 0 for key in keys)
            raise OpsetNotSupported(
                f"{first} has no ONNX mapping at opset {opset}",
                where=where,
                needs=f"opset {'≥' if since > opset else '≤'} {since} ({opset} was asked for)",
                remedy=f"target_opset={best}",
                others=others,
            )
        refusal = next((row.refused for row in self._index.get((framework, first), ()) if row.refused), None)
        if refusal:
            summary, needs = f"{first} cannot be converted: {refusal}", None
        else:
            summary = f"{first} has no ONNX mapping{did_you_mean(first, self.keys(framework))}"
            needs = "a row in the mapping table"
        raise UnsupportedOperator(
            summary,
            where=where,
            needs=needs,
            remedy="register a converter of your own: docs/custom_converters.md",
            others=others,
        )

    def _first_opset(self, framework: str, key: str, opset: int) -> int | None:
        """Return the nearest opset that serves a key; None where none does."""
        rows = [row for row in self._index.get((framework, key), ()) if not row.refused]
        later = [row.opset[0] for row in rows if row.opset[0] > opset]
        earlier = [row.opset[1] for row in rows if row.opset[1] is not None and row.opset[1] < opset]
        return min(later) if later else max(earlier, default=None)


def _indexed(rows: Iterable[OperatorMapping]) -> _Index:
    index: dict[tuple[str, str], list[OperatorMapping]] = {}
    for row in rows:
        same = index.setdefault((row.framework, row.key), [])
        for other in same:
            if _overlap(row.opset, other.opset):
                raise RegistryError(f"{row.key}: two rows serve the same opset, {row.opset} and {other.opset}")
        same.append(row)
    return {key: tuple(same) for key, same in index.items()}


def _overlap(a: tuple[int, int | None], b: tuple[int, int | None]) -> bool:
    return (a[1] is None or b[0] <= a[1]) and (b[1] is None or a[0] <= b[1])


@functools.cache
def default_registry() -> Registry:
    """Return the tables of any2onnx, with the layers of installed plug-ins on top.

    A plug-in is an entry point of the group ``any2onnx.converters``: a function without arguments that returns rows,
    or the rows. Layers lie in the order of the entry points' names. A plug-in that fails is left out with a warning
    that names its distribution; ``ANY2ONNX_NO_PLUGINS=1`` leaves out all.
    """
    registry = Registry(
        [(name, _indexed(import_module(f"any2onnx.operator_mappings.{name}").ROWS)) for name in FRAMEWORKS]
    )
    if os.environ.get("ANY2ONNX_NO_PLUGINS") == "1":
        return registry
    for point in sorted(metadata.entry_points(group=ENTRY_POINTS), key=lambda p: p.name):
        try:
            loaded = point.load()
            rows = loaded() if callable(loaded) else loaded
            registry = registry.extended(rows, name=point.name, override=True)
        except Exception as error:  # a plug-in of somebody else must not take any2onnx down
            distribution = point.dist.name if point.dist else "an unknown distribution"
            warnings.warn(
                f"the converters {point.name!r} of {distribution} were left out: {type(error).__name__}: {error}",
                RuntimeWarning,
                stacklevel=2,
            )
    return registry
