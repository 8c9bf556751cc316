"""Commands that read files of others run in a worker process; this module starts it, and is what it runs.

The options belong to the command, so that wrong usage is told at once, by the parent, which imports next to nothing.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from any2onnx.cli.console import applied
from any2onnx.errors import UsageError, WorkerCrashed

if TYPE_CHECKING:
    from any2onnx.io.worker import WorkerLimits

_OPTIONS = (
    click.option(
        "--timeout",
        type=click.FloatRange(min=0),
        help="Seconds after which the command is ended (exit code 5); 0 for no limit.",
    ),
    click.option(
        "--max-memory",
        metavar="SIZE",
        help="Memory that the command may take, such as 4GB; the machine's by default, 0 for no limit.",
    ),
    click.option(
        "--worker/--no-worker",
        default=True,
        show_default=True,
        help="Read and run the files in a process of its own: one that crashes it is an error (exit code 3).",
    ),
)


@dataclass(frozen=True)
class Invocation:
    """How the command line was called.

    Attributes:
        arguments: All of them.
        worker: Start a worker for commands that read files; False inside of Python programs and inside of the worker.
    """

    arguments: tuple[str, ...]
    worker: bool


def supervised(
    *, seconds: float | None = None, on_crash: Callable[[WorkerCrashed, dict[str, Any]], None] | None = None
) -> Callable[[Any], Any]:
    """Return a decorator that adds the options to a command and runs it in a worker when it reads files.

    Args:
        seconds: Time limit where the user gives none; None for no limit.
        on_crash: Called with the error and the command's arguments when the worker has crashed.
    """

    def decorate(function: Any) -> Any:
        @functools.wraps(function)
        def called(*, timeout: float | None, max_memory: str | None, worker: bool, **arguments: Any) -> Any:
            invocation = click.get_current_context().find_object(Invocation)
            files = [str(value) for key, value in arguments.items() if key in _READ and isinstance(value, Path)]
            if invocation is None or not invocation.worker or not worker or not files:
                if not worker and (timeout is not None or max_memory is not None):
                    raise UsageError("--timeout and --max-memory hold for a worker", remedy="leave --no-worker out")
                return function(**arguments)
            from any2onnx.io.worker import WorkerLimits, memory_of_machine, parse_size

            given = seconds if timeout is None else timeout
            memory = memory_of_machine() if max_memory is None else parse_size(max_memory)
            try:
                code = _in_worker(invocation.arguments, WorkerLimits(given or None, memory or None), files)
            except WorkerCrashed as error:
                if on_crash is not None:
                    on_crash(error, arguments)
                raise
            if code:
                raise click.exceptions.Exit(code)
            return None

        return applied(_OPTIONS, called)

    return decorate


def _in_worker(arguments: Sequence[str], limits: WorkerLimits, files: Sequence[str]) -> int:
    from any2onnx.io.worker import supervise

    # As the parent was started: `python -m` looks into the working directory, the installed script does not.
    here = sys.path[:1] in ([""], [os.getcwd()])
    program = [sys.executable, *([] if here else ["-P"]), "-m", "any2onnx.cli.supervision"]
    sys.stdout.flush()
    return supervise([*program, *arguments], limits, where=", ".join(files))


# Options of the commands that name files to read.
_READ = frozenset({"model", "onnx_model", "file", "data", "sample", "source"})


def main() -> NoReturn:
    """Run a command line in this process, which is the worker."""
    from any2onnx.cli.main import INTERRUPTED, run
    from any2onnx.io.worker import begin, end_without_memory

    arguments = begin(sys.argv[1:])
    try:
        code = run(arguments)
    except MemoryError as error:
        # Not even the imports of the command found room.
        end_without_memory(error)
        raise
    except KeyboardInterrupt:
        # Stopped before the command had begun.
        code = INTERRUPTED
    sys.exit(code)


if __name__ == "__main__":
    main()
