"""Mapping table for Keras layers and activation functions: one row per public class."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from any2onnx.operator_mappings.direct import direct
from any2onnx.operator_mappings.keras_parameters import EVERY, honoured, irrelevant
from any2onnx.operator_mappings.mapping import OperatorMapping

_CONVERTERS = "any2onnx.converters.keras"
_SHAPES = "any2onnx.shape_calculators.keras"


def _layer(name: str, converter: str, **row: Any) -> OperatorMapping:
    augmentation = converter == "preprocessing:augmentation"
    return OperatorMapping(
        framework="keras",
        key=f"keras.layers.{name}",
        converter=f"{_CONVERTERS}.{converter}",
        honours=frozenset({EVERY}) if converter == "core:traced" else honoured(name),
        irrelevant=irrelevant(name, augmentation=augmentation) - (honoured(name) if not augmentation else frozenset()),
        **row,
    )


def _refused(name: str, reason: str) -> OperatorMapping:
    return OperatorMapping(framework="keras", key=f"keras.layers.{name}", refused=reason)


def _ranks(pattern: str, converter: str, ranks: str = "123", **row: Any) -> Iterator[OperatorMapping]:
    for rank in ranks:
        yield _layer(pattern.replace("#", rank), converter, **row)


def _function(name: str, converter: str = "", **row: Any) -> OperatorMapping:
    reference = f"{_CONVERTERS}.activations:{converter or name}"
    return OperatorMapping(framework="keras", key=f"keras.activations.{name}", converter=reference, **row)


def _one(name: str, op_type: str, **fixed: Any) -> OperatorMapping:
    return direct("keras", f"keras.activations.{name}", op_type, fixed=fixed)


ACTIVATIONS: tuple[OperatorMapping, ...] = (
    _one("celu", "Celu", alpha=1.0),
    _one("elu", "Elu", alpha=1.0),
    _one("exponential", "Exp"),
    _function("gelu"),
    _function("glu"),
    _function("hard_shrink"),
    _one("hard_sigmoid", "HardSigmoid", alpha=1 / 6, beta=0.5),
    _function("hard_silu"),
    _function("hard_tanh"),
    _one("leaky_relu", "LeakyRelu", alpha=0.2),
    _function("linear"),
    _function("log_sigmoid"),
    _one("log_softmax", "LogSoftmax", axis=-1),
    _function("mish"),
    _function("relu"),
    _function("relu6"),
    _one("selu", "Selu"),
    _one("sigmoid", "Sigmoid"),
    _function("silu"),
    _function("soft_shrink"),
    _one("softmax", "Softmax", axis=-1),
    _one("softplus", "Softplus"),
    _one("softsign", "Softsign"),
    _function("sparse_plus"),
    _function("sparse_sigmoid"),
    _function("sparsemax"),
    _function("squareplus"),
    _one("tanh", "Tanh"),
    _function("tanh_shrink"),
)

CORE: tuple[OperatorMapping, ...] = (
    _layer("Dense", "core:dense"),
    _layer("EinsumDense", "core:einsum_dense", shapes=f"{_SHAPES}.general:einsum"),
    _layer("Embedding", "core:embedding"),
    _layer("Identity", "core:identity"),
    _layer("Masking", "core:masking"),
    _layer("TorchModuleWrapper", "core:torch_module", note="by the PyTorch front-end"),
)

CONVOLUTIONAL: tuple[OperatorMapping, ...] = (
    *_ranks("Conv#D", "convolutional:conv"),
    *_ranks("DepthwiseConv#D", "convolutional:depthwise_conv", "12"),
    *_ranks("SeparableConv#D", "convolutional:separable_conv", "12"),
    *_ranks("Conv#DTranspose", "convolutional:conv_transpose"),
)

POOLING: tuple[OperatorMapping, ...] = (
    *_ranks("MaxPooling#D", "pooling:max_pool"),
    *_ranks("AveragePooling#D", "pooling:average_pool"),
    *_ranks("GlobalMaxPooling#D", "pooling:global_max_pool"),
    *_ranks("GlobalAveragePooling#D", "pooling:global_average_pool"),
    *_ranks("AdaptiveMaxPooling#D", "pooling:adaptive_max_pool"),
    *_ranks("AdaptiveAveragePooling#D", "pooling:adaptive_average_pool"),
)

NORMALIZATION: tuple[OperatorMapping, ...] = (
    _layer("BatchNormalization", "normalization:batch_normalization"),
    _layer("GroupNormalization", "normalization:group_normalization"),
    _layer("LayerNormalization", "normalization:layer_normalization"),
    _layer("RMSNormalization", "normalization:rms_normalization"),
    _layer("SpectralNormalization", "normalization:spectral_normalization"),
    _layer("UnitNormalization", "normalization:unit_normalization"),
)

ACTIVATION_LAYERS: tuple[OperatorMapping, ...] = (
    _layer("Activation", "activations:activation"),
    _layer("ELU", "activations:elu"),
    _layer("LeakyReLU", "activations:leaky_relu"),
    _layer("PReLU", "activations:prelu"),
    _layer("ReLU", "activations:relu_layer"),
    _layer("Softmax", "activations:softmax"),
)

MERGING: tuple[OperatorMapping, ...] = (
    _layer("Add", "merging:add", shapes=f"{_SHAPES}.general:merged"),
    _layer("Average", "merging:average", shapes=f"{_SHAPES}.general:merged"),
    _layer("Concatenate", "merging:concatenate"),
    _layer("Dot", "merging:dot"),
    _layer("Maximum", "merging:maximum", shapes=f"{_SHAPES}.general:merged"),
    _layer("Minimum", "merging:minimum", shapes=f"{_SHAPES}.general:merged"),
    _layer("Multiply", "merging:multiply", shapes=f"{_SHAPES}.general:merged"),
    _layer("Subtract", "merging:subtract", shapes=f"{_SHAPES}.general:merged"),
)

RESHAPING: tuple[OperatorMapping, ...] = (
    _layer("Flatten", "reshaping:flatten"),
    _layer("Permute", "reshaping:permute"),
    _layer("RepeatVector", "reshaping:repeat_vector"),
    _layer("Reshape", "reshaping:reshape"),
    *_ranks("Cropping#D", "reshaping:cropping"),
    *_ranks("UpSampling#D", "reshaping:up_sampling"),
    *_ranks("ZeroPadding#D", "reshaping:zero_padding"),
)

REGULARIZATION: tuple[OperatorMapping, ...] = (
    _layer("ActivityRegularization", "core:identity"),
    _layer("AlphaDropout", "core:identity"),
    _layer("Dropout", "core:identity"),
    _layer("GaussianDropout", "core:identity"),
    _layer("GaussianNoise", "core:identity"),
    *_ranks("SpatialDropout#D", "core:identity"),
)

# What a stateful layer starts every run from: zeros, or the state that it has when the model is converted. Whether an
# empty batch gets an empty answer (by an If), rather than onnxruntime's error.
_RECURRENT = {"stateful": ("reset", "current"), "empty_batch": (True, False)}

RNN: tuple[OperatorMapping, ...] = (
    _layer("Bidirectional", "rnn:bidirectional", shapes=f"{_SHAPES}.rnn:bidirectional", options=_RECURRENT),
    *(_layer(name, "rnn:recurrent", options=_RECURRENT) for name in ("GRU", "LSTM", "RNN", "SimpleRNN")),
    _layer("TimeDistributed", "rnn:time_distributed"),
)

_UNKNOWN = f"{_SHAPES}.general:unknown"

ATTENTION: tuple[OperatorMapping, ...] = (
    _layer("AdditiveAttention", "attention:additive_attention"),
    _layer("Attention", "attention:attention"),
    _layer("MultiHeadAttention", "attention:multi_head_attention", shapes=f"{_SHAPES}.attention:with_scores"),
)

# They change nothing at inference but the dtype.
_AUGMENTATIONS = (
    "AugMix", "CutMix", "Equalization", "MixUp", "RandAugment", "RandomBrightness", "RandomColorDegeneration",
    "RandomColorJitter", "RandomContrast", "RandomElasticTransform", "RandomErasing", "RandomFlip",
    "RandomGaussianBlur", "RandomGrayscale", "RandomHue", "RandomInvert", "RandomPerspective", "RandomPosterization",
    "RandomRotation", "RandomSaturation", "RandomSharpness", "RandomShear", "RandomTranslation", "RandomZoom",
    "Solarization",
)  # fmt: skip

PREPROCESSING: tuple[OperatorMapping, ...] = (
    _layer("CategoryEncoding", "preprocessing:category_encoding", shapes=f"{_SHAPES}.categories:category_encoding"),
    _layer("Discretization", "preprocessing:discretization"),
    _layer("CenterCrop", "preprocessing:center_crop"),
    _layer("Normalization", "preprocessing:normalization"),
    # Keras crops in training only, and infers the cropped shape all the same.
    _layer(
        "RandomCrop", "preprocessing:augmentation", shapes=f"{_SHAPES}.general:unknown", note="inference: unchanged"
    ),
    _layer("Rescaling", "preprocessing:rescaling"),
    _layer("Resizing", "preprocessing:resizing", shapes=f"{_SHAPES}.preprocessing:resizing"),
    _layer("HashedCrossing", "hashing:hashed_crossing", shapes=f"{_SHAPES}.categories:hashed_crossing"),
    _layer("Hashing", "hashing:hashing", shapes=f"{_SHAPES}.categories:hashing"),
    _layer("IntegerLookup", "lookup:lookup", shapes=f"{_SHAPES}.categories:lookup"),
    _layer("StringLookup", "lookup:lookup", shapes=f"{_SHAPES}.categories:lookup"),
    _layer("TextVectorization", "text_vectorization:text_vectorization", shapes=f"{_SHAPES}.categories:text"),
    *(
        _layer(
            name,
            "preprocessing:augmentation",
            shapes=f"{_SHAPES}.preprocessing:augmentation",
            note="inference: unchanged",
        )
        for name in _AUGMENTATIONS
    ),
)

# Their own code runs once on recording tensors and comes apart into functions of the backend.
_TRACED = (
    "AutoContrast", "ContrastLimitedAdaptiveHistogramEqualization", "ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D",
    "GRUCell", "GroupQueryAttention", "LSTMCell", "Lambda", "MaxNumBoundingBoxes",
    "MelSpectrogram", "Pipeline",
    "ReversibleEmbedding", "STFTSpectrogram", "SimpleRNNCell", "StackedRNNCells",
)  # fmt: skip

BEYOND_FLOATS = frozenset(
    (
        *_AUGMENTATIONS, *_TRACED, "Bidirectional", "CategoryEncoding", "CenterCrop", "Dense", "Discretization",
        "EinsumDense", "Embedding", "Flatten", "GRU", "HashedCrossing", "Hashing", "Identity", "IntegerLookup", "LSTM",
        "MultiHeadAttention", "Normalization", "Permute", "RNN", "RandomCrop", "Rescaling", "Reshape", "Resizing",
        "SimpleRNN", "StringLookup", "TextVectorization", "TimeDistributed", "TorchModuleWrapper",
    )
)  # fmt: skip
"""Layers whose converters are right for integers, truth values or text too; others are traced there."""

_SAVED_MODEL = (
    "it holds the compiled graph of a TensorFlow SavedModel, without the layers that it came from; convert the Keras "
    "model that was exported, or the SavedModel itself with a converter of TensorFlow graphs"
)

TRACED: tuple[OperatorMapping, ...] = (
    *(_layer(name, "core:traced", shapes=f"{_SHAPES}.general:unknown", note="by its own code") for name in _TRACED),
    _layer("JaxLayer", "jax_program:jax_layer", shapes=f"{_SHAPES}.general:unknown", note="by JAX's own primitives"),
    _layer("FlaxLayer", "jax_program:jax_layer", shapes=f"{_SHAPES}.general:unknown", note="by JAX's own primitives"),
    _refused("TFSMLayer", _SAVED_MODEL),
)

LAYER_ROWS: tuple[OperatorMapping, ...] = (
    *ACTIVATIONS,
    *CORE,
    *CONVOLUTIONAL,
    *POOLING,
    *NORMALIZATION,
    *ACTIVATION_LAYERS,
    *MERGING,
    *RESHAPING,
    *REGULARIZATION,
    *RNN,
    *ATTENTION,
    *PREPROCESSING,
    *TRACED,
)
