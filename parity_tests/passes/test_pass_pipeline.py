"""The pipeline on whole networks: what is left, what it costs, and that it is deterministic."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from pass_models import OPSETS, Sketch, check_same, count_ops, random_feeds, run
from pass_networks import ChannelsLast, mobilenet_v2, resnet50

from any2onnx.errors import UnknownOption
from any2onnx.passes.pipeline import optimize

NETWORKS: dict[str, tuple[Callable[..., onnx.ModelProto], int]] = {
    "resnet50": (resnet50, 53),
    "mobilenet_v2": (mobilenet_v2, 25),
    "efficientnet": (lambda opset, norm: mobilenet_v2(opset, norm=norm, squeeze=True, rescale=True), 41),
}


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("norm", ["operator", "arithmetic"])
@pytest.mark.parametrize("opset", OPSETS)
def test_channels_last_networks(name: str, norm: str, opset: int) -> None:
    make, convolutions = NETWORKS[name]
    before = make(opset, norm=norm)
    model = ir.from_proto(before)
    assert count_ops(model)["Transpose"] >= 2 * convolutions
    optimize(model)
    counts = count_ops(model)
    assert counts["Transpose"] == 1
    assert counts["BatchNormalization"] == 0
    assert counts["Conv"] == convolutions
    left = {"Transpose", "Conv", "Pad", "ReduceMean", "MatMul", "Add", "Softmax"}
    left |= {"Relu", "MaxPool"} if name == "resnet50" else {"Clip"}
    left |= {"Sub", "Mul", "Sigmoid", "Reshape"} if name == "efficientnet" else set()
    assert set(counts) == left
    check_same(before, model, random_feeds(model), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("batch", [0, 1, 3])
def test_batches(batch: int) -> None:
    before = mobilenet_v2(squeeze=True)
    model = ir.from_proto(before)
    optimize(model)
    check_same(before, model, random_feeds(model, {"batch": batch}), rtol=1e-4, atol=1e-6)


def test_flatten_head() -> None:
    """A VGG-like head: Flatten and two dense layers behind the last pooling."""
    g = ChannelsLast(18)
    x = g.max_pool(g.relu(g.conv(g.image(16), 6, 3)), 2, 2)
    flat = g.op("Reshape", x, g.ints(-1, 8 * 8 * 6))
    g.channels[flat] = 8 * 8 * 6
    hidden = g.relu(g.dense(flat, 16))
    g.op("Softmax", g.dense(hidden, 5), axis=-1, out="y")
    g.output("y")
    before = g.proto()
    model = ir.from_proto(before)
    optimize(model)
    assert count_ops(model)["Transpose"] == 1
    check_same(before, model, random_feeds(model), rtol=1e-5, atol=1e-6)


def test_image_to_image() -> None:
    """A U-Net-like network: one Transpose at its input, one at its output."""
    g = ChannelsLast(18)
    x = g.relu(g.batch_norm(g.conv(g.image(16), 4, 3)))
    low = g.relu(g.batch_norm(g.conv(g.max_pool(x, 2, 2), 4, 3)))
    up = g.op("Resize", low, "", g.const(np.array([1, 2, 2, 1], np.float32)), mode="nearest")
    joined = g.op("Concat", x, up, axis=3)
    g.channels[joined] = 8
    g.op("Sigmoid", g.conv(joined, 2, 1), out="mask")
    g.output("mask")
    before = g.proto()
    model = ir.from_proto(before)
    optimize(model)
    assert count_ops(model)["Transpose"] == 2
    check_same(before, model, random_feeds(model), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("spatial", "first", "last"), [((12,), [0, 2, 1], [0, 2, 1]), ((4, 5, 6), [0, 4, 1, 2, 3], [0, 2, 3, 4, 1])]
)
def test_one_and_three_dimensions(spatial: tuple[int, ...], first: list[int], last: list[int]) -> None:
    g = Sketch(18)
    random = np.random.default_rng(1)
    x, channels = g.input("x", ["n", *spatial, 3]), 3
    for filters in (4, 4):
        weight = g.const(random.standard_normal((filters, channels, *[3] * len(spatial))).astype(np.float32) * 0.3)
        y = g.op("Conv", g.op("Transpose", x, perm=first), weight, pads=[1] * 2 * len(spatial))
        y = g.op(
            "Add",
            g.op("Mul", g.op("Transpose", y, perm=last), g.const(np.ones(4, np.float32) * 2)),
            g.const(np.ones(4, np.float32)),
        )
        pads = [0, *[1] * len(spatial), 0]
        x, channels = g.op("Pad", g.op("Relu", y), g.ints(*pads, *pads)), filters
    g.op("ReduceMax", x, g.ints(*range(1, len(spatial) + 1)), keepdims=0, out="y")
    g.output("y")
    before = g.proto()
    model = ir.from_proto(before)
    optimize(model)
    assert count_ops(model) == {"Transpose": 1, "Conv": 2, "Relu": 2, "Pad": 2, "ReduceMax": 1}
    check_same(before, model, random_feeds(model), rtol=1e-5, atol=1e-5)


# --- levels ------------------------------------------------------------------------------------------------------


def test_levels() -> None:
    before = resnet50()
    text = ir.to_proto(ir.from_proto(before)).SerializeToString()
    none = ir.from_proto(before)
    assert optimize(none, level="none") is none
    assert ir.to_proto(none).SerializeToString() == text
    basic = optimize(ir.from_proto(before), level="basic")
    assert count_ops(basic)["BatchNormalization"] == 53
    feeds = random_feeds(basic)
    for expected, answer in zip(run(before, feeds), run(basic, feeds), strict=True):
        np.testing.assert_array_equal(answer, expected)


def test_unknown_level() -> None:
    with pytest.raises(UnknownOption, match=r"no optimisation level 'defualt' \(did you mean 'default'\?\)"):
        optimize(ir.from_proto(mobilenet_v2()), level="defualt")  # type: ignore[arg-type]


# --- cost --------------------------------------------------------------------------------------------------------


def long_network() -> onnx.ModelProto:
    g = ChannelsLast(18)
    x = g.relu(g.conv(g.image(8), 8, 3))
    while len(g.nodes) < 3000:
        y = g.relu(g.batch_norm(g.conv(x, 8, 1)))
        x = g.relu(g.add(x, g.batch_norm(g.conv(y, 8, 3))))
    return g.head(x, 5)


def attention_network() -> onnx.ModelProto:
    """Many Transposes, none of which can go."""
    s = Sketch(18)
    x = s.input("x", ["b", 16, 32])
    weights = [s.const(np.random.default_rng(i).standard_normal((32, 32)).astype(np.float32)) for i in range(4)]
    perms = ([0, 2, 1, 3], [0, 2, 3, 1], [0, 2, 1, 3])
    while len(s.nodes) < 3000:
        heads = [
            s.op("Transpose", s.op("Reshape", s.op("MatMul", x, w), s.ints(0, 16, 4, 8)), perm=perm)
            for w, perm in zip(weights[:3], perms, strict=True)
        ]
        score = s.op("Softmax", s.op("MatMul", heads[0], heads[1]), axis=-1)
        mixed = s.op("Transpose", s.op("MatMul", score, heads[2]), perm=[0, 2, 1, 3])
        x = s.op("Tanh", s.op("Add", x, s.op("MatMul", s.op("Reshape", mixed, s.ints(0, 16, 32)), weights[3])))
    s.op("Identity", x, out="y")
    s.output("y")
    return s.proto()


@pytest.mark.parametrize("make", [long_network, attention_network])
def test_three_thousand_nodes_take_less_than_a_second(make: Callable[[], onnx.ModelProto]) -> None:
    before = make()
    assert len(before.graph.node) >= 3000
    times = []
    for _ in range(3):
        model = ir.from_proto(before)
        start = time.process_time()
        optimize(model)
        times.append(time.process_time() - start)
    assert min(times) < 1.0
    assert count_ops(model)["Transpose"] == (1 if make is long_network else 708)


def test_weights_are_not_copied() -> None:
    """64 MB in two weights, one of them tied: next to nothing is allocated, and the arrays stay the same objects."""
    big, tied = np.ones((2048, 4096), np.float32), np.ones((4096, 2048), np.float32)
    values = {}
    for name, array in (("big", big), ("tied", tied), ("tied_again", tied)):
        values[name] = ir.Value(
            name=name, type=ir.TensorType(ir.DataType.FLOAT), shape=ir.Shape(array.shape), const_value=ir.Tensor(array)
        )
    x = ir.Value(name="x", type=ir.TensorType(ir.DataType.FLOAT), shape=ir.Shape(["n", 2048]))
    nodes = [ir.node("MatMul", [x, values["big"]])]
    nodes.append(ir.node("Relu", nodes[-1].outputs))
    nodes.append(ir.node("MatMul", [nodes[-1].outputs[0], values["tied"]]))
    nodes.append(ir.node("MatMul", [nodes[-2].outputs[0], values["tied_again"]]))
    nodes.append(ir.node("Add", [nodes[-1].outputs[0], nodes[-2].outputs[0]]))
    nodes[-1].outputs[0].name = "y"
    for node in nodes:
        node.outputs[0].type = ir.TensorType(ir.DataType.FLOAT)
    graph = ir.Graph(
        [x], nodes[-1].outputs, nodes=nodes, initializers=list(values.values()), opset_imports={"": 18}, name="g"
    )
    model = ir.Model(graph, ir_version=8)
    tracemalloc.start()
    optimize(model)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4_000_000
    held = {name: value.const_value for name, value in model.graph.initializers.items()}
    assert set(held) == {"big", "tied"}
    assert held["big"].numpy() is big  # type: ignore[union-attr]
    assert held["tied"].numpy() is tied  # type: ignore[union-attr]
    assert count_ops(model)["MatMul"] == 2


# --- determinism and imports -------------------------------------------------------------------------------------


def digest(before: onnx.ModelProto) -> str:
    return hashlib.sha256(
        ir.to_proto(optimize(ir.from_proto(before))).SerializeToString(deterministic=True)
    ).hexdigest()


def test_threads_get_the_same_bytes() -> None:
    before = mobilenet_v2(squeeze=True, norm="arithmetic")
    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(digest, [before] * 8)) == {digest(before)}


def test_processes_with_other_hash_seeds_get_the_same_bytes() -> None:
    here = Path(__file__).parent
    code = (
        "from test_pass_pipeline import digest, mobilenet_v2; "
        "print(digest(mobilenet_v2(squeeze=True, norm='arithmetic')))"
    )
    paths = os.pathsep.join([str(here), *sys.path])
    seen = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": paths},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert seen == {digest(mobilenet_v2(squeeze=True, norm="arithmetic")) + "\n"}


def test_the_pipeline_needs_no_extra() -> None:
    code = (
        "import sys, any2onnx.passes.pipeline; "
        "print([m for m in ('onnxscript', 'torch', 'keras', 'sklearn', 'onnxruntime') if m in sys.modules])"
    )
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], env=env, check=True, capture_output=True, text=True)
    assert done.stdout == "[]\n"
