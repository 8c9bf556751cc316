"""How long `import any2onnx` takes, beside `import numpy`: five fresh processes each, the median counts."""

from __future__ import annotations

import statistics
import subprocess
import sys


def seconds(module: str) -> float:
    """Return the median time of importing a module in a fresh process."""
    code = f"import time; t = time.perf_counter(); import {module}; print(time.perf_counter() - t)"
    runs = [
        float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)
        for _ in range(5)
    ]
    return statistics.median(runs)


if __name__ == "__main__":
    for name in ("any2onnx", "numpy"):
        print(f"import {name}: {seconds(name):.3f} s")
