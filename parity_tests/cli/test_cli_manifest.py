"""`any2onnx convert --manifest` and `any2onnx verify`: hashes, versions and verdict, checked again."""

from __future__ import annotations

import hashlib
import json
import sys
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest

from any2onnx.cli.main import run
from any2onnx.errors import FileAccessError, MalformedFile, ManifestMismatch
from any2onnx.io import manifest as module
from any2onnx.io.manifest import FileRecord, read_manifest, record_of, require, verify, write_manifest


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    """A network with a weight above the threshold of external data."""
    import skops.io
    from sklearn.linear_model import Ridge

    X = np.random.default_rng(0).normal(size=(40, 600))
    path = tmp_path_factory.mktemp("source") / "m.skops"
    skops.io.dump(Ridge().fit(X, X @ np.arange(600.0)), path)
    return path


def converted(source: Path, folder: Path, *flags: str) -> Path:
    path = folder / "m.onnx"
    given = [
        "convert",
        str(source),
        "-o",
        str(path),
        "--input",
        "x:float32[batch,600]",
        "--external-data",
        "--manifest",
    ]
    assert run([*given, *flags]) == 0
    return path


@pytest.fixture
def model(source, tmp_path) -> Path:
    return converted(source, tmp_path, "--parity", "off")


def sha(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def told(path: Path) -> dict:
    return json.loads((path.parent / "m.onnx.manifest.json").read_text())


def test_what_is_written(source, tmp_path, capsys):
    path = converted(source, tmp_path)
    assert f"wrote {path}.manifest.json" in capsys.readouterr().out.replace("\n", "")
    found = told(path)
    data = [file for file in tmp_path.iterdir() if file.name.endswith(".data")]
    assert len(data) == 1
    assert found["schema"] == "any2onnx.manifest/1"
    assert found["source"] == {"file": "m.skops", "bytes": source.stat().st_size, "sha256": sha(source)}
    assert [entry["file"] for entry in found["outputs"]] == ["m.onnx", data[0].name]
    for entry in found["outputs"]:
        assert entry["sha256"] == sha(tmp_path / entry["file"])
        assert entry["bytes"] == (tmp_path / entry["file"]).stat().st_size
    for name in ("any2onnx", "numpy", "onnx", "onnx-ir", "onnxruntime", "scikit-learn"):
        assert found["versions"][name] == metadata.version(name)
    assert found["versions"]["python"] == ".".join(map(str, sys.version_info[:3]))
    parity = found["parity"]
    assert (parity["checked"], parity["suites"], parity["seed"]) == (True, "smoke", 0)
    assert parity["passed"] > 3
    assert parity["verdict"] in ("exact", "within-ulp", "within-budget")
    stored = json.loads({p.key: p.value for p in loaded(path).metadata_props}["any2onnx.parity"])
    assert {key: parity[key] for key in stored} == stored


def loaded(path: Path):
    import onnx

    return onnx.load(str(path), load_external_data=False)


def test_equal_conversions_give_equal_manifests(source, tmp_path):
    places = [tmp_path / name for name in ("a", "b")]
    for place in places:
        place.mkdir()
    texts = [told(converted(source, place)) for place in places]
    assert texts[0] == texts[1]
    text = json.dumps(texts[0])
    assert str(tmp_path) not in text


def test_without_a_comparison_the_manifest_says_so(model):
    assert told(model)["parity"] == {"checked": False, "reason": "--parity off"}


def test_verify_passes(model, source, capsys):
    assert run(["verify", str(model), "--source", str(source)]) == 0
    text = capsys.readouterr().out
    assert text.count("verified") == 3
    assert "parity not checked" in text
    assert run(["verify", f"{model}.manifest.json", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["verified"] is True
    assert [entry["problem"] for entry in found["files"]] == ["", ""]


@pytest.mark.parametrize("which", ["model", "data", "source"])
@pytest.mark.parametrize("change", ["bit", "byte", "absent"])
def test_whatever_is_touched_is_noticed(model, source, tmp_path, capsys, which, change):
    copy = tmp_path / "copy.skops"
    copy.write_bytes(source.read_bytes())
    path = {"model": model, "data": next(tmp_path.glob("*.data")), "source": copy}[which]
    content = bytearray(path.read_bytes())
    path.unlink()
    if change != "absent":
        content[len(content) // 2] ^= 4
        path.write_bytes(bytes(content) + (b"x" if change == "byte" else b""))
    assert run(["verify", str(model), "--source", str(copy)]) == 3
    captured = capsys.readouterr()
    expected = {"bit": "has SHA-256", "byte": "are written down", "absent": "cannot be read"}[change]
    assert "ManifestMismatch" in captured.err
    assert expected in captured.err
    assert captured.out.count("verified") == 2


def test_a_data_file_that_nobody_wrote_down(model):
    path = Path(f"{model}.manifest.json")
    found = json.loads(path.read_text())
    path.write_text(json.dumps({**found, "outputs": found["outputs"][:1]}))
    with pytest.raises(ManifestMismatch, match="read by the model and not in the manifest"):
        require(verify(model)[1], str(model))


def test_the_manifest_of_another_model(model, tmp_path):
    other = tmp_path / "other.onnx"
    other.write_bytes(model.read_bytes())
    Path(f"{other}.manifest.json").write_text(Path(f"{model}.manifest.json").read_text())
    with pytest.raises(ManifestMismatch, match=r"the manifest is that of 'm\.onnx'"):
        require(verify(other)[1], str(other))


def test_all_problems_come_at_once(model, tmp_path):
    model.write_bytes(b"x")
    next(tmp_path.glob("*.data")).unlink()
    with pytest.raises(ManifestMismatch, match="1 more") as caught:
        require(verify(model)[1], str(model))
    assert caught.value.exit_code == 3


def test_no_manifest(tmp_path, capsys):
    with pytest.raises(FileAccessError, match="no manifest"):
        verify(tmp_path / "x.onnx")
    assert run(["verify", str(tmp_path / "x.onnx")]) == 6


GOOD = {"file": "m.onnx", "bytes": 3, "sha256": "0" * 64}


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ("", "no JSON"),
        ("[" * 500, "nested"),
        ("7", "no manifest"),
        ('{"schema": "other/1"}', "no manifest"),
        ({"outputs": []}, "names no outputs"),
        ({"outputs": {}}, "names no outputs"),
        ({"outputs": [{**GOOD, "more": 1}]}, "is no file"),
        ({"outputs": ["m.onnx"]}, "is no file"),
        ({"outputs": [{**GOOD, "file": "../m.onnx"}]}, "no plain name"),
        ({"outputs": [{**GOOD, "file": "/etc/passwd"}]}, "no plain name"),
        ({"outputs": [{**GOOD, "file": "a\\b"}]}, "no plain name"),
        ({"outputs": [{**GOOD, "file": "c:b"}]}, "no plain name"),
        ({"outputs": [{**GOOD, "file": "a\x1b[31m"}]}, "no plain name"),
        ({"outputs": [{**GOOD, "file": 3}]}, "no plain name"),
        ({"outputs": [{**GOOD, "bytes": -1}]}, "no number of bytes"),
        ({"outputs": [{**GOOD, "bytes": True}]}, "no number of bytes"),
        ({"outputs": [{**GOOD, "sha256": "abc"}]}, "no SHA-256"),
        ({"source": None}, "is no file"),
        ({"versions": []}, "'versions' is no object"),
        ({"parity": "passed"}, "'parity' is no object"),
    ],
    ids=lambda value: str(value)[:40] if isinstance(value, str) else None,
)
def test_hostile_manifests_are_refused(tmp_path, change, problem):
    whole = {"schema": module.SCHEMA, "source": GOOD, "outputs": [GOOD], "versions": {}, "parity": {}}
    path = tmp_path / "m.onnx.manifest.json"
    path.write_text(change if isinstance(change, str) else json.dumps({**whole, **change}))
    with pytest.raises(MalformedFile, match=problem):
        read_manifest(path)
    assert run(["verify", str(path)]) == 3


def test_a_huge_manifest_is_not_read(tmp_path):
    path = tmp_path / "m.onnx.manifest.json"
    path.write_text(" " * (1 << 20) + "{}")
    with pytest.raises(MalformedFile, match="at most 1,048,576 bytes"):
        read_manifest(path)


def test_a_source_that_changes_under_way(source, tmp_path, monkeypatch, capsys):
    import any2onnx.cli.convert as convert_command

    copy = tmp_path / "m.skops"
    copy.write_bytes(source.read_bytes())
    real = convert_command._checked

    def changing(request, *more):
        copy.write_bytes(source.read_bytes() + b" ")
        return real(request, *more)

    monkeypatch.setattr(convert_command, "_checked", changing)
    given = ["convert", str(copy), "-o", str(tmp_path / "m.onnx"), "--input", "x:float32[batch,600]", "--manifest"]
    assert run([*given, "--parity", "off"]) == 3
    assert "changed while it was converted" in capsys.readouterr().err
    assert not (tmp_path / "m.onnx.manifest.json").exists()


def test_from_python(model, source):
    path = write_manifest(model, record_of(source), {"checked": False, "reason": "by hand"})
    manifest, checked = verify(path)
    assert manifest.source == FileRecord("m.skops", source.stat().st_size, sha(source))
    assert not any(item.problem for item in checked)
    require(checked, str(path))
