"""Side by side with Keras's own `model.export(format="onnx")` on the TensorFlow backend (tf2onnx), in one run.

    python benchmarks/keras.py                 # ResNet50
    python benchmarks/keras.py --all           # and MobileNetV2, EfficientNetV2B0, BiLSTM, transformer, ConvNeXt

Prints CPU seconds of the conversion, nodes, Transposes, size and onnxruntime latency of both, and the ratios. Both
conversions are what a user calls with its defaults (ours without the parity check, which is off by default; theirs has
none), both write a file, and each starts with a collected heap. Latencies are taken in turns, so that whatever else
runs on the machine slows both.
"""

from __future__ import annotations

import argparse
import gc
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

# Python puts the script's own folder first, where this file would be taken for the package it measures.
sys.path[:] = [folder for folder in sys.path if Path(folder or ".").resolve() != Path(__file__).resolve().parent]
os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras  # noqa: E402
import numpy as np  # noqa: E402
import onnx  # noqa: E402
import onnxruntime as ort  # noqa: E402
from keras import layers  # noqa: E402

from any2onnx import convert_keras  # noqa: E402


@dataclass(frozen=True)
class Result:
    """One conversion.

    Attributes:
        seconds: CPU time of the conversion, all threads.
        nodes: Number of nodes.
        transposes: Of these, Transpose.
        megabytes: Size of the file.
        latency: Median CPU milliseconds of one run at batch 1, one thread.
        error: Largest difference from Keras, of the output's scale; nan where the model does not run.
        failure: Why it does not run.
    """

    seconds: float
    nodes: int = 0
    transposes: int = 0
    megabytes: float = 0.0
    latency: float = float("nan")
    error: float = float("nan")
    failure: str = ""


def application(name: str, size: int = 224) -> Callable[[], Any]:
    """Return a function that builds a network of keras.applications with random weights."""

    def build() -> Any:
        return getattr(keras.applications, name)(weights=None, input_shape=(size, size, 3))

    return build


def bilstm() -> Any:
    """Return two bidirectional layers of LSTM."""
    x = keras.Input((40, 64))
    y = layers.Bidirectional(layers.LSTM(64, return_sequences=True))(x)
    y = layers.Bidirectional(layers.LSTM(64))(y)
    return keras.Model(x, layers.Dense(10)(y))


def transformer() -> Any:
    """Return a transformer encoder of four blocks."""
    x = keras.Input((64, 128))
    y = x
    for _ in range(4):
        attended = layers.MultiHeadAttention(4, 32)(y, y)
        y = layers.LayerNormalization()(layers.Add()([y, attended]))
        forward = layers.Dense(128)(layers.Dense(512, activation="relu")(y))
        y = layers.LayerNormalization()(layers.Add()([y, forward]))
    return keras.Model(x, layers.Dense(10)(layers.GlobalAveragePooling1D()(y)))


MODELS: dict[str, Callable[[], Any]] = {
    "ResNet50": application("ResNet50"),
    "MobileNetV2": application("MobileNetV2"),
    "EfficientNetV2B0": application("EfficientNetV2B0"),
    "BiLSTM": bilstm,
    "transformer": transformer,
    "ConvNeXtTiny": application("ConvNeXtTiny"),
}


def randomized(model: Any) -> Any:
    """Give the statistics and offsets values as after training."""
    random = np.random.default_rng(0)
    for weight in model.weights:
        if any(part in weight.path for part in ("moving", "gamma", "beta", "bias")):
            low, high = (0.5, 1.5) if "variance" in weight.path or "gamma" in weight.path else (-0.2, 0.2)
            weight.assign(random.uniform(low, high, weight.shape).astype("float32"))
    return model


def measured(path: Path, seconds: float, x: Any, wanted: Any) -> tuple[Result, Callable[[], Any] | None]:
    """Count and run a converted file; return also a function that runs it, None where onnxruntime refuses it."""
    proto = onnx.load(path)
    kinds = [node.op_type for node in proto.graph.node]
    size = path.stat().st_size / 1e6
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    try:
        session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        feeds = {session.get_inputs()[0].name: x}
        (got,) = session.run(None, feeds)
    except Exception as error:  # the peer's file may be one that onnxruntime refuses: that is a result
        reason = str(error).splitlines()[0][:90]
        return Result(seconds, len(kinds), kinds.count("Transpose"), size, failure=reason), None
    difference = float(np.abs(got - wanted).max() / np.abs(wanted).max())
    found = Result(seconds, len(kinds), kinds.count("Transpose"), size, error=difference)
    return found, lambda: session.run(None, feeds)


def latencies(*runs: Callable[[], Any] | None, rounds: int = 20) -> list[float]:
    """Return the median CPU milliseconds of each function, called in turns."""
    times: list[list[float]] = [[] for _ in runs]
    for _ in range(rounds):
        for run, taken in zip(runs, times, strict=True):
            if run is not None:
                start = time.process_time()
                run()
                taken.append((time.process_time() - start) * 1e3)
    return [statistics.median(taken) if taken else float("nan") for taken in times]


def compare(name: str, model: Any, folder: Path) -> tuple[Result, Result]:
    """Convert a model both ways; return our result and that of model.export."""
    x = np.random.default_rng(1).normal(size=(1, *model.input_shape[1:])).astype("float32")
    wanted = np.asarray(model(x, training=False))
    ours, theirs = folder / f"{name}.ours.onnx", folder / f"{name}.theirs.onnx"
    gc.collect()
    start = time.process_time()
    convert_keras(model, name, output_path=ours)
    first = time.process_time() - start
    gc.collect()
    start = time.process_time()
    model.export(str(theirs), format="onnx", verbose=False)
    second = time.process_time() - start
    results, runs = zip(measured(ours, first, x, wanted), measured(theirs, second, x, wanted), strict=True)
    left, right = (replace(r, latency=t) for r, t in zip(results, latencies(*runs), strict=True))
    return left, right


def line(label: str, result: Result) -> str:
    """Return a row of the table."""
    return (
        f"  {label:<13}{result.seconds:8.2f} s{result.nodes:7d} nodes{result.transposes:5d} Transposes"
        f"{result.megabytes:8.1f} MB{result.latency:9.2f} ms{result.error:10.1e}  {result.failure}"
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", help=f"of {', '.join(MODELS)}; ResNet50 by default")
    parser.add_argument("--all", action="store_true", help="every model")
    chosen = parser.parse_args()
    names = list(MODELS) if chosen.all else chosen.models or ["ResNet50"]
    with tempfile.TemporaryDirectory() as folder:
        # A first conversion of each kind loads modules; it is not measured.
        warm = keras.Sequential([keras.Input((2,)), layers.Dense(2)])
        compare("warm", warm, Path(folder))
        for name in names:
            ours, theirs = compare(name, randomized(MODELS[name]()), Path(folder))
            ratio = ours.latency / theirs.latency
            print(
                f"{name}: conversion's CPU time ÷ {theirs.seconds / ours.seconds:.1f}, nodes {ours.nodes} against "
                f"{theirs.nodes}, latency × {ratio:.2f}" + (" (theirs does not run)" if theirs.failure else "")
            )
            print(line("any2onnx", ours))
            print(line("model.export", theirs), flush=True)


if __name__ == "__main__":
    main()
