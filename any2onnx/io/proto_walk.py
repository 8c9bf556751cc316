"""Walk all that an ONNX protobuf holds: graphs, sub-graphs, functions, tensors; iteratively, never recursively."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx


def walk_graphs(model: onnx.ModelProto) -> Iterator[tuple[onnx.GraphProto | onnx.FunctionProto, int]]:
    """Yield every graph and function of the model with its depth (the main graph and functions have depth 0)."""
    pending: list[tuple[onnx.GraphProto | onnx.FunctionProto, int]] = []
    pending.append((model.graph, 0))
    pending.extend((function, 0) for function in model.functions)
    for training in model.training_info:
        pending.append((training.initialization, 0))
        pending.append((training.algorithm, 0))
    while pending:
        graph, depth = pending.pop()
        yield graph, depth
        for node in graph.node:
            for attribute in node.attribute:
                if attribute.HasField("g"):
                    pending.append((attribute.g, depth + 1))
                pending.extend((sub_graph, depth + 1) for sub_graph in attribute.graphs)
        for attribute in getattr(graph, "attribute_proto", ()):
            if attribute.HasField("g"):
                pending.append((attribute.g, depth + 1))
            pending.extend((sub_graph, depth + 1) for sub_graph in attribute.graphs)


def walk_tensors(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """Yield every tensor of the model: initializers (dense and sparse) and attributes, at every depth."""
    for graph, _ in walk_graphs(model):
        yield from getattr(graph, "initializer", ())
        for sparse in getattr(graph, "sparse_initializer", ()):
            yield sparse.values
            yield sparse.indices
        for node in graph.node:
            yield from attribute_tensors(node.attribute)
        yield from attribute_tensors(getattr(graph, "attribute_proto", ()))


def attribute_tensors(attributes: Iterable[onnx.AttributeProto]) -> Iterator[onnx.TensorProto]:
    """Yield the tensors that the attributes hold themselves (not those of their sub-graphs)."""
    for attribute in attributes:
        if attribute.HasField("t"):
            yield attribute.t
        yield from attribute.tensors
        if attribute.HasField("sparse_tensor"):
            yield attribute.sparse_tensor.values
            yield attribute.sparse_tensor.indices
        for sparse in attribute.sparse_tensors:
            yield sparse.values
            yield sparse.indices


def tensor_nbytes(tensor: onnx.TensorProto) -> int:
    """Return the bytes that the declared dtype and dims need (strings: the bytes of the texts).

    Raises:
        ValueError: A negative dimension, or a dtype that onnx_ir does not know.
    """
    import onnx_ir

    dtype = onnx_ir.DataType(tensor.data_type)
    if dtype == onnx_ir.DataType.UNDEFINED:
        raise ValueError("the dtype is not set")
    if any(dim < 0 for dim in tensor.dims):
        raise ValueError(f"negative dimension in {list(tensor.dims)}")
    if dtype == onnx_ir.DataType.STRING:
        return sum(len(text) for text in tensor.string_data)
    bits: int = math.prod(tensor.dims) * dtype.bitwidth
    return (bits + 7) // 8
