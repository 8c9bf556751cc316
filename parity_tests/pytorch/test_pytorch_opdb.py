"""Every operator of torch's own database: right in onnxruntime, or refused by name for a reason that is listed here.

A sample of the entries runs by default, all of them under the mark ``slow``.
"""

from __future__ import annotations

from typing import Any

import opdb_support as opdb
import pytest
import torch

_EIGENVALUES = "eigenvalues of general matrices are not converted yet"
_INDEFINITE = "factors of indefinite symmetric matrices are not converted yet"
_CHUNKED = "an operator of torch's own library, with gradients among its results"
_SPARSE = "a sparse tensor is no ONNX tensor"
_BITS = "ONNX has no view of a number's bits"

# What is refused in float32, and why. An entry that is listed and converts fails the test: the list stays true.
REFUSED: dict[str, str] = {
    **dict.fromkeys(["linalg.eig", "linalg.eigvals"], _EIGENVALUES),
    **dict.fromkeys(["linalg.ldl_factor", "linalg.ldl_factor_ex", "linalg.ldl_solve"], _INDEFINITE),
    "nn.functional.linear_cross_entropy.chunked": _CHUNKED,
    "nn.functional.linear_cross_entropy.chunked_none": _CHUNKED,
    "to_sparse": _SPARSE,
    "hash_tensor": _BITS,
}

ENTRIES = opdb.entries(torch.float32)
EVERY = 12


def outcomes(op: Any, dtype: torch.dtype, opset: int = 21) -> list[opdb.Outcome]:
    found = []
    for sample in opdb.samples(op, dtype):
        try:
            found.append(opdb.check(op, sample, opset))
        except opdb.NotExportable:
            continue
    return found


@pytest.mark.parametrize(
    "op",
    [
        pytest.param(op, id=opdb.label(op), marks=() if k % EVERY == 0 else (pytest.mark.slow,))
        for k, op in enumerate(ENTRIES)
    ],
)
def test_operator_in_float32(op: Any) -> None:
    found = outcomes(op, torch.float32)
    reason = REFUSED.get(opdb.label(op))
    if reason is None:
        assert [o for o in found if o.status != "same"] == []
    elif found:
        assert "refused" in {o.status for o in found}, f"{opdb.label(op)} converts: take it off the list ({reason})"
        assert {o.status for o in found} <= {"refused", "same"}


SAMPLE = [op for op in opdb.entries(torch.int64) if opdb.label(op) not in REFUSED]


@pytest.mark.parametrize("op", [pytest.param(op, id=opdb.label(op)) for op in SAMPLE[::16]])
def test_operator_in_int64_is_right_or_refused(op: Any) -> None:
    assert [o for o in outcomes(op, torch.int64) if o.status in ("wrong", "error")] == []


def test_the_list_names_entries_that_exist() -> None:
    assert sorted(set(REFUSED) - {opdb.label(op) for op in ENTRIES}) == []
