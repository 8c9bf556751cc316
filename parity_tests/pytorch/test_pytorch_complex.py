"""Complex tensors: pairs of reals inside the graph and at its edges, Fourier transforms, every opset."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from pytorch_support import OPSETS, answers, convert, operators, run, same
from torch import nn

from any2onnx.errors import UnsupportedOperator

FUNCTIONS = (
    "exp log sqrt sinh cosh tanh asinh acosh atanh sin cos tan asin acos atan reciprocal rsqrt sigmoid expm1 log1p "
    "square log2 log10 sgn abs angle"
)


class Function(nn.Module):
    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self._function = function

    def forward(self, *args: torch.Tensor) -> Any:
        return self._function(*args)


class One(nn.Module):
    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self._function = function

    def forward(self, x: torch.Tensor) -> Any:
        return self._function(x)


def check(function: Callable[..., Any], *args: torch.Tensor, opset: int = 21, rtol: float = 2e-5) -> None:
    model = Function(function)
    same(run(convert(model, args, opset=opset), *args), answers(model, *args), rtol=rtol, atol=rtol)


def draw(*shape: int, dtype: torch.dtype = torch.complex64) -> torch.Tensor:
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(len(shape)))


@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize("size", [1, 2, 7, 16, 600])
def test_fourier_transforms_at_every_opset(opset: int, size: int) -> None:
    x = draw(3, size, dtype=torch.float32)
    check(
        lambda v: (torch.fft.rfft(v), torch.fft.fft(v, norm="ortho"), torch.fft.irfft(torch.fft.rfft(v), size)),
        x,
        opset=opset,
        rtol=1e-4,
    )


@pytest.mark.parametrize("opset", OPSETS)
def test_a_transform_of_a_dynamic_length(opset: int) -> None:
    model = One(lambda x: torch.fft.irfft(torch.fft.rfft(x) * (2 + 1j), n=x.shape[-1]))
    proto = convert(
        model, (draw(2, 8, dtype=torch.float32),), opset=opset, dynamic_shapes={"x": {0: "batch", 1: "time"}}
    )
    for shape in ((1, 8), (3, 15), (2, 600)):
        x = draw(*shape, dtype=torch.float32)
        same(run(proto, x), answers(model, x), rtol=1e-4, atol=1e-4)


def test_short_time_spectra_there_and_back() -> None:
    window = torch.hann_window(16)

    def there_and_back(x: torch.Tensor) -> Any:
        spectrum = torch.stft(x, 16, hop_length=4, window=window, return_complex=True)
        return spectrum.abs(), torch.istft(spectrum, 16, hop_length=4, window=window)

    check(there_and_back, draw(2, 100, dtype=torch.float32))


def test_complex_inputs_and_outputs_are_pairs() -> None:
    model = One(lambda x: x * (1 + 2j) + x.conj())
    proto = convert(model, (draw(3, 4),))
    assert [d.dim_value for d in proto.graph.input[0].type.tensor_type.shape.dim] == [3, 4, 2]
    assert [d.dim_value for d in proto.graph.output[0].type.tensor_type.shape.dim] == [3, 4, 2]
    same(run(proto, draw(3, 4)), answers(model, draw(3, 4)))


def test_complex_weights() -> None:
    layer = nn.Linear(4, 3, dtype=torch.complex64)
    x = draw(5, 4)
    same(run(convert(layer, (x,)), x), answers(layer, x))


def test_rotary_embedding_by_complex_products() -> None:
    angles = torch.polar(torch.ones(6, 4), torch.arange(24.0).reshape(6, 4))

    def rotate(x: torch.Tensor) -> torch.Tensor:
        z = torch.view_as_complex(x.reshape(*x.shape[:-1], -1, 2))
        return torch.view_as_real(z * angles).flatten(-2)

    check(rotate, draw(2, 6, 8, dtype=torch.float32))


@pytest.mark.parametrize(
    "name",
    FUNCTIONS.split(),
)
def test_functions_over_all_quadrants_and_sizes(name: str) -> None:
    sizes = torch.tensor([1e-6, 1e-3, 0.4, 0.999, 1.0, 1.001, 3.0, 9.0], dtype=torch.float64)
    turns = torch.arange(16, dtype=torch.float64) * (np.pi / 8) + 0.1
    z = torch.polar(sizes[:, None], turns[None, :].expand(8, 16)).contiguous()
    check(getattr(torch, name), z, rtol=1e-9)
    check(getattr(torch, name), z.to(torch.complex64))


def test_views_and_indices_of_complex_tensors() -> None:
    def function(z: torch.Tensor) -> Any:
        picked = z.transpose(0, 1)[1:, torch.tensor([0, 2, 0])]
        padded = torch.nn.functional.pad(z, (1, 2), value=3)
        return (
            picked,
            torch.cat([z, z.flip(0)], 1),
            padded,
            torch.where(z.real > 0, z, z.abs()),
            z.masked_fill(z.imag > 0, 5),
        )

    check(function, draw(3, 4))


def test_an_operator_without_a_complex_form_is_refused_by_name() -> None:
    with pytest.raises(UnsupportedOperator, match=r"complex\.aten\.linalg_ldl_factor_ex"):
        convert(Function(torch.linalg.ldl_factor), (draw(3, 3),))


def test_short_transforms_are_matrix_products_and_long_ones_operators() -> None:
    assert "DFT" not in operators(convert(Function(torch.fft.fft), (draw(64),)))
    assert "DFT" in operators(convert(Function(torch.fft.fft), (draw(1024),)))
