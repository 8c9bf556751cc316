"""How far onnxruntime repeats itself: run after run, at another number of threads, in pieces instead of one batch.

onnxruntime promises no bit-repeatability, so it is measured: what differs by more than the tolerance of the dtype is
no rounding.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from any2onnx.parity import compare
from any2onnx.parity.compare import as_floats, comparable_as_floats
from any2onnx.parity.labels import canonical, equal_elements
from any2onnx.parity.report import OutputResult
from any2onnx.parity.runtime import OnnxFile, OnnxSession
from any2onnx.parity.ulp import is_float, ulp_distance
from any2onnx.parity.verdict import Verdict

if TYPE_CHECKING:
    from collections.abc import Sequence

    from any2onnx.parity.cases import Case
    from any2onnx.parity.reference import Bound
    from any2onnx.parity.running import Runs
    from any2onnx.parity.runtime import Leaf
    from any2onnx.parity.ulp import Array

RUNS = 3
THREADS = (1, 2)
# Methods whose columns are quantities of their own, with units of their own; the columns of probabilities, of scores
# and of tensors are one quantity.
BY_COLUMN = frozenset({"transform", "inverse_transform", "predict"})


def repeated(
    runs: Runs, case: Case, bound: Sequence[Bound], onnx_file: OnnxFile, scales: Sequence[float], *, random: bool
) -> list[OutputResult]:
    """Run onnxruntime several times, in new sessions with other thread counts too, and compare it with itself.

    Args:
        runs: The sides.
        case: The inputs.
        bound: The outputs.
        onnx_file: The model.
        scales: Size of each output.
        random: The framework itself gives another answer each time.

    Raises:
        RuntimeFailure: onnxruntime raised.
    """
    first = runs.onnx(case.feeds, case.rows)
    others = [runs.onnx(case.feeds, case.rows) for _ in range(RUNS - 1)]
    for threads in THREADS:
        session = OnnxSession(onnx_file, providers=runs.session.providers, threads=threads)
        others.append(runs.onnx(case.feeds, case.rows, session=session))
    results = []
    for item, scale in zip(bound, scales, strict=True):
        worst, used, ulps, bad = 0.0, 0.0, 0, False
        for port in item.ports:
            for other in others:
                for a, b in zip(first[port], other[port], strict=True):
                    tol = compare.tolerance(a.values.dtype, runs.signature.widest_float)
                    apart, steps, unlike = _apart(a.values, b.values)
                    worst, ulps, bad = max(worst, apart), max(ulps, steps), bad or unlike
                    if item.source in BY_COLUMN and a.values.ndim == 2:
                        used = max(used, _by_column(a.values, b.values) / tol)
                    elif apart:
                        used = max(used, apart / (tol * scale) if tol * scale else np.inf)
        results.append(_result(case, item, worst, used, ulps, bad, random=random))
    return results


def _apart(a: Array, b: Array) -> tuple[float, int, bool]:
    """Return the largest difference, the largest ULP distance, and whether discrete values or NaN differ."""
    if a.shape != b.shape or a.dtype != b.dtype:
        return 0.0, 0, True
    if not comparable_as_floats(a) or not a.size:
        return 0.0, 0, not bool(equal_elements(canonical(a), canonical(b)).all())
    left, right = as_floats(a), as_floats(b)
    same = (np.isnan(left) == np.isnan(right)) & (np.isinf(left) == np.isinf(right))
    steps = int(ulp_distance(left, right)[same].max(initial=0)) if is_float(left.dtype) else 0
    apart = float(compare.row_difference(left, right, 1).max(initial=0.0))
    return apart, steps, not bool(same.all())


def _by_column(a: Array, b: Array) -> float:
    """Return the largest difference relative to the size of its column, 0 for what is not compared as numbers."""
    if a.shape != b.shape or not comparable_as_floats(a) or not a.size:
        return 0.0
    left, right = as_floats(a).astype(np.float64), as_floats(b).astype(np.float64)
    known = np.isfinite(left) & np.isfinite(right)
    apart = np.abs(np.where(known, left, 0.0) - np.where(known, right, 0.0)).max(axis=0)
    size = np.abs(np.where(known, left, 0.0)).max(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(np.where(apart == 0, 0.0, apart / size).max(initial=0.0))


def _result(case: Case, bound: Bound, worst: float, used: float, ulps: int, bad: bool, *, random: bool) -> OutputResult:
    settings = f"{RUNS} runs, new sessions with {' and '.join(str(count) for count in THREADS)} threads"
    verdict, note = Verdict.EXACT, f"bit for bit the same in {settings}"
    if bad or used > 1:
        verdict = Verdict.INCONCLUSIVE if random else Verdict.MISMATCH
        note = f"onnxruntime gives different answers to the same inputs ({settings})"
    elif worst or ulps:
        verdict = Verdict.WITHIN_ULP if ulps <= compare.ULP_LIMIT else Verdict.WITHIN_BUDGET
        note = f"up to {ulps} ulp apart in {settings}"
    used = float("inf") if verdict.failed else used
    return OutputResult(
        bound.name,
        bound.source,
        case.suite,
        case.name,
        verdict,
        rows=case.rows,
        ulp=ulps,
        abs=worst,
        budget_used=min(used, 1.0) if verdict.passed else used,
        reference="itself",
        note=note,
    )


def in_pieces_note(whole: Sequence[Sequence[Leaf]], pieces: Sequence[Sequence[Leaf]], ports: Sequence[int]) -> str:
    """Say how the answers to one batch differ from those to its pieces."""
    ulps, bad = 0, False
    for port in ports:
        for a, b in zip(whole[port], pieces[port], strict=False):
            _, steps, unlike = _apart(a.values, b.values)
            ulps, bad = max(ulps, steps), bad or unlike
    if bad:
        return "pieces of a batch get other answers than the whole batch"
    return f"pieces of a batch: up to {ulps} ulp from the whole batch" if ulps else "pieces of a batch: bit for bit"
