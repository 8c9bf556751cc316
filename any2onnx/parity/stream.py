"""Parity over data that does not fit in memory: block by block, with results that merge exactly."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal

from any2onnx.errors import UsageError
from any2onnx.io.worker import note
from any2onnx.parity import details
from any2onnx.parity.cases import Case
from any2onnx.parity.check import OpenPair, check_options, open_pair, structure_results
from any2onnx.parity.report import OutputResult, ParityInterrupted, interruption
from any2onnx.parity.rows import BLOCK_ROWS, Rows, blocks, cut, open_rows, rows_in
from any2onnx.parity.signature import feeds_from_data

if TYPE_CHECKING:
    from any2onnx.parity.reference import OutputRequest
    from any2onnx.parity.report import ParityReport

Progress = Callable[[int, int | None], None]
HEAD_ROWS = 1024
"""Rows at the start of the data that scale and determinism are learnt from."""
SUITE = "data"


@dataclasses.dataclass(frozen=True)
class Merged:
    """The result of one output over several blocks.

    Attributes:
        result: Its numbers are those of all rows; note, sensitivity and budget those of the worst block.
        badness: Of the worst block. The merged result's own would mix the verdict of one block with the error of
            another, and the next comparison with it would depend on how the blocks were cut.
    """

    result: OutputResult
    badness: tuple[int, float]


@dataclasses.dataclass(frozen=True)
class Partial:
    """What some blocks gave.

    Attributes:
        rows: Rows compared.
        outputs: One entry per output, in order.
        interrupted: The time limit ended the comparison.
    """

    rows: int = 0
    outputs: tuple[Merged, ...] = ()
    interrupted: bool = False


@dataclasses.dataclass(frozen=True)
class Settings:
    """Arguments of ``check_parity`` that a comparison of many rows takes."""

    seed: int = 0
    reference: Literal["float64", "framework"] = "float64"
    budget: Literal["auto"] | float = "auto"
    outputs: OutputRequest = None
    providers: Sequence[Any] | None = None


def check_parity_stream(
    model: Any,
    onnx_model: Any,
    source: Any,
    *,
    seed: int = 0,
    reference: Literal["float64", "framework"] = "float64",
    budget: Literal["auto"] | float = "auto",
    outputs: OutputRequest = None,
    providers: Sequence[Any] | None = None,
    time_limit: float | None = None,
    progress: Progress | None = None,
) -> ParityReport:
    """Compare a model with its ONNX form on every row of a data set, in constant memory.

    The report is that of one suite, ``data``, with one result per output: verdicts and largest errors over all rows,
    exact histograms and means, and the worst rows with their numbers in the data set. It does not depend on the size of
    the chunks in which the source gives its rows.

    Args:
        model: As for ``check_parity``.
        onnx_model: As for ``check_parity``.
        source: Path of a .parquet, .csv or .npy file; an array or DataFrame; or an iterable of arrays, DataFrames,
            or mappings from input names to arrays.
        seed: Changes the perturbations that measure sensitivity.
        reference: As for ``check_parity``.
        budget: As for ``check_parity``.
        outputs: As for ``check_parity``.
        providers: As for ``check_parity``.
        time_limit: Seconds after which no new block is begun; the result is inconclusive then.
        progress: Called with the rows compared so far, and all rows or None.

    Raises:
        UsageError: The data has no rows, or the ONNX model has no free batch axis.
        ParityInterrupted: Ctrl-C; its ``report`` holds the rows that were compared.
        Any2OnnxError: As ``check_parity`` does.
    """
    start = time.monotonic()
    rows = open_rows(source)
    settings = Settings(seed, reference, budget, outputs, providers)
    pieces = rows.pieces()
    head, pieces = take_head(pieces)
    pair = open_for_rows(model, onnx_model, head, settings)
    deadline = None if time_limit is None else start + time_limit
    found = Partial()
    try:
        for found in compared_so_far(pair, blocks(pieces), deadline=deadline, progress=progress, total=rows.total):
            note(f"rows from {found.rows:,} on")
    except KeyboardInterrupt as stop:
        report = finished(pair, found, elapsed=time.monotonic() - start)
        left = interruption(SUITE, "remaining rows", f"interrupted after {found.rows:,} rows")
        raise ParityInterrupted(
            dataclasses.replace(report, results=(*report.results, left), state="interrupted")
        ) from stop
    return finished(pair, found, elapsed=time.monotonic() - start)


def take_head(pieces: Iterator[Any]) -> tuple[Any, Iterator[Any]]:
    """Return the first rows, and all pieces with them.

    Raises:
        UsageError: There are none.
    """
    fresh = blocks(pieces)
    first = next(fresh, None)
    if first is None:
        raise UsageError("the data has no rows", remedy="pass at least one row")

    def again() -> Iterator[Any]:
        yield first
        yield from fresh

    return cut(first, 0, min(HEAD_ROWS, rows_in(first))), again()


def open_for_rows(model: Any, onnx_model: Any, head: Any, settings: Settings) -> OpenPair:
    """Open a pair that has learnt from the head of the data.

    Raises:
        UsageError: The ONNX model has no batch axis, or a fixed one: then there are no rows to stream.
    """
    pair = open_pair(
        model,
        onnx_model,
        _as_fitted(model, head),
        seed=settings.seed,
        options=check_options(settings.reference, settings.budget),
        outputs=settings.outputs,
        providers=settings.providers,
    )
    if pair.plan.signature.batch_symbol is None:
        raise UsageError(
            "rows can be streamed only where the batch is free",
            where=pair.plan.signature.describe(),
            remedy="convert the model with a free batch axis",
        )
    return pair


def compare_blocks(
    pair: OpenPair,
    parts: Iterable[Any],
    *,
    first_row: int = 0,
    deadline: float | None = None,
    progress: Progress | None = None,
    total: int | None = None,
) -> Partial:
    """Compare blocks of consecutive rows; the first one begins at ``first_row``."""
    found = Partial()
    so_far = compared_so_far(pair, parts, first_row=first_row, deadline=deadline, progress=progress, total=total)
    for latest in so_far:
        found = latest
    return found


def compared_so_far(
    pair: OpenPair,
    parts: Iterable[Any],
    *,
    first_row: int = 0,
    deadline: float | None = None,
    progress: Progress | None = None,
    total: int | None = None,
) -> Iterator[Partial]:
    """Yield what the blocks up to each one gave together."""
    found = Partial()
    row = first_row
    for block in parts:
        if deadline is not None and time.monotonic() > deadline:
            yield dataclasses.replace(found, interrupted=True)
            return
        found = merged([found, _compare_block(pair, block, row)])
        row += rows_in(block)
        if progress is not None:
            progress(row - first_row, total)
        yield found


def _compare_block(pair: OpenPair, block: Any, first_row: int) -> Partial:
    data = pair.runner.select(_as_fitted(pair.plan.model, block), pair.plan.signature)
    feeds = feeds_from_data(data, pair.plan.signature)
    count = rows_in(block)
    case = Case(SUITE, f"rows {first_row} to {first_row + count - 1}", feeds, count)
    by_output: dict[str, list[Merged]] = {}
    for result in pair.evaluator.evaluate(case):
        by_output.setdefault(result.output, []).append(Merged(_moved(result, first_row, count), result.badness))
    # Several findings on one output of one block (a session that raises, say) are about the same rows.
    return Partial(count, tuple(max(found, key=lambda item: item.badness) for found in by_output.values()))


def _as_fitted(model: Any, block: Any) -> Any:
    """Return a table without named columns for a scikit-learn model that was fitted on one, as its user would."""
    named = getattr(model, "feature_names_in_", None) is not None
    if named or not hasattr(model, "get_params") or not hasattr(block, "to_numpy"):
        return block
    return block.to_numpy()


def _moved(result: OutputResult, first_row: int, count: int) -> OutputResult:
    """Count rows from the start of the data."""
    batched = bool(result.shape) and result.shape[0] == count
    detail = result.detail
    if detail is not None:
        worst = tuple(
            dataclasses.replace(
                row,
                case="all rows",
                row=row.row + first_row,
                element=(row.element[0] + first_row, *row.element[1:]) if batched and row.element else row.element,
            )
            for row in detail.worst
        )
        detail = dataclasses.replace(detail, worst=worst)
    return dataclasses.replace(result, worst_row=result.worst_row + first_row, detail=detail)


_LARGEST = ("ulp", "ulp_framework", "abs", "rel", "abs_framework", "rel_framework", "rel_difference", "budget_used")
_SUMS = ("rows", "equal", "tied", "wrong")


def merge_results(found: Sequence[Merged]) -> Merged:
    """Put results of one output on different rows together, in the order of the rows.

    The largest errors and the worst verdict count; among equally bad blocks the first one gives note and budget.
    """
    worst = max(found, key=lambda item: item.badness)
    results = [item.result for item in found]
    compared = [result for result in results if result.verdict is not None] or results
    fields: dict[str, Any] = {name: max(getattr(result, name) for result in compared) for name in _LARGEST}
    fields |= {name: sum(getattr(result, name) for result in compared) for name in _SUMS}
    known = [result.detail for result in compared if result.detail is not None]
    last = worst.result
    if all(result.shape and result.shape[0] == result.rows for result in compared):
        fields["shape"] = (fields["rows"], *last.shape[1:])
    merged_result = dataclasses.replace(
        last,
        case="all rows",
        reference="framework" if any(result.reference == "framework" for result in compared) else last.reference,
        detail=details.merge(known) if known else None,
        **fields,
    )
    return Merged(merged_result, worst.badness)


def merged(parts: Sequence[Partial]) -> Partial:
    """Put partial comparisons together, in the order of their rows; how they were cut makes no difference."""
    by_output: dict[str, list[Merged]] = {}
    for part in parts:
        for item in part.outputs:
            by_output.setdefault(item.result.output, []).append(item)
    return Partial(
        sum(part.rows for part in parts),
        tuple(merge_results(found) for found in by_output.values()),
        any(part.interrupted for part in parts),
    )


def finished(pair: OpenPair, found: Partial, *, elapsed: float) -> ParityReport:
    """Return the report of a comparison."""
    results = [*structure_results(pair.binding, (SUITE,)), *(item.result for item in found.outputs)]
    notes = [f"{found.rows:,} rows compared in blocks of {BLOCK_ROWS:,}"]
    if found.interrupted:
        text = f"time limit reached after {found.rows:,} rows"
        results.append(interruption(SUITE, "remaining rows", text))
    return pair.report((SUITE,), results, notes, elapsed)


__all__ = ["Partial", "Rows", "Settings", "check_parity_stream", "merge_results", "merged", "open_rows"]
