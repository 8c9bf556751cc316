"""Names of FX targets in the mapping table, and their arguments by the schema's names."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from any2onnx.operator_mappings.registry import Registry

_MUTATING = re.compile(r"^(?P<name>\w*[a-zA-Z0-9])_$")


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument of an operator's schema."""

    name: str
    default: Any
    is_tensor: bool


@functools.cache
def schema_arguments(target: Any) -> tuple[Argument, ...]:
    """Return the arguments of an operator overload."""
    return tuple(
        Argument(a.name, a.default_value if a.has_default_value() else None, "Tensor" in str(a.type))
        for a in target._schema.arguments
    )


@functools.cache
def target_key(target: Any) -> str:
    """Return the key of an FX node's target: ``aten.relu.default``, ``_operator.mul``, ``torch.sym_max``, ``cond``."""
    if hasattr(target, "_schema"):
        return str(target)
    kind = type(target).__module__
    if kind.startswith("torch._higher_order_ops") or kind == "torch._ops":
        return f"higher_order.{target.name()}" if callable(target.name) else f"higher_order.{target.__name__}"
    module = getattr(target, "__module__", None) or "builtins"
    return f"{module}.{getattr(target, '__name__', str(target))}"


@functools.cache
def functional_key(target: Any) -> str | None:
    """Return the key of an in-place overload's functional twin: ``aten.add_.Tensor`` → ``aten.add.Tensor``."""
    schema = getattr(target, "_schema", None)
    if schema is None or not schema.is_mutable:
        return None
    namespace, _, name = schema.name.partition("::")
    if match := re.match(r"__i(\w+)__$", name):
        name = {"and": "bitwise_and", "or": "bitwise_or", "xor": "bitwise_xor"}.get(match[1], f"__{match[1]}__")
        return f"{namespace}.{name}.{schema.overload_name or 'default'}"
    found = _MUTATING.match(name)
    return f"{namespace}.{found['name']}.{schema.overload_name or 'default'}" if found else None


def known_key(target: Any, registry: Registry, opset: int, prefix: str = "") -> str | None:
    """Return the key under which a target has a row at an opset: its own, or that of its functional twin.

    Args:
        target: Of an FX node.
        registry: Converters.
        opset: Version of ai.onnx.
        prefix: In front of the key, for nodes with complex tensors.
    """
    for key in (target_key(target), functional_key(target)):
        if key is not None and registry.find("pytorch", prefix + key, opset) is not None:
            return prefix + key
    return None


def bound(target: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Return all arguments of a call by name, with the schema's defaults filled in.

    A target without a schema gets its positional arguments as "0", "1", ….
    """
    if not hasattr(target, "_schema"):
        return {**{str(k): a for k, a in enumerate(args)}, **kwargs}
    result = {}
    for k, argument in enumerate(schema_arguments(target)):
        if k < len(args):
            result[argument.name] = args[k]
        else:
            result[argument.name] = kwargs.get(argument.name, argument.default)
    return result


def tensor_names(target: Any, arguments: Mapping[str, Any]) -> list[str]:
    """Return the names of the tensor arguments, in the schema's order."""
    if not hasattr(target, "_schema"):
        return list(arguments)
    return [a.name for a in schema_arguments(target) if a.is_tensor]


def returns_written(node: Any) -> bool:
    """Tell whether a node's only result is what it has written into."""
    returns = node.target._schema.returns
    return len(returns) == 1 and returns[0].alias_info is not None and returns[0].alias_info.is_write


def written(node: Any) -> list[Any]:
    """Return the nodes that a node writes into."""
    schema = getattr(node.target, "_schema", None) if node.op == "call_function" else None
    if schema is None or not schema.is_mutable:
        return []
    arguments = bound(node.target, node.args, node.kwargs)
    found: list[Any] = []
    for argument in schema.arguments:
        if argument.alias_info is not None and argument.alias_info.is_write:
            value = arguments[argument.name]
            found += [v for v in (value if isinstance(value, list | tuple) else [value]) if hasattr(v, "meta")]
    return found
