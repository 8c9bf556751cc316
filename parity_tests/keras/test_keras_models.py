"""Models of every style: graphs, nested and shared, subclassed, saved; names, masks, layouts, errors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import onnx
import onnx_ir as ir
import pytest
from keras import layers, ops
from keras_checks import check, compare, converted, example, numpy_of, op_types, randomize, session

from any2onnx.converters.keras.walk import build_keras
from any2onnx.data_types import FloatTensorType
from any2onnx.errors import (
    InvalidType,
    NotAModel,
    NotFitted,
    OpsetNotSupported,
    UnknownOption,
    UnsupportedOperator,
    UsageError,
)
from any2onnx.graph.opsets import Opsets
from any2onnx.operator_mappings.mapping import OperatorMapping
from any2onnx.operator_mappings.registry import default_registry
from any2onnx.options import Options
from any2onnx.passes.pipeline import optimize

Array = np.ndarray[Any, Any]


def small_cnn(channels: int = 4) -> Any:
    x = keras.Input((16, 16, 3), name="image")
    y = layers.Conv2D(channels, 3, padding="same", use_bias=False)(x)
    y = layers.BatchNormalization()(y)
    y = layers.ReLU()(y)
    z = layers.Conv2D(channels, 3, padding="same")(y)
    z = layers.BatchNormalization()(z)
    y = layers.Add()([y, z])
    y = layers.MaxPooling2D()(y)
    y = layers.GlobalAveragePooling2D()(y)
    return randomize(keras.Model(x, layers.Dense(5, activation="softmax", name="scores")(y), name="small_cnn"))


# --- graphs ----------------------------------------------------------------------------------------------------------


def test_names_are_the_models_own() -> None:
    proto = check(small_cnn(), batches=(1, 5))
    assert [v.name for v in proto.graph.input] == ["image"]
    assert [v.name for v in proto.graph.output] == ["scores"]
    assert proto.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"
    assert proto.graph.name == "small_cnn"


def test_no_rows_give_no_rows() -> None:
    # TensorFlow itself gives the wrong shape for a convolution of no images.
    (scores,) = session(converted(small_cnn())).run(None, {"image": np.zeros((0, 16, 16, 3), "float32")})
    assert scores.shape == (0, 5)


@pytest.mark.parametrize("opset", [13, 14, 17, 18, 20, 21, 23, 28])
def test_small_network_at_opsets(opset: int) -> None:
    check(small_cnn(), opset=opset, batches=(2,))


def test_passes_leave_one_transpose_and_no_batch_normalization() -> None:
    model = small_cnn()
    built = optimize(build_keras(model, opsets=Opsets.of(21), registry=default_registry()))
    proto = ir.to_proto(built)
    onnx.checker.check_model(proto, full_check=True)
    assert op_types(proto).count("Transpose") == 1
    assert "BatchNormalization" not in op_types(proto)
    x = example(model.inputs[0], 3)
    compare(session(proto).run(None, {"image": x}), numpy_of(model(x, training=False)))


def test_channels_first_input_and_output_leave_no_transpose() -> None:
    x = keras.Input((8, 8, 3), name="x")
    model = randomize(keras.Model(x, layers.Conv2D(4, 3, activation="relu", name="y")(x)))
    for arguments in ({"inputs_as_nchw": ["x"]}, {"channel_first_inputs": ["x:0"]}):
        built = build_keras(
            model, opsets=Opsets.of(21), registry=default_registry(), outputs_as_nchw=["y"], **arguments
        )
        proto = ir.to_proto(optimize(built))
        assert "Transpose" not in op_types(proto)
        data = example(model.inputs[0], 2)
        (got,) = session(proto).run(None, {"x": data.transpose(0, 3, 1, 2)})
        compare([got.transpose(0, 2, 3, 1)], numpy_of(model(data)))


def test_shared_layers_keep_one_weight() -> None:
    a, b = keras.Input((4,), name="a"), keras.Input((4,), name="b")
    shared = layers.Dense(3, name="shared")
    conv = layers.Conv1D(2, 2, name="conv")
    grow = layers.Reshape((3, 1))
    outputs = [layers.Add()([shared(a), shared(b)]), conv(grow(shared(a))), conv(grow(shared(b)))]
    proto = check(randomize(keras.Model([a, b], outputs)))
    names = [tensor.name for tensor in proto.graph.initializer]
    assert names.count("shared/kernel") == 1
    assert sum("kernel" in name for name in names) == 2


def test_nested_models_and_dicts() -> None:
    inner_x = {"p": keras.Input((4,), name="p"), "q": keras.Input((3,), name="q")}
    inner = keras.Model(inner_x, {"u": layers.Dense(2)(inner_x["p"]), "v": layers.Dense(2)(inner_x["q"])}, name="inner")
    a, b = keras.Input((4,), name="a"), keras.Input((3,), name="b")
    parts = inner({"p": a, "q": b})
    body = keras.Sequential([keras.Input((2,)), layers.Dense(3, activation="tanh"), layers.Dense(2)], name="body")
    model = keras.Model({"a": a, "b": b}, {"second": parts["v"], "first": body(parts["u"])})
    proto = check(randomize(model))
    assert [v.name for v in proto.graph.output] == ["first", "second"]
    assert any(node.name.startswith("body/dense") for node in proto.graph.node)


def test_model_cut_out_of_another_one() -> None:
    model = small_cnn()
    middle = model.layers[3].output
    check(keras.Model(model.input, middle))
    check(keras.Model(middle, model.output))


def test_several_outputs_of_one_layer_have_names_of_their_own() -> None:
    x = keras.Input((3, 2), name="x")
    model = randomize(keras.Model(x, layers.LSTM(2, return_state=True, name="memory")(x)))
    assert [v.name for v in converted(model).graph.output] == ["memory", "memory_1", "memory_2"]


def test_output_that_is_an_input() -> None:
    x = keras.Input((3,), name="x")
    proto = check(keras.Model(x, [x, layers.Dense(2)(x)]))
    assert proto.graph.output[0].name != "x"


def test_operations_in_the_graph() -> None:
    x, y = keras.Input((4,)), keras.Input((4,))
    z = ops.concatenate([ops.exp(x) * 2 - y, ops.relu(y)], axis=-1)
    check(keras.Model([x, y], [ops.mean(z, axis=-1), ops.sum(x @ ops.transpose(y), axis=0)]))


def test_varying_sizes_have_names() -> None:
    x = keras.Input((None, None, 3), name="image")
    model = randomize(keras.Model(x, layers.Conv2D(2, 3, strides=2, padding="same")(x)))
    proto = check(model, sizes=(9, 6))
    assert [d.dim_param for d in proto.graph.input[0].type.tensor_type.shape.dim[:3]] == [
        "batch",
        "image_dim1",
        "image_dim2",
    ]
    for sizes in ((4, 4), (7, 10)):
        check(model, sizes=sizes, batches=(1,))


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision_can_compute_in_float32(policy: str) -> None:
    x = keras.Input((6,), name="x")
    y = layers.Dense(8, activation="relu", dtype=policy)(x)
    y = layers.LayerNormalization(dtype=policy)(y)
    model = randomize(keras.Model(x, layers.Dense(2, dtype="float32")(y)))
    check(model, arguments={"compute_dtype": "float32"}, tolerance=3e-2)


def test_mixed_float16_runs_in_float16() -> None:
    x = keras.Input((6, 6, 2), name="x")
    y = layers.Conv2D(3, 3, dtype="mixed_float16")(x)
    y = layers.BatchNormalization(dtype="mixed_float16")(y)
    model = randomize(keras.Model(x, layers.Flatten(dtype="mixed_float16")(y)))
    proto = check(model, tolerance=5e-3, batches=(2,))
    assert proto.graph.output[0].type.tensor_type.elem_type == onnx.TensorProto.FLOAT16


# --- Python code ----------------------------------------------------------------------------------------------------


class Block(layers.Layer):
    """A layer of layers, with a weight of its own."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.inner = layers.Dense(3)
        self.norm = layers.LayerNormalization()
        self.drop = layers.Dropout(0.5)

    def build(self, shape: Any) -> None:
        self.inner.build(shape)
        self.norm.build((*shape[:-1], 3))
        self.scale = self.add_weight(shape=(3,), name="scale")

    def call(self, x: Any, training: bool = True) -> Any:
        y = self.drop(self.norm(self.inner(x)), training=training)
        return y * self.scale if len(x.shape) == 3 else y


class Recurrent(layers.Layer):
    """Hands its mask on to a layer inside."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.supports_masking = True
        self.memory = layers.LSTM(3)

    def build(self, shape: Any) -> None:
        self.memory.build(shape)

    def call(self, x: Any) -> Any:
        return self.memory(x)

    def compute_output_shape(self, shape: Any) -> Any:
        return (shape[0], 3)


class Subclassed(keras.Model):
    """Python control flow on shapes, a dict of outputs."""

    def __init__(self) -> None:
        super().__init__(name="subclassed")
        self.conv = layers.Conv2D(3, 3, activation="relu")
        self.pool = layers.GlobalAveragePooling2D()
        self.out = layers.Dense(2)

    def call(self, x: Any, training: bool = False) -> Any:
        y = self.conv(x)
        for _ in range(2):
            y = ops.concatenate([y, y], axis=-1) if y.shape[-1] < 6 else y
        pooled = self.pool(y)
        return {"scores": self.out(pooled), "features": pooled}


def test_custom_layer_comes_apart() -> None:
    x = keras.Input((None, 4))
    proto = check(randomize(keras.Model(x, Block()(x))))
    assert "LayerNormalization" in op_types(proto)


def test_mask_reaches_layers_inside_custom_layers() -> None:
    tokens = keras.Input((None,), dtype="int32")
    model = randomize(keras.Model(tokens, Recurrent()(layers.Embedding(6, 4, mask_zero=True)(tokens))))
    data = np.array([[1, 2, 0, 0], [3, 0, 4, 5]], "int32")
    proto = check(model, batches=(2,), inputs=lambda n: [data])
    assert "LSTM" in op_types(proto)


def test_lambda_and_custom_activations() -> None:
    x = keras.Input((4,))
    y = layers.Lambda(lambda t: ops.tanh(t) * 3)(x)
    y = layers.Dense(3, activation=lambda t: ops.maximum(t, 0.1 * t))(y)
    y = layers.Dense(3, activation=layers.LeakyReLU(0.3))(y)
    check(randomize(keras.Model(x, y)))


def test_subclassed_model() -> None:
    model = Subclassed()
    x = np.random.default_rng(0).normal(size=(2, 8, 8, 3)).astype("float32")
    model(x)
    randomize(model)
    proto = converted(model)
    names = [v.name for v in proto.graph.output]
    assert names == ["features", "scores"]
    for batch in (1, 2):
        got = session(proto).run(None, {proto.graph.input[0].name: x[:batch]})
        compare(got, numpy_of(model(x[:batch], training=False)))


def test_subclassed_model_by_signature() -> None:
    model = Subclassed()
    model(np.zeros((1, 8, 8, 3), "float32"))
    spec = keras.InputSpec(shape=(None, 9, 9, 3), dtype="float32")
    proto = converted(model, input_signature=[spec])
    assert [d.dim_value for d in proto.graph.input[0].type.tensor_type.shape.dim] == [0, 9, 9, 3]
    types = [("picture", FloatTensorType([None, 8, 8, 3]))]
    assert converted(model, initial_types=types).graph.input[0].name == "picture"


def test_saved_and_loaded_again(tmp_path: Path) -> None:
    model = small_cnn()
    model.save(tmp_path / "m.keras")
    loaded = keras.saving.load_model(tmp_path / "m.keras")
    first, second = converted(model), converted(loaded)
    assert first.SerializeToString() == second.SerializeToString()


# --- user's own converters, options, types ----------------------------------------------------------------------------


class Twice(layers.Layer):
    def call(self, x: Any) -> Any:
        return x * 2


def test_own_converter_by_class_or_bare_name() -> None:
    x = keras.Input((3,), name="x")
    model = keras.Model(x, Twice()(x))

    def converter(g: Any, call: Any) -> Any:
        return g.Add(call.inputs[0], call.inputs[0])

    for key in (f"{Twice.__module__}.Twice", "Twice"):
        registry = default_registry().extended(
            [OperatorMapping(framework="keras", key=key, converter=converter)], name="test"
        )
        built = build_keras(model, opsets=Opsets.of(21), registry=registry)
        assert [node.op_type for node in built.graph] == ["Add"]


def test_initial_types_rename_and_fix_dims() -> None:
    x = keras.Input((None, 4), name="x")
    model = randomize(keras.Model(x, layers.Dense(2)(x)))
    proto = converted(model, initial_types=[("rows", FloatTensorType(["N", 7, None]))])
    dims = proto.graph.input[0].type.tensor_type.shape.dim
    assert (proto.graph.input[0].name, dims[0].dim_param, dims[1].dim_value, dims[2].dim_value) == ("rows", "N", 7, 4)


# --- errors ----------------------------------------------------------------------------------------------------------


def test_errors_name_the_matter() -> None:
    model = small_cnn()
    with pytest.raises(NotAModel, match="is a class"):
        converted(keras.Model)
    with pytest.raises(NotAModel, match="not a Keras 3 model"):
        converted(object())
    with pytest.raises(NotFitted, match="has not been built"):
        converted(keras.Sequential([layers.Dense(3)]))
    with pytest.raises(UnknownOption, match="no input 'imgae' \\(did you mean 'image'"):
        converted(model, inputs_as_nchw=["imgae"])
    with pytest.raises(UnknownOption, match="no output 'y'"):
        converted(model, outputs_as_nchw=["y"])
    with pytest.raises(UnknownOption, match="2 dimensions"):
        converted(model, outputs_as_nchw=["scores"])
    with pytest.raises(InvalidType, match="given as"):
        converted(model, initial_types=[("image", FloatTensorType([None, 4, 4, 3]))])
    with pytest.raises(InvalidType, match="types of 2 inputs"):
        converted(model, initial_types=[("a", FloatTensorType()), ("b", FloatTensorType())])
    with pytest.raises(UsageError, match="say the same"):
        converted(model, initial_types=[], input_signature=[])
    with pytest.raises(UnknownOption, match="fit no layer"):
        converted(model, options=Options({"nowhere": {"precision": "float32"}}))


def test_all_layers_that_cannot_be_converted_come_in_one_error() -> None:
    registry = default_registry().extended(
        [
            OperatorMapping(framework="keras", key="Twice", refused="it is a test"),
            OperatorMapping(framework="keras", key="keras.layers.Dense", refused="it is another test"),
        ],
        name="test",
        override=True,
    )
    x = keras.Input((3,), name="x")
    model = keras.Model(x, layers.Dense(2, name="head")(Twice(name="two")(x)), name="net")
    with pytest.raises(UnsupportedOperator) as caught:
        build_keras(model, opsets=Opsets.of(21), registry=registry)
    text = str(caught.value)
    assert "Twice" in text
    assert "keras.layers.Dense" in text
    assert "net/" in text


def test_opset_that_would_do_is_named() -> None:
    late = OperatorMapping(
        framework="keras", key="keras.layers.Dense", converter="any2onnx.converters.keras.core:dense", opset=(20, None)
    )
    registry = default_registry().extended([late], name="test", override=True)
    x = keras.Input((3,))
    with pytest.raises(OpsetNotSupported, match="opset 13"):
        build_keras(keras.Model(x, layers.Dense(2)(x)), opsets=Opsets.of(13), registry=registry)


class StatesTheWrongType(keras.layers.Layer):
    """Says that it returns one float per row, and returns booleans of the input's shape."""

    def call(self, x: Any) -> Any:
        return ops.greater(x, 0.0)

    def compute_output_spec(self, x: Any) -> Any:
        return keras.KerasTensor((x.shape[0], 1), "float32")


def test_what_the_code_does_counts_not_what_a_layer_says_of_it() -> None:
    x = keras.Input((3,))
    model = keras.Model(x, StatesTheWrongType()(x))
    data = np.array([[1, -1, 0], [0.5, 2, -3]], np.float32)
    (got,) = session(converted(model)).run(None, {model.inputs[0].name: data})
    np.testing.assert_array_equal(got, data > 0)


def test_table_of_few_positions() -> None:
    """The example sizes of the recording must fit into the table."""

    class Positions(keras.layers.Layer):
        def build(self, shape: Any) -> None:
            self.table = self.add_weight(shape=(8, shape[-1]), name="table")

        def call(self, x: Any) -> Any:
            return x + ops.slice(self.table, (0, 0), (ops.shape(x)[1], x.shape[-1]))

    x = keras.Input((None, 4))
    model = randomize(keras.Model(x, Positions()(x)))
    run = session(converted(model))
    for length in (1, 5, 8):
        data = np.random.default_rng(length).normal(size=(2, length, 4)).astype(np.float32)
        (got,) = run.run(None, {model.inputs[0].name: data})
        compare([got], numpy_of(model(data)))
