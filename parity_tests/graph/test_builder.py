"""The typed builder: types on the line, opset differences, constants, names, sub-graphs, functions."""

from __future__ import annotations

import math

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest

from any2onnx.errors import GraphError, InvalidType, OpsetNotSupported, UnsupportedOperator, UsageError
from any2onnx.graph import DataType, GraphBuilder, Opsets, TensorSpec
from any2onnx.graph.opsets import ceiling
from any2onnx.graph.types import broadcast_dims, dims_of, merge_shape, spec_of, to_dtype

OPSETS = [13, 15, 17, 18, 20, 21, 23, 24, ceiling()]


def run(model: ir.Model, **feeds: np.ndarray) -> list[np.ndarray]:
    proto = ir.to_proto(model)
    onnx.checker.check_model(proto, full_check=True)
    session = ort.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, feeds)


def matrix(opset: int = 21, dtype: DataType = DataType.FLOAT) -> tuple[GraphBuilder, ir.Value]:
    g = GraphBuilder(Opsets.of(opset))
    return g, g.input("x", dtype, ("batch", 4))


X = np.arange(12, dtype=np.float32).reshape(3, 4) / 7 - 0.6


def test_types_are_known_while_building() -> None:
    g, x = matrix()
    y = g.MatMul(x, np.ones((4, 3), np.float32))
    assert spec_of(y) == TensorSpec(DataType.FLOAT, ("batch", 3))
    assert spec_of(g.ArgMax(y, axis=1, keepdims=0)) == TensorSpec(DataType.INT64, ("batch",))


@pytest.mark.parametrize(
    ("build", "error", "text"),
    [
        (lambda g, x: g.MatMul(x, np.ones((5, 3), np.float32)), GraphError, "x: float[batch,4]"),
        (lambda g, x: g.MatMul(x, np.ones((4, 3))), GraphError, "double"),
        (lambda g, x: g.Matmul(x, x), GraphError, "did you mean 'MatMul'"),
        (lambda g, x: g.Relu(x, alfa=1), GraphError, "no attribute 'alfa'"),
        (lambda g, x: g.op("Softmax", x, axes=1), GraphError, "did you mean 'axis'"),
        (lambda g, x: g.op("Gelu", x), OpsetNotSupported, "opset ≥ 20"),
        (lambda g, x: g.contrib.CDist(x, x), GraphError, "com.microsoft"),
        (lambda g, x: g.op("Upsample", x, [1.0, 1.0]), OpsetNotSupported, "withdrawn"),
        (lambda g, x: g.op("Cast", x), GraphError, "needs the attribute 'to'"),
        (lambda g, x: g.annotate(x, ("batch", 5)), GraphError, "contradicts"),
        (lambda g, x: g.input("x", DataType.FLOAT, ()), GraphError, "called 'x'"),
        (lambda g, x: g.const([object()]), InvalidType, ""),
    ],
)
def test_mistakes_raise_on_their_line(build, error, text) -> None:
    g, x = matrix(17)
    with pytest.raises((error, GraphError) if error is InvalidType else error, match=None) as caught:
        build(g, x)
    assert text in str(caught.value)
    assert len(g.nodes) == 0, "a refused node must leave nothing behind"


def test_python_numbers_take_the_dtype_that_is_wanted_there() -> None:
    g, x = matrix(dtype=DataType.DOUBLE)
    y = g.Add(x, 1)
    z = g.Reshape(y, [-1, 2, 2])
    assert y.dtype == DataType.DOUBLE
    assert spec_of(z) == TensorSpec(DataType.DOUBLE, ("batch", 2, 2))
    (got,) = run(g.build({"z": z}), x=X.astype(np.float64))
    np.testing.assert_array_equal(got, (X.astype(np.float64) + 1).reshape(-1, 2, 2))


def test_constants_hold_arrays_by_reference_and_are_shared() -> None:
    g, x = matrix()
    weight = np.ones((4, 400), np.float32)
    first, second = g.const(weight, name="w"), g.const(weight, name="again")
    assert first is second
    assert first.const_value is not None
    assert np.shares_memory(first.const_value.numpy(), weight)
    assert g.const(1.5) is g.const(np.float32(1.5))
    assert g.const(weight.T) is not first, "the same memory, transposed, is another constant"
    assert g.const("a") is not g.const("b")
    model = g.build({"y": g.MatMul(x, first)})
    assert list(model.graph.initializers) == ["w"], "constants that nothing reads stay out"


def test_torch_tensors_are_not_copied() -> None:
    torch = pytest.importorskip("torch")
    weight = torch.ones(4, 400)
    g, x = matrix()
    value = g.const(weight, name="w")
    assert value.const_value is not None
    assert value.const_value.numpy().__array_interface__["data"][0] == weight.data_ptr()
    assert g.const(weight.t()) is not value
    assert dims_of(g.MatMul(x, value).shape) == ("batch", 400)


@pytest.mark.parametrize("opset", OPSETS)
def test_one_form_at_every_opset(opset: int) -> None:
    """Operators whose signature changed, or that came later, give the same numbers at every opset."""
    g, x = matrix(opset)
    outputs = {
        "sum": g.ReduceSum(x, 1),
        "mean": g.ReduceMean(x, [0], keepdims=False),
        "max": g.ReduceMax(x),
        "logsumexp": g.ReduceLogSumExp(x, -1),
        "squeezed": g.Squeeze(g.Unsqueeze(x, [0, 3]), 0),
        "padded": g.Pad(x, [0, 1, 0, 2], 9.0),
        "padded_axis": g.Pad(x, [1, 2], axes=[1]),
        "size": g.dim(x, 0),
        "layer": g.LayerNormalization(x, np.full(4, 2, np.float32), np.ones(4, np.float32)),
        "gelu": g.Gelu(x),
        "gelu_tanh": g.Gelu(x, approximate="tanh"),
        "hard_swish": g.HardSwish(x),
        "mish": g.Mish(x),
        "swish": g.Swish(x, alpha=1.5),
        "rms": g.RMSNormalization(x, np.full(4, 2, np.float32)),
        "clip": g.Clip(x, -0.2, None),
    }
    a, b = g.Split(x, num_outputs=2, axis=1)
    outputs |= {"a": a, "b": b}
    image = g.Reshape(x, [0, 4, 1, 1])
    outputs["group"] = g.GroupNormalization(
        g.Concat(image, g.Mul(image, 2.0), axis=2), np.arange(4, dtype=np.float32), np.ones(4, np.float32), num_groups=2
    )
    names = list(outputs)
    got = dict(zip(names, run(g.build(outputs), x=X), strict=True))
    from scipy.special import erf, logsumexp

    wide = X.astype(np.float64)
    layer = (wide - wide.mean(1, keepdims=True)) / np.sqrt(wide.var(1, keepdims=True) + 1e-5)
    stacked = np.stack([wide, wide * 2], 2).reshape(3, 2, 2, 2)
    group = (stacked - stacked.mean((2, 3), keepdims=True)) / np.sqrt(stacked.var((2, 3), keepdims=True) + 1e-5)
    expected = {
        "sum": wide.sum(1, keepdims=True),
        "mean": wide.mean(0),
        "max": wide.max(keepdims=True),
        "logsumexp": logsumexp(wide, axis=-1, keepdims=True),
        "squeezed": wide[:, :, None],
        "padded": np.pad(wide, [(0, 0), (1, 2)], constant_values=9),
        "padded_axis": np.pad(wide, [(0, 0), (1, 2)]),
        "size": np.array([3]),
        "layer": layer * 2 + 1,
        "gelu": wide * 0.5 * (1 + erf(wide / np.sqrt(2))),
        "gelu_tanh": 0.5 * wide * (1 + np.tanh(np.sqrt(2 / np.pi) * (wide + 0.044715 * wide**3))),
        "hard_swish": wide * np.clip(wide / 6 + 0.5, 0, 1),
        "mish": wide * np.tanh(np.log1p(np.exp(wide))),
        "swish": wide / (1 + np.exp(-1.5 * wide)),
        "rms": 2 * wide / np.sqrt((wide**2).mean(1, keepdims=True) + 1e-5),
        "clip": np.maximum(wide, -0.2),
        "a": wide[:, :2],
        "b": wide[:, 2:],
        "group": group.reshape(3, 4, 2, 1) * np.arange(4).reshape(1, 4, 1, 1) + 1,
    }
    assert set(got) == set(expected)
    for name, value in expected.items():
        assert got[name].shape == np.shape(value), name
        np.testing.assert_allclose(got[name], value, rtol=2e-6, atol=2e-6, err_msg=name)


@pytest.mark.parametrize("opset", [13, 18, 21, ceiling()])
def test_double_forms_without_a_kernel(opset: int) -> None:
    """What onnxruntime has no float64 kernel for is lowered to an exact form, to the last bits of float64."""
    import scipy.special as sp

    g, x = matrix(opset, DataType.DOUBLE)
    specials = [0.0, -0.0, np.inf, -np.inf, np.nan, 1e-300, -1e-17, 0.46875, 4.0, 6.5, 30.0, -30.0]
    rows = np.concatenate([np.linspace(-9, 9, 4000), specials]).reshape(-1, 4)
    reference = {
        "Erf": sp.erf,
        "Softplus": lambda v: np.logaddexp(0, v),
        "Elu": lambda v: np.where(v > 0, v, np.expm1(np.minimum(v, 0))),
        "Selu": lambda v: 1.0507009873554805 * np.where(v > 0, v, 1.6732632423543772 * np.expm1(np.minimum(v, 0))),
        "LeakyRelu": lambda v: np.where(v < 0, 0.01 * v, v),
        "HardSigmoid": lambda v: np.clip(0.2 * v + 0.5, 0, 1),
        "Softsign": lambda v: v / (1 + np.abs(v)),
        "ThresholdedRelu": lambda v: np.where(v > 1, v, np.where(np.isnan(v), 0, 0)),
        "Cosh": np.cosh,
        "Mish": lambda v: v * np.tanh(np.logaddexp(0, v)),
        "Gelu": lambda v: 0.5 * v * (1 + sp.erf(v / np.sqrt(2))),
    }
    model = g.build({name: getattr(g, name)(x) for name in reference})
    with np.errstate(all="ignore"):
        for name, got in zip(reference, run(model, x=rows), strict=True):
            expected = reference[name](rows)
            assert got.dtype == np.float64
            np.testing.assert_allclose(got, expected, rtol=4e-15, atol=1e-15, err_msg=name)


def test_small_integers_and_half_are_widened_without_loss() -> None:
    g = GraphBuilder()
    small = g.input("small", DataType.INT8, (3,))
    half = g.input("half", DataType.BFLOAT16, (3,))
    model = g.build({"max": g.ReduceMax(small), "tanh": g.Cast(g.Tanh(half), DataType.FLOAT)})
    operators = [node.op_type for node in model.graph]
    assert "Cast" in operators
    import ml_dtypes

    proto = ir.to_proto(model)
    onnx.checker.check_model(proto, full_check=True)
    assert proto.graph.output[0].type.tensor_type.elem_type == onnx.TensorProto.INT8
    session = ort.InferenceSession(proto.SerializeToString())
    values = np.array([0.5, -1, 2], ml_dtypes.bfloat16)
    feeds = {
        "small": ort.OrtValue.ortvalue_from_numpy(np.array([-3, 7, 2], np.int8)),
        "half": ort.OrtValue.ortvalue_from_numpy_with_onnx_type(values.view(np.uint16), onnx.TensorProto.BFLOAT16),
    }
    got = session.run_with_ort_values(None, feeds)
    assert got[0].numpy().tolist() == [7]
    expected = np.tanh(values.astype(np.float32)).astype(ml_dtypes.bfloat16).astype(np.float32)
    np.testing.assert_array_equal(got[1].numpy(), expected)


@pytest.mark.parametrize("opset", [13, 18, 21, 28])
def test_half_operands_of_several_type_parameters_are_widened_together(opset: int) -> None:
    """Pow and BatchNormalization bind T, T1 and T2 to float16 at once; no kernel takes one of them alone."""
    g, x = matrix(opset, DataType.FLOAT16)
    four = np.ones(4, np.float16)
    outputs = {"power": g.Pow(x, x), "normalized": g.op("BatchNormalization", x, four, four, four, four)}
    assert {spec_of(v).dtype for v in outputs.values()} == {DataType.FLOAT16}
    half = np.abs(X).astype(np.float16)
    power, normalized = run(g.build(outputs), x=half)
    np.testing.assert_array_equal(power, (half.astype(np.float32) ** half.astype(np.float32)).astype(np.float16))
    np.testing.assert_allclose(normalized, half, rtol=2e-3)


@pytest.mark.parametrize("operator", ["ScatterND", "ScatterElements"])
def test_adding_to_half_tensors_is_done_in_float32(operator: str) -> None:
    """onnxruntime lists kernels for float16 that fail when they run with a reduction."""
    g, x = matrix(18, DataType.FLOAT16)
    index = np.array([[0], [0]]) if operator == "ScatterND" else np.zeros((2, 4), np.int64)
    new = np.full((2, 4), 0.5, np.float16)
    (added,) = run(g.build({"y": g.op(operator, x, index, new, reduction="add")}), x=X.astype(np.float16))
    want = X.astype(np.float16)
    want[0] += 1
    np.testing.assert_allclose(added, want, rtol=1e-3)
    (plain,) = g.op(operator, x, index, new).producer().outputs
    assert [v.dtype for v in plain.producer().inputs[::2]] == [DataType.FLOAT16] * 2, "no cast without a reduction"


def test_empty_shape_arithmetic() -> None:
    g, x = matrix()
    scalar_shape = g.op("Shape", g.ReduceSum(x, None, keepdims=False))
    assert dims_of(g.Reshape(g.const(np.zeros(())), g.Mul(scalar_shape, np.array([2]))).shape) == ()


def test_an_operator_without_any_exact_form_is_refused() -> None:
    g = GraphBuilder()
    x = g.input("x", DataType.DOUBLE, ("n", 3, 8, 8))
    with pytest.raises(UnsupportedOperator, match="no kernel for LRN"):
        g.op("LRN", x, size=3)


def test_symbolic_shapes_survive_reshape_and_shape_arithmetic() -> None:
    g = GraphBuilder()
    x = g.input("x", DataType.FLOAT, ("batch", "time", 6))
    heads = g.reshape_to(x, ["batch", "time", 2, 3])
    swapped = g.Transpose(heads, perm=[0, 2, 1, 3])
    back = g.Reshape(swapped, g.shape_vector([g.dim(x, 0), 2, g.dim(x, 1), 3]))
    zeros = g.ConstantOfShape(g.shape_vector([g.dim(x, 1), 5]))
    spread = g.Expand(g.const(np.ones((1, 1), np.float32)), g.shape_vector([g.dim(x, 0), 4]))
    assert dims_of(heads.shape) == ("batch", "time", 2, 3)
    assert dims_of(back.shape) == ("batch", 2, "time", 3)
    assert dims_of(zeros.shape) == ("time", 5)
    assert dims_of(spread.shape) == ("batch", 4)
    model = g.build({"back": back, "zeros": zeros, "spread": spread})
    for batch, time in ((1, 1), (2, 5), (0, 3)):
        rows = np.random.default_rng(0).random((batch, time, 6), np.float32)
        got = run(model, x=rows)
        np.testing.assert_array_equal(got[0], rows.reshape(batch, time, 2, 3).transpose(0, 2, 1, 3))
        assert got[1].shape == (time, 5)
        assert got[2].shape == (batch, 4)


def test_control_flow() -> None:
    g, x = matrix()
    start = g.const(np.zeros(4, np.float32))
    sums, partial = g.Scan(lambda b, s, row: (b.Add(s, row), b.Add(s, row)), [start], [x])
    _, backwards = g.Scan(lambda b, s, row: (b.Add(s, row), b.Add(s, row)), [start], [x], reverse=True)
    doubled = g.Loop(lambda b, i, c, v: (c, b.Mul(v, 2.0)), [x], trip_count=3)[0]
    limited = g.Loop(
        lambda b, i, c, v: (b.Less(b.ReduceMax(v, keepdims=False), 100.0), b.Mul(v, 2.0), i),
        [g.Abs(x)],
        trip_count=50,
        condition=True,
    )
    (chosen,) = g.If(g.Greater(g.ReduceSum(x, keepdims=False), 0.0), lambda b: b.Neg(x), lambda b: x)
    assert dims_of(partial.shape) == ("batch", 4)
    model = g.build(
        {"sums": sums, "partial": partial, "back": backwards, "doubled": doubled, "limited": limited[0],
         "trips": limited[1], "chosen": chosen}
    )  # fmt: skip
    got = dict(zip(("sums", "partial", "back", "doubled", "limited", "trips", "chosen"), run(model, x=X), strict=True))
    np.testing.assert_allclose(got["sums"], X.sum(0), rtol=1e-6)
    np.testing.assert_allclose(got["partial"], X.cumsum(0), rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(got["back"], X[::-1].cumsum(0)[::-1], rtol=1e-6, atol=1e-7)
    np.testing.assert_array_equal(got["doubled"], X * 8)
    trips, largest = 1, np.abs(X).max()
    while largest < 100:  # the condition that an iteration returns is on the value that it got
        largest, trips = largest * 2, trips + 1
    np.testing.assert_array_equal(got["trips"], np.arange(trips))
    np.testing.assert_array_equal(got["limited"], np.abs(X) * 2.0**trips)
    np.testing.assert_array_equal(got["chosen"], -X if X.sum() > 0 else X)


def test_control_flow_mistakes() -> None:
    g, x = matrix()
    condition = g.const(True)
    with pytest.raises(GraphError, match="different results"):
        g.If(condition, lambda b: b.Neg(x), lambda b: b.Cast(x, "float64"))
    with pytest.raises(GraphError, match="changes its type"):
        g.Loop(lambda b, i, c, v: (c, b.Cast(v, "float64")), [x], trip_count=1)
    with pytest.raises(GraphError, match="returns 0 states"):
        g.Loop(lambda b, i, c, v: (c,), [x], trip_count=1)


def test_local_functions_are_defined_once() -> None:
    g, x = matrix()

    def body(b: GraphBuilder, v: ir.Value) -> ir.Value:
        return b.Mul(v, np.float32(3))

    (once,) = g.call_function("my.domain", "triple", [x], body)
    (twice,) = g.call_function("my.domain", "triple", [once], body)
    model = g.build({"y": twice})
    assert len(model.functions) == 1
    assert model.opset_imports["my.domain"] == 1
    np.testing.assert_allclose(run(model, x=X)[0], X * 9, rtol=1e-6)


def test_outputs_keep_their_names_whatever_they_are() -> None:
    g, x = matrix()
    with g.scope("block"):
        y = g.Relu(x)
    model = g.build({"block/Relu": g.Neg(y), "same": x, "twice": y, "again": y, "constant": g.const(np.ones(2))})
    assert [v.name for v in model.graph.outputs] == ["block/Relu", "same", "twice", "again", "constant"]
    got = run(model, x=X)
    np.testing.assert_array_equal(got[0], -np.maximum(X, 0))
    np.testing.assert_array_equal(got[1], X)
    np.testing.assert_array_equal(got[2], got[3])
    with pytest.raises(GraphError, match="an input and an output"):
        g.build({"x": y})


def test_provenance_is_on_every_node_and_can_be_stripped() -> None:
    from any2onnx.graph.provenance import strip_provenance

    g, x = matrix()
    with g.scope("pipeline/scaler", source="pipeline/scaler (StandardScaler)", rule="sklearn.preprocessing:scaler"):
        y = g.If(g.const(True), lambda b: b.Relu(x), lambda b: b.Neg(x))[0]
        y = g.Add(y, 1.0)
    model = g.build({"y": y})
    nodes = list(ir.traversal.RecursiveGraphIterator(model.graph))
    assert len(nodes) == 4
    assert all(n.metadata_props["any2onnx.source"] == "pipeline/scaler (StandardScaler)" for n in nodes)
    assert all(str(n.name).startswith("pipeline/scaler/") for n in nodes)
    before = run(model, x=X)
    strip_provenance(model)
    assert not any(n.metadata_props for n in ir.traversal.RecursiveGraphIterator(model.graph))
    np.testing.assert_array_equal(run(model, x=X)[0], before[0])


def test_provenance_of_a_finished_model_is_a_table() -> None:
    from any2onnx.graph.provenance import ORIGINS_KEY, Origins, compact_provenance, expand_provenance, strip_provenance

    g, x = matrix()
    for layer in ("net.0", "net.1"):
        with g.scope(layer, source=f"{layer} ← net.py:41", rule="pytorch.nn:linear"):
            x = g.If(g.const(True), lambda b, x=x: b.Relu(x), lambda b, x=x: b.Neg(x))[0]
            x = g.Neg(g.Add(x, 1.0))
    with g.scope("head", source="from elsewhere"):
        x = g.Relu(x)
    model = g.build({"y": g.Abs(x)})
    nodes = list(ir.traversal.RecursiveGraphIterator(model.graph))
    before = [dict(node.metadata_props) for node in nodes]
    assert [b.get("any2onnx.source") for b in before[-2:]] == ["from elsewhere", None]
    compact_provenance(model)
    # Both layers share a line: their own names say which of them it is.
    table = '[["pytorch.nn:linear",1," ← net.py:41"],["",0,"from elsewhere"]]'
    assert model.metadata_props[ORIGINS_KEY] == table
    assert [dict(node.metadata_props) for node in nodes] == [{"any2onnx": "0"}] * 10 + [{"any2onnx": "1"}, {}]
    proto = ir.to_proto(model)
    origins = Origins.of_proto(proto)
    sources = [b.get("any2onnx.source", "") for b, node in zip(before, nodes, strict=True) if node.graph is model.graph]
    assert [origins.source(node) for node in proto.graph.node] == sources
    expand_provenance(model)
    assert [dict(node.metadata_props) for node in nodes] == before
    assert ORIGINS_KEY not in model.metadata_props
    expand_provenance(model)
    assert [dict(node.metadata_props) for node in nodes] == before
    strip_provenance(compact_provenance(model))
    assert not model.metadata_props
    assert not any(node.metadata_props for node in nodes)


@pytest.mark.parametrize("table", ["", "no JSON", "[1]", '{"a": 1}', "[[1, 2]]", "null", '[["a", 1, "b"]]'])
def test_origins_of_foreign_files(table: str) -> None:
    from any2onnx.graph.provenance import ORIGINS_KEY, Origins

    origins = Origins({ORIGINS_KEY: table})
    for number in ("1", "-1", "x", ""):
        assert origins.of("a/b", {"any2onnx": number}) == ("", "")
    assert origins.of("a/b", {"any2onnx.source": "there"}) == ("there", "")
    assert origins.of("s/b", {"any2onnx": "0"}) == (("sb", "a") if table.startswith('[["a') else ("", ""))


def test_float16_without_kernels_is_left_to_the_runtimes_own_casts() -> None:
    """onnxruntime runs such nodes in float32, in sub-graphs and functions too; elsewhere they run in float16."""
    g, x = matrix(21, DataType.FLOAT16)
    weight = g.const(np.linspace(-1, 1, 16, dtype=np.float16).reshape(4, 4), name="weight")

    def step(h: GraphBuilder, i: ir.Value, going: ir.Value, state: ir.Value) -> tuple[ir.Value, ...]:
        return h.op("Identity", going), h.Tanh(h.MatMul(state, weight))

    looped = g.Loop(step, [x], trip_count=g.const(np.int64(3)), condition=True)[0]
    chosen = g.If(g.const(True), lambda b: b.Mul(b.Exp(x), looped), lambda b: b.Neg(x))[0]
    (called,) = g.call_function("test", "twice", [chosen], lambda b, v: b.Add(v, b.Erf(v)))
    model = g.build({"y": called, "mean": g.ReduceMean(called, 1)})
    kinds = [node.op_type for node in ir.traversal.RecursiveGraphIterator(model.graph)]
    assert "Cast" not in kinds
    y, mean = run(model, x=X.astype(np.float16))
    state = X.astype(np.float16).astype(np.float32)
    for _ in range(3):
        state = np.tanh(state @ weight.const_value.numpy().astype(np.float32))
    product = np.exp(X.astype(np.float16).astype(np.float32)) * state
    expected = product + np.vectorize(math.erf)(product)
    np.testing.assert_allclose(y.astype(np.float32), expected, rtol=5e-3, atol=5e-3)
    np.testing.assert_allclose(mean.astype(np.float32), expected.mean(1, keepdims=True), rtol=5e-3, atol=5e-3)


def test_operators_that_state_their_type_are_cast_by_the_builder() -> None:
    g, x = matrix(21, DataType.FLOAT16)
    eye = g.op("EyeLike", x, dtype=int(DataType.FLOAT))
    assert eye.producer().inputs[0].dtype == DataType.FLOAT
    (got,) = run(g.build({"y": eye}), x=X.astype(np.float16))
    np.testing.assert_array_equal(got, np.eye(*X.shape, dtype=np.float32))


def test_opsets() -> None:
    assert Opsets.of().main == 21
    assert Opsets.of().ml == 5
    assert Opsets.of(13).ml == 2
    assert Opsets.of({"ai.onnx": 18, "ai.onnx.ml": 3, "com.microsoft": 1}).get("com.microsoft") == 1
    assert Opsets.of(18).get("com.microsoft") is None
    assert Opsets.of(13).ir_version == 8
    for wrong in (12, ceiling() + 1, {"": 21, "ai.onnx.ml": 6}):
        with pytest.raises(OpsetNotSupported):
            Opsets.of(wrong)
    with pytest.raises(UsageError):
        Opsets.of("21")  # type: ignore[arg-type]


def test_small_helpers_of_types() -> None:
    assert broadcast_dims(("batch", 1), (4,)) == ("batch", 4)
    assert broadcast_dims(("a", 2), ("b", 1)) == (None, 2)
    assert merge_shape(("batch", None), (None, 4)) == ("batch", 4)
    with pytest.raises(ValueError, match="rank"):
        merge_shape((1,), (1, 2))
    with pytest.raises(ValueError, match="is not"):
        merge_shape((1,), (2,))
    assert to_dtype("float32") == DataType.FLOAT
    assert to_dtype(np.dtype("<U3")) == DataType.STRING
    assert to_dtype(bool) == DataType.BOOL
    with pytest.raises(InvalidType):
        to_dtype("float33")
