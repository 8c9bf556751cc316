"""`any2onnx verify`: are the files of a converted model those that its manifest describes?"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import click

from any2onnx.cli.supervision import supervised

_PATH = click.Path(path_type=Path)


@click.command(
    epilog="""\b
Examples:
  any2onnx verify model.onnx
  any2onnx verify model.onnx --source model.skops
  any2onnx verify model.onnx.manifest.json --json

\b
Exit codes: 0 every file is the one, 3 a file differs or is absent, or the manifest is damaged, 6 no manifest.
"""
)
@click.argument("onnx_model", metavar="ONNX", type=_PATH)
@click.option("--source", type=_PATH, help="Check also the file that was converted.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@supervised()
def verify(onnx_model: Path, source: Path | None, as_json: bool) -> None:
    """Check ONNX and its data files against the manifest that `any2onnx convert --manifest` wrote beside it.

    Sizes and SHA-256 must agree, and the model must read no data file that the manifest does not name.
    """
    from any2onnx.io.manifest import require
    from any2onnx.io.manifest import verify as check

    manifest, checked = check(onnx_model, source=source)
    if as_json:
        found = {
            "verified": not any(item.problem for item in checked),
            "files": [{**dataclasses.asdict(item.record), "problem": item.problem} for item in checked],
            "source": dataclasses.asdict(manifest.source),
            "versions": dict(manifest.versions),
            "parity": dict(manifest.parity),
        }
        click.echo(json.dumps(found, indent=2, sort_keys=True))
    else:
        _print(manifest, checked)
    require(checked, str(onnx_model))


def _print(manifest: object, checked: tuple[object, ...]) -> None:
    from any2onnx.cli.console import console, plain, size, table
    from any2onnx.io.manifest import Checked, Manifest

    assert isinstance(manifest, Manifest)
    output = console()
    rows: list[list[object]] = [
        [item.record.file, size(item.record.bytes), item.record.sha256[:16], item.problem or "verified"]
        for item in checked
        if isinstance(item, Checked)
    ]
    output.print(table("", ["file", "size", "SHA-256", ""], rows, right=(1,)))
    source = manifest.source
    output.print(
        f"converted from {plain(source.file)} ({size(source.bytes)}, SHA-256 {source.sha256[:16]}…)", markup=False
    )
    parity = manifest.parity
    told = f"parity {parity.get('verdict')} ({parity.get('suites')})" if parity.get("checked") else "parity not checked"
    output.print(plain(told), markup=False)
