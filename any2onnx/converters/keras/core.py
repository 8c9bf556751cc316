"""keras.layers.core: Dense, EinsumDense, Embedding, Identity, Lambda, Masking."""

from __future__ import annotations

from typing import Any

import numpy as np

from any2onnx.converters.keras.calls import LayerCall, flatten
from any2onnx.converters.keras.masks import masked_steps
from any2onnx.graph.builder import GraphBuilder
from any2onnx.graph.types import FLOATS, DataType, Value, dtype_of, rank_of

INTEGERS = frozenset({DataType.INT32, DataType.INT64})


def dense(g: GraphBuilder, call: LayerCall) -> Any:
    """Convert Dense: Gemm for matrices, MatMul and Add for more dimensions. Quantized layers are traced."""
    layer, x = call.source, call.inputs[0]
    if layer.quantization_mode:
        return traced(g, call)
    x = _as_float(g, call, x)
    kernel = g.const(call.weight(layer.kernel, like=x), name="kernel")
    bias = None if layer.bias is None else g.const(call.weight(layer.bias, like=x), name="bias")
    if rank_of(x) == 2 and bias is not None:
        result = g.Gemm(x, kernel, bias)
    else:
        result = g.MatMul(x, kernel)
        if bias is not None:
            result = g.Add(result, bias)
    return call.walker.function(g, layer.activation, result, path=call.scope)


def einsum_dense(g: GraphBuilder, call: LayerCall) -> Any:
    """Convert EinsumDense: MatMul where the equation is one, else Einsum."""
    layer, x = call.source, call.inputs[0]
    if layer.quantization_mode:
        return traced(g, call)
    x = _as_float(g, call, x)
    kernel = call.weight(layer.kernel, like=x)
    result = _as_matmul(g, layer.equation, x, kernel)
    if result is None:
        equation = _with_ellipsis(layer.equation)
        result = g.Einsum(x, g.const(kernel, name="kernel"), equation=equation)
    if layer.bias is not None:
        result = g.Add(result, g.const(call.weight(layer.bias, like=x), name="bias"))
    return call.walker.function(g, layer.activation, result, path=call.scope)


def _as_float(g: GraphBuilder, call: LayerCall, x: Value) -> Value:
    """Return integers and truth values, which Keras does not cast on entry, in the type that the product has."""
    return x if dtype_of(x) in FLOATS else g.Cast(x, call.walker.dtype(call.source.compute_dtype))


def _with_ellipsis(equation: str) -> str:
    return equation.replace(" ", "")


def _as_matmul(g: GraphBuilder, equation: str, x: Value, kernel: np.ndarray[Any, Any]) -> Value | None:
    """Return x · kernel for equations that contract trailing axes of x with leading axes of the kernel, in order.

    ``abc,cd->abd``, ``...x,xy->...y``, and ``abcd,cde->abe`` or ``abc,cde->abde``, where the contracted or new axes
    are several: the kernel is reshaped (without a copy), the values before and behind.
    """
    inputs, _, output = equation.replace(" ", "").partition("->")
    left, _, right = inputs.partition(",")
    batch = left.removesuffix(left.lstrip("."))
    left, output = left.lstrip("."), output.lstrip(".")
    contracted = [c for c in right if c in left]
    count = len(contracted)
    new = right[count:]
    if not (
        right[:count] == left[len(left) - count :]
        and output == left[: len(left) - count] + new
        and len(set(left)) == len(left)
        and len(set(right)) == len(right)
        and "." not in right
        and count
        and new
    ):
        return None
    if batch and count > 1:
        return None
    rows = int(np.prod(kernel.shape[:count]))
    matrix = g.const(kernel.reshape(rows, -1), name="kernel")
    if count > 1:
        kept = rank_of(x) - count
        x = g.Reshape(x, [0] * kept + [rows]) if kept else x
    result = g.MatMul(x, matrix)
    if len(new) > 1:
        result = g.Reshape(result, [0] * (rank_of(result) - 1) + [int(k) for k in kernel.shape[count:]])
    return result


def embedding(g: GraphBuilder, call: LayerCall) -> Any:
    """Convert Embedding: Gather of rows. Quantized layers are traced."""
    layer, x = call.source, call.inputs[0]
    if layer.quantization_mode:
        return traced(g, call)
    indices = x if dtype_of(x) in INTEGERS else g.Cast(x, DataType.INT32)
    table = call.weight(layer.embeddings)
    wanted = call.walker.dtype(layer.compute_dtype)
    return g.Cast(g.Gather(g.const(table, name="embeddings"), indices, axis=0), wanted)


def identity(g: GraphBuilder, call: LayerCall) -> Any:
    """Convert layers that pass their input on at inference: Identity, dropouts, noises."""
    return call.inputs[0]


def masking(g: GraphBuilder, call: LayerCall) -> Value:
    """Convert Masking: steps that equal the value in all features become 0. The mask itself is made in masks.py."""
    x = call.inputs[0]
    return g.Where(masked_steps(g, call.source, x, keepdims=True), x, g.scalar_like(0, x))


def traced(g: GraphBuilder, call: LayerCall) -> Any:
    """Convert a layer by running its own code on recording tensors."""
    results = flatten(call.walker.trace_call(g, call.source, call.inputs, call.params, path=call.scope))
    return results[0] if len(results) == 1 else results


def torch_module(g: GraphBuilder, call: LayerCall) -> Any:
    """Convert TorchModuleWrapper by the PyTorch front-end, in evaluation mode."""
    from any2onnx.converters.pytorch.inline import inline

    found = flatten(inline(g, call.walker.registry, call.source.module, call.inputs, call.params))
    return found[0] if len(found) == 1 else found
