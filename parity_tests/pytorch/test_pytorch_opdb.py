"""Every operator of torch's own database: right in onnxruntime, or refused by name for a reason that is listed here.

A sample of the entries runs by default, all of them under the mark ``slow``.
"""

from __future__ import annotations

from typing import Any

import opdb_dynamic
import opdb_support as opdb
import opdb_survey
import pytest
import torch

from any2onnx.cli.main import run
from any2onnx.errors import UsageError
from any2onnx.operator_database import operator_database_coverage
from any2onnx.operator_mappings.coverage import coverage

_SPARSE = "a sparse tensor is no ONNX tensor"
_BITS = "ONNX has no view of a number's bits"

# What is refused in float32, and why. An entry that is listed and converts fails the test: the list stays true.
REFUSED: dict[str, str] = {
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


# A fraction of the other types, each from another place on, so that together they see more of the entries.
TYPES = (torch.int64, torch.float64, torch.bool, torch.complex64, torch.float16, torch.bfloat16, torch.int32)
OTHERS = [
    pytest.param(op, dtype, id=f"{opdb.label(op)}-{str(dtype).removeprefix('torch.')}")
    for place, dtype in enumerate(TYPES)
    for op in opdb.entries(dtype)[3 * place + 1 :: 24 if place < 4 else 36]
]


@pytest.mark.parametrize(("op", "dtype"), OTHERS)
def test_operator_in_other_types_is_right_or_refused(op: Any, dtype: torch.dtype) -> None:
    assert [o for o in outcomes(op, dtype) if o.status in ("wrong", "error")] == []


# Opsets besides the default one: the oldest, that of most operators in their present form, and the newest two kinds.
AT_OPSETS = [
    pytest.param(op, opset, id=f"{opdb.label(op)}-{opset}", marks=() if k % 60 == 15 * place else (pytest.mark.slow,))
    for place, opset in enumerate((13, 18, 23, 28))
    for k, op in enumerate(ENTRIES)
]


@pytest.mark.parametrize(("op", "opset"), AT_OPSETS)
def test_operator_at_other_opsets_is_right_or_refused(op: Any, opset: int) -> None:
    assert [o for o in outcomes(op, torch.float32, opset) if o.status in ("wrong", "error")] == []


@pytest.mark.slow
@pytest.mark.parametrize("dtype", opdb_survey.DTYPES)
def test_share_of_entries_that_pass_with_every_sample(dtype: str) -> None:
    lines = [opdb_survey.survey_entry(op, dtype, 0) for op in opdb.entries(getattr(torch, dtype))]
    verdicts = [opdb_survey.status_of(line) for line in lines]
    exportable = [v for v in verdicts if v != "not exportable"]
    assert set(exportable) <= {"pass", "refused"}, opdb_survey.summary(lines)
    assert sum(line["untried"] for line in lines) == 0
    assert exportable.count("pass") >= (0.97 if dtype == "float32" else 0.95) * len(exportable)


# Every twentieth entry with its sizes left free; `opdb_dynamic.py` runs all of them.
DYNAMIC = [pytest.param(op, id=opdb.label(op)) for op in ENTRIES[7::20]]


@pytest.mark.parametrize("op", DYNAMIC)
def test_operator_at_sizes_other_than_the_traced_ones(op: Any) -> None:
    for sample in opdb.samples(op, torch.float32):
        try:
            outcome = opdb_dynamic.check_dynamic(op, sample)
        except opdb.NotExportable:
            continue
        assert outcome.status in ("same", "refused"), outcome


def test_no_generator_of_samples_stays_suspended() -> None:
    """It would end whenever it is collected, and what it does then would be traced as part of the next model."""

    class Source:
        closed = False

        def sample_inputs(self, *_args: Any, **_kwargs: Any) -> Any:
            try:
                while True:
                    yield None
            finally:
                self.closed = True

    source = Source()
    assert opdb.samples(source, torch.float32) == [None] * opdb.SAMPLES
    assert source.closed


def test_a_table_is_read_back() -> None:
    lines = [
        {"entry": "add", "dtype": "float32", "same": 3, "untried": 0, "details": {}},
        {"entry": "add", "dtype": "bool", "refused": 1, "details": {"refused": ["[0] no | reason"]}},
        {"entry": "sub", "dtype": "float32", "not exportable": 1, "details": {}},
    ]
    table = opdb_survey.markdown(lines)
    read = {(line["entry"], line["dtype"]): opdb_survey.status_of(line) for line in opdb_survey.from_table(table)}
    assert read == {("add", "float32"): "pass", ("add", "bool"): "refused"}
    assert "1 of 1 exportable entries pass (100.0 %); 0 refused, 0 wrong, 0 error; 4 of 4 samples tried" in table


def test_the_list_names_entries_that_exist() -> None:
    assert sorted(set(REFUSED) - {opdb.label(op) for op in ENTRIES}) == []


def test_coverage_says_what_converts(capsys: pytest.CaptureFixture[str]) -> None:
    rows = {r.name: r for r in operator_database_coverage("float32", only="add|hash_tensor|fft.fft|allclose")}
    assert {name: row.status for name, row in rows.items()} == {
        "add": "supported",
        "fft.fft": "supported",
        "hash_tensor": "refused",
    }
    assert _BITS in rows["hash_tensor"].note
    assert run(["coverage", "pytorch", "--op-db", "int64", "--only", "add|hash_tensor"]) == 0
    assert "1 of 2 exportable entries convert" in capsys.readouterr().out


def test_coverage_of_overloads_without_a_mapping() -> None:
    rows = {row.name: row for row in coverage("pytorch")}
    assert rows["aten.cross_entropy_loss.default"].status == "decomposed"
    assert rows["aten.fft_fft.default"].status in ("decomposed", "supported")
    assert rows["aten.blackman_window.default"].note == "computed while converting"
    assert rows["aten.sparse_mask.default"].status == "refused"
    assert not any(name.startswith("aten.cudnn_") for name in rows)
    open_ = [name for name, row in rows.items() if row.status == "missing"]
    assert len(open_) <= 27, open_


def test_coverage_of_an_unknown_type() -> None:
    with pytest.raises(UsageError, match="'float8' is no element type"):
        next(operator_database_coverage("float8"))
