"""pt2e-quantized models: the operators that torch's quantizer writes, as QuantizeLinear and DequantizeLinear."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from pytorch_support import OPSETS, answers, convert, operators, run, same
from torch import nn
from torch.ao.quantization.fx import _decomposed  # noqa: F401 - defines the operators

ops = torch.ops.quantized_decomposed
INT8 = (-128, 127, torch.int8)


class QuantizedLinear(nn.Module):
    """What pt2e makes of a Linear: levels of the input, weights kept as int8, a scale for each row of them."""

    def __init__(self) -> None:
        super().__init__()
        weight = torch.randn(5, 8)
        scales = weight.abs().amax(1) / 127
        zeros = torch.zeros(5, dtype=torch.int64)
        self.register_buffer("weight", ops.quantize_per_channel(weight, scales, zeros, 0, -127, 127, torch.int8))
        self.register_buffer("scales", scales)
        self.register_buffer("zeros", zeros)
        self.bias = nn.Parameter(torch.randn(5))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = ops.quantize_per_tensor(x, 0.031, 3, 0, 255, torch.uint8)
        x = ops.dequantize_per_tensor(x, 0.031, 3, 0, 255, torch.uint8)
        weight = ops.dequantize_per_channel(self.weight, self.scales, self.zeros, 0, -127, 127, torch.int8)
        y = torch.relu(nn.functional.linear(x, weight, self.bias))
        y = ops.quantize_per_tensor(y, 0.017, -128, *INT8)
        return ops.dequantize_per_tensor(y, 0.017, -128, *INT8)


@pytest.mark.parametrize("opset", OPSETS)
def test_a_static_linear_layer(opset: int) -> None:
    torch.manual_seed(0)
    model = QuantizedLinear()
    proto = convert(model, (torch.randn(2, 8),), dynamic_shapes=({0: "batch"},), opset=opset)
    # onnxruntime has no kernel for the newest version yet: plain arithmetic there.
    assert operators(proto).count("QuantizeLinear") == (0 if opset == 28 else 2)
    assert operators(proto).count("DequantizeLinear") == (0 if opset == 28 else 3)
    kept = next(i for i in proto.graph.initializer if i.name == "weight")
    assert kept.data_type == 3  # int8
    for batch in (1, 7):
        x = torch.randn(batch, 8)
        # One level of the output, where a sum lies on the edge between two.
        same(run(proto, x), answers(model, x), 0, 0.0171)


class QuantizedConvolution(nn.Module):
    """A convolution with an int8 weight, a scale for each channel, and levels of int8 for its input."""

    def __init__(self) -> None:
        super().__init__()
        weight = torch.randn(4, 3, 3, 3)
        scales = weight.abs().amax((1, 2, 3)) / 127
        zeros = torch.zeros(4, dtype=torch.int64)
        self.register_buffer("weight", ops.quantize_per_channel(weight, scales, zeros, 0, -127, 127, torch.int8))
        self.register_buffer("scales", scales)
        self.register_buffer("zeros", zeros)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = ops.dequantize_per_tensor(ops.quantize_per_tensor(x, 0.03, 5, *INT8), 0.03, 5, *INT8)
        weight = ops.dequantize_per_channel(self.weight, self.scales, self.zeros, 0, -127, 127, torch.int8)
        return nn.functional.conv2d(x, weight, padding=1)


def test_a_static_convolution() -> None:
    torch.manual_seed(0)
    model = QuantizedConvolution()
    proto = convert(model, (torch.randn(2, 3, 8, 8),), dynamic_shapes=({0: "batch"},))
    x = torch.randn(3, 3, 8, 8)
    same(run(proto, x), answers(model, x), 1e-4, 1e-4)


class One(nn.Module):
    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function = function

    def forward(self, *args: torch.Tensor) -> Any:
        return self.function(*args)


def _dynamic(x: torch.Tensor) -> Any:
    scale, point = ops.choose_qparams.tensor(x, -128, 127, 1e-5, torch.int8)
    levels = ops.quantize_per_tensor.tensor(x, scale, point, *INT8)
    return scale, point, levels, ops.dequantize_per_tensor.tensor(levels, scale, point, *INT8)


def _symmetric(x: torch.Tensor) -> Any:
    return ops.choose_qparams_symmetric.tensor(x, -127, 127, 1e-5, torch.int8)


def _tokens(x: torch.Tensor) -> Any:
    scales, points = ops.choose_qparams_per_token_asymmetric(x, torch.int8)
    levels = ops.quantize_per_token(x, scales, points, *INT8)
    return scales, points, levels, ops.dequantize_per_token(levels, scales, points, *INT8, torch.float32)


def _groups(x: torch.Tensor) -> Any:
    scales, points = torch.full((x.shape[0], 2), 0.02), torch.ones(x.shape[0], 2, dtype=torch.int32)
    levels = ops.quantize_per_channel_group(x, scales, points, -8, 7, torch.int8, 4)
    return levels, ops.dequantize_per_channel_group(levels, scales, points, -8, 7, torch.int8, 4, torch.float32)


def _wide(x: torch.Tensor) -> Any:
    levels = ops.quantize_per_tensor(x, 0.001, 0, -(2**31), 2**31 - 1, torch.int32)
    small = ops.quantize_per_tensor(x, 0.001, 2, -30000, 30000, torch.int16)
    return levels, small, ops.dequantize_per_tensor(small, 0.001, 2, -30000, 30000, torch.int16)


@pytest.mark.parametrize("function", [_dynamic, _symmetric, _tokens, _groups, _wide])
def test_every_operator(function: Any) -> None:
    torch.manual_seed(0)
    model = One(function)
    proto = convert(model, (torch.randn(3, 8),))
    for scale in (1.0, 5.0):
        x = torch.randn(3, 8) * scale
        for got, want in zip(run(proto, x), answers(model, x), strict=True):
            assert got.dtype == want.dtype
            if want.dtype.kind == "f":
                np.testing.assert_allclose(got, want, rtol=1e-6, atol=1e-6)
            else:
                np.testing.assert_array_equal(got, want)


def test_every_operator_of_the_library_has_a_row_or_is_named() -> None:
    from any2onnx.operator_mappings.registry import default_registry

    registry = default_registry()
    known = [name for name in dir(ops) if hasattr(getattr(ops, name), "overloads")]
    missing = [
        f"quantized_decomposed.{name}.{overload}"
        for name in known
        for overload in getattr(ops, name).overloads()
        if registry.find("pytorch", f"quantized_decomposed.{name}.{overload}", 21) is None
    ]
    assert not [name for name in missing if "per_tensor" in name or "per_channel" in name]
