"""`any2onnx doctor`: versions against the floors of the package, plug-ins, runtimes."""

from __future__ import annotations

import platform
import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata

import click

_TOO_OLD = 3
_REQUIREMENT = re.compile(r"(?P<name>[A-Za-z0-9._-]+)(?:\[[^\]]*\])?\s*(?P<bounds>[^;]*)(?:;(?P<marker>.*))?")
_FLOOR = re.compile(r">=\s*(?P<version>[0-9][0-9A-Za-z.]*)")
_EXTRA = re.compile(r"extra\s*==\s*['\"](?P<extra>[^'\"]+)['\"]")
#: Extras that users install; the tools of the tests are left out.
_EXTRAS = ("", "sklearn", "keras", "torch", "parity", "report", "safe")


@dataclass(frozen=True)
class Finding:
    """One required distribution: name, extra that asks for it, floor, installed version ("" if none), too old."""

    name: str
    extra: str
    floor: str
    installed: str
    too_old: bool

    @property
    def state(self) -> str:
        """``ok``, ``not installed`` or ``TOO OLD``."""
        if not self.installed:
            return "not installed"
        return "TOO OLD" if self.too_old else "ok"


def findings() -> list[Finding]:
    """Return what the package's own metadata ask for, against what is installed."""
    found: dict[tuple[str, str], Finding] = {}
    for name, extra, floor in _requirements():
        try:
            installed = metadata.version(name)
        except metadata.PackageNotFoundError:
            installed = ""
        too_old = bool(installed and floor) and _numbers(installed) < _numbers(floor)
        found[name, extra] = Finding(name, extra, floor, installed, too_old)
    return sorted(found.values(), key=lambda finding: (_EXTRAS.index(finding.extra), finding.name))


def _requirements() -> Iterator[tuple[str, str, str]]:
    for text in metadata.requires("any2onnx") or []:
        match = _REQUIREMENT.match(text)
        assert match is not None, text
        extra = _EXTRA.search(match["marker"] or "")
        name = match["name"].lower()
        if (extra["extra"] if extra else "") in _EXTRAS and name != "any2onnx":
            floor = _FLOOR.search(match["bounds"])
            yield name, extra["extra"] if extra else "", floor["version"] if floor else ""


def _numbers(version: str) -> tuple[int, ...]:
    """Return the release numbers of a version: ``2.13.0+cpu`` → (2, 13); trailing zeros do not count."""
    release = re.match(r"[0-9]+(?:\.[0-9]+)*", version)
    numbers = [int(part) for part in release[0].split(".")] if release else []
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)


def plugins() -> list[list[object]]:
    """Return (name, value, distribution) of every registered plug-in; none is imported."""
    points = metadata.entry_points(group="any2onnx.converters")
    return sorted([p.name, p.value, p.dist.name if p.dist else ""] for p in points)


@click.command(
    epilog="""\b
Examples:
  any2onnx doctor

\b
Exit code 3 when an installed package is below its floor (the floors exclude versions with known vulnerabilities).
"""
)
def doctor() -> None:
    """Show the versions of what is installed, plug-ins, and the providers of onnxruntime."""
    from any2onnx.cli.console import console, table

    output = console()
    output.print(
        f"any2onnx {metadata.version('any2onnx')}   Python {platform.python_version()}   {platform.platform()}",
        markup=False,
    )
    found = findings()
    cells: list[list[object]] = [[f.name, f.extra or "always", f.floor, f.installed, f.state] for f in found]
    output.print(table("packages", ["package", "for", "at least", "installed", ""], cells))
    rows = plugins()
    output.print(
        table("plug-ins (any2onnx.converters)", ["name", "value", "package"], rows) if rows else "plug-ins: none"
    )
    output.print(f"onnxruntime providers: {_providers()}", markup=False)
    old = sorted({f.name for f in found if f.too_old})
    if old:
        output.print(f"too old: {', '.join(old)}", style="bold red", markup=False)
        raise click.exceptions.Exit(_TOO_OLD)
    output.print("nothing is too old", markup=False)


def _providers() -> str:
    try:
        import onnxruntime
    except ImportError:
        return "onnxruntime is not installed (pip install 'any2onnx[parity]')"
    return ", ".join(onnxruntime.get_available_providers())
