"""External data of an ONNX model, opened so that a hostile model cannot read another file.

Each file is opened once, component by component without following links, checked on the open descriptor (regular, one
hard link, inside the bounds), and mapped from that descriptor: nothing can be exchanged between check and use.
"""

from __future__ import annotations

import mmap
import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from any2onnx.errors import FileAccessError, MalformedFile
from any2onnx.io.proto_walk import tensor_nbytes

if TYPE_CHECKING:
    import numpy as np
    import onnx

#: The keys that the ONNX specification defines; anything else is refused (CVE-2026-34445 came in through others).
_KEYS = frozenset({"location", "offset", "length", "checksum"})
_NUMBER = re.compile(r"[0-9]{1,19}")


@dataclass(frozen=True)
class ExternalReference:
    """Where a tensor's bytes lie: parts of the relative path, offset and length in bytes."""

    parts: tuple[str, ...]
    offset: int
    length: int

    @classmethod
    def of(cls, location: str, offset: int, length: int) -> ExternalReference:
        """Make one from a location that `parse_reference` has accepted."""
        return cls(tuple(part for part in location.split("/") if part != "."), offset, length)


def parse_reference(tensor: onnx.TensorProto, where: str) -> ExternalReference:
    """Read and check the ``external_data`` entries of a tensor.

    Args:
        tensor: A tensor with ``data_location`` EXTERNAL.
        where: The file, for messages.

    Raises:
        MalformedFile: An unknown or repeated key, a path that is not plainly relative, a number that is none, a length
            other than dtype and shape need.
    """
    place = f"{where}, tensor {tensor.name!r}"
    entries: dict[str, str] = {}
    for entry in tensor.external_data:
        if entry.key not in _KEYS or entry.key in entries:
            problem = "repeated" if entry.key in entries else "unknown"
            raise MalformedFile(
                f"{problem} external data key {entry.key!r}", where=place, needs=f"one each of {sorted(_KEYS)}"
            )
        entries[entry.key] = entry.value
    location = entries.get("location", "")
    parts = location.split("/")
    unsafe = any(part in {"", ".."} or ":" in part for part in parts) or parts[-1] == "." or not location.isprintable()
    if unsafe or "\\" in location:
        raise MalformedFile(
            f"external data location {location!r} is not a plain relative path",
            where=place,
            needs="a file in the folder of the model",
        )
    for key in ("offset", "length"):
        if key in entries and not _NUMBER.fullmatch(entries[key]):
            raise MalformedFile(f"external data {key} {entries[key]!r} is not a number of bytes", where=place)
    try:
        needed = tensor_nbytes(tensor)
    except ValueError as error:
        raise MalformedFile(f"tensor without a valid dtype and shape: {error}", where=place) from error
    length = int(entries.get("length", needed))
    if length != needed:
        raise MalformedFile(f"external data of {length} bytes, dtype and shape need {needed}", where=place)
    return ExternalReference.of(location, int(entries.get("offset", "0")), length)


class ExternalFiles:
    """The data files of one model, each opened and mapped once.

    Args:
        folder: The folder that holds the model; nothing outside it is read.
        where: The model file, for messages.
    """

    def __init__(self, folder: Path, where: str) -> None:
        self._folder = folder
        self._where = where
        self._mapped: dict[tuple[str, ...], np.ndarray] = {}

    def bytes_of(self, tensor: onnx.TensorProto) -> np.ndarray:
        """Return the tensor's bytes as a read-only uint8 array over the mapped file.

        Raises:
            MalformedFile: The reference is not allowed, or reaches beyond the file.
            FileAccessError: The data file is absent or cannot be read.
        """
        return self.slice_of(parse_reference(tensor, self._where))

    def slice_of(self, reference: ExternalReference) -> np.ndarray:
        """Return the bytes that a checked reference names; errors as `bytes_of`."""
        data = self._mapped.get(reference.parts)
        if data is None:
            data = self._mapped[reference.parts] = self._map(reference.parts)
        end = reference.offset + reference.length
        if end > len(data):
            raise MalformedFile(
                f"external data reaches to byte {end:,}, the file {'/'.join(reference.parts)!r} has {len(data):,}",
                where=self._where,
            )
        return data[reference.offset : end]

    def _map(self, parts: tuple[str, ...]) -> np.ndarray:
        import numpy as np

        name = "/".join(parts)
        descriptor = self._open(parts, name)
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise MalformedFile(f"external data {name!r} is no regular file", where=self._where)
            if status.st_nlink != 1:
                # A hard link to a file elsewhere looks like any other file; the link count is its only trace.
                raise MalformedFile(
                    f"external data {name!r} has {status.st_nlink} hard links",
                    where=self._where,
                    needs="a file of its own (one link)",
                    remedy="if you made the link yourself, replace it by a copy",
                )
            if status.st_size == 0:
                return np.empty(0, np.uint8)
            return np.frombuffer(mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ), np.uint8)
        finally:
            os.close(descriptor)

    def _open(self, parts: tuple[str, ...], name: str) -> int:
        # O_NONBLOCK: opening a FIFO that was planted under the name must not wait for a writer.
        flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
        try:
            if os.open not in os.supports_dir_fd:
                return os.open(self._contained(parts, name), flags)
            descriptor = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
            for part in parts[:-1]:
                try:
                    inner = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=descriptor)
                finally:
                    os.close(descriptor)
                descriptor = inner
            try:
                return os.open(parts[-1], flags, dir_fd=descriptor)
            finally:
                os.close(descriptor)
        except FileNotFoundError as error:
            raise FileAccessError(
                f"the model's data file {name!r} is absent",
                where=self._where,
                remedy="keep the .onnx file and its data file in one folder",
            ) from error
        except OSError as error:
            if (self._folder.joinpath(*parts)).is_symlink() or any(
                self._folder.joinpath(*parts[: i + 1]).is_symlink() for i in range(len(parts))
            ):
                raise MalformedFile(
                    f"external data {name!r} goes through a symbolic link",
                    where=self._where,
                    needs="a regular file in the folder of the model",
                    remedy="if you made the link yourself, replace it by a copy",
                ) from error
            raise FileAccessError(
                f"the model's data file {name!r} cannot be opened: {error.strerror}", where=self._where
            ) from error

    def _contained(self, parts: tuple[str, ...], name: str) -> Path:
        """Return the path after resolving it, where folders cannot be opened one by one (Windows)."""
        base = self._folder.resolve()
        path = base.joinpath(*parts)
        if path.resolve() != path:
            raise MalformedFile(f"external data {name!r} goes through a link", where=self._where)
        return path
