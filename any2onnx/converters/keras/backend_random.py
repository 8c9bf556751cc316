"""`keras.src.backend.random` in inference: numbers of the same distribution, other ones in each run.

A seed given as a number promises the same numbers in each run, which no operator of ONNX can give: refused.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from any2onnx.converters.keras.backend_common import Context, backend_function
from any2onnx.graph.types import DataType, Value, rank_of


def _check_seed(c: Context, seed: Any) -> None:
    if isinstance(seed, int):
        raise c.refuse(f"seed={seed}: ONNX cannot draw the numbers that Keras draws", "a SeedGenerator, or no seed")


def uniform_numbers(c: Context, shape: Any) -> Value:
    """Return float32 numbers of [0, 1)."""
    g = c.g
    blank = c.filled(shape, 0, DataType.FLOAT)
    return g.RandomUniformLike(blank, low=0.0, high=1.0)


@backend_function
def uniform(c: Context, shape: Any, minval: Any, maxval: Any, dtype: Any, seed: Any) -> Value:
    """Equally likely numbers of an interval."""
    _check_seed(c, seed)
    g = c.g
    low, high = c.t(minval, DataType.FLOAT), c.t(maxval, DataType.FLOAT)
    return g.Add(g.Mul(uniform_numbers(c, shape), g.Sub(high, low)), low)


@backend_function
def normal(c: Context, shape: Any, mean: Any, stddev: Any, dtype: Any, seed: Any) -> Value:
    """Normally distributed numbers."""
    _check_seed(c, seed)
    g = c.g
    numbers = g.RandomNormalLike(c.filled(shape, 0, DataType.FLOAT), mean=0.0, scale=1.0)
    return g.Add(g.Mul(numbers, c.t(stddev, DataType.FLOAT)), c.t(mean, DataType.FLOAT))


@backend_function
def truncated_normal(c: Context, shape: Any, mean: Any, stddev: Any, dtype: Any, seed: Any) -> Value:
    """Normally distributed numbers within two standard deviations, by the inverse of the distribution function."""
    from any2onnx.converters.keras.backend_math import inverse_error_function

    _check_seed(c, seed)
    g = c.g
    edge = math.erf(2 / math.sqrt(2))
    share = g.Cast(uniform_numbers(c, shape), DataType.DOUBLE)
    place = g.Sub(g.Mul(share, np.asarray(2 * edge)), np.asarray(edge))
    numbers = g.Cast(g.Mul(inverse_error_function(c, place), np.asarray(math.sqrt(2))), DataType.FLOAT)
    return g.Add(g.Mul(numbers, c.t(stddev, DataType.FLOAT)), c.t(mean, DataType.FLOAT))


@backend_function
def randint(c: Context, shape: Any, minval: Any, maxval: Any, dtype: Any, seed: Any) -> Value:
    """Equally likely integers from minval up to, not including, maxval."""
    _check_seed(c, seed)
    g = c.g
    low, high = c.t(minval, DataType.DOUBLE), c.t(maxval, DataType.DOUBLE)
    numbers = g.Cast(uniform_numbers(c, shape), DataType.DOUBLE)
    drawn = g.Floor(g.Add(g.Mul(numbers, g.Sub(high, low)), low))
    return g.Min(drawn, g.Sub(high, np.asarray(1.0)))


@backend_function
def categorical(c: Context, logits: Any, num_samples: Any, dtype: Any, seed: Any) -> Value:
    """Classes drawn with the probabilities softmax(logits)."""
    _check_seed(c, seed)
    scores = c.g.LogSoftmax(c.t(logits, DataType.FLOAT), axis=-1)
    return c.g.Multinomial(scores, sample_size=int(c.static(num_samples, "num_samples")), dtype=int(DataType.INT64))


@backend_function
def dropout(c: Context, inputs: Any, rate: Any, noise_shape: Any, seed: Any) -> Value:
    """Elements set to 0 with a probability, the others scaled up."""
    _check_seed(c, seed)
    g = c.g
    value = c.t(inputs)
    share = float(c.static(rate, "rate"))
    if share == 0.0:
        return value
    zero = c.number(0, value)
    if share >= 1.0:
        return c.expand(zero, g.Shape(value))
    shape: Any = g.Shape(value)
    if noise_shape is not None:
        sizes = c.sizes_of(value)
        shape = [sizes[k] if n is None else n for k, n in enumerate(noise_shape)]
    keep = g.Less(uniform_numbers(c, shape), np.asarray(1 - share, np.float32))
    return g.Where(keep, g.Mul(value, c.number(1 / (1 - share), value)), zero)


@backend_function
def shuffle(c: Context, x: Any, axis: Any, seed: Any) -> Value:
    """The slices along a dim in a random order."""
    _check_seed(c, seed)
    g = c.g
    value = c.t(x)
    place = c.axis(axis, rank_of(value))
    size = c.sizes_of(value)[place]
    _, order = g.TopK(uniform_numbers(c, [size]), size, axis=0)
    return g.Gather(value, order, axis=place)
