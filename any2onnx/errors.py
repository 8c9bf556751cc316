"""Every error that any2onnx raises on purpose.

A message has one fixed layout: a sentence that says what is wrong, then up to four labelled lines.

    UnsupportedOperator: aten.foo.default has no ONNX mapping at opset 17
      where   model.head.dist ← src/net.py:41   d = torch.foo(a, b)
      needs   opset ≥ 18 (17 was asked for)
      try     convert_pytorch(..., target_opset=18)
      others  2 more: aten.bar.default (×3), …

`exit_code` is what the command line returns for the class: 1 parity failed, 2 usage, 3 refused or malformed
input, 4 unsupported, 5 inconclusive, 6 input/output, 70 internal.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import ClassVar


class Any2OnnxError(Exception):
    """Base of every deliberate error.

    Args:
        summary: One sentence: what is wrong.
        where: The place: step of the pipeline, layer, line of the user's code, node, file.
        needs: What would have to hold.
        remedy: What the user can do (printed behind ``try``).
        others: Further findings of the same kind, so that all come in one run.
    """

    exit_code: ClassVar[int] = 70

    def __init__(
        self,
        summary: str,
        *,
        where: str | None = None,
        needs: str | None = None,
        remedy: str | None = None,
        others: Sequence[str] = (),
    ) -> None:
        super().__init__(summary)
        self.summary = summary
        self.where = where
        self.needs = needs
        self.remedy = remedy
        self.others = tuple(others)

    def __str__(self) -> str:
        lines = [self.summary]
        for label, text in (("where", self.where), ("needs", self.needs), ("try", self.remedy)):
            if text:
                lines.append(f"  {label:<7} {text}")
        if self.others:
            lines.append(f"  others  {len(self.others)} more: {', '.join(self.others)}")
        return "\n".join(lines)

    def __reduce__(self) -> tuple[object, ...]:
        # Exceptions with keyword-only arguments do not survive pickling (worker processes) without this.
        return _rebuild, (type(self), self.summary, self.where, self.needs, self.remedy, self.others)


def _rebuild(
    cls: type[Any2OnnxError],
    summary: str,
    where: str | None,
    needs: str | None,
    remedy: str | None,
    others: Sequence[str],
) -> Any2OnnxError:
    return cls(summary, where=where, needs=needs, remedy=remedy, others=others)


# --- the call is wrong -------------------------------------------------------------------------------------------


class UsageError(Any2OnnxError, ValueError, RuntimeError):
    """An argument of the call is wrong."""

    exit_code = 2


class UnknownOption(UsageError, NameError):
    """An option or a name that does not exist; the message offers the nearest one.

    A NameError as well, which skl2onnx raises.
    """


class InvalidType(UsageError, TypeError):
    """A type, dtype or shape in ``initial_types``, ``final_types`` or the like is wrong."""


class MissingDependency(Any2OnnxError, ImportError):
    """A framework or helper package is not installed."""

    exit_code = 2


# --- the model is wrong ------------------------------------------------------------------------------------------


class NotAModel(Any2OnnxError, TypeError):
    """The object given is no model of the framework."""

    exit_code = 3


class NotFitted(Any2OnnxError, ValueError):
    """The estimator has not been fitted, or the model has not been built."""

    exit_code = 3


class ExportFailed(Any2OnnxError):
    """The framework could not trace the model (data-dependent control flow, Python side effects, ...)."""

    exit_code = 4


# --- any2onnx cannot express it ----------------------------------------------------------------------------------


class UnsupportedOperator(Any2OnnxError, NotImplementedError):
    """Operators without a mapping; all of them in one error."""

    exit_code = 4


class UnsupportedParameter(Any2OnnxError, NotImplementedError):
    """A parameter of a known operator has a value that the conversion cannot honour."""

    exit_code = 4


class OpsetNotSupported(Any2OnnxError, ValueError):
    """The operator, or the model, cannot be expressed at the opset that was asked for."""

    exit_code = 4


# --- any2onnx contradicts itself ---------------------------------------------------------------------------------


class GraphError(Any2OnnxError, ValueError):
    """A node that the builder was asked for is not valid ONNX: unknown operator, wrong dtype, wrong shape."""


class PromiseBroken(Any2OnnxError):
    """Converter and shape calculator disagree on the type of an output."""


class RegistryError(Any2OnnxError, ValueError):
    """A row of a mapping table is wrong: duplicate key, overlapping opset ranges, unknown converter."""


class PassError(Any2OnnxError):
    """A pass broke its contract."""


# --- files -------------------------------------------------------------------------------------------------------


class UntrustedFile(Any2OnnxError, PermissionError):
    """Loading the file could run code, and the caller has not said that the file is trusted."""

    exit_code = 3


class MalformedFile(Any2OnnxError, ValueError):
    """The file is not what its name says, is truncated, or breaks a limit."""

    exit_code = 3


class FileAccessError(Any2OnnxError, OSError):
    """A file cannot be read or written (space, permission, exists already)."""

    exit_code = 6


class WorkerCrashed(Any2OnnxError):
    """The process that read or ran a file was ended by a signal: native code fell over it.

    Args:
        summary: As for every error.
        signal: Number of the signal.
        where: As for every error; also what the worker was doing.
        needs: As for every error.
        remedy: As for every error.
        others: As for every error.
    """

    exit_code = 3

    def __init__(
        self,
        summary: str,
        *,
        signal: int = 0,
        where: str | None = None,
        needs: str | None = None,
        remedy: str | None = None,
        others: Sequence[str] = (),
    ) -> None:
        super().__init__(summary, where=where, needs=needs, remedy=remedy, others=others)
        self.signal = signal

    def __reduce__(self) -> tuple[object, ...]:
        return (*super().__reduce__(), {"signal": self.signal})


class LimitReached(Any2OnnxError):
    """The time or the memory that the caller allowed was used up."""

    exit_code = 5


class ManifestMismatch(Any2OnnxError, ValueError):
    """The files are not those that a manifest describes."""

    exit_code = 3


# --- parity ------------------------------------------------------------------------------------------------------


class ParityError(Any2OnnxError, AssertionError):
    """The converted model does not answer what the original answers."""

    exit_code = 1


class ParityInconclusive(Any2OnnxError):
    """The comparison could not decide: the framework is not deterministic, or the time limit was reached."""

    exit_code = 5


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return `` (did you mean 'x'?)`` for the known name nearest to ``name``, or an empty string."""
    near = difflib.get_close_matches(name, list(known), n=1)
    return f" (did you mean {near[0]!r}?)" if near else ""
