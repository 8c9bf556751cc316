"""Dead code, identities, casts, views and Transposes: each rule fires, must not fire elsewhere, changes no value."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from filecheck import check_graph
from onnx import TensorProto, helper
from pass_models import ELEM, OPSETS, Sketch, check_same, count_ops, run

from any2onnx.passes.casts import CleanCastsPass, is_exact
from any2onnx.passes.dead_code import RemoveDeadCodePass
from any2onnx.passes.identities import RemoveIdentitiesPass
from any2onnx.passes.views import MergeTransposesPass, MergeViewsPass, reshape_target


def apply(sketch: Sketch, *passes: ir.passes.PassBase, infer: bool = True) -> ir.Model:
    """Run passes and dead code removal, then check validity, signature and values."""
    before = sketch.proto(infer=infer)
    model = ir.from_proto(before)
    for step in (*passes, RemoveDeadCodePass()):
        step(model)
    check_same(before, model)
    return model


# --- dead code ---------------------------------------------------------------------------------------------------


def test_a_constant_that_only_the_branches_of_a_dead_if_read_goes_with_it() -> None:
    g = Sketch()
    x = g.input("x", [2, 4])
    weight = g.const(np.ones(4, np.float32), "weight")
    condition = g.const(np.array(True), "condition")

    def branch(kind: str) -> Any:
        node = helper.make_node(kind, [x, weight], ["r"])
        return helper.make_graph([node], kind, [], [helper.make_tensor_value_info("r", TensorProto.FLOAT, None)])

    g.op("If", condition, then_branch=branch("Add"), else_branch=branch("Mul"))
    g.op("Relu", x, out="y")
    g.output("y")
    model = apply(g)
    assert count_ops(model) == {"Relu": 1}
    assert not model.graph.initializers


def test_dead_code_goes_and_inputs_stay() -> None:
    g = Sketch()
    x = g.input("x", [2, 4])
    g.input("unused", [3])
    g.op("Exp", g.op("Add", x, g.const(np.ones(4, np.float32), "dead")))
    first, _ = g.op("Split", x, g.ints(1, 3), axis=1, out=["first", "second"])
    values, _ = g.op("MaxPool", g.op("Reshape", x, g.ints(1, 2, 4)), kernel_shape=[2], out=["values", "indices"])
    g.op("Relu", first, out="y")
    for name in ("y", values):
        g.output(name)
    model = apply(g)
    check_graph(
        model,
        """
        CHECK: input %x : float32[2,4], %unused : float32[3]
        CHECK-NOT: Exp
        CHECK: %first, %second = Split
        CHECK: %values = MaxPool
        CHECK-TOTAL-0: indices
        """,
    )
    assert "dead" not in model.graph.initializers


def test_dead_code_in_subgraphs_and_unused_functions() -> None:
    g = Sketch()
    x, flag = g.input("x", [2]), g.input("flag", [], "bool")
    dead = helper.make_tensor("dead", TensorProto.FLOAT, [2], [1, 2])
    branches = {}
    for name in ("then_branch", "else_branch"):
        out = helper.make_tensor_value_info(f"{name}_out", TensorProto.FLOAT, [2])
        nodes = [helper.make_node("Exp", [x], [f"{name}_dead"]), helper.make_node("Neg", [x], [f"{name}_out"])]
        branches[name] = helper.make_graph(nodes, name, [], [out], [dead])
    g.op("If", flag, out="y", **branches)
    g.output("y")
    node = helper.make_node("Neg", ["a"], ["b"])
    g.functions.append(helper.make_function("local", "Unused", ["a"], ["b"], [node], [helper.make_opsetid("", 18)]))
    model = ir.from_proto(g.proto())
    before = g.proto()
    RemoveDeadCodePass()(model)
    assert not model.functions
    assert count_ops(model) == {"If": 1, "Neg": 2}
    assert all(not graph.initializers for graph in model.graph.subgraphs())
    check_same(before, model, {"x": np.array([1, 2], np.float32), "flag": np.array(True)})


def test_dead_code_keeps_what_only_a_subgraph_reads() -> None:
    g = Sketch()
    x, flag = g.input("x", [2]), g.input("flag", [], "bool")
    outer = g.op("Exp", x)
    branches = {}
    for name in ("then_branch", "else_branch"):
        out = helper.make_tensor_value_info(f"{name}_out", TensorProto.FLOAT, [2])
        branches[name] = helper.make_graph([helper.make_node("Neg", [outer], [f"{name}_out"])], name, [], [out])
    g.op("If", flag, out="y", **branches)
    g.output("y")
    assert count_ops(apply(g))["Exp"] == 1


# --- identities --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("opset", OPSETS)
def test_identities_go(opset: int) -> None:
    g = Sketch(opset)
    x = g.input("x", ["n", 3])
    y = g.op("Identity", g.op("Relu", g.op("Identity", x)))
    y = g.op("Dropout", y, g.const(np.float32(0.5)), g.const(np.array(False)))
    y = g.op("Sum", g.op("Concat", y, axis=0))
    g.op("Identity", y, out="y")
    g.output("y")
    check_graph(
        apply(g, RemoveIdentitiesPass()),
        """
        CHECK: input %x
        CHECK-NEXT: %y = Relu(%x)
        CHECK-NEXT: output %y : float32[n,3]
        """,
    )


def masked(mask: np.ndarray[Any, Any], *, others: tuple[Any, ...] = ("n", 1, 4), turned: bool = False) -> Sketch:
    """A choice between x [n, 3, 4] and zero by a constant mask that is expanded to a batch."""
    g = Sketch()
    x = g.input("x", ["n", 3, 4])
    shape = g.op("Concat", g.op("Shape", x, end=1), g.ints(*others[1:]), axis=0)
    mask_value = g.op("Expand", g.const(mask, "mask"), shape)
    some = g.op("Cast", g.op("ReduceMax", g.op("Cast", mask_value, to=1), g.ints(-1)), to=9)
    operands = [g.op("Relu", x), g.const(np.zeros((), np.float32), "zero")]
    chosen = g.op("Where", g.op("Not", some), *reversed(operands)) if turned else g.op("Where", some, *operands)
    g.op("Where", g.op("And", mask_value, g.op("Greater", x, operands[1])), chosen, operands[1], out="y")
    g.output("y")
    return g


@pytest.mark.parametrize("turned", [False, True])
def test_choices_by_a_mask_that_is_true_everywhere_go(turned: bool) -> None:
    model = apply(masked(np.ones((1, 1, 4), bool), turned=turned), RemoveIdentitiesPass())
    assert count_ops(model) == {"Relu": 1, "Greater": 1, "Where": 1}


@pytest.mark.parametrize(
    ("mask", "others"),
    [
        (np.array([[[True, True, False, True]]]), ("n", 1, 4)),
        (np.zeros((1, 1, 4), bool), ("n", 1, 4)),
        # They make x larger: y is [n, 2, n, 3, 4].
        (np.ones((1, 1, 1, 4), bool), ("n", 2, 1, 1, 4)),
    ],
)
def test_other_masks_stay(mask: np.ndarray[Any, Any], others: tuple[Any, ...]) -> None:
    model = apply(masked(mask, others=others), RemoveIdentitiesPass())
    assert count_ops(model)["Where"] == 2
    assert count_ops(model)["And"] == 1


@pytest.mark.parametrize("number", [0.5, float("nan")])
def test_a_condition_that_rounding_changes_stays(number: float) -> None:
    g = Sketch()
    x = g.input("x", [2, 4])
    whole = g.op("Cast", g.const(np.full((2, 4), number, np.float32), "c"), to=6) if number == 0.5 else "c"
    if number != 0.5:
        g.const(np.full((2, 4), number, np.float32), "c")
    g.op("Where", g.op("Cast", whole, to=9), x, g.op("Neg", x), out="y")
    g.output("y")
    assert count_ops(apply(g, RemoveIdentitiesPass()))["Where"] == 1


def test_identity_that_names_an_output_stays() -> None:
    g = Sketch()
    x = g.input("x", [2])
    g.op("Identity", x, out="same")
    g.op("Identity", g.const(np.ones(2, np.float32), "c"), out="constant")
    inner = g.op("Neg", x, out="first")
    g.op("Identity", inner, out="second")
    g.op("Identity", "second", out="third")
    for name in ("same", "constant", "first", "second", "third"):
        g.output(name)
    model = apply(g, RemoveIdentitiesPass())
    check_graph(
        model,
        """
        CHECK: %same = Identity(%x)
        CHECK: %constant = Identity(@c)
        CHECK: %first = Neg(%x)
        CHECK: %second = Identity(%first)
        CHECK: %third = Identity(%{{first|second}})
        CHECK: output %same : float32[2], %constant : float32[2], %first
        """,
    )
    assert not RemoveIdentitiesPass()(model).modified


def test_identity_of_an_outer_value_stays_in_a_subgraph() -> None:
    g = Sketch()
    x, flag = g.input("x", [2]), g.input("flag", [], "bool")
    outer = g.op("Exp", x)
    branches = {}
    for name in ("then_branch", "else_branch"):
        out = helper.make_tensor_value_info(f"{name}_out", TensorProto.FLOAT, [2])
        nodes = [helper.make_node("Identity", [outer], [f"{name}_out"])]
        branches[name] = helper.make_graph(nodes, name, [], [out])
    g.op("If", flag, out="y", **branches)
    g.output("y")
    assert count_ops(apply(g, RemoveIdentitiesPass()))["Identity"] == 2


@pytest.mark.parametrize("known", [True, None])
def test_training_dropout_stays(known: bool | None) -> None:
    g = Sketch()
    x = g.input("x", [2])
    flag = g.const(np.array(True)) if known else g.input("training", [], "bool")
    g.op("Dropout", x, g.const(np.float32(0.0)), flag, out="y")
    g.output("y")
    model = g.model()
    RemoveIdentitiesPass()(model)
    assert count_ops(model)["Dropout"] == 1


def test_dropout_whose_mask_is_read_stays() -> None:
    g = Sketch()
    y, mask = g.op("Dropout", g.input("x", [2]), out=["y", "mask"])
    g.output(y)
    g.output(mask, "bool")
    assert count_ops(apply(g, RemoveIdentitiesPass()))["Dropout"] == 1


def test_renamed_output_inherits_provenance() -> None:
    g = Sketch()
    g.op("Identity", g.op("Relu", g.input("x", [2])), out="y")
    g.output("y")
    (relu,) = apply(g, RemoveIdentitiesPass()).graph
    assert relu.metadata_props["any2onnx.source"] == "layer1"


# --- casts -------------------------------------------------------------------------------------------------------


def casts(source: str, *targets: str, opset: int = 18) -> ir.Model:
    g = Sketch(opset)
    x = g.input("x", ["n", 4], source)
    for index, target in enumerate(targets):
        x = g.op("Cast", x, to=ELEM[target], out="y" if index == len(targets) - 1 else None)
    g.output("y", targets[-1])
    before = g.proto()
    model = ir.from_proto(before)
    CleanCastsPass()(model)
    RemoveDeadCodePass()(model)
    numbers = np.array([[0, 1, 3, 100], [7, 2, 90, 5]])
    check_same(before, model, {"x": numbers.astype(model.graph.inputs[0].dtype.numpy())})  # type: ignore[union-attr]
    return model


@pytest.mark.parametrize(
    ("source", "targets", "left"),
    [
        ("float", ["float", "double"], 1),
        ("float", ["double", "float"], 0),
        ("float", ["double", "int64"], 1),
        ("float16", ["float", "double"], 1),
        ("int32", ["int64", "float"], 1),
        ("int32", ["double", "int32"], 0),
        ("uint8", ["float16", "int64"], 1),
        ("bool", ["float", "bool"], 0),
        ("bool", ["uint8", "int64"], 1),
        # Rounding, wrapping or printing on the way: all stay.
        ("double", ["float", "double"], 2),
        ("float", ["float16", "float"], 2),
        ("float", ["int64", "float"], 2),
        ("int64", ["float", "int64"], 2),
        ("int64", ["double", "int64"], 2),
        ("int32", ["float", "double"], 2),
        ("int64", ["int32", "int64"], 2),
        ("int8", ["uint8", "int32"], 2),
        ("float", ["double", "string"], 2),
        ("float", ["bool", "float"], 2),
    ],
)
def test_casts(source: str, targets: list[str], left: int) -> None:
    assert count_ops(casts(source, *targets))["Cast"] == left


@pytest.mark.parametrize("opset", OPSETS)
def test_cast_to_own_type_goes(opset: int) -> None:
    g = Sketch(opset)
    g.op("Neg", g.op("Cast", g.input("x", [2]), to=TensorProto.FLOAT), out="y")
    g.output("y")
    assert count_ops(apply(g, CleanCastsPass())) == {"Neg": 1}


def test_cast_of_unknown_type_stays() -> None:
    g = Sketch()
    g.op("Cast", g.op("Relu", g.input("x", [2])), to=TensorProto.FLOAT, out="y")
    g.output("y", shape=[2])
    assert count_ops(apply(g, CleanCastsPass(), infer=False))["Cast"] == 1


def test_exactness_agrees_with_numpy() -> None:
    """Numpy's table of safe casts, for the types that it has."""
    types = ["float16", "float", "double", "int8", "int32", "int64", "uint8", "bool"]
    for source in types:
        for target in types:
            one, two = ir.DataType(ELEM[source]), ir.DataType(ELEM[target])
            safe = np.can_cast(one.numpy(), two.numpy(), "safe")
            if (source, target) == ("int64", "double"):
                safe = False  # numpy calls this one safe, though it rounds
            assert is_exact(one, two) == safe, (source, target)
    assert is_exact(ir.DataType.BFLOAT16, ir.DataType.FLOAT)
    assert not is_exact(ir.DataType.BFLOAT16, ir.DataType.FLOAT16)
    assert not is_exact(ir.DataType.FLOAT16, ir.DataType.BFLOAT16)


# --- Transposes and views ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("opset", OPSETS)
def test_transposes_merge(opset: int) -> None:
    g = Sketch(opset)
    x = g.input("x", [2, 3, 4])
    g.op("Transpose", g.op("Transpose", x, perm=[1, 2, 0]), perm=[0, 2, 1], out="merged")
    g.op("Transpose", g.op("Transpose", x, perm=[1, 2, 0]), perm=[2, 0, 1], out="gone")
    g.op("Transpose", g.op("Transpose", x), out="gone_too")
    for name in ("merged", "gone", "gone_too"):
        g.output(name)
    check_graph(
        apply(g, MergeTransposesPass()),
        """
        CHECK: %merged = Transpose(%x) {perm=[1,0,2]} : float32[3,2,4]
        CHECK: %gone = Identity(%x)
        CHECK: %gone_too = Identity(%x)
        CHECK-TOTAL-1: Transpose
        """,
    )


def test_transpose_with_other_readers_stays_for_them() -> None:
    g = Sketch()
    first = g.op("Transpose", g.input("x", [2, 3, 4]), perm=[1, 2, 0])
    g.op("Transpose", first, perm=[0, 2, 1], out="a")
    g.op("Exp", first, out="b")
    g.output("a")
    g.output("b")
    assert count_ops(apply(g, MergeTransposesPass()))["Transpose"] == 2


@pytest.mark.parametrize("opset", OPSETS)
def test_unit_transpose_is_a_view(opset: int) -> None:
    g = Sketch(opset)
    x = g.input("x", ["n", 1, 1, 5])
    y = g.op("Transpose", x, perm=[0, 3, 1, 2])
    g.op("Flatten", g.op("Relu", y), out="y")
    g.output("y")
    check_graph(
        apply(g, MergeViewsPass()),
        """
        CHECK: Reshape(%x, @{{.*}}) : float32[n,5,1,1]
        CHECK-NEXT: Relu
        CHECK-NEXT: %y = Flatten
        """,
    )


def test_real_transpose_is_no_view() -> None:
    g = Sketch()
    g.op("Transpose", g.input("x", ["n", 1, 2, 5]), perm=[0, 3, 1, 2], out="y")
    g.output("y")
    assert count_ops(apply(g, MergeViewsPass())) == {"Transpose": 1}


@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize("batch", [0, 1, 3])
def test_views_merge(opset: int, batch: int) -> None:
    g = Sketch(opset)
    x = g.input("x", ["n", 2, 3])
    y = g.op("Unsqueeze", x, g.ints(1))
    y = g.op("Squeeze", g.op("Reshape", y, g.ints(0, 1, 6)), g.ints(1))
    g.op("Flatten", y, out="flat")
    g.op("Squeeze", g.op("Unsqueeze", x, g.ints(1)), g.ints(1), out="same")
    g.output("flat")
    g.output("same")
    before = g.proto()
    model = ir.from_proto(before)
    MergeViewsPass()(model)
    RemoveDeadCodePass()(model)
    check_graph(model, "CHECK: %flat = Reshape(%x, @{{.*}}) : float32[n,6]\nCHECK-NEXT: %same = Identity(%x)")
    check_same(before, model, {"x": np.zeros((batch, 2, 3), np.float32)})


def test_reshape_to_the_same_shape_goes() -> None:
    g = Sketch()
    x = g.input("x", ["n", 6])
    g.op("Relu", g.op("Reshape", x, g.ints(0, 6)), out="y")
    g.output("y")
    assert count_ops(apply(g, MergeViewsPass())) == {"Relu": 1}


def test_view_of_unknown_length_stays() -> None:
    g = Sketch()
    x = g.input("x", [None, None])
    g.op("Reshape", g.op("Reshape", x, g.ints(-1, 3)), g.ints(-1, 2, 3), out="y")
    g.output("y")
    before = g.proto()
    model = ir.from_proto(before)
    MergeViewsPass()(model)
    check_same(before, model, {"x": np.arange(24, dtype=np.float32).reshape(4, 6)})


D = ir.SymbolicDim


@pytest.mark.parametrize(
    ("before", "after", "target"),
    [
        ([2, 3], [6], (6,)),
        ([D("n"), 6], [D("n"), 2, 3], (0, 2, 3)),
        ([1, D("n"), 6], [D("n"), 6], (-1, 6)),
        ([D("n"), D("m"), 6], [D("n"), D("m"), 2, 3], (0, 0, 2, 3)),
        ([D("n"), D("m"), 6], [D("k"), 6], (-1, 6)),
        # An empty batch would leave -1 unsolvable.
        ([D("n"), D("m"), 6], [D("n"), D("k")], None),
        ([D("n"), D("m")], [D("m"), D("n")], None),
        ([2, 0], [0, 2], None),
        ([D(None), 4], [D(None), 2, 2], (-1, 2, 2)),
        ([], [], ()),
    ],
)
def test_reshape_targets(before: list[Any], after: list[Any], target: tuple[int, ...] | None) -> None:
    assert reshape_target(before, after) == target


def test_computed_target_becomes_constant() -> None:
    g = Sketch()
    x = g.input("x", ["n", 2, 3])
    target = g.op("Concat", g.op("Shape", x, end=1), g.ints(6), axis=0)
    g.op("Reshape", x, target, out="y")
    g.output("y", shape=["n", 6])
    model = apply(g, MergeViewsPass())
    assert count_ops(model) == {"Reshape": 1}
    assert run(model, {"x": np.zeros((0, 2, 3), np.float32)})[0].shape == (0, 6)
