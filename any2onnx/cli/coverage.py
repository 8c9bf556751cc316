"""`any2onnx coverage`: which operators of a framework can be converted."""

from __future__ import annotations

from pathlib import Path

import click

from any2onnx.errors import FileAccessError, UsageError

_FRAMEWORKS = ("sklearn", "keras", "pytorch")
_STALE = 1


@click.command(
    epilog="""\b
Examples:
  any2onnx coverage sklearn
  any2onnx coverage keras --write docs/coverage_keras.md
  any2onnx coverage keras --check docs/coverage_keras.md
  any2onnx coverage pytorch --op-db float32 --only 'linalg.*'
"""
)
@click.argument("framework", type=click.Choice(_FRAMEWORKS), required=False)
@click.option("--write", "write_path", type=click.Path(path_type=Path), help="Write the table as Markdown.")
@click.option("--check", "check_path", type=click.Path(path_type=Path), help="Exit with 1 when this file is stale.")
@click.option("--missing", is_flag=True, help="Show only what cannot be converted.")
@click.option("--op-db", metavar="DTYPE", help="PyTorch: trace torch's operator database in an element type instead.")
@click.option("--only", default=".*", metavar="REGEX", help="With --op-db: the entries to look at.")
def coverage(
    framework: str | None,
    write_path: Path | None,
    check_path: Path | None,
    missing: bool,
    op_db: str | None,
    only: str,
) -> None:
    """Show every operator of FRAMEWORK (all three when left out) and whether it can be converted."""
    if op_db is not None:
        if framework != "pytorch" or write_path is not None or check_path is not None:
            raise UsageError(
                "--op-db is for pytorch, shown on screen", remedy="any2onnx coverage pytorch --op-db float32"
            )
        _operator_database(op_db, only, missing)
        return
    if write_path is not None or check_path is not None:
        if framework is None:
            raise UsageError("--write and --check are for one framework", remedy="any2onnx coverage sklearn --write …")
        _write_or_check(framework, write_path, check_path)
        return
    from any2onnx.cli.console import console, table
    from any2onnx.operator_mappings import coverage as tables

    output = console()
    for name in [framework] if framework else _FRAMEWORKS:
        rows = tables.coverage(name)
        shown = [row for row in rows if not (missing and row.status in ("supported", "decomposed"))]
        cells: list[list[object]] = [[row.name, row.status, row.opset, row.methods, row.note] for row in shown]
        output.print(table(name, ["operator", "status", "opset", "methods", "note"], cells))
        counts = ", ".join(
            f"{count} {status}"
            for status in tables.STATUSES
            if (count := sum(row.status == status for row in rows)) or status != "decomposed"
        )
        output.print(f"{name}: {counts}", markup=False)
        others = tables.third_party() if name == "sklearn" else []
        if others and not missing:
            cells = [[row.name, row.status, row.opset, row.methods, row.note] for row in others]
            output.print(
                table("estimators of other libraries", ["operator", "status", "opset", "methods", "note"], cells)
            )


def _operator_database(dtype: str, only: str, missing: bool) -> None:
    from any2onnx.cli.console import console, table
    from any2onnx.operator_database import operator_database_coverage

    output = console()
    rows = list(operator_database_coverage(dtype, only=only))
    cells: list[list[object]] = [[r.name, r.status, r.note] for r in rows if not (missing and r.status == "supported")]
    output.print(table(f"torch's operator database, {dtype}", ["entry", "status", "note"], cells))
    supported = sum(row.status == "supported" for row in rows)
    output.print(f"{supported} of {len(rows)} exportable entries convert", markup=False)


def _write_or_check(framework: str, write_path: Path | None, check_path: Path | None) -> None:
    from any2onnx.io.atomic import file_errors, write_text
    from any2onnx.operator_mappings import coverage as tables

    text = tables.coverage_markdown(framework)
    if write_path is not None:
        write_text(write_path, text)
        click.echo(f"wrote {write_path}")
    if check_path is None:
        return
    if not check_path.is_file():
        raise FileAccessError("cannot read the file: no such file", where=str(check_path))
    with file_errors(check_path, "read"):
        current = check_path.read_text(encoding="utf-8")
    if current != text:
        click.echo(f"{check_path} is stale: any2onnx coverage {framework} --write {check_path}", err=True)
        raise click.exceptions.Exit(_STALE)
    click.echo(f"{check_path} is up to date")
