"""Inputs and outputs that are no tensors: dataclasses, kinds of dict, the key-value caches of the transformers library.

torch.export takes apart what its pytree registry knows. What a model is given or returns is entered there, as
`torch.export.register_dataclass` would have it, unless somebody has done so already.
"""

from __future__ import annotations

import contextlib
import dataclasses
import sys
from collections.abc import Iterator, Mapping
from typing import Any


def register_structures(value: Any) -> None:
    """Make known to torch.export every dataclass, cache and kind of dict inside a nested value."""
    import torch

    known = torch.utils._pytree.SUPPORTED_NODES
    if isinstance(value, torch.Tensor | str | int | float | None):
        return
    if isinstance(value, Mapping) and type(value) not in known:
        _register_mapping(type(value))
    if type(value) in known or isinstance(value, Mapping | list | tuple):
        parts = value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else ()
        for part in parts:
            register_structures(part)
        return
    if _register_cache(torch, value):
        return
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        torch.export.register_dataclass(
            type(value), serialized_type_name=f"{type(value).__module__}.{type(value).__qualname__}"
        )
        for field in dataclasses.fields(value):
            register_structures(getattr(value, field.name))


def _register_mapping(kind: Any) -> None:
    """Enter a class derived from dict or Mapping, which is made again from a plain dict."""
    import torch

    pytree = torch.utils._pytree
    pytree.register_pytree_node(
        kind,
        lambda value: (list(value.values()), list(value)),
        lambda parts, keys: kind(dict(zip(keys, parts, strict=True))),
        serialized_type_name=f"{kind.__module__}.{kind.__qualname__}",
        flatten_with_keys_fn=lambda value: (
            [(pytree.MappingKey(key), part) for key, part in value.items()],
            list(value),
        ),
    )


@contextlib.contextmanager
def outputs_registered(model: Any) -> Iterator[None]:
    """Make known what the model returns, as soon as it returns it."""
    handle = model.register_forward_hook(lambda _module, _args, output: register_structures(output))
    try:
        yield
    finally:
        handle.remove()


def _register_cache(torch: Any, value: Any) -> bool:
    """Enter a cache of the transformers library: all keys, then all values, layer by layer."""
    caches = sys.modules.get("transformers.cache_utils")
    if caches is None or not isinstance(value, caches.Cache):
        return False
    pytree = torch.utils._pytree
    # Their own function where the installed version has it; any caller may have been first.
    from transformers.integrations import executorch

    if caches.DynamicCache not in pytree.SUPPORTED_NODES:
        executorch.register_dynamic_cache_export_support()
    pair = caches.EncoderDecoderCache
    if isinstance(value, pair) and pair not in pytree.SUPPORTED_NODES:
        names = ("self_attention_cache", "cross_attention_cache")
        pytree.register_pytree_node(
            pair,
            lambda cache: ([getattr(cache, name) for name in names], None),
            lambda parts, _context: pair(*parts),
            serialized_type_name=f"{pair.__module__}.{pair.__name__}",
            flatten_with_keys_fn=lambda cache: (
                [(pytree.GetAttrKey(name), getattr(cache, name)) for name in names],
                None,
            ),
        )
    return True


def leaf_paths(spec: Any) -> list[tuple[str, ...]]:
    """Return the path of every leaf of a flattened structure: keys of dicts, fields of dataclasses, positions."""
    if spec.is_leaf():
        return [()]
    children = list(spec.children()) if callable(getattr(spec, "children", None)) else list(spec.children_specs)
    return [
        (name, *path)
        for name, child in zip(_child_names(spec.context, len(children)), children, strict=True)
        for path in leaf_paths(child)
    ]


def _child_names(context: Any, count: int) -> list[str]:
    """Return the names of the children, which pytree keeps in the context, in one form or another, or positions."""
    for names in (context, *(context if isinstance(context, list | tuple) else ())):
        if isinstance(names, list | tuple) and len(names) == count and all(isinstance(n, str | int) for n in names):
            return [str(n) for n in names]
    fields = getattr(context, "_fields", None)  # a named tuple's class
    return list(fields) if fields is not None and len(fields) == count else [str(k) for k in range(count)]
