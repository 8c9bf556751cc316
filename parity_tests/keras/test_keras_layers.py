"""Each layer, configuration by configuration, against Keras itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers
from keras_checks import check, of_layer, op_types, randomize

Case = tuple[str, Callable[[], Any], tuple[int | None, ...]]

CONVOLUTIONS: list[Case] = [
    ("conv1d", lambda: layers.Conv1D(4, 3, activation="relu"), (9, 3)),
    ("conv1d_causal", lambda: layers.Conv1D(4, 3, padding="causal", dilation_rate=2), (9, 3)),
    ("conv1d_none", lambda: layers.Conv1D(4, 3, strides=2, padding="same"), (None, 3)),
    ("conv1d_groups", lambda: layers.Conv1D(4, 3, groups=2, padding="same"), (9, 4)),
    ("conv2d", lambda: layers.Conv2D(4, 3), (8, 9, 3)),
    ("conv2d_same", lambda: layers.Conv2D(4, (3, 4), padding="same"), (8, 9, 3)),
    ("conv2d_same_strides", lambda: layers.Conv2D(4, (3, 2), strides=2, padding="same"), (8, 9, 3)),
    ("conv2d_same_none", lambda: layers.Conv2D(4, 3, strides=(2, 1), padding="same"), (None, None, 3)),
    ("conv2d_dilated_none", lambda: layers.Conv2D(4, 3, dilation_rate=2, padding="same"), (None, None, 3)),
    ("conv2d_groups", lambda: layers.Conv2D(6, 3, groups=3, use_bias=False), (8, 8, 3)),
    ("conv3d", lambda: layers.Conv3D(2, 2, strides=2, padding="same"), (5, 4, 5, 2)),
    ("depthwise1d", lambda: layers.DepthwiseConv1D(3, depth_multiplier=2), (9, 3)),
    ("depthwise2d", lambda: layers.DepthwiseConv2D(3, strides=2, padding="same"), (8, 9, 3)),
    ("depthwise2d_multiplier", lambda: layers.DepthwiseConv2D(3, depth_multiplier=2, activation="relu6"), (8, 9, 3)),
    ("separable1d", lambda: layers.SeparableConv1D(5, 3, strides=2, padding="same"), (9, 3)),
    ("separable2d", lambda: layers.SeparableConv2D(5, 3, depth_multiplier=2, activation="tanh"), (8, 9, 3)),
    ("transpose1d", lambda: layers.Conv1DTranspose(4, 3, strides=2), (5, 3)),
    ("transpose1d_same", lambda: layers.Conv1DTranspose(4, 3, strides=2, padding="same"), (5, 3)),
    ("transpose2d", lambda: layers.Conv2DTranspose(4, 3), (4, 5, 3)),
    ("transpose2d_same", lambda: layers.Conv2DTranspose(4, 3, strides=2, padding="same"), (4, 5, 3)),
    ("transpose2d_even", lambda: layers.Conv2DTranspose(4, 4, strides=2, padding="same"), (None, None, 3)),
    ("transpose2d_wide_stride", lambda: layers.Conv2DTranspose(4, 2, strides=3), (4, 5, 3)),
    ("transpose2d_wide_stride_same", lambda: layers.Conv2DTranspose(4, 2, strides=3, padding="same"), (4, 5, 3)),
    (
        "transpose2d_output_padding",
        lambda: layers.Conv2DTranspose(4, 3, strides=2, padding="same", output_padding=1),
        (4, 5, 3),
    ),
    ("transpose2d_dilated", lambda: layers.Conv2DTranspose(4, 3, dilation_rate=2), (4, 5, 3)),
    ("transpose3d", lambda: layers.Conv3DTranspose(2, 3, strides=2, padding="same"), (3, 2, 3, 2)),
]

POOLS: list[Case] = [
    ("max1d", lambda: layers.MaxPooling1D(2), (9, 3)),
    ("max2d", lambda: layers.MaxPooling2D(3, 2), (8, 9, 3)),
    ("max2d_same", lambda: layers.MaxPooling2D(3, 2, padding="same"), (8, 9, 3)),
    ("max2d_same_none", lambda: layers.MaxPooling2D(3, 2, padding="same"), (None, None, 3)),
    ("max3d", lambda: layers.MaxPooling3D(2), (4, 5, 4, 2)),
    ("average1d", lambda: layers.AveragePooling1D(2), (9, 3)),
    ("average2d_same", lambda: layers.AveragePooling2D(3, 2, padding="same"), (8, 9, 3)),
    ("average2d_same_none", lambda: layers.AveragePooling2D(3, 2, padding="same"), (None, None, 3)),
    ("average3d", lambda: layers.AveragePooling3D(2), (4, 5, 4, 2)),
    ("global_max1d", layers.GlobalMaxPooling1D, (None, 3)),
    ("global_max2d_keep", lambda: layers.GlobalMaxPooling2D(keepdims=True), (4, 5, 3)),
    ("global_average2d", layers.GlobalAveragePooling2D, (4, 5, 3)),
    ("global_average3d", layers.GlobalAveragePooling3D, (4, 5, 3, 2)),
    ("adaptive_average1d", lambda: layers.AdaptiveAveragePooling1D(3), (7, 2)),
    ("adaptive_average2d", lambda: layers.AdaptiveAveragePooling2D((3, 4)), (7, 8, 2)),
    ("adaptive_average2d_one", lambda: layers.AdaptiveAveragePooling2D(1), (None, None, 2)),
    ("adaptive_average2d_larger", lambda: layers.AdaptiveAveragePooling2D((5, 3)), (3, 3, 2)),
    ("adaptive_max2d", lambda: layers.AdaptiveMaxPooling2D((3, 4)), (7, 8, 2)),
    ("adaptive_max3d", lambda: layers.AdaptiveMaxPooling3D(2), (3, 4, 5, 2)),
]

NORMALS: list[Case] = [
    ("batch", layers.BatchNormalization, (4, 5, 3)),
    ("batch_matrix", lambda: layers.BatchNormalization(epsilon=0.1), (5,)),
    ("batch_axis1", lambda: layers.BatchNormalization(axis=1), (3, 4, 5)),
    ("batch_axis2", lambda: layers.BatchNormalization(axis=2), (3, 4, 5)),
    ("batch_plain", lambda: layers.BatchNormalization(scale=False, center=False), (4, 3)),
    ("layer", layers.LayerNormalization, (4, 5)),
    ("layer_axes", lambda: layers.LayerNormalization(axis=(1, 2)), (4, 5)),
    ("layer_axis1", lambda: layers.LayerNormalization(axis=1), (4, 5)),
    ("layer_axes_apart", lambda: layers.LayerNormalization(axis=(1, 3)), (4, 5, 3)),
    ("layer_plain", lambda: layers.LayerNormalization(scale=False, center=False), (4, 5)),
    ("rms", layers.RMSNormalization, (4, 5)),
    ("group", lambda: layers.GroupNormalization(2), (3, 5, 4)),
    ("group_none", lambda: layers.GroupNormalization(2), (None, None, 4)),
    ("group_all", lambda: layers.GroupNormalization(1, axis=1), (4, 3)),
    ("group_instance", lambda: layers.GroupNormalization(-1, scale=False), (5, 4)),
    ("group_matrix", lambda: layers.GroupNormalization(2), (6,)),
    ("unit", layers.UnitNormalization, (4, 5)),
    ("unit_axes", lambda: layers.UnitNormalization(axis=(1, 2)), (4, 5)),
    ("spectral", lambda: layers.SpectralNormalization(layers.Dense(3)), (4, 5)),
]

CORES: list[Case] = [
    ("dense", lambda: layers.Dense(4, activation="gelu"), (5,)),
    ("dense_no_bias", lambda: layers.Dense(4, use_bias=False), (5,)),
    ("dense_sequence", lambda: layers.Dense(4, activation="silu"), (None, 5)),
    ("einsum_projection", lambda: layers.EinsumDense("abc,cd->abd", (None, 4), bias_axes="d"), (3, 5)),
    ("einsum_heads", lambda: layers.EinsumDense("abc,cde->abde", (None, 2, 4), bias_axes="de"), (None, 5)),
    ("einsum_back", lambda: layers.EinsumDense("abcd,cde->abe", (None, 4), bias_axes="e"), (None, 2, 3)),
    ("einsum_ellipsis", lambda: layers.EinsumDense("...x,xy->...y", 4, bias_axes="y"), (3, 5)),
    ("einsum_general", lambda: layers.EinsumDense("abc,bd->adc", (4, 5)), (3, 5)),
    ("identity", layers.Identity, (4,)),
    ("masking", lambda: layers.Masking(0.0), (3, 2)),
    ("dropout", lambda: layers.Dropout(0.5), (4,)),
    ("noise", lambda: layers.GaussianNoise(0.5), (4,)),
    ("activity", lambda: layers.ActivityRegularization(0.5), (4,)),
    ("relu_all", lambda: layers.ReLU(max_value=1.0, negative_slope=0.25, threshold=0.5), (9,)),
    ("relu_threshold", lambda: layers.ReLU(threshold=0.5), (9,)),
    ("relu_max", lambda: layers.ReLU(max_value=0.75, negative_slope=0.1), (9,)),
    ("leaky_relu", layers.LeakyReLU, (9,)),
    ("prelu", layers.PReLU, (3, 4)),
    ("prelu_shared", lambda: layers.PReLU(shared_axes=[1, 2]), (3, 4, 2)),
    ("elu", lambda: layers.ELU(0.5), (9,)),
    ("softmax", lambda: layers.Softmax(axis=1), (3, 4)),
    ("softmax_axes", lambda: layers.Softmax(axis=(1, 2)), (3, 4)),
]

SHAPES: list[Case] = [
    ("flatten", layers.Flatten, (3, 4, 2)),
    ("flatten_none", layers.Flatten, (None, 4)),
    ("flatten_first", lambda: layers.Flatten(data_format="channels_first"), (3, 4, 2)),
    ("reshape", lambda: layers.Reshape((2, 6)), (3, 4)),
    ("reshape_rest", lambda: layers.Reshape((-1, 2)), (None, 4)),
    ("permute", lambda: layers.Permute((3, 1, 2)), (3, 4, 2)),
    ("repeat", lambda: layers.RepeatVector(3), (4,)),
    ("crop1d", lambda: layers.Cropping1D((1, 0)), (5, 2)),
    ("crop2d", lambda: layers.Cropping2D(((1, 2), (0, 1))), (5, 6, 2)),
    ("crop3d_first", lambda: layers.Cropping3D(1, data_format="channels_first"), (2, 5, 4, 5)),
    ("pad1d", lambda: layers.ZeroPadding1D((1, 2)), (None, 2)),
    ("pad2d", lambda: layers.ZeroPadding2D(((1, 2), (0, 1))), (5, 6, 2)),
    ("pad3d", lambda: layers.ZeroPadding3D(1), (2, 3, 2, 2)),
    ("up1d", lambda: layers.UpSampling1D(3), (None, 2)),
    ("up2d", lambda: layers.UpSampling2D((2, 3)), (None, None, 2)),
    ("up2d_bilinear", lambda: layers.UpSampling2D(2, interpolation="bilinear"), (4, 5, 2)),
    ("up3d", lambda: layers.UpSampling3D(2), (2, 3, 2, 2)),
]


@pytest.mark.parametrize(
    ("build", "shape"), [pytest.param(b, s, id=n) for n, b, s in CONVOLUTIONS + POOLS + NORMALS + CORES + SHAPES]
)
def test_layer_gives_what_keras_gives(build: Callable[[], Any], shape: tuple[int | None, ...]) -> None:
    check(of_layer(build(), shape), sizes=(7, 6))


@pytest.mark.parametrize("opset", [13, 18, 28])
@pytest.mark.parametrize(
    ("build", "shape"),
    [
        pytest.param(b, s, id=n)
        for n, b, s in CONVOLUTIONS + POOLS + NORMALS + CORES + SHAPES
        if n
        in {
            "conv1d_causal",
            "conv2d_same_none",
            "transpose2d_wide_stride",
            "max2d_same_none",
            "average2d_same_none",
            "adaptive_max2d",
            "batch",
            "layer",
            "layer_axis1",
            "rms",
            "group",
            "unit",
            "dense",
            "dense_sequence",
            "einsum_heads",
            "masking",
            "relu_all",
            "softmax_axes",
            "reshape_rest",
            "crop2d",
            "pad2d",
            "up2d",
        }
    ],
)
def test_layer_at_other_opsets(build: Callable[[], Any], shape: tuple[int | None, ...], opset: int) -> None:
    check(of_layer(build(), shape), opset=opset, sizes=(7, 6), batches=(2,))


ACTIVATIONS = [
    "celu", "elu", "exponential", "gelu", "glu", "hard_shrink", "hard_sigmoid", "hard_silu", "hard_tanh", "leaky_relu",
    "linear", "log_sigmoid", "log_softmax", "mish", "relu", "relu6", "selu", "sigmoid", "silu", "soft_shrink",
    "softmax", "softplus", "softsign", "sparse_plus", "sparse_sigmoid", "sparsemax", "squareplus", "tanh",
    "tanh_shrink",
]  # fmt: skip


@pytest.mark.parametrize("opset", [13, 21, 28])
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activation(name: str, opset: int) -> None:
    def inputs(batch: int) -> list[np.ndarray[Any, Any]]:
        return [np.random.default_rng(batch).normal(size=(batch, 3, 8)).astype("float32") * 3]

    check(of_layer(layers.Activation(name), (3, 8)), opset=opset, inputs=inputs)


def test_every_activation_of_keras_has_a_row() -> None:
    from keras.src.activations import ALL_OBJECTS_DICT

    from any2onnx.operator_mappings.registry import default_registry

    registry = default_registry()
    # `threshold` has arguments without defaults, so it cannot be named as an activation.
    missing = [
        name
        for name, function in ALL_OBJECTS_DICT.items()
        if name != "threshold" and not registry.knows("keras", f"keras.activations.{function.__name__}")
    ]
    assert missing == []


@pytest.mark.parametrize("name", ["Add", "Average", "Multiply", "Maximum", "Minimum"])
def test_merge_broadcasts_over_ranks(name: str) -> None:
    a, b, c = keras.Input((3, 4)), keras.Input((4,)), keras.Input((1, 4))
    check(keras.Model([a, b, c], getattr(layers, name)()([a, b, c])))


def test_subtract_and_concatenate() -> None:
    a, b = keras.Input((3, 4)), keras.Input((3, 4))
    check(keras.Model([a, b], [layers.Subtract()([a, b]), layers.Concatenate(axis=1)([a, b, a])]))


@pytest.mark.parametrize(
    ("axes", "normalize", "first", "second"),
    [
        (1, False, (4,), (4,)),
        (-1, True, (4,), (4,)),
        ((1, 2), False, (3, 4), (5, 3)),
        (2, True, (3, 4), (5, 4)),
        ((1, 2), False, (3,), (5, 3)),
        ((2, 1), False, (5, 3), (3,)),
        ((1, 2), False, (3, 2, 4), (5, 3)),
    ],
)
def test_dot(axes: Any, normalize: bool, first: tuple[int, ...], second: tuple[int, ...]) -> None:
    a, b = keras.Input(first), keras.Input(second)
    check(keras.Model([a, b], layers.Dot(axes, normalize=normalize)([a, b])))


def test_embedding_takes_floats_and_integers() -> None:
    for dtype in ("int32", "int64", "uint8", "float32"):
        x = keras.Input((None,), dtype=dtype)
        model = randomize(keras.Model(x, layers.Embedding(7, 3)(x)))
        check(model, inputs=lambda n, d=dtype: [np.random.default_rng(n).integers(0, 7, (n, 4)).astype(d)])


@pytest.mark.parametrize(
    "layer", [layers.Conv2D(4, 3, data_format="channels_first"), layers.MaxPooling2D(2, data_format="channels_first")]
)
def test_channels_first_layers_have_no_transpose(layer: Any) -> None:
    if keras.backend.backend() == "tensorflow":
        from keras_checks import converted

        # TensorFlow has no CPU kernel to compare with; the graph is what counts here.
        proto = converted(of_layer(layer, (3, 8, 8)))
    else:
        proto = check(of_layer(layer, (3, 8, 8)))
    assert "Transpose" not in op_types(proto)


def test_the_comparison_can_fail() -> None:
    from keras_checks import compare, converted, session

    model = of_layer(layers.Dense(2), (3,))
    proto = converted(model)
    x = np.ones((2, 3), "float32")
    (got,) = session(proto).run(None, {"x": x})
    model.layers[-1].bias.assign_add([0.01, 0.0])
    with pytest.raises(AssertionError):
        compare([got], [np.asarray(keras.ops.convert_to_numpy(model(x)))])
