"""What every pass owes: valid graphs, the same signature, provenance, and nothing left to do for a second run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper
from pass_models import Sketch, check_same, count_ops, random_feeds
from pass_networks import ChannelsLast, mobilenet_v2, resnet50

from any2onnx.errors import PassError
from any2onnx.passes.batch_norm import FoldBatchNormPass
from any2onnx.passes.casts import CleanCastsPass
from any2onnx.passes.constants import FoldConstantsPass
from any2onnx.passes.contract import GraphPass, check_order
from any2onnx.passes.dead_code import RemoveDeadCodePass
from any2onnx.passes.duplicates import MergeDuplicateInitializersPass, MergeDuplicateNodesPass
from any2onnx.passes.editing import Names, Scope
from any2onnx.passes.identities import RemoveIdentitiesPass
from any2onnx.passes.layout import PropagateLayoutPass
from any2onnx.passes.pipeline import build_passes, optimize
from any2onnx.passes.shapes import FoldShapesPass
from any2onnx.passes.views import MergeTransposesPass, MergeViewsPass

PASSES: dict[str, Callable[[], ir.passes.PassBase]] = {
    made.__name__: made
    for made in (
        CleanCastsPass,
        FoldBatchNormPass,
        FoldConstantsPass,
        FoldShapesPass,
        MergeDuplicateInitializersPass,
        MergeDuplicateNodesPass,
        MergeTransposesPass,
        MergeViewsPass,
        PropagateLayoutPass,
        RemoveDeadCodePass,
        RemoveIdentitiesPass,
    )
}


def mixture(opset: int = 18) -> onnx.ModelProto:
    """A bit of everything: casts, views, shape arithmetic, duplicates, a function, two levels of sub-graphs."""
    g = Sketch(opset)
    x, flag = g.input("x", ["n", 4, 6]), g.input("flag", [], "bool")
    shape = g.op("Shape", x)
    target = g.op("Concat", g.op("Gather", shape, g.ints(0)), g.ints(24), axis=0)
    flat = g.op("Reshape", g.op("Unsqueeze", x, g.ints(1)), target)
    wide = g.op("Cast", g.op("Cast", flat, to=TensorProto.DOUBLE), to=TensorProto.FLOAT)
    a = g.op("Add", wide, g.const(np.arange(24, dtype=np.float32)))
    b = g.op(
        "Add", wide, g.op("Cast", g.op("Range", *(g.const(np.int64(k)) for k in (0, 24, 1))), to=TensorProto.FLOAT)
    )
    total = g.op("Identity", g.op("Mul", a, b))
    back = g.op(
        "Transpose", g.op("Transpose", g.op("Reshape", total, g.ints(-1, 4, 6)), perm=[1, 2, 0]), perm=[2, 0, 1]
    )

    def branch(name: str, inner: list[onnx.NodeProto]) -> onnx.GraphProto:
        out = helper.make_tensor_value_info(f"{name}_out", TensorProto.FLOAT, ["n", 4, 6])
        return helper.make_graph(inner, name, [], [out])

    def nodes(name: str) -> list[onnx.NodeProto]:
        made = [
            helper.make_node("Constant", [], [f"{name}_k"], value_floats=[2.0]),
            helper.make_node("Identity", [back], [f"{name}_i"]),
            helper.make_node("Mul", [f"{name}_i", f"{name}_k"], [f"{name}_m"]),
            helper.make_node("Cast", [f"{name}_m"], [f"{name}_out"], to=TensorProto.FLOAT),
        ]
        for node in made:
            node.metadata_props.add(key="any2onnx.source", value=f"branch {name}")
        return made

    inner = helper.make_node(
        "If",
        [flag],
        ["else_out"],
        then_branch=branch("deep", nodes("deep")),
        else_branch=branch("deeper", nodes("deeper")),
    )
    inner.metadata_props.add(key="any2onnx.source", value="inner if")
    chosen = g.op("If", flag, then_branch=branch("then", nodes("then")), else_branch=branch("else", [inner]))
    body = [
        helper.make_node("Identity", ["p"], ["q"]),
        helper.make_node("Constant", [], ["c"], value_float=1.0),
        helper.make_node("Add", ["q", "c"], ["r"]),
    ]
    for node in body:
        node.metadata_props.add(key="any2onnx.source", value="function")
    g.functions.append(helper.make_function("local", "PlusOne", ["p"], ["r"], body, [helper.make_opsetid("", opset)]))
    g.op("PlusOne", chosen, domain="local", out="result")
    g.op("Identity", x, out="copy")
    g.op("Identity", "result", out="result_again")
    for name in ("result", "copy", "result_again"):
        g.output(name, shape=["n", 4, 6])
    proto = g.proto()
    proto.ir_version = 10
    return proto


def convolution(opset: int = 18) -> onnx.ModelProto:
    """Layers in both layouts, with two image outputs."""
    g = ChannelsLast(opset, norm="operator")
    x = g.relu(g.batch_norm(g.conv(g.image(8), 4, 3)))
    y = g.add(x, g.batch_norm(g.conv(x, 4, 1)))
    g.op("Identity", y, out="features")
    g.op("Neg", g.max_pool(y, 2, 2), out="small")
    g.output("features")
    g.output("small")
    return g.proto()


def loop(opset: int = 18) -> onnx.ModelProto:
    """A Loop whose body returns a captured value, a loop-carried one and a constant, and a scan output."""

    def info(name: str, kind: int, shape: list[int | str]) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, kind, shape)

    g = Sketch(opset)
    x = g.input("x", [2, 3])
    outer = g.op("Exp", g.op("Identity", x))
    again = g.op("Exp", x)
    nodes = [
        helper.make_node("Identity", ["going"], ["going_on"]),
        helper.make_node("Add", ["state", outer], ["sum"]),
        helper.make_node("Add", ["state", again], ["same_sum"]),
        helper.make_node("Transpose", ["sum"], ["turned"], perm=[1, 0]),
        helper.make_node("Tanh", ["turned"], ["squashed"]),
        helper.make_node("Transpose", ["squashed"], ["back"], perm=[1, 0]),
        helper.make_node("Mul", ["back", "same_sum"], ["next_state"]),
        helper.make_node("Identity", ["old"], ["next_old"]),
        helper.make_node("Identity", [outer], ["scanned"]),
        helper.make_node("Constant", [], ["one"], value_float=1.0),
    ]
    for node in nodes:
        node.metadata_props.add(key="any2onnx.source", value="body")
    values = [info(name, TensorProto.FLOAT, [2, 3]) for name in ("sum", "same_sum", "back")]
    values += [info(name, TensorProto.FLOAT, [3, 2]) for name in ("turned", "squashed")]
    body = helper.make_graph(
        nodes,
        "body",
        [
            info("step", TensorProto.INT64, []),
            info("going", TensorProto.BOOL, []),
            info("state", TensorProto.FLOAT, [2, 3]),
            info("old", TensorProto.FLOAT, [2, 3]),
        ],
        [
            info("going_on", TensorProto.BOOL, []),
            info("next_state", TensorProto.FLOAT, [2, 3]),
            info("next_old", TensorProto.FLOAT, [2, 3]),
            info("scanned", TensorProto.FLOAT, [2, 3]),
            info("one", TensorProto.FLOAT, []),
        ],
        value_info=values,
    )
    steps, flag = g.const(np.int64(3)), g.const(np.array(True))
    g.op("Loop", steps, flag, x, x, body=body, out=["last", "first", "all", "ones"])
    for name, shape in (("last", [2, 3]), ("first", [2, 3]), ("all", [3, 2, 3]), ("ones", [3])):
        g.output(name, shape=shape)
    return g.proto()


MODELS: dict[str, Callable[[], onnx.ModelProto]] = {
    "mixture13": lambda: mixture(13),
    "mixture18": mixture,
    "mixture21": lambda: mixture(21),
    "loop13": lambda: loop(13),
    "loop21": lambda: loop(21),
    "convolution": convolution,
    "mobilenet": lambda: mobilenet_v2(squeeze=True, rescale=True),
    "resnet": lambda: resnet50(13, norm="arithmetic"),
}


@pytest.fixture(scope="module", params=list(MODELS))
def before(request: pytest.FixtureRequest) -> onnx.ModelProto:
    return MODELS[request.param]()


def check_provenance(model: ir.Model) -> None:
    """Every node that computes says where it comes from."""
    for graph in (model.graph, *(function.graph for function in model.functions.values())):
        for node in graph.all_nodes():
            assert node.metadata_props.get("any2onnx.source"), f"{node.name} ({node.op_type}) has lost its source"


@pytest.mark.parametrize("name", PASSES)
def test_each_pass(name: str, before: onnx.ModelProto) -> None:
    model = ir.from_proto(before)
    result = PASSES[name]()(model)
    assert result.model is model
    text = ir.to_proto(model).SerializeToString()
    assert result.modified == (text != ir.to_proto(ir.from_proto(before)).SerializeToString())
    check_provenance(model)
    feeds = random_feeds(model)
    check_same(before, model, feeds, rtol=1e-4, atol=1e-4)
    assert not PASSES[name]()(model).modified
    assert ir.to_proto(model).SerializeToString() == text


@pytest.mark.parametrize("level", ["basic", "default"])
def test_whole_pipeline(level: str, before: onnx.ModelProto) -> None:
    model = ir.from_proto(before)
    optimize(model, level=level)  # type: ignore[arg-type]
    text = ir.to_proto(model).SerializeToString()
    check_provenance(model)
    feeds = random_feeds(model)
    check_same(before, model, feeds, rtol=1e-4, atol=1e-4)
    optimize(model, level=level)  # type: ignore[arg-type]
    assert ir.to_proto(model).SerializeToString() == text
    values = [value.name for node in model.graph.all_nodes() for value in node.outputs if value.name]
    assert len(set(values)) == len(values)


def test_loop_bodies_are_simplified() -> None:
    model = optimize(ir.from_proto(loop()))
    (body,) = model.graph.subgraphs()
    counts = Counter(node.op_type for node in body)
    assert counts == {"Identity": 3, "Add": 1, "Tanh": 1, "Mul": 1, "Constant": 1}
    assert count_ops(model)["Exp"] == 1


def test_all_passes_of_the_pipeline_are_tested() -> None:
    assert {type(step).__name__ for step in build_passes("default")} == set(PASSES)


# --- the contract itself -----------------------------------------------------------------------------------------


class RenamesOutputPass(GraphPass):
    def rewrite(self, scope: Scope, names: Names) -> int:
        scope.graph.outputs[0].name = "other"
        return 1


class LeavesDanglingPass(GraphPass):
    def rewrite(self, scope: Scope, names: Names) -> int:
        scope.graph.remove(scope.graph[0])
        return 1


def chain() -> ir.Model:
    g = Sketch()
    g.op("Exp", g.op("Neg", g.input("x", [2]), out="a"), out="y")
    g.output("y")
    return g.model()


def test_a_pass_may_not_rename_outputs() -> None:
    with pytest.raises(PassError, match=r"RenamesOutputPass changed .*'y'.*'other'"):
        RenamesOutputPass()(chain())


def test_a_pass_may_not_remove_what_is_read() -> None:
    with pytest.raises(ir.passes.PostconditionError) as caught:
        LeavesDanglingPass()(chain())
    assert "reads 'a', which nothing before it defines" in str(caught.value.__cause__)


def test_order_is_required() -> None:
    model = chain()
    first, second = model.graph
    model.graph.remove(first)
    model.graph.insert_after(second, first)
    with pytest.raises(PassError, match="which nothing before it defines"):
        check_order(model, "now")
    with pytest.raises(PassError, match="optimising the model failed: node 'n2'"):
        optimize(model)


def test_outputs_must_be_defined() -> None:
    model = chain()
    model.graph.outputs.append(ir.Value(name="ghost"))
    with pytest.raises(PassError, match="graph output 'ghost' is defined nowhere"):
        check_order(model, "now")


def test_names_are_fresh_everywhere() -> None:
    names = Names(ir.from_proto(mixture()))
    assert names.fresh("x") == "x_1"
    assert names.fresh("deep_k") == "deep_k_1"
    assert names.fresh("q") == "q_1"
    assert names.fresh("new") == "new"
    assert names.fresh("new") == "new_1"
