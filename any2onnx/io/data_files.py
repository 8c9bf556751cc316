"""The data files beside a saved model: their names, and which of them nothing names any more."""

from __future__ import annotations

import os
import re
from pathlib import Path


def data_path_of(path: Path, digest: str) -> Path:
    """Return the data file of the model at ``path``, by the hexadecimal SHA-256 of its content."""
    return path.parent / f"{path.name}.{digest[:16]}.data"


def remove_stale_data(path: Path, current: Path | None) -> None:
    """Remove data files of earlier saves of ``path`` that no model of the folder names any more."""
    pattern = re.compile(re.escape(path.name) + r"\.[0-9a-f]{16}\.data")
    stale = [
        name
        for name in sorted(os.listdir(path.parent))
        if pattern.fullmatch(name) and (current is None or name != current.name)
    ]
    for name in stale:
        if not _is_referred_to(name, path):
            (path.parent / name).unlink(missing_ok=True)


def _is_referred_to(data_name: str, path: Path) -> bool:
    """Return whether another ``.onnx`` of the folder (a renamed copy of the old model) names the data file."""
    import mmap

    for other in sorted(path.parent.glob("*.onnx")):
        if other.name == path.name or not other.is_file():
            continue
        try:
            with other.open("rb") as stream:
                if os.fstat(stream.fileno()).st_size == 0:
                    continue
                with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as view:
                    if view.find(data_name.encode()) >= 0:
                        return True
        except OSError:
            return True  # unreadable: it may name the file, so the file stays
    return False
