"""The shapes of common composite operators, stated instead of found by running what they consist of.

torch finds the shape of `linear` with symbolic sizes by tracing transpose, view, addmm, its decomposition and a view
back; of `layer_norm` by ten operators; of `relu` by a comparison and a choice, both with broadcasting. While a model is
captured, kernels that state the result stand in. Each of them takes torch's own way as soon as anything is out of the
ordinary: another rank, layout, dtype or device, sizes that do not fit (torch then says why).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from any2onnx.converters.pytorch.replacing import replaced_kernels


@contextlib.contextmanager
def stated_shapes() -> Iterator[None]:
    """Replace torch's Python kernels of composite operators; only inside the capture lock."""
    import torch

    aten = torch.ops.aten
    key = torch._C.DispatchKey.CompositeImplicitAutograd
    kernels: list[tuple[Any, Callable[..., Any]]] = [
        (aten.linear.default, _linear),
        (aten.layer_norm.default, _layer_norm),
        (aten.batch_norm.default, _batch_norm),
    ]
    with replaced_kernels([(op, _with_fallback(torch, op, kernel, key)) for op, kernel in kernels]), _elementwise():
        yield


def _with_fallback(torch: Any, op: Any, kernel: Callable[..., Any], key: Any) -> Callable[..., Any]:
    fake = torch._subclasses.FakeTensor
    own = op.py_kernels.get(key)

    def run(*args: Any, **kwargs: Any) -> Any:
        if not kwargs and all(type(a) is fake or not isinstance(a, torch.Tensor) for a in args):
            result = kernel(*args)
            if result is not None:
                return result
        return own(*args, **kwargs) if own is not None else op._op_dk(key, *args, **kwargs)

    return run


# Of one tensor and numbers; the result has its shape and dtype where that is a float.
_ELEMENTWISE = (
    "abs ceil celu cos elu erf exp exp2 expm1 floor gelu hardsigmoid hardswish hardtanh leaky_relu log log1p mish neg "
    "reciprocal relu rsqrt selu sin softplus sqrt tanh"
)


@contextlib.contextmanager
def _elementwise() -> Iterator[None]:
    """State the results of elementwise operators where torch looks for a quick way before it decomposes them."""
    import torch
    from torch._decomp import decomposition_table
    from torch._subclasses import fake_impls

    aten = torch.ops.aten
    quick: dict[Any, Any] = getattr(fake_impls, "get_fast_op_impls", dict)()
    overloads = [*(getattr(aten, name).default for name in _ELEMENTWISE.split()), aten.pow.Tensor_Scalar]
    added = [op for op in overloads if op in decomposition_table and op not in quick]
    try:
        quick.update({op: _same_as_operand(decomposition_table[op]) for op in added})
        yield
    finally:
        for op in added:
            del quick[op]


def _same_as_operand(own: Callable[..., Any]) -> Callable[..., Any]:
    def run(mode: Any, *args: Any, **kwargs: Any) -> Any:
        x, *settings = args
        plain = all(isinstance(value, bool | int | float | str) for value in (*settings, *kwargs.values()))
        if plain and x.dtype.is_floating_point and x.device.type == "cpu" and _is_contiguous(x):
            return _made(x, x.shape)
        with mode:
            return own(*args, **kwargs)

    return run


def _made(like: Any, shape: Any) -> Any:
    """Return a new contiguous fake tensor with the dtype and device of another."""
    import torch
    from torch._subclasses.fake_tensor import in_kernel_invocation_manager

    mode = like.fake_mode
    with in_kernel_invocation_manager(mode):
        empty = torch.empty(shape, dtype=like.dtype, device="meta")
    return torch._subclasses.FakeTensor(mode, empty, like.device)


def _linear(x: Any, weight: Any, bias: Any = None) -> Any:
    if x.dim() < 2 or weight.dim() != 2 or x.dtype != weight.dtype or x.device != weight.device:
        return None
    if not _same_number(x.shape[-1], weight.shape[1]) or not isinstance(weight.shape[0], int):
        return None
    if bias is not None and (
        bias.dtype != x.dtype or bias.dim() != 1 or not _same_number(bias.shape[0], weight.shape[0])
    ):
        return None
    return _made(x, (*x.shape[:-1], weight.shape[0]))


def _layer_norm(
    x: Any, normalized_shape: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5, cudnn_enable: bool = True
) -> Any:
    del eps, cudnn_enable
    n = len(normalized_shape)
    if (
        not n
        or not _is_contiguous(x)
        or x.dim() < n
        or not all(_same_number(a, b) for a, b in zip(x.shape[-n:], normalized_shape, strict=True))
    ):
        return None
    for part in (weight, bias):
        if part is not None and (part.dtype != x.dtype or list(part.shape) != list(normalized_shape)):
            return None
    return _made(x, x.shape)


def _batch_norm(
    x: Any,
    weight: Any,
    bias: Any,
    mean: Any,
    variance: Any,
    training: bool,
    momentum: float,
    eps: float,
    cudnn_enabled: bool,
) -> Any:
    del momentum, eps, cudnn_enabled
    if training or x.dim() < 2 or not _is_contiguous(x):
        return None
    for part in (weight, bias, mean, variance):
        if part is None or part.dtype != x.dtype or part.dim() != 1 or not _same_number(part.shape[0], x.shape[1]):
            return None
    return _made(x, x.shape)


def _same_number(a: Any, b: Any) -> bool:
    return isinstance(a, int) and isinstance(b, int) and a == b


def _is_contiguous(x: Any) -> bool:
    import torch

    return bool(torch._prims_common.is_contiguous_for_memory_format_or_false(x, memory_format=torch.contiguous_format))
