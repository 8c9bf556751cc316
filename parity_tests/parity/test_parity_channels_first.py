"""Keras models whose ONNX form has channels first, by the user's wish: judged right; without it a wrong shape."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from onnx import helper, numpy_helper

import any2onnx
from any2onnx.errors import InvalidType, UnknownOption
from any2onnx.parity import Verdict, check_parity


def network(size=(6, 5), filters=4):
    keras.utils.set_random_seed(0)
    x = keras.Input((*size, 3), name="x")
    y = keras.layers.Conv2D(filters, 3, activation="relu", padding="same", name="y")(x)
    z = keras.layers.Dense(2, name="z")(keras.layers.GlobalAveragePooling2D()(y))
    return keras.Model(x, [y, z])


@pytest.mark.parametrize("size", [(6, 5), (None, None)], ids=["fixed", "free"])
@pytest.mark.parametrize("inputs", [None, ["x"]], ids=["inputs last", "inputs first"])
def test_outputs_with_channels_first_pass(size, inputs):
    model = network(size)
    proto = any2onnx.convert_keras(model, inputs_as_nchw=inputs, outputs_as_nchw=["y"])
    report = check_parity(model, proto).raise_if_failed()
    assert any("output 'y' has channels first" in note for note in report.notes)
    assert report["y"].worst.shape[1] == 4
    assert report["y"].results[0].reference == "float64"


def test_sizes_that_do_not_tell_the_layout():
    """A square image with as many channels: only the file says which axis is which."""
    model = network((3, 3), filters=3)
    proto = any2onnx.convert_keras(model, inputs_as_nchw=["x"], outputs_as_nchw=["y"])
    check_parity(model, proto).raise_if_failed()
    plain = any2onnx.convert_keras(model)
    check_parity(model, plain).raise_if_failed()
    # Values in the other layout are wrong, though every shape is right.
    by_value = {entry.key: entry for entry in plain.metadata_props}
    assert "any2onnx.channels_first" not in by_value
    for entry in list(proto.metadata_props):
        if entry.key == "any2onnx.channels_first":
            proto.metadata_props.remove(entry)
    assert check_parity(model, proto, suites="typical").verdict.failed


def test_a_shape_that_nobody_asked_for_is_a_mismatch():
    model = network()
    proto = any2onnx.convert_keras(model, outputs_as_nchw=["y"])
    for entry in list(proto.metadata_props):
        if entry.key == "any2onnx.channels_first":
            proto.metadata_props.remove(entry)
    report = check_parity(model, proto, suites="typical")
    assert report["y"].verdict is Verdict.MISMATCH
    assert report["z"].verdict is not None
    assert report["z"].verdict.passed
    # A file of another converter says nothing; then the caller does.
    check_parity(model, proto, outputs={"y": "channels_first", "z": "channels_last"}).raise_if_failed()


def test_a_wrong_weight_is_still_caught_and_located(tmp_path):
    model = network()
    proto = any2onnx.convert_keras(model, outputs_as_nchw=["y"])
    tensor = next(t for t in proto.graph.initializer if len(t.dims) == 4)
    array = numpy_helper.to_array(tensor).copy()
    array.flat[5] *= 1.01
    tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    report = check_parity(model, proto, suites="typical", localise=True, artefacts=tmp_path)
    assert report["y"].verdict is Verdict.CONVERTER_IMPRECISE
    assert {found.operator for found in report.divergences} <= {"Conv", "Relu", "FusedConv"}
    assert report.divergences


def test_worst_rows_are_shown_in_the_layout_of_the_file(tmp_path):
    model = network()
    proto = any2onnx.convert_keras(model, outputs_as_nchw=["y"])
    report = check_parity(model, proto, suites="typical", save_arrays=tmp_path)
    row = report["y"].detail.worst[0]
    assert len(row.element) == 4
    assert row.element[1] < 4


def test_unknown_layouts_and_damaged_metadata():
    model = network()
    proto = any2onnx.convert_keras(model, outputs_as_nchw=["y"])
    with pytest.raises(UnknownOption, match="did you mean 'channels_first'"):
        check_parity(model, proto, outputs={"y": "channel_first", "z": "channels_last"})
    for text in ("[]", "{", '{"inputs": "x", "outputs": []}'):
        helper.set_model_props(proto, {"any2onnx.channels_first": text})
        with pytest.raises(InvalidType, match="no object with lists"):
            check_parity(model, proto)


def test_outputs_of_a_dict_in_any_order():
    keras.utils.set_random_seed(1)
    x = keras.Input((6, 5, 3), name="x")
    model = keras.Model(x, {"b": keras.layers.Conv2D(4, 3)(x), "a": keras.layers.Conv2D(2, 3)(x)})
    for names in (["a"], ["b"], ["a", "b"]):
        check_parity(model, any2onnx.convert_keras(model, outputs_as_nchw=names)).raise_if_failed()


def test_rows_of_the_user():
    model = network()
    proto = any2onnx.convert_keras(model, inputs_as_nchw=["x"], outputs_as_nchw=["y"])
    data = np.random.default_rng(0).normal(size=(5, 3, 6, 5)).astype(np.float32)
    report = check_parity(model, proto, data, suites="data").raise_if_failed()
    assert report.results[0].rows == 5
