"""The networks of keras.applications, with random weights and statistics as after training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Application:
    """One network.

    Attributes:
        name: Of the function in keras.applications.
        size: Height and width of the images; the smallest that the family takes, about.
        transposes: How many are left for the image input.
        fast: Whether CI converts it.
        free: Two other sizes, for a network without a fixed one; None where the family does not allow that.
    """

    name: str
    size: int = 32
    fast: bool = False
    free: tuple[tuple[int, int], tuple[int, int]] | None = ((32, 64), (64, 45))
    transposes: int = 1

    def build(self, **arguments: Any) -> Any:
        """Return the network with random weights."""
        keras.utils.set_random_seed(0)
        given = {"input_shape": (self.size, self.size, 3), "classes": 7, **arguments}
        return trained(getattr(keras.applications, self.name)(weights=None, **given))


# The smallest member of each family; the larger ones repeat its blocks.
APPLICATIONS = [
    Application("ConvNeXtTiny"),
    Application("DenseNet121"),
    Application("EfficientNetB0"),
    Application("EfficientNetV2B0"),
    Application("EfficientNetV2S"),
    Application("InceptionResNetV2", 75, free=((75, 96), (107, 80))),
    Application("InceptionV3", 75, free=((75, 96), (107, 80))),
    Application("MobileNet", fast=True),
    Application("MobileNetV2", fast=True),
    Application("MobileNetV3Large"),
    Application("MobileNetV3Small", fast=True),
    Application("NASNetMobile", free=None),  # Keras itself fails at any size that it was not built for
    Application("ResNet50"),
    Application("ResNet50V2", fast=True),
    Application("VGG16"),
    Application("Xception", 71, free=((71, 80), (96, 75))),
]


def trained(model: Any) -> Any:
    """Give scales, offsets and statistics random values, where a fresh network has ones and zeros."""
    random = np.random.default_rng(0)
    for weight in model.weights:
        if any(part in weight.path for part in ("moving", "gamma", "beta", "bias")):
            low, high = (0.5, 1.5) if "variance" in weight.path or "gamma" in weight.path else (-0.2, 0.2)
            weight.assign(random.uniform(low, high, weight.shape).astype("float32"))
    return model


def in_float64(model: Any, build: Callable[[], Any]) -> Any:
    """Return the same network computing in float64."""
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float64")
    try:
        wide = build()
    finally:
        keras.config.set_dtype_policy(policy)
    wide.set_weights(model.get_weights())
    return wide


def images(batch: int, *size: int) -> Array:
    """Return images with channels of 0 to 255, as all of these networks take them or rescale them."""
    return np.random.default_rng(batch).uniform(0, 255, (batch, *size, 3)).astype(np.float32)
