"""Conversion options: `options={type | id(estimator) | name: {...}}`, as skl2onnx's users write them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from any2onnx.errors import UsageError


class Options:
    """Options by class, by object or by the name of a step.

    Args:
        given: Keys are a class, `id(model)`, the model itself, the path of a step (``"scaler"``,
            ``"pipeline/scaler"``), ``"step__option"`` with a plain value, or the name of an option that holds
            everywhere (``"precision"``).

    Raises:
        UsageError: The argument is no mapping, or a value has the wrong form.
    """

    __slots__ = ("_by_class", "_by_id", "_by_name", "_everywhere", "_used")

    def __init__(self, given: Mapping[Any, Any] | None = None) -> None:
        if given is not None and not isinstance(given, Mapping):
            raise UsageError(
                f"options is {given!r}", needs="a dict", remedy='options={LogisticRegression: {"zipmap": False}}'
            )
        self._by_class: dict[type, dict[str, Any]] = {}
        self._by_id: dict[int, dict[str, Any]] = {}
        self._by_name: dict[str, dict[str, Any]] = {}
        self._everywhere: dict[str, Any] = {}
        self._used: set[str] = set()
        for key, value in (given or {}).items():
            self._add(key, value)

    def _add(self, key: Any, value: Any) -> None:
        if isinstance(key, str) and not isinstance(value, Mapping):
            step, _, option = key.rpartition("__")
            if step:
                self._by_name.setdefault(step, {})[option] = value
            else:
                self._everywhere[key] = value
            return
        if not isinstance(value, Mapping):
            raise UsageError(f"the options of {key!r} are {value!r}", needs="a dict from option to value")
        if isinstance(key, type):
            self._by_class[key] = dict(value)
        elif isinstance(key, str):
            self._by_name[key] = dict(value)
        else:
            self._by_id[key if isinstance(key, int) else id(key)] = dict(value)

    def for_source(self, source: Any, scope: str, known: Mapping[str, Any]) -> dict[str, Any]:
        """Return the options that hold for one estimator or layer; the more specific key wins.

        Args:
            source: The estimator or layer.
            scope: Its path; a key that is the path or its last parts fits.
            known: Options that its converter has; one given for everything is taken only where it is known.
        """
        result = {name: value for name, value in self._everywhere.items() if name in known}
        self._used.update(result)
        for cls in reversed(type(source).__mro__):
            if cls in self._by_class:
                result.update(self._by_class[cls])
                self._used.add(_label(cls))
        for name, options in self._by_name.items():
            path = name.replace("__", "/")
            if scope == path or scope.endswith("/" + path):
                result.update(options)
                self._used.add(name)
        if id(source) in self._by_id:
            result.update(self._by_id[id(source)])
            self._used.add(_label(id(source)))
        return result

    def unused(self) -> Iterator[str]:
        """Yield the keys that fitted nothing, as text, for an error at the end."""
        return (label for _, label, _ in self.unused_entries())

    def unused_entries(self) -> Iterator[tuple[type | str | int, str, Mapping[str, Any]]]:
        """Yield (key, its text, options) of what fitted nothing."""
        for cls, options in self._by_class.items():
            if _label(cls) not in self._used:
                yield cls, _label(cls), options
        for name, options in self._by_name.items():
            if name not in self._used:
                yield name, name, options
        for number, options in self._by_id.items():
            if _label(number) not in self._used:
                yield number, _label(number), options
        for name, value in self._everywhere.items():
            if name not in self._used:
                yield name, name, {name: value}


def _label(key: type | int) -> str:
    return key.__name__ if isinstance(key, type) else f"id {key}"
