"""`parity.lock`: what a comparison found when it was accepted, so that drift shows before anything fails.

TOML with one line per comparison, sorted, so that a change of one model is a change of its lines only:

    [parity]
    "scaler/y/data" = { verdict = "within-ulp", max_ulp = 2, budget_used = 0.0125 }

A check against it fails on a worse verdict and on drift: more than twice the share of the budget, beyond what the last
bit explains. Versions are kept so that an upgrade of the framework is told from a change of the converter.
"""

from __future__ import annotations

import dataclasses
import json
import math
import tomllib
from typing import TYPE_CHECKING, Any

from any2onnx.errors import MalformedFile, UsageError
from any2onnx.parity.ulp import INCOMPARABLE
from any2onnx.parity.verdict import Verdict

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Iterable, Mapping

    from any2onnx.parity.report import ParityReport

VERSION = 1
DRIFT = 2.0
"""A share of the budget that grew by more than this factor is drift."""
DRIFT_FLOOR = 0.02
"""Below this share of the budget nothing is called drift: there, the last bit of one element decides."""


@dataclasses.dataclass(frozen=True)
class Entry:
    """What one output did in one suite.

    Attributes:
        verdict: The worst verdict; None when everything was skipped.
        max_ulp: Largest ULP distance, None where NaN or an infinity is apart from a number.
        budget_used: Largest error / budget, None where no budget applies.
    """

    verdict: Verdict | None
    max_ulp: int | None = 0
    budget_used: float | None = 0.0


@dataclasses.dataclass(frozen=True)
class Change:
    """A difference between a report and its baseline.

    Attributes:
        name: Id of the entry.
        kind: ``worse``, ``drift``, ``new``, ``gone`` or ``better``.
        text: The difference in words.
    """

    name: str
    kind: str
    text: str

    @property
    def fails(self) -> bool:
        """True for what a baseline is there to catch; an output that is no longer compared is one of them."""
        return self.kind in ("worse", "drift", "gone")


@dataclasses.dataclass(frozen=True)
class Lock:
    """A baseline: entries by id, and the versions they were found with."""

    entries: Mapping[str, Entry]
    versions: Mapping[str, str]


def entries_of(name: str, report: ParityReport) -> dict[str, Entry]:
    """Return the entries of a report: one for each output in each suite, under ``name/output/suite``."""
    found: dict[str, Entry] = {}
    for output, suite in dict.fromkeys((result.output, result.suite) for result in report.results):
        results = [result for result in report.results if (result.output, result.suite) == (output, suite)]
        worst = max(results, key=lambda result: result.badness)
        used = max(result.budget_used for result in results)
        ulp = max(result.ulp for result in results)
        found[f"{name}/{output or '*'}/{suite}"] = Entry(
            worst.verdict,
            None if ulp == INCOMPARABLE else ulp,
            # Four digits are enough for a factor of two, and keep the file free of the last bit's noise.
            None if not math.isfinite(used) else float(f"{used:.4g}"),
        )
    return found


def read(path: pathlib.Path) -> Lock:
    """Read a baseline.

    Raises:
        FileAccessError: The file cannot be read.
        MalformedFile: It is no baseline.
        UsageError: It was written by a newer any2onnx.
    """
    from any2onnx.io.atomic import file_errors

    with file_errors(path, "read"):
        text = path.read_bytes()
    try:
        found = tomllib.loads(text.decode("utf-8"))
        version = found["version"]
        entries = {name: _entry(item) for name, item in found.get("parity", {}).items()}
        versions = {name: str(value) for name, value in found.get("versions", {}).items()}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise MalformedFile(
            "the file is no baseline of any2onnx parity",
            where=f"{path}: {error}",
            remedy="write it again with --update-baseline",
        ) from error
    if version != VERSION:
        raise UsageError(
            f"the baseline has version {version}, this any2onnx reads {VERSION}",
            where=str(path),
            remedy="write it again with --update-baseline",
        )
    return Lock(entries, versions)


def write(path: pathlib.Path, lock: Lock) -> None:
    """Write a baseline atomically, sorted.

    Raises:
        FileAccessError: The file cannot be written.
    """
    from any2onnx.io.atomic import write_text

    write_text(path, dumped(lock))


def dumped(lock: Lock) -> str:
    """Return the text of a baseline."""
    lines = ["# Written by `any2onnx parity --update-baseline`; a line for each output in each suite.", ""]
    lines += [f"version = {VERSION}", "", "[versions]"]
    lines += [f"{_quoted(name)} = {_quoted(value)}" for name, value in sorted(lock.versions.items())]
    lines += ["", "[parity]"]
    for name, entry in sorted(lock.entries.items()):
        items = [f"verdict = {_quoted(_name(entry.verdict))}"]
        if entry.max_ulp is not None:
            items.append(f"max_ulp = {entry.max_ulp}")
        if entry.budget_used is not None:
            items.append(f"budget_used = {entry.budget_used!r}")
        lines.append(f"{_quoted(name)} = {{ {', '.join(items)} }}")
    return "\n".join(lines) + "\n"


def updated(
    old: Lock | None, entries: Mapping[str, Entry], prefixes: Iterable[str], versions: Mapping[str, str]
) -> Lock:
    """Return a baseline with new entries; those of models that were not compared this time are kept."""
    names = tuple(f"{prefix}/" for prefix in prefixes)
    kept = {} if old is None else {name: item for name, item in old.entries.items() if not name.startswith(names)}
    return Lock({**kept, **entries}, dict(versions))


def compare(
    lock: Lock, entries: Mapping[str, Entry], prefixes: Iterable[str], versions: Mapping[str, str]
) -> list[Change]:
    """Return the differences, sorted by id.

    Args:
        lock: The baseline.
        entries: What was found.
        prefixes: Names of the models that were compared: entries of others are left alone.
        versions: Versions of what took part, to say which upgrade may be the reason.
    """
    names = tuple(f"{prefix}/" for prefix in prefixes)
    upgrades = [
        f"{name} {lock.versions[name]} → {version}"
        for name, version in sorted(versions.items())
        if name in lock.versions and lock.versions[name] != version
    ]
    reason = f" ({', '.join(upgrades)})" if upgrades else ""
    found = []
    for name in sorted({*lock.entries, *entries}):
        if not name.startswith(names):
            continue
        old, new = lock.entries.get(name), entries.get(name)
        if old is None or new is None:
            kind, text = ("new", "is not in the baseline") if old is None else ("gone", "is no longer compared")
            found.append(Change(name, kind, text))
            continue
        change = _change(old, new)
        if change is not None:
            found.append(Change(name, change[0], f"{change[1]}{reason if change[0] != 'better' else ''}"))
    return found


def _change(old: Entry, new: Entry) -> tuple[str, str] | None:
    ranks = [-1 if entry.verdict is None else entry.verdict.rank for entry in (old, new)]
    verdicts = f"{_name(old.verdict)} → {_name(new.verdict)}"
    if (old.verdict is None) != (new.verdict is None):
        # A comparison that is skipped now says nothing any more.
        return ("worse", verdicts) if new.verdict is None else ("better" if new.verdict.passed else "worse", verdicts)
    if ranks[1] > ranks[0]:
        return "worse", verdicts
    before, now = _used(old), _used(new)
    if now > DRIFT * max(before, DRIFT_FLOOR / DRIFT):
        return "drift", f"budget used {before:.3g} → {now:.3g}"
    if ranks[1] < ranks[0]:
        return "better", verdicts
    return None


def _used(entry: Entry) -> float:
    return math.inf if entry.budget_used is None else entry.budget_used


def _name(verdict: Verdict | None) -> str:
    return "skipped" if verdict is None else verdict.value


def _entry(item: Mapping[str, Any]) -> Entry:
    name = item["verdict"]
    ulp, used = item.get("max_ulp"), item.get("budget_used")
    return Entry(
        None if name == "skipped" else Verdict(name),
        None if ulp is None else int(ulp),
        None if used is None else float(used),
    )


def _quoted(text: str) -> str:
    """Return a TOML basic string: JSON's escapes are TOML's, but for DEL, which TOML wants escaped too."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
