"""Saves models of the layer suite as `.keras` files, and converts such files: a process for each Keras backend.

    KERAS_BACKEND=numpy python parity_tests/keras/run_layer_bytes.py save FOLDER [--sample]
    KERAS_BACKEND=torch python parity_tests/keras/run_layer_bytes.py convert FOLDER

The second one prints a JSON object: name of the configuration → digest of the ONNX file, or the error.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
from layer_cases import LayerCase, all_cases
from layer_suite import model_of

from any2onnx import convert_keras
from any2onnx.errors import Any2OnnxError

CONTENTS = "contents.json"


def save(folder: Path, sample: bool) -> None:
    """Save one model of every configuration, or of the first one of every layer that can be saved."""
    names: dict[str, str] = {}
    done: set[str] = set()
    for k, case in enumerate(all_cases()):
        if sample and case.layer in done:
            continue
        file = f"{k}.keras"
        if not saved(case, folder / file):
            continue
        done.add(case.layer)
        names[case.name] = file
    (folder / CONTENTS).write_text(json.dumps(names), encoding="utf-8")
    print(json.dumps({"saved": len(names), "without": sorted({case.layer for case in all_cases()} - done)}))


def saved(case: LayerCase, path: Path) -> bool:
    """Save a model of a configuration; functions without a name cannot be."""
    try:
        model = model_of(case)
        model.save(path)
        keras.models.load_model(path, safe_mode=False)
    except Exception:
        return False
    finally:
        keras.backend.clear_session(free_memory=False)
    return True


def digests(folder: Path) -> Iterator[tuple[str, str]]:
    """Yield name and digest, or error, of every file."""
    for name, file in json.loads((folder / CONTENTS).read_text(encoding="utf-8")).items():
        yield name, digest(folder / file)
        keras.backend.clear_session(free_memory=False)


def digest(path: Path) -> str:
    """Return the digest of a file's ONNX model, the converter's error by class, or 'Keras: …' where it cannot load."""
    try:
        model: Any = keras.models.load_model(path, safe_mode=False)
    except Exception as error:
        return f"Keras: {type(error).__name__}"
    try:
        proto = convert_keras(model)
    except Any2OnnxError as error:
        return f"{type(error).__name__}: {error.summary}"
    path.with_suffix(f".{keras.backend.backend()}.onnx").write_bytes(proto.SerializeToString(deterministic=True))
    return hashlib.sha256(proto.SerializeToString(deterministic=True)).hexdigest()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["save", "convert"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--sample", action="store_true")
    given = parser.parse_args()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if given.what == "save":
            save(given.folder, given.sample)
        else:
            print(json.dumps({"backend": keras.backend.backend(), "digests": dict(digests(given.folder))}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
