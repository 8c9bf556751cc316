"""Attributes of many numbers: the same message as protobuf makes, a shorter file, and the source left as it was."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
from onnx import AttributeProto, TensorProto

from any2onnx import convert_sklearn
from any2onnx.converters.finish import check
from any2onnx.data_types import FloatTensorType
from any2onnx.errors import GraphError
from any2onnx.graph import DataType, GraphBuilder, Opsets
from any2onnx.graph.attributes import NumbersAttr
from any2onnx.io.proto_numbers import field_tag, packed_numbers, to_message
from any2onnx.io.proto_stream import model_parts
from any2onnx.io.save import save_model, to_proto

LIMITS = [0, 1, 127, 128, 16_383, 16_384, 2**21 - 1, 2**21, 2**28 - 1, 2**28, 2**31 - 1, 2**35, 2**62]


@pytest.mark.parametrize("limit", LIMITS)
@pytest.mark.parametrize("sign", [1, -1])
def test_varints_are_protobufs(limit: int, sign: int) -> None:
    drawn = np.random.default_rng(0).integers(0, limit + 1, 500)
    for numbers in (drawn, np.array([limit, 0, max(limit - 1, 0)])):
        packed = packed_numbers(sign * numbers)
        # TensorProto's int64_data is declared packed: protobuf itself writes the same bytes.
        assert TensorProto(int64_data=(sign * numbers).tolist()).SerializeToString().endswith(packed)
        read = AttributeProto.FromString(field_tag(8, len(packed)) + packed)
        assert list(read.ints) == (sign * numbers).tolist()


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.int64])
def test_every_width(dtype: Any) -> None:
    info = np.iinfo(dtype)
    numbers = np.array([info.min, 0, 1, info.max], dtype)
    packed = packed_numbers(numbers)
    assert list(AttributeProto.FromString(field_tag(8, len(packed)) + packed).ints) == numbers.tolist()


def test_floats_and_none() -> None:
    floats = np.array([0.0, -0.0, np.nan, np.inf, 1e-45, 1.5], np.float32)
    packed = packed_numbers(floats)
    read = AttributeProto.FromString(field_tag(7, len(packed)) + packed)
    assert np.asarray(read.floats, np.float32).tobytes() == floats.tobytes()
    assert packed_numbers(np.zeros(0, np.int64)) == b""


def forest(trees: int = 8) -> Any:
    from sklearn.ensemble import RandomForestClassifier

    x = np.random.default_rng(0).normal(size=(600, 5)).astype(np.float32)
    y = np.random.default_rng(1).integers(0, 3, 600)
    return RandomForestClassifier(trees, random_state=0).fit(x, y)


def built(opset: Any = 21) -> ir.Model:
    """Trees with large attributes of every kind that the tree operators have, beside a node without."""
    from any2onnx.converters.sklearn.ensemble import forest_ensemble
    from any2onnx.tree_ensemble.emit import emit_scores

    g = GraphBuilder(Opsets.of(opset))
    x = g.input("x", DataType.FLOAT, ["batch", 5])
    return g.build({"y": emit_scores(g, forest_ensemble(forest()), g.Identity(x), result=DataType.FLOAT)})


@pytest.mark.parametrize("opset", [21, {"": 21, "ai.onnx.ml": 3}])
def test_the_message_is_onnx_irs(opset: Any) -> None:
    model = built(opset)
    attributes = [list(node.attributes.values()) for node in model.graph]
    assert any(isinstance(a, NumbersAttr) for found in attributes for a in found)
    message = to_message(model)
    assert message.nodes
    assert [list(node.attributes.values()) for node in model.graph] == attributes
    plain = ir.to_proto(model)
    assert message.proto == plain
    for position, data in message.nodes.items():
        assert onnx.NodeProto.FromString(data) == plain.graph.node[position]
        assert len(data) < plain.graph.node[position].ByteSize()
    stream = io.BytesIO()
    parts = model_parts(message.proto, message.nodes)
    parts.write(stream)
    assert parts.nbytes == len(stream.getvalue()) < plain.ByteSize()
    assert onnx.ModelProto.FromString(stream.getvalue()) == plain


def test_other_attributes_that_are_large() -> None:
    """A tensor with a name, one in another order of axes, strings: they go the ordinary way."""
    numbers = NumbersAttr("ints", ir.AttributeType.INTS, forest_numbers())
    named = ir.AttrTensor("named", ir.tensor(np.arange(400), name="n"))
    turned = ir.AttrTensor("turned", ir.Tensor(np.arange(600).reshape(20, 30).T))
    big_endian = ir.AttrTensor("half", ir.Tensor(np.arange(300, dtype=np.float16)))
    texts = ir.AttrStrings("texts", ["é"] * 300)
    node = ir.Node("org.example", "Any", [], [numbers, named, turned, big_endian, texts], outputs=[ir.Value(name="y")])
    model = ir.Model(ir.Graph([], [], nodes=[node], name="g", opset_imports={"": 21, "org.example": 1}), ir_version=10)
    assert to_message(model).proto == ir.to_proto(model)


def forest_numbers() -> Any:
    from any2onnx.graph.attributes import Numbers

    return Numbers(np.arange(-5, 1000, dtype=np.int16))


@pytest.mark.parametrize("strip", [False, True])
def test_the_file_is_the_message(tmp_path: Any, strip: bool) -> None:
    model = built()
    for external in (False, True):
        path = tmp_path / f"{external}.onnx"
        returned = save_model(model, path, strip=strip, external_data=external)
        assert onnx.load(path) == returned
        rows = np.random.default_rng(3).normal(size=(50, 5)).astype(np.float32)
        (from_file,) = onnxruntime.InferenceSession(path).run(None, {"x": rows})
        (expected,) = onnxruntime.InferenceSession(to_proto(model).SerializeToString()).run(None, {"x": rows})
        assert np.array_equal(from_file, expected)


def test_conversion_streams_the_same_model(tmp_path: Any) -> None:
    types = [("x", FloatTensorType([None, 5]))]
    model = forest()
    inside = convert_sklearn(model, initial_types=types)
    written = convert_sklearn(model, initial_types=types, output_path=tmp_path / "m.onnx")
    assert written == inside == onnx.load(tmp_path / "m.onnx")
    assert (tmp_path / "m.onnx").stat().st_size < inside.ByteSize()


# --- the checker sees less of large attributes, and complains about the same ------------------------------------------


def tree_node(proto: onnx.ModelProto) -> onnx.NodeProto:
    return next(node for node in proto.graph.node if node.op_type == "TreeEnsemble")


@pytest.mark.parametrize(
    "name", ["nodes_featureids", "nodes_truenodeids", "nodes_falsenodeids", "nodes_trueleafs", "nodes_falseleafs"]
)
def test_checker_notices_a_wrong_length(name: str) -> None:
    proto = to_proto(built())
    check(proto)
    attribute = next(a for a in tree_node(proto).attribute if a.name == name)
    assert len(attribute.ints) > 64
    del attribute.ints[-1]
    with pytest.raises(GraphError, match=name):
        check(proto)


@pytest.mark.parametrize("change", ["dims", "raw_data", "type"])
def test_checker_notices_a_wrong_tensor(change: str) -> None:
    proto = to_proto(built())
    tensor = next(a for a in tree_node(proto).attribute if a.name == "nodes_splits").t
    if change == "dims":
        tensor.dims[0] -= 1
    elif change == "raw_data":
        tensor.raw_data = tensor.raw_data[:-1]
    else:
        tensor.data_type = TensorProto.INT32
    with pytest.raises(GraphError):
        check(proto)
