"""Every number that a form of a report prints is one that was computed again from the saved arrays.

`test_report_numbers.recompute` computes the numbers a second time. Here each form (terminal, notebook, page, Markdown,
JUnit, JSON) is taken apart into its numbers, and each must be one of those, written by a second implementation of how
numbers are written. What is no number of the comparison (names, versions, inputs) is taken out first: names as the
index of the arrays has them, and a short list of phrases.
"""

from __future__ import annotations

import dataclasses
import html
import json
import math
import re
import xml.etree.ElementTree as ET
from decimal import Decimal

import numpy as np
import pytest
from report_samples import broken, classifier, converted
from test_report_numbers import Again, most, plain, recompute, same

import any2onnx
from any2onnx.parity import check_parity
from any2onnx.parity.arrays import load_arrays
from any2onnx.parity.notebook import fragment
from any2onnx.parity.render import markdown, plain_text

TOKEN = re.compile(r"(?<![\w.])-?\d[\d,]*(?:\.\d+)?(?:e[+-]?\d+)?[kMGTPE]?(?![\w])")
# Phrases of the forms that hold a number and state nothing about the comparison.
PHRASES = (
    "at most 4 units in the last place apart",
    "float64 answer",
    "float64",
    "float32",
    "half, 99 %, all within",
    "below 0.1 %",
    "0.1 – 1 %",
    "1 – 10 %",
    "10 – 50 %",
    "50 – 100 %",
    "0 ulp",
    "3 runs, new sessions with 1 and 4 threads",
    "3 runs, new sessions with 1 and 2 threads",
)


# --- a second way to write numbers -----------------------------------------------------------------------------------


def short(value: float) -> str:
    """Two digits and an exponent: 4.2e-08."""
    return "0" if value == 0 else format_scientific(value, 1)


def format_scientific(value: float, digits: int) -> str:
    if not math.isfinite(value):
        return str(value)
    sign, numerals, exponent = Decimal(value).as_tuple()
    whole = int("".join(map(str, numerals)))
    power = len(numerals) - 1 + exponent
    scale = len(numerals) - 1 - digits
    if scale > 0:
        quotient, rest = divmod(whole, 10**scale)
        half = 5 * 10 ** (scale - 1)
        whole = quotient + (rest > half or (rest == half and quotient % 2))
    else:
        whole *= 10**-scale
    if len(str(whole)) > digits + 1:
        whole //= 10
        power += 1
    text = str(whole)
    mantissa = text[0] + ("." + text[1:] if digits else "")
    return f"{'-' if sign else ''}{mantissa}e{'-' if power < 0 else '+'}{abs(power):02d}"


def rounded_to(value: float, places: int) -> str:
    return str(round(Decimal(value), places)) if places else str(round(Decimal(value)))


def ulps(count: int | None) -> set[str]:
    if count is None:
        return set()
    found = {str(count), f"{count:,}"}
    for size, letter in ((10**18, "E"), (10**15, "P"), (10**12, "T"), (10**9, "G"), (10**6, "M"), (10**3, "k")):
        if count >= size:
            found.add(general(count / size, 3) + letter)
            break
    return found


def general(value: float, digits: int) -> str:
    """As %.{digits}g writes it."""
    if value == 0:
        return "0"
    if not math.isfinite(value):
        return str(value)
    text = format_scientific(value, digits - 1)
    mantissa, _, power = text.partition("e")
    exponent = int(power)
    if -4 <= exponent < digits:
        text = str(Decimal(text).quantize(Decimal(1).scaleb(exponent - digits + 1)))
        return text.rstrip("0").rstrip(".") if "." in text else text
    mantissa = mantissa.rstrip("0").rstrip(".") if "." in mantissa else mantissa
    return f"{mantissa}e{power[0]}{abs(exponent):02d}"


def share(used: float) -> set[str]:
    if not math.isfinite(used):
        return set()
    if used < 10:
        return {rounded_to(used * 100, 0), general(used, 6)}
    return {rounded_to(used, 0) if used < 10_000 else format_scientific(used, 0), general(used, 6)}


def per_cent(part: int, whole: int) -> set[str]:
    value = part / whole
    if value in (0.0, 1.0):
        return {str(int(100 * value))}
    if value < 0.001 or value > 0.999:
        return {"0.1", "99.9"}
    return {rounded_to(100 * value, 1) if value < 0.1 or value > 0.9 else rounded_to(100 * value, 0)}


# --- the numbers -----------------------------------------------------------------------------------------------------


class Numbers:
    """The texts of all numbers of a comparison, computed from the arrays."""

    def __init__(self, report, folder) -> None:
        self.told = recompute(report, folder)
        self.index = json.loads((folder / "index.json").read_text())["compared"]
        self.folder = folder
        self.parts = [Again(folder, entry) for entry in self.index]
        self.texts: set[str] = {"0"}
        for again in self.parts:
            self.comparison(again)
        for name in dict.fromkeys(entry["output"] for entry in self.index):
            self.output(name, [again for again in self.parts if again.entry["output"] == name])
        self.totals()

    def add(self, *texts: object) -> None:
        for text in texts:
            self.texts |= text if isinstance(text, set) else {str(text)}

    def count(self, *numbers: int) -> None:
        for number in numbers:
            self.add(str(number), f"{number:,}")

    def comparison(self, again) -> None:
        rows, shape = again.entry["rows"], again.ox.shape
        self.count(rows, *shape)
        self.count(*again.fw.shape, *again.ref.shape)
        if "float" not in again.dtype:
            differ = [
                (row, k, f, o)
                for row, (fw, ref, ox) in enumerate(again.table)
                for k, (f, r, o) in enumerate(zip(fw, ref, ox, strict=True))
                if plain(o) not in (plain(f), plain(r))
            ]
            self.count(again.ox.size, again.ox.size - len(differ), len(differ))
            if differ:
                row, k, f, o = differ[0]
                place = np.unravel_index(row * (again.ox.size // max(rows, 1)) + k, shape)
                self.count(*(int(i) for i in place))
                self.add(str(f), str(o))
            return
        flat = [value for row in again.errors for value in row]
        own = [value for row in again.own for value in row]
        table, mine = again.units(again.errors), again.units(again.own)
        relative = max((most(v) / again.scale[u] for u, v in enumerate(table) if most(v)), default=0.0)
        relative_own = max((most(v) / again.scale[u] for u, v in enumerate(mine) if most(v)), default=0.0)
        between = [[abs(float(o) - float(f)) for f, o in zip(fw, ox, strict=True)] for fw, _, ox in again.table]
        apart = max((most(v) / again.scale[u] for u, v in enumerate(again.units(between)) if most(v)), default=0.0)
        for value in (most(flat), most(own), relative, relative_own, apart):
            self.add(short(value), format_scientific(value, 1) if value else "0.0e+00", general(value, 3))
        used = [again.used(unit) for unit in range(len(table))]
        worst = max(range(len(used)), key=lambda unit: used[unit], default=0)
        if used:
            self.add(share(max(used)), share(min(max(used), 1.0)))
            scale = again.scale[worst]
            for value in (again.budget(worst), again.sensitivity[worst]):
                value = value / scale if scale else 0.0
                self.add(short(value), format_scientific(value, 1) if value else "0.0e+00", general(value, 3))
            self.count(worst // again.columns)
        for values in (again.ulps(0), again.ulps(1)):
            self.add(ulps(None if None in values else max(values, default=0)))

    def output(self, name, parts) -> None:
        """What the page and the notebook show of one output: sums, quantiles, bars, worst rows."""
        self.count(sum(again.ox.size for again in parts), sum(again.entry["rows"] for again in parts))
        told = next(item for item in self.told["outputs"] if item["output"] == name)
        floats = [again for again in parts if "float" in again.dtype]
        compared = [r for r in self.told["results"] if r["output"] == name and r["verdict"] is not None]
        for key in ("equal", "tied", "wrong"):
            # Their sums are checked by recompute: equal from the arrays, tied and wrong together.
            self.count(*(r[key] for r in compared), sum(r[key] for r in compared))
        if floats:
            self.bars(floats, told)
        for row in told["worst_rows"]:
            self.worst_row(row, {(again.entry["suite"], again.entry["case"]): again for again in parts})

    def bars(self, floats, told) -> None:
        distances = [value for again in floats for value in again.ulps(1)]
        by_power: dict[int, int] = {}
        for value in distances:
            key = 65 if value is None else int(value).bit_length()
            by_power[key] = by_power.get(key, 0) + 1
        for members in by_power.values():
            self.count(members)
            self.add(per_cent(members, len(distances)))
        for bits in range(max((key for key in by_power if key < 65), default=0) + 1):
            low, high = (1 << (bits - 1) if bits else 0), (1 << bits) - 1
            self.add(*(compact(edge) for edge in (low, high)))
        shares = [again.used_by_row(row) for again in floats if again.ox.size for row in range(len(again.table))]
        edges = (0.0, 0.001, 0.01, 0.1, 0.5, 1.0, math.inf)
        # A row near an edge may fall on either side of it by the width of a bin: every such count is possible.
        for low, high in zip((-1.0, *edges[:-1]), edges, strict=True):
            sure = sum(low * 1.2 < value <= high / 1.2 for value in shares) if low >= 0 else shares.count(0.0)
            possible = sum(low / 1.2 < value <= high * 1.2 for value in shares) if low >= 0 else shares.count(0.0)
            for number in range(sure, possible + 1):
                self.count(number)
                self.add(per_cent(number, len(shares)))
        mean = [v for again in floats for row in again.errors for v in row if v is not None]
        self.add(short(float(sum(map(Decimal, mean)) / len(mean))))
        # How near the quantiles are to the true ones is checked by recompute.
        for value in told["ulp_quantiles"].values():
            self.add(ulps(value))

    def worst_row(self, row, by_case) -> None:
        again = by_case[row["suite"], row["case"]]
        at = tuple(row["element"])
        self.count(row["row"], *at)
        for array in (again.fw, again.ref, again.ox):
            value = array[at]
            self.add(str(value) if array.dtype.kind in "fOSU" else str(value.item()))
        if "float" in again.dtype:
            first = (row["row"] if len(again.table) > 1 else 0) * again.columns
            unit = max(range(first, first + again.columns), key=again.used)
            self.add(share(again.used(unit)), short(most(again.units(again.errors)[unit])))
            self.add(ulps(Numbers.apart(again, at)))
        else:
            self.add("100")
        feeds = load_arrays(self.folder / again.entry["inputs"])
        for values in feeds.values():
            part = values[row["row"]] if values.ndim and len(values) == again.entry["rows"] else values
            self.add(*(str(item) for item in np.ravel(part)), *(str(item) for item in values.shape[1:]))

    @staticmethod
    def apart(again, at):
        from test_report_numbers import ulp_between

        return ulp_between(again.ox[at], again.ref[at], again.dtype)

    def totals(self) -> None:
        results = self.told["results"]
        status = [result["status"] for result in results]
        found = {name: status.count(name) for name in ("passed", "failed", "inconclusive", "skipped")}
        self.count(*found.values(), found["skipped"] + found["inconclusive"], len(results))
        for suite in {result["suite"] for result in results}:
            mine = [result["status"] for result in results if result["suite"] == suite]
            self.count(len(mine), *(mine.count(name) for name in found))
            for output in {result["output"] for result in results}:
                self.count(sum(r["suite"] == suite and r["output"] == output for r in results))
        for again in self.parts:
            if "float" in again.dtype and again.table:
                self.add(share(max(again.used(unit) for unit in range(len(again.table) * again.columns))))

    def names(self) -> list[str]:
        """What is no number: names of the comparison, longest first."""
        told = self.told
        found = [told["producer"], told["inputs"], told["model"], str(told["framework"]), f"seed {told['seed']}"]
        found += [f"{domain} {version}" for domain, version in told["opsets"].items()]
        found += list(told["versions"].values())
        found += [result[key] for result in told["results"] for key in ("output", "source", "suite", "case", "dtype")]
        # Only words of the framework and of the harness about itself: notes with numbers of the comparison are read.
        found += told["notes"]
        return sorted({text for text in found if any(c.isdigit() for c in text)}, key=len, reverse=True)


def compact(number: int) -> str:
    for size, letter in ((10**18, "E"), (10**15, "P"), (10**12, "T"), (10**9, "G"), (10**6, "M"), (10**3, "k")):
        if number >= size and number >= 10_000:
            return general(number / size, 3) + letter
    return str(number)


def visible(markup: str) -> str:
    """Return what a reader of HTML sees as text."""
    text = re.sub(r"<style>.*?</style>", " ", markup, flags=re.DOTALL)
    text = re.sub(r"<title>.*?</title>", " ", text, flags=re.DOTALL)
    return html.unescape(re.sub(r"<[^>]+>", " ", text))


def strays(text: str, numbers: Numbers, more: set[str] = frozenset()) -> list[str]:
    """Return the numbers of a text that were not computed again."""
    for name in (*numbers.names(), *PHRASES):
        text = text.replace(name, " ")
    found = [token.strip(",") for token in TOKEN.findall(text)]
    allowed = numbers.texts | more
    return [token for token in found if token not in allowed and token.replace(",", "") not in allowed]


def page_without_graph(report) -> str:
    text = report.to_html()
    return re.sub(r"<h2>Graph</h2>.*?(?=<h2>)", " ", text, flags=re.DOTALL)


def forms_of(report) -> dict[str, str]:
    return {
        "terminal": plain_text(report, width=400),
        "Markdown": html.unescape(markdown(report)),
        "notebook": visible(fragment(report)),
        "page": visible(page_without_graph(report)),
        "JUnit": junit_text(report),
    }


def junit_text(report) -> str:
    root = ET.fromstring(report.to_junit())
    found = []
    for element in root.iter():
        attributes = dict(element.attrib)
        if element.tag == "property" and attributes["name"] in {*dict(report.versions), "seed", "producer"}:
            continue
        found += [value for key, value in attributes.items() if key not in ("time", "name", "classname", "type")]
        found.append(element.text or "")
    return "\n".join(found)


@pytest.fixture(scope="module", params=["passing", "altered", "ill-conditioned", "texts", "tensors"])
def sample(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("arrays")
    report = make(request.param, folder)
    return report, Numbers(report, folder)


def make(name, folder):
    rng = np.random.default_rng(3)
    if name in ("passing", "altered"):
        model, X = classifier()
        return check_parity(model, broken() if name == "altered" else converted(), X, save_arrays=folder)
    if name == "ill-conditioned":
        from sklearn.linear_model import Ridge
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        X = rng.normal(1e5, 1, (60, 3)).astype(np.float32)
        model = make_pipeline(StandardScaler(), Ridge()).fit(X.astype(float), X @ [1.0, 2.0, 3.0])
        return check_parity(model, any2onnx.to_onnx(model, X), X, save_arrays=folder)
    if name == "texts":
        from sklearn.linear_model import LogisticRegression

        X = rng.normal(size=(50, 3)).astype(np.float32)
        model = LogisticRegression().fit(X, np.where(X[:, 0] > 0, "ja", "nö"))
        return check_parity(model, any2onnx.to_onnx(model, X), X, save_arrays=folder, budget=1e-6)
    import torch

    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(6, 5), torch.nn.Tanh(), torch.nn.Linear(5, 3)).eval()
    x = torch.randn(4, 6)
    proto = any2onnx.convert_pytorch(model, (x,), dynamic_shapes=({0: torch.export.Dim("batch")},))
    return check_parity(model, proto, save_arrays=folder)


def test_every_number_of_every_form_was_computed_again(sample):
    report, numbers = sample
    for name, text in forms_of(report).items():
        tokens = TOKEN.findall(text)
        assert len(tokens) > 20, name
        assert strays(text, numbers) == [], name


def test_the_graph_counts_its_nodes(tmp_path):
    model, X = classifier()
    proto = converted()
    report = check_parity(model, proto, X, suites="typical", save_arrays=tmp_path)
    numbers = Numbers(report, tmp_path)
    text = visible("<h2>Graph</h2>" + report.to_html().split("<h2>Graph</h2>")[1].split("<h2>")[0])
    # The legend's edges are those of the scale of colours.
    legend = {f"1e-{k}" for k in range(10)}
    counts = {str(k) for k in range(1, len(proto.graph.node) + 1)}
    assert f"{len(proto.graph.node)} nodes" in text
    assert strays(text, numbers, legend | counts) == []


def test_every_number_of_the_json_has_a_second_computation(sample):
    """The paths at which JSON holds a number, each with what checks it; a new number must join the list."""
    report, _ = sample
    checked = {
        "counts.*", "seed", "opsets.*",
        "results[].rows", "results[].shape[]", "results[].ulp", "results[].ulp_framework", "results[].abs",
        "results[].rel", "results[].abs_framework", "results[].rel_framework", "results[].rel_difference",
        "results[].sensitivity", "results[].budget", "results[].budget_used", "results[].equal", "results[].tied",
        "results[].wrong", "results[].worst_row",
        "outputs[].budget_used", "outputs[].abs", "outputs[].rel", "outputs[].ulp", "outputs[].elements",
        "outputs[].rows", "outputs[].mean_abs", "outputs[].ulp_quantiles.*", "outputs[].ulp_histogram[][]",
        "outputs[].ulp_framework_histogram[][]", "outputs[].budget_histogram[][]", "outputs[].worst_rows[].row",
        "outputs[].worst_rows[].element[]", "outputs[].worst_rows[].error", "outputs[].worst_rows[].budget",
        "outputs[].worst_rows[].used", "outputs[].worst_rows[].ulp",
    }  # fmt: skip
    told = json.loads(report.to_json())
    worst = told.pop("worst")
    assert worst in told["results"]
    assert set(paths(told)) <= checked
    # The worst of each output is the worst of its results, whose numbers were computed again.
    for output in told["outputs"]:
        mine = [r for r in told["results"] if r["output"] == output["output"]]
        for key in ("abs", "rel", "ulp", "budget_used"):
            values = [math.inf if r[key] is None else r[key] for r in mine]
            assert same(max(values), output[key]) or (output[key] is None and math.isinf(max(values)))


def paths(value, path=""):
    if isinstance(value, dict):
        free = path in ("counts", "opsets") or path.endswith("ulp_quantiles")
        for key, item in value.items():
            yield from paths(item, f"{path}.{'*' if free else key}".lstrip("."))
    elif isinstance(value, list):
        for item in value:
            yield from paths(item, f"{path}[]")
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        yield path


@pytest.mark.parametrize("form", ["terminal", "Markdown", "notebook", "page", "JUnit"])
def test_a_touched_number_is_noticed(tmp_path, form):
    model, X = classifier()
    report = check_parity(model, broken(), X, suites="data", save_arrays=tmp_path)
    numbers = Numbers(report, tmp_path)
    text = forms_of(report)[form]
    assert strays(text, numbers) == []
    at = next(k for k, result in enumerate(report.results) if result.rel > 1e-6)
    results = list(report.results)
    results[at] = dataclasses.replace(results[at], budget_used=results[at].budget_used * 1.7, rel=results[at].rel * 3.3)
    touched = dataclasses.replace(report, results=tuple(results))
    assert strays(forms_of(touched)[form], numbers) != []


def test_numbers_are_written_as_the_language_writes_them():
    """The second implementation of the formats against the first, on hard cases."""
    rng = np.random.default_rng(0)
    values = [*10.0 ** rng.uniform(-12, 12, 300), 0.095, 9.95, 0.5, 1.5, 2.5, 99.5, 999.5, 1e-5, 9.995e-5, 123456.5]
    for value in map(float, values):
        assert format_scientific(value, 1) == f"{value:.1e}"
        assert general(value, 3) == f"{value:.3g}"
        assert general(value, 6) == f"{value:.6g}"
        if value < 10:
            assert rounded_to(value * 100, 0) in {f"{value:.0%}"[:-1], f"{value * 100:.0f}"}
