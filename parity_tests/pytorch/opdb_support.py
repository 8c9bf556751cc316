"""torch's own operator database as test cases: every operator, its first samples, against onnxruntime."""

from __future__ import annotations

import functools
import importlib.util
import itertools
import re
import sys
import traceback
import types
import unittest
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from pytorch_support import as_array, build, run
from torch import nn

from any2onnx.errors import Any2OnnxError, ExportFailed

SAMPLES = 2
# Their results are random, or whatever the memory held: shape and type are what can be compared.
RANDOM = re.compile(
    r"^(rand|randn|randint|bernoulli|normal|uniform|multinomial|cauchy|exponential|geometric|log_normal|empty|new_empty"
    r"|randperm|nn\.functional\.(dropout|alpha_dropout|feature_alpha_dropout|fractional|rrelu)|torch\.ops\.aten\._safe)"
)


WIDER = {torch.float16: torch.float32, torch.float32: torch.float64, torch.complex64: torch.complex128}
VECTORS = frozenset({"linalg.svd", "svd", "linalg.eigh", "svd_lowrank", "pca_lowrank"})
TIES = frozenset({"topk", "kthvalue", "sort", "mode", "median", "nanmedian"})


# torch's own coefficients are good to these errors only, in any type; mpmath judges ours in test_pytorch_special.
INEXACT = {
    "special.bessel_j0": 1e-6,
    "special.bessel_j1": 1e-6,
    "special.bessel_y0": 1e-6,
    "special.bessel_y1": 1e-6,
    "special.airy_ai": 1e-8,
}


class NotExportable(Exception):
    """torch.export itself cannot trace the sample, or torch cannot run it."""


class Wrapped(nn.Module):
    """An operator with its non-tensor arguments bound; its tensors are the inputs."""

    def __init__(self, function: Any, leaves: list[Any], spec: Any) -> None:
        super().__init__()
        self._function, self._leaves, self._spec = function, leaves, spec

    def forward(self, *tensors: torch.Tensor) -> Any:
        supply = iter(tensors)
        leaves = [next(supply) if isinstance(leaf, torch.Tensor) else leaf for leaf in self._leaves]
        value, args, kwargs = torch.utils._pytree.tree_unflatten(leaves, self._spec)
        return self._function(value, *args, **kwargs)


@dataclass(frozen=True)
class Outcome:
    """What became of one sample: "same", or what went wrong."""

    status: str
    detail: str = ""


@functools.cache
def database() -> list[Any]:
    # torch's test utilities import a helper of its own test suite that nothing here uses.
    if importlib.util.find_spec("expecttest") is None:
        stand_in = types.ModuleType("expecttest")
        stand_in.TestCase = unittest.TestCase  # type: ignore[attr-defined]
        sys.modules.setdefault("expecttest", stand_in)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from torch.testing._internal.common_methods_invocations import op_db
    return list(op_db)


def entries(dtype: torch.dtype) -> list[Any]:
    return [op for op in database() if dtype in op.supported_dtypes("cpu")]


def label(op: Any) -> str:
    return f"{op.name}.{op.variant_test_name}" if op.variant_test_name else op.name


def samples(op: Any, dtype: torch.dtype, *, every: bool = False) -> Iterator[Any]:
    """Return the samples of an entry: all of them, or the first."""
    torch.manual_seed(0)
    np.random.seed(0)
    return itertools.islice(op.sample_inputs("cpu", dtype, requires_grad=False), None if every else SAMPLES)


def check(op: Any, sample: Any, opset: int = 21) -> Outcome:
    """Convert and compare one sample.

    Raises:
        NotExportable: The sample says nothing about the converter.
    """
    leaves, spec = torch.utils._pytree.tree_flatten((sample.input, tuple(sample.args), dict(sample.kwargs)))
    model = Wrapped(op.op, leaves, spec)
    tensors = [leaf for leaf in leaves if isinstance(leaf, torch.Tensor)]
    if any(t.layout != torch.strided for t in tensors):
        raise NotExportable("sparse or jagged inputs")
    before = [t.clone() for t in tensors]
    try:
        want = [leaf for leaf in torch.utils._pytree.tree_leaves(model(*before)) if leaf is not None]
        program = torch.export.export(model, tuple(t.clone() for t in tensors), strict=False)
    except Exception as error:
        raise NotExportable(f"{type(error).__name__}: {error}") from error
    if not any(isinstance(leaf, torch.Tensor) for leaf in want):
        raise NotExportable("no tensor comes out")
    if any(getattr(t, "dtype", None) == torch.bfloat16 for t in [*tensors, *want]):
        raise NotExportable("onnxruntime's Python interface has no bfloat16 arrays")
    try:
        proto = _proto(build(program, opset=opset))
        got = run(proto, *(as_array(t) for t in tensors))
    except ExportFailed as error:
        raise NotExportable(str(error)) from error
    except Any2OnnxError as error:
        return Outcome("refused", f"{type(error).__name__}: {error}")
    except Exception as error:
        at = traceback.extract_tb(error.__traceback__)[-1]
        return Outcome("error", f"{type(error).__name__}: {error} ({at.filename}:{at.lineno})")
    if op.name == "argsort" and tensors[0].dim():
        source, dim = tensors[0], _dim_of(model)
        got, want = [as_array(source.gather(dim, torch.from_numpy(got[0])))], [source.gather(dim, want[0])]
    if op.name in TIES and len(got) == 2 and got[1].shape == tuple(want[1].shape):
        # Of equal elements torch takes any: what the positions hold is compared instead.
        source, index = tensors[0], torch.from_numpy(got[1])
        dim = 0 if source.dim() == 0 else _dim_of(model)
        if source.dim():
            picked = source.gather(dim, index if index.dim() == source.dim() else index.unsqueeze(dim))
            got[1] = as_array(picked if index.dim() == source.dim() else picked.squeeze(dim))
            want[1] = want[0]
    vectors = op.name in VECTORS and [a.shape for a in got] == [tuple(w.shape) for w in want]
    if vectors:
        got, judged = [invariant(op.name, [torch.from_numpy(a) for a in got])], [invariant(op.name, want)]
        outcome = compare(op, got, judged)
    else:
        outcome = compare(op, got, [as_array(leaf) for leaf in want])
    if outcome.status == "wrong" and "values differ" in outcome.detail and draws_numbers(program):
        # Shapes and types agree; what the numbers are distributed like is tested elsewhere.
        return Outcome("same")
    if outcome.status == "wrong" and "values differ" in outcome.detail and want[0].dtype in WIDER:
        # Where torch's own narrow result is inexact, the wide one is the judge.
        exact = model(*(t.to(WIDER.get(t.dtype, t.dtype)) for t in tensors))
        leaves = [leaf for leaf in torch.utils._pytree.tree_leaves(exact) if leaf is not None]
        leaves = [leaf.to(w.dtype) for leaf, w in zip(leaves, want, strict=True)]
        return compare(op, got, [invariant(op.name, leaves)] if vectors else [as_array(leaf) for leaf in leaves])
    return outcome


def draws_numbers(program: Any) -> bool:
    """Tell whether a program draws random numbers; dropout does so in training mode only."""
    for node in program.graph.nodes:
        tags = getattr(node.target, "tags", ())
        if torch.Tag.nondeterministic_seeded in tags and not (
            "dropout" in str(node.target) and "train" not in str(node.target) and True not in node.args
        ):
            return True
    return False


def invariant(name: str, parts: list[torch.Tensor]) -> np.ndarray:
    """Return what a decomposition into vectors says whatever their signs: values, product, orthonormality.

    Left and right vectors belong together, so their product with the values between is the source.
    """
    if len(parts) == 1 or any(p.dim() < 2 for p in parts if p is not parts[0 if "eigh" in name else 1]):
        return as_array(torch.cat([p.reshape(-1) for p in parts]))
    if "eigh" in name:
        values, left = parts
        right = left.mT
    else:
        left, values, right = parts
        right = right.mT if name in ("svd", "svd_lowrank", "pca_lowrank") else right
    k = values.shape[-1]
    product = (left[..., :k] * values.unsqueeze(-2)) @ right[..., :k, :]
    units = [left.mT @ left, right @ right.mT]
    return as_array(torch.cat([p.reshape(-1) for p in (values, product, *units)]))


def _dim_of(model: Wrapped) -> int:
    _, args, kwargs = torch.utils._pytree.tree_unflatten(model._leaves, model._spec)
    position = 1 if model._function in (torch.topk, torch.kthvalue) else 0
    return int(kwargs.get("dim", args[position] if len(args) > position else -1))


def _proto(model: Any) -> Any:
    import onnx
    import onnx_ir as ir

    proto = ir.to_proto(model)
    onnx.checker.check_model(proto, full_check=True)
    return proto


def compare(op: Any, got: list[np.ndarray], want: list[np.ndarray]) -> Outcome:
    if len(got) != len(want):
        return Outcome("wrong", f"{len(got)} outputs, not {len(want)}")
    for k, (a, b) in enumerate(zip(got, want, strict=True)):
        if a.shape != b.shape:
            return Outcome("wrong", f"output {k}: shape {a.shape}, not {b.shape}")
        if a.dtype != b.dtype and b.dtype.kind not in "O":
            return Outcome("wrong", f"output {k}: {a.dtype}, not {b.dtype}")
        if RANDOM.match(op.name):
            continue
        loose = max({"float16": 2e-3, "float64": 1e-9}.get(str(b.dtype), 2e-5), INEXACT.get(op.name, 0.0))
        if not np.allclose(a, b, rtol=loose, atol=loose, equal_nan=True):
            with np.errstate(all="ignore"):
                worst = np.nanmax(np.abs(np.asarray(a, np.float64) - np.asarray(b, np.float64)))
            return Outcome("wrong", f"output {k}: values differ by up to {worst:.3g}")
    return Outcome("same")
