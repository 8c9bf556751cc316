"""Networks of the timm collection: their own small variants, random weights, no downloads."""

from __future__ import annotations

from typing import Any

import torch
from architecture import Architecture
from torch import nn

# Name and size of the image; small members of every family.
NETWORKS: dict[str, int] = {
    "resnet18": 64,
    "seresnet18": 64,
    "resnext26ts": 64,
    "regnetx_002": 64,
    "regnety_002": 64,
    "efficientnet_b0": 64,
    "efficientnetv2_rw_t": 64,
    "mobilenetv3_small_050": 64,
    "mobilenetv4_conv_small_035": 64,
    "mnasnet_small": 64,
    "ghostnet_050": 64,
    "tinynet_e": 64,
    "lcnet_035": 64,
    "densenet121": 64,
    "repvgg_a0": 64,
    "hardcorenas_a": 64,
    "convnext_atto": 64,
    "convnextv2_atto": 64,
    "dla46_c": 64,
    "darknet17": 64,
    "cspresnet50": 64,
    "vit_tiny_patch16_224": 224,
    "deit_tiny_patch16_224": 224,
    "swin_tiny_patch4_window7_224": 224,
    "maxvit_rmlp_pico_rw_256": 256,
    "levit_128s": 224,
    "mobilevit_xxs": 64,
    "edgenext_xx_small": 64,
    "poolformer_s12": 64,
    "mixer_s32_224": 224,
    "resmlp_12_224": 224,
    "gmixer_12_224": 224,
    "xcit_nano_12_p16_224": 224,
    "pit_ti_224": 224,
    "coat_tiny": 224,
    "crossvit_9_240": 240,
    "cait_xxs24_224": 224,
    "tnt_s_patch16_224": 224,
    "visformer_tiny": 224,
    "fastvit_t8": 64,
    "repghostnet_050": 64,
    "efficientformer_l1": 224,
    "nest_tiny": 224,
    "pvt_v2_b0": 64,
    "davit_tiny": 64,
    "hiera_tiny_224": 224,
}


def _make(name: str, size: int) -> nn.Module:
    import timm

    settings: dict[str, Any] = {"pretrained": False, "num_classes": 7}
    del size
    return timm.create_model(name, **settings).eval()


def networks() -> list[Architecture]:
    """Return the networks with a dynamic batch."""
    return [
        Architecture(
            name=name,
            make=lambda name=name, size=size: _make(name, size),
            inputs=lambda batch, size=size: {"x": torch.randn(batch, 3, size, size)},
            traced=(2,),
            others=((1,), (3,), (4,)),
            dynamic={"x": {0: "batch"}},
            # Deep networks of random weights: rounding grows from layer to layer.
            atol=1e-4,
        )
        for name, size in NETWORKS.items()
    ]


TIMM: list[Architecture] = networks()
