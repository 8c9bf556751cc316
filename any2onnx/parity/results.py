"""Results of comparisons from what was measured and judged."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from any2onnx.parity.compare import FloatErrors, Floats, Judgement
from any2onnx.parity.report import OutputResult
from any2onnx.parity.verdict import Verdict

if TYPE_CHECKING:
    from any2onnx.parity.cases import Case
    from any2onnx.parity.reference import Bound
    from any2onnx.parity.structure import Pair
    from any2onnx.parity.ulp import Array


def failure(case: Case, bound: Bound, note: str) -> OutputResult:
    """Return a mismatch of a whole output."""
    return OutputResult(
        bound.name,
        bound.source,
        case.suite,
        case.name,
        Verdict.MISMATCH,
        rows=case.rows,
        budget_used=math.inf,
        note=note,
    )


def dtype_name(values: Array) -> str:
    """Return the name of a dtype as reports show it."""
    return "string" if values.dtype.kind in "OSU" else values.dtype.name


def float_result(
    bound: Bound, case: Case, pair: Pair, errors: FloatErrors, judgement: Judgement, *, known: bool, note: str
) -> OutputResult:
    """Return the result of a floating output; ``known`` says that the reference was float64."""
    scale = float(errors.scale[judgement.worst]) if errors.scale.size else 0.0

    def relative(values: Floats) -> float:
        with np.errstate(divide="ignore", invalid="ignore"):
            return float(np.where(values == 0, 0.0, values / errors.scale).max(initial=0.0))

    def share(value: float) -> float:
        return value / scale if scale else 0.0

    fields: dict[str, Any] = {
        "ulp": errors.ulp,
        "ulp_framework": errors.ulp_framework,
        "abs": float(errors.onnx.max(initial=0.0)),
        "rel": relative(errors.onnx),
        "abs_framework": float(errors.framework.max(initial=0.0)),
        "rel_framework": relative(errors.framework),
        "rel_difference": relative(errors.difference),
        "sensitivity": share(judgement.sensitivity),
        "budget": share(judgement.budget),
        "budget_used": judgement.budget_used,
        "budget_from": judgement.budget_from,
    }
    return OutputResult(
        pair.name,
        bound.source,
        case.suite,
        case.name,
        judgement.verdict,
        rows=case.rows,
        dtype=dtype_name(pair.ox),
        shape=pair.ox.shape,
        worst_row=judgement.worst_row,
        reference="float64" if known else "framework",
        note=note,
        **fields,
    )
