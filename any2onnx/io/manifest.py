"""A manifest beside a converted model: which files belong together, where they come from, how they were verified.

The ONNX format does not bind a data file to its model. The manifest holds the SHA-256 of the source, of the ``.onnx``
file and of every data file, the versions at work and the verdict of the comparison. It is no signature: whoever can
exchange the model can exchange the manifest, unless the latter is kept or signed elsewhere.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import platform
import re
import sys
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from any2onnx.errors import FileAccessError, MalformedFile, ManifestMismatch
from any2onnx.io.atomic import file_errors, write_text
from any2onnx.io.preflight import check_json
from any2onnx.io.trust import digest_of

SCHEMA = "any2onnx.manifest/1"
SUFFIX = ".manifest.json"
_LARGEST = 1 << 20
_HEX = re.compile(r"[0-9a-f]{64}")
# What can have a part in what a converted model says: its modules, with the distributions that bring them.
_MODULES = {
    "any2onnx": ("any2onnx",),
    "catboost": ("catboost",),
    "imblearn": ("imbalanced-learn",),
    "jax": ("jax",),
    "keras": ("keras",),
    "lightgbm": ("lightgbm",),
    "numpy": ("numpy",),
    "onnx": ("onnx",),
    "onnx_ir": ("onnx-ir",),
    "onnxruntime": ("onnxruntime", "onnxruntime-gpu"),
    "sklearn": ("scikit-learn",),
    "skops": ("skops",),
    "tensorflow": ("tensorflow", "tensorflow-cpu"),
    "torch": ("torch",),
    "xgboost": ("xgboost",),
}


@dataclasses.dataclass(frozen=True)
class FileRecord:
    """One file: name relative to the manifest (of the source: its bare name), size in bytes, SHA-256 in hexadecimal."""

    file: str
    bytes: int
    sha256: str


@dataclasses.dataclass(frozen=True)
class Manifest:
    """What a manifest says.

    Attributes:
        source: The file that was converted.
        outputs: The ``.onnx`` file, then its data files.
        versions: Distributions by name, with their versions.
        parity: What the comparison found, as plain values; ``checked`` is False where there was none.
    """

    source: FileRecord
    outputs: tuple[FileRecord, ...]
    versions: Mapping[str, str]
    parity: Mapping[str, Any]

    def to_json(self) -> str:
        """Return the manifest as JSON; equal conversions give equal texts."""
        found = {
            "schema": SCHEMA,
            "source": dataclasses.asdict(self.source),
            "outputs": [dataclasses.asdict(record) for record in self.outputs],
            "versions": dict(self.versions),
            "parity": dict(self.parity),
        }
        return json.dumps(found, indent=2, sort_keys=True, allow_nan=False, ensure_ascii=False) + "\n"


@dataclasses.dataclass(frozen=True)
class Checked:
    """One file that was checked against its record; ``problem`` is empty when it is the one."""

    record: FileRecord
    problem: str


def manifest_path(model: Path) -> Path:
    """Return where the manifest of an ``.onnx`` file lies."""
    return model.with_name(model.name + SUFFIX)


def record_of(path: Path, *, name: str | None = None) -> FileRecord:
    """Return size and SHA-256 of a file.

    Raises:
        FileAccessError: It cannot be read.
    """
    with file_errors(path, "read"), path.open("rb") as stream:
        digest = digest_of(stream)
        return FileRecord(name or path.name, os.fstat(stream.fileno()).st_size, digest)


def versions() -> dict[str, str]:
    """Return the distributions of the modules at work in this process, and Python's version."""
    found = {"python": platform.python_version()}
    for name in (name for module, names in _MODULES.items() if module in sys.modules for name in names):
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def write_manifest(model: Path, source: FileRecord, parity: Mapping[str, Any]) -> Path:
    """Write the manifest of a saved model beside it, atomically; return its path.

    Args:
        model: The ``.onnx`` file; its data files are found from it.
        source: The file that was converted, as it was when it was loaded.
        parity: What the comparison found, as plain values.

    Raises:
        MalformedFile: The model's external references are not allowed.
        FileAccessError: A file cannot be read or written.
    """
    from any2onnx.io.save import saved_files

    outputs = tuple(
        record_of(path, name=path.relative_to(model.parent).as_posix()) for path in (model, *saved_files(model).data)
    )
    target = manifest_path(model)
    write_text(target, Manifest(source, outputs, versions(), parity).to_json())
    return target


def read_manifest(path: Path) -> Manifest:
    """Read a manifest, which may be hostile.

    Raises:
        FileAccessError: It cannot be read.
        MalformedFile: It is no manifest of this schema, or names files outside of its folder.
    """
    where = str(path)
    with file_errors(path, "read"), path.open("rb") as stream:
        data = stream.read(_LARGEST + 1)
    if len(data) > _LARGEST:
        raise MalformedFile(f"a manifest has at most {_LARGEST:,} bytes", where=where)
    found = check_json(data, path.name, where)
    if not isinstance(found, dict) or found.get("schema") != SCHEMA:
        raise MalformedFile("the file is no manifest", where=where, needs=f'"schema": "{SCHEMA}"')
    outputs = found.get("outputs")
    if not isinstance(outputs, list) or not outputs:
        raise MalformedFile("the manifest names no outputs", where=where)
    parts = {name: found.get(name) for name in ("versions", "parity")}
    for name, part in parts.items():
        if not isinstance(part, dict):
            raise MalformedFile(f"the manifest's {name!r} is no object", where=where)
    return Manifest(
        _record(found.get("source"), where),
        tuple(_record(entry, where) for entry in outputs),
        parts["versions"] or {},
        parts["parity"] or {},
    )


def _record(entry: Any, where: str) -> FileRecord:
    if not isinstance(entry, dict) or set(entry) != {"file", "bytes", "sha256"}:
        raise MalformedFile("an entry of the manifest is no file", where=where, needs="file, bytes and sha256")
    name, size, digest = entry["file"], entry["bytes"], entry["sha256"]
    plain = isinstance(name, str) and name.isprintable() and "\\" not in name and ":" not in name
    if not plain or any(part in {"", ".", ".."} for part in name.split("/")):
        raise MalformedFile(f"{name!r} is no plain name of a file beside the manifest", where=where)
    if not isinstance(size, int) or isinstance(size, bool) or size < 0:
        raise MalformedFile(f"{size!r} is no number of bytes", where=where)
    if not isinstance(digest, str) or not _HEX.fullmatch(digest):
        raise MalformedFile(f"{digest!r} is no SHA-256", where=where)
    return FileRecord(name, size, digest)


def verify(path: Path, *, source: Path | None = None) -> tuple[Manifest, tuple[Checked, ...]]:
    """Check the files of a converted model against its manifest.

    Args:
        path: The ``.onnx`` file, or the manifest.
        source: The file that was converted, to be checked too.

    Returns:
        The manifest, and one entry for each file; those with a problem are not what the manifest describes.

    Raises:
        FileAccessError: The manifest cannot be read.
        MalformedFile: It is no manifest.
    """
    place = path if path.name.endswith(SUFFIX) else manifest_path(path)
    if not place.exists():
        raise FileAccessError(
            "there is no manifest", where=str(place), remedy="write it with any2onnx convert --manifest"
        )
    manifest = read_manifest(place)
    checked = [Checked(record, _problem(record, place.parent / record.file)) for record in manifest.outputs]
    if path != place and manifest.outputs[0].file != path.name:
        checked[0] = Checked(manifest.outputs[0], f"the manifest is that of {manifest.outputs[0].file!r}")
    if not any(item.problem for item in checked):
        checked += _unlisted(manifest, place.parent)
    if source is not None:
        checked.append(Checked(manifest.source, _problem(manifest.source, source)))
    return manifest, tuple(checked)


def require(checked: Sequence[Checked], where: str) -> None:
    """Raise when a file is not the one that the manifest describes.

    Raises:
        ManifestMismatch: At least one differs; all are named.
    """
    wrong = [f"{item.record.file}: {item.problem}" for item in checked if item.problem]
    if wrong:
        raise ManifestMismatch(
            wrong[0],
            where=where,
            needs="the files as they were when the manifest was written",
            remedy="fetch or convert them again; trust none of them until then",
            others=wrong[1:],
        )


def _problem(record: FileRecord, path: Path) -> str:
    try:
        found = record_of(path)
    except FileAccessError as error:
        return f"cannot be read: {error.summary}"
    if found.bytes != record.bytes:
        return f"has {found.bytes:,} bytes, {record.bytes:,} are written down"
    if found.sha256 != record.sha256:
        return f"has SHA-256 {found.sha256}, {record.sha256} is written down"
    return ""


def _unlisted(manifest: Manifest, folder: Path) -> list[Checked]:
    """Return data files that the model refers to and the manifest does not name: nothing speaks for their bytes."""
    from any2onnx.io.save import saved_files

    model = folder / manifest.outputs[0].file
    listed = {record.file for record in manifest.outputs}
    names = [path.relative_to(model.parent).as_posix() for path in saved_files(model).data]
    return [
        Checked(FileRecord(name, 0, ""), "is read by the model and not in the manifest")
        for name in names
        if name not in listed
    ]
