"""The command `any2onnx`: finds the sub-command, and turns every error into its message and exit code."""

from __future__ import annotations

import importlib
import os
import sys
import tempfile
import traceback
from collections.abc import Sequence
from typing import NoReturn

import click

from any2onnx.errors import Any2OnnxError

#: Commands with the line that the overview shows; a command's module is imported when it is used.
COMMANDS = {
    "convert": ("any2onnx.cli.convert:convert", "Convert a saved model to ONNX, and check it."),
    "parity": ("any2onnx.cli.parity:parity", "Compare a model with its ONNX form in onnxruntime."),
    "inspect": ("any2onnx.cli.inspect:inspect", "Show what a model file holds, without running anything in it."),
    "verify": ("any2onnx.cli.verify:verify", "Check a converted model against the manifest beside it."),
    "backends": ("any2onnx.cli.backends:backends", "Show what runs ONNX models here, and which node runs where."),
    "coverage": ("any2onnx.cli.coverage:coverage", "Show which operators of a framework can be converted."),
    "doctor": ("any2onnx.cli.doctor:doctor", "Show versions, plug-ins and runtimes, and what is too old."),
    "demo": ("any2onnx.cli.demo:demo", "Run the main job on real models of all three frameworks."),
}

USAGE, NOT_DELIVERED, INTERNAL, INTERRUPTED = 2, 6, 70, 130


class LazyGroup(click.Group):
    """A group whose commands are imported when they are used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order of use."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command; None when there is none of this name."""
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name][0].partition(":")
        command = getattr(importlib.import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Offer the nearest name for one that does not exist."""
        from any2onnx.errors import did_you_mean

        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            raise click.UsageError(f"there is no command {args[0]!r}{did_you_mean(args[0], COMMANDS)}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the overview from the table, importing nothing."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


def _print_version(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    if value:
        from importlib.metadata import version

        click.echo(f"any2onnx {version('any2onnx')}")
        ctx.exit()


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog="""\b
Examples:
  any2onnx convert model.skops -o model.onnx --sample rows.csv
  any2onnx parity model.skops model.onnx --data rows.csv
  any2onnx inspect model.onnx

\b
Exit codes: 0 done, 1 parity failed, 2 wrong usage, 3 file refused or damaged, 4 not supported, 5 undecided,
6 reading or writing failed, 70 internal error, 130 interrupted.
""",
)
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_print_version, help="Show the version."
)
def cli() -> None:
    """Scikit-learn, Keras 3 and PyTorch models to ONNX, proved numerically the same."""


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit with its code."""
    sys.exit(run(sys.argv[1:] if arguments is None else arguments, worker=True))


def run(arguments: Sequence[str], *, worker: bool = False) -> int:
    """Run the command line and return its exit code.

    Args:
        arguments: What follows the program's name.
        worker: Read files of others in a process of its own, as the installed command does.
    """
    from any2onnx.cli.supervision import Invocation
    from any2onnx.io.worker import end_without_memory

    invocation = Invocation(tuple(arguments), worker)
    try:
        result = cli.main(args=list(arguments), prog_name="any2onnx", standalone_mode=False, obj=invocation)
        sys.stdout.flush()
    except click.ClickException as error:
        error.show()
        return USAGE
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        return INTERRUPTED
    except Any2OnnxError as error:
        end_without_memory(error)
        show_error(error)
        return error.exit_code
    except (BrokenPipeError, SystemExit):
        # The reader (`head`) has gone: click exits then, and what was to be said did not arrive. Python would complain
        # once more when it flushes at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return NOT_DELIVERED
    except Exception as error:
        end_without_memory(error)
        return _internal_error(error, arguments)
    return result if isinstance(result, int) else 0


def show_error(error: Any2OnnxError) -> None:
    """Print an error in its layout to stderr; names from files are shown as text, never as markup."""
    from any2onnx.cli.console import error_console, plain

    text = plain(f"{type(error).__name__}: {error}")
    first, _, rest = text.partition("\n")
    console = error_console()
    console.print(first, style="bold red", markup=False, highlight=False, soft_wrap=True)
    if rest:
        console.print(rest, markup=False, highlight=False, soft_wrap=True)


def _internal_error(error: Exception, arguments: Sequence[str]) -> int:
    """Write a report file and name it; nothing of the environment goes into it."""
    import platform
    from importlib import metadata

    lines = [
        f"any2onnx {metadata.version('any2onnx')}, Python {platform.python_version()}, {platform.platform()}",
        f"arguments: {list(arguments)!r}",
        *(f"{name} {_version(name)}" for name in ("numpy", "onnx", "onnx-ir", "scikit-learn", "keras", "torch")),
        "",
        "".join(traceback.format_exception(error)),
    ]
    with tempfile.NamedTemporaryFile(
        "w", encoding="utf-8", prefix="any2onnx-report-", suffix=".txt", delete=False
    ) as report:
        report.write("\n".join(lines))
    click.echo(f"internal error: {type(error).__name__}: {error}", err=True)
    click.echo(f"  report  {report.name}", err=True)
    click.echo("  try     attach the report to an issue; this is our fault", err=True)
    return INTERNAL


def _version(distribution: str) -> str:
    from importlib import metadata

    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return "not installed"
