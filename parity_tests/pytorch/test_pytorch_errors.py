"""Models that torch.export cannot trace: the user's line, the reason, and what to write instead."""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from pytorch_support import convert
from torch import nn

from any2onnx.converters.pytorch.program import node_location
from any2onnx.errors import ExportFailed


class Opaque:
    def __init__(self, x: torch.Tensor) -> None:
        self.x = x


class Model(nn.Module):
    def __init__(self, function: Callable[[Any, torch.Tensor], Any]) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(3, 3) for _ in range(3)])
        self.function = function
        self.last: Any = None

    def forward(self, x: torch.Tensor) -> Any:
        return self.function(self, x)


def branch(_: Any, x: torch.Tensor) -> torch.Tensor:
    if x.sum() > 0:
        return x
    return -x


def equal(_: Any, x: torch.Tensor) -> torch.Tensor:
    return x if torch.equal(x, x + 1) else -x


def loop(_: Any, x: torch.Tensor) -> torch.Tensor:
    for _step in range(int(x[0, 0])):
        x = x + 1
    return x


def until(_: Any, x: torch.Tensor) -> torch.Tensor:
    while x.max() > 1:
        x = x / 2
    return x


def chosen(model: Any, x: torch.Tensor) -> torch.Tensor:
    return model.layers[x.argmax()](x)


def asserted(_: Any, x: torch.Tensor) -> torch.Tensor:
    assert x.max() < 9
    return x


def numpy_function(_: Any, x: torch.Tensor) -> Any:
    return torch.from_numpy(np.sin(x.numpy()))


def opaque(_: Any, x: torch.Tensor) -> Any:
    return Opaque(x)


def misfit(_: Any, x: torch.Tensor) -> torch.Tensor:
    return x @ x


def fixed(_: Any, x: torch.Tensor) -> torch.Tensor:
    return x.reshape(2, 3)


def cut(_: Any, x: torch.Tensor) -> torch.Tensor:
    return x[: int(x.sum())]


def ordered(_: Any, x: torch.Tensor) -> torch.Tensor:
    return torch.stack(sorted(x.unbind(1), key=torch.sum))


def found(_: Any, x: torch.Tensor) -> torch.Tensor:
    for place in torch.nonzero(x > 0):
        x = x + place.sum()
    return x


def distinct(_: Any, x: torch.Tensor) -> torch.Tensor:
    return torch.stack([x[x == value].sum() for value in torch.unique(x)])


def in_a_dict(_: Any, x: torch.Tensor) -> torch.Tensor:
    return {0: x, 1: -x}[x.argmax().item() % 2]


def text(_: Any, x: torch.Tensor) -> torch.Tensor:
    return x * len(f"{x.mean():.2f}")


def largest(_: Any, x: torch.Tensor) -> torch.Tensor:
    return max(x[0])


def some(_: Any, x: torch.Tensor) -> torch.Tensor:
    return x if any(x[0] > 0) else -x


def again(model: Any, x: torch.Tensor) -> torch.Tensor:
    return x if x.sum() < 1 else again(model, x / 2)


def gradient(model: Any, x: torch.Tensor) -> Any:
    model.layers[0](x).sum().backward()
    return model.layers[0].weight.grad


def elsewhere(_: Any, x: torch.Tensor) -> torch.Tensor:
    return x.to("cuda") * 2


def halved(model: Any, x: torch.Tensor) -> torch.Tensor:
    model.layers[0].weight.data *= 0.5
    return model.layers[0](x)


def scripted(_: Any, x: torch.Tensor) -> torch.Tensor:
    return torch.jit.script(lambda y: y + 1)(x)


def pieces(_: Any, x: torch.Tensor) -> Any:
    return (row for row in x)


def quantized(_: Any, x: torch.Tensor) -> torch.Tensor:
    return torch.quantize_per_tensor(x, 0.1, 0, torch.quint8).dequantize() + EIGHT_BITS.dequantize()


EIGHT_BITS = torch.quantize_per_tensor(torch.ones(1), 0.1, 0, torch.quint8)


def by_rows(_: Any, x: torch.Tensor) -> torch.Tensor:
    total = x[0] * 0
    for k in range(x.shape[0]):
        total = total + x[k]
    return total


def misspelt(_: Any, x: torch.Tensor) -> torch.Tensor:
    return nn.functional.relu(x, inplce=True)


CASES: dict[str, tuple[Callable[[Any, torch.Tensor], Any], str, str, str]] = {
    "branch": (branch, "a branch is chosen by the data", "if x.sum() > 0:", "torch.cond"),
    "equal": (equal, "a branch is chosen by the data", "torch.equal", "torch.where"),
    "loop": (loop, "a for loop runs", "for _step in range(int(x[0, 0])):", "while_loop"),
    "while": (until, "a while loop runs", "while x.max() > 1:", "while_loop"),
    "list": (chosen, "chooses an element of a Python list", "model.layers[x.argmax()](x)", "torch.stack"),
    "assert": (asserted, "an assert tests the data", "assert x.max() < 9", "torch._check"),
    "numpy": (numpy_function, "leaves torch for NumPy", "np.sin(x.numpy())", "torch.sin"),
    "cut": (cut, "a number is taken from the data", "return x[: int(x.sum())]", "as a mask"),
    "sorted": (ordered, "a number is taken from the data", "sorted(x.unbind(1)", "torch.sort"),
    "nonzero": (found, "a for loop runs", "for place in torch.nonzero(x > 0):", "operation on the whole tensor"),
    "unique": (distinct, "a for loop runs", "for value in torch.unique(x)", "operation on the whole tensor"),
    "dict": (in_a_dict, "a key of a dict", "{0: x, 1: -x}", "torch.where"),
    "text": (text, "a text is made of the data", "len(f", "leave messages to the caller"),
    "max": (largest, "Python's max or min", "return max(x[0])", "torch.amax"),
    "any": (some, "a branch is chosen by the data", "any(x[0] > 0)", "torch.where"),
    "recursion": (again, "a branch is chosen by the data", "again(model, x / 2)", "torch.cond"),
    "gradient": (gradient, "computes gradients", ".backward()", "as a formula"),
    "device": (elsewhere, "a device that is not here", 'x.to("cuda")', "x.to(other.device)"),
    "weight": (halved, "changes the data of a weight", "", "a new tensor"),
    "script": (scripted, "compiles TorchScript", "torch.jit.script", "leave torch.jit.script out"),
    "quantized": (quantized, "torch's own quantized tensors", "", "pt2e"),
    "generator": (pieces, "an object that torch.export cannot take apart", "", "tuples"),
    "rows": (by_rows, "fixes, or limits, a dimension", "", "Python loop"),
    "keyword": (misspelt, "inplce", "inplce=True", "run model(*args) first"),
    "opaque": (opaque, "an object that torch.export cannot take apart", "", "dict"),
    "misfit": (misfit, "do not fit the model", "return x @ x", "run model(*args) first"),
    "fixed": (fixed, "fixes, or limits, a dimension", "", "dynamic_shapes"),
}


@pytest.mark.parametrize("name", CASES)
def test_line_reason_and_remedy(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    function, summary, line, remedy = CASES[name]
    with pytest.raises(ExportFailed) as caught:
        convert(Model(function), (torch.rand(2, 3) + 1,), dynamic_shapes=({0: "batch"},))
    error = caught.value
    assert summary in error.summary
    assert "unhinted" not in str(error)
    if line:
        assert error.where is not None
        assert error.where.startswith("pytorch/test_pytorch_errors.py:")
        assert line in error.where
    assert remedy in f"{error.needs} {error.remedy}"
    # torch prints the half-traced graph: nobody wants it.
    assert "def forward" not in "".join(capfd.readouterr())


def test_an_unknown_failure_keeps_its_message() -> None:
    def function(_: Any, x: torch.Tensor) -> Any:
        raise LookupError("no such thing in the shop")

    with pytest.raises(ExportFailed, match="no such thing in the shop") as caught:
        convert(Model(function), (torch.rand(2, 3),))
    assert "raise LookupError" in str(caught.value)


def test_a_model_is_left_without_tensors_of_the_trace() -> None:
    def function(model: Any, x: torch.Tensor) -> torch.Tensor:
        model.last = x * 2
        return x + 1

    model = Model(function)
    convert(model, (torch.rand(2, 3),))
    assert not isinstance(model.last, torch._subclasses.FakeTensor)


def test_a_users_folder_may_be_called_torch() -> None:
    frames = [("/home/someone/torch/net.py", "return self.f(x)"), (f"{torch.__path__[0]}/functional.py", "return g(x)")]
    trace = "".join(f'  File "{path}", line 3, in forward\n    {code}\n' for path, code in frames)
    node = types.SimpleNamespace(meta={"stack_trace": trace})
    assert node_location(node) == "torch/net.py:3   return self.f(x)"
