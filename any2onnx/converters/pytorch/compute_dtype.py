"""Half-precision models computed in a wider type: whole (`compute_dtype`), or one operator (`in_float32`).

Whole: the trace's own types are raised before the walk: fake tensors and dtype arguments. Weights, inputs and outputs
keep their type; the graph casts them at its edges.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from any2onnx.converters.pytorch.call import TorchCall
from any2onnx.errors import UsageError
from any2onnx.graph.builder import GraphBuilder
from any2onnx.graph.types import DataType, Value

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
            made.meta["val"] = _raised_meta(torch, val, dtype)
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


def _raised_meta(torch: Any, value: Any, dtype: Any) -> Any:
    """Return fake tensors, in lists too, with their float16 and bfloat16 as another type."""
    if isinstance(value, list | tuple):
        return type(value)(_raised_meta(torch, v, dtype) for v in value)
    if isinstance(value, torch.Tensor) and value.dtype in (torch.float16, torch.bfloat16):
        mode = torch._guards.detect_fake_mode([value])
        if mode is None:
            return value.to(dtype)
        with mode:
            return value.to(dtype)
    return value


def boundary_dtype(node: Any) -> Any:
    """Return the type that an input has outside the graph; None where it was not raised."""
    return node.meta.get(_OUTER)


_HALF = frozenset({DataType.FLOAT16, DataType.BFLOAT16})


def in_float32(convert: Callable[..., Any]) -> Callable[..., Any]:
    """Return a converter that computes float16 and bfloat16 in float32 and rounds its results once, as torch does.

    For operators that take several roundings in ONNX; one that is a single ONNX node stays in its own type.
    """

    @functools.wraps(convert)
    def wide(g: GraphBuilder, call: TorchCall) -> Any:
        if not (_holds_half(call.inputs) or _is_half(call.result)):
            return convert(g, call)
        import torch

        single = torch.float32
        raised_call = replace(
            call,
            inputs=_cast_half(g, call.inputs),
            params={name: _cast_half(g, value) for name, value in call.params.items()},
            metas={name: _raised_meta(torch, value, single) for name, value in call.metas.items()},
            result=_raised_meta(torch, call.result, single),
        )
        return _cast_back(g, convert(g, raised_call), call.result)

    return wide


def _holds_half(values: Any) -> bool:
    if isinstance(values, list | tuple):
        return any(_holds_half(v) for v in values)
    return isinstance(values, Value) and values.dtype in _HALF


def _is_half(result: Any) -> bool:
    if isinstance(result, list | tuple):
        return any(_is_half(r) for r in result)
    return str(getattr(result, "dtype", "")) in ("torch.float16", "torch.bfloat16")


def _cast_half(g: GraphBuilder, value: Any) -> Any:
    if isinstance(value, list | tuple):
        return type(value)(_cast_half(g, v) for v in value)
    return g.Cast(value, DataType.FLOAT) if isinstance(value, Value) and value.dtype in _HALF else value


def _cast_back(g: GraphBuilder, results: Any, promised: Any) -> Any:
    if isinstance(results, list | tuple):
        return type(results)(_cast_back(g, r, p) for r, p in zip(results, promised, strict=True))
    if results is None or not _is_half(promised):
        return results
    return g.Cast(results, str(promised.dtype).removeprefix("torch."))
