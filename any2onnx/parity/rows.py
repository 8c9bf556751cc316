"""Rows from files and iterators, a block at a time, however the source cuts them.

A block is always the same rows of the data: rows 0 to 16383, 16384 to 32767 and so on. The verdict on a block depends
on nothing but its rows, so a comparison gives the same report for any chunks and any number of machines.
"""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from any2onnx.errors import FileAccessError, MalformedFile, MissingDependency, UsageError

if TYPE_CHECKING:
    from any2onnx.parity.ulp import Array

BLOCK_ROWS = 16_384


class Rows(Protocol):
    """Data that is read piece by piece.

    Attributes:
        total: Number of rows, None where only reading would tell.
    """

    total: int | None

    def pieces(self, start: int = 0, stop: int | None = None) -> Iterator[Any]:
        """Yield consecutive pieces (arrays or DataFrames, of any length) of rows ``start`` to ``stop``."""


def open_rows(source: Any) -> Rows:
    """Return rows from a path (.npy, .csv, .parquet), an array, a DataFrame, or an iterable of such pieces.

    Raises:
        UsageError: Rows cannot be read from it piece by piece.
        FileAccessError: There is no such file.
        MalformedFile: The file is not what its suffix says.
        MissingDependency: polars is not installed, for tables.
    """
    if isinstance(source, (str, pathlib.Path)):
        return _open_file(pathlib.Path(source))
    if hasattr(source, "pieces"):
        return source  # type: ignore[no-any-return]
    if isinstance(source, np.ndarray) or (hasattr(source, "columns") and hasattr(source, "shape")):
        return InMemory(source)
    if isinstance(source, Iterable) and not isinstance(source, (dict, bytes)):
        return Pieces(source)
    raise UsageError(
        f"rows cannot be read piece by piece from {type(source).__name__}",
        needs="a path, an array, a DataFrame, or an iterable of arrays or DataFrames",
    )


def _open_file(path: pathlib.Path) -> Rows:
    if not path.is_file():
        raise FileAccessError("cannot read the file: no such file", where=str(path), remedy="check the path")
    kinds: dict[str, Callable[[pathlib.Path], Rows]] = {".npy": NpyFile, ".csv": TableFile, ".parquet": TableFile}
    if path.suffix.lower() not in kinds:
        raise UsageError(
            f"rows cannot be read piece by piece from {path.name!r}",
            needs=".parquet, .csv or .npy",
            remedy="save the array as .npy" if path.suffix.lower() == ".npz" else None,
        )
    return kinds[path.suffix.lower()](path)


class InMemory:
    """An array or a DataFrame.

    Args:
        data: The rows.
    """

    def __init__(self, data: Any) -> None:
        self._data = data
        self.total: int | None = int(data.shape[0])

    def pieces(self, start: int = 0, stop: int | None = None) -> Iterator[Any]:
        """Yield slices of a block's length."""
        end = self.total if stop is None else stop
        assert end is not None
        for at in range(start, end, BLOCK_ROWS):
            yield cut(self._data, at, min(at + BLOCK_ROWS, end))


class Pieces:
    """An iterable of arrays or DataFrames, read once.

    Args:
        pieces: The pieces, of any length.
    """

    total: int | None = None

    def __init__(self, pieces: Iterable[Any]) -> None:
        self._pieces = pieces

    def pieces(self, start: int = 0, stop: int | None = None) -> Iterator[Any]:
        """Yield the pieces; only all of them can be had.

        Raises:
            UsageError: A part is asked for.
        """
        if start or stop is not None:
            raise UsageError("an iterator cannot be read from the middle", needs="a file, an array or a DataFrame")
        yield from self._pieces


class NpyFile:
    """An array in an ``.npy`` file, mapped: only the rows in use are in memory.

    Args:
        path: The file.
    """

    def __init__(self, path: pathlib.Path) -> None:
        self._path = path
        self.total: int | None = int(self._mapped().shape[0])

    def _mapped(self) -> Array:
        try:
            found: Array = np.load(self._path, mmap_mode="r", allow_pickle=False)
        except (ValueError, EOFError) as error:
            raise MalformedFile(
                "the data cannot be read", where=f"{self._path}: {error}", needs="an .npy file without pickled objects"
            ) from error
        if found.ndim == 0:
            raise MalformedFile("the array has no rows", where=str(self._path))
        return found

    def pieces(self, start: int = 0, stop: int | None = None) -> Iterator[Any]:
        """Yield copies of a block's length; the map is opened anew, so that pages already read can go."""
        end = self.total if stop is None else stop
        assert end is not None
        for at in range(start, end, BLOCK_ROWS):
            yield np.array(self._mapped()[at : min(at + BLOCK_ROWS, end)])


class TableFile:
    """A ``.csv`` or ``.parquet`` file, read by polars in batches.

    Args:
        path: The file.
    """

    def __init__(self, path: pathlib.Path) -> None:
        try:
            import polars
        except ImportError as error:
            raise MissingDependency(
                f"{path.suffix} files are read in pieces by polars", remedy="pip install polars"
            ) from error
        self._path = path
        self.total: int | None = None
        if path.suffix.lower() == ".parquet":
            # The footer of a parquet file knows; lines of a CSV file would have to be counted.
            self.total = int(self._guarded(lambda: self._scan().select(polars.len()).collect().item()))

    def _scan(self) -> Any:
        import polars

        if self._path.suffix.lower() == ".parquet":
            return polars.scan_parquet(self._path)
        # Types must not change on the way: what looks whole in the first rows may have fractions later.
        return polars.scan_csv(self._path, infer_schema_length=10_000)

    def _guarded(self, read: Callable[[], Any]) -> Any:
        import polars

        try:
            return read()
        except (polars.exceptions.PolarsError, OSError) as error:
            text = " ".join(str(error).split())[:300]
            raise MalformedFile("the data cannot be read", where=f"{self._path}: {text}") from error

    def pieces(self, start: int = 0, stop: int | None = None) -> Iterator[Any]:
        """Yield DataFrames in the order of the file."""
        scan = self._scan()
        if start or stop is not None:
            scan = scan.slice(start, None if stop is None else stop - start)
        batches = self._guarded(
            lambda: iter(scan.collect_batches(chunk_size=BLOCK_ROWS, maintain_order=True, engine="streaming"))
        )
        while (batch := self._guarded(lambda: next(batches, None))) is not None:
            yield batch


def blocks(pieces: Iterable[Any], size: int = BLOCK_ROWS) -> Iterator[Any]:
    """Cut consecutive pieces anew: all blocks have ``size`` rows but the last one.

    Only the block that is being filled is kept.
    """
    waiting: list[Any] = []
    count = 0
    for piece in pieces:
        at, length = 0, rows_in(piece)
        while at < length:
            part = cut(piece, at, min(length, at + size - count))
            waiting.append(part)
            at += rows_in(part)
            count += rows_in(part)
            if count == size:
                yield joined(waiting)
                waiting, count = [], 0
    if count:
        yield joined(waiting)


def rows_in(piece: Any) -> int:
    """Return the number of rows of an array, a DataFrame, or a mapping or tuple of arrays."""
    if isinstance(piece, dict):
        return rows_in(next(iter(piece.values())))
    if isinstance(piece, tuple):
        return rows_in(piece[0])
    return int(piece.shape[0])


def cut(piece: Any, start: int, stop: int) -> Any:
    """Return some rows of a piece, in its own form."""
    if isinstance(piece, dict):
        return {name: cut(values, start, stop) for name, values in piece.items()}
    if isinstance(piece, tuple):
        return tuple(cut(values, start, stop) for values in piece)
    if hasattr(piece, "iloc"):
        return piece.iloc[start:stop]
    return piece[start:stop]


def joined(parts: list[Any]) -> Any:
    """Put pieces of one form together."""
    first = parts[0]
    if len(parts) == 1:
        return first
    if isinstance(first, dict):
        return {name: joined([part[name] for part in parts]) for name in first}
    if isinstance(first, tuple):
        return tuple(joined([part[k] for part in parts]) for k in range(len(first)))
    if isinstance(first, np.ndarray):
        return np.concatenate(parts)
    import narwhals

    frames = [narwhals.from_native(part, eager_only=True) for part in parts]
    return narwhals.to_native(narwhals.concat(frames, how="vertical"))
