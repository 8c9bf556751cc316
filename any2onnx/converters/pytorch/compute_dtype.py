"""compute_dtype: a half-precision model computed in a wider type, for runtimes without half-precision kernels.

The trace's own types are raised before the walk: fake tensors and dtype arguments. Weights, inputs and outputs keep
their type; the graph casts them at its edges.
"""

from __future__ import annotations

import copy
from typing import Any

from any2onnx.errors import UsageError

_OUTER = "any2onnx_outer_dtype"


def raised(module: Any, compute_dtype: Any) -> Any:
    """Return a copy of a graph module in which float16 and bfloat16 are `compute_dtype`; weights are not touched.

    Raises:
        UsageError: `compute_dtype` is neither float32 nor float64.
    """
    import torch

    dtype = {"float32": torch.float32, "float64": torch.float64}.get(str(compute_dtype).removeprefix("torch."))
    if dtype is None:
        raise UsageError(f"compute_dtype is {compute_dtype!r}", needs="'float32' or 'float64'")
    return _raised(torch, module, dtype)


def _raised(torch: Any, module: Any, dtype: Any) -> Any:
    half = (torch.float16, torch.bfloat16)

    def argument(value: Any) -> Any:
        return dtype if isinstance(value, torch.dtype) and value in half else value

    def meta(value: Any) -> Any:
        if isinstance(value, list | tuple):
            return type(value)(meta(v) for v in value)
        if isinstance(value, torch.Tensor) and value.dtype in half:
            mode = torch._guards.detect_fake_mode([value])
            if mode is None:
                return value.to(dtype)
            with mode:
                return value.to(dtype)
        return value

    graph = torch.fx.Graph()
    copies: dict[Any, Any] = {}
    for node in module.graph.nodes:
        made = graph.node_copy(node, copies.__getitem__)
        copies[node] = made
        made.meta = copy.copy(node.meta)
        made.args = torch.fx.node.map_aggregate(made.args, argument)
        made.kwargs = torch.fx.node.map_aggregate(made.kwargs, argument)
        val = node.meta.get("val")
        if val is not None:
            made.meta["val"] = meta(val)
        if node.op == "placeholder" and getattr(val, "dtype", None) in half:
            made.meta[_OUTER] = val.dtype
    attributes = {
        name: _raised(torch, child, dtype) if hasattr(child, "graph") else child
        for name, child in module.named_children()
    }
    for node in module.graph.nodes:
        if node.op == "get_attr" and node.target not in attributes:
            attributes[node.target] = getattr(module, node.target)
    return torch.fx.GraphModule(attributes, graph)


def boundary_dtype(node: Any) -> Any:
    """Return the type that an input has outside the graph; None where it was not raised."""
    return node.meta.get(_OUTER)
