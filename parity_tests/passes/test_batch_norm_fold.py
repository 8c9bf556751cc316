"""BatchNormalization and per-channel arithmetic folded into weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from onnx.reference import ReferenceEvaluator
from pass_models import OPSETS, Sketch, check_same, count_ops

from any2onnx.passes.batch_norm import FoldBatchNormPass
from any2onnx.passes.dead_code import RemoveDeadCodePass

R = np.random.default_rng(7)


def weights(*shape: int, dtype: Any = np.float32) -> np.ndarray[Any, Any]:
    return (R.standard_normal(shape) * 0.5).astype(dtype)


def norm(g: Sketch, x: str, channels: int, *, dtype: Any = np.float32, out: Any = None, **attributes: Any) -> Any:
    statistics = [
        R.uniform(0.5, 2, channels),
        R.standard_normal(channels),
        R.standard_normal(channels),
        R.uniform(0.5, 2, channels),
    ]
    return g.op("BatchNormalization", x, *(g.const(s.astype(dtype)) for s in statistics), out=out, **attributes)


def fold(g: Sketch, *, rtol: float = 2e-5, atol: float = 2e-5) -> ir.Model:
    before = g.proto()
    model = ir.from_proto(before)
    FoldBatchNormPass()(model)
    RemoveDeadCodePass()(model)
    check_same(before, model, rtol=rtol, atol=atol)
    assert not FoldBatchNormPass()(model).modified
    return model


@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("spatial", [(7,), (5, 6), (3, 4, 5)])
def test_conv(opset: int, bias: bool, groups: int, spatial: tuple[int, ...]) -> None:
    g = Sketch(opset)
    x = g.input("x", ["n", 4, *spatial])
    kernel = (3,) * len(spatial)
    extra = [g.const(weights(8))] if bias else []
    y = g.op("Conv", x, g.const(weights(8, 4 // groups, *kernel)), *extra, group=groups, pads=[1] * 2 * len(kernel))
    norm(g, y, 8, epsilon=1e-2, out="y")
    g.output("y")
    assert count_ops(fold(g)) == {"Conv": 1}


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("groups", [1, 2])
def test_conv_transpose(bias: bool, groups: int) -> None:
    g = Sketch()
    x = g.input("x", ["n", 4, 5, 5])
    extra = [g.const(weights(3 * groups))] if bias else []
    y = g.op("ConvTranspose", x, g.const(weights(4, 3, 2, 2)), *extra, group=groups, strides=[2, 2])
    norm(g, y, 3 * groups, out="y")
    g.output("y")
    assert count_ops(fold(g)) == {"ConvTranspose": 1}


@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize("by_rows", [0, 1])
@pytest.mark.parametrize("bias", [None, (), (1,), (6,), (1, 6)])
def test_gemm(opset: int, by_rows: int, bias: tuple[int, ...] | None) -> None:
    g = Sketch(opset)
    x = g.input("x", ["n", 4])
    extra = [] if bias is None else [g.const(weights(*bias))]
    w = weights(6, 4) if by_rows else weights(4, 6)
    norm(g, g.op("Gemm", x, g.const(w), *extra, transB=by_rows, alpha=0.5, beta=2.0), 6, out="y")
    g.output("y")
    assert count_ops(fold(g)) == {"Gemm": 1}


@pytest.mark.parametrize("bias", [True, False])
def test_matmul(bias: bool) -> None:
    g = Sketch()
    y = g.op("MatMul", g.input("x", ["n", 4]), g.const(weights(4, 6)))
    if bias:
        y = g.op("Add", g.const(weights(6)), y)
    norm(g, y, 6, out="y")
    g.output("y")
    assert count_ops(fold(g)) == {"MatMul": 1, "Add": 1}


@pytest.mark.parametrize(
    "then",
    [
        lambda g, y: g.op("Mul", y, g.const(weights(1, 6, 1, 1))),
        lambda g, y: g.op("Add", g.const(weights(6, 1, 1)), y),
        lambda g, y: g.op("Sub", y, g.const(weights(6, 1, 1))),
        lambda g, y: g.op("Sub", g.const(weights(6, 1, 1)), y),
        lambda g, y: g.op("Div", y, g.const(np.float32(3))),
        lambda g, y: g.op("Add", g.op("Mul", norm(g, y, 6), g.const(weights(6, 1, 1))), g.const(weights(1))),
    ],
)
def test_arithmetic_behind_conv(then: Callable[[Sketch, str], str]) -> None:
    g = Sketch()
    y = g.op("Conv", g.input("x", ["n", 4, 5, 5]), g.const(weights(6, 4, 3, 3)), g.const(weights(6)))
    g.op("Relu", then(g, y), out="y")
    g.output("y")
    assert count_ops(fold(g)) == {"Conv": 1, "Relu": 1}


@pytest.mark.parametrize("kind", ["Conv", "Gemm", "GemmT", "MatMul", "MatMulAdd", "grouped"])
def test_norm_in_front(kind: str) -> None:
    g = Sketch()
    if kind in ("Conv", "grouped"):
        groups = 2 if kind == "grouped" else 1
        y = norm(g, g.input("x", ["n", 4, 5, 5]), 4)
        y = g.op("Conv", y, g.const(weights(6, 4 // groups, 3, 3)), g.const(weights(6)), group=groups, pads=[0] * 4)
    else:
        y = norm(g, g.input("x", ["n", 4]), 4)
        if kind == "Gemm":
            y = g.op("Gemm", y, g.const(weights(4, 6)), g.const(weights(6)), alpha=0.5, beta=3.0)
        elif kind == "GemmT":
            y = g.op("Gemm", y, g.const(weights(6, 4)), transB=1)
        else:
            y = g.op("MatMul", y, g.const(weights(4, 6)))
            y = g.op("Add", y, g.const(weights(6))) if kind == "MatMulAdd" else y
    g.op("Identity", y, out="y")
    g.output("y")
    counts = count_ops(fold(g))
    assert "BatchNormalization" not in counts
    assert counts["Add"] == (kind in ("MatMul", "MatMulAdd"))


def test_matmul_that_is_an_output_gets_its_shift() -> None:
    g = Sketch()
    g.op("MatMul", norm(g, g.input("x", ["n", 4]), 4), g.const(weights(4, 6)), out="y")
    g.op("Relu", "y", out="z")
    g.output("y")
    g.output("z")
    assert count_ops(fold(g)) == {"MatMul": 1, "Add": 1, "Relu": 1}


def conv(g: Sketch, **attributes: Any) -> str:
    x = g.input("x", ["n", 4, 5, 5])
    return str(g.op("Conv", x, g.const(weights(6, 4, 3, 3), "w"), g.const(weights(6), "b"), **attributes))


def stays(g: Sketch, *, compare: bool = True) -> None:
    before = g.proto()
    model = ir.from_proto(before)
    assert not FoldBatchNormPass()(model).modified
    if compare:
        check_same(before, model)


def test_two_readers_stay() -> None:
    g = Sketch()
    y = conv(g)
    norm(g, y, 6, out="y")
    g.op("Relu", y, out="z")
    g.output("y")
    g.output("z")
    stays(g)


def test_conv_that_is_an_output_stays() -> None:
    g = Sketch()
    y = conv(g)
    norm(g, y, 6, out="y")
    g.output("y")
    g.output(y)
    stays(g)


def test_training_mode_stays() -> None:
    g = Sketch()
    norm(g, conv(g), 6, training_mode=1, out=["y", "mean", "var"])
    g.output("y")
    stays(g, compare=False)


def test_computed_weights_stay() -> None:
    g = Sketch()
    y = g.op("Conv", g.input("x", ["n", 4, 5, 5]), g.input("w", [6, 4, 3, 3]))
    norm(g, y, 6, out="y")
    g.output("y")
    stays(g)


def test_weights_that_a_caller_may_override_stay() -> None:
    g = Sketch()
    y = conv(g)
    g.input("w", [6, 4, 3, 3])
    norm(g, y, 6, out="y")
    g.output("y")
    stays(g)


@pytest.mark.parametrize("pads", [{"pads": [0, 0, 0, 1]}, {"auto_pad": "SAME_UPPER"}])
def test_norm_in_front_of_padding_stays(pads: dict[str, Any]) -> None:
    g = Sketch()
    y = norm(g, g.input("x", ["n", 4, 5, 5]), 4)
    g.op("Conv", y, g.const(weights(6, 4, 3, 3)), out="y", **pads)
    g.output("y")
    stays(g)


def test_zero_variance_that_divides_by_zero_stays() -> None:
    g = Sketch()
    y = conv(g)
    ones, zeros = (g.const(make(6, np.float32)) for make in (np.ones, np.zeros))
    g.op("BatchNormalization", y, ones, zeros, zeros, zeros, epsilon=0.0, out="y")
    g.output("y")
    stays(g)


def test_overflowing_weights_stay() -> None:
    g = Sketch()
    y = g.op("Conv", g.input("x", ["n", 1, 3, 3], "float16"), g.const(np.full((1, 1, 1, 1), 6e4, np.float16)))
    g.op("Mul", y, g.const(np.float16(2)), out="y")
    g.output("y", "float16")
    stays(g, compare=False)


@pytest.mark.parametrize("shape", [(1, 1, 3, 1), (3,), (2, 6, 1, 1), (1, 1, 6, 1, 1)])
def test_other_broadcasts_stay(shape: tuple[int, ...]) -> None:
    g = Sketch()
    y = g.op("Conv", g.input("x", [1, 4, 5, 5]), g.const(weights(6, 4, 3, 3)))
    g.op("Mul", y, g.const(weights(*shape)), out="y")
    g.output("y")
    stays(g)


def test_division_of_a_constant_stays() -> None:
    g = Sketch()
    g.op("Div", g.const(np.float32(1)), conv(g), out="y")
    g.output("y")
    stays(g)


def test_lone_arithmetic_behind_products_stays() -> None:
    g = Sketch()
    y = g.op("MatMul", g.input("x", ["n", 4]), g.const(weights(4, 6)))
    g.op("Mul", g.op("Add", y, g.const(weights(6))), g.const(np.float32(0.5)), out="y")
    g.output("y")
    stays(g)


def test_norm_over_another_axis_stays() -> None:
    g = Sketch()
    y = g.op("MatMul", g.input("x", ["n", 6, 4]), g.const(weights(4, 6)))
    norm(g, y, 6, out="y")
    g.output("y")
    stays(g)


def test_shared_weights_are_left_to_the_other() -> None:
    g = Sketch()
    w = g.const(weights(4, 4, 3, 3), "w")
    y = norm(g, g.op("Conv", g.input("x", ["n", 4, 7, 7]), w), 4)
    g.op("Conv", y, w, pads=[1] * 4, out="y")
    g.output("y")
    model = fold(g)
    assert count_ops(model) == {"Conv": 2}
    np.testing.assert_array_equal(
        model.graph.initializers["w"].const_value.numpy(),  # type: ignore[union-attr]
        g.model().graph.initializers["w"].const_value.numpy(),  # type: ignore[union-attr]
    )


def test_own_weights_keep_their_names_and_the_array_is_not_written_to() -> None:
    g = Sketch()
    norm(g, conv(g), 6, out="y")
    g.output("y")
    model = g.model()
    held = model.graph.initializers["w"].const_value.numpy()  # type: ignore[union-attr]
    copy = held.copy()
    FoldBatchNormPass()(model)
    RemoveDeadCodePass()(model)
    assert list(model.graph.initializers) == ["w", "b"]
    np.testing.assert_array_equal(held, copy)
    (node,) = model.graph
    assert node.metadata_props["any2onnx.source"] == "layer3 + layer8"


def test_one_rounding_only() -> None:
    """Folded weights are those of float64 arithmetic, rounded once, through a chain of three maps."""
    g = Sketch()
    w, s, t = weights(6, 4, 1, 1), weights(6), weights(6)
    y = g.op("Conv", g.input("x", ["n", 4, 2, 2]), g.const(w, "w"))
    y = g.op("Mul", y, g.const(s[:, None, None]))
    y = g.op("Div", g.op("Add", y, g.const(t[:, None, None])), g.const(np.float32(3)))
    g.op("Relu", y, out="y")
    g.output("y")
    model = fold(g)
    exact = (w.astype(np.float64) * (s.astype(np.float64) * (1 / 3.0)).reshape(6, 1, 1, 1)).astype(np.float32)
    np.testing.assert_array_equal(model.graph.initializers["w"].const_value.numpy(), exact)  # type: ignore[union-attr]


@pytest.mark.parametrize(("dtype", "tolerance"), [("float16", 1e-2), ("double", 1e-12)])
def test_other_float_types(dtype: str, tolerance: float) -> None:
    """Run by onnx's reference: onnxruntime has no such convolution on the CPU."""
    g = Sketch(18)
    kind = np.dtype(dtype)
    y = g.op("Conv", g.input("x", ["n", 2, 4, 4], dtype), g.const(weights(3, 2, 3, 3, dtype=kind)))
    norm(g, y, 3, dtype=kind, out="y")
    g.output("y", dtype)
    model = g.model()
    FoldBatchNormPass()(model)
    RemoveDeadCodePass()(model)
    assert count_ops(model) == {"Conv": 1}
    assert model.graph.node(0).inputs[1].dtype == ir.DataType[dtype.upper()]  # type: ignore[union-attr]
    feeds = {"x": R.standard_normal((2, 2, 4, 4)).astype(kind)}
    (expected,), (answer,) = (ReferenceEvaluator(proto).run(None, feeds) for proto in (g.proto(), ir.to_proto(model)))
    assert answer.dtype == kind
    np.testing.assert_allclose(answer, expected, rtol=tolerance, atol=tolerance)


# --- scaling before a Gemm in float64 --------------------------------------------------------------------------------


def scaled_rows(g: Sketch, dtype: str = "double", *, mean: float = 1.0) -> tuple[str, Any]:
    """(x - mean) / scale * factor + shift, the constants on either side."""
    numpy = np.float64 if dtype == "double" else np.float32
    x = g.input("x", ["n", 5], dtype)
    y = g.op("Sub", x, g.const(np.full(5, mean, numpy)))
    y = g.op("Div", y, g.const(R.uniform(0.5, 2, (1, 5)).astype(numpy)))
    y = g.op("Mul", g.const(R.uniform(0.5, 2, 5).astype(numpy)), y)
    return g.op("Add", y, g.const(numpy(0.25))), numpy


@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize("by_rows", [0, 1])
@pytest.mark.parametrize("bias", [(), (3,), (1, 3)])
def test_scaling_before_a_float64_gemm(opset: int, by_rows: int, bias: tuple[int, ...]) -> None:
    g = Sketch(opset)
    y, numpy = scaled_rows(g)
    weight = weights(*((3, 5) if by_rows else (5, 3)), dtype=numpy)
    extra = [g.const(weights(*bias, dtype=numpy))] if bias else []
    g.op("Gemm", y, g.const(weight), *extra, transB=by_rows, alpha=1.5, beta=0.5, out="y")
    g.output("y", "double")
    model = fold(g, rtol=1e-13, atol=1e-13)
    assert count_ops(model) == {"Gemm": 1}
    (gemm,) = model.graph
    # All five layers are named in the provenance of what is left.
    assert gemm.metadata_props["any2onnx.source"].count("layer") == 5


def test_scaling_that_stays_before_a_gemm() -> None:
    """float32; a shift that would cancel; a second reader; weights or bias that are no constants; x of other width."""

    def made(case: str) -> ir.Model:
        g = Sketch(18)
        y, numpy = scaled_rows(g, "float" if case == "float32" else "double", mean=1e5 if case == "far" else 1.0)
        kind = "float" if case == "float32" else "double"
        weight = g.input("w", [5, 3], kind) if case == "weight" else g.const(weights(5, 3, dtype=numpy))
        bias = [g.input("b", [3], kind)] if case == "bias" else []
        g.op("Gemm", y, weight, *bias, out="y")
        g.output("y", kind)
        if case == "reader":
            g.op("Neg", y, out="again")
            g.output("again", kind)
        return fold(g, rtol=1e-4, atol=1e-4)

    for case in ("float32", "far", "reader", "weight", "bias"):
        assert count_ops(made(case))["Sub"] == 1, case

    g = Sketch(18)
    column = g.input("x", ["n", 1], "double")
    y = g.op("Sub", column, g.const(np.arange(5.0)))
    g.op("Gemm", y, g.const(weights(5, 3, dtype=np.float64)), out="y")
    g.output("y", "double")
    assert count_ops(fold(g, rtol=1e-13, atol=1e-13)) == {"Sub": 1, "Gemm": 1}

    g = Sketch(18)
    x, turned = g.input("x", ["n", 5], "double"), g.input("t", ["n", 5], "double")
    y = g.op("Div", g.const(np.ones(5)), g.op("Exp", x))  # the constant is divided, not the matrix
    z = g.op("Sub", y, turned)  # neither is constant
    g.op("Gemm", z, g.const(weights(5, 3, dtype=np.float64)), out="y")
    g.output("y", "double")
    assert count_ops(fold(g, rtol=1e-13, atol=1e-13)) == {"Div": 1, "Exp": 1, "Sub": 1, "Gemm": 1}


def test_constant_minus_a_matrix_before_a_gemm() -> None:
    g = Sketch(18)
    x = g.input("x", ["n", 5], "double")
    y = g.op("Sub", g.const(np.arange(5.0)), x)
    g.op("Gemm", y, g.const(weights(5, 3, dtype=np.float64)), out="y")
    g.output("y", "double")
    assert count_ops(fold(g, rtol=1e-13, atol=1e-13)) == {"Gemm": 1}
