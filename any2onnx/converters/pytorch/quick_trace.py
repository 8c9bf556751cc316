"""torch.export without the work that a conversion has no use for.

While a model is captured, torch writes down things that nothing here reads, and finds the shape of a composite operator
by running all that it consists of. Each saving is one of these:

* `tensor_meta` of a node: the walker reads `val`, which says the same.
* The stack trace of a node: one frame, the user's own, instead of forty that are symbolized and then filtered.
* The source text of the graph, compiled again after each of six passes: it is compiled when somebody calls the graph.
* The parts of `linear`, `layer_norm`, `batch_norm` and the like (`stated_shapes`).

The exported program is the same, node for node and shape for shape; a test holds it against torch's own.
"""

from __future__ import annotations

import contextlib
import linecache
import re
import sys
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from any2onnx.converters.pytorch.replacing import replaced
from any2onnx.converters.pytorch.stated_shapes import stated_shapes


@contextlib.contextmanager
def quick_trace() -> Iterator[None]:
    """Trace with less work; only inside the capture lock."""
    from torch.fx import _lazy_graph_module, proxy
    from torch.fx.experimental import proxy_tensor

    frames = _UserFrames()
    with (
        replaced(proxy_tensor, "_extract_tensor_metadata", lambda value: None),
        replaced(proxy, "CapturedTraceback", frames),
        replaced(proxy.TracerBase, "_filter_traceback_frames", lambda tracer, frame: frame),
        _lazy_graph_module._use_lazy_graph_module(True),
        stated_shapes(),
    ):
        yield


@contextlib.contextmanager
def limits_as_guards(names: Collection[str]) -> Iterator[None]:
    """Let torch.export go on where the model limits a dim, as it does for dims that have no name.

    torch refuses a model that takes a path for some sizes of a named dim only. `warn_of_other_paths` says so of any
    dim, from the guards, which stay; so the dims that were named by plain text need no second trace without names. A
    dim that turns out to be a constant, or a multiple of another, is refused as ever. So are limits of the caller's own
    `torch.export.Dim`, but for ``size != 1``, which only the trace that treats 0 and 1 as any size (`_settings`) asks.

    Args:
        names: Dims that were given by name only.
    """
    from torch.export import _trace
    from torch.fx.experimental.symbolic_shapes import ConstraintViolationError

    solve = _trace.produce_guards_and_solve_constraints

    def tolerant(*args: Any, **kwargs: Any) -> None:
        try:
            solve(*args, **kwargs)
        except ConstraintViolationError as error:
            if not _only_limits(str(error), names):
                raise

    with replaced(_trace, "produce_guards_and_solve_constraints", tolerant):
        yield


def _only_limits(message: str, names: Collection[str]) -> bool:
    """Tell whether a message of torch's only names guards that some sizes of dims do not meet."""
    found = [line.strip().removeprefix("- ") for line in message.splitlines()[1:] if line.strip()]
    for line in found:
        limit = re.match(r"Not all values of (\w+) = .* satisfy the generated guard (.*)\.$", line)
        if limit is None or not (limit[1] in names or re.fullmatch(r"\S+ != 1", limit[2])):
            return False
    return bool(found)


class _UserFrames:
    """Stands in for torch's CapturedTraceback: finds the innermost frame of the user's code."""

    def __init__(self) -> None:
        import torch

        self._inner = (str(Path(torch.__file__).parent), "<")
        self._own = str(Path(__file__).parents[2])
        self._texts: dict[tuple[str, int], _Frame | None] = {}

    def extract(self) -> _UserFrames:
        """Return itself, as torch asks for the captured frames and then for their summary."""
        return self

    def summary(self) -> _Frame | None:
        """Return the line of the user's code that is being run; None where it is none's."""
        frame: Any = sys._getframe(1)
        while frame is not None:
            path = frame.f_code.co_filename
            if not path.startswith(self._inner) and not path.endswith("contextlib.py"):
                break
            frame = frame.f_back
        if frame is None or path.startswith(self._own):
            return None
        key = (path, frame.f_lineno)
        if key not in self._texts:
            self._texts[key] = _Frame(path, frame.f_lineno, frame.f_code.co_name)
        return self._texts[key]


class _Frame:
    """One frame, printed as Python prints it."""

    def __init__(self, path: str, number: int, function: str) -> None:
        self._text = f'  File "{path}", line {number}, in {function}\n    {linecache.getline(path, number).strip()}\n'

    def format(self) -> list[str]:
        """Return the text of each frame."""
        return [self._text]
