"""Baselines: reading, writing, what counts as worse, drift, gone, new and better."""

from __future__ import annotations

import math

import pytest
from report_samples import bad_report, good_report

from any2onnx.errors import FileAccessError, MalformedFile, UsageError
from any2onnx.parity import Verdict, lock
from any2onnx.parity.lock import Entry, Lock


def kinds(old: Entry | None, new: Entry | None) -> list[str]:
    before = Lock({} if old is None else {"m/y/data": old}, {"numpy": "1"})
    found = lock.compare(before, {} if new is None else {"m/y/data": new}, ["m"], {"numpy": "2"})
    return [change.kind for change in found]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (Entry(Verdict.EXACT, 0, 0.1), Entry(Verdict.EXACT, 0, 0.19), []),
        (Entry(Verdict.EXACT, 0, 0.1), Entry(Verdict.EXACT, 0, 0.21), ["drift"]),
        (Entry(Verdict.EXACT, 0, 0.0), Entry(Verdict.EXACT, 0, 0.019), []),
        (Entry(Verdict.EXACT, 0, 0.0), Entry(Verdict.EXACT, 0, 0.021), ["drift"]),
        (Entry(Verdict.EXACT, 0, 0.1), Entry(Verdict.WITHIN_ULP, 2, 0.1), ["worse"]),
        (Entry(Verdict.WITHIN_ULP, 2, 0.1), Entry(Verdict.EXACT, 0, 0.1), ["better"]),
        (Entry(Verdict.EXACT, 0, 0.1), Entry(None), ["worse"]),
        (Entry(None), Entry(Verdict.EXACT, 0, 0.0), ["better"]),
        (Entry(None), Entry(Verdict.MISMATCH, None, None), ["worse"]),
        (Entry(Verdict.MISMATCH, None, None), Entry(Verdict.MISMATCH, None, None), []),
        (Entry(Verdict.CONVERTER_IMPRECISE, 9, 3.0), Entry(Verdict.CONVERTER_IMPRECISE, 9, None), ["drift"]),
        (Entry(Verdict.EXACT, 0, 0.1), None, ["gone"]),
        (None, Entry(Verdict.EXACT, 0, 0.1), ["new"]),
    ],
)
def test_changes(old, new, expected):
    assert kinds(old, new) == expected


def test_what_fails_and_what_is_said():
    before = Lock({"m/y/data": Entry(Verdict.EXACT, 0, 0.1)}, {"numpy": "1", "onnx": "3"})
    (change,) = lock.compare(
        before, {"m/y/data": Entry(Verdict.MISMATCH, None, None)}, ["m"], {"numpy": "2", "onnx": "3"}
    )
    assert change.fails
    assert change.text == "exact → mismatch (numpy 1 → 2)"
    assert not lock.Change("m", "new", "").fails
    assert not lock.Change("m", "better", "").fails
    assert lock.Change("m", "gone", "").fails


def test_other_models_are_left_alone():
    before = Lock({"m/y/data": Entry(Verdict.EXACT), "m2/y/data": Entry(Verdict.EXACT)}, {})
    assert lock.compare(before, {"m/y/data": Entry(Verdict.EXACT)}, ["m"], {}) == []
    after = lock.updated(before, {"m/y/shape": Entry(Verdict.EXACT)}, ["m"], {"numpy": "2"})
    assert set(after.entries) == {"m/y/shape", "m2/y/data"}


def test_writing_and_reading_gives_the_same(tmp_path):
    entries = {**lock.entries_of("gut", good_report()), **lock.entries_of('"evil"\n\x7f]', bad_report())}
    first = Lock(entries, {"framework": "scikit-learn 1.9", "numpy": "2"})
    lock.write(tmp_path / "parity.lock", first)
    again = lock.read(tmp_path / "parity.lock")
    assert dict(again.entries) == entries
    assert dict(again.versions) == dict(first.versions)
    lines = (tmp_path / "parity.lock").read_text(encoding="utf-8").splitlines()
    assert len([line for line in lines if line.endswith("}")]) == len(entries)
    names = [line for line in lines if line.endswith("}")]
    assert names == sorted(names)


def test_entries_are_the_worst_of_each_suite():
    report = bad_report()
    entries = lock.entries_of("m", report)
    assert len(entries) == len({(result.output, result.suite) for result in report.results})
    for name, entry in entries.items():
        _, output, suite = name.split("/")
        results = [r for r in report.results if (r.output, r.suite) == (output, suite)]
        assert entry.verdict == max((r.verdict for r in results if r.verdict), default=None)
        largest = max(r.budget_used for r in results)
        assert entry.budget_used == (pytest.approx(largest, rel=1e-3) if math.isfinite(largest) else None)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("version = ", MalformedFile),
        ("", MalformedFile),
        ("version = 1\n[parity]\nx = 3", MalformedFile),
        ('version = 1\n[parity]\nx = { verdict = "fine" }', MalformedFile),
        ("version = 2", UsageError),
        ("version = 1\nparity = 3", MalformedFile),
    ],
)
def test_wrong_files(tmp_path, text, error):
    (tmp_path / "parity.lock").write_text(text)
    with pytest.raises(error):
        lock.read(tmp_path / "parity.lock")


def test_no_file(tmp_path):
    with pytest.raises(FileAccessError):
        lock.read(tmp_path / "none.lock")
