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
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np
import torch
from onnx import TensorProto, helper
from pytorch_support import as_array, build, run
from torch import nn

from any2onnx.converters.capturing import CAPTURE
from any2onnx.errors import Any2OnnxError, ExportFailed

SAMPLES = 2
# Their results are random, or whatever the memory held: shape and type are what can be compared.
RANDOM = re.compile(
    r"^(rand|randn|randint|bernoulli|normal|uniform|multinomial|cauchy|exponential|geometric|log_normal|empty|new_empty"
    r"|randperm|nn\.functional\.(dropout|alpha_dropout|feature_alpha_dropout|fractional|rrelu)|torch\.ops\.aten\._safe)"
)


HALF = frozenset({torch.float16, torch.bfloat16})
WIDER = {
    torch.float16: torch.float64,
    torch.bfloat16: torch.float64,
    torch.float32: torch.float64,
    torch.complex64: torch.complex128,
}
# Complex products cancel between their parts; twice torch's own error is allowed there, as in the half types.
INEXACT_TYPES = HALF | {torch.complex64}
BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
# torch promises eigenvalues in no order.
UNORDERED = frozenset({"linalg.eig", "linalg.eigvals"})
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

    def widened(self) -> Wrapped:
        """Return the operator with its dtype arguments widened."""
        leaves = [WIDER.get(v, v) if isinstance(v, torch.dtype) else v for v in self._leaves]
        return Wrapped(self._function, leaves, self._spec)


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


def samples(op: Any, dtype: torch.dtype, *, every: bool = False) -> list[Any]:
    """Return the samples of an entry: all of them, or the first."""
    torch.manual_seed(0)
    np.random.seed(0)
    found = iter(op.sample_inputs("cpu", dtype, requires_grad=False))
    try:
        return list(itertools.islice(found, None if every else SAMPLES))
    finally:
        # Left suspended it would end whenever it is collected, and switch gradients on in the middle of a trace.
        getattr(found, "close", lambda: None)()


@dataclass(frozen=True)
class Case:
    """One sample, made ready: the operator as a module, its tensors, and what torch answers."""

    op: Any
    model: Wrapped
    tensors: tuple[torch.Tensor, ...]
    want: tuple[torch.Tensor, ...]


class Together(nn.Module):
    """Several cases in one module, each with inputs of its own: one trace and one session for all."""

    def __init__(self, cases: Sequence[Case]) -> None:
        super().__init__()
        self._cases = [(case.model, len(case.tensors)) for case in cases]

    def forward(self, *tensors: torch.Tensor) -> Any:
        supply = iter(tensors)
        return [model(*itertools.islice(supply, count)) for model, count in self._cases]


def prepare(op: Any, sample: Any) -> Case:
    """Return a sample as a case.

    Raises:
        NotExportable: The sample says nothing about the converter.
    """
    leaves, spec = torch.utils._pytree.tree_flatten((sample.input, tuple(sample.args), dict(sample.kwargs)))
    model = Wrapped(op.op, leaves, spec)
    tensors = tuple(leaf for leaf in leaves if isinstance(leaf, torch.Tensor))
    if any(t.layout != torch.strided for t in tensors):
        raise NotExportable("sparse or jagged inputs")
    try:
        want = [leaf for leaf in torch.utils._pytree.tree_leaves(model(*_copies(tensors))) if leaf is not None]
    except Exception as error:
        raise NotExportable(f"{type(error).__name__}: {error}") from error
    if not any(isinstance(leaf, torch.Tensor) for leaf in want):
        raise NotExportable("no tensor comes out")
    return Case(op, model, tensors, tuple(want))


def _copies(tensors: Sequence[torch.Tensor]) -> tuple[torch.Tensor, ...]:
    return tuple(t.clone() for t in tensors)


def check(op: Any, sample: Any, opset: int = 21) -> Outcome:
    """Convert and compare one sample.

    Raises:
        NotExportable: The sample says nothing about the converter.
    """
    case = prepare(op, sample)
    try:
        # torch.export patches process-wide state: not beside a conversion in another thread.
        with CAPTURE:
            program = torch.export.export(case.model, _copies(case.tensors), strict=False)
    except Exception as error:
        raise NotExportable(f"{type(error).__name__}: {error}") from error
    try:
        got = _answers(program, case.tensors, opset)
    except ExportFailed as error:
        raise NotExportable(str(error)) from error
    except Any2OnnxError as error:
        return Outcome("refused", f"{type(error).__name__}: {error}")
    except Exception as error:
        at = traceback.extract_tb(error.__traceback__)[-1]
        return Outcome("error", f"{type(error).__name__}: {error} ({at.filename}:{at.lineno})")
    outcome = judge(case, got)
    if outcome.status == "wrong" and "values differ" in outcome.detail and draws_numbers(program):
        # Shapes and types agree; what the numbers are distributed like is tested elsewhere.
        return Outcome("same")
    return outcome


TOGETHER = 16


def check_all(op: Any, found: Sequence[Any], opset: int = 21) -> Iterator[Outcome]:
    """Convert and compare samples, several in one model where that works; what does not is looked at on its own.

    The outcome of a sample that torch.export cannot trace is "not exportable".
    """
    for start in range(0, len(found), TOGETHER):
        yield from _check_group(op, found[start : start + TOGETHER], opset)


def _check_group(op: Any, found: Sequence[Any], opset: int) -> list[Outcome]:
    if len(found) > 1:
        try:
            cases = [prepare(op, sample) for sample in found]
            tensors = [t for case in cases for t in case.tensors]
            with CAPTURE:
                program = torch.export.export(Together(cases), _copies(tensors), strict=False)
            answers = iter(_answers(program, tensors, opset))
            outcomes = [judge(case, list(itertools.islice(answers, len(case.want)))) for case in cases]
        except Exception:
            # Whatever it was: the halves tell, down to the one sample that fails by itself.
            half = len(found) // 2
            return [*_check_group(op, found[:half], opset), *_check_group(op, found[half:], opset)]
        same = Outcome("same")
        return [same if o == same else _check_one(op, s, opset) for o, s in zip(outcomes, found, strict=True)]
    return [_check_one(op, sample, opset) for sample in found]


def _check_one(op: Any, sample: Any, opset: int) -> Outcome:
    try:
        return check(op, sample, opset)
    except NotExportable as error:
        return Outcome("not exportable", str(error))


def _answers(program: Any, tensors: Sequence[torch.Tensor], opset: int) -> list[np.ndarray]:
    return run_model(_proto(build(program, opset=opset)), tensors)


def run_model(proto: Any, tensors: Sequence[torch.Tensor]) -> list[np.ndarray]:
    """Run a model on tensors of any type, bfloat16 as well."""
    types = [o.type.tensor_type.elem_type for o in proto.graph.output]
    got = run(_float_edges(proto), *(_fed(t) for t in tensors))
    return [a.astype(BFLOAT16) if t == TensorProto.BFLOAT16 else a for a, t in zip(got, types, strict=True)]


def _fed(tensor: torch.Tensor) -> np.ndarray:
    return as_array(tensor.float() if tensor.dtype == torch.bfloat16 else tensor)


def array_of(tensor: torch.Tensor) -> np.ndarray:
    """Return a tensor as an array: complex numbers as pairs of reals, bfloat16 as ml_dtypes has it."""
    array = _fed(tensor)
    return array.astype(BFLOAT16) if getattr(tensor, "dtype", None) == torch.bfloat16 else array


def _float_edges(proto: Any) -> Any:
    """Return a model whose bfloat16 inputs and outputs are float32, which onnxruntime's Python interface takes."""
    narrow = [
        v for v in (*proto.graph.input, *proto.graph.output) if v.type.tensor_type.elem_type == TensorProto.BFLOAT16
    ]
    if not narrow:
        return proto
    whole, proto = proto, type(proto)()
    proto.CopyFrom(whole)
    narrow = [
        v for v in (*proto.graph.input, *proto.graph.output) if v.type.tensor_type.elem_type == TensorProto.BFLOAT16
    ]
    inputs = {v.name for v in proto.graph.input}
    before, after = [], []
    for value in narrow:
        inner, outer = value.name, f"{value.name}.float"
        if inner in inputs and value in list(proto.graph.input):
            before.append(helper.make_node("Cast", [outer], [inner], to=TensorProto.BFLOAT16))
        else:
            after.append(helper.make_node("Cast", [inner], [outer], to=TensorProto.FLOAT))
        value.name = outer
        value.type.tensor_type.elem_type = TensorProto.FLOAT
    nodes = [*before, *proto.graph.node, *after]
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)
    return proto


def judge(case: Case, got: list[np.ndarray]) -> Outcome:
    """Compare what onnxruntime answers with what torch does; where torch is inexact, with a wider type's answer."""
    op, model, tensors, want = case.op, case.model, case.tensors, list(case.want)
    if op.name == "argsort" and tensors[0].dim():
        source, dim = tensors[0], _dim_of(model)
        got, want = [array_of(source.gather(dim, torch.from_numpy(got[0])))], [source.gather(dim, want[0])]
    if op.name in TIES and len(got) == 2 and got[1].shape == tuple(want[1].shape):
        # Of equal elements torch takes any: what the positions hold is compared instead.
        source, index = tensors[0], torch.from_numpy(got[1])
        dim = 0 if source.dim() == 0 else _dim_of(model)
        if source.dim():
            picked = source.gather(dim, index if index.dim() == source.dim() else index.unsqueeze(dim))
            got = [got[0], array_of(picked if index.dim() == source.dim() else picked.squeeze(dim))]
            want[1] = want[0]
    if op.name in UNORDERED and [a.shape for a in got] == [as_array(w).shape for w in want]:
        parts = [joined(a) for a in got]
        return compare(op, [as_array(p) for p in aligned(parts, want)], [as_array(p) for p in aligned(want, want)])
    vectors = op.name in VECTORS and [a.shape for a in got] == [as_array(w).shape for w in want]
    if vectors:
        parts = [joined(a) if w.is_complex() else torch.from_numpy(a) for a, w in zip(got, want, strict=True)]
        got, judged = [invariant(op.name, parts)], [invariant(op.name, want)]
    else:
        judged = [array_of(leaf) for leaf in want]
    outcome = compare(op, got, judged)
    if outcome.status == "wrong" and "values differ" in outcome.detail and case.want[0].dtype in WIDER:
        # Where torch's own narrow result is inexact, the wide one is the judge.
        exact = model.widened()(*(t.to(WIDER.get(t.dtype, t.dtype)) for t in tensors))
        leaves = [leaf for leaf in torch.utils._pytree.tree_leaves(exact) if leaf is not None]
        leaves = [leaf.to(w.dtype) for leaf, w in zip(leaves, case.want, strict=True)]
        truth = [invariant(op.name, leaves)] if vectors else [array_of(leaf) for leaf in leaves]
        return compare(op, got, truth, errors_of(judged, truth) if case.want[0].dtype in INEXACT_TYPES else ())
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
    """Return what a decomposition into vectors says whatever their signs or phases: values, product, orthonormality.

    Left and right vectors belong together, so their product with the values between is the source.
    """
    if len(parts) == 1 or any(p.dim() < 2 for p in parts if p is not parts[0 if "eigh" in name else 1]):
        return as_array(torch.cat([p.reshape(-1) for p in parts]))
    if "eigh" in name:
        values, left = parts
        right = left.mH
    else:
        left, values, right = parts
        right = right.mH if name in ("svd", "svd_lowrank", "pca_lowrank") else right
    k = values.shape[-1]
    product = (left[..., :k] * values.unsqueeze(-2)) @ right[..., :k, :]
    units = [left.mH @ left, right @ right.mH]
    return as_array(torch.cat([p.reshape(-1) for p in (values, product, *units)]))


def joined(pairs: np.ndarray) -> torch.Tensor:
    """Return the complex tensor whose parts are along the last dim, which may have no elements before it."""
    re, im = (torch.from_numpy(pairs[..., k].copy()) for k in (0, 1))
    return torch.complex(re, im)


def aligned(parts: list[torch.Tensor], like: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """Return eigenvalues in the order of others, each by the nearest; of vectors their lengths and V · Λ · V⁻¹."""
    values = parts[0].clone()
    if not values.numel():
        return list(parts)
    for row, other in zip(values.reshape(-1, values.shape[-1]), like[0].reshape(-1, values.shape[-1]), strict=True):
        left = row.tolist()
        for k, number in enumerate(other.tolist()):
            row[k] = left.pop(min(range(len(left)), key=lambda j: abs(left[j] - number)))
    if len(parts) == 1 or not parts[1].numel():
        return [values, *parts[1:]]
    vectors = parts[1]
    return [values, vectors.abs().square().sum(-2), vectors @ torch.diag_embed(parts[0]) @ torch.linalg.inv(vectors)]


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


def errors_of(judged: Sequence[np.ndarray], truth: Sequence[np.ndarray]) -> list[float]:
    """Return torch's own largest error in each output."""
    errors = []
    for a, b in zip(judged, truth, strict=True):
        with np.errstate(all="ignore"):
            off = np.abs(a.astype(np.float64) - b.astype(np.float64))
        errors.append(float(np.max(off[np.isfinite(off)], initial=0.0)))
    return errors


# About two units in the last place of the half types, some hundred in float32.
LOOSE = {"float16": 2e-3, "bfloat16": 1.6e-2, "float64": 1e-9}


def compare(op: Any, got: list[np.ndarray], want: list[np.ndarray], own: Sequence[float] = ()) -> Outcome:
    """Compare answers: counts, shapes and types exactly, values to a few units in the last place.

    Args:
        op: The entry.
        got: onnxruntime's answers.
        want: What they should be.
        own: How far torch's own answers are off: twice as much is allowed.
    """
    if len(got) != len(want):
        return Outcome("wrong", f"{len(got)} outputs, not {len(want)}")
    for k, (a, b) in enumerate(zip(got, want, strict=True)):
        if a.shape != b.shape:
            return Outcome("wrong", f"output {k}: shape {a.shape}, not {b.shape}")
        if a.dtype != b.dtype and b.dtype.kind not in "O":
            return Outcome("wrong", f"output {k}: {a.dtype}, not {b.dtype}")
        if RANDOM.match(op.name):
            continue
        loose = max(LOOSE.get(str(b.dtype), 2e-5), INEXACT.get(op.name, 0.0))
        if str(b.dtype) in ("float16", "bfloat16"):
            a, b = a.astype(np.float64), b.astype(np.float64)
        if not np.allclose(a, b, rtol=loose, atol=max(loose, 2 * own[k] if own else 0.0), equal_nan=True):
            with np.errstate(all="ignore"):
                off = np.abs(np.asarray(a, np.float64) - np.asarray(b, np.float64))
            worst = np.max(off[~np.isnan(off)], initial=0.0)
            return Outcome("wrong", f"output {k}: values differ by up to {worst:.3g}")
    return Outcome("same")
