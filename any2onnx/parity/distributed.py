"""The comparison of a stream spread over the workers of a Dask cluster; the report is the same as on one machine."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from any2onnx.errors import MissingDependency, UsageError
from any2onnx.parity.rows import BLOCK_ROWS, Rows, blocks, open_rows
from any2onnx.parity.stream import (
    Partial,
    Progress,
    Settings,
    compare_blocks,
    finished,
    merged,
    open_for_rows,
    take_head,
)

if TYPE_CHECKING:
    from any2onnx.parity.reference import OutputRequest
    from any2onnx.parity.report import ParityReport

TASKS_PER_THREAD = 4
"""Tasks for each thread of the cluster: enough to even out slow ones, few enough to open the models seldom."""


def check_parity_dask(
    model: Any,
    onnx_model: Any,
    source: Any,
    *,
    client: Any = None,
    seed: int = 0,
    reference: Literal["float64", "framework"] = "float64",
    budget: Literal["auto"] | float = "auto",
    outputs: OutputRequest = None,
    providers: Sequence[Any] | None = None,
    progress: Progress | None = None,
    task_blocks: int | None = None,
) -> ParityReport:
    """Compare a model with its ONNX form on every row of a data set, on a Dask cluster.

    Rows go to the workers in whole blocks, as ``check_parity_stream`` cuts them, and what they find merges exactly: the
    report is identical to that of one machine with the same versions.

    Args:
        model: As for ``check_parity``; it travels to the workers by pickle.
        onnx_model: As for ``check_parity``.
        source: Path of a .parquet, .csv or .npy file that every worker can read, or an array or DataFrame.
        client: A ``distributed.Client``; the current one when left out.
        seed: See ``check_parity_stream``.
        reference: See ``check_parity_stream``.
        budget: See ``check_parity_stream``.
        outputs: See ``check_parity_stream``.
        providers: See ``check_parity_stream``.
        progress: Called with the rows compared so far, and all rows.
        task_blocks: Blocks per task; by default so many that each thread gets four tasks.

    Raises:
        MissingDependency: dask.distributed is not installed.
        UsageError: There is no client, the source cannot be read from the middle, or ``task_blocks`` is below 1.
        Any2OnnxError: As ``check_parity_stream`` does.
    """
    start = time.monotonic()
    cluster = _client(client)
    if task_blocks is not None and task_blocks < 1:
        raise UsageError(f"task_blocks is {task_blocks}", needs="1 or more")
    rows = open_rows(source)
    total = _counted(rows)
    settings = Settings(seed, reference, budget, outputs, providers)
    head, _ = take_head(rows.pieces(0, min(total, BLOCK_ROWS)))
    pair = open_for_rows(model, onnx_model, head, settings)
    job = Job(model, portable(onnx_model), head, settings, rows)
    # Sent once to each worker, not once with each task.
    shared = cluster.scatter(job, broadcast=True, hash=False)
    step = BLOCK_ROWS * (task_blocks or _task_blocks(total, cluster))
    tasks = [
        cluster.submit(compare_range, shared, first, min(first + step, total), pure=False)
        for first in range(0, total, step)
    ]
    from distributed import as_completed

    done = 0
    for task in as_completed(tasks):
        done += task.result().rows
        if progress is not None:
            progress(done, total)
    found: Sequence[Partial] = cluster.gather(tasks)
    return finished(pair, merged(found), elapsed=time.monotonic() - start)


@dataclasses.dataclass(frozen=True)
class Job:
    """What a worker needs: both models, the head of the data that scales are learnt from, and where the rows are."""

    model: Any
    onnx_model: Any
    head: Any
    settings: Settings
    rows: Rows


# Opening a Keras model in float64 sets options of the whole process for a moment.
_OPENING = threading.Lock()


def compare_range(job: Job, start: int, stop: int) -> Partial:
    """Compare rows ``start`` to ``stop`` (whole blocks) on a worker.

    Every task opens the pair for itself: neither frameworks nor the evaluator promise to be used by two threads.
    """
    with _OPENING:
        pair = open_for_rows(job.model, job.onnx_model, job.head, job.settings)
    return compare_blocks(pair, blocks(job.rows.pieces(start, stop)), first_row=start)


def _task_blocks(total: int, cluster: Any) -> int:
    threads = max(sum(int(count) for count in cluster.nthreads().values()), 1)
    return max(1, -(-total // (BLOCK_ROWS * TASKS_PER_THREAD * threads)))


def portable(onnx_model: Any) -> Any:
    """Return an ONNX model in a form that travels: bytes, or the path that it was given by."""
    import os

    if isinstance(onnx_model, (bytes, str, os.PathLike)):
        return onnx_model
    from any2onnx.parity.runtime import read_onnx

    return read_onnx(onnx_model).payload


def _client(client: Any) -> Any:
    try:
        from distributed import get_client
    except ImportError as error:
        raise MissingDependency("distributed comparisons need dask", remedy="pip install 'any2onnx[dask]'") from error
    if client is not None:
        return client
    try:
        return get_client()
    except ValueError as error:
        raise UsageError(
            "there is no Dask client", remedy="client=distributed.Client(…), or make one before the call"
        ) from error


def _counted(rows: Rows) -> int:
    """Return the number of rows; those of a CSV file are counted by reading it once."""
    if rows.total is None:
        from any2onnx.parity.rows import Pieces, rows_in

        if isinstance(rows, Pieces):
            raise UsageError("an iterator cannot be read by several workers", needs="a file, an array or a DataFrame")
        return sum(rows_in(piece) for piece in rows.pieces())
    return rows.total
