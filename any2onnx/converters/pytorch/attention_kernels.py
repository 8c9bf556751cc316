"""The attention kernels that a program decomposed on a GPU names, in place of scaled_dot_product_attention."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from any2onnx.converters.pytorch.attention import scaled_dot_product_attention
from any2onnx.converters.pytorch.call import TorchCall
from any2onnx.graph.builder import GraphBuilder


def kernel(g: GraphBuilder, call: TorchCall) -> list[Any]:
    """Attention; what the kernels return besides is for the backward pass, and has no value here."""
    p, metas = call.params, call.metas
    params = {**p, "attn_mask": p.get("attn_bias", p.get("attn_mask")), "enable_gqa": False}
    inner = replace(
        call,
        params=params,
        metas={**metas, "attn_mask": metas.get("attn_bias", metas.get("attn_mask"))},
        result=call.result[0],
    )
    return [scaled_dot_product_attention(g, inner), *[None] * (len(call.result) - 1)]
