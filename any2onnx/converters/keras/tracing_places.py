"""Whose code runs while a model is recorded: the line of the user's, and the library that it has called."""

from __future__ import annotations

import linecache
import os
import sys
from collections.abc import Iterator

# This package: its frames are no user's.
_OWN = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))) + os.sep
# Libraries whose functions users call inside of a model, by the folder that they are installed in.
_LIBRARIES = {
    os.sep.join(("", "site-packages", folder, "")): name
    for folder, name in {"tensorflow": "TensorFlow", "torch": "PyTorch", "jax": "JAX", "numpy": "numpy"}.items()
}
_KERAS = os.sep.join(("", "keras", "src", ""))


def is_users(filename: str) -> bool:
    """Tell whether a file is no part of this package, of Keras or of the libraries below it."""
    between = filename.startswith((_OWN, "<frozen")) or filename.endswith("contextlib.py")
    return not between and _KERAS not in filename and library_of(filename) == ""


def library_of(filename: str) -> str:
    """Return the library that a file belongs to, by the name that people know, or ''."""
    return next((name for folder, name in _LIBRARIES.items() if folder in filename), "")


def line_of_user(last: str) -> str:
    """Return the line of the user's code that is being run, or of the layer where there is none.

    Args:
        last: The file whose function `run` is the last one to be looked at.
    """
    layer = ""
    for filename, function, line in _frames():
        if filename == last and function == "run":
            break
        if is_users(filename):
            return place(filename, line)
        if not layer and _KERAS in filename and os.sep + "layers" + os.sep in filename:
            layer = place(filename, line)
    return layer


def calling_library() -> str:
    """Return the library in whose function the running code is, as the user called it, or ''."""
    found = ""
    for filename, _, _ in _frames():
        if is_users(filename) or _KERAS in filename:
            break
        found = library_of(filename) or found
    return found


def place(filename: str, line: int) -> str:
    """Return a line of code with its place; files of Keras by their path within Keras."""
    parts = filename.split(os.sep)
    inside = "keras" in parts and "src" in parts
    short = os.sep.join(parts[parts.index("keras") :]) if inside else os.path.basename(filename)
    return f"{short}:{line}   {linecache.getline(filename, line).strip()}"


def _frames() -> Iterator[tuple[str, str, int]]:
    frame = sys._getframe(2)
    while frame is not None:
        yield frame.f_code.co_filename, frame.f_code.co_name, frame.f_lineno
        frame = frame.f_back  # type: ignore[assignment]
