"""Coverage tables: every operator that a framework has against the rows of the registry.

The universe comes from the framework itself, so that a gap shows as a row: `sklearn.utils.all_estimators()`, the public
classes of `keras.layers` and functions of `keras.ops`, ATen's overloads that `torch.export` can give.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from any2onnx.errors import MissingDependency, UsageError
from any2onnx.operator_mappings.mapping import FRAMEWORKS, OperatorMapping
from any2onnx.operator_mappings.registry import Registry, default_registry

INFERENCE_METHODS = (
    "predict",
    "predict_proba",
    "predict_log_proba",
    "decision_function",
    "transform",
    "score_samples",
    "kneighbors",
)


STATUSES: Final = ("supported", "decomposed", "refused", "missing")


@dataclass(frozen=True, slots=True)
class CoverageRow:
    """One source operator.

    Attributes:
        name: Dotted name.
        status: ``supported``, ``decomposed`` (torch's own definition in terms of other operators takes its place),
            ``refused`` or ``missing``.
        opset: Lowest opset at which it converts, such as ``13+``.
        methods: scikit-learn: the inference methods on offer.
        note: Reason of a refusal, or a remark of the table.
    """

    name: str
    status: str
    opset: str = ""
    methods: str = ""
    note: str = ""


def coverage(framework: str, registry: Registry | None = None) -> list[CoverageRow]:
    """Return one row per operator of the framework, sorted by name.

    Raises:
        UsageError: No such framework.
        MissingDependency: The framework is not installed.
    """
    universes = {"sklearn": _estimators, "keras": _keras_names, "pytorch": _aten_overloads}
    if framework not in universes:
        raise UsageError(f"no framework is called {framework!r}", needs=f"one of {', '.join(FRAMEWORKS)}")
    try:
        names = sorted(set(universes[framework]()))
    except ModuleNotFoundError as error:
        raise MissingDependency(
            f"{error.name} is not installed", remedy=f"pip install 'any2onnx[{framework}]'"
        ) from error
    chosen = registry or default_registry()
    by_key: dict[str, list[OperatorMapping]] = {}
    for row in chosen.rows(framework):
        by_key.setdefault(row.key, []).append(row)
    if framework == "keras":
        by_key = _keras_rows(by_key)
    rows = [_row(name, by_key.get(name, [])) for name in names]
    if framework == "pytorch":
        rows = [_aten_without_row(row.name, by_key) if row.status == "missing" else row for row in rows]
    return rows


def third_party(registry: Registry | None = None) -> list[CoverageRow]:
    """Return one row per estimator of another library that follows scikit-learn's interface, sorted by name.

    These are those of the registry: what is installed here does not matter.
    """
    by_key: dict[str, list[OperatorMapping]] = {}
    for row in (registry or default_registry()).rows("sklearn"):
        if not row.key.startswith("sklearn."):
            by_key.setdefault(row.key, []).append(row)
    return [_row(name, rows) for name, rows in sorted(by_key.items())]


def _row(name: str, rows: list[OperatorMapping]) -> CoverageRow:
    served = [row for row in rows if not row.refused]
    if served:
        first = min(row.opset[0] for row in served)
        last = max((row.opset[1] or 10**6) for row in served)
        opset = f"{first}+" if last == 10**6 else f"{first}–{last}"
        return CoverageRow(name, "supported", opset, ", ".join(served[0].methods), served[0].note)
    if rows:
        return CoverageRow(name, "refused", note=rows[0].refused)
    return CoverageRow(name, "missing")


def coverage_markdown(framework: str, registry: Registry | None = None) -> str:
    """Return the table as Markdown, with the counts on top."""
    rows = coverage(framework, registry)
    counts = {status: sum(row.status == status for row in rows) for status in STATUSES}
    parts = (f"{count} {status}" for status, count in counts.items() if count or status in ("refused", "missing"))
    summary = ", ".join(parts).replace(" supported", f" of {len(rows)} supported", 1)
    lines = [
        f"# Coverage: {framework}",
        "",
        "Written by `make coverage-tables` from the registry; a test fails when it is stale.",
        "",
        f"{summary}.",
        "",
        *_table(rows),
    ]
    others = third_party(registry) if framework == "sklearn" else []
    if others:
        lines += ["", "## Estimators of other libraries", "", *_table(others)]
    return "\n".join(lines) + "\n"


def _table(rows: list[CoverageRow]) -> list[str]:
    return [
        "| operator | status | opset | methods | note |",
        "| --- | --- | --- | --- | --- |",
        *(f"| {r.name} | {r.status} | {r.opset} | {r.methods} | {r.note.replace('|', chr(92) + '|')} |" for r in rows),
    ]


def _estimators() -> Iterator[str]:
    # Without these imports scikit-learn hides its experimental estimators.
    from sklearn.experimental import enable_halving_search_cv, enable_iterative_imputer  # noqa: F401
    from sklearn.utils import all_estimators

    for _, cls in all_estimators():
        # FrozenEstimator passes every method on.
        if hasattr(cls, "__getattr__") or any(hasattr(cls, method) for method in INFERENCE_METHODS):
            yield f"{public_module(cls.__module__)}.{cls.__name__}"


# Base classes and the input marker compute nothing.
_NO_LAYERS: Final = ("Layer", "InputLayer", "Wrapper")
# Functions of keras.ops that no graph can hold. All others without a backend function of their own are traced into the
# functions that they call.
_REFUSED_OPS: Final[Mapping[str, str]] = {
    "convert_to_numpy": "it takes the value out of the graph",
    **dict.fromkeys(("polar", "view_as_complex", "view_as_real"), "onnxruntime has no complex numbers"),
}


def _keras_names() -> Iterator[str]:
    import keras

    for name, item in vars(keras.layers).items():
        if inspect.isclass(item) and issubclass(item, keras.layers.Layer) and name not in _NO_LAYERS:
            yield f"keras.layers.{name}"
    for name, item in vars(keras.ops).items():
        if inspect.isfunction(item):
            yield f"keras.ops.{name}"


def _keras_rows(by_key: dict[str, list[OperatorMapping]]) -> dict[str, list[OperatorMapping]]:
    """Return rows by public name: aliases stand for their class, keras.ops for the backend function of that name."""
    import keras
    from keras.src.api_export import get_name_from_symbol

    rows: dict[str, list[OperatorMapping]] = {}
    for name, item in vars(keras.layers).items():
        if inspect.isclass(item):
            rows[f"keras.layers.{name}"] = by_key.get(str(get_name_from_symbol(item)), [])
    backend = {key.rpartition(".")[2]: found for key, found in by_key.items() if key.startswith("keras.backend.")}
    for name, item in vars(keras.ops).items():
        key = f"keras.ops.{name}"
        if name in _REFUSED_OPS:
            rows[key] = [OperatorMapping(framework="keras", key=key, refused=_REFUSED_OPS[name])]
        elif inspect.isfunction(item):
            traced = OperatorMapping(framework="keras", key=key, converter=_traced, note="traced")
            rows[key] = backend.get(name) or [traced]
    return rows


def _traced() -> None:
    """Stand in for the trace of a function that bottoms out in others."""


def _aten_overloads() -> Iterator[str]:
    import torch

    # All that are registered, whatever has been used in this process.
    for full in torch._C._dispatch_get_all_op_names():
        space, _, name = full.partition("::")
        operator, _, overload = name.partition(".")
        packet = getattr(torch.ops.aten, operator, None) if space == "aten" and operator[:1] != "_" else None
        if packet is None or (overload or "default") not in packet.overloads():
            continue
        # In-place and out forms, derivatives, and TorchScript's operators on plain numbers are no graph nodes.
        schema = getattr(packet, overload or "default")._schema
        tensors = any("Tensor" in str(part.type) for part in (*schema.arguments, *schema.returns))
        key = f"aten.{operator}.{overload or 'default'}"
        if tensors and not schema.is_mutable and not operator.endswith("_backward") and not _ONE_DEVICE.match(key):
            yield key


# Kernels of one device or library: a graph that torch.export makes on CPU holds none of them.
_ONE_DEVICE: Final = re.compile(r"aten\.(cudnn|miopen|mkldnn|fbgemm)_|aten\..*_mkldnn\.|aten\.\w+_overrideable\.")
_NOT_IN_ONNX: Final = (
    (
        re.compile(
            r".*(sparse|coalesce|dense_dim)|aten\.(ccol|crow|col|row)_indices|aten\.((indices|values)(_copy)?|smm|h?spmm|sspaddmm)\."
        ),
        "a sparse tensor is no ONNX tensor",
    ),
    (
        re.compile(r"aten\.(q_|qscheme|quantize_|quantized_|dequantize|int_repr|empty_quantized|choose_qparams)"),
        "torch's own quantized tensors are no ONNX tensors; quantize by pt2e",
    ),
    (
        re.compile(r".*(_backward|_jvp|get_gradients|retains_grad|batch_norm_(stats|elemt|gather|update))"),
        "for training",
    ),
)


def _aten_without_row(name: str, by_key: Mapping[str, list[OperatorMapping]]) -> CoverageRow:
    """Return the row of an overload that the registry does not name: what else becomes of it."""
    import torch
    from torch._decomp import decomposition_table

    if f"complex.{name}" in by_key:
        return CoverageRow(name, "supported", "13+", note="of complex tensors, as pairs of reals")
    reason = next((text for pattern, text in _NOT_IN_ONNX if pattern.match(name)), "")
    if reason:
        return CoverageRow(name, "refused", note=reason)
    _, operator, overload = name.split(".")
    target = getattr(getattr(torch.ops.aten, operator), overload)
    implicit = torch._C.DispatchKey.CompositeImplicitAutograd
    if (
        target in decomposition_table
        or implicit in target.py_kernels
        or torch._C._dispatch_has_kernel_for_dispatch_key(target.name(), implicit)
    ):
        return CoverageRow(name, "decomposed", note="into other operators, by torch")
    random = torch.Tag.nondeterministic_seeded in target.tags
    if not random and not any("Tensor" in str(a.type) for a in target._schema.arguments):
        return CoverageRow(name, "supported", "13+", note="computed while converting")
    return CoverageRow(name, "missing")


def public_module(module: str) -> str:
    """Return the public part of a module's name: ``sklearn.linear_model._base`` → ``sklearn.linear_model``."""
    parts = module.split(".")
    private = next((k for k, part in enumerate(parts) if part.startswith("_")), len(parts))
    return ".".join(parts[:private])
