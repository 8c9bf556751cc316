"""The walk itself: structure of inputs and outputs, sizes, mutation, control flow, decomposition, errors, names."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
import warnings
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
import torch
from pytorch_support import answers, build, convert, operators, run, same
from torch import nn

from any2onnx.errors import ExportFailed, NotAModel, UnsupportedOperator, UsageError
from any2onnx.graph.types import DataType
from any2onnx.operator_mappings.mapping import OperatorMapping
from any2onnx.operator_mappings.registry import default_registry


class Function(nn.Module):
    """A module whose forward is a function."""

    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function = function

    def forward(self, *args: Any) -> Any:
        return self.function(*args)


def dims(value: Any) -> list[Any]:
    return [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]


# --- inputs and outputs ---


class Structured(nn.Module):
    def forward(self, x: torch.Tensor, more: dict[str, torch.Tensor], *, scale: float = 2.0, flag: bool = True) -> Any:
        y = x * scale + more["bias"]
        return {"logits": y, "extra": (y.sum(-1), None, 3.5), "size": x.shape[0] * 2, "flag": y > 0 if flag else y}


def test_nested_inputs_and_outputs_keyword_arguments_none_and_numbers() -> None:
    model = Structured()
    args = (torch.randn(2, 3), {"bias": torch.randn(3)})
    proto = convert(
        model, args, {"scale": 3.0}, dynamic_shapes={"x": {0: "batch"}, "more": {"bias": None}, "scale": None}
    )
    assert [i.name for i in proto.graph.input] == ["x", "more_bias"]
    assert [o.name for o in proto.graph.output] == ["logits", "extra_0", "extra_2", "size", "flag"]
    for batch in (1, 5):
        x, bias = torch.randn(batch, 3), torch.randn(3)
        got = run(proto, x, bias)
        want = model(x, {"bias": bias}, scale=3.0)
        same([got[0], got[1], got[4]], [want["logits"].numpy(), want["extra"][0].numpy(), want["flag"].numpy()])
        assert got[2] == 3.5
        assert got[3] == 2 * batch


def test_tensors_given_by_keyword_are_inputs() -> None:
    class Keywords(nn.Module):
        def forward(self, x: torch.Tensor, *, mask: torch.Tensor) -> torch.Tensor:
            return x.masked_fill(mask, -1.0)

    proto = convert(Keywords(), (torch.randn(2, 3),), {"mask": torch.zeros(2, 3, dtype=torch.bool)})
    assert [i.name for i in proto.graph.input] == ["x", "mask"]
    x, mask = torch.randn(2, 3), torch.rand(2, 3) > 0.5
    same(run(proto, x, mask), answers(Keywords(), x, mask=mask))


def test_a_dataclass_as_output() -> None:
    @dataclasses.dataclass
    class Result:
        first: torch.Tensor
        second: torch.Tensor

    torch.export.register_dataclass(Result)
    proto = convert(Function(lambda x: Result(x + 1, x * 2)), (torch.randn(2),))
    assert [o.name for o in proto.graph.output] == ["first", "second"]


def test_names_of_inputs_and_outputs_can_be_chosen() -> None:
    proto = convert(
        Function(lambda x, y: (x + y, x - y)), (torch.ones(2), torch.ones(2)), input_names=["a"], output_names=["sum"]
    )
    assert [i.name for i in proto.graph.input] == ["a", "args_1"]
    assert [o.name for o in proto.graph.output] == ["sum", "output_1"]
    with pytest.raises(UsageError, match="output_names has 3 names"):
        convert(Function(lambda x: x + 1), (torch.ones(2),), output_names=["a", "b", "c"])
    with pytest.raises(UsageError, match="input_names has 2 names"):
        convert(Function(lambda x: x + 1), (torch.ones(2),), input_names=["a", "b"])


def test_an_input_or_a_constant_as_output() -> None:
    class Passing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.arange(3.0))

        def forward(self, x: torch.Tensor) -> Any:
            return x, self.weight, x

    x = torch.randn(2)
    same(run(convert(Passing(), (x,)), x), answers(Passing(), x))


# --- dynamic dims ---


def test_dims_take_their_names_from_text_or_dim() -> None:
    x = torch.randn(2, 3)
    model = Function(lambda v: torch.cat([v, v], 0))
    proto = convert(model, (x,), dynamic_shapes={"args": ({0: "batch"},)})
    assert dims(proto.graph.input[0]) == ["batch", 3]
    assert dims(proto.graph.output[0]) == ["2*batch", 3]
    proto = convert(model, (x,), dynamic_shapes=(({0: torch.export.Dim("rows"), 1: torch.export.Dim("columns")},),))
    assert dims(proto.graph.input[0]) == ["rows", "columns"]


def test_dynamic_axes_in_the_older_form() -> None:
    class Two(nn.Module):
        def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            return x @ y

    proto = convert(
        Two(),
        (torch.randn(2, 3), torch.randn(3, 4)),
        input_names=["left", "right"],
        dynamic_axes={"left": {0: "rows"}, "right": [1], "output": {0: "rows"}},
    )
    assert dims(proto.graph.input[0]) == ["rows", 3]
    assert dims(proto.graph.input[1]) == [3, "right_dim_1"]
    a, b = torch.randn(5, 3), torch.randn(3, 1)
    same(run(proto, a, b), answers(Two(), a, b))


def test_dynamic_shapes_of_an_unknown_argument() -> None:
    with pytest.raises(UsageError, match="did you mean 'src'"):
        convert(nn.TransformerEncoderLayer(8, 2), (torch.randn(2, 3, 8),), dynamic_shapes={"srcs": {0: "batch"}})


def test_without_dynamic_shapes_everything_is_static() -> None:
    proto = convert(nn.Linear(3, 4), (torch.randn(2, 3),))
    assert dims(proto.graph.input[0]) == [2, 3]


SIZES = {
    "flatten": lambda x: x.flatten(1),
    "merge": lambda x: x.reshape(x.shape[0] * x.shape[1], -1),
    "split_heads": lambda x: x.view(x.shape[0], x.shape[1], 2, -1).transpose(1, 2),
    "arange": lambda x: x + torch.arange(x.shape[1])[None, :, None],
    "zeros": lambda x: torch.cat([torch.zeros(x.shape[0], 1, x.shape[2]), x], 1),
    "half": lambda x: x[:, : x.shape[1] // 2],
    "last": lambda x: x[:, -1],
    "expand": lambda x: x[:, :1].expand(-1, x.shape[1], -1) * x,
    "chunks": lambda x: torch.stack(x.chunk(2, dim=2)),
    "mean": lambda x: x.sum(1) / x.shape[1],
    "causal": lambda x: torch.triu(torch.full((x.shape[1], x.shape[1]), float("-inf")), 1),
    "float_size": lambda x: x * (x.shape[1] ** 0.5),
    "roll": lambda x: x.roll(1, 1),
    "flip": lambda x: x.flip(1),
    "repeat": lambda x: x.repeat(2, 1, 1),
    "mod": lambda x: x[:, : x.shape[1] % 3 + 1],
    "pad": lambda x: nn.functional.pad(x, (0, 0, 0, x.shape[1])),
    "var": lambda x: x.var(1),
}


@pytest.mark.parametrize("opset", [13, 21])
@pytest.mark.parametrize("name", list(SIZES))
def test_sizes_follow_the_input(name: str, opset: int) -> None:
    model = Function(SIZES[name])
    shapes = {"args": ({0: "batch", 1: "length"},)}
    proto = convert(model, (torch.randn(2, 5, 4),), dynamic_shapes=shapes, opset=opset)
    for batch, length in ((1, 3), (3, 7), (2, 8)):
        x = torch.randn(batch, length, 4)
        same(run(proto, x), answers(model, x))


def test_data_dependent_sizes() -> None:
    model = Function(lambda x: (x[x > 0], x.nonzero()))
    proto = convert(model, (torch.randn(3, 4),), dynamic_shapes={"args": ({0: "batch"},)})
    for batch in (1, 6):
        x = torch.randn(batch, 4)
        same(run(proto, x), answers(model, x))


# --- mutation ---


def _masked(x: torch.Tensor) -> torch.Tensor:
    y = x.clone()
    y[:, 0] = 5
    y[:, 1] += x[:, 2]
    y[y > 1] = 0
    return y


def _accumulated(x: torch.Tensor) -> Any:
    total = torch.zeros_like(x)
    total += x
    total.mul_(2).add_(1)
    rows = total.t()
    rows.relu_()
    return total, rows


def _old_view(x: torch.Tensor) -> Any:
    y = x + 1
    before = y * 2
    y.neg_()
    return before, y


@pytest.mark.parametrize("function", [_masked, _accumulated, _old_view])
def test_writing_in_place(function: Any) -> None:
    model = Function(function)
    proto = convert(model, (torch.randn(2, 4),), dynamic_shapes={"args": ({0: "batch"},)})
    for batch in (1, 3):
        x = torch.randn(batch, 4)
        same(run(proto, x), answers(model, x))


def test_a_buffer_that_changes_is_reported() -> None:
    class Counting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("seen", torch.zeros(()))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.seen.add_(1)
            return x * self.seen

    with pytest.warns(UserWarning, match="buffer 'seen'"):
        proto = convert(Counting(), (torch.ones(2),))
    same(run(proto, torch.ones(2)), [np.ones(2, np.float32)])


# --- control flow ---


def test_cond() -> None:
    def function(x: torch.Tensor) -> Any:
        return torch.cond(x.sum() > 0, lambda v: (v.sin(), v * 2), lambda v: (v.cos(), v - 1), (x,))

    model = Function(function)
    proto = convert(model, (torch.randn(2, 3),), dynamic_shapes={"args": ({0: "batch"},)})
    assert "If" in operators(proto)
    for x in (torch.ones(2, 3), -torch.ones(4, 3)):
        same(run(proto, x), answers(model, x))


def test_while_loop() -> None:
    from torch._higher_order_ops.while_loop import while_loop

    def function(x: torch.Tensor) -> Any:
        return while_loop(lambda i, v: i < 5, lambda i, v: (i + 1, v * 2 + i), (torch.tensor(0), x))

    model = Function(function)
    proto = convert(model, (torch.randn(2, 3),))
    assert "Loop" in operators(proto)
    x = torch.randn(2, 3)
    same(run(proto, x), answers(model, x))


def test_scan() -> None:
    from torch._higher_order_ops.scan import scan

    def function(x: torch.Tensor) -> Any:
        return scan(lambda c, v: (c + v, c * v), torch.zeros(3), x, dim=0)

    model = Function(function)
    proto = convert(model, (torch.randn(4, 3),), dynamic_shapes={"args": ({0: "length"},)})
    assert "Scan" in operators(proto)
    for length in (2, 6):
        x = torch.randn(length, 3)
        same(run(proto, x), answers(model, x))


def test_regions_without_gradient_and_in_autocast_are_emitted_in_place() -> None:
    class Regions(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(3, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            with torch.no_grad():
                y = x * 2
            with torch.enable_grad():
                y = self.linear(y)
            with torch.autocast("cpu", enabled=False):
                return y + 1

    model = Regions()
    x = torch.randn(2, 3)
    same(run(convert(model, (x,)), x), answers(model, x))


# --- decomposition, registration ---


def test_an_operator_without_a_row_is_decomposed() -> None:
    model = Function(lambda x: torch.nn.functional.huber_loss(x, x * 2, reduction="none"))
    assert default_registry().find("pytorch", "aten.huber_loss.default", 21) is None
    x = torch.randn(2, 3)
    same(run(convert(model, (x,)), x), answers(model, x))


def test_a_row_of_the_user_wins() -> None:
    row = OperatorMapping(framework="pytorch", key="aten.relu.default", converter=lambda g, call: g.Neg(call.inputs[0]))
    registry = default_registry().extended([row], override=True)
    proto = convert(nn.ReLU(), (torch.ones(2),), registry=registry)
    assert operators(proto) == ["Neg"]


@torch.library.custom_op("any2onnx_tests::halved", mutates_args=())
def halved(x: torch.Tensor) -> torch.Tensor:
    return x / 2


@halved.register_fake
def _(x: torch.Tensor) -> torch.Tensor:
    return torch.empty_like(x)


def test_custom_translation_table() -> None:
    model = Function(lambda x: halved(x) + 1)
    target = torch.ops.any2onnx_tests.halved.default
    table = {target: lambda g, call: g.Div(call.inputs[0], g.scalar_like(2.0, call.inputs[0]))}
    x = torch.randn(3)
    same(run(convert(model, (x,), custom_translation_table=table), x), answers(model, x))


# --- errors ---


class Unsupported(nn.Module):
    def forward(self, x: torch.Tensor) -> Any:
        a = halved(x)
        return a, x.to_sparse(), halved(a)


def test_all_unsupported_operators_come_in_one_error() -> None:
    with pytest.raises(UnsupportedOperator) as caught:
        convert(Unsupported(), (torch.randn(3, 3),))
    text = str(caught.value)
    assert "any2onnx_tests.halved.default has no ONNX mapping" in text
    assert "test_pytorch_walk.py" in text
    assert "a = halved(x)" in text
    assert "aten._to_sparse" in text


class Branching(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.sum() > 0:
            return x
        return -x


def test_control_flow_on_data_names_the_line_and_what_to_write() -> None:
    with pytest.raises(ExportFailed) as caught:
        convert(Branching(), (torch.randn(3),))
    text = str(caught.value)
    assert "if x.sum() > 0:" in text
    assert "test_pytorch_walk.py:" in text
    assert "torch.cond" in text


def test_a_dim_that_the_model_fixes() -> None:
    model = Function(lambda x: x.reshape(2, 6))
    with pytest.raises(ExportFailed, match="dynamic"):
        convert(model, (torch.randn(4, 3),), dynamic_shapes={"args": ({0: "batch"},)})


@pytest.mark.parametrize("thing", [3, nn.Linear, lambda x: x])
def test_things_that_are_no_model(thing: Any) -> None:
    with pytest.raises(NotAModel):
        build(thing, (torch.ones(1),))


def test_inputs_that_do_not_fit_forward() -> None:
    with pytest.raises(UsageError, match="do not fit forward"):
        convert(nn.Linear(2, 2), ())


def test_a_model_on_the_meta_device_has_no_weights() -> None:
    with pytest.raises(ExportFailed, match="has no values"):
        convert(nn.Linear(64, 64, device="meta"), (torch.empty(1, 64, device="meta"),))


# --- compute_dtype, exported programs, determinism, names ---


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_computed_in_float32(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16, 3)).to(dtype)
    built = build(model, (torch.randn(2, 1, 4, 4, dtype=dtype),), compute_dtype="float32")
    assert built.graph.inputs[0].dtype == {torch.bfloat16: DataType.BFLOAT16, torch.float16: DataType.FLOAT16}[dtype]
    assert {v.dtype for v in built.graph.initializers.values() if v.const_value.size > 3} == {
        built.graph.inputs[0].dtype
    }
    if dtype == torch.float16:
        x = torch.randn(2, 1, 4, 4, dtype=dtype)
        same(run(ir.to_proto(built), x), answers(model, x), rtol=5e-3, atol=5e-3)


def test_an_exported_program_keeps_its_names() -> None:
    model = nn.Linear(3, 2)
    program = torch.export.export(
        model, (torch.randn(2, 3),), dynamic_shapes=({0: torch.export.Dim("rows")},), strict=True
    )
    proto = convert(program)
    assert dims(proto.graph.input[0]) == ["rows", 3]
    x = torch.randn(5, 3)
    same(run(proto, x), answers(model, x))


def test_nodes_carry_module_paths_and_source_lines() -> None:
    built = build(nn.Sequential(nn.Sequential(nn.Linear(3, 4), nn.ReLU())), (torch.randn(2, 3),))
    assert [node.name for node in built.graph] == ["0.0/Gemm", "0.1/Relu"]
    assert sorted(built.graph.initializers) == ["0.0.bias", "0.0.weight"]
    assert "0.0" in built.graph.node(0).metadata_props["any2onnx.source"]


_PROGRAM = """
import hashlib, sys, torch, onnx_ir
sys.path.insert(0, {folder!r})
from pytorch_support import build
torch.manual_seed(0)
layer = torch.nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
model = torch.nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)
built = build(model, (torch.randn(2, 3, 8),), dynamic_shapes=({{0: "batch", 1: "length"}},))
print(hashlib.sha256(onnx_ir.to_proto(built).SerializeToString(deterministic=True)).hexdigest())
"""


def test_the_same_bytes_in_every_process() -> None:
    import os
    from pathlib import Path

    code = _PROGRAM.format(folder=str(Path(__file__).parent))
    digests = set()
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
        digests.add(done.stdout.strip())
    assert len(digests) == 1


def test_nothing_is_printed_or_warned() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        convert(nn.Linear(2, 2), (torch.ones(1, 2),))


def test_onnxscript_functions_as_converters() -> None:
    from onnxscript import opset18 as op
    from onnxscript import script

    @script()
    def by_script(x):  # type: ignore[no-untyped-def]
        return op.Div(x, op.Constant(value_float=2.0)) + 0.0 * x

    def traced(x: Any) -> Any:
        return op.Mul(x, 0.5)

    model = Function(lambda x: halved(x) + 1)
    x = torch.randn(3)
    for function in (by_script, traced):
        table = {torch.ops.any2onnx_tests.halved: function}
        same(run(convert(model, (x,), custom_translation_table=table), x), answers(model, x))
