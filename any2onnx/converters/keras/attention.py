"""keras.layers.attention: MultiHeadAttention, Attention, AdditiveAttention."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from any2onnx.converters.keras.calls import LayerCall
from any2onnx.converters.keras.core import traced
from any2onnx.graph.builder import GraphBuilder
from any2onnx.graph.types import DataType, Value, dtype_of, rank_of


def multi_head_attention(g: GraphBuilder, call: LayerCall) -> Any:
    """Convert MultiHeadAttention over one sequence axis, with every mask and option; other axes are recorded."""
    layer = call.source
    given = _arguments(call, ("query", "value", "key"))
    query, value = given["query"], given["value"]
    key = given["key"] if given["key"] is not None else value
    if rank_of(query) != 3 or tuple(layer._attention_axes) != (1,):
        return traced(g, call)
    # The layer reads the mask of the query off the tensor, whatever is passed as query_mask.
    query_mask = call.walker.masks.get(query)
    mask = _attention_mask(g, layer, query, value, query_mask, call.params)
    walk, path = call.walker, call.scope

    def project(dense: Any, x: Value) -> Value:
        (result,) = walk.layer(g, dense, (x,), path=path)
        assert isinstance(result, Value)
        return result

    q, k, v = project(layer._query_dense, query), project(layer._key_dense, key), project(layer._value_dense, value)
    scores = g.MatMul(
        g.Mul(g.Transpose(q, perm=[0, 2, 1, 3]), g.scalar_like(float(layer._inverse_sqrt_key_dim), q)),
        g.Transpose(k, perm=[0, 2, 3, 1]),
    )
    wants_scores = bool(call.params.get("return_attention_scores"))
    # Keras takes a fused kernel where it can: there a row without any position to see is uniform, else it is zero.
    fused = not (layer._dropout > 0.0 or wants_scores)
    weights = _softmax(g, scores, mask, zero_empty=not fused)
    context = g.Transpose(g.MatMul(weights, g.Transpose(v, perm=[0, 2, 1, 3])), perm=[0, 2, 1, 3])
    if layer._use_gate:
        context = g.Mul(context, project(layer._gate_dense, query))
    output = project(layer._output_dense, context)
    if query_mask is not None:
        walk.masks.set(output, query_mask)
    return [output, weights] if wants_scores else output


def _arguments(call: LayerCall, names: tuple[str, ...]) -> dict[str, Any]:
    given = dict(zip(names, call.inputs, strict=False))
    return {name: given.get(name, call.params.get(name)) for name in names}


def _softmax(g: GraphBuilder, scores: Value, mask: Value | None, *, zero_empty: bool) -> Value:
    if mask is None:
        return g.Softmax(scores, axis=-1)
    kind = dtype_of(scores)
    if zero_empty:
        low = -3e4 if kind == DataType.FLOAT16 else -1e9
    else:
        low = -0.7 * float(np.finfo(np.float32 if kind == DataType.BFLOAT16 else kind.numpy()).max)
    weights = g.Softmax(g.Where(mask, scores, g.scalar_like(low, scores)), axis=-1)
    return g.Where(mask, weights, g.scalar_like(0, weights)) if zero_empty else weights


def _attention_mask(
    g: GraphBuilder, layer: Any, query: Value, value: Value, query_mask: Value | None, params: Mapping[str, Any]
) -> Value | None:
    """Return the mask over scores [batch, heads, queries, keys], of a shape that broadcasts; None for none."""
    parts: list[Value] = []
    if query_mask is not None:
        parts.append(g.Unsqueeze(g.Cast(query_mask, DataType.BOOL), [1, 3]))
    known = [params[name] for name in ("value_mask", "key_mask") if params.get(name) is not None]
    parts += [g.Unsqueeze(g.Cast(mask, DataType.BOOL), [1, 2]) for mask in known]
    if params.get("use_causal_mask"):
        parts.append(_causal(g, query, value))
    window = getattr(layer, "_sliding_window", None)
    if window is not None:
        rows, columns = _positions(g, query, 1), _positions(g, value, 0)
        near = g.Less(g.Abs(g.Sub(rows, columns)), np.asarray(window, np.int64))
        parts.append(near)
    own = params.get("attention_mask")
    if own is not None:
        own = g.Cast(own, DataType.BOOL)
        # [batch, queries, keys] or [queries, keys]: the heads, and the batch, share it.
        parts.append(g.Unsqueeze(own, 1) if rank_of(own) == 3 else own)
    if not parts:
        return None
    first, *rest = parts
    for part in rest:
        first = g.And(first, part)
    return first


def _positions(g: GraphBuilder, x: Value, axis: int) -> Value:
    """Return 0 … length - 1 of axis 1 of x, as a column (axis=1) or a row (axis=0)."""
    length = g.Squeeze(g.dim(x, 1), 0)
    return g.Unsqueeze(g.Range(np.asarray(0, np.int64), length, np.asarray(1, np.int64)), axis)


def _causal(g: GraphBuilder, query: Value, value: Value) -> Value:
    """Return [queries, keys]: a position sees itself and those before it."""
    return g.GreaterOrEqual(_positions(g, query, 1), _positions(g, value, 0))


# --- Attention, AdditiveAttention ------------------------------------------------------------------------------------


def attention(g: GraphBuilder, call: LayerCall) -> Any:
    """Convert Attention with score_mode "dot" or "concat"."""
    layer = call.source
    query, _, key = _three(call)
    if layer.score_mode == "dot":
        scores = g.MatMul(query, _swapped(g, key))
        if layer.scale is not None:
            scores = g.Mul(scores, g.const(call.weight(layer.scale, like=query), name="scale"))
    else:
        total = _every_pair(g, query, key)
        if layer.scale is not None:
            total = g.Mul(total, g.const(call.weight(layer.scale, like=query), name="scale"))
        summed = g.ReduceSum(g.Tanh(total), -1, keepdims=False)
        scores = g.Mul(summed, g.const(call.weight(layer.concat_score_weight, like=query), name="weight"))
    return _applied(g, call, scores)


def additive_attention(g: GraphBuilder, call: LayerCall) -> Any:
    """Convert AdditiveAttention: Σ scale · tanh(query + key)."""
    layer = call.source
    query, _, key = _three(call)
    total = g.Tanh(_every_pair(g, query, key))
    if layer.scale is not None:
        total = g.Mul(total, g.const(call.weight(layer.scale, like=query), name="scale"))
    return _applied(g, call, g.ReduceSum(total, -1, keepdims=False))


def _three(call: LayerCall) -> tuple[Value, Value, Value]:
    inputs = list(call.inputs[0])
    return inputs[0], inputs[1], inputs[2] if len(inputs) > 2 else inputs[1]


def _swapped(g: GraphBuilder, x: Value) -> Value:
    rank = rank_of(x)
    return g.Transpose(x, perm=[*range(rank - 2), rank - 1, rank - 2])


def _every_pair(g: GraphBuilder, query: Value, key: Value) -> Value:
    return g.Add(g.Unsqueeze(query, rank_of(query) - 1), g.Unsqueeze(key, rank_of(key) - 2))


def _applied(g: GraphBuilder, call: LayerCall, scores: Value) -> Any:
    query, value, _ = _three(call)
    masks = call.params.get("mask") or [None, None]
    seen: Value | None = masks[1]
    if seen is not None:
        seen = g.Unsqueeze(g.Cast(seen, DataType.BOOL), rank_of(seen) - 1)
    if call.params.get("use_causal_mask"):
        causal = _causal(g, query, value)
        seen = causal if seen is None else g.And(seen, causal)
    if seen is not None:
        # Keras lowers the scores of hidden positions rather than replacing them.
        low = 65504.0 if dtype_of(scores) == DataType.FLOAT16 else 1.0e9
        scores = g.Where(seen, scores, g.Sub(scores, g.scalar_like(low, scores)))
    weights = g.Softmax(scores, axis=-1)
    result = g.MatMul(weights, value)
    if masks[0] is not None:
        asked = g.Unsqueeze(g.Cast(masks[0], DataType.BOOL), rank_of(masks[0]))
        result = g.Where(asked, result, g.scalar_like(0, result))
    return [result, weights] if call.params.get("return_attention_scores") else result
