"""Functions and kernels of torch that something else stands in for while a model is captured."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any


@contextlib.contextmanager
def replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    """Replace a function inside torch; where this torch has none of the name, there is nothing to replace."""
    if not hasattr(owner, name):
        yield
        return
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)


@contextlib.contextmanager
def replaced_kernels(kernels: Sequence[tuple[Any, Callable[..., Any]]]) -> Iterator[None]:
    """Replace torch's Python kernels of composite operators; only inside the capture lock.

    Args:
        kernels: Overloads and what stands in for each.
    """
    import torch

    key = torch._C.DispatchKey.CompositeImplicitAutograd
    before = [(op, op.py_kernels.get(key)) for op, _ in kernels]
    try:
        for op, kernel in kernels:
            op.py_kernels[key] = kernel
            op._dispatch_cache.clear()
        yield
    finally:
        for op, own in before:
            if own is None:
                op.py_kernels.pop(key, None)
            else:
                op.py_kernels[key] = own
            op._dispatch_cache.clear()
