"""Checks of archives before a framework sees them: own code, pure Python, bounded in time and memory."""

from __future__ import annotations

import io
import json
import re
import stat
import zipfile
from collections.abc import Iterator
from typing import Any, BinaryIO

from any2onnx.errors import MalformedFile, MissingDependency
from any2onnx.io.limits import DEFAULT_LIMITS, Limits

_JSON_TOKENS = re.compile(r'"(?:[^"\\]|\\.)*"|[\[{]|[\]}]', re.DOTALL)
_DRIVE = re.compile(r"[A-Za-z]:")
_MEMBER_KINDS = (0, stat.S_IFREG, stat.S_IFDIR)
_ENCRYPTED = 0x1


def check_zip(stream: BinaryIO, where: str, limits: Limits = DEFAULT_LIMITS) -> zipfile.ZipFile:
    """Check the directory of an archive and return it, open.

    Declared sizes can be believed afterwards: `zipfile` reads no more than an entry declares.

    Raises:
        MalformedFile: No archive, or one with too many entries, too large or too well compressed, or with an entry
            that is absolute, leaves the archive, repeats a name, overlaps another, is encrypted or is a link.
    """
    stream.seek(0)
    try:
        archive = zipfile.ZipFile(stream)
    except (zipfile.BadZipFile, ValueError, NotImplementedError, OSError, UnicodeDecodeError) as error:
        raise MalformedFile("the archive is damaged or truncated", where=where) from error
    entries = archive.infolist()
    if len(entries) > limits.zip_members:
        raise MalformedFile(f"the archive has {len(entries):,} entries, at most {limits.zip_members:,}", where=where)
    total = sum(entry.file_size for entry in entries)
    size = stream.seek(0, io.SEEK_END)
    if total > limits.zip_total:
        raise MalformedFile(f"the archive unpacks to {total:,} bytes, at most {limits.zip_total:,}", where=where)
    if total > max(limits.zip_small, size * limits.zip_ratio):
        raise MalformedFile(
            f"the archive unpacks to {total:,} bytes from {size:,}: a decompression bomb",
            where=where,
            needs=f"at most {limits.zip_ratio} times its size",
        )
    names: set[str] = set()
    end = 0
    for entry in sorted(entries, key=lambda entry: entry.header_offset):
        _check_entry(entry, where)
        if entry.filename in names:
            raise MalformedFile(f"the archive holds {entry.filename!r} twice", where=where)
        names.add(entry.filename)
        if entry.header_offset < end:
            raise MalformedFile(f"the entry {entry.filename!r} overlaps another one", where=where)
        end = entry.header_offset + entry.compress_size
    return archive


def _check_entry(entry: zipfile.ZipInfo, where: str) -> None:
    name = entry.filename
    parts = name.rstrip("/").split("/")
    if name.startswith("/") or "\\" in name or "\0" in name or _DRIVE.match(name) or {"", ".."} & set(parts):
        raise MalformedFile(f"the archive holds an entry that leaves it: {name!r}", where=where)
    if stat.S_IFMT(entry.external_attr >> 16) not in _MEMBER_KINDS:
        raise MalformedFile(f"the entry {name!r} is no regular file", where=where)
    if entry.flag_bits & _ENCRYPTED:
        raise MalformedFile(f"the entry {name!r} is encrypted", where=where)


def read_member(archive: zipfile.ZipFile, name: str, where: str, limit: int) -> bytes:
    """Return one entry of a checked archive.

    Raises:
        MalformedFile: It is absent, larger than ``limit`` bytes, or damaged.
    """
    import zlib

    try:
        entry = archive.getinfo(name)
    except KeyError as error:
        raise MalformedFile(f"the archive has no {name!r}", where=where) from error
    if entry.file_size > limit:
        raise MalformedFile(f"{name} has {entry.file_size:,} bytes, at most {limit:,}", where=where)
    try:
        return archive.read(entry)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise MalformedFile(f"the entry {name!r} is damaged", where=where) from error


def check_json(data: bytes, name: str, where: str, limits: Limits = DEFAULT_LIMITS) -> Any:
    """Parse JSON of bounded size and depth.

    Raises:
        MalformedFile: Too large, too deep (a parser would overflow its stack), or no JSON.
    """
    if len(data) > limits.json_bytes:
        raise MalformedFile(f"{name} has {len(data):,} bytes, at most {limits.json_bytes:,}", where=where)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise MalformedFile(f"{name} is no UTF-8 text", where=where) from error
    depth = 0
    for token in _JSON_TOKENS.finditer(text):
        mark = text[token.start()]
        if mark in "[{":
            depth += 1
            if depth > limits.json_depth:
                raise MalformedFile(f"{name} is nested more than {limits.json_depth} deep", where=where)
        elif mark in "]}":
            depth -= 1
    try:
        return json.loads(text)
    except ValueError as error:
        raise MalformedFile(f"{name} is no JSON: {error}", where=where) from error


def check_hdf5(stream: BinaryIO, size: int, where: str, limits: Limits = DEFAULT_LIMITS) -> None:
    """Walk an HDF5 file and refuse what reads other files or allocates what is not there.

    Args:
        stream: The file or the archive's entry.
        size: Its bytes.
        where: For messages.
        limits: Upper bounds.

    Raises:
        MalformedFile: Soft or external links, external or virtual data sets, sizes that the file cannot hold, too
            many or too deeply nested groups, or no HDF5.
        MissingDependency: h5py is not installed.
    """
    try:
        import h5py
    except ImportError as error:
        raise MissingDependency("HDF5 files need h5py", remedy="pip install h5py") from error
    try:
        with h5py.File(stream, "r") as file:
            declared = 0
            for name, item in _hdf5_items(file, where, limits):
                if not isinstance(item, h5py.Dataset):
                    continue
                if item.is_virtual or item.external:
                    kind = "virtual" if item.is_virtual else "external"
                    raise MalformedFile(f"the data set {name!r} is {kind}: it would read other files", where=where)
                declared += item.size * max(1, item.dtype.itemsize)
                if declared > max(limits.zip_small, min(limits.hdf5_bytes, size * limits.hdf5_ratio)):
                    raise MalformedFile(
                        f"the data sets declare more than {declared:,} bytes in a file of {size:,}",
                        where=f"{where}, data set {name!r}",
                        needs=f"at most {limits.hdf5_ratio} times the file and {limits.hdf5_bytes:,} bytes",
                    )
    except MalformedFile:
        raise
    except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:
        raise MalformedFile(f"the HDF5 data are damaged: {error}", where=where) from error


def _hdf5_items(file: Any, where: str, limits: Limits) -> Iterator[tuple[str, Any]]:
    """Yield (name, group or data set), each object once; hard links may form cycles."""
    import h5py

    pending: list[tuple[str, Any, int]] = [("", file, 0)]
    seen: set[int] = set()
    while pending:
        name, item, depth = pending.pop()
        address = h5py.h5o.get_info(item.id).addr
        if address in seen:
            continue
        seen.add(address)
        if len(seen) > limits.hdf5_objects or depth > limits.hdf5_depth:
            raise MalformedFile("the HDF5 file has too many or too deeply nested groups", where=where)
        yield name, item
        if not isinstance(item, h5py.Group):
            continue
        for key in item:
            if not isinstance(item.get(key, getlink=True), h5py.HardLink):
                raise MalformedFile(f"the HDF5 file holds a soft or external link: {name}/{key}", where=where)
            pending.append((f"{name}/{key}", item[key], depth + 1))


class Section(io.RawIOBase):
    """A part of an open file, as a file: an uncompressed entry of an archive can be read in place.

    Args:
        stream: The whole file.
        start: First byte.
        size: Bytes.
    """

    def __init__(self, stream: BinaryIO, start: int, size: int) -> None:
        super().__init__()
        self._stream = stream
        self._start = start
        self._size = size
        self._position = 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the position within the section."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move within the section and return the new position."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = max(0, base + offset)
        return self._position

    def readinto(self, buffer: Any) -> int:
        """Fill ``buffer`` from the section; return the bytes read."""
        wanted = min(len(buffer), max(0, self._size - self._position))
        self._stream.seek(self._start + self._position)
        data = self._stream.read(wanted)
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)


def open_member(stream: BinaryIO, archive: zipfile.ZipFile, name: str, where: str, limit: int) -> Any:
    """Return an entry of a checked archive as a seekable file; stored entries are not copied into memory."""
    entry = archive.getinfo(name)
    if entry.compress_type != zipfile.ZIP_STORED:
        return io.BytesIO(read_member(archive, name, where, limit))
    stream.seek(entry.header_offset + 26)
    lengths = stream.read(4)
    start = entry.header_offset + 30 + int.from_bytes(lengths[:2], "little") + int.from_bytes(lengths[2:], "little")
    return Section(stream, start, entry.file_size)
