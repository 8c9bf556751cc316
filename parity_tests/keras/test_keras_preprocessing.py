"""Preprocessing of numbers and images."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from keras import layers, ops
from keras_checks import check, compare, numpy_of, of_layer, session

from any2onnx import convert_keras

AUGMENTATIONS: list[tuple[str, dict[str, Any]]] = [
    ("AugMix", {}),
    ("CutMix", {}),
    ("MixUp", {}),
    ("RandAugment", {}),
    ("RandomBrightness", {"factor": 0.5}),
    ("RandomColorDegeneration", {"factor": 0.5}),
    ("RandomColorJitter", {}),
    ("RandomContrast", {"factor": 0.5}),
    ("RandomElasticTransform", {}),
    ("RandomCrop", {"height": 3, "width": 3}),
    ("RandomErasing", {}),
    ("RandomFlip", {}),
    ("RandomGaussianBlur", {}),
    ("RandomGrayscale", {}),
    ("RandomHue", {"factor": 0.5}),
    ("RandomInvert", {}),
    ("RandomPerspective", {}),
    ("RandomPosterization", {"factor": 4}),
    ("RandomRotation", {"factor": 0.5}),
    ("RandomSaturation", {"factor": 0.5}),
    ("RandomSharpness", {"factor": 0.5}),
    ("RandomShear", {}),
    ("RandomTranslation", {"height_factor": 0.3, "width_factor": 0.3}),
    ("RandomZoom", {"height_factor": 0.3}),
    ("Solarization", {}),
]


@pytest.mark.parametrize(("name", "options"), AUGMENTATIONS)
def test_augmentations_do_nothing_at_inference(name: str, options: dict[str, Any]) -> None:
    check(of_layer(getattr(layers, name)(**options), (6, 6, 3)), batches=(2,))


def test_equalization_does_nothing_at_inference() -> None:
    class Around(layers.Layer):
        """Keras itself cannot put Equalization into a graph: it returns its very input there."""

        def __init__(self) -> None:
            super().__init__()
            self.inner = layers.Equalization()

        def call(self, x: Any) -> Any:
            return self.inner(x) * 2

        def compute_output_shape(self, shape: Any) -> Any:
            return shape

    check(of_layer(Around(), (4, 4, 3)), batches=(2,))


@pytest.mark.parametrize(
    ("layer", "shape", "dtype"),
    [
        (lambda: layers.Rescaling(1 / 127.5, -1), (4, 4, 3), "uint8"),
        (lambda: layers.Rescaling(2.0), (3,), "float32"),
        (lambda: layers.Rescaling([0.5, 1.0, 2.0], [1.0, 0.0, -1.0]), (4, 4, 3), "float32"),
        (lambda: layers.Normalization(mean=[1.0, 2.0], variance=[4.0, 0.0]), (2,), "float32"),
        (lambda: layers.Normalization(mean=3.0, variance=2.0, invert=True), (2,), "int32"),
        (lambda: layers.CenterCrop(3, 4), (6, 7, 2), "float32"),
        (lambda: layers.Resizing(5, 3), (7, 8, 2), "float32"),
        (lambda: layers.Resizing(9, 9), (None, None, 2), "float32"),
        (lambda: layers.Resizing(5, 9, interpolation="nearest"), (7, 8, 2), "float32"),
        (lambda: layers.Resizing(3, 3), (6, 8, 3), "uint8"),
        (lambda: layers.Resizing(3, 3, antialias=True), (6, 8, 3), "float32"),
        (lambda: layers.Resizing(3, 3, crop_to_aspect_ratio=True), (6, 8, 3), "float32"),
        (lambda: layers.Resizing(4, 4, pad_to_aspect_ratio=True, fill_value=0.5), (6, 8, 3), "float32"),
        (lambda: layers.CenterCrop(8, 8), (6, 7, 3), "float32"),
        (lambda: layers.UpSampling2D(2, interpolation="bicubic"), (4, 5, 2), "float32"),
        (lambda: layers.UpSampling2D(2, interpolation="lanczos3"), (4, 5, 2), "float32"),
    ],
)
def test_numbers_and_images(layer: Any, shape: tuple[int | None, ...], dtype: str) -> None:
    check(of_layer(layer(), shape, dtype), sizes=(7, 8))


def test_adapted_normalization_has_no_extra_inputs() -> None:
    data = np.random.default_rng(0).normal(3.0, 2.0, (50, 4)).astype("float32")
    layer = layers.Normalization()
    layer.adapt(data)
    x = keras.Input((4,), name="x")
    proto = check(keras.Model(x, layer(x)))
    assert [value.name for value in proto.graph.input] == ["x"]


@pytest.mark.parametrize("mode", ["int", "one_hot", "multi_hot", "count"])
def test_discretization(mode: str) -> None:
    x = keras.Input((3,), name="x")
    model = keras.Model(x, layers.Discretization([-1.0, 0.0, 0.5], output_mode=mode)(x))
    data = np.array([[-2.0, -1.0, 0.25], [0.5, 7.0, np.inf]], "float32")
    check(model, batches=(2,), inputs=lambda n: [data])


@pytest.mark.parametrize("mode", ["one_hot", "multi_hot", "count"])
@pytest.mark.parametrize("columns", [1, 4])
def test_category_encoding(mode: str, columns: int) -> None:
    x = keras.Input((columns,), dtype="int32", name="x")
    check(keras.Model(x, layers.CategoryEncoding(5, output_mode=mode)(x)))


def test_category_encoding_with_weights() -> None:
    x, weights = keras.Input((4,), dtype="int32"), keras.Input((4,))
    check(keras.Model([x, weights], layers.CategoryEncoding(5, output_mode="count")(x, count_weights=weights)))


@pytest.mark.parametrize("shape", [(None, None, 3), (None, 9, 3), (8, None, 3), (4, 20, 3)])
@pytest.mark.parametrize("sizes", [(8, 9), (4, 12), (12, 4), (3, 3), (5, 6), (6, 5)])
def test_center_crop_of_any_size(shape: tuple[int | None, ...], sizes: tuple[int, int]) -> None:
    check(of_layer(layers.CenterCrop(5, 6), shape), sizes=sizes)


_AUGMENTATIONS = {
    "RandomBrightness": {"factor": 0.1},
    "RandomContrast": {"factor": 0.1},
    "RandomCrop": {"height": 4, "width": 4},
    "RandomFlip": {},
    "RandomHue": {"factor": 0.1},
    "RandomInvert": {},
    "MixUp": {},
}


@pytest.mark.parametrize("dtype", ["int64", "uint8", "float64", "float32"])
@pytest.mark.parametrize("name", _AUGMENTATIONS)
def test_augmentations_keep_the_types_that_keras_keeps(name: str, dtype: str) -> None:
    x = keras.Input((6, 6, 3), dtype=dtype, name="x")
    model = keras.Model(x, getattr(layers, name)(**_AUGMENTATIONS[name])(x))
    data = np.random.default_rng(0).integers(0, 255, (2, 6, 6, 3)).astype(dtype)
    compare(session(convert_keras(model)).run(None, {"x": data}), numpy_of(model(data, training=False)))


def test_augmentation_of_images_with_labels() -> None:
    given = {"images": keras.Input((6, 6, 3), name="images"), "labels": keras.Input((), dtype="int64", name="labels")}
    model = keras.Model(given, layers.RandomBrightness(0.1)(given))
    images = np.random.default_rng(0).uniform(0, 255, (2, 6, 6, 3)).astype("float32")
    data = {"images": images, "labels": np.asarray([3, 1], "int64")}
    found = session(convert_keras(model))
    answers = dict(zip([value.name for value in found.get_outputs()], found.run(None, data), strict=True))
    wanted = numpy_of(model(dict(data), training=False))
    compare(list(answers.values()), wanted)


@pytest.mark.parametrize("keeps", ["crop_to_aspect_ratio", "pad_to_aspect_ratio"])
@pytest.mark.parametrize("interpolation", ["nearest", "bilinear"])
@pytest.mark.parametrize("opset", [13, 21])
def test_resizing_keeps_the_ratio_of_any_size(keeps: str, interpolation: str, opset: int) -> None:
    x = keras.Input((None, None, 2), name="x")
    model = keras.Model(x, layers.Resizing(6, 9, interpolation=interpolation, fill_value=0.5, **{keeps: True})(x))
    running = session(convert_keras(model, target_opset=opset))
    for height, width in ((4, 5), (12, 7), (7, 20), (1, 9), (6, 9), (13, 13)):
        data = np.random.default_rng(height).normal(size=(2, height, width, 2)).astype("float32")
        compare(running.run(None, {"x": data}), numpy_of(model(data)))


class _ResizedTo(layers.Layer):
    """One tensor resized to the size of another one, as in feature pyramids."""

    def __init__(self, interpolation: str, antialias: bool) -> None:
        super().__init__()
        self.given = {"interpolation": interpolation, "antialias": antialias}

    def call(self, tensors: Any) -> Any:
        a, b = tensors
        return ops.image.resize(a, (ops.shape(b)[1], ops.shape(b)[2]), **self.given)

    def compute_output_shape(self, shapes: Any) -> Any:
        a, b = shapes
        return (a[0], b[1], b[2], a[3])


@pytest.mark.parametrize("antialias", [False, True])
@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic", "lanczos3"])
def test_resizing_to_the_size_of_another_tensor(interpolation: str, antialias: bool) -> None:
    if (keras.backend.backend(), interpolation) == ("torch", "lanczos3"):
        pytest.skip("Keras itself has no lanczos under PyTorch")
    a, b = keras.Input((None, None, 3), name="a"), keras.Input((None, None, 1), name="b")
    model = keras.Model([a, b], _ResizedTo(interpolation, antialias)([a, b]))
    running = session(convert_keras(model))
    for before, after in (((4, 5), (8, 10)), ((7, 6), (3, 4)), ((5, 5), (5, 5)), ((3, 9), (10, 2))):
        random = np.random.default_rng(sum(before))
        data = [random.normal(size=(2, *size, k)).astype("float32") for size, k in ((before, 3), (after, 1))]
        compare(running.run(None, {"a": data[0], "b": data[1]}), numpy_of(model(data)))
