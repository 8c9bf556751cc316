"""What stands for an operator without a mapping: a graph of simpler operators, or its result where that is known."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from any2onnx.converters.capturing import CAPTURE
from any2onnx.converters.pytorch.keys import written


def computed(node: Any) -> Any:
    """Return a graph that holds the result of a node which reads no other node: windows, frequencies; else None."""
    import torch

    target = node.target
    if node.all_input_nodes or not hasattr(target, "_schema") or torch.Tag.nondeterministic_seeded in target.tags:
        return None
    if not isinstance(node.meta.get("val"), torch.Tensor) or getattr(target, "namespace", "") not in ("aten", "prims"):
        return None
    kwargs = dict(node.kwargs) | ({"device": "cpu"} if "device" in node.kwargs else {})
    with torch.no_grad():
        tensor = target(*node.args, **kwargs)
    root = torch.nn.Module()
    root.register_buffer("computed", tensor)
    graph = torch.fx.Graph()
    read = graph.get_attr("computed")
    read.meta["val"] = node.meta["val"]
    graph.output(read)
    return torch.fx.GraphModule(root, graph)


def decomposed(node: Any) -> Any:
    """Return a graph of simpler operators for a node, traced on its fake arguments; None where torch has none.

    Its placeholders are the nodes among the arguments, in order.
    """
    import torch
    from torch._decomp import decomposition_table

    target = node.target
    if str(target) == "flex_attention":
        # torch's own dense form: scores and mask by position, whatever blocks the mask lists.
        return _traced(node, _dense_attention, {})
    if not hasattr(target, "_schema") or target.namespace not in ("aten", "prims", "quantized_decomposed"):
        composite = hasattr(target, "_can_decompose") and target._can_decompose()
        if not composite:
            return None
    table = {target: decomposition_table[target]} if target in decomposition_table else {}
    if not table and not _is_composite(torch, target):
        return None
    traced = _traced(node, target, table)
    if traced is None or any(n.target is target and _same_shapes(n, node) for n in traced.graph.nodes):
        return None
    return traced


def _dense_attention(*args: Any) -> Any:
    from torch._higher_order_ops.flex_attention import math_attention

    return math_attention(*args)


def _traced(node: Any, function: Callable[..., Any], table: Mapping[Any, Callable[..., Any]]) -> Any:
    """Return the graph of a function of a node's arguments; None where torch cannot trace it.

    Args:
        node: Its tensors become placeholders; sub-graphs among its arguments are carried out where they are called.
        function: Takes the node's arguments.
        table: Decompositions to apply on the way.
    """
    import torch
    from torch.fx.experimental.proxy_tensor import make_fx

    flat, spec = torch.utils._pytree.tree_flatten((node.args, dict(node.kwargs)))
    nodes = [k for k, value in enumerate(flat) if isinstance(value, torch.fx.Node)]
    modules = {k: found for k in nodes if (found := _subgraph(flat[k])) is not None}
    slots = [k for k in nodes if k not in modules]
    vals = [flat[k].meta.get("val") for k in slots]
    if any(v is None or isinstance(v, list | tuple) for v in vals):
        return None

    def call(*tensors: Any) -> Any:
        full = [modules.get(k, value) for k, value in enumerate(flat)]
        for k, tensor in zip(slots, tensors, strict=True):
            full[k] = tensor
        args, kwargs = torch.utils._pytree.tree_unflatten(full, spec)
        return function(*args, **kwargs)

    mode = torch._guards.detect_fake_mode(vals)
    symbolic = mode is not None and mode.shape_env is not None

    def trace(traceable: Any) -> Any:
        return make_fx(
            traceable,
            decomposition_table=table,
            tracing_mode="symbolic" if symbolic else "fake",
            _allow_non_fake_inputs=True,
        )(*vals)

    with CAPTURE, warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        try:
            traced = trace(call)
            if any(written(n) for n in traced.graph.nodes):
                # It writes into views of its tensors (fill_diagonal_): the walker follows whole tensors only.
                traced = trace(torch.func.functionalize(traced))
        except Exception:  # a decomposition that torch cannot trace is none: the operator is reported
            return None
    _with_unread(traced.graph, [k in modules for k in nodes])
    for n in traced.graph.nodes:
        for name in ("stack_trace", "nn_module_stack"):
            if name in node.meta:
                n.meta[name] = node.meta[name]
    return traced


def _subgraph(node: Any) -> Any:
    """Return the graph module that a node reads from the module around it; None for any other node."""
    if node.op != "get_attr":
        return None
    found = node.graph.owning_module.get_submodule(node.target.rpartition(".")[0])
    found = getattr(found, node.target.rpartition(".")[2], None)
    return found if hasattr(found, "graph") else None


def _with_unread(graph: Any, unread: Sequence[bool]) -> None:
    """Add placeholders that nothing reads, so that every node among the arguments has one."""
    known = [n for n in graph.nodes if n.op == "placeholder"]
    behind = None
    for skipped in unread:
        if not skipped:
            behind = known.pop(0)
            continue
        with graph.inserting_after(behind) if behind is not None else graph.inserting_before(next(iter(graph.nodes))):
            behind = graph.placeholder("unread")


def _is_composite(torch: Any, target: Any) -> bool:
    key = torch._C.DispatchKey.CompositeImplicitAutograd
    return bool(torch._C._dispatch_has_kernel_for_dispatch_key(target.name(), key) or key in target.py_kernels)


def _same_shapes(a: Any, b: Any) -> bool:
    """Tell whether two nodes of one operator have results of one type: then the one does not simplify the other."""
    return str(a.meta.get("val")) == str(b.meta.get("val"))
