"""`any2onnx inspect`: what a file holds. It never runs or imports anything that the file names."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from any2onnx.cli.supervision import supervised


@click.command(
    epilog="""\b
Examples:
  any2onnx inspect model.onnx
  any2onnx inspect model.skops
  any2onnx inspect unknown.pkl --json
"""
)
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@supervised(seconds=60)
def inspect(file: Path, as_json: bool) -> None:
    """Show what FILE holds: operators, inputs and outputs of an ONNX model; types and needs of the others.

    Nothing in the file is executed, and no code that it names is imported.
    """
    from any2onnx.io.listing import describe

    found = describe(file)
    if as_json:
        click.echo(json.dumps(found, indent=2, sort_keys=True))
        return
    _print(found)


def _print(found: dict[str, Any]) -> None:
    from any2onnx.cli.console import console, plain, size, table

    output = console()
    output.print(f"{plain(found['file'])}: {found['kind']}, {size(found['bytes'])}", markup=False)
    output.print(f"SHA-256 {found['sha256']}", markup=False)
    for key, value in found.items():
        if key in {"file", "kind", "bytes", "sha256"}:
            continue
        if isinstance(value, list) and value and isinstance(value[0], dict):
            columns = list(value[0])
            output.print(table(key, columns, [[row[column] for column in columns] for row in value]))
        elif isinstance(value, dict):
            output.print(table(key, ["", ""], [[name, item] for name, item in value.items()]))
        elif isinstance(value, list):
            output.print(
                f"{key}: {plain(', '.join(map(str, value))) if value else 'none'}", markup=False, soft_wrap=True
            )
        else:
            output.print(f"{key}: {plain(value)}", markup=False, soft_wrap=True)
