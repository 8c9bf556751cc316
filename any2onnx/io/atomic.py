"""Atomic files: a reader sees the old file or the whole new one, never a part, whenever the writer dies.

A file is written under an unpredictable hidden name in the target folder, flushed, synchronised, and renamed; the
folder is synchronised after it. A killed writer leaves at most a hidden ``.NAME.<16 hex digits>.tmp``, which the next
save of the same name removes: a living writer holds a lock on its temporary file, a dead one does not.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import BinaryIO

from any2onnx.errors import Any2OnnxError, FileAccessError

try:
    import fcntl as _fcntl
except ImportError:  # Windows: no advisory locks; renames stay atomic, dead temporary files are left to the user
    fcntl: ModuleType | None = None
else:
    fcntl = _fcntl

_NO_LOCKS = frozenset({errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS})

#: Free space asked for, relative to the estimate: names, alignment and the file system's own blocks need some.
SPACE_MARGIN = 1.1


class TemporaryFile:
    """A file being written beside its target. Use `temporary_file`.

    Attributes:
        path: Where the bytes are now.
        stream: Open for writing, buffered.
    """

    def __init__(self, path: Path, stream: BinaryIO) -> None:
        self.path = path
        self.stream = stream

    def finish(self) -> None:
        """Bring every byte to the disk."""
        self.stream.flush()
        os.fsync(self.stream.fileno())

    def rename_to(self, target: Path) -> None:
        """Put the finished file in its place; an older file of that name is replaced in one step."""
        os.replace(self.path, target)
        sync_folder(target.parent)


@contextlib.contextmanager
def temporary_file(target: Path) -> Iterator[TemporaryFile]:
    """Open a temporary file beside ``target``; it vanishes unless it was renamed.

    The mode is the one that a plain ``open`` would give (the process's umask holds).
    """
    path = target.parent / f".{target.name}.{secrets.token_hex(8)}.tmp"
    flags = os.O_CREAT | os.O_EXCL | os.O_RDWR | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    # Under the folder's lock, so that `remove_dead_temporaries` cannot meet the file before its owner has locked it.
    with locked(target.parent):
        descriptor = os.open(path, flags, 0o666)
        _try_lock(descriptor)
    stream = os.fdopen(descriptor, "wb")
    try:
        yield TemporaryFile(path, stream)
    finally:
        with contextlib.suppress(OSError):  # a full disk fails the flush in close() too; the first error is the story
            stream.close()
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the folder against other savers of this package; where the file system has no locks, do nothing."""
    if fcntl is None:
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
        yield
    finally:
        os.close(descriptor)


def _try_lock(descriptor: int) -> bool:
    """Lock an open file if nobody holds it; return whether it is ours now."""
    if fcntl is None:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        return False
    return True


def remove_dead_temporaries(target: Path) -> None:
    """Remove the temporary files that killed savers of ``target`` have left. The folder must be locked."""
    pattern = re.compile(re.escape(f".{target.name}.") + r"[0-9a-f]{16}\.tmp")
    for entry in sorted(os.listdir(target.parent)):
        if not pattern.fullmatch(entry):
            continue
        path = target.parent / entry
        try:
            descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0))
        except OSError:
            continue  # gone, not ours to read, or a link that somebody planted: leave it
        try:
            if _try_lock(descriptor):
                path.unlink(missing_ok=True)
        finally:
            os.close(descriptor)


def sync_folder(folder: Path) -> None:
    """Bring the folder's entries to the disk (POSIX; elsewhere a rename needs no more)."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def check_target(target: Path, *, overwrite: bool) -> None:
    """Refuse a target that must not be replaced.

    Raises:
        FileAccessError: The folder is absent, or the target is a symbolic link, no regular file, or exists while
            ``overwrite`` is false.
    """
    if not target.parent.is_dir():
        raise FileAccessError(
            "the folder to write to does not exist",
            where=str(target.parent),
            remedy=f"create it first: mkdir -p {target.parent}",
        )
    try:
        mode = os.lstat(target).st_mode
    except FileNotFoundError:
        return
    if stat.S_ISLNK(mode):
        raise FileAccessError(
            "the target is a symbolic link; files are never written through one",
            where=str(target),
            remedy=f"give the real path ({os.path.realpath(target)}) or remove the link",
        )
    if not stat.S_ISREG(mode):
        raise FileAccessError("the target exists and is no regular file", where=str(target))
    if not overwrite:
        raise FileAccessError(
            "the file exists already",
            where=str(target),
            remedy="give another name, or allow overwriting (overwrite=True, --force)",
        )


def check_space(folder: Path, estimate: int) -> None:
    """Refuse to begin a write that the disk cannot hold.

    Args:
        folder: Where the files go.
        estimate: Bytes that will be written.

    Raises:
        FileAccessError: Less than 1.1 times the estimate is free.
    """
    needed = int(estimate * SPACE_MARGIN)
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise FileAccessError(
            "not enough free space to save the model",
            where=str(folder),
            needs=f"{needed:,} bytes (1.1 × the estimated {estimate:,}), {free:,} are free",
            remedy="free some space or save to another disk",
        )


@contextlib.contextmanager
def file_errors(path: Path, action: str) -> Iterator[None]:
    """Turn an operating-system error into a `FileAccessError` that names the file.

    Args:
        path: The file.
        action: What was tried: ``"read"`` or ``"write"``.
    """
    try:
        yield
    except Any2OnnxError:
        raise
    except OSError as error:
        remedies = {
            errno.ENOSPC: "free some space or save to another disk",
            errno.EACCES: "check the permissions of the file and its folder",
            errno.EPERM: "check the permissions of the file and its folder",
            errno.EROFS: "the file system is read-only: use another place",
            errno.ENOENT: "check the path",
        }
        reason = error.strerror or type(error).__name__
        raise FileAccessError(
            f"cannot {action} the file: {reason}", where=str(path), remedy=remedies.get(error.errno or 0)
        ) from error


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically, as UTF-8; an older file of that name is replaced.

    Raises:
        FileAccessError: No space, no permission, no folder, or the target is a link or no regular file.
    """
    check_target(path, overwrite=True)
    with file_errors(path, "write"), temporary_file(path) as temporary:
        temporary.stream.write(text.encode("utf-8"))
        temporary.finish()
        with locked(path.parent):
            temporary.rename_to(path)
