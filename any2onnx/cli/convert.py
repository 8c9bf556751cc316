"""`any2onnx convert`: a saved model to an ONNX file, checked, with a table of what became of it."""

from __future__ import annotations

import contextlib
import secrets
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from any2onnx.cli.console import applied
from any2onnx.cli.loading import load_model, loading_options
from any2onnx.cli.supervision import supervised
from any2onnx.errors import MalformedFile, UsageError

_PATH = click.Path(path_type=Path)
_CONVERT = (
    click.option("-o", "--output", type=_PATH, required=True, help="The .onnx file to write."),
    click.option("--opset", type=int, help="Version of ai.onnx; a modest default otherwise."),
    click.option(
        "--input",
        "inputs",
        multiple=True,
        metavar="NAME:DTYPE[AXIS,…]",
        help="An input. An axis is a number, a name, name=example size, or ?.",
    ),
    click.option("--sample", type=_PATH, help="Rows that show names and types: .csv, .parquet, .npy or .npz."),
    click.option("--option", "options", multiple=True, metavar="[STEP__]KEY=VALUE", help="Conversion option."),
    click.option(
        "--output-method", "output_methods", multiple=True, help="scikit-learn: method behind an output (repeatable)."
    ),
)
_FILE = (
    click.option(
        "--external-data/--no-external-data", default=None, help="Weights in a file beside; by size if unset."
    ),
    click.option("--strip", is_flag=True, help="Leave out where each node comes from."),
    click.option("--force", is_flag=True, help="Replace the output file if it exists."),
    click.option(
        "--parity",
        type=click.Choice(["smoke", "full", "off"]),
        default="smoke",
        show_default=True,
        help="Compare with onnxruntime before writing.",
    ),
    click.option(
        "--manifest",
        is_flag=True,
        help="Write OUTPUT.manifest.json too: SHA-256 of source and outputs, versions, verdict (see verify).",
    ),
    click.option("--gen-script", is_flag=True, help="Only print the Python code that does the same."),
)
_METADATA = (
    click.option("--name", help="Name of the graph."),
    click.option("--doc-string", help="Text of the model."),
    click.option("--model-version", type=int, help="Version of the model itself."),
    click.option("--domain", help="Reverse-DNS name of the model's owner."),
    click.option("--metadata", multiple=True, metavar="KEY=VALUE", help="A metadata entry (repeatable)."),
)


@dataclass(frozen=True)
class Request:
    """The arguments of one call, as the options are named."""

    model: Path
    output: Path
    opset: int | None
    inputs: tuple[str, ...]
    sample: Path | None
    options: tuple[str, ...]
    output_methods: tuple[str, ...]
    external_data: bool | None
    strip: bool
    force: bool
    parity: str
    manifest: bool
    gen_script: bool
    name: str | None
    doc_string: str | None
    model_version: int | None
    domain: str | None
    metadata: tuple[str, ...]
    framework: str | None
    factory: str | None
    trust: str | None
    trust_type: tuple[str, ...]


def _options(function: Any) -> Any:
    return applied((*_CONVERT, *_FILE, *_METADATA), loading_options(function))


@click.command(
    epilog="""\b
Examples:
  any2onnx convert model.skops -o model.onnx --sample rows.csv
  any2onnx convert model.skops -o model.onnx --input x:float32[batch,4] --option zipmap=true
  any2onnx convert model.keras -o model.onnx --opset 18 --parity full
  any2onnx convert weights.safetensors --factory my.nets:build -o net.onnx \\
      --input x:float32[batch,3,224,224]
  any2onnx convert model.skops -o model.onnx --sample rows.csv --manifest
  any2onnx convert old.pkl --trust sha256:2c26… -o model.onnx
"""
)
@click.argument("model", type=_PATH)
@_options
@supervised()
def convert(**arguments: Any) -> None:
    """Convert the model in the file MODEL to ONNX, compare the two, and write it.

    Nothing is written when the comparison fails (exit code 1).
    """
    request = Request(**arguments)
    if request.gen_script:
        from any2onnx.cli.script import script_for

        click.echo(script_for(request), nl=False)
        return
    run(request)


def run(request: Request) -> None:
    """Load, convert, compare, write, and print the table.

    Raises:
        Any2OnnxError: Whatever goes wrong; nothing is written then.
    """
    from any2onnx import api
    from any2onnx.cli.calls import call_for
    from any2onnx.cli.console import stages
    from any2onnx.cli.inputs import parse_inputs, parse_pairs, read_data
    from any2onnx.cli.summaries import weight_bytes
    from any2onnx.io.atomic import check_target
    from any2onnx.io.limits import EXTERNAL_DATA_LIMIT
    from any2onnx.io.manifest import record_of, write_manifest
    from any2onnx.io.save import adopt, save_model, saved_files

    specs = parse_inputs(request.inputs)
    parse_pairs(request.options, "--option", typed=True)
    parse_pairs(request.metadata, "--metadata", typed=False)
    if specs and request.sample is not None:
        raise UsageError("--input and --sample say the same", remedy="give one of them")
    check_target(request.output, overwrite=request.force)
    # A question on the terminal and a moving bar do not go together.
    with stages(4, quiet=request.trust == "ask") as progress, contextlib.ExitStack() as stack:
        progress.begin("load")
        sample = None if request.sample is None else read_data(request.sample)
        loaded = record_of(request.model) if request.manifest else None
        source = load_model(
            request.model,
            framework=request.framework,
            factory=request.factory,
            trust=request.trust,
            trust_types=request.trust_type,
        )
        progress.begin("convert")
        # A model that no single message can hold is written while it is converted: aside, until it is checked.
        streamed: Path | None = None
        if weight_bytes(source) > EXTERNAL_DATA_LIMIT:
            streamed = stack.enter_context(_scratch(request.output)) / request.output.name
        call = call_for(request, source, specs, sample)
        more = {} if streamed is None else {"output_path": streamed}
        proto = getattr(api, call.function)(source, *call.positional, **call.arguments, **more)
        progress.begin("check")
        verdict, parity = _checked(request, source, proto if streamed is None else streamed, call.data)
        progress.begin("write")
        if streamed is not None:
            adopt(streamed, request.output, overwrite=request.force)
        else:
            save_model(
                proto,
                request.output,
                external_data=request.external_data,
                overwrite=request.force,
                progress=progress.part,
            )
        if loaded is not None:
            if record_of(request.model) != loaded:
                raise MalformedFile("the file changed while it was converted", where=str(request.model))
            write_manifest(request.output, loaded, parity)
    _report(request, source, proto, saved_files(request.output).nbytes, verdict)


@contextlib.contextmanager
def _scratch(output: Path) -> Iterator[Path]:
    """Give a folder beside the output, on the same disk; it vanishes at the end."""
    folder = output.parent / f".{output.name}.{secrets.token_hex(8)}"
    folder.mkdir(mode=0o700)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _checked(request: Request, source: Any, converted: Any, data: Any) -> tuple[str, dict[str, Any]]:
    """Compare, and note the result in the model (unless it is a path); return the line to print, and plain values.

    Raises:
        ParityError: The model does not answer what the original answers; the report was printed.
    """
    import importlib.util
    import json

    if request.parity == "off":
        return "parity not checked (--parity off)", {"checked": False, "reason": "--parity off"}
    if importlib.util.find_spec("onnxruntime") is None:
        reason = "onnxruntime is not installed"
        return f"parity not checked: {reason} (pip install 'any2onnx[parity]')", {"checked": False, "reason": reason}
    from any2onnx import api
    from any2onnx.cli.calls import smoke_rows
    from any2onnx.cli.console import console
    from any2onnx.io.metadata import set_metadata

    suites: Any = "default" if request.parity == "full" else ("data", "typical", "shape")
    rows = data if request.parity == "full" else smoke_rows(data)
    outputs = request.output_methods or None
    report = api.check_parity(source, converted, rows, suites=suites, outputs=outputs)
    if not report.passed:
        console().print(report)
        report.raise_if_failed()
    result = {"verdict": str(report.verdict), "suites": request.parity, "budget_used": round(report.budget_used, 3)}
    if not isinstance(converted, Path):
        set_metadata(converted, metadata_props={"any2onnx.parity": json.dumps(result, sort_keys=True)})
    line = f"parity {report.verdict} ({request.parity}): {report.last_line}"
    return line, {"checked": True, **result, "passed": report.count("passed"), "seed": report.seed}


def _report(request: Request, source: Any, proto: Any, nbytes: int, verdict: str) -> None:
    from any2onnx.cli.console import console, plain, size, table
    from any2onnx.cli.summaries import onnx_summary, source_summary
    from any2onnx.io.manifest import manifest_path

    before, after = source_summary(source), onnx_summary(proto)
    rows: list[list[object]] = []
    for index in range(max(len(before.steps), len(after.steps))):
        left = before.steps[index] if index < len(before.steps) else ("", "")
        right = after.steps[index] if index < len(after.steps) else ("", "")
        rows.append([*left, *right])
    rows.append(["total", before.total, "total", after.total])
    rows.append(["parameters", f"{before.parameters:,}", "initializer elements", f"{after.parameters:,}"])
    rows.append(["file", size(request.model.stat().st_size), "file", size(nbytes)])
    output = console()
    title = f"{request.model.name} → {request.output.name}   {after.note}"
    output.print(table(title, [before.kind, "count", "ONNX operator", "count"], rows, right=(1, 3)))
    output.print(plain(verdict), markup=False)
    output.print(f"wrote {plain(request.output)}", markup=False)
    if request.manifest:
        output.print(f"wrote {plain(manifest_path(request.output))}", markup=False)
