"""Operators that draw random numbers: shape, type and distribution."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from pytorch_support import convert, run
from torch import nn

N = 20000
# Several standard errors of a mean of N draws of variance 1.
CLOSE = 5 / np.sqrt(N)


class Draw(nn.Module):
    def __init__(self, function: Callable[[torch.Tensor], Any]) -> None:
        super().__init__()
        self._function = function

    def forward(self, x: torch.Tensor) -> Any:
        return self._function(x)


def draws(function: Callable[[torch.Tensor], Any], x: torch.Tensor | None = None) -> np.ndarray:
    x = torch.zeros(N) if x is None else x
    model = Draw(function)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        proto = convert(model, (x,))
    (got,) = run(proto, x)
    want = model(x)
    assert got.shape == tuple(want.shape)
    assert got.dtype == want.numpy().dtype
    return got


@pytest.mark.parametrize(
    ("function", "mean", "deviation"),
    [
        (torch.rand_like, 0.5, 12**-0.5),
        (torch.randn_like, 0.0, 1.0),
        (lambda x: torch.randint_like(x, 2, 12), 6.5, 99**0.5 / 12**0.5),
        (lambda x: x.clone().normal_(3.0, 2.0), 3.0, 2.0),
        (lambda x: x.clone().uniform_(-1.0, 3.0), 1.0, 4 / 12**0.5),
        (lambda x: x.clone().exponential_(2.0), 0.5, 0.5),
        (lambda x: torch.bernoulli(x + 0.3), 0.3, 0.21**0.5),
        (lambda x: nn.functional.dropout(x + 1, 0.25, training=True), 1.0, (1 / 3) ** 0.5),
        (lambda x: nn.functional.alpha_dropout(torch.randn_like(x), 0.3, training=True), 0.0, 1.0),
        (lambda x: nn.functional.rrelu(x - 1, 0.1, 0.5, training=True), -0.3, 0.4 / 12**0.5),
        (lambda x: x.clone().bernoulli_(x + 0.3), 0.3, 0.21**0.5),
        (lambda x: x.clone().bernoulli_(0.7), 0.7, 0.21**0.5),
        (lambda x: torch.poisson(x + 0.5), 0.5, 0.5**0.5),
        (lambda x: torch.poisson(x + 7.0), 7.0, 7.0**0.5),
        (lambda x: torch._standard_gamma(x + 0.4), 0.4, 0.4**0.5),
        (lambda x: torch._standard_gamma(x + 5.0), 5.0, 5.0**0.5),
        (lambda x: x.clone().random_(3, 9), 5.5, 35**0.5 / 12**0.5),
        (lambda x: x.clone().random_(4), 1.5, 15**0.5 / 12**0.5),
        (lambda x: x.clone().random_() / 2**24, 0.5, 12**-0.5),
        (lambda x: x.to(torch.int8).random_(), 63.5, 128 / 12**0.5),
        (lambda x: x.to(torch.int64).random_() / 2.0**63, 0.5, 12**-0.5),
    ],
    ids=[
        "rand",
        "randn",
        "randint",
        "normal",
        "uniform",
        "exponential",
        "bernoulli",
        "dropout",
        "alpha_dropout",
        "rrelu",
        "bernoulli_tensor",
        "bernoulli_number",
        "poisson_low",
        "poisson_high",
        "gamma_below_1",
        "gamma",
        "random_from_to",
        "random_to",
        "random_float",
        "random_int8",
        "random_int64",
    ],
)
def test_mean_and_deviation(function: Any, mean: float, deviation: float) -> None:
    got = draws(function).astype(np.float64)
    assert abs(got.mean() - mean) < CLOSE * max(deviation, 1.0)
    assert abs(got.std() - deviation) < 3 * CLOSE * max(deviation, 1.0)


def test_channels_are_dropped_whole() -> None:
    got = draws(lambda x: nn.functional.dropout2d(x, 0.5, training=True), torch.ones(20, 50, 2, 2))
    assert np.all(got == got[:, :, :1, :1])
    assert abs(got.mean() - 1.0) < 0.2


def test_a_permutation_holds_every_number_once() -> None:
    got = draws(lambda x: torch.randperm(x.size(0), dtype=torch.int32), torch.zeros(50))
    assert sorted(got.tolist()) == list(range(50))
    assert got.tolist() != list(range(50))


def test_a_permutation_of_a_length_known_at_run_time() -> None:
    model = Draw(lambda x: x[torch.randperm(x.size(0))])
    proto = convert(model, (torch.arange(5.0),), dynamic_shapes={"x": {0: "n"}})
    for count in (0, 1, 9):
        (got,) = run(proto, torch.arange(float(count)))
        assert sorted(got.tolist()) == list(range(count))


def test_a_rate_that_is_no_number_or_zero_gives_nothing() -> None:
    got = draws(torch.poisson, torch.zeros(5))
    np.testing.assert_array_equal(got, np.zeros(5, np.float32))


@pytest.mark.parametrize("replacement", [True, False])
def test_multinomial_follows_the_weights(replacement: bool) -> None:
    weights = torch.tensor([1.0, 0.0, 3.0, 4.0]).expand(N // 2, 4)
    got = draws(lambda w: torch.multinomial(w, 2, replacement=replacement), weights)
    first = np.bincount(got[:, 0], minlength=4) / len(got)
    np.testing.assert_allclose(first, [1 / 8, 0, 3 / 8, 1 / 2], atol=0.02)
    assert (got[:, 0] == got[:, 1]).any() == replacement


def test_two_draws_differ() -> None:
    got = draws(lambda x: torch.stack([torch.rand_like(x), torch.rand_like(x)]))
    assert not np.array_equal(got[0], got[1])


def test_dropout_in_training_mode_is_announced() -> None:
    model = Draw(lambda x: nn.functional.dropout(x, 0.5, training=True))
    with pytest.warns(UserWarning, match="training mode"):
        convert(model, (torch.ones(4),))


def test_dropout_in_evaluation_mode_is_nothing() -> None:
    x = torch.ones(100)
    np.testing.assert_array_equal(draws(nn.Dropout(0.5).eval(), x), x.numpy())


D = torch.distributions


@pytest.mark.parametrize(
    ("distribution", "mean", "deviation"),
    [
        (lambda x: D.Normal(x + 1, 2.0), 1.0, 2.0),
        (lambda x: D.Bernoulli(logits=x), 0.5, 0.5),
        (lambda x: D.Uniform(x - 1, x + 3), 1.0, 4 / 12**0.5),
        (lambda x: D.Exponential(x + 2), 0.5, 0.5),
        (lambda x: D.Laplace(x, 1.0), 0.0, 2**0.5),
        (lambda x: D.Gumbel(x, 1.0), np.euler_gamma, np.pi / 6**0.5),
        (lambda x: D.Poisson(x + 3), 3.0, 3**0.5),
        (lambda x: D.Gamma(x + 2, 2.0), 1.0, 0.5**0.5),
        (lambda x: D.Categorical(logits=x.unsqueeze(-1).expand(-1, 5)), 2.0, 2**0.5),
    ],
    ids=["normal", "bernoulli", "uniform", "exponential", "laplace", "gumbel", "poisson", "gamma", "categorical"],
)
def test_distributions_of_torch(distribution: Any, mean: float, deviation: float) -> None:
    """Their checks of parameters, which read the data, are left out of the trace; torch's own stay on elsewhere."""
    got = draws(lambda x: distribution(x).sample()).astype(np.float64)
    assert abs(got.mean() - mean) < CLOSE * deviation
    assert abs(got.std() / deviation - 1) < 0.06
    with pytest.raises(ValueError, match="constraint"):
        D.Normal(torch.zeros(2), -torch.ones(2))
