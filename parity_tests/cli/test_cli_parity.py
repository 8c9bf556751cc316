"""`any2onnx parity`: forms, baselines, exit codes, the registry, streams; run in this process."""

from __future__ import annotations

import json
import re
import tomllib
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from onnx import numpy_helper

import any2onnx
from any2onnx.cli.main import run
from any2onnx.io import load_onnx, save_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    import skops.io
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    found = tmp_path_factory.mktemp("models")
    rng = np.random.default_rng(0)
    X = rng.normal(3, 2, (300, 4)).astype(np.float32)
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(X, (X[:, 0] > X[:, 1]).astype(int))
    skops.io.dump(model, found / "m.skops")
    proto = any2onnx.to_onnx(model, X)
    save_model(proto, found / "m.onnx")
    for name, factor in (("drifted", 1 + 4e-7), ("broken", 1.01)):
        other = load_onnx(found / "m.onnx")
        tensor = next(t for t in other.graph.initializer if t.name.endswith("coef"))
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * factor, tensor.name))
        save_model(other, found / f"{name}.onnx")
    np.save(found / "rows.npy", X)
    np.savetxt(found / "rows.csv", X, delimiter=",", header="a,b,c,d", comments="", fmt="%.9g")
    return found


@pytest.fixture
def call(folder, monkeypatch, capsys):
    """Run a command in the folder; return its exit code, stdout and stderr."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv("COLUMNS", "160")

    def found(*arguments):
        code = run(["parity", *arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return found


def last_counts(text):
    match = re.fullmatch(r"(\d+) passed, (\d+) failed, (\d+) skipped", text.rstrip().splitlines()[-1])
    assert match, text
    return tuple(int(number) for number in match.groups())


def test_every_form_in_one_run(call, folder):
    code, out, err = call(
        "m.skops", "m.onnx", "--data", "rows.npy", "--html", "r.html", "--json", "r.json", "--junit", "r.xml",
        "--md", "r.md", "--save-arrays", "arrays",
    )  # fmt: skip
    assert code == 0, err
    passed, failed, skipped = last_counts(out)
    assert failed == 0
    report = json.loads((folder / "r.json").read_text())
    assert report["counts"]["passed"] == passed
    root = ET.parse(folder / "r.xml").getroot()
    assert int(root.get("tests")) == passed + failed + skipped
    assert "<!DOCTYPE html>" in (folder / "r.html").read_text()
    assert (folder / "r.md").read_text().startswith("### Parity passed")
    assert (folder / "arrays" / "index.json").is_file()


def test_markdown_on_stdout_keeps_the_last_line(call):
    code, out, _ = call("m.skops", "m.onnx", "--suite", "typical", "--md", "-")
    assert code == 0
    assert out.startswith("### Parity passed")
    last_counts(out)


def test_a_failure_is_written_to_every_form_and_gives_1(call, folder):
    code, out, _ = call("m.skops", "broken.onnx", "--suite", "typical", "--junit", "b.xml", "--json", "b.json")
    assert code == 1
    assert last_counts(out)[1] > 0
    assert int(ET.parse(folder / "b.xml").getroot().get("failures")) > 0
    assert json.loads((folder / "b.json").read_text())["passed"] is False


@pytest.mark.parametrize(("fail_on", "code"), [("never", 0), ("failed", 1), ("converter-imprecise", 1)])
def test_fail_on(call, fail_on, code):
    assert call("m.skops", "broken.onnx", "--suite", "typical", "--fail-on", fail_on)[0] == code


def test_time_limit_is_inconclusive(call):
    code, out, _ = call("m.skops", "m.onnx", "--time-limit", "0")
    assert code == 5
    assert "time limit" in out
    assert call("m.skops", "m.onnx", "--time-limit", "0", "--fail-on", "failed")[0] == 0


# --- baselines ---------------------------------------------------------------------------------------------------


def test_baseline_of_verdicts_and_drift(call, folder):
    lock = folder / "parity.lock"
    arguments = ("--suite", "typical", "--data", "rows.npy", "--baseline", "parity.lock", "--name", "m")
    code, out, _ = call("m.skops", "m.onnx", *arguments, "--update-baseline")
    assert code == 0
    assert "written" in out
    text = lock.read_text()
    entries = tomllib.loads(text)["parity"]
    assert list(entries) == sorted(entries)
    assert set(entries) == {"m/label/typical", "m/probabilities/typical"}
    code, out, _ = call("m.skops", "m.onnx", *arguments)
    assert code == 0
    assert "0 change(s) for the worse" in out
    # Still within the budget, and several times what it was.
    code, out, _ = call("m.skops", "drifted.onnx", *arguments)
    assert code == 1, out
    assert last_counts(out)[1] == 0
    assert "m/probabilities/typical" in out
    assert call("m.skops", "broken.onnx", *arguments)[0] == 1
    assert call("m.skops", "broken.onnx", *arguments, "--fail-on", "drift")[0] == 1
    assert call("m.skops", "m.onnx", *arguments, "--fail-on", "drift")[0] == 0
    assert lock.read_text() == text


def test_an_update_keeps_other_models(call, folder):
    arguments = ("--suite", "typical", "--baseline", "two.lock", "--update-baseline")
    call("m.skops", "m.onnx", *arguments)
    call("m.skops", "broken.onnx", *arguments, "--fail-on", "never")
    names = set(tomllib.loads((folder / "two.lock").read_text())["parity"])
    assert {name.split("/")[0] for name in names} == {"m", "broken"}
    code, out, _ = call("m.skops", "broken.onnx", "--suite", "typical", "--baseline", "two.lock", "--fail-on", "drift")
    assert code == 0, out
    assert last_counts(out)[1] > 0


# --- wrong usage -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "MODEL and ONNX are needed"),
        (["m.skops"], "MODEL and ONNX are needed"),
        (["m.skops", "m.onnx", "--update-baseline"], "needs --baseline"),
        (["m.skops", "m.onnx", "--fail-on", "drift"], "needs --baseline"),
        (["m.skops", "m.onnx", "--baseline", "none.lock"], "no such baseline"),
        (["m.skops", "m.onnx", "--stream"], "--stream needs --data"),
        (["m.skops", "m.onnx", "--data", "rows.npy", "--stream", "--suite", "typical"], "do not go together"),
        (["m.skops", "m.onnx", "--suite", "tipical"], "did you mean 'typical'"),
        (["m.skops", "m.onnx", "--provider", "CUDAExecutionProvidr"], "CUDAExecutionProvidr"),
        (["m.skops", "m.onnx", "--registry", "sklearn"], "builds its models itself"),
        (["--registry", "sklearn", "-k", "nothing like this"], "no registered case"),
    ],
)
def test_wrong_usage(call, arguments, message):
    code, _, err = call(*arguments)
    assert code == 2, err
    assert message in err


def test_files_that_are_no_models(call, folder):
    (folder / "junk.onnx").write_bytes(b"\x00\x01junk")
    assert call("m.skops", "junk.onnx")[0] == 3
    (folder / "bad.lock").write_text("version = ")
    assert call("m.skops", "m.onnx", "--suite", "typical", "--baseline", "bad.lock")[0] == 3


# --- streams and the registry ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["rows.npy", "rows.csv"])
def test_stream(call, folder, name):
    code, out, err = call("m.skops", "m.onnx", "--data", name, "--stream", "--json", "s.json")
    assert code == 0, err
    assert last_counts(out) == (2, 0, 0)
    assert all(result["rows"] == 300 for result in json.loads((folder / "s.json").read_text())["results"])
    assert call("m.skops", "broken.onnx", "--data", name, "--stream")[0] == 1


def test_registry(call, folder):
    code, out, _ = call("--registry", "sklearn", "-k", "absscaler", "--junit", "g.xml", "--json", "g.json")
    assert code == 0
    assert out.startswith("sklearn/MaxAbsScaler")
    passed, failed, _ = last_counts(out)
    assert passed > 0
    assert failed == 0
    found = json.loads((folder / "g.json").read_text())
    assert list(found["reports"]) == ["sklearn/MaxAbsScaler"]
    assert int(ET.parse(folder / "g.xml").getroot().get("tests")) > 0


def test_registry_says_what_cannot_be_built(call):
    code, out, _ = call("--registry", "sklearn", "-k", "DictVectorizer")
    assert code == 0
    assert "cannot be built here" in out
    assert last_counts(out) == (0, 0, 1)


# --- deeper looks --------------------------------------------------------------------------------------------------


def test_localise_and_artefacts(call, folder):
    code, out, err = call(
        "m.skops", "broken.onnx", "--suite", "typical", "--localise", "--artefacts", "found", "--html", "d.html"
    )
    assert code == 1, err
    assert "first divergence of probabilities" in out
    assert list((folder / "found").rglob("culprit.onnx"))
    page = (folder / "d.html").read_text()
    assert "First divergence" in page
    assert 'class="box node e' in page
    last_counts(out)


def test_prove_trees(call, folder):
    import skops.io
    from sklearn.tree import DecisionTreeClassifier

    X = np.load(folder / "rows.npy")
    model = DecisionTreeClassifier(max_depth=4, random_state=0).fit(X, (X[:, 0] > 3).astype(int))
    skops.io.dump(model, folder / "t.skops")
    save_model(any2onnx.to_onnx(model, X), folder / "t.onnx")
    trust = ("--trust-type", "sklearn.tree._tree.Tree")
    code, out, err = call("t.skops", "t.onnx", "--suite", "typical", "--prove-trees", *trust)
    assert code == 0, err
    assert "proved: " in out
    # Thresholds moved to the next float: no row that is drawn shows it, and the proof does.
    proto = load_onnx(folder / "t.onnx")
    moved = 0
    for node in proto.graph.node:
        for attribute in node.attribute:
            if attribute.name in ("nodes_splits", "nodes_values"):
                tensor = attribute.t
                if tensor.dims:
                    values = numpy_helper.to_array(tensor)
                    up = np.nextafter(values, np.asarray(np.inf, values.dtype))
                    tensor.CopyFrom(numpy_helper.from_array(up, tensor.name))
                else:
                    floats = np.array(attribute.floats, np.float32)
                    attribute.ClearField("floats")
                    attribute.floats.extend(np.nextafter(floats, np.float32(np.inf)))
                moved += 1
    assert moved
    save_model(proto, folder / "moved.onnx")
    code, out, _ = call("t.skops", "moved.onnx", "--suite", "typical", "--prove-trees", *trust)
    assert code == 1
    assert last_counts(out)[1] == 0
    assert "NOT proved" in out


def test_localise_and_search_together(call):
    _, out, _ = call("m.skops", "broken.onnx", "--suite", "typical", "--localise", "--search", "0.2")
    assert "first divergence of probabilities" in out


def test_search(call):
    code, out, err = call("m.skops", "m.onnx", "--suite", "typical", "--search", "0.2")
    assert code == 0, err
    assert "search: probabilities" in out
