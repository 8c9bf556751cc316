"""Common sub-expressions and equal initializers."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from filecheck import check_graph
from onnx import TensorProto, helper
from pass_models import OPSETS, Sketch, check_same, count_ops

from any2onnx.passes.dead_code import RemoveDeadCodePass
from any2onnx.passes.duplicates import MergeDuplicateInitializersPass, MergeDuplicateNodesPass


def merge(sketch: Sketch, *, compare: bool = True, feeds: Any = None) -> ir.Model:
    before = sketch.proto()
    model = ir.from_proto(before)
    MergeDuplicateInitializersPass()(model)
    MergeDuplicateNodesPass()(model)
    RemoveDeadCodePass()(model)
    if compare:
        check_same(before, model, feeds)
    return model


@pytest.mark.parametrize("opset", OPSETS)
def test_equal_expressions_merge(opset: int) -> None:
    g = Sketch(opset)
    x = g.input("x", ["n", 3])
    one = g.op("Exp", g.op("Add", x, g.const(np.ones(3, np.float32))))
    two = g.op("Exp", g.op("Add", x, g.const(np.ones(3, np.float32))))
    g.op("Mul", one, two, out="y")
    g.output("y")
    check_graph(
        merge(g),
        """
        CHECK: [[A:%\\w+]] = Add(%x, @c1)
        CHECK-NEXT: [[E:%\\w+]] = Exp([[A]])
        CHECK-NEXT: %y = Mul([[E]], [[E]])
        """,
    )


def test_equal_outputs_keep_both_names() -> None:
    g = Sketch()
    x = g.input("x", [3])
    g.op("Exp", x, out="a")
    g.op("Exp", x, out="b")
    g.op("Neg", "b", out="c")
    for name in "abc":
        g.output(name)
    model = merge(g)
    check_graph(model, "CHECK: %a = Exp(%x)\nCHECK: %b = Identity(%a)\nCHECK: %c = Neg(%a)\nCHECK-TOTAL-1: Exp")
    assert not MergeDuplicateNodesPass()(model).modified


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (("LeakyRelu", {"alpha": 0.1}), ("LeakyRelu", {"alpha": 0.2})),
        (("LeakyRelu", {}), ("LeakyRelu", {"alpha": 0.01})),
        (("Exp", {}), ("Neg", {})),
        (("HardSigmoid", {"beta": 0.0}), ("HardSigmoid", {"beta": -0.0})),
        (("Softmax", {"axis": 0}), ("Softmax", {"axis": 1})),
        (("Cast", {"to": TensorProto.INT64}), ("Cast", {"to": TensorProto.INT32})),
    ],
)
def test_different_attributes_stay(first: tuple[str, Any], second: tuple[str, Any]) -> None:
    g = Sketch()
    x = g.input("x", [3, 3])
    for (op_type, attributes), name in ((first, "a"), (second, "b")):
        g.op(op_type, x, out=name, **attributes)
        kind = {TensorProto.INT64: "int64", TensorProto.INT32: "int32"}.get(attributes.get("to"), "float")
        g.output(name, kind)
    assert sum(count_ops(merge(g)).values()) == 2


def test_different_output_counts_stay() -> None:
    g = Sketch()
    x = g.input("x", [1, 2, 8])
    g.op("MaxPool", x, kernel_shape=[2], out="a")
    g.op("MaxPool", x, kernel_shape=[2], out=["b", "indices"])
    g.output("a")
    g.output("b")
    g.output("indices", "int64")
    assert count_ops(merge(g))["MaxPool"] == 2


@pytest.mark.parametrize(
    ("op_type", "attributes"),
    [
        ("RandomNormalLike", {}),
        ("RandomNormalLike", {"seed": 3.0}),
        ("RandomUniformLike", {}),
        ("Bernoulli", {}),
        ("Multinomial", {"sample_size": 2}),
    ],
)
def test_random_operators_stay(op_type: str, attributes: dict[str, Any]) -> None:
    g = Sketch()
    x = g.op("Sigmoid", g.input("x", [1, 3]))
    for name in "ab":
        y = g.op(op_type, x, **attributes)
        g.op("Cast", y, to=TensorProto.FLOAT, out=name)
        g.output(name)
    assert count_ops(merge(g, compare=False))[op_type] == 2


def test_training_dropout_stays() -> None:
    g = Sketch()
    x = g.input("x", [1, 3])
    for name in "ab":
        g.op("Dropout", x, g.const(np.float32(0.5)), g.const(np.array(True)), out=name)
        g.output(name)
    assert count_ops(merge(g, compare=False))["Dropout"] == 2


def test_unknown_domains_stay() -> None:
    g = Sketch()
    x = g.input("x", [3])
    for name in "ab":
        g.op("Stateful", x, out=name, domain="vendor")
        g.output(name, shape=[3])
    model = ir.from_proto(g.proto(infer=False))
    MergeDuplicateNodesPass()(model)
    assert count_ops(model)["Stateful"] == 2


def function(name: str, *nodes: Any) -> Any:
    return helper.make_function("local", name, ["x"], ["y"], list(nodes), [helper.make_opsetid("", 18)])


@pytest.mark.parametrize(("random", "left"), [(False, 1), (True, 2)])
def test_calls_of_pure_functions_merge(random: bool, left: int) -> None:
    g = Sketch()
    node = helper.make_node("RandomNormalLike" if random else "Identity", ["x"], ["r"])
    g.functions.append(function("Inner", node, helper.make_node("Add", ["x", "r"], ["y"])))
    outer = helper.make_function(
        "local",
        "Outer",
        ["x"],
        ["y"],
        [helper.make_node("Inner", ["x"], ["y"], domain="local")],
        [helper.make_opsetid("", 18), helper.make_opsetid("local", 1)],
    )
    g.functions.append(outer)
    x = g.input("x", [3])
    g.op("Add", g.op("Outer", x, domain="local"), g.op("Outer", x, domain="local"), out="y")
    g.output("y")
    model = ir.from_proto(g.proto())
    MergeDuplicateNodesPass()(model)
    assert sum(node.op_type == "Outer" for node in model.graph) == left


def test_branches_are_not_merged_with_each_other() -> None:
    g = Sketch()
    x, flag = g.input("x", [2]), g.input("flag", [], "bool")
    branches = {}
    for name in ("then_branch", "else_branch"):
        out = helper.make_tensor_value_info(f"{name}_out", TensorProto.FLOAT, [2])
        nodes = [
            helper.make_node("Exp", [x], [f"{name}_a"]),
            helper.make_node("Exp", [x], [f"{name}_b"]),
            helper.make_node("Add", [f"{name}_a", f"{name}_b"], [f"{name}_out"]),
        ]
        branches[name] = helper.make_graph(nodes, name, [], [out])
    g.op("If", flag, out="y", **branches)
    g.output("y")
    model = merge(g, feeds={"x": np.array([1, 2], np.float32), "flag": np.array(False)})
    assert count_ops(model) == {"If": 1, "Exp": 2, "Add": 2}


def test_constant_nodes_in_functions_merge_only_if_equal() -> None:
    g = Sketch()
    nodes = [
        helper.make_node("Constant", [], ["a"], value_float=0.0),
        helper.make_node("Constant", [], ["b"], value_float=0.0),
        helper.make_node("Constant", [], ["c"], value_float=-0.0),
        helper.make_node("Sum", ["x", "a", "b", "c"], ["y"]),
    ]
    g.functions.append(function("F", *nodes))
    g.op("F", g.input("x", [1]), domain="local", out="y")
    g.output("y")
    assert count_ops(merge(g))["Constant"] == 2


def test_survivor_learns_what_the_other_knew() -> None:
    g = Sketch()
    x = g.input("x", [3])
    g.op("Add", g.op("Exp", x), g.op("Exp", x), out="y")
    g.output("y")
    model = g.model()
    first, second, _ = model.graph
    first.outputs[0].shape = None
    del first.metadata_props["any2onnx.source"]
    MergeDuplicateNodesPass()(model)
    assert first.outputs[0].shape == second.outputs[0].shape == [3]
    assert first.metadata_props["any2onnx.source"] == "layer2"


# --- initializers ------------------------------------------------------------------------------------------------


def holder(*tensors: ir.TensorProtocol) -> ir.Model:
    """A model with these initializers, each read by one node."""
    values = [
        ir.Value(
            name=f"w{i}", type=ir.TensorType(tensor.dtype), shape=ir.Shape(tuple(tensor.shape)), const_value=tensor
        )
        for i, tensor in enumerate(tensors)
    ]
    nodes = [ir.node("Identity", [value]) for value in values]
    graph = ir.Graph(
        [], [node.outputs[0] for node in nodes], nodes=nodes, initializers=values, opset_imports={"": 18}, name="g"
    )
    return ir.Model(graph, ir_version=8)


def names_left(model: ir.Model) -> list[str]:
    MergeDuplicateInitializersPass()(model)
    return list(model.graph.initializers)


def strings(*items: bytes) -> ir.StringTensor:
    return ir.StringTensor(np.array(items, dtype=object), shape=ir.Shape([len(items)]))


@pytest.mark.parametrize(
    ("make", "left"),
    [
        (lambda: [ir.tensor(np.arange(6.0))] * 2, 1),
        (lambda: [ir.tensor(np.arange(6.0)), ir.tensor(np.arange(6.0))], 1),
        (lambda: [ir.tensor(np.arange(9.0)), ir.tensor(np.arange(9.0)[::-1]), ir.tensor(np.arange(9.0)[::1])], 2),
        (lambda: [ir.Tensor(np.ones((4, 3)).T), ir.Tensor(np.ones((3, 4)))], 1),
        (lambda: [ir.tensor(np.zeros(3)), ir.tensor(-np.zeros(3))], 2),
        (lambda: [ir.tensor(np.array([np.nan])), ir.tensor(np.array([np.nan]))], 1),
        (lambda: [ir.tensor(np.zeros(4, np.float32)), ir.tensor(np.zeros(4, np.int32))], 2),
        (lambda: [ir.tensor(np.zeros((2, 3))), ir.tensor(np.zeros((3, 2)))], 2),
        (lambda: [strings(b"a", b"bc"), strings(b"a", b"bc")], 1),
        (lambda: [strings(b"a", b"bc"), strings(b"ab", b"c")], 2),
        (lambda: [strings(b"a\0"), strings(b"a")], 2),
        (lambda: [ir.tensor(np.zeros(0)), ir.tensor(np.zeros(0))], 1),
        (lambda: [ir.tensor(np.float32(1)), ir.tensor(np.float32(1)), ir.tensor(np.float32(2))], 2),
    ],
)
def test_equal_initializers_merge(make: Any, left: int) -> None:
    assert len(names_left(holder(*make()))) == left


def test_bfloat16_and_torch_tensors_merge() -> None:
    torch = pytest.importorskip("torch")
    from onnx_ir.tensor_adapters import TorchTensor

    weight = torch.arange(12, dtype=torch.bfloat16).reshape(3, 4)
    model = holder(TorchTensor(weight), TorchTensor(weight.clone()), TorchTensor(weight + 1))
    assert names_left(model) == ["w0", "w2"]


def test_difference_in_the_middle_is_seen() -> None:
    one = np.zeros(5_000_000, np.float32)
    two, three = one.copy(), one.copy()
    two[2_500_000] = 1
    assert names_left(holder(ir.tensor(one), ir.tensor(two), ir.tensor(three))) == ["w0", "w1"]


def test_defaults_and_outputs_stay() -> None:
    g = Sketch()
    g.const(np.ones(2, np.float32), "default")
    g.input("default", [2])
    g.const(np.ones(2, np.float32), "returned")
    g.op("Add", "default", g.const(np.ones(2, np.float32), "own"), out="y")
    g.output("y")
    g.output("returned", shape=[2])
    model = merge(g, feeds={"default": np.array([5, 6], np.float32)})
    assert set(model.graph.initializers) == {"default", "returned", "own"}


def test_weights_used_in_a_subgraph_are_redirected() -> None:
    g = Sketch()
    flag = g.input("flag", [], "bool")
    one, two = g.const(np.ones(2, np.float32)), g.const(np.ones(2, np.float32))
    branches = {}
    for name, weight in (("then_branch", one), ("else_branch", two)):
        out = helper.make_tensor_value_info(f"{name}_out", TensorProto.FLOAT, [2])
        branches[name] = helper.make_graph([helper.make_node("Neg", [weight], [f"{name}_out"])], name, [], [out])
    g.op("If", flag, out="y", **branches)
    g.output("y")
    model = merge(g, feeds={"flag": np.array(False)})
    assert list(model.graph.initializers) == [one]
