"""Special functions against mpmath: torch's own are not always exact."""

from __future__ import annotations

import math

import mpmath
import numpy as np
import pytest
import torch
from pytorch_support import answers, convert, run
from torch import nn

NAN, INF = math.nan, math.inf
FUNCTIONS = {
    "i0": lambda x: mpmath.besseli(0, x),
    "i0e": lambda x: mpmath.besseli(0, x) * mpmath.exp(-abs(x)),
    "i1": lambda x: mpmath.besseli(1, x),
    "i1e": lambda x: mpmath.besseli(1, x) * mpmath.exp(-abs(x)),
    "modified_bessel_k0": lambda x: mpmath.besselk(0, x),
    "modified_bessel_k1": lambda x: mpmath.besselk(1, x),
    "scaled_modified_bessel_k0": lambda x: mpmath.besselk(0, x) * mpmath.exp(x),
    "scaled_modified_bessel_k1": lambda x: mpmath.besselk(1, x) * mpmath.exp(x),
    "bessel_j0": lambda x: mpmath.besselj(0, x),
    "bessel_j1": lambda x: mpmath.besselj(1, x),
    "bessel_y0": lambda x: mpmath.bessely(0, x),
    "bessel_y1": lambda x: mpmath.bessely(1, x),
    "spherical_bessel_j0": lambda x: mpmath.sin(x) / x,
    "airy_ai": mpmath.airyai,
    "erfcx": lambda x: mpmath.exp(x * x) * mpmath.erfc(x),
    "log_ndtr": lambda x: mpmath.log(mpmath.erfc(-x / mpmath.sqrt(2)) / 2),
}
# Defined above zero only.
POSITIVE = ("bessel_y", "modified_bessel_k")


class Special(nn.Module):
    def __init__(self, name: str) -> None:
        super().__init__()
        self._function = getattr(torch.special, name)

    def forward(self, *args: torch.Tensor) -> torch.Tensor:
        return self._function(*args)  # type: ignore[no-any-return]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_float64_is_exact(name: str) -> None:
    sizes = [1e-12, 1e-3, 0.49, 1.0, 1.99, 2.0, 2.01, 3.9, 4.1, 6.5, 7.99, 8.0, 8.01, 11.7, 20.0, 25.9]
    x = np.asarray(sizes if any(p in name for p in POSITIVE) else [*sizes, *(-s for s in sizes)])
    (got,) = run(convert(Special(name), (torch.from_numpy(x),)), x)
    with mpmath.workdps(30):
        want = np.asarray([float(FUNCTIONS[name](mpmath.mpf(float(v)))) for v in x])
    np.testing.assert_allclose(got, want, rtol=2e-14, atol=2e-15)


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_borders_as_torch_has_them(name: str, dtype: torch.dtype) -> None:
    x = torch.tensor([0.0, NAN, INF], dtype=dtype) if name == "airy_ai" else torch.tensor([0.0, NAN], dtype=dtype)
    model = Special(name)
    np.testing.assert_allclose(run(convert(model, (x,)), x)[0], answers(model, x)[0], rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", ["gammainc", "gammaincc"])
def test_incomplete_gamma_functions(name: str) -> None:
    grid = torch.tensor([1e-3, 0.3, 1.0, 2.5, 20.0, 33.3, 150.0, 900.0], dtype=torch.float64)
    a, x = (t.reshape(-1).contiguous() for t in torch.meshgrid(grid, grid, indexing="ij"))
    (got,) = run(convert(Special(name), (a, x)), a, x)
    limits = (0, None) if name == "gammainc" else (None, mpmath.inf)
    pairs = zip(a.tolist(), x.tolist(), strict=True)
    with mpmath.workdps(30):
        want = [float(mpmath.gammainc(p, *(q if v is None else v for v in limits), regularized=True)) for p, q in pairs]
    np.testing.assert_allclose(got, want, rtol=1e-10, atol=1e-12)


def test_borders_of_the_incomplete_gamma_functions() -> None:
    values = torch.tensor([-1.0, 0.0, 2.0, INF], dtype=torch.float64)
    a, x = (t.reshape(-1).contiguous() for t in torch.meshgrid(values, values, indexing="ij"))
    for name in ("gammainc", "gammaincc"):
        model = Special(name)
        got, want = run(convert(model, (a, x)), a, x)[0], answers(model, a, x)[0]
        np.testing.assert_allclose(got, want, rtol=1e-12)


@pytest.mark.parametrize("name", ["chebyshev_polynomial_t", "shifted_chebyshev_polynomial_u", "legendre_polynomial_p"])
def test_polynomials_of_high_degree_end(name: str) -> None:
    x = torch.tensor([0.3, 1.0, -1.0, 1.5, -0.9, 2.0], dtype=torch.float64)
    n = torch.tensor([40.0, 1e12, 7.0, 1e9, 3.0, -2.0], dtype=torch.float64)
    if name == "legendre_polynomial_p":
        n[0] = 60.0
    model = Special(name)
    got, want = run(convert(model, (x, n)), x, n)[0], answers(model, x, n)[0]
    np.testing.assert_allclose(got, want, rtol=1e-9)
