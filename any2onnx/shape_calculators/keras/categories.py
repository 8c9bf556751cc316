"""Lookup, hashing and text layers. Keras states float outputs where integers come, and ranks that it does not keep."""

from __future__ import annotations

from typing import Any

from any2onnx.graph.types import DataType, Dim, TensorSpec, shape_of, to_dtype
from any2onnx.operator_mappings.mapping import Call
from any2onnx.shape_calculators.keras.general import keras_outputs


def lookup(call: Call) -> TensorSpec:
    """Return what StringLookup and IntegerLookup return: numbers of tokens or tokens, or int64 rows of categories."""
    layer = call.source
    if layer.invert:
        return TensorSpec(to_dtype(layer.vocabulary_dtype), shape_of(call.inputs[0]))
    depth = int(layer.max_tokens if layer.pad_to_max_tokens else layer._frozen_vocab_size or 0)
    dtype = to_dtype(layer.idf_weights_const.dtype.name) if layer.output_mode == "tf_idf" else DataType.INT64
    return TensorSpec(dtype, _encoded(shape_of(call.inputs[0]), layer.output_mode, depth))


def category_encoding(call: Call) -> TensorSpec | list[TensorSpec | None] | None:
    """Return Keras's inference; of more than two dims it keeps the first only, where it sums over the second."""
    layer: Any = call.source
    promise = keras_outputs(call)
    shape = shape_of(call.inputs[0])
    if not isinstance(promise, TensorSpec) or layer.output_mode == "one_hot" or len(shape) <= 2:
        return promise
    return TensorSpec(promise.dtype, _encoded(shape, layer.output_mode, int(layer.num_tokens)))


def hashing(call: Call) -> TensorSpec:
    """Return what Hashing returns: numbers of bins, or rows of them."""
    layer: Any = call.source
    shape = shape_of(call.inputs[0])
    if layer.output_mode == "one_hot" and shape[-1:] == (1,):
        shape = shape[:-1]
    return TensorSpec(_dtype(call, layer.dtype), _encoded(shape, layer.output_mode, int(layer.num_bins)))


def hashed_crossing(call: Call) -> TensorSpec:
    """Return what HashedCrossing returns, of the shape of its first input."""
    layer: Any = call.source
    shape = shape_of(call.inputs[0][0])
    return TensorSpec(_dtype(call, layer.dtype), _encoded(shape, layer.output_mode, int(layer.num_bins)))


def text(call: Call) -> TensorSpec:
    """Return the element type of TextVectorization's output; its shape depends on the texts."""
    layer: Any = call.source
    weighted = layer._output_mode == "tf_idf"
    dtype = to_dtype(layer._lookup_layer.idf_weights_const.dtype.name) if weighted else DataType.INT64
    return TensorSpec(dtype)


def _dtype(call: Any, name: Any) -> DataType:
    dtype: DataType = call.walker.dtype(name)
    return dtype


def _encoded(shape: tuple[Dim, ...], mode: str, depth: int) -> tuple[Dim, ...]:
    if mode == "int":
        return shape
    if mode == "one_hot":
        return (*(shape[:-1] if len(shape) > 1 and shape[-1] == 1 else shape), depth)
    # The dim that is summed over: of a vector the only one, else the second one.
    return (*shape[: min(len(shape) - 1, 1)], *shape[2:], depth)
