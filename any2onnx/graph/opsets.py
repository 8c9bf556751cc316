"""Operator-set versions: which a model imports, which IR version belongs to them, what can be asked for."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import onnx

from any2onnx.errors import OpsetNotSupported, UsageError

MAIN: Final = ""
ML: Final = "ai.onnx.ml"
CONTRIB: Final = "com.microsoft"

FLOOR: Final = 13
DEFAULT: Final = 21
"""Runs on onnxruntime 1.20 (2024) and later, and is the first whose ai.onnx.ml keeps trees in float64 end to end."""

NEWEST_RUN: Final = 28
NEWEST_ML_RUN: Final = 5
"""The newest versions that onnxruntime 1.32 loads."""


@dataclass(frozen=True, slots=True)
class Opsets:
    """Versions of the operator sets that a model may use, by domain; ai.onnx is the empty string.

    Attributes:
        versions: (domain, version) pairs.
        open: The user has named no domains, so that `with_contrib` may add one.
    """

    versions: tuple[tuple[str, int], ...]
    open: bool = False

    @classmethod
    def of(cls, target: int | Mapping[str, int] | None = None) -> Opsets:
        """Resolve what a user asks for.

        Args:
            target: None for the default, the version of ai.onnx, or ``{domain: version}`` ('' or 'ai.onnx' is the
                main domain). ai.onnx.ml follows from the main version where it is not given. A dict without
                com.microsoft rules it out.

        Raises:
            OpsetNotSupported: A version outside what any2onnx writes and onnxruntime runs.
        """
        named = isinstance(target, Mapping)
        if target is None:
            target = {}
        elif isinstance(target, int) and not isinstance(target, bool):
            target = {MAIN: target}
        elif not isinstance(target, Mapping):
            raise UsageError(
                f"target_opset is {target!r}",
                needs="a number or {domain: version}",
                remedy=f"target_opset={DEFAULT} or target_opset={{'': {DEFAULT}, 'ai.onnx.ml': 3}}",
            )
        given = {(MAIN if domain == "ai.onnx" else domain): int(version) for domain, version in target.items()}
        main = given.pop(MAIN, DEFAULT)
        _check("ai.onnx", main, FLOOR, ceiling())
        ml = given.pop(ML, None)
        if ml is None:
            ml = min(_ml_version(main), NEWEST_ML_RUN)
        _check(ML, ml, 1, NEWEST_ML_RUN)
        return cls(((MAIN, main), (ML, ml), *sorted(given.items())), open=not named)

    def with_contrib(self) -> Opsets:
        """Return these versions and com.microsoft 1, which every onnxruntime has, unless the user named the domains.

        A model imports it only where it uses it.
        """
        if not self.open or self.get(CONTRIB) is not None:
            return self
        return Opsets((*self.versions, (CONTRIB, 1)), open=True)

    def including(self, domain: str, version: int) -> Opsets:
        """Return these versions and one of a further domain, whose operators the source model itself names.

        A domain that is there keeps its version, and a user's dict without com.microsoft rules that out.
        """
        if self.get(domain) is not None or (domain == CONTRIB and not self.open):
            return self
        return Opsets((*self.versions, (domain, version)), open=self.open)

    def get(self, domain: str) -> int | None:
        """Return the version of a domain, or None where the model may not use it."""
        return next((version for name, version in self.versions if name == domain), None)

    @property
    def main(self) -> int:
        """Version of ai.onnx."""
        return self.versions[0][1]

    @property
    def ml(self) -> int:
        """Version of ai.onnx.ml."""
        return self.versions[1][1]

    @property
    def ir_version(self) -> int:
        """IR version that the first onnx release with this main opset wrote, at least 8 (local functions)."""
        return max(8, _ir_version(self.main))


def ceiling() -> int:
    """Return the newest ai.onnx version that both the installed onnx and onnxruntime 1.32 know."""
    return min(onnx.defs.onnx_opset_version(), NEWEST_RUN)


def _check(domain: str, version: int, lowest: int, highest: int) -> None:
    if not lowest <= version <= highest:
        raise OpsetNotSupported(
            f"opset {version} of {domain} is not supported",
            needs=f"{lowest} ≤ opset ≤ {highest}",
            remedy=f"target_opset={min(max(version, lowest), highest)}",
        )


@functools.cache
def _ir_version(main: int) -> int:
    return min((row[1] for row in onnx.helper.VERSION_TABLE if row[2] >= main), default=int(onnx.IR_VERSION))


@functools.cache
def _ml_version(main: int) -> int:
    return min((row[3] for row in onnx.helper.VERSION_TABLE if row[2] >= main), default=NEWEST_ML_RUN)
