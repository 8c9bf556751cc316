"""The streamed bytes of a model are those that protobuf writes."""

from __future__ import annotations

import io

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from any2onnx.io.proto_stream import model_parts
from any2onnx.io.save import save_model


def model(large: bool) -> onnx.ModelProto:
    """Every kind of field: metadata, functions, value infos, tensors with and without raw_data, strings."""
    random = np.random.default_rng(0)
    weights = random.normal(size=(300, 200 if large else 3)).astype(np.float32)
    tensors = [
        numpy_helper.from_array(weights, "w"),
        helper.make_tensor("plain", TensorProto.FLOAT, [3], [1.0, 2.0, 3.0]),
        helper.make_tensor("text", TensorProto.STRING, [2], [b"a", b"\xc3\xa9"]),
        numpy_helper.from_array(weights.astype(np.float16).T.copy(), "half"),
        numpy_helper.from_array(np.array(7, np.int64), "seven"),
        helper.make_tensor("many", TensorProto.FLOAT, [30_000], random.normal(size=30_000)),
    ]
    tensors[0].doc_string = "the weights"
    tensors[0].metadata_props.add(key="a", value="b")
    node = helper.make_node("MatMul", ["x", "w"], ["y"], name="product", doc_string="here")
    node.metadata_props.add(key="any2onnx.source", value="somewhere")
    twice = helper.make_function(
        "local", "Twice", ["a"], ["b"], [helper.make_node("Add", ["a", "a"], ["b"])], [helper.make_opsetid("", 21)]
    )
    graph = helper.make_graph(
        [node, helper.make_node("Twice", ["y"], ["z"], domain="local")],
        "main",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 300])],
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, ["n", None])],
        initializer=tensors,
        value_info=[helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", None])],
        doc_string="a graph",
    )
    made = helper.make_model(
        graph,
        functions=[twice],
        opset_imports=[helper.make_opsetid("", 21), helper.make_opsetid("local", 1)],
        ir_version=10,
        producer_name="test",
        doc_string="a model",
        model_version=3,
        domain="org.example",
    )
    made.metadata_props.add(key="k", value="v" * 300)
    return made


@pytest.mark.parametrize("large", [False, True])
def test_same_bytes(large: bool) -> None:
    proto = model(large)
    parts = model_parts(proto)
    stream = io.BytesIO()
    parts.write(stream)
    assert stream.getvalue() == proto.SerializeToString(deterministic=True)
    assert parts.nbytes == len(stream.getvalue())


def test_empty_model() -> None:
    stream = io.BytesIO()
    model_parts(onnx.ModelProto()).write(stream)
    assert stream.getvalue() == b""


def test_saved_file_is_the_returned_message(tmp_path) -> None:  # type: ignore[no-untyped-def]
    built = ir.from_proto(model(True))
    returned = save_model(built, tmp_path / "m.onnx")
    data = (tmp_path / "m.onnx").read_bytes()
    assert data == returned.SerializeToString(deterministic=True)
    assert onnx.load_from_string(data) == returned


def test_transposed_weights_are_written_in_their_order(tmp_path) -> None:  # type: ignore[no-untyped-def]
    kernel = np.random.default_rng(1).normal(size=(3, 3, 128, 256)).astype(np.float32).transpose(3, 2, 0, 1)
    built = ir.from_proto(model(False))
    built.graph.initializers["w"].const_value = ir.Tensor(kernel, name="w")
    returned = save_model(built, tmp_path / "m.onnx")
    written = {t.name: numpy_helper.to_array(t) for t in onnx.load(tmp_path / "m.onnx").graph.initializer}
    assert np.array_equal(written["w"], kernel)
    assert returned.graph.initializer[0].raw_data == np.ascontiguousarray(kernel).tobytes()
