"""Models of pictures and sound of the transformers library: tiny configurations, random weights, no downloads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from architecture import Architecture, Inputs
from text_models import BATCH, LENGTH, SEQ2SEQ, TEXT_DYNAMIC, TINY, ids, model_of, padding, sampled

VISION = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "image_size": 16,
    "patch_size": 4,
}

# --- images ---------------------------------------------------------------------------------------------------------

CONVOLUTIONS = {"hidden_sizes": [8, 12, 16, 20], "depths": [1, 1, 1, 1]}
IMAGES: dict[str, tuple[str, dict[str, Any], int]] = {
    "vit": ("AutoModelForImageClassification", VISION, 16),
    "deit": ("DeiTForImageClassification", VISION, 16),
    "beit": ("AutoModelForImageClassification", {**VISION, "use_relative_position_bias": True}, 16),
    "dinov2": ("AutoModel", VISION, 16),
    "swin": (
        "AutoModelForImageClassification",
        {"image_size": 32, "patch_size": 2, "embed_dim": 16, "depths": [2, 2], "num_heads": [2, 4], "window_size": 4},
        32,
    ),
    "swinv2": (
        "AutoModel",
        {"image_size": 32, "patch_size": 2, "embed_dim": 16, "depths": [2, 2], "num_heads": [2, 4], "window_size": 4},
        32,
    ),
    "convnext": ("AutoModelForImageClassification", CONVOLUTIONS, 32),
    "convnextv2": ("AutoModelForImageClassification", CONVOLUTIONS, 32),
    "resnet": (
        "AutoModelForImageClassification",
        {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 2], "layer_type": "basic"},
        32,
    ),
    "regnet": (
        "AutoModelForImageClassification",
        {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 2], "groups_width": 4},
        32,
    ),
    "mobilenet_v2": ("AutoModelForImageClassification", {"depth_multiplier": 0.25}, 32),
    "efficientnet": (
        "AutoModelForImageClassification",
        {"width_coefficient": 0.25, "depth_coefficient": 0.25, "hidden_dim": 320},
        32,
    ),
    "segformer": (
        "AutoModelForSemanticSegmentation",
        {
            "hidden_sizes": [8, 8, 16, 16],
            "depths": [1, 1, 1, 1],
            "num_attention_heads": [1, 1, 2, 2],
            "decoder_hidden_size": 16,
        },
        64,
    ),
    "poolformer": ("AutoModelForImageClassification", {"hidden_sizes": [8, 8, 16, 16], "depths": [1, 1, 1, 1]}, 64),
    "mobilevit": (
        "AutoModelForImageClassification",
        {"image_size": 64, "hidden_sizes": [16, 20, 24], "neck_hidden_sizes": [8, 8, 8, 12, 16, 20, 24]},
        64,
    ),
    "levit": (
        "LevitForImageClassification",
        {
            "image_size": 64,
            "hidden_sizes": [16, 32, 48],
            "num_attention_heads": [2, 3, 4],
            "depths": [1, 1, 1],
            "key_dim": [8, 8, 8],
            "drop_path_rate": 0,
        },
        64,
    ),
    "pvt": (
        "AutoModelForImageClassification",
        {
            "image_size": 64,
            "hidden_sizes": [8, 16, 16, 32],
            "depths": [1, 1, 1, 1],
            "num_attention_heads": [1, 2, 2, 4],
        },
        64,
    ),
    "focalnet": (
        "AutoModelForImageClassification",
        {"image_size": 32, "patch_size": 2, "embed_dim": 8, "depths": [1, 1], "hidden_sizes": [8, 16]},
        32,
    ),
    "dpt": (
        "AutoModelForDepthEstimation",
        {
            **VISION,
            "image_size": 32,
            "patch_size": 16,
            "backbone_out_indices": [0, 1, 2, 3],
            "num_hidden_layers": 4,
            "neck_hidden_sizes": [8, 8, 8, 8],
            "fusion_hidden_size": 8,
            "is_hybrid": False,
        },
        32,
    ),
    "yolos": (
        "AutoModelForObjectDetection",
        {**VISION, "image_size": [32, 32], "patch_size": 8, "num_detection_tokens": 5},
        32,
    ),
    "vit_msn": ("AutoModel", VISION, 16),
    "siglip_vision_model": ("AutoModel", VISION, 16),
    "clip_vision_model": ("AutoModel", VISION, 16),
}


def images(size: int) -> Callable[[int], Inputs]:
    """Return a batch of pictures."""
    return lambda batch: {"pixel_values": torch.randn(batch, 3, size, size)}


def vision() -> list[Architecture]:
    """Return models of pictures with a dynamic batch."""
    return [
        Architecture(
            name=name,
            make=model_of(name, auto, settings),
            inputs=images(size),
            traced=(2,),
            others=((1,), (3,), (5,)),
            dynamic={"pixel_values": {0: BATCH}},
            sampled=sampled(name, "vit swin convnext"),
        )
        for name, (auto, settings, size) in IMAGES.items()
    ]


# --- pictures and text, sound ---------------------------------------------------------------------------------------

TOWERS = {
    "text_config": {**TINY, "projection_dim": 16},
    "vision_config": {**VISION, "projection_dim": 16},
    "projection_dim": 16,
}


def picture_and_text(batch: int, length: int) -> Inputs:
    """Return as many pictures as texts."""
    tokens = ids(batch, length)
    tokens[:, -1] = 2
    return {
        "input_ids": tokens,
        "pixel_values": torch.randn(batch, 3, 16, 16),
        "attention_mask": padding(batch, length, "right"),
    }


def pairs() -> list[Architecture]:
    """Return the two-tower models."""
    kinds: dict[str, dict[str, Any]] = {"clip": TOWERS, "siglip": TOWERS, "altclip": TOWERS, "chinese_clip": TOWERS}
    return [
        Architecture(
            name=name,
            make=model_of(name, "AutoModel", settings),
            inputs=picture_and_text,
            traced=(2, 7),
            others=((1, 5), (3, 11), (4, 2)),
            dynamic={**TEXT_DYNAMIC, "pixel_values": {0: BATCH}},
            sampled=sampled(name, "clip"),
        )
        for name, settings in kinds.items()
    ]


SPEECH = {
    **TINY,
    "conv_dim": [8, 8, 8],
    "conv_kernel": [5, 3, 2],
    "conv_stride": [4, 2, 2],
    "num_feat_extract_layers": 3,
    "num_conv_pos_embeddings": 4,
    "num_conv_pos_embedding_groups": 2,
}


def waves(batch: int, length: int) -> Inputs:
    """Return sound, a length of samples."""
    return {"input_values": torch.randn(batch, length)}


def sound() -> list[Architecture]:
    """Return models of sound."""
    kinds = {
        "wav2vec2": ("AutoModelForCTC", SPEECH),
        "hubert": ("AutoModel", SPEECH),
        "wavlm": ("AutoModel", SPEECH),
        "unispeech": ("AutoModel", SPEECH),
        "sew": ("AutoModel", {**SPEECH, "squeeze_factor": 2}),
        "data2vec-audio": ("AutoModel", {**SPEECH, "num_conv_pos_embeddings": 2, "conv_pos_kernel_size": 3}),
    }
    found = [
        Architecture(
            name=name,
            make=model_of(name, auto, settings),
            inputs=waves,
            traced=(2, 400),
            # SEW pads where an odd number of frames is squeezed: another path, of which the conversion warns.
            others=((1, 333), (3, 524), (2, 240)),
            dynamic={"input_values": {0: BATCH, 1: LENGTH}},
            sampled=sampled(name, "wav2vec2"),
        )
        for name, (auto, settings) in kinds.items()
    ]
    whisper = {**SEQ2SEQ, "num_mel_bins": 8, "max_source_positions": 20, "max_target_positions": 32}
    found.append(
        Architecture(
            name="whisper",
            make=model_of("whisper", "AutoModelForSpeechSeq2Seq", whisper, cache=False),
            inputs=lambda batch, target: {
                "input_features": torch.randn(batch, 8, 40),
                "decoder_input_ids": ids(batch, target),
            },
            traced=(2, 5),
            others=((1, 3), (3, 7), (2, 1)),
            dynamic={"input_features": {0: BATCH}, "decoder_input_ids": {0: BATCH, 1: "target"}},
            sampled=True,
        )
    )
    return found


SENSES: list[Architecture] = [*vision(), *pairs(), *sound()]
