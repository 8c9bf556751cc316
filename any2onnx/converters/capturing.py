"""One capture at a time: recording what a model does patches process-wide state, of torch above all."""

from __future__ import annotations

import threading
import warnings
from typing import Final

CAPTURE: Final = threading.RLock()


def warn(text: str) -> None:
    """Warn the user of what a model does.

    Under the lock: a capture in another thread silences torch's own warnings, and Python's filters are those of the
    whole process, so that this warning would be lost.
    """
    with CAPTURE:
        warnings.warn(text, UserWarning, stacklevel=2)
