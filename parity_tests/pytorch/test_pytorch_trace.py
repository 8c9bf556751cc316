"""The quick trace is torch.export's own, node for node; captures in several threads do not meet."""

from __future__ import annotations

import contextlib
import threading
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from pytorch_support import answers, run
from torch import nn
from torch._subclasses import fake_impls
from torch.fx import proxy
from torch.fx.experimental import proxy_tensor

import any2onnx
from any2onnx.converters.pytorch import capture as capturing
from any2onnx.converters.pytorch.capture import capture
from any2onnx.converters.pytorch.program import node_location, node_scope
from any2onnx.converters.pytorch.stated_shapes import stated_shapes
from any2onnx.errors import ExportFailed


class Calls(nn.Module):
    """A function as a module, with a few layers at hand."""

    def __init__(self, function: Callable[[Any, torch.Tensor], Any]) -> None:
        super().__init__()
        self.linear, self.norm = nn.Linear(8, 8), nn.LayerNorm(8)
        self.bare = nn.LayerNorm(8, elementwise_affine=False)
        self.conv, self.batch_norm = nn.Conv1d(4, 4, 3, padding=1), nn.BatchNorm1d(4)
        self.drop, self.attention = nn.Dropout(0.3), nn.MultiheadAttention(8, 2, batch_first=True)
        self.function = function

    def forward(self, x: torch.Tensor) -> Any:
        return self.function(self, x)


CALLS: dict[str, Callable[[Any, torch.Tensor], Any]] = {
    "linear": lambda m, x: m.linear(x),
    "linear of two dims": lambda m, x: m.linear(x.flatten(0, 1)),
    "linear of four dims": lambda m, x: m.linear(x.unsqueeze(1)),
    "linear of one row": lambda m, x: m.linear(x[0, 0]),
    "linear of a transposed tensor": lambda m, x: m.linear(x.transpose(0, 1)),
    "linear of an expanded tensor": lambda m, x: m.linear(x[:, :1].expand(-1, 5, -1)),
    "linear and then a view": lambda m, x: m.linear(x).view(x.shape[0], -1, 2, 4).transpose(1, 2),
    "linear with a vector": lambda m, x: nn.functional.linear(x, m.linear.weight[0]),
    "linear with a made weight": lambda m, x: nn.functional.linear(x, x[0] @ x[0].T @ x[0]),
    "norm": lambda m, x: m.norm(x),
    "norm without weights": lambda m, x: m.bare(x),
    "norm of a transposed tensor": lambda m, x: m.norm(x.transpose(0, 1)),
    "norm over two dims": lambda m, x: nn.functional.layer_norm(x, (4, 8)),
    "batch norm": lambda m, x: m.batch_norm(m.conv(x)),
    "batch norm of a transposed tensor": lambda m, x: m.batch_norm(x.transpose(0, 2).contiguous().transpose(0, 2)),
    "batch norm by the batch itself": lambda m, x: nn.functional.batch_norm(x, None, None, training=True),
    "dropout, twice": lambda m, x: m.drop(m.drop(x)) + m.drop(x),
    "attention": lambda m, x: m.attention(x, x, x, need_weights=True),
    "shared and in place": lambda m, x: m.linear(x).relu_().add_(m.norm(m.linear(x))),
    "elementwise": lambda m, x: torch.relu(m.linear(x)).exp().tanh() + nn.functional.gelu(x, approximate="tanh"),
    "elementwise with numbers": lambda m, x: nn.functional.elu(x, 0.5) + nn.functional.leaky_relu(x.neg(), 0.1) ** 2,
    "elementwise of a transposed tensor": lambda m, x: torch.relu(x.transpose(0, 1)) + x.transpose(0, 1).cos(),
    "elementwise of an expanded tensor": lambda m, x: torch.relu(x[:, :1].expand(-1, 4, -1)).abs(),
    "elementwise of whole numbers": lambda m, x: x.long().abs().exp() + torch.relu(x.long()) + x.bool().long().sin(),
    "elementwise to a power": lambda m, x: x**3 + x.long() ** 2 + x.abs() ** 0.5,
    "no gradient": lambda m, x: torch.no_grad()(m.linear)(x),
}
SPECS: dict[str, Any] = {
    "static": None,
    "batch": {"x": {0: "batch"}},
    "batch by Dim": {"x": {0: torch.export.Dim("batch")}},
}


@contextlib.contextmanager
def as_torch_does() -> Iterator[None]:
    """Trace without any saving."""
    quick = capturing.quick_trace
    capturing.quick_trace = contextlib.nullcontext
    try:
        yield
    finally:
        capturing.quick_trace = quick


def described(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return str(value.dtype), [str(d) for d in value.shape], [str(d) for d in value.stride()]
    return [described(v) for v in value] if isinstance(value, list | tuple) else type(value).__name__


def nodes(program: Any) -> list[Any]:
    """Return everything that the walker reads of a program; names of nodes by their order."""
    found: list[Any] = []
    for module in program.graph_module.modules():
        order = (
            {node: k for k, node in enumerate(getattr(module, "graph", nn.Module()).nodes)} if _graph(module) else {}
        )
        for node in order:
            arguments = torch.fx.node.map_arg((node.args, node.kwargs), lambda n, order=order: order[n])
            found.append(
                (node.op, str(node.target).rstrip("0123456789"), str(arguments), described(node.meta.get("val")))
            )
            found.append(node_scope(node))
    return found


def _graph(module: Any) -> bool:
    return isinstance(module, torch.fx.GraphModule)


FEW = ("linear", "norm", "batch norm", "attention")


@pytest.mark.parametrize(
    ("name", "spec"), [*((name, "batch") for name in CALLS), *((name, spec) for name in FEW for spec in SPECS)]
)
def test_the_program_is_torchs_own(name: str, spec: str) -> None:
    model, x = Calls(CALLS[name]).eval(), torch.randn(3, 4, 8)
    quick, _ = capture(model, (x,), {}, dynamic_shapes=SPECS[spec])
    with as_torch_does():
        own, _ = capture(model, (x,), {}, dynamic_shapes=SPECS[spec])
    assert nodes(quick) == nodes(own)
    # The text of the graph is compiled when it is asked for.
    torch.testing.assert_close(quick.module()(x), own.module()(x))


@pytest.mark.parametrize(
    "wrong",
    [
        lambda m, x: nn.functional.linear(x, m.linear.weight[:, :7]),
        lambda m, x: nn.functional.linear(x, m.linear.weight, m.linear.bias[:5]),
        lambda m, x: nn.functional.layer_norm(x, (7,)),
        lambda m, x: m.batch_norm(x[:, :3]),
    ],
)
def test_what_does_not_fit_is_refused_by_torch_itself(wrong: Callable[..., Any]) -> None:
    x = torch.randn(3, 4, 8)
    messages = []
    for context in (contextlib.nullcontext(), as_torch_does()):
        with context, pytest.raises(ExportFailed) as caught:
            capture(Calls(wrong).eval(), (x,), {}, dynamic_shapes=SPECS["batch"])
        messages.append(str(caught.value))
    assert messages[0] == messages[1]


def helper(x: torch.Tensor) -> torch.Tensor:
    return torch.sin(x)  # the line


def test_a_node_names_the_innermost_line_of_the_users_code() -> None:
    program, _ = capture(Calls(lambda m, x: helper(x)), (torch.ones(2),), {})
    (sine,) = (node for node in program.graph.nodes if "sin" in str(node.target))
    assert node_location(sine).endswith("return torch.sin(x)  # the line")


def test_torch_is_left_as_it_was() -> None:
    watched = [
        (proxy_tensor, "_extract_tensor_metadata"),
        (proxy, "CapturedTraceback"),
        (proxy.TracerBase, "_filter_traceback_frames"),
        (torch.fx._lazy_graph_module, "_use_lazy_graph_module_flag"),
        (torch.export._trace, "produce_guards_and_solve_constraints"),
    ]
    kernels = {op: dict(op.py_kernels) for op in (torch.ops.aten.linear.default, torch.ops.aten.layer_norm.default)}
    before = [getattr(owner, name) for owner, name in watched]
    elementwise = dict(fake_impls.get_fast_op_impls())
    capture(Calls(CALLS["attention"]), (torch.ones(2, 3, 8),), {})
    with pytest.raises(ExportFailed):
        capture(Calls(lambda m, x: x if x.sum() > 0 else -x), (torch.ones(2, 3),), {})
    assert [getattr(owner, name) for owner, name in watched] == before
    assert {op: dict(op.py_kernels) for op in kernels} == kernels
    assert fake_impls.get_fast_op_impls() == elementwise
    with stated_shapes():
        assert torch.ops.aten.linear.default.py_kernels != kernels[torch.ops.aten.linear.default]
        assert torch.ops.aten.relu.default in fake_impls.get_fast_op_impls()


class Positions(nn.Module):
    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return x[:, : y.shape[1]] + y if x.shape[1] > 1 else y


def test_limits_of_a_named_dim_are_no_reason_for_a_second_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    traces = []
    export = torch.export.export
    monkeypatch.setattr(torch.export, "export", lambda *a, **k: traces.append(1) or export(*a, **k))
    spec = {"x": {0: "batch", 1: "length"}, "y": {0: "batch", 1: "length"}}
    proto = any2onnx.convert_pytorch(Positions(), (torch.randn(2, 5), torch.randn(2, 5)), dynamic_shapes=spec)
    assert len(traces) == 1
    for batch, length in ((1, 2), (3, 7)):
        x, y = torch.randn(batch, length), torch.randn(batch, length)
        assert (run(proto, x, y)[0] == answers(Positions(), x, y)[0]).all()


def test_a_dim_of_the_callers_may_be_broadcast() -> None:
    """The trace that treats 1 as any size asks ``size != 1``; torch.export alone does not, and accepts this model."""
    batch = torch.export.Dim("batch")
    model = Calls(lambda m, x: x.expand(x.shape[0], 4, 8) + torch.arange(x.shape[0])[:, None, None])
    proto = any2onnx.convert_pytorch(model, (torch.randn(3, 4, 8),), dynamic_shapes={"x": {0: batch}})
    for size in (1, 2, 5):
        x = torch.randn(size, 4, 8)
        assert (run(proto, x)[0] == answers(model, x)[0]).all()


def test_a_dim_of_the_callers_that_the_model_limits_is_refused() -> None:
    length = torch.export.Dim("length")
    with pytest.raises(ExportFailed, match="fixes, or limits"):
        any2onnx.convert_pytorch(
            Calls(lambda m, x: x if x.shape[0] > 2 else -x), (torch.randn(3, 8),), dynamic_shapes={"x": {0: length}}
        )


# --- threads --------------------------------------------------------------------------------------------------------


def test_threads_give_the_same_bytes_as_one() -> None:
    models = [Calls(CALLS[name]).eval() for name in ("attention", "batch norm", "norm", "linear and then a view")]
    x = torch.randn(3, 4, 8)

    def converted(model: nn.Module) -> bytes:
        proto = any2onnx.convert_pytorch(model, (x,), dynamic_shapes=SPECS["batch"])
        return proto.SerializeToString(deterministic=True)

    alone = [converted(model) for model in models]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(converted, models * 3)) == alone * 3


def test_only_the_trace_is_one_at_a_time() -> None:
    """A conversion that is past its trace lets another one in: the first one waits here for the second one's end."""
    second_done, waited = threading.Event(), []

    def patient(g: Any, call: Any) -> Any:
        waited.append(second_done.wait(60))
        return g.Sin(call.params["self"])

    def first() -> None:
        table = {torch.ops.aten.sin.default: patient}
        any2onnx.convert_pytorch(Calls(lambda m, x: x.sin()), (torch.ones(3),), custom_translation_table=table)

    with ThreadPoolExecutor(2) as pool:
        running = pool.submit(first)
        any2onnx.convert_pytorch(Calls(lambda m, x: x.cos()), (torch.ones(3),))
        second_done.set()
        running.result()
    assert waited == [True]


def test_a_warning_is_not_lost_while_another_thread_traces() -> None:
    """torch's warnings are silenced during a trace, by filters that hold for the whole process."""
    tracing, leave = threading.Event(), threading.Event()

    def slow(m: Any, x: torch.Tensor) -> torch.Tensor:
        tracing.set()
        leave.wait(1)
        return x.cos()

    spec = {"x": {0: "batch"}}
    model = Calls(lambda m, x: x if x.shape[0] < 5 else -x)
    with warnings.catch_warnings(record=True) as caught, ThreadPoolExecutor(1) as pool:
        warnings.simplefilter("always")
        other = pool.submit(any2onnx.convert_pytorch, Calls(slow), (torch.ones(3),))
        tracing.wait(30)
        any2onnx.convert_pytorch(model, (torch.ones(3),), dynamic_shapes=spec)
        leave.set()
        other.result()
    assert any("takes another path" in str(w.message) for w in caught)
