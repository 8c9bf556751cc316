"""A model of one layer for each layer of Keras that the registry can convert.

Constructor arguments are chosen by their names, the number of inputs by the signature of ``call``, and the shape is the
first one that the layer takes; only what a layer demands beyond that is stated for it by name.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from any2onnx.errors import InvalidType, NotFitted

Shape = tuple[int | None, ...]


class CannotBuild(Exception):
    """The framework itself cannot build or run the case here; the reason is in the text."""


# Constructor arguments by name, the same for every layer; what a layer does not require stays at its default.
_ARGUMENTS: Mapping[str, Any] = {
    "units": 4,
    "filters": 4,
    "kernel_size": 3,
    "rate": 0.3,
    "stddev": 0.1,
    "n": 3,
    "target_shape": (-1,),
    "dims": (2, 1),
    "num_heads": 2,
    "num_query_heads": 2,
    "num_key_value_heads": 1,
    "key_dim": 4,
    "head_dim": 4,
    "max_value": 10,
    "num_tokens": 8,
    "num_bins": 6,
    "factor": 0.1,
    "height": 6,
    "height_factor": 0.2,
    "width": 5,
    "width_factor": 0.2,
    "axis": -1,
    "axes": 1,
    "output_dim": 4,
    "input_dim": 10,
    "activation": "relu",
    "groups": 2,
    "output_size": 2,
    "pool_size": 2,
    "scale": 0.5,
    "max_number": 3,
}
# Layers that demand what their signature leaves open, or whose defaults want inputs of thousands of samples.
_BY_LAYER: Mapping[str, Mapping[str, Any]] = {
    "CategoryEncoding": {"num_tokens": 10},
    "ContrastLimitedAdaptiveHistogramEqualization": {"tile_grid_size": (2, 2)},
    "Discretization": {"bin_boundaries": (-0.5, 0.0, 0.5)},
    "EinsumDense": {"equation": "abc,cd->abd", "output_shape": (None, 3)},
    "GroupNormalization": {"groups": 2},
    "HashedCrossing": {"num_bins": 6},
    "IntegerLookup": {"vocabulary": (1, 2, 5, 7)},
    "MelSpectrogram": {"fft_length": 32, "sequence_stride": 8, "num_mel_bins": 6, "sampling_rate": 800},
    "Normalization": {"mean": 0.3, "variance": 2.0},
    "RandomPosterization": {"factor": 4},
    "STFTSpectrogram": {"frame_length": 16, "frame_step": 8},
    "StringLookup": {"vocabulary": ("red", "green", "blue")},
    "TorchModuleWrapper": {"output_shape": (None, 3)},
    "TextVectorization": {"vocabulary": ("red", "green", "blue"), "output_sequence_length": 5},
}
# Inputs of layers that no general shape fits: what they take is written in their documentation only. Layers of images
# take one without a batch too, whose first axis is its height.
_INPUTS: Mapping[str, tuple[tuple[Shape, str], ...]] = {
    "HashedCrossing": (((1,), "int32"), ((1,), "int32")),
    "MelSpectrogram": (((96,), "float32"),),
    "STFTSpectrogram": (((96, 2), "float32"),),
    "ContrastLimitedAdaptiveHistogramEqualization": (((8, 6, 3), "float32"),),
    "CenterCrop": (((12, 10, 4), "float32"),),
    "Pipeline": (((12, 10, 4), "float32"),),
    "Resizing": (((12, 10, 4), "float32"),),
    "TextVectorization": (((1,), "string"),),
    "StringLookup": (((3,), "string"),),
    "TorchModuleWrapper": (((4,), "float32"),),
    "IntegerLookup": (((3,), "int64"),),
}
_SHAPES: tuple[tuple[Shape, ...], ...] = (
    ((8, 4),),
    ((12, 10, 4),),
    ((6,),),
    ((6, 6, 6, 4),),
    ((8, 6, 3),),
    ((8, 6, 6, 3),),
    ((4, 6, 6, 6, 3),),
    ((8, 4), (8, 4)),
    ((6,), (6,)),
    ((8, 4), (8, 4), (8, 4)),
)


def build_keras(name: str) -> tuple[Any, ...]:
    """Return a model with one layer of a class, and its ONNX form.

    Raises:
        CannotBuild: This Keras has no such layer, or nothing that is known here fits it.
    """
    import any2onnx

    model = keras_model(name)
    try:
        return model, any2onnx.convert_keras(model)
    except (InvalidType, NotFitted) as error:
        # The recipe does not fit, the converter says so.
        raise CannotBuild(error.summary) from error


def keras_model(name: str) -> Any:
    """Return a model with one layer of a class.

    Raises:
        CannotBuild: This Keras has no such layer, or nothing that is known here fits it.
    """
    import keras

    cls = getattr(keras.layers, name, None)
    if cls is None:
        raise CannotBuild("not in this version of Keras")
    keras.utils.set_random_seed(0)
    return _model(cls, arguments_of(cls))


def arguments_of(cls: Any) -> Callable[[], dict[str, Any]]:
    """Return a function that makes the constructor arguments of a layer class, new ones on each call.

    Raises:
        CannotBuild: It wants an argument of a name that nothing here has a value for.
    """
    required = [
        key
        for key, parameter in list(inspect.signature(cls.__init__).parameters.items())[1:]
        if parameter.default is parameter.empty
        and parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
    ]
    stated = _BY_LAYER.get(cls.__name__, {})
    for key in required:
        if key not in stated and key not in _ARGUMENTS and key not in _MADE:
            raise CannotBuild(f"it wants an argument {key!r}, which has no general value")

    def make() -> dict[str, Any]:
        given = dict(stated)
        for key in required:
            if key not in given:
                given[key] = _MADE[key](cls.__name__) if key in _MADE else _ARGUMENTS[key]
        return given

    return make


def _wrapped(outer: str) -> Any:
    import keras

    return keras.layers.LSTM(3, return_sequences=True) if outer == "Bidirectional" else keras.layers.Dense(3)


def _function(outer: str) -> Any:
    import keras

    return lambda value: keras.ops.tanh(value) * 0.5 + 0.25


def _module(outer: str) -> Any:
    """Raises CannotBuild: Keras does not run on PyTorch, Flax is not installed."""
    import keras

    if outer == "FlaxLayer":
        return _flax_module()
    if keras.backend.backend() != "torch":
        raise CannotBuild("a module of PyTorch runs under the backend torch only")
    import torch

    torch.manual_seed(0)
    return torch.nn.Linear(4, 3)


def _flax_module() -> Any:
    try:
        linen = importlib.import_module("flax.linen")
    except ImportError as error:
        raise CannotBuild("Flax is not installed") from error
    return linen.Dense(3)


def _jax_function(outer: str) -> Any:
    """Raises CannotBuild: JAX is not installed, or Keras runs neither on it nor on TensorFlow."""
    import keras

    if keras.backend.backend() not in ("jax", "tensorflow"):
        raise CannotBuild("a function of JAX runs under the backends jax and tensorflow only")
    try:
        from jax import numpy as jnp
    except ImportError as error:
        raise CannotBuild("JAX is not installed") from error
    return lambda inputs: jnp.tanh(inputs) * 0.5 + 0.25


def _cell(outer: str) -> Any:
    import keras

    return keras.layers.LSTMCell(3)


def _cells(outer: str) -> Any:
    import keras

    return [keras.layers.GRUCell(4), keras.layers.LSTMCell(3)]


def _steps(outer: str) -> Any:
    import keras

    return [keras.layers.Rescaling(0.5, offset=0.1), keras.layers.CenterCrop(4, 5)]


# Arguments that hold other layers, made anew for every model.
_MADE: Mapping[str, Callable[[str], Any]] = {
    "layer": _wrapped,
    "function": _function,
    "module": _module,
    "call_fn": _jax_function,
    "cell": _cell,
    "cells": _cells,
    "layers": _steps,
}


def _model(cls: Any, arguments: Callable[[], dict[str, Any]]) -> Any:
    """Return a model with one layer, with the first input that it takes."""
    import keras

    reasons = []
    for inputs in _inputs(cls):
        given = [keras.Input(shape, dtype=dtype) for shape, dtype in inputs]
        try:
            layer = cls(**arguments())
            taken, answer = _called(layer, given)
            if any(answer is value for value in taken):
                # Keras makes no graph of a layer that hands its input on as it is.
                answer = _held(layer)(taken[0])
            return keras.Model(taken, answer)
        except CannotBuild:
            raise
        except Exception as error:
            # Any error means that the layer takes another input; the last resort names them all.
            reasons.append(f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}")
    raise CannotBuild(f"no input fits: {'; '.join(dict.fromkeys(reasons))}")


def _held(layer: Any) -> Any:
    """Return a layer that calls another one."""
    import keras

    class Held(keras.layers.Layer):
        """The layer as part of another one."""

        def __init__(self, **arguments: Any) -> None:
            super().__init__(**arguments)
            self.inner = layer

        def call(self, value: Any) -> Any:
            """Return what the inner layer makes of the value, as a new one."""
            return self.inner(value, training=False) * 1

        def compute_output_shape(self, shape: Shape) -> Shape:
            """Return the shape of the input."""
            return shape

    return Held()


def _inputs(cls: Any) -> Iterator[tuple[tuple[Shape, str], ...]]:
    """Yield candidates: for each input its shape without the batch, and its dtype."""
    if cls.__name__ in _INPUTS:
        yield _INPUTS[cls.__name__]
        return
    if cls.__name__.endswith("Cell"):
        # A cell takes one step, and some add the states to a whole sequence without complaint.
        yield (((6,), "float32"),)
        return
    dims = {"1D": 1, "2D": 2, "3D": 3}.get(cls.__name__[-2:])
    # A recurrent layer over images has a time axis before them.
    rank = None if dims is None else dims + (2 if "LSTM" in cls.__name__ else 1)
    for dtype in ("float32", "int32"):
        for shapes in _SHAPES:
            if rank is None or len(shapes[0]) == rank:
                yield tuple((shape, dtype) for shape in shapes)


def _called(layer: Any, inputs: list[Any]) -> tuple[list[Any], Any]:
    """Return the inputs of the model and what the layer makes of them: states, a query and a value, or a list."""
    import keras

    wants = [
        name
        for name, parameter in inspect.signature(layer.call).parameters.items()
        if parameter.default is parameter.empty and parameter.kind is parameter.POSITIONAL_OR_KEYWORD
    ]
    if wants[1:2] == ["states"]:
        sizes = keras.tree.flatten(layer.state_size)
        states = [keras.Input((size,)) for size in sizes]
        packed = keras.tree.pack_sequence_as(layer.state_size, states)
        return [inputs[0], *states], layer(inputs[0], packed if isinstance(packed, (list, tuple)) else [packed])
    if len(wants) > 1:
        # Each of its inputs is an argument of its own.
        others = [keras.Input(inputs[0].shape[1:], dtype=inputs[0].dtype) for _ in wants[1:]]
        return [inputs[0], *others], layer(inputs[0], *others)
    return inputs, layer(inputs[0] if len(inputs) == 1 else inputs)
