"""Search for rows that are worse than the generated ones, within a time limit.

The objective is error / budget, with the full excuses of a row: its sensitivity and the framework's own error there.
The search starts from the worst of many sampled rows and steps every input up and down by powers of two of an ulp,
keeping what is worse; when nothing is, it starts again at the next worst row. Rows stay within the domain, which is the
range of the data where it is known.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np

from any2onnx.parity import reproducer
from any2onnx.parity.cases import Case
from any2onnx.parity.details import shown_inputs
from any2onnx.parity.findings import SearchResult

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Sequence

    import numpy.typing as npt

    from any2onnx.parity.check import OpenPair
    from any2onnx.parity.report import OutputResult
    from any2onnx.parity.signature import Feeds, InputSpec
    from any2onnx.parity.ulp import Array

SUITE = "search"
SAMPLED = 4096
BEAM = 8
# Steps in units in the last place, large ones first.
STEPS = tuple(1 << power for power in (20, 14, 9, 5, 2, 0))
_KEPT = 16


def search_worst(
    pair: OpenPair, *, seconds: float, folder: pathlib.Path | None = None
) -> tuple[list[OutputResult], tuple[SearchResult, ...]]:
    """Search for the worst rows of a pair.

    Args:
        pair: The opened pair; its rows must be free (a batch axis without a fixed size).
        seconds: Time limit.
        folder: Where the worst rows are kept as ``worst_rows.npz``; None keeps none.

    Returns:
        The results on the worst rows that were found (suite ``search``), and what the search did for each output.
    """
    signature = pair.plan.signature
    if signature.batch_symbol is None or not any(spec.is_float for spec in signature.inputs) or seconds <= 0:
        return [], ()
    deadline = time.monotonic() + seconds
    hunt = _Hunt(pair, deadline)
    hunt.sample()
    before = dict(hunt.used)
    hunt.climb()
    rows = hunt.worst_rows()
    path = None if folder is None else str(_keep(rows, folder))
    count = len(next(iter(rows.values())))
    results = pair.evaluator.evaluate(Case(SUITE, "worst rows", rows, count, may_reject=True))
    searches = tuple(
        SearchResult(
            output=output,
            used_before=before.get(output, 0.0),
            used=used,
            rows_tried=hunt.tried,
            restarts=hunt.restarts,
            interrupted=time.monotonic() >= deadline,
            vector=path,
            row=shown_inputs(hunt.best[output], 0, 1),
        )
        for output, used in hunt.used.items()
    )
    return results, searches


def _keep(rows: Feeds, folder: pathlib.Path) -> pathlib.Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "worst_rows.npz"
    np.savez_compressed(path, allow_pickle=False, **{name: reproducer.storable(value) for name, value in rows.items()})
    return path


class _Hunt:
    """The state of a search: for each output the worst rows so far."""

    def __init__(self, pair: OpenPair, deadline: float) -> None:
        self._pair = pair
        self._signature = pair.plan.signature
        self._rng = pair.plan.rng(SUITE, "steps")
        self._deadline = deadline
        self._pool: list[tuple[float, str, Feeds]] = []
        self.used: dict[str, float] = {}
        self.best: dict[str, Feeds] = {}
        self.tried = 0
        self.restarts = 0

    def _late(self) -> bool:
        return time.monotonic() >= self._deadline

    def sample(self) -> None:
        """Judge many rows and remember the worst."""
        chunk = max(1, min(self._pair.plan.typical_rows * 4, 512))
        for start in range(0, SAMPLED, chunk):
            self._judge(self._pair.plan.draw(self._pair.plan.rng(SUITE, f"rows {start}"), chunk), chunk)
            if self._late():
                return

    def climb(self) -> None:
        """Improve the worst rows, one after the other, until the time is up."""
        starts = sorted(self._pool, key=lambda item: -item[0])[:BEAM]
        for used, output, feeds in starts:
            self.restarts += 1
            self._climb_one(used, output, feeds)
            if self._late():
                return

    def _climb_one(self, used: float, output: str, feeds: Feeds) -> None:
        for steps in STEPS:
            improved = True
            while improved and not self._late():
                candidates, count = self._neighbours(feeds, steps)
                found = self._judge(candidates, count).get(output)
                improved = found is not None and found[0] > used
                if found is not None and improved:
                    used, row = found
                    feeds = _take(candidates, row)

    def _neighbours(self, feeds: Feeds, steps: int) -> tuple[Feeds, int]:
        """Return copies of a row, each with one input moved by some ulps; of many inputs a random few are moved."""
        moves = [
            (spec, at, sign)
            for spec in self._signature.inputs
            if spec.is_float and spec.dtype.kind == "f"
            for at in self._places(feeds[spec.name].size)
            for sign in (-steps, steps)
        ]
        count = max(len(moves), 1)
        copies = {name: np.repeat(value, count, axis=0) for name, value in feeds.items()}
        for i, (spec, at, step) in enumerate(moves):
            flat = copies[spec.name][i].reshape(-1)
            flat[at] = _inside(_moved(flat[at], step), spec, at)
            copies[spec.name][i] = flat.reshape(copies[spec.name][i].shape)
        return copies, count

    def _places(self, size: int) -> Sequence[int]:
        if size <= 32:
            return range(size)
        return [int(at) for at in np.sort(self._rng.choice(size, 32, replace=False))]

    def _judge(self, feeds: Feeds, count: int) -> dict[str, tuple[float, int]]:
        """Judge rows; returns for each output the largest error / budget and its row."""
        self.tried += count
        found: dict[str, tuple[float, int]] = {}
        for result in self._pair.evaluator.evaluate(Case(SUITE, "candidates", feeds, count, may_reject=True)):
            for row in (result.detail.worst if result.detail is not None else ())[:BEAM]:
                if row.row >= count or not np.isfinite(row.used):
                    continue
                if result.output not in found:
                    found[result.output] = (row.used, row.row)
                self._remember(row.used, result.output, _take(feeds, row.row))
        return found

    def _remember(self, used: float, output: str, feeds: Feeds) -> None:
        self._pool.append((used, output, feeds))
        self._pool = sorted(self._pool, key=lambda item: -item[0])[: 4 * _KEPT]
        if used > self.used.get(output, -1.0):
            self.used[output], self.best[output] = used, feeds

    def worst_rows(self) -> Feeds:
        """Return the worst rows of all outputs, the worst first."""
        kept = [feeds for _, _, feeds in sorted(self._pool, key=lambda item: -item[0])[:_KEPT]]
        if not kept:
            return self._pair.plan.draw(self._pair.plan.rng(SUITE, "rows 0"), 1)
        return {name: np.concatenate([feeds[name] for feeds in kept]) for name in kept[0]}


def _take(feeds: Feeds, row: int) -> Feeds:
    return {name: value[row : row + 1].copy() if value.ndim else value for name, value in feeds.items()}


def _moved(value: np.generic, steps: int) -> Array:
    """Move one float by some units in the last place, across zero too."""
    number = np.asarray(value)
    if not np.isfinite(number):
        return number
    signed = number.view(f"i{number.dtype.itemsize}").astype(np.int64)
    lowest = np.int64(-(1 << (8 * number.dtype.itemsize - 1)))
    ordered = signed if signed >= 0 else lowest - signed
    moved = ordered + steps
    bits = moved if moved >= 0 else lowest - moved
    found: Array = np.asarray(bits).astype(f"i{number.dtype.itemsize}").view(number.dtype)
    return found if np.isfinite(found) else number


def _inside(value: Array, spec: InputSpec, at: int) -> npt.NDArray[np.floating]:
    """Keep a value within the range of its column, where rows like it are known."""
    if spec.pool is None or spec.pool.ndim != 2 or at >= spec.pool.shape[1]:
        return value
    column = spec.pool[:, at]
    finite = column[np.isfinite(column)]
    return np.clip(value, finite.min(), finite.max()) if finite.size else value
