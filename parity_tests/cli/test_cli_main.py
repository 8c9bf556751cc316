from __future__ import annotations

import json
import os
import pickle
import re
import subprocess
import sys
import types
from pathlib import Path

import click
import pytest

from any2onnx.cli import main as cli_main
from any2onnx.cli.main import COMMANDS, cli, run
from any2onnx.errors import (
    ExportFailed,
    FileAccessError,
    GraphError,
    MalformedFile,
    MissingDependency,
    ParityError,
    ParityInconclusive,
    UnsupportedOperator,
    UntrustedFile,
    UsageError,
)

FRAMEWORKS = ("sklearn", "keras", "torch", "tensorflow", "onnx", "onnx_ir", "onnxruntime", "skops")


def fail_with(monkeypatch, error: BaseException) -> None:
    """Make a command `doctor` that raises."""

    @click.command()
    def broken() -> None:
        raise error

    module = types.ModuleType("broken_command")
    module.broken = broken
    monkeypatch.setitem(sys.modules, "broken_command", module)
    monkeypatch.setitem(COMMANDS, "doctor", ("broken_command:broken", ""))


@pytest.mark.parametrize(
    "arguments", [["--help"], ["--version"], ["convert", "--help"], ["parity", "--help"], ["inspect", "-h"]]
)
def test_help_imports_no_framework(arguments):
    code = (
        "import sys\nfrom any2onnx.cli.main import run\n"
        f"code = run({arguments!r})\n"
        f"print('LOADED', [name for name in {FRAMEWORKS!r} if name in sys.modules], code)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.rstrip().endswith("LOADED [] 0"), done.stdout + done.stderr


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_examples_and_the_overview_tells_the_same(name, capsys):
    assert run([name, "--help"]) == 0
    text = capsys.readouterr().out
    assert "Examples:" in text
    assert f"any2onnx {name}" in text
    assert name in COMMANDS
    command = cli.get_command(click.Context(cli), name)
    assert isinstance(command, click.Command)


def test_overview_lists_every_command(capsys):
    assert run(["--help"]) == 0
    text = capsys.readouterr().out
    for name, (_, line) in COMMANDS.items():
        assert re.search(rf"^  {name} +{re.escape(line)}$", text, re.MULTILINE)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ParityError("e"), 1),
        (UsageError("e"), 2),
        (MissingDependency("e"), 2),
        (UntrustedFile("e"), 3),
        (MalformedFile("e"), 3),
        (UnsupportedOperator("e"), 4),
        (ExportFailed("e"), 4),
        (ParityInconclusive("e"), 5),
        (FileAccessError("e"), 6),
        (GraphError("e"), 70),
    ],
    ids=lambda value: type(value).__name__,
)
def test_exit_codes_of_errors(monkeypatch, capsys, error, code):
    fail_with(monkeypatch, error)
    assert run(["doctor"]) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(f"{type(error).__name__}: e")


def test_message_keeps_its_layout_and_markup_is_text(monkeypatch, capsys):
    error = UnsupportedOperator(
        "no mapping for [bold]x[/bold] [link=http://evil]",
        where="a/[red]b",
        needs="c\x1b[31m",
        remedy="d",
        others=["[e]"],
    )
    fail_with(monkeypatch, error)
    assert run(["doctor"]) == 4
    assert capsys.readouterr().err == (
        "UnsupportedOperator: no mapping for [bold]x[/bold] [link=http://evil]\n"
        "  where   a/[red]b\n"
        "  needs   c\ufffd[31m\n"
        "  try     d\n"
        "  others  1 more: [e]\n"
    )


def test_long_lines_are_not_broken(monkeypatch, capsys):
    fail_with(monkeypatch, MalformedFile("x", where="/very" * 60))
    run(["doctor"])
    assert "/very" * 60 in capsys.readouterr().err


def test_unexpected_errors_leave_a_report(monkeypatch, capsys):
    monkeypatch.setenv("MY_SECRET", "hunter2")
    fail_with(monkeypatch, KeyError("unforeseen"))
    assert run(["doctor"]) == 70
    text = capsys.readouterr().err
    assert "internal error: KeyError: 'unforeseen'" in text
    report = Path(re.search(r"report  (\S+)", text)[1])
    content = report.read_text()
    report.unlink()
    assert "Traceback" in content
    assert "unforeseen" in content
    assert "hunter2" not in content


@pytest.mark.parametrize("error", [KeyboardInterrupt(), click.Abort()], ids=lambda e: type(e).__name__)
def test_interrupt_is_130(monkeypatch, capsys, error):
    fail_with(monkeypatch, error)
    assert run(["doctor"]) == 130
    assert capsys.readouterr().err.strip() == "interrupted"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["convret"], "did you mean 'convert'?"),
        (["convert"], "Missing argument 'MODEL'"),
        (["convert", "m.onnx"], "Missing option '-o'"),
        (["parity", "a", "b", "--no-such"], "No such option"),
        (["coverage", "scikit"], "is not one of"),
        (["coverage", "--write", "x.md"], "for one framework"),
    ],
)
def test_wrong_usage_is_2(arguments, message, capsys):
    assert run(arguments) == 2
    assert message in capsys.readouterr().err


def test_closed_pipe_is_an_output_error_without_a_trace():
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "wb") as closed:
        done = subprocess.run(
            [sys.executable, "-m", "any2onnx", "--help"], stdout=closed, stderr=subprocess.PIPE, check=False
        )
    assert done.returncode == 6
    assert b"Traceback" not in done.stderr
    assert b"BrokenPipe" not in done.stderr


def test_main_exits_with_the_code():
    with pytest.raises(SystemExit) as caught:
        cli_main.main(["no-such-command"])
    assert caught.value.code == 2


# --- inspect -----------------------------------------------------------------------------------------------------


class Attack:
    def __init__(self, target) -> None:
        self.target = str(target)

    def __reduce__(self):
        return os.mkdir, (self.target,)


def inspected(path: Path, capsys) -> dict:
    assert run(["inspect", str(path), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_inspect_onnx(tmp_path, small_onnx, capsys):
    from any2onnx.io import save_model

    save_model(small_onnx, tmp_path / "m.onnx", external_data=True)
    found = inspected(tmp_path / "m.onnx", capsys)
    assert found["kind"] == "ONNX model"
    assert found["operators"] == {"MatMul": 1}
    assert found["opsets"] == {"ai.onnx": 18}
    assert found["inputs"] == [{"name": "x", "shape": "[batch, 32]", "type": "FLOAT"}]
    assert found["tensor bytes"] == 32 * 32 * 4
    assert found["metadata"] == {"[red]k": "v"}
    assert len(found["data files"]) == 1
    assert run(["inspect", str(tmp_path / "m.onnx")]) == 0
    assert "[red]k" in capsys.readouterr().out


def test_inspect_pickle_runs_nothing(tmp_path, capsys):
    path, mark = tmp_path / "m.pkl", tmp_path / "mark"
    path.write_bytes(pickle.dumps(Attack(mark)))
    assert inspected(path, capsys)["imports"] == ["posix.mkdir"]
    assert not mark.exists()


def test_inspect_imports_no_model_code(tmp_path, capsys):
    import skops.io
    from sklearn.preprocessing import FunctionTransformer

    (tmp_path / "hostile_code.py").write_text("open('mark', 'w')\ndef step(x): return x\n")
    sys.path.insert(0, str(tmp_path))
    here = Path.cwd()
    os.chdir(tmp_path)
    try:
        import hostile_code

        skops.io.dump(FunctionTransformer(hostile_code.step), "m.skops")
        Path("mark").unlink()
        done = subprocess.run(
            [sys.executable, "-m", "any2onnx", "inspect", "m.skops", "--json"],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "PYTHONPATH": f"{Path(cli_main.__file__).parents[2]}:{tmp_path}"},
        )
        found = json.loads(done.stdout)
        assert found["needs trust in (--trust-type)"] == ["hostile_code.step"]
        assert any(name.endswith("FunctionTransformer") for name in found["types"])
        assert not Path("mark").exists()
    finally:
        os.chdir(here)
        sys.path.remove(str(tmp_path))
        sys.modules.pop("hostile_code", None)


def test_inspect_of_other_files(tmp_path, capsys):
    import torch
    from safetensors.torch import save_file

    save_file({"w": torch.ones(3, 4), "h": torch.ones(2).half()}, str(tmp_path / "m.safetensors"))
    found = inspected(tmp_path / "m.safetensors", capsys)
    assert (found["tensors"], found["parameters"], found["dtypes"]) == (2, 14, {"F16": 1, "F32": 1})
    torch.save({"w": torch.ones(1)}, tmp_path / "m.pt")
    assert "torch._utils._rebuild_tensor_v2" in inspected(tmp_path / "m.pt", capsys)["imports"]
    for content, code in ((b"", 3), (b"nothing known", 3)):
        (tmp_path / "x").write_bytes(content)
        assert run(["inspect", str(tmp_path / "x")]) == code
    assert run(["inspect", str(tmp_path / "absent")]) == 6
    assert run(["inspect", str(tmp_path)]) == 6


# --- doctor, coverage --------------------------------------------------------------------------------------------


def test_doctor_lists_versions_and_passes_here(capsys):
    assert run(["doctor"]) == 0
    text = capsys.readouterr().out
    assert re.search(r"onnx +always +1\.21 +\S+ +ok", text)
    assert re.search(r"keras +keras +3\.13\.2 +\S+ +ok", text)
    assert "CPUExecutionProvider" in text


def test_doctor_flags_what_is_below_its_floor(monkeypatch, capsys):
    from any2onnx.cli import doctor

    real = doctor.metadata.version
    versions = {"keras": "3.13.1", "protobuf": "5.29.10", "skops": "0.9.9"}
    monkeypatch.setattr(doctor.metadata, "version", lambda name: versions.get(name) or real(name))
    assert run(["doctor"]) == 3
    text = capsys.readouterr().out
    assert "too old: keras, skops" in text
    assert re.search(r"protobuf .* 5\.29\.10 +ok", text)


def test_doctor_without_an_optional_package(monkeypatch, capsys):
    from any2onnx.cli import doctor

    real = doctor.metadata.version

    def version(name):
        if name == "torch":
            raise doctor.metadata.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(doctor.metadata, "version", version)
    assert run(["doctor"]) == 0
    assert re.search(r"torch +torch +2\.10 +not installed", capsys.readouterr().out)


@pytest.mark.parametrize(
    ("smaller", "larger"), [("3.9", "3.10"), ("2.13.0rc1", "2.13.1"), ("1", "1.0.1"), ("1.20.9", "1.21.0+cpu")]
)
def test_doctor_compares_releases(smaller, larger):
    from any2onnx.cli.doctor import _numbers

    assert _numbers(smaller) < _numbers(larger)
    assert _numbers("1.0") == _numbers("1")


def test_coverage_table_write_and_check(monkeypatch, tmp_path, capsys):
    from any2onnx.operator_mappings import coverage as tables

    rows = [
        tables.CoverageRow("a.B", "supported", "13+", "predict", "[red]"),
        tables.CoverageRow("a.C", "refused", note="why"),
        tables.CoverageRow("a.D", "missing"),
    ]
    monkeypatch.setattr(tables, "coverage", lambda framework: rows)
    monkeypatch.setattr(tables, "coverage_markdown", lambda framework: f"# {framework}\n")
    assert run(["coverage", "sklearn"]) == 0
    text = capsys.readouterr().out
    assert "[red]" in text
    assert "sklearn: 1 supported, 1 refused, 1 missing" in text
    assert run(["coverage", "--missing"]) == 0
    text = capsys.readouterr().out
    assert "a.B" not in text
    assert "pytorch: 1 supported" in text
    path = tmp_path / "c.md"
    assert run(["coverage", "keras", "--check", str(path)]) == 6
    assert run(["coverage", "keras", "--write", str(path)]) == 0
    assert path.read_text() == "# keras\n"
    assert run(["coverage", "keras", "--check", str(path)]) == 0
    path.write_text("# old\n")
    assert run(["coverage", "keras", "--check", str(path)]) == 1
    assert "is stale" in capsys.readouterr().err
