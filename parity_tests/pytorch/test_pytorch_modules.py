"""Every public layer of torch.nn in evaluation mode: torch's own list with its own inputs, the rest by hand."""

from __future__ import annotations

import inspect
import warnings
from typing import Any

import pytest
import torch
from opdb_support import database
from pytorch_support import answers, convert, run, same
from torch import nn

from any2onnx.errors import Any2OnnxError

# Of the many inputs that torch has for a layer.
QUICK = 2
# What cannot be traced or expressed, by a part of the message.
REFUSED = {"CTCLoss": "_ctc_loss", "GaussianNLLLoss": "data-dependent"}
# torch's own inputs of these do not run: they draw random samples of another type.
BROKEN = {"FractionalMaxPool2d", "FractionalMaxPool3d"}


def _module_database() -> list[Any]:
    database()
    from torch.testing._internal.common_modules import module_db

    return [info for info in module_db if info.module_cls.__name__ not in BROKEN]


def _cases() -> list[Any]:
    cases = []
    for info in _module_database():
        torch.manual_seed(0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            inputs = info.module_inputs_func(
                info, device="cpu", dtype=torch.float32, requires_grad=False, training=False
            )
        for k, one in enumerate(inputs):
            marks = () if k < QUICK else (pytest.mark.slow,)
            cases.append(pytest.param(info.module_cls, one, id=f"{info.module_cls.__name__}-{k}", marks=marks))
    return cases


def _at_opsets() -> list[Any]:
    """Return each layer's first inputs at the opsets besides the default one; a few of them run by default."""
    first = [case for case in _cases() if case.id.endswith("-0")]
    return [
        pytest.param(
            *case.values, opset, id=f"{case.id}-{opset}", marks=() if k % 20 == 5 * place else pytest.mark.slow
        )
        for place, opset in enumerate((13, 18, 23, 28))
        for k, case in enumerate(first)
    ]


@pytest.mark.parametrize(("cls", "one"), _cases())
@pytest.mark.filterwarnings("ignore")
def test_layers_of_torchs_own_list(cls: Any, one: Any) -> None:
    _check(cls, one, None)


@pytest.mark.parametrize(("cls", "one", "opset"), _at_opsets())
@pytest.mark.filterwarnings("ignore")
def test_layers_of_torchs_own_list_at_other_opsets(cls: Any, one: Any, opset: int) -> None:
    _check(cls, one, opset)


def _check(cls: Any, one: Any, opset: int | None) -> None:
    torch.manual_seed(0)
    model = cls(*one.constructor_input.args, **one.constructor_input.kwargs).eval()
    args, kwargs = tuple(one.forward_input.args), dict(one.forward_input.kwargs)
    want = answers(model, *args, **kwargs)
    if cls.__name__ in REFUSED:
        with pytest.raises(Any2OnnxError, match=REFUSED[cls.__name__]):
            convert(model, args, kwargs, opset=opset)
        return
    proto = convert(model, args, kwargs, opset=opset)
    tensors = [x for x in torch.utils._pytree.tree_leaves((args, kwargs)) if isinstance(x, torch.Tensor)]
    same(run(proto, *tensors), want, 1e-4, 1e-5)


class Unpooled(nn.Module):
    def __init__(self, pool: nn.Module, unpool: nn.Module) -> None:
        super().__init__()
        self.pool, self.unpool = pool, unpool

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.unpool(*self.pool(x))


IMAGE = (2, 4, 6, 6)
OTHERS: dict[str, tuple[Any, tuple[tuple[int, ...], ...]]] = {
    "AlphaDropout": (nn.AlphaDropout, ((2, 3),)),
    "ChannelShuffle": (lambda: nn.ChannelShuffle(2), (IMAGE,)),
    "CosineSimilarity": (nn.CosineSimilarity, ((2, 3), (2, 3))),
    "Dropout": (nn.Dropout, ((2, 3),)),
    "Dropout1d": (nn.Dropout1d, ((2, 3, 4),)),
    "Dropout2d": (nn.Dropout2d, (IMAGE,)),
    "Dropout3d": (nn.Dropout3d, ((2, 3, 4, 4, 4),)),
    "FeatureAlphaDropout": (nn.FeatureAlphaDropout, (IMAGE,)),
    "Flatten": (nn.Flatten, (IMAGE,)),
    "Fold": (lambda: nn.Fold((6, 6), 2, stride=2), ((2, 12, 9),)),
    "Hardsigmoid": (nn.Hardsigmoid, ((2, 9),)),
    "Identity": (nn.Identity, ((2, 3),)),
    "MaxUnpool1d": (lambda: Unpooled(nn.MaxPool1d(2, return_indices=True), nn.MaxUnpool1d(2)), ((2, 3, 8),)),
    "MaxUnpool2d": (lambda: Unpooled(nn.MaxPool2d(2, return_indices=True), nn.MaxUnpool2d(2)), (IMAGE,)),
    "MaxUnpool3d": (lambda: Unpooled(nn.MaxPool3d(2, return_indices=True), nn.MaxUnpool3d(2)), ((2, 3, 4, 4, 4),)),
    "PairwiseDistance": (nn.PairwiseDistance, ((2, 3), (2, 3))),
    "PixelShuffle": (lambda: nn.PixelShuffle(2), (IMAGE,)),
    "PixelUnshuffle": (lambda: nn.PixelUnshuffle(2), (IMAGE,)),
    "RReLU": (nn.RReLU, ((2, 9),)),
    "Sequential": (lambda: nn.Sequential(nn.Linear(3, 4), nn.ReLU()), ((2, 3),)),
    "SyncBatchNorm": (lambda: nn.SyncBatchNorm(4), (IMAGE,)),
    "TransformerDecoder": (
        lambda: nn.TransformerDecoder(nn.TransformerDecoderLayer(8, 2, 12), 2),
        ((3, 2, 8), (4, 2, 8)),
    ),
    "TripletMarginLoss": (nn.TripletMarginLoss, ((2, 3), (2, 3), (2, 3))),
    "TripletMarginWithDistanceLoss": (nn.TripletMarginWithDistanceLoss, ((2, 3), (2, 3), (2, 3))),
    "Unflatten": (lambda: nn.Unflatten(1, (2, 3)), ((2, 6),)),
    "Unfold": (lambda: nn.Unfold(2), (IMAGE,)),
    "Upsample": (lambda: nn.Upsample(scale_factor=2), (IMAGE,)),
    "UpsamplingBilinear2d": (lambda: nn.UpsamplingBilinear2d(scale_factor=2), (IMAGE,)),
    "UpsamplingNearest2d": (lambda: nn.UpsamplingNearest2d(scale_factor=2), (IMAGE,)),
}
# Base classes, containers without a forward, copies over devices, and lazy forms, which become the plain layer.
NO_LAYERS = {
    *("Container", "DataParallel", "Module", "ModuleDict", "ModuleList", "ParameterDict", "ParameterList"),
    *("RNNBase", "RNNCellBase"),
}
ELSEWHERE = {"AdaptiveLogSoftmaxWithLoss", "EmbeddingBag", "NLLLoss2d", "CrossMapLRN2d"}


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.filterwarnings("ignore")
def test_layers_that_torchs_list_leaves_out(name: str) -> None:
    torch.manual_seed(0)
    make, shapes = OTHERS[name]
    model = make().eval()
    args = tuple(torch.randn(shape) for shape in shapes)
    same(run(convert(model, args), *args), answers(model, *args), 1e-4, 1e-5)


def test_layers_of_indices() -> None:
    bag = nn.EmbeddingBag(10, 3, mode="mean")
    words, starts = torch.randint(0, 10, (7,)), torch.tensor([0, 3])
    same(run(convert(bag, (words, starts)), words, starts), answers(bag, words, starts))

    class Predicting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.softmax = nn.AdaptiveLogSoftmaxWithLoss(8, 20, [5, 10])

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.softmax.log_prob(x)

    model, x = Predicting(), torch.randn(4, 8)
    same(run(convert(model, (x,)), x), answers(model, x))


def test_no_public_layer_is_forgotten() -> None:
    public = {n for n, c in vars(nn).items() if inspect.isclass(c) and issubclass(c, nn.Module)}
    listed = {info.module_cls.__name__ for info in _module_database()} | BROKEN
    lazy = {name for name in public if name.startswith("Lazy")}
    assert public <= listed | set(OTHERS) | NO_LAYERS | ELSEWHERE | lazy
    assert not (NO_LAYERS | ELSEWHERE) & listed
