"""Constant folding and shape arithmetic."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from filecheck import check_graph
from onnx import AttributeProto, TensorProto, helper
from pass_models import OPSETS, Sketch, check_same, count_ops, run

from any2onnx.passes.constants import FOLDABLE, FoldConstantsPass
from any2onnx.passes.dead_code import RemoveDeadCodePass
from any2onnx.passes.pipeline import optimize
from any2onnx.passes.shapes import FoldShapesPass


def apply(sketch: Sketch, *passes: ir.passes.PassBase, feeds: Any = None) -> ir.Model:
    before = sketch.proto()
    model = ir.from_proto(before)
    for step in (*passes, RemoveDeadCodePass()):
        step(model)
    check_same(before, model, feeds)
    return model


# --- every foldable operator: folded by us, equal to what onnxruntime computes --------------------------------------

F = np.array([[-2.5, -0.0, 0.5], [1.5, 3.25, 7.0]], np.float32)
P = np.array([[0.25, 1.0, 2.0], [3.0, 0.125, 5.5]], np.float32)
N = np.array([[-7, 3, 0], [5, -4, 9]], np.int64)
M = np.array([[2, -2, 3], [4, 3, -5]], np.int64)
B = np.array([[True, False, True], [False, False, True]])
U = np.array([[0, 3, 255], [7, 128, 9]], np.uint8)
I = np.int64  # noqa: E741

CASES: dict[str, list[tuple[list[Any], dict[str, Any]]]] = {
    "Abs": [([F], {}), ([N], {})],
    "Add": [([F, P], {}), ([N, M], {}), ([F, P[0]], {})],
    "And": [([B, ~B], {})],
    "ArgMax": [([F], {"axis": 1}), ([F], {"axis": 0, "keepdims": 0})],
    "ArgMin": [([F], {"axis": 1})],
    "BitwiseAnd": [([N, M], {})],
    "BitwiseNot": [([N], {})],
    "BitwiseOr": [([N, M], {})],
    "BitwiseXor": [([N, M], {})],
    "Cast": [
        ([F], {"to": TensorProto.INT64}),
        ([F], {"to": TensorProto.DOUBLE}),
        ([F], {"to": TensorProto.BOOL}),
        ([P], {"to": TensorProto.FLOAT16}),
        ([N], {"to": TensorProto.FLOAT}),
        ([B], {"to": TensorProto.INT32}),
    ],
    "Ceil": [([F], {})],
    "Clip": [([F, np.float32(-1), np.float32(2)], {}), ([N, np.int64(-3)], {})],
    "Concat": [([F, P], {"axis": 1}), ([N, M], {"axis": 0})],
    "ConstantOfShape": [
        ([np.array([2, 3], I)], {"value": helper.make_tensor("v", TensorProto.FLOAT, [1], [1.5])}),
        ([np.array([2], I)], {}),
    ],
    "Cos": [([F], {})],
    "CumSum": [([F, np.int64(1)], {}), ([N, np.int64(0)], {"exclusive": 1, "reverse": 1})],
    "Div": [([F, P], {}), ([N, M], {}), ([N.astype(np.int32), M.astype(np.int32)], {}), ([U, U[:, ::-1] | 1], {})],
    "Einsum": [([F, P], {"equation": "ij,kj->ik"})],
    "Equal": [([N, M], {}), ([F, F[:, ::-1]], {})],
    "Erf": [([F], {})],
    "Exp": [([F], {})],
    "Expand": [([F[:, None], np.array([1, 2, 1], I)], {})],
    "EyeLike": [([F], {"k": 1})],
    "Flatten": [([F[None]], {"axis": 2})],
    "Floor": [([F], {})],
    "Gather": [([F, np.array([1, -1, 0], I)], {"axis": 1}), ([N, np.int64(1)], {})],
    "GatherElements": [([F, np.array([[0, 1, 0]], I)], {"axis": 0})],
    "GatherND": [([F, np.array([[0, 1], [1, 2]], I)], {})],
    "Gemm": [([F, P, np.ones(2, np.float32)], {"transB": 1, "alpha": 0.5, "beta": 2.0})],
    "Greater": [([F, P], {}), ([N, M], {})],
    "GreaterOrEqual": [([N, M], {})],
    "Identity": [([F], {})],
    "IsInf": [([np.array([1, np.inf, -np.inf, np.nan], np.float32)], {"detect_negative": 0})],
    "IsNaN": [([np.array([1, np.inf, np.nan], np.float32)], {})],
    "Less": [([F, P], {})],
    "LessOrEqual": [([N, M], {})],
    "Log": [([P], {})],
    "MatMul": [([F, P.T], {}), ([F[None], P.T], {})],
    "Max": [([F, P], {}), ([N, M], {})],
    "Mean": [([F, P], {})],
    "Min": [([F, P], {})],
    "Mod": [([N, M], {}), ([F, P], {"fmod": 1}), ([N, M], {"fmod": 1})],
    "Mul": [([F, P], {}), ([N, M], {})],
    "Neg": [([F], {}), ([N], {})],
    "NonZero": [([F], {})],
    "Not": [([B], {})],
    "OneHot": [([np.array([0, 2, -1], I), np.int64(3), np.array([0, 1], np.float32)], {"axis": -1})],
    "Or": [([B, ~B], {})],
    "Pad": [
        ([F, np.array([0, 1, 1, 0], I)], {}),
        ([F, np.array([0, 2, 0, 1], I), np.float32(2)], {}),
        ([F, np.array([0, 1, 0, 2], I)], {"mode": "reflect"}),
    ],
    "Pow": [([P, F], {}), ([N, np.int64(2)], {}), ([P, np.int64(3)], {})],
    "Range": [([np.int64(1), np.int64(9), np.int64(3)], {}), ([np.float32(0), np.float32(1), np.float32(0.25)], {})],
    "Reciprocal": [([P], {})],
    "ReduceMax": [([F, np.array([1], I)], {}), ([N], {"keepdims": 0})],
    "ReduceMean": [([F, np.array([-1], I)], {"keepdims": 0})],
    "ReduceMin": [([F, np.array([0], I)], {})],
    "ReduceProd": [([F, np.array([1], I)], {}), ([M], {})],
    "ReduceSum": [([F, np.array([1], I)], {}), ([N], {}), ([F], {"noop_with_empty_axes": 1})],
    "Relu": [([F], {})],
    "Reshape": [([F, np.array([3, -1], I)], {}), ([F, np.array([0, -1], I)], {})],
    "Round": [([np.array([-1.5, -0.5, 0.5, 1.5, 2.5], np.float32)], {})],
    "ScatterElements": [([F, np.array([[1, 0, 1]], I), P[:1]], {"axis": 0})],
    "ScatterND": [([F, np.array([[1]], I), P[:1]], {})],
    "Shape": [([F], {}), ([F], {"start": 1}), ([F], {"end": -1})],
    "Sigmoid": [([F], {})],
    "Sign": [([F], {}), ([N], {})],
    "Sin": [([F], {})],
    "Size": [([F], {})],
    "Slice": [
        ([F, np.array([2], I), np.array([-9], I), np.array([1], I), np.array([-1], I)], {}),
        ([N, np.array([0, 1], I), np.array([9, 3], I)], {}),
    ],
    "Split": [([F, np.array([1, 2], I)], {"axis": 1, "outputs": 2})],
    "Sqrt": [([P], {})],
    "Squeeze": [([F[None], np.array([0], I)], {}), ([F[None]], {})],
    "Sub": [([F, P], {}), ([N, M], {})],
    "Sum": [([F, P, F], {})],
    "Tanh": [([F], {})],
    "Tile": [([F, np.array([1, 2], I)], {})],
    "Transpose": [([F], {}), ([F[None]], {"perm": [1, 0, 2]})],
    "Trilu": [([F], {"upper": 0}), ([F, np.int64(1)], {})],
    "Unsqueeze": [([F, np.array([0, -1], I)], {})],
    "Where": [([B, F, P], {})],
    "Xor": [([B, ~B], {})],
}
# Functions that every library rounds its own way; all others must agree bit by bit.
ROUNDED = {"Cos", "Erf", "Exp", "Log", "Pow", "ReduceMean", "Sigmoid", "Sin", "Tanh", "Gemm", "MatMul", "Einsum"}


def test_every_foldable_operator_has_a_case() -> None:
    assert set(CASES) == FOLDABLE


@pytest.mark.parametrize(
    ("op_type", "arrays", "attributes"),
    [
        pytest.param(op_type, *case, id=f"{op_type}-{index}")
        for op_type, cases in CASES.items()
        for index, case in enumerate(cases)
    ],
)
def test_folding_agrees_with_the_runtime(op_type: str, arrays: list[Any], attributes: dict[str, Any]) -> None:
    g = Sketch(18)
    attributes = dict(attributes)
    outputs = [f"y{index}" for index in range(attributes.pop("outputs", 1))]
    inputs = [g.const(array) for array in arrays]
    results = g.op(op_type, *inputs, out=outputs, **attributes)
    results = results if isinstance(results, list) else [results]
    raw = g.proto_of_types(results)
    model = ir.from_proto(raw)
    FoldConstantsPass()(model)
    if op_type != "Identity":  # which only names a constant
        assert count_ops(model) == {"Constant": len(results)}
    for expected, answer in zip(run(raw, {}), run(model, {}), strict=True):
        assert expected.dtype == answer.dtype
        assert expected.shape == answer.shape
        if op_type in ROUNDED:
            np.testing.assert_allclose(answer, expected, rtol=3e-7, atol=1e-7)
        else:
            np.testing.assert_array_equal(answer, expected)


@pytest.mark.parametrize("opset", OPSETS)
def test_folding_sweeps_chains(opset: int) -> None:
    g = Sketch(opset)
    x = g.input("x", ["n", 2, 3])
    shape = g.op("Concat", g.op("Constant", value_ints=[0]), g.op("Mul", g.ints(2), g.ints(3)), axis=0)
    scale = g.op("Transpose", g.op("Unsqueeze", g.const(np.array([2, 3, 5], np.float32)), g.ints(1)), perm=[1, 0])
    g.op("Reshape", g.op("Mul", x, scale), shape, out="y")
    g.output("y", shape=["n", 6])
    check_graph(
        apply(g, FoldConstantsPass()),
        """
        CHECK: input
        CHECK-NEXT: [[M:%\\w+]] = Mul(%x, @{{.*}})
        CHECK-NEXT: %y = Reshape([[M]], @{{.*}})
        CHECK-NEXT: output
        """,
    )


def test_constant_outputs_stay_nodes() -> None:
    g = Sketch()
    g.input("x", [1])
    g.op("Add", g.const(np.ones(2, np.float32)), g.const(np.ones(2, np.float32)), out="y")
    g.op("Constant", value_float=1.5, out="z")
    g.output("y")
    g.output("z")
    model = apply(g, FoldConstantsPass())
    assert count_ops(model) == {"Constant": 2}
    assert not FoldConstantsPass()(model).modified


@pytest.mark.parametrize(
    ("op_type", "attributes"),
    [
        ("RandomNormalLike", {"seed": 1.0}),
        ("RandomUniformLike", {}),
        ("Bernoulli", {}),
        ("Multinomial", {"sample_size": 3}),
    ],
)
def test_random_operators_stay(op_type: str, attributes: dict[str, Any]) -> None:
    g = Sketch()
    g.op(op_type, g.const(np.full((1, 3), 0.5, np.float32)), out="y", **attributes)
    model = ir.from_proto(g.proto_of_types(["y"]))
    FoldConstantsPass()(model)
    assert count_ops(model) == {op_type: 1}


def test_control_flow_stays() -> None:
    g = Sketch()
    out = helper.make_tensor_value_info("o", TensorProto.FLOAT, [])
    body = helper.make_graph([helper.make_node("Constant", [], ["o"], value_float=1.0)], "b", [], [out])
    g.op("If", g.const(np.array(True)), then_branch=body, else_branch=body, out="y")
    g.output("y")
    model = g.model()
    FoldConstantsPass()(model)
    assert count_ops(model)["If"] == 1


def test_quantised_weights_stay() -> None:
    g = Sketch()
    w = g.op("DequantizeLinear", g.const(np.ones((2, 2), np.int8)), g.const(np.float32(0.1)))
    g.op("MatMul", g.input("x", [1, 2]), w, out="y")
    g.output("y")
    assert count_ops(apply(g, FoldConstantsPass()))["DequantizeLinear"] == 1


def big(g: Sketch, name: str = "w") -> str:
    return g.const(np.arange(64 * 100, dtype=np.float32).reshape(64, 100), name)


@pytest.mark.parametrize(
    "make",
    [
        lambda g: g.op("Expand", g.const(np.float32(1)), g.ints(64, 100)),
        lambda g: g.op("ConstantOfShape", g.ints(64, 100)),
        lambda g: g.op("Tile", g.const(np.ones((1, 100), np.float32)), g.ints(64, 1)),
        lambda g: g.op("Add", g.const(np.ones((64, 1), np.float32)), g.const(np.ones((1, 100), np.float32))),
        lambda g: g.op("Cast", g.op("Range", *(g.const(np.int64(k)) for k in (0, 6400, 1))), to=TensorProto.FLOAT),
    ],
)
@pytest.mark.parametrize("infer", [True, False])
def test_models_do_not_grow(make: Callable[[Sketch], str], infer: bool) -> None:
    g = Sketch()
    x = g.input("x", [64, 100])
    g.op("Add", x, g.op("Reshape", make(g), g.ints(64, 100)), out="y")
    g.output("y", shape=[64, 100])
    before = g.proto(infer=infer)
    model = ir.from_proto(before)
    FoldConstantsPass()(model)
    size = len(before.SerializeToString())
    assert len(ir.to_proto(model).SerializeToString()) < size + 8192
    check_same(before, model)


def test_widening_a_large_weight_stays() -> None:
    g = Sketch()
    w = g.op("Cast", g.const(np.ones((64, 100), np.float16)), to=TensorProto.FLOAT)
    g.op("Add", g.input("x", [64, 100]), w, out="y")
    g.output("y")
    assert count_ops(apply(g, FoldConstantsPass()))["Cast"] == 1


def test_transpose_of_own_weight_is_a_view() -> None:
    g = Sketch()
    g.op("MatMul", g.input("x", [1, 100]), g.op("Transpose", big(g), perm=[1, 0]), out="y")
    g.output("y")
    model = ir.from_proto(g.proto())
    held = np.arange(6400, dtype=np.float32).reshape(64, 100)
    model.graph.initializers["w"].const_value = ir.Tensor(held, name="w")
    FoldConstantsPass()(model)
    assert count_ops(model) == {"MatMul": 1}
    weight = model.graph.node(0).inputs[1]
    assert weight is not None
    assert weight.const_value is not None
    assert np.shares_memory(weight.const_value.numpy(), held)
    check_same(g.proto(), model, rtol=1e-6)  # another kernel multiplies


def test_transpose_of_a_shared_weight_stays() -> None:
    g = Sketch()
    w = big(g)
    x = g.input("ids", [2], "int64")
    y = g.op("MatMul", g.op("Gather", w, x), g.op("Transpose", w, perm=[1, 0]), out="y")
    g.output(y)
    model = apply(g, FoldConstantsPass(), feeds={"ids": np.array([1, 2])})
    assert count_ops(model) == {"Gather": 1, "Transpose": 1, "MatMul": 1}


@pytest.mark.parametrize(
    ("op_type", "arrays"),
    [("Div", [N, np.zeros_like(N)]), ("Mod", [N, np.zeros_like(N)]), ("Reshape", [F, np.array([5, 5])])],
)
def test_what_has_no_value_stays(op_type: str, arrays: list[Any]) -> None:
    g = Sketch()
    y = g.op(op_type, *(g.const(array) for array in arrays))
    g.op("Identity", y, out="y")
    g.output("y", "float" if op_type == "Reshape" else "int64", [None, None])
    model = g.model(infer=False)
    FoldConstantsPass()(model)
    assert count_ops(model)[op_type] == 1


def test_default_of_an_input_is_no_constant() -> None:
    g = Sketch()
    g.const(np.ones(2, np.float32), "x")
    g.input("x", [2])
    g.op("Neg", "x", out="y")
    g.output("y")
    assert count_ops(apply(g, FoldConstantsPass(), feeds={"x": np.array([3, 4], np.float32)})) == {"Neg": 1}


def test_strings_fold() -> None:
    g = Sketch()
    words = g.const(np.array(["a", "b\0c", "é"], dtype=object), "words")
    g.op("Identity", g.op("Gather", words, g.ints(2, 1)), out="y")
    g.output("y", "string")
    before = g.proto()
    model = ir.from_proto(before)
    FoldConstantsPass()(model)
    assert count_ops(model)["Gather"] == 0
    assert run(model, {})[0].tolist() == run(before, {})[0].tolist()


def test_function_bodies_get_no_initializers() -> None:
    g = Sketch()
    nodes = [
        helper.make_node("Constant", [], ["a"], value_floats=[1.0, 2.0]),
        helper.make_node("Constant", [], ["k"], value_ints=[1, 2]),
        helper.make_node("Reshape", ["a", "k"], ["b"]),
        helper.make_node("Add", ["x", "b"], ["y"]),
    ]
    g.functions.append(helper.make_function("local", "F", ["x"], ["y"], nodes, [helper.make_opsetid("", 18)]))
    g.op("F", g.input("x", [1, 2]), domain="local", out="y")
    g.output("y")
    model = apply(g, FoldConstantsPass())
    (function,) = model.functions.values()
    assert [node.op_type for node in function] == ["Constant", "Add"]


def test_functions_with_bound_attributes_stay() -> None:
    g = Sketch()
    cast = helper.make_node("Cast", ["a"], ["b"])
    cast.attribute.append(AttributeProto(name="to", ref_attr_name="target", type=AttributeProto.INT))
    nodes = [helper.make_node("Constant", [], ["a"], value_ints=[3]), cast, helper.make_node("Add", ["x", "b"], ["y"])]
    g.functions.append(
        helper.make_function("local", "F", ["x"], ["y"], nodes, [helper.make_opsetid("", 18)], ["target"])
    )
    g.op("F", g.input("x", [1]), domain="local", out="y", target=TensorProto.FLOAT)
    g.output("y", shape=[1])
    before = g.proto(infer=False)
    model = ir.from_proto(before)
    optimize(model)
    assert count_ops(model)["Cast"] == 1
    check_same(before, model)


# --- shape arithmetic --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("opset", OPSETS)
def test_known_dimensions_fold(opset: int) -> None:
    g = Sketch(opset)
    x = g.input("x", ["n", 4, 6])
    shape = g.op("Shape", x)
    rows = g.op("Gather", shape, g.const(np.int64(1)))
    columns = g.op("Squeeze", g.op("Slice", shape, g.ints(-1), g.ints(9)))
    count = g.op("Sub", g.op("Mul", rows, columns), g.const(np.int64(1)))
    g.op("Cast", count, to=TensorProto.INT64, out="y")
    g.op("Div", g.op("Unsqueeze", count, g.ints(0)), g.ints(-4), out="z")
    g.op("Size", g.op("Relu", g.const(F)), out="size")
    for name in ("y", "z", "size"):
        g.output(name, "int64")
    model = apply(g, FoldShapesPass())
    assert count_ops(model) == {"Constant": 3}
    y, z, size = run(model, {"x": np.zeros((1, 4, 6), np.float32)})
    assert (y.tolist(), z.tolist(), size.tolist()) == (23, [-5], 6)


def test_unknown_dimensions_stay() -> None:
    g = Sketch()
    shape = g.op("Shape", g.input("x", ["n", 4]))
    g.op("Gather", shape, g.const(np.int64(0)), out="y")
    g.op("Identity", shape, out="z")
    g.output("y", "int64")
    g.output("z", "int64")
    assert count_ops(apply(g, FoldShapesPass()))["Shape"] == 1


@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize("batch", [0, 1, 3])
def test_computed_reshape_target(opset: int, batch: int) -> None:
    g = Sketch(opset)
    x = g.input("x", ["n", 4, 6])
    shape = g.op("Shape", x)
    first = g.op("Gather", shape, g.ints(0))
    last = g.op("Mul", g.op("Gather", shape, g.ints(1)), g.op("Gather", shape, g.ints(2)))
    g.op("Reshape", x, g.op("Concat", first, last, axis=0), out="y")
    g.op("Reshape", g.op("Transpose", x, perm=[1, 0, 2]), g.op("Concat", g.ints(24), first, axis=0), out="z")
    g.output("y", shape=["n", 24])
    g.output("z", shape=[24, "n"])
    before = g.proto()
    model = ir.from_proto(before)
    FoldShapesPass()(model)
    RemoveDeadCodePass()(model)
    assert count_ops(model) == {"Reshape": 2, "Transpose": 1}
    check_same(before, model, {"x": np.random.default_rng(0).random((batch, 4, 6), np.float32)})


def test_allowzero_is_respected() -> None:
    g = Sketch()
    x = g.input("x", [0, 4])
    target = g.op("Concat", g.ints(3), g.op("Gather", g.op("Shape", x), g.ints(0)), axis=0)
    g.op("Reshape", x, target, allowzero=1, out="y")
    g.output("y")
    before = g.proto()
    model = ir.from_proto(before)
    FoldShapesPass()(model)
    check_same(before, model, {"x": np.zeros((0, 4), np.float32)})


def test_two_symbols_stay_dynamic() -> None:
    g = Sketch()
    x = g.input("x", ["n", "m", 6])
    shape = g.op("Shape", x)
    target = g.op("Concat", g.op("Gather", shape, g.ints(1)), g.op("Gather", shape, g.ints(0)), g.ints(6), axis=0)
    g.op("Reshape", x, target, out="y")
    g.output("y")
    feeds = {"x": np.random.default_rng(0).random((2, 3, 6), np.float32)}
    model = apply(g, FoldShapesPass(), feeds=feeds)
    assert count_ops(model)["Concat"] == 1


def test_gather_out_of_range_stays() -> None:
    g = Sketch()
    g.op("Gather", g.op("Shape", g.input("x", ["n", 4])), g.const(np.int64(5)), out="y")
    g.output("y", "int64", [])
    model = g.model(infer=False)
    FoldShapesPass()(model)
    assert count_ops(model) == {"Shape": 1, "Gather": 1}
