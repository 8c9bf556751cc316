"""Side by side with skl2onnx, and with scikit-learn's own prediction, in one run.

    python benchmarks/sklearn.py                        # latency of all models at 1, 1,000 and 10,000 rows
    python benchmarks/sklearn.py forest logistic        # some of them
    python benchmarks/sklearn.py --large-forest         # conversion of forests of two million nodes
    python benchmarks/sklearn.py --large-forest classifier

The three contestants take turns on the same rows, and the fastest run of each counts: on a busy machine the others say
more about the neighbours. Ratios above 1 mean that our graph is faster.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Python puts the script's own folder first, where this file would be taken for the package it measures.
sys.path[:] = [folder for folder in sys.path if Path(folder or ".").resolve() != Path(__file__).resolve().parent]

import numpy as np  # noqa: E402
import onnxruntime as ort  # noqa: E402
import sklearn  # noqa: E402
from sklearn.base import is_classifier, is_outlier_detector  # noqa: E402
from sklearn.cluster import KMeans  # noqa: E402
from sklearn.compose import ColumnTransformer  # noqa: E402
from sklearn.datasets import make_classification, make_regression  # noqa: E402
from sklearn.ensemble import (  # noqa: E402
    GradientBoostingClassifier,
    HistGradientBoostingRegressor,
    IsolationForest,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.feature_extraction.text import TfidfVectorizer  # noqa: E402
from sklearn.gaussian_process import GaussianProcessRegressor  # noqa: E402
from sklearn.gaussian_process.kernels import RBF, ConstantKernel  # noqa: E402
from sklearn.linear_model import LogisticRegression  # noqa: E402
from sklearn.neighbors import KNeighborsClassifier  # noqa: E402
from sklearn.neural_network import MLPClassifier  # noqa: E402
from sklearn.pipeline import make_pipeline  # noqa: E402
from sklearn.preprocessing import OneHotEncoder, StandardScaler  # noqa: E402
from sklearn.svm import SVC, SVR  # noqa: E402

from any2onnx import to_onnx  # noqa: E402

BATCHES = (1, 1_000, 10_000)


@dataclass(frozen=True)
class Case:
    """A fitted model.

    Attributes:
        model: The estimator or pipeline.
        rows: Makes n new rows: an array, or a frame.
        largest: Rows above this say nothing new and take minutes.
    """

    model: Any
    rows: Callable[[int], Any]
    largest: int = 10_000


def _numbers(features: int) -> Callable[[int], Any]:
    return lambda n: np.random.default_rng(1).normal(size=(n, features)).astype(np.float32)


def _classes(model: Any, features: int = 20, classes: int = 3, samples: int = 2_000) -> Case:
    x, y = make_classification(samples, features, n_informative=10, n_classes=classes, random_state=0)
    return Case(model.fit(x.astype(np.float32), y), _numbers(features))


def _values(model: Any, features: int = 20, samples: int = 2_000) -> Case:
    x, y = make_regression(samples, features, noise=1.0, random_state=0)
    return Case(model.fit(x.astype(np.float32), y / y.std()), _numbers(features))


def _mixed() -> Case:
    import pandas as pd

    def frame(n: int) -> Any:
        random = np.random.default_rng(n)
        numbers = {f"x{k}": random.normal(size=n).astype(np.float32) for k in range(6)}
        words = {f"c{k}": random.choice([f"level {v}" for v in range(12)], n) for k in range(3)}
        return pd.DataFrame({**numbers, **words})

    data = frame(2_000)
    y = (data["x0"] + (data["c0"] == "level 3") > 0.3).astype(int)
    columns = ColumnTransformer(
        [
            ("numbers", StandardScaler(), [f"x{k}" for k in range(6)]),
            ("words", OneHotEncoder(handle_unknown="ignore", sparse_output=False), [f"c{k}" for k in range(3)]),
        ]
    )
    return Case(make_pipeline(columns, LogisticRegression()).fit(data, y), frame)


def _text(words: int = 50_000) -> Case:
    random = np.random.default_rng(0)
    vocabulary = np.array([f"word{k:05d}" for k in range(words)])

    def documents(n: int) -> Any:
        drawn = np.random.default_rng(n).zipf(1.3, size=(n, 60)) % words
        return np.array([" ".join(row) for row in vocabulary[drawn]], dtype=object)

    # Each word occurs at least once, so that the vocabulary has its full size.
    corpus = np.array([" ".join(part) for part in np.array_split(random.permutation(vocabulary), 1_000)], dtype=object)
    model = make_pipeline(TfidfVectorizer(), LogisticRegression(max_iter=20))
    return Case(model.fit(corpus, np.arange(len(corpus)) % 2), documents, largest=1_000)


CASES: dict[str, Callable[[], Case]] = {
    "logistic": lambda: _classes(LogisticRegression()),
    "scaler+logistic": lambda: _classes(make_pipeline(StandardScaler(), LogisticRegression())),
    "forest": lambda: _classes(RandomForestClassifier(100, random_state=0, n_jobs=1)),
    "forest regressor": lambda: _values(RandomForestRegressor(100, random_state=0, n_jobs=1)),
    "gradient boosting": lambda: _classes(GradientBoostingClassifier(random_state=0)),
    "hist gradient boosting": lambda: _values(HistGradientBoostingRegressor(random_state=0)),
    "isolation forest": lambda: _classes(IsolationForest(random_state=0)),
    "svc": lambda: _classes(SVC()),
    "svr": lambda: _values(SVR()),
    "k-nn": lambda: _classes(KNeighborsClassifier()),
    "gaussian process": lambda: _values(
        GaussianProcessRegressor(ConstantKernel() * RBF(5.0), optimizer=None, alpha=1e-3), samples=500
    ),
    "mlp": lambda: _classes(MLPClassifier((100, 50), max_iter=20, random_state=0)),
    "k-means": lambda: _classes(KMeans(8, n_init=1, random_state=0)),
    "columns": _mixed,
    "text": _text,
}


def _session(model: Any) -> Any:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def _feeds(session: Any, rows: Any) -> dict[str, Any]:
    inputs = session.get_inputs()
    if hasattr(rows, "columns"):
        return {i.name: rows[[i.name]].to_numpy(dtype=object if i.type == "tensor(string)" else None) for i in inputs}
    return {inputs[0].name: rows.reshape(-1, 1) if rows.ndim < len(inputs[0].shape) else rows}


def _theirs(model: Any, case: Case) -> Any:
    from skl2onnx import convert_sklearn
    from skl2onnx.common.data_types import FloatTensorType, StringTensorType

    rows = case.rows(1)
    if hasattr(rows, "columns"):
        types = [
            (c, (StringTensorType if rows[c].dtype.kind not in "fi" else FloatTensorType)([None, 1])) for c in rows
        ]
    elif rows.dtype == object:
        types = [("x", StringTensorType([None, 1]))]
    else:
        types = [("x", FloatTensorType([None, rows.shape[1]]))]
    options = {id(model): {"zipmap": False}} if is_classifier(model) else None
    return convert_sklearn(
        model, initial_types=types, options=options, target_opset={"": 21, "ai.onnx.ml": 3, "com.microsoft": 1}
    )


def _predict(model: Any, rows: Any) -> None:
    """Compute what the graphs compute: labels and scores."""
    model.predict(rows)
    if hasattr(model, "predict_proba"):
        model.predict_proba(rows)
    elif is_outlier_detector(model) or hasattr(model, "decision_function"):
        model.decision_function(rows)
    elif hasattr(model, "transform") and not hasattr(model, "steps"):
        model.transform(rows)


def _fastest(contestants: dict[str, Callable[[], object]], seconds: float) -> dict[str, float]:
    """Return the shortest time of each in milliseconds; they take turns until the time is over."""
    best = dict.fromkeys(contestants, float("inf"))
    calls: dict[str, int] = {}
    for name, run in contestants.items():
        run()  # the first call finds cold caches, and empty pools of memory
        start = time.perf_counter()
        run()
        # A turn of a millisecond at least: a shorter one measures how cold the others left the caches.
        calls[name] = max(1, int(1e-3 / (time.perf_counter() - start)))
    end = time.perf_counter() + seconds
    rounds = 0
    while rounds < 3 or time.perf_counter() < end:
        for name, run in contestants.items():
            if calls[name] > 1:
                run()
            start = time.perf_counter()
            for _ in range(calls[name]):
                run()
            best[name] = min(best[name], (time.perf_counter() - start) / calls[name])
        rounds += 1
    return {name: best[name] * 1e3 for name in best}


def latency(names: list[str], seconds: float, precision: str | None) -> None:
    """Print milliseconds of the three and the ratios.

    Args:
        names: Models.
        seconds: For each model and number of rows.
        precision: Of our graphs; None: as they come.
    """
    options = {"precision": precision} if precision else None
    print(f"{'model':<24}{'rows':>7}{'ours ms':>11}{'skl2onnx':>11}{'sklearn':>11}{'× skl2onnx':>12}{'× sklearn':>11}")
    for name in names:
        case = CASES[name]()
        rows = case.rows(2)
        graphs = {"ours": _session(to_onnx(case.model, rows, options=options))}
        try:
            graphs["skl2onnx"] = _session(_theirs(case.model, case))
        except Exception as error:  # what the peer cannot convert, or onnxruntime cannot load, is a result
            print(f"{name:<24}skl2onnx: {type(error).__name__}: {str(error).splitlines()[0][:80]}")
        for n in (b for b in BATCHES if b <= case.largest):
            rows = case.rows(n)
            runs: dict[str, Callable[[], object]] = {}
            for who, session in graphs.items():
                feeds = _feeds(session, rows)
                runs[who] = lambda session=session, feeds=feeds: session.run(None, feeds)  # type: ignore[misc]
            model = case.model
            runs["sklearn"] = lambda model=model, rows=rows: _predict(model, rows)  # type: ignore[misc]
            best = _fastest(runs, seconds)
            ours, theirs, own = best["ours"], best.get("skl2onnx", float("nan")), best["sklearn"]
            print(f"{name:<24}{n:7d}{ours:11.3f}{theirs:11.3f}{own:11.3f}{theirs / ours:12.2f}{own / ours:11.2f}")


@dataclass(frozen=True)
class Forest:
    """A forest of more than two million nodes.

    Attributes:
        fit: Makes it.
        rows64: Its rows are float64.
    """

    fit: Callable[[], Any]
    rows64: bool = False


def _large_classifier() -> Any:
    x, y = make_classification(20_000, 20, n_informative=10, n_classes=3, flip_y=0.3, random_state=0)
    return RandomForestClassifier(300, random_state=0, n_jobs=-1).fit(x.astype(np.float32), y)


def _large_regressor() -> Any:
    x, y = make_regression(20_000, 20, noise=1.0, random_state=0)
    return RandomForestRegressor(92, max_features=4, random_state=0, n_jobs=-1).fit(x.astype(np.float32), y)


FORESTS: dict[str, Forest] = {
    "classifier": Forest(_large_classifier),
    "regressor": Forest(_large_regressor),
    "regressor64": Forest(_large_regressor, rows64=True),
}


def _convert_in_child(who: str, source: Path, target: Path, rows64: bool) -> None:
    """Convert a pickled forest in this process, twice, and print seconds and megabytes as JSON."""
    import joblib
    from skl2onnx import convert_sklearn as reference
    from skl2onnx.common.data_types import DoubleTensorType, FloatTensorType

    from any2onnx import convert_sklearn

    model = joblib.load(source)
    # A small model first: what is loaded on first use is no part of a conversion.
    rows = np.eye(3, dtype=np.float32)
    small, few = RandomForestClassifier(2, random_state=0).fit(rows, [0, 1, 2]), [("x", FloatTensorType([None, 3]))]
    convert_sklearn(small, initial_types=few, parity="off") if who == "ours" else reference(small, initial_types=few)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    types = [("x", (DoubleTensorType if rows64 else FloatTensorType)([None, model.n_features_in_]))]
    found: dict[str, float] = {}
    for moment in ("first", "again"):
        start = time.perf_counter()
        if who == "ours":
            convert_sklearn(model, initial_types=types, output_path=target, parity="off")
        else:
            options = {id(model): {"zipmap": False}} if is_classifier(model) else None
            target.write_bytes(reference(model, initial_types=types, options=options).SerializeToString())
        found[moment] = time.perf_counter() - start
        if moment == "first":
            found["memory"] = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(json.dumps(found))


def large_forests(names: list[str], runs: int) -> None:
    """Print seconds, extra memory and file size of both converters for forests of more than 2 million nodes.

    Each run is a process that converts twice; the converters take turns, and the fastest of the runs counts. The first
    conversion pays for memory that the process, or even the machine, has never touched: up to as much as the rest.
    """
    import joblib

    for name in names:
        model = FORESTS[name].fit()
        trees = [e.tree_ for e in model.estimators_]
        print(f"{name}: {len(trees)} trees, {sum(t.node_count for t in trees):,} nodes")
        results: dict[str, dict[str, float]] = {}
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder) / "forest.joblib"
            joblib.dump(model, source)
            for who in ("skl2onnx", "ours") * runs:
                target = Path(folder) / f"{who}.onnx"
                command = [sys.executable, __file__, "--child", who, str(source), str(target)]
                command += ["float64"] if FORESTS[name].rows64 else ["float32"]
                answer = subprocess.run(command, check=True, capture_output=True, text=True)
                found = json.loads(answer.stdout.splitlines()[-1])
                found["file"] = sum(f.stat().st_size for f in Path(folder).glob(f"{who}*")) / 1e6
                best = results.setdefault(who, found)
                results[who] = {key: min(best[key], found[key]) for key in found}
        for who, found in results.items():
            times = f"{found['first']:9.2f} s{found['again']:9.2f} s again"
            print(f"  {who:<10}{times}{found['memory']:9.0f} MB extra{found['file']:9.1f} MB file")
        ours, theirs = results["ours"], results["skl2onnx"]
        print("  ratios   " + "  ".join(f"{key} {theirs[key] / ours[key]:.1f}×" for key in ours))


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", help=f"of {', '.join(CASES)}")
    parser.add_argument("--seconds", type=float, default=1.0, help="per model and number of rows")
    parser.add_argument("--precision", choices=("float32", "float64"), help="of our graphs, where it is to be chosen")
    parser.add_argument(
        "--large-forest",
        nargs="*",
        metavar="FOREST",
        help=f"convert forests of two million nodes: {', '.join(FORESTS)}",
    )
    parser.add_argument("--runs", type=int, default=2, help="processes of each, of which the fastest counts")
    parser.add_argument("--child", nargs=4, metavar=("WHO", "MODEL", "ONNX", "DTYPE"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        who, source, target, dtype = arguments.child
        _convert_in_child(who, Path(source), Path(target), dtype == "float64")
    elif arguments.large_forest is not None:
        unknown = set(arguments.large_forest) - set(FORESTS)
        if unknown:
            parser.error(f"no such forest: {', '.join(sorted(unknown))}")
        large_forests(arguments.large_forest or list(FORESTS), arguments.runs)
    else:
        print(f"scikit-learn {sklearn.__version__}, onnxruntime {ort.__version__}, one thread, {os.cpu_count()} cores")
        unknown = set(arguments.models) - set(CASES)
        if unknown:
            parser.error(f"no such model: {', '.join(sorted(unknown))}")
        latency(arguments.models or list(CASES), arguments.seconds, arguments.precision)


if __name__ == "__main__":
    main()
