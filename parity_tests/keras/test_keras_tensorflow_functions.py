"""TensorFlow's own functions in Lambdas, custom layers and activations, as models that came from Keras 2 have them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers
from keras_checks import compare, numpy_of, randomize, session

from any2onnx import convert_keras
from any2onnx.errors import ExportFailed, UnsupportedParameter

tf = pytest.importorskip("tensorflow")
pytestmark = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="needs Keras on TensorFlow")

VECTOR, SEQUENCE, IMAGE = (6,), (None, 4), (None, None, 8)
SIZES = ((4, 6), (8, 4), (6, 2))
_RANDOM = np.random.default_rng(5)
_KERNEL = _RANDOM.normal(size=(2, 3, 8, 5)).astype("float32")
_DEEP = _RANDOM.normal(size=(2, 3, 8, 2)).astype("float32")
_ONES = np.ones(4, "float32")
_ES = np.ones(8, "float32")

# A function of one tensor, and the shape that it gets.
CASES: dict[str, tuple[Callable[[Any], Any], tuple[int | None, ...]]] = {
    "elementwise": (lambda x: tf.round(tf.exp(x) * 3) + tf.square(x) - tf.abs(x) + tf.sign(x) + tf.sqrt(x * x), VECTOR),
    "math": (lambda x: tf.math.log1p(tf.math.rsqrt(x * x + 1)) + tf.math.erf(x) + tf.math.expm1(x) + tf.sin(x), VECTOR),
    "powers": (lambda x: tf.pow(tf.abs(x) + 1, 1.5) + tf.math.floormod(x, 0.7) + x**2 + tf.realdiv(x, 3.0), VECTOR),
    "comparisons": (lambda x: tf.cast(tf.logical_and(x > 0, tf.less_equal(x, 1.0)), tf.float32), VECTOR),
    "where": (lambda x: tf.where(tf.greater(x, 0.0), x, tf.zeros_like(x)) + tf.ones_like(x, dtype=tf.float32), VECTOR),
    "clip": (lambda x: tf.clip_by_value(x, -0.5, 0.5) + tf.maximum(x, 0.1) - tf.minimum(x, tf.constant(0.2)), VECTOR),
    "reductions": (
        lambda x: (
            tf.reduce_sum(x, axis=1, keepdims=True)
            + tf.reduce_max(x, 1, True) * tf.reduce_mean(x, axis=[1, 2], keepdims=True)
        ),
        SEQUENCE,
    ),
    "more reductions": (
        lambda x: tf.math.reduce_std(x, -1) + tf.reduce_logsumexp(x, -1) + tf.reduce_prod(x, -1) - tf.reduce_min(x, -1),
        SEQUENCE,
    ),
    "any and all": (lambda x: tf.reduce_any(x > 1, axis=-1) | tf.reduce_all(x > -1, axis=-1), SEQUENCE),
    "argmax": (lambda x: tf.argmax(x, axis=2) + tf.argmin(x, axis=-1), SEQUENCE),
    "argmax in int32": (lambda x: tf.argmax(x, axis=2, output_type=tf.int32), SEQUENCE),
    "softmax": (lambda x: tf.nn.softmax(x) + tf.nn.log_softmax(x, axis=1), SEQUENCE),
    "activations": (
        lambda x: (
            tf.nn.relu6(x)
            + tf.nn.leaky_relu(x, alpha=0.3)
            + tf.nn.elu(x)
            + tf.nn.selu(x)
            + tf.nn.swish(x)
            + tf.nn.gelu(x)
        ),
        VECTOR,
    ),
    "transpose": (lambda x: tf.transpose(x, [0, 2, 1]), SEQUENCE),
    "expand and squeeze": (lambda x: tf.squeeze(tf.expand_dims(tf.expand_dims(x, 1), -1), axis=[1, 4]), SEQUENCE),
    "reshape": (lambda x: tf.reshape(x, [-1, 2, 3]), VECTOR),
    "reshape by the shape": (lambda x: tf.reshape(x, [tf.shape(x)[0], tf.shape(x)[1] * 4]), SEQUENCE),
    "reshape by a stacked shape": (lambda x: tf.reshape(x, tf.stack([tf.shape(x)[0], -1, 2])), SEQUENCE),
    "reshape by a joined shape": (lambda x: tf.reshape(x, tf.concat([tf.shape(x)[:2], [2, 2]], axis=0)), SEQUENCE),
    "unpacked shape": (lambda x: tf.reshape(x, (-1, tf.unstack(tf.shape(x))[1] * 2, 2)), SEQUENCE),
    "static shape": (lambda x: tf.reshape(x, [-1, x.shape[1] // 2, 2]) * x.get_shape().as_list()[-1], VECTOR),
    "concat": (lambda x: tf.concat([x, tf.reverse(x, axis=[-1])], axis=-1), SEQUENCE),
    "stack and unstack": (lambda x: tf.stack(tf.unstack(x, axis=-1)[::2], axis=1), SEQUENCE),
    "split": (lambda x: tf.split(x, 2, axis=-1)[1] - tf.split(x, [1, 2, -1], axis=-1)[1], SEQUENCE),
    "slice": (lambda x: tf.slice(x, [0, 0, 1], [-1, -1, 2]) + x[:, ::1, tf.newaxis, 0], SEQUENCE),
    "tile and repeat": (lambda x: tf.tile(x, [1, 1, 2]), SEQUENCE),
    "gather": (lambda x: tf.gather(x, [2, 0], axis=-1), SEQUENCE),
    "pad": (lambda x: tf.pad(x, [[0, 0], [1, 1], [0, 2]], constant_values=1.5), SEQUENCE),
    "pad by reflection": (lambda x: tf.pad(x, tf.constant([[0, 0], [1, 1], [0, 0]]), "REFLECT"), SEQUENCE),
    "one hot": (lambda x: tf.one_hot(tf.cast(tf.abs(x), tf.int32), 4, on_value=2.0, off_value=-1.0), VECTOR),
    "matmul": (lambda x: tf.matmul(x, x, transpose_b=True), SEQUENCE),
    "einsum": (lambda x: tf.einsum("btc,bsc->bts", x, x), SEQUENCE),
    "cumsum": (lambda x: tf.cumsum(x, axis=1, reverse=True), SEQUENCE),
    "top k": (lambda x: tf.nn.top_k(x, k=2)[0], SEQUENCE),
    "l2 normalize": (lambda x: tf.math.l2_normalize(x, axis=-1) + tf.nn.l2_normalize(x, axis=[1, 2]), SEQUENCE),
    "moments": (lambda x: tf.nn.moments(x, axes=[1], keepdims=True)[1] * x, SEQUENCE),
    "batch normalization": (
        lambda x: tf.nn.batch_normalization(x, _ONES, 2 * _ONES, None, 1.5 * _ONES, 1e-3),
        SEQUENCE,
    ),
    "rank and size": (lambda x: x * tf.cast(tf.rank(x), x.dtype) / tf.cast(tf.size(x[:1]), tf.float32), SEQUENCE),
    "fill": (lambda x: x + tf.fill(tf.shape(x), 2.0), SEQUENCE),
    "add n": (lambda x: tf.add_n([x, x * 2, -x]), VECTOR),
    "bias add": (lambda x: tf.nn.bias_add(x, tf.constant([1.0, 2.0, 3.0, 4.0])), SEQUENCE),
    "conv2d": (lambda x: tf.nn.conv2d(x, _KERNEL, strides=[1, 1, 2, 1], padding="SAME", data_format="NHWC"), IMAGE),
    "depthwise conv2d": (lambda x: tf.nn.depthwise_conv2d(x, _DEEP, strides=[1, 1, 1, 1], padding="SAME"), IMAGE),
    "pooling": (lambda x: tf.nn.max_pool2d(x, 2, 1, "SAME") + tf.nn.avg_pool(x, [1, 3, 3, 1], 1, "SAME"), IMAGE),
    "depth to space": (lambda x: tf.nn.depth_to_space(x, 2), IMAGE),
    "space to depth": (lambda x: tf.nn.space_to_depth(x, 2), (4, 6, 8)),
    "resize": (lambda x: tf.image.resize(x, (5, 7)) + tf.image.resize(x, [5, 7], method="nearest"), IMAGE),
    "norm": (lambda x: tf.norm(x, axis=-1, keepdims=True) + tf.norm(x, axis=[1, 2], keepdims=True), SEQUENCE),
    "range": (lambda x: x + tf.cast(tf.range(tf.shape(x)[1]), tf.float32)[None, :, None], SEQUENCE),
    "zeros and ones": (lambda x: tf.zeros((tf.shape(x)[0], 4)) + tf.ones([tf.shape(x)[1], 1, 1]) * x[0, 0], SEQUENCE),
    "sequence mask": (lambda x: tf.sequence_mask(tf.argmax(x, -1, tf.int32), 4, tf.float32), SEQUENCE),
    "sort": (lambda x: tf.sort(x, axis=1) + tf.cast(tf.argsort(x), tf.float32), SEQUENCE),
    "repeat": (lambda x: tf.repeat(x, 2, axis=1), SEQUENCE),
    "tensordot": (lambda x: tf.tensordot(x, _KERNEL[0, 0, :4], axes=[[2], [0]]), SEQUENCE),
    "gather nd": (lambda x: tf.gather_nd(x, [[0, 1], [0, 0]]), SEQUENCE),
    "scatter": (lambda x: tf.tensor_scatter_nd_update(x, [[0, 1]], x[:1, 0]), SEQUENCE),
    "trace": (lambda x: tf.linalg.trace(tf.matmul(x, x, transpose_a=True)), SEQUENCE),
    "pooling of old": (lambda x: tf.compat.v1.nn.max_pool(x, 2, 1, "SAME") + tf.nn.avg_pool2d(x, 1, 1, "VALID"), IMAGE),
    "batch norm of old": (
        lambda x: tf.compat.v1.nn.fused_batch_norm(x, _ES, _ES, 2 * _ES, 3 * _ES, is_training=False)[0],
        IMAGE,
    ),
    "batch norm of old, channels first": (
        lambda x: tf.compat.v1.nn.fused_batch_norm(
            tf.transpose(x, [0, 3, 1, 2]), _ES, 4 * _ES, 2 * _ES, 3 * _ES, data_format="NCHW", is_training=False
        )[0],
        IMAGE,
    ),
    "conv1d of old": (
        lambda x: tf.compat.v1.nn.conv1d(value=x, filters=_KERNEL[0, :, :4], stride=2, padding="SAME"),
        SEQUENCE,
    ),
    "compat v1": (lambda x: tf.compat.v1.reduce_sum(x, axis=1, keep_dims=True) + tf.compat.v1.log(x * x + 1), SEQUENCE),
}


def of_function(function: Callable[[Any], Any], shape: tuple[int | None, ...]) -> Any:
    x = keras.Input(shape, name="x")
    return keras.Model(x, layers.Lambda(function)(x))


def check_at_three_sizes(model: Any, shape: tuple[int | None, ...]) -> None:
    running = session(convert_keras(model))
    for k, sizes in enumerate(SIZES if None in shape else SIZES[:1]):
        varying = iter(sizes)
        data = np.random.default_rng(k).normal(size=[k + 1, *(d or next(varying) for d in shape)]).astype("float32")
        compare(running.run(None, {"x": data}), numpy_of(model(data, training=False)))


@pytest.mark.parametrize("name", CASES)
def test_in_a_lambda(name: str) -> None:
    function, shape = CASES[name]
    check_at_three_sizes(of_function(function, shape), shape)


def test_as_functions_of_their_own() -> None:
    x = keras.Input((4,), name="x")
    y = layers.Dense(5, activation=tf.nn.relu)(x)
    y = layers.Activation(tf.tanh)(layers.Lambda(tf.nn.l2_normalize, arguments={"axis": -1})(y))
    check_at_three_sizes(randomize(keras.Model(x, y)), (4,))


class _Scaled(layers.Layer):
    """Weights, masks and shapes in TensorFlow's functions."""

    def build(self, shape: Any) -> None:
        self.kernel = self.add_weight(shape=(shape[-1], 3), name="kernel")

    def call(self, x: Any) -> Any:
        y = tf.matmul(x, self.kernel)
        weights = tf.nn.softmax(tf.reduce_sum(y, axis=-1, keepdims=True), axis=1)
        return tf.reduce_sum(weights * y, axis=1) / tf.cast(tf.shape(x)[1], tf.float32)


def test_in_custom_layers() -> None:
    x = keras.Input((None, 4), name="x")
    check_at_three_sizes(randomize(keras.Model(x, _Scaled()(x))), (None, 4))


class _Pooled(layers.Layer):
    """Functions of Keras 2's backend."""

    def call(self, x: Any) -> Any:
        from keras.src.legacy import backend

        total = backend.sum(x, axis=-2) / (
            backend.cast(backend.mean(x, axis=-2) > 0, "float32") + keras.config.epsilon()
        )
        return backend.clip(total, -5.0, 5.0)

    def compute_output_shape(self, shape: Any) -> Any:
        return (shape[0], shape[2])


def test_legacy_backend_functions() -> None:
    x = keras.Input((None, 4), name="x")
    check_at_three_sizes(keras.Model(x, _Pooled()(x)), (None, 4))


@pytest.mark.parametrize(
    "function",
    [
        lambda x: tf.gather(x, tf.cast(x[:, :, :2] > 0, tf.int32), batch_dims=2),
        lambda x: tf.gather(x, tf.cast(x[:, :2, 0] > 0, tf.int32), batch_dims=1),
        lambda x: tf.gather(x, tf.cast(x[:, 0, 0] > 0, tf.int32), axis=1, batch_dims=1),
        lambda x: tf.gather(x, tf.cast(x[:, :, 0] > 0, tf.int32), axis=2, batch_dims=2),
    ],
)
def test_gather_by_batch(function: Callable[[Any], Any]) -> None:
    check_at_three_sizes(of_function(function, (None, 4)), (None, 4))


@pytest.mark.parametrize(
    ("function", "error", "message"),
    [
        (lambda x: tf.linalg.expm(tf.matmul(x, x, transpose_a=True)), ExportFailed, "got a tensor of the model"),
        (
            lambda x: tf.gather(x, tf.cast(x[:, 0] > 0, tf.int32), axis=2, batch_dims=1),
            UnsupportedParameter,
            "batch_dims=1",
        ),
        (lambda x: tf.cumsum(x, exclusive=True), UnsupportedParameter, "exclusive=True"),
        (lambda x: tf.convert_to_tensor(x.numpy()), ExportFailed, "asked for the numbers in a tensor"),
    ],
)
def test_refused_by_name(function: Callable[[Any], Any], error: type[Exception], message: str) -> None:
    x = keras.Input((3, 3))
    with pytest.raises(error, match=message):
        convert_keras(keras.Model(x, layers.Lambda(function, output_shape=(3, 3))(x)))


def test_noise_is_drawn_by_the_runtime() -> None:
    def noisy(x: Any) -> Any:
        return x + tf.random.normal((tf.shape(x)[0], 300), mean=1.0, stddev=0.5) * tf.random.uniform(tf.shape(x))

    running = session(convert_keras(of_function(noisy, (300,))))
    (drawn,) = running.run(None, {"x": np.zeros((200, 300), "float32")})
    assert abs(drawn.mean() - 0.5) < 0.02
    assert abs(drawn.std() - np.sqrt((1 + 0.25) / 3 - 0.25)) < 0.02


def test_tensorflow_is_as_before_afterwards() -> None:
    from tensorflow.python.util import dispatch

    before = [*dispatch._GLOBAL_DISPATCHERS, tf.zeros, tf.range]
    convert_keras(of_function(tf.round, (3,)))
    assert before == [*dispatch._GLOBAL_DISPATCHERS, tf.zeros, tf.range]
