"""The operators that a torch module runs: what each computes, and what follows when their results move a little."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import numpy as np

from any2onnx.parity.intermediates import Intermediate
from any2onnx.parity.rounding import moved, plain_name
from any2onnx.parity.signature import to_numpy

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextlib.contextmanager
def recorded_torch(module: Any, found: list[Intermediate]) -> Iterator[None]:
    """Record what every ATen operator returns while a module runs, under the path of the sub-module that called it."""
    import torch
    from torch.utils import _pytree as pytree
    from torch.utils._python_dispatch import TorchDispatchMode

    paths = {part: name for name, part in module.named_modules()}
    stack: list[str] = []
    handles = []
    for part in paths:
        handles.append(part.register_forward_pre_hook(lambda owner, _: stack.append(paths[owner])))
        handles.append(part.register_forward_hook(lambda *_: stack.pop() and None, always_call=True))

    class Recorder(TorchDispatchMode):
        def __torch_dispatch__(
            self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
        ) -> Any:
            result = func(*args, **(kwargs or {}))
            for leaf in pytree.tree_leaves(result):
                if isinstance(leaf, torch.Tensor) and not leaf.is_sparse:
                    place = stack[-1] if stack else ""
                    name = f"{place}: {func.__name__}" if place else func.__name__
                    # A copy: operators in place change what came before.
                    found.append(Intermediate(name, to_numpy(leaf.detach().clone())))
            return result

    try:
        with Recorder():
            yield
    finally:
        for handle in handles:
            handle.remove()


@contextlib.contextmanager
def moved_torch(rng: np.random.Generator, units: int) -> Iterator[None]:
    """Move what every ATen operator returns, as ``rounding.moved`` says.

    Views are left alone, since they are other forms of results that have been moved already. oneDNN's recurrent
    kernels are switched off: they are one operator, inside of which nothing could be moved.
    """
    import torch
    from torch.utils import _pytree as pytree
    from torch.utils._python_dispatch import TorchDispatchMode

    class Mover(TorchDispatchMode):
        def __torch_dispatch__(
            self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
        ) -> Any:
            result = func(*args, **(kwargs or {}))
            name = plain_name(func.__name__)
            returned = func._schema.returns
            if any(item.alias_info is not None and not item.alias_info.is_write for item in returned):
                return result
            in_place = any(item.alias_info is not None for item in returned)

            def step(leaf: Any) -> Any:
                if not isinstance(leaf, torch.Tensor) or not leaf.is_floating_point() or leaf.is_sparse:
                    return leaf
                values = np.array(moved(to_numpy(leaf.detach()), name, rng, units))
                bits = (
                    torch.from_numpy(values.view(np.int16)).view(leaf.dtype) if leaf.dtype == torch.bfloat16 else None
                )
                other = torch.from_numpy(values) if bits is None else bits
                return leaf.copy_(other) if in_place else other.to(leaf.device)

            return pytree.tree_map(step, result)

    was_enabled = torch.backends.mkldnn.set_flags(_enabled=False)[0]
    try:
        with Mover():
            yield
    finally:
        torch.backends.mkldnn.set_flags(_enabled=was_enabled)
