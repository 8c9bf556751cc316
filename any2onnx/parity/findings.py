"""What a parity report holds beside its comparisons: proofs, worst-case searches and the first divergence.

Plain frozen data with JSON-able content; arrays go to files, whose paths are named here.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

CAUSES = ("our rule", "onnxruntime", "float32 limit", "unknown")
Cause = Literal["our rule", "onnxruntime", "float32 limit", "unknown"]


@dataclasses.dataclass(frozen=True)
class Proof:
    """One statement about all inputs, read back from the ONNX file.

    Attributes:
        kind: ``trees`` (every row reaches the same leaf) or ``affine`` (error bound of a chain of affine steps).
        subject: What it is about: the estimator, layer or ONNX output.
        holds: True when the statement is proved; False when a counter-example or a difference was found.
        statement: The theorem, or what was found instead, in one sentence.
        bound: Certified bound of the absolute error (the largest over the rows for ``affine``), None without one.
        observed: Largest absolute error seen, None where it was not measured.
        differences: What contradicts the statement.
        assumed: What the proof takes for granted.
    """

    kind: Literal["trees", "affine"]
    subject: str
    holds: bool
    statement: str
    bound: float | None = None
    observed: float | None = None
    differences: tuple[str, ...] = ()
    assumed: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class SearchResult:
    """The worst row that a search found for one output.

    Attributes:
        output: ONNX output.
        used_before: Largest error / budget among the sampled rows.
        used: The same at the worst row that was found.
        rows_tried: Rows on which both sides were run.
        restarts: Starting points.
        interrupted: The time limit ended the search.
        vector: Path of the ``.npz`` file with the worst rows, None when it was not asked for.
        row: The worst row, by input name, shortened for display.
    """

    output: str
    used_before: float
    used: float
    rows_tried: int
    restarts: int
    interrupted: bool
    vector: str | None = None
    row: tuple[tuple[str, str], ...] = ()


@dataclasses.dataclass(frozen=True)
class Step:
    """The error of one intermediate value of the instrumented run.

    Attributes:
        value: Name of the value in the ONNX graph.
        operator: ONNX operator that makes it.
        source: Pipeline step, layer or FX node, empty when the file does not say.
        error: Largest error relative to the scale of the value; None where there is nothing to compare with.
        expected: What errors of its inputs, its own conditioning and one rounding explain, relative to the scale.
        amplification: ``error / expected``; None where there is nothing to compare with.
        matched: How its counterpart was found: ``provenance``, ``name``, ``value`` or ``onnx.reference``.
    """

    value: str
    operator: str
    source: str = ""
    error: float | None = None
    expected: float | None = None
    amplification: float | None = None
    matched: str = ""


@dataclasses.dataclass(frozen=True)
class Divergence:
    """The first place where the converted model itself goes wrong.

    Attributes:
        output: The output that failed.
        suite: Suite of the failing case.
        case: The case.
        row: The failing row.
        value: ONNX value of the culprit, empty when none could be told.
        operator: Its ONNX operator.
        source: Pipeline step, layer or FX node.
        cause: Whose fault: ``our rule`` (the graph says something else than the framework computes), ``onnxruntime``
            (the graph is right and the runtime is not), ``float32 limit`` (every float32 evaluation is that far off).
        explanation: The reasons in one or two sentences.
        steps: Errors of the intermediate values in graph order.
        files: Paths of ``culprit.onnx``, ``inputs.npz`` and ``repro.py``, empty when they were not written.
        vanished: Exposing the intermediate values made the error go away (a fusion is at fault).
    """

    output: str
    suite: str
    case: str
    row: int
    value: str
    operator: str
    source: str
    cause: Cause
    explanation: str
    steps: tuple[Step, ...] = ()
    files: tuple[str, ...] = ()
    vanished: bool = False


def plain(found: Any) -> Any:
    """Return a finding as dicts, lists and plain values; numbers that JSON lacks become None."""
    if dataclasses.is_dataclass(found) and not isinstance(found, type):
        return {field.name: plain(getattr(found, field.name)) for field in dataclasses.fields(found)}
    if isinstance(found, (tuple, list)):
        return [plain(item) for item in found]
    if isinstance(found, float) and not -float("inf") < found < float("inf"):
        return None
    return found
