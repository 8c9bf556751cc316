"""A torch module as a part of another graph: its nodes go into a builder that has values for its inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from any2onnx.converters.pytorch.capture import capture
from any2onnx.converters.pytorch.program import Plan, prepared
from any2onnx.converters.pytorch.walk import Walker, weight_value
from any2onnx.errors import ExportFailed
from any2onnx.graph.builder import GraphBuilder
from any2onnx.graph.types import Value, dtype_of, shape_of
from any2onnx.operator_mappings.registry import Registry
from any2onnx.shape_calculators.pytorch.general import Promises

# Example sizes of dims that vary: small ones, and such that modules with a least size can run.
_SIZES: Final = ((2, 5, 7, 11, 13), (2, 64, 96, 128, 160))


def inline(
    g: GraphBuilder, registry: Registry, module: Any, args: Sequence[Any], kwargs: Mapping[str, Any] | None = None
) -> Any:
    """Convert a call of a torch module, in evaluation mode, and return its results, nested as the module has them.

    Args:
        g: Where the nodes go.
        registry: Converters.
        module: torch.nn.Module.
        args: Positional arguments, nested, with Values for tensors.
        kwargs: Arguments by name.

    Raises:
        ExportFailed: torch.export cannot trace the module.
        UnsupportedOperator: Operators without a mapping, all of them.
    """
    import torch

    pytree = torch.utils._pytree
    given, named = tuple(args), dict(kwargs or {})
    values = [leaf for leaf in pytree.tree_leaves((given, named)) if isinstance(leaf, Value)]
    program, names = _captured(module, given, named)
    program = prepared(program)
    graph_module = program.graph_module
    plan = Plan(registry, g.opsets.main)
    plan.scan(graph_module)
    plan.require()
    walker = Walker(registry, g, plan, Promises(names))
    results = walker.run(g, graph_module, _placeholders(g, program, graph_module, values))
    flat = list(results) if isinstance(results, list | tuple) else [results]
    specs = program.graph_signature.output_specs
    chosen = [r for r, spec in zip(flat, specs, strict=True) if spec.kind.name == "USER_OUTPUT"]
    return pytree.tree_unflatten(chosen, program.call_spec.out_spec)


def _captured(module: Any, args: Any, kwargs: Any) -> tuple[Any, dict[Any, str]]:
    import torch

    pytree = torch.utils._pytree
    dims = [d for leaf in pytree.tree_leaves((args, kwargs)) if isinstance(leaf, Value) for d in shape_of(leaf)]
    names = list(dict.fromkeys(str(d) for d in dims if d is not None and not isinstance(d, int)))
    failure: ExportFailed | None = None
    for sizes in _SIZES:
        examples = pytree.tree_map(lambda leaf, sizes=sizes: _example(leaf, names, sizes), (args, kwargs))
        spec = pytree.tree_map(_dynamic, (args, kwargs))
        given = dict(zip(_parameters(module, args), spec[0], strict=True)) | spec[1]
        try:
            return capture(module, examples[0], examples[1], dynamic_shapes=given)
        except ExportFailed as error:
            failure = failure or error
    assert failure is not None
    raise failure


def _parameters(module: Any, args: Sequence[Any]) -> list[str]:
    """Return the names of the positional arguments of `forward`."""
    import inspect

    return list(inspect.signature(module.forward).parameters)[: len(args)]


def _example(leaf: Any, names: Sequence[str], sizes: Sequence[int]) -> Any:
    import torch

    if not isinstance(leaf, Value):
        return leaf
    shape = [d if isinstance(d, int) else sizes[names.index(str(d)) % len(sizes)] if d else 3 for d in shape_of(leaf)]
    dtype = getattr(torch, dtype_of(leaf).numpy().name)
    return torch.zeros(shape, dtype=dtype)


def _dynamic(leaf: Any) -> Any:
    if not isinstance(leaf, Value):
        return None
    return {
        axis: str(d) if d is not None else f"{leaf.name}_{axis}"
        for axis, d in enumerate(shape_of(leaf))
        if not isinstance(d, int)
    }


def _placeholders(g: GraphBuilder, program: Any, module: Any, inputs: Sequence[Value]) -> list[Any]:
    """Return a value for each placeholder: the inputs in turn, weights, constants."""
    nodes = [node for node in module.graph.nodes if node.op == "placeholder"]
    position = iter(inputs)
    values: list[Any] = []
    for node, spec in zip(nodes, program.graph_signature.input_specs, strict=True):
        if spec.kind.name == "USER_INPUT":
            is_tensor = hasattr(node.meta.get("val"), "shape")
            values.append(next(position) if is_tensor else getattr(spec.arg, "value", node.meta.get("val")))
        elif spec.kind.name in {"PARAMETER", "BUFFER", "CONSTANT_TENSOR"}:
            values.append(weight_value(g, program, spec, node))
        else:
            values.append(None)
    return values
