"""Operators outside of torch's own database, and sizes at which the model takes another path than the trace."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from pytorch_support import answers, convert, operators, run, same
from torch import nn

from any2onnx.errors import ExportFailed, UnsupportedOperator


class Of(nn.Module):
    """A function of up to three tensors."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self._function = function

    def forward(self, x: Any, y: Any = None, z: Any = None) -> Any:
        return self._function(*(v for v in (x, y, z) if v is not None))


def draw(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def levels(*shape: int) -> torch.Tensor:
    return torch.randint(-128, 127, shape, dtype=torch.int8, generator=torch.Generator().manual_seed(0))


def checked(function: Callable[..., Any], *tensors: torch.Tensor, rtol: float = 2e-5) -> Any:
    model = Of(function)
    proto = convert(model, tensors)
    same(run(proto, *tensors), answers(model, *(t.clone() for t in tensors)), rtol=rtol, atol=1e-5)
    return proto


WINDOWS = {
    "bartlett": lambda x: x * torch.bartlett_window(6),
    "blackman": lambda x: x * torch.blackman_window(6, periodic=False),
    "hamming": lambda x: x * torch.hamming_window(6, True, 0.6, 0.4),
    "hann": lambda x: x * torch.hann_window(6),
    "kaiser": lambda x: x * torch.kaiser_window(6, True, 9.0),
    "fftfreq": lambda x: x + torch.fft.fftfreq(6, 0.5),
    "rfftfreq": lambda x: x + torch.fft.rfftfreq(10),
    "range": lambda x: x + torch.arange(6),
}


@pytest.mark.parametrize("name", WINDOWS)
def test_a_tensor_made_from_numbers_alone_is_a_constant(name: str) -> None:
    assert set(operators(checked(WINDOWS[name], draw(3, 6)))) <= {"Mul", "Add", "Cast"}


def test_convolution_over_time_batch_channels() -> None:
    checked(lambda x, w, b: torch.conv_tbc(x, w, b, 1), draw(7, 2, 3), draw(3, 3, 5), draw(5))


@pytest.mark.parametrize("transposed", [False, True])
def test_the_inner_convolution(transposed: bool) -> None:
    weight = draw(3, 5, 3) if transposed else draw(5, 3, 3)

    def convolved(x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        return torch._convolution(x, w, None, [1], [1], [1], transposed, [0], 1, False, False, False, False)

    checked(convolved, draw(2, 3, 8), weight)


def test_einstein_summation_of_truth_values() -> None:
    checked(lambda x: torch.einsum("ij->ji", x), draw(3, 4) > 0)


def test_products_of_int8() -> None:
    checked(torch._int_mm, levels(20, 8), levels(8, 8))


def test_product_with_an_int8_weight() -> None:
    weight, scales = levels(32, 32), draw(32).abs() / 100
    checked(lambda x: torch._weight_int8pack_mm(x, weight, scales), draw(2, 32))


def test_a_tensor_set_to_another() -> None:
    def replaced(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        x = x + 1
        x.set_(y)
        return x * 2

    checked(replaced, draw(3, 4), draw(2, 5))


def test_all_and_any_as_inner_operators() -> None:
    checked(lambda x: (torch._is_all_true(x), torch._is_any_true(x)), draw(3, 4) > 0)


RANGES = [(0, 255), (-128, 127), (0, 127), (-64, 63), (-1000, 1000)]
NUMBERS = torch.cat([draw(30) * 3, torch.tensor([0.0, -0.0, 0.025, -0.025, 0.075, 1e6, -1e6, 0.125])])


@pytest.mark.parametrize("limits", RANGES, ids=str)
def test_numbers_rounded_to_levels(limits: tuple[int, int]) -> None:
    proto = checked(lambda x: torch.fake_quantize_per_tensor_affine(x, 0.0625, 3, *limits), NUMBERS)
    eight_bits = limits[1] < 256
    assert ("QuantizeLinear" in operators(proto)) == eight_bits


@pytest.mark.parametrize("limits", RANGES, ids=str)
@pytest.mark.parametrize("axis", [0, 1])
def test_numbers_rounded_to_levels_by_channel(limits: tuple[int, int], axis: int) -> None:
    scales, zeros = torch.tensor([0.0625, 0.5, 0.125]), torch.tensor([0, 2, 5], dtype=torch.int32)
    x = NUMBERS[:36].reshape((3, 12) if axis == 0 else (12, 3))
    checked(lambda x: torch.fake_quantize_per_channel_affine(x, scales, zeros, axis, *limits), x)


@pytest.mark.parametrize("limits", RANGES, ids=str)
def test_numbers_rounded_to_levels_of_tensors(limits: tuple[int, int]) -> None:
    def rounded(x: torch.Tensor, scale: torch.Tensor, zero: torch.Tensor) -> torch.Tensor:
        return torch.fake_quantize_per_tensor_affine(x, scale, zero, *limits)

    checked(rounded, NUMBERS, torch.tensor(0.0625), torch.tensor(4, dtype=torch.int32))


def test_torchs_own_quantized_tensors_are_refused_with_a_way_out() -> None:
    with pytest.raises(UnsupportedOperator, match="pt2e"):
        convert(Of(lambda x: torch.quantize_per_tensor(x, 0.1, 0, torch.qint8).dequantize()), (draw(3),))


BAGS = [[0, 2, 5, 7], [0, 2, 5, 6], [0, 2, 2, 4]]


@pytest.mark.parametrize("ends", BAGS, ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
def test_bags_with_the_end_of_the_last(mode: str, dtype: torch.dtype, ends: list[int]) -> None:
    weight = draw(10, 4).to(dtype)

    def bags(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return nn.functional.embedding_bag(x, weight, y, mode=mode, include_last_offset=True)

    checked(bags, torch.tensor([1, 9, 4, 4, 0, 7, 2]), torch.tensor(ends))


@pytest.mark.parametrize("opset", [13, 15, 16, 18])
@pytest.mark.parametrize("function", [torch.cummax, torch.cummin])
def test_running_extremes_at_the_oldest_opsets(function: Callable[..., Any], opset: int) -> None:
    model, x = Of(lambda x: function(x, 1)), draw(3, 4)
    for spec in (None, {"x": {0: "rows", 1: "columns"}}):
        same(run(convert(model, (x,), dynamic_shapes=spec, opset=opset), x), answers(model, x))


# --- numbers that the model takes from its tensors -------------------------------------------------------------------


@pytest.mark.parametrize("end", [6.2, 6.0, 0.3])
def test_a_range_that_ends_at_a_float_of_the_data(end: float) -> None:
    def ranges(x: torch.Tensor, y: torch.Tensor) -> Any:
        return torch.arange(y), torch.arange(x.size(0), y + 3, 1.5), torch.arange(y + 9, x.size(0), -2.5)

    model = Of(ranges)
    proto = convert(model, (draw(2, 3), torch.tensor(4.5)), dynamic_shapes={"x": {0: "n"}, "y": None})
    for rows in (1, 2, 3):
        inputs = draw(rows, 3), torch.tensor(end)
        same(run(proto, *inputs), answers(model, *inputs))


@pytest.mark.parametrize("dtype", [torch.int32, torch.int64, torch.float32])
def test_a_range_of_whole_numbers_cuts_its_ends_first(dtype: torch.dtype) -> None:
    model = Of(lambda x: torch.arange(x.size(0), 8.5, 1.5, dtype=dtype))
    proto = convert(model, (draw(2),), dynamic_shapes={"x": {0: "n"}})
    for count in (1, 2, 7):
        same(run(proto, draw(count)), answers(model, draw(count)))


# --- dims that are 1, or none, at some sizes -------------------------------------------------------------------------

SQUEEZES = {
    "all": lambda x: x.squeeze() * 2,
    "one": lambda x: x.squeeze(1) * 2,
    "several": lambda x: x.squeeze((1, 2)) * 2,
    "last": lambda x: x[:, :, 0].squeeze(-1) * 2,
}


@pytest.mark.parametrize("name", SQUEEZES)
def test_squeeze_of_a_dynamic_dim_is_announced(name: str) -> None:
    model, x = Of(SQUEEZES[name]), draw(2, 3, 4)
    with pytest.warns(UserWarning, match="another path .*does not hold: channels != 1"):
        proto = convert(model, (x,), dynamic_shapes={"x": {1: "channels"}})
    for channels in (2, 3, 5):
        x = draw(2, channels, 4)
        same(run(proto, x), answers(model, x))


@pytest.mark.parametrize("name", SQUEEZES)
def test_squeeze_of_the_examples_dim_that_is_dynamic_is_refused(name: str) -> None:
    with pytest.raises(ExportFailed, match="squeeze removes a dim of the example, channels = 1"):
        convert(Of(SQUEEZES[name]), (draw(2, 1, 4),), dynamic_shapes={"x": {1: "channels"}})


def test_squeeze_of_other_dims_says_nothing() -> None:
    x = draw(3, 1, 4)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        proto = convert(Of(lambda x: x.squeeze(1)), (x,), dynamic_shapes={"x": {0: "batch"}})
        limited = {"x": {1: torch.export.Dim("channels", min=2)}}
        convert(Of(lambda x: x.squeeze(1)), (draw(3, 3, 4),), dynamic_shapes=limited)
    same(run(proto, x), answers(Of(lambda x: x.squeeze(1)), x))


def test_squeeze_of_a_size_found_in_the_data_is_announced() -> None:
    with pytest.warns(UserWarning, match="a size found in the data != 1"):
        proto = convert(Of(lambda x: x.nonzero().squeeze(0)), (torch.tensor([1.0, 0.0, 2.0]),))
    np.testing.assert_array_equal(run(proto, np.float32([1, 0, 2]))[0], [[0], [2]])


# --- sizes that are only known at run time ----------------------------------------------------------------------------

FREE: dict[str, tuple[Callable[..., Any], tuple[int, ...], tuple[int, ...]]] = {
    "group_norm": (lambda x: nn.functional.group_norm(x, 2), (2, 4, 5), (3, 6, 2)),
    "group_norm_of_vectors": (lambda x: nn.functional.group_norm(x, 2, eps=0.1), (2, 4), (1, 10)),
    "instance_norm": (nn.functional.instance_norm, (2, 4, 5), (1, 3, 7)),
    "replication_that_crops": (lambda x: nn.functional.pad(x, (2, -1), "replicate"), (2, 4, 5), (1, 3, 7)),
    "replication_that_crops_in_front": (lambda x: nn.functional.pad(x, (-2, 3), "replicate"), (2, 4, 5), (1, 3, 3)),
    "attention": (lambda x: nn.functional.scaled_dot_product_attention(x, x, x), (2, 4, 5), (1, 3, 16)),
}


@pytest.mark.parametrize("name", FREE)
def test_every_dim_may_be_dynamic(name: str) -> None:
    function, traced, other = FREE[name]
    model = Of(function)
    proto = convert(model, (draw(*traced),), dynamic_shapes={"x": {k: f"d{k}" for k in range(len(traced))}})
    for shape in (traced, other):
        same(run(proto, draw(*shape)), answers(model, draw(*shape)))


# --- transforms of torch.func -----------------------------------------------------------------------------------------


def added(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return a + b


def linear_recurrence(a: Any, b: Any) -> Any:
    return a[0] * b[0], a[1] * b[0] + b[1]


def scanned(combine: Any, xs: Any, dim: int, *, reverse: bool = False) -> Any:
    from torch._higher_order_ops.associative_scan import associative_scan

    return associative_scan(combine, xs, dim=dim, reverse=reverse, combine_mode="generic")


TRANSFORMS: dict[str, Callable[..., Any]] = {
    "vmap": torch.func.vmap(lambda row: row.sum() * row),
    "vmap_in_dims": lambda x: torch.func.vmap(torch.dot, in_dims=(0, 1))(x, x.T * 2),
    "vmap_nested": torch.func.vmap(torch.func.vmap(lambda v: v * 3 + 1)),
    "vmap_of_a_layer": lambda x: torch.func.vmap(nn.functional.softmax, in_dims=0)(x, dim=0),
    "jvp": lambda x: torch.func.jvp(torch.sin, (x,), (x * 2,))[1],
    "associative_scan": lambda x: scanned(added, x, 0),
    "associative_scan_of_two": lambda x: scanned(linear_recurrence, (x, x * 0.5), 1, reverse=True),
    "associative_scan_of_one_element": lambda x: scanned(added, x[:1], 0),
}


@pytest.mark.parametrize("name", TRANSFORMS)
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_transforms_are_carried_out(name: str) -> None:
    checked(TRANSFORMS[name], draw(5, 4))


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_vmap_over_a_dynamic_dim() -> None:
    model = Of(TRANSFORMS["vmap"])
    proto = convert(model, (draw(5, 4),), dynamic_shapes={"x": {0: "rows"}})
    for rows in (1, 5, 8):
        same(run(proto, draw(rows, 4)), answers(model, draw(rows, 4)))


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_a_scan_of_dynamic_length_says_for_which_its_depth_is_right() -> None:
    with pytest.warns(UserWarning, match="another path for sizes"):
        convert(Of(TRANSFORMS["associative_scan"]), (draw(5, 4),), dynamic_shapes={"x": {0: "n"}})


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_a_transform_that_torch_cannot_carry_out_is_an_export_error() -> None:
    with pytest.raises(ExportFailed, match="torch cannot carry out"):
        convert(Of(torch.func.grad(lambda v: (v**3).sum())), (draw(5),))


# --- masks ------------------------------------------------------------------------------------------------------------


class Encoder(nn.Module):
    def __init__(self, *, inside: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self._encoder, self._inside = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False), inside

    def forward(self, x: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        if self._inside:
            mask = nn.Transformer.generate_square_subsequent_mask(x.shape[1])
        return self._encoder(x, mask)


def test_a_mask_of_a_transformer_may_come_with_the_data() -> None:
    model, x = Encoder(), draw(2, 5, 8)
    proto = convert(model, (x, torch.zeros(5, 5)))
    later = torch.full((5, 5), -torch.inf).triu(1)
    for mask in (torch.zeros(5, 5), later, later.T.contiguous()):
        same(run(proto, x, mask), answers(model, x, mask))


def test_a_causal_mask_made_inside_of_the_model_follows_the_length() -> None:
    model = Encoder(inside=True)
    proto = convert(model, (draw(2, 5, 8),), dynamic_shapes={"x": {0: "batch", 1: "length"}})
    for shape in ((2, 5, 8), (1, 1, 8), (3, 9, 8)):
        same(run(proto, draw(*shape)), answers(model, draw(*shape)))


def test_the_decoder_of_a_transformer_with_both_masks() -> None:
    torch.manual_seed(0)
    model = nn.Transformer(8, 2, 1, 1, 16, batch_first=True)
    source, target = draw(2, 4, 8), draw(2, 3, 8)
    masks = torch.zeros(4, 4), torch.full((3, 3), -torch.inf).triu(1)
    proto = convert(model, (source, target, *masks))
    same(run(proto, source, target, *masks), answers(model, source, target, *masks))


def by_size(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return x * 2 if y.size(0) == 0 else x * 4


def test_a_path_for_empty_examples_is_refused() -> None:
    with pytest.raises(ExportFailed, match="a path of its own where a dynamic dim has size 0"):
        convert(Of(by_size), (draw(2), draw(0, 3)), dynamic_shapes={"x": None, "y": {0: "n"}})


def test_an_empty_example_is_as_good_as_another() -> None:
    model = Of(lambda x, y: torch.cat([x, y]) * 2)
    proto = convert(model, (draw(2, 3), draw(0, 3)), dynamic_shapes={"x": None, "y": {0: "past"}})
    for past in (0, 1, 4):
        same(run(proto, draw(2, 3), draw(past, 3)), answers(model, draw(2, 3), draw(past, 3)))
