"""What a Keras model's first layers know about its inputs: vocabularies, ranges of ids, means, edges, scales."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np

from any2onnx.parity.signature import InputSpec, to_numpy
from any2onnx.parity.ulp import Array, neighbours

# Operations that hand elements on unchanged.
_TRANSPARENT: Final = frozenset(
    {"Concatenate", "ExpandDims", "Flatten", "GetItem", "Identity", "Permute"}
    | {"RepeatVector", "Reshape", "Split", "Squeeze", "Stack", "Transpose"}
)
_LOOKUPS: Final = frozenset({"IntegerLookup", "StringLookup", "TextVectorization"})
_MOST_WORDS: Final = 4096
# Quantiles of the standard normal distribution, 1 % to 99 %.
_NORMAL: Final = np.array([-2.326, -1.645, -1.282, -0.842, -0.524, -0.253, 0, 0.253, 0.524, 0.842, 1.282, 1.645, 2.326])


def all_layers(model: Any) -> Iterator[Any]:
    """Yield a model and every layer inside."""
    yield model
    flatten = getattr(model, "_flatten_layers", None)
    if flatten is not None:
        yield from flatten(include_self=False, recursive=True)


def first_layers(model: Any, k: int) -> list[Any]:
    """Return the layers that take the elements of the k-th input as they are; all layers where there is no graph."""
    functional = getattr(model, "_functional", None) or model
    inputs = getattr(functional, "_inputs", None) or []
    if not hasattr(functional, "_nodes_by_depth") or k >= len(inputs):
        return list(all_layers(model))
    return list(_consumers(functional, inputs[k]))


def _consumers(functional: Any, tensor: Any) -> Iterator[Any]:
    for node in (node for nodes in functional._nodes_by_depth.values() for node in nodes):
        places = [k for k, given in enumerate(node.input_tensors) if given is tensor]
        inner = getattr(node.operation, "_functional", None) or node.operation
        if not places:
            continue
        if hasattr(inner, "_nodes_by_depth"):
            for k in places:
                yield from _consumers(inner, inner._inputs[k])
        elif type(node.operation).__name__ in _TRANSPARENT:
            for result in node.output_tensors:
                yield from _consumers(functional, result)
        else:
            yield node.operation


def known_values(spec: InputSpec, layers: Sequence[Any], all_of_them: Sequence[Any]) -> InputSpec:
    """Return an input with what its layers know: words, ids, typical numbers.

    Args:
        spec: The input.
        layers: Those that take it first.
        all_of_them: Every layer of the model, for a range of ids that none of the first says.
    """
    if spec.pool is not None:
        return spec
    if spec.dtype.kind == "O":
        return _with_words(spec, layers)
    integers = spec.dtype.kind in "iu"
    for layer in layers:
        name = type(layer).__name__
        if name == "IntegerLookup" and not layer.invert:
            return dataclasses.replace(spec, pool=_ids(layer, spec.dtype))
        if name in _LOOKUPS and integers:
            return dataclasses.replace(spec, high=int(layer.vocabulary_size()))
        if name == "CategoryEncoding" and layer.num_tokens is not None:
            return _with_ids(spec, int(layer.num_tokens))
        if name == "Discretization" and spec.is_float and layer.bin_boundaries is not None:
            return dataclasses.replace(spec, pool=_edges(layer.bin_boundaries, spec.dtype))
        if name == "Normalization" and spec.is_float and not layer.invert and layer.mean is not None:
            return dataclasses.replace(spec, pool=_standardised(layer, spec.dtype))
        if name == "Rescaling" and spec.is_float and np.ndim(layer.scale) == np.ndim(layer.offset) == 0:
            return dataclasses.replace(spec, pool=_unscaled(layer.scale, layer.offset, spec.dtype))
    first = [layer.input_dim for layer in layers if type(layer).__name__ == "Embedding"]
    tables = first or [layer.input_dim for layer in all_of_them if type(layer).__name__ == "Embedding"]
    if tables and (first or integers or len(spec.shape) == 2):
        return _with_ids(spec, min(tables))
    return spec


def _with_words(spec: InputSpec, layers: Sequence[Any]) -> InputSpec:
    """Return an input of strings with the words of the lookups that take it."""
    lookups = [layer for layer in layers if type(layer).__name__ in _LOOKUPS]
    words = [
        str(word)
        for layer in lookups
        if type(layer).__name__ != "IntegerLookup" and not getattr(layer, "invert", False)
        for word in layer.get_vocabulary(include_special_tokens=False)
    ]
    if not words:
        return spec
    documents = any(type(layer).__name__ == "TextVectorization" for layer in lookups)
    known = np.array(words[:: -(-len(words) // _MOST_WORDS)], dtype=object)
    width = spec.shape[1] if len(spec.shape) > 1 and isinstance(spec.shape[1], int) else 1
    return dataclasses.replace(spec, categories=(known,) if documents else (known,) * width, text=documents)


def _with_ids(spec: InputSpec, count: int) -> InputSpec:
    # Keras casts float ids to integers, so a float input of an embedding holds ids as well.
    spec = dataclasses.replace(spec, high=count)
    if not spec.is_float or spec.dtype.kind != "f":
        return spec
    width = spec.shape[1] if len(spec.shape) > 1 and isinstance(spec.shape[1], int) else 1
    ids = np.arange(count, dtype=np.float64).astype(spec.dtype)
    return dataclasses.replace(spec, pool=np.repeat(ids[:, None], width, axis=1))


def _ids(layer: Any, dtype: np.dtype[Any]) -> Array:
    known = np.asarray(layer.get_vocabulary(include_special_tokens=False), np.int64)
    unseen = [known.max(initial=0) + 1] if layer.num_oov_indices else []
    return np.concatenate([known, np.array(unseen, np.int64)]).astype(dtype)[:, None]


def _edges(boundaries: Sequence[float], dtype: np.dtype[Any]) -> Array:
    edges = np.sort(np.asarray(boundaries, np.float64)).astype(dtype)
    below, above = neighbours(edges)
    apart = np.ptp(edges.astype(np.float64)) or 1.0
    ends = np.array([edges[0] - apart, edges[-1] + apart]).astype(dtype) if len(edges) else np.zeros(1, dtype)
    return np.sort(np.concatenate([edges, below, above, ends]))[:, None]


def _standardised(layer: Any, dtype: np.dtype[Any]) -> Array:
    mean, variance = (_flat(value) for value in (layer.mean, layer.variance))
    table: Array = (mean + np.sqrt(variance) * _NORMAL[:, None]).astype(dtype)
    return table


def _unscaled(scale: float, offset: float, dtype: np.dtype[Any]) -> Array:
    """Return numbers that the layer brings into [0, 1], or [-1, 1] where it subtracts."""
    wanted = np.linspace(-1.0 if offset < 0 else 0.0, 1.0, 256)
    return ((wanted - offset) / (scale or 1.0)).astype(dtype)[:, None]


def _flat(value: Any) -> Array:
    import keras

    found = to_numpy(value) if hasattr(value, "detach") else np.asarray(keras.ops.convert_to_numpy(value))
    flat: Array = found.astype(np.float64).reshape(-1)
    return flat
