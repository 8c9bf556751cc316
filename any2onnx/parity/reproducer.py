"""A divergence as three files that stand on their own: the culprit, its inputs, and a script that shows the error."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from any2onnx.parity.instrumented import Graph, extract

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Mapping, Sequence

    from any2onnx.parity.findings import Divergence
    from any2onnx.parity.ulp import Array

MODEL, INPUTS, SCRIPT = "culprit.onnx", "inputs.npz", "repro.py"

_SCRIPT = '''"""{title}

Needs numpy, onnx and onnxruntime only. Exits with 1 while the error is there.
"""
import pathlib
import sys

import numpy as np
import onnx
import onnxruntime

HERE = pathlib.Path(__file__).resolve().parent
VALUE = {value!r}


def error(got, wanted):
    got, wanted = np.asarray(got, dtype=np.float64).ravel(), np.asarray(wanted, dtype=np.float64).ravel()
    same = (got == wanted) | (np.isnan(got) & np.isnan(wanted))
    if not (same | (np.isfinite(got) & np.isfinite(wanted))).all():
        return float("inf")
    apart = np.abs(np.where(same, 0.0, got) - np.where(same, 0.0, wanted)).max(initial=0.0)
    return float(apart / max(np.abs(wanted[np.isfinite(wanted)]).max(initial=0.0), 1e-300))


stored = np.load(HERE / "{inputs}", allow_pickle=False)
feeds = {{name[3:]: stored[name] for name in stored.files if name.startswith("in:")}}
model = onnx.load(HERE / "{model}")
session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
names = {{item.name for item in session.get_inputs()}}
got = session.run([VALUE], {{name: value for name, value in feeds.items() if name in names}})[0]
print("onnxruntime   ", np.asarray(got).ravel()[:8])
try:
    from onnx.reference import ReferenceEvaluator

    second = ReferenceEvaluator(model).run([VALUE], feeds)[0]
    print("onnx.reference", np.asarray(second).ravel()[:8])
except Exception as problem:
    print("onnx.reference does not run it:", problem)
wanted = stored["expected"] if "expected" in stored.files else None
if wanted is None:
    print("the framework shows no value to compare with")
    sys.exit(0)
print("expected      ", wanted.ravel()[:8])
off = error(got, wanted)
print("error relative to the scale:", off)
sys.exit(1 if not off <= {limit!r} else 0)
'''


def write(
    folder: pathlib.Path,
    graph: Graph,
    nodes: Sequence[int],
    inputs: Mapping[str, Array],
    found: Divergence,
    got: Array | None,
    expected: Array | None,
) -> tuple[str, ...]:
    """Write the files.

    Args:
        folder: Made if it does not exist.
        graph: The whole graph.
        nodes: The culprit's nodes.
        inputs: What they start from.
        found: The finding.
        got: onnxruntime's value.
        expected: The right value, None when it is not known.

    Returns:
        The paths.
    """
    import onnx

    folder.mkdir(parents=True, exist_ok=True)
    model: Any = extract(graph, nodes, inputs, [found.value])
    onnx.save(model, folder / MODEL)
    arrays = {f"in:{name}": storable(value) for name, value in inputs.items()}
    if got is not None:
        arrays["onnxruntime"] = storable(got)
    if expected is not None:
        arrays["expected"] = storable(expected)
    np.savez_compressed(folder / INPUTS, allow_pickle=False, **arrays)
    title = f"{found.cause}: {found.operator} at {found.value!r}. {found.explanation}".replace('"""', "'''")
    script = _SCRIPT.format(title=title.replace("\\", "/"), value=found.value, inputs=INPUTS, model=MODEL, limit=1e-6)
    (folder / SCRIPT).write_text(script, encoding="utf-8")
    return tuple(str(folder / name) for name in (MODEL, INPUTS, SCRIPT))


def storable(values: Array) -> Array:
    """Return an array in a form that is stored without pickling: text as text."""
    return values.astype(str) if values.dtype.kind == "O" else values
