"""Arguments of keras2onnx, tf2onnx and `model.export`: each is honoured, or ignored, or refused by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import onnx
import pytest
from keras import layers
from keras_checks import compare, numpy_of, randomize, session
from onnx import helper

from any2onnx import convert_keras
from any2onnx.data_types import FloatTensorType
from any2onnx.errors import UnknownOption, UnsupportedParameter, UsageError


def images(channels: int = 4) -> Any:
    x = keras.Input((None, None, 3), name="image")
    return randomize(keras.Model(x, layers.Conv2D(channels, 3, name="conv")(x), name="net"))


class Doubled(layers.Layer):
    def call(self, x: Any) -> Any:
        return x * 2


def shape(proto: onnx.ModelProto, which: int = 0) -> list[Any]:
    return list(session(proto).get_inputs()[which].shape)


def normal(*dims: int) -> Any:
    return np.random.default_rng(0).normal(size=dims).astype("float32")


def test_keras2onnx_by_position() -> None:
    model = images()
    types = [("image", FloatTensorType([None, 8, 8, 3]))]
    proto = convert_keras(model, "named", "documented", 17, types, ["image"], True, None)
    assert (proto.graph.name, proto.doc_string, proto.opset_import[0].version) == ("named", "documented", 17)
    assert shape(proto) == ["batch", 3, 8, 8]
    x = normal(2, 8, 8, 3)
    compare(session(proto).run(None, {"image": x.transpose(0, 3, 1, 2)}), numpy_of(model(x)))


@pytest.mark.parametrize(
    ("types", "names"),
    [
        (["a", FloatTensorType([None, 3]), "b", FloatTensorType([None, 2])], ["a", "b"]),
        ([FloatTensorType([None, 3]), FloatTensorType([None, 2])], ["input_0", "input_1"]),
        ([("p", FloatTensorType([None, 3])), ("q", FloatTensorType([None, 2]))], ["p", "q"]),
    ],
)
def test_forms_of_initial_types(types: Any, names: list[str]) -> None:
    x, y = keras.Input((3,)), keras.Input((2,))
    proto = convert_keras(keras.Model([x, y], layers.Concatenate()([x, y])), initial_types=types)
    assert [value.name for value in proto.graph.input] == names


def test_tf2onnx_by_name(tmp_path: Path) -> None:
    model = images(64)
    path = tmp_path / "m.onnx"
    proto = convert_keras(
        model,
        input_signature=[keras.InputSpec(shape=(None, 8, 8, 3), dtype="float32", name="picture")],
        opset=18,
        custom_ops=None,
        custom_op_handlers=None,
        custom_rewriter=None,
        inputs_as_nchw=["picture"],
        outputs_as_nchw=["conv"],
        extra_opset=[helper.make_opsetid("com.microsoft", 1)],
        shape_override=None,
        target=None,
        large_model=True,
        output_path=str(path),
        optimizers=None,
    )
    written = onnx.load(str(path))
    assert shape(written) == ["batch", 3, 8, 8]
    assert {entry.domain: entry.version for entry in proto.opset_import}[""] == 18
    assert "Transpose" not in [node.op_type for node in proto.graph.node]
    assert [f.suffix for f in sorted(tmp_path.iterdir())] != [".onnx"]  # the weights are in a file of their own
    x = normal(2, 8, 8, 3)
    (got,) = session(written).run(None, {"picture": x.transpose(0, 3, 1, 2)})
    compare([got.transpose(0, 2, 3, 1)], numpy_of(model(x)))


def test_keras_export_by_name(tmp_path: Path) -> None:
    model = images()
    path = tmp_path / "m.onnx"
    proto = convert_keras(model, filepath=path, format="onnx", verbose=True, input_signature=None, opset_version=15)
    assert proto.opset_import[0].version == 15
    assert path.exists()
    with pytest.raises(UsageError, match="format is 'tf_saved_model'"):
        convert_keras(model, format="tf_saved_model")


def test_shape_override() -> None:
    assert shape(convert_keras(images(), shape_override={"image:0": [1, 16, -1, 3]})) == [1, 16, "image_dim2", 3]
    with pytest.raises(UnknownOption, match="'imag', and the model has no such input \\(did you mean 'image'"):
        convert_keras(images(), shape_override={"imag": [1, 16, 16, 3]})
    with pytest.raises(UsageError, match="input_signature and shape_override say the same"):
        convert_keras(
            images(), shape_override={"image": [1, 8, 8, 3]}, input_signature=[keras.InputSpec(shape=(1, 8, 8, 3))]
        )
    with pytest.raises(UsageError, match="input_signature and initial_types say the same"):
        convert_keras(
            images(),
            initial_types=[("image", FloatTensorType())],
            input_signature=[keras.InputSpec(shape=(1, 8, 8, 3))],
        )


@pytest.mark.parametrize("name", ["custom_op_conversions", "custom_ops"])
@pytest.mark.parametrize("by", ["class", "name"])
def test_converters_of_layers(name: str, by: str) -> None:
    x = keras.Input((3,))
    model = keras.Model(x, Doubled()(x))
    given = {Doubled if by == "class" else "Doubled": lambda g, call: g.op("Add", call.inputs[0], call.inputs[0])}
    proto = convert_keras(model, **{name: given})
    assert [node.op_type for node in proto.graph.node] == ["Add"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"custom_op_handlers": {"Erf": (print, [])}},
            "custom_op_handlers asks for handlers of TensorFlow's operators",
        ),
        ({"custom_rewriter": [print]}, "custom_rewriter asks for rewriting of TensorFlow's graph"),
        ({"target": ["rs6"]}, "target=\\['rs6'\\] asks for tf2onnx's workarounds"),
        ({"custom_ops": {"Erf": "com.acme"}}, "custom_ops names the domain 'com.acme' for 'Erf'"),
        ({"custom_op_conversions": {"Doubled": lambda scope, operator, container: None}}, "the form of keras2onnx"),
    ],
)
def test_what_is_not_done_is_refused_by_name(arguments: Any, message: str) -> None:
    with pytest.raises(UnsupportedParameter, match=message):
        convert_keras(images(), **arguments)


def test_arguments_that_do_not_exist() -> None:
    with pytest.raises(UnknownOption, match="there is no argument 'inputs_as_nhwc'"):
        convert_keras(images(), inputs_as_nhwc=["image"])
    with pytest.raises(UsageError, match="no type behind it"):
        convert_keras(images(), initial_types=["image"])
    with pytest.raises(UsageError, match="the converter of 'Doubled' is 3"):
        convert_keras(images(), custom_ops={"Doubled": 3})


def test_nested_signature_names_inputs_by_key() -> None:
    class OfDict(keras.Model):
        def call(self, inputs: Any) -> Any:
            return inputs["b"] - inputs["a"]

    model = OfDict()
    model({"a": normal(2, 3), "b": normal(2, 3)})
    spec = keras.InputSpec(shape=(None, 3), dtype="float32")
    proto = convert_keras(model, input_signature=[{"b": spec, "a": spec}])
    assert [value.name for value in proto.graph.input] == ["a", "b"]
    data = {"a": normal(4, 3), "b": 3 * normal(4, 3)}
    compare(session(proto).run(None, data), [data["b"] - data["a"]])
