"""Whole architectures, each traced at one size and right at three others."""

from __future__ import annotations

import pytest
from architecture import Architecture, check
from collections_support import prepare
from sense_models import SENSES
from text_models import TEXT
from timm_models import TIMM
from written_models import WRITTEN

LIBRARY = prepare()
TRANSFORMERS = [*TEXT, *SENSES]


def _parameters(architectures: list[Architecture], *, sampled: bool) -> list[object]:
    chosen = [a for a in architectures if a.sampled == sampled]
    marks = () if sampled else (pytest.mark.slow, pytest.mark.architectures)
    return [pytest.param(a, id=a.name, marks=marks) for a in chosen]


@pytest.mark.parametrize("architecture", _parameters(WRITTEN, sampled=True))
def test_written_by_hand(architecture: Architecture) -> None:
    check(architecture)


@pytest.mark.parametrize(
    "architecture", [*_parameters(TRANSFORMERS, sampled=True), *_parameters(TRANSFORMERS, sampled=False)]
)
def test_transformers(architecture: Architecture) -> None:
    pytest.importorskip("transformers")
    check(architecture)


@pytest.mark.parametrize("architecture", _parameters(TIMM, sampled=False))
def test_timm(architecture: Architecture) -> None:
    pytest.importorskip("timm")
    check(architecture)


@pytest.mark.slow
@pytest.mark.architectures
@pytest.mark.parametrize("opset", [13, 18, 23, 28])
@pytest.mark.parametrize("name", ["bert", "llama-left-padded", "llama-cached", "t5", "mixtral-left-padded"])
def test_other_opsets(name: str, opset: int) -> None:
    pytest.importorskip("transformers")
    check(next(a for a in TRANSFORMERS if a.name == name), opset)


def test_there_are_enough() -> None:
    names = [a.name for a in (*WRITTEN, *TRANSFORMERS, *TIMM)]
    assert len(names) == len(set(names))
    assert len(TRANSFORMERS) + len(WRITTEN) >= 60
    for architecture in (*WRITTEN, *TRANSFORMERS, *TIMM):
        assert len({architecture.traced, *architecture.others}) >= 4, architecture.name
