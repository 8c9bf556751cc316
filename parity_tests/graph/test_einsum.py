"""Einsum of tensors that may be empty: numpy's answer, never the end of the process."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest

from any2onnx.graph import DataType, GraphBuilder, Opsets

# In the forms that permute an operand, onnxruntime's own kernel divides by zero where a dim is 0.
EQUATIONS = [
    "ij,jk->ik",
    "ij,kj->ik",
    "ij,kj->ki",
    "bij,bkj->bik",
    "bji,bjk->kbi",
    "abij,abkj->abik",
    "btnh,bsnh->bnts",
    "bnxyd,bnzwd->bnxyzw",
    "bnxyzw,bnzwd->bxynd",
    "abc,bd->adc",
    "ab,cd->adcb",
    "abc,abd->cabd",
    "abc,ad->b",
    "bhij,jd->bhid",
    "i,j",
    "ij,jk",
    "...i,ij->...j",
    "...ij,...kj->...ik",
    "bi...,bj...->...ij",
    "i...,kij,j...->k...",
    "ab,bc,cd->da",
    "ab,cb,cd,ed->ae",
    "iij,jk->ki",
    "ij,jj->i",
    "ij,ij->",
]
RANK_OF_ELLIPSIS = 2


def _terms(equation: str) -> list[str]:
    free = [c for c in "uvwxyz" if c not in equation][:RANK_OF_ELLIPSIS]
    return [t.replace("...", "".join(free)) for t in equation.partition("->")[0].split(",")]


def _session(equation: str, terms: list[str], opset: int = 21) -> ort.InferenceSession:
    g = GraphBuilder(Opsets.of(opset))
    values = [g.input(f"x{k}", DataType.FLOAT, list(term)) for k, term in enumerate(terms)]
    proto = ir.to_proto(g.build({"y": g.Einsum(*values, equation=equation)}))
    onnx.checker.check_model(proto, full_check=True)
    return ort.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("equation", EQUATIONS)
def test_every_dim_empty_in_turn(equation: str) -> None:
    terms = _terms(equation)
    letters = sorted(set("".join(terms)))
    running = _session(equation, terms)
    random = np.random.default_rng(0)
    for empty in ["", *letters]:
        size = {c: 0 if c == empty else 2 + k % 3 for k, c in enumerate(letters)}
        arrays = [random.normal(size=[size[c] for c in term]).astype(np.float32) for term in terms]
        (answer,) = running.run(None, {f"x{k}": a for k, a in enumerate(arrays)})
        wanted = np.einsum(equation, *arrays)
        assert answer.shape == wanted.shape
        np.testing.assert_allclose(answer, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("opset", [13, 18, 28])
def test_opsets(opset: int) -> None:
    a, b = np.ones((0, 2, 3), np.float32), np.ones((0, 4, 3), np.float32)
    (answer,) = _session("bij,bkj->bik", ["bij", "bkj"], opset).run(None, {"x0": a, "x1": b})
    assert answer.shape == (0, 2, 4)


def test_a_dim_of_one_is_repeated() -> None:
    g = GraphBuilder()
    x = g.input("x", DataType.FLOAT, ("b", 3, 1))
    weight = np.arange(8, dtype=np.float32).reshape(4, 2)
    proto = ir.to_proto(g.build({"y": g.Einsum(x, weight, equation="bij,jk->bik")}))
    data = np.arange(6, dtype=np.float32).reshape(2, 3, 1)
    running = ort.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    (answer,) = running.run(None, {"x": data})
    np.testing.assert_array_equal(answer, data * weight.sum(0))


def test_static_operands_stay_as_they_are() -> None:
    g = GraphBuilder()
    a, b = g.input("a", DataType.FLOAT, (2, 3)), g.input("b", DataType.FLOAT, (4, 3))
    proto = ir.to_proto(g.build({"y": g.Einsum(a, b, equation="ij,kj->ik")}))
    assert [node.op_type for node in proto.graph.node] == ["Einsum"]
