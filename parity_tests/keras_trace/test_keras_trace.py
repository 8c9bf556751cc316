"""The recorder: sizes, control flow, errors, weights, the state that it leaves behind."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest

from any2onnx.converters.keras.trace import trace
from any2onnx.converters.translator import Translator
from any2onnx.errors import ExportFailed, UnsupportedOperator, UnsupportedParameter
from any2onnx.graph.builder import GraphBuilder
from any2onnx.graph.opsets import Opsets
from any2onnx.graph.types import Value, dims_of
from any2onnx.operator_mappings.keras_backend import ROWS
from any2onnx.operator_mappings.registry import Registry

keras = pytest.importorskip("keras")
ops = keras.ops
X = np.random.default_rng(0).standard_normal((4, 6)).astype(np.float32)


def build(function, *shapes, dtype="float32", opset=21, **options):
    """Return the model of a traced function, and the builder."""
    g = GraphBuilder(Opsets.of(opset))
    translator = Translator(Registry.of(ROWS), "keras", g)
    kind = ir.DataType.from_numpy(np.dtype(dtype))
    values = [g.input(f"x{k}", kind, shape) for k, shape in enumerate(shapes)]
    results = trace(function, values, g=g, convert=translator.convert, **options)
    leaves = results if isinstance(results, list | tuple) else [results]
    proto = ir.to_proto(g.build({f"y{k}": v for k, v in enumerate(leaves)}))
    onnx.checker.check_model(proto, full_check=True)
    return proto, leaves


def check(function, shape, *arrays, dtype="float32", tolerance=1e-5):
    """Compare Keras and onnxruntime on arrays of several sizes; return the model."""
    proto, _ = build(function, shape, dtype=dtype)
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    for x in arrays:
        wanted = function(keras.ops.convert_to_tensor(x))
        wanted = wanted if isinstance(wanted, list | tuple) else [wanted]
        for a, b in zip(session.run(None, {"x0": x}), wanted, strict=True):
            b = keras.ops.convert_to_numpy(b)
            assert a.shape == b.shape
            assert a.dtype == b.dtype
            np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)
    return proto


def kinds(proto):
    return [node.op_type for node in proto.graph.node]


def sizes(*rows):
    return [np.random.default_rng(r).standard_normal((r, 6)).astype(np.float32) for r in rows]


# --- sizes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "function",
    [
        lambda x: ops.reshape(x, (x.shape[0] * 2, -1)),
        lambda x: ops.reshape(x, (ops.shape(x)[0], 2, 3)),
        lambda x: x / x.shape[0],
        lambda x: x * (1 / x.shape[0]),
        lambda x: x[: x.shape[0] // 2 + 1],
        lambda x: x[-1 - x.shape[0] % 2 :],
        lambda x: ops.zeros((x.shape[0], 3)) + ops.arange(x.shape[0], dtype="float32")[:, None],
        lambda x: ops.concatenate([x, ops.ones((2 * x.shape[0] - 1, x.shape[1]))], axis=0),
        lambda x: ops.broadcast_to(x[:, None], (x.shape[0], 3, 6)),
        lambda x: ops.sum(x) / ops.cast(x.shape[0], "float32"),
        lambda x: ops.repeat(x, x.shape[0], axis=1),
        lambda x: x[x.shape[0] - 1],
    ],
)
def test_sizes_stay_symbolic(function) -> None:
    check(function, ("batch", 6), *sizes(1, 4, 9))


def test_python_control_flow_on_static_sizes() -> None:
    def function(x):
        total = x[:, 0]
        for k in range(1, x.shape[1]):
            total = total + x[:, k] if k % 2 else total
        return total if x.shape[1] > 3 else x

    proto = check(function, ("batch", 6), *sizes(1, 5))
    assert kinds(proto).count("Add") == 3


def test_static_and_dynamic_dims_of_results() -> None:
    _, (y,) = build(lambda x: ops.transpose(ops.reshape(x, (-1, 2, 3)), (1, 0, 2)), ("batch", 6))
    assert dims_of(y.shape) == (2, "batch", 3)


def test_python_loop_over_a_dynamic_dim_is_refused() -> None:
    def function(x):
        return sum(x[k] for k in range(x.shape[0]))

    with pytest.raises(ExportFailed, match="depends on the size of a dynamic dimension") as caught:
        build(function, ("batch", 6))
    assert "test_keras_trace.py" in (caught.value.where or "")


def test_branch_on_a_dynamic_dim_is_refused() -> None:
    with pytest.raises(ExportFailed, match="depends on the size of a dynamic dimension"):
        build(lambda x: x + 1 if x.shape[1] > 5 else x * 2, ("batch", "time"))


@pytest.mark.parametrize(
    "function", [lambda x: ops.reshape(x, (int(x.shape[0]) * 2, 3)), lambda x: x * (1.0 / x.shape[0])]
)
def test_size_without_its_origin_is_refused(function) -> None:
    # float's own operator comes first in 1.0 / size: Python gives no say in it.
    with pytest.raises(ExportFailed, match="without its origin"):
        build(function, ("batch", 6))


def test_sizes_that_small_examples_cannot_serve() -> None:
    kernel = np.random.default_rng(1).standard_normal((7, 7, 1, 2)).astype(np.float32)

    def function(x):
        for _ in range(2):
            x = ops.conv(ops.mean(x, axis=-1, keepdims=True), kernel, padding="valid")
        return x

    image = np.random.default_rng(2).standard_normal((2, 20, 31, 1)).astype(np.float32)
    check(function, ("batch", "height", "width", 1), image, image[:1, :14, :15], tolerance=1e-4)


def test_skip_connection_of_a_network_with_free_image_size() -> None:
    def function(x):
        down = ops.max_pool(ops.max_pool(x, 2), 2)
        up = ops.repeat(ops.repeat(down, 4, axis=1), 4, axis=2)
        return ops.concatenate([x, up], axis=-1)

    image = np.random.default_rng(2).standard_normal((2, 12, 16, 1)).astype(np.float32)
    check(function, ("batch", "height", "width", 1), image, image[:1, :4, :8])


# --- control flow ----------------------------------------------------------------------------------------------------


def test_control_flow_becomes_subgraphs() -> None:
    def function(x):
        x = ops.cond(ops.sum(x) > 0, lambda: x + 1, lambda: x - 1)
        _, x = ops.while_loop(lambda i, y: i < 3, lambda i, y: (i + 1, y * 1.5), (0, x))
        x = ops.fori_loop(1, 4, lambda i, y: y + ops.cast(i, "float32"), x)
        carry, rows = ops.scan(lambda c, row: (c + row, c * row), ops.zeros((6,)), x)
        return [x, carry, rows, ops.map(ops.sum, x), ops.associative_scan(ops.add, x)]

    proto = check(function, ("batch", 6), *sizes(1, 4), tolerance=1e-4)
    assert {"If", "Loop"} <= set(kinds(proto))


def test_body_reads_outer_tensors_and_sizes() -> None:
    def function(x):
        mean = ops.mean(x, axis=0)
        return ops.map(lambda row: (row - mean) * x.shape[0], x)

    check(function, ("batch", 6), *sizes(1, 4))


def test_nested_control_flow() -> None:
    def function(x):
        def row(r):
            return ops.cond(ops.sum(r) > 0, lambda: ops.fori_loop(0, 2, lambda i, y: y * 2, r), lambda: r - x[0])

        return ops.map(row, x)

    check(function, ("batch", 6), *sizes(2, 5))


def test_branches_of_different_types_are_refused() -> None:
    with pytest.raises(ExportFailed, match="different types"):
        build(lambda x: ops.cond(ops.sum(x) > 0, lambda: x, lambda: ops.cast(x, "int32")), ("batch", 6))


def test_state_that_changes_its_shape_is_refused() -> None:
    with pytest.raises(ExportFailed, match="state 0"):
        build(lambda x: ops.fori_loop(0, 2, lambda i, y: ops.concatenate([y, y]), x), (2, 6))


# --- what Python may not do ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("function", "summary"),
    [
        (lambda x: x if ops.sum(x) > 0 else -x, "whether a tensor is true"),
        (lambda x: x * float(ops.sum(x)), "number in a tensor"),
        (lambda x: x * int(ops.argmax(x)), "number in a tensor"),
        (lambda x: x + np.sin(np.asarray(x)), "numpy function"),
        (lambda x: x + ops.convert_to_numpy(x), "numpy function"),
        (lambda x: x.__setitem__(0, 1.0), "in place"),
        (lambda x: 1.0 in x, "`in` was used"),
    ],
)
def test_numbers_of_tensors_are_refused_with_the_line(function, summary) -> None:
    with pytest.raises(ExportFailed, match=summary) as caught:
        build(function, (4, 6))
    assert "test_keras_trace.py" in str(caught.value)
    assert caught.value.remedy


def test_error_of_the_function_is_told() -> None:
    def function(x):
        raise KeyError("missing thing")

    with pytest.raises(ExportFailed, match=r"KeyError.*missing thing") as caught:
        build(function, (4, 6))
    assert isinstance(caught.value.__cause__, KeyError)


def test_unknown_backend_function_names_key_and_line() -> None:
    with pytest.raises(UnsupportedOperator, match=r"keras\.backend\.numpy\.nextafter") as caught:
        build(lambda x: ops.nextafter(x, 1.0), ("batch", 6))
    assert "test_keras_trace.py" in (caught.value.where or "")


def test_seed_is_refused_and_generator_accepted() -> None:
    with pytest.raises(UnsupportedParameter, match="seed=7"):
        build(lambda x: x + keras.random.normal((4, 6), seed=7), (4, 6))
    seed = keras.random.SeedGenerator(1)
    before = keras.ops.convert_to_numpy(seed.state.value)
    proto, _ = build(lambda x: x + keras.random.normal((x.shape[0], 6), seed=seed), ("batch", 6))
    assert "RandomNormalLike" in kinds(proto)
    np.testing.assert_array_equal(before, keras.ops.convert_to_numpy(seed.state.value))


def test_random_numbers_are_not_frozen() -> None:
    proto, _ = build(lambda x: x * 0 + keras.random.uniform((4, 6), 2.0, 3.0), (4, 6))
    session = onnxruntime.InferenceSession(proto.SerializeToString())
    first, second = (session.run(None, {"x0": X})[0] for _ in range(2))
    assert not np.array_equal(first, second)
    assert first.min() >= 2.0
    assert first.max() <= 3.0


# --- layers and weights ----------------------------------------------------------------------------------------------


class Gated(keras.layers.Layer):
    def build(self, shape):
        self.kernel = self.add_weight(name="kernel", shape=(shape[-1], 5))
        self.inner = keras.layers.Dense(5, name="inner")
        self.inner.build(shape)

    def call(self, x, scale=1.0):
        return ops.sigmoid(x @ self.kernel) * self.inner(x) * scale


def test_weights_are_constants_under_their_names() -> None:
    layer = Gated(name="gate")
    layer.build((None, 6))
    proto = check(layer, ("batch", 6), *sizes(1, 4))
    names = [i.name for i in proto.graph.initializer]
    assert any(name.endswith("kernel") for name in names)
    assert kinds(proto) == ["MatMul", "Sigmoid", "MatMul", "Add", "Mul", "Mul"]


class Counter(keras.layers.Layer):
    def build(self, shape):
        self.total = self.add_weight(name="total", shape=(6,), initializer="zeros")
        self.calls = self.add_weight(name="calls", shape=(), initializer="zeros")

    def call(self, x, reads=False):
        self.calls.assign_add(1.0)
        self.total.assign(self.total + ops.sum(x, axis=0))
        return x + self.total if reads else x * 2


def test_memory_from_call_to_call_is_refused_where_it_matters() -> None:
    layer = Counter()
    layer.build((None, 6))
    proto, _ = build(layer, ("batch", 6))
    assert kinds(proto) == ["Mul"]
    assert float(keras.ops.convert_to_numpy(layer.calls)) == 0.0
    with pytest.raises(ExportFailed, match=r"total is read and changed"):
        build(lambda x: layer(x, reads=True), ("batch", 6))


def test_keyword_arguments() -> None:
    layer = Gated()
    layer.build((None, 6))
    g = GraphBuilder(Opsets.of(21))
    translator = Translator(Registry.of(ROWS), "keras", g)
    x, s = g.input("x", ir.DataType.FLOAT, ("batch", 6)), g.input("s", ir.DataType.FLOAT, (5,))
    y = trace(layer, [x], {"scale": s}, g=g, convert=translator.convert)
    assert dims_of(y.shape) == ("batch", 5)


def test_intercepted_layer_is_one_call() -> None:
    layer = Gated()
    layer.build((None, 6))
    calls = []
    g = GraphBuilder(Opsets.of(21))
    translator = Translator(Registry.of(ROWS), "keras", g)

    def convert(call, builder=None):
        if call.key != "keras.layers.Dense":
            return translator.convert(call, builder)
        calls.append(call)
        return g.MatMul(call.params["inputs"], g.const(np.ones((6, 5), np.float32)))

    x = g.input("x", ir.DataType.FLOAT, ("batch", 6))
    trace(
        layer,
        [x],
        g=g,
        convert=convert,
        scope="outer",
        intercept=lambda inner: "keras.layers.Dense" if isinstance(inner, keras.layers.Dense) else None,
    )
    (call,) = calls
    assert call.source is layer.inner
    assert isinstance(call.params["inputs"], Value)
    assert call.scope.endswith("/inner")


def test_require_gets_every_key_before_the_first_is_converted() -> None:
    seen: list[str] = []
    build(lambda x: ops.relu(x) + ops.exp(x), (4, 6), require=lambda needed: seen.extend(key for key, _ in needed))
    assert seen == ["keras.backend.nn.relu", "keras.backend.numpy.exp", "keras.backend.numpy.add"]


def test_unused_calls_and_known_values_make_no_nodes() -> None:
    def function(x):
        ops.det(ops.ones((3, 3)))
        ops.nextafter(x, 2.0)
        table = ops.sin(ops.arange(x.shape[1], dtype="float32"))
        return x + table

    proto, _ = build(function, ("batch", 6))
    assert kinds(proto) == ["Add"]


@pytest.mark.parametrize(
    "layer",
    [
        keras.layers.Dense(3, activation="mish"),
        keras.layers.LayerNormalization(),
        keras.layers.BatchNormalization(),
        keras.layers.PReLU(),
        keras.layers.UnitNormalization(),
        keras.layers.Softmax(axis=(0, 1)),
        keras.layers.Dropout(0.5),
        keras.layers.GaussianNoise(0.5),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_layers_come_apart(layer) -> None:
    layer.build((None, 6))
    check(layer, ("batch", 6), *sizes(1, 4))


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (keras.layers.LSTM(3, return_sequences=True), (5, 4)),
        (keras.layers.GRU(3, go_backwards=True), (5, 4)),
        (keras.layers.Conv1D(3, 2, padding="causal"), (5, 4)),
        (keras.layers.SeparableConv2D(3, 2), (5, 6, 4)),
        (keras.layers.Conv2DTranspose(3, 3, strides=2, padding="same"), (5, 6, 4)),
        (keras.layers.GroupNormalization(2), (5, 6, 4)),
        (keras.layers.GlobalAveragePooling2D(), (5, 6, 4)),
        (keras.layers.EinsumDense("abc,cd->abd", output_shape=(None, 7)), (5, 4)),
        (keras.layers.ConvLSTM1D(2, 2), (3, 5, 4)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_layers_of_more_dims_come_apart(layer, shape) -> None:
    layer.build((None, *shape))
    arrays = [np.random.default_rng(n).standard_normal((n, *shape)).astype(np.float32) for n in (1, 3)]
    check(layer, ("batch", *shape), *arrays)


def test_mask_of_a_recurrent_layer() -> None:
    layer = keras.layers.LSTM(3, return_sequences=True)
    layer.build((None, 5, 4))

    def function(x):
        return layer(x, mask=ops.any(ops.not_equal(x, 0.0), axis=-1))

    x = np.random.default_rng(3).standard_normal((3, 5, 4)).astype(np.float32)
    x[0, :2], x[1, 3:], x[2, 2] = 0.0, 0.0, 0.0
    check(function, ("batch", 5, 4), x)


# --- the state that is left ------------------------------------------------------------------------------------------


def test_keras_is_as_before_even_after_an_error() -> None:
    import keras.src.backend as backend

    before = (backend.numpy, backend.numpy.add, backend.convert_to_tensor, keras.ops.convert_to_tensor, backend.nn.relu)
    with pytest.raises(ExportFailed):
        build(lambda x: x if ops.sum(x) > 0 else -x, ("batch", 6))
    build(lambda x: x + 1, ("batch", 6))
    after = (backend.numpy, backend.numpy.add, backend.convert_to_tensor, keras.ops.convert_to_tensor, backend.nn.relu)
    assert all(a is b for a, b in zip(before, after, strict=True))


def test_other_threads_compute_as_ever() -> None:
    stop = threading.Event()
    wrong: list[str] = []

    def work() -> None:
        x = ops.convert_to_tensor(X)
        while not stop.is_set():
            result = ops.relu(x) + 1
            if type(result).__name__ == "RecordingTensor":
                wrong.append("recorded")

    thread = threading.Thread(target=work)
    thread.start()
    try:
        for _ in range(5):
            build(lambda x: ops.relu(x) + 1, ("batch", 6))
    finally:
        stop.set()
        thread.join()
    assert not wrong


def test_same_bytes_in_other_processes() -> None:
    code = (
        "import hashlib, sys; sys.path.insert(0, 'parity_tests/keras_trace')\n"
        "import test_keras_trace as t\n"
        "f = lambda x: t.ops.softmax(t.ops.reshape(x, (x.shape[0], 2, -1)) * 2 + t.ops.cos(x[:, :1, None]))\n"
        "print(hashlib.sha256(t.build(f, ('batch', 6))[0].SerializeToString()).hexdigest())"
    )
    outputs = set()
    for seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "PYTHONHASHSEED": seed},
        )
        outputs.add(done.stdout.strip())
    assert len(outputs) == 1
