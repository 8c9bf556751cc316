"""Backbones of KerasHub in tiny configurations, with random weights: nothing is downloaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

_TEXT = {"vocabulary_size": 31, "num_layers": 2, "num_heads": 2, "hidden_dim": 16, "intermediate_dim": 24}
_DECODER = {
    "vocabulary_size": 31,
    "num_layers": 2,
    "num_query_heads": 4,
    "num_key_value_heads": 2,
    "hidden_dim": 16,
    "intermediate_dim": 24,
}
_POSITIONS = {"max_sequence_length": 16}


@dataclass(frozen=True)
class Backbone:
    """One backbone.

    Attributes:
        name: Class in keras_hub.models, without ``Backbone``.
        config: Its arguments.
        image: Height and width of its images, where it takes some.
        lengths: Lengths of the sequences that are tried, where it takes some.
    """

    name: str
    config: Mapping[str, Any] = field(default_factory=dict)
    image: int = 32
    lengths: tuple[int, ...] = (5, 9)

    def build(self) -> Any:
        """Return the backbone."""
        import keras
        import keras_hub

        keras.utils.set_random_seed(0)
        model = getattr(keras_hub.models, f"{self.name}Backbone")(**self.config)
        random = np.random.default_rng(0)
        for weight in model.weights:
            # Fresh biases are zeros and scales ones, which would hide that one is left out.
            if len(weight.shape) == 1 and "seed" not in weight.path and str(weight.dtype).startswith("float"):
                low, high = (0.5, 1.5) if "variance" in weight.path else (-0.2, 0.2)
                weight.assign(np.asarray(weight) + random.uniform(low, high, weight.shape).astype("float32"))
        return model

    def feeds(self, model: Any, batch: int, length: int) -> dict[str, Array]:
        """Return data for the inputs, by their names."""
        random = np.random.default_rng(batch * 100 + length)
        return {tensor.name: self._feed(tensor, batch, length, random) for tensor in model.inputs}

    def _feed(self, tensor: Any, batch: int, length: int, random: np.random.Generator) -> Array:
        shape = [batch, *(length if d is None else d for d in tensor.shape[1:])]
        if "mask" in tensor.name:
            # At least two tokens in each row; the others are padding.
            counts = random.integers(2, shape[1] + 1, (batch, 1))
            return (np.arange(shape[1]) < counts).astype(tensor.dtype)
        if "segment" in tensor.name:
            return random.integers(0, 2, shape).astype(tensor.dtype)
        if "int" in str(tensor.dtype):
            return random.integers(0, 31, shape).astype(tensor.dtype)
        return random.normal(size=shape).astype(tensor.dtype)


TEXT = [
    Backbone("Albert", {**_TEXT, **_POSITIONS, "embedding_dim": 8}),
    Backbone("Bart", {**_TEXT, **_POSITIONS}),
    Backbone("Bert", {**_TEXT, **_POSITIONS}),
    Backbone("Bloom", _TEXT),
    Backbone("DistilBert", {**_TEXT, **_POSITIONS}),
    Backbone("Electra", {**_TEXT, **_POSITIONS, "vocab_size": 31, "embedding_dim": 8}),
    Backbone(
        "Falcon",
        {"vocabulary_size": 31, "num_layers": 2, "num_attention_heads": 4, "hidden_dim": 16, "intermediate_dim": 24},
    ),
    Backbone("FNet", {k: v for k, v in {**_TEXT, **_POSITIONS}.items() if k != "num_heads"}),
    Backbone("Gemma", {**_DECODER, "head_dim": 8}),
    Backbone("GPT2", {**_TEXT, **_POSITIONS}),
    Backbone("GPTNeoX", {**_TEXT, **_POSITIONS}),
    Backbone("Llama", _DECODER),
    Backbone("Llama3", _DECODER),
    Backbone("Mistral", {**_DECODER, "sliding_window": 3}),
    Backbone("Mixtral", {**_DECODER, "num_experts": 3, "top_k": 2, "sliding_window": 3}),
    Backbone("OPT", {**_TEXT, **_POSITIONS}),
    Backbone("Phi3", _DECODER),
    Backbone("Qwen", _DECODER),
    Backbone("Roberta", {**_TEXT, **_POSITIONS}),
    Backbone("T5", _TEXT),
    Backbone("XLMRoberta", {**_TEXT, **_POSITIONS}),
]

_STAGES = {"stackwise_num_filters": [64, 8], "stackwise_num_blocks": [1, 2], "stackwise_num_strides": [1, 2]}

VISION = [
    Backbone(
        "CSPNet",
        {
            "stem_filters": 8,
            "stem_kernel_size": 3,
            "stem_strides": 2,
            "stackwise_depth": [1, 1],
            "stackwise_strides": [1, 2],
            "stackwise_num_filters": [8, 12],
            "block_type": "dark_block",
            "stage_type": "dark",
            "image_shape": (32, 32, 3),
        },
    ),
    Backbone(
        "DeiT",
        {
            "image_shape": (32, 32, 3),
            "patch_size": 8,
            "num_layers": 2,
            "num_heads": 2,
            "hidden_dim": 16,
            "intermediate_dim": 24,
        },
    ),
    Backbone("DenseNet", {"stackwise_num_repeats": [2, 1], "growth_rate": 4, "image_shape": (None, None, 3)}),
    Backbone(
        "DINOV2",
        {
            "image_shape": (32, 32, 3),
            "patch_size": 8,
            "num_layers": 2,
            "num_heads": 2,
            "hidden_dim": 16,
            "intermediate_dim": 24,
        },
    ),
    Backbone(
        "MiT",
        {
            "layerwise_depths": [1, 1],
            "image_shape": (32, 32, 3),
            "hidden_dims": [8, 16],
            "num_layers": 2,
            "layerwise_num_heads": [1, 2],
            "layerwise_sr_ratios": [4, 1],
            "max_drop_path_rate": 0.1,
            "layerwise_patch_sizes": [7, 3],
            "layerwise_strides": [4, 2],
        },
    ),
    Backbone(
        "ResNet",
        {
            "input_conv_filters": [8],
            "input_conv_kernel_sizes": [7],
            **_STAGES,
            "block_type": "bottleneck_block",
            "image_shape": (None, None, 3),
        },
    ),
    Backbone(
        "SwinTransformer",
        {
            "image_shape": (32, 32, 3),
            "patch_size": 4,
            "embed_dim": 8,
            "depths": [1, 2],
            "num_heads": [2, 4],
            "window_size": 4,
        },
    ),
    Backbone("VGG", {"stackwise_num_repeats": [1, 2], "stackwise_num_filters": [4, 8], "image_shape": (32, 32, 3)}),
    Backbone(
        "ViT",
        {"image_shape": (32, 32, 3), "patch_size": 8, "num_layers": 2, "num_heads": 2, "hidden_dim": 16, "mlp_dim": 24},
    ),
    Backbone(
        "ViTDet",
        {
            "image_shape": (32, 32, 3),
            "patch_size": 8,
            "num_layers": 2,
            "num_heads": 2,
            "hidden_size": 16,
            "intermediate_dim": 24,
            "global_attention_layer_indices": [1],
            "window_size": 2,
        },
    ),
]

OTHER = [
    Backbone(
        "Whisper",
        {**_TEXT, "num_mels": 8, "max_encoder_sequence_length": 16, "max_decoder_sequence_length": 16},
        lengths=(6, 10),
    ),
]

# Under TensorFlow these call functions of TensorFlow itself; they are asked for their way under another backend.
WITH_TENSORFLOW = [
    Backbone("DebertaV3", {**_TEXT, **_POSITIONS, "bucket_size": 4}),
    Backbone("Qwen3", {**_DECODER, "head_dim": 8}),
]
