"""The FileCheck helper itself: what it accepts, and above all what it must reject."""

from __future__ import annotations

import numpy as np
import pytest
from filecheck import MismatchError, check_graph, check_lines, parse, print_graph
from onnx import TensorProto, helper
from pass_models import Sketch

LINES = [
    "input %x : float32[2]",
    "%a = Relu(%x) : float32[2]",
    "%b = Add(%a, @c) : float32[2]",
    "output %b : float32[2]",
]


@pytest.mark.parametrize(
    "text",
    [
        "CHECK: Relu",
        "CHECK: %a = Relu(%x)\nCHECK-NEXT: %b = Add(%a,   @c)  : float32[2]",
        "CHECK-NOT: Cast\nCHECK: Relu\nCHECK-NOT: Relu",
        "CHECK: {{R.l[u-v]}}(%x)",
        "CHECK: %[[V:\\w+]] = Relu\nCHECK-NEXT: Add(%[[V]], @c)",
        "CHECK-COUNT-2: float32[2]\nCHECK-NEXT: Add",
        "CHECK-TOTAL-1: Add\nCHECK-TOTAL-0: Cast",
        "CHECK: input\nCHECK: output %b",
    ],
)
def test_accepts(text: str) -> None:
    check_lines(LINES, text)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("CHECK: Cast", "no further line"),
        ("CHECK: Add\nCHECK: Relu", "no further line"),
        ("CHECK: input\nCHECK-NEXT: Add", "next line"),
        ("CHECK: output\nCHECK-NEXT: output", "next line"),
        ("CHECK-NOT: Relu\nCHECK: Add", "must not be there"),
        ("CHECK: Relu\nCHECK-NOT: Add", "must not be there"),
        ("CHECK-NOT: Relu", "must not be there"),
        ("CHECK: %[[V:\\w+]] = Add\nCHECK-NOT: %[[V]] :", "must not be there"),
        ("CHECK: %[[V:\\w+]] = Relu\nCHECK: Add(%x[[V]]", "no further line"),
        ("CHECK-COUNT-5: float32[2]", "no further line"),
        ("CHECK-TOTAL-2: Add", "1 lines instead of 2"),
        ("CHECK: Relu(.x)", "no further line"),
    ],
)
def test_rejects(text: str, reason: str) -> None:
    with pytest.raises(MismatchError, match=reason):
        check_lines(LINES, text)


@pytest.mark.parametrize("text", ["", "CHEK: Relu", "Relu", "CHECK:", "CHECK-COUNT: Relu", "CHECK-NOT:  "])
def test_typing_errors_do_not_pass(text: str) -> None:
    with pytest.raises(ValueError, match=r"CHECK|nothing"):
        parse(text)


def test_undefined_variable() -> None:
    with pytest.raises(ValueError, match="before it is defined"):
        check_lines(LINES, "CHECK: [[V]]")


def test_message_shows_the_graph() -> None:
    with pytest.raises(MismatchError) as caught:
        check_lines(LINES, "CHECK-NOT: Relu")
    assert "> %a = Relu(%x) : float32[2]" in str(caught.value)


def test_prints_everything_once_and_stably() -> None:
    g = Sketch()
    x = g.input("x", ["batch", 3])
    body = helper.make_graph(
        [helper.make_node("Neg", [x], ["inner"])],
        "then",
        [],
        [helper.make_tensor_value_info("inner", TensorProto.FLOAT, ["batch", 3])],
    )
    other = helper.make_graph(
        [helper.make_node("Abs", [x], ["other"])],
        "else",
        [],
        [helper.make_tensor_value_info("other", TensorProto.FLOAT, ["batch", 3])],
    )
    flag = g.input("flag", [], "bool")
    g.op("If", flag, then_branch=body, else_branch=other, out="y")
    g.op("Clip", x, "", g.const(np.float32(1), "high"), out="z")
    g.op("Constant", value=helper.make_tensor("t", TensorProto.INT64, [2], [1, 2]), out="k")
    for name, dtype in (("y", "float"), ("z", "float"), ("k", "int64")):
        g.output(name, dtype)
    model = g.model()
    assert print_graph(model) == [
        "input %x : float32[batch,3], %flag : bool[]",
        "%y = If(%flag) : float32[batch,3]",
        "  else_branch:",
        "    input ",
        "    %other = Abs(%x) : float32[batch,3]",
        "    output %other : float32[batch,3]",
        "  then_branch:",
        "    input ",
        "    %inner = Neg(%x) : float32[batch,3]",
        "    output %inner : float32[batch,3]",
        "%z = Clip(%x, _, @high) : float32[batch,3]",
        "%k = Constant() {value=int64[2][1,2]} : int64[2]",
        "output %y : float32[batch,3], %z : float32[batch,3], %k : int64[2]",
    ]
    check_graph(g.proto(), "CHECK: Clip(%x, _, @high)")
