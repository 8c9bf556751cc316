"""Stream tensors into a data file: chunk by chunk from their own buffers, aligned, hashed on the way.

A whole weight is never copied: contiguous arrays are written through a view of their bytes, others (a transposed
weight, say) block by block. A thread hashes one chunk while the next is put in order and written.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO

from any2onnx.errors import GraphError

if TYPE_CHECKING:
    import numpy as np

CHUNK = 4 << 20
#: Smaller pieces are hashed at once: handing them to the thread would take longer.
THREADED_FROM = 1 << 16
#: Tensors above this size start on a page, so that a runtime can map them; small ones are packed densely.
ALIGNED_FROM = 1 << 20
ALIGNMENT = 4096


@dataclass(frozen=True)
class Placement:
    """Where a tensor lies in the data file: offset and length in bytes."""

    offset: int
    length: int


class TensorWriter:
    """Appends tensors to an open data file. A context manager: its thread ends with it.

    Args:
        stream: Binary file, at its start.
        total: Bytes expected in all, for ``progress``.
        progress: Called with (bytes written, total) after each chunk.
    """

    def __init__(self, stream: BinaryIO, total: int = 0, progress: Callable[[int, int], None] | None = None) -> None:
        self._stream = stream
        self._total = total
        self._progress = progress
        self._hash = hashlib.sha256()
        self._thread = ThreadPoolExecutor(1, "any2onnx-sha256")
        self._hashing: Future[None] | None = None
        # For arrays that are not in C order, in turn: while the thread reads one, the other is filled.
        self._buffers: list[bytearray] = []
        self._position = 0
        # Tied weights are one tensor object under several names: they are written once. Identity is only looked up,
        # never ordered by, so the bytes do not depend on addresses. The object is kept, so its id stays its own.
        self._known: dict[int, tuple[object, Placement]] = {}

    def __enter__(self) -> TensorWriter:
        """Return the writer."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let the thread end."""
        self._thread.shutdown()

    @property
    def size(self) -> int:
        """Bytes written so far."""
        return self._position

    @property
    def digest(self) -> str:
        """SHA-256 of what has been written so far, in hexadecimal."""
        self._wait()
        return self._hash.hexdigest()

    def add_tensor(self, tensor: Any) -> Placement:
        """Append an onnx_ir tensor (numpy, torch, memory-mapped, lazy, packed) in little-endian order.

        Raises:
            GraphError: The tensor holds another number of bytes than its dtype and shape say.
        """
        known = self._known.get(id(tensor))
        if known is not None:
            return known[1]
        if hasattr(tensor, "blocks"):
            placement = self._add_blocks(tensor)
        else:
            # Types below one byte are packed by onnx_ir; the packed copy is at most half of the array it comes from.
            payload = tensor.tobytes() if tensor.dtype.bitwidth < 8 else tensor.numpy()
            placement = self.add_payload(payload, tensor.nbytes, tensor.name or "")
        self._known[id(tensor)] = (tensor, placement)
        return placement

    def add_payload(self, payload: bytes | np.ndarray, nbytes: int, name: str) -> Placement:
        """Append bytes, or an array's elements in C order.

        Args:
            payload: The data.
            nbytes: How many bytes there must be.
            name: The tensor's name, for the message.

        Raises:
            GraphError: ``payload`` has another size.
        """
        size = len(payload) if isinstance(payload, bytes) else payload.nbytes
        if size != nbytes:
            raise GraphError(f"tensor {name!r} declares {nbytes} bytes and holds {size}", where=f"initializer {name!r}")
        offset = self._start(nbytes)
        if isinstance(payload, bytes):
            self._write_view(memoryview(payload))
        else:
            self._write_array(payload)
        return Placement(offset, nbytes)

    def _add_blocks(self, tensor: Any) -> Placement:
        """Append a tensor that is computed when it is written, as many rows at a time as make a chunk."""
        offset = self._start(tensor.nbytes)
        for block in tensor.blocks(CHUNK):
            self._write_array(block)
        if self._position - offset != tensor.nbytes:
            raise GraphError(f"tensor {tensor.name!r} declares {tensor.nbytes} bytes", where="its blocks hold others")
        return Placement(offset, tensor.nbytes)

    def _start(self, nbytes: int) -> int:
        """Return where a tensor of so many bytes begins."""
        if nbytes > ALIGNED_FROM:
            self._write(bytes(-self._position % ALIGNMENT))
        return self._position

    def _write_array(self, array: np.ndarray) -> None:
        import numpy as np

        little = array.dtype.newbyteorder("<")
        if array.flags.c_contiguous and array.dtype == little:
            self._write_view(array.reshape(-1).view(np.uint8).data)
        elif array.nbytes <= CHUNK:
            self._write_block(array, little)
        else:
            row_bytes = array.nbytes // array.shape[0]
            if row_bytes > CHUNK:
                for row in array:
                    self._write_array(row)
                return
            rows = CHUNK // row_bytes
            for start in range(0, array.shape[0], rows):
                self._write_block(array[start : start + rows], little)

    def _write_block(self, array: np.ndarray, dtype: np.dtype[Any]) -> None:
        """Write an array of at most `CHUNK` bytes by way of a buffer in C order."""
        import numpy as np

        from any2onnx.graph.arrays import copy_into

        buffer = self._buffers.pop(0) if len(self._buffers) > 1 else bytearray(CHUNK)
        block = np.frombuffer(buffer, dtype, array.size).reshape(array.shape)
        copy_into(block, array)
        self._write(memoryview(buffer)[: array.nbytes])
        self._buffers.append(buffer)

    def _write_view(self, view: memoryview) -> None:
        for start in range(0, len(view), CHUNK):
            self._write(view[start : start + CHUNK])

    def _write(self, data: bytes | memoryview) -> None:
        self._wait()
        if len(data) < THREADED_FROM:
            self._hash.update(data)
        else:
            self._hashing = self._thread.submit(self._hash.update, data)
        self._stream.write(data)
        self._position += len(data)
        if self._progress is not None and len(data):
            self._progress(self._position, self._total)

    def _wait(self) -> None:
        """Wait until the chunk that is being hashed is done: its buffer is free then."""
        if self._hashing is not None:
            hashing, self._hashing = self._hashing, None
            hashing.result()
