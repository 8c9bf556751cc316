from __future__ import annotations

import onnx
import onnx_ir
import pytest

from any2onnx.errors import InvalidType, NotAModel, UsageError
from any2onnx.io import set_metadata


@pytest.mark.parametrize("as_ir", [False, True])
def test_every_field_is_set_and_the_rest_left_alone(make_model, as_ir):
    model = make_model(old="1", replaced="1")
    target = onnx_ir.from_proto(model) if as_ir else model
    set_metadata(target, producer_name="p")
    set_metadata(
        target,
        producer_version="v",
        model_version=7,
        domain="org.example",
        doc_string="text",
        graph_name="main",
        metadata_props={"z": "9", "replaced": "2", "a": "0"},
    )
    proto = onnx_ir.to_proto(target) if as_ir else target
    assert (proto.producer_name, proto.producer_version, proto.model_version) == ("p", "v", 7)
    assert (proto.domain, proto.doc_string, proto.graph.name) == ("org.example", "text", "main")
    entries = [(entry.key, entry.value) for entry in proto.metadata_props]
    assert entries == [("a", "0"), ("old", "1"), ("replaced", "2"), ("z", "9")]
    assert len(proto.graph.node) == 1


def test_order_of_calls_does_not_show(make_model):
    first, second = make_model(), make_model()
    set_metadata(first, metadata_props={"a": "1"})
    set_metadata(first, metadata_props={"b": "2"})
    set_metadata(second, metadata_props={"b": "2", "a": "1"})
    assert first.SerializeToString() == second.SerializeToString()


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"graph_name": ""}, UsageError),
        ({"model_version": -1}, UsageError),
        ({"model_version": 2**63}, UsageError),
        ({"model_version": "1"}, InvalidType),
        ({"model_version": True}, InvalidType),
        ({"doc_string": 3}, InvalidType),
        ({"metadata_props": {"k": 1}}, InvalidType),
        ({"metadata_props": {"": "v"}}, UsageError),
    ],
)
def test_wrong_values_change_nothing(make_model, arguments, error):
    model = make_model()
    before = model.SerializeToString()
    with pytest.raises(error):
        set_metadata(model, producer_name="changed", **arguments)
    assert model.SerializeToString() == before


def test_wrong_object():
    with pytest.raises(NotAModel, match="got GraphProto"):
        set_metadata(onnx.GraphProto(), domain="x")
