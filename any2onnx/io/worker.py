"""Run a command in a process of its own, under limits, so that a file that breaks native code breaks only that process.

Parsers of protobuf and HDF5, onnx's checker and onnxruntime are native code: no ``except`` holds what ends the process.
The parent starts a fresh interpreter (never a fork: frameworks keep threads), hands on no environment variable that is
not known to be harmless, waits, and turns a death by a signal into `WorkerCrashed`. What the worker was doing it says
with `note`, so that the error can tell.
"""

from __future__ import annotations

import contextlib
import math
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import BinaryIO

from any2onnx.errors import LimitReached, UsageError, WorkerCrashed

#: Set in a worker: the number of the open file that `note` writes to.
NOTES = "ANY2ONNX_WORKER_NOTES"
#: Names, separated by commas, of further variables that a worker gets.
PASSED_ON = "ANY2ONNX_PASS_ENV"
#: Seconds that a worker has to write what it kept, after it was told to stop.
GRACE = 10.0

_NOTE_BYTES = 400
# Exit code by which a worker says that its memory is used up; no command uses it.
_OUT_OF_MEMORY = 77
# Below so many bytes a numeric library may find no room while it is loaded.
_SMALL = 1 << 30
# What interpreter, terminal and numeric libraries read. Everything else stays out: tokens and passwords of a CI job
# live in the environment, and a hostile file has no business with them.
_HARMLESS = re.compile(
    r"(PATH|HOME|USER|LOGNAME|SHELL|TZ|LANG|LANGUAGE|TERM|COLORTERM|COLUMNS|LINES|NO_COLOR|FORCE_COLOR|TMPDIR|TEMP|TMP"
    r"|SYSTEMROOT|WINDIR|LD_LIBRARY_PATH|DYLD_LIBRARY_PATH|VIRTUAL_ENV|CONDA_PREFIX|SOURCE_DATE_EPOCH"
    r"|(LC|PYTHON|KERAS|TF|JAX|XLA|TORCH|CUDA|NVIDIA|OMP|KMP|MKL|OPENBLAS|NUMEXPR|ORT|OPENVINO|ANY2ONNX)_?\w*)"
)
_SECRET = re.compile(r"TOKEN|SECRET|PASSW|CREDENTIAL|KEY|AUTH", re.IGNORECASE)


@dataclass(frozen=True)
class WorkerLimits:
    """What a worker may take.

    Attributes:
        seconds: Wall-clock time; None for no limit. The processor time is held to this on every core.
        memory: Bytes of private memory; None for no limit.
    """

    seconds: float | None = None
    memory: int | None = None


def supervise(
    command: Sequence[str], limits: WorkerLimits, *, environment: Mapping[str, str] | None = None, where: str = ""
) -> int:
    """Run a command to its end and return its exit code.

    Interrupts and requests to end are handed on, and the worker gets `GRACE` seconds to write what it kept.

    Args:
        command: Program and arguments; the program calls `begin` first.
        limits: What it may take.
        environment: Its environment, this process's own by default; only harmless variables of it are handed on.
        where: The files at work, for messages.

    Raises:
        WorkerCrashed: A signal ended it.
        LimitReached: The time was over.
    """
    with tempfile.TemporaryFile(prefix="any2onnx-notes-") as notes:
        given = harmless(os.environ if environment is None else environment)
        keep: tuple[int, ...] = ()
        if os.name == "posix":
            keep = (notes.fileno(),)
            given[NOTES] = str(notes.fileno())
        process = subprocess.Popen([*command, *_encoded(limits)], env=given, pass_fds=keep)  # noqa: S603
        with _handed_on(process):
            expired = _wait(process, limits.seconds)
        doing = _last_note(notes)
    if expired:
        raise LimitReached(
            f"the time limit of {limits.seconds:g} s is over",
            where=_place(where, doing),
            remedy="a longer --timeout, or --timeout 0 for none",
        )
    if process.returncode == _OUT_OF_MEMORY:
        raise LimitReached(
            f"the memory that the command may take is used up ({limits.memory or 0:,} bytes)",
            where=_place(where, doing),
            remedy="a larger --max-memory, or less data",
        )
    if process.returncode >= 0:
        return process.returncode
    name = _signal_name(-process.returncode)
    hint = ""
    if process.returncode == -signal.SIGKILL:
        hint = " (the system kills what takes too much memory)"
    elif process.returncode == -signal.SIGABRT and (limits.memory or math.inf) < (memory_of_machine() or 0):
        hint = f" (as native code is that gets no more memory than {limits.memory:,} bytes)"
    raise WorkerCrashed(
        f"the process that read and ran the file was ended by {name}{hint}",
        signal=-process.returncode,
        where=_place(where, doing),
        needs="a file that the native code of the libraries can take: this one is damaged or hostile, or meets a fault",
        remedy="leave out what is named here, or convert the file again; nothing else was harmed",
    )


def begin(arguments: Sequence[str]) -> list[str]:
    """Set the limits of this process, as the last argument states them, and return the other arguments.

    SIGTERM becomes a KeyboardInterrupt, so that what was kept is written, and an interrupt that comes twice within a
    second (from the terminal and from the parent) counts once.
    """
    limits = _decoded(arguments[-1])
    if limits.memory is not None and limits.memory < _SMALL:
        _reserve_for_linear_algebra()
    _limit(limits)
    last = [float("-inf")]

    def interrupt(number: int, frame: object) -> None:
        now = time.monotonic()
        before, last[0] = last[0], now
        if now - before > 1.0:
            raise KeyboardInterrupt

    signal.signal(signal.SIGINT, interrupt)
    signal.signal(signal.SIGTERM, interrupt)
    return list(arguments[:-1])


def note(doing: str) -> None:
    """Say what is being done, for the message about a crash; does nothing outside a worker."""
    number = os.environ.get(NOTES)
    if number is None:
        return
    text = doing.encode("utf-8", "replace")[:_NOTE_BYTES]
    # A worker of another parent may have closed the file: a note is worth no failure.
    with contextlib.suppress(OSError, ValueError):
        os.pwrite(int(number), text.ljust(_NOTE_BYTES), 0)


def end_without_memory(error: Exception) -> None:
    """End this worker at once when it is at the limit of its memory; called when something has failed.

    Args:
        error: What was raised: a MemoryError of any size, or whatever follows from one.

    There anything may fail in any way: an import that finds no room, a library that swallows the MemoryError, and then
    the interpreter itself, which is no longer able to import what a message needs. So the parent tells.
    """
    if NOTES not in os.environ or sys.platform != "linux":
        return
    import resource

    soft, _ = resource.getrlimit(resource.RLIMIT_DATA)
    file = os.open("/proc/self/statm", os.O_RDONLY)
    pages = int(os.read(file, 200).split()[5])
    os.close(file)
    if soft == resource.RLIM_INFINITY:
        return
    if isinstance(error, MemoryError) or pages * resource.getpagesize() > 0.9 * soft:
        os._exit(_OUT_OF_MEMORY)


def harmless(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that a worker gets: those of interpreter, terminal and numeric libraries, and no secrets."""
    wanted = {name.strip() for name in environment.get(PASSED_ON, "").split(",")}
    return {
        name: value
        for name, value in environment.items()
        if name in wanted or (_HARMLESS.fullmatch(name) and not _SECRET.search(name))
    }


def parse_size(text: str) -> int:
    """Return a number of bytes from ``800MB``, ``4GB``, ``1.5GiB`` or a plain number.

    Raises:
        UsageError: It is none.
    """
    match = re.fullmatch(r"\s*([0-9]*\.?[0-9]+)\s*([kKMGT]?)(i?)[bB]?\s*", text)
    if match is None:
        raise UsageError(f"{text!r} is no amount of memory", needs="a number with a unit: 800MB, 4GB, 1.5GiB")
    number, unit, binary = match.groups()
    base = 1024 if binary else 1000
    return int(float(number) * base ** ("KMGT".index(unit.upper()) + 1 if unit else 0))


def memory_of_machine() -> int | None:
    """Return the bytes of memory that this machine, or its container, has; None where the system does not say."""
    found = []
    with contextlib.suppress(OSError, ValueError, AttributeError):
        found.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        with contextlib.suppress(OSError, ValueError), open(path, encoding="ascii") as stream:
            found.append(int(stream.read()))
    return min((value for value in found if value > 0), default=None)


def _reserve_for_linear_algebra() -> None:
    """Let OpenBLAS take its buffers: without memory for them it tries for ever, or ends the process itself."""
    with contextlib.suppress(ImportError):
        import numpy as np

        square = np.eye(256)
        square @ square
        import scipy.linalg

        scipy.linalg.blas.dgemm(1.0, square, square)


def _limit(limits: WorkerLimits) -> None:
    """Set the limits of the operating system, where it has them."""
    try:
        import resource
    except ImportError:  # Windows: the parent's clock is all there is
        return

    def lower(kind: int, value: int) -> None:
        _, hard = resource.getrlimit(kind)
        most = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (most, most))

    # A dump of the memory would leave the user's data on the disk.
    lower(resource.RLIMIT_CORE, 0)
    if limits.memory is not None:
        # Writable private memory. RLIMIT_AS would also count what is only reserved: several GB with a framework loaded.
        lower(resource.RLIMIT_DATA if sys.platform == "linux" else resource.RLIMIT_AS, limits.memory)
    if limits.seconds is not None:
        # Only a backstop: the parent's clock comes first, unless the parent is gone.
        lower(resource.RLIMIT_CPU, int((limits.seconds + 2 * GRACE) * (os.cpu_count() or 1)) + 1)


def _encoded(limits: WorkerLimits) -> list[str]:
    return [f"{limits.seconds if limits.seconds is not None else ''}:{limits.memory or ''}"]


def _decoded(text: str) -> WorkerLimits:
    seconds, _, memory = text.partition(":")
    return WorkerLimits(float(seconds) if seconds else None, int(memory) if memory else None)


@contextlib.contextmanager
def _handed_on(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """Hand interrupts and requests to end on to the worker instead of dying before it."""

    def forward(number: int, frame: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(number)

    try:
        before = {number: signal.signal(number, forward) for number in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:  # not the main thread: whoever is there gets the signals
        before = {}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _wait(process: subprocess.Popen[bytes], seconds: float | None) -> bool:
    """Wait for the end; return whether the time was over before."""
    try:
        process.wait(seconds)
        return False
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGINT)
    try:
        process.wait(GRACE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    return True


def _last_note(notes: BinaryIO) -> str:
    notes.seek(0)
    text = notes.read(_NOTE_BYTES).decode("utf-8", "replace").strip()
    # The worker may have been in the hands of a hostile file: its words are text of one line, no more.
    return "".join(c if c.isprintable() else " " for c in text)


def _place(where: str, doing: str) -> str | None:
    return "   ".join(part for part in (where, f"while: {doing}" if doing else "") if part) or None


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
