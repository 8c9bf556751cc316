"""Constructor parameters of Keras layers: which ones a converter honours, which ones inference does not see.

A test enumerates the parameters of every class of `keras.layers` against these tables, so that a new one in Keras
cannot go unseen, and holds every honoured parameter against the configurations of the generated suite. Layers that are
converted by running their own code honour all.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


EVERY: Final = "*"
"""Stands for all parameters of a layer that is converted by its own code."""

# What only training, building, or a name in messages depends on.
IRRELEVANT: Final = _words(
    "name trainable seed activity_regularizer "
    "kernel_initializer recurrent_initializer bias_initializer depthwise_initializer pointwise_initializer "
    "embeddings_initializer alpha_initializer beta_initializer gamma_initializer moving_mean_initializer "
    "moving_variance_initializer scale_initializer "
    "kernel_regularizer recurrent_regularizer bias_regularizer depthwise_regularizer pointwise_regularizer "
    "embeddings_regularizer alpha_regularizer beta_regularizer gamma_regularizer "
    "kernel_constraint recurrent_constraint bias_constraint depthwise_constraint pointwise_constraint "
    "embeddings_constraint alpha_constraint beta_constraint gamma_constraint "
)

# Drawn at random or acted on in training only.
_TRAINING: Final[Mapping[str, str]] = {
    "ActivityRegularization": "l1 l2",
    "AdditiveAttention": "dropout",
    "AlphaDropout": "rate noise_shape",
    "Attention": "dropout",
    "BatchNormalization": "momentum renorm renorm_clipping renorm_momentum synchronized",
    "Bidirectional": "weights",  # where the weights start
    "Dropout": "rate noise_shape",
    "EinsumDense": "gptq_unpacked_column_size",  # how many bits fill a byte in the weights that Keras unpacks itself
    "GRU": "dropout recurrent_dropout unroll use_cudnn",
    "GaussianDropout": "rate",
    "GaussianNoise": "stddev",
    "JaxLayer": "init_fn seed native_serialization_platforms",
    "LSTM": "dropout recurrent_dropout unroll use_cudnn unit_forget_bias",
    "MultiHeadAttention": "dropout flash_attention",
    "RNN": "unroll",
    "RandomCrop": "height width data_format",
    "SimpleRNN": "dropout recurrent_dropout unroll",
    "SpatialDropout1D": "rate",
    "SpatialDropout2D": "rate data_format",
    "SpatialDropout3D": "rate data_format",
    "SpectralNormalization": "power_iterations",
    "StringLookup": "encoding",  # of files and of what get_vocabulary returns
    "TextVectorization": "encoding",  # of what a Python function gets
    "TorchModuleWrapper": "output_shape",  # what Keras infers
    "Discretization": "num_bins epsilon",  # of `adapt`
}

_AUGMENTATION: Final = (
    "all_ops alpha bins brightness_factor chain_depth contrast_factor data_format factor fill_mode fill_value "
    "height_factor hue_factor interpolation kernel_size mode num_chains num_ops saturation_factor scale sigma "
    "addition_factor threshold_factor value_range width_factor x_factor y_factor"
)

_CONVOLUTION: Final = "kernel_size strides padding data_format dilation_rate activation use_bias"
_POOLING: Final = "pool_size strides padding data_format"
_RECURRENT: Final = "units activation use_bias return_sequences return_state go_backwards stateful"

_HONOURED: Final[Mapping[str, str]] = {
    "Activation": "activation",
    "AdditiveAttention": "use_scale",
    "Attention": "use_scale score_mode",
    "BatchNormalization": "axis epsilon center scale",
    "Bidirectional": "layer merge_mode backward_layer",
    "CategoryEncoding": "num_tokens output_mode sparse",
    "CenterCrop": "height width data_format",
    "Concatenate": "axis",
    "Dense": "units activation use_bias lora_rank lora_alpha quantization_config",
    "Discretization": "bin_boundaries output_mode sparse",
    "Dot": "axes normalize",
    "ELU": "alpha",
    "EinsumDense": "equation output_shape activation bias_axes lora_rank lora_alpha quantization_config",
    "Embedding": "input_dim output_dim mask_zero weights lora_rank lora_alpha quantization_config",
    "Flatten": "data_format",
    "GRU": f"{_RECURRENT} recurrent_activation reset_after",
    "GroupNormalization": "groups axis epsilon center scale",
    "HashedCrossing": "num_bins output_mode sparse",
    "Hashing": "num_bins mask_value salt output_mode sparse",
    "IntegerLookup": "max_tokens num_oov_indices mask_token oov_token vocabulary vocabulary_dtype idf_weights invert "
    "output_mode sparse pad_to_max_tokens oov_method salt",
    "FlaxLayer": "module method variables",
    "JaxLayer": "call_fn params state",
    "LSTM": f"{_RECURRENT} recurrent_activation",
    "LayerNormalization": "axis epsilon center scale",
    "LeakyReLU": "negative_slope",
    "Masking": "mask_value",
    "MultiHeadAttention": "num_heads key_dim value_dim use_bias output_shape attention_axes sliding_window use_gate",
    "Normalization": "axis mean variance invert",
    "PReLU": "shared_axes",
    "Permute": "dims",
    "RMSNormalization": "axis epsilon",
    "RNN": "cell return_sequences return_state go_backwards stateful zero_output_for_mask",
    "ReLU": "max_value negative_slope threshold",
    "RepeatVector": "n",
    "Rescaling": "scale offset",
    "Reshape": "target_shape",
    "Resizing": "height width interpolation crop_to_aspect_ratio pad_to_aspect_ratio fill_mode fill_value antialias "
    "data_format",
    "SimpleRNN": _RECURRENT,
    "Softmax": "axis",
    "SpectralNormalization": "layer",
    "StringLookup": "max_tokens num_oov_indices mask_token oov_token vocabulary idf_weights invert output_mode "
    "pad_to_max_tokens sparse salt",
    "TextVectorization": "max_tokens standardize split ngrams output_mode output_sequence_length pad_to_max_tokens "
    "vocabulary idf_weights sparse ragged",
    "TimeDistributed": "layer",
    "TorchModuleWrapper": "module",
    "UnitNormalization": "axis",
}

_BY_RANK: Final[Mapping[str, str]] = {
    "AdaptiveAveragePooling": "output_size data_format",
    "AdaptiveMaxPooling": "output_size data_format",
    "AveragePooling": _POOLING,
    "Conv": f"filters groups {_CONVOLUTION}",
    "Conv#Transpose": f"filters output_padding {_CONVOLUTION}",
    "Cropping": "cropping data_format",
    "DepthwiseConv": f"depth_multiplier {_CONVOLUTION}",
    "GlobalAveragePooling": "data_format keepdims",
    "GlobalMaxPooling": "data_format keepdims",
    "MaxPooling": _POOLING,
    "SeparableConv": f"filters depth_multiplier {_CONVOLUTION}",
    "UpSampling": "size data_format interpolation",
    "ZeroPadding": "padding data_format",
}


def honoured(layer: str) -> frozenset[str]:
    """Return the parameters of a layer that its converter follows; `dtype` is the same for all."""
    family = next((layer.replace(f"{rank}D", "#") for rank in "123" if f"{rank}D" in layer), layer)
    text = _HONOURED.get(layer) or _BY_RANK.get(family.removesuffix("#")) or _BY_RANK.get(family) or ""
    return _words(text) | {"dtype"}


def irrelevant(layer: str, *, augmentation: bool = False) -> frozenset[str]:
    """Return the parameters of a layer that inference does not see."""
    own = f"{_TRAINING.get(layer, '')} {_AUGMENTATION if augmentation else ''}"
    return (IRRELEVANT | _words(own)) - {"dtype"}
