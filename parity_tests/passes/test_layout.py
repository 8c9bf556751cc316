"""Layout propagation: rules one by one, the minimum cut, and random networks."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from filecheck import check_graph
from onnx import TensorProto, helper
from pass_models import OPSETS, Sketch, check_same, count_ops

from any2onnx.passes.constants import FoldConstantsPass
from any2onnx.passes.dead_code import RemoveDeadCodePass
from any2onnx.passes.layout import PropagateLayoutPass
from any2onnx.passes.layout_context import transformed
from any2onnx.passes.min_cut import UNLIMITED, FlowNetwork
from any2onnx.passes.pipeline import optimize
from any2onnx.passes.views import MergeTransposesPass

# For each rank: channels last → first, and back.
FIRST = {3: [0, 2, 1], 4: [0, 3, 1, 2], 5: [0, 4, 1, 2, 3]}
LAST = {3: [0, 2, 1], 4: [0, 2, 3, 1], 5: [0, 2, 3, 4, 1]}
SHAPE = {3: [5, 6], 4: [5, 4, 6], 5: [3, 4, 5, 6]}


def propagate(before: onnx.ModelProto, *, rtol: float = 0.0, atol: float = 0.0) -> ir.Model:
    """Run the pass; it must not add a Transpose, change a value, or find anything the second time."""
    model = ir.from_proto(before)
    FoldConstantsPass()(model)
    had = count_ops(model)["Transpose"]
    PropagateLayoutPass()(model)
    assert count_ops(model)["Transpose"] <= had
    assert not PropagateLayoutPass()(model).modified
    MergeTransposesPass()(model)
    RemoveDeadCodePass()(model)
    check_same(before, model, rtol=rtol, atol=atol)
    return model


Middle = Callable[[Sketch, str], str]


def sandwich(middle: Middle, rank: int = 4, opset: int = 18, *, dtype: str = "float", **tolerance: float) -> ir.Model:
    """Transpose to channels last, then ``middle``, then back: both Transposes must go."""
    g = Sketch(opset)
    x = g.input("x", ["n", 6, *SHAPE[rank][:-1]], dtype)
    y = middle(g, g.op("Transpose", g.op("Abs", x), perm=LAST[rank]))
    g.op("Transpose", y, perm=FIRST[rank], out="y")
    proto = g.proto_of_types(["y"])
    return propagate(onnx.shape_inference.infer_shapes(proto, data_prop=True), **tolerance)


def vector(g: Sketch, *shape: int) -> str:
    return g.const(np.random.default_rng(3).uniform(0.5, 2, shape).astype(np.float32))


def resize(g: Sketch, x: str, rank: int) -> str:
    scales = g.const(np.array([1, *[2] * (rank - 2), 1], np.float32))
    return g.op("Resize", x, "", scales, mode="nearest")


MIDDLES: dict[str, Middle] = {
    "unary": lambda g, x: g.op("Tanh", g.op("Sqrt", g.op("LeakyRelu", x, alpha=0.3))),
    "clip": lambda g, x: g.op("Clip", x, g.const(np.float32(0)), g.const(np.float32(6))),
    "cast": lambda g, x: g.op("Cast", g.op("Cast", x, to=TensorProto.FLOAT16), to=TensorProto.FLOAT),
    "scalar": lambda g, x: g.op("Mul", g.op("Sub", g.const(np.float32(1)), x), g.const(np.ones((1, 1), np.float32))),
    "vector": lambda g, x: g.op("Add", g.op("Mul", vector(g, 6), x), vector(g, 6)),
    "vector_of_full_rank": lambda g, x: g.op("Pow", x, vector(g, 1, 1, 6)),
    "prelu": lambda g, x: g.op("PRelu", g.op("Sub", x, g.const(np.float32(1))), vector(g, 1, 6)),
    "where": lambda g, x: g.op("Where", g.op("Less", x, g.const(np.float32(1))), x, vector(g, 6)),
    "max_of_three": lambda g, x: g.op("Max", x, vector(g, 6), g.op("Neg", x)),
    "residual": lambda g, x: g.op("Add", g.op("Exp", x), g.op("Relu", x)),
    "dropout": lambda g, x: g.op("Dropout", x, g.const(np.float32(0.1))),
    "softmax": lambda g, x: g.op("Softmax", x, axis=1),
    "hardmax": lambda g, x: g.op("Hardmax", x),
    "concat": lambda g, x: g.op("Concat", x, g.op("Neg", x), axis=-1),
    "split": lambda g, x: g.op("Add", *g.op("Split", x, g.ints(3, 3), axis=-1, out=["s1", "s2"])),
    "slice": lambda g, x: g.op("Slice", x, g.ints(1, -3), g.ints(9, 9), g.ints(1, -1), g.ints(2, 2)),
    "slice_without_axes": lambda g, x: g.op("Slice", x, g.ints(0, 1), g.ints(9, 3)),
    "cumsum": lambda g, x: g.op("CumSum", x, g.const(np.int64(-1))),
    "lp_norm": lambda g, x: g.op("LpNormalization", x, p=1),
    "argmax": lambda g, x: g.op("ArgMax", x, axis=1),
    "quantize": lambda g, x: g.op(
        "DequantizeLinear", g.op("QuantizeLinear", x, g.const(np.float32(0.1))), g.const(np.float32(0.1))
    ),
    "quantize_axis": lambda g, x: g.op("DequantizeLinear", g.op("Cast", x, to=TensorProto.INT8), vector(g, 6), axis=-1),
    "cast_like": lambda g, x: g.op("CastLike", x, g.op("Cast", x, to=TensorProto.DOUBLE)),
    "rejoin": lambda g, x: g.op("Mul", x, g.op("Sigmoid", x)),
}
# Sums in another order than before.
SUMMED = {"softmax", "lp_norm", "hardmax", "cumsum"}


@pytest.mark.parametrize("name", MIDDLES)
@pytest.mark.parametrize("rank", [3, 4, 5])
@pytest.mark.parametrize("opset", OPSETS)
def test_transposes_around_flexible_operators_go(name: str, rank: int, opset: int) -> None:
    if name == "cast_like" and opset < 15:
        name = "rejoin"
    tolerance = {"rtol": 1e-6, "atol": 1e-7} if name in SUMMED else {}
    model = sandwich(MIDDLES[name], rank, opset, **tolerance)
    assert count_ops(model)["Transpose"] == 0


RANKED: dict[str, Callable[[Sketch, str, int], str]] = {
    "full_constant": lambda g, x, r: g.op("Add", x, vector(g, *[5, 4, 3][: r - 2], 6)[:] if r == 3 else vector(g, 6)),
    "batch_constant": lambda g, x, r: g.op("Concat", x, g.op("Expand", x, g.ints(*[1] * r)), axis=1),
    "pad_all": lambda g, x, r: g.op("Pad", x, g.ints(*[0, *[1] * (r - 2), 0], *[0, *[2] * (r - 2), 3])),
    "pad_negative": lambda g, x, r: g.op("Pad", x, g.ints(*[0] * r, *[0] * (r - 1), -1), g.const(np.float32(9))),
    "tile": lambda g, x, r: g.op("Tile", x, g.ints(1, 2, *[1] * (r - 3), 3)),
    "expand": lambda g, x, r: g.op(
        "Expand", g.op("Slice", x, g.ints(0), g.ints(1), g.ints(1)), g.ints(1, 7, *[1] * (r - 2))
    ),
    "resize": resize,
}


@pytest.mark.parametrize("name", RANKED)
@pytest.mark.parametrize("rank", [3, 4, 5])
@pytest.mark.parametrize("opset", OPSETS)
def test_operators_with_a_number_per_axis(name: str, rank: int, opset: int) -> None:
    model = sandwich(lambda g, x: RANKED[name](g, x, rank), rank, opset)
    assert count_ops(model)["Transpose"] == 0


@pytest.mark.parametrize("rank", [3, 4, 5])
def test_axes_inputs_and_attributes_of_newer_opsets(rank: int) -> None:
    def middle(g: Sketch, x: str) -> str:
        x = g.op("Pad", x, g.ints(1, 2, 0, 1), "", g.ints(1, -1))
        return str(g.op("Resize", x, "", g.const(np.array([2], np.float32)), mode="nearest", axes=[-1]))

    assert count_ops(sandwich(middle, rank))["Transpose"] == 0


@pytest.mark.parametrize("mode", ["linear", "cubic"])
@pytest.mark.parametrize("perm", [[0, 2, 3, 1], [2, 3, 0, 1], [3, 0, 1, 2]])
def test_interpolation_stays_on_axes_that_onnxruntime_resizes(mode: str, perm: list[int]) -> None:
    g = Sketch(21)
    x = g.op("Transpose", g.input("x", [1, 2, 4, 4]), perm=perm)
    back = g.op("Transpose", g.op("Abs", x), perm=[perm.index(axis) for axis in range(4)])
    y = g.op("Resize", back, "", "", g.ints(1, 2, 6, 7), mode=mode)
    g.op("Relu", g.op("Transpose", y, perm=perm), out="y")
    g.output("y")
    propagate(g.proto(), rtol=1e-6, atol=1e-6)  # runs both and compares


def test_a_constant_as_data_input_is_not_taken_for_permuted() -> None:
    g = Sketch(21)
    weights = g.const(np.random.default_rng(0).normal(size=(1, 2, 4, 3)).astype(np.float32))
    resized = g.op("Resize", weights, "", "", g.ints(1, 2, 6, 7), mode="linear")
    g.op("Mul", g.op("Transpose", resized, perm=[0, 2, 3, 1]), g.input("x", [1]), out="y")
    g.output("y")
    propagate(g.proto(), rtol=1e-6, atol=1e-6)


REDUCTIONS = ["ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL2", "ReduceLogSumExp"]


@pytest.mark.parametrize("op_type", REDUCTIONS)
@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize("axes", [[1, 2], [-1], [1], None])
def test_reductions(op_type: str, opset: int, axes: list[int] | None) -> None:
    def middle(g: Sketch, x: str) -> str:
        if axes is None:
            return str(g.op(op_type, x))
        if op_type == "ReduceSum" or opset >= 18:
            return str(g.op(op_type, x, g.ints(*axes)))
        return str(g.op(op_type, x, axes=axes))

    model = sandwich(middle, 4, opset, rtol=1e-5, atol=1e-5)
    assert count_ops(model)["Transpose"] == 0


@pytest.mark.parametrize("opset", OPSETS)
def test_global_pooling_absorbs_its_transpose(opset: int) -> None:
    g = Sketch(opset)
    x = g.op("Transpose", g.op("Relu", g.input("x", ["n", 6, 5, 4])), perm=LAST[4])
    mean = (
        g.op("ReduceMean", x, g.ints(1, 2), keepdims=0)
        if opset >= 18
        else g.op("ReduceMean", x, axes=[1, 2], keepdims=0)
    )
    g.op("Add", mean, g.op("ReduceMax", x, g.ints(2, 1), keepdims=0) if opset >= 18 else mean, out="y")
    g.op("ArgMax", x, axis=-1, keepdims=0, out="z")
    g.output("y")
    g.output("z", "int64")
    model = propagate(g.proto(), rtol=1e-6, atol=1e-6)
    assert count_ops(model)["Transpose"] == 0
    check_graph(model, "CHECK: %z = ArgMax({{.*}}) {axis=1, keepdims=0} : int64[n,5,4]")


def test_reduction_that_would_swap_what_is_left_keeps_its_transpose() -> None:
    g = Sketch()
    x = g.op("Transpose", g.op("Relu", g.input("x", ["n", 6, 5, 4])), perm=LAST[4])
    g.op("ReduceMax", x, g.ints(1), keepdims=0, out="y")
    g.output("y")
    assert count_ops(propagate(g.proto()))["Transpose"] == 1


def test_shape_of_a_permuted_value() -> None:
    g = Sketch()
    x = g.op("Transpose", g.op("Relu", g.input("x", ["n", 6, None, 4])), perm=LAST[4])
    g.op("Neg", g.op("Shape", x), out="s")
    g.op("Transpose", g.op("Exp", x), perm=FIRST[4], out="y")
    g.output("s", "int64")
    g.output("y")
    model = propagate(g.proto())
    assert count_ops(model)["Transpose"] == 0
    assert count_ops(model)["Gather"] == 1


# --- flattening --------------------------------------------------------------------------------------------------


def flattened(g: Sketch, kind: str, weight: np.ndarray[Any, Any], *, readers: int = 1) -> None:
    x = g.op("Transpose", g.op("Relu", g.input("x", ["n", 6, 5, 4])), perm=LAST[4])
    flat = g.op("Flatten", x) if kind.startswith("Flatten") else g.op("Reshape", x, g.ints(-1, 120))
    w = g.const(weight, "w")
    for index in range(readers):
        if kind.endswith("Gemm"):
            g.op("Gemm", flat, w, transB=1, out=f"y{index}")
        else:
            g.op("MatMul", flat, w, out=f"y{index}")
        g.output(f"y{index}")


@pytest.mark.parametrize("kind", ["FlattenGemm", "FlattenMatMul", "ReshapeGemm", "ReshapeMatMul"])
@pytest.mark.parametrize("opset", OPSETS)
def test_flatten_permutes_the_weight(kind: str, opset: int) -> None:
    g = Sketch(opset)
    weight = np.random.default_rng(0).standard_normal((3, 120) if kind.endswith("Gemm") else (120, 3))
    flattened(g, kind, weight.astype(np.float32))
    assert count_ops(propagate(g.proto(), rtol=1e-5, atol=1e-5))["Transpose"] == 0


def test_flatten_in_front_of_a_shared_weight_stays() -> None:
    g = Sketch()
    flattened(g, "FlattenMatMul", np.ones((120, 3), np.float32), readers=2)
    assert count_ops(propagate(g.proto(), rtol=1e-5))["Transpose"] == 1


def test_flatten_with_another_reader_stays() -> None:
    g = Sketch()
    flattened(g, "FlattenMatMul", np.ones((120, 3), np.float32))
    g.op("Neg", g.nodes[2].output[0], out="z")
    g.output("z")
    assert count_ops(propagate(g.proto(), rtol=1e-5))["Transpose"] == 1


def test_flatten_of_unknown_size_stays() -> None:
    g = Sketch()
    x = g.op("Transpose", g.op("Relu", g.input("x", ["n", 6, "h", 4])), perm=LAST[4])
    g.op("MatMul", g.op("Flatten", x), g.const(np.ones((48, 3), np.float32)), out="y")
    g.output("y")
    assert count_ops(propagate(g.proto()))["Transpose"] == 1


def test_large_weight_is_permuted_when_it_is_written() -> None:
    calls: list[int] = []

    def double(array: Any) -> Any:
        calls.append(1)
        return array * 2

    weight = np.ones((1024, 512), np.float32)
    lazy = transformed(ir.tensor(weight), double, weight.shape)
    assert isinstance(lazy, ir.LazyTensor)
    assert (lazy.dtype, lazy.shape, calls) == (ir.DataType.FLOAT, [1024, 512], [])
    assert lazy.numpy()[0, 0] == 2
    assert calls == [1]
    small = transformed(ir.tensor(weight[:2]), double, (2, 512))
    assert isinstance(small, ir.Tensor)


# --- where nothing may happen ------------------------------------------------------------------------------------


BLOCKERS: dict[str, Middle] = {
    "computed_vector": lambda g, x: g.op(
        "Add", x, g.op("Squeeze", g.op("ReduceMax", x, g.ints(0, 1, 2)), g.ints(0, 1, 2))
    ),
    "dynamic_pads": lambda g, x: g.op("Pad", x, g.op("Add", g.ints(*[0] * 8), g.input("pads", [8], "int64"))),
    "reshape": lambda g, x: g.op("Reshape", g.op("Reshape", x, g.ints(0, 20, 6)), g.ints(0, 5, 4, 6)),
    "gather": lambda g, x: g.op("Gather", x, g.ints(1, 0), axis=3),
}


@pytest.mark.parametrize("name", BLOCKERS)
def test_other_operators_block(name: str) -> None:
    g = Sketch()
    x = g.op("Transpose", g.op("Abs", g.input("x", ["n", 6, 5, 4])), perm=LAST[4])
    g.op("Transpose", BLOCKERS[name](g, x), perm=FIRST[4], out="y")
    g.output("y", shape=["n", None, None, None])
    before = g.proto()
    model = ir.from_proto(before)
    PropagateLayoutPass()(model)
    assert count_ops(model)["Transpose"] == 2
    feeds: dict[str, Any] = {"x": np.random.default_rng(0).random((2, 6, 5, 4), np.float32)}
    if name == "dynamic_pads":
        feeds["pads"] = np.array([0, 1, 0, 0, 0, 0, 1, 0])
    check_same(before, model, feeds)


def test_unknown_ranks_block() -> None:
    g = Sketch()
    x = g.op("Transpose", g.op("Abs", g.input("x", [2, 6, 5, 4])), perm=LAST[4])
    g.op("Transpose", g.op("Exp", x), perm=FIRST[4], out="y")
    g.output("y", shape=[2, 6, 5, 4])
    model = ir.from_proto(g.proto(infer=False))
    assert not PropagateLayoutPass()(model).modified


def test_nothing_is_gained_nothing_is_changed() -> None:
    """One Transpose at an output cannot cancel: moving it would only shuffle nodes."""
    g = Sketch()
    x = g.op("Transpose", g.op("Abs", g.input("x", ["n", 6, 5, 4])), perm=LAST[4])
    g.op("Exp", x, out="y")
    g.output("y")
    model = g.model()
    assert not PropagateLayoutPass()(model).modified


def test_a_reader_in_the_old_layout_keeps_one_transpose() -> None:
    g = Sketch()
    x = g.op("Transpose", g.op("Abs", g.input("x", ["n", 6, 5, 4])), perm=LAST[4])
    y = g.op("Relu", g.op("Exp", x))
    g.op("Transpose", y, perm=FIRST[4], out="first")
    g.op("Tanh", y, out="last")
    g.op("Identity", y, out="also_last")
    for name in ("first", "last", "also_last"):
        g.output(name)
    model = propagate(g.proto())
    assert count_ops(model)["Transpose"] == 1


def test_input_in_both_layouts() -> None:
    """A residual from a channels-last input: its one Transpose serves both branches."""
    g = Sketch()
    x = g.input("x", ["n", 5, 4, 6])
    y = g.op("Transpose", x, perm=FIRST[4])
    y = g.op("MaxPool", y, kernel_shape=[1, 1])
    y = g.op("Add", x, g.op("Transpose", y, perm=LAST[4]))
    y = g.op("AveragePool", g.op("Transpose", y, perm=FIRST[4]), kernel_shape=[1, 1])
    g.op("Relu", y, out="y")
    g.output("y")
    model = propagate(g.proto())
    check_graph(
        model,
        """
        CHECK: input %x
        CHECK-NEXT: [[T:%\\w+]] = Transpose(%x) {perm=[0,3,1,2]} : float32[n,6,5,4]
        CHECK-NEXT: [[P:%\\w+]] = MaxPool([[T]])
        CHECK-NEXT: [[A:%\\w+]] = Add([[T]], [[P]]) : float32[n,6,5,4]
        CHECK-TOTAL-1: Transpose
        """,
    )


def test_values_read_in_subgraphs_keep_their_layout() -> None:
    g = Sketch()
    flag = g.input("flag", [], "bool")
    x = g.op("Transpose", g.op("Abs", g.input("x", [2, 6, 5, 4])), perm=LAST[4])
    y = g.op("Exp", x)
    branches = {}
    for name, op_type in (("then_branch", "Neg"), ("else_branch", "Relu")):
        out = helper.make_tensor_value_info(f"{name}_out", TensorProto.FLOAT, [2, 5, 4, 6])
        nodes = [helper.make_node(op_type, [y], [f"{name}_out"])]
        branches[name] = helper.make_graph(nodes, name, [], [out])
    g.op("If", flag, out="z", **branches)
    g.op("Transpose", y, perm=FIRST[4], out="y")
    g.output("y")
    g.output("z")
    before = g.proto()
    model = ir.from_proto(before)
    PropagateLayoutPass()(model)
    assert count_ops(model)["Transpose"] == 1
    feeds = {"x": np.random.default_rng(0).random((2, 6, 5, 4), np.float32), "flag": np.array(True)}
    check_same(before, model, feeds)


def test_inside_subgraphs_and_functions() -> None:
    nodes = [
        helper.make_node("Transpose", ["x"], ["a"], perm=LAST[4]),
        helper.make_node("Constant", [], ["c"], value_floats=[1.0, 2, 3, 4, 5, 6]),
        helper.make_node("Add", ["a", "c"], ["b"]),
        helper.make_node("Transpose", ["b"], ["y"], perm=FIRST[4]),
    ]
    info = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [2, 5, 4, 6]) for n in "ab"]
    g = Sketch()
    function = helper.make_function("local", "F", ["x"], ["y"], nodes, [helper.make_opsetid("", 18)], value_info=info)
    g.functions.append(function)
    g.input("x", [2, 6, 5, 4])
    flag = g.input("flag", [], "bool")
    out = helper.make_tensor_value_info("y", TensorProto.FLOAT, [2, 6, 5, 4])
    body = helper.make_graph(nodes, "body", [], [out], value_info=info)
    other = helper.make_graph(
        [helper.make_node("Neg", ["x"], ["z"])],
        "other",
        [],
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, [2, 6, 5, 4])],
    )
    g.op("If", flag, then_branch=body, else_branch=other, out="chosen")
    g.op("F", "chosen", domain="local", out="result")
    g.output("result", shape=[2, 6, 5, 4])
    before = g.proto(infer=False)
    before.ir_version = 10
    model = ir.from_proto(before)
    PropagateLayoutPass()(model)
    assert count_ops(model)["Transpose"] == 0
    feeds = {"x": np.random.default_rng(0).random((2, 6, 5, 4), np.float32), "flag": np.array(True)}
    check_same(before, model, feeds)


def test_unit_dimensions_are_free() -> None:
    """A squeeze-and-excite branch: values of shape [n, 1, 1, c] change layout without a Transpose."""
    g = Sketch()
    x = g.input("x", ["n", 5, 4, 6])
    first = g.op("Transpose", x, perm=FIRST[4])
    y = g.op("Transpose", g.op("MaxPool", first, kernel_shape=[1, 1]), perm=LAST[4])
    gate = g.op("Reshape", g.op("ReduceMax", y, g.ints(1, 2), keepdims=0), g.ints(-1, 1, 1, 6))
    gate = g.op("Transpose", g.op("MaxPool", g.op("Transpose", gate, perm=FIRST[4]), kernel_shape=[1, 1]), perm=LAST[4])
    y = g.op("Mul", y, g.op("Sigmoid", gate))
    g.op("MaxPool", g.op("Transpose", y, perm=FIRST[4]), kernel_shape=[1, 1], out="y")
    g.output("y")
    before = g.proto()
    model = ir.from_proto(before)
    optimize(model)
    check_same(before, model)
    assert count_ops(model) == {"Transpose": 1, "MaxPool": 3, "ReduceMax": 1, "Reshape": 1, "Sigmoid": 1, "Mul": 1}


# --- random networks ---------------------------------------------------------------------------------------------


def random_network(seed: int) -> onnx.ModelProto:
    """Values of rank 4 in all layouts, joined at random by flexible operators, blockers and Transposes."""
    random = np.random.default_rng(seed)
    g = Sketch(int(random.choice(OPSETS)))
    shape = tuple(int(size) for size in ([2, 3, 4, 2] if seed % 2 else random.integers(1, 4, 4)))
    pool: list[tuple[str, tuple[int, ...]]] = [(g.input("x", shape), shape)]
    absorbed: list[str] = []
    perms = [(0, 3, 1, 2), (0, 2, 3, 1), (0, 2, 1, 3), (0, 3, 2, 1)]
    for _ in range(int(random.integers(8, 30))):
        value, shape = pool[int(random.integers(max(0, len(pool) - 5), len(pool)))]
        kind = random.choice([*["transpose"] * 3, "unary", "binary", "constant", "block", "reduce", "split", "absorb"])
        if kind == "transpose":
            perm = perms[int(random.integers(4)) if random.random() < 0.3 else int(random.integers(2))]
            pool.append((g.op("Transpose", value, perm=list(perm)), tuple(shape[axis] for axis in perm)))
        elif kind == "unary":
            pool.append((g.op(str(random.choice(["Relu", "Neg", "Abs"])), value), shape))
        elif kind == "binary":
            mates = [name for name, known in pool if known == shape]
            other = mates[int(random.integers(len(mates)))]
            pool.append((g.op("Max", value, other), shape))
        elif kind == "constant":
            tail = shape[int(random.integers(1, 4)) :]
            pool.append((g.op("Min", value, g.const(random.standard_normal(tail).astype(np.float32))), shape))
        elif kind == "block":
            pool.append((g.op("MaxPool", value, kernel_shape=[1, 1]), shape))
        elif kind == "reduce":
            axis = int(random.integers(1, 4))
            gate = g.op("ReduceMax", value, g.ints(axis)) if g.opset >= 18 else g.op("ReduceMax", value, axes=[axis])
            pool.append((gate, tuple(1 if index == axis else size for index, size in enumerate(shape))))
            pool.append((g.op("Max", value, gate), shape))
        elif kind == "absorb":
            axis = int(random.integers(1, 4))
            last = [g.ints(axis)] if g.opset >= 18 else []
            more = {} if last else {"axes": [axis]}
            absorbed.append(g.op("ReduceMax", value, *last, keepdims=0, **more))
            features = int(np.prod(shape[1:]))
            weight = g.const(random.integers(-4, 4, (features, 2)).astype(np.float32))
            rounded = g.op("Round", g.op("Mul", value, g.const(np.float32(8))))  # so that sums are exact
            absorbed.append(g.op("MatMul", g.op("Flatten", rounded), weight))
        else:
            half = g.op("Concat", value, g.op("Neg", value), axis=2)
            sliced = g.op("Slice", half, g.ints(1), g.ints(1 + shape[2]), g.ints(2))
            pool.append((sliced, shape))
    for index, value in enumerate([*(value for value, _ in pool[-3:]), *absorbed]):
        g.op("Identity", value, out=f"out{index}")
        g.output(f"out{index}")
    return g.proto()


@pytest.mark.parametrize("seed", range(160))
def test_random_networks(seed: int) -> None:
    before = random_network(seed)
    propagate(before)
    model = ir.from_proto(before)
    optimize(model)
    check_same(before, model)
    assert count_ops(model)["Transpose"] <= count_ops(ir.from_proto(before))["Transpose"]
    text = ir.to_proto(model).SerializeToString()
    optimize(model)
    assert ir.to_proto(model).SerializeToString() == text


# --- the minimum cut ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(60))
def test_cut_is_minimal(seed: int) -> None:
    """Against all labellings of small random networks; of the smallest cuts, the one with the fewest on our side."""
    random = np.random.default_rng(seed)
    size = int(random.integers(3, 9))
    edges = []
    for _ in range(int(random.integers(2, 20))):
        tail, head = (int(node) for node in random.integers(0, size, 2))
        edges.append((tail, head, int(random.integers(1, 6)) if random.random() < 0.9 else 1000))
    network = FlowNetwork(size)
    for edge in edges:
        network.add_edge(*edge)
    side = network.source_side()

    def cost(labels: tuple[bool, ...]) -> int:
        return sum(room for tail, head, room in edges if labels[tail] and not labels[head])

    every = [(True, False, *rest) for rest in itertools.product([True, False], repeat=size - 2)]
    best = min(cost(labels) for labels in every)
    assert side[0]
    assert not side[1]
    assert cost(tuple(side)) == best
    assert sum(side) == min(sum(labels) for labels in every if cost(labels) == best)


def test_unlimited_edges_are_not_cut() -> None:
    network = FlowNetwork()
    middle = network.add_node()
    network.add_edge(0, middle, UNLIMITED)
    network.add_edge(middle, 1, 3)
    network.add_edge(middle, middle, 5)
    assert network.source_side() == [True, False, True]
