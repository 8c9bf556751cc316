"""Tell what a file is by its content, and hold that against its suffix."""

from __future__ import annotations

import io
import json
import os
import pickletools
import zipfile
from enum import StrEnum
from pathlib import PurePath
from typing import BinaryIO

from any2onnx.errors import MalformedFile


class Kind(StrEnum):
    """What a file holds."""

    ONNX = "ONNX model"
    SKOPS = "skops file"
    KERAS = "Keras archive"
    HDF5 = "HDF5 file"
    SAFETENSORS = "safetensors file"
    TORCH = "PyTorch checkpoint"
    TORCHSCRIPT = "TorchScript archive"
    EXPORTED_PROGRAM = "exported PyTorch program (.pt2)"
    PICKLE = "pickle"
    COMPRESSED = "compressed pickle (joblib)"
    ZIP = "zip archive of an unknown kind"
    NUMPY = "numpy array file"
    UNKNOWN = "unknown content"


#: What each suffix promises. A file whose content is something else is refused, whatever the content would allow.
SUFFIXES: dict[str, frozenset[Kind]] = {
    ".onnx": frozenset({Kind.ONNX}),
    ".skops": frozenset({Kind.SKOPS}),
    ".keras": frozenset({Kind.KERAS}),
    ".h5": frozenset({Kind.HDF5}),
    ".hdf5": frozenset({Kind.HDF5}),
    ".safetensors": frozenset({Kind.SAFETENSORS}),
    ".pt": frozenset({Kind.TORCH, Kind.TORCHSCRIPT, Kind.PICKLE}),
    ".pth": frozenset({Kind.TORCH, Kind.TORCHSCRIPT, Kind.PICKLE}),
    ".pt2": frozenset({Kind.EXPORTED_PROGRAM}),
    ".ts": frozenset({Kind.TORCHSCRIPT}),
    ".pkl": frozenset({Kind.PICKLE, Kind.COMPRESSED}),
    ".pickle": frozenset({Kind.PICKLE, Kind.COMPRESSED}),
    ".joblib": frozenset({Kind.PICKLE, Kind.COMPRESSED}),
    ".cloudpickle": frozenset({Kind.PICKLE}),
}

_COMPRESSION = (
    b"\x1f\x8b",
    b"BZh",
    b"\xfd7zXZ",
    b"\x5d\x00\x00",
    b"\x04\x22\x4d\x18",
    b"\x78\x01",
    b"\x78\x5e",
    b"\x78\x9c",
    b"\x78\xda",
)
_HEAD = 64
_SAFETENSORS_HEADER_LIMIT = 100_000_000


def sniff(stream: BinaryIO) -> Kind:
    """Return the kind of an open file; the position is put back to the start.

    Only fixed places are read and no content is believed: a loader still has to check everything.
    """
    stream.seek(0)
    head = stream.read(_HEAD)
    size = stream.seek(0, os.SEEK_END)
    stream.seek(0)
    if head.startswith(b"PK\x03\x04"):
        kind = _sniff_zip(stream)
    elif head.startswith(b"\x89HDF\r\n\x1a\n"):
        kind = Kind.HDF5
    elif head.startswith(b"\x93NUMPY"):
        kind = Kind.NUMPY
    elif _is_safetensors(head, size):
        kind = Kind.SAFETENSORS
    elif len(head) > 1 and head[0] == 0x80 and head[1] in range(2, 6):
        kind = Kind.PICKLE
    elif head.startswith(_COMPRESSION):
        kind = Kind.COMPRESSED
    elif _is_onnx(head):
        kind = Kind.ONNX
    elif _is_text_pickle(stream):
        kind = Kind.PICKLE
    else:
        kind = Kind.UNKNOWN
    stream.seek(0)
    return kind


def check_kind(path: PurePath, stream: BinaryIO) -> Kind:
    """Return the kind of an open file, after holding it against the suffix.

    Raises:
        MalformedFile: The file is empty, its suffix is not known, or suffix and content disagree.
    """
    suffix = path.suffix.lower()
    expected = SUFFIXES.get(suffix)
    if expected is None:
        raise MalformedFile(
            f"{suffix or 'a file without suffix'} is not a kind of model file that can be loaded",
            where=str(path),
            needs=f"one of {' '.join(sorted(SUFFIXES))}",
            remedy="load the model yourself and pass the object to any2onnx.convert",
        )
    if not stream.read(1):
        raise MalformedFile("the file is empty", where=str(path))
    kind = sniff(stream)
    if kind not in expected:
        promised = " or ".join(sorted(expected))
        raise MalformedFile(
            f"the name says {promised}, the content is: {kind}",
            where=str(path),
            needs="name and content that agree; nothing is loaded by guessing",
            remedy="give the file its right suffix, or get an undamaged copy",
        )
    return kind


def _sniff_zip(stream: BinaryIO) -> Kind:
    try:
        with zipfile.ZipFile(stream) as archive:
            names = set(archive.namelist())
    except (zipfile.BadZipFile, ValueError, NotImplementedError, OSError, UnicodeDecodeError):
        return Kind.UNKNOWN
    if "schema.json" in names:
        return Kind.SKOPS
    if "config.json" in names and "metadata.json" in names:
        return Kind.KERAS
    inner = {name.partition("/")[2] for name in names}
    if "archive_format" in inner or any(name.startswith("models/") for name in inner):
        return Kind.EXPORTED_PROGRAM
    if "constants.pkl" in inner and any(name.startswith("code/") for name in inner):
        return Kind.TORCHSCRIPT
    if "data.pkl" in inner:
        return Kind.TORCH
    return Kind.ZIP


def _is_safetensors(head: bytes, size: int) -> bool:
    length = int.from_bytes(head[:8], "little")
    return len(head) > 9 and head[8:9] == b"{" and 2 <= length <= min(size - 8, _SAFETENSORS_HEADER_LIMIT)


def _is_onnx(head: bytes) -> bool:
    """Return whether the bytes can begin a ModelProto.

    Protobuf has no magic number. Every writer in use begins with field 1 (ir_version), a small number, followed by
    the tag of another field of ModelProto.
    """
    fields_of_length = {0x12, 0x1A, 0x22, 0x32, 0x3A, 0x42, 0x72}
    return len(head) > 2 and head[0] == 0x08 and 0 < head[1] < 0x80 and head[2] in {*fields_of_length, 0x28}


def _is_text_pickle(stream: BinaryIO) -> bool:
    """Return whether the whole (small) file is a pickle of protocol 0 or 1, which has no magic number."""
    data = stream.read(1 << 20)
    if not data.endswith(b"."):
        return False
    try:
        for _ in pickletools.genops(io.BytesIO(data)):
            pass
    except (ValueError, UnicodeDecodeError, OverflowError):
        return False
    return True


def header_of_safetensors(stream: BinaryIO) -> dict[str, object]:
    """Return the header of a safetensors file as it stands (for listings; loading uses the library's own parser).

    Raises:
        MalformedFile: The header is no JSON object.
    """
    stream.seek(0)
    length = int.from_bytes(stream.read(8), "little")
    try:
        header = json.loads(stream.read(min(length, _SAFETENSORS_HEADER_LIMIT)))
    except (ValueError, RecursionError) as error:
        raise MalformedFile("the safetensors header is damaged") from error
    if not isinstance(header, dict):
        raise MalformedFile("the safetensors header is no JSON object")
    return header
