"""Reports: access, serialised forms, rendering, escaping; signatures and suites by themselves."""

from __future__ import annotations

import io
import json
import math
import pickle
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from any2onnx.errors import InvalidType, ParityError, UnknownOption, UsageError
from any2onnx.parity import OutputResult, ParityReport, Verdict
from any2onnx.parity.cases import Case
from any2onnx.parity.runtime import Port, numpy_dtype
from any2onnx.parity.signature import Signature, feeds_from_data
from any2onnx.parity.suites import SUITES, Plan, cases, suite_names
from any2onnx.parity.suites_tables import special_numbers


def result(output, verdict, **fields):
    return OutputResult(output, "predict", fields.pop("suite", "typical"), "drawn", verdict, **fields)


def report(*results):
    return ParityReport(
        framework="scikit-learn",
        model="Ridge",
        producer="me 1",
        opsets=(("ai.onnx", 18),),
        versions=(("numpy", "2"),),
        inputs="x float32[batch, 4]",
        suites=("typical",),
        seed=0,
        results=results,
        notes=("a note",),
    )


GOOD = result("y", Verdict.WITHIN_ULP, ulp=3, abs=1e-7, rel=2e-7, budget_used=0.25, rows=5)
BAD = result("y", Verdict.CONVERTER_IMPRECISE, suite="boundary", ulp=900, rel=1e-3, budget_used=7.0, worst_row=2)
WRONG = result("<b>|evil[red]", Verdict.MISMATCH, budget_used=math.inf, wrong=2, equal=3, note="a|b <script>")
SKIPPED = result("y", None, suite="special", note="rejects")
UNDECIDED = result("y", Verdict.INCONCLUSIVE, note="random")


def test_passing_report():
    found = report(GOOD, SKIPPED)
    assert found.passed
    assert found.verdict is Verdict.WITHIN_ULP
    assert found.raise_if_failed() is found
    assert found.last_line == "1 passed, 0 failed, 1 skipped"
    assert (found["y"].ulp, found["y"].abs, found["y"].rel, found["y"].budget_used) == (3, 1e-7, 2e-7, 0.25)
    assert [summary.name for summary in found] == ["y"]


def test_worst_wins():
    found = report(GOOD, BAD, SKIPPED)
    assert not found.passed
    assert not bool(found)
    assert found.worst is BAD
    assert found["y"].verdict is Verdict.CONVERTER_IMPRECISE
    assert found.budget_used == 7.0
    with pytest.raises(ParityError) as caught:
        found.raise_if_failed()
    text = str(caught.value)
    assert "converter-imprecise" in text
    assert "suite boundary" in text
    assert "row 2" in text
    assert caught.value.exit_code == 1


def test_the_error_counts_all_failures():
    with pytest.raises(ParityError) as caught:
        report(GOOD, BAD, WRONG).raise_if_failed()
    assert len(caught.value.others) == 1
    assert "mismatch" in str(caught.value)


def test_what_is_undecided_counts_as_skipped_and_does_not_pass():
    found = report(GOOD, UNDECIDED)
    assert found.last_line == "1 passed, 0 failed, 1 skipped"
    assert not found.passed
    assert str(found).splitlines()[-1] == found.last_line
    assert "could not be decided" in str(found)


def test_unknown_output():
    with pytest.raises(UnknownOption, match="did you mean 'label'"):
        report(result("label", Verdict.EXACT))["labell"]


def test_json_is_strict_and_versioned():
    found = json.loads(report(GOOD, WRONG, SKIPPED).to_json(), parse_constant=lambda _: pytest.fail("no JSON number"))
    assert found["schema"] == "any2onnx.parity/1"
    assert found["verdict"] == "mismatch"
    assert found["counts"] == {"passed": 1, "failed": 1, "inconclusive": 0, "skipped": 1}
    assert found["results"][1]["budget_used"] is None
    assert found["results"][2]["verdict"] is None
    assert set(found["results"][0]) >= {"ulp", "abs", "rel", "verdict", "budget_used", "suite", "case", "status"}


def test_elapsed_time_is_no_part_of_the_result():
    assert "elapsed" not in report(GOOD).to_dict()


def test_text_ends_with_the_countable_line_and_shows_hostile_names_as_they_are():
    text = str(report(GOOD, WRONG))
    assert text.splitlines()[-1] == "1 passed, 1 failed, 0 skipped"
    assert "<b>|evil[red]" in text
    assert "a note" in text
    assert "Ridge" in text


def test_rich_output_in_a_narrow_terminal():
    stream = io.StringIO()
    Console(file=stream, width=60).print(report(GOOD, BAD))
    assert "converter" in stream.getvalue()


def test_html_and_markdown_are_escaped():
    found = report(GOOD, WRONG)
    for text in (found._repr_html_(), found.to_markdown()):
        assert "<script>" not in text
        assert "<b>|" not in text
        assert "mismatch" in text
    rows = [line for line in found.to_markdown().splitlines() if line.startswith("|")]
    assert len(rows) == 4
    assert len({line.replace("\\|", "").count("|") for line in rows}) == 1


def test_reports_survive_pickling():
    assert pickle.loads(pickle.dumps(report(GOOD, WRONG))) == report(GOOD, WRONG)


def test_import_is_light():
    code = (
        "import sys, any2onnx.parity as p; p.__all__; dir(p); p.Verdict; p.ParityReport;"
        "bad = {'onnxruntime', 'onnx', 'torch', 'keras', 'tensorflow', 'sklearn', 'onnx_ir'} & set(sys.modules);"
        "sys.exit(str(bad) if bad else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# --- signatures -------------------------------------------------------------------------------------------------


def signature(*ports):
    return Signature.from_ports([Port(name, kind, numpy_dtype(kind), shape) for name, kind, shape in ports])


MATRIX = ("x", "tensor(float)", ("batch", 3))
COLUMNS = (("a", "tensor(float)", (None, 1)), ("b", "tensor(string)", (None, 1)), ("c", "tensor(int64)", (None, 1)))


def test_free_axes_get_symbols():
    found = signature(("x", "tensor(float)", (None, None, 3)), ("y", "tensor(float)", (None, "k")))
    assert found.batch_symbol == "batch"
    assert found.free_symbols == ("x_axis1", "k")
    assert found.describe() == "x float32[batch, x_axis1, 3], y float32[batch, k]"


def test_inputs_with_different_first_axes_have_no_batch():
    found = signature(("x", "tensor(float)", ("n", 2)), ("y", "tensor(float)", ("m", 2)))
    assert found.batch_symbol is None
    assert found.free_symbols == ("n", "m")


def test_inputs_that_are_no_tensors_are_refused():
    with pytest.raises(InvalidType, match=r"seq\(tensor"):
        signature(("x", "seq(tensor(float))", ()))


def test_data_of_many_forms_gives_the_same_feeds():
    frame = pd.DataFrame({"a": [1.0, 2.0], "b": ["u", "v"], "c": [3, 4]})
    wanted = signature(*COLUMNS)
    forms = [
        frame,
        frame[["c", "b", "a"]],
        {name: frame[name].to_numpy() for name in "cab"},
        (frame["a"].to_numpy(), frame["b"].to_numpy(), frame["c"].to_numpy()),
        frame.to_numpy(),
    ]
    for form in forms:
        feeds = feeds_from_data(form, wanted)
        assert list(feeds) == ["a", "b", "c"]
        assert [feeds[name].shape for name in "abc"] == [(2, 1)] * 3
        assert [feeds[name].dtype.name for name in "abc"] == ["float32", "object", "int64"]
        assert feeds["b"].ravel().tolist() == ["u", "v"]


def test_vectors_become_columns_or_rows():
    assert feeds_from_data(np.arange(3.0), signature(MATRIX))["x"].shape == (1, 3)
    assert feeds_from_data(np.arange(5.0), signature(("x", "tensor(float)", ("n", 1))))["x"].shape == (5, 1)


@pytest.mark.parametrize(
    ("data", "error", "text"),
    [
        (np.zeros((2, 4)), InvalidType, "shape"),
        ({"X": np.zeros((2, 3))}, UsageError, "did you mean|no array"),
        ({"x": np.zeros((2, 3)), "z": 1}, UsageError, "no input 'z'"),
        (np.array([["p", "q", "r"]]), InvalidType, "cannot become float32"),
    ],
)
def test_data_that_does_not_fit(data, error, text):
    with pytest.raises(error, match=text):
        feeds_from_data(data, signature(MATRIX))


def test_fractions_are_no_integers():
    with pytest.raises(InvalidType, match="fractions"):
        feeds_from_data(np.array([[0.5]]), signature(("x", "tensor(int64)", ("n", 1))))


def test_different_numbers_of_rows_are_refused():
    data = {"a": np.zeros(2), "b": np.array(["u", "v"]), "c": np.zeros(3, dtype=int)}
    with pytest.raises(UsageError, match="numbers of rows"):
        feeds_from_data(data, signature(*COLUMNS))


# --- suites -----------------------------------------------------------------------------------------------------


def plan(*ports, data=None, seed=0):
    found = signature(*ports)
    if data is not None:
        data = feeds_from_data(data, found)
        found = found.with_data(data)
    return Plan(found, "callable", None, "f", seed, data)


def test_suite_names():
    assert suite_names("default") == SUITES
    assert suite_names("shape, typical") == ("typical", "shape")
    assert suite_names(["smoke", "special"]) == ("data", "typical", "special", "shape")
    with pytest.raises(UnknownOption, match="did you mean 'boundary'"):
        suite_names("boundry")


def test_typical_rows_are_drawn_like_the_data():
    rng = np.random.default_rng(0)
    data = np.column_stack([rng.normal(1e5, 1, 500), rng.uniform(0, 1, 500), rng.choice([3.0, 4.0], 500)])
    (case,) = cases(plan(MATRIX, data=data), "typical")
    drawn = case.feeds["x"]
    assert drawn.shape == (128, 3)
    assert (drawn.min(0) >= data.min(0) - 1e-2).all()
    assert (drawn.max(0) <= data.max(0) + 1e-2).all()
    assert abs(np.median(drawn[:, 0]) - 1e5) < 0.5


def test_draws_are_reproducible_and_depend_on_the_seed():
    first, same, other = (next(iter(cases(plan(MATRIX, seed=seed), "typical"))).feeds["x"] for seed in (0, 0, 1))
    assert np.array_equal(first, same)
    assert not np.array_equal(first, other)


def test_shape_suite_covers_batches_and_order():
    found = {case.name: case for case in cases(plan(MATRIX), "shape")}
    assert [found[f"batch {n}"].feeds["x"].shape[0] for n in (0, 1, 2, 3, 17)] == [0, 1, 2, 3, 17]
    assert found["Fortran order"].feeds["x"].flags.f_contiguous
    assert not found["Fortran order"].feeds["x"].flags.c_contiguous


def test_special_suite_puts_each_value_into_every_column():
    for case in cases(plan(MATRIX), "special"):
        assert isinstance(case, Case)
        hit = ~np.isfinite(case.feeds["x"])
        assert hit.any(axis=0).all()
        assert hit[-1].all()
        assert (hit[:-1].sum(axis=1) == 1).all()


def test_large_rows_mean_few_rows():
    (case,) = cases(plan(("x", "tensor(float)", ("n", 3, 512, 512))), "typical")
    assert case.rows == 2


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_special_numbers_hold_both_zeros_and_neighbours_of_powers(dtype):
    numbers = special_numbers(np.dtype(dtype))
    assert np.isfinite(numbers).all()
    zeros = numbers[numbers == 0]
    assert {bool(sign) for sign in np.signbit(zeros)} == {True, False}
    one = dtype(1)
    assert {float(np.nextafter(one, dtype(0))), 1.0, float(np.nextafter(one, dtype(2)))} <= set(numbers.astype(float))
    assert np.finfo(dtype).smallest_subnormal in numbers


# --- the suites beside the typical rows -------------------------------------------------------------------------


def test_scaled_rows_span_magnitudes_and_sit_far_from_the_origin():
    magnitudes, offset = cases(plan(MATRIX), "scaled")
    sizes = np.abs(magnitudes.feeds["x"]).max(axis=1)
    assert sizes.min() < 1e-3
    assert sizes.max() > 1e3
    assert np.abs(offset.feeds["x"] - 1000).max() < 10


def test_pieces_of_a_batch_are_uneven_and_complete():
    (case,) = cases(plan(MATRIX), "batch-invariance")
    assert sum(case.parts) == case.rows == len(case.feeds["x"])
    assert len(set(case.parts)) == len(case.parts) > 2


@pytest.mark.parametrize("suite", SUITES)
def test_inputs_do_not_depend_on_what_else_runs(suite):
    first = [case for case in cases(plan(MATRIX), suite) if isinstance(case, Case)]
    for other in reversed(SUITES):
        list(cases(plan(MATRIX), other))
    again = [case for case in cases(plan(MATRIX), suite) if isinstance(case, Case)]
    for a, b in zip(first, again, strict=True):
        assert all(np.array_equal(a.feeds[name], b.feeds[name], equal_nan=True) for name in a.feeds)
