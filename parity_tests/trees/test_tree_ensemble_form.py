"""The form of an ensemble by itself: every mode, every version, groups, checks, and what it costs."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.reference
import onnx_ir
import pytest
from tree_harness import OPSETS, run
from tree_probes import boundary_rows, sums, walk

from any2onnx.errors import GraphError
from any2onnx.graph import DataType, GraphBuilder, Opsets
from any2onnx.graph.attributes import Numbers, NumbersAttr
from any2onnx.tree_ensemble import Mode, TreeEnsemble, assemble, emit
from any2onnx.tree_ensemble.ir import ceil32, floor32, thresholds32
from any2onnx.tree_ensemble.prove import prove
from any2onnx.tree_ensemble.read import read_ensembles

NAN = float("nan")
VERSIONS = [*OPSETS, {"": 21, "ai.onnx.ml": 2}, {"": 21, "ai.onnx.ml": 4}]


def random_ensemble(
    modes: list[Mode], *, trees: int = 5, depth: int = 4, width: int = 1, n_targets: int = 1, seed: int = 0, **more: Any
) -> TreeEnsemble:
    """Full trees with random tests on four columns; the last column holds codes for MEMBER."""
    rng = np.random.default_rng(seed)
    inner, nodes = 2**depth - 1, 2 ** (depth + 1) - 1
    child = np.arange(nodes)
    true = np.where(child < inner, 2 * child + 1, -1)
    count = trees * nodes
    mode = rng.choice(np.array(modes, np.uint8), count)
    member = mode == Mode.MEMBER
    equal = np.isin(mode, (Mode.EQ, Mode.NEQ))
    threshold = np.where(equal, rng.integers(-2, 3, count), rng.normal(size=count))
    feature = np.where(member, 3, rng.integers(0, 3, count))
    leaf = np.tile(child >= inner, trees)
    leaves = int(leaf.sum())
    sets: dict[str, Any] = {}
    if Mode.MEMBER in modes:
        sizes = rng.integers(1, 9, 6)
        members = [np.sort(rng.choice(80, k, replace=False)) for k in sizes.tolist()]
        sets = {
            "set_of_node": np.where(member & ~leaf, rng.integers(0, 6, count), -1).astype(np.int32),
            "set_start": np.concatenate([[0], np.cumsum(sizes)]),
            "set_values": np.concatenate(members).astype(np.float64),
        }
    split = lambda a: np.split(a, trees)  # noqa: E731
    values = rng.normal(size=(leaves, width))
    target = rng.integers(0, n_targets, leaves).astype(np.int32) if n_targets > 1 and width == 1 else None
    return assemble(
        true_child=[true] * trees,
        false_child=[np.where(true < 0, -1, true + 1)] * trees,
        feature=split(feature),
        threshold=split(np.where(member, 0.0, threshold)),
        missing_true=split(rng.random(count) < 0.5),
        mode=split(mode),
        leaf_values=values,
        leaf_target=target,
        n_targets=n_targets,
        n_features=4,
        **{"compare": "float64", **sets, **more},
    ).validate()


def rows(dtype: Any, n: int = 300) -> Any:
    rng = np.random.default_rng(9)
    x = np.column_stack([rng.normal(size=(n, 2)), rng.integers(-2, 3, n), rng.integers(0, 90, n)])
    x[rng.random(x.shape) < 0.1] = NAN
    return x.astype(dtype)


def build(e: TreeEnsemble, dtype: Any, opset: Any, **how: Any) -> onnx.ModelProto:
    g = GraphBuilder(Opsets.of(opset))
    x = g.input("x", DataType.from_numpy(np.dtype(dtype)), ["batch", e.n_features])
    how.setdefault("result", emit.result_type(x))
    outputs = {"sums": emit.emit_scores(g, e, x, **how), "leaves": emit.emit_leaves(g, e, x)}
    return onnx_ir.to_proto(g.build(outputs))


@pytest.mark.parametrize("opset", VERSIONS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("compare", ["float32", "float64"])
@pytest.mark.parametrize(
    "modes",
    [
        [Mode.LEQ],
        [Mode.LT],
        [Mode.GTE],
        [Mode.GT],
        [Mode.EQ],
        [Mode.NEQ],
        [Mode.MEMBER],
        list(Mode)[:6],
        list(Mode)[:7],
    ],
    ids=lambda m: "+".join(x.name for x in m),
)
def test_every_mode(modes: list[Mode], compare: Any, dtype: Any, opset: Any) -> None:
    e = random_ensemble(modes, compare=compare)
    probes = np.concatenate([rows(dtype), boundary_rows(e, rows(dtype), dtype)])
    model = build(e, dtype, opset)
    got = run(model, probes)
    assert np.array_equal(got["leaves"], walk(e, probes) - e.tree_start[:-1])
    assert np.abs(got["sums"] - sums(e, probes)).max() < (1e-9 if dtype == np.float64 else 1e-5)
    proof = prove(e, model)
    assert proof.decides_alike, proof
    assert proof.walks == 2


@pytest.mark.parametrize("opset", VERSIONS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("width", "n_targets"), [(1, 1), (3, 3), (1, 3)])
@pytest.mark.parametrize("how", [{}, {"precision": "float64"}, {"precision": "float32"}], ids=["auto", "64", "32"])
def test_leaves_and_precision(how: Any, width: int, n_targets: int, dtype: Any, opset: Any) -> None:
    e = random_ensemble([Mode.LEQ], width=width, n_targets=n_targets, compare="float32", tree_weight=np.arange(5) + 0.5)
    got = run(build(e, dtype, opset, **how), rows(dtype))["sums"]
    assert got.shape == (300, n_targets)
    exact = "float64" in how.values() or (dtype == np.float64 and "float32" not in how.values())
    assert np.abs(got - sums(e, rows(dtype))).max() < (1e-12 if exact else 1e-5)


@pytest.mark.parametrize("opset", [13, 18, 21])
def test_base_scores_are_the_first_trees_leaves(opset: int) -> None:
    e = random_ensemble([Mode.LEQ], base=np.array([1e3]))
    plain = replace(e, base=None)
    x = rows(np.float64)
    assert np.allclose(sums(e, x), sums(plain, x) + 1e3, rtol=1e-14)
    assert np.allclose(run(build(e, np.float64, opset), x)["sums"], sums(e, x), rtol=1e-14)
    with pytest.raises(GraphError, match="several targets"):
        random_ensemble([Mode.LEQ], n_targets=2, base=np.ones(2)).folded()


@pytest.mark.parametrize("opset", [13, 18, 21])
def test_groups_give_the_same(opset: int, monkeypatch: pytest.MonkeyPatch) -> None:
    e = random_ensemble([Mode.LEQ, Mode.MEMBER], trees=9, n_targets=2, width=2)
    x = rows(np.float64)
    whole = run(build(e, np.float64, opset), x)
    monkeypatch.setattr(emit, "GROUP_NODES", 60)
    model = build(e, np.float64, opset)
    if opset == 21:
        assert len(read_ensembles(model)) > 6
    parts = run(model, x)
    assert np.array_equal(parts["leaves"], whole["leaves"])
    assert np.allclose(parts["sums"], whole["sums"], rtol=1e-14)
    assert prove(e, model).leaves_alike
    sizes = [p.n_trees for p in e.groups(60)]
    assert sum(sizes) == 9
    assert max(sizes) <= 3


def test_slices_are_ensembles() -> None:
    e = random_ensemble([Mode.LEQ, Mode.EQ], trees=6)
    x = rows(np.float64)
    parts = [e.slice(a, b).validate() for a, b in ((0, 2), (2, 3), (3, 6))]
    assert np.allclose(sum(sums(p, x) for p in parts), sums(e, x))
    assert e.slice(0, 6) is e


def test_canonical_order_decides_alike() -> None:
    e = random_ensemble([Mode.LEQ, Mode.GT, Mode.MEMBER])
    c = e.canonical().validate()
    assert not np.array_equal(c.feature, e.feature)
    assert np.array_equal(sums(c, rows(np.float64)), sums(e, rows(np.float64)))
    assert np.array_equal(c.preorder()[0], np.arange(c.n_nodes) - c.tree_start[c.tree_of_node])


def test_neighbours_in_float32() -> None:
    rng = np.random.default_rng(0)
    t = np.concatenate(
        [rng.normal(size=2000) * 10.0 ** rng.integers(-46, 38, 2000), rng.normal(size=200).astype(np.float32)]
    )
    t = np.concatenate([t, [np.inf, -np.inf, 0.0, -0.0, 1e39, -1e39, 1e-50, -1e-50, 3.4028235e38, 3.4028236e38]])
    low, high = floor32(t), ceil32(t)
    assert np.all(low <= t)
    assert np.all(high >= t)
    with np.errstate(over="ignore"):
        after, before = np.nextafter(low, np.float32(np.inf)), np.nextafter(high, np.float32(-np.inf))
    assert np.all((after > t) | (low == t))
    assert np.all((before < t) | (high == t))


def test_equality_with_a_number_that_float32_has_not() -> None:
    e = random_ensemble([Mode.EQ], compare="float32")
    e = replace(e, threshold=np.where(e.is_leaf, 0.0, 0.1))
    assert thresholds32(e) is None
    x = rows(np.float32)
    x[::3, :3] = np.float32(0.1)
    for opset in VERSIONS:
        assert np.array_equal(run(build(e, np.float32, opset), x)["leaves"], walk(e, x) - e.tree_start[:-1])


BAD: dict[str, dict[str, Any]] = {
    "one entry per node": {"threshold": np.zeros(3)},
    "span the nodes": {"tree_start": np.array([0, 31])},
    "has no nodes": {"tree_start": np.array([0, 0, 155])},
    "known ones": {"mode": np.full(155, 9, np.uint8)},
    "does not exist": {"true_child": np.where(np.arange(155) == 3, 999, 0)},
    "one row per leaf": {"leaf_values": np.zeros((3, 1))},
    "one column per target": {"n_targets": 2},
    "no existing column": {"n_features": 2},
    "NaN": {"threshold": np.full(155, NAN)},
    "compare": {"compare": "int8"},
    "one entry per tree": {"tree_weight": np.ones(2)},
    "base has not": {"base": np.ones(7)},
    "no existing target": {"leaf_target": np.full(80, 3, np.int32), "n_targets": 2},
}


@pytest.mark.parametrize("what", BAD)
def test_malformed_ensembles(what: str) -> None:
    e = random_ensemble([Mode.LEQ], trees=5)
    change = dict(BAD[what])
    if "true_child" in change:
        change["true_child"] = np.where(np.arange(155) == 3, 999, e.true_child)
    with pytest.raises(GraphError, match=what):
        replace(e, **change).validate()


def test_malformed_children_and_sets() -> None:
    e = random_ensemble([Mode.LEQ, Mode.MEMBER])
    inner = ~e.is_leaf
    shared = replace(e, false_child=e.true_child)
    with pytest.raises(GraphError, match="reached twice"):
        shared.validate()
    loop = replace(
        e, true_child=np.where(inner, 0, -1), false_child=np.where(inner, 0, -1), tree_start=np.array([0, 155])
    )
    with pytest.raises(GraphError, match="cycle"):
        loop.validate()
    other_tree = replace(e, true_child=np.where(np.arange(155) == 0, 32, e.true_child))
    with pytest.raises(GraphError, match="another tree"):
        other_tree.validate()
    with pytest.raises(GraphError, match="a leaf has children"):
        replace(e, true_child=np.where(e.is_leaf, 0, e.true_child)).validate()
    with pytest.raises(GraphError, match="has no set"):
        replace(e, set_of_node=None).validate()
    with pytest.raises(GraphError, match="whole number"):
        replace(e, set_values=e.set_values + 0.5).validate()


def test_types_are_checked() -> None:
    g = GraphBuilder(Opsets.of(21))
    x = g.input("x", DataType.FLOAT, ["batch"])
    with pytest.raises(GraphError, match="matrix"):
        emit.emit_scores(g, random_ensemble([Mode.LEQ], compare="float32"), x)


def test_large_attributes_stay_arrays() -> None:
    array = np.arange(1000)
    numbers = Numbers(array)
    attribute = NumbersAttr("a", onnx_ir.AttributeType.INTS, numbers)
    assert attribute.value.array is array
    assert list(onnx_ir.to_proto(attribute).ints) == list(range(1000))
    assert attribute == onnx_ir.AttrInt64s("a", range(1000))
    assert onnx_ir.AttrInt64s("a", range(1000)) == attribute
    assert hash(numbers) == hash(tuple(range(1000)))
    assert numbers[3] == 3
    assert list(numbers[2:5]) == [2, 3, 4]
    assert len(attribute.as_ints()) == 1000
    floats = Numbers(np.linspace(0, 1, 500, dtype=np.float32))
    assert type(next(iter(floats))) is float


_SCRIPT = """
import sys, hashlib; sys.path.insert(0, sys.argv[1])
import numpy as np
from tree_harness import convert
from sklearn.ensemble import RandomForestClassifier, HistGradientBoostingClassifier
X = np.random.default_rng(0).normal(size=(200, 4))
y = np.array(["a", "b", "c"])[np.digitize(X[:, 0], [-1, 1])]
digest = hashlib.sha256()
for model in (RandomForestClassifier(5, random_state=0), HistGradientBoostingClassifier(max_iter=3)):
    for opset in (13, 18, 21):
        digest.update(convert(model.fit(X, y), X, opset=opset).SerializeToString(deterministic=True))
print(digest.hexdigest())
"""


def test_same_bytes_in_every_process() -> None:
    here = str(Path(__file__).parent)
    digests = {
        subprocess.run(
            [sys.executable, "-c", _SCRIPT, here],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for seed in ("1", "77")
    }
    assert len(digests) == 1
    assert len(digests.pop()) == len(hashlib.sha256().hexdigest())


def test_a_big_forest(capsys: pytest.CaptureFixture[str]) -> None:
    """450,000 nodes: prints what it takes; what is asserted is that it is right."""
    e = random_ensemble([Mode.LEQ], trees=55, depth=12, compare="float32")
    begun = time.perf_counter()
    g = GraphBuilder(Opsets.of(21))
    x = g.input("x", DataType.FLOAT, ["batch", 4])
    model = g.build({"sums": emit.emit_scores(g, e, x, result=DataType.FLOAT)})
    built = time.perf_counter()
    data = onnx_ir.to_proto(model).SerializeToString()
    done = time.perf_counter()
    with capsys.disabled():
        print(f"\n{e.n_nodes} nodes: built {built - begun:.2f} s, serialised {done - built:.2f} s, {len(data)} bytes")
    sample = rows(np.float32, 40)
    assert np.abs(run(onnx.load_from_string(data), sample)["sums"] - sums(e, sample)).max() < 1e-9
    assert len(read_ensembles(onnx.load_from_string(data))) == round(e.n_nodes / emit.GROUP_NODES)


# --- leaves that are equal ------------------------------------------------------------------------------------------


def votes(trees: int, depth: int, *, value: float = 1.0, seed: int = 0) -> TreeEnsemble:
    """Trees whose leaves all add the same number, each to one of three targets."""
    e = random_ensemble([Mode.LEQ], trees=trees, depth=depth, n_targets=3, seed=seed, compare="float32")
    return replace(e, leaf_values=np.full_like(e.leaf_values, value))


def tree_attributes(model: onnx.ModelProto) -> dict[str, Any]:
    node = next(node for node in model.graph.node if node.op_type == "TreeEnsemble")
    return {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}


@pytest.mark.parametrize("value", [1.0, -2.5, 0.0])
def test_equal_leaves_are_written_once(value: float) -> None:
    e = votes(40, 5, value=value)
    model = build(e, np.float32, 21)
    assert list(tree_attributes(model)["leaf_targetids"]) == [0, 1, 2]
    x = rows(np.float32)
    assert np.array_equal(run(model, x)["sums"], sums(e, x))
    evaluator = onnx.reference.ReferenceEvaluator(model)
    assert np.array_equal(np.asarray(evaluator.run(["sums"], {"x": x[:20]})[0]), sums(e, x[:20]))
    found = read_ensembles(model)[0].ensemble.validate()
    own = e.canonical()
    assert np.array_equal(found.leaf_target, own.leaf_target)
    assert np.array_equal(found.leaf_values, own.leaf_values)
    assert np.array_equal(found.tree_start, own.tree_start)


def test_a_stump_with_equal_leaves_is_no_tree_of_one_leaf() -> None:
    """A root whose two branches are the same leaf stands for a lone leaf: here it must not look like that."""
    e = votes(1, 1)
    e = replace(e, leaf_target=np.array([2, 2], np.int32))
    found = read_ensembles(build(e, np.float32, 21))[0].ensemble
    assert found.n_nodes == e.n_nodes
    more = votes(20, 3)
    lone = assemble(
        true_child=[np.array([-1]), np.array([1, -1, -1])],
        false_child=[np.array([-1]), np.array([2, -1, -1])],
        feature=[np.array([7]), np.array([1, 9, 9])],
        threshold=[np.array([NAN]), np.array([0.5, NAN, NAN])],
        leaf_values=iter([np.ones((1, 1)), np.ones((2, 1))]),
        leaf_target=np.array([1, 0, 2], np.int32),
        n_targets=3,
        n_features=4,
        compare="float32",
    ).validate()
    for one in (lone, more):
        model = build(one, np.float32, 21)
        x = rows(np.float32)
        assert np.array_equal(run(model, x)["sums"], sums(one, x))
        assert read_ensembles(model)[0].ensemble.n_nodes == one.n_nodes


@pytest.mark.parametrize("rows_in_all", [1, 5, (1 << 14) - 1, 1 << 14, (1 << 14) + 3])
@pytest.mark.parametrize("empty", [0.0, 0.3])
def test_leaves_with_one_number_each(rows_in_all: int, empty: float) -> None:
    rng = np.random.default_rng(0)
    e = random_ensemble([Mode.LEQ], width=3, n_targets=3)
    table = np.zeros((rows_in_all, 3))
    table[np.arange(rows_in_all), rng.integers(0, 3, rows_in_all)] = rng.normal(size=rows_in_all)
    table[rng.random(rows_in_all) < empty] = 0.0
    found = replace(e, leaf_values=table).scalar_leaves()
    assert found is not None
    assert np.array_equal(found[0], table.sum(axis=1))
    assert np.array_equal(np.where(found[0] == 0, 0, found[1]), np.abs(table).argmax(axis=1))
    table[rows_in_all // 2] = 1.0
    assert replace(e, leaf_values=table).scalar_leaves() is None
