"""Hashing and HashedCrossing: TensorFlow's hashes of text and integers, as bins."""

from __future__ import annotations

import numpy as np

from any2onnx.converters.keras.calls import LayerCall
from any2onnx.converters.keras.categories import encoded
from any2onnx.converters.keras.lookup import byte_strings, hash_buckets
from any2onnx.converters.text.hashes import bucket, crossed, farm_fingerprint
from any2onnx.converters.text.strings import number
from any2onnx.errors import InvalidType
from any2onnx.graph.builder import GraphBuilder
from any2onnx.graph.types import FLOATS, DataType, Value, dtype_of, rank_of, shape_of


def hashing(g: GraphBuilder, call: LayerCall) -> Value:
    """Convert Hashing of text, integers or floats (as integers), in any output mode."""
    layer, x = call.source, call.inputs[0]
    if dtype_of(x) == DataType.BOOL:
        raise InvalidType(
            f"{type(layer).__name__} is called on truth values", where=call.location or None, needs="text or integers"
        )
    if layer.output_mode == "one_hot" and rank_of(x) > 0 and shape_of(x)[-1] == 1:
        x = g.Squeeze(x, rank_of(x) - 1)
    bins = int(layer.num_bins)
    masked = layer.mask_value is not None and bins > 1
    values = g.Cast(x, DataType.INT64) if dtype_of(x) in FLOATS else x
    found = hash_buckets(g, call, g.Reshape(values, [-1]), bins - 1 if masked else bins, layer.salt)
    index = g.annotate(g.Reshape(found, g.Shape(x)), shape_of(x))
    if masked:
        index = g.Where(_is_mask(g, call, x), number(g, 0), g.Add(index, number(g, 1)))
    return encoded(g, index, layer.output_mode, bins, call.walker.dtype(layer.dtype))


def _is_mask(g: GraphBuilder, call: LayerCall, x: Value) -> Value:
    value = call.source.mask_value
    if (dtype_of(x) == DataType.STRING) != isinstance(value, str | bytes):
        raise call.unsupported("mask_value", value, f"the input is {dtype_of(x).name.lower()}")
    if dtype_of(x) != DataType.STRING:
        return g.Equal(x, g.const(np.asarray(value, dtype_of(x).numpy())))
    text = value.decode("utf-8") if isinstance(value, bytes) else value
    return g.Cast(g.ml.LabelEncoder(x, keys_strings=[text], values_int64s=[1], default_int64=0), DataType.BOOL)


def hashed_crossing(g: GraphBuilder, call: LayerCall) -> Value:
    """Convert HashedCrossing of two or more columns of text or integers, [N] or [N, 1]."""
    layer, columns = call.source, list(call.inputs[0])
    first = columns[0]
    numbers = []
    for column in columns:
        if rank_of(column) not in (1, 2):
            raise InvalidType("the columns are no vectors", where=call.location or None, needs="[N] or [N, 1]")
        flat = g.Reshape(column, [-1])
        if dtype_of(column) == DataType.STRING:
            prints = farm_fingerprint(g, byte_strings(g, call, flat))
            numbers.append(g.Slice(prints, [0], [-1], [0]))
        else:
            # Negative numbers in two's complement.
            numbers.append(g.Cast(g.Cast(flat, DataType.INT64), DataType.UINT64))
    found = g.Reshape(bucket(g, crossed(g, numbers), int(layer.num_bins)), g.Shape(first))
    index = g.annotate(found, shape_of(first))
    result = encoded(g, index, layer.output_mode, int(layer.num_bins), call.walker.dtype(layer.compute_dtype))
    return g.Cast(result, call.walker.dtype(layer.dtype))
