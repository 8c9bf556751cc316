"""Calls written for torch.onnx.export: every argument is honoured, taken for nothing on purpose, or refused by name."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from pytorch_support import answers, run
from torch import nn

import any2onnx
from any2onnx.errors import ExportFailed, NotAModel, UsageError


class Two(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear, self.drop = nn.Linear(4, 3), nn.Dropout(0.5)

    def forward(self, x: torch.Tensor, y: torch.Tensor | None = None) -> Any:
        z = self.drop(self.linear(x))
        return z if y is None else (z, z + y)


X, Y = torch.randn(2, 4), torch.randn(2, 3)


def names(proto: onnx.ModelProto) -> list[str]:
    return [i.name for i in proto.graph.input]


def dims(proto: onnx.ModelProto) -> list[list[Any]]:
    return [[d.dim_param or d.dim_value for d in i.type.tensor_type.shape.dim] for i in proto.graph.input]


def test_every_argument_of_torch_onnx_is_known() -> None:
    """With its default value each of them is taken, those of other versions of torch as well."""
    parameters = inspect.signature(torch.onnx.export).parameters
    given = {name: p.default for name, p in parameters.items() if name not in ("model", "args", "f")}
    given |= {"fallback": False, "verbose": False, "dynamo": False}
    assert names(any2onnx.convert_pytorch(Two(), (X,), **given)) == ["x"]


@pytest.mark.parametrize(
    "argument",
    [
        {"export_params": False},
        {"keep_initializers_as_inputs": True},
        {"training": torch.onnx.TrainingMode.TRAINING},
        {"report": True},
        {"profile": True},
        {"dump_exported_program": True},
        {"export_modules_as_functions": True},
    ],
    ids=lambda a: next(iter(a)),
)
def test_what_is_not_done_here_is_refused_by_name(argument: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=next(iter(argument))) as caught:
        any2onnx.convert_pytorch(Two(), (X,), **argument)
    assert caught.value.remedy


def test_verify_compares() -> None:
    proto = any2onnx.convert_pytorch(Two(), (X,), verify=True)
    assert "any2onnx.parity" in {p.key for p in proto.metadata_props}


def test_custom_opsets_add_domains() -> None:
    proto = any2onnx.convert_pytorch(Two(), (X,), opset_version=18, custom_opsets={"my.domain": 2})
    assert {o.domain: o.version for o in proto.opset_import}[""] == 18


def test_the_path_is_the_third_argument(tmp_path: Path) -> None:
    any2onnx.convert_pytorch(Two(), (X,), tmp_path / "two.onnx")
    assert (tmp_path / "two.onnx").exists()


@pytest.mark.parametrize("args", [X, [X], (X,), (X, {})], ids=["tensor", "list", "tuple", "empty dict"])
def test_forms_of_the_example_inputs(args: Any) -> None:
    model = Two()
    got = run(any2onnx.convert_pytorch(model, args), X)[0]
    np.testing.assert_allclose(got, answers(model, X)[0], rtol=1e-5, atol=1e-6)


def test_a_dict_at_the_end_holds_keyword_inputs() -> None:
    assert names(any2onnx.convert_pytorch(Two(), (X, {"y": Y}))) == ["x", "y"]


class TakesADict(nn.Module):
    def forward(self, x: torch.Tensor, more: dict[str, torch.Tensor]) -> torch.Tensor:
        return x + more["p"]


def test_a_dict_that_forward_takes_is_an_input() -> None:
    assert names(any2onnx.convert_pytorch(TakesADict(), (X, {"p": X}))) == ["x", "more_p"]


BATCH: Any = [["b", 4], ["b", 3]]


@pytest.mark.parametrize(
    "spec",
    [
        {"x": {0: "b"}, "y": {0: "b"}},
        {"x": {-2: "b"}, "y": {-2: "b"}},
        ({0: "b"}, {0: "b"}),
        [{0: "b"}, {0: "b"}],
        {"x": ("b", None), "y": ("b", None)},
        {"first": {0: "b"}, "second": {0: "b"}},
    ],
    ids=["names", "negative axes", "tuple", "list", "by dim", "names of the inputs"],
)
def test_forms_of_dynamic_shapes(spec: Any) -> None:
    proto = any2onnx.convert_pytorch(Two(), (X, Y), input_names=["first", "second"], dynamic_shapes=spec)
    assert (names(proto), dims(proto)) == (["first", "second"], BATCH)


def test_collections_of_shapes() -> None:
    shapes = torch.export.ShapesCollection()
    shapes[X] = {0: "b"}
    assert dims(any2onnx.convert_pytorch(Two(), (X,), dynamic_shapes=shapes)) == [["b", 4]]
    further = torch.export.AdditionalInputs()
    further.add((X,))
    further.add((torch.randn(5, 4),))
    assert dims(any2onnx.convert_pytorch(Two(), (X,), dynamic_shapes=further)) == [["batch", 4]]


class Stars(nn.Module):
    def forward(self, *xs: torch.Tensor, **named: torch.Tensor) -> torch.Tensor:
        return sum(xs) + named["k"]


def test_arguments_with_stars() -> None:
    proto = any2onnx.convert_pytorch(Stars(), (X, X), kwargs={"k": X})
    assert names(proto) == ["xs_0", "xs_1", "k"]


@pytest.mark.parametrize("axes", [{"a": [0], "b": [0]}, {"a": [-2], "b": [-2]}], ids=["list", "negative"])
def test_dynamic_axes(axes: Any) -> None:
    proto = any2onnx.convert_pytorch(Two(), (X, Y), input_names=["a", "b"], dynamic_axes=axes)
    assert [d[1] for d in dims(proto)] == [4, 3]
    assert all(isinstance(d[0], str) for d in dims(proto))


@pytest.mark.parametrize(
    ("axes", "message"), [({"a": [5]}, "axis 5 of 'a' does not exist"), ({"aa": [0]}, "did you mean 'a'")]
)
def test_dynamic_axes_that_do_not_exist(axes: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        any2onnx.convert_pytorch(Two(), (X,), input_names=["a"], dynamic_axes=axes)


def test_dynamic_axes_beside_known_ones_that_do_not_exist_are_announced() -> None:
    with pytest.warns(UserWarning, match="names 'lengths', which is no input and no output"):
        proto = any2onnx.convert_pytorch(Two(), (X,), input_names=["a"], dynamic_axes={"a": [0], "lengths": [0]})
    assert isinstance(dims(proto)[0][0], str)


@pytest.mark.parametrize("wrap", [torch.compile, nn.DataParallel], ids=["compile", "DataParallel"])
def test_wrapped_models_keep_the_names_of_their_inputs(wrap: Any) -> None:
    assert names(any2onnx.convert_pytorch(wrap(Two()), (X,))) == ["x"]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(
    "model", [Two, lambda x: x, torch.jit.script(nn.Linear(4, 3)), torch.jit.trace(nn.Linear(4, 3), X)]
)
def test_what_is_no_module(model: Any) -> None:
    with pytest.raises(NotAModel) as caught:
        any2onnx.convert_pytorch(model, (X,))
    assert caught.value.remedy


def test_lazy_layers_must_have_been_called() -> None:
    with pytest.raises(ExportFailed, match="do not know their sizes"):
        any2onnx.convert_pytorch(nn.LazyLinear(3), (X,))


def test_training_mode_stays() -> None:
    model = Two().train()
    proto = any2onnx.convert_pytorch(model, (X,))
    assert model.training
    assert "Dropout" not in {n.op_type for n in proto.graph.node}


class Grouped(nn.Module):
    def forward(self, x: torch.Tensor) -> Any:
        return x.view(-1, 4, x.shape[1]).sum(1), torch.arange(x.shape[0] // 4)


class Paired(nn.Module):
    def forward(self, x: torch.Tensor) -> Any:
        return x[1:].reshape(2, -1, x.shape[1]).sum(0), torch.arange(x.shape[0] // 2)


@pytest.mark.parametrize(
    ("model", "expression", "rows"),
    [(Grouped(), lambda n: 4 * n, (8, 4, 20)), (Paired(), lambda n: 2 * n + 1, (7, 3, 13))],
    ids=["multiple", "odd"],
)
def test_a_size_inside_of_a_dim_is_solved_for(model: nn.Module, expression: Any, rows: tuple[int, ...]) -> None:
    """No dim is the size itself: it follows from one that is a multiple of it and something."""
    n = torch.export.Dim("n", min=1)
    proto = any2onnx.convert_pytorch(model, (torch.randn(rows[0], 2),), dynamic_shapes=({0: expression(n)},))
    for count in rows:
        x = torch.randn(count, 2)
        for got, want in zip(run(proto, x), answers(model, x), strict=True):
            np.testing.assert_allclose(got, want, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("width", [4, 64])
def test_tied_weights_are_stored_once(width: int) -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding, self.head = nn.Embedding(10, width), nn.Linear(width, 10, bias=False)
            self.head.weight = self.embedding.weight

        def forward(self, i: torch.Tensor) -> torch.Tensor:
            return self.head(self.embedding(i))

    i = torch.randint(0, 10, (2, 3))
    proto = any2onnx.convert_pytorch(Tied(), (i,))
    assert [list(t.dims) for t in proto.graph.initializer] == [[10, width]]


def test_a_model_whose_weights_have_no_numbers() -> None:
    with pytest.raises(UsageError, match=r"'0.weight' and 1 more have no numbers"):
        any2onnx.convert_pytorch(nn.Sequential(nn.Linear(3, 3, device="meta")), (torch.randn(1, 3),))
