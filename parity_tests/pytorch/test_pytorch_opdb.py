"""Every operator of torch's own database: right in onnxruntime, or refused by name for a reason that is listed here.

A sample of the entries runs by default, all of them under the mark ``slow``.
"""

from __future__ import annotations

from typing import Any

import opdb_support as opdb
import pytest
import torch

_DECOMPOSITIONS = "QR, SVD and eigenvalues are not converted yet"
_TRAINING = "random in training mode, which is refused"
_NONE = "no ONNX form yet"

# What is refused in float32, and why. An entry that is listed and converts fails the test: the list stays true.
REFUSED: dict[str, str] = {
    **dict.fromkeys(
        [
            "linalg.eig",
            "linalg.eigvals",
            "norm.nuc",
            "linalg.matrix_rank",
            "linalg.matrix_rank.hermitian",
            "linalg.svdvals",
            "svd",
            "svd_lowrank",
            "pca_lowrank",
            "linalg.cond",
            "linalg.svd",
            "qr",
            "linalg.qr",
            "linalg.pinv",
            "linalg.pinv.hermitian",
            "linalg.pinv.singular",
            "pinverse",
            "linalg.eigh",
            "linalg.eigvalsh",
            "geqrf",
            "ormqr",
            "linalg.householder_product",
            "linalg.ldl_factor",
            "linalg.ldl_factor_ex",
            "linalg.ldl_solve",
            "linalg.lu",
            "lu_unpack",
            "linalg.lu_solve",
            "lu_solve",
            "matrix_exp",
        ],
        _DECOMPOSITIONS,
    ),
    **dict.fromkeys(
        [
            "nn.functional.feature_alpha_dropout.with_train",
            "nn.functional.rrelu",
            "nn.functional.multi_head_attention_forward",
        ],
        _TRAINING,
    ),
    **dict.fromkeys(
        [
            "_segment_reduce.lengths",
            "_segment_reduce.offsets",
            "normal.in_place",
            "frexp",
            "nextafter",
            "multinomial",
            "histogram",
            "histogramdd",
            "resize_",
            "resize_as_",
            "to_sparse",
            "hash_tensor",
            "nn.functional.fractional_max_pool2d",
            "nn.functional.fractional_max_pool3d",
            "nn.functional.linear_cross_entropy.chunked",
            "nn.functional.linear_cross_entropy.chunked_none",
            "tensor_split",
        ],
        _NONE,
    ),
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
