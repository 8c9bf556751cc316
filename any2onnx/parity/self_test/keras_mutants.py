"""Keras models written out in ONNX, and the mistakes that converters make with them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from any2onnx.parity.self_test.specimen import Mutant, Specimen, Subject
from any2onnx.parity.ulp import Array

KERAS = "keras"


def _weights(layer: Any) -> list[Array]:
    import keras

    return [np.asarray(keras.ops.convert_to_numpy(weight)) for weight in layer.weights]


def _seeded() -> Any:
    import keras

    keras.utils.set_random_seed(0)
    return keras


_IMAGE = """image (float[batch, 8, 8, 3] x) => (float[batch, 4] y) {
  first = Transpose <perm = [0, 3, 1, 2]> (x)
  maps = Conv <auto_pad = "SAME_UPPER", kernel_shape = [3, 3], strides = [2, 2]> (first, kernel, bias)
  normal = BatchNormalization <epsilon = 0.001> (maps, gain, shift, mean, var)
  active = Relu (normal)
  pooled = ReduceMean <keepdims = 0> (active, axes)
  scores = Gemm (pooled, w, b)
  y = Softmax <axis = 1> (scores)
}"""


def _image() -> Subject:
    keras = _seeded()
    layers = keras.layers
    x = keras.Input((8, 8, 3), name="x")
    convolution = layers.Conv2D(4, 3, strides=2, padding="same", name="convolution")
    norm, dense = layers.BatchNormalization(name="norm"), layers.Dense(4, activation="softmax", name="dense")
    active = layers.ReLU(name="relu")(norm(convolution(x)))
    model = keras.Model(x, dense(layers.GlobalAveragePooling2D(name="pool")(active)))
    # Variances near epsilon, so that it counts.
    norm.moving_variance.assign([0.002, 0.005, 0.01, 0.004])
    norm.moving_mean.assign([0.1, -0.2, 0.3, 0.0])
    kernel, bias = _weights(convolution)
    gain, shift, mean, var = _weights(norm)
    w, b = _weights(dense)
    weights = {"kernel": kernel.transpose(3, 2, 0, 1), "bias": bias, "gain": gain, "shift": shift, "mean": mean}
    weights |= {"var": var, "w": w, "b": b, "axes": np.array([2, 3])}
    return Subject(model, _IMAGE, weights)


_MASKED = """masked (int64[batch, 6] ids) => (float[batch, 3] y) {
  vectors = Gather <axis = 0> (table, ids)
  word = Equal (ids, padding)
  real = Not (word)
  mask = Cast <to = 1> (real)
  columns = Unsqueeze (mask, last)
  kept = Mul (vectors, columns)
  sums = ReduceSum <keepdims = 0> (kept, one)
  counts = ReduceSum <keepdims = 0> (columns, one)
  y = Div (sums, counts)
}"""


def _masked() -> Subject:
    keras = _seeded()
    ids = keras.Input((6,), dtype="int64", name="ids")
    embedding = keras.layers.Embedding(10, 3, mask_zero=True, name="embedding")
    model = keras.Model(ids, keras.layers.GlobalAveragePooling1D(name="pool")(embedding(ids)))
    weights = {"table": _weights(embedding)[0], "padding": np.int64(0), "last": np.array([2]), "one": np.array([1])}
    return Subject(model, _MASKED, weights)


_BLOCK = """block (float[batch, 5] x) => (float[batch, 5] normed, float[batch, 2] scores) {
  hidden = MatMul (x, w1)
  shifted = Add (hidden, b1)
  scaled = Div (shifted, root)
  error = Erf (scaled)
  raised = Add (error, one)
  product = Mul (shifted, raised)
  active = Mul (product, half)
  normed = LayerNormalization <axis = -1, epsilon = 0.001> (active, gain, shift)
  scores = Gemm (normed, w2, b2)
}"""
_CUBIC = """square = Mul (shifted, shifted)
  cube = Mul (square, shifted)
  part = Mul (cube, small)
  both = Add (shifted, part)
  scaled = Mul (both, factor)"""
_TANH = (("scaled = Div (shifted, root)", _CUBIC), ("Erf (scaled)", "Tanh (scaled)"))


def _block() -> Subject:
    keras = _seeded()
    x = keras.Input((5,), name="x")
    first, second = keras.layers.Dense(5, activation="gelu", name="first"), keras.layers.Dense(2, name="scores")
    norm = keras.layers.LayerNormalization(name="normed")
    normed = norm(first(x))
    model = keras.Model(x, {"normed": normed, "scores": second(normed)})
    w1, b1 = _weights(first)
    gain, shift = _weights(norm)
    w2, b2 = _weights(second)
    weights: dict[str, Any] = {"w1": w1, "b1": b1 + np.float32(0.1), "gain": gain, "shift": shift, "w2": w2, "b2": b2}
    first.bias.assign(weights["b1"])
    weights |= {"root": np.float32(math.sqrt(2)), "one": np.float32(1), "half": np.float32(0.5)}
    weights |= {"small": np.float32(0.044715), "factor": np.float32(math.sqrt(2 / math.pi))}
    return Subject(model, _BLOCK, weights)


_LARGER = """larger (float[batch, 4, 4, 1] x) => (float[batch, 8, 8, 1] y) {
  first = Transpose <perm = [0, 3, 1, 2]> (x)
  more = Resize <mode = "linear", coordinate_transformation_mode = "half_pixel"> (first, , scales)
  y = Transpose <perm = [0, 2, 3, 1]> (more)
}"""


def _larger() -> Subject:
    keras = _seeded()
    x = keras.Input((4, 4, 1), name="x")
    model = keras.Model(x, keras.layers.UpSampling2D(2, interpolation="bilinear", name="more")(x))
    return Subject(model, _LARGER, {"scales": np.array([1, 1, 2, 2], np.float32)})


_POOLS = """pools (float[batch, 5, 5, 2] x) => (float[batch, 3, 3, 2] y) {
  first = Transpose <perm = [0, 3, 1, 2]> (x)
  pooled = AveragePool <auto_pad = "SAME_UPPER", kernel_shape = [3, 3], strides = [2, 2], count_include_pad = 0> (first)
  y = Transpose <perm = [0, 2, 3, 1]> (pooled)
}"""


def _pools() -> Subject:
    keras = _seeded()
    x = keras.Input((5, 5, 2), name="x")
    model = keras.Model(x, keras.layers.AveragePooling2D(3, strides=2, padding="same", name="pool")(x))
    return Subject(model, _POOLS)


_GRU = """gru (float[batch, 6, 3] x) => (float[batch, 4] y) {
  some = Concat <axis = 0> (x, blank)
  time = Transpose <perm = [1, 0, 2]> (some)
  all, last = GRU <hidden_size = 4, linear_before_reset = 1> (time, w, r, b)
  flat = Squeeze (last, zero)
  y = Slice (flat, zero, minus)
}"""


def _gru() -> Subject:
    keras = _seeded()
    x = keras.Input((6, 3), name="x")
    layer = keras.layers.GRU(4, bias_initializer="random_normal", name="gru")
    model = keras.Model(x, layer(x))
    kernel, recurrent, bias = _weights(layer)
    weights = {"w": kernel.T[None], "r": recurrent.T[None], "b": bias.reshape(1, -1), "zero": np.array([0])}
    # onnxruntime's recurrent operators end the whole process at an empty batch: one row more, cut off at the end.
    weights |= {"blank": np.zeros((1, 6, 3), np.float32), "minus": np.array([-1])}
    return Subject(model, _GRU, weights)


IMAGE = Specimen("image classifier", KERAS, _image)
MASKED = Specimen("masked mean of embeddings", KERAS, _masked)
BLOCK = Specimen("block with two outputs", KERAS, _block)
LARGER = Specimen("bilinear upsampling", KERAS, _larger)
POOLS = Specimen("average pooling, same", KERAS, _pools)
GRU = Specimen("gated recurrent unit", KERAS, _gru)


def _gates_swapped(values: Array) -> Array:
    """Swap the update and the reset gate of a recurrent layer with four units."""
    return np.concatenate([values[:, 4:8], values[:, :4], values[:, 8:]], axis=1)


_SWAPPED = (
    "normed = LayerNormalization <axis = -1, epsilon = 0.001> (active, gain, shift)\n  scores = Gemm (normed, w2, b2)",
    "scores = LayerNormalization <axis = -1, epsilon = 0.001> (active, gain, shift)\n  normed = Gemm (scores, w2, b2)",
)
_BAKED = """means = ReduceMean <keepdims = 0> (active, axes)
  sizes = Constant <value_ints = [128, 4]> ()
  pooled = Reshape (means, sizes)"""

MUTANTS = (
    Mutant("padding off by one", IMAGE, "typical", (("SAME_UPPER", "SAME_LOWER"),), culprit=("maps",)),
    Mutant("stride ignored", IMAGE, "typical", (("strides = [2, 2]", "strides = [1, 1]"),), culprit=("maps",)),
    Mutant("epsilon dropped", IMAGE, "typical", (("epsilon = 0.001", "epsilon = 0.0000001"),), culprit=("normal",)),
    Mutant("height and width swapped", IMAGE, "typical", (("perm = [0, 3, 1, 2]", "perm = [0, 3, 2, 1]"),)),
    Mutant(
        "kernel flipped", IMAGE, "typical", weights={"kernel": lambda v: v[:, :, ::-1, ::-1].copy()}, culprit=("maps",)
    ),
    Mutant(
        "activation forgotten",
        IMAGE,
        "typical",
        (("Relu (normal)", "Identity (normal)"),),
        culprit=("active", "pooled"),
    ),
    Mutant("softmax over the batch in Keras", IMAGE, "typical", (("Softmax <axis = 1>", "Softmax <axis = 0>"),)),
    Mutant("square weights of the head transposed", IMAGE, "typical", (("Gemm (pooled", "Gemm <transB = 1> (pooled"),)),
    Mutant(
        "batch baked into a reshape",
        IMAGE,
        "shape",
        (
            (
                "pooled = ReduceMean <keepdims = 0> (active, axes)",
                _BAKED,
            ),
        ),
    ),
    Mutant(
        "mask ignored",
        MASKED,
        "typical",
        (
            ("mask = Cast <to = 1> (real)", "some = Cast <to = 1> (real)\n  mask = Clip (some, top)"),
            ("  vectors", "  top = Constant <value_float = 1.0> ()\n  vectors"),
        ),
    ),
    Mutant("wrong padding id", MASKED, "typical", weights={"padding": lambda v: v + 1}),
    Mutant(
        "mean over the features",
        MASKED,
        "typical",
        (("counts = ReduceSum <keepdims = 0> (columns, one)", "counts = Constant <value_float = 6.0> ()"),),
    ),
    Mutant("tanh instead of erf in Keras", BLOCK, "typical", _TANH),
    Mutant("epsilon of layer norm", BLOCK, "typical", (("epsilon = 0.001", "epsilon = 0.00001"),), culprit=("normed",)),
    Mutant(
        "normalised over the batch",
        BLOCK,
        "batch-invariance",
        (("LayerNormalization <axis = -1", "LayerNormalization <axis = 0"),),
    ),
    Mutant(
        "dropped output in Keras",
        BLOCK,
        "structure",
        (("float[batch, 5] normed, float[batch, 2] scores", "float[batch, 2] scores"),),
    ),
    Mutant(
        "names of the outputs swapped",
        BLOCK,
        "typical",
        (
            ("float[batch, 5] normed, float[batch, 2] scores", "float[batch, 2] normed, float[batch, 5] scores"),
            _SWAPPED,
        ),
    ),
    Mutant(
        "double output in Keras",
        BLOCK,
        "typical",
        (
            ("float[batch, 2] scores", "double[batch, 2] scores"),
            ("scores = Gemm", "narrow = Gemm"),
            ("b2)\n", "b2)\n  scores = Cast <to = 11> (narrow)\n"),
        ),
    ),
    Mutant("aligned corners instead of half pixels", LARGER, "typical", (("half_pixel", "align_corners"),)),
    Mutant("nearest instead of linear", LARGER, "typical", (('mode = "linear"', 'mode = "nearest"'),)),
    Mutant("padding counted in Keras", POOLS, "typical", (("count_include_pad = 0", "count_include_pad = 1"),)),
    Mutant("reset after as reset before", GRU, "typical", (("linear_before_reset = 1", "linear_before_reset = 0"),)),
    Mutant("gates in the wrong order", GRU, "typical", weights={"w": _gates_swapped, "r": _gates_swapped}),
    Mutant("sequence read backwards", GRU, "typical", (("GRU <", 'GRU <direction = "reverse", '),)),
)
