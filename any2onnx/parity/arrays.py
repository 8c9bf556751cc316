"""Saved arrays of a comparison: everything that the numbers of a report are computed from, in `.npz` files.

One file per case holds its inputs, one file per compared array holds both sides, the reference and what excuses an
error. `index.json` names them in the order of the report's results. Nothing is pickled.
"""

from __future__ import annotations

import dataclasses
import json
import re
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pathlib

    from any2onnx.parity.cases import Case
    from any2onnx.parity.compare import Floats
    from any2onnx.parity.report import OutputResult
    from any2onnx.parity.signature import Feeds
    from any2onnx.parity.ulp import Array

SCHEMA = "any2onnx.parity-arrays/1"
INDEX = "index.json"


@dataclasses.dataclass(frozen=True)
class Compared:
    """One comparison with what went into it.

    Attributes:
        framework: The framework as run.
        reference: The framework in float64, or None.
        onnx: onnxruntime, from the session that the result speaks of.
        columns: Units per row: a budget belongs to a row, or to each element of it. The arrays below have one entry per
            unit, row by row; they are None for what is judged by equality.
        scale: What errors of the unit are measured against.
        sensitivity: Change of the reference under half-ulp input changes; None where not measured.
        own: The framework's own error that counts: its largest at the unit, at neighbouring inputs, or at like units.
        framework_factor: What ``own`` is multiplied with in the budget.
        repeat: Difference between two runs of the framework, relative to the scale.
        tolerance: Relative tolerance of the dtype.
        fixed_budget: The user's relative budget, or None.
    """

    framework: Array
    reference: Array | None
    onnx: Array
    columns: int = 1
    scale: Floats | None = None
    sensitivity: Floats | None = None
    own: Floats | None = None
    framework_factor: float = 0.0
    repeat: float = 0.0
    tolerance: float = 0.0
    fixed_budget: float | None = None


class ArrayStore:
    """Writes the arrays of a comparison to a folder.

    Args:
        folder: Made if it does not exist.
    """

    def __init__(self, folder: pathlib.Path) -> None:
        self._folder = folder
        self._entries: list[dict[str, Any]] = []
        self._cases: dict[tuple[str, str], str] = {}
        folder.mkdir(parents=True, exist_ok=True)

    def add(self, case: Case, result: OutputResult, compared: Compared) -> None:
        """Write one comparison, and the inputs of its case when they are new."""
        inputs = self._inputs(case)
        name = f"{len(self._entries):04d}-{_slug(result.output)}.npz"
        arrays = {"framework": compared.framework, "onnx": compared.onnx}
        for key in ("reference", "scale", "sensitivity", "own"):
            if getattr(compared, key) is not None:
                arrays[key] = getattr(compared, key)
        _write(self._folder / name, arrays)
        self._entries.append(
            {
                "output": result.output,
                "suite": result.suite,
                "case": result.case,
                "rows": case.rows,
                "optimised": result.optimised,
                "inputs": inputs,
                "arrays": name,
                "dtypes": {key: values.dtype.name for key, values in arrays.items()},
                "columns": compared.columns,
                "framework_factor": compared.framework_factor,
                "repeat": compared.repeat if np.isfinite(compared.repeat) else None,
                "tolerance": compared.tolerance,
                "fixed_budget": compared.fixed_budget,
            }
        )

    def close(self) -> None:
        """Write the index."""
        from any2onnx.io.atomic import write_text

        text = json.dumps({"schema": SCHEMA, "compared": self._entries}, indent=1, allow_nan=False, ensure_ascii=False)
        write_text(self._folder / INDEX, text + "\n")

    def _inputs(self, case: Case) -> str:
        key = (case.suite, case.name)
        if key not in self._cases:
            name = f"inputs-{len(self._cases):04d}-{_slug(case.suite)}.npz"
            _write(self._folder / name, case.feeds)
            self._cases[key] = name
        return self._cases[key]


def load_arrays(path: pathlib.Path, dtypes: dict[str, str] | None = None) -> Feeds:
    """Read one file of a store; ``dtypes`` (from the index) restores what numpy has no name for."""
    with np.load(path, allow_pickle=False) as stored:
        arrays = {name: stored[name] for name in stored.files}
    for name, dtype in (dtypes or {}).items():
        if dtype == "bfloat16" and arrays[name].dtype == np.uint16:
            import ml_dtypes

            arrays[name] = arrays[name].view(ml_dtypes.bfloat16)
        elif dtype == "object":
            arrays[name] = arrays[name].astype(object)
    return arrays


def _write(path: pathlib.Path, arrays: Feeds) -> None:
    np.savez_compressed(path, allow_pickle=False, **{name: _storable(values) for name, values in arrays.items()})


def _storable(values: Array) -> Array:
    if values.dtype.kind == "O":
        return values.astype(str)
    if values.dtype.name == "bfloat16":
        return np.ascontiguousarray(values).view(np.uint16)
    return values


def _slug(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", text)[:60] or "output"
