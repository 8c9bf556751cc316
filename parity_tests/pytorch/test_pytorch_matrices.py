"""Decompositions of matrices: what their factors say together, batched, of dynamic size, at every opset."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from pytorch_support import OPSETS, answers, convert, run, same
from torch import nn

SHAPES = [(1, 1), (4, 4), (6, 3), (3, 6), (2, 5, 5), (2, 3, 7, 4)]


class Factors(nn.Module):
    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self._function = function

    def forward(self, a: torch.Tensor) -> Any:
        return self._function(a)


def draw(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(sum(shape)))


def factors(function: Callable[..., Any], a: torch.Tensor, opset: int = 21) -> list[torch.Tensor]:
    return [torch.from_numpy(v) for v in run(convert(Factors(function), (a,), opset=opset), a)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("full", [True, False])
def test_singular_values(shape: tuple[int, ...], full: bool) -> None:
    a = draw(*shape)
    u, s, vh = factors(lambda x: torch.linalg.svd(x, full_matrices=full), a)
    k = s.shape[-1]
    torch.testing.assert_close(u[..., :k] @ torch.diag_embed(s) @ vh[..., :k, :], a, rtol=1e-11, atol=1e-11)
    for q in (u.mT @ u, vh @ vh.mT):
        torch.testing.assert_close(q, torch.eye(q.shape[-1], dtype=a.dtype).expand_as(q), rtol=0, atol=1e-11)
    torch.testing.assert_close(s, torch.linalg.svdvals(a), rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize(
    "matrix",
    [
        torch.zeros(3, 3),
        torch.ones(4, 3),
        torch.diag(torch.tensor([1e-200, 1.0, 1e-8], dtype=torch.float64)),
        1e200 * torch.ones(3, 2, dtype=torch.float64),
    ],
    ids=["zero", "rank one", "graded", "huge"],
)
def test_singular_matrices(matrix: torch.Tensor) -> None:
    a = matrix.double()
    u, s, vh = factors(lambda x: torch.linalg.svd(x, full_matrices=False), a)
    scale = max(float(a.abs().max()), 1e-300)
    np.testing.assert_allclose((u * s) @ vh / scale, a / scale, atol=1e-12)
    np.testing.assert_allclose(u.mT @ u, np.eye(u.shape[-1]), atol=1e-12)
    np.testing.assert_allclose(s, torch.linalg.svdvals(a), rtol=1e-10, atol=1e-13 * scale)


@pytest.mark.parametrize("n", [1, 2, 5, 8])
def test_symmetric_eigenvalues(n: int) -> None:
    a = draw(2, n, n)
    a = a + a.mT
    values, vectors = factors(torch.linalg.eigh, a)
    torch.testing.assert_close(values, torch.linalg.eigvalsh(a), rtol=1e-11, atol=1e-12)
    torch.testing.assert_close(a @ vectors, vectors * values.unsqueeze(-2), rtol=1e-11, atol=1e-11)
    torch.testing.assert_close(vectors.mT @ vectors, torch.eye(n, dtype=a.dtype).expand(2, n, n), rtol=0, atol=1e-12)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("mode", ["reduced", "complete"])
def test_qr_has_the_signs_of_torch(shape: tuple[int, ...], mode: str) -> None:
    a = draw(*shape)
    for got, want in zip(factors(lambda x: torch.linalg.qr(x, mode), a), torch.linalg.qr(a, mode), strict=True):
        torch.testing.assert_close(got, want, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("opset", OPSETS)
def test_every_opset(opset: int) -> None:
    a = draw(3, 3)

    def function(x: torch.Tensor) -> Any:
        return torch.linalg.pinv(x), torch.linalg.qr(x)[1], torch.linalg.eigvalsh(x), torch.linalg.matrix_exp(x)

    model = Factors(function)
    same(run(convert(model, (a,), opset=opset), a), answers(model, a), rtol=1e-9, atol=1e-10)


def test_a_dynamic_size() -> None:
    model = Factors(lambda x: (torch.linalg.inv(x), torch.linalg.eigvalsh(x @ x.mT), torch.linalg.det(x)))
    proto = convert(model, (draw(4, 4),), dynamic_shapes={"a": {0: "n", 1: "n"}})
    for n in (2, 4, 7):
        same(run(proto, draw(n, n)), answers(model, draw(n, n)), rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("size", [1e-9, 1.0, 30.0])
def test_matrix_exponential(size: float) -> None:
    a = draw(3, 4, 4) * size
    model = Factors(torch.linalg.matrix_exp)
    want = answers(model, a)[0]
    np.testing.assert_allclose(run(convert(model, (a,)), a)[0] / abs(want).max(), want / abs(want).max(), atol=1e-10)


def test_the_pseudo_inverse_of_a_singular_matrix() -> None:
    a = draw(5, 2) @ draw(2, 4)
    model = Factors(torch.linalg.pinv)
    same(run(convert(model, (a,)), a), answers(model, a), rtol=1e-9, atol=1e-10)


# --- eigenvalues of general matrices ----------------------------------------------------------------------------------

_CYCLE = torch.roll(torch.eye(7, dtype=torch.float64), 1, 0)
GENERAL = {
    "random": torch.randn(4, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0)),
    "complex": torch.randn(2, 5, 5, dtype=torch.complex128, generator=torch.Generator().manual_seed(1)),
    "cycle": _CYCLE,
    "rotation": torch.tensor([[0.0, -1.0], [1.0, 0.0]], dtype=torch.float64),
    "triangular": torch.triu(torch.arange(1.0, 37).double().reshape(6, 6)),
    "defective": torch.tensor([[2.0, 1, 0], [0, 2, 1], [0, 0, 2]], dtype=torch.float64),
    "zero": torch.zeros(3, 3, dtype=torch.float64),
    "single": torch.tensor([[[2.0]], [[-3.0]]], dtype=torch.float64),
}


@pytest.mark.parametrize("matrix", GENERAL.values(), ids=GENERAL)
def test_eigenvalues_of_general_matrices(matrix: torch.Tensor) -> None:
    class Eigen(nn.Module):
        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return torch.linalg.eig(x)

    got = run(convert(Eigen(), (matrix,)), matrix)
    values, vectors = (torch.view_as_complex(torch.from_numpy(np.ascontiguousarray(a))) for a in got)
    want = torch.linalg.eigvals(matrix)
    # torch promises no order: each is compared with the nearest.
    for found, expected in zip(values.reshape(-1, values.shape[-1]), want.reshape(-1, values.shape[-1]), strict=True):
        left = found.tolist()
        for number in expected.tolist():
            nearest = min(left, key=lambda z, number=number: abs(z - number))
            left.remove(nearest)
            assert abs(nearest - number) <= 1e-9 * max(1.0, abs(number))
    residual = matrix.to(vectors.dtype) @ vectors - vectors * values.unsqueeze(-2)
    assert residual.abs().max() <= 1e-12 * max(1.0, float(matrix.abs().max()))
    torch.testing.assert_close(vectors.abs().square().sum(-2), torch.ones_like(values.real))
    if not matrix.is_complex():
        assert int((values.imag == 0).sum()) == int((want.imag == 0).sum()), "real eigenvalues are real"


# --- indefinite symmetric matrices ------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(1, 1), (4, 4), (3, 6, 6), (2, 9, 9)])
def test_factors_of_indefinite_matrices_are_those_of_lapack(shape: tuple[int, ...]) -> None:
    class Indefinite(nn.Module):
        def forward(self, x: torch.Tensor, y: torch.Tensor) -> Any:
            packed, pivots, info = torch.linalg.ldl_factor_ex(x)
            return packed, pivots, info, torch.linalg.ldl_solve(packed, pivots, y)

    a = draw(*shape)
    a = a + a.mT
    if len(shape) > 2:
        a[0].fill_diagonal_(0)  # blocks of two rows
    b = draw(*shape[:-1], 2)
    got = run(convert(Indefinite(), (a, b)), a, b)
    want = answers(Indefinite(), a, b)
    same(got, want, rtol=1e-10, atol=1e-12)
    assert len(shape) == 2 or (want[1] < 0).any()
