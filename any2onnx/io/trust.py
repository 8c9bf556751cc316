"""How much the caller trusts a file.

Trust is never a bare "yes" by default: it names one exact file (its SHA-256) or the types that may be built from it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import BinaryIO

from any2onnx.errors import UntrustedFile, UsageError

_HEX_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Trust:
    """What a file may do when it is loaded. Make one with `Trust.sha256`, `Trust.types` or `Trust.all`.

    Attributes:
        digest: SHA-256 of the only file that is trusted, 64 lower-case hexadecimal digits, or None.
        type_names: Full names of types that may be built besides those that are safe anyway.
        everything: Any code in the file may run.
    """

    digest: str | None = None
    type_names: frozenset[str] = frozenset()
    everything: bool = False

    @classmethod
    def sha256(cls, digest: str) -> Trust:
        """Trust the one file with this SHA-256, wholly: code in it may run.

        Args:
            digest: 64 hexadecimal digits; a leading ``sha256:`` is accepted.

        Raises:
            UsageError: ``digest`` is not a SHA-256.
        """
        cleaned = digest.strip().lower().removeprefix("sha256:")
        if not _HEX_DIGEST.fullmatch(cleaned):
            raise UsageError(
                f"{digest!r} is not a SHA-256 digest",
                needs="64 hexadecimal digits",
                remedy="take it from `sha256sum FILE` or from the message that refused the file",
            )
        return cls(digest=cleaned)

    @classmethod
    def types(cls, names: Iterable[str]) -> Trust:
        """Trust these types (full dotted names, or ``package>Name`` for Keras), and nothing else.

        Raises:
            UsageError: ``names`` is one string instead of a list, or holds something that is no string.
        """
        if isinstance(names, str):
            raise UsageError(
                f"Trust.types takes a list of names, got the string {names!r}", remedy=f"Trust.types([{names!r}])"
            )
        collected = list(names)
        for name in collected:
            if not isinstance(name, str) or not name:
                raise UsageError(f"Trust.types takes full names of types as strings, got {name!r}")
        return cls(type_names=frozenset(collected))

    @classmethod
    def all(cls) -> Trust:
        """Trust the file wholly, whatever it holds. Only for files that you made yourself."""
        return cls(everything=True)

    def allows_code(self, digest: str) -> bool:
        """Return whether a file with SHA-256 ``digest`` may run code."""
        return self.everything or (self.digest is not None and self.digest == digest)

    def check_digest(self, digest: str, where: str) -> None:
        """Refuse a file that is not the pinned one.

        Args:
            digest: SHA-256 of the file at hand.
            where: The file, for the message.

        Raises:
            UntrustedFile: A digest is pinned and differs.
        """
        if self.digest is not None and self.digest != digest:
            raise UntrustedFile(
                "the file is not the one that the trust pins",
                where=where,
                needs=f"SHA-256 {self.digest}, the file has {digest}",
                remedy="check where the file comes from; if the change is meant, pin the new digest",
            )


NO_TRUST = Trust()


def digest_of(stream: BinaryIO) -> str:
    """Return the SHA-256 of an open file, as 64 hexadecimal digits; the position is put back to the start."""
    stream.seek(0)
    digest = hashlib.sha256()
    while block := stream.read(1 << 20):
        digest.update(block)
    stream.seek(0)
    return digest.hexdigest()
