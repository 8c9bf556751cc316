"""`any2onnx parity`: does the ONNX file answer what the model answers?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from any2onnx.cli.loading import load_model, loading_options
from any2onnx.errors import Any2OnnxError

_PATH = click.Path(path_type=Path)
_FAILED, _INCONCLUSIVE = 1, 5


@click.command(
    epilog="""\b
Examples:
  any2onnx parity model.skops model.onnx
  any2onnx parity model.skops model.onnx --data rows.csv --md report.md
  any2onnx parity model.keras model.onnx --suite typical --suite shape --json report.json
  any2onnx parity old.pkl model.onnx --trust sha256:2c26…

\b
Exit codes: 0 all comparisons passed, 1 one failed, 5 none failed and some could not be decided.
"""
)
@click.argument("model", type=_PATH)
@click.argument("onnx_model", metavar="ONNX", type=_PATH)
@click.option("--data", type=_PATH, help="Rows to compare on: .csv, .parquet, .npy or .npz.")
@click.option(
    "--suite", "suites", multiple=True, help="data, typical, boundary, special, shape, or smoke (repeatable)."
)
@click.option("--seed", type=int, default=0, show_default=True, help="Changes the generated inputs.")
@click.option("--json", "json_path", type=_PATH, help="Write the report as JSON.")
@click.option("--md", "markdown_path", type=_PATH, help="Write the report as Markdown.")
@click.option("--output-method", "output_methods", multiple=True, help="scikit-learn: method behind each output.")
@click.option(
    "--fail-on",
    type=click.Choice(["failed", "inconclusive", "never"]),
    default="inconclusive",
    show_default=True,
    help="What gives an exit code other than 0: failures only, also what is undecided, or nothing.",
)
@loading_options
def parity(
    model: Path,
    onnx_model: Path,
    data: Path | None,
    suites: tuple[str, ...],
    seed: int,
    json_path: Path | None,
    markdown_path: Path | None,
    output_methods: tuple[str, ...],
    fail_on: str,
    framework: str | None,
    factory: str | None,
    trust: str | None,
    trust_type: tuple[str, ...],
) -> None:
    """Compare the model in the file MODEL with the file ONNX, whoever made it, in onnxruntime.

    The last line counts: N passed, N failed, N skipped.
    """
    from any2onnx import api
    from any2onnx.cli.console import console, stages
    from any2onnx.cli.inputs import read_data
    from any2onnx.io.load_onnx import load_onnx

    with stages(2, quiet=trust == "ask") as progress:
        progress.begin("load")
        rows = None if data is None else read_data(data)
        source = load_model(model, framework=framework, factory=factory, trust=trust, trust_types=trust_type)
        # onnxruntime never gets the path: it would follow hard links in external data.
        converted = load_onnx(onnx_model)
        progress.begin("compare")
        report = api.check_parity(
            source,
            converted,
            _rows(source, rows),
            suites=_suites(suites),
            seed=seed,
            outputs=list(output_methods) or None,
        )
    if json_path is not None:
        _write(json_path, report.to_json() + "\n")
    if markdown_path is not None:
        _write(markdown_path, report.to_markdown() + "\n")
    output = console()
    output.print(report)
    if report.last_line not in str(report).rstrip().splitlines()[-1:]:
        output.print(report.last_line, markup=False)
    code = _exit_code(report, fail_on)
    if code:
        raise click.exceptions.Exit(code)


def _suites(names: tuple[str, ...]) -> str | list[str]:
    if not names:
        return "default"
    return names[0] if len(names) == 1 else list(names)


def _rows(source: Any, rows: Any) -> Any:
    from any2onnx.cli.calls import arrays_of
    from any2onnx.cli.inputs import rows_for_sklearn

    if rows is None:
        return None
    return rows_for_sklearn(source, rows) if api_framework(source) == "sklearn" else arrays_of(rows)


def api_framework(source: Any) -> str:
    """Return the framework of a loaded model."""
    from any2onnx.api import framework_of

    return framework_of(source)


def _exit_code(report: Any, fail_on: str) -> int:
    if report.passed or fail_on == "never":
        return 0
    try:
        report.raise_if_failed()
    except Any2OnnxError as error:
        if error.exit_code == _INCONCLUSIVE and fail_on == "failed":
            return 0
        return error.exit_code
    return _FAILED


def _write(path: Path, text: str) -> None:
    from any2onnx.io.atomic import write_text

    write_text(path, text)
