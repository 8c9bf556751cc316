"""Torch modules written out in ONNX, and the mistakes that converters make with them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from any2onnx.parity.self_test.specimen import Mutant, Specimen, Subject

TORCH = "torch"
# Two's complement: 500,000,000 times a one-digit number overflows int32.
_LARGE = 500_000_000


def _numpy(tensor: Any) -> Any:
    return tensor.detach().numpy()


# --- integers --------------------------------------------------------------------------------------------------------

_INTEGERS = """integers (int32[batch, 4] x) =>
    (int32[batch, 4] quotient, int32[batch, 4] rest, int32[batch, 4] product) {
  shifted = Sub (x, five)
  cut = Div (shifted, three)
  back = Mul (cut, three)
  left = Sub (shifted, back)
  below = Less (left, zero)
  step = Cast <to = 6> (below)
  quotient = Sub (cut, step)
  rest = Mod <fmod = 0> (shifted, three)
  product = Mul (x, large)
}"""


def _integers() -> Subject:
    import torch

    class Integers(torch.nn.Module):
        def forward(self, x: Any) -> Any:
            return (x - 5) // 3, torch.remainder(x - 5, 3), x * _LARGE

    weights = {name: np.int32(value) for name, value in (("zero", 0), ("three", 3), ("five", 5), ("large", _LARGE))}
    return Subject(Integers(), _INTEGERS, weights)


_LOOKUP = """lookup (int64[batch, 3] x) => (float[batch, 3, 4] y) {
  before = Sub (x, one)
  y = Gather <axis = 0> (table, before)
}"""


def _lookup() -> Subject:
    import torch

    generator = torch.Generator().manual_seed(0)
    table = torch.randn(10, 4, generator=generator)

    class Lookup(torch.nn.Module):
        def forward(self, x: Any) -> Any:
            return table[x - 1]

    return Subject(Lookup(), _LOOKUP, {"one": np.int64(1), "table": _numpy(table)})


# --- elementwise -----------------------------------------------------------------------------------------------------

_ELEMENTWISE = """elementwise (float[batch, 6] x) =>
    (float[batch, 6] rounded, float[batch, 6] clipped, float[batch, 6] signs) {
  scaled = Mul (x, one)
  rounded = Round (scaled)
  clipped = Clip (x, low, high)
  inverse = Div (one, x)
  negative = Less (inverse, zero)
  signs = Where (negative, minus, one)
}"""


def _elementwise() -> Subject:
    import torch

    class Elementwise(torch.nn.Module):
        def forward(self, x: Any) -> Any:
            return torch.round(x), torch.clamp(x, -1.0, 1.5), torch.where(1 / x < 0, -torch.ones_like(x), 1.0)

    values = {"zero": 0, "one": 1, "minus": -1, "low": -1, "high": 1.5}
    return Subject(Elementwise(), _ELEMENTWISE, {name: np.float32(value) for name, value in values.items()})


_NANS = """nans (float[batch, 5] x) => (float[batch, 5] y) {
  missing = IsNaN (x)
  filled = Where (missing, zero, x)
  low = Max (filled, least)
  y = Min (low, most)
}"""


def _nans() -> Subject:
    import torch

    class Nans(torch.nn.Module):
        def forward(self, x: Any) -> Any:
            return torch.nan_to_num(x)

    top = np.finfo(np.float32).max
    return Subject(Nans(), _NANS, {"zero": np.float32(0), "least": -top, "most": top})


_GELU = """gelu (float[batch, 8] x) => (float[batch, 8] y) {
  scaled = Div (x, root)
  error = Erf (scaled)
  shifted = Add (error, one)
  product = Mul (x, shifted)
  y = Mul (product, half)
}"""
_GELU_TANH = """gelu (float[batch, 8] x) => (float[batch, 8] y) {
  square = Mul (x, x)
  cube = Mul (square, x)
  part = Mul (cube, small)
  both = Add (x, part)
  scaled = Mul (both, factor)
  error = Tanh (scaled)
  shifted = Add (error, one)
  product = Mul (x, shifted)
  y = Mul (product, half)
}"""


def _gelu() -> Subject:
    import torch

    weights = {
        "root": np.float32(math.sqrt(2)),
        "one": np.float32(1),
        "half": np.float32(0.5),
        "small": np.float32(0.044715),
        "factor": np.float32(math.sqrt(2 / math.pi)),
    }
    return Subject(torch.nn.GELU(), _GELU, weights)


# --- reductions ------------------------------------------------------------------------------------------------------

_STATISTICS = """statistics (float[batch, 8] x) => (float[batch] spread, float[batch, 8] sums, float[batch] total) {
  mean = ReduceMean <keepdims = 1> (x, axis)
  centred = Sub (x, mean)
  squares = Mul (centred, centred)
  sum = ReduceSum <keepdims = 0> (squares, axis)
  variance = Div (sum, freedom)
  spread = Sqrt (variance)
  sums = CumSum <exclusive = 0> (x, place)
  most = ReduceMax <keepdims = 1> (x, axis)
  below = Sub (x, most)
  powers = Exp (below)
  added = ReduceSum <keepdims = 1> (powers, axis)
  logs = Log (added)
  raised = Add (logs, most)
  total = Squeeze (raised, axis)
}"""
_NAIVE_SUM = (
    ("below = Sub (x, most)", "below = Identity (x)"),
    ("raised = Add (logs, most)", "raised = Identity (logs)"),
)


def _statistics() -> Subject:
    import torch

    class Statistics(torch.nn.Module):
        def forward(self, x: Any) -> Any:
            return x.std(dim=1), x.cumsum(1), x.logsumexp(1)

    return Subject(Statistics(), _STATISTICS, {"axis": np.array([1]), "place": np.int64(1), "freedom": np.float32(7)})


_CHOICE = """choice (float[batch, 6] x) => (int64[batch] best, float[batch, 2] values, int64[batch, 2] places) {
  positive = Relu (x)
  best = ArgMax <axis = 1, keepdims = 0, select_last_index = 0> (positive)
  values, places = TopK <axis = 1, largest = 1, sorted = 1> (x, two)
}"""


def _choice() -> Subject:
    import torch

    class Choice(torch.nn.Module):
        def forward(self, x: Any) -> Any:
            return (torch.relu(x - 1) + 0).argmax(1), *torch.topk(x, 2)

    text = _CHOICE.replace("positive = Relu (x)", "lower = Sub (x, one)\n  positive = Relu (lower)")
    return Subject(Choice(), text, {"two": np.array([2]), "one": np.float32(1)})


_WINDOW = """window (float[batch, 9] x) => (float[batch, 1, 7] y) {
  part = Slice (x, start, end, axis)
  y = Unsqueeze (part, axis)
}"""


def _window() -> Subject:
    import torch

    class Window(torch.nn.Module):
        def forward(self, x: Any) -> Any:
            return x[:, 1:-1].unsqueeze(1)

    return Subject(Window(), _WINDOW, {"start": np.array([1]), "end": np.array([-1]), "axis": np.array([1])})


# --- layers ----------------------------------------------------------------------------------------------------------

_IMAGE = """image (float[batch, 4, 9, 9] x) => (float[batch, 4, 4, 4] y) {
  maps = Conv <kernel_shape = [3, 3], dilations = [2, 2], pads = [2, 2, 2, 2], group = 2> (x, kernel, bias)
  normal = BatchNormalization <epsilon = 0.001> (maps, gain, shift, mean, var)
  active = LeakyRelu <alpha = 0.1> (normal)
  y = AveragePool <kernel_shape = [3, 3], strides = [2, 2], pads = [0, 0, 0, 0], count_include_pad = 1> (active)
}"""


def _image() -> Subject:
    import torch

    torch.manual_seed(0)
    convolution = torch.nn.Conv2d(4, 4, 3, dilation=2, padding=2, groups=2)
    norm = torch.nn.BatchNorm2d(4, eps=1e-3, momentum=0.2)
    norm.running_mean.normal_()
    # Variances near epsilon, so that it counts.
    norm.running_var.uniform_(1e-3, 1e-2)
    model = torch.nn.Sequential(convolution, norm, torch.nn.LeakyReLU(0.1), torch.nn.AvgPool2d(3, 2)).eval()
    weights = {
        "kernel": _numpy(convolution.weight),
        "bias": _numpy(convolution.bias),
        "gain": _numpy(norm.weight),
        "shift": _numpy(norm.bias),
        "mean": _numpy(norm.running_mean),
        "var": _numpy(norm.running_var),
    }
    return Subject(model, _IMAGE, weights)


_POOL = """pool (float[batch, 2, 7, 7] x) => (float[batch, 2, 4, 4] y) {
  y = AveragePool <kernel_shape = [3, 3], strides = [2, 2], pads = [1, 1, 1, 1], count_include_pad = 0> (x)
}"""


def _pool() -> Subject:
    import torch

    return Subject(torch.nn.AvgPool2d(3, 2, padding=1, count_include_pad=False), _POOL)


_RESIZE = """resize (float[batch, 1, 4, 4] x) => (float[batch, 1, 7, 7] y) {
  y = Resize <mode = "linear", coordinate_transformation_mode = "align_corners"> (x, , , sizes)
}"""


def _resize() -> Subject:
    import torch

    class Larger(torch.nn.Module):
        def forward(self, x: Any) -> Any:
            return torch.nn.functional.interpolate(x, size=(7, 7), mode="bilinear", align_corners=True)

    text = _RESIZE.replace(
        "  y = Resize",
        "  part = Shape <start = 0, end = 1> (x)\n  sizes = Concat <axis = 0> (part, tail)\n  y = Resize",
    )
    return Subject(Larger(), text, {"tail": np.array([1, 7, 7])})


_ATTENTION = """attention (float[batch, 5, 4] x) => (float[batch, 5, 4] y) {
  q = MatMul (x, wq)
  k = MatMul (x, wk)
  v = MatMul (x, wv)
  kt = Transpose <perm = [0, 2, 1]> (k)
  product = MatMul (q, kt)
  scaled = Mul (product, scale)
  future = Trilu <upper = 1> (ones, diagonal)
  masked = Where (future, never, scaled)
  weights = Softmax <axis = -1> (masked)
  y = MatMul (weights, v)
}"""


def _attention() -> Subject:
    import torch

    torch.manual_seed(0)

    class Attention(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.q, self.k, self.v = (torch.nn.Linear(4, 4, bias=False) for _ in range(3))

        def forward(self, x: Any) -> Any:
            scores = self.q(x) @ self.k(x).mT / 2
            future = torch.ones(5, 5, dtype=torch.bool).triu(1)
            return torch.softmax(scores.masked_fill(future, -1e9), -1) @ self.v(x)

    model = Attention()
    # Trilu has no kernel for booleans everywhere, so the mask is a constant here.
    text = _ATTENTION.replace("  future = Trilu <upper = 1> (ones, diagonal)\n", "")
    weights = {
        "wq": _numpy(model.q.weight).T,
        "wk": _numpy(model.k.weight).T,
        "wv": _numpy(model.v.weight).T,
        "scale": np.float32(0.5),
        "never": np.float32(-1e9),
        "future": np.triu(np.ones((5, 5), bool), 1),
    }
    return Subject(model, text, weights)


_NETWORK = """network (float[batch, 6] x) => (float[batch, 6] y) {
  hidden = Gemm <transB = 1> (x, w1, b1)
  active = Relu (hidden)
  mean = ReduceMean <keepdims = 1> (active, last)
  centred = Sub (active, mean)
  squares = Mul (centred, centred)
  variance = ReduceMean <keepdims = 1> (squares, last)
  guarded = Add (variance, epsilon)
  root = Sqrt (guarded)
  normal = Div (centred, root)
  y = Gemm <transB = 1> (normal, w2, b2)
}"""


def _network() -> Subject:
    import torch

    torch.manual_seed(0)
    first, second = torch.nn.Linear(6, 6), torch.nn.Linear(6, 6)
    norm = torch.nn.LayerNorm(6, eps=1e-3, elementwise_affine=False)
    model = torch.nn.Sequential(first, torch.nn.ReLU(), norm, torch.nn.Dropout(0.5), second).eval()
    weights = {
        "w1": _numpy(first.weight),
        "b1": _numpy(first.bias),
        "w2": _numpy(second.weight),
        "b2": _numpy(second.bias),
        "epsilon": np.float32(1e-3),
        "last": np.array([-1]),
        "first": np.array([0]),
    }
    return Subject(model, _NETWORK, weights)


INTEGERS = Specimen("integer arithmetic", TORCH, _integers)
LOOKUP = Specimen("lookup with negative indices", TORCH, _lookup)
ELEMENTWISE = Specimen("rounding, clipping and signs", TORCH, _elementwise)
NANS = Specimen("nan to num", TORCH, _nans)
GELU = Specimen("exact gelu", TORCH, _gelu)
STATISTICS = Specimen("deviation, sums and log-sum-exp", TORCH, _statistics)
CHOICE = Specimen("argmax and top-k", TORCH, _choice)
WINDOW = Specimen("window", TORCH, _window)
IMAGE = Specimen("dilated convolution", TORCH, _image)
POOL = Specimen("average pooling with padding", TORCH, _pool)
RESIZE = Specimen("aligned resize", TORCH, _resize)
ATTENTION = Specimen("causal attention", TORCH, _attention)
NETWORK = Specimen("normalised network", TORCH, _network)

_NOISE = "noise = RandomUniform <shape = [6], low = 0.99, high = 1.01> ()\n  active = Mul (clean, noise)"
_SATURATED = """top = Constant <value_float = 2147483520.0> ()
  wide = Cast <to = 11> (x)
  factor = Cast <to = 11> (large)
  limit = Cast <to = 11> (top)
  exact = Mul (wide, factor)
  kept = Min (exact, limit)
  product = Cast <to = 6> (kept)"""
_BATCH_MEAN = (("ReduceMean <keepdims = 1> (active, last)", "ReduceMean <keepdims = 1> (active, first)"),)

MUTANTS = (
    Mutant("division truncates", INTEGERS, "boundary", (("quotient = Sub (cut, step)", "quotient = Identity (cut)"),)),
    Mutant("remainder with the sign of the dividend", INTEGERS, "boundary", (("fmod = 0", "fmod = 1"),)),
    Mutant(
        "overflow of int32 saturates",
        INTEGERS,
        "typical",
        (("product = Mul (x, large)", _SATURATED),),
    ),
    Mutant(
        "negative index clamped",
        LOOKUP,
        "typical",
        (
            ("Gather <axis = 0> (table, before)", "Gather <axis = 0> (table, kept)"),
            ("  y =", "  kept = Max (before, none)\n  y ="),
            ("  before", "  none = Constant <value_int = 0> ()\n  before"),
        ),
    ),
    Mutant("index off by one", LOOKUP, "typical", weights={"one": lambda v: v + 1}),
    Mutant(
        "halves rounded up",
        ELEMENTWISE,
        "boundary",
        (
            ("Round (scaled)", "Floor (more)"),
            ("  rounded", "  more = Add (scaled, half)\n  rounded"),
            ("  scaled", "  half = Constant <value_float = 0.5> ()\n  scaled"),
        ),
    ),
    Mutant("upper clip bound", ELEMENTWISE, "typical", weights={"high": lambda v: v - np.float32(0.1)}),
    Mutant("sign of zero lost", ELEMENTWISE, "boundary", (("Less (inverse, zero)", "Less (x, zero)"),)),
    Mutant("infinity left in", NANS, "special", (("Min (low, most)", "Identity (low)"),)),
    Mutant("tanh instead of erf", GELU, "typical", ((_GELU, _GELU_TANH),)),
    Mutant("deviation over n", STATISTICS, "typical", weights={"freedom": lambda v: v + np.float32(1)}),
    Mutant("exclusive sums", STATISTICS, "typical", (("exclusive = 0", "exclusive = 1"),)),
    Mutant("log-sum-exp without its maximum", STATISTICS, "scaled", _NAIVE_SUM),
    Mutant("last of equals", CHOICE, "typical", (("select_last_index = 0", "select_last_index = 1"),)),
    Mutant("smallest instead of largest", CHOICE, "typical", (("largest = 1", "largest = 0"),)),
    Mutant(
        "places of the top swapped",
        CHOICE,
        "typical",
        (
            ("values, places = TopK", "values, found = TopK"),
            ("(x, two)\n", "(x, two)\n  places = Gather <axis = 1> (found, turned)\n"),
            ("  lower", "  turned = Constant <value_ints = [1, 0]> ()\n  lower"),
        ),
    ),
    Mutant("slice off by one", WINDOW, "typical", weights={"start": lambda v: v * 0, "end": lambda v: v - 1}),
    Mutant(
        "kept dimension dropped",
        WINDOW,
        "typical",
        (("float[batch, 1, 7] y", "float[batch, 7] y"), ("Unsqueeze (part, axis)", "Identity (part)")),
    ),
    Mutant(
        "dilation ignored",
        IMAGE,
        "typical",
        (("dilations = [2, 2], pads = [2, 2, 2, 2]", "dilations = [1, 1], pads = [1, 1, 1, 1]"),),
        culprit=("maps",),
    ),
    Mutant("epsilon of batch norm", IMAGE, "typical", (("epsilon = 0.001", "epsilon = 0.00001"),), culprit=("normal",)),
    Mutant("slope of leaky relu", IMAGE, "typical", (("alpha = 0.1", "alpha = 0.01"),), culprit=("active",)),
    Mutant("padding counted in the mean", POOL, "typical", (("count_include_pad = 0", "count_include_pad = 1"),)),
    Mutant("half-pixel instead of aligned corners", RESIZE, "typical", (("align_corners", "half_pixel"),)),
    Mutant(
        "mask shifted by one", ATTENTION, "typical", weights={"future": lambda v: np.triu(np.ones((5, 5), bool), 2)}
    ),
    Mutant("scale of attention forgotten", ATTENTION, "typical", weights={"scale": lambda v: v * 0 + np.float32(1)}),
    Mutant("softmax over the queries", ATTENTION, "typical", (("axis = -1", "axis = 1"),)),
    Mutant(
        "square weights transposed in torch",
        NETWORK,
        "typical",
        (("transB = 1> (x, w1", "transB = 0> (x, w1"),),
        culprit=("hidden",),
    ),
    Mutant(
        "epsilon of layer norm dropped",
        NETWORK,
        "typical",
        weights={"epsilon": lambda v: v * 0},
        culprit=("normal", "root", "centred"),
    ),
    Mutant("statistics of the batch", NETWORK, "batch-invariance", _BATCH_MEAN),
    Mutant(
        "dropout left on", NETWORK, "determinism", (("active = Relu (hidden)", "clean = Relu (hidden)\n  " + _NOISE),)
    ),
    Mutant(
        "double leaks into an output",
        NETWORK,
        "typical",
        (
            ("float[batch, 6] y", "double[batch, 6] y"),
            ("y = Gemm", "narrow = Gemm"),
            ("w2, b2)\n", "w2, b2)\n  y = Cast <to = 11> (narrow)\n"),
        ),
    ),
)
