"""scaled_dot_product_attention, with every form of mask."""

from __future__ import annotations

import math

from any2onnx.converters.pytorch.call import TorchCall, refuse, scalar
from any2onnx.converters.pytorch.dropout import dropped
from any2onnx.graph.builder import GraphBuilder
from any2onnx.graph.types import DataType, Value, dtype_of, rank_of


def scaled_dot_product_attention(g: GraphBuilder, call: TorchCall) -> Value:
    """softmax(q · kᵀ · scale + mask) · v; a row whose keys are all masked gives zeros, as in torch."""
    p = call.params
    q, k, v, mask = p["query"], p["key"], p["value"], p["attn_mask"]
    causal = bool(p["is_causal"])
    scale = p["scale"]
    width = call.dims_of("query")[-1]
    if scale is None and isinstance(width, int):
        scale = 1 / math.sqrt(width) if width else 1.0
    if not p["dropout_p"] and _fits_operator(g, call, mask, causal):
        return g.op("Attention", q, k, v, mask, scale=float(scale), is_causal=1 if causal else None)
    if p.get("enable_gqa"):
        k, v = (_repeated_heads(g, call, name) for name in ("key", "value"))
    half = dtype_of(q) in (DataType.FLOAT16, DataType.BFLOAT16)
    if scale is None:
        factor = g.Cast(g.Reciprocal(g.Sqrt(g.Cast(call.sizes.scalar(g, width), DataType.DOUBLE))), dtype_of(q))
    else:
        factor = scalar(g, float(scale), dtype_of(q))
    scaled = g.Mul(q, factor)
    order = [*range(rank_of(k) - 2), rank_of(k) - 1, rank_of(k) - 2]
    scores = g.MatMul(scaled, g.Transpose(k, perm=order))
    if causal:
        scores = g.Where(_causal(g, call), scores, scalar(g, -math.inf, dtype_of(q)))
    if mask is not None:
        if dtype_of(mask) == DataType.BOOL:
            scores = g.Where(mask, scores, scalar(g, -math.inf, dtype_of(q)))
        else:
            scores = g.Add(scores, g.Cast(mask, dtype_of(q)))
    if half:
        scores = g.Cast(scores, DataType.FLOAT)
    weights = g.op("Softmax", scores, axis=-1)
    if mask is not None:
        # Softmax of a fully masked row is NaN.
        weights = g.Where(_masked_rows(g, mask, scores), scalar(g, 0, dtype_of(scores)), weights)
    if p["dropout_p"]:
        weights = dropped(g, call, weights, float(p["dropout_p"]))[0]
    return g.MatMul(g.Cast(weights, dtype_of(q)), v)


def _masked_rows(g: GraphBuilder, mask: Value, scores: Value) -> Value:
    """Tell which queries see no key."""
    if dtype_of(mask) == DataType.BOOL:
        # From the mask, which has no heads and is the same in every layer.
        return g.Not(g.Cast(g.ReduceMax(g.Cast(mask, DataType.FLOAT), -1), DataType.BOOL))
    return g.Equal(g.ReduceMax(scores, -1), scalar(g, -math.inf, dtype_of(scores)))


def _fits_operator(g: GraphBuilder, call: TorchCall, mask: Value | None, causal: bool) -> bool:
    """Tell whether ONNX's Attention does the same: opset 23, four dims, a square causal mask or a full mask."""
    if g.opsets.main < 23 or dtype_of(call.params["query"]) not in (DataType.FLOAT, DataType.FLOAT16):
        return False
    dims = {name: call.dims_of(name) for name in ("query", "key", "value")}
    if any(len(d) != 4 for d in dims.values()):
        return False
    if not all(isinstance(d[axis], int) for d in dims.values() for axis in (1, 3)):
        return False
    if dims["query"][0] != dims["key"][0] or (dims["query"][1] != dims["key"][1] and not call.params["enable_gqa"]):
        return False
    if causal and (mask is not None or dims["query"][2] != dims["key"][2]):
        return False
    if mask is None:
        return True
    wanted = [dims["query"][2], dims["key"][2]]
    return rank_of(mask) in (2, 4) and call.dims_of("attn_mask")[-2:] == wanted


def _causal(g: GraphBuilder, call: TorchCall) -> Value:
    """Return [queries, keys]: key j is seen by query i where j ≤ i."""
    zero, one = scalar(g, 0, DataType.INT64), scalar(g, 1, DataType.INT64)
    queries, keys = (g.Range(zero, call.sizes.scalar(g, call.dims_of(name)[-2]), one) for name in ("query", "key"))
    return g.LessOrEqual(g.Unsqueeze(keys, 0), g.Unsqueeze(queries, 1))


def _repeated_heads(g: GraphBuilder, call: TorchCall, name: str) -> Value:
    """Return keys or values with every head repeated for its group of query heads."""
    x = call.params[name]
    dims = call.dims_of(name)
    heads, wanted = dims[-3], call.dims_of("query")[-3]
    if heads == wanted:
        return x  # type: ignore[no-any-return]
    if not (isinstance(heads, int) and isinstance(wanted, int)):
        raise refuse(call, "enable_gqa", "the number of heads is dynamic")
    axis = len(dims) - 2
    target = [*dims[:axis], wanted // heads, *dims[axis:]]
    wide = g.Expand(g.Unsqueeze(x, axis), call.sizes.vector(g, target))
    return g.Reshape(wide, call.sizes.vector(g, [*dims[: axis - 1], wanted, *dims[axis:]]))
