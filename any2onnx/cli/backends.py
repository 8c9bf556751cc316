"""`any2onnx backends`: execution providers of onnxruntime, and where the nodes of a model would run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from any2onnx.cli.supervision import supervised


@click.command(
    epilog="""\b
Examples:
  any2onnx backends
  any2onnx backends model.onnx
  any2onnx backends model.onnx --provider CUDAExecutionProvider --json
"""
)
@click.argument("onnx_model", metavar="[ONNX]", type=click.Path(path_type=Path), required=False)
@click.option("--provider", "providers", multiple=True, help="Only this provider (repeatable).")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@supervised(seconds=300)
def backends(onnx_model: Path | None, providers: tuple[str, ...], as_json: bool) -> None:
    """Show which execution providers are installed and, for a model, which nodes each would run.

    What a provider has no kernel for falls back to the CPU. Nothing of the model is run.
    """
    import onnxruntime

    from any2onnx.parity.providers import discover, placement, resolved

    known = discover()
    chosen = list(providers) or [provider.name for provider in known if provider.installed]
    resolved(chosen)
    places: list[Any] = []
    if onnx_model is not None:
        from any2onnx.io.load_onnx import load_onnx
        from any2onnx.parity.runtime import read_onnx

        # onnxruntime never gets the path: it would follow hard links in external data.
        loaded = read_onnx(load_onnx(onnx_model))
        places = [placement(loaded, name) for name in chosen]
    if as_json:
        import dataclasses

        found = {
            "onnxruntime": onnxruntime.__version__,
            "providers": [dataclasses.asdict(provider) for provider in known],
            "placements": [dataclasses.asdict(place) for place in places],
        }
        click.echo(json.dumps(found, indent=2))
        return
    _print(onnxruntime.__version__, known, places, onnx_model)


def _print(version: str, known: list[Any], places: list[Any], onnx_model: Path | None) -> None:
    from any2onnx.cli.console import console, plain, table
    from any2onnx.parity.providers import PACKAGES

    output = console()
    rows: list[list[object]] = []
    for provider in known:
        if not provider.installed and provider.name not in PACKAGES:
            continue
        state = "installed" if provider.installed else f"pip install {PACKAGES[provider.name]}"
        options = ", ".join(f"{key}={value}" for key, value in provider.options)
        rows.append([provider.name, state, provider.kernels or "", ", ".join(provider.devices), options])
    columns = ["provider", "", "operators with kernels", "devices", "set by parity checks"]
    output.print(table(f"onnxruntime {version}", columns, rows, right=(2,)))
    for place in places:
        title = f"{plain(onnx_model.name if onnx_model else '')} on {place.provider}"
        if place.problem:
            output.print(f"{title}: {place.problem}", markup=False)
            continue
        own, other = place.count(own=True), place.count(own=False)
        cells: list[list[object]] = [[owner, operator, number] for owner, operator, number in place.nodes]
        output.print(table(title, ["runs on", "operator", "nodes"], cells, right=(2,)))
        output.print(f"{place.provider}: {own} node(s) run, {other} fall back", markup=False)
