"""Run as a program under JAX or TensorFlow: models with functions of JAX inside. test_keras_backends.py starts it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import keras
import numpy as np
import pytest
from jax import lax
from keras import layers
from keras_checks import check, of_layer

from any2onnx.errors import ExportFailed, UnsupportedOperator

_RANDOM = np.random.default_rng(3)


def weights(*shape: int) -> Any:
    return _RANDOM.normal(size=shape).astype("float32")


MLP = {"w": weights(4, 8), "b": weights(8), "out": weights(8, 3)}
CONV = {"kernel": weights(3, 3, 3, 4), "scale": weights(4)}


def mlp(params: Any, inputs: Any) -> Any:
    hidden = jax.nn.gelu(inputs @ params["w"] + params["b"], approximate=False)
    return jax.nn.softmax(hidden @ params["out"])


def activations(inputs: Any) -> Any:
    x = jnp.clip(inputs, -2, 2)
    parts = [jax.nn.relu(x), jax.nn.silu(x), jax.nn.elu(x), jax.nn.leaky_relu(x), jax.nn.softplus(x), jax.nn.selu(x)]
    return jnp.stack([*parts, jnp.tanh(x) ** 3, jnp.abs(x) ** 0.5, x // 0.7, x % 0.7, jnp.round(x * 3)], axis=1)


def shapes(inputs: Any) -> Any:
    b, t, c = inputs.shape
    x = inputs.reshape(b, t * c).reshape(b, t, c)[:, ::-1, :2]
    x = jnp.concatenate([x, jnp.pad(x, ((0, 0), (0, 0), (1, 1)), constant_values=1.5)], axis=-1)
    return jnp.swapaxes(x, 1, 2) + jnp.arange(t, dtype="float32"), jnp.squeeze(x[:, :1], 1), jnp.split(x, 3, axis=-1)[1]


def reductions(inputs: Any) -> Any:
    x = inputs
    several = (x.mean((1, 2)), x.var(-1), x.max(1), x.min(1), x.prod(-1), jnp.cumsum(x, 1), jax.nn.logsumexp(x, 1))
    return {"a": several, "order": (jnp.argmax(x, -1), (x > 0).any(-1), (x > -1).all(1), jnp.sort(x, -1))}


def picks(inputs: Any) -> Any:
    best = jnp.argmax(inputs, -1)
    table = jnp.asarray(TABLE)
    ordered = jnp.take_along_axis(inputs, jnp.argsort(inputs, -1), -1)
    return table[best], jnp.take(table, best, axis=0), jax.nn.one_hot(best, 4), ordered


TABLE = weights(4, 3)


def best(inputs: Any) -> Any:
    return lax.top_k(inputs, 2)


def attention(inputs: Any) -> Any:
    scores = jnp.einsum("btc,bsc->bts", inputs, inputs) / 2.0
    causal = jnp.tril(jnp.ones((inputs.shape[1], inputs.shape[1]), bool))
    return jax.nn.softmax(jnp.where(causal, scores, -1e9)) @ inputs


def images(params: Any, state: Any, inputs: Any, training: bool) -> Any:
    numbers = ("NHWC", "HWIO", "NHWC")
    x = lax.conv_general_dilated(inputs, params["kernel"], (2, 2), "SAME", dimension_numbers=numbers)
    x = (x - state["mean"]) * params["scale"] * (2.0 if training else 1.0)
    most = lax.reduce_window(x, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
    summed = lax.reduce_window(x, 0.0, lax.add, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
    return most + summed / 4.0, state


def recurrent(inputs: Any) -> Any:
    def step(state: Any, x: Any) -> Any:
        state = jnp.tanh(state * 0.5 + x)
        return state, state * 2.0

    last, every = lax.scan(step, inputs[:, 0] * 0.0, jnp.swapaxes(inputs, 0, 1))
    return last, jnp.swapaxes(every, 0, 1)


def control(inputs: Any) -> Any:
    chosen = lax.cond(inputs.sum() > 0, lambda x: x * 2.0, lambda x: x - 1.0, inputs)
    return chosen, lax.fori_loop(0, 3, lambda k, x: x * 0.5 + k, inputs)


def model_of(function: Callable[..., Any], shape: tuple[int | None, ...], **given: Any) -> Any:
    x = keras.Input(shape, name="x")
    return keras.Model(x, layers.JaxLayer(function, **given)(x))


MODELS: dict[str, Callable[[], Any]] = {
    "mlp": lambda: model_of(mlp, (4,), params=MLP),
    "activations": lambda: model_of(activations, (5,)),
    "shapes": lambda: model_of(shapes, (None, 4)),
    "reductions": lambda: model_of(reductions, (None, 4)),
    "picks": lambda: model_of(picks, (None, 4)),
    "best": lambda: model_of(best, (None, 4)),
    "attention": lambda: model_of(attention, (None, 4)),
    "images": lambda: model_of(images, (8, 9, 3), params=CONV, state={"mean": np.full(4, 0.3, "float32")}),
    "recurrent": lambda: model_of(recurrent, (5, 4)),
    "control": lambda: model_of(control, (4,)),
}


def refused() -> None:
    for function, error, words in (
        (lambda inputs: inputs * float(inputs.sum()), ExportFailed, "JAX cannot write the function down"),
        (lambda inputs: lax.lgamma(jnp.abs(inputs) + 1.0), UnsupportedOperator, "primitive lgamma has no converter"),
    ):
        x = keras.Input((3,))
        layer = layers.JaxLayer(function)
        layer.compute_output_spec = lambda given, training=False: keras.KerasTensor(given.shape, given.dtype)
        with pytest.raises(error, match=words):
            check(keras.Model(x, layer(x)))


class Native(layers.Layer):
    """A layer in the functions of JAX, as users of that backend write them."""

    def build(self, shape: Any) -> None:
        self.kernel = self.add_weight(shape=(shape[-1], 3))

    def call(self, x: Any, training: bool = False) -> Any:
        y = jnp.einsum("btc,cd->btd", x, jnp.asarray(self.kernel))
        return jax.nn.gelu(y) + y.mean(axis=1, keepdims=True)


def main() -> None:
    done = []
    for name, build in MODELS.items():
        if name == "best" and keras.backend.backend() == "tensorflow":
            continue  # TensorFlow itself cannot run what JAX makes of top_k
        check(build(), sizes=(6,))
        done.append(name)
    refused()
    if keras.backend.backend() == "jax":
        check(of_layer(Native(), (None, 4)), sizes=(6,))
        done.append("native")
    print(json.dumps({"done": done}))


if __name__ == "__main__":
    main()
