"""One million rows of 20 features: a classifier against its ONNX form, row by row, in constant memory.

    python benchmarks/million_rows.py [logistic|boosting|forest ...]

Prints seconds (wall and CPU), rows per second, and the growth of the process between the first tenth and the end.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import Any

# Python puts the script's own folder first, where sklearn.py would be taken for the package.
sys.path[:] = [folder for folder in sys.path if Path(folder or ".").resolve() != Path(__file__).resolve().parent]

import numpy as np  # noqa: E402

ROWS, FEATURES = 1_000_000, 20


def resident() -> float:
    """Return the resident memory of this process in MB (Linux)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1000
    raise RuntimeError("no VmRSS")


def models() -> dict[str, Any]:
    """Return the classifiers by name."""
    from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return {
        "logistic": make_pipeline(StandardScaler(), LogisticRegression()),
        "boosting": HistGradientBoostingClassifier(max_iter=50, random_state=0),
        "forest": RandomForestClassifier(30, max_depth=10, n_jobs=2, random_state=0),
    }


def main(names: list[str]) -> None:
    """Run the benchmark for some models."""
    import any2onnx
    from any2onnx.parity import check_parity_stream

    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.npy"
        table = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(ROWS, FEATURES))
        for at in range(0, ROWS, 100_000):
            table[at : at + 100_000] = rng.standard_normal((100_000, FEATURES), dtype=np.float32)
        X = np.array(table[:20_000])
        del table
        y = (X[:, 0] + X[:, 1] * X[:, 2] > 0).astype(int)
        for name, model in models().items():
            if names and name not in names:
                continue
            proto = any2onnx.to_onnx(model.fit(X, y), X)
            seen: list[tuple[int, float]] = []
            start, cpu = time.perf_counter(), time.process_time()
            report = check_parity_stream(
                model, proto, path, progress=lambda done, total, seen=seen: seen.append((done, resident()))
            )
            wall, cpu = time.perf_counter() - start, time.process_time() - cpu
            early = max(used for done, used in seen if done <= ROWS // 10)
            grown = max(used for _, used in seen) - early
            print(
                f"{name:<9} {report.verdict.value}  {wall:6.1f} s wall  {cpu:6.1f} s CPU  "
                f"{ROWS / wall:,.0f} rows/s  memory +{grown:.0f} MB of {early:.0f} MB  {report.last_line}",
                flush=True,
            )


if __name__ == "__main__":
    main(sys.argv[1:])
