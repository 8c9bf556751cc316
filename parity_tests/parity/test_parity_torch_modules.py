"""PyTorch modules that keep state, refuse empty batches, or pick values by index: converted right, and passed."""

from __future__ import annotations

import pytest
import torch

from any2onnx import check_parity, convert_pytorch


class _Averages(torch.nn.Module):
    """Counts and averages what it sees, as normalisations and caches in buffers do."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.full((3,), 0.5))
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.mean.mul_(0.9).add_(x.mean(0), alpha=0.1)
        self.calls = self.calls + 1
        return x - self.mean


def test_every_run_of_a_module_starts_from_the_state_that_it_was_given_in() -> None:
    module = _Averages().eval()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    proto = convert_pytorch(module, (torch.randn(4, 3),), dynamic_shapes=({0: "rows"},))
    check_parity(module, proto, suites="typical,determinism,scaled").raise_if_failed()
    after = module.state_dict()
    assert all(torch.equal(after[name], values) for name, values in before.items())


def test_an_empty_batch_that_both_sides_refuse_is_no_difference() -> None:
    """A recurrent layer refuses a sequence without steps, and its first axis is one."""
    module = torch.nn.LSTM(4, 6, proj_size=3).eval()
    proto = convert_pytorch(module, (torch.randn(5, 2, 4),), dynamic_shapes=({0: "steps", 1: "batch"},))
    report = check_parity(module, proto, suites="typical,shape")
    report.raise_if_failed()
    (empty,) = [result for result in report.results if result.case == "batch 0" and result.output == "output_0"]
    assert empty.status == "skipped"
    assert "neither side takes an empty batch" in empty.note


class _Detector(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 8, 3, padding=1)
        self.head = torch.nn.Conv2d(8, 5, 1)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        y = self.head(torch.nn.functional.silu(self.conv(x))).flatten(2).transpose(1, 2)
        score, at = y[..., 4].topk(5, dim=1)
        return torch.gather(y[..., :4].sigmoid(), 1, at[..., None].expand(-1, -1, 4)), score.sigmoid()


@pytest.mark.parametrize("seed", [1, 3, 5, 10])
def test_values_picked_by_index_are_excused_as_the_others_are(seed: int) -> None:
    """A convolution of large numbers behind sigmoid, top k and gather: rounding, no fault."""
    torch.manual_seed(seed)
    module = _Detector().eval()
    sizes = ({0: "batch", 2: "height", 3: "width"},)
    proto = convert_pytorch(module, (torch.randn(1, 3, 8, 8),), dynamic_shapes=sizes)
    check_parity(module, proto, suites="typical,scaled,boundary").raise_if_failed()
