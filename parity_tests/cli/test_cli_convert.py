"""`convert` and `parity` with the API replaced: what they pass on, write, print and return."""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from any2onnx import api
from any2onnx.cli.inputs import InputSpec, parse_input, parse_pairs, read_data, rows_for_sklearn
from any2onnx.cli.main import run
from any2onnx.data_types import FloatTensorType
from any2onnx.errors import InvalidType, MalformedFile, ParityError, ParityInconclusive, UsageError
from any2onnx.io import load_onnx

X = np.random.default_rng(0).standard_normal((40, 3)).astype(np.float32)


class FakeReport:
    def __init__(self, *, passed: bool = True, undecided: bool = False) -> None:
        self.passed = passed and not undecided
        self.undecided = undecided
        self.verdict = "within-ulp" if self.passed else "wrong"
        self.budget_used = 0.25
        self.failures: list[str] = [] if passed else ["apart"]
        self.seed = 0
        self.proofs: list[Any] = []
        self.results: list[Any] = []
        self.last_line = "3 passed, 0 failed, 0 skipped" if self.passed else "2 passed, 1 failed, 0 skipped"

    def count(self, status: str) -> int:
        return {"passed": 3 if self.passed else 2, "failed": 0 if self.passed else 1}.get(status, 0)

    def raise_if_failed(self) -> FakeReport:
        if self.undecided:
            raise ParityInconclusive("undecided")
        if not self.passed:
            raise ParityError("apart")
        return self

    def to_json(self) -> str:
        return json.dumps({"passed": self.passed})

    def to_markdown(self) -> str:
        return "# report"

    def __str__(self) -> str:
        return f"the report\n{self.last_line}"

    def __rich__(self) -> str:
        return str(self)


@pytest.fixture
def fakes(monkeypatch, small_onnx):
    """Replace the API; the calls are recorded."""

    class Calls:
        def __init__(self) -> None:
            self.made: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []
            self.report = FakeReport()

        @property
        def last(self):
            return self.made[-1]

        def named(self, name):
            return next(call for call in self.made if call[0] == name)

    calls = Calls()

    def record(name, result):
        def call(*arguments, **keywords):
            calls.made.append((name, arguments, keywords))
            return result()

        monkeypatch.setattr(api, name, call)

    def converted():
        copy = onnx.ModelProto()
        copy.CopyFrom(small_onnx)
        return copy

    for name in ("convert_sklearn", "to_onnx", "convert_keras", "convert_pytorch"):
        record(name, converted)
    record("check_parity", lambda: calls.report)
    return calls


@pytest.fixture
def skops_file(tmp_path):
    import skops.io

    path = tmp_path / "m.skops"
    skops.io.dump(make_pipeline(StandardScaler(), LinearRegression()).fit(X, X[:, 0]), path)
    return path


@pytest.fixture
def named_file(tmp_path):
    import skops.io

    frame = pd.DataFrame(X, columns=["a", "b", "c"])
    path = tmp_path / "named.skops"
    skops.io.dump(LinearRegression().fit(frame, X[:, 0]), path)
    return path


# --- convert -----------------------------------------------------------------------------------------------------


def test_table_parity_and_file(fakes, skops_file, tmp_path, capsys):
    out = tmp_path / "m.onnx"
    assert run(["convert", str(skops_file), "-o", str(out)]) == 0
    text = capsys.readouterr().out
    assert re.search(r"LinearRegression +1 +MatMul +1", text)
    assert re.search(r"StandardScaler +1", text)
    assert re.search(r"total +2 +total +1", text)
    assert re.search(r"initializer elements +1,024", text)
    assert re.search(rf"file +[\d.]+ kB +file +{os.path.getsize(out) / 1000:.1f} kB", text)
    assert "parity within-ulp (smoke): 3 passed, 0 failed, 0 skipped" in text
    name, arguments, keywords = fakes.made[0]
    assert name == "convert_sklearn"
    assert isinstance(arguments[0].steps[-1][1], LinearRegression)
    assert keywords == {"initial_types": [("X", FloatTensorType(["batch", 3]))]}
    stored = {entry.key: entry.value for entry in load_onnx(out).metadata_props}
    assert json.loads(stored["any2onnx.parity"]) == {"budget_used": 0.25, "suites": "smoke", "verdict": "within-ulp"}
    assert sorted(os.listdir(tmp_path)) == ["m.onnx", "m.skops"]


def test_every_flag_reaches_the_api(fakes, skops_file, tmp_path):
    arguments = "--opset 18 --input x:float32[batch,3] --option zipmap=true --option lr__nocl=3 --output-method predict"
    more = "--name g --doc-string d --model-version 3 --domain org.x --metadata k=v=w --strip --external-data"
    out = tmp_path / "m.onnx"
    assert run(["convert", str(skops_file), "-o", str(out), "--parity", "full", *arguments.split(), *more.split()]) == 0
    assert fakes.made[0][2] == {
        "target_opset": 18,
        "initial_types": [("x", FloatTensorType(["batch", 3]))],
        "options": {"zipmap": True, "lr__nocl": 3},
        "outputs": ["predict"],
        "name": "g",
        "doc_string": "d",
        "model_version": 3,
        "domain": "org.x",
        "metadata": {"k": "v=w"},
        "strip": True,
        "external_data": True,
    }
    assert fakes.named("check_parity")[2]["suites"] == "default"
    assert fakes.named("check_parity")[2]["outputs"] == ("predict",)
    assert len(list(tmp_path.glob("m.onnx.*.data"))) == 1


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".npy"])
def test_samples_of_a_model_trained_on_a_matrix(fakes, skops_file, tmp_path, suffix):
    sample = tmp_path / f"rows{suffix}"
    frame = pd.DataFrame(X.astype(float), columns=["p", "q", "r"])
    if suffix == ".csv":
        frame.to_csv(sample, index=False)
    elif suffix == ".parquet":
        import polars as pl

        pl.DataFrame({name: frame[name].to_numpy() for name in frame}).write_parquet(sample)
    else:
        np.save(sample, frame.to_numpy())
    assert run(["convert", str(skops_file), "-o", str(tmp_path / "m.onnx"), "--sample", str(sample)]) == 0
    name, (_, rows), _ = fakes.made[0]
    assert name == "to_onnx"
    np.testing.assert_allclose(np.asarray(rows), X[:5], rtol=1e-12)
    assert len(fakes.named("check_parity")[1][2]) == 40


def test_sample_of_a_model_with_names(fakes, named_file, tmp_path, capsys):
    pd.DataFrame({"target": [1.0] * 9, "c": range(9), "a": range(9), "b": range(9)}).to_csv(
        tmp_path / "r.csv", index=False
    )
    assert run(["convert", str(named_file), "-o", str(tmp_path / "m.onnx"), "--sample", str(tmp_path / "r.csv")]) == 0
    assert list(fakes.made[0][1][1].columns) == ["a", "b", "c"]
    pd.DataFrame({"a": [1.0], "bb": [1.0]}).to_csv(tmp_path / "wrong.csv", index=False)
    assert (
        run(["convert", str(named_file), "-o", str(tmp_path / "n.onnx"), "--sample", str(tmp_path / "wrong.csv")]) == 2
    )
    error = capsys.readouterr().err
    assert "the data have no column 'b' (did you mean 'bb'?)" in error
    assert "1 more: c" in error
    assert run(["convert", str(named_file), "-o", str(tmp_path / "n.onnx")]) == 2
    assert "--sample rows.csv" in capsys.readouterr().err


def test_failed_parity_writes_nothing(fakes, skops_file, tmp_path, capsys):
    fakes.report = FakeReport(passed=False)
    before = sorted(os.listdir(tmp_path))
    assert run(["convert", str(skops_file), "-o", str(tmp_path / "m.onnx")]) == 1
    captured = capsys.readouterr()
    assert "2 passed, 1 failed, 0 skipped" in captured.out
    assert captured.err.startswith("ParityError: apart")
    assert sorted(os.listdir(tmp_path)) == before


def test_parity_off_and_absent_runtime(fakes, skops_file, tmp_path, capsys, monkeypatch):
    fakes.report = FakeReport(passed=False)
    out = str(tmp_path / "m.onnx")
    assert run(["convert", str(skops_file), "-o", out, "--parity", "off"]) == 0
    assert "parity not checked" in capsys.readouterr().out
    import importlib.util

    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "onnxruntime" else real(name))
    assert run(["convert", str(skops_file), "-o", out, "--force"]) == 0
    assert "onnxruntime is not installed" in capsys.readouterr().out
    assert not [call for call in fakes.made if call[0] == "check_parity"]


def test_existing_output_needs_force_and_is_refused_early(fakes, skops_file, tmp_path, capsys):
    out = tmp_path / "m.onnx"
    out.write_bytes(b"precious")
    assert run(["convert", str(skops_file), "-o", str(out)]) == 6
    assert "--force" in capsys.readouterr().err
    assert out.read_bytes() == b"precious"
    assert fakes.made == []
    assert run(["convert", str(skops_file), "-o", str(out), "--force"]) == 0
    assert out.read_bytes() != b"precious"


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--input", "x:float33[3]"], 2, "did you mean 'float32'?"),
        (["--input", "x"], 2, "is not understood"),
        (["--input", "x:float32[3]", "--input", "x:float32[3]"], 2, "given twice"),
        (["--input", "x:float32[3]", "--sample", "r.npy"], 2, "say the same"),
        (["--option", "zipmap"], 2, "key=value"),
        (["--metadata", "=v"], 2, "key=value"),
        (["--sample", "absent.npy"], 6, "no such file"),
        (["--sample", "rows.txt"], 2, ".csv, .parquet, .npy or .npz"),
        (["--trust", "yes"], 2, "sha256:HEX or ask"),
        (["--trust", "sha256:12"], 2, "not a SHA-256"),
        (["--trust", "sha256:" + "0" * 64], 3, "not the one that the trust pins"),
        (["--factory", "a:b"], 2, "takes no factory"),
        (["--framework", "keras"], 3, "a model of keras"),
    ],
)
def test_wrong_arguments(fakes, skops_file, tmp_path, capsys, arguments, code, message):
    assert run(["convert", str(skops_file), "-o", str(tmp_path / "m.onnx"), *arguments]) == code
    assert message in capsys.readouterr().err
    assert not (tmp_path / "m.onnx").exists()


def test_pickle_is_refused_and_pinned(fakes, tmp_path, capsys):
    import pickle

    path = tmp_path / "m.pkl"
    path.write_bytes(pickle.dumps(LinearRegression().fit(X, X[:, 0])))
    command = ["convert", str(path), "-o", str(tmp_path / "m.onnx")]
    assert run(command) == 3
    digest = re.search(r"--trust (sha256:[0-9a-f]{64})", capsys.readouterr().err)[1]
    assert run([*command, "--trust", "ask"]) == 2
    assert "needs a terminal" in (error := capsys.readouterr().err)
    assert digest in error
    assert run([*command, "--trust", digest]) == 0


@pytest.mark.parametrize(("answer", "code"), [(True, 0), (False, 3)])
def test_trust_ask_on_a_terminal(fakes, tmp_path, capsys, monkeypatch, answer, code):
    import pickle

    path = tmp_path / "m.pkl"
    path.write_bytes(pickle.dumps(LinearRegression().fit(X, X[:, 0])))
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setattr("click.confirm", lambda *a, **k: answer)
    assert run(["convert", str(path), "-o", str(tmp_path / "m.onnx"), "--trust", "ask"]) == code
    assert "sklearn.linear_model._base.LinearRegression" in capsys.readouterr().err


def test_keras_call(fakes, tmp_path):
    import keras

    keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)]).save(tmp_path / "m.keras")
    out = str(tmp_path / "m.onnx")
    assert run(["convert", str(tmp_path / "m.keras"), "-o", out, "--input", "x:float32[batch,3]"]) == 0
    signature = fakes.named("convert_keras")[2]["input_signature"][0]
    assert (tuple(signature.shape), signature.dtype, signature.name) == ((None, 3), "float32", "x")
    assert run(["convert", str(tmp_path / "m.keras"), "-o", out, "--force", "--output-method", "predict"]) == 2


@pytest.fixture
def torch_file(tmp_path, monkeypatch):
    import torch
    from safetensors.torch import save_file

    save_file(
        {k: v.contiguous() for k, v in torch.nn.Linear(3, 2).state_dict().items()}, str(tmp_path / "m.safetensors")
    )
    (tmp_path / "cli_net.py").write_text("import torch\ndef build():\n    return torch.nn.Linear(3, 2)\n")
    monkeypatch.chdir(tmp_path)
    yield tmp_path / "m.safetensors"
    sys.modules.pop("cli_net", None)


def test_pytorch_call(fakes, torch_file, tmp_path, capsys):
    import torch

    command = ["convert", "m.safetensors", "-o", "m.onnx", "--force", "--factory", "cli_net:build"]
    assert run([*command, "--input", "x:float32[batch=5,3]", "--input", "i:int64[batch,seq,?]"]) == 0
    _, (_, args), keywords = fakes.named("convert_pytorch")
    assert [(tuple(a.shape), a.dtype) for a in args] == [((5, 3), torch.float32), ((2, 2, 2), torch.int64)]
    first, second = keywords["dynamic_shapes"]
    assert first[0] is second[0]
    assert second[1].__name__ == "seq"
    assert second[2] is torch.export.Dim.DYNAMIC
    assert keywords["input_names"] == ["x", "i"]
    np.savez("rows.npz", x=X[:1], scale=np.float32(2))
    fakes.made.clear()
    assert run([*command, "--sample", "rows.npz"]) == 0
    _, (_, args), keywords = fakes.named("convert_pytorch")
    assert [tuple(a.shape) for a in args] == [(2, 3), ()]
    assert keywords["dynamic_shapes"][1] is None
    assert run(command) == 2
    assert "does not say its inputs" in capsys.readouterr().err
    assert run([*command, "--input", "x:float32[3]", "--option", "a=b"]) == 2
    assert run([*command, "--input", "x:string[3]"]) == 2


def test_large_models_are_streamed_aside_and_moved_into_place(fakes, torch_file, tmp_path, monkeypatch, small_onnx):
    from any2onnx.io import limits, save_model

    monkeypatch.setattr(limits, "EXTERNAL_DATA_LIMIT", 10)
    seen = []

    def streaming(model, args, *, output_path, **keywords):
        seen.append(output_path)
        return save_model(small_onnx, output_path, external_data=True)

    monkeypatch.setattr(api, "convert_pytorch", streaming)
    command = ["convert", "m.safetensors", "-o", "m.onnx", "--factory", "cli_net:build", "--input", "x:float32[b,3]"]
    before = sorted(os.listdir(tmp_path))
    fakes.report = FakeReport(passed=False)
    assert run(command) == 1
    assert [name for name in sorted(os.listdir(tmp_path)) if name != "__pycache__"] == before
    fakes.report = FakeReport()
    assert run(command) == 0
    assert load_onnx(tmp_path / "m.onnx") == small_onnx
    assert fakes.named("check_parity")[1][1] == seen[0]
    left = {name for name in os.listdir(tmp_path) if name not in before and name != "__pycache__"}
    assert len(left) == 2, left


def test_progress_is_silent_without_a_terminal_and_on_demand(fakes, skops_file, tmp_path, capsys, monkeypatch):
    out = str(tmp_path / "m.onnx")
    run(["convert", str(skops_file), "-o", out])
    assert capsys.readouterr().err == ""
    shown = []
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    import rich.progress

    real = rich.progress.Progress.update
    monkeypatch.setattr(
        rich.progress.Progress,
        "update",
        lambda self, task, **k: (shown.append(k.get("description")), real(self, task, **k)),
    )
    assert run(["convert", str(skops_file), "-o", out, "--force"]) == 0
    assert shown == ["load", "convert", "check", "write"]
    monkeypatch.setenv("ANY2ONNX_PROGRESS", "0")
    shown.clear()
    assert run(["convert", str(skops_file), "-o", out, "--force"]) == 0
    assert shown == []


# --- gen-script --------------------------------------------------------------------------------------------------


def test_script_says_what_the_command_does(tmp_path, capsys, monkeypatch):
    command = "--sample rows.csv --opset 18 --output-method predict --option zipmap=true --force --trust-type a.B"
    assert run(["convert", "m's.skops", "-o", "m.onnx", *command.split(), "--gen-script"]) == 0
    assert capsys.readouterr().out == (
        "from any2onnx import check_parity, save_model\n"
        "from any2onnx import to_onnx\n"
        "from any2onnx.io import Trust, load\n"
        "import pandas as pd\n"
        "\n"
        "model = load(\"m's.skops\", trust=Trust.types(['a.B']))\n"
        "rows = pd.read_csv('rows.csv')\n"
        "onnx_model = to_onnx(model, rows[:5], target_opset=18, options={'zipmap': True}, outputs=['predict'])\n"
        "report = check_parity(model, onnx_model, rows, suites=('data', 'typical', 'shape'), outputs=['predict'])\n"
        "print(report)\n"
        "report.raise_if_failed()\n"
        "save_model(onnx_model, 'm.onnx', overwrite=True)\n"
    )
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "command",
    [
        "m.skops -o o.onnx",
        "m.skops -o o.onnx --input x:float32[batch,3] --parity full --external-data",
        "m.keras -o o.onnx --parity off --input x:float32[batch,3]",
        "m.safetensors -o o.onnx --framework pytorch --factory cli_net:build --input x:float32[batch=4,3]",
        "m.safetensors -o o.onnx --framework pytorch --factory cli_net:build --sample rows.npy",
    ],
)
def test_scripts_run_and_make_the_same_calls_as_the_command(fakes, skops_file, torch_file, tmp_path, capsys, command):
    import keras

    keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)]).save(tmp_path / "m.keras")
    np.save("rows.npy", X)
    assert run(["convert", *command.split()]) == 0
    direct = [(name, sorted(keywords)) for name, _, keywords in fakes.made]
    written = Path("o.onnx").read_bytes()
    Path("o.onnx").unlink()
    capsys.readouterr()
    assert run(["convert", *command.split(), "--gen-script"]) == 0
    script = capsys.readouterr().out
    fakes.made.clear()
    exec(compile(script, "script", "exec"), {})
    made = [(name, sorted(keywords)) for name, _, keywords in fakes.made]
    for (name, keywords), (script_name, script_keywords) in zip(direct, made, strict=True):
        assert name == script_name
        assert set(script_keywords) | {"external_data", "outputs"} == set(keywords) | {"external_data", "outputs"}
    assert Path("o.onnx").exists()
    assert written


def test_scripts_that_cannot_be(capsys):
    assert run(["convert", "m.safetensors", "-o", "o", "--gen-script"]) == 2
    assert run(["convert", "m.pt2", "-o", "o", "--gen-script"]) == 2
    assert run(["convert", "m.skops", "-o", "o", "--trust", "ask", "--gen-script"]) == 2


# --- parity ------------------------------------------------------------------------------------------------------


@pytest.fixture
def onnx_file(tmp_path, small_onnx):
    from any2onnx.io import save_model

    save_model(small_onnx, tmp_path / "m.onnx")
    return tmp_path / "m.onnx"


@pytest.mark.parametrize(
    ("report", "fail_on", "code"),
    [
        (FakeReport(), "inconclusive", 0),
        (FakeReport(passed=False), "inconclusive", 1),
        (FakeReport(passed=False), "failed", 1),
        (FakeReport(passed=False), "never", 0),
        (FakeReport(undecided=True), "inconclusive", 5),
        (FakeReport(undecided=True), "failed", 0),
    ],
)
def test_parity_exit_codes_and_last_line(fakes, skops_file, onnx_file, capsys, report, fail_on, code):
    fakes.report = report
    assert run(["parity", str(skops_file), str(onnx_file), "--fail-on", fail_on]) == code
    lines = capsys.readouterr().out.rstrip().splitlines()
    assert re.fullmatch(r"\d+ passed, \d+ failed, \d+ skipped", lines[-1])
    assert lines.count(lines[-1]) == 1


def test_parity_arguments_and_reports(fakes, skops_file, onnx_file, tmp_path):
    np.save(tmp_path / "rows.npy", X)
    command = ["parity", str(skops_file), str(onnx_file), "--data", str(tmp_path / "rows.npy"), "--seed", "7"]
    more = ["--suite", "typical", "--suite", "shape", "--output-method", "predict"]
    assert run([*command, *more, "--json", str(tmp_path / "r.json"), "--md", str(tmp_path / "r.md")]) == 0
    _, (model, converted, rows), keywords = fakes.last
    assert isinstance(model.steps[-1][1], LinearRegression)
    assert isinstance(converted, onnx.ModelProto)
    np.testing.assert_array_equal(rows, X)
    given = {name: keywords[name] for name in ("suites", "seed", "outputs")}
    assert given == {"suites": ["typical", "shape"], "seed": 7, "outputs": ["predict"]}
    assert json.loads((tmp_path / "r.json").read_text()) == {"passed": True}
    assert (tmp_path / "r.md").read_text() == "# report\n"
    assert run(["parity", str(skops_file), str(onnx_file), "--suite", "smoke"]) == 0
    assert fakes.last[2]["suites"] == "smoke"
    assert fakes.last[1][2] is None


def test_parity_refuses_hostile_onnx(fakes, skops_file, tmp_path, small_onnx, capsys):
    small_onnx.graph.initializer[0].data_location = onnx.TensorProto.EXTERNAL
    small_onnx.graph.initializer[0].external_data.add(key="location", value="../secret")
    (tmp_path / "m.onnx").write_bytes(small_onnx.SerializeToString())
    assert run(["parity", str(skops_file), str(tmp_path / "m.onnx")]) == 3
    assert "plain relative path" in capsys.readouterr().err
    assert fakes.made == []


# --- parsing and reading -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("x:float32[batch,3,224,224]", InputSpec("x", "float32", ("batch", 3, 224, 224))),
        ("x:float[ ?, None ,2]", InputSpec("x", "float32", (None, None, 2))),
        ("input_1:int64[]", InputSpec("input_1", "int64", ())),
        ("x:string", InputSpec("x", "string", None)),
        ("my col:double[n=8,1]", InputSpec("my col", "float64", ("n", 1), (("n", 8),))),
    ],
)
def test_input_forms(text, spec):
    assert parse_input(text) == spec


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "x:",
        ":float32",
        "x:float32[",
        "x:float32]3[",
        "x:float32[-1]",
        "x:float32[a b]",
        "x:float32[1,,2]",
        "x:float32[n=x]",
        "x:float32[²]",
    ],
)
def test_bad_input_forms(text):
    with pytest.raises(InvalidType):
        parse_input(text)


def test_example_shapes():
    assert parse_input("x:float32[n=8,?,m,3]").example_shape() == (8, 2, 2, 3)


def test_pairs():
    assert parse_pairs(["a=1", "b=true", "c=False", "d=x", 'e="1"', "f=[1, 2]", "g="], "-x", typed=True) == {
        "a": 1,
        "b": True,
        "c": False,
        "d": "x",
        "e": "1",
        "f": [1, 2],
        "g": "",
    }
    assert parse_pairs(["a=1"], "-x", typed=False) == {"a": "1"}
    for bad in (["a"], ["=1"], ["a=1", "a=2"]):
        with pytest.raises(UsageError):
            parse_pairs(bad, "-x", typed=True)


class Attack:
    def __init__(self, target) -> None:
        self.target = str(target)

    def __reduce__(self):
        return os.mkdir, (self.target,)


def test_data_files_run_nothing_and_damage_is_typed(tmp_path):
    mark = tmp_path / "mark"
    np.save(tmp_path / "a.npy", np.array([Attack(mark)], dtype=object), allow_pickle=True)
    np.savez(tmp_path / "a.npz", x=np.array([Attack(mark)], dtype=object))
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (1099511627776,), }"
    (tmp_path / "b.npy").write_bytes(b"\x93NUMPY\x01\x00" + (len(header) + 1).to_bytes(2, "little") + header + b"\n")
    (tmp_path / "c.npz").write_bytes(b"PK\x03\x04 no archive")
    (tmp_path / "d.csv").write_bytes(b"")
    (tmp_path / "e.parquet").write_bytes(b"PAR1 no table")
    for name in ("a.npy", "a.npz", "b.npy", "c.npz", "d.csv", "e.parquet"):
        with pytest.raises(MalformedFile):
            read_data(tmp_path / name)
    assert not mark.exists()


def test_rows_for_models_without_names():
    model = LinearRegression().fit(X, X[:, 0])
    with pytest.raises(UsageError, match="the data have 2 columns, the model was trained on 3 without names"):
        rows_for_sklearn(model, pd.DataFrame({"a": [1], "b": [2]}))
    assert rows_for_sklearn(model, X) is X


def test_rows_of_an_archive():
    model = LinearRegression().fit(X, X[:, 0])
    assert rows_for_sklearn(model, {"anything": X}) is X
    assert rows_for_sklearn(model, {"x": X, "y": X[:, 0]}) is X
    with pytest.raises(UsageError, match=r"has 2 arrays \(a, b\)"):
        rows_for_sklearn(model, {"a": X, "b": X})
    frame = pd.DataFrame(X, columns=["p", "q", "r"])
    named = LinearRegression().fit(frame, X[:, 0])
    found = rows_for_sklearn(named, {name: frame[name].to_numpy() for name in ("r", "p", "q")})
    pd.testing.assert_frame_equal(found, frame)


def test_summaries_of_ensembles_count_fitted_members_once():
    from sklearn.ensemble import GradientBoostingClassifier, RandomForestRegressor, VotingRegressor

    from any2onnx.cli.summaries import source_summary

    forest = RandomForestRegressor(5, max_depth=2).fit(X, X[:, 0])
    assert dict(source_summary(forest).steps) == {"DecisionTreeRegressor": 5, "RandomForestRegressor": 1}
    assert source_summary(forest).parameters > 20
    boosting = GradientBoostingClassifier(n_estimators=4, max_depth=1).fit(X, X[:, 0] > 0)
    assert dict(source_summary(boosting).steps)["DecisionTreeRegressor"] == 4
    voting = VotingRegressor([("l", LinearRegression()), ("f", forest)]).fit(X, X[:, 0])
    assert dict(source_summary(voting).steps) == {
        "DecisionTreeRegressor": 5,
        "LinearRegression": 1,
        "RandomForestRegressor": 1,
        "VotingRegressor": 1,
    }
