"""Runs the table of operations in a process of its own: `python run_ops.py BACKEND OPSETS OUTPUT [--write] [NAME ...]`.

Writes a JSON object: opset → case → "" or what went wrong; "Keras: …" where Keras itself raises under the backend,
"refused: …" where the converter says by name that the backend does something else. Both are listed in
ops_not_everywhere.tsv, which --write writes anew for the backend. Several opsets, as in 13,18, share the answers of
Keras.
"""

from __future__ import annotations

import csv
import json
import os
import re
import sys
import traceback
from typing import Any

import numpy as np


def flat(structure: Any) -> list[Any]:
    """Return the leaves of a nested result."""
    if isinstance(structure, dict):
        return [leaf for value in structure.values() for leaf in flat(value)]
    if isinstance(structure, list | tuple):
        return [leaf for value in structure for leaf in flat(value)]
    return [] if structure is None else [structure]


NARROWED = {"float64": "float32", "int64": "int32", "uint64": "uint32"}
BY_KERAS, BY_US = "Keras:", "refused:"
LIST = os.path.join(os.path.dirname(os.path.abspath(__file__)), "ops_not_everywhere.tsv")


def brief(error: Exception) -> str:
    """Return class and first words of an error, without colours and the names of kernels."""
    plain = re.sub(r"\x1b\[\d+m|\{\{.*?\}\}", "", str(error))
    lines = [line.strip() for line in plain.splitlines() if line.strip()]
    said = [line for line in lines if not line.startswith("Exception encountered")] or lines or [""]
    return f"{type(error).__name__}: {said[0][:140]}"


def listed() -> dict[tuple[str, str], str]:
    """Return what ops_not_everywhere.tsv has: (backend, case) to the reason."""
    with open(LIST, encoding="utf-8", newline="") as file:
        return {(row["backend"], row["case"]): row["reason"] for row in csv.DictReader(file, delimiter="\t")}


def write(backend: str, found: dict[str, str]) -> None:
    """Replace what the list says about the cases that were run."""
    rows = {key: reason for key, reason in listed().items() if key[0] != backend or key[1] not in found}
    rows |= {(backend, case): what for case, what in found.items() if what.startswith((BY_KERAS, BY_US))}
    with open(LIST, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter="\t", lineterminator="\n")
        writer.writerow(["backend", "case", "reason"])
        writer.writerows([*key, reason] for key, reason in sorted(rows.items()))


def convert(call: Any, arrays: tuple[np.ndarray, ...], opset: int, batch: int | None) -> Any:
    """Return the ONNX model of a call; dims of size `batch` are dynamic."""
    import onnx
    import onnx_ir as ir

    from any2onnx.converters.keras.trace import trace
    from any2onnx.converters.translator import Translator
    from any2onnx.graph.builder import GraphBuilder
    from any2onnx.graph.opsets import Opsets
    from any2onnx.graph.types import Value
    from any2onnx.operator_mappings.keras_backend import ROWS
    from any2onnx.operator_mappings.registry import Registry

    g = GraphBuilder(Opsets.of(opset))
    translator = Translator(Registry.of(ROWS), "keras", g)
    values = [
        g.input(f"x{k}", ir.DataType.from_numpy(a.dtype), ["batch" if d == batch else d for d in a.shape])
        for k, a in enumerate(arrays)
    ]
    results = trace(call, values, g=g, convert=translator.convert)
    # Sizes of dims and the like are numbers, or extents: not what is compared.
    outputs = {f"y{k}": v for k, v in enumerate(flat(results)) if isinstance(v, Value)}
    if not outputs:
        return None
    proto = ir.to_proto(g.build(outputs))
    onnx.checker.check_model(proto, full_check=True)
    return proto


def answers(case: Any) -> list[Any] | str:
    """Return what Keras answers, or how it refuses."""
    import keras

    tensors = [keras.ops.convert_to_tensor(a) for a in case.arrays]
    try:
        with np.errstate(all="ignore"):
            return flat(case.call(keras.ops, *tensors))
    except Exception as error:
        return f"{BY_KERAS} {brief(error)}"


def problem(case: Any, opset: int, batch: int | None, wanted: list[Any]) -> str:
    """Return what differs between Keras and the converted call, or ''."""
    import keras
    import onnxruntime

    proto = convert(lambda *xs: case.call(keras.ops, *xs), case.arrays, opset, batch)
    if proto is None:
        return "" if all(isinstance(v, int | bool | str) for v in wanted) else "no outputs"
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    feeds = {i.name: case.arrays[int(i.name[1:])] for i in session.get_inputs()}
    names = [o.name for o in session.get_outputs()]
    for name, a in zip(names, session.run(None, feeds), strict=True):
        b = wanted[int(name[1:])]
        typed = hasattr(b, "dtype") and not case.other_dtype
        b = np.asarray(keras.ops.convert_to_numpy(b))
        if keras.backend.backend() == "jax" and NARROWED.get(a.dtype.name) == b.dtype.name:
            # JAX has its 64-bit types switched off; the graph is that of the other backends.
            b = b.astype(a.dtype)
        if (typed and a.dtype != b.dtype) or a.shape != b.shape:
            return f"output {name} is {a.dtype}{a.shape}, Keras gives {b.dtype}{b.shape}"
        if b.dtype.kind in "biu":
            if case.ties and np.abs(a.astype(int) - b.astype(int)).max() <= 1 and (a != b).mean() < 0.02:
                continue
            if not np.array_equal(a, b):
                return f"output {name} is {a.ravel()[:12]}, Keras gives {b.ravel()[:12]}"
            continue
        finite = b[np.isfinite(b)]
        scale = max(1.0, float(np.abs(finite).max())) if finite.size else 1.0
        if not np.allclose(a, b, rtol=case.tolerance, atol=case.tolerance * scale, equal_nan=True):
            return f"output {name} is {a.ravel()[:12]}, Keras gives {b.ravel()[:12]}"
    return ""


def outcome(case: Any, opset: int, batch: int | None, wanted: list[Any] | str) -> str:
    """Return '', or what went wrong and whose doing it is."""
    from any2onnx.errors import UnsupportedOperator, UnsupportedParameter

    if isinstance(wanted, str):
        return wanted
    try:
        return problem(case, opset, batch, wanted)
    except (UnsupportedOperator, UnsupportedParameter) as error:
        return f"{BY_US} {error.summary}"
    except Exception as error:  # reported by the test that reads the file
        last = traceback.extract_tb(error.__traceback__)[-1]
        return f"{type(error).__name__}: {str(error)[:600]} ({os.path.basename(last.filename)}:{last.lineno})"


def main() -> None:
    backend, opsets, output, *names = [argument for argument in sys.argv[1:] if argument != "--write"]
    os.environ["KERAS_BACKEND"] = backend
    # Every function is compiled once for every shape, and run once.
    os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
    from ops_table import CASES, B

    found: dict[int, dict[str, str]] = {int(opset): {} for opset in opsets.split(",")}
    seen: set[str] = set()
    for case in CASES:
        wide = [opset for opset in found if case.opset <= opset]
        if (names and case.name not in names) or not wide:
            continue
        wanted = answers(case)
        # All static once per operation: what is dynamic is the harder half.
        for batch in (B,) if case.name in seen else (None, B):
            seen.add(case.name)
            for opset in wide:
                key = f"{case.name}-{case.label}-{'static' if batch is None else 'dynamic'}"
                while key in found[opset]:
                    key += "+"
                found[opset][key] = outcome(case, opset, batch, wanted)
    with open(output, "w", encoding="utf-8") as file:
        json.dump(found, file)
    if "--write" in sys.argv:
        every = [pair for of_opset in found.values() for pair in of_opset.items()]
        # What is refused at one opset is listed, whatever the others do.
        write(backend, dict(sorted(every, key=lambda pair: pair[1].startswith((BY_KERAS, BY_US)))))


if __name__ == "__main__":
    main()
