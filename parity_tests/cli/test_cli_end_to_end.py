"""The command line as users run it: real files, real conversions, real comparisons, in processes of their own."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import any2onnx.cli.main
from any2onnx.io import load_onnx, save_model

ROOT = Path(any2onnx.cli.main.__file__).parents[2]


def shell(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3", "COLUMNS": "160"}
    return subprocess.run(
        [sys.executable, "-m", "any2onnx", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )


def passes(folder: Path, *arguments: str) -> str:
    done = shell(folder, *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def altered(path: Path) -> str:
    """Write a copy of a model in which its largest number is half as large again; return its name."""
    proto = load_onnx(path)
    tensors = [t for t in proto.graph.initializer if t.data_type in (1, 11) and numpy_helper.to_array(t).any()]
    assert tensors, "nothing to alter"
    for tensor in tensors:
        array = numpy_helper.to_array(tensor).copy()
        array.flat[np.argmax(np.abs(array))] *= 1.5
        tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    save_model(proto, path.with_name("altered.onnx"))
    return "altered.onnx"


@pytest.fixture(scope="module")
def skops_folder(tmp_path_factory):
    import pandas as pd
    import skops.io
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    folder = tmp_path_factory.mktemp("skops")
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.standard_normal((80, 3)), columns=["a", "b", "c"])
    frame.loc[::7, "b"] = np.nan
    frame["colour"] = rng.choice(["red", "green", "blue"], 80)
    target = (frame["a"] + (frame["colour"] == "red") > 0.3).to_numpy()
    frame["colour"] = frame["colour"].astype(object)
    columns = ColumnTransformer(
        [
            ("numbers", make_pipeline(SimpleImputer(), StandardScaler()), ["a", "b", "c"]),
            ("words", OneHotEncoder(handle_unknown="ignore"), ["colour"]),
        ]
    )
    skops.io.dump(make_pipeline(columns, LogisticRegression()).fit(frame, target), folder / "m.skops")
    frame.assign(target=target).to_csv(folder / "rows.csv", index=False)
    return folder


@pytest.fixture(scope="module")
def keras_folder(tmp_path_factory):
    import keras

    folder = tmp_path_factory.mktemp("keras")
    layers = keras.layers
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((12, 12, 3)),
            layers.Conv2D(4, 3, activation="relu"),
            layers.BatchNormalization(),
            layers.GlobalAveragePooling2D(),
            layers.Dense(3, activation="softmax"),
        ]
    )
    model.save(folder / "m.keras")
    np.save(folder / "rows.npy", np.random.default_rng(0).random((6, 12, 12, 3), np.float32))
    return folder


@pytest.mark.parametrize("case", ["skops_folder", "keras_folder"])
def test_convert_then_parity_then_altered(case, request):
    folder = request.getfixturevalue(case)
    source, data = ("m.skops", "rows.csv") if case == "skops_folder" else ("m.keras", "rows.npy")
    text = passes(folder, "convert", source, "-o", "m.onnx", "--sample", data, "--force", "--metadata", "owner=tests")
    assert re.search(r"^parity \S+ \(smoke\): \d+ passed, 0 failed, \d+ skipped$", text, re.MULTILINE), text
    assert "wrote m.onnx" in text
    onnx.checker.check_model(str(folder / "m.onnx"), full_check=True)
    lines = passes(folder, "parity", source, "m.onnx", "--data", data, "--json", "r.json", "--md", "r.md").splitlines()
    passed, failed = re.fullmatch(r"(\d+) passed, (\d+) failed, \d+ skipped", lines[-1]).groups()
    assert int(passed) > 0
    assert failed == "0"
    report = json.loads((folder / "r.json").read_text())
    assert report["passed"] is True
    assert (folder / "r.md").read_text().strip()
    done = shell(folder, "parity", source, altered(folder / "m.onnx"), "--data", data)
    assert done.returncode == 1, done.stdout + done.stderr
    assert re.fullmatch(r"\d+ passed, [1-9]\d* failed, \d+ skipped", done.stdout.rstrip().splitlines()[-1])
    found = json.loads(passes(folder, "inspect", "m.onnx", "--json"))
    assert found["metadata"]["owner"] == "tests"
    assert json.loads(found["metadata"]["any2onnx.parity"])["suites"] == "smoke"
    assert found["nodes"] == sum(found["operators"].values())


@pytest.mark.parametrize("case", ["skops_folder", "keras_folder"])
def test_same_bytes_from_two_processes_and_external_data(case, request):
    folder = request.getfixturevalue(case)
    source, data = ("m.skops", "rows.csv") if case == "skops_folder" else ("m.keras", "rows.npy")
    written = []
    for name in ("one", "two"):
        (folder / name).mkdir(exist_ok=True)
        target = f"{name}/x.onnx"
        command = ["convert", source, "-o", target, "--sample", data, "--force", "--parity", "off", "--external-data"]
        passes(folder, *command)
        written.append({path.name: path.read_bytes() for path in sorted((folder / name).iterdir())})
    assert written[0] == written[1]
    passes(folder, "parity", source, "one/x.onnx", "--data", data, "--suite", "data")


def test_opset_and_methods_of_a_pipeline(skops_folder):
    arguments = ["--sample", "rows.csv", "--force", "--opset", "15", "--output-method", "decision_function"]
    passes(skops_folder, "convert", "m.skops", "-o", "d.onnx", *arguments)
    found = json.loads(passes(skops_folder, "inspect", "d.onnx", "--json"))
    assert found["opsets"]["ai.onnx"] == 15
    assert len(found["outputs"]) == 1
    assert {value["name"] for value in found["inputs"]} == {"a", "b", "c", "colour"}


def test_pytorch_weights_with_a_factory(tmp_path):
    import torch
    from safetensors.torch import save_file

    (tmp_path / "nets.py").write_text(
        "import torch\n"
        "def build():\n"
        "    return torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))\n"
    )
    net = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
    save_file(net.state_dict(), str(tmp_path / "net.safetensors"))
    load = ["net.safetensors", "--factory", "nets:build"]
    text = passes(tmp_path, "convert", *load, "-o", "net.onnx", "--input", "x:float32[batch,4]")
    assert re.search(r"Linear +2 ", text)
    passes(tmp_path, "parity", "net.safetensors", "net.onnx", "--factory", "nets:build")
    assert shell(tmp_path, "parity", "net.safetensors", altered(tmp_path / "net.onnx"), *load[1:]).returncode == 1


def test_generated_script_gives_the_same_file(keras_folder):
    command = ["convert", "m.keras", "-o", "s.onnx", "--sample", "rows.npy", "--parity", "off", "--force"]
    passes(keras_folder, *command)
    written = (keras_folder / "s.onnx").read_bytes()
    (keras_folder / "s.onnx").unlink()
    script = passes(keras_folder, *command, "--gen-script")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}
    subprocess.run([sys.executable, "-c", script], cwd=keras_folder, check=True, env=environment, capture_output=True)
    assert (keras_folder / "s.onnx").read_bytes() == written


def test_damaged_files_give_exit_code_3(keras_folder, tmp_path):
    data = (keras_folder / "m.keras").read_bytes()
    (tmp_path / "m.keras").write_bytes(data[: len(data) // 2])
    done = shell(tmp_path, "convert", "m.keras", "-o", "m.onnx")
    assert done.returncode == 3
    assert "MalformedFile:" in done.stderr
    assert "Traceback" not in done.stderr
    assert os.listdir(tmp_path) == ["m.keras"]
