"""List what a pickle imports, without executing it.

This is information for the reader of a message, never a permission: every scanner of pickles can be deceived.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import pickletools
import zlib
from dataclasses import dataclass
from typing import Any, BinaryIO

from any2onnx.io.limits import DEFAULT_LIMITS, MIB

_MAX_OPERATIONS = 2_000_000
_MAX_BYTES = 512 * MIB


@dataclass(frozen=True)
class PickleListing:
    """Names that the pickle imports, in order, each once; ``complete`` is False when reading ended early."""

    names: tuple[str, ...]
    complete: bool


class _Bounded(io.RawIOBase):
    """Reads at most so many bytes from a stream, so that a decompression bomb ends early."""

    def __init__(self, stream: Any, limit: int) -> None:
        super().__init__()
        self._stream = stream
        self._left = limit

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._stream.read(min(len(buffer), self._left))
        self._left -= len(data)
        buffer[: len(data)] = data
        return len(data)


class _Forward:
    """Reads forwards only: pickletools asks a file with ``tell`` for positions that a stream cannot give."""

    def __init__(self, stream: Any) -> None:
        buffered = io.BufferedReader(_Bounded(stream, _MAX_BYTES))
        self.read = buffered.read
        self.readline = buffered.readline


class _Zlib(io.RawIOBase):
    """Reads a zlib stream (what joblib writes by default when it compresses)."""

    def __init__(self, stream: BinaryIO) -> None:
        super().__init__()
        self._stream = stream
        self._decoder = zlib.decompressobj()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._decoder.eof:
            source = self._decoder.unconsumed_tail or self._stream.read(1 << 16)
            data = self._decoder.decompress(source, len(buffer))
            if data:
                buffer[: len(data)] = data
                return len(data)
            if not source:
                break
        return 0


def open_compressed(stream: BinaryIO) -> Any:
    """Return the unpacked stream of a compressed pickle, or None when the compression is not known here (lz4)."""
    stream.seek(0)
    head = stream.read(6)
    stream.seek(0)
    if head.startswith(b"\x1f\x8b"):
        return gzip.GzipFile(fileobj=stream)
    if head.startswith(b"BZh"):
        return bz2.BZ2File(stream)
    if head.startswith((b"\xfd7zXZ", b"\x5d\x00")):
        return lzma.LZMAFile(stream)
    if head[:1] == b"\x78":
        return io.BufferedReader(_Zlib(stream))
    return None


def list_pickle(stream: Any, max_names: int = DEFAULT_LIMITS.pickle_globals) -> PickleListing:
    """Read the operations of a pickle and collect the names that it imports.

    joblib puts raw arrays between the operations; the listing then ends there and says so.
    """
    names: dict[str, None] = {}
    texts: list[str] = []
    last = ""  # what the previous operation pushed, when it was a text
    memo: dict[int, str] = {}
    try:
        for count, (operation, argument, _) in enumerate(pickletools.genops(_Forward(stream))):  # type: ignore[arg-type]
            if count > _MAX_OPERATIONS or len(names) >= max_names:
                return PickleListing(tuple(names), complete=False)
            code = operation.name
            if code in {"GLOBAL", "INST"}:
                names[str(argument).replace(" ", ".", 1)] = None
            elif code == "STACK_GLOBAL":
                names[".".join(texts[-2:])] = None
            elif code == "MEMOIZE" or code.endswith("PUT"):
                memo[len(memo) if code == "MEMOIZE" else int(argument or 0)] = last
                continue
            last = ""
            if code.endswith("GET"):
                last = memo.get(int(argument or 0), "")
            elif isinstance(argument, str) and ("UNICODE" in code or "STRING" in code):
                last = argument
            if last:
                texts.append(last)
                del texts[:-2]
    except (ValueError, EOFError, OSError, OverflowError, UnicodeDecodeError, zlib.error, lzma.LZMAError):
        return PickleListing(tuple(names), complete=False)
    return PickleListing(tuple(names), complete=True)
