"""Options that several commands share: which model to load, and how far to trust its file."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from any2onnx.cli.console import applied
from any2onnx.errors import UntrustedFile, UsageError

_OPTIONS = (
    click.option(
        "--framework",
        type=click.Choice(["sklearn", "keras", "pytorch"]),
        help="What the file must hold; its content says it otherwise.",
    ),
    click.option("--factory", metavar="MODULE:FUNCTION", help="Function that builds the model for a file of weights."),
    click.option(
        "--trust",
        metavar="sha256:HEX|ask",
        help="Allow exactly this file to run code, or ask on the terminal after showing what it would import.",
    ),
    click.option(
        "--trust-type", multiple=True, metavar="TYPE", help="Allow this type in a .skops or .keras file (repeatable)."
    ),
)


def loading_options(function: Any) -> Any:
    """Add the options to a command."""
    return applied(_OPTIONS, function)


def load_model(
    path: Path, *, framework: str | None, factory: str | None, trust: str | None, trust_types: tuple[str, ...]
) -> Any:
    """Load the model of a command.

    Raises:
        UsageError: ``--trust`` has another form, or asks where there is no terminal.
        UntrustedFile: The trust does not suffice.
    """
    from any2onnx.io.load import load
    from any2onnx.io.trust import Trust

    chosen = Trust.types(trust_types) if trust_types else None
    if trust is not None and trust != "ask":
        if not trust.lower().startswith("sha256:"):
            raise UsageError(f"--trust {trust!r} is not known", needs="sha256:HEX or ask")
        digest = Trust.sha256(trust).digest
        chosen = Trust(digest=digest, type_names=frozenset(trust_types))
    try:
        return load(path, trust=chosen, factory=factory, framework=framework)
    except UntrustedFile as error:
        if trust != "ask":
            raise
        pinned = _ask(path, error)
    return load(
        path, trust=Trust(digest=pinned, type_names=frozenset(trust_types)), factory=factory, framework=framework
    )


def _ask(path: Path, error: UntrustedFile) -> str:
    """Show why the file was refused and ask; return the SHA-256 of the file that was shown."""
    from any2onnx.cli.main import show_error
    from any2onnx.io.trust import digest_of

    with path.open("rb") as stream:
        digest = digest_of(stream)
    if not sys.stdin.isatty():
        raise UsageError(
            "--trust ask needs a terminal", where=str(path), remedy=f"--trust sha256:{digest}, if the file is yours"
        ) from error
    show_error(error)
    if not click.confirm("Load it all the same?", default=False, err=True):
        raise error
    return digest
