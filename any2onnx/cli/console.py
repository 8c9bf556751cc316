"""Output: consoles, safe text, a progress display that is silent when nobody looks at it."""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

# Terminal escapes and other control characters from a hostile file must not reach the terminal.
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def plain(text: object) -> str:
    """Return text without control characters (line breaks and tabs stay)."""
    return _CONTROL.sub("\ufffd", str(text))


def console() -> Console:
    """Return a console on stdout; written to a file or pipe it is wide enough for any table."""
    from rich.console import Console

    return Console(highlight=False, width=None if sys.stdout.isatty() else 160)


def error_console() -> Console:
    """Return a console on stderr."""
    from rich.console import Console

    return Console(stderr=True, highlight=False)


def table(title: str, columns: list[str], rows: list[list[object]], right: tuple[int, ...] = ()) -> Any:
    """Return a rich table; every cell is text, never markup.

    Args:
        title: Above the table.
        columns: Headings.
        rows: Cells.
        right: Columns that are aligned to the right.
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    result = Table(
        title=Text(plain(title)), title_justify="left", box=box.SIMPLE_HEAD, show_header=any(columns), pad_edge=True
    )
    for index, heading in enumerate(columns):
        result.add_column(heading, justify="right" if index in right else "left", overflow="fold")
    for row in rows:
        result.add_row(*(Text(plain(cell)) for cell in row))
    return result


class Stages:
    """The stages of a long job, shown as a bar on stderr. Use `stages`."""

    def __init__(self, progress: Any, task: Any, total: int) -> None:
        self._progress = progress
        self._task = task
        self._total = total
        self._done = -1

    def begin(self, name: str) -> None:
        """Go on to the next stage."""
        self._done += 1
        if self._progress is not None:
            self._progress.update(self._task, description=name, completed=min(self._done, self._total))

    def part(self, done: int, total: int) -> None:
        """Show how far the current stage is."""
        if self._progress is not None and total:
            self._progress.update(self._task, completed=min(self._done + done / total, self._total))


@contextlib.contextmanager
def stages(total: int, *, quiet: bool = False) -> Iterator[Stages]:
    """Show a bar with ``total`` stages; silent when stderr is no terminal or ANY2ONNX_PROGRESS is 0, or on demand."""
    if quiet or os.environ.get("ANY2ONNX_PROGRESS") == "0" or not sys.stderr.isatty():
        yield Stages(None, None, total)
        return
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=error_console(), transient=True) as progress:
        yield Stages(progress, progress.add_task("", total=total), total)


def size(nbytes: int) -> str:
    """Return bytes for people: ``3.2 MB``."""
    value = float(nbytes)
    for unit in ("B", "kB", "MB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} GB"


def applied(decorators: tuple[Callable[[Any], Any], ...], function: Any) -> Any:
    """Apply decorators so that the first one is the outermost."""
    for decorator in reversed(decorators):
        function = decorator(function)
    return function


@contextlib.contextmanager
def row_progress() -> Iterator[Callable[[int, int | None], None]]:
    """Give a function of (rows done, rows in all or None) that shows a bar on stderr; silent where nobody looks."""
    if os.environ.get("ANY2ONNX_PROGRESS") == "0" or not sys.stderr.isatty():
        yield lambda done, total: None
        return
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (
        SpinnerColumn(),
        TextColumn("{task.completed:,.0f} rows"),
        BarColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=error_console(), transient=True) as progress:
        task = progress.add_task("", total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)
