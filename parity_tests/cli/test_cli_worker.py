"""Commands in a worker process: crashes, limits, interrupts, what of the environment gets in."""

from __future__ import annotations

import json
import os
import pickle
import resource
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, checker, helper, numpy_helper

from any2onnx.cli.main import run
from any2onnx.errors import LimitReached, UsageError, WorkerCrashed
from any2onnx.io import worker
from any2onnx.io.worker import WorkerLimits, harmless, memory_of_machine, parse_size, supervise

BEGIN = "import sys, os, signal, time; from any2onnx.io.worker import begin, note; rest = begin(sys.argv[1:])\n"


LIMITED = WorkerLimits(memory=2_000_000_000)


def child(code: str) -> list[str]:
    return [sys.executable, "-c", BEGIN + code]


def command(*arguments: object, **options):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **options.pop("env", {})}
    return subprocess.run(
        [sys.executable, "-m", "any2onnx", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
        **options,
    )


# --- supervise ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [0, 1, 5, 70])
def test_the_exit_code_comes_through(code):
    assert supervise(child(f"sys.exit({code})"), WorkerLimits()) == code


def test_arguments_come_through_without_the_limits():
    assert (
        supervise([*child("sys.exit(0 if rest == ['a b', '-x'] else 1)"), "a b", "-x"], WorkerLimits(9.5, 1 << 33)) == 0
    )


@pytest.mark.parametrize(
    ("code", "number"),
    [
        ("import ctypes; ctypes.string_at(0)", signal.SIGSEGV),
        ("os.abort()", signal.SIGABRT),
        ("os.kill(os.getpid(), signal.SIGKILL)", signal.SIGKILL),
    ],
)
def test_a_crash_names_the_signal_and_the_place(code, number, capfd):
    with pytest.raises(WorkerCrashed, match=number.name) as caught:
        supervise(child(f"note('onnxruntime, batch \\x1b[31m 0')\n{code}"), WorkerLimits(), where="m.onnx")
    assert caught.value.signal == number
    assert caught.value.exit_code == 3
    assert caught.value.where == "m.onnx   while: onnxruntime, batch  [31m 0"
    again = pickle.loads(pickle.dumps(caught.value))
    assert (again.signal, str(again)) == (number, str(caught.value))


def test_the_last_note_counts_and_an_absent_one_is_left_out():
    with pytest.raises(WorkerCrashed) as caught:
        supervise(child("note('a long first note'); note('second'); os.abort()"), WorkerLimits())
    assert caught.value.where == "while: second"
    with pytest.raises(WorkerCrashed) as caught:
        supervise(child("os.abort()"), WorkerLimits())
    assert caught.value.where is None


def test_time_is_limited_and_the_worker_may_clean_up(tmp_path):
    kept = tmp_path / "kept"
    code = f"try:\n    time.sleep(60)\nexcept KeyboardInterrupt:\n    open({str(kept)!r}, 'w').write('all')"
    start = time.monotonic()
    with pytest.raises(LimitReached, match=r"limit of 1\.5 s") as caught:
        supervise(child(code), WorkerLimits(seconds=1.5))
    assert time.monotonic() - start < 30
    assert caught.value.exit_code == 5
    assert kept.read_text() == "all"


def test_a_worker_that_does_not_listen_is_killed(monkeypatch):
    monkeypatch.setattr(worker, "GRACE", 0.5)
    code = "signal.signal(signal.SIGINT, signal.SIG_IGN)\nwhile True:\n    time.sleep(9)"
    with pytest.raises(LimitReached):
        supervise(child(code), WorkerLimits(seconds=1.0))


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not count mapped memory")
def test_memory_is_limited():
    code = "\ntry:\n    bytearray(1 << 30)\nexcept MemoryError:\n    sys.exit(7)"
    assert supervise(child(code), WorkerLimits(memory=300_000_000)) == 7
    assert supervise(child(code), WorkerLimits(memory=3_000_000_000)) == 0


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not count mapped memory")
def test_one_allocation_too_many_is_told_though_memory_is_left():
    code = (
        "from any2onnx.io.worker import end_without_memory\n"
        "try:\n    bytearray(1 << 32)\nexcept MemoryError as error:\n    end_without_memory(error)\nsys.exit(1)"
    )
    with pytest.raises(LimitReached, match=r"used up \(400,000,000 bytes\)"):
        supervise(child(code), WorkerLimits(memory=400_000_000))
    assert supervise(child("from any2onnx.io.worker import end_without_memory as e; e(ValueError())"), LIMITED) == 0


def test_processor_time_and_core_files_are_limited(tmp_path):
    code = (
        "import resource\nkinds = (resource.RLIMIT_CPU, resource.RLIMIT_CORE)\n"
        "print([resource.getrlimit(kind)[0] for kind in kinds], file=open(rest[0], 'w'))"
    )
    supervise([*child(code), str(tmp_path / "limits")], WorkerLimits(seconds=5))
    cpu, core = json.loads((tmp_path / "limits").read_text())
    assert 5 <= cpu <= 26 * (os.cpu_count() or 1)
    assert core == 0
    assert resource.getrlimit(resource.RLIMIT_CPU)[0] != cpu


def test_two_interrupts_at_once_are_one():
    """The terminal sends one to both processes, and the parent hands its own on."""
    code = (
        "\ntry:\n    os.kill(os.getpid(), signal.SIGINT); time.sleep(9)\nexcept KeyboardInterrupt:\n"
        "    os.kill(os.getpid(), signal.SIGINT); time.sleep(0.2); os.kill(os.getpid(), signal.SIGTERM)\n"
        "    time.sleep(0.2); sys.exit(11)"
    )
    assert supervise(child(code), WorkerLimits()) == 11


def test_the_parents_handlers_come_back():
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    supervise(child("pass"), WorkerLimits())
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_from_another_thread():
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(supervise, child("sys.exit(3)"), WorkerLimits()).result() == 3


# --- environment, sizes ------------------------------------------------------------------------------------------


def test_secrets_stay_outside():
    given = {
        "PATH": "p",
        "LC_ALL": "C",
        "PYTHONPATH": "x",
        "KERAS_BACKEND": "jax",
        "OMP_NUM_THREADS": "1",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "AWS_SECRET_ACCESS_KEY": "s",
        "GITHUB_TOKEN": "s",
        "DATABASE_URL": "s",
        "TORCH_AUTH_TOKEN": "s",
        "PATHOLOGY": "s",
        "MINE": "m",
    }
    assert set(harmless(given)) == {
        "PATH", "LC_ALL", "PYTHONPATH", "KERAS_BACKEND", "OMP_NUM_THREADS", "TF_CPP_MIN_LOG_LEVEL",
    }  # fmt: skip
    assert "MINE" in harmless({**given, "ANY2ONNX_PASS_ENV": "OTHER, MINE"})


def test_the_worker_sees_no_secret(tmp_path):
    code = f"open({str(tmp_path / 'seen')!r}, 'w').write(' '.join(os.environ))"
    supervise(child(code), WorkerLimits(), environment={**os.environ, "MY_TOKEN": "hunter2", "HUB": "x"})
    seen = (tmp_path / "seen").read_text().split()
    assert "PATH" in seen
    assert not {"MY_TOKEN", "HUB"} & set(seen)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("800MB", 800_000_000),
        ("4GB", 4_000_000_000),
        ("1.5GiB", 3 << 29),
        ("2k", 2000),
        ("7", 7),
        ("0", 0),
        (" 1 G ", 10**9),
    ],
)
def test_sizes(text, number):
    assert parse_size(text) == number


@pytest.mark.parametrize("text", ["", "much", "-1GB", "1XB", "1..5GB"])
def test_what_is_no_size(text):
    with pytest.raises(UsageError, match="no amount of memory"):
        parse_size(text)


def test_the_machine_has_memory():
    assert (memory_of_machine() or 0) > 1 << 28


# --- the command line --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A model, its ONNX form, and an ONNX file that ends onnxruntime's process: an LSTM on an empty batch."""
    import skops.io
    from sklearn.linear_model import Ridge

    import any2onnx

    place = tmp_path_factory.mktemp("worker")
    rng = np.random.default_rng(0)
    X = rng.normal(size=(30, 4)).astype(np.float32)
    model = Ridge().fit(X, X @ [1.0, 2.0, 3.0, 4.0])
    skops.io.dump(model, place / "m.skops")
    any2onnx.save_model(any2onnx.to_onnx(model, X), place / "m.onnx")
    (place / "crash.onnx").write_bytes(crashing(rng).SerializeToString())
    return place


def report_files(folder: Path) -> tuple[dict[str, Path], list[str]]:
    forms = {form: folder / f"report.{form}" for form in ("junit", "json", "html", "md")}
    return forms, [str(part) for form, path in forms.items() for part in (f"--{form}", path)]


def crashing(rng: np.random.Generator):
    def constant(name, values):
        return numpy_helper.from_array(np.asarray(values), name)

    graph = helper.make_graph(
        [
            helper.make_node("Slice", ["x", "zero", "zero", "zero"], ["none"]),
            helper.make_node("Unsqueeze", ["none", "zero"], ["sequence"]),
            helper.make_node("LSTM", ["sequence", "W", "R"], ["Y"], hidden_size=3),
            helper.make_node("ReduceSum", ["Y"], ["sum"], keepdims=0),
            helper.make_node("MatMul", ["x", "k"], ["m"]),
            helper.make_node("Add", ["m", "sum"], ["y"]),
        ],
        "crash",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 1])],
        [
            constant("zero", np.array([0], np.int64)),
            constant("W", rng.normal(size=(1, 12, 4)).astype(np.float32)),
            constant("R", rng.normal(size=(1, 12, 3)).astype(np.float32)),
            constant("k", rng.normal(size=(4, 1)).astype(np.float32)),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    checker.check_model(model, full_check=True)
    return model


def test_a_file_that_ends_the_process_is_an_error_and_leaves_reports(folder, tmp_path):
    forms = {
        "junit": tmp_path / "r.xml",
        "json": tmp_path / "r.json",
        "html": tmp_path / "r.html",
        "md": tmp_path / "r.md",
    }
    flags = [part for form, path in forms.items() for part in (f"--{form}", path)]
    done = command("parity", folder / "m.skops", folder / "crash.onnx", *flags)
    assert done.returncode == 3, done.stderr
    assert "WorkerCrashed: the process that read and ran the file was ended by SIGABRT" in done.stderr
    assert "while: suite typical, case drawn" in done.stderr
    root = ET.fromstring(forms["junit"].read_text())
    assert (root.get("tests"), root.get("failures")) == ("1", "1")
    assert "SIGABRT" in root.find(".//failure").get("message")
    told = json.loads(forms["json"].read_text())
    assert (told["state"], told["passed"], told["verdict"]) == ("crashed", False, "mismatch")
    schema = json.loads((Path(worker.__file__).parents[1] / "parity/templates/report.schema.json").read_text())
    assert told["state"] in schema["properties"]["state"]["enum"]
    assert "ended the process" in forms["html"].read_text()
    assert "SIGABRT" in forms["md"].read_text()


def test_options_of_the_worker(folder, capsys):
    done = command("backends", folder / "m.onnx", "--timeout", "0.01")
    assert done.returncode == 5
    assert "LimitReached: the time limit of 0.01 s is over" in done.stderr
    assert run(["inspect", str(folder / "m.onnx"), "--no-worker", "--timeout", "3"]) == 2
    assert "hold for a worker" in capsys.readouterr().err
    assert run(["inspect", str(folder / "m.onnx"), "--max-memory", "lots"], worker=True) == 2
    assert "no amount of memory" in capsys.readouterr().err


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not count mapped memory")
@pytest.mark.parametrize("size", ["30MB", "120MB"])
def test_too_little_memory_is_told(folder, size):
    """Also where BLAS would wait for its buffers for ever."""
    done = command("parity", folder / "m.skops", folder / "m.onnx", "--max-memory", size)
    assert done.returncode == 5, done.stderr
    assert done.stderr.startswith("LimitReached: the memory that the command may take is used up")


def test_python_programs_and_commands_without_files_start_no_worker(folder, monkeypatch, capsys):
    def refuse(*arguments, **options):
        raise AssertionError("a worker was started")

    monkeypatch.setattr(worker, "supervise", refuse)
    assert run(["inspect", str(folder / "m.onnx")]) == 0
    assert run(["inspect", str(folder / "m.onnx"), "--no-worker"], worker=True) == 0
    assert run(["backends"], worker=True) == 0
    assert run(["inspect", "--help"], worker=True) == 0


def test_errors_of_the_worker_look_as_ever(tmp_path):
    (tmp_path / "x.onnx").write_bytes(b"nothing known")
    done = command("inspect", tmp_path / "x.onnx")
    assert done.returncode == 3
    assert done.stderr.startswith("MalformedFile: ")
    assert command("inspect", tmp_path / "absent.onnx").returncode == 6


def test_what_the_worker_costs(folder):
    """Processor time of two interpreters against one: the second imports no more than the command needs."""

    def cost(*more):
        best = float("inf")
        for _ in range(3):
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            assert command("inspect", folder / "m.onnx", *more).returncode == 0
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            best = min(best, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        return best

    assert cost() - cost("--no-worker") < 0.5


# --- interrupts --------------------------------------------------------------------------------------------------


SLOW = """
import sys, os, signal
from any2onnx.parity import evaluate
from any2onnx.cli.main import run
real, count = evaluate.Evaluator.evaluate, [0]
def counted(self, case):
    count[0] += 1
    if count[0] == 3:
        os.kill(os.getpid(), signal.{signal})
    return real(self, case)
evaluate.Evaluator.evaluate = counted
{handler}
sys.exit(run(sys.argv[1:]))
"""


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_an_interrupt_leaves_whole_reports(folder, tmp_path, name):
    # Jobs in the background start with SIGINT ignored, the tests' own too.
    handler = f"signal.signal(signal.{name}, signal.default_int_handler)"
    lock = tmp_path / "parity.lock"
    forms = {
        "junit": tmp_path / "r.xml",
        "json": tmp_path / "r.json",
        "html": tmp_path / "r.html",
        "md": tmp_path / "r.md",
    }
    flags = [str(part) for form, path in forms.items() for part in (f"--{form}", path)]
    flags += ["--baseline", str(lock), "--update-baseline"]
    code = SLOW.format(signal=name, handler=handler)
    done = subprocess.run(
        [sys.executable, "-c", code, "parity", str(folder / "m.skops"), str(folder / "m.onnx"), *flags],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 130, done.stderr
    assert done.stderr.strip().endswith("interrupted")
    told = json.loads(forms["json"].read_text())
    assert (told["state"], told["passed"]) == ("interrupted", False)
    assert told["counts"]["passed"] > 0
    assert told["results"][-1]["note"] == "interrupted"
    assert told["results"][-1]["verdict"] == "inconclusive"
    error = ET.fromstring(forms["junit"].read_text()).find(".//error")
    assert error.get("message") == "interrupted"
    assert "was interrupted" in forms["html"].read_text()
    assert "interrupted" in forms["md"].read_text()
    assert "interrupted: this is what was found until then" in done.stdout
    assert done.stdout.rstrip().endswith("skipped")
    assert not lock.exists()


def test_ctrl_c_on_the_command_reaches_the_worker(folder, tmp_path):
    """As from a terminal: both processes of the group get it."""
    process = subprocess.Popen(
        [sys.executable, "-m", "any2onnx", "parity", str(folder / "m.skops"), str(folder / "m.onnx"),
         "--search", "120", "--json", str(tmp_path / "r.json")],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    notes = _note_of_worker(process.pid, "search")
    os.killpg(process.pid, signal.SIGINT)
    _, problem = process.communicate(timeout=60)
    assert notes
    assert process.returncode == 130, problem
    assert "Traceback" not in problem
    told = json.loads((tmp_path / "r.json").read_text())
    assert told["state"] == "interrupted"
    assert told["results"][-1]["suite"] == "search"
    assert told["counts"]["passed"] > 5


def _note_of_worker(parent: int, wanted: str) -> bool:
    """Wait until the worker of a process says what it does; the notes are an unlinked file that both hold open."""
    for _ in range(600):
        for link in Path(f"/proc/{parent}/fd").glob("*"):
            try:
                if "(deleted)" in os.readlink(link) and wanted in link.read_text("utf-8"):
                    return True
            except OSError:
                continue
        time.sleep(0.1)
    return False


def test_an_interrupted_stream_and_registry(tmp_path, monkeypatch, capsys):
    from sklearn.linear_model import Ridge

    import any2onnx
    from any2onnx.parity import ParityInterrupted, check_parity_stream

    X = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
    model = Ridge().fit(X, X[:, 0])

    def rows():
        yield np.tile(X, (4000, 1))
        raise KeyboardInterrupt

    with pytest.raises(ParityInterrupted) as caught:
        check_parity_stream(model, any2onnx.to_onnx(model, X), rows())
    report = caught.value.report
    assert report.state == "interrupted"
    assert report.results[0].rows > 0
    assert "interrupted after" in report.results[-1].note

    from any2onnx.cli import registry_parity

    real = registry_parity.compared

    def compared(case, arguments):
        if case.id == "sklearn/MinMaxScaler":
            raise KeyboardInterrupt
        return real(case, arguments)

    monkeypatch.setattr(registry_parity, "compared", compared)
    path = tmp_path / "r.xml"
    assert run(["parity", "--registry", "sklearn", "-k", "Scaler", "--junit", str(path)]) == 130
    root = ET.fromstring(path.read_text())
    assert root.find(".//error").get("message") == "interrupted"
    assert int(root.get("tests")) > int(root.get("errors")) == 1


def test_an_interrupt_in_a_notebook_carries_the_report():
    from any2onnx.parity import ParityInterrupted, check_parity

    class Stops:
        def __init__(self):
            self.calls = 0

        def __call__(self, x):
            self.calls += 1
            if self.calls == 12:
                raise KeyboardInterrupt
            return x * 2

    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "x"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 4])],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    with pytest.raises(KeyboardInterrupt) as caught:
        check_parity(Stops(), proto)
    assert isinstance(caught.value, ParityInterrupted)
    report = caught.value.report
    assert report.state == "interrupted"
    assert report.count("inconclusive") == 1
    assert "interrupted" in report._repr_html_()
    assert str(report).splitlines()[-1] == report.last_line
