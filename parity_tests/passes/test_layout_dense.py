"""Dense layers and LayerNormalization between channels-first operators: where they take the other layout, and not."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from pass_models import Sketch, check_same, count_ops, random_feeds
from test_layout import FIRST, LAST, SHAPE, propagate

from any2onnx.passes.layout import PropagateLayoutPass
from any2onnx.passes.pipeline import optimize

Middle = Callable[[Sketch, str], str]


def weight(g: Sketch, *shape: int, kind: str = "float32") -> str:
    return g.const(np.random.default_rng(len(g.initializers)).normal(size=shape).astype(kind))


def between(middle: Middle, rank: int = 4, opset: int = 18, dtype: str = "float") -> onnx.ModelProto:
    """Transpose to channels last, then ``middle``, then back."""
    g = Sketch(opset)
    x = g.op("Transpose", g.op("Tanh", g.input("x", ["n", 6, *SHAPE[rank][:-1]], dtype)), perm=LAST[rank])
    g.op("Transpose", middle(g, x), perm=FIRST[rank], out="y")
    return onnx.shape_inference.infer_shapes(g.proto_of_types(["y"]), data_prop=True)


def layer_norm(g: Sketch, x: str, *, beta: bool = True, **attributes: float) -> str:
    inputs = [x, weight(g, 6), *([weight(g, 6)] if beta else [])]
    return g.op("LayerNormalization", *inputs, **{"axis": -1, "epsilon": 1e-3, **attributes})


@pytest.mark.parametrize("rank", [3, 4, 5])
@pytest.mark.parametrize("opset", [13, 17, 18, 21])
def test_product_becomes_convolution(rank: int, opset: int) -> None:
    model = propagate(between(lambda g, x: g.op("MatMul", x, weight(g, 6, 7)), rank, opset), rtol=1e-5, atol=1e-6)
    assert count_ops(model) == {"Tanh": 1, "Conv": 1}
    (conv,) = (node for node in model.graph if node.op_type == "Conv")
    assert conv.inputs[1].shape == [7, 6, *[1] * (rank - 2)]
    assert conv.metadata_props["any2onnx.source"]


def test_bias_and_scale_behind_the_product_go_into_the_convolution() -> None:
    before = between(
        lambda g, x: g.op("Mul", g.op("Add", g.op("MatMul", x, weight(g, 6, 7)), weight(g, 7)), weight(g, 7))
    )
    model = optimize(ir.from_proto(before))
    assert count_ops(model) == {"Tanh": 1, "Conv": 1}
    check_same(before, model, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("rank", [3, 4, 5])
@pytest.mark.parametrize("opset", [17, 18, 21])
@pytest.mark.parametrize("beta", [True, False])
def test_normalisation_is_written_out(rank: int, opset: int, beta: bool) -> None:
    model = propagate(between(lambda g, x: layer_norm(g, x, beta=beta), rank, opset), rtol=1e-5, atol=1e-6)
    written = {"Tanh": 1, "ReduceMean": 1, "Sub": 1, "ReduceSumSquare": 1, "Add": 1, "Sqrt": 1, "Div": 1}
    assert count_ops(model) == {**written, "BatchNormalization": 1}
    assert all(node.metadata_props.get("any2onnx.source") for node in model.graph)


@pytest.mark.parametrize("scale", [1e-20, 1e-3, 1.0, 1e4])
def test_normalisation_of_small_and_large_values(scale: float) -> None:
    """The epsilon counts: values far below it go to 0, far above it to variance 1."""
    before = between(layer_norm)
    model = ir.from_proto(before)
    assert PropagateLayoutPass()(model).modified
    x = np.random.default_rng(5).normal(size=(3, 6, 5, 4)).astype(np.float32) * np.float32(scale)
    x[0] = 0.25  # no variance at all
    check_same(before, model, {"x": x}, rtol=1e-5, atol=1e-6)


def test_normalisation_is_folded_into_the_product_behind_it() -> None:
    before = between(lambda g, x: g.op("MatMul", layer_norm(g, x), weight(g, 6, 7)))
    model = optimize(ir.from_proto(before))
    counts = count_ops(model)
    assert counts["BatchNormalization"] == counts["Transpose"] == counts["MatMul"] == 0
    assert counts["Conv"] == 1
    check_same(before, model, rtol=1e-5, atol=1e-5)


def test_block_of_convnext() -> None:
    """Depthwise convolution, normalisation, two dense layers, residual: twice, then a convolution of stride 2."""
    g = Sketch(21)
    x = g.op("Transpose", g.input("x", ["n", 12, 12, 6]), perm=FIRST[4])
    y = g.op("Transpose", g.op("Conv", x, weight(g, 6, 6, 1, 1)), perm=LAST[4])
    for _ in range(2):
        z = g.op("Transpose", y, perm=FIRST[4])
        z = g.op("Conv", z, weight(g, 6, 1, 3, 3), weight(g, 6), group=6, pads=[1] * 4)
        z = layer_norm(g, g.op("Transpose", z, perm=LAST[4]))
        z = g.op("Relu", g.op("Add", g.op("MatMul", z, weight(g, 6, 24)), weight(g, 24)))
        z = g.op("Add", g.op("MatMul", z, weight(g, 24, 6)), weight(g, 6))
        y = g.op("Add", y, g.op("Mul", z, weight(g, 6)))
    y = g.op("Transpose", layer_norm(g, y), perm=FIRST[4])
    y = g.op("Conv", y, weight(g, 8, 6, 2, 2), strides=[2, 2])
    g.op("ReduceMean", g.op("Transpose", y, perm=LAST[4]), g.ints(1, 2), keepdims=0, out="y")
    g.output("y")
    before = g.proto()
    model = optimize(ir.from_proto(before))
    counts = count_ops(model)
    assert counts["Transpose"] == 1
    assert counts["MatMul"] == counts["Mul"] == counts["LayerNormalization"] == 0
    check_same(before, model, random_feeds(model), rtol=1e-4, atol=1e-5)


# --- where they stay -------------------------------------------------------------------------------------------------

STAY: dict[str, tuple[Middle, str]] = {
    "computed matrix": (lambda g, x: g.op("MatMul", x, g.op("Exp", g.input("w", [6, 7]))), "float"),
    "stack of matrices": (lambda g, x: g.op("MatMul", x, weight(g, 5, 6, 7)), "float"),
    "matrix on the left": (lambda g, x: g.op("MatMul", weight(g, 9, 4), x), "float"),
    "product in double": (lambda g, x: g.op("MatMul", x, weight(g, 6, 7, kind="float64")), "double"),
    "two axes": (lambda g, x: g.op("LayerNormalization", x, weight(g, 4, 6), axis=-2), "float"),
    "computed scale": (lambda g, x: g.op("LayerNormalization", x, g.op("Exp", g.input("w", [6]))), "float"),
    "scale of one element": (lambda g, x: g.op("LayerNormalization", x, weight(g, 1)), "float"),
    "normalisation in double": (lambda g, x: g.op("LayerNormalization", x, weight(g, 6, kind="float64")), "double"),
}


@pytest.mark.parametrize("name", STAY)
def test_what_stays(name: str) -> None:
    middle, dtype = STAY[name]
    before = between(middle, dtype=dtype)
    model = ir.from_proto(before)
    assert not PropagateLayoutPass()(model).modified


def test_the_mean_is_read() -> None:
    def middle(g: Sketch, x: str) -> str:
        y, mean = g.op("LayerNormalization", x, weight(g, 6), out=["normal", "mean"])
        return g.op("Add", y, mean)  # type: ignore[no-any-return]

    model = ir.from_proto(between(middle))
    PropagateLayoutPass()(model)
    assert count_ops(model)["LayerNormalization"] == 1


def test_unknown_number_of_channels() -> None:
    g = Sketch()
    x = g.op("Transpose", g.op("Tanh", g.input("x", ["n", "c", 5, 4])), perm=LAST[4])
    g.op("Transpose", g.op("LayerNormalization", x, g.op("Identity", weight(g, 6))), perm=FIRST[4], out="y")
    g.output("y", shape=["n", None, None, None])
    assert not PropagateLayoutPass()(g.model()).modified


def test_no_transpose_is_saved() -> None:
    """Between channels-last operators nothing changes; nor where as many Transposes would be left."""
    g = Sketch()
    y = g.op("MatMul", layer_norm(g, g.op("Tanh", g.input("x", ["n", 5, 4, 6]))), weight(g, 6, 6))
    g.op("Transpose", y, perm=FIRST[4], out="y")
    g.output("y")
    assert not PropagateLayoutPass()(g.model()).modified
    h = Sketch()
    z = h.op("Softmax", h.op("MatMul", layer_norm(h, h.input("x", ["n", 5, 6])), weight(h, 6, 6)))
    h.op("Identity", z, out="y")
    h.output("y")
    assert not PropagateLayoutPass()(h.model()).modified


def test_other_permutations_leave_products_alone() -> None:
    """Attention heads: [N, S, H, D] ↔ [N, H, S, D] does not move the last axis."""
    g = Sketch()
    x = g.op("Transpose", g.op("Tanh", g.input("x", ["n", 5, 4, 6])), perm=[0, 2, 1, 3])
    g.op("Transpose", g.op("MatMul", x, weight(g, 6, 7)), perm=[0, 2, 1, 3], out="y")
    g.output("y")
    assert not PropagateLayoutPass()(g.model()).modified
