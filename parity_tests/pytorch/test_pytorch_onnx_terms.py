"""ONNX operators that the model itself writes, by torch.onnx.ops, and onnxscript functions of other domains."""

from __future__ import annotations

from typing import Any

import onnx
import pytest
import torch
from pytorch_support import answers, build, convert, operators, run, same
from torch import nn

import any2onnx
from any2onnx.errors import UsageError


def dims(value: onnx.ValueInfoProto) -> list[Any]:
    return [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]


def test_operators_written_in_onnx_terms_by_the_model() -> None:
    class Symbolic(nn.Module):
        def forward(self, x: torch.Tensor) -> Any:
            attributes = {"alpha": 0.25}
            return torch.onnx.ops.symbolic("LeakyRelu", (x,), attributes, dtype=x.dtype, shape=x.shape, version=21)

    proto = convert(Symbolic(), (torch.randn(2, 3),), dynamic_shapes=({0: "batch"},))
    assert operators(proto).count("LeakyRelu") == 1
    assert dims(proto.graph.output[0]) == ["batch", 3]
    x = torch.randn(4, 3)
    same(run(proto, x), [torch.nn.functional.leaky_relu(x, 0.25).numpy()])


def test_rotary_embedding_of_torch_onnx_ops() -> None:
    class Rotary(nn.Module):
        def forward(self, x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, at: torch.Tensor) -> torch.Tensor:
            return torch.onnx.ops.rotary_embedding(x, cos, sin, at)

    args = (torch.randn(1, 2, 3, 4), torch.randn(10, 2), torch.randn(10, 2), torch.arange(3)[None])
    same(run(convert(Rotary(), args, opset=23), *args), answers(Rotary(), *args))


class Named(nn.Module):
    """An operator of a domain of its own for each version that is given."""

    def __init__(self, *versions: int | None) -> None:
        super().__init__()
        self.versions = versions

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for version in self.versions:
            attributes = {"alpha": 1.5, "whole": [1, 2], "text": "t"}
            x = torch.onnx.ops.symbolic(
                "com.example::Own",
                (x, None, x),
                attributes,
                dtype=x.dtype,
                shape=(x.shape[0], 7),
                version=version,
                metadata_props={"origin": "here"},
            )
        return x


@pytest.mark.parametrize(("version", "imported"), [(3, 3), (None, 1)])
def test_a_domain_that_the_model_names_is_imported(version: int | None, imported: int) -> None:
    proto = any2onnx.convert_pytorch(Named(version), (torch.randn(2, 3),), dynamic_shapes=({0: "rows"},))
    assert {o.domain: o.version for o in proto.opset_import}["com.example"] == imported
    (node,) = proto.graph.node
    assert (node.domain, node.op_type, list(node.input)) == ("com.example", "Own", ["x", "", "x"])
    assert {a.name for a in node.attribute} == {"alpha", "whole", "text"}
    assert {p.key: p.value for p in node.metadata_props}["origin"] == "here"
    assert dims(proto.graph.output[0]) == ["rows", 7]


def test_one_domain_in_two_versions_is_refused() -> None:
    with pytest.raises(UsageError, match=r"version 2 of the domain 'com\.example' and version 1"):
        build(Named(1, 2), (torch.randn(2, 3),))


def test_a_version_that_the_user_gives_stays() -> None:
    proto = any2onnx.convert_pytorch(Named(4), (torch.randn(2, 3),), target_opset={"": 21, "com.example": 4})
    assert {o.domain: o.version for o in proto.opset_import}["com.example"] == 4


def test_onnxscript_operators_of_another_domain() -> None:
    from onnxscript.values import Op, Opset

    own = Opset("com.example", 2)

    class Sigmoid(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.cond(x.sum() > 0, torch.sigmoid, lambda y: y * 2, (x,))

    def converted(x: Any) -> Any:
        return Op(own, "Smooth")(x, steepness=1.0)

    table = {torch.ops.aten.sigmoid.default: converted}
    proto = any2onnx.convert_pytorch(Sigmoid(), (torch.randn(2, 3),), custom_translation_table=table)
    assert {o.domain: o.version for o in proto.opset_import}["com.example"] == 2
    branches = [a.g for node in proto.graph.node if node.op_type == "If" for a in node.attribute]
    assert ("com.example", "Smooth") in {(node.domain, node.op_type) for g in branches for node in g.node}
