"""The PyTorch front-end: walks the raw FX graph that torch.export gives.

Composite operators (conv2d, layer_norm, scaled_dot_product_attention, lstm) arrive whole and have mappings of their
own; only an operator without one is decomposed, on its own.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from any2onnx.converters.capturing import warn
from any2onnx.converters.pytorch.call import TorchCall
from any2onnx.converters.pytorch.capture import capture
from any2onnx.converters.pytorch.complex_pairs import (
    COMPLEX_PREFIX,
    Complex,
    complex_constant,
    is_complex,
    joined_pair,
    node_is_complex,
    real_dtype,
    split_pair,
)
from any2onnx.converters.pytorch.compute_dtype import boundary_dtype, raised
from any2onnx.converters.pytorch.custom import custom_rows
from any2onnx.converters.pytorch.guards import warn_of_other_paths
from any2onnx.converters.pytorch.keys import bound, known_key, target_key, tensor_names
from any2onnx.converters.pytorch.program import (
    Plan,
    identities,
    live_nodes,
    node_location,
    node_scope,
    prepared,
    written_buffers,
)
from any2onnx.converters.pytorch.sizes import Sizes, number_dtype
from any2onnx.converters.pytorch.structures import leaf_paths
from any2onnx.converters.translator import Translator
from any2onnx.errors import ExportFailed, UsageError
from any2onnx.graph.builder import GraphBuilder
from any2onnx.graph.opsets import Opsets
from any2onnx.graph.types import DataType, Value
from any2onnx.operator_mappings.registry import Registry
from any2onnx.shape_calculators.pytorch.general import Promises, onnx_dtype


def build_pytorch(
    model: Any,
    args: Any = (),
    kwargs: Mapping[str, Any] | None = None,
    *,
    opsets: Opsets,
    registry: Registry,
    dynamic_shapes: Any = None,
    dynamic_axes: Any = None,
    input_names: Sequence[str] | None = None,
    output_names: Sequence[str] | None = None,
    custom_translation_table: Mapping[Any, Callable[..., Any]] | None = None,
    compute_dtype: Any = None,
    name: str = "",
) -> ir.Model:
    """Return the model of a module or an exported program, before optimisation.

    Args:
        model: torch.nn.Module, traced in evaluation mode and left as it was, or torch.export.ExportedProgram.
        args: Example inputs; a single tensor stands for a tuple of one.
        kwargs: Example keyword inputs.
        opsets: Versions of the operator sets.
        registry: Converters.
        dynamic_shapes: As torch.export takes them; a dimension can also be given by plain text, its name.
        dynamic_axes: As the older torch.onnx takes them.
        input_names: Names of the tensor inputs, in order; those of `forward` by default.
        output_names: Names of the tensor outputs; ``output``, ``output_0``, … or the keys of a dict by default.
        custom_translation_table: ``{operator overload: onnxscript function, or converter function(g, call)}``.
        compute_dtype: Compute in this dtype what the model computes in float16 or bfloat16.
        name: Of the graph.

    Raises:
        NotAModel: `model` is neither.
        ExportFailed: torch.export cannot trace the model.
        UnsupportedOperator: Operators without a mapping, all of them.
        OpsetNotSupported: The model needs another opset.
        UsageError: Names or dynamic dimensions do not fit the model.
    """
    if not isinstance(args, tuple):
        args = tuple(args) if isinstance(args, list) else (args,)
    program, names = capture(
        model,
        args,
        kwargs or {},
        dynamic_shapes=dynamic_shapes,
        dynamic_axes=dynamic_axes,
        input_names=input_names,
        output_names=output_names,
    )
    rows = custom_rows(custom_translation_table or {})
    if rows:
        registry = registry.extended(rows, name="call", override=True)
    for buffer in written_buffers(program):
        warn(
            f"the model writes into its buffer {buffer!r}; the ONNX model has no state and starts every run from the "
            "value that the buffer has now"
        )
    conditions = warn_of_other_paths(program, names)
    program = prepared(program)
    module = program.graph_module
    if compute_dtype is not None:
        module = raised(module, compute_dtype)
    plan = Plan(registry, opsets.main)
    plan.scan(module)
    plan.require()
    builder = GraphBuilder(opsets)
    walker = Walker(registry, builder, plan, Promises(names))
    values = _inputs(walker, program, module, input_names)
    results = walker.run(builder, module, values)
    outputs = _outputs(walker, program, results, output_names)
    built = builder.build(outputs, name=name or type(model).__name__)
    if conditions:
        built.metadata_props["any2onnx.sizes"] = json.dumps(conditions)
    return built


@dataclass(frozen=True, slots=True)
class SubGraph:
    """A graph module among the arguments of a node (a branch, a body), to be emitted into some builder."""

    walker: Walker
    module: Any

    def __call__(self, g: GraphBuilder, *values: Any) -> list[Any]:
        """Emit the graph's nodes for these arguments and return its results."""
        results = self.walker.run(g, self.module, values)
        return results if isinstance(results, list) else [results]


class Walker:
    """Converts FX graphs node by node.

    Args:
        registry: Converters.
        builder: Of the main graph.
        plan: Which nodes are decomposed.
        promises: The general shape calculator.
    """

    def __init__(self, registry: Registry, builder: GraphBuilder, plan: Plan, promises: Promises) -> None:
        self.registry = registry
        self.builder = builder
        self.plan = plan
        self.promises = promises
        self.sizes = Sizes()
        # Inside of a region under autocast: operators take their operands in the type that their results have.
        self.autocast = False
        self.translator = Translator(registry, "pytorch", builder, general_shapes=promises)
        self._locations: dict[Any, tuple[str, str]] = {}

    def run(self, g: GraphBuilder, module: Any, values: Sequence[Any], origin: tuple[str, str] | None = None) -> Any:
        """Emit a graph's nodes into a builder and return its results (nested as the graph has them).

        Args:
            g: The builder.
            module: The graph module.
            values: One per placeholder: a Value, a Python number, None.
            origin: Scope and location of the node that the graph stands for, for a decomposition.
        """
        same = identities(module.graph)
        live = live_nodes(module.graph)
        env: dict[Any, Any] = {}
        position = iter(values)
        for node in module.graph.nodes:
            if node not in live:
                continue
            if node.op == "placeholder":
                env[node] = next(position)
            elif node.op == "get_attr":
                env[node] = self._attribute(g, module, node)
            elif node.op == "output":
                return _resolved(node.args[0], env, same)
            else:
                # The result of an in-place operator takes the place of the tensor that it writes into.
                env[same[node]] = self._call(g, node, env, same, origin)
            self._note(g, env.get(same[node]), node.meta.get("val"))
        raise AssertionError("an FX graph ends with its output")

    def _note(self, g: GraphBuilder, value: Any, val: Any) -> None:
        if isinstance(value, Value):
            self.sizes.note(g, value, val)
        elif isinstance(value, Complex):
            for part in (value.re, value.im):
                if part.producer() is not None:
                    g.annotate(part, [self.promises.dim(d) for d in val.shape])
            self.sizes.note(g, value.re, val)
        elif isinstance(value, list | tuple) and isinstance(val, list | tuple):
            for part, part_val in zip(value, val, strict=False):
                self._note(g, part, part_val)

    def _attribute(self, g: GraphBuilder, module: Any, node: Any) -> Any:
        found = module
        for part in node.target.split("."):
            found = getattr(found, part)
        if hasattr(found, "graph"):
            return SubGraph(self, found)
        if is_complex(found):
            return complex_constant(g, found, node.target)
        return g.const(found, name=node.target)

    def _call(self, g: GraphBuilder, node: Any, env: dict[Any, Any], same: Mapping[Any, Any], origin: Any) -> Any:
        target = node.target
        if target_key(target) == "_operator.getitem":
            sequence = _resolved(node.args[0], env, same)
            if isinstance(sequence, list | tuple):
                return sequence[node.args[1]]
        scope, location = origin or self._origin(node)
        arguments = bound(target, node.args, node.kwargs)
        expansion = self.plan.expansion(node)
        if expansion is not None:
            flat = [_resolved(n, env, same) for n in _flat_nodes(node)]
            return self.run(g, expansion, flat, (scope, location))
        params = {name: _resolved(value, env, same) for name, value in arguments.items()}
        if self.autocast:
            params = {name: _as_result(g, value, node) for name, value in params.items()}
        prefix = COMPLEX_PREFIX if node_is_complex(node) else ""
        call = TorchCall(
            key=known_key(target, self.registry, g.opsets.main, prefix) or prefix + target_key(target),
            source=node,
            inputs=tuple(params[n] for n in tensor_names(target, arguments)),
            params=params,
            scope=scope,
            location=location,
            result=node.meta.get("val"),
            metas={name: _meta(value) for name, value in arguments.items()},
            sizes=self.sizes,
        )
        return self.translator.convert(call, g)

    def _origin(self, node: Any) -> tuple[str, str]:
        return node_scope(node), node_location(node)


def _resolved(argument: Any, env: Mapping[Any, Any], same: Mapping[Any, Any]) -> Any:
    """Replace FX nodes in an argument by their values."""
    if hasattr(argument, "all_input_nodes"):
        return env[same[argument]]
    if isinstance(argument, list | tuple):
        return [_resolved(a, env, same) for a in argument]
    if isinstance(argument, dict):
        return {key: _resolved(a, env, same) for key, a in argument.items()}
    return argument


def _as_result(g: GraphBuilder, value: Any, node: Any) -> Any:
    """Return a real operand in the type of a node's result, as autocast casts it; any other value as it is."""
    if isinstance(value, list | tuple):
        return [_as_result(g, v, node) for v in value]
    dtype = getattr(node.meta.get("val"), "dtype", None)
    if not isinstance(value, Value) or dtype is None or not dtype.is_floating_point or _casts(node):
        return value
    return g.Cast(value, onnx_dtype(dtype)) if value.dtype in _REAL else value


_REAL = frozenset({DataType.FLOAT, DataType.DOUBLE, DataType.FLOAT16, DataType.BFLOAT16})


def _casts(node: Any) -> bool:
    return target_key(node.target).startswith(("aten.to.", "aten._to_copy.", "aten.type_as."))


def _meta(argument: Any) -> Any:
    """Replace FX nodes in an argument by their fake values."""
    if hasattr(argument, "all_input_nodes"):
        return argument.meta.get("val")
    if isinstance(argument, list | tuple):
        return [_meta(a) for a in argument]
    return argument


def _flat_nodes(node: Any) -> list[Any]:
    import torch

    flat = torch.utils._pytree.tree_leaves((node.args, dict(node.kwargs)))
    return [value for value in flat if isinstance(value, torch.fx.Node)]


# --- inputs and outputs ---------------------------------------------------------------------------------------------


def _inputs(walker: Walker, program: Any, module: Any, input_names: Sequence[str] | None) -> list[Any]:
    """Return a value for each placeholder: inputs of the model, weights by reference, constants."""
    builder = walker.builder
    nodes = [node for node in module.graph.nodes if node.op == "placeholder"]
    specs = program.graph_signature.input_specs
    wanted = iter(_checked_names(specs, nodes, input_names))
    values: list[Any] = []
    for node, spec in zip(nodes, specs, strict=True):
        kind = spec.kind.name
        val = node.meta.get("val")
        if kind == "USER_INPUT":
            if not _is_input(node):
                values.append(getattr(spec.arg, "value", val))
                continue
            if is_complex(val):
                dims = [walker.promises.dim(d) for d in val.shape]
                values.append(split_pair(builder, builder.input(next(wanted), real_dtype(val), [*dims, 2])))
                continue
            promise = walker.promises.spec(val)
            assert promise is not None
            outer = boundary_dtype(node)
            dtype = promise.dtype if outer is None else onnx_dtype(outer)
            value = builder.input(next(wanted), dtype, promise.shape)
            values.append(builder.Cast(value, promise.dtype))
        elif kind in {"PARAMETER", "BUFFER", "CONSTANT_TENSOR"}:
            values.append(weight_value(builder, program, spec, node))
        else:
            # Effect tokens and script objects: no tensor; an operator that reads one has no mapping and is named.
            values.append(None)
    return values


def _is_input(node: Any) -> bool:
    val = node.meta.get("val")
    return hasattr(val, "shape") or type(val).__name__ in {"SymInt", "SymFloat", "SymBool"}


def _checked_names(specs: Any, nodes: Sequence[Any], names: Sequence[str] | None) -> list[str]:
    own = [n.name for n, s in zip(nodes, specs, strict=True) if s.kind.name == "USER_INPUT" and _is_input(n)]
    if names is None:
        return own
    if len(names) > len(own):
        raise UsageError(
            f"input_names has {len(names)} names, the model has {len(own)} tensor inputs", needs=f"names for {own}"
        )
    return [*names, *own[len(names) :]]


def weight_value(builder: GraphBuilder, program: Any, spec: Any, node: Any) -> Any:
    """Return a parameter, buffer or constant tensor of an exported program by reference; None for what is no tensor.

    Raises:
        ExportFailed: The tensor has no values (meta device).
    """
    import torch

    tensor = program.state_dict.get(spec.target)
    if tensor is None:
        tensor = program.constants.get(spec.target)
    if not isinstance(tensor, torch.Tensor):
        return None
    if isinstance(tensor, torch._subclasses.FakeTensor) or tensor.device.type == "meta":
        raise ExportFailed(
            f"the weight {spec.target!r} has no values",
            needs="a model with weights in memory, not on the meta device or under FakeTensorMode",
        )
    if tensor.layout != torch.strided:
        tensor = tensor.to_dense()
    if is_complex(tensor):
        return complex_constant(builder, tensor, spec.target)
    value = builder.const(tensor.detach(), name=spec.target)
    val = node.meta.get("val")
    # Where the model computes in a wider type (compute_dtype) the weight stays as it is and is cast in the graph.
    return builder.Cast(value, onnx_dtype(val.dtype)) if hasattr(val, "dtype") else value


def _outputs(walker: Walker, program: Any, results: Any, output_names: Sequence[str] | None) -> dict[str, Value]:
    specs = program.graph_signature.output_specs
    results = list(results) if isinstance(results, list | tuple) else [results]
    chosen: list[Any] = []
    dtypes: list[Any] = []
    output_node = next(n for n in reversed(program.graph.nodes) if n.op == "output")
    arguments = output_node.args[0]
    for spec, result, argument in zip(specs, results, arguments, strict=True):
        if spec.kind.name != "USER_OUTPUT":
            continue
        chosen.append(result)
        val = argument.meta.get("val") if hasattr(argument, "meta") else None
        dtypes.append(getattr(val, "dtype", None))
    names = _output_names(program, chosen, output_names)
    if output_names is None:
        names = _apart(names, {v.name for v in walker.builder.inputs})
    outputs: dict[str, Value] = {}
    for name, result, dtype in zip(names, chosen, dtypes, strict=True):
        if result is None or isinstance(result, str):
            continue
        if isinstance(result, Complex):
            outputs[name] = joined_pair(walker.builder, result)
            continue
        value = result if isinstance(result, Value) else _number(walker.builder, result)
        outputs[name] = value if dtype is None else walker.builder.Cast(value, onnx_dtype(dtype))
    if not outputs:
        raise ExportFailed("the model returns no tensor", needs="a forward that returns tensors")
    return outputs


def _number(g: GraphBuilder, number: Any) -> Value:
    dtype = number_dtype(number)
    return g.const(np.asarray(number, DataType(dtype).numpy()), name="constant")


def _output_names(program: Any, results: Sequence[Any], given: Sequence[str] | None) -> list[str]:
    """Return a name for each flat output: by key for dicts and dataclasses, by position for tuples."""
    own = ["_".join(path) for path in leaf_paths(program.call_spec.out_spec)]
    own = [f"output_{name}" if name[:1].isdigit() else (name or "output") for name in own]
    present = [k for k, result in enumerate(results) if result is not None and not isinstance(result, str)]
    if len(present) == 1 and own[present[0]].startswith("output"):
        own[present[0]] = "output"
    if given is not None:
        if len(given) > len(present):
            raise UsageError(f"output_names has {len(given)} names, the model has {len(present)} outputs")
        for k, name in zip(present, given, strict=False):
            own[k] = name
    if len(set(own)) < len(own):
        taken: dict[str, int] = {}
        for k, name in enumerate(own):
            count = taken.get(name, 0)
            taken[name] = count + 1
            own[k] = f"{name}_{count}" if count else name
    return own


def _apart(names: Sequence[str], inputs: set[str | None]) -> list[str]:
    """Rename outputs that are called as inputs are: a cache that comes back grown, as a rule."""
    present = [f"present{n.removeprefix('past')}" if n.startswith("past_") else f"output_{n}" for n in names]
    return [new if old in inputs else old for old, new in zip(names, present, strict=True)]
