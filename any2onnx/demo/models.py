"""Models on real input for the three frameworks; each function imports its framework itself."""

from __future__ import annotations

from importlib import resources
from typing import Any

import numpy as np

SEED = 0


def score_data() -> tuple[np.ndarray[Any, Any], ...]:
    """Return hours studied and scores reached: X_train, X_test [n, 1] float64, y_train, y_test [n]."""
    from sklearn.model_selection import train_test_split

    with resources.as_file(resources.files("any2onnx.demo") / "score.csv") as path:
        table = np.loadtxt(path, delimiter=",", skiprows=1)
    X, y = table[:, :1], table[:, 1]
    X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=1 / 3, random_state=SEED)
    return X_train, X_test, y_train, y_test


def score_regression() -> Any:
    """Return a LinearRegression fitted on the score data."""
    from sklearn.linear_model import LinearRegression

    X_train, _, y_train, _ = score_data()
    return LinearRegression().fit(X_train, y_train)


def mixed_frame() -> tuple[Any, np.ndarray[Any, Any]]:
    """Return a DataFrame of wines with numbers (some missing) and text, and the cultivar [n] as text."""
    import pandas as pd
    from sklearn.datasets import load_wine

    wine = load_wine()
    rng = np.random.default_rng(SEED)
    frame = pd.DataFrame(wine.data[:, :4], columns=["alcohol", "malic_acid", "ash", "alcalinity"])
    frame = frame.mask(rng.random(frame.shape) < 0.05)
    colour = np.digitize(wine.data[:, 9], [3.5, 6.0])
    frame["colour"] = pd.Series(np.array(["blass", "rubinrot", "schwärzlich"], dtype=object)[colour], dtype=object)
    frame["cellar"] = pd.Series(rng.choice(np.array(["north", "south", "été"], dtype=object), len(frame)), dtype=object)
    return frame, wine.target_names[wine.target]


def mixed_pipeline() -> Any:
    """Return a fitted pipeline over named columns: imputer and scaler, one-hot encoding, gradient boosting."""
    from sklearn.compose import ColumnTransformer
    from sklearn.ensemble import GradientBoostingClassifier
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    frame, cultivar = mixed_frame()
    numbers = make_pipeline(SimpleImputer(strategy="median"), StandardScaler())
    columns = ColumnTransformer(
        [
            ("numbers", numbers, ["alcohol", "malic_acid", "ash", "alcalinity"]),
            ("words", OneHotEncoder(handle_unknown="ignore"), ["colour", "cellar"]),
        ]
    )
    model = make_pipeline(columns, GradientBoostingClassifier(n_estimators=20, random_state=SEED))
    return model.fit(frame[::2], cultivar[::2])


def keras_resnet50() -> Any:
    """Return Keras's ResNet50 (224×224×3, 1000 classes) with random weights and random BatchNorm statistics."""
    import keras

    keras.utils.set_random_seed(SEED)
    model = keras.applications.ResNet50(weights=None)
    randomise_batch_norm(model)
    return model


def randomise_batch_norm(model: Any) -> None:
    """Give every BatchNormalization of a Keras model other statistics than zeros and ones, in place."""
    import keras

    rng = np.random.default_rng(SEED)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            gamma, beta, mean, variance = (np.asarray(w) for w in layer.get_weights())
            layer.set_weights(
                [
                    gamma * rng.uniform(0.8, 1.2, gamma.shape).astype(gamma.dtype),
                    beta + rng.normal(0, 0.1, beta.shape).astype(beta.dtype),
                    mean + rng.normal(0, 0.1, mean.shape).astype(mean.dtype),
                    variance * rng.uniform(0.5, 1.5, variance.shape).astype(variance.dtype),
                ]
            )


def keras_small_cnn() -> Any:
    """Return a small channels-last image classifier of Keras, 16×16×3 → 4 classes."""
    import keras

    keras.utils.set_random_seed(SEED)
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((16, 16, 3), name="image"),
            layers.Conv2D(8, 3, padding="same", use_bias=False),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.MaxPooling2D(),
            layers.Conv2D(16, 3, activation="gelu"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(4, activation="softmax", name="class"),
        ],
        name="small_cnn",
    )
    randomise_batch_norm(model)
    return model


def torch_resnet() -> Any:
    """Return a small residual network of PyTorch, trained a few steps on scikit-learn's digits, in evaluation mode.

    Input [batch, 1, 8, 8] float32, output [batch, 10].
    """
    import torch

    torch.manual_seed(SEED)
    model = _torch_resnet_module()
    images, digits = digit_images()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    model.train()
    for step in range(20):
        rows = slice(step * 64, (step + 1) * 64)
        loss = torch.nn.functional.cross_entropy(model(images[rows]), digits[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval()


def digit_images() -> tuple[Any, Any]:
    """Return scikit-learn's digits as tensors: images [n, 1, 8, 8] in 0…1, digits [n] int64."""
    import torch
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = torch.from_numpy((digits.images[:, None] / 16).astype(np.float32))
    return images, torch.from_numpy(digits.target.astype(np.int64))


def _torch_resnet_module() -> Any:
    import torch
    from torch import nn

    class Block(nn.Module):
        def __init__(self, channels_in: int, channels: int, stride: int) -> None:
            super().__init__()
            self.conv1 = nn.Conv2d(channels_in, channels, 3, stride, 1, bias=False)
            self.bn1 = nn.BatchNorm2d(channels)
            self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
            self.bn2 = nn.BatchNorm2d(channels)
            self.shortcut: nn.Module = nn.Identity()
            if stride != 1 or channels_in != channels:
                conv = nn.Conv2d(channels_in, channels, 1, stride, bias=False)
                self.shortcut = nn.Sequential(conv, nn.BatchNorm2d(channels))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = torch.relu(self.bn1(self.conv1(x)))
            return torch.relu(self.bn2(self.conv2(y)) + self.shortcut(x))

    class ResNet(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Sequential(nn.Conv2d(1, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU())
            self.blocks = nn.Sequential(Block(16, 16, 1), Block(16, 32, 2), Block(32, 64, 2))
            self.pool = nn.AdaptiveAvgPool2d(1)
            self.head = nn.Linear(64, 10)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(torch.flatten(self.pool(self.blocks(self.stem(x))), 1))

    return ResNet()
