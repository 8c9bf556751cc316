"""Universal Binary JSON, the form in which XGBoost hands out a model: typed arrays come as numpy arrays, uncopied.

Written for what `Booster.save_raw("ubj")` gives (http://ubjson.org, draft 12): its numbers are exact, and one call per
array reads them, where JSON text would be parsed number by number.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from any2onnx.errors import MalformedFile

_NUMBERS: Final[dict[bytes, np.dtype[Any]]] = {
    b"i": np.dtype(">i1"),
    b"U": np.dtype(">u1"),
    b"I": np.dtype(">i2"),
    b"l": np.dtype(">i4"),
    b"L": np.dtype(">i8"),
    b"d": np.dtype(">f4"),
    b"D": np.dtype(">f8"),
}
_WORDS: Final[dict[bytes, Any]] = {b"T": True, b"F": False, b"Z": None}


def decode(data: bytes | bytearray) -> Any:
    """Return the value that the bytes hold: dicts, lists, text, numbers, and numpy arrays (big-endian).

    Raises:
        MalformedFile: They are no UBJSON.
    """
    reader = _Reader(memoryview(data))
    try:
        return reader.value(reader.take())
    except (IndexError, KeyError, TypeError, ValueError) as error:
        raise MalformedFile("the model's bytes are no UBJSON", where=f"byte {reader.at}") from error


class _Reader:
    def __init__(self, data: memoryview) -> None:
        self.data = data
        self.at = 0

    def take(self, count: int = 1) -> bytes:
        found = bytes(self.data[self.at : self.at + count])
        if len(found) != count:
            raise IndexError("the bytes end early")
        self.at += count
        return found

    def peek(self) -> bytes:
        return bytes(self.data[self.at : self.at + 1])

    def value(self, mark: bytes) -> Any:
        if mark in _NUMBERS:
            return self.numbers(_NUMBERS[mark], 1)[0].item()
        if mark in _WORDS:
            return _WORDS[mark]
        if mark == b"S":
            return self.text()
        if mark == b"C":
            return self.take().decode()
        if mark == b"[":
            return self.array()
        if mark == b"{":
            return self.object()
        raise ValueError(f"no such mark: {mark!r}")

    def numbers(self, dtype: np.dtype[Any], count: int) -> np.ndarray[Any, Any]:
        end = self.at + count * dtype.itemsize
        if end > len(self.data):
            raise IndexError("the bytes end early")
        found = np.frombuffer(self.data[self.at : end], dtype)
        self.at = end
        return found

    def length(self) -> int:
        return int(self.value(self.take()))

    def text(self) -> str:
        return self.take(self.length()).decode()

    def array(self) -> Any:
        kind = None
        if self.peek() == b"$":
            kind = self.take(2)[1:]
        if self.peek() == b"#":
            self.take()
            count = self.length()
            if kind is not None:
                return self.numbers(_NUMBERS[kind], count)
            return [self.value(self.take()) for _ in range(count)]
        found = []
        while self.peek() != b"]":
            found.append(self.value(self.take()))
        self.take()
        return found

    def object(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        while self.peek() != b"}":
            key = self.text()
            found[key] = self.value(self.take())
        self.take()
        return found
