"""The parts of a report by themselves: exact merging, histograms, the layout of graphs, collapsing."""

from __future__ import annotations

import dataclasses
import fractions
import itertools
import random

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from any2onnx.parity import details
from any2onnx.parity.charts import bars_svg, percent, ulp_bars, used_bars
from any2onnx.parity.graph_svg import MOST_BOXES, boxes_of
from any2onnx.parity.layout import lay_out
from any2onnx.parity.picture import GraphNode, GraphPicture
from any2onnx.parity.ulp import INCOMPARABLE

# A busy machine is no failure.
calm = settings(deadline=None, max_examples=50, derandomize=True, suppress_health_check=[HealthCheck.too_slow])


# --- exact sums and histograms -----------------------------------------------------------------------------------


@calm
@given(st.lists(st.floats(allow_nan=True, allow_infinity=True), max_size=40))
def test_sums_are_exact(values):
    finite = [fractions.Fraction(value) for value in values if np.isfinite(value)]
    assert details.exact_sum(np.array(values, dtype=np.float64)) == sum(finite, fractions.Fraction(0))


@calm
@given(st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=40))
def test_every_distance_is_in_its_bin(values):
    bins = details.ulp_bins(np.array(values, dtype=np.uint64))
    for value, number in zip(values, bins.tolist(), strict=True):
        low, high = details.ulp_range(number)
        assert low <= value <= high
        assert high - low <= low / 32
    assert details.count(bins) == tuple(sorted((n, int(np.sum(bins == n))) for n in set(bins.tolist())))


@pytest.mark.parametrize(
    "value", [0, 1, 63, 64, 2**53 - 1, 2**53, 2**53 + 1, 2**63 - 1, 2**63, 2**64 - 2, INCOMPARABLE]
)
def test_edges_of_bins(value):
    low, high = details.ulp_range(int(details.ulp_bins(np.array([value], dtype=np.uint64))[0]))
    assert low <= value <= high


@calm
@given(st.lists(st.floats(0, 1e9), min_size=1, max_size=40))
def test_every_share_is_in_its_bin(values):
    bins = details.used_bins(np.array(values))
    for value, number in zip(values, bins.tolist(), strict=True):
        low, high = details.used_range(number)
        if value == 0:
            assert number == 0
        elif number > 1:
            assert low * (1 - 1e-12) <= value <= high * (1 + 1e-12)
        else:
            assert value <= high


def test_infinite_shares_are_counted_as_the_largest():
    bins = details.used_bins(np.array([np.inf, 0.0, 1e300]))
    assert bins[0] == bins[2] == details.used_bins(np.array([2.0**40]))[0]
    assert bins[1] == 0


def part(rng, rows):
    values = rng.standard_normal(rows)
    return details.Detail(
        elements=rows,
        rows=rows,
        ulp=details.count(details.ulp_bins(rng.integers(0, 5000, rows).astype(np.uint64))),
        ulp_framework=details.count(details.ulp_bins(rng.integers(0, 9, rows).astype(np.uint64))),
        used=details.count(details.used_bins(np.abs(values))),
        total=details.exact_sum(values),
        finite=rows,
        worst=tuple(
            details.WorstRow("data", "c", k, (k,), "1", "1", "1", 0.5, 1.0, float(rng.integers(0, 4)), 1)
            for k in range(min(rows, details.KEPT_ROWS))
        ),
    )


def test_merging_does_not_depend_on_how_it_is_cut():
    rng = np.random.default_rng(0)
    parts = [part(rng, int(rows)) for rows in rng.integers(0, 50, 20)]
    whole = details.merge(parts)
    for cuts in ([5, 9], [1], [10, 11, 12, 19], list(range(1, 20))):
        edges = [0, *cuts, len(parts)]
        pieces = [details.merge(parts[a:b]) for a, b in itertools.pairwise(edges)]
        assert details.merge(pieces) == whole
    shuffled = parts.copy()
    random.Random(0).shuffle(shuffled)
    other = details.merge(shuffled)
    assert dataclasses.replace(other, worst=()) == dataclasses.replace(whole, worst=())
    assert details.merge([]) == details.Detail()


def test_quantiles():
    found = details.Detail(ulp=details.count(details.ulp_bins(np.arange(100, dtype=np.uint64))))
    assert found.ulp_quantile(0.5) == 49
    assert found.ulp_quantile(0.0) == 0
    assert 99 <= found.ulp_quantile(1.0) <= 99 * 33 / 32
    assert details.Detail().ulp_quantile(0.5) == 0


def test_bars_add_up_and_small_ones_are_visible():
    counts = details.count(details.ulp_bins(np.array([0] * 100_000 + [1, 5, 900, INCOMPARABLE], dtype=np.uint64)))
    bars = ulp_bars(counts)
    assert sum(bar.members for bar in bars) == 100_004
    assert bars[-1].label == "NaN or infinity"
    assert bars[-1].tone == "bad"
    svg = bars_svg(bars, "t")
    assert 'width="0.0"' not in svg
    assert bars_svg([], "t") == ""
    used = used_bars(details.count(details.used_bins(np.array([0.0, 0.3, 0.99, 1.2, np.inf]))))
    assert {bar.label: bar.members for bar in used if bar.members} == {
        "no error": 1,
        "10 – 50 %": 1,
        "50 – 100 %": 1,
        "over budget": 2,
    }


@pytest.mark.parametrize(
    ("share", "text"), [(0.0, "0 %"), (1.0, "100 %"), (0.9999, "> 99.9 %"), (0.0001, "< 0.1 %"), (0.5, "50 %")]
)
def test_percent(share, text):
    assert percent(share) == text


# --- layout ------------------------------------------------------------------------------------------------------


def overlaps(layout, size, gap):
    return [
        (a, b)
        for (a, p), (b, q) in itertools.combinations(enumerate(layout.centres), 2)
        if abs(p[1] - q[1]) < size[1] and abs(p[0] - q[0]) < size[0] + gap - 1e-6
    ]


@calm
@given(st.integers(1, 25), st.data())
def test_layout_of_any_acyclic_graph(count, data):
    pairs = st.tuples(st.integers(0, count - 1), st.integers(0, count - 1)).filter(lambda pair: pair[0] < pair[1])
    edges = sorted(set(data.draw(st.lists(pairs, max_size=40)))) if count > 1 else []
    size, gap = (100.0, 30.0), (20.0, 30.0)
    layout = lay_out(count, edges, size=size, gap=gap)
    assert not overlaps(layout, size, gap[0])
    for (source, target), points in zip(edges, layout.edges, strict=True):
        assert layout.centres[source][1] < layout.centres[target][1]
        assert points[0] == layout.centres[source]
        assert points[-1] == layout.centres[target]
        assert all(a[1] < b[1] for a, b in itertools.pairwise(points))
    for x, y in layout.centres:
        assert size[0] / 2 - 1e-6 <= x <= layout.width - size[0] / 2 + 1e-6
        assert size[1] / 2 <= y <= layout.height - size[1] / 2
    assert layout == lay_out(count, edges, size=size, gap=gap)


def test_layout_of_cycles_and_of_nothing():
    layout = lay_out(3, [(0, 1), (1, 2), (2, 0)])
    assert len({y for _, y in layout.centres}) == 3
    assert lay_out(0, []).width == 0


def test_a_diamond_is_symmetric_and_a_chain_is_straight():
    chain = lay_out(5, [(0, 1), (1, 2), (2, 3), (3, 4)])
    assert len({round(x, 6) for x, _ in chain.centres}) == 1
    diamond = lay_out(4, [(0, 1), (0, 2), (1, 3), (2, 3)])
    (x0, _), (x1, _), (x2, _), (x3, _) = diamond.centres
    assert x0 == pytest.approx(x3)
    assert x0 - x1 == pytest.approx(x2 - x0)


# --- collapsing --------------------------------------------------------------------------------------------------


def chain_picture(count, source):
    nodes = tuple(GraphNode("Relu", f"n{k}", (f"v{k}",), (f"v{k + 1}",), source(k)) for k in range(count))
    return GraphPicture(("v0",), (f"v{count}",), nodes, count)


def test_small_graphs_show_every_node():
    boxes = boxes_of(chain_picture(MOST_BOXES, lambda k: ""))
    assert [box.kind for box in boxes].count("node") == MOST_BOXES


@pytest.mark.parametrize(
    "source", [lambda k: "", lambda k: f"net/block{k // 10}/layer{k % 10} (Relu)", lambda k: f"s{k}"]
)
def test_large_graphs_are_collapsed_and_stay_connected(source):
    boxes = boxes_of(chain_picture(1000, source))
    groups = [box for box in boxes if box.kind in ("group", "node")]
    assert len(groups) <= MOST_BOXES
    assert sum(len(box.makes) for box in groups) == 1000
    made = {value for box in boxes for value in box.makes}
    assert all(value in made for box in boxes for value in box.reads)


def test_blocks_are_the_unit_of_collapsing():
    boxes = boxes_of(chain_picture(1000, lambda k: f"net/block{k // 10}/layer{k % 10} (Relu)"))
    groups = [box for box in boxes if box.kind == "group"]
    assert len(groups) == 100
    assert all(len(box.makes) == 10 for box in groups)
