"""`any2onnx parity`: does the ONNX file answer what the model answers?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from any2onnx.cli.console import applied
from any2onnx.cli.loading import load_model, loading_options
from any2onnx.cli.supervision import supervised
from any2onnx.cli.verdicts import FAIL_ON, Outputs, conclude
from any2onnx.errors import UsageError, WorkerCrashed

_PATH = click.Path(path_type=Path)
_ROWS = (
    click.option("--data", type=_PATH, help="Rows to compare on: .csv, .parquet, .npy or .npz."),
    click.option(
        "--stream",
        is_flag=True,
        help="Read the data in chunks and compare every row, in constant memory; the other suites are left out.",
    ),
    click.option(
        "--suite", "suites", multiple=True, help="data, typical, boundary, special, shape, …, or smoke (repeatable)."
    ),
    click.option("--seed", type=int, default=0, show_default=True, help="Changes the generated inputs."),
    click.option("--output-method", "output_methods", multiple=True, help="scikit-learn: method behind each output."),
    click.option("--provider", "providers", multiple=True, help="Execution provider of onnxruntime (repeatable)."),
    click.option("--time-limit", type=click.FloatRange(min=0), help="Seconds after which no new case is begun."),
)
_DEEPER = (
    click.option("--localise", is_flag=True, help="Find the first node that goes wrong, where an output fails."),
    click.option("--prove-trees", is_flag=True, help="Prove from the file that trees decide as the original's."),
    click.option("--search", type=click.FloatRange(min=0), help="Seconds to search for worse rows than those drawn."),
    click.option("--artefacts", type=_PATH, help="Folder for what reproduces a failure, and for the worst rows."),
    click.option("--save-arrays", type=_PATH, help="Folder for all compared arrays."),
)
_REPORTS = (
    click.option("--html", "html_path", type=_PATH, help="Write the report as one self-contained page."),
    click.option("--json", "json_path", type=_PATH, help="Write the report as JSON."),
    click.option("--junit", "junit_path", type=_PATH, help="Write the report as JUnit XML."),
    click.option("--md", "markdown_path", type=_PATH, help="Write the report as Markdown; - prints it instead."),
    click.option("--baseline", type=_PATH, help="Fail on a worse verdict, or on drift, against this parity.lock."),
    click.option("--update-baseline", is_flag=True, help="Write what was found to the baseline instead."),
    click.option("--name", help="Name of the model in the baseline; the ONNX file's name by default."),
    click.option(
        "--fail-on",
        type=click.Choice(list(FAIL_ON)),
        default="inconclusive",
        show_default=True,
        help="From which verdict on the exit code is not 0; drift: only what the baseline says counts.",
    ),
)
_REGISTRY = (
    click.option(
        "--registry",
        type=click.Choice(["sklearn", "keras", "torch", "all"]),
        help="Compare a model of every registered estimator, layer or operator instead.",
    ),
    click.option("--self-test", is_flag=True, help="Let the harness judge broken and ill-conditioned models instead."),
    click.option("-k", "pattern", default="", help="With these two: only cases whose id contains this."),
    click.option("-n", "workers", type=click.IntRange(1), default=1, help="With --registry: processes."),
)


def _outputs(arguments: dict[str, Any]) -> Outputs:
    return Outputs(
        html=arguments["html_path"],
        json=arguments["json_path"],
        junit=arguments["junit_path"],
        markdown=arguments["markdown_path"],
        baseline=arguments["baseline"],
        update_baseline=arguments["update_baseline"],
        fail_on=arguments["fail_on"],
    )


def _keep_crash(error: WorkerCrashed, arguments: dict[str, Any]) -> None:
    """Write the reports that were asked for, with what is left to say: CI shows them instead of an absent file."""
    from any2onnx.cli.verdicts import write

    onnx_model: Path = arguments["onnx_model"]
    name = arguments["name"] or onnx_model.stem
    write([(name, crash_report(str(arguments["model"]), str(onnx_model), error))], _outputs(arguments), single=True)


def crash_report(model: str, onnx_model: str, error: WorkerCrashed) -> Any:
    """Return a report of one mismatch: the process that ran the files was ended by a signal."""
    import math

    from any2onnx.parity import OutputResult, ParityReport, Verdict

    note = f"{error.summary}; {error.where or ''}".rstrip("; ")
    result = OutputResult("", "", "process", "run", Verdict.MISMATCH, budget_used=math.inf, note=note)
    return ParityReport(
        framework="unknown",
        model=model,
        producer="",
        opsets=(),
        versions=(),
        inputs=onnx_model,
        suites=("process",),
        seed=0,
        results=(result,),
        state="crashed",
    )


def _options(function: Any) -> Any:
    return applied((*_ROWS, *_DEEPER, *_REPORTS, *_REGISTRY), loading_options(function))


@click.command(
    epilog="""\b
Examples:
  any2onnx parity model.skops model.onnx
  any2onnx parity model.skops model.onnx --data rows.csv --html report.html
  any2onnx parity model.keras model.onnx --suite typical --suite shape --json report.json
  any2onnx parity model.skops model.onnx --data big.parquet --stream
  any2onnx parity model.skops model.onnx --baseline parity.lock --junit parity.xml
  any2onnx parity old.pkl model.onnx --trust sha256:2c26…
  any2onnx parity --registry sklearn -k Scaler -n 2

\b
Exit codes: 0 all comparisons passed, 1 one failed or is worse than the baseline, 2 wrong usage, 3 a file was
refused, 4 an operator is not supported, 5 none failed and some could not be decided, 6 a file cannot be read or
written, 70 internal error.
"""
)
@click.argument("model", type=_PATH, required=False)
@click.argument("onnx_model", metavar="ONNX", type=_PATH, required=False)
@_options
@supervised(on_crash=_keep_crash)
def parity(model: Path | None, onnx_model: Path | None, **arguments: Any) -> None:
    """Compare the model in the file MODEL with the file ONNX, whoever made it, in onnxruntime.

    The last line counts: N passed, N failed, N skipped.
    """
    outputs = _outputs(arguments)
    outputs.check()
    if arguments["self_test"]:
        from any2onnx.parity.self_test.__main__ import main as self_test

        code = self_test(["--only", arguments["pattern"]] if arguments["pattern"] else [])
    elif arguments["registry"] is not None:
        from any2onnx.cli.registry_parity import run_registry

        if model is not None:
            raise UsageError("--registry builds its models itself", remedy="leave MODEL and ONNX out")
        code = run_registry(
            None if arguments["registry"] == "all" else arguments["registry"],
            arguments["pattern"],
            arguments["workers"],
            {"seed": arguments["seed"], **({"suites": list(arguments["suites"])} if arguments["suites"] else {})},
            outputs,
        )
    elif model is None or onnx_model is None:
        raise UsageError("MODEL and ONNX are needed", remedy="any2onnx parity model.skops model.onnx")
    else:
        name = arguments["name"] or onnx_model.stem
        try:
            report = _report(model, onnx_model, arguments)
        except KeyboardInterrupt as stop:
            kept = getattr(stop, "report", None)
            if kept is not None:
                conclude([(name, kept)], outputs.stopped())
            raise
        code = conclude([(name, report)], outputs)
    if code:
        raise click.exceptions.Exit(code)


def _report(model: Path, onnx_model: Path, arguments: dict[str, Any]) -> Any:
    """Load both files and compare them."""
    from any2onnx.cli.console import stages
    from any2onnx.cli.inputs import read_data
    from any2onnx.io.load_onnx import load_onnx

    data, stream = arguments["data"], arguments["stream"]
    if stream and data is None:
        raise UsageError("--stream needs --data", remedy="--data rows.parquet --stream")
    with stages(2, quiet=arguments["trust"] == "ask" or stream) as progress:
        progress.begin("load")
        rows = None if data is None or stream else read_data(data)
        source = load_model(
            model,
            framework=arguments["framework"],
            factory=arguments["factory"],
            trust=arguments["trust"],
            trust_types=arguments["trust_type"],
        )
        # onnxruntime never gets the path: it would follow hard links in external data.
        converted = load_onnx(onnx_model)
        progress.begin("compare")
        if stream:
            return _streamed(source, converted, data, arguments)
        from any2onnx import api

        return api.check_parity(
            source,
            converted,
            _rows(source, rows),
            suites=_suites(arguments["suites"], "default"),
            **_common(arguments),
            **_deeper(arguments),
        )


def _common(arguments: dict[str, Any]) -> dict[str, Any]:
    return {
        "seed": arguments["seed"],
        "outputs": list(arguments["output_methods"]) or None,
        "time_limit": arguments["time_limit"],
        "providers": list(arguments["providers"]) or None,
    }


def _deeper(arguments: dict[str, Any]) -> dict[str, Any]:
    return {
        "save_arrays": arguments["save_arrays"],
        "localise": arguments["localise"],
        "prove": arguments["prove_trees"],
        "search": arguments["search"],
        "artefacts": arguments["artefacts"],
    }


_FLAGS = {"prove_trees": "prove-trees", "save_arrays": "save-arrays", "suites": "suite"}


def _streamed(source: Any, converted: Any, data: Path, arguments: dict[str, Any]) -> Any:
    from any2onnx.cli.console import row_progress
    from any2onnx.parity.stream import check_parity_stream, open_rows

    for option in ("localise", "prove_trees", "search", "artefacts", "save_arrays", "suites"):
        if arguments[option]:
            raise UsageError(f"--stream and --{_FLAGS.get(option, option)} do not go together")
    with row_progress() as progress:
        return check_parity_stream(source, converted, open_rows(data), progress=progress, **_common(arguments))


def _suites(names: tuple[str, ...], default: str) -> str | list[str]:
    if not names:
        return default
    return names[0] if len(names) == 1 else list(names)


def _rows(source: Any, rows: Any) -> Any:
    from any2onnx.api import framework_of
    from any2onnx.cli.calls import arrays_of
    from any2onnx.cli.inputs import rows_for_sklearn

    if rows is None:
        return None
    return rows_for_sklearn(source, rows) if framework_of(source) == "sklearn" else arrays_of(rows)
