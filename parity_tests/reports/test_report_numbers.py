"""Every number of a report, computed again from the saved arrays by other means (scalars, `struct`, `fractions`).

Nothing of the harness's own arithmetic is imported here: the rule is written down a second time, as its documentation
states it.
"""

from __future__ import annotations

import fractions
import json
import math
import struct
from collections import Counter

import numpy as np
import pytest
from report_samples import broken, classifier, converted

import any2onnx
from any2onnx.parity import check_parity
from any2onnx.parity.arrays import load_arrays

FORMATS = {"float32": ("<f", "<I", 32), "float64": ("<d", "<Q", 64), "float16": ("<e", "<H", 16)}


def place_on_the_number_line(value, dtype):
    """Return an integer that counts representable numbers from zero."""
    as_float, as_int, bits = FORMATS[dtype]
    word = struct.unpack(as_int, struct.pack(as_float, value))[0]
    half = 1 << (bits - 1)
    return half - word if word >= half else word


def rounded(value, dtype):
    return float(np.asarray(value, dtype=np.float64).astype(dtype))


def ulp_between(a, b, dtype):
    a, b = float(a), rounded(float(b), dtype)
    if math.isnan(a) or math.isnan(b):
        return 0 if math.isnan(a) and math.isnan(b) else None
    if math.isinf(a) or math.isinf(b):
        return 0 if a == b else None
    return abs(place_on_the_number_line(a, dtype) - place_on_the_number_line(b, dtype))


def rows_of(array, rows):
    return [list(np.ravel(row)) for row in array] if array.ndim and len(array) == rows else [list(np.ravel(array))]


def error(a, b):
    a, b = float(a), float(b)
    return abs(a - b) if math.isfinite(a) and math.isfinite(b) else None


def most(values):
    return max((value for value in values if value is not None), default=0.0)


class Again:
    """One comparison computed again."""

    def __init__(self, folder, entry):
        self.entry = entry
        arrays = load_arrays(folder / entry["arrays"], entry["dtypes"])
        self.fw, self.ox = arrays["framework"], arrays["onnx"]
        self.ref = arrays.get("reference", self.fw)
        self.dtype = entry["dtypes"]["onnx"]
        rows = entry["rows"]
        self.table = list(zip(rows_of(self.fw, rows), rows_of(self.ref, rows), rows_of(self.ox, rows), strict=True))
        count = len(self.table)
        # A unit is what has a budget of its own: a row, or an element of it.
        self.columns = entry["columns"]
        zeros = [0.0] * (count * self.columns)
        self.sensitivity = arrays["sensitivity"].tolist() if "sensitivity" in arrays else zeros
        self.known = arrays["own"].tolist() if "own" in arrays else zeros
        if "float" not in self.dtype:
            return
        self.scale = arrays["scale"].tolist()
        self.errors = [[error(o, r) for r, o in zip(ref, ox, strict=True)] for _, ref, ox in self.table]
        self.own = [[error(f, r) for f, r in zip(fw, ref, strict=True)] for fw, ref, _ in self.table]

    def units(self, table):
        """Return the errors of every unit: whole rows, or single elements."""
        return [[value] for row in table for value in row] if self.columns > 1 else table

    def budget(self, unit):
        if self.entry["fixed_budget"] is not None:
            return self.entry["fixed_budget"] * self.scale[unit]
        own = self.entry["framework_factor"] * self.known[unit]
        rule = max(8 * self.sensitivity[unit], own, self.entry["tolerance"] * self.scale[unit])
        return rule + self.entry["repeat"] * self.scale[unit]

    def used(self, unit):
        off = most(self.units(self.errors)[unit])
        return 0.0 if off == 0 else off / self.budget(unit) if self.budget(unit) else math.inf

    def used_by_row(self, row):
        first = row * self.columns
        return max(self.used(unit) for unit in range(first, first + self.columns))

    def ulps(self, against):
        return [
            ulp_between(o, (fw, ref)[against][k], self.dtype) for fw, ref, ox in self.table for k, o in enumerate(ox)
        ]


def same(a, b):
    if b is None:
        return a is None or not math.isfinite(a)
    return a == pytest.approx(b, rel=1e-12, abs=0)


def check_floats(result, again):
    flat = [value for row in again.errors for value in row]
    assert same(most(flat), result["abs"])
    assert same(most([value for row in again.own for value in row]), result["abs_framework"])

    def relative(table):
        found = enumerate(again.units(table))
        return max((most(values) / again.scale[unit] for unit, values in found if most(values)), default=0.0)

    assert same(relative(again.errors), result["rel"])
    assert same(relative(again.own), result["rel_framework"])
    between = [[error(o, f) for f, o in zip(fw, ox, strict=True)] for fw, _, ox in again.table]
    assert same(relative(between), result["rel_difference"])
    assert result["ulp"] == (None if None in again.ulps(1) else max(again.ulps(1), default=0))
    assert result["ulp_framework"] == (None if None in again.ulps(0) else max(again.ulps(0), default=0))
    used = [again.used(unit) for unit in range(len(again.table) * again.columns)]
    if used and result["verdict"] != "mismatch":
        nearest = min(max(again.ulps(0), default=0), max(again.ulps(1), default=0))
        first = result["worst_row"] * again.columns
        worst = max(range(first, first + again.columns), key=lambda unit: used[unit])
        assert used[worst] == pytest.approx(max(used), rel=1e-12)
        expected = min(max(used), 1.0) if nearest <= 4 else max(used)
        assert same(expected, result["budget_used"])
        assert same(again.budget(worst) / again.scale[worst] if again.scale[worst] else 0.0, result["budget"])
        share = again.sensitivity[worst] / again.scale[worst] if again.scale[worst] else 0.0
        assert same(share, result["sensitivity"])
        assert result["verdict"] == verdict_again(again, used, nearest)


def verdict_again(again, used, nearest):
    if nearest == 0:
        return "exact"
    if again.entry["repeat"] > again.entry["tolerance"]:
        return "inconclusive"
    if nearest <= 4:
        return "within-ulp"
    if max(used) > 1:
        return "converter-imprecise"
    errors = [most(values) for values in again.units(again.errors)]
    over = [unit for unit in range(len(used)) if errors[unit] > again.entry["tolerance"] * again.scale[unit]]
    if not over:
        return "within-budget"
    if all(again.known[unit] >= errors[unit] for unit in over):
        return "framework-imprecise"
    return "ill-conditioned"


def plain(value):
    return value if isinstance(value, str) else int(value)


def check_labels(result, again):
    equal = differ = 0
    for fw, ref, ox in again.table:
        for f, r, o in zip(fw, ref, ox, strict=True):
            if plain(o) in (plain(f), plain(r)):
                equal += 1
            else:
                differ += 1
    assert result["equal"] == equal
    assert result["tied"] + result["wrong"] == differ


def check_histogram(bins, values):
    """Every value lies in exactly one bin, and the bins hold as many as they say."""
    counts = Counter()
    for value in values:
        home = [k for k, (low, high, _) in enumerate(bins) if (low is None) == (value is None)]
        home = [k for k in home if value is None or bins[k][0] <= value <= bins[k][1]]
        assert home, value
        counts[home[0]] += 1
    assert [counts[k] for k in range(len(bins))] == [members for _, _, members in bins]


def check_used_histogram(bins, values):
    """Edges of these bins are powers of two ^ ¼: a value at an edge may fall on either side by rounding."""
    assert sum(members for _, _, members in bins) == len(values)
    for edge in {high for _, high, _ in bins}:
        claimed = sum(members for _, high, members in bins if high <= edge)
        near = sum(abs(value - edge) <= 1e-9 * edge for value in values)
        assert abs(claimed - sum(value <= edge for value in values)) <= near


def check_output(output, parts):
    floats = [again for again in parts if "float" in again.dtype]
    assert output["elements"] == sum(again.ox.size for again in parts)
    assert output["rows"] == sum(again.entry["rows"] for again in parts)
    if not output["ulp_histogram"]:
        return
    ulps = [value for again in floats for value in again.ulps(1)]
    check_histogram(output["ulp_histogram"], ulps)
    check_histogram(output["ulp_framework_histogram"], [value for again in floats for value in again.ulps(0)])
    check_used_histogram(
        output["budget_histogram"],
        [again.used_by_row(row) for again in floats if again.ox.size for row in range(len(again.table))],
    )
    every = [value for again in floats for row in again.errors for value in row if value is not None]
    mean = float(sum((fractions.Fraction(value) for value in every), fractions.Fraction(0)) / len(every))
    assert output["mean_abs"] == mean
    ordered = sorted(math.inf if value is None else value for value in ulps)
    for name, share in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999), ("max", 1.0)):
        true = ordered[max(math.ceil(share * len(ordered)) - 1, 0)]
        told = output["ulp_quantiles"][name]
        assert (told is None and true == math.inf) or true <= told <= max(true, true * 33 / 32 + 1)


def check_worst_rows(output, parts):
    by_case = {(again.entry["suite"], again.entry["case"]): again for again in parts}
    shares = [row["used"] for row in output["worst_rows"]]
    shares = [math.inf if share is None else share for share in shares]
    assert shares == sorted(shares, reverse=True)
    for row in output["worst_rows"]:
        again = by_case[row["suite"], row["case"]]
        at = tuple(row["element"])
        for key, array in (("framework", again.fw), ("reference", again.ref), ("onnx", again.ox)):
            value = array[at]
            told = row[key]
            assert (str(value) == told) if array.dtype.kind in "OSU" else (type(value.item())(told) == value), key
        if row["ulp"] is not None:
            assert row["ulp"] == ulp_between(again.ox[at], again.ref[at], again.dtype)
        if row["budget"] is not None:
            place = row["row"] if len(again.table) > 1 else 0
            first = place * again.columns
            unit = max(range(first, first + again.columns), key=again.used)
            assert row["budget"] == pytest.approx(again.budget(unit), rel=1e-12)
            if row["used"] is not None:
                assert row["used"] == pytest.approx(again.used(unit), rel=1e-12)
            if row["error"] is not None:
                assert row["error"] == pytest.approx(most(again.units(again.errors)[unit]), rel=1e-12)
    floats = [again for again in parts if "float" in again.dtype]
    if floats and shares and math.isfinite(shares[0]):
        assert shares[0] == pytest.approx(
            max(again.used_by_row(row) for again in floats for row in range(len(again.table))), rel=1e-12
        )


def recompute(report, folder):
    """Check every result and every output of a report against the saved arrays."""
    told = json.loads(report.to_json())
    index = json.loads((folder / "index.json").read_text())
    entries = iter(index["compared"])
    parts = {}
    compared = [result for result in told["results"] if result["dtype"]]
    assert len(compared) == len(index["compared"]) > 0
    for result in compared:
        entry = next(entries)
        key = ("output", "suite", "case", "optimised")
        assert [entry[name] for name in key] == [result[name] for name in key]
        inputs = load_arrays(folder / entry["inputs"])
        assert all(len(values) == entry["rows"] for values in inputs.values() if values.ndim)
        again = Again(folder, entry)
        parts.setdefault(entry["output"], []).append(again)
        assert list(again.ox.shape) == result["shape"]
        assert result["rows"] == entry["rows"]
        if "float" in again.dtype:
            check_floats(result, again)
        else:
            check_labels(result, again)
    for output in told["outputs"]:
        if output["output"] in parts:
            check_output(output, parts[output["output"]])
            check_worst_rows(output, parts[output["output"]])
    counts = Counter(result["status"] for result in told["results"])
    assert told["counts"] == {name: counts[name] for name in ("passed", "failed", "inconclusive", "skipped")}
    return told


@pytest.mark.parametrize("altered", [False, True])
def test_classifier(tmp_path, altered):
    model, X = classifier()
    report = check_parity(model, broken() if altered else converted(), X, save_arrays=tmp_path)
    told = recompute(report, tmp_path)
    assert told["passed"] is not altered


def test_ill_conditioned_rows_and_float64(tmp_path):
    from sklearn.linear_model import Ridge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    rng = np.random.default_rng(1)
    X = rng.normal(1e5, 1, (60, 3))
    model = make_pipeline(StandardScaler(), Ridge()).fit(X, X @ [1.0, 2.0, 3.0])
    for dtype in (np.float32, np.float64):
        folder = tmp_path / np.dtype(dtype).name
        rows = X.astype(dtype)
        recompute(check_parity(model, any2onnx.to_onnx(model, rows), rows, save_arrays=folder), folder)


def test_strings_and_a_fixed_budget(tmp_path):
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(2)
    X = rng.normal(size=(50, 3)).astype(np.float32)
    model = LogisticRegression().fit(X, np.where(X[:, 0] > 0, "ja", "nö"))
    recompute(check_parity(model, any2onnx.to_onnx(model, X), X, save_arrays=tmp_path, budget=1e-6), tmp_path)


def test_tensor_model(tmp_path):
    import torch

    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(6, 5), torch.nn.Tanh(), torch.nn.Linear(5, 3)).eval()
    x = torch.randn(4, 6)
    proto = any2onnx.convert_pytorch(model, (x,), dynamic_shapes=({0: torch.export.Dim("batch")},))
    recompute(check_parity(model, proto, save_arrays=tmp_path), tmp_path)


def test_the_recomputation_notices(tmp_path):
    """A report whose numbers were touched does not pass the check above."""
    import dataclasses

    model, X = classifier()
    report = check_parity(model, converted(), X, suites="typical", save_arrays=tmp_path)
    at = next(k for k, result in enumerate(report.results) if result.abs)
    for field, value in (("abs", report.results[at].abs * 1.0001), ("ulp", report.results[at].ulp + 1)):
        results = list(report.results)
        results[at] = dataclasses.replace(results[at], **{field: value})
        with pytest.raises(AssertionError):
            recompute(dataclasses.replace(report, results=tuple(results)), tmp_path)
