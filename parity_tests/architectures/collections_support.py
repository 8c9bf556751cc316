"""Make transformers and timm importable beside the CPU build of torch."""

from __future__ import annotations

import importlib.util
import logging
from typing import Any

import torch


def prepare() -> Any:
    """Quieten the libraries; declare torchvision's compiled operator where its wheel comes without the library.

    The wheel of torchvision is built for CUDA; its Python part asks for `torchvision::nms` on import, which the models
    here never call.

    Returns:
        What keeps the declaration alive.
    """
    logging.getLogger("transformers").setLevel(logging.ERROR)
    library = None
    if importlib.util.find_spec("torchvision") is not None and not _declared():
        library = torch.library.Library("torchvision", "DEF")
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    return library


def _declared() -> bool:
    try:
        return hasattr(torch.ops.torchvision, "nms")
    except (AttributeError, RuntimeError):
        return False
