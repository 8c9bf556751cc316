"""`any2onnx demo`: the main job on real input, for all three frameworks."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np
from rich.console import Console

from any2onnx.errors import ParityError


@click.command(
    epilog="""\b
Examples:
  any2onnx demo
  any2onnx demo --only sklearn --keep models/
"""
)
@click.option(
    "--only", type=click.Choice(["sklearn", "keras", "pytorch", "shell"]), multiple=True, help="Run these parts."
)
@click.option("--keep", type=click.Path(file_okay=False, path_type=Path), help="Keep the files in this folder.")
def demo(only: tuple[str, ...], keep: Path | None) -> None:
    """Convert a scikit-learn, a Keras and a PyTorch model and compare each with onnxruntime."""
    console = Console(highlight=False)
    parts: dict[str, Callable[[Console, Path], None]] = {
        "sklearn": _sklearn,
        "keras": _keras,
        "pytorch": _pytorch,
        "shell": _shell,
    }
    with tempfile.TemporaryDirectory(prefix="any2onnx-demo-") as scratch:
        folder = keep or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        for name, part in parts.items():
            if only and name not in only:
                continue
            start = time.perf_counter()
            part(console, folder)
            console.print(f"[dim]{name}: {time.perf_counter() - start:.1f} s[/dim]\n")
    console.print("All parts agree with their originals.")


def _sklearn(console: Console, folder: Path) -> None:
    from any2onnx.api import check_parity, convert_sklearn, save_model, to_onnx
    from any2onnx.data_types import FloatTensorType
    from any2onnx.demo import models

    console.rule("scikit-learn")
    X_train, X_test, _, _ = models.score_data()
    regressor = models.score_regression()
    expected = regressor.predict(X_test)
    by_types = convert_sklearn(regressor, initial_types=[("float_input", FloatTensorType([None, 1]))])
    by_sample = to_onnx(regressor, X_train[:1].astype(np.float32))
    console.print("hours → scores, scikit-learn ", _numbers(expected))
    for proto in (by_types, by_sample):
        got = _run(proto, X_test.astype(np.float32))[0].ravel()
        console.print("hours → scores, onnxruntime  ", _numbers(got))
        _agree(got, expected.astype(np.float32), 4)
    save_model(by_types, folder / "scores.onnx")

    frame, _ = models.mixed_frame()
    pipeline = models.mixed_pipeline()
    proto = to_onnx(pipeline, frame.head())
    report = check_parity(pipeline, proto, frame[1::2])
    console.print("\nmixed columns → imputer, scaler, one-hot, gradient boosting:", report)
    report.raise_if_failed()
    save_model(proto, folder / "wines.onnx")


def _keras(console: Console, folder: Path) -> None:
    from any2onnx.api import convert_keras, save_model
    from any2onnx.demo import models

    console.rule("Keras")
    model = models.keras_resnet50()
    start = time.perf_counter()
    proto = convert_keras(model, model.name)
    seconds = time.perf_counter() - start
    save_model(proto, folder / "resnet50.onnx")
    operators = [node.op_type for node in proto.graph.node]
    console.print(
        f"ResNet50: {len(model.layers)} layers → {len(operators)} nodes in {seconds:.2f} s, "
        f"{operators.count('Transpose')} Transpose, {operators.count('BatchNormalization')} BatchNormalization"
    )
    rng = np.random.default_rng(0)
    for batch in (1, 3):
        images = rng.random((batch, 224, 224, 3), np.float32)
        _agree(_run(proto, images)[0], np.asarray(model.predict(images, verbose=0)), 64)
        console.print(f"batch {batch}: onnxruntime gives what Keras gives")


def _pytorch(console: Console, folder: Path) -> None:
    import torch

    from any2onnx.api import check_parity, convert_pytorch, save_model
    from any2onnx.demo import models

    console.rule("PyTorch")
    model = models.torch_resnet()
    images, _ = models.digit_images()
    proto = convert_pytorch(model, (images[:2],), dynamic_shapes={"x": {0: torch.export.Dim("batch")}})
    save_model(proto, folder / "digits.onnx")
    report = check_parity(model, proto, images[1000:1064].numpy())
    console.print("digits → residual network:", report)
    report.raise_if_failed()


def _shell(console: Console, folder: Path) -> None:
    import skops.io

    from any2onnx.demo import models

    console.rule("shell")
    frame, _ = models.mixed_frame()
    frame.to_csv(folder / "wines.csv", index=False)
    skops.io.dump(models.mixed_pipeline(), folder / "wines.skops")
    models.keras_small_cnn().save(folder / "small_cnn.keras")
    images = np.random.default_rng(0).random((8, 16, 16, 3), np.float32)
    np.save(folder / "images.npy", images)
    # A tree is compiled code over arrays of the file, so loading one is the caller's decision.
    tree = ("--trust-type", "sklearn.tree._tree.Tree")
    for source, data, trust in (("wines.skops", "wines.csv", tree), ("small_cnn.keras", "images.npy", ())):
        target = f"{Path(source).stem}.onnx"
        _command(console, folder, 0, "convert", source, "-o", target, "--sample", data, "--force", *trust)
        _command(console, folder, 0, "parity", source, target, "--data", data, *trust)
    altered = _altered(folder / "wines.onnx")
    _command(console, folder, 1, "parity", "wines.skops", altered.name, "--data", "wines.csv", *tree)


def _command(console: Console, folder: Path, expected: int, *arguments: str) -> None:
    console.print(f"$ any2onnx {' '.join(arguments)}", style="bold", markup=False)
    done = subprocess.run(  # noqa: S603 - our own command line, with arguments written above
        [sys.executable, "-m", "any2onnx", *arguments], cwd=folder, capture_output=True, text=True, check=False
    )
    console.print("\n".join(done.stdout.strip().splitlines()[-2:]), markup=False)
    console.print(f"exit code {done.returncode}")
    if done.returncode != expected:
        raise ParityError(
            f"any2onnx {arguments[0]} gave exit code {done.returncode}, not {expected}", where=done.stderr
        )


def _altered(path: Path) -> Path:
    """Write a copy of a model with one number changed by a thousandth, and return its path."""
    import onnx
    from onnx import numpy_helper

    from any2onnx.api import save_model

    proto = onnx.load(path)
    tensor = next(t for t in proto.graph.initializer if t.data_type in (1, 11) and np.any(numpy_helper.to_array(t)))
    array = numpy_helper.to_array(tensor).copy()
    array.flat[np.argmax(np.abs(array))] *= 1.5
    tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    target = path.with_name("altered.onnx")
    save_model(proto, target)
    return target


def _run(proto: Any, array: np.ndarray[Any, Any]) -> list[np.ndarray[Any, Any]]:
    import onnxruntime

    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: array})  # type: ignore[no-any-return]


def _agree(got: np.ndarray[Any, Any], expected: np.ndarray[Any, Any], ulps: int) -> None:
    """Raise unless float32 results agree to `ulps` units in the last place of their scale."""
    scale = np.max(np.abs(expected))
    error = np.max(np.abs(got - expected)) / (np.finfo(np.float32).eps * scale)
    if not error <= ulps:
        raise ParityError(f"onnxruntime differs by {error:.1f} ulp of the outputs' scale, {ulps} are allowed")


def _numbers(array: np.ndarray[Any, Any]) -> str:
    return " ".join(f"{number:.8f}" for number in array)
